package ec2

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/wire"
)

func subnetKey(v *types.Subnet) string { return *v.SubnetId }

var subnetAttributes = map[string]attribute[types.Subnet]{
	"subnet-id":                  func(v *types.Subnet) []string { return one(v.SubnetId) },
	"subnet-arn":                 func(v *types.Subnet) []string { return one(v.SubnetArn) },
	"vpc-id":                     func(v *types.Subnet) []string { return one(v.VpcId) },
	"availability-zone":          func(v *types.Subnet) []string { return one(v.AvailabilityZone) },
	"availabilityZone":           func(v *types.Subnet) []string { return one(v.AvailabilityZone) },
	"availability-zone-id":       func(v *types.Subnet) []string { return one(v.AvailabilityZoneId) },
	"available-ip-address-count": func(v *types.Subnet) []string { return number(v.AvailableIpAddressCount) },
	"cidr-block":                 func(v *types.Subnet) []string { return one(v.CidrBlock) },
	"cidr":                       func(v *types.Subnet) []string { return one(v.CidrBlock) },
	"cidrBlock":                  func(v *types.Subnet) []string { return one(v.CidrBlock) },
	"default-for-az":             func(v *types.Subnet) []string { return yesNo(v.DefaultForAz) },
	"defaultForAz":               func(v *types.Subnet) []string { return yesNo(v.DefaultForAz) },
	"map-public-ip-on-launch":    func(v *types.Subnet) []string { return yesNo(v.MapPublicIpOnLaunch) },
	"owner-id":                   func(v *types.Subnet) []string { return one(v.OwnerId) },
	"state":                      func(v *types.Subnet) []string { return word(v.State) },
}

func (s *Service) withFree(v types.Subnet) types.Subnet {
	v.AvailableIpAddressCount = aws.Int32(int32(s.addrs.available(&v)))
	return v
}

