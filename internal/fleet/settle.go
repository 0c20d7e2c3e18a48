package fleet

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"pcluster/internal/fleet/record"
	"pcluster/internal/slurm"
)

// takeOutcomes keeps EC2's answers until all of a group are there.
func (p *planner) takeOutcomes(outcomes []Outcome) {
	for _, o := range outcomes {
		l, ok := p.mem.Launches[o.Token]
		if !ok {
			continue // answered twice
		}
		delete(p.mem.Launches, o.Token)
		p.mem.Answered[o.Token] = l
		p.mem.Outcomes[o.Token] = o
		p.recordOutcome(l, o)
		p.short(l, o)
	}
}

// short remembers what EC2 has none of, so that it is not asked for in vain.
func (p *planner) short(l Launch, o Outcome) {
	key := l.Queue + "/" + l.Resource
	for _, s := range o.Short {
		if pause, bars := p.policy.bars(s.Code); bars {
			p.mem.Short[poolKey(key, s.Pool)] = Exhausted{Code: s.Code, Since: p.now, Until: p.now.Add(pause)}
		}
	}
	pause, bars := p.policy.bars(o.Code)
	if !bars {
		return
	}
	if _, known := p.mem.Exhausted[key]; known {
		return
	}
	until := p.now.Add(pause)
	p.mem.Exhausted[key] = Exhausted{Code: o.Code, Message: o.Message, Since: p.now, Until: until}
	p.record(record.Entry{What: record.Exhausted, Queue: l.Queue, Resource: l.Resource, Code: o.Code, Message: o.Message, Until: until})
	p.logf("%s is left alone until %s: %s", key, until.UTC().Format(time.TimeOnly), failureReason(o.Code, o.Message))
}

func poolKey(key string, at Pool) string { return key + "/" + at.Type + "/" + at.Subnet }

// pools are the places that a compute resource's instances come from.
func pools(r *slurm.Resource) []Pool {
	subnets := r.Subnets()
	if len(subnets) == 0 {
		subnets = []string{""}
	}
	var all []Pool
	for _, t := range r.Instances {
		for _, s := range subnets {
			all = append(all, Pool{t.InstanceType, s})
		}
	}
	return all
}

// without lists the pools of a compute resource that are known to be empty. They are
// never all of them: then the compute resource is exhausted.
func (p *planner) without(queue, resource string) []Pool {
	if len(p.mem.Short) == 0 {
		return nil
	}
	r := p.policy.Resources[queue][resource]
	var empty []Pool
	all := pools(&r)
	for _, at := range all {
		if e, ok := p.mem.Short[poolKey(queue+"/"+resource, at)]; ok && p.now.Before(e.Until) {
			empty = append(empty, at)
		}
	}
	if len(empty) == len(all) {
		return nil
	}
	return empty
}

// settle gives the jobs of every group whose launches were all answered their nodes.
// A group waits for earlier ones that launch nodes which its jobs share.
func (p *planner) settle() {
	groups := sortedKeys(p.mem.Groups)
	slices.SortFunc(groups, func(a, b string) int {
		return cmp.Compare(p.mem.Groups[a].Order, p.mem.Groups[b].Order)
	})
	for _, id := range groups {
		g := p.mem.Groups[id]
		if p.answered(g) && !p.waitsForOthers(id, g) {
			p.settleGroup(id, g)
		}
	}
}

func (p *planner) answered(g Group) bool {
	for _, token := range g.Parts {
		if _, ok := p.mem.Outcomes[token]; !ok {
			return false
		}
	}
	return true
}

func (p *planner) waitsForOthers(id string, g Group) bool {
	for _, j := range g.Jobs {
		for _, n := range j.Nodes {
			if other, ok := p.launching[n]; ok && other != id && p.mem.Groups[other].Order < g.Order {
				return true
			}
		}
	}
	return false
}

// A pool is what a group's launches brought, by queue/resource.
type pool struct {
	instances map[string][]Instance
	codes     map[string]Outcome // by node: the answer to the launch that it was in
	any       bool
}

func (p *planner) pool(g Group) pool {
	out := pool{instances: make(map[string][]Instance), codes: make(map[string]Outcome)}
	for _, token := range g.Parts {
		l, o := p.mem.Answered[token], p.mem.Outcomes[token]
		key := l.Queue + "/" + l.Resource
		out.instances[key] = append(out.instances[key], o.Instances...)
		out.any = out.any || len(o.Instances) > 0
		for _, n := range l.Nodes {
			out.codes[n] = o
		}
	}
	return out
}

