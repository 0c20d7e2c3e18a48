package awsb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/batch"
	"github.com/aws/aws-sdk-go-v2/service/batch/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
)

// logGroup is where AWS Batch puts what jobs write.
const logGroup = "/aws/batch/job"

var statCommand = command{
	about: "Show jobs of the cluster's queue, or those whose IDs are given, with the jobs or nodes that\nthey have: ID, ID:3 of an array, ID#1 of a job on several nodes.",
	options: []option{
		{short: "-s", long: "--status", value: "STATUS", about: "only jobs in these states, with commas between them, or ALL; by default those that are not over"},
		{short: "-e", long: "--expand-children", about: "show the jobs of arrays, and nodes, one by one"},
		{short: "-d", long: "--details", about: "say all that is known"},
	},
	operand: "[job_ids ...]", run: stat,
}

// active are the states of jobs that are not over.
var active = []types.JobStatus{types.JobStatusSubmitted, types.JobStatusPending, types.JobStatusRunnable, types.JobStatusStarting, types.JobStatusRunning}

// inOrder are all states of jobs, in the order in which jobs have them.
var inOrder = append(slices.Clone(active), types.JobStatusSucceeded, types.JobStatusFailed)

// states reads the option --status.
func states(text string) ([]types.JobStatus, error) {
	if text == "" {
		return active, nil
	}
	var out []types.JobStatus
	for name := range strings.SplitSeq(text, ",") {
		v := types.JobStatus(strings.ToUpper(strings.TrimSpace(name)))
		if v == "ALL" {
			return inOrder, nil
		}
		if !slices.Contains(inOrder, v) {
			return nil, fmt.Errorf("--status: %q is no state of a job", name)
		}
		out = append(out, v)
	}
	return out, nil
}

// stat shows jobs.
func stat(ctx context.Context, s *session, a arguments) error {
	ids := a.operands
	if len(ids) == 0 {
		wanted, err := states(a.text("--status"))
		if err != nil {
			return err
		}
		for _, status := range wanted {
			found, err := s.list(ctx, &batch.ListJobsInput{JobQueue: &s.cluster.queue, JobStatus: status})
			if err != nil {
				return err
			}
			ids = append(ids, found...)
		}
	}
	jobs, err := s.describe(ctx, ids)
	if err != nil {
		return err
	}
	for _, id := range a.operands {
		if !slices.ContainsFunc(jobs, func(j types.JobDetail) bool { return *j.JobId == id || aws.ToString(j.JobArn) == id }) {
			return fmt.Errorf("job %s does not exist", id)
		}
	}
	switch {
	case len(a.operands) > 0: // in their order, each before the jobs that it has
		position := func(j types.JobDetail) int {
			return slices.IndexFunc(a.operands, func(id string) bool { return *j.JobId == id || aws.ToString(j.JobArn) == id })
		}
		slices.SortStableFunc(jobs, func(x, y types.JobDetail) int { return cmp.Compare(position(x), position(y)) })
		jobs, err = s.expand(ctx, jobs, true)
	case a.given("--expand-children"):
		jobs, err = s.expand(ctx, jobs, false)
		fallthrough
	default:
		slices.SortStableFunc(jobs, func(x, y types.JobDetail) int {
			return cmp.Or(cmp.Compare(slices.Index(inOrder, x.Status), slices.Index(inOrder, y.Status)), cmp.Compare(aws.ToInt64(x.StartedAt), aws.ToInt64(y.StartedAt)), cmp.Compare(*x.JobId, *y.JobId))
		})
	}
	if err != nil {
		return err
	}
	if a.given("--details") || len(a.operands) == 1 && len(jobs) == 1 {
		if len(jobs) == 0 {
			fmt.Fprintln(s.stdout, "No items to show")
		}
		for i := range jobs {
			s.details(s.about(&jobs[i]))
		}
		return nil
	}
	var rows [][]string
	for i := range jobs {
		j := &jobs[i]
		rows = append(rows, []string{*j.JobId + mark(j), aws.ToString(j.JobName), string(j.Status), orDash(at(j.StartedAt)), orDash(at(j.StoppedAt)), orDash(exitCode(j))})
	}
	s.table([]string{"jobId", "jobName", "status", "startedAt", "stoppedAt", "exitCode"}, rows)
	return nil
}

