package fleet

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pcluster/internal/fleet/record"
	"pcluster/internal/slurm"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func policy(strategy string) Policy {
	p := DefaultPolicy()
	p.Cluster, p.Strategy = "demo", strategy
	one := slurm.Resource{API: slurm.RunInstances, CapacityType: "on-demand", Instances: []slurm.ResourceType{{InstanceType: "c5.large"}}}
	p.Resources = slurm.Resources{"q": {"a": one, "b": one}, "r": {"a": one}}
	p.Queues = map[string]string{
		"q": "q-st-a-[1-2],q-dy-a-[1-10],q-dy-b-[1-10]",
		"r": "r-dy-a-[1-4]",
	}
	return p
}

// A story is a fleet at which things happen, one after the other.
type story struct {
	t      *testing.T
	policy Policy
	mem    Memory
	now    time.Time
	do     Actions        // of the last step, without the record
	record []record.Entry // of all steps
}

func newStory(t *testing.T, strategy string) *story {
	return &story{t: t, policy: policy(strategy), mem: NewMemory(noon), now: noon}
}

func (s *story) step(seen Observed) Actions {
	s.now = s.now.Add(time.Second)
	s.do, s.mem = Plan(seen, s.mem, s.policy, s.now)
	s.record, s.do.Record = append(s.record, s.do.Record...), nil
	return s.do
}

func job(id string, list string) slurm.Job {
	nodes, err := slurm.Expand(list)
	if err != nil {
		panic(err)
	}
	return slurm.Job{ID: id, Nodes: nodes}
}

func request(jobs ...slurm.Job) Request {
	var r Request
	r.Jobs = jobs
	for _, j := range jobs {
		for _, n := range j.Nodes {
			if !slices.Contains(r.Nodes, n) {
				r.Nodes = append(r.Nodes, n)
			}
		}
	}
	return r
}

// answer is EC2's answer with n instances.
func answer(l Launch, n int, code string) Outcome {
	o := Outcome{Token: l.Token, Code: code}
	for i := range n {
		o.Instances = append(o.Instances, Instance{
			ID: "i-" + strings.ReplaceAll(l.Nodes[i], "-", ""), Queue: l.Queue, Resource: l.Resource,
			State: "pending", Addr: "10.0.0." + l.Nodes[i], Token: l.Token,
		})
	}
	return o
}

// launched lists the launches of the last step as node list and least number.
func (s *story) launched() []string {
	var out []string
	for _, l := range s.do.Launch {
		out = append(out, slurm.Compress(l.Nodes)+" min "+string(rune('0'+l.Min)))
	}
	return out
}

func (s *story) assigned() string {
	var out []string
	for _, a := range s.do.Assign {
		out = append(out, a.Node)
	}
	return slurm.Compress(out)
}

func (s *story) failed() map[string]string {
	out := make(map[string]string)
	for _, f := range s.do.Failed {
		out[f.Code] = slurm.Compress(append([]string{f.Node}, strings.FieldsFunc(out[f.Code], func(r rune) bool { return r == ' ' })...))
	}
	return out
}

