package fleet

import (
	"strings"
	"testing"
	"time"

	"pcluster/internal/slurm"
)

// has gives a node an instance that has come up.
func (s *story) has(node string) Instance {
	i := Instance{ID: "i-" + node, State: "running", Addr: "10.1.0.1", Queue: "q", Resource: "a", Launched: noon}
	s.mem = s.mem.clone()
	s.mem.Looked = true
	s.mem.Assigned[node] = Assignment{Node: node, Instance: i.ID, Addr: i.Addr, Since: noon, Named: true, Seen: true, Ready: true}
	return i
}

// decided tells the actions of the last step in a line.
func (s *story) decided() string {
	var all []string
	for _, id := range s.do.Terminate {
		all = append(all, "end "+id)
	}
	for _, u := range s.do.Nodes {
		all = append(all, string(u.State))
	}
	for range s.do.Launch {
		all = append(all, "launch")
	}
	return strings.Join(all, ", ")
}

// What is done about a node, by the flags that Slurm shows of it.
func TestStatesOfNodes(t *testing.T) {
	const static, dynamic = "q-st-a-1", "q-dy-a-1"
	for _, tt := range []struct {
		node  string
		state slurm.State
		with  bool // it has an instance
		want  string
	}{
		// In service.
		{static, "IDLE+CLOUD", true, ""},
		{static, "IDLE+CLOUD", false, "down, power_down_force"},
		{static, "IDLE+CLOUD+PLANNED", true, ""},
		{static, "IDLE+CLOUD+RESERVED", true, ""},
		{dynamic, "ALLOCATED+CLOUD", true, ""},
		{dynamic, "MIXED+CLOUD", true, ""},
		{dynamic, "COMPLETING+CLOUD", true, ""},
		{dynamic, "ALLOCATED+CLOUD+NOT_RESPONDING", true, ""}, // more of them in silence_test.go
		{dynamic, "IDLE+CLOUD+NOT_RESPONDING", true, ""},
		{dynamic, "IDLE+CLOUD+DRAIN+INVALID_REG+NOT_RESPONDING", true, "power_down_force"},
		{dynamic, "UNKNOWN+CLOUD", true, ""},

		// Drained: jobs finish first.
		{static, "ALLOCATED+CLOUD+DRAIN", true, ""},
		{static, "MIXED+CLOUD+DRAIN", true, ""},
		{static, "IDLE+CLOUD+COMPLETING+DRAIN", true, ""},
		{static, "IDLE+CLOUD+DRAIN", true, "power_down_force"},
		{dynamic, "IDLE+CLOUD+DRAIN", true, "power_down_force"},
		{dynamic, "IDLE+CLOUD+DRAIN+INVALID_REG", true, "power_down_force"},
		{dynamic, "IDLE+CLOUD+DRAIN+POWER_DOWN", true, ""},
		{static, "IDLE+CLOUD+DRAIN+POWERED_DOWN", false, ""},
		{dynamic, "IDLE+CLOUD+DRAIN+POWERED_DOWN", false, ""},
		{static, "IDLE+CLOUD+DRAIN+REBOOT_REQUESTED", true, ""},

		// Down.
		{static, "DOWN+CLOUD", true, "end i-q-st-a-1, power_down_force"},
		{dynamic, "DOWN+CLOUD+NOT_RESPONDING", true, "end i-q-dy-a-1, power_down_force"},
		{dynamic, "DOWN+CLOUD+DRAIN", true, "end i-q-dy-a-1, power_down_force"},
		{dynamic, "DOWN+CLOUD+POWERED_DOWN+NOT_RESPONDING", false, "power_down_force"},
		{static, "DOWN+CLOUD+REBOOT_ISSUED", true, ""},
		{static, "IDLE+CLOUD+REBOOT_ISSUED", true, ""},
		{dynamic, "DOWN+CLOUD+POWERING_DOWN", true, "end i-q-dy-a-1"},

		// Reserved for maintenance: nobody touches it.
		{static, "IDLE+CLOUD+DRAIN+MAINTENANCE+RESERVED", true, ""},
		{static, "DOWN+CLOUD+MAINTENANCE+RESERVED", true, ""},
		{static, "IDLE+CLOUD+MAINTENANCE+POWERED_DOWN+RESERVED", false, ""},
		{dynamic, "IDLE+CLOUD+MAINTENANCE+RESERVED", true, ""},

		// On its way.
		{dynamic, "ALLOCATED+CLOUD+NOT_RESPONDING+POWERING_UP", true, ""},
		{dynamic, "MIXED+CLOUD+POWERING_DOWN", true, "end i-q-dy-a-1"},
		{dynamic, "IDLE+CLOUD+POWERING_DOWN", true, "end i-q-dy-a-1"},
		{dynamic, "MIXED+CLOUD+POWER_DOWN", true, ""}, // when its job is over
		{dynamic, "IDLE+CLOUD+POWERED_DOWN", true, "end i-q-dy-a-1"},

		// Off.
		{static, "IDLE+CLOUD+POWERED_DOWN", false, "power_up"},
		{static, "IDLE+CLOUD+POWERED_DOWN+RESERVED", false, "power_up"},
		{dynamic, "IDLE+CLOUD+POWERED_DOWN", false, ""},
		{dynamic, "IDLE+CLOUD+POWERED_DOWN+PLANNED", false, ""},
	} {
		t.Run(tt.node+" "+string(tt.state), func(t *testing.T) {
			s := newStory(t, AllOrNothing)
			s.now = noon.Add(time.Hour)
			n := slurm.Node{Name: tt.node, Addr: tt.node, State: tt.state, Partitions: []string{"q"}, Reason: "somebody's"}
			var all []Instance
			if tt.with {
				all = append(all, s.has(tt.node))
				n.Addr = all[0].Addr
			}
			s.step(Observed{Slurm: s.view(n), EC2: s.ec2(all...)})
			s.expect("decision", s.decided(), tt.want)
		})
	}
}

