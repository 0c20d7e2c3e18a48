package resource

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
)

// ELBv2 is the part of Elastic Load Balancing that stacks use.
type ELBv2 interface {
	CreateLoadBalancer(context.Context, *elb.CreateLoadBalancerInput) (*elb.CreateLoadBalancerOutput, error)
	DescribeLoadBalancers(context.Context, *elb.DescribeLoadBalancersInput) (*elb.DescribeLoadBalancersOutput, error)
	SetSecurityGroups(context.Context, *elb.SetSecurityGroupsInput) (*elb.SetSecurityGroupsOutput, error)
	ModifyLoadBalancerAttributes(context.Context, *elb.ModifyLoadBalancerAttributesInput) (*elb.ModifyLoadBalancerAttributesOutput, error)
	DeleteLoadBalancer(context.Context, *elb.DeleteLoadBalancerInput) (*elb.DeleteLoadBalancerOutput, error)
	CreateTargetGroup(context.Context, *elb.CreateTargetGroupInput) (*elb.CreateTargetGroupOutput, error)
	ModifyTargetGroup(context.Context, *elb.ModifyTargetGroupInput) (*elb.ModifyTargetGroupOutput, error)
	ModifyTargetGroupAttributes(context.Context, *elb.ModifyTargetGroupAttributesInput) (*elb.ModifyTargetGroupAttributesOutput, error)
	RegisterTargets(context.Context, *elb.RegisterTargetsInput) (*elb.RegisterTargetsOutput, error)
	DeregisterTargets(context.Context, *elb.DeregisterTargetsInput) (*elb.DeregisterTargetsOutput, error)
	DeleteTargetGroup(context.Context, *elb.DeleteTargetGroupInput) (*elb.DeleteTargetGroupOutput, error)
	CreateListener(context.Context, *elb.CreateListenerInput) (*elb.CreateListenerOutput, error)
	ModifyListener(context.Context, *elb.ModifyListenerInput) (*elb.ModifyListenerOutput, error)
	DeleteListener(context.Context, *elb.DeleteListenerInput) (*elb.DeleteListenerOutput, error)
	AddTags(context.Context, *elb.AddTagsInput) (*elb.AddTagsOutput, error)
	RemoveTags(context.Context, *elb.RemoveTagsInput) (*elb.RemoveTagsOutput, error)
}

func elbTypes(api ELBv2) []*Type {
	return []*Type{loadBalancerType(api), targetGroupType(api), listenerType(api)}
}

func elbTags(tags []tag) []types.Tag {
	var out []types.Tag
	for _, t := range tags {
		out = append(out, types.Tag{Key: aws.String(t.Key), Value: aws.String(t.Value)})
	}
	return out
}

func elbRetag(ctx context.Context, api ELBv2, r *Request) error {
	set, remove := r.tagChanges()
	if len(remove) > 0 {
		if _, err := api.RemoveTags(ctx, &elb.RemoveTagsInput{ResourceArns: []string{r.PhysicalID}, TagKeys: remove}); err != nil {
			return err
		}
	}
	if len(set) == 0 {
		return nil
	}
	_, err := api.AddTags(ctx, &elb.AddTagsInput{ResourceArns: []string{r.PhysicalID}, Tags: elbTags(set)})
	return err
}

// fullName is what metrics call a balancer or a target group: the ARN's last parts.
func fullName(arn, kind string) string {
	resource := arn[strings.LastIndex(arn, ":")+1:]
	return strings.TrimPrefix(resource, kind)
}

