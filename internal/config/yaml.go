package config

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
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
	merged bool // came with a merge key, so a plain key may repeat it
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

// reader turns goccy's syntax tree into a Document.
type reader struct {
	anchors map[string]*Node
	open    map[string]bool // anchors whose value is being read
	nodes   int             // read so far, with those behind aliases
	full    bool            // more than maxNodes
	found   Problems
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

	file, err := parse(data)
	if err != nil {
		if looksLikeINI() {
			return ini()
		}
		pos, message := syntaxError(err)
		return malformed(pos, notYAML+" "+message, "")
	}
	var body ast.Node
	for _, d := range file.Docs {
		if d.Body == nil || isComment(d.Body) || d.Body.Type() == ast.DirectiveType {
			continue
		}
		if body != nil {
			return malformed(position(d.Body), notYAML+" There is more than one document in the file.", "remove what follows the line ---")
		}
		body = d.Body
	}
	if body == nil {
		return malformed(Pos{}, "configuration is required and cannot be empty", "")
	}
	r := &reader{anchors: map[string]*Node{}, open: map[string]bool{}}
	root := r.read(body)
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

// parse guards the parser, which is not ours, against input that it can't take.
func parse(data []byte) (file *ast.File, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the text has no structure that YAML knows (%v)", p)
		}
	}()
	tokens := lexer.Tokenize(string(data))
	if err := checkShape(tokens); err != nil {
		return nil, err
	}
	return parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
}

var goccyPlace = regexp.MustCompile(`^\[(\d+):(\d+)\] `)

// syntaxError takes place and text out of a syntax error, whose own form has an
// excerpt of the source below it.
func syntaxError(err error) (Pos, string) {
	var pos Pos
	message, _, _ := strings.Cut(err.Error(), "\n")
	if m := goccyPlace.FindStringSubmatch(message); m != nil {
		pos.Line, _ = strconv.Atoi(m[1])
		pos.Column, _ = strconv.Atoi(m[2])
		message = message[len(m[0]):]
	}
	if pos.Line > 0 {
		return pos, fmt.Sprintf("Line %d, column %d: %s", pos.Line, pos.Column, message)
	}
	return pos, message
}

func isComment(n ast.Node) bool {
	return n.Type() == ast.CommentType || n.Type() == ast.CommentGroupType
}

// position returns where a node starts. The token of a mapping is its first
// colon, so the first key stands in for it.
func position(n ast.Node) Pos {
	switch m := n.(type) {
	case nil:
		return Pos{}
	case *ast.MappingNode:
		if len(m.Values) > 0 {
			return tokenPos(m.Values[0].Key.GetToken())
		}
	case *ast.MappingValueNode:
		return tokenPos(m.Key.GetToken())
	}
	return tokenPos(n.GetToken())
}

func tokenPos(t *token.Token) Pos {
	if t == nil || t.Position == nil {
		return Pos{}
	}
	return Pos{Line: t.Position.Line, Column: t.Position.Column}
}

func (r *reader) malformed(pos Pos, format string, args ...any) *Node {
	r.found = append(r.found, Problem{Level: Error, Pos: pos,
		Message: "Configuration must be a valid YAML document. " + fmt.Sprintf(format, args...)})
	return &Node{Pos: pos}
}

func (r *reader) read(n ast.Node) *Node {
	if r.full {
		return &Node{}
	}
	before := r.nodes
	r.nodes++
	out := r.node(n)
	if out.size == 0 { // else it is an alias's
		out.size = r.nodes - before
	}
	if r.nodes > maxNodes && !r.full {
		r.full = true
		r.malformed(position(n), "It has more than %d values, counting those behind aliases as often as they are used.", maxNodes)
	}
	return out
}

