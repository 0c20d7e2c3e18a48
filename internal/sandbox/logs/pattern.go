package logs

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"pcluster/internal/sandbox/wire"
)

// A record is the message of an event, which is read as JSON once, if ever.
type record struct {
	message string
	parsed  bool
	value   any // nil for what is not JSON
}

func newRecord(message string) *record { return &record{message: message} }

func (r *record) json() any {
	if !r.parsed {
		r.parsed = true
		if strings.HasPrefix(strings.TrimSpace(r.message), "{") {
			_ = json.Unmarshal([]byte(r.message), &r.value) // text is no mistake
		}
	}
	return r.value
}

// A pattern is a parsed filter pattern. One of its tests is set, or none, which
// matches everything.
type pattern struct {
	text func(message string) bool
	json test
}

func (p pattern) matches(r *record) bool {
	switch {
	case p.text != nil:
		return p.text(r.message)
	case p.json != nil:
		v := r.json()
		return v != nil && p.json(v)
	}
	return true
}

// parsePattern reads a filter pattern. It knows terms, quoted phrases, ?optional
// and -excluded terms, and JSON patterns of comparisons joined with && and ||
// (CloudWatch Logs User Guide, "Filter pattern syntax"). Patterns of
// space-delimited events and regular expressions are refused.
func parsePattern(text string) (pattern, error) {
	text = strings.TrimSpace(text)
	switch {
	case text == "":
		return pattern{}, nil
	case strings.HasPrefix(text, "{") && strings.HasSuffix(text, "}"):
		t, err := parseJSONPattern(text)
		return pattern{json: t}, err
	case strings.HasPrefix(text, "["), strings.HasPrefix(text, "%"):
		return pattern{}, wire.Errorf("InvalidParameterException", "Invalid filter pattern: patterns of space-delimited events and regular expressions are not supported in this region: %s", text)
	}
	words, err := splitTerms(text)
	if err != nil {
		return pattern{}, err
	}
	var need, any, not []string
	for _, w := range words {
		switch {
		case len(w) > 1 && w[0] == '?':
			any = append(any, w[1:])
		case len(w) > 1 && w[0] == '-':
			not = append(not, w[1:])
		default:
			need = append(need, w)
		}
	}
	in := func(m string) func(string) bool { return func(w string) bool { return strings.Contains(m, w) } }
	return pattern{text: func(m string) bool {
		has := in(m)
		return !slices.ContainsFunc(not, has) && !slices.ContainsFunc(need, func(w string) bool { return !has(w) }) &&
			(len(any) == 0 || slices.ContainsFunc(any, has))
	}}, nil
}

// splitTerms splits at blanks outside quotation marks, and takes the marks off.
func splitTerms(s string) ([]string, error) {
	var terms []string
	var term strings.Builder
	quoted, started := false, false
	for _, r := range s {
		switch {
		case r == '"':
			quoted, started = !quoted, true
		case r == ' ' && !quoted:
			if started {
				terms = append(terms, term.String())
				term.Reset()
				started = false
			}
		default:
			term.WriteRune(r)
			started = true
		}
	}
	if quoted {
		return nil, wire.Errorf("InvalidParameterException", "Invalid filter pattern: a quotation mark is not closed: %s", s)
	}
	if started {
		terms = append(terms, term.String())
	}
	return terms, nil
}

// parseJSONPattern reads { $.a = "x" && $.b.c > 1 || … }: && binds tighter.
// Parentheses are allowed around the whole and around comparisons.
func parseJSONPattern(pattern string) (test, error) {
	inner := strings.TrimSpace(pattern[1 : len(pattern)-1])
	match, err := parseOr(inner)
	if err != nil {
		return nil, wire.Errorf("InvalidParameterException", "Invalid filter pattern: %v: %s", err, pattern)
	}
	return match, nil
}

// A test judges the value of an event that is JSON.
type test func(any) bool

func parseOr(s string) (test, error) {
	return parseJoined(s, "||", parseAnd, func(tests []test) test {
		return func(v any) bool {
			for _, t := range tests {
				if t(v) {
					return true
				}
			}
			return false
		}
	})
}

func parseAnd(s string) (test, error) {
	return parseJoined(s, "&&", parseComparison, func(tests []test) test {
		return func(v any) bool {
			for _, t := range tests {
				if !t(v) {
					return false
				}
			}
			return true
		}
	})
}

func parseJoined(s, operator string, part func(string) (test, error), join func([]test) test) (test, error) {
	var tests []test
	for _, p := range splitOutside(s, operator) {
		t, err := part(strings.TrimSpace(p))
		if err != nil {
			return nil, err
		}
		tests = append(tests, t)
	}
	return join(tests), nil
}

