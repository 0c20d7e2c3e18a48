package sim

import (
	"slices"
	"strconv"
	"time"

	"pcluster/internal/fleet"
	"pcluster/internal/slurm"
)

// Timeouts are Slurm's own.
type Timeouts struct {
	Resume  time.Duration // in which a node must be up
	Suspend time.Duration // which a node needs to be off
	Idle    time.Duration // after which a node is not needed any more
	Requeue time.Duration // before a job that lost its nodes may start again
	Silence time.Duration // after which a node that does not answer is down
}

// DefaultTimeouts are those of a ParallelCluster, but for a shorter ResumeTimeout and
// SuspendTimeout, so that hours hold more of them.
func DefaultTimeouts() Timeouts {
	return Timeouts{Resume: 15 * time.Minute, Suspend: time.Minute, Idle: 10 * time.Minute, Requeue: 2 * time.Minute, Silence: 3 * time.Minute}
}

type power int

const (
	off power = iota
	goingUp
	on
	goingDown
)

// A Node is a node of Slurm's.
type Node struct {
	Name, Queue string
	Static      bool

	partitions    []string
	power         power
	since         time.Time // in this power state, and idle
	generation    int       // changes with the power state, so that old timers know
	down, drain   bool
	silent        bool
	waited        time.Time // since when slurmctld waits for it to answer
	completing    int
	used, slots   int
	jobs          []*Job
	addr          string
	reason        string
	instance      *Instance // that its slurmd runs on
	wantedSeconds time.Duration
	wantedSince   time.Time
}

// state spells the node's state as scontrol does.
func (n *Node) state() slurm.State {
	base := 0
	switch {
	case n.down:
		base = 3
	case n.used >= n.slots:
		base = 2
	case n.used > 0:
		base = 1
	}
	return states[base][n.power][index(n.completing > 0)][index(n.drain)][index(n.silent || n.power == goingUp)]
}

func index(b bool) int {
	if b {
		return 1
	}
	return 0
}

// states are all states, as many looks at many nodes need them: by base state, power
// state, and whether the node is completing, drained, and silent.
var states = func() (all [4][4][2][2][2]slurm.State) {
	flag := func(i int, name string) string {
		if i == 0 {
			return ""
		}
		return name
	}
	for b, base := range []string{"IDLE", "MIXED", "ALLOCATED", "DOWN"} {
		for p, power := range []string{off: "+POWERED_DOWN", goingUp: "+POWERING_UP", on: "", goingDown: "+POWERING_DOWN"} {
			for c := range 2 {
				for d := range 2 {
					for s := range 2 {
						all[b][p][c][d][s] = slurm.State(base + "+CLOUD" + flag(c, "+COMPLETING") + flag(d, "+DRAIN") + flag(s, "+NOT_RESPONDING") + power)
					}
				}
			}
		}
	}
	return all
}()

// usable says whether jobs may be given the node.
func (n *Node) usable() bool {
	return !n.down && !n.drain && !n.silent && n.power != goingDown && n.completing == 0
}

// A Job wants nodes for a time.
type Job struct {
	ID    string
	Queue string
	Nodes int           // how many
	Slots int           // of each
	Run   time.Duration // once all nodes are up

	state    jobState
	nodes    []*Node
	resumed  []string // those that were powered up for it
	given    bool     // it had its instances once, all of them
	eligible time.Time
	waiting  time.Time // since when it has not run
	until    time.Time // it runs, once it does
	attempt  int
	Requeues int
}

// Running reports a job that runs.
func (j *Job) Running() bool { return j.state == running }

type jobState int

const (
	pending jobState = iota
	configuring
	running
	ended
	cancelled
)

