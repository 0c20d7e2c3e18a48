// Package actions runs the user's own scripts on a node: OnNodeStart,
// OnNodeConfigured and OnNodeUpdated of a cluster file.
//
// All scripts of an event are downloaded before the first runs. They run one
// after the other, as root, with their arguments one by one, and the first that
// fails ends the event. A failure says which script, what it returned and what it
// printed last, and begins with the texts by which pcluster and its users' tools
// recognise the cause. Start at [Runner.Run].
package actions

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"pcluster/internal/config"
)

// An Event is the moment in a node's life at which scripts run.
type Event string

// The events, by the keys of the cluster file.
const (
	OnNodeStart      Event = "OnNodeStart"
	OnNodeConfigured Event = "OnNodeConfigured"
	OnNodeUpdated    Event = "OnNodeUpdated"
)

// variable is the stem of the environment variables that tell scripts of an
// event what runs, by ParallelCluster's older names.
func (e Event) variable() string {
	switch e {
	case OnNodeStart:
		return "cfn_preinstall"
	case OnNodeConfigured:
		return "cfn_postinstall"
	default:
		return "cfn_postupdate"
	}
}

// S3 is the part of S3 that fetching scripts needs; *s3.Client has it.
type S3 interface {
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
}

// A Runner runs the scripts of a node.
type Runner struct {
	S3   S3
	HTTP *http.Client // for https scripts; nil means the default with a time-out of 60 s
	Dir  string       // folder for scripts while they run; it must allow execution. Empty: the system's
	Log  io.Writer    // gets all output of the scripts, and a line before and after each
}

// A Stage is where an event failed. Its value is part of the failure's text.
type Stage string

// The stages.
const (
	Download Stage = "download"
	Execute  Stage = "execute"
	Start    Stage = "run" // the script could not be started at all
)

// Failing names the stage as the node's JSON events do.
func (s Stage) Failing() string {
	if s == Download {
		return "downloading"
	}
	return "executing"
}

// A Failure is the end of an event.
type Failure struct {
	Event    Event
	Stage    Stage
	Step     int    // which script of the event, from 1
	Of       int    // how many the event has
	Script   string // its URL, without a query, which may hold a signature
	ExitCode int    // of the script; -1 if it did not exit by itself
	Output   string // its last lines, standard output and error together
	Err      error
}

func (f *Failure) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Failed to %s %s script", f.Stage, f.Event)
	if f.Of > 1 {
		fmt.Fprintf(&b, " %d of %d", f.Step, f.Of)
	}
	fmt.Fprintf(&b, " %s", f.Script)
	switch {
	case f.Stage == Execute && f.ExitCode >= 0:
		fmt.Fprintf(&b, ": exit code %d", f.ExitCode)
	case f.Err != nil:
		fmt.Fprintf(&b, ": %v", f.Err)
	}
	if f.Output != "" {
		fmt.Fprintf(&b, "; last lines of its output:\n%s", f.Output)
	}
	return b.String()
}

func (f *Failure) Unwrap() error { return f.Err }

// Run runs the scripts of one event in order. Its error, if any, is a *Failure.
func (r *Runner) Run(ctx context.Context, event Event, scripts []config.Script) error {
	if len(scripts) == 0 {
		return nil
	}
	dir, err := os.MkdirTemp(r.Dir, "pcluster-actions-")
	if err != nil {
		return &Failure{Event: event, Stage: Start, Step: 1, Of: len(scripts), Script: publicURL(scripts[0].Script), Err: err}
	}
	defer os.RemoveAll(dir)
	files, err := r.download(ctx, dir, event, scripts)
	if err != nil {
		return err
	}
	for i, s := range scripts {
		if err := r.execute(ctx, event, i, scripts, files[i]); err != nil {
			return err
		}
		fmt.Fprintf(r.Log, "%s: %s %d of %d ended well: %s\n", now(), event, i+1, len(scripts), publicURL(s.Script))
	}
	return nil
}

// now is the time as log lines have it.
func now() string { return time.Now().UTC().Format("2006-01-02T15:04:05.000Z") }

// download fetches all scripts at once. Of several failures the first in order
// is reported.
func (r *Runner) download(ctx context.Context, dir string, event Event, scripts []config.Script) ([]string, error) {
	files := make([]string, len(scripts))
	failed := make([]error, len(scripts))
	sums := make([]string, len(scripts))
	var wg sync.WaitGroup
	for i, s := range scripts {
		files[i] = filepath.Join(dir, fmt.Sprintf("%d-%s", i+1, scriptName(s.Script)))
		wg.Add(1)
		go func() {
			defer wg.Done()
			sums[i], failed[i] = r.fetch(ctx, s.Script, files[i])
		}()
	}
	wg.Wait()
	for i, err := range failed {
		if err != nil {
			return nil, &Failure{Event: event, Stage: Download, Step: i + 1, Of: len(scripts), Script: publicURL(scripts[i].Script), ExitCode: -1, Err: err}
		}
		fmt.Fprintf(r.Log, "%s: %s %d of %d is %s, sha256 %s\n", now(), event, i+1, len(scripts), publicURL(scripts[i].Script), sums[i])
	}
	return files, nil
}

// maxScript bounds what a mistaken URL can bring: no script is larger.
const maxScript = 64 << 20

