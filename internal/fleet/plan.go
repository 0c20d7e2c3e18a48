package fleet

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"pcluster/internal/fleet/record"
	"pcluster/internal/slurm"
)

// Plan returns what to do about what was observed until now, and what to remember
// for the next call. The memory must be on disk before the actions are begun.
//
// Whatever is observed twice, or was overtaken by another action, changes nothing:
// views of Slurm and EC2 say when they were taken, and don't count for nodes that
// were touched since.
func Plan(seen Observed, mem Memory, policy Policy, now time.Time) (Actions, Memory) {
	p := &planner{policy: policy, mem: mem.clone(), now: now}
	p.indexLaunches()
	if seen.Restarted {
		p.mem.notAfter(now)
		p.repeat()
	}
	p.recall(seen.Recorded)
	p.takeOutcomes(seen.Outcomes)
	p.naming(seen.Named, seen.NamingFailed, seen.NamedInPart)
	p.setStatus(seen.Status)
	p.takeBlocks(seen.Blocks)
	p.ail(seen.Health)
	p.said(seen.Said)
	p.silentAnswered(seen.Answered)
	for _, node := range seen.Suspended {
		p.recordNode(record.Suspended, node, p.mem.Assigned[node].Instance, "")
		p.suspend(node)
	}
	p.resumeFailed(seen.ResumeFailed)
	for _, r := range seen.Resumed {
		p.recordAsked(record.Asked, r)
		p.resume(r)
	}
	for i := range seen.Up {
		p.registered(&seen.Up[i])
	}
	if seen.Slurm != nil {
		p.look(seen.Slurm, seen.EC2, seen.Nodes)
	}
	p.settle()
	// An assignment to be repeated may just have turned out to be over.
	p.do.Assign = slices.DeleteFunc(p.do.Assign, func(a Assignment) bool { return p.mem.Assigned[a.Node].Instance != a.Instance })
	return p.do, p.mem
}

// A planner is one call of Plan: the memory that becomes the next one, and the
// actions so far.
type planner struct {
	policy Policy
	mem    Memory
	now    time.Time
	do     Actions

	launching map[string]string    // node to the group that launches it
	free      map[string]*Instance // of the look at EC2: nobody's, by ID and by address; made when it is needed
	was       map[string]string    // instances that are recorded as nodes', together with free
}

func (p *planner) logf(format string, args ...any) {
	p.do.Log = append(p.do.Log, fmt.Sprintf(format, args...))
}

// indexLaunches finds the nodes of all groups that are not settled.
func (p *planner) indexLaunches() {
	p.launching = make(map[string]string)
	for _, open := range []map[string]Launch{p.mem.Launches, p.mem.Answered} {
		for _, l := range open {
			for _, node := range l.Nodes {
				p.launching[node] = l.Group
			}
		}
	}
}

// repeat asks again for everything whose end is not known. EC2 tells a repeated
// launch from a new one by its token; name records are simply written again.
func (p *planner) repeat() {
	for _, token := range sortedKeys(p.mem.Launches) {
		p.do.Launch = append(p.do.Launch, p.mem.Launches[token])
	}
	for _, node := range sortedKeys(p.mem.Assigned) {
		if a := p.mem.Assigned[node]; !a.Named {
			a.Attempts = 0 // until this one has ended nobody is to judge what came of them
			p.mem.Assigned[node] = a
			p.do.Assign = append(p.do.Assign, a)
		}
	}
	p.do.Terminate = append(p.do.Terminate, sortedKeys(p.mem.Ending)...)
}

// resume plans the launch of the nodes that slurmctld wants to start.
func (p *planner) resume(r Request) {
	if p.mem.Status.stopped() {
		p.fail(r.Nodes, "FleetStopped", "the compute fleet is stopped")
		return
	}
	wanted, refused := make(map[string]bool), make(map[string]bool)
	why := make(map[refusal][]string)
	for _, node := range r.Nodes {
		switch code, message, ok := p.wants(node); {
		case code != "":
			refused[node] = true
			why[refusal{code, message}] = append(why[refusal{code, message}], node)
		case ok:
			wanted[node] = true
		}
	}
	for _, w := range sortedWhy(why) {
		p.fail(why[w], w.Code, w.Message)
	}
	covered := make(map[string]bool) // nodes that an earlier group launches
	var strict, shared []GroupJob    // that get all their nodes at once or none, and those of one group that takes what it gets
	for _, j := range p.groupJobs(r, wanted) {
		switch {
		case j.Whole && slices.ContainsFunc(j.Nodes, func(n string) bool { return refused[n] }):
			// it can't have all its nodes
		case j.Whole && p.policy.Strategy == AllOrNothing:
			strict = append(strict, j)
		default:
			shared = append(shared, j)
		}
	}
	p.launchWhole(wanted, covered, strict)
	if len(shared) > 0 {
		p.launchGroup(wanted, covered, 1, shared...)
	}
	var left []string
	for _, n := range r.Nodes {
		if wanted[n] && !covered[n] {
			left = append(left, n)
		}
	}
	if len(left) > 0 {
		p.fail(left, LimitedCapacity, "")
	}
}

