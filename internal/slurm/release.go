package slurm

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
)

// A Release is a year and a month, by which Slurm calls what it calls a major release.
type Release struct{ Year, Month int }

// OldestRelease is the oldest one that clusters work with. Images get none that is older.
var OldestRelease = Release{23, 11}

func (r Release) String() string { return fmt.Sprintf("%02d.%02d", r.Year, r.Month) }

// Before says whether r is older than o.
func (r Release) Before(o Release) bool {
	return cmp.Or(cmp.Compare(r.Year, o.Year), cmp.Compare(r.Month, o.Month)) < 0
}

// A distribution may have its own name for Slurm, and a maker its own for the version.
var release = regexp.MustCompile(`^slurm\S* (\d+)\.(\d+)`)

// ReleaseOf reads what a program of Slurm's says to -V: "slurm 24.11.5".
func ReleaseOf(said string) (r Release, ok bool) {
	m := release.FindStringSubmatch(said)
	if m == nil {
		return r, false
	}
	var err1, err2 error
	r.Year, err1 = strconv.Atoi(m[1])
	r.Month, err2 = strconv.Atoi(m[2])
	return r, err1 == nil && err2 == nil
}
