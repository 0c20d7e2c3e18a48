package ec2

import (
	"context"
	"net/netip"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/wire"
)

// publicBlock is where public addresses come from: a block kept for documentation,
// which no one outside can mistake for a real host.
var publicBlock = netip.MustParsePrefix("203.0.113.0/24")

func eipKey(v *types.Address) string { return *v.AllocationId }

var eipAttributes = map[string]attribute[types.Address]{
	"allocation-id":              func(v *types.Address) []string { return one(v.AllocationId) },
	"association-id":             func(v *types.Address) []string { return one(v.AssociationId) },
	"domain":                     func(v *types.Address) []string { return word(v.Domain) },
	"instance-id":                func(v *types.Address) []string { return one(v.InstanceId) },
	"network-border-group":       func(v *types.Address) []string { return one(v.NetworkBorderGroup) },
	"network-interface-id":       func(v *types.Address) []string { return one(v.NetworkInterfaceId) },
	"network-interface-owner-id": func(v *types.Address) []string { return one(v.NetworkInterfaceOwnerId) },
	"private-ip-address":         func(v *types.Address) []string { return one(v.PrivateIpAddress) },
	"public-ip":                  func(v *types.Address) []string { return one(v.PublicIp) },
}

// DescribeAddresses lists elastic IP addresses.
func (s *Service) DescribeAddresses(_ context.Context, in *sdk.DescribeAddressesInput) (*sdk.DescribeAddressesOutput, error) {
	filters := in.Filters
	for _, ip := range in.PublicIps {
		if s.eipByAddress(ip) == nil {
			return nil, wire.Errorf("InvalidAddress.NotFound", "Address '%s' not found.", ip)
		}
	}
	if len(in.PublicIps) > 0 {
		filters = append(slices.Clone(filters), types.Filter{Name: aws.String("public-ip"), Values: in.PublicIps})
	}
	l := of(s.eips, nounAllocated, eipKey, eipAttributes, func(v *types.Address) []types.Tag { return v.Tags })
	rows, _, err := l.describe(in.AllocationIds, filters, nil, nil)
	if err != nil {
		return nil, err
	}
	return &sdk.DescribeAddressesOutput{Addresses: rows}, nil
}

func (s *Service) eipByAddress(ip string) *types.Address {
	for _, v := range s.eips.all() {
		if *v.PublicIp == ip {
			return v
		}
	}
	return nil
}

// freePublic returns a public address that nobody has. s.mu is held.
func (s *Service) freePublic() (netip.Addr, error) {
	taken := map[string]bool{}
	for _, v := range s.eips.all() {
		taken[*v.PublicIp] = true
	}
	for _, eni := range s.enis.all() {
		if eni.Association != nil {
			taken[aws.ToString(eni.Association.PublicIp)] = true
		}
	}
	for i := 1; i < 255; i++ {
		if addr := plus(publicBlock, i); !taken[addr.String()] {
			return addr, nil
		}
	}
	return netip.Addr{}, wire.Errorf("InsufficientAddressCapacity", "There are not enough public addresses: the region has %d.", 254)
}

// AllocateAddress reserves a public address.
func (s *Service) AllocateAddress(ctx context.Context, in *sdk.AllocateAddressInput) (*sdk.AllocateAddressOutput, error) {
	tags, err := newTags(ctx, in.TagSpecifications, types.ResourceTypeElasticIp)
	if err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var addr netip.Addr
	if in.Address != nil {
		addr, err = netip.ParseAddr(*in.Address)
		if err != nil || !publicBlock.Contains(addr) || s.eipByAddress(*in.Address) != nil {
			return nil, wire.Errorf("InvalidAddress.NotFound", "Address '%s' not found.", *in.Address)
		}
	} else if addr, err = s.freePublic(); err != nil {
		return nil, err
	}
	v := s.newEIP(addr)
	v.Tags = tags
	if err := s.eips.put(*v.AllocationId, v); err != nil {
		return nil, err
	}
	return &sdk.AllocateAddressOutput{
		AllocationId: v.AllocationId, PublicIp: v.PublicIp, Domain: v.Domain,
		NetworkBorderGroup: v.NetworkBorderGroup, PublicIpv4Pool: v.PublicIpv4Pool,
	}, nil
}

