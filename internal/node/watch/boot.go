package watch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"pcluster/internal/fleet"
	"pcluster/internal/node/steps"
)

const (
	bootInterval = 100 * time.Millisecond
	// lastWords is how long a boot that failed is kept to ourselves: the fleet daemon
	// ends the instance when it hears of it, and logs are still to be shipped.
	lastWords = 3 * time.Second
)

// A boot is what the journal says about it so far.
type boot struct {
	steps  []string // under way, in the order in which they began
	done   int
	took   map[string]float64 // seconds, of the steps of this boot that are over
	failed string
	at     time.Time // when it failed
}

// take reads one line of the journal.
func (b *boot) take(line []byte) {
	var e steps.Event
	if json.Unmarshal(line, &e) != nil {
		return
	}
	i := slices.Index(b.steps, e.Step)
	switch e.Status {
	case steps.Started:
		if i < 0 {
			b.steps = append(b.steps, e.Step)
		}
		b.failed = "" // it was tried again
		return
	case steps.Done:
		b.done++
		if b.took == nil {
			b.took = make(map[string]float64)
		}
		b.took[e.Step] = e.Seconds
	case steps.Skipped:
		b.done++
	case steps.Failed:
		if b.failed == "" { // the first failure cancels other steps
			b.failed, b.at = "step "+e.Step+": "+e.Detail, e.Time
		}
	}
	if i >= 0 {
		b.steps = slices.Delete(b.steps, i, i+1)
	}
}

// followBoot reports what is written to the journal, until the boot is over.
func (w *Watcher) followBoot(ctx context.Context) error {
	var b boot
	var offset int64
	var rest []byte
	for {
		booted := w.Booted() // before the journal, whose last line was written earlier
		data, err := readFrom(w.Journal, &offset)
		if err != nil {
			w.Log.Warn("journal of the boot", "error", err)
		}
		rest = append(rest, data...)
		for {
			line, after, whole := bytes.Cut(rest, []byte("\n"))
			if !whole {
				break
			}
			b.take(line)
			rest = after
		}
		failed := b.failed
		if failed != "" && time.Since(b.at) < lastWords {
			failed = ""
		}
		if len(data) > 0 || booted || failed != "" {
			running := slices.Clone(b.steps)
			w.change(func(r *fleet.Report) {
				r.Steps, r.Done, r.Booted, r.Failed = running, b.done, booted, failed
				if booted {
					r.Steps, r.Failed, r.Took = nil, "", b.took
				}
			})
		}
		if booted || failed != "" {
			return nil
		}
		if !sleep(ctx, bootInterval) {
			return nil
		}
	}
}

// readFrom returns what has been written to a file since the last time.
func readFrom(path string, offset *int64) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Seek(*offset, io.SeekStart); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(f)
	*offset += int64(len(data))
	return data, err
}
