package dynamodb

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// A path leads to an attribute or to something inside one: a.b[2].
type path []step

// A step goes to the attribute or map entry with a name, or to a list's element.
type step struct {
	name  string
	index int // of a list's element; -1 for a name
}

func (p path) String() string {
	parts := make([]string, len(p))
	for i, s := range p {
		if parts[i] = s.name; s.index >= 0 {
			parts[i] = fmt.Sprintf("[%d]", s.index)
		}
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// get returns what the path leads to, nil when there is nothing.
func (p path) get(i item) value {
	v := i[p[0].name]
	for _, s := range p[1:] {
		switch c := v.(type) {
		case *types.AttributeValueMemberM:
			if s.index >= 0 {
				return nil
			}
			v = c.Value[s.name]
		case *types.AttributeValueMemberL:
			if s.index < 0 || s.index >= len(c.Value) {
				return nil
			}
			v = c.Value[s.index]
		default:
			return nil
		}
	}
	return v
}

var errPath = invalid("The document path provided in the update expression is invalid for update")

// set puts v at the path. Containers on the way are replaced by copies.
func (p path) set(i item, v value) error {
	if len(p) == 1 {
		i[p[0].name] = v
		return nil
	}
	inner, err := setIn(i[p[0].name], p[1:], v)
	if err == nil {
		i[p[0].name] = inner
	}
	return err
}

func setIn(in value, p path, v value) (value, error) {
	if len(p) == 0 {
		return v, nil
	}
	switch c := in.(type) {
	case *types.AttributeValueMemberM:
		if p[0].index >= 0 {
			return nil, errPath
		}
		old, ok := c.Value[p[0].name]
		if !ok && len(p) > 1 {
			return nil, errPath
		}
		inner, err := setIn(old, p[1:], v)
		if err != nil {
			return nil, err
		}
		m := maps.Clone(c.Value)
		if m == nil {
			m = map[string]value{}
		}
		m[p[0].name] = inner
		return &types.AttributeValueMemberM{Value: m}, nil
	case *types.AttributeValueMemberL:
		at := p[0].index
		if at < 0 || at >= len(c.Value) && len(p) > 1 {
			return nil, errPath
		}
		l := slices.Clone(c.Value)
		if at >= len(l) { // beyond the end means at the end
			return &types.AttributeValueMemberL{Value: append(l, v)}, nil
		}
		inner, err := setIn(l[at], p[1:], v)
		if err != nil {
			return nil, err
		}
		l[at] = inner
		return &types.AttributeValueMemberL{Value: l}, nil
	}
	return nil, errPath
}

// remove takes away what the paths lead to. What is not there is no error, but a
// way that is none is.
func remove(i item, paths []path) error {
	paths = slices.Clone(paths)
	// Elements of a list go from its end, so that the others keep their index.
	slices.SortStableFunc(paths, func(a, b path) int { return comparePaths(b, a) })
	for _, p := range paths {
		if len(p) == 1 {
			delete(i, p[0].name)
			continue
		}
		inner, err := removeIn(i[p[0].name], p[1:])
		if err != nil {
			return err
		}
		i[p[0].name] = inner
	}
	return nil
}

func comparePaths(a, b path) int {
	return slices.CompareFunc(a, b, func(x, y step) int {
		if c := strings.Compare(x.name, y.name); c != 0 {
			return c
		}
		return x.index - y.index
	})
}

func removeIn(in value, p path) (value, error) {
	switch c := in.(type) {
	case *types.AttributeValueMemberM:
		if p[0].index >= 0 {
			return nil, errPath
		}
		old, ok := c.Value[p[0].name]
		if !ok && len(p) > 1 {
			return nil, errPath
		}
		m := maps.Clone(c.Value)
		if len(p) == 1 {
			delete(m, p[0].name)
			return &types.AttributeValueMemberM{Value: m}, nil
		}
		inner, err := removeIn(old, p[1:])
		m[p[0].name] = inner
		return &types.AttributeValueMemberM{Value: m}, err
	case *types.AttributeValueMemberL:
		at := p[0].index
		if at < 0 {
			return nil, errPath
		}
		if at >= len(c.Value) {
			if len(p) > 1 {
				return nil, errPath
			}
			return in, nil
		}
		l := slices.Clone(c.Value)
		if len(p) == 1 {
			return &types.AttributeValueMemberL{Value: slices.Delete(l, at, at+1)}, nil
		}
		inner, err := removeIn(l[at], p[1:])
		l[at] = inner
		return &types.AttributeValueMemberL{Value: l}, err
	}
	return nil, errPath
}

// project returns the part of an item that the paths lead to. A nil list of
// paths means all of it.
func project(i item, paths []path) item {
	if paths == nil {
		return i
	}
	out := item{}
	for name, rest := range byFirst(paths) {
		if v := projectIn(i[name.name], rest); v != nil {
			out[name.name] = v
		}
	}
	return out
}

// byFirst groups paths by their first step, and cuts it off.
func byFirst(paths []path) map[step][]path {
	groups := map[step][]path{}
	for _, p := range paths {
		groups[p[0]] = append(groups[p[0]], p[1:])
	}
	return groups
}

func projectIn(v value, paths []path) value {
	if slices.ContainsFunc(paths, func(p path) bool { return len(p) == 0 }) {
		return v
	}
	groups := byFirst(paths)
	switch c := v.(type) {
	case *types.AttributeValueMemberM:
		m := map[string]value{}
		for s, rest := range groups {
			if s.index >= 0 {
				continue
			}
			if e := projectIn(c.Value[s.name], rest); e != nil {
				m[s.name] = e
			}
		}
		if len(m) > 0 {
			return &types.AttributeValueMemberM{Value: m}
		}
	case *types.AttributeValueMemberL:
		var l []value
		for _, s := range slices.SortedFunc(maps.Keys(groups), func(a, b step) int { return a.index - b.index }) {
			if s.index < 0 || s.index >= len(c.Value) {
				continue
			}
			if e := projectIn(c.Value[s.index], groups[s]); e != nil {
				l = append(l, e)
			}
		}
		if len(l) > 0 {
			return &types.AttributeValueMemberL{Value: l}
		}
	}
	return nil
}

// overlapping returns two of the paths of which one is the other or leads inside
// it.
func overlapping(paths []path) (a, b path, found bool) {
	for i, a := range paths {
		for _, b := range paths[:i] {
			n := min(len(a), len(b))
			if slices.Equal(a[:n], b[:n]) {
				return b, a, true
			}
		}
	}
	return nil, nil, false
}
