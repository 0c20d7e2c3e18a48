package wire

import (
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"time"

	"pcluster/internal/sandbox/wire/model"
)

// kind is what a value is on the wire, once the model and the Go type agree.
type kind uint8

const (
	kindStruct kind = iota + 1
	kindUnion       // a Go interface with one wrapper struct for each member
	kindList
	kindMap
	kindString
	kindInt
	kindFloat
	kindBool
	kindBlob
	kindStream // a blob that is an io.Reader in Go
	kindTime
)

// A plan is a shape of the model tied to the Go type that holds it: all that
// decoding and encoding need to know, found out once.
type plan struct {
	kind  kind
	shape *model.Shape
	name  string       // of the shape
	typ   reflect.Type // without pointer

	fields  []field
	byJSON  map[string]*field
	byXML   map[string]*field
	byQuery map[string]*field

	elem     *plan // of lists and maps
	elemPtr  bool  // the Go element is a pointer
	elemName string
	keyName  string // of maps

	flattened  bool
	timeFormat string
	rule       rule
	memo       *memo // of structures that the service wants remembered; else nil
}

// A field is a member of a structure that the Go struct has.
type field struct {
	name     string // of the member
	index    int    // of the Go field
	ptr      bool   // the Go field is a pointer
	required bool
	plan     *plan

	loc        string // model.Member.Location: "" is the body
	locName    string
	jsonName   string
	xmlName    string
	queryName  string
	flattened  bool
	timeFormat string
	always     bool         // encode an absent list as an empty one
	wrapper    reflect.Type // of unions
}

// A planner makes the plans of one service. It is safe for concurrent use.
type planner struct {
	model    *model.Model
	remember map[string]string // as [Service.Remember] was told
	mu       sync.Mutex
	done     map[planKey]*plan
}

type planKey struct {
	shape string
	typ   reflect.Type
}

func newPlanner(m *model.Model, remember map[string]string) *planner {
	return &planner{model: m, remember: remember, done: map[planKey]*plan{}}
}

// plan returns the plan of a shape held by a Go type.
func (p *planner) plan(shape string, typ reflect.Type) (*plan, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.make(shape, typ)
}

var (
	timeType   = reflect.TypeFor[time.Time]()
	bytesType  = reflect.TypeFor[[]byte]()
	readerType = reflect.TypeFor[io.Reader]()
	closerType = reflect.TypeFor[io.ReadCloser]()
)

func (p *planner) make(name string, typ reflect.Type) (*plan, error) {
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	key := planKey{name, typ}
	if done, ok := p.done[key]; ok {
		return done, nil // also while it is being made: shapes may contain themselves
	}
	s := p.model.Shape(name)
	pl := &plan{shape: s, name: name, typ: typ, flattened: s.Flattened, timeFormat: s.TimestampFormat, rule: newRule(p.model.Name, name, s)}
	p.done[key] = pl
	if err := p.fill(pl); err != nil {
		delete(p.done, key)
		return nil, err
	}
	return pl, nil
}

func (p *planner) fill(pl *plan) error {
	mismatch := func() error {
		return fmt.Errorf("shape %s is a %s in the model and %s in Go", pl.name, pl.shape.Type, pl.typ)
	}
	k := pl.typ.Kind()
	switch pl.shape.Type {
	case "structure":
		if k == reflect.Interface {
			pl.kind = kindUnion
			return p.union(pl)
		}
		if k != reflect.Struct {
			return mismatch()
		}
		pl.kind = kindStruct
		return p.structure(pl)
	case "list":
		if k != reflect.Slice {
			return mismatch()
		}
		pl.kind = kindList
		return p.elem(pl)
	case "map":
		if k != reflect.Map || pl.typ.Key().Kind() != reflect.String {
			return mismatch()
		}
		pl.kind = kindMap
		pl.keyName = orElse(pl.shape.Key.LocationName, "key")
		return p.elem(pl)
	case "string", "character":
		pl.kind = kindString
		switch {
		case k == reflect.String:
		case k == reflect.Int32, k == reflect.Int64:
			pl.kind = kindInt // Route 53's page sizes: text in the model, numbers in the SDK
			pl.rule = rule{}
		case pl.typ == timeType:
			pl.kind = kindTime // S3's Expires, likewise
		default:
			return mismatch()
		}
	case "integer", "long", "short", "byte", "bigInteger":
		pl.kind = kindInt
		if k != reflect.Int32 && k != reflect.Int64 {
			return mismatch()
		}
	case "float", "double", "bigDecimal":
		pl.kind = kindFloat
		if k != reflect.Float32 && k != reflect.Float64 {
			return mismatch()
		}
	case "boolean":
		pl.kind = kindBool
		if k != reflect.Bool {
			return mismatch()
		}
	case "blob":
		switch pl.typ {
		case bytesType:
			pl.kind = kindBlob
		case readerType, closerType:
			pl.kind = kindStream
		default:
			return mismatch()
		}
	case "timestamp":
		pl.kind = kindTime
		if pl.typ != timeType {
			return mismatch()
		}
	default:
		return mismatch()
	}
	return nil
}

