package fleet

import (
	"pcluster/internal/fleet/record"
	"pcluster/internal/slurm"
)

// A Status is the state of the whole fleet, as users see and request it.
type Status string

// The states of a fleet.
const (
	Running        Status = "RUNNING"
	Stopped        Status = "STOPPED"
	StopRequested  Status = "STOP_REQUESTED"
	Stopping       Status = "STOPPING"
	StartRequested Status = "START_REQUESTED"
	Starting       Status = "STARTING"
	Protected      Status = "PROTECTED" // some queues are inactive, as their nodes failed to start too often
)

func (s Status) stopped() bool { return s == StopRequested || s == Stopping || s == Stopped }

// A StatusChange is a change of the fleet's status, to be made only if nobody else
// changed it before.
type StatusChange struct{ From, To Status }

// setStatus takes notice of the fleet's status, and of requests to change it.
func (p *planner) setStatus(s Status) {
	if s == "" {
		return
	}
	p.mem.Status = s
	switch s {
	case StopRequested:
		p.changeStatus(Stopping)
		p.logf("the fleet is to stop")
	case StartRequested:
		p.changeStatus(Starting)
		p.logf("the fleet is to start")
	}
}

func (p *planner) changeStatus(to Status) {
	p.do.Status = &StatusChange{From: p.mem.Status, To: to}
	p.record(record.Entry{What: record.FleetStatus, Why: string(to)})
	p.mem.Status = to
}

// stopFleet takes all nodes and partitions out of service. The fleet has stopped
// when nothing is left of it.
func (p *planner) stopFleet(view *SlurmView, ec2 *EC2View) {
	var busy, off []string
	for _, n := range view.Nodes {
		if _, ours := p.key(n.Name); !ours || n.State.PoweredDown() || n.State.PoweringDown() || p.isTouched(n.Name, view) {
			continue
		}
		off = append(off, n.Name)
		if n.State.HasJob() {
			busy = append(busy, n.Name)
		}
	}
	// Otherwise Slurm waits for minutes for nodes that are gone to end their jobs.
	p.update(slurm.NodeUpdate{Nodes: busy, State: slurm.StateDown, Reason: "pcluster: the compute fleet stops"})
	p.update(slurm.NodeUpdate{Nodes: off, State: slurm.StatePowerDownForce})
	done := len(off) == 0 && len(p.mem.Launches) == 0 && len(p.mem.Groups) == 0 && ec2 != nil
	for _, name := range sortedKeys(p.policy.Queues) {
		if state, ok := view.Partitions[name]; ok && state != "INACTIVE" {
			p.do.Partitions = append(p.do.Partitions, PartitionUpdate{name, "INACTIVE"})
			done = false
		}
	}
	for _, node := range sortedKeys(p.mem.Assigned) {
		p.end(node, p.mem.Assigned[node])
		done = false
	}
	if ec2 != nil {
		for _, i := range ec2.Instances {
			if _, ending := p.mem.Ending[i.ID]; i.Live() && !ending {
				p.terminate(i.ID)
				p.recordInstance(record.Terminated, i.ID, "the fleet stops")
				p.logf("terminate %s: the fleet stops", i.ID)
			}
			done = done && !i.Live()
		}
	}
	if done && p.mem.Status == Stopping {
		p.changeStatus(Stopped)
		p.logf("the fleet has stopped")
	}
}

// startFleet puts all partitions back into service and forgets why they were not.
func (p *planner) startFleet(view *SlurmView) {
	done := true
	for _, name := range sortedKeys(p.policy.Queues) {
		if state, ok := view.Partitions[name]; ok && state != "UP" {
			p.do.Partitions = append(p.do.Partitions, PartitionUpdate{name, "UP"})
			done = false
		}
	}
	clear(p.mem.Failures)
	clear(p.mem.Exhausted)
	clear(p.mem.Paused)
	if done {
		p.changeStatus(Running)
		p.logf("the fleet runs")
	}
}

// countFailure remembers that a node failed to start.
func (p *planner) countFailure(a Assignment, why string) { p.startFailed(a, "", why) }

// countTimeout is countFailure of a node that took too long.
func (p *planner) countTimeout(a Assignment, why string) { p.startFailed(a, tookTooLong, why) }

// tookTooLong is the record's code for nodes that were given up.
const tookTooLong = "Timeout"

func (p *planner) startFailed(a Assignment, code, why string) {
	if key, ok := p.key(a.Node); ok {
		if !p.cutOff() { // then it is no fault of the queue's
			p.mem.Failures[key]++
		}
		p.do.Inspect = append(p.do.Inspect, a)
		p.record(record.Entry{
			What: record.StartFailed, Nodes: a.Node, Instances: map[string]string{a.Instance: a.Node}, Code: code, Why: why,
		})
		p.logf("%s failed to start: %s", a.Node, why)
	}
}

// protect makes queues inactive whose nodes have failed too often, so that they
// don't cost money for ever. A queue that runs jobs is left alone.
func (p *planner) protect(view *SlurmView) {
	if p.policy.ProtectedFailures <= 0 {
		return
	}
	failures := make(map[string]int)
	for key, n := range p.mem.Failures {
		failures[queueOf(key)] += n
	}
	for _, queue := range sortedKeys(failures) {
		if failures[queue] < p.policy.ProtectedFailures || view.Partitions[queue] != "UP" || p.runsJobs(queue, view) {
			continue
		}
		p.do.Partitions = append(p.do.Partitions, PartitionUpdate{queue, "INACTIVE"})
		p.record(record.Entry{What: record.QueueDisabled, Queue: queue, Count: failures[queue]})
		p.logf("queue %s becomes inactive: %d nodes failed to start", queue, failures[queue])
		if p.mem.Status == Running || p.mem.Status == "" {
			p.mem.Status = Running
			p.changeStatus(Protected)
		}
	}
}

func (p *planner) runsJobs(queue string, view *SlurmView) bool {
	for _, n := range view.Nodes {
		name, ok := slurm.ParseNodeName(n.Name)
		if ok && name.Queue == queue && n.State.HasJob() && n.State.Ready() {
			return true
		}
	}
	return false
}
