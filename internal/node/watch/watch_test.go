package watch

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pcluster/internal/fleet"
)

// A head is the head node of a test: who listens there, and what was heard.
type head struct {
	cluster   string
	patience  time.Duration
	stay      bool
	daemon    atomic.Bool // listens
	slurmctld atomic.Bool
	heard     chan fleet.Report
	conns     chan net.Conn
}

func (h *head) dial(_ context.Context, port int) (net.Conn, error) {
	switch {
	case port == slurmctldPort && h.slurmctld.Load():
		mine, _ := net.Pipe()
		return mine, nil
	case port != fleet.ReportPort || !h.daemon.Load():
		return nil, errors.New("connection refused")
	}
	mine, theirs := net.Pipe()
	go func() {
		lines := bufio.NewScanner(theirs)
		for first := true; lines.Scan(); first = false {
			var r fleet.Report
			if json.Unmarshal(lines.Bytes(), &r) != nil {
				return
			}
			h.heard <- r
			if first {
				_ = json.NewEncoder(theirs).Encode(fleet.Answer{Cluster: h.cluster, Patience: h.patience, Stay: h.stay})
			}
		}
	}()
	h.conns <- theirs
	return mine, nil
}

// gone takes the head node away.
func (h *head) gone() {
	h.daemon.Store(false)
	h.slurmctld.Store(false)
	for {
		select {
		case c := <-h.conns:
			c.Close()
		default:
			return
		}
	}
}

// last returns what was heard last.
func (h *head) last() (r fleet.Report) {
	for {
		select {
		case r = <-h.heard:
		default:
			return r
		}
	}
}

// A compute node of a test.
type compute struct {
	*Watcher
	head     *head
	dir      string
	booted   atomic.Bool
	jobs     atomic.Bool
	jobsErr  error
	ended    atomic.Bool
	metadata map[string]string
	stop     context.CancelFunc
}

func newCompute(t *testing.T) *compute {
	h := &head{cluster: "demo", patience: 10 * time.Minute, heard: make(chan fleet.Report, 1000), conns: make(chan net.Conn, 1000)}
	h.daemon.Store(true)
	h.slurmctld.Store(true)
	c := &compute{head: h, dir: t.TempDir(), metadata: make(map[string]string)}
	c.booted.Store(true)
	c.Watcher = &Watcher{
		Cluster: "demo", Instance: "i-1", Journal: filepath.Join(c.dir, "boot.log"), Memory: filepath.Join(c.dir, "state", "answer.json"),
		Booted: c.booted.Load, Dial: h.dial, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Jobs: func() (bool, error) { return c.jobs.Load(), c.jobsErr },
		End:  func(context.Context) error { c.ended.Store(true); return nil },
		Metadata: func(_ context.Context, path string) (string, bool, error) {
			text, ok := c.metadata[path]
			return text, ok, nil
		},
	}
	return c
}

func (c *compute) run(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	c.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		c.head.gone()
	}
}

func (c *compute) write(t *testing.T, lines ...string) {
	f, err := os.OpenFile(c.Journal, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err == nil {
		_, err = io.WriteString(f, strings.Join(lines, "\n"))
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestABootIsReportedStepByStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCompute(t)
		c.booted.Store(false)
		c.run(t)
		for _, tt := range []struct {
			line  string
			steps []string
			done  int
		}{
			{`{"step":"units","status":"start"}` + "\n" + `{"step":"users","status":"start"}` + "\n", []string{"units", "users"}, 0},
			{`{"step":"units","status":"done"}` + "\n" + `{"step":"na`, []string{"users"}, 1},
			{`me","status":"start"}` + "\n" + `not JSON` + "\n", []string{"users", "name"}, 1},
			{`{"step":"logs","status":"skipped"}` + "\n", []string{"users", "name"}, 2},
		} {
			c.write(t, tt.line)
			pass(time.Second)
			if r := c.head.last(); !slices.Equal(r.Steps, tt.steps) || r.Done != tt.done || r.Booted || r.Cluster != "demo" || r.Instance != "i-1" {
				t.Errorf("after %q: reported %+v", tt.line, r)
			}
		}
		c.booted.Store(true)
		pass(time.Second)
		if r := c.head.last(); !r.Booted || len(r.Steps) > 0 {
			t.Errorf("at the end: reported %+v", r)
		}
		pass(time.Hour)
		if n := len(c.head.heard); n > 0 {
			t.Errorf("%d reports in an hour in which nothing happened", n)
		}
		c.stop()
	})
}

