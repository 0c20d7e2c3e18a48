package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"pcluster/internal/cluster"
)

// The live view on a terminal. Rules: it repaints a few lines in place and
// nothing above them; no line is wider than the terminal, so that the number of
// lines to go up is known; no colour carries what a word or a sign does not; what
// failed stays on the screen; when it closes, a summary is left. It asks the
// terminal nothing, since answers would race with what the user types.

const (
	liveResources = 6 // lines for resources in progress
	liveSteps     = 6 // lines for steps of the head node's boot
	repaint       = 120 * time.Millisecond
)

// Select Graphic Rendition, as much as is needed.
const (
	bold   = "\x1b[1m"
	dim    = "\x1b[2m"
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	reset  = "\x1b[0m"
)

type liveProgress struct {
	mu      sync.Mutex
	out     io.Writer
	columns func() (int, bool)
	title   string
	now     func() time.Time
	start   time.Time

	resources map[string]*liveResource // by stack and logical ID
	steps     []*liveStep
	status    string // of the stack
	reason    string
	frame     int
	painted   int // lines to go up
	closed    bool
}

type liveResource struct {
	name, kind, status string
	since              time.Time
}

type liveStep struct {
	name, status, detail string
	since                time.Time
	seconds              float64
}

func newLiveProgress(out io.Writer, columns func() (int, bool), name string, begun cluster.Status, now func() time.Time) *liveProgress {
	verb := map[cluster.Status]string{cluster.CreateInProgress: "Creating", cluster.DeleteInProgress: "Deleting"}[begun]
	return &liveProgress{out: out, columns: columns, title: verb + " cluster " + name, now: now, start: now(),
		resources: map[string]*liveResource{}, status: string(begun)}
}

func (p *liveProgress) tick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frame++
	p.paint()
}

func (p *liveProgress) show(e cluster.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case e.Boot != nil:
		p.step(e.Boot)
	case e.OfStack():
		p.status, p.reason = e.Stack.Status, oneLine(e.Stack.Reason)
	case e.Stack != nil:
		s := e.Stack
		key := s.StackID + " " + s.LogicalID
		r := p.resources[key]
		if r == nil {
			r = &liveResource{name: s.LogicalID, kind: strings.TrimPrefix(s.ResourceType, "AWS::"), since: p.now()}
			p.resources[key] = r
		}
		if r.status != s.Status && strings.HasSuffix(s.Status, "_IN_PROGRESS") && !strings.HasSuffix(r.status, "_IN_PROGRESS") {
			r.since = p.now()
		}
		r.status = s.Status
		if failed(s) {
			p.keep(red + "✗ " + reset + stackLine(e))
		}
	}
	p.paint()
}

func (p *liveProgress) step(b *cluster.BootStep) {
	i := slices.IndexFunc(p.steps, func(s *liveStep) bool { return s.name == b.Step })
	if i < 0 {
		i = len(p.steps)
		p.steps = append(p.steps, &liveStep{name: b.Step, since: p.now()})
	}
	s := p.steps[i]
	s.status, s.seconds, s.detail = b.Status, b.Seconds, oneLine(b.Detail)
	if b.Status == "failed" {
		p.keep(red + "✗ " + reset + bootLine(b))
	}
}

// keep writes lines above the view that stay there.
func (p *liveProgress) keep(text string) {
	fmt.Fprint(p.out, p.erase()+text+"\n")
}

// erase returns what takes the view off the screen.
func (p *liveProgress) erase() string {
	up := p.painted
	p.painted = 0
	if up == 0 {
		return ""
	}
	return fmt.Sprintf("\x1b[%dA\r\x1b[J", up)
}

// paint replaces the view in one write, so that it does not flicker.
func (p *liveProgress) paint() {
	if p.closed {
		return
	}
	erase, lines := p.erase(), p.lines()
	fmt.Fprint(p.out, erase+strings.Join(lines, "\n")+"\n")
	p.painted = len(lines)
}

