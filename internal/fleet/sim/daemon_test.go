package sim

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var lives = flag.Int("lives", 8, "how many lives to give real daemons")

// TestDaemonsLives lets the real daemon, with its own cadence, live in virtual time among
// models that fail as they do in [TestWorlds]. What is a seed's is the trouble, not the
// order in which goroutines take their turns: a life that goes wrong may go well when it is
// lived again.
func TestDaemonsLives(t *testing.T) {
	if _, err := os.Stat("/dev/shm"); err == nil {
		t.Setenv("TMPDIR", "/dev/shm") // see TestCrashPoints
	}
	jobs, killed := 0, 0
	for s := *first; s < *first+uint64(*lives) && !t.Failed(); s++ {
		synctest.Test(t, func(t *testing.T) {
			l := newLife(t, s)
			defer func() {
				l.h.stop()
				jobs, killed = jobs+l.h.jobs, killed+l.h.life
			}()
			l.live()
		})
	}
	t.Logf("%d lives, %d jobs, daemons killed %d times", *lives, jobs, killed)
}

// A life is what befalls one house.
type life struct {
	h       *house
	rng     *rand.Rand
	refuses map[string]bool // "ec2", "slurm"
	cut     bool            // the head node hears nobody: calls hang
	quiet   bool
}

func newLife(t *testing.T, seed uint64) *life {
	h := newHouse(t, point{}, "", make(map[string]int))
	h.story, h.jobs, h.limit = fmt.Sprintf("the life of seed %d", seed), 0, 5*time.Hour
	l := &life{h: h, rng: rand.New(rand.NewPCG(seed, 4)), refuses: make(map[string]bool)}
	h.live.Cloud.Faults = Faults{
		InternalError: 0.05, LostAnswer: 0.05, NoBoot: 0.05, Death: 0.1, Lifetime: time.Hour,
		Hidden: 10 * time.Second, Stale: 5 * time.Second,
	}
	h.live.Slurm.Timeouts.Silence = DefaultTimeouts().Silence
	h.live.Slurm.Requeued = func(j *Job) {
		if l.isCut() && j.Running() && !slices.ContainsFunc(j.nodes, func(n *Node) bool { return n.instance == nil || !n.instance.Alive() }) {
			h.failf("job %s loses its nodes while the head node is cut off", j.ID)
		}
	}
	h.refuses = func(operation string) error {
		if l.isCut() && !strings.HasPrefix(operation, "s") {
			time.Sleep(30 * time.Second)
			return apiError("RequestTimeout", "no answer")
		}
		service := "ec2"
		if strings.HasPrefix(operation, "s") { // scontrol, squeue
			service = "slurm"
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if l.refuses[service] {
			return apiError("ServiceUnavailable", "out of reach")
		}
		return nil
	}
	return l
}

func (l *life) between(a, b time.Duration) time.Duration { return a + upTo(l.rng, b-a) }

func (l *life) refuse(service string, on bool) {
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	l.refuses[service] = on
}

// live is an hour and a half of trouble, and then everything must come to its end.
func (l *life) live() {
	h := l.h
	h.start()
	for trouble := h.began.Add(90 * time.Minute); time.Now().Before(trouble); {
		time.Sleep(l.between(5*time.Second, 2*time.Minute))
		switch l.rng.IntN(12) {
		case 0:
			h.killFor(l.between(time.Second, 2*time.Minute), l.rng.IntN(3) == 0)
		case 1:
			l.outage("ec2")
		case 2:
			l.outage("slurm")
		case 3:
			l.headDown()
		case 4:
			l.headCut()
		case 5:
			h.live.Do(func() { h.live.Cloud.SetCapacity(Offer{"m5.large", ""}, l.rng.IntN(2)) })
		default:
			l.submit()
		}
	}
	h.live.Do(func() {
		h.live.Cloud.Faults = Faults{}
		h.live.Cloud.Unlimited(Offer{"m5.large", ""})
	})
	for h.waits() {
		time.Sleep(5 * time.Second)
	}
	h.live.Do(h.finish)
}

func (l *life) submit() {
	queue, most := "q", 3
	switch l.rng.IntN(3) {
	case 0:
		queue, most = "r", 2
	case 1:
		queue, most = "s", 2
	}
	nodes := 1 + l.rng.IntN(most)
	l.h.live.Do(func() {
		l.h.live.Slurm.Submit(queue, nodes, 1+l.rng.IntN(slotsPerNode), l.between(10*time.Second, 5*time.Minute))
	})
	l.h.jobs++
}

func (l *life) outage(service string) {
	l.refuse(service, true)
	time.Sleep(l.between(10*time.Second, 10*time.Minute))
	l.refuse(service, false)
}

// isCut and setCut are about whether the head node hears nobody.
func (l *life) isCut() bool {
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	return l.cut
}

func (l *life) setCut(cut bool) {
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	l.cut = cut
}

// headCut cuts the head node off from its nodes and from AWS for a while. The daemon has
// had the time to look around before.
func (l *life) headCut() {
	for l.h.isBetween() {
		time.Sleep(time.Second)
	}
	time.Sleep(20 * time.Second)
	l.h.live.Do(func() { l.h.live.Slurm.Cut(func(*Instance) bool { return true }) })
	l.setCut(true)
	time.Sleep(l.between(time.Minute, 20*time.Minute))
	l.setCut(false)
	l.h.live.Do(l.h.live.Slurm.Mend)
}

// headDown takes slurmctld and the daemon away for a while.
func (l *life) headDown() {
	length := l.between(time.Minute, 20*time.Minute)
	l.h.live.Do(l.h.live.Slurm.Stop)
	l.h.killFor(length, false)
	time.Sleep(length)
	l.h.live.Do(l.h.live.Slurm.Start)
}
