//go:build linux

package vpc

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// SetPublic gives a private address a public one, in place of any it has; the
// zero Addr takes it away. Connections to the public address reach the private
// one, and whoever is called on a public address sees the caller's.
func (n *Network) SetPublic(private, public netip.Addr) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.public[private] == public {
		return nil
	}
	before := maps.Clone(n.public)
	for k, v := range n.public {
		if v == public {
			delete(n.public, k)
		}
	}
	if public.IsValid() {
		n.public[private] = public
	} else {
		delete(n.public, private)
	}
	err := n.savePublic()
	if err == nil {
		err = n.nft(renderPublic(n.public))
	}
	if err != nil {
		n.public = before
		return fmt.Errorf("set public address of %s: %w", private, err)
	}
	return nil
}

func (n *Network) loadPublic() error {
	data, err := os.ReadFile(n.publicFile())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, &n.public); err != nil {
		return fmt.Errorf("%s: %w", n.publicFile(), err)
	}
	return n.nft(renderPublic(n.public))
}

func (n *Network) savePublic() error {
	data, err := json.Marshal(n.public)
	if err != nil {
		return err
	}
	tmp := n.publicFile() + ".new"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, n.publicFile())
}

func renderPublic(public map[netip.Addr]netip.Addr) string {
	var in, out []string
	for _, private := range slices.SortedFunc(maps.Keys(public), netip.Addr.Compare) {
		in = append(in, public[private].String()+" : "+private.String())
		out = append(out, private.String()+" : "+public[private].String())
	}
	elements := func(list []string) string {
		if len(list) == 0 {
			return ""
		}
		return "\n\t\telements = { " + strings.Join(list, ", ") + " }"
	}
	return fmt.Sprintf(`table ip %[1]s
delete table ip %[1]s
table ip %[1]s {
	map to_private {
		type ipv4_addr : ipv4_addr%[2]s
	}
	map to_public {
		type ipv4_addr : ipv4_addr%[3]s
	}
	chain prerouting {
		type nat hook prerouting priority dstnat;
		dnat to ip daddr map @to_private
	}
	chain output {
		type nat hook output priority -100;
		dnat to ip daddr map @to_private
	}
	chain postrouting {
		type nat hook postrouting priority srcnat;
		ct status dnat snat to ip saddr map @to_public
	}
}
`, natTable, elements(in), elements(out))
}
