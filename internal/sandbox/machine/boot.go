//go:build linux

package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pcluster/internal/sandbox/vpc"
)

// sigPowerOff makes systemd shut the machine down: SIGRTMIN+4.
const sigPowerOff = unix.Signal(34 + 4)

// startPatience is how long nspawn may take to set a machine up, on a busy host.
const startPatience = 60 * time.Second

// Start boots a machine and returns when its first process runs and its network
// is attached. A machine that ran before gets its old disk.
func (m *Manager) Start(ctx context.Context, s Spec) (err error) {
	in, err := m.get(s.ID, true)
	if err != nil {
		return err
	}
	in.op.Lock()
	defer in.op.Unlock()
	if in.alive() {
		return fmt.Errorf("machine %s: %w", s.ID, ErrRunning)
	}
	if in.rec.Up { // its last end could not be cleaned up after
		if err := m.release(in); err != nil {
			return fmt.Errorf("start machine %s: clean up after its last boot: %w", s.ID, err)
		}
	}
	known := fileExists(in.dir, recordFile)
	defer func() {
		if err == nil {
			return
		}
		err = fmt.Errorf("start machine %s: %w", s.ID, err)
		if e := m.release(in); e != nil {
			err = errors.Join(err, e)
			return
		}
		if !known {
			m.forget(in)
		}
	}()
	if len(s.Layers) == 0 {
		return errors.New("its image has no layers")
	}
	if err := os.MkdirAll(in.dir, 0o700); err != nil {
		return err
	}
	in.rec = record{Spec: s, Up: true, Attached: s.Volumes}
	in.setAddrs()
	in.mu.Lock()
	in.stop = false
	in.mu.Unlock()
	if err := in.save(); err != nil {
		return err
	}
	if err := m.mountDisk(ctx, in); err != nil {
		return err
	}
	if err := m.spawn(ctx, in); err != nil {
		return err
	}
	if err := m.equip(ctx, in); err != nil {
		return err
	}
	return m.watch(in)
}

// forget drops a machine that never came to be.
func (m *Manager) forget(in *instance) {
	_ = in.remove()
	m.mu.Lock()
	delete(m.machines, in.id)
	m.mu.Unlock()
}

// keeper starts nspawn in the machine's cgroups and writes down how it ended,
// which nobody else could learn if the daemon is not there then.
// Arguments: the machine's directory, cgroup.procs files, "--", the command.
const keeper = `
dir=$1; shift
procs=
while [ "$1" != -- ]; do procs="$procs $1"; shift; done
shift
(
	for f in $procs; do echo 0 >"$f" || exit 1; done
	exec "$@"
) &
echo $! >"$dir/pid"
wait $!
echo $? >"$dir/exit.new"
mv "$dir/exit.new" "$dir/exit"
`

// spawn starts the machine's processes and fills in who they are.
func (m *Manager) spawn(ctx context.Context, in *instance) error {
	binds, err := writeFacts(in)
	if err != nil {
		return err
	}
	procs, prefix, env, err := m.cgroups.prepare(in.id, limitsOf(in.rec.Spec))
	if err != nil {
		return fmt.Errorf("cgroup: %w", err)
	}
	for _, name := range []string{exitFile, pidFile} {
		if err := os.Remove(in.path(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	ready, err := listenReady(in.id)
	if err != nil {
		return err
	}
	defer ready.Close()

	args := []string{"-c", keeper, "sh", in.dir}
	args = append(args, procs...)
	args = append(args, "--")
	args = append(args, prefix...)
	args = append(args, nspawn(in, binds)...)
	cmd := exec.Command("/bin/sh", args...)
	cmd.Dir = "/"
	cmd.Env = append(env, "SYSTEMD_NSPAWN_TMPFS_TMP=0", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "TERM=dumb", "NOTIFY_SOCKET="+ready.LocalAddr().String())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if cmd.Stdout, err = appendTo(in.path(consoleFile)); err != nil {
		return err
	}
	defer cmd.Stdout.(*os.File).Close()
	if cmd.Stderr, err = os.Create(in.path(nspawnFile)); err != nil {
		return err
	}
	defer cmd.Stderr.(*os.File).Close()
	if err := startWithOwnUptime(cmd); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() { // this process is its parent, and must not leave a zombie
		_ = cmd.Wait()
		close(exited)
	}()
	leader, err := waitReady(ctx, ready, exited)
	if err != nil {
		return fmt.Errorf("%w%s", err, lastLines(in.path(nspawnFile)))
	}
	return in.identify(cmd.Process.Pid, leader)
}

// identify fills in and saves the machine's processes.
func (in *instance) identify(keeper, leader int) (err error) {
	data, err := os.ReadFile(in.path(pidFile))
	if err != nil {
		return err
	}
	supervisor, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return err
	}
	for pid, p := range map[int]*process{keeper: &in.rec.Keeper, supervisor: &in.rec.Nspawn, leader: &in.rec.Leader} {
		if *p, err = identify(pid); err != nil {
			return fmt.Errorf("it ended while starting: %w%s", err, lastLines(in.path(nspawnFile)))
		}
	}
	return in.save()
}

// nspawn returns the command that boots the machine.
func nspawn(in *instance, binds []string) []string {
	args := []string{
		"systemd-nspawn", "--quiet", "--boot", "--directory=" + in.path(rootDir), "--machine=" + in.id,
		// Its network interfaces are made when it runs: those that nspawn is given
		// need udev, and a namespace it is given shows the host's in /sys.
		"--private-network",
		"--register=no", "--keep-unit", "--console=read-only", "--settings=no",
		"--resolv-conf=off", "--timezone=off", "--link-journal=no",
		"--capability=CAP_IPC_LOCK", // MPI pins memory
	}
	if in.rec.Spec.Hostname != "" {
		args = append(args, "--hostname="+in.rec.Spec.Hostname)
	}
	for _, dev := range []string{"/dev/fuse", "/dev/net/tun"} {
		if fileExists("/", dev) {
			args = append(args, "--bind="+dev)
		}
	}
	return append(args, binds...)
}

// startWithOwnUptime starts the command in a time namespace whose clock of uptime
// begins now, to the nanosecond: slurmctld rounds a node's boot time to seconds
// and does not believe in one before the node was asked for.
func startWithOwnUptime(cmd *exec.Cmd) error {
	return onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWTIME); err != nil {
			if errors.Is(err, unix.EINVAL) {
				return cmd.Start() // a kernel without time namespaces
			}
			return fmt.Errorf("make a time namespace: %w", err)
		}
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
			return err
		}
		offset := time.Duration(-now.Nano())
		sec, nsec := int64(offset/time.Second), int64(offset%time.Second)
		if nsec < 0 { // the kernel wants it positive
			sec, nsec = sec-1, nsec+int64(time.Second)
		}
		// The offsets are those of the namespace of this thread's children.
		file := fmt.Sprintf("/proc/%d/timens_offsets", unix.Gettid())
		if err := os.WriteFile(file, fmt.Appendf(nil, "boottime %d %d\n", sec, nsec), 0); err != nil {
			return fmt.Errorf("set the uptime: %w", err)
		}
		return cmd.Start()
	})
}

