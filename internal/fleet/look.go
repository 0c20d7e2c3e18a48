package fleet

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"pcluster/internal/fleet/record"
	"pcluster/internal/slurm"
)

// look compares what Slurm and EC2 have with what should be.
func (p *planner) look(view *SlurmView, ec2 *EC2View, nodes *NodesView) {
	maps.DeleteFunc(p.mem.Touched, func(_ string, at time.Time) bool { return at.Before(view.At) })
	p.registered(view)
	if p.policy.HandsOff {
		return
	}
	if ec2 != nil {
		p.instances(ec2)
	}
	p.hearNodes(nodes)
	switch {
	case p.mem.Status.stopped():
		p.stopFleet(view, ec2)
		return
	case p.mem.Status == Starting:
		p.startFleet(view)
	}
	p.closeBlocks(view)
	p.reserve(view)
	p.capacityReturns()
	p.forgetWarnings()
	p.silence(view, nodes)
	todo := newSorting()
	for i := range view.Nodes {
		n := &view.Nodes[i]
		if key, ours := p.key(n.Name); ours {
			p.node(n, key, view, ec2, &todo)
		}
	}
	p.missed(view, &todo)
	p.update(slurm.NodeUpdate{Nodes: todo.off, State: slurm.StatePowerDownForce})
	p.giveUp(&todo)
	p.update(slurm.NodeUpdate{Nodes: todo.on, State: slurm.StatePowerUp})
	if ec2 != nil {
		p.orphans(view, ec2)
	}
	p.protect(view)
}

// registered takes notice of the nodes whose start was a success.
func (p *planner) registered(view *SlurmView) {
	for i := range view.Nodes {
		n := &view.Nodes[i]
		if a, ok := p.mem.Assigned[n.Name]; ok && !a.Ready && n.State.Ready() && !p.isTouched(n.Name, view) {
			a.Ready = true
			p.mem.Assigned[n.Name] = a
			key, _ := p.key(n.Name)
			delete(p.mem.Failures, key)
			p.recordNode(record.Registered, n.Name, a.Instance, "")
		}
	}
}

// sorting collects nodes by what is to be done to them.
type sorting struct {
	off       []string            // to be powered down, as they are
	byState   map[string][]string // to be set down, by reason
	lost      []string            // to be powered down after they were set down
	on        []string            // to be powered up
	unclaimed []string            // that power up although nobody asked us
	unsure    map[string]bool     // those of them that may have an instance
}

func newSorting() sorting {
	return sorting{byState: make(map[string][]string), unsure: make(map[string]bool)}
}

// isTouched says whether a view may show a node as it was before a change of ours.
func (p *planner) isTouched(node string, view *SlurmView) bool {
	if _, ok := p.mem.Touched[node]; ok {
		return true
	}
	if _, ok := p.launching[node]; ok {
		return true
	}
	a, ok := p.mem.Assigned[node]
	return ok && !a.Since.Before(view.At)
}

// node decides about one node.
func (p *planner) node(n *slurm.Node, key string, view *SlurmView, ec2 *EC2View, todo *sorting) {
	if p.isTouched(n.Name, view) {
		return
	}
	p.adopt(n, ec2)
	if n.State.Has("MAINTENANCE", "MAINT") {
		return
	}
	if p.heed(n, todo) {
		return
	}
	a, assigned := p.mem.Assigned[n.Name]
	if assigned && p.halfNamed(n, a) {
		return
	}
	if _, waits := p.waitsForBlock(key); waits && !assigned {
		return
	}
	state := n.State
	switch {
	case p.inactive(n, view):
		if assigned {
			p.end(n.Name, a)
		}
		if !state.PoweredDown() && !state.PoweringDown() {
			todo.off = append(todo.off, n.Name)
		}

	case state.Down():
		p.down(n, key, todo)

	case state.PoweredDown() && state.Has("DRAIN"):
		// Powering down ends a drain, so a user has drained it since. It stays off.
		if assigned {
			p.end(n.Name, a)
		}

	case state.PoweringDown(), state.PoweredDown():
		// Normally slurmctld told us, and nothing is left to be done.
		if assigned && !state.Has("POWER_DOWN") {
			p.end(n.Name, a)
		}
		if !state.PoweredDown() {
			if !assigned && state.Has("COMPLETING") && state.NotResponding() {
				// Slurm would wait for minutes for it to end its job.
				p.lose(n.Name, "it is to be powered down and has no instance any more", todo)
			}
			break
		}
		if e, ok := p.mem.Exhausted[key]; ok {
			reason := failureReason(e.Code, e.Message)
			todo.byState[reason] = append(todo.byState[reason], n.Name)
		} else if p.wantsStatic(n.Name, key) {
			todo.on = append(todo.on, n.Name)
		}

	case state.PoweringUp():
		if !assigned || wasOff(n, a) {
			todo.unclaimed = append(todo.unclaimed, n.Name)
			// With an address of its own it may be booting: EC2 is asked first.
			todo.unsure[n.Name] = ec2 == nil && n.Addr != n.Name
			break
		}
		p.late(n, a, todo)

	case state.Rebooting():

	case state.Drained() && !p.policy.KeepDrained:
		if assigned && !a.Ready {
			p.countFailure(a, "it is drained: "+n.Reason)
		}
		p.recordNode(record.Replaced, n.Name, a.Instance, "it is drained: "+n.Reason)
		p.logf("replace %s, which is drained: %s", n.Name, n.Reason)
		todo.off = append(todo.off, n.Name)

	default:
		p.up(n, ec2, todo)
	}
}

