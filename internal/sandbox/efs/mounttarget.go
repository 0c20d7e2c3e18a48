package efs

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	sdk "github.com/aws/aws-sdk-go-v2/service/efs"
	"github.com/aws/aws-sdk-go-v2/service/efs/types"

	"pcluster/internal/sandbox/page"
	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/wire"
)

const maxGroups = 5

// targetsOf returns the mount targets of a file system.
func (s *Service) targetsOf(fsID string) []mountTarget {
	var out []mountTarget
	for _, m := range s.mountTargets.All() {
		if *m.Description.FileSystemId == fsID {
			out = append(out, m)
		}
	}
	return out
}

func (s *Service) mountTarget(id string) (mountTarget, error) {
	m, ok := s.mountTargets.Get(id)
	if !ok {
		return mountTarget{}, wire.Errorf("MountTargetNotFound", "Mount target '%s' does not exist.", id)
	}
	return m, nil
}

// CreateMountTarget gives a file system an address in a subnet.
func (s *Service) CreateMountTarget(ctx context.Context, in *sdk.CreateMountTargetInput) (*sdk.CreateMountTargetOutput, error) {
	if in.IpAddressType != "" && in.IpAddressType != types.IpAddressTypeIpv4Only || in.Ipv6Address != nil {
		return nil, wire.Errorf("BadRequest", "The region has no IPv6 addresses.")
	}
	m, err := s.createMountTarget(ctx, *in.FileSystemId, *in.SubnetId, aws.ToString(in.IpAddress), in.SecurityGroups)
	if err != nil {
		return nil, err
	}
	d := m.Description
	return &sdk.CreateMountTargetOutput{
		FileSystemId: d.FileSystemId, LifeCycleState: types.LifeCycleStateCreating, MountTargetId: d.MountTargetId, SubnetId: d.SubnetId,
		AvailabilityZoneId: d.AvailabilityZoneId, AvailabilityZoneName: d.AvailabilityZoneName, IpAddress: d.IpAddress,
		NetworkInterfaceId: d.NetworkInterfaceId, OwnerId: d.OwnerId, VpcId: d.VpcId,
	}, nil
}

func (s *Service) createMountTarget(ctx context.Context, fsID, subnetID, address string, groups []string) (mountTarget, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.fileSystem(fsID)
	if err != nil {
		return mountTarget{}, err
	}
	if len(groups) > maxGroups {
		return mountTarget{}, wire.Errorf("SecurityGroupLimitExceeded", "Mount targets can have at most %d security groups.", maxGroups)
	}
	fsID = *f.Description.FileSystemId
	subnet, err := s.subnet(ctx, subnetID)
	if err != nil {
		return mountTarget{}, err
	}
	zone := aws.ToString(subnet.AvailabilityZone)
	if only := aws.ToString(f.Description.AvailabilityZoneName); only != "" && only != zone {
		return mountTarget{}, wire.Errorf("AvailabilityZonesMismatch", "The file system is in %s, the subnet in %s.", only, zone)
	}
	for _, m := range s.targetsOf(fsID) {
		switch {
		case aws.ToString(m.Description.VpcId) != aws.ToString(subnet.VpcId):
			return mountTarget{}, conflict("requested subnet for new mount target is not in the same VPC as existing mount targets")
		case aws.ToString(m.Description.AvailabilityZoneName) == zone:
			return mountTarget{}, conflict("mount target already exists in this AZ")
		}
	}
	id := region.NewID("fsmt")
	m := mountTarget{Groups: groups, Description: types.MountTargetDescription{
		FileSystemId: &fsID, MountTargetId: &id, SubnetId: &subnetID, LifeCycleState: types.LifeCycleStateCreating,
		AvailabilityZoneName: &zone, AvailabilityZoneId: subnet.AvailabilityZoneId, VpcId: subnet.VpcId, OwnerId: aws.String(s.id.Account()),
	}}
	if address != "" {
		m.Description.IpAddress = &address
	}
	if err := s.mountTargets.Put(id, m); err != nil {
		return mountTarget{}, err
	}
	return s.attach(ctx, m)
}

