//go:build linux

package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A machine's disk is as large as its root volume: an ext4 of that size in a sparse
// file, mounted while the machine runs or somebody looks at its disk. A machine that
// fills it meets "No space left on device" as on EC2, and the host is spared. On hosts
// without loop devices the disk is a plain directory, which ends where the host's
// does; [Manager.Unlimited] says so.

// mkfsPatience is for slow and busy hosts; it takes hundredths of a second.
const mkfsPatience = time.Minute

// sized says whether the machine's disk is a file system of its own.
func (in *instance) sized() bool { return fileExists(in.dir, diskFile) }

// upper is the directory of what the machine has written; work is overlayfs's own.
func (in *instance) upper() string {
	if in.sized() {
		return in.path(diskMount + "/" + upperDir)
	}
	return in.path(upperDir)
}

func (in *instance) work() string {
	if in.sized() {
		return in.path(diskMount + "/" + workDir)
	}
	return in.path(workDir)
}

// Unlimited returns why machines' root disks have no limit of their own on this host,
// empty if they have.
func (m *Manager) Unlimited() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.unlimited
}

// makeDisk makes and mounts the disk of a machine that has none yet.
func (m *Manager) makeDisk(ctx context.Context, in *instance) error {
	if in.rec.Spec.RootGiB <= 0 {
		return nil
	}
	err := makeFileSystem(ctx, in.path(diskFile), in.rec.Spec.RootGiB)
	if err == nil {
		if err = in.openDisk(); err == nil {
			return nil
		}
	}
	if ctx.Err() != nil {
		return err
	}
	if err := in.dropDisk(); err != nil {
		return err
	}
	m.log.Warn("a root disk has no limit of its own", "id", in.id, "err", err)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unlimited = err.Error()
	return nil
}

// makeFileSystem makes an ext4 in a sparse file, which takes as little as it can.
func makeFileSystem(ctx context.Context, path string, gib int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(gib<<30), f.Close()); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, mkfsPatience)
	defer cancel()
	out, err := exec.CommandContext(ctx, "mkfs.ext4", "-q", "-F", "-m", "0", "-J", "size=4", "-O", "^resize_inode",
		"-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0", path).CombinedOutput()
	if err != nil {
		return fmt.Errorf("mkfs.ext4: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// openDisk mounts the machine's disk, if it is a file system of its own and not
// mounted already, and lets it grow with its volume. The caller holds op.
func (in *instance) openDisk() error {
	if !in.sized() || isMountPoint(in.path(diskMount)) {
		return nil
	}
	file, size := in.path(diskFile), in.rec.Spec.RootGiB<<30
	st, err := os.Stat(file)
	if err != nil {
		return err
	}
	if st.Size() < size {
		if err := growFileSystem(file, size); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(in.path(diskMount), 0o700); err != nil {
		return err
	}
	loop, err := attachLoop(file)
	if err != nil {
		return err
	}
	// The machines' disks are not safe from a crash of the host, see mountOverlay: no
	// write waits for the host's disk. What is freed in there is freed on the host.
	err = unix.Mount(fmt.Sprintf("/dev/loop%d", loop), in.path(diskMount), "ext4", 0, "noinit_itable,nobarrier,discard,commit=60")
	if err != nil {
		return errors.Join(fmt.Errorf("mount the disk of %s: %w", in.id, err), detachLoops(file))
	}
	return unix.Mount("", in.path(diskMount), "", unix.MS_PRIVATE, "")
}

// growFileSystem makes the ext4 in a file as large as its volume has become.
func growFileSystem(path string, size int64) error {
	if err := os.Truncate(path, size); err != nil {
		return err
	}
	// The kernel could do it while it is mounted, but asks for more privileges.
	for _, argv := range [][]string{{"e2fsck", "-f", "-p", path}, {"resize2fs", path}} {
		out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
		if e, ok := errors.AsType[*exec.ExitError](err); ok && argv[0] == "e2fsck" && e.ExitCode() == 1 {
			continue // it has repaired something
		}
		if err != nil {
			return fmt.Errorf("%s: %w: %s", argv[0], err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}

// closeDisk unmounts the machine's disk. The caller holds op.
func (in *instance) closeDisk() error {
	if !in.sized() {
		return nil
	}
	if err := unmountAll(in.path(diskMount)); err != nil {
		return err
	}
	return detachLoops(in.path(diskFile))
}

// dropDisk removes the machine's disk, of either kind, with all that is on it.
func (in *instance) dropDisk() error {
	if err := in.closeDisk(); err != nil {
		return err
	}
	for _, name := range []string{diskMount, diskFile, upperDir, workDir} {
		if err := os.RemoveAll(in.path(name)); err != nil {
			return err
		}
	}
	return nil
}
