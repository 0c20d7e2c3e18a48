package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// Marshal writes the cluster as YAML with all its implied values, for
// [ParseImplied]. Keys stand in the order of the types.
func Marshal(c *Cluster) []byte {
	w := &writer{}
	w.section(reflect.ValueOf(c).Elem(), "", 0)
	return []byte(w.String())
}

type writer struct {
	strings.Builder
	hyphen bool // the next line starts an item of a list

	// note, if set, returns a comment for the line of a key that holds no section.
	note func(path string, f *field, v reflect.Value) string
}

// end ends the line of a key.
func (w *writer) end(path string, f *field, v reflect.Value) {
	if w.note != nil {
		w.WriteString(noteMark + w.note(path, f, v))
	}
	w.WriteString("\n")
}

func (w *writer) indent(n int) {
	if w.hyphen {
		w.hyphen = false
		w.WriteString(strings.Repeat("  ", n-1) + "- ")
		return
	}
	w.WriteString(strings.Repeat("  ", n))
}

// section writes the keys that have something to say.
func (w *writer) section(v reflect.Value, path string, depth int) {
	for _, f := range fieldsOf(v.Type()) {
		path := join(path, f.name)
		fv := v.FieldByIndex(f.index)
		if silent(fv, f) && !(f.required && f.kind == text) {
			continue // empty text is written where the section can't be read without it
		}
		if f.pointer {
			fv = fv.Elem()
		}
		w.indent(depth)
		w.WriteString(f.name + ":")
		switch f.kind {
		case section:
			if !speaks(fv) {
				w.WriteString(" {}\n")
				continue
			}
			w.WriteString("\n")
			w.section(fv, path, depth+1)
		case sections:
			if fv.Len() == 0 {
				w.WriteString(" []")
				w.end(path, f, fv)
				continue
			}
			w.WriteString("\n")
			for i := range fv.Len() {
				w.item(depth, !speaks(fv.Index(i)), func(depth int) { w.section(fv.Index(i), fmt.Sprintf("%s[%d]", path, i), depth) })
			}
		case texts:
			w.list(path, f, fv)
			for i := range fv.Len() {
				w.indent(depth + 1)
				w.WriteString("- " + yamlText(fv.Index(i).String()) + "\n")
			}
		case settings:
			if fv.Len() == 0 {
				w.WriteString(" {}")
			}
			w.end(path, f, fv)
			w.pairs(fv.Interface().(Settings), depth+1)
		case settingsLists:
			w.list(path, f, fv)
			for i := range fv.Len() {
				s := fv.Index(i).Interface().(Settings)
				w.item(depth, len(s) == 0, func(depth int) { w.pairs(s, depth) })
			}
		default:
			w.WriteString(" " + scalarText(fv, f))
			w.end(path, f, fv)
		}
	}
}

func (w *writer) list(path string, f *field, v reflect.Value) {
	if v.Len() == 0 {
		w.WriteString(" []")
	}
	w.end(path, f, v)
}

// item writes a mapping as an item of a list whose key stands at depth: its
// first line follows the hyphen.
func (w *writer) item(depth int, empty bool, body func(depth int)) {
	if empty {
		w.indent(depth + 1)
		w.WriteString("- {}\n")
		return
	}
	w.hyphen = true
	body(depth + 2)
}

func (w *writer) pairs(s Settings, depth int) {
	for _, e := range s {
		w.indent(depth)
		w.WriteString(yamlText(e.Key) + ": " + yamlText(e.Value) + "\n")
	}
}

// silent says whether a key need not be written: it is absent and means nothing.
func silent(v reflect.Value, f *field) bool {
	if f.pointer {
		return v.IsNil()
	}
	switch f.kind {
	case section:
		return !speaks(v)
	case sections, texts, settings, settingsLists:
		return v.Len() == 0 && !f.required
	case text, scalarValue:
		return v.Len() == 0 && !f.hasDflt
	}
	return false
}

// speaks says whether any key of a section is to be written.
func speaks(v reflect.Value) bool {
	for _, f := range fieldsOf(v.Type()) {
		if !silent(v.FieldByIndex(f.index), f) {
			return true
		}
	}
	return false
}

func scalarText(v reflect.Value, f *field) string {
	switch f.kind {
	case boolean:
		return strconv.FormatBool(v.Bool())
	case integer:
		return strconv.FormatInt(v.Int(), 10)
	case float:
		return strconv.FormatFloat(v.Float(), 'f', -1, 64)
	case scalarValue:
		if s := v.String(); s == "true" || s == "false" {
			return s
		}
	}
	return yamlText(v.String())
}

// yamlText writes text so that any YAML reader takes it for text: plain where
// that is safe beyond doubt, else in double quotes.
func yamlText(s string) string {
	plain := s != "" && plainKind(s) == Text
	for i := 0; plain && i < len(s); i++ {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '/'
		inner := c >= '0' && c <= '9' || strings.IndexByte("-_.+@=", c) >= 0 || (c == ':' && i+1 < len(s) && s[i+1] != ' ')
		plain = letter || inner && i > 0
	}
	switch strings.ToLower(s) {
	case "y", "n":
		plain = false
	}
	if plain {
		return s
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case r < 0x20 || r >= 0x7f && r <= 0xa0 || r == 0x2028 || r == 0x2029 || r == 0xfeff || r >= 0xd800 && r < 0xe000 || r == 0xfffe || r == 0xffff:
			b.WriteString(`\U` + strings.Repeat("0", 8-len(strconv.FormatInt(int64(r), 16))) + strconv.FormatInt(int64(r), 16))
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
