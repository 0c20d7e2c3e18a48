package fleet

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"pcluster/internal/slurm"
)

// A world is a Slurm and an EC2 that a fleet lives in, small enough to be checked
// after every step. Everything takes its time: requests, answers and updates wait in
// queues until the test lets them happen, and the process in between may die.
type world struct {
	t      *rapid.T
	policy Policy
	now    time.Time
	mem    []byte // on disk
	live   Memory // as the process has it

	nodes    map[string]*slurm.Node
	jobs     map[string][]string // by ID: the nodes of jobs whose nodes are starting
	nextJob  int
	requests []Request
	suspends []string

	capacity  map[string]int // by queue/resource
	instances map[string]*Instance
	tokens    map[string]Outcome
	owner     map[string]string // instance to node, as recorded
	nextID    int

	launches []Launch
	outcomes []Outcome
	assigns  []Assignment
	named    []Assignment
	updates  []slurm.NodeUpdate
	ends     []string
	look     *Observed           // on its way to the process
	fresh    bool                // the process has just been started
	whole    map[string][]string // jobs that must get all nodes or none, by ID
}

func newWorld(t *rapid.T, strategy string) *world {
	w := &world{
		t: t, policy: policy(strategy), now: noon,
		nodes: make(map[string]*slurm.Node), jobs: make(map[string][]string),
		capacity:  map[string]int{"q/a": 6, "q/b": 6, "r/a": 2},
		instances: make(map[string]*Instance), tokens: make(map[string]Outcome), owner: make(map[string]string),
		whole: make(map[string][]string), fresh: true,
	}
	w.live = NewMemory(noon)
	w.mem, _ = json.Marshal(w.live)
	for queue, list := range w.policy.Queues {
		names, err := slurm.Expand(list)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			w.nodes[n] = &slurm.Node{Name: n, Addr: n, State: "IDLE+CLOUD+POWERED_DOWN", Partitions: []string{queue}}
		}
	}
	return w
}

// plan lets the fleet decide.
func (w *world) plan(seen Observed) {
	w.now = w.now.Add(time.Second)
	var mem Memory
	if err := json.Unmarshal(w.mem, &mem); err != nil {
		w.t.Fatal(err)
	}
	seen.Restarted = w.fresh
	w.fresh = false
	do, next := Plan(seen, mem, w.policy, w.now)
	w.mem, _ = json.Marshal(next)
	w.checkSame(seen, do)
	w.live = next
	w.launches = append(w.launches, do.Launch...)
	w.assigns = append(w.assigns, do.Assign...)
	w.updates = append(w.updates, do.Nodes...)
	w.ends = append(w.ends, do.Terminate...)
	w.checkWhole(do.Assign)
}

// checkSame: the memory of the process and what is read from disk lead to the same
// decisions, whatever the order in which Go walks through maps.
func (w *world) checkSame(seen Observed, do Actions) {
	again, next := Plan(seen, w.live, w.policy, w.now)
	onDisk, _ := json.Marshal(next)
	if !bytes.Equal(onDisk, w.mem) {
		w.t.Fatalf("the same is remembered in two ways:\n%s\n%s", onDisk, w.mem)
	}
	one, _ := json.Marshal(do)
	other, _ := json.Marshal(again)
	if !bytes.Equal(one, other) {
		w.t.Fatalf("two decisions about the same:\n%s\n%s", one, other)
	}
}

// checkIdle: nobody ends an instance under a job that runs on it.
func (w *world) checkIdle(id string) {
	i := w.instances[id]
	if i == nil || !i.Live() {
		return
	}
	for _, n := range w.nodes {
		if n.Addr == i.Addr && n.State == "ALLOCATED+CLOUD" {
			w.t.Fatalf("%s ends while a job runs on %s", id, n.Name)
		}
	}
}

