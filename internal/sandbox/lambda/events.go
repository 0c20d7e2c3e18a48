package lambda

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// pauses before an event that nobody waits for is tried again. Lambda waits for
// one and two minutes; people at a laptop do not.
func pauses() []time.Duration { return []time.Duration{5 * time.Second, 10 * time.Second} }

// An event is one that nobody waits for (InvocationType Event). Its key is an ID;
// it is gone when a function took it, or could not.
type event struct {
	Function string
	Payload  []byte
	Attempt  int
}

// queue keeps an event and works on it.
func (s *Service) queue(f function, payload []byte) error {
	id := uuid.NewString()
	if err := s.events.Put(id, event{Function: f.Name, Payload: payload}); err != nil {
		return err
	}
	s.work(id)
	return nil
}

// Start goes on with events that were under way when the region was last up. It
// returns at once.
func (s *Service) Start(context.Context) {
	for _, id := range s.events.Keys() {
		s.work(id)
	}
}

// work brings a queued event to its end.
func (s *Service) work(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.queued.Add(1)
	go func() {
		defer s.queued.Done()
		for s.try(id) {
			ev, _ := s.events.Get(id)
			select {
			case <-time.After(s.retries[ev.Attempt-1]):
			case <-s.end:
				return
			}
		}
	}()
}

// try gives an event to its function and reports whether it has to be tried
// again.
func (s *Service) try(id string) (again bool) {
	ev, ok := s.events.Get(id)
	if !ok {
		return false
	}
	f, err := s.find(&ev.Function)
	var r response
	if err == nil {
		r, err = s.run(context.Background(), f, ev.Payload)
	}
	select {
	case <-s.end: // that is why it failed, if it did: the next daemon tries again
		if err != nil || r.failed != "" {
			return false
		}
	default:
	}
	switch {
	case err != nil:
		s.cfg.Log.Error("invoke function", "function", ev.Function, "err", err)
	case r.failed != "":
		s.cfg.Log.Warn("function failed", "function", ev.Function, "answer", string(r.payload))
	}
	if (err != nil || r.failed != "") && ev.Attempt < len(s.retries) {
		if _, err := s.events.Update(id, func(e *event) error { e.Attempt++; return nil }); err == nil {
			return true
		}
	}
	if err := s.events.Delete(id); err != nil {
		s.cfg.Log.Error("forget event", "function", ev.Function, "err", err)
	}
	return false
}
