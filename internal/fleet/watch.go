package fleet

import (
	"context"
	"log/slog"
	"time"

	"pcluster/internal/slurm"
)

// hurry has the daemon look at Slurm and EC2 now.
func (d *Daemon) hurry() { nudge(d.lookNow) }

// nudge wakes who waits for a channel, now or when they come to it.
func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// How often the daemon looks by itself. Whatever matters to a job that waits is told
// to it, so these only bound how long a surprise goes unnoticed. A fleet in which
// nothing happens must not use up the account's budget of calls.
const (
	slurmInterval     = 5 * time.Second
	motionEC2Interval = 10 * time.Second // while instances come and go
	quietEC2Interval  = 5 * time.Minute
	refusedEC2Pause   = 2 * time.Minute // at most, between attempts while EC2 refuses to answer
	askedEC2Pause     = time.Second     // at least, however often somebody asks for a look

	firstSuspicion = 3 * time.Second // pauses between looks for the same nodes that don't answer
	lastSuspicion  = time.Minute
)

// watch looks at Slurm often, and at EC2 as often as there is something to see. An EC2
// that does not answer, as the network is cut, does not keep it from looking at Slurm.
func (d *Daemon) watch(ctx context.Context) {
	var (
		last     time.Time // look at EC2
		asked    = true    // for one, by whoever knows why
		under    chan ec2Answer
		ec2      *EC2View // that was not told yet
		refused  = trouble{what: "EC2"}
		silent   = trouble{what: "slurmctld"}
		suspects suspicion
	)
	take := func(a ec2Answer) {
		under, ec2 = nil, a.view
		refused.met(d.Log, d.Now(), a.err)
	}
	tick := time.NewTicker(slurmInterval)
	defer tick.Stop()
	for {
		pause := quietEC2Interval
		if d.inMotion.Load() {
			pause = motionEC2Interval
		}
		if refused.failures > 0 {
			pause = min(motionEC2Interval<<min(refused.failures, 8), refusedEC2Pause)
		}
		if under == nil && ec2 == nil && (asked || d.Now().Sub(last) >= pause) {
			asked, last = false, d.Now()
			under = d.lookAtEC2(ctx)
			select {
			case <-ctx.Done():
				return
			case a := <-under:
				take(a)
			case <-tick.C:
			}
		}
		view, err := d.lookAtSlurm(ctx, ec2)
		if ctx.Err() != nil {
			return
		}
		ec2 = nil
		silent.met(d.Log, d.Now(), err)
		if view != nil && refused.failures == 0 && suspects.grow(view.Nodes, last, d.Now()) {
			asked = true
			nudge(d.healthNow)
		}
		for again := false; !again; {
			var soon <-chan time.Time
			if asked && under == nil {
				soon = time.After(last.Add(askedEC2Pause).Sub(d.Now()))
			}
			select {
			case <-ctx.Done():
				return
			case a := <-under:
				take(a)
				again = true
			case <-d.lookNow:
				asked = true
			case <-soon:
				again = true
			case <-tick.C:
				again = true
			}
		}
	}
}

// A suspicion is about nodes in service that don't answer Slurm: EC2 may know that
// they are gone. It is asked at once when there are new ones, and then ever less often.
type suspicion struct {
	nodes map[string]bool
	pause time.Duration
}

// grow takes what Slurm shows, and says whether EC2 should be asked about it.
func (s *suspicion) grow(nodes []slurm.Node, last, now time.Time) bool {
	var silent map[string]bool
	fresh := false
	for i := range nodes {
		n := &nodes[i]
		if !n.State.NotResponding() || n.State.Down() || n.State.PoweringUp() || n.State.PoweredDown() || n.State.PoweringDown() {
			continue
		}
		if silent == nil {
			silent = make(map[string]bool)
		}
		silent[n.Name] = true
		fresh = fresh || !s.nodes[n.Name]
	}
	s.nodes = silent
	switch {
	case len(silent) == 0:
		s.pause = 0
		return false
	case fresh:
		s.pause = firstSuspicion
		return true
	case now.Sub(last) < s.pause:
		return false
	}
	s.pause = min(2*s.pause, lastSuspicion)
	return true
}

// An ec2Answer is what came of a look at EC2.
type ec2Answer struct {
	view *EC2View
	err  error
}

// lookAtEC2 begins a look at EC2.
func (d *Daemon) lookAtEC2(ctx context.Context) chan ec2Answer {
	answer := make(chan ec2Answer, 1)
	d.running.Add(1)
	go func() {
		defer d.running.Done()
		call, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		view := &EC2View{At: d.Now()}
		var err error
		if view.Instances, err = d.Cloud.Instances(call); err != nil {
			view = nil
		}
		answer <- ec2Answer{view, err}
	}()
	return answer
}

