package autoscaling

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"pgregory.net/rapid"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/wire"
)

// fakeEC2 launches instances that are pending until the test says otherwise.
type fakeEC2 struct {
	state   map[string]ec2types.InstanceStateName
	tokens  map[string]string // IDs by client token
	tags    map[string]map[string]string
	subnets map[string]string
	refuse  error
}

func (f *fakeEC2) RunInstancesIn(_ context.Context, subnet string, in *ec2.RunInstancesInput) (*ec2.RunInstancesOutput, error) {
	if f.refuse != nil {
		return nil, f.refuse
	}
	id, ok := f.tokens[*in.ClientToken]
	if !ok {
		id = fmt.Sprintf("i-%d", len(f.tokens)+1)
		f.tokens[*in.ClientToken], f.state[id], f.subnets[id] = id, "pending", subnet
		f.tags[id] = map[string]string{}
		for _, t := range in.TagSpecifications[0].Tags {
			f.tags[id][*t.Key] = *t.Value
		}
	}
	return &ec2.RunInstancesOutput{Instances: []ec2types.Instance{{InstanceId: &id, InstanceType: "t3.micro"}}}, nil
}

func (f *fakeEC2) TerminateInstances(_ context.Context, in *ec2.TerminateInstancesInput) (*ec2.TerminateInstancesOutput, error) {
	for _, id := range in.InstanceIds {
		if f.state[id] != "terminated" {
			f.state[id] = "shutting-down"
		}
	}
	return nil, nil
}

func (f *fakeEC2) DescribeInstances(_ context.Context, in *ec2.DescribeInstancesInput) (*ec2.DescribeInstancesOutput, error) {
	id := in.InstanceIds[0]
	state, ok := f.state[id]
	if !ok {
		return nil, wire.Errorf("InvalidInstanceID.NotFound", "no such instance")
	}
	return &ec2.DescribeInstancesOutput{Reservations: []ec2types.Reservation{{Instances: []ec2types.Instance{{InstanceId: &id, State: &ec2types.InstanceState{Name: state}}}}}}, nil
}

func (f *fakeEC2) DescribeSubnets(_ context.Context, in *ec2.DescribeSubnetsInput) (*ec2.DescribeSubnetsOutput, error) {
	out := &ec2.DescribeSubnetsOutput{}
	for _, id := range in.SubnetIds {
		if !strings.HasPrefix(id, "subnet-") {
			return nil, wire.Errorf("InvalidSubnetID.NotFound", "no such subnet")
		}
		out.Subnets = append(out.Subnets, ec2types.Subnet{SubnetId: &id, AvailabilityZone: aws.String("us-east-1" + id[len(id)-1:])})
	}
	return out, nil
}

func (f *fakeEC2) DescribeLaunchTemplateVersions(_ context.Context, in *ec2.DescribeLaunchTemplateVersionsInput) (*ec2.DescribeLaunchTemplateVersionsOutput, error) {
	if aws.ToString(in.LaunchTemplateId) != "lt-1" {
		return nil, wire.Errorf("InvalidLaunchTemplateId.NotFound", "no such template")
	}
	return &ec2.DescribeLaunchTemplateVersionsOutput{LaunchTemplateVersions: []ec2types.LaunchTemplateVersion{{LaunchTemplateId: in.LaunchTemplateId, LaunchTemplateName: aws.String("lt")}}}, nil
}

func (f *fakeEC2) OnInstance(func(string)) {}

// all moves every instance in one state to another.
func (f *fakeEC2) all(from, to ec2types.InstanceStateName) {
	for id, s := range f.state {
		if s == from {
			f.state[id] = to
		}
	}
}

// fakeBalancers remembers who is registered.
type fakeBalancers map[string]bool

func (f fakeBalancers) DescribeTargetGroups(context.Context, *elb.DescribeTargetGroupsInput) (*elb.DescribeTargetGroupsOutput, error) {
	return nil, nil
}

func (f fakeBalancers) RegisterTargets(_ context.Context, in *elb.RegisterTargetsInput) (*elb.RegisterTargetsOutput, error) {
	for _, t := range in.Targets {
		f[*t.Id] = true
	}
	return nil, nil
}

func (f fakeBalancers) DeregisterTargets(_ context.Context, in *elb.DeregisterTargetsInput) (*elb.DeregisterTargetsOutput, error) {
	for _, t := range in.Targets {
		delete(f, *t.Id)
	}
	return nil, nil
}

// A scene is a service whose worker acts only when the test says so.
type scene struct {
	*Service
	t     testing.TB
	ec2   *fakeEC2
	elb   fakeBalancers
	clock time.Time
}

