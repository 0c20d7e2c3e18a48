package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"

	"pcluster/internal/cli"
	"pcluster/internal/cluster"
	"pcluster/internal/cluster/clustertest"
	"pcluster/internal/config"
	"pcluster/internal/facts"
	"pcluster/internal/validate"
)

const (
	aborted  = "a message and no list"
	accepted = "no entry"
)

func or[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

// findings validates the file of a case as a library, and says whether the
// expected entry is among what is found.
func findings(c *testCase, text []byte, m *facts.Memory) (want, got string) {
	found, abort := check(c, text, m)
	switch {
	case c.Expect == nil:
		want = accepted
	case c.Expect.Outcome == "aborted":
		want = aborted
	default:
		want = c.Expect.Level + " " + c.Validator
	}
	if want == aborted && abort != "" {
		return want, aborted
	}
	var all []string
	for _, p := range found {
		entry := p.Level.String() + " " + p.Validator
		if entry == want && abort == "" {
			return want, want
		}
		all = append(all, entry+": "+p.Message)
	}
	own := func(entry string) bool {
		if _, name, _ := strings.Cut(strings.SplitN(entry, ":", 2)[0], " "); name == c.Validator {
			return true
		}
		return c.Validator == "(none)"
	}
	switch {
	case abort != "":
		return want, aborted + ": " + abort
	case want == accepted:
		for _, entry := range all {
			if own(entry) {
				return want, entry
			}
		}
		// The schema stands before everything else.
		if len(found) > 0 && found[0].Validator != c.Validator && (found[0].Validator == config.SchemaValidator || found[0].Validator == config.ImageSchemaValidator) {
			return want, all[0]
		}
		return want, accepted
	case len(all) == 0:
		return want, "nothing is found"
	}
	return want, strings.Join(all, "; ")
}

// check runs the stages of validation, as far as the file gets.
func check(c *testCase, text []byte, m *facts.Memory) (found config.Problems, abort string) {
	region := or(c.Args.Region, "us-east-1")
	options := validate.Options{
		ClusterName: or(c.Args.ClusterName, "mycluster"), Region: region,
		HeadInstance: c.Args.HeadInstance, HeadGroup: c.Args.HeadGroup, ComputeGroup: c.Args.ComputeGroup,
	}
	image := c.Base == "image" || c.Args.Kind == "image" || c.Validator == config.ImageSchemaValidator
	var problems config.Problems
	var judge func() validate.Report
	if image {
		var file *config.ImageFile
		file, problems = config.ParseImage("", text)
		judge = func() validate.Report { return validate.Image(context.Background(), file, m, options) }
	} else {
		var file *config.Cluster
		file, problems = config.Parse("", text)
		judge = func() validate.Report { return validate.Cluster(context.Background(), file, m, options) }
	}
	if p, malformed := problems.Malformed(); malformed {
		return nil, p.Message
	}
	if shape := problems.Shape(); len(shape) > 0 || c.Validator == config.SchemaValidator || c.Validator == config.ImageSchemaValidator {
		return shape, ""
	}
	if late := problems.Late(); len(late) > 0 {
		return nil, late[0].Message
	}
	report := judge()
	if len(report.Aborted) > 0 {
		return report.Found, report.Aborted[0].Message
	}
	return report.Found, ""
}

// request runs a command with the account in place of AWS.
func request(c *testCase, text []byte, a *account) (want, got string) {
	want = c.Response.String()
	dir, err := os.MkdirTemp("", "validatorcases-")
	if err != nil {
		return want, err.Error()
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return want, err.Error()
	}
	command := c.Args.Command
	if command == "" {
		command = "create-cluster"
	}
	line := []string{command}
	if command == "build-image" {
		line = append(line, "--image-id", or(c.Args.ImageID, "myimage"), "--image-configuration", path)
	} else {
		line = append(line, "--cluster-name", or(c.Args.ClusterName, "mycluster"), "--cluster-configuration", path)
	}
	if c.Args.DryRun != nil {
		line = append(line, "--dryrun", fmt.Sprint(c.Args.DryRun))
	}
	if len(c.Args.Suppress) > 0 {
		line = append(append(line, "--suppress-validators"), c.Args.Suppress...)
	}
	if c.Args.FailureLevel != "" {
		line = append(line, "--validation-failure-level", c.Args.FailureLevel)
	}
	if c.Args.Region != nil {
		line = append(line, "--region", *c.Args.Region)
	}
	var stdout, stderr bytes.Buffer
	status := cli.Run(context.Background(), line, environment(dir, &stdout, &stderr, a))
	var body map[string]json.RawMessage
	if err := json.Unmarshal(stdout.Bytes(), &body); err != nil {
		return want, fmt.Sprintf("exit %d, no JSON: %s%s", status, stdout.String(), stderr.String())
	}
	return want, answer(c.Response, status, body)
}

// environment is the world of a command whose AWS is the account.
func environment(dir string, stdout, stderr io.Writer, a *account) cli.Env {
	env := cli.System()
	env.Stdin, env.Stdout, env.Stderr = strings.NewReader(""), stdout, stderr
	env.Home, env.Now = dir, func() time.Time { return clustertest.Noon }
	env.Getenv = func(name string) string {
		if name == "AWS_DEFAULT_REGION" {
			return "us-east-1"
		}
		return ""
	}
	env.Columns = func() (int, bool) { return 0, false }
	env.AWS = func(_ context.Context, region string, _ *slog.Logger) (aws.Config, error) {
		return aws.Config{Region: region}, nil
	}
	env.Operator = func(cfg aws.Config, log *slog.Logger) *cluster.Operator {
		cloud := clustertest.New()
		cloud.Region, cloud.Facts = cfg.Region, a.memory
		for _, name := range a.stacks {
			// A fresh cloud refuses nothing.
			_, _ = cloud.CreateStack(context.Background(), &cloudformation.CreateStackInput{StackName: &name, TemplateURL: aws.String("")})
		}
		return cloud.Operator(log)
	}
	return env
}

// String says what a response has to be.
func (r *response) String() string {
	message := fmt.Sprintf("message %q", r.Message)
	if r.Prefix != "" {
		message = fmt.Sprintf("message %q…", r.Prefix)
	}
	return fmt.Sprintf("exit %d, %s, %s %v", r.Exit, message, or(&r.List, ""), r.Entries)
}

// answer says what a response is, in the words of what it has to be.
func answer(want *response, status int, body map[string]json.RawMessage) string {
	got := response{Exit: status}
	_ = json.Unmarshal(body["message"], &got.Message) // absent: empty
	if want.Prefix != "" && strings.HasPrefix(got.Message, want.Prefix) {
		got.Prefix = want.Prefix
	}
	for _, list := range []string{"configurationValidationErrors", "validationMessages", "updateValidationErrors"} {
		if raw, ok := body[list]; ok {
			got.List = list
			var entries []struct{ Level, Type string }
			_ = json.Unmarshal(raw, &entries)
			for _, e := range entries {
				got.Entries = append(got.Entries, [2]string{e.Level, e.Type})
			}
		}
	}
	return got.String()
}
