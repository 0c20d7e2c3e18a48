package fleet

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"pcluster/internal/fleet/record"
	"pcluster/internal/slurm"
)

// ReportPort is where compute nodes tell the daemon how they are. It is slurmctld's
// usual port, which clusters don't use: firewalls that know Slurm let it through.
const ReportPort = 6817

// A Report is what a compute node says of itself: one line of JSON, all of it each
// time that something has changed.
type Report struct {
	Cluster  string   `json:"cluster"`
	Instance string   `json:"instance"`
	Steps    []string `json:"steps,omitempty"`  // of its boot, that are under way
	Done     int      `json:"done,omitempty"`   // steps of its boot that are over
	Booted   bool     `json:"booted,omitempty"` // all of them are
	// Took is how many seconds each step took, once the boot is over.
	Took   map[string]float64 `json:"took,omitempty"`
	Failed string             `json:"failed,omitempty"` // why the boot ended
	// SpotUntil is when EC2 takes the instance away, once it has said so.
	SpotUntil time.Time `json:"spot_until,omitzero"`
	// Rebalance: EC2 thinks that it may have to, some day.
	Rebalance bool `json:"rebalance,omitempty"`
}

// An Answer is what the daemon tells a node that reports: also one line of JSON.
type Answer struct {
	Cluster string `json:"cluster"`
	// Patience is for how long a node without jobs stays when it can't reach the head
	// node any more, and Stay that it does for ever.
	Patience time.Duration `json:"patience"`
	Stay     bool          `json:"stay,omitempty"`
}

// answer is what nodes are told.
func (p *Policy) answer() Answer {
	return Answer{Cluster: p.Cluster, Patience: p.Patience, Stay: p.NodesStay}
}

// A Presence is a node's last report, and how it stands with the connection.
type Presence struct {
	Report
	Addr    string    // that it came from
	Changed time.Time // when its boot last got on, by the head node's clock
	Left    time.Time // when the connection ended; zero while there is one
}

// A NodesView is all that nodes have said since the daemon began to listen.
type NodesView struct {
	Since time.Time
	Nodes map[string]Presence // by instance
}

// reports are the connections of compute nodes and what came over them. A connection
// that ends is the first sign of a lost instance; whether it is lost EC2 knows.
type reports struct {
	cluster string
	now     func() time.Time

	mu     sync.Mutex
	since  time.Time
	nodes  map[string]Presence
	conns  map[net.Conn]string // instance, empty until it has said so
	answer Answer
}

// Limits of what a node can say.
const (
	maxReport = 64 << 10
	// helloTimeout is for how long a connection may say nothing at first.
	helloTimeout = 30 * time.Second
	// maxConnections bounds what strangers can cost.
	maxConnections = 60_000
)

// Keepalive finds out that the other side has gone without a word, within some ten
// seconds. Its probes are answered by kernels: no program on a compute node wakes.
var Keepalive = net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3}

// listenForReports opens the port for compute nodes. A cluster goes on without it.
func (d *Daemon) listenForReports(ctx context.Context) net.Listener {
	if d.ReportAddress == "" {
		return nil
	}
	lc := net.ListenConfig{KeepAliveConfig: Keepalive}
	l, err := lc.Listen(ctx, "tcp", d.ReportAddress)
	if err != nil {
		d.Log.Error("compute nodes can't report: nodes that don't boot are found late, and spot interruptions not at all", "error", err)
		return nil
	}
	return l
}

// hear takes reports until the context ends.
func (d *Daemon) hear(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			// Too many open files, a connection that ended early: others may do better.
			d.Log.Warn("reports of compute nodes", "error", err)
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Second):
			}
			continue
		}
		if !d.reports.admits(conn) {
			_ = conn.Close()
			continue
		}
		go func() {
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			defer stop()
			d.listenTo(ctx, conn)
		}()
	}
}

// admits says whether a connection may be a node's: only root gets a port below 1024.
// Whether root is at the node's address is for the planner to compare.
func (r *reports) admits(conn net.Conn) bool {
	from, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	r.mu.Lock()
	defer r.mu.Unlock()
	return err == nil && from.Port() < 1024 && len(r.conns) < maxConnections
}

