package template

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Limits of AWS on templates.
const (
	MaxBody      = 51_200    // bytes of a template in the request
	MaxURL       = 1_000_000 // bytes of a template in S3
	MaxResources = 500
)

// A Template is a parsed template. Expressions in it are not evaluated.
type Template struct {
	Description string
	Metadata    any
	Parameters  map[string]Parameter
	Mappings    map[string]map[string]map[string]any
	Conditions  map[string]any
	Resources   map[string]*Resource
	Outputs     map[string]Output
	Extended    bool // it has the functions of AWS::LanguageExtensions
}

// A Resource is one entry of Resources.
type Resource struct {
	Type                string
	Properties          map[string]any
	Metadata            any
	DependsOn           []string
	Condition           string
	DeletionPolicy      string
	UpdateReplacePolicy string
	CreationPolicy      map[string]any
	UpdatePolicy        map[string]any
}

// An Output is one entry of Outputs. Value and Export are expressions.
type Output struct {
	Description string
	Value       any
	Condition   string
	Export      any // nil if the output is not exported
}

var alphanumeric = regexp.MustCompile(`^[A-Za-z0-9]+$`)

// Parse reads a template. A text that begins with a brace is JSON, any other is
// YAML. The result is well formed, but references are not checked: see
// [Template.Validate].
func Parse(body []byte) (*Template, error) {
	tree, err := parseTree(body)
	if err != nil {
		return nil, err
	}
	root, ok := tree.(map[string]any)
	if !ok {
		return nil, formatErrorf("unsupported structure.")
	}
	return build(root)
}

func parseTree(body []byte) (any, error) {
	trimmed := bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")))
	if len(trimmed) == 0 {
		return nil, formatErrorf("unsupported structure.")
	}
	if trimmed[0] != '{' {
		return parseYAML(body)
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var tree any
	err := dec.Decode(&tree)
	if err == nil {
		if _, more := dec.Token(); !errors.Is(more, io.EOF) {
			err = fmt.Errorf("text after the template")
		}
	}
	if err == nil {
		return tree, nil
	}
	offset := dec.InputOffset()
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		offset = syntax.Offset
	}
	before := body[:min(int(offset), len(body))]
	line := 1 + bytes.Count(before, []byte("\n"))
	column := len(before) - bytes.LastIndexByte(before, '\n') - 1
	return nil, formatErrorf("JSON not well-formed. (line %d, column %d)", line, column)
}

func build(root map[string]any) (*Template, error) {
	t := &Template{
		Parameters: map[string]Parameter{}, Mappings: map[string]map[string]map[string]any{},
		Conditions: map[string]any{}, Resources: map[string]*Resource{}, Outputs: map[string]Output{},
	}
	var unknown []string
	for _, section := range slices.Sorted(maps.Keys(root)) {
		switch section {
		case "AWSTemplateFormatVersion", "Description", "Metadata", "Parameters", "Mappings", "Conditions", "Resources", "Outputs":
		case "Transform":
			if err := t.readTransform(root[section]); err != nil {
				return nil, err
			}
		case "Rules", "Hooks":
			return nil, Error("Template section " + section + " is not supported in the local region")
		default:
			unknown = append(unknown, section)
		}
	}
	if unknown != nil {
		return nil, Error("Invalid template property or properties [" + strings.Join(unknown, ", ") + "]")
	}
	if v, ok := root["AWSTemplateFormatVersion"]; ok && v != nil {
		if text, _ := Text(v); text != "2010-09-09" {
			return nil, formatErrorf("unsupported value for AWSTemplateFormatVersion.")
		}
	}
	if d, ok := root["Description"]; ok && d != nil {
		if t.Description, ok = d.(string); !ok {
			return nil, formatErrorf("'Description' must be a string.")
		}
		if len(t.Description) > 1024 {
			return nil, formatErrorf("'Description' length is greater than 1024.")
		}
	}
	if t.Extended {
		unrolled, err := unroll(root)
		if err != nil {
			return nil, err
		}
		root = unrolled.(map[string]any)
	}
	t.Metadata = root["Metadata"]
	for _, read := range []func(map[string]any) error{t.readParameters, t.readMappings, t.readConditions, t.readResources, t.readOutputs} {
		if err := read(root); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// section returns the named section, whose members must be objects if objects is set.
func section(root map[string]any, name string, objects bool) (map[string]any, error) {
	v := root[name]
	if v == nil {
		return nil, nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, formatErrorf("%s must be an object.", name)
	}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if _, ok := m[k].(map[string]any); !ok && objects {
			return nil, formatErrorf("Any %s member must be an object.", name)
		}
	}
	return m, nil
}

func (t *Template) readMappings(root map[string]any) error {
	all, err := section(root, "Mappings", true)
	if err != nil {
		return err
	}
	for name, v := range all {
		top := map[string]map[string]any{}
		for key, second := range v.(map[string]any) {
			m, ok := second.(map[string]any)
			if !ok {
				return formatErrorf("Every Mappings attribute must be an object of objects; [%s] [%s] is not.", name, key)
			}
			top[key] = m
		}
		t.Mappings[name] = top
	}
	return nil
}

func (t *Template) readConditions(root map[string]any) error {
	all, err := section(root, "Conditions", true)
	if err != nil {
		return err
	}
	for name, v := range all {
		t.Conditions[name] = v
	}
	return nil
}

func (t *Template) readResources(root map[string]any) error {
	all, err := section(root, "Resources", true)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return formatErrorf("At least one Resources member must be defined.")
	}
	if len(all) > MaxResources {
		return formatErrorf("Number of resources, %d, is greater than maximum allowed, %d", len(all), MaxResources)
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !alphanumeric.MatchString(name) {
			return formatErrorf("Resource name %s is non alphanumeric.", name)
		}
		r, err := readResource(name, all[name].(map[string]any))
		if err != nil {
			return err
		}
		t.Resources[name] = r
	}
	return nil
}

