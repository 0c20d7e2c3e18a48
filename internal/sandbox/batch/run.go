package batch

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/batch/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"
	"github.com/google/uuid"

	"pcluster/internal/sandbox/store"
)

// remembered is how long jobs are told of that are over (AWS documentation: AWS Batch,
// Job states: at least seven days).
const remembered = 7 * 24 * time.Hour

// logGroup is where the output of jobs goes.
const logGroup = "/aws/batch/job"

// run makes jobs go on until the service closes: one round when somebody pokes, and one
// every so often while there are jobs that are not settled.
func (s *Service) run() {
	for {
		busy := s.round()
		var again <-chan time.Time
		if busy {
			again = time.After(s.cfg.Poll)
		}
		select {
		case <-s.ctx.Done():
			return
		case <-s.wake:
		case <-again:
		}
	}
}

// round makes every job do its next step. It returns whether any has one left.
func (s *Service) round() (busy bool) {
	rows := s.jobs.All()
	slices.SortStableFunc(rows, func(a, b job) int {
		return cmp.Or(cmp.Compare(*a.Desc.CreatedAt, *b.Desc.CreatedAt), cmp.Compare(index(&a), index(&b)))
	})
	old := s.cfg.Now().Add(-remembered).UnixMilli()
	for i := range rows {
		j := &rows[i]
		if s.ctx.Err() != nil {
			return false
		}
		if j.settled() {
			if aws.ToInt64(j.Desc.StoppedAt) < old {
				if err := s.jobs.Delete(j.id()); err != nil {
					s.cfg.Log.Error("a job can't be forgotten", "job", j.id(), "error", err)
				}
			}
			continue
		}
		busy = true
		if err := s.step(j); err != nil && s.ctx.Err() == nil {
			s.cfg.Log.Error("a job does not go on", "job", j.id(), "status", string(j.Desc.Status), "error", err)
		}
	}
	return s.sweepQueues() || busy
}

// step does what comes next for a job. An error is one of this daemon's: the step is done
// again.
func (s *Service) step(j *job) error {
	if err := s.drain(j); err != nil {
		return err
	}
	if j.over() {
		return nil
	}
	if j.array() {
		return s.follow(j)
	}
	if j.Ended || s.queueIsGoing(j) {
		if j.Desc.Status != types.JobStatusStarting && j.Desc.Status != types.JobStatusRunning {
			return s.over(j, types.JobStatusFailed, j.why())
		}
		if !j.Cancel {
			return s.attemptEnded(j, aws.Int32(137), j.why(), false)
		}
	}
	switch j.Desc.Status {
	case types.JobStatusSubmitted, types.JobStatusPending:
		return s.wait(j)
	case types.JobStatusRunnable:
		return s.place(j)
	case types.JobStatusStarting, types.JobStatusRunning:
		return s.watch(j)
	}
	return fmt.Errorf("unknown status %q", j.Desc.Status)
}

func (j *job) why() string {
	if j.End != "" {
		return j.End
	}
	return "The job queue is being deleted"
}

func (s *Service) queueIsGoing(j *job) bool {
	q, ok := s.queues.Get(nameOf(j.Desc.JobQueue))
	return !ok || q.Status == types.JQStatusDeleting
}

// sweepQueues removes the queues that are to be deleted and have no jobs left. It returns
// whether there are others that are to be deleted.
func (s *Service) sweepQueues() (left bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range s.queues.All() {
		if q.Status != types.JQStatusDeleting {
			continue
		}
		rows := slices.DeleteFunc(s.jobs.All(), func(j job) bool { return nameOf(j.Desc.JobQueue) != *q.JobQueueName })
		if slices.ContainsFunc(rows, func(j job) bool { return !j.settled() }) {
			left = true
			continue
		}
		err := s.queues.Delete(*q.JobQueueName)
		for _, j := range rows {
			err = errors.Join(err, s.jobs.Delete(j.id()))
		}
		if err != nil {
			s.cfg.Log.Error("a queue can't be removed", "queue", *q.JobQueueName, "error", err)
		}
	}
	return left
}

