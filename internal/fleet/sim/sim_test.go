package sim

import (
	"flag"
	"os"
	"slices"
	"testing"
	"time"
)

var (
	seed    = flag.Uint64("seed", 0, "run the world of this seed only, and print all that happens in it")
	first   = flag.Uint64("first", 1, "seed of the first world")
	verbose = flag.Bool("log", false, "print what daemons log")
	nodes   = flag.Int("nodes", 1000, "of the large fleet")
	seeds   = flag.Int("seeds", 20, "how many worlds to run")
)

// TestWorlds lets fleets live in worlds of many seeds. A world that goes wrong prints
// the command that shows it again, event by event.
func TestWorlds(t *testing.T) {
	if *seed != 0 {
		cfg := Random(*seed)
		cfg.Trace = os.Stdout
		r, err := Run(cfg)
		t.Logf("%+v", r)
		if err != nil {
			t.Error(err)
		}
		return
	}
	var (
		steps, ended, launched int
		unowned                time.Duration
	)
	for s := *first; s < *first+uint64(*seeds); s++ {
		r, err := Run(Random(s))
		if err != nil {
			t.Errorf("seed %d: %v\n\tgo test ./internal/fleet/sim -run TestWorlds -seed %d", s, err, s)
		}
		unowned = max(unowned, r.Unowned)
		steps, ended, launched = steps+r.Steps, ended+r.Ended, launched+r.Launched
	}
	t.Logf("%d worlds: %d decisions, %d jobs, %d instances, none of them nobody's for more than %v", *seeds, steps, ended, launched, unowned.Round(time.Second))
}

// TestReplay: a seed is a world, down to the last event.
func TestReplay(t *testing.T) {
	for s := uint64(1); s <= 3; s++ {
		one, err := Run(Random(s))
		if err != nil {
			t.Fatal(err)
		}
		other, err := Run(Random(s))
		if err != nil || one.Hash != other.Hash {
			t.Errorf("seed %d: %x, then %x, %v", s, one.Hash, other.Hash, err)
		}
	}
}

// TestScale lets a large fleet come and go.
func TestScale(t *testing.T) {
	began := time.Now()
	r, err := Run(Scale(*nodes, 0.01))
	if err != nil {
		t.Error(err)
	}
	slices.Sort(r.Waited)
	t.Logf("%d nodes in %v, %v of it in %d decisions: %d instances in %v, %d jobs, half of them waited %v, all %v; %d launches throttled",
		*nodes, time.Since(began), r.Planning, r.Steps, r.Launched, r.Virtual, r.Ended, r.Waited[len(r.Waited)/2], r.Waited[len(r.Waited)-1], r.Throttled)
}

// A job of more nodes than EC2 launches at once gets them as EC2's bucket fills, with
// nothing to spare, and not never.
func TestAJobLargerThanEC2sBuckets(t *testing.T) {
	const nodes = 1500
	cfg := Scale(nodes, 0)
	cfg.Limits, cfg.Timeouts.Resume, cfg.Trouble = DocumentedLimits(), 30*time.Minute, 10*time.Minute
	cfg.SlurmPause, cfg.EC2Pause = 15*time.Second, 30*time.Second // quicker to run
	cfg.Load = func(s *Slurm) { s.Submit("q0", nodes, slotsPerNode, time.Minute) }
	r, err := Run(cfg)
	if err != nil {
		t.Fatal(err)
	}
	limit := time.Duration((nodes - cfg.Limits.Launches.Burst) / cfg.Limits.Launches.Rate * float64(time.Second))
	if r.LastLaunch > limit+15*time.Second || r.Launched != nodes {
		t.Errorf("%d instances, the last after %v; EC2 allows them after %v", r.Launched, r.LastLaunch, limit)
	}
}
