// Package cfn is a CloudFormation document: resources with the properties that we
// set, references between them, and JSON out. It knows nothing about clusters.
//
// Start with [New] and [Template.Add]. Adding a resource returns a [Handle], from
// which references are made, so that a reference to nothing does not compile.
// Attributes are checked against the resource's type when the document is
// written. The output is a function of what was added: same content, same bytes.
package cfn

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Text is where CloudFormation takes text or what becomes text: a string, a
// [Ref], an [Attr], or the result of [Sub], [Join], [Base64] or [Select].
type Text any

// Limits of CloudFormation for one template.
const (
	MaxResources  = 500
	MaxParameters = 200
	MaxOutputs    = 200
	MaxBytes      = 1_000_000
)

// ErrLimit is what a template is that CloudFormation refuses for its size.
var ErrLimit = errors.New("too large for CloudFormation")

// A Template is a document under construction.
type Template struct {
	description string
	parameters  map[string]Parameter
	resources   map[string]resource
	outputs     map[string]output
	errs        []error
}

// New returns an empty template.
func New(description string) *Template {
	return &Template{
		description: description,
		parameters:  map[string]Parameter{}, resources: map[string]resource{}, outputs: map[string]output{},
	}
}

// A Parameter is an input of a template.
type Parameter struct {
	Type        string
	Default     *string `json:",omitempty"`
	Description string  `json:",omitempty"`
}

type output struct {
	Description string `json:",omitempty"`
	Value       Text
}

// resource is a resource as CloudFormation reads it.
type resource struct {
	Type                string
	DependsOn           []string `json:",omitempty"`
	DeletionPolicy      string   `json:",omitempty"`
	UpdateReplacePolicy string   `json:",omitempty"`
	Metadata            any      `json:",omitempty"`
	Properties          Resource `json:",omitempty"`
}

// A Resource is the properties of a resource. Its type says which attributes it has.
type Resource interface {
	kind() kind
}

// kind is what CloudFormation documents about a resource type.
type kind struct {
	name       string
	attributes []Attribute
}

// An Attribute is what Fn::GetAtt asks a resource for.
type Attribute string

// Attributes that we use.
const (
	Arn                  Attribute = "Arn"
	GroupID              Attribute = "GroupId"
	AllocationID         Attribute = "AllocationId"
	PrimaryPrivateIP     Attribute = "PrimaryPrivateIpAddress"
	PrivateIP            Attribute = "PrivateIp"
	PrivateDNSName       Attribute = "PrivateDnsName"
	LatestVersionNumber  Attribute = "LatestVersionNumber"
	LustreMountName      Attribute = "LustreMountName"
	LoadBalancerFullName Attribute = "LoadBalancerFullName"
	AssociationID        Attribute = "AssociationId"
	FileSystemID         Attribute = "FileSystemId"
	DefaultVersionNumber Attribute = "DefaultVersionNumber"
)

// A Handle stands for a resource or a parameter of a template.
type Handle struct {
	t    *Template
	id   string
	kind kind
}

// ID returns the logical ID.
func (h Handle) ID() string { return h.id }

// Ref returns what Ref gives for the resource, or the value of the parameter.
func (h Handle) Ref() Ref { return Ref{h.id} }

// Att returns an attribute of the resource.
func (h Handle) Att(a Attribute) Attr {
	ok := false
	for _, known := range h.kind.attributes {
		ok = ok || known == a
	}
	if !ok {
		h.t.errs = append(h.t.errs, fmt.Errorf("%s: a %s has no attribute %s", h.id, h.kind.name, a))
	}
	return Attr{h.id, a}
}

// An Option says more about a resource than its properties.
type Option func(*resource)

// DependsOn orders a resource after others that its properties don't refer to.
func DependsOn(on ...Handle) Option {
	return func(r *resource) {
		for _, h := range on {
			r.DependsOn = append(r.DependsOn, h.id)
		}
	}
}

// OnDelete sets what happens to the thing when its resource goes: Delete, Retain
// or Snapshot, on deletion and on replacement.
func OnDelete(policy string) Option {
	return func(r *resource) { r.DeletionPolicy, r.UpdateReplacePolicy = policy, policy }
}

// DeletionPolicy sets what happens on deletion alone.
func DeletionPolicy(policy string) Option {
	return func(r *resource) { r.DeletionPolicy = policy }
}

// UpdateReplacePolicy sets what happens to the old thing on replacement.
func UpdateReplacePolicy(policy string) Option {
	return func(r *resource) { r.UpdateReplacePolicy = policy }
}

// Add adds a resource. Adding two under one ID is an error when the template is written.
func (t *Template) Add(logicalID string, properties Resource, options ...Option) Handle {
	r := resource{Type: properties.kind().name, Properties: properties}
	for _, o := range options {
		o(&r)
	}
	if !alphanumeric(logicalID) {
		t.errs = append(t.errs, fmt.Errorf("%q is not a logical ID: letters and digits alone are allowed", logicalID))
	}
	if _, ok := t.resources[logicalID]; ok {
		t.errs = append(t.errs, fmt.Errorf("two resources have the logical ID %s", logicalID))
	}
	t.resources[logicalID] = r
	return Handle{t, logicalID, properties.kind()}
}

func alphanumeric(s string) bool {
	return s != "" && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// Parameter adds a parameter of type String.
func (t *Template) Parameter(name, description string) Handle {
	t.parameters[name] = Parameter{Type: "String", Description: description}
	return Handle{t, name, kind{name: "parameter"}}
}

// ParameterWithDefault adds a parameter of type String with a default.
func (t *Template) ParameterWithDefault(name, value, description string) Handle {
	t.parameters[name] = Parameter{Type: "String", Default: &value, Description: description}
	return Handle{t, name, kind{name: "parameter"}}
}

// Output adds an output.
func (t *Template) Output(name string, value Text, description string) {
	t.outputs[name] = output{description, value}
}

// Len returns the number of resources.
func (t *Template) Len() int { return len(t.resources) }

// JSON writes the template. It reports what CloudFormation would refuse.
func (t *Template) JSON() ([]byte, error) {
	errs := t.errs
	for _, l := range []limitError{
		{len(t.resources), "resources", MaxResources}, {len(t.parameters), "parameters", MaxParameters}, {len(t.outputs), "outputs", MaxOutputs},
	} {
		if l.has > l.max {
			errs = append(errs, l)
		}
	}
	data, err := marshal(struct {
		AWSTemplateFormatVersion string
		Description              string               `json:",omitempty"`
		Parameters               map[string]Parameter `json:",omitempty"`
		Resources                map[string]resource
		Outputs                  map[string]output `json:",omitempty"`
	}{"2010-09-09", t.description, t.parameters, t.resources, t.outputs})
	if err != nil {
		return nil, fmt.Errorf("write template: %w", err)
	}
	if len(data) > MaxBytes {
		errs = append(errs, limitError{len(data), "bytes", MaxBytes})
	}
	return data, errors.Join(errs...)
}

// A limitError is an ErrLimit that says how much is too much.
type limitError struct {
	has  int
	what string
	max  int
}

func (e limitError) Error() string {
	return fmt.Sprintf("the template has %d %s, more than the %d that CloudFormation takes", e.has, e.what, e.max)
}

func (e limitError) Is(target error) bool { return target == ErrLimit }

// marshal writes JSON without the escapes that HTML needs.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// Bool returns a pointer, for properties whose absence differs from false.
func Bool(b bool) *bool { return &b }

// Int returns a pointer, for properties whose absence differs from 0.
func Int(i int) *int { return &i }
