package config

import (
	"reflect"
	"slices"
	"strings"
)

// retired are keys that older releases had, with what to do instead.
var retired = map[string]string{
	"LoginNodes.Pools[].Ssh.KeyName":               "login nodes take the head node's key; remove it",
	"HeadNode.LocalStorage.RootVolume.KmsKeyId":    "root volumes are encrypted with the account's default key; remove it",
	"Scheduling.SchedulerSettings":                 "scheduler plug-ins are gone since 3.7.0; use SlurmSettings",
	"Scheduling.SchedulerQueues":                   "scheduler plug-ins are gone since 3.7.0; use SlurmQueues",
	"Scheduling.AwsBatchQueues[].Networking.Proxy": "it was never used; remove it",
}

// Bounds of the search for what was meant, which takes time.
const (
	maxHints = 100 // in one file
	maxWord  = 100 // bytes; no key is nearly as long
)

// unknown reports a key that a section does not have.
func (d *decoder) unknown(section reflect.Type, e Entry, path string) {
	at := join(path, e.Key)
	d.doc.at[at] = e.KeyPos
	hint := ""
	if d.strange++; d.strange <= maxHints {
		hint = suggestion(d.root(), section, e.Key, at)
	}
	d.errorf(at, e.KeyPos, hint, "%s is not a key of %s", quote(e.Key), d.sectionName(path))
}

// root returns the type of the file's top level.
func (d *decoder) root() reflect.Type {
	if d.validator == ImageSchemaValidator {
		return reflect.TypeFor[ImageFile]()
	}
	return reflect.TypeFor[Cluster]()
}

func (d *decoder) sectionName(path string) string {
	switch {
	case path == "" && d.validator == ImageSchemaValidator:
		return "an image file"
	case path == "":
		return "a cluster file"
	}
	return plainPath(path)
}

// plainPath replaces the indexes of a path: A[3].B becomes A[].B.
func plainPath(path string) string {
	var b strings.Builder
	in := false
	for _, r := range path {
		if r == ']' {
			in = false
		}
		if !in {
			b.WriteRune(r)
		}
		if r == '[' {
			in = true
		}
	}
	return b.String()
}

// suggestion says what the user may have meant: a retired key, a key of the
// section that is spelled much like it, or one of the same name nearby.
func suggestion(root, section reflect.Type, key, at string) string {
	if advice, ok := retired[plainPath(at)]; ok {
		return advice
	}
	var names []string
	for _, f := range fieldsOf(section) {
		names = append(names, f.name)
	}
	if near := nearest(key, names); near != "" {
		return "did you mean " + near + "?"
	}
	if under := findBelow(section, key, 3); under != "" {
		return "did you mean " + under + "?"
	}
	if above := enclosing(root, at, key); above != "" {
		return "it is a key of " + above + "; check the indentation"
	}
	if len(names) == 0 {
		return "remove it"
	}
	if len(names) <= 12 {
		return "its keys are " + strings.Join(names, ", ")
	}
	return ""
}

// findBelow looks for a key of that name in sections inside of t, the nearest first.
func findBelow(t reflect.Type, key string, depth int) string {
	if depth == 0 {
		return ""
	}
	type inner struct {
		name string
		typ  reflect.Type
	}
	var next []inner
	for _, f := range fieldsOf(t) {
		switch f.kind {
		case section:
			next = append(next, inner{f.name + ".", f.typ})
		case sections:
			next = append(next, inner{f.name + "[].", f.typ.Elem()})
		}
	}
	for _, in := range next {
		for _, f := range fieldsOf(in.typ) {
			if strings.EqualFold(f.name, key) {
				return in.name + f.name
			}
		}
	}
	for _, in := range next {
		if under := findBelow(in.typ, key, depth-1); under != "" {
			return in.name + under
		}
	}
	return ""
}

// enclosing returns the section around the path that has a key of that name.
func enclosing(root reflect.Type, at, key string) string {
	parts := strings.Split(plainPath(at), ".")
	type level struct {
		path string
		typ  reflect.Type
	}
	levels := []level{{"the file's top level", root}}
	for i, part := range parts[:len(parts)-1] {
		fields := fieldsOf(levels[i].typ)
		j := slices.IndexFunc(fields, func(f *field) bool { return f.name == strings.TrimSuffix(part, "[]") })
		if j < 0 {
			break
		}
		t := fields[j].typ
		if fields[j].kind == sections {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct {
			break
		}
		levels = append(levels, level{strings.Join(parts[:i+1], "."), t})
	}
	for i := len(levels) - 2; i >= 0; i-- {
		for _, f := range fieldsOf(levels[i].typ) {
			if strings.EqualFold(f.name, key) {
				return levels[i].path
			}
		}
	}
	return ""
}

// nearest returns the candidate that is spelled most like word, or nothing if
// none is near enough to be meant.
func nearest(word string, candidates []string) string {
	if len(word) > maxWord {
		return ""
	}
	best, bestAt := "", max(1, len(word)/3)+1
	for _, c := range candidates {
		if strings.EqualFold(strings.ReplaceAll(c, "-", ""), strings.NewReplacer("-", "", "_", "").Replace(word)) {
			return c
		}
		if at := distance(strings.ToLower(word), strings.ToLower(c)); at < bestAt {
			best, bestAt = c, at
		}
	}
	return best
}

// distance counts the letters to add, drop, change or swap between two words.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	before, last, row := make([]int, len(y)+1), make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(x); i++ {
		row[0] = i
		for j := 1; j <= len(y); j++ {
			cost := 1
			if x[i-1] == y[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(y)]
}
