package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"pcluster/internal/cluster"
)

// A followed operation is how an operation on a stack ended.
type followed struct {
	Status  cluster.Status
	failure *cluster.StackEvent // the first resource that failed, if any did
}

// cause says in a sentence why it did not end well.
func (f followed) cause() string {
	text := "its stack is in status " + string(f.Status)
	if f.failure != nil {
		text += " because " + f.failure.LogicalID + " (" + f.failure.ResourceType + ") failed: " + f.failure.Reason
	}
	return strings.TrimSuffix(text, ".")
}

// follow shows on stderr what happens to the stack of a cluster until the
// operation that began with the status given is over.
func (env *Env) follow(ctx context.Context, operator *cluster.Operator, s cluster.Summary, begun cluster.Status) (followed, error) {
	var view progress = newLineProgress(env.Stderr, env.Now)
	if _, terminal := env.Columns(); terminal && env.Getenv("TERM") != "dumb" {
		view = newLiveProgress(env.Stderr, env.Columns, s.ClusterName, begun, env.Now)
	}
	stop := every(repaint, view.tick)
	defer stop()
	defer view.close()
	var end followed
	for event, err := range operator.Watch(ctx, s.CloudformationStackArn, begun) {
		if err != nil {
			view.close()
			if ctx.Err() != nil {
				fmt.Fprint(env.Stderr, interrupted(s, begun))
			}
			return end, err
		}
		if event.Stack != nil {
			if event.OfStack() && event.Stack.StackID == s.CloudformationStackArn {
				end.Status = cluster.Status(event.Stack.Status)
			} else if end.failure == nil && failed(event.Stack) {
				end.failure = event.Stack
			}
		}
		view.show(event)
	}
	return end, nil
}

// failed reports whether a resource failed, and not only because another had.
func failed(e *cluster.StackEvent) bool {
	return strings.HasSuffix(e.Status, "_FAILED") && !strings.Contains(e.Reason, "cancelled")
}

// A progress shows events as they happen.
type progress interface {
	show(cluster.Event)
	tick()  // time has passed
	close() // may be called more than once
}

// every calls f until the function it returns is called.
func every(d time.Duration, f func()) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		ticker := time.NewTicker(d)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				f()
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

// lineProgress writes lines, for logs and pipes: what is done, what failed and,
// when that is all there was to say for a while, what it is waiting for. Times
// are those of the events, counted from the first.
type lineProgress struct {
	mu     sync.Mutex
	out    io.Writer
	now    func() time.Time
	first  time.Time
	spoke  time.Time // when the last line was written
	begun  []string  // what has begun and is not over, in that order
	closed bool
}

// silence is how long no line may be written without a reason.
const silence = 15 * time.Second

func newLineProgress(out io.Writer, now func() time.Time) *lineProgress {
	return &lineProgress{out: out, now: now, spoke: now()}
}

func (p *lineProgress) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
}

func (p *lineProgress) tick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.begun) == 0 || p.now().Sub(p.spoke) < silence {
		return
	}
	p.write(p.now(), "waiting for "+strings.Join(p.begun, ", "))
}

func (p *lineProgress) show(e cluster.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.first.IsZero() {
		p.first = e.Time
	}
	name, over := "", true
	switch {
	case e.Boot != nil:
		name, over = "head node: "+e.Boot.Step, e.Boot.Status != "start"
	case e.OfStack():
		p.write(e.Time, stackLine(e))
		return
	default:
		name, over = e.Stack.LogicalID, !strings.HasSuffix(e.Stack.Status, "_IN_PROGRESS")
	}
	i := slices.Index(p.begun, name)
	switch {
	case over && i >= 0:
		p.begun = slices.Delete(p.begun, i, i+1)
	case !over && i < 0:
		p.begun = append(p.begun, name)
	}
	switch {
	case !over:
	case e.Boot != nil:
		p.write(e.Time, bootLine(e.Boot))
	default:
		p.write(e.Time, stackLine(e))
	}
}

func (p *lineProgress) write(at time.Time, text string) {
	if p.first.IsZero() {
		p.first = at
	}
	p.spoke = p.now()
	fmt.Fprintf(p.out, "%7.1fs %s\n", max(at.Sub(p.first).Seconds(), 0), text)
}

func stackLine(e cluster.Event) string {
	s := e.Stack
	line := fmt.Sprintf("%-20s %s (%s)", s.Status, s.LogicalID, strings.TrimPrefix(s.ResourceType, "AWS::"))
	if s.Reason != "" && (failed(s) || e.OfStack()) {
		line += ": " + oneLine(s.Reason)
	}
	return line
}

func bootLine(b *cluster.BootStep) string {
	line := fmt.Sprintf("%-20s %s: %s", "HEAD NODE", b.Step, map[string]string{"start": "...", "done": "done", "failed": "failed", "skipped": "done at an earlier boot"}[b.Status])
	if b.Status == "done" {
		line += fmt.Sprintf(" in %.1f s", b.Seconds)
	}
	if b.Detail != "" {
		line += ": " + oneLine(b.Detail)
	}
	return line
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
