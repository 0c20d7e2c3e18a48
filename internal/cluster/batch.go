package cluster

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/batch"
	"github.com/aws/aws-sdk-go-v2/service/batch/types"

	"pcluster/internal/config"
	"pcluster/internal/stack"
	"pcluster/internal/stack/batchimage"
)

// A cluster of AWS Batch has a compute environment for a fleet. Its state is the
// status of the fleet: enabled, it launches instances for jobs; disabled, it launches
// none, and jobs wait.

// outputComputeEnvironment is where the stack says which compute environment is the
// cluster's.
const outputComputeEnvironment = "BatchComputeEnvironmentArn"

func (s cfnStack) output(key string) string {
	for _, o := range s.Outputs {
		if aws.ToString(o.OutputKey) == key {
			return aws.ToString(o.OutputValue)
		}
	}
	return ""
}

func (s cfnStack) batch() bool { return s.parameter(parameterScheduler) == config.AWSBatch }

// environment returns the cluster's compute environment.
func (o *Operator) environment(ctx context.Context, s cfnStack) (*types.ComputeEnvironmentDetail, error) {
	arn := s.output(outputComputeEnvironment)
	if arn == "" {
		return nil, fmt.Errorf("the stack of cluster %s has no output %s", s.name(), outputComputeEnvironment)
	}
	out, err := o.Batch.DescribeComputeEnvironments(ctx, &batch.DescribeComputeEnvironmentsInput{ComputeEnvironments: []string{arn}})
	if err != nil {
		return nil, err
	}
	if len(out.ComputeEnvironments) == 0 {
		return nil, fmt.Errorf("compute environment %s does not exist", arn)
	}
	return &out.ComputeEnvironments[0], nil
}

// readEnvironment returns the state of the cluster's compute environment as the status
// of its fleet.
func (o *Operator) readEnvironment(ctx context.Context, s cfnStack) (Fleet, error) {
	e, err := o.environment(ctx, s)
	if err != nil {
		return Fleet{}, err
	}
	return Fleet{Status: FleetStatus(e.State)}, nil
}

// updateEnvironment enables the cluster's compute environment, with the vCPUs that the
// cluster file gives to it, or disables it.
func (o *Operator) updateEnvironment(ctx context.Context, s cfnStack, request FleetStatus) (*Fleet, error) {
	e, err := o.environment(ctx, s)
	if err != nil {
		return nil, err
	}
	in := &batch.UpdateComputeEnvironmentInput{ComputeEnvironment: e.ComputeEnvironmentArn, State: types.CEState(request)}
	if request == FleetEnabled {
		if in.ComputeResources, err = o.sizeOfFile(ctx, s, e.ComputeResources); err != nil {
			return nil, fmt.Errorf("configuration of cluster %s: %w", s.name(), err)
		}
	}
	if _, err := o.Batch.UpdateComputeEnvironment(ctx, in); err != nil {
		return nil, fmt.Errorf("compute environment of cluster %s: %w", s.name(), err)
	}
	f, err := o.readEnvironment(ctx, s)
	return &f, err
}

// sizeOfFile returns the vCPUs that the cluster file gives to a compute environment. Batch
// does not take fewer than it runs for what is desired, so that jobs would have to end.
func (o *Operator) sizeOfFile(ctx context.Context, s cfnStack, now *types.ComputeResource) (*types.ComputeResourceUpdate, error) {
	text, err := o.configuration(ctx, s)
	if err != nil {
		return nil, err
	}
	c, problems := config.Parse("", text)
	if len(problems.Shape()) > 0 || len(c.Scheduling.AwsBatchQueues) == 0 || len(c.Scheduling.AwsBatchQueues[0].ComputeResources) == 0 {
		return nil, errors.New("it has no compute resource of AWS Batch")
	}
	r := &c.Scheduling.AwsBatchQueues[0].ComputeResources[0]
	size := &types.ComputeResourceUpdate{MinvCpus: aws.Int32(int32(r.MinvCpus)), MaxvCpus: aws.Int32(int32(r.MaxvCpus))}
	desired := int32(r.MinvCpus)
	if r.DesiredvCpus != nil {
		desired = int32(*r.DesiredvCpus)
	}
	if now != nil && desired > aws.ToInt32(now.DesiredvCpus) {
		size.DesiredvCpus = &desired
	}
	return size, nil
}

// uploadImageContext puts what the image of jobs is built from where the stack's build
// expects it.
func (o *Operator) uploadImageContext(ctx context.Context, c *config.Cluster, p stack.Params) error {
	archive, err := batchimage.Archive(c.Image.Os, p.Account+".dkr.ecr."+p.Region+"."+domain(p.Region))
	if err != nil {
		return err
	}
	_, err = o.put(ctx, p.Bucket, stack.ImageContextKey(p.ArtifactDir), archive)
	return err
}
