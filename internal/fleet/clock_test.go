package fleet

import (
	"testing"
	"time"
)

// A steady clock shows the time, and makes no step when the clock on the wall is set.
func TestAClockThatIsSetIsFollowedSlowly(t *testing.T) {
	var passed, set time.Duration
	clock := steadyClock(func() time.Time { return noon.Add(passed + set) }, func() time.Duration { return passed })
	for _, tt := range []struct {
		set, pass, want time.Duration
	}{
		{0, time.Hour, time.Hour},
		{time.Hour, 0, time.Hour},
		{time.Hour, 10 * time.Minute, time.Hour + 11*time.Minute},
		{time.Hour, 10 * time.Hour, 12*time.Hour + 10*time.Minute},
		{-time.Hour, 0, 12*time.Hour + 10*time.Minute},
		{-time.Hour, 10 * time.Minute, 12*time.Hour + 19*time.Minute},
		{0, 20 * time.Hour, 31*time.Hour + 20*time.Minute},
	} {
		set, passed = tt.set, passed+tt.pass
		if got := clock().Sub(noon); got != tt.want {
			t.Errorf("%v later, the wall being off by %v: %v, want %v", tt.pass, tt.set, got, tt.want)
		}
	}
}
