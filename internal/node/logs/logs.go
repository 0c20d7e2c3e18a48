// Package logs ships a node's log files to CloudWatch Logs: a stream per file,
// named `<host name>.<instance ID>.<log name>` as ParallelCluster's users know
// them.
//
// Lines are shipped in the order of the file, at least once: how far each file
// got is written down after AWS has the lines, so that a restart of the program,
// or an endpoint that is away for an hour, loses nothing. It looks at its files
// twice a second, which costs a few system calls, and follows rotation by rename
// and by truncation. Start at [Run].
package logs

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/smithy-go"
)

// API is the part of CloudWatch Logs that shipping needs; *cloudwatchlogs.Client
// has it.
type API interface {
	CreateLogStream(context.Context, *cloudwatchlogs.CreateLogStreamInput, ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.CreateLogStreamOutput, error)
	PutLogEvents(context.Context, *cloudwatchlogs.PutLogEventsInput, ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.PutLogEventsOutput, error)
}

// Options say what goes where.
type Options struct {
	API        API
	Group      string // log group; it is the stack's and must exist
	Hostname   string // short name, at the time the streams are made
	InstanceID string
	Files      []File // see [Files]
	State      string // file that remembers how far each log got
}

// Limits of one PutLogEvents call (CloudWatch Logs API reference): bytes count 26
// more for each event.
const (
	maxBatchEvents = 10_000
	maxBatchBytes  = 1_048_576
	eventOverhead  = 26
	maxEventBytes  = 262_144 - eventOverhead // longer lines are cut into several events
)

// Times of the loop.
const (
	pollInterval = 500 * time.Millisecond
	retryFirst   = time.Second
	retryMost    = 60 * time.Second
)

// Run ships until ctx ends, and then once more what is there, so that a node's
// last words arrive. It returns an error only if the state file can't be used.
func Run(ctx context.Context, o Options) error {
	s, err := newShipper(o)
	if err != nil {
		return err
	}
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	retry := retryFirst
	for {
		err := s.pass(ctx)
		wait := tick.C
		if err != nil && ctx.Err() == nil {
			slog.Warn("ship logs", "err", err, "again_in", retry)
			wait = time.After(retry)
			retry = min(2*retry, retryMost)
		} else {
			retry = retryFirst
		}
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			return s.pass(last)
		case <-wait:
		}
	}
}

// progress is how far a file got.
type progress struct {
	Inode  uint64 `json:"inode"`
	Offset int64  `json:"offset"`
}

type shipper struct {
	o       Options
	now     func() time.Time
	done    map[string]progress // by path
	saved   string              // the state file's content
	streams map[string]bool     // streams known to exist
	open    map[string]*os.File // files that are followed
	last    map[string]int64    // newest timestamp sent per stream: a batch must be in order
}

func newShipper(o Options) (*shipper, error) {
	s := &shipper{o: o, now: time.Now, done: map[string]progress{}, streams: map[string]bool{}, open: map[string]*os.File{}, last: map[string]int64{}}
	data, err := os.ReadFile(o.State)
	if errors.Is(err, fs.ErrNotExist) {
		return s, os.MkdirAll(filepath.Dir(o.State), 0o755)
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &s.done); err != nil {
		// Shipping some lines twice is better than none.
		slog.Warn("start all logs anew: the state file is broken", "file", o.State, "err", err)
		s.done = map[string]progress{}
	}
	return s, nil
}

// pass ships what is new in all files. A file that fails does not hold up the others.
func (s *shipper) pass(ctx context.Context) error {
	var failed []error
	for _, f := range s.files() {
		if err := s.ship(ctx, f); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", f.Path, err))
		}
	}
	return errors.Join(append(failed, s.save())...)
}

// files are those of the options, with what patterns match by now.
func (s *shipper) files() []File {
	var out []File
	for _, f := range s.o.Files {
		if !strings.ContainsRune(f.Path, '*') {
			out = append(out, f)
			continue
		}
		paths, _ := filepath.Glob(f.Path) // fails for bad patterns only
		for path := range s.open {        // what was removed has a rest
			if ours, _ := filepath.Match(f.Path, path); ours && !slices.Contains(paths, path) {
				paths = append(paths, path)
			}
		}
		for _, path := range paths {
			out = append(out, File{path, f.Stream})
		}
	}
	return out
}