// wasOff says whether a node that powers up was off since its instance got its name:
// slurmctld then knows no address of it any more. Neither the end of that instance nor the
// launch of another was asked of this daemon. What slurmctld said may be older than the name,
// so a second look has to say the same.
func wasOff(n *slurm.Node, a Assignment) bool {
	return a.Named && n.Addr == n.Name && a.Addr != n.Name
}

// late gives up a static node that takes longer to start than its user has patience.
func (p *planner) late(n *slurm.Node, a Assignment, todo *sorting) {
	name, _ := slurm.ParseNodeName(n.Name)
	if limit := p.policy.StaticTimeout; name.Static && limit > 0 && p.now.Sub(a.Since) >= limit {
		why := fmt.Sprintf("it was not up %v after its launch", limit)
		p.countTimeout(a, why)
		p.fruitless(n.Name, a, why, todo)
	}
}

// inactive says whether a node has partitions of ours, and all of them are inactive.
func (p *planner) inactive(n *slurm.Node, view *SlurmView) bool {
	found := false
	for _, name := range n.Partitions {
		if _, ours := p.policy.Queues[name]; !ours {
			continue
		}
		if view.Partitions[name] != "INACTIVE" {
			return false
		}
		found = true
	}
	return found
}

// down decides about a node that is out of service. Powering it down brings it back,
// or brings another in its place.
func (p *planner) down(n *slurm.Node, key string, todo *sorting) {
	a, assigned := p.mem.Assigned[n.Name]
	if _, bars := p.policy.bars(reasonCode(n.Reason)); bars {
		if _, still := p.mem.Exhausted[key]; !still {
			todo.off = append(todo.off, n.Name)
		}
		return
	}
	if p.policy.KeepDown || n.State.Rebooting() {
		return
	}
	if assigned && !a.Ready {
		p.countFailure(a, "it is down: "+n.Reason)
	}
	if assigned {
		p.end(n.Name, a)
	}
	p.recordNode(record.Replaced, n.Name, a.Instance, "it is down: "+n.Reason)
	p.logf("replace %s, which is down: %s", n.Name, n.Reason)
	todo.off = append(todo.off, n.Name)
}

// up checks that a node in service has an instance.
func (p *planner) up(n *slurm.Node, ec2 *EC2View, todo *sorting) {
	if _, ok := p.mem.Assigned[n.Name]; ok || ec2 == nil {
		return
	}
	p.lose(n.Name, "no instance of the fleet has its address", todo)
}

// adopt finds the instance of a node that is not remembered to have one, although it
// is not off: the memory was lost.
func (p *planner) adopt(n *slurm.Node, ec2 *EC2View) {
	if _, ok := p.mem.Assigned[n.Name]; ok || ec2 == nil || n.State.PoweredDown() || n.State.PoweringDown() && !n.State.Has("POWER_DOWN") {
		return
	}
	i := p.findFree(ec2, n)
	if i == nil {
		return
	}
	since := i.Launched
	if !since.Before(ec2.At) { // by EC2's clock: ours is slow
		since = ec2.At.Add(-time.Second)
	}
	p.mem.Assigned[n.Name] = Assignment{
		Node: n.Name, Instance: i.ID, Addr: i.Addr, Hostname: i.Hostname, Subnet: i.Subnet,
		Since: since, Named: true, Seen: true, Ready: !n.State.PoweringUp(),
	}
	p.logf("%s is %s, which was not remembered", n.Name, i.ID)
	p.recordNode(record.Assigned, n.Name, i.ID, "it runs, and was not remembered")
}

