package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A Document is a YAML document as the user wrote it, without implied values:
// what an update compares.
type Document struct {
	Root *Node
	at   map[string]Pos // of every key that was read, by path
}

// A Kind says what a node of a document is.
type Kind int

// Kinds of nodes. Scalars have the type that YAML 1.1 gives them, as in the
// files of existing users: an unquoted yes is a boolean.
const (
	Null Kind = iota
	Text
	Bool
	Int
	Float
	Timestamp
	Mapping
	Sequence
)

func (k Kind) String() string {
	return [...]string{"nothing", "text", "a boolean", "a whole number", "a number", "a date", "a mapping", "a list"}[k]
}

// A Node is a value of a document with its place.
type Node struct {
	Kind    Kind
	Pos     Pos
	Raw     string  // scalars: the text of the file, without quotes
	Entries []Entry // mappings, in order
	Items   []*Node // sequences
	size    int     // values in it and itself, with those behind aliases as often as they are used
}

// An Entry is a key of a mapping with its value.
type Entry struct {
	Key    string
	KeyPos Pos
	Value  *Node
	id     string // what no other key of the mapping may have
	merged bool   // came with a merge key, so a plain key may repeat it
}

// Get returns the value of a key, or nil.
func (n *Node) Get(key string) *Node {
	if n == nil {
		return nil
	}
	for i := range n.Entries {
		if n.Entries[i].Key == key {
			return n.Entries[i].Value
		}
	}
	return nil
}

// reader turns the library's tree into a Document. The library reads YAML as
// libyaml does, of which PyYAML is the reader that files were written for; types
// of scalars and duplicate keys are our business.
type reader struct {
	anchored map[*yaml.Node]*Node
	names    map[string]Pos      // of anchors
	open     map[*yaml.Node]bool // anchored values that are being read
	nodes    int                 // read so far, with those behind aliases
	full     bool                // beyond one of the bounds
	found    Problems
}

var iniSection = regexp.MustCompile(`(?m)^\s*\[[A-Za-z][\w .-]*\]\s*$`)
var iniSetting = regexp.MustCompile(`(?m)^\s*[A-Za-z][\w.-]*\s*=`)

// readDocument reads the one mapping of a file. Problems without a validator
// name say that there is none.
func readDocument(data []byte) (doc *Document, found Problems) {
	malformed := func(pos Pos, message, hint string) (*Document, Problems) {
		return nil, Problems{{Level: Error, Pos: pos, Message: message, Hint: hint}}
	}
	if reason := unreadable(data); reason != "" {
		return malformed(Pos{}, "Configuration must be a valid YAML document. "+reason, "")
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // some editors put it there
	if strings.TrimSpace(string(data)) == "" {
		return malformed(Pos{}, "configuration is required and cannot be empty", "")
	}
	const notYAML = "Configuration must be a valid YAML document."
	ini := func() (*Document, Problems) {
		return malformed(Pos{}, "ParallelCluster 3 requires configuration files to be valid YAML documents.",
			"this looks like a ParallelCluster 2 file, which has to be rewritten as YAML")
	}
	looksLikeINI := func() bool { return iniSection.Match(data) && iniSetting.Match(data) }

	body, second, err := parse(data)
	if err != nil {
		if looksLikeINI() {
			return ini()
		}
		pos, message := syntaxError(data, err)
		return malformed(pos, notYAML+" "+message, "")
	}
	if second != nil {
		return malformed(placeOf(second), notYAML+" There is more than one document in the file.", "remove what follows the line ---")
	}
	if body == nil || body.Kind == yaml.ScalarNode && body.Value == "" && body.Style == 0 {
		return malformed(Pos{}, "configuration is required and cannot be empty", "")
	}
	r := &reader{anchored: map[*yaml.Node]*Node{}, names: map[string]Pos{}, open: map[*yaml.Node]bool{}}
	root := r.read(body, 0)
	if _, bad := r.found.Malformed(); bad {
		return nil, r.found
	}
	if root.Kind != Mapping {
		if looksLikeINI() {
			return ini()
		}
		return malformed(root.Pos, notYAML+" It has to be a mapping of keys to values, but it is "+root.Kind.String()+".", "")
	}
	return &Document{Root: root, at: map[string]Pos{}}, r.found
}

var yamlVersion = regexp.MustCompile(`^%YAML 1\.\d+`)

// parse returns the first document of the text, nil for none, and the second if
// there is one. It guards the parser, which is not ours, against input that it
// can't take.
func parse(data []byte) (first, second *yaml.Node, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the text has no structure that YAML knows (%v)", p)
		}
	}()
	// The library knows version 1.1 only, which is how it reads all files anyway.
	if v := yamlVersion.FindIndex(data); v != nil {
		data = append(append([]byte("%YAML 1.1"), bytes.Repeat([]byte(" "), v[1]-len("%YAML 1.1"))...), data[v[1]:]...)
	}
	d := yaml.NewDecoder(bytes.NewReader(data))
	next := func() (*yaml.Node, error) {
		var n yaml.Node
		if err := d.Decode(&n); errors.Is(err, io.EOF) {
			return nil, nil
		} else if err != nil {
			return nil, err
		}
		if n.Kind == yaml.DocumentNode && len(n.Content) == 1 {
			return n.Content[0], nil
		}
		return &n, nil
	}
	if first, err = next(); err != nil || first == nil {
		return nil, nil, err
	}
	second, err = next()
	return first, second, err
}

