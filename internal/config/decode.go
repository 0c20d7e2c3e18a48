package config

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Parse reads a cluster file. name is how messages call the file; it may be empty.
//
// It returns the cluster with its implied values, and all that is wrong with the
// document's shape: unknown keys, wrong types, missing keys, values out of
// bounds, keys that exclude one another. The cluster is nil only if the text is
// no YAML mapping; with other errors it holds what could be read, and must not
// be deployed.
func Parse(name string, data []byte) (*Cluster, Problems) {
	return parseCluster(data, false)
}

// ParseImplied reads a file that [Marshal] wrote. It may have what users may
// not write, such as tags of the tool.
func ParseImplied(name string, data []byte) (*Cluster, error) {
	c, found := parseCluster(data, true)
	if err := found.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

func parseCluster(data []byte, ours bool) (*Cluster, Problems) {
	doc, found := readDocument(data)
	if doc == nil {
		return nil, found
	}
	d := &decoder{doc: doc, found: found, validator: SchemaValidator, ours: ours}
	c := &Cluster{doc: doc}
	d.section(reflect.ValueOf(c).Elem(), doc.Root, "", Pos{1, 1})
	c.imply()
	return c, d.inOrder()
}

// inOrder returns what was found, in the order of the file.
func (d *decoder) inOrder() Problems {
	d.found = append(d.found, d.late...)
	slices.SortStableFunc(d.found, func(a, b Problem) int {
		if a.Pos.Line != b.Pos.Line {
			return a.Pos.Line - b.Pos.Line
		}
		return a.Pos.Column - b.Pos.Column
	})
	return d.found
}

// Document returns what the user wrote, or nil for a cluster that was not parsed.
func (c *Cluster) Document() *Document { return c.doc }

// Pos returns the place of a key in the file, or of the nearest section around
// it that the file has.
func (c *Cluster) Pos(path string) Pos { return c.doc.pos(path) }

func (doc *Document) pos(path string) Pos {
	if doc == nil {
		return Pos{}
	}
	for path != "" {
		if p, ok := doc.at[path]; ok {
			return p
		}
		cut := strings.LastIndexAny(path, ".[")
		path = path[:max(cut, 0)]
	}
	return Pos{}
}

// Has says whether the file has the key, whatever its implied value.
func (c *Cluster) Has(path string) bool { return c.doc.has(path) }

func (doc *Document) has(path string) bool {
	if doc == nil {
		return false
	}
	_, ok := doc.at[path]
	return ok
}

// decoder fills the types from a document.
type decoder struct {
	doc       *Document
	validator string
	ours      bool // the file is one that Marshal wrote: only its shape is checked
	found     Problems
	late      Problems // kept apart, since rules run for sections that have no others
	strange   int      // unknown keys
}

func (d *decoder) errorf(path string, pos Pos, hint, format string, args ...any) {
	d.found = append(d.found, Problem{
		Level: Error, Validator: d.validator, Path: path, Pos: pos, Message: fmt.Sprintf(format, args...), Hint: hint,
	})
}

func (d *decoder) latef(path string, pos Pos, hint, format string, args ...any) {
	d.late = append(d.late, Problem{
		Level: Error, Validator: d.validator, Path: path, Pos: pos, Message: fmt.Sprintf(format, args...), Hint: hint, Late: true,
	})
}

// section fills a struct from a mapping. A nil node gives it its defaults.
func (d *decoder) section(v reflect.Value, n *Node, path string, pos Pos) {
	fields := fieldsOf(v.Type())
	before := len(d.found)
	if n != nil {
		for _, e := range n.Entries {
			if !slices.ContainsFunc(fields, func(f *field) bool { return f.name == e.Key }) {
				d.unknown(v.Type(), e, path)
			}
		}
	}
	for _, f := range fields {
		at := join(path, f.name)
		fv := v.FieldByIndex(f.index)
		value, keyPos := lookup(n, f.name)
		switch {
		case value == nil:
			switch {
			case n != nil && f.late:
				d.latef(at, pos, "", "%s is missing", f.name)
			case n != nil && f.required:
				d.errorf(at, pos, "", "%s is missing", f.name)
			}
			setDefault(fv, f)
		case value.Kind == Null:
			d.doc.at[at] = keyPos
			d.errorf(at, keyPos, "give it a value or remove it", "%s has no value", f.name)
			setDefault(fv, f)
		default:
			d.doc.at[at] = value.Pos
			if value.Kind >= Mapping {
				d.doc.at[at] = keyPos
			}
			d.value(fv, f, value, at, keyPos)
		}
	}
	if n != nil && !d.ours && len(d.found) == before {
		d.rules(v.Addr().Interface(), n, path, pos)
		d.imageRules(v.Addr().Interface(), path, pos)
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func lookup(n *Node, key string) (*Node, Pos) {
	if n == nil {
		return nil, Pos{}
	}
	if i := n.index(key); i >= 0 {
		return n.Entries[i].Value, n.Entries[i].KeyPos
	}
	return nil, Pos{}
}

// setDefault gives an absent key its value.
func setDefault(v reflect.Value, f *field) {
	if f.kind == section && !f.pointer {
		for _, inner := range fieldsOf(f.typ) {
			setDefault(v.FieldByIndex(inner.index), inner)
		}
		return
	}
	if !f.hasDflt {
		return
	}
	target := v
	if f.pointer {
		v.Set(reflect.New(f.typ))
		target = v.Elem()
	}
	switch f.kind {
	case text:
		target.SetString(f.dflt)
	case boolean:
		target.SetBool(f.dflt == "true")
	case integer:
		i, err := strconv.Atoi(f.dflt)
		if err != nil {
			panic(fmt.Sprintf("config: default %q of %s is no number", f.dflt, f.name))
		}
		target.SetInt(int64(i))
	default:
		panic(fmt.Sprintf("config: %s can't have a default", f.name))
	}
}

// newSection returns a section with nothing but defaults.
func newSection[T any]() *T {
	s := new(T)
	for _, f := range fieldsOf(reflect.TypeFor[T]()) {
		setDefault(reflect.ValueOf(s).Elem().FieldByIndex(f.index), f)
	}
	return s
}

// value fills one field from a node that is not null.
func (d *decoder) value(v reflect.Value, f *field, n *Node, path string, keyPos Pos) {
	if f.pointer {
		v.Set(reflect.New(f.typ))
		v = v.Elem()
	}
	switch f.kind {
	case section:
		if n.Kind != Mapping {
			d.wrongType(path, n, "a section with keys of its own", "")
			return
		}
		d.section(v, n, path, keyPos)
	case sections:
		if !d.list(f, n, path) {
			return
		}
		v.Set(reflect.MakeSlice(f.typ, len(n.Items), len(n.Items)))
		for i, item := range n.Items {
			at := fmt.Sprintf("%s[%d]", path, i)
			d.doc.at[at] = item.Pos
			if item.Kind != Mapping {
				d.wrongType(at, item, "a section with keys of its own", "")
				continue
			}
			d.section(v.Index(i), item, at, item.Pos)
		}
	case texts:
		if !d.list(f, n, path) {
			return
		}
		list := make([]string, len(n.Items))
		for i, item := range n.Items {
			at := fmt.Sprintf("%s[%d]", path, i)
			d.doc.at[at] = item.Pos
			list[i], _ = d.text(f, item, at)
		}
		v.Set(reflect.ValueOf(list).Convert(f.typ))
	case text:
		s, _ := d.text(f, n, path)
		v.SetString(s)
	case boolean:
		b, ok := toBool(n)
		if !ok {
			d.wrongType(path, n, "true or false", "")
			return
		}
		v.SetBool(b)
	case integer, float:
		d.number(v, f, n, path)
	case scalarValue:
		if n.Kind >= Mapping {
			d.wrongType(path, n, "true, false or text", "")
			return
		}
		s := n.Raw
		if b, err := strconv.ParseBool(strings.ToLower(s)); n.Kind == Bool || err == nil && len(s) > 1 {
			if n.Kind == Bool {
				b = yamlBools[s]
			}
			s = strconv.FormatBool(b)
		}
		v.SetString(s)
	case settings:
		v.Set(reflect.ValueOf(d.settings(n, path)))
	case settingsLists:
		if !d.list(f, n, path) {
			return
		}
		list := make([]Settings, len(n.Items))
		for i, item := range n.Items {
			list[i] = d.settings(item, fmt.Sprintf("%s[%d]", path, i))
		}
		v.Set(reflect.ValueOf(list))
	}
}

func (d *decoder) wrongType(path string, n *Node, want, hint string) {
	if n.Kind < Mapping {
		d.errorf(path, n.Pos, hint, "must be %s, but %s is %s", want, quote(n.Raw), n.Kind)
		return
	}
	d.errorf(path, n.Pos, hint, "must be %s, but is %s", want, n.Kind)
}

// quote quotes text of the user, cut where it would fill the screen.
func quote(s string) string {
	const most = 60
	if utf8.RuneCountInString(s) > most {
		s = string([]rune(s)[:most]) + "…"
	}
	return strconv.Quote(s)
}

// list checks that a node is a list of allowed length.
func (d *decoder) list(f *field, n *Node, path string) bool {
	if n.Kind != Sequence {
		d.wrongType(path, n, "a list", "start each item with a hyphen")
		return false
	}
	if !f.items.contain(float64(len(n.Items))) {
		d.errorf(path, n.Pos, "", "must have %s item(s), but has %d", f.items, len(n.Items))
		return false
	}
	return true
}

// text reads a string and checks it.
func (d *decoder) text(f *field, n *Node, path string) (string, bool) {
	switch n.Kind {
	case Text:
	case Null:
		d.errorf(path, n.Pos, "give it a value or remove it", "has no value")
		return "", false
	case Mapping, Sequence:
		d.wrongType(path, n, "text", "")
		return "", false
	default:
		d.wrongType(path, n, "text", "put it in quotes")
		return n.Raw, false
	}
	s := n.Raw
	if len(f.oneOf) > 0 && !slices.Contains(f.oneOf, s) {
		hint := ""
		if near := nearest(s, f.oneOf); near != "" {
			hint = "did you mean " + near + "?"
		}
		d.errorf(path, n.Pos, hint, "%s is not one of %s", quote(s), strings.Join(f.oneOf, ", "))
		return s, false
	}
	if f.match != "" && !patterns[f.match].expr().MatchString(s) {
		d.errorf(path, n.Pos, "", "%s is not %s", quote(s), patterns[f.match].words)
		return s, false
	}
	if !f.length.contain(float64(utf8.RuneCountInString(s))) {
		d.errorf(path, n.Pos, "", "must have %s characters, but has %d", f.length, utf8.RuneCountInString(s))
		return s, false
	}
	return s, true
}

var boolWords = map[string]bool{
	"t": true, "true": true, "on": true, "y": true, "yes": true, "1": true,
	"f": false, "false": false, "off": false, "n": false, "no": false, "0": false,
}

// toBool takes booleans, 0 and 1, and the usual words in lower, upper or title case.
func toBool(n *Node) (value, ok bool) {
	switch n.Kind {
	case Bool:
		return yamlBools[n.Raw], true
	case Int, Float:
		v, _ := number(n.Raw)
		return v == 1, v == 0 || v == 1
	case Text:
		low := strings.ToLower(n.Raw)
		if n.Raw != low && n.Raw != strings.ToUpper(n.Raw) && n.Raw != strings.ToUpper(low[:1])+low[1:] {
			return false, false
		}
		value, ok = boolWords[low]
	}
	return value, ok
}

// number reads integers, also from text and from numbers that are cut, and floats.
func (d *decoder) number(v reflect.Value, f *field, n *Node, path string) {
	want := "a whole number"
	if f.kind == float {
		want = "a number"
	}
	var x float64
	ok := false
	switch n.Kind {
	case Int, Float:
		x, ok = number(n.Raw)
	case Text:
		raw := strings.TrimSpace(n.Raw)
		if f.kind == float {
			var err error
			x, err = strconv.ParseFloat(raw, 64)
			ok = err == nil
		} else {
			i, err := strconv.ParseInt(raw, 10, 64)
			x, ok = float64(i), err == nil
		}
	}
	if !ok || math.IsNaN(x) || math.IsInf(x, 0) || math.Abs(x) > 1<<53 {
		d.wrongType(path, n, want, "")
		return
	}
	if f.kind == integer {
		x = math.Trunc(x)
	}
	if !f.values.contain(x) {
		d.errorf(path, n.Pos, "", "must be %s, but is %s", f.values, n.Raw)
		return
	}
	if len(f.oneOf) > 0 && !slices.Contains(f.oneOf, strconv.FormatFloat(x, 'f', -1, 64)) {
		d.errorf(path, n.Pos, "", "%s is not one of %s", n.Raw, strings.Join(f.oneOf, ", "))
		return
	}
	if f.kind == float {
		v.SetFloat(x)
		return
	}
	v.SetInt(int64(x))
}

// settings reads a map that is passed on.
func (d *decoder) settings(n *Node, path string) Settings {
	d.doc.at[path] = n.Pos
	if n.Kind != Mapping {
		d.wrongType(path, n, "a mapping of keys to values", "")
		return nil
	}
	out := Settings{}
	for _, e := range n.Entries {
		at := join(path, e.Key)
		d.doc.at[at] = e.Value.Pos
		switch {
		case e.Value.Kind == Null:
			d.errorf(at, e.KeyPos, "give it a value or remove it", "%s has no value", e.Key)
		case e.Value.Kind >= Mapping:
			d.wrongType(at, e.Value, "text or a number", "")
		default:
			out = append(out, Setting{e.Key, e.Value.Raw})
		}
	}
	return out
}
