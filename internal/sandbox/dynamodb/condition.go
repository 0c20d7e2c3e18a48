package dynamodb

import (
	"bytes"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// A condition is a boolean expression over an item.
type condition interface{ holds(item) bool }

// An operand is something in an expression that has a value, or nil where the
// item has none.
type operand interface{ of(item) value }

type (
	anyOf      []condition
	allOf      []condition
	not        struct{ condition }
	comparison struct {
		operator    string
		left, right operand
	}
	between struct{ v, low, high operand }
	oneOf   struct {
		v    operand
		list []operand
	}
	exists  struct{ p path }
	hasType struct {
		p    operand
		name string
	}
	beginsWith struct{ v, prefix operand }
	contains   struct{ v, part operand }
)

type (
	pathOperand struct{ path }
	constant    struct{ v value }
	sizeOf      struct{ p operand }
)

func (o pathOperand) of(i item) value { return o.get(i) }
func (o constant) of(item) value      { return o.v }

func (o sizeOf) of(i item) value {
	n, ok := lengthOf(o.p.of(i))
	if !ok {
		return nil
	}
	return number64(n)
}

func (c anyOf) holds(i item) bool {
	return slices.ContainsFunc(c, func(c condition) bool { return c.holds(i) })
}

func (c allOf) holds(i item) bool {
	return !slices.ContainsFunc(c, func(c condition) bool { return !c.holds(i) })
}

func (c not) holds(i item) bool { return !c.condition.holds(i) }

func (c comparison) holds(i item) bool {
	a, b := c.left.of(i), c.right.of(i)
	switch c.operator {
	case "=":
		return a != nil && b != nil && equal(a, b)
	case "<>":
		return a == nil || b == nil || !equal(a, b)
	}
	if a == nil || b == nil {
		return false
	}
	order, ok := compare(a, b)
	if !ok {
		return false
	}
	switch c.operator {
	case "<":
		return order < 0
	case "<=":
		return order <= 0
	case ">":
		return order > 0
	}
	return order >= 0
}

func (c between) holds(i item) bool {
	return comparison{">=", c.v, c.low}.holds(i) && comparison{"<=", c.v, c.high}.holds(i)
}

func (c oneOf) holds(i item) bool {
	return slices.ContainsFunc(c.list, func(o operand) bool { return comparison{"=", c.v, o}.holds(i) })
}

func (c exists) holds(i item) bool { return c.p.get(i) != nil }

func (c hasType) holds(i item) bool {
	v := c.p.of(i)
	return v != nil && typeOf(v) == c.name
}

func (c beginsWith) holds(i item) bool {
	switch v := c.v.of(i).(type) {
	case *types.AttributeValueMemberS:
		prefix, ok := c.prefix.of(i).(*types.AttributeValueMemberS)
		return ok && strings.HasPrefix(v.Value, prefix.Value)
	case *types.AttributeValueMemberB:
		prefix, ok := c.prefix.of(i).(*types.AttributeValueMemberB)
		return ok && bytes.HasPrefix(v.Value, prefix.Value)
	}
	return false
}

func (c contains) holds(i item) bool {
	v, part := c.v.of(i), c.part.of(i)
	if v == nil || part == nil {
		return false
	}
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		part, ok := part.(*types.AttributeValueMemberS)
		return ok && strings.Contains(v.Value, part.Value)
	case *types.AttributeValueMemberB:
		part, ok := part.(*types.AttributeValueMemberB)
		return ok && bytes.Contains(v.Value, part.Value)
	case *types.AttributeValueMemberL:
		return slices.ContainsFunc(v.Value, func(e value) bool { return equal(e, part) })
	}
	return slices.ContainsFunc(elements(v), func(e value) bool { return equal(e, part) })
}

// condition reads alternatives: NOT binds stronger than AND, AND than OR.
func (p *parser) condition() condition {
	list := anyOf{p.conjunction()}
	for p.keyword("OR") {
		list = append(list, p.conjunction())
	}
	if len(list) == 1 {
		return list[0]
	}
	return list
}

func (p *parser) conjunction() condition {
	list := allOf{p.negation()}
	for p.keyword("AND") {
		list = append(list, p.negation())
	}
	if len(list) == 1 {
		return list[0]
	}
	return list
}

