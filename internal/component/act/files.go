//go:build unix

package act

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"pcluster/internal/component"
)

// encode turns text into the bytes of an encoding.
func encode(s string, e component.Encoding) []byte {
	var order binary.AppendByteOrder = binary.LittleEndian
	if e.BigEndian {
		order = binary.BigEndian
	}
	var out []byte
	switch e.Bytes {
	case 2:
		for _, u := range utf16.Encode([]rune(s)) {
			out = order.AppendUint16(out, u)
		}
	case 4:
		for _, r := range s {
			out = order.AppendUint32(out, uint32(r))
		}
	default:
		return []byte(s)
	}
	return out
}

// decode is the opposite of encode.
func decode(data []byte, e component.Encoding) (string, error) {
	if len(data)%e.Bytes != 0 {
		return "", errors.New("the file has not the encoding that is asked for")
	}
	var order binary.ByteOrder = binary.LittleEndian
	if e.BigEndian {
		order = binary.BigEndian
	}
	switch e.Bytes {
	case 2:
		var units []uint16
		for i := 0; i < len(data); i += 2 {
			units = append(units, order.Uint16(data[i:]))
		}
		return string(utf16.Decode(units)), nil
	case 4:
		var out []rune
		for i := 0; i < len(data); i += 4 {
			out = append(out, rune(order.Uint32(data[i:])))
		}
		return string(out), nil
	}
	if !utf8.Valid(data) {
		return "", errors.New("the file is not text in UTF-8")
	}
	return string(data), nil
}

func appendFile(_ context.Context, c *call) (output, error) {
	e, err := component.ParseEncoding(c.text("encoding"))
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(c.text("path"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return nil, err
	}
	_, err = f.Write(encode(c.text("content"), e))
	return nil, errors.Join(err, f.Close())
}

func createFile(_ context.Context, c *call) (output, error) {
	path := c.text("path")
	e, err := component.ParseEncoding(c.text("encoding"))
	if err != nil {
		return nil, err
	}
	if err := c.mayWrite(path); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(path, encode(c.text("content"), e), 0o666); err != nil {
		return nil, err
	}
	return nil, c.settle(path)
}

func createFolder(_ context.Context, c *call) (output, error) {
	path := c.text("path")
	if err := c.mayWrite(path); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(path, 0o777); err != nil {
		return nil, err
	}
	return nil, c.settle(path)
}

// mayWrite refuses to overwrite what is there, if overwrite is false.
func (c *call) mayWrite(path string) error {
	if c.flag("overwrite", true) {
		return nil
	}
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("%s: %w, and overwrite is false", path, fs.ErrExist)
	}
	return nil
}

// settle gives a new file the owner and permissions that the inputs ask for.
func (c *call) settle(path string) error {
	if m := c.text("permissions"); m != "" {
		mode, err := permissions(m)
		if err != nil {
			return err
		}
		if err := os.Chmod(path, mode); err != nil {
			return err
		}
	}
	uid, gid, err := owners(c.text("owner"), c.text("group"))
	if err != nil || uid < 0 && gid < 0 {
		return err
	}
	return os.Chown(path, uid, gid)
}

// permissions reads octal digits, with the bits above 0777 where Go has them.
func permissions(s string) (os.FileMode, error) {
	v, err := strconv.ParseUint(s, 8, 12)
	if err != nil {
		return 0, fmt.Errorf("permissions %q: octal digits are needed", s)
	}
	mode := os.FileMode(v & 0o777)
	for bit, m := range map[uint64]os.FileMode{0o4000: os.ModeSetuid, 0o2000: os.ModeSetgid, 0o1000: os.ModeSticky} {
		if v&bit != 0 {
			mode |= m
		}
	}
	return mode, nil
}

