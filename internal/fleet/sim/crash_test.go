package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pcluster/internal/fleet"
	"pcluster/internal/slurm"
)

// What happens to a call.
type mishap string

const (
	killedBefore mishap = "the daemon is killed before it"
	killedAfter  mishap = "the daemon is killed before its answer"
	forgets      mishap = "the daemon is killed before its answer, and its memory is lost"
	fails        mishap = "it fails"
	answerLost   mishap = "it is carried out, and times out"
	twice        mishap = "it is carried out twice"
	throttledIt  mishap = "it is throttled"
)

var mishaps = []mishap{killedBefore, killedAfter, forgets, fails, answerLost, twice, throttledIt}

// A point is the nth call of an operation.
type point struct {
	operation string
	nth       int
}

// TestCrashPoints lets the real daemon live through a short story, once for each call
// that it makes and each thing that can happen to a call. Whatever happens, jobs end
// once each, no node has two instances, and nothing is left.
func TestCrashPoints(t *testing.T) {
	if _, err := os.Stat("/dev/shm"); err == nil {
		t.Setenv("TMPDIR", "/dev/shm") // the daemon syncs each memory, which disks are slow at
	}
	calls := make(map[string]int)
	story(t, point{}, "", calls)
	if t.Failed() {
		return
	}
	var points []point
	for _, op := range slices.Sorted(maps.Keys(calls)) {
		t.Logf("%3d calls of %s", calls[op], op)
		for n := range calls[op] {
			points = append(points, point{op, n + 1})
		}
	}
	tried, unmet := 0, 0
	for _, p := range points {
		for _, m := range mishaps {
			tried++
			if !story(t, p, m, make(map[string]int)) {
				unmet++ // there were fewer calls this time
				t.Logf("%v was not met", p)
			}
			if t.Failed() {
				return
			}
		}
	}
	t.Logf("%d calls, each with %d mishaps: %d stories came to a good end", len(points), len(mishaps), tried-unmet)
}

// story is what the daemon lives through: static nodes, a job on two nodes, one on a
// node of a fleet request, one that there is no capacity for at first, an instance
// that dies under a job, and the end of idle nodes. It reports whether the point was
// met.
func story(t *testing.T, at point, what mishap, calls map[string]int) (met bool) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, at, what, calls)
		defer func() {
			h.stop()
			met = h.met
		}()
		h.start()
		time.Sleep(10 * time.Second)
		var two *Job
		h.live.Do(func() {
			two = h.live.Slurm.Submit("q", 2, slotsPerNode, time.Minute)
			h.live.Slurm.Submit("r", 1, slotsPerNode, 20*time.Second)
			h.live.Cloud.SetCapacity(Offer{"m5.large", ""}, 0)
			h.live.Slurm.Submit("s", 2, slotsPerNode, 10*time.Second)
		})
		for died := false; !died && h.waits(); time.Sleep(5 * time.Second) {
			h.live.Do(func() {
				if two.state == running {
					h.live.Cloud.Kill(two.nodes[1].instance)
					h.live.Cloud.Unlimited(Offer{"m5.large", ""})
					died = true
				}
			})
		}
		for h.waits() {
			time.Sleep(5 * time.Second)
		}
		h.live.Do(h.finish)
	})
	return met
}

// A house is a daemon in a world that is fit to be looked at by tests.
type house struct {
	t      *testing.T
	story  string // for failures
	live   *Live
	queues map[string]string
	dir    string
	ctx    context.Context
	end    context.CancelFunc

	at    point
	what  mishap
	calls map[string]int
	began time.Time
	limit time.Duration // in which the story must come to its end
	jobs  int           // that must end
	// refuses, if set, says why a call can't be made.
	refuses func(operation string) error

	mu      sync.Mutex
	met     bool
	dead    bool // the daemon is killed: it does nothing any more
	between bool // one is dead, and the next not yet started
	over    bool // the story has been told
	life    int
	cancel  context.CancelFunc
	ended   chan struct{}
	terms   bool // instances are ended by the daemon
	holders map[string]*Instance
}