func (p *planner) elem(pl *plan) error {
	m := pl.shape.Elem
	typ := pl.typ.Elem()
	elem, err := p.make(m.Shape, typ)
	if err != nil {
		return fmt.Errorf("%s: %w", pl.name, err)
	}
	pl.elem, pl.elemPtr = elem, typ.Kind() == reflect.Pointer
	pl.elemName = m.LocationName
	if pl.kind == kindMap {
		pl.elemName = orElse(m.LocationName, "value")
	}
	return nil
}

func (p *planner) structure(pl *plan) error {
	required := map[string]bool{}
	for _, r := range pl.shape.Required {
		required[r] = true
	}
	pl.fields = make([]field, 0, len(pl.shape.Members))
	for i := range pl.shape.Members {
		m := &pl.shape.Members[i]
		goField, ok := goField(pl.typ, m.Name)
		if !ok || p.model.Shape(m.Shape).EventStream {
			continue // the SDK is older or newer than the model
		}
		sub, err := p.make(m.Shape, goField.Type)
		if err != nil {
			return fmt.Errorf("%s.%s: %w", pl.name, m.Name, err)
		}
		f := p.field(m, sub)
		f.index, f.ptr, f.required = goField.Index[0], goField.Type.Kind() == reflect.Pointer, required[m.Name]
		pl.fields = append(pl.fields, f)
		if p.remember[pl.name] == m.Name && goField.Type == reflect.TypeFor[*string]() {
			pl.memo = &memo{key: f.index}
		}
	}
	pl.index()
	return nil
}

func (p *planner) field(m *model.Member, sub *plan) field {
	f := field{
		name: m.Name, plan: sub,
		loc:        m.Location,
		locName:    orElse(m.LocationName, m.Name),
		jsonName:   orElse(m.LocationName, m.Name),
		flattened:  m.Flattened || sub.flattened,
		timeFormat: orElse(m.TimestampFormat, sub.timeFormat),
	}
	f.xmlName = orElse(m.LocationName, orElse(sub.shape.LocationName, m.Name))
	f.queryName = f.xmlName
	if p.model.Protocols[0] == model.EC2 {
		f.queryName = orElse(m.QueryName, upperFirst(f.xmlName))
	}
	if f.flattened && sub.kind == kindList && sub.elemName != "" && p.model.Protocols[0] != model.EC2 {
		// A flattened list has no element of its own: its elements carry the name.
		f.xmlName, f.queryName = sub.elemName, sub.elemName
	}
	return f
}

func (p *planner) union(pl *plan) error {
	wrappers := unionWrappers(pl.typ)
	if wrappers == nil {
		return fmt.Errorf("the members of union %s are not known", pl.typ)
	}
	for i := range pl.shape.Members {
		m := &pl.shape.Members[i]
		wrapper, ok := wrappers[m.Name]
		if !ok {
			continue
		}
		value, ok := wrapper.FieldByName("Value")
		if !ok {
			return fmt.Errorf("%s has no Value", wrapper)
		}
		sub, err := p.make(m.Shape, value.Type)
		if err != nil {
			return fmt.Errorf("%s.%s: %w", pl.name, m.Name, err)
		}
		f := p.field(m, sub)
		f.index, f.wrapper = value.Index[0], wrapper
		pl.fields = append(pl.fields, f)
	}
	pl.index()
	return nil
}

// index makes the look-up tables; fields must not move any more.
func (pl *plan) index() {
	pl.byJSON = make(map[string]*field, len(pl.fields))
	pl.byXML = make(map[string]*field, len(pl.fields))
	pl.byQuery = make(map[string]*field, len(pl.fields))
	for i := range pl.fields {
		f := &pl.fields[i]
		pl.byJSON[f.jsonName] = f
		pl.byXML[f.xmlName] = f
		pl.byQuery[f.queryName] = f
	}
}

// goField finds the field of an SDK struct that holds a member of the model.
func goField(typ reflect.Type, member string) (reflect.StructField, bool) {
	want := upperFirst(member)
	like := -1
	for i := range typ.NumField() {
		f := typ.Field(i)
		switch {
		case f.Name == want:
			return f, true
		case f.IsExported() && like < 0 && strings.EqualFold(f.Name, member):
			like = i
		}
	}
	if like < 0 {
		return reflect.StructField{}, false
	}
	return typ.Field(like), true
}

// at returns the place of the field's value in the struct v, made when absent.
func (f *field) at(v reflect.Value) reflect.Value {
	fv := v.Field(f.index)
	if f.ptr {
		if fv.IsNil() {
			fv.Set(reflect.New(fv.Type().Elem()))
		}
		return fv.Elem()
	}
	return fv
}

