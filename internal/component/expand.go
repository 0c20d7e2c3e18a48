package component

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"pcluster/internal/config"
)

// expression is {{ what }}. Braces with anything else in them are not ours: they
// occur in scripts and templates.
var expression = regexp.MustCompile(`\{\{\s*([A-Za-z0-9_.\[\]-]+)\s*\}\}`)

// chained is an expression that speaks of another step: phase, step, side, index,
// variable.
var chained = regexp.MustCompile(`^([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.(inputs|outputs)(?:\[(\d{1,6})\])?\.([A-Za-z0-9_.\[\]-]+)$`)

// opened is the beginning of what may have been meant as an expression.
var opened = regexp.MustCompile(`\{\{\s*[A-Za-z0-9_-]+`)

// expressions checks the expressions in a text that stands in the step being read.
func (p *parser) expressions(text string, begin config.Pos, path string) {
	p.unclosed(text, begin, path)
	for _, m := range expression.FindAllStringSubmatchIndex(text, -1) {
		what, pos := text[m[2]:m[3]], p.place(text, m[0], begin)
		if p.variables[what] {
			continue
		}
		if scope, member, ok := strings.Cut(what, "."); ok && (member == "index" || member == "value") {
			if p.loop == nil && scope == "loop" {
				p.report(config.Warning, pos, path, "", "the step has no loop, so {{ %s }} stays as it is", what)
			}
			continue
		}
		c := chained.FindStringSubmatch(what)
		if c == nil {
			if !strings.Contains(what, ".") {
				p.report(config.Warning, pos, path, "define it below parameters or constants", "nothing is named %s, so {{ %s }} stays as it is", what, what)
			}
			continue
		}
		p.reference(c[1], c[2], pos, path)
	}
}

// unclosed warns of braces that are opened and not closed before the next ones. AWS's
// executor replaces names between {{ and }} alone, so that these reach the shell.
func (p *parser) unclosed(text string, begin config.Pos, path string) {
	for _, m := range opened.FindAllStringIndex(text, -1) {
		rest := text[m[0]+2:]
		closing, next := strings.Index(rest, "}}"), strings.Index(rest, "{{")
		if closing < 0 || next >= 0 && next < closing {
			p.report(config.Warning, p.place(text, m[0], begin), path, "close it with }}", "%s is not closed, so it stays as it is", text[m[0]:m[1]])
		}
	}
}

// place returns where in the file a byte of a text is that begins at a position. What
// stands in one line is where it begins.
func (p *parser) place(text string, at int, begin config.Pos) config.Pos {
	if !strings.Contains(text, "\n") || begin.Line < 1 {
		return begin
	}
	first := strings.LastIndexByte(text[:at], '\n') + 1
	line, _, _ := strings.Cut(text[first:], "\n")
	for i := begin.Line - 1; i < len(p.lines); i++ {
		if k := strings.Index(p.lines[i], line); k >= 0 {
			return config.Pos{Line: i + 1, Column: k + at - first + 1}
		}
	}
	return begin // of a text that YAML has folded
}

// reference checks that a step which an expression speaks of runs before.
func (p *parser) reference(phase, step string, pos config.Pos, path string) {
	for _, ph := range p.done {
		if ph.Name != phase {
			continue
		}
		for _, s := range ph.Steps {
			if s.Name == step {
				return
			}
		}
		if step == p.step && ph == p.done[len(p.done)-1] {
			p.errorf(pos, path, "", "the step %s speaks of itself", step)
			return
		}
		p.errorf(pos, path, "", "no step %s stands in the phase %s before this one", step, phase)
		return
	}
	p.errorf(pos, path, "", "no phase %s stands before this step", phase)
}

// A scope is what expressions of a step can speak of.
type scope struct {
	document  string // path of the one that runs
	variables map[string]string
	steps     map[string]*chain // by phase.step
	loop      *Loop             // of the running step
	index     int
	value     string
}

// A chain is what a step that ran had and gave.
type chain struct {
	Inputs  Input   `json:"inputs"`
	Outputs Outputs `json:"outputs"`
}

