//go:build linux

package vpc

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

// A Group is a security group: who is in it, and what may come and go.
type Group struct {
	ID              string
	Members         []netip.Addr
	Ingress, Egress []Rule
}

// A Rule lets traffic pass between a group's members and a peer, which is an
// address range or another group.
type Rule struct {
	Protocol         string // tcp, udp, icmp, another protocol's number, or -1 for all
	FromPort, ToPort int    // of tcp and udp; ICMP's type and code, -1 for any
	CIDR             netip.Prefix
	GroupID          string // if CIDR is not valid
}

// filterTable is the nftables table of security groups, natTable that of public
// addresses.
const (
	filterTable = "security_groups"
	natTable    = "public_addresses"
)

// SetGroups makes these the region's security groups, all at once. Traffic that
// no rule lets through is dropped, and connections that exist live on, as in EC2.
func (n *Network) SetGroups(groups []Group) error {
	ruleset := renderGroups(groups)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.groups = slices.Clone(groups)
	if n.groups == nil {
		n.groups = []Group{}
	}
	if ruleset == n.ruleset {
		return nil
	}
	if err := n.nft(ruleset); err != nil {
		return fmt.Errorf("load security groups: %w", err)
	}
	n.ruleset = ruleset
	return nil
}

// ensureFirewall closes a new network; one that has rules keeps them.
func (n *Network) ensureFirewall() error {
	if n.nft("list table inet "+filterTable+"\n") == nil {
		return nil
	}
	if err := n.nft(renderGroups(nil)); err != nil {
		return fmt.Errorf("load the first firewall rules: %w", err)
	}
	return nil
}

