// Package steps runs the journalled list of steps by which a node boots.
//
// Steps run as soon as those they come after are done, in parallel where nothing
// says otherwise. The journal notes each start and end; a program that runs the
// same list again, after a crash or a reboot, repeats only what was not done.
// Steps must therefore be safe to repeat. Start at [Run].
package steps

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// A Step is one thing to do.
type Step struct {
	Name  string
	After []string // names of steps that have to be done before
	// Always makes the step run at every boot, since what it does does not outlive
	// one: mounting, starting.
	Always bool
	Do     func(ctx context.Context) error
}

// Values of [Event.Status].
const (
	Started = "start"
	Done    = "done"
	Failed  = "failed"
	Skipped = "skipped" // done at an earlier boot
)

// An Event is a line of the journal, as JSON. People and `create-cluster --wait`
// read it.
type Event struct {
	Time    time.Time `json:"time"`
	Step    string    `json:"step"`
	Status  string    `json:"status"`
	Seconds float64   `json:"seconds,omitempty"`
	Detail  string    `json:"detail,omitempty"`
}

// Error is the failure of a step.
type Error struct {
	Step string
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns what the step returned.
func (e *Error) Unwrap() error { return e.Err }

// Run runs the steps and appends to the journal file. After a failure no further
// step starts; those under way are cancelled and waited for. It returns the first
// failure, as an *Error, or an error about the list itself.
func Run(ctx context.Context, journal string, list []Step) error {
	if err := check(list); err != nil {
		return err
	}
	j, err := openJournal(journal)
	if err != nil {
		return err
	}
	defer j.file.Close()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type end struct {
		step *Step
		err  error
	}
	ends := make(chan end)
	waiting := make(map[string]*Step, len(list))
	for i := range list {
		waiting[list[i].Name] = &list[i]
	}
	done := map[string]bool{}
	running := 0
	var failed error
	for {
		if failed == nil {
			for _, s := range list { // in the order of the list, so that journals compare
				step, ok := waiting[s.Name]
				if !ok || !all(done, step.After) {
					continue
				}
				delete(waiting, step.Name)
				running++
				go func() { ends <- end{step, j.run(ctx, step)} }()
			}
		}
		if running == 0 {
			return failed
		}
		e := <-ends
		running--
		if e.err != nil {
			if failed == nil {
				failed = &Error{e.step.Name, e.err}
				cancel()
			}
			continue
		}
		done[e.step.Name] = true
	}
}

func all(done map[string]bool, names []string) bool {
	return !slices.ContainsFunc(names, func(n string) bool { return !done[n] })
}

// check refuses lists that could not end: unknown or double names, and cycles.
func check(list []Step) error {
	known := map[string]bool{}
	for _, s := range list {
		if known[s.Name] {
			return fmt.Errorf("two steps are called %q", s.Name)
		}
		known[s.Name] = true
	}
	done := map[string]bool{}
	for len(done) < len(list) {
		before := len(done)
		for _, s := range list {
			for _, a := range s.After {
				if !known[a] {
					return fmt.Errorf("step %q comes after %q, which does not exist", s.Name, a)
				}
			}
			if all(done, s.After) {
				done[s.Name] = true
			}
		}
		if len(done) == before {
			return errors.New("steps wait for each other in a circle")
		}
	}
	return nil
}

// A journal is the file of events, with what earlier runs got done.
type journal struct {
	mu   sync.Mutex
	file *os.File
	done map[string]bool
}

func openJournal(path string) (*journal, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	j := &journal{done: map[string]bool{}}
	if err := j.read(path); err != nil {
		return nil, err
	}
	var err error
	j.file, err = os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	return j, err
}

func (j *journal) read(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var e Event
		if json.Unmarshal(lines.Bytes(), &e) == nil && e.Status == Done { // a torn last line says nothing
			j.done[e.Step] = true
		}
	}
	return lines.Err()
}

// write appends one event. A journal that can't be written must not keep a node
// from booting: what was done is then done again next time.
func (j *journal) write(e Event) {
	line, err := json.Marshal(e)
	if err != nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	_, _ = j.file.Write(append(line, '\n'))
}

func (j *journal) run(ctx context.Context, s *Step) (err error) {
	start := time.Now()
	if j.done[s.Name] && !s.Always {
		j.write(Event{Time: start, Step: s.Name, Status: Skipped})
		return nil
	}
	j.write(Event{Time: start, Step: s.Name, Status: Started})
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("step %s: %v", s.Name, p)
		}
		e := Event{Time: time.Now(), Step: s.Name, Status: Done, Seconds: time.Since(start).Round(time.Millisecond).Seconds()}
		if err != nil {
			e.Status, e.Detail = Failed, err.Error()
		}
		j.write(e)
	}()
	return s.Do(ctx)
}