// mark says that there is more than one job under an ID.
func mark(j *types.JobDetail) string {
	switch {
	case j.ArrayProperties != nil && j.ArrayProperties.Size != nil:
		return " [" + strconv.Itoa(int(*j.ArrayProperties.Size)) + "]"
	case j.NodeProperties != nil && aws.ToInt32(j.NodeProperties.NumNodes) > 0:
		return " *" + strconv.Itoa(int(*j.NodeProperties.NumNodes))
	}
	return ""
}

func exitCode(j *types.JobDetail) string {
	if j.Container != nil && j.Container.ExitCode != nil {
		return strconv.Itoa(int(*j.Container.ExitCode))
	}
	if n := len(j.Attempts); n > 0 && j.Container == nil && j.Attempts[n-1].Container != nil && j.Attempts[n-1].Container.ExitCode != nil {
		return strconv.Itoa(int(*j.Attempts[n-1].Container.ExitCode))
	}
	return ""
}

// about is all that is known of a job.
func (s *session) about(j *types.JobDetail) [][2]string {
	out := [][2]string{
		{"jobId", aws.ToString(j.JobId) + mark(j)}, {"jobName", aws.ToString(j.JobName)}, {"createdAt", at(j.CreatedAt)}, {"startedAt", at(j.StartedAt)}, {"stoppedAt", at(j.StoppedAt)},
		{"status", string(j.Status)}, {"statusReason", aws.ToString(j.StatusReason)}, {"jobDefinition", short(j.JobDefinition)}, {"jobQueue", short(j.JobQueue)},
	}
	nodes := "1"
	if j.NodeProperties != nil && aws.ToInt32(j.NodeProperties.NumNodes) > 0 { // and is none of the nodes
		nodes = strconv.Itoa(int(*j.NodeProperties.NumNodes))
	}
	c := j.Container
	if c == nil && j.NodeProperties != nil && len(j.NodeProperties.NodeRangeProperties) > 0 {
		if p := j.NodeProperties.NodeRangeProperties[0].Container; p != nil {
			c = &types.ContainerDetail{Command: p.Command, Vcpus: p.Vcpus, Memory: p.Memory, Environment: p.Environment}
		}
	}
	if c == nil {
		return out
	}
	log, files := "", ""
	if stream := aws.ToString(c.LogStreamName); stream != "" {
		log = "https://console." + s.console() + "/cloudwatch/home?region=" + s.cluster.region + "#logEventViewer:group=" + logGroup + ";stream=" + stream
	}
	for _, v := range c.Environment {
		if aws.ToString(v.Name) == filesVariable {
			files = aws.ToString(v.Value)
		}
	}
	return append(out,
		[2]string{"command", quoted(c.Command)}, [2]string{"exitCode", exitCode(j)}, [2]string{"reason", aws.ToString(c.Reason)},
		[2]string{"vcpus", number(c.Vcpus)}, [2]string{"memory[MB]", number(c.Memory)}, [2]string{"nodes", nodes}, [2]string{"logStream", aws.ToString(c.LogStreamName)},
		[2]string{"log", log}, [2]string{"s3FolderUrl", files},
	)
}

