package sim

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"pcluster/internal/fleet"
	"pcluster/internal/slurm"
)

// A Config is a world, all of it: two runs of one Config are the same.
type Config struct {
	Seed      uint64
	Strategy  string
	Queues    map[string]string // hostlists
	Resources slurm.Resources
	Limits    Limits
	Faults    Faults
	Timeouts  Timeouts
	Trouble   time.Duration // for how long jobs come and things go wrong
	Settling  time.Duration // in which everything must come to its end then

	// Arrivals, in the mean; 0: never.
	Job, Cancel, Crash, Outage, Shortage, Stop time.Duration
	// Hang is when the programs of a node in service hang, and its system does not.
	Hang time.Duration
	// Away is when the head node is down or cut off, for hours.
	Away time.Duration
	// ClockSteps is by how much the head node's clock may be off when the daemon starts
	// again.
	ClockSteps time.Duration
	// Reports lets nodes report to the daemon.
	Reports bool
	// MemoryLost is the share of crashes after which the memory can't be read.
	MemoryLost float64
	// Load is called once, in place of jobs that arrive at random; may be nil.
	Load func(*Slurm)

	// Pauses between looks at Slurm, and at EC2 while instances come and go, and else.
	SlurmPause, EC2Pause, QuietPause time.Duration
	Trace                            io.Writer // of all that happens; may be nil
}

// A Result is what came of a run.
type Result struct {
	Hash       uint64 // of all that happened
	Virtual    time.Duration
	Steps      int
	Planning   time.Duration // real time in Plan
	Started    int           // starts of jobs
	Ended      int           // jobs that ran to their end
	Crashes    int
	Throttled  int
	Launched   int           // instances
	LastLaunch time.Duration // when the last launch was called
	Spent      time.Duration // by instances
	Wanted     time.Duration // by nodes
	Unowned    time.Duration // longest time of an instance without an owner
	Waited     []time.Duration
}

// Run lets a world live, and returns the first thing that was not as it must be.
func Run(cfg Config) (Result, error) {
	w, err := newWorld(cfg)
	if err != nil {
		return Result{}, err
	}
	w.populate()
	w.boot()
	trouble := start.Add(cfg.Trouble)
	for w.check.err == nil && w.clock.Step(trouble) {
	}
	w.clock.Advance(trouble)
	w.calm()
	limit := trouble.Add(cfg.Settling)
	for w.check.err == nil && !w.over() && w.clock.Step(limit) {
	}
	if w.check.err == nil {
		w.balance(limit)
	}
	r := w.result
	ledger := w.cloud.Ledger()
	r.Hash, r.Virtual, r.Planning = w.hash.Sum64(), w.clock.Now().Sub(start), w.planning
	r.Ended, r.Launched, r.Spent, r.Wanted = w.slurm.Ended, ledger.Launched, ledger.Spent, w.slurm.Wanted()
	return r, w.check.err
}

// every lets something happen at random moments, for as long as there is trouble.
func (w *world) every(mean time.Duration, f func()) {
	if mean <= 0 {
		return
	}
	w.clock.After(time.Duration(w.rng.ExpFloat64()*float64(mean)), func() {
		if !w.quiet {
			f()
			w.every(mean, f)
		}
	})
}

