//go:build linux

// Package image builds the system that the region's machines boot: Debian 13 with
// what ParallelCluster's own images have (Slurm, MPI, munge, MariaDB, the AWS
// command line, cloud-init), laid out where cluster software expects it.
//
// An image is a list of layers, lowest first, that are put on top of each other.
// The base image has two: the packages, which take a minute to install, and the
// settings, which are written in a moment. Each is kept in the cache under a hash
// of its recipe, so that a changed recipe is a new layer and machines of the old
// one keep theirs. Start at [Base].
package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Base returns the layers of the base image, lowest first. What is not in
// cacheDir yet is built, with a line of progress now and then; other processes
// that want the same wait. A build that fails or is cancelled leaves nothing.
func Base(ctx context.Context, cacheDir string, progress io.Writer) (layers []string, err error) {
	recipes := []recipe{packages(), settings()}
	if found, ok := cached(cacheDir, recipes); ok {
		return found, nil
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("building the machines' image needs root")
	}
	if err := os.MkdirAll(cacheDir, 0o755); err != nil {
		return nil, fmt.Errorf("image cache: %w", err)
	}
	unlock, err := lock(ctx, filepath.Join(cacheDir, "lock"), progress)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := sweep(cacheDir); err != nil {
		return nil, err
	}
	for _, r := range recipes {
		dir := r.dir(cacheDir)
		layers = append(layers, dir)
		if exists(dir) {
			continue
		}
		if err := build(ctx, r, cacheDir, progress); err != nil {
			return nil, fmt.Errorf("build the machines' image (%s): %w", r.name, err)
		}
	}
	return layers, nil
}

func cached(cacheDir string, recipes []recipe) (layers []string, all bool) {
	for _, r := range recipes {
		dir := r.dir(cacheDir)
		if !exists(dir) {
			return nil, false
		}
		layers = append(layers, dir)
	}
	return layers, true
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// partPrefix begins the names of layers that are being built.
const partPrefix = ".building-"

// build makes a layer under a temporary name and renames it when it is whole.
func build(ctx context.Context, r recipe, cacheDir string, progress io.Writer) (err error) {
	if r.needs > 0 {
		if err := checkSpace(cacheDir, r.needs); err != nil {
			return err
		}
	}
	part := filepath.Join(cacheDir, partPrefix+filepath.Base(r.dir(cacheDir)))
	defer func() {
		if err != nil {
			err = errors.Join(err, discard(part))
		}
	}()
	start := time.Now()
	fmt.Fprintf(progress, "image: building %s\n", r.name)
	if err := r.build(ctx, part, progress); err != nil {
		return err
	}
	if err := os.Rename(part, r.dir(cacheDir)); err != nil {
		return err
	}
	fmt.Fprintf(progress, "image: %s ready after %.1f s\n", r.name, time.Since(start).Seconds())
	return nil
}

// checkSpace refuses to begin what can't be finished.
func checkSpace(dir string, needs int64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return err
	}
	if free := int64(st.Bavail) * st.Bsize; free < needs {
		return fmt.Errorf("%s has %d MiB free, the image needs %d MiB: make room or choose another cache", dir, free>>20, needs>>20)
	}
	return nil
}

// lock waits until this process alone may build in the cache.
func lock(ctx context.Context, path string, progress io.Writer) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("image cache: %w", err)
	}
	for told := false; ; told = true {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("lock image cache: %w", err)
		}
		if !told {
			fmt.Fprintln(progress, "image: another process builds it, waiting")
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// sweep removes what builds that were killed left behind. The caller has the lock.
func sweep(cacheDir string) error {
	entries, err := os.ReadDir(cacheDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), partPrefix) {
			if err := discard(filepath.Join(cacheDir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// discard removes a tree in which a builder may have mounted the host's /dev and
// /proc: never before those are gone.
func discard(dir string) error {
	data, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return err
	}
	lines := strings.Split(string(data), "\n")
	for i := len(lines) - 1; i >= 0; i-- { // the last one mounted is on top
		fields := strings.Fields(lines[i])
		if len(fields) > 4 && (fields[4] == dir || strings.HasPrefix(fields[4], dir+"/")) {
			if err := unix.Unmount(fields[4], unix.MNT_DETACH); err != nil {
				return fmt.Errorf("unmount %s: %w", fields[4], err)
			}
		}
	}
	return os.RemoveAll(dir)
}

// errMissing explains how to get a program that the build needs.
func errMissing(program, pkg string) error {
	if _, err := exec.LookPath(program); err != nil {
		return fmt.Errorf("%s is not installed (apt-get install %s): %w", program, pkg, err)
	}
	return nil
}

// copyTree writes the files of an embedded tree below dir. Files below a bin or
// sbin are executable.
func copyTree(dir string, tree fs.FS) error {
	return fs.WalkDir(tree, ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == "." {
			return err
		}
		target := filepath.Join(dir, path)
		if e.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		data, err := fs.ReadFile(tree, path)
		if err != nil {
			return err
		}
		mode := os.FileMode(0o644)
		if parent := filepath.Base(filepath.Dir(path)); parent == "bin" || parent == "sbin" {
			mode = 0o755
		}
		return writeFile(target, data, mode)
	})
}

// writeFile does not depend on the caller's umask.
func writeFile(path string, data []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, data, mode); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}
