package configure

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// Addresses that subnets are made for.
const (
	headAddresses    = 250  // of the public subnet, if it is for the head node alone
	computeAddresses = 4000 // of the other, if there is room
	reserved         = 6    // that AWS keeps for itself in every subnet, and one to spare
	smallest         = 28   // the longest prefix that a subnet may have
)

// blockFor returns the first free block in a VPC that has so many addresses.
func blockFor(vpc netip.Prefix, occupied []netip.Prefix, addresses int) (netip.Prefix, bool) {
	prefix := min(32-bits.Len(uint(addresses+reserved-1)), smallest)
	if prefix < vpc.Bits() {
		return netip.Prefix{}, false
	}
	raw := vpc.Masked().Addr().As4()
	first, size := uint64(binary.BigEndian.Uint32(raw[:])), uint64(1)<<(32-prefix)
next:
	for at := first; at < first+uint64(1)<<(32-vpc.Bits()); at += size {
		binary.BigEndian.PutUint32(raw[:], uint32(at))
		block := netip.PrefixFrom(netip.AddrFrom4(raw), prefix)
		for _, o := range occupied {
			if o.Overlaps(block) {
				continue next
			}
		}
		return block, true
	}
	return netip.Prefix{}, false
}

// roomyBlockFor returns a free block with room to grow, or as much as there is: at
// least so many addresses.
func roomyBlockFor(vpc netip.Prefix, occupied []netip.Prefix, addresses int) (netip.Prefix, bool) {
	for want := max(computeAddresses, 2*addresses); want >= addresses && want > 0; want /= 2 {
		if block, ok := blockFor(vpc, occupied, want); ok {
			return block, true
		}
	}
	return blockFor(vpc, occupied, addresses)
}