// checkWhole: an assignment of one node of a job that must be whole comes with all others.
func (w *world) checkWhole(assigned []Assignment) {
	var mem Memory
	if err := json.Unmarshal(w.mem, &mem); err != nil {
		w.t.Fatal(err)
	}
	for _, a := range assigned {
		for id, nodes := range w.whole {
			if w.jobs[id] == nil || !slices.Contains(nodes, a.Node) || w.sharedNode(a.Node, id) {
				continue
			}
			for _, n := range nodes {
				if _, ok := mem.Assigned[n]; !ok && w.nodes[n].State.PoweringUp() && !w.nodes[n].State.Down() {
					w.t.Fatalf("job %s got %s but not %s", id, a.Node, n)
				}
			}
			delete(w.whole, id) // what it loses from now on it had
		}
	}
}

func (w *world) sharedNode(node, job string) bool {
	for id, nodes := range w.jobs {
		if id != job && slices.Contains(nodes, node) {
			return true
		}
	}
	return false
}

// submit starts a job on nodes that are off, as slurmctld would.
func (w *world) submit(names []string) {
	var on []string
	for _, n := range names {
		if node := w.nodes[n]; node.State == "IDLE+CLOUD+POWERED_DOWN" {
			node.State = "ALLOCATED+CLOUD+NOT_RESPONDING+POWERING_UP"
			on = append(on, n)
		}
	}
	if len(on) == 0 {
		return
	}
	w.nextJob++
	id := fmt.Sprint(w.nextJob)
	w.jobs[id] = on
	if w.policy.Strategy == AllOrNothing && len(on) > 1 {
		w.whole[id] = on
	}
	w.requests = append(w.requests, Request{Nodes: on, Jobs: []slurm.Job{{ID: id, Nodes: on}}})
}

// requeue takes the jobs from a node.
func (w *world) requeue(node string) {
	for id, nodes := range w.jobs {
		if slices.Contains(nodes, node) {
			for _, n := range nodes {
				w.nodes[n].State = slurm.State(strings.Replace(string(w.nodes[n].State), "ALLOCATED", "IDLE", 1))
			}
			delete(w.jobs, id)
		}
	}
}

// ec2 answers the next launch. A token that was seen before gets the same answer.
func (w *world) ec2(i int) {
	l := w.launches[i]
	w.launches = slices.Delete(w.launches, i, i+1)
	if out, ok := w.tokens[l.Token]; ok {
		w.outcomes = append(w.outcomes, out)
		return
	}
	key := l.Queue + "/" + l.Resource
	out := Outcome{Token: l.Token}
	n := min(len(l.Nodes), w.capacity[key])
	if n < l.Min {
		n, out.Code = 0, InsufficientCapacity
	}
	w.capacity[key] -= n
	for range n {
		w.nextID++
		i := &Instance{
			ID: fmt.Sprintf("i-%d", w.nextID), Queue: l.Queue, Resource: l.Resource, State: "pending",
			Addr: fmt.Sprintf("10.0.0.%d", w.nextID), Launched: w.now, Token: l.Token,
		}
		w.instances[i.ID] = i
		out.Instances = append(out.Instances, *i)
	}
	w.tokens[l.Token] = out
	w.outcomes = append(w.outcomes, out)
}

func (w *world) terminate(id string) {
	if i, ok := w.instances[id]; ok && i.Live() {
		i.State = "terminated"
		w.capacity[i.Queue+"/"+i.Resource]++
	}
}

// record gives an instance its name, and its node the address.
func (w *world) record(a Assignment) {
	if i := w.instances[a.Instance]; i.Live() {
		for id, node := range w.owner {
			if node == a.Node && id != a.Instance && w.instances[id].Live() && !slices.Contains(w.ends, id) {
				w.t.Fatalf("%s has two instances, %s and %s", node, id, a.Instance)
			}
		}
	}
	if other, ok := w.owner[a.Instance]; ok && other != a.Node {
		w.t.Fatalf("%s is both %s and %s", a.Instance, other, a.Node)
	}
	w.owner[a.Instance] = a.Node
	w.nodes[a.Node].Addr = a.Addr
	w.named = append(w.named, a)
}