func (r *Runner) fetch(ctx context.Context, location, file string) (sum string, err error) {
	body, err := r.Open(ctx, location)
	if err != nil {
		return "", err
	}
	defer body.Close()
	data, err := io.ReadAll(io.LimitReader(body, maxScript+1))
	if err != nil {
		return "", err
	}
	if len(data) > maxScript {
		return "", fmt.Errorf("larger than %d MiB", maxScript>>20)
	}
	hash := sha256.Sum256(data)
	// A process that another step starts meanwhile would hold the file open for writing
	// until its exec, and the script could not be run ("text file busy").
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return hex.EncodeToString(hash[:]), os.WriteFile(file, unixLines(data), 0o700)
}

// unixLines makes a script that was written on Windows start: its first line
// would name an interpreter that ends in a carriage return. Only text is touched.
func unixLines(data []byte) []byte {
	if bytes.IndexByte(data, 0) >= 0 {
		return data
	}
	return bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
}

// Open returns the content behind an s3:// or https:// URL.
func (r *Runner) Open(ctx context.Context, location string) (io.ReadCloser, error) {
	u, err := url.Parse(location)
	if err != nil {
		return nil, err
	}
	switch u.Scheme {
	case "s3":
		key := strings.TrimPrefix(u.Path, "/")
		out, err := r.S3.GetObject(ctx, &s3.GetObjectInput{Bucket: &u.Host, Key: &key})
		if err != nil {
			return nil, err
		}
		return out.Body, nil
	case "https", "http":
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, location, nil)
		if err != nil {
			return nil, err
		}
		client := r.HTTP
		if client == nil {
			client = &http.Client{Timeout: time.Minute}
		}
		resp, err := client.Do(req)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode != http.StatusOK {
			resp.Body.Close()
			return nil, fmt.Errorf("the server answered %s", resp.Status)
		}
		return resp.Body, nil
	default:
		return nil, fmt.Errorf("scheme %q: use s3 or https", u.Scheme)
	}
}

// execute runs one script and returns a *Failure unless it exits with 0.
func (r *Runner) execute(ctx context.Context, event Event, i int, scripts []config.Script, file string) error {
	s := scripts[i]
	failure := &Failure{Event: event, Stage: Execute, Step: i + 1, Of: len(scripts), Script: publicURL(s.Script), ExitCode: -1}
	tail := &tail{keep: keptOutput}
	cmd := exec.CommandContext(ctx, file, s.Args...)
	cmd.Env = append(os.Environ(), event.variable()+"="+quote(s.Script), event.variable()+"_args="+bashArray(s.Args))
	cmd.Stdout = io.MultiWriter(r.Log, tail)
	cmd.Stderr = cmd.Stdout
	// A script may leave a service behind that keeps its output open.
	cmd.WaitDelay = 2 * time.Second
	err := cmd.Start()
	if err != nil {
		failure.Stage, failure.Err = Start, explainStart(err, file)
		return failure
	}
	err = cmd.Wait()
	if err == nil || errors.Is(err, exec.ErrWaitDelay) {
		return nil
	}
	failure.Err, failure.Output = err, tail.String()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		failure.ExitCode = exit.ExitCode()
	}
	if ctx.Err() != nil {
		failure.Err = ctx.Err()
	}
	return failure
}

// explainStart adds what users most often forget.
func explainStart(err error, file string) error {
	if f, openErr := os.Open(file); openErr == nil {
		defer f.Close()
		head := make([]byte, 4)
		n, _ := io.ReadFull(f, head)
		if head = head[:n]; !bytes.HasPrefix(head, []byte("#!")) && !bytes.HasPrefix(head, []byte("\x7fELF")) {
			return fmt.Errorf("%w: the script has no first line like #!/bin/bash", err)
		}
	}
	return err
}

// keptOutput is how much of a script's output a failure quotes: the reason that a
// stack can show is 4 KiB in all.
const keptOutput = 1500

// A tail keeps the end of what is written to it.
type tail struct {
	keep int
	mu   sync.Mutex
	buf  []byte
	cut  bool
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - t.keep; over > 0 {
		t.buf, t.cut = append(t.buf[:0], t.buf[over:]...), true
	}
	return len(p), nil
}

// String returns whole lines, as far as they fit.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := strings.ToValidUTF8(string(t.buf), "\uFFFD")
	if t.cut {
		if _, rest, ok := strings.Cut(s, "\n"); ok && strings.TrimSpace(rest) != "" {
			s = rest
		}
	}
	return strings.TrimSpace(s)
}

// scriptName is the last part of a script's URL, fit for a file name.
func scriptName(location string) string {
	name := location
	if u, err := url.Parse(location); err == nil {
		name = u.Path
	}
	name = filepath.Base(name)
	return strings.Map(func(r rune) rune {
		if r == '/' || r < ' ' {
			return '_'
		}
		return r
	}, name)
}

// publicURL is a URL as messages may show it: queries hold signatures.
func publicURL(location string) string {
	public, _, _ := strings.Cut(location, "?")
	return public
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func bashArray(args []string) string {
	quoted := make([]string, len(args))
	for i, a := range args {
		quoted[i] = quote(a)
	}
	return "(" + strings.Join(quoted, " ") + ")"
}
