package cfn

import (
	"encoding/json"
	"strings"
)

// A Ref is the value of a resource or parameter.
type Ref struct{ id string }

// MarshalJSON implements json.Marshaler.
func (r Ref) MarshalJSON() ([]byte, error) {
	return marshal(map[string]string{"Ref": r.id})
}

// Pseudo parameters.
var (
	AccountID = Ref{"AWS::AccountId"}
	Partition = Ref{"AWS::Partition"}
	Region    = Ref{"AWS::Region"}
	StackID   = Ref{"AWS::StackId"}
	StackName = Ref{"AWS::StackName"}
	URLSuffix = Ref{"AWS::URLSuffix"}
)

// An Attr is an attribute of a resource.
type Attr struct {
	id        string
	attribute Attribute
}

// MarshalJSON implements json.Marshaler.
func (a Attr) MarshalJSON() ([]byte, error) {
	return marshal(map[string][]string{"Fn::GetAtt": {a.id, string(a.attribute)}})
}

// function is an intrinsic function with its argument.
type function struct {
	name     string
	argument any
}

// MarshalJSON implements json.Marshaler.
func (f function) MarshalJSON() ([]byte, error) {
	return marshal(map[string]any{f.name: f.argument})
}

// Sub replaces ${Name} in text, by pseudo parameters such as ${AWS::Region} and by
// the given values. Text that is not ours goes through [Literal] first.
func Sub(text string, values map[string]Text) Text {
	if len(values) == 0 {
		return function{"Fn::Sub", text}
	}
	return function{"Fn::Sub", []any{text, values}}
}

// Literal protects text from Sub: what looks like a variable stays as it is.
func Literal(text string) string { return strings.ReplaceAll(text, "${", "${!") }

// Join puts a separator between parts.
func Join(separator string, parts ...Text) Text {
	return function{"Fn::Join", []any{separator, parts}}
}

// Base64 encodes text.
func Base64(text Text) Text { return function{"Fn::Base64", text} }

// Select returns one part of text that is split at a separator, counted from 0.
func Select(part int, separator string, text Text) Text {
	return function{"Fn::Select", []any{part, function{"Fn::Split", []any{separator, text}}}}
}

// JSON is a value that CloudFormation takes as text: a dashboard's body, say.
func JSON(v any) (string, error) {
	data, err := marshal(v)
	return string(data), err
}

var _ = []json.Marshaler{Ref{}, Attr{}, function{}}
