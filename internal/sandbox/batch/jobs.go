package batch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/batch"
	"github.com/aws/aws-sdk-go-v2/service/batch/types"
	"github.com/google/uuid"

	"pcluster/internal/sandbox/store"
)

// job is a row; its key is its ID. Jobs of an array have rows of their own, nodes of a
// job on several have not.
type job struct {
	Desc       types.JobDetail
	Parent     string // of a job of an array
	Containers []types.ContainerProperties
	DependsOn  []string // IDs of jobs that have to succeed first

	End    string // why somebody ended it; empty: nobody has
	Ended  bool
	Cancel bool // by CancelJob, which leaves jobs alone that have begun

	Environment string // the compute environment it was placed in
	Try         int    // at launching its machines
	Placed      bool   // machines of this try may exist
	NotBefore   int64  // when it may look for a place again
	Attempt     int32
	Nodes       []node // of this attempt
	Old         []node // of earlier ones, whose machines go away
	Last        []node // of the attempt that has ended last
}

// node is a machine of a job.
type node struct {
	Instance string
	Layer    string // folder of what is put above the machine's image
	VCPUs    int32
	Address  string
	Task     string // the ID that ECS would give to it
	Stream   string // of its log
	Offset   int64  // up to which its output is in the log
	Begun    bool
	Exit     *int32
}

func (j *job) id() string { return *j.Desc.JobId }

func (j *job) over() bool {
	return j.Desc.Status == types.JobStatusSucceeded || j.Desc.Status == types.JobStatusFailed
}

// settled says whether nothing remains to be done for a job.
func (j *job) settled() bool { return j.over() && len(j.Nodes)+len(j.Old) == 0 }

func (j *job) array() bool {
	return j.Parent == "" && j.Desc.ArrayProperties != nil && j.Desc.ArrayProperties.Size != nil
}

// SubmitJob takes a job.
func (s *Service) SubmitJob(_ context.Context, in *sdk.SubmitJobInput) (*sdk.SubmitJobOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := aws.ToString(in.JobName)
	switch {
	case !validName.MatchString(name):
		return nil, invalid("Error executing request, Exception : Job name should match valid pattern")
	case in.EksPropertiesOverride != nil || in.EcsPropertiesOverride != nil:
		return nil, elsewhere("Jobs on EKS and of several containers")
	case in.ShareIdentifier != nil || in.SchedulingPriorityOverride != nil:
		return nil, elsewhere("Scheduling policies")
	}
	q, ok := s.queues.Get(nameOf(in.JobQueue))
	switch {
	case !ok:
		return nil, invalid("Error executing request, Exception : Job Queue %s not found", aws.ToString(in.JobQueue))
	case q.State != types.JQStateEnabled || q.Status != types.JQStatusValid:
		return nil, invalid("Error executing request, Exception : Job Queue %s is not in state ENABLED", aws.ToString(in.JobQueue))
	}
	d, err := s.definition(in.JobDefinition)
	if err != nil {
		return nil, err
	}
	id := uuid.NewString()
	j := job{Desc: types.JobDetail{
		JobId: &id, JobArn: aws.String(s.id.ARN("batch", "job/"+id)), JobName: &name, JobQueue: q.JobQueueArn, JobDefinition: d.JobDefinitionArn,
		Status: types.JobStatusSubmitted, CreatedAt: s.millis(), DependsOn: in.DependsOn, Tags: in.Tags, Timeout: or(in.Timeout, d.Timeout),
		RetryStrategy: or(in.RetryStrategy, d.RetryStrategy), Parameters: merge(d.Parameters, in.Parameters), PropagateTags: or(in.PropagateTags, d.PropagateTags),
	}}
	if t := j.Desc.Timeout; t != nil && aws.ToInt32(t.AttemptDurationSeconds) < 60 {
		return nil, invalid("Error executing request, Exception : timeout must be at least 60 seconds")
	}
	if r := j.Desc.RetryStrategy; r != nil && (aws.ToInt32(r.Attempts) < 1 || *r.Attempts > 10) {
		return nil, invalid("Error executing request, Exception : Retry attempts must be between 1 and 10")
	}
	for _, o := range in.DependsOn {
		if o.JobId != nil {
			if _, ok := s.jobs.Get(*o.JobId); !ok {
				return nil, invalid("Error executing request, Exception : Job %s that is depended on was not found", *o.JobId)
			}
			if o.Type != types.ArrayJobDependencyNToN {
				j.DependsOn = append(j.DependsOn, *o.JobId)
			}
		}
	}
	if err := j.contain(&d, in); err != nil {
		return nil, err
	}
	rows, err := s.children(&j, in)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		if err := s.jobs.Put(row.id(), row); err != nil {
			return nil, err
		}
	}
	s.poke()
	return &sdk.SubmitJobOutput{JobId: &id, JobName: &name, JobArn: j.Desc.JobArn}, nil
}

