package slurm

import (
	"strings"
	"time"
)

// A State is the state of a node as scontrol spells it, IDLE+CLOUD+POWERED_DOWN:
// a base state and any number of flags.
type State string

// Has says whether the base state or one of the flags is any of names.
func (s State) Has(names ...string) bool {
	// Every look asks this many times of every node.
	for rest := string(s); rest != ""; {
		flag := rest
		if end := strings.IndexByte(rest, '+'); end >= 0 {
			flag, rest = rest[:end], rest[end+1:]
		} else {
			rest = ""
		}
		for _, name := range names {
			if flag == name {
				return true
			}
		}
	}
	return false
}

// Down reports a node that Slurm has given up and that is not on its way off.
func (s State) Down() bool { return s.Has("DOWN", "ERROR", "FAIL") && !s.PoweringDown() }

// PoweredDown reports a node without an instance, as it should be. It may be DOWN
// nevertheless, for want of capacity.
func (s State) PoweredDown() bool { return s.Has("POWERED_DOWN") }

// PoweringDown reports a node that Slurm is taking out of service, or is about to.
func (s State) PoweringDown() bool { return s.Has("POWERING_DOWN", "POWER_DOWN") }

// PoweringUp reports a node that was told to start and has not registered yet.
func (s State) PoweringUp() bool { return s.Has("POWERING_UP", "POWER_UP") }

// NotResponding reports a node whose slurmd does not answer.
func (s State) NotResponding() bool { return s.Has("NOT_RESPONDING") }

// Drained reports a node that is not to be used and has no job left.
func (s State) Drained() bool {
	return s.Has("DRAIN", "DRAINED") && s.Has("IDLE", "DOWN") && !s.Has("COMPLETING")
}

// HasJob reports a node that a job is on.
func (s State) HasJob() bool { return s.Has("MIXED", "ALLOCATED", "COMPLETING") }

// Rebooting reports a node that was told to reboot.
func (s State) Rebooting() bool { return s.Has("REBOOT_REQUESTED", "REBOOT_ISSUED", "REBOOT") }

// Ready reports a node that jobs can start on now.
func (s State) Ready() bool {
	return s.Has("IDLE", "MIXED", "ALLOCATED", "COMPLETING") &&
		!s.PoweredDown() && !s.PoweringDown() && !s.PoweringUp() && !s.NotResponding() && !s.Has("INVALID_REG")
}

// A Node is a node as slurmctld knows it.
type Node struct {
	Name          string
	Addr          string // the name itself while the node has no instance
	Hostname      string
	State         State
	Partitions    []string
	Reason        string    // without the user and time that Slurm adds
	InstanceID    string    // as slurmd reported it; empty before, and with older versions
	SlurmdStarted time.Time // zero if unknown
	LastBusy      time.Time
}

// parseNodes reads the answer of scontrol -o show nodes: a line per node.
func parseNodes(out string) []Node {
	var nodes []Node
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "NodeName=") {
			continue
		}
		n := Node{
			Name:          field(line, "NodeName"),
			Addr:          field(line, "NodeAddr"),
			Hostname:      field(line, "NodeHostName"),
			State:         State(field(line, "State")),
			InstanceID:    field(line, "InstanceId"),
			Reason:        reason(line),
			SlurmdStarted: slurmTime(field(line, "SlurmdStartTime")),
			LastBusy:      slurmTime(field(line, "LastBusyTime")),
		}
		if p := field(line, "Partitions"); p != "" {
			n.Partitions = strings.Split(p, ",")
		}
		nodes = append(nodes, n)
	}
	return nodes
}

// field returns the value of a key whose values have no blanks. The first
// occurrence counts: what users write, such as comments, stands at the end.
func field(line, key string) string {
	rest := line
	if !strings.HasPrefix(line, key+"=") {
		i := strings.Index(line, " "+key+"=")
		if i < 0 {
			return ""
		}
		rest = line[i+1:]
	}
	value, _, _ := strings.Cut(rest[len(key)+1:], " ")
	if value == "(null)" || value == "N/A" {
		return ""
	}
	return value
}

// afterReason are the keys that can follow the reason on a node's line.
var afterReason = []string{" Comment=", " Extra=", " InstanceId=", " InstanceType=", " ReservationName="}

// reason returns the text after Reason=, up to the user and time in brackets.
func reason(line string) string {
	i := strings.Index(line, " Reason=")
	if i < 0 {
		return ""
	}
	text := line[i+len(" Reason="):]
	if end := strings.LastIndex(text, " ["); end >= 0 && strings.Contains(text[end:], "@") {
		return text[:end]
	}
	for _, key := range afterReason {
		text, _, _ = strings.Cut(text, key)
	}
	return text
}

// slurmTime reads a time as Slurm prints it, in the local zone.
func slurmTime(s string) time.Time {
	t, err := time.ParseInLocation("2006-01-02T15:04:05", s, time.Local)
	if err != nil {
		return time.Time{}
	}
	return t
}

// A Partition is a queue as slurmctld knows it.
type Partition struct {
	Name  string
	State string // UP, INACTIVE, DRAIN or DOWN
}

func parsePartitions(out string) []Partition {
	var partitions []Partition
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		if name := field(line, "PartitionName"); name != "" {
			partitions = append(partitions, Partition{Name: name, State: field(line, "State")})
		}
	}
	return partitions
}

// A Job is a job that has nodes.
type Job struct {
	ID    string
	Nodes []string
}
