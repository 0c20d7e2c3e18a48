package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pcluster/internal/fleet/record"
	"pcluster/internal/fleet/why"
	"pcluster/internal/slurm"
)

func TestWhyReadsTheRecordAndAsksSlurm(t *testing.T) {
	h := &Host{Root: t.TempDir()}
	if err := os.MkdirAll(filepath.Dir(h.path(FleetRecord)), 0o755); err != nil {
		t.Fatal(err)
	}
	err := (&record.File{Path: h.path(FleetRecord)}).Add(
		record.Entry{Time: time.Now(), What: record.Asked, Nodes: "q-dy-c-1", Jobs: []string{"7"}},
		record.Entry{Time: time.Now(), What: record.NodeFailed, Nodes: "q-dy-c-1", Code: "InsufficientInstanceCapacity", Message: "none left"})
	if err != nil {
		t.Fatal(err)
	}
	slurmctld := &slurm.Client{Run: func(_ context.Context, _, name string, args ...string) (string, error) {
		switch {
		case strings.HasSuffix(name, "squeue"):
			return "7|PENDING|q||2026-03-01T12:00:00|N/A|N/A|BeginTime\n", nil
		case args[len(args)-1] == "q-dy-c-1":
			return "NodeName=q-dy-c-1 NodeAddr=q-dy-c-1 NodeHostName=q-dy-c-1 State=DOWN+CLOUD Partitions=q\n", nil
		}
		return "", errors.New("scontrol: exit status 1: Node " + args[len(args)-1] + " not found")
	}}
	for name, tt := range map[string]struct {
		args []string
		want []string
	}{
		"job":              {[]string{"job", "7"}, []string{"Job 7", "PENDING (BeginTime)", "none left"}},
		"node":             {[]string{"node", "q-dy-c-1"}, []string{"Node q-dy-c-1", "DOWN+CLOUD", "none left"}},
		"node of nobody's": {[]string{"node", "x"}, []string{"Slurm has no such node"}},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := explain(t.Context(), h, slurmctld, &out, tt.args); err != nil {
				t.Fatal(err)
			}
			for _, want := range tt.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("no %q in\n%s", want, out.String())
				}
			}
		})
	}
	var out bytes.Buffer
	if err := explain(t.Context(), h, slurmctld, &out, []string{"--json", "job", "7"}); err != nil {
		t.Fatal(err)
	}
	var answer why.Answer
	if err := json.Unmarshal(out.Bytes(), &answer); err != nil || answer.About != "job 7" || len(answer.Timeline) == 0 {
		t.Errorf("%v\n%s", err, out.String())
	}
	if err := explain(t.Context(), h, slurmctld, &out, []string{"job"}); !errors.Is(err, errWhyUsage) {
		t.Errorf("error: %v", err)
	}
}
