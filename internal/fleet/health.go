package fleet

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/fleet/record"
	"pcluster/internal/slurm"
)

// Checks that an instance can fail, by the names that the event log has for them.
const (
	InstanceCheck = "ec2_health_check"       // its operating system can't be reached
	SystemCheck   = "ec2_system_check"       // its host is broken; counted as the former
	EventCheck    = "scheduled_events_check" // AWS is going to do something to it
	SpotNotice    = "spot_interruption"      // EC2 takes it away in two minutes
)

// An Ailment is something wrong with an instance that runs.
type Ailment struct {
	Instance string    `json:"instance"`
	Check    string    `json:"check"`
	Since    time.Time `json:"since,omitzero"` // of a failed check
	Until    time.Time `json:"until,omitzero"` // when AWS will act, of events and notices
	Text     string    `json:"text"`           // for people
}

// A HealthView is what EC2 says about the health of instances. It lists all ailments
// but spot notices, which only the instances themselves learn of.
type HealthView struct {
	At       time.Time
	Ailments []Ailment
}

// A Warning is why a node should get no more jobs although it still runs: it is
// drained, and replaced when its jobs have ended. With a time until, jobs that can
// be requeued are, before it has come.
type Warning struct {
	Ailment
	Drained  bool `json:"drained,omitempty"`
	Requeued bool `json:"requeued,omitempty"`
}

// requeueBefore is how long before AWS acts jobs are sent back to the queue: Slurm
// gives them half a minute to end.
const requeueBefore = time.Minute

// ail takes notice of what EC2 says about the health of the fleet's instances.
func (p *planner) ail(view *HealthView) {
	if view == nil {
		return
	}
	owner := p.owners()
	found := make(map[string]Ailment)
	clear(p.mem.Impaired)
	for _, a := range view.Ailments {
		node, ours := owner[a.Instance]
		if ours && (a.Check == InstanceCheck || a.Check == SystemCheck) {
			p.mem.Impaired[a.Instance] = true // whatever the policy thinks of checks
		}
		if !ours || a.Check == EventCheck && p.policy.IgnoreEvents || a.Check != EventCheck && p.policy.IgnoreChecks {
			continue
		}
		if old := p.mem.Warnings[node]; a.Since.IsZero() && a.Check != EventCheck {
			if a.Since = view.At; old.Check == a.Check && old.Instance == a.Instance {
				a.Since = old.Since
			}
		}
		if old, ok := found[node]; !ok || graver(a, old) {
			found[node] = a
		}
	}
	for node, w := range p.mem.Warnings {
		if _, still := found[node]; !still && w.Check != SpotNotice {
			delete(p.mem.Warnings, node)
		}
	}
	for _, node := range sortedKeys(found) {
		p.warn(node, found[node])
	}
}

// graver orders ailments of one instance: a broken host before all.
func graver(a, b Ailment) bool {
	rank := func(a Ailment) int {
		return slices.Index([]string{EventCheck, InstanceCheck, SystemCheck, SpotNotice}, a.Check)
	}
	if c := cmp.Compare(rank(a), rank(b)); c != 0 {
		return c > 0
	}
	return !a.Until.IsZero() && a.Until.Before(b.Until)
}

// warn remembers an ailment of a node.
func (p *planner) warn(node string, a Ailment) {
	old, known := p.mem.Warnings[node]
	if known && old.Instance == a.Instance && (graver(old.Ailment, a) || old.Check == a.Check && old.Until.Equal(a.Until)) {
		return
	}
	w := Warning{Ailment: a}
	if known && old.Instance == a.Instance {
		w.Drained = old.Drained
	}
	p.mem.Warnings[node] = w
	p.record(record.Entry{
		What: record.Ailing, Nodes: node, Instances: map[string]string{a.Instance: node}, Code: a.Check, Why: a.Text, Until: a.Until,
	})
	p.logf("%s (%s): %s", node, a.Instance, a.Text)
}

// owners maps instances to their nodes.
func (p *planner) owners() map[string]string {
	owner := make(map[string]string, len(p.mem.Assigned))
	for node, a := range p.mem.Assigned {
		owner[a.Instance] = node
	}
	return owner
}

// forgetWarnings drops those of instances that are no node's any more.
func (p *planner) forgetWarnings() {
	maps.DeleteFunc(p.mem.Warnings, func(node string, w Warning) bool { return p.mem.Assigned[node].Instance != w.Instance })
}

// heed decides about a node whose instance is ailing. It reports whether nothing else
// is to be decided about the node in this look.
func (p *planner) heed(n *slurm.Node, todo *sorting) bool {
	w, warned := p.mem.Warnings[n.Name]
	a, assigned := p.mem.Assigned[n.Name]
	// AWS acts in a moment: jobs have to go, however young the node is.
	near := w.Check == SpotNotice || !w.Until.IsZero() && !p.now.Before(w.Until.Add(-requeueBefore))
	switch {
	case !warned || !assigned || a.Instance != w.Instance:
		return false
	case !w.Since.IsZero() && p.now.Sub(w.Since) < p.policy.HealthTimeout:
		return false
	case n.State.Rebooting(), n.State.Down(), n.State.PoweringDown(), n.State.PoweredDown():
		return false
	case n.State.PoweringUp():
		// It never was of use. Drained it would be, and stay, half started.
		if w.Check == EventCheck {
			return false
		}
		if w.Check != SpotNotice {
			p.countFailure(a, w.Text)
		}
		p.end(n.Name, a)
		p.lose(n.Name, w.Text, todo)
		return true
	case !near && p.now.Sub(n.SlurmdStarted) < p.policy.HealthGrace:
		return false // checks lag behind a reboot
	case w.Check == SystemCheck, w.Check == InstanceCheck && n.State.NotResponding():
		// Nothing will come of it any more.
		p.end(n.Name, a)
		p.lose(n.Name, w.Text, todo)
		return true
	}
	if !w.Drained && !n.State.Has("DRAIN", "DRAINED", "DRAINING") {
		p.update(slurm.NodeUpdate{Nodes: []string{n.Name}, State: slurm.StateDrain, Reason: "pcluster: " + w.Text})
		p.recordNode(record.Draining, n.Name, a.Instance, w.Text)
		p.logf("drain %s", n.Name)
	}
	w.Drained = true
	if near && !w.Requeued && n.State.HasJob() {
		w.Requeued = true
		p.do.Requeue = append(p.do.Requeue, n.Name)
		p.recordNode(record.Requeued, n.Name, a.Instance, w.Text)
		p.logf("requeue the jobs of %s: %s", n.Name, w.Text)
	}
	p.mem.Warnings[n.Name] = w
	return false
}

