package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A tree is a YAML document as the mutations see it: a mapping, []any or a scalar.
type tree = any

// A mapping keeps its order and may have a key twice.
type mapping []entry

type entry struct{ Key, Value tree }

func parseTree(text string) (tree, error) {
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(text), &document); err != nil || document.Kind == 0 {
		return nil, err
	}
	return treeOf(document.Content[0])
}

func treeOf(n *yaml.Node) (tree, error) {
	switch n.Kind {
	case yaml.AliasNode:
		return treeOf(n.Alias)
	case yaml.MappingNode:
		m := make(mapping, len(n.Content)/2)
		for i := range m {
			var errs [2]error
			m[i].Key, errs[0] = treeOf(n.Content[2*i])
			m[i].Value, errs[1] = treeOf(n.Content[2*i+1])
			if err := errors.Join(errs[:]...); err != nil {
				return nil, err
			}
		}
		return m, nil
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, c := range n.Content {
			var err error
			if list[i], err = treeOf(c); err != nil {
				return nil, err
			}
		}
		return list, nil
	}
	var v any
	err := n.Decode(&v)
	return v, err
}

// render writes a document in block style. Text that YAML could take for something
// else is quoted, as a careful person would.
func render(t tree) string {
	var b strings.Builder
	write(&b, t, 0)
	return b.String()
}

func write(b *strings.Builder, t tree, indent int) {
	pad := strings.Repeat("  ", indent)
	switch t := t.(type) {
	case mapping:
		for _, e := range t {
			b.WriteString(pad + scalar(e.Key) + ":")
			below(b, e.Value, indent+1)
		}
	case []any:
		for _, e := range t {
			b.WriteString(pad + "-")
			below(b, e, indent+1)
		}
	default:
		b.WriteString(pad + scalar(t) + "\n")
	}
}

func below(b *strings.Builder, t tree, indent int) {
	switch v := t.(type) {
	case mapping:
		if len(v) == 0 {
			b.WriteString(" {}\n")
			return
		}
	case []any:
		if len(v) == 0 {
			b.WriteString(" []\n")
			return
		}
	default:
		b.WriteString(" " + scalar(t) + "\n")
		return
	}
	b.WriteString("\n")
	write(b, t, indent)
}

var plain = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_./-]*$`)

func scalar(t tree) string {
	switch t := t.(type) {
	case nil:
		return "null"
	case string:
		switch strings.ToLower(t) {
		case "yes", "no", "on", "off", "true", "false", "null", "y", "n":
		default:
			if plain.MatchString(t) {
				return t
			}
		}
		text, _ := json.Marshal(t) // of text never fails; JSON's quotes are YAML's
		return string(text)
	}
	return fmt.Sprint(t)
}

// clone copies what a mutation may change.
func clone(t tree) tree {
	switch t := t.(type) {
	case mapping:
		out := make(mapping, len(t))
		for i, e := range t {
			out[i] = entry{Key: e.Key, Value: clone(e.Value)}
		}
		return out
	case []any:
		out := make([]any, len(t))
		for i, e := range t {
			out[i] = clone(e)
		}
		return out
	}
	return t
}

// A place is the way to a value: keys and indexes.
type place []any

// String writes a place as problems name it: SharedStorage[0].Name.
func (p place) String() string { return p.write(func(i int) string { return fmt.Sprintf("[%d]", i) }) }

// key writes the place as the table of keys has it: SharedStorage[].Name.
func (p place) key() string { return p.write(func(int) string { return "[]" }) }

func (p place) write(index func(int) string) string {
	var b strings.Builder
	for _, s := range p {
		switch s := s.(type) {
		case int:
			b.WriteString(index(s))
		default:
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			fmt.Fprint(&b, s)
		}
	}
	return b.String()
}

// walk visits all values below a tree, parents first.
func walk(t tree, at place, visit func(at place, v tree)) {
	switch t := t.(type) {
	case mapping:
		for _, e := range t {
			p := append(slices.Clip(at), e.Key)
			visit(p, e.Value)
			walk(e.Value, p, visit)
		}
	case []any:
		for i, e := range t {
			p := append(slices.Clip(at), i)
			visit(p, e)
			walk(e, p, visit)
		}
	}
}

// change returns the tree with what edit makes of the container that holds the
// place: edit gets the container and the last step.
func change(t tree, at place, edit func(in tree, last any) tree) tree {
	if len(at) == 1 {
		return edit(t, at[0])
	}
	switch t := t.(type) {
	case mapping:
		for i, e := range t {
			if e.Key == at[0] {
				t[i].Value = change(e.Value, at[1:], edit)
			}
		}
		return t
	case []any:
		if i, ok := at[0].(int); ok && i < len(t) {
			t[i] = change(t[i], at[1:], edit)
		}
		return t
	}
	return t
}

func set(value tree) func(tree, any) tree {
	return func(in tree, last any) tree {
		switch in := in.(type) {
		case mapping:
			for i, e := range in {
				if e.Key == last {
					in[i].Value = value
				}
			}
		case []any:
			if i := last.(int); i < len(in) {
				in[i] = value
			}
		}
		return in
	}
}

func drop(in tree, last any) tree {
	switch in := in.(type) {
	case mapping:
		return slices.DeleteFunc(in, func(e entry) bool { return e.Key == last })
	case []any:
		if i := last.(int); i < len(in) {
			return slices.Delete(in, i, i+1)
		}
	}
	return in
}

// rename gives a key another name.
func rename(to string) func(tree, any) tree {
	return func(in tree, last any) tree {
		if m, ok := in.(mapping); ok {
			for i, e := range m {
				if e.Key == last {
					m[i].Key = to
				}
			}
		}
		return in
	}
}

// add puts a key, or an item, next to the place.
func add(key string, value tree) func(tree, any) tree {
	return func(in tree, last any) tree {
		switch in := in.(type) {
		case mapping:
			return append(in, entry{Key: key, Value: value})
		case []any:
			return append(in, value)
		}
		return in
	}
}

// at returns the value at a place.
func at(t tree, p place) tree {
	for _, s := range p {
		switch v := t.(type) {
		case mapping:
			i := slices.IndexFunc(v, func(e entry) bool { return e.Key == s })
			if i < 0 {
				return nil
			}
			t = v[i].Value
		case []any:
			i, ok := s.(int)
			if !ok || i >= len(v) {
				return nil
			}
			t = v[i]
		default:
			return nil
		}
	}
	return t
}
