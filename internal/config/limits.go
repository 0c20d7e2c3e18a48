package config

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// Bounds of what is read, far above every cluster there is. They keep time and
// memory small whatever the bytes are: the reader calls itself for each level, and
// aliases repeat what they refer to.
const (
	MaxBytes = 1 << 20 // of a file
	maxDepth = 100     // sections and lists inside of one another
	maxItems = 5_000   // of one section or list
	maxNodes = 200_000 // values, as often as aliases repeat them
	maxBlank = 500     // lines in a row
)

// unreadable says why bytes can't be YAML of ours, without reading them as such.
func unreadable(data []byte) string {
	switch {
	case len(data) > MaxBytes:
		return fmt.Sprintf("It has %d bytes, more than the %d (1 MiB) that are read.", len(data), MaxBytes)
	case bytes.HasPrefix(data, []byte("\xff\xfe")), bytes.HasPrefix(data, []byte("\xfe\xff")):
		return "It is in UTF-16 (or UTF-32); save it as UTF-8."
	}
	blank := 0
	for line, text := range bytes.Split(data, []byte("\n")) {
		if blank++; len(bytes.TrimSpace(text)) > 0 {
			blank = 0
		}
		if blank > maxBlank {
			return fmt.Sprintf("It has more than %d empty lines in a row, up to line %d.", maxBlank, line+1)
		}
		if !utf8.Valid(text) {
			return fmt.Sprintf("Line %d is not UTF-8 text.", line+1)
		}
		if bytes.IndexByte(text, 0) >= 0 {
			return fmt.Sprintf("Line %d has a zero byte, which text does not have.", line+1)
		}
	}
	return ""
}
