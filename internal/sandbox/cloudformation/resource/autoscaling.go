package resource

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"

	"pcluster/internal/sandbox/cloudformation/template"
)

// AutoScaling is the part of Auto Scaling that stacks use.
type AutoScaling interface {
	CreateAutoScalingGroup(context.Context, *autoscaling.CreateAutoScalingGroupInput) (*autoscaling.CreateAutoScalingGroupOutput, error)
	DescribeAutoScalingGroups(context.Context, *autoscaling.DescribeAutoScalingGroupsInput) (*autoscaling.DescribeAutoScalingGroupsOutput, error)
	DescribeScalingActivities(context.Context, *autoscaling.DescribeScalingActivitiesInput) (*autoscaling.DescribeScalingActivitiesOutput, error)
	UpdateAutoScalingGroup(context.Context, *autoscaling.UpdateAutoScalingGroupInput) (*autoscaling.UpdateAutoScalingGroupOutput, error)
	DeleteAutoScalingGroup(context.Context, *autoscaling.DeleteAutoScalingGroupInput) (*autoscaling.DeleteAutoScalingGroupOutput, error)
	AttachLoadBalancerTargetGroups(context.Context, *autoscaling.AttachLoadBalancerTargetGroupsInput) (*autoscaling.AttachLoadBalancerTargetGroupsOutput, error)
	DetachLoadBalancerTargetGroups(context.Context, *autoscaling.DetachLoadBalancerTargetGroupsInput) (*autoscaling.DetachLoadBalancerTargetGroupsOutput, error)
	PutLifecycleHook(context.Context, *autoscaling.PutLifecycleHookInput) (*autoscaling.PutLifecycleHookOutput, error)
	DeleteLifecycleHook(context.Context, *autoscaling.DeleteLifecycleHookInput) (*autoscaling.DeleteLifecycleHookOutput, error)
	CreateOrUpdateTags(context.Context, *autoscaling.CreateOrUpdateTagsInput) (*autoscaling.CreateOrUpdateTagsOutput, error)
	DeleteTags(context.Context, *autoscaling.DeleteTagsInput) (*autoscaling.DeleteTagsOutput, error)
}

func autoScalingTypes(api AutoScaling) []*Type {
	return []*Type{scalingGroupType(api), lifecycleHookType(api)}
}

// forScaling changes what templates write otherwise than the API: subnets are a
// list, and the cooldown has another name.
func forScaling(props map[string]any) map[string]any {
	out := maps.Clone(props)
	if list, ok := out["VPCZoneIdentifier"].([]any); ok {
		var ids []string
		for _, e := range list {
			id, _ := template.Text(e)
			ids = append(ids, id)
		}
		out["VPCZoneIdentifier"] = strings.Join(ids, ",")
	}
	if v, ok := out["Cooldown"]; ok {
		delete(out, "Cooldown")
		out["DefaultCooldown"] = v
	}
	return out
}

// launchesForgiven is how many launches of a new group may fail before the group
// counts as failed.
const launchesForgiven = 3

