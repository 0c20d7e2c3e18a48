package fsx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// A watcher tells a link what programs do to the files of a directory tree. The
// kernel tells of inodes, so it does not matter through which mount they do it.
type watcher struct {
	link *link
	root string
	fd   int
	file *os.File

	mu   sync.Mutex
	dirs map[int]string // by watch descriptor; relative to root, "." for root itself
	done chan struct{}
}

const watchMask = unix.IN_CLOSE_WRITE | unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_ATTRIB |
	unix.IN_ONLYDIR | unix.IN_DONT_FOLLOW

// watch starts to watch the tree below root.
func watch(root string, l *link) (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w (fs.inotify.max_user_instances may be too low)", err)
	}
	w := &watcher{link: l, root: root, fd: fd, file: os.NewFile(uintptr(fd), "inotify"), dirs: map[int]string{}, done: make(chan struct{})}
	if err := w.add("."); err != nil {
		return nil, errors.Join(err, w.file.Close())
	}
	go w.read()
	return w, nil
}

func (w *watcher) close() {
	_ = w.file.Close() // makes read return
	<-w.done
}

// add watches a directory and those below it. Directories that go meanwhile are
// no error: their parent tells of it.
func (w *watcher) add(dir string) error {
	return filepath.WalkDir(filepath.Join(w.root, dir), func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if !d.IsDir() {
			return nil
		}
		wd, err := unix.InotifyAddWatch(w.fd, p, watchMask)
		if errors.Is(err, unix.ENOSPC) {
			return fmt.Errorf("inotify: %w (fs.inotify.max_user_watches is too low)", err)
		}
		if err != nil {
			return nil
		}
		rel, err := filepath.Rel(w.root, p)
		if err != nil {
			return err
		}
		w.mu.Lock()
		w.dirs[wd] = rel
		w.mu.Unlock()
		return nil
	})
}

// drop forgets a directory that was moved away and those below it.
func (w *watcher) drop(dir string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for wd, d := range w.dirs {
		if d == dir || strings.HasPrefix(d, dir+"/") {
			_, _ = unix.InotifyRmWatch(w.fd, uint32(wd))
			delete(w.dirs, wd)
		}
	}
}

// read hands events on until the watcher is closed.
func (w *watcher) read() {
	defer close(w.done)
	buf := make([]byte, 64<<10)
	for {
		n, err := w.file.Read(buf)
		if err != nil {
			return
		}
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			wd := int(int32(binary.NativeEndian.Uint32(b)))
			mask := binary.NativeEndian.Uint32(b[4:])
			size := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[12:]))
			if size > len(b) {
				break
			}
			w.event(wd, mask, strings.TrimRight(string(b[unix.SizeofInotifyEvent:size]), "\x00"))
			b = b[size:]
		}
	}
}

func (w *watcher) event(wd int, mask uint32, name string) {
	l := w.link
	if mask&unix.IN_Q_OVERFLOW != 0 {
		l.note(func(todo *work) { todo.trees["."], todo.gone["."] = true, true })
		return
	}
	w.mu.Lock()
	dir, ok := w.dirs[wd]
	if mask&unix.IN_IGNORED != 0 {
		delete(w.dirs, wd)
	}
	w.mu.Unlock()
	if !ok || name == "" || strings.HasPrefix(name, incoming) {
		return
	}
	p := path.Join(dir, name)
	if mask&unix.IN_ISDIR == 0 {
		// A new file is told of again when it is closed.
		if mask&unix.IN_CREATE == 0 || w.linked(p) {
			l.note(func(todo *work) { todo.paths[p] = true })
		}
		return
	}
	switch {
	case mask&(unix.IN_MOVED_FROM|unix.IN_DELETE) != 0:
		w.drop(p)
		if mask&unix.IN_MOVED_FROM != 0 {
			l.note(func(todo *work) { todo.gone[p] = true })
		}
	case mask&(unix.IN_MOVED_TO|unix.IN_CREATE) != 0:
		if err := w.add(p); err != nil {
			l.s.note(l.repo, err)
		}
		// Files may have come before the watch did.
		l.note(func(todo *work) { todo.trees[p] = true })
	}
}

// linked reports whether a created name is a further name of a file, which nobody
// will close.
func (w *watcher) linked(p string) bool {
	var st unix.Stat_t
	return unix.Lstat(filepath.Join(w.root, p), &st) == nil && st.Nlink > 1
}
