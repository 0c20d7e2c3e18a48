package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/fnv"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/aws/smithy-go"

	"pcluster/internal/fleet"
	"pcluster/internal/slurm"
)

// A world is a fleet in its surroundings.
//
// The fleet in it is Plan and an executor, which does in virtual time what the daemon
// does with goroutines: looks at intervals, slurmctld spoken to in one line, calls
// that are tried again. One goroutine and one order of events make a seed replay.
type world struct {
	cfg    Config
	clock  *Clock
	rng    *rand.Rand // of the surroundings; the cloud has its own
	cloud  *Cloud
	slurm  *Slurm
	policy fleet.Policy
	trace  io.Writer
	hash   hash.Hash64

	// The process. Whatever it began is dropped when life has moved on.
	mem       fleet.Memory
	life      int
	alive     bool
	lost      bool // its memory, when it comes back
	seen      fleet.Observed
	deciding  bool
	slurmFree time.Time         // when slurmctld has carried out all that it was told
	limiter   bucketState       // of launches, as the daemon has it
	current   map[string]string // node to instance, of the last assignment
	names     map[string]string // node to instance, as the table of names has it
	lastEC2   time.Time
	present   map[string]fleet.Presence // by instance: what it has heard of nodes
	began     time.Time                 // by its clock
	mute      time.Time                 // when it last could not speak to slurmctld
	asked     bool                      // to look at EC2

	status    fleet.Status
	quiet     bool          // no more faults
	blind     time.Duration // for which the fleet could not see, or act
	since     time.Time     // it could not, if blindness > 0
	blindness int

	// Outages that go on, of each.
	slurmRefuses, ec2Refuses int

	away, cutOff bool                 // the head node; cut off from AWS, too
	severed      func(*Instance) bool // instances that it does not reach; nil: all or none, as it is down or not
	awaySince    time.Time
	busy         map[string]time.Time // until when an instance has a job
	excused      time.Duration        // what instances cost that nobody could end
	skew         time.Duration        // of the head node's clock

	check    checks
	result   Result
	planning time.Duration // spent in Plan, of real time
}

func newWorld(cfg Config) (*world, error) {
	clock := NewClock(start)
	s, err := NewSlurm(clock, cfg.Queues, cfg.Timeouts)
	if err != nil {
		return nil, err
	}
	w := &world{
		cfg: cfg, clock: clock, rng: rand.New(rand.NewPCG(cfg.Seed, 1)), slurm: s,
		cloud: NewCloud(clock, cfg.Seed, cfg.Limits, cfg.Faults), hash: fnv.New64a(), trace: cfg.Trace,
		current: make(map[string]string), busy: make(map[string]time.Time), names: make(map[string]string), status: fleet.Running,
		limiter: bucketState{Bucket: Bucket{5, 2}, tokens: 5, last: start},
	}
	w.policy = fleet.DefaultPolicy()
	w.policy.Cluster, w.policy.Strategy = "sim", cfg.Strategy
	w.policy.Resources, w.policy.Queues = cfg.Resources, cfg.Queues
	w.mem = fleet.NewMemory(start)
	w.blinded() // until it boots
	w.check.init(w)
	w.cloud.Booted = func(i *Instance) {
		w.log("%s is up as %q", i.ID, i.Name)
		s.Register(i)
	}
	w.cloud.Ended = func(i *Instance) {
		w.check.ended(i)
		s.Lost(i)
	}
	s.Started = func(j *Job) {
		w.log("job %s runs on %s", j.ID, slurm.Compress(names(j.nodes)))
		w.check.started(j)
		for _, n := range j.nodes {
			w.busy[n.instance.ID] = j.until
		}
	}
	s.Requeued = w.check.requeued
	s.Resume = func(r fleet.Request) {
		w.deliver(func(o *fleet.Observed) { o.Resumed = append(o.Resumed, r) })
	}
	s.Suspend = func(nodes []string) {
		w.deliver(func(o *fleet.Observed) { o.Suspended = append(o.Suspended, nodes...) })
	}
	s.ResumeFail = func(nodes []string) {
		w.deliver(func(o *fleet.Observed) { o.ResumeFailed = append(o.ResumeFailed, nodes...) })
	}
	return w, nil
}