// console is the domain of AWS's console for the cluster's region.
func (s *session) console() string {
	switch {
	case strings.HasPrefix(s.cluster.region, "us-gov-"):
		return "amazonaws-us-gov.com"
	case strings.HasPrefix(s.cluster.region, "cn-"):
		return "amazonaws.cn"
	}
	return "aws.amazon.com"
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// quoted is a command as one would type it into a shell.
func quoted(words []string) string {
	out := slices.Clone(words)
	for i, w := range out {
		if !plainWord.MatchString(w) {
			out[i] = "'" + strings.ReplaceAll(w, "'", `'"'"'`) + "'"
		}
	}
	return strings.Join(out, " ")
}

func number(n *int32) string {
	if n == nil {
		return ""
	}
	return strconv.Itoa(int(*n))
}

// list returns the IDs of jobs, all pages.
func (s *session) list(ctx context.Context, in *batch.ListJobsInput) (ids []string, err error) {
	for {
		out, err := s.batch.ListJobs(ctx, in)
		if err != nil {
			return nil, err
		}
		for _, j := range out.JobSummaryList {
			ids = append(ids, aws.ToString(j.JobId))
		}
		if in.NextToken = out.NextToken; in.NextToken == nil {
			return ids, nil
		}
	}
}

// describe returns jobs, the oldest first.
func (s *session) describe(ctx context.Context, ids []string) (jobs []types.JobDetail, err error) {
	for some := range slices.Chunk(ids, 100) {
		out, err := s.batch.DescribeJobs(ctx, &batch.DescribeJobsInput{Jobs: some})
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, out.Jobs...)
	}
	slices.SortStableFunc(jobs, func(a, b types.JobDetail) int { return cmp.Compare(aws.ToInt64(a.CreatedAt), aws.ToInt64(b.CreatedAt)) })
	return jobs, nil
}

// expand puts the jobs of arrays, and nodes, in the place of what they belong to, or below it.
func (s *session) expand(ctx context.Context, jobs []types.JobDetail, below bool) (out []types.JobDetail, err error) {
	for _, j := range jobs {
		var ids []string
		switch {
		case j.ArrayProperties != nil && j.ArrayProperties.Size != nil:
			for i := range *j.ArrayProperties.Size {
				ids = append(ids, fmt.Sprintf("%s:%d", *j.JobId, i))
			}
		case j.NodeProperties != nil:
			for i := range aws.ToInt32(j.NodeProperties.NumNodes) {
				ids = append(ids, fmt.Sprintf("%s#%d", *j.JobId, i))
			}
		default:
			out = append(out, j)
			continue
		}
		if below {
			out = append(out, j)
		}
		children, err := s.describe(ctx, ids)
		if err != nil {
			return nil, err
		}
		out = append(out, children...)
	}
	return out, nil
}

var outCommand = command{
	about: "Show what a job has written.",
	options: []option{
		{short: "-hd", long: "--head", value: "LINES", about: "only the first lines"},
		{short: "-t", long: "--tail", value: "LINES", about: "only the last lines"},
		{short: "-s", long: "--stream", about: "go on until the job is over"},
		{short: "-sp", long: "--stream-period", value: "SECONDS", about: "how often to look while streaming; by default every 5 seconds"},
	},
	operand: "job_id", min: 1, run: output,
}

// output shows what a job has written.
func output(ctx context.Context, s *session, a arguments) error {
	if len(a.operands) != 1 {
		return errors.New("one job at a time")
	}
	head, err := a.number("--head", 1, 1<<30, 0)
	if err != nil {
		return err
	}
	tail, err := a.number("--tail", 1, 1<<30, 0)
	if err != nil {
		return err
	}
	period, err := a.number("--stream-period", 1, 3600, 5)
	if err != nil {
		return err
	}
	if head > 0 && (tail > 0 || a.given("--stream")) {
		return errors.New("give one of --head, --tail and --stream; --tail and --stream can go together")
	}
	var token *string
	for {
		j, err := s.job(ctx, a.operands[0])
		if err != nil {
			return err
		}
		over := j.Status == types.JobStatusSucceeded || j.Status == types.JobStatusFailed
		stream := ""
		if j.Container != nil {
			stream = aws.ToString(j.Container.LogStreamName)
		}
		if stream == "" && !a.given("--stream") {
			fmt.Fprintf(s.stdout, "No log stream found for job (%s) in the status (%s)%s\n", *j.JobId, j.Status, because(j.StatusReason))
			return nil
		}
		var lines []logtypes.OutputLogEvent
		if stream != "" {
			if lines, token, err = s.read(ctx, stream, token); err != nil {
				return err
			}
		}
		switch {
		case head > 0:
			lines = lines[:min(head, len(lines))]
		case tail > 0:
			lines = lines[max(0, len(lines)-tail):]
			tail = 0 // of what is there already
		}
		if len(lines) == 0 && !a.given("--stream") {
			fmt.Fprintln(s.stdout, "No events found.")
		}
		for _, e := range lines {
			fmt.Fprintf(s.stdout, "%s: %s\n", at(e.Timestamp), aws.ToString(e.Message))
		}
		if !a.given("--stream") || over {
			return nil
		}
		if err := s.wait(ctx, time.Duration(period)*time.Second); err != nil {
			return err
		}
	}
}

