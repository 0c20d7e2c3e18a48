package autoscaling

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"

	"pcluster/internal/sandbox/page"
	"pcluster/internal/sandbox/wire"
)

// paged cuts a list as the Describe operations do.
func paged[T any](rows []T, key func(T) string, token *string, most *int32, limit int) ([]T, *string, error) {
	out, next, err := page.Of(rows, key, token, page.Limit(most, limit))
	if err != nil {
		return nil, nil, wire.Errorf("InvalidNextToken", "The token '%s' is invalid", aws.ToString(token))
	}
	return out, next, nil
}

// DescribeAutoScalingGroups lists groups, all or by name. Names that do not exist
// are no error.
func (s *Service) DescribeAutoScalingGroups(_ context.Context, in *sdk.DescribeAutoScalingGroupsInput) (*sdk.DescribeAutoScalingGroupsOutput, error) {
	var found []types.AutoScalingGroup
	for _, g := range s.groups.All() {
		if len(in.AutoScalingGroupNames) > 0 && !slices.Contains(in.AutoScalingGroupNames, g.name()) {
			continue
		}
		fits, err := g.fits(in.Filters)
		if err != nil {
			return nil, err
		}
		if fits {
			found = append(found, s.describe(g))
		}
	}
	rows, next, err := paged(found, func(g types.AutoScalingGroup) string { return *g.AutoScalingGroupName }, in.NextToken, in.MaxRecords, 50)
	return &sdk.DescribeAutoScalingGroupsOutput{AutoScalingGroups: rows, NextToken: next}, err
}

// fits reports whether a group passes filters, all of which are about tags.
func (g group) fits(filters []types.Filter) (bool, error) {
	for _, f := range filters {
		name := aws.ToString(f.Name)
		key, byKey := strings.CutPrefix(name, "tag:")
		if !byKey && name != "tag-key" && name != "tag-value" {
			return false, invalid("Filter type %s is not correct. Allowed Filter types are: tag:<key>, tag-key, tag-value", name)
		}
		if !slices.ContainsFunc(g.Desc.Tags, func(t types.TagDescription) bool {
			switch {
			case byKey:
				return *t.Key == key && slices.Contains(f.Values, *t.Value)
			case name == "tag-key":
				return slices.Contains(f.Values, *t.Key)
			}
			return slices.Contains(f.Values, *t.Value)
		}) {
			return false, nil
		}
	}
	return true, nil
}

// DescribeAutoScalingInstances lists instances of groups, all or by ID.
func (s *Service) DescribeAutoScalingInstances(_ context.Context, in *sdk.DescribeAutoScalingInstancesInput) (*sdk.DescribeAutoScalingInstancesOutput, error) {
	var found []types.AutoScalingInstanceDetails
	for _, g := range s.groups.All() {
		for _, i := range s.describe(g).Instances {
			if len(in.InstanceIds) > 0 && !slices.Contains(in.InstanceIds, *i.InstanceId) {
				continue
			}
			found = append(found, types.AutoScalingInstanceDetails{
				AutoScalingGroupName: g.Desc.AutoScalingGroupName, InstanceId: i.InstanceId, InstanceType: i.InstanceType, AvailabilityZone: i.AvailabilityZone,
				HealthStatus: aws.String(strings.ToUpper(*i.HealthStatus)), LifecycleState: aws.String(string(i.LifecycleState)),
				LaunchTemplate: i.LaunchTemplate, ProtectedFromScaleIn: i.ProtectedFromScaleIn,
			})
		}
	}
	slices.SortFunc(found, func(a, b types.AutoScalingInstanceDetails) int { return strings.Compare(*a.InstanceId, *b.InstanceId) })
	rows, next, err := paged(found, func(i types.AutoScalingInstanceDetails) string { return *i.InstanceId }, in.NextToken, in.MaxRecords, 50)
	return &sdk.DescribeAutoScalingInstancesOutput{AutoScalingInstances: rows, NextToken: next}, err
}

// TargetState returns the state that an instance's group takes it to, or "" if it is in
// no group. The metadata service tells instances.
func (s *Service) TargetState(id string) string {
	for _, g := range s.groups.All() {
		i := g.member(id)
		switch {
		case i < 0:
		case g.Members[i].leaving():
			return string(types.LifecycleStateTerminated)
		default:
			return string(types.LifecycleStateInService)
		}
	}
	return ""
}

