package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"pcluster/internal/fleet/record"
	"pcluster/internal/slurm"
)

// A Scheduler is Slurm; *slurm.Client is one.
type Scheduler interface {
	Nodes(ctx context.Context, hostlist string) ([]slurm.Node, error)
	Partitions(ctx context.Context) ([]slurm.Partition, error)
	ConfiguringJobs(ctx context.Context) ([]slurm.Job, error)
	UpdateNodes(ctx context.Context, updates ...slurm.NodeUpdate) error
	SetPartitions(ctx context.Context, state string, names ...string) error
	CommentJobs(ctx context.Context, note string, ids ...string) error
	JobsOn(ctx context.Context, hostlist string) ([]slurm.Place, error)
	StartJobs(ctx context.Context, after time.Duration, before ...slurm.Place) error
	RequeueJobs(ctx context.Context, ids ...string) error
}

// A Cloud is where instances come from; *EC2 is one.
type Cloud interface {
	Launch(context.Context, Launch) Outcome
	Instances(context.Context) ([]Instance, error)
	Terminate(ctx context.Context, ids []string) error
	// Health returns what is wrong with instances, also with those of others.
	Health(context.Context) ([]Ailment, error)
	// Console returns what an instance has printed, as far as it is known.
	Console(ctx context.Context, id string) (string, error)
}

// A Registry is where nodes' names are kept; *Records is one.
type Registry interface {
	Identify(context.Context, []Assignment) error
	Publish(context.Context, []Assignment) error
	// Recorded returns the instances by which nodes were identified last, as far as
	// there are any.
	Recorded(ctx context.Context, nodes []string) (map[string]string, error)
}

// A StatusStore holds the fleet's status; *StatusItem is one.
type StatusStore interface {
	Get(context.Context) (Status, error)
	Change(ctx context.Context, change StatusChange, now time.Time) (bool, error)
}

const (
	transitionPause   = 2 * time.Second // between looks while the fleet starts or stops
	callTimeout       = time.Minute
	launchTimeout     = 30 * time.Minute // Slurm does not wait longer for its nodes, either
	slurmctldPatience = 5 * time.Minute  // for which new instances wait for one that does not answer
	concurrentActions = 16
)

// A Daemon keeps a cluster's fleet. Run it once.
type Daemon struct {
	Scheduler Scheduler
	Cloud     Cloud
	Registry  Registry
	Status    StatusStore

	// Policy is asked before each look, so that changes of its files take effect. With an
	// error it returns the policy that counts meanwhile, or the zero Policy.
	Policy func() (Policy, error)
	// Blocks knows of capacity blocks, Reserver keeps jobs from their nodes while they
	// are not active; nil: nobody does.
	Blocks   BlockSource
	Reserver Reserver
	// Doorbell tells of requests to start or stop the fleet; nil: they are heard at the
	// next look.
	Doorbell *Doorbell
	// Knock says whether a system answers at an address; nil: nobody knocks.
	Knock func(ctx context.Context, addr string) bool
	// UseHostnames gives nodes the host names of their instances in Slurm.
	UseHostnames bool
	StateFile    string
	Socket       string // of the programs that slurmctld starts
	SocketGroup  string // group that may use it
	// Listen opens what programs speak to; nil: the socket.
	Listen func(context.Context) (net.Listener, error)
	// ReportAddress is where compute nodes report; empty: nowhere.
	ReportAddress string
	Log           *slog.Logger
	ResumeLog     *slog.Logger // of slurmctld's requests for nodes; nil: Log
	SuspendLog    *slog.Logger // of nodes that it gives up; nil: Log
	Events        *EventLog    // may be nil
	Record        *record.File // of what happened; may be nil
	Metrics       *Metrics     // may be nil
	// MetricsAddress is where the metrics are shown; empty: nowhere.
	MetricsAddress string
	Consoles       io.Writer // gets the console output of instances that failed to start; may be nil
	Now            func() time.Time

	policy    Policy
	unread    string // what was wrong with it when it was last read
	mem       Memory
	state     stateFile
	events    chan func(*Observed)
	slurm     chan func(context.Context)
	actions   chan struct{} // a semaphore
	running   sync.WaitGroup
	waiters   waiters
	recorder  recorder
	reports   reports
	inspected sync.Map // compute resource to when a console of it was last asked for
	lookNow   chan struct{}
	current   sync.Map // node to instance, of assignments that still hold
	statusNow chan struct{}
	healthNow chan struct{}
	blocks    blockWatch
	heartbeat heartbeat
	ailing    atomic.Bool // a node has a warning; a hint like inMotion
	inMotion  atomic.Bool // see Memory.InMotion; a hint for loops beside the one that has the memory
}

