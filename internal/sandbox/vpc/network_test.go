//go:build linux

package vpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"pcluster/internal/sandbox/region"
)

// A host is a process with a network namespace of its own, as machines have.
type host struct {
	Port
	pid int
	ns  *os.File
}

var subnet = netip.MustParsePrefix("10.0.1.0/24")

func newNetwork(t *testing.T) *Network {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make network namespaces")
	}
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("needs nft (package nftables)")
	}
	n, err := Up(t.Context(), Config{Name: fmt.Sprintf("vpctest-%d", os.Getpid()), Dir: t.TempDir(), Identity: region.NewIdentity("", "")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Down(context.Background()); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Join(namespaceDir, n.cfg.Name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("Down left the namespace: %v", err)
		}
	})
	return n
}

func newHost(t *testing.T, n *Network, addr string) *host {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	// Not Pdeathsig: it comes when the thread ends that has started the process.
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	h := &host{Port{ID: "eni-" + addr, Hostname: "host-" + addr[len(addr)-1:], MAC: "0e:00:00:00:00:0" + addr[len(addr)-1:], Addr: netip.MustParseAddr(addr), Subnet: subnet}, cmd.Process.Pid, ns}
	t.Cleanup(func() {
		_ = n.Detach(h.ID)
		ns.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if err := n.Attach(t.Context(), h.Port, h.pid, "eth0", true); err != nil {
		t.Fatal(err)
	}
	return h
}

// serve answers every connection to the port with the caller's address.
func (h *host) serve(t *testing.T, port int) {
	t.Helper()
	var l net.Listener
	err := inNetwork(h.ns, func() (err error) {
		l, err = net.Listen("tcp", fmt.Sprintf("%s:%d", h.Addr, port))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
			_, _ = io.WriteString(c, host)
			c.Close()
		}
	}()
}

// call connects and returns what the other side says.
func (h *host) call(address string, timeout time.Duration) (string, error) {
	var said []byte
	err := inNetwork(h.ns, func() error {
		c, err := net.DialTimeout("tcp", address, timeout)
		if err != nil {
			return err
		}
		defer c.Close()
		said, err = io.ReadAll(c)
		return err
	})
	return string(said), err
}

func (h *host) mustCall(t *testing.T, address, want string) {
	t.Helper()
	if got, err := h.call(address, time.Minute); err != nil || got != want {
		t.Errorf("%s calls %s: %q, %v; want %q", h.Addr, address, got, err, want)
	}
}

func (h *host) mustTimeOut(t *testing.T, address string) {
	t.Helper()
	_, err := h.call(address, 250*time.Millisecond)
	if e := net.Error(nil); !errors.As(err, &e) || !e.Timeout() {
		t.Errorf("%s calls %s: %v; want a timeout", h.Addr, address, err)
	}
}

func TestSecurityGroupsHoldForTheOutside(t *testing.T) {
	n := newNetwork(t)
	a, b := newHost(t, n, "10.0.1.5"), newHost(t, n, "10.0.1.6")
	for _, port := range []string{"80", "443"} {
		l, err := n.Listen("tcp", OutsideAddr+":"+port)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
				_, _ = io.WriteString(c, host)
				c.Close()
			}
		}()
	}
	everywhere := netip.MustParsePrefix("0.0.0.0/0")
	err := n.SetGroups([]Group{
		{ID: "sg-1", Members: []netip.Addr{a.Addr}, Egress: []Rule{{Protocol: "tcp", FromPort: 443, ToPort: 443, CIDR: everywhere}}},
		{ID: "sg-2", Members: []netip.Addr{b.Addr}, Egress: []Rule{{Protocol: "-1", CIDR: netip.MustParsePrefix("10.0.0.0/8")}, {Protocol: "-1", GroupID: "sg-1"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	a.mustCall(t, OutsideAddr+":443", a.Addr.String())
	a.mustTimeOut(t, OutsideAddr+":80")
	b.mustTimeOut(t, OutsideAddr+":443")
}

func TestSecurityGroupsDecideWhatPasses(t *testing.T) {
	n := newNetwork(t)
	a, b := newHost(t, n, "10.0.1.5"), newHost(t, n, "10.0.1.6")
	b.serve(t, 22)
	b.serve(t, 80)
	a.mustTimeOut(t, "10.0.1.6:22") // nothing passes a new network

	group := func(id string, h *host, in ...Rule) Group {
		return Group{ID: id, Members: []netip.Addr{h.Addr}, Ingress: in, Egress: allOut}
	}
	set := func(g ...Group) {
		t.Helper()
		if err := n.SetGroups(g); err != nil {
			t.Fatal(err)
		}
	}
	set(group("sg-a", a), group("sg-b", b, Rule{Protocol: "tcp", FromPort: 22, ToPort: 22, GroupID: "sg-a"}))
	a.mustCall(t, "10.0.1.6:22", "10.0.1.5")
	a.mustTimeOut(t, "10.0.1.6:80")

	noEgress := group("sg-a", a)
	noEgress.Egress = nil
	set(noEgress, group("sg-b", b, Rule{Protocol: "-1", CIDR: everyone}))
	a.mustTimeOut(t, "10.0.1.6:22")

	set(group("sg-a", a), group("sg-b", b, Rule{Protocol: "-1", CIDR: subnet}))
	a.mustCall(t, "10.0.1.6:80", "10.0.1.5")
	a.mustTimeOut(t, "10.0.1.9:80") // nobody there: silence, not "no route to host"
	set(Group{ID: "sg-b", Members: []netip.Addr{b.Addr}})
	a.mustTimeOut(t, "10.0.1.6:80")
}

func TestCutsBreakConnectionsOfBothDirections(t *testing.T) {
	n := newNetwork(t)
	a, b, c := newHost(t, n, "10.0.1.5"), newHost(t, n, "10.0.1.6"), newHost(t, n, "10.0.1.7")
	all := Rule{Protocol: "-1", CIDR: netip.MustParsePrefix("0.0.0.0/0")}
	if err := n.SetGroups([]Group{{ID: "sg-1", Members: []netip.Addr{a.Addr, b.Addr, c.Addr}, Ingress: []Rule{all}, Egress: []Rule{all}}}); err != nil {
		t.Fatal(err)
	}
	for _, h := range []*host{a, b, c} {
		h.serve(t, 80)
	}
	a.mustCall(t, "10.0.1.6:80", "10.0.1.5")
	if err := n.SetCuts([]Cut{{Addr: a.Addr, Other: b.Addr}}); err != nil {
		t.Fatal(err)
	}
	a.mustTimeOut(t, "10.0.1.6:80")
	b.mustTimeOut(t, "10.0.1.5:80")
	c.mustCall(t, "10.0.1.5:80", "10.0.1.7")
	if err := n.SetCuts([]Cut{{Addr: a.Addr}}); err != nil {
		t.Fatal(err)
	}
	c.mustTimeOut(t, "10.0.1.5:80")
	b.mustCall(t, "10.0.1.7:80", "10.0.1.6")
	if err := n.SetCuts(nil); err != nil {
		t.Fatal(err)
	}
	a.mustCall(t, "10.0.1.6:80", "10.0.1.5")
}

func TestPublicAddresses(t *testing.T) {
	n := newNetwork(t)
	a, b := newHost(t, n, "10.0.1.5"), newHost(t, n, "10.0.1.6")
	b.serve(t, 22)
	if err := n.SetGroups([]Group{{ID: "sg-a", Members: addrs("10.0.1.5", "10.0.1.6"), Egress: allOut, Ingress: []Rule{{Protocol: "-1", CIDR: everyone}}}}); err != nil {
		t.Fatal(err)
	}
	for private, public := range map[netip.Addr]string{a.Addr: "54.0.0.5", b.Addr: "54.0.0.6"} {
		if err := n.SetPublic(private, netip.MustParseAddr(public)); err != nil {
			t.Fatal(err)
		}
	}
	a.mustCall(t, "54.0.0.6:22", "54.0.0.5")
	a.mustCall(t, "10.0.1.6:22", "10.0.1.5")

	// The next daemon knows them, too.
	again, err := Up(t.Context(), n.cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	c, err := again.Dial(t.Context(), "tcp", "54.0.0.6:22")
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := again.SetPublic(b.Addr, netip.Addr{}); err != nil {
		t.Fatal(err)
	}
	a.mustTimeOut(t, "54.0.0.6:22")
}

func TestServicesAnswerAndSeeWhoCalls(t *testing.T) {
	n := newNetwork(t)
	a := newHost(t, n, "10.0.1.5")
	l, err := n.Listen("tcp", MetadataAddr+":80")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, c.RemoteAddr().(*net.TCPAddr).IP.String())
			c.Close()
		}
	}()
	a.mustCall(t, MetadataAddr+":80", "10.0.1.5")

	// The router knows who has which address.
	err = inNetwork(a.ns, func() error {
		d := net.Dialer{Timeout: 200 * time.Millisecond, LocalAddr: &net.TCPAddr{IP: net.IPv4(10, 0, 1, 99)}, Control: freeBind}
		c, err := d.Dial("tcp", MetadataAddr+":80")
		if err == nil {
			c.Close()
		}
		return err
	})
	if err == nil {
		t.Error("a machine could use an address that is not its own")
	}
}

// A load balancer's address answers machines, and connects to them under itself.
func TestOwnAddresses(t *testing.T) {
	n := newNetwork(t)
	a := newHost(t, n, "10.0.1.5")
	own := netip.MustParseAddr("10.0.1.77")
	for range 2 { // again changes nothing
		if err := n.AddAddress(own); err != nil {
			t.Fatal(err)
		}
	}
	l, err := n.Listen("tcp4", own.String()+":22")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a.serve(t, 2222)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if to, err := n.DialFrom(t.Context(), own, netip.MustParseAddrPort("10.0.1.5:2222")); err == nil {
				_, _ = io.Copy(c, to)
				to.Close()
			}
			c.Close()
		}
	}()
	a.mustCall(t, own.String()+":22", own.String())
	l.Close()
	for range 2 {
		if err := n.RemoveAddress(own); err != nil {
			t.Error(err)
		}
	}
	if _, err := n.Listen("tcp4", own.String()+":22"); err == nil {
		t.Error("the address is still the region's")
	}
}

type zone map[string]string

func (z zone) Lookup(name string, qtype uint16, _ netip.Addr) ([]dns.RR, bool) {
	line, ok := z[name]
	if !ok {
		return nil, false
	}
	rr, err := dns.NewRR(line)
	if err != nil || rr.Header().Rrtype != qtype && rr.Header().Rrtype != dns.TypeCNAME {
		return nil, true
	}
	return []dns.RR{rr}, true
}

func TestDNS(t *testing.T) {
	n := newNetwork(t)
	a := newHost(t, n, "10.0.1.5")
	err := n.ServeDNS(zone{
		"db.example.com.":                   "db.example.com. 60 CNAME ip-10-0-1-5.ec2.internal.",
		"fs-1.efs.us-east-1.amazonaws.com.": "fs-1.efs.us-east-1.amazonaws.com. 60 A 10.0.1.200",
	})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(network, server, name string, qtype uint16) *dns.Msg {
		t.Helper()
		var reply *dns.Msg
		err := inNetwork(a.ns, func() error {
			c, err := net.DialTimeout(network, server, time.Minute)
			if err != nil {
				return err
			}
			conn := &dns.Conn{Conn: c}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(time.Minute))
			if err := conn.WriteMsg(new(dns.Msg).SetQuestion(name, qtype)); err != nil {
				return err
			}
			reply, err = conn.ReadMsg()
			return err
		})
		if err != nil {
			t.Fatalf("ask %s for %s: %v", server, name, err)
		}
		return reply
	}
	for _, tt := range []struct {
		name  string
		qtype uint16
		want  string // last answer, or the error
	}{
		{"ec2.us-east-1.amazonaws.com.", dns.TypeA, EndpointAddr},
		{"EC2.us-east-1.amazonaws.com.", dns.TypeA, EndpointAddr},
		{"ec2.us-east-1.amazonaws.com.", dns.TypeAAAA, "nothing"},
		{"fs-1.efs.us-east-1.amazonaws.com.", dns.TypeA, "10.0.1.200"},
		{"fs-1.efs.us-east-1.amazonaws.com.", dns.TypeAAAA, "nothing"},
		{"db.example.com.", dns.TypeA, "10.0.1.5"},
		{"host-5.ec2.internal.", dns.TypeA, "10.0.1.5"},
		{"ip-10-0-1-5.ec2.internal.", dns.TypeA, "10.0.1.5"},
		{"ip-10-0-1-6.ec2.internal.", dns.TypeA, "NXDOMAIN"},
		{"github.com.", dns.TypeA, "NXDOMAIN"},
		{"5.1.0.10.in-addr.arpa.", dns.TypePTR, "ip-10-0-1-5.ec2.internal."},
		{"6.1.0.10.in-addr.arpa.", dns.TypePTR, "NXDOMAIN"},
	} {
		for _, server := range []string{"udp 10.0.1.2:53", "tcp " + DNSAddr + ":53"} {
			m := ask(server[:3], server[4:], tt.name, tt.qtype)
			got := "nothing"
			if m.Rcode != dns.RcodeSuccess {
				got = dns.RcodeToString[m.Rcode]
			} else if len(m.Answer) > 0 {
				switch rr := m.Answer[len(m.Answer)-1].(type) {
				case *dns.A:
					got = rr.A.String()
				case *dns.PTR:
					got = rr.Ptr
				}
			}
			if got != tt.want {
				t.Errorf("%s: %s %s: %s, want %s", server, tt.name, dns.TypeToString[tt.qtype], got, tt.want)
			}
		}
	}
}

func freeBind(_, _ string, c syscall.RawConn) error {
	var err error
	if e := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_FREEBIND, 1) }); e != nil {
		return e
	}
	return err
}
