package why

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"pcluster/internal/fleet"
	"pcluster/internal/fleet/record"
	"pcluster/internal/slurm"
)

// jobVerdict says what keeps a job, or what became of it, and what can be done.
func (s *story) jobVerdict(j *slurm.JobStatus, t *attempt, lives []*life) (string, []string) {
	switch {
	case j == nil && t == nil:
		return "Slurm does not know it (any more), and it never waited for a node.", []string{"See sacct, if the cluster has accounting."}
	case j == nil && t.failed:
		return "Slurm does not know it any more. When it last had nodes: " + t.how + ".", nil
	case j == nil && !t.end.IsZero():
		return fmt.Sprintf("Slurm does not know it any more. It waited %s for its nodes, and started.", span(t.end.Sub(t.begin))), nil
	case j == nil:
		return "Slurm does not know it any more. Its nodes were still starting when it went.", nil
	case j.Over(), j.State == "RUNNING", j.State == "COMPLETING", j.State == "SUSPENDED":
		text := s.started(j, t, lives)
		if waits, advice := s.isCutOff(); waits != "" && !j.Over() {
			return text + " " + waits, advice
		}
		return text, nil
	case j.State == "CONFIGURING", t != nil && t.end.IsZero():
		return s.starting(t, lives)
	}
	if text, advice := s.stopped(j); text != "" {
		return text, advice
	}
	if text := s.noBlock(j.Partition); text != "" {
		return text, nil
	}
	if t != nil && t.failed {
		if text, advice := s.refused(lives, t); text != "" {
			return text, advice
		}
	}
	return queued(j)
}

// started says how long a job that runs, or ran, has waited.
func (s *story) started(j *slurm.JobStatus, t *attempt, lives []*life) string {
	text := "It runs since " + clock(j.Started)
	if j.Over() {
		text = "It is over: " + j.State
	}
	if j.Started.IsZero() {
		return text + ", and never started."
	}
	if t == nil || t.failed || !slices.ContainsFunc(lives, func(l *life) bool { return !l.begin.Before(t.begin) }) {
		return text + "; its nodes were up already."
	}
	up := j.Started
	if !t.end.IsZero() {
		up = t.end // Slurm tells whole seconds only
	}
	return text + fmt.Sprintf("; it waited %s for its nodes.", span(up.Sub(t.begin)))
}

// isCutOff says that the head node does not hear nodes of the story, if so.
func (s *story) isCutOff() (string, []string) {
	if len(s.cut) == 0 {
		return "", nil
	}
	nodes := slices.Collect(maps.Keys(s.cut))
	slices.Sort(nodes)
	e := s.cut[nodes[0]]
	return fmt.Sprintf("The head node does not hear %s since %s, and no other node of the subnet: it waits for them, until %s at the latest. What runs there goes on.",
			few(nodes), clock(e.Time), e.Until.Format("2006-01-02 15:04")),
		[]string{
			"See what keeps the head node from the compute nodes: its network, security groups, network ACLs and routes of the subnets.",
			"Should you know that a node is broken: scontrol update nodename=" + few(nodes) + " state=down reason=broken has it replaced, and its jobs started anew.",
		}
}

// starting says which nodes a job waits for.
func (s *story) starting(t *attempt, lives []*life) (string, []string) {
	var late []*life
	for _, l := range lives {
		if l.ready.IsZero() || !l.ended.IsZero() {
			late = append(late, l)
		}
	}
	switch {
	case len(late) == 0:
		return "Its nodes are up: slurmctld starts it any moment.", nil
	case len(lives) == 1:
		stage, since := late[0].at()
		return fmt.Sprintf("It waits for %s: %s, for %s.", late[0].node, stage, span(s.facts.Now.Sub(since))), s.stageAdvice(late[0])
	}
	slices.SortStableFunc(late, func(a, b *life) int {
		_, x := a.at()
		_, y := b.at()
		return x.Compare(y)
	})
	stage, since := late[0].at()
	return fmt.Sprintf("It waits for %d of %d nodes, longest for %s: %s, for %s.", len(late), len(lives), late[0].node, stage, span(s.facts.Now.Sub(since))),
		s.stageAdvice(late[0])
}

// stageAdvice is what can be done about a node that is on its way for long.
func (s *story) stageAdvice(l *life) []string {
	stage, since := l.at()
	waited := s.facts.Now.Sub(since)
	switch {
	case strings.HasPrefix(stage, stageBoot) || strings.HasPrefix(stage, "boots: "):
		if waited < time.Minute {
			return nil
		}
		if strings.Contains(stage, "OnNode") {
			return []string{"That is a script of the cluster file. See what it does: " + streams(l) + "."}
		}
		return []string{"See what it does: " + streams(l) + "."}
	case stage == stageInstance && waited > 3*time.Minute:
		return []string{
			"The instance has not reported yet. Its console may say why: aws ec2 get-console-output --instance-id " + l.instance + " --output text.",
			"Security groups of yours must let compute nodes reach the head node.",
		}
	case stage == stageRegister && waited > time.Minute:
		return []string{"slurmd does not reach slurmctld, or is refused: see " + streams(l) + ", and /var/log/slurmctld.log on the head node."}
	}
	return nil
}

