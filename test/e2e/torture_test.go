//go:build linux

package e2e

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var tortures = flag.Bool("torture", false, "maltreat a cluster, too")

// TestTorture has a cluster work while everything around it fails: a day's worth of
// mixed jobs, and of misfortune, in minutes. Every job must end exactly once as Slurm
// counts it, and every instance that was launched for them must be gone in the end.
func TestTorture(t *testing.T) {
	if !*tortures {
		t.Skip("takes some ten minutes: make torture")
	}
	c := newTorture(t)
	c.endure(t, []ordeal{
		{"nothing fails", func(*testing.T) {}},
		{"no capacity for a type", c.noCapacity},
		{"EC2 throttles", c.throttled},
		{"a machine never boots", c.neverBoots},
		{"a boot hangs", c.bootHangs},
		{"a machine is killed under its job", c.killed},
		{"a node is cut off from the head node", c.cutOff},
		{"the head node is cut off from everything", c.headCutOff},
		{"the head node is cut off from a subnet", c.subnetCutOff},
		{"a spot instance is taken away", c.interrupted},
		{"an instance is to be retired", c.retired},
		{"the fleet daemon and slurmctld are killed", c.daemonsKilled},
		{"the disk is full", c.diskFull},
		{"the head node reboots", c.headReboots},
	})
	c.ledgerCloses(t)
}

// TestTortureShort is the part of TestTorture that takes two or three minutes:
//
//	go test -run TestTortureShort ./test/e2e -torture
func TestTortureShort(t *testing.T) {
	if !*tortures {
		t.Skip("takes some minutes: -torture")
	}
	c := newTorture(t)
	c.endure(t, []ordeal{
		{"no capacity for a type", c.noCapacity},
		{"EC2 throttles", c.throttled},
		{"the head node is cut off from everything", c.headCutOff},
		{"the fleet daemon and slurmctld are killed", c.daemonsKilled},
	})
	c.powerDown(t)
	c.ledgerCloses(t)
}

// An ordeal is something that goes wrong while jobs wait and run.
type ordeal struct {
	name string
	run  func(*testing.T)
}

// newTorture makes the cluster that is to be maltreated.
func newTorture(t *testing.T) *torture {
	t.Helper()
	r := startRegion(t)
	file := filepath.Join(root, "test", "e2e", "testdata", "torture.yaml")
	r.must(t, "pcluster", "sandbox", "adopt", "-c", file)
	r.must(t, "pcluster", "create-cluster", "-n", "torture", "-c", file, "--wait")
	c := &torture{cluster: r.enter(t, "torture", filepath.Join(r.home, "keys", "torture-key.pem"), "ubuntu"), want: map[string]string{}}
	// Otherwise types without capacity are left alone for ten minutes, and boots that
	// hang for five. On a machine that is busy with ten boots some may be too late for
	// slurmctld, more than once: what comes of that is TestBoots' matter.
	c.configureFleet(t, "insufficient_capacity_timeout = 10", "node_progress_timeout = 30", "protected_failure_count = 100")
	t.Cleanup(func() {
		if t.Failed() {
			c.explain(t)
		}
	})
	return c
}

// endure has the cluster work through ordeals, and waits until all its jobs have ended.
func (c *torture) endure(t *testing.T, all []ordeal) {
	t.Helper()
	for _, o := range all {
		began := time.Now()
		c.submitMix(t)
		if !t.Run(o.name, o.run) {
			t.FailNow()
		}
		c.must(t, "pcluster", "sandbox", "fault", "clear")
		t.Logf("%s: %.0f s", o.name, time.Since(began).Seconds())
	}
	c.allEnd(t)
}

// A torture is a cluster and how each of its jobs has to end.
type torture struct {
	*cluster
	want map[string]string // job or array task to the state that it must end in

	forgotFrom, forgotTo string // between which slurmctld forgot ends, as it was killed
}