// start is when all worlds begin.
var start = time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)

func (w *world) log(format string, args ...any) {
	at := w.clock.Now().Sub(start).Seconds()
	fmt.Fprintf(w.hash, "%.6f ", at)
	fmt.Fprintf(w.hash, format, args...)
	if w.trace != nil {
		fmt.Fprintf(w.trace, "%10.3f "+format+"\n", append([]any{at}, args...)...)
	}
}

func (w *world) upTo(d time.Duration) time.Duration { return upTo(w.rng, d) }

// between is a random duration of at least a and less than b.
func (w *world) between(a, b time.Duration) time.Duration { return a + w.upTo(b-a) }

// blinded and sees count for how long the fleet can't see or act.
func (w *world) blinded() {
	if w.blindness++; w.blindness == 1 {
		w.since = w.clock.Now()
	}
}

func (w *world) sees() {
	if w.blindness--; w.blindness == 0 {
		w.blind += w.clock.Now().Sub(w.since)
	}
}

// blindUntilNow is for how long the fleet could not see or act since the beginning.
func (w *world) blindUntilNow() time.Duration {
	if w.blindness > 0 {
		return w.blind + w.clock.Now().Sub(w.since)
	}
	return w.blind
}

// boot starts the process, which has what is on disk.
func (w *world) boot() {
	if w.alive || w.away && w.severed == nil {
		return
	}
	w.life++
	w.alive = true
	if w.lost {
		w.mem, w.lost = fleet.NewMemory(w.now()), false
	}
	w.seen, w.deciding = fleet.Observed{Restarted: true}, false
	if !w.mem.Recalled {
		w.seen.Recorded = maps.Clone(w.names)
	}
	w.slurmFree = w.clock.Now()
	w.limiter = bucketState{Bucket: Bucket{5, 2}, tokens: 5, last: w.clock.Now()}
	w.current = make(map[string]string)
	w.lastEC2 = time.Time{}
	w.present, w.began, w.mute = make(map[string]fleet.Presence), w.now(), w.clock.Now()
	w.log("the daemon starts")
	w.sees()
	w.tell(func(*fleet.Observed) {})
	w.after(0, w.look)
}

// crash ends the process, and starts it again a while later.
func (w *world) crash(downtime time.Duration) {
	if w.alive {
		w.die()
		w.clock.After(downtime, w.boot)
	}
}

// die ends the process.
func (w *world) die() {
	if !w.alive {
		return
	}
	w.log("the daemon crashes")
	w.result.Crashes++
	w.alive = false
	w.life++
	w.blinded()
	// What is on disk lacks what only matters between two looks.
	kept := w.mem
	kept.Touched, kept.Unclaimed = nil, nil
	data, err := json.Marshal(kept)
	if err == nil {
		w.mem = fleet.Memory{}
		err = json.Unmarshal(data, &w.mem)
	}
	if err != nil {
		w.check.fail("memory does not survive: %v", err)
	}
	if chance(w.rng, w.cfg.MemoryLost) {
		w.log("the memory is lost")
		w.lost = true
	}
	if w.cfg.ClockSteps > 0 && chance(w.rng, 0.3) {
		w.skew = w.upTo(2*w.cfg.ClockSteps) - w.cfg.ClockSteps
		w.log("the clock is set %v off", w.skew)
	}
}

// now is what the daemon's clock shows.
func (w *world) now() time.Time { return w.clock.Now().Add(w.skew) }

// refuse begins an outage, which answerAgain ends.
func (w *world) refuse(outages *int) {
	*outages++
	w.setFaults()
}

func (w *world) answerAgain(outages *int) {
	w.mute = w.clock.Now()
	if *outages > 0 { // they all end when it becomes quiet
		*outages--
	}
	w.setFaults()
}

