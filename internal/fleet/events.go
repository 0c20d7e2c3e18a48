package fleet

import (
	"encoding/json"
	"io"
	"slices"
	"strings"
	"time"

	"pcluster/internal/fleet/record"
	"pcluster/internal/slurm"
)

// An EventLog writes what CloudWatch's metric filters count: one JSON object a line, in
// ParallelCluster's shapes. Each thing is counted once, in the file that ParallelCluster
// counts it in. A nil EventLog writes nothing.
type EventLog struct {
	Manager    io.Writer // clustermgtd.events: what became of nodes, once a minute
	Resume     io.Writer // slurm_resume.events: refused launches of dynamic nodes, at once
	Cluster    string
	InstanceID string // of the head node
	Now        func() time.Time

	last   time.Time // that Manager was written to
	debugs bool      // also what ParallelCluster writes for debugging
	tally
}

// A tally is what happened since Manager was last written to, by nodes.
type tally struct {
	refused   []NodeFailure // static nodes
	launched  []string      // static nodes
	lost      []string
	silent    []string
	unstarted map[string][]string // nodes that failed to start, by failure type
	unhealthy []string
	ended     []endedNode // static nodes whose instances were terminated
}

type endedNode struct {
	Name   string `json:"name"`
	ID     string `json:"id"`
	Reason string `json:"reason"`
}

// eventInterval is ParallelCluster's: alarms on sums over minutes go on to work.
const eventInterval = time.Minute

// An event has the keys that all events share, and its detail.
type event struct {
	Time       string `json:"datetime"`
	Version    int    `json:"version"`
	Scheduler  string `json:"scheduler"`
	Cluster    string `json:"cluster-name"`
	NodeRole   string `json:"node-role"`
	Component  string `json:"component"`
	Level      string `json:"level"`
	InstanceID string `json:"instance-id"`
	Type       string `json:"event-type"`
	Message    string `json:"message"`
	Detail     any    `json:"detail"`
}

// Components of events.
const (
	manager = "clustermgtd"
	resume  = "slurm-resume"
)

// maxEventNodes is how many nodes an event names.
const maxEventNodes = 100

type namedNode struct {
	Name string `json:"name"`
}

func named(nodes []string) []namedNode {
	out := make([]namedNode, 0, min(len(nodes), maxEventNodes))
	for _, n := range nodes[:min(len(nodes), maxEventNodes)] {
		out = append(out, namedNode{n})
	}
	return out
}

type nodeCount struct {
	FailureType string      `json:"failure-type,omitempty"`
	Count       int         `json:"count"`
	Nodes       []namedNode `json:"nodes"`
}

func count(failureType string, nodes []string) nodeCount {
	nodes = slices.Compact(slices.Sorted(slices.Values(nodes)))
	return nodeCount{failureType, len(nodes), named(nodes)}
}

type codeCount struct {
	Count int         `json:"count"`
	Nodes []namedNode `json:"nodes"`
}

type launchFailureCount struct {
	FailureType string               `json:"failure-type"`
	Count       int                  `json:"count"`
	Errors      map[string]codeCount `json:"error-details"`
}

type launchFailure struct {
	Node        namedNode `json:"node"`
	Code        string    `json:"error-code"`
	FailureType string    `json:"failure-type"`
}

// refuse takes nodes that could not be launched: of dynamic ones it writes at once, as
// slurmctld's resume program does; of static ones the next time that Manager is written.
func (l *EventLog) refuse(failed []NodeFailure) {
	if l == nil {
		return
	}
	var dynamic []NodeFailure
	for _, f := range failed {
		if n, ok := slurm.ParseNodeName(f.Node); ok && n.Static {
			l.refused = append(l.refused, f)
		} else {
			dynamic = append(dynamic, f)
		}
	}
	l.launchFailures(resume, "Number of dynamic nodes that failed to launch a backing instance", dynamic)
}

