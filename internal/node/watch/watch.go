// Package watch is what runs beside slurmd on a compute node. It tells the fleet
// daemon on the head node how the boot gets on and what EC2 announces, over one
// connection whose end is the first sign that the node is lost. And it ends the node
// when nobody can own it any more: when the head node has been gone for longer than
// the user wants to pay for it, and no job runs.
//
// A node whose boot is over sleeps here until something happens, apart from spot
// instances, which ask for notices every five seconds: what runs on a compute node
// takes time from jobs that run on many of them in step.
//
// Start at [Watcher.Run]. What is said is fleet.Report and fleet.Answer.
package watch

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"pcluster/internal/fleet"
)

// A Watcher watches the node that it runs on.
type Watcher struct {
	Cluster  string
	Instance string
	Journal  string      // file of the boot's steps
	Booted   func() bool // the boot is over, and well
	// Metadata asks the instance metadata service; it reports false for what is not there.
	Metadata func(ctx context.Context, path string) (string, bool, error)
	Spot     bool // the instance may get notices
	// Dial connects to a port of the head node, from a port that only root gets.
	Dial func(ctx context.Context, port int) (net.Conn, error)
	// Jobs says whether a job runs on the node.
	Jobs func() (bool, error)
	// End ends the node.
	End func(context.Context) error
	// Memory is the file that keeps the daemon's last answer.
	Memory string
	Log    *slog.Logger

	mu      sync.Mutex
	report  fleet.Report
	changed chan struct{} // has a value when the report has changed
	answer  fleet.Answer
	alone   solitude
}

// Run watches until the context ends, or ends the node.
func (w *Watcher) Run(ctx context.Context) error {
	w.changed = make(chan struct{}, 1)
	w.report = fleet.Report{Cluster: w.Cluster, Instance: w.Instance}
	w.answer = fleet.Answer{Cluster: w.Cluster, Patience: fleet.DefaultPolicy().Patience}
	if data, err := os.ReadFile(w.Memory); err == nil {
		if err := json.Unmarshal(data, &w.answer); err != nil {
			w.Log.Warn("what the head node said last can't be read", "error", err)
		}
	}
	w.alone.since = time.Now()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return w.followBoot(ctx) })
	g.Go(func() error { return w.followNotices(ctx) })
	g.Go(func() error { return w.keepInTouch(ctx) })
	g.Go(func() error { return w.mindSolitude(ctx) })
	return g.Wait()
}

// change changes the report, which is then sent.
func (w *Watcher) change(f func(*fleet.Report)) {
	w.mu.Lock()
	f(&w.report)
	w.mu.Unlock()
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// Pauses between attempts to reach the head node. They differ from node to node, so
// that a thousand don't come at once to one that has just started.
const (
	firstPause = time.Second
	lastPause  = 15 * time.Second
)

// keepInTouch keeps a connection to the fleet daemon.
func (w *Watcher) keepInTouch(ctx context.Context) error {
	pause := firstPause
	for {
		conn, err := w.Dial(ctx, fleet.ReportPort)
		if err == nil {
			began := time.Now()
			err = w.session(ctx, conn)
			if time.Since(began) > lastPause {
				pause = firstPause
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		w.Log.Debug("no connection to the head node", "error", err)
		if !sleep(ctx, pause/2+rand.N(pause)) {
			return nil
		}
		pause = min(2*pause, lastPause)
	}
}

// sleep waits, and reports false if the context ends.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// errForeign is the answer of another cluster's head node, which has got the address.
var errForeign = errors.New("the head node's address is another cluster's now")

// session sends reports over one connection, and takes answers, until it ends.
func (w *Watcher) session(ctx context.Context, conn net.Conn) error {
	defer conn.Close()
	g, ctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	g.Go(func() error {
		answers := json.NewDecoder(bufio.NewReader(conn))
		for {
			var a fleet.Answer
			if err := answers.Decode(&a); err != nil {
				return err
			}
			if a.Cluster != w.Cluster {
				w.alone.foreign()
				return errForeign
			}
			w.take(a)
		}
	})
	g.Go(func() error {
		for {
			w.mu.Lock()
			line, err := json.Marshal(w.report)
			w.mu.Unlock()
			if err != nil {
				return err
			}
			if err := conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
				return err
			}
			if _, err := conn.Write(append(line, '\n')); err != nil {
				return err
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-w.changed:
			}
			// Steps end in groups.
			if !sleep(ctx, gather) {
				return ctx.Err()
			}
		}
	})
	err := g.Wait()
	w.alone.left(time.Now())
	return err
}

const (
	writeTimeout = 10 * time.Second
	gather       = 20 * time.Millisecond
)

// take keeps the daemon's answer, also for the next process.
func (w *Watcher) take(a fleet.Answer) {
	if w.alone.met() {
		w.Log.Info("in touch with the head node")
	}
	w.mu.Lock()
	same := w.answer == a
	w.answer = a
	w.mu.Unlock()
	if same {
		return
	}
	data, err := json.Marshal(a)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(w.Memory), 0o755)
	}
	if err == nil {
		err = os.WriteFile(w.Memory, data, 0o644)
	}
	if err != nil {
		w.Log.Warn("what the head node said can't be kept", "error", err)
	}
}
