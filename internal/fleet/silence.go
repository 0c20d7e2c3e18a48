package fleet

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"pcluster/internal/fleet/record"
	"pcluster/internal/slurm"
)

// slurmctld gives a node up, and its jobs, when it has not answered for SlurmdTimeout.
// That is right for a node that is broken, and wrong if the head node is the one that
// nobody hears: the jobs go on. So slurmctld is kept from giving up nodes that are silent
// together with all others of their subnet, for as long as EC2 does not say that their
// instances are gone or broken. A node that is silent while its neighbours are heard is
// left to slurmctld. So is one whose programs are silent and whose system answers when it
// is knocked at: nothing is cut then, however few nodes the subnet has.

// A Silence is about a node in service that neither slurmctld nor the daemon hears.
type Silence struct {
	Instance string    `json:"instance"`
	Since    time.Time `json:"since"`
	Vouched  time.Time `json:"vouched,omitzero"` // when slurmctld was last kept from giving it up
	Knocked  time.Time `json:"knocked,omitzero"` // when its system was last asked for an answer
	Answered time.Time `json:"answered,omitzero"`
	Cut      bool      `json:"cut,omitempty"` // it is waited for, and the record has that
}

const (
	// vouchInterval leaves slurmctld's SlurmdTimeout, of usually three minutes, room for
	// several attempts to keep it from running out.
	vouchInterval = 15 * time.Second
	// knockInterval is between two knocks at the same node, and knocksAtOnce are those at
	// one subnet in one look: if nothing is cut, few can be silent with a system that runs.
	knockInterval = 15 * time.Second
	knocksAtOnce  = 16
	// silencePause lets nodes, and slurmctld's pings, come back that the start of the head
	// node or of slurmctld has interrupted.
	silencePause = 20 * time.Second
	// silencePatience is for how long a node must be silent to be given up when EC2 can't
	// reach its instance either: as long as slurmctld usually waits.
	silencePatience = 3 * time.Minute
)

// silence decides about the nodes that nobody hears.
func (p *planner) silence(view *SlurmView, nodes *NodesView) {
	silent := p.unheard(view, nodes)
	if len(silent)+len(p.mem.Silent) == 0 {
		return
	}
	heard := p.heardSubnets(view, nodes)
	before := p.mem.Silent
	p.mem.Silent = make(map[string]Silence, len(silent))
	answers := p.answering(before)
	knocks := make(map[string]int) // by subnet
	var cut []string
	var waits []*slurm.Node
	todo := newSorting()
	for _, n := range silent {
		a, s := p.mem.Assigned[n.Name], before[n.Name]
		if s.Instance != a.Instance {
			s = Silence{Instance: a.Instance, Since: p.now}
			if nodes != nil && !nodes.Nodes[a.Instance].Left.IsZero() {
				s.Since = nodes.Nodes[a.Instance].Left
			}
		}
		broken := p.mem.Impaired[a.Instance]
		unasked := false
		alone := !broken && !heard[a.Subnet] && p.now.Sub(s.Since) < p.policy.CutOffTimeout
		if alone && p.now.Sub(s.Knocked) >= knockInterval && knocks[a.Subnet] < knocksAtOnce {
			s.Knocked, unasked = p.now, s.Knocked.IsZero()
			knocks[a.Subnet]++
			p.do.Knock = append(p.do.Knock, a)
		}
		switch {
		case p.isTouched(n.Name, view), unasked, p.now.Sub(s.Since) < silencePause:
		case broken && p.now.Sub(s.Since) >= silencePatience:
			p.giveUpSilent(n.Name, a, &todo)
			continue
		case !alone, answers[a.Subnet]:
			s.Cut = false // slurmctld gives it up in its time
		case p.now.Sub(s.Vouched) >= vouchInterval:
			if !s.Cut {
				cut = append(cut, n.Name)
			}
			s.Vouched, s.Cut = p.now, true
			waits = append(waits, n)
		}
		p.mem.Silent[n.Name] = s
	}
	p.giveUp(&todo)
	p.vouch(waits)
	p.recordCut(cut)
	p.recordBack(view, before)
}

// unheard are the nodes in service that don't answer slurmctld, and have no connection.
func (p *planner) unheard(view *SlurmView, nodes *NodesView) []*slurm.Node {
	var silent []*slurm.Node
	for i := range view.Nodes {
		n := &view.Nodes[i]
		if !n.State.NotResponding() || !inService(n) || n.State.Has("INVALID_REG") {
			continue
		}
		if a, ok := p.mem.Assigned[n.Name]; ok && a.Ready && !p.heard(n, a, nodes) {
			silent = append(silent, n)
		}
	}
	return silent
}

// heardSubnets are the subnets with a node that reaches the head node.
func (p *planner) heardSubnets(view *SlurmView, nodes *NodesView) map[string]bool {
	heard := make(map[string]bool)
	for i := range view.Nodes {
		n := &view.Nodes[i]
		if a, ok := p.mem.Assigned[n.Name]; ok && !heard[a.Subnet] && p.heard(n, a, nodes) {
			heard[a.Subnet] = true
		}
	}
	return heard
}

