package sim

import (
	"maps"
	"slices"
	"time"

	"pcluster/internal/fleet"
)

// The head node may be down, with slurmctld and the daemon on it, or cut off from its
// nodes and from AWS. Whatever the time brings to slurmctld then, it learns later.

// after plans what slurmctld does after a while: if it is down, when it is back.
func (s *Slurm) after(d time.Duration, f func()) { s.clock.After(d, func() { s.whenUp(f) }) }

func (s *Slurm) at(t time.Time, f func()) { s.clock.At(t, func() { s.whenUp(f) }) }

func (s *Slurm) whenUp(f func()) {
	if s.down {
		s.missed = append(s.missed, f)
		return
	}
	f()
}

// whenHeard is what nodes on some instances tell slurmctld, as soon as they all reach it.
func (s *Slurm) whenHeard(f func(), from ...*Instance) {
	s.whenUp(func() {
		if slices.ContainsFunc(from, s.severed) {
			s.unheard = append(s.unheard, func() { s.whenHeard(f, from...) })
			return
		}
		f()
	})
}

// Stop ends slurmctld, and Start starts it again with what it knew. Jobs that run do so
// meanwhile.
func (s *Slurm) Stop() { s.down = true }

// Start starts slurmctld again.
func (s *Slurm) Start() {
	s.down = false
	missed := s.missed
	s.missed = nil
	for _, f := range missed {
		f()
	}
	s.schedule()
}

// Cut cuts nodes off from slurmctld, which gives them up after a while, unless it is told
// to wait for longer.
func (s *Slurm) Cut(which func(*Instance) bool) {
	s.cut = which
	for _, n := range s.nodes {
		if n.power == on && s.severed(n.instance) {
			s.fallsSilent(n)
		}
	}
}

// Mend lets slurmctld hear its nodes again.
func (s *Slurm) Mend() {
	s.cut = nil
	for _, n := range s.nodes {
		if n.power == on && s.hears(n) {
			s.answers(n)
		}
	}
	unheard := s.unheard
	s.unheard = nil
	for _, f := range unheard {
		f()
	}
	s.schedule()
}

// Deafen has the programs on an instance hang: slurmctld hears nothing of it any more, and
// what runs there never ends.
func (s *Slurm) Deafen(i *Instance) {
	i.deaf = true
	s.Lost(i)
}

func (s *Slurm) severed(i *Instance) bool { return i != nil && (i.deaf || s.cut != nil && s.cut(i)) }

func (s *Slurm) hears(n *Node) bool {
	return n.instance != nil && n.instance.Alive() && !s.severed(n.instance)
}

// fallsSilent lets a node that does not answer be noticed, and be down later.
func (s *Slurm) fallsSilent(n *Node) {
	generation := n.generation
	n.waited = s.clock.Now()
	s.after(s.Timeouts.Silence/3, func() {
		if n.generation == generation && !s.hears(n) {
			n.silent = true
		}
	})
	s.after(s.Timeouts.Silence, func() { s.givesUp(n, generation) })
}

// givesUp sets a node down that has not answered for long enough.
func (s *Slurm) givesUp(n *Node, generation int) {
	if n.generation != generation || n.down || s.hears(n) {
		return
	}
	if left := s.Timeouts.Silence - s.clock.Now().Sub(n.waited); left > 0 {
		s.after(left, func() { s.givesUp(n, generation) })
		return
	}
	n.down, n.reason = true, "Not responding"
	s.requeue(n)
}

// answers lets a silent node be of use again.
func (s *Slurm) answers(n *Node) {
	n.silent = false
	s.idle(n)
	s.schedule()
}

// undrain has slurmctld use a node again, once it answers: it waits for that anew.
func (s *Slurm) undrain(n *Node) {
	n.drain = false
	if n.power != on || n.down {
		return
	}
	n.silent, n.waited = true, s.clock.Now()
	generation := n.generation
	s.after(time.Second, func() {
		if n.generation == generation && s.hears(n) {
			s.answers(n)
		}
	})
}

// reporting is for how long a job that is over waits on its node for slurmctld to hear of
// it.
const reporting = time.Hour

