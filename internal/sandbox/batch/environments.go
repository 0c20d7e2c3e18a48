package batch

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/batch"
	"github.com/aws/aws-sdk-go-v2/service/batch/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/google/uuid"

	"pcluster/internal/sandbox/page"
)

// optimal are the families that Batch chooses of where a compute environment names none.
var optimal = []string{"c5", "m5", "r5"}

// knownTypes are what compute environments may name: families and their types.
func (s *Service) knownTypes(ctx context.Context) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.types != nil {
		return s.types, nil
	}
	all := map[string]bool{"optimal": true}
	in := &ec2.DescribeInstanceTypesInput{}
	for {
		out, err := s.cfg.EC2.DescribeInstanceTypes(ctx, in)
		if err != nil {
			return nil, err
		}
		for _, t := range out.InstanceTypes {
			family, _, _ := strings.Cut(string(t.InstanceType), ".")
			all[family], all[string(t.InstanceType)] = true, true
		}
		if in.NextToken = out.NextToken; aws.ToString(in.NextToken) == "" {
			break
		}
	}
	s.types = slices.Sorted(maps.Keys(all))
	return s.types, nil
}

// checkResources refuses resources that no compute environment may have.
func (s *Service) checkResources(ctx context.Context, r *types.ComputeResource) error {
	known, err := s.knownTypes(ctx)
	if err != nil {
		return err
	}
	for _, t := range r.InstanceTypes {
		if !slices.Contains(known, t) {
			return invalid("Error executing request, Exception : Instance type can only be one of [%s]", strings.Join(known, ", "))
		}
	}
	switch {
	case r.Type != types.CRTypeEc2 && r.Type != types.CRTypeSpot:
		return elsewhere("Compute resources of type " + string(r.Type))
	case len(r.InstanceTypes) == 0:
		return invalid("Error executing request, Exception : Instance types are required for EC2 compute resources")
	case aws.ToString(r.InstanceRole) == "":
		return invalid("Error executing request, Exception : Instance role is required.")
	case aws.ToInt32(r.MinvCpus) < 0 || aws.ToInt32(r.MinvCpus) > aws.ToInt32(r.MaxvCpus):
		return invalid("Error executing request, Exception : minvCpus should be less than or equal to maxvCpus.")
	case r.DesiredvCpus != nil && (*r.DesiredvCpus < aws.ToInt32(r.MinvCpus) || *r.DesiredvCpus > aws.ToInt32(r.MaxvCpus)):
		return invalid("Error executing request, Exception : desiredvCpus should be between minvCpus and maxvCpus.")
	case r.BidPercentage != nil && (*r.BidPercentage < 1 || *r.BidPercentage > 100):
		return invalid("Error executing request, Exception : bidPercentage must be between 1 and 100.")
	}
	return nil
}

