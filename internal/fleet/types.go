package fleet

import (
	"maps"
	"time"

	"pcluster/internal/fleet/record"
	"pcluster/internal/slurm"
)

// Strategies for when EC2 can't give all nodes of a job.
const (
	AllOrNothing       = "all-or-nothing"        // launch all at once or none
	GreedyAllOrNothing = "greedy-all-or-nothing" // launch what there is, use it if it makes a whole job
	BestEffort         = "best-effort"           // use what there is
)

// A Policy is what the cluster's configuration says about its fleet.
type Policy struct {
	Cluster   string
	Strategy  string
	Resources slurm.Resources   // how to launch; its queues are the partitions that are ours
	Queues    map[string]string // partition to the hostlist of its nodes

	LaunchBatch          int           // most instances in one request
	OrphanTimeout        time.Duration // after which an instance that belongs to no node is terminated
	CapacityTimeout      time.Duration // for which a compute resource without capacity is left alone; 0: not at all
	ProtectedFailures    int           // failed starts that make a queue inactive; 0: never
	KeepDrained          bool          // leave drained nodes alone
	KeepDown             bool          // leave nodes that are down alone
	MissedRequestTimeout time.Duration // after which a node that powers up is launched without having been asked for
	MissingTimeout       time.Duration // for which EC2 may not know a new instance
	StaticTimeout        time.Duration // after which a static node that is not up is replaced; 0: at slurmctld's ResumeTimeout
	HandsOff             bool          // only requests and what nodes say are answered: what is found is left alone

	IgnoreChecks  bool          // EC2's status checks don't matter
	IgnoreEvents  bool          // nor do events that AWS has scheduled
	IgnoreBlocks  bool          // nor whether capacity blocks are active
	BlockInterval time.Duration // between looks at capacity blocks that are not about to begin or end
	BlockLead     time.Duration // before the instances of a block end, in which no job starts that would be cut short
	HealthTimeout time.Duration // for which a status check may fail
	HealthGrace   time.Duration // after the start of slurmd, in which health does not matter

	Reporting   map[string]bool // queues whose nodes certainly reach the head node to report
	FirstReport time.Duration   // after which a node that never reported won't boot; 0: it may
	Progress    time.Duration   // for which a boot may stand still; 0: for ever
	Patience    time.Duration   // for which nodes without jobs wait for a head node that is gone
	NodesStay   bool            // they wait for ever

	// CutOffTimeout is for how long nodes in service are waited for when the head node
	// seems to be cut off from them; 0: for as long as slurmctld does.
	CutOffTimeout time.Duration

	DebugEvents   bool   // the event log has all that there is
	NoConsoles    bool   // EC2 is not asked what instances said that failed to start
	HeartbeatFile string // gets the time once a minute while the fleet is looked after; empty: none
}

// DefaultPolicy returns the policy of a cluster whose users changed nothing.
func DefaultPolicy() Policy {
	return Policy{
		Strategy:             AllOrNothing,
		LaunchBatch:          500,
		OrphanTimeout:        5 * time.Minute,
		CapacityTimeout:      10 * time.Minute,
		ProtectedFailures:    10,
		MissedRequestTimeout: 5 * time.Second,
		MissingTimeout:       time.Minute,
		BlockInterval:        blocksInterval,
		BlockLead:            10 * time.Minute,
		HealthTimeout:        3 * time.Minute,
		HealthGrace:          3 * time.Minute,
		FirstReport:          10 * time.Minute,
		Progress:             5 * time.Minute,
		Patience:             10 * time.Minute,
		CutOffTimeout:        24 * time.Hour,
	}
}

// An Instance is a compute node's instance as EC2 knows it.
type Instance struct {
	ID       string
	Queue    string
	Resource string
	State    string // pending, running, …; as EC2 spells it
	Addr     string // private address of the first interface
	Hostname string // private DNS name
	Subnet   string
	Launched time.Time
	Token    string // client token of the request that launched it, if EC2 tells
}

// Live reports an instance that costs money, or will as soon as it has started.
func (i *Instance) Live() bool {
	return i.State == "pending" || i.State == "running" || i.State == "stopping" || i.State == "stopped"
}

