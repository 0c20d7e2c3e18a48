//go:build unix

package component

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/imagebuilder"
	"github.com/aws/aws-sdk-go-v2/service/imagebuilder/types"
	"github.com/google/go-cmp/cmp"

	"pcluster/internal/component"
)

// region is the local region in memory: what it was asked for, and what it answers.
type region struct {
	asked   component.Trial
	outcome *component.Outcome
	err     error
}

func (r *region) try(ctx context.Context, t component.Trial, say func(component.TrialEvent)) (*component.Outcome, error) {
	r.asked = t
	say(component.TrialEvent{Machine: "i-1"})
	say(component.TrialEvent{Line: "Phase build"})
	say(component.TrialEvent{File: "build/console.log", Data: []byte("x")})
	say(component.TrialEvent{File: "../../out", Data: []byte("x")})
	return r.outcome, r.err
}

func command(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	return commandIn(t, Env{}, args...)
}

func commandIn(t *testing.T, env Env, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := New(env)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	cmd.SetArgs(args)
	err = cmd.ExecuteContext(t.Context())
	return out.String(), errs.String(), err
}

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

const good = "schemaVersion: 1.0\nparameters:\n  - who:\n      type: string\nphases:\n  - name: build\n    steps:\n      - name: say\n        action: ExecuteBash\n        inputs:\n          commands: ['echo hello {{ who }}']\n"

func TestValidateShowsThePlace(t *testing.T) {
	_, stderr, err := command(t, "validate", write(t, strings.Replace(good, "ExecuteBash", "ExecuteBsh", 1)))
	if err == nil || !strings.Contains(stderr, "c.yaml:9:17: error: unknown action ExecuteBsh\n    9 |         action: ExecuteBsh\n      |                 ^\n      = hint: did you mean ExecuteBash?") {
		t.Errorf("%v\n%s", err, stderr)
	}
	if stdout, _, err := command(t, "validate", write(t, good)); err != nil || !strings.HasSuffix(stdout, "is valid: build (1 steps)\n") {
		t.Errorf("%v\n%s", err, stdout)
	}
}

func TestRunHere(t *testing.T) {
	file := write(t, good)
	if _, _, err := command(t, "run", file, "--parameters", "who=you"); err == nil || !strings.Contains(err.Error(), "--here") {
		t.Errorf("without a region, and without --here: %v", err)
	}
	stdout, stderr, err := command(t, "run", file, "--here", "--phases", "build", "--parameters", "who=you", "--log-directory", t.TempDir())
	if err != nil || !strings.Contains(stderr, "CmdExecution: Stdout: hello you") || !strings.HasPrefix(stderr, "warning: ") {
		t.Fatalf("%v\n%s", err, stderr)
	}
	var s component.Summary
	if err := json.Unmarshal([]byte(stdout), &s); err != nil || s.Status != component.Success || s.ExecutedStepCount != 1 {
		t.Errorf("%v, %+v", err, s)
	}
	if _, err := os.Stat(filepath.Join(s.LogURL, "detailedoutput.json")); err != nil {
		t.Error(err)
	}
}

