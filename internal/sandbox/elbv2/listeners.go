package elbv2

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/wire"
)

// target is the ARN of the group that a listener forwards to.
func (l listener) target() string {
	for _, a := range l.Desc.DefaultActions {
		if a.TargetGroupArn != nil {
			return *a.TargetGroupArn
		}
		if a.ForwardConfig != nil && len(a.ForwardConfig.TargetGroups) > 0 {
			return aws.ToString(a.ForwardConfig.TargetGroups[0].TargetGroupArn)
		}
	}
	return ""
}

// checkActions checks the actions of a listener: one that forwards to one group of
// the balancer's VPC.
func (s *Service) checkActions(b balancer, actions []types.Action) error {
	l := listener{Desc: types.Listener{DefaultActions: actions}}
	if len(actions) != 1 || actions[0].Type != types.ActionTypeEnumForward {
		return wire.Errorf("InvalidLoadBalancerAction", "A listener of a network load balancer has exactly one action, which is of type forward")
	}
	if f := actions[0].ForwardConfig; f != nil && len(f.TargetGroups) > 1 {
		return wire.Errorf("InvalidLoadBalancerAction", "The sandbox's listeners forward to one target group")
	}
	g, ok := s.groups.Get(l.target())
	switch {
	case !ok:
		return noTargetGroup()
	case *g.Desc.VpcId != *b.Desc.VpcId:
		return wire.Errorf("InvalidConfigurationRequest", "The target group '%s' is not in the load balancer's VPC", l.target())
	}
	return nil
}

// CreateListener opens a port of a balancer.
func (s *Service) CreateListener(_ context.Context, in *elb.CreateListenerInput) (*elb.CreateListenerOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.balancer(in.LoadBalancerArn)
	if err != nil {
		return nil, err
	}
	switch {
	case in.Port == nil:
		return nil, invalid("A port must be specified")
	case in.Protocol != types.ProtocolEnumTcp:
		return nil, wire.Errorf("UnsupportedProtocol", "The sandbox has listeners of protocol TCP only")
	}
	if err := s.checkActions(b, in.DefaultActions); err != nil {
		return nil, err
	}
	for _, l := range s.listeners.All() {
		if *l.Desc.LoadBalancerArn != *in.LoadBalancerArn || *l.Desc.Port != *in.Port {
			continue
		}
		if l.target() == (listener{Desc: types.Listener{DefaultActions: in.DefaultActions}}).target() {
			return &elb.CreateListenerOutput{Listeners: []types.Listener{l.Desc}}, nil
		}
		return nil, wire.Errorf("DuplicateListener", "A listener already exists on this port for this load balancer '%s'", *in.LoadBalancerArn)
	}
	arn := s.arn("listener/" + lastParts(*in.LoadBalancerArn) + "/" + region.Hex(16))
	l := listener{Tags: mergeTags(nil, in.Tags), Desc: types.Listener{
		ListenerArn: &arn, LoadBalancerArn: in.LoadBalancerArn, Port: in.Port, Protocol: in.Protocol, DefaultActions: in.DefaultActions,
	}}
	if err := s.listeners.Put(arn, l); err != nil {
		return nil, err
	}
	if err := s.listen(l); err != nil {
		return nil, errors.Join(err, s.listeners.Delete(arn))
	}
	return &elb.CreateListenerOutput{Listeners: []types.Listener{l.Desc}}, nil
}

// DescribeListeners lists listeners by ARN, or those of a balancer.
func (s *Service) DescribeListeners(_ context.Context, in *elb.DescribeListenersInput) (*elb.DescribeListenersOutput, error) {
	if in.LoadBalancerArn == nil && len(in.ListenerArns) == 0 {
		return nil, invalid("You must specify either listener ARNs or a load balancer ARN")
	}
	if in.LoadBalancerArn != nil {
		if _, err := s.balancer(in.LoadBalancerArn); err != nil {
			return nil, err
		}
	}
	var found []types.Listener
	for _, l := range s.listeners.All() {
		if in.LoadBalancerArn != nil && *l.Desc.LoadBalancerArn == *in.LoadBalancerArn || slices.Contains(in.ListenerArns, *l.Desc.ListenerArn) {
			found = append(found, l.Desc)
		}
	}
	if in.LoadBalancerArn == nil && len(found) < len(in.ListenerArns) {
		return nil, noListener()
	}
	rows, next, err := paged(found, func(l types.Listener) string { return *l.ListenerArn }, in.Marker, in.PageSize)
	if err != nil {
		return nil, err
	}
	return &elb.DescribeListenersOutput{Listeners: rows, NextMarker: next}, nil
}

