package fleet

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pcluster/internal/fleet/record"
	"pcluster/internal/slurm"
)

const silentState slurm.State = "ALLOCATED+CLOUD+NOT_RESPONDING"

// A neighbourhood is a fleet of which nodes fall silent.
type neighbourhood struct {
	*story
	subnets map[string]string      // by node
	states  map[string]slurm.State // of nodes, as Slurm shows them
	reasons map[string]string
	said    map[string]Presence // by instance
	answers map[string]bool     // nodes whose systems answer when they are knocked at
	knocks  int
}

// neighbours returns a fleet of nodes in service, each in its subnet, that have reported.
func neighbours(t *testing.T, subnets map[string]string) *neighbourhood {
	t.Helper()
	s := &neighbourhood{
		story: newStory(t, AllOrNothing), subnets: subnets,
		states: make(map[string]slurm.State), reasons: make(map[string]string), said: make(map[string]Presence), answers: make(map[string]bool),
	}
	for node, subnet := range subnets {
		a := Assignment{
			Node: node, Instance: "i-" + node, Addr: "10.0.0." + node, Subnet: subnet, Since: noon.Add(-time.Hour),
			Named: true, Seen: true, Ready: true, Booted: true,
		}
		if s.mem.Assigned == nil {
			s.mem.Assigned = make(map[string]Assignment)
		}
		s.mem.Assigned[node] = a
		s.states[node] = "ALLOCATED+CLOUD"
		s.said[a.Instance] = Presence{Report: Report{Cluster: "demo", Instance: a.Instance, Booted: true}, Addr: a.Addr}
	}
	return s
}

// quiet has nodes be heard no more, neither by slurmctld nor by the daemon.
func (s *neighbourhood) quiet(nodes ...string) {
	for _, n := range nodes {
		s.states[n] = silentState
		p := s.said["i-"+n]
		p.Left = s.now
		s.said["i-"+n] = p
	}
}

// pass lets time pass, with a look every five seconds, and returns the states that nodes
// were given meanwhile, each once.
func (s *neighbourhood) pass(d time.Duration, seen Observed) string {
	s.t.Helper()
	given := make(map[string]bool)
	for end := s.now.Add(d); s.now.Before(end); {
		s.now = s.now.Add(4 * time.Second) // and one by the step
		view := &SlurmView{At: s.now, Partitions: map[string]string{"q": "UP", "r": "UP"}}
		for _, n := range sortedKeys(s.states) {
			view.Nodes = append(view.Nodes, slurm.Node{
				Name: n, Addr: "10.0.0." + n, State: s.states[n], Reason: s.reasons[n], Partitions: []string{"q"}, SlurmdStarted: noon.Add(-time.Hour),
			})
		}
		seen.Slurm, seen.Nodes = view, &NodesView{Since: noon.Add(-time.Hour), Nodes: s.said}
		s.step(seen)
		for _, u := range s.do.Nodes {
			given[u.State+" "+slurm.Compress(u.Nodes)] = true
		}
		seen.Answered = nil
		for _, a := range s.do.Knock {
			s.knocks++
			if s.answers[a.Node] {
				seen.Answered = append(seen.Answered, a)
			}
		}
	}
	out := ""
	for i, g := range sortedKeys(given) {
		if i > 0 {
			out += ", "
		}
		out += g
	}
	return out
}

func (s *neighbourhood) told(what record.Kind) (nodes []string) {
	for _, e := range s.record {
		if e.What == what {
			nodes = append(nodes, e.Nodes)
		}
	}
	return nodes
}

func TestAHeadNodeThatIsCutOffWaitsForItsNodes(t *testing.T) {
	s := neighbours(t, map[string]string{"q-dy-a-1": "one", "q-dy-a-2": "one"})
	s.expect("given while all answer", s.pass(time.Minute, Observed{}), "")
	s.quiet("q-dy-a-1", "q-dy-a-2")
	s.expect("given for hours", s.pass(2*time.Hour, Observed{}), "undrain q-dy-a-[1-2]")
	s.expect("ended", len(s.do.Terminate), 0)
	s.expect("told once", s.told(record.CutOff), []string{"q-dy-a-[1-2]"})
	s.states["q-dy-a-1"], s.states["q-dy-a-2"] = "ALLOCATED+CLOUD", "ALLOCATED+CLOUD"
	for id, p := range s.said {
		p.Left = time.Time{}
		s.said[id] = p
	}
	s.expect("given when they are heard again", s.pass(time.Minute, Observed{}), "")
	s.expect("told of", s.told(record.InTouch), []string{"q-dy-a-[1-2]"})
	s.expect("remembered", len(s.mem.Silent), 0)
}

// slurmctld waits for SlurmdTimeout from each time that it is told to.
func TestSlurmctldIsToldToWaitInTime(t *testing.T) {
	s := neighbours(t, map[string]string{"q-dy-a-1": "one"})
	s.quiet("q-dy-a-1")
	last, longest := s.now, time.Duration(0)
	for range 200 {
		if s.pass(5*time.Second, Observed{}) != "" {
			longest = max(longest, s.now.Sub(last))
			last = s.now
		}
	}
	if longest == 0 || longest > 30*time.Second {
		t.Errorf("longest time between two: %v", longest)
	}
}

