//go:build linux

package machine

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRootDiskIsAsLargeAsItsVolume(t *testing.T) {
	r := newTestRegion(t)
	s := r.spec(31, "")
	s.RootGiB = 1
	boot := func() {
		t.Helper()
		r.start(s)
		waitFor(t, "sshd", patience, func() bool { return r.greeted(s.Interfaces[0].Addr) })
	}
	stop := func() {
		t.Helper()
		if err := r.m.Stop(t.Context(), s.ID); err != nil {
			t.Fatal(err)
		}
		r.wantExit(s.ID, Stopped)
	}
	boot()
	if why := r.m.Unlimited(); why != "" {
		t.Skip("this host can't limit root disks: " + why)
	}
	const sizeOf = "df --output=size -BG / | tail -1 | tr -d ' '"
	if got := r.mustSh(s.ID, sizeOf); got != "1G" {
		t.Errorf("df says %s", got)
	}
	const full = "No space left on device"
	for script, want := range map[string]string{
		"fallocate -l 3G /root/large; rm -f /root/large":                                                                      full,
		"fallocate -l 900M /root/most && head -c 200M /dev/zero >/root/rest; rm /root/most /root/rest; echo kept >/root/file": full,
	} {
		if got, _ := r.sh(s.ID, script); !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %q", script, got, want)
		}
	}
	if got := r.mustSh(s.ID, "cat /root/file"); got != "kept" {
		t.Errorf("after the disk was full: %q", got)
	}

	stop()
	image := filepath.Join(r.dir, "machines", s.ID, diskMount)
	if isMountPoint(image) {
		t.Error("the disk of a machine that ended is still mounted")
	}
	if data, err := r.m.ReadFile(s.ID, "/root/file", 0, 100); err != nil || string(data) != "kept\n" {
		t.Errorf("read from outside: %q, %v", data, err)
	}
	s.RootGiB = 3
	boot()
	if got := r.mustSh(s.ID, sizeOf+"; cat /root/file"); got != "3G\nkept" {
		t.Errorf("after its volume grew: %q", got)
	}

	stop()
	layer := filepath.Join(r.dir, "layer")
	if err := r.m.Capture(t.Context(), s.ID, layer, true); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(layer, "root/file")); err != nil || string(data) != "kept\n" {
		t.Errorf("in the image: %q, %v", data, err)
	}
	if err := r.m.Remove(t.Context(), s.ID); err != nil {
		t.Fatal(err)
	}
	for _, loops := range []string{image, filepath.Join(r.dir, "machines", s.ID, diskFile)} {
		if left, err := loopsOf(loops); err != nil || len(left) > 0 {
			t.Errorf("loop devices are left: %v, %v", left, err)
		}
	}
}

func TestHostWithoutFileSystemsForDisksKeepsDirectories(t *testing.T) {
	m := &Manager{log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	in := &instance{id: "i-1", dir: t.TempDir()}
	in.rec.Spec.RootGiB = 8
	t.Setenv("PATH", t.TempDir()) // in which is no mkfs
	if err := m.makeDisk(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	if why := m.Unlimited(); !strings.Contains(why, "mkfs.ext4") {
		t.Errorf("the host lacks %q", why)
	}
	if in.sized() || in.upper() != filepath.Join(in.dir, upperDir) {
		t.Errorf("its disk is %s", in.upper())
	}
	if left, err := os.ReadDir(in.dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
