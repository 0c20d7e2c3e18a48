package cluster_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"pcluster/internal/cluster"
	"pcluster/internal/cluster/clustertest"
)

func TestParseTime(t *testing.T) {
	for in, want := range map[string]string{
		"2026-01-31":                    "2026-01-31T00:00:00Z",
		"20260131":                      "2026-01-31T00:00:00Z",
		"2026-01-31T09":                 "2026-01-31T09:00:00Z",
		"2026-01-31T09:30":              "2026-01-31T09:30:00Z",
		"2026-01-31T09:30:15":           "2026-01-31T09:30:15Z",
		"2026-01-31 09:30:15":           "2026-01-31T09:30:15Z",
		"2026-01-31T09:30:15Z":          "2026-01-31T09:30:15Z",
		"2026-01-31T09:30:15.250Z":      "2026-01-31T09:30:15.25Z",
		"2026-01-31T09:30:15.250+02:00": "2026-01-31T07:30:15.25Z",
		"2026-01-31T09:30+0200":         "2026-01-31T07:30:00Z",
		"2026-01-31T09:30-05":           "2026-01-31T14:30:00Z",
		"20260131T093015Z":              "2026-01-31T09:30:15Z",
		" 2026-01-31 ":                  "2026-01-31T00:00:00Z",
		"":                              "",
		"yesterday":                     "",
		"2026-02-30":                    "",
		"2026-01-31T25:00":              "",
		"31/01/2026":                    "",
	} {
		got, ok := cluster.ParseTime(in)
		if !ok {
			if want != "" {
				t.Errorf("%q is no time", in)
			}
			continue
		}
		if s := got.Format(time.RFC3339Nano); s != want {
			t.Errorf("%q: %s, want %s", in, s, want)
		}
	}
}

// Whoever interrupts an export wants neither a task that blocks the next export
// nor its objects.
func TestInterruptedExportLeavesNothing(t *testing.T) {
	const group = "/aws/parallelcluster/demo-202603141200"
	c := clustertest.New()
	c.MakeBucket("mine")
	c.Ship(group, "stream", "hello")
	ctx, interrupt := context.WithCancel(t.Context())
	e := c.Operator(quiet()).Exporter(func(line string) {
		if strings.HasSuffix(line, "pending") {
			interrupt()
		}
	})
	e.Poll = time.Minute
	_, err := e.Export(ctx, cluster.ExportRequest{Name: "demo", LogGroup: group, Bucket: "mine", To: clustertest.Noon.Add(time.Second)})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if objects := c.Objects(); len(objects) > 0 {
		t.Errorf("objects are left: %v", objects)
	}
	if calls := c.Calls(); !slices.Contains(calls, "CancelExportTask") {
		t.Errorf("the task goes on: %v", calls)
	}
}

// What a stream is called is up to the machines, one of which may belong to
// somebody else by now.
func TestExportWritesInsideItsFolderOnly(t *testing.T) {
	const group = "/aws/parallelcluster/demo-202603141200"
	for _, name := range []string{"..", "."} {
		c := clustertest.New()
		c.MakeBucket("mine")
		c.Ship(group, name, "hello")
		file := t.TempDir() + "/logs.tar.gz"
		_, err := c.Operator(quiet()).Exporter(nil).Export(t.Context(), cluster.ExportRequest{
			Name: "demo", LogGroup: group, Bucket: "mine", To: clustertest.Noon.Add(time.Second), OutputFile: file,
		})
		if err == nil || !strings.Contains(err.Error(), "has written nothing") {
			t.Errorf("stream %q: %v", name, err)
		}
	}
}