func streams(l *life) string {
	return "log streams of " + l.instance + " (boot, slurmd), or /var/log/parallelcluster/boot.log on the node"
}

// stopped says that the fleet, or the job's queue, does not take jobs.
func (s *story) stopped(j *slurm.JobStatus) (string, []string) {
	start := "Start the fleet: pcluster update-compute-fleet --cluster-name NAME --status START_REQUESTED."
	switch s.fleet {
	case "STOPPED", "STOPPING", "STOP_REQUESTED":
		return "The compute fleet is stopped.", []string{start}
	case "STARTING", "START_REQUESTED":
		return "The compute fleet is just starting.", nil
	}
	for _, queue := range strings.Split(j.Partition, ",") {
		if e, ok := s.disabled[queue]; ok {
			text, one := fmt.Sprintf("Queue %s is inactive (protected mode): %d of its nodes failed to start", queue, e.Count), "NAME, for one of them"
			if last, ok := s.failed[queue]; ok {
				text += fmt.Sprintf(", the last of them %s: %s", last.Nodes, strings.TrimRight(last.Why, ". \n"))
				one = last.Nodes
			}
			return text + ".", []string{
				"Find out why they did: pcluster why node " + one + "; /var/log/parallelcluster/clustermgtd and compute_console_output.log on the head node.",
				"Then let it go on. " + start,
			}
		}
	}
	return "", nil
}

// noBlock says that none of the capacity blocks is active from which a job could have
// its nodes.
func (s *story) noBlock(partitions string) string {
	text := ""
	for _, queue := range strings.Split(partitions, ",") {
		none := true
		for _, key := range slices.Sorted(maps.Keys(s.blocks)) {
			if strings.HasPrefix(key, queue+"/") {
				none = false
				if s.blocks[key].Code == "active" {
					return ""
				}
				text = s.waitsForBlock(key)
			}
		}
		if none {
			return "" // its nodes come from elsewhere
		}
	}
	return text
}

// waitsForBlock says that nodes have to wait for their capacity block, if they do.
func (s *story) waitsForBlock(key string) string {
	e, ok := s.blocks[key]
	if !ok || e.Code == "active" {
		return ""
	}
	if e.What == record.BlockEnds {
		text := blockIs(e)
		return strings.ToUpper(text[:1]) + text[1:] + "."
	}
	text := "It can't have instances: " + blockIs(e)
	if e.Until.After(s.facts.Now) {
		text += ", in " + span(e.Until.Sub(s.facts.Now))
	}
	return text + "."
}

// refused says why the nodes of the last attempt could not be had.
func (s *story) refused(lives []*life, t *attempt) (string, []string) {
	text := "It could not have its nodes: " + t.how + "."
	for _, l := range lives {
		if l.refused.Code == "" {
			continue
		}
		advice := adviceFor(l.refused.Code, l.refused.Message)
		if n, ok := slurm.ParseNodeName(l.node); ok {
			if e, still := s.exhausted[n.Queue+"/"+n.Resource]; still && e.Until.After(s.facts.Now) {
				advice = append(advice, fmt.Sprintf("Compute resource %s of queue %s is tried again after %s, in %s.",
					n.Resource, n.Queue, clock(e.Until), span(e.Until.Sub(s.facts.Now))))
			}
		}
		return fmt.Sprintf("It could not have its nodes: %s.", refusal(&entry{Entry: l.refused})), advice
	}
	return text, nil
}

// queued explains Slurm's own reasons.
func queued(j *slurm.JobStatus) (string, []string) {
	reason := j.Reason
	if text, ok := reasons[reason]; ok {
		return text, nil
	}
	if strings.HasPrefix(reason, "ReqNodeNotAvail") {
		return "The nodes that it could have are down, drained, reserved, or without capacity (" + reason + ").", []string{"See sinfo -R, and pcluster why node NAME for one of them."}
	}
	for _, word := range []string{"QOS", "Assoc", "MaxJobs", "MaxNode", "MaxCpu"} {
		if strings.Contains(reason, word) {
			return "A limit of the account, the user or the quality of service keeps it (" + reason + ").", []string{"See sacctmgr show assoc, sacctmgr show qos."}
		}
	}
	if reason == "" {
		return "It is in Slurm's queue.", nil
	}
	return "Slurm keeps it for a reason of its own: " + reason + ".", nil
}

