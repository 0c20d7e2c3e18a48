package cluster

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"go.yaml.in/yaml/v3"
)

// urlLifetime is how long the URL of the configuration can be used.
const urlLifetime = time.Hour

// Describe tells everything about a cluster. Only a stack that cannot be read is
// an error, and events that cannot be read of one that failed; the rest is left
// out, or said to be unknown, when its owner does not answer.
func (o *Operator) Describe(ctx context.Context, name string) (*Description, error) {
	s, err := o.clusterStack(ctx, name)
	if err != nil {
		return nil, err
	}
	d := &Description{
		CreationTime:              Time{aws.ToTime(s.CreationTime)},
		Version:                   s.tag(tagVersion),
		Tags:                      []Tag{},
		CloudFormationStackStatus: s.status(),
		ClusterName:               s.name(),
		CloudformationStackArn:    s.id(),
		LastUpdatedTime:           Time{aws.ToTime(s.CreationTime)},
		Region:                    o.Region,
		ClusterStatus:             StatusOf(s.status()),
		Scheduler:                 s.scheduler(),
	}
	if s.LastUpdatedTime != nil {
		d.LastUpdatedTime = Time{*s.LastUpdatedTime}
	}
	for _, t := range s.Tags {
		d.Tags = append(d.Tags, Tag{Value: aws.ToString(t.Value), Key: aws.ToString(t.Key)})
	}

	var eventsErr error
	var wg sync.WaitGroup
	wg.Go(func() { d.ComputeFleetStatus = o.fleet(ctx, s).Status })
	wg.Go(func() { d.ClusterConfiguration.URL = o.configurationURL(ctx, s) })
	wg.Go(func() {
		if d.ClusterStatus != CreateFailed {
			return
		}
		var events []StackEvent
		if events, eventsErr = o.events(ctx, s.id()); eventsErr == nil {
			d.Failures = []Failure{failureOf(events)}
		}
	})
	wg.Go(func() {
		instance, ok, err := o.headNode(ctx, name)
		if err != nil {
			o.Log.Error("head node of " + name + ": " + err.Error())
		}
		if !ok {
			return
		}
		d.HeadNode = &HeadNode{
			LaunchTime:       Time{aws.ToTime(instance.LaunchTime)},
			InstanceID:       aws.ToString(instance.InstanceId),
			PublicIPAddress:  aws.ToString(instance.PublicIpAddress),
			InstanceType:     string(instance.InstanceType),
			State:            stateOf(instance),
			PrivateIPAddress: aws.ToString(instance.PrivateIpAddress),
		}
		pools, err := o.loginNodes(ctx, s)
		if err != nil {
			o.Log.Error("login nodes of " + name + ": " + err.Error())
			return
		}
		d.LoginNodes = pools
	})
	wg.Wait()
	if eventsErr != nil {
		return nil, fmt.Errorf("why cluster %s failed: %w", name, eventsErr)
	}
	return d, nil
}

// configKey returns the key of the file that the user wrote.
func configKey(directory string) string { return directory + "/configs/cluster-config.yaml" }

func (o *Operator) configurationURL(ctx context.Context, s cfnStack) string {
	const unavailable = "NOT_AVAILABLE"
	bucket := s.parameter(parameterBucket)
	if bucket == "" {
		return unavailable
	}
	if _, err := o.S3.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &bucket}); err != nil {
		o.Log.Warn("bucket " + bucket + ": " + err.Error())
		return unavailable
	}
	in := &s3.GetObjectInput{Bucket: &bucket, Key: aws.String(configKey(s.parameter(parameterDirectory)))}
	if v := s.parameter(parameterConfigVersion); v != "" {
		in.VersionId = &v
	}
	request, err := o.Presign.PresignGetObject(ctx, in, s3.WithPresignExpires(urlLifetime))
	if err != nil {
		o.Log.Warn("URL of the configuration of " + s.name() + ": " + err.Error())
		return unavailable
	}
	return request.URL
}

// configuration reads the file that the user wrote for the stack as it is now.
func (o *Operator) configuration(ctx context.Context, s cfnStack) ([]byte, error) {
	in := &s3.GetObjectInput{
		Bucket: aws.String(s.parameter(parameterBucket)),
		Key:    aws.String(configKey(s.parameter(parameterDirectory))),
	}
	if v := s.parameter(parameterConfigVersion); v != "" {
		in.VersionId = &v
	}
	out, err := o.S3.GetObject(ctx, in)
	if err != nil {
		return nil, err
	}
	defer out.Body.Close()
	return io.ReadAll(out.Body)
}

// events reads all events of a stack, newest first.
func (o *Operator) events(ctx context.Context, stackID string) ([]StackEvent, error) {
	var events []StackEvent
	in := &cloudformation.DescribeStackEventsInput{StackName: &stackID}
	for {
		out, err := o.CloudFormation.DescribeStackEvents(ctx, in)
		if err != nil {
			return nil, err
		}
		for _, e := range out.StackEvents {
			events = append(events, stackEvent(e))
		}
		if aws.ToString(out.NextToken) == "" {
			return events, nil
		}
		in.NextToken = out.NextToken
	}
}

