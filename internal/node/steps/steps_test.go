package steps

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// diary notes in which order steps ran.
type diary struct {
	mu  sync.Mutex
	ran []string
}

func (d *diary) step(name string, after ...string) Step {
	return Step{Name: name, After: after, Do: func(context.Context) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.ran = append(d.ran, name)
		return nil
	}}
}

func TestStepsRunAfterWhatTheyNeed(t *testing.T) {
	var d diary
	err := Run(t.Context(), filepath.Join(t.TempDir(), "j"), []Step{
		d.step("slurmctld", "config", "munge"), d.step("config", "storage"), d.step("munge"), d.step("storage"),
	})
	if err != nil {
		t.Fatal(err)
	}
	at := func(n string) int { return slices.Index(d.ran, n) }
	if len(d.ran) != 4 || at("config") < at("storage") || at("slurmctld") < at("config") || at("slurmctld") < at("munge") {
		t.Errorf("order: %v", d.ran)
	}
}

func TestIndependentStepsRunAtOnce(t *testing.T) {
	met := make(chan struct{})
	meet := func(ctx context.Context) error {
		select {
		case met <- struct{}{}:
		case <-met:
		case <-time.After(time.Minute):
			return errors.New("the other step did not run at the same time")
		}
		return nil
	}
	if err := Run(t.Context(), filepath.Join(t.TempDir(), "j"), []Step{{Name: "a", Do: meet}, {Name: "b", Do: meet}}); err != nil {
		t.Fatal(err)
	}
}

// TestRunAfterACrashAtAnyStep kills the list at each step in turn and runs it
// again: each step is done exactly once, steps marked Always at every run.
func TestRunAfterACrashAtAnyStep(t *testing.T) {
	const n = 5
	for crash := range n {
		t.Run(fmt.Sprint(crash), func(t *testing.T) {
			journal := filepath.Join(t.TempDir(), "j")
			count := map[string]int{}
			list := func(fail bool) (list []Step) {
				for i := range n {
					s := Step{Name: fmt.Sprint(i), Always: i == 1, Do: func(context.Context) error {
						if fail && i == crash {
							return errors.New("power cut")
						}
						count[fmt.Sprint(i)]++
						return nil
					}}
					if i > 0 {
						s.After = []string{fmt.Sprint(i - 1)}
					}
					list = append(list, s)
				}
				return list
			}
			var e *Error
			if err := Run(t.Context(), journal, list(true)); !errors.As(err, &e) || e.Step != fmt.Sprint(crash) {
				t.Fatalf("first run: %v", err)
			}
			if err := Run(t.Context(), journal, list(false)); err != nil {
				t.Fatal(err)
			}
			for i := range n {
				want := 1
				if i == 1 && crash > 1 {
					want = 2
				}
				if count[fmt.Sprint(i)] != want {
					t.Errorf("step %d was done %d times, want %d", i, count[fmt.Sprint(i)], want)
				}
			}
		})
	}
}

func TestFailureCancelsOthersAndIsInTheJournal(t *testing.T) {
	journal := filepath.Join(t.TempDir(), "j")
	err := Run(t.Context(), journal, []Step{
		{Name: "bad", Do: func(context.Context) error { return errors.New("no such thing") }},
		{Name: "slow", Do: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }},
		{Name: "never", After: []string{"slow"}, Do: func(context.Context) error { t.Error("a step ran after the failure"); return nil }},
	})
	if err == nil || err.Error() != "no such thing" {
		t.Errorf("Run: %v", err)
	}
	data, _ := os.ReadFile(journal)
	if !strings.Contains(string(data), `"step":"bad","status":"failed"`) || !strings.Contains(string(data), `"detail":"no such thing"`) {
		t.Errorf("journal:\n%s", data)
	}
}

func TestImpossibleListsAreRefused(t *testing.T) {
	nothing := func(context.Context) error { t.Error("a step ran"); return nil }
	for name, list := range map[string][]Step{
		"circle":  {{Name: "a", After: []string{"b"}, Do: nothing}, {Name: "b", After: []string{"a"}, Do: nothing}},
		"unknown": {{Name: "a", After: []string{"c"}, Do: nothing}},
		"twice":   {{Name: "a", Do: nothing}, {Name: "a", Do: nothing}},
	} {
		if err := Run(t.Context(), filepath.Join(t.TempDir(), "j"), list); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