func TestABootThatFailedIsReportedAfterItsLastWords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCompute(t)
		c.booted.Store(false)
		c.run(t)
		now, _ := time.Now().MarshalText()
		c.write(t,
			`{"step":"storage","status":"start"}`, `{"step":"munge","status":"start"}`,
			`{"step":"storage","status":"failed","detail":"no such volume","time":"`+string(now)+`"}`,
			`{"step":"munge","status":"failed","detail":"context canceled","time":"`+string(now)+`"}`, "")
		pass(time.Second)
		if r := c.head.last(); r.Failed != "" {
			t.Errorf("reported at once: %+v", r)
		}
		pass(lastWords)
		if r := c.head.last(); r.Failed != "step storage: no such volume" {
			t.Errorf("reported %+v", r)
		}
		c.stop()
	})
}

func TestNoticesAreReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCompute(t)
		c.Spot = true
		c.run(t)
		pass(time.Minute)
		if r := c.head.last(); r.Rebalance || !r.SpotUntil.IsZero() {
			t.Errorf("reported %+v", r)
		}
		c.metadata[rebalancePath] = `{"noticeTime":"2026-11-23T11:00:00Z"}`
		pass(noticeInterval + time.Second)
		if r := c.head.last(); !r.Rebalance {
			t.Errorf("reported %+v", r)
		}
		c.metadata[interruptionPath] = `{"action":"terminate","time":"2026-11-23T12:00:00Z"}`
		pass(noticeInterval + time.Second)
		if r := c.head.last(); !r.SpotUntil.Equal(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)) {
			t.Errorf("reported %+v", r)
		}
		c.stop()
	})
}

func TestANoticeThatCanNotBeReadIsOneNevertheless(t *testing.T) {
	c := newCompute(t)
	c.metadata[interruptionPath] = `soon`
	until, err := c.interruption(t.Context())
	if err != nil || time.Until(until) > 2*time.Minute || time.Until(until) < time.Minute {
		t.Errorf("until %v, %v", until, err)
	}
}

// TestNodesEndOnlyWhenNobodyOwnsThem lets nodes live for a day, from when their head
// node has gone.
func TestNodesEndOnlyWhenNobodyOwnsThem(t *testing.T) {
	const never = 24 * time.Hour
	for name, tt := range map[string]struct {
		before func(*compute)
		after  func(*compute) // begins when the head node has gone
		want   time.Duration  // at which the node ends
	}{
		"without a head node and a job": {nil, nil, 10 * time.Minute},
		"while a job runs it stays, and then waits as if the head node had just gone": {
			func(c *compute) { c.jobs.Store(true) },
			func(c *compute) { pass(6 * time.Hour); c.jobs.Store(false) }, 6*time.Hour + 10*time.Minute,
		},
		"a job for ever": {func(c *compute) { c.jobs.Store(true) }, nil, never},
		"what can't be seen may be a job": {
			func(c *compute) { c.jobsErr = errors.New("no /proc") }, nil, never,
		},
		"the user sets how long it waits": {
			func(c *compute) { c.head.patience = 3 * time.Hour }, nil, 3 * time.Hour,
		},
		"no head node is restarted within a second": {
			func(c *compute) { c.head.patience = 0 }, nil, leastPatience,
		},
		"or that it waits for ever": {func(c *compute) { c.head.stay = true }, nil, never},
		"a head node that comes back in time": {
			nil, func(c *compute) { pass(9 * time.Minute); c.head.daemon.Store(true) }, never,
		},
		"a head node whose fleet daemon was stopped": {
			nil, func(c *compute) { c.head.slurmctld.Store(true) }, never,
		},
		"another cluster's head node at the same address": {
			nil, func(c *compute) {
				c.head.cluster = "other"
				c.head.daemon.Store(true)
				c.head.slurmctld.Store(true)
			}, 10 * time.Minute,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCompute(t)
				if tt.before != nil {
					tt.before(c)
				}
				c.run(t)
				pass(time.Hour)
				c.head.gone()
				began := time.Now()
				if tt.after != nil {
					tt.after(c)
				}
				for !c.ended.Load() && time.Since(began) < never {
					pass(solitudeInterval)
					c.head.last()
				}
				if took := time.Since(began); took < tt.want || took > tt.want+3*solitudeInterval {
					t.Errorf("it ended after %v, want %v", took, tt.want)
				}
				c.stop()
			})
		})
	}
}

func TestWhatTheHeadNodeSaidOutlivesTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCompute(t)
		c.head.stay = true
		c.run(t)
		pass(time.Minute)
		c.stop()
		c.run(t)
		pass(3 * time.Hour)
		if c.ended.Load() {
			t.Error("it ended although it was told to stay")
		}
		c.stop()
	})
}
