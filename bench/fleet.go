//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"pcluster/internal/fleet"
	"pcluster/internal/fleet/sim"
	"pcluster/internal/slurm"
)

// fleets measures the fleet's decisions, and its daemon among models of EC2 and Slurm.
func (b *bench) fleets(ctx context.Context, runs int, wanted func(string) bool) error {
	for _, part := range []struct {
		name    string
		measure func() error
	}{
		{"fleet plan", func() error { return b.plan(runs) }},
		{"fleet memory", func() error { return b.daemonMemory(ctx) }},
		{"fleet resume", func() error {
			return errors.Join(b.resume(ctx, runs, "one job", 1, 1000), b.resume(ctx, runs, "500 jobs", 500, 2))
		}},
		{"fleet hours", func() error { return b.virtualHours(ctx) }},
		{"fleet pass", func() error { return b.pass(ctx, runs) }},
		{"fleet scale", b.manyNodes},
	} {
		if wanted(part.name) {
			if err := part.measure(); err != nil {
				return fmt.Errorf("%s: %w", part.name, err)
			}
		}
	}
	return nil
}

// cpu is the processor time of this process until now.
func cpu() (time.Duration, error) {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		return 0, err
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano()), nil
}

// plan measures one decision about 10,000 nodes of which something is wrong with many.
func (b *bench) plan(runs int) error {
	const nodes = 10000
	policy, mem, seen, now := sim.Mixed(nodes)
	for range 5 * runs {
		runtime.GC()
		before, err := cpu()
		if err != nil {
			return err
		}
		do, _ := fleet.Plan(seen, mem, policy, now)
		after, err := cpu()
		if err != nil {
			return err
		}
		if len(do.Launch) == 0 || len(do.Terminate) == 0 || len(do.Nodes) == 0 {
			return errors.New("nothing is decided about a fleet of which something is wrong")
		}
		r := b.table.add("fleet: plan at 10,000 nodes, all states mixed: CPU", "ms", 100, (after-before).Seconds()*1000)
		r.note = fmt.Sprintf("%d launches, %d instances ended, %d updates of nodes; garbage collection included", len(do.Launch), len(do.Terminate), len(do.Nodes))
	}
	return nil
}

// daemonMemory measures a daemon that has 10,000 nodes in a process of its own.
func (b *bench) daemonMemory(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, self, "-fleet", "10000").Output()
	if err != nil {
		return fmt.Errorf("fleet daemon with 10,000 nodes: %w", err)
	}
	mib, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
	if err != nil {
		return err
	}
	r := b.table.add("fleet: daemon with 10,000 nodes that came up and work: memory", "MiB", 200, mib)
	r.note = "at its most, the models of EC2 and Slurm in the same process included"
	return nil
}

// A fleetWorld is the real daemon among models that live in real time.
type fleetWorld struct {
	*sim.Live
	stop func() error
}

func startFleet(ctx context.Context, nodes int, limits sim.Limits, intercept func(string, func() error) error) (*fleetWorld, error) {
	resources := slurm.Resources{"q": {"a": {API: slurm.RunInstances, CapacityType: "on-demand", Instances: []slurm.ResourceType{{InstanceType: "c5.large"}}}}}
	queues := map[string]string{"q": fmt.Sprintf("q-dy-a-[1-%d]", nodes)}
	live, err := sim.NewLive("bench", resources, queues, sim.DefaultTimeouts(), limits, 1)
	if err != nil {
		return nil, err
	}
	live.Cloud.BootTime = 2 * time.Second
	live.Intercept = intercept
	dir, err := os.MkdirTemp("", "pcluster-bench-")
	if err != nil {
		return nil, err
	}
	policy := fleet.DefaultPolicy()
	policy.Cluster, policy.Strategy, policy.Resources, policy.Queues = "bench", fleet.AllOrNothing, resources, queues
	tables := live.Tables()
	d := &fleet.Daemon{
		Scheduler: live.Scheduler(),
		Cloud:     &fleet.EC2{API: live.API(), Cluster: "bench", Resources: resources},
		Registry:  &fleet.Records{DynamoDB: tables, Table: "table"},
		Status:    &fleet.StatusItem{DynamoDB: tables, Table: "status"},
		Policy:    func() (fleet.Policy, error) { return policy, nil },
		StateFile: filepath.Join(dir, "fleet.json"), Listen: live.Listen, Log: slog.New(slog.DiscardHandler),
	}
	ctx, cancel := context.WithCancel(ctx)
	live.Connect(ctx)
	go live.Run(ctx)
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	return &fleetWorld{live, func() error {
		cancel()
		return errors.Join(<-ended, os.RemoveAll(dir))
	}}, nil
}