// lines returns the view.
func (p *liveProgress) lines() []string {
	spinner := string([]rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")[p.frame%10])
	var busy []*liveResource
	complete := 0
	for _, r := range p.resources {
		switch {
		case strings.HasSuffix(r.status, "_IN_PROGRESS"):
			busy = append(busy, r)
		case strings.HasSuffix(r.status, "_COMPLETE") || r.status == "DELETE_SKIPPED":
			complete++
		}
	}
	slices.SortFunc(busy, func(a, b *liveResource) int {
		if c := a.since.Compare(b.since); c != 0 {
			return c
		}
		return strings.Compare(a.name, b.name)
	})
	columns, _ := p.columns()
	if columns == 0 { // a terminal that does not know
		columns = 80
	}
	columns = max(columns, 20)
	line := func(style, sign, text string) string {
		return cutStyled(style+sign+reset+" "+text, columns-1)
	}
	elapsed := p.now().Sub(p.start).Round(time.Second)
	head := fmt.Sprintf("%s  %s  %d of %d resources done  %s", p.title, p.status, complete, len(p.resources), elapsed)
	out := []string{line(bold, spinner, head)}
	for _, r := range busy[:min(len(busy), liveResources)] {
		out = append(out, line(dim, " "+spinner, fmt.Sprintf("%-34s %-28s %4.0f s", r.name, r.kind, p.now().Sub(r.since).Seconds())))
	}
	if more := len(busy) - liveResources; more > 0 {
		out = append(out, line(dim, "  ", fmt.Sprintf("and %d more", more)))
	}
	if len(p.steps) > 0 {
		out = append(out, line(bold, " ", "Head node"))
	}
	for _, s := range p.steps[max(0, len(p.steps)-liveSteps):] {
		sign, style, seconds := spinner, dim, p.now().Sub(s.since).Seconds()
		switch s.status {
		case "done", "skipped":
			sign, style, seconds = "✓", green, s.seconds
		case "failed":
			sign, style = "✗", red
		}
		out = append(out, line(style, "  "+sign, strings.TrimRight(fmt.Sprintf("%-34s %6.1f s  %s", s.name, seconds, s.detail), " ")))
	}
	return out
}

// close leaves a line about how it ended.
func (p *liveProgress) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	erase := p.erase()
	p.closed = true
	sign := green + "✓" + reset
	switch {
	case strings.HasSuffix(p.status, "_IN_PROGRESS"):
		sign = "…"
	case p.status != "CREATE_COMPLETE" && p.status != "DELETE_COMPLETE":
		sign = red + "✗" + reset
	}
	text := fmt.Sprintf("%s  %s  %s", p.title, p.status, p.now().Sub(p.start).Round(100*time.Millisecond))
	if p.reason != "" && sign != "…" && !strings.HasSuffix(p.status, "_COMPLETE") {
		text += ": " + p.reason
	}
	fmt.Fprintln(p.out, erase+sign+" "+text)
}

// cutStyled shortens a text to a number of characters; styles take no room.
func cutStyled(s string, most int) string {
	if utf8.RuneCountInString(unstyle(s)) <= most {
		return s
	}
	var b strings.Builder
	width, escape := 0, false
	for _, r := range s {
		switch {
		case r == '\x1b':
			escape = true
		case escape:
			escape = r != 'm'
		default:
			if width++; width > most {
				continue
			}
			if width == most {
				r = '…'
			}
		}
		b.WriteRune(r)
	}
	return b.String()
}

// unstyle takes the styles out of a text.
func unstyle(s string) string {
	for _, style := range []string{bold, dim, red, green, yellow, reset} {
		s = strings.ReplaceAll(s, style, "")
	}
	return s
}

// plainText is a terminal for people who want no colours.
type plainText struct{ io.Writer }

func (w plainText) Write(p []byte) (int, error) {
	if _, err := io.WriteString(w.Writer, unstyle(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}
