package elbv2

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/wire"
)

// groupDefaults are the attributes that every target group of a network load
// balancer has.
var groupDefaults = map[string]string{
	"deregistration_delay.timeout_seconds": "300", "deregistration_delay.connection_termination.enabled": "false",
	"preserve_client_ip.enabled": "true", "proxy_protocol_v2.enabled": "false",
	"stickiness.enabled": "false", "stickiness.type": "source_ip",
	"load_balancing.cross_zone.enabled": "use_load_balancer_configuration",
}

// CreateTargetGroup makes a group of instances or addresses. Making one again that
// exists with the same settings returns it.
func (s *Service) CreateTargetGroup(ctx context.Context, in *elb.CreateTargetGroupInput) (*elb.CreateTargetGroupOutput, error) {
	name := aws.ToString(in.Name)
	if err := validName("target group", name); err != nil {
		return nil, err
	}
	kind := in.TargetType
	if kind == "" {
		kind = types.TargetTypeEnumInstance
	}
	switch {
	case kind != types.TargetTypeEnumInstance && kind != types.TargetTypeEnumIp:
		return nil, invalid("The sandbox has targets of type instance and ip only")
	case in.Protocol == "":
		return nil, invalid("A protocol must be specified")
	case in.Protocol != types.ProtocolEnumTcp:
		return nil, wire.Errorf("UnsupportedProtocol", "The sandbox has target groups of protocol TCP only")
	case in.Port == nil:
		return nil, invalid("A port must be specified")
	case in.VpcId == nil:
		return nil, invalid("A VPC ID must be specified")
	}
	if _, err := s.cfg.EC2.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{VpcIds: []string{*in.VpcId}}); err != nil {
		return nil, invalid("The VPC ID '%s' is not found", *in.VpcId)
	}
	protocol := in.HealthCheckProtocol
	if protocol == "" {
		protocol = types.ProtocolEnumTcp
	}
	if protocol != types.ProtocolEnumTcp && protocol != types.ProtocolEnumHttp {
		return nil, invalid("The sandbox has health checks of protocol TCP and HTTP only")
	}
	orDefault := func(v *int32, or int32) *int32 {
		if v == nil {
			return &or
		}
		return v
	}
	arn := s.arn("targetgroup/" + name + "/" + region.Hex(16))
	d := types.TargetGroup{
		TargetGroupArn: &arn, TargetGroupName: &name, TargetType: kind, Protocol: in.Protocol, Port: in.Port, VpcId: in.VpcId,
		IpAddressType: types.TargetGroupIpAddressTypeEnumIpv4, HealthCheckEnabled: aws.Bool(true), HealthCheckProtocol: protocol,
		HealthCheckPort: aws.String("traffic-port"), HealthCheckIntervalSeconds: orDefault(in.HealthCheckIntervalSeconds, 30),
		HealthCheckTimeoutSeconds: orDefault(in.HealthCheckTimeoutSeconds, 10), HealthyThresholdCount: orDefault(in.HealthyThresholdCount, 5),
		UnhealthyThresholdCount: orDefault(in.UnhealthyThresholdCount, 2),
	}
	if in.HealthCheckPort != nil {
		d.HealthCheckPort = in.HealthCheckPort
	}
	if protocol == types.ProtocolEnumHttp {
		d.HealthCheckPath, d.Matcher = aws.String("/"), &types.Matcher{HttpCode: aws.String("200-399")}
		if in.HealthCheckPath != nil {
			d.HealthCheckPath = in.HealthCheckPath
		}
	} else if in.HealthCheckPath != nil {
		return nil, invalid("Health check path is not supported for health check protocol TCP")
	}
	if p := *d.HealthCheckPort; p != "traffic-port" {
		if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
			return nil, invalid("Health check port '%s' must be a valid port number between '1' and '65535' or 'traffic-port'", p)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.groups.All() {
		if *g.Desc.TargetGroupName != name {
			continue
		}
		if have := g.Desc; have.TargetType == kind && *have.Port == *d.Port && *have.VpcId == *d.VpcId && *have.HealthCheckPort == *d.HealthCheckPort {
			return &elb.CreateTargetGroupOutput{TargetGroups: []types.TargetGroup{s.describeGroup(g)}}, nil
		}
		return nil, wire.Errorf("DuplicateTargetGroupName", "A target group with the same name '%s' exists, but with different settings", name)
	}
	g := targetGroup{Desc: d, Tags: mergeTags(nil, in.Tags)}
	return &elb.CreateTargetGroupOutput{TargetGroups: []types.TargetGroup{s.describeGroup(g)}}, s.groups.Put(arn, g)
}