// reasons are Slurm's most frequent ones. (Slurm documentation: Job Reason Codes.)
var reasons = map[string]string{
	"Resources":                   "It waits for nodes that other jobs have.",
	"Priority":                    "Jobs of higher priority are before it.",
	"Dependency":                  "It waits for other jobs to end (its dependency).",
	"DependencyNeverSatisfied":    "It will never start: what it depends on has failed. Cancel it.",
	"BeginTime":                   "It has a time to begin that has not come. Slurm sets one on jobs that lost their nodes.",
	"JobHeldUser":                 "Its owner holds it: scontrol release lets it go on.",
	"JobHeldAdmin":                "An administrator holds it.",
	"PartitionDown":               "Its queue is down.",
	"PartitionInactive":           "Its queue is inactive.",
	"PartitionTimeLimit":          "It wants more time than its queue allows.",
	"PartitionNodeLimit":          "It wants more nodes than its queue allows or has.",
	"Licenses":                    "It waits for licenses.",
	"Reservation":                 "It waits for its reservation.",
	"launch failed requeued held": "It failed to start on its nodes, and is held: scontrol release lets it go on.",
	"BadConstraints":              "It wants what no node has.",
	"NodeDown":                    "A node that it needs is down.",
	"JobArrayTaskLimit":           "As many tasks of its array run as it allows.",
	"InvalidAccount":              "Its account is not known.",
	"InvalidQOS":                  "Its quality of service is not known.",
}

// nodeVerdict says what keeps a node, or how it is.
func (s *story) nodeVerdict(n *slurm.Node, l *life) (string, []string) {
	name := slices.Collect(maps.Keys(s.nodes))[0]
	parts, ours := slurm.ParseNodeName(name)
	switch {
	case n == nil && s.facts.SlurmError == nil:
		return "Slurm has no such node.", []string{"Names of nodes: sinfo -N."}
	case !ours:
		return "It is not a node of the fleet: nobody but Slurm looks after it.", nil
	}
	key := parts.Queue + "/" + parts.Resource
	var state slurm.State
	if n != nil {
		state = n.State
	}
	switch {
	case l != nil && l.ended.IsZero() && l.ready.IsZero():
		stage, since := l.at()
		return fmt.Sprintf("It is on its way: %s, for %s.", stage, span(s.facts.Now.Sub(since))), s.stageAdvice(l)
	case l != nil && l.ended.IsZero() && !state.Down() && !state.PoweredDown() && !state.PoweringDown():
		text := fmt.Sprintf("It is up as %s since %s, %s after it was asked for", l.instance, clock(l.ready), span(l.ready.Sub(l.begin)))
		if waits, advice := s.isCutOff(); waits != "" {
			return text + ". " + waits, advice
		}
		if state.NotResponding() {
			return text + ". It does not answer slurmctld, which gives it up, and starts its jobs anew, if that lasts for SlurmdTimeout.", []string{"See what it does: " + streams(l) + "."}
		}
		if state.Drained() || state.Has("DRAIN", "DRAINING") {
			return text + "; it gets no more jobs, as it is drained.", nil
		}
		return text + ".", nil
	}
	if text, advice := s.stopped(&slurm.JobStatus{Partition: parts.Queue}); text != "" {
		return text, advice
	}
	if text := s.waitsForBlock(key); text != "" {
		return text, nil
	}
	if e, ok := s.exhausted[key]; ok && e.Until.After(s.facts.Now) {
		return fmt.Sprintf("Its compute resource can't be had, and is tried again after %s, in %s: %s.", clock(e.Until), span(e.Until.Sub(s.facts.Now)), refusal(&entry{Entry: e})),
			adviceFor(e.Code, e.Message)
	}
	if e, ok := s.paused[key]; ok && parts.Static && e.Until.After(s.facts.Now) {
		text := fmt.Sprintf("Its launch failed; it is tried again after %s, in %s", clock(e.Until), span(e.Until.Sub(s.facts.Now)))
		if l != nil && l.refused.Code != "" {
			return text + ": " + refusal(&entry{Entry: l.refused}) + ".", adviceFor(l.refused.Code, l.refused.Message)
		}
		return text + ".", nil
	}
	switch {
	case l == nil && (state.PoweredDown() || n == nil):
		return "It has no instance, as no job needs it.", nil
	case l == nil:
		return "The record does not go back to its start.", nil
	case state.PoweredDown() || state.PoweringDown():
		return "It has no instance any more: " + l.how + ".", failedAdvice(l)
	case l.how != "":
		return "It is out of service: " + l.how + ".", failedAdvice(l)
	}
	return "It is " + string(state) + ".", nil
}

// adviceFor is what people can do about a refusal of EC2's.
func adviceFor(code, message string) []string { return []string{fleet.Advice(code, message)} }

func failedAdvice(l *life) []string {
	if l.refused.Code != "" && l.got.IsZero() {
		return adviceFor(l.refused.Code, l.refused.Message)
	}
	if l.ready.IsZero() && l.instance != "" {
		return []string{"See what it did: " + streams(l) + "; its console is in /var/log/parallelcluster/compute_console_output.log on the head node."}
	}
	return nil
}
