package policy

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A test compares one value of a request with one of a policy.
type test func(have, want string) bool

// operators are those of "IAM JSON policy elements: Condition operators".
var operators = map[string]test{
	"stringequals":             func(have, want string) bool { return have == want },
	"stringequalsignorecase":   strings.EqualFold,
	"stringlike":               func(have, want string) bool { return Like(want, have) },
	"arnequals":                likeARN,
	"arnlike":                  likeARN,
	"numericequals":            numbers(func(a, b float64) bool { return a == b }),
	"numericlessthan":          numbers(func(a, b float64) bool { return a < b }),
	"numericlessthanequals":    numbers(func(a, b float64) bool { return a <= b }),
	"numericgreaterthan":       numbers(func(a, b float64) bool { return a > b }),
	"numericgreaterthanequals": numbers(func(a, b float64) bool { return a >= b }),
	"dateequals":               dates(func(a, b time.Time) bool { return a.Equal(b) }),
	"datelessthan":             dates(time.Time.Before),
	"datelessthanequals":       dates(func(a, b time.Time) bool { return !a.After(b) }),
	"dategreaterthan":          dates(time.Time.After),
	"dategreaterthanequals":    dates(func(a, b time.Time) bool { return !a.Before(b) }),
	"bool":                     strings.EqualFold,
	"binaryequals":             func(have, want string) bool { return have == want },
	"ipaddress":                within,
}

// negated operators hold where their opposite does not, also where the request
// lacks the key.
var negated = map[string]string{
	"stringnotequals": "stringequals", "stringnotequalsignorecase": "stringequalsignorecase", "stringnotlike": "stringlike",
	"arnnotequals": "arnequals", "arnnotlike": "arnlike", "numericnotequals": "numericequals", "datenotequals": "dateequals",
	"notipaddress": "ipaddress",
}

// An operator is a test with what its name says beside it.
type operator struct {
	test     test
	negated  bool
	null     bool
	ifExists bool
	forAll   bool // ForAllValues: every value of the request has to pass
	forAny   bool // ForAnyValue
}

func lookupOperator(name string) (operator, bool) {
	n := strings.ToLower(name)
	var o operator
	if rest, ok := strings.CutPrefix(n, "forallvalues:"); ok {
		n, o.forAll = rest, true
	} else if rest, ok := strings.CutPrefix(n, "foranyvalue:"); ok {
		n, o.forAny = rest, true
	}
	if n == "null" {
		o.null = true
		return o, !o.forAll && !o.forAny
	}
	if rest, ok := strings.CutSuffix(n, "ifexists"); ok {
		n, o.ifExists = rest, true
	}
	if opposite, ok := negated[n]; ok {
		n, o.negated = opposite, true
	}
	o.test = operators[n]
	return o, o.test != nil
}

func (c Condition) holds(r Request) bool {
	o, ok := lookupOperator(c.Operator)
	if !ok {
		return false
	}
	have, exists := r.Context[strings.ToLower(c.Key)]
	if o.null {
		return slices.ContainsFunc(c.Values, func(v string) bool { return strings.EqualFold(v, "true") == !exists })
	}
	passes := func(value string) bool {
		found := slices.ContainsFunc(c.Values, func(want string) bool { return o.test(value, substitute(want, r)) })
		return found != o.negated
	}
	switch {
	case !exists && o.ifExists, len(have) == 0 && o.forAll:
		return true
	case !exists:
		return o.negated && !o.forAny
	case o.forAny:
		return slices.ContainsFunc(have, passes)
	default: // also without a prefix: a key with one value
		return !slices.ContainsFunc(have, func(v string) bool { return !passes(v) })
	}
}

// likeARN compares part by part, so that a * does not reach over a colon of the
// first five.
func likeARN(have, want string) bool {
	h, w := strings.SplitN(have, ":", 6), strings.SplitN(want, ":", 6)
	if len(h) != 6 || len(w) != 6 {
		return want == "*"
	}
	for i := range h {
		if !Like(w[i], h[i]) {
			return false
		}
	}
	return true
}

func numbers(compare func(a, b float64) bool) test {
	return func(have, want string) bool {
		a, err1 := strconv.ParseFloat(have, 64)
		b, err2 := strconv.ParseFloat(want, 64)
		return err1 == nil && err2 == nil && compare(a, b)
	}
}

func dates(compare func(a, b time.Time) bool) test {
	return func(have, want string) bool {
		a, ok1 := date(have)
		b, ok2 := date(want)
		return ok1 && ok2 && compare(a, b)
	}
}

// date reads the forms that IAM takes: ISO 8601, and seconds since 1970.
func date(text string) (time.Time, bool) {
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil && len(text) > 4 {
		return time.Unix(seconds, 0), true
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04Z07:00", time.DateOnly, "2006-01", "2006"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

func within(have, want string) bool {
	a, err := netip.ParseAddr(have)
	if err != nil {
		return false
	}
	if p, err := netip.ParsePrefix(want); err == nil {
		return p.Contains(a)
	}
	b, err := netip.ParseAddr(want)
	return err == nil && a == b
}
