//go:build linux

package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// unique are the paths of a disk that belong to its machine alone: what the first
// boot writes, and what tells one machine from another. A layer of an image has
// none of them, so that a machine which boots from it makes its own.
var unique = []string{
	"etc/machine-id", "etc/hostname", "etc/hosts", "etc/resolv.conf", "var/lib/dbus/machine-id", "var/lib/systemd/random-seed",
	"var/lib/cloud", "var/lib/amazon/toe", "root/.bash_history", "root/.ssh", "run", "tmp", "var/tmp",
	"var/log/journal", "var/log/wtmp", "var/log/btmp", "var/log/lastlog", "var/log/cloud-init.log", "var/log/cloud-init-output.log",
}

// hostKeys are the files of etc/ssh that begin with this.
const hostKeys = "ssh_host_"

// Capture makes a layer of what a machine has changed on its disk. The directory
// dir is the layer once Capture succeeds; before, nothing is there. A machine that
// runs is captured as it is at the moment. If move is set, the machine must not run,
// and its disk is of no use afterwards: a plain directory becomes the layer itself.
func (m *Manager) Capture(ctx context.Context, id, dir string, move bool) error {
	in, err := m.get(id, false)
	if err != nil {
		return err
	}
	in.op.Lock()
	defer in.op.Unlock()
	fail := func(err error) error { return fmt.Errorf("capture the disk of %s: %w", id, err) }
	if move && in.alive() {
		return fail(ErrRunning)
	}
	if err := in.openDisk(); err != nil {
		return fail(err)
	}
	part := dir + ".part"
	if move && !in.sized() {
		// A capture that was cut off here before may have moved the disk already.
		if _, err := os.Lstat(part); errors.Is(err, os.ErrNotExist) {
			if err := os.Rename(in.upper(), part); err != nil {
				return fail(err)
			}
		}
	} else {
		if err := os.RemoveAll(part); err != nil {
			return fail(err)
		}
		// cp keeps what overlayfs writes: devices that hide files, and attributes of
		// directories that replace others.
		out, err := exec.CommandContext(ctx, "cp", "-a", "--reflink=auto", in.upper(), part).CombinedOutput()
		if err != nil {
			return fail(fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out))))
		}
	}
	if err := depersonalise(part); err != nil {
		return fail(err)
	}
	if err := os.Rename(part, dir); err != nil {
		return fail(err)
	}
	return nil
}

// depersonalise removes what is a machine's own from a layer. The machine may have
// made links of any directory: none of them leads out.
func depersonalise(layer string) error {
	root, err := os.OpenRoot(layer)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, path := range unique {
		st, err := root.Lstat(path)
		switch {
		case err != nil:
			continue // not there, or behind a link
		case path == "tmp" || path == "var/tmp" || path == "run":
			if st.IsDir() { // itself it stays, with its mode
				err = emptyDir(root, path, "")
			}
		default:
			err = root.RemoveAll(path)
		}
		if err != nil {
			return err
		}
	}
	if err := emptyDir(root, "etc/ssh", hostKeys); err != nil {
		return err
	}
	homes, err := entries(root, "home")
	if err != nil {
		return err
	}
	for _, home := range homes {
		_ = root.RemoveAll(filepath.Join("home", home, ".ssh", "authorized_keys")) // a link is not followed
	}
	return nil
}

func entries(root *os.Root, dir string) ([]string, error) {
	f, err := root.Open(dir)
	if err != nil {
		return nil, nil // nothing there, or not in the layer
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil // a file in its place
	}
	return names, nil
}

func emptyDir(root *os.Root, dir, prefix string) error {
	names, err := entries(root, dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		if strings.HasPrefix(n, prefix) {
			if err := root.RemoveAll(filepath.Join(dir, n)); err != nil {
				return err
			}
		}
	}
	return nil
}

// ReadFile reads a file that a machine has written, from an offset on and at most
// limit bytes. It works whether the machine runs or not; what its image brought is
// not seen.
func (m *Manager) ReadFile(id, path string, offset int64, limit int) ([]byte, error) {
	in, err := m.get(id, false)
	if err != nil {
		return nil, err
	}
	root, err := in.openUpper()
	if err != nil {
		return nil, fmt.Errorf("disk of machine %s: %w", id, err)
	}
	defer root.Close()
	f, err := root.Open(strings.TrimPrefix(path, "/"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("%s of machine %s is no file", path, id))
	}
	return io.ReadAll(io.NewSectionReader(f, offset, int64(limit)))
}

// openUpper opens what the machine has written, for which the disk of one that does
// not run is mounted until somebody needs it no more.
func (in *instance) openUpper() (*os.Root, error) {
	if !in.alive() {
		in.op.Lock()
		defer in.op.Unlock()
		if err := in.openDisk(); err != nil {
			return nil, err
		}
	}
	return os.OpenRoot(in.upper())
}
