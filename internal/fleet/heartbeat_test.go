package fleet

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The file says, in ParallelCluster's form, when the fleet was last looked after: not
// later than a minute ago, or when slurmctld last answered.
func TestTheHeartbeatIsInAFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "clustermgtd_heartbeat")
		if err := os.WriteFile(file, []byte(strings.Repeat("what was there before\n", 10)), 0o644); err != nil {
			t.Fatal(err)
		}
		q := newQuiet(t, 1)
		q.d.Policy = func() (Policy, error) {
			p := policy(AllOrNothing)
			p.HeartbeatFile = file
			return p, nil
		}
		age := func() time.Duration {
			synctest.Wait()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			beat, err := time.Parse("2006-01-02 15:04:05.000000+0000", string(text))
			if err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			return time.Since(beat)
		}
		q.run(t)
		for range 10 {
			time.Sleep(50 * time.Second)
			if a := age(); a > heartbeatInterval+slurmInterval {
				t.Errorf("the heartbeat is %v old", a)
			}
		}
		q.slurm.down.Store(true)
		time.Sleep(10 * time.Minute)
		if a := age(); a < 10*time.Minute {
			t.Errorf("the heartbeat is %v old, although slurmctld does not answer", a)
		}
		q.slurm.down.Store(false)
		time.Sleep(30 * time.Second)
		if a := age(); a > 30*time.Second {
			t.Errorf("the heartbeat is %v old, although slurmctld answers again", a)
		}
		q.end(t)
	})
}

// A heartbeat that can't be written is complained of, and costs nothing else.
func TestAHeartbeatWithoutAPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "missing", "clustermgtd_heartbeat")
		q := newQuiet(t, 1)
		q.d.Policy = func() (Policy, error) {
			p := policy(AllOrNothing)
			p.HeartbeatFile = file
			return p, nil
		}
		q.run(t)
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := strings.Count(q.log.String(), file); n < 2 || n > 10 {
			t.Errorf("%d lines of complaint:\n%s", n, q.log.String())
		}
		if q.count["DescribeInstances"] < 10 {
			t.Error("the fleet is not looked after")
		}
		q.end(t)
	})
}
