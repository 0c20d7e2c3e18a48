package slurm

import (
	"regexp"
	"testing"

	"pgregory.net/rapid"
)

// TestNodeNamesAreTakenApart compares with the pattern that defines them.
func TestNodeNamesAreTakenApart(t *testing.T) {
	pattern := regexp.MustCompile(`^([a-z0-9\-]+)-(st|dy)-([a-z0-9\-]+)-(\d{1,9})$`)
	part := rapid.SampledFrom([]string{"q", "st", "dy", "-", "--", "a1", "0", "12", "_", "Q", ".", "+1", ""})
	rapid.Check(t, func(t *rapid.T) {
		name := ""
		for _, s := range rapid.SliceOfN(part, 0, 9).Draw(t, "parts") {
			name += s + rapid.SampledFrom([]string{"-", "-", "-", ""}).Draw(t, "joint")
		}
		m := pattern.FindStringSubmatch(name)
		got, ok := ParseNodeName(name)
		if ok != (m != nil) {
			t.Fatalf("%q: %v", name, ok)
		}
		if ok && (got.Queue != m[1] || got.Static != (m[2] == "st") || got.Resource != m[3]) {
			t.Fatalf("%q is %+v, want %q", name, got, m)
		}
	})
}
