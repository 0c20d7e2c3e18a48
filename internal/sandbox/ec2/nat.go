package ec2

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/wire"
)

// NAT gateways have an interface in their subnet with a public address, and routes
// lead to them. Machines get to the outside as they do without, through the region
// itself: there is nothing that would translate.

var nounNAT = noun{"nat", "InvalidNatGatewayID", "The natGateway ID '%s' does not exist"}

func natKey(v *types.NatGateway) string { return *v.NatGatewayId }

var natAttributes = map[string]attribute[types.NatGateway]{
	"nat-gateway-id": func(v *types.NatGateway) []string { return one(v.NatGatewayId) },
	"state":          func(v *types.NatGateway) []string { return word(v.State) },
	"subnet-id":      func(v *types.NatGateway) []string { return one(v.SubnetId) },
	"vpc-id":         func(v *types.NatGateway) []string { return one(v.VpcId) },
}

// natGateway returns the gateway under an ID. s.mu is held.
func (s *Service) natGateway(id *string) (*types.NatGateway, error) {
	v := s.nats.get(aws.ToString(id))
	if v == nil {
		return nil, wire.Errorf("NatGatewayNotFound", "The Nat Gateway %s was not found", aws.ToString(id))
	}
	return v, nil
}

// DescribeNatGateways lists NAT gateways. Those that are deleted are gone at once,
// not after an hour as in EC2.
func (s *Service) DescribeNatGateways(_ context.Context, in *sdk.DescribeNatGatewaysInput) (*sdk.DescribeNatGatewaysOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range in.NatGatewayIds {
		if _, err := s.natGateway(&id); err != nil {
			return nil, err
		}
	}
	l := of(s.nats, nounNAT, natKey, natAttributes, func(v *types.NatGateway) []types.Tag { return v.Tags })
	rows, next, err := l.describe(in.NatGatewayIds, in.Filter, in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	return &sdk.DescribeNatGatewaysOutput{NatGateways: rows, NextToken: next}, nil
}

// CreateNatGateway makes a NAT gateway: a public one, with an address that was
// allocated for it, or a private one.
func (s *Service) CreateNatGateway(ctx context.Context, in *sdk.CreateNatGatewayInput) (*sdk.CreateNatGatewayOutput, error) {
	tags, err := newTags(ctx, in.TagSpecifications, types.ResourceTypeNatgateway)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	subnet, err := find(s.subnets, nounSubnet, aws.ToString(in.SubnetId))
	if err != nil {
		return nil, err
	}
	var address *types.Address
	if in.ConnectivityType != types.ConnectivityTypePrivate {
		if in.AllocationId == nil {
			return nil, missing("AllocationId")
		}
		if address, err = find(s.eips, nounAllocated, *in.AllocationId); err != nil {
			return nil, err
		}
		if address.AssociationId != nil {
			return nil, wire.Errorf("Resource.AlreadyAssociated", "resource %s is already associated with associate-id %s", *address.AllocationId, *address.AssociationId)
		}
		if !s.connected(*subnet.VpcId) {
			return nil, wire.Errorf("Gateway.NotAttached", "Network %s is not attached to any internet gateway", *subnet.VpcId)
		}
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	id := region.NewID("nat")
	v, err := once(s, "CreateNatGateway", in.ClientToken, in, s.nats, id, func() error {
		return s.newNAT(id, subnet, address, tags)
	})
	if err != nil {
		return nil, err
	}
	return &sdk.CreateNatGatewayOutput{NatGateway: v, ClientToken: in.ClientToken}, nil
}

// newNAT makes a gateway with its interface. s.mu is held.
func (s *Service) newNAT(id string, subnet *types.Subnet, address *types.Address, tags []types.Tag) error {
	eni, err := s.newENI(eniSpec{
		ID: region.NewID("eni"), Subnet: subnet, Type: types.NetworkInterfaceTypeNatGateway, Description: "Interface for NAT Gateway " + id,
	})
	if err != nil {
		return err
	}
	err = s.enis.set(*eni.NetworkInterfaceId, func(v *types.NetworkInterface) {
		v.RequesterManaged, v.Status, v.SourceDestCheck = aws.Bool(true), types.NetworkInterfaceStatusInUse, aws.Bool(false)
	})
	if err != nil {
		return err
	}
	a := types.NatGatewayAddress{
		IsPrimary: aws.Bool(true), NetworkInterfaceId: eni.NetworkInterfaceId, PrivateIp: eni.PrivateIpAddress, Status: types.NatGatewayAddressStatusSucceeded,
	}
	v := &types.NatGateway{
		NatGatewayId: &id, SubnetId: subnet.SubnetId, VpcId: subnet.VpcId, Tags: tags, CreateTime: aws.Time(s.now()),
		State: types.NatGatewayStateAvailable, ConnectivityType: types.ConnectivityTypePrivate,
	}
	if address != nil {
		v.ConnectivityType = types.ConnectivityTypePublic
		if a.AssociationId, err = s.bind(address, s.enis.get(*eni.NetworkInterfaceId)); err != nil {
			return err
		}
		a.AllocationId, a.PublicIp = address.AllocationId, address.PublicIp
	}
	v.NatGatewayAddresses = []types.NatGatewayAddress{a}
	return s.nats.put(id, v)
}

// DeleteNatGateway deletes a NAT gateway, whose address stays allocated. Routes to
// it stay, too, and lead nowhere.
func (s *Service) DeleteNatGateway(_ context.Context, in *sdk.DeleteNatGatewayInput) (*sdk.DeleteNatGatewayOutput, error) {
	defer s.enforce()
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.natGateway(in.NatGatewayId)
	if err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	for _, a := range v.NatGatewayAddresses {
		if err := s.disassociate(s.enis.get(*a.NetworkInterfaceId)); err != nil {
			return nil, fmt.Errorf("address of %s: %w", *v.NatGatewayId, err)
		}
		if err := s.dropENI(*a.NetworkInterfaceId); err != nil {
			return nil, fmt.Errorf("interface of %s: %w", *v.NatGatewayId, err)
		}
	}
	for _, t := range s.routes.all() {
		for i, r := range t.Routes {
			if aws.ToString(r.NatGatewayId) != *v.NatGatewayId {
				continue
			}
			err := s.routes.set(*t.RouteTableId, func(t *types.RouteTable) {
				t.Routes = append([]types.Route{}, t.Routes...)
				t.Routes[i].State = types.RouteStateBlackhole
			})
			if err != nil {
				return nil, err
			}
		}
	}
	return &sdk.DeleteNatGatewayOutput{NatGatewayId: v.NatGatewayId}, s.nats.delete(*v.NatGatewayId)
}
