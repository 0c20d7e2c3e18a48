package component

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"pcluster/internal/config"
)

// Validator is the name under which problems of documents are reported.
const Validator = "ComponentSchemaValidator"

// Limits of documents.
const (
	MaxBytes    = 64 << 10 // as Image Builder has it for documents that are stored in S3
	maxAttempts = 100
)

// Parse reads a document. All problems are found at once; with an error among
// them the document can't be run.
func Parse(data []byte) (*Document, config.Problems) {
	p := &parser{doc: &Document{}, lines: strings.Split(string(data), "\n")}
	if len(data) > MaxBytes {
		p.errorf(config.Pos{}, "", "put what it installs into files, and download those", "the component has %d bytes, more than the %d that Image Builder takes", len(data), MaxBytes)
		return p.doc, p.found
	}
	root, found := config.ReadYAML(data, "The component")
	if root == nil {
		for i, f := range found {
			if f.Pos.Line >= 1 && f.Pos.Line <= len(p.lines) && strings.Contains(p.lines[f.Pos.Line-1], "{{") {
				found[i].Hint = "an expression in braces has to stand in quotes"
			}
		}
		return p.doc, found
	}
	p.found = found
	p.document(root)
	slices.SortStableFunc(p.found, func(a, b config.Problem) int {
		if a.Pos.Line != b.Pos.Line {
			return a.Pos.Line - b.Pos.Line
		}
		return a.Pos.Column - b.Pos.Column
	})
	return p.doc, p.found
}

type parser struct {
	doc   *Document
	lines []string // of the file
	found config.Problems

	variables map[string]bool // parameters and constants
	done      []*Phase        // of which expressions may speak: those before, and this one
	step      string          // being read
	loop      *Loop
}

func (p *parser) report(level config.Level, pos config.Pos, path, hint, format string, args ...any) {
	p.found = append(p.found, config.Problem{Level: level, Validator: Validator, Path: path, Pos: pos, Message: fmt.Sprintf(format, args...), Hint: hint})
}

func (p *parser) errorf(pos config.Pos, path, hint, format string, args ...any) {
	p.report(config.Error, pos, path, hint, format, args...)
}

// unknown reports a name that is none of those that may stand there.
func (p *parser) unknown(pos config.Pos, path, what, name string, known []string) {
	hint := ""
	for _, k := range known {
		if strings.EqualFold(k, name) || distance(strings.ToLower(k), strings.ToLower(name)) <= 2 {
			hint = "did you mean " + k + "?"
			break
		}
	}
	if hint == "" {
		hint = "known: " + strings.Join(known, ", ")
	}
	p.errorf(pos, path, hint, "unknown %s %s", what, cmp.Or(name, `""`))
}