func or[T any](v, otherwise *T) *T {
	if v != nil {
		return v
	}
	return otherwise
}

func merge(below, above map[string]string) map[string]string {
	out := maps.Clone(below)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, above)
	return out
}

// contain sets what the job's nodes run.
func (j *job) contain(d *types.JobDefinition, in *sdk.SubmitJobInput) error {
	if d.NodeProperties == nil {
		if in.NodeOverrides != nil {
			return invalid("Error executing request, Exception : Node overrides are for multi-node parallel jobs")
		}
		c := overridden(*d.ContainerProperties, in.ContainerOverrides, j.Desc.Parameters)
		j.Containers, j.Desc.Container = []types.ContainerProperties{c}, detail(&c)
		return checkContainer(&c)
	}
	if in.ContainerOverrides != nil || in.ArrayProperties != nil {
		return invalid("Error executing request, Exception : Container overrides and arrays are not for multi-node parallel jobs")
	}
	nodes := *d.NodeProperties
	if o := in.NodeOverrides; o != nil && o.NumNodes != nil {
		nodes.NumNodes = o.NumNodes
	}
	if n := *nodes.NumNodes; n < 1 || n > 1000 || aws.ToInt32(nodes.MainNode) >= n {
		return invalid("Error executing request, Exception : numNodes %d is not valid", n)
	}
	for i := range *nodes.NumNodes {
		k := slices.IndexFunc(nodes.NodeRangeProperties, func(r types.NodeRangeProperty) bool { return targets(r.TargetNodes, i, *nodes.NumNodes) })
		if k < 0 {
			return invalid("Error executing request, Exception : Node %d has no properties", i)
		}
		var over *types.ContainerOverrides
		if in.NodeOverrides != nil {
			for _, o := range in.NodeOverrides.NodePropertyOverrides {
				if targets(o.TargetNodes, i, *nodes.NumNodes) {
					over = o.ContainerOverrides
				}
			}
		}
		c := overridden(*nodes.NodeRangeProperties[k].Container, over, j.Desc.Parameters)
		if err := checkContainer(&c); err != nil {
			return err
		}
		j.Containers = append(j.Containers, c)
	}
	nodes.NodeRangeProperties = slices.Clone(nodes.NodeRangeProperties)
	for k := range nodes.NodeRangeProperties {
		r := &nodes.NodeRangeProperties[k]
		for i := range *nodes.NumNodes {
			if targets(r.TargetNodes, i, *nodes.NumNodes) {
				r.Container = &j.Containers[i]
				break
			}
		}
	}
	j.Desc.NodeProperties = &nodes
	return nil
}

// targets says whether a range of nodes, as 0:, 1:3 or 2, has a node.
func targets(r *string, i, of int32) bool {
	first, last, span := strings.Cut(aws.ToString(r), ":")
	number := func(s string, otherwise int32) int32 {
		if n, err := strconv.ParseInt(s, 10, 32); err == nil {
			return int32(n)
		}
		return otherwise
	}
	from := number(first, 0)
	if !span {
		return i == from
	}
	return i >= from && i <= number(last, of-1)
}