// DescribeSubnets lists subnets.
func (s *Service) DescribeSubnets(_ context.Context, in *sdk.DescribeSubnetsInput) (*sdk.DescribeSubnetsOutput, error) {
	l := of(s.subnets, nounSubnet, subnetKey, subnetAttributes, func(v *types.Subnet) []types.Tag { return v.Tags })
	rows, next, err := rendered(l, s.withFree).describe(in.SubnetIds, in.Filters, in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	return &sdk.DescribeSubnetsOutput{Subnets: rows, NextToken: next}, nil
}

// CreateSubnet makes a subnet, in the region's first zone unless told otherwise.
func (s *Service) CreateSubnet(ctx context.Context, in *sdk.CreateSubnetInput) (*sdk.CreateSubnetOutput, error) {
	if in.CidrBlock == nil {
		return nil, missing("cidrBlock")
	}
	tags, err := newTags(ctx, in.TagSpecifications, types.ResourceTypeSubnet)
	if err != nil {
		return nil, err
	}
	zone, err := s.zone(in.AvailabilityZone, in.AvailabilityZoneId)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := find(s.vpcs, nounVPC, aws.ToString(in.VpcId))
	if err != nil {
		return nil, err
	}
	prefix, err := parseBlock(*in.CidrBlock, "InvalidSubnet.Range")
	if err != nil {
		return nil, err
	}
	around := netip.MustParsePrefix(*v.Desc.CidrBlock)
	if prefix.Bits() < around.Bits() || !around.Contains(prefix.Addr()) {
		return nil, wire.Errorf("InvalidSubnet.Range", "The CIDR '%s' is invalid.", *in.CidrBlock)
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	if err := s.checkOverlap(prefix, *v.Desc.VpcId); err != nil {
		return nil, err
	}
	subnet := s.newSubnet(region.NewID("subnet"), v, prefix, zone)
	subnet.Tags = tags
	if err := s.putSubnet(subnet); err != nil {
		return nil, err
	}
	shown := s.withFree(*subnet)
	return &sdk.CreateSubnetOutput{Subnet: &shown}, nil
}

// checkOverlap keeps the subnets of the whole region apart: see the package comment.
func (s *Service) checkOverlap(prefix netip.Prefix, vpcID string) error {
	for _, other := range s.subnets.all() {
		if !prefix.Overlaps(netip.MustParsePrefix(*other.CidrBlock)) {
			continue
		}
		if *other.VpcId == vpcID {
			return wire.Errorf("InvalidSubnet.Conflict", "The CIDR '%s' conflicts with another subnet", prefix)
		}
		return wire.Errorf("InvalidSubnet.Conflict", "The CIDR '%s' conflicts with %s of %s: all VPCs of this region share one address space",
			prefix, *other.SubnetId, *other.VpcId)
	}
	return nil
}

func (s *Service) newSubnet(id string, v *vpcRow, prefix netip.Prefix, zone string) *types.Subnet {
	return &types.Subnet{
		SubnetId:                    aws.String(id),
		SubnetArn:                   aws.String(s.id.ARN("ec2", "subnet/"+id)),
		VpcId:                       v.Desc.VpcId,
		OwnerId:                     aws.String(s.id.Account()),
		CidrBlock:                   aws.String(prefix.String()),
		AvailabilityZone:            aws.String(zone),
		AvailabilityZoneId:          aws.String(s.zoneID(zone)),
		State:                       types.SubnetStateAvailable,
		DefaultForAz:                aws.Bool(false),
		MapPublicIpOnLaunch:         aws.Bool(false),
		AssignIpv6AddressOnCreation: aws.Bool(false),
		EnableDns64:                 aws.Bool(false),
		Ipv6Native:                  aws.Bool(false),
		PrivateDnsNameOptionsOnLaunch: &types.PrivateDnsNameOptionsOnLaunch{
			HostnameType:                    types.HostnameTypeIpName,
			EnableResourceNameDnsARecord:    aws.Bool(false),
			EnableResourceNameDnsAAAARecord: aws.Bool(false),
		},
	}
}

func (s *Service) putSubnet(v *types.Subnet) error {
	if err := s.cfg.Network.AddSubnet(netip.MustParsePrefix(*v.CidrBlock)); err != nil {
		return fmt.Errorf("add %s to the region's network: %w", *v.SubnetId, err)
	}
	return s.subnets.put(*v.SubnetId, v)
}

// DeleteSubnet deletes a subnet without network interfaces.
func (s *Service) DeleteSubnet(_ context.Context, in *sdk.DeleteSubnetInput) (*sdk.DeleteSubnetOutput, error) {
	id := aws.ToString(in.SubnetId)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := find(s.subnets, nounSubnet, id); err != nil {
		return nil, err
	}
	for _, eni := range s.enis.all() {
		if *eni.SubnetId == id {
			return nil, wire.Errorf("DependencyViolation", "The subnet '%s' has dependencies and cannot be deleted.", id)
		}
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	if err := s.subnets.delete(id); err != nil {
		return nil, err
	}
	// Route tables forget the subnet, as in EC2.
	for _, t := range s.routes.all() {
		of := func(a types.RouteTableAssociation) bool { return aws.ToString(a.SubnetId) == id }
		if !slices.ContainsFunc(t.Associations, of) {
			continue
		}
		err := s.routes.set(*t.RouteTableId, func(t *types.RouteTable) {
			t.Associations = slices.DeleteFunc(slices.Clone(t.Associations), of)
		})
		if err != nil {
			return nil, err
		}
	}
	return &sdk.DeleteSubnetOutput{}, nil
}

// ModifySubnetAttribute changes whether instances get public addresses by
// default; other attributes belong to IPv6 and the like, which are not here.
func (s *Service) ModifySubnetAttribute(_ context.Context, in *sdk.ModifySubnetAttributeInput) (*sdk.ModifySubnetAttributeOutput, error) {
	id := aws.ToString(in.SubnetId)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := find(s.subnets, nounSubnet, id); err != nil {
		return nil, err
	}
	switch {
	case in.MapPublicIpOnLaunch != nil:
		err := s.subnets.set(id, func(v *types.Subnet) { v.MapPublicIpOnLaunch = aws.Bool(aws.ToBool(in.MapPublicIpOnLaunch.Value)) })
		return &sdk.ModifySubnetAttributeOutput{}, err
	case in.AssignIpv6AddressOnCreation != nil && aws.ToBool(in.AssignIpv6AddressOnCreation.Value), in.EnableDns64 != nil && aws.ToBool(in.EnableDns64.Value):
		return nil, wire.Errorf("UnsupportedOperation", "The sandbox has no IPv6.")
	case in.PrivateDnsHostnameTypeOnLaunch != "", in.EnableResourceNameDnsARecordOnLaunch != nil, in.EnableResourceNameDnsAAAARecordOnLaunch != nil:
		err := s.subnets.set(id, func(v *types.Subnet) {
			options := *v.PrivateDnsNameOptionsOnLaunch
			if in.PrivateDnsHostnameTypeOnLaunch != "" {
				options.HostnameType = in.PrivateDnsHostnameTypeOnLaunch
			}
			if r := in.EnableResourceNameDnsARecordOnLaunch; r != nil {
				options.EnableResourceNameDnsARecord = aws.Bool(aws.ToBool(r.Value))
			}
			if r := in.EnableResourceNameDnsAAAARecordOnLaunch; r != nil {
				options.EnableResourceNameDnsAAAARecord = aws.Bool(aws.ToBool(r.Value))
			}
			v.PrivateDnsNameOptionsOnLaunch = &options
		})
		return &sdk.ModifySubnetAttributeOutput{}, err
	}
	return &sdk.ModifySubnetAttributeOutput{}, nil
}