func scalingGroupType(api AutoScaling) *Type {
	t := &Type{
		Name:     "AWS::AutoScaling::AutoScalingGroup",
		Replaces: []string{"AutoScalingGroupName", "InstanceId"},
		Signals:  true,
		properties: like[autoscaling.CreateAutoScalingGroupInput]("MinSize", "MaxSize").
			refuses("MetricsCollection", "NotificationConfiguration", "NotificationConfigurations"),
		adapt: forScaling,
	}
	describe := func(ctx context.Context, r *Request) (types.AutoScalingGroup, bool, error) {
		out, err := api.DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{r.PhysicalID}})
		if err != nil || len(out.AutoScalingGroups) == 0 {
			return types.AutoScalingGroup{}, false, err
		}
		return out.AutoScalingGroups[0], true, nil
	}
	tags := func(r *Request) []types.Tag {
		launch := map[string]bool{}
		for _, p := range rules(r.Props, "Tags") {
			key, _ := template.Text(p["Key"])
			text, _ := template.Text(p["PropagateAtLaunch"])
			launch[key] = strings.EqualFold(text, "true")
		}
		var out []types.Tag
		for _, tag := range r.tagList() {
			propagate, own := launch[tag.Key]
			out = append(out, types.Tag{
				Key: aws.String(tag.Key), Value: aws.String(tag.Value), PropagateAtLaunch: aws.Bool(propagate || !own),
				ResourceId: aws.String(r.PhysicalID), ResourceType: aws.String("auto-scaling-group"),
			})
		}
		return out
	}
	// steady waits until the group has the instances it is to have, all in service.
	steady := func(ctx context.Context, r *Request) error {
		return r.Wait(func() (bool, error) {
			g, found, err := describe(ctx, r)
			if err != nil || !found {
				return false, err
			}
			up := 0
			for _, i := range g.Instances {
				if i.LifecycleState == types.LifecycleStateInService {
					up++
				}
			}
			if up == len(g.Instances) && up == int(*g.DesiredCapacity) {
				return true, nil
			}
			out, err := api.DescribeScalingActivities(ctx, &autoscaling.DescribeScalingActivitiesInput{AutoScalingGroupName: g.AutoScalingGroupName})
			if err != nil {
				return false, err
			}
			failed, why := 0, ""
			for _, a := range out.Activities {
				if !a.StartTime.Before(r.Started) && (a.StatusCode == types.ScalingActivityStatusCodeFailed || a.StatusCode == types.ScalingActivityStatusCodeCancelled) && a.StatusMessage != nil {
					failed++
					if why == "" {
						why = *a.StatusMessage
					}
				}
			}
			if failed >= launchesForgiven {
				return false, fmt.Errorf("Group did not stabilize. {current/minimum/target} group size = {%d/%d/%d}. %s", up, *g.MinSize, *g.DesiredCapacity, why)
			}
			return false, nil
		})
	}
	t.Create = func(ctx context.Context, r *Request) error {
		in := input[autoscaling.CreateAutoScalingGroupInput](t.properties, forScaling(r.Props))
		in.AutoScalingGroupName = aws.String(r.Name("AutoScalingGroupName", 255))
		r.PhysicalID = *in.AutoScalingGroupName
		in.Tags = tags(r)
		if _, err := api.CreateAutoScalingGroup(ctx, in); err != nil && !(r.Resumed && errorCode(err) == "AlreadyExists") {
			return err
		}
		if err := r.Created(*in.AutoScalingGroupName); err != nil {
			return err
		}
		return steady(ctx, r)
	}
	t.Update = func(ctx context.Context, r *Request) error {
		name := aws.String(r.PhysicalID)
		in := input[autoscaling.CreateAutoScalingGroupInput](t.properties, forScaling(r.Props))
		before := input[autoscaling.CreateAutoScalingGroupInput](t.properties, forScaling(r.Before))
		var none, added []string
		for _, arn := range before.TargetGroupARNs {
			if !slices.Contains(in.TargetGroupARNs, arn) {
				none = append(none, arn)
			}
		}
		for _, arn := range in.TargetGroupARNs {
			if !slices.Contains(before.TargetGroupARNs, arn) {
				added = append(added, arn)
			}
		}
		if len(none) > 0 {
			if _, err := api.DetachLoadBalancerTargetGroups(ctx, &autoscaling.DetachLoadBalancerTargetGroupsInput{AutoScalingGroupName: name, TargetGroupARNs: none}); err != nil {
				return err
			}
		}
		if len(added) > 0 {
			if _, err := api.AttachLoadBalancerTargetGroups(ctx, &autoscaling.AttachLoadBalancerTargetGroupsInput{AutoScalingGroupName: name, TargetGroupARNs: added}); err != nil {
				return err
			}
		}
		for _, h := range before.LifecycleHookSpecificationList {
			if !slices.ContainsFunc(in.LifecycleHookSpecificationList, func(n types.LifecycleHookSpecification) bool {
				return *n.LifecycleHookName == *h.LifecycleHookName
			}) {
				if _, err := api.DeleteLifecycleHook(ctx, &autoscaling.DeleteLifecycleHookInput{AutoScalingGroupName: name, LifecycleHookName: h.LifecycleHookName}); err != nil {
					return err
				}
			}
		}
		if r.Changed("LifecycleHookSpecificationList") {
			for _, h := range in.LifecycleHookSpecificationList {
				if _, err := api.PutLifecycleHook(ctx, &autoscaling.PutLifecycleHookInput{
					AutoScalingGroupName: name, LifecycleHookName: h.LifecycleHookName, LifecycleTransition: h.LifecycleTransition,
					DefaultResult: h.DefaultResult, HeartbeatTimeout: h.HeartbeatTimeout, NotificationMetadata: h.NotificationMetadata,
				}); err != nil {
					return err
				}
			}
		}
		if _, err := api.UpdateAutoScalingGroup(ctx, &autoscaling.UpdateAutoScalingGroupInput{
			AutoScalingGroupName: name, MinSize: in.MinSize, MaxSize: in.MaxSize, DesiredCapacity: in.DesiredCapacity, LaunchTemplate: in.LaunchTemplate,
			VPCZoneIdentifier: in.VPCZoneIdentifier, DefaultCooldown: in.DefaultCooldown, HealthCheckGracePeriod: in.HealthCheckGracePeriod,
			HealthCheckType: in.HealthCheckType, NewInstancesProtectedFromScaleIn: in.NewInstancesProtectedFromScaleIn, TerminationPolicies: in.TerminationPolicies,
			PlacementGroup: in.PlacementGroup, MixedInstancesPolicy: in.MixedInstancesPolicy, LaunchConfigurationName: in.LaunchConfigurationName,
		}); err != nil {
			return err
		}
		_, remove := r.tagChanges()
		var gone []types.Tag
		for _, key := range remove {
			gone = append(gone, types.Tag{Key: aws.String(key), ResourceId: name, ResourceType: aws.String("auto-scaling-group")})
		}
		if len(gone) > 0 {
			if _, err := api.DeleteTags(ctx, &autoscaling.DeleteTagsInput{Tags: gone}); err != nil {
				return err
			}
		}
		if set := tags(r); len(set) > 0 {
			_, err := api.CreateOrUpdateTags(ctx, &autoscaling.CreateOrUpdateTagsInput{Tags: set})
			return err
		}
		return nil
	}
	t.Delete = func(ctx context.Context, r *Request) error {
		// The group is emptied first, so that its lifecycle hooks have their time.
		name, zero := aws.String(r.PhysicalID), aws.Int32(0)
		_, err := api.UpdateAutoScalingGroup(ctx, &autoscaling.UpdateAutoScalingGroupInput{AutoScalingGroupName: name, MinSize: zero, MaxSize: zero, DesiredCapacity: zero})
		if err == nil {
			err = r.Wait(func() (bool, error) {
				g, found, err := describe(ctx, r)
				return !found || len(g.Instances) == 0, err
			})
		}
		if err == nil {
			_, err = api.DeleteAutoScalingGroup(ctx, &autoscaling.DeleteAutoScalingGroupInput{AutoScalingGroupName: name, ForceDelete: aws.Bool(true)})
		}
		if err != nil {
			if _, found, lookErr := describe(ctx, r); lookErr == nil && !found {
				return nil
			}
			return err
		}
		return r.Wait(func() (bool, error) {
			_, found, err := describe(ctx, r)
			return !found, err
		})
	}
	return t
}