func (s *Service) newEIP(addr netip.Addr) *types.Address {
	return &types.Address{
		AllocationId:       aws.String(region.NewID("eipalloc")),
		PublicIp:           aws.String(addr.String()),
		Domain:             types.DomainTypeVpc,
		NetworkBorderGroup: aws.String(s.id.Name()),
		PublicIpv4Pool:     aws.String("amazon"),
	}
}

// ReleaseAddress gives a public address back.
func (s *Service) ReleaseAddress(_ context.Context, in *sdk.ReleaseAddressInput) (*sdk.ReleaseAddressOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.findEIP(in.AllocationId, in.PublicIp)
	if err != nil {
		return nil, err
	}
	if v.AssociationId != nil {
		return nil, wire.Errorf("InvalidIPAddress.InUse", "The address with allocation id [%s] is in use by %s.", *v.AllocationId, *v.NetworkInterfaceId)
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	return &sdk.ReleaseAddressOutput{}, s.eips.delete(*v.AllocationId)
}

func (s *Service) findEIP(allocationID, publicIP *string) (*types.Address, error) {
	if allocationID != nil {
		return find(s.eips, nounAllocated, *allocationID)
	}
	if publicIP == nil {
		return nil, missing("allocationId")
	}
	if v := s.eipByAddress(*publicIP); v != nil {
		return v, nil
	}
	return nil, wire.Errorf("InvalidAddress.NotFound", "Address '%s' not found.", *publicIP)
}

// AssociateAddress gives an interface, or an instance's first one, the address.
func (s *Service) AssociateAddress(_ context.Context, in *sdk.AssociateAddressInput) (*sdk.AssociateAddressOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.findEIP(in.AllocationId, in.PublicIp)
	if err != nil {
		return nil, err
	}
	var eni *types.NetworkInterface
	switch {
	case in.NetworkInterfaceId != nil:
		if eni, err = find(s.enis, nounENI, *in.NetworkInterfaceId); err != nil {
			return nil, err
		}
	case in.InstanceId != nil:
		inst, err := find(s.instances, nounInstance, *in.InstanceId)
		if err != nil {
			return nil, err
		}
		if len(inst.Desc.NetworkInterfaces) == 0 {
			return nil, wire.Errorf("IncorrectInstanceState", "The instance '%s' is not in a valid state for this operation.", *in.InstanceId)
		}
		eni = s.enis.get(*inst.Desc.NetworkInterfaces[0].NetworkInterfaceId)
	default:
		return nil, missing("instanceId or networkInterfaceId")
	}
	if v.AssociationId != nil && aws.ToString(v.NetworkInterfaceId) != *eni.NetworkInterfaceId && in.AllowReassociation != nil && !*in.AllowReassociation {
		return nil, wire.Errorf("Resource.AlreadyAssociated", "resource %s is already associated with associate-id %s", *v.AllocationId, *v.AssociationId)
	}
	if !s.connected(*eni.VpcId) {
		return nil, wire.Errorf("Gateway.NotAttached", "Network %s is not attached to any internet gateway", *eni.VpcId)
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	if v.NetworkInterfaceId != nil && *v.NetworkInterfaceId != *eni.NetworkInterfaceId {
		if old := s.enis.get(*v.NetworkInterfaceId); old != nil {
			if err := s.disassociate(old); err != nil {
				return nil, err
			}
		}
	}
	if err := s.disassociate(s.enis.get(*eni.NetworkInterfaceId)); err != nil {
		return nil, err
	}
	association, err := s.bind(v, eni)
	if err != nil {
		return nil, err
	}
	return &sdk.AssociateAddressOutput{AssociationId: association}, nil
}

// connected reports whether a VPC has an internet gateway. s.mu is held.
func (s *Service) connected(vpc string) bool {
	return slices.ContainsFunc(s.gateways.all(), func(g *types.InternetGateway) bool { return gatewayVPC(g) == vpc })
}

// bind gives an interface, which has no public address, one that was allocated,
// and returns the ID of their association. s.mu is held.
func (s *Service) bind(v *types.Address, eni *types.NetworkInterface) (*string, error) {
	association := region.NewID("eipassoc")
	err := s.eips.set(*v.AllocationId, func(v *types.Address) {
		v.AssociationId = aws.String(association)
		v.NetworkInterfaceId = eni.NetworkInterfaceId
		v.NetworkInterfaceOwnerId = eni.OwnerId
		v.PrivateIpAddress = eni.PrivateIpAddress
		if eni.Attachment != nil {
			v.InstanceId = eni.Attachment.InstanceId
		}
	})
	if err != nil {
		return nil, err
	}
	a := s.association(netip.MustParseAddr(*v.PublicIp), s.id.Account())
	a.AllocationId, a.AssociationId = v.AllocationId, aws.String(association)
	if err := s.associate(eni, a); err != nil {
		return nil, err
	}
	return aws.String(association), nil
}

// association describes a public address; its owner is "amazon" unless somebody
// allocated it.
func (s *Service) association(public netip.Addr, owner string) *types.NetworkInterfaceAssociation {
	return &types.NetworkInterfaceAssociation{
		IpOwnerId:     aws.String(owner),
		PublicIp:      aws.String(public.String()),
		PublicDnsName: aws.String(s.publicName(public)),
	}
}

// associate gives the interface's first address a public one. s.mu is held.
func (s *Service) associate(eni *types.NetworkInterface, a *types.NetworkInterfaceAssociation) error {
	err := s.enis.set(*eni.NetworkInterfaceId, func(v *types.NetworkInterface) {
		v.Association = a
		v.PrivateIpAddresses = slices.Clone(v.PrivateIpAddresses)
		v.PrivateIpAddresses[0].Association = a
	})
	if err != nil {
		return err
	}
	if err := s.refreshInterfaces(eni); err != nil {
		return err
	}
	var public netip.Addr
	if a != nil {
		public = netip.MustParseAddr(*a.PublicIp)
	}
	return s.cfg.Network.SetPublic(netip.MustParseAddr(*eni.PrivateIpAddress), public)
}

// disassociate takes an interface's public address, if it has one. s.mu is held.
func (s *Service) disassociate(eni *types.NetworkInterface) error {
	if eni == nil || eni.Association == nil {
		return nil
	}
	if id := eni.Association.AllocationId; id != nil && s.eips.get(*id) != nil {
		err := s.eips.set(*id, func(v *types.Address) {
			v.AssociationId, v.NetworkInterfaceId, v.NetworkInterfaceOwnerId = nil, nil, nil
			v.PrivateIpAddress, v.InstanceId = nil, nil
		})
		if err != nil {
			return err
		}
	}
	return s.associate(eni, nil)
}

// DisassociateAddress takes a public address from its interface.
func (s *Service) DisassociateAddress(_ context.Context, in *sdk.DisassociateAddressInput) (*sdk.DisassociateAddressOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var v *types.Address
	for _, row := range s.eips.all() {
		if in.AssociationId != nil && aws.ToString(row.AssociationId) == *in.AssociationId ||
			in.PublicIp != nil && *row.PublicIp == *in.PublicIp {
			v = row
		}
	}
	switch {
	case v == nil && in.AssociationId != nil:
		return nil, wire.Errorf("InvalidAssociationID.NotFound", "The association ID '%s' does not exist", *in.AssociationId)
	case v == nil:
		return nil, wire.Errorf("InvalidAddress.NotFound", "Address '%s' not found.", aws.ToString(in.PublicIp))
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	if v.NetworkInterfaceId == nil {
		return &sdk.DisassociateAddressOutput{}, nil
	}
	return &sdk.DisassociateAddressOutput{}, s.disassociate(s.enis.get(*v.NetworkInterfaceId))
}
