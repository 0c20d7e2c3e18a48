//go:build unix

package component

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pcluster/internal/component"
)

func command(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := New()
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
	if _, _, err := command(t, "run", file); err == nil || !strings.Contains(err.Error(), "--here") {
		t.Errorf("without --here: %v", err)
	}
	stdout, stderr, err := command(t, "run", file, "--here", "--phases", "build", "--parameters", "who=you", "--log-directory", t.TempDir())
	if err != nil || !strings.Contains(stderr, "CmdExecution: Stdout: hello you") {
		t.Fatalf("%v\n%s", err, stderr)
	}
	var s component.Summary
	if err := json.Unmarshal([]byte(stdout), &s); err != nil || s.Status != component.Success || s.ExecutedStepCount != 1 {
		t.Errorf("%v, %+v", err, s)
	}
	if _, err := os.Stat(filepath.Join(s.LogURL, "detailedoutput.json")); err != nil {
		t.Error(err)
	}
	if _, _, err := command(t, "run", file, "--here", "--phases", "test", "--log-directory", t.TempDir()); err == nil || !strings.Contains(err.Error(), "has no phase test") {
		t.Errorf("a phase that is not there: %v", err)
	}
}
