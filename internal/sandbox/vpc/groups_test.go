//go:build linux

package vpc

import (
	"flag"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite golden files")

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

var (
	everyone = netip.MustParsePrefix("0.0.0.0/0")
	allOut   = []Rule{{Protocol: "-1", CIDR: everyone}}
)

// cluster is what a stack with a head node and a queue has.
func cluster() []Group {
	return []Group{
		{
			ID: "sg-0head", Members: addrs("10.0.1.5"), Egress: allOut,
			Ingress: []Rule{
				{Protocol: "tcp", FromPort: 22, ToPort: 22, CIDR: netip.MustParsePrefix("10.0.0.0/16")},
				{Protocol: "-1", GroupID: "sg-0compute"},
			},
		},
		{
			ID: "sg-0compute", Members: addrs("10.0.1.7", "10.0.1.6"),
			Egress:  []Rule{{Protocol: "-1", GroupID: "sg-0compute"}, {Protocol: "-1", GroupID: "sg-0head"}, {Protocol: "tcp", FromPort: 443, ToPort: 443, CIDR: everyone}},
			Ingress: []Rule{{Protocol: "-1", GroupID: "sg-0compute"}, {Protocol: "-1", GroupID: "sg-0head"}, {Protocol: "icmp", FromPort: 8, ToPort: -1, CIDR: everyone}},
		},
		{
			ID: "sg-0odd", Ingress: []Rule{
				{Protocol: "udp", FromPort: 0, ToPort: 65535, CIDR: netip.MustParsePrefix("10.0.1.9/24")},
				{Protocol: "50", CIDR: everyone},
				{Protocol: "-1", GroupID: "sg-0gone"},
				{Protocol: "tcp", FromPort: 22, ToPort: 22, CIDR: netip.MustParsePrefix("::/0")},
			},
		},
	}
}

func TestRenderGroupsGolden(t *testing.T) {
	golden(t, "groups.nft", renderGroups(cluster()))
}

func TestRenderPublicGolden(t *testing.T) {
	golden(t, "public.nft", renderPublic(map[netip.Addr]netip.Addr{
		netip.MustParseAddr("10.0.1.7"): netip.MustParseAddr("54.0.0.7"),
		netip.MustParseAddr("10.0.1.5"): netip.MustParseAddr("54.0.0.5"),
	}))
}

// golden compares text with a file, which nft must accept too where it can be
// asked.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
	if _, err := exec.LookPath("nft"); err != nil || os.Geteuid() != 0 {
		return
	}
	if out, err := exec.Command("unshare", "-n", "nft", "-c", "-f", path).CombinedOutput(); err != nil {
		t.Errorf("nft refuses %s: %v\n%s", name, err, out)
	}
}

func TestAllowed(t *testing.T) {
	n := &Network{groups: cluster()}
	for name, tt := range map[string]struct {
		from, to, protocol string
		port               int
		want               bool
	}{
		"ssh to the head from its VPC":            {"10.0.1.6", "10.0.1.5", "tcp", 22, true},
		"anything between compute nodes":          {"10.0.1.6", "10.0.1.7", "udp", 9, true},
		"NFS from a compute node to the head":     {"10.0.1.6", "10.0.1.5", "tcp", 2049, true},
		"a stranger to a compute node":            {"10.0.9.9", "10.0.1.7", "tcp", 22, false},
		"a compute node to where it may not go":   {"10.0.1.6", "10.0.9.9", "tcp", 22, false},
		"egress alone does not open the stranger": {"10.0.1.6", "10.0.9.9", "tcp", 443, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := n.Allowed(netip.MustParseAddr(tt.from), netip.MustParseAddr(tt.to), tt.protocol, tt.port); got != tt.want {
				t.Errorf("Allowed(%s, %s, %s, %d) = %v", tt.from, tt.to, tt.protocol, tt.port, got)
			}
		})
	}
}