func newScene(t testing.TB) *scene {
	s := &scene{
		t: t, elb: fakeBalancers{}, clock: time.Date(2025, 11, 3, 9, 30, 0, 0, time.UTC),
		ec2: &fakeEC2{state: map[string]ec2types.InstanceStateName{}, tokens: map[string]string{}, tags: map[string]map[string]string{}, subnets: map[string]string{}},
	}
	var err error
	s.Service, err = New(store.Memory(), region.NewIdentity("", ""), Config{EC2: s.ec2, Balancers: s.elb, Now: func() time.Time { return s.clock }})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// create makes group g of n instances, with the login nodes' hooks if asked.
func (s *scene) create(n int32, hooks bool) {
	s.t.Helper()
	in := &sdk.CreateAutoScalingGroupInput{
		AutoScalingGroupName: aws.String("g"), MinSize: aws.Int32(n), MaxSize: aws.Int32(n), VPCZoneIdentifier: aws.String("subnet-a, subnet-b"),
		LaunchTemplate: &types.LaunchTemplateSpecification{LaunchTemplateId: aws.String("lt-1"), Version: aws.String("1")}, TargetGroupARNs: []string{"tg"},
		Tags: []types.Tag{{Key: aws.String("pool"), Value: aws.String("p")}, {Key: aws.String("to-all"), Value: aws.String("yes"), PropagateAtLaunch: aws.Bool(true)}},
	}
	if hooks {
		in.LifecycleHookSpecificationList = []types.LifecycleHookSpecification{
			{LifecycleHookName: aws.String("up"), LifecycleTransition: aws.String(launching), HeartbeatTimeout: aws.Int32(600)},
			{LifecycleHookName: aws.String("down"), LifecycleTransition: aws.String(terminating), HeartbeatTimeout: aws.Int32(60)},
		}
	}
	if _, err := s.CreateAutoScalingGroup(s.t.Context(), in); err != nil {
		s.t.Fatal(err)
	}
	s.act()
}

func (s *scene) act() {
	s.t.Helper()
	if _, err := s.follow(s.t.Context(), "g"); err != nil {
		s.t.Fatal(err)
	}
}

// states are the lifecycle states of the group's instances, by ID.
func (s *scene) states() string {
	s.t.Helper()
	out, err := s.DescribeAutoScalingGroups(s.t.Context(), &sdk.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{"g"}})
	if err != nil {
		s.t.Fatal(err)
	}
	var list []string
	for _, g := range out.AutoScalingGroups {
		for _, i := range g.Instances {
			list = append(list, *i.InstanceId+" "+string(i.LifecycleState))
		}
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

func (s *scene) want(states string) {
	s.t.Helper()
	if got := s.states(); got != states {
		s.t.Errorf("instances are %q, want %q", got, states)
	}
}

func (s *scene) complete(id, hook, result string) {
	s.t.Helper()
	if _, err := s.CompleteLifecycleAction(s.t.Context(), &sdk.CompleteLifecycleActionInput{
		AutoScalingGroupName: aws.String("g"), LifecycleHookName: &hook, InstanceId: &id, LifecycleActionResult: &result,
	}); err != nil {
		s.t.Fatal(err)
	}
	s.act()
}

func TestInstancesComeIntoService(t *testing.T) {
	s := newScene(t)
	s.create(2, false)
	s.want("i-1 Pending, i-2 Pending")
	if s.ec2.subnets["i-1"] == s.ec2.subnets["i-2"] {
		t.Errorf("both in %s", s.ec2.subnets["i-1"])
	}
	if tags := s.ec2.tags["i-1"]; tags[groupTag] != "g" || tags["to-all"] != "yes" || tags["pool"] != "" {
		t.Errorf("tags %v", tags)
	}
	s.ec2.state["i-1"] = "running"
	s.act()
	s.want("i-1 InService, i-2 Pending")
	if !s.elb["i-1"] || s.elb["i-2"] {
		t.Errorf("registered %v", s.elb)
	}
}

func TestAnInstanceThatEndsIsReplaced(t *testing.T) {
	s := newScene(t)
	s.create(1, true)
	s.ec2.all("pending", "running")
	s.complete("i-1", "up", proceed)
	s.want("i-1 InService")
	s.ec2.state["i-1"] = "terminated"
	s.act()
	s.want("i-2 Pending:Wait")
	if s.elb["i-1"] {
		t.Error("it is still registered")
	}
}

func TestHooksHoldInstances(t *testing.T) {
	s := newScene(t)
	s.create(1, true)
	s.ec2.all("pending", "running")
	s.act()
	s.want("i-1 Pending:Wait")
	if s.elb["i-1"] {
		t.Error("registered before its hook is complete")
	}
	s.complete("i-1", "up", proceed)
	s.want("i-1 InService")
	if got := s.TargetState("i-1"); got != "InService" {
		t.Errorf("the target state is %q", got)
	}

	// Going, it waits as long as the hook says, whatever happens, and is out of the
	// balancer at once.
	if _, err := s.UpdateAutoScalingGroup(t.Context(), &sdk.UpdateAutoScalingGroupInput{AutoScalingGroupName: aws.String("g"), MinSize: aws.Int32(0), MaxSize: aws.Int32(0)}); err != nil {
		t.Fatal(err)
	}
	s.act()
	s.want("i-1 Terminating:Wait")
	if got := s.TargetState("i-1"); got != "Terminated" {
		t.Errorf("the target state is %q", got)
	}
	if got := s.TargetState("i-9"); got != "" {
		t.Errorf("the target state of an instance in no group is %q", got)
	}
	if s.elb["i-1"] || s.ec2.state["i-1"] != "running" {
		t.Errorf("registered %v, %s", s.elb["i-1"], s.ec2.state["i-1"])
	}
	s.clock = s.clock.Add(59 * time.Second)
	s.act()
	s.want("i-1 Terminating:Wait")
	s.clock = s.clock.Add(time.Second)
	s.act()
	s.want("i-1 Terminating:Proceed")
	s.ec2.all("shutting-down", "terminated")
	s.act()
	s.want("")
}

func TestAHookThatIsAbandonedReplacesTheInstance(t *testing.T) {
	for name, give := range map[string]func(*scene){
		"by its node": func(s *scene) { s.complete("i-1", "up", abandon) },
		"by time":     func(s *scene) { s.clock = s.clock.Add(10 * time.Minute); s.act() },
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.create(1, true)
			s.ec2.all("pending", "running")
			give(s)
			s.want("i-1 Terminating, i-2 Pending:Wait")
			if s.ec2.state["i-1"] != "shutting-down" {
				t.Errorf("the instance is %s", s.ec2.state["i-1"])
			}
			out, err := s.DescribeScalingActivities(t.Context(), &sdk.DescribeScalingActivitiesInput{AutoScalingGroupName: aws.String("g")})
			if err != nil {
				t.Fatal(err)
			}
			if a := out.Activities[len(out.Activities)-1]; a.StatusCode != "Cancelled" || a.StatusMessage == nil {
				t.Errorf("the launch's activity is %s", a.StatusCode)
			}
		})
	}
}

