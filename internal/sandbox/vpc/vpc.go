//go:build linux

package vpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"pcluster/internal/sandbox/region"
)

// Addresses of the region's services, the same in every subnet.
const (
	MetadataAddr = "169.254.169.254" // instance metadata
	DNSAddr      = "169.254.169.253" // resolver; so is the second address of each subnet
	EndpointAddr = "169.254.171.1"   // the region's AWS endpoint, and the server of mounts

	// OutsideAddr stands for everything outside that machines reach, as far as security
	// groups and listeners go. It is of a range that nobody has (RFC 2544).
	OutsideAddr = "198.18.0.1"
)

// MTU is the packet size inside a VPC.
const MTU = 9001

// serviceLink is the interface that holds the addresses of services and gateways.
// What is routed to it comes out at voidLink, where nobody takes it. (A dummy
// interface would do, but not every kernel has them, and veth is needed anyway.)
const (
	serviceLink = "services"
	voidLink    = "void"
)

// A Config is what [Up] needs to know.
type Config struct {
	Name     string           // of the network namespace, unique on this host
	Dir      string           // where the network keeps what it must remember
	Identity *region.Identity // for the names of machines
}

// A Network is the network of one region. Its methods may be called concurrently.
type Network struct {
	cfg Config
	ns  *namespace
	nl  *netlink.Handle // acts inside the namespace

	mu      sync.Mutex
	ports   map[string]Port // by ID
	subnets map[netip.Prefix]bool
	public  map[netip.Addr]netip.Addr // private to public
	groups  []Group                   // nil until the first SetGroups
	ruleset string                    // as last loaded
	dns     []interface{ Shutdown() error }
	sources []Source
}

// Up makes the network, or finds the one that an earlier process made.
func Up(_ context.Context, cfg Config) (_ *Network, err error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("making a network namespace needs root")
	}
	if _, err := exec.LookPath("nft"); err != nil {
		return nil, fmt.Errorf("security groups need nft (apt-get install nftables): %w", err)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	n := &Network{cfg: cfg, ports: map[string]Port{}, subnets: map[netip.Prefix]bool{}, public: map[netip.Addr]netip.Addr{}}
	fresh := false
	if n.ns, fresh, err = openNamespace(cfg.Name); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			n.close()
			if fresh {
				_ = removeNamespace(cfg.Name)
			}
		}
	}()
	if n.nl, err = n.ns.netlink(); err != nil {
		return nil, err
	}
	if err := n.setUpRouter(); err != nil {
		return nil, fmt.Errorf("set up the router in network namespace %s: %w", cfg.Name, err)
	}
	if err := n.loadPublic(); err != nil {
		return nil, err
	}
	if err := n.ensureFirewall(); err != nil {
		return nil, err
	}
	return n, nil
}

// setUpRouter may run again on a router that works.
func (n *Network) setUpRouter() error {
	lo, err := n.nl.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := n.nl.LinkSetUp(lo); err != nil {
		return err
	}
	svc, err := n.serviceLink()
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = serviceLink
		pair := netlink.NewVeth(attrs)
		pair.PeerName = voidLink
		if err := n.nl.LinkAdd(pair); err != nil {
			return err
		}
		svc, err = n.serviceLink()
	}
	if err != nil {
		return err
	}
	err = n.ns.do(func() error {
		return writeSysctls(map[string]string{
			"ipv4/ip_forward":                  "1",
			"ipv4/conf/all/rp_filter":          "1", // a machine can't use another's address
			"ipv4/conf/default/rp_filter":      "1",
			"ipv6/conf/all/disable_ipv6":       "1",
			"ipv4/conf/all/send_redirects":     "0",
			"ipv4/conf/default/send_redirects": "0",
		})
	})
	if err != nil {
		return err
	}
	void, err := n.nl.LinkByName(voidLink)
	if err != nil {
		return err
	}
	if err := errors.Join(n.nl.LinkSetARPOff(svc), n.nl.LinkSetUp(svc), n.nl.LinkSetUp(void)); err != nil {
		return err
	}
	for _, a := range []string{MetadataAddr, DNSAddr, EndpointAddr, OutsideAddr} {
		if err := n.addServiceAddr(svc, netip.MustParseAddr(a)); err != nil {
			return err
		}
	}
	// Whatever has no route is lost without an answer.
	return n.nl.RouteReplace(&netlink.Route{LinkIndex: svc.Attrs().Index, Dst: ipNet(netip.MustParsePrefix("0.0.0.0/0")), Scope: netlink.SCOPE_LINK})
}

