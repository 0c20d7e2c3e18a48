package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
)

// The log file of a user's commands: rotated when it has grown to logSize, with
// logBackups older ones kept.
const (
	logSize    = 5 << 20
	logBackups = 3
)

// openLog begins the log of a command. A log that can't be written is no reason
// not to do what was asked.
func (env *Env) openLog(command string, debug bool) (close func()) {
	level := slog.LevelInfo
	if debug {
		level = slog.LevelDebug
	}
	close = func() {}
	if env.Getenv("PCLUSTER_LOG_TO_STDOUT") != "" {
		env.log = slog.New(&lineHandler{level: level, out: env.Stdout, bare: true, mu: new(sync.Mutex)})
	} else if file := openLogFile(env.logPath()); file != nil {
		env.log = slog.New(&lineHandler{level: level, out: file, mu: new(sync.Mutex)})
		close = func() { file.Close() }
	}
	env.log.Info("Handling CLI command " + command)
	return close
}

func (env *Env) logPath() string {
	if path := env.Getenv("PCLUSTER_LOG_FILE"); path != "" {
		return path
	}
	if env.Home == "" {
		return ""
	}
	return filepath.Join(env.Home, ".parallelcluster", "pcluster-cli.log")
}

func openLogFile(path string) *os.File {
	if path == "" || os.MkdirAll(filepath.Dir(path), 0o755) != nil {
		return nil
	}
	if info, err := os.Stat(path); err == nil && info.Size() >= logSize {
		for i := logBackups; i > 0; i-- {
			older := path
			if i > 1 {
				older += "." + strconv.Itoa(i-1)
			}
			// One that is missing, or that somebody else has just moved, leaves a gap.
			_ = os.Rename(older, path+"."+strconv.Itoa(i))
		}
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil
	}
	return file
}

// A lineHandler writes records in the form that readers of this log know:
// time - LEVEL - file:line:function() - message.
type lineHandler struct {
	level slog.Level
	bare  bool // only the message
	attrs []slog.Attr
	mu    *sync.Mutex
	out   io.Writer
}

func (h *lineHandler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level }

func (h *lineHandler) WithGroup(string) slog.Handler { return h }

func (h *lineHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	clone := *h
	clone.attrs = append(clone.attrs[:len(clone.attrs):len(clone.attrs)], attrs...)
	return &clone
}

func (h *lineHandler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	if !h.bare {
		level := r.Level.String()
		if r.Level == slog.LevelWarn {
			level = "WARNING"
		}
		frame, _ := runtime.CallersFrames([]uintptr{r.PC}).Next()
		function := frame.Function[strings.LastIndexAny(frame.Function, "./")+1:]
		fmt.Fprintf(&b, "%s - %s - %s:%d:%s() - ", strings.Replace(r.Time.Format("2006-01-02 15:04:05.000"), ".", ",", 1),
			level, filepath.Base(frame.File), frame.Line, function)
	}
	b.WriteString(r.Message)
	add := func(a slog.Attr) bool {
		fmt.Fprintf(&b, " %s=%v", a.Key, a.Value)
		return true
	}
	for _, a := range h.attrs {
		add(a)
	}
	r.Attrs(add)
	b.WriteByte('\n')
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := io.WriteString(h.out, b.String())
	return err
}

// logged returns the parameters of an SDK call as the log shows them: without
// bodies, and cut where they go on and on.
func logged(parameters any) string {
	const most = 1000
	text, err := json.Marshal(parameters)
	if err != nil {
		return fmt.Sprintf("%T", parameters)
	}
	if len(text) > most {
		return string(text[:most]) + "..."
	}
	return string(text)
}
