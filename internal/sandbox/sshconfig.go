//go:build linux

package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"pcluster/internal/sandbox/vpc"
)

// sshConfigDir is read by ssh on Debian and its kin.
const sshConfigDir = "/etc/ssh/ssh_config.d"

// sshConfigFile lets plain `ssh user@10.0.1.5` (and pcluster ssh) reach the
// region's addresses from the host, whose own network does not know them.
func (h Home) sshConfigFile() string {
	return filepath.Join(sshConfigDir, h.Namespace()+".conf")
}

// writeSSHConfig covers the given networks. Regions of one host may have the same
// addresses, and ssh takes the first file that fits: the environment variable that
// names a region to pcluster decides here, too. Host keys of machines that live for
// minutes are not remembered, or every second cluster would look like an attack.
func (h Home) writeSSHConfig(networks []netip.Prefix, names []string) error {
	if _, err := os.Stat(sshConfigDir); errors.Is(err, fs.ErrNotExist) {
		return nil // this host's ssh would not read it
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	patterns := slices.Clone(names)
	for _, n := range networks {
		patterns = append(patterns, hostPatterns(n)...)
	}
	text := fmt.Sprintf(`# Written by pcluster sandbox while its region is up; removed with it.
Host %s
	ProxyCommand %s sandbox --home "${PCLUSTER_SANDBOX_HOME:-%s}" connect %%h %%p
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

// publicNetwork is where the region's public addresses are from: TEST-NET-3,
// which no real host has (RFC 5737).
var publicNetwork = netip.MustParsePrefix("203.0.113.0/24")

// A reachableNetwork is the region's network whose subnets plain ssh on the host
// can reach.
type reachableNetwork struct {
	*vpc.Network
	home Home
	log  *slog.Logger

	mu      sync.Mutex
	subnets []netip.Prefix
	names   []string // of load balancers
}

// AddSubnet adds the subnet to the network and to ssh's configuration. Without
// the latter the region works as well, so a failure there is only logged.
func (n *reachableNetwork) AddSubnet(p netip.Prefix) error {
	if err := n.Network.AddSubnet(p); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if slices.Contains(n.subnets, p) {
		return nil
	}
	n.subnets = append(n.subnets, p)
	n.write()
	return nil
}

// setNames makes ssh reach hosts of the region by these names, too.
func (n *reachableNetwork) setNames(names []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !slices.Equal(n.names, names) {
		n.names = names
		n.write()
	}
}

func (n *reachableNetwork) write() {
	if err := n.home.writeSSHConfig(append(slices.Clone(n.subnets), publicNetwork), n.names); err != nil {
		n.log.Warn("plain ssh will not reach the region's addresses", "err", err)
	}
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