// distance is how many letters have to be changed, added or dropped.
func distance(a, b string) int {
	if len(a)-len(b) > 2 || len(b)-len(a) > 2 {
		return 3
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := before
			if a[i] != b[j] {
				cost++
			}
			before = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}

// keys checks the keys of a mapping and returns whether it is one.
func (p *parser) keys(n *config.Node, path, what string, required []string, optional ...string) bool {
	if n.Kind != config.Mapping {
		p.errorf(n.Pos, path, "", "%s has to be a mapping, but it is %s", what, n.Kind)
		return false
	}
	known := slices.Concat(required, optional)
	for _, e := range n.Entries {
		if !slices.Contains(known, e.Key) {
			p.unknown(e.KeyPos, join(path, e.Key), "key", e.Key, known)
		}
	}
	for _, k := range required {
		if n.Get(k) == nil {
			p.errorf(n.Pos, path, "", "%s has no %s", what, k)
		}
	}
	return true
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// list returns the items of a list.
func (p *parser) list(n *config.Node, path, of string) []*config.Node {
	if n == nil {
		return nil
	}
	if n.Kind != config.Sequence {
		p.errorf(n.Pos, path, "", "here has to be a list of %s, but it is %s", of, n.Kind)
		return nil
	}
	return n.Items
}

// scalar returns the text of a value that is neither a list nor a mapping.
func (p *parser) scalar(n *config.Node, path string) string {
	if n == nil {
		return ""
	}
	if n.Kind >= config.Mapping {
		hint := ""
		if n.Kind == config.Mapping && n.Pos.Line > 0 {
			hint = "an expression in braces has to stand in quotes"
		}
		p.errorf(n.Pos, path, hint, "here has to be text, but it is %s", n.Kind)
		return ""
	}
	return n.Raw
}

func (p *parser) document(n *config.Node) {
	if !p.keys(n, "", "the component", []string{"schemaVersion", "phases"}, "name", "description", "parameters", "constants") {
		return
	}
	d := p.doc
	d.Name, d.Description = p.scalar(n.Get("name"), "name"), p.scalar(n.Get("description"), "description")
	if v := n.Get("schemaVersion"); v != nil {
		if version := p.scalar(v, "schemaVersion"); version != "1.0" && version != "1" && v.Kind < config.Mapping {
			p.errorf(v.Pos, "schemaVersion", "write schemaVersion: 1.0", "schema version %q is not supported", version)
		}
	}
	p.variables = map[string]bool{}
	for i, item := range p.list(n.Get("parameters"), "parameters", "parameters") {
		p.parameter(item, fmt.Sprintf("parameters[%d]", i))
	}
	for i, item := range p.list(n.Get("constants"), "constants", "constants") {
		p.constant(item, fmt.Sprintf("constants[%d]", i))
	}
	items := p.list(n.Get("phases"), "phases", "phases")
	d.Phases = make([]Phase, 0, len(items)) // p.done points into it
	for i, item := range items {
		p.phase(item, fmt.Sprintf("phases[%d]", i))
	}
	if phases := n.Get("phases"); phases != nil && phases.Kind == config.Sequence && len(p.found.At(config.Error)) == 0 &&
		d.Phase(Build) == nil && d.Phase(Validate) == nil && d.Phase(Test) == nil {
		p.errorf(phases.Pos, "phases", "", "the component has none of the phases build, validate and test")
	}
}

var variableName = regexp.MustCompile(`^[A-Za-z0-9_-]{3,128}$`)

// named reads an item of parameters and constants: a mapping of a name to its
// definition.
func (p *parser) named(n *config.Node, path, what string) (name string, def *config.Node) {
	if n.Kind != config.Mapping || len(n.Entries) != 1 {
		p.errorf(n.Pos, path, "write - NAME: and its keys below", "a %s has to be a mapping of its name to its definition", what)
		return "", nil
	}
	e := n.Entries[0]
	switch {
	case !variableName.MatchString(e.Key):
		p.errorf(e.KeyPos, path, "", "%q is no name for a %s: it takes 3 to 128 letters, digits, dashes and underscores", e.Key, what)
	case p.variables[e.Key]:
		p.errorf(e.KeyPos, path, "", "the name %s is used twice", e.Key)
	}
	p.variables[e.Key] = true
	return e.Key, e.Value
}

func (p *parser) parameter(n *config.Node, path string) {
	name, def := p.named(n, path, "parameter")
	if def == nil {
		return
	}
	path = join(path, name)
	if !p.keys(def, path, "the parameter "+name, []string{"type"}, "default", "description", "allowedValues", "allowedPattern") {
		return
	}
	p.stringType(def, path)
	for _, key := range []string{"allowedValues", "allowedPattern"} {
		if v := def.Get(key); v != nil {
			p.report(config.Warning, v.Pos, join(path, key), "", "AWS's documentation has no %s for parameters, so that its executor may refuse the component", key)
		}
	}
	out := Parameter{Name: name, Description: p.scalar(def.Get("description"), path+".description")}
	for i, v := range p.list(def.Get("allowedValues"), path+".allowedValues", "texts") {
		out.Allowed = append(out.Allowed, p.scalar(v, fmt.Sprintf("%s.allowedValues[%d]", path, i)))
	}
	if v := def.Get("default"); v != nil {
		text := p.scalar(v, path+".default")
		out.Default = &text
		if len(out.Allowed) > 0 && !slices.Contains(out.Allowed, text) {
			p.errorf(v.Pos, path+".default", "", "the default %q is not one of the allowed values", text)
		}
	}
	p.doc.Parameters = append(p.doc.Parameters, out)
}

func (p *parser) constant(n *config.Node, path string) {
	name, def := p.named(n, path, "constant")
	if def == nil {
		return
	}
	path = join(path, name)
	if p.keys(def, path, "the constant "+name, []string{"type", "value"}) {
		p.stringType(def, path)
		p.doc.Constants = append(p.doc.Constants, Constant{name, p.scalar(def.Get("value"), path+".value")})
	}
}

func (p *parser) stringType(def *config.Node, path string) {
	if t := def.Get("type"); t != nil && p.scalar(t, path+".type") != "string" && t.Kind < config.Mapping {
		p.errorf(t.Pos, path+".type", "", "type %q is not supported: there is string alone", t.Raw)
	}
}

func (p *parser) phase(n *config.Node, path string) {
	if !p.keys(n, path, "the phase", []string{"name", "steps"}) {
		return
	}
	name := p.name(n.Get("name"), path+".name", "phase")
	if p.doc.Phase(name) != nil && name != "" {
		p.errorf(n.Get("name").Pos, path+".name", "", "there are two phases %s", name)
	}
	items := p.list(n.Get("steps"), path+".steps", "steps")
	if steps := n.Get("steps"); steps != nil && steps.Kind == config.Sequence && len(items) == 0 {
		p.errorf(steps.Pos, path+".steps", "", "the phase %s has no steps", name)
	}
	p.doc.Phases = append(p.doc.Phases, Phase{Name: name})
	ph := &p.doc.Phases[len(p.doc.Phases)-1]
	p.done = append(p.done, ph)
	loops := map[string]bool{}
	for i, item := range items {
		at := fmt.Sprintf("%s.steps[%d]", path, i)
		s, ok := p.readStep(item, at)
		if !ok {
			continue
		}
		if slices.ContainsFunc(ph.Steps, func(o Step) bool { return o.Name == s.Name }) && s.Name != "" {
			p.errorf(s.Pos, at+".name", "", "there are two steps %s in the phase %s", s.Name, name)
		}
		if s.Loop != nil && s.Loop.Name != "" {
			if loops[s.Loop.Name] {
				p.errorf(item.Get("loop").Pos, at+".loop.name", "", "there are two loops %s in the phase %s", s.Loop.Name, name)
			}
			loops[s.Loop.Name] = true
		}
		ph.Steps = append(ph.Steps, s)
	}
}

var plainName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)

func (p *parser) name(n *config.Node, path, what string) string {
	if n == nil {
		return ""
	}
	name := p.scalar(n, path)
	if n.Kind < config.Mapping && !plainName.MatchString(name) {
		p.errorf(n.Pos, path, "", "%q is no name for a %s: it takes letters, digits, dashes and underscores", name, what)
	}
	return name
}

func (p *parser) readStep(n *config.Node, path string) (s Step, ok bool) {
	if !p.keys(n, path, "the step", []string{"name", "action"}, "timeoutSeconds", "onFailure", "maxAttempts", "inputs", "loop", "if", "description") {
		return s, false
	}
	s = Step{Timeout: DefaultTimeout, OnFailure: Abort, MaxAttempts: 1, Pos: n.Pos}
	s.Name = p.name(n.Get("name"), path+".name", "step")
	if v := n.Get("timeoutSeconds"); v != nil {
		switch seconds, err := strconv.Atoi(p.scalar(v, path+".timeoutSeconds")); {
		case err != nil || seconds == 0 || seconds < -1 || seconds > 365*24*3600:
			p.errorf(v.Pos, path+".timeoutSeconds", "", "timeoutSeconds has to be a positive number, or -1 for no limit, not %q", v.Raw)
		case seconds == -1:
			s.Timeout = 0
		default:
			s.Timeout = time.Duration(seconds) * time.Second
		}
	}
	if v := n.Get("onFailure"); v != nil {
		switch s.OnFailure = OnFailure(p.scalar(v, path+".onFailure")); s.OnFailure {
		case Abort, Continue, Ignore:
		default:
			p.errorf(v.Pos, path+".onFailure", "", "onFailure has to be Abort, Continue or Ignore, not %q", v.Raw)
		}
	}
	if v := n.Get("maxAttempts"); v != nil {
		var err error
		if s.MaxAttempts, err = strconv.Atoi(p.scalar(v, path+".maxAttempts")); err != nil || s.MaxAttempts < 1 || s.MaxAttempts > maxAttempts {
			p.errorf(v.Pos, path+".maxAttempts", "", "maxAttempts has to be a number from 1 to %d, not %q", maxAttempts, v.Raw)
		}
	}
	p.step, p.loop = s.Name, nil
	if v := n.Get("loop"); v != nil {
		p.loop = p.readLoop(v, path+".loop")
		s.Loop = p.loop
	}
	if v := n.Get("if"); v != nil {
		s.If = p.readIf(v, path+".if")
	}
	p.action(&s, n, path)
	if s.Action == "ExecuteDocument" {
		p.fixed(n, path, "timeoutSeconds", "-1")
		p.fixed(n, path, "maxAttempts", "1")
		s.Timeout = 0
	}
	return s, true
}

// fixed checks a key of a step that runs a document: the steps of that one have limits
// of their own.
func (p *parser) fixed(n *config.Node, path, key, only string) {
	if v := n.Get(key); v != nil && v.Raw != only {
		p.errorf(v.Pos, join(path, key), "remove it; the steps of the document have their own", "%s of ExecuteDocument can be %s alone, not %q", key, only, v.Raw)
	}
}

func (p *parser) readIf(n *config.Node, path string) *If {
	if n.Kind == config.Sequence && len(n.Items) == 1 {
		n = n.Items[0]
	}
	out := &If{Then: Execute, Else: Skip}
	decide := func(key string, into *Decision) {
		v := n.Get(key)
		if v == nil {
			return
		}
		switch *into = Decision(p.scalar(v, join(path, key))); *into {
		case Execute, Skip, AbortStep:
		default:
			p.errorf(v.Pos, join(path, key), "", "%s has to be Abort, Execute or Skip, not %q", key, v.Raw)
		}
	}
	decide("then", &out.Then)
	decide("else", &out.Else)
	if out.Then == Skip && n.Get("else") == nil { // then: Skip alone means the opposite otherwise
		out.Else = Execute
	}
	if out.Then == AbortStep && n.Get("else") == nil {
		out.Else = Execute
	}
	out.Condition = p.readCondition(n, path, "then", "else")
	p.checkCondition(&out.Condition, n.Pos, path)
	return out
}

func (p *parser) checkCondition(c *Condition, pos config.Pos, path string) {
	p.expressions(c.Operand, pos, path)
	p.expressions(c.Value, pos, path)
	for i := range c.Parts {
		p.checkCondition(&c.Parts[i], pos, path)
	}
}

const delimiters = ".,;:\n\t -_"

func (p *parser) readLoop(n *config.Node, path string) *Loop {
	if !p.keys(n, path, "the loop", nil, "name", "for", "forEach") {
		return nil
	}
	l := &Loop{Name: p.name(n.Get("name"), path+".name", "loop")}
	counted, each := n.Get("for"), n.Get("forEach")
	switch {
	case (counted == nil) == (each == nil):
		p.errorf(n.Pos, path, "", "a loop has either for or forEach")
	case counted != nil:
		path += ".for"
		if !p.keys(counted, path, "for", []string{"start", "end", "updateBy"}) {
			return l
		}
		ok := true
		for key, into := range map[string]*int{"start": &l.Start, "end": &l.End, "updateBy": &l.Step} {
			v := counted.Get(key)
			if v == nil {
				ok = false
				continue
			}
			var err error
			if *into, err = strconv.Atoi(p.scalar(v, join(path, key))); err != nil && v.Kind < config.Mapping {
				p.errorf(v.Pos, join(path, key), "", "%s has to be a whole number, not %q", key, v.Raw)
				ok = false
			}
		}
		if ok && (l.Step == 0 || (l.End > l.Start) != (l.Step > 0) && l.End != l.Start) {
			p.errorf(counted.Pos, path, "", "counting from %d by %d never reaches %d", l.Start, l.Step, l.End)
		}
	case each.Kind == config.Sequence:
		if len(each.Items) == 0 {
			p.errorf(each.Pos, path+".forEach", "", "the loop's list is empty")
		}
		for i, item := range each.Items {
			at := fmt.Sprintf("%s.forEach[%d]", path, i)
			l.List = append(l.List, p.scalar(item, at))
			p.expressions(item.Raw, item.Pos, at)
		}
	default:
		path += ".forEach"
		if !p.keys(each, path, "forEach", []string{"list"}, "delimiter") {
			return l
		}
		l.Joined, l.Delimiter = p.scalar(each.Get("list"), path+".list"), ","
		if v := each.Get("list"); v != nil {
			p.expressions(v.Raw, v.Pos, path+".list")
		}
		if v := each.Get("delimiter"); v != nil {
			l.Delimiter = p.scalar(v, path+".delimiter")
			if len(l.Delimiter) != 1 || !strings.Contains(delimiters, l.Delimiter) {
				p.errorf(v.Pos, path+".delimiter", "", "the delimiter %q is none of . , ; : - _ blank, tab and new line", l.Delimiter)
			}
		}
	}
	return l
}

func (p *parser) action(s *Step, n *config.Node, path string) {
	v := n.Get("action")
	if v == nil {
		return
	}
	s.Action = p.scalar(v, path+".action")
	a, ok := actions[s.Action]
	switch {
	case !ok && v.Kind < config.Mapping:
		p.unknown(v.Pos, path+".action", "action", s.Action, slices.Sorted(maps.Keys(actions)))
		return
	case !ok:
		return
	case a.refused != "":
		p.errorf(v.Pos, path+".action", "", "%s can't be used here: %s", s.Action, a.refused)
		return
	}
	in := n.Get("inputs")
	path += ".inputs"
	if in == nil || in.Kind == config.Null {
		if !optionalInputs[s.Action] {
			p.errorf(n.Pos, path, "", "%s needs inputs", s.Action)
		}
		return
	}
	s.Inputs = p.value(in, path)
	if s.Action == "Assert" {
		// Checked as a condition, and kept as what it is: an input.
		c := p.readCondition(unwrap(in), path)
		p.checkCondition(&c, in.Pos, path)
		s.If = &If{Condition: c, Then: Execute, Else: AbortStep}
		if n.Get("if") != nil {
			p.errorf(n.Get("if").Pos, path, "combine both with and, or", "Assert takes no if: it is a condition itself")
		}
		return
	}
	if !a.many || a.orOne && in.Kind == config.Mapping {
		p.inputs(s.Action, a, in, path)
		return
	}
	if in.Kind == config.Mapping {
		p.errorf(in.Pos, path, "write - before the first key", "the inputs of %s are a list", s.Action)
		return
	}
	items := p.list(in, path, "mappings")
	if in.Kind == config.Sequence && len(items) == 0 {
		p.errorf(in.Pos, path, "", "%s needs inputs", s.Action)
	}
	for i, item := range items {
		p.inputs(s.Action, a, item, fmt.Sprintf("%s[%d]", path, i))
	}
}

func unwrap(n *config.Node) *config.Node {
	if n.Kind == config.Sequence && len(n.Items) == 1 {
		return n.Items[0]
	}
	return n
}

// value turns a node into an input, and checks the expressions in it.
func (p *parser) value(n *config.Node, path string) Input {
	switch n.Kind {
	case config.Sequence:
		out := make([]Input, 0, len(n.Items))
		for i, item := range n.Items {
			out = append(out, p.value(item, fmt.Sprintf("%s[%d]", path, i)))
		}
		return out
	case config.Mapping:
		out := map[string]Input{}
		for _, e := range n.Entries {
			out[e.Key] = p.value(e.Value, join(path, e.Key))
		}
		return out
	}
	p.expressions(n.Raw, n.Pos, path)
	return n.Raw
}

// inputs checks what an action is given.
func (p *parser) inputs(name string, a action, n *config.Node, path string) {
	var required, optional []string
	for _, f := range a.fields {
		if f.required {
			required = append(required, f.name)
		} else {
			optional = append(optional, f.name)
		}
	}
	if !p.keys(n, path, "the input of "+name, required, optional...) {
		return
	}
	for _, f := range a.fields {
		if v := n.Get(f.name); v != nil {
			p.check(f, v, join(path, f.name))
		}
	}
	if sum, by := n.Get("checksum"), n.Get("algorithm"); (sum == nil) != (by == nil) {
		p.errorf(n.Pos, path, "give both, or neither", "checksum and algorithm belong together")
	}
}

var octal = regexp.MustCompile(`^0?[0-7]{3,4}$`)

func (p *parser) check(f field, n *config.Node, path string) {
	ok := true
	isText := n.Kind < config.Mapping
	expression := strings.Contains(n.Raw, "{{")
	switch f.kind {
	case text:
		if ok = isText; ok && f.required && n.Raw == "" {
			p.errorf(n.Pos, path, "", "%s is empty", f.name)
		}
	case s3URL:
		ok = isText && (strings.HasPrefix(n.Raw, "s3://") || strings.HasPrefix(strings.TrimSpace(n.Raw), "{{"))
	case webURL:
		lower := strings.ToLower(n.Raw)
		ok = isText && (strings.HasPrefix(lower, "https://") || strings.HasPrefix(lower, "http://") || strings.HasPrefix(strings.TrimSpace(n.Raw), "{{"))
	case texts:
		if ok = n.Kind == config.Sequence; !ok {
			break
		}
		if f.required && len(n.Items) == 0 {
			p.errorf(n.Pos, path, "", "the list of %s is empty", f.name)
		}
		for i, item := range n.Items {
			if item.Kind >= config.Mapping {
				p.errorf(item.Pos, fmt.Sprintf("%s[%d]", path, i), "put it in quotes, or after | on a line of its own", "each of %s has to be text, not %s", f.name, item.Kind)
			}
		}
	case flag:
		_, is := truth(n.Raw)
		ok = isText && (is || expression)
	case number:
		v, err := strconv.Atoi(n.Raw)
		ok = isText && (err == nil && v >= 0 || expression)
	case mode:
		ok = isText && (octal.MatchString(n.Raw) || expression)
	case encoding:
		_, is := encodings[encodingKey(n.Raw)]
		ok = isText && (is || expression)
	case algorithm:
		ok = isText && (expression || slices.Contains([]string{"MD5", "SHA1", "SHA256", "SHA512"}, strings.ToUpper(n.Raw)))
	case pairs:
		ok = n.Kind == config.Mapping || n.Kind == config.Sequence
	}
	if !ok {
		got := n.Kind.String()
		if isText {
			got = strconv.Quote(n.Raw)
		}
		p.errorf(n.Pos, path, "", "%s has to be %s, not %s", f.name, f.kind, got)
	}
}

// truth reads a boolean as YAML and AWS's executor write it.
func truth(s string) (value, ok bool) {
	switch strings.ToLower(s) {
	case "true", "yes", "on":
		return true, true
	case "false", "no", "off", "":
		return false, true
	}
	return false, false
}

// An Encoding is how text lies in a file.
type Encoding struct {
	Bytes     int // of a unit: 1, 2 or 4
	BigEndian bool
}

var encodings = map[string]Encoding{
	"utf8": {1, false}, "utf16": {2, false}, "utf16le": {2, false}, "utf16be": {2, true}, "utf32": {4, false}, "utf32le": {4, false}, "utf32be": {4, true},
}

func encodingKey(s string) string { return strings.ReplaceAll(strings.ToLower(s), "-", "") }

// ParseEncoding returns the encoding of that name; "" is UTF-8.
func ParseEncoding(name string) (Encoding, error) {
	if name == "" {
		name = "utf8"
	}
	e, ok := encodings[encodingKey(name)]
	if !ok {
		return e, fmt.Errorf("unknown encoding %q", name)
	}
	return e, nil
}
