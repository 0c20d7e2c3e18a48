package watch

import (
	"context"
	"sync"
	"time"
)

// A solitude is since when a node has had neither a head node nor a job.
type solitude struct {
	mu      sync.Mutex
	since   time.Time // of the last contact, or job
	inTouch bool      // there is a connection
	strange bool      // someone else has the head node's address
}

// met takes notice that there is a connection, and says whether there was none before.
func (s *solitude) met() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.inTouch
	s.inTouch, s.strange = true, false
	return !was
}

// left takes notice that the connection has ended.
func (s *solitude) left(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inTouch {
		s.inTouch, s.since = false, now
	}
}

func (s *solitude) foreign() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.strange = true
}

// interrupted takes notice of something that makes the node wanted at a time.
func (s *solitude) interrupted(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since = now
}

// lasts says for how long there has been nobody; zero if there is a connection.
func (s *solitude) lasts(now time.Time) (d time.Duration, strange bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inTouch {
		return 0, false
	}
	return now.Sub(s.since), s.strange
}

const (
	solitudeInterval = 15 * time.Second
	// leastPatience keeps a head node that is restarted from losing its nodes.
	leastPatience = time.Minute
	// slurmctldPort is the first of slurmctld's. Where it listens there is a head
	// node, whose fleet daemon somebody may have stopped.
	slurmctldPort = 6820
	probeTimeout  = 5 * time.Second
)

// mindSolitude ends the node when it has been alone for too long. While a job runs
// it stays, whatever has become of the head node.
func (w *Watcher) mindSolitude(ctx context.Context) error {
	said := false
	for {
		if !sleep(ctx, solitudeInterval) {
			return nil
		}
		lasts, strange := w.alone.lasts(time.Now())
		if lasts < solitudeInterval {
			said = false
			continue
		}
		jobs, err := w.Jobs()
		if err != nil {
			w.Log.Warn("whether jobs run on this node can't be seen: it stays", "error", err)
		}
		if jobs || err != nil || !strange && w.slurmctldListens(ctx) {
			w.alone.interrupted(time.Now())
			continue
		}
		w.mu.Lock()
		answer := w.answer
		w.mu.Unlock()
		patience := max(answer.Patience, leastPatience)
		if !said {
			said = true
			w.Log.Warn("the head node can't be reached and no job runs", "patience", patience, "stays", answer.Stay)
		}
		if answer.Stay || lasts < patience {
			continue
		}
		w.Log.Error("nobody owns this node any more: it ends", "alone for", lasts.Round(time.Second))
		if err := w.End(ctx); err != nil {
			w.Log.Error("the node can't be ended", "error", err)
			continue
		}
		<-ctx.Done()
		return nil
	}
}

func (w *Watcher) slurmctldListens(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	conn, err := w.Dial(ctx, slurmctldPort)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}