// ModifyListener changes port or action of a listener.
func (s *Service) ModifyListener(_ context.Context, in *elb.ModifyListenerInput) (*elb.ModifyListenerOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := s.listeners.Get(*in.ListenerArn)
	if !ok {
		return nil, noListener()
	}
	b, err := s.balancer(l.Desc.LoadBalancerArn)
	if err != nil {
		return nil, err
	}
	if in.Protocol != "" && in.Protocol != types.ProtocolEnumTcp {
		return nil, wire.Errorf("UnsupportedProtocol", "The sandbox has listeners of protocol TCP only")
	}
	before := l
	if in.DefaultActions != nil {
		if err := s.checkActions(b, in.DefaultActions); err != nil {
			return nil, err
		}
		l.Desc.DefaultActions = in.DefaultActions
	}
	if in.Port != nil && *in.Port != *l.Desc.Port {
		for _, o := range s.listeners.All() {
			if *o.Desc.LoadBalancerArn == *l.Desc.LoadBalancerArn && *o.Desc.Port == *in.Port {
				return nil, wire.Errorf("DuplicateListener", "A listener already exists on this port for this load balancer '%s'", *l.Desc.LoadBalancerArn)
			}
		}
		l.Desc.Port = in.Port
		s.unlisten(*in.ListenerArn)
		if err := s.listen(l); err != nil {
			return nil, errors.Join(err, s.listen(before))
		}
	}
	return &elb.ModifyListenerOutput{Listeners: []types.Listener{l.Desc}}, s.listeners.Put(*in.ListenerArn, l)
}

// DeleteListener closes a port of a balancer.
func (s *Service) DeleteListener(_ context.Context, in *elb.DeleteListenerInput) (*elb.DeleteListenerOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.listeners.Get(*in.ListenerArn); !ok {
		return nil, noListener()
	}
	s.unlisten(*in.ListenerArn)
	return nil, s.listeners.Delete(*in.ListenerArn)
}

// listenerDefaults are the attributes of a listener of TCP.
var listenerDefaults = map[string]string{"tcp.idle_timeout.seconds": "350"}

func listenerAttributes(l listener) []types.ListenerAttribute {
	all := maps.Clone(listenerDefaults)
	maps.Copy(all, l.Attributes)
	var out []types.ListenerAttribute
	for _, k := range slices.Sorted(maps.Keys(all)) {
		out = append(out, types.ListenerAttribute{Key: aws.String(k), Value: aws.String(all[k])})
	}
	return out
}

// DescribeListenerAttributes tells a listener's attributes.
func (s *Service) DescribeListenerAttributes(_ context.Context, in *elb.DescribeListenerAttributesInput) (*elb.DescribeListenerAttributesOutput, error) {
	l, ok := s.listeners.Get(aws.ToString(in.ListenerArn))
	if !ok {
		return nil, noListener()
	}
	return &elb.DescribeListenerAttributesOutput{Attributes: listenerAttributes(l)}, nil
}

// ModifyListenerAttributes changes a listener's attributes.
func (s *Service) ModifyListenerAttributes(_ context.Context, in *elb.ModifyListenerAttributesInput) (*elb.ModifyListenerAttributesOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := s.listeners.Get(aws.ToString(in.ListenerArn))
	if !ok {
		return nil, noListener()
	}
	changes := map[string]string{}
	for _, a := range in.Attributes {
		changes[aws.ToString(a.Key)] = aws.ToString(a.Value)
	}
	var err error
	if l.Attributes, err = withAttributes("Listener", listenerDefaults, l.Attributes, changes); err != nil {
		return nil, err
	}
	return &elb.ModifyListenerAttributesOutput{Attributes: listenerAttributes(l)}, s.listeners.Put(*in.ListenerArn, l)
}