// apply carries out an update of nodes.
func (w *world) apply(u slurm.NodeUpdate) {
	for _, name := range u.Nodes {
		n := w.nodes[name]
		switch u.State {
		case slurm.StateDown:
			flags := strings.SplitN(string(n.State), "+", 2)
			n.State = slurm.State("DOWN+" + flags[1])
			n.Reason = u.Reason
			w.requeue(name)
		case slurm.StatePowerDownForce:
			n.State = "IDLE+CLOUD+POWERING_DOWN"
			w.requeue(name)
			w.suspends = append(w.suspends, name)
		case slurm.StatePowerUp:
			if n.State == "IDLE+CLOUD+POWERED_DOWN" {
				n.State = "IDLE+CLOUD+NOT_RESPONDING+POWERING_UP"
				w.requests = append(w.requests, Request{Nodes: []string{name}})
			}
		}
	}
}

// register lets the slurmds of instances that know their names come up.
func (w *world) register() {
	for id, node := range w.owner {
		i, n := w.instances[id], w.nodes[node]
		if !i.Live() || n.Addr != i.Addr || !n.State.PoweringUp() || n.State.Down() {
			continue
		}
		i.State = "running"
		base, _, _ := strings.Cut(string(n.State), "+")
		n.State = slurm.State(base + "+CLOUD")
		for jobID, nodes := range w.jobs {
			if slices.Contains(nodes, node) && !slices.ContainsFunc(nodes, func(n string) bool { return !w.nodes[n].State.Ready() }) {
				delete(w.jobs, jobID) // it runs
			}
		}
	}
}

// powerOff ends Slurm's wait for nodes that power down.
func (w *world) powerOff() {
	for _, n := range w.nodes {
		if n.State.Has("POWERING_DOWN") {
			n.State, n.Addr = "IDLE+CLOUD+POWERED_DOWN", n.Name
		}
	}
}

func (w *world) slurmView() *SlurmView {
	view := &SlurmView{At: w.now.Add(time.Millisecond), Partitions: map[string]string{"q": "UP", "r": "UP"}}
	for _, name := range sortedKeys(w.nodes) {
		view.Nodes = append(view.Nodes, *w.nodes[name])
	}
	for _, id := range sortedKeys(w.jobs) {
		view.Jobs = append(view.Jobs, slurm.Job{ID: id, Nodes: w.jobs[id]})
	}
	return view
}

func (w *world) ec2View() *EC2View {
	view := &EC2View{At: w.now.Add(time.Millisecond)}
	for _, id := range sortedKeys(w.instances) {
		view.Instances = append(view.Instances, *w.instances[id])
	}
	return view
}

// crash loses everything that is not on disk: answers on their way to the process,
// actions not begun, programs' requests.
func (w *world) crash() {
	w.launches, w.outcomes, w.assigns, w.named, w.updates, w.ends = nil, nil, nil, nil, nil, nil
	w.requests, w.suspends, w.look = nil, nil, nil
	w.fresh = true
	w.live = Memory{}
	if err := json.Unmarshal(w.mem, &w.live); err != nil {
		w.t.Fatal(err)
	}
}

// settle lets everything that is under way come to its end.
func (w *world) settle() {
	for range 12 {
		for len(w.launches) > 0 {
			w.ec2(0)
		}
		w.flush()
		w.plan(Observed{Resumed: take(&w.requests), Suspended: take(&w.suspends), Outcomes: take(&w.outcomes), Named: take(&w.named)})
	}
	w.now = w.now.Add(time.Minute)
	w.register()
	w.powerOff()
	w.plan(Observed{Slurm: w.slurmView(), EC2: w.ec2View()})
}

func (w *world) flush() {
	for _, a := range take(&w.assigns) {
		w.record(a)
	}
	for _, u := range take(&w.updates) {
		w.apply(u)
	}
	for _, id := range take(&w.ends) {
		w.checkIdle(id)
		w.terminate(id)
	}
}

func take[T any](s *[]T) []T {
	out := *s
	*s = nil
	return out
}

