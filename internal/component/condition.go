package component

import (
	"maps"
	"math/big"
	"regexp"
	"slices"
	"strings"

	"pcluster/internal/config"
)

// Facts is what conditions ask of the machine.
type Facts interface {
	BinaryExists(name string) bool
	FileExists(path string) bool
	FolderExists(path string) bool
	// FileHash returns the hash of a file in hexadecimal digits; the algorithm is
	// MD5, SHA1, SHA256 or SHA512.
	FileHash(algorithm, path string) (string, error)
}

// An arity is how an operator takes its operands.
type arity int

const (
	single   arity = iota + 1 // operator: operand
	compared                  // operator: operand, value: value
	hashed                    // operator: hash, path: path
	logical                   // operator: list of conditions
	negated                   // operator: condition
)

var operators = map[string]arity{
	"stringIsEmpty": single, "stringIsWhitespace": single, "binaryExists": single, "fileExists": single, "folderExists": single,
	"stringEquals": compared, "stringLessThan": compared, "stringLessThanEquals": compared, "stringGreaterThan": compared, "stringGreaterThanEquals": compared,
	"patternMatches": compared,
	"numberEquals":   compared, "numberLessThan": compared, "numberLessThanEquals": compared, "numberGreaterThan": compared, "numberGreaterThanEquals": compared,
	"fileMD5Equals": hashed, "fileSHA1Equals": hashed, "fileSHA256Equals": hashed, "fileSHA512Equals": hashed,
	"and": logical, "or": logical, "not": negated,
}

// eval says whether the condition holds. Expressions in it are expanded already.
func (c *Condition) eval(f Facts) (bool, error) {
	switch operators[c.Operator] {
	case logical:
		for i := range c.Parts {
			ok, err := c.Parts[i].eval(f)
			if err != nil || ok == (c.Operator == "or") {
				return ok, err
			}
		}
		return c.Operator == "and", nil
	case negated:
		ok, err := c.Parts[0].eval(f)
		return !ok, err
	case hashed:
		algorithm := strings.TrimSuffix(strings.TrimPrefix(c.Operator, "file"), "Equals")
		sum, err := f.FileHash(algorithm, c.Value)
		return err == nil && strings.EqualFold(sum, c.Operand), err
	}
	if base, ok := strings.CutPrefix(c.Operator, "number"); ok {
		a, known := numeric(c.Value)
		b, alsoKnown := numeric(c.Operand)
		return known && alsoKnown && ordered(base, a.Cmp(b)), nil
	}
	switch c.Operator {
	case "stringIsEmpty":
		return c.Operand == "", nil
	case "stringIsWhitespace":
		return c.Operand != "" && strings.TrimSpace(c.Operand) == "", nil
	case "binaryExists":
		return f.BinaryExists(c.Operand), nil
	case "fileExists":
		return f.FileExists(c.Operand), nil
	case "folderExists":
		return f.FolderExists(c.Operand), nil
	case "stringEquals":
		return c.Operand == c.Value, nil
	case "patternMatches": // AWS's documentation shows that case does not count
		re, err := regexp.Compile("(?i)" + c.Operand)
		return err == nil && re.MatchString(c.Value), err
	}
	return ordered(strings.TrimPrefix(c.Operator, "string"), strings.Compare(strings.ToLower(c.Value), strings.ToLower(c.Operand))), nil
}

// ordered says whether a relation holds between a value and an operand.
func ordered(relation string, cmp int) bool {
	switch relation {
	case "Equals":
		return cmp == 0
	case "LessThan":
		return cmp < 0
	case "LessThanEquals":
		return cmp <= 0
	case "GreaterThan":
		return cmp > 0
	}
	return cmp >= 0
}

var numberText = regexp.MustCompile(`^[-+]?([0-9]+[.])?[0-9]+([eE][-+]?[0-9]{1,3})?$`)