// describeGroup adds the balancers that forward to the group.
func (s *Service) describeGroup(g targetGroup) types.TargetGroup {
	d := g.Desc
	d.LoadBalancerArns = []string{}
	for _, l := range s.listeners.All() {
		if l.target() == *d.TargetGroupArn && !slices.Contains(d.LoadBalancerArns, *l.Desc.LoadBalancerArn) {
			d.LoadBalancerArns = append(d.LoadBalancerArns, *l.Desc.LoadBalancerArn)
		}
	}
	return d
}

func (s *Service) group(arn *string) (targetGroup, error) {
	g, ok := s.groups.Get(aws.ToString(arn))
	if !ok {
		return targetGroup{}, noTargetGroup()
	}
	return g, nil
}

// DescribeTargetGroups lists groups: all, by ARN, by name, or those of a balancer.
func (s *Service) DescribeTargetGroups(_ context.Context, in *elb.DescribeTargetGroupsInput) (*elb.DescribeTargetGroupsOutput, error) {
	if in.LoadBalancerArn != nil {
		if _, err := s.balancer(in.LoadBalancerArn); err != nil {
			return nil, err
		}
	}
	asked := len(in.TargetGroupArns) + len(in.Names)
	var found []types.TargetGroup
	for _, g := range s.groups.All() {
		d := s.describeGroup(g)
		if in.LoadBalancerArn != nil && !slices.Contains(d.LoadBalancerArns, *in.LoadBalancerArn) {
			continue
		}
		if asked == 0 || slices.Contains(in.TargetGroupArns, *d.TargetGroupArn) || slices.Contains(in.Names, *d.TargetGroupName) {
			found = append(found, d)
		}
	}
	if len(found) < asked {
		return nil, noTargetGroup()
	}
	rows, next, err := paged(found, func(g types.TargetGroup) string { return *g.TargetGroupArn }, in.Marker, in.PageSize)
	if err != nil {
		return nil, err
	}
	return &elb.DescribeTargetGroupsOutput{TargetGroups: rows, NextMarker: next}, nil
}

// ModifyTargetGroup changes the health check of a group.
func (s *Service) ModifyTargetGroup(_ context.Context, in *elb.ModifyTargetGroupInput) (*elb.ModifyTargetGroupOutput, error) {
	if _, err := s.group(in.TargetGroupArn); err != nil {
		return nil, err
	}
	if p := in.HealthCheckProtocol; p != "" && p != types.ProtocolEnumTcp && p != types.ProtocolEnumHttp {
		return nil, invalid("The sandbox has health checks of protocol TCP and HTTP only")
	}
	g, err := s.groups.Update(*in.TargetGroupArn, func(g *targetGroup) error {
		d := &g.Desc
		if in.HealthCheckProtocol != "" {
			d.HealthCheckProtocol = in.HealthCheckProtocol
		}
		for _, c := range []struct{ from, to **int32 }{
			{&in.HealthCheckIntervalSeconds, &d.HealthCheckIntervalSeconds}, {&in.HealthCheckTimeoutSeconds, &d.HealthCheckTimeoutSeconds},
			{&in.HealthyThresholdCount, &d.HealthyThresholdCount}, {&in.UnhealthyThresholdCount, &d.UnhealthyThresholdCount},
		} {
			if *c.from != nil {
				*c.to = *c.from
			}
		}
		if in.HealthCheckPort != nil {
			d.HealthCheckPort = in.HealthCheckPort
		}
		if in.HealthCheckPath != nil {
			d.HealthCheckPath = in.HealthCheckPath
		}
		return nil
	})
	return &elb.ModifyTargetGroupOutput{TargetGroups: []types.TargetGroup{s.describeGroup(g)}}, err
}

// DeleteTargetGroup removes a group that no listener uses. One that is gone
// already is no error.
func (s *Service) DeleteTargetGroup(_ context.Context, in *elb.DeleteTargetGroupInput) (*elb.DeleteTargetGroupOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.listeners.All() {
		if l.target() == *in.TargetGroupArn {
			return nil, wire.Errorf("ResourceInUse", "Target group '%s' is currently in use by a listener or a rule", *in.TargetGroupArn)
		}
	}
	delete(s.turn, *in.TargetGroupArn)
	return nil, s.groups.Delete(*in.TargetGroupArn)
}

// DescribeTargetGroupAttributes tells a group's attributes.
func (s *Service) DescribeTargetGroupAttributes(_ context.Context, in *elb.DescribeTargetGroupAttributesInput) (*elb.DescribeTargetGroupAttributesOutput, error) {
	g, err := s.group(in.TargetGroupArn)
	return &elb.DescribeTargetGroupAttributesOutput{Attributes: groupAttributes(g)}, err
}

