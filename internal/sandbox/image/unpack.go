//go:build linux

package image

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Unpack writes a root file system into dir, which must not be there: that of a tar
// archive, compressed with gzip or not, or of the first image in an OCI layout. It
// returns the architecture as Go names it where the image says one. Nothing is
// written outside of dir, whatever links are in the archive; devices and extended
// attributes are left out.
func Unpack(source, dir string) (arch string, err error) {
	st, err := os.Stat(source)
	if err != nil {
		return "", err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer root.Close()
	if st.IsDir() {
		arch, err = unpackOCI(source, root)
	} else {
		err = unpackFile(source, root)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", source, err)
	}
	for _, init := range []string{"sbin/init", "usr/sbin/init", "usr/lib/systemd/systemd", "lib/systemd/systemd"} {
		if _, err := root.Lstat(init); err == nil {
			return arch, nil
		}
	}
	return "", fmt.Errorf("%s: there is no /sbin/init in it: the machines of the region boot systemd", source)
}

func unpackFile(file string, root *os.Root) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, 1<<20)
	start, _ := in.Peek(6)
	switch {
	case bytes.HasPrefix(start, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(in)
		if err != nil {
			return err
		}
		return unpackTar(z, root)
	case bytes.HasPrefix(start, []byte{0x28, 0xb5, 0x2f, 0xfd}), bytes.HasPrefix(start, []byte{0xfd, '7', 'z', 'X', 'Z'}), bytes.HasPrefix(start, []byte("BZh")):
		return errors.New("only gzip is known of the ways to compress: unpack it first")
	}
	return unpackTar(in, root)
}

// whiteout begins the names of files of an OCI layer that hide a file of the layers
// below; the other hides all of a directory.
const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
)

func unpackTar(in io.Reader, root *os.Root) error {
	t := tar.NewReader(in)
	for {
		h, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) {
			return errors.New("it is no tar archive, or a broken one")
		}
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		if name == "" {
			continue
		}
		if err := unpackEntry(t, h, name, root); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

func unpackEntry(t *tar.Reader, h *tar.Header, name string, root *os.Root) error {
	parent, base := path.Split(name)
	if parent != "" {
		if err := root.MkdirAll(strings.TrimSuffix(parent, "/"), 0o755); err != nil {
			return err
		}
	}
	switch {
	case base == opaque:
		entries, err := fs.ReadDir(root.FS(), path.Clean(parent))
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := root.RemoveAll(parent + e.Name()); err != nil {
				return err
			}
		}
		return nil
	case strings.HasPrefix(base, whiteout):
		return root.RemoveAll(parent + strings.TrimPrefix(base, whiteout))
	}
	if old, err := root.Lstat(name); err == nil && !(old.IsDir() && h.Typeflag == tar.TypeDir) {
		if err := root.RemoveAll(name); err != nil {
			return err
		}
	}
	mode := h.FileInfo().Mode()
	switch h.Typeflag {
	case tar.TypeDir:
		if err := root.Mkdir(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	case tar.TypeReg:
		f, err := root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, t)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	case tar.TypeSymlink:
		if err := root.Symlink(h.Linkname, name); err != nil {
			return err
		}
		return root.Lchown(name, h.Uid, h.Gid)
	case tar.TypeLink:
		return root.Link(strings.TrimPrefix(path.Clean("/"+h.Linkname), "/"), name)
	default:
		return nil
	}
	if err := root.Lchown(name, h.Uid, h.Gid); err != nil {
		return err
	}
	return root.Chmod(name, mode&(fs.ModePerm|fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky))
}

// A descriptor of an OCI layout names a blob.
type descriptor struct {
	MediaType string
	Digest    string
	Platform  struct{ Architecture string }
}

func unpackOCI(layout string, root *os.Root) (arch string, err error) {
	blob := func(digest string) (string, error) {
		algorithm, sum, ok := strings.Cut(digest, ":")
		if !ok || !filepath.IsLocal(algorithm) || !filepath.IsLocal(sum) {
			return "", fmt.Errorf("digest %q is none", digest)
		}
		return filepath.Join(layout, "blobs", algorithm, sum), nil
	}
	read := func(file string, into any) error {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		return json.Unmarshal(data, into)
	}
	var index struct{ Manifests []descriptor }
	if err := read(filepath.Join(layout, "index.json"), &index); err != nil {
		return "", fmt.Errorf("no OCI layout: %w", err)
	}
	for range 4 { // an index may lead to another
		if len(index.Manifests) == 0 {
			return "", errors.New("the layout has no image")
		}
		file, err := blob(index.Manifests[0].Digest)
		if err != nil {
			return "", err
		}
		var manifest struct {
			Config    descriptor
			Layers    []descriptor
			Manifests []descriptor
		}
		if err := read(file, &manifest); err != nil {
			return "", err
		}
		if len(manifest.Manifests) > 0 {
			index.Manifests = manifest.Manifests
			continue
		}
		var config struct{ Architecture string }
		if file, err = blob(manifest.Config.Digest); err == nil {
			err = read(file, &config)
		}
		if err != nil {
			return "", err
		}
		for _, l := range manifest.Layers {
			if file, err = blob(l.Digest); err == nil {
				err = unpackFile(file, root)
			}
			if err != nil {
				return "", err
			}
		}
		return config.Architecture, nil
	}
	return "", errors.New("its indexes lead nowhere")
}