func numeric(s string) (*big.Float, bool) {
	if !numberText.MatchString(s) {
		return nil, false
	}
	f, _, err := big.ParseFloat(s, 10, 256, big.ToNearestEven)
	return f, err == nil
}

// expanded returns the condition with its expressions replaced.
func (c *Condition) expanded(expand func(string) (string, error)) (out Condition, err error) {
	out = Condition{Operator: c.Operator}
	if out.Operand, err = expand(c.Operand); err != nil {
		return out, err
	}
	if out.Value, err = expand(c.Value); err != nil {
		return out, err
	}
	for i := range c.Parts {
		p, err := c.Parts[i].expanded(expand)
		if err != nil {
			return out, err
		}
		out.Parts = append(out.Parts, p)
	}
	return out, nil
}

// readCondition reads a mapping with one operator. The keys in also may stand
// beside it.
func (p *parser) readCondition(n *config.Node, path string, also ...string) (c Condition) {
	if n.Kind != config.Mapping {
		p.errorf(n.Pos, path, "", "a condition has to be a mapping with an operator, but it is %s", n.Kind)
		return c
	}
	var operator *config.Entry
	foreign := false
	for i := range n.Entries {
		e := &n.Entries[i]
		switch {
		case e.Key == "value", e.Key == "path", slices.Contains(also, e.Key):
		case operators[e.Key] == 0:
			p.unknown(e.KeyPos, path, "operator", e.Key, slices.Sorted(maps.Keys(operators)))
			foreign = true
		case operator != nil:
			p.errorf(e.KeyPos, path, "combine conditions with and, or", "a condition has one operator, but here are %s and %s", operator.Key, e.Key)
		default:
			operator = e
		}
	}
	if operator == nil {
		if !foreign {
			p.errorf(n.Pos, path, "", "the condition has no operator")
		}
		return c
	}
	c.Operator = operator.Key
	path += "." + c.Operator
	second := map[arity]string{compared: "value", hashed: "path"}[operators[c.Operator]]
	for _, e := range n.Entries {
		if (e.Key == "value" || e.Key == "path") && e.Key != second {
			p.errorf(e.KeyPos, path, "", "%s takes no %s", c.Operator, e.Key)
		}
	}
	switch operators[c.Operator] {
	case logical:
		if operator.Value.Kind != config.Sequence || len(operator.Value.Items) == 0 {
			p.errorf(operator.Value.Pos, path, "", "%s takes a list of conditions", c.Operator)
			return c
		}
		for _, item := range operator.Value.Items {
			c.Parts = append(c.Parts, p.readCondition(item, path))
		}
		return c
	case negated:
		inner := operator.Value
		if inner.Kind == config.Sequence && len(inner.Items) == 1 {
			inner = inner.Items[0]
		}
		c.Parts = []Condition{p.readCondition(inner, path)}
		return c
	}
	c.Operand = p.scalar(operator.Value, path)
	if c.Operator == "patternMatches" {
		if _, err := regexp.Compile(c.Operand); err != nil {
			p.errorf(operator.Value.Pos, path, "", "%q is not a regular expression: %v", c.Operand, err)
		}
	}
	p.numeral(&c, operator.Value, c.Operand, path)
	if second != "" {
		v := n.Get(second)
		if v == nil {
			p.errorf(n.Pos, path, "", "%s needs a %s to compare with", c.Operator, second)
			return c
		}
		c.Value = p.scalar(v, path)
		p.numeral(&c, v, c.Value, path)
	}
	return c
}

// numeral checks what numbers are compared with: no comparison with anything else holds.
func (p *parser) numeral(c *Condition, n *config.Node, text, path string) {
	if !strings.HasPrefix(c.Operator, "number") || n.Kind >= config.Mapping || strings.Contains(text, "{{") {
		return
	}
	if _, ok := numeric(text); !ok {
		p.errorf(n.Pos, path, "", "%s compares numbers, and %q is none", c.Operator, text)
	}
}
