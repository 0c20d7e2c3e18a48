package resource

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/batch"
	"github.com/aws/aws-sdk-go-v2/service/batch/types"
)

// Batch is the part of AWS Batch that stacks use.
type Batch interface {
	CreateComputeEnvironment(context.Context, *batch.CreateComputeEnvironmentInput) (*batch.CreateComputeEnvironmentOutput, error)
	DescribeComputeEnvironments(context.Context, *batch.DescribeComputeEnvironmentsInput) (*batch.DescribeComputeEnvironmentsOutput, error)
	UpdateComputeEnvironment(context.Context, *batch.UpdateComputeEnvironmentInput) (*batch.UpdateComputeEnvironmentOutput, error)
	DeleteComputeEnvironment(context.Context, *batch.DeleteComputeEnvironmentInput) (*batch.DeleteComputeEnvironmentOutput, error)
	CreateJobQueue(context.Context, *batch.CreateJobQueueInput) (*batch.CreateJobQueueOutput, error)
	DescribeJobQueues(context.Context, *batch.DescribeJobQueuesInput) (*batch.DescribeJobQueuesOutput, error)
	UpdateJobQueue(context.Context, *batch.UpdateJobQueueInput) (*batch.UpdateJobQueueOutput, error)
	DeleteJobQueue(context.Context, *batch.DeleteJobQueueInput) (*batch.DeleteJobQueueOutput, error)
	RegisterJobDefinition(context.Context, *batch.RegisterJobDefinitionInput) (*batch.RegisterJobDefinitionOutput, error)
	DescribeJobDefinitions(context.Context, *batch.DescribeJobDefinitionsInput) (*batch.DescribeJobDefinitionsOutput, error)
	DeregisterJobDefinition(context.Context, *batch.DeregisterJobDefinitionInput) (*batch.DeregisterJobDefinitionOutput, error)
	TagResource(context.Context, *batch.TagResourceInput) (*batch.TagResourceOutput, error)
	UntagResource(context.Context, *batch.UntagResourceInput) (*batch.UntagResourceOutput, error)
}

func batchTypes(api Batch) []*Type {
	return []*Type{computeEnvironmentType(api), jobQueueType(api), jobDefinitionType(api)}
}

// batchName is the name of what has none: Batch's resources begin with the logical ID.
func batchName(r *Request, property string) string {
	if name := r.String(property); name != "" {
		return name
	}
	sum := sha256.Sum256([]byte(r.Token))
	return r.LogicalID[:min(len(r.LogicalID), 100)] + "-" + hex.EncodeToString(sum[:8])
}

// ownTags are the tags of the resource alone: Batch's get none from the stack
// (AWS documentation: AWS Batch, Tag your resources).
func ownTags(r *Request) map[string]string {
	out := map[string]string{}
	for _, t := range mergeTags(r.Props, nil, nil) {
		out[t.Key] = t.Value
	}
	return out
}

// retagBatch brings the tags of a resource of Batch up to date.
func retagBatch(ctx context.Context, api Batch, r *Request) error {
	before := *r
	before.Props = r.Before
	old, now := ownTags(&before), ownTags(r)
	var gone []string
	for k := range old {
		if _, stays := now[k]; !stays {
			gone = append(gone, k)
		}
	}
	if len(gone) > 0 {
		if _, err := api.UntagResource(ctx, &batch.UntagResourceInput{ResourceArn: &r.PhysicalID, TagKeys: gone}); err != nil {
			return err
		}
	}
	if len(now) == 0 || !r.Changed("Tags") {
		return nil
	}
	_, err := api.TagResource(ctx, &batch.TagResourceInput{ResourceArn: &r.PhysicalID, Tags: now})
	return err
}