// Run keeps the fleet until the context ends. Actions that are under way then are
// given up; the next Run finishes them.
func (d *Daemon) Run(ctx context.Context) error {
	if d.Now == nil {
		began := time.Now()
		d.Now = steadyClock(time.Now, func() time.Duration { return time.Since(began) })
	}
	if d.ResumeLog == nil {
		d.ResumeLog = d.Log
	}
	if d.SuspendLog == nil {
		d.SuspendLog = d.Log
	}
	d.events = make(chan func(*Observed), 1024)
	d.slurm = make(chan func(context.Context), 1024)
	d.actions = make(chan struct{}, concurrentActions)
	d.lookNow = make(chan struct{}, 1)
	d.statusNow = make(chan struct{}, 1)
	d.healthNow = make(chan struct{}, 1)
	d.blocks.now = make(chan struct{}, 1)
	d.waiters.scheduler, d.waiters.log, d.waiters.slurmctld.what = d.Scheduler, d.Log, "slurmctld, about nodes that jobs wait for,"
	err := d.readPolicy()
	if d.policy.Cluster == "" {
		return fmt.Errorf("policy of the fleet: %w", err)
	}
	d.state.path = d.StateFile
	release, err := d.state.hold()
	if err != nil {
		return err
	}
	defer func() { _ = release() }()
	d.mem, err = d.state.load(d.Now())
	if err != nil {
		// Going on without a memory is safe: nodes keep the instances that have their
		// addresses, the table of names tells whose others were, and all are terminated
		// in time.
		d.Log.Error("memory of the fleet is lost", "error", err)
		d.mem = NewMemory(d.Now())
	}
	if d.Listen == nil {
		d.Listen = d.listen
	}
	listener, err := d.Listen(ctx)
	if err != nil {
		return err
	}
	d.Log.Info("fleet daemon started", "nodes with instances", len(d.mem.Assigned), "launches under way", len(d.mem.Launches))

	d.recorder.trouble.what, d.heartbeat.trouble.what = "record of the fleet", "file of the fleet's heartbeat"
	d.waiters.record, d.waiters.now = d.record, d.Now
	d.waiters.up = func(ctx context.Context, view SlurmView) {
		d.tell(ctx, func(o *Observed) { o.Up = append(o.Up, view) })
	}
	d.record(record.Entry{What: record.DaemonStarted})
	d.reports.cluster, d.reports.now, d.reports.since = d.policy.Cluster, d.Now, d.Now()
	d.reports.announce(d.policy.answer())
	d.blocks.announce(d.policy.blocks(), d.policy.BlockInterval)
	nodes := d.listenForReports(ctx)

	g, ctx := errgroup.WithContext(ctx)
	if nodes != nil {
		g.Go(func() error { return d.hear(ctx, nodes) })
	}
	g.Go(func() error { return d.serve(ctx, listener) })
	g.Go(func() error { return d.serveMetrics(ctx) })
	g.Go(func() error { d.talkToSlurm(ctx); return nil })
	g.Go(func() error { d.watch(ctx); return nil })
	g.Go(func() error { d.watchStatus(ctx); return nil })
	g.Go(func() error { d.watchHealth(ctx); return nil })
	if d.Doorbell != nil {
		g.Go(func() error { d.watchDoorbell(ctx); return nil })
	}
	if d.Blocks != nil {
		g.Go(func() error { d.watchBlocks(ctx); return nil })
	}
	g.Go(func() error { d.waiters.run(ctx); return nil })
	g.Go(func() error { d.decide(ctx); return nil })
	err = g.Wait()
	d.running.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// tell hands an observation to the loop that decides.
func (d *Daemon) tell(ctx context.Context, observation func(*Observed)) {
	select {
	case d.events <- observation:
	case <-ctx.Done():
	}
}

// decide is the only goroutine that has the memory. Observations that arrive together
// are decided on together.
func (d *Daemon) decide(ctx context.Context) {
	d.step(ctx, Observed{Restarted: true, Recorded: d.recorded(ctx)})
	for {
		select {
		case <-ctx.Done():
			return
		case observe := <-d.events:
			var seen Observed
			observe(&seen)
			for more := true; more; {
				select {
				case observe := <-d.events:
					observe(&seen)
				default:
					more = false
				}
			}
			d.step(ctx, seen)
		}
	}
}

// readPolicy takes the policy as it is now. What is wrong with it is logged once.
func (d *Daemon) readPolicy() error {
	policy, err := d.Policy()
	if policy.Cluster != "" {
		d.policy = policy
	}
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	switch {
	case problem == d.unread:
	case err != nil:
		d.Log.Error("the fleet's configuration can't be read: what it was before counts, or else the default", "error", err)
	default:
		d.Log.Info("the fleet's configuration can be read again")
	}
	d.unread = problem
	return err
}

// step decides, remembers, and only then acts.
func (d *Daemon) step(ctx context.Context, seen Observed) {
	if seen.Slurm != nil {
		_ = d.readPolicy() // it is logged, and the old one goes on
		d.reports.announce(d.policy.answer())
		d.blocks.announce(d.policy.blocks(), d.policy.BlockInterval)
	}
	begin := time.Now()
	do, next := Plan(seen, d.mem, d.policy, d.Now())
	d.Metrics.stands(&seen, &next, &d.policy, time.Since(begin))
	for _, line := range do.Log {
		d.Log.Info(line)
	}
	err := d.state.save(next)
	if err != nil {
		d.Log.Error("memory of the fleet can't be written: nothing is launched", "error", err)
	}
	if next.Status == Stopping || next.Status == Starting {
		time.AfterFunc(transitionPause, d.hurry) // somebody waits for it
	}
	d.mem = next
	d.inMotion.Store(next.InMotion())
	d.ailing.Store(len(next.Warnings) > 0)
	d.record(do.Record...)
	d.Events.happened(do.Record, &d.policy)
	d.Events.loop(seen.Slurm, seen.EC2, &next, &d.policy)
	if seen.Slurm != nil {
		d.beat()
	}
	d.act(ctx, do, err)
	// Looks that were queued while the decision was being written show the nodes as
	// they were before.
	queued := d.Now()
	for _, u := range do.Nodes {
		for _, n := range u.Nodes {
			d.mem.Touched[n] = queued
		}
	}
}

// act begins the actions. Their ends are told to the loop as observations.
func (d *Daemon) act(ctx context.Context, do Actions, notSaved error) {
	for _, l := range do.Launch {
		if notSaved != nil {
			d.begin(ctx, func(ctx context.Context) {
				d.tell(ctx, func(o *Observed) {
					o.Outcomes = append(o.Outcomes, Outcome{Token: l.Token, Code: "StateNotWritten", Message: notSaved.Error()})
				})
			})
			continue
		}
		// Not one of a few at once: launches take their turns at EC2's budget, which may
		// last minutes, and must not hold up what ends instances.
		d.running.Add(1)
		go func() {
			defer d.running.Done()
			d.launch(ctx, l)
		}()
	}
	if do.Look {
		d.hurry()
	}
	for _, a := range do.Assign {
		d.current.Store(a.Node, a.Instance)
	}
	if len(do.Assign) > 0 {
		d.begin(ctx, func(ctx context.Context) { d.assign(ctx, do.Assign) })
	}
	if len(do.Terminate) > 0 {
		ids := slices.Compact(slices.Sorted(slices.Values(do.Terminate)))
		d.begin(ctx, func(ctx context.Context) { d.terminate(ctx, ids) })
	}
	if do.Status != nil {
		d.begin(ctx, func(ctx context.Context) { d.changeStatus(ctx, *do.Status) })
	}
	if len(do.Nodes) > 0 || len(do.Partitions) > 0 || len(do.Notes) > 0 || len(do.Requeue) > 0 {
		d.inSlurm(ctx, func(ctx context.Context) { d.update(ctx, do) })
	}
	if len(do.Reserve) > 0 || len(do.Release) > 0 {
		d.inSlurm(ctx, func(ctx context.Context) { d.reserve(ctx, do) })
	}
	if len(do.Failed) > 0 {
		lost := make(map[string]bool)
		for _, f := range do.Failed {
			lost[f.Node] = true
		}
		d.waiters.lost(lost)
	}
	if len(do.Knock) > 0 && d.Knock != nil {
		d.begin(ctx, func(ctx context.Context) { d.knock(ctx, do.Knock) })
	}
	d.Events.refuse(do.Failed)
	for _, a := range do.Inspect {
		d.inspect(ctx, a)
	}
}

// begin runs an action beside the loop.
func (d *Daemon) begin(ctx context.Context, action func(context.Context)) {
	d.running.Add(1)
	go func() {
		defer d.running.Done()
		select {
		case d.actions <- struct{}{}:
			defer func() { <-d.actions }()
			action(ctx)
		case <-ctx.Done():
		}
	}()
}

// inSlurm queues what is to be said to, or asked of, slurmctld. One thing happens
// after the other, so that a look shows the effect of all updates before it.
func (d *Daemon) inSlurm(ctx context.Context, f func(context.Context)) {
	select {
	case d.slurm <- f:
	case <-ctx.Done():
	}
}

func (d *Daemon) talkToSlurm(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case f := <-d.slurm:
			f(ctx)
		}
	}
}

