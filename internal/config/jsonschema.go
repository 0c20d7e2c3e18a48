package config

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
)

// JSONSchema returns a JSON Schema (draft 2020-12) of cluster files, or of image
// files, for editors: keys with what they mean, allowed values, defaults and
// patterns. It takes what [Parse] takes as far as a schema can say it; rules
// between keys, and numbers written as text, are beyond it.
func JSONSchema(image bool) []byte {
	title, root := "Cluster file", reflect.TypeFor[Cluster]()
	if image {
		title, root = "Image file", reflect.TypeFor[ImageFile]()
	}
	b := schemaBuilder{defs: map[string]any{}}
	top := b.section(root, "")
	top["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	top["title"] = title
	top["$defs"] = b.defs
	text, err := json.MarshalIndent(top, "", "  ")
	if err != nil {
		panic("config: schema: " + err.Error()) // made of texts, numbers and maps
	}
	return append(text, '\n')
}

type object = map[string]any

// schemaBuilder keeps each type of section once, by its name and scheduler.
type schemaBuilder struct{ defs object }

// ref returns a reference to the schema of a section type.
func (b *schemaBuilder) ref(t reflect.Type, scheduler string) string {
	if _, ok := b.defs[t.Name()]; !ok {
		b.defs[t.Name()] = object{} // a type that contains itself ends here
		b.defs[t.Name()] = b.section(t, scheduler)
	}
	return "#/$defs/" + t.Name()
}

func (b *schemaBuilder) section(t reflect.Type, scheduler string) object {
	properties, required := object{}, []string{}
	for _, f := range fieldsOf(t) {
		properties[f.name] = b.key(f, scheduler)
		if f.required && !f.late {
			required = append(required, f.name)
		}
	}
	s := object{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		s["required"] = required
	}
	if t == reflect.TypeFor[Scheduling]() {
		s["allOf"] = schedulerParts(t)
	}
	return s
}

// schedulerParts forbid the keys of the scheduler that the file does not choose.
func schedulerParts(t reflect.Type) []object {
	var out []object
	for _, scheduler := range []string{Slurm, AWSBatch} {
		foreign := object{}
		for _, f := range fieldsOf(t) {
			if f.only != "" && f.only != scheduler {
				foreign[f.name] = false
			}
		}
		out = append(out, object{
			"if":   object{"properties": object{"Scheduler": object{"const": scheduler}}, "required": []string{"Scheduler"}},
			"then": object{"properties": foreign},
		})
	}
	return out
}

func (b *schemaBuilder) key(f *field, scheduler string) object {
	if f.only != "" {
		scheduler = f.only
	}
	s := object{"description": description(f)}
	item := func() object { return b.text(f) }
	switch f.kind {
	case section:
		s["$ref"] = b.ref(f.typ, scheduler)
	case sections:
		s["type"], s["items"] = "array", object{"$ref": b.ref(f.typ.Elem(), scheduler)}
	case text:
		for k, v := range item() {
			s[k] = v
		}
	case texts:
		s["type"], s["items"] = "array", item()
	case boolean:
		// YAML 1.2, as most editors read it, has fewer words for true than our reader.
		s["anyOf"] = []object{{"type": "boolean"}, {"type": "string", "pattern": `^([Tt]|[Tt]rue|TRUE|[Oo]n|ON|[Yy]|[Yy]es|YES|[Ff]|[Ff]alse|FALSE|[Oo]ff|OFF|[Nn]|[Nn]o|NO)$`}}
	case integer:
		s["type"] = "integer"
	case float:
		s["type"] = "number"
	case scalarValue:
		s["type"] = []string{"boolean", "string", "number"}
	case settings:
		s["type"], s["additionalProperties"] = "object", passedOn()
	case settingsLists:
		s["type"], s["items"] = "array", object{"type": "object", "additionalProperties": passedOn()}
	}
	limit := func(name string, v *int64) {
		if v != nil {
			s[name] = *v
		}
	}
	if f.kind == integer || f.kind == float {
		limit("minimum", f.values.lo)
		limit("maximum", f.values.hi)
		if len(f.oneOf) > 0 {
			var values []any
			for _, v := range f.oneOf {
				values = append(values, json.Number(v))
			}
			s["enum"] = values
		}
	}
	limit("minItems", f.items.lo)
	limit("maxItems", f.items.hi)
	if f.hasDflt {
		s["default"] = defaultValue(f)
	}
	return s
}

// text returns what a text has to be: all of it that a key or an item says.
func (b *schemaBuilder) text(f *field) object {
	s := object{"type": "string"}
	if len(f.oneOf) > 0 {
		s["enum"] = f.oneOf
	}
	if f.match != "" {
		// ECMAScript, which schemas follow, has no braces in escapes.
		s["pattern"] = strings.NewReplacer(`\x{0}`, `\x00`, `\x{85}`, `\x85`, `\x{2028}`, "\u2028", `\x{2029}`, "\u2029").Replace(patterns[f.match].expr().String())
	}
	if f.length.lo != nil {
		s["minLength"] = *f.length.lo
	}
	if f.length.hi != nil {
		s["maxLength"] = *f.length.hi
	}
	return s
}

// passedOn is the schema of values that only reach another program.
func passedOn() object { return object{"type": []string{"string", "number", "boolean"}} }

func description(f *field) string {
	parts := []string{f.doc}
	if f.match != "" {
		parts = append(parts, "Must be "+patterns[f.match].words+".")
	}
	if f.implied != "" {
		parts = append(parts, "Without it: "+f.implied+".")
	}
	if f.only != "" {
		parts = append(parts, "For "+f.only+" only.")
	}
	if f.update != "" {
		parts = append(parts, "Update policy: "+string(f.update)+".")
	}
	return strings.Join(parts, " ")
}

func defaultValue(f *field) any {
	switch f.kind {
	case boolean:
		return f.dflt == "true"
	case integer, float:
		return json.Number(f.dflt)
	case scalarValue:
		if v, err := strconv.ParseBool(f.dflt); err == nil {
			return v
		}
	}
	return f.dflt
}
