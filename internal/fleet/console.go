package fleet

import (
	"context"
	"fmt"
	"strings"
	"time"
)

const (
	// consoleSample is how long one console speaks for all of a compute resource:
	// its nodes mostly fail for the same reason.
	consoleSample = time.Minute
	consoleLines  = 200
)

// consolePauses are the waits before each question for a console. EC2 may take
// minutes until it has the last lines.
var consolePauses = []time.Duration{0, 30 * time.Second, 2 * time.Minute, 3 * time.Minute}

// inspect keeps what an instance printed that failed to start, and says in the log
// what it complained of: a node that never got to its logs leaves nothing else.
func (d *Daemon) inspect(ctx context.Context, a Assignment) {
	if d.Consoles == nil || d.policy.NoConsoles {
		return
	}
	key, now := resourceOf(a.Node), d.Now()
	if last, ok := d.inspected.Load(key); ok && now.Sub(last.(time.Time)) < consoleSample {
		return
	}
	d.inspected.Store(key, now)
	d.running.Add(1)
	go func() {
		defer d.running.Done()
		for _, pause := range consolePauses {
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
			text, err := d.Cloud.Console(ctx, a.Instance)
			if err != nil {
				d.Log.Warn("console of a node that failed to start", "node", a.Node, "error", err)
				return
			}
			if strings.TrimSpace(text) != "" {
				d.keepConsole(a, text)
				return
			}
		}
	}()
}

func resourceOf(node string) string {
	if i := strings.LastIndexByte(node, '-'); i > 0 {
		return node[:i]
	}
	return node
}

func (d *Daemon) keepConsole(a Assignment, text string) {
	lines := strings.Split(strings.TrimRight(text, "\r\n"), "\n")
	for _, line := range lines {
		if strings.Contains(line, "boot failed: ") || strings.Contains(line, "pcluster: ") {
			d.Log.Warn("a node that failed to start said", "node", a.Node, "instance", a.Instance, "line", strings.TrimSpace(line))
			break
		}
	}
	lines = lines[max(0, len(lines)-consoleLines):]
	var b strings.Builder
	at := d.Now().UTC().Format("2006-01-02 15:04:05,000")
	for _, line := range lines {
		fmt.Fprintf(&b, "%s - Console of %s (%s): %s\n", at, a.Node, a.Instance, strings.TrimRight(line, "\r"))
	}
	if _, err := d.Consoles.Write([]byte(b.String())); err != nil {
		d.Log.Warn("console of a node that failed to start", "node", a.Node, "error", err)
	}
}
