package dynamodb

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"pcluster/internal/sandbox/wire"
)

// A value is what an attribute holds. The SDK's types have no methods that we
// could use, so what can be done with values is functions over them.
type value = types.AttributeValue

// An item is a set of attributes. Items in tables are never changed in place.
type item map[string]value

func invalid(format string, args ...any) error {
	return wire.Errorf("ValidationException", format, args...)
}

// typeOf returns the name that DynamoDB has for the type of a value.
func typeOf(v value) string {
	switch v.(type) {
	case *types.AttributeValueMemberS:
		return "S"
	case *types.AttributeValueMemberN:
		return "N"
	case *types.AttributeValueMemberB:
		return "B"
	case *types.AttributeValueMemberBOOL:
		return "BOOL"
	case *types.AttributeValueMemberNULL:
		return "NULL"
	case *types.AttributeValueMemberM:
		return "M"
	case *types.AttributeValueMemberL:
		return "L"
	case *types.AttributeValueMemberSS:
		return "SS"
	case *types.AttributeValueMemberNS:
		return "NS"
	case *types.AttributeValueMemberBS:
		return "BS"
	}
	return ""
}

// canonical returns a copy of v with numbers and sets in the form in which they
// compare equal, or why DynamoDB would not store v.
func canonical(v value) (value, error) {
	switch v := v.(type) {
	case *types.AttributeValueMemberN:
		n, err := parseNumber(v.Value)
		if err != nil {
			return nil, err
		}
		return &types.AttributeValueMemberN{Value: n.String()}, nil
	case *types.AttributeValueMemberB:
		return &types.AttributeValueMemberB{Value: slices.Clone(v.Value)}, nil
	case *types.AttributeValueMemberM:
		m := make(map[string]value, len(v.Value))
		for k, e := range v.Value {
			c, err := canonical(e)
			if err != nil {
				return nil, err
			}
			m[k] = c
		}
		return &types.AttributeValueMemberM{Value: m}, nil
	case *types.AttributeValueMemberL:
		l := make([]value, len(v.Value))
		for i, e := range v.Value {
			c, err := canonical(e)
			if err != nil {
				return nil, err
			}
			l[i] = c
		}
		return &types.AttributeValueMemberL{Value: l}, nil
	case *types.AttributeValueMemberSS:
		set, err := canonicalSet(v.Value, "string", func(s string) (string, error) { return s, nil }, strings.Compare)
		return &types.AttributeValueMemberSS{Value: set}, err
	case *types.AttributeValueMemberNS:
		set, err := canonicalSet(v.Value, "number", func(s string) (string, error) {
			n, err := parseNumber(s)
			return n.String(), err
		}, compareNumbers)
		return &types.AttributeValueMemberNS{Value: set}, err
	case *types.AttributeValueMemberBS:
		set, err := canonicalSet(v.Value, "binary", func(b []byte) ([]byte, error) { return slices.Clone(b), nil }, bytes.Compare)
		return &types.AttributeValueMemberBS{Value: set}, err
	case nil:
		return nil, invalid("Supplied AttributeValue is empty, must contain exactly one of the supported datatypes")
	}
	return v, nil
}

func canonicalSet[T any](in []T, kind string, canon func(T) (T, error), compare func(a, b T) int) ([]T, error) {
	if len(in) == 0 {
		return nil, invalid("One or more parameter values were invalid: An %s set  may not be empty", kind)
	}
	out := make([]T, len(in))
	for i, e := range in {
		c, err := canon(e)
		if err != nil {
			return nil, err
		}
		out[i] = c
	}
	slices.SortFunc(out, compare)
	if unique := slices.CompactFunc(slices.Clone(out), func(a, b T) bool { return compare(a, b) == 0 }); len(unique) != len(out) {
		return nil, invalid("One or more parameter values were invalid: Input collection %v contains duplicates.", in)
	}
	return out, nil
}

// compareNumbers orders canonical numbers.
func compareNumbers(a, b string) int {
	x, _ := parseNumber(a)
	y, _ := parseNumber(b)
	return x.cmp(y)
}