// submit submits a job with options and a command, and returns its ID.
func (c *torture) submit(t *testing.T, state, options, command string) string {
	t.Helper()
	id := c.head(t, fmt.Sprintf("sbatch --parsable --requeue -o /dev/null %s --wrap '%s'", options, command))
	c.want[id] = state
	return id
}

// powerDown has nodes go as soon as they have no job.
func (c *torture) powerDown(t *testing.T) {
	t.Helper()
	c.head(t, "sudo scontrol update nodename=work-dy-small-[1-5],work-dy-flex-[1-4],rare-dy-any-[1-2],spot-dy-cheap-[1-2],apart-dy-lone-1 state=power_down_asap reason=torture")
}

// submitMix submits jobs of all kinds to nodes most of which are off: an array, jobs of several nodes, one that wants
// nodes for itself, one that is cancelled while its nodes power up, one that its owner
// starts again.
func (c *torture) submitMix(t *testing.T) {
	t.Helper()
	c.powerDown(t)
	array := c.head(t, "sbatch --parsable --requeue -o /dev/null -p work --array=1-6 --wrap 'sleep 1'")
	for i := 1; i <= 6; i++ {
		c.want[fmt.Sprintf("%s_%d", array, i)] = "COMPLETED"
	}
	c.submit(t, "COMPLETED", "-p work -N 2", "srun -K0 hostname")
	c.submit(t, "COMPLETED", "-p work -N 3 --exclusive", "srun hostname")
	cancelled := c.submit(t, "CANCELLED", "-p work -N 2 --exclusive", "sleep 600")
	again := c.submit(t, "COMPLETED", "-p work", "sleep 2; test $SLURM_RESTART_COUNT || sleep 600")
	eventually(t, 4*time.Minute, "job "+again+" runs", func() bool { return c.jobState(t, again) == "RUNNING" })
	c.head(t, "scontrol requeue "+again)
	c.head(t, "scancel "+cancelled)
}

// runsOn submits a job for a node that ends well only if it is not disturbed for a
// while, and waits until it runs. It returns the node's instance.
func (c *torture) runsOn(t *testing.T, options string) (job, instance string) {
	t.Helper()
	job = c.submit(t, "COMPLETED", options, "test $SLURM_RESTART_COUNT || sleep 240")
	eventually(t, 4*time.Minute, "job "+job+" runs", func() bool { return c.jobState(t, job) == "RUNNING" })
	node := c.head(t, "squeue -h -o %N -j "+job)
	address := c.head(t, "scontrol -o show node "+node+" | grep -o ' NodeAddr=[^ ]*' | cut -d= -f2")
	return job, c.instances(t, "Name=private-ip-address,Values="+address, "Name=instance-state-name,Values=running")[0]
}

// instances returns the IDs of instances that match filters.
func (c *torture) instances(t *testing.T, filters ...string) []string {
	t.Helper()
	args := append([]string{"aws", "ec2", "describe-instances", "--output", "json", "--query", "Reservations[].Instances[].InstanceId", "--filters"}, filters...)
	var ids []string
	c.query(t, &ids, args...)
	return ids
}

// startsAgain waits until a job runs, or has run, for another time.
func (c *torture) startsAgain(t *testing.T, job string) {
	t.Helper()
	eventually(t, 4*time.Minute, "job "+job+" is started again", func() bool {
		return c.head(t, "scontrol -o show job "+job+" | grep -o 'Restarts=[0-9]*'") != "Restarts=0"
	})
}

func (c *torture) fault(t *testing.T, args ...string) {
	t.Helper()
	c.must(t, append([]string{"pcluster", "sandbox", "fault"}, args...)...)
}

func (c *torture) noCapacity(t *testing.T) {
	for _, kind := range []string{"m5.xlarge", "m5a.xlarge"} {
		c.must(t, "pcluster", "sandbox", "capacity", kind, "0")
	}
	c.submit(t, "COMPLETED", "-p rare -N 2", "srun hostname")
	eventually(t, 60*time.Second, "Slurm tells why", func() bool {
		return strings.Contains(c.head(t, "scontrol -o show nodes rare-dy-any-[1-2]"), "InsufficientInstanceCapacity")
	})
	for _, kind := range []string{"m5.xlarge", "m5a.xlarge"} {
		c.must(t, "pcluster", "sandbox", "capacity", kind, "unlimited")
	}
}

