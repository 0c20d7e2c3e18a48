package record

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// A File keeps entries on disk. When it is full it becomes PATH.1, an older one
// PATH.2 and so on, and the oldest is deleted. Its zero value with a path is ready; a
// nil File forgets everything.
type File struct {
	Path string
	Max  int64 // bytes of one file; 0: 16 MiB
	Keep int   // older files; 0: 3

	mu   sync.Mutex
	f    *os.File
	size int64
}

const (
	defaultMax  = 16 << 20
	defaultKeep = 3
)

func (r *File) max() int64 {
	if r.Max > 0 {
		return r.Max
	}
	return defaultMax
}

func (r *File) keep() int {
	if r.Keep > 0 {
		return r.Keep
	}
	return defaultKeep
}

// Add appends entries, all by one write: a reader sees whole lines, unless the machine
// dies in between.
func (r *File) Add(entries ...Entry) error {
	if r == nil || len(entries) == 0 {
		return nil
	}
	var lines []byte
	for i := range entries {
		line, err := json.Marshal(&entries[i])
		if err != nil {
			return fmt.Errorf("entry of the fleet's record: %w", err)
		}
		lines = append(append(lines, line...), '\n')
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.open()
	if err == nil && r.size > 0 && r.size+int64(len(lines)) > r.max() {
		err = r.rotate()
	}
	if err != nil {
		return fmt.Errorf("record of the fleet: %w", err)
	}
	n, err := r.f.Write(lines)
	r.size += int64(n)
	if err != nil {
		// Half a line may be there: the next one must not be joined to it.
		return errors.Join(fmt.Errorf("record of the fleet: %w", err), r.close())
	}
	return nil
}

// Close closes the file. Adding opens it again.
func (r *File) Close() error {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.close()
}

func (r *File) close() error {
	if r.f == nil {
		return nil
	}
	err := r.f.Close()
	r.f = nil
	return err
}

func (r *File) open() error {
	if r.f != nil {
		return nil
	}
	f, err := os.OpenFile(r.Path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	size, err := endLine(f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	r.f, r.size = f, size
	return nil
}

// endLine ends a last line that was not written wholly, and returns the file's size.
func endLine(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return 0, err
	}
	last := make([]byte, 1)
	if _, err := f.ReadAt(last, info.Size()-1); err != nil {
		return 0, err
	}
	if last[0] == '\n' {
		return info.Size(), nil
	}
	n, err := f.Write([]byte{'\n'})
	return info.Size() + int64(n), err
}

func (r *File) rotate() error {
	if err := r.close(); err != nil {
		return err
	}
	for i := r.keep(); i >= 1; i-- {
		err := os.Rename(older(r.Path, i-1), older(r.Path, i))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return r.open()
}

func older(path string, i int) string {
	if i == 0 {
		return path
	}
	return fmt.Sprintf("%s.%d", path, i)
}

// Read returns what the files at path hold, the oldest first. Lines that are no
// entries, as a crash may leave one, are skipped.
func Read(path string, since time.Time) ([]Entry, error) {
	files := 0
	for {
		if _, err := os.Stat(older(path, files)); err != nil {
			break
		}
		files++
	}
	var all []Entry
	for i := files - 1; i >= 0; i-- {
		f, err := os.Open(older(path, i))
		if errors.Is(err, os.ErrNotExist) {
			continue // it was just renamed
		}
		if err != nil {
			return nil, fmt.Errorf("record of the fleet: %w", err)
		}
		all, err = appendEntries(all, f, since)
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("record of the fleet: %w", err)
		}
	}
	return all, nil
}

func appendEntries(all []Entry, from io.Reader, since time.Time) ([]Entry, error) {
	lines := bufio.NewReaderSize(from, 1<<16)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e Entry
			if json.Unmarshal(line, &e) == nil && e.What != "" && !e.Time.Before(since) {
				all = append(all, e)
			}
		}
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
	}
}