// A Request is slurmctld's demand for nodes to start.
type Request struct {
	Nodes []string
	Jobs  []slurm.Job // the jobs that the nodes are for; nodes may be for none
}

// A Pool is one of the places that instances of a compute resource come from.
type Pool struct {
	Type   string `json:"type"`
	Subnet string `json:"subnet,omitempty"` // empty: the launch template's
}

// A Shortage is a pool that was found empty.
type Shortage struct {
	Pool
	Code string `json:"code"`
}

// A Launch is one request to EC2. Everything that it needs to be repeated is in it.
type Launch struct {
	Token    string    `json:"token"` // EC2 launches once for each
	Group    string    `json:"group"`
	Queue    string    `json:"queue"`
	Resource string    `json:"resource"`
	Nodes    []string  `json:"nodes"`
	Min      int       `json:"min"`               // fewer instances than this are of no use
	Without  []Pool    `json:"without,omitempty"` // that need not be tried
	Since    time.Time `json:"since"`
}

// An Outcome is EC2's answer to a Launch.
type Outcome struct {
	Token     string     `json:"token"`
	Instances []Instance `json:"instances,omitempty"`
	Code      string     `json:"code,omitempty"` // why there are not as many as wanted
	Message   string     `json:"message,omitempty"`
	Short     []Shortage `json:"-"` // pools that had none, or not enough
}

// A Group is what is launched for one purpose, possibly by several Launches. When
// all of them were answered its jobs get their nodes, in order.
type Group struct {
	Order int        `json:"order"` // groups are settled in this order
	Jobs  []GroupJob `json:"jobs"`
	Parts []string   `json:"parts"`         // tokens of its launches
	Off   []string   `json:"off,omitempty"` // nodes that Slurm has suspended since
}

// A GroupJob is a job's share in a group. Its nodes may be others' too.
type GroupJob struct {
	ID    string   `json:"id"` // empty: the nodes are for no job
	Nodes []string `json:"nodes"`
	Whole bool     `json:"whole"` // some of the nodes are as good as none
}

// An Assignment is the instance of a node.
type Assignment struct {
	Node     string    `json:"node"`
	Instance string    `json:"instance"`
	Addr     string    `json:"addr"`
	Hostname string    `json:"hostname"`
	Subnet   string    `json:"subnet,omitempty"`
	Since    time.Time `json:"since"`
	Jobs     []string  `json:"jobs,omitempty"`     // that it was launched for
	Named    bool      `json:"named,omitempty"`    // the node can learn its name, and Slurm its address
	Seen     bool      `json:"seen,omitempty"`     // EC2 has shown the instance since it was launched
	Ready    bool      `json:"ready,omitempty"`    // slurmd has registered
	Progress int       `json:"progress,omitempty"` // of its boot, as last recorded: 1, and twice the steps that are over, and those under way; 0: nothing was heard
	Booted   bool      `json:"booted,omitempty"`   // the boot is over, as the node says
	Attempts int       `json:"attempts,omitempty"` // to name it that came to no certain end
}

// Exhausted is a compute resource, or a pool of one, that is left alone for a while,
// since a launch failed in a way in which the next would fail, too.
type Exhausted struct {
	Code    string    `json:"code"`
	Message string    `json:"message,omitempty"`
	Since   time.Time `json:"since"`
	Until   time.Time `json:"until"`
}

// A Stray is an instance that is nobody's.
type Stray struct {
	Since time.Time `json:"since"`         // it was seen first
	Old   bool      `json:"old,omitempty"` // at the first look of this memory: it may be somebody's
}

// A Pause keeps static nodes whose launch fails from being tried all the time.
type Pause struct {
	Until time.Time     `json:"until"`
	Last  time.Duration `json:"last"`
}

