package cli

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestFilesThatAreNotReadSayWhy(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large.yaml")
	if err := os.WriteFile(large, bytes.Repeat([]byte("x"), 1<<20+1), 0o600); err != nil {
		t.Fatal(err)
	}
	huge := filepath.Join(dir, "huge.yaml") // reading it whole would fail for want of memory
	if err := os.WriteFile(huge, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(huge, 1<<42); err != nil {
		t.Fatal(err)
	}
	socket, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	for path, want := range map[string]string{
		large:                         "it is larger than 1 MiB",
		huge:                          "it is larger than 1 MiB",
		pipe(t, 1<<20+1):              "it is larger than 1 MiB",
		dir:                           "it is a directory",
		"/dev/zero":                   "it is a device",
		filepath.Join(dir, "socket"):  "it is a socket",
		filepath.Join(large, "below"): "not a directory",
	} {
		var name string
		var content []byte
		err := (&fileValue{&name, &content, 1 << 20}).Set(path)
		if err == nil || !strings.HasSuffix(err.Error(), "File '"+path+"' could not be read: "+want) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestPipesAreRead(t *testing.T) {
	for _, size := range []int{0, 1000, 1 << 20} {
		var name string
		var content []byte
		if err := (&fileValue{&name, &content, 1 << 20}).Set(pipe(t, size)); err != nil || len(content) != size {
			t.Errorf("%d bytes of %d: %v", len(content), size, err)
		}
	}
}

// pipe returns the path of a pipe into which that many bytes are written, as
// shells make it of <(command).
func pipe(t *testing.T, size int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		f.Write(bytes.Repeat([]byte("x"), size)) // fails if the reader has enough
	}()
	t.Cleanup(func() { <-done })
	return path
}
