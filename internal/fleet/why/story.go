package why

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"pcluster/internal/fleet/record"
	"pcluster/internal/slurm"
)

// A story is the part of the record that is about some nodes, and a job if there is
// one, in the order of time.
type story struct {
	facts     Facts
	job       string
	nodes     map[string]bool
	keys      map[string]bool   // queue/resource of the nodes
	instances map[string]string // to the nodes
	entries   []entry
	fleet     string // last known status of the fleet
	disabled  map[string]record.Entry
	failed    map[string]record.Entry // latest start that failed, by queue
	exhausted map[string]record.Entry // by queue/resource, that still are
	paused    map[string]record.Entry
	blocks    map[string]record.Entry // capacity blocks that nodes come from, by queue/resource
	cut       map[string]record.Entry // nodes that the head node is cut off from
}

// An entry is one of the record with its nodes that matter.
type entry struct {
	record.Entry
	nodes []string
}

// expander expands hostlists, each once.
type expander map[string][]string

func (x expander) expand(list string) []string {
	if list == "" {
		return nil
	}
	if !strings.ContainsAny(list, "[,") {
		return []string{list}
	}
	nodes, ok := x[list]
	if !ok {
		nodes, _ = slurm.Expand(list) // what can't be read is about no node
		x[list] = nodes
	}
	return nodes
}

func newStory(f Facts, job string, nodes map[string]bool) *story {
	s := &story{
		facts: f, job: job, nodes: nodes, keys: make(map[string]bool), instances: make(map[string]string),
		disabled: make(map[string]record.Entry), failed: make(map[string]record.Entry), exhausted: make(map[string]record.Entry), paused: make(map[string]record.Entry),
		blocks: make(map[string]record.Entry), cut: make(map[string]record.Entry),
	}
	for n := range nodes {
		if p, ok := slurm.ParseNodeName(n); ok {
			s.keys[p.Queue+"/"+p.Resource] = true
		}
	}
	for _, e := range f.Record {
		for id, n := range e.Instances {
			if nodes[n] {
				s.instances[id] = n
			}
		}
		s.fleetWide(e)
	}
	x := make(expander)
	for _, e := range f.Record {
		if mine, ok := s.pick(e, x); ok {
			s.entries = append(s.entries, mine)
		}
	}
	slices.SortStableFunc(s.entries, func(a, b entry) int { return a.Time.Compare(b.Time) })
	for _, e := range s.entries {
		for _, n := range e.nodes {
			switch e.What {
			case record.CutOff:
				s.cut[n] = e.Entry
			case record.Answers, record.InTouch, record.Lost, record.Replaced, record.Suspended, record.Terminated:
				delete(s.cut, n)
			}
		}
	}
	return s
}

// fleetWide keeps how things stand that concern all nodes, or all of a kind.
func (s *story) fleetWide(e record.Entry) {
	key := e.Queue + "/" + e.Resource
	switch e.What {
	case record.FleetStatus:
		s.fleet = e.Why
		if e.Why == "RUNNING" || e.Why == "STARTING" {
			clear(s.disabled)
			clear(s.exhausted)
			clear(s.paused)
		}
	case record.QueueDisabled:
		s.disabled[e.Queue] = e
	case record.StartFailed:
		if n, ok := slurm.ParseNodeName(e.Nodes); ok {
			s.failed[n.Queue] = e
		}
	case record.Exhausted:
		s.exhausted[key] = e
	case record.CapacityBack:
		delete(s.exhausted, key)
	case record.Paused:
		s.paused[key] = e
	case record.BlockChanged, record.BlockEnds:
		s.blocks[key] = e
	}
}