// compare orders two values of one type that has an order; ok is false for others.
func compare(a, b value) (order int, ok bool) {
	switch a := a.(type) {
	case *types.AttributeValueMemberS:
		if b, ok := b.(*types.AttributeValueMemberS); ok {
			return cmp.Compare(a.Value, b.Value), true
		}
	case *types.AttributeValueMemberN:
		if b, ok := b.(*types.AttributeValueMemberN); ok {
			return compareNumbers(a.Value, b.Value), true
		}
	case *types.AttributeValueMemberB:
		if b, ok := b.(*types.AttributeValueMemberB); ok {
			return bytes.Compare(a.Value, b.Value), true
		}
	}
	return 0, false
}

// equal compares canonical values.
func equal(a, b value) bool {
	if order, ok := compare(a, b); ok {
		return order == 0
	}
	switch a := a.(type) {
	case *types.AttributeValueMemberBOOL:
		b, ok := b.(*types.AttributeValueMemberBOOL)
		return ok && a.Value == b.Value
	case *types.AttributeValueMemberNULL:
		_, ok := b.(*types.AttributeValueMemberNULL)
		return ok
	case *types.AttributeValueMemberM:
		b, ok := b.(*types.AttributeValueMemberM)
		return ok && maps.EqualFunc(a.Value, b.Value, equal)
	case *types.AttributeValueMemberL:
		b, ok := b.(*types.AttributeValueMemberL)
		return ok && slices.EqualFunc(a.Value, b.Value, equal)
	case *types.AttributeValueMemberSS:
		b, ok := b.(*types.AttributeValueMemberSS)
		return ok && slices.Equal(a.Value, b.Value)
	case *types.AttributeValueMemberNS:
		b, ok := b.(*types.AttributeValueMemberNS)
		return ok && slices.Equal(a.Value, b.Value)
	case *types.AttributeValueMemberBS:
		b, ok := b.(*types.AttributeValueMemberBS)
		return ok && slices.EqualFunc(a.Value, b.Value, bytes.Equal)
	}
	return false
}

// elements returns the members of a set as values, nil for what is no set.
func elements(v value) []value {
	var out []value
	switch v := v.(type) {
	case *types.AttributeValueMemberSS:
		for _, s := range v.Value {
			out = append(out, &types.AttributeValueMemberS{Value: s})
		}
	case *types.AttributeValueMemberNS:
		for _, s := range v.Value {
			out = append(out, &types.AttributeValueMemberN{Value: s})
		}
	case *types.AttributeValueMemberBS:
		for _, b := range v.Value {
			out = append(out, &types.AttributeValueMemberB{Value: b})
		}
	}
	return out
}

// setOf returns the set of the given kind (SS, NS or BS) with the given members,
// nil when there are none.
func setOf(kind string, members []value) value {
	if len(members) == 0 {
		return nil
	}
	slices.SortFunc(members, func(a, b value) int {
		order, _ := compare(a, b)
		return order
	})
	switch kind {
	case "SS":
		set := &types.AttributeValueMemberSS{}
		for _, m := range members {
			set.Value = append(set.Value, m.(*types.AttributeValueMemberS).Value)
		}
		return set
	case "NS":
		set := &types.AttributeValueMemberNS{}
		for _, m := range members {
			set.Value = append(set.Value, m.(*types.AttributeValueMemberN).Value)
		}
		return set
	}
	set := &types.AttributeValueMemberBS{}
	for _, m := range members {
		set.Value = append(set.Value, m.(*types.AttributeValueMemberB).Value)
	}
	return set
}

// lengthOf is the function size() of expressions.
func lengthOf(v value) (int, bool) {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return utf8.RuneCountInString(v.Value), true
	case *types.AttributeValueMemberB:
		return len(v.Value), true
	case *types.AttributeValueMemberM:
		return len(v.Value), true
	case *types.AttributeValueMemberL:
		return len(v.Value), true
	}
	if set := elements(v); set != nil {
		return len(set), true
	}
	return 0, false
}

// bytesOf is about what DynamoDB counts for a value.
func bytesOf(v value) int {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return len(v.Value)
	case *types.AttributeValueMemberN:
		return len(v.Value)/2 + 1
	case *types.AttributeValueMemberB:
		return len(v.Value)
	case *types.AttributeValueMemberM:
		n := 3
		for k, e := range v.Value {
			n += 1 + len(k) + bytesOf(e)
		}
		return n
	case *types.AttributeValueMemberL:
		n := 3
		for _, e := range v.Value {
			n += 1 + bytesOf(e)
		}
		return n
	}
	n := 1
	for _, e := range elements(v) {
		n += bytesOf(e)
	}
	return n
}

