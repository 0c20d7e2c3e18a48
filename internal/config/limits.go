package config

import (
	"bytes"
	"fmt"
	"unicode/utf8"

	"github.com/goccy/go-yaml/token"
)

// Bounds of what is read, far above every cluster there is. They keep time and
// memory small whatever the bytes are: the YAML parser calls itself for each
// level, and takes time that grows with the square of levels and of the items
// of one section.
const (
	MaxBytes = 1 << 20 // of a file
	maxDepth = 100     // sections and lists inside of one another
	maxItems = 5_000   // of one section or list
	maxNodes = 200_000 // values, as often as aliases repeat them
	maxBlank = 500     // lines in a row; the scanner reads them again for each in folded text
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

// A shapeError is a document beyond the bounds.
type shapeError struct {
	pos Pos
	why string
}

func (e *shapeError) Error() string {
	return fmt.Sprintf("[%d:%d] %s", e.pos.Line, e.pos.Column, e.why)
}

// checkShape checks depth and items before the parser sees the tokens. It need
// not know the grammar: what stands further right than an opener, or inside of
// a bracket, is taken to be inside of it.
func checkShape(tokens token.Tokens) error {
	type level struct {
		column        int // 0: a bracket, or the file
		items, tokens int
	}
	levels := []level{{}}
	for i, t := range tokens {
		column := t.Position.Column
		switch t.Type {
		case token.CommentType:
			continue
		case token.MappingStartType, token.SequenceStartType:
			levels = append(levels, level{})
		case token.MappingEndType, token.SequenceEndType, token.CollectEntryType:
			for levels[len(levels)-1].column > 0 {
				levels = levels[:len(levels)-1]
			}
			if t.Type == token.CollectEntryType {
				levels[len(levels)-1].items++
			} else if len(levels) > 1 { // else the parser reports it
				levels = levels[:len(levels)-1]
			}
		case token.MappingValueType, token.MappingKeyType, token.SequenceEntryType, token.AnchorType, token.TagType:
			if t.Type == token.MappingValueType && i > 0 && tokens[i-1].Position.Line == t.Position.Line {
				column = tokens[i-1].Position.Column // of the key
			}
			for levels[len(levels)-1].column > column {
				levels = levels[:len(levels)-1]
			}
			if levels[len(levels)-1].column != column {
				levels = append(levels, level{column: max(column, 1)})
			}
			levels[len(levels)-1].items++
		}
		if len(levels)-1 > maxDepth {
			return &shapeError{tokenPos(t), fmt.Sprintf("sections and lists stand more than %d deep in one another", maxDepth)}
		}
		last := &levels[len(levels)-1]
		// What is no YAML may have words without items, such as "" "" "".
		if last.tokens++; last.items > maxItems || last.tokens > 4*maxItems {
			return &shapeError{tokenPos(t), fmt.Sprintf("a section or list has more than %d items", maxItems)}
		}
	}
	return nil
}
