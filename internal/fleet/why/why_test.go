package why

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pcluster/internal/fleet/record"
	"pcluster/internal/slurm"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// noon is when all stories begin.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time { return noon.Add(time.Duration(seconds * float64(time.Second))) }

// a chronicle is a record in the making.
type chronicle []record.Entry

func (c *chronicle) add(seconds float64, e record.Entry) {
	e.Time = at(seconds)
	*c = append(*c, e)
}

// up lets a node come up: it has an instance after 1 s, reports after 9, boots for 8 and
// registers 0.2 s after that.
func (c *chronicle) up(begin float64, node, instance string) {
	of := map[string]string{instance: node}
	c.add(begin+1, record.Entry{What: record.Assigned, Nodes: node, Instances: of})
	c.add(begin+1.2, record.Entry{What: record.Named, Nodes: node, Instances: of})
	c.add(begin+10, record.Entry{What: record.Booting, Nodes: node, Instances: of, Steps: []string{"hostname", "munge"}})
	c.add(begin+15, record.Entry{What: record.Booting, Nodes: node, Instances: of, Steps: []string{"OnNodeConfigured"}})
	c.add(begin+18, record.Entry{What: record.Booted, Nodes: node, Instances: of, Took: map[string]float64{"hostname": 0.05, "munge": 0.4, "OnNodeConfigured": 6.25}})
	c.add(begin+18.2, record.Entry{What: record.Registered, Nodes: node, Instances: of})
}

func (c *chronicle) launch(seconds float64, nodes string, count int, job string) {
	c.add(seconds, record.Entry{What: record.Asked, Nodes: nodes, Jobs: []string{job}})
	c.add(seconds, record.Entry{
		What: record.LaunchTried, Nodes: nodes, Jobs: []string{job}, Queue: "q", Resource: "c", Types: []string{"c5.large", "c5a.large"},
		Subnets: []string{"subnet-1"}, Count: count, Min: count, Token: "t" + job,
	})
}

func (c *chronicle) answered(seconds float64, nodes string, ids ...string) {
	e := record.Entry{What: record.LaunchAnswered, Nodes: nodes, Queue: "q", Resource: "c", Count: len(ids), Instances: map[string]string{}}
	for _, id := range ids {
		e.Instances[id] = ""
	}
	c.add(seconds, e)
}

func (c *chronicle) refused(seconds float64, nodes string, count int, code, message string, until float64) {
	c.add(seconds, record.Entry{What: record.LaunchRefused, Nodes: nodes, Queue: "q", Resource: "c", Count: count, Code: code, Message: message})
	c.add(seconds, record.Entry{What: record.Exhausted, Queue: "q", Resource: "c", Code: code, Message: message, Until: at(until)})
	c.add(seconds, record.Entry{What: record.NodeFailed, Nodes: nodes, Code: code, Message: message})
}