// Memory is what Plan remembers from one call to the next. It is a value: Plan
// returns a changed copy.
type Memory struct {
	Epoch    int64 `json:"epoch"` // set when the memory is new, so that tokens never recur
	Sequence int   `json:"sequence"`

	Groups    map[string]Group      `json:"groups,omitempty"`
	Launches  map[string]Launch     `json:"launches,omitempty"`  // not answered yet, by token
	Outcomes  map[string]Outcome    `json:"outcomes,omitempty"`  // of groups that wait for more, by token
	Answered  map[string]Launch     `json:"answered,omitempty"`  // the launches of Outcomes
	Assigned  map[string]Assignment `json:"assigned,omitempty"`  // by node
	Ending    map[string]time.Time  `json:"ending,omitempty"`    // instances told to terminate, and when
	Exhausted map[string]Exhausted  `json:"exhausted,omitempty"` // by queue/resource
	Short     map[string]Exhausted  `json:"short,omitempty"`     // by queue/resource/type/subnet
	Paused    map[string]Pause      `json:"paused,omitempty"`
	Failures  map[string]int        `json:"failures,omitempty"` // starts that failed, by queue/resource

	Looked bool `json:"looked,omitempty"` // EC2 was looked at since the memory is new
	// Recalled: the table of names was read since the memory is new. What it said of
	// instances that are no node's yet is in Recorded, by node.
	Recalled bool              `json:"recalled,omitempty"`
	Recorded map[string]string `json:"recorded,omitempty"`

	Strays map[string]Stray `json:"strays,omitempty"` // instances that are nobody's, by ID

	Unclaimed map[string]time.Time `json:"unclaimed,omitempty"` // nodes that power up and were never asked for
	Touched   map[string]time.Time `json:"touched,omitempty"`   // nodes whose state was changed since the last look at it

	Blocks  map[string]Block   `json:"capacity_blocks,omitempty"` // by ID
	Closing map[string]Closing `json:"closing,omitempty"`         // capacity blocks that end soon, by ID

	Warnings map[string]Warning `json:"warnings,omitempty"` // by node
	Impaired map[string]bool    `json:"impaired,omitempty"` // instances that fail a status check, as last asked
	Silent   map[string]Silence `json:"silent,omitempty"`   // by node
	Heard    map[string]bool    `json:"heard,omitempty"`    // queue/resource of which a node ever reported

	Status Status `json:"status,omitempty"` // of the fleet, as last known
}

// NewMemory returns the memory of a fleet that never did anything.
func NewMemory(now time.Time) Memory { return Memory{Epoch: now.UnixNano()} }

func (m Memory) clone() Memory {
	m.Groups = cloneMap(m.Groups)
	m.Launches = cloneMap(m.Launches)
	m.Outcomes = cloneMap(m.Outcomes)
	m.Answered = cloneMap(m.Answered)
	m.Assigned = cloneMap(m.Assigned)
	m.Ending = cloneMap(m.Ending)
	m.Exhausted = cloneMap(m.Exhausted)
	m.Short = cloneMap(m.Short)
	m.Paused = cloneMap(m.Paused)
	m.Failures = cloneMap(m.Failures)
	m.Recorded = cloneMap(m.Recorded)
	m.Strays = cloneMap(m.Strays)
	m.Unclaimed = cloneMap(m.Unclaimed)
	m.Touched = cloneMap(m.Touched)
	m.Closing = cloneMap(m.Closing)
	m.Warnings = cloneMap(m.Warnings)
	m.Impaired = cloneMap(m.Impaired)
	m.Silent = cloneMap(m.Silent)
	m.Heard = cloneMap(m.Heard)
	return m
}

func cloneMap[K comparable, V any](m map[K]V) map[K]V {
	if m == nil {
		return make(map[K]V)
	}
	return maps.Clone(m)
}