// leave takes the head node away, for hours: it is down, or cut off from all the world,
// from its nodes only, or from those of one subnet.
func (w *world) leave() {
	if w.away {
		return
	}
	length := w.between(10*time.Minute, 4*time.Hour)
	w.away, w.awaySince = true, w.clock.Now()
	every := func(*Instance) bool { return true }
	switch w.rng.IntN(4) {
	case 0:
		w.log("the head node is down for %v", length)
		w.slurm.Stop()
		w.die()
	case 1:
		w.log("the head node is cut off for %v", length)
		w.severed, w.cutOff = every, true
		w.refuse(&w.ec2Refuses)
		w.blinded()
	case 2:
		w.log("the head node is cut off from its nodes for %v", length)
		w.severed = every
	case 3:
		subnet := []string{"", "subnet-1", "subnet-2"}[w.rng.IntN(3)]
		w.log("the head node is cut off from subnet %q for %v", subnet, length)
		w.severed = func(i *Instance) bool { return i.Subnet == subnet }
	}
	if w.severed != nil {
		w.slurm.Cut(w.severed)
	}
	left := w.awaySince
	w.clock.After(length, func() {
		if w.awaySince.Equal(left) {
			w.comeBack()
		}
	})
	w.lonely()
}

// comeBack brings the head node back.
func (w *world) comeBack() {
	if !w.away {
		return
	}
	w.log("the head node is back")
	w.away = false
	if w.severed == nil {
		w.slurm.Start()
		w.boot()
		return
	}
	w.severed = nil
	w.slurm.Mend()
	if w.cutOff {
		w.cutOff = false
		w.answerAgain(&w.ec2Refuses)
		w.sees()
	}
}

// lonely lets those instances end that have neither a job nor a head node, for as long as
// the fleet has them wait.
func (w *world) lonely() {
	const every = 30 * time.Second
	if !w.away {
		return
	}
	now := w.clock.Now()
	for _, i := range w.cloud.Live() {
		if w.severed != nil {
			if !w.severed(i) {
				continue
			}
			w.excused += every // nobody can end it
		}
		if i.booted.IsZero() || i.booted.After(now) {
			continue
		}
		since := w.awaySince
		if i.booted.After(since) {
			since = i.booted
		}
		if busy := w.busy[i.ID]; busy.After(w.awaySince) {
			since = busy.Add(reporting)
		}
		if now.Sub(since) >= w.policy.Patience {
			w.log("%s ends by itself", i.ID)
			w.cloud.Kill(i)
		}
	}
	w.clock.After(every, w.lonely)
}

// couldNotSpeak says whether the daemon had no chance to keep slurmctld from giving up
// nodes: one of them was away, while the head node was cut off.
func (w *world) couldNotSpeak() bool {
	return !w.alive || w.slurmRefuses > 0 || w.clock.Now().Sub(w.mute) < w.slurm.Timeouts.Silence
}

// reports are what the daemon hears of nodes, over connections that end with them.
func (w *world) reports() *fleet.NodesView {
	now := w.clock.Now()
	for _, i := range w.cloud.shown {
		p, known := w.present[i.ID]
		switch up := i.Alive() && !i.deaf && !i.booted.IsZero() && !i.booted.After(now) && w.reaches(i); {
		case up:
			p = fleet.Presence{Report: fleet.Report{Cluster: w.policy.Cluster, Instance: i.ID, Booted: true}, Addr: i.Addr, Changed: i.booted.Add(w.skew)}
		case known && p.Left.IsZero():
			p.Left = w.now()
		default:
			continue
		}
		w.present[i.ID] = p
	}
	return &fleet.NodesView{Since: w.began, Nodes: maps.Clone(w.present)}
}

// reaches says whether the head node reaches an instance's system.
func (w *world) reaches(i *Instance) bool { return w.severed == nil || !w.severed(i) }

// knock finds out which silent nodes' systems answer.
func (w *world) knock(all []fleet.Assignment) {
	w.after(w.between(time.Millisecond, 4*time.Second), func() {
		all = slices.DeleteFunc(slices.Clone(all), func(a fleet.Assignment) bool {
			i := w.cloud.Instance(a.Instance)
			return !i.Alive() || !w.reaches(i)
		})
		if len(all) > 0 {
			w.log("%d silent systems answer", len(all))
			w.tell(func(o *fleet.Observed) { o.Answered = append(o.Answered, all...) })
		}
	})
}
