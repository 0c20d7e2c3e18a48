package cli

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"pcluster/internal/cluster"
	"pcluster/internal/config"
)

// A sourceFile is a file whose problems are shown to people.
type sourceFile struct {
	name  string
	lines []string
	width int // of the terminal; 0: as wide as need be
}

func newSourceFile(name string, text []byte, width int) sourceFile {
	return sourceFile{name, strings.Split(string(text), "\n"), width}
}

// writeDiagnostics shows people what is wrong with their file. Programs read the JSON.
func writeDiagnostics(w io.Writer, refusal *cluster.Error, width int) {
	f := newSourceFile(refusal.File, refusal.Text, width)
	for _, p := range refusal.Problems {
		f.show(w, p)
	}
}

// show writes a problem for people: the place, what it is, the line with the value
// underlined, the key's path with the validator's name, and what to do.
func (f sourceFile) show(w io.Writer, p config.Problem) {
	style := levelStyle(p.Level)
	place, level := f.place(p.Pos)+": ", strings.ToLower(p.Level.String())+": "
	message := f.wrap(p.Message, len(place)+len(level), "  ")
	fmt.Fprintf(w, "%s%s%s%s%s%s\n", bold, place, style, level, reset, message)
	if p.Pos.Line >= 1 && p.Pos.Line <= len(f.lines) {
		source, column, length := f.excerpt(p.Pos)
		fmt.Fprintf(w, "%s%5d |%s %s\n", dim, p.Pos.Line, reset, source)
		fmt.Fprintf(w, "%s      |%s %s%s%s%s\n", dim, reset, caretIndent(source, column), style, strings.Repeat("^", length), reset)
	}
	for _, note := range f.notes(p) {
		fmt.Fprintf(w, "      %s= %s%s\n", dim, note, reset)
	}
	if p.Hint != "" {
		fmt.Fprintf(w, "      %s=%s hint: %s\n", dim, reset, f.wrap(p.Hint, 14, "        "))
	}
}

// notes returns path and validator, on one line if they fit.
func (f sourceFile) notes(p config.Problem) []string {
	switch both := p.Path + "  " + p.Validator; {
	case p.Path == "" && p.Validator == "":
		return nil
	case p.Path == "" || p.Validator == "":
		return []string{p.Path + p.Validator}
	case f.width >= 40 && len(both)+8 > f.width:
		return []string{p.Path, p.Validator}
	default:
		return []string{both}
	}
}

// wrap breaks text between words where it would not fit the terminal; used are
// the columns before it, and further lines are indented.
func (f sourceFile) wrap(text string, used int, indent string) string {
	if f.width < 40 {
		return text
	}
	var b strings.Builder
	for i, word := range strings.Split(text, " ") {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case used+1+n > f.width:
			b.WriteString("\n" + indent)
			used = len(indent)
		default:
			b.WriteByte(' ')
			used++
		}
		b.WriteString(word)
		used += n
	}
	return b.String()
}

// line returns a problem on one line, as compilers write them.
func (f sourceFile) line(p config.Problem) string {
	text := fmt.Sprintf("%s: %s: %s", f.place(p.Pos), strings.ToLower(p.Level.String()), p.Message)
	if p.Hint != "" {
		text += " (" + p.Hint + ")"
	}
	if p.Validator != "" {
		text += " [" + p.Validator + "]"
	}
	return text
}

func (f sourceFile) place(pos config.Pos) string {
	if pos == (config.Pos{}) {
		return f.name
	}
	return f.name + ":" + pos.String()
}

// excerpt returns the line of a place, cut around it to what fits the terminal,
// with the column of the place in it and the length of the value there.
func (f sourceFile) excerpt(pos config.Pos) (source string, column, length int) {
	line := []rune(strings.TrimRight(f.lines[pos.Line-1], "\r"))
	start := min(max(pos.Column-1, 0), len(line))
	length = valueLength(line[start:])
	const margin = 9 // of line number and bar
	room := f.width - margin
	if f.width == 0 || len(line) <= room || room < 20 {
		return string(line), pos.Column, length
	}
	from := max(0, min(start-room/3, len(line)-room))
	cut := line[from:min(len(line), from+room)]
	if from > 0 {
		cut = append([]rune{'…'}, cut[1:]...)
	}
	if from+room < len(line) {
		cut = append(cut[:len(cut)-1:len(cut)-1], '…')
	}
	return string(cut), pos.Column - from, min(length, len(cut)-(start-from))
}

// valueLength returns how long the key or value at the start of a text is.
func valueLength(text []rune) int {
	if len(text) == 0 {
		return 1
	}
	if q := text[0]; q == '"' || q == '\'' {
		for i := 1; i < len(text); i++ {
			if text[i] == q {
				return i + 1
			}
		}
		return len(text)
	}
	for i, r := range text {
		if strings.ContainsRune(" \t,]}#", r) || r == ':' && (i+1 == len(text) || text[i+1] == ' ') {
			return max(1, i)
		}
	}
	return len(text)
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
	if n := utf8.RuneCountInString(source); n < column-1 {
		b.WriteString(strings.Repeat(" ", column-1-n))
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