// ship sends what is new in one file, following it over rotation.
func (s *shipper) ship(ctx context.Context, f File) error {
	info, err := os.Stat(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return s.finishOld(ctx, f, 0)
	}
	if err != nil {
		return err
	}
	id := info.Sys().(*syscall.Stat_t).Ino
	if err := s.finishOld(ctx, f, id); err != nil {
		return err
	}
	p := s.done[f.Path]
	if p.Inode != id || info.Size() < p.Offset {
		p = progress{Inode: id} // new, rotated, or truncated
		s.done[f.Path] = p
	}
	if info.Size() == p.Offset {
		return nil
	}
	file := s.open[f.Path]
	if file == nil {
		if file, err = os.Open(f.Path); err != nil {
			return err
		}
		s.open[f.Path] = file
	}
	return s.send(ctx, f, file, false)
}

// finishOld sends the rest of a file that was renamed away and lets go of it.
func (s *shipper) finishOld(ctx context.Context, f File, current uint64) error {
	file := s.open[f.Path]
	if file == nil {
		return nil
	}
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if info.Sys().(*syscall.Stat_t).Ino == current {
		return nil
	}
	if err := s.send(ctx, f, file, true); err != nil {
		return err
	}
	delete(s.open, f.Path)
	return file.Close()
}

// send ships complete lines from where the file got to; with rest also a last
// line without its end.
func (s *shipper) send(ctx context.Context, f File, file *os.File, rest bool) error {
	p := s.done[f.Path]
	if _, err := file.Seek(p.Offset, io.SeekStart); err != nil {
		return err
	}
	r := bufio.NewReaderSize(file, 64<<10)
	var events []types.InputLogEvent
	size, read := 0, int64(0)
	flush := func() error {
		if err := s.put(ctx, f, events); err != nil {
			return err
		}
		p.Offset += read
		s.done[f.Path] = p
		events, size, read = nil, 0, 0
		return nil
	}
	for {
		line, err := r.ReadString('\n')
		if err != nil && (!rest || line == "") {
			break // a line that is still being written waits for the next pass
		}
		read += int64(len(line))
		for _, text := range split(strings.TrimRight(line, "\r\n")) {
			if len(events) == maxBatchEvents || size+len(text)+eventOverhead > maxBatchBytes {
				held := int64(len(line))
				read -= held // the line counts once all of it is sent
				if err := flush(); err != nil {
					return err
				}
				read += held
			}
			events = append(events, types.InputLogEvent{Message: aws.String(text), Timestamp: aws.Int64(s.stamp(f.Stream))})
			size += len(text) + eventOverhead
		}
		if err != nil {
			break
		}
	}
	return flush()
}

// split cuts a line that is too long for one event. CloudWatch refuses empty
// events, so an empty line is none.
func split(line string) []string {
	if line == "" {
		return nil
	}
	var parts []string
	for len(line) > maxEventBytes {
		parts = append(parts, strings.ToValidUTF8(line[:maxEventBytes], "\uFFFD"))
		line = line[maxEventBytes:]
	}
	return append(parts, strings.ToValidUTF8(line, "\uFFFD"))
}

// stamp returns the time for a stream's next event, in milliseconds, never
// before the one before: a clock that steps back must not have a batch refused.
func (s *shipper) stamp(stream string) int64 {
	t := max(s.now().UnixMilli(), s.last[stream])
	s.last[stream] = t
	return t
}

func (s *shipper) streamName(f File) string {
	return s.o.Hostname + "." + s.o.InstanceID + "." + f.Stream
}

// put sends one batch, making the stream when needed.
func (s *shipper) put(ctx context.Context, f File, events []types.InputLogEvent) error {
	if len(events) == 0 {
		return nil
	}
	name := s.streamName(f)
	if !s.streams[name] {
		_, err := s.o.API.CreateLogStream(ctx, &cloudwatchlogs.CreateLogStreamInput{LogGroupName: &s.o.Group, LogStreamName: &name})
		if err != nil && !isCode(err, "ResourceAlreadyExistsException") {
			return err
		}
		s.streams[name] = true
	}
	_, err := s.o.API.PutLogEvents(ctx, &cloudwatchlogs.PutLogEventsInput{LogGroupName: &s.o.Group, LogStreamName: &name, LogEvents: events})
	if isCode(err, "ResourceNotFoundException") {
		s.streams[name] = false // deleted under us: made again at the next try
	}
	return err
}

func isCode(err error, code string) bool {
	var api smithy.APIError
	return errors.As(err, &api) && api.ErrorCode() == code
}

// save writes down how far all files got, if that changed.
func (s *shipper) save() error {
	data, err := json.Marshal(s.done)
	if err != nil || string(data) == s.saved {
		return err
	}
	tmp := s.o.State + ".new"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	if err := os.Rename(tmp, s.o.State); err != nil {
		return err
	}
	s.saved = string(data)
	return nil
}
