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

// timeline returns what happened from one time until another, or until now. What
// happened to many nodes alike is one line.
func (s *story) timeline(from, until time.Time) []Line {
	type many struct {
		first, last entry
		nodes       map[string]bool
		count       int
	}
	var order []*many
	same := make(map[string]*many)
	reported := make(map[string]bool)
	for i := range s.entries {
		e := s.entries[i]
		if e.Time.Before(from) || !until.IsZero() && e.Time.After(until) {
			continue
		}
		if e.What == record.Booting {
			if first := !reported[strings.Join(e.nodes, ",")]; s.bootedLater(i) {
				if !first {
					continue // how long its steps took says more
				}
				e.Steps = nil
			}
			reported[strings.Join(e.nodes, ",")] = true
		}
		key := strings.Join([]string{string(e.What), e.Why, e.Code, e.Class, e.Message, strings.Join(e.Steps, ","), e.Queue, e.Resource}, "\x00")
		if !collapses(e.What) {
			key = fmt.Sprint(i)
		}
		m := same[key]
		if m == nil {
			m = &many{first: e, nodes: make(map[string]bool)}
			same[key] = m
			order = append(order, m)
		}
		m.last = e
		m.count += e.Count
		for _, n := range e.nodes {
			m.nodes[n] = true
		}
	}
	lines := make([]Line, 0, len(order))
	var before record.Entry
	for _, m := range order {
		e := m.first
		e.Count = m.count
		if len(m.nodes) > 1 {
			e.Took = nil
		}
		// The same cause need not be told with each of its effects.
		if e.Why != "" && e.Time.Equal(before.Time) && strings.HasSuffix(e.Why, before.Why) && before.Why != "" {
			e.Why = ""
		}
		if e.Code != "" && e.Code == before.Code && e.Message == before.Message {
			e.Message = ""
		}
		before = m.first.Entry
		text, ok := sentence(&e, sortedNodes(m.nodes))
		if !ok {
			continue
		}
		if d := m.last.Time.Sub(e.Time); d >= 100*time.Millisecond {
			text += ", within " + span(d)
		}
		lines = append(lines, Line{e.Time, text})
	}
	return lines
}

// collapses says whether a kind happens to each node by itself.
func collapses(k record.Kind) bool {
	switch k {
	case record.Asked, record.AskMissed, record.LaunchTried, record.JobWaits, record.JobReleased, record.FleetStatus, record.DaemonStarted,
		record.QueueDisabled, record.Exhausted, record.CapacityBack, record.Paused, record.BlockChanged, record.BlockEnds:
		return false
	}
	return true
}

func (s *story) bootedLater(i int) bool {
	for _, e := range s.entries[i+1:] {
		if (e.What == record.Booted || e.What == record.BootFailed) && slices.Equal(e.nodes, s.entries[i].nodes) {
			return true
		}
	}
	return false
}