var (
	libraryPlace  = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?`)
	unknownAnchor = regexp.MustCompile(`^unknown anchor '(.*)' referenced$`)
)

// syntaxError says where and what is wrong with the text. Of the place, the
// library knows the line, except that it does not say "line 1"; the column is
// where the line's text begins.
func syntaxError(data []byte, err error) (Pos, string) {
	message, _, _ := strings.Cut(err.Error(), "\n")
	place := libraryPlace.FindStringSubmatch(message)
	message = message[len(place[0]):]
	if strings.HasPrefix(message, "exceeded max depth") {
		return Pos{}, tooDeep
	}
	lines := bytes.Split(data, []byte("\n"))
	if m := unknownAnchor.FindStringSubmatch(message); m != nil {
		alias := regexp.MustCompile(`\*` + regexp.QuoteMeta(m[1]) + `(?:[^\w-]|$)`)
		for i, line := range lines {
			if at := alias.FindIndex(line); at != nil {
				return Pos{i + 1, at[0] + 1}, fmt.Sprintf("No anchor &%s stands before the alias *%s.", m[1], m[1])
			}
		}
	}
	line, _ := strconv.Atoi(place[1])
	line = max(1, min(line, len(lines)))
	text := lines[line-1]
	pos := Pos{Line: line, Column: len(text) - len(bytes.TrimLeft(text, " ")) + 1}
	return pos, fmt.Sprintf("Line %d, column %d: %s", pos.Line, pos.Column, message)
}

// placeOf returns where a value starts: a mapping at its first key, also behind a
// brace.
func placeOf(n *yaml.Node) Pos {
	if n.Kind == yaml.MappingNode && len(n.Content) > 0 {
		n = n.Content[0]
	}
	return Pos{Line: n.Line, Column: n.Column}
}

func (r *reader) malformed(pos Pos, format string, args ...any) *Node {
	r.found = append(r.found, Problem{Level: Error, Pos: pos,
		Message: "Configuration must be a valid YAML document. " + fmt.Sprintf(format, args...)})
	return &Node{Pos: pos}
}

var tooDeep = fmt.Sprintf("Sections and lists stand more than %d deep in one another.", maxDepth)

// bound reports the first bound that the document is beyond; nothing is read
// from there on.
func (r *reader) bound(n *yaml.Node, format string, args ...any) *Node {
	if !r.full {
		r.full = true
		r.malformed(placeOf(n), format, args...)
	}
	return &Node{Pos: placeOf(n)}
}

func (r *reader) read(n *yaml.Node, depth int) *Node {
	switch {
	case r.full:
		return &Node{}
	case depth > maxDepth:
		return r.bound(n, "%s", tooDeep)
	case len(n.Content) > maxItems && n.Kind == yaml.SequenceNode, len(n.Content) > 2*maxItems:
		return r.bound(n, "A section or list has more than %d items.", maxItems)
	}
	before := r.nodes
	r.nodes++
	out := r.node(n, depth)
	if out.size == 0 { // else it is an alias's
		out.size = r.nodes - before
	}
	if r.nodes > maxNodes {
		return r.bound(n, "It has more than %d values, counting those behind aliases as often as they are used.", maxNodes)
	}
	return out
}

func (r *reader) node(n *yaml.Node, depth int) *Node {
	if n.Kind == yaml.AliasNode {
		if r.open[n.Alias] {
			return r.malformed(placeOf(n), "The alias *%s stands inside of what it refers to.", n.Value)
		}
		target := r.anchored[n.Alias]
		if target == nil {
			return r.malformed(placeOf(n), "No anchor &%s stands before the alias *%s.", n.Value, n.Value)
		}
		r.nodes += target.size
		return target
	}
	if n.Anchor != "" {
		if first, ok := r.names[n.Anchor]; ok {
			return r.malformed(placeOf(n), "The anchor &%s is there already, in line %d.", n.Anchor, first.Line)
		}
		r.names[n.Anchor] = placeOf(n)
		r.open[n] = true
		defer delete(r.open, n)
	}
	out := r.plain(n, depth)
	if n.Anchor != "" {
		r.anchored[n] = out
	}
	return out
}

// plain reads a value that is no alias.
func (r *reader) plain(n *yaml.Node, depth int) *Node {
	pos := placeOf(n)
	tag := ""
	if n.Style&yaml.TaggedStyle != 0 {
		tag = n.ShortTag()
	}
	switch n.Kind {
	case yaml.MappingNode:
		if tag != "" && tag != "!!map" {
			break
		}
		return r.mapping(n, depth)
	case yaml.SequenceNode:
		if tag != "" && tag != "!!seq" {
			break
		}
		out := &Node{Kind: Sequence, Pos: pos}
		for _, item := range n.Content {
			out.Items = append(out.Items, r.read(item, depth+1))
		}
		return out
	case yaml.ScalarNode:
		const quoted = yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle
		switch tag {
		case "":
			if n.Style&quoted != 0 {
				return &Node{Kind: Text, Raw: n.Value, Pos: pos}
			}
			return &Node{Kind: plainKind(n.Value), Raw: n.Value, Pos: pos}
		case "!!str", "!":
			return &Node{Kind: Text, Raw: n.Value, Pos: pos}
		case "!!int", "!!float", "!!bool", "!!null":
			return &Node{Kind: plainKind(n.Value), Raw: n.Value, Pos: pos}
		}
	}
	return r.malformed(pos, "The tag %s is not known here.", tag)
}

func (r *reader) mapping(n *yaml.Node, depth int) *Node {
	out := &Node{Kind: Mapping, Pos: placeOf(n)}
	at := map[string]int{} // index of each key
	for i := 0; i+1 < len(n.Content) && !r.full; i += 2 {
		name, val := n.Content[i], n.Content[i+1]
		pos := placeOf(name)
		if name.Kind == yaml.ScalarNode && name.Value == "<<" && name.Style == 0 {
			r.merge(out, at, r.read(val, depth+1))
			continue
		}
		k := r.read(name, depth+1)
		if k.Kind >= Mapping {
			r.malformed(pos, "A key has to be text.")
			continue
		}
		entry := Entry{Key: k.Raw, KeyPos: pos, Value: r.read(val, depth+1), id: identity(k)}
		if i, ok := at[identity(k)]; !ok {
			at[identity(k)] = len(out.Entries)
			out.Entries = append(out.Entries, entry)
		} else if out.Entries[i].merged {
			out.Entries[i] = entry
		} else {
			r.malformed(pos, "Line %d, column %d: the key %s stands twice in one section, first in line %d.", pos.Line, pos.Column, k.Raw, out.Entries[i].KeyPos.Line)
		}
	}
	return out
}

// identity tells keys apart as values do: yes and true are one key, and so are 1
// and 01, but not "1".
func identity(k *Node) string {
	switch k.Kind {
	case Null:
		return "null"
	case Bool:
		return fmt.Sprint("bool ", yamlBools[k.Raw])
	case Int, Float:
		v, _ := number(k.Raw)
		return fmt.Sprint("number ", v)
	}
	return "text " + k.Raw
}

// merge adds the keys of a mapping, or of a list of mappings, that are not there yet.
func (r *reader) merge(into *Node, at map[string]int, from *Node) {
	switch from.Kind {
	case Mapping:
		for _, e := range from.Entries {
			if _, ok := at[e.id]; !ok {
				at[e.id] = len(into.Entries)
				e.merged = true
				into.Entries = append(into.Entries, e)
			}
		}
	case Sequence:
		for _, item := range from.Items {
			if item.Kind != Mapping {
				r.malformed(item.Pos, "<< takes a mapping or a list of mappings.")
				return
			}
			r.merge(into, at, item)
		}
	default:
		r.malformed(from.Pos, "<< takes a mapping or a list of mappings.")
	}
}

func (n *Node) index(key string) int {
	for i := range n.Entries {
		if n.Entries[i].Key == key {
			return i
		}
	}
	return -1
}

// Types of plain scalars in YAML 1.1, as far as its common readers know them.
var (
	plainInt       = regexp.MustCompile(`^[-+]?(0b[01_]+|0[0-7_]*|[1-9][0-9_]*|0x[0-9a-fA-F_]+|[1-9][0-9_]*(:[0-5]?[0-9])+)$`)
	plainFloat     = regexp.MustCompile(`^([-+]?[0-9][0-9_]*\.[0-9_]*([eE][-+][0-9]+)?|\.[0-9][0-9_]*([eE][-+][0-9]+)?|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+\.[0-9_]*|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$`)
	plainTimestamp = regexp.MustCompile(`^\d{4}-\d\d-\d\d$|^\d{4}-\d\d?-\d\d?([Tt]|[ \t]+)\d\d?:\d\d:\d\d(\.\d*)?([ \t]*(Z|[-+]\d\d?(:\d\d)?))?$`)
)

func plainKind(raw string) Kind {
	switch raw {
	case "", "~", "null", "Null", "NULL":
		return Null
	}
	if _, ok := yamlBools[raw]; ok {
		return Bool
	}
	if c := raw[0]; c != '-' && c != '+' && c != '.' && (c < '0' || c > '9') {
		return Text
	}
	switch {
	case plainInt.MatchString(raw):
		return Int
	case plainFloat.MatchString(raw):
		return Float
	case plainTimestamp.MatchString(raw):
		return Timestamp
	}
	return Text
}

var yamlBools = map[string]bool{
	"true": true, "True": true, "TRUE": true, "yes": true, "Yes": true, "YES": true, "on": true, "On": true, "ON": true,
	"false": false, "False": false, "FALSE": false, "no": false, "No": false, "NO": false, "off": false, "Off": false, "OFF": false,
}

// number returns the value of an Int or Float scalar.
func number(raw string) (float64, bool) {
	s := strings.ReplaceAll(raw, "_", "")
	sign := 1.0
	if s != "" && (s[0] == '-' || s[0] == '+') {
		if s[0] == '-' {
			sign = -1
		}
		s = s[1:]
	}
	switch strings.ToLower(s) {
	case ".inf":
		return math.Inf(int(sign)), true
	case ".nan":
		return math.NaN(), true
	}
	if strings.Contains(s, ":") {
		total := 0.0
		for _, part := range strings.Split(s, ":") {
			v, err := strconv.ParseFloat(part, 64)
			if err != nil {
				return 0, false
			}
			total = total*60 + v
		}
		return sign * total, true
	}
	if len(s) > 1 && s[0] == '0' && strings.Trim(s, "0123456789") == "" {
		v, err := strconv.ParseInt(s, 8, 64)
		return sign * float64(v), err == nil
	}
	if strings.HasPrefix(s, "0x") || strings.HasPrefix(s, "0b") {
		v, err := strconv.ParseInt(s, 0, 64)
		return sign * float64(v), err == nil
	}
	v, err := strconv.ParseFloat(s, 64)
	return sign * v, err == nil
}
