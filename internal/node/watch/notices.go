package watch

import (
	"context"
	"encoding/json"
	"time"

	"pcluster/internal/fleet"
)

// noticeInterval is how often spot instances are to ask for notices. (AWS
// documentation: Spot Instance interruption notices.)
const noticeInterval = 5 * time.Second

// Paths of notices in the instance metadata.
const (
	interruptionPath = "spot/instance-action"
	rebalancePath    = "events/recommendations/rebalance"
)

// followNotices reports that EC2 is going to take the instance away.
func (w *Watcher) followNotices(ctx context.Context) error {
	if !w.Spot {
		return nil
	}
	complained, rebalance := false, false
	for {
		until, err := w.interruption(ctx)
		if err == nil && !rebalance && until.IsZero() {
			_, rebalance, err = w.Metadata(ctx, rebalancePath)
			if rebalance {
				w.Log.Warn("EC2 recommends to rebalance: this spot instance may be taken away")
				w.change(func(r *fleet.Report) { r.Rebalance = true })
			}
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !complained:
			complained = true
			w.Log.Warn("notices of the spot instance's end can't be asked for", "error", err)
		case err == nil:
			complained = false
		}
		if !until.IsZero() {
			w.Log.Warn("EC2 takes this spot instance away", "at", until)
			w.change(func(r *fleet.Report) { r.SpotUntil = until })
			return nil
		}
		if !sleep(ctx, noticeInterval) {
			return nil
		}
	}
}

// interruption returns when the instance will be taken away, or zero.
func (w *Watcher) interruption(ctx context.Context) (time.Time, error) {
	text, ok, err := w.Metadata(ctx, interruptionPath)
	if err != nil || !ok {
		return time.Time{}, err
	}
	var notice struct {
		Time time.Time `json:"time"`
	}
	if err := json.Unmarshal([]byte(text), &notice); err != nil || notice.Time.IsZero() {
		// Whatever it says, it is a notice: two minutes are what EC2 gives.
		return time.Now().Add(2 * time.Minute), nil
	}
	return notice.Time, nil
}