// answering are the subnets with a silent node whose system has just answered.
func (p *planner) answering(silent map[string]Silence) map[string]bool {
	answers := make(map[string]bool)
	for node, s := range silent {
		if a := p.mem.Assigned[node]; a.Instance == s.Instance && p.now.Sub(s.Answered) < 2*knockInterval {
			answers[a.Subnet] = true
		}
	}
	return answers
}

// silentAnswered takes notice of silent nodes whose systems have answered.
func (p *planner) silentAnswered(nodes []Assignment) {
	var fresh []string
	for _, a := range nodes {
		s, silent := p.mem.Silent[a.Node]
		if !silent || s.Instance != a.Instance {
			continue
		}
		if s.Answered.IsZero() || s.Cut {
			fresh = append(fresh, a.Node)
		}
		s.Answered, s.Cut = p.now, false
		p.mem.Silent[a.Node] = s
	}
	if len(fresh) == 0 {
		return
	}
	slices.Sort(fresh)
	list, why := slurm.Compress(fresh), "the system answers, and slurmd does not"
	p.record(record.Entry{What: record.Answers, Nodes: list, Why: why})
	p.logf("%s: %s; slurmctld gives it up in its time", list, why)
}

// heard says whether a node is known to reach the head node: its connection knows within
// seconds, slurmctld within a minute.
func (p *planner) heard(n *slurm.Node, a Assignment, nodes *NodesView) bool {
	if nodes != nil {
		if says, ok := nodes.Nodes[a.Instance]; ok && says.Addr == a.Addr {
			return says.Left.IsZero()
		}
	}
	return a.Ready && inService(n) && !n.State.NotResponding()
}

func inService(n *slurm.Node) bool {
	return !n.State.Down() && !n.State.PoweringUp() && !n.State.PoweredDown() && !n.State.PoweringDown() && !n.State.Rebooting()
}

// vouch has slurmctld wait for nodes for another SlurmdTimeout: so it does whenever a node
// is undrained, be it drained or not, and asks it to register at once.
func (p *planner) vouch(nodes []*slurm.Node) {
	var all []string
	drained := make(map[string][]string) // by reason
	for _, n := range nodes {
		all = append(all, n.Name)
		if n.State.Has("DRAIN", "DRAINED", "DRAINING") {
			reason := cmp.Or(n.Reason, "drained before the head node was cut off")
			drained[reason] = append(drained[reason], n.Name)
		}
	}
	p.update(slurm.NodeUpdate{Nodes: all, State: slurm.StateUndrain})
	for _, reason := range sortedKeys(drained) {
		p.update(slurm.NodeUpdate{Nodes: drained[reason], State: slurm.StateDrain, Reason: reason})
	}
}

// giveUpSilent gives a node up that nobody hears, neither we nor EC2.
func (p *planner) giveUpSilent(node string, a Assignment, todo *sorting) {
	const why = "it does not answer, and EC2 does not reach its instance either"
	if p.policy.KeepDown {
		todo.byState["pcluster: "+why] = append(todo.byState["pcluster: "+why], node)
		p.recordNode(record.Lost, node, a.Instance, why)
		return
	}
	p.end(node, a)
	p.lose(node, why, todo)
}

// cutOff says whether slurmctld is being kept from giving up nodes.
func (p *planner) cutOff() bool {
	for _, s := range p.mem.Silent {
		if p.now.Sub(s.Vouched) < 2*vouchInterval {
			return true
		}
	}
	return false
}

func (p *planner) recordCut(nodes []string) {
	if len(nodes) == 0 {
		return
	}
	slices.Sort(nodes)
	list, why := slurm.Compress(nodes), "no node of the subnet is heard: the head node seems to be cut off"
	p.record(record.Entry{What: record.CutOff, Nodes: list, Why: why, Until: p.now.Add(p.policy.CutOffTimeout)})
	p.logf("%s: %s; their jobs are waited for", list, why)
}

// recordBack adds which of the nodes that were silent before answer again.
func (p *planner) recordBack(view *SlurmView, before map[string]Silence) {
	if len(before) == 0 {
		return
	}
	var back []string
	var longest time.Duration
	for i := range view.Nodes {
		n := &view.Nodes[i]
		s, was := before[n.Name]
		if _, still := p.mem.Silent[n.Name]; !was || still || s.Vouched.IsZero() || p.mem.Assigned[n.Name].Instance != s.Instance || !inService(n) || n.State.NotResponding() {
			continue
		}
		back = append(back, n.Name)
		longest = max(longest, p.now.Sub(s.Since))
	}
	if len(back) == 0 {
		return
	}
	slices.Sort(back)
	list, why := slurm.Compress(back), fmt.Sprintf("after %v", longest.Round(time.Second))
	p.record(record.Entry{What: record.InTouch, Nodes: list, Why: why})
	p.logf("%s: heard again %s", list, why)
}
