package ec2

import (
	"context"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/wire"
)

func eniKey(v *types.NetworkInterface) string { return *v.NetworkInterfaceId }

func eniTags(v *types.NetworkInterface) []types.Tag { return v.TagSet }

// attached makes an attribute of something in an interface's attachment.
func attached(get func(*types.NetworkInterfaceAttachment) []string) attribute[types.NetworkInterface] {
	return func(v *types.NetworkInterface) []string {
		if v.Attachment == nil {
			return nil
		}
		return get(v.Attachment)
	}
}

func associated(get func(*types.NetworkInterfaceAssociation) []string) attribute[types.NetworkInterface] {
	return func(v *types.NetworkInterface) []string {
		if v.Association == nil {
			return nil
		}
		return get(v.Association)
	}
}

func groupIDs(groups []types.GroupIdentifier) []string {
	ids := make([]string, len(groups))
	for i, g := range groups {
		ids[i] = *g.GroupId
	}
	return ids
}

func groupNames(groups []types.GroupIdentifier) []string {
	names := make([]string, len(groups))
	for i, g := range groups {
		names[i] = *g.GroupName
	}
	return names
}

var eniAttributes = map[string]attribute[types.NetworkInterface]{
	"network-interface-id": func(v *types.NetworkInterface) []string { return one(v.NetworkInterfaceId) },
	"subnet-id":            func(v *types.NetworkInterface) []string { return one(v.SubnetId) },
	"vpc-id":               func(v *types.NetworkInterface) []string { return one(v.VpcId) },
	"availability-zone":    func(v *types.NetworkInterface) []string { return one(v.AvailabilityZone) },
	"description":          func(v *types.NetworkInterface) []string { return one(v.Description) },
	"group-id":             func(v *types.NetworkInterface) []string { return groupIDs(v.Groups) },
	"group-name":           func(v *types.NetworkInterface) []string { return groupNames(v.Groups) },
	"interface-type":       func(v *types.NetworkInterface) []string { return word(v.InterfaceType) },
	"mac-address":          func(v *types.NetworkInterface) []string { return one(v.MacAddress) },
	"owner-id":             func(v *types.NetworkInterface) []string { return one(v.OwnerId) },
	"requester-id":         func(v *types.NetworkInterface) []string { return one(v.RequesterId) },
	"requester-managed":    func(v *types.NetworkInterface) []string { return yesNo(v.RequesterManaged) },
	"source-dest-check":    func(v *types.NetworkInterface) []string { return yesNo(v.SourceDestCheck) },
	"status":               func(v *types.NetworkInterface) []string { return word(v.Status) },
	"private-ip-address":   func(v *types.NetworkInterface) []string { return one(v.PrivateIpAddress) },
	"private-dns-name":     func(v *types.NetworkInterface) []string { return one(v.PrivateDnsName) },
	"addresses.private-ip-address": func(v *types.NetworkInterface) []string {
		var out []string
		for _, p := range v.PrivateIpAddresses {
			out = append(out, *p.PrivateIpAddress)
		}
		return out
	},
	"attachment.attachment-id":         attached(func(a *types.NetworkInterfaceAttachment) []string { return one(a.AttachmentId) }),
	"attachment.instance-id":           attached(func(a *types.NetworkInterfaceAttachment) []string { return one(a.InstanceId) }),
	"attachment.instance-owner-id":     attached(func(a *types.NetworkInterfaceAttachment) []string { return one(a.InstanceOwnerId) }),
	"attachment.device-index":          attached(func(a *types.NetworkInterfaceAttachment) []string { return number(a.DeviceIndex) }),
	"attachment.status":                attached(func(a *types.NetworkInterfaceAttachment) []string { return word(a.Status) }),
	"attachment.delete-on-termination": attached(func(a *types.NetworkInterfaceAttachment) []string { return yesNo(a.DeleteOnTermination) }),
	"association.public-ip":            associated(func(a *types.NetworkInterfaceAssociation) []string { return one(a.PublicIp) }),
	"association.allocation-id":        associated(func(a *types.NetworkInterfaceAssociation) []string { return one(a.AllocationId) }),
	"association.association-id":       associated(func(a *types.NetworkInterfaceAssociation) []string { return one(a.AssociationId) }),
	"association.ip-owner-id":          associated(func(a *types.NetworkInterfaceAssociation) []string { return one(a.IpOwnerId) }),
	"addresses.association.public-ip":  associated(func(a *types.NetworkInterfaceAssociation) []string { return one(a.PublicIp) }),
}

