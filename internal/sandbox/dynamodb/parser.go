package dynamodb

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// An environment is what the expressions of one request share: the meaning of
// their #names and :values.
type environment struct {
	names      map[string]string
	values     map[string]value
	usedNames  map[string]bool
	usedValues map[string]bool
}

func newEnvironment(names map[string]string, values map[string]value) (*environment, error) {
	e := &environment{names: names, values: make(map[string]value, len(values)), usedNames: map[string]bool{}, usedValues: map[string]bool{}}
	for name := range names {
		if !strings.HasPrefix(name, "#") {
			return nil, invalid("ExpressionAttributeNames contains invalid key: Syntax error; key: \"%s\"", name)
		}
	}
	for name, v := range values {
		if !strings.HasPrefix(name, ":") {
			return nil, invalid("ExpressionAttributeValues contains invalid key: Syntax error; key: \"%s\"", name)
		}
		c, err := canonical(v)
		if err != nil {
			return nil, invalid("ExpressionAttributeValues contains invalid value: %v for key %s", err, name)
		}
		e.values[name] = c
	}
	return e, nil
}

// check reports names and values that no expression used, which DynamoDB refuses.
func (e *environment) check() error {
	if unused := missing(e.names, e.usedNames); len(unused) > 0 {
		return invalid("Value provided in ExpressionAttributeNames unused in expressions: keys: {%s}", strings.Join(unused, ", "))
	}
	if unused := missing(e.values, e.usedValues); len(unused) > 0 {
		return invalid("Value provided in ExpressionAttributeValues unused in expressions: keys: {%s}", strings.Join(unused, ", "))
	}
	return nil
}

func missing[T any](given map[string]T, used map[string]bool) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(given)), func(k string) bool { return used[k] })
}

// A parser reads one expression. Its methods stop at the first error, which they
// keep in err; what they return then is not meant to be used.
type parser struct {
	what   string // such as ConditionExpression
	text   string
	tokens []token
	env    *environment
	err    error
}

// parse reads text with the given method of a parser, to its end.
func parse[T any](what, text string, env *environment, read func(*parser) T) (T, error) {
	var zero T
	if strings.TrimSpace(text) == "" {
		return zero, invalid("Invalid %s: The expression can not be empty;", what)
	}
	tokens, err := tokenize(what, text)
	if err != nil {
		return zero, err
	}
	p := &parser{what: what, text: text, tokens: tokens, env: env}
	v := read(p)
	if p.err == nil && p.peek().kind != endToken {
		p.fail()
	}
	if p.err != nil {
		return zero, p.err
	}
	return v, nil
}

func (p *parser) peek() token { return p.tokens[0] }

func (p *parser) next() token {
	t := p.tokens[0]
	if t.kind != endToken {
		p.tokens = p.tokens[1:]
	}
	return t
}

// fail reports a syntax error at the next token.
func (p *parser) fail() { p.failf(syntaxError(p.what, p.text, p.peek())) }

func (p *parser) failf(err error) {
	if p.err == nil {
		p.err = err
	}
	p.tokens = p.tokens[len(p.tokens)-1:] // nothing more to read
}

// accept takes the next token if it is the given sign.
func (p *parser) accept(sign string) bool {
	if t := p.peek(); t.kind == signToken && t.text == sign {
		p.next()
		return true
	}
	return false
}

func (p *parser) expect(sign string) {
	if !p.accept(sign) {
		p.fail()
	}
}

// keyword takes the next token if it is the given word, in any case.
func (p *parser) keyword(word string) bool {
	if p.isKeyword(word) {
		p.next()
		return true
	}
	return false
}

func (p *parser) isKeyword(word string) bool {
	t := p.peek()
	return t.kind == nameToken && strings.EqualFold(t.text, word)
}

// atFunction reports whether a function call follows.
func (p *parser) atFunction() bool {
	return p.peek().kind == nameToken && p.tokens[1].kind == signToken && p.tokens[1].text == "("
}

func (p *parser) value() value {
	t := p.next()
	v, ok := p.env.values[t.text]
	if !ok {
		p.failf(invalid("Invalid %s: An expression attribute value used in expression is not defined; attribute value: %s", p.what, t.text))
		return nil
	}
	p.env.usedValues[t.text] = true
	return v
}

func (p *parser) path() path {
	out := path{{p.name(), -1}}
	for p.err == nil {
		switch {
		case p.accept("."):
			out = append(out, step{p.name(), -1})
		case p.accept("["):
			t := p.peek()
			n, err := strconv.Atoi(t.text)
			if t.kind != numberToken || err != nil {
				p.fail()
				return out
			}
			p.next()
			p.expect("]")
			out = append(out, step{"", n})
		default:
			return out
		}
	}
	return out
}

func (p *parser) name() string {
	t := p.peek()
	switch t.kind {
	case aliasToken:
		p.next()
		name, ok := p.env.names[t.text]
		if !ok {
			p.failf(invalid("Invalid %s: An expression attribute name used in the document path is not defined; attribute name: %s", p.what, t.text))
		}
		p.env.usedNames[t.text] = true
		return name
	case nameToken:
		if reserved()[strings.ToUpper(t.text)] {
			p.failf(invalid("Invalid %s: Attribute name is a reserved keyword; reserved keyword: %s", p.what, t.text))
			return ""
		}
		p.next()
		return t.text
	}
	p.fail()
	return ""
}

// projection reads the paths of a ProjectionExpression.
func (p *parser) projection() []path {
	var paths []path
	for {
		paths = append(paths, p.path())
		if !p.accept(",") {
			break
		}
	}
	if a, b, found := overlapping(paths); found && p.err == nil {
		p.failf(invalid("Invalid %s: Two document paths overlap with each other; must remove or rewrite one of these paths; path one: %v, path two: %v", p.what, a, b))
	}
	return paths
}
