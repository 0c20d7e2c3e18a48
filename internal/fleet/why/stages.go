package why

import (
	"slices"
	"strings"
	"time"

	"pcluster/internal/slurm"
)

// The stages of a start, in their order.
const (
	stageQueue    = "in Slurm's queue"
	stageAsk      = "slurmctld asks"
	stageLaunch   = "EC2 launch"
	stageInstance = "instance starts"
	stageBoot     = "node boots"
	stageRegister = "slurmd registers"
	stageStart    = "job starts"
)

// marks are the times at which the stages of a life end; zero for those that did not.
func (l *life) marks() [5]time.Time {
	m := [5]time.Time{l.begin, l.got, l.reported, l.booted, l.ready}
	// A stage of which nothing was heard ends with the one after it.
	for i := len(m) - 2; i >= 0; i-- {
		if m[i].IsZero() || !m[i+1].IsZero() && m[i].After(m[i+1]) {
			m[i] = m[i+1]
		}
	}
	return m
}

var stageNames = [5]string{stageAsk, stageLaunch, stageInstance, stageBoot, stageRegister}

// stagesOf returns how long each stage took for the last of several nodes to pass it.
// Stages that took no time at all are left out. Nothing takes longer than until end, if
// that is known: a job that has started has its nodes, whenever we saw them register.
func stagesOf(lives []*life, begin, end, now time.Time) []Stage {
	if len(lives) == 0 {
		return nil
	}
	if begin.IsZero() {
		begin = lives[0].begin
	}
	var out []Stage
	for i, name := range stageNames {
		s := Stage{Name: name, From: begin}
		for _, l := range lives {
			at := l.marks()[i]
			if at.IsZero() && l.ended.IsZero() && end.IsZero() {
				s.Until, s.Last = time.Time{}, l.node
				break
			}
			if at.IsZero() {
				at = l.ended
			}
			if !end.IsZero() && (at.IsZero() || at.After(end)) {
				at = end
			}
			if at.After(s.Until) {
				s.Until, s.Last = at, l.node
			}
		}
		if len(lives) == 1 || name == stageAsk {
			s.Last = ""
		}
		if s.Until.IsZero() {
			s.Seconds = seconds(now.Sub(begin))
			return append(out, s)
		}
		s.Seconds = seconds(s.Until.Sub(begin))
		if s.Seconds > 0 {
			out = append(out, s)
			begin = s.Until
		}
	}
	return out
}

// at says in which stage a life is, and since when.
func (l *life) at() (string, time.Time) {
	m := l.marks()
	switch {
	case !l.ended.IsZero():
		return "lost", l.ended
	case !m[4].IsZero():
		return "up", m[4]
	}
	since := l.begin
	for i, name := range stageNames {
		if m[i].IsZero() {
			if name == stageBoot && len(l.steps) > 0 {
				return "boots: " + strings.Join(l.steps, ", "), l.stepsAt
			}
			return name, since
		}
		since = m[i]
	}
	return "up", since
}

// standing lists how the nodes of a job stand, those alike together.
func standing(lives []*life, f Facts) []NodeNow {
	if len(lives) < 2 || f.Job != nil && f.Job.Over() {
		return nil
	}
	type group struct {
		nodes []string
		since time.Time
	}
	groups := make(map[string]*group)
	var order []string
	for _, l := range lives {
		stage, since := l.at()
		g := groups[stage]
		if g == nil {
			g = &group{since: since}
			groups[stage] = g
			order = append(order, stage)
		}
		g.nodes = append(g.nodes, l.node)
		if since.Before(g.since) {
			g.since = since
		}
	}
	if len(order) == 1 && order[0] == "up" {
		return nil
	}
	var out []NodeNow
	for _, stage := range order {
		out = append(out, NodeNow{Nodes: slurm.Compress(groups[stage].nodes), Stage: stage, Since: groups[stage].since})
	}
	slices.SortStableFunc(out, func(a, b NodeNow) int { return strings.Compare(a.Nodes, b.Nodes) })
	return out
}
