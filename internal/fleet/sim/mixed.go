package sim

import (
	"fmt"
	"time"

	"pcluster/internal/fleet"
	"pcluster/internal/slurm"
)

// Mixed returns a moment in the life of a fleet of so many nodes in which everything
// happens at once, to measure a decision: nodes work, idle, power up and down, are
// off, down, drained, silent or without their instances, instances are nobody's, and
// slurmctld asks for nodes for a hundred jobs.
func Mixed(nodes int) (fleet.Policy, fleet.Memory, fleet.Observed, time.Time) {
	policy := fleet.DefaultPolicy()
	policy.Cluster = "mixed"
	one := slurm.Resource{API: slurm.RunInstances, CapacityType: "on-demand", Instances: []slurm.ResourceType{{InstanceType: "c5.large"}}}
	policy.Resources = slurm.Resources{"q": {"a": one, "b": one}}
	policy.Queues = map[string]string{"q": fmt.Sprintf("q-dy-a-[1-%d],q-st-b-[1-%d]", nodes, nodes/20)}
	now := start.Add(time.Hour)
	mem := fleet.NewMemory(start)
	mem.Assigned = make(map[string]fleet.Assignment)
	view := &fleet.SlurmView{At: now.Add(-time.Second), Partitions: map[string]string{"q": "UP"}}
	instances := &fleet.EC2View{At: now.Add(-2 * time.Second)}
	var request fleet.Request
	kinds := []struct {
		state           slurm.State
		assigned, lives bool
	}{
		{"ALLOCATED+CLOUD", true, true}, {"MIXED+CLOUD", true, true}, {"IDLE+CLOUD", true, true},
		{"ALLOCATED+CLOUD+NOT_RESPONDING+POWERING_UP", true, true}, {"ALLOCATED+CLOUD+NOT_RESPONDING", true, false},
		{"IDLE+CLOUD+POWERING_DOWN", false, false}, {"IDLE+CLOUD+POWERED_DOWN", false, false},
		{"DOWN+CLOUD", true, true}, {"IDLE+CLOUD+DRAIN", true, true}, {"ALLOCATED+CLOUD+NOT_RESPONDING+POWERING_UP", false, false},
		{"IDLE+CLOUD", false, true}, // its instance is not remembered
	}
	for i := range nodes {
		kind := kinds[i%len(kinds)]
		name := fmt.Sprintf("q-dy-a-%d", i+1)
		if i%20 == 0 {
			name = fmt.Sprintf("q-st-b-%d", i/20+1)
		}
		n := slurm.Node{Name: name, Addr: name, State: kind.state, Partitions: []string{"q"}}
		id, addr := fmt.Sprintf("i-%d", i), fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)
		if kind.assigned {
			n.Addr = addr
			mem.Assigned[name] = fleet.Assignment{
				Node: name, Instance: id, Addr: addr, Since: start, Named: true, Seen: true, Ready: n.State.Ready(),
			}
		}
		if kind.lives {
			n.Addr = addr
			instances.Instances = append(instances.Instances, fleet.Instance{ID: id, Queue: "q", Resource: "a", State: "running", Addr: addr, Launched: start})
		}
		view.Nodes = append(view.Nodes, n)
		if n.State.PoweringUp() && !kind.assigned {
			request.Nodes = append(request.Nodes, name)
		}
	}
	for i := range nodes / 50 { // nobody's
		instances.Instances = append(instances.Instances, fleet.Instance{
			ID: fmt.Sprintf("i-x%d", i), Queue: "q", Resource: "a", State: "running", Addr: fmt.Sprintf("10.255.%d.%d", i>>8, i&255), Launched: start,
		})
	}
	for at := 0; at < len(request.Nodes); at += max(len(request.Nodes)/100, 1) {
		end := min(at+max(len(request.Nodes)/100, 1), len(request.Nodes))
		request.Jobs = append(request.Jobs, slurm.Job{ID: fmt.Sprint(at), Nodes: request.Nodes[at:end]})
	}
	return policy, mem, fleet.Observed{Resumed: []fleet.Request{request}, Slurm: view, EC2: instances}, now
}