// overridden returns a container with what a job says otherwise, and its parameters
// filled in.
func overridden(c types.ContainerProperties, o *types.ContainerOverrides, parameters map[string]string) types.ContainerProperties {
	if o != nil {
		if o.Command != nil {
			c.Command = o.Command
		}
		c.Vcpus, c.Memory, c.InstanceType = or(o.Vcpus, c.Vcpus), or(o.Memory, c.Memory), or(o.InstanceType, c.InstanceType)
		variables := map[string]string{}
		for _, v := range append(slices.Clone(c.Environment), o.Environment...) {
			variables[aws.ToString(v.Name)] = aws.ToString(v.Value)
		}
		c.Environment = nil
		for _, k := range slices.Sorted(maps.Keys(variables)) {
			c.Environment = append(c.Environment, types.KeyValuePair{Name: aws.String(k), Value: aws.String(variables[k])})
		}
		for _, r := range o.ResourceRequirements {
			c.ResourceRequirements = append(slices.DeleteFunc(slices.Clone(c.ResourceRequirements), func(x types.ResourceRequirement) bool { return x.Type == r.Type }), r)
		}
	}
	c.Command = slices.Clone(c.Command)
	for i, w := range c.Command {
		if name, ok := strings.CutPrefix(w, "Ref::"); ok {
			if v, ok := parameters[name]; ok {
				c.Command[i] = v
			}
		}
	}
	return c
}

// detail is a container as DescribeJobs tells it.
func detail(c *types.ContainerProperties) *types.ContainerDetail {
	return &types.ContainerDetail{
		Image: c.Image, Command: c.Command, Environment: c.Environment, JobRoleArn: c.JobRoleArn, Privileged: c.Privileged,
		Vcpus: c.Vcpus, Memory: c.Memory, ResourceRequirements: c.ResourceRequirements, InstanceType: c.InstanceType, LogConfiguration: c.LogConfiguration,
	}
}

// children returns the rows of a submission: the job itself and, of an array, its jobs.
func (s *Service) children(j *job, in *sdk.SubmitJobInput) ([]job, error) {
	if in.ArrayProperties == nil || aws.ToInt32(in.ArrayProperties.Size) == 0 {
		return []job{*j}, nil
	}
	size := *in.ArrayProperties.Size
	if size < 2 || size > 10000 {
		return nil, invalid("Error executing request, Exception : Array size must be between 2 and 10000")
	}
	parent := *j
	parent.Desc.ArrayProperties = &types.ArrayPropertiesDetail{Size: &size, StatusSummary: map[string]int32{}}
	parent.DependsOn = nil // its jobs wait
	rows := []job{parent}
	for i := range size {
		child := *j
		id := fmt.Sprintf("%s:%d", j.id(), i)
		child.Parent, child.Desc.JobId, child.Desc.JobArn = j.id(), &id, aws.String(s.id.ARN("batch", "job/"+id))
		child.Desc.ArrayProperties = &types.ArrayPropertiesDetail{Index: aws.Int32(i)}
		child.DependsOn = slices.Clone(j.DependsOn)
		for _, o := range in.DependsOn {
			switch {
			case o.Type == types.ArrayJobDependencySequential && i > 0:
				child.DependsOn = append(child.DependsOn, fmt.Sprintf("%s:%d", j.id(), i-1))
			case o.Type == types.ArrayJobDependencyNToN && o.JobId != nil:
				child.DependsOn = append(child.DependsOn, fmt.Sprintf("%s:%d", *o.JobId, i))
			}
		}
		rows = append(rows, child)
	}
	return rows, nil
}

// DescribeJobs tells of jobs, of those of arrays (ID:3) and of nodes (ID#1).
func (s *Service) DescribeJobs(_ context.Context, in *sdk.DescribeJobsInput) (*sdk.DescribeJobsOutput, error) {
	out := &sdk.DescribeJobsOutput{Jobs: []types.JobDetail{}}
	for _, id := range in.Jobs {
		whole, index, isNode := strings.Cut(nameOf(&id), "#")
		j, ok := s.jobs.Get(whole)
		if !ok {
			continue
		}
		if !isNode {
			out.Jobs = append(out.Jobs, j.Desc)
			continue
		}
		if i, err := strconv.Atoi(index); err == nil && i >= 0 && i < len(j.Containers) && j.Desc.NodeProperties != nil {
			out.Jobs = append(out.Jobs, s.nodeDetail(&j, i))
		}
	}
	return out, nil
}