// UpdateAutoScalingGroup changes settings of a group. A new launch template is for
// instances launched from now on.
func (s *Service) UpdateAutoScalingGroup(ctx context.Context, in *sdk.UpdateAutoScalingGroupInput) (*sdk.UpdateAutoScalingGroupOutput, error) {
	if _, err := s.group(in.AutoScalingGroupName); err != nil {
		return nil, err
	}
	if err := played(map[string]bool{"launch configuration": in.LaunchConfigurationName != nil, "mixed instances policy": in.MixedInstancesPolicy != nil}); err != nil {
		return nil, err
	}
	var zones map[string]string
	var names []string
	template := in.LaunchTemplate
	var err error
	if in.VPCZoneIdentifier != nil {
		if zones, names, err = s.subnets(ctx, *in.VPCZoneIdentifier); err != nil {
			return nil, err
		}
	}
	if template != nil {
		if template, err = s.template(ctx, template); err != nil {
			return nil, err
		}
	}
	return nil, s.change(in.AutoScalingGroupName, func(g *group) error {
		d := &g.Desc
		least, most, desired := *or(in.MinSize, *d.MinSize), *or(in.MaxSize, *d.MaxSize), *d.DesiredCapacity
		if in.DesiredCapacity != nil {
			desired = *in.DesiredCapacity
		} else { // sizes draw the capacity along
			desired = max(least, min(most, desired))
		}
		if err := sizes(least, desired, most); err != nil {
			return err
		}
		d.MinSize, d.MaxSize, d.DesiredCapacity = &least, &most, &desired
		if template != nil {
			d.LaunchTemplate = template
		}
		if zones != nil {
			g.Zones, d.AvailabilityZones, d.VPCZoneIdentifier = zones, names, in.VPCZoneIdentifier
		}
		d.DefaultCooldown = or(in.DefaultCooldown, *d.DefaultCooldown)
		d.HealthCheckGracePeriod = or(in.HealthCheckGracePeriod, *d.HealthCheckGracePeriod)
		d.HealthCheckType = or(in.HealthCheckType, *d.HealthCheckType)
		d.NewInstancesProtectedFromScaleIn = or(in.NewInstancesProtectedFromScaleIn, *d.NewInstancesProtectedFromScaleIn)
		if in.TerminationPolicies != nil {
			d.TerminationPolicies = in.TerminationPolicies
		}
		if in.PlacementGroup != nil {
			d.PlacementGroup = in.PlacementGroup
		}
		g.RetryAt = s.now() // what failed may work now
		return nil
	})
}

// SetDesiredCapacity changes how many instances a group shall have.
func (s *Service) SetDesiredCapacity(_ context.Context, in *sdk.SetDesiredCapacityInput) (*sdk.SetDesiredCapacityOutput, error) {
	return nil, s.change(in.AutoScalingGroupName, func(g *group) error {
		switch n := *in.DesiredCapacity; {
		case n > *g.Desc.MaxSize:
			return invalid("New SetDesiredCapacity value %d is above max value %d for the AutoScalingGroup.", n, *g.Desc.MaxSize)
		case n < *g.Desc.MinSize:
			return invalid("New SetDesiredCapacity value %d is below min value %d for the AutoScalingGroup.", n, *g.Desc.MinSize)
		}
		g.Desc.DesiredCapacity, g.RetryAt = in.DesiredCapacity, s.now()
		return nil
	})
}

// DeleteAutoScalingGroup removes an empty group, or by force one with its
// instances, whose lifecycle hooks then are not waited for.
func (s *Service) DeleteAutoScalingGroup(_ context.Context, in *sdk.DeleteAutoScalingGroupInput) (*sdk.DeleteAutoScalingGroupOutput, error) {
	return nil, s.change(in.AutoScalingGroupName, func(g *group) error {
		if len(g.Members) > 0 && !aws.ToBool(in.ForceDelete) {
			return wire.Errorf("ResourceInUse", "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance request(s) still in the group.")
		}
		g.Deleting = true
		for i := range g.Members {
			g.Members[i].Waits = nil
			if g.Members[i].State == types.LifecycleStateTerminatingWait {
				g.Members[i].State = types.LifecycleStateTerminatingProceed
			}
		}
		return nil
	})
}

