package ec2

import (
	"encoding/binary"
	"net/netip"
	"sync"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// reserved is the number of addresses that EC2 keeps in every subnet: the first
// four and the last.
const reserved = 5

// An addressBook knows which interface has which private address. It mirrors the
// table of interfaces; the zero value is an empty book.
type addressBook struct {
	mu     sync.RWMutex
	owner  map[netip.Addr]string // interface ID by address
	used   map[string]int        // addresses in use by subnet
	recent map[string]netip.Addr // last one given out by subnet
}

// take enters the interface's addresses.
func (b *addressBook) take(eni *types.NetworkInterface) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.owner == nil {
		b.owner, b.used = map[netip.Addr]string{}, map[string]int{}
		b.recent = map[string]netip.Addr{}
	}
	for _, addr := range privateAddrs(eni) {
		if _, have := b.owner[addr]; !have {
			b.used[*eni.SubnetId]++
		}
		b.owner[addr] = *eni.NetworkInterfaceId
		b.recent[*eni.SubnetId] = addr
	}
}

// release strikes the interface's addresses out.
func (b *addressBook) release(eni *types.NetworkInterface) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, addr := range privateAddrs(eni) {
		if b.owner[addr] == *eni.NetworkInterfaceId {
			delete(b.owner, addr)
			b.used[*eni.SubnetId]--
		}
	}
}

// find returns the interface that has the address, "" if none has.
func (b *addressBook) find(addr netip.Addr) string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.owner[addr]
}

// available returns how many addresses of the subnet are free.
func (b *addressBook) available(v *types.Subnet) int {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return capacityOf(netip.MustParsePrefix(*v.CidrBlock)) - b.used[*v.SubnetId]
}

// next returns a free address of the subnet; false when it is full. Addresses go
// round, so that one that was freed is not used again at once: others may still
// remember it in ARP tables, known_hosts files and DNS caches.
func (b *addressBook) next(v *types.Subnet) (netip.Addr, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	prefix := netip.MustParsePrefix(*v.CidrBlock)
	n := capacityOf(prefix)
	if b.used[*v.SubnetId] >= n {
		return netip.Addr{}, false
	}
	start := 0
	if r, ok := b.recent[*v.SubnetId]; ok {
		start = offset(prefix, r) - 4 + 1
	}
	for i := range n {
		addr := plus(prefix, 4+(start+i)%n)
		if _, taken := b.owner[addr]; !taken {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

// capacityOf returns how many addresses a subnet has for its users.
func capacityOf(prefix netip.Prefix) int { return 1<<(32-prefix.Bits()) - reserved }

// isReserved reports whether EC2 keeps the address, which lies in the subnet.
func isReserved(prefix netip.Prefix, addr netip.Addr) bool {
	i := offset(prefix, addr)
	return i < 4 || i == 1<<(32-prefix.Bits())-1
}

func plus(prefix netip.Prefix, n int) netip.Addr {
	b := prefix.Masked().Addr().As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+uint32(n))
	return netip.AddrFrom4(b)
}

func offset(prefix netip.Prefix, addr netip.Addr) int {
	base, a := prefix.Masked().Addr().As4(), addr.As4()
	return int(binary.BigEndian.Uint32(a[:]) - binary.BigEndian.Uint32(base[:]))
}

func privateAddrs(eni *types.NetworkInterface) []netip.Addr {
	addrs := make([]netip.Addr, 0, 1)
	for _, p := range eni.PrivateIpAddresses {
		if addr, err := netip.ParseAddr(*p.PrivateIpAddress); err == nil {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}
