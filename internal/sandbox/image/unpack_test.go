//go:build linux

package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// archive makes a tar file; a value "-> x" is a link, one of "/" a directory.
func archive(t *testing.T, entries ...[2]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e[0], Mode: 0o644, Size: int64(len(e[1])), Typeflag: tar.TypeReg, Uid: os.Getuid(), Gid: os.Getgid()}
		if to, ok := strings.CutPrefix(e[1], "-> "); ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, to, 0
		} else if e[1] == "/" {
			h.Typeflag, h.Size, h.Mode = tar.TypeDir, 0, 0o755
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := w.Write([]byte(e[1])); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func put(t *testing.T, file string, data []byte) {
	t.Helper()
	if err := writeFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestUnpackArchive(t *testing.T) {
	tmp := t.TempDir()
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	_, _ = w.Write(archive(t, [2]string{"./sbin/", "/"}, [2]string{"./sbin/init", "init"}, [2]string{"etc/os-release", "ID=x"}))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	put(t, tmp+"/root.tar.gz", z.Bytes())
	if _, err := Unpack(tmp+"/root.tar.gz", tmp+"/out"); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(tmp + "/out/etc/os-release"); err != nil || string(data) != "ID=x" {
		t.Errorf("%q, %v", data, err)
	}
}

func TestUnpackStaysInside(t *testing.T) {
	tmp := t.TempDir()
	outside := filepath.Join(tmp, "outside")
	if err := os.Mkdir(outside, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, entries := range map[string][][2]string{
		"link, then a file behind it": {{"l", "-> " + outside}, {"l/x", "bad"}},
		"dots":                        {{"../outside/x", "bad"}, {"../../outside/x", "bad"}},
		"relative link":               {{"a/l", "-> ../../outside"}, {"a/l/x", "bad"}},
	} {
		put(t, tmp+"/t.tar", archive(t, append(entries, [2]string{"sbin/init", "i"})...))
		_, _ = Unpack(tmp+"/t.tar", filepath.Join(tmp, "out-"+strings.ReplaceAll(name, " ", "-")))
		if found, _ := os.ReadDir(outside); len(found) > 0 {
			t.Errorf("%s: a file was written outside", name)
		}
	}
}

func TestUnpackRefusals(t *testing.T) {
	tmp := t.TempDir()
	put(t, tmp+"/a.tar", archive(t, [2]string{"etc/x", "x"}))
	put(t, tmp+"/b.tar.xz", []byte("\xfd7zXZ\x00"))
	put(t, tmp+"/dir/x", nil)
	put(t, tmp+"/text", []byte("Build: {}\n"))
	put(t, tmp+"/long", bytes.Repeat([]byte("Build: {}\n"), 100))
	for file, want := range map[string]string{"text": "no tar archive", "long": "no tar archive", "a.tar": "no /sbin/init", "b.tar.xz": "only gzip", "dir": "no OCI layout", "none": "no such file"} {
		if _, err := Unpack(filepath.Join(tmp, file), filepath.Join(tmp, "out-"+file)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", file, err, want)
		}
	}
}

func TestUnpackOCILayout(t *testing.T) {
	tmp := t.TempDir()
	blob := func(data []byte) string {
		sum := fmt.Sprintf("%x", sha256.Sum256(data))
		put(t, filepath.Join(tmp, "oci/blobs/sha256", sum), data)
		return `{"digest": "sha256:` + sum + `"}`
	}
	lower := blob(archive(t, [2]string{"sbin/init", "i"}, [2]string{"a/old", "1"}, [2]string{"b/old", "1"}, [2]string{"c", "1"}))
	upper := blob(archive(t, [2]string{"a/.wh.old", ""}, [2]string{"b/.wh..wh..opq", ""}, [2]string{"b/new", "2"}, [2]string{"c", "2"}))
	config := blob([]byte(`{"architecture": "arm64"}`))
	manifest := blob([]byte(`{"config": ` + config + `, "layers": [` + lower + `, ` + upper + `]}`))
	put(t, tmp+"/oci/index.json", []byte(`{"manifests": [`+manifest+`]}`))
	arch, err := Unpack(tmp+"/oci", tmp+"/out")
	if err != nil || arch != "arm64" {
		t.Fatalf("%q, %v", arch, err)
	}
	for file, want := range map[string]string{"sbin/init": "i", "b/new": "2", "c": "2", "a/old": "", "b/old": ""} {
		if data, _ := os.ReadFile(filepath.Join(tmp, "out", file)); string(data) != want {
			t.Errorf("%s holds %q, want %q", file, data, want)
		}
	}
}