// pick returns an entry with those of its nodes that the story is about, if it is.
func (s *story) pick(e record.Entry, x expander) (entry, bool) {
	mine := entry{Entry: e}
	for id := range e.Instances {
		if n, ok := s.instances[id]; ok {
			mine.nodes = append(mine.nodes, n)
		}
	}
	if len(mine.nodes) == 0 {
		for _, n := range x.expand(e.Nodes) {
			if s.nodes[n] {
				mine.nodes = append(mine.nodes, n)
			}
		}
	}
	slices.Sort(mine.nodes)
	mine.nodes = slices.Compact(mine.nodes)
	switch e.What {
	case record.Asked, record.AskMissed, record.LaunchTried, record.JobWaits, record.JobReleased:
		return mine, len(mine.nodes) > 0 || s.job != "" && slices.Contains(e.Jobs, s.job)
	case record.FleetStatus, record.DaemonStarted:
		return mine, true
	case record.QueueDisabled:
		return mine, slices.ContainsFunc(slices.Collect(maps.Keys(s.keys)), func(k string) bool { return strings.HasPrefix(k, e.Queue+"/") })
	case record.Exhausted, record.CapacityBack, record.Paused, record.BlockChanged, record.BlockEnds:
		return mine, s.keys[e.Queue+"/"+e.Resource]
	}
	return mine, len(mine.nodes) > 0
}

// A life is one start of a node: from the wish for it to its end.
type life struct {
	node     string
	begin    time.Time // when it was asked for
	got      time.Time // an instance
	instance string
	reported time.Time // its first report
	steps    []string
	stepsAt  time.Time
	booted   time.Time
	took     map[string]float64
	ready    time.Time // slurmd has registered
	refused  record.Entry
	ended    time.Time
	how      string // it ended
}

// lives returns the starts of a node, the oldest first.
func (s *story) lives(node string) []*life {
	var all []*life
	var l *life
	for i := range s.entries {
		e := &s.entries[i]
		if !slices.Contains(e.nodes, node) {
			continue
		}
		switch e.What {
		case record.Asked, record.AskMissed, record.LaunchTried:
			if l == nil || !l.ended.IsZero() || e.What != record.LaunchTried && !l.ready.IsZero() {
				l = &life{node: node, begin: e.Time}
				all = append(all, l)
			}
		case record.Assigned:
			if l == nil || !l.ended.IsZero() {
				l = &life{node: node, begin: e.Time}
				all = append(all, l)
			}
		}
		if l != nil {
			l.take(e)
		}
	}
	return all
}

// take notes what happened in a life.
func (l *life) take(e *entry) {
	of := func(id string) bool { return l.instance == "" || id == "" || l.instance == id }
	id := ""
	for i, n := range e.Instances {
		if n == l.node || len(e.Instances) == 1 {
			id = i
		}
	}
	if !of(id) {
		return // of an earlier instance
	}
	switch e.What {
	case record.Assigned:
		l.got, l.instance = e.Time, id
	case record.LaunchRefused:
		l.refused = e.Entry
	case record.Booting:
		if l.reported.IsZero() {
			l.reported = e.Time
		}
		l.steps, l.stepsAt = e.Steps, e.Time
	case record.Booted:
		l.booted, l.took, l.steps = e.Time, e.Took, nil
		if l.reported.IsZero() {
			l.reported = e.Time
		}
	case record.Registered:
		l.ready = e.Time
	case record.NodeFailed, record.BootFailed, record.StartFailed, record.ResumeTimeout, record.Lost, record.Replaced, record.Suspended, record.NamingFailed:
		if l.how == "" || e.What == record.NodeFailed {
			l.how, _ = sentence(e, []string{l.node})
		}
		if e.What != record.BootFailed && e.What != record.StartFailed && l.ended.IsZero() {
			l.ended = e.Time
		}
	case record.Terminated:
		if l.ended.IsZero() {
			l.ended = e.Time
		}
		if l.how == "" {
			l.how = "its instance was terminated"
			if e.Why != "" {
				l.how += ": " + e.Why
			}
		}
	}
}

