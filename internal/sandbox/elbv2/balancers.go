package elbv2

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/smithy-go"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/wire"
)

// balancerDefaults are the attributes that every network load balancer has.
var balancerDefaults = map[string]string{
	"access_logs.s3.enabled": "false", "access_logs.s3.bucket": "", "access_logs.s3.prefix": "",
	"deletion_protection.enabled": "false", "load_balancing.cross_zone.enabled": "false",
	"dns_record.client_routing_policy": "any_availability_zone",
}

// CreateLoadBalancer makes a network load balancer. Making one again that exists
// with the same settings returns it.
func (s *Service) CreateLoadBalancer(ctx context.Context, in *elb.CreateLoadBalancerInput) (*elb.CreateLoadBalancerOutput, error) {
	if in.Type != types.LoadBalancerTypeEnumNetwork {
		return nil, wire.Errorf("OperationNotPermitted", "The sandbox has load balancers of type network only")
	}
	if in.IpAddressType != "" && in.IpAddressType != types.IpAddressTypeIpv4 {
		return nil, invalid("The region has no IPv6 addresses")
	}
	name := aws.ToString(in.Name)
	if err := validName("load balancer", name); err != nil {
		return nil, err
	}
	subnets := slices.Clone(in.Subnets)
	for _, m := range in.SubnetMappings {
		if m.AllocationId != nil || m.IPv6Address != nil {
			return nil, invalid("The sandbox's load balancers take no elastic addresses")
		}
		subnets = append(subnets, aws.ToString(m.SubnetId))
	}
	scheme := in.Scheme
	if scheme == "" {
		scheme = types.LoadBalancerSchemeEnumInternetFacing
	}
	zones, vpcID, err := s.zones(ctx, subnets)
	if err != nil {
		return nil, err
	}
	if err := s.checkGroups(ctx, vpcID, in.SecurityGroups); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.balancers.All() {
		if *b.Desc.LoadBalancerName != name {
			continue
		}
		if b.Desc.Scheme == scheme && sameZones(b.Desc.AvailabilityZones, zones) && slices.Equal(b.Desc.SecurityGroups, in.SecurityGroups) {
			return &elb.CreateLoadBalancerOutput{LoadBalancers: []types.LoadBalancer{b.Desc}}, nil
		}
		return nil, wire.Errorf("DuplicateLoadBalancerName", "A load balancer with the same name '%s' exists, but with different settings", name)
	}
	id := region.Hex(16)
	arn := s.arn("loadbalancer/net/" + name + "/" + id)
	b := balancer{Tags: mergeTags(nil, in.Tags), Desc: types.LoadBalancer{
		LoadBalancerArn: &arn, LoadBalancerName: &name, Scheme: scheme, Type: in.Type, IpAddressType: types.IpAddressTypeIpv4,
		DNSName:               aws.String(strings.ToLower(name) + "-" + id + ".elb." + s.id.Name() + ".amazonaws.com"),
		CanonicalHostedZoneId: aws.String("Z26RNL4JYFTOTI"), CreatedTime: aws.Time(s.now().UTC()), VpcId: &vpcID,
		AvailabilityZones: zones, SecurityGroups: slices.Clone(in.SecurityGroups), State: &types.LoadBalancerState{Code: types.LoadBalancerStateEnumActive},
	}}
	for _, z := range zones {
		n, err := s.createNIC(ctx, b, *z.SubnetId)
		if err != nil {
			return nil, errors.Join(err, s.removeNICs(ctx, b))
		}
		b.NICs = append(b.NICs, n)
	}
	if err := s.balancers.Put(arn, b); err != nil {
		return nil, errors.Join(err, s.removeNICs(ctx, b))
	}
	s.tellNames()
	answer := b.Desc
	answer.State = &types.LoadBalancerState{Code: types.LoadBalancerStateEnumProvisioning}
	return &elb.CreateLoadBalancerOutput{LoadBalancers: []types.LoadBalancer{answer}}, nil
}

