package autoscaling

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// A group is one row.
type group struct {
	Desc     types.AutoScalingGroup // without instances
	Zones    map[string]string      // of the subnets
	Hooks    []types.LifecycleHook
	Members  []member
	Deleting bool

	Activities []types.Activity // the latest first
	Failures   int              // launches in a row that failed
	RetryAt    time.Time        // no launches before
}

// A member is an instance of a group, from the decision to launch it until it is gone.
type member struct {
	Token    string // of the launch
	ID       string // empty until EC2 has answered
	Subnet   string
	Type     string
	Template *types.LaunchTemplateSpecification
	State    types.LifecycleState
	Since    time.Time // of the launch
	Served   bool      // it was in service once
	Sick     bool      // to be replaced
	Waits    []wait
	Activity string
}

// A wait is a lifecycle action that somebody is to complete.
type wait struct {
	Hook, Token string
	Deadline    time.Time
	Last        time.Time // no heartbeat extends it beyond
	Abandoned   bool      // somebody gave the instance up
}

// activitiesKept bounds the history of a group.
const activitiesKept = 100

func (g group) name() string { return *g.Desc.AutoScalingGroupName }

// clone returns a copy whose slices may be changed.
func (g group) clone() group {
	g.Members = slices.Clone(g.Members)
	for i := range g.Members {
		g.Members[i].Waits = slices.Clone(g.Members[i].Waits)
	}
	g.Hooks, g.Activities = slices.Clone(g.Hooks), slices.Clone(g.Activities)
	g.Desc.Tags, g.Desc.TargetGroupARNs = slices.Clone(g.Desc.Tags), slices.Clone(g.Desc.TargetGroupARNs)
	return g
}

// member returns the index of an instance, -1 if it is not one of the group's.
func (g group) member(id string) int {
	return slices.IndexFunc(g.Members, func(m member) bool { return m.ID == id && id != "" })
}

// leaving reports whether the member no longer counts.
func (m member) leaving() bool {
	return strings.HasPrefix(string(m.State), string(types.LifecycleStateTerminating))
}

// steps are what a plan wants done, by instance or, for launches, by token.
type steps struct {
	launch     []string
	register   []string
	deregister []string
	terminate  []string
	wake       time.Time // when to look again; zero: when told
}

func (s *steps) wakeAt(t time.Time) {
	if s.wake.IsZero() || t.Before(s.wake) {
		s.wake = t
	}
}

// plan returns how a group goes on, given the states of its instances as EC2 tells
// them (those that EC2 does not know are missing), and what must be done for it.
// Steps are repeated until their effect shows, so each must be safe to repeat.
func plan(g group, seen map[string]ec2types.InstanceStateName, now time.Time) (group, steps) {
	g = g.clone()
	var do steps
	for i := range g.Members {
		g.advance(&g.Members[i], seen, now, &do)
	}
	g.Members = slices.DeleteFunc(g.Members, func(m member) bool { return m.State == types.LifecycleStateTerminated })
	g.resize(now, &do)
	return g, do
}

