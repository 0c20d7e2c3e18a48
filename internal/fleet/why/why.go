// Package why answers the questions of people who wait: what keeps a job or a node, how
// long each stage took, and what can be done.
//
// [Explain] is a function from the fleet's record and what Slurm says to an [Answer],
// which can be printed ([Answer.Text]) or given to programs as JSON.
package why

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"pcluster/internal/fleet/record"
	"pcluster/internal/slurm"
)

// Facts are what an answer is made from.
type Facts struct {
	Now    time.Time
	Record []record.Entry // oldest first
	Job    *slurm.JobStatus
	Nodes  []slurm.Node // those in question, as far as Slurm knows them
	// SlurmError is why Slurm could not be asked.
	SlurmError error
}

// An Answer is what there is to say about a job or a node.
type Answer struct {
	About    string    `json:"about"`           // job 42, node q-dy-c-1
	State    string    `json:"state,omitempty"` // in Slurm's words
	Verdict  string    `json:"verdict"`         // what keeps it, or what became of it: one sentence
	Advice   []string  `json:"advice,omitempty"`
	Stages   []Stage   `json:"stages,omitempty"`
	Total    float64   `json:"total_seconds,omitempty"` // of the stages
	Nodes    []NodeNow `json:"nodes,omitempty"`         // of a job that has several
	Timeline []Line    `json:"timeline,omitempty"`
	Earlier  []string  `json:"earlier,omitempty"` // what happened before that
	Caveats  []string  `json:"caveats,omitempty"`
}

// A Stage is a part of the way from wish to work.
type Stage struct {
	Name    string    `json:"name"`
	From    time.Time `json:"from"`
	Until   time.Time `json:"until,omitzero"` // zero: it goes on
	Seconds float64   `json:"seconds"`
	Last    string    `json:"last,omitempty"` // the node that took longest, of several
}

// NodeNow is how one or more nodes of a job stand.
type NodeNow struct {
	Nodes string    `json:"nodes"`
	Stage string    `json:"stage"`
	Since time.Time `json:"since"`
}

// A Line is something that happened.
type Line struct {
	Time time.Time `json:"time"`
	Text string    `json:"text"`
}

// ExplainNode answers for a node.
func ExplainNode(name string, f Facts) Answer {
	s := newStory(f, "", map[string]bool{name: true})
	a := Answer{About: "node " + name}
	var node *slurm.Node
	for i := range f.Nodes {
		if f.Nodes[i].Name == name {
			node = &f.Nodes[i]
			a.State = string(node.State)
			if node.Reason != "" {
				a.State += " (" + node.Reason + ")"
			}
		}
	}
	lives := s.lives(name)
	if len(lives) > 0 {
		last := lives[len(lives)-1]
		for _, l := range lives[:len(lives)-1] {
			a.Earlier = append(a.Earlier, l.summary())
		}
		a.Earlier = a.Earlier[max(0, len(a.Earlier)-maxEarlier):]
		a.Stages = stagesOf([]*life{last}, time.Time{}, time.Time{}, f.Now)
		a.Timeline = s.timeline(last.begin, time.Time{})
		a.Verdict, a.Advice = s.nodeVerdict(node, last)
	} else {
		a.Verdict, a.Advice = s.nodeVerdict(node, nil)
	}
	a.finish(f)
	return a
}

// maxEarlier is how many earlier lives of a node are listed.
const maxEarlier = 10