func groupAttributes(g targetGroup) []types.TargetGroupAttribute {
	all := maps.Clone(groupDefaults)
	maps.Copy(all, g.Attributes)
	var out []types.TargetGroupAttribute
	for _, k := range slices.Sorted(maps.Keys(all)) {
		out = append(out, types.TargetGroupAttribute{Key: aws.String(k), Value: aws.String(all[k])})
	}
	return out
}

// ModifyTargetGroupAttributes changes a group's attributes.
func (s *Service) ModifyTargetGroupAttributes(_ context.Context, in *elb.ModifyTargetGroupAttributesInput) (*elb.ModifyTargetGroupAttributesOutput, error) {
	if _, err := s.group(in.TargetGroupArn); err != nil {
		return nil, err
	}
	g, err := s.groups.Update(*in.TargetGroupArn, func(g *targetGroup) (err error) {
		changes := map[string]string{}
		for _, a := range in.Attributes {
			changes[aws.ToString(a.Key)] = aws.ToString(a.Value)
		}
		g.Attributes, err = withAttributes("Target group", groupDefaults, g.Attributes, changes)
		return err
	})
	return &elb.ModifyTargetGroupAttributesOutput{Attributes: groupAttributes(g)}, err
}

// sameTarget reports whether two descriptions mean one target of a group, whose
// port is what a description without one means.
func (g targetGroup) sameTarget(a, b types.TargetDescription) bool {
	return *a.Id == *b.Id && g.portOf(a) == g.portOf(b)
}

func (g targetGroup) portOf(t types.TargetDescription) int {
	if t.Port != nil {
		return int(*t.Port)
	}
	return int(aws.ToInt32(g.Desc.Port))
}

// RegisterTargets adds targets to a group. Adding one again changes nothing.
func (s *Service) RegisterTargets(ctx context.Context, in *elb.RegisterTargetsInput) (*elb.RegisterTargetsOutput, error) {
	g, err := s.group(in.TargetGroupArn)
	if err != nil {
		return nil, err
	}
	for _, t := range in.Targets {
		if g.Desc.TargetType == types.TargetTypeEnumIp {
			if a, err := netip.ParseAddr(*t.Id); err != nil || !a.Is4() {
				return nil, wire.Errorf("InvalidTarget", "The IP address '%s' is not a valid IPv4 address", *t.Id)
			}
			continue
		}
		h, err := s.host(ctx, *t.Id)
		switch {
		case err != nil:
			return nil, err
		case h.state != "running":
			return nil, wire.Errorf("InvalidTarget", "The following targets are not in a running state and cannot be registered: '%s'", *t.Id)
		case h.vpc != *g.Desc.VpcId:
			return nil, wire.Errorf("InvalidTarget", "The following targets are not in the target group VPC '%s': '%s'", *g.Desc.VpcId, *t.Id)
		}
	}
	_, err = s.groups.Update(*in.TargetGroupArn, func(g *targetGroup) error {
		targets := slices.Clone(g.Targets)
		for _, t := range in.Targets {
			if t.Port == nil {
				t.Port = g.Desc.Port
			}
			if !slices.ContainsFunc(targets, func(have target) bool { return g.sameTarget(have.Desc, t) }) {
				targets = append(targets, target{Desc: t, Since: s.now()})
			}
		}
		g.Targets = targets
		return nil
	})
	return nil, err
}

// DeregisterTargets takes targets out of a group. Connections that they have go on.
func (s *Service) DeregisterTargets(_ context.Context, in *elb.DeregisterTargetsInput) (*elb.DeregisterTargetsOutput, error) {
	if _, err := s.group(in.TargetGroupArn); err != nil {
		return nil, err
	}
	_, err := s.groups.Update(*in.TargetGroupArn, func(g *targetGroup) error {
		g.Targets = slices.DeleteFunc(slices.Clone(g.Targets), func(have target) bool {
			return slices.ContainsFunc(in.Targets, func(t types.TargetDescription) bool {
				return *t.Id == *have.Desc.Id && (t.Port == nil || g.sameTarget(have.Desc, t))
			})
		})
		return nil
	})
	return nil, err
}

// A host is an instance as a target.
type host struct {
	addr       netip.Addr
	state, vpc string
}

func (s *Service) host(ctx context.Context, id string) (host, error) {
	out, err := s.cfg.EC2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
	if strings.HasPrefix(code(err), "InvalidInstanceID") {
		return host{}, wire.Errorf("InvalidTarget", "The following targets do not exist: '%s'", id)
	}
	if err != nil {
		return host{}, err
	}
	i := out.Reservations[0].Instances[0]
	addr, _ := netip.ParseAddr(aws.ToString(i.PrivateIpAddress)) // a terminated one has none
	return host{addr: addr, state: string(i.State.Name), vpc: aws.ToString(i.VpcId)}, nil
}
