package cli

import "testing"

func TestQueriesOfTheFirstVersion(t *testing.T) {
	for query, want := range map[string]string{
		"a[?b==`CREATE_FAILED`].c": "a[?b==`\"CREATE_FAILED\"`].c",
		"a[?b==`\"X\"`]":           "a[?b==`\"X\"`]",
		"a[?b>`1`]":                "a[?b>`1`]",
		"a[?b==`true`]":            "a[?b==`true`]",
		"join(`,`, a)":             "join(`\",\"`, a)",
		"join(' `x` ', a)":         "join(' `x` ', a)",
		"\"a`b\".c":                "\"a`b\".c",
		"a[?b==` x y `]":           "a[?b==`\"x y \"`]",
		"a[?b==`x":                 "a[?b==`x",
		"a[?b==`[1`]":              "a[?b==`\"[1\"`]",
		"a[?b=='it\\'s `x`']":      "a[?b=='it\\'s `x`']",
		"a[?b==`say \"x\"`]":       "a[?b==`say \"x\"`]", // no JSON with quotes, either
		"":                         "",
	} {
		if got := modernQuery(query); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", query, got, want)
		}
	}
}

func TestQueryWithALiteralOfTheFirstVersion(t *testing.T) {
	text, err := search([]byte(`{"events": [{"s": "OK", "r": "a"}, {"s": "BAD", "r": "b"}]}`), "events[?s==`BAD`].r | [0]")
	if err != nil || string(text) != `"b"` {
		t.Errorf("%s, %v", text, err)
	}
}
