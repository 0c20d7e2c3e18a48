package page

import (
	"errors"
	"slices"
	"testing"
)

func TestPagesJoinToTheList(t *testing.T) {
	rows := []string{"a", "b", "c", "d", "e"}
	for limit := range 7 {
		var got []string
		var token *string
		for {
			part, next, err := Of(rows, func(s string) string { return s }, token, limit)
			if err != nil {
				t.Fatal(err)
			}
			if limit > 0 && len(part) > limit {
				t.Errorf("page of %d rows, limit %d", len(part), limit)
			}
			got = append(got, part...)
			if token = next; token == nil {
				break
			}
		}
		if !slices.Equal(got, rows) {
			t.Errorf("limit %d: got %q", limit, got)
		}
	}
}

func TestRowsMayGoBetweenPages(t *testing.T) {
	key := func(s string) string { return s }
	_, token, _ := Of([]string{"a", "b", "c"}, key, nil, 2)
	got, _, err := Of([]string{"a", "c", "d"}, key, token, 2) // b went, d came
	if err != nil || !slices.Equal(got, []string{"c", "d"}) {
		t.Errorf("got %q, %v", got, err)
	}
	bad := "Zm9v"
	if _, _, err := Of([]string{"a"}, key, &bad, 1); !errors.Is(err, ErrToken) {
		t.Errorf("bad token: %v", err)
	}
}
