package storage

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// A Mounter brings mounts about on this node.
type Mounter struct {
	Root  string // in front of directories; empty but in tests
	Fstab string // empty: /etc/fstab
	// Run runs a program and returns its standard output; its error has what the
	// program printed on standard error. Nil: really.
	Run func(ctx context.Context, argv ...string) (string, error)
	// Patience is how long failing mounts are tried again: a new EFS file system
	// needs minutes until its name resolves. Zero: DefaultPatience.
	Patience time.Duration
	// Own says whether this node decides the mode of shared directories: the head node.
	Own bool

	fstab sync.Mutex // mounts happen at the same time
}

// DefaultPatience covers what AWS documents for new mount targets, doubled.
const DefaultPatience = 5 * time.Minute

// Retries start quickly, since in most clusters the server is there within a
// second, and slow down.
const (
	retryFirst = 100 * time.Millisecond
	retryMost  = 5 * time.Second
)

func (m *Mounter) run(ctx context.Context, argv ...string) (string, error) {
	if m.Run != nil {
		return m.Run(ctx, argv...)
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		if said := strings.TrimSpace(stderr.String()); said != "" {
			return string(out), fmt.Errorf("%s: %s", argv[0], said)
		}
		return string(out), fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
	}
	return string(out), nil
}

// Mount puts the mount into fstab and mounts it, unless it is mounted already.
// Its error begins with the text by which tools recognise the kind of storage.
func (m *Mounter) Mount(ctx context.Context, mt Mount) error {
	if err := m.mount(ctx, mt); err != nil {
		return fmt.Errorf("Failed to mount %s %s at %s: %w", mt.Kind, mt.Name, mt.Dir, err)
	}
	return nil
}

