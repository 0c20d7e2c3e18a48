package why

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Text is the answer for people, in lines that are no wider than width where words
// allow it.
func (a *Answer) Text(width int) string {
	p := printer{width: max(width, 40)}
	p.heading(strings.ToUpper(a.About[:1]) + a.About[1:])
	if a.State != "" {
		p.paragraph("  ", "  ", "Slurm says: "+a.State)
	}
	p.paragraph("  ", "  ", a.Verdict)
	if len(a.Advice) > 0 {
		p.section("What to do")
		for _, line := range a.Advice {
			p.paragraph("  - ", "    ", line)
		}
	}
	if len(a.Stages) > 0 {
		p.section("What took how long")
		p.stages(a)
	}
	if len(a.Nodes) > 0 {
		p.section("Its nodes")
		for _, n := range a.Nodes {
			p.paragraph("  ", "      ", fmt.Sprintf("%s  %s, since %s", n.Nodes, n.Stage, clock(n.Since)))
		}
	}
	if len(a.Timeline) > 0 {
		p.section("What happened, on " + a.Timeline[0].Time.Format("2006-01-02, times in MST"))
		p.timeline(a.Timeline)
	}
	if len(a.Earlier) > 0 {
		p.section("Before that")
		for _, line := range a.Earlier {
			p.paragraph("  ", "      ", line)
		}
	}
	for _, line := range a.Caveats {
		p.b.WriteByte('\n')
		p.paragraph("", "  ", "Note: "+line)
	}
	return p.b.String()
}

type printer struct {
	b     strings.Builder
	width int
}

func (p *printer) heading(s string) { p.b.WriteString(s + "\n\n") }

func (p *printer) section(s string) { p.b.WriteString("\n" + s + "\n\n") }

// paragraph writes a text in lines, the first of which begins otherwise than the rest.
func (p *printer) paragraph(first, rest, text string) {
	line := first
	empty := true
	for _, word := range strings.Fields(text) {
		if !empty && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > p.width {
			p.b.WriteString(line + "\n")
			line, empty = rest, true
		}
		if !empty {
			line += " "
		}
		line += word
		empty = false
	}
	p.b.WriteString(line + "\n")
}

const barWidth = 24

func (p *printer) stages(a *Answer) {
	longest, name := 0.0, 0
	for _, s := range a.Stages {
		longest = max(longest, s.Seconds)
		name = max(name, len(s.Name))
	}
	for _, s := range a.Stages {
		bar := ""
		if longest > 0 {
			bar = strings.Repeat("█", int(s.Seconds/longest*barWidth+0.5))
		}
		line := fmt.Sprintf("  %-*s  %12s  ", name, s.Name, duration(s.Seconds))
		if s.Until.IsZero() {
			bar += "▒"
		}
		line += bar
		note := ""
		switch {
		case s.Until.IsZero() && s.Last != "":
			note = "so far; waits for " + s.Last
		case s.Until.IsZero():
			note = "so far"
		case s.Last != "":
			note = "last: " + s.Last
		}
		line += strings.Repeat(" ", max(1, barWidth+3-utf8.RuneCountInString(bar))) + note
		p.b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	if len(a.Stages) > 1 {
		fmt.Fprintf(&p.b, "  %-*s  %12s\n", name, "in all", duration(a.Total))
	}
}

func duration(seconds float64) string { return span(time.Duration(seconds * float64(time.Second))) }

func (p *printer) timeline(lines []Line) {
	begin := lines[0].Time
	day := begin.Format(time.DateOnly)
	for _, l := range lines {
		if d := l.Time.Format(time.DateOnly); d != day {
			p.b.WriteString("  " + d + "\n")
			day = d
		}
		offset := ""
		if d := l.Time.Sub(begin); d > 0 {
			offset = "+" + span(d)
		}
		p.paragraph(fmt.Sprintf("  %s  %-13s ", clock(l.Time), offset), strings.Repeat(" ", 26), l.Text)
	}
}