func (i item) bytes() int {
	n := 0
	for k, v := range i {
		n += len(k) + bytesOf(v)
	}
	return n
}

// canonicalItem returns a copy of attributes in canonical form.
func canonicalItem(in map[string]value) (item, error) {
	out := make(item, len(in))
	for k, v := range in {
		c, err := canonical(v)
		if err != nil {
			return nil, err
		}
		out[k] = c
	}
	return out, nil
}

// stored is a value as JSON has it: DynamoDB's own notation. Exactly one field is
// set.
type stored struct {
	S    *string            `json:",omitempty"`
	N    *string            `json:",omitempty"`
	B    *[]byte            `json:",omitempty"`
	BOOL *bool              `json:",omitempty"`
	NULL *bool              `json:",omitempty"`
	M    *map[string]stored `json:",omitempty"`
	L    *[]stored          `json:",omitempty"`
	SS   []string           `json:",omitempty"`
	NS   []string           `json:",omitempty"`
	BS   [][]byte           `json:",omitempty"`
}

func toStored(v value) stored {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return stored{S: &v.Value}
	case *types.AttributeValueMemberN:
		return stored{N: &v.Value}
	case *types.AttributeValueMemberB:
		return stored{B: &v.Value}
	case *types.AttributeValueMemberBOOL:
		return stored{BOOL: &v.Value}
	case *types.AttributeValueMemberNULL:
		return stored{NULL: &v.Value}
	case *types.AttributeValueMemberM:
		m := make(map[string]stored, len(v.Value))
		for k, e := range v.Value {
			m[k] = toStored(e)
		}
		return stored{M: &m}
	case *types.AttributeValueMemberL:
		l := make([]stored, len(v.Value))
		for i, e := range v.Value {
			l[i] = toStored(e)
		}
		return stored{L: &l}
	case *types.AttributeValueMemberSS:
		return stored{SS: v.Value}
	case *types.AttributeValueMemberNS:
		return stored{NS: v.Value}
	case *types.AttributeValueMemberBS:
		return stored{BS: v.Value}
	}
	return stored{}
}

func (s stored) value() (value, error) {
	switch {
	case s.S != nil:
		return &types.AttributeValueMemberS{Value: *s.S}, nil
	case s.N != nil:
		return &types.AttributeValueMemberN{Value: *s.N}, nil
	case s.B != nil:
		return &types.AttributeValueMemberB{Value: *s.B}, nil
	case s.BOOL != nil:
		return &types.AttributeValueMemberBOOL{Value: *s.BOOL}, nil
	case s.NULL != nil:
		return &types.AttributeValueMemberNULL{Value: *s.NULL}, nil
	case s.M != nil:
		m := make(map[string]value, len(*s.M))
		for k, e := range *s.M {
			v, err := e.value()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", k, err)
			}
			m[k] = v
		}
		return &types.AttributeValueMemberM{Value: m}, nil
	case s.L != nil:
		l := make([]value, len(*s.L))
		for i, e := range *s.L {
			v, err := e.value()
			if err != nil {
				return nil, fmt.Errorf("[%d]: %w", i, err)
			}
			l[i] = v
		}
		return &types.AttributeValueMemberL{Value: l}, nil
	case s.SS != nil:
		return &types.AttributeValueMemberSS{Value: s.SS}, nil
	case s.NS != nil:
		return &types.AttributeValueMemberNS{Value: s.NS}, nil
	case s.BS != nil:
		return &types.AttributeValueMemberBS{Value: s.BS}, nil
	}
	return nil, errors.New("value without a type")
}

// MarshalJSON writes an item in DynamoDB's notation.
func (i item) MarshalJSON() ([]byte, error) {
	m := make(map[string]stored, len(i))
	for k, v := range i {
		m[k] = toStored(v)
	}
	return json.Marshal(m)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (i *item) UnmarshalJSON(data []byte) error {
	var m map[string]stored
	if err := json.Unmarshal(data, &m); err != nil {
		return err
	}
	*i = make(item, len(m))
	for k, s := range m {
		v, err := s.value()
		if err != nil {
			return fmt.Errorf("attribute %s: %w", k, err)
		}
		(*i)[k] = v
	}
	return nil
}
