//go:build linux

package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRegionThatCannotStart leaves nothing behind, and says why.
func TestRegionThatCannotStart(t *testing.T) {
	r := startRegion(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	home := filepath.Join(t.TempDir(), "second")
	out := r.run(t, "pcluster", "sandbox", "--home", home, "up", "--port", fmt.Sprint(taken.Addr().(*net.TCPAddr).Port))
	if out.code != 1 || !strings.Contains(out.stderr, "--port") {
		t.Errorf("up on a taken port: exit status %d\n%s", out.code, out.stderr)
	}
	if left := r.run(t, filepath.Join(root, "scripts", "traces"), home); left.code != 0 {
		t.Errorf("the region that did not start left traces:\n%s", left.stdout)
	}
}

// TestFullDisk: a region whose disk is full says so, and goes on when there is
// room again.
func TestFullDisk(t *testing.T) {
	r := startRegion(t)
	big := filepath.Join(r.work, "big")
	if err := os.WriteFile(big, make([]byte, 8<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	// A file system of 4 MiB takes the place of the folder of objects.
	objects := filepath.Join(r.home, "s3")
	r.must(t, "pcluster", "sandbox", "down")
	r.must(t, "mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", objects)
	t.Cleanup(func() { r.run(t, "umount", "-l", objects) })
	r.must(t, "pcluster", "sandbox", "up")
	r.must(t, "aws", "s3", "mb", "s3://data")
	out := r.run(t, "aws", "s3", "cp", "--only-show-errors", big, "s3://data/big")
	if out.code == 0 || !strings.Contains(out.stderr, "no space left on device") {
		t.Errorf("an object larger than the disk: exit status %d\n%s", out.code, out.stderr)
	}
	r.must(t, "sh", "-c", "echo small | aws s3 cp --only-show-errors - s3://data/small")
	if got := strings.TrimSpace(r.must(t, "aws", "s3", "ls", "s3://data/")); !strings.HasSuffix(got, "small") || strings.Contains(got, "big") {
		t.Errorf("the bucket has:\n%s", got)
	}
	r.must(t, "pcluster", "sandbox", "down")
	r.must(t, "umount", objects)
}
