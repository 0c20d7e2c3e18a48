// Package metric counts, and shows the counts in Prometheus's text format.
//
// It is a fraction of Prometheus's own library, which can't be used here: what it
// imports finds methods by name at run time, so that the linker must keep all methods
// of all AWS clients, and a program that is started for every job becomes more than
// four times as large.
package metric

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// A Set is some metrics that are shown together.
type Set struct {
	mu      sync.Mutex
	metrics []shown
}

type shown interface{ show(w *bufio.Writer) }

// Together runs a function during which nobody is shown the metrics, so that what it
// changes is seen as a whole.
func (s *Set) Together(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// WriteTo writes all metrics, in the order in which they were made.
func (s *Set) WriteTo(w io.Writer) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	counted := &counter{w: w}
	b := bufio.NewWriter(counted)
	for _, m := range s.metrics {
		m.show(b)
	}
	err := b.Flush()
	return counted.n, err
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// A family is a metric with its label names; a series of it has values for them.
type family struct {
	name, help, kind string
	labels           []string
}

// separator can't be in a label's value as EC2, Slurm and we write them.
const separator = "\x00"

func (f *family) key(values []string) string {
	if len(values) != len(f.labels) {
		panic(fmt.Sprintf("metric %s has the labels %v, not %d", f.name, f.labels, len(values))) // a mistake of ours
	}
	return strings.Join(values, separator)
}

func (f *family) head(w *bufio.Writer) {
	fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", f.name, helpEscapes.Replace(f.help), f.name, f.kind)
}

var (
	helpEscapes  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	valueEscapes = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
)

// line writes one sample; more are labels beyond the family's.
func (f *family) line(w *bufio.Writer, suffix, key string, value float64, more ...string) {
	w.WriteString(f.name + suffix)
	var labels []string
	if len(f.labels) > 0 {
		for i, v := range strings.Split(key, separator) {
			labels = append(labels, f.labels[i]+`="`+valueEscapes.Replace(v)+`"`)
		}
	}
	if labels = append(labels, more...); len(labels) > 0 {
		w.WriteString("{" + strings.Join(labels, ",") + "}")
	}
	w.WriteString(" " + number(value) + "\n")
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// A Value is a number, or several that differ in their labels: a counter or a gauge.
type Value struct {
	family
	mu     sync.Mutex
	values map[string]float64
	read   func() float64
}

// Counter makes a metric that only grows.
func (s *Set) Counter(name, help string, labels ...string) *Value {
	return s.value(name, help, "counter", labels)
}

// Gauge makes a metric that goes up and down.
func (s *Set) Gauge(name, help string, labels ...string) *Value {
	return s.value(name, help, "gauge", labels)
}

// Read makes a metric, a counter or a gauge, that is asked for when it is shown.
func (s *Set) Read(name, help, kind string, read func() float64) {
	s.value(name, help, kind, nil).read = read
}

func (s *Set) value(name, help, kind string, labels []string) *Value {
	v := &Value{family: family{name, help, kind, labels}, values: make(map[string]float64)}
	s.metrics = append(s.metrics, v)
	return v
}

// Add adds to the number with these label values.
func (v *Value) Add(n float64, labels ...string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.values[v.key(labels)] += n
}

// Set gives the number with these label values a value.
func (v *Value) Set(n float64, labels ...string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.values[v.key(labels)] = n
}

// Reset forgets all numbers.
func (v *Value) Reset() {
	v.mu.Lock()
	defer v.mu.Unlock()
	clear(v.values)
}

func (v *Value) show(w *bufio.Writer) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.head(w)
	if v.read != nil {
		v.line(w, "", "", v.read())
	}
	for _, key := range slices.Sorted(maps.Keys(v.values)) {
		v.line(w, "", key, v.values[key])
	}
}

// A Histogram counts observations by size.
type Histogram struct {
	family
	bounds []float64
	mu     sync.Mutex
	series map[string]*observations
}

type observations struct {
	counts []uint64 // by bucket; the last is of all that are larger than the bounds
	sum    float64
}

// Histogram makes a histogram with the upper bounds of its buckets, in ascending order.
func (s *Set) Histogram(name, help string, bounds []float64, labels ...string) *Histogram {
	h := &Histogram{family: family{name, help, "histogram", labels}, bounds: bounds, series: make(map[string]*observations)}
	s.metrics = append(s.metrics, h)
	return h
}

// Observe counts an observation with these label values.
func (h *Histogram) Observe(v float64, labels ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	key := h.key(labels)
	o := h.series[key]
	if o == nil {
		o = &observations{counts: make([]uint64, len(h.bounds)+1)}
		h.series[key] = o
	}
	i, _ := slices.BinarySearch(h.bounds, v)
	o.counts[i]++
	o.sum += v
}

func (h *Histogram) show(w *bufio.Writer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.head(w)
	for _, key := range slices.Sorted(maps.Keys(h.series)) {
		o := h.series[key]
		var n uint64
		for i, bound := range h.bounds {
			n += o.counts[i]
			h.line(w, "_bucket", key, float64(n), `le="`+number(bound)+`"`)
		}
		n += o.counts[len(h.bounds)]
		h.line(w, "_bucket", key, float64(n), `le="+Inf"`)
		h.line(w, "_sum", key, o.sum)
		h.line(w, "_count", key, float64(n))
	}
}