func loadBalancerType(api ELBv2) *Type {
	t := &Type{
		Name:       "AWS::ElasticLoadBalancingV2::LoadBalancer",
		Attributes: []string{"LoadBalancerArn", "LoadBalancerFullName", "LoadBalancerName", "DNSName", "CanonicalHostedZoneID", "SecurityGroups"},
		Replaces:   []string{"Name", "Scheme", "Type", "Subnets", "SubnetMappings", "IpAddressType"},
		properties: like[elb.CreateLoadBalancerInput]().and("LoadBalancerAttributes", "EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic").
			refuses("Ipv4IpamPoolId", "MinimumLoadBalancerCapacity", "EnableCapacityReservationProvisionStabilize"),
	}
	attributes := func(ctx context.Context, r *Request) error {
		list, err := decodeInto[[]types.LoadBalancerAttribute](r.Props["LoadBalancerAttributes"])
		if err != nil || len(list) == 0 {
			return err
		}
		_, err = api.ModifyLoadBalancerAttributes(ctx, &elb.ModifyLoadBalancerAttributesInput{LoadBalancerArn: aws.String(r.PhysicalID), Attributes: list})
		return err
	}
	t.Create = func(ctx context.Context, r *Request) error {
		in := input[elb.CreateLoadBalancerInput](t.properties, r.Props)
		in.Name = aws.String(r.Name("Name", 32))
		in.Tags = elbTags(r.tagList())
		out, err := api.CreateLoadBalancer(ctx, in) // of the same name and settings: the same
		if err != nil {
			return err
		}
		b := out.LoadBalancers[0]
		r.Set("LoadBalancerArn", aws.ToString(b.LoadBalancerArn))
		r.Set("LoadBalancerFullName", fullName(aws.ToString(b.LoadBalancerArn), "loadbalancer/"))
		r.Set("LoadBalancerName", aws.ToString(b.LoadBalancerName))
		r.Set("DNSName", aws.ToString(b.DNSName))
		r.Set("CanonicalHostedZoneID", aws.ToString(b.CanonicalHostedZoneId))
		groups := []any{}
		for _, g := range b.SecurityGroups {
			groups = append(groups, g)
		}
		r.Set("SecurityGroups", groups)
		if err := r.Created(aws.ToString(b.LoadBalancerArn)); err != nil {
			return err
		}
		if err := attributes(ctx, r); err != nil {
			return err
		}
		return r.Wait(func() (bool, error) {
			out, err := api.DescribeLoadBalancers(ctx, &elb.DescribeLoadBalancersInput{LoadBalancerArns: []string{r.PhysicalID}})
			return err == nil && out.LoadBalancers[0].State.Code == types.LoadBalancerStateEnumActive, err
		})
	}
	t.Update = func(ctx context.Context, r *Request) error {
		if r.Changed("SecurityGroups") {
			in := input[elb.CreateLoadBalancerInput](t.properties, r.Props)
			if _, err := api.SetSecurityGroups(ctx, &elb.SetSecurityGroupsInput{LoadBalancerArn: aws.String(r.PhysicalID), SecurityGroups: in.SecurityGroups}); err != nil {
				return err
			}
		}
		if r.Changed("LoadBalancerAttributes") {
			if err := attributes(ctx, r); err != nil {
				return err
			}
		}
		return elbRetag(ctx, api, r)
	}
	t.Delete = func(ctx context.Context, r *Request) error {
		_, err := api.DeleteLoadBalancer(ctx, &elb.DeleteLoadBalancerInput{LoadBalancerArn: aws.String(r.PhysicalID)})
		return gone(err)
	}
	return t
}