func (c *torture) throttled(t *testing.T) {
	c.fault(t, "refuse", "ec2:RunInstances", "RequestLimitExceeded", "--times", "6")
	c.fault(t, "refuse", "ec2:CreateFleet", "RequestLimitExceeded", "--times", "6")
	c.fault(t, "refuse", "ec2:DescribeInstances", "RequestLimitExceeded", "--for", "10s")
	c.fault(t, "delay", "dynamodb:*", "500ms", "--for", "20s")
	c.submit(t, "COMPLETED", "-p work -N 5 --exclusive", "srun hostname")
}

func (c *torture) neverBoots(t *testing.T) {
	c.fault(t, "boot", "m5.large", "--times", "1")
	id := c.submit(t, "COMPLETED", "-p spot", "hostname")
	eventually(t, 4*time.Minute, "the job gets another node", func() bool { return c.jobState(t, id) == "COMPLETED" })
}

// bootHangs keeps a node from learning its name.
func (c *torture) bootHangs(t *testing.T) {
	c.fault(t, "delay", "dynamodb:Query", "5m", "--times", "1")
	id := c.submit(t, "COMPLETED", "-p spot", "hostname")
	eventually(t, 4*time.Minute, "the job gets another node", func() bool { return c.jobState(t, id) == "COMPLETED" })
}

// retired has AWS announce that it will end an instance: its job is back in the queue
// before. The health of instances is asked for when the daemon starts, and then seldom.
func (c *torture) retired(t *testing.T) {
	job, instance := c.runsOn(t, "-p work --exclusive")
	c.fault(t, "event", instance, "instance-retirement", "--in", "70s")
	c.head(t, "sudo systemctl restart clustermgtd")
	c.startsAgain(t, job)
	eventually(t, 2*time.Minute, "the instance is replaced", func() bool { return !slices.Contains(c.computeInstances(t), instance) })
}

func (c *torture) killed(t *testing.T) {
	job, instance := c.runsOn(t, "-p work --exclusive")
	c.fault(t, "kill", instance)
	c.startsAgain(t, job)
}

func (c *torture) cutOff(t *testing.T) {
	job, instance := c.runsOn(t, "-p work --exclusive")
	head := c.instances(t, "Name=tag:parallelcluster:node-type,Values=HeadNode")[0]
	c.fault(t, "cut", instance, head)
	c.startsAgain(t, job)
}

// headCutOff has the head node hear nobody.
func (c *torture) headCutOff(t *testing.T) {
	c.waitsOutACut(t, "-p work --exclusive", func(_, head string) []string { return []string{head} })
}

// subnetCutOff has the head node not hear the only node of a subnet, and all others.
func (c *torture) subnetCutOff(t *testing.T) {
	c.waitsOutACut(t, "-p apart --exclusive", func(instance, head string) []string { return []string{instance, head} })
}

