// Package autoscaling is the sandbox's EC2 Auto Scaling: groups that keep a number
// of instances running, which it really launches, replaces and ends, with
// lifecycle hooks and the registration at load balancers.
//
// A group's row says what should be; [plan], which is pure, compares it with what
// EC2 says of its instances and decides the next steps; a worker carries them out.
// Requests, changes of instances and deadlines of hooks wake the worker. Whatever
// it was doing when the daemon died, it does again from the row.
//
// Scaling policies, schedules, warm pools, instance refreshes, launch
// configurations and mixed instances are not played: capacity changes when
// somebody sets it. Start at [New].
package autoscaling

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/wire"
)

// EC2 is the part of EC2 that groups live in.
type EC2 interface {
	// RunInstancesIn launches into a subnet, whatever the launch template says of it.
	RunInstancesIn(ctx context.Context, subnetID string, in *ec2.RunInstancesInput) (*ec2.RunInstancesOutput, error)
	TerminateInstances(context.Context, *ec2.TerminateInstancesInput) (*ec2.TerminateInstancesOutput, error)
	DescribeInstances(context.Context, *ec2.DescribeInstancesInput) (*ec2.DescribeInstancesOutput, error)
	DescribeSubnets(context.Context, *ec2.DescribeSubnetsInput) (*ec2.DescribeSubnetsOutput, error)
	DescribeLaunchTemplateVersions(context.Context, *ec2.DescribeLaunchTemplateVersionsInput) (*ec2.DescribeLaunchTemplateVersionsOutput, error)
	// OnInstance calls fn after each change of an instance. fn must return at once.
	OnInstance(fn func(id string))
}

// Balancers is the part of Elastic Load Balancing that groups register with.
type Balancers interface {
	DescribeTargetGroups(context.Context, *elb.DescribeTargetGroupsInput) (*elb.DescribeTargetGroupsOutput, error)
	RegisterTargets(context.Context, *elb.RegisterTargetsInput) (*elb.RegisterTargetsOutput, error)
	DeregisterTargets(context.Context, *elb.DeregisterTargetsInput) (*elb.DeregisterTargetsOutput, error)
}

// A Config is what a Service needs of its surroundings.
type Config struct {
	EC2       EC2
	Balancers Balancers
	Log       *slog.Logger
	Now       func() time.Time // nil: time.Now
}

// A Service is Auto Scaling of a region.
type Service struct {
	id  *region.Identity
	cfg Config
	now func() time.Time

	// mu is held by whatever changes rows, never while EC2 is asked for something.
	mu     sync.Mutex
	groups *store.Table[group]

	kick chan struct{}
	stop context.CancelFunc
	done chan struct{}
}

// New opens the table of groups. Nothing is launched before [Service.Start].
func New(db *store.DB, id *region.Identity, cfg Config) (*Service, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Service{id: id, cfg: cfg, now: cfg.Now, kick: make(chan struct{}, 1)}
	return s, store.OpenTable(db, "autoscaling.groups", &s.groups)
}

// Register attaches the operations to the API.
func (s *Service) Register(m *wire.Service) {
	wire.Handle(m, "AttachLoadBalancerTargetGroups", s.AttachLoadBalancerTargetGroups)
	wire.Handle(m, "CompleteLifecycleAction", s.CompleteLifecycleAction)
	wire.Handle(m, "CreateAutoScalingGroup", s.CreateAutoScalingGroup)
	wire.Handle(m, "CreateOrUpdateTags", s.CreateOrUpdateTags)
	wire.Handle(m, "DeleteAutoScalingGroup", s.DeleteAutoScalingGroup)
	wire.Handle(m, "DeleteLifecycleHook", s.DeleteLifecycleHook)
	wire.Handle(m, "DeleteTags", s.DeleteTags)
	wire.Handle(m, "DescribeAutoScalingGroups", s.DescribeAutoScalingGroups)
	wire.Handle(m, "DescribeAutoScalingInstances", s.DescribeAutoScalingInstances)
	wire.Handle(m, "DescribeLifecycleHooks", s.DescribeLifecycleHooks)
	wire.Handle(m, "DescribeLoadBalancerTargetGroups", s.DescribeLoadBalancerTargetGroups)
	wire.Handle(m, "DescribeScalingActivities", s.DescribeScalingActivities)
	wire.Handle(m, "DescribeTags", s.DescribeTags)
	wire.Handle(m, "DetachLoadBalancerTargetGroups", s.DetachLoadBalancerTargetGroups)
	wire.Handle(m, "PutLifecycleHook", s.PutLifecycleHook)
	wire.Handle(m, "RecordLifecycleActionHeartbeat", s.RecordLifecycleActionHeartbeat)
	wire.Handle(m, "SetDesiredCapacity", s.SetDesiredCapacity)
	wire.Handle(m, "SetInstanceHealth", s.SetInstanceHealth)
	wire.Handle(m, "TerminateInstanceInAutoScalingGroup", s.TerminateInstanceInAutoScalingGroup)
	wire.Handle(m, "UpdateAutoScalingGroup", s.UpdateAutoScalingGroup)
}

