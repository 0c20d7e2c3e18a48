package node

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pcluster/internal/node/actions"
	"pcluster/internal/node/spec"
	"pcluster/internal/node/steps"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestEventsHaveParallelClustersShapes is about what the stack's metric filters count.
func TestEventsHaveParallelClustersShapes(t *testing.T) {
	var got []string
	told := &spec.Node{NodeType: spec.Compute, ClusterName: "demo", Scheduler: "slurm", Queue: "q", ComputeResource: "c"}
	n := &node{self: &Identity{InstanceID: "i-1", InstanceType: "c5.large", AZ: "us-east-1a", Addr: "10.0.0.1", Hostname: "ip-10-0-0-1"}, name: "q-dy-c-1"}
	for _, event := range []actions.Event{actions.OnNodeStart, actions.OnNodeConfigured} {
		for _, stage := range []actions.Stage{actions.Download, actions.Execute} {
			failure := &actions.Failure{Event: event, Stage: stage, Step: 1, Of: 1, Script: "s3://b/s.sh", ExitCode: 3, Output: "why"}
			got = append(got, string(n.failureEvent(told, &steps.Error{Step: string(event), Err: failure})))
		}
	}
	got = append(got, string(n.failureEvent(told, &steps.Error{Step: "slurmd", Err: errors.New("slurmd does not run")})))
	c, _ := gpuNode(t, "gpu", true, false, 226)
	if code, err := c.check(t.Context()); code != 226 || err != nil {
		t.Fatal(code, err)
	}
	got = append(got, get(t, c.Host, healthEvents))

	text := strings.Join(got, "\n")
	text = regexp.MustCompile(`"datetime":"[^"]*"`).ReplaceAllString(text, `"datetime":"now"`)
	text = regexp.MustCompile(`\n+`).ReplaceAllString(text, "\n")
	path := filepath.Join("testdata", "events.golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(text, "\n")); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}
