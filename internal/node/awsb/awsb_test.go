package awsb

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/batch"
	"github.com/aws/aws-sdk-go-v2/service/batch/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/go-cmp/cmp"
)

// cloud has one cluster and some jobs.
type cloud struct {
	submitted []*batch.SubmitJobInput
	objects   map[string]string
	jobs      []types.JobDetail
	log       []string
	ended     []string
	looks     int // after which jobs that run are over
}

func (c *cloud) SubmitJob(_ context.Context, in *batch.SubmitJobInput, _ ...func(*batch.Options)) (*batch.SubmitJobOutput, error) {
	c.submitted = append(c.submitted, in)
	return &batch.SubmitJobOutput{JobId: aws.String("id-1"), JobName: in.JobName}, nil
}

func (c *cloud) ListJobs(_ context.Context, in *batch.ListJobsInput, _ ...func(*batch.Options)) (*batch.ListJobsOutput, error) {
	var all []types.JobSummary
	for _, j := range c.jobs {
		if j.Status == in.JobStatus && !strings.ContainsAny(*j.JobId, ":#") {
			all = append(all, types.JobSummary{JobId: j.JobId})
		}
	}
	switch {
	case in.NextToken != nil:
		return &batch.ListJobsOutput{JobSummaryList: all[1:]}, nil
	case len(all) > 1:
		return &batch.ListJobsOutput{JobSummaryList: all[:1], NextToken: aws.String("more")}, nil
	}
	return &batch.ListJobsOutput{JobSummaryList: all}, nil
}

func (c *cloud) DescribeJobs(_ context.Context, in *batch.DescribeJobsInput, _ ...func(*batch.Options)) (*batch.DescribeJobsOutput, error) {
	out := &batch.DescribeJobsOutput{}
	c.looks--
	for _, j := range c.jobs {
		if slices.Contains(in.Jobs, *j.JobId) {
			if j.Status == types.JobStatusRunning && c.looks == 0 {
				j.Status = types.JobStatusSucceeded
			}
			out.Jobs = append(out.Jobs, j)
		}
	}
	return out, nil
}

func (c *cloud) TerminateJob(_ context.Context, in *batch.TerminateJobInput, _ ...func(*batch.Options)) (*batch.TerminateJobOutput, error) {
	if *in.JobId == "bad" {
		return nil, fmt.Errorf("no such job")
	}
	c.ended = append(c.ended, *in.JobId+" "+*in.Reason)
	return &batch.TerminateJobOutput{}, nil
}

func (c *cloud) DescribeJobQueues(_ context.Context, in *batch.DescribeJobQueuesInput, _ ...func(*batch.Options)) (*batch.DescribeJobQueuesOutput, error) {
	return &batch.DescribeJobQueuesOutput{JobQueues: []types.JobQueueDetail{{JobQueueArn: &in.JobQueues[0], JobQueueName: aws.String("q"), Status: types.JQStatusValid, State: types.JQStateEnabled}}}, nil
}

func (c *cloud) DescribeComputeEnvironments(context.Context, *batch.DescribeComputeEnvironmentsInput, ...func(*batch.Options)) (*batch.DescribeComputeEnvironmentsOutput, error) {
	return &batch.DescribeComputeEnvironmentsOutput{ComputeEnvironments: []types.ComputeEnvironmentDetail{{EcsClusterArn: aws.String("ecs")}}}, nil
}

func (c *cloud) ListContainerInstances(_ context.Context, in *ecs.ListContainerInstancesInput, _ ...func(*ecs.Options)) (*ecs.ListContainerInstancesOutput, error) {
	return &ecs.ListContainerInstancesOutput{ContainerInstanceArns: []string{*in.Cluster + "/1"}}, nil
}

func (c *cloud) DescribeContainerInstances(context.Context, *ecs.DescribeContainerInstancesInput, ...func(*ecs.Options)) (*ecs.DescribeContainerInstancesOutput, error) {
	return &ecs.DescribeContainerInstancesOutput{ContainerInstances: []ecstypes.ContainerInstance{{Ec2InstanceId: aws.String("i-1"), RunningTasksCount: 2,
		RemainingResources: []ecstypes.Resource{{Name: aws.String("CPU"), IntegerValue: 1024}}}}}, nil
}

