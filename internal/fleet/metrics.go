package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"

	"pcluster/internal/fleet/metric"
	"pcluster/internal/fleet/record"
	"pcluster/internal/slurm"
)

// MetricsAddress is where the daemon shows its metrics to Prometheus: to programs of
// the head node only, as names of nodes and queues are nobody else's business.
const MetricsAddress = "127.0.0.1:9817"

// Metrics count what happens to a fleet, and show how it stands. docs/fleet.md lists
// them. A nil Metrics counts nothing.
type Metrics struct {
	set metric.Set

	nodes     *metric.Value
	instances *metric.Value
	status    *metric.Value
	left      *metric.Value
	failures  *metric.Value
	looked    *metric.Value
	cutOff    *metric.Value

	asked    *metric.Value
	launched *metric.Value
	refused  *metric.Value
	events   *metric.Value
	stages   *metric.Histogram
	waits    *metric.Histogram
	plans    *metric.Histogram
	calls    *metric.Value
	callTime *metric.Histogram

	mu       sync.Mutex
	journeys map[string]*journey
	waiting  map[string]time.Time // jobs
}

// A journey is the way of a node from the wish for it into service.
type journey struct {
	asked, got, reported, booted time.Time
	ready                        time.Time // in service, when the end of its boot is still to be told
}

// Stages of a journey, as metrics name them.
const (
	stageLaunch   = "launch"   // from the request for the node to its instance
	stageInstance = "instance" // until the instance reports
	stageBoot     = "boot"     // until its boot is over
	stageRegister = "register" // until slurmctld has seen its slurmd
	stageAll      = "all"      // all of them
)

// stageBuckets are the buckets of what takes between a moment and half an hour.
var stageBuckets = []float64{0.5, 1, 2, 5, 10, 20, 30, 45, 60, 90, 120, 180, 300, 600, 1200, 1800}

// NewMetrics returns metrics of which nothing has been counted.
func NewMetrics() *Metrics {
	m := &Metrics{journeys: make(map[string]*journey), waiting: make(map[string]time.Time)}
	gauge, counter, histogram := m.set.Gauge, m.set.Counter, m.set.Histogram
	m.nodes = gauge("pcluster_fleet_nodes", "Nodes, by what Slurm says of them.", "queue", "compute_resource", "state")
	m.instances = gauge("pcluster_fleet_instances", "Instances that are nodes: starting until slurmd has registered, then ready; and those told to end.", "state")
	m.status = gauge("pcluster_fleet_status", "1 for the status that the compute fleet has.", "status")
	m.left = gauge("pcluster_fleet_left_alone_until_seconds", "Unix time until which a compute resource is not tried again, and the code of the refusal.", "queue", "compute_resource", "code")
	m.failures = gauge("pcluster_fleet_failed_starts", "Starts that failed since one succeeded; with enough of them the queue becomes inactive.", "queue", "compute_resource")
	m.looked = gauge("pcluster_fleet_looked_seconds", "Unix time of the latest look at Slurm or EC2 that was answered.", "at")
	m.cutOff = gauge("pcluster_fleet_cut_off_nodes", "Nodes that nobody hears and that are waited for, as the head node seems to be cut off.")
	m.asked = counter("pcluster_fleet_nodes_asked_total", "Nodes that slurmctld asked for.", "queue", "compute_resource")
	m.launched = counter("pcluster_fleet_instances_launched_total", "Instances that EC2 gave.", "queue", "compute_resource")
	m.refused = counter("pcluster_fleet_instances_refused_total", "Instances that EC2 refused, by its code.", "queue", "compute_resource", "code", "class")
	m.events = counter("pcluster_fleet_events_total", "Entries of the fleet's record, by what happened.", "what")
	m.stages = histogram("pcluster_fleet_node_start_seconds", "How long nodes took for a stage of their start.", stageBuckets, "stage", "queue", "compute_resource")
	m.waits = histogram("pcluster_fleet_job_wait_seconds", "How long jobs with nodes waited for these to be up.", stageBuckets)
	m.plans = histogram("pcluster_fleet_plan_seconds", "How long a decision about the fleet took.", []float64{0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1})
	m.calls = counter("pcluster_aws_requests_total", "Requests to AWS, each attempt; the outcome is ok, or the error's code.", "service", "operation", "outcome")
	m.callTime = histogram("pcluster_aws_request_seconds", "How long requests to AWS took.", []float64{0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30}, "service", "operation")
	m.set.Read("process_resident_memory_bytes", "Memory of the daemon.", "gauge", residentMemory)
	m.set.Read("process_cpu_seconds_total", "Processor time that the daemon has used.", "counter", processorTime)
	return m
}