// update changes the row of a job, and j with it.
func (s *Service) update(j *job, change func(*job)) error {
	row, err := s.jobs.Update(j.id(), func(row *job) error {
		change(row)
		return nil
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err == nil {
		*j = row
	}
	return err
}

// over ends a job.
func (s *Service) over(j *job, status types.JobStatus, reason string) error {
	return s.update(j, func(j *job) {
		j.Desc.Status, j.Desc.StatusReason, j.Desc.StoppedAt = status, &reason, s.millis()
		j.Old, j.Nodes = append(slices.Clone(j.Old), j.Nodes...), nil
	})
}

// follow makes an array what its jobs are.
func (s *Service) follow(j *job) error {
	summary := map[string]int32{}
	for _, child := range s.jobs.All() {
		if child.Parent == j.id() {
			summary[string(child.Desc.Status)]++
		}
	}
	done := summary["SUCCEEDED"] + summary["FAILED"]
	status := types.JobStatusPending
	switch {
	case done == *j.Desc.ArrayProperties.Size && summary["FAILED"] > 0:
		return s.update(j, func(j *job) {
			j.summarize(summary)
			j.Desc.Status, j.Desc.StoppedAt = types.JobStatusFailed, s.millis()
			j.Desc.StatusReason = aws.String("Array Child Job failed")
		})
	case done == *j.Desc.ArrayProperties.Size:
		status = types.JobStatusSucceeded
	}
	if maps.Equal(summary, j.Desc.ArrayProperties.StatusSummary) && status == j.Desc.Status {
		return nil
	}
	return s.update(j, func(j *job) {
		j.summarize(summary)
		j.Desc.Status = status
		if status == types.JobStatusSucceeded {
			j.Desc.StoppedAt = s.millis()
		}
	})
}

// summarize sets how many jobs of an array are in which state. Rows that others have read
// stay as they are.
func (j *job) summarize(summary map[string]int32) {
	a := *j.Desc.ArrayProperties
	a.StatusSummary = summary
	j.Desc.ArrayProperties = &a
}

// container returns the job's container for a change, nil for jobs on several nodes. Rows
// that others have read stay as they are.
func (j *job) container() *types.ContainerDetail {
	if j.Desc.Container == nil {
		return nil
	}
	c := *j.Desc.Container
	j.Desc.Container = &c
	return &c
}

// wait makes a job runnable when the jobs have succeeded that it depends on.
func (s *Service) wait(j *job) error {
	for _, id := range j.DependsOn {
		switch other, ok := s.jobs.Get(id); {
		case !ok || other.Desc.Status == types.JobStatusSucceeded:
		case other.Desc.Status == types.JobStatusFailed:
			return s.over(j, types.JobStatusFailed, "Dependent Job failed")
		default:
			if j.Desc.Status == types.JobStatusPending {
				return nil
			}
			return s.update(j, func(j *job) { j.Desc.Status = types.JobStatusPending })
		}
	}
	return s.update(j, func(j *job) { j.Desc.Status = types.JobStatusRunnable })
}

// used are the vCPUs of the jobs that have machines in a compute environment.
func (s *Service) used(environment string) (n int32) {
	for _, j := range s.jobs.All() {
		if j.Environment == environment {
			for _, v := range append(slices.Clone(j.Nodes), j.Old...) {
				n += v.VCPUs
			}
		}
	}
	return n
}

// place launches the machines of a job where there is room for them. A job that finds none
// stays runnable and says why.
func (s *Service) place(j *job) error {
	if j.Placed {
		return s.launch(j)
	}
	if s.cfg.Now().UnixMilli() < j.NotBefore {
		return nil
	}
	q, ok := s.queues.Get(nameOf(j.Desc.JobQueue))
	if !ok {
		return nil
	}
	var wanted int32
	for i := range j.Containers {
		vcpus, _ := needs(&j.Containers[i])
		wanted += vcpus
	}
	why := ""
	for _, o := range q.ComputeEnvironmentOrder {
		e, ok := s.environments.Get(nameOf(o.ComputeEnvironment))
		switch {
		case !ok:
			continue
		case e.Desc.State != types.CEStateEnabled:
			why = cmp.Or(why, "CAPACITY:COMPUTE_ENVIRONMENT_DISABLED - The compute environment is disabled")
			continue
		case wanted > aws.ToInt32(e.Desc.ComputeResources.MaxvCpus):
			why = cmp.Or(why, "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE - The job needs more vCPUs than the compute environment may have")
			continue
		case s.used(*e.Desc.ComputeEnvironmentName)+wanted > aws.ToInt32(e.Desc.ComputeResources.MaxvCpus):
			why = "" // it is a matter of time
			continue
		}
		return s.update(j, func(j *job) {
			j.Environment, j.Placed, j.Try = *e.Desc.ComputeEnvironmentName, true, j.Try+1
			j.Desc.StatusReason = nil
		})
	}
	if why == aws.ToString(j.Desc.StatusReason) {
		return nil
	}
	return s.update(j, func(j *job) { j.Desc.StatusReason = &why })
}

// afterRefusal is how long a job waits that could not have a machine.
const afterRefusal = 5 * time.Second

// unplace gives the place of a job up, so that it looks for another.
func (s *Service) unplace(j *job, machines []node, why string) error {
	for _, n := range machines {
		if err := s.terminate(n.Instance); err != nil {
			return err
		}
	}
	return s.update(j, func(j *job) {
		j.Placed, j.Desc.StatusReason, j.NotBefore = false, &why, s.cfg.Now().Add(afterRefusal).UnixMilli()
		j.Old = append(slices.Clone(j.Old), machines...)
	})
}

// launch launches the machines of a job that has a place. It may be done again.
func (s *Service) launch(j *job) error {
	e, ok := s.environments.Get(j.Environment)
	if !ok {
		return s.unplace(j, nil, "The compute environment is gone")
	}
	main := 0
	if p := j.Desc.NodeProperties; p != nil {
		main = int(aws.ToInt32(p.MainNode))
	}
	nodes := make([]node, len(j.Containers))
	order := []int{main} // whose address the others are told
	for i := range nodes {
		if i != main {
			order = append(order, i)
		}
	}
	var up []node
	for _, i := range order {
		n, refused, err := s.launchNode(j, &e, i, nodes[main].Address)
		if err != nil {
			return err
		}
		if refused != "" {
			if strings.HasPrefix(refused, "CannotPullContainerError") {
				return errors.Join(s.unplace(j, up, refused), s.update(j, func(j *job) { j.Attempt++ }), s.attemptEnded(j, nil, refused, true))
			}
			return s.unplace(j, up, refused)
		}
		nodes[i] = n
		up = append(up, n)
	}
	return s.update(j, func(j *job) {
		j.Nodes, j.Placed = nodes, false
		j.Attempt++
		j.Desc.Status, j.Desc.StatusReason = types.JobStatusStarting, nil
		if c := j.container(); c != nil {
			s.tell(c, j, &nodes[0])
		}
	})
}

// launchNode launches one machine, or says why not.
func (s *Service) launchNode(j *job, e *environment, i int, main string) (n node, refused string, err error) {
	r, c := e.Desc.ComputeResources, &j.Containers[i]
	vcpus, memory := needs(c)
	kind, arch, err := s.fit(r.InstanceTypes, aws.ToString(c.InstanceType), vcpus, memory)
	if err != nil {
		return n, "", err
	}
	if kind == "" {
		return n, fmt.Sprintf("MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - No instance type of the compute environment has %d vCPUs and %d MiB of memory", vcpus, memory), nil
	}
	image, ok := s.cfg.EC2.ManagedImage("alinux2023", arch)
	if !ok {
		return n, "this sandbox has no machine image for " + arch, nil
	}
	n = node{VCPUs: vcpus, Task: strings.ReplaceAll(uuid.NewString(), "-", ""), Layer: fmt.Sprintf("%s-%d-%d", strings.ReplaceAll(j.id(), ":", "-"), j.Try, i)}
	n.Stream = s.stream(j, j.Attempt+1, i)
	if refused, err := s.layer(j, i, n.Layer, main); refused != "" || err != nil {
		return n, refused, err
	}
	tags := map[string]string{"AWSBatchServiceTag": "batch"}
	maps.Copy(tags, r.Tags)
	in := &ec2.RunInstancesInput{
		ImageId: &image, MinCount: aws.Int32(1), MaxCount: aws.Int32(1), InstanceType: ec2types.InstanceType(kind),
		ClientToken: aws.String(n.Layer), SubnetId: aws.String(r.Subnets[(j.Try+i)%len(r.Subnets)]), SecurityGroupIds: r.SecurityGroupIds,
		KeyName: r.Ec2KeyPair, IamInstanceProfile: profile(*r.InstanceRole),
	}
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		if len(in.TagSpecifications) == 0 {
			in.TagSpecifications = []ec2types.TagSpecification{{ResourceType: ec2types.ResourceTypeInstance}}
		}
		in.TagSpecifications[0].Tags = append(in.TagSpecifications[0].Tags, ec2types.Tag{Key: aws.String(k), Value: aws.String(tags[k])})
	}
	if t := r.LaunchTemplate; t != nil {
		in.LaunchTemplate = &ec2types.LaunchTemplateSpecification{LaunchTemplateId: t.LaunchTemplateId, LaunchTemplateName: t.LaunchTemplateName, Version: t.Version}
		if err := s.joinInterfaces(in); err != nil {
			if message, ok := refusal(err); ok {
				return n, message, os.RemoveAll(filepath.Join(s.cfg.Dir, n.Layer))
			}
			return n, "", err
		}
	}
	if r.Type == types.CRTypeSpot {
		in.InstanceMarketOptions = &ec2types.InstanceMarketOptionsRequest{MarketType: ec2types.MarketTypeSpot}
	}
	out, err := s.cfg.EC2.RunOver(s.ctx, in, []string{filepath.Join(s.cfg.Dir, n.Layer)})
	if message, ok := refusal(err); ok {
		return n, message, os.RemoveAll(filepath.Join(s.cfg.Dir, n.Layer))
	}
	if err != nil {
		return n, "", err
	}
	n.Instance, n.Address = *out.Instances[0].InstanceId, aws.ToString(out.Instances[0].PrivateIpAddress)
	return n, "", nil
}

// joinInterfaces puts a launch into its subnet and its groups where the launch template
// has network interfaces: EC2 takes no others beside them.
func (s *Service) joinInterfaces(in *ec2.RunInstancesInput) error {
	t := in.LaunchTemplate
	q := &ec2.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: t.LaunchTemplateId, LaunchTemplateName: t.LaunchTemplateName, Versions: []string{cmp.Or(aws.ToString(t.Version), "$Default")}}
	out, err := s.cfg.EC2.DescribeLaunchTemplateVersions(s.ctx, q)
	if err != nil {
		return err
	}
	if len(out.LaunchTemplateVersions) == 0 {
		return nil
	}
	for _, i := range out.LaunchTemplateVersions[0].LaunchTemplateData.NetworkInterfaces {
		in.NetworkInterfaces = append(in.NetworkInterfaces, ec2types.InstanceNetworkInterfaceSpecification{
			DeviceIndex: i.DeviceIndex, NetworkCardIndex: i.NetworkCardIndex, InterfaceType: i.InterfaceType,
			AssociatePublicIpAddress: i.AssociatePublicIpAddress, SubnetId: in.SubnetId, Groups: in.SecurityGroupIds,
		})
	}
	if len(in.NetworkInterfaces) > 0 {
		in.SubnetId, in.SecurityGroupIds = nil, nil
	}
	return nil
}

