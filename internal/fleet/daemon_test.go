package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pcluster/internal/slurm"
)

// fakeSlurm is a slurmctld with nodes that can be told to start and to stop.
type fakeSlurm struct {
	mu      sync.Mutex
	nodes   map[string]*slurm.Node
	changed chan struct{} // receives after each update

	restarted []string // jobs, and after how long
}

func newFakeSlurm(names ...string) *fakeSlurm {
	f := &fakeSlurm{nodes: make(map[string]*slurm.Node), changed: make(chan struct{}, 1000)}
	for _, n := range names {
		name, _ := slurm.ParseNodeName(n)
		f.nodes[n] = &slurm.Node{Name: n, Addr: n, State: "IDLE+CLOUD+POWERED_DOWN", Partitions: []string{name.Queue}}
	}
	return f
}

func (f *fakeSlurm) Nodes(_ context.Context, list string) ([]slurm.Node, error) {
	names, err := slurm.Expand(list)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []slurm.Node
	for _, n := range sortedKeys(f.nodes) {
		if len(names) == 0 || slices.Contains(names, n) {
			out = append(out, *f.nodes[n])
		}
	}
	return out, nil
}

func (f *fakeSlurm) Partitions(context.Context) ([]slurm.Partition, error) {
	return []slurm.Partition{{Name: "q", State: "UP"}}, nil
}

func (f *fakeSlurm) ConfiguringJobs(context.Context) ([]slurm.Job, error)   { return nil, nil }
func (f *fakeSlurm) SetPartitions(context.Context, string, ...string) error { return nil }
func (f *fakeSlurm) CommentJobs(context.Context, string, ...string) error   { return nil }
func (f *fakeSlurm) JobsOn(context.Context, string) ([]slurm.Place, error) {
	return []slurm.Place{{Job: "7"}}, nil
}

func (f *fakeSlurm) StartJobs(_ context.Context, after time.Duration, before ...slurm.Place) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range before {
		f.restarted = append(f.restarted, fmt.Sprint(p.Job, " after ", after))
	}
	return nil
}

func (f *fakeSlurm) RequeueJobs(context.Context, ...string) error { return nil }

func (f *fakeSlurm) set(node string, state slurm.State) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nodes[node].State = state
}

func (f *fakeSlurm) UpdateNodes(_ context.Context, updates ...slurm.NodeUpdate) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, u := range updates {
		for i, name := range u.Nodes {
			n := f.nodes[name]
			if len(u.Addrs) > 0 {
				n.Addr = u.Addrs[i]
			}
			switch u.State {
			case slurm.StateDown:
				n.State, n.Reason = "DOWN+CLOUD", u.Reason
			case slurm.StatePowerDownForce:
				n.State = "IDLE+CLOUD+POWERING_DOWN"
			}
		}
	}
	f.changed <- struct{}{}
	return nil
}

func (f *fakeSlurm) node(name string) slurm.Node {
	f.mu.Lock()
	defer f.mu.Unlock()
	return *f.nodes[name]
}

// fakeCloud has a number of instances to give. It knows repeated launches by their tokens.
type fakeCloud struct {
	mu        sync.Mutex
	capacity  int
	byToken   map[string]Outcome
	instances map[string]*Instance
	hold      chan struct{} // if set, launches are carried out and their answers held back
	ended     chan string
}

func newFakeCloud(capacity int) *fakeCloud {
	return &fakeCloud{
		capacity: capacity, byToken: make(map[string]Outcome),
		instances: make(map[string]*Instance), ended: make(chan string, 100),
	}
}

func (f *fakeCloud) Launch(ctx context.Context, l Launch) Outcome {
	f.mu.Lock()
	out, ok := f.byToken[l.Token]
	if !ok {
		out = Outcome{Token: l.Token}
		n := min(len(l.Nodes), f.capacity)
		if n < l.Min {
			n, out.Code = 0, InsufficientCapacity
		}
		f.capacity -= n
		for range n {
			id := fmt.Sprintf("i-%d", len(f.instances)+1)
			f.instances[id] = &Instance{ID: id, Queue: l.Queue, Resource: l.Resource, State: "running", Addr: "10.0.0." + id[2:], Launched: time.Now()}
			out.Instances = append(out.Instances, *f.instances[id])
		}
		f.byToken[l.Token] = out
	}
	hold := f.hold
	f.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
		}
	}
	return out
}

