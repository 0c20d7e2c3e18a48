package ec2

import (
	"context"
	"net/netip"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/wire"
)

// vpcRow is a VPC with the attributes that DescribeVpcs does not show.
type vpcRow struct {
	Desc         types.Vpc
	DNSSupport   bool
	DNSHostnames bool
	UsageMetrics bool
	// LetOut is set where machines reach the world outside whatever the routes say.
	LetOut bool `json:",omitempty"`
}

func vpcKey(v *vpcRow) string { return *v.Desc.VpcId }

var vpcAttributes = map[string]attribute[vpcRow]{
	"vpc-id":     func(v *vpcRow) []string { return one(v.Desc.VpcId) },
	"cidr":       func(v *vpcRow) []string { return one(v.Desc.CidrBlock) },
	"cidr-block": func(v *vpcRow) []string { return one(v.Desc.CidrBlock) },
	"cidr-block-association.cidr-block": func(v *vpcRow) []string {
		return one(v.Desc.CidrBlock)
	},
	"cidr-block-association.association-id": func(v *vpcRow) []string {
		return one(v.Desc.CidrBlockAssociationSet[0].AssociationId)
	},
	"cidr-block-association.state": func(*vpcRow) []string { return []string{"associated"} },
	"state":                        func(v *vpcRow) []string { return word(v.Desc.State) },
	"owner-id":                     func(v *vpcRow) []string { return one(v.Desc.OwnerId) },
	"dhcp-options-id":              func(v *vpcRow) []string { return one(v.Desc.DhcpOptionsId) },
	"is-default":                   func(v *vpcRow) []string { return yesNo(v.Desc.IsDefault) },
	"isDefault":                    func(v *vpcRow) []string { return yesNo(v.Desc.IsDefault) },
}

// DescribeVpcs lists VPCs.
func (s *Service) DescribeVpcs(_ context.Context, in *sdk.DescribeVpcsInput) (*sdk.DescribeVpcsOutput, error) {
	l := of(s.vpcs, nounVPC, vpcKey, vpcAttributes, func(v *vpcRow) []types.Tag { return v.Desc.Tags })
	rows, next, err := l.describe(in.VpcIds, in.Filters, in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	out := &sdk.DescribeVpcsOutput{Vpcs: make([]types.Vpc, len(rows)), NextToken: next}
	for i := range rows {
		out.Vpcs[i] = rows[i].Desc
	}
	return out, nil
}

// CreateVpc makes a VPC with its main route table and default security group.
func (s *Service) CreateVpc(ctx context.Context, in *sdk.CreateVpcInput) (*sdk.CreateVpcOutput, error) {
	if in.CidrBlock == nil {
		return nil, missing("cidrBlock")
	}
	tags, err := newTags(ctx, in.TagSpecifications, types.ResourceTypeVpc)
	if err != nil {
		return nil, err
	}
	prefix, err := parseBlock(*in.CidrBlock, "InvalidVpc.Range")
	if err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.createVPC(prefix, false, tags)
	if err != nil {
		return nil, err
	}
	if in.InstanceTenancy != "" {
		v.Desc.InstanceTenancy = in.InstanceTenancy
		if err := s.vpcs.put(*v.Desc.VpcId, v); err != nil {
			return nil, err
		}
	}
	return &sdk.CreateVpcOutput{Vpc: &v.Desc}, nil
}

// createVPC makes the VPC and what every VPC has from the start. s.mu is held.
func (s *Service) createVPC(prefix netip.Prefix, isDefault bool, tags []types.Tag) (*vpcRow, error) {
	id := region.NewID("vpc")
	v := &vpcRow{
		Desc: types.Vpc{
			VpcId:           aws.String(id),
			CidrBlock:       aws.String(prefix.String()),
			OwnerId:         aws.String(s.id.Account()),
			State:           types.VpcStateAvailable,
			DhcpOptionsId:   aws.String("dopt-00000000000000001"),
			InstanceTenancy: types.TenancyDefault,
			IsDefault:       aws.Bool(isDefault),
			Tags:            tags,
			CidrBlockAssociationSet: []types.VpcCidrBlockAssociation{{
				AssociationId:  aws.String(region.NewID("vpc-cidr-assoc")),
				CidrBlock:      aws.String(prefix.String()),
				CidrBlockState: &types.VpcCidrBlockState{State: types.VpcCidrBlockStateCodeAssociated},
			}},
		},
		DNSSupport:   true,
		DNSHostnames: isDefault,
	}
	table := types.RouteTable{
		RouteTableId: aws.String(region.NewID("rtb")),
		VpcId:        aws.String(id),
		OwnerId:      aws.String(s.id.Account()),
		Routes:       []types.Route{localRoute(prefix)},
	}
	table.Associations = []types.RouteTableAssociation{{
		Main:                    aws.Bool(true),
		RouteTableId:            table.RouteTableId,
		RouteTableAssociationId: aws.String(region.NewID("rtbassoc")),
		AssociationState:        &types.RouteTableAssociationState{State: types.RouteTableAssociationStateCodeAssociated},
	}}
	group := newGroup(s.id, region.NewID("sg"), "default", "default VPC security group", id)
	group.Rules = append(group.Rules, newRule(group.ID, false, "-1", nil, nil, peer{Group: group.ID}, ""))
	for _, err := range []error{
		s.routes.put(*table.RouteTableId, &table),
		s.groups.put(group.ID, group),
		s.vpcs.put(id, v), // last: whoever finds it finds the rest
	} {
		if err != nil {
			return nil, err
		}
	}
	return v, nil
}

// CreateDefaultVpc makes the VPC that requests without a subnet mean, with a
// public subnet in each zone.
func (s *Service) CreateDefaultVpc(_ context.Context, in *sdk.CreateDefaultVpcInput) (*sdk.CreateDefaultVpcOutput, error) {
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.defaultVPC(); v != nil {
		return nil, wire.Errorf("DefaultVpcAlreadyExists", "A Default VPC already exists for this account in this region.")
	}
	v, err := s.createVPC(netip.MustParsePrefix("172.31.0.0/16"), true, nil)
	if err != nil {
		return nil, err
	}
	if err := s.connect(*v.Desc.VpcId); err != nil {
		return nil, err
	}
	for i, zone := range s.id.AZs() {
		block := netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 31, byte(16 * i), 0}), 20)
		subnet := s.newSubnet(region.NewID("subnet"), v, block, zone)
		subnet.DefaultForAz, subnet.MapPublicIpOnLaunch = aws.Bool(true), aws.Bool(true)
		if err := s.putSubnet(subnet); err != nil {
			return nil, err
		}
	}
	return &sdk.CreateDefaultVpcOutput{Vpc: &v.Desc}, nil
}