// findFree returns the live instance that a node must be, by its ID or else its
// address, if it is and was no other node's.
func (p *planner) findFree(ec2 *EC2View, n *slurm.Node) *Instance {
	if p.free == nil {
		p.free, p.was = make(map[string]*Instance), make(map[string]string)
		owner := p.owners()
		for node, id := range p.mem.Recorded {
			p.was[id] = node
		}
		for k := range ec2.Instances {
			i := &ec2.Instances[k]
			if _, ending := p.mem.Ending[i.ID]; i.Live() && !ending && owner[i.ID] == "" {
				p.free[i.ID], p.free[i.Addr] = i, i
			}
		}
	}
	i := p.free[n.InstanceID]
	if n.InstanceID == "" {
		i = p.free[n.Addr]
	}
	if i == nil || i.Addr == "" || p.was[i.ID] != "" && p.was[i.ID] != n.Name {
		return nil
	}
	delete(p.free, i.ID)
	delete(p.free, i.Addr)
	return i
}

// lose replaces a node whose instance is gone. Slurm requeues its jobs.
func (p *planner) lose(node, why string, todo *sorting) {
	reason := "pcluster: " + why
	todo.byState[reason] = append(todo.byState[reason], node)
	todo.lost = append(todo.lost, node)
	p.recordNode(record.Lost, node, "", why)
	p.logf("%s is lost: %s", node, why)
}

// wantsStatic says whether a node without an instance should have one for ever.
func (p *planner) wantsStatic(node, key string) bool {
	n, ok := slurm.ParseNodeName(node)
	return ok && n.Static && !p.now.Before(p.mem.Paused[key].Until)
}

// missed launches the nodes that power up although the request for them never came:
// the daemon was not running when slurmctld made it.
func (p *planner) missed(view *SlurmView, todo *sorting) {
	unclaimed := make(map[string]time.Time)
	asked := make(map[string]bool)
	for _, node := range todo.unclaimed {
		since, known := p.mem.Unclaimed[node]
		if !known {
			since = view.At
		}
		unclaimed[node] = since
		if view.At.Sub(since) >= p.policy.MissedRequestTimeout && !todo.unsure[node] {
			asked[node] = true
		}
	}
	p.mem.Unclaimed = unclaimed
	keepJobsWhole(asked, unclaimed, view.Jobs)
	if len(asked) == 0 {
		return
	}
	ask := sortedKeys(asked)
	for _, node := range ask {
		if a, ok := p.mem.Assigned[node]; ok {
			p.end(node, a)
		}
	}
	p.logf("%s: slurmctld's request for them was missed", slurm.Compress(ask))
	var jobs []slurm.Job
	for _, j := range view.Jobs {
		job := slurm.Job{ID: j.ID}
		for _, n := range j.Nodes {
			if asked[n] {
				job.Nodes = append(job.Nodes, n)
			}
		}
		if len(job.Nodes) > 0 {
			jobs = append(jobs, job)
		}
	}
	p.recordAsked(record.AskMissed, Request{Nodes: ask, Jobs: jobs})
	p.resume(Request{Nodes: ask, Jobs: jobs})
}

// keepJobsWhole takes out of what is to be asked for the nodes of jobs of which other
// nodes are unclaimed and have to wait: asked for alone, they would be a part of what the
// job needs.
func keepJobsWhole(asked map[string]bool, unclaimed map[string]time.Time, jobs []slurm.Job) {
	waits := func(n string) bool {
		_, ok := unclaimed[n]
		return ok && !asked[n]
	}
	for changed := true; changed; { // a node may be of several jobs
		changed = false
		for _, j := range jobs {
			if !slices.ContainsFunc(j.Nodes, waits) {
				continue
			}
			for _, n := range j.Nodes {
				changed = changed || asked[n]
				delete(asked, n)
			}
		}
	}
}

// capacityReturns forgets compute resources that were left alone for long enough.
// Their nodes are then powered down, which makes Slurm try them again.
func (p *planner) capacityReturns() {
	for _, key := range sortedKeys(p.mem.Exhausted) {
		if !p.now.Before(p.mem.Exhausted[key].Until) {
			p.tryAgain(key, "capacity for it may be back")
		}
	}
	maps.DeleteFunc(p.mem.Short, func(_ string, e Exhausted) bool { return !p.now.Before(e.Until) })
}

// quotaReturns forgets quotas that were used up: an instance has ended.
func (p *planner) quotaReturns() {
	for _, key := range sortedKeys(p.mem.Exhausted) {
		if ClassOf(p.mem.Exhausted[key].Code) == Quota {
			p.tryAgain(key, "an instance has ended, which leaves room in the quota")
		}
	}
}

func (p *planner) tryAgain(key, why string) {
	delete(p.mem.Exhausted, key)
	queue, resource, _ := strings.Cut(key, "/")
	p.record(record.Entry{What: record.CapacityBack, Queue: queue, Resource: resource, Why: why})
	p.logf("%s is tried again: %s", key, why)
}