func because(reason *string) string {
	if aws.ToString(reason) == "" {
		return ""
	}
	return ": " + *reason
}

// job returns a job whose output can be shown: of a job on several nodes, its main one.
func (s *session) job(ctx context.Context, id string) (*types.JobDetail, error) {
	jobs, err := s.describe(ctx, []string{id})
	if err != nil {
		return nil, err
	}
	if len(jobs) == 0 {
		return nil, fmt.Errorf("job %s does not exist", id)
	}
	j := &jobs[0]
	switch {
	case j.ArrayProperties != nil && j.ArrayProperties.Size != nil:
		return nil, fmt.Errorf("No output available for the Job (%s). Please ask for its children: %s:0 to %s:%d", id, id, id, *j.ArrayProperties.Size-1)
	case j.NodeProperties != nil:
		return s.job(ctx, fmt.Sprintf("%s#%d", id, aws.ToInt32(j.NodeProperties.MainNode)))
	}
	return j, nil
}

// read returns what a log has behind a token, and the token behind that. A log that is not
// there yet is empty.
func (s *session) read(ctx context.Context, stream string, from *string) (lines []logtypes.OutputLogEvent, next *string, err error) {
	group := logGroup
	for next = from; ; {
		out, err := s.logs.GetLogEvents(ctx, &cloudwatchlogs.GetLogEventsInput{LogGroupName: &group, LogStreamName: &stream, StartFromHead: aws.Bool(true), NextToken: next})
		if missing := (*logtypes.ResourceNotFoundException)(nil); errors.As(err, &missing) {
			return nil, from, nil
		}
		if err != nil {
			return nil, from, err
		}
		lines = append(lines, out.Events...)
		if next != nil && aws.ToString(out.NextForwardToken) == *next { // CloudWatch's way to say that this is all
			return lines, next, nil
		}
		next = out.NextForwardToken
	}
}

var killCommand = command{
	about:   "End jobs, running or not.",
	options: []option{{short: "-r", long: "--reason", value: "REASON", about: "why; it becomes the reason of the jobs' status"}},
	operand: "job_ids ...", min: 1, run: kill,
}

// kill ends jobs. One that can't be ended does not save the others; one that is over, or
// does not exist, is no failure.
func kill(ctx context.Context, s *session, a arguments) error {
	reason := a.text("--reason")
	if reason == "" {
		reason = "Terminated by the user"
	}
	jobs, err := s.describe(ctx, a.operands)
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range a.operands {
		at := slices.IndexFunc(jobs, func(j types.JobDetail) bool { return *j.JobId == id || aws.ToString(j.JobArn) == id })
		if at < 0 {
			fmt.Fprintf(s.stdout, "Job (%s) not found.\n", id)
			continue
		}
		what := "cancellation"
		switch status := jobs[at].Status; status {
		case types.JobStatusSucceeded, types.JobStatusFailed:
			fmt.Fprintf(s.stdout, "Job (%s) is already in (%s) status.\n", id, status)
			continue
		case types.JobStatusStarting, types.JobStatusRunning:
			what = "termination"
		}
		if _, err := s.batch.TerminateJob(ctx, &batch.TerminateJobInput{JobId: &id, Reason: &reason}); err != nil {
			errs = append(errs, fmt.Errorf("job %s: %w", id, err))
			continue
		}
		fmt.Fprintf(s.stdout, "Your job %s request for job (%s) in status (%s) has been submitted.\n", what, id, jobs[at].Status)
	}
	return errors.Join(errs...)
}