// wants says whether a node that Slurm asks for is to be launched: not if that is
// being done, or was done for an earlier copy of the same request. The code is set
// if it can't be launched.
func (p *planner) wants(node string) (code, message string, ok bool) {
	key, ok := p.key(node)
	if !ok {
		return invalidNodeName, "no queue and compute resource of the cluster have such a node", false
	}
	if group, ok := p.launching[node]; ok {
		g := p.mem.Groups[group]
		g.Off = slices.DeleteFunc(slices.Clone(g.Off), func(n string) bool { return n == node })
		p.mem.Groups[group] = g
		return "", "", false
	}
	if state, waits := p.waitsForBlock(key); waits {
		return blockNotActive, "the capacity block is " + state + ": its nodes start when it is active", false
	}
	if e, ok := p.mem.Exhausted[key]; ok && p.now.Before(e.Until) {
		// Slurm chose the node before it heard that it can't be had.
		return e.Code, e.Message, false
	}
	if a, ok := p.mem.Assigned[node]; ok {
		if !a.Ready {
			return "", "", false
		}
		// Slurm has powered the node down, and up again, without our knowing.
		p.end(node, a)
	}
	p.supersede(node)
	return "", "", true
}

// groupJobs returns the jobs of a request in the order in which they get nodes:
// those for one node first. Nodes that are for no job come last.
func (p *planner) groupJobs(r Request, wanted map[string]bool) []GroupJob {
	inJob := make(map[string]bool)
	var single, multi []GroupJob
	for _, j := range r.Jobs {
		if !slices.ContainsFunc(j.Nodes, func(n string) bool { return wanted[n] }) {
			continue
		}
		for _, n := range j.Nodes {
			inJob[n] = true
		}
		job := GroupJob{ID: j.ID, Nodes: j.Nodes}
		if len(j.Nodes) == 1 {
			single = append(single, job)
			continue
		}
		job.Whole = p.policy.Strategy != BestEffort
		multi = append(multi, job)
	}
	jobs := append(single, multi...)
	var rest []string
	for _, n := range r.Nodes {
		if wanted[n] && !inJob[n] {
			rest = append(rest, n)
		}
	}
	if len(rest) > 0 {
		jobs = append(jobs, GroupJob{Nodes: rest})
	}
	return jobs
}

// launchesEach is how many jobs at once get a request to EC2 each. EC2 takes two
// requests a second: hundreds of small jobs would wait for minutes.
const launchesEach = 4

// launchWhole begins the launch of jobs of several nodes that can't do with a part of
// them. A few get a request each, which brings all their instances or none. Of many,
// those of one compute resource share requests that bring what there is: whole jobs get
// their nodes from it, in order, and what is left over, which is less than one job
// needs, goes back at once. No job ever keeps a part.
func (p *planner) launchWhole(wanted, covered map[string]bool, jobs []GroupJob) {
	if len(jobs) <= launchesEach {
		for _, j := range jobs {
			p.launchGroup(wanted, covered, allNodes, j)
		}
		return
	}
	byKey := make(map[string][]GroupJob)
	var keys []string
	for _, j := range jobs {
		key, _ := p.key(j.Nodes[0])
		if slices.ContainsFunc(j.Nodes, func(n string) bool { other, _ := p.key(n); return other != key }) {
			p.launchGroup(wanted, covered, allNodes, j)
			continue
		}
		if _, known := byKey[key]; !known {
			keys = append(keys, key)
		}
		byKey[key] = append(byKey[key], j)
	}
	for _, key := range keys {
		for len(byKey[key]) > 0 {
			n, nodes, least := 0, 0, math.MaxInt
			for _, j := range byKey[key] {
				if n > 0 && nodes+len(j.Nodes) > p.policy.LaunchBatch {
					break
				}
				n, nodes, least = n+1, nodes+len(j.Nodes), min(least, len(j.Nodes))
			}
			p.launchGroup(wanted, covered, least, byKey[key][:n]...)
			byKey[key] = byKey[key][n:]
		}
	}
}

