//go:build linux

package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// AttachDirectory mounts a directory of the host on target in a running machine,
// which makes target if it is missing. Machines that have the same directory see
// each other's changes at once. The mount lasts until the machine unmounts it or
// ends.
func (m *Manager) AttachDirectory(_ context.Context, id, hostDir, target string) error {
	return m.attachDirectory(id, hostDir, target, false)
}

func (m *Manager) attachDirectory(id, hostDir, target string, readOnly bool) error {
	in, err := m.running(id)
	if err != nil {
		return err
	}
	defer in.op.Unlock()
	if err := attach(in.rec.Leader, hostDir, target, readOnly); err != nil {
		return fmt.Errorf("attach %s to machine %s: %w", hostDir, id, err)
	}
	return nil
}

// attachFrom mounts a directory of one machine, with everything mounted below it
// there, on target in another.
func (m *Manager) attachFrom(server process, path, client, target string, readOnly bool) error {
	in, err := m.running(client)
	if err != nil {
		return err
	}
	defer in.op.Unlock()
	from, err := mountsOf(server)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := mountsOf(in.rec.Leader)
	if err != nil {
		return err
	}
	defer to.Close()
	return onThread(func() error {
		if err := from.enter(); err != nil {
			return err
		}
		tree, err := cloneTree(path, readOnly)
		if err != nil {
			return err
		}
		defer unix.Close(tree)
		if err := to.enter(); err != nil {
			return err
		}
		return place(tree, target)
	})
}

// attach mounts a file or directory of the host on target in the machine that the
// process leads.
func attach(leader process, source, target string, readOnly bool) error {
	to, err := mountsOf(leader)
	if err != nil {
		return err
	}
	defer to.Close()
	tree, err := cloneTree(source, readOnly)
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	return to.do(func() error { return place(tree, target) })
}

// cloneTree makes a mount of path and what is mounted below it, which nobody sees
// yet and which is independent of where it came from.
func cloneTree(path string, readOnly bool) (fd int, err error) {
	fd, err = unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", path, err)
	}
	attr := unix.MountAttr{Propagation: unix.MS_PRIVATE}
	if readOnly {
		attr.Attr_set = unix.MOUNT_ATTR_RDONLY
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("set up a mount of %s: %w", path, err)
	}
	return fd, nil
}

// place puts a tree on target, in the mount namespace of the calling thread.
func place(tree int, target string) error {
	if !filepath.IsAbs(target) {
		return fmt.Errorf("mount point %q is not an absolute path", target)
	}
	if _, err := os.Stat(target); errors.Is(err, os.ErrNotExist) {
		if err := os.MkdirAll(target, 0o755); err != nil {
			return err
		}
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_SYMLINKS); err != nil {
		return fmt.Errorf("mount on %s: %w", target, err)
	}
	return nil
}

// readFile reads a file of a running machine.
func readFile(leader process, path string) (data []byte, err error) {
	ns, err := mountsOf(leader)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	err = ns.do(func() error {
		data, err = os.ReadFile(path)
		return err
	})
	return data, err
}

// consoleTail is how much of a console is worth keeping in memory.
const consoleTail = 1 << 20

// Console returns what a machine wrote to its console, over all its boots; of
// very much, the end.
func (m *Manager) Console(id string) ([]byte, error) {
	in, err := m.get(id, false)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(in.path(consoleFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	skip := max(0, st.Size()-consoleTail)
	data := make([]byte, st.Size()-skip)
	n, err := f.ReadAt(data, skip)
	return data[:n], err
}