func profile(nameOrARN string) *ec2types.IamInstanceProfileSpecification {
	if strings.HasPrefix(nameOrARN, "arn:") {
		return &ec2types.IamInstanceProfileSpecification{Arn: &nameOrARN}
	}
	return &ec2types.IamInstanceProfileSpecification{Name: &nameOrARN}
}

// stream is the name of the log of a node in an attempt.
func (s *Service) stream(j *job, attempt int32, i int) string {
	name, _, _ := strings.Cut(nameOf(j.Desc.JobDefinition), ":")
	task := uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "%s %d %d", j.id(), attempt, i))
	return name + "/default/" + strings.ReplaceAll(task.String(), "-", "")
}

// refusal says whether an error is the answer of a service, which would be the same again.
func refusal(err error) (string, bool) {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode() + ": " + api.ErrorMessage(), true
	}
	return "", false
}

// fit returns the smallest type among those that a compute environment names that has
// what a container needs, and its architecture.
func (s *Service) fit(names []string, only string, vcpus, memory int32) (kind, arch string, err error) {
	var patterns []string
	for _, n := range names {
		switch {
		case n == "optimal":
			for _, family := range optimal {
				patterns = append(patterns, family+".*")
			}
		case strings.Contains(n, "."):
			patterns = append(patterns, n)
		default:
			patterns = append(patterns, n+".*")
		}
	}
	if only != "" {
		patterns = []string{only}
	}
	in := &ec2.DescribeInstanceTypesInput{Filters: []ec2types.Filter{{Name: aws.String("instance-type"), Values: patterns}}}
	var best ec2types.InstanceTypeInfo
	for {
		out, err := s.cfg.EC2.DescribeInstanceTypes(s.ctx, in)
		if err != nil {
			return "", "", err
		}
		for _, t := range out.InstanceTypes {
			if aws.ToInt32(t.VCpuInfo.DefaultVCpus) < vcpus || aws.ToInt64(t.MemoryInfo.SizeInMiB) < int64(memory) {
				continue
			}
			if best.InstanceType == "" || cmp.Or(cmp.Compare(*t.VCpuInfo.DefaultVCpus, *best.VCpuInfo.DefaultVCpus),
				cmp.Compare(*t.MemoryInfo.SizeInMiB, *best.MemoryInfo.SizeInMiB), cmp.Compare(t.InstanceType, best.InstanceType)) < 0 {
				best = t
			}
		}
		if in.NextToken = out.NextToken; aws.ToString(in.NextToken) == "" {
			break
		}
	}
	if best.InstanceType == "" {
		return "", "", nil
	}
	arch = "x86_64"
	if !slices.Contains(best.ProcessorInfo.SupportedArchitectures, ec2types.ArchitectureTypeX8664) {
		arch = string(best.ProcessorInfo.SupportedArchitectures[0])
	}
	return string(best.InstanceType), arch, nil
}