func (l *life) summary() string {
	text := l.begin.Format("2006-01-02 15:04:05") + " "
	switch {
	case !l.ready.IsZero():
		text += fmt.Sprintf("in service as %s after %s", l.instance, span(l.ready.Sub(l.begin)))
	case l.instance != "":
		text += l.instance + ", which never came into service"
	default:
		text += "asked for"
	}
	if l.how != "" {
		text += "; " + l.how
		if !l.ended.IsZero() {
			text += " (" + l.ended.Format("15:04:05") + ")"
		}
	}
	return text
}

// An attempt is one time that a job was given nodes.
type attempt struct {
	begin  time.Time
	end    time.Time // when its nodes were up, or lost
	failed bool
	how    string
	nodes  map[string]bool
}

func (t *attempt) summary() string {
	text := t.begin.Format("2006-01-02 15:04:05") + " " + few(sortedNodes(t.nodes)) + ": "
	if t.how == "" {
		return text + "started"
	}
	return text + t.how
}

// attempts returns the times that a job was given nodes, the oldest first.
func attempts(f Facts, job string) []*attempt {
	var all []*attempt
	var t *attempt
	x := make(expander)
	ordered := slices.Clone(f.Record)
	slices.SortStableFunc(ordered, func(a, b record.Entry) int { return a.Time.Compare(b.Time) })
	for _, e := range ordered {
		if !slices.Contains(e.Jobs, job) {
			if t != nil {
				t.fail(&e, x)
			}
			continue
		}
		nodes := x.expand(e.Nodes)
		switch e.What {
		case record.Asked, record.AskMissed, record.JobWaits:
			if t == nil || !t.end.IsZero() {
				t = &attempt{begin: e.Time, nodes: make(map[string]bool)}
				all = append(all, t)
			}
			if e.What == record.JobWaits || len(e.Jobs) == 1 {
				for _, n := range nodes {
					t.nodes[n] = true
				}
			}
		case record.LaunchTried:
			if t != nil && len(e.Jobs) == 1 {
				for _, n := range nodes {
					t.nodes[n] = true
				}
			}
		case record.JobReleased:
			if t != nil && t.end.IsZero() {
				t.end = e.Time
			}
		}
	}
	if t != nil && t.end.IsZero() && f.Job != nil && len(f.Job.Nodes) > 0 {
		for _, n := range f.Job.Nodes {
			t.nodes[n] = true
		}
		if !f.Job.Started.IsZero() && (f.Job.State == "RUNNING" || f.Job.Over()) && !f.Job.Started.Before(t.begin.Truncate(time.Second)) {
			t.end = f.Job.Started
		}
	}
	return all
}

// fail ends an attempt if one of its nodes can't be had.
func (t *attempt) fail(e *record.Entry, x expander) {
	switch e.What {
	case record.NodeFailed, record.Lost, record.ResumeTimeout:
	default:
		return
	}
	mine := slices.DeleteFunc(slices.Clone(x.expand(e.Nodes)), func(n string) bool { return !t.nodes[n] })
	if len(mine) == 0 {
		return
	}
	text, _ := sentence(&entry{Entry: *e}, mine)
	switch {
	case t.end.IsZero():
		t.failed, t.end, t.how = true, e.Time, text
	case !t.failed && t.how == "":
		t.how = "started, until " + text // that it is told of means that there was a next attempt
	}
}

func nodesOf(t *attempt, j *slurm.JobStatus) map[string]bool {
	nodes := make(map[string]bool)
	if t != nil {
		maps.Copy(nodes, t.nodes)
	}
	if j != nil {
		for _, n := range j.Nodes {
			nodes[n] = true
		}
	}
	return nodes
}

func sortedNodes(nodes map[string]bool) []string {
	return slices.SortedFunc(maps.Keys(nodes), func(a, b string) int {
		x, _ := slurm.ParseNodeName(a)
		y, _ := slurm.ParseNodeName(b)
		return cmp.Or(strings.Compare(x.Queue, y.Queue), strings.Compare(x.Resource, y.Resource), cmp.Compare(x.Index, y.Index), strings.Compare(a, b))
	})
}