func computeEnvironmentType(api Batch) *Type {
	t := &Type{
		Name: "AWS::Batch::ComputeEnvironment", Attributes: []string{"ComputeEnvironmentArn"},
		Replaces: []string{"ComputeEnvironmentName", "Type", "EksConfiguration", "ComputeResources.SpotIamFleetRole"},
		properties: like[batch.CreateComputeEnvironmentInput]("Type").and("Tags", "ReplaceComputeEnvironment").
			refuses("EksConfiguration", "UnmanagedvCpus", "UpdatePolicy").without("Context"),
	}
	// valid waits for the compute environment; an ARN without one is none.
	valid := func(ctx context.Context, r *Request) error {
		return r.Wait(func() (bool, error) {
			out, err := api.DescribeComputeEnvironments(ctx, &batch.DescribeComputeEnvironmentsInput{ComputeEnvironments: []string{r.PhysicalID}})
			if err != nil || len(out.ComputeEnvironments) == 0 {
				return false, err
			}
			e := out.ComputeEnvironments[0]
			if e.Status == types.CEStatusInvalid {
				return false, fmt.Errorf("compute environment %s is INVALID: %s", r.PhysicalID, aws.ToString(e.StatusReason))
			}
			return e.Status == types.CEStatusValid, nil
		})
	}
	t.Create = func(ctx context.Context, r *Request) error {
		in := input[batch.CreateComputeEnvironmentInput](t.properties, r.Props)
		in.ComputeEnvironmentName, in.Tags = aws.String(batchName(r, "ComputeEnvironmentName")), ownTags(r)
		out, err := api.CreateComputeEnvironment(ctx, in)
		switch {
		case err != nil && r.Resumed && strings.Contains(err.Error(), "already exists"):
			r.PhysicalID = arnOf(r, "compute-environment/"+*in.ComputeEnvironmentName)
		case err != nil:
			return err
		default:
			r.PhysicalID = *out.ComputeEnvironmentArn
		}
		r.Set("ComputeEnvironmentArn", r.PhysicalID)
		if err := r.Created(r.PhysicalID); err != nil {
			return err
		}
		return valid(ctx, r)
	}
	t.Update = func(ctx context.Context, r *Request) error {
		if r.Changed("State", "ServiceRole", "ComputeResources") {
			in := input[batch.CreateComputeEnvironmentInput](t.properties, r.Props)
			update := &batch.UpdateComputeEnvironmentInput{ComputeEnvironment: &r.PhysicalID, State: in.State}
			if r.Changed("ServiceRole") {
				update.ServiceRole = in.ServiceRole
			}
			if c := in.ComputeResources; c != nil && r.Changed("ComputeResources") {
				// What is desired is Batch's once there are jobs: a stack gives it at first only.
				update.ComputeResources = &types.ComputeResourceUpdate{
					Type: c.Type, MinvCpus: c.MinvCpus, MaxvCpus: c.MaxvCpus, BidPercentage: c.BidPercentage, InstanceTypes: c.InstanceTypes, Subnets: c.Subnets,
					SecurityGroupIds: c.SecurityGroupIds, InstanceRole: c.InstanceRole, LaunchTemplate: c.LaunchTemplate, Tags: c.Tags,
					AllocationStrategy: types.CRUpdateAllocationStrategy(c.AllocationStrategy),
				}
			}
			if _, err := api.UpdateComputeEnvironment(ctx, update); err != nil {
				return err
			}
		}
		if err := retagBatch(ctx, api, r); err != nil {
			return err
		}
		return valid(ctx, r)
	}
	t.Delete = func(ctx context.Context, r *Request) error {
		exists := func() (bool, error) {
			out, err := api.DescribeComputeEnvironments(ctx, &batch.DescribeComputeEnvironmentsInput{ComputeEnvironments: []string{r.PhysicalID}})
			return err == nil && len(out.ComputeEnvironments) > 0, err
		}
		if there, err := exists(); err != nil || !there {
			return err
		}
		if _, err := api.UpdateComputeEnvironment(ctx, &batch.UpdateComputeEnvironmentInput{ComputeEnvironment: &r.PhysicalID, State: types.CEStateDisabled}); err != nil {
			return err
		}
		if _, err := api.DeleteComputeEnvironment(ctx, &batch.DeleteComputeEnvironmentInput{ComputeEnvironment: &r.PhysicalID}); err != nil {
			return err
		}
		return r.Wait(func() (bool, error) { there, err := exists(); return !there, err })
	}
	return t
}

func arnOf(r *Request, resource string) string {
	return "arn:aws:batch:" + r.Region + ":" + r.Account + ":" + resource
}