// allNodes is the least number of instances that is of use, if it is all of them.
const allNodes = math.MaxInt

// launchGroup begins the launch of those of the jobs' nodes that are wanted and not
// covered by an earlier group. Fewer instances than least, in each request, are of no
// use.
func (p *planner) launchGroup(wanted, covered map[string]bool, least int, jobs ...GroupJob) {
	p.mem.Sequence++
	group := fmt.Sprintf("%d-%d", p.mem.Epoch, p.mem.Sequence)
	byKey := make(map[string][]string)
	for _, j := range jobs {
		for _, node := range j.Nodes {
			if wanted[node] && !covered[node] {
				covered[node] = true
				key, _ := p.key(node)
				byKey[key] = append(byKey[key], node)
			}
		}
	}
	g := Group{Order: p.mem.Sequence, Jobs: jobs}
	batch := max(p.policy.LaunchBatch, 1)
	for _, key := range sortedKeys(byKey) {
		queue, resource, _ := strings.Cut(key, "/")
		for nodes := range slices.Chunk(byKey[key], batch) {
			l := Launch{
				Token: token(group, len(g.Parts), nodes), Group: group,
				Queue: queue, Resource: resource, Nodes: nodes, Min: min(least, len(nodes)), Without: p.without(queue, resource), Since: p.now,
			}
			g.Parts = append(g.Parts, l.Token)
			p.mem.Launches[l.Token] = l
			p.do.Launch = append(p.do.Launch, l)
			p.recordLaunch(l, jobs)
			for _, n := range nodes {
				p.launching[n] = group
				delete(p.mem.Unclaimed, n)
			}
		}
	}
	p.mem.Groups[group] = g
	if len(g.Parts) == 0 {
		p.logf("%s: all nodes are being launched already", describeJobs(jobs))
		return
	}
	p.logf("launch %s for %s", slurm.Compress(slices.Concat(slices.Collect(maps.Values(byKey))...)), describeJobs(jobs))
}

func describeJobs(jobs []GroupJob) string {
	var ids []string
	for _, j := range jobs {
		if j.ID != "" {
			ids = append(ids, j.ID)
		}
	}
	switch {
	case len(ids) == 0:
		return "no job"
	case len(ids) == 1:
		return "job " + ids[0]
	case len(ids) > 10:
		return fmt.Sprintf("%d jobs", len(ids))
	}
	return "jobs " + strings.Join(ids, ", ")
}

// token returns the client token of a launch: the same for the same launch, and
// for no other in the fleet's life.
func token(group string, part int, nodes []string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%d/%s", group, part, strings.Join(nodes, ",")))
	return "pcluster-" + hex.EncodeToString(sum[:16])
}

// suspend ends the instance of a node that Slurm has taken out of service.
func (p *planner) suspend(node string) {
	if group, ok := p.launching[node]; ok {
		g := p.mem.Groups[group]
		if !slices.Contains(g.Off, node) {
			g.Off = append(slices.Clone(g.Off), node)
			p.mem.Groups[group] = g
		}
	}
	if a, ok := p.mem.Assigned[node]; ok {
		p.end(node, a)
	}
	delete(p.mem.Unclaimed, node)
}

// resumeFailed gives up on nodes that were not up within Slurm's ResumeTimeout.
func (p *planner) resumeFailed(nodes []string) {
	var ours, jobs []string
	for _, node := range nodes {
		if _, ok := p.key(node); !ok {
			continue
		}
		a, launched := p.mem.Assigned[node]
		p.recordNode(record.ResumeTimeout, node, a.Instance, "")
		if launched {
			jobs = append(jobs, a.Jobs...)
			p.countTimeout(a, "it was not up in time")
		}
		p.suspend(node)
		ours = append(ours, node)
	}
	p.update(slurm.NodeUpdate{Nodes: ours, State: slurm.StatePowerDownForce})
	if len(jobs) > 0 {
		// Slurm has requeued them, for a time that is long.
		p.do.Restart = append(p.do.Restart, Restart{Jobs: slices.Compact(slices.Sorted(slices.Values(jobs))), After: restartElsewhere})
	}
}

