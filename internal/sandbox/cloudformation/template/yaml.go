package template

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Bounds on what aliases may make of a document.
const (
	maxNodes = 1_000_000
	maxDepth = 500
)

var yamlLine = regexp.MustCompile(`line (\d+)`)

// parseYAML reads YAML as CloudFormation does: tags are short forms of
// functions, dates are strings, and a number keeps the text that it was written
// with.
//
// It takes another parser than cluster files do: the one that knows columns best
// reads [ec2:Run*] as an object, and templates are full of IAM actions.
func parseYAML(body []byte) (any, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(body, &doc); err != nil {
		line := 1
		if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
			line, _ = strconv.Atoi(m[1])
		}
		return nil, formatErrorf("YAML not well-formed. (line %d, column 1)", line)
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return nil, formatErrorf("unsupported structure.")
	}
	return (&yamlReader{}).value(doc.Content[0], 0)
}

type yamlReader struct{ nodes int }

func (r *yamlReader) value(n *yaml.Node, depth int) (any, error) {
	if r.nodes++; r.nodes > maxNodes || depth > maxDepth {
		return nil, formatErrorf("YAML not well-formed. (line %d, column %d)", n.Line, n.Column)
	}
	var v any
	var err error
	switch n.Kind {
	case yaml.AliasNode:
		return r.value(n.Alias, depth+1)
	case yaml.SequenceNode:
		v, err = r.list(n, depth)
	case yaml.MappingNode:
		v, err = r.object(n, depth)
	default:
		return scalar(n), nil
	}
	if err != nil || strings.HasPrefix(n.Tag, "!!") || n.Tag == "" {
		return v, err
	}
	return call(n.Tag, v), nil
}

func (r *yamlReader) list(n *yaml.Node, depth int) (any, error) {
	list := make([]any, 0, len(n.Content))
	for _, e := range n.Content {
		v, err := r.value(e, depth+1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

func (r *yamlReader) object(n *yaml.Node, depth int) (any, error) {
	m := make(map[string]any, len(n.Content)/2)
	merged := map[string]any{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		v, err := r.value(value, depth+1)
		if err != nil {
			return nil, err
		}
		if key.Tag == "!!merge" {
			sources, isList := v.([]any)
			if !isList {
				sources = []any{v}
			}
			for _, s := range sources {
				source, _ := s.(map[string]any)
				for k, sv := range source {
					if _, earlier := merged[k]; !earlier {
						merged[k] = sv
					}
				}
			}
			continue
		}
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		if key.Kind != yaml.ScalarNode {
			return nil, formatErrorf("YAML not well-formed. (line %d, column %d)", key.Line, key.Column)
		}
		m[key.Value] = v
	}
	for k, v := range merged {
		if _, own := m[k]; !own {
			m[k] = v
		}
	}
	return m, nil
}

// scalar returns what stands for itself, or the call that its tag makes of it.
func scalar(n *yaml.Node) any {
	switch n.ShortTag() {
	case "!!null":
		return nil
	case "!!bool":
		return strings.EqualFold(n.Value, "true")
	case "!!int", "!!float":
		return number(n.Value)
	}
	if strings.HasPrefix(n.ShortTag(), "!!") || n.Tag == "" {
		return n.Value
	}
	return call(n.Tag, n.Value)
}

// call turns the short form of a function into the long one.
func call(tag string, v any) any {
	name := strings.TrimPrefix(tag, "!")
	switch name {
	case "Ref", "Condition":
		return map[string]any{name: v}
	case "GetAtt":
		if s, ok := v.(string); ok {
			if id, attribute, found := strings.Cut(s, "."); found {
				return map[string]any{"Fn::GetAtt": []any{id, attribute}}
			}
		}
	}
	return map[string]any{"Fn::" + name: v}
}

var jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$`)

// number keeps decimal numbers as such; anything that JSON could not write the
// same way (octal, underscores, an account ID with a leading zero) stays text.
func number(text string) any {
	if jsonNumber.MatchString(text) {
		return json.Number(text)
	}
	return text
}
