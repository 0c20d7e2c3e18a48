//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestBoots is about compute nodes that start badly, each in its own way, and what a
// user is told about it.
func TestBoots(t *testing.T) {
	r := startRegion(t)
	file := filepath.Join(root, "test", "e2e", "testdata", "boots.yaml")
	r.must(t, "pcluster", "sandbox", "adopt", "-c", file)
	r.putBootScript(t, "start.sh", failingStart)
	r.putBootScript(t, "configured.sh", "exit 0")
	r.must(t, "pcluster", "create-cluster", "-n", "boots", "-c", file, "--wait")
	c := r.enter(t, "boots", filepath.Join(r.home, "keys", "boots-key.pem"), "ubuntu")

	for _, s := range []struct {
		name string
		run  func(*testing.T, *cluster)
	}{
		{"ten nodes whose script fails make their queue inactive", protectedQueue},
		{"a script may take longer than any other step of the boot", slowScript},
		{"a script that fails is told of with its output, and the job starts elsewhere", failingConfigured},
		{"a script that is not there is told of", missingScript},
		{"a machine that never boots is given up", hangsBeforeBoot},
		{"a boot that hangs is given up at its step", hangsInBoot},
		{"the event log has counted all of them", countedEvents},
	} {
		if !t.Run(s.name, func(t *testing.T) { s.run(t, c) }) {
			c.explain(t)
			return
		}
		r.must(t, "pcluster", "sandbox", "fault", "clear")
	}
	c.head(t, "sudo scontrol update nodename=ALL state=power_down_force reason=over")
	eventually(t, patience, "no instance is left", func() bool { return len(c.computeInstances(t)) == 0 })
}

const failingStart = "echo preparing; echo the scratch disk is not there >&2; exit 3"