func TestHeartbeatsExtendWaits(t *testing.T) {
	s := newScene(t)
	s.create(1, true)
	s.ec2.all("pending", "running")
	s.clock = s.clock.Add(9 * time.Minute)
	if _, err := s.RecordLifecycleActionHeartbeat(t.Context(), &sdk.RecordLifecycleActionHeartbeatInput{AutoScalingGroupName: aws.String("g"), LifecycleHookName: aws.String("up"), InstanceId: aws.String("i-1")}); err != nil {
		t.Fatal(err)
	}
	s.clock = s.clock.Add(9 * time.Minute)
	s.act()
	s.want("i-1 Pending:Wait")
	s.clock = s.clock.Add(time.Minute)
	s.act()
	s.want("i-1 Terminating, i-2 Pending:Wait")
}

func TestRefusedLaunchesAreTriedAgainLater(t *testing.T) {
	s := newScene(t)
	s.ec2.refuse = wire.Errorf("InsufficientInstanceCapacity", "We currently do not have sufficient capacity")
	s.create(1, false)
	s.want("")
	out, err := s.DescribeScalingActivities(t.Context(), &sdk.DescribeScalingActivitiesInput{AutoScalingGroupName: aws.String("g")})
	if err != nil || len(out.Activities) != 1 || out.Activities[0].StatusCode != "Failed" || !strings.Contains(*out.Activities[0].StatusMessage, "sufficient capacity") {
		t.Fatalf("activities %+v, %v", out, err)
	}
	s.ec2.refuse = nil
	s.act()
	s.want("") // not at once
	s.clock = s.clock.Add(firstRetry)
	s.act()
	s.want("i-1 Pending")
}

