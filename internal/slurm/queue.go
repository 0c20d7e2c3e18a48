package slurm

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"pcluster/internal/config"
)

func queueFile(q *config.SlurmQueue) string {
	return "pcluster/slurm_parallelcluster_" + q.Name + "_partition.conf"
}

func queueGresFile(q *config.SlurmQueue) string {
	return "pcluster/slurm_parallelcluster_" + q.Name + "_gres.conf"
}

// A nodeGroup is a range of equal nodes in a queue.
type nodeGroup struct {
	nodes    string // hostlist
	static   bool
	priority int
	resource *config.ComputeResource
}

// groups returns the queue's ranges of nodes: of each compute resource the static
// ones, then the dynamic ones.
func groups(q *config.SlurmQueue) []nodeGroup {
	var out []nodeGroup
	for i := range q.ComputeResources {
		r := &q.ComputeResources[i]
		if r.MinCount > 0 {
			out = append(out, nodeGroup{nodeRange(q.Name, static, r.Name, r.MinCount), true, r.StaticNodePriority, r})
		}
		if r.MaxCount > r.MinCount {
			out = append(out, nodeGroup{nodeRange(q.Name, dynamic, r.Name, r.MaxCount-r.MinCount), false, r.DynamicNodePriority, r})
		}
	}
	return out
}

// queueConf renders a queue's nodes and its partition.
func queueConf(q *config.SlurmQueue, first bool, f Facts) []byte {
	var b conf
	b.comment("Queue %s. Made from the cluster file: changes here get lost.", q.Name)
	var all []string
	for _, g := range groups(q) {
		all = append(all, g.nodes)
		b.line("%s", nodeLine(g, f))
	}
	b.line("")
	b.line("NodeSet=%s_nodes Nodes=%s", q.Name, strings.Join(all, ","))
	partition := fmt.Sprintf("PartitionName=%s Nodes=%s_nodes", q.Name, q.Name)
	if !slices.ContainsFunc(q.CustomSlurmSettings, isMaxTime) {
		partition += " MaxTime=INFINITE"
	}
	partition += " State=UP"
	if first {
		partition += " Default=YES"
	}
	if q.JobExclusiveAllocation {
		partition += " OverSubscribe=EXCLUSIVE"
	}
	b.line("%s%s", partition, pairs(q.CustomSlurmSettings))
	return b.bytes()
}

func isMaxTime(s config.Setting) bool { return strings.EqualFold(s.Key, "MaxTime") }

func nodeLine(g nodeGroup, f Facts) string {
	h := f.InstanceTypes.hardwareOf(g.resource)
	features := []string{pick(g.static, "static", "dynamic")}
	if types := g.resource.InstanceTypes(); len(types) == 1 {
		features = append(features, types[0])
	}
	features = append(features, g.resource.Name)
	if g.resource.Efa.Enabled {
		features = append(features, "efa")
	}
	if h.GPUs > 0 {
		features = append(features, "gpu")
	}
	line := fmt.Sprintf("NodeName=%s CPUs=%d RealMemory=%d State=CLOUD Feature=%s Weight=%d",
		g.nodes, h.CPUs, schedulableMemory(g.resource, h), strings.Join(features, ","), g.priority)
	if h.GPUs > 0 && f.NVIDIADriver {
		line += fmt.Sprintf(" Gres=gpu:%s:%d", h.GPUName, h.GPUs)
	}
	return line + pairs(g.resource.CustomSlurmSettings)
}

// pairs renders custom settings for the end of a line.
func pairs(settings config.Settings) string {
	var b strings.Builder
	for _, s := range settings {
		b.WriteString(" " + s.Key + "=" + s.Value)
	}
	return b.String()
}

// queueGres renders the devices of a queue's nodes.
func queueGres(q *config.SlurmQueue, f Facts) []byte {
	var b conf
	b.comment("Devices of queue %s. Made from the cluster file: changes here get lost.", q.Name)
	if !f.NVIDIADriver {
		b.comment("The head node has no NVIDIA driver, so GPUs are not configured.")
		return b.bytes()
	}
	for _, g := range groups(q) {
		h := f.InstanceTypes.hardwareOf(g.resource)
		switch {
		case h.GPUs == 1:
			b.line("NodeName=%s Name=gpu Type=%s File=/dev/nvidia0", g.nodes, h.GPUName)
		case h.GPUs > 1:
			b.line("NodeName=%s Name=gpu Type=%s File=/dev/nvidia[0-%d]", g.nodes, h.GPUName, h.GPUs-1)
		}
	}
	return b.bytes()
}

func gresConf(c *config.Cluster) []byte {
	var b conf
	b.comment("Made from the cluster file: changes here get lost.")
	for i := range c.Scheduling.SlurmQueues {
		b.line("include %s/%s", ConfDir, queueGresFile(&c.Scheduling.SlurmQueues[i]))
	}
	return b.bytes()
}

// NodeLists returns, for each queue, the hostlist of its nodes: the partitions that
// are ours to manage.
func NodeLists(c *config.Cluster) map[string]string {
	lists := make(map[string]string)
	for i := range c.Scheduling.SlurmQueues {
		q := &c.Scheduling.SlurmQueues[i]
		var all []string
		for _, g := range groups(q) {
			all = append(all, g.nodes)
		}
		lists[q.Name] = strings.Join(all, ",")
	}
	return lists
}

func nodeListMapping(c *config.Cluster) []byte {
	return marshal(NodeLists(c))
}

// marshal returns indented JSON. Only maps and structs of ours get here, which
// can't fail to be encoded.
func marshal(v any) []byte {
	out, err := json.MarshalIndent(v, "", "    ")
	if err != nil {
		panic(err)
	}
	return append(out, '\n')
}