// zones turns subnets into the zones of a balancer, which are of one VPC and differ.
func (s *Service) zones(ctx context.Context, ids []string) ([]types.AvailabilityZone, string, error) {
	if len(ids) == 0 {
		return nil, "", invalid("At least one subnet must be specified")
	}
	out, err := s.cfg.EC2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: ids})
	if err != nil {
		if strings.HasPrefix(code(err), "InvalidSubnet") {
			return nil, "", wire.Errorf("SubnetNotFound", "One or more of the specified subnets does not exist: %s", strings.Join(ids, ", "))
		}
		return nil, "", err
	}
	byID := map[string]ec2types.Subnet{}
	for _, n := range out.Subnets {
		byID[*n.SubnetId] = n
	}
	var zones []types.AvailabilityZone
	seen := map[string]bool{}
	vpcID := aws.ToString(byID[ids[0]].VpcId)
	for _, id := range ids {
		n := byID[id]
		switch {
		case aws.ToString(n.VpcId) != vpcID:
			return nil, "", wire.Errorf("InvalidConfigurationRequest", "All subnets must belong to the same VPC: '%s'", vpcID)
		case seen[*n.AvailabilityZone]:
			return nil, "", wire.Errorf("InvalidConfigurationRequest", "A load balancer cannot be attached to multiple subnets in the same Availability Zone")
		}
		seen[*n.AvailabilityZone] = true
		zones = append(zones, types.AvailabilityZone{SubnetId: aws.String(id), ZoneName: n.AvailabilityZone, LoadBalancerAddresses: []types.LoadBalancerAddress{}})
	}
	return zones, vpcID, nil
}

func sameZones(a, b []types.AvailabilityZone) bool {
	return slices.EqualFunc(a, b, func(a, b types.AvailabilityZone) bool { return *a.SubnetId == *b.SubnetId })
}

func (s *Service) checkGroups(ctx context.Context, vpcID string, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	out, err := s.cfg.EC2.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{GroupIds: ids})
	if err != nil {
		if strings.HasPrefix(code(err), "InvalidGroup") {
			return wire.Errorf("InvalidSecurityGroup", "One or more security groups are invalid")
		}
		return err
	}
	for _, g := range out.SecurityGroups {
		if aws.ToString(g.VpcId) != vpcID {
			return wire.Errorf("InvalidConfigurationRequest", "One or more security groups are not in the load balancer's VPC '%s'", vpcID)
		}
	}
	return nil
}

func (s *Service) createNIC(ctx context.Context, b balancer, subnet string) (nic, error) {
	out, err := s.cfg.EC2.CreateNetworkInterface(ctx, &ec2.CreateNetworkInterfaceInput{
		SubnetId: &subnet, Groups: b.Desc.SecurityGroups, InterfaceType: "network_load_balancer", Description: aws.String("ELB " + lastParts(*b.Desc.LoadBalancerArn)),
	})
	if err != nil {
		return nic{}, fmt.Errorf("network interface of load balancer %s: %w", *b.Desc.LoadBalancerName, err)
	}
	n := nic{ENI: aws.ToString(out.NetworkInterface.NetworkInterfaceId)}
	if n.Addr, err = netip.ParseAddr(aws.ToString(out.NetworkInterface.PrivateIpAddress)); err == nil {
		err = s.cfg.Network.AddAddress(n.Addr)
	}
	if err != nil {
		_, gone := s.cfg.EC2.DeleteNetworkInterface(ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: &n.ENI})
		return nic{}, errors.Join(err, gone)
	}
	return n, nil
}