func (f *fakeCloud) Instances(context.Context) ([]Instance, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []Instance
	for _, id := range sortedKeys(f.instances) {
		out = append(out, *f.instances[id])
	}
	return out, nil
}

func (f *fakeCloud) Terminate(_ context.Context, ids []string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range ids {
		if i := f.instances[id]; i.Live() {
			i.State = "terminated"
			f.ended <- id
		}
	}
	return nil
}

func (f *fakeCloud) Health(context.Context) ([]Ailment, error) { return nil, nil }

func (f *fakeCloud) Console(_ context.Context, id string) (string, error) {
	return "Welcome\ncloud-init[20]: boot failed: no such volume on " + id + "\nPowering off.\n", nil
}

func (f *fakeCloud) launched() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.instances)
}

type fakeRegistry struct {
	mu      sync.Mutex
	names   map[string]string // instance to node
	table   map[string]string // node to its latest instance
	fails   bool
	silent  int   // times for which it does not answer what is recorded
	refusal error // to every question for what is recorded
}

func (f *fakeRegistry) Identify(_ context.Context, all []Assignment) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fails {
		return errors.New("the table is gone")
	}
	for _, a := range all {
		f.names[a.Instance], f.table[a.Node] = a.Node, a.Instance
	}
	return nil
}

func (f *fakeRegistry) Recorded(_ context.Context, nodes []string) (map[string]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.silent--; f.silent >= 0 {
		return nil, errors.New("no answer")
	}
	if f.refusal != nil {
		return nil, f.refusal
	}
	rows := make(map[string]string)
	for _, node := range nodes {
		if id, ok := f.table[node]; ok {
			rows[node] = id
		}
	}
	return rows, nil
}

func (f *fakeRegistry) Publish(context.Context, []Assignment) error { return nil }

type fakeStatus struct{}

func (fakeStatus) Get(context.Context) (Status, error) { return Running, nil }
func (fakeStatus) Change(context.Context, StatusChange, time.Time) (bool, error) {
	return true, nil
}

// A house is a daemon with its surroundings.
type house struct {
	t        *testing.T
	slurm    *fakeSlurm
	cloud    *fakeCloud
	registry *fakeRegistry
	dir      string
	consoles syncBuffer
	stop     func()
}

// A syncBuffer can be written and read at the same time.
type syncBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newHouse(t *testing.T, capacity int) *house {
	return &house{
		t: t, dir: t.TempDir(), cloud: newFakeCloud(capacity), registry: &fakeRegistry{names: make(map[string]string), table: make(map[string]string)},
		slurm: newFakeSlurm("q-dy-a-1", "q-dy-a-2", "q-dy-a-3"),
	}
}

func (h *house) start() *Daemon {
	d := &Daemon{
		Scheduler: h.slurm, Cloud: h.cloud, Registry: h.registry, Status: fakeStatus{},
		Policy:    func() (Policy, error) { return policy(AllOrNothing), nil },
		StateFile: filepath.Join(h.dir, "fleet.json"), Socket: filepath.Join(h.dir, "fleet.sock"),
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Consoles: &h.consoles,
	}
	ctx, cancel := context.WithCancel(h.t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	h.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Errorf("the daemon ended: %v", err)
		}
	})
	h.t.Cleanup(h.stop)
	return d
}

func (h *house) say(m Message) {
	h.t.Helper()
	if err := Dial(h.t.Context(), filepath.Join(h.dir, "fleet.sock"), m, time.Minute); err != nil {
		h.t.Fatal(err)
	}
}

// until waits for a condition that slurmctld's nodes will meet.
func (h *house) until(what string, met func() bool) {
	h.t.Helper()
	deadline := time.After(2 * time.Minute)
	for !met() {
		select {
		case <-h.slurm.changed:
		case <-time.After(10 * time.Millisecond):
		case <-deadline:
			h.t.Fatalf("in vain: %s", what)
		}
	}
}

