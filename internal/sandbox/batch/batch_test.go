package batch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/batch"
	"github.com/aws/aws-sdk-go-v2/service/batch/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	awsecs "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/google/go-cmp/cmp"

	"pcluster/internal/sandbox/ecr"
	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/wire"
)

// world is what surrounds a service: machines whose files the test writes, one image, and
// a log.
type world struct {
	t         *testing.T
	db        *store.DB
	dir       string
	now       time.Time
	instances map[string]ec2types.InstanceStateName
	launched  []*ec2.RunInstancesInput
	byToken   map[string]string
	files     map[string]string // instance and path
	refuse    error
	lines     []string
	noImage   bool
	// interfaces are those of every launch template.
	interfaces []ec2types.LaunchTemplateInstanceNetworkInterfaceSpecification
}

func newWorld(t *testing.T) *world {
	return &world{t: t, db: store.Memory(), dir: t.TempDir(), now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		instances: map[string]ec2types.InstanceStateName{}, byToken: map[string]string{}, files: map[string]string{}}
}

// file opens the tables that outlive a daemon.
func (w *world) file() *store.DB {
	db, err := store.Open(w.dir + ".db")
	if err != nil {
		w.t.Fatal(err)
	}
	return db
}

func (w *world) open() *Service {
	w.t.Helper()
	s, err := New(w.db, region.NewIdentity("us-east-1", "111122223333"), Config{
		Dir: w.dir, EC2: w, Images: w, Logs: w, Credentials: w, Now: func() time.Time { w.now = w.now.Add(time.Millisecond); return w.now },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) RunOver(_ context.Context, in *ec2.RunInstancesInput, over []string) (*ec2.RunInstancesOutput, error) {
	if w.refuse != nil {
		return nil, w.refuse
	}
	id, ok := w.byToken[*in.ClientToken]
	if !ok {
		id = fmt.Sprintf("i-%d", len(w.launched)+1)
		w.byToken[*in.ClientToken], w.instances[id] = id, ec2types.InstanceStateNameRunning
		w.launched = append(w.launched, in)
		w.files[id+" layer"] = over[0]
	}
	return &ec2.RunInstancesOutput{Instances: []ec2types.Instance{{InstanceId: &id, PrivateIpAddress: aws.String("10.0.0." + id[2:])}}}, nil
}

func (w *world) DescribeInstances(_ context.Context, in *ec2.DescribeInstancesInput) (*ec2.DescribeInstancesOutput, error) {
	return &ec2.DescribeInstancesOutput{Reservations: []ec2types.Reservation{{Instances: []ec2types.Instance{
		{InstanceId: &in.InstanceIds[0], State: &ec2types.InstanceState{Name: w.instances[in.InstanceIds[0]]}}}}}}, nil
}

func (w *world) DescribeLaunchTemplateVersions(context.Context, *ec2.DescribeLaunchTemplateVersionsInput) (*ec2.DescribeLaunchTemplateVersionsOutput, error) {
	return &ec2.DescribeLaunchTemplateVersionsOutput{LaunchTemplateVersions: []ec2types.LaunchTemplateVersion{
		{LaunchTemplateData: &ec2types.ResponseLaunchTemplateData{NetworkInterfaces: w.interfaces}}}}, nil
}

func (w *world) TerminateInstances(_ context.Context, in *ec2.TerminateInstancesInput) (*ec2.TerminateInstancesOutput, error) {
	for _, id := range in.InstanceIds {
		w.instances[id] = ec2types.InstanceStateNameTerminated
	}
	return &ec2.TerminateInstancesOutput{}, nil
}

func (w *world) DescribeInstanceTypes(_ context.Context, in *ec2.DescribeInstanceTypesInput) (*ec2.DescribeInstanceTypesOutput, error) {
	out := &ec2.DescribeInstanceTypesOutput{}
	for name, has := range map[string][2]int64{"c5.large": {2, 4096}, "c5.xlarge": {4, 8192}, "m5.large": {2, 8192}} {
		if len(in.Filters) > 0 && !slices.ContainsFunc(in.Filters[0].Values, func(p string) bool { ok, _ := filepath.Match(p, name); return ok }) {
			continue
		}
		out.InstanceTypes = append(out.InstanceTypes, ec2types.InstanceTypeInfo{InstanceType: ec2types.InstanceType(name),
			VCpuInfo: &ec2types.VCpuInfo{DefaultVCpus: aws.Int32(int32(has[0]))}, MemoryInfo: &ec2types.MemoryInfo{SizeInMiB: aws.Int64(has[1])},
			ProcessorInfo: &ec2types.ProcessorInfo{SupportedArchitectures: []ec2types.ArchitectureType{"x86_64"}}})
	}
	return out, nil
}

func (w *world) Output(id, path string, offset int64, limit int) ([]byte, error) {
	text, ok := w.files[id+" "+path]
	if !ok {
		return nil, fs.ErrNotExist
	}
	text = text[min(int(offset), len(text)):]
	return []byte(text[:min(limit, len(text))]), nil
}

func (w *world) ManagedImage(string, string) (string, bool) { return "ami-1", true }

func (w *world) Pull(name string) (ecr.Image, string, error) {
	if w.noImage {
		return ecr.Image{}, "", errors.New("image " + name + " does not exist")
	}
	files := filepath.Join(w.t.TempDir(), "image")
	if err := os.MkdirAll(filepath.Join(files, "opt"), 0o755); err != nil {
		w.t.Fatal(err)
	}
	return ecr.Image{Entrypoint: []string{"/usr/bin/env"}, Environment: map[string]string{"FROM_IMAGE": "it's"}}, files, nil
}

func (w *world) CreateLogGroup(context.Context, *cloudwatchlogs.CreateLogGroupInput) (*cloudwatchlogs.CreateLogGroupOutput, error) {
	return &cloudwatchlogs.CreateLogGroupOutput{}, nil
}

func (w *world) CreateLogStream(context.Context, *cloudwatchlogs.CreateLogStreamInput) (*cloudwatchlogs.CreateLogStreamOutput, error) {
	return &cloudwatchlogs.CreateLogStreamOutput{}, nil
}

func (w *world) PutLogEvents(_ context.Context, in *cloudwatchlogs.PutLogEventsInput) (*cloudwatchlogs.PutLogEventsOutput, error) {
	for _, e := range in.LogEvents {
		w.lines = append(w.lines, *e.Message)
	}
	return &cloudwatchlogs.PutLogEventsOutput{}, nil
}

func (w *world) RoleCredentials(context.Context, string, string) (string, string, string, time.Time, error) {
	return "AKID", "secret", "token", time.Time{}, nil
}

// begin and end make a machine's job say that it has begun, and that it has ended.
func (w *world) begin(id string)              { w.files[id+" "+startedFile] = "" }
func (w *world) end(id string, code int)      { w.files[id+" "+exitFile] = fmt.Sprint(code, "\n") }
func (w *world) write(id string, text string) { w.files[id+" "+outputFile] += text }

// rounds is more than any job here takes to come to rest.
const rounds = 12

func settle(s *Service) {
	for range rounds {
		s.round()
	}
}

// setUp makes a compute environment of at most 4 vCPUs, a queue and two definitions.
func setUp(t *testing.T, s *Service) {
	t.Helper()
	ctx := t.Context()
	_, err := s.CreateComputeEnvironment(ctx, &sdk.CreateComputeEnvironmentInput{ComputeEnvironmentName: aws.String("ce"), Type: types.CETypeManaged, ComputeResources: &types.ComputeResource{
		Type: types.CRTypeEc2, MinvCpus: aws.Int32(0), MaxvCpus: aws.Int32(4), InstanceTypes: []string{"optimal"}, Subnets: []string{"subnet-1"}, SecurityGroupIds: []string{"sg-1"},
		InstanceRole: aws.String("profile"), Tags: map[string]string{"mine": "yes"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateJobQueue(ctx, &sdk.CreateJobQueueInput{JobQueueName: aws.String("q"), Priority: aws.Int32(1), ComputeEnvironmentOrder: []types.ComputeEnvironmentOrder{{ComputeEnvironment: aws.String("ce"), Order: aws.Int32(1)}}}); err != nil {
		t.Fatal(err)
	}
	c := types.ContainerProperties{Image: aws.String("img"), Vcpus: aws.Int32(1), Memory: aws.Int32(512), JobRoleArn: aws.String("arn:aws:iam::111122223333:role/job"),
		Environment: []types.KeyValuePair{{Name: aws.String("A"), Value: aws.String("definition")}}}
	if _, err := s.RegisterJobDefinition(ctx, &sdk.RegisterJobDefinitionInput{JobDefinitionName: aws.String("serial"), Type: types.JobDefinitionTypeContainer, ContainerProperties: &c}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.RegisterJobDefinition(ctx, &sdk.RegisterJobDefinitionInput{JobDefinitionName: aws.String("mnp"), Type: types.JobDefinitionTypeMultinode, NodeProperties: &types.NodeProperties{
		MainNode: aws.Int32(0), NumNodes: aws.Int32(1), NodeRangeProperties: []types.NodeRangeProperty{{TargetNodes: aws.String("0:"), Container: &c}}}}); err != nil {
		t.Fatal(err)
	}
}

func submit(t *testing.T, s *Service, in sdk.SubmitJobInput) string {
	t.Helper()
	in.JobName, in.JobQueue = aws.String("job"), aws.String("q")
	if in.JobDefinition == nil {
		in.JobDefinition = aws.String("serial")
	}
	out, err := s.SubmitJob(t.Context(), &in)
	if err != nil {
		t.Fatal(err)
	}
	return *out.JobId
}

func describe(t *testing.T, s *Service, id string) types.JobDetail {
	t.Helper()
	out, err := s.DescribeJobs(t.Context(), &sdk.DescribeJobsInput{Jobs: []string{id}})
	if err != nil || len(out.Jobs) != 1 {
		t.Fatalf("job %s: %v, %v", id, out, err)
	}
	return out.Jobs[0]
}

func expect(t *testing.T, s *Service, id string, status types.JobStatus, reason string) {
	t.Helper()
	if d := describe(t, s, id); d.Status != status || !strings.Contains(aws.ToString(d.StatusReason), reason) {
		t.Errorf("job %s is %s (%s), want %s with %q", id, d.Status, aws.ToString(d.StatusReason), status, reason)
	}
}

func TestJobRunsOnAMachineOfItsOwnAndItsOutputIsLogged(t *testing.T) {
	w := newWorld(t)
	s := w.open()
	setUp(t, s)
	id := submit(t, s, sdk.SubmitJobInput{ContainerOverrides: &types.ContainerOverrides{Command: []string{"echo", "a b"}, Environment: []types.KeyValuePair{{Name: aws.String("B"), Value: aws.String("job")}}}})
	settle(s)
	expect(t, s, id, types.JobStatusStarting, "")
	if len(w.launched) != 1 || w.launched[0].InstanceType != "c5.large" || *w.launched[0].TagSpecifications[0].Tags[1].Value != "yes" {
		t.Fatalf("launched: %+v", w.launched)
	}
	ces, err := s.DescribeComputeEnvironments(t.Context(), &sdk.DescribeComputeEnvironmentsInput{})
	if err != nil || *ces.ComputeEnvironments[0].ComputeResources.DesiredvCpus != 1 {
		t.Errorf("vCPUs that are desired: %+v, %v", ces, err)
	}
	w.begin("i-1")
	w.write("i-1", "one\ntw")
	settle(s)
	expect(t, s, id, types.JobStatusRunning, "")
	hosts, err := ECS{s}.ListContainerInstances(t.Context(), &awsecs.ListContainerInstancesInput{Cluster: ces.ComputeEnvironments[0].EcsClusterArn})
	if err != nil || len(hosts.ContainerInstanceArns) != 1 {
		t.Errorf("machines of the cluster: %+v, %v", hosts, err)
	}
	w.write("i-1", "o\nlast")
	w.end("i-1", 0)
	settle(s)
	expect(t, s, id, types.JobStatusSucceeded, "Essential container")
	if diff := cmp.Diff([]string{"one", "two", "last"}, w.lines); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	d := describe(t, s, id)
	if aws.ToInt32(d.Container.ExitCode) != 0 || d.Container.ExitCode == nil || !strings.HasPrefix(*d.Container.LogStreamName, "serial/default/") || len(d.Attempts) != 1 {
		t.Errorf("container: %+v, attempts %d", d.Container, len(d.Attempts))
	}
	if w.instances["i-1"] != ec2types.InstanceStateNameTerminated {
		t.Error("the machine outlives its job")
	}
	if left, _ := os.ReadDir(w.dir); len(left) > 0 {
		t.Errorf("layers are left: %v", left)
	}
	if s.round() {
		t.Error("there is work left for a job that is over")
	}
}

// EC2 refuses a subnet and groups beside network interfaces, so they go into those.
func TestMachinesHaveThePublicAddressesOfTheirLaunchTemplate(t *testing.T) {
	for _, public := range []*bool{nil, aws.Bool(true), aws.Bool(false)} {
		w := newWorld(t)
		if public != nil {
			w.interfaces = []ec2types.LaunchTemplateInstanceNetworkInterfaceSpecification{{DeviceIndex: aws.Int32(0), Groups: []string{"sg-other"}, AssociatePublicIpAddress: public}}
		}
		s := w.open()
		setUp(t, s)
		if _, err := s.UpdateComputeEnvironment(t.Context(), &sdk.UpdateComputeEnvironmentInput{ComputeEnvironment: aws.String("ce"),
			ComputeResources: &types.ComputeResourceUpdate{LaunchTemplate: &types.LaunchTemplateSpecification{LaunchTemplateId: aws.String("lt-1")}}}); err != nil {
			t.Fatal(err)
		}
		submit(t, s, sdk.SubmitJobInput{})
		settle(s)
		if len(w.launched) != 1 {
			t.Fatalf("%d machines", len(w.launched))
		}
		in := w.launched[0]
		if public == nil {
			if aws.ToString(in.SubnetId) != "subnet-1" || !slices.Equal(in.SecurityGroupIds, []string{"sg-1"}) || in.NetworkInterfaces != nil {
				t.Errorf("without interfaces in the template: %v %v %v", aws.ToString(in.SubnetId), in.SecurityGroupIds, in.NetworkInterfaces)
			}
		} else if in.SubnetId != nil || in.SecurityGroupIds != nil || len(in.NetworkInterfaces) != 1 ||
			*in.NetworkInterfaces[0].SubnetId != "subnet-1" || !slices.Equal(in.NetworkInterfaces[0].Groups, []string{"sg-1"}) || *in.NetworkInterfaces[0].AssociatePublicIpAddress != *public {
			t.Errorf("with an interface in the template: %v %v %v", in.SubnetId, in.SecurityGroupIds, in.NetworkInterfaces)
		}
		s.Close()
	}
}

func TestScriptOfAJobHasItsEnvironmentAndCommand(t *testing.T) {
	w := newWorld(t)
	s := w.open()
	setUp(t, s)
	id := submit(t, s, sdk.SubmitJobInput{ContainerOverrides: &types.ContainerOverrides{Command: []string{"sh", "-c", `echo "$A $FROM_IMAGE $AWS_BATCH_JOB_ID $AWS_SESSION_TOKEN $AWS_BATCH_CE_NAME"`}}})
	settle(s)
	text, err := os.ReadFile(filepath.Join(w.files["i-1 layer"], toolsPath, "run"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "bash")
	cmd.Stdin = strings.NewReader(strings.Replace(string(text), startedFile, filepath.Join(t.TempDir(), "started"), 1))
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if want := "definition it's " + id + " token ce\n"; string(out) != want {
		t.Errorf("the job prints %q, want %q", out, want)
	}
}

func TestFailedJobIsTriedAgainAsOftenAsItMay(t *testing.T) {
	w := newWorld(t)
	s := w.open()
	setUp(t, s)
	id := submit(t, s, sdk.SubmitJobInput{RetryStrategy: &types.RetryStrategy{Attempts: aws.Int32(2)}})
	for _, machine := range []string{"i-1", "i-2"} {
		settle(s)
		w.begin(machine)
		w.end(machine, 3)
	}
	settle(s)
	expect(t, s, id, types.JobStatusFailed, "Essential container")
	if d := describe(t, s, id); len(d.Attempts) != 2 || *d.Container.ExitCode != 3 {
		t.Errorf("%d attempts, exit status %v", len(d.Attempts), d.Container.ExitCode)
	}
}

func TestJobsWaitForRoomAndForEachOther(t *testing.T) {
	w := newWorld(t)
	s := w.open()
	setUp(t, s)
	big := &types.ContainerOverrides{Vcpus: aws.Int32(3)}
	first := submit(t, s, sdk.SubmitJobInput{ContainerOverrides: big})
	settle(s)
	second := submit(t, s, sdk.SubmitJobInput{ContainerOverrides: big})
	after := submit(t, s, sdk.SubmitJobInput{DependsOn: []types.JobDependency{{JobId: &second}}})
	never := submit(t, s, sdk.SubmitJobInput{ContainerOverrides: &types.ContainerOverrides{Vcpus: aws.Int32(5)}})
	settle(s)
	expect(t, s, first, types.JobStatusStarting, "")
	expect(t, s, second, types.JobStatusRunnable, "")
	expect(t, s, after, types.JobStatusPending, "")
	expect(t, s, never, types.JobStatusRunnable, "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE")
	w.begin("i-1")
	w.end("i-1", 0)
	settle(s)
	expect(t, s, second, types.JobStatusStarting, "")
	w.begin("i-2")
	w.end("i-2", 1)
	settle(s)
	expect(t, s, after, types.JobStatusFailed, "Dependent Job failed")
}

func TestDisabledComputeEnvironmentStartsNothing(t *testing.T) {
	w := newWorld(t)
	s := w.open()
	setUp(t, s)
	state := func(v types.CEState) {
		if _, err := s.UpdateComputeEnvironment(t.Context(), &sdk.UpdateComputeEnvironmentInput{ComputeEnvironment: aws.String("ce"), State: v}); err != nil {
			t.Fatal(err)
		}
	}
	state(types.CEStateDisabled)
	id := submit(t, s, sdk.SubmitJobInput{})
	settle(s)
	expect(t, s, id, types.JobStatusRunnable, "disabled")
	state(types.CEStateEnabled)
	settle(s)
	expect(t, s, id, types.JobStatusStarting, "")
}

func TestArrayIsWhatItsJobsAre(t *testing.T) {
	w := newWorld(t)
	s := w.open()
	setUp(t, s)
	id := submit(t, s, sdk.SubmitJobInput{ArrayProperties: &types.ArrayProperties{Size: aws.Int32(3)}})
	settle(s)
	for i, machine := range []string{"i-1", "i-2", "i-3"} {
		w.begin(machine)
		w.end(machine, i/2)
	}
	settle(s)
	expect(t, s, id, types.JobStatusFailed, "Array Child Job failed")
	if diff := cmp.Diff(map[string]int32{"SUCCEEDED": 2, "FAILED": 1}, describe(t, s, id).ArrayProperties.StatusSummary); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}
	out, err := s.ListJobs(t.Context(), &sdk.ListJobsInput{ArrayJobId: &id})
	if err != nil || len(out.JobSummaryList) != 3 || *out.JobSummaryList[2].JobId != id+":2" {
		t.Errorf("jobs of the array: %+v, %v", out, err)
	}
}

func TestNodesOfAJobKnowEachOtherAndEndWithTheMainOne(t *testing.T) {
	w := newWorld(t)
	s := w.open()
	setUp(t, s)
	id := submit(t, s, sdk.SubmitJobInput{JobDefinition: aws.String("mnp"), NodeOverrides: &types.NodeOverrides{NumNodes: aws.Int32(2)}})
	settle(s)
	text, err := os.ReadFile(filepath.Join(w.files["i-2 layer"], toolsPath, "run"))
	if err != nil || !strings.Contains(string(text), "AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS='10.0.0.1'") || !strings.Contains(string(text), "AWS_BATCH_JOB_ID='"+id+"#1'") {
		t.Errorf("the second node is told (%v):\n%s", err, text)
	}
	w.begin("i-1")
	settle(s)
	expect(t, s, id, types.JobStatusStarting, "")
	w.begin("i-2")
	settle(s)
	expect(t, s, id, types.JobStatusRunning, "")
	expect(t, s, id+"#1", types.JobStatusRunning, "")
	w.end("i-1", 0)
	settle(s)
	expect(t, s, id, types.JobStatusSucceeded, "")
	if w.instances["i-2"] != ec2types.InstanceStateNameTerminated {
		t.Error("a node outlives the main node")
	}
	if c := describe(t, s, id+"#1").Container; c == nil || c.LogStreamName == nil {
		t.Errorf("the log of a node is not told when the job is over: %+v", c)
	}
}

func TestJobsEndWhenTheyAreToldTo(t *testing.T) {
	w := newWorld(t)
	s := w.open()
	setUp(t, s)
	running := submit(t, s, sdk.SubmitJobInput{})
	settle(s)
	w.begin("i-1")
	settle(s)
	if _, err := s.CancelJob(t.Context(), &sdk.CancelJobInput{JobId: &running, Reason: aws.String("cancelled")}); err != nil {
		t.Fatal(err)
	}
	settle(s)
	expect(t, s, running, types.JobStatusRunning, "") // it has begun
	if _, err := s.TerminateJob(t.Context(), &sdk.TerminateJobInput{JobId: &running, Reason: aws.String("enough")}); err != nil {
		t.Fatal(err)
	}
	settle(s)
	expect(t, s, running, types.JobStatusFailed, "enough")
	if w.instances["i-1"] != ec2types.InstanceStateNameTerminated {
		t.Error("the machine outlives its job")
	}
	waiting := submit(t, s, sdk.SubmitJobInput{ContainerOverrides: &types.ContainerOverrides{Vcpus: aws.Int32(9)}})
	settle(s)
	if _, err := s.CancelJob(t.Context(), &sdk.CancelJobInput{JobId: &waiting, Reason: aws.String("cancelled")}); err != nil {
		t.Fatal(err)
	}
	settle(s)
	expect(t, s, waiting, types.JobStatusFailed, "cancelled")
	slow := submit(t, s, sdk.SubmitJobInput{Timeout: &types.JobTimeout{AttemptDurationSeconds: aws.Int32(60)}})
	settle(s)
	w.begin("i-2")
	settle(s)
	w.now = w.now.Add(time.Minute)
	settle(s)
	expect(t, s, slow, types.JobStatusFailed, "timeout")
}

func TestLostMachineFailsTheJobWithTheReason(t *testing.T) {
	w := newWorld(t)
	s := w.open()
	setUp(t, s)
	id := submit(t, s, sdk.SubmitJobInput{})
	settle(s)
	w.instances["i-1"] = ec2types.InstanceStateNameTerminated
	settle(s)
	expect(t, s, id, types.JobStatusFailed, "Host EC2 (instance i-1) terminated.")
}

func TestJobWithoutImageFailsAndWithoutCapacityWaits(t *testing.T) {
	w := newWorld(t)
	s := w.open()
	setUp(t, s)
	w.noImage = true
	lost := submit(t, s, sdk.SubmitJobInput{})
	settle(s)
	expect(t, s, lost, types.JobStatusFailed, "CannotPullContainerError")
	w.noImage, w.refuse = false, wire.Errorf("InsufficientInstanceCapacity", "none left")
	waits := submit(t, s, sdk.SubmitJobInput{})
	settle(s)
	expect(t, s, waits, types.JobStatusRunnable, "InsufficientInstanceCapacity")
	w.refuse = nil
	w.now = w.now.Add(afterRefusal)
	settle(s)
	expect(t, s, waits, types.JobStatusStarting, "")
}

func TestNextDaemonGoesOnWithoutLaunchingTwice(t *testing.T) {
	w := newWorld(t)
	w.db = w.file()
	defer func() { _ = w.db.Close() }() // the second one
	s := w.open()
	setUp(t, s)
	id := submit(t, s, sdk.SubmitJobInput{})
	s.round() // runnable
	s.round() // placed
	j, _ := s.jobs.Get(id)
	if !j.Placed {
		t.Fatalf("the job is %s, not placed", j.Desc.Status)
	}
	e, _ := s.environments.Get("ce")
	if _, refused, err := s.launchNode(&j, &e, 0, ""); refused != "" || err != nil { // and then it dies
		t.Fatal(refused, err)
	}
	s.end()
	if err := w.db.Close(); err != nil {
		t.Fatal(err)
	}
	w.db = w.file()
	s = w.open()
	settle(s)
	expect(t, s, id, types.JobStatusStarting, "")
	if len(w.launched) != 1 {
		t.Errorf("%d machines are launched for one job", len(w.launched))
	}
}

func TestQueueThatIsDeletedEndsItsJobsFirst(t *testing.T) {
	w := newWorld(t)
	s := w.open()
	setUp(t, s)
	submit(t, s, sdk.SubmitJobInput{})
	settle(s)
	ctx := t.Context()
	if _, err := s.DeleteJobQueue(ctx, &sdk.DeleteJobQueueInput{JobQueue: aws.String("q")}); err == nil {
		t.Error("a queue that is enabled is deleted")
	}
	if _, err := s.UpdateJobQueue(ctx, &sdk.UpdateJobQueueInput{JobQueue: aws.String("q"), State: types.JQStateDisabled}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.DeleteJobQueue(ctx, &sdk.DeleteJobQueueInput{JobQueue: aws.String("q")}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.UpdateComputeEnvironment(ctx, &sdk.UpdateComputeEnvironmentInput{ComputeEnvironment: aws.String("ce"), State: types.CEStateDisabled}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.DeleteComputeEnvironment(ctx, &sdk.DeleteComputeEnvironmentInput{ComputeEnvironment: aws.String("ce")}); err == nil {
		t.Error("a compute environment that a queue has is deleted")
	}
	settle(s)
	out, err := s.DescribeJobQueues(ctx, &sdk.DescribeJobQueuesInput{})
	if err != nil || len(out.JobQueues) != 0 {
		t.Errorf("queues are left: %+v, %v", out, err)
	}
	if w.instances["i-1"] != ec2types.InstanceStateNameTerminated || s.jobs.Len() != 0 {
		t.Errorf("machine %s, %d jobs", w.instances["i-1"], s.jobs.Len())
	}
	if _, err := s.DeleteComputeEnvironment(ctx, &sdk.DeleteComputeEnvironmentInput{ComputeEnvironment: aws.String("ce")}); err != nil {
		t.Error(err)
	}
}

func TestUnknownInstanceTypeIsRefusedWithTheListOfKnownOnes(t *testing.T) {
	s := newWorld(t).open()
	_, err := s.CreateComputeEnvironment(t.Context(), &sdk.CreateComputeEnvironmentInput{ComputeEnvironmentName: aws.String("ce"), Type: types.CETypeManaged,
		ComputeResources: &types.ComputeResource{Type: types.CRTypeEc2, MaxvCpus: aws.Int32(0), InstanceTypes: []string{"p8.84xlarge"}}})
	if err == nil || !strings.Contains(err.Error(), "be one of [c5, c5.large, c5.xlarge, m5, m5.large, optimal]") {
		t.Errorf("the refusal: %v", err)
	}
}
