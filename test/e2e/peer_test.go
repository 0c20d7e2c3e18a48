//go:build linux

package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The real ParallelCluster knows the region for AWS: with all that it asks, it
// judges files there as we do, entry by entry. `make peer` installs it, and judges
// many more files with an account on paper.
func TestRealParallelClusterJudgesAlike(t *testing.T) {
	theirs := filepath.Join(root, ".cache", "peer", "venv", "bin", "pcluster")
	if _, err := os.Stat(theirs); err != nil {
		t.Skip("the real ParallelCluster is not in .cache/peer: make peer installs it where it can be had")
	}
	r := startRegion(t)
	small := filepath.Join(root, "test", "e2e", "testdata", "small.yaml")
	seed := filepath.Join(root, "examples", "bluebrain", "config", "compute-cluster.yaml")
	for _, file := range []string{seed, small} {
		r.must(t, "pcluster", "sandbox", "adopt", "-c", file)
	}
	for name, tt := range map[string]struct {
		file        string
		replace, by string
		message     string // that both give
	}{
		"the example":           {file: seed, message: "Request would have succeeded, but DryRun flag is set."},
		"the small file":        {file: small, message: "Request would have succeeded, but DryRun flag is set."},
		"an unknown key":        {file: small, replace: "ScaledownIdletime", by: "ScaledownIdleTime", message: "Invalid cluster configuration."},
		"a bad name of a queue": {file: seed, replace: "Name: prod-batch", by: "Name: Prod_batch", message: "Invalid cluster configuration."},
		"a bucket that is gone": {file: seed, replace: "s3://sbonexusdata", by: "s3://gone", message: "Invalid cluster configuration."},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(tt.file)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(text), tt.replace) {
				t.Fatalf("the file has no %q", tt.replace)
			}
			file := filepath.Join(t.TempDir(), "cluster.yaml")
			if err := os.WriteFile(file, []byte(strings.Replace(string(text), tt.replace, tt.by, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			ours, real := r.judgement(t, "pcluster", file), r.judgement(t, theirs, file)
			if diff := cmp.Diff(real, ours); diff != "" {
				t.Errorf("(-the real one +ours):\n%s", diff)
			}
			if real.Message != tt.message || len(real.Entries) == 0 {
				t.Errorf("the real one says %q and lists %d entries, which is not what this case is about", real.Message, len(real.Entries))
			}
		})
	}
}

// judgement is what a dry run answers.
type judgement struct {
	Message string
	Entries []string // level and validator, in order
}

// judgement tries a creation. The AMIs that the region adopts are of our version,
// which the real tool's rule about them would say.
func (r *region) judgement(t *testing.T, program, file string) judgement {
	t.Helper()
	out := r.run(t, program, "create-cluster", "-n", "peer", "-c", file, "--dryrun", "true", "--suppress-validators", "type:CustomAmiTagValidator")
	type entry struct{ Level, Type string }
	var answer struct {
		Message                       string
		ConfigurationValidationErrors []entry
		ValidationMessages            []entry
	}
	if err := json.Unmarshal([]byte(out.stdout), &answer); err != nil {
		t.Fatalf("%s: %v in\n%s%s", program, err, out.stdout, out.stderr)
	}
	j := judgement{Message: answer.Message}
	for _, e := range append(answer.ConfigurationValidationErrors, answer.ValidationMessages...) {
		if s := e.Level + " " + e.Type; len(j.Entries) == 0 || j.Entries[len(j.Entries)-1] != s {
			j.Entries = append(j.Entries, s) // of several alike in a row one counts: we report each place
		}
	}
	return j
}
