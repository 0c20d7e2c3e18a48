package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/spf13/pflag"

	"pcluster/internal/cluster"
	"pcluster/internal/cluster/clustertest"
)

// apart are commands that need no AWS, or that other tests know better.
var apart = map[string]bool{"version": true, "completion": true, completeCommand: true, "help": true, "validate": true, "template": true, "configure": true, "config": true}

// TestEveryCommandFailsInItsShape gives each command what it requires and lets
// it fail for reasons that all share. Operations answer with JSON on standard
// output, others with ERROR on standard error.
func TestEveryCommandFailsInItsShape(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file.yaml")
	if err := os.WriteFile(file, []byte("Image:\n  Os: alinux2023\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	ofFile := filepath.Join(t.TempDir(), "region.yaml")
	if err := os.WriteFile(ofFile, []byte("Region: eu-west-1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range everyCommand(file) {
		name := args[0]
		operation := has(name, "query")
		t.Run(name, func(t *testing.T) {
			w := &failingWorld{home: t.TempDir()}
			check := func(r outcome, want string) {
				t.Helper()
				if r.status != 1 {
					t.Errorf("exit status %d\n%+v", r.status, r)
				}
				if operation {
					var body struct{ Message string }
					if err := json.Unmarshal([]byte(r.stdout), &body); err != nil || !strings.Contains(body.Message, want) || r.stderr != "" {
						t.Errorf("want an answer with %q: %+v", want, r)
					}
				} else if !strings.Contains(r.stderr, "ERROR: ") || !strings.Contains(r.stderr, want) {
					t.Errorf("want an error with %q: %+v", want, r)
				}
			}
			notYet := strings.Contains(w.run(append(args, "--region", "us-east-1")...).all(), "is not implemented yet")
			if !notYet {
				check(w.run(args...), "region needs to be set")
				check(w.run(append(args, "--region", "us-mars-1")...), "invalid or unsupported region 'us-mars-1'")
				w.refuse = errors.New("no such profile")
				check(w.run(append(args, "--region", "us-east-1")...), "no such profile")
				w.refuse = nil
				if operation {
					w.cloud = clustertest.New()
					for _, call := range []string{"DescribeStacks", "DescribeInstances", "DescribeImages"} {
						w.cloud.Refuse[call] = clustertest.Fault("RequestLimitExceeded", "Request limit exceeded.")
					}
					check(w.run(append(args, "--region", "us-east-1")...), "Request limit exceeded.")
				}
			}

			// Precedence of regions.
			w.env = map[string]string{"AWS_DEFAULT_REGION": "us-east-2", "AWS_REGION": "us-west-2"}
			for _, tt := range []struct {
				more []string
				want string
			}{{nil, "us-east-2"}, {[]string{"-r", "us-west-1"}, "us-west-1"}} {
				w.regions = nil
				w.run(append(args, tt.more...)...)
				if got := strings.Join(w.regions, " "); !notYet && got != tt.want {
					t.Errorf("%v: region %s, want %s", tt.more, got, tt.want)
				}
			}
			if i := slices.Index(args, file); i >= 0 && !notYet {
				args := slices.Clone(args)
				args[i] = ofFile
				w.regions = nil
				w.run(args...)
				if got := strings.Join(w.regions, " "); got != "eu-west-1" {
					t.Errorf("region of the file: %s", got)
				}
				check(w.run(append(args, "-r", "us-west-1")...), "conflicts")
			}

			// The log begins with the command and has more with --debug.
			w.env["PCLUSTER_LOG_FILE"] = filepath.Join(w.home, "own.log")
			w.run(append(args, "--debug")...)
			log, err := os.ReadFile(w.env["PCLUSTER_LOG_FILE"])
			if err != nil || !strings.Contains(string(log), " - INFO - ") || !strings.Contains(string(log), "Handling CLI command "+name+"\n") {
				t.Errorf("log: %v\n%s", err, log)
			}
			if !strings.Contains(string(log), " - DEBUG - ") {
				t.Errorf("nothing more with --debug:\n%s", log)
			}
		})
	}
}

// everyCommand returns the commands that act upon AWS, with what they require.
func everyCommand(file string) [][]string {
	values := map[string]string{
		"cluster-name": "demo", "image-id": "image", "cluster-configuration": file, "image-configuration": file, "status": "START_REQUESTED",
		"image-status": "PENDING", "log-stream-name": "stream",
	}
	positionals := map[string][]string{"why": {"job", "42"}}
	var list [][]string
	env := Env{}
	for _, cmd := range newRoot(&env).Commands() {
		if apart[cmd.Name()] {
			continue
		}
		args := []string{cmd.Name()}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Annotations[required] != nil {
				args = append(args, "--"+f.Name, values[f.Name])
			}
		})
		list = append(list, append(args, positionals[cmd.Name()]...))
	}
	return list
}

func has(command, option string) bool {
	env := Env{}
	for _, cmd := range newRoot(&env).Commands() {
		if cmd.Name() == command {
			return cmd.Flags().Lookup(option) != nil
		}
	}
	return false
}

// A failingWorld has nothing in it, and remembers which regions were used.
type failingWorld struct {
	home    string
	env     map[string]string
	cloud   *clustertest.Cloud
	refuse  error
	regions []string
}

type outcome struct {
	status         int
	stdout, stderr string
}

func (r outcome) all() string { return r.stdout + r.stderr }

func (w *failingWorld) run(args ...string) outcome {
	var out, err bytes.Buffer
	cloud := w.cloud
	if cloud == nil {
		cloud = clustertest.New()
	}
	env := Env{
		Stdin: strings.NewReader(""), Stdout: &out, Stderr: &err, Home: w.home, Now: cloud.Now,
		Getenv:  func(name string) string { return w.env[name] },
		Columns: func() (int, bool) { return 0, false },
		AWS: func(_ context.Context, region string, _ *slog.Logger) (aws.Config, error) {
			if region != "" {
				w.regions = append(w.regions, region)
			}
			return aws.Config{Region: region}, w.refuse
		},
		Operator: func(_ aws.Config, log *slog.Logger) *cluster.Operator { return cloud.Operator(log) },
	}
	return outcome{Run(context.Background(), args, env), out.String(), err.String()}
}