// TerminateInstanceInAutoScalingGroup ends an instance, which is replaced unless
// the group shrinks by it.
func (s *Service) TerminateInstanceInAutoScalingGroup(_ context.Context, in *sdk.TerminateInstanceInAutoScalingGroupInput) (*sdk.TerminateInstanceInAutoScalingGroupOutput, error) {
	id := aws.ToString(in.InstanceId)
	name, ok := s.holder(id)
	if !ok {
		return nil, notMember(id)
	}
	var activity *types.Activity
	err := s.change(&name, func(g *group) error {
		i := g.member(id)
		if i < 0 {
			return notMember(id)
		}
		if *in.ShouldDecrementDesiredCapacity {
			if *g.Desc.DesiredCapacity <= *g.Desc.MinSize {
				return invalid("Currently, desiredSize equals minSize (%d). Terminating instance without replacement will violate group's min size constraint. Either set shouldDecrementDesiredCapacity flag to false or lower group's min size.", *g.Desc.MinSize)
			}
			g.Desc.DesiredCapacity = aws.Int32(*g.Desc.DesiredCapacity - 1)
		}
		if !g.Members[i].leaving() {
			now := s.now()
			g.leave(&g.Members[i], now, fmt.Sprintf("At %s instance %s was taken out of service in response to a user request.", stamp(now), id), false)
		}
		for _, a := range g.Activities {
			if *a.ActivityId == g.Members[i].Activity {
				activity = &a
			}
		}
		return nil
	})
	return &sdk.TerminateInstanceInAutoScalingGroupOutput{Activity: activity}, err
}

// SetInstanceHealth says how an instance is. An unhealthy one is replaced.
func (s *Service) SetInstanceHealth(_ context.Context, in *sdk.SetInstanceHealthInput) (*sdk.SetInstanceHealthOutput, error) {
	id, status := aws.ToString(in.InstanceId), aws.ToString(in.HealthStatus)
	if status != "Healthy" && status != "Unhealthy" {
		return nil, invalid("Valid instance health states are: [Healthy, Unhealthy]")
	}
	name, ok := s.holder(id)
	if !ok {
		return nil, notMember(id)
	}
	return nil, s.change(&name, func(g *group) error {
		i := g.member(id)
		if i < 0 {
			return notMember(id)
		}
		g.Members[i].Sick = status == "Unhealthy"
		return nil
	})
}

// DescribeScalingActivities tells the history of a group, the latest first.
func (s *Service) DescribeScalingActivities(_ context.Context, in *sdk.DescribeScalingActivitiesInput) (*sdk.DescribeScalingActivitiesOutput, error) {
	var found []types.Activity
	for _, g := range s.groups.All() {
		if in.AutoScalingGroupName != nil && g.name() != *in.AutoScalingGroupName {
			continue
		}
		for _, a := range g.Activities {
			if len(in.ActivityIds) == 0 || slices.Contains(in.ActivityIds, *a.ActivityId) {
				found = append(found, a)
			}
		}
	}
	slices.SortStableFunc(found, func(a, b types.Activity) int { return b.StartTime.Compare(*a.StartTime) })
	order := map[string]string{} // pages are cut along the position
	for i, a := range found {
		order[*a.ActivityId] = fmt.Sprintf("%06d", i)
	}
	rows, next, err := paged(found, func(a types.Activity) string { return order[*a.ActivityId] }, in.NextToken, in.MaxRecords, 100)
	return &sdk.DescribeScalingActivitiesOutput{Activities: rows, NextToken: next}, err
}

