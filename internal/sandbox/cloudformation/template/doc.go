// Package template is the language of CloudFormation: it parses templates
// (JSON and YAML with the short forms of the functions), checks them as AWS
// does, computes parameters and conditions, evaluates expressions and finds the
// order in which resources depend on each other.
//
// It is pure. What an expression needs to know of the world (the physical ID of
// a resource, an exported value) comes in through a [Scope]; package
// cloudformation, which has the engine, supplies one. Start at [Parse].
//
// Values are trees of map[string]any, []any, string, bool, [json.Number] and
// nil. CloudFormation makes little difference between 1, "1" and true, "true";
// [Equal] and [Text] follow it.
package template
