package fleet

import (
	"context"
	"time"
)

// hurry has the daemon look at Slurm and EC2 now.
func (d *Daemon) hurry() {
	select {
	case d.lookNow <- struct{}{}:
	default:
	}
}

// watch looks at Slurm often, and at EC2 as often as there is something to see.
func (d *Daemon) watch(ctx context.Context) {
	var lastEC2 time.Time
	pause := busyEC2Interval
	tick := time.NewTicker(slurmInterval)
	defer tick.Stop()
	for {
		withEC2 := d.Now().Sub(lastEC2) >= pause
		if !withEC2 {
			select {
			case <-ctx.Done():
				return
			case <-d.lookNow:
				withEC2 = true
			case <-tick.C:
				withEC2 = d.Now().Sub(lastEC2) >= pause
			}
		}
		var ec2 *EC2View
		if withEC2 {
			lastEC2 = d.Now()
			var err error
			if ec2, err = d.lookAtEC2(ctx); err != nil {
				if ctx.Err() != nil {
					return
				}
				pause = min(2*pause, maxEC2Interval)
				d.Log.Warn("EC2 can't be asked for the fleet's instances", "next attempt in", pause, "error", err)
			} else {
				pause = idleEC2Interval
				for _, i := range ec2.Instances {
					if i.Live() {
						pause = busyEC2Interval
					}
				}
			}
		}
		suspicious, ok := d.lookAtSlurm(ctx, ec2)
		if !ok {
			return
		}
		if suspicious && d.Now().Sub(lastEC2) > suspiciousPause {
			d.hurry()
		}
		if suspicious || d.busy() {
			pause = min(pause, busyEC2Interval)
		}
		if withEC2 {
			tick.Reset(slurmInterval)
		}
	}
}

// suspiciousPause is the least time between looks at EC2 that Slurm gives cause for.
const suspiciousPause = 3 * time.Second

func (d *Daemon) lookAtEC2(ctx context.Context) (*EC2View, error) {
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	view := &EC2View{At: d.Now()}
	var err error
	view.Instances, err = d.Cloud.Instances(call)
	if err != nil {
		return nil, err
	}
	return view, nil
}

// lookAtSlurm tells the loop what Slurm shows, together with an earlier look at EC2.
// It returns whether nodes in service don't answer, and false when the context ends.
func (d *Daemon) lookAtSlurm(ctx context.Context, ec2 *EC2View) (suspicious, ok bool) {
	done := make(chan bool, 1)
	d.inSlurm(ctx, func(ctx context.Context) {
		view, err := d.slurmView(ctx)
		if err != nil {
			if ctx.Err() == nil {
				d.Log.Warn("slurmctld can't be asked", "error", err)
			}
			done <- false
			return
		}
		d.tell(ctx, func(o *Observed) { o.Slurm, o.EC2 = view, newerEC2(o.EC2, ec2) })
		for _, n := range view.Nodes {
			if n.State.NotResponding() && !n.State.PoweringUp() && !n.State.PoweredDown() && !n.State.PoweringDown() {
				done <- true
				return
			}
		}
		done <- false
	})
	select {
	case suspicious = <-done:
		return suspicious, true
	case <-ctx.Done():
		return false, false
	}
}

func newerEC2(old, latest *EC2View) *EC2View {
	if latest == nil {
		return old
	}
	return latest
}

func (d *Daemon) slurmView(ctx context.Context) (*SlurmView, error) {
	view := &SlurmView{At: d.Now(), Partitions: make(map[string]string)}
	var err error
	if view.Nodes, err = d.Scheduler.Nodes(ctx, ""); err != nil {
		return nil, err
	}
	partitions, err := d.Scheduler.Partitions(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range partitions {
		view.Partitions[p.Name] = p.State
	}
	for _, n := range view.Nodes {
		if n.State.PoweringUp() {
			view.Jobs, err = d.Scheduler.ConfiguringJobs(ctx)
			return view, err
		}
	}
	return view, nil
}

// busy says whether something of the fleet is under way. It is a hint, read beside
// the loop that owns the memory.
func (d *Daemon) busy() bool { return d.underWay.Load() }

// watchStatus asks for requests of users to start or stop the fleet.
func (d *Daemon) watchStatus(ctx context.Context) {
	tick := time.NewTicker(statusInterval)
	defer tick.Stop()
	for failures := 0; ; {
		call, cancel := context.WithTimeout(ctx, callTimeout)
		status, err := d.Status.Get(call)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if failures++; failures == 1 || failures%100 == 0 {
				d.Log.Warn("status of the fleet", "error", err, "failures", failures)
			}
		default:
			failures = 0
			d.tell(ctx, func(o *Observed) { o.Status = status })
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-d.statusNow:
		}
	}
}