// watch looks at the machines of a job that has them.
func (s *Service) watch(j *job) error {
	main := 0
	if p := j.Desc.NodeProperties; p != nil {
		main = int(aws.ToInt32(p.MainNode))
	}
	nodes := slices.Clone(j.Nodes)
	changed := false
	for i := range nodes {
		n := &nodes[i]
		if n.Exit != nil {
			continue
		}
		lost, err := s.lost(n.Instance)
		if err != nil {
			return err
		}
		if lost {
			return s.attemptEnded(j, nil, "Host EC2 (instance "+n.Instance+") terminated.", true)
		}
		if !n.Begun {
			if _, err := s.cfg.EC2.Output(n.Instance, startedFile, 0, 1); err != nil {
				continue // not yet
			}
			n.Begun, changed = true, true
			if err := s.openLog(n); err != nil {
				return err
			}
		}
		code, exited := s.exit(n.Instance) // before the output, of which then nothing is missing
		more, err := s.pump(n, exited)
		if err != nil {
			return err
		}
		changed = changed || more
		if exited && !more {
			n.Exit, changed = &code, true
		}
	}
	if !changed {
		return s.checkTime(j)
	}
	err := s.update(j, func(j *job) {
		j.Nodes = nodes
		begun := !slices.ContainsFunc(nodes, func(n node) bool { return !n.Begun })
		if begun && j.Desc.Status == types.JobStatusStarting {
			j.Desc.Status, j.Desc.StartedAt = types.JobStatusRunning, s.millis()
		}
		if c := j.container(); c != nil {
			s.tell(c, j, &nodes[0])
		}
	})
	if err != nil || nodes[main].Exit == nil {
		return err
	}
	return s.attemptEnded(j, nodes[main].Exit, "Essential container in task exited", true)
}

