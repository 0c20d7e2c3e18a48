// Package policy reads IAM policy documents and judges requests by them, as "IAM
// User Guide: Policy evaluation logic" says. It is pure: who has which policies is
// package iam's business, and what a request touches is known to the services.
//
// Start with [Parse] and [Evaluate].
package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Document is a policy: what its statements allow and deny.
type Document struct {
	Version    string
	ID         string
	Statements []Statement
}

// A Statement allows or denies actions on resources under conditions. Lists are
// nil where the document does not have the element.
type Statement struct {
	Sid          string
	Deny         bool
	Actions      []string
	NotActions   []string
	Resources    []string
	NotResources []string
	Principals   map[string][]string // kind (AWS, Service, …) to names; "*" for everybody
	Excluded     map[string][]string // NotPrincipal
	Conditions   []Condition
}

// A Condition is one operator applied to one key. All of a statement's have to hold.
type Condition struct {
	Operator string
	Key      string
	Values   []string
}

// Parse reads a document and refuses what IAM refuses: unknown elements, a
// statement without effect or action, operators that do not exist.
func Parse(text string) (Document, error) {
	var raw struct {
		Version   string
		ID        string `json:"Id"`
		Statement json.RawMessage
	}
	if err := strict([]byte(text), &raw); err != nil {
		return Document{}, fmt.Errorf("syntax: %w", err)
	}
	switch raw.Version {
	case "", "2008-10-17", "2012-10-17":
	default:
		return Document{}, fmt.Errorf("version %q is not one of 2012-10-17 and 2008-10-17", raw.Version)
	}
	statements, err := oneOrMany[rawStatement](raw.Statement)
	if err != nil {
		return Document{}, fmt.Errorf("syntax: %w", err)
	}
	if len(statements) == 0 {
		return Document{}, errors.New("there is no statement")
	}
	d := Document{Version: raw.Version, ID: raw.ID}
	for i, s := range statements {
		st, err := s.statement()
		if err != nil {
			return Document{}, fmt.Errorf("statement %d: %w", i, err)
		}
		d.Statements = append(d.Statements, st)
	}
	return d, nil
}

// rawStatement is a statement as JSON has it, where a list of one may be written
// without brackets.
type rawStatement struct {
	Sid, Effect                              string
	Action, NotAction, Resource, NotResource json.RawMessage
	Principal, NotPrincipal                  json.RawMessage
	Condition                                map[string]map[string]json.RawMessage
}

func (s rawStatement) statement() (Statement, error) {
	st := Statement{Sid: s.Sid}
	switch s.Effect {
	case "Allow":
	case "Deny":
		st.Deny = true
	default:
		return st, fmt.Errorf("effect %q is not one of Allow and Deny", s.Effect)
	}
	for _, list := range []struct {
		raw  json.RawMessage
		into *[]string
	}{{s.Action, &st.Actions}, {s.NotAction, &st.NotActions}, {s.Resource, &st.Resources}, {s.NotResource, &st.NotResources}} {
		values, err := oneOrMany[string](list.raw)
		if err != nil {
			return st, err
		}
		*list.into = values
	}
	if (st.Actions == nil) == (st.NotActions == nil) {
		return st, errors.New("it needs one of Action and NotAction")
	}
	if st.Resources != nil && st.NotResources != nil {
		return st, errors.New("it has both Resource and NotResource")
	}
	for _, a := range slices.Concat(st.Actions, st.NotActions) {
		if service, name, ok := strings.Cut(a, ":"); a != "*" && (!ok || service == "" || name == "") {
			return st, fmt.Errorf("%q is not an action such as ec2:RunInstances", a)
		}
	}
	var err error
	if st.Principals, err = principals(s.Principal); err != nil {
		return st, err
	}
	if st.Excluded, err = principals(s.NotPrincipal); err != nil {
		return st, err
	}
	for operator, keys := range s.Condition {
		if _, ok := lookupOperator(operator); !ok {
			return st, fmt.Errorf("there is no condition operator %q", operator)
		}
		for key, raw := range keys {
			values, err := oneOrMany[scalar](raw)
			if err != nil {
				return st, fmt.Errorf("condition %s of %s: %w", operator, key, err)
			}
			c := Condition{Operator: operator, Key: key}
			for _, v := range values {
				c.Values = append(c.Values, string(v))
			}
			st.Conditions = append(st.Conditions, c)
		}
	}
	slices.SortFunc(st.Conditions, func(a, b Condition) int {
		return strings.Compare(a.Operator+a.Key, b.Operator+b.Key)
	})
	return st, nil
}

func principals(raw json.RawMessage) (map[string][]string, error) {
	if raw == nil {
		return nil, nil
	}
	var all string
	if json.Unmarshal(raw, &all) == nil {
		if all != "*" {
			return nil, fmt.Errorf("principal %q: only * stands without a kind", all)
		}
		return map[string][]string{"AWS": {"*"}}, nil
	}
	var kinds map[string]json.RawMessage
	if err := json.Unmarshal(raw, &kinds); err != nil {
		return nil, err
	}
	out := map[string][]string{}
	for kind, raw := range kinds {
		names, err := oneOrMany[string](raw)
		if err != nil {
			return nil, err
		}
		out[kind] = names
	}
	return out, nil
}

// A scalar of a condition may be written as text, number or truth value.
type scalar string

// UnmarshalJSON takes a text, a number, true or false.
func (s *scalar) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(data, []byte(`"`)) {
		return json.Unmarshal(data, (*string)(s))
	}
	if bytes.ContainsAny(data, "{[n") {
		return fmt.Errorf("%s is no value", data)
	}
	*s = scalar(data)
	return nil
}

// oneOrMany reads a list, or one item that stands for a list of one.
func oneOrMany[T any](raw json.RawMessage) ([]T, error) {
	if raw == nil {
		return nil, nil
	}
	if bytes.HasPrefix(bytes.TrimSpace(raw), []byte("[")) {
		list := []T{}
		err := strict(raw, &list)
		return list, err
	}
	one := make([]T, 1)
	err := strict(raw, &one[0])
	return one, err
}

// strict refuses unknown elements and what follows the value.
func strict(data []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if dec.More() {
		return errors.New("something follows the document")
	}
	return nil
}