func conflict(message string) error {
	return &wire.Error{Code: "MountTargetConflict", Message: message, Status: 409}
}

// subnet asks EC2 about a subnet.
func (s *Service) subnet(ctx context.Context, id string) (ec2types.Subnet, error) {
	out, err := s.net.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: []string{id}})
	if err != nil && strings.HasPrefix(code(err), "InvalidSubnet") {
		return ec2types.Subnet{}, wire.Errorf("SubnetNotFound", "The subnet ID '%s' does not exist", id)
	}
	if err != nil {
		return ec2types.Subnet{}, fmt.Errorf("subnet of mount target: %w", err)
	}
	return out.Subnets[0], nil
}

// attach makes the network interface of a mount target, whose row it completes,
// or removes when there can be no interface. It may be called again after a
// process died in it.
func (s *Service) attach(ctx context.Context, m mountTarget) (mountTarget, error) {
	id := *m.Description.MountTargetId
	eni, err := s.createInterface(ctx, m)
	if err != nil {
		return mountTarget{}, errors.Join(err, s.mountTargets.Delete(id))
	}
	return s.mountTargets.Update(id, func(m *mountTarget) error {
		m.Description.LifeCycleState = types.LifeCycleStateAvailable
		m.Description.IpAddress, m.Description.NetworkInterfaceId = eni.PrivateIpAddress, eni.NetworkInterfaceId
		m.Groups = nil
		for _, g := range eni.Groups {
			m.Groups = append(m.Groups, aws.ToString(g.GroupId))
		}
		return nil
	})
}

func (s *Service) createInterface(ctx context.Context, m mountTarget) (*ec2types.NetworkInterface, error) {
	d := m.Description
	in := &ec2.CreateNetworkInterfaceInput{
		SubnetId: d.SubnetId, Groups: m.Groups, ClientToken: d.MountTargetId, PrivateIpAddress: d.IpAddress,
		Description: aws.String(fmt.Sprintf("EFS mount target for %s (%s)", *d.FileSystemId, *d.MountTargetId)),
	}
	address := aws.ToString(d.IpAddress)
	if _, err := netip.ParseAddr(address); address != "" && err != nil {
		return nil, wire.Errorf("BadRequest", "Address %s does not fall within the subnet's address range", address)
	}
	out, err := s.net.CreateNetworkInterface(ctx, in)
	if err == nil {
		return out.NetworkInterface, nil
	}
	switch c := code(err); {
	case strings.HasPrefix(c, "InvalidGroup") || strings.HasPrefix(c, "InvalidSecurityGroup"):
		return nil, wire.Errorf("SecurityGroupNotFound", "One of the specified security groups %s does not exist in the subnet's VPC.", strings.Join(m.Groups, ", "))
	case c == "InvalidIPAddress.InUse":
		return nil, &wire.Error{Code: "IpAddressInUse", Message: "Address " + address + " is already in use.", Status: 409}
	case c == "InsufficientFreeAddressesInSubnet":
		return nil, &wire.Error{Code: "NoFreeAddressesInSubnet", Message: "No free addresses in subnet " + aws.ToString(d.SubnetId), Status: 409}
	case c == "InvalidParameterValue":
		return nil, wire.Errorf("BadRequest", "Address %s does not fall within the subnet's address range", address)
	}
	return nil, fmt.Errorf("network interface of mount target: %w", err)
}