// advance moves one member through its lifecycle as far as it can go now.
func (g *group) advance(m *member, seen map[string]ec2types.InstanceStateName, now time.Time, do *steps) {
	if m.ID == "" {
		return // resize launches it
	}
	state, known := seen[m.ID]
	gone := !known || state == ec2types.InstanceStateNameTerminated
	running := state == ec2types.InstanceStateNameRunning
	broken := gone || !running && state != ec2types.InstanceStateNamePending
	if !m.leaving() && (broken || m.Sick || g.Deleting) {
		why := fmt.Sprintf("At %s an instance was taken out of service in response to an EC2 health check that indicated it has been terminated or stopped.", stamp(now))
		switch {
		case g.Deleting:
			why = fmt.Sprintf("At %s a user request deleted the AutoScalingGroup.", stamp(now))
		case m.Sick:
			why = fmt.Sprintf("At %s an instance was taken out of service in response to a user health-check.", stamp(now))
		}
		g.leave(m, now, why, broken || g.Deleting)
	}
	for {
		before := m.State
		switch m.State {
		case types.LifecycleStatePending, types.LifecycleStatePendingProceed:
			if running {
				do.register = append(do.register, m.ID)
				m.State, m.Served = types.LifecycleStateInService, true
				g.finish(m.Activity, now, types.ScalingActivityStatusCodeSuccessful, "")
			}
		case types.LifecycleStatePendingWait:
			if !g.expire(m, now, do) {
				g.finish(m.Activity, now, types.ScalingActivityStatusCodeCancelled, "Instance failed to complete user's Lifecycle Action: Lifecycle Action was abandoned: Timeout expired or result ABANDON")
				g.leave(m, now, fmt.Sprintf("At %s an instance was taken out of service because a lifecycle action was abandoned.", stamp(now)), true)
			} else if len(m.Waits) == 0 {
				m.State = types.LifecycleStatePendingProceed
			}
		case types.LifecycleStateTerminatingWait:
			// Either result lets it go.
			if !g.expire(m, now, do) || len(m.Waits) == 0 || gone {
				m.Waits, m.State = nil, types.LifecycleStateTerminatingProceed
			}
		case types.LifecycleStateTerminating, types.LifecycleStateTerminatingProceed:
			if gone {
				m.State = types.LifecycleStateTerminated
				g.finish(m.Activity, now, types.ScalingActivityStatusCodeSuccessful, "")
				do.deregister = append(do.deregister, m.ID)
				break
			}
			if state != ec2types.InstanceStateNameShuttingDown {
				do.terminate = append(do.terminate, m.ID)
			}
		}
		if m.State == before {
			break
		}
	}
	if m.leaving() && m.Served {
		do.deregister = append(do.deregister, m.ID)
	}
}

// hooksFor returns what waits for the hooks of a transition.
func (g *group) hooksFor(transition string, now time.Time) []wait {
	var waits []wait
	for _, h := range g.Hooks {
		if *h.LifecycleTransition == transition {
			waits = append(waits, wait{
				Hook: *h.LifecycleHookName, Token: uuid(), Deadline: now.Add(seconds(h.HeartbeatTimeout)), Last: now.Add(seconds(h.GlobalTimeout)),
			})
		}
	}
	return waits
}

func seconds(n *int32) time.Duration { return time.Duration(aws.ToInt32(n)) * time.Second }

// leave starts the end of a member. Hooks are for instances that were in service
// and still live.
func (g *group) leave(m *member, now time.Time, why string, atOnce bool) {
	m.Waits, m.State = nil, types.LifecycleStateTerminating
	if !atOnce && m.Served {
		if m.Waits = g.hooksFor(terminating, now); len(m.Waits) > 0 {
			m.State = types.LifecycleStateTerminatingWait
		}
	}
	m.Activity = g.begin("Terminating EC2 instance: "+m.ID, why, now)
}

// expire ends the lifecycle actions that are over, by the default results of those
// that nobody completed in time. It reports false if one abandons the instance.
func (g *group) expire(m *member, now time.Time, do *steps) bool {
	left := m.Waits[:0]
	for _, w := range m.Waits {
		if w.Abandoned {
			return false
		}
		if now.Before(w.Deadline) {
			do.wakeAt(w.Deadline)
			left = append(left, w)
			continue
		}
		h := g.hook(w.Hook)
		if h != nil && aws.ToString(h.DefaultResult) == abandon {
			return false
		}
	}
	m.Waits = left
	return true
}