func (s *Service) defaultVPC() *vpcRow {
	for _, v := range s.vpcs.all() {
		if aws.ToBool(v.Desc.IsDefault) {
			return v
		}
	}
	return nil
}

// connect gives a VPC an internet gateway and a default route to it. s.mu is held.
func (s *Service) connect(vpcID string) error {
	gateway := &types.InternetGateway{
		InternetGatewayId: aws.String(region.NewID("igw")),
		OwnerId:           aws.String(s.id.Account()),
		Attachments:       []types.InternetGatewayAttachment{{VpcId: aws.String(vpcID), State: "available"}},
	}
	if err := s.gateways.put(*gateway.InternetGatewayId, gateway); err != nil {
		return err
	}
	return s.routes.set(*s.mainRoutes(vpcID).RouteTableId, func(t *types.RouteTable) {
		t.Routes = append(t.Routes[:len(t.Routes):len(t.Routes)], types.Route{
			DestinationCidrBlock: aws.String("0.0.0.0/0"),
			GatewayId:            gateway.InternetGatewayId,
			Origin:               types.RouteOriginCreateRoute,
			State:                types.RouteStateActive,
		})
	})
}

// DeleteVpc deletes a VPC that has nothing in it.
func (s *Service) DeleteVpc(_ context.Context, in *sdk.DeleteVpcInput) (*sdk.DeleteVpcOutput, error) {
	id := aws.ToString(in.VpcId)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := find(s.vpcs, nounVPC, id); err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	inUse := wire.Errorf("DependencyViolation", "The vpc '%s' has dependencies and cannot be deleted.", id)
	for _, subnet := range s.subnets.all() {
		if *subnet.VpcId == id {
			return nil, inUse
		}
	}
	for _, g := range s.gateways.all() {
		if gatewayVPC(g) == id {
			return nil, inUse
		}
	}
	for _, g := range s.groups.all() {
		if g.VPC == id && g.Name != "default" {
			return nil, inUse
		}
	}
	main := s.mainRoutes(id)
	for _, t := range s.routes.all() {
		if *t.VpcId == id && t != main {
			return nil, inUse
		}
	}
	for _, g := range s.groups.all() {
		if g.VPC == id {
			if err := s.groups.delete(g.ID); err != nil {
				return nil, err
			}
		}
	}
	if err := s.routes.delete(*main.RouteTableId); err != nil {
		return nil, err
	}
	return &sdk.DeleteVpcOutput{}, s.vpcs.delete(id)
}