func (l *EventLog) launchFailures(component, message string, failed []NodeFailure) {
	if len(failed) == 0 {
		return
	}
	byType := make(map[string]*launchFailureCount)
	for _, t := range FailureTypes {
		byType[t] = &launchFailureCount{FailureType: t, Errors: make(map[string]codeCount)}
	}
	for _, f := range failed {
		t := byType[FailureType(f.Code)]
		t.Count++
		c := t.Errors[f.Code]
		c.Count++
		if len(c.Nodes) < maxEventNodes {
			c.Nodes = append(c.Nodes, namedNode{f.Node})
		}
		t.Errors[f.Code] = c
	}
	for _, t := range FailureTypes {
		level := "DEBUG"
		if byType[t].Count > 0 {
			level = "WARNING"
		}
		l.write(component, level, "node-launch-failure-count", message, byType[t])
	}
	for _, f := range failed {
		l.write(component, "DEBUG", "node-launch-failure", "After node maintenance, node failed to launch a backing instance",
			launchFailure{namedNode{f.Node}, f.Code, FailureType(f.Code)})
	}
}

// notResponding is the reason of nodes that slurmctld has set down by itself.
const notResponding = "Not responding"

// happened counts what the record has.
func (l *EventLog) happened(entries []record.Entry, p *Policy) {
	if l == nil {
		return
	}
	l.debugs = p.DebugEvents
	for _, e := range entries {
		switch e.What {
		case record.Lost:
			l.lost = append(l.lost, e.Nodes)
		case record.Replaced:
			l.unhealthy = append(l.unhealthy, e.Nodes)
			if strings.HasSuffix(e.Why, notResponding) {
				l.silent = append(l.silent, e.Nodes)
			}
		case record.StartFailed:
			if l.unstarted == nil {
				l.unstarted = make(map[string][]string)
			}
			t := startFailureType(e.Nodes, e.Code)
			l.unstarted[t] = append(l.unstarted[t], e.Nodes)
		case record.Assigned:
			if isStatic(e.Nodes) {
				l.launched = append(l.launched, e.Nodes)
			}
		case record.Terminated:
			if isStatic(e.Nodes) {
				for id := range e.Instances {
					l.ended = append(l.ended, endedNode{e.Nodes, id, e.Why})
				}
			}
		}
	}
}

func isStatic(node string) bool {
	n, ok := slurm.ParseNodeName(node)
	return ok && n.Static
}

// The types of failed starts, in the order of the event log.
const (
	staticTimeout  = "static-replacement-timeout-error"
	dynamicTimeout = "dynamic-resume-timeout-error"
	otherFailure   = "other-bootstrap-error"
)

func startFailureType(node, code string) string {
	switch {
	case code != tookTooLong:
		return otherFailure
	case isStatic(node):
		return staticTimeout
	}
	return dynamicTimeout
}

// loop writes what ParallelCluster's daemon writes at the end of each pass, if a minute
// has gone by.
func (l *EventLog) loop(view *SlurmView, ec2 *EC2View, mem *Memory, p *Policy) {
	if l == nil || view == nil {
		return
	}
	now := l.Now()
	if gone := now.Sub(l.last); gone >= 0 && gone < eventInterval {
		return
	}
	l.last = now
	t := l.tally
	l.tally = tally{}
	l.write(manager, "INFO", "clustermgtd-heartbeat", "The fleet is looked after", struct{}{})
	l.launchFailures(manager, "Number of static nodes that failed to launch a backing instance after node maintenance", t.refused)
	failing := make(map[string][]string)
	for node, w := range mem.Warnings {
		switch w.Check {
		case InstanceCheck, SystemCheck:
			failing[InstanceCheck] = append(failing[InstanceCheck], node)
		case EventCheck:
			failing[EventCheck] = append(failing[EventCheck], node)
		}
	}
	for _, check := range []string{InstanceCheck, EventCheck} {
		l.countNodes("WARNING", "nodes-failing-health-check-count", "Number of nodes failing health check", count(check, failing[check]))
	}
	l.countNodes("WARNING", "invalid-backing-instance-count", "Number of nodes without a valid backing instance", count("", t.lost))
	l.countNodes("WARNING", "node-not-responding-down-count", "Number of nodes set to DOWN because they are not responding", count("", t.silent))
	for _, kind := range []string{staticTimeout, dynamicTimeout, otherFailure} {
		l.countNodes("WARNING", "protected-mode-error-count", "Number of nodes that failed to bootstrap", count(kind, t.unstarted[kind]))
	}
	instances := instancesOf(ec2)
	nodes := ourNodes(view, p)
	l.idle("dynamic", nodes, instances, mem, now)
	l.idle("static", nodes, instances, mem, now)
	if l.debugs {
		l.debug(&t, nodes, instances, mem)
	}
}

