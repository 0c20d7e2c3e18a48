package sim

import (
	"container/heap"
	"time"
)

// A Clock is virtual time: what is to happen, in the order of its time and, at the
// same time, of its planning.
type Clock struct {
	now    time.Time
	events events
	seq    int
}

// NewClock returns a clock that stands at a moment.
func NewClock(start time.Time) *Clock { return &Clock{now: start} }

// Now is the time of the event that is happening.
func (c *Clock) Now() time.Time { return c.now }

// At plans what is to happen at a time; in the past means now.
func (c *Clock) At(t time.Time, f func()) {
	if t.Before(c.now) {
		t = c.now
	}
	c.seq++
	heap.Push(&c.events, event{t, c.seq, f})
}

// After plans what is to happen after a while.
func (c *Clock) After(d time.Duration, f func()) { c.At(c.now.Add(d), f) }

// Step lets the next event happen, unless it is later than limit.
func (c *Clock) Step(limit time.Time) bool {
	if len(c.events) == 0 || c.events[0].at.After(limit) {
		return false
	}
	e := heap.Pop(&c.events).(event)
	c.now = e.at
	e.do()
	return true
}

// Advance lets everything happen that is due until a time, which becomes now.
func (c *Clock) Advance(t time.Time) {
	for c.Step(t) {
	}
	if t.After(c.now) {
		c.now = t
	}
}

// Next is the time of the next event; false if nothing will ever happen.
func (c *Clock) Next() (time.Time, bool) {
	if len(c.events) == 0 {
		return time.Time{}, false
	}
	return c.events[0].at, true
}

type event struct {
	at  time.Time
	seq int
	do  func()
}

// events is a heap.
type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	if !e[i].at.Equal(e[j].at) {
		return e[i].at.Before(e[j].at)
	}
	return e[i].seq < e[j].seq
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	last := old[len(old)-1]
	*e = old[:len(old)-1]
	return last
}
