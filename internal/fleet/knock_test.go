package fleet

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestKnock(t *testing.T) {
	if !Knock(t.Context(), "127.0.0.1") {
		t.Error("this system does not answer, with or without a slurmd")
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if Knock(ended, "192.0.2.1") { // nobody's address
		t.Error("a system answers that there is not")
	}
}

// Nothing is cut off if the system of the only node in its subnet answers: slurmctld is not
// kept from giving it up, and no longer than a system answers.
func TestALonelyNodeThatHangsIsKnockedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQuiet(t, 1)
		var answers atomic.Bool
		var at atomic.Value
		answers.Store(true)
		q.d.Knock = func(_ context.Context, addr string) bool {
			at.Store(addr)
			return answers.Load()
		}
		q.run(t)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if at.Load() != nil {
			t.Error("somebody knocks at a node that is heard")
		}
		q.slurm.set("q-dy-a-1", "ALLOCATED+CLOUD+NOT_RESPONDING")
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if q.slurm.updates.Load() != 0 || at.Load() != "10.0.0.0" {
			t.Errorf("knocked at %v; slurmctld was told to wait:\n%s", at.Load(), q.log.String())
		}
		answers.Store(false)
		time.Sleep(time.Minute)
		synctest.Wait()
		if q.slurm.updates.Load() == 0 {
			t.Error("slurmctld is not told to wait for a node whose system does not answer either")
		}
		q.end(t)
	})
}