func invalid(format string, args ...any) error {
	return wire.Errorf("ValidationError", format, args...)
}

func noGroup(name string) error {
	return invalid("AutoScalingGroup name not found - AutoScalingGroup '%s' not found", name)
}

// group returns a group's row.
func (s *Service) group(name *string) (group, error) {
	g, ok := s.groups.Get(aws.ToString(name))
	if !ok {
		return group{}, noGroup(aws.ToString(name))
	}
	return g, nil
}

// change lets fn change a group's row and wakes the worker.
func (s *Service) change(name *string, fn func(*group) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.group(name); err != nil {
		return err
	}
	_, err := s.groups.Update(*name, func(g *group) error {
		*g = g.clone()
		return fn(g)
	})
	s.wake()
	return err
}

// holder returns the name of the group that an instance belongs to.
func (s *Service) holder(id string) (string, bool) {
	for _, g := range s.groups.All() {
		if g.member(id) >= 0 {
			return g.name(), true
		}
	}
	return "", false
}

func notMember(id string) error {
	return invalid("Instance Id not found - No managed instance found for instance ID: %s", id)
}

// subnets checks the subnets of a group and returns their zones, in order.
func (s *Service) subnets(ctx context.Context, list string) (map[string]string, []string, error) {
	var ids []string
	for id := range strings.SplitSeq(list, ",") {
		if id = strings.TrimSpace(id); id != "" {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil, nil, invalid("At least one Availability Zone or VPC Subnet is required.")
	}
	out, err := s.cfg.EC2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: ids})
	if err != nil {
		return nil, nil, invalid("The subnet ID '%s' does not exist", strings.Join(ids, ","))
	}
	zones, names := map[string]string{}, []string{}
	for _, n := range out.Subnets {
		zones[*n.SubnetId] = *n.AvailabilityZone
		names = append(names, *n.AvailabilityZone)
	}
	return zones, names, nil
}

// template checks a launch template and fills in both its ID and its name.
func (s *Service) template(ctx context.Context, t *types.LaunchTemplateSpecification) (*types.LaunchTemplateSpecification, error) {
	if t.LaunchTemplateId == nil && t.LaunchTemplateName == nil {
		return nil, invalid("Valid requests must contain either launchTemplateId or LaunchTemplateName")
	}
	version := aws.ToString(t.Version)
	if version == "" {
		version = "$Default"
	}
	in := &ec2.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: t.LaunchTemplateId, Versions: []string{version}}
	if t.LaunchTemplateId == nil {
		in.LaunchTemplateName = t.LaunchTemplateName
	}
	out, err := s.cfg.EC2.DescribeLaunchTemplateVersions(ctx, in)
	if err != nil {
		return nil, invalid("You must use a valid fully-formed launch template. %s", message(err))
	}
	if len(out.LaunchTemplateVersions) == 0 {
		return nil, invalid("You must use a valid fully-formed launch template. Could not find the specified version %s", version)
	}
	v := out.LaunchTemplateVersions[0]
	spec := &types.LaunchTemplateSpecification{LaunchTemplateId: v.LaunchTemplateId, LaunchTemplateName: v.LaunchTemplateName, Version: &version}
	if t.Version == nil {
		spec.Version = nil
	}
	return spec, nil
}

// targetGroups checks that target groups exist.
func (s *Service) targetGroups(ctx context.Context, arns []string) error {
	if len(arns) == 0 {
		return nil
	}
	if _, err := s.cfg.Balancers.DescribeTargetGroups(ctx, &elb.DescribeTargetGroupsInput{TargetGroupArns: arns}); err != nil {
		return invalid("Provided Target Groups may not be valid. Please ensure they exist and try again.")
	}
	return nil
}

// message is the text of an error of AWS without its code.
func message(err error) string {
	type coded interface{ ErrorMessage() string }
	if c, ok := err.(coded); ok {
		return c.ErrorMessage()
	}
	return err.Error()
}

// sizes checks the three numbers of a group.
func sizes(least, desired, most int32) error {
	switch {
	case least < 0 || most < 0 || desired < 0:
		return invalid("Sizes must not be negative")
	case least > most:
		return invalid("Max bound, %d, must be greater than or equal to min bound, %d", most, least)
	case desired < least || desired > most:
		return invalid("Desired capacity:%d must be between the specified min size:%d and max size:%d", desired, least, most)
	}
	return nil
}