// checkTime ends an attempt that takes longer than it may.
func (s *Service) checkTime(j *job) error {
	t := j.Desc.Timeout
	if t == nil || t.AttemptDurationSeconds == nil || j.Desc.StartedAt == nil || j.Desc.Status != types.JobStatusRunning {
		return nil
	}
	if s.cfg.Now().UnixMilli()-*j.Desc.StartedAt < int64(*t.AttemptDurationSeconds)*1000 {
		return nil
	}
	return s.attemptEnded(j, aws.Int32(137), "Job attempt duration exceeded timeout", true)
}

// attemptEnded ends an attempt, and with it the job, unless it may be tried again.
func (s *Service) attemptEnded(j *job, exit *int32, reason string, mayRetry bool) error {
	for _, n := range j.Nodes {
		if err := s.terminate(n.Instance); err != nil {
			return err
		}
	}
	attempts := int32(1)
	if r := j.Desc.RetryStrategy; r != nil && r.Attempts != nil {
		attempts = *r.Attempts
	}
	return s.update(j, func(j *job) {
		a := types.AttemptDetail{StartedAt: j.Desc.StartedAt, StoppedAt: s.millis(), StatusReason: &reason, Container: &types.AttemptContainerDetail{ExitCode: exit}}
		if len(j.Nodes) > 0 {
			n := &j.Nodes[0]
			a.Container.ContainerInstanceArn, a.Container.TaskArn = aws.String(s.containerInstance(j.Environment, n.Instance)), aws.String(s.id.ARN("ecs", "task/"+s.clusterOf(j.Environment)+"/"+n.Task))
			if n.Begun {
				a.Container.LogStreamName = aws.String(n.Stream)
			}
		}
		j.Desc.Attempts = append(slices.Clone(j.Desc.Attempts), a)
		j.Last = j.Nodes
		j.Old, j.Nodes, j.Placed = append(slices.Clone(j.Old), j.Nodes...), nil, false
		if c := j.container(); c != nil {
			c.ExitCode = exit
			if strings.HasPrefix(reason, "CannotPullContainerError") {
				c.Reason = &reason
			}
		}
		switch {
		case exit != nil && *exit == 0:
			j.Desc.Status = types.JobStatusSucceeded
		case mayRetry && j.Attempt < attempts && !j.Ended:
			j.Desc.Status, j.Desc.StatusReason = types.JobStatusRunnable, nil
			return
		default:
			j.Desc.Status = types.JobStatusFailed
		}
		j.Desc.StatusReason, j.Desc.StoppedAt = &reason, s.millis()
	})
}