func TestUsersKeepNodesThatAreDrainedOrDown(t *testing.T) {
	for _, state := range []slurm.State{"IDLE+CLOUD+DRAIN", "DOWN+CLOUD", "DOWN+CLOUD+DRAIN"} {
		s := newStory(t, AllOrNothing)
		s.policy.KeepDrained, s.policy.KeepDown = true, true
		i := s.has("q-st-a-1")
		s.step(Observed{Slurm: s.view(slurm.Node{Name: "q-st-a-1", Addr: i.Addr, State: state, Partitions: []string{"q"}}), EC2: s.ec2(i)})
		s.expect("decision about "+string(state), s.decided(), "")
	}
}

// A node whose registration Slurm does not accept has not come up.
func TestARegistrationThatIsRefusedIsAFailedStart(t *testing.T) {
	s := newStory(t, AllOrNothing)
	s.step(Observed{Resumed: []Request{request(job("7", "q-dy-a-1"))}})
	s.step(Observed{Outcomes: []Outcome{answer(s.do.Launch[0], 1, "")}})
	s.step(Observed{Named: s.do.Assign})
	a := s.mem.Assigned["q-dy-a-1"]
	n := slurm.Node{Name: a.Node, Addr: a.Addr, State: "IDLE+CLOUD+DRAIN+INVALID_REG", Reason: "Low RealMemory", Partitions: []string{"q"}}
	s.now = s.now.Add(time.Minute)
	s.step(Observed{Slurm: s.view(n), EC2: s.ec2(Instance{ID: a.Instance, State: "running", Addr: a.Addr, Queue: "q", Resource: "a"})})
	s.expect("decision", s.decided(), "power_down_force")
	s.expect("failures", s.mem.Failures["q/a"], 1)
}

