package ec2

import (
	"net/netip"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/miekg/dns"
)

const nameTTL = 60

// Lookup answers for the names of private addresses and back, and for public names,
// which mean the private address to those inside. It reports whether the name is
// one of its own; then no records mean that the name has none of the type.
func (s *Service) Lookup(name string, qtype uint16, _ netip.Addr) ([]dns.RR, bool) {
	name = strings.ToLower(dns.Fqdn(name))
	header := func(rrtype uint16) dns.RR_Header {
		return dns.RR_Header{Name: name, Rrtype: rrtype, Class: dns.ClassINET, Ttl: nameTTL}
	}
	if strings.HasSuffix(name, ".in-addr.arpa.") {
		addr, ok := reverseAddr(name)
		if !ok || s.addrs.find(addr) == "" {
			return nil, false
		}
		if qtype != dns.TypePTR {
			return nil, true
		}
		return []dns.RR{&dns.PTR{Hdr: header(dns.TypePTR), Ptr: dns.Fqdn(s.privateName(addr))}}, true
	}
	addr, ok := s.namedAddr(strings.TrimSuffix(name, "."))
	if !ok {
		return nil, false
	}
	if qtype != dns.TypeA {
		return nil, true
	}
	return []dns.RR{&dns.A{Hdr: header(dns.TypeA), A: addr.AsSlice()}}, true
}

func (s *Service) namedAddr(name string) (netip.Addr, bool) {
	host, domain, _ := strings.Cut(name, ".")
	if rest, ok := strings.CutPrefix(host, "ip-"); ok && domain == s.privateDomain() {
		addr, err := netip.ParseAddr(strings.ReplaceAll(rest, "-", "."))
		return addr, err == nil && s.addrs.find(addr) != ""
	}
	rest, ok := strings.CutPrefix(host, "ec2-")
	if !ok {
		return netip.Addr{}, false
	}
	public, err := netip.ParseAddr(strings.ReplaceAll(rest, "-", "."))
	if err != nil || s.publicName(public) != name {
		return netip.Addr{}, false
	}
	for _, eni := range s.enis.all() {
		if a := eni.Association; a != nil && aws.ToString(a.PublicIp) == public.String() {
			return netip.MustParseAddr(*eni.PrivateIpAddress), true
		}
	}
	return netip.Addr{}, false
}

// reverseAddr reads the address out of a name like 5.1.0.10.in-addr.arpa.
func reverseAddr(name string) (netip.Addr, bool) {
	labels := strings.Split(strings.TrimSuffix(name, ".in-addr.arpa."), ".")
	if len(labels) != 4 {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(labels[3] + "." + labels[2] + "." + labels[1] + "." + labels[0])
	return addr, err == nil
}

// An Instance is what other services of the region need to know of one.
type Instance struct {
	ID       string
	State    types.InstanceStateName
	Addr     netip.Addr // of its first interface
	Subnet   string
	VPC      string
	Role     string // name of the role in its profile, "" without one
	Profile  string // ARN of the profile
	GroupIDs []string
	Tags     map[string]string
}

// OnInstance makes fn be called after each change of an instance. It must return at
// once and not call the service, which may be in the middle of something.
func (s *Service) OnInstance(fn func(id string)) { s.instances.watch(fn) }

// ByAddress returns the instance that has the private address, on any of its
// interfaces.
func (s *Service) ByAddress(addr netip.Addr) (Instance, bool) {
	i := s.byAddress(addr)
	if i == nil {
		return Instance{}, false
	}
	out := Instance{
		ID: instanceKey(i), State: i.state(), Subnet: aws.ToString(i.Desc.SubnetId), VPC: aws.ToString(i.Desc.VpcId),
		Role: i.Role, GroupIDs: groupIDs(i.Desc.SecurityGroups), Tags: map[string]string{},
	}
	out.Addr, _ = netip.ParseAddr(aws.ToString(i.Desc.PrivateIpAddress))
	if p := i.Desc.IamInstanceProfile; p != nil {
		out.Profile = aws.ToString(p.Arn)
	}
	for _, t := range i.Desc.Tags {
		out.Tags[*t.Key] = *t.Value
	}
	return out, true
}

// VPCOf returns the VPC of an address, "" if nothing in the region has it.
func (s *Service) VPCOf(addr netip.Addr) string {
	if eni := s.enis.get(s.addrs.find(addr)); eni != nil {
		return *eni.VpcId
	}
	return ""
}

func (s *Service) byAddress(addr netip.Addr) *instance {
	eni := s.enis.get(s.addrs.find(addr))
	if eni == nil || eni.Attachment == nil {
		return nil
	}
	return s.instances.get(aws.ToString(eni.Attachment.InstanceId))
}