// resize decides about launches and, when there are too many instances, which go.
// The next plan takes them further.
func (g *group) resize(now time.Time, do *steps) {
	want := int(*g.Desc.DesiredCapacity)
	if g.Deleting {
		want = 0
	}
	var active []*member
	for i := range g.Members {
		if m := &g.Members[i]; !m.leaving() {
			active = append(active, m)
		}
	}
	// What was never launched goes first, then the oldest.
	slices.SortStableFunc(active, func(a, b *member) int {
		return cmp.Or(cmp.Compare(min(len(a.ID), 1), min(len(b.ID), 1)), a.Since.Compare(b.Since))
	})
	drop := map[string]bool{}
	for ; len(active) > want; active = active[1:] {
		m := active[0]
		if m.ID == "" {
			drop[m.Token] = true
			g.finish(m.Activity, now, types.ScalingActivityStatusCodeCancelled, "")
			continue
		}
		g.leave(m, now, fmt.Sprintf("At %s instance %s was selected for termination, shrinking the capacity to %d.", stamp(now), m.ID, want), false)
	}
	g.Members = slices.DeleteFunc(g.Members, func(m member) bool { return m.ID == "" && drop[m.Token] })
	if now.Before(g.RetryAt) && len(active) < want {
		do.wakeAt(g.RetryAt)
		return
	}
	for n := len(active); n < want; n++ {
		m := member{Token: uuid(), Subnet: g.emptiest(), State: types.LifecycleStatePending, Since: now, Template: g.Desc.LaunchTemplate}
		m.Activity = g.begin("Launching a new EC2 instance", fmt.Sprintf(
			"At %s an instance was started in response to a difference between desired and actual capacity, increasing the capacity from %d to %d.", stamp(now), n, n+1), now)
		g.Members = append(g.Members, m)
	}
	for _, m := range g.Members {
		if m.ID == "" && !m.leaving() {
			do.launch = append(do.launch, m.Token)
		}
	}
}

// emptiest returns the subnet with the fewest instances.
func (g *group) emptiest() string {
	count := map[string]int{}
	for _, m := range g.Members {
		if !m.leaving() {
			count[m.Subnet]++
		}
	}
	var best string
	for id := range strings.SplitSeq(aws.ToString(g.Desc.VPCZoneIdentifier), ",") {
		if id = strings.TrimSpace(id); best == "" || count[id] < count[best] {
			best = id
		}
	}
	return best
}

// launched notes that EC2 has made a member's instance.
func (g *group) launched(token, id, kind string, now time.Time) {
	for i := range g.Members {
		m := &g.Members[i]
		if m.Token != token || m.ID != "" {
			continue
		}
		m.ID, m.Type = id, kind
		if m.Waits = g.hooksFor(launching, now); len(m.Waits) > 0 {
			m.State = types.LifecycleStatePendingWait
		}
		g.describe(m.Activity, "Launching a new EC2 instance: "+id)
	}
	g.Failures, g.RetryAt = 0, time.Time{}
}

// notLaunched notes that EC2 refused a launch. Launches are tried again after a
// pause that grows.
func (g *group) notLaunched(token, why string, now time.Time) {
	g.Members = slices.DeleteFunc(g.Members, func(m member) bool {
		if m.Token != token {
			return false
		}
		g.finish(m.Activity, now, types.ScalingActivityStatusCodeFailed, why)
		return true
	})
	g.Failures++
	g.RetryAt = now.Add(min(firstRetry<<min(g.Failures-1, 10), lastRetry))
}

const (
	firstRetry = 5 * time.Second
	lastRetry  = 5 * time.Minute
)

// stamp writes a time as causes of activities do.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// begin adds an activity to the history.
func (g *group) begin(what, why string, now time.Time) string {
	a := types.Activity{
		ActivityId: aws.String(uuid()), AutoScalingGroupName: g.Desc.AutoScalingGroupName, AutoScalingGroupARN: g.Desc.AutoScalingGroupARN,
		Description: &what, Cause: &why, StartTime: aws.Time(now.UTC()), StatusCode: types.ScalingActivityStatusCodeInProgress, Progress: aws.Int32(50),
		Details: aws.String("{}"),
	}
	g.Activities = append([]types.Activity{a}, g.Activities[:min(len(g.Activities), activitiesKept-1)]...)
	return *a.ActivityId
}

func (g *group) describe(id, what string) {
	for i := range g.Activities {
		if *g.Activities[i].ActivityId == id {
			g.Activities[i].Description = &what
		}
	}
}

// finish ends an activity, unless it has ended before.
func (g *group) finish(id string, now time.Time, status types.ScalingActivityStatusCode, message string) {
	for i := range g.Activities {
		a := &g.Activities[i]
		if *a.ActivityId != id || a.EndTime != nil {
			continue
		}
		a.StatusCode, a.EndTime, a.Progress = status, aws.Time(now.UTC()), aws.Int32(100)
		if message != "" {
			a.StatusMessage = &message
		}
	}
}