// listenTo takes the reports of one connection.
func (d *Daemon) listenTo(ctx context.Context, conn net.Conn) {
	d.reports.enter(conn)
	defer func() {
		_ = conn.Close()
		if p, ok := d.reports.leave(conn); ok {
			d.tell(ctx, func(o *Observed) { o.Said = append(o.Said, p) })
		}
	}()
	if err := conn.SetReadDeadline(time.Now().Add(helloTimeout)); err != nil {
		return
	}
	lines := bufio.NewReaderSize(conn, 4096)
	for first := true; ; first = false {
		report, err := readReport(lines)
		if err != nil {
			if !errors.Is(err, io.EOF) && ctx.Err() == nil {
				d.Log.Debug("report of a compute node", "from", conn.RemoteAddr(), "error", err)
			}
			return
		}
		if first {
			if err := conn.SetReadDeadline(time.Time{}); err != nil {
				return
			}
		}
		p, news := d.reports.take(conn, report)
		if report.starts() {
			d.waiters.expect()
		}
		if news {
			d.tell(ctx, func(o *Observed) { o.Said = append(o.Said, p) })
		}
		if first && !d.reports.greet(conn) {
			return
		}
	}
}

// readReport reads one line of JSON that is not too long.
func readReport(lines *bufio.Reader) (Report, error) {
	var r Report
	var line []byte
	for {
		part, err := lines.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxReport {
			return r, errors.New("a line without end")
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil {
			return r, err
		}
		return r, json.Unmarshal(line, &r)
	}
}

// starts says whether slurmd is just being started: Slurm knows within a moment.
func (r *Report) starts() bool { return slices.Contains(r.Steps, "slurmd") }

func (r *reports) enter(conn net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conns == nil {
		r.conns, r.nodes = make(map[net.Conn]string), make(map[string]Presence)
	}
	r.conns[conn] = ""
}

// leave forgets a connection, and returns what it leaves behind.
func (r *reports) leave(conn net.Conn) (Presence, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := r.conns[conn]
	delete(r.conns, conn)
	p, ok := r.nodes[id]
	if !ok {
		return p, false
	}
	for _, other := range r.conns {
		if other == id {
			return p, false // the node has come back already
		}
	}
	p.Left = r.now()
	r.nodes[id] = p
	return p, true
}

// take keeps a report, and says whether the planner should know of it at once.
func (r *reports) take(conn net.Conn, report Report) (Presence, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	addr := ""
	if from, err := netip.ParseAddrPort(conn.RemoteAddr().String()); err == nil {
		addr = from.Addr().Unmap().String()
	}
	old, known := r.nodes[report.Instance]
	p := Presence{Report: report, Addr: addr, Changed: old.Changed}
	if !known || old.Done != report.Done || !slices.Equal(old.Steps, report.Steps) {
		p.Changed = r.now()
	}
	r.conns[conn] = report.Instance
	r.nodes[report.Instance] = p
	return p, !known || report.Failed != old.Failed || report.Booted != old.Booted || !report.SpotUntil.Equal(old.SpotUntil) || report.Rebalance != old.Rebalance
}

// greet answers a node's first report. It reports false if the node belongs elsewhere.
func (r *reports) greet(conn net.Conn) bool {
	r.mu.Lock()
	answer, instance := r.answer, r.conns[conn]
	ours := r.nodes[instance].Cluster == r.cluster
	if !ours {
		delete(r.nodes, instance)
		r.conns[conn] = ""
	}
	r.mu.Unlock()
	return writeLine(conn, answer) == nil && ours
}

// announce tells all nodes what has changed in the answer.
func (r *reports) announce(answer Answer) {
	r.mu.Lock()
	if r.answer == answer {
		r.mu.Unlock()
		return
	}
	r.answer = answer
	conns := slices.Collect(maps.Keys(r.conns))
	r.mu.Unlock()
	for _, conn := range conns {
		_ = writeLine(conn, answer) // a connection that ended will be made anew
	}
}

// writeLine writes one line. A node whose buffers are full of such lines is not reading.
func writeLine(conn net.Conn, v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := conn.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	_, err = conn.Write(append(line, '\n'))
	return err
}

// rememberGone is for how long nodes are known that don't say anything any more.
const rememberGone = time.Hour

// view returns what is known of nodes.
func (r *reports) view() *NodesView {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	maps.DeleteFunc(r.nodes, func(_ string, p Presence) bool { return !p.Left.IsZero() && now.Sub(p.Left) > rememberGone })
	return &NodesView{Since: r.since, Nodes: maps.Clone(r.nodes)}
}

// said takes notice of what nodes have just said.
func (p *planner) said(all []Presence) {
	if len(all) == 0 {
		return
	}
	owner := p.owners()
	todo := newSorting()
	for i := range all {
		says := &all[i]
		node, ok := owner[says.Instance]
		a := p.mem.Assigned[node]
		if !ok || a.Addr != says.Addr {
			continue
		}
		if !says.Left.IsZero() {
			p.do.Look = true
		}
		p.notice(node, a, says, &todo)
	}
	p.giveUp(&todo)
}

// notice takes what a node says that needs an answer now.
func (p *planner) notice(node string, a Assignment, says *Presence, todo *sorting) {
	p.progress(node, says)
	if a = p.mem.Assigned[node]; says.Booted && !a.Booted {
		a.Booted = true
		p.mem.Assigned[node] = a
		p.record(record.Entry{What: record.Booted, Nodes: node, Instances: map[string]string{a.Instance: node}, Took: says.Took})
	}
	if says.Failed != "" && !a.Ready {
		p.recordNode(record.BootFailed, node, a.Instance, says.Failed)
		p.countFailure(a, "boot failed: "+says.Failed)
		p.fruitless(node, a, "boot failed: "+says.Failed, todo)
		return
	}
	if w := p.mem.Warnings[node]; !says.SpotUntil.IsZero() && (w.Check != SpotNotice || w.Instance != a.Instance) {
		p.warn(node, Ailment{
			Instance: a.Instance, Check: SpotNotice, Until: says.SpotUntil,
			Text: fmt.Sprintf("EC2 takes spot instance %s away at %s", a.Instance, says.SpotUntil.UTC().Format("15:04:05 MST")),
		})
		p.do.Look = true
	}
}

// lookAfter is for how long EC2 is asked about an instance whose connection has ended:
// it may notice later than we do that the instance is gone.
const lookAfter = 20 * time.Second

// hearNodes looks at how the nodes that boot get on.
func (p *planner) hearNodes(view *NodesView) {
	if view == nil {
		return
	}
	todo := newSorting()
	for _, node := range sortedKeys(p.mem.Assigned) {
		a := p.mem.Assigned[node]
		says, heard := view.Nodes[a.Instance]
		if heard = heard && says.Addr == a.Addr; heard {
			p.notice(node, a, &says, &todo)
			if !says.Left.IsZero() && p.now.Sub(says.Left) < lookAfter {
				p.do.Look = true
			}
		}
		if _, still := p.mem.Assigned[node]; !still || a.Ready || !a.Named {
			continue
		}
		key, _ := p.key(node)
		if heard {
			p.mem.Heard[key] = true
		}
		if why := p.stuck(key, a, &says, heard, view.Since); why != "" {
			p.countTimeout(a, why)
			p.fruitless(node, a, why, &todo)
		}
	}
	p.giveUp(&todo)
}

// progress records where a boot is, if it has got on. The first that is heard of it is
// recorded in any case: that no step has begun yet, or that all are over.
func (p *planner) progress(node string, says *Presence) {
	a := p.mem.Assigned[node]
	first := a.Progress == 0 && !a.Booted
	if at := 1 + 2*says.Done + len(says.Steps); first || !says.Booted && a.Progress != at {
		a.Progress = at
		p.mem.Assigned[node] = a
		p.record(record.Entry{What: record.Booting, Nodes: node, Instances: map[string]string{a.Instance: node}, Steps: says.Steps})
	}
}

// stuck says why a node that boots can't be expected to come up any more, or nothing:
// in the same words for all nodes of a job, so that they can be told together.
// A script of the user's may take as long as Slurm waits for the node.
func (p *planner) stuck(key string, a Assignment, says *Presence, heard bool, since time.Time) string {
	if !heard {
		limit := p.policy.FirstReport
		if p.metal(key) {
			limit *= 2
		}
		if a.Since.After(since) {
			since = a.Since
		}
		if limit <= 0 || p.now.Sub(since) < limit || !p.policy.Reporting[queueOf(key)] && !p.mem.Heard[key] {
			return ""
		}
		return fmt.Sprintf("its instance has not begun to boot within %v", limit)
	}
	if p.policy.Progress <= 0 || says.Booted || p.now.Sub(says.Changed) < p.policy.Progress {
		return ""
	}
	if slices.ContainsFunc(says.Steps, func(s string) bool { return strings.HasPrefix(s, "OnNode") }) {
		return ""
	}
	at := "between steps"
	if len(says.Steps) > 0 {
		at = "at " + strings.Join(says.Steps, ", ")
	}
	return fmt.Sprintf("its boot stands still %s for %v", at, p.policy.Progress)
}

// metal says whether a compute resource has instances that take long to start.
func (p *planner) metal(key string) bool {
	queue, resource, _ := strings.Cut(key, "/")
	return slices.ContainsFunc(p.policy.Resources[queue][resource].Instances, func(t slurm.ResourceType) bool {
		return strings.Contains(t.InstanceType, ".metal")
	})
}

// fruitless ends the instance of a node that will not come up. Its jobs start again.
func (p *planner) fruitless(node string, a Assignment, why string, todo *sorting) {
	p.end(node, a)
	p.lose(node, why, todo)
}
