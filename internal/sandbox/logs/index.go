package logs

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
)

// An event is a line of a stream's file.
type event struct {
	Time    int64  `json:"t"` // milliseconds, by the sender
	Ingest  int64  `json:"i"`
	Message string `json:"m"`
}

// timeOf returns the time of the event on a line, without decoding it. Lines that
// a dying daemon did not finish are no events.
func timeOf(line []byte) (time int64, ok bool) {
	rest, begins := bytes.CutPrefix(line, []byte(`{"t":`))
	digits, _, _ := bytes.Cut(rest, []byte(","))
	message, ends := bytes.CutSuffix(line, []byte("\"}\n"))
	if !begins || !ends {
		return 0, false
	}
	// Behind an odd number of backslashes the quotation mark is one of the message.
	if escapes := len(message) - len(bytes.TrimRight(message, `\`)); escapes%2 == 1 {
		return 0, false
	}
	time, err := strconv.ParseInt(string(digits), 10, 64)
	return time, err == nil
}

// An index finds events in a stream's file by position and by time, without
// holding the events. It is made when a stream is first read, and grows with the
// file.
type index struct {
	size    int64 // bytes of the whole lines that it covers
	count   int   // of events
	marks   []mark
	last    int64 // time of the last event
	jumbled bool  // events are not in the order of their times
}

// A mark is where an event starts; there is one for every stride of events.
type mark struct{ offset, time int64 }

const stride = 256

// indexOf returns the index of a stream's file as it is now.
func (s *Service) indexOf(st stream) (index, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.indexes[st.File]
	f, err := os.Open(filepath.Join(s.dir, st.File))
	if errors.Is(err, fs.ErrNotExist) {
		return x, nil
	}
	if err != nil {
		return x, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() == x.size {
		return x, err
	}
	err = lines(f, x.size, func(offset int64, line []byte) bool {
		x.size = offset + int64(len(line))
		time, ok := timeOf(line)
		if !ok {
			return true
		}
		if x.count%stride == 0 {
			x.marks = append(x.marks, mark{offset, time})
		}
		x.jumbled = x.jumbled || x.count > 0 && time < x.last
		x.last = max(x.last, time)
		x.count++
		return true
	})
	if err != nil {
		return x, fmt.Errorf("index log stream %s: %w", st.Name, err)
	}
	s.indexes[st.File] = x
	return x, nil
}

// lines calls fn for each whole line of f from an offset on, until fn says false.
func lines(f *os.File, offset int64, fn func(offset int64, line []byte) bool) error {
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return err
	}
	r := bufio.NewReaderSize(f, 64<<10)
	for {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !fn(offset, line) {
			return nil
		}
		offset += int64(len(line))
	}
}

// A view is the events of a stream in the order of their times, as they were when
// it was opened. Positions in it stay the same as events are appended, unless they
// come out of order.
type view struct {
	path   string
	index  index
	sorted []event // only when the file is jumbled
}

func (s *Service) view(st stream) (*view, error) {
	x, err := s.indexOf(st)
	if err != nil {
		return nil, err
	}
	v := &view{path: filepath.Join(s.dir, st.File), index: x}
	if x.jumbled {
		if v.sorted, err = v.scan(0, x.count, 0); err != nil {
			return nil, err
		}
		slices.SortStableFunc(v.sorted, func(a, b event) int { return int(a.Time - b.Time) })
	}
	return v, nil
}

func (v *view) count() int { return v.index.count }

// at returns the position of the first event that is not before a time.
func (v *view) at(time int64) (int, error) {
	if v.sorted != nil {
		return sort.Search(len(v.sorted), func(i int) bool { return v.sorted[i].Time >= time }), nil
	}
	m := sort.Search(len(v.index.marks), func(i int) bool { return v.index.marks[i].time >= time })
	if m == 0 {
		return 0, nil
	}
	from := (m - 1) * stride
	events, err := v.scan(from, min(from+stride, v.count()), 0)
	return from + sort.Search(len(events), func(i int) bool { return events[i].Time >= time }), err
}

// read returns the events at positions [from, to), fewer when they would be more
// than limit bytes (0: no limit), but at least one.
func (v *view) read(from, to, limit int) ([]event, error) {
	if from >= to {
		return nil, nil
	}
	if v.sorted == nil {
		return v.scan(from, to, limit)
	}
	events := v.sorted[from:to]
	size := 0
	for i, e := range events {
		if size += len(e.Message) + eventOverhead; i > 0 && limit > 0 && size > limit {
			return events[:i], nil
		}
	}
	return events, nil
}

// scan is read in the order of the file.
func (v *view) scan(from, to, limit int) ([]event, error) {
	f, err := os.Open(v.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // deleted meanwhile
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var events []event
	var decodeErr error
	position, size := from-from%stride, 0
	err = lines(f, v.index.marks[from/stride].offset, func(_ int64, line []byte) bool {
		if _, ok := timeOf(line); !ok {
			return true
		}
		if position >= from {
			var e event
			if decodeErr = json.Unmarshal(line, &e); decodeErr != nil {
				return false
			}
			if size += len(e.Message) + eventOverhead; len(events) > 0 && limit > 0 && size > limit {
				return false
			}
			events = append(events, e)
		}
		position++
		return position < to
	})
	return events, errors.Join(err, decodeErr)
}
