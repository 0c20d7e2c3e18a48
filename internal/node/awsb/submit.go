package awsb

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/batch"
	"github.com/aws/aws-sdk-go-v2/service/batch/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

var submitCommand = command{
	about: "Submit a job to the cluster's queue. The command must be there where the job runs, or be a file\nthat is sent along (-cf), or - for what standard input says.",
	options: []option{
		{short: "-jn", long: "--job-name", value: "JOB_NAME", about: "name of the job: letters, digits, hyphens, underscores, at most 128"},
		{short: "-cf", long: "--command-file", about: "the command is a file, which is sent to where the job runs"},
		{short: "-w", long: "--working-dir", value: "WORKING_DIR", about: "folder in which the job runs"},
		{short: "-pw", long: "--parent-working-dir", value: "DIR", about: "folder that gets job-<ID>, in which the job runs; by default your home"},
		{short: "-if", long: "--input-file", value: "FILE", many: true, about: "file that is sent into the folder of the job; may be given again"},
		{short: "-p", long: "--vcpus", value: "VCPUS", about: "vCPUs of the job, or of each node; by default 1"},
		{short: "-m", long: "--memory", value: "MEMORY", about: "memory of the job, or of each node, in MiB; by default 128"},
		{short: "-e", long: "--env", value: "ENV", about: "names of variables that the job gets, with commas between them, or all"},
		{short: "-eb", long: "--env-blacklist", alias: "--env-denylist", value: "NAMES", about: "names of variables that it does not get"},
		{short: "-r", long: "--retry-attempts", value: "ATTEMPTS", about: "how often the job is tried, 1 to 10; by default 1"},
		{short: "-t", long: "--timeout", value: "SECONDS", about: "how long an attempt may take, at least 60"},
		{short: "-n", long: "--nodes", value: "NODES", about: "nodes of the job; with more than one it is a job on several nodes"},
		{short: "-a", long: "--array-size", value: "SIZE", about: "jobs of an array, 2 to 10000"},
		{short: "-aws", long: "--awscli", hidden: true}, // the image of jobs has the AWS CLI
		{short: "-d", long: "--depends-on", value: "JOBS", about: "what the job waits for: jobId=ID,type=TYPE;…"},
	},
	operand: "[command] [arguments ...]", rest: true, run: submit,
}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9_-]+`)

// filesVariable tells a job where its files are.
const filesVariable = "PCLUSTER_JOB_S3_URL"

// notExported are the variables that no job gets unless they are named.
const notExported = "HOME,PWD,USER,PATH,LD_LIBRARY_PATH,TERM,TERMCAP"

// submit sends what the job needs along, and submits it.
func submit(ctx context.Context, s *session, a arguments) error {
	if len(a.operands) == 0 {
		a.operands = []string{"-"}
	}
	if a.given("--nodes") && a.given("--array-size") {
		return errors.New("a job has either several nodes or is an array: give one of --nodes and --array-size")
	}
	if a.given("--working-dir") && a.given("--parent-working-dir") {
		return errors.New("give one of --working-dir and --parent-working-dir")
	}
	name := a.text("--job-name")
	if name == "" {
		name = strings.Trim(notInNames.ReplaceAllString(filepath.Base(a.operands[0]), "_"), "_")
		switch {
		case a.operands[0] == "-":
			name = "STDIN"
		case name == "":
			name = "job"
		}
	}
	in := &batch.SubmitJobInput{JobName: &name, JobQueue: &s.cluster.queue, JobDefinition: &s.cluster.serial}
	o, err := s.overrides(ctx, name, a)
	if err != nil {
		return err
	}
	if err := s.shape(in, o, a); err != nil {
		return err
	}
	out, err := s.batch.SubmitJob(ctx, in)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.stdout, "Job %s (%s) has been submitted.\n", aws.ToString(out.JobId), aws.ToString(out.JobName))
	return nil
}

// shape gives the job its nodes or its size, and when it may run.
func (s *session) shape(in *batch.SubmitJobInput, o *types.ContainerOverrides, a arguments) error {
	in.ContainerOverrides = o
	if nodes, err := a.number("--nodes", 1, 1000, 0); err != nil {
		return err
	} else if nodes > 1 {
		in.JobDefinition, in.ContainerOverrides = &s.cluster.multinode, nil
		in.NodeOverrides = &types.NodeOverrides{NumNodes: aws.Int32(int32(nodes)),
			NodePropertyOverrides: []types.NodePropertyOverride{{TargetNodes: aws.String("0:"), ContainerOverrides: o}}}
	}
	if size, err := a.number("--array-size", 2, 10000, 0); err != nil {
		return err
	} else if size > 0 {
		in.ArrayProperties = &types.ArrayProperties{Size: aws.Int32(int32(size))}
	}
	attempts, err := a.number("--retry-attempts", 1, 10, 1)
	if err != nil {
		return err
	}
	in.RetryStrategy = &types.RetryStrategy{Attempts: aws.Int32(int32(attempts))}
	if seconds, err := a.number("--timeout", 60, 1<<31-1, 0); err != nil {
		return err
	} else if seconds > 0 {
		in.Timeout = &types.JobTimeout{AttemptDurationSeconds: aws.Int32(int32(seconds))}
	}
	in.DependsOn, err = dependencies(a.text("--depends-on"))
	return err
}

// dependencies reads jobId=…,type=…;jobId=…
func dependencies(text string) (out []types.JobDependency, err error) {
	for part := range strings.SplitSeq(text, ";") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		var d types.JobDependency
		for pair := range strings.SplitSeq(part, ",") {
			switch k, v, _ := strings.Cut(strings.TrimSpace(pair), "="); k {
			case "jobId":
				d.JobId = &v
			case "type":
				d.Type = types.ArrayJobDependency(v)
				if !slices.Contains(d.Type.Values(), d.Type) {
					return nil, fmt.Errorf("--depends-on: %q is none of N_TO_N and SEQUENTIAL", v)
				}
			default:
				return nil, fmt.Errorf("--depends-on: %q is neither jobId=ID nor type=TYPE", pair)
			}
		}
		out = append(out, d)
	}
	if len(out) > 20 {
		return nil, errors.New("--depends-on: a job can depend on 20 others at most")
	}
	return out, nil
}

// overrides say what the job runs, and send its files along.
func (s *session) overrides(ctx context.Context, name string, a arguments) (*types.ContainerOverrides, error) {
	vcpus, err := a.number("--vcpus", 1, 1<<20, 1)
	if err != nil {
		return nil, err
	}
	memory, err := a.number("--memory", 4, 1<<30, 128)
	if err != nil {
		return nil, err
	}
	variables, err := s.exported(a)
	if err != nil {
		return nil, err
	}
	for _, d := range []struct{ option, variable string }{{"--working-dir", "PCLUSTER_WORKING_DIR"}, {"--parent-working-dir", "PCLUSTER_PARENT_WORKING_DIR"}} {
		if a.given(d.option) {
			dir, err := filepath.Abs(a.text(d.option))
			if err != nil {
				return nil, err
			}
			variables[d.variable] = dir
		}
	}
	if !a.given("--working-dir") && !a.given("--parent-working-dir") {
		if home, err := os.UserHomeDir(); err == nil {
			variables["PCLUSTER_PARENT_WORKING_DIR"] = home
		}
	}
	files := map[string][]byte{}
	command := slices.Clone(a.operands)
	switch {
	case command[0] == "-":
		script, err := io.ReadAll(s.stdin)
		if err != nil {
			return nil, err
		}
		if len(bytes.TrimSpace(script)) == 0 {
			return nil, errors.New("standard input says nothing that a job could run")
		}
		files["job.sh"], command[0] = script, "/tmp/batch/job.sh"
	case a.given("--command-file"):
		if files["job.sh"], err = os.ReadFile(command[0]); err != nil {
			return nil, err
		}
		command[0] = "/tmp/batch/job.sh"
	}
	for _, f := range a.values["--input-file"] {
		data, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		files["input/"+filepath.Base(f)] = data
	}
	if len(files) > 0 {
		if variables[filesVariable], err = s.send(ctx, name, files); err != nil {
			return nil, err
		}
	}
	o := &types.ContainerOverrides{Command: command, Vcpus: aws.Int32(int32(vcpus)), Memory: aws.Int32(int32(memory))}
	for _, k := range sortedKeys(variables) {
		o.Environment = append(o.Environment, types.KeyValuePair{Name: aws.String(k), Value: aws.String(variables[k])})
	}
	return o, nil
}

// send puts files where jobs fetch theirs.
func (s *session) send(ctx context.Context, name string, files map[string][]byte) (string, error) {
	folder := fmt.Sprintf("%s/batch/%s-%s-%s", s.cluster.directory, name, s.now().UTC().Format("20060102150405"), strings.ToLower(rand.Text()[:8]))
	for _, f := range sortedKeys(files) {
		key := folder + "/" + f
		if _, err := s.objects.PutObject(ctx, &s3.PutObjectInput{Bucket: &s.cluster.bucket, Key: &key, Body: bytes.NewReader(files[f])}); err != nil {
			return "", fmt.Errorf("s3://%s/%s: %w", s.cluster.bucket, key, err)
		}
	}
	return "s3://" + s.cluster.bucket + "/" + folder, nil
}

// exported are the variables that the job gets.
func (s *session) exported(a arguments) (map[string]string, error) {
	out := map[string]string{}
	denied := notExported
	if a.given("--env-blacklist") {
		denied = a.text("--env-blacklist")
	}
	list := func(text string) (names []string) {
		for n := range strings.SplitSeq(text, ",") {
			if n = strings.TrimSpace(n); n != "" {
				names = append(names, n)
			}
		}
		return names
	}
	wanted := list(a.text("--env"))
	all := slices.Contains(wanted, "all")
	for _, v := range s.environ {
		name, value, _ := strings.Cut(v, "=")
		ours := strings.HasPrefix(name, "PCLUSTER_") || strings.HasPrefix(name, "AWS_")
		if slices.Contains(wanted, name) || all && !ours && !slices.Contains(list(denied), name) {
			if ours {
				return nil, fmt.Errorf("--env: %s is the cluster's own, or AWS's: jobs have theirs", name)
			}
			out[name] = value
		}
	}
	return out, nil
}

func sortedKeys[T any](m map[string]T) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
