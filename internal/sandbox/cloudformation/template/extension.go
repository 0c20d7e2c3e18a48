package template

import (
	"maps"
	"slices"
	"strings"
)

// extensions is the transform that adds functions to the language. It is the one that
// the local region has.
const extensions = "AWS::LanguageExtensions"

// readTransform takes the names of a template's transforms.
func (t *Template) readTransform(v any) error {
	names, isList := v.([]any)
	if !isList {
		names = []any{v}
	}
	for _, name := range names {
		if name != extensions {
			return Error("Transforms are not supported in the local region, except " + extensions)
		}
		t.Extended = true
	}
	return nil
}

// needsExtensions refuses a function that comes with the transform to templates without it.
func (s *Scope) needsExtensions(function string) error {
	if s.Template != nil && !s.Template.Extended {
		return formatErrorf("Unrecognized function %s: it needs the transform %s", function, extensions)
	}
	return nil
}

const loopPrefix = "Fn::ForEach::"

// unroll replaces each loop in v by what it makes for every one of its values.
func unroll(v any) (any, error) {
	switch v := v.(type) {
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			e, err := unroll(e)
			if err != nil {
				return nil, err
			}
			out[i] = e
		}
		return out, nil
	case map[string]any:
		out := make(map[string]any, len(v))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			made := map[string]any{key: v[key]}
			if name, ok := strings.CutPrefix(key, loopPrefix); ok {
				var err error
				if made, err = loop(name, v[key]); err != nil {
					return nil, err
				}
			}
			for _, k := range slices.Sorted(maps.Keys(made)) {
				if _, twice := out[k]; twice {
					return nil, formatErrorf("Fn::ForEach makes %s twice", k)
				}
				e, err := unroll(made[k])
				if err != nil {
					return nil, err
				}
				out[k] = e
			}
		}
		return out, nil
	}
	return v, nil
}

// loop makes the entries of one loop: its identifier, its values and what to repeat.
func loop(name string, arg any) (map[string]any, error) {
	args, _ := arg.([]any)
	if len(args) != 3 {
		return nil, formatErrorf("Fn::ForEach::%s requires an identifier, a list of values and an object to repeat", name)
	}
	identifier, ok1 := args[0].(string)
	values, ok2 := args[1].([]any)
	body, ok3 := args[2].(map[string]any)
	switch {
	case !ok1 || identifier == "":
		return nil, formatErrorf("The identifier of Fn::ForEach::%s must be a string", name)
	case !ok2:
		return nil, formatErrorf("The values of Fn::ForEach::%s must be a list in the template: the local region takes none from parameters", name)
	case !ok3:
		return nil, formatErrorf("What Fn::ForEach::%s repeats must be an object", name)
	}
	out := map[string]any{}
	for _, v := range values {
		value, ok := v.(string)
		if !ok {
			return nil, formatErrorf("The values of Fn::ForEach::%s must be strings", name)
		}
		for key, e := range with(body, identifier, value) {
			if _, twice := out[key]; twice {
				return nil, formatErrorf("Fn::ForEach::%s makes %s twice: its keys need ${%s}", name, key, identifier)
			}
			out[key] = e
		}
	}
	return out, nil
}

// with puts a loop's value wherever its identifier stands, in keys too. In &{} the value
// goes without what logical IDs may not have.
func with(body map[string]any, identifier, value string) map[string]any {
	plain := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' {
			return r
		}
		return -1
	}, value)
	texts := strings.NewReplacer("${"+identifier+"}", value, "&{"+identifier+"}", plain)
	var fill func(any) any
	fill = func(v any) any {
		switch v := v.(type) {
		case string:
			return texts.Replace(v)
		case []any:
			out := make([]any, len(v))
			for i, e := range v {
				out[i] = fill(e)
			}
			return out
		case map[string]any:
			if len(v) == 1 && v["Ref"] == identifier {
				return value
			}
			out := make(map[string]any, len(v))
			for k, e := range v {
				out[texts.Replace(k)] = fill(e)
			}
			return out
		}
		return v
	}
	return fill(body).(map[string]any)
}