func targetGroupType(api ELBv2) *Type {
	t := &Type{
		Name:       "AWS::ElasticLoadBalancingV2::TargetGroup",
		Attributes: []string{"TargetGroupArn", "TargetGroupFullName", "TargetGroupName", "LoadBalancerArns"},
		Replaces:   []string{"Name", "Port", "Protocol", "ProtocolVersion", "TargetType", "VpcId", "IpAddressType"},
		properties: like[elb.CreateTargetGroupInput]().and("Targets", "TargetGroupAttributes"),
	}
	settings := func(ctx context.Context, r *Request) error {
		arn := aws.String(r.PhysicalID)
		if r.Changed("TargetGroupAttributes") {
			list, err := decodeInto[[]types.TargetGroupAttribute](r.Props["TargetGroupAttributes"])
			if err != nil {
				return err
			}
			if _, err := api.ModifyTargetGroupAttributes(ctx, &elb.ModifyTargetGroupAttributesInput{TargetGroupArn: arn, Attributes: list}); err != nil {
				return err
			}
		}
		if !r.Changed("Targets") {
			return nil
		}
		before, err := decodeInto[[]types.TargetDescription](r.Before["Targets"])
		if err != nil {
			return err
		}
		if len(before) > 0 {
			if _, err := api.DeregisterTargets(ctx, &elb.DeregisterTargetsInput{TargetGroupArn: arn, Targets: before}); err != nil {
				return err
			}
		}
		targets, err := decodeInto[[]types.TargetDescription](r.Props["Targets"])
		if err != nil || len(targets) == 0 {
			return err
		}
		_, err = api.RegisterTargets(ctx, &elb.RegisterTargetsInput{TargetGroupArn: arn, Targets: targets})
		return err
	}
	t.Create = func(ctx context.Context, r *Request) error {
		in := input[elb.CreateTargetGroupInput](t.properties, r.Props)
		in.Name = aws.String(r.Name("Name", 32))
		in.Tags = elbTags(r.tagList())
		out, err := api.CreateTargetGroup(ctx, in)
		if err != nil {
			return err
		}
		g := out.TargetGroups[0]
		r.Set("TargetGroupArn", aws.ToString(g.TargetGroupArn))
		r.Set("TargetGroupFullName", fullName(aws.ToString(g.TargetGroupArn), ""))
		r.Set("TargetGroupName", aws.ToString(g.TargetGroupName))
		r.Set("LoadBalancerArns", []any{})
		if err := r.Created(aws.ToString(g.TargetGroupArn)); err != nil {
			return err
		}
		return settings(ctx, r)
	}
	t.Update = func(ctx context.Context, r *Request) error {
		in := input[elb.CreateTargetGroupInput](t.properties, r.Props)
		_, err := api.ModifyTargetGroup(ctx, &elb.ModifyTargetGroupInput{
			TargetGroupArn: aws.String(r.PhysicalID), HealthCheckEnabled: in.HealthCheckEnabled, HealthCheckIntervalSeconds: in.HealthCheckIntervalSeconds,
			HealthCheckPath: in.HealthCheckPath, HealthCheckPort: in.HealthCheckPort, HealthCheckProtocol: in.HealthCheckProtocol,
			HealthCheckTimeoutSeconds: in.HealthCheckTimeoutSeconds, HealthyThresholdCount: in.HealthyThresholdCount,
			UnhealthyThresholdCount: in.UnhealthyThresholdCount, Matcher: in.Matcher,
		})
		if err != nil {
			return err
		}
		if err := settings(ctx, r); err != nil {
			return err
		}
		return elbRetag(ctx, api, r)
	}
	t.Delete = func(ctx context.Context, r *Request) error {
		return gone(r.Retry(func() error {
			_, err := api.DeleteTargetGroup(ctx, &elb.DeleteTargetGroupInput{TargetGroupArn: aws.String(r.PhysicalID)})
			return err
		}, "ResourceInUse"))
	}
	return t
}

func listenerType(api ELBv2) *Type {
	t := &Type{
		Name:       "AWS::ElasticLoadBalancingV2::Listener",
		Attributes: []string{"ListenerArn"},
		Replaces:   []string{"LoadBalancerArn"},
		properties: like[elb.CreateListenerInput]("DefaultActions", "LoadBalancerArn").without("Tags").refuses("ListenerAttributes"),
	}
	t.Create = func(ctx context.Context, r *Request) error {
		in := input[elb.CreateListenerInput](t.properties, r.Props)
		in.Tags = elbTags(r.tagList())
		out, err := api.CreateListener(ctx, in)
		if err != nil {
			return err
		}
		arn := aws.ToString(out.Listeners[0].ListenerArn)
		r.Set("ListenerArn", arn)
		return r.Created(arn)
	}
	t.Update = func(ctx context.Context, r *Request) error {
		in := input[elb.CreateListenerInput](t.properties, r.Props)
		_, err := api.ModifyListener(ctx, &elb.ModifyListenerInput{
			ListenerArn: aws.String(r.PhysicalID), DefaultActions: in.DefaultActions, Port: in.Port, Protocol: in.Protocol,
			Certificates: in.Certificates, SslPolicy: in.SslPolicy, AlpnPolicy: in.AlpnPolicy,
		})
		if err != nil {
			return err
		}
		return elbRetag(ctx, api, r)
	}
	t.Delete = func(ctx context.Context, r *Request) error {
		_, err := api.DeleteListener(ctx, &elb.DeleteListenerInput{ListenerArn: aws.String(r.PhysicalID)})
		return gone(err)
	}
	return t
}