// Slurm is slurmctld, its nodes, and its jobs.
type Slurm struct {
	// Resume, Suspend and ResumeFail are the programs that it starts.
	Resume              func(fleet.Request)
	Suspend, ResumeFail func(nodes []string)
	// Started hears of jobs that begin to run.
	Started func(*Job)
	// Requeued hears of jobs that go back to the queue, before they do.
	Requeued func(*Job)
	Timeouts Timeouts

	clock      *Clock
	nodes      []*Node // in the order of their names in the configuration
	byName     map[string]*Node
	byQueue    map[string][]*Node
	byAddr     map[string]*Node
	queues     []string
	partitions map[string]string
	jobs       []*Job // neither ended nor cancelled, in order of submission
	byID       map[string]*Job
	nextID     int
	scheduling bool
	idling     []*Node // to be powered down
	Ended      int     // jobs that ran to their end

	down            bool                 // it does not run
	cut             func(*Instance) bool // those that it can't reach; nil: none
	missed, unheard []func()             // what it does when it runs, and when it reaches them
}

// slotsPerNode is how many small jobs fit on a node.
const slotsPerNode = 4

// NewSlurm returns a Slurm whose nodes are all off. Queues are given as hostlists.
func NewSlurm(clock *Clock, queues map[string]string, timeouts Timeouts) (*Slurm, error) {
	s := &Slurm{
		Resume: func(fleet.Request) {}, Suspend: func([]string) {}, ResumeFail: func([]string) {}, Started: func(*Job) {}, Requeued: func(*Job) {},
		Timeouts: timeouts, clock: clock, byName: make(map[string]*Node), byQueue: make(map[string][]*Node), byAddr: make(map[string]*Node),
		partitions: make(map[string]string), byID: make(map[string]*Job),
	}
	for queue := range queues {
		s.queues = append(s.queues, queue)
	}
	slices.Sort(s.queues)
	for _, queue := range s.queues {
		s.partitions[queue] = "UP"
		names, err := slurm.Expand(queues[queue])
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			parsed, _ := slurm.ParseNodeName(name)
			n := &Node{Name: name, Queue: queue, partitions: []string{queue}, Static: parsed.Static, slots: slotsPerNode, addr: name, since: clock.Now()}
			s.nodes = append(s.nodes, n)
			s.byName[name], s.byQueue[queue] = n, append(s.byQueue[queue], n)
		}
	}
	return s, nil
}

// Node returns a node by its name, or nil.
func (s *Slurm) Node(name string) *Node { return s.byName[name] }

// Waiting returns how many jobs have not ended.
func (s *Slurm) Waiting() int { return len(s.jobs) }

// Wanted is for how long nodes were wanted, all together: from their request until
// they are off.
func (s *Slurm) Wanted() time.Duration {
	var sum time.Duration
	for _, n := range s.nodes {
		sum += n.wantedSeconds
		if !n.wantedSince.IsZero() {
			sum += s.clock.Now().Sub(n.wantedSince)
		}
	}
	return sum
}

// Submit hands in a job and returns it.
func (s *Slurm) Submit(queue string, nodes, slots int, run time.Duration) *Job {
	s.nextID++
	j := &Job{ID: strconv.Itoa(s.nextID), Queue: queue, Nodes: nodes, Slots: slots, Run: run, eligible: s.clock.Now(), waiting: s.clock.Now()}
	s.jobs, s.byID[j.ID] = append(s.jobs, j), j
	s.schedule()
	return j
}

// Cancel takes a job back, wherever it is.
func (s *Slurm) Cancel(j *Job) {
	if j.state == ended || j.state == cancelled {
		return
	}
	s.release(j)
	j.state = cancelled
	s.forget(j)
}

// forget drops a job that is over.
func (s *Slurm) forget(j *Job) {
	delete(s.byID, j.ID)
	// Mostly one of the oldest.
	if i := slices.Index(s.jobs, j); i >= 0 {
		s.jobs = slices.Delete(s.jobs, i, i+1)
	}
}

// schedule looks for nodes in a second, as slurmctld does after a change.
func (s *Slurm) schedule() {
	if s.scheduling {
		return
	}
	s.scheduling = true
	s.after(time.Second, func() {
		s.scheduling = false
		s.pass()
	})
}

