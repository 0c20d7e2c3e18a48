package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"
)

// A field is what a struct field and its tags say about a key, apart from where
// its section is used.
type field struct {
	name     string
	index    []int
	typ      reflect.Type // without the pointer
	kind     valueKind
	pointer  bool
	required bool
	late     bool   // required, but of a cluster only; see Problem.Late
	dflt     string // text of the default; see hasDflt
	hasDflt  bool
	implied  string
	oneOf    []string
	match    string
	values   bounds // of a number
	length   bounds // of a text
	items    bounds // of a list
	id       string
	update   Policy
	below    map[string]Policy
	since    string
	only     string
	doc      string
}

// A valueKind is what a key holds.
type valueKind int

const (
	section valueKind = iota
	sections
	text
	texts
	boolean
	integer
	float
	scalarValue   // Scalar
	settings      // Settings
	settingsLists // []Settings
)

func (k valueKind) String() string {
	return [...]string{"section", "list of sections", "string", "list of strings", "boolean", "integer", "number", "boolean or string", "map", "list of maps"}[k]
}

// bounds of a number or a length; a missing end is nil.
type bounds struct{ lo, hi *int64 }

func (b bounds) contain(v float64) bool {
	return (b.lo == nil || v >= float64(*b.lo)) && (b.hi == nil || v <= float64(*b.hi))
}

func (b bounds) String() string {
	switch {
	case b.lo != nil && b.hi != nil && *b.lo == *b.hi:
		return fmt.Sprintf("exactly %d", *b.lo)
	case b.lo != nil && b.hi != nil:
		return fmt.Sprintf("%d to %d", *b.lo, *b.hi)
	case b.lo != nil:
		return fmt.Sprintf("at least %d", *b.lo)
	case b.hi != nil:
		return fmt.Sprintf("at most %d", *b.hi)
	}
	return "any number"
}

// A Policy says what a change of a key in an update asks for.
type Policy string

// Update policies that code refers to; tags name the others.
const (
	Supported   Policy = "SUPPORTED"
	Unsupported Policy = "UNSUPPORTED"
	Ignored     Policy = "IGNORED"
)

// fieldsOf returns the fields of a section type; cached, since tags take time to read.
func fieldsOf(t reflect.Type) []*field {
	if f, ok := fieldCache.Load(t); ok {
		return f.([]*field)
	}
	f, _ := fieldCache.LoadOrStore(t, readFields(t))
	return f.([]*field)
}

var fieldCache sync.Map // reflect.Type → []*field, immutable

func readFields(t reflect.Type) []*field {
	var out []*field
	for i := range t.NumField() {
		sf := t.Field(i)
		if sf.Anonymous {
			for _, inner := range readFields(sf.Type) {
				f := *inner
				f.index = append([]int{i}, inner.index...)
				out = append(out, &f)
			}
			continue
		}
		if !sf.IsExported() {
			continue
		}
		out = append(out, readField(sf, t))
	}
	return out
}

// readField panics on a malformed tag: a mistake in this package, which any test finds.
func readField(sf reflect.StructField, in reflect.Type) *field {
	f := &field{
		name: sf.Name, index: sf.Index, typ: sf.Type,
		required: sf.Tag.Get("req") != "", late: sf.Tag.Get("req") == "late", implied: sf.Tag.Get("implied"),
		oneOf: strings.Fields(sf.Tag.Get("oneof")), match: sf.Tag.Get("match"),
		id: sf.Tag.Get("id"), update: Policy(sf.Tag.Get("update")), since: sf.Tag.Get("since"),
		only: sf.Tag.Get("only"), doc: sf.Tag.Get("doc"),
		values: readBounds(sf.Tag.Get("range")), length: readBounds(sf.Tag.Get("len")), items: readBounds(sf.Tag.Get("items")),
	}
	f.dflt, f.hasDflt = sf.Tag.Lookup("default")
	if f.typ.Kind() == reflect.Pointer {
		f.pointer, f.typ = true, f.typ.Elem()
	}
	f.kind = kindOf(f.typ)
	if _, known := patterns[f.match]; f.match != "" && !known {
		panic(fmt.Sprintf("config: %v.%s: no pattern %q", in, f.name, f.match))
	}
	if below := sf.Tag.Get("below"); below != "" {
		f.below = map[string]Policy{}
		for _, item := range strings.Split(below, ",") {
			path, policy, ok := strings.Cut(strings.TrimSpace(item), "=")
			if !ok {
				panic(fmt.Sprintf("config: %v.%s: malformed tag below:%q", in, f.name, below))
			}
			f.below[path] = Policy(policy)
		}
	}
	return f
}

