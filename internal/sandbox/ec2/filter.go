package ec2

import (
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/sandbox/wire"
)

// An attribute is what one filter name looks at: the values that a resource has
// under it, any of which may match.
type attribute[T any] func(*T) []string

// A filter is one filter of a request, ready to be asked often.
type filter[T any] struct {
	values   func(*T) []string
	exact    map[string]bool
	patterns []string
}

// compile resolves the names of filters among a kind's attributes; tags (nil if
// the kind has none) answers tag:KEY, tag-key and tag-value. Names that nobody
// knows are refused, as EC2 does.
func compile[T any](asked []types.Filter, attributes map[string]attribute[T], tags func(*T) []types.Tag) ([]filter[T], error) {
	filters := make([]filter[T], 0, len(asked))
	for _, f := range asked {
		name := aws.ToString(f.Name)
		c := filter[T]{values: attributes[name], exact: map[string]bool{}}
		if key, ok := strings.CutPrefix(name, "tag:"); ok && tags != nil {
			c.values = func(row *T) []string { return tagValues(tags(row), key) }
		} else if name == "tag-key" && tags != nil {
			c.values = func(row *T) []string { return tagKeys(tags(row)) }
		} else if name == "tag-value" && tags != nil {
			c.values = func(row *T) []string { return allTagValues(tags(row)) }
		}
		if c.values == nil {
			return nil, invalidValue("The filter '%s' is invalid", name)
		}
		if len(f.Values) == 0 {
			return nil, wire.Errorf("InvalidParameterValue", "The filter '%s' needs at least one value", name)
		}
		for _, v := range f.Values {
			if strings.ContainsAny(v, `*?\`) {
				c.patterns = append(c.patterns, v)
			} else {
				c.exact[v] = true
			}
		}
		filters = append(filters, c)
	}
	return filters, nil
}

// pass reports whether the row meets all filters.
func pass[T any](filters []filter[T], row *T) bool {
	for i := range filters {
		if !filters[i].pass(row) {
			return false
		}
	}
	return true
}

func (f *filter[T]) pass(row *T) bool {
	for _, v := range f.values(row) {
		if f.exact[v] {
			return true
		}
		for _, p := range f.patterns {
			if wildcard(p, v) {
				return true
			}
		}
	}
	return false
}

// wildcard matches s against a pattern in which * stands for any text, ? for one
// character, and a backslash takes the meaning from the next character.
func wildcard(pattern, s string) bool {
	p, i := 0, 0
	star, mark := -1, 0 // the last * and where it began to match
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
			continue
		case p < len(pattern) && pattern[p] == '?':
			p, i = p+1, i+1
			continue
		case p+1 < len(pattern) && pattern[p] == '\\' && pattern[p+1] == s[i]:
			p, i = p+2, i+1
			continue
		case p < len(pattern) && pattern[p] != '\\' && pattern[p] == s[i]:
			p, i = p+1, i+1
			continue
		}
		if star < 0 {
			return false
		}
		mark++
		p, i = star+1, mark
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// one makes a filter's answer of what may be unset.
func one[S ~string](v *S) []string {
	if v == nil || *v == "" {
		return nil
	}
	return []string{string(*v)}
}

func word[S ~string](v S) []string {
	if v == "" {
		return nil
	}
	return []string{string(v)}
}

func yesNo(v *bool) []string { return []string{strconv.FormatBool(aws.ToBool(v))} }

func number[N ~int32 | ~int64 | ~int](v *N) []string {
	if v == nil {
		return nil
	}
	return []string{strconv.FormatInt(int64(*v), 10)}
}

// instant is how filters spell times: 2021-09-29T11:04:43.305Z, often asked with
// a wildcard at the end.
func instant(t *time.Time) []string {
	if t == nil {
		return nil
	}
	return []string{t.UTC().Format("2006-01-02T15:04:05.000Z")}
}