// pass gives jobs that wait their nodes, first come, first served, and powers those
// nodes up that are off.
func (s *Slurm) pass() {
	now := s.clock.Now()
	free := make(map[string][]*Node)
	short := make(map[string]int) // jobs of a queue that found no nodes
	var request fleet.Request
	asked := make(map[string]bool)
	for _, j := range s.jobs {
		if j.state != pending || s.partitions[j.Queue] != "UP" || short[j.Queue] >= 10 {
			continue
		}
		if now.Before(j.eligible) {
			continue
		}
		list, known := free[j.Queue]
		if !known {
			list = s.free(j.Queue)
		}
		nodes, rest := pick(list, j)
		free[j.Queue] = rest
		if nodes == nil {
			short[j.Queue]++
			continue
		}
		s.allocate(j, nodes, asked, &request)
	}
	for _, j := range s.jobs {
		if j.state == configuring {
			s.tryStart(j)
		}
	}
	if len(request.Nodes) > 0 {
		s.Resume(request)
	}
}

// free lists the nodes of a queue that may take jobs: those that are up first.
func (s *Slurm) free(queue string) []*Node {
	var up, rest []*Node
	for _, n := range s.byQueue[queue] {
		switch {
		case !n.usable() || n.used >= n.slots:
		case n.power == off:
			rest = append(rest, n)
		default:
			up = append(up, n)
		}
	}
	return append(up, rest...)
}

// pick takes a job's nodes from a list, and returns the list without full ones.
func pick(list []*Node, j *Job) (nodes, rest []*Node) {
	for len(list) > 0 && list[0].used >= list[0].slots {
		list = list[1:]
	}
	for _, n := range list {
		if n.slots-n.used >= j.Slots {
			if nodes = append(nodes, n); len(nodes) == j.Nodes {
				return nodes, list
			}
		}
	}
	return nil, list
}

func (s *Slurm) allocate(j *Job, nodes []*Node, asked map[string]bool, request *fleet.Request) {
	j.state, j.nodes, j.resumed, j.given = configuring, nodes, nil, false
	j.attempt++
	for _, n := range nodes {
		n.used += j.Slots
		n.jobs = append(n.jobs, j)
		if n.power == off {
			s.powerUp(n)
			asked[n.Name] = true
			request.Nodes = append(request.Nodes, n.Name)
		}
		if asked[n.Name] {
			j.resumed = append(j.resumed, n.Name)
		}
	}
	if len(j.resumed) > 0 {
		request.Jobs = append(request.Jobs, slurm.Job{ID: j.ID, Nodes: j.resumed})
	}
}

// set gives a node another power state.
func (s *Slurm) set(n *Node, p power) {
	now := s.clock.Now()
	if n.power == off && p != off {
		n.wantedSince = now
	}
	if p == off && !n.wantedSince.IsZero() {
		n.wantedSeconds += now.Sub(n.wantedSince)
		n.wantedSince = time.Time{}
	}
	n.power, n.since = p, now
	n.generation++
}

func (s *Slurm) powerUp(n *Node) {
	s.set(n, goingUp)
	generation := n.generation
	s.after(s.Timeouts.Resume, func() {
		if n.generation != generation || n.power != goingUp {
			return
		}
		s.set(n, off)
		n.wantedSince = s.clock.Now() // it is still the fleet's
		n.down, n.silent, n.reason = true, true, "ResumeTimeout reached"
		s.requeue(n)
		s.ResumeFail([]string{n.Name})
	})
}

func (s *Slurm) powerDown(nodes []*Node) {
	var names []string
	for _, n := range nodes {
		s.requeue(n)
		s.set(n, goingDown)
		n.instance = nil
		generation := n.generation
		names = append(names, n.Name)
		s.after(s.Timeouts.Suspend, func() {
			if n.generation != generation {
				return
			}
			s.set(n, off)
			s.setAddr(n, n.Name)
			n.down, n.drain, n.silent, n.reason, n.completing = false, false, false, "", 0
			s.schedule()
		})
	}
	if len(names) > 0 {
		s.Suspend(names)
	}
}

func (s *Slurm) setAddr(n *Node, addr string) {
	if s.byAddr[n.addr] == n {
		delete(s.byAddr, n.addr)
	}
	n.addr = addr
	s.byAddr[addr] = n
}

