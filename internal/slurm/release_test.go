package slurm

import "testing"

func TestReleases(t *testing.T) {
	for said, want := range map[string]struct {
		release string
		old     bool
	}{
		"slurm 25.11.6\n":              {"25.11", false},
		"slurm-wlm 24.11.5":            {"24.11", false},
		"slurm 25.05.0-0rc1":           {"25.05", false},
		"slurm 23.11.0":                {"23.11", false},
		"slurm 23.02.7":                {"23.02", true},
		"slurm-wlm 22.05.8":            {"22.05", true},
		"slurm 9.12":                   {"09.12", true},
		"slurm of our own":             {},
		"":                             {},
		"slurm 99999999999999999999.1": {},
	} {
		r, ok := ReleaseOf(said)
		if ok != (want.release != "") {
			t.Errorf("%q is a release: %t", said, ok)
		} else if ok && (r.String() != want.release || r.Before(OldestRelease) != want.old) {
			t.Errorf("%q is of %s, too old: %t", said, r, r.Before(OldestRelease))
		}
	}
}