// TestFleetInAnUnreliableWorld lets jobs come and go, capacity run out, instances die
// and the daemon crash, in any order. At no time may a node have two instances, or a
// job a part of its nodes; when it is quiet, nobody pays for what no node uses.
func TestFleetInAnUnreliableWorld(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, rapid.SampledFrom([]string{AllOrNothing, GreedyAllOrNothing, BestEffort}).Draw(t, "strategy"))
		names := sortedKeys(w.nodes)
		t.Repeat(map[string]func(*rapid.T){
			"a job comes": func(t *rapid.T) {
				w.submit(rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, 5, rapid.ID).Draw(t, "nodes"))
			},
			"slurmctld's requests arrive": func(t *rapid.T) {
				w.plan(Observed{Resumed: take(&w.requests), Suspended: take(&w.suspends)})
			},
			"a request is repeated": func(t *rapid.T) {
				if len(w.requests) > 0 {
					w.requests = append(w.requests, w.requests[0])
				}
			},
			"EC2 answers": func(t *rapid.T) {
				if len(w.launches) > 0 {
					w.ec2(rapid.IntRange(0, len(w.launches)-1).Draw(t, "launch"))
				}
			},
			"the answers arrive":      func(t *rapid.T) { w.plan(Observed{Outcomes: take(&w.outcomes), Named: take(&w.named)}) },
			"actions are carried out": func(t *rapid.T) { w.flush() },
			"nodes register":          func(t *rapid.T) { w.register() },
			"nodes are off":           func(t *rapid.T) { w.powerOff() },
			"the fleet looks":         func(t *rapid.T) { w.plan(Observed{Slurm: w.slurmView(), EC2: w.ec2View()}) },
			"a look begins": func(t *rapid.T) {
				// slurmctld hears of all that was decided before it is asked.
				for _, u := range take(&w.updates) {
					w.apply(u)
				}
				w.look = &Observed{Slurm: w.slurmView(), EC2: w.ec2View()}
			},
			"the look ends": func(t *rapid.T) {
				if w.look != nil {
					w.plan(*w.look)
					w.look = nil
				}
			},
			"a node idles": func(t *rapid.T) {
				n := w.nodes[rapid.SampledFrom(names).Draw(t, "node")]
				if n.State == "ALLOCATED+CLOUD" || n.State == "IDLE+CLOUD" {
					w.apply(slurm.NodeUpdate{Nodes: []string{n.Name}, State: slurm.StatePowerDownForce})
				}
			},
			"an instance dies": func(t *rapid.T) {
				if len(w.instances) > 0 {
					w.terminate(rapid.SampledFrom(sortedKeys(w.instances)).Draw(t, "instance"))
				}
			},
			"time passes":        func(t *rapid.T) { w.now = w.now.Add(time.Minute) },
			"the daemon crashes": func(t *rapid.T) { w.crash() },
			"":                   func(t *rapid.T) {},
		})
		w.t = t
		for range 30 {
			w.settle()
		}
		w.quiet(t)
	})
}

// quiet checks that what lives belongs to nodes in service, and the other way round.
func (w *world) quiet(t *rapid.T) {
	used := make(map[string]string)
	for _, n := range w.nodes {
		on := n.State.Ready()
		var mine []string
		for _, id := range sortedKeys(w.instances) {
			if i := w.instances[id]; i.Live() && i.Addr == n.Addr {
				mine = append(mine, id)
				used[id] = n.Name
			}
		}
		switch {
		case on && len(mine) != 1:
			t.Fatalf("%s is %s and has instances %v", n.Name, n.State, mine)
		case !on && len(mine) != 0:
			t.Fatalf("%s is %s and has instances %v", n.Name, n.State, mine)
		case n.State.PoweringUp() && !n.State.Down():
			t.Fatalf("%s is %s for ever", n.Name, n.State)
		}
		if name, _ := slurm.ParseNodeName(n.Name); name.Static && !on && ClassOf(reasonCode(n.Reason)) != Capacity && w.capacity[name.Queue+"/"+name.Resource] > 0 {
			t.Fatalf("static node %s is %s, reason %q", n.Name, n.State, n.Reason)
		}
	}
	for id, i := range w.instances {
		if _, ok := used[id]; i.Live() && !ok {
			t.Fatalf("%s lives and belongs to no node in service", id)
		}
	}
}