// nodeDetail tells of a node of a job as of a job.
func (s *Service) nodeDetail(j *job, i int) types.JobDetail {
	d := j.Desc
	d.JobId, d.NodeProperties = aws.String(fmt.Sprintf("%s#%d", j.id(), i)), nil
	d.JobArn = aws.String(s.id.ARN("batch", "job/"+*d.JobId))
	d.NodeDetails = &types.NodeDetails{NodeIndex: aws.Int32(int32(i)), IsMainNode: aws.Bool(int32(i) == aws.ToInt32(j.Desc.NodeProperties.MainNode))}
	d.Container = detail(&j.Containers[i])
	nodes := j.Nodes
	if len(nodes) == 0 {
		nodes = j.Last
	}
	if i < len(nodes) {
		s.tell(d.Container, j, &nodes[i])
	}
	return d
}

// tell adds to a container where it runs and how it ended.
func (s *Service) tell(c *types.ContainerDetail, j *job, n *node) {
	c.ContainerInstanceArn, c.TaskArn = aws.String(s.containerInstance(j.Environment, n.Instance)), aws.String(s.id.ARN("ecs", "task/"+s.clusterOf(j.Environment)+"/"+n.Task))
	c.ExitCode = n.Exit
	if n.Begun {
		c.LogStreamName = aws.String(n.Stream)
	}
}

// ListJobs lists the jobs of a queue in one state, or the jobs of an array, or the nodes
// of a job.
func (s *Service) ListJobs(_ context.Context, in *sdk.ListJobsInput) (*sdk.ListJobsOutput, error) {
	given := 0
	for _, v := range []*string{in.JobQueue, in.ArrayJobId, in.MultiNodeJobId} {
		if v != nil {
			given++
		}
	}
	if given != 1 {
		return nil, invalid("Exactly one of jobQueue, arrayJobId and multiNodeJobId must be given")
	}
	chosen, err := filtered(in.Filters)
	if err != nil {
		return nil, err
	}
	status := in.JobStatus
	var all []types.JobSummary
	switch {
	case in.MultiNodeJobId != nil:
		j, ok := s.jobs.Get(*in.MultiNodeJobId)
		for i := range j.Containers {
			if ok && j.Desc.NodeProperties != nil && (status == "" || j.Desc.Status == status) {
				d := s.nodeDetail(&j, i)
				all = append(all, summary(&d))
			}
		}
	default:
		if in.JobQueue != nil {
			if _, ok := s.queues.Get(nameOf(in.JobQueue)); !ok {
				return nil, invalid("Job Queue %s not found", *in.JobQueue)
			}
			status = cmp.Or(status, types.JobStatusRunning)
			if len(in.Filters) > 0 {
				status = "" // jobs of all states, whatever is said
			}
		}
		rows := s.jobs.All()
		slices.SortStableFunc(rows, func(a, b job) int {
			return cmp.Or(cmp.Compare(*b.Desc.CreatedAt, *a.Desc.CreatedAt), cmp.Compare(index(&a), index(&b)))
		})
		for _, j := range rows {
			mine := in.JobQueue != nil && j.Parent == "" && nameOf(j.Desc.JobQueue) == nameOf(in.JobQueue) || in.ArrayJobId != nil && j.Parent == *in.ArrayJobId
			if mine && (status == "" || j.Desc.Status == status) && chosen(&j.Desc) {
				all = append(all, summary(&j.Desc))
			}
		}
	}
	from, _ := strconv.Atoi(aws.ToString(in.NextToken))
	from = min(max(from, 0), len(all))
	to := min(from+int(cmp.Or(aws.ToInt32(in.MaxResults), 1000)), len(all))
	out := &sdk.ListJobsOutput{JobSummaryList: append([]types.JobSummary{}, all[from:to]...)}
	if to < len(all) {
		out.NextToken = aws.String(strconv.Itoa(to))
	}
	return out, nil
}

