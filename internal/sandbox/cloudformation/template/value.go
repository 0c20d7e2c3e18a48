package template

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// noValue is what AWS::NoValue evaluates to: the property or list element that
// holds it disappears.
type noValue struct{}

// Text returns v as the string that CloudFormation would make of it, and whether
// v is a scalar at all.
func Text(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	case int:
		return strconv.Itoa(v), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	}
	return "", false
}

// Equal reports whether two values mean the same to CloudFormation: scalars are
// compared as text, and an absent property is a null one.
func Equal(a, b any) bool {
	switch a := a.(type) {
	case nil:
		return b == nil
	case map[string]any:
		bm, ok := b.(map[string]any)
		if !ok {
			return false
		}
		for k, v := range a {
			if !Equal(v, bm[k]) {
				return false
			}
		}
		for k, v := range bm {
			if _, seen := a[k]; !seen && v != nil {
				return false
			}
		}
		return true
	case []any:
		bl, ok := b.([]any)
		if !ok || len(a) != len(bl) {
			return false
		}
		for i := range a {
			if !Equal(a[i], bl[i]) {
				return false
			}
		}
		return true
	}
	as, ok1 := Text(a)
	bs, ok2 := Text(b)
	return ok1 && ok2 && as == bs
}

// Changed returns the names of the members in which two objects differ, sorted.
func Changed(before, after map[string]any) []string {
	names := map[string]bool{}
	for k, v := range before {
		if !Equal(v, after[k]) {
			names[k] = true
		}
	}
	for k, v := range after {
		if !Equal(before[k], v) {
			names[k] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// Strings returns a copy of v in which every scalar is a string, as custom
// resources and nested stacks get their properties.
func Strings(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = Strings(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = Strings(e)
		}
		return out
	case nil:
		return nil
	}
	s, _ := Text(v)
	return s
}

// JSON renders v compactly, with members in order and without the escapes for
// HTML that encoding/json makes.
func JSON(v any) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // cannot fail for trees of values
	return strings.TrimSuffix(b.String(), "\n")
}

// function returns the name and argument if v is a call of an intrinsic
// function: an object whose only member is Ref or Fn::Something.
func function(v map[string]any) (name string, arg any, ok bool) {
	if len(v) != 1 {
		return "", nil, false
	}
	for k, a := range v {
		if k == "Ref" || strings.HasPrefix(k, "Fn::") {
			return k, a, true
		}
	}
	return "", nil, false
}

// An Error is a refusal of a template, in AWS's words. Its text becomes the
// message of a ValidationError.
type Error string

func (e Error) Error() string { return string(e) }

func formatErrorf(format string, args ...any) error {
	return Error("Template format error: " + fmt.Sprintf(format, args...))
}

func errorf(format string, args ...any) error {
	return Error("Template error: " + fmt.Sprintf(format, args...))
}
