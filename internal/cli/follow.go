package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
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
	var view progress = &lineProgress{out: env.Stderr, start: env.Now(), now: env.Now}
	if _, terminal := env.Columns(); terminal && env.Getenv("TERM") != "dumb" {
		live := newLiveProgress(env.Stderr, env.Columns, s.ClusterName, begun, env.Now)
		stop := live.spin()
		defer stop()
		view = live
	}
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
	close() // may be called more than once
}

// lineProgress writes a line for each event, for logs and pipes.
type lineProgress struct {
	out   io.Writer
	start time.Time
	now   func() time.Time
}

func (p *lineProgress) close() {}

func (p *lineProgress) show(e cluster.Event) {
	at := fmt.Sprintf("%7.1fs ", p.now().Sub(p.start).Seconds())
	switch {
	case e.Boot != nil:
		fmt.Fprintln(p.out, at+bootLine(e.Boot))
	case e.Stack != nil:
		fmt.Fprintln(p.out, at+stackLine(e))
	}
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
