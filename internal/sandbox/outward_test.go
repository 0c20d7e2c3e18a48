//go:build linux

package sandbox

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestMachinesTrustWhomTheHostTrusts(t *testing.T) {
	ca, err := openAuthority(Home(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	one, two := t.TempDir(), t.TempDir()
	for path, data := range map[string][]byte{
		filepath.Join(one, "proxy.crt"):   ca.certPEM,
		filepath.Join(one, "note.crt"):    []byte("no certificate"),
		filepath.Join(one, "ignored.txt"): ca.certPEM,
		filepath.Join(two, "two.pem"):     append(bytes.Clone(ca.certPEM), ca.certPEM...),
	} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := bytes.Count(hostAuthorities(one, two, "/nowhere"), []byte("BEGIN CERTIFICATE")); got != 3 {
		t.Errorf("%d certificates, want 3", got)
	}
}