// played refuses what groups here do not do.
func played(set map[string]bool) error {
	for name, used := range set {
		if used {
			return invalid("The sandbox's Auto Scaling groups have no %s", name)
		}
	}
	return nil
}

// CreateAutoScalingGroup makes a group, whose instances are launched afterwards.
func (s *Service) CreateAutoScalingGroup(ctx context.Context, in *sdk.CreateAutoScalingGroupInput) (*sdk.CreateAutoScalingGroupOutput, error) {
	name := aws.ToString(in.AutoScalingGroupName)
	if err := played(map[string]bool{
		"launch configuration": in.LaunchConfigurationName != nil, "mixed instances policy": in.MixedInstancesPolicy != nil,
		"classic load balancers": len(in.LoadBalancerNames) > 0, "source instance": in.InstanceId != nil, "traffic sources": len(in.TrafficSources) > 0,
	}); err != nil {
		return nil, err
	}
	if in.LaunchTemplate == nil {
		return nil, invalid("Valid requests must contain either LaunchTemplate, LaunchConfigurationName, InstanceId or MixedInstancesPolicy parameter.")
	}
	desired := aws.ToInt32(in.MinSize)
	if in.DesiredCapacity != nil {
		desired = *in.DesiredCapacity
	}
	if err := sizes(*in.MinSize, desired, *in.MaxSize); err != nil {
		return nil, err
	}
	zones, names, err := s.subnets(ctx, aws.ToString(in.VPCZoneIdentifier))
	if err != nil {
		return nil, err
	}
	template, err := s.template(ctx, in.LaunchTemplate)
	if err != nil {
		return nil, err
	}
	if err := s.targetGroups(ctx, in.TargetGroupARNs); err != nil {
		return nil, err
	}
	g := group{Zones: zones, Desc: types.AutoScalingGroup{
		AutoScalingGroupName: &name, MinSize: in.MinSize, MaxSize: in.MaxSize, DesiredCapacity: &desired, LaunchTemplate: template,
		AutoScalingGroupARN: aws.String(s.id.ARN("autoscaling", "autoScalingGroup:"+uuid()+":autoScalingGroupName/"+name)),
		AvailabilityZones:   names, VPCZoneIdentifier: in.VPCZoneIdentifier, CreatedTime: aws.Time(s.now().UTC()),
		DefaultCooldown: or(in.DefaultCooldown, 300), HealthCheckGracePeriod: or(in.HealthCheckGracePeriod, 0), HealthCheckType: or(in.HealthCheckType, "EC2"),
		DefaultInstanceWarmup: in.DefaultInstanceWarmup, CapacityRebalance: in.CapacityRebalance, MaxInstanceLifetime: in.MaxInstanceLifetime,
		NewInstancesProtectedFromScaleIn: or(in.NewInstancesProtectedFromScaleIn, false), PlacementGroup: in.PlacementGroup,
		ServiceLinkedRoleARN: or(in.ServiceLinkedRoleARN, s.id.GlobalARN("iam", "role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling")),
		TargetGroupARNs:      in.TargetGroupARNs, TerminationPolicies: in.TerminationPolicies, Context: in.Context,
	}}
	if len(g.Desc.TerminationPolicies) == 0 {
		g.Desc.TerminationPolicies = []string{"Default"}
	}
	for _, h := range in.LifecycleHookSpecificationList {
		hook, err := newHook(name, sdk.PutLifecycleHookInput{
			LifecycleHookName: h.LifecycleHookName, LifecycleTransition: h.LifecycleTransition, DefaultResult: h.DefaultResult,
			HeartbeatTimeout: h.HeartbeatTimeout, NotificationMetadata: h.NotificationMetadata, NotificationTargetARN: h.NotificationTargetARN, RoleARN: h.RoleARN,
		})
		if err != nil {
			return nil, err
		}
		g.Hooks = append(g.Hooks, hook)
	}
	g.setTags(in.Tags)
	s.mu.Lock()
	defer s.mu.Unlock()
	made, err := s.groups.Insert(name, g)
	if err == nil && !made {
		err = wire.Errorf("AlreadyExists", "AutoScalingGroup by this name already exists - A group with the name %s already exists", name)
	}
	s.wake()
	return nil, err
}

// or returns what a pointer points to, as a new pointer, or another value.
func or[T any](v *T, otherwise T) *T {
	if v == nil {
		return &otherwise
	}
	return v
}

// uuid returns a random identifier in the form of UUIDs.
func uuid() string {
	h := region.Hex(32)
	return fmt.Sprintf("%s-%s-%s-%s-%s", h[:8], h[8:12], h[12:16], h[16:20], h[20:])
}
