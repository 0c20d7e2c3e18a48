//go:build linux

package machine

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// onThread runs f on a thread of its own, which ends afterwards: what f changed
// of the thread (namespaces, root) can't reach other goroutines.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the runtime ends the thread with the goroutine
		if unix.Gettid() == unix.Getpid() {
			// The main thread can't end, and what /proc/self says is about it.
			// While it is held here, another goroutine gets another thread.
			done <- onThread(f)
			runtime.UnlockOSThread()
			return
		}
		done <- f()
	}()
	return <-done
}

// inRoot runs f with dir as root directory, so that paths, and symbolic links on
// the way, mean what they mean in there.
func inRoot(dir string, f func() error) error {
	return onThread(func() error {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("unshare root directory: %w", err)
		}
		if err := errors.Join(unix.Chroot(dir), unix.Chdir("/")); err != nil {
			return fmt.Errorf("change root directory to %s: %w", dir, err)
		}
		unix.Umask(0o022) // this thread's own by now
		return f()
	})
}

// A mountNamespace is that of a machine, with its root directory.
type mountNamespace struct{ f *os.File }

// mountsOf opens the mount namespace of a process. Close it.
func mountsOf(p process) (*mountNamespace, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/ns/mnt", p.PID))
	if err != nil {
		return nil, err
	}
	if !p.alive() { // the PID may have been given away before we opened it
		f.Close()
		return nil, errGone
	}
	return &mountNamespace{f}, nil
}

func (ns *mountNamespace) Close() error { return ns.f.Close() }

// enter makes the calling thread one of the namespace. Call it in onThread.
func (ns *mountNamespace) enter() error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare root directory: %w", err)
	}
	if err := unix.Setns(int(ns.f.Fd()), unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("enter mount namespace: %w", err)
	}
	unix.Umask(0o022) // this thread's own by now
	return nil
}

// do runs f on a thread inside the namespace.
func (ns *mountNamespace) do(f func() error) error {
	return onThread(func() error {
		if err := ns.enter(); err != nil {
			return err
		}
		return f()
	})
}
