package fleet

import (
	"context"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"pcluster/internal/fleet/record"
	"pcluster/internal/slurm"
)

// waiters are the programs that slurmctld runs before a job, each waiting for the
// nodes of its job. When it returns, slurmctld starts the job if the nodes are up;
// nobody else would look for up to half a minute.
type waiters struct {
	scheduler Scheduler
	log       *slog.Logger
	record    func(...record.Entry)
	now       func() time.Time // the daemon's clock
	// up is told of awaited nodes that were found to be up.
	up func(context.Context, SlurmView)

	slurmctld trouble // only for the goroutine that looks

	mu       sync.Mutex
	waiting  map[*waiter]struct{}
	arrived  chan struct{}
	expected time.Time // until when nodes are likely to register any moment
}

type waiter struct {
	job     string
	nodes   []string
	since   time.Time
	told    bool            // the record knows that it waits
	rising  bool            // a node was seen on its way up: from now on being off means failure
	up      map[string]bool // nodes that were seen up
	release chan struct{}
}

// Intervals of looks at the nodes that programs wait for.
const (
	waitInterval   = 200 * time.Millisecond
	expectInterval = 20 * time.Millisecond // when a node has said that its slurmd starts
	expectFor      = 10 * time.Second
	// unstarted is for how long a node may look as if it had not been told to start:
	// slurmctld runs its prolog before it powers nodes up.
	unstarted = 15 * time.Second
)

// wait returns when a job's nodes are up, or can't be expected to come up any more,
// or when the program has gone.
func (w *waiters) wait(ctx context.Context, conn net.Conn, job string, nodes []string) {
	if len(nodes) == 0 {
		return
	}
	me := &waiter{job: job, nodes: nodes, since: time.Now(), release: make(chan struct{})}
	w.mu.Lock()
	if w.waiting == nil {
		w.waiting = make(map[*waiter]struct{})
	}
	w.waiting[me] = struct{}{}
	w.mu.Unlock()
	nudge(w.arrivals())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		// Programs say nothing more: a read ends when they end.
		_, _ = io.Copy(io.Discard, conn)
	}()
	select {
	case <-me.release:
	case <-gone:
	case <-ctx.Done():
	}
	w.mu.Lock()
	delete(w.waiting, me)
	w.mu.Unlock()
}

func (w *waiters) arrivals() chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.arrived == nil {
		w.arrived = make(chan struct{}, 1)
	}
	return w.arrived
}

// run looks at the awaited nodes for as long as there are any.
func (w *waiters) run(ctx context.Context) {
	for {
		if len(w.snapshot()) == 0 {
			select {
			case <-ctx.Done():
				return
			case <-w.arrivals():
			}
		}
		began := time.Now()
		w.look(ctx)
		// Most of the time is slurmctld's for its own work.
		pause := max(expectInterval, 2*time.Since(began))
		if !sleep(ctx, pause, nil) || !w.expecting() && !sleep(ctx, waitInterval-pause, w.arrivals()) {
			return
		}
	}
}

// sleep waits for a time, or until it is woken. It reports false when the context ends.
func sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
	case <-wake:
	}
	return true
}

// expect has the nodes be looked at more often for a while.
func (w *waiters) expect() {
	w.mu.Lock()
	w.expected = time.Now().Add(expectFor)
	w.mu.Unlock()
	nudge(w.arrivals())
}

func (w *waiters) expecting() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Before(w.expected)
}

func (w *waiters) snapshot() []*waiter {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := make([]*waiter, 0, len(w.waiting))
	for me := range w.waiting {
		all = append(all, me)
	}
	return all
}

func (w *waiters) look(ctx context.Context) {
	all := w.snapshot()
	names := make(map[string]bool)
	for _, me := range all {
		for _, n := range me.nodes {
			names[n] = true
		}
	}
	if len(names) == 0 {
		return
	}
	at := w.now()
	nodes, err := w.scheduler.Nodes(ctx, slurm.Compress(sortedKeys(names)))
	if ctx.Err() != nil {
		return
	}
	if w.slurmctld.met(w.log, time.Now(), err); err != nil {
		return
	}
	states := make(map[string]slurm.State, len(nodes))
	for _, n := range nodes {
		states[n.Name] = n.State
	}
	if up := newlyUp(all, nodes, states); len(up) > 0 {
		w.up(ctx, SlurmView{At: at, Nodes: up})
	}
	for _, me := range all {
		if me.over(states, time.Now()) {
			w.mu.Lock()
			if _, waits := w.waiting[me]; waits {
				delete(w.waiting, me)
				close(me.release)
			}
			w.mu.Unlock()
			if me.told {
				w.record(record.Entry{What: record.JobReleased, Nodes: slurm.Compress(me.nodes), Jobs: []string{me.job}})
			}
			w.log.Info("nodes of a job are up, or lost", "job", me.job, "nodes", slurm.Compress(me.nodes), "waited", time.Since(me.since).Round(time.Millisecond))
		} else if !me.told { // most jobs don't wait, and have no place in the record
			me.told = true
			w.record(record.Entry{Time: me.since, What: record.JobWaits, Nodes: slurm.Compress(me.nodes), Jobs: []string{me.job}})
		}
	}
}

// newlyUp returns the nodes that are up, and were not when somebody who waits for them
// last looked.
func newlyUp(all []*waiter, nodes []slurm.Node, states map[string]slurm.State) []slurm.Node {
	fresh := make(map[string]bool)
	for _, me := range all {
		for _, n := range me.nodes {
			if state, known := states[n]; known && state.Ready() && !me.up[n] {
				if me.up == nil {
					me.up = make(map[string]bool)
				}
				me.up[n], fresh[n] = true, true
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(nodes), func(n slurm.Node) bool { return !fresh[n.Name] })
}

// lost releases the programs that wait for nodes which can't be launched.
func (w *waiters) lost(nodes map[string]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for me := range w.waiting {
		if slices.ContainsFunc(me.nodes, func(n string) bool { return nodes[n] }) {
			delete(w.waiting, me)
			close(me.release)
		}
	}
}

// over says whether there is nothing more to wait for.
func (me *waiter) over(states map[string]slurm.State, now time.Time) bool {
	ready := true
	for _, n := range me.nodes {
		state, known := states[n]
		switch {
		case !known || state.Down():
			return true
		case state.PoweringUp():
			me.rising = true
			ready = false
		case state.PoweringDown(), state.PoweredDown():
			if me.rising || now.Sub(me.since) > unstarted {
				return true
			}
			ready = false
		case !state.Ready():
			ready = false
		}
	}
	return ready
}