// filtered says which jobs the filter of a list lets through; there is one at most. Texts may
// end with an asterisk, times are milliseconds.
func filtered(filters []types.KeyValuesPair) (func(*types.JobDetail) bool, error) {
	if len(filters) == 0 {
		return func(*types.JobDetail) bool { return true }, nil
	}
	if len(filters) > 1 {
		return nil, invalid("Only one filter can be given at a time")
	}
	f := filters[0]
	matches := func(text string) bool {
		text = strings.ToLower(text)
		return slices.ContainsFunc(f.Values, func(v string) bool {
			prefix, open := strings.CutSuffix(strings.ToLower(v), "*")
			return text == prefix || open && strings.HasPrefix(text, prefix)
		})
	}
	switch name := aws.ToString(f.Name); name {
	case "JOB_NAME":
		return func(d *types.JobDetail) bool { return matches(aws.ToString(d.JobName)) }, nil
	case "JOB_DEFINITION":
		return func(d *types.JobDetail) bool {
			full := nameOf(d.JobDefinition)
			name, _, _ := strings.Cut(full, ":")
			return matches(aws.ToString(d.JobDefinition)) || matches(full) || matches(name)
		}, nil
	case "BEFORE_CREATED_AT", "AFTER_CREATED_AT":
		if len(f.Values) != 1 {
			return nil, invalid("The filter %s takes one value", name)
		}
		at, err := strconv.ParseInt(f.Values[0], 10, 64)
		if err != nil {
			return nil, invalid("The filter %s takes milliseconds, not %q", name, f.Values[0])
		}
		return func(d *types.JobDetail) bool {
			return name == "BEFORE_CREATED_AT" && *d.CreatedAt <= at || name == "AFTER_CREATED_AT" && *d.CreatedAt >= at
		}, nil
	default:
		return nil, elsewhere("Filters of jobs by " + name)
	}
}

func index(j *job) int32 {
	if j.Desc.ArrayProperties == nil {
		return 0
	}
	return aws.ToInt32(j.Desc.ArrayProperties.Index)
}

func summary(d *types.JobDetail) types.JobSummary {
	out := types.JobSummary{
		JobId: d.JobId, JobArn: d.JobArn, JobName: d.JobName, JobDefinition: d.JobDefinition, Status: d.Status, StatusReason: d.StatusReason,
		CreatedAt: d.CreatedAt, StartedAt: d.StartedAt, StoppedAt: d.StoppedAt,
	}
	if c := d.Container; c != nil && (c.ExitCode != nil || c.Reason != nil) {
		out.Container = &types.ContainerSummary{ExitCode: c.ExitCode, Reason: c.Reason}
	}
	if a := d.ArrayProperties; a != nil {
		out.ArrayProperties = &types.ArrayPropertiesSummary{Index: a.Index, Size: a.Size}
	}
	switch {
	case d.NodeDetails != nil:
		out.NodeProperties = &types.NodePropertiesSummary{NodeIndex: d.NodeDetails.NodeIndex, IsMainNode: d.NodeDetails.IsMainNode}
	case d.NodeProperties != nil:
		out.NodeProperties = &types.NodePropertiesSummary{NumNodes: d.NodeProperties.NumNodes}
	}
	return out
}

// CancelJob ends a job that has no machine yet.
func (s *Service) CancelJob(_ context.Context, in *sdk.CancelJobInput) (*sdk.CancelJobOutput, error) {
	return &sdk.CancelJobOutput{}, s.finish(in.JobId, in.Reason, true)
}

// TerminateJob ends a job.
func (s *Service) TerminateJob(_ context.Context, in *sdk.TerminateJobInput) (*sdk.TerminateJobOutput, error) {
	return &sdk.TerminateJobOutput{}, s.finish(in.JobId, in.Reason, false)
}

// finish asks for the end of a job, and of the jobs of an array. A job that is not known
// any more is no error.
func (s *Service) finish(id, reason *string, cancel bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	whole, _, _ := strings.Cut(nameOf(id), "#")
	for _, j := range s.jobs.All() {
		if j.id() != whole && j.Parent != whole || j.over() {
			continue
		}
		_, err := s.jobs.Update(j.id(), func(j *job) error {
			j.End, j.Ended, j.Cancel = aws.ToString(reason), true, cancel
			if cancel {
				j.Desc.IsCancelled = aws.Bool(true)
			} else {
				j.Desc.IsTerminated = aws.Bool(true)
			}
			return nil
		})
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	s.poke()
	return nil
}
