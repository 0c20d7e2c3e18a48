// Package awsb has the commands with which users of a cluster of AWS Batch submit jobs
// and look after them: awsbsub, awsbstat, awsbout, awsbkill, awsbqueues, awsbhosts, with
// the options that ParallelCluster's documentation gives to them.
//
// They know the cluster from a file in the user's home and from the outputs of its
// stack, and act as the head node's role, or as whoever calls them. What begins a job in
// its container is package stack/batchimage: the two agree on the variables PCLUSTER_…
// in submit.go. Start at [Run].
package awsb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/batch"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"pcluster/internal/awsclient"
)

// ConfigFile is the file in a user's home that says which cluster is theirs, and
// SystemConfig the one for users that have none.
const (
	ConfigFile   = ".parallelcluster/awsbatch-cli.cfg"
	SystemConfig = "/etc/parallelcluster/awsbatch-cli.cfg"
)

// ConfigOf returns the content of the file for a cluster.
func ConfigOf(cluster, region string) string {
	return "[main]\ncluster_name = " + cluster + "\nregion = " + region + "\n"
}

// Commands are the names that programs are called by.
var Commands = []string{"awsbsub", "awsbstat", "awsbout", "awsbkill", "awsbqueues", "awsbhosts"}

var commands = map[string]command{
	"awsbsub": submitCommand, "awsbstat": statCommand, "awsbout": outCommand, "awsbkill": killCommand, "awsbqueues": queuesCommand, "awsbhosts": hostsCommand,
}

// A command is one of them.
type command struct {
	about   string
	options []option
	operand string // how operands are called in the help
	min     int    // operands that there must be
	// rest says that whatever follows the first operand is an operand, too: the
	// arguments of a job's command may look like options.
	rest bool
	run  func(context.Context, *session, arguments) error
}

// clusterOption is one that all commands have.
var clusterOption = option{short: "-c", long: "--cluster", value: "CLUSTER", about: "name of the cluster; by default that of ~/" + ConfigFile}

// logOption is one that all commands take: there is nothing to log.
var logOption = option{short: "-ll", long: "--log-level", value: "LOG_LEVEL", hidden: true}

// A session is what a command works with.
type session struct {
	cluster clusterFacts

	batch interface {
		SubmitJob(context.Context, *batch.SubmitJobInput, ...func(*batch.Options)) (*batch.SubmitJobOutput, error)
		ListJobs(context.Context, *batch.ListJobsInput, ...func(*batch.Options)) (*batch.ListJobsOutput, error)
		DescribeJobs(context.Context, *batch.DescribeJobsInput, ...func(*batch.Options)) (*batch.DescribeJobsOutput, error)
		TerminateJob(context.Context, *batch.TerminateJobInput, ...func(*batch.Options)) (*batch.TerminateJobOutput, error)
		DescribeJobQueues(context.Context, *batch.DescribeJobQueuesInput, ...func(*batch.Options)) (*batch.DescribeJobQueuesOutput, error)
		DescribeComputeEnvironments(context.Context, *batch.DescribeComputeEnvironmentsInput, ...func(*batch.Options)) (*batch.DescribeComputeEnvironmentsOutput, error)
	}
	logs interface {
		GetLogEvents(context.Context, *cloudwatchlogs.GetLogEventsInput, ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.GetLogEventsOutput, error)
	}
	objects interface {
		PutObject(context.Context, *s3.PutObjectInput, ...func(*s3.Options)) (*s3.PutObjectOutput, error)
	}
	ecs interface {
		ListContainerInstances(context.Context, *ecs.ListContainerInstancesInput, ...func(*ecs.Options)) (*ecs.ListContainerInstancesOutput, error)
		DescribeContainerInstances(context.Context, *ecs.DescribeContainerInstancesInput, ...func(*ecs.Options)) (*ecs.DescribeContainerInstancesOutput, error)
	}
	ec2 interface {
		DescribeInstances(context.Context, *ec2.DescribeInstancesInput, ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error)
	}

	stdin   io.Reader
	stdout  io.Writer
	environ []string
	now     func() time.Time
	wait    func(context.Context, time.Duration) error
}

// clusterFacts are what commands need to know of the cluster.
type clusterFacts struct {
	name, region      string
	bucket, directory string
	queue, serial     string // ARNs
	multinode         string
	environment       string
}

// Run is the command line of one of the commands. It returns the exit status.
func Run(ctx context.Context, name string, args []string, stdout, stderr io.Writer) int {
	c, ok := commands[name]
	if !ok {
		fmt.Fprintf(stderr, "%s is none of %s\n", name, strings.Join(Commands, ", "))
		return 2
	}
	c.options = append([]option{clusterOption, logOption}, c.options...)
	a, err := c.parse(args)
	if errors.Is(err, errHelp) {
		fmt.Fprint(stdout, c.help(name))
		return 0
	}
	if err != nil {
		fmt.Fprintf(stderr, "usage: %s\n%s: error: %v\n", c.usage(name), name, err)
		return 2
	}
	s, err := open(ctx, a.text("--cluster"), stdout)
	if err == nil {
		err = c.run(ctx, s, a)
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", name, err)
		return 1
	}
	return 0
}