// naming takes notice of which nodes can learn their names.
func (p *planner) naming(named, failed, inPart []Assignment) {
	p.recordNaming(record.Named, named)
	p.recordNaming(record.NamingFailed, failed)
	for _, n := range named {
		if a, ok := p.mem.Assigned[n.Node]; ok && a.Instance == n.Instance {
			a.Named = true
			p.mem.Assigned[n.Node] = a
		}
	}
	for _, n := range failed {
		if a, ok := p.mem.Assigned[n.Node]; ok && a.Instance == n.Instance {
			p.end(n.Node, a)
			p.fail([]string{n.Node}, assignmentFailed, "the node's name could not be recorded")
		}
	}
	for _, n := range inPart {
		a, ok := p.mem.Assigned[n.Node]
		if !ok || a.Instance != n.Instance {
			continue
		}
		a.Attempts++
		p.mem.Assigned[n.Node] = a
		if a.Attempts < namingAttempts {
			p.do.Assign = append(p.do.Assign, a)
		}
	}
}

// namingAttempts is after how many attempts without a certain end Slurm is asked what
// came of them. Until then the node may have come up, and run a job.
const namingAttempts = 3

// halfNamed decides about a node when all attempts to name it came to no certain end.
// It reports true if the node is given up.
func (p *planner) halfNamed(n *slurm.Node, a Assignment) bool {
	if a.Named || a.Attempts < namingAttempts {
		return false
	}
	if n.Addr == a.Addr || !n.State.PoweringUp() {
		a.Named = true
		p.mem.Assigned[n.Name] = a
		p.logf("slurmctld knows the address of %s; its name may not resolve", n.Name)
		return false
	}
	p.end(n.Name, a)
	p.fail([]string{n.Name}, assignmentFailed, "the node's address could not be told to slurmctld")
	return true
}

// end terminates the instance of a node and forgets the assignment.
func (p *planner) end(node string, a Assignment) {
	delete(p.mem.Assigned, node)
	p.terminate(a.Instance)
	p.recordNode(record.Terminated, node, a.Instance, "")
	p.logf("terminate %s of %s", a.Instance, node)
}

func (p *planner) terminate(ids ...string) {
	for _, id := range ids {
		p.mem.Ending[id] = p.now
		p.do.Terminate = append(p.do.Terminate, id)
	}
}

// After how long jobs start again: those that never began, and those whose other
// nodes have to end what they did.
const (
	restartElsewhere = time.Second
	restartLost      = 2 * time.Second
)

// fail sets nodes down whose launch failed. Slurm requeues their jobs.
func (p *planner) fail(nodes []string, code, message string) {
	p.update(slurm.NodeUpdate{Nodes: nodes, State: slurm.StateDown, Reason: failureReason(code, message)})
	for _, n := range nodes {
		p.do.Failed = append(p.do.Failed, NodeFailure{Node: n, Code: code, Message: message})
	}
	p.record(record.Entry{What: record.NodeFailed, Nodes: slurm.Compress(nodes), Code: code, Class: string(ClassOf(code)), Message: message})
	if _, bars := p.policy.bars(code); bars {
		// Slurm avoids these nodes from now on, and may have others for the jobs.
		p.do.Restart = append(p.do.Restart, Restart{Nodes: nodes, After: restartElsewhere})
	}
	p.logf("%s can't be launched: %s", slurm.Compress(nodes), failureReason(code, message))
}

// update has Slurm change nodes, and remembers that what was seen of them before is
// out of date.
func (p *planner) update(u slurm.NodeUpdate) {
	if len(u.Nodes) == 0 {
		return
	}
	for _, n := range u.Nodes {
		p.mem.Touched[n] = p.now
	}
	p.do.Nodes = append(p.do.Nodes, u)
}

// key returns queue/resource of a node, and false for nodes that are not ours.
func (p *planner) key(node string) (string, bool) {
	n, ok := slurm.ParseNodeName(node)
	if !ok {
		return "", false
	}
	_, ok = p.policy.Resources[n.Queue][n.Resource]
	return n.Queue + "/" + n.Resource, ok
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	return slices.Sorted(maps.Keys(m))
}
