package slurm

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestJobStatus(t *testing.T) {
	at := func(s string) time.Time { return slurmTime("2026-03-01T" + s) }
	for name, tt := range map[string]struct {
		answer string
		err    error
		want   *JobStatus
	}{
		"a job that waits": {"7|PENDING|q||2026-03-01T12:00:00|N/A|N/A|Resources\n", nil,
			&JobStatus{ID: "7", State: "PENDING", Partition: "q", Reason: "Resources", Submitted: at("12:00:00")}},
		"a job that runs": {"7|RUNNING|q|q-dy-c-[1-2]|2026-03-01T12:00:00|2026-03-01T12:01:00|2026-03-01T13:01:00|None\n", nil,
			&JobStatus{ID: "7", State: "RUNNING", Partition: "q", Nodes: []string{"q-dy-c-1", "q-dy-c-2"},
				Submitted: at("12:00:00"), Started: at("12:01:00"), Ended: at("13:01:00")}},
		"a reason with the separator": {"7|PENDING|q||2026-03-01T12:00:00|N/A|N/A|a|b\n", nil,
			&JobStatus{ID: "7", State: "PENDING", Partition: "q", Reason: "a|b", Submitted: at("12:00:00")}},
		"a job that is forgotten": {"", errors.New("squeue: exit status 1: slurm_load_jobs error: Invalid job id specified"), nil},
		"no answer":               {"", nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c := &Client{Run: func(_ context.Context, _, _ string, args ...string) (string, error) {
				if !strings.Contains(strings.Join(args, " "), "-j 7 ") {
					t.Errorf("asked with %v", args)
				}
				return tt.answer, tt.err
			}}
			got, err := c.JobStatus(t.Context(), "7")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("status (-want +got):\n%s", diff)
			}
		})
	}
}

func TestJobStatusPassesTroubleOn(t *testing.T) {
	c := &Client{Run: func(context.Context, string, string, ...string) (string, error) {
		return "", errors.New("no slurmctld")
	}}
	if j, err := c.JobStatus(t.Context(), "7"); err == nil || j != nil {
		t.Errorf("%v, %v", j, err)
	}
}
