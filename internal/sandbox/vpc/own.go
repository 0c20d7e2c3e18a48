//go:build linux

package vpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// AddAddress makes the region itself answer on an address of a subnet, as a load
// balancer does. Security groups do not see what comes there: whoever listens asks
// [Network.Allowed]. Adding an address again changes nothing.
func (n *Network) AddAddress(a netip.Addr) error {
	svc, err := n.serviceLink()
	if err == nil {
		err = n.addServiceAddr(svc, a)
	}
	if err != nil {
		return fmt.Errorf("add address %s: %w", a, err)
	}
	return nil
}

// RemoveAddress takes back what AddAddress did. An address that is gone already is
// no error.
func (n *Network) RemoveAddress(a netip.Addr) error {
	svc, err := n.serviceLink()
	if err == nil {
		err = n.nl.AddrDel(svc, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(a, a.BitLen()))})
	}
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("remove address %s: %w", a, err)
	}
	return nil
}

// DialFrom connects from one of the region's own addresses. Security groups are
// not asked.
func (n *Network) DialFrom(ctx context.Context, from netip.Addr, to netip.AddrPort) (c net.Conn, err error) {
	err = n.ns.do(func() error {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from.AsSlice()}}
		c, err = d.DialContext(ctx, "tcp4", to.String())
		return err
	})
	return c, err
}