const twoNodeJob = `{"jobs":[{"extra":null,"job_id":7,"nodes_alloc":"q-dy-a-[1-2]","nodes_resume":"q-dy-a-[1-2]","new_key":1}],"all_nodes_resume":"q-dy-a-[1-2]"}`

func (h *house) resume() {
	for _, n := range []string{"q-dy-a-1", "q-dy-a-2"} {
		h.slurm.set(n, "ALLOCATED+CLOUD+NOT_RESPONDING+POWERING_UP")
	}
	h.say(Message{Op: OpResume, Nodes: "q-dy-a-[1-2]", ResumeFile: json.RawMessage(twoNodeJob)})
}

func TestNodesAreLaunchedNamedAndEnded(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 3)
	h.start()
	h.resume()
	h.until("addresses in Slurm", func() bool { return h.slurm.node("q-dy-a-2").Addr != "q-dy-a-2" })
	if h.registry.names["i-1"] != "q-dy-a-1" || h.registry.names["i-2"] != "q-dy-a-2" {
		t.Errorf("instances are told to be %v", h.registry.names)
	}
	h.say(Message{Op: OpSuspend, Nodes: "q-dy-a-1"})
	if id := <-h.cloud.ended; id != "i-1" {
		t.Errorf("ended %s", id)
	}
}

func TestNoCapacityLeavesNothingRunning(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 1)
	h.start()
	h.resume()
	h.until("reason on the node", func() bool {
		return strings.HasPrefix(h.slurm.node("q-dy-a-1").Reason, "(Code:InsufficientInstanceCapacity)")
	})
	if n := h.cloud.launched(); n != 0 {
		t.Errorf("%d instances were launched", n)
	}
}

func TestACrashBetweenLaunchAndAnswerLaunchesNothingTwice(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 10)
	h.cloud.hold = make(chan struct{})
	h.start()
	h.resume()
	h.until("instances", func() bool { return h.cloud.launched() == 2 })
	h.stop()

	h.cloud.hold = nil
	h.start()
	h.until("addresses in Slurm", func() bool { return h.slurm.node("q-dy-a-2").Addr != "q-dy-a-2" })
	if n := h.cloud.launched(); n != 2 {
		t.Errorf("%d instances were launched for two nodes", n)
	}
}

func TestInstancesThatCanNotLearnTheirNamesAreEnded(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 10)
	h.registry.fails = true
	h.start()
	h.resume()
	for range 2 {
		<-h.cloud.ended
	}
	h.until("reason on the node", func() bool { return strings.HasPrefix(h.slurm.node("q-dy-a-1").Reason, "(Code:Exception)") })
}

func TestLostInstancesAreNoticed(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 10)
	d := h.start()
	h.resume()
	h.until("addresses in Slurm", func() bool { return h.slurm.node("q-dy-a-2").Addr != "q-dy-a-2" })
	for _, n := range []string{"q-dy-a-1", "q-dy-a-2"} {
		h.slurm.set(n, "ALLOCATED+CLOUD")
	}
	if err := h.cloud.Terminate(t.Context(), []string{"i-1"}); err != nil {
		t.Fatal(err)
	}
	h.until("node powered down", func() bool { d.hurry(); return h.slurm.node("q-dy-a-1").State.PoweringDown() })
	h.until("job started again", func() bool {
		h.slurm.mu.Lock()
		defer h.slurm.mu.Unlock()
		return slices.Equal(h.slurm.restarted, []string{"7 after 2s"})
	})
	if n := h.slurm.node("q-dy-a-2"); n.State != "ALLOCATED+CLOUD" {
		t.Errorf("the other node is %s", n.State)
	}
}

func TestConsolesOfNodesThatFailedToStartAreKept(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 10)
	d := h.start()
	h.resume()
	h.until("addresses in Slurm", func() bool { return h.slurm.node("q-dy-a-2").Addr != "q-dy-a-2" })
	if err := h.cloud.Terminate(t.Context(), []string{"i-1"}); err != nil {
		t.Fatal(err)
	}
	h.until("console", func() bool { d.hurry(); return strings.Contains(h.consoles.String(), "no such volume on i-1") })
}