// countNodes writes an event of a count, which only matters if it is not zero.
func (l *EventLog) countNodes(level, eventType, message string, n nodeCount) {
	if n.Count == 0 {
		level = "DEBUG"
	}
	l.write(manager, level, eventType, message, n)
}

func instancesOf(view *EC2View) map[string]*Instance {
	byID := make(map[string]*Instance)
	if view != nil {
		for i := range view.Instances {
			byID[view.Instances[i].ID] = &view.Instances[i]
		}
	}
	return byID
}

func ourNodes(view *SlurmView, p *Policy) []*slurm.Node {
	var nodes []*slurm.Node
	for i := range view.Nodes {
		if n, ok := slurm.ParseNodeName(view.Nodes[i].Name); ok {
			if _, ours := p.Resources[n.Queue][n.Resource]; ours {
				nodes = append(nodes, &view.Nodes[i])
			}
		}
	}
	return nodes
}

type idleTime struct {
	NodeType string       `json:"node-type"`
	Seconds  float64      `json:"longest-idle-time"`
	Node     *description `json:"longest-idle-node"`
	Count    int          `json:"count"`
}

// idle writes how long the node of a type has been idle that has been longest.
func (l *EventLog) idle(nodeType string, nodes []*slurm.Node, instances map[string]*Instance, mem *Memory, now time.Time) {
	d := idleTime{NodeType: nodeType}
	var longest *slurm.Node
	for _, n := range nodes {
		if isStatic(n.Name) != (nodeType == "static") || !n.State.Has("IDLE") || !n.State.Ready() {
			continue
		}
		d.Count++
		if t := idleFor(n, now); longest == nil || t > d.Seconds {
			longest, d.Seconds = n, t
		}
	}
	level := "DEBUG"
	if longest != nil {
		level, d.Node = "INFO", describeNode(longest, instances, mem)
	}
	l.write(manager, level, "compute-node-idle-time", "Longest idle time", d)
}

// idleFor counts from the end of the last job, or from the start of slurmd.
func idleFor(n *slurm.Node, now time.Time) float64 {
	since := n.LastBusy
	if n.SlurmdStarted.After(since) {
		since = n.SlurmdStarted
	}
	if since.IsZero() {
		return 0
	}
	return max(0, now.Sub(since).Seconds())
}

// A description is a node as events show it.
type description struct {
	Name       string               `json:"name"`
	Type       string               `json:"type"`
	Addr       string               `json:"address"`
	Hostname   string               `json:"hostname"`
	States     string               `json:"state-string"`
	Reason     *string              `json:"state-reason"`
	State      string               `json:"state"`
	Flags      []string             `json:"state-flags"`
	Instance   *instanceDescription `json:"instance"`
	Partitions []string             `json:"partitions"`
	Queue      string               `json:"queue-name"`
	Resource   string               `json:"compute-resource"`
	LastBusy   *string              `json:"last-busy-time"`
	Started    *string              `json:"slurm-started-time"`
}

type instanceDescription struct {
	ID       string  `json:"id"`
	Addr     string  `json:"private-ip"`
	Hostname string  `json:"hostname"`
	Launched *string `json:"launch-time"`
}