func (p *parser) negation() condition {
	if p.keyword("NOT") {
		return not{p.negation()}
	}
	if p.accept("(") {
		c := p.condition()
		p.expect(")")
		return c
	}
	if p.atFunction() && p.peek().text != "size" {
		return p.function()
	}
	return p.comparison()
}

func (p *parser) comparison() condition {
	left := p.operand()
	if p.err != nil {
		return nil
	}
	switch {
	case p.keyword("BETWEEN"):
		low := p.operand()
		if !p.keyword("AND") {
			p.fail()
		}
		return p.checkBounds(between{left, low, p.operand()})
	case p.keyword("IN"):
		p.expect("(")
		c := oneOf{v: left}
		for {
			c.list = append(c.list, p.operand())
			if !p.accept(",") {
				break
			}
		}
		p.expect(")")
		return c
	}
	t := p.peek()
	if t.kind != signToken || !slices.Contains([]string{"=", "<>", "<", "<=", ">", ">="}, t.text) {
		p.fail()
		return nil
	}
	p.next()
	c := comparison{t.text, left, p.operand()}
	if t.text != "=" && t.text != "<>" {
		for _, o := range []operand{c.left, c.right} {
			if k, ok := o.(constant); ok {
				if _, ordered := compare(k.v, k.v); !ordered {
					p.failf(invalid("Invalid %s: Incorrect operand type for operator or function; operator: %s, operand type: %s", p.what, t.text, typeOf(k.v)))
				}
			}
		}
	}
	return c
}

// checkBounds refuses bounds that no value can be between.
func (p *parser) checkBounds(c between) condition {
	low, ok1 := c.low.(constant)
	high, ok2 := c.high.(constant)
	if ok1 && ok2 && p.err == nil {
		order, ok := compare(low.v, high.v)
		switch {
		case !ok:
			p.failf(invalid("Invalid %s: The BETWEEN operator requires same data type for lower and upper bounds; lower bound operand: AttributeValue: {%s}, upper bound operand: AttributeValue: {%s}", p.what, typeOf(low.v), typeOf(high.v)))
		case order > 0:
			p.failf(invalid("Invalid %s: The BETWEEN operator requires upper bound to be greater than or equal to lower bound", p.what))
		}
	}
	return c
}

func (p *parser) operand() operand {
	switch {
	case p.peek().kind == valueToken:
		return constant{p.value()}
	case p.atFunction():
		t := p.next()
		if t.text != "size" {
			p.failf(invalid("Invalid %s: The function is not allowed to be used this way in an expression; function: %s", p.what, t.text))
			return nil
		}
		p.expect("(")
		o := sizeOf{pathOperand{p.path()}}
		p.expect(")")
		return o
	}
	return pathOperand{p.path()}
}

// function reads a function that is a condition by itself.
func (p *parser) function() condition {
	name := p.next().text
	p.expect("(")
	var c condition
	switch name {
	case "attribute_exists":
		c = exists{p.path()}
	case "attribute_not_exists":
		c = not{exists{p.path()}}
	case "attribute_type":
		c = p.attributeType()
	case "begins_with":
		v := p.operand()
		p.expect(",")
		c = beginsWith{v, p.operand()}
	case "contains":
		v := p.operand()
		p.expect(",")
		c = contains{v, p.operand()}
	case "if_not_exists", "list_append":
		p.failf(invalid("Invalid %s: The function is not allowed in a condition expression; function: %s", p.what, name))
	default:
		p.failf(invalid("Invalid %s: Invalid function name; function: %s", p.what, name))
	}
	p.expect(")")
	return c
}

func (p *parser) attributeType() condition {
	c := hasType{p: pathOperand{p.path()}}
	p.expect(",")
	if p.peek().kind != valueToken {
		p.fail()
		return nil
	}
	name, ok := p.value().(*types.AttributeValueMemberS)
	if p.err == nil && (!ok || !slices.Contains([]string{"S", "N", "B", "BOOL", "NULL", "M", "L", "SS", "NS", "BS"}, name.Value)) {
		p.failf(invalid("Invalid %s: Invalid attribute type name found; type: %v", p.what, name))
	}
	if p.err == nil {
		c.name = name.Value
	}
	return c
}