func (r *reader) node(n ast.Node) *Node {
	switch n := n.(type) {
	case nil:
		return &Node{}
	case *ast.MappingNode:
		return r.mapping(n, n.Values)
	case *ast.MappingValueNode: // a mapping with one key
		return r.mapping(n, []*ast.MappingValueNode{n})
	case *ast.SequenceNode:
		out := &Node{Kind: Sequence, Pos: position(n)}
		for _, v := range n.Values {
			out.Items = append(out.Items, r.read(v))
		}
		return out
	case *ast.AnchorNode:
		name := n.Name.GetToken().Value
		r.open[name] = true
		out := r.read(n.Value)
		delete(r.open, name)
		r.anchors[name] = out
		return out
	case *ast.AliasNode:
		name := n.Value.GetToken().Value
		if r.open[name] {
			return r.malformed(position(n), "The alias *%s stands inside of what it refers to.", name)
		}
		target, ok := r.anchors[name]
		if !ok {
			return r.malformed(position(n), "No anchor &%s stands before the alias *%s.", name, name)
		}
		r.nodes += target.size
		return target
	case *ast.MappingKeyNode: // after a question mark
		return r.read(n.Value)
	case *ast.TagNode:
		return r.tagged(n)
	case *ast.LiteralNode:
		return &Node{Kind: Text, Raw: n.Value.Value, Pos: position(n)}
	case *ast.CommentGroupNode, *ast.CommentNode:
		return &Node{Pos: position(n)}
	case ast.ScalarNode:
		return scalar(n.GetToken())
	}
	return r.malformed(position(n), "A %s can't stand here.", strings.ToLower(n.Type().String()))
}

// tagged reads a value with an explicit type.
func (r *reader) tagged(n *ast.TagNode) *Node {
	name := n.Start.Value
	if n.Value == nil {
		return r.malformed(position(n), "The tag %s has no value.", name)
	}
	v := r.read(n.Value)
	switch name {
	case "!!str":
		if v.Kind < Mapping {
			return &Node{Kind: Text, Raw: v.Raw, Pos: v.Pos}
		}
	case "!!int", "!!float", "!!bool", "!!null", "!!map", "!!seq":
		return &Node{Kind: resolve(v.Raw, v.Kind), Raw: v.Raw, Pos: v.Pos, Entries: v.Entries, Items: v.Items}
	}
	return r.malformed(position(n), "The tag %s is not known here.", name)
}

func resolve(raw string, k Kind) Kind {
	if k >= Mapping {
		return k
	}
	return plainKind(raw)
}

func (r *reader) mapping(n ast.Node, values []*ast.MappingValueNode) *Node {
	out := &Node{Kind: Mapping, Pos: position(n)}
	at := map[string]int{} // index of each key
	for _, v := range values {
		if v.Key.IsMergeKey() {
			r.merge(out, at, r.read(v.Value))
			continue
		}
		pos := position(v.Key)
		k := r.read(v.Key)
		if k.Kind >= Mapping {
			r.malformed(pos, "A key has to be text.")
			continue
		}
		value := r.read(v.Value)
		if value.Kind == Null && value.Pos == (Pos{}) {
			value.Pos = pos
		}
		entry := Entry{Key: k.Raw, KeyPos: pos, Value: value}
		if i, ok := at[k.Raw]; !ok {
			at[k.Raw] = len(out.Entries)
			out.Entries = append(out.Entries, entry)
		} else if out.Entries[i].merged {
			out.Entries[i] = entry
		} else {
			r.malformed(pos, "Line %d, column %d: the key %s stands twice in one section, first in line %d.", pos.Line, pos.Column, k.Raw, out.Entries[i].KeyPos.Line)
		}
	}
	return out
}

// merge adds the keys of a mapping, or of a list of mappings, that are not there yet.
func (r *reader) merge(into *Node, at map[string]int, from *Node) {
	switch from.Kind {
	case Mapping:
		for _, e := range from.Entries {
			if _, ok := at[e.Key]; !ok {
				at[e.Key] = len(into.Entries)
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

func scalar(t *token.Token) *Node {
	out := &Node{Kind: Text, Raw: t.Value, Pos: tokenPos(t)}
	if t.Type != token.SingleQuoteType && t.Type != token.DoubleQuoteType {
		out.Kind = plainKind(t.Value)
	}
	return out
}

// Types of plain scalars in YAML 1.1, as far as its common readers know them.
var (
	plainInt       = regexp.MustCompile(`^[-+]?(0b[01_]+|0[0-7_]*|[1-9][0-9_]*|0x[0-9a-fA-F_]+|[1-9][0-9_]*(:[0-5]?[0-9])+)$`)
	plainFloat     = regexp.MustCompile(`^([-+]?[0-9][0-9_]*\.[0-9_]*([eE][-+][0-9]+)?|[-+]?\.[0-9][0-9_]*([eE][-+][0-9]+)?|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+\.[0-9_]*|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$`)
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