func (s *Service) removeNICs(ctx context.Context, b balancer) error {
	var errs []error
	for _, n := range b.NICs {
		errs = append(errs, s.cfg.Network.RemoveAddress(n.Addr))
		_, err := s.cfg.EC2.DeleteNetworkInterface(ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: &n.ENI})
		if code(err) != "InvalidNetworkInterfaceID.NotFound" {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// code returns AWS's code of an error, empty when it is not an error of AWS.
func code(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	return ""
}

func (s *Service) balancer(arn *string) (balancer, error) {
	b, ok := s.balancers.Get(aws.ToString(arn))
	if !ok {
		return balancer{}, noLoadBalancer()
	}
	return b, nil
}

// DescribeLoadBalancers lists balancers, all or by ARN or name.
func (s *Service) DescribeLoadBalancers(_ context.Context, in *elb.DescribeLoadBalancersInput) (*elb.DescribeLoadBalancersOutput, error) {
	if len(in.LoadBalancerArns) > 0 && len(in.Names) > 0 {
		return nil, invalid("Load balancer names and load balancer ARNs cannot be specified at the same time")
	}
	var found []types.LoadBalancer
	for _, b := range s.balancers.All() {
		if len(in.LoadBalancerArns)+len(in.Names) == 0 || slices.Contains(in.LoadBalancerArns, *b.Desc.LoadBalancerArn) || slices.Contains(in.Names, *b.Desc.LoadBalancerName) {
			found = append(found, b.Desc)
		}
	}
	if len(found) < len(in.LoadBalancerArns)+len(in.Names) {
		return nil, noLoadBalancer()
	}
	rows, next, err := paged(found, func(b types.LoadBalancer) string { return *b.LoadBalancerArn }, in.Marker, in.PageSize)
	if err != nil {
		return nil, err
	}
	return &elb.DescribeLoadBalancersOutput{LoadBalancers: rows, NextMarker: next}, nil
}

// DeleteLoadBalancer removes a balancer and its listeners. One that is gone
// already is no error.
func (s *Service) DeleteLoadBalancer(ctx context.Context, in *elb.DeleteLoadBalancerInput) (*elb.DeleteLoadBalancerOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.balancers.Get(*in.LoadBalancerArn)
	if !ok {
		return nil, nil
	}
	if b.Attributes["deletion_protection.enabled"] == "true" {
		return nil, wire.Errorf("OperationNotPermitted", "Load balancer '%s' cannot be deleted because deletion protection is enabled", *in.LoadBalancerArn)
	}
	for _, l := range s.listeners.All() {
		if *l.Desc.LoadBalancerArn == *in.LoadBalancerArn {
			s.unlisten(*l.Desc.ListenerArn)
			if err := s.listeners.Delete(*l.Desc.ListenerArn); err != nil {
				return nil, err
			}
		}
	}
	if err := s.removeNICs(ctx, b); err != nil {
		return nil, err
	}
	defer s.tellNames()
	return nil, s.balancers.Delete(*in.LoadBalancerArn)
}

// SetSecurityGroups replaces the security groups of a balancer that has some.
func (s *Service) SetSecurityGroups(ctx context.Context, in *elb.SetSecurityGroupsInput) (*elb.SetSecurityGroupsOutput, error) {
	b, err := s.balancer(in.LoadBalancerArn)
	if err != nil {
		return nil, err
	}
	if len(b.Desc.SecurityGroups) == 0 || len(in.SecurityGroups) == 0 {
		return nil, wire.Errorf("InvalidConfigurationRequest", "You cannot set security groups on a network load balancer that was created without them, nor take them all away")
	}
	if err := s.checkGroups(ctx, aws.ToString(b.Desc.VpcId), in.SecurityGroups); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range b.NICs {
		if _, err := s.cfg.EC2.ModifyNetworkInterfaceAttribute(ctx, &ec2.ModifyNetworkInterfaceAttributeInput{NetworkInterfaceId: &n.ENI, Groups: in.SecurityGroups}); err != nil {
			return nil, err
		}
	}
	_, err = s.balancers.Update(*in.LoadBalancerArn, func(b *balancer) error { b.Desc.SecurityGroups = slices.Clone(in.SecurityGroups); return nil })
	return &elb.SetSecurityGroupsOutput{SecurityGroupIds: in.SecurityGroups}, err
}

// DescribeLoadBalancerAttributes tells a balancer's attributes.
func (s *Service) DescribeLoadBalancerAttributes(_ context.Context, in *elb.DescribeLoadBalancerAttributesInput) (*elb.DescribeLoadBalancerAttributesOutput, error) {
	b, err := s.balancer(in.LoadBalancerArn)
	return &elb.DescribeLoadBalancerAttributesOutput{Attributes: balancerAttributes(b)}, err
}

func balancerAttributes(b balancer) []types.LoadBalancerAttribute {
	all := maps.Clone(balancerDefaults)
	maps.Copy(all, b.Attributes)
	var out []types.LoadBalancerAttribute
	for _, k := range slices.Sorted(maps.Keys(all)) {
		out = append(out, types.LoadBalancerAttribute{Key: aws.String(k), Value: aws.String(all[k])})
	}
	return out
}

// ModifyLoadBalancerAttributes changes a balancer's attributes.
func (s *Service) ModifyLoadBalancerAttributes(_ context.Context, in *elb.ModifyLoadBalancerAttributesInput) (*elb.ModifyLoadBalancerAttributesOutput, error) {
	if _, err := s.balancer(in.LoadBalancerArn); err != nil {
		return nil, err
	}
	b, err := s.balancers.Update(*in.LoadBalancerArn, func(b *balancer) (err error) {
		changes := map[string]string{}
		for _, a := range in.Attributes {
			changes[aws.ToString(a.Key)] = aws.ToString(a.Value)
		}
		b.Attributes, err = withAttributes("Load balancer", balancerDefaults, b.Attributes, changes)
		return err
	})
	return &elb.ModifyLoadBalancerAttributesOutput{Attributes: balancerAttributes(b)}, err
}