func (c *cloud) DescribeInstances(context.Context, *ec2.DescribeInstancesInput, ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error) {
	return &ec2.DescribeInstancesOutput{Reservations: []ec2types.Reservation{{Instances: []ec2types.Instance{{InstanceId: aws.String("i-1"), InstanceType: "c5.large", PrivateIpAddress: aws.String("10.0.0.9")}}}}}, nil
}

func (c *cloud) GetLogEvents(_ context.Context, in *cloudwatchlogs.GetLogEventsInput, _ ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.GetLogEventsOutput, error) {
	if *in.LogStreamName == "empty" {
		return &cloudwatchlogs.GetLogEventsOutput{NextForwardToken: aws.String("0")}, nil
	}
	from := 0
	_, _ = fmt.Sscan(aws.ToString(in.NextToken), &from)
	to := min(from+2, len(c.log))
	out := &cloudwatchlogs.GetLogEventsOutput{NextForwardToken: aws.String(fmt.Sprint(to))}
	for _, line := range c.log[from:to] {
		out.Events = append(out.Events, logtypes.OutputLogEvent{Timestamp: aws.Int64(1e12), Message: &line})
	}
	return out, nil
}

func (c *cloud) PutObject(_ context.Context, in *s3.PutObjectInput, _ ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	data, err := io.ReadAll(in.Body)
	c.objects[*in.Key] = string(data)
	return &s3.PutObjectOutput{}, err
}

// call runs a command against a cloud and returns what it prints.
func call(t *testing.T, c *cloud, line ...string) (string, error) {
	t.Helper()
	if c.objects == nil {
		c.objects = map[string]string{}
	}
	cmd := commands[line[0]]
	cmd.options = append([]option{clusterOption}, cmd.options...)
	a, err := cmd.parse(line[1:])
	if err != nil {
		return "", err
	}
	var out strings.Builder
	s := &session{batch: c, logs: c, objects: c, ecs: c, ec2: c, stdin: strings.NewReader("echo from stdin\n"), stdout: &out,
		cluster: clusterFacts{name: "demo", region: "r", bucket: "bucket", directory: "dir", queue: "q-arn", serial: "serial", multinode: "mnp", environment: "ce"},
		environ: []string{"HOME=/h", "MINE=1", "OTHER=2", "AWS_REGION=x"}, now: func() time.Time { return time.Unix(1e9, 0) },
		wait: func(context.Context, time.Duration) error { return nil },
	}
	err = cmd.run(t.Context(), s, a)
	return out.String(), err
}

func environment(o *types.ContainerOverrides) map[string]string {
	out := map[string]string{}
	for _, v := range o.Environment {
		out[*v.Name] = *v.Value
	}
	return out
}