// splitOutside splits at an operator that is outside quotation marks and
// parentheses.
func splitOutside(s, operator string) []string {
	var parts []string
	depth, quoted, start := 0, false, 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '(':
			depth++
		case c == ')':
			depth--
		case depth == 0 && strings.HasPrefix(s[i:], operator):
			parts = append(parts, s[start:i])
			i += len(operator) - 1
			start = i + 1
		}
	}
	return append(parts, s[start:])
}

// parseComparison reads `$.path operator value`, `$.path IS TRUE` and their kin,
// or a pattern in parentheses.
func parseComparison(s string) (test, error) {
	if strings.HasPrefix(s, "(") && strings.HasSuffix(s, ")") {
		return parseOr(strings.TrimSpace(s[1 : len(s)-1]))
	}
	if !strings.HasPrefix(s, "$") {
		return nil, fmt.Errorf("%q does not begin with $", s)
	}
	end := strings.IndexAny(s, " =!<>")
	if end < 0 {
		return nil, fmt.Errorf("%q has no operator", s)
	}
	selector, rest := s[:end], strings.TrimSpace(s[end:])
	steps, err := parseSelector(selector)
	if err != nil {
		return nil, err
	}
	get := func(v any) (any, bool) { return walk(v, steps) }
	switch strings.ToUpper(strings.Join(strings.Fields(rest), " ")) {
	case "IS TRUE":
		return func(v any) bool { x, _ := get(v); return x == true }, nil
	case "IS FALSE":
		return func(v any) bool { x, _ := get(v); return x == false }, nil
	case "IS NULL":
		return func(v any) bool { x, ok := get(v); return ok && x == nil }, nil
	case "NOT EXISTS":
		return func(v any) bool { _, ok := get(v); return !ok }, nil
	}
	for _, op := range []string{"!=", "<=", ">=", "=", "<", ">"} {
		if value, ok := strings.CutPrefix(rest, op); ok {
			return compare(get, op, strings.TrimSpace(value))
		}
	}
	return nil, fmt.Errorf("%q has no operator", s)
}

func compare(get func(any) (any, bool), op, value string) (test, error) {
	if number, err := strconv.ParseFloat(value, 64); err == nil {
		return func(v any) bool {
			x, ok := get(v)
			n, isNumber := x.(float64)
			if !ok || !isNumber {
				return false
			}
			switch op {
			case "=":
				return n == number
			case "!=":
				return n != number
			case "<":
				return n < number
			case "<=":
				return n <= number
			case ">":
				return n > number
			default:
				return n >= number
			}
		}, nil
	}
	if op != "=" && op != "!=" {
		return nil, fmt.Errorf("operator %s needs a number, not %q", op, value)
	}
	text := strings.Trim(value, `"`)
	return func(v any) bool {
		x, ok := get(v)
		s, isText := x.(string)
		if !ok || !isText {
			return false
		}
		same := s == text
		if strings.Contains(text, "*") {
			same, _ = path.Match(strings.NewReplacer("[", `\[`, "?", `\?`).Replace(text), strings.ReplaceAll(s, "/", "\x00"))
		}
		return same == (op == "=")
	}, nil
}

// parseSelector splits $.a.b[0]["c-d"] into its steps.
func parseSelector(s string) ([]any, error) {
	var steps []any
	for rest := s[1:]; rest != ""; {
		switch rest[0] {
		case '.':
			end := strings.IndexAny(rest[1:], ".[")
			if end < 0 {
				end = len(rest) - 1
			}
			steps = append(steps, rest[1:1+end])
			rest = rest[1+end:]
		case '[':
			end := strings.IndexByte(rest, ']')
			if end < 0 {
				return nil, fmt.Errorf("%q: a bracket is not closed", s)
			}
			step := rest[1:end]
			if i, err := strconv.Atoi(step); err == nil {
				steps = append(steps, i)
			} else {
				steps = append(steps, strings.Trim(step, `"'`))
			}
			rest = rest[end+1:]
		default:
			return nil, fmt.Errorf("%q is no selector", s)
		}
	}
	return steps, nil
}

func walk(v any, steps []any) (any, bool) {
	for _, s := range steps {
		switch s := s.(type) {
		case string:
			m, ok := v.(map[string]any)
			if !ok {
				return nil, false
			}
			if v, ok = m[s]; !ok {
				return nil, false
			}
		case int:
			l, ok := v.([]any)
			if !ok || s >= len(l) {
				return nil, false
			}
			v = l[s]
		}
	}
	return v, true
}