func (d *Daemon) launch(ctx context.Context, l Launch) {
	call, cancel := context.WithTimeout(ctx, launchTimeout)
	defer cancel()
	out := d.Cloud.Launch(call, l)
	if ctx.Err() != nil {
		return // unknown outcome: the next process asks again with the same token
	}
	if out.Code != "" {
		d.ResumeLog.Warn("launch failed", "queue", l.Queue, "compute resource", l.Resource, "wanted", len(l.Nodes), "code", out.Code, "message", out.Message)
	}
	d.tell(ctx, func(o *Observed) { o.Outcomes = append(o.Outcomes, out) })
}

// assign lets new instances learn their names, and Slurm their addresses. The former
// first: the instance is booting already.
func (d *Daemon) assign(ctx context.Context, all []Assignment) {
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	known := persist(call, func() error { return d.Registry.Identify(call, all) })
	err := known
	if known == nil {
		addressed := make(chan error, 1)
		go func() { addressed <- d.address(ctx, all) }()
		err = persist(call, func() error { return d.Registry.Publish(call, all) })
		select {
		case e := <-addressed:
			err = errors.Join(err, e)
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		d.Log.Error("names of new nodes", "nodes", hostlist(all), "error", err)
	}
	d.tell(ctx, func(o *Observed) {
		switch {
		case known != nil:
			o.NamingFailed = append(o.NamingFailed, all...)
		case err != nil:
			o.NamedInPart = append(o.NamedInPart, all...)
		default:
			o.Named = append(o.Named, all...)
		}
	})
}

// address tells Slurm the addresses of new nodes. A slurmctld that is being restarted
// costs no instances: it is waited for.
func (d *Daemon) address(ctx context.Context, all []Assignment) error {
	began, pause := d.Now(), time.Second
	for {
		type result struct {
			err    error
			silent bool // slurmctld answers nothing else either
		}
		done := make(chan result, 1)
		d.inSlurm(ctx, func(ctx context.Context) {
			r := result{err: d.Scheduler.UpdateNodes(ctx, d.addresses(d.holding(all)))}
			if r.err != nil {
				_, err := d.Scheduler.Partitions(ctx)
				r.silent = err != nil
			}
			done <- r
		})
		select {
		case r := <-done:
			if r.err == nil || !r.silent || d.Now().Sub(began) > slurmctldPatience {
				return r.err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
		if !sleep(ctx, pause, nil) {
			return ctx.Err()
		}
		pause = min(2*pause, 10*time.Second)
	}
}

// holding returns those of the assignments that no later one has replaced while they
// were being recorded.
func (d *Daemon) holding(all []Assignment) []Assignment {
	return slices.DeleteFunc(slices.Clone(all), func(a Assignment) bool {
		instance, _ := d.current.Load(a.Node)
		return instance != a.Instance
	})
}

func (d *Daemon) addresses(all []Assignment) slurm.NodeUpdate {
	var u slurm.NodeUpdate
	for _, a := range all {
		u.Nodes = append(u.Nodes, a.Node)
		u.Addrs = append(u.Addrs, a.Addr)
		if d.UseHostnames {
			short, _, _ := strings.Cut(a.Hostname, ".")
			u.Hostnames = append(u.Hostnames, short)
		}
	}
	return u
}

func hostlist(all []Assignment) string {
	nodes := make([]string, len(all))
	for i, a := range all {
		nodes[i] = a.Node
	}
	return slurm.Compress(nodes)
}

// restartLooks are when jobs are looked at again that are to start after a delay.
// Slurm gives them a delay of its own, of more than a minute, when the last of their
// other nodes is clean, which a program can put off for half a minute and more.
var restartLooks = []time.Duration{0, 3 * time.Second, 8 * time.Second, 20 * time.Second, 40 * time.Second, 70 * time.Second}

// restart has jobs start after a delay. Slurm looks for jobs whose time has come once
// a minute, and whenever a job is changed: so they are changed again when it has.
func (d *Daemon) restart(ctx context.Context, after time.Duration, jobs []slurm.Place) {
	start := func(ctx context.Context, after time.Duration) {
		// Jobs that can't be requeued are over by now; others may have started.
		if err := d.Scheduler.StartJobs(ctx, after, jobs...); err != nil && ctx.Err() == nil {
			d.Log.Debug("jobs that lost their nodes", "error", err)
		}
	}
	start(ctx, after)
	for _, look := range restartLooks {
		time.AfterFunc(after+look, func() {
			d.inSlurm(ctx, func(ctx context.Context) { start(ctx, 0) })
		})
	}
}

// requeue sends the jobs of nodes back to the queue, before they lose their nodes.
// Those that must not be requeued go on for as long as they can.
func (d *Daemon) requeue(ctx context.Context, nodes []string) {
	jobs, err := d.Scheduler.JobsOn(ctx, slurm.Compress(nodes))
	if err == nil && len(jobs) > 0 {
		ids := make([]string, len(jobs))
		for i, j := range jobs {
			ids[i] = j.Job
		}
		err = d.Scheduler.RequeueJobs(ctx, ids...)
		d.restart(ctx, restartLost, jobs)
	}
	if err != nil && ctx.Err() == nil {
		d.Log.Warn("jobs of nodes that will be gone soon", "nodes", slurm.Compress(nodes), "error", err)
	}
}

// persist tries again what fails, a few times, with pauses.
func persist(ctx context.Context, f func() error) error {
	for attempt := 1; ; attempt++ {
		err := f()
		if err == nil || attempt == 4 || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Duration(attempt*attempt) * 250 * time.Millisecond):
		}
	}
}

func (d *Daemon) terminate(ctx context.Context, ids []string) {
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := persist(call, func() error { return d.Cloud.Terminate(call, ids) }); err != nil && ctx.Err() == nil {
		d.Log.Error("instances can't be terminated; they will be tried again", "error", err)
	}
}

func (d *Daemon) changeStatus(ctx context.Context, change StatusChange) {
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	ok, err := d.Status.Change(call, change, d.Now())
	switch {
	case err != nil:
		d.Log.Error("status of the fleet", "error", err)
	case !ok:
		d.Log.Info("the fleet's status was changed by somebody else", "not", change.To)
	default:
		d.Log.Info("the fleet's status changed", "from", change.From, "to", change.To)
	}
	if change.To == Stopping || change.To == Starting || change.To == Protected {
		d.hurry()
	}
}

// update has Slurm change nodes, partitions and jobs.
func (d *Daemon) update(ctx context.Context, do Actions) {
	// The note first: setting a node down requeues the job, and hides it for a while.
	byText := make(map[string][]string)
	for _, n := range do.Notes {
		byText[n.Text] = append(byText[n.Text], n.Job)
	}
	for _, text := range sortedKeys(byText) {
		if err := d.Scheduler.CommentJobs(ctx, text, byText[text]...); err != nil {
			d.Log.Debug("note on jobs", "error", err)
		}
	}
	losing := make([][]slurm.Place, len(do.Restart))
	for i, r := range do.Restart {
		if len(r.Nodes) == 0 {
			for _, job := range r.Jobs {
				losing[i] = append(losing[i], slurm.Place{Job: job}) // what it was is not known any more
			}
			continue
		}
		var err error
		if losing[i], err = d.Scheduler.JobsOn(ctx, slurm.Compress(r.Nodes)); err != nil && ctx.Err() == nil {
			d.Log.Warn("jobs of nodes that go down", "error", err)
		}
	}
	if err := d.Scheduler.UpdateNodes(ctx, do.Nodes...); err != nil && ctx.Err() == nil {
		d.Log.Error("nodes can't be updated", "error", err)
	}
	for i, r := range do.Restart {
		if len(losing[i]) > 0 {
			d.restart(ctx, r.After, losing[i])
		}
	}
	if len(do.Requeue) > 0 {
		d.requeue(ctx, do.Requeue)
	}
	byState := make(map[string][]string)
	for _, p := range do.Partitions {
		byState[p.State] = append(byState[p.State], p.Name)
	}
	for _, state := range sortedKeys(byState) {
		if err := d.Scheduler.SetPartitions(ctx, state, byState[state]...); err != nil && ctx.Err() == nil {
			d.Log.Error("partitions can't be updated", "error", err)
		}
	}
}
