//go:build linux

package machine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// mountDisk mounts the machine's root file system and, the first time, writes
// what makes it this machine's.
func (m *Manager) mountDisk(ctx context.Context, in *instance) error {
	seeded := fileExists(in.dir, seededFile)
	if !seeded { // perhaps half written by a process that died
		if err := in.dropDisk(); err != nil {
			return err
		}
		if err := m.makeDisk(ctx, in); err != nil {
			return err
		}
	}
	// It may be mounted because somebody has looked at it, and its volume have grown.
	if seeded {
		if err := in.closeDisk(); err != nil {
			return err
		}
	}
	if err := in.openDisk(); err != nil {
		return err
	}
	for _, dir := range []string{in.upper(), in.work(), in.path(rootDir), in.path(factsDir)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(in.upper(), 0o755); err != nil { // the mode of the machine's /
		return err
	}
	if err := mountOverlay(in); err != nil {
		return err
	}
	if seeded {
		return nil
	}
	if err := m.seed(in); err != nil {
		return fmt.Errorf("write first files: %w", err)
	}
	return os.WriteFile(in.path(seededFile), nil, 0o600)
}

// mountOverlay puts the machine's own directory on top of its image.
func mountOverlay(in *instance) error {
	lower := slices.Clone(in.rec.Spec.Layers)
	slices.Reverse(lower) // overlayfs wants the top one first
	for _, dir := range lower {
		if st, err := os.Stat(dir); err != nil || !st.IsDir() {
			return fmt.Errorf("image layer %s is missing", dir)
		}
		if strings.ContainsAny(dir, ":,\\") {
			return fmt.Errorf("image layer %s: a path with a colon or comma can't be a layer", dir)
		}
	}
	options := "lowerdir=" + strings.Join(lower, ":") + ",upperdir=" + in.upper() + ",workdir=" + in.work()
	// Volatile: what a machine syncs does not wait for the host's disk. The mark
	// that such a mount leaves forbids the next one, in case the host crashed; a
	// machine that was up then starts from what the host's file system kept.
	if err := os.RemoveAll(filepath.Join(in.work(), "work", "incompat")); err != nil {
		return err
	}
	err := unix.Mount("overlay", in.path(rootDir), "overlay", 0, options+",volatile")
	if errors.Is(err, unix.EINVAL) { // Linux before 5.10
		err = unix.Mount("overlay", in.path(rootDir), "overlay", 0, options)
	}
	if err != nil {
		return fmt.Errorf("mount overlay on %s (is the directory on a file system that can hold one?): %w", in.path(rootDir), err)
	}
	// Nothing that happens to the mount may spread to other namespaces, or back.
	return unix.Mount("", in.path(rootDir), "", unix.MS_PRIVATE, "")
}

// unmountAll takes away what is mounted on dir; whoever still has files open in it
// keeps them.
func unmountAll(dir string) error {
	for isMountPoint(dir) {
		if err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("unmount %s: %w", dir, err)
		}
	}
	return nil
}

// isMountPoint says whether a file system other than the parent's is mounted on
// dir.
func isMountPoint(dir string) bool {
	var here, above unix.Stat_t
	if unix.Lstat(dir, &here) != nil || unix.Lstat(filepath.Dir(dir), &above) != nil {
		return false
	}
	return here.Dev != above.Dev
}

// remove discards a machine's directory, in whose root nothing may be mounted any
// more. The caller holds op.
func (in *instance) remove() error {
	if isMountPoint(in.path(rootDir)) {
		return fmt.Errorf("%s is still mounted", in.path(rootDir))
	}
	// The record goes last: without it nobody would know what the rest is.
	if err := errors.Join(os.RemoveAll(in.path(rootDir)), in.dropDisk()); err != nil {
		return err
	}
	return os.RemoveAll(in.dir)
}

// seed writes the files that are this machine's from its first boot on.
func (m *Manager) seed(in *instance) error {
	s := in.rec.Spec
	files := []File{
		{Path: "/etc/hostname", Mode: 0o644, Content: []byte(s.Hostname + "\n")},
		{Path: "/etc/hosts", Mode: 0o644, Content: []byte("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n")},
		{Path: "/etc/machine-id", Mode: 0o444, Content: []byte(randomHex(32) + "\n")},
	}
	if len(s.Interfaces) > 0 && m.cfg.Network != nil {
		resolver := s.Interfaces[0].Subnet.Masked().Addr().Next().Next()
		files = append(files, File{
			Path: "/etc/resolv.conf", Mode: 0o644,
			Content: fmt.Appendf(nil, "search %s\nnameserver %s\n", m.cfg.Network.Domain(), resolver),
		})
	}
	return inRoot(in.path(rootDir), func() error {
		for _, f := range append(files, s.Files...) {
			if err := f.write(); err != nil {
				return err
			}
		}
		return trust(m.cfg.CA)
	})
}

// write puts the file into the root file system of the calling thread.
func (f File) write() error {
	mode := os.FileMode(f.Mode).Perm()
	if mode == 0 {
		mode = 0o644
	}
	if !filepath.IsAbs(f.Path) {
		return fmt.Errorf("file %q: the path is not absolute", f.Path)
	}
	if err := os.MkdirAll(filepath.Dir(f.Path), 0o755); err != nil {
		return err
	}
	if st, err := os.Lstat(f.Path); err == nil && !st.Mode().IsRegular() {
		if err := os.Remove(f.Path); err != nil { // a link to where the host would have it
			return err
		}
	}
	if err := os.WriteFile(f.Path, f.Content, mode); err != nil {
		return err
	}
	return os.Chmod(f.Path, mode) // whatever the umask
}

func randomHex(digits int) string {
	b := make([]byte, digits/2)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return hex.EncodeToString(b)
}