// setFaults makes EC2 fail as it does now.
func (w *world) setFaults() {
	w.cloud.Faults = w.cfg.Faults
	if w.quiet {
		w.cloud.Faults = Faults{}
	}
	if w.ec2Refuses > 0 {
		w.cloud.Faults.InternalError = 1
	}
}

// after plans something that the process does, if it still lives then.
func (w *world) after(d time.Duration, f func()) {
	life := w.life
	w.clock.After(d, func() {
		if w.life == life && w.alive {
			f()
		}
	})
}

// deliver is a program of slurmctld's that speaks to the daemon. It tries for a
// minute to reach one.
func (w *world) deliver(observation func(*fleet.Observed)) {
	deadline := w.clock.Now().Add(time.Minute)
	var try func()
	try = func() {
		switch {
		case w.alive:
			w.tell(observation)
		case w.clock.Now().Before(deadline):
			w.clock.After(time.Second, try)
		default:
			w.log("slurmctld's request is lost")
		}
	}
	w.clock.After(w.between(50*time.Millisecond, time.Second), try)
}

// tell hands an observation to the process, which decides on all that arrive together.
func (w *world) tell(observation func(*fleet.Observed)) {
	observation(&w.seen)
	if !w.deciding {
		w.deciding = true
		w.after(0, w.step)
	}
}

func (w *world) step() {
	w.deciding = false
	seen := w.seen
	w.seen = fleet.Observed{}
	began := time.Now()
	do, next := fleet.Plan(seen, w.mem, w.policy, w.now())
	w.planning += time.Since(began)
	w.result.Steps++
	for _, line := range do.Log {
		w.log("%s", line)
	}
	w.mem = next
	w.check.decided(seen, do)
	w.act(do)
}

func (w *world) act(do fleet.Actions) {
	for _, l := range do.Launch {
		w.launch(l, 1, w.clock.Now())
	}
	if len(do.Assign) > 0 {
		w.assign(do.Assign)
	}
	if len(do.Terminate) > 0 {
		ids := slices.Compact(slices.Sorted(slices.Values(do.Terminate)))
		for batch := range slices.Chunk(ids, 1000) {
			w.after(w.between(50*time.Millisecond, time.Second), func() { w.terminate(batch, 1) })
		}
	}
	if do.Status != nil {
		change := *do.Status
		w.after(w.between(50*time.Millisecond, time.Second), func() {
			if w.status == change.From {
				w.status = change.To
				w.log("status %s", change.To)
			}
		})
	}
	if do.Look {
		w.asked = true
	}
	if len(do.Knock) > 0 {
		w.knock(do.Knock)
	}
	if len(do.Nodes) > 0 || len(do.Partitions) > 0 || len(do.Requeue) > 0 {
		w.inSlurm(func() {
			losing := make([][]string, len(do.Restart))
			for i, r := range do.Restart {
				losing[i] = w.slurm.JobsOn(r.Nodes)
			}
			for _, u := range do.Nodes {
				w.log("update %s state=%s", slurm.Compress(u.Nodes), u.State)
				w.slurm.Update(u)
			}
			if ids := w.slurm.JobsOn(do.Requeue); len(ids) > 0 {
				w.slurm.RequeueJobs(ids)
				w.restart(10*time.Second, ids)
			}
			for i, r := range do.Restart {
				w.restart(r.After, losing[i])
			}
			for _, p := range do.Partitions {
				w.log("partition %s %s", p.Name, p.State)
				w.slurm.SetPartitions(p.State, p.Name)
			}
		}, nil)
	}
}

// restart has jobs start after a delay.
func (w *world) restart(after time.Duration, ids []string) {
	w.slurm.StartJobs(after, ids)
	w.after(after, func() { w.inSlurm(func() { w.slurm.StartJobs(0, ids) }, nil) })
}

