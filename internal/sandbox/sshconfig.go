//go:build linux

package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// sshConfigDir is read by ssh on Debian and its kin.
const sshConfigDir = "/etc/ssh/ssh_config.d"

// sshConfigFile lets plain `ssh user@10.0.1.5` (and pcluster ssh) reach the
// region's addresses from the host, whose own network does not know them.
func (h Home) sshConfigFile() string {
	return filepath.Join(sshConfigDir, h.Namespace()+".conf")
}

// writeSSHConfig covers the given networks. Host keys of machines that live for
// minutes are not remembered, or every second cluster would look like an attack.
func (h Home) writeSSHConfig(networks []netip.Prefix) error {
	if _, err := os.Stat(sshConfigDir); errors.Is(err, fs.ErrNotExist) {
		return nil // this host's ssh would not read it
	}
	if len(networks) == 0 {
		return h.removeSSHConfig()
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	var patterns []string
	for _, n := range networks {
		patterns = append(patterns, hostPatterns(n)...)
	}
	text := fmt.Sprintf(`# Written by pcluster sandbox while its region is up; removed with it.
Host %s
	ProxyCommand %s sandbox --home %s connect %%h %%p
	StrictHostKeyChecking no
	UserKnownHostsFile /dev/null
	LogLevel ERROR
`, strings.Join(patterns, " "), exe, h)
	return os.WriteFile(h.sshConfigFile(), []byte(text), 0o644)
}

func (h Home) removeSSHConfig() error {
	err := os.Remove(h.sshConfigFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// hostPatterns writes an IPv4 network as ssh's wildcards, which end at dots: a
// /20 becomes sixteen patterns.
func hostPatterns(p netip.Prefix) []string {
	p = p.Masked()
	a := p.Addr().As4()
	whole := p.Bits() / 8 // bytes that are fixed
	if p.Bits() == 32 {
		return []string{p.Addr().String()}
	}
	parts := make([]string, 0, 4)
	for _, b := range a[:whole] {
		parts = append(parts, fmt.Sprint(b))
	}
	prefix := strings.Join(parts, ".")
	if prefix != "" {
		prefix += "."
	}
	if p.Bits()%8 == 0 {
		return []string{prefix + "*"}
	}
	n := 1 << (8 - p.Bits()%8)
	out := make([]string, 0, n)
	for i := range n {
		last := prefix + fmt.Sprint(int(a[whole])+i)
		if whole < 3 {
			last += ".*"
		}
		out = append(out, last)
	}
	return out
}