func readResource(name string, m map[string]any) (*Resource, error) {
	r := &Resource{Properties: map[string]any{}}
	var ok bool
	for _, key := range slices.Sorted(maps.Keys(m)) {
		v := m[key]
		switch key {
		case "Type":
			if r.Type, ok = v.(string); !ok || r.Type == "" {
				return nil, formatErrorf("[/Resources/%s/Type] must be a string.", name)
			}
		case "Properties":
			if v == nil {
				continue
			}
			if r.Properties, ok = v.(map[string]any); !ok {
				return nil, formatErrorf("[/Resources/%s/Properties] must be an object.", name)
			}
			if path, found := findNull(v, "/Resources/"+name+"/Properties"); found {
				return nil, formatErrorf("[%s] 'null' values are not allowed in templates", path)
			}
		case "Metadata":
			r.Metadata = v
		case "Description":
		case "DependsOn":
			list, isList := v.([]any)
			if !isList {
				list = []any{v}
			}
			for _, e := range list {
				id, ok := e.(string)
				if !ok {
					return nil, formatErrorf("DependsOn must be a string or list of strings.")
				}
				r.DependsOn = append(r.DependsOn, id)
			}
		case "Condition":
			if r.Condition, ok = v.(string); !ok {
				return nil, formatErrorf("Every Condition member must be a string.")
			}
		case "DeletionPolicy", "UpdateReplacePolicy":
			policy, _ := v.(string)
			if !slices.Contains([]string{"Delete", "Retain", "Snapshot", "RetainExceptOnCreate"}, policy) ||
				policy == "RetainExceptOnCreate" && key == "UpdateReplacePolicy" {
				return nil, formatErrorf("Unrecognized %s %s for resource %s", key, describe(v), name)
			}
			if key == "DeletionPolicy" {
				r.DeletionPolicy = policy
			} else {
				r.UpdateReplacePolicy = policy
			}
		case "CreationPolicy", "UpdatePolicy":
			policy, ok := v.(map[string]any)
			if !ok {
				return nil, formatErrorf("%s of resource %s must be an object.", key, name)
			}
			if key == "CreationPolicy" {
				r.CreationPolicy = policy
			} else {
				r.UpdatePolicy = policy
			}
		default:
			return nil, Error("Invalid template resource property '" + key + "'")
		}
	}
	if r.Type == "" {
		return nil, formatErrorf("[/Resources/%s] Every Resources object must contain a Type member.", name)
	}
	return r, nil
}

func (t *Template) readOutputs(root map[string]any) error {
	all, err := section(root, "Outputs", true)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !alphanumeric.MatchString(name) {
			return formatErrorf("Output name %s is non alphanumeric.", name)
		}
		m := all[name].(map[string]any)
		var o Output
		for _, key := range slices.Sorted(maps.Keys(m)) {
			v := m[key]
			switch key {
			case "Value":
				o.Value = v
			case "Description":
				o.Description, _ = v.(string)
			case "Condition":
				o.Condition, _ = v.(string)
			case "Export":
				export, _ := v.(map[string]any)
				if o.Export = export["Name"]; o.Export == nil {
					return formatErrorf("Output %s is malformed. The Name field of every Export member must be specified.", name)
				}
			default:
				return formatErrorf("Invalid output property '%s'", key)
			}
		}
		if o.Value == nil {
			return formatErrorf("Output %s is malformed. Every Outputs member must contain a Value object", name)
		}
		t.Outputs[name] = o
	}
	return nil
}

func findNull(v any, path string) (string, bool) {
	switch v := v.(type) {
	case nil:
		return path, true
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if p, found := findNull(v[k], path+"/"+k); found {
				return p, true
			}
		}
	case []any:
		for i, e := range v {
			if p, found := findNull(e, fmt.Sprintf("%s/%d", path, i)); found {
				return p, true
			}
		}
	}
	return "", false
}

// describe renders a value for an error message.
func describe(v any) string {
	if s, ok := Text(v); ok {
		return s
	}
	return JSON(v)
}