// inSlurm speaks to slurmctld when everything before has been said.
func (w *world) inSlurm(f, failed func()) {
	begin := w.clock.Now()
	if w.slurmFree.After(begin) {
		begin = w.slurmFree
	}
	w.slurmFree = begin.Add(w.between(20*time.Millisecond, 300*time.Millisecond))
	w.after(w.slurmFree.Sub(w.clock.Now()), func() {
		if w.slurmRefuses > 0 || chance(w.rng, w.cloud.Faults.Slurm) {
			w.log("slurmctld does not answer")
			if failed != nil {
				failed()
			}
			return
		}
		f()
	})
}

// What the daemon does about launches that end with nothing.
const (
	launchAttempts  = 8
	launchPatience  = 30 * time.Minute
	throttledPause  = 10 * time.Second
	mostPause       = time.Minute
	addressPatience = time.Minute // for addresses of a fleet's instances
)

// launch carries out a launch: when the daemon's own limit lets it.
func (w *world) launch(l fleet.Launch, attempt int, since time.Time) {
	now := w.clock.Now()
	w.limiter.tokens = min(w.limiter.Burst, w.limiter.tokens+now.Sub(w.limiter.last).Seconds()*w.limiter.Rate) - 1
	w.limiter.last = now
	wait := time.Duration(max(0, -w.limiter.tokens) / w.limiter.Rate * float64(time.Second))
	w.after(wait+w.between(100*time.Millisecond, 2*time.Second), func() { w.call(l, attempt, since) })
}

func (w *world) call(l fleet.Launch, attempt int, since time.Time) {
	r := w.request(l)
	w.result.LastLaunch = w.clock.Now().Sub(start)
	all, err := w.cloud.Launch(r)
	w.log("launch %s of %d %s/%s: %d, %v", l.Token, len(l.Nodes), l.Queue, l.Resource, len(all), err)
	code, message := codeOf(err)
	// What is throttled needs patience. Without an answer the instances may exist; the
	// token finds them.
	again, most := false, mostPause
	switch code {
	case "RequestLimitExceeded":
		w.result.Throttled++
		again, most = w.clock.Now().Sub(since) < launchPatience, throttledPause
	case "InternalError", "RequestFailed":
		again = attempt < launchAttempts
	}
	if again {
		w.after(min(time.Second<<min(attempt-1, 6), most), func() { w.launch(l, attempt+1, since) })
		return
	}
	out := fleet.Outcome{Token: l.Token, Code: code, Message: message}
	wait := w.between(10*time.Millisecond, time.Second)
	for _, i := range all {
		if late := i.shown.Sub(w.clock.Now()); r.Fleet && late > wait {
			wait = min(late, addressPatience)
		}
		seen := i.Instance
		seen.State = i.state(w.clock.Now())
		out.Instances = append(out.Instances, seen)
	}
	w.after(wait, func() {
		w.tell(func(o *fleet.Observed) { o.Outcomes = append(o.Outcomes, out) })
	})
}

func codeOf(err error) (code, message string) {
	var api smithy.APIError
	switch {
	case err == nil:
		return "", ""
	case errors.As(err, &api):
		return api.ErrorCode(), api.ErrorMessage()
	}
	return "RequestFailed", err.Error()
}

func (w *world) request(l fleet.Launch) LaunchRequest {
	res := w.policy.Resources[l.Queue][l.Resource]
	r := LaunchRequest{Token: l.Token, Queue: l.Queue, Resource: l.Resource, Min: l.Min, Max: len(l.Nodes), Fleet: res.API == slurm.CreateFleet}
	r.Offers = offers(res)
	return r
}

// offers are the types and subnets of a compute resource, in order.
func offers(res slurm.Resource) []Offer {
	subnets := res.Subnets()
	if len(subnets) == 0 {
		subnets = []string{""}
	}
	var out []Offer
	for _, t := range res.Instances {
		for _, s := range subnets {
			out = append(out, Offer{t.InstanceType, s})
		}
	}
	return out
}

