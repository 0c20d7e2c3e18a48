package fleet

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pcluster/internal/slurm"
)

func TestTwoDaemonsDoNotKeepOneFleet(t *testing.T) {
	h := newHouse(t, 3)
	h.start()
	h.say(Message{Op: OpStatusChanged})
	second := &Daemon{
		Scheduler: h.slurm, Cloud: h.cloud, Registry: h.registry, Status: fakeStatus{},
		Policy:    func() (Policy, error) { return policy(AllOrNothing), nil },
		StateFile: filepath.Join(h.dir, "fleet.json"), Socket: filepath.Join(h.dir, "fleet.sock"),
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	refused, stop := context.WithTimeout(t.Context(), 2*time.Minute) // that it has to be told to end is a failure
	defer stop()
	err := second.Run(refused)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid())) {
		t.Errorf("the second daemon: %v", err)
	}
	h.say(Message{Op: OpStatusChanged}) // the first still hears

	h.stop()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	second.Listen, second.Status = nil, fakeStatus{}
	done := make(chan error, 1)
	go func() { done <- second.Run(ctx) }()
	h.say(Message{Op: OpStatusChanged}) // now the second does
	cancel()
	if err := <-done; err != nil {
		t.Errorf("the second daemon, alone: %v", err)
	}
}

// What was told to end is told again by the next process, which does not know whether EC2
// has heard it.
func TestTerminationsAreRepeatedByTheNextProcess(t *testing.T) {
	s := newStory(t, AllOrNothing)
	s.up("q-dy-a-1")
	s.step(Observed{Suspended: []string{"q-dy-a-1"}})
	s.expect("ended", len(s.do.Terminate), 1)
	ended := s.do.Terminate
	s.step(Observed{Restarted: true})
	s.expect("ended by the next", s.do.Terminate, ended)
}

