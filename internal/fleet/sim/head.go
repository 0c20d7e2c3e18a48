package sim

import (
	"time"
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

// whenHeard is what nodes tell slurmctld, as soon as they reach it.
func (s *Slurm) whenHeard(f func()) {
	s.whenUp(func() {
		if s.cut {
			s.unheard = append(s.unheard, f)
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

// Cut cuts all nodes off from slurmctld, which gives them up after a while.
func (s *Slurm) Cut() {
	s.cut = true
	for _, n := range s.nodes {
		if n.power == on {
			s.fallsSilent(n)
		}
	}
}

// Mend lets slurmctld hear its nodes again.
func (s *Slurm) Mend() {
	s.cut = false
	for _, n := range s.nodes {
		if n.power == on && s.hears(n) {
			n.silent = false
		}
	}
	unheard := s.unheard
	s.unheard = nil
	for _, f := range unheard {
		f()
	}
	s.schedule()
}

func (s *Slurm) hears(n *Node) bool { return !s.cut && n.instance != nil && n.instance.Alive() }

// fallsSilent lets a node that does not answer be noticed, and be down later.
func (s *Slurm) fallsSilent(n *Node) {
	generation := n.generation
	s.after(s.Timeouts.Silence/3, func() {
		if n.generation == generation && !s.hears(n) {
			n.silent = true
		}
	})
	s.after(s.Timeouts.Silence, func() {
		if n.generation == generation && !s.hears(n) && !n.down {
			n.down, n.reason = true, "Not responding"
			s.requeue(n)
		}
	})
}

// reporting is for how long a job that is over waits on its node for slurmctld to hear of
// it.
const reporting = time.Hour

// leave takes the head node away, for hours: it is down, or cut off.
func (w *world) leave() {
	if w.away {
		return
	}
	length := w.between(10*time.Minute, 4*time.Hour)
	w.away, w.awaySince = true, w.clock.Now()
	if w.rng.IntN(2) == 0 {
		w.log("the head node is down for %v", length)
		w.slurm.Stop()
		w.die()
	} else {
		w.log("the head node is cut off for %v", length)
		w.cutOff = true
		w.slurm.Cut()
		w.refuse(&w.ec2Refuses)
		w.blinded()
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
	if w.cutOff {
		w.cutOff = false
		w.slurm.Mend()
		w.answerAgain(&w.ec2Refuses)
		w.sees()
		return
	}
	w.slurm.Start()
	w.boot()
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
		if w.cutOff {
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
