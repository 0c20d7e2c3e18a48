package fleet

import (
	"maps"
	"slices"
	"sync"

	"pcluster/internal/fleet/record"
	"pcluster/internal/slurm"
)

// record adds to what happened; the daemon writes it down.
func (p *planner) record(e record.Entry) {
	e.Time = p.now
	p.do.Record = append(p.do.Record, e)
}

// recordNode adds what happened to one node and its instance, if it has one.
func (p *planner) recordNode(what record.Kind, node, instance, why string) {
	e := record.Entry{What: what, Nodes: node, Why: why}
	if instance != "" {
		e.Instances = map[string]string{instance: node}
	}
	p.record(e)
}

// recordInstance adds what happened to an instance that is no node's.
func (p *planner) recordInstance(what record.Kind, instance, why string) {
	p.record(record.Entry{What: what, Instances: map[string]string{instance: ""}, Why: why})
}

// recordAsked adds a request of slurmctld's: an entry for each job, and one for the
// nodes that are for none.
func (p *planner) recordAsked(what record.Kind, r Request) {
	rest := make(map[string]bool, len(r.Nodes))
	for _, n := range r.Nodes {
		rest[n] = true
	}
	for _, j := range r.Jobs {
		p.record(record.Entry{What: what, Nodes: slurm.Compress(j.Nodes), Jobs: []string{j.ID}})
		for _, n := range j.Nodes {
			delete(rest, n)
		}
	}
	if len(rest) > 0 {
		p.record(record.Entry{What: what, Nodes: slurm.Compress(sortedKeys(rest))})
	}
}

// recordLaunch adds a request to EC2 that begins.
func (p *planner) recordLaunch(l Launch, jobs []GroupJob) {
	r := p.policy.Resources[l.Queue][l.Resource]
	e := record.Entry{
		What: record.LaunchTried, Nodes: slurm.Compress(l.Nodes), Jobs: jobsOf(jobs, l.Nodes), Queue: l.Queue, Resource: l.Resource,
		Token: l.Token, Subnets: r.Subnets(), Count: len(l.Nodes), Min: l.Min,
	}
	for _, t := range r.Instances {
		e.Types = append(e.Types, t.InstanceType)
	}
	p.record(e)
}

// jobsOf returns the IDs of those of the jobs that get some of the nodes.
func jobsOf(jobs []GroupJob, nodes []string) []string {
	launched := make(map[string]bool, len(nodes))
	for _, n := range nodes {
		launched[n] = true
	}
	ids := make(map[string]bool)
	for _, j := range jobs {
		if j.ID != "" && slices.ContainsFunc(j.Nodes, func(n string) bool { return launched[n] }) {
			ids[j.ID] = true
		}
	}
	return slices.Sorted(maps.Keys(ids))
}

// recordOutcome adds EC2's answer to a launch.
func (p *planner) recordOutcome(l Launch, o Outcome) {
	e := record.Entry{Nodes: slurm.Compress(l.Nodes), Queue: l.Queue, Resource: l.Resource, Token: l.Token}
	if len(o.Instances) > 0 {
		got := e
		got.What, got.Count, got.Instances = record.LaunchAnswered, len(o.Instances), make(map[string]string, len(o.Instances))
		for _, i := range o.Instances {
			got.Instances[i.ID] = ""
		}
		p.record(got)
	}
	if missing := len(l.Nodes) - len(o.Instances); missing > 0 || o.Code != "" {
		e.What, e.Count, e.Code, e.Message = record.LaunchRefused, missing, o.Code, o.Message
		if e.Code == "" {
			e.Code = InsufficientCapacity
		}
		e.Class = string(ClassOf(e.Code))
		p.record(e)
	}
}

// recordNaming adds whether nodes can learn their names.
func (p *planner) recordNaming(what record.Kind, all []Assignment) {
	if len(all) == 0 {
		return
	}
	e := record.Entry{What: what, Nodes: hostlist(all), Instances: make(map[string]string, len(all))}
	for _, a := range all {
		e.Instances[a.Instance] = a.Node
	}
	p.record(e)
}

// A recorder writes down what happened. That it can't, as the disk may be full, is no
// reason to stop.
type recorder struct {
	mu      sync.Mutex
	trouble trouble
}

// record writes entries down, those without a time as of now.
func (d *Daemon) record(entries ...record.Entry) {
	if len(entries) == 0 {
		return
	}
	now := d.Now()
	for i := range entries {
		if entries[i].Time.IsZero() {
			entries[i].Time = now
		}
	}
	d.Metrics.happened(entries)
	d.recorder.mu.Lock()
	defer d.recorder.mu.Unlock()
	d.recorder.trouble.met(d.Log, now, d.Record.Add(entries...))
}
