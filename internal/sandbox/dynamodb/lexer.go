package dynamodb

import (
	"strings"
)

// A token is a word of an expression: a name, #name, :value, number, operator or
// bracket.
type token struct {
	kind tokenKind
	text string
	at   int // where it starts
}

type tokenKind int

const (
	endToken tokenKind = iota
	nameToken
	aliasToken  // #name
	valueToken  // :value
	numberToken // an index
	signToken   // operators and brackets
)

// tokenize cuts an expression into tokens, the last of which is endToken. what
// names the expression in errors.
func tokenize(what, text string) ([]token, error) {
	var tokens []token
	for i := 0; i < len(text); {
		c := text[i]
		start := i
		switch {
		case strings.IndexByte(" \t\r\n", c) >= 0:
			i++
			continue
		case isWord(c) && !isDigit(c):
			i = wordEnd(text, i)
			tokens = append(tokens, token{nameToken, text[start:i], start})
		case isDigit(c):
			for i < len(text) && isDigit(text[i]) {
				i++
			}
			tokens = append(tokens, token{numberToken, text[start:i], start})
		case c == '#' || c == ':':
			i = wordEnd(text, i+1)
			kind := aliasToken
			if c == ':' {
				kind = valueToken
			}
			if i == start+1 {
				return nil, syntaxError(what, text, token{signToken, text[start:i], start})
			}
			tokens = append(tokens, token{kind, text[start:i], start})
		case strings.HasPrefix(text[i:], "<>"), strings.HasPrefix(text[i:], "<="), strings.HasPrefix(text[i:], ">="):
			i += 2
			tokens = append(tokens, token{signToken, text[start:i], start})
		case strings.IndexByte("=<>()[],.+-", c) >= 0:
			i++
			tokens = append(tokens, token{signToken, text[start:i], start})
		default:
			return nil, syntaxError(what, text, token{signToken, text[start : start+1], start})
		}
	}
	return append(tokens, token{endToken, "<EOF>", len(text)}), nil
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isWord(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || isDigit(c)
}

// wordEnd returns where the word at i ends.
func wordEnd(text string, i int) int {
	for i < len(text) && isWord(text[i]) {
		i++
	}
	return i
}

func syntaxError(what, text string, t token) error {
	near := text[max(0, t.at-10):min(len(text), t.at+len(t.text)+10)]
	if t.kind == endToken {
		near = text[max(0, len(text)-10):]
	}
	return invalid("Invalid %s: Syntax error; token: %q, near: %q", what, t.text, strings.TrimSpace(near))
}