func (w *world) assign(all []fleet.Assignment) {
	for _, a := range all {
		w.current[a.Node] = a.Instance
	}
	w.after(w.between(20*time.Millisecond, 500*time.Millisecond), func() {
		if w.cutOff || chance(w.rng, w.cloud.Faults.Naming) {
			w.log("names of %d nodes are not recorded", len(all))
			w.tell(func(o *fleet.Observed) { o.NamingFailed = append(o.NamingFailed, all...) })
			return
		}
		for _, a := range all {
			i := w.cloud.Instance(a.Instance)
			w.check.named(i, a.Node)
			i.Name, w.names[a.Node] = a.Node, a.Instance
		}
		w.inSlurm(func() {
			var u slurm.NodeUpdate
			for _, a := range all {
				if w.current[a.Node] == a.Instance {
					u.Nodes, u.Addrs = append(u.Nodes, a.Node), append(u.Addrs, a.Addr)
				}
			}
			w.slurm.Update(u)
			for _, a := range all {
				if i := w.cloud.Instance(a.Instance); !i.booted.IsZero() && !i.booted.After(w.clock.Now()) {
					w.slurm.Register(i)
				}
			}
			w.tell(func(o *fleet.Observed) { o.Named = append(o.Named, all...) })
		}, func() {
			w.tell(func(o *fleet.Observed) { o.NamedInPart = append(o.NamedInPart, all...) })
		})
	})
}

func (w *world) terminate(ids []string, attempt int) {
	w.check.terminating = true
	err := w.cloud.Terminate(ids)
	w.check.terminating = false
	w.log("terminate %d instances from %s: %v", len(ids), ids[0], err)
	if err == nil {
		return
	}
	if code, _ := codeOf(err); code == "InvalidInstanceID.NotFound" {
		if len(ids) > 1 { // one of them is gone, or not known yet: one by one
			for i, id := range ids {
				w.after(time.Duration(i)*200*time.Millisecond, func() { w.terminate([]string{id}, attempt) })
			}
		}
		return
	}
	if attempt < 4 {
		w.after(time.Duration(attempt*attempt)*250*time.Millisecond, func() { w.terminate(ids, attempt+1) })
	}
}

// look looks at Slurm often, and at EC2 as often as there is something to see.
func (w *world) look() {
	w.after(w.cfg.SlurmPause, w.look)
	var ec2 *fleet.EC2View
	pause := w.cfg.QuietPause
	if w.mem.InMotion() {
		pause = w.cfg.EC2Pause
	}
	if since := w.clock.Now().Sub(w.lastEC2); since < pause && (!w.asked || since < w.cfg.EC2Pause) {
		w.lookAtSlurm(nil)
		return
	}
	w.lastEC2, w.asked = w.clock.Now(), false
	ec2 = &fleet.EC2View{At: w.now()}
	w.after(w.between(50*time.Millisecond, 1500*time.Millisecond), func() {
		var err error
		if ec2.Instances, err = w.cloud.Describe(); err != nil {
			ec2, w.asked = nil, true
		}
		w.lookAtSlurm(ec2)
	})
}

func (w *world) lookAtSlurm(ec2 *fleet.EC2View) {
	asked := w.clock.Now()
	if w.slurmFree.After(asked) {
		asked = w.slurmFree
	}
	w.inSlurm(func() {
		view := &fleet.SlurmView{At: asked.Add(w.skew), Nodes: w.slurm.Look(nil), Partitions: make(map[string]string)}
		for _, p := range w.slurm.Partitions() {
			view.Partitions[p.Name] = p.State
		}
		view.Jobs = w.slurm.Configuring()
		w.asked = w.asked || slices.ContainsFunc(view.Nodes, func(n slurm.Node) bool {
			return n.State.NotResponding() && !n.State.PoweringUp() && !n.State.PoweringDown() && !n.State.PoweredDown()
		})
		var nodes *fleet.NodesView
		if w.cfg.Reports {
			nodes = w.reports()
		}
		w.after(w.upTo(100*time.Millisecond), func() {
			w.tell(func(o *fleet.Observed) {
				o.Slurm, o.Nodes, o.Status = view, nodes, w.status
				if ec2 != nil {
					o.EC2 = ec2
				}
			})
		})
	}, nil)
}
