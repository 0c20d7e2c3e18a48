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

// Routes are kept for those who read them: which subnet counts as public follows
// from them. Packets are routed by package vpc, which connects all subnets.

func routesKey(v *types.RouteTable) string       { return *v.RouteTableId }
func gatewayKey(v *types.InternetGateway) string { return *v.InternetGatewayId }
func gatewayVPC(v *types.InternetGateway) string {
	if len(v.Attachments) == 0 {
		return ""
	}
	return aws.ToString(v.Attachments[0].VpcId)
}

func localRoute(prefix netip.Prefix) types.Route {
	return types.Route{
		DestinationCidrBlock: aws.String(prefix.String()),
		GatewayId:            aws.String("local"),
		Origin:               types.RouteOriginCreateRouteTable,
		State:                types.RouteStateActive,
	}
}

func eachAssociation(get func(types.RouteTableAssociation) *string) attribute[types.RouteTable] {
	return func(t *types.RouteTable) []string {
		var out []string
		for _, a := range t.Associations {
			out = append(out, one(get(a))...)
		}
		return out
	}
}

func eachRoute(get func(types.Route) []string) attribute[types.RouteTable] {
	return func(t *types.RouteTable) []string {
		var out []string
		for _, r := range t.Routes {
			out = append(out, get(r)...)
		}
		return out
	}
}

var routeAttributes = map[string]attribute[types.RouteTable]{
	"route-table-id": func(t *types.RouteTable) []string { return one(t.RouteTableId) },
	"vpc-id":         func(t *types.RouteTable) []string { return one(t.VpcId) },
	"owner-id":       func(t *types.RouteTable) []string { return one(t.OwnerId) },
	"association.subnet-id": eachAssociation(func(a types.RouteTableAssociation) *string {
		return a.SubnetId
	}),
	"association.gateway-id": eachAssociation(func(a types.RouteTableAssociation) *string {
		return a.GatewayId
	}),
	"association.route-table-association-id": eachAssociation(func(a types.RouteTableAssociation) *string {
		return a.RouteTableAssociationId
	}),
	"association.route-table-id": eachAssociation(func(a types.RouteTableAssociation) *string {
		return a.RouteTableId
	}),
	"association.main": func(t *types.RouteTable) []string { return yesNo(aws.Bool(isMain(t))) },
	"route.destination-cidr-block": eachRoute(func(r types.Route) []string {
		return one(r.DestinationCidrBlock)
	}),
	"route.gateway-id":           eachRoute(func(r types.Route) []string { return one(r.GatewayId) }),
	"route.instance-id":          eachRoute(func(r types.Route) []string { return one(r.InstanceId) }),
	"route.nat-gateway-id":       eachRoute(func(r types.Route) []string { return one(r.NatGatewayId) }),
	"route.network-interface-id": eachRoute(func(r types.Route) []string { return one(r.NetworkInterfaceId) }),
	"route.origin":               eachRoute(func(r types.Route) []string { return word(r.Origin) }),
	"route.state":                eachRoute(func(r types.Route) []string { return word(r.State) }),
}

func isMain(t *types.RouteTable) bool {
	return slices.ContainsFunc(t.Associations, func(a types.RouteTableAssociation) bool { return aws.ToBool(a.Main) })
}

func (s *Service) mainRoutes(vpcID string) *types.RouteTable {
	for _, t := range s.routes.all() {
		if *t.VpcId == vpcID && isMain(t) {
			return t
		}
	}
	return nil // no VPC is without one
}