func TestDeletionByForce(t *testing.T) {
	s := newScene(t)
	s.create(2, true)
	s.ec2.all("pending", "running")
	s.complete("i-1", "up", proceed)
	_, err := s.DeleteAutoScalingGroup(t.Context(), &sdk.DeleteAutoScalingGroupInput{AutoScalingGroupName: aws.String("g")})
	wantCode(t, err, "ResourceInUse")
	if _, err := s.DeleteAutoScalingGroup(t.Context(), &sdk.DeleteAutoScalingGroupInput{AutoScalingGroupName: aws.String("g"), ForceDelete: aws.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	s.act()
	if s.ec2.state["i-1"] != "shutting-down" || s.ec2.state["i-2"] != "shutting-down" {
		t.Errorf("instances %v", s.ec2.state)
	}
	s.ec2.all("shutting-down", "terminated")
	s.act()
	if _, err := s.group(aws.String("g")); err == nil {
		t.Error("the group is still there")
	}
}

func TestRefusals(t *testing.T) {
	s := newScene(t)
	s.create(1, true)
	ctx := t.Context()
	_, err := s.CompleteLifecycleAction(ctx, &sdk.CompleteLifecycleActionInput{AutoScalingGroupName: aws.String("g"), LifecycleHookName: aws.String("up"), InstanceId: aws.String("i-9"), LifecycleActionResult: aws.String(proceed)})
	wantCode(t, err, "ValidationError")
	_, err = s.SetDesiredCapacity(ctx, &sdk.SetDesiredCapacityInput{AutoScalingGroupName: aws.String("g"), DesiredCapacity: aws.Int32(2)})
	wantCode(t, err, "ValidationError")
	_, err = s.SetDesiredCapacity(ctx, &sdk.SetDesiredCapacityInput{AutoScalingGroupName: aws.String("none"), DesiredCapacity: aws.Int32(2)})
	wantCode(t, err, "ValidationError")
	_, err = s.CreateAutoScalingGroup(ctx, &sdk.CreateAutoScalingGroupInput{AutoScalingGroupName: aws.String("h"), MinSize: aws.Int32(0), MaxSize: aws.Int32(1), VPCZoneIdentifier: aws.String("subnet-a"), LaunchTemplate: &types.LaunchTemplateSpecification{LaunchTemplateId: aws.String("lt-2")}})
	wantCode(t, err, "ValidationError")
	_, err = s.TerminateInstanceInAutoScalingGroup(ctx, &sdk.TerminateInstanceInAutoScalingGroupInput{InstanceId: aws.String("i-9"), ShouldDecrementDesiredCapacity: aws.Bool(false)})
	wantCode(t, err, "ValidationError")
}

func wantCode(t testing.TB, err error, code string) {
	t.Helper()
	var e *wire.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("got error %v, want %s", err, code)
	}
}

// Whatever happens to instances and whoever changes the capacity, a group ends up
// with as many instances in service as it is to have, all registered, and ends
// none that counts.
func TestGroupsSettle(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newScene(t)
		s.create(rapid.Int32Range(0, 4).Draw(rt, "size"), rapid.Bool().Draw(rt, "hooks"))
		name := aws.String("g")
		for range rapid.IntRange(0, 15).Draw(rt, "events") {
			ids := slices.Sorted(func(yield func(string) bool) {
				for id := range s.ec2.state {
					if !yield(id) {
						return
					}
				}
			})
			switch rapid.IntRange(0, 5).Draw(rt, "event") {
			case 0:
				n := rapid.Int32Range(0, 5).Draw(rt, "capacity")
				if _, err := s.UpdateAutoScalingGroup(t.Context(), &sdk.UpdateAutoScalingGroupInput{AutoScalingGroupName: name, MinSize: aws.Int32(0), MaxSize: aws.Int32(5), DesiredCapacity: &n}); err != nil {
					rt.Fatal(err)
				}
			case 1:
				s.ec2.all("pending", "running")
			case 2:
				if len(ids) > 0 {
					s.ec2.state[rapid.SampledFrom(ids).Draw(rt, "ended")] = "terminated"
				}
			case 3:
				s.clock = s.clock.Add(rapid.SampledFrom([]time.Duration{time.Second, time.Minute, 11 * time.Minute}).Draw(rt, "time"))
			case 4:
				if len(ids) > 0 {
					_, _ = s.SetInstanceHealth(t.Context(), &sdk.SetInstanceHealthInput{InstanceId: aws.String(rapid.SampledFrom(ids).Draw(rt, "sick")), HealthStatus: aws.String("Unhealthy")})
				}
			case 5:
				s.ec2.all("shutting-down", "terminated")
			}
			s.act()
		}
		for range 10 {
			s.ec2.all("pending", "running")
			s.ec2.all("shutting-down", "terminated")
			g, err := s.group(name)
			if err != nil {
				rt.Fatal(err)
			}
			for _, m := range g.Members {
				for _, w := range m.Waits {
					s.complete(m.ID, w.Hook, proceed)
				}
			}
			s.act()
		}
		g, _ := s.group(name)
		if len(g.Members) != int(*g.Desc.DesiredCapacity) || len(s.elb) != len(g.Members) {
			rt.Fatalf("%d instances, %d registered, want %d: %s", len(g.Members), len(s.elb), *g.Desc.DesiredCapacity, s.states())
		}
		running := 0
		for id, state := range s.ec2.state {
			if state == "running" {
				running++
				if g.member(id) < 0 || !s.elb[id] {
					rt.Errorf("%s runs for nobody", id)
				}
			}
		}
		if running != len(g.Members) {
			rt.Errorf("%d instances run, %d belong to the group: %s", running, len(g.Members), s.states())
		}
	})
}