// get returns the field's value in the struct v and whether it is there. Scalars
// that the SDK holds without a pointer are always there, but for empty strings:
// an enumeration has no empty value.
func (f *field) get(v reflect.Value) (reflect.Value, bool) {
	fv := v.Field(f.index)
	switch fv.Kind() {
	case reflect.Pointer:
		if fv.IsNil() {
			return fv, false
		}
		return fv.Elem(), true
	case reflect.Slice, reflect.Map, reflect.Interface:
		return fv, !fv.IsNil()
	case reflect.String:
		return fv, fv.Len() > 0
	}
	return fv, true
}

// addElem decodes one element with fn and appends it to the list v.
func (pl *plan) addElem(v reflect.Value, fn func(reflect.Value) error) error {
	n := v.Len()
	v.Grow(1)
	v.SetLen(n + 1)
	e := v.Index(n)
	e.SetZero()
	if pl.elemPtr {
		e.Set(reflect.New(e.Type().Elem()))
		e = e.Elem()
	}
	return fn(e)
}

// setEntry decodes one value with fn and puts it into the map v.
func (pl *plan) setEntry(v reflect.Value, key string, fn func(reflect.Value) error) error {
	if v.IsNil() {
		v.Set(reflect.MakeMap(v.Type()))
	}
	e := reflect.New(pl.typ.Elem()).Elem()
	target := e
	if pl.elemPtr {
		e.Set(reflect.New(e.Type().Elem()))
		target = e.Elem()
	}
	if err := fn(target); err != nil {
		return err
	}
	v.SetMapIndex(reflect.ValueOf(key).Convert(v.Type().Key()), e)
	return nil
}

// unionValue returns the member that a union holds and its value.
func (pl *plan) unionValue(v reflect.Value) (*field, reflect.Value, bool) {
	if v.IsNil() {
		return nil, v, false
	}
	w := v.Elem()
	if w.Kind() == reflect.Pointer {
		if w.IsNil() {
			return nil, v, false
		}
		w = w.Elem()
	}
	for i := range pl.fields {
		if f := &pl.fields[i]; f.wrapper == w.Type() {
			return f, w.Field(f.index), true
		}
	}
	return nil, v, false
}

// setUnion makes v hold the given member, decoded by fn.
func (pl *plan) setUnion(v reflect.Value, f *field, fn func(reflect.Value) error) error {
	w := reflect.New(f.wrapper)
	if err := fn(w.Elem().Field(f.index)); err != nil {
		return err
	}
	v.Set(w)
	return nil
}

func orElse(s, otherwise string) string {
	if s != "" {
		return s
	}
	return otherwise
}

func upperFirst(s string) string {
	if s == "" || s[0] < 'a' || s[0] > 'z' {
		return s
	}
	return string(s[0]-'a'+'A') + s[1:]
}

func lowerFirst(s string) string {
	if s == "" || s[0] < 'A' || s[0] > 'Z' {
		return s
	}
	return string(s[0]-'A'+'a') + s[1:]
}

// A rule is what the model demands of a value beyond its type.
type rule struct {
	enum     map[string]bool
	min, max *float64
	pattern  func() *regexp.Regexp // nil without one, or when Go cannot express it
}

func newRule(service, name string, s *model.Shape) rule {
	r := rule{min: s.Min, max: s.Max}
	if len(s.Enum) > 0 && !openEnums[service+"."+name] {
		r.enum = make(map[string]bool, len(s.Enum))
		for _, e := range s.Enum {
			r.enum[e] = true
		}
	}
	if s.Pattern != "" {
		r.pattern = sync.OnceValue(func() *regexp.Regexp { return compilePattern(s.Pattern) })
	}
	return r
}

// openEnums are enumerations that grow by the month. The service knows which
// values exist; a copy of the model must not refuse a newer one.
var openEnums = map[string]bool{
	"ec2.InstanceType": true,
	"lambda.Runtime":   true,
}

// compilePattern turns a pattern of the model, which is Java's and must match
// the whole value, into Go's. It returns nil for what RE2 cannot say.
func compilePattern(p string) *regexp.Regexp {
	p = strings.ReplaceAll(p, `\uD800\uDC00-\uDBFF\uDFFF`, `\x{10000}-\x{10FFFF}`)
	p = javaEscape().ReplaceAllString(p, `\x{$1}`)
	p = longRepeat().ReplaceAllString(p, `{$1,}`) // lengths have their own rule
	re, err := regexp.Compile(`^(?:` + p + `)$`)
	if err != nil {
		return nil
	}
	return re
}

var (
	javaEscape = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\\u([0-9A-Fa-f]{4})`) })
	longRepeat = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\{(\d+),\d{4,}\}`) })
)