func TestWithoutADiskNothingIsLaunched(t *testing.T) {
	h := newHouse(t, 10)
	if err := os.MkdirAll(filepath.Join(h.dir, "fleet.json", "in the way"), 0o755); err != nil {
		t.Fatal(err)
	}
	h.start()
	h.resume()
	h.until("reason on the node", func() bool { return strings.HasPrefix(h.slurm.node("q-dy-a-1").Reason, "(Code:StateNotWritten)") })
	if n := h.cloud.launched(); n != 0 {
		t.Errorf("%d instances were launched", n)
	}
}

func TestJobsWaitForTheirNodes(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 10)
	h.start()
	released := make(chan error, 1)
	go func() {
		released <- Dial(t.Context(), filepath.Join(h.dir, "fleet.sock"), Message{Op: OpJobReady, Job: "7", Nodes: "q-dy-a-[1-2]"}, time.Minute)
	}()
	h.resume()
	h.slurm.set("q-dy-a-1", "ALLOCATED+CLOUD")
	select {
	case err := <-released:
		t.Fatalf("released while a node powers up: %v", err)
	case <-time.After(2 * waitInterval):
	}
	h.slurm.set("q-dy-a-2", "ALLOCATED+CLOUD")
	if err := <-released; err != nil {
		t.Error(err)
	}
}

func TestWaitIsOver(t *testing.T) {
	for _, tt := range []struct {
		states []slurm.State // of one node, look by look
		over   bool          // at the last look
	}{
		{[]slurm.State{"ALLOCATED+CLOUD+POWERED_DOWN"}, false},
		{[]slurm.State{"ALLOCATED+CLOUD+NOT_RESPONDING+POWERING_UP"}, false},
		{[]slurm.State{"ALLOCATED+CLOUD+NOT_RESPONDING+POWERING_UP", "ALLOCATED+CLOUD"}, true},
		{[]slurm.State{"ALLOCATED+CLOUD+NOT_RESPONDING+POWERING_UP", "IDLE+CLOUD+POWERING_DOWN"}, true},
		{[]slurm.State{"DOWN+CLOUD+NOT_RESPONDING+POWERING_UP"}, true},
		{[]slurm.State{""}, true},
	} {
		me := &waiter{nodes: []string{"n"}, since: noon}
		over := false
		for _, s := range tt.states {
			states := map[string]slurm.State{"n": s}
			if s == "" {
				states = nil
			}
			over = me.over(states, noon)
		}
		if over != tt.over {
			t.Errorf("%v: over is %v", tt.states, over)
		}
	}
}

func TestNodesThatSomebodyWaitsForAreToldOnce(t *testing.T) {
	all := []*waiter{{nodes: []string{"a", "b"}}, {nodes: []string{"b"}}}
	look := func(a, b slurm.State) []string {
		nodes := []slurm.Node{{Name: "a", State: a}, {Name: "b", State: b}}
		var up []string
		for _, n := range newlyUp(all, nodes, map[string]slurm.State{"a": a, "b": b}) {
			up = append(up, n.Name)
		}
		return up
	}
	for i, tt := range []struct {
		a, b slurm.State
		want []string
	}{
		{"MIXED+CLOUD+POWERING_UP", "MIXED+CLOUD+POWERING_UP", nil},
		{"MIXED+CLOUD+POWERING_UP", "MIXED+CLOUD", []string{"b"}},
		{"MIXED+CLOUD", "MIXED+CLOUD", []string{"a"}},
		{"MIXED+CLOUD", "MIXED+CLOUD", nil},
	} {
		if got := look(tt.a, tt.b); !slices.Equal(got, tt.want) {
			t.Errorf("look %d: %v, want %v", i, got, tt.want)
		}
	}
}

func TestMemorySurvivesOnDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fleet.json")
	f := stateFile{path: path}
	mem, err := f.load(noon)
	if err != nil {
		t.Fatal(err)
	}
	mem.Assigned = map[string]Assignment{"n": {Node: "n", Instance: "i-1", Since: noon}}
	if err := f.save(mem); err != nil {
		t.Fatal(err)
	}
	again := stateFile{path: path}
	got, err := again.load(noon.Add(time.Hour))
	if err != nil || got.Epoch != noon.UnixNano() || got.Assigned["n"].Instance != "i-1" {
		t.Errorf("got %+v, %v", got, err)
	}
}
