package config

import (
	"fmt"
	"slices"
	"strings"
)

// A Level says how bad a problem is. By default only errors stop a command.
type Level int

// The levels, in ascending order.
const (
	Info Level = iota
	Warning
	Error
)

// String returns the level as commands print it: INFO, WARNING or ERROR.
func (l Level) String() string {
	switch l {
	case Info:
		return "INFO"
	case Warning:
		return "WARNING"
	case Error:
		return "ERROR"
	}
	return fmt.Sprintf("Level(%d)", int(l))
}

// ParseLevel returns the level with that name.
func ParseLevel(name string) (Level, error) {
	for _, l := range []Level{Info, Warning, Error} {
		if name == l.String() {
			return l, nil
		}
	}
	return 0, fmt.Errorf("unknown level %q: use INFO, WARNING or ERROR", name)
}

// Names under which the shape of a document is judged. Documents that are no
// YAML mapping at all are reported without a validator name, see [Problems.Malformed].
const (
	SchemaValidator      = "ConfigSchemaValidator"
	ImageSchemaValidator = "ImageSchemaValidator"
)

// Pos is a place in a file, both counted from 1. The zero Pos is no place.
type Pos struct {
	Line, Column int
}

// String returns line:column, or nothing for the zero Pos.
func (p Pos) String() string {
	if p == (Pos{}) {
		return ""
	}
	return fmt.Sprintf("%d:%d", p.Line, p.Column)
}

// A Problem is one thing wrong with a configuration.
type Problem struct {
	Level     Level
	Validator string // stable name, which users can suppress unless it is the schema's
	Path      string // Scheduling.SlurmQueues[1].Name; empty for the whole document
	Pos       Pos    // zero where the file has no such key
	Message   string // what is wrong, quoting the value
	Hint      string // what to do about it; may be empty
	// Late says that the document has the right shape as such, but no cluster can be
	// made of it. Commands answer with the message of the first such problem alone.
	Late bool
}

// String returns the problem on one line, with its place first.
func (p Problem) String() string {
	var b strings.Builder
	if p.Pos != (Pos{}) {
		fmt.Fprintf(&b, "line %d, column %d: ", p.Pos.Line, p.Pos.Column)
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Message)
	if p.Hint != "" {
		b.WriteString(" (" + p.Hint + ")")
	}
	return b.String()
}

// Problems are what was found in one document, in the order of its lines where
// the finder has no better order.
type Problems []Problem

// Worst returns the highest level among the problems and false if there are none.
func (ps Problems) Worst() (worst Level, any bool) {
	for _, p := range ps {
		worst = max(worst, p.Level)
	}
	return worst, len(ps) > 0
}

// At returns the problems of at least that level.
func (ps Problems) At(least Level) Problems {
	var out Problems
	for _, p := range ps {
		if p.Level >= least {
			out = append(out, p)
		}
	}
	return out
}

// Late returns the late ones among the problems, see [Problem].
func (ps Problems) Late() Problems {
	var out Problems
	for _, p := range ps {
		if p.Late {
			out = append(out, p)
		}
	}
	return out
}

// Shape returns the errors in the shape of a document: all but the late ones.
func (ps Problems) Shape() Problems {
	return slices.DeleteFunc(ps.At(Error), func(p Problem) bool { return p.Late })
}

// Malformed returns the problem of a document that could not be read as a YAML
// mapping at all. Commands answer those as a bad request, all others as an
// invalid configuration.
func (ps Problems) Malformed() (Problem, bool) {
	if i := slices.IndexFunc(ps, func(p Problem) bool { return p.Validator == "" }); i >= 0 {
		return ps[i], true
	}
	return Problem{}, false
}

// Err returns the errors among the problems as one error, or nil.
func (ps Problems) Err() error {
	errs := ps.At(Error)
	if len(errs) == 0 {
		return nil
	}
	lines := make([]string, len(errs))
	for i, p := range errs {
		lines[i] = p.String()
	}
	return fmt.Errorf("%s", strings.Join(lines, "\n"))
}
