package policy

import (
	"slices"
	"strings"
)

// A Request is one action on one resource. A call that touches several resources,
// as RunInstances does, is several requests, and each has to be allowed.
type Request struct {
	Action   string              // ec2:RunInstances
	Resource string              // an ARN; "*" for actions that have none
	Context  map[string][]string // condition keys, in lower case, to values
}

// With returns the request with a condition key set. Keys are not case-sensitive.
func (r Request) With(key string, values ...string) Request {
	next := make(map[string][]string, len(r.Context)+1)
	for k, v := range r.Context {
		next[k] = v
	}
	next[strings.ToLower(key)] = values
	r.Context = next
	return r
}

// A Decision is what policies say about a request.
type Decision int

// Decisions: without a statement that matches, nothing is allowed.
const (
	NotAllowed Decision = iota
	Allowed
	Denied // by a statement; no other can allow it
)

func (d Decision) String() string {
	return [...]string{"not allowed", "allowed", "explicitly denied"}[d]
}

// A Reason is the statement that decided: its policy's and its own place in the lists.
// Both are -1 where none did, or a boundary did.
type Reason struct{ Policy, Statement int }

// Evaluate judges a request by the policies of an identity and, if there is one,
// by its permissions boundary, which has to allow it too.
func Evaluate(policies []Document, boundary *Document, r Request) Decision {
	d, _ := Explain(policies, boundary, r)
	return d
}

// Explain is [Evaluate] with the statement that decided.
func Explain(policies []Document, boundary *Document, r Request) (Decision, Reason) {
	if boundary != nil {
		if d, _ := judge([]Document{*boundary}, r); d != Allowed {
			return d, Reason{-1, -1}
		}
	}
	return judge(policies, r)
}

func judge(policies []Document, r Request) (Decision, Reason) {
	decision, why := NotAllowed, Reason{-1, -1}
	for i, p := range policies {
		for j, s := range p.Statements {
			switch {
			case decision == Allowed && !s.Deny, !s.Matches(r):
			case s.Deny:
				return Denied, Reason{i, j}
			default:
				decision, why = Allowed, Reason{i, j}
			}
		}
	}
	return decision, why
}

// Matches tells whether the statement is about the request. Principals are not
// looked at: they matter in policies of resources only.
func (s Statement) Matches(r Request) bool {
	if s.Actions != nil && !anyMatch(s.Actions, r.Action, matchFold) || s.NotActions != nil && anyMatch(s.NotActions, r.Action, matchFold) {
		return false
	}
	resource := func(pattern, name string) bool { return Like(substitute(pattern, r), name) }
	if s.Resources != nil && !anyMatch(s.Resources, r.Resource, resource) || s.NotResources != nil && anyMatch(s.NotResources, r.Resource, resource) {
		return false
	}
	return !slices.ContainsFunc(s.Conditions, func(c Condition) bool { return !c.holds(r) })
}

func anyMatch(patterns []string, name string, match func(pattern, name string) bool) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return match(p, name) })
}

// Names of actions are not case-sensitive.
func matchFold(pattern, name string) bool {
	return Like(strings.ToLower(pattern), strings.ToLower(name))
}

// Like tells whether a name matches a pattern in which * stands for any text, also
// with slashes and colons in it, and ? for one character.
func Like(pattern, name string) bool {
	star, mark := -1, 0
	p, n := 0, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, n
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == name[n]):
			p, n = p+1, n+1
		case star >= 0: // let the last star take one more
			mark++
			p, n = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// substitute fills in policy variables such as ${aws:username}. A variable that
// the request does not know matches nothing.
func substitute(pattern string, r Request) string {
	for rest := pattern; ; {
		before, after, ok := strings.Cut(rest, "${")
		if !ok {
			return pattern
		}
		name, tail, ok := strings.Cut(after, "}")
		if !ok {
			return pattern
		}
		value := ""
		switch name {
		case "*", "?", "$": // meant literally; as patterns they match that and more
			value = name
		default:
			key, dflt, _ := strings.Cut(name, ",")
			if v := r.Context[strings.ToLower(strings.TrimSpace(key))]; len(v) == 1 {
				value = v[0]
			} else if dflt = strings.Trim(strings.TrimSpace(dflt), "'"); dflt != "" {
				value = dflt
			} else {
				value = "\x00" // in no name
			}
		}
		done := pattern[:len(pattern)-len(rest)] + before + value
		pattern, rest = done+tail, tail
	}
}