// populate plans what users do, and what goes wrong.
func (w *world) populate() {
	if w.cfg.Load != nil {
		w.cfg.Load(w.slurm)
	}
	w.every(w.cfg.Job, func() {
		if !w.slurm.down {
			w.submit()
		}
	})
	w.every(w.cfg.Cancel, func() {
		if len(w.slurm.jobs) > 0 && !w.slurm.down {
			j := w.slurm.jobs[w.rng.IntN(len(w.slurm.jobs))]
			w.log("job %s is cancelled", j.ID)
			w.slurm.Cancel(j)
		}
	})
	w.every(w.cfg.Crash, func() { w.crash(w.between(time.Second, 3*time.Minute)) })
	w.every(w.cfg.Outage, func() {
		length := w.between(time.Minute, 20*time.Minute)
		what, outages := "EC2", &w.ec2Refuses
		if w.rng.IntN(2) == 0 {
			what, outages = "slurmctld", &w.slurmRefuses
		}
		w.log("%s is out of reach for %v", what, length)
		w.refuse(outages)
		w.blinded()
		w.clock.After(length, func() { w.answerAgain(outages); w.sees() })
	})
	w.every(w.cfg.Away, w.leave)
	w.every(w.cfg.Hang, func() {
		var up []*Node
		for _, n := range w.slurm.nodes {
			if n.power == on && !n.down && n.instance != nil && n.instance.Alive() && !n.instance.deaf {
				up = append(up, n)
			}
		}
		if len(up) > 0 {
			n := up[w.rng.IntN(len(up))]
			w.log("%s hangs", n.Name)
			w.slurm.Deafen(n.instance)
		}
	})
	w.every(w.cfg.Shortage, func() {
		all := w.offers()
		o := all[w.rng.IntN(len(all))]
		n := w.rng.IntN(6)
		w.log("there are only %d more of %v", n, o)
		w.cloud.SetCapacity(o, n)
		w.clock.After(w.between(time.Minute, time.Hour), func() { w.cloud.Unlimited(o) })
	})
	w.every(w.cfg.Stop, func() {
		if stopped(w.status) {
			return
		}
		w.log("the user stops the fleet")
		w.status = fleet.StopRequested
		w.clock.After(w.between(time.Minute, 20*time.Minute), w.startFleet)
	})
}

func (w *world) offers() []Offer {
	var all []Offer
	for _, q := range w.slurm.queues {
		for _, name := range slices.Sorted(maps.Keys(w.cfg.Resources[q])) {
			all = append(all, offers(w.cfg.Resources[q][name])...)
		}
	}
	return all
}

// startFleet does what users do whose fleet has stopped, or is protected.
func (w *world) startFleet() {
	if w.status != fleet.Running && w.status != fleet.StartRequested && w.status != fleet.Starting {
		w.log("the user starts the fleet")
		w.status = fleet.StartRequested
	}
}

// submit hands in what users hand in: single jobs, small ones, arrays, large ones.
func (w *world) submit() {
	queue := w.slurm.queues[w.rng.IntN(len(w.slurm.queues))]
	most := len(w.slurm.byQueue[queue])
	run := w.between(10*time.Second, 20*time.Minute)
	nodes, slots, times := 1, slotsPerNode, 1
	switch w.rng.IntN(5) {
	case 0:
	case 1:
		slots = 1
	case 2: // an array
		slots, times = 1+w.rng.IntN(slotsPerNode), 2+w.rng.IntN(12)
	case 3:
		nodes = 2 + w.rng.IntN(max(most/2-1, 1))
	case 4:
		nodes, slots = 2+w.rng.IntN(3), 1+w.rng.IntN(slotsPerNode)
	}
	nodes = min(nodes, most)
	for range times {
		j := w.slurm.Submit(queue, nodes, slots, run)
		w.log("job %s comes: %d nodes of %s, %v", j.ID, nodes, queue, run)
	}
}

// settleTime is after how long without faults no launch may fail any more: what had
// no capacity is tried again, and what was lost while it started has timed out.
func (w *world) settleTime() time.Duration {
	return w.policy.CapacityTimeout + 2*w.cfg.Timeouts.Resume + w.cfg.Timeouts.Suspend + 5*time.Minute
}

// calm ends all trouble.
func (w *world) calm() {
	w.log("it is quiet")
	w.quiet = true
	w.comeBack()
	w.slurmRefuses, w.ec2Refuses = 0, 0
	w.setFaults()
	w.startFleet()
	for _, o := range w.offers() {
		w.cloud.Unlimited(o)
	}
	if !w.alive {
		w.boot()
	}
	w.check.settled = w.clock.Now().Add(w.settleTime())
	w.clock.At(w.check.settled, w.startFleet) // queues may have become protected just now
}