// listenReady opens the socket on which nspawn tells that the machine is set up.
func listenReady(id string) (*net.UnixConn, error) {
	name := "@pcluster-machine-" + id + "-" + randomHex(8) // @: not a file
	return net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
}

// waitReady returns the PID of the machine's first process.
func waitReady(ctx context.Context, ready *net.UnixConn, exited <-chan struct{}) (leader int, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, startPatience, errors.New("systemd-nspawn takes too long"))
	defer cancel()
	go func() {
		select {
		case <-ctx.Done():
		case <-exited:
		}
		_ = ready.SetReadDeadline(time.Now())
	}()
	buf := make([]byte, 4096)
	for {
		n, err := ready.Read(buf)
		if err != nil {
			select {
			case <-exited:
				return 0, errors.New("systemd-nspawn ended")
			default:
			}
			if ctx.Err() != nil {
				return 0, context.Cause(ctx)
			}
			return 0, err
		}
		for _, line := range strings.Split(string(buf[:n]), "\n") {
			if value, ok := strings.CutPrefix(line, "X_NSPAWN_LEADER_PID="); ok {
				return strconv.Atoi(value)
			}
		}
	}
}

// equip gives a machine that was just spawned what is attached from outside.
func (m *Manager) equip(ctx context.Context, in *instance) error {
	for i, nic := range in.rec.Spec.Interfaces {
		if m.cfg.Network == nil {
			return errors.New("there is no network for its interfaces")
		}
		if err := m.cfg.Network.Attach(ctx, port(in.rec.Spec, i), in.rec.Leader.PID, fmt.Sprintf("eth%d", i), i == 0); err != nil {
			return fmt.Errorf("interface %s: %w", nic.ID, err)
		}
	}
	for name, target := range map[string]string{cpuinfoFile: "/proc/cpuinfo", meminfoFile: "/proc/meminfo"} {
		if err := attach(in.rec.Leader, in.path(factsDir+"/"+name), target, true); err != nil {
			return fmt.Errorf("show %s: %w", target, err)
		}
	}
	for _, v := range in.rec.Spec.Volumes {
		if err := m.attachVolume(in, v); err != nil {
			return err
		}
	}
	return nil
}

func port(s Spec, i int) vpc.Port {
	nic := s.Interfaces[i]
	p := vpc.Port{ID: nic.ID, MAC: nic.MAC, Addr: nic.Addr, Subnet: nic.Subnet, Public: nic.Public}
	if i == 0 {
		p.Hostname = s.Hostname
	}
	return p
}

func appendTo(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
}

// lastLines returns the end of a log, to be put after an error.
func lastLines(path string) string {
	data, _ := os.ReadFile(path)
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	if len(lines) == 1 && len(lines[0]) == 0 {
		return ""
	}
	return "\n  " + string(bytes.Join(lines[max(0, len(lines)-8):], []byte("\n  ")))
}
