//go:build linux

package vpc

import (
	"fmt"
	"net/netip"
	"strings"
)

// A Cut is a broken connection between two addresses, or between one and all
// others, the region's services included, if Other is the zero Addr.
type Cut struct{ Addr, Other netip.Addr }

// cutTable is the nftables table of cuts. It sees packets before security groups do,
// those of connections that exist too.
const cutTable = "cuts"

// SetCuts makes these the broken connections, all at once. Packets between the two
// sides are lost without an answer, whoever sends them.
func (n *Network) SetCuts(cuts []Cut) error {
	if err := n.nft(renderCuts(cuts)); err != nil {
		return fmt.Errorf("cut connections: %w", err)
	}
	return nil
}

func renderCuts(cuts []Cut) string {
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %[1]s\ndelete table inet %[1]s\n", cutTable)
	if len(cuts) == 0 {
		return b.String()
	}
	fmt.Fprintf(&b, "table inet %s {\n", cutTable)
	for _, hook := range []string{"forward", "input", "output"} {
		fmt.Fprintf(&b, "\tchain %[1]s {\n\t\ttype filter hook %[1]s priority filter - 10; policy accept;\n", hook)
		for _, c := range cuts {
			if c.Other.IsValid() {
				fmt.Fprintf(&b, "\t\tip saddr %[1]s ip daddr %[2]s drop\n\t\tip saddr %[2]s ip daddr %[1]s drop\n", c.Addr, c.Other)
				continue
			}
			fmt.Fprintf(&b, "\t\tip saddr %[1]s drop\n\t\tip daddr %[1]s drop\n", c.Addr)
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	return b.String()
}
