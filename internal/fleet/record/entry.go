// Package record is the memory of what happened to a fleet: what Slurm asked for, what
// was tried, refused, launched and lost, and why. Answers to "why does my job wait",
// metrics and the event log are all made from it, so that they agree.
//
// The planner returns entries as data; [File] keeps them on disk, a line of JSON each,
// across restarts and within bounds. [Read] returns them again.
package record

import "time"

// A Kind says what happened. Readers skip kinds that they don't know.
type Kind string

// What happens to a fleet, about in the order in which a node goes through it.
const (
	DaemonStarted  Kind = "daemon-started"
	Asked          Kind = "asked"           // slurmctld wants nodes, for jobs
	AskMissed      Kind = "ask-missed"      // its request never came; nodes are launched all the same
	JobWaits       Kind = "job-waits"       // a job was given nodes that are not up yet
	LaunchTried    Kind = "launch-tried"    // a request to EC2 begins
	LaunchAnswered Kind = "launch-answered" // EC2 has given instances
	LaunchRefused  Kind = "launch-refused"  // EC2 has given none, or fewer; the code says why
	NodeFailed     Kind = "node-failed"     // nodes can't be had: Slurm sets them down
	Assigned       Kind = "assigned"        // instances became nodes
	GivenBack      Kind = "given-back"      // instances that no whole job could use
	NamingFailed   Kind = "naming-failed"
	Named          Kind = "named"   // nodes can learn their names, Slurm knows their addresses
	Booting        Kind = "booting" // a node says which steps of its boot are under way
	Booted         Kind = "booted"  // all of them are over, in the time that each took
	BootFailed     Kind = "boot-failed"
	Registered     Kind = "registered"     // slurmd has registered: the node can take jobs
	JobReleased    Kind = "job-released"   // slurmctld was told that a job's nodes are up, or lost
	StartFailed    Kind = "start-failed"   // a node did not come up; counts for protected mode
	ResumeTimeout  Kind = "resume-timeout" // a node was not up in slurmctld's ResumeTimeout
	Ailing         Kind = "ailing"         // EC2 or the node itself says that it won't go on well
	Draining       Kind = "draining"
	Requeued       Kind = "requeued" // jobs are sent back before their node goes
	CutOff         Kind = "cut-off"  // nodes are waited for that nobody hears, until a time
	Answers        Kind = "answers"  // the systems of silent nodes answer: they are waited for no more
	InTouch        Kind = "in-touch" // they are heard again
	Lost           Kind = "lost"     // a node's instance is gone
	Replaced       Kind = "replaced" // a node that is down or drained makes room for a new one
	Suspended      Kind = "suspended"
	Terminated     Kind = "terminated" // EC2 is told to end instances
	Gone           Kind = "gone"       // EC2 shows that they have ended
	Exhausted      Kind = "exhausted"  // a compute resource has no capacity, until a time
	CapacityBack   Kind = "capacity-back"
	Paused         Kind = "paused" // static nodes are not tried again until a time
	QueueDisabled  Kind = "queue-disabled"
	BlockChanged   Kind = "capacity-block"      // one is in another state, until a time
	BlockEnds      Kind = "capacity-block-ends" // the instances of one end at a time that is near
	FleetStatus    Kind = "fleet-status"
)

// An Entry is something that happened. Only what matters for its kind is there.
type Entry struct {
	Time time.Time `json:"time"`
	What Kind      `json:"what"`

	Nodes     string            `json:"nodes,omitempty"` // hostlist
	Jobs      []string          `json:"jobs,omitempty"`
	Instances map[string]string `json:"instances,omitempty"` // to nodes; names that nobody knows are empty
	Queue     string            `json:"queue,omitempty"`
	Resource  string            `json:"compute_resource,omitempty"`

	Block string `json:"capacity_block,omitempty"` // ID of the reservation that nodes come from

	Token   string   `json:"token,omitempty"`   // of the launch, as EC2 was given it
	Types   []string `json:"types,omitempty"`   // that the launch may choose from
	Subnets []string `json:"subnets,omitempty"` // likewise, if there is a choice
	Count   int      `json:"count,omitempty"`   // instances that were wanted, given or refused
	Min     int      `json:"min,omitempty"`     // fewer are of no use

	Code    string `json:"code,omitempty"`    // EC2's, or one of ours
	Class   string `json:"class,omitempty"`   // of the code
	Message string `json:"message,omitempty"` // EC2's
	Why     string `json:"why,omitempty"`     // for people

	Until time.Time          `json:"until,omitzero"`
	Steps []string           `json:"steps,omitempty"` // of a boot, that are under way
	Took  map[string]float64 `json:"took,omitempty"`  // seconds, of steps that are over
}
