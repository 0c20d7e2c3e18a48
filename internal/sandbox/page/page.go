// Package page cuts the lists of services into pages.
package page

import (
	"encoding/base64"
	"errors"
	"sort"
)

// ErrToken is returned for a token that no page ended with.
var ErrToken = errors.New("not a token of this list")

// Of returns at most limit of the rows that follow token (all that follow, if
// limit is 0), and the token of the page after these, nil when there is none.
// Rows must be sorted by their keys, which must differ. A token names the last
// row that was given out, so that rows that come or go between two calls neither
// repeat nor hide others.
func Of[T any](rows []T, key func(T) string, token *string, limit int) ([]T, *string, error) {
	if token != nil && *token != "" {
		after, err := base64.RawURLEncoding.DecodeString(*token)
		if err != nil || len(after) == 0 || after[0] != mark {
			return nil, nil, ErrToken
		}
		last := string(after[1:])
		rows = rows[sort.Search(len(rows), func(i int) bool { return key(rows[i]) > last }):]
	}
	if limit == 0 || len(rows) <= limit {
		return rows, nil, nil
	}
	next := base64.RawURLEncoding.EncodeToString(append([]byte{mark}, key(rows[limit-1])...))
	return rows[:limit], &next, nil
}

// mark tells tokens from other base64.
const mark = '>'

// Limit returns what a request's member says about the length of pages, or the
// default of the operation.
func Limit(asked *int32, fallback int) int {
	if asked == nil || *asked <= 0 {
		return fallback
	}
	return int(*asked)
}
