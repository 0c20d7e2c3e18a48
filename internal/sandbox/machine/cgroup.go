//go:build linux

package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A cgroupDriver gives machines their cgroups, in the way that suits the host.
type cgroupDriver interface {
	// paths returns the directories that are the machine's, one per hierarchy,
	// whether they exist or not.
	paths(id string) []string
	// prepare makes the machine's cgroups with its limits as far as they are made
	// before it starts. It returns the cgroup.procs files that its first process
	// must write itself into, a command to put before its own, and additions to
	// its environment.
	prepare(id string, l limits) (procs, prefix, env []string, err error)
	// allowDevice lets a running machine use a block device.
	allowDevice(id string, major, minor uint32) error
	// known returns the IDs of machines that have cgroups.
	known() ([]string, error)
	// removeRoot removes what prepare made above the machines.
	removeRoot() error
}

// limits of a machine. Zero: none.
type limits struct {
	memory int64 // bytes
	cpus   int
}

// limitsOf are the limits that an instance type implies on this host. What the
// host does not have need not be limited.
func limitsOf(s Spec) limits {
	var l limits
	if m := s.MemoryMiB << 20; m > 0 && m < hostMemory() {
		l.memory = m
	}
	if s.VCPUs > 0 && s.VCPUs < runtime.NumCPU() {
		l.cpus = s.VCPUs
	}
	return l
}

func hostMemory() int64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0
	}
	return int64(info.Totalram) * int64(info.Unit)
}

// A hierarchy is a mounted cgroup file system.
type hierarchy struct {
	mount       string
	unified     bool
	controllers []string // of version 1; name=systemd for the one without
}

func (h hierarchy) has(controller string) bool { return slices.Contains(h.controllers, controller) }

// hierarchies finds the host's cgroup mounts.
func hierarchies() ([]hierarchy, error) {
	data, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return nil, err
	}
	return parseHierarchies(string(data)), nil
}

func parseHierarchies(mountinfo string) []hierarchy {
	var found []hierarchy
	seen := map[string]bool{}
	for _, line := range strings.Split(mountinfo, "\n") {
		before, after, ok := strings.Cut(line, " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 5 || len(g) < 3 || seen[g[0]+g[2]] || f[3] != "/" {
			continue
		}
		switch g[0] {
		case "cgroup2":
			found = append(found, hierarchy{mount: f[4], unified: true})
		case "cgroup":
			h := hierarchy{mount: f[4]}
			for _, o := range strings.Split(g[2], ",") {
				if o != "rw" && o != "ro" && !strings.HasPrefix(o, "release_agent") && o != "xattr" && o != "clone_children" && o != "noprefix" {
					h.controllers = append(h.controllers, o)
				}
			}
			found = append(found, h)
		default:
			continue
		}
		seen[g[0]+g[2]] = true
	}
	return found
}

// findCgroups chooses the driver for this host.
func findCgroups(name string) (cgroupDriver, error) {
	all, err := hierarchies()
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(h hierarchy) bool { return h.unified })
	if i < 0 {
		return nil, errors.New("machines need cgroup version 2, if only beside version 1: mount -t cgroup2 none /sys/fs/cgroup/unified")
	}
	if _, err := os.Stat("/run/systemd/system"); err == nil && all[i].mount == "/sys/fs/cgroup" {
		return &scopes{name: name, mount: all[i].mount}, nil
	}
	return &directories{name: name, hierarchies: all}, nil
}

// directories is the driver for hosts whose cgroup tree nobody manages: a
// directory for each machine in every hierarchy.
//
// Debian 13's systemd does not boot on version 1. Where the host has both, the
// machine is shown version 2 alone, which has no controllers then, and its limits
// are those of the directories in version 1 that it does not see.
type directories struct {
	name        string
	hierarchies []hierarchy
}

func (d *directories) paths(id string) []string {
	var list []string
	for _, h := range d.hierarchies {
		list = append(list, filepath.Join(h.mount, d.name, id))
	}
	return list
}

func (d *directories) prepare(id string, l limits) (procs, prefix, env []string, err error) {
	for _, h := range d.hierarchies {
		parent := filepath.Join(h.mount, d.name)
		dir := filepath.Join(parent, id)
		if err := os.MkdirAll(parent, 0o755); err != nil {
			return nil, nil, nil, err
		}
		if h.unified {
			delegate(h.mount)
			delegate(parent)
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, nil, nil, err
		}
		if err := h.limit(parent, dir, l); err != nil {
			return nil, nil, nil, fmt.Errorf("limits in %s: %w", dir, err)
		}
		procs = append(procs, filepath.Join(dir, "cgroup.procs"))
	}
	return procs, nil, []string{"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1"}, nil
}

// delegate lets the children of a version 2 cgroup have controllers, as far as
// the host allows: it has none where version 1 has them, and can't inside a
// container, where machines then have no limits.
func delegate(dir string) {
	for _, c := range []string{"cpu", "memory", "pids", "io", "cpuset"} {
		_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0)
	}
}