func TestASilentNodeAmongOthersIsSlurmctldsToGiveUp(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*neighbourhood)
		want   string
	}{
		"its neighbour is heard":                        {func(*neighbourhood) {}, ""},
		"only nodes of other subnets are heard":         {func(s *neighbourhood) { s.move("q-dy-a-2", "two") }, "undrain q-dy-a-1"},
		"its neighbour is silent, too":                  {func(s *neighbourhood) { s.quiet("q-dy-a-2") }, "undrain q-dy-a-[1-2]"},
		"slurmd does not answer, but the machine does":  {func(s *neighbourhood) { s.speak("q-dy-a-1") }, ""},
		"slurmctld has not noticed the neighbour's end": {func(s *neighbourhood) { s.quiet("q-dy-a-2"); s.states["q-dy-a-2"] = "ALLOCATED+CLOUD" }, "undrain q-dy-a-1"},
		"nobody reports, but the neighbour answers":     {func(s *neighbourhood) { clear(s.said) }, ""},
		"nobody reports, and nobody answers":            {func(s *neighbourhood) { clear(s.said); s.states["q-dy-a-2"] = silentState }, "undrain q-dy-a-[1-2]"},
		"its neighbour boots, and says so":              {func(s *neighbourhood) { s.states["q-dy-a-2"] = risingState }, ""},
		"its neighbour is down":                         {func(s *neighbourhood) { clear(s.said); s.policy.KeepDown = true; s.states["q-dy-a-2"] = "DOWN+CLOUD" }, "undrain q-dy-a-1"},
		"the user wants slurmctld to decide":            {func(s *neighbourhood) { s.quiet("q-dy-a-2"); s.policy.CutOffTimeout = 0 }, ""},
		"the user wants nothing to be touched":          {func(s *neighbourhood) { s.quiet("q-dy-a-2"); s.policy.HandsOff = true }, ""},
		"its own system answers":                        {func(s *neighbourhood) { s.move("q-dy-a-2", "two"); s.answers["q-dy-a-1"] = true }, ""},
		"its neighbour's system answers":                {func(s *neighbourhood) { s.quiet("q-dy-a-2"); s.answers["q-dy-a-2"] = true }, ""},
		"a system of another subnet answers":            {func(s *neighbourhood) { s.quiet("q-dy-a-2"); s.move("q-dy-a-2", "two"); s.answers["q-dy-a-2"] = true }, "undrain q-dy-a-1"},
		"a registration that Slurm refuses":             {func(s *neighbourhood) { s.quiet("q-dy-a-2"); s.states["q-dy-a-1"] += "+INVALID_REG" }, "undrain q-dy-a-2"},
	} {
		t.Run(name, func(t *testing.T) {
			s := neighbours(t, map[string]string{"q-dy-a-1": "one", "q-dy-a-2": "one"})
			s.quiet("q-dy-a-1")
			tt.change(s)
			s.expect("given", s.pass(10*time.Minute, Observed{}), tt.want)
		})
	}
}

func (s *neighbourhood) move(node, subnet string) {
	a := s.mem.Assigned[node]
	a.Subnet = subnet
	s.mem.Assigned[node] = a
}

func (s *neighbourhood) speak(node string) {
	p := s.said["i-"+node]
	p.Left = time.Time{}
	s.said["i-"+node] = p
}

// When a cut is over systems answer before nodes have come back, and slurmctld has been
// told to wait a moment ago. Another cut may follow.
func TestSystemsThatAnswerEndTheWait(t *testing.T) {
	s := neighbours(t, map[string]string{"q-dy-a-1": "one", "q-dy-a-2": "one"})
	s.quiet("q-dy-a-1", "q-dy-a-2")
	s.expect("given while it is cut off", s.pass(time.Hour, Observed{}), "undrain q-dy-a-[1-2]")
	s.answers["q-dy-a-2"] = true
	s.pass(30*time.Second, Observed{})
	s.expect("given when a system answers", s.pass(time.Minute, Observed{}), "")
	s.expect("told of", s.told(record.Answers), []string{"q-dy-a-2"})
	s.expect("a start that fails counts again", (&planner{mem: s.mem, now: s.now}).cutOff(), false)
	clear(s.answers)
	s.pass(time.Minute, Observed{})
	s.expect("given when none does any more", s.pass(time.Minute, Observed{}), "undrain q-dy-a-[1-2]")
	s.expect("told of each cut", s.told(record.CutOff), []string{"q-dy-a-[1-2]", "q-dy-a-[1-2]"})
}