// owners looks a user and a group up, by name or number; -1 stands for none.
func owners(owner, group string) (uid, gid int, err error) {
	uid, gid = -1, -1
	if owner != "" {
		u, err := user.Lookup(owner)
		if err != nil {
			if u, err = user.LookupId(owner); err != nil {
				return 0, 0, fmt.Errorf("there is no user %s", owner)
			}
		}
		uid, _ = strconv.Atoi(u.Uid)
		gid, _ = strconv.Atoi(u.Gid)
	}
	if group != "" {
		g, err := user.LookupGroup(group)
		if err != nil {
			if g, err = user.LookupGroupId(group); err != nil {
				return 0, 0, fmt.Errorf("there is no group %s", group)
			}
		}
		gid, _ = strconv.Atoi(g.Gid)
	}
	return uid, gid, nil
}

func createSymlink(_ context.Context, c *call) (output, error) {
	path, target := c.text("path"), c.text("target")
	if _, err := os.Stat(target); err != nil {
		return nil, fmt.Errorf("target of the link: %w", err)
	}
	target, err := filepath.Abs(target)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	if st, err := os.Lstat(path); err == nil {
		switch {
		case st.Mode()&os.ModeSymlink == 0:
			return nil, fmt.Errorf("%s is there and is no link", path)
		case !c.flag("force", false):
			return nil, fmt.Errorf("the link %s is there already, and force is false", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	return nil, os.Symlink(target, path)
}

// matches returns what a path means whose last part may have wildcards. Without a
// wildcard it is the path itself, there or not.
func matches(path string) ([]string, error) {
	dir, pattern := filepath.Split(path)
	if !strings.Contains(pattern, "*") {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(filepath.Clean(dir + "/."))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if like(pattern, e.Name()) {
			out = append(out, filepath.Join(dir, e.Name()))
		}
	}
	return out, nil
}

// like says whether a name matches a pattern with stars.
func like(pattern, name string) bool {
	first, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == name
	}
	if !strings.HasPrefix(name, first) {
		return false
	}
	for name = name[len(first):]; ; name = name[1:] {
		if like(rest, name) {
			return true
		}
		if name == "" {
			return false
		}
	}
}

func deleteFile(_ context.Context, c *call) (output, error) {
	path := c.text("path")
	found, err := matches(path)
	if err != nil {
		return nil, err
	}
	wild := strings.Contains(filepath.Base(path), "*")
	for _, f := range found {
		st, err := os.Lstat(f)
		if err == nil && st.IsDir() {
			if wild {
				continue // files alone
			}
			return nil, fmt.Errorf("%s is a folder: use DeleteFolder", f)
		}
		if err == nil {
			err = os.Remove(f)
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func deleteFolder(_ context.Context, c *call) (output, error) {
	path := c.text("path")
	st, err := os.Lstat(path)
	switch {
	case err != nil:
		return nil, err
	case !st.IsDir():
		return nil, fmt.Errorf("%s is no folder", path)
	case filepath.Clean(path) == "/":
		return nil, errors.New("the folder / can't be deleted")
	case c.flag("force", false):
		return nil, os.RemoveAll(path)
	}
	return nil, os.Remove(path)
}

func listFiles(_ context.Context, c *call) (output, error) {
	root := filepath.Clean(c.text("path"))
	pattern := c.text("fileNamePattern")
	var found []string
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir():
			if path != root && !c.flag("recursive", false) {
				return filepath.SkipDir
			}
			return nil
		case pattern == "" || like(pattern, e.Name()):
			found = append(found, path)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return output{"files": strings.Join(found, ",")}, nil
}

func readFile(_ context.Context, c *call) (output, error) {
	e, err := component.ParseEncoding(c.text("encoding"))
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(c.text("path"))
	if err != nil {
		return nil, err
	}
	content, err := decode(data, e)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.text("path"), err)
	}
	if c.flag("printFileContent", false) {
		for line := range strings.Lines(content) {
			c.log(strings.TrimRight(line, "\r\n"))
		}
	}
	return output{"content": content}, nil
}

func setFileEncoding(_ context.Context, c *call) (output, error) {
	e, err := component.ParseEncoding(c.text("encoding"))
	if err != nil {
		return nil, err
	}
	path := c.text("path")
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if !utf8.Valid(data) {
		return nil, fmt.Errorf("%s is not text in UTF-8", path)
	}
	return nil, os.WriteFile(path, encode(string(data), e), 0o666)
}

// under calls do for path, and for all below it if that is asked for.
func (c *call) under(path string, do func(string) error) error {
	if !c.flag("recursive", true) {
		return do(path)
	}
	return filepath.WalkDir(path, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.Type()&fs.ModeSymlink != 0 { // what a link leads to is not in the folder
			return err
		}
		return do(path)
	})
}

func setOwner(_ context.Context, c *call) (output, error) {
	uid, gid, err := owners(c.text("owner"), c.text("group"))
	if err != nil {
		return nil, err
	}
	return nil, c.onPath(func(path string) error { return os.Chown(path, uid, gid) })
}

func setPermissions(_ context.Context, c *call) (output, error) {
	mode, err := permissions(c.text("permissions"))
	if err != nil {
		return nil, err
	}
	return nil, c.onPath(func(path string) error { return os.Chmod(path, mode) })
}

// onPath applies a change to the file, or to the folder with what is in it.
func (c *call) onPath(do func(string) error) error {
	path := c.text("path")
	st, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case !st.IsDir():
		return do(path)
	}
	return c.under(path, do)
}

func copyFile(_ context.Context, c *call) (output, error)   { return nil, c.transfer(false, copyOne) }
func copyFolder(_ context.Context, c *call) (output, error) { return nil, c.transfer(true, copyTree) }
func moveFile(_ context.Context, c *call) (output, error)   { return nil, c.transfer(false, moveOne) }
func moveFolder(_ context.Context, c *call) (output, error) { return nil, c.transfer(true, moveTree) }

// transfer finds sources and where each goes.
func (c *call) transfer(folders bool, do func(from, to string) error) error {
	source, destination := strings.TrimSuffix(c.text("source"), "/"), c.text("destination")
	found, err := matches(source)
	if err != nil {
		return err
	}
	wild := strings.Contains(filepath.Base(source), "*")
	found = slices.DeleteFunc(found, func(f string) bool {
		st, err := os.Stat(f)
		return wild && (err != nil || st.IsDir() != folders)
	})
	if len(found) == 0 {
		return fmt.Errorf("%s: %w", source, fs.ErrNotExist)
	}
	into := strings.HasSuffix(destination, "/")
	if len(found) > 1 && !into {
		return fmt.Errorf("%s stands for several: the destination %s has to end with a slash", source, destination)
	}
	for _, from := range found {
		st, err := os.Stat(from)
		switch {
		case err != nil:
			return err
		case st.IsDir() && !folders:
			return fmt.Errorf("%s is a folder", from)
		case !st.IsDir() && folders:
			return fmt.Errorf("%s is no folder", from)
		}
		to := destination
		if into {
			to = filepath.Join(destination, filepath.Base(from))
		}
		if err := c.mayWrite(to); err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Clean(to)), 0o755); err != nil {
			return err
		}
		if err := do(from, to); err != nil {
			return err
		}
	}
	return nil
}

func copyOne(from, to string) error {
	st, err := os.Stat(from)
	if err != nil {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, st.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case e.IsDir():
			info, err := e.Info()
			if err != nil {
				return err
			}
			return os.MkdirAll(target, info.Mode().Perm()|0o700)
		case e.Type()&fs.ModeSymlink != 0:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			_ = os.Remove(target)
			return os.Symlink(link, target)
		case e.Type().IsRegular():
			return copyOne(path, target)
		}
		return nil // devices and sockets
	})
}

func moveOne(from, to string) error { return moveBy(from, to, copyOne) }

func moveTree(from, to string) error { return moveBy(from, to, copyTree) }

// moveBy renames, or copies where the file systems differ or a folder is in the
// way.
func moveBy(from, to string, copy func(from, to string) error) error {
	if os.Rename(from, to) == nil {
		return nil
	}
	if err := copy(from, to); err != nil {
		return err
	}
	return os.RemoveAll(from)
}