// AttachLoadBalancerTargetGroups makes a group register its instances with target groups.
func (s *Service) AttachLoadBalancerTargetGroups(ctx context.Context, in *sdk.AttachLoadBalancerTargetGroupsInput) (*sdk.AttachLoadBalancerTargetGroupsOutput, error) {
	if err := s.targetGroups(ctx, in.TargetGroupARNs); err != nil {
		return nil, err
	}
	err := s.change(in.AutoScalingGroupName, func(g *group) error {
		for _, arn := range in.TargetGroupARNs {
			if !slices.Contains(g.Desc.TargetGroupARNs, arn) {
				g.Desc.TargetGroupARNs = append(g.Desc.TargetGroupARNs, arn)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	g, err := s.group(in.AutoScalingGroupName)
	return nil, errors.Join(err, s.registerAll(ctx, g, in.TargetGroupARNs))
}

// DetachLoadBalancerTargetGroups takes a group's instances out of target groups.
func (s *Service) DetachLoadBalancerTargetGroups(ctx context.Context, in *sdk.DetachLoadBalancerTargetGroupsInput) (*sdk.DetachLoadBalancerTargetGroupsOutput, error) {
	g, err := s.group(in.AutoScalingGroupName)
	if err != nil {
		return nil, err
	}
	for _, arn := range in.TargetGroupARNs {
		if !slices.Contains(g.Desc.TargetGroupARNs, arn) {
			return nil, invalid("Trying to remove Target Groups that are not part of the group")
		}
	}
	err = s.change(in.AutoScalingGroupName, func(g *group) error {
		g.Desc.TargetGroupARNs = slices.DeleteFunc(g.Desc.TargetGroupARNs, func(arn string) bool { return slices.Contains(in.TargetGroupARNs, arn) })
		return nil
	})
	var ids []string
	for _, m := range g.Members {
		if m.ID != "" {
			ids = append(ids, m.ID)
		}
	}
	for _, arn := range in.TargetGroupARNs {
		err = errors.Join(err, s.deregister(ctx, arn, ids))
	}
	return nil, err
}

// DescribeLoadBalancerTargetGroups lists the target groups of a group.
func (s *Service) DescribeLoadBalancerTargetGroups(_ context.Context, in *sdk.DescribeLoadBalancerTargetGroupsInput) (*sdk.DescribeLoadBalancerTargetGroupsOutput, error) {
	g, err := s.group(in.AutoScalingGroupName)
	if err != nil {
		return nil, err
	}
	arns := slices.Sorted(slices.Values(g.Desc.TargetGroupARNs))
	rows, next, err := paged(arns, func(arn string) string { return arn }, in.NextToken, in.MaxRecords, 100)
	out := &sdk.DescribeLoadBalancerTargetGroupsOutput{LoadBalancerTargetGroups: []types.LoadBalancerTargetGroupState{}, NextToken: next}
	for _, arn := range rows {
		out.LoadBalancerTargetGroups = append(out.LoadBalancerTargetGroups, types.LoadBalancerTargetGroupState{
			LoadBalancerTargetGroupARN: aws.String(arn), State: aws.String("InService"),
		})
	}
	return out, err
}

// setTags adds tags to a group, or replaces their values.
func (g *group) setTags(tags []types.Tag) {
	for _, t := range tags {
		d := types.TagDescription{
			Key: t.Key, Value: aws.String(aws.ToString(t.Value)), PropagateAtLaunch: aws.Bool(aws.ToBool(t.PropagateAtLaunch)),
			ResourceId: g.Desc.AutoScalingGroupName, ResourceType: aws.String("auto-scaling-group"),
		}
		g.dropTag(*t.Key)
		g.Desc.Tags = append(g.Desc.Tags, d)
	}
}

func (g *group) dropTag(key string) {
	g.Desc.Tags = slices.DeleteFunc(g.Desc.Tags, func(t types.TagDescription) bool { return *t.Key == key })
}

// eachTagged calls fn for the group of each tag, after all have been found.
func (s *Service) eachTagged(tags []types.Tag, fn func(*group, types.Tag)) error {
	for _, t := range tags {
		if _, err := s.group(t.ResourceId); err != nil {
			return err
		}
	}
	for _, t := range tags {
		if err := s.change(t.ResourceId, func(g *group) error { fn(g, t); return nil }); err != nil {
			return err
		}
	}
	return nil
}

// CreateOrUpdateTags sets tags of groups. Instances that exist do not get them.
func (s *Service) CreateOrUpdateTags(_ context.Context, in *sdk.CreateOrUpdateTagsInput) (*sdk.CreateOrUpdateTagsOutput, error) {
	return nil, s.eachTagged(in.Tags, func(g *group, t types.Tag) { g.setTags([]types.Tag{t}) })
}

// DeleteTags removes tags of groups.
func (s *Service) DeleteTags(_ context.Context, in *sdk.DeleteTagsInput) (*sdk.DeleteTagsOutput, error) {
	return nil, s.eachTagged(in.Tags, func(g *group, t types.Tag) { g.dropTag(*t.Key) })
}

// DescribeTags lists tags of groups.
func (s *Service) DescribeTags(_ context.Context, in *sdk.DescribeTagsInput) (*sdk.DescribeTagsOutput, error) {
	var found []types.TagDescription
	for _, g := range s.groups.All() {
		for _, t := range g.Desc.Tags {
			have := map[string]string{
				"auto-scaling-group": g.name(), "key": *t.Key, "value": *t.Value, "propagate-at-launch": fmt.Sprint(*t.PropagateAtLaunch),
			}
			fits := true
			for _, f := range in.Filters {
				value, known := have[aws.ToString(f.Name)]
				if !known {
					return nil, invalid("Filter type %s is not correct. Allowed Filter types are: auto-scaling-group, key, propagate-at-launch, value", aws.ToString(f.Name))
				}
				fits = fits && slices.Contains(f.Values, value)
			}
			if fits {
				found = append(found, t)
			}
		}
	}
	key := func(t types.TagDescription) string { return *t.ResourceId + "\x00" + *t.Key }
	slices.SortFunc(found, func(a, b types.TagDescription) int { return strings.Compare(key(a), key(b)) })
	rows, next, err := paged(found, key, in.NextToken, in.MaxRecords, 50)
	return &sdk.DescribeTagsOutput{Tags: rows, NextToken: next}, err
}