// A head node that was off for hours finds its jobs running, and leaves them alone,
// also if the memory is gone, or slurmctld has not heard from the nodes yet.
func TestHoursWithoutAHeadNodeCostNoJob(t *testing.T) {
	for _, lost := range []bool{false, true} {
		for _, state := range []slurm.State{"ALLOCATED+CLOUD", "ALLOCATED+CLOUD+NOT_RESPONDING", "MIXED+CLOUD+DRAIN", "IDLE+CLOUD+COMPLETING"} {
			s := newStory(t, AllOrNothing)
			i := s.has("q-dy-a-1")
			n := slurm.Node{Name: "q-dy-a-1", Addr: i.Addr, State: state, Partitions: []string{"q"}}
			s.now = s.now.Add(7 * time.Hour)
			if lost {
				s.mem = NewMemory(s.now)
			}
			s.step(Observed{Restarted: true})
			for range 100 { // ten minutes
				s.now = s.now.Add(5 * time.Second)
				s.step(Observed{Slurm: s.view(n), EC2: s.ec2(i)})
				if d := s.decided(); d != "" && (d != "undrain" || !state.NotResponding()) {
					t.Errorf("decision about %s: %s", state, d)
				}
			}
			s.expect("owner", s.mem.Assigned["q-dy-a-1"].Instance, i.ID)
		}
	}
}

func TestStaticNodesAreNotWaitedForLongerThanTheUserSays(t *testing.T) {
	s := newStory(t, AllOrNothing)
	s.policy.StaticTimeout = 15 * time.Minute
	for _, name := range []string{"q-st-a-1", "q-dy-a-1"} {
		s.has(name)
		a := s.mem.Assigned[name]
		a.Ready = false
		s.mem.Assigned[name] = a
	}
	boots := func(name string) slurm.Node {
		return slurm.Node{Name: name, Addr: s.mem.Assigned[name].Addr, State: "IDLE+CLOUD+NOT_RESPONDING+POWERING_UP", Partitions: []string{"q"}}
	}
	static, dynamic := boots("q-st-a-1"), boots("q-dy-a-1")
	s.now = s.now.Add(14 * time.Minute)
	s.step(Observed{Slurm: s.view(static, dynamic)})
	s.expect("decision within the time", s.decided(), "")
	s.now = s.now.Add(2 * time.Minute)
	lost := s.mem.Assigned["q-st-a-1"].Instance
	s.step(Observed{Slurm: s.view(static, dynamic)})
	s.expect("terminated", s.do.Terminate, []string{lost})
	s.expect("failures", s.mem.Failures["q/a"], 1)
}

func TestHandsOff(t *testing.T) {
	s := newStory(t, AllOrNothing)
	s.policy.HandsOff = true
	s.has("q-dy-a-1")
	stray := Instance{ID: "i-99", State: "running", Addr: "10.9.9.9", Queue: "q", Resource: "a", Token: "another"}
	down := slurm.Node{Name: "q-dy-a-1", Addr: "elsewhere", State: "DOWN+CLOUD", Partitions: []string{"q"}, Reason: "broken"}
	for range 3 {
		s.now = s.now.Add(time.Hour)
		s.step(Observed{Slurm: s.view(down), EC2: s.ec2(stray)})
		s.expect("decision about what is found", s.decided(), "")
	}
	s.step(Observed{Resumed: []Request{request(job("7", "q-dy-a-2"))}, Suspended: []string{"q-dy-a-1"}})
	s.expect("a request is carried out", s.launching("q-dy-a-2"), true)
	s.expect("and so is an end", len(s.do.Terminate), 1)
}

// What came of attempts to name a node is not judged while a new process makes another.
func TestAnAttemptThatIsRepeatedIsNotJudgedBefore(t *testing.T) {
	s := newStory(t, AllOrNothing)
	s.has("q-dy-a-1")
	a := s.mem.Assigned["q-dy-a-1"]
	a.Named, a.Ready, a.Attempts = false, false, namingAttempts
	s.mem.Assigned["q-dy-a-1"] = a
	n := slurm.Node{Name: "q-dy-a-1", Addr: "q-dy-a-1", State: "ALLOCATED+CLOUD+NOT_RESPONDING+POWERING_UP", Partitions: []string{"q"}}
	s.step(Observed{Restarted: true, Slurm: s.view(n)})
	s.expect("attempts", len(s.do.Assign), 1)
	s.expect("terminated", s.do.Terminate, []string(nil))
	for range namingAttempts {
		s.step(Observed{NamedInPart: []Assignment{a}})
	}
	s.step(Observed{Slurm: s.view(n)})
	s.expect("terminated in the end", s.do.Terminate, []string{a.Instance})
}
