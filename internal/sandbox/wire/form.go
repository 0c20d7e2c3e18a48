package wire

import (
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// A formNode is a part of a query request: its parameters as a tree, split at
// the dots of their names.
type formNode struct {
	name  string
	value string
	set   bool
	kids  []*formNode
	index map[string]*formNode // of kids, once they are many
}

const indexFrom = 12

func (n *formNode) kid(name string) *formNode {
	if n.index != nil {
		return n.index[name]
	}
	for _, k := range n.kids {
		if k.name == name {
			return k
		}
	}
	return nil
}

func (n *formNode) add(name string) *formNode {
	if k := n.kid(name); k != nil {
		return k
	}
	k := &formNode{name: name}
	n.kids = append(n.kids, k)
	switch {
	case n.index != nil:
		n.index[name] = k
	case len(n.kids) >= indexFrom:
		n.index = make(map[string]*formNode, 2*len(n.kids))
		for _, k := range n.kids {
			n.index[k.name] = k
		}
	}
	return k
}

// parseForm reads application/x-www-form-urlencoded text into root.
func parseForm(root *formNode, text string) error {
	for text != "" {
		var pair string
		pair, text, _ = strings.Cut(text, "&")
		if pair == "" {
			continue
		}
		rawKey, rawValue, _ := strings.Cut(pair, "=")
		key, err := url.QueryUnescape(rawKey)
		if err != nil {
			return badInput("", "the parameter name %q is not valid", rawKey)
		}
		value, err := url.QueryUnescape(rawValue)
		if err != nil {
			return badInput(key, "is not valid")
		}
		n := root
		depth := 0
		for key != "" {
			var part string
			part, key, _ = strings.Cut(key, ".")
			n = n.add(part)
			if depth++; depth > 64 {
				return badInput("", "parameter names are nested too deeply")
			}
		}
		n.value, n.set = value, true
	}
	return nil
}

// formDecoder reads the parameters of protocols query and ec2.
type formDecoder struct {
	ec2    bool
	ignore func(path string) error // told of parameters that the model lacks
}

func (d *formDecoder) value(pl *plan, v reflect.Value, n *formNode, path string) error {
	switch pl.kind {
	case kindStruct:
		return d.structure(pl, v, n, path)
	case kindList:
		return d.list(pl, v, n, pl.flattened, path)
	case kindMap:
		return d.mapping(pl, v, n, pl.flattened, path)
	case kindUnion:
		for _, k := range n.kids {
			if f := pl.byQuery[k.name]; f != nil {
				return pl.setUnion(v, f, func(e reflect.Value) error { return d.value(f.plan, e, k, join(path, k.name)) })
			}
		}
		return badInput(path, "names no known member")
	}
	if len(n.kids) > 0 {
		return badInput(path+"."+n.kids[0].name, "is not a parameter of a single value")
	}
	return pl.setText(v, n.value, path)
}

func (d *formDecoder) structure(pl *plan, v reflect.Value, n *formNode, path string) error {
	for _, k := range n.kids {
		f := pl.byQuery[k.name]
		at := join(path, k.name)
		if f == nil {
			if err := d.ignore(at); err != nil {
				return err
			}
			continue
		}
		if err := d.member(f, f.at(v), k, at); err != nil {
			return err
		}
	}
	return nil
}

func (d *formDecoder) member(f *field, v reflect.Value, n *formNode, path string) error {
	switch f.plan.kind {
	case kindList:
		return d.list(f.plan, v, n, f.flattened, path)
	case kindMap:
		return d.mapping(f.plan, v, n, f.flattened, path)
	}
	return d.value(f.plan, v, n, path)
}

// list reads Name.1, Name.2 (ec2 and flattened lists) or Name.member.1. An empty
// value stands for the empty list.
func (d *formDecoder) list(pl *plan, v reflect.Value, n *formNode, flattened bool, path string) error {
	if v.IsNil() {
		v.Set(reflect.MakeSlice(v.Type(), 0, len(n.kids)))
	}
	if !flattened && !d.ec2 {
		name := orElse(pl.elemName, "member")
		if k := n.kid(name); k != nil {
			n, path = k, path+"."+name
		}
	}
	items, err := n.numbered(path)
	if err != nil {
		return err
	}
	for _, k := range items {
		err := pl.addElem(v, func(e reflect.Value) error { return d.value(pl.elem, e, k, path+"."+k.name) })
		if err != nil {
			return err
		}
	}
	return nil
}

// mapping reads Name.entry.1.key and Name.entry.1.value.
func (d *formDecoder) mapping(pl *plan, v reflect.Value, n *formNode, flattened bool, path string) error {
	if v.IsNil() {
		v.Set(reflect.MakeMap(v.Type()))
	}
	if !flattened {
		if k := n.kid("entry"); k != nil {
			n, path = k, path+".entry"
		}
	}
	items, err := n.numbered(path)
	if err != nil {
		return err
	}
	for _, k := range items {
		key, value := k.kid(pl.keyName), k.kid(pl.elemName)
		if key == nil {
			return badInput(path+"."+k.name, "has no %s", pl.keyName)
		}
		if value == nil {
			value = &formNode{name: pl.elemName, set: true}
		}
		err := pl.setEntry(v, key.value, func(e reflect.Value) error {
			return d.value(pl.elem, e, value, path+"."+k.name+"."+pl.elemName)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// numbered returns the kids of a list in the order of their numbers.
func (n *formNode) numbered(path string) ([]*formNode, error) {
	type item struct {
		n    int
		node *formNode
	}
	items := make([]item, 0, len(n.kids))
	sorted := true
	for _, k := range n.kids {
		i, err := strconv.Atoi(k.name)
		if err != nil || i < 0 {
			return nil, badInput(path+"."+k.name, "is not an element of a list")
		}
		sorted = sorted && (len(items) == 0 || items[len(items)-1].n < i)
		items = append(items, item{i, k})
	}
	if !sorted {
		slices.SortFunc(items, func(a, b item) int { return a.n - b.n })
	}
	nodes := make([]*formNode, len(items))
	for i, it := range items {
		nodes[i] = it.node
	}
	return nodes, nil
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
