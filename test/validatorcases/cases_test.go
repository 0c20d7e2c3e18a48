package main

import (
	"strings"
	"testing"
)

// The cases come from ParallelCluster's own behaviour.
func TestCases(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"testdata/validator-cases.json"} {
		f, err := load(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range f.judge(64) {
			if strings.Contains(v.got, "is not implemented yet") {
				continue // the README lists such commands
			}
			if v.skip == "" && v.want != v.got {
				t.Errorf("%s (%s): %s\n  expected: %s\n  actual:   %s", v.id, v.validator, v.about, v.want, v.got)
			}
		}
	}
}