// terminate ends a machine.
func (s *Service) terminate(instance string) error {
	if instance == "" {
		return nil
	}
	_, err := s.cfg.EC2.TerminateInstances(s.ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{instance}})
	if _, refused := refusal(err); refused {
		return nil // forgotten
	}
	return err
}

// state is that of an instance; one that is forgotten is terminated.
func (s *Service) state(instance string) (ec2types.InstanceStateName, error) {
	out, err := s.cfg.EC2.DescribeInstances(s.ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{instance}})
	if _, refused := refusal(err); refused {
		return ec2types.InstanceStateNameTerminated, nil
	}
	if err != nil {
		return "", err
	}
	return out.Reservations[0].Instances[0].State.Name, nil
}

func (s *Service) lost(instance string) (bool, error) {
	state, err := s.state(instance)
	return state == ec2types.InstanceStateNameTerminated || state == ec2types.InstanceStateNameShuttingDown, err
}

// drain forgets the machines of earlier attempts, and their layers, when they are gone.
func (s *Service) drain(j *job) error {
	if len(j.Old) == 0 {
		return nil
	}
	var left []node
	for _, n := range j.Old {
		if err := s.terminate(n.Instance); err != nil {
			return err
		}
		state, err := s.state(n.Instance)
		if err != nil {
			return err
		}
		if n.Instance != "" && state != ec2types.InstanceStateNameTerminated {
			left = append(left, n)
			continue
		}
		if err := os.RemoveAll(filepath.Join(s.cfg.Dir, n.Layer)); err != nil {
			return err
		}
	}
	if len(left) == len(j.Old) {
		return nil
	}
	return s.update(j, func(j *job) { j.Old = left })
}

// exit reads how the command on a machine has ended.
func (s *Service) exit(instance string) (code int32, exited bool) {
	data, err := s.cfg.EC2.Output(instance, exitFile, 0, 16)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 32)
	return int32(n), err == nil
}

// pumped is how much output is read at once.
const pumped = 256 << 10

// openLog makes the stream of a node.
func (s *Service) openLog(n *node) error {
	group := logGroup
	_, _ = s.cfg.Logs.CreateLogGroup(s.ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: &group}) // may be there
	_, err := s.cfg.Logs.CreateLogStream(s.ctx, &cloudwatchlogs.CreateLogStreamInput{LogGroupName: &group, LogStreamName: &n.Stream})
	if message, refused := refusal(err); refused && strings.HasPrefix(message, "ResourceAlreadyExists") {
		return nil
	}
	return err
}

// pump brings what a command has written into the log, when it has ended the last line
// too. It returns whether it moved on.
func (s *Service) pump(n *node, ended bool) (bool, error) {
	data, err := s.cfg.EC2.Output(n.Instance, outputFile, n.Offset, pumped)
	if err != nil || len(data) == 0 {
		return false, nil // not yet, or of a machine that is coming or going
	}
	end := bytes.LastIndexByte(data, '\n') + 1
	if end == 0 && (ended || len(data) == pumped) {
		end = len(data) // a line without an end
	}
	if end == 0 {
		return false, nil
	}
	var events []logtypes.InputLogEvent
	for line := range strings.Lines(string(data[:end])) {
		line = strings.TrimRight(line, "\r\n")
		events = append(events, logtypes.InputLogEvent{Timestamp: s.millis(), Message: aws.String(cmp.Or(line, " "))})
	}
	for batch := range slices.Chunk(events, 1000) {
		group := logGroup
		if _, err := s.cfg.Logs.PutLogEvents(s.ctx, &cloudwatchlogs.PutLogEventsInput{LogGroupName: &group, LogStreamName: &n.Stream, LogEvents: batch}); err != nil {
			return false, fmt.Errorf("log %s: %w", n.Stream, err)
		}
	}
	n.Offset += int64(end)
	return true, nil
}