func TestCommandIsSubmittedWithWhatItsOptionsSay(t *testing.T) {
	t.Setenv("HOME", "/home/me")
	c := &cloud{}
	out, err := call(t, c, "awsbsub", "--vcpus=2", "-m", "700", "-e", "MINE", "-r", "3", "-t", "90", "-d", "jobId=a,type=N_TO_N;jobId=b", "/bin/my prog", "-n", "--nodes", "1")
	if err != nil || out != "Job id-1 (my_prog) has been submitted.\n" {
		t.Fatalf("%q, %v", out, err)
	}
	in := c.submitted[0]
	if diff := cmp.Diff([]string{"/bin/my prog", "-n", "--nodes", "1"}, in.ContainerOverrides.Command); diff != "" {
		t.Errorf("command (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"MINE": "1", "PCLUSTER_PARENT_WORKING_DIR": "/home/me"}, environment(in.ContainerOverrides)); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	if *in.ContainerOverrides.Vcpus != 2 || *in.ContainerOverrides.Memory != 700 || *in.RetryStrategy.Attempts != 3 || *in.Timeout.AttemptDurationSeconds != 90 ||
		len(in.DependsOn) != 2 || in.DependsOn[0].Type != "N_TO_N" || *in.JobDefinition != "serial" || *in.JobQueue != "q-arn" {
		t.Errorf("%+v", in)
	}
}

func TestFilesOfAJobAreSentAlong(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"job.sh": "the script", "in.txt": "the input"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := &cloud{}
	if _, err := call(t, c, "awsbsub", "-cf", "-w", "/data", "-if", filepath.Join(dir, "in.txt"), "-n", "2", filepath.Join(dir, "job.sh"), "x"); err != nil {
		t.Fatal(err)
	}
	in := c.submitted[0]
	if *in.JobDefinition != "mnp" || *in.NodeOverrides.NumNodes != 2 || in.ContainerOverrides != nil {
		t.Errorf("a job on two nodes: %+v", in)
	}
	o := in.NodeOverrides.NodePropertyOverrides[0].ContainerOverrides
	if diff := cmp.Diff([]string{"/tmp/batch/job.sh", "x"}, o.Command); diff != "" {
		t.Errorf("command (-want +got):\n%s", diff)
	}
	url := environment(o)["PCLUSTER_JOB_S3_URL"]
	folder, ok := strings.CutPrefix(url, "s3://bucket/")
	if !ok || !strings.HasPrefix(folder, "dir/batch/job_sh-20010909014640-") || environment(o)["PCLUSTER_WORKING_DIR"] != "/data" {
		t.Errorf("environment: %v", environment(o))
	}
	if diff := cmp.Diff(map[string]string{folder + "/job.sh": "the script", folder + "/input/in.txt": "the input"}, c.objects); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	if _, err := call(t, c, "awsbsub", "-e", "all"); err != nil {
		t.Fatal(err)
	}
	o = c.submitted[1].ContainerOverrides
	if v := environment(o); o.Command[0] != "/tmp/batch/job.sh" || v["MINE"] != "1" || v["OTHER"] != "2" || v["HOME"] != "" || v["AWS_REGION"] != "" {
		t.Errorf("a script of standard input with all variables: %v %v", o.Command, v)
	}
}

func TestWrongOptionsAreRefused(t *testing.T) {
	for line, want := range map[string]string{
		"awsbsub -n 2 -a 3 x":         "either several nodes or is an array",
		"awsbsub -a 1 x":              "no number from 2 to 10000",
		"awsbsub -t 10 x":             "no number from 60",
		"awsbsub -w a -pw b x":        "give one of",
		"awsbsub -d job=a x":          "neither jobId=ID nor type=TYPE",
		"awsbsub -d jobId=a,type=B x": "none of N_TO_N and SEQUENTIAL",
		"awsbsub -e AWS_REGION x":     "the cluster's own",
		"awsbsub --jo":                "expected one argument",
		"awsbsub --work x":            "standard input", // --work is unique, and takes the x
		"awsbsub -x":                  "unrecognized arguments: -x",
		"awsbstat --details=1":        "takes no value",
		"awsbstat -s LATE":            "no state of a job",
		"awsbout":                     "required: job_id",
		"awsbout -hd 1 -t 1 j":        "give one of",
		"awsbkill":                    "required: job_ids",
	} {
		t.Run(line, func(t *testing.T) {
			_, err := call(t, &cloud{}, strings.Fields(line)...)
			if strings.HasPrefix(want, "standard") {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		})
	}
}

func job(id string, status types.JobStatus) types.JobDetail {
	return types.JobDetail{JobId: &id, JobName: aws.String("name"), Status: status, CreatedAt: aws.Int64(1), Container: &types.ContainerDetail{}}
}

func TestJobsAreShown(t *testing.T) {
	t.Setenv("TZ", "UTC")
	time.Local = time.UTC
	array, done := job("arr", types.JobStatusPending), job("done", types.JobStatusFailed)
	array.ArrayProperties = &types.ArrayPropertiesDetail{Size: aws.Int32(2), StatusSummary: map[string]int32{"RUNNING": 2}}
	done.Container.ExitCode, done.StartedAt, done.StatusReason = aws.Int32(3), aws.Int64(1e12), aws.String("it ended")
	done.Container.Command, done.Container.LogStreamName = []string{"echo", "a b"}, aws.String("s/1")
	done.Container.Environment = []types.KeyValuePair{{Name: aws.String("PCLUSTER_JOB_S3_URL"), Value: aws.String("s3://bucket/x")}}
	c := &cloud{jobs: []types.JobDetail{array, job("arr:0", types.JobStatusRunning), job("arr:1", types.JobStatusRunning), job("run", types.JobStatusRunning), job("run2", types.JobStatusRunning), done}}
	for _, tt := range []struct{ line, want string }{
		{"awsbstat", "jobId    jobName    status    startedAt    stoppedAt    exitCode\n-------  ---------  --------  -----------  -----------  ----------\n" +
			"arr [2]  name       PENDING   -            -            -\nrun      name       RUNNING   -            -            -\nrun2     name       RUNNING   -            -            -\n"},
		{"awsbstat -e", "jobId    jobName    status    startedAt    stoppedAt    exitCode\n-------  ---------  --------  -----------  -----------  ----------\n" +
			"arr:0    name       RUNNING   -            -            -\narr:1    name       RUNNING   -            -            -\n" +
			"run      name       RUNNING   -            -            -\nrun2     name       RUNNING   -            -            -\n"},
		{"awsbstat run2 arr", "jobId    jobName    status    startedAt    stoppedAt    exitCode\n-------  ---------  --------  -----------  -----------  ----------\n" +
			"run2     name       RUNNING   -            -            -\narr [2]  name       PENDING   -            -            -\n" +
			"arr:0    name       RUNNING   -            -            -\narr:1    name       RUNNING   -            -            -\n"},
		{"awsbstat -s failed", "jobId    jobName    status    startedAt                  stoppedAt      exitCode\n-------  ---------  --------  -------------------------  -----------  ----------\n" +
			"done     name       FAILED    2001-09-09T01:46:40+00:00  -                     3\n"},
		{"awsbstat -s starting", "jobId    jobName    status    startedAt    stoppedAt    exitCode\n-------  ---------  --------  -----------  -----------  ----------\n"},
		{"awsbstat -s starting -d", "No items to show\n"},
	} {
		got, err := call(t, c, strings.Fields(tt.line)...)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.line, diff)
		}
	}
	got, err := call(t, c, "awsbstat", "done")
	if err != nil || !strings.Contains(got, "statusReason             : it ended\n") || !strings.Contains(got, "stoppedAt                : -\n") ||
		!strings.Contains(got, "command                  : echo 'a b'\n") || !strings.Contains(got, "s3FolderUrl              : s3://bucket/x\n-------------------------\n") ||
		!strings.Contains(got, "log                      : https://console.aws.amazon.com/cloudwatch/home?region=r#logEventViewer:group=/aws/batch/job;stream=s/1\n") {
		t.Errorf("one job: %v\n%s", err, got)
	}
	if _, err := call(t, c, "awsbstat", "none"); err == nil || !strings.Contains(err.Error(), "job none does not exist") {
		t.Errorf("a job that is not there: %v", err)
	}
}

func TestOutputIsShownWholeInPartAndAsItComes(t *testing.T) {
	time.Local = time.UTC
	j := job("j", types.JobStatusRunning)
	j.Container.LogStreamName = aws.String("stream")
	waiting, array := job("waiting", types.JobStatusRunnable), job("arr", types.JobStatusPending)
	array.ArrayProperties = &types.ArrayPropertiesDetail{Size: aws.Int32(2)}
	silent := job("silent", types.JobStatusRunning)
	silent.Container.LogStreamName = aws.String("empty")
	c := &cloud{jobs: []types.JobDetail{j, waiting, array, silent}, log: []string{"a", "b", "c", "d", "e"}}
	for line, want := range map[string]string{"awsbout j": "abcde", "awsbout -hd 2 j": "ab", "awsbout -t 1 j": "e", "awsbout -s -sp 1 j": "abcde", "awsbout -s -t 2 j": "de",
		"awsbout waiting": "No log stream found for job (waiting) in the status (RUNNABLE)", "awsbout silent": "No events found."} {
		c.looks = 3
		got, err := call(t, c, strings.Fields(line)...)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.ReplaceAll(strings.ReplaceAll(got, "2001-09-09T01:46:40+00:00: ", ""), "\n", ""); got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
	for id, want := range map[string]string{"arr": "ask for its children: arr:0 to arr:1", "none": "does not exist"} {
		if _, err := call(t, c, "awsbout", id); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("awsbout %s: %v", id, err)
		}
	}
}

func TestJobsThatCanEndDo(t *testing.T) {
	c := &cloud{jobs: []types.JobDetail{job("a", types.JobStatusRunning), job("bad", types.JobStatusRunning), job("b", types.JobStatusRunnable), job("over", types.JobStatusFailed)}}
	said, err := call(t, c, "awsbkill", "-r", "enough", "a", "bad", "over", "none", "b")
	if err == nil || !strings.Contains(err.Error(), "job bad") {
		t.Errorf("%v", err)
	}
	if diff := cmp.Diff([]string{"a enough", "b enough"}, c.ended); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff("Your job termination request for job (a) in status (RUNNING) has been submitted.\nJob (over) is already in (FAILED) status.\nJob (none) not found.\n"+
		"Your job cancellation request for job (b) in status (RUNNABLE) has been submitted.\n", said); diff != "" {
		t.Errorf("said (-want +got):\n%s", diff)
	}
}

func TestPlacesOfJobsAreShown(t *testing.T) {
	for line, want := range map[string]string{
		"awsbqueues":      "jobQueueName    status\n--------------  --------\nq               VALID\n",
		"awsbhosts":       "ec2InstanceId    instanceType    privateIpAddress    publicIpAddress      runningJobs\n---------------  --------------  ------------------  -----------------  -------------\ni-1              c5.large        10.0.0.9            -                              2\n",
		"awsbqueues -d q": "status                   : VALID\n",
		"awsbqueues q":    "jobQueueName             : q\n",
		"awsbhosts -d":    "availableCPUs            : 1.0\n",
		"awsbhosts i-1":   "ec2InstanceId            : i-1\n",
	} {
		got, err := call(t, &cloud{}, strings.Fields(line)...)
		if err != nil || !strings.Contains(got, want) {
			t.Errorf("%s: %v\n%s", line, err, got)
		}
	}
	if _, err := call(t, &cloud{}, "awsbhosts", "i-2"); err == nil {
		t.Error("an instance of somebody else is shown")
	}
}

func TestClusterIsKnownFromItsFileAndItsStack(t *testing.T) {
	got := mainSection("# mine\n[other]\nregion = no\n" + ConfigOf("demo", "us-east-1"))
	if diff := cmp.Diff(map[string]string{"cluster_name": "demo", "region": "us-east-1"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	out := &cloudformation.DescribeStacksOutput{Stacks: []cfntypes.Stack{{Parameters: []cfntypes.Parameter{{ParameterKey: aws.String("Scheduler"), ParameterValue: aws.String("slurm")}}}}}
	if _, err := factsOf("demo", "r", out); err == nil || !strings.Contains(err.Error(), "has the scheduler slurm") {
		t.Errorf("a cluster of Slurm: %v", err)
	}
	out.Stacks[0].Parameters[0].ParameterValue = aws.String("awsbatch")
	if _, err := factsOf("demo", "r", out); err == nil || !strings.Contains(err.Error(), "is it complete?") {
		t.Errorf("a stack without outputs: %v", err)
	}
}

func TestEveryCommandHasHelp(t *testing.T) {
	for _, name := range Commands {
		var out, errs strings.Builder
		if status := Run(t.Context(), name, []string{"-h"}, &out, &errs); status != 0 || !strings.HasPrefix(out.String(), "usage: "+name+" [-h] [-c CLUSTER]") {
			t.Errorf("%s -h: status %d\n%s%s", name, status, &out, &errs)
		}
		if status := Run(t.Context(), name, []string{"--no-such"}, &out, &errs); status != 2 || !strings.Contains(errs.String(), name+": error: unrecognized arguments") {
			t.Errorf("%s --no-such: status %d\n%s", name, status, &errs)
		}
	}
}
