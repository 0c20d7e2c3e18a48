package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A difference between the real tool's judgement of a file and ours.
type difference struct {
	file    string
	what    string // "outcome refused, ours accepted", "lacks ERROR X", "adds ERROR X"
	message string // what the real tool says, or we
}

func (d difference) String() string {
	s := d.file + ": " + d.what
	if d.message != "" {
		s += " (" + d.message + ")"
	}
	return s
}

// compare returns what differs: whether the file is accepted, and which
// validators report at which levels. How many entries a validator has does not
// count: we report every place, the real tool often the first.
func compare(theirs, ours judgement) []difference {
	var out []difference
	add := func(message, format string, args ...any) {
		out = append(out, difference{theirs.ID, fmt.Sprintf(format, args...), message})
	}
	if theirs.Outcome != ours.Outcome {
		message := theirs.Message
		if len(theirs.Findings) > 0 && theirs.Outcome == "refused" {
			message = firstError(theirs)
		} else if ours.Outcome == "refused" {
			message += " | ours: " + firstError(ours)
		}
		add(message, "outcome %s, ours %s", theirs.Outcome, ours.Outcome)
	}
	if theirs.Outcome == "aborted" || theirs.Outcome == "crashed" || ours.Outcome == "aborted" {
		return out // there is no list to compare
	}
	a, b := entries(theirs), entries(ours)
	for _, e := range slices.Sorted(maps.Keys(a)) {
		if _, ok := b[e]; !ok {
			add(a[e], "lacks %s", e)
		}
	}
	for _, e := range slices.Sorted(maps.Keys(b)) {
		if _, ok := a[e]; !ok {
			add("ours: "+b[e], "adds %s", e)
		}
	}
	return out
}

func firstError(j judgement) string {
	for _, f := range j.Findings {
		if f.Level == "ERROR" {
			return f.Validator + ": " + f.Message
		}
	}
	return ""
}

// entries returns what was reported, with the first message of each kind.
func entries(j judgement) map[string]string {
	out := map[string]string{}
	for _, f := range j.Findings {
		if _, ok := out[f.Level+" "+f.Validator]; !ok {
			out[f.Level+" "+f.Validator] = f.Message
		}
	}
	return out
}

// A verdict explains differences.
type verdict struct {
	Verdict string   // better, equal, deliberate or release
	Files   []string // patterns of files' IDs; none means all
	What    []string // patterns of the difference
	Message string   // text that the message must have
	Reason  string

	used int
}

func (v *verdict) explains(d difference) bool {
	return matches(v.Files, d.file) && matches(v.What, d.what) && strings.Contains(d.message, v.Message)
}

// matches says whether one of the patterns fits; * stands for any text.
func matches(patterns []string, s string) bool {
	if len(patterns) == 0 {
		return true
	}
	return slices.ContainsFunc(patterns, func(p string) bool { return glob(p, s) })
}

func glob(pattern, s string) bool {
	// path.Match's star stops at slashes, which IDs have.
	ok, err := path.Match(slashless.Replace(pattern), slashless.Replace(s))
	return err == nil && ok
}

var slashless = strings.NewReplacer("/", "\x01", "[", "\x02", "]", "\x03")

func explain(verdicts []*verdict, d difference) *verdict {
	for _, v := range verdicts {
		if v.explains(d) {
			v.used++
			return v
		}
	}
	return nil
}

func readVerdicts(path string) ([]*verdict, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var out []*verdict
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(&out); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, v := range out {
		switch v.Verdict {
		case "better", "equal", "deliberate", "release":
		default:
			return nil, fmt.Errorf("%s: %q is no verdict", path, v.Verdict)
		}
		if v.Reason == "" || len(v.What) == 0 {
			return nil, fmt.Errorf("%s: a verdict says what it explains, and why", path)
		}
	}
	return out, nil
}
