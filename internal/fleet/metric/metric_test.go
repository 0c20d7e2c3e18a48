package metric

import (
	"math"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func shownAs(t *testing.T, s *Set) string {
	t.Helper()
	var b strings.Builder
	n, err := s.WriteTo(&b)
	if err != nil || int(n) != b.Len() {
		t.Fatalf("%d of %d bytes, %v", n, b.Len(), err)
	}
	return b.String()
}

func TestPrometheusTextFormat(t *testing.T) {
	var s Set
	c := s.Counter("calls_total", "Calls, by \\ and\nanswer.", "operation", "outcome")
	g := s.Gauge("nodes", "Nodes.")
	h := s.Histogram("took_seconds", "How long.", []float64{0.5, 1, 2}, "stage")
	s.Read("memory_bytes", "Memory.", "gauge", func() float64 { return 1 << 20 })
	s.Gauge("nothing", "Nothing yet.", "x")
	c.Add(1, "b", "ok")
	c.Add(2, "a", `quo"ted \ and`+"\nbroken")
	c.Add(1, "b", "ok")
	g.Set(7)
	g.Set(math.Inf(1))
	for _, v := range []float64{0.5, 0.6, 3} {
		h.Observe(v, "boot")
	}
	want := `# HELP calls_total Calls, by \\ and\nanswer.
# TYPE calls_total counter
calls_total{operation="a",outcome="quo\"ted \\ and\nbroken"} 2
calls_total{operation="b",outcome="ok"} 2
# HELP nodes Nodes.
# TYPE nodes gauge
nodes +Inf
# HELP took_seconds How long.
# TYPE took_seconds histogram
took_seconds_bucket{stage="boot",le="0.5"} 1
took_seconds_bucket{stage="boot",le="1"} 2
took_seconds_bucket{stage="boot",le="2"} 2
took_seconds_bucket{stage="boot",le="+Inf"} 3
took_seconds_sum{stage="boot"} 4.1
took_seconds_count{stage="boot"} 3
# HELP memory_bytes Memory.
# TYPE memory_bytes gauge
memory_bytes 1.048576e+06
# HELP nothing Nothing yet.
# TYPE nothing gauge
`
	if diff := cmp.Diff(want, shownAs(t, &s)); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
	g.Reset()
	if strings.Contains(shownAs(t, &s), "nodes +Inf") {
		t.Error("a value is shown that was forgotten")
	}
}

func TestWhatChangesTogetherIsShownTogether(t *testing.T) {
	var s Set
	g := s.Gauge("g", "G.", "x")
	var done sync.WaitGroup
	done.Go(func() {
		for range 1000 {
			s.Together(func() {
				g.Reset()
				g.Set(1, "a")
				g.Set(1, "b")
			})
		}
	})
	for range 1000 {
		if n := strings.Count(shownAs(t, &s), "g{"); n != 0 && n != 2 {
			t.Fatalf("%d series of 2", n)
		}
	}
	done.Wait()
}

func TestWrongLabelsAreFoundByTheFirstTest(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	var s Set
	s.Counter("c", "C.", "a", "b").Add(1, "only one")
}