// nft runs a script of nft inside the namespace; it takes effect as a whole or
// not at all.
func (n *Network) nft(script string) error {
	return n.ns.do(func() error {
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader(script)
		var out bytes.Buffer
		cmd.Stderr = &out
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("nft: %w: %s", err, firstLine(out.String()))
		}
		return nil
	})
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// renderGroups writes the nft script for the groups. A new connection passes if a
// rule of a group of its source lets it out and one of its destination's lets it
// in. Outside there are no groups.
func renderGroups(groups []Group) string {
	groups = slices.Clone(groups)
	slices.SortFunc(groups, func(a, b Group) int { return cmp.Compare(a.ID, b.ID) })
	known := map[string]bool{}
	for _, g := range groups {
		known[g.ID] = true
	}
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %[1]s\ndelete table inet %[1]s\ntable inet %[1]s {\n", filterTable)
	for _, g := range groups {
		fmt.Fprintf(&b, "\tset %s {\n\t\ttype ipv4_addr\n", setName(g.ID))
		if members := sortedAddrs(g.Members); len(members) > 0 {
			fmt.Fprintf(&b, "\t\telements = { %s }\n", strings.Join(members, ", "))
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("\tchain ingress {\n")
	for _, g := range groups {
		for _, line := range ruleLines(g.Ingress, "daddr", "saddr", g.ID, known) {
			fmt.Fprintf(&b, "\t\t%s accept\n", line)
		}
	}
	b.WriteString("\t}\n\tchain egress {\n")
	for _, g := range groups {
		for _, line := range ruleLines(g.Egress, "saddr", "daddr", g.ID, known) {
			fmt.Fprintf(&b, "\t\t%s goto ingress\n", line)
		}
	}
	b.WriteString(`	}
	chain forward {
		type filter hook forward priority filter; policy drop;
		ct state established,related accept
		ct state invalid drop
		goto egress
	}
	chain outside {
		ct state established,related accept
`)
	for _, g := range groups {
		for _, line := range ruleLines(g.Egress, "saddr", "daddr", g.ID, known) {
			fmt.Fprintf(&b, "\t\t%s accept\n", line)
		}
	}
	fmt.Fprintf(&b, `		drop
	}
	chain input {
		type filter hook input priority filter; policy accept;
		ip daddr %s goto outside
	}
}
`, OutsideAddr)
	return b.String()
}

// ruleLines renders the matches of a group's rules: own is the side of the packet
// that the group's members are on, peer the other.
func ruleLines(rules []Rule, own, peer, groupID string, known map[string]bool) []string {
	var lines []string
	for _, r := range rules {
		line := "ip " + own + " @" + setName(groupID)
		switch {
		case r.CIDR.IsValid() && !r.CIDR.Addr().Is4():
			continue // the region has no IPv6
		case r.CIDR.IsValid() && r.CIDR.Bits() == 0:
			// everyone
		case r.CIDR.IsValid():
			line += " ip " + peer + " " + r.CIDR.Masked().String()
		case known[r.GroupID]:
			line += " ip " + peer + " @" + setName(r.GroupID)
		default:
			continue // a group that nobody is in
		}
		if m, ok := protocolMatch(r); ok {
			lines = append(lines, line+m)
		}
	}
	slices.Sort(lines)
	return slices.Compact(lines)
}

func protocolMatch(r Rule) (match string, ok bool) {
	switch r.Protocol {
	case "-1", "all", "":
		return "", true
	case "tcp", "6", "udp", "17":
		p := map[string]string{"6": "tcp", "17": "udp"}[r.Protocol]
		p = cmp.Or(p, r.Protocol)
		if r.FromPort <= 0 && (r.ToPort <= 0 || r.ToPort >= 65535) {
			return " meta l4proto " + p, true
		}
		if r.FromPort > r.ToPort {
			return "", false
		}
		return fmt.Sprintf(" %s dport %d-%d", p, r.FromPort, r.ToPort), true
	case "icmp", "1":
		match := " ip protocol icmp"
		if r.FromPort >= 0 {
			match += " icmp type " + strconv.Itoa(r.FromPort)
		}
		if r.FromPort >= 0 && r.ToPort >= 0 {
			match += " icmp code " + strconv.Itoa(r.ToPort)
		}
		return match, true
	}
	if n, err := strconv.Atoi(r.Protocol); err == nil && n >= 0 && n < 256 {
		return " ip protocol " + r.Protocol, true
	}
	return "", false
}

// setName makes a group's ID a name that nft takes.
func setName(groupID string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
			return c
		}
		return '_'
	}, "g_"+groupID)
}

func sortedAddrs(addrs []netip.Addr) []string {
	addrs = slices.Clone(addrs)
	slices.SortFunc(addrs, netip.Addr.Compare)
	var out []string
	for _, a := range slices.Compact(addrs) {
		if a.Is4() {
			out = append(out, a.String())
		}
	}
	return out
}

// Allowed says whether the security groups let a new connection pass from one
// address to another. Until groups are set, which a restarted daemon does soon,
// everything is allowed: the packets themselves still meet the old rules.
func (n *Network) Allowed(from, to netip.Addr, protocol string, port int) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.groups == nil {
		return true
	}
	members := map[string]map[netip.Addr]bool{}
	for _, g := range n.groups {
		members[g.ID] = map[netip.Addr]bool{}
		for _, a := range g.Members {
			members[g.ID][a] = true
		}
	}
	pass := func(rules []Rule, peer netip.Addr) bool {
		return slices.ContainsFunc(rules, func(r Rule) bool {
			if r.CIDR.IsValid() && !r.CIDR.Contains(peer) || !r.CIDR.IsValid() && !members[r.GroupID][peer] {
				return false
			}
			switch r.Protocol {
			case "-1", "all", "":
				return true
			case protocol:
				return r.FromPort <= port && port <= r.ToPort || r.FromPort <= 0 && r.ToPort <= 0
			}
			return false
		})
	}
	var out, in bool
	for _, g := range n.groups {
		out = out || members[g.ID][from] && pass(g.Egress, to)
		in = in || members[g.ID][to] && pass(g.Ingress, from)
	}
	return out && in
}