// notAfter cuts what is remembered to have happened later than now: the clock was set
// back while nobody ran. Whatever waits then begins to wait now.
func (m *Memory) notAfter(now time.Time) {
	cut := func(t time.Time) time.Time {
		if t.After(now) {
			return now
		}
		return t
	}
	for k, v := range m.Launches {
		v.Since = cut(v.Since)
		m.Launches[k] = v
	}
	for k, v := range m.Answered {
		v.Since = cut(v.Since)
		m.Answered[k] = v
	}
	for k, v := range m.Assigned {
		v.Since = cut(v.Since)
		m.Assigned[k] = v
	}
	for k, v := range m.Ending {
		m.Ending[k] = cut(v)
	}
	for k, v := range m.Silent {
		v.Since, v.Vouched, v.Knocked, v.Answered = cut(v.Since), cut(v.Vouched), cut(v.Knocked), cut(v.Answered)
		m.Silent[k] = v
	}
	for k, v := range m.Strays {
		v.Since = cut(v.Since)
		m.Strays[k] = v
	}
	for _, bars := range []map[string]Exhausted{m.Exhausted, m.Short} {
		for k, v := range bars {
			if v.Since.After(now) {
				v.Since, v.Until = now, now.Add(v.Until.Sub(v.Since))
				bars[k] = v
			}
		}
	}
	for k, v := range m.Paused {
		if v.Until.After(now.Add(v.Last)) {
			v.Until = now.Add(v.Last)
			m.Paused[k] = v
		}
	}
}

// Observed is what has been seen and heard since the last call of Plan. Everything
// in it is optional.
type Observed struct {
	// Restarted: the process is new, and does not know which of the actions in
	// its memory were carried out.
	Restarted bool
	// Recorded are the instances of nodes as the table of names has them, by node; nil:
	// not asked. It is, if the memory is new.
	Recorded map[string]string

	Resumed      []Request
	Suspended    []string // nodes
	ResumeFailed []string // nodes that were not up in time
	Outcomes     []Outcome
	Named        []Assignment // whose names and addresses are known now
	NamingFailed []Assignment // whose instances can't learn them
	NamedInPart  []Assignment // whose addresses Slurm may not know, or whose names may not resolve

	Up     []SlurmView // of some nodes that are up, told before the next look
	Slurm  *SlurmView
	EC2    *EC2View // only together with a SlurmView that is younger
	Health *HealthView
	Blocks map[string]Block // capacity blocks, by ID; nil: not asked
	Said   []Presence       // what nodes have just said, or that they don't say anything any more
	// Answered are silent nodes whose systems have answered a knock.
	Answered []Assignment
	Nodes    *NodesView // all that they said; only together with a SlurmView
	Status   Status     // of the fleet, read from where users request changes
}

// A SlurmView is a look at Slurm.
type SlurmView struct {
	At         time.Time // before the first question
	Nodes      []slurm.Node
	Partitions map[string]string // state by name
	Jobs       []slurm.Job       // that wait for nodes to start
	// Reservations are nodes by name; nil: not asked.
	Reservations map[string]string
}

// An EC2View is a look at the fleet's instances.
type EC2View struct {
	At        time.Time // before the question
	Instances []Instance
}

// Actions are what Plan wants done. They can be carried out at once and in any
// order, except that node updates keep theirs. All are safe to repeat.
type Actions struct {
	Launch     []Launch
	Assign     []Assignment // tell the node its name, and Slurm the address
	Terminate  []string     // instances
	Nodes      []slurm.NodeUpdate
	Restart    []Restart    // together with Nodes
	Look       bool         // at Slurm and EC2, now
	Knock      []Assignment // silent nodes: do their systems answer?
	Requeue    []string     // nodes whose jobs are to go back to the queue
	Partitions []PartitionUpdate
	Reserve    []slurm.Reservation // nodes that jobs are to be kept from
	Release    []string            // reservations that are over
	Notes      []JobNote
	Failed     []NodeFailure // for the event log
	Inspect    []Assignment  // whose instances failed to start: their consoles may say why
	Status     *StatusChange
	Record     []record.Entry // what happened, in order
	Log        []string       // what was decided and why, for people
}

// A Restart makes the jobs that lose their nodes start again after a delay of ours.
// Slurm's own, of more than a minute, is for nodes that may still run the job.
type Restart struct {
	Nodes []string
	Jobs  []string // that have lost the nodes already
	After time.Duration
}

// A PartitionUpdate gives a partition a state.
type PartitionUpdate struct{ Name, State string }

// A JobNote tells the owner of a job what keeps it.
type JobNote struct{ Job, Text string }

// A NodeFailure is a node that could not be launched.
type NodeFailure struct{ Node, Code, Message string }
