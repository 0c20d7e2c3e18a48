// Package elbv2 answers for load balancers in a region that has none: lists are
// empty, and what is asked for by name or ARN is not found. Creating one is
// unknown to the region until login nodes need it.
package elbv2

import (
	"context"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"pcluster/internal/sandbox/wire"
)

// A Service is Elastic Load Balancing v2 of a region.
type Service struct{}

// New returns the service. It has no state.
func New() *Service { return &Service{} }

// Register attaches the operations to the API.
func (s *Service) Register(m *wire.Service) {
	wire.Handle(m, "DescribeLoadBalancers", s.DescribeLoadBalancers)
	wire.Handle(m, "DescribeTargetGroups", s.DescribeTargetGroups)
	wire.Handle(m, "DescribeTargetHealth", s.DescribeTargetHealth)
	wire.Handle(m, "DescribeListeners", s.DescribeListeners)
	wire.Handle(m, "DescribeTags", s.DescribeTags)
}

func noLoadBalancer() error {
	return wire.Errorf("LoadBalancerNotFound", "One or more load balancers not found")
}

func noTargetGroup() error {
	return wire.Errorf("TargetGroupNotFound", "One or more target groups not found")
}

// DescribeLoadBalancers lists no load balancers.
func (s *Service) DescribeLoadBalancers(_ context.Context, in *elb.DescribeLoadBalancersInput) (*elb.DescribeLoadBalancersOutput, error) {
	if len(in.LoadBalancerArns) > 0 || len(in.Names) > 0 {
		return nil, noLoadBalancer()
	}
	return &elb.DescribeLoadBalancersOutput{LoadBalancers: []types.LoadBalancer{}}, nil
}

// DescribeTargetGroups lists no target groups.
func (s *Service) DescribeTargetGroups(_ context.Context, in *elb.DescribeTargetGroupsInput) (*elb.DescribeTargetGroupsOutput, error) {
	switch {
	case in.LoadBalancerArn != nil:
		return nil, noLoadBalancer()
	case len(in.TargetGroupArns) > 0, len(in.Names) > 0:
		return nil, noTargetGroup()
	}
	return &elb.DescribeTargetGroupsOutput{TargetGroups: []types.TargetGroup{}}, nil
}

// DescribeTargetHealth finds no target group.
func (s *Service) DescribeTargetHealth(context.Context, *elb.DescribeTargetHealthInput) (*elb.DescribeTargetHealthOutput, error) {
	return nil, noTargetGroup()
}

// DescribeListeners finds no load balancer and no listener.
func (s *Service) DescribeListeners(_ context.Context, in *elb.DescribeListenersInput) (*elb.DescribeListenersOutput, error) {
	switch {
	case in.LoadBalancerArn != nil:
		return nil, noLoadBalancer()
	case len(in.ListenerArns) > 0:
		return nil, wire.Errorf("ListenerNotFound", "One or more listeners not found")
	}
	return nil, wire.Errorf("ValidationError", "You must specify either listener ARNs or a load balancer ARN")
}

// DescribeTags finds no load balancer.
func (s *Service) DescribeTags(context.Context, *elb.DescribeTagsInput) (*elb.DescribeTagsOutput, error) {
	return nil, noLoadBalancer()
}
