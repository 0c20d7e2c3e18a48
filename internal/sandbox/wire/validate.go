package wire

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"pcluster/internal/sandbox/wire/model"
)

// Check returns what AWS's model of an operation has against its input, a struct of the
// SDK's or a pointer to one: members that are missing, values that it does not allow.
func Check(m *model.Model, operation string, input any) error {
	op, ok := m.Operations[operation]
	if !ok {
		return fmt.Errorf("%s has no operation %s", m.Name, operation)
	}
	if op.Input == "" {
		return nil
	}
	pl, err := newPlanner(m, nil).plan(op.Input, reflect.TypeOf(input))
	if err != nil {
		return err
	}
	c := check{}
	c.value(pl, reflect.ValueOf(input))
	var all []error
	for _, v := range c.found {
		all = append(all, fmt.Errorf("%s.%s: %s: %s", m.Name, operation, strings.Join(v.path, "."), v.demand))
	}
	return errors.Join(all...)
}

// A violation is one way in which an input breaks the model's rules.
type violation struct {
	path    []string
	missing bool
	value   string
	demand  string // "Member must …"
}

// check collects violations. AWS reports all of them at once.
type check struct {
	found []violation
	path  []string
}

const maxViolations = 20

func (c *check) add(v violation) {
	if len(c.found) < maxViolations {
		v.path = append([]string(nil), c.path...)
		c.found = append(c.found, v)
	}
}

func (c *check) in(name string, fn func()) {
	c.path = append(c.path, name)
	fn()
	c.path = c.path[:len(c.path)-1]
}

func (c *check) value(pl *plan, v reflect.Value) {
	v, ok := deref(v)
	if !ok {
		return
	}
	switch pl.kind {
	case kindStruct:
		for i := range pl.fields {
			f := &pl.fields[i]
			fv, ok := f.get(v)
			if !ok && !f.required || ok && !pl.fields[i].plan.checks() {
				continue
			}
			c.path = append(c.path, f.name)
			if ok {
				c.value(f.plan, fv)
			} else {
				c.add(violation{missing: true, demand: "Member must not be null"})
			}
			c.path = c.path[:len(c.path)-1]
		}
	case kindUnion:
		if f, fv, ok := pl.unionValue(v); ok {
			c.in(f.name, func() { c.value(f.plan, fv) })
		}
	case kindList:
		c.length(pl, v.Len(), func() string { return "'" + fmt.Sprint(v.Interface()) + "'" })
		if pl.elem.checks() {
			for i := range v.Len() {
				c.in(strconv.Itoa(i+1), func() { c.in("member", func() { c.value(pl.elem, v.Index(i)) }) })
			}
		}
	case kindMap:
		c.length(pl, v.Len(), func() string { return "'" + fmt.Sprint(v.Interface()) + "'" })
		if pl.elem.checks() {
			for _, key := range sortedKeys(v) {
				c.in(key, func() { c.in("member", func() { c.value(pl.elem, pl.entryOf(v, key)) }) })
			}
		}
	case kindString:
		c.text(pl, v.String())
	case kindBlob:
		c.length(pl, v.Len(), func() string { return "of " + strconv.Itoa(v.Len()) + " bytes" })
	case kindInt:
		c.number(pl, float64(v.Int()), func() string { return strconv.FormatInt(v.Int(), 10) })
	case kindFloat:
		c.number(pl, v.Float(), func() string { return strconv.FormatFloat(v.Float(), 'g', -1, 64) })
	}
}

// checks reports whether a value of the plan can break any rule at all.
func (pl *plan) checks() bool {
	switch pl.kind {
	case kindStruct, kindUnion, kindList, kindMap:
		return true
	}
	r := &pl.rule
	return r.enum != nil || r.min != nil || r.max != nil || r.pattern != nil
}

func (c *check) text(pl *plan, s string) {
	r := &pl.rule
	shown := func() string {
		if pl.shape.Sensitive {
			return "'***'"
		}
		return "'" + s + "'"
	}
	c.length(pl, utf8.RuneCountInString(s), shown)
	if r.enum != nil && !r.enum[s] {
		c.add(violation{value: shown(), demand: "Member must satisfy enum value set: [" + strings.Join(pl.shape.Enum, ", ") + "]"})
	}
	if r.pattern != nil {
		if re := r.pattern(); re != nil && !re.MatchString(s) {
			c.add(violation{value: shown(), demand: "Member must satisfy regular expression pattern: " + pl.shape.Pattern})
		}
	}
}

func (c *check) length(pl *plan, n int, shown func() string) {
	if m := pl.rule.min; m != nil && float64(n) < *m {
		c.add(violation{value: shown(), demand: "Member must have length greater than or equal to " + plainNumber(*m)})
	}
	if m := pl.rule.max; m != nil && float64(n) > *m {
		c.add(violation{value: shown(), demand: "Member must have length less than or equal to " + plainNumber(*m)})
	}
}

func (c *check) number(pl *plan, n float64, shown func() string) {
	if m := pl.rule.min; m != nil && n < *m {
		c.add(violation{value: "'" + shown() + "'", demand: "Member must have value greater than or equal to " + plainNumber(*m)})
	}
	if m := pl.rule.max; m != nil && n > *m {
		c.add(violation{value: "'" + shown() + "'", demand: "Member must have value less than or equal to " + plainNumber(*m)})
	}
}

func plainNumber(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// checkInput returns the error that AWS answers when the input breaks the rules
// of the model, or nil.
func (x *exchange) checkInput(pl *plan, v reflect.Value) error {
	c := check{}
	c.value(pl, v)
	if len(c.found) == 0 {
		return nil
	}
	if x.ec2() {
		return ec2Violation(c.found[0])
	}
	var b strings.Builder
	if n := len(c.found); n == 1 {
		b.WriteString("1 validation error detected: ")
	} else {
		fmt.Fprintf(&b, "%d validation errors detected: ", n)
	}
	for i, f := range c.found {
		if i > 0 {
			b.WriteString("; ")
		}
		at := make([]string, len(f.path))
		for j, p := range f.path {
			at[j] = lowerFirst(p)
		}
		fmt.Fprintf(&b, "Value %s at '%s' failed to satisfy constraint: %s", orElse(f.value, "null"), strings.Join(at, "."), f.demand)
	}
	return &Error{Code: x.violationCode(), Message: b.String()}
}

// ec2Violation is EC2's way: the first mistake, with the parameter's name.
func ec2Violation(f violation) error {
	var at []string
	for _, p := range f.path {
		if p != "member" {
			at = append(at, upperFirst(p))
		}
	}
	path := strings.Join(at, ".")
	if f.missing {
		return Errorf("MissingParameter", "The request must contain the parameter %s", path)
	}
	return Errorf("InvalidParameterValue", "Value (%s) for parameter %s is invalid. %s", strings.Trim(f.value, "'"), path,
		strings.Replace(f.demand, "Member must", "The value must", 1))
}