// ExplainJob answers for a job.
func ExplainJob(id string, f Facts) Answer {
	if f.Job != nil {
		id = f.Job.ID // members of arrays have numbers of their own
	}
	a := Answer{About: "job " + id}
	if f.Job != nil {
		a.State = f.Job.State
		if f.Job.Reason != "" {
			a.State += " (" + f.Job.Reason + ")"
		}
		if len(f.Job.Nodes) > 0 {
			a.State += ", " + slurm.Compress(f.Job.Nodes)
		}
	}
	tries := attempts(f, id)
	var try *attempt
	if len(tries) > 0 {
		try = tries[len(tries)-1]
		for _, t := range tries[:len(tries)-1] {
			a.Earlier = append(a.Earlier, t.summary())
		}
		a.Earlier = a.Earlier[max(0, len(a.Earlier)-maxEarlier):]
	}
	s := newStory(f, id, nodesOf(try, f.Job))
	var lives []*life
	if try != nil {
		for _, n := range sortedNodes(try.nodes) {
			for _, l := range slices.Backward(s.lives(n)) {
				if try.end.IsZero() || l.begin.Before(try.end) {
					lives = append(lives, l)
					break
				}
			}
		}
		a.Stages = stagesOf(lives, try.begin, try.end, f.Now)
		until := try.end
		if f.Job != nil && !f.Job.Ended.IsZero() && f.Job.Over() {
			until = f.Job.Ended.Add(time.Second) // Slurm tells whole seconds only
		} else if f.Job != nil && !f.Job.Over() {
			until = time.Time{}
		}
		a.Timeline = s.timeline(try.begin, until)
	}
	a.jobStages(f, try)
	if try != nil && !try.failed {
		a.Nodes = standing(lives, f)
	}
	a.Verdict, a.Advice = s.jobVerdict(f.Job, try, lives)
	if f.Job != nil && !f.Job.Submitted.IsZero() {
		text := "the job is submitted"
		if len(tries) > 1 || try != nil && f.Job.Submitted.After(try.begin) {
			text = "Slurm sends the job back to its queue"
		}
		a.Timeline = slices.Insert(a.Timeline, 0, Line{f.Job.Submitted, text})
	}
	if f.Job != nil && f.Job.Over() && !f.Job.Ended.IsZero() {
		a.Timeline = append(a.Timeline, Line{f.Job.Ended, "ended: " + f.Job.State})
	}
	slices.SortStableFunc(a.Timeline, func(x, y Line) int { return x.Time.Truncate(time.Second).Compare(y.Time.Truncate(time.Second)) })
	a.finish(f)
	return a
}

// jobStages adds the stages that only Slurm knows of: the wait in its queue before
// nodes are asked for, and the start after the nodes are there.
func (a *Answer) jobStages(f Facts, try *attempt) {
	j := f.Job
	if j == nil {
		return
	}
	begin := j.Started
	if try != nil {
		begin = try.begin
	}
	waits := j.State == "PENDING" && (try == nil || !try.end.IsZero())
	switch {
	case waits:
		a.Stages = []Stage{{Name: stageQueue, From: j.Submitted, Seconds: seconds(f.Now.Sub(j.Submitted))}}
		return
	case !begin.IsZero() && !j.Submitted.IsZero() && begin.After(j.Submitted):
		a.Stages = slices.Insert(a.Stages, 0, Stage{Name: stageQueue, From: j.Submitted, Until: begin, Seconds: seconds(begin.Sub(j.Submitted))})
	}
	if n := len(a.Stages); n > 0 && try != nil && !try.end.IsZero() && !try.failed && !a.Stages[n-1].Until.IsZero() {
		from := a.Stages[n-1].Until
		if try.end.After(from) {
			a.Stages = append(a.Stages, Stage{Name: stageStart, From: from, Until: try.end, Seconds: seconds(try.end.Sub(from))})
		}
	}
}

// finish adds what holds for all answers.
func (a *Answer) finish(f Facts) {
	for _, s := range a.Stages {
		a.Total += s.Seconds
	}
	if f.SlurmError != nil {
		a.Caveats = append(a.Caveats, "Slurm could not be asked: "+f.SlurmError.Error())
	}
	if len(f.Record) > 0 && len(a.Timeline) == 0 {
		a.Caveats = append(a.Caveats, "the record begins "+f.Record[0].Time.Format("2006-01-02 15:04:05 MST"))
	}
	if len(f.Record) == 0 {
		a.Caveats = append(a.Caveats, "the fleet's record is empty")
	}
}

func seconds(d time.Duration) float64 { return max(0, d.Round(time.Millisecond).Seconds()) }

// span says a duration as people do.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < 100*time.Millisecond:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", d.Seconds()), ".0") + " s"
	case d < time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%d min %02d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%d h %02d min", int(d.Hours()), int(d.Minutes())%60)
}
