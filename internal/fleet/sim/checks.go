package sim

import (
	"fmt"
	"slices"
	"time"

	"pcluster/internal/fleet"
	"pcluster/internal/slurm"
)

// checks are what must hold always, whatever goes wrong.
type checks struct {
	w           *world
	err         error
	terminating bool // by the fleet, not by a fault

	holders   map[string]*Instance     // by node: who was told last to be it
	unowned   map[string]time.Duration // by instance: for how long the fleet could have known
	lastLook  time.Time
	lastBlind time.Duration
	settled   time.Time // from when on, without faults, no launch may fail
}

func (c *checks) init(w *world) {
	c.w, c.unowned, c.holders = w, make(map[string]time.Duration), make(map[string]*Instance)
}

func (c *checks) fail(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	c.w.log("VIOLATION: %v", err)
	if c.err == nil {
		c.err = fmt.Errorf("after %v: %w", c.w.clock.Now().Sub(start), err)
	}
}

// named: no node has two instances that live and are not being ended.
func (c *checks) named(i *Instance, node string) {
	if i == nil {
		c.fail("%s is to be an instance that does not exist", node)
		return
	}
	if i.Name != "" && i.Name != node {
		c.fail("%s is both %s and %s", i.ID, i.Name, node)
	}
	if !i.Alive() {
		return
	}
	if other := c.holders[node]; other != nil && other != i && other.Alive() {
		_, ending := c.w.mem.Ending[other.ID]
		if !ending {
			c.fail("%s has two instances, %s and %s", node, other.ID, i.ID)
		}
	}
	c.holders[node] = i
}

// ended: no job loses its node to the fleet.
func (c *checks) ended(i *Instance) {
	if !c.terminating || stopped(c.w.status) {
		return
	}
	n := c.w.slurm.Node(i.Name)
	if n == nil || n.instance != i || n.down || n.power != on {
		return
	}
	for _, j := range n.jobs {
		if j.state == running {
			c.fail("%s is terminated while job %s runs on %s", i.ID, j.ID, n.Name)
		}
	}
}

func stopped(s fleet.Status) bool {
	return s == fleet.StopRequested || s == fleet.Stopping || s == fleet.Stopped
}

// started: a job runs on nodes that have instances.
func (c *checks) started(j *Job) {
	for _, n := range j.nodes {
		if n.instance == nil || n.instance.Addr != n.addr {
			c.fail("job %s starts on %s, which has no instance", j.ID, n.Name)
		}
	}
	c.w.result.Started++
	c.w.result.Waited = append(c.w.result.Waited, c.w.clock.Now().Sub(j.waiting))
}

// requeued: no job that runs loses its nodes while they have their instances, whether
// slurmctld reaches them or not, provided that the fleet can tell slurmctld to wait.
func (c *checks) requeued(j *Job) {
	if j.state != running || stopped(c.w.status) || c.w.slurm.cut != nil && c.w.couldNotSpeak() {
		return
	}
	for _, n := range j.nodes {
		if n.instance == nil || !n.instance.Alive() || n.instance.deaf {
			return
		}
	}
	c.fail("job %s, which runs on %s, goes back to the queue", j.ID, slurm.Compress(names(j.nodes)))
}

// decided: jobs that can't use a part of their nodes get all or none, and every
// instance is soon somebody's, or ended.
func (c *checks) decided(seen fleet.Observed, do fleet.Actions) {
	if c.w.cfg.Strategy != fleet.BestEffort {
		for _, a := range do.Assign {
			c.whole(a.Node)
		}
	}
	if seen.EC2 != nil {
		c.owned()
	}
	if c.w.quiet && c.w.clock.Now().After(c.settled) && len(do.Failed) > 0 {
		c.fail("%s can't be launched (%s %s) although there is capacity, and nothing fails any more", do.Failed[0].Node, do.Failed[0].Code, do.Failed[0].Message)
	}
}

func (c *checks) whole(node string) {
	n := c.w.slurm.Node(node)
	if n == nil || len(n.jobs) != 1 {
		return // shared: another job may be content with it
	}
	j := n.jobs[0]
	if j.given || j.state != configuring || len(j.resumed) < 2 || !slices.Contains(j.resumed, node) {
		return
	}
	for _, name := range j.resumed {
		other := c.w.slurm.Node(name)
		if _, ok := c.w.mem.Assigned[name]; !ok && other.power == goingUp && !other.down {
			c.fail("job %s gets %s but not %s", j.ID, node, name)
		}
	}
	j.given = true // what it loses from now on it had
}

// unownedBound is for how long an instance may belong to nobody. Without its memory
// the fleet gives nodes the time to be seen with their instances, and then looks again;
// one look is in vain if slurmctld can't be asked.
func (c *checks) unownedBound() time.Duration {
	if c.w.cfg.MemoryLost == 0 {
		return 6 * time.Minute
	}
	return c.w.policy.OrphanTimeout + 2*c.w.cfg.QuietPause
}

// owned adds up for how long instances have belonged to nobody, while the fleet could
// see them.
func (c *checks) owned() {
	now := c.w.clock.Now()
	since := now.Sub(c.lastLook) - (c.w.blindUntilNow() - c.lastBlind)
	c.lastLook, c.lastBlind = now, c.w.blindUntilNow()
	owned := make(map[string]bool, len(c.w.mem.Assigned))
	for _, a := range c.w.mem.Assigned {
		owned[a.Instance] = true
	}
	for _, o := range c.w.mem.Outcomes {
		for _, i := range o.Instances {
			owned[i.ID] = true
		}
	}
	for _, i := range c.w.cloud.shown {
		_, launching := c.w.mem.Launches[i.request]
		switch {
		case !i.Alive():
			delete(c.unowned, i.ID)
		case owned[i.ID] || launching:
			c.unowned[i.ID] = -1
		default:
			unowned, known := c.unowned[i.ID]
			switch {
			case !known: // nobody's from the beginning
				unowned = min(since, now.Sub(i.Launched))
			case unowned < 0: // it has just become nobody's
				unowned = 0
			default:
				unowned += since
			}
			c.unowned[i.ID] = unowned
			c.w.result.Unowned = max(c.w.result.Unowned, unowned)
			if unowned > c.unownedBound() {
				c.fail("%s has belonged to nobody for %v", i.ID, unowned)
			}
		}
	}
}
