package fsx

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/s3"
)

// files is a repository's directory. Instances may do there what they like, so
// every access goes through an os.Root: a link of theirs must not lead us out.
// Paths are relative to the directory.
type files struct {
	root *os.Root
	base string // the directory inside the file system, "." for its root
	dir  string // the directory on the host, for watching
}

func (s *Service) openFiles(repo repository) (*files, error) {
	root, err := os.OpenRoot(s.rootOf(repo.fsID))
	if err != nil {
		return nil, err
	}
	f := &files{root: root, base: path.Clean("./" + repo.path), dir: filepath.Join(s.rootOf(repo.fsID), repo.path)}
	if err := f.mkdir("."); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return f, nil
}

func (f *files) close() { _ = f.root.Close() }

func (f *files) at(p string) string { return path.Join(f.base, p) }

// A syncedFile is the state in which a file and its object were the same.
type syncedFile struct {
	ETag     string
	Size     int64
	Modified int64 // of the file, in nanoseconds
	Mode     fs.FileMode
	UID, GID uint32
}

// same reports whether a file is still as it was.
func (a syncedFile) same(b syncedFile) bool {
	a.ETag, b.ETag = "", ""
	return a == b
}

// stateOf returns nil for what is no regular file.
func stateOf(info fs.FileInfo) *syncedFile {
	if !info.Mode().IsRegular() {
		return nil
	}
	s := &syncedFile{Size: info.Size(), Modified: info.ModTime().UnixNano(), Mode: info.Mode()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		s.UID, s.GID = st.Uid, st.Gid
	}
	return s
}

// The user metadata in which FSx keeps a file's attributes.
const (
	metaMode  = "file-permissions"
	metaOwner = "file-owner"
	metaGroup = "file-group"
	metaTime  = "file-mtime"
)

func (s syncedFile) meta() map[string]string {
	return map[string]string{
		metaMode:  fmt.Sprintf("%#o", syscall.S_IFREG|uint32(s.Mode.Perm())),
		metaOwner: strconv.FormatUint(uint64(s.UID), 10), metaGroup: strconv.FormatUint(uint64(s.GID), 10),
		metaTime:     strconv.FormatInt(s.Modified, 10) + "ns",
		"user-agent": "aws-fsx-lustre",
	}
}

// attributes reads what an object says about its file. Objects that say nothing
// become files of root that everybody may read and run, as with FSx.
func attributes(meta map[string]string, modified time.Time) (mode fs.FileMode, uid, gid int, at time.Time) {
	mode, at = 0o755, modified
	if n, err := strconv.ParseUint(meta[metaMode], 8, 32); err == nil {
		mode = fs.FileMode(n).Perm()
	}
	uid, gid = number(meta[metaOwner]), number(meta[metaGroup])
	if ns, err := strconv.ParseInt(strings.TrimSuffix(meta[metaTime], "ns"), 10, 64); err == nil {
		at = time.Unix(0, ns)
	}
	return mode, uid, gid, at
}

func number(text string) int {
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return 0
	}
	return int(n)
}

// exists reports whether there is something at a path, be it a dangling link.
func (f *files) exists(p string) bool {
	_, err := f.root.Lstat(f.at(p))
	return err == nil
}

// state returns the state of a file, nil when there is no regular file.
func (f *files) state(p string) (*syncedFile, error) {
	info, err := f.root.Lstat(f.at(p))
	if gone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return stateOf(info), nil
}

// gone reports whether err says that there is no such file, perhaps because what
// was its directory is none any more.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) }

// changed reports whether a file differs from the state in which it was in sync.
// One that is gone does too.
func (f *files) changed(p string, row syncedFile) bool {
	state, err := f.state(p)
	return err != nil || state == nil || !state.same(row)
}

// open opens a regular file; nil when there is none.
func (f *files) open(p string) (*os.File, *syncedFile, error) {
	// Without O_NONBLOCK a fifo that took the file's place would hold us up.
	file, err := f.root.OpenFile(f.at(p), os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if gone(err) || errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.ENXIO) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	info, err := file.Stat()
	if err == nil {
		if state := stateOf(info); state != nil {
			return file, state, nil
		}
	}
	return nil, nil, errors.Join(err, file.Close())
}

func (f *files) mkdir(p string) error {
	if f.at(p) == "." {
		return nil
	}
	if err := f.root.MkdirAll(f.at(p), 0o755); err != nil {
		return fmt.Errorf("make directory %s: %w", p, err)
	}
	return nil
}

// mkdirAs makes a directory with the attributes of its object.
func (f *files) mkdirAs(p string, meta map[string]string) error {
	if f.exists(p) {
		return nil
	}
	if err := f.mkdir(p); err != nil {
		return err
	}
	mode, uid, gid, _ := attributes(meta, time.Time{})
	return errors.Join(f.root.Chmod(f.at(p), mode), f.root.Lchown(f.at(p), uid, gid))
}

// remove removes a file, and the directories that become empty stay.
func (f *files) remove(p string) error {
	if err := f.root.Remove(f.at(p)); err != nil && !gone(err) {
		return err
	}
	return nil
}

// incoming starts the names of files that are not complete. Nobody exports them.
const incoming = ".fsx-import-"

// write puts the data and attributes of an object into a file, at once: readers
// see the old file or the new one.
func (f *files) write(p string, body io.Reader, e s3.Entry) (row syncedFile, err error) {
	if err := f.mkdir(path.Dir(p)); err != nil {
		return row, err
	}
	temp := f.at(path.Join(path.Dir(p), incoming+region.Hex(16)))
	file, err := f.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return row, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.root.Remove(temp))
		}
	}()
	mode, uid, gid, at := attributes(e.Meta, e.Modified)
	_, err = io.Copy(file, body)
	if err = errors.Join(err, file.Chown(uid, gid), file.Chmod(mode), file.Close()); err != nil {
		return row, err
	}
	if err = f.root.Chtimes(temp, at, at); err != nil {
		return row, err
	}
	info, err := f.root.Lstat(temp)
	if err != nil {
		return row, err
	}
	row = *stateOf(info)
	row.ETag = e.ETag
	return row, f.root.Rename(temp, f.at(p))
}

// walk calls fn for every regular file below a directory.
func (f *files) walk(dir string, fn func(p string) error) error {
	return fs.WalkDir(f.root.FS(), f.at(dir), func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			if gone(err) {
				return nil
			}
			return err
		}
		if !d.Type().IsRegular() || strings.HasPrefix(d.Name(), incoming) {
			return nil
		}
		rel, err := filepath.Rel(f.base, p)
		if err != nil {
			return err
		}
		return fn(rel)
	})
}
