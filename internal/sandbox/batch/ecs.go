package batch

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"pcluster/internal/sandbox/wire"
)

// An ECS tells of the machines of jobs as Elastic Container Service does: each compute
// environment is a cluster, each machine a container instance that runs one task.
type ECS struct{ *Service }

// Register attaches the operations to the API.
func (e ECS) Register(m *wire.Service) {
	wire.Handle(m, "ListContainerInstances", e.ListContainerInstances)
	wire.Handle(m, "DescribeContainerInstances", e.DescribeContainerInstances)
}

// clusterOf is the name of the ECS cluster of a compute environment.
func (s *Service) clusterOf(environment string) string {
	e, ok := s.environments.Get(environment)
	if !ok {
		return "AWSBatch-" + environment
	}
	return nameOf(e.Desc.EcsClusterArn)
}

// containerInstance is what ECS calls a machine.
func (s *Service) containerInstance(environment, instance string) string {
	return s.id.ARN("ecs", "container-instance/"+s.clusterOf(environment)+"/"+strings.TrimPrefix(instance, "i-"))
}

// machines are those of a cluster, by what ECS calls them, with how many vCPUs and MiB of
// memory their jobs have.
func (e ECS) machines(cluster *string) (map[string]types.ContainerInstance, error) {
	name := nameOf(cluster)
	environment := ""
	for _, v := range e.environments.All() {
		if nameOf(v.Desc.EcsClusterArn) == name {
			environment = *v.Desc.ComputeEnvironmentName
		}
	}
	if environment == "" {
		return nil, wire.Errorf("ClusterNotFoundException", "Cluster not found.")
	}
	out := map[string]types.ContainerInstance{}
	for _, j := range e.jobs.All() {
		if j.Environment != environment {
			continue
		}
		for i, n := range j.Nodes {
			arn := e.containerInstance(environment, n.Instance)
			vcpus, memory := needs(&j.Containers[i])
			running, pending := int32(0), int32(1)
			if n.Begun {
				running, pending = 1, 0
			}
			// The machine is the job's: nothing of it remains.
			out[arn] = types.ContainerInstance{
				ContainerInstanceArn: &arn, Ec2InstanceId: aws.String(n.Instance), Status: aws.String("ACTIVE"), AgentConnected: true,
				RunningTasksCount: running, PendingTasksCount: pending,
				RegisteredResources: resources(vcpus*1024, memory), RemainingResources: resources(0, 0),
			}
		}
	}
	return out, nil
}

func resources(cpu, memory int32) []types.Resource {
	return []types.Resource{
		{Name: aws.String("CPU"), Type: aws.String("INTEGER"), IntegerValue: cpu}, {Name: aws.String("MEMORY"), Type: aws.String("INTEGER"), IntegerValue: memory},
	}
}

// ListContainerInstances lists the machines of a cluster.
func (e ECS) ListContainerInstances(_ context.Context, in *sdk.ListContainerInstancesInput) (*sdk.ListContainerInstancesOutput, error) {
	if in.Filter != nil {
		return nil, wire.Errorf("InvalidParameterException", "Filters are not part of this sandbox")
	}
	all, err := e.machines(in.Cluster)
	if err != nil {
		return nil, err
	}
	out := &sdk.ListContainerInstancesOutput{ContainerInstanceArns: []string{}}
	for arn := range all {
		out.ContainerInstanceArns = append(out.ContainerInstanceArns, arn)
	}
	slices.Sort(out.ContainerInstanceArns)
	return out, nil
}

// DescribeContainerInstances tells of machines of a cluster.
func (e ECS) DescribeContainerInstances(_ context.Context, in *sdk.DescribeContainerInstancesInput) (*sdk.DescribeContainerInstancesOutput, error) {
	all, err := e.machines(in.Cluster)
	if err != nil {
		return nil, err
	}
	out := &sdk.DescribeContainerInstancesOutput{ContainerInstances: []types.ContainerInstance{}}
	for _, which := range in.ContainerInstances {
		found := false
		for arn, v := range all {
			if nameOf(&arn) == nameOf(&which) {
				out.ContainerInstances = append(out.ContainerInstances, v)
				found = true
			}
		}
		if !found {
			out.Failures = append(out.Failures, types.Failure{Arn: aws.String(which), Reason: aws.String("MISSING")})
		}
	}
	return out, nil
}