// instances takes notice of which instances live.
func (p *planner) instances(view *EC2View) {
	seen := make(map[string]*Instance, len(view.Instances))
	for i := range view.Instances {
		seen[view.Instances[i].ID] = &view.Instances[i]
	}
	for _, id := range sortedKeys(p.mem.Ending) {
		i := seen[id]
		switch since := p.mem.Ending[id]; {
		case !since.Before(view.At):
		case i == nil || !i.Live():
			// EC2 may not show an instance that it has just launched.
			if i != nil || p.now.Sub(since) > p.policy.MissingTimeout {
				delete(p.mem.Ending, id)
				p.recordInstance(record.Gone, id, "")
				p.quotaReturns()
			}
		case p.now.Sub(since) > repeatTermination:
			p.terminate(id)
		}
	}
	todo := newSorting()
	for _, node := range sortedKeys(p.mem.Assigned) {
		a := p.mem.Assigned[node]
		if !a.Since.Before(view.At) {
			continue
		}
		i := seen[a.Instance]
		switch {
		case i != nil && (i.State == "pending" || i.State == "running"):
			if !a.Seen || a.Subnet != i.Subnet {
				a.Seen, a.Subnet = true, i.Subnet
				p.mem.Assigned[node] = a
			}
			continue
		case i == nil && !a.Seen && view.At.Sub(a.Since) < p.policy.MissingTimeout:
			continue
		}
		delete(p.mem.Assigned, node)
		state := "does not exist any more"
		if i != nil {
			state = "is " + i.State
		}
		if i != nil && i.Live() {
			p.terminate(i.ID) // stopped instances cost money, too
		}
		if !a.Ready {
			p.countFailure(a, "its instance "+a.Instance+" "+state)
		}
		p.lose(node, "instance "+a.Instance+" "+state, &todo)
	}
	p.giveUp(&todo)
}

// giveUp sets nodes down, and replaces those that are lost.
func (p *planner) giveUp(todo *sorting) {
	for _, reason := range sortedKeys(todo.byState) {
		p.update(slurm.NodeUpdate{Nodes: todo.byState[reason], State: slurm.StateDown, Reason: reason})
	}
	p.replaceLost(todo.lost)
}

// replaceLost powers down nodes that were set down, and has their jobs start again.
func (p *planner) replaceLost(nodes []string) {
	if len(nodes) == 0 {
		return
	}
	p.update(slurm.NodeUpdate{Nodes: nodes, State: slurm.StatePowerDownForce})
	p.do.Restart = append(p.do.Restart, Restart{Nodes: nodes, After: restartLost})
}

// repeatTermination is after how long an instance that still runs is told again.
const repeatTermination = 30 * time.Second

// orphanGrace is for how long an instance that is nobody's may be one of which EC2
// tells before it has answered the request for it.
const orphanGrace = 5 * time.Second

// orphans terminates instances that have our tags and belong to no node. A memory that
// has seen EC2 before they appeared would know whose they are. A new memory gives nodes
// the time to be seen with their instances, but those that are known to have none. Only
// our own clock counts.
func (p *planner) orphans(slurm *SlurmView, view *EC2View) {
	owned, superseded := p.owners(), p.superseded(slurm)
	for _, o := range p.mem.Outcomes {
		for _, i := range o.Instances {
			owned[i.ID] = o.Token
		}
	}
	strays := make(map[string]Stray)
	for _, i := range view.Instances {
		_, ending := p.mem.Ending[i.ID]
		if !i.Live() || owned[i.ID] != "" || ending || p.mayBeLaunching(&i) {
			continue
		}
		s, known := p.mem.Strays[i.ID]
		if !known {
			s = Stray{Since: view.At, Old: !p.mem.Looked}
		}
		patience := orphanGrace
		if s.Old && !superseded[i.ID] {
			patience = p.policy.OrphanTimeout
		}
		if view.At.Sub(s.Since) < patience {
			strays[i.ID] = s
			continue
		}
		p.terminate(i.ID)
		p.recordInstance(record.Terminated, i.ID, "it belongs to no node")
		p.logf("terminate %s, which belongs to no node", i.ID)
	}
	p.mem.Strays, p.mem.Looked = strays, true
	p.forgetRecorded(view)
}

// mayBeLaunching says whether an instance can be the fruit of a launch that has not
// been answered yet. Those of fleets don't carry the token of their request.
func (p *planner) mayBeLaunching(i *Instance) bool {
	for _, l := range p.mem.Launches {
		fleet := i.Token == "" || p.policy.Resources[l.Queue][l.Resource].API == slurm.CreateFleet
		if i.Token == l.Token || fleet && i.Queue == l.Queue && i.Resource == l.Resource {
			return true
		}
	}
	return false
}

func queueOf(key string) string {
	queue, _, _ := strings.Cut(key, "/")
	return queue
}
