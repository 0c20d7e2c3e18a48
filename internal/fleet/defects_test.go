package fleet

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
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
	err := second.Run(t.Context())
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
	s.expect("terminated of another compute resource", s.do.Terminate, []string{"i-1"})
}

// With a memory that is older than an instance, an instance that no launch can have
// brought is nobody's, and nothing is to be waited for.
func TestOrphansEndAtOnce(t *testing.T) {
	s := newStory(t, AllOrNothing)
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
}