// limit sets the limits of one hierarchy.
func (h hierarchy) limit(parent, dir string, l limits) error {
	write := func(dir, file, value string) error { return os.WriteFile(filepath.Join(dir, file), []byte(value), 0) }
	var errs []error
	if h.unified {
		if l.memory > 0 && fileExists(dir, "memory.max") {
			errs = append(errs, write(dir, "memory.max", strconv.FormatInt(l.memory, 10)))
		}
		if l.cpus > 0 && fileExists(dir, "cpu.max") {
			errs = append(errs, write(dir, "cpu.max", fmt.Sprintf("%d 100000", l.cpus*100000)))
		}
		return errors.Join(errs...)
	}
	if h.has("cpuset") { // empty at first, and must not be when a process enters
		for _, to := range []string{parent, dir} {
			for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
				value, err := os.ReadFile(filepath.Join(filepath.Dir(to), file))
				if err == nil {
					err = write(to, file, strings.TrimSpace(string(value)))
				}
				errs = append(errs, err)
			}
		}
	}
	if h.has("memory") && l.memory > 0 {
		errs = append(errs, write(dir, "memory.limit_in_bytes", strconv.FormatInt(l.memory, 10)))
	}
	if h.has("cpu") && l.cpus > 0 {
		errs = append(errs, write(dir, "cpu.cfs_period_us", "100000"), write(dir, "cpu.cfs_quota_us", strconv.Itoa(l.cpus*100000)))
	}
	if h.has("devices") {
		errs = append(errs, write(dir, "devices.deny", "a"))
		for _, rule := range allowedDevices {
			errs = append(errs, write(dir, "devices.allow", rule))
		}
	}
	return errors.Join(errs...)
}

// allowedDevices are what a machine may open; it may make nodes of any.
var allowedDevices = []string{
	"c *:* m", "b *:* m",
	"c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm", // null, zero, full, random, urandom
	"c 5:0 rwm", "c 5:1 rwm", "c 5:2 rwm", "c 136:* rwm", // tty, console, ptmx, pts
	"c 10:229 rwm", "c 10:200 rwm", // fuse, net/tun
}

// allowDevice lets a machine use a block device, where devices are guarded.
func (d *directories) allowDevice(id string, major, minor uint32) error {
	for _, h := range d.hierarchies {
		if h.has("devices") {
			file := filepath.Join(h.mount, d.name, id, "devices.allow")
			return os.WriteFile(file, fmt.Appendf(nil, "b %d:%d rwm", major, minor), 0)
		}
	}
	return nil
}

func (d *directories) known() ([]string, error) {
	var ids []string
	for _, h := range d.hierarchies {
		entries, err := os.ReadDir(filepath.Join(h.mount, d.name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			if e.IsDir() && !slices.Contains(ids, e.Name()) {
				ids = append(ids, e.Name())
			}
		}
	}
	return ids, nil
}

func (d *directories) removeRoot() error {
	var errs []error
	for _, h := range d.hierarchies {
		errs = append(errs, removeCgroup(filepath.Join(h.mount, d.name)))
	}
	return errors.Join(errs...)
}

func fileExists(dir, name string) bool {
	_, err := os.Lstat(filepath.Join(dir, name))
	return err == nil
}

// killPatience is how long the kernel may take to end killed processes.
const killPatience = 10 * time.Second

// killAll kills all processes in the cgroups and returns when there are none.
// Nothing else ends a machine for sure: killing nspawn leaves it running.
func killAll(dirs []string) error {
	deadline := time.Now().Add(killPatience)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		left := 0
		for _, dir := range dirs {
			if os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0) == nil {
				// Only version 2 has it, from Linux 5.14.
				left += len(processesIn(dir))
				continue
			}
			for _, pid := range processesIn(dir) {
				left++
				if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
					return err
				}
			}
		}
		if left == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d processes do not end", left)
		}
		time.Sleep(pause)
	}
}

// processesIn returns the processes in a cgroup and those below it.
func processesIn(dir string) []int {
	var pids []int
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return nil // it may go while we look
		}
		data, _ := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		for _, line := range strings.Fields(string(data)) {
			if pid, err := strconv.Atoi(line); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	return pids
}

// removeCgroup removes a cgroup without processes, with those below it.
func removeCgroup(dir string) error {
	var list []string
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			list = append(list, path)
		}
		return nil
	})
	slices.Reverse(list)
	for _, path := range list {
		if err := rmdirPatiently(path); err != nil {
			return err
		}
	}
	return nil
}

// rmdirPatiently removes a cgroup directory; a process that ended may count for
// some moments more.
func rmdirPatiently(path string) error {
	for pause := time.Millisecond; ; pause *= 2 {
		err := unix.Rmdir(path)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || pause > time.Second {
			return fmt.Errorf("remove cgroup %s: %w", path, err)
		}
		time.Sleep(pause)
	}
}

// memoryUsage reads how much memory a machine's cgroups have in use, page cache
// that can be had back excluded.
func memoryUsage(dirs []string) (int64, error) {
	for _, dir := range dirs {
		for _, f := range []struct{ usage, cache string }{
			{"memory.current", "inactive_file "}, {"memory.usage_in_bytes", "total_inactive_file "},
		} {
			data, err := os.ReadFile(filepath.Join(dir, f.usage))
			if err != nil {
				continue
			}
			used, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
			if err != nil {
				return 0, err
			}
			stat, _ := os.ReadFile(filepath.Join(dir, "memory.stat"))
			for _, line := range strings.Split(string(stat), "\n") {
				if value, ok := strings.CutPrefix(line, f.cache); ok {
					n, _ := strconv.ParseInt(value, 10, 64)
					used -= n
				}
			}
			return max(used, 0), nil
		}
	}
	return 0, errors.New("this host does not account memory by cgroup")
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}