// statusAPI is the part of EC2 that tells the health of instances.
type statusAPI interface {
	DescribeInstanceStatus(context.Context, *ec2.DescribeInstanceStatusInput, ...func(*ec2.Options)) (*ec2.DescribeInstanceStatusOutput, error)
}

// scheduledEvents are the codes of events that end what an instance does. (AWS
// documentation: Scheduled events for your Amazon EC2 instances.)
var scheduledEvents = []string{"instance-reboot", "system-reboot", "system-maintenance", "instance-retirement", "instance-stop"}

// Health returns what is wrong with instances of the account, of whatever cluster:
// there is no asking for a cluster's, but few are not well.
func (c *EC2) Health(ctx context.Context) ([]Ailment, error) {
	var out []Ailment
	for _, question := range []struct {
		filter string
		values []string
		read   func(*types.InstanceStatus) []Ailment
	}{
		{"instance-status.status", []string{"impaired"}, func(s *types.InstanceStatus) []Ailment {
			return impaired(s, InstanceCheck, s.InstanceStatus, "fails its instance status check")
		}},
		{"system-status.status", []string{"impaired"}, func(s *types.InstanceStatus) []Ailment {
			return impaired(s, SystemCheck, s.SystemStatus, "fails its system status check: its host is broken")
		}},
		{"event.code", scheduledEvents, eventsOf},
	} {
		in := &ec2.DescribeInstanceStatusInput{
			Filters:    []types.Filter{{Name: aws.String(question.filter), Values: question.values}},
			MaxResults: aws.Int32(1000),
		}
		for {
			res, err := c.API.DescribeInstanceStatus(ctx, in)
			if err != nil {
				return nil, fmt.Errorf("describe status of instances: %w", err)
			}
			for i := range res.InstanceStatuses {
				out = append(out, question.read(&res.InstanceStatuses[i])...)
			}
			if aws.ToString(res.NextToken) == "" {
				break
			}
			in.NextToken = res.NextToken
		}
	}
	return out, nil
}

func impaired(s *types.InstanceStatus, check string, summary *types.InstanceStatusSummary, text string) []Ailment {
	if summary == nil || summary.Status != types.SummaryStatusImpaired {
		return nil
	}
	a := Ailment{Instance: aws.ToString(s.InstanceId), Check: check, Text: "instance " + aws.ToString(s.InstanceId) + " " + text}
	for _, d := range summary.Details {
		if since := aws.ToTime(d.ImpairedSince); a.Since.IsZero() || since.Before(a.Since) {
			a.Since = since
		}
	}
	return []Ailment{a}
}

func eventsOf(s *types.InstanceStatus) []Ailment {
	var out []Ailment
	for _, e := range s.Events {
		if !slices.Contains(scheduledEvents, string(e.Code)) || completed(aws.ToString(e.Description)) {
			continue
		}
		a := Ailment{
			Instance: aws.ToString(s.InstanceId), Check: EventCheck, Until: aws.ToTime(e.NotBefore),
			Text: fmt.Sprintf("AWS has scheduled %s of instance %s", e.Code, aws.ToString(s.InstanceId)),
		}
		if !a.Until.IsZero() {
			a.Text += " for " + a.Until.UTC().Format("2006-01-02 15:04 MST")
		}
		out = append(out, a)
	}
	return out
}

// completed says whether an event is over: EC2 shows it for a week, and only its
// description tells.
func completed(description string) bool {
	for _, mark := range []string{"[Completed]", "[Canceled]"} {
		if len(description) >= len(mark) && description[:len(mark)] == mark {
			return true
		}
	}
	return false
}

// How often EC2 is asked for the health of instances.
const (
	healthInterval  = 10 * time.Minute
	ailingInterval  = time.Minute // while a node of the fleet is not well
	suspectInterval = time.Minute // at least, however many nodes don't answer
)

// watchHealth asks EC2 for the health of instances.
func (d *Daemon) watchHealth(ctx context.Context) {
	refused := trouble{what: "EC2, about the health of instances,"}
	for {
		call, cancel := context.WithTimeout(ctx, callTimeout)
		view := &HealthView{At: d.Now()}
		var err error
		view.Ailments, err = d.Cloud.Health(call)
		cancel()
		if ctx.Err() != nil {
			return
		}
		refused.met(d.Log, d.Now(), err)
		if err == nil {
			d.tell(ctx, func(o *Observed) { o.Health = view })
		}
		due, asked := time.After(healthInterval), (<-chan struct{})(nil)
		if d.ailing.Load() {
			due = time.After(ailingInterval)
		}
		notYet := time.After(suspectInterval)
		for waits := true; waits; {
			select {
			case <-ctx.Done():
				return
			case <-due:
				waits = false
			case <-notYet:
				asked = d.healthNow
			case <-asked:
				waits = false
			}
		}
	}
}
