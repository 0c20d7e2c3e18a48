package ec2

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/sandbox/wire"
)

// Adoption makes what a cluster file refers to and does not own, under the very
// IDs in the file. Adopting twice changes nothing.

// adoptedVPC is the VPC around adopted subnets whose block nobody cares about.
var adoptedVPC = netip.MustParsePrefix("10.0.0.0/16")

// AdoptSubnet is [Service.AdoptSubnetIn] the region's first zone.
func (s *Service) AdoptSubnet(ctx context.Context, subnetID, cidr string) error {
	return s.AdoptSubnetIn(ctx, subnetID, cidr, s.id.AZs()[0])
}

// AdoptSubnetIn makes a subnet with the given ID in an availability zone, in a VPC
// that has an internet gateway. An empty cidr takes the next free /20.
func (s *Service) AdoptSubnetIn(_ context.Context, subnetID, cidr, zone string) error {
	if err := nounSubnet.check(subnetID); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.subnets.get(subnetID) != nil {
		return nil
	}
	prefix, err := s.adoptedBlock(cidr)
	if err != nil {
		return fmt.Errorf("adopt subnet %s: %w", subnetID, err)
	}
	var home *vpcRow
	for _, v := range s.vpcs.all() {
		if block := netip.MustParsePrefix(*v.Desc.CidrBlock); block.Bits() <= prefix.Bits() && block.Contains(prefix.Addr()) {
			home = v
			break
		}
	}
	if home == nil {
		around, _ := prefix.Addr().Prefix(16)
		if home, err = s.createVPC(around, false, []types.Tag{tag("Name", "adopted")}); err != nil {
			return fmt.Errorf("adopt subnet %s: %w", subnetID, err)
		}
		home.DNSHostnames = true
		home.LetOut = true // what the subnets' own routes are, the file does not say
		if err := s.vpcs.put(vpcKey(home), home); err != nil {
			return err
		}
		if err := s.connect(vpcKey(home)); err != nil {
			return err
		}
	}
	if err := s.checkOverlap(prefix, vpcKey(home)); err != nil {
		return fmt.Errorf("adopt subnet %s: %w", subnetID, err)
	}
	return s.putSubnet(s.newSubnet(subnetID, home, prefix, zone))
}

func (s *Service) adoptedBlock(cidr string) (netip.Prefix, error) {
	if cidr != "" {
		return parseBlock(cidr, "InvalidSubnet.Range")
	}
	for i := range 16 {
		block := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(16 * i), 0}), 20)
		if s.checkOverlap(block, "") == nil {
			return block, nil
		}
	}
	return netip.Prefix{}, wire.Errorf("InvalidSubnet.Range", "No free /20 is left in %s.", adoptedVPC)
}

// AdoptSecurityGroup makes a group with the given ID in the VPC, or the VPC of the
// subnet: its members reach each other and everything outside, and anybody reaches
// them by SSH.
func (s *Service) AdoptSecurityGroup(_ context.Context, groupID, subnetOrVPCID string) error {
	if err := nounGroup.check(groupID); err != nil {
		return err
	}
	defer s.enforce()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.groups.get(groupID) != nil {
		return nil
	}
	vpcID := subnetOrVPCID
	if subnet := s.subnets.get(subnetOrVPCID); subnet != nil {
		vpcID = *subnet.VpcId
	}
	if _, err := find(s.vpcs, nounVPC, vpcID); err != nil {
		return fmt.Errorf("adopt security group %s: %w", groupID, err)
	}
	g := newGroup(s.id, groupID, "adopted-"+groupID, "Adopted from a cluster file", vpcID)
	ssh := aws.Int32(22)
	g.Rules = append(g.Rules,
		newRule(groupID, false, "-1", nil, nil, peer{Group: groupID}, ""),
		newRule(groupID, false, "tcp", ssh, ssh, peer{CIDR4: "0.0.0.0/0"}, ""))
	return s.groups.put(groupID, g)
}

// AdoptKeyPair makes a key pair of the given name and returns its private half,
// unless there is one of the name already.
func (s *Service) AdoptKeyPair(_ context.Context, name string) (privateKeyPEM string, created bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keyNamed(name) != nil {
		return "", false, nil
	}
	pair, material, err := newKeyPair(name, types.KeyTypeEd25519)
	if err != nil {
		return "", false, fmt.Errorf("adopt key pair %s: %w", name, err)
	}
	pair.CreateTime = aws.Time(s.now().UTC())
	return material, true, s.putKey(pair)
}

// AdoptImage makes an AMI with the given ID that boots the region's base image and
// has the default user of the operating system, named as in a cluster file.
func (s *Service) AdoptImage(_ context.Context, imageID, name, os string, tags map[string]string) error {
	if err := nounImage.check(imageID); err != nil {
		return err
	}
	system, err := operatingSystemNamed(os)
	if err != nil {
		return fmt.Errorf("adopt image %s: %w", imageID, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.images.get(imageID) != nil {
		return nil
	}
	v, err := s.newImage(imageID, name, 35, system.rootDevice)
	if err != nil {
		return fmt.Errorf("adopt image %s: %w", imageID, err)
	}
	v.Files = system.files()
	for key, value := range tags {
		v.Desc.Tags = mergeTags(v.Desc.Tags, []types.Tag{tag(key, value)})
	}
	return s.images.put(imageID, v)
}

// InUse reports whether there is anything in the region that carries its name or
// account. Key pairs do not: they are made before the first file is adopted. Nor do
// instances that were terminated, as those of component trials.
func (s *Service) InUse() bool {
	for _, v := range s.images.all() {
		if owner := *v.Desc.OwnerId; owner != officialOwner && owner != publisher {
			return true
		}
	}
	for _, i := range s.instances.all() {
		if i.state() != types.InstanceStateNameTerminated {
			return true
		}
	}
	return s.vpcs.rows.Len()+s.eips.rows.Len()+s.volumes.rows.Len()+s.templates.rows.Len()+
		s.placements.rows.Len()+s.gateways.rows.Len() > 0
}
