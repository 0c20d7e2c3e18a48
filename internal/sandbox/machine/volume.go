//go:build linux

package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// loopMajor is the device number of loop devices.
const loopMajor = 7

// AttachVolume gives a running machine a block device for the volume's file: an
// NVMe name, the volume's own device name, and the links by ID that EC2's images
// make. Attaching it again changes nothing.
func (m *Manager) AttachVolume(_ context.Context, id string, v Volume) error {
	in, err := m.running(id)
	if err != nil {
		return err
	}
	defer in.op.Unlock()
	if !slices.ContainsFunc(in.rec.Attached, func(o Volume) bool { return o.ID == v.ID }) {
		in.rec.Attached = append(in.rec.Attached, v)
		if err := in.save(); err != nil {
			return err
		}
	}
	return m.attachVolume(in, v)
}

// DetachVolume takes a volume away from a running machine. It refuses with
// [ErrInUse] while the machine has it mounted. A volume that is not attached is no
// error.
func (m *Manager) DetachVolume(_ context.Context, id string, v Volume) error {
	in, err := m.running(id)
	if err != nil {
		return err
	}
	defer in.op.Unlock()
	loops, err := loopsOf(v.Path)
	if err != nil {
		return err
	}
	for _, loop := range loops {
		if used, err := mounted(in.rec.Leader, loop); err != nil {
			return err
		} else if used {
			return fmt.Errorf("volume %s of machine %s: %w", v.ID, id, ErrInUse)
		}
	}
	ns, err := mountsOf(in.rec.Leader)
	if err != nil {
		return err
	}
	defer ns.Close()
	if err := ns.do(func() error { return removeNodes(v, loops) }); err != nil {
		return fmt.Errorf("detach volume %s: %w", v.ID, err)
	}
	if err := detachLoops(v.Path); err != nil {
		return err
	}
	in.rec.Attached = slices.DeleteFunc(in.rec.Attached, func(o Volume) bool { return o.ID == v.ID })
	return in.save()
}

func (m *Manager) attachVolume(in *instance, v Volume) error {
	fail := func(err error) error { return fmt.Errorf("attach volume %s: %w", v.ID, err) }
	loop, err := attachLoop(v.Path)
	if err != nil {
		return fail(err)
	}
	if err := m.cgroups.allowDevice(in.id, loopMajor, uint32(loop)); err != nil {
		return fail(err)
	}
	ns, err := mountsOf(in.rec.Leader)
	if err != nil {
		return fail(err)
	}
	defer ns.Close()
	if err := ns.do(func() error { return makeNodes(v, loop) }); err != nil {
		return fail(err)
	}
	return nil
}

// volumeLinks are the names, beside the NVMe device, under which software on EC2
// finds a volume.
func volumeLinks(v Volume) []string {
	links := []string{
		"/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_" + strings.Replace(v.ID, "vol-", "vol", 1),
		"/dev/disk/by-ebs-volumeid/" + v.ID,
	}
	if v.Device != "" {
		links = append(links, v.Device)
	}
	return links
}

// makeNodes makes the volume's device files, in the root of the calling thread.
func makeNodes(v Volume, loop int) error {
	// Under its real name, too: blkid finds devices through /proc/partitions.
	node := "/dev/loop" + strconv.Itoa(loop)
	if err := makeNode(node, loop); err != nil {
		return err
	}
	name, err := nvmeNode(loop)
	if err != nil {
		return err
	}
	for _, link := range volumeLinks(v) {
		if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
			return err
		}
		if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := os.Symlink(name, link); err != nil {
			return err
		}
	}
	return nil
}

// nvmeNode returns the NVMe name of a loop device, the first that is free if it
// has none yet. /dev/nvme0n1 would be the root volume.
func nvmeNode(loop int) (string, error) {
	for i := 1; i < 256; i++ {
		name := fmt.Sprintf("/dev/nvme%dn1", i)
		var st unix.Stat_t
		err := unix.Lstat(name, &st)
		if errors.Is(err, unix.ENOENT) {
			return name, makeNode(name, loop)
		}
		if err == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK && unix.Minor(st.Rdev) == uint32(loop) {
			return name, nil
		}
	}
	return "", errors.New("all NVMe names are taken")
}