// printFleetMemory lets a fleet of so many nodes come up, and prints how many MiB the
// process had at its most.
func printFleetMemory(ctx context.Context, nodes int) error {
	limits := sim.DocumentedLimits()
	limits.Launches = sim.Bucket{Burst: float64(nodes), Rate: 2}
	w, err := startFleet(ctx, nodes, limits, nil)
	if err != nil {
		return err
	}
	var j *sim.Job
	w.Do(func() { j = w.Slurm.Submit("q", nodes, 1, time.Hour) })
	deadline := time.Now().Add(5 * time.Minute)
	for running := false; !running; time.Sleep(time.Second) {
		w.Do(func() { running = j.Running() })
		if time.Now().After(deadline) {
			return errors.New("the nodes did not come up")
		}
	}
	time.Sleep(30 * time.Second) // some looks
	if err := w.stop(); err != nil {
		return err
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(status)) {
		var kib float64
		if _, err := fmt.Sscanf(line, "VmHWM: %f kB", &kib); err == nil {
			fmt.Printf("%.1f\n", kib/1024)
		}
	}
	return nil
}

// resume measures from slurmctld's request for a thousand nodes to the last call that
// launches any. AWS's buckets hold a thousand instances and five requests, so that
// their own limit is nothing if the requests are few, and else two a second.
func (b *bench) resume(ctx context.Context, runs int, what string, jobs, nodes int) error {
	for range runs {
		var (
			mu          sync.Mutex
			calls       int
			first, last time.Time
		)
		w, err := startFleet(ctx, jobs*nodes, sim.DocumentedLimits(), func(operation string, call func() error) error {
			if operation == "RunInstances" {
				mu.Lock()
				calls++
				last = time.Now()
				mu.Unlock()
			}
			return call()
		})
		if err != nil {
			return err
		}
		time.Sleep(2 * time.Second) // its first looks
		w.Do(func() {
			resume := w.Slurm.Resume
			w.Slurm.Resume = func(r fleet.Request) {
				first = time.Now()
				resume(r)
			}
			for range jobs {
				w.Slurm.Submit("q", nodes, 4, time.Hour)
			}
		})
		deadline := time.Now().Add(10 * time.Minute)
		for launched := 0; launched < jobs*nodes; time.Sleep(100 * time.Millisecond) {
			w.Do(func() { launched = w.Cloud.Ledger().Launched })
			if time.Now().After(deadline) {
				return fmt.Errorf("resume of %s: only %d instances were launched", what, launched)
			}
		}
		time.Sleep(time.Second) // there must be no more
		if err := w.stop(); err != nil {
			return err
		}
		mu.Lock()
		r := b.table.add("fleet: resume of 1,000 nodes for "+what+": request to last RunInstances", "s", 1, last.Sub(first).Seconds())
		r.note = fmt.Sprintf("%d calls; AWS's buckets allow 1,000 instances and 5 calls at once", calls)
		mu.Unlock()
	}
	return nil
}

// virtualHours are rows of tests that let a daemon live in virtual time.
func (b *bench) virtualHours(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "go", "test", "./internal/fleet", "-count=1", "-v", "-run", "^(TestAnIdleFleetAsksLittle|TestALostInstanceIsNoticedByItsConnection)$")
	cmd.Dir = b.root
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("fleets in virtual time: %w\n%s", err, out)
	}
	calls := regexp.MustCompile(`(\d+) calls in an hour: (.*)`).FindStringSubmatch(string(out))
	lost := regexp.MustCompile(`noticed (\S+) after EC2 knew`).FindStringSubmatch(string(out))
	if calls == nil || lost == nil {
		return fmt.Errorf("fleets in virtual time: %s", out)
	}
	n, err := strconv.ParseFloat(calls[1], 64)
	if err != nil {
		return err
	}
	b.table.add("fleet: API calls an hour, 1,000 idle nodes", "", 120, n).note = calls[2]
	took, err := time.ParseDuration(lost[1])
	if err != nil {
		return err
	}
	r := b.table.add("fleet: lost instance: its connection ended and EC2 knew, to its node powered down", "s", 2, took.Seconds())
	r.note = "virtual time"
	return nil
}

// manyNodes measures the simulation of a large fleet on one processor.
func (b *bench) manyNodes() error {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // it is short of time, not of memory
	const nodes = 50000
	before, err := cpu()
	if err != nil {
		return err
	}
	began := time.Now()
	result, err := sim.Run(sim.Scale(nodes, 0.01))
	if err != nil {
		return err
	}
	took := time.Since(began)
	after, err := cpu()
	if err != nil {
		return err
	}
	r := b.table.add("fleet: 50,000 simulated nodes come and go, 1% faults", "s", 300, took.Seconds())
	r.note = fmt.Sprintf("processor time %.0f s; %v of virtual time, %d decisions of %.0f ms, %d instances, every step checked",
		(after - before).Seconds(), result.Virtual.Round(time.Minute), result.Steps, result.Planning.Seconds()*1000/float64(result.Steps), result.Launched)
	return nil
}