func (s *story) expect(what string, got, want any) {
	s.t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		s.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestAJobIsLaunchedWholeOrNotAtAll(t *testing.T) {
	s := newStory(t, AllOrNothing)
	s.step(Observed{Resumed: []Request{request(job("7", "q-dy-a-[1-2],q-dy-b-[1-3]"))}})
	s.expect("launches", s.launched(), []string{"q-dy-a-[1-2] min 2", "q-dy-b-[1-3] min 3"})
	a, b := s.do.Launch[0], s.do.Launch[1]

	s.step(Observed{Outcomes: []Outcome{answer(a, 2, "")}})
	s.expect("assigned before all answers are there", s.assigned(), "")

	s.step(Observed{Outcomes: []Outcome{answer(b, 0, InsufficientCapacity)}})
	s.expect("assigned", s.assigned(), "")
	s.expect("given back", s.do.Terminate, []string{"i-qdya1", "i-qdya2"})
	s.expect("node updates", s.do.Nodes, []slurm.NodeUpdate{
		{Nodes: []string{"q-dy-b-1", "q-dy-b-2", "q-dy-b-3"}, State: "down", Reason: "(Code:InsufficientInstanceCapacity)EC2 has not enough instances for all nodes"},
		{Nodes: []string{"q-dy-a-1", "q-dy-a-2"}, State: "down", Reason: "(Code:LimitedInstanceCapacity)EC2 has not enough instances for all nodes"},
	})
	s.expect("what the job's owner sees", len(s.do.Notes), 1)
	s.expect("open groups", len(s.mem.Groups)+len(s.mem.Launches)+len(s.mem.Outcomes)+len(s.mem.Answered), 0)
}

func TestStrategies(t *testing.T) {
	for _, tt := range []struct {
		strategy string
		launches []string
		assigned string // when EC2 has three instances
		back     int
	}{
		{AllOrNothing, []string{"q-dy-a-[1-2] min 2", "q-dy-a-[3-4] min 2"}, "q-dy-a-[1-2]", 0},
		{GreedyAllOrNothing, []string{"q-dy-a-[1-4] min 1"}, "q-dy-a-[1-2]", 1},
		{BestEffort, []string{"q-dy-a-[1-4] min 1"}, "q-dy-a-[1-3]", 0},
	} {
		t.Run(tt.strategy, func(t *testing.T) {
			s := newStory(t, tt.strategy)
			s.step(Observed{Resumed: []Request{request(job("1", "q-dy-a-[1-2]"), job("2", "q-dy-a-[3-4]"))}})
			s.expect("launches", s.launched(), tt.launches)
			left := 3
			var outcomes []Outcome
			for _, l := range s.do.Launch {
				n := min(left, len(l.Nodes))
				code := ""
				if n < l.Min {
					n, code = 0, InsufficientCapacity
				}
				left -= n
				outcomes = append(outcomes, answer(l, n, code))
			}
			s.step(Observed{Outcomes: outcomes})
			s.expect("assigned", s.assigned(), tt.assigned)
			s.expect("given back", len(s.do.Terminate), tt.back)
		})
	}
}

func TestManySmallJobsAreOneLaunchThatTakesWhatThereIs(t *testing.T) {
	s := newStory(t, AllOrNothing)
	s.step(Observed{Resumed: []Request{request(job("1", "q-dy-a-1"), job("2", "q-dy-a-2"), job("3", "q-dy-a-2"), job("4", "q-dy-a-3"))}})
	s.expect("launches", s.launched(), []string{"q-dy-a-[1-3] min 1"})
	s.step(Observed{Outcomes: []Outcome{answer(s.do.Launch[0], 2, "")}})
	s.expect("assigned", s.assigned(), "q-dy-a-[1-2]")
	s.expect("failed", s.failed(), map[string]string{LimitedCapacity: "q-dy-a-3"})
}

func TestJobsThatShareANodeWithOneThatFailedFailToo(t *testing.T) {
	s := newStory(t, AllOrNothing)
	s.step(Observed{Resumed: []Request{request(job("1", "q-dy-a-[1-2]"), job("2", "q-dy-a-[2-3]"))}})
	s.expect("launches", s.launched(), []string{"q-dy-a-[1-2] min 2", "q-dy-a-3 min 1"})
	first, second := s.do.Launch[0], s.do.Launch[1]
	s.step(Observed{Outcomes: []Outcome{answer(second, 1, "")}})
	s.expect("second job before the first has its nodes", s.assigned(), "")
	s.step(Observed{Outcomes: []Outcome{answer(first, 0, "VcpuLimitExceeded")}})
	s.expect("assigned", s.assigned(), "")
	s.expect("given back", s.do.Terminate, []string{"i-qdya3"})
}

func TestARepeatedRequestLaunchesNothing(t *testing.T) {
	s := newStory(t, AllOrNothing)
	r := request(job("1", "q-dy-a-[1-2]"))
	s.step(Observed{Resumed: []Request{r}})
	l := s.do.Launch[0]
	s.step(Observed{Resumed: []Request{r}})
	s.expect("launches while the first is under way", s.launched(), []string(nil))
	s.step(Observed{Outcomes: []Outcome{answer(l, 2, "")}})
	s.step(Observed{Resumed: []Request{r}})
	s.expect("launches when the nodes have instances", s.launched(), []string(nil))
}

func TestARestartRepeatsWhatWasNotAnswered(t *testing.T) {
	s := newStory(t, AllOrNothing)
	s.step(Observed{Resumed: []Request{request(job("1", "q-dy-a-1"), job("2", "q-dy-b-[1-2]"))}})
	launches := s.do.Launch
	s.step(Observed{Outcomes: []Outcome{answer(launches[1], 1, "")}})
	s.step(Observed{Restarted: true})
	s.expect("launches", s.do.Launch, launches[:1])
	s.expect("assignments", s.assigned(), "q-dy-a-1")
}

func TestTokensNeverRecur(t *testing.T) {
	s := newStory(t, BestEffort)
	seen := make(map[string]bool)
	for range 5 {
		s.step(Observed{Resumed: []Request{request(job("1", "q-dy-a-1"))}})
		l := s.do.Launch[0]
		if seen[l.Token] || len(l.Token) > 64 {
			t.Errorf("token %q recurs or is longer than EC2 allows", l.Token)
		}
		seen[l.Token] = true
		s.step(Observed{Outcomes: []Outcome{answer(l, 1, "")}})
		s.step(Observed{Suspended: []string{"q-dy-a-1"}})
	}
}

func TestSuspendedNodesAreTerminatedAtOnce(t *testing.T) {
	s := newStory(t, BestEffort)
	s.step(Observed{Resumed: []Request{request(job("1", "q-dy-a-1"), job("2", "q-dy-a-2"))}})
	l := s.do.Launch[0]
	s.step(Observed{Suspended: []string{"q-dy-a-2"}})
	s.expect("terminated while the launch is under way", s.do.Terminate, []string(nil))
	s.step(Observed{Outcomes: []Outcome{answer(l, 2, "")}})
	s.expect("assigned", s.assigned(), "q-dy-a-1")
	s.expect("terminated", s.do.Terminate, []string{"i-qdya2"})
	s.expect("failures", s.failed(), map[string]string{})
	s.step(Observed{Suspended: []string{"q-dy-a-1"}})
	s.expect("terminated", s.do.Terminate, []string{"i-qdya1"})
}

// view is a look at Slurm now: name, state and address of each node.
func (s *story) view(nodes ...slurm.Node) *SlurmView {
	for i := range nodes {
		n, _ := slurm.ParseNodeName(nodes[i].Name)
		nodes[i].Partitions = []string{n.Queue}
		if nodes[i].Addr == "" {
			nodes[i].Addr = nodes[i].Name
		}
	}
	return &SlurmView{At: s.now.Add(time.Millisecond), Nodes: nodes, Partitions: map[string]string{"q": "UP", "r": "UP"}}
}

func (s *story) ec2(instances ...Instance) *EC2View {
	return &EC2View{At: s.now.Add(time.Millisecond), Instances: instances}
}

// up brings nodes of one compute resource up: launched, named and registered.
func (s *story) up(nodes ...string) {
	s.t.Helper()
	s.step(Observed{Resumed: []Request{{Nodes: nodes}}})
	l := s.do.Launch[0]
	s.step(Observed{Outcomes: []Outcome{answer(l, len(nodes), "")}})
	s.step(Observed{Named: s.do.Assign})
	var view []slurm.Node
	for _, n := range nodes {
		view = append(view, slurm.Node{Name: n, State: "IDLE+CLOUD", Addr: "10.0.0." + n})
	}
	s.step(Observed{Slurm: s.view(view...), EC2: s.ec2(answer(l, len(nodes), "").Instances...)})
	s.expect("actions about healthy nodes", s.do, Actions{})
}

func TestLostInstancesAreReplaced(t *testing.T) {
	s := newStory(t, AllOrNothing)
	s.up("q-dy-a-1", "q-dy-a-2")
	gone := Instance{ID: "i-qdya1", State: "terminated"}
	ok := Instance{ID: "i-qdya2", State: "running"}
	s.step(Observed{
		Slurm: s.view(slurm.Node{Name: "q-dy-a-1", State: "MIXED+CLOUD"}, slurm.Node{Name: "q-dy-a-2", State: "MIXED+CLOUD"}),
		EC2:   s.ec2(gone, ok),
	})
	s.expect("node updates", s.do.Nodes, []slurm.NodeUpdate{
		{Nodes: []string{"q-dy-a-1"}, State: "down", Reason: "pcluster: instance i-qdya1 is terminated"},
		{Nodes: []string{"q-dy-a-1"}, State: "power_down_force"},
	})
	s.expect("failures to start", len(s.mem.Failures), 0)
}

func TestNewInstancesMayBeInvisibleForAWhile(t *testing.T) {
	s := newStory(t, AllOrNothing)
	s.step(Observed{Resumed: []Request{request(job("1", "q-dy-a-1"))}})
	s.step(Observed{Outcomes: []Outcome{answer(s.do.Launch[0], 1, "")}})
	up := slurm.Node{Name: "q-dy-a-1", State: "MIXED+CLOUD+NOT_RESPONDING+POWERING_UP"}
	s.step(Observed{Slurm: s.view(up), EC2: s.ec2()})
	s.expect("actions", s.do, Actions{})
	s.now = s.now.Add(2 * time.Minute)
	s.step(Observed{Slurm: s.view(up), EC2: s.ec2()})
	s.expect("updates after a minute", len(s.do.Nodes), 2)
	s.expect("failures to start", s.mem.Failures, map[string]int{"q/a": 1})
}

func TestANodeWithoutAnInstanceIsLost(t *testing.T) {
	s := newStory(t, AllOrNothing)
	node := slurm.Node{Name: "q-dy-a-1", State: "IDLE+CLOUD", Addr: "10.0.0.9"}
	s.step(Observed{Slurm: s.view(node), EC2: s.ec2(Instance{ID: "i-1", State: "running", Addr: "10.0.0.9", Launched: noon})})
	s.expect("a node whose instance was forgotten", s.mem.Assigned["q-dy-a-1"].Instance, "i-1")

	s = newStory(t, AllOrNothing)
	s.step(Observed{Slurm: s.view(node), EC2: s.ec2(Instance{ID: "i-1", State: "shutting-down", Addr: "10.0.0.9"})})
	s.expect("updates of a node without any", len(s.do.Nodes), 2)
}

func TestUnhealthyNodesArePoweredDown(t *testing.T) {
	for state, want := range map[slurm.State]bool{
		"DOWN+CLOUD":                            true,
		"DOWN+CLOUD+NOT_RESPONDING":             true,
		"IDLE+CLOUD+DRAIN":                      true,
		"ALLOCATED+CLOUD+DRAIN":                 false,
		"DOWN+CLOUD+REBOOT_ISSUED":              false,
		"DOWN+CLOUD+MAINTENANCE+RESERVED":       false,
		"IDLE+CLOUD+POWERING_DOWN":              false,
		"DOWN+CLOUD+NOT_RESPONDING+POWERING_UP": true,
		"MIXED+CLOUD+NOT_RESPONDING":            false,
		"IDLE+CLOUD+DRAIN+POWER_DOWN":           false,
		"MIXED+CLOUD":                           false,
	} {
		s := newStory(t, AllOrNothing)
		s.up("q-dy-a-1")
		s.step(Observed{Slurm: s.view(slurm.Node{Name: "q-dy-a-1", State: state})})
		got := len(s.do.Nodes) > 0 && s.do.Nodes[0].State == slurm.StatePowerDownForce
		if got != want {
			t.Errorf("%s: powered down is %v, want %v", state, got, want)
		}
	}
}

func TestStaticNodesAreKept(t *testing.T) {
	s := newStory(t, AllOrNothing)
	off := func() *SlurmView {
		return s.view(slurm.Node{Name: "q-st-a-1", State: "IDLE+CLOUD+POWERED_DOWN"}, slurm.Node{Name: "q-dy-a-1", State: "IDLE+CLOUD+POWERED_DOWN"})
	}
	s.step(Observed{Slurm: off()})
	up := []slurm.NodeUpdate{{Nodes: []string{"q-st-a-1"}, State: "power_up"}}
	s.expect("node updates", s.do.Nodes, up)

	s.step(Observed{Resumed: []Request{{Nodes: []string{"q-st-a-1"}}}})
	s.step(Observed{Outcomes: []Outcome{answer(s.do.Launch[0], 0, "InternalError")}})
	s.step(Observed{Slurm: off()})
	s.expect("node updates right after a failure", s.do.Nodes, []slurm.NodeUpdate(nil))
	s.now = s.now.Add(firstPause)
	s.step(Observed{Slurm: off()})
	s.expect("node updates after a pause", s.do.Nodes, up)
}

func TestResourcesWithoutCapacityAreLeftAloneForAWhile(t *testing.T) {
	s := newStory(t, AllOrNothing)
	s.step(Observed{Resumed: []Request{request(job("1", "q-dy-a-1"))}})
	s.step(Observed{Outcomes: []Outcome{answer(s.do.Launch[0], 0, InsufficientCapacity)}})
	reason := s.do.Nodes[0].Reason

	s.step(Observed{Slurm: s.view(
		slurm.Node{Name: "q-dy-a-1", State: "DOWN+CLOUD+NOT_RESPONDING+POWERING_UP", Reason: reason},
		slurm.Node{Name: "q-dy-a-2", State: "IDLE+CLOUD+POWERED_DOWN"},
		slurm.Node{Name: "q-dy-b-1", State: "IDLE+CLOUD+POWERED_DOWN"},
	)})
	s.expect("its other nodes", s.do.Nodes, []slurm.NodeUpdate{{Nodes: []string{"q-dy-a-2"}, State: "down", Reason: reason}})

	s.step(Observed{Resumed: []Request{request(job("2", "q-dy-a-3"))}})
	s.expect("launches", s.launched(), []string(nil))
	s.expect("failed", s.failed(), map[string]string{InsufficientCapacity: "q-dy-a-3"})

	s.now = s.now.Add(s.policy.CapacityTimeout)
	s.step(Observed{Slurm: s.view(
		slurm.Node{Name: "q-dy-a-1", State: "DOWN+CLOUD+NOT_RESPONDING+POWERING_UP", Reason: reason},
		slurm.Node{Name: "q-dy-a-2", State: "DOWN+CLOUD+POWERED_DOWN", Reason: reason},
	)})
	s.expect("after the time", s.do.Nodes, []slurm.NodeUpdate{{Nodes: []string{"q-dy-a-1", "q-dy-a-2"}, State: "power_down_force"}})
}

func TestMissedRequestsAreMadeUpFor(t *testing.T) {
	s := newStory(t, AllOrNothing)
	look := func() {
		view := s.view(
			slurm.Node{Name: "q-dy-a-1", State: "MIXED+CLOUD+NOT_RESPONDING+POWERING_UP"},
			slurm.Node{Name: "q-dy-a-2", State: "MIXED+CLOUD+NOT_RESPONDING+POWERING_UP"})
		view.Jobs = []slurm.Job{job("3", "q-dy-a-[1-2]")}
		s.step(Observed{Slurm: view})
	}
	look()
	s.expect("launches at first sight", s.launched(), []string(nil))
	s.now = s.now.Add(s.policy.MissedRequestTimeout)
	look()
	s.expect("launches later", s.launched(), []string{"q-dy-a-[1-2] min 2"})
	look()
	s.expect("launches again", s.launched(), []string(nil))
}

func TestANodeThatWasOffInBetweenGetsANewInstance(t *testing.T) {
	s := newStory(t, AllOrNothing)
	s.up("q-dy-a-1")
	look := func(addr string) {
		view := s.view(slurm.Node{Name: "q-dy-a-1", Addr: addr, State: "ALLOCATED+CLOUD+NOT_RESPONDING+POWERING_UP"})
		view.Jobs = []slurm.Job{job("8", "q-dy-a-1")}
		s.step(Observed{Slurm: view})
	}
	a := s.mem.Assigned["q-dy-a-1"]
	a.Named = true
	s.mem.Assigned["q-dy-a-1"] = a
	look("q-dy-a-1")
	s.expect("ends at first sight", s.do.Terminate, []string(nil))
	s.now = s.now.Add(s.policy.MissedRequestTimeout)
	look(a.Addr)
	s.expect("ends, if it had got its name meanwhile", s.do.Terminate, []string(nil))
	look("q-dy-a-1")
	s.now = s.now.Add(s.policy.MissedRequestTimeout)
	look("q-dy-a-1")
	s.expect("ends", s.do.Terminate, []string{a.Instance})
	s.expect("launches", s.launched(), []string{"q-dy-a-1 min 1"})
}

// A node that was left powering up by an older job must not be launched for a new one before
// the others of that job are.
func TestMissedRequestsOfAJobAreMadeUpForTogether(t *testing.T) {
	s := newStory(t, AllOrNothing)
	starts := func(name string) slurm.Node {
		return slurm.Node{Name: name, State: "MIXED+CLOUD+NOT_RESPONDING+POWERING_UP"}
	}
	s.step(Observed{Slurm: s.view(starts("q-dy-a-1"), starts("q-dy-a-4"))})
	s.now = s.now.Add(s.policy.MissedRequestTimeout)
	look := func() {
		view := s.view(starts("q-dy-a-1"), starts("q-dy-a-2"), starts("q-dy-a-3"), starts("q-dy-a-4"))
		view.Jobs = []slurm.Job{job("3", "q-dy-a-[1-2]"), job("4", "q-dy-a-[2-3]"), job("5", "q-dy-a-4")}
		s.step(Observed{Slurm: view})
	}
	look()
	s.expect("launches for a job whose nodes have all waited", s.launched(), []string{"q-dy-a-4 min 1"})
	s.now = s.now.Add(s.policy.MissedRequestTimeout)
	look()
	s.expect("launches for the others", s.launched(), []string{"q-dy-a-[1-2] min 2", "q-dy-a-3 min 1"})
}

func TestOrphansAreTerminated(t *testing.T) {
	s := newStory(t, AllOrNothing)
	s.step(Observed{Resumed: []Request{request(job("1", "q-dy-a-1"))}})
	launching := s.do.Launch[0]
	old := noon.Add(-time.Hour)
	instances := []Instance{
		{ID: "i-old", State: "running", Launched: old, Queue: "q", Resource: "b"},
		{ID: "i-gone", State: "terminated", Launched: old},
		{ID: "i-launching", State: "pending", Launched: old, Token: launching.Token},
	}
	s.step(Observed{Slurm: s.view(), EC2: s.ec2(instances...)})
	s.expect("terminated while a node may still say that it is its own", s.do.Terminate, []string(nil))
	s.now = s.now.Add(s.policy.OrphanTimeout)
	s.step(Observed{Slurm: s.view(), EC2: s.ec2(instances...)})
	s.expect("terminated", s.do.Terminate, []string{"i-old"})
}

func TestTheFleetStopsAndStarts(t *testing.T) {
	s := newStory(t, AllOrNothing)
	s.up("q-dy-a-1")
	s.step(Observed{Status: StopRequested})
	s.expect("status", s.do.Status, &StatusChange{StopRequested, Stopping})
	s.step(Observed{Slurm: s.view(slurm.Node{Name: "q-dy-a-1", State: "MIXED+CLOUD"}), EC2: s.ec2(Instance{ID: "i-qdya1", State: "running"})})
	s.expect("node updates", s.do.Nodes, []slurm.NodeUpdate{
		{Nodes: []string{"q-dy-a-1"}, State: "down", Reason: "pcluster: the compute fleet stops"},
		{Nodes: []string{"q-dy-a-1"}, State: "power_down_force"},
	})
	s.expect("partitions", s.do.Partitions, []PartitionUpdate{{"q", "INACTIVE"}, {"r", "INACTIVE"}})
	s.expect("terminated", s.do.Terminate, []string{"i-qdya1"})
	s.expect("status while instances end", s.do.Status, (*StatusChange)(nil))

	s.step(Observed{Resumed: []Request{request(job("1", "q-dy-a-2"))}})
	s.expect("launches", s.launched(), []string(nil))
	s.expect("failed", len(s.do.Failed), 1)

	inactive := s.view(slurm.Node{Name: "q-dy-a-1", State: "IDLE+CLOUD+POWERED_DOWN"})
	inactive.Partitions = map[string]string{"q": "INACTIVE", "r": "INACTIVE"}
	s.step(Observed{Slurm: inactive, EC2: s.ec2(Instance{ID: "i-qdya1", State: "terminated"})})
	s.expect("status at the end", s.do.Status, &StatusChange{Stopping, Stopped})

	s.step(Observed{Status: StartRequested})
	s.expect("status", s.do.Status, &StatusChange{StartRequested, Starting})
	inactive.At = s.now
	s.step(Observed{Slurm: inactive})
	s.expect("partitions", s.do.Partitions, []PartitionUpdate{{"q", "UP"}, {"r", "UP"}})
	s.step(Observed{Slurm: s.view()})
	s.expect("status", s.do.Status, &StatusChange{Starting, Running})
}

func TestQueuesWhoseNodesKeepFailingBecomeInactive(t *testing.T) {
	s := newStory(t, AllOrNothing)
	s.step(Observed{Status: Running})
	for range s.policy.ProtectedFailures {
		s.step(Observed{Resumed: []Request{request(job("1", "q-dy-a-1"))}})
		s.step(Observed{Outcomes: []Outcome{answer(s.do.Launch[0], 1, "")}})
		s.step(Observed{ResumeFailed: []string{"q-dy-a-1"}})
	}
	s.step(Observed{Slurm: s.view(slurm.Node{Name: "q-dy-b-1", State: "MIXED+CLOUD"})})
	s.expect("partitions while a job runs", s.do.Partitions, []PartitionUpdate(nil))
	s.step(Observed{Slurm: s.view()})
	s.expect("partitions", s.do.Partitions, []PartitionUpdate{{"q", "INACTIVE"}})
	s.expect("status", s.do.Status, &StatusChange{Running, Protected})

	s.step(Observed{Resumed: []Request{request(job("2", "r-dy-a-1"))}})
	s.expect("other queues go on", s.launched(), []string{"r-dy-a-1 min 1"})
}

func TestOldViewsSayNothingAboutNodesThatWereTouchedSince(t *testing.T) {
	s := newStory(t, AllOrNothing)
	before := s.view(slurm.Node{Name: "q-dy-a-1", State: "IDLE+CLOUD+POWERED_DOWN"})
	s.step(Observed{Resumed: []Request{request(job("1", "q-dy-a-1"))}})
	s.step(Observed{Outcomes: []Outcome{answer(s.do.Launch[0], 1, "")}})
	s.step(Observed{Slurm: before})
	s.expect("actions", s.do, Actions{})
}

// slurmctld may have taken an address although its answer never came, and the node may
// run its job: so slurmctld is asked before anything is ended.
func TestAnAddressThatMayBeKnownCostsNoJob(t *testing.T) {
	for name, tt := range map[string]struct {
		node slurm.Node
		ends []string
	}{
		"slurmctld knows it":        {slurm.Node{Addr: "10.0.0.q-dy-a-1", State: "ALLOCATED+CLOUD+NOT_RESPONDING+POWERING_UP"}, nil},
		"the job runs":              {slurm.Node{Addr: "10.0.0.q-dy-a-1", State: "ALLOCATED+CLOUD"}, nil},
		"slurmctld never heard it ": {slurm.Node{Addr: "q-dy-a-1", State: "ALLOCATED+CLOUD+NOT_RESPONDING+POWERING_UP"}, []string{"i-qdya1"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStory(t, AllOrNothing)
			s.step(Observed{Resumed: []Request{request(job("7", "q-dy-a-1"))}})
			s.step(Observed{Outcomes: []Outcome{answer(s.do.Launch[0], 1, "")}})
			for range namingAttempts - 1 {
				s.step(Observed{NamedInPart: s.do.Assign})
				s.expect("tried again", s.assigned(), "q-dy-a-1")
			}
			s.step(Observed{NamedInPart: s.do.Assign})
			s.expect("ended before slurmctld was asked", s.do.Terminate, []string(nil))
			s.now = s.now.Add(time.Minute)
			n := tt.node
			n.Name, n.Partitions = "q-dy-a-1", []string{"q"}
			s.step(Observed{Slurm: &SlurmView{At: s.now, Nodes: []slurm.Node{n}, Partitions: map[string]string{"q": "UP"}}})
			s.expect("ended", s.do.Terminate, tt.ends)
		})
	}
}

// The pauses between attempts at static nodes double up to five minutes, and begin anew
// when a launch has succeeded.
func TestPausesOfStaticNodesGrowAndEnd(t *testing.T) {
	s := newStory(t, BestEffort)
	try := func(instances int, code string) time.Duration {
		s.now = s.now.Add(s.mem.Paused["q/a"].Until.Sub(s.now))
		s.step(Observed{Resumed: []Request{{Nodes: []string{"q-st-a-1"}}}})
		s.step(Observed{Outcomes: []Outcome{answer(s.do.Launch[0], instances, code)}})
		return s.mem.Paused["q/a"].Last
	}
	var pauses []time.Duration
	for range 7 {
		pauses = append(pauses, try(0, "InternalError")/time.Second)
	}
	s.expect("pauses, in seconds", pauses, []time.Duration{10, 20, 40, 80, 160, 300, 300})
	s.expect("after a success", try(1, ""), time.Duration(0))
	s.step(Observed{Suspended: []string{"q-st-a-1"}})
	s.expect("after the next failure", try(0, "InternalError"), firstPause)
}

// Stopped instances cost money, and are of no use.
func TestAStoppedInstanceIsEndedAndReplaced(t *testing.T) {
	s := newStory(t, AllOrNothing)
	i := s.has("q-dy-a-1")
	i.State = "stopped"
	s.now = noon.Add(time.Hour)
	s.step(Observed{Slurm: s.view(slurm.Node{Name: "q-dy-a-1", Addr: i.Addr, State: "ALLOCATED+CLOUD"}), EC2: s.ec2(i)})
	s.expect("decision", s.decided(), "end i-q-dy-a-1, down, power_down_force")
}

// Slurm would wait for minutes for a node that is gone to end its job.
func TestANodeThatIsGoneEndsNoJobAnyMore(t *testing.T) {
	s := newStory(t, AllOrNothing)
	s.step(Observed{Slurm: s.view(slurm.Node{Name: "q-dy-a-1", State: "MIXED+CLOUD+COMPLETING+NOT_RESPONDING+POWER_DOWN"}), EC2: s.ec2()})
	s.expect("decision", s.decided(), "down, power_down_force")
}

// Failed starts count until one succeeds.
func TestASuccessForgetsFailures(t *testing.T) {
	s := newStory(t, AllOrNothing)
	s.mem = s.mem.clone()
	s.mem.Failures["q/a"], s.mem.Failures["q/b"] = 9, 9
	s.up("q-dy-a-1")
	s.expect("failures", s.mem.Failures, map[string]int{"q/b": 9})
}
