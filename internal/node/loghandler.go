package node

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
)

// A logHandler writes log lines in the form that readers of the cluster's logs know:
// date and time with milliseconds after a comma, level, text.
type logHandler struct {
	mu    *sync.Mutex
	w     io.Writer
	attrs string
}

func newLogHandler(w io.Writer) *logHandler { return &logHandler{mu: new(sync.Mutex), w: w} }

func (h *logHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo
}

func (h *logHandler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(strings.Replace(r.Time.UTC().Format("2006-01-02 15:04:05.000"), ".", ",", 1))
	fmt.Fprintf(&b, " - %s - %s%s", r.Level, r.Message, h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		b.WriteString(attribute(a))
		return true
	})
	b.WriteByte('\n')
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := io.WriteString(h.w, b.String())
	return err
}

func attribute(a slog.Attr) string {
	return fmt.Sprintf(", %s: %s", a.Key, strings.ReplaceAll(a.Value.Resolve().String(), "\n", " / "))
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *h
	for _, a := range attrs {
		next.attrs += attribute(a)
	}
	return &next
}

func (h *logHandler) WithGroup(string) slog.Handler { return h }