func newHouse(t *testing.T, at point, what mishap, calls map[string]int) *house {
	one := func(kind string) slurm.Resource {
		return slurm.Resource{API: slurm.RunInstances, CapacityType: "on-demand", Instances: []slurm.ResourceType{{InstanceType: kind}}}
	}
	resources := slurm.Resources{"q": {"a": one("c5.large")}, "s": {"b": one("m5.large")}, "r": {"f": {
		API: slurm.CreateFleet, CapacityType: "spot", AllocationStrategy: "lowest-price",
		Instances:  []slurm.ResourceType{{InstanceType: "c5.xlarge"}, {InstanceType: "c6.xlarge"}},
		Networking: &slurm.ResourceNetworks{SubnetIDs: []string{"subnet-1"}},
	}}}
	queues := map[string]string{"q": "q-st-a-1,q-dy-a-[1-3]", "r": "r-dy-f-[1-2]", "s": "s-dy-b-[1-2]"}
	timeouts := Timeouts{Resume: 2 * time.Minute, Suspend: 5 * time.Second, Idle: 20 * time.Second, Requeue: time.Minute, Silence: 45 * time.Second}
	live, err := NewLive("sim", resources, queues, timeouts, DocumentedLimits(), 1)
	if err != nil {
		t.Fatal(err)
	}
	live.Cloud.BootTime = 20 * time.Second
	h := &house{
		t: t, story: fmt.Sprintf("call %d of %s, and %s", at.nth, at.operation, what), live: live, queues: queues, dir: t.TempDir(), at: at, what: what, calls: calls, began: time.Now(), limit: 30 * time.Minute, jobs: 3, holders: make(map[string]*Instance),
	}
	h.ctx, h.end = context.WithCancel(t.Context())
	live.Intercept = h.intercept
	live.Named = h.named
	live.Cloud.Ended = func(i *Instance) {
		h.lost(i)
		live.Slurm.Lost(i)
	}
	live.Connect(h.ctx)
	go live.Run(h.ctx)
	return h
}

func (h *house) failf(format string, args ...any) {
	h.t.Errorf("%s: %s", h.story, fmt.Sprintf(format, args...))
}

func (h *house) stateFile() string { return filepath.Join(h.dir, fmt.Sprintf("fleet-%d.json", h.life)) }

// start lets a daemon live that knows what the one before left on disk.
func (h *house) start() {
	policy := fleet.DefaultPolicy()
	policy.Cluster, policy.Strategy, policy.Resources = h.live.cluster, fleet.AllOrNothing, h.live.resources
	policy.Queues = h.queues
	policy.CapacityTimeout = time.Minute
	ctx, cancel := context.WithCancel(h.ctx)
	h.cancel, h.ended = cancel, make(chan struct{})
	life := h.life
	log := io.Discard
	if *verbose {
		log = os.Stdout
	}
	tables := h.live.Tables()
	d := &fleet.Daemon{
		Scheduler: h.live.Scheduler(),
		Cloud:     &fleet.EC2{API: h.live.API(), Cluster: h.live.cluster, Resources: h.live.resources},
		Registry:  &fleet.Records{DynamoDB: tables, Table: "table", DNS: tables, ZoneID: "zone", Domain: "sim.pcluster"},
		Status:    &fleet.StatusItem{DynamoDB: tables, Table: "status"},
		Policy:    func() (fleet.Policy, error) { return policy, nil },
		StateFile: h.stateFile(), Listen: h.live.Listen, Log: slog.New(slog.NewTextHandler(log, nil)),
	}
	go func(ended chan struct{}) {
		defer close(ended)
		if err := d.Run(ctx); err != nil {
			h.failf("daemon %d ended: %v", life, err)
		}
	}(h.ended)
}

func (h *house) stop() {
	for h.isBetween() {
		time.Sleep(time.Second)
	}
	h.mu.Lock()
	h.dead, h.over = true, true
	h.mu.Unlock()
	h.cancel()
	<-h.ended
	h.end()
	synctest.Wait()
}