func TestADamagedMemoryIsKeptAside(t *testing.T) {
	f := stateFile{path: filepath.Join(t.TempDir(), "fleet.json")}
	if err := os.WriteFile(f.path, []byte(`{"epoch": 12, "assig`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.load(noon); err == nil || !strings.Contains(err.Error(), "fleet.json.damaged") {
		t.Errorf("load: %v", err)
	}
	if _, err := os.Stat(f.path + ".damaged"); err != nil {
		t.Error(err)
	}
	if mem, err := f.load(noon); err != nil || mem.Epoch != noon.UnixNano() {
		t.Errorf("the next load: %+v, %v", mem, err)
	}
}

func TestDrainedNodesThatAreOffStayOff(t *testing.T) {
	s := newStory(t, AllOrNothing)
	off := slurm.Node{Name: "q-st-a-1", Addr: "q-st-a-1", State: "IDLE+CLOUD+DRAIN+POWERED_DOWN", Partitions: []string{"q"}, Reason: "mine"}
	s.step(Observed{Slurm: s.view(off)})
	s.expect("updates of a node that its user has drained", s.do.Nodes, []slurm.NodeUpdate(nil))
	off.State = "IDLE+CLOUD+POWERED_DOWN"
	s.step(Observed{Slurm: s.view(off)})
	s.expect("updates when he resumes it", s.do.Nodes, []slurm.NodeUpdate{{Nodes: []string{"q-st-a-1"}, State: slurm.StatePowerUp}})
}

// A node that boots while the memory is lost keeps its instance.
func TestAMemoryLostWhileNodesBoot(t *testing.T) {
	s := newStory(t, AllOrNothing)
	n := slurm.Node{Name: "q-dy-a-1", Addr: "10.0.0.1", State: "ALLOCATED+CLOUD+NOT_RESPONDING+POWERING_UP", Partitions: []string{"q"}}
	fresh := slurm.Node{Name: "q-dy-a-2", Addr: "q-dy-a-2", State: "ALLOCATED+CLOUD+NOT_RESPONDING+POWERING_UP", Partitions: []string{"q"}}
	ended := slurm.Node{Name: "q-dy-a-3", Addr: "10.0.0.9", State: "ALLOCATED+CLOUD+NOT_RESPONDING+POWERING_UP", Partitions: []string{"q"}}
	for range 8 { // longer than the daemon waits for slurmctld's request
		s.step(Observed{Slurm: s.view(n, fresh, ended)})
	}
	s.expect("asked again before EC2 was", s.launched(), []string(nil))
	s.expect("what never had an instance is launched", s.mem.Launches != nil && s.launching("q-dy-a-2"), true)

	boots := Instance{ID: "i-1", State: "running", Addr: "10.0.0.1", Queue: "q", Resource: "a", Launched: noon.Add(-10 * time.Minute)}
	stray := Instance{ID: "i-2", Token: "old", State: "running", Addr: "10.0.0.2", Queue: "q", Resource: "a", Launched: noon.Add(-10 * time.Minute)}
	s.step(Observed{Slurm: s.view(n, fresh, ended), EC2: s.ec2(boots, stray)})
	s.expect("terminated", s.do.Terminate, []string(nil))
	s.expect("owner", s.mem.Assigned["q-dy-a-1"].Instance, "i-1")
	s.expect("the node whose instance is gone is launched", s.launching("q-dy-a-3"), true)

	s.now = s.now.Add(DefaultPolicy().OrphanTimeout)
	s.step(Observed{Slurm: s.view(n, fresh, ended), EC2: s.ec2(boots, stray)})
	s.expect("terminated when nobody has claimed it", s.do.Terminate, []string{"i-2"})
}

func (s *story) launching(node string) bool {
	for _, l := range s.mem.Launches {
		for _, n := range l.Nodes {
			if n == node {
				return true
			}
		}
	}
	return false
}

// Instances of a fleet carry a token of EC2's own, so nothing but their queue and
// compute resource ties them to a request that is not answered yet.
func TestInstancesOfAFleetRequestUnderWay(t *testing.T) {
	s := newStory(t, AllOrNothing)
	flexible := s.policy.Resources["q"]["a"]
	flexible.API = slurm.CreateFleet
	s.policy.Resources = slurm.Resources{"q": {"a": flexible, "b": flexible}}
	s.step(Observed{Resumed: []Request{request(job("7", "q-dy-a-1"))}})
	s.now = s.now.Add(6 * time.Minute)
	i := Instance{ID: "i-1", State: "running", Addr: "10.0.0.1", Queue: "q", Resource: "a", Token: "fleet-own", Launched: noon.Add(2 * time.Second)}
	s.step(Observed{Slurm: s.view(), EC2: s.ec2(i)})
	s.expect("terminated of a launch under way", s.do.Terminate, []string(nil))

	i.Resource = "b"
	s.step(Observed{Slurm: s.view(), EC2: s.ec2(i)})
	s.now = s.now.Add(orphanGrace)
	s.step(Observed{Slurm: s.view(), EC2: s.ec2(i)})
	s.expect("terminated of another compute resource", s.do.Terminate, []string{"i-1"})
}

// With a memory that is older than an instance, an instance that no launch can have
// brought is nobody's, and nothing is to be waited for.
func TestOrphansEndAtOnce(t *testing.T) {
	s := newStory(t, AllOrNothing)
	s.step(Observed{Slurm: s.view(), EC2: s.ec2()})
	s.now = s.now.Add(time.Hour)
	stray := Instance{ID: "i-1", State: "running", Addr: "10.0.0.1", Queue: "q", Resource: "a", Token: "another", Launched: s.now}
	s.step(Observed{Slurm: s.view(), EC2: s.ec2(stray)})
	s.expect("terminated at the first look", s.do.Terminate, []string(nil))
	s.now = s.now.Add(10 * time.Second)
	s.step(Observed{Slurm: s.view(), EC2: s.ec2(stray)})
	s.expect("terminated at the second", s.do.Terminate, []string{"i-1"})
}

func TestNodesThatWereNotUpInTimeLoseNoTime(t *testing.T) {
	s := newStory(t, AllOrNothing)
	s.step(Observed{Resumed: []Request{request(job("7", "q-dy-a-1"))}})
	s.step(Observed{Outcomes: []Outcome{answer(s.do.Launch[0], 1, "")}})
	s.step(Observed{ResumeFailed: []string{"q-dy-a-1"}})
	s.expect("terminated", s.do.Terminate, []string{"i-qdya1"})
	s.expect("failures", s.mem.Failures["q/a"], 1)
	s.expect("jobs that start again", s.do.Restart, []Restart{{Jobs: []string{"7"}, After: restartElsewhere}})
}

func TestManySmallJobsTakeFewRequests(t *testing.T) {
	s := newStory(t, AllOrNothing)
	s.policy.Queues["q"] = "q-dy-a-[1-1000]"
	var jobs []slurm.Job
	for i := range 500 {
		jobs = append(jobs, job(fmt.Sprint(i), fmt.Sprintf("q-dy-a-[%d-%d]", 2*i+1, 2*i+2)))
	}
	s.step(Observed{Resumed: []Request{request(jobs...)}})
	if n := len(s.do.Launch); n != 2 {
		t.Fatalf("%d requests", n)
	}
	s.expect("least of use", s.do.Launch[0].Min, 2)

	// EC2 has an odd number: the last instance is of no use to a whole job.
	first, second := s.do.Launch[0], s.do.Launch[1]
	s.step(Observed{Outcomes: []Outcome{answer(first, 301, ""), answer(second, 0, InsufficientCapacity)}})
	s.expect("nodes with instances", len(s.do.Assign), 300)
	s.expect("given back", len(s.do.Terminate), 1)
	has := make(map[string]bool)
	for _, a := range s.do.Assign {
		has[a.Node] = true
	}
	for _, j := range jobs {
		if has[j.Nodes[0]] != has[j.Nodes[1]] {
			t.Errorf("job %s has a part of %v", j.ID, j.Nodes)
		}
	}
}

// What the account may not have is not asked for again until an instance has ended, or
// some time has passed, and users are told.
func TestQuotasAreNotTriedBlindly(t *testing.T) {
	const message = "You have requested more vCPU capacity than your current vCPU limit of 32 allows for the instance bucket that the specified instance type belongs to."
	s := newStory(t, AllOrNothing)
	s.up("q-dy-b-1")
	ask := Observed{Resumed: []Request{request(job("7", "q-dy-a-[1-2]"))}}
	refuse := func() {
		o := answer(s.do.Launch[0], 0, "VcpuLimitExceeded")
		o.Message = message
		s.step(Observed{Outcomes: []Outcome{o}})
	}
	s.step(ask)
	refuse()
	s.expect("what users see", s.do.Nodes[0].Reason, "(Code:VcpuLimitExceeded)"+message)
	s.expect("advice", Advice("VcpuLimitExceeded", message), "Your vCPU limit is 32. "+raiseQuota)
	s.now = s.now.Add(30 * time.Second)
	s.step(ask)
	s.expect("launches half a minute later", s.launched(), []string(nil))

	s.step(Observed{Suspended: []string{"q-dy-b-1"}})
	ended := Instance{ID: s.do.Terminate[0], State: "terminated"}
	s.step(Observed{Slurm: s.view(), EC2: s.ec2(ended)})
	s.step(ask)
	s.expect("launches when an instance has ended", s.launched(), []string{"q-dy-a-[1-2] min 2"})
	refuse()
	s.now = s.now.Add(s.policy.CapacityTimeout)
	s.step(ask)
	s.expect("launches after some time", s.launched(), []string{"q-dy-a-[1-2] min 2"})
}

func TestPoolsWithoutCapacityAreLeftOut(t *testing.T) {
	s := newStory(t, BestEffort)
	flexible := slurm.Resource{
		API: slurm.CreateFleet, CapacityType: "on-demand",
		Instances:  []slurm.ResourceType{{InstanceType: "c5.large"}, {InstanceType: "c6i.large"}},
		Networking: &slurm.ResourceNetworks{SubnetIDs: []string{"subnet-1", "subnet-2"}},
	}
	s.policy.Resources = slurm.Resources{"q": {"a": flexible}}
	s.step(Observed{Resumed: []Request{request(job("1", "q-dy-a-[1-2]"))}})
	o := answer(s.do.Launch[0], 2, "")
	empty := Pool{"c5.large", "subnet-1"}
	o.Short = []Shortage{{empty, InsufficientCapacity}, {Pool{"c6i.large", "subnet-2"}, "InternalError"}}
	s.step(Observed{Outcomes: []Outcome{o}})
	s.step(Observed{Resumed: []Request{request(job("2", "q-dy-a-3"))}})
	s.expect("left out", s.do.Launch[0].Without, []Pool{empty})

	c := &EC2{Cluster: "demo"}
	for _, o := range c.fleetRequest(s.do.Launch[0], flexible).LaunchTemplateConfigs[0].Overrides {
		if string(o.InstanceType) == empty.Type && *o.SubnetId == empty.Subnet {
			t.Error("asked for all the same")
		}
	}
	for _, at := range pools(&flexible) { // a request that leaves out all of them is none
		s.mem.Short[poolKey("q/a", at)] = Exhausted{Code: InsufficientCapacity, Until: s.now.Add(time.Minute)}
	}
	s.step(Observed{Resumed: []Request{request(job("4", "q-dy-a-5"))}})
	s.expect("left out when all are empty", s.do.Launch[0].Without, []Pool(nil))
	s.now = s.now.Add(s.policy.CapacityTimeout)
	s.step(Observed{Slurm: s.view()})
	s.step(Observed{Resumed: []Request{request(job("3", "q-dy-a-4"))}})
	s.expect("left out after some time", s.do.Launch[0].Without, []Pool(nil))
}

func TestCodesAreJudged(t *testing.T) {
	for code, want := range map[string]Class{
		InsufficientCapacity: Capacity, "SpotMaxPriceTooLow": Capacity, "VcpuLimitExceeded": Quota, "UnauthorizedOperation": Permission,
		"InvalidSnapshot.NotFound": Configuration, "Client.InvalidSubnetID.NotFound": Configuration, "RequestLimitExceeded": Throttled,
		"InternalError": Transient, "NeverHeardOf": Transient,
	} {
		if got := ClassOf(code); got != want {
			t.Errorf("%s is of class %s, want %s", code, got, want)
		}
	}
	for code, v := range verdicts {
		if v.class == "" || v.advice == "" || !slices.Contains(FailureTypes, v.event) {
			t.Errorf("%s: %+v", code, v)
		}
		if v.bars && (v.class == Throttled || v.class == Transient) {
			t.Errorf("%s is %s, and keeps a compute resource from being tried", code, v.class)
		}
	}
	// The codes that ParallelCluster leaves compute resources alone for.
	for _, code := range []string{
		"InsufficientInstanceCapacity", "InsufficientHostCapacity", "InsufficientReservedInstanceCapacity",
		"MaxSpotInstanceCountExceeded", "Unsupported", "SpotMaxPriceTooLow",
	} {
		p := DefaultPolicy()
		if pause, bars := p.bars(code); !bars || pause != p.CapacityTimeout || FailureType(code) != iceFailures {
			t.Errorf("%s: left alone for %v, %v", code, pause, bars)
		}
	}
}

// A clock that was set back while the daemon was down must not freeze what it keeps.
func TestAClockThatWasSetBack(t *testing.T) {
	s := newStory(t, AllOrNothing)
	s.up("q-dy-a-1")
	s.step(Observed{Resumed: []Request{request(job("7", "q-dy-b-1"))}})
	s.step(Observed{Outcomes: []Outcome{answer(s.do.Launch[0], 0, InsufficientCapacity)}})
	s.now = s.now.Add(-24 * time.Hour)
	s.step(Observed{Restarted: true})
	s.now = s.now.Add(s.policy.CapacityTimeout + time.Minute)
	lost := slurm.Node{Name: "q-dy-a-1", Addr: "10.0.0.q-dy-a-1", State: "ALLOCATED+CLOUD"}
	s.step(Observed{Slurm: s.view(lost), EC2: s.ec2()})
	s.expect("powered down of what is gone", s.do.Nodes, []slurm.NodeUpdate{
		{Nodes: []string{"q-dy-a-1"}, State: "down", Reason: "pcluster: instance i-qdya1 does not exist any more"},
		{Nodes: []string{"q-dy-a-1"}, State: "power_down_force"},
	})
	s.step(Observed{Resumed: []Request{request(job("7", "q-dy-b-1"))}})
	s.expect("launches of what had no capacity yesterday, as it seems", s.launched(), []string{"q-dy-b-1 min 1"})
}

// EC2's clock says when an instance was launched. If ours is slow, that has still to come,
// and is no reason to look away from the node until then.
func TestAClockThatIsBehindEC2s(t *testing.T) {
	s := newStory(t, AllOrNothing)
	n := slurm.Node{Name: "q-dy-a-1", Addr: "10.0.0.1", State: "ALLOCATED+CLOUD", Partitions: []string{"q"}}
	s.step(Observed{Slurm: s.view(n), EC2: s.ec2(Instance{ID: "i-1", State: "running", Addr: "10.0.0.1", Queue: "q", Resource: "a", Launched: noon.Add(time.Hour)})})
	s.expect("owner", s.mem.Assigned["q-dy-a-1"].Instance, "i-1")
	s.step(Observed{Slurm: s.view(n), EC2: s.ec2()})
	s.expect("given when the instance is gone", len(s.do.Nodes), 2)
}
