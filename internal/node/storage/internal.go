package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"pcluster/internal/config"
	"pcluster/internal/node/spec"
)

// InternalRoot is where the head node mounts the whole of it, to make the directories.
const InternalRoot = "/opt/parallelcluster/init_shared"

// InternalEntry is that file system among the cluster's storage, as ParallelCluster's
// nodes are told of it.
func InternalEntry(fileSystem string) Entry {
	return Entry{Name: spec.InternalStorage, Type: config.Efs, Dir: InternalRoot, FileSystem: fileSystem}
}

// OnInternal returns the mount of one of the cluster's own shared directories, whose place
// in the file system is its place on the nodes.
func OnInternal(fileSystem, dir string) Mount {
	m := Entry{Name: spec.InternalStorage, Type: config.Efs, Dir: dir, FileSystem: fileSystem}.On("")
	m.Source, m.Shared = fileSystem+":"+dir, false
	return m
}

// internalRoot is not mounted again at the next boot.
func internalRoot(fileSystem string) Mount {
	m := OnInternal(fileSystem, "/")
	m.Dir, m.passing = InternalRoot, true
	return m
}

// MakeInternal makes the cluster's own shared directories in their file system and mounts
// them on the head node. What the directories had before they have after.
func (m *Mounter) MakeInternal(ctx context.Context, fileSystem string, dirs []string) error {
	todo := false
	for _, dir := range dirs {
		todo = todo || !m.kept(dir)
	}
	if todo {
		root := internalRoot(fileSystem)
		if err := m.Mount(ctx, root); err != nil {
			return err
		}
		for _, dir := range dirs {
			if err := os.MkdirAll(m.path(root.Dir+dir), 0o755); err != nil {
				return err
			}
		}
		if _, err := m.run(ctx, "umount", m.path(root.Dir)); err != nil {
			return err
		}
	}
	for _, dir := range dirs {
		if err := m.Keep(ctx, dir, func() error { return m.Mount(ctx, OnInternal(fileSystem, dir)) }); err != nil {
			return err
		}
	}
	return nil
}

// keptDir has a file for each directory whose content is where it belongs.
const keptDir = "/var/lib/parallelcluster/kept"

func keptMark(dir string) string {
	return keptDir + "/" + strings.ReplaceAll(strings.Trim(dir, "/"), "/", "-")
}

func (m *Mounter) kept(dir string) bool {
	_, err := os.Stat(m.path(keptMark(dir)))
	return err == nil
}

// Keep mounts something on a directory and copies there what the directory had, once: the
// keys that let people in, in /home. Files that are there already stay as they are.
func (m *Mounter) Keep(ctx context.Context, dir string, mount func() error) error {
	if m.kept(dir) {
		return mount()
	}
	// Through another mount of the root directory what is hidden is still to be seen, if
	// new mounts don't show up there.
	below := m.path("/run/parallelcluster/below" + dir)
	if err := os.MkdirAll(below, 0o700); err != nil {
		return err
	}
	if _, err := m.run(ctx, "mount", "--bind", "--make-private", "/", below); err != nil {
		return err
	}
	err := mount()
	if err == nil {
		err = m.copy(ctx, below+dir, m.path(dir))
	}
	if _, e := m.run(ctx, "umount", below); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll(m.path(keptDir), 0o755); err != nil {
		return err
	}
	return os.WriteFile(m.path(keptMark(dir)), nil, 0o644)
}

// copyScript copies a tree with owners and modes. Of cp's ways to leave alone what is
// there none works with all versions.
const copyScript = `tar -C "$1" --numeric-owner -cf - . | tar -C "$2" --numeric-owner -xpf - --skip-old-files`

func (m *Mounter) copy(ctx context.Context, from, to string) error {
	if _, err := os.Stat(from); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, err := m.run(ctx, "bash", "-o", "pipefail", "-c", copyScript, "copy", from, to); err != nil {
		return fmt.Errorf("copy what was in %s to what is mounted there: %w", to, err)
	}
	return nil
}

func (m *Mounter) path(p string) string { return filepath.Join(m.Root, p) }