func readBounds(tag string) bounds {
	if tag == "" {
		return bounds{}
	}
	lo, hi, ok := strings.Cut(tag, "..")
	end := func(s string) *int64 {
		if s == "" {
			return nil
		}
		v, err := strconv.ParseInt(s, 10, 64)
		if err != nil || !ok {
			panic(fmt.Sprintf("config: malformed bounds %q", tag))
		}
		return &v
	}
	return bounds{end(lo), end(hi)}
}

var (
	scalarType   = reflect.TypeFor[Scalar]()
	settingsType = reflect.TypeFor[Settings]()
)

func kindOf(t reflect.Type) valueKind {
	switch t {
	case scalarType:
		return scalarValue
	case settingsType:
		return settings
	}
	switch t.Kind() {
	case reflect.Struct:
		return section
	case reflect.String:
		return text
	case reflect.Bool:
		return boolean
	case reflect.Int:
		return integer
	case reflect.Float64:
		return float
	case reflect.Slice:
		switch {
		case t.Elem() == settingsType:
			return settingsLists
		case t.Elem().Kind() == reflect.Struct:
			return sections
		case t.Elem().Kind() == reflect.String:
			return texts
		}
	}
	panic(fmt.Sprintf("config: no key can hold a %v", t))
}

// A Key describes one key of the language at one place.
type Key struct {
	Path      string // Scheduling.SlurmQueues[].Name
	Type      string // section, list of sections, string, …
	Required  bool   // whenever its section is present
	Default   string // as YAML; empty if there is none
	Implied   string // default in words, where it depends on other keys
	OneOf     []string
	Pattern   string // regular expression
	Range     string // of numbers, lengths of texts or of lists, in words
	Identity  string // key that tells items of a list apart
	Update    Policy
	Since     string
	Scheduler string // slurm, awsbatch, or empty for both
	Doc       string
}

// Keys returns every key of cluster files, sections before what is in them.
func Keys() []Key {
	var out []Key
	walkKeys(reflect.TypeFor[Cluster](), "", "3.0.0", "", nil, func(k Key) { out = append(out, k) })
	return out
}

// ImageKeys returns every key of image files, as [Keys] does.
func ImageKeys() []Key {
	var out []Key
	walkKeys(reflect.TypeFor[ImageFile](), "", "3.0.0", "", nil, func(k Key) { out = append(out, k) })
	return out
}

// An override is a below tag with the path that it counts from.
type override struct {
	base     string
	policies map[string]Policy
}

func walkKeys(t reflect.Type, prefix, since, only string, over []override, visit func(Key)) {
	for _, f := range fieldsOf(t) {
		path := prefix + f.name
		k := Key{
			Path: path, Type: f.kind.String(), Required: f.required, Default: f.dflt, Implied: f.implied,
			OneOf: f.oneOf, Identity: f.id, Update: f.update, Since: later(since, f.since), Scheduler: only, Doc: f.doc,
		}
		if f.only != "" {
			k.Scheduler = f.only
		}
		if f.match != "" {
			k.Pattern = patterns[f.match].expr().String()
		}
		for _, b := range []bounds{f.values, f.length, f.items} {
			if b != (bounds{}) {
				k.Range = b.String()
			}
		}
		for i := len(over) - 1; i >= 0; i-- { // the outermost has the last word
			rest := strings.TrimPrefix(path, over[i].base)
			if p, ok := over[i].policies[rest]; ok {
				k.Update = p
			} else if p, ok := over[i].policies["*"]; ok {
				k.Update = p
			}
		}
		visit(k)
		inner := over
		next := path + "."
		if f.kind == sections {
			next = path + "[]."
		}
		if f.below != nil {
			inner = append(over[:len(over):len(over)], override{next, f.below})
		}
		switch f.kind {
		case section:
			walkKeys(f.typ, next, k.Since, k.Scheduler, inner, visit)
		case sections:
			walkKeys(f.typ.Elem(), next, k.Since, k.Scheduler, inner, visit)
		}
	}
}

// later returns the higher of two releases.
func later(a, b string) string {
	if b == "" {
		return a
	}
	pa, pb := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(pa), len(pb)) {
		x, _ := strconv.Atoi(pa[i])
		y, _ := strconv.Atoi(pb[i])
		if x != y {
			if x > y {
				return a
			}
			return b
		}
	}
	return a
}