func describeNode(n *slurm.Node, instances map[string]*Instance, mem *Memory) *description {
	flags := strings.Split(string(n.State), "+")
	name, _ := slurm.ParseNodeName(n.Name)
	d := &description{
		Name: n.Name, Type: "dynamic", Addr: n.Addr, Hostname: n.Hostname, States: string(n.State), State: flags[0], Flags: flags[1:],
		Partitions: n.Partitions, Queue: name.Queue, Resource: name.Resource, LastBusy: eventTime(n.LastBusy), Started: eventTime(n.SlurmdStarted),
	}
	if name.Static {
		d.Type = "static"
	}
	if n.Reason != "" {
		d.Reason = &n.Reason
	}
	if a, ok := mem.Assigned[n.Name]; ok {
		d.Instance = &instanceDescription{ID: a.Instance, Addr: a.Addr, Hostname: a.Hostname, Launched: eventTime(a.Since)}
		if i := instances[a.Instance]; i != nil {
			d.Instance.Launched = eventTime(i.Launched)
		}
	}
	return d
}

const eventTimeForm = "2006-01-02T15:04:05.000-07:00"

func eventTime(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	s := t.UTC().Format(eventTimeForm)
	return &s
}

// debug writes what only helps to find errors.
func (l *EventLog) debug(t *tally, nodes []*slurm.Node, instances map[string]*Instance, mem *Memory) {
	var unhealthy, static, replacing []string
	for _, name := range slices.Compact(slices.Sorted(slices.Values(slices.Concat(t.unhealthy, t.lost)))) {
		unhealthy = append(unhealthy, name)
		if isStatic(name) {
			static = append(static, name)
		}
	}
	states := make(map[string]int)
	for _, n := range nodes {
		states[string(n.State)]++
		if a, launched := mem.Assigned[n.Name]; isStatic(n.Name) && launched && !a.Ready {
			replacing = append(replacing, n.Name)
		}
		if slices.Contains(unhealthy, n.Name) {
			d := describeNode(n, instances, mem)
			l.write(manager, "DEBUG", "unhealthy-node", "Unhealthy node", map[string]any{"node": d})
			if isStatic(n.Name) {
				l.write(manager, "DEBUG", "static-node-health-check-failure", "Static node failing scheduler health check", map[string]any{"node": d})
			}
		}
		l.write(manager, "DEBUG", "compute-node-state", "Current compute node state", describeNode(n, instances, mem))
	}
	l.write(manager, "DEBUG", "static-node-health-check-failure-count", "Number of static nodes failing scheduler health check", count("", static))
	l.write(manager, "DEBUG", "static-node-instance-terminate-count", "Number of instances terminated due to backing unhealthy static nodes",
		map[string]any{"count": len(t.ended), "nodes": t.ended[:min(len(t.ended), maxEventNodes)]})
	l.write(manager, "DEBUG", "static-nodes-in-replacement-count", "After node maintenance, nodes currently in replacement", count("", replacing))
	l.write(manager, "DEBUG", "static-node-launched-count", "Number of static nodes that successfully launched after node maintenance", count("", t.launched))
	for _, state := range sortedKeys(states) {
		l.write(manager, "DEBUG", "compute-node-state-count", "Count of nodes by Slurm state", map[string]any{"node-state": state, "count": states[state]})
	}
	l.write(manager, "DEBUG", "cluster-instance-count", "Count of EC2 instances backing the cluster compute fleet", map[string]any{"count": len(mem.Assigned)})
}

func (l *EventLog) write(component, level, eventType, message string, detail any) {
	if level == "DEBUG" && !l.debugs {
		return
	}
	line, err := json.Marshal(event{
		Time:      l.Now().UTC().Format(eventTimeForm),
		Scheduler: "slurm", Cluster: l.Cluster, NodeRole: "HeadNode", Component: component, Level: level,
		InstanceID: l.InstanceID, Type: eventType, Message: message, Detail: detail,
	})
	if err != nil {
		return // the types above can all be encoded
	}
	w := l.Manager
	if component == resume {
		w = l.Resume
	}
	// An event that is lost, because the disk is full, is no reason to stop.
	_, _ = w.Write(append(line, '\n'))
}