func makeNode(path string, loop int) error {
	err := unix.Mknod(path, unix.S_IFBLK|0o660, int(unix.Mkdev(loopMajor, uint32(loop))))
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

func removeNodes(v Volume, loops []int) error {
	for _, link := range volumeLinks(v) {
		_ = os.Remove(link)
	}
	nodes, err := filepath.Glob("/dev/nvme*n1")
	if err != nil {
		return err
	}
	for _, loop := range loops {
		nodes = append(nodes, "/dev/loop"+strconv.Itoa(loop))
	}
	for _, node := range nodes {
		var st unix.Stat_t
		if unix.Lstat(node, &st) == nil && unix.Major(st.Rdev) == loopMajor && slices.Contains(loops, int(unix.Minor(st.Rdev))) {
			if err := os.Remove(node); err != nil {
				return err
			}
		}
	}
	return nil
}

// mounted says whether the machine has a file system of the loop device mounted.
func mounted(leader process, loop int) (bool, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", leader.PID))
	if err != nil {
		return false, err
	}
	for _, line := range strings.Split(string(data), "\n") {
		if f := strings.Fields(line); len(f) > 2 && f[2] == fmt.Sprintf("%d:%d", loopMajor, loop) {
			return true, nil
		}
	}
	return false, nil
}

// attachLoop returns the number of the loop device of a file, and makes it one if
// it has none.
func attachLoop(path string) (int, error) {
	if loops, err := loopsOf(path); err != nil || len(loops) > 0 {
		if err != nil {
			return 0, err
		}
		return loops[0], nil
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return 0, fmt.Errorf("loop devices: %w", err)
	}
	defer control.Close()
	for {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return 0, fmt.Errorf("get a free loop device: %w", err)
		}
		dev, err := openLoop(n)
		if err != nil {
			return 0, err
		}
		config := unix.LoopConfig{Fd: uint32(file.Fd()), Info: unix.LoopInfo64{}}
		copy(config.Info.File_name[:len(config.Info.File_name)-1], path)
		err = unix.IoctlLoopConfigure(int(dev.Fd()), &config)
		dev.Close()
		if errors.Is(err, unix.EBUSY) {
			continue // another process was quicker
		}
		if err != nil {
			return 0, fmt.Errorf("loop device %d for %s: %w", n, path, err)
		}
		return n, nil
	}
}

// openLoop opens a loop device, whose node nobody may have made on this host.
func openLoop(n int) (*os.File, error) {
	path := "/dev/loop" + strconv.Itoa(n)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if !errors.Is(err, os.ErrNotExist) {
		return f, err
	}
	if err := makeNode(path, n); err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_RDWR, 0)
}

// loopsOf returns the loop devices that a file has.
func loopsOf(path string) ([]int, error) {
	path, err := filepath.EvalSymlinks(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return nil, err
	}
	var loops []int
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil || strings.TrimSuffix(string(data), "\n") != path {
			continue
		}
		name := filepath.Base(filepath.Dir(filepath.Dir(file)))
		if n, err := strconv.Atoi(strings.TrimPrefix(name, "loop")); err == nil {
			loops = append(loops, n)
		}
	}
	return loops, nil
}

// detachLoops gives the loop devices of a file back. One that is still open goes
// with its last user.
func detachLoops(path string) error {
	loops, err := loopsOf(path)
	if err != nil {
		return err
	}
	for _, n := range loops {
		dev, err := openLoop(n)
		if err != nil {
			return err
		}
		err = unix.IoctlSetInt(int(dev.Fd()), unix.LOOP_CLR_FD, 0)
		dev.Close()
		if err != nil && !errors.Is(err, unix.ENXIO) {
			return fmt.Errorf("detach loop device %d of %s: %w", n, path, err)
		}
	}
	return nil
}