// over says whether nothing is left to happen: no job, no dynamic node.
func (w *world) over() bool {
	if w.slurm.Waiting() > 0 || w.clock.Now().Before(w.check.settled) {
		return false
	}
	for _, n := range w.slurm.nodes {
		if n.Static && n.power != on || !n.Static && n.power != off {
			return false
		}
	}
	return len(w.cloud.Live()) == w.statics()
}

func (w *world) statics() int {
	n := 0
	for _, node := range w.slurm.nodes {
		if node.Static {
			n++
		}
	}
	return n
}

// balance checks the end: every job has run, and nobody pays for what no node uses.
func (w *world) balance(limit time.Time) {
	if n := w.slurm.Waiting(); n > 0 {
		j := w.slurm.jobs[0]
		w.check.fail("%d jobs have not ended %v after the last fault; job %s is in state %d, started %d times anew, queues %v, fleet %s",
			n, limit.Sub(start)-w.cfg.Trouble, j.ID, j.state, j.Requeues, w.slurm.partitions, w.status)
		return
	}
	for _, n := range w.slurm.nodes {
		if n.Static && n.power != on || !n.Static && n.power != off {
			w.check.fail("%s ends as %s, reason %q", n.Name, n.state(), n.reason)
			return
		}
	}
	if live := w.cloud.Live(); len(live) != w.statics() {
		w.check.fail("%d instances live, of which nodes use %d", len(live), w.statics())
		return
	}
	// Instances may cost what nodes were wanted for, and a little each.
	ledger, wanted := w.cloud.Ledger(), w.slurm.Wanted()
	if most := wanted + wanted/20 + w.excused + time.Duration(ledger.Launched)*perInstance; ledger.Spent > most {
		w.check.fail("instances were paid for %v, nodes wanted for %v", ledger.Spent, wanted)
	}
}

// perInstance is what an instance may cost beyond what its node is wanted for.
const perInstance = 2 * time.Minute

