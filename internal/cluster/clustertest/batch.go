package clustertest

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/batch"
	"github.com/aws/aws-sdk-go-v2/service/batch/types"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
)

// AWS Batch: one compute environment.

// BatchFile is a small cluster file of AWS Batch; the facts about it are in [Cloud.Know].
const BatchFile = `Region: us-east-1
Image:
  Os: alinux2023
HeadNode:
  InstanceType: t3.medium
  Imds:
    Secured: false
  Networking:
    SubnetId: subnet-0123456789abcdef0
  Ssh:
    KeyName: key
Scheduling:
  Scheduler: awsbatch
  AwsBatchQueues:
  - Name: q1
    ComputeResources:
    - Name: any
      InstanceTypes: [optimal]
      MinvCpus: 1
      MaxvCpus: 8
      DesiredvCpus: 2
    Networking:
      SubnetIds:
      - subnet-0123456789abcdef0
`

const computeEnvironment = "arn:aws:batch:us-east-1:111122223333:compute-environment/ce"

// SetEnvironment makes the compute environment, in a state, and tells it as the output of
// a cluster's stack.
func (c *Cloud) SetEnvironment(cluster string, state types.CEState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.environment = &types.ComputeEnvironmentDetail{ComputeEnvironmentArn: aws.String(computeEnvironment), State: state, ComputeResources: &types.ComputeResource{}}
	for _, s := range c.stacks {
		if aws.ToString(s.StackName) == cluster {
			s.Outputs = append(s.Outputs, cfntypes.Output{OutputKey: aws.String("BatchComputeEnvironmentArn"), OutputValue: aws.String(computeEnvironment)})
		}
	}
}

// Environment returns the compute environment as it is.
func (c *Cloud) Environment() types.ComputeEnvironmentDetail {
	c.mu.Lock()
	defer c.mu.Unlock()
	return *c.environment
}

func (c *Cloud) DescribeComputeEnvironments(_ context.Context, in *batch.DescribeComputeEnvironmentsInput, _ ...func(*batch.Options)) (*batch.DescribeComputeEnvironmentsOutput, error) {
	unlock, err := c.begin("DescribeComputeEnvironments")
	defer unlock()
	if err != nil {
		return nil, err
	}
	out := &batch.DescribeComputeEnvironmentsOutput{}
	if c.environment != nil && in.ComputeEnvironments[0] == computeEnvironment {
		out.ComputeEnvironments = append(out.ComputeEnvironments, *c.environment)
	}
	return out, nil
}

func (c *Cloud) UpdateComputeEnvironment(_ context.Context, in *batch.UpdateComputeEnvironmentInput, _ ...func(*batch.Options)) (*batch.UpdateComputeEnvironmentOutput, error) {
	unlock, err := c.begin("UpdateComputeEnvironment")
	defer unlock()
	if err != nil {
		return nil, err
	}
	if c.environment == nil || *in.ComputeEnvironment != computeEnvironment {
		return nil, Fault("ClientException", "The specified compute environment does not exist")
	}
	c.environment.State = in.State
	if r := in.ComputeResources; r != nil {
		c.environment.ComputeResources = &types.ComputeResource{MinvCpus: r.MinvCpus, MaxvCpus: r.MaxvCpus, DesiredvCpus: r.DesiredvCpus}
	}
	return &batch.UpdateComputeEnvironmentOutput{}, nil
}
