package ec2

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// Outward says why the machine at a private address does not reach the Internet, as
// far as routes and public addresses go; nil if it does.
func (s *Service) Outward(addr netip.Addr) error {
	eni := s.enis.get(s.addrs.find(addr))
	if eni == nil {
		return fmt.Errorf("nothing in the region has the address %s", addr)
	}
	if v := s.vpcs.get(*eni.VpcId); v != nil && v.LetOut {
		return nil
	}
	subnet := *eni.SubnetId
	table := s.routesOf(subnet, *eni.VpcId)
	i := slices.IndexFunc(table.Routes, func(r types.Route) bool { return aws.ToString(r.DestinationCidrBlock) == "0.0.0.0/0" })
	if i < 0 {
		return fmt.Errorf("%s has no route to the Internet: %s has none for 0.0.0.0/0", subnet, *table.RouteTableId)
	}
	route := table.Routes[i]
	nat := s.nats.get(aws.ToString(route.NatGatewayId))
	switch {
	case nat != nil && nat.State == types.NatGatewayStateAvailable:
		return nil
	case s.gateways.get(aws.ToString(route.GatewayId)) == nil:
		return fmt.Errorf("%s has no route to the Internet: the route for 0.0.0.0/0 in %s leads to no gateway that is there", subnet, *table.RouteTableId)
	case eni.Association == nil || aws.ToString(eni.Association.PublicIp) == "":
		return fmt.Errorf("%s has no public address, which the route of %s to an internet gateway needs", addr, subnet)
	}
	return nil
}

// routesOf returns the route table of a subnet: its own, else the VPC's.
func (s *Service) routesOf(subnetID, vpcID string) *types.RouteTable {
	for _, t := range s.routes.all() {
		if slices.ContainsFunc(t.Associations, func(a types.RouteTableAssociation) bool { return aws.ToString(a.SubnetId) == subnetID }) {
			return t
		}
	}
	return s.mainRoutes(vpcID)
}

// LetOut makes the machines of a VPC reach the world outside whatever its routes say.
func (s *Service) LetOut(vpcID string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := find(s.vpcs, nounVPC, vpcID); err != nil {
		return err
	}
	return s.vpcs.set(vpcID, func(v *vpcRow) { v.LetOut = true })
}