// lookAtSlurm tells the loop what Slurm shows, together with an earlier look at EC2.
func (d *Daemon) lookAtSlurm(ctx context.Context, ec2 *EC2View) (*SlurmView, error) {
	type answer struct {
		view *SlurmView
		err  error
	}
	done := make(chan answer, 1)
	// Updates that are queued after this moment may happen after the look.
	at := d.Now()
	d.inSlurm(ctx, func(ctx context.Context) {
		view, err := d.slurmView(ctx, at)
		if err == nil {
			nodes := d.reports.view()
			d.tell(ctx, func(o *Observed) { o.Slurm, o.EC2, o.Nodes = view, newerEC2(o.EC2, ec2), nodes })
		}
		done <- answer{view, err}
	})
	select {
	case a := <-done:
		return a.view, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func newerEC2(old, latest *EC2View) *EC2View {
	if latest == nil {
		return old
	}
	return latest
}

func (d *Daemon) slurmView(ctx context.Context, at time.Time) (*SlurmView, error) {
	view := &SlurmView{At: at, Partitions: make(map[string]string)}
	var err error
	if view.Nodes, err = d.Scheduler.Nodes(ctx, ""); err != nil {
		return nil, err
	}
	partitions, err := d.Scheduler.Partitions(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range partitions {
		view.Partitions[p.Name] = p.State
	}
	view.Reservations = d.reservations(ctx)
	for _, n := range view.Nodes {
		if n.State.PoweringUp() {
			if view.Jobs, err = d.Scheduler.ConfiguringJobs(ctx); err != nil {
				return nil, err
			}
			break
		}
	}
	return view, nil
}

// InMotion says whether instances come or go.
func (m *Memory) InMotion() bool {
	if len(m.Launches)+len(m.Answered)+len(m.Ending)+len(m.Unclaimed)+len(m.Strays) > 0 {
		return true
	}
	for _, a := range m.Assigned {
		if !a.Ready {
			return true
		}
	}
	return false
}

// How often the fleet's status is asked for. Somebody who has changed it is likely to
// do so again; requests from elsewhere take effect within the longer time.
const (
	statusInterval     = 3 * time.Second
	quietStatusPause   = time.Minute
	statusQuietensDown = 5 * time.Minute
)

// watchStatus asks for requests of users to start or stop the fleet.
func (d *Daemon) watchStatus(ctx context.Context) {
	table := trouble{what: "table of the fleet's status"}
	var known Status
	changed := d.Now()
	for {
		call, cancel := context.WithTimeout(ctx, callTimeout)
		status, err := d.Status.Get(call)
		cancel()
		if ctx.Err() != nil {
			return
		}
		table.met(d.Log, d.Now(), err)
		if err == nil {
			if status != known || !status.settled() {
				known, changed = status, d.Now()
			}
			d.tell(ctx, func(o *Observed) { o.Status = status })
		}
		pause := statusInterval
		if d.Now().Sub(changed) > statusQuietensDown {
			pause = quietStatusPause
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		case <-d.statusNow:
			changed = d.Now()
		}
	}
}

// settled reports a status that only a user's request changes.
func (s Status) settled() bool { return s == Running || s == Stopped || s == Protected || s == "" }

// A trouble is a service that may stop to answer. It is logged when it does, then
// ever less often for as long as it lasts, and when it is over: an hour of it must
// not bury what else the log has to say.
type trouble struct {
	what     string
	failures int
	since    time.Time
	next     time.Time // to be logged
	pause    time.Duration
}

// The pauses between two lines about the same trouble.
const (
	firstComplaint = time.Minute
	lastComplaint  = 15 * time.Minute
)

// met takes how the latest question was answered.
func (t *trouble) met(log *slog.Logger, now time.Time, err error) {
	if err == nil {
		if t.failures > 0 {
			log.Info(t.what+" answers again", "after", now.Sub(t.since).Round(time.Second), "failures", t.failures)
		}
		*t = trouble{what: t.what}
		return
	}
	t.failures++
	switch {
	case t.failures == 1:
		t.since, t.pause = now, firstComplaint
		log.Warn(t.what+" does not answer", "error", err)
	case now.Before(t.next):
		return
	default:
		t.pause = min(2*t.pause, lastComplaint)
		log.Warn(t.what+" still does not answer", "since", now.Sub(t.since).Round(time.Second), "failures", t.failures, "error", err)
	}
	t.next = now.Add(t.pause)
}
