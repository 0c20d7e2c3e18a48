package slurm

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestExpand(t *testing.T) {
	for list, want := range map[string]string{
		"":                         "",
		"a":                        "a",
		"a,b":                      "a b",
		"q-dy-c-[1-3]":             "q-dy-c-1 q-dy-c-2 q-dy-c-3",
		"q-dy-c-[1-2,5],q-st-d-1":  "q-dy-c-1 q-dy-c-2 q-dy-c-5 q-st-d-1",
		"rack[1-2]node[08-10]":     "rack1node08 rack1node09 rack1node10 rack2node08 rack2node09 rack2node10",
		"prod-mpi-dy-c7a-48xl-[9]": "prod-mpi-dy-c7a-48xl-9",
	} {
		got, err := Expand(list)
		if err != nil {
			t.Errorf("Expand(%q): %v", list, err)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("Expand(%q) = %v, want %s", list, got, want)
		}
	}
	for _, bad := range []string{"a[1", "a]1", "a[x]", "a[3-1]", "a[1-99999999]", "a[1-]"} {
		if got, err := Expand(bad); err == nil {
			t.Errorf("Expand(%q) = %v, want an error", bad, got)
		}
	}
}

func TestCompressedListsExpandToTheSameNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOf(rapid.StringMatching(`(q1|q-2)-(st|dy)-(c5|x2-1)-[1-9][0-9]?|login|n0[0-9]`)).Draw(t, "names")
		got, err := Expand(Compress(names))
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(got)
		want := slices.Compact(slices.Sorted(slices.Values(names)))
		if !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}

func TestNodeNames(t *testing.T) {
	for name, want := range map[string]NodeName{
		"debug-dy-t3micro-8": {Queue: "debug", Resource: "t3micro", Index: 8},
		"a-st-b-st-c-1-2":    {Queue: "a-st-b", Resource: "c-1", Static: true, Index: 2},
		"prod-mpi-st-c7a-1":  {Queue: "prod-mpi", Resource: "c7a", Static: true, Index: 1},
	} {
		got, ok := ParseNodeName(name)
		if !ok || got != want {
			t.Errorf("ParseNodeName(%q) = %+v, %v", name, got, ok)
		}
		if got.String() != name {
			t.Errorf("%+v is written %s, want %s", got, got, name)
		}
	}
	for _, other := range []string{"ip-10-0-0-1", "q-dy-c", "Q-dy-c-1", "q-xx-c-1"} {
		if _, ok := ParseNodeName(other); ok {
			t.Errorf("%q passes for a node of ours", other)
		}
	}
}