// happened counts entries of the record.
func (m *Metrics) happened(entries []record.Entry) {
	if m == nil || len(entries) == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range entries {
		e := &entries[i]
		m.events.Add(1, string(e.What))
		switch e.What {
		case record.Asked, record.AskMissed:
			nodes, _ := slurm.Expand(e.Nodes)
			for _, n := range nodes {
				queue, resource := placeOf(n)
				m.asked.Add(1, queue, resource)
				m.journeys[n] = &journey{asked: e.Time}
			}
		case record.LaunchAnswered:
			m.launched.Add(float64(e.Count), e.Queue, e.Resource)
		case record.LaunchRefused:
			m.refused.Add(float64(e.Count), e.Queue, e.Resource, e.Code, e.Class)
		case record.JobWaits:
			m.waiting[e.Jobs[0]] = e.Time
		case record.JobReleased:
			if since, ok := m.waiting[e.Jobs[0]]; ok {
				m.waits.Observe(e.Time.Sub(since).Seconds())
				delete(m.waiting, e.Jobs[0])
			}
		case record.NodeFailed:
			nodes, _ := slurm.Expand(e.Nodes)
			for _, n := range nodes {
				delete(m.journeys, n)
			}
		case record.Assigned, record.Booting, record.Booted, record.Registered, record.Terminated, record.Suspended:
			m.travelled(e)
		}
	}
}

// travelled notes how far a node has come, and at the end of its journey how long the
// stages took.
func (m *Metrics) travelled(e *record.Entry) {
	j := m.journeys[e.Nodes]
	switch {
	case j == nil:
	case e.What == record.Assigned:
		j.got = e.Time
	case e.What == record.Booting:
		if j.reported.IsZero() {
			j.reported = e.Time
		}
	case e.What == record.Booted:
		j.booted = e.Time
		if !j.ready.IsZero() {
			m.booted(e.Nodes, j)
			delete(m.journeys, e.Nodes)
		}
	case e.What == record.Registered:
		j.ready = e.Time
		m.arrived(e.Nodes, j)
		if !j.booted.IsZero() {
			m.booted(e.Nodes, j)
			delete(m.journeys, e.Nodes)
		}
	default:
		delete(m.journeys, e.Nodes)
	}
}

// arrived counts a journey that has ended well, booted its last stages: slurmctld may
// see the node before the node says that it has booted.
func (m *Metrics) arrived(node string, j *journey) {
	m.stage(stageLaunch, node, j.asked, j.got)
	m.stage(stageInstance, node, j.got, j.reported)
	m.stage(stageAll, node, j.asked, j.ready)
}

func (m *Metrics) booted(node string, j *journey) {
	m.stage(stageBoot, node, j.reported, j.booted)
	m.stage(stageRegister, node, j.booted, j.ready)
}

func (m *Metrics) stage(name, node string, from, until time.Time) {
	if !from.IsZero() && !until.IsZero() {
		queue, resource := placeOf(node)
		m.stages.Observe(max(0, until.Sub(from).Seconds()), name, queue, resource)
	}
}

func placeOf(node string) (queue, resource string) {
	n, _ := slurm.ParseNodeName(node)
	return n.Queue, n.Resource
}

// stands shows how the fleet is after a decision.
func (m *Metrics) stands(seen *Observed, mem *Memory, p *Policy, took time.Duration) {
	if m == nil {
		return
	}
	m.set.Together(func() { m.show(seen, mem, p, took) })
}