// Random returns a world of a seed: small, and full of trouble.
func Random(seed uint64) Config {
	rng := rand.New(rand.NewPCG(seed, 3))
	pick := func(p float64, most float64) float64 {
		if rng.Float64() > p {
			return 0
		}
		return rng.Float64() * most
	}
	mean := func(p float64, d time.Duration) time.Duration {
		if rng.Float64() > p {
			return 0
		}
		return d/2 + time.Duration(rng.Int64N(int64(d)))
	}
	one := slurm.Resource{API: slurm.RunInstances, CapacityType: "on-demand", Instances: []slurm.ResourceType{{InstanceType: "c5.large"}}}
	two := slurm.Resource{API: slurm.RunInstances, CapacityType: "on-demand", Instances: []slurm.ResourceType{{InstanceType: "m5.large"}}}
	many := slurm.Resource{
		API: slurm.CreateFleet, CapacityType: "spot", AllocationStrategy: "lowest-price",
		Instances:  []slurm.ResourceType{{InstanceType: "c5.xlarge"}, {InstanceType: "c6.xlarge"}},
		Networking: &slurm.ResourceNetworks{SubnetIDs: []string{"subnet-1"}},
	}
	// A subnet with next to no nodes: neighbours don't tell whether one of them is cut off.
	alone := two
	alone.Networking = &slurm.ResourceNetworks{SubnetIDs: []string{"subnet-2"}}
	cfg := Config{
		Seed: seed, Strategy: []string{fleet.AllOrNothing, fleet.AllOrNothing, fleet.GreedyAllOrNothing, fleet.BestEffort}[rng.IntN(4)],
		Queues: map[string]string{
			"q": fmt.Sprintf("q-st-a-[1-%d],q-dy-a-[1-%d],q-dy-b-[1-%d]", 1+rng.IntN(3), 4+rng.IntN(20), 4+rng.IntN(20)),
			"r": fmt.Sprintf("r-dy-f-[1-%d]", 4+rng.IntN(30)),
			"s": "s-st-c-1,s-dy-c-1",
		},
		Resources: slurm.Resources{"q": {"a": one, "b": two}, "r": {"f": many}, "s": {"c": alone}},
		Limits:    DocumentedLimits(), Timeouts: DefaultTimeouts(),
		Trouble: 3 * time.Hour, Settling: 8 * time.Hour,
		Faults: Faults{
			InternalError: pick(0.5, 0.1), LostAnswer: pick(0.5, 0.2), NoBoot: pick(0.5, 0.1), Death: pick(0.5, 0.2), Lifetime: time.Hour,
			Hidden: time.Duration(pick(0.7, 1) * float64(30*time.Second)), Stale: time.Duration(pick(0.7, 1) * float64(10*time.Second)),
			Naming: pick(0.3, 0.05), Slurm: pick(0.3, 0.1),
		},
		MemoryLost: pick(0.3, 0.5), Reports: rng.IntN(4) > 0,
		Job: mean(1, 4*time.Minute), Cancel: mean(0.7, 10*time.Minute), Crash: mean(0.6, 20*time.Minute),
		Outage: mean(0.3, time.Hour), Shortage: mean(0.5, 30*time.Minute), Stop: mean(0.2, time.Hour),
		SlurmPause: 5 * time.Second, EC2Pause: 10 * time.Second, QuietPause: 5 * time.Minute,
		Away: mean(0.3, 3*time.Hour), ClockSteps: time.Duration(pick(0.3, 1) * float64(6*time.Hour)),
	}
	cfg.Hang = mean(0.3, time.Hour)
	if cfg.Away > 0 {
		cfg.Trouble, cfg.Settling = 8*time.Hour, 16*time.Hour
	}
	return cfg
}

// Scale returns a world in which a fleet of many nodes comes up at once, works for
// half an hour, and goes. A part of its instances, and of all calls, fails. An
// account that runs so many has asked AWS for larger buckets of instances.
func Scale(nodes int, faults float64) Config {
	const (
		perQueue = 5000
		perJob   = 100
	)
	cfg := Config{
		Seed: 1, Strategy: fleet.AllOrNothing, Queues: make(map[string]string), Resources: make(slurm.Resources),
		Limits: DocumentedLimits(), Timeouts: DefaultTimeouts(), Trouble: time.Hour, Settling: 8 * time.Hour,
		Faults: Faults{
			InternalError: faults, LostAnswer: faults, NoBoot: faults, Death: faults, Lifetime: time.Hour,
			Hidden: 10 * time.Second, Stale: 5 * time.Second, Naming: faults, Slurm: faults,
		},
		SlurmPause: 5 * time.Second, EC2Pause: 10 * time.Second, QuietPause: 5 * time.Minute,
	}
	cfg.Limits.Launches, cfg.Limits.Terminations = Bucket{10000, 100}, Bucket{10000, 100}
	for i := 0; i*perQueue < nodes; i++ {
		queue := fmt.Sprintf("q%d", i)
		cfg.Queues[queue] = fmt.Sprintf("%s-dy-a-[1-%d]", queue, min(perQueue, nodes-i*perQueue))
		cfg.Resources[queue] = map[string]slurm.Resource{"a": {
			API: slurm.RunInstances, CapacityType: "on-demand", Instances: []slurm.ResourceType{{InstanceType: "c5.large"}},
		}}
	}
	cfg.Load = func(s *Slurm) {
		for _, q := range s.queues {
			for left := len(s.byQueue[q]); left > 0; left -= perJob {
				s.Submit(q, min(perJob, left), slotsPerNode, 30*time.Minute)
			}
		}
	}
	return cfg
}
