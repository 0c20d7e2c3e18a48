package autoscaling

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/smithy-go"
)

// lookEvery bounds how long a change goes unseen of which nobody told.
const lookEvery = 30 * time.Second

// Start makes groups follow their rows until [Service.Close].
func (s *Service) Start(ctx context.Context) {
	ctx, s.stop = context.WithCancel(ctx)
	s.done = make(chan struct{})
	s.cfg.EC2.OnInstance(func(string) { s.wake() })
	// What the last daemon may not have come to do.
	for _, g := range s.groups.All() {
		if err := s.registerAll(ctx, g, g.Desc.TargetGroupARNs); err != nil {
			s.cfg.Log.Error("register instances with load balancers", "group", g.name(), "error", err)
		}
	}
	go s.run(ctx)
}

// registerAll registers all instances in service with target groups.
func (s *Service) registerAll(ctx context.Context, g group, arns []string) error {
	var ids []string
	for _, m := range g.Members {
		if m.State == types.LifecycleStateInService {
			ids = append(ids, m.ID)
		}
	}
	var errs []error
	for _, arn := range arns {
		errs = append(errs, s.register(ctx, arn, ids))
	}
	return errors.Join(errs...)
}

// Close ends the worker. Instances stay.
func (s *Service) Close() {
	if s.stop != nil {
		s.stop()
		<-s.done
	}
}

// wake makes the worker look at the groups.
func (s *Service) wake() {
	select {
	case s.kick <- struct{}{}:
	default: // it will look anyway
	}
}

