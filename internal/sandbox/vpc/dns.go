//go:build linux

package vpc

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

// A Source answers questions of the region's DNS. It says false for names that it
// does not know, and true without records for a name that has none of the type.
// Names are fully qualified and in lower case.
type Source interface {
	Lookup(name string, qtype uint16, client netip.Addr) ([]dns.RR, bool)
}

// recordTTL is how long machines may remember an answer; nscd and friends are not
// in use, so it hardly matters.
const recordTTL = 60

// maxAliases is how many CNAMEs are followed for one answer.
const maxAliases = 8

// ServeDNS answers on all resolver addresses until the network is closed. The
// sources are asked in order; then the network itself, which knows its machines
// and that AWS's services are at [EndpointAddr]. Everything else does not exist,
// which is said at once: Slurm and cloud-init wait for answers.
func (n *Network) ServeDNS(sources ...Source) error {
	n.mu.Lock()
	n.sources = sources
	n.mu.Unlock()
	const address = "0.0.0.0:53"
	packets, err := n.ListenPacket("udp4", address)
	if err != nil {
		return fmt.Errorf("listen for DNS: %w", err)
	}
	streams, err := n.Listen("tcp4", address)
	if err != nil {
		packets.Close()
		return fmt.Errorf("listen for DNS: %w", err)
	}
	for _, srv := range []*dns.Server{{PacketConn: packets}, {Listener: streams}} {
		srv.Handler = dns.HandlerFunc(n.serveDNS)
		started := make(chan struct{})
		srv.NotifyStartedFunc = func() { close(started) }
		failed := make(chan error, 1)
		go func() { failed <- srv.ActivateAndServe() }()
		select {
		case <-started:
		case err := <-failed:
			return fmt.Errorf("serve DNS: %w", err)
		}
		n.mu.Lock()
		n.dns = append(n.dns, srv)
		n.mu.Unlock()
	}
	return nil
}

func (n *Network) serveDNS(w dns.ResponseWriter, q *dns.Msg) {
	var client netip.Addr
	if ap, err := netip.ParseAddrPort(w.RemoteAddr().String()); err == nil {
		client = ap.Addr().Unmap()
	}
	m := n.answer(q, client)
	if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
		size := dns.MinMsgSize
		if opt := q.IsEdns0(); opt != nil {
			size = max(size, int(opt.UDPSize()))
			m.SetEdns0(opt.UDPSize(), false)
		}
		m.Truncate(size)
	}
	_ = w.WriteMsg(m) // a client that went away needs no answer
}

func (n *Network) answer(q *dns.Msg, client netip.Addr) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(q)
	m.Authoritative, m.RecursionAvailable = true, true
	if len(q.Question) != 1 || q.Opcode != dns.OpcodeQuery {
		m.Rcode = dns.RcodeNotImplemented
		return m
	}
	records, ok := n.resolve(strings.ToLower(q.Question[0].Name), q.Question[0].Qtype, client)
	if !ok {
		m.Rcode = dns.RcodeNameError
	}
	m.Answer = records
	return m
}

// resolve looks a name up and follows aliases.
func (n *Network) resolve(name string, qtype uint16, client netip.Addr) ([]dns.RR, bool) {
	var all []dns.RR
	for range maxAliases {
		records, ok := n.lookup(name, qtype, client)
		all = append(all, records...)
		alias := ""
		for _, rr := range records {
			if c, is := rr.(*dns.CNAME); is && qtype != dns.TypeCNAME {
				alias = strings.ToLower(c.Target)
			}
			if rr.Header().Rrtype == qtype {
				return all, true
			}
		}
		if alias == "" || alias == name {
			return all, ok || len(all) > 0
		}
		name = alias
	}
	return all, true
}