func (m *Mounter) mount(ctx context.Context, mt Mount) error {
	fstab := m.Fstab
	if fstab == "" {
		fstab = "/etc/fstab"
	}
	dir := m.path(mt.Dir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if !mt.passing {
		m.fstab.Lock()
		err := AddLine(fstab, mt.Line())
		m.fstab.Unlock()
		if err != nil {
			return err
		}
	}
	patience := m.Patience
	if patience == 0 {
		patience = DefaultPatience
	}
	deadline := time.Now().Add(patience)
	for wait := retryFirst; ; wait = min(2*wait, retryMost) {
		if _, err := m.run(ctx, "mountpoint", "-q", dir); err == nil {
			break
		}
		// All options from here, not from fstab: noauto and automount belong there only.
		_, err := m.run(ctx, "mount", "-t", mt.FSType, "-o", strings.Join(mountOptions(mt.Options), ","), mt.Source, dir)
		if err == nil {
			break
		}
		if ctx.Err() != nil || time.Now().Add(wait).After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
	}
	if m.Own && mt.Shared {
		return os.Chmod(dir, 0o777|os.ModeSticky)
	}
	return nil
}

// mountOptions leaves out what only fstab and systemd understand.
func mountOptions(options []string) []string {
	var out []string
	for _, o := range options {
		if o != "noauto" && o != "_netdev" && !strings.HasPrefix(o, "x-systemd.") {
			out = append(out, o)
		}
	}
	if len(out) == 0 {
		return []string{"defaults"}
	}
	return out
}

// byID is where udev, or the region's machines, name EBS volumes.
const byID = "/dev/disk/by-id"

// device is the path of an attached EBS volume's block device.
func device(volume string) string {
	return filepath.Join(byID, "nvme-Amazon_Elastic_Block_Store_"+strings.Replace(volume, "-", "", 1))
}

// deviceTimeout is how long an attached volume may take to appear.
const deviceTimeout = 5 * time.Minute

// awaitDevice waits for the device of an attached volume and returns it. xen
// instances have no by-id names: there the name given at attach counts.
func awaitDevice(ctx context.Context, volume, attachedAs string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, deviceTimeout)
	defer cancel()
	candidates := []string{device(volume), attachedAs, strings.Replace(attachedAs, "/dev/sd", "/dev/xvd", 1)}
	for {
		for _, c := range candidates {
			if _, err := os.Stat(c); err == nil {
				return c, nil
			}
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("volume %s is attached, but no device of it appeared", volume)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Volume mounts an EBS or RAID entry on the head node: attach, assemble, make a
// file system on a blank disk, mount by UUID.
func (m *Mounter) Volume(ctx context.Context, a *Attacher, e Entry) error {
	if err := m.volume(ctx, a, e); err != nil {
		return fmt.Errorf("Failed to mount %s %s at %s: %w", e.kind(), e.Name, e.Dir, err)
	}
	return nil
}

func (m *Mounter) volume(ctx context.Context, a *Attacher, e Entry) error {
	var devices []string
	for _, v := range e.Volumes {
		d, err := a.Attach(ctx, v)
		if err != nil {
			return err
		}
		devices = append(devices, d)
	}
	dev := devices[0]
	if e.RaidLevel != nil {
		var err error
		if dev, err = m.assemble(ctx, *e.RaidLevel, devices); err != nil {
			return err
		}
	}
	dev, err := m.ensureFileSystem(ctx, dev)
	if err != nil {
		return err
	}
	uuid, err := m.run(ctx, "blkid", "-o", "value", "-s", "UUID", dev)
	if err != nil {
		return err
	}
	fsType, err := m.run(ctx, "blkid", "-o", "value", "-s", "TYPE", dev)
	if err != nil {
		return err
	}
	options := []string{"_netdev"}
	if e.RaidLevel != nil {
		options = []string{"defaults", "nofail", "_netdev"}
	}
	source := "UUID=" + strings.TrimSpace(uuid)
	return m.mount(ctx, Mount{Name: e.Name, Kind: e.kind(), Source: source, Dir: e.Dir, FSType: strings.TrimSpace(fsType), Options: options, Shared: e.Dir != "/home"})
}

// raidDevice is the array's, by ParallelCluster's convention.
const raidDevice = "/dev/md0"

// assemble finds or makes the array of the devices.
func (m *Mounter) assemble(ctx context.Context, level int, devices []string) (string, error) {
	if _, err := os.Stat(raidDevice); err == nil {
		return raidDevice, nil
	}
	if _, err := m.run(ctx, append([]string{"mdadm", "--assemble", raidDevice}, devices...)...); err == nil {
		return raidDevice, nil
	}
	argv := []string{"mdadm", "--create", raidDevice, "--run", "--level=" + fmt.Sprint(level), "--metadata=1.2", "--raid-devices=" + fmt.Sprint(len(devices))}
	if _, err := m.run(ctx, append(argv, devices...)...); err != nil {
		return "", err
	}
	scan, err := m.run(ctx, "mdadm", "--detail", "--scan")
	if err != nil {
		return "", err
	}
	f, err := os.OpenFile("/etc/mdadm.conf", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return "", err
	}
	defer f.Close()
	_, err = f.WriteString(scan)
	return raidDevice, err
}

// ensureFileSystem returns what of a disk to mount: the disk, freshly formatted
// if it was blank, or its first partition. What has data keeps it.
func (m *Mounter) ensureFileSystem(ctx context.Context, dev string) (string, error) {
	if real, err := filepath.EvalSymlinks(dev); err == nil {
		dev = real
	}
	kind, err := m.run(ctx, "lsblk", "-n", "-o", "NAME,TYPE", "-l", dev)
	if err == nil {
		for line := range strings.Lines(kind) {
			if f := strings.Fields(line); len(f) == 2 && f[1] == "part" {
				return "/dev/" + f[0], nil
			}
		}
	}
	// blkid exits with 2 when it finds nothing; probing reads the disk, not a cache.
	if found, err := m.run(ctx, "blkid", "-p", "-o", "value", "-s", "TYPE", dev); err == nil && strings.TrimSpace(found) != "" {
		return dev, nil
	}
	_, err = m.run(ctx, "mkfs.ext4", "-q", dev)
	return dev, err
}
