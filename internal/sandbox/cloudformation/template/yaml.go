package template

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// parseYAML reads YAML as CloudFormation does: tags are short forms of
// functions, dates are strings, and a number keeps the text that it was written
// with.
func parseYAML(body []byte) (any, error) {
	file, err := parser.ParseBytes(body, 0)
	if err != nil {
		var syntax yaml.Error
		if errors.As(err, &syntax) && syntax.GetToken() != nil && syntax.GetToken().Position != nil {
			p := syntax.GetToken().Position
			return nil, formatErrorf("YAML not well-formed. (line %d, column %d)", p.Line, p.Column)
		}
		return nil, formatErrorf("YAML not well-formed.")
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil {
		return nil, formatErrorf("unsupported structure.")
	}
	r := yamlReader{anchors: map[string]any{}}
	return r.value(file.Docs[0].Body)
}

type yamlReader struct{ anchors map[string]any }

func (r yamlReader) value(n ast.Node) (any, error) {
	switch n := n.(type) {
	case *ast.NullNode, nil:
		return nil, nil
	case *ast.BoolNode:
		return n.Value, nil
	case *ast.IntegerNode:
		return number(n.GetToken().Value), nil
	case *ast.FloatNode:
		return number(n.GetToken().Value), nil
	case *ast.StringNode:
		return n.Value, nil
	case *ast.LiteralNode:
		return n.Value.Value, nil
	case *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, nil
	case *ast.SequenceNode:
		list := make([]any, 0, len(n.Values))
		for _, e := range n.Values {
			v, err := r.value(e)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	case *ast.MappingNode:
		return r.mapping(n.Values)
	case *ast.MappingValueNode:
		return r.mapping([]*ast.MappingValueNode{n})
	case *ast.TagNode:
		v, err := r.value(n.Value)
		if err != nil {
			return nil, err
		}
		return applyTag(n.Start.Value, v, n.Value)
	case *ast.AnchorNode:
		v, err := r.value(n.Value)
		if err != nil {
			return nil, err
		}
		r.anchors[n.Name.String()] = v
		return v, nil
	case *ast.AliasNode:
		name := n.Value.String()
		v, ok := r.anchors[name]
		if !ok {
			return nil, formatErrorf("YAML not well-formed. Undefined alias %s", name)
		}
		return v, nil
	}
	p := n.GetToken().Position
	return nil, formatErrorf("YAML not well-formed. (line %d, column %d)", p.Line, p.Column)
}

func (r yamlReader) mapping(values []*ast.MappingValueNode) (any, error) {
	m := make(map[string]any, len(values))
	merged := map[string]any{}
	for _, e := range values {
		v, err := r.value(e.Value)
		if err != nil {
			return nil, err
		}
		if e.Key.IsMergeKey() {
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
		key, err := r.key(e.Key)
		if err != nil {
			return nil, err
		}
		m[key] = v
	}
	for k, v := range merged {
		if _, own := m[k]; !own {
			m[k] = v
		}
	}
	return m, nil
}

func (r yamlReader) key(n ast.MapKeyNode) (string, error) {
	var node ast.Node = n
	if k, ok := n.(*ast.MappingKeyNode); ok { // ? key
		node = k.Value
	}
	switch k := node.(type) {
	case *ast.StringNode:
		return k.Value, nil
	case *ast.AnchorNode, *ast.AliasNode:
		v, err := r.value(node)
		if s, ok := Text(v); err == nil && ok {
			return s, nil
		}
		return "", err
	}
	return node.GetToken().Value, nil
}

// applyTag turns the short form of a function into the long one.
func applyTag(tag string, v any, node ast.Node) (any, error) {
	name := strings.TrimPrefix(tag, "!")
	switch {
	case strings.HasPrefix(name, "!"): // !!str and the like
		if name == "!str" {
			if node != nil {
				if _, isNull := node.(*ast.NullNode); isNull {
					return "", nil
				}
			}
			if s, ok := Text(v); ok {
				return s, nil
			}
		}
		return v, nil
	case name == "Ref", name == "Condition":
		return map[string]any{name: v}, nil
	case name == "GetAtt":
		if s, ok := v.(string); ok {
			if id, attribute, found := strings.Cut(s, "."); found {
				return map[string]any{"Fn::GetAtt": []any{id, attribute}}, nil
			}
		}
	}
	return map[string]any{"Fn::" + name: v}, nil
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
