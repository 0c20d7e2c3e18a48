//go:build linux

package sandbox

import (
	"os"
	"path/filepath"
	"testing"
)

func TestSystemOfAnImportedRoot(t *testing.T) {
	const debian12 = `PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
VERSION_ID="12"
VERSION_CODENAME=bookworm
ID=debian
`
	file := func(name, text string) func(dir string) error {
		return func(dir string) error {
			if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644)
		}
	}
	linked := func(target string) func(dir string) error {
		return func(dir string) error {
			if err := file("usr/lib/os-release", debian12)(dir); err != nil {
				return err
			}
			if err := os.Mkdir(filepath.Join(dir, "etc"), 0o755); err != nil {
				return err
			}
			return os.Symlink(target, filepath.Join(dir, "etc/os-release"))
		}
	}
	outside := filepath.Join(t.TempDir(), "os-release")
	if err := os.WriteFile(outside, []byte("ID=rocky\nVERSION_ID=9.6\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		make func(dir string) error
		want string
	}{
		"Debian 12":                {file("etc/os-release", debian12), "debian12"},
		"Debian 13":                {file("etc/os-release", "ID=debian\nVERSION_ID=\"13\"\n"), "debian13"},
		"Debian without a version": {file("etc/os-release", "PRETTY_NAME=\"Debian GNU/Linux forky/sid\"\nID=debian\n"), "debian"},
		"Ubuntu 22.04":             {file("etc/os-release", "ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"22.04\"\nUBUNTU_CODENAME=jammy\n"), "ubuntu2204"},
		"Ubuntu 24.04":             {file("etc/os-release", "VERSION_ID=\"24.04\"\nID=ubuntu\n"), "ubuntu2404"},
		"Amazon Linux 2":           {file("etc/os-release", "NAME=\"Amazon Linux\"\nID=\"amzn\"\nID_LIKE=\"centos rhel fedora\"\nVERSION_ID=\"2\"\n"), "alinux2"},
		"Amazon Linux 2023":        {file("etc/os-release", "ID=\"amzn\"\nID_LIKE=\"fedora\"\nVERSION_ID=\"2023\"\n"), "alinux2023"},
		"RHEL 8":                   {file("etc/os-release", "ID=\"rhel\"\nVERSION_ID=\"8.10\"\n"), "rhel8"},
		"RHEL 9":                   {file("etc/os-release", "ID='rhel'\r\nVERSION_ID='9.6'\r\n"), "rhel9"},
		"Rocky 8":                  {file("etc/os-release", "ID=\"rocky\"\nVERSION_ID=\"8.10\"\n"), "rocky8"},
		"Rocky 9":                  {file("etc/os-release", "# ID=debian\n\nID=\"rocky\"\nVERSION_ID=\"9.6\"\nROCKY_SUPPORT_PRODUCT=\"Rocky-Linux-9\"\n"), "rocky9"},
		"another":                  {file("etc/os-release", "ID=beos\nVERSION_ID=5\n"), "beos5"},
		"no fields":                {file("etc/os-release", "beos"), ""},
		"below usr only":           {file("usr/lib/os-release", debian12), "debian12"},
		"a link, as mostly":        {linked("../usr/lib/os-release"), "debian12"},
		"an absolute link":         {linked("/usr/lib/os-release"), "debian12"},
		"a link out of the root":   {linked(outside), "debian12"},
		"a climbing link":          {linked("../../../../../../../../../../../../" + outside), "debian12"},
		"nothing":                  {func(string) error { return nil }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := tt.make(dir); err != nil {
				t.Fatal(err)
			}
			if got := systemOf(dir); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}
