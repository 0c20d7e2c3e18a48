package config

import (
	"fmt"
	"reflect"
	"strings"
)

// A Value is one key of a file with the value that it has, and whether the file,
// a default or another key gives it.
type Value struct {
	Path   string `json:"path"`
	Value  any    `json:"value"`
	Source string `json:"source"`         // file, default or implied
	Line   int    `json:"line,omitempty"` // of the file
	Why    string `json:"why,omitempty"`  // of an implied value, in words
}

// String says where the value comes from, for a comment behind it.
func (v Value) String() string {
	switch {
	case v.Source == "file":
		return fmt.Sprintf("line %d", v.Line)
	case v.Why != "":
		return "implied: " + v.Why
	}
	return v.Source
}

// Show returns every value of a cluster with where it comes from, in the order
// of the types, and the same as a file whose comments say it.
func (c *Cluster) Show() ([]Value, []byte) { return show(reflect.ValueOf(c).Elem(), c.doc) }

// Show is [Cluster.Show] of an image file.
func (f *ImageFile) Show() ([]Value, []byte) { return show(reflect.ValueOf(f).Elem(), f.doc) }

func show(v reflect.Value, doc *Document) ([]Value, []byte) {
	var values []Value
	w := &writer{note: func(path string, f *field, v reflect.Value) string {
		value := Value{Path: path, Value: plainValue(v, f), Source: "default"}
		switch {
		case doc.has(path):
			value.Source, value.Line = "file", doc.pos(path).Line
		case f.implied != "" || f.hasDflt && fmt.Sprint(value.Value) != fmt.Sprint(defaultValue(f)):
			value.Source, value.Why = "implied", f.implied
		}
		values = append(values, value)
		return value.String()
	}}
	w.section(v, "", 0)
	return values, aligned(w.String())
}

// noteMark stands before a note until all lines of the file are known.
const noteMark = "\x00# "

// aligned puts the notes of a file below one another, as far as lines are short.
func aligned(text string) []byte {
	const widest = 60
	lines := strings.Split(text, "\n")
	column := 0
	for _, line := range lines {
		if i := strings.Index(line, noteMark); i >= 0 && i <= widest {
			column = max(column, i)
		}
	}
	for i, line := range lines {
		if body, note, ok := strings.Cut(line, noteMark); ok {
			lines[i] = fmt.Sprintf("%-*s  # %s", column, body, note)
		}
	}
	return []byte(strings.Join(lines, "\n"))
}

// plainValue returns what JSON can say.
func plainValue(v reflect.Value, f *field) any {
	switch f.kind {
	case settings:
		return pairsOf(v.Interface().(Settings))
	case settingsLists:
		list := []any{}
		for i := range v.Len() {
			list = append(list, pairsOf(v.Index(i).Interface().(Settings)))
		}
		return list
	case sections, section:
		return []any{} // only an empty list has no values below it
	case scalarValue:
		if s := v.String(); s == "true" || s == "false" {
			return s == "true"
		}
		return v.String()
	}
	return v.Interface()
}

func pairsOf(s Settings) map[string]string {
	out := map[string]string{}
	for _, e := range s {
		out[e.Key] = e.Value
	}
	return out
}