// sentence says what an entry means for the nodes. It reports false for kinds that
// this program does not know.
func sentence(e *entry, nodes []string) (string, bool) {
	who := few(nodes)
	one := len(nodes) == 1
	its := "their instances"
	if one {
		its = "its instance"
	}
	for id := range e.Instances {
		if one {
			its = "instance " + id
		}
	}
	is := func(single, plural string) string {
		if one {
			return single
		}
		return plural
	}
	because := func(text string) string {
		if e.Why == "" {
			return text
		}
		return text + ": " + e.Why
	}
	switch e.What {
	case record.DaemonStarted:
		return "the fleet daemon starts", true
	case record.Asked:
		return "slurmctld asks for " + cmp.Or(who, e.Nodes), true
	case record.AskMissed:
		return "slurmctld's request for " + cmp.Or(who, e.Nodes) + " was missed; it is made up for", true
	case record.JobWaits:
		return "slurmctld gives the job " + few(nodes) + ", and waits until " + is("it is", "they are") + " up", true
	case record.LaunchTried:
		return "EC2 is asked for " + wish(e), true
	case record.LaunchAnswered:
		return fmt.Sprintf("EC2 gives %s", instances(e.Count)), true
	case record.LaunchRefused:
		return fmt.Sprintf("EC2 refuses %s: %s", instances(e.Count), refusal(e)), true
	case record.NodeFailed:
		return who + " can't be had: " + refusal(e), true
	case record.Assigned:
		if one {
			return because(who + " is " + strings.TrimPrefix(its, "instance ")), true
		}
		return fmt.Sprintf("%d instances become %s", len(nodes), who), true
	case record.GivenBack:
		return "instances that no whole job could use are given back", true
	case record.Named:
		return who + is(" has its name and address", " have their names and addresses"), true
	case record.NamingFailed:
		return "the names of " + who + " could not be recorded", true
	case record.Booting:
		if len(e.Steps) == 0 {
			return who + is(" reports: its instance has started", " report: their instances have started"), true
		}
		return who + is(" boots: ", " boot: ") + strings.Join(e.Steps, ", "), true
	case record.Booted:
		return who + is(" has", " have") + " booted" + slowest(e.Took), true
	case record.BootFailed:
		return because("the boot of " + who + " fails"), true
	case record.Registered:
		return who + is(" registers with slurmctld, and can take jobs", " register with slurmctld, and can take jobs"), true
	case record.JobReleased:
		return "slurmctld is told that the job's nodes are up, or lost", true
	case record.StartFailed:
		return because(who + is(" does", " do") + " not come up, which counts against the queue"), true
	case record.ResumeTimeout:
		return who + is(" was", " were") + " not up in slurmctld's ResumeTimeout", true
	case record.Ailing:
		return because(who + is(" is", " are") + " not well"), true
	case record.Draining:
		return because(who + is(" gets", " get") + " no more jobs"), true
	case record.Requeued:
		return because("the jobs of " + who + " go back to the queue"), true
	case record.CutOff:
		return because(who + is(" is", " are") + " not heard by the head node any more, and waited for"), true
	case record.Answers:
		return "the head node reaches " + who + ", whose slurmd is silent: nothing is cut off", true
	case record.InTouch:
		return who + is(" is", " are") + " heard again, " + e.Why, true
	case record.Lost:
		return because(who + is(" is lost", " are lost")), true
	case record.Replaced:
		return because(who + is(" is replaced", " are replaced")), true
	case record.Suspended:
		return "slurmctld gives up " + who + ", which it does not need any more", true
	case record.Terminated:
		return because(its + is(" is terminated", " are terminated")), true
	case record.Gone:
		return its + is(" has ended", " have ended"), true
	case record.Exhausted:
		return fmt.Sprintf("compute resource %s of queue %s is left alone until %s: %s", e.Resource, e.Queue, clock(e.Until), e.Code), true
	case record.CapacityBack:
		return fmt.Sprintf("compute resource %s of queue %s may have capacity again", e.Resource, e.Queue), true
	case record.Paused:
		return fmt.Sprintf("static nodes of %s in queue %s are tried again after %s", e.Resource, e.Queue, clock(e.Until)), true
	case record.BlockChanged, record.BlockEnds:
		return blockIs(e.Entry), true
	case record.QueueDisabled:
		return fmt.Sprintf("queue %s becomes inactive: %d nodes failed to start (protected mode)", e.Queue, e.Count), true
	case record.FleetStatus:
		return "the fleet is " + e.Why, true
	}
	return "", false
}

// blockIs says how it stands with a capacity block.
func blockIs(e record.Entry) string {
	if e.What == record.BlockEnds {
		return fmt.Sprintf("the instances of capacity block %s end at %s: only jobs start there whose time limit (sbatch --time) lets them end before", e.Block, e.Until.Format("2006-01-02 15:04:05"))
	}
	text := fmt.Sprintf("capacity block %s is %s", e.Block, e.Code)
	switch {
	case e.Until.IsZero():
	case e.Code == "active":
		text += ", until " + e.Until.Format("2006-01-02 15:04:05")
	default:
		text += ", and begins at " + e.Until.Format("2006-01-02 15:04:05")
	}
	return text
}

func wish(e *entry) string {
	text := fmt.Sprintf("%d × ", e.Count) + strings.Join(e.Types, " or ")
	if len(e.Types) > 4 {
		text = fmt.Sprintf("%d of %d instance types", e.Count, len(e.Types))
	}
	switch {
	case len(e.Subnets) > 4:
		text += fmt.Sprintf(" in %d subnets", len(e.Subnets))
	case len(e.Subnets) > 0:
		text += " in " + strings.Join(e.Subnets, " or ")
	}
	if e.Min > 1 && e.Min == e.Count {
		text += ", all or none"
	}
	if len(e.Jobs) > 1 {
		text += fmt.Sprintf(", for %d jobs", len(e.Jobs))
	}
	return text
}

func instances(n int) string {
	if n == 1 {
		return "1 instance"
	}
	return fmt.Sprintf("%d instances", n)
}

func refusal(e *entry) string {
	if e.Message == "" {
		return e.Code
	}
	return e.Code + ": " + strings.TrimRight(e.Message, ". ")
}

// slowest says which steps of a boot took longest, if any did.
func slowest(took map[string]float64) string {
	names := slices.SortedFunc(maps.Keys(took), func(a, b string) int { return cmp.Or(cmp.Compare(took[b], took[a]), strings.Compare(a, b)) })
	var parts []string
	for _, n := range names[:min(3, len(names))] {
		if took[n] >= 0.1 {
			parts = append(parts, n+" "+span(time.Duration(took[n]*float64(time.Second))))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return " (longest: " + strings.Join(parts, ", ") + ")"
}

// few names nodes, however many they are, in a few words.
func few(nodes []string) string {
	list := slurm.Compress(nodes)
	if len(list) > 60 {
		return fmt.Sprintf("%d nodes", len(nodes))
	}
	return list
}

func clock(t time.Time) string { return t.Format("15:04:05") }