// intercept counts the daemon's calls, and does to one of them what is to be done.
func (h *house) intercept(operation string, call func() error) error {
	h.mu.Lock()
	if h.dead {
		h.mu.Unlock()
		return context.Canceled
	}
	h.calls[operation]++
	here := !h.met && operation == h.at.operation && h.calls[operation] == h.at.nth
	h.met = h.met || here
	h.mu.Unlock()
	if operation == "TerminateInstances" {
		inner := call
		call = func() error {
			h.terms = true // under the world's lock, as all of this is
			defer func() { h.terms = false }()
			return inner()
		}
	}
	if h.refuses != nil {
		if err := h.refuses(operation); err != nil {
			return err
		}
	}
	if !here {
		return call()
	}
	switch h.what {
	case killedBefore:
		h.kill()
		return context.Canceled
	case killedAfter, forgets:
		_ = call()
		h.kill()
		return context.Canceled
	case fails:
		return errors.New("connection refused")
	case answerLost:
		_ = call()
		time.Sleep(30 * time.Second)
		return errors.New("timed out while waiting for the answer")
	case twice:
		first := call()
		if second := call(); first == nil && second != nil && operation != "UpdateItem" && !strings.HasPrefix(operation, "Run") {
			return second
		}
		return first
	case throttledIt:
		return throttled()
	}
	return call()
}

// kill ends the daemon at once: nothing that it still tries takes effect. Another is
// started after a few seconds, with what is on disk now.
func (h *house) kill() { h.killFor(3*time.Second, h.what == forgets) }

func (h *house) killFor(downtime time.Duration, forgets bool) {
	h.mu.Lock()
	if h.over || h.dead {
		h.mu.Unlock()
		return
	}
	h.dead, h.between = true, true
	h.mu.Unlock()
	left, err := os.ReadFile(h.stateFile())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		h.failf("%v", err)
	}
	if forgets {
		left = []byte(`{"epoch": 1, "assi`)
	}
	cancel, ended := h.cancel, h.ended
	go func() {
		cancel()
		<-ended
		time.Sleep(downtime)
		h.life++
		if left != nil {
			if err := os.WriteFile(h.stateFile(), left, 0o600); err != nil {
				h.failf("%v", err)
			}
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.start()
		h.dead, h.between = false, false
	}()
}

// named: no node has two instances that live, unless the daemon has decided to end one.
func (h *house) named(i *Instance, node string) {
	if i.Name != "" && i.Name != node {
		h.failf("%s is both %s and %s", i.ID, i.Name, node)
	}
	if !i.Alive() {
		return
	}
	if other := h.holders[node]; other != nil && other != i && other.Alive() {
		var mem fleet.Memory
		data, err := os.ReadFile(h.stateFile())
		if err == nil {
			err = json.Unmarshal(data, &mem)
		}
		if _, ending := mem.Ending[other.ID]; err != nil || !ending {
			h.failf("%s has two instances, %s and %s (%v)", node, other.ID, i.ID, err)
		}
	}
	h.holders[node] = i
}

// lost: the daemon ends no instance under a job.
func (h *house) lost(i *Instance) {
	n := h.live.Slurm.Node(i.Name)
	if !h.terms || n == nil || n.instance != i || n.down || n.power != on {
		return
	}
	for _, j := range n.jobs {
		if j.state == running {
			h.failf("%s is ended while job %s runs on %s", i.ID, j.ID, n.Name)
		}
	}
}

func (h *house) isBetween() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.between
}

// waits says whether the end has still to come.
func (h *house) waits() bool {
	if time.Since(h.began) > h.limit || h.t.Failed() {
		return false
	}
	if h.isBetween() {
		return true
	}
	over := false
	h.live.Do(func() {
		over = h.live.Slurm.Waiting() == 0 && len(h.live.Cloud.Live()) == 1
		for _, n := range h.live.Slurm.nodes {
			over = over && (n.Static && n.power == on || !n.Static && n.power == off && !n.down)
		}
	})
	return !over
}

func (h *house) finish() {
	if h.t.Failed() {
		return
	}
	if h.live.Slurm.Waiting() > 0 || h.live.Slurm.Ended != h.jobs {
		h.failf("%d jobs have not ended, %d have", h.live.Slurm.Waiting(), h.live.Slurm.Ended)
	}
	for _, i := range h.live.Cloud.Live() {
		if n := h.live.Slurm.Node(i.Name); n == nil || !n.Static || n.instance != i {
			h.failf("%s is left, named %q, token %s", i.ID, i.Name, i.request)
		}
	}
	for _, n := range h.live.Slurm.nodes {
		if n.Static && n.power != on || !n.Static && n.power != off || n.down {
			h.failf("%s is %s, reason %q", n.Name, n.state(), n.reason)
		}
	}
}