// DescribeRouteTables lists route tables.
func (s *Service) DescribeRouteTables(_ context.Context, in *sdk.DescribeRouteTablesInput) (*sdk.DescribeRouteTablesOutput, error) {
	l := of(s.routes, nounRoutes, routesKey, routeAttributes, func(t *types.RouteTable) []types.Tag { return t.Tags })
	rows, next, err := l.describe(in.RouteTableIds, in.Filters, in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	return &sdk.DescribeRouteTablesOutput{RouteTables: rows, NextToken: next}, nil
}

// CreateRouteTable makes a route table with the local route.
func (s *Service) CreateRouteTable(ctx context.Context, in *sdk.CreateRouteTableInput) (*sdk.CreateRouteTableOutput, error) {
	tags, err := newTags(ctx, in.TagSpecifications, types.ResourceTypeRouteTable)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := find(s.vpcs, nounVPC, aws.ToString(in.VpcId))
	if err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	id := region.NewID("rtb")
	t, err := once(s, "CreateRouteTable", in.ClientToken, in, s.routes, id, func() error {
		return s.routes.put(id, &types.RouteTable{
			RouteTableId: aws.String(id),
			VpcId:        v.Desc.VpcId,
			OwnerId:      aws.String(s.id.Account()),
			Routes:       []types.Route{localRoute(netip.MustParsePrefix(*v.Desc.CidrBlock))},
			Tags:         tags,
		})
	})
	if err != nil {
		return nil, err
	}
	return &sdk.CreateRouteTableOutput{RouteTable: t, ClientToken: in.ClientToken}, nil
}

// DeleteRouteTable deletes a route table that no subnet uses.
func (s *Service) DeleteRouteTable(_ context.Context, in *sdk.DeleteRouteTableInput) (*sdk.DeleteRouteTableOutput, error) {
	id := aws.ToString(in.RouteTableId)
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := find(s.routes, nounRoutes, id)
	if err != nil {
		return nil, err
	}
	if len(t.Associations) > 0 {
		return nil, wire.Errorf("DependencyViolation", "The routeTable '%s' has dependencies and cannot be deleted.", id)
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	return &sdk.DeleteRouteTableOutput{}, s.routes.delete(id)
}

// AssociateRouteTable makes a subnet use a route table.
func (s *Service) AssociateRouteTable(_ context.Context, in *sdk.AssociateRouteTableInput) (*sdk.AssociateRouteTableOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := find(s.routes, nounRoutes, aws.ToString(in.RouteTableId)); err != nil {
		return nil, err
	}
	if in.SubnetId == nil {
		return nil, missing("subnetId")
	}
	if _, err := find(s.subnets, nounSubnet, *in.SubnetId); err != nil {
		return nil, err
	}
	for _, t := range s.routes.all() {
		for _, a := range t.Associations {
			if aws.ToString(a.SubnetId) != *in.SubnetId {
				continue
			}
			if *t.RouteTableId != *in.RouteTableId {
				return nil, wire.Errorf("Resource.AlreadyAssociated", "the specified association for route table %s conflicts with an existing association", *in.RouteTableId)
			}
			return &sdk.AssociateRouteTableOutput{AssociationId: a.RouteTableAssociationId, AssociationState: a.AssociationState}, nil
		}
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	a := types.RouteTableAssociation{
		Main:                    aws.Bool(false),
		RouteTableId:            in.RouteTableId,
		SubnetId:                in.SubnetId,
		RouteTableAssociationId: aws.String(region.NewID("rtbassoc")),
		AssociationState:        &types.RouteTableAssociationState{State: types.RouteTableAssociationStateCodeAssociated},
	}
	err := s.routes.set(*in.RouteTableId, func(t *types.RouteTable) {
		t.Associations = append(slices.Clone(t.Associations), a)
	})
	if err != nil {
		return nil, err
	}
	return &sdk.AssociateRouteTableOutput{AssociationId: a.RouteTableAssociationId, AssociationState: a.AssociationState}, nil
}

// DisassociateRouteTable makes a subnet use the main route table again.
func (s *Service) DisassociateRouteTable(_ context.Context, in *sdk.DisassociateRouteTableInput) (*sdk.DisassociateRouteTableOutput, error) {
	id := aws.ToString(in.AssociationId)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.routes.all() {
		for i, a := range t.Associations {
			if *a.RouteTableAssociationId != id {
				continue
			}
			if aws.ToBool(a.Main) {
				return nil, invalidValue("cannot disassociate the main route table association %s", id)
			}
			if err := dryRun(in.DryRun); err != nil {
				return nil, err
			}
			err := s.routes.set(*t.RouteTableId, func(t *types.RouteTable) {
				t.Associations = slices.Delete(slices.Clone(t.Associations), i, i+1)
			})
			return &sdk.DisassociateRouteTableOutput{}, err
		}
	}
	return nil, wire.Errorf("InvalidAssociationID.NotFound", "The association ID '%s' does not exist", id)
}

// CreateRoute adds a route to an internet gateway, a NAT gateway or a network
// interface.
func (s *Service) CreateRoute(_ context.Context, in *sdk.CreateRouteInput) (*sdk.CreateRouteOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := find(s.routes, nounRoutes, aws.ToString(in.RouteTableId))
	if err != nil {
		return nil, err
	}
	if in.DestinationCidrBlock == nil {
		return nil, missing("destinationCidrBlock")
	}
	to, err := netip.ParsePrefix(*in.DestinationCidrBlock)
	if err != nil {
		return nil, invalidValue("Value (%s) for parameter destinationCidrBlock is invalid. This is not a valid CIDR block.", *in.DestinationCidrBlock)
	}
	route := types.Route{
		DestinationCidrBlock: aws.String(to.Masked().String()),
		Origin:               types.RouteOriginCreateRoute,
		State:                types.RouteStateActive,
	}
	switch {
	case in.GatewayId != nil:
		g, err := find(s.gateways, nounGateway, *in.GatewayId)
		if err != nil {
			return nil, err
		}
		if gatewayVPC(g) != *t.VpcId {
			return nil, invalidValue("route table %s and network gateway %s belong to different networks", *t.RouteTableId, *in.GatewayId)
		}
		route.GatewayId = in.GatewayId
	case in.NetworkInterfaceId != nil:
		if _, err := find(s.enis, nounENI, *in.NetworkInterfaceId); err != nil {
			return nil, err
		}
		route.NetworkInterfaceId = in.NetworkInterfaceId
	case in.NatGatewayId != nil:
		nat, err := find(s.nats, nounNAT, *in.NatGatewayId)
		if err != nil {
			return nil, err
		}
		if *nat.VpcId != *t.VpcId {
			return nil, invalidValue("route table %s and network gateway %s belong to different networks", *t.RouteTableId, *in.NatGatewayId)
		}
		route.NatGatewayId = in.NatGatewayId
	default:
		return nil, missing("gatewayId, networkInterfaceId or natGatewayId")
	}
	for _, r := range t.Routes {
		if aws.ToString(r.DestinationCidrBlock) == *route.DestinationCidrBlock {
			return nil, wire.Errorf("RouteAlreadyExists", "The route identified by %s already exists.", *route.DestinationCidrBlock)
		}
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	err = s.routes.set(*t.RouteTableId, func(t *types.RouteTable) { t.Routes = append(slices.Clone(t.Routes), route) })
	return &sdk.CreateRouteOutput{Return: aws.Bool(true)}, err
}

// DeleteRoute removes a route.
func (s *Service) DeleteRoute(_ context.Context, in *sdk.DeleteRouteInput) (*sdk.DeleteRouteOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := find(s.routes, nounRoutes, aws.ToString(in.RouteTableId))
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(t.Routes, func(r types.Route) bool {
		return aws.ToString(r.DestinationCidrBlock) == aws.ToString(in.DestinationCidrBlock)
	})
	switch {
	case i < 0:
		return nil, wire.Errorf("InvalidRoute.NotFound", "no route with destination-cidr-block %s in route table %s",
			aws.ToString(in.DestinationCidrBlock), *t.RouteTableId)
	case aws.ToString(t.Routes[i].GatewayId) == "local":
		return nil, invalidValue("cannot remove local route %s in route table %s", *in.DestinationCidrBlock, *t.RouteTableId)
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	err = s.routes.set(*t.RouteTableId, func(t *types.RouteTable) { t.Routes = slices.Delete(slices.Clone(t.Routes), i, i+1) })
	return &sdk.DeleteRouteOutput{}, err
}

var gatewayAttributes = map[string]attribute[types.InternetGateway]{
	"internet-gateway-id": func(g *types.InternetGateway) []string { return one(g.InternetGatewayId) },
	"owner-id":            func(g *types.InternetGateway) []string { return one(g.OwnerId) },
	"attachment.vpc-id":   func(g *types.InternetGateway) []string { return word(gatewayVPC(g)) },
	"attachment.state": func(g *types.InternetGateway) []string {
		if len(g.Attachments) == 0 {
			return nil
		}
		return word(g.Attachments[0].State)
	},
}

// DescribeInternetGateways lists internet gateways.
func (s *Service) DescribeInternetGateways(_ context.Context, in *sdk.DescribeInternetGatewaysInput) (*sdk.DescribeInternetGatewaysOutput, error) {
	l := of(s.gateways, nounGateway, gatewayKey, gatewayAttributes, func(g *types.InternetGateway) []types.Tag { return g.Tags })
	rows, next, err := l.describe(in.InternetGatewayIds, in.Filters, in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	return &sdk.DescribeInternetGatewaysOutput{InternetGateways: rows, NextToken: next}, nil
}

// CreateInternetGateway makes an internet gateway that no VPC uses yet.
func (s *Service) CreateInternetGateway(ctx context.Context, in *sdk.CreateInternetGatewayInput) (*sdk.CreateInternetGatewayOutput, error) {
	tags, err := newTags(ctx, in.TagSpecifications, types.ResourceTypeInternetGateway)
	if err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	g := &types.InternetGateway{
		InternetGatewayId: aws.String(region.NewID("igw")),
		OwnerId:           aws.String(s.id.Account()),
		Tags:              tags,
	}
	return &sdk.CreateInternetGatewayOutput{InternetGateway: g}, s.gateways.put(*g.InternetGatewayId, g)
}

// AttachInternetGateway gives a VPC its gateway.
func (s *Service) AttachInternetGateway(_ context.Context, in *sdk.AttachInternetGatewayInput) (*sdk.AttachInternetGatewayOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := find(s.gateways, nounGateway, aws.ToString(in.InternetGatewayId))
	if err != nil {
		return nil, err
	}
	if _, err := find(s.vpcs, nounVPC, aws.ToString(in.VpcId)); err != nil {
		return nil, err
	}
	if gatewayVPC(g) != "" {
		return nil, wire.Errorf("Resource.AlreadyAssociated", "resource %s is already attached to network %s", *g.InternetGatewayId, gatewayVPC(g))
	}
	for _, other := range s.gateways.all() {
		if gatewayVPC(other) == *in.VpcId {
			return nil, invalidValue("Network %s already has an internet gateway attached", *in.VpcId)
		}
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	err = s.gateways.set(*g.InternetGatewayId, func(g *types.InternetGateway) {
		g.Attachments = []types.InternetGatewayAttachment{{VpcId: in.VpcId, State: "available"}}
	})
	return &sdk.AttachInternetGatewayOutput{}, err
}

// DetachInternetGateway takes a VPC's gateway away, unless somebody in the VPC
// has a public address.
func (s *Service) DetachInternetGateway(_ context.Context, in *sdk.DetachInternetGatewayInput) (*sdk.DetachInternetGatewayOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := find(s.gateways, nounGateway, aws.ToString(in.InternetGatewayId))
	if err != nil {
		return nil, err
	}
	if _, err := find(s.vpcs, nounVPC, aws.ToString(in.VpcId)); err != nil {
		return nil, err
	}
	if gatewayVPC(g) != *in.VpcId {
		return nil, wire.Errorf("Gateway.NotAttached", "resource %s is not attached to network %s", *g.InternetGatewayId, *in.VpcId)
	}
	for _, eni := range s.enis.all() {
		if *eni.VpcId == *in.VpcId && eni.Association != nil {
			return nil, wire.Errorf("DependencyViolation", "Network %s has some mapped public address(es). Please unmap those public address(es) before detaching the gateway.", *in.VpcId)
		}
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	err = s.gateways.set(*g.InternetGatewayId, func(g *types.InternetGateway) { g.Attachments = nil })
	return &sdk.DetachInternetGatewayOutput{}, err
}

// DeleteInternetGateway deletes a gateway that no VPC uses.
func (s *Service) DeleteInternetGateway(_ context.Context, in *sdk.DeleteInternetGatewayInput) (*sdk.DeleteInternetGatewayOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := find(s.gateways, nounGateway, aws.ToString(in.InternetGatewayId))
	if err != nil {
		return nil, err
	}
	if gatewayVPC(g) != "" {
		return nil, wire.Errorf("DependencyViolation", "The internetGateway '%s' has dependencies and cannot be deleted.", *g.InternetGatewayId)
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	return &sdk.DeleteInternetGatewayOutput{}, s.gateways.delete(*g.InternetGatewayId)
}
