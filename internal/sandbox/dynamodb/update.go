package dynamodb

import (
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

func number64(n int) value { return &types.AttributeValueMemberN{Value: strconv.Itoa(n)} }

// An update is a parsed UpdateExpression.
type update struct {
	set     []assignment
	removed []path
	add     []change
	del     []change
}

type assignment struct {
	to path
	v  term
}

type change struct {
	to path
	v  value
}

// A term is the right side of an assignment. It fails where the item does not
// have what it needs.
type term interface{ of(item) (value, error) }

type (
	operandTerm struct{ operand }
	sum         struct {
		a, b  term
		minus bool
	}
	ifNotExists struct {
		p    path
		then term
	}
	listAppend struct{ a, b term }
)

func (t operandTerm) of(i item) (value, error) {
	if v := t.operand.of(i); v != nil {
		return v, nil
	}
	return nil, invalid("The provided expression refers to an attribute that does not exist in the item")
}

var errOperandType = invalid("An operand in the update expression has an incorrect data type")

func (t sum) of(i item) (value, error) {
	a, err := t.a.of(i)
	if err != nil {
		return nil, err
	}
	b, err := t.b.of(i)
	if err != nil {
		return nil, err
	}
	return add(a, b, t.minus)
}

// add adds or subtracts two numbers.
func add(a, b value, minus bool) (value, error) {
	x, ok1 := a.(*types.AttributeValueMemberN)
	y, ok2 := b.(*types.AttributeValueMemberN)
	if !ok1 || !ok2 {
		return nil, errOperandType
	}
	m, err := parseNumber(x.Value)
	if err != nil {
		return nil, err
	}
	n, err := parseNumber(y.Value)
	if err != nil {
		return nil, err
	}
	if minus {
		n = n.neg()
	}
	total, err := m.add(n)
	if err != nil {
		return nil, err
	}
	return &types.AttributeValueMemberN{Value: total.String()}, nil
}

func (t ifNotExists) of(i item) (value, error) {
	if v := t.p.get(i); v != nil {
		return v, nil
	}
	return t.then.of(i)
}

func (t listAppend) of(i item) (value, error) {
	a, err := t.a.of(i)
	if err != nil {
		return nil, err
	}
	b, err := t.b.of(i)
	if err != nil {
		return nil, err
	}
	x, ok1 := a.(*types.AttributeValueMemberL)
	y, ok2 := b.(*types.AttributeValueMemberL)
	if !ok1 || !ok2 {
		return nil, errOperandType
	}
	return &types.AttributeValueMemberL{Value: slices.Concat(x.Value, y.Value)}, nil
}

// update reads an UpdateExpression.
func (p *parser) update() update {
	var u update
	seen := map[string]bool{}
	for p.err == nil && p.peek().kind != endToken {
		section := strings.ToUpper(p.peek().text)
		if seen[section] {
			p.failf(invalid("Invalid %s: The %q section can only be used once in an update expression;", p.what, section))
			break
		}
		seen[section] = true
		switch {
		case p.keyword("SET"):
			p.list(func() {
				a := assignment{to: p.path()}
				p.expect("=")
				a.v = p.term()
				u.set = append(u.set, a)
			})
		case p.keyword("REMOVE"):
			p.list(func() { u.removed = append(u.removed, p.path()) })
		case p.keyword("ADD"):
			p.list(func() { u.add = append(u.add, p.change("ADD", "N", "SS", "NS", "BS")) })
		case p.keyword("DELETE"):
			p.list(func() { u.del = append(u.del, p.change("DELETE", "SS", "NS", "BS")) })
		default:
			p.fail()
		}
	}
	if a, b, found := overlapping(u.paths()); found && p.err == nil {
		p.failf(invalid("Invalid %s: Two document paths overlap with each other; must remove or rewrite one of these paths; path one: %v, path two: %v", p.what, a, b))
	}
	return u
}

// list reads things separated by commas.
func (p *parser) list(read func()) {
	read()
	for p.err == nil && p.accept(",") {
		read()
	}
}

func (p *parser) change(section string, kinds ...string) change {
	c := change{to: p.path()}
	if p.err == nil && p.peek().kind != valueToken {
		p.fail()
		return c
	}
	if c.v = p.value(); p.err == nil && !slices.Contains(kinds, typeOf(c.v)) {
		p.failf(invalid("Invalid %s: Incorrect operand type for operator or function; operator: %s, operand type: %s", p.what, section, typeOf(c.v)))
	}
	return c
}

func (p *parser) term() term {
	t := p.factor()
	for p.err == nil {
		switch {
		case p.accept("+"):
			t = sum{t, p.factor(), false}
		case p.accept("-"):
			t = sum{t, p.factor(), true}
		default:
			return t
		}
	}
	return t
}

func (p *parser) factor() term {
	switch {
	case p.accept("("):
		t := p.term()
		p.expect(")")
		return t
	case p.peek().kind == valueToken:
		return operandTerm{constant{p.value()}}
	case !p.atFunction():
		return operandTerm{pathOperand{p.path()}}
	}
	name := p.next().text
	p.expect("(")
	var t term
	switch name {
	case "if_not_exists":
		c := ifNotExists{p: p.path()}
		p.expect(",")
		c.then = p.term()
		t = c
	case "list_append":
		c := listAppend{a: p.term()}
		p.expect(",")
		c.b = p.term()
		t = c
	default:
		p.failf(invalid("Invalid %s: Invalid function name; function: %s", p.what, name))
	}
	p.expect(")")
	return t
}

// paths returns all that the update touches.
func (u update) paths() []path {
	var out []path
	for _, a := range u.set {
		out = append(out, a.to)
	}
	out = append(out, u.removed...)
	for _, c := range slices.Concat(u.add, u.del) {
		out = append(out, c.to)
	}
	return out
}

// apply changes the item, which must be a copy (of its top level). Every part of
// the update sees the item as it was before.
func (u update) apply(i item) error {
	before := make(item, len(i))
	for k, v := range i {
		before[k] = v
	}
	for _, a := range u.set {
		v, err := a.v.of(before)
		if err != nil {
			return err
		}
		if err := a.to.set(i, v); err != nil {
			return err
		}
	}
	for _, c := range u.add {
		v, err := c.add(c.to.get(before))
		if err != nil {
			return err
		}
		if err := c.to.set(i, v); err != nil {
			return err
		}
	}
	for _, c := range u.del {
		old := c.to.get(before)
		if old == nil {
			continue
		}
		if typeOf(old) != typeOf(c.v) {
			return errOperandType
		}
		gone := elements(c.v)
		left := setOf(typeOf(old), slices.DeleteFunc(elements(old), func(e value) bool {
			return slices.ContainsFunc(gone, func(g value) bool { return equal(e, g) })
		}))
		if left == nil {
			if err := remove(i, []path{c.to}); err != nil {
				return err
			}
		} else if err := c.to.set(i, left); err != nil {
			return err
		}
	}
	return remove(i, u.removed)
}

// add returns the sum of a number, or the union of a set, with the change's value.
func (c change) add(old value) (value, error) {
	if old == nil {
		return c.v, nil
	}
	if typeOf(old) != typeOf(c.v) {
		return nil, errOperandType
	}
	if typeOf(old) == "N" {
		return add(old, c.v, false)
	}
	members := elements(old)
	for _, e := range elements(c.v) {
		if !slices.ContainsFunc(members, func(m value) bool { return equal(m, e) }) {
			members = append(members, e)
		}
	}
	return setOf(typeOf(old), members), nil
}
