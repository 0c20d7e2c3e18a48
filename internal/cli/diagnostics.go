package cli

import (
	"fmt"
	"io"
	"strings"

	"pcluster/internal/cluster"
	"pcluster/internal/config"
)

// writeDiagnostics shows people what is wrong with their file: the place, the
// line with a caret below, what it is and what to do. Programs read the JSON.
func writeDiagnostics(w io.Writer, refusal *cluster.Error) {
	lines := strings.Split(string(refusal.Text), "\n")
	for _, p := range refusal.Problems {
		place := refusal.File
		if p.Pos != (config.Pos{}) {
			place += ":" + p.Pos.String()
		}
		fmt.Fprintf(w, "%s%s: %s%s:%s %s", bold, place, levelStyle(p.Level), strings.ToLower(p.Level.String()), reset, p.Message)
		if p.Path != "" && !strings.Contains(p.Message, p.Path) {
			fmt.Fprintf(w, " %s(%s)%s", dim, p.Path, reset)
		}
		fmt.Fprintln(w)
		if p.Pos.Line >= 1 && p.Pos.Line <= len(lines) {
			source := strings.TrimRight(lines[p.Pos.Line-1], "\r")
			fmt.Fprintf(w, "%5d | %s\n", p.Pos.Line, source)
			fmt.Fprintf(w, "      | %s%s^%s\n", caretIndent(source, p.Pos.Column), levelStyle(p.Level), reset)
		}
		if p.Hint != "" {
			fmt.Fprintf(w, "      = hint: %s\n", p.Hint)
		}
	}
}

// caretIndent returns what to print before a caret below a column: tabs stay
// tabs, so that it lands below the right character.
func caretIndent(source string, column int) string {
	var b strings.Builder
	for i, r := range []rune(source) {
		if i >= column-1 {
			break
		}
		if r == '\t' {
			b.WriteRune('\t')
		} else {
			b.WriteByte(' ')
		}
	}
	return b.String()
}

func levelStyle(l config.Level) string {
	switch l {
	case config.Error:
		return red
	case config.Warning:
		return yellow
	}
	return dim
}

// writeMessages shows what validation had to say about a file that was accepted.
func writeMessages(w io.Writer, messages []cluster.ValidationMessage) {
	for _, m := range messages {
		fmt.Fprintf(w, "%s: %s (%s)\n", strings.ToLower(m.Level), m.Message, m.Type)
	}
}