// expand replaces the expressions in a text.
func (sc *scope) expand(text string) (string, error) {
	var failed error
	out := expression.ReplaceAllStringFunc(text, func(m string) string {
		what := expression.FindStringSubmatch(m)[1]
		value, known, err := sc.lookup(what)
		if err != nil && failed == nil {
			failed = fmt.Errorf("{{ %s }}: %w", what, err)
		}
		if !known {
			return m
		}
		return value
	})
	return out, failed
}

func (sc *scope) lookup(what string) (value string, known bool, err error) {
	if v, ok := sc.variables[what]; ok {
		return v, true, nil
	}
	if name, member, ok := strings.Cut(what, "."); ok && sc.loop != nil && (name == "loop" || name == sc.loop.Name) {
		switch member {
		case "index":
			return strconv.Itoa(sc.index), true, nil
		case "value":
			return sc.value, true, nil
		}
	}
	c := chained.FindStringSubmatch(what)
	if c == nil {
		return "", false, nil
	}
	step, ok := sc.steps[c[1]+"."+c[2]]
	if !ok {
		return "", false, fmt.Errorf("the step has not run")
	}
	index := -1
	if c[4] != "" {
		index, _ = strconv.Atoi(c[4]) // digits alone
	}
	if c[3] == "outputs" {
		if index = max(index, 0); index < len(step.Outputs) {
			if v, ok := step.Outputs[index][c[5]]; ok {
				return v, true, nil
			}
		}
		return "", false, fmt.Errorf("the step has no such output")
	}
	v, ok := member(step.Inputs, index, c[5])
	if !ok {
		return "", false, fmt.Errorf("the step has no such input")
	}
	return v, true, nil
}

// member returns a scalar in an input: an entry of the list first, if index is not
// negative, then a path such as arguments[1].
func member(in Input, index int, path string) (string, bool) {
	if list, ok := in.([]Input); ok {
		if index = max(index, 0); index >= len(list) {
			return "", false
		}
		in = list[index]
	} else if index > 0 {
		return "", false
	}
	for _, part := range strings.Split(path, ".") {
		name, rest, indexed := strings.Cut(part, "[")
		m, ok := in.(map[string]Input)
		if !ok {
			return "", false
		}
		if in, ok = m[name]; !ok {
			return "", false
		}
		if !indexed {
			continue
		}
		i, err := strconv.Atoi(strings.TrimSuffix(rest, "]"))
		list, isList := in.([]Input)
		if err != nil || !isList || i < 0 || i >= len(list) {
			return "", false
		}
		in = list[i]
	}
	s, ok := in.(string)
	return s, ok
}

// input replaces the expressions in an input.
func (sc *scope) input(in Input) (Input, error) {
	switch v := in.(type) {
	case string:
		return sc.expand(v)
	case []Input:
		out := make([]Input, len(v))
		for i := range v {
			var err error
			if out[i], err = sc.input(v[i]); err != nil {
				return nil, err
			}
		}
		return out, nil
	case map[string]Input:
		out := make(map[string]Input, len(v))
		for k := range v {
			var err error
			if out[k], err = sc.input(v[k]); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return in, nil
}

// told is the loop as results have it.
func (l *Loop) told() any {
	if l == nil {
		return nil
	}
	out := map[string]any{"name": l.Name}
	switch {
	case l.Step != 0:
		out["for"] = map[string]int{"start": l.Start, "end": l.End, "updateBy": l.Step}
	case l.List != nil:
		out["forEach"] = l.List
	default:
		out["forEach"] = map[string]string{"list": l.Joined, "delimiter": l.Delimiter}
	}
	return out
}

// values returns what a loop runs over.
func (l *Loop) values(expand func(string) (string, error)) ([]string, error) {
	var out []string
	switch {
	case l.Step != 0:
		for v := l.Start; l.Step > 0 && v <= l.End || l.Step < 0 && v >= l.End; v += l.Step {
			out = append(out, strconv.Itoa(v))
			if len(out) > maxIterations {
				return nil, fmt.Errorf("the loop runs more than %d times", maxIterations)
			}
		}
		return out, nil
	case l.List != nil:
		for _, item := range l.List {
			v, err := expand(item)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		return out, nil
	}
	joined, err := expand(l.Joined)
	if err != nil || joined == "" {
		return nil, err
	}
	return strings.Split(joined, l.Delimiter), nil
}

// maxIterations bounds loops; nothing that builds an image needs as many.
const maxIterations = 100_000