// lookup asks everyone who may know a name.
func (n *Network) lookup(name string, qtype uint16, client netip.Addr) ([]dns.RR, bool) {
	n.mu.Lock()
	sources := n.sources
	n.mu.Unlock()
	for _, s := range sources {
		if records, ok := s.Lookup(name, qtype, client); ok {
			return records, true
		}
	}
	if qtype != dns.TypeA && qtype != dns.TypePTR {
		// A name may exist without records of this type.
		for _, s := range sources {
			if _, ok := s.Lookup(name, dns.TypeA, client); ok {
				return nil, true
			}
		}
	}
	return n.lookupOwn(name, qtype)
}

// lookupOwn answers what the network knows by itself.
func (n *Network) lookupOwn(name string, qtype uint16) ([]dns.RR, bool) {
	header := dns.RR_Header{Name: name, Rrtype: qtype, Class: dns.ClassINET, Ttl: recordTTL}
	if qtype == dns.TypePTR {
		addr, ok := addrOfReverse(name)
		if !ok {
			return nil, false
		}
		p, ok := n.portOf(addr)
		if !ok {
			return nil, false
		}
		return []dns.RR{&dns.PTR{Hdr: header, Ptr: privateName(p.Addr) + "." + n.domain() + "."}}, true
	}
	addr, ok := n.ownAddr(name)
	if !ok {
		return nil, false
	}
	if qtype != dns.TypeA {
		return nil, true
	}
	return []dns.RR{&dns.A{Hdr: header, A: addr.AsSlice()}}, true
}

func (n *Network) ownAddr(name string) (netip.Addr, bool) {
	host := strings.TrimSuffix(name, ".")
	label, rest, _ := strings.Cut(host, ".")
	if rest == n.domain() {
		return n.portNamed(label)
	}
	if public, ok := addrOfName(label, "ec2-"); ok && strings.HasSuffix(rest, ".amazonaws.com") {
		if p, ok := n.portOf(public); ok {
			return p.Addr, true // as inside a VPC
		}
		return netip.Addr{}, false
	}
	if host == "amazonaws.com" || strings.HasSuffix(host, ".amazonaws.com") {
		return netip.MustParseAddr(EndpointAddr), true
	}
	return netip.Addr{}, false
}

func (n *Network) portNamed(label string) (netip.Addr, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	addr, ok := addrOfName(label, "ip-")
	for _, p := range n.ports {
		if ok && p.Addr == addr || p.Hostname == label {
			return p.Addr, true
		}
	}
	return netip.Addr{}, false
}

// LookupHost returns the address of a host as the region's DNS gives it; an
// address is its own.
func (n *Network) LookupHost(host string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(host); err == nil {
		return a, true
	}
	name := dns.Fqdn(strings.ToLower(host))
	candidates := []string{name}
	if strings.Count(name, ".") == 1 {
		candidates = append(candidates, name+n.domain()+".")
	}
	for _, name := range candidates {
		records, _ := n.resolve(name, dns.TypeA, netip.Addr{})
		for _, rr := range records {
			if a, ok := rr.(*dns.A); ok {
				if addr, ok := netip.AddrFromSlice(a.A); ok {
					return addr.Unmap(), true
				}
			}
		}
	}
	return netip.Addr{}, false
}

// privateName is the label of an address: ip-10-0-1-5.
func privateName(a netip.Addr) string { return "ip-" + strings.ReplaceAll(a.String(), ".", "-") }

func addrOfName(label, prefix string) (netip.Addr, bool) {
	digits, ok := strings.CutPrefix(label, prefix)
	if !ok {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(strings.ReplaceAll(digits, "-", "."))
	return a, err == nil
}

// addrOfReverse returns the address that a name below in-addr.arpa is about.
func addrOfReverse(name string) (netip.Addr, bool) {
	labels, ok := strings.CutSuffix(name, ".in-addr.arpa.")
	if !ok {
		return netip.Addr{}, false
	}
	parts := strings.Split(labels, ".")
	if len(parts) != 4 {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(parts[3] + "." + parts[2] + "." + parts[1] + "." + parts[0])
	return a, err == nil
}