func jobQueueType(api Batch) *Type {
	t := &Type{
		Name: "AWS::Batch::JobQueue", Attributes: []string{"JobQueueArn"}, Replaces: []string{"JobQueueName", "JobQueueType"},
		properties: like[batch.CreateJobQueueInput]("Priority").and("Tags").refuses("SchedulingPolicyArn", "JobStateTimeLimitActions", "ServiceEnvironmentOrder", "JobQueueType"),
	}
	t.Create = func(ctx context.Context, r *Request) error {
		in := input[batch.CreateJobQueueInput](t.properties, r.Props)
		in.JobQueueName, in.Tags = aws.String(batchName(r, "JobQueueName")), ownTags(r)
		out, err := api.CreateJobQueue(ctx, in)
		switch {
		case err != nil && r.Resumed && strings.Contains(err.Error(), "already exists"):
			r.PhysicalID = arnOf(r, "job-queue/"+*in.JobQueueName)
		case err != nil:
			return err
		default:
			r.PhysicalID = *out.JobQueueArn
		}
		r.Set("JobQueueArn", r.PhysicalID)
		return r.Created(r.PhysicalID)
	}
	t.Update = func(ctx context.Context, r *Request) error {
		in := input[batch.CreateJobQueueInput](t.properties, r.Props)
		if r.Changed("State", "Priority", "ComputeEnvironmentOrder") {
			if _, err := api.UpdateJobQueue(ctx, &batch.UpdateJobQueueInput{JobQueue: &r.PhysicalID, State: in.State, Priority: in.Priority, ComputeEnvironmentOrder: in.ComputeEnvironmentOrder}); err != nil {
				return err
			}
		}
		return retagBatch(ctx, api, r)
	}
	t.Delete = func(ctx context.Context, r *Request) error {
		exists := func() (bool, error) {
			out, err := api.DescribeJobQueues(ctx, &batch.DescribeJobQueuesInput{JobQueues: []string{r.PhysicalID}})
			return err == nil && len(out.JobQueues) > 0, err
		}
		if there, err := exists(); err != nil || !there {
			return err
		}
		if _, err := api.UpdateJobQueue(ctx, &batch.UpdateJobQueueInput{JobQueue: &r.PhysicalID, State: types.JQStateDisabled}); err != nil {
			return err
		}
		if _, err := api.DeleteJobQueue(ctx, &batch.DeleteJobQueueInput{JobQueue: &r.PhysicalID}); err != nil {
			return err
		}
		return r.Wait(func() (bool, error) { there, err := exists(); return !there, err }) // its jobs end first
	}
	return t
}

// jobDefinitionType is one revision of a definition. A change makes another, which takes
// the place of the first.
func jobDefinitionType(api Batch) *Type {
	t := &Type{
		Name: "AWS::Batch::JobDefinition", Replaces: []string{"*"},
		properties: like[batch.RegisterJobDefinitionInput]("Type").and("Tags").
			refuses("EksProperties", "EcsProperties", "SchedulingPriority", "ConsumableResourceProperties"),
	}
	t.Create = func(ctx context.Context, r *Request) error {
		in := input[batch.RegisterJobDefinitionInput](t.properties, r.Props)
		// A replacement goes on with the revisions of what it replaces.
		in.JobDefinitionName, in.Tags = aws.String(batchName(r, "JobDefinitionName")), ownTags(r)
		if r.Replaced != "" && !r.Has("JobDefinitionName") {
			name, _, _ := strings.Cut(r.Replaced[strings.LastIndexByte(r.Replaced, '/')+1:], ":")
			in.JobDefinitionName = &name
		}
		if r.Resumed && r.Replaced == "" {
			known, err := api.DescribeJobDefinitions(ctx, &batch.DescribeJobDefinitionsInput{JobDefinitionName: in.JobDefinitionName, Status: aws.String("ACTIVE")})
			if err != nil {
				return err
			}
			if len(known.JobDefinitions) > 0 {
				return r.Created(*known.JobDefinitions[0].JobDefinitionArn)
			}
		}
		out, err := api.RegisterJobDefinition(ctx, in)
		if err != nil {
			return err
		}
		return r.Created(*out.JobDefinitionArn)
	}
	t.Delete = func(ctx context.Context, r *Request) error {
		_, err := api.DeregisterJobDefinition(ctx, &batch.DeregisterJobDefinitionInput{JobDefinition: &r.PhysicalID})
		return gone(err)
	}
	return t
}
