package storage

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tree is a machine below a directory, whose mounts are noted but for binds of its root:
// through those its directories are seen as they are.
func tree(t *testing.T) (*Mounter, *machine) {
	t.Helper()
	n := &machine{mounted: map[string]bool{}}
	m := &Mounter{Root: t.TempDir(), Fstab: filepath.Join(t.TempDir(), "fstab")}
	m.Run = func(ctx context.Context, argv ...string) (string, error) {
		for i, a := range argv {
			argv[i] = strings.TrimPrefix(a, m.Root)
		}
		return n.run(ctx, argv...)
	}
	return m, n
}

func TestInternalDirectoriesAreMadeOnce(t *testing.T) {
	m, n := tree(t)
	dirs := []string{"/opt/slurm", "/home"}
	for range 2 {
		if err := m.MakeInternal(t.Context(), "fs-1", dirs); err != nil {
			t.Fatal(err)
		}
	}
	want := `mountpoint -q /opt/parallelcluster/init_shared
mount -t efs -o noresvport fs-1:/ /opt/parallelcluster/init_shared
umount /opt/parallelcluster/init_shared
mount --bind --make-private / /run/parallelcluster/below/opt/slurm
mountpoint -q /opt/slurm
mount -t efs -o noresvport fs-1:/opt/slurm /opt/slurm
umount /run/parallelcluster/below/opt/slurm
mount --bind --make-private / /run/parallelcluster/below/home
mountpoint -q /home
mount -t efs -o noresvport fs-1:/home /home
umount /run/parallelcluster/below/home
mountpoint -q /opt/slurm
mountpoint -q /home`
	if diff := cmp.Diff(want, strings.Join(n.ran, "\n")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	fstab, _ := os.ReadFile(m.Fstab)
	if want := "fs-1:/opt/slurm /opt/slurm efs _netdev,noresvport 0 0\nfs-1:/home /home efs _netdev,noresvport 0 0\n"; string(fstab) != want {
		t.Errorf("fstab:\n%s\nwant:\n%s", fstab, want)
	}
	for _, dir := range dirs {
		if info, err := os.Stat(m.path(InternalRoot + dir)); err != nil || !info.IsDir() {
			t.Errorf("%s is not made in the file system: %v", dir, err)
		}
	}
}

func TestKeepCopiesWhatTheDirectoryHad(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	for path, text := range map[string]string{
		from + "/ubuntu/.ssh/authorized_keys": "key", from + "/ubuntu/notes": "of the image", to + "/ubuntu/notes": "of the user",
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	m := &Mounter{}
	if err := m.copy(t.Context(), from, to); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/ubuntu/.ssh/authorized_keys": "key", "/ubuntu/notes": "of the user"} {
		got, err := os.ReadFile(to + path)
		if info, e := os.Stat(to + path); err != nil || e != nil || string(got) != want || info.Mode().Perm() != 0o640 {
			t.Errorf("%s: %q, %v, want %q", path, got, err, want)
		}
	}
	if err := m.copy(t.Context(), filepath.Join(from, "none"), to); err != nil {
		t.Errorf("a directory that was not there: %v", err)
	}
	if err := m.copy(t.Context(), from, filepath.Join(to, "none")); err == nil {
		t.Error("what could not be copied is not missed")
	}
}

func TestKeepTriesAgainWhatFailed(t *testing.T) {
	m, n := tree(t)
	broken := errors.New("no route")
	if err := m.Keep(t.Context(), "/home", func() error { return broken }); !errors.Is(err, broken) {
		t.Fatalf("got %v", err)
	}
	if last := n.ran[len(n.ran)-1]; last != "umount /run/parallelcluster/below/home" {
		t.Errorf("the last thing done is %s", last)
	}
	n.ran = nil
	if err := m.Keep(t.Context(), "/home", func() error { return nil }); err != nil || n.ran[0] != "mount --bind --make-private / /run/parallelcluster/below/home" {
		t.Errorf("%v, ran %v", err, n.ran)
	}
}