// stories are questions about fleets to which something has happened.
var stories = map[string]struct {
	job, node string
	facts     func() Facts
}{
	"job-that-started": {job: "42", facts: func() Facts {
		var c chronicle
		c.add(-100, record.Entry{What: record.DaemonStarted})
		c.add(1, record.Entry{What: record.JobWaits, Nodes: "q-dy-c-[1-2]", Jobs: []string{"42"}})
		c.launch(1.1, "q-dy-c-[1-2]", 2, "42")
		c.answered(2.1, "q-dy-c-[1-2]", "i-1", "i-2")
		c.up(1.1, "q-dy-c-1", "i-1")
		c.up(1.4, "q-dy-c-2", "i-2")
		c.add(19.7, record.Entry{What: record.JobReleased, Nodes: "q-dy-c-[1-2]", Jobs: []string{"42"}})
		return Facts{Now: at(30), Record: c, Job: &slurm.JobStatus{
			ID: "42", State: "RUNNING", Partition: "q", Nodes: []string{"q-dy-c-1", "q-dy-c-2"}, Submitted: at(0), Started: at(20),
		}}
	}},
	"job-that-waits-for-a-boot": {job: "42", facts: func() Facts {
		var c chronicle
		c.launch(1, "q-dy-c-[1-3]", 3, "42")
		c.answered(2, "q-dy-c-[1-3]", "i-1", "i-2", "i-3")
		c.up(1, "q-dy-c-1", "i-1")
		c.add(2, record.Entry{What: record.Assigned, Nodes: "q-dy-c-2", Instances: map[string]string{"i-2": "q-dy-c-2"}})
		c.add(2, record.Entry{What: record.Assigned, Nodes: "q-dy-c-3", Instances: map[string]string{"i-3": "q-dy-c-3"}})
		c.add(12, record.Entry{What: record.Booting, Nodes: "q-dy-c-3", Instances: map[string]string{"i-3": "q-dy-c-3"}, Steps: []string{"OnNodeConfigured"}})
		return Facts{Now: at(120), Record: c, Job: &slurm.JobStatus{
			ID: "42", State: "CONFIGURING", Partition: "q", Nodes: []string{"q-dy-c-1", "q-dy-c-2", "q-dy-c-3"}, Submitted: at(0), Started: at(1),
		}}
	}},
	"job-whose-head-node-is-cut-off": {job: "42", facts: func() Facts {
		var c chronicle
		c.launch(1, "q-dy-c-[1-2]", 2, "42")
		c.answered(2, "q-dy-c-[1-2]", "i-1", "i-2")
		c.up(1, "q-dy-c-1", "i-1")
		c.up(1, "q-dy-c-2", "i-2")
		c.add(19.7, record.Entry{What: record.JobReleased, Nodes: "q-dy-c-[1-2]", Jobs: []string{"42"}})
		c.add(300, record.Entry{What: record.CutOff, Nodes: "q-dy-c-[1-2]", Why: "no node of the subnet is heard: the head node seems to be cut off", Until: at(86700)})
		return Facts{Now: at(4000), Record: c, Job: &slurm.JobStatus{
			ID: "42", State: "RUNNING", Partition: "q", Nodes: []string{"q-dy-c-1", "q-dy-c-2"}, Submitted: at(0), Started: at(20),
		}}
	}},
	"node-that-was-cut-off": {node: "q-dy-c-1", facts: func() Facts {
		var c chronicle
		c.launch(1, "q-dy-c-1", 1, "42")
		c.answered(2, "q-dy-c-1", "i-1")
		c.up(1, "q-dy-c-1", "i-1")
		c.add(300, record.Entry{What: record.CutOff, Nodes: "q-dy-c-1", Why: "no node of the subnet is heard: the head node seems to be cut off", Until: at(86700)})
		c.add(4000, record.Entry{What: record.InTouch, Nodes: "q-dy-c-1", Why: "after 1h2m0s"})
		return Facts{Now: at(5000), Record: c, Nodes: []slurm.Node{{Name: "q-dy-c-1", State: "ALLOCATED+CLOUD"}}}
	}},
	"node-that-hangs": {node: "q-dy-c-1", facts: func() Facts {
		var c chronicle
		c.launch(1, "q-dy-c-1", 1, "42")
		c.answered(2, "q-dy-c-1", "i-1")
		c.up(1, "q-dy-c-1", "i-1")
		c.add(300, record.Entry{What: record.CutOff, Nodes: "q-dy-c-1", Why: "no node of the subnet is heard: the head node seems to be cut off", Until: at(86700)})
		c.add(330, record.Entry{What: record.Answers, Nodes: "q-dy-c-1", Why: "the system answers, and slurmd does not"})
		return Facts{Now: at(400), Record: c, Nodes: []slurm.Node{{Name: "q-dy-c-1", State: "ALLOCATED+CLOUD+NOT_RESPONDING"}}}
	}},
	"job-that-is-too-long-for-its-block": {job: "42", facts: func() Facts {
		var c chronicle
		c.add(-3600, record.Entry{What: record.BlockChanged, Queue: "q", Resource: "c", Block: "cr-1", Code: "active", Until: at(4200)})
		c.add(1800, record.Entry{What: record.BlockEnds, Queue: "q", Resource: "c", Block: "cr-1", Until: at(2400)})
		return Facts{Now: at(2000), Record: c, Job: &slurm.JobStatus{
			ID: "42", State: "PENDING", Reason: "ReqNodeNotAvail, Reserved for maintenance", Partition: "q", Submitted: at(1900),
		}}
	}},
	"job-without-capacity": {job: "42", facts: func() Facts {
		var c chronicle
		c.launch(1, "q-dy-c-[1-2]", 2, "42")
		c.refused(2.3, "q-dy-c-[1-2]", 2, "InsufficientInstanceCapacity", "We currently do not have sufficient c5.large capacity in the Availability Zone you requested.", 602.3)
		return Facts{Now: at(60), Record: c, Job: &slurm.JobStatus{ID: "42", State: "PENDING", Reason: "BeginTime", Partition: "q", Submitted: at(3)}}
	}},
	"job-beyond-the-quota": {job: "42", facts: func() Facts {
		var c chronicle
		c.launch(1, "q-dy-c-[1-2]", 2, "42")
		c.refused(2.3, "q-dy-c-[1-2]", 2, "VcpuLimitExceeded", "You have requested more vCPU capacity than your current vCPU limit of 32 allows for the instance bucket that the specified instance type belongs to.", 602.3)
		return Facts{Now: at(60), Record: c, Job: &slurm.JobStatus{ID: "42", State: "PENDING", Reason: "BeginTime", Partition: "q", Submitted: at(3)}}
	}},
	"job-that-was-requeued": {job: "42", facts: func() Facts {
		var c chronicle
		c.launch(1, "q-dy-c-1", 1, "42")
		c.answered(2, "q-dy-c-1", "i-1")
		c.up(1, "q-dy-c-1", "i-1")
		c.add(19.5, record.Entry{What: record.JobReleased, Nodes: "q-dy-c-1", Jobs: []string{"42"}})
		c.add(200, record.Entry{What: record.Lost, Nodes: "q-dy-c-1", Instances: map[string]string{"i-1": "q-dy-c-1"}, Why: "instance i-1 is terminated"})
		c.launch(211, "q-dy-c-2", 1, "42")
		c.answered(212, "q-dy-c-2", "i-2")
		c.up(211, "q-dy-c-2", "i-2")
		c.add(229.5, record.Entry{What: record.JobReleased, Nodes: "q-dy-c-2", Jobs: []string{"42"}})
		return Facts{Now: at(300), Record: c, Job: &slurm.JobStatus{
			ID: "42", State: "RUNNING", Partition: "q", Nodes: []string{"q-dy-c-2"}, Submitted: at(200), Started: at(230),
		}}
	}},
	"job-on-warm-nodes": {job: "43", facts: func() Facts {
		var c chronicle
		c.launch(1, "q-dy-c-1", 1, "42")
		c.up(1, "q-dy-c-1", "i-1")
		return Facts{Now: at(100), Record: c, Job: &slurm.JobStatus{
			ID: "43", State: "RUNNING", Partition: "q", Nodes: []string{"q-dy-c-1"}, Submitted: at(50), Started: at(50),
		}}
	}},
	"job-that-waits-its-turn": {job: "42", facts: func() Facts {
		return Facts{Now: at(100), Record: chronicle{{Time: at(-1000), What: record.DaemonStarted}}, Job: &slurm.JobStatus{
			ID: "42", State: "PENDING", Reason: "Priority", Partition: "q", Submitted: at(0),
		}}
	}},
	"job-of-a-stopped-fleet": {job: "42", facts: func() Facts {
		var c chronicle
		c.add(-50, record.Entry{What: record.FleetStatus, Why: "STOPPING"})
		c.add(-40, record.Entry{What: record.FleetStatus, Why: "STOPPED"})
		return Facts{Now: at(100), Record: c, Job: &slurm.JobStatus{ID: "42", State: "PENDING", Reason: "PartitionInactive", Partition: "q", Submitted: at(0)}}
	}},
	"job-before-its-capacity-block": {job: "42", facts: func() Facts {
		var c chronicle
		c.add(-900, record.Entry{What: record.BlockChanged, Queue: "q", Resource: "c", Block: "cr-1", Code: "payment-pending", Until: at(3600)})
		c.add(-600, record.Entry{What: record.BlockChanged, Queue: "q", Resource: "c", Block: "cr-1", Code: "scheduled", Until: at(3600)})
		c.add(-600, record.Entry{What: record.BlockChanged, Queue: "other", Resource: "c", Block: "cr-2", Code: "active", Until: at(3600)})
		return Facts{Now: at(100), Record: c, Job: &slurm.JobStatus{ID: "42", State: "PENDING", Reason: "ReqNodeNotAvail, Reserved for maintenance", Partition: "q", Submitted: at(0)}}
	}},
	"node-of-a-capacity-block-that-is-over": {node: "q-st-c-1", facts: func() Facts {
		var c chronicle
		c.add(-7200, record.Entry{What: record.BlockChanged, Queue: "q", Resource: "c", Block: "cr-1", Code: "active", Until: at(-60)})
		c.add(-7190, record.Entry{What: record.AskMissed, Nodes: "q-st-c-1"})
		c.up(-7180, "q-st-c-1", "i-1")
		c.add(-60, record.Entry{What: record.BlockChanged, Queue: "q", Resource: "c", Block: "cr-1", Code: "expired"})
		c.add(-50, record.Entry{What: record.Lost, Nodes: "q-st-c-1", Instances: map[string]string{"i-1": "q-st-c-1"}, Why: "instance i-1 is shutting-down"})
		return Facts{Now: at(100), Record: c, Nodes: []slurm.Node{{Name: "q-st-c-1", State: "IDLE+CLOUD+MAINTENANCE+POWERED_DOWN+RESERVED"}}}
	}},
	"job-of-a-queue-in-protected-mode": {job: "42", facts: func() Facts {
		var c chronicle
		c.add(-50, record.Entry{What: record.StartFailed, Nodes: "other-dy-c-1", Why: "it is drained"})
		c.add(-41, record.Entry{What: record.StartFailed, Nodes: "q-dy-c-3", Instances: map[string]string{"i-3": "q-dy-c-3"}, Why: "boot failed: step storage: fs-1 can't be mounted"})
		c.add(-40, record.Entry{What: record.QueueDisabled, Queue: "q", Count: 10})
		c.add(-40, record.Entry{What: record.FleetStatus, Why: "PROTECTED"})
		return Facts{Now: at(100), Record: c, Job: &slurm.JobStatus{ID: "42", State: "PENDING", Reason: "PartitionInactive", Partition: "q", Submitted: at(0)}}
	}},
	"job-that-nobody-knows": {job: "42", facts: func() Facts { return Facts{Now: at(100)} }},
	"job-of-a-thousand-nodes": {job: "42", facts: func() Facts {
		var c chronicle
		c.launch(1, "q-dy-c-[1-1000]", 1000, "42")
		var nodes []string
		for i := 1; i <= 1000; i++ {
			n := slurm.NodeName{Queue: "q", Resource: "c", Index: i}.String()
			nodes = append(nodes, n)
			c.up(1+float64(i)/100, n, "i-"+n)
		}
		c.add(30, record.Entry{What: record.JobReleased, Nodes: "q-dy-c-[1-1000]", Jobs: []string{"42"}})
		return Facts{Now: at(40), Record: c, Job: &slurm.JobStatus{ID: "42", State: "RUNNING", Partition: "q", Nodes: nodes, Submitted: at(0), Started: at(30)}}
	}},
	"node-in-service": {node: "q-dy-c-1", facts: func() Facts {
		var c chronicle
		c.launch(1, "q-dy-c-1", 1, "42")
		c.answered(2, "q-dy-c-1", "i-1")
		c.up(1, "q-dy-c-1", "i-1")
		c.add(700, record.Entry{What: record.Suspended, Nodes: "q-dy-c-1", Instances: map[string]string{"i-1": "q-dy-c-1"}})
		c.add(700, record.Entry{What: record.Terminated, Nodes: "q-dy-c-1", Instances: map[string]string{"i-1": "q-dy-c-1"}})
		c.launch(1000, "q-dy-c-1", 1, "43")
		c.answered(1001, "q-dy-c-1", "i-2")
		c.up(1000, "q-dy-c-1", "i-2")
		return Facts{Now: at(1100), Record: c, Nodes: []slurm.Node{{Name: "q-dy-c-1", State: "ALLOCATED+CLOUD"}}}
	}},
	"node-that-fails-to-boot": {node: "q-dy-c-1", facts: func() Facts {
		var c chronicle
		of := map[string]string{"i-1": "q-dy-c-1"}
		c.launch(1, "q-dy-c-1", 1, "42")
		c.answered(2, "q-dy-c-1", "i-1")
		c.add(2, record.Entry{What: record.Assigned, Nodes: "q-dy-c-1", Instances: of})
		c.add(12, record.Entry{What: record.Booting, Nodes: "q-dy-c-1", Instances: of, Steps: []string{"OnNodeStart"}})
		c.add(14, record.Entry{What: record.BootFailed, Nodes: "q-dy-c-1", Instances: of, Why: "OnNodeStart: setup.sh: exit status 3"})
		c.add(14, record.Entry{What: record.StartFailed, Nodes: "q-dy-c-1", Instances: of, Why: "boot failed: OnNodeStart: setup.sh: exit status 3"})
		c.add(14, record.Entry{What: record.Terminated, Nodes: "q-dy-c-1", Instances: of})
		c.add(14, record.Entry{What: record.Lost, Nodes: "q-dy-c-1", Why: "boot failed: OnNodeStart: setup.sh: exit status 3"})
		return Facts{Now: at(60), Record: c, Nodes: []slurm.Node{{Name: "q-dy-c-1", State: "IDLE+CLOUD+POWERING_DOWN"}}}
	}},
	"node-that-is-not-needed": {node: "q-dy-c-1", facts: func() Facts {
		return Facts{Now: at(60), Record: chronicle{{Time: at(0), What: record.DaemonStarted}}, Nodes: []slurm.Node{{Name: "q-dy-c-1", State: "IDLE+CLOUD+POWERED_DOWN"}}}
	}},
	"static-node-that-is-tried-again": {node: "q-st-c-1", facts: func() Facts {
		var c chronicle
		c.launch(1, "q-st-c-1", 1, "")
		c.add(2, record.Entry{What: record.LaunchRefused, Nodes: "q-st-c-1", Queue: "q", Resource: "c", Count: 1, Code: "UnauthorizedOperation", Message: "You are not authorized to perform this operation."})
		c.add(2, record.Entry{What: record.NodeFailed, Nodes: "q-st-c-1", Code: "UnauthorizedOperation", Message: "You are not authorized to perform this operation."})
		c.add(2, record.Entry{What: record.Paused, Queue: "q", Resource: "c", Until: at(82)})
		return Facts{Now: at(60), Record: c, Nodes: []slurm.Node{{Name: "q-st-c-1", State: "DOWN+CLOUD", Reason: "(Code:UnauthorizedOperation)You are not authorized to perform this operation."}}}
	}},
	"node-while-slurm-is-away": {node: "q-dy-c-1", facts: func() Facts {
		var c chronicle
		c.launch(1, "q-dy-c-1", 1, "42")
		c.answered(2, "q-dy-c-1", "i-1")
		c.add(2, record.Entry{What: record.Assigned, Nodes: "q-dy-c-1", Instances: map[string]string{"i-1": "q-dy-c-1"}})
		return Facts{Now: at(400), Record: c, SlurmError: errors.New("scontrol: exit status 1: Unable to contact slurm controller (connect failure)")}
	}},
}

// TestAnswers compares what people see with files. go test -update rewrites them.
func TestAnswers(t *testing.T) {
	for name, tt := range stories {
		t.Run(name, func(t *testing.T) {
			var a Answer
			if tt.job != "" {
				a = ExplainJob(tt.job, tt.facts())
			} else {
				a = ExplainNode(tt.node, tt.facts())
			}
			data, err := json.MarshalIndent(a, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			compare(t, name+".txt", a.Text(100))
			compare(t, name+".json", string(data)+"\n")
		})
	}
}

func compare(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}