func (s *Service) run(ctx context.Context) {
	defer close(s.done)
	for {
		pause := lookEvery
		for _, name := range s.groups.Keys() {
			next, err := s.follow(ctx, name)
			if err != nil && ctx.Err() == nil {
				s.cfg.Log.Error("Auto Scaling group does not follow its state yet", "group", name, "error", err)
				pause = min(pause, time.Second)
			}
			if !next.IsZero() {
				pause = min(pause, max(0, next.Sub(s.now())))
			}
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-s.kick:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// follow takes one group as far as it can go now, and returns when to look again.
func (s *Service) follow(ctx context.Context, name string) (time.Time, error) {
	for ctx.Err() == nil {
		do, changed, err := s.decide(ctx, name)
		if err != nil {
			return time.Time{}, err
		}
		progress, err := s.carryOut(ctx, name, do)
		if err != nil || !changed && !progress {
			return do.wake, err
		}
	}
	return time.Time{}, ctx.Err()
}

// decide plans the next steps of a group and writes down what it has become,
// before anything is done.
func (s *Service) decide(ctx context.Context, name string) (do steps, changed bool, _ error) {
	g, ok := s.groups.Get(name)
	if !ok {
		return steps{}, false, nil
	}
	seen, err := s.states(ctx, g)
	if err != nil {
		return steps{}, false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now, ok := s.groups.Get(name)
	if !ok {
		return steps{}, false, nil
	}
	if !reflect.DeepEqual(now.Members, g.Members) {
		return steps{}, true, nil // changed meanwhile: look again
	}
	next, do := plan(now, seen, s.now())
	if next.Deleting && len(next.Members) == 0 {
		return do, false, s.groups.Delete(name)
	}
	if reflect.DeepEqual(next, now) {
		return do, false, nil
	}
	return do, true, s.groups.Put(name, next)
}

// states asks EC2 about a group's instances, one by one: a single unknown ID makes
// EC2 refuse a whole list.
func (s *Service) states(ctx context.Context, g group) (map[string]ec2types.InstanceStateName, error) {
	seen := map[string]ec2types.InstanceStateName{}
	for _, m := range g.Members {
		if m.ID == "" {
			continue
		}
		out, err := s.cfg.EC2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{m.ID}})
		if api := smithy.APIError(nil); errors.As(err, &api) && strings.HasPrefix(api.ErrorCode(), "InvalidInstanceID") {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, r := range out.Reservations {
			for _, i := range r.Instances {
				seen[*i.InstanceId] = i.State.Name
			}
		}
	}
	return seen, nil
}

// carryOut does the steps of a plan. It reports whether the group's row changed.
func (s *Service) carryOut(ctx context.Context, name string, do steps) (progress bool, _ error) {
	var errs []error
	for _, token := range do.launch {
		launched, err := s.launch(ctx, name, token)
		progress = progress || launched
		errs = append(errs, err)
	}
	g, ok := s.groups.Get(name)
	if ok {
		for _, arn := range g.Desc.TargetGroupARNs {
			errs = append(errs, s.register(ctx, arn, do.register), s.deregister(ctx, arn, do.deregister))
		}
	}
	if len(do.terminate) > 0 {
		_, err := s.cfg.EC2.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: do.terminate})
		errs = append(errs, err)
	}
	return progress, errors.Join(errs...)
}

// launch asks EC2 for a member's instance. The token makes a repetition harmless.
func (s *Service) launch(ctx context.Context, name, token string) (progress bool, _ error) {
	g, ok := s.groups.Get(name)
	if !ok {
		return false, nil
	}
	var m member
	for _, have := range g.Members {
		if have.Token == token {
			m = have
		}
	}
	out, err := s.cfg.EC2.RunInstancesIn(ctx, m.Subnet, g.request(m))
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, put := s.groups.Update(name, func(g *group) error {
		*g = g.clone()
		if err != nil {
			g.notLaunched(token, message(err)+". Launching EC2 instance failed.", s.now())
			return nil
		}
		g.launched(token, *out.Instances[0].InstanceId, string(out.Instances[0].InstanceType), s.now())
		return nil
	})
	return true, put
}

// request is the launch of one member's instance.
func (g group) request(m member) *ec2.RunInstancesInput {
	t := m.Template
	in := &ec2.RunInstancesInput{
		MinCount: aws.Int32(1), MaxCount: aws.Int32(1), ClientToken: aws.String(m.Token),
		LaunchTemplate: &ec2types.LaunchTemplateSpecification{LaunchTemplateId: t.LaunchTemplateId, Version: t.Version},
	}
	tags := []ec2types.Tag{{Key: aws.String(groupTag), Value: g.Desc.AutoScalingGroupName}}
	for _, tag := range g.Desc.Tags {
		if aws.ToBool(tag.PropagateAtLaunch) {
			tags = append(tags, ec2types.Tag{Key: tag.Key, Value: tag.Value})
		}
	}
	in.TagSpecifications = []ec2types.TagSpecification{{ResourceType: ec2types.ResourceTypeInstance, Tags: tags}}
	if g.Desc.PlacementGroup != nil {
		in.Placement = &ec2types.Placement{GroupName: g.Desc.PlacementGroup}
	}
	return in
}

// groupTag is on each instance of a group.
const groupTag = "aws:autoscaling:groupName"

func targets(ids []string) []elbtypes.TargetDescription {
	var out []elbtypes.TargetDescription
	for _, id := range ids {
		out = append(out, elbtypes.TargetDescription{Id: aws.String(id)})
	}
	return out
}

func (s *Service) register(ctx context.Context, arn string, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	_, err := s.cfg.Balancers.RegisterTargets(ctx, &elb.RegisterTargetsInput{TargetGroupArn: &arn, Targets: targets(ids)})
	return ignoreGone(err)
}

func (s *Service) deregister(ctx context.Context, arn string, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	_, err := s.cfg.Balancers.DeregisterTargets(ctx, &elb.DeregisterTargetsInput{TargetGroupArn: &arn, Targets: targets(ids)})
	return ignoreGone(err)
}

// ignoreGone forgives that a target group or an instance has ended meanwhile.
func ignoreGone(err error) error {
	var api smithy.APIError
	if errors.As(err, &api) && (api.ErrorCode() == "TargetGroupNotFound" || api.ErrorCode() == "InvalidTarget") {
		return nil
	}
	return err
}

// describe is the group as the API shows it.
func (s *Service) describe(g group) types.AutoScalingGroup {
	d := g.Desc
	d.Instances = []types.Instance{}
	for _, m := range g.Members {
		if m.ID == "" {
			continue
		}
		health := "Healthy"
		if m.Sick {
			health = "Unhealthy"
		}
		d.Instances = append(d.Instances, types.Instance{
			InstanceId: aws.String(m.ID), InstanceType: aws.String(m.Type), AvailabilityZone: aws.String(g.Zones[m.Subnet]), LifecycleState: m.State,
			HealthStatus: &health, LaunchTemplate: m.Template, ProtectedFromScaleIn: d.NewInstancesProtectedFromScaleIn,
		})
	}
	if g.Deleting {
		d.Status = aws.String("Delete in progress")
	}
	return d
}