// DeleteMountTarget takes the address away.
func (s *Service) DeleteMountTarget(ctx context.Context, in *sdk.DeleteMountTargetInput) (*sdk.DeleteMountTargetOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := s.mountTarget(*in.MountTargetId)
	if err != nil {
		return nil, err
	}
	_, err = s.net.DeleteNetworkInterface(ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: m.Description.NetworkInterfaceId})
	if err != nil && code(err) != "InvalidNetworkInterfaceID.NotFound" {
		return nil, wire.Errorf("DependencyTimeout", "The network interface %s could not be deleted: %v", aws.ToString(m.Description.NetworkInterfaceId), err)
	}
	return &sdk.DeleteMountTargetOutput{}, s.mountTargets.Delete(*in.MountTargetId)
}

// DescribeMountTargets lists the mount targets of a file system or access point,
// or one of them.
func (s *Service) DescribeMountTargets(_ context.Context, in *sdk.DescribeMountTargetsInput) (*sdk.DescribeMountTargetsOutput, error) {
	asked := 0
	for _, id := range []*string{in.FileSystemId, in.MountTargetId, in.AccessPointId} {
		if id != nil {
			asked++
		}
	}
	if asked != 1 {
		return nil, wire.Errorf("BadRequest", "Exactly one of FileSystemId, MountTargetId and AccessPointId must be provided.")
	}
	var found []mountTarget
	fsID := in.FileSystemId
	if in.AccessPointId != nil {
		p, err := s.accessPoint(*in.AccessPointId)
		if err != nil {
			return nil, err
		}
		fsID = p.FileSystemId
	}
	if in.MountTargetId != nil {
		m, err := s.mountTarget(*in.MountTargetId)
		if err != nil {
			return nil, err
		}
		found = []mountTarget{m}
	} else {
		f, err := s.fileSystem(*fsID)
		if err != nil {
			return nil, err
		}
		found = s.targetsOf(*f.Description.FileSystemId)
	}
	found, next, err := paged(found, func(m mountTarget) string { return *m.Description.MountTargetId }, in.Marker, pageLimit(in.MaxItems))
	if err != nil {
		return nil, err
	}
	out := &sdk.DescribeMountTargetsOutput{Marker: in.Marker, NextMarker: next}
	for _, m := range found {
		out.MountTargets = append(out.MountTargets, m.Description)
	}
	return out, nil
}

// DescribeMountTargetSecurityGroups lists the groups of a mount target.
func (s *Service) DescribeMountTargetSecurityGroups(_ context.Context, in *sdk.DescribeMountTargetSecurityGroupsInput) (*sdk.DescribeMountTargetSecurityGroupsOutput, error) {
	m, err := s.mountTarget(*in.MountTargetId)
	return &sdk.DescribeMountTargetSecurityGroupsOutput{SecurityGroups: slices.Clone(m.Groups)}, err
}

// ModifyMountTargetSecurityGroups replaces the groups of a mount target.
func (s *Service) ModifyMountTargetSecurityGroups(ctx context.Context, in *sdk.ModifyMountTargetSecurityGroupsInput) (*sdk.ModifyMountTargetSecurityGroupsOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := s.mountTarget(*in.MountTargetId)
	if err != nil {
		return nil, err
	}
	if n := len(in.SecurityGroups); n == 0 || n > maxGroups {
		return nil, wire.Errorf("SecurityGroupLimitExceeded", "A mount target has between 1 and %d security groups.", maxGroups)
	}
	_, err = s.net.ModifyNetworkInterfaceAttribute(ctx, &ec2.ModifyNetworkInterfaceAttributeInput{NetworkInterfaceId: m.Description.NetworkInterfaceId, Groups: in.SecurityGroups})
	if err != nil && strings.HasPrefix(code(err), "Invalid") {
		return nil, wire.Errorf("SecurityGroupNotFound", "One of the specified security groups %s does not exist in the subnet's VPC.", strings.Join(in.SecurityGroups, ", "))
	}
	if err != nil {
		return nil, err
	}
	m.Groups = slices.Clone(in.SecurityGroups)
	return &sdk.ModifyMountTargetSecurityGroupsOutput{}, s.mountTargets.Put(*in.MountTargetId, m)
}

func pageLimit(asked *int32) int { return page.Limit(asked, 100) }
