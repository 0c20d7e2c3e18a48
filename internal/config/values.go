package config

import "slices"

// A Scalar is a value that may be a boolean or text. Booleans are kept as
// "true" and "false".
type Scalar string

// Settings are the keys and values of a map that this tool passes on, such as
// CustomSlurmSettings, in the order of the file. Values are the text that the
// user wrote: 12:00:00 stays a time and YES stays YES, which YAML 1.1 would turn
// into 43200 and true.
type Settings []Setting

// A Setting is one key with its value.
type Setting struct {
	Key, Value string
}

// Get returns the value of the key, spelled exactly so.
func (s Settings) Get(key string) (value string, ok bool) {
	if i := slices.IndexFunc(s, func(e Setting) bool { return e.Key == key }); i >= 0 {
		return s[i].Value, true
	}
	return "", false
}
