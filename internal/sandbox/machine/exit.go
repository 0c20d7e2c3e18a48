//go:build linux

package machine

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// rebootStatus is nspawn's exit status when the machine asked for a reboot and a
// supervisor is expected to start it again.
const rebootStatus = "133"

// watch makes the machine count as running until its processes end, and deals
// with the end then. The caller holds op.
func (m *Manager) watch(in *instance) error {
	wait, err := waiter(in.rec.Keeper, in.rec.Nspawn)
	if err != nil {
		return err
	}
	in.mu.Lock()
	in.end = make(chan struct{})
	in.mu.Unlock()
	go func() {
		wait()
		m.ended(in)
	}()
	return nil
}

// waiter returns a function that waits for the end of both processes.
func waiter(list ...process) (wait func(), err error) {
	var files []*os.File
	for _, p := range list {
		fd, err := unix.PidfdOpen(p.PID, unix.PIDFD_NONBLOCK)
		if err == nil && !p.alive() {
			unix.Close(fd)
			continue
		}
		if errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("watch process %d: %w", p.PID, err)
		}
		files = append(files, os.NewFile(uintptr(fd), "pidfd"))
	}
	return func() {
		for _, f := range files {
			if c, err := f.SyscallConn(); err == nil {
				// Parked in the runtime's poller, without a thread. A pidfd is
				// readable when its process has ended.
				_ = c.Read(func(fd uintptr) bool {
					n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
					return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
				})
			}
			f.Close()
		}
	}, nil
}

// ended cleans up after a machine whose supervisor is gone, and tells its owner.
func (m *Manager) ended(in *instance) {
	in.op.Lock()
	exit := Exit{ID: in.id, Reason: in.reason(), At: time.Now()}
	if err := m.release(in); err != nil {
		m.log.Error("clean up after machine", "id", in.id, "err", err)
	}
	in.mu.Lock()
	end := in.end
	in.end = nil
	in.mu.Unlock()
	in.op.Unlock()
	if end != nil {
		close(end)
	}
	m.cfg.OnExit(exit)
}

// reason says how the machine ended, once it has. The caller holds op.
func (in *instance) reason() ExitReason {
	in.mu.Lock()
	stopped := in.stop || in.rec.Stopping
	in.mu.Unlock()
	if stopped {
		return Stopped
	}
	status, err := os.ReadFile(in.path(exitFile))
	if err != nil {
		return Died // nspawn was killed, and so was its keeper
	}
	switch strings.TrimSpace(string(status)) {
	case "0":
		return PoweredOff
	case rebootStatus:
		return Rebooted
	}
	return Died
}

// release gives back everything that a machine has of the host except its disk:
// processes, mounts, interfaces, devices, cgroups. It may be called again, and for
// a machine that was half started. The caller holds op.
func (m *Manager) release(in *instance) error {
	err := killAll(in.cgroups)
	if err != nil {
		return err // what is left must not be pulled away from under its processes
	}
	var errs []error
	for _, nic := range in.rec.Spec.Interfaces {
		if m.cfg.Network != nil {
			errs = append(errs, m.cfg.Network.Detach(nic.ID))
		}
	}
	removeNspawnLeftovers(in)
	errs = append(errs, unmountAll(in.path(rootDir)), in.closeDisk())
	for _, v := range in.rec.Attached {
		errs = append(errs, detachLoops(v.Path))
	}
	for _, dir := range in.cgroups {
		errs = append(errs, removeCgroup(dir))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if !fileExists(in.dir, recordFile) {
		return nil
	}
	in.rec.Up, in.rec.Stopping, in.rec.Attached = false, false, nil
	in.rec.Keeper, in.rec.Nspawn, in.rec.Leader = process{}, process{}, process{}
	return in.save()
}

// removeNspawnLeftovers removes what nspawn leaves in /run when it is killed, or
// when /run is not a tmpfs. The disk must still be mounted.
func removeNspawnLeftovers(in *instance) {
	const run = "/run/systemd/nspawn/"
	for _, dir := range []string{"propagate/", "unix-export/"} {
		// Newer versions mount something here, and refuse to start while it is there.
		_ = unmountAll(run + dir + in.id)
		_ = os.Remove(run + dir + in.id)
	}
	var st unix.Stat_t
	if isMountPoint(in.path(rootDir)) && unix.Lstat(in.path(rootDir), &st) == nil {
		_ = os.Remove(fmt.Sprintf("%slocks/inode-%d:%d", run, st.Dev, st.Ino))
	}
}
