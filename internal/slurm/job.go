package slurm

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A JobStatus is how a job stands, as slurmctld sees it. It forgets jobs some minutes
// after their end.
type JobStatus struct {
	ID        string // a number, also of members of arrays
	State     string // PENDING, CONFIGURING, RUNNING, …
	Reason    string // why it does not run
	Partition string
	Nodes     []string  // that it has, or had
	Submitted time.Time // also the time of a requeue
	Started   time.Time // expected, for jobs that wait
	Ended     time.Time // expected, for jobs that run
}

// Over reports a job that won't run any more.
func (j *JobStatus) Over() bool {
	return slices.Contains([]string{
		"COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "DEADLINE", "OUT_OF_MEMORY", "REVOKED",
	}, j.State)
}

// JobStatus returns how a job stands. Its ID may be that of an array's member, as in
// 42_3. It is nil if slurmctld does not know it, or not any more.
func (c *Client) JobStatus(ctx context.Context, id string) (*JobStatus, error) {
	out, err := c.query(ctx, "squeue", "-h", "-t", "all", "-j", id, "-o", "%A|%T|%P|%N|%V|%S|%e|%r")
	if err != nil {
		if strings.Contains(err.Error(), "Invalid job id") {
			return nil, nil
		}
		return nil, fmt.Errorf("job %s: %w", id, err)
	}
	line, _, _ := strings.Cut(out, "\n") // of an array, its first member
	if line == "" {
		return nil, nil
	}
	part := strings.SplitN(line, "|", 8)
	if len(part) != 8 {
		return nil, fmt.Errorf("job %s: squeue answers %q", id, line)
	}
	j := &JobStatus{
		ID: part[0], State: part[1], Partition: part[2], Reason: part[7],
		Submitted: slurmTime(part[4]), Started: slurmTime(part[5]), Ended: slurmTime(part[6]),
	}
	if j.Reason == "None" {
		j.Reason = ""
	}
	if j.Nodes, err = Expand(part[3]); err != nil {
		return nil, fmt.Errorf("job %s: %w", id, err)
	}
	return j, nil
}
