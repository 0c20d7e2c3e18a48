//go:build linux

package vpc

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// A Port connects one interface of a machine to the network.
type Port struct {
	ID       string // eni-…
	Hostname string // short name under which DNS knows Addr
	MAC      string // empty: the kernel picks one
	Addr     netip.Addr
	Subnet   netip.Prefix
	Public   netip.Addr // zero without a public address
}

// routerMAC is the address of the router's end of every veth. Machines see it as
// the address of everything in the VPC.
var routerMAC = net.HardwareAddr{0x0e, 0x00, 0xa9, 0xfe, 0x00, 0x01}

// linkName is the name of the router's end: interface names have 15 characters,
// IDs more.
func linkName(portID string) string {
	sum := sha256.Sum256([]byte(portID))
	return "v" + hex.EncodeToString(sum[:7])
}

// Attach makes the interface device in the network namespace of the process
// leader and connects it. The first interface of a machine carries its default
// route.
func (n *Network) Attach(_ context.Context, p Port, leader int, device string, first bool) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("attach interface %s (%s): %w", p.ID, p.Addr, err)
		}
	}()
	if err := n.AddSubnet(p.Subnet); err != nil {
		return err
	}
	target, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", leader))
	if err != nil {
		return err
	}
	defer target.Close()

	if err := n.removeLink(linkName(p.ID)); err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = linkName(p.ID), MTU, routerMAC
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerNamespace = device, netlink.NsFd(int(target.Fd()))
	if p.MAC != "" {
		if veth.PeerHardwareAddr, err = net.ParseMAC(p.MAC); err != nil {
			return err
		}
	}
	if err := n.nl.LinkAdd(veth); err != nil {
		return fmt.Errorf("make veth: %w", err)
	}
	defer func() {
		if err != nil {
			_ = n.removeLink(attrs.Name)
		}
	}()
	if err := n.connect(p, attrs.Name); err != nil {
		return err
	}
	if err := configure(target, p, device, first); err != nil {
		return fmt.Errorf("configure %s in the machine: %w", device, err)
	}
	return n.Adopt(p)
}

// connect sets up the router's end.
func (n *Network) connect(p Port, name string) error {
	link, err := n.nl.LinkByName(name)
	if err != nil {
		return err
	}
	if err := n.nl.LinkSetAlias(link, p.ID); err != nil {
		return err
	}
	err = n.ns.do(func() error {
		return writeSysctls(map[string]string{
			"ipv4/conf/" + name + "/proxy_arp": "1",
			// By default a reply on another's behalf is delayed by up to 0.8 s.
			"ipv4/neigh/" + name + "/proxy_delay": "0",
		})
	})
	if err != nil {
		return err
	}
	if err := n.nl.LinkSetUp(link); err != nil {
		return err
	}
	return n.nl.RouteReplace(&netlink.Route{
		LinkIndex: link.Attrs().Index, Scope: netlink.SCOPE_LINK,
		Dst: ipNet(netip.PrefixFrom(p.Addr, 32)),
		Src: netip.MustParseAddr(EndpointAddr).AsSlice(), // of connections that the daemon makes
	})
}

// configure sets up the machine's end.
func configure(target *os.File, p Port, device string, first bool) error {
	nl, err := netlink.NewHandleAt(netns.NsHandle(target.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer nl.Close()
	if lo, err := nl.LinkByName("lo"); err == nil {
		_ = nl.LinkSetUp(lo)
	}
	err = inNetwork(target, func() error {
		return writeSysctls(map[string]string{"ipv6/conf/" + device + "/disable_ipv6": "1"})
	})
	if err != nil {
		return err
	}
	link, err := nl.LinkByName(device)
	if err != nil {
		return err
	}
	if err := nl.LinkSetMTU(link, MTU); err != nil {
		return err
	}
	if err := nl.AddrReplace(link, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(p.Addr, p.Subnet.Bits()))}); err != nil {
		return err
	}
	if err := nl.LinkSetUp(link); err != nil {
		return err
	}
	if !first {
		return nil
	}
	return nl.RouteReplace(&netlink.Route{
		LinkIndex: link.Attrs().Index, Dst: ipNet(netip.MustParsePrefix("0.0.0.0/0")),
		Gw: p.Subnet.Masked().Addr().Next().AsSlice(),
	})
}

// Adopt makes the network know a port that exists, as after a restart of the
// daemon: its names and its public address.
func (n *Network) Adopt(p Port) error {
	n.mu.Lock()
	n.ports[p.ID] = p
	n.mu.Unlock()
	if p.Public.IsValid() {
		return n.SetPublic(p.Addr, p.Public)
	}
	return nil
}

// Detach removes a port. One that is gone already is no error.
func (n *Network) Detach(id string) error {
	n.mu.Lock()
	p, known := n.ports[id]
	delete(n.ports, id)
	n.mu.Unlock()
	err := n.removeLink(linkName(id))
	if !known {
		return err
	}
	// Connections that the firewall remembers must not pass for those of the
	// address's next owner.
	filter := &netlink.ConntrackFilter{}
	_ = filter.AddIP(netlink.ConntrackOrigSrcIP, p.Addr.AsSlice())
	_, _ = n.nl.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, filter)
	filter = &netlink.ConntrackFilter{}
	_ = filter.AddIP(netlink.ConntrackOrigDstIP, p.Addr.AsSlice())
	_, _ = n.nl.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, filter)
	return err
}

func (n *Network) removeLink(name string) error {
	link, err := n.nl.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := n.nl.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove interface %s: %w", name, err)
	}
	return nil
}

// Retain removes the interfaces of all ports but those with the IDs, also of ports
// that this process never knew. It returns what it removed.
func (n *Network) Retain(ids []string) (removed []string, err error) {
	links, err := n.nl.LinkList()
	if err != nil {
		return nil, err
	}
	keep := map[string]bool{serviceLink: true, voidLink: true}
	for _, id := range ids {
		keep[linkName(id)] = true
	}
	var errs []error
	for _, l := range links {
		name := l.Attrs().Name
		if l.Type() != "veth" || keep[name] {
			continue
		}
		errs = append(errs, n.removeLink(name))
		removed = append(removed, cmp.Or(l.Attrs().Alias, name))
	}
	return removed, errors.Join(errs...)
}

// portOf returns the port that has the private or public address.
func (n *Network) portOf(addr netip.Addr) (Port, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.ports {
		if p.Addr == addr || n.public[p.Addr] == addr {
			return p, true
		}
	}
	return Port{}, false
}
