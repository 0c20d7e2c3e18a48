package slurm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Time-outs of Slurm's commands, which wait long for a busy slurmctld.
const (
	queryTimeout  = 30 * time.Second
	updateTimeout = 60 * time.Second
)

// A Runner runs a command and returns what it printed. Its error holds what the
// command printed to standard error.
type Runner func(ctx context.Context, stdin, name string, args ...string) (stdout string, err error)

// Exec is the Runner that runs commands of this machine.
func Exec(ctx context.Context, stdin, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = time.Second
	if stdin != "" {
		cmd.Stdin = strings.NewReader(stdin)
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		if said := strings.TrimSpace(stderr.String()); said != "" {
			err = fmt.Errorf("%w: %s", err, said)
		}
		return stdout.String(), fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return stdout.String(), nil
}

// A Client asks slurmctld, through Slurm's own commands, and tells it.
type Client struct {
	Run Runner
	Bin string // directory of the commands; BinDir if empty
}

func (c *Client) command(name string) string {
	if c.Bin == "" {
		return BinDir + "/" + name
	}
	return c.Bin + "/" + name
}

func (c *Client) query(ctx context.Context, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	return c.Run(ctx, "", c.command(name), args...)
}

// Nodes returns the nodes of a hostlist, or all nodes if it is empty.
func (c *Client) Nodes(ctx context.Context, hostlist string) ([]Node, error) {
	args := []string{"-o", "show", "nodes"}
	if hostlist != "" {
		args = append(args, hostlist)
	}
	out, err := c.query(ctx, "scontrol", args...)
	if err != nil {
		return nil, err
	}
	return parseNodes(out), nil
}

// Partitions returns all partitions.
func (c *Client) Partitions(ctx context.Context) ([]Partition, error) {
	out, err := c.query(ctx, "scontrol", "-o", "show", "partitions")
	if err != nil {
		return nil, err
	}
	return parsePartitions(out), nil
}

// ConfiguringJobs returns the jobs that wait for their nodes to start.
func (c *Client) ConfiguringJobs(ctx context.Context) ([]Job, error) {
	out, err := c.query(ctx, "squeue", "-h", "-t", "CF", "-o", "%A|%N")
	if err != nil {
		return nil, err
	}
	var jobs []Job
	for line := range strings.Lines(out) {
		id, list, _ := strings.Cut(strings.TrimSpace(line), "|")
		nodes, err := Expand(list)
		if err != nil {
			return nil, fmt.Errorf("nodes of job %s: %w", id, err)
		}
		if len(nodes) > 0 {
			jobs = append(jobs, Job{ID: id, Nodes: nodes})
		}
	}
	return jobs, nil
}

// Ping asks whether slurmctld answers.
func (c *Client) Ping(ctx context.Context) error {
	out, err := c.query(ctx, "scontrol", "ping")
	if err != nil {
		return err
	}
	if !strings.Contains(out, " UP") && !strings.Contains(out, "is UP") {
		return fmt.Errorf("slurmctld is not up: %s", strings.TrimSpace(out))
	}
	return nil
}

// States that a node can be told to take.
const (
	StateDown           = "down"
	StateDrain          = "drain"
	StateResume         = "resume"
	StateUndrain        = "undrain" // also has slurmctld ask the node to register, and wait for it
	StatePowerUp        = "power_up"
	StatePowerDownForce = "power_down_force"
)

// A NodeUpdate is a change to nodes: those with equal State and Reason are changed
// by one message.
type NodeUpdate struct {
	Nodes  []string
	State  string // one of the constants, or empty
	Reason string
	// Addrs and Hostnames, if any, are as long as Nodes.
	Addrs     []string
	Hostnames []string
}

// maxNodesPerUpdate keeps one message, and the time that slurmctld holds its lock
// for it, small.
const maxNodesPerUpdate = 500

// UpdateNodes carries out the updates in their order, by one scontrol. Updates that
// slurmctld refuses don't keep others from happening.
func (c *Client) UpdateNodes(ctx context.Context, updates ...NodeUpdate) error {
	var commands []string
	for _, u := range updates {
		for start := 0; start < len(u.Nodes); start += maxNodesPerUpdate {
			end := min(start+maxNodesPerUpdate, len(u.Nodes))
			commands = append(commands, u.command(start, end))
		}
	}
	return c.script(ctx, commands)
}

func (u *NodeUpdate) command(start, end int) string {
	var b strings.Builder
	b.WriteString("update nodename=")
	if len(u.Addrs) > 0 || len(u.Hostnames) > 0 {
		// The lists are paired by position, so that names must stay in their order.
		b.WriteString(strings.Join(u.Nodes[start:end], ","))
	} else {
		b.WriteString(Compress(u.Nodes[start:end]))
	}
	if len(u.Addrs) > 0 {
		b.WriteString(" nodeaddr=" + strings.Join(u.Addrs[start:end], ","))
	}
	if len(u.Hostnames) > 0 {
		b.WriteString(" nodehostname=" + strings.Join(u.Hostnames[start:end], ","))
	}
	if u.State != "" {
		b.WriteString(" state=" + u.State)
	}
	if u.Reason != "" {
		b.WriteString(` reason="` + clean(u.Reason) + `"`)
	}
	return b.String()
}

// clean takes from a text what would end it, or the command, early.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '"' || r == '\\':
			return '\''
		case r < ' ':
			return ' '
		}
		return r
	}, text)
}

