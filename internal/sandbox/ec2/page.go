package ec2

import (
	"encoding/base64"
	"slices"
	"sort"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/sandbox/wire"
)

// A pager cuts a sorted list into pages. A token names the last row that was
// given out, so that rows which come or go between two calls neither repeat nor
// hide others.
type pager struct {
	after string
	limit int
}

const tokenPrefix = "after:"

// newPager reads a request's page: without MaxResults everything comes at once,
// up to most if that is not 0.
func newPager(nextToken *string, maxResults *int32, least, most int) (pager, error) {
	p := pager{limit: most}
	if maxResults != nil {
		n := int(*maxResults)
		if n < least || most > 0 && n > most {
			return p, invalidValue("Value ( %d ) for parameter maxResults is invalid. Expecting a value between %d and %d.", n, least, most)
		}
		p.limit = n
	}
	if t := aws.ToString(nextToken); t != "" {
		raw, err := base64.URLEncoding.DecodeString(t)
		after, ok := strings.CutPrefix(string(raw), tokenPrefix)
		if err != nil || !ok {
			return p, wire.Errorf("InvalidPaginationToken", "The specified NextToken is not valid.")
		}
		p.after = after
	}
	return p, nil
}

// page takes the rows after the token that keep accepts, until the page is full,
// and returns the token of the next page: nil when this was the last.
func page[T any](p pager, rows []*T, key func(*T) string, keep func(*T) bool) (got []*T, next *string) {
	if p.after != "" {
		rows = rows[sort.Search(len(rows), func(i int) bool { return key(rows[i]) > p.after }):]
	}
	for _, row := range rows {
		if !keep(row) {
			continue
		}
		if p.limit > 0 && len(got) == p.limit {
			return got, aws.String(base64.URLEncoding.EncodeToString([]byte(tokenPrefix + key(got[len(got)-1]))))
		}
		got = append(got, row)
	}
	return got, nil
}

// A listing is what the Describe calls of one kind of resource have in common.
type listing[T any] struct {
	noun
	rows       func() []*T // sorted by key
	get        func(id string) *T
	key        func(*T) string
	attributes map[string]attribute[T]
	tags       func(*T) []types.Tag // nil: the kind has none
}

// describe returns the rows that a request asks for: those under ids, if there
// are any, that meet all filters.
func (l listing[T]) describe(ids []string, asked []types.Filter, nextToken *string, maxResults *int32) ([]T, *string, error) {
	p, err := newPager(nextToken, maxResults, 5, 1000)
	if err != nil {
		return nil, nil, err
	}
	if maxResults == nil {
		p.limit = 0
	}
	filters, err := compile(asked, l.attributes, l.tags)
	if err != nil {
		return nil, nil, err
	}
	rows, err := l.choose(ids)
	if err != nil {
		return nil, nil, err
	}
	found, next := page(p, rows, l.key, func(row *T) bool { return pass(filters, row) })
	return values(found), next, nil
}

func (l listing[T]) choose(ids []string) ([]*T, error) {
	if len(ids) == 0 {
		return l.rows(), nil
	}
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	rows := make([]*T, 0, len(ids))
	var missing []string
	for _, id := range ids {
		if row := l.get(id); row != nil {
			rows = append(rows, row)
		} else if err := l.check(id); err != nil {
			return nil, err
		} else {
			missing = append(missing, id)
		}
	}
	return rows, l.notFoundAll(missing)
}

// of lists the rows of a table as they are.
func of[T any](t *table[T], n noun, key func(*T) string, attributes map[string]attribute[T], tags func(*T) []types.Tag) listing[T] {
	return listing[T]{noun: n, rows: t.all, get: t.get, key: key, attributes: attributes, tags: tags}
}

// rendered lists rows as show completes them.
func rendered[T any](l listing[T], show func(T) T) listing[T] {
	rows, get := l.rows, l.get
	l.rows = func() []*T {
		plain := rows()
		shown := make([]*T, len(plain))
		for i, row := range plain {
			v := show(*row)
			shown[i] = &v
		}
		return shown
	}
	l.get = func(id string) *T {
		row := get(id)
		if row == nil {
			return nil
		}
		v := show(*row)
		return &v
	}
	return l
}

func values[T any](rows []*T) []T {
	out := make([]T, len(rows))
	for i, row := range rows {
		out[i] = *row
	}
	return out
}