// putBootScript puts a script of the nodes of boots.yaml into its bucket.
func (r *region) putBootScript(t *testing.T, name, commands string) {
	t.Helper()
	path := filepath.Join(r.work, name)
	if err := os.WriteFile(path, []byte("#!/bin/bash\n"+commands+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	r.must(t, "aws", "s3", "cp", "--quiet", path, "s3://boots-scripts/"+name)
}

// configureFleet adds lines to what the fleet daemon reads at its next look.
func (c *cluster) configureFleet(t *testing.T, lines ...string) {
	t.Helper()
	c.head(t, "printf '%s\\n' '"+strings.Join(lines, "' '")+"' | sudo tee -a /etc/parallelcluster/slurm_plugin/parallelcluster_clustermgtd.conf >/dev/null")
}

// why is what a user reads who asks about a job or a node, without its line breaks.
func (c *cluster) why(t *testing.T, kind, name string) string {
	t.Helper()
	out := c.must(t, "pcluster", "why", "-n", c.name, kind, name, "-i", c.key)
	return strings.Join(strings.Fields(out), " ")
}

// expectWhy waits until an answer says all that it should: what has happened is known a
// moment later.
func (c *cluster) expectWhy(t *testing.T, kind, name string, want ...string) {
	t.Helper()
	for deadline := time.Now().Add(told); ; {
		answer := c.why(t, kind, name)
		lacks := slices.IndexFunc(want, func(w string) bool { return !strings.Contains(answer, w) })
		if lacks < 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("why %s %s does not say %q:\n%s", kind, name, want[lacks], answer)
			return
		}
	}
}

// metric returns a value that Prometheus would read on the head node, or nothing.
func (c *cluster) metric(t *testing.T, series string) string {
	t.Helper()
	for line := range strings.Lines(c.head(t, "curl -sf http://127.0.0.1:9817/metrics")) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// count is a metric as a number; one that is not there has not counted anything.
func (c *cluster) count(t *testing.T, series string) float64 {
	t.Helper()
	value := c.metric(t, series)
	if value == "" {
		return 0
	}
	n, err := strconv.ParseFloat(value, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// expectMetrics waits until the fleet's metrics have these values.
func (c *cluster) expectMetrics(t *testing.T, want map[string]string) {
	t.Helper()
	for series, value := range want {
		got := c.metric(t, series)
		for deadline := time.Now().Add(told); got != value && time.Now().Before(deadline); {
			got = c.metric(t, series)
		}
		if got != value {
			t.Errorf("metric %s is %q, want %q", series, got, value)
		}
	}
}

// batch submits a job that says where it runs, and returns its ID.
func (c *cluster) batch(t *testing.T, options string) string {
	t.Helper()
	return c.head(t, "sbatch --parsable -o 'job-%j.out' "+options+" --wrap 'srun hostname'")
}

// completes waits until a job has ended well.
func (c *cluster) completes(t *testing.T, job string) {
	t.Helper()
	eventually(t, patience, "job "+job+" completed", func() bool { return c.jobState(t, job) == "COMPLETED" })
}

func protectedQueue(t *testing.T, c *cluster) {
	job := c.batch(t, "-p start -N 10")
	status := func() string {
		return strings.TrimSpace(c.must(t, "pcluster", "describe-compute-fleet", "-n", c.name, "--query", "status"))
	}
	eventually(t, patience, "the fleet is protected", func() bool { return status() == `"PROTECTED"` })
	eventually(t, patience, "no instance is left", func() bool { return len(c.computeInstances(t)) == 0 })
	eventually(t, patience, "Slurm shows that the queue is inactive, and powered down", func() bool {
		return c.head(t, "squeue -h -o '%T %r' -j "+job+"; sinfo -h -p start -o '%a %t'") == "PENDING PartitionInactive\ninactive idle~"
	})
	c.expectWhy(t, "job", job,
		"Queue start is inactive (protected mode): 10 of its nodes failed to start, the last of them start-dy-ten-",
		"exit code 3; last lines of its output: preparing the scratch disk is not there",
		"pcluster update-compute-fleet --cluster-name NAME --status START_REQUESTED")
	down := `pcluster_fleet_nodes{queue="start",compute_resource="ten",state="powered_down"}`
	eventually(t, patience, "the metrics show it", func() bool { return c.metric(t, down) == "10" })
	c.expectMetrics(t, map[string]string{
		`pcluster_fleet_status{status="PROTECTED"}`:                                                 "1",
		`pcluster_fleet_failed_starts{queue="start",compute_resource="ten"}`:                        "10",
		`pcluster_fleet_instances_launched_total{queue="start",compute_resource="ten"}`:             "10",
		`pcluster_fleet_node_start_seconds_count{stage="all",queue="start",compute_resource="ten"}`: "",
	})
	c.putBootScript(t, "start.sh", "exit 0")
	c.must(t, "pcluster", "update-compute-fleet", "-n", c.name, "--status", "START_REQUESTED")
	eventually(t, patience, "the fleet runs", func() bool { return status() == `"RUNNING"` })
	c.completes(t, job)
	c.expectMetrics(t, map[string]string{
		`pcluster_fleet_failed_starts{queue="start",compute_resource="ten"}`:                        "",
		`pcluster_fleet_node_start_seconds_count{stage="all",queue="start",compute_resource="ten"}`: "10",
	})
}

func slowScript(t *testing.T, c *cluster) {
	c.head(t, "sudo scontrol update nodename=start-dy-ten-[1-10] state=power_down_asap reason=again")
	eventually(t, patience, "the queue is cold", func() bool { return c.head(t, "sinfo -h -p start -o %t") == "idle~" })
	// From here on a boot that stands still is given up soon.
	c.configureFleet(t, "node_first_report_timeout = 25", "node_progress_timeout = 10")
	before := c.metric(t, `pcluster_fleet_events_total{what="start-failed"}`)
	c.putBootScript(t, "start.sh", "sleep 20")
	job := c.batch(t, "-p start")
	eventually(t, patience, "the answer names the script", func() bool { return strings.Contains(c.why(t, "job", job), "boots: OnNodeStart, for 1") })
	c.completes(t, job)
	if after := c.metric(t, `pcluster_fleet_events_total{what="start-failed"}`); after != before {
		t.Errorf("%s starts had failed, now %s", before, after)
	}
	c.putBootScript(t, "start.sh", "exit 0")
}

// failedStarts are the starts of nodes that failed, as the fleet's record has them.
func (c *cluster) failedStarts(t *testing.T) []failedStart {
	t.Helper()
	var all []failedStart
	for line := range strings.Lines(c.head(t, `sudo grep '"what":"start-failed"' /var/log/parallelcluster/fleet_record || true`)) {
		var e struct {
			Nodes     string
			Instances map[string]string
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		for id := range e.Instances {
			all = append(all, failedStart{e.Nodes, id})
		}
	}
	return all
}

type failedStart struct{ node, instance string }

// failsOnce submits a job whose first node does not come up, compares what is told of
// it, mends what is wrong, and waits until the job has run elsewhere.
func (c *cluster) failsOnce(t *testing.T, queue string, mend func(), told ...string) (job string, first failedStart) {
	t.Helper()
	before := len(c.failedStarts(t))
	job = c.batch(t, "-p "+queue)
	eventually(t, patience, "a node is given up", func() bool {
		now := c.failedStarts(t)
		if len(now) == before {
			return false
		}
		first = now[before]
		return true
	})
	mend()
	c.expectWhy(t, "node", first.node, append(told, first.instance)...)
	c.completes(t, job)
	return job, first
}

func failingConfigured(t *testing.T, c *cluster) {
	c.putBootScript(t, "configured.sh", `echo "asking the $1 server"; echo it is away >&2; exit 7`)
	job, first := c.failsOnce(t, "configured", func() { c.putBootScript(t, "configured.sh", "exit 0") },
		"step OnNodeConfigured: Failed to execute OnNodeConfigured script s3://boots-scripts/configured.sh",
		"exit code 7; last lines of its output: asking the licence server it is away",
		"log streams of i-")
	c.expectWhy(t, "job", job, "It is over: COMPLETED", "Before that", "OnNodeConfigured")
	// Its last words were shipped before it ended.
	group := strings.TrimSpace(c.must(t, "aws", "logs", "describe-log-groups", "--log-group-name-prefix", "/aws/parallelcluster/", "--query", "logGroups[0].logGroupName", "--output", "text"))
	stream := strings.TrimSpace(c.must(t, "aws", "logs", "describe-log-streams", "--log-group-name", group,
		"--query", "logStreams[?ends_with(logStreamName, '."+first.instance+".boot')].logStreamName", "--output", "text"))
	if log := c.must(t, "pcluster", "get-cluster-log-events", "-n", c.name, "--log-stream-name", stream); !strings.Contains(log, "it is away") {
		t.Errorf("stream %s does not have the output of the script:\n%s", stream, log)
	}
}

func missingScript(t *testing.T, c *cluster) {
	c.must(t, "aws", "s3", "rm", "--quiet", "s3://boots-scripts/configured.sh")
	c.head(t, "sudo scontrol update nodename=configured-dy-one-[1-2] state=power_down_asap reason=again")
	eventually(t, patience, "the queue is cold", func() bool { return c.head(t, "sinfo -h -p configured -o %t") == "idle~" })
	c.failsOnce(t, "configured", func() { c.putBootScript(t, "configured.sh", "exit 0") },
		"Failed to download OnNodeConfigured script s3://boots-scripts/configured.sh")
}

func hangsBeforeBoot(t *testing.T, c *cluster) {
	c.must(t, "pcluster", "sandbox", "fault", "boot", "c5.large", "--times", "1")
	c.failsOnce(t, "plain", func() {}, "its instance has not begun to boot within 25s", "compute_console_output.log")
}

func hangsInBoot(t *testing.T, c *cluster) {
	c.head(t, "sudo scontrol update nodename=plain-dy-one-[1-2] state=power_down_asap reason=again")
	eventually(t, patience, "the queue is cold", func() bool { return c.head(t, "sinfo -h -p plain -o %t") == "idle~" })
	// Only nodes ask so, for their names.
	c.must(t, "pcluster", "sandbox", "fault", "delay", "dynamodb:Query", "5m")
	c.failsOnce(t, "plain", func() { c.must(t, "pcluster", "sandbox", "fault", "clear") }, "its boot stands still at name for 10s")
}

// countedEvents waits for what ParallelCluster's alarms count, which is written once a
// minute: failures of one kind may be in several lines.
func countedEvents(t *testing.T, c *cluster) {
	for kind, want := range map[string]int{
		"other-bootstrap-error":        10, // nodes whose script failed
		"dynamic-resume-timeout-error": 1,  // nodes that hung
	} {
		eventually(t, patience, fmt.Sprintf("%d nodes with failures of kind %s are counted", want, kind), func() bool {
			counted := make(map[string]bool)
			for line := range strings.Lines(c.head(t, "sudo cat /var/log/parallelcluster/clustermgtd.events")) {
				var e struct {
					Type    string `json:"event-type"`
					Message string
					Detail  struct {
						Kind  string `json:"failure-type"`
						Count int
						Nodes []struct{ Name string }
					}
				}
				// The last line may not be whole yet, and other events have other details.
				if json.Unmarshal([]byte(line), &e) != nil || e.Type != "protected-mode-error-count" || e.Detail.Kind != kind {
					continue
				}
				if e.Message != "Number of nodes that failed to bootstrap" || e.Detail.Count != len(e.Detail.Nodes) {
					t.Fatalf("an event of another shape: %s", line)
				}
				for _, n := range e.Detail.Nodes {
					counted[n.Name] = true
				}
			}
			if kind == "other-bootstrap-error" {
				maps.DeleteFunc(counted, func(node string, _ bool) bool { return !strings.HasPrefix(node, "start-dy-ten-") })
			}
			return len(counted) >= want
		})
	}
}