// requeue takes the jobs from a node that can't run them any more.
func (s *Slurm) requeue(n *Node) {
	for _, j := range slices.Clone(n.jobs) {
		s.sendBack(j)
	}
}

func (s *Slurm) sendBack(j *Job) {
	s.Requeued(j)
	s.release(j)
	j.state = pending
	j.Requeues++
	j.waiting = s.clock.Now()
	j.eligible = s.clock.Now().Add(s.Timeouts.Requeue)
	s.at(j.eligible, s.schedule)
}

// release frees a job's nodes. Those where it ran need a moment.
func (s *Slurm) release(j *Job) {
	ran := j.state == running
	for _, n := range j.nodes {
		n.used -= j.Slots
		n.jobs = slices.DeleteFunc(n.jobs, func(other *Job) bool { return other == j })
		if ran && n.power == on {
			n.completing++
			generation := n.generation
			s.after(2*time.Second, func() {
				if n.generation == generation && n.completing > 0 {
					n.completing--
					s.idle(n)
					s.schedule()
				}
			})
		} else {
			s.idle(n)
		}
	}
	j.nodes = nil
	j.attempt++
	s.schedule()
}

// idle powers a node down if it is not used for long enough.
func (s *Slurm) idle(n *Node) {
	if n.Static || n.power != on || n.used > 0 || n.completing > 0 {
		return
	}
	n.since = s.clock.Now()
	since, generation := n.since, n.generation
	s.after(s.Timeouts.Idle, func() {
		if n.generation == generation && n.since.Equal(since) {
			if s.idling = append(s.idling, n); len(s.idling) == 1 {
				s.after(time.Second, s.suspendIdle)
			}
		}
	})
}

// suspendIdle powers down the nodes that have become idle for too long in the last
// second: slurmctld looks for them once a second, and names them all at once.
func (s *Slurm) suspendIdle() {
	still := slices.DeleteFunc(s.idling, func(n *Node) bool {
		return n.power != on || n.used > 0 || n.completing > 0 || n.down || n.silent
	})
	s.idling = nil
	s.powerDown(still)
}

// Register brings a node up whose slurmd runs on an instance, if Slurm expects it
// there.
func (s *Slurm) Register(i *Instance) { s.whenHeard(func() { s.register(i) }, i) }

func (s *Slurm) register(i *Instance) {
	n := s.byName[i.Name]
	if n == nil || !i.Alive() || n.addr != i.Addr || n.power != goingUp || n.down {
		return
	}
	s.set(n, on)
	n.instance, n.silent = i, false
	for _, j := range slices.Clone(n.jobs) {
		s.tryStart(j)
	}
	s.idle(n)
	s.schedule()
}

// tryStart starts a job whose nodes are all up.
func (s *Slurm) tryStart(j *Job) {
	if j.state != configuring || slices.ContainsFunc(j.nodes, func(n *Node) bool { return n.power != on || n.down || n.silent || s.severed(n.instance) }) {
		return
	}
	j.state, j.until = running, s.clock.Now().Add(j.Run)
	s.Started(j)
	attempt := j.attempt
	on := make([]*Instance, len(j.nodes))
	for i, n := range j.nodes {
		on[i] = n.instance
	}
	s.clock.At(j.until, func() { s.whenHeard(func() { s.finish(j, attempt) }, on...) })
}

func (s *Slurm) finish(j *Job, attempt int) {
	if j.attempt != attempt || j.state != running {
		return
	}
	if slices.ContainsFunc(j.nodes, func(n *Node) bool { return n.instance == nil || !n.instance.Alive() }) {
		return // nobody tells slurmctld; the node will be down before long
	}
	s.release(j)
	j.state = ended
	s.Ended++
	s.forget(j)
}

// Lost hears that an instance has ended. Its node falls silent, and is down later.
func (s *Slurm) Lost(i *Instance) { s.whenUp(func() { s.lost(i) }) }

func (s *Slurm) lost(i *Instance) {
	n := s.byName[i.Name]
	if n == nil || n.instance != i || n.power != on {
		return
	}
	s.fallsSilent(n)
}