// CreateComputeEnvironment makes a compute environment.
func (s *Service) CreateComputeEnvironment(ctx context.Context, in *sdk.CreateComputeEnvironmentInput) (*sdk.CreateComputeEnvironmentOutput, error) {
	name := aws.ToString(in.ComputeEnvironmentName)
	switch {
	case !validName.MatchString(name):
		return nil, invalid("Error executing request, Exception : computeEnvironmentName %q is not valid", name)
	case in.Type != types.CETypeManaged:
		return nil, elsewhere("Compute environments of type " + string(in.Type))
	case in.EksConfiguration != nil:
		return nil, elsewhere("Compute environments on EKS")
	case in.ComputeResources == nil:
		return nil, invalid("Error executing request, Exception : computeResources must be provided for a MANAGED compute environment")
	}
	if err := s.checkResources(ctx, in.ComputeResources); err != nil {
		return nil, err
	}
	id := uuid.NewString()
	e := environment{Desc: types.ComputeEnvironmentDetail{
		ComputeEnvironmentName: &name, ComputeEnvironmentArn: aws.String(s.id.ARN("batch", "compute-environment/"+name)), Uuid: &id,
		EcsClusterArn: aws.String(s.id.ARN("ecs", "cluster/AWSBatch-"+name+"-"+id)), ContainerOrchestrationType: types.OrchestrationTypeEcs,
		Type: in.Type, State: in.State, Status: types.CEStatusValid, StatusReason: aws.String("ComputeEnvironment Healthy"),
		ServiceRole: in.ServiceRole, ComputeResources: in.ComputeResources, Tags: in.Tags,
	}}
	if e.Desc.State == "" {
		e.Desc.State = types.CEStateEnabled
	}
	if aws.ToString(e.Desc.ServiceRole) == "" {
		e.Desc.ServiceRole = aws.String(s.id.GlobalARN("iam", "role/aws-service-role/batch.amazonaws.com/AWSServiceRoleForBatch"))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh, err := s.environments.Insert(name, e)
	if err != nil {
		return nil, err
	}
	if !fresh {
		return nil, invalid("Error executing request, Exception : Object already exists")
	}
	return &sdk.CreateComputeEnvironmentOutput{ComputeEnvironmentArn: e.Desc.ComputeEnvironmentArn, ComputeEnvironmentName: &name}, nil
}

func (s *Service) environment(nameOrARN *string) (environment, error) {
	e, ok := s.environments.Get(nameOf(nameOrARN))
	if !ok {
		return e, invalid("Error executing request, Exception : The specified compute environment (%s) does not exist.", aws.ToString(nameOrARN))
	}
	return e, nil
}

// UpdateComputeEnvironment changes what is given.
func (s *Service) UpdateComputeEnvironment(ctx context.Context, in *sdk.UpdateComputeEnvironmentInput) (*sdk.UpdateComputeEnvironmentOutput, error) {
	known, err := s.environment(in.ComputeEnvironment)
	if err != nil {
		return nil, err
	}
	r := *known.Desc.ComputeResources
	if u := in.ComputeResources; u != nil {
		if u.DesiredvCpus != nil && *u.DesiredvCpus < s.used(*known.Desc.ComputeEnvironmentName) {
			return nil, invalid("Error executing request, Exception : Manually scaling down compute environment is not supported. Disconnecting job queues from compute environment will cause it to scale-down to minvCpus.")
		}
		if u.Type != "" {
			r.Type = u.Type
		}
		if u.AllocationStrategy != "" {
			r.AllocationStrategy = types.CRAllocationStrategy(u.AllocationStrategy)
		}
		for _, f := range []struct{ into, from **int32 }{
			{&r.MinvCpus, &u.MinvCpus}, {&r.MaxvCpus, &u.MaxvCpus}, {&r.DesiredvCpus, &u.DesiredvCpus}, {&r.BidPercentage, &u.BidPercentage},
		} {
			if *f.from != nil {
				*f.into = *f.from
			}
		}
		for _, f := range []struct{ into, from *[]string }{
			{&r.InstanceTypes, &u.InstanceTypes}, {&r.Subnets, &u.Subnets}, {&r.SecurityGroupIds, &u.SecurityGroupIds},
		} {
			if *f.from != nil {
				*f.into = *f.from
			}
		}
		if u.InstanceRole != nil {
			r.InstanceRole = u.InstanceRole
		}
		if u.LaunchTemplate != nil {
			r.LaunchTemplate = u.LaunchTemplate
		}
		if u.Tags != nil {
			r.Tags = u.Tags
		}
		// What is desired stays between the bounds; only who gives it is told.
		if u.DesiredvCpus == nil && r.DesiredvCpus != nil {
			r.DesiredvCpus = aws.Int32(min(max(*r.DesiredvCpus, aws.ToInt32(r.MinvCpus)), aws.ToInt32(r.MaxvCpus)))
		}
		if err := s.checkResources(ctx, &r); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.environments.Update(*known.Desc.ComputeEnvironmentName, func(e *environment) error {
		e.Desc.ComputeResources = &r
		if in.State != "" {
			e.Desc.State = in.State
		}
		if in.ServiceRole != nil {
			e.Desc.ServiceRole = in.ServiceRole
		}
		return nil
	})
	s.poke()
	return &sdk.UpdateComputeEnvironmentOutput{ComputeEnvironmentArn: e.Desc.ComputeEnvironmentArn, ComputeEnvironmentName: e.Desc.ComputeEnvironmentName}, err
}

// DeleteComputeEnvironment deletes a compute environment that is disabled and that no
// queue has. One that is gone is no error.
func (s *Service) DeleteComputeEnvironment(_ context.Context, in *sdk.DeleteComputeEnvironmentInput) (*sdk.DeleteComputeEnvironmentOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := nameOf(in.ComputeEnvironment)
	e, ok := s.environments.Get(name)
	if !ok {
		return &sdk.DeleteComputeEnvironmentOutput{}, nil
	}
	if e.Desc.State != types.CEStateDisabled {
		return nil, invalid("Error executing request, Exception : Cannot delete, state must be DISABLED")
	}
	for _, q := range s.queues.All() {
		if slices.ContainsFunc(q.ComputeEnvironmentOrder, func(o types.ComputeEnvironmentOrder) bool { return nameOf(o.ComputeEnvironment) == name }) {
			return nil, invalid("Error executing request, Exception : Cannot delete, found existing JobQueue relationship")
		}
	}
	return &sdk.DeleteComputeEnvironmentOutput{}, s.environments.Delete(name)
}

// DescribeComputeEnvironments tells of the named compute environments, or of all. What
// is desired are the vCPUs of the machines that run.
func (s *Service) DescribeComputeEnvironments(_ context.Context, in *sdk.DescribeComputeEnvironmentsInput) (*sdk.DescribeComputeEnvironmentsOutput, error) {
	all := []types.ComputeEnvironmentDetail{}
	for _, e := range s.environments.All() {
		if len(in.ComputeEnvironments) > 0 && !slices.ContainsFunc(in.ComputeEnvironments, func(n string) bool { return nameOf(&n) == *e.Desc.ComputeEnvironmentName }) {
			continue
		}
		r := *e.Desc.ComputeResources
		r.DesiredvCpus = aws.Int32(s.used(*e.Desc.ComputeEnvironmentName))
		e.Desc.ComputeResources = &r
		all = append(all, e.Desc)
	}
	some, next, err := page.Of(all, func(d types.ComputeEnvironmentDetail) string { return *d.ComputeEnvironmentName }, in.NextToken, page.Limit(in.MaxResults, 100))
	if err != nil {
		return nil, errToken
	}
	return &sdk.DescribeComputeEnvironmentsOutput{ComputeEnvironments: some, NextToken: next}, nil
}

// CreateJobQueue makes a queue.
func (s *Service) CreateJobQueue(_ context.Context, in *sdk.CreateJobQueueInput) (*sdk.CreateJobQueueOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := aws.ToString(in.JobQueueName)
	switch {
	case !validName.MatchString(name):
		return nil, invalid("Error executing request, Exception : jobQueueName %q is not valid", name)
	case aws.ToString(in.SchedulingPolicyArn) != "":
		return nil, elsewhere("Scheduling policies")
	case len(in.ServiceEnvironmentOrder) > 0:
		return nil, elsewhere("Service environments")
	}
	order, err := s.order(in.ComputeEnvironmentOrder)
	if err != nil {
		return nil, err
	}
	q := types.JobQueueDetail{
		JobQueueName: &name, JobQueueArn: aws.String(s.id.ARN("batch", "job-queue/"+name)), Priority: in.Priority, State: in.State, Status: types.JQStatusValid,
		StatusReason: aws.String("JobQueue Healthy"), ComputeEnvironmentOrder: order, Tags: in.Tags,
	}
	if q.State == "" {
		q.State = types.JQStateEnabled
	}
	fresh, err := s.queues.Insert(name, q)
	if err != nil {
		return nil, err
	}
	if !fresh {
		return nil, invalid("Error executing request, Exception : Object already exists")
	}
	return &sdk.CreateJobQueueOutput{JobQueueArn: q.JobQueueArn, JobQueueName: &name}, nil
}

// order checks the compute environments of a queue, and sorts them.
func (s *Service) order(list []types.ComputeEnvironmentOrder) ([]types.ComputeEnvironmentOrder, error) {
	if len(list) == 0 {
		return nil, invalid("Error executing request, Exception : computeEnvironmentOrder must have at least one compute environment")
	}
	var out []types.ComputeEnvironmentOrder
	for _, o := range list {
		e, err := s.environment(o.ComputeEnvironment)
		if err != nil {
			return nil, err
		}
		out = append(out, types.ComputeEnvironmentOrder{ComputeEnvironment: e.Desc.ComputeEnvironmentArn, Order: o.Order})
	}
	slices.SortStableFunc(out, func(a, b types.ComputeEnvironmentOrder) int { return int(aws.ToInt32(a.Order) - aws.ToInt32(b.Order)) })
	return out, nil
}

// UpdateJobQueue changes what is given.
func (s *Service) UpdateJobQueue(_ context.Context, in *sdk.UpdateJobQueueInput) (*sdk.UpdateJobQueueOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := nameOf(in.JobQueue)
	if _, ok := s.queues.Get(name); !ok {
		return nil, invalid("Error executing request, Exception : Job Queue %s not found", aws.ToString(in.JobQueue))
	}
	var order []types.ComputeEnvironmentOrder
	if in.ComputeEnvironmentOrder != nil {
		var err error
		if order, err = s.order(in.ComputeEnvironmentOrder); err != nil {
			return nil, err
		}
	}
	q, err := s.queues.Update(name, func(q *types.JobQueueDetail) error {
		if in.State != "" {
			q.State = in.State
		}
		if in.Priority != nil {
			q.Priority = in.Priority
		}
		if order != nil {
			q.ComputeEnvironmentOrder = order
		}
		return nil
	})
	return &sdk.UpdateJobQueueOutput{JobQueueArn: q.JobQueueArn, JobQueueName: &name}, err
}

// DeleteJobQueue ends the jobs of a queue that is disabled; the queue is gone when their
// machines are. One that is gone is no error.
func (s *Service) DeleteJobQueue(_ context.Context, in *sdk.DeleteJobQueueInput) (*sdk.DeleteJobQueueOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := nameOf(in.JobQueue)
	q, ok := s.queues.Get(name)
	if !ok {
		return &sdk.DeleteJobQueueOutput{}, nil
	}
	if q.State != types.JQStateDisabled {
		return nil, invalid("Error executing request, Exception : Cannot delete, state must be DISABLED")
	}
	_, err := s.queues.Update(name, func(q *types.JobQueueDetail) error {
		q.Status, q.StatusReason = types.JQStatusDeleting, nil
		return nil
	})
	s.poke()
	return &sdk.DeleteJobQueueOutput{}, err
}

// DescribeJobQueues tells of the named queues, or of all.
func (s *Service) DescribeJobQueues(_ context.Context, in *sdk.DescribeJobQueuesInput) (*sdk.DescribeJobQueuesOutput, error) {
	all := []types.JobQueueDetail{}
	for _, q := range s.queues.All() {
		if len(in.JobQueues) == 0 || slices.ContainsFunc(in.JobQueues, func(n string) bool { return nameOf(&n) == *q.JobQueueName }) {
			all = append(all, q)
		}
	}
	some, next, err := page.Of(all, func(d types.JobQueueDetail) string { return *d.JobQueueName }, in.NextToken, page.Limit(in.MaxResults, 100))
	if err != nil {
		return nil, errToken
	}
	return &sdk.DescribeJobQueuesOutput{JobQueues: some, NextToken: next}, nil
}