// DescribeNetworkInterfaces lists network interfaces, those of instances included.
func (s *Service) DescribeNetworkInterfaces(_ context.Context, in *sdk.DescribeNetworkInterfacesInput) (*sdk.DescribeNetworkInterfacesOutput, error) {
	l := of(s.enis, nounENI, eniKey, eniAttributes, eniTags)
	rows, next, err := l.describe(in.NetworkInterfaceIds, in.Filters, in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	return &sdk.DescribeNetworkInterfacesOutput{NetworkInterfaces: rows, NextToken: next}, nil
}

// eniSpec is what a new interface shall be.
type eniSpec struct {
	ID          string
	Subnet      *types.Subnet
	Addr        netip.Addr // zero: any
	Secondary   int        // more addresses
	Groups      []types.GroupIdentifier
	Description string
	Type        types.NetworkInterfaceType
	Tags        []types.Tag
}

// secondaryCount reads how many more addresses an interface shall have.
func secondaryCount(n *int32) (int, error) {
	if c := aws.ToInt32(n); c < 0 || c > 49 {
		return 0, invalidValue("Value (%d) for parameter secondaryPrivateIpAddressCount is invalid.", c)
	}
	return int(aws.ToInt32(n)), nil
}

// newENI makes an interface and enters its addresses. s.mu is held.
func (s *Service) newENI(spec eniSpec) (*types.NetworkInterface, error) {
	id := spec.ID
	eni := &types.NetworkInterface{
		NetworkInterfaceId: aws.String(id),
		SubnetId:           spec.Subnet.SubnetId,
		VpcId:              spec.Subnet.VpcId,
		AvailabilityZone:   spec.Subnet.AvailabilityZone,
		AvailabilityZoneId: spec.Subnet.AvailabilityZoneId,
		OwnerId:            aws.String(s.id.Account()),
		Description:        aws.String(spec.Description),
		Groups:             spec.Groups,
		InterfaceType:      spec.Type,
		MacAddress:         aws.String(newMAC()),
		RequesterManaged:   aws.Bool(false),
		SourceDestCheck:    aws.Bool(true),
		Status:             types.NetworkInterfaceStatusAvailable,
		TagSet:             spec.Tags,
	}
	if eni.InterfaceType == "" {
		eni.InterfaceType = types.NetworkInterfaceTypeInterface
	}
	for i := range 1 + spec.Secondary {
		addr := spec.Addr
		if i > 0 || !addr.IsValid() {
			var ok bool
			if addr, ok = s.addrs.next(spec.Subnet); !ok {
				s.addrs.release(eni)
				return nil, wire.Errorf("InsufficientFreeAddressesInSubnet",
					"There are not enough free addresses in subnet '%s' to satisfy the requested number of instances.", *spec.Subnet.SubnetId)
			}
		} else if err := s.checkFree(spec.Subnet, addr); err != nil {
			return nil, err
		}
		eni.PrivateIpAddresses = append(eni.PrivateIpAddresses, types.NetworkInterfacePrivateIpAddress{
			Primary:          aws.Bool(i == 0),
			PrivateIpAddress: aws.String(addr.String()),
			PrivateDnsName:   aws.String(s.privateName(addr)),
		})
		s.addrs.take(eni)
	}
	eni.PrivateIpAddress, eni.PrivateDnsName = eni.PrivateIpAddresses[0].PrivateIpAddress, eni.PrivateIpAddresses[0].PrivateDnsName
	if err := s.enis.put(id, eni); err != nil {
		s.addrs.release(eni)
		return nil, err
	}
	return eni, nil
}

func (s *Service) checkFree(subnet *types.Subnet, addr netip.Addr) error {
	prefix := netip.MustParsePrefix(*subnet.CidrBlock)
	switch {
	case !prefix.Contains(addr):
		return invalidValue("Address %s does not fall within the subnet's address range", addr)
	case isReserved(prefix, addr):
		return invalidValue("Address %s is in subnet's reserved address range", addr)
	case s.addrs.find(addr) != "":
		return wire.Errorf("InvalidIPAddress.InUse", "Address %s is in use.", addr)
	}
	return nil
}

// newMAC returns a locally administered address.
func newMAC() string {
	h := region.Hex(10)
	return strings.Join([]string{"02", h[:2], h[2:4], h[4:6], h[6:8], h[8:]}, ":")
}

// dropENI deletes an interface and frees its addresses. s.mu is held.
func (s *Service) dropENI(id string) error {
	eni := s.enis.get(id)
	if eni == nil {
		return nil
	}
	if err := s.disassociate(eni); err != nil {
		return err
	}
	if err := s.enis.delete(id); err != nil {
		return err
	}
	s.addrs.release(eni)
	return nil
}

// CreateNetworkInterface makes an interface that no instance has yet.
func (s *Service) CreateNetworkInterface(ctx context.Context, in *sdk.CreateNetworkInterfaceInput) (*sdk.CreateNetworkInterfaceOutput, error) {
	tags, err := newTags(ctx, in.TagSpecifications, types.ResourceTypeNetworkInterface)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	subnet, err := find(s.subnets, nounSubnet, aws.ToString(in.SubnetId))
	if err != nil {
		return nil, err
	}
	groups, err := s.groupsFor(*subnet.VpcId, in.Groups)
	if err != nil {
		return nil, err
	}
	spec := eniSpec{
		Subnet: subnet, Groups: groups, Description: aws.ToString(in.Description), Tags: tags,
		Type: types.NetworkInterfaceType(in.InterfaceType),
	}
	if spec.Secondary, err = secondaryCount(in.SecondaryPrivateIpAddressCount); err != nil {
		return nil, err
	}
	primary := aws.ToString(in.PrivateIpAddress)
	for _, p := range in.PrivateIpAddresses {
		if aws.ToBool(p.Primary) || len(in.PrivateIpAddresses) == 1 {
			primary = aws.ToString(p.PrivateIpAddress)
		}
	}
	if primary != "" {
		if spec.Addr, err = netip.ParseAddr(primary); err != nil {
			return nil, invalidValue("invalid value for parameter privateIpAddress: %s", primary)
		}
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	spec.ID = region.NewID("eni")
	eni, err := once(s, "CreateNetworkInterface", in.ClientToken, in, s.enis, spec.ID, func() error {
		_, err := s.newENI(spec)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &sdk.CreateNetworkInterfaceOutput{NetworkInterface: eni, ClientToken: in.ClientToken}, nil
}

// DeleteNetworkInterface deletes an interface that no instance has.
func (s *Service) DeleteNetworkInterface(_ context.Context, in *sdk.DeleteNetworkInterfaceInput) (*sdk.DeleteNetworkInterfaceOutput, error) {
	defer s.enforce()
	s.mu.Lock()
	defer s.mu.Unlock()
	eni, err := find(s.enis, nounENI, aws.ToString(in.NetworkInterfaceId))
	if err != nil {
		return nil, err
	}
	if eni.Attachment != nil || aws.ToBool(eni.RequesterManaged) {
		return nil, wire.Errorf("InvalidNetworkInterface.InUse", "Interface: %s in use.", *eni.NetworkInterfaceId)
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	return &sdk.DeleteNetworkInterfaceOutput{}, s.dropENI(*eni.NetworkInterfaceId)
}

// ModifyNetworkInterfaceAttribute changes one attribute; new groups are in force
// when it returns.
func (s *Service) ModifyNetworkInterfaceAttribute(_ context.Context, in *sdk.ModifyNetworkInterfaceAttributeInput) (*sdk.ModifyNetworkInterfaceAttributeOutput, error) {
	defer s.enforce()
	s.mu.Lock()
	defer s.mu.Unlock()
	eni, err := find(s.enis, nounENI, aws.ToString(in.NetworkInterfaceId))
	if err != nil {
		return nil, err
	}
	groups := eni.Groups
	if len(in.Groups) > 0 {
		if groups, err = s.groupsFor(*eni.VpcId, in.Groups); err != nil {
			return nil, err
		}
	}
	if a := in.Attachment; a != nil && (eni.Attachment == nil || aws.ToString(a.AttachmentId) != *eni.Attachment.AttachmentId) {
		return nil, wire.Errorf("InvalidAttachmentID.NotFound", "The networkInterfaceAttachment ID '%s' does not exist", aws.ToString(a.AttachmentId))
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	err = s.enis.set(*eni.NetworkInterfaceId, func(v *types.NetworkInterface) {
		v.Groups = groups
		if in.Description != nil {
			v.Description = in.Description.Value
		}
		if in.SourceDestCheck != nil {
			v.SourceDestCheck = in.SourceDestCheck.Value
		}
		if in.Attachment != nil {
			a := *v.Attachment
			a.DeleteOnTermination = in.Attachment.DeleteOnTermination
			v.Attachment = &a
		}
	})
	if err != nil {
		return nil, err
	}
	return &sdk.ModifyNetworkInterfaceAttributeOutput{}, s.refreshInterfaces(eni)
}

// AttachNetworkInterface gives an instance one more interface. A machine gets its
// interfaces when it boots, so the instance must be stopped.
func (s *Service) AttachNetworkInterface(_ context.Context, in *sdk.AttachNetworkInterfaceInput) (*sdk.AttachNetworkInterfaceOutput, error) {
	defer s.enforce()
	s.mu.Lock()
	defer s.mu.Unlock()
	eni, err := find(s.enis, nounENI, aws.ToString(in.NetworkInterfaceId))
	if err != nil {
		return nil, err
	}
	inst, err := find(s.instances, nounInstance, aws.ToString(in.InstanceId))
	if err != nil {
		return nil, err
	}
	index, card := aws.ToInt32(in.DeviceIndex), aws.ToInt32(in.NetworkCardIndex)
	switch {
	case eni.Attachment != nil:
		return nil, wire.Errorf("InvalidNetworkInterface.InUse", "Interface: %s in use.", *eni.NetworkInterfaceId)
	case *eni.AvailabilityZone != *inst.Desc.Placement.AvailabilityZone:
		return nil, invalidCombination("You may not attach a network interface to an instance if they are not in the same availability zone")
	case inst.state() != types.InstanceStateNameStopped:
		return nil, wire.Errorf("IncorrectInstanceState", "The instance '%s' must be stopped: machines of this region get their interfaces when they boot.", *in.InstanceId)
	}
	for _, have := range inst.Desc.NetworkInterfaces {
		if aws.ToInt32(have.Attachment.DeviceIndex) == index && aws.ToInt32(have.Attachment.NetworkCardIndex) == card {
			return nil, invalidValue("Instance '%s' already has an interface attached at device index '%d'.", *in.InstanceId, index)
		}
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	eni, err = s.attachENI(eni, *in.InstanceId, index, card, false)
	if err != nil {
		return nil, err
	}
	return &sdk.AttachNetworkInterfaceOutput{AttachmentId: eni.Attachment.AttachmentId, NetworkCardIndex: aws.Int32(card)}, s.refreshInterfaces(eni)
}

// attachENI writes the attachment down. s.mu is held.
func (s *Service) attachENI(eni *types.NetworkInterface, instanceID string, index, card int32, deleteWith bool) (*types.NetworkInterface, error) {
	return s.enis.update(*eni.NetworkInterfaceId, func(v *types.NetworkInterface) error {
		v.Status = types.NetworkInterfaceStatusInUse
		v.Attachment = &types.NetworkInterfaceAttachment{
			AttachmentId:        aws.String(region.NewID("eni-attach")),
			AttachTime:          aws.Time(s.now().UTC().Truncate(1e9)),
			DeleteOnTermination: aws.Bool(deleteWith),
			DeviceIndex:         aws.Int32(index),
			NetworkCardIndex:    aws.Int32(card),
			InstanceId:          aws.String(instanceID),
			InstanceOwnerId:     aws.String(s.id.Account()),
			Status:              types.AttachmentStatusAttached,
		}
		return nil
	})
}

// DetachNetworkInterface takes an interface from a stopped instance.
func (s *Service) DetachNetworkInterface(_ context.Context, in *sdk.DetachNetworkInterfaceInput) (*sdk.DetachNetworkInterfaceOutput, error) {
	defer s.enforce()
	s.mu.Lock()
	defer s.mu.Unlock()
	id := aws.ToString(in.AttachmentId)
	for _, eni := range s.enis.all() {
		if eni.Attachment == nil || *eni.Attachment.AttachmentId != id {
			continue
		}
		inst := s.instances.get(*eni.Attachment.InstanceId)
		switch {
		case *eni.Attachment.DeviceIndex == 0 && aws.ToInt32(eni.Attachment.NetworkCardIndex) == 0:
			return nil, wire.Errorf("OperationNotPermitted", "The network interface at device index 0 and networkCard index 0 cannot be detached.")
		case inst != nil && inst.state() != types.InstanceStateNameStopped:
			return nil, wire.Errorf("IncorrectInstanceState", "The instance '%s' must be stopped: machines of this region get their interfaces when they boot.", *eni.Attachment.InstanceId)
		}
		if err := dryRun(in.DryRun); err != nil {
			return nil, err
		}
		if err := s.detachENI(*eni.NetworkInterfaceId); err != nil {
			return nil, err
		}
		return &sdk.DetachNetworkInterfaceOutput{}, s.refreshInterfaces(eni)
	}
	return nil, wire.Errorf("InvalidAttachmentID.NotFound", "The networkInterfaceAttachment ID '%s' does not exist", id)
}

// detachENI makes an interface available again. s.mu is held.
func (s *Service) detachENI(id string) error {
	eni, err := s.enis.update(id, func(v *types.NetworkInterface) error {
		v.Attachment, v.Status = nil, types.NetworkInterfaceStatusAvailable
		return nil
	})
	if err != nil || eni.Association == nil || eni.Association.AllocationId == nil {
		return err
	}
	return s.eips.set(*eni.Association.AllocationId, func(v *types.Address) { v.InstanceId = nil })
}

// refreshInterfaces brings an instance's description up to date with the
// interface rows; eni was or is attached to it. s.mu is held.
func (s *Service) refreshInterfaces(eni *types.NetworkInterface) error {
	if now := s.enis.get(*eni.NetworkInterfaceId); now != nil && now.Attachment != nil {
		eni = now
	}
	if eni.Attachment == nil || s.instances.get(*eni.Attachment.InstanceId) == nil {
		return nil
	}
	id := *eni.Attachment.InstanceId
	return s.instances.set(id, func(i *instance) { i.describeInterfaces(s.interfacesOf(id)) })
}

// interfacesOf returns an instance's interfaces in the order of the machine's.
func (s *Service) interfacesOf(instanceID string) []*types.NetworkInterface {
	var out []*types.NetworkInterface
	for _, eni := range s.enis.all() {
		if eni.Attachment != nil && aws.ToString(eni.Attachment.InstanceId) == instanceID {
			out = append(out, eni)
		}
	}
	slices.SortFunc(out, func(a, b *types.NetworkInterface) int {
		card := aws.ToInt32(a.Attachment.NetworkCardIndex) - aws.ToInt32(b.Attachment.NetworkCardIndex)
		return 64*int(card) + int(*a.Attachment.DeviceIndex-*b.Attachment.DeviceIndex)
	})
	return out
}

// privateDomain is what the names of private addresses end in.
func (s *Service) privateDomain() string {
	if s.id.Name() == "us-east-1" {
		return "ec2.internal"
	}
	return s.id.Name() + ".compute.internal"
}

func dashed(addr netip.Addr) string {
	b := addr.As4()
	parts := make([]string, len(b))
	for i, n := range b {
		parts[i] = strconv.Itoa(int(n))
	}
	return strings.Join(parts, "-")
}

func (s *Service) privateName(addr netip.Addr) string {
	return "ip-" + dashed(addr) + "." + s.privateDomain()
}

func (s *Service) publicName(addr netip.Addr) string {
	if s.id.Name() == "us-east-1" {
		return "ec2-" + dashed(addr) + ".compute-1.amazonaws.com"
	}
	return "ec2-" + dashed(addr) + "." + s.id.Name() + ".compute.amazonaws.com"
}