// waitsOutACut has a cut last for longer than slurmctld waits for nodes that don't answer.
// No job may lose its node for it, and a drained node stays drained.
func (c *torture) waitsOutACut(t *testing.T, options string, between func(instance, head string) []string) {
	t.Helper()
	job, instance := c.runsOn(t, options)
	node := c.head(t, "squeue -h -o %N -j "+job)
	c.head(t, "sudo scontrol update nodename="+node+" state=drain reason=mine")
	head := c.instances(t, "Name=tag:parallelcluster:node-type,Values=HeadNode")[0]
	log := "sudo grep -c 'not responding, setting DOWN' /var/log/slurmctld.log || true"
	before := c.head(t, log)
	told := `sudo grep -c '"in-touch"' /var/log/parallelcluster/fleet_record || true`
	toldBefore := c.head(t, told)
	c.fault(t, append([]string{"cut"}, between(instance, head)...)...)
	time.Sleep(5 * slurmdTimeout / 2)
	c.must(t, "pcluster", "sandbox", "fault", "clear")
	eventually(t, time.Minute, "the node answers", func() bool {
		return !strings.Contains(c.head(t, "scontrol -o show node "+node), "NOT_RESPONDING")
	})
	if after := c.head(t, log); after != before {
		t.Errorf("slurmctld has given up nodes %s times, before %s", after, before)
	}
	if s := c.jobState(t, job); s != "RUNNING" || !slices.Contains(c.computeInstances(t), instance) {
		t.Errorf("a job that ran on %s is %s", instance, s)
	}
	if s := c.head(t, "scontrol -o show node "+node); !strings.Contains(s, "DRAIN") || !strings.Contains(s, "Reason=mine") {
		t.Errorf("the node that a user had drained: %s", s)
	}
	eventually(t, 30*time.Second, "the record tells that the head node was cut off, and is not any more", func() bool {
		r := c.head(t, "sudo cat /var/log/parallelcluster/fleet_record")
		return strings.Contains(r, `"cut-off"`) && c.head(t, told) != toldBefore
	})
	c.head(t, "sudo scontrol update nodename="+node+" state=resume")
	c.head(t, "scancel "+job)
	c.want[job] = "CANCELLED"
}

// slurmdTimeout is SlurmdTimeout in torture.yaml.
const slurmdTimeout = time.Minute

func (c *torture) interrupted(t *testing.T) {
	job, instance := c.runsOn(t, "-p spot")
	c.fault(t, "interrupt", instance, "--notice", "20s")
	c.startsAgain(t, job)
}

func (c *torture) daemonsKilled(t *testing.T) {
	job, instance := c.runsOn(t, "-p work --exclusive")
	c.submit(t, "COMPLETED", "-p work -N 4 --exclusive", "srun hostname")
	// Slurm writes its state every few seconds: a job that it was told of since is
	// forgotten by a kill, which nobody outside can help.
	c.head(t, "touch /tmp/submitted")
	eventually(t, time.Minute, "slurmctld has written its state", func() bool {
		return c.ssh(t, "sudo find /var/spool/slurm.state/job_state -newer /tmp/submitted | grep -q .").code == 0
	})
	c.forgotFrom = c.head(t, "date -d '10 seconds ago' +%FT%T")
	for range 3 {
		c.head(t, "sudo systemctl kill -s KILL clustermgtd slurmctld")
		time.Sleep(3 * time.Second) // each has begun to work again
	}
	c.forgotTo = c.head(t, "date +%FT%T")
	eventually(t, 60*time.Second, "slurmctld answers", func() bool { return c.ssh(t, "scontrol ping | grep -q UP").code == 0 })
	if s := c.jobState(t, job); s != "RUNNING" || !slices.Contains(c.computeInstances(t), instance) {
		t.Errorf("a job that ran on %s is %s", instance, s)
	}
	c.head(t, "scancel "+job)
	c.want[job] = "CANCELLED"
}

// diskFull leaves the fleet's memory no room.
func (c *torture) diskFull(t *testing.T) {
	state := filepath.Dir(c.head(t, "sudo find /var/lib -name fleet.json"))
	c.head(t, fmt.Sprintf("sudo mount -t tmpfs -o size=4k tmpfs %[1]s && sudo sh -c 'head -c 8192 /dev/zero > %[1]s/full' || true", state))
	c.submit(t, "COMPLETED", "-p work -N 5 --exclusive", "srun hostname")
	time.Sleep(10 * time.Second) // for which nothing can be launched
	c.head(t, "sudo umount "+state)
}