func (n *Network) serviceLink() (netlink.Link, error) { return n.nl.LinkByName(serviceLink) }

func (n *Network) addServiceAddr(svc netlink.Link, a netip.Addr) error {
	return n.nl.AddrReplace(svc, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(a, a.BitLen()))})
}

// AddSubnet makes the gateway (first address) and the resolver (second address)
// of a subnet answer. Adding a subnet again changes nothing.
func (n *Network) AddSubnet(prefix netip.Prefix) error {
	prefix = prefix.Masked()
	if !prefix.Addr().Is4() || prefix.Bits() > 28 {
		return fmt.Errorf("subnet %s: only IPv4 subnets of at least 16 addresses", prefix)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.subnets[prefix] {
		return nil
	}
	svc, err := n.serviceLink()
	if err != nil {
		return err
	}
	gateway := prefix.Addr().Next()
	for _, a := range []netip.Addr{gateway, gateway.Next()} {
		if err := n.addServiceAddr(svc, a); err != nil {
			return fmt.Errorf("subnet %s: add address %s: %w", prefix, a, err)
		}
	}
	n.subnets[prefix] = true
	return nil
}

// Down removes the network with everything in it. Machines that still run lose
// their interfaces.
func (n *Network) Down(context.Context) error {
	n.mu.Lock()
	servers := n.dns
	n.dns = nil
	n.mu.Unlock()
	for _, s := range servers {
		_ = s.Shutdown()
	}
	// The namespace lives as long as a socket in it, so its links go first.
	var errs []error
	if links, err := n.nl.LinkList(); err == nil {
		for _, l := range links {
			if l.Type() == "veth" && l.Attrs().Name != voidLink { // which goes with its other end
				errs = append(errs, n.nl.LinkDel(l))
			}
		}
	}
	n.close()
	errs = append(errs, removeNamespace(n.cfg.Name), ignoreMissing(os.Remove(n.publicFile())))
	_ = os.Remove(n.cfg.Dir) // unless others keep something there
	return errors.Join(errs...)
}

// Close lets go of the network, which goes on without DNS.
func (n *Network) Close() error {
	n.mu.Lock()
	servers := n.dns
	n.dns = nil
	n.mu.Unlock()
	for _, s := range servers {
		_ = s.Shutdown()
	}
	n.close()
	return nil
}

func (n *Network) close() {
	if n.nl != nil {
		n.nl.Close()
	}
	n.ns.close()
}

// domain is where the names of machines lie.
func (n *Network) domain() string {
	if name := n.cfg.Identity.Name(); name != region.DefaultName {
		return name + ".compute.internal"
	}
	return "ec2.internal"
}

// Domain returns the search domain of machines.
func (n *Network) Domain() string { return n.domain() }

func (n *Network) publicFile() string { return filepath.Join(n.cfg.Dir, "public.json") }

func writeSysctls(values map[string]string) error {
	for name, v := range values {
		path := "/proc/sys/net/" + name
		if err := os.WriteFile(path, []byte(v), 0o644); err != nil {
			if errors.Is(err, os.ErrNotExist) && strings.HasPrefix(name, "ipv6/") {
				continue // a kernel without IPv6
			}
			return err
		}
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}