// The questions and updates of a slurm.Client.

// Look returns the nodes of a list, or all.
func (s *Slurm) Look(names []string) []slurm.Node {
	show := func(n *Node) slurm.Node {
		return slurm.Node{Name: n.Name, Addr: n.addr, State: n.state(), Partitions: n.partitions, Reason: n.reason}
	}
	if len(names) > 0 {
		var out []slurm.Node
		for _, name := range names {
			if n := s.byName[name]; n != nil {
				out = append(out, show(n))
			}
		}
		return out
	}
	out := make([]slurm.Node, len(s.nodes))
	for i, n := range s.nodes {
		out[i] = show(n)
	}
	return out
}

// Partitions returns the queues' states.
func (s *Slurm) Partitions() []slurm.Partition {
	var out []slurm.Partition
	for _, q := range s.queues {
		out = append(out, slurm.Partition{Name: q, State: s.partitions[q]})
	}
	return out
}

// SetPartitions gives queues a state.
func (s *Slurm) SetPartitions(state string, names ...string) {
	for _, q := range names {
		if _, ok := s.partitions[q]; ok {
			s.partitions[q] = state
		}
	}
	s.schedule()
}

// Configuring returns the jobs that wait for their nodes to start.
func (s *Slurm) Configuring() []slurm.Job {
	var out []slurm.Job
	for _, j := range s.jobs {
		if j.state == configuring {
			out = append(out, slurm.Job{ID: j.ID, Nodes: names(j.nodes)})
		}
	}
	return out
}

func names(nodes []*Node) []string {
	out := make([]string, len(nodes))
	for i, n := range nodes {
		out[i] = n.Name
	}
	return out
}

// JobsOn returns the jobs that have any of the nodes.
func (s *Slurm) JobsOn(nodes []string) []string {
	seen := make(map[string]bool)
	var ids []string
	for _, name := range nodes {
		if n := s.byName[name]; n != nil {
			for _, j := range n.jobs {
				if !seen[j.ID] {
					seen[j.ID] = true
					ids = append(ids, j.ID)
				}
			}
		}
	}
	return ids
}

// RequeueJobs sends jobs back to the queue.
func (s *Slurm) RequeueJobs(ids []string) {
	for _, id := range ids {
		if j := s.byID[id]; j != nil && j.state != pending {
			s.sendBack(j)
		}
	}
}

// StartJobs lets jobs that wait for a time start after a delay instead.
func (s *Slurm) StartJobs(after time.Duration, ids []string) {
	for _, id := range ids {
		if j := s.byID[id]; j != nil && j.state == pending {
			j.eligible = s.clock.Now().Add(after)
			s.at(j.eligible, s.schedule)
		}
	}
}

// Update carries out a change to nodes.
func (s *Slurm) Update(u slurm.NodeUpdate) {
	var toPowerDown, toPowerUp []*Node
	for i, name := range u.Nodes {
		n := s.byName[name]
		if n == nil {
			continue
		}
		if len(u.Addrs) > 0 {
			s.setAddr(n, u.Addrs[i])
		}
		switch u.State {
		case slurm.StateDown:
			n.down, n.reason = true, u.Reason
			s.requeue(n)
		case slurm.StateDrain:
			n.drain, n.reason = true, u.Reason
		case slurm.StateUndrain:
			s.undrain(n)
		case slurm.StateResume:
			n.down, n.drain, n.reason = false, false, ""
		case slurm.StatePowerDownForce:
			if n.power != goingDown && (n.power != off || n.down || n.drain) {
				toPowerDown = append(toPowerDown, n)
			}
		case slurm.StatePowerUp:
			if n.power == off {
				toPowerUp = append(toPowerUp, n)
			}
		}
	}
	s.powerDown(toPowerDown)
	if len(toPowerUp) > 0 {
		for _, n := range toPowerUp {
			s.powerUp(n)
		}
		s.Resume(fleet.Request{Nodes: names(toPowerUp)})
	}
	s.schedule()
}