// However many nodes are silent, few are knocked at, and all of them in time.
func TestFewAreKnockedAtAtOnce(t *testing.T) {
	subnets := make(map[string]string)
	for i := range 40 {
		subnets[fmt.Sprintf("q-dy-a-%d", i+1)] = fmt.Sprint("subnet", i%2)
	}
	s := neighbours(t, subnets)
	s.quiet(sortedKeys(subnets)...)
	s.pass(5*time.Second, Observed{})
	s.expect("in one look", s.knocks, 2*knocksAtOnce)
	s.pass(knockInterval-5*time.Second, Observed{})
	s.expect("in one interval", s.knocks, 40)
	for _, n := range sortedKeys(subnets) {
		if s.mem.Silent[n].Knocked.IsZero() {
			t.Errorf("nobody has knocked at %s", n)
		}
	}
}

func TestNodesAreNotWaitedForForEver(t *testing.T) {
	s := neighbours(t, map[string]string{"q-dy-a-1": "one"})
	s.policy.CutOffTimeout = time.Hour
	s.quiet("q-dy-a-1")
	s.expect("given in the first hour", s.pass(59*time.Minute, Observed{}), "undrain q-dy-a-1")
	s.pass(2*time.Minute, Observed{})
	s.expect("given later", s.pass(time.Hour, Observed{}), "")
}

// The start of a head node finds nodes that it has not heard yet.
func TestAMomentOfSilenceIsNothing(t *testing.T) {
	s := neighbours(t, map[string]string{"q-dy-a-1": "one"})
	s.quiet("q-dy-a-1")
	clear(s.said)
	s.expect("given", s.pass(15*time.Second, Observed{}), "")
	s.states["q-dy-a-1"] = "ALLOCATED+CLOUD"
	s.pass(time.Minute, Observed{})
	s.expect("told", len(s.told(record.CutOff))+len(s.told(record.InTouch)), 0)
}

// What a user has drained stays so, with the reason.
func TestDrainedNodesAreWaitedForAndStayDrained(t *testing.T) {
	s := neighbours(t, map[string]string{"q-dy-a-1": "one", "q-dy-a-2": "one"})
	s.quiet("q-dy-a-1", "q-dy-a-2")
	s.pass(15*time.Second, Observed{})
	s.states["q-dy-a-1"], s.reasons["q-dy-a-1"] = "MIXED+CLOUD+DRAIN+NOT_RESPONDING", "the user's"
	s.pass(5*time.Second, Observed{})
	s.expect("updates", s.do.Nodes, []slurm.NodeUpdate{
		{Nodes: []string{"q-dy-a-1", "q-dy-a-2"}, State: slurm.StateUndrain},
		{Nodes: []string{"q-dy-a-1"}, State: slurm.StateDrain, Reason: "the user's"},
	})
}

func TestASilentInstanceThatEC2DoesNotReachEitherIsGivenUp(t *testing.T) {
	impaired := &HealthView{At: noon.Add(time.Minute), Ailments: []Ailment{{Instance: "i-q-dy-a-1", Check: InstanceCheck, Text: "is not well"}}}
	for name, tt := range map[string]struct {
		change func(*Policy)
		want   string
		ends   bool
	}{
		"it is replaced": {func(*Policy) {}, "down q-dy-a-1, power_down_force q-dy-a-1", true},
		"whether checks matter otherwise, or not": {func(p *Policy) { p.IgnoreChecks = true }, "down q-dy-a-1, power_down_force q-dy-a-1", true},
		"it is kept if the user keeps such nodes": {func(p *Policy) { p.KeepDown, p.IgnoreChecks = true, true }, "down q-dy-a-1", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := neighbours(t, map[string]string{"q-dy-a-1": "one"})
			tt.change(&s.policy)
			s.quiet("q-dy-a-1")
			s.step(Observed{Health: impaired})
			s.expect("given for as long as slurmctld would wait", s.pass(2*time.Minute+50*time.Second, Observed{}), "")
			var ended []string
			given := ""
			for range 4 {
				given = max(given, s.pass(5*time.Second, Observed{}))
				ended = append(ended, s.do.Terminate...)
			}
			s.expect("given then", given, tt.want)
			s.expect("ended", slices.Contains(ended, "i-q-dy-a-1"), tt.ends)
		})
	}
}

// Starts that fail while the head node is cut off are not the queue's fault.
func TestACutOffHeadNodeMakesNoQueueInactive(t *testing.T) {
	s := neighbours(t, map[string]string{"q-dy-a-1": "one", "q-dy-a-2": "one"})
	s.quiet("q-dy-a-1", "q-dy-a-2")
	s.pass(time.Minute, Observed{})
	a := s.mem.Assigned["q-dy-a-2"]
	a.Node, a.Instance, a.Addr, a.Ready, a.Booted = "q-dy-a-3", "i-3", "10.0.0.3", false, false
	s.mem.Assigned["q-dy-a-3"] = a
	s.step(Observed{ResumeFailed: []string{"q-dy-a-3"}})
	s.expect("failures", s.mem.Failures["q/a"], 0)
	s.expect("recorded", s.told(record.StartFailed), []string{"q-dy-a-3"})
}