func (c *torture) headReboots(t *testing.T) {
	job, instance := c.runsOn(t, "-p work --exclusive")
	c.ssh(t, "sudo reboot")
	eventually(t, 2*time.Minute, "the head node is back", func() bool {
		return c.ssh(t, "scontrol ping | grep -q UP && systemctl is-active clustermgtd").code == 0
	})
	if s := c.jobState(t, job); s != "RUNNING" || !slices.Contains(c.computeInstances(t), instance) {
		t.Errorf("a job that ran on %s is %s", instance, s)
	}
	c.head(t, "scancel "+job)
	c.want[job] = "CANCELLED"
}

// allEnd waits until Slurm has no job left, and compares how each ended. Slurm writes
// a line for each end of a job, those after which it is started again included.
func (c *torture) allEnd(t *testing.T) {
	eventually(t, 8*time.Minute, "all jobs have ended", func() bool { return c.head(t, "squeue -h -o %i") == "" })
	type end struct{ state, at string }
	ended, seen := make(map[string][]end), make(map[string]bool)
	line := regexp.MustCompile(`JobId=(\d+) .*JobState=(\w+) .*StartTime=(\S+) EndTime=(\S+) `)
	task := regexp.MustCompile(`ArrayJobId=(\d+) ArrayTaskId=(\d+)`)
	for l := range strings.Lines(c.head(t, "sudo cat /var/spool/slurm.state/jobs-ended")) {
		m := line.FindStringSubmatch(l)
		if m == nil {
			continue
		}
		id := m[1]
		if a := task.FindStringSubmatch(l); a != nil {
			id = a[1] + "_" + a[2]
		}
		switch m[2] {
		case "NODE_FAIL", "REQUEUED", "PENDING":
			continue // and was started again
		}
		// A slurmctld that is killed after it wrote of an end may write of it again: one
		// start has one end.
		if start := id + " " + m[3]; !seen[start] {
			seen[start] = true
			ended[id] = append(ended[id], end{m[2], m[4]})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.want)) {
		// Nor does a killed slurmctld know the ends of its last seconds: it starts those
		// jobs again, as their nodes don't have them.
		got := ended[id]
		for len(got) > 1 && c.forgotFrom <= got[0].at && got[0].at <= c.forgotTo {
			t.Logf("job %s had ended as %s at %s, which the killed slurmctld forgot", id, got[0].state, got[0].at)
			got = got[1:]
		}
		if len(got) != 1 || got[0].state != c.want[id] {
			t.Errorf("job %s ended as %v, want %s once", id, got, c.want[id])
		}
	}
	t.Logf("%d jobs and array tasks", len(c.want))
}

// ledgerCloses waits until only the static node has an instance.
func (c *torture) ledgerCloses(t *testing.T) {
	live := []string{"Name=tag:parallelcluster:node-type,Values=Compute", "Name=instance-state-name,Values=pending,running,stopping,stopped"}
	eventually(t, 4*time.Minute, "only the static node has an instance", func() bool { return len(c.instances(t, live...)) == 1 })
	var memory struct {
		Groups, Launches, Outcomes, Assigned map[string]json.RawMessage
	}
	state := c.head(t, "sudo find /var/lib -name fleet.json")
	eventually(t, time.Minute, "the fleet daemon has nothing under way", func() bool {
		memory.Assigned = nil
		if err := json.Unmarshal([]byte(c.head(t, "sudo cat "+state)), &memory); err != nil {
			t.Fatal(err)
		}
		return len(memory.Groups) == 0 && len(memory.Launches) == 0 && len(memory.Outcomes) == 0 && len(memory.Assigned) == 1
	})
	all := c.instances(t, live[0])
	t.Logf("%d instances were launched, as far as EC2 remembers", len(all))
}

// explain prints what helps to understand a failure.
func (c *cluster) explain(t *testing.T) {
	for _, what := range []string{"squeue -o '%i %T %r %N'", "sinfo -N -o '%N %T %E'", "sudo tail -n 60 /var/log/parallelcluster/clustermgtd", "sudo tail -n 40 /var/log/slurmctld.log"} {
		t.Logf("%s\n%s", what, c.ssh(t, what).stdout)
	}
}