func stackEvent(e cfntypes.StackEvent) StackEvent {
	return StackEvent{
		ID:           aws.ToString(e.EventId),
		Time:         aws.ToTime(e.Timestamp),
		StackID:      aws.ToString(e.StackId),
		LogicalID:    aws.ToString(e.LogicalResourceId),
		PhysicalID:   aws.ToString(e.PhysicalResourceId),
		ResourceType: aws.ToString(e.ResourceType),
		Status:       string(e.ResourceStatus),
		Reason:       aws.ToString(e.ResourceStatusReason),
	}
}

// loginNodes tells about the pools of login nodes that the stored configuration
// has, by the load balancers before them. Without any load balancer there is
// nothing to tell.
func (o *Operator) loginNodes(ctx context.Context, s cfnStack) ([]LoginNodesPool, error) {
	if s.parameter(parameterScheduler) != "slurm" {
		return nil, nil
	}
	text, err := o.configuration(ctx, s)
	if err != nil {
		return nil, err
	}
	var file struct {
		LoginNodes struct {
			Pools []struct {
				Name string `yaml:"Name"`
			} `yaml:"Pools"`
		} `yaml:"LoginNodes"`
	}
	if err := yaml.Unmarshal(text, &file); err != nil || len(file.LoginNodes.Pools) == 0 {
		return nil, err
	}
	balancers, err := o.poolBalancers(ctx, s.name())
	if err != nil || len(balancers) == 0 {
		return nil, err
	}
	var pools []LoginNodesPool
	for _, p := range file.LoginNodes.Pools {
		pool := LoginNodesPool{PoolName: p.Name, Status: "failed"}
		if b, ok := balancers[p.Name]; ok {
			pool.Address, pool.Scheme = aws.ToString(b.DNSName), string(b.Scheme)
			switch {
			case b.State == nil:
			case b.State.Code == elbtypes.LoadBalancerStateEnumProvisioning:
				pool.Status = "pending"
			case b.State.Code == elbtypes.LoadBalancerStateEnumActive:
				pool.Status = "active"
				if pool.HealthyNodes, pool.UnhealthyNodes, err = o.targetHealth(ctx, b); err != nil {
					return nil, err
				}
			}
		}
		pools = append(pools, pool)
	}
	return pools, nil
}

// poolBalancers returns the load balancers of a cluster by the name of the pool.
func (o *Operator) poolBalancers(ctx context.Context, cluster string) (map[string]elbtypes.LoadBalancer, error) {
	byPool := map[string]elbtypes.LoadBalancer{}
	in := &elb.DescribeLoadBalancersInput{}
	for {
		out, err := o.LoadBalancers.DescribeLoadBalancers(ctx, in)
		if err != nil {
			return nil, err
		}
		byARN := map[string]elbtypes.LoadBalancer{}
		var arns []string
		for _, b := range out.LoadBalancers {
			arn := aws.ToString(b.LoadBalancerArn)
			byARN[arn] = b
			arns = append(arns, arn)
		}
		for batch := range slices.Chunk(arns, 20) { // the most that DescribeTags takes
			tags, err := o.LoadBalancers.DescribeTags(ctx, &elb.DescribeTagsInput{ResourceArns: batch})
			if err != nil {
				return nil, err
			}
			for _, d := range tags.TagDescriptions {
				var owner, pool string
				for _, t := range d.Tags {
					switch aws.ToString(t.Key) {
					case tagCluster:
						owner = aws.ToString(t.Value)
					case "parallelcluster:login-nodes-pool":
						pool = aws.ToString(t.Value)
					}
				}
				if owner == cluster && pool != "" {
					byPool[pool] = byARN[aws.ToString(d.ResourceArn)]
				}
			}
		}
		if aws.ToString(out.NextMarker) == "" {
			return byPool, nil
		}
		in.Marker = out.NextMarker
	}
}

func (o *Operator) targetHealth(ctx context.Context, b elbtypes.LoadBalancer) (healthy, unhealthy *int, _ error) {
	groups, err := o.LoadBalancers.DescribeTargetGroups(ctx, &elb.DescribeTargetGroupsInput{LoadBalancerArn: b.LoadBalancerArn})
	if err != nil || len(groups.TargetGroups) == 0 {
		return nil, nil, err
	}
	out, err := o.LoadBalancers.DescribeTargetHealth(ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: groups.TargetGroups[0].TargetGroupArn})
	if err != nil {
		return nil, nil, err
	}
	up, down := 0, 0
	for _, t := range out.TargetHealthDescriptions {
		if t.TargetHealth != nil && t.TargetHealth.State == elbtypes.TargetHealthStateEnumHealthy {
			up++
		} else {
			down++
		}
	}
	return &up, &down, nil
}