// DescribeVpcAttribute tells one of the attributes that DescribeVpcs leaves out.
func (s *Service) DescribeVpcAttribute(_ context.Context, in *sdk.DescribeVpcAttributeInput) (*sdk.DescribeVpcAttributeOutput, error) {
	v, err := find(s.vpcs, nounVPC, aws.ToString(in.VpcId))
	if err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	out := &sdk.DescribeVpcAttributeOutput{VpcId: in.VpcId}
	value := func(b bool) *types.AttributeBooleanValue { return &types.AttributeBooleanValue{Value: aws.Bool(b)} }
	switch in.Attribute {
	case types.VpcAttributeNameEnableDnsSupport:
		out.EnableDnsSupport = value(v.DNSSupport)
	case types.VpcAttributeNameEnableDnsHostnames:
		out.EnableDnsHostnames = value(v.DNSHostnames)
	case types.VpcAttributeNameEnableNetworkAddressUsageMetrics:
		out.EnableNetworkAddressUsageMetrics = value(v.UsageMetrics)
	default:
		return nil, invalidValue("Value (%s) for parameter attribute is invalid. Unknown VPC attribute.", in.Attribute)
	}
	return out, nil
}

// ModifyVpcAttribute changes one attribute.
func (s *Service) ModifyVpcAttribute(_ context.Context, in *sdk.ModifyVpcAttributeInput) (*sdk.ModifyVpcAttributeOutput, error) {
	id := aws.ToString(in.VpcId)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := find(s.vpcs, nounVPC, id); err != nil {
		return nil, err
	}
	given := 0
	change := func(to *bool, v *types.AttributeBooleanValue) {
		if v != nil {
			*to = aws.ToBool(v.Value)
			given++
		}
	}
	_, err := s.vpcs.update(id, func(v *vpcRow) error {
		change(&v.DNSSupport, in.EnableDnsSupport)
		change(&v.DNSHostnames, in.EnableDnsHostnames)
		change(&v.UsageMetrics, in.EnableNetworkAddressUsageMetrics)
		switch {
		case given == 0:
			return missing("enableDnsSupport or enableDnsHostnames")
		case given > 1:
			return invalidCombination("Fields for multiple attribute types specified")
		case v.DNSHostnames && !v.DNSSupport:
			return invalidCombination("DNS hostnames need DNS support to be enabled.")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &sdk.ModifyVpcAttributeOutput{}, nil
}

// parseBlock reads the CIDR block of a VPC or subnet: /16 to /28, no host bits.
func parseBlock(block, code string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(block)
	if err != nil || !p.Addr().Is4() {
		return p, invalidValue("Value (%s) for parameter cidrBlock is invalid. This is not a valid CIDR block.", block)
	}
	if p.Bits() < 16 || p.Bits() > 28 {
		return p, wire.Errorf(code, "The CIDR '%s' is invalid.", block)
	}
	return p.Masked(), nil // AWS, too, takes 10.0.0.5/24 and stores 10.0.0.0/24
}

// DescribeDhcpOptions answers with the one set that all VPCs have.
func (s *Service) DescribeDhcpOptions(_ context.Context, in *sdk.DescribeDhcpOptionsInput) (*sdk.DescribeDhcpOptionsOutput, error) {
	options := types.DhcpOptions{
		DhcpOptionsId: aws.String("dopt-00000000000000001"),
		OwnerId:       aws.String(s.id.Account()),
		DhcpConfigurations: []types.DhcpConfiguration{
			{Key: aws.String("domain-name"), Values: []types.AttributeValue{{Value: aws.String(s.privateDomain())}}},
			{Key: aws.String("domain-name-servers"), Values: []types.AttributeValue{{Value: aws.String("AmazonProvidedDNS")}}},
		},
	}
	for _, id := range in.DhcpOptionsIds {
		if id != *options.DhcpOptionsId {
			return nil, wire.Errorf("InvalidDhcpOptionID.NotFound", "The dhcpOption ID '%s' does not exist", id)
		}
	}
	return &sdk.DescribeDhcpOptionsOutput{DhcpOptions: []types.DhcpOptions{options}}, nil
}
