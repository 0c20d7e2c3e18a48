package fleet

import (
	"errors"
	"os"
	"sync/atomic"
	"time"
)

// A heartbeat keeps the time at which the fleet was last looked after in a file. Nothing of
// ours reads it: it is for the monitoring and the scripts of users, who know it from
// ParallelCluster.
type heartbeat struct {
	last    time.Time
	writing atomic.Bool
	trouble trouble // only for the goroutine that writes
}

const (
	heartbeatInterval = time.Minute
	// heartbeatForm gives all times of UTC the same length.
	heartbeatForm = "2006-01-02 15:04:05.000000-0700"
)

// beat writes the file, if there is to be one and a minute has gone by. The file may be
// on a network's file system that hangs: that must not hold up the fleet.
func (d *Daemon) beat() {
	h, path, now := &d.heartbeat, d.policy.HeartbeatFile, d.Now()
	if path == "" || now.Sub(h.last) < heartbeatInterval || !h.writing.CompareAndSwap(false, true) {
		return
	}
	h.last = now
	go func() {
		defer h.writing.Store(false)
		// Who reads it compares it with the clock on the wall.
		err := overwrite(path, time.Now().UTC().Format(heartbeatForm))
		h.trouble.met(d.Log, now, err)
	}()
}

// overwrite replaces what is in a file. Whoever reads a text of the same length meanwhile
// has the old one or the new one, and a full disk has room for it.
func overwrite(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Truncate(int64(len(text))), f.Close())
}