// script has one scontrol carry out several commands. If any of them fails each is
// tried again by itself, to learn which one it was.
func (c *Client) script(ctx context.Context, commands []string) error {
	if len(commands) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, updateTimeout)
	defer cancel()
	_, err := c.Run(ctx, strings.Join(commands, "\n")+"\n", c.command("scontrol"))
	if err == nil || ctx.Err() != nil {
		return err
	}
	if len(commands) == 1 {
		return fmt.Errorf("%s: %w", commands[0], err)
	}
	var errs []error
	for _, command := range commands {
		if _, err := c.Run(ctx, command+"\n", c.command("scontrol")); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", command, err))
		}
	}
	return errors.Join(errs...)
}

// SetPartitions gives partitions a state: UP or INACTIVE.
func (c *Client) SetPartitions(ctx context.Context, state string, names ...string) error {
	commands := make([]string, len(names))
	for i, name := range names {
		commands[i] = "update partitionname=" + name + " state=" + state
	}
	return c.script(ctx, commands)
}

// A Place is a job's place in the queue.
type Place struct {
	Job      string
	Priority int64
	Nice     int64
}

// JobsOn returns the jobs that have any of the nodes.
func (c *Client) JobsOn(ctx context.Context, hostlist string) ([]Place, error) {
	queued, err := c.queued(ctx, "-w", hostlist)
	places := make([]Place, len(queued))
	for i, q := range queued {
		places[i] = q.Place
	}
	return places, err
}

// A queuedJob is a job as squeue shows it.
type queuedJob struct {
	Place
	pending bool
	delayed bool // until its time has come
}

func (c *Client) queued(ctx context.Context, choice ...string) ([]queuedJob, error) {
	out, err := c.query(ctx, "squeue", append([]string{"-h", "-o", "%A|%Q|%y|%t|%r"}, choice...)...)
	if err != nil {
		return nil, err
	}
	var jobs []queuedJob
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimSpace(line), "|")
		if len(f) != 5 {
			return nil, fmt.Errorf("squeue says %q of a job", line)
		}
		q := queuedJob{Place: Place{Job: f[0]}, pending: f[3] == "PD", delayed: f[4] == "BeginTime"}
		q.Priority, err = strconv.ParseInt(f[1], 10, 64)
		if err == nil {
			q.Nice, err = strconv.ParseInt(f[2], 10, 64)
		}
		if err != nil {
			return nil, fmt.Errorf("squeue says %q of a job: %w", line, err)
		}
		jobs = append(jobs, q)
	}
	return jobs, nil
}

// StartJobs lets jobs that came back to the queue start after a delay instead of one
// of Slurm's, and gives them back the places that they had: Slurm puts them behind all
// others of their priority, and forgets how long they have waited. Without a delay it
// is about those that wait for their time only.
func (c *Client) StartJobs(ctx context.Context, after time.Duration, before ...Place) error {
	if len(before) == 0 {
		return nil
	}
	ids := make([]string, len(before))
	for i, p := range before {
		ids[i] = p.Job
	}
	queued, err := c.queued(ctx, "-j", strings.Join(ids, ","))
	if err != nil {
		return err
	}
	var commands []string
	for _, q := range queued {
		i := slices.Index(ids, q.Job)
		if i < 0 || after == 0 && !(q.pending && q.delayed) {
			continue
		}
		command := fmt.Sprintf("update jobid=%s starttime=now+%d", q.Job, int(after.Seconds()))
		if q.pending && q.Priority <= before[i].Priority {
			// Two more than it lacks: priorities are whole numbers, cut off at one.
			command += fmt.Sprintf(" nice=%d", q.Nice-(before[i].Priority-q.Priority)-2)
		}
		commands = append(commands, command)
	}
	return c.script(ctx, commands)
}

// RequeueJobs sends jobs back to the queue. Jobs whose owners don't want that stay
// where they are.
func (c *Client) RequeueJobs(ctx context.Context, ids ...string) error {
	commands := make([]string, len(ids))
	for i, id := range ids {
		commands[i] = "requeue " + id
	}
	return c.script(ctx, commands)
}

// CommentJobs leaves a note on jobs, to be seen in scontrol show job.
func (c *Client) CommentJobs(ctx context.Context, note string, ids ...string) error {
	commands := make([]string, len(ids))
	for i, id := range ids {
		commands[i] = "update jobid=" + id + ` admincomment="` + clean(note) + `"`
	}
	return c.script(ctx, commands)
}

// EnsureAccounting registers the cluster with slurmdbd, and an account with the
// given administrators, as far as they are not there yet.
func (c *Client) EnsureAccounting(ctx context.Context, cluster string, admins ...string) error {
	has := func(entity, name string) (bool, error) {
		out, err := c.query(ctx, "sacctmgr", "-nP", "show", entity, "format="+entity)
		if err != nil {
			return false, err
		}
		return slices.Contains(strings.Fields(out), name), nil
	}
	add := func(entity, name string, more ...string) error {
		if ok, err := has(entity, name); ok || err != nil {
			return err
		}
		_, err := c.query(ctx, "sacctmgr", append([]string{"-iQ", "add", entity, name}, more...)...)
		return err
	}
	if err := add("cluster", cluster); err != nil {
		return err
	}
	// Everything from here on is a convenience, and may have been changed by users.
	errs := []error{add("account", defaultAccount, "Cluster="+cluster, "Organization=none")}
	for _, user := range admins {
		errs = append(errs, add("user", user, "Account="+defaultAccount, "AdminLevel=Admin"))
	}
	return errors.Join(errs...)
}

// defaultAccount is the account that users find in a new cluster's accounting.
const defaultAccount = "pcdefault"

// AccountingAnswers asks whether slurmdbd serves requests.
func (c *Client) AccountingAnswers(ctx context.Context) error {
	_, err := c.query(ctx, "sacctmgr", "-nP", "show", "clusters")
	return err
}