func (m *Metrics) show(seen *Observed, mem *Memory, p *Policy, took time.Duration) {
	m.plans.Observe(took.Seconds())
	if seen.EC2 != nil {
		m.looked.Set(float64(seen.EC2.At.Unix()), "ec2")
	}
	if seen.Slurm == nil {
		return
	}
	m.looked.Set(float64(seen.Slurm.At.Unix()), "slurm")
	m.nodes.Reset()
	for _, n := range ourNodes(seen.Slurm, p) {
		queue, resource := placeOf(n.Name)
		m.nodes.Add(1, queue, resource, stateName(n.State))
	}
	m.instances.Reset()
	for _, state := range []string{"starting", "ready", "ending"} {
		m.instances.Set(0, state)
	}
	for _, a := range mem.Assigned {
		state := "starting"
		if a.Ready {
			state = "ready"
		}
		m.instances.Add(1, state)
	}
	m.instances.Set(float64(len(mem.Ending)), "ending")
	m.status.Reset()
	if mem.Status != "" {
		m.status.Set(1, string(mem.Status))
	}
	cut := 0
	for _, s := range mem.Silent {
		if s.Cut {
			cut++
		}
	}
	m.cutOff.Set(float64(cut))
	m.left.Reset()
	for key, e := range mem.Exhausted {
		queue, resource, _ := strings.Cut(key, "/")
		m.left.Set(float64(e.Until.Unix()), queue, resource, e.Code)
	}
	m.failures.Reset()
	for key, n := range mem.Failures {
		queue, resource, _ := strings.Cut(key, "/")
		m.failures.Set(float64(n), queue, resource)
	}
}

// stateName sorts Slurm's many states by what matters to a fleet.
func stateName(s slurm.State) string {
	switch {
	case s.PoweringDown():
		return "powering_down"
	case s.Down():
		return "down"
	case s.PoweredDown():
		return "powered_down"
	case s.PoweringUp():
		return "powering_up"
	case s.Has("MAINT", "MAINTENANCE", "RESERVED", "PLANNED"):
		return "reserved"
	case s.Has("DRAIN", "DRAINED", "DRAINING"):
		return "drained"
	case s.HasJob():
		return "busy"
	case s.Has("IDLE"):
		return "idle"
	}
	return "other"
}

// CountCalls has an AWS client count its requests, each attempt:
//
//	cfg.APIOptions = append(cfg.APIOptions, metrics.CountCalls)
func (m *Metrics) CountCalls(stack *middleware.Stack) error {
	count := middleware.FinalizeMiddlewareFunc("CountCalls", func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
		begin := time.Now()
		out, meta, err := next.HandleFinalize(ctx, in)
		outcome := "ok"
		if err != nil {
			outcome = "no answer"
			var api smithy.APIError
			if errors.As(err, &api) {
				outcome = api.ErrorCode()
			}
		}
		service, operation := awsmiddleware.GetServiceID(ctx), awsmiddleware.GetOperationName(ctx)
		m.calls.Add(1, service, operation, outcome)
		m.callTime.Observe(time.Since(begin).Seconds(), service, operation)
		return out, meta, err
	})
	return stack.Finalize.Insert(count, "Retry", middleware.After)
}

// Counted returns a configuration whose clients count their requests.
func (m *Metrics) Counted(cfg aws.Config) aws.Config {
	cfg = cfg.Copy()
	cfg.APIOptions = append(cfg.APIOptions, m.CountCalls)
	return cfg
}

// ServeHTTP answers Prometheus.
func (m *Metrics) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = m.set.WriteTo(w) // an error is the client's
}

// serveMetrics shows the metrics until the context ends. A fleet goes on without.
func (d *Daemon) serveMetrics(ctx context.Context) error {
	if d.Metrics == nil || d.MetricsAddress == "" {
		return nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", d.MetricsAddress)
	if err != nil {
		d.Log.Warn("metrics can't be shown", "error", err)
		return nil
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", d.Metrics)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, WriteTimeout: time.Minute}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(l); ctx.Err() == nil {
		d.Log.Warn("metrics are not shown any more", "error", fmt.Errorf("%s: %w", d.MetricsAddress, err))
	}
	return nil
}

// residentMemory returns the bytes of memory that this process has.
func residentMemory() float64 {
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, resident int
	if _, err := fmt.Sscan(string(data), &size, &resident); err != nil {
		return 0
	}
	return float64(resident * os.Getpagesize())
}

// processorTime returns the seconds of processor time that this process has used.
func processorTime() float64 {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds()
}