// settleGroup hands a group's instances to its jobs, in order, and gives back those
// that no job can use.
func (p *planner) settleGroup(id string, g Group) {
	pool := p.pool(g)
	off := make(map[string]bool)
	for _, n := range g.Off {
		off[n] = true
	}
	jobs := make(map[string][]string)
	for _, j := range g.Jobs {
		for _, n := range j.Nodes {
			if j.ID != "" {
				jobs[n] = append(jobs[n], j.ID)
			}
		}
	}
	for _, j := range g.Jobs {
		need := slices.DeleteFunc(slices.Clone(j.Nodes), func(n string) bool {
			_, has := p.mem.Assigned[n]
			return has || off[n]
		})
		if j.Whole && !p.enough(pool, need) {
			continue
		}
		for _, n := range need {
			p.assign(pool, n, jobs[n])
		}
	}
	p.failRest(g, pool, off)
	for _, key := range sortedKeys(pool.instances) {
		for _, i := range pool.instances[key] {
			p.terminate(i.ID)
			p.recordInstance(record.GivenBack, i.ID, "")
			p.logf("give back %s of %s", i.ID, key)
		}
	}
	for _, token := range g.Parts {
		for _, n := range p.mem.Answered[token].Nodes {
			delete(p.launching, n)
		}
		delete(p.mem.Answered, token)
		delete(p.mem.Outcomes, token)
	}
	delete(p.mem.Groups, id)
}

// enough says whether the pool has an instance for each node. Nodes that this group
// does not launch were another's, which failed.
func (p *planner) enough(pool pool, nodes []string) bool {
	need := make(map[string]int)
	for _, n := range nodes {
		if _, ok := pool.codes[n]; !ok {
			return false
		}
		key, _ := p.key(n)
		need[key]++
	}
	for key, n := range need {
		if len(pool.instances[key]) < n {
			return false
		}
	}
	return true
}

// assign gives a node the next instance of its kind, if there is one.
func (p *planner) assign(pool pool, node string, jobs []string) {
	key, ok := p.key(node)
	if !ok || len(pool.instances[key]) == 0 {
		return
	}
	if _, ours := pool.codes[node]; !ours {
		return
	}
	i := pool.instances[key][0]
	pool.instances[key] = pool.instances[key][1:]
	a := Assignment{Node: node, Instance: i.ID, Addr: i.Addr, Hostname: i.Hostname, Subnet: i.Subnet, Since: p.now, Jobs: jobs}
	p.mem.Assigned[node] = a
	p.do.Assign = append(p.do.Assign, a)
	delete(p.mem.Paused, key)
	p.recordNode(record.Assigned, node, i.ID, "")
	p.logf("%s is %s at %s", node, i.ID, i.Addr)
}

// failRest sets the nodes that got no instance down, with the reason that EC2 gave
// for each of them.
func (p *planner) failRest(g Group, pool pool, off map[string]bool) {
	failed := make(map[refusal][]string)
	failedNode := make(map[string]refusal)
	for _, node := range sortedKeys(pool.codes) {
		if _, has := p.mem.Assigned[node]; has || off[node] {
			continue
		}
		why := refusal{pool.codes[node].Code, pool.codes[node].Message}
		if why.Code == "" {
			why.Code = LimitedCapacity
			if !pool.any {
				why.Code = InsufficientCapacity
			}
		}
		failed[why] = append(failed[why], node)
		failedNode[node] = why
		if n, _ := slurm.ParseNodeName(node); n.Static {
			p.pause(n.Queue + "/" + n.Resource)
		}
	}
	for _, why := range sortedWhy(failed) {
		p.fail(failed[why], why.Code, why.Message)
	}
	for _, j := range g.Jobs {
		for _, n := range j.Nodes {
			if why, ok := failedNode[n]; ok && j.ID != "" {
				p.do.Notes = append(p.do.Notes, JobNote{Job: j.ID, Text: failureReason(why.Code, why.Message)})
				break
			}
		}
	}
}

// A refusal is why a node got no instance.
type refusal struct{ Code, Message string }

func sortedWhy(m map[refusal][]string) []refusal {
	keys := make([]refusal, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b refusal) int {
		return cmp.Or(strings.Compare(a.Code, b.Code), strings.Compare(a.Message, b.Message))
	})
	return keys
}

// The pauses between attempts at static nodes.
const (
	firstPause = 10 * time.Second
	lastPause  = 5 * time.Minute
)

// pause doubles the time until static nodes of a compute resource are tried again.
func (p *planner) pause(key string) {
	old := p.mem.Paused[key]
	if p.now.Before(old.Until) {
		return
	}
	d := min(max(2*old.Last, firstPause), lastPause)
	p.mem.Paused[key] = Pause{Until: p.now.Add(d), Last: d}
	queue, resource, _ := strings.Cut(key, "/")
	p.record(record.Entry{What: record.Paused, Queue: queue, Resource: resource, Until: p.now.Add(d)})
}