func TestRunAway(t *testing.T) {
	ok := &component.Outcome{Status: component.Success, Results: []*component.Result{{ExecutionID: "e"}}}
	failed := &component.Outcome{Status: component.Failed, FailureMessage: "it failed"}
	two := good + "  - name: test\n    steps:\n      - {name: look, action: Reboot}\n"
	for name, tt := range map[string]struct {
		region region
		text   string
		args   []string
		want   component.Trial // but for name and document
		err    string
	}{
		"all phases": {region{outcome: ok}, two, nil, component.Trial{Phases: []string{"build", "test"}}, ""},
		"phases in the document's order": {region{outcome: ok}, two, []string{"--phases", "test,build", "--parent-image", "alinux2023", "--instance-type", "c5.large"},
			component.Trial{Phases: []string{"build", "test"}, ParentImage: "alinux2023", InstanceType: "c5.large"}, ""},
		"network and role": {region{outcome: ok}, good, []string{"--subnet-id", "subnet-1", "--security-group-ids", "sg-1,sg-2", "--instance-profile", "p"},
			component.Trial{Phases: []string{"build"}, Subnet: "subnet-1", SecurityGroups: []string{"sg-1", "sg-2"}, InstanceProfile: "p"}, ""},
		"component that fails":      {region{outcome: failed}, good, nil, component.Trial{Phases: []string{"build"}}, "it failed"},
		"region that is not up":     {region{err: errors.New("the region is not up")}, good, nil, component.Trial{Phases: []string{"build"}}, "the region is not up"},
		"interrupted":               {region{err: context.Canceled}, good, nil, component.Trial{Phases: []string{"build"}}, "context canceled"},
		"phase that is not there":   {region{}, good, []string{"--phases", "test"}, component.Trial{}, "has no phase test; it has build"},
		"parameter without a value": {region{}, good, []string{"--parameters", "who"}, component.Trial{}, `parameter "who": write name=value`},
		"parameter of no document":  {region{}, good, []string{"--parameters", "whom=me"}, component.Trial{}, "has no parameter whom"},
		"here and there":            {region{}, good, []string{"--here", "--parent-image", "x"}, component.Trial{}, "none of the others can be"},
	} {
		t.Run(name, func(t *testing.T) {
			file, logs := write(t, tt.text), t.TempDir()
			args := append([]string{"run", file, "--log-directory", logs}, tt.args...)
			if !strings.Contains(tt.err, "parameter") {
				args = append(args, "--parameters", "who=you")
				tt.want.Parameters = map[string]string{"who": "you"}
			}
			_, stderr, err := commandIn(t, Env{Try: tt.region.try}, args...)
			if interrupted := errors.Is(err, context.Canceled); interrupted != strings.Contains(stderr, "interrupted: the region removes the machine i-1\n") {
				t.Errorf("%v, and said: %s", err, stderr)
			}
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%v, want %q\n%s", err, tt.err, stderr)
			}
			if tt.want.Phases == nil {
				if tt.region.asked.Name != "" {
					t.Error("the region was asked")
				}
				return
			}
			tt.want.Name, tt.want.Document = file, tt.text
			if diff := cmp.Diff(tt.want, tt.region.asked); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
			if kept, _ := filepath.Glob(filepath.Join(logs, "TOE_*", "build", "console.log")); tt.err == "" && len(kept) != 1 {
				t.Errorf("kept %v", kept)
			}
			if outside, _ := filepath.Glob(filepath.Join(filepath.Dir(logs), "out")); len(outside) > 0 {
				t.Errorf("a file is outside of the folder: %v", outside)
			}
		})
	}
}

func TestMissingParameterIsFoundBeforeAMachineIsMade(t *testing.T) {
	var r region
	_, _, err := commandIn(t, Env{Try: r.try}, "run", write(t, good))
	if err == nil || !strings.Contains(err.Error(), "the parameter who has no value and no default") || r.asked.Name != "" {
		t.Errorf("%v, asked %+v", err, r.asked)
	}
}

// builder has components in pages of one.
type builder map[types.Ownership][]types.ComponentVersion

func (b builder) ListComponents(_ context.Context, in *imagebuilder.ListComponentsInput, _ ...func(*imagebuilder.Options)) (*imagebuilder.ListComponentsOutput, error) {
	n, _ := strconv.Atoi(aws.ToString(in.NextToken))
	out := &imagebuilder.ListComponentsOutput{}
	all := b[in.Owner]
	if n < len(all) {
		out.ComponentVersionList = all[n : n+1]
	}
	if n+1 < len(all) {
		out.NextToken = aws.String(strconv.Itoa(n + 1))
	}
	return out, nil
}

func TestListShowsTheNewestOfEach(t *testing.T) {
	version := func(name, version string) types.ComponentVersion {
		return types.ComponentVersion{Name: &name, Version: &version, Arn: aws.String("arn:" + name + "/" + version)}
	}
	all, err := list(t.Context(), builder{
		types.OwnershipSelf:   {version("packages", "1.9.0"), version("configure", "1.0.0"), version("packages", "1.10.0")},
		types.OwnershipAmazon: {version("update-linux", "1.0.2")},
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range all {
		if c.Owner != "pcluster" {
			got = append(got, c.Owner+" "+c.ARN)
		}
	}
	want := []string{"self arn:configure/1.0.0", "self arn:packages/1.10.0", "amazon arn:update-linux/1.0.2"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOurOwnAreThoseOfImageStacks(t *testing.T) {
	all, err := own()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range all {
		got = append(got, c.Type+" "+c.Name)
		if c.Owner != "pcluster" || c.Description == "" {
			t.Errorf("%+v", c)
		}
	}
	want := []string{"BUILD UpdateOS", "BUILD Slurm", "BUILD Storage", "BUILD EFA", "BUILD NVIDIA", "BUILD DCV", "BUILD ParallelCluster", "TEST ParallelClusterTag", "BUILD Script", "TEST ParallelClusterTest"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
