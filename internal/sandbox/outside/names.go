//go:build linux

package outside

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// Names are those that machines may reach.
type Names struct {
	All  bool     // whatever this host reaches
	Some []string // else these: the mirrors of packages
	// Exists says whether a name that is not among Some is one at all; nil: each.
	Exists func(string) bool
}

// ours are domains that the region itself answers for, whether it has the name or not:
// what is meant for AWS never gets out.
var ours = []string{"amazonaws.com", "amazonaws.com.cn", "api.aws", "internal", "local", "localhost", "arpa"}

// Has says whether machines may reach the name.
func (n Names) Has(name string) bool {
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	if _, err := netip.ParseAddr(name); err == nil || !strings.Contains(name, ".") {
		return false
	}
	for _, domain := range ours {
		if name == domain || strings.HasSuffix(name, "."+domain) {
			return false
		}
	}
	return n.All || slices.Contains(n.Some, name)
}

// recordTTL is how long machines may remember an answer.
const recordTTL = 60

// Lookup answers the region's DNS: all names are at the gateway.
func (g *Gateway) Lookup(gateway netip.Addr) func(name string, qtype uint16) ([]dns.RR, bool) {
	return func(name string, qtype uint16) ([]dns.RR, bool) {
		n, plain := g.cfg.Names, strings.TrimSuffix(name, ".")
		if !n.Has(plain) || n.Exists != nil && !slices.Contains(n.Some, plain) && !n.Exists(plain) {
			return nil, false
		}
		if qtype != dns.TypeA {
			return nil, true
		}
		return []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: qtype, Class: dns.ClassINET, Ttl: recordTTL}, A: gateway.AsSlice()}}, true
	}
}
