package fleet

import (
	"sync"
	"time"
)

// steadyClock returns a clock without steps: it begins with the time on the wall, goes on
// with what has passed, and follows the clock on the wall, if that is set, by a tenth of
// what passes. A clock that steps would have nodes that boot given up, or waited for, by
// the hour; one that never follows would be wrong for ever about what AWS announces.
func steadyClock(wall func() time.Time, passed func() time.Duration) func() time.Time {
	var mu sync.Mutex
	last, shows := passed(), wall().Round(0)
	return func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		now := passed()
		went := now - last
		last, shows = now, shows.Add(went)
		most := went / 10
		shows = shows.Add(min(max(wall().Round(0).Sub(shows), -most), most))
		return shows
	}
}