func lifecycleHookType(api AutoScaling) *Type {
	t := &Type{
		Name:       "AWS::AutoScaling::LifecycleHook",
		Replaces:   []string{"AutoScalingGroupName", "LifecycleHookName"},
		properties: like[autoscaling.PutLifecycleHookInput]("AutoScalingGroupName", "LifecycleTransition"),
	}
	put := func(ctx context.Context, r *Request, name string) error {
		in := input[autoscaling.PutLifecycleHookInput](t.properties, r.Props)
		in.LifecycleHookName = aws.String(name)
		_, err := api.PutLifecycleHook(ctx, in)
		return err
	}
	t.Create = func(ctx context.Context, r *Request) error {
		name := r.Name("LifecycleHookName", 255)
		if err := put(ctx, r, name); err != nil {
			return err
		}
		return r.Created(name)
	}
	t.Update = func(ctx context.Context, r *Request) error { return put(ctx, r, r.PhysicalID) }
	t.Delete = func(ctx context.Context, r *Request) error {
		_, err := api.DeleteLifecycleHook(ctx, &autoscaling.DeleteLifecycleHookInput{AutoScalingGroupName: aws.String(r.String("AutoScalingGroupName")), LifecycleHookName: aws.String(r.PhysicalID)})
		if err != nil && strings.Contains(err.Error(), "not found") || err != nil && strings.Contains(err.Error(), "No Lifecycle Hook") {
			return nil // gone with its group
		}
		return err
	}
	return t
}