// open finds the cluster.
func open(ctx context.Context, cluster string, stdout io.Writer) (*session, error) {
	file, err := readConfig()
	if err != nil {
		return nil, err
	}
	if cluster == "" {
		cluster = file["cluster_name"]
	}
	if cluster == "" {
		return nil, fmt.Errorf("which cluster? Give --cluster, or write cluster_name into ~/%s", ConfigFile)
	}
	options := []func(*awsconfig.LoadOptions) error{awsconfig.WithAPIOptions(awsclient.Options)}
	if r := file["region"]; r != "" {
		options = append(options, awsconfig.WithRegion(r))
	}
	cfg, err := awsconfig.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, err
	}
	s := &session{
		batch: batch.NewFromConfig(cfg), logs: cloudwatchlogs.NewFromConfig(cfg), ecs: ecs.NewFromConfig(cfg), ec2: ec2.NewFromConfig(cfg), objects: s3.NewFromConfig(cfg),
		stdin: os.Stdin, stdout: stdout, environ: os.Environ(), now: time.Now, wait: sleep,
	}
	out, err := cloudformation.NewFromConfig(cfg).DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: &cluster})
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", cluster, err)
	}
	if s.cluster, err = factsOf(cluster, cfg.Region, out); err != nil {
		return nil, err
	}
	return s, nil
}

// factsOf reads what the stack of a cluster says of it.
func factsOf(cluster, region string, out *cloudformation.DescribeStacksOutput) (clusterFacts, error) {
	f := clusterFacts{name: cluster, region: region}
	if len(out.Stacks) == 0 {
		return f, fmt.Errorf("cluster %s does not exist", cluster)
	}
	said := map[string]string{}
	for _, p := range out.Stacks[0].Parameters {
		said[aws.ToString(p.ParameterKey)] = aws.ToString(p.ParameterValue)
	}
	for _, o := range out.Stacks[0].Outputs {
		said[aws.ToString(o.OutputKey)] = aws.ToString(o.OutputValue)
	}
	if s := said["Scheduler"]; s != "awsbatch" {
		return f, fmt.Errorf("cluster %s has the scheduler %s, and these commands are for awsbatch", cluster, s)
	}
	for _, v := range []struct {
		key  string
		into *string
	}{
		{"ResourcesS3Bucket", &f.bucket}, {"ArtifactS3RootDirectory", &f.directory}, {"BatchJobQueueArn", &f.queue}, {"BatchJobDefinitionArn", &f.serial},
		{"BatchJobDefinitionMnpArn", &f.multinode}, {"BatchComputeEnvironmentArn", &f.environment},
	} {
		if *v.into = said[v.key]; *v.into == "" {
			return f, fmt.Errorf("the stack of cluster %s says nothing of %s: is it complete?", cluster, v.key)
		}
	}
	return f, nil
}

// readConfig reads the user's file, or that of the node. Without either it is empty.
func readConfig() (map[string]string, error) {
	var files []string
	if home, err := os.UserHomeDir(); err == nil {
		files = append(files, filepath.Join(home, ConfigFile))
	}
	for _, file := range append(files, SystemConfig) {
		data, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return mainSection(string(data)), nil
	}
	return nil, nil
}

// mainSection returns the keys of the section main.
func mainSection(text string) map[string]string {
	out := map[string]string{}
	section := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = strings.Trim(line, "[] ")
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if ok && section == "main" && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, ";") {
			out[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	}
	return out
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// table prints rows under their titles, as ParallelCluster's commands do: columns are two
// characters wider than their titles at least, those of numbers alone stand to the right,
// and nothing ends in blanks.
func (s *session) table(titles []string, rows [][]string) {
	widths, numeric := make([]int, len(titles)), make([]bool, len(titles))
	for c, title := range titles {
		widths[c], numeric[c] = len(title)+2, len(rows) > 0
		for _, r := range rows {
			widths[c] = max(widths[c], utf8.RuneCountInString(r[c]))
			_, err := strconv.ParseFloat(r[c], 64)
			numeric[c] = numeric[c] && err == nil
		}
	}
	rules := make([]string, len(titles))
	for c, w := range widths {
		rules[c] = strings.Repeat("-", w)
	}
	for _, r := range append([][]string{titles, rules}, rows...) {
		var line strings.Builder
		for c, cell := range r {
			if width := widths[c]; numeric[c] {
				fmt.Fprintf(&line, "%*s  ", width, cell)
			} else {
				fmt.Fprintf(&line, "%-*s  ", width, cell)
			}
		}
		fmt.Fprintln(s.stdout, strings.TrimRight(line.String(), " "))
	}
}

// details prints what there is to say of one thing, a line each, and a rule below.
func (s *session) details(pairs [][2]string) {
	for _, p := range pairs {
		fmt.Fprintf(s.stdout, "%-25s: %s\n", p[0], orDash(p[1]))
	}
	fmt.Fprintln(s.stdout, strings.Repeat("-", 25))
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// at is a time of Batch's as people read it.
func at(millis *int64) string {
	if millis == nil || *millis == 0 {
		return ""
	}
	return time.UnixMilli(*millis).Format("2006-01-02T15:04:05-07:00")
}

func short(arn *string) string {
	s := aws.ToString(arn)
	return s[strings.LastIndexByte(s, '/')+1:]
}
