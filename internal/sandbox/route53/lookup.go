package route53

import (
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/miekg/dns"
)

// Lookup answers a question of DNS as seen from a VPC. It says false for names
// that no zone has, and true without records for a name that has none of the
// type. A name with a CNAME gets that, whatever the type.
//
// An empty VPC stands for the host itself, which sees every zone.
func (s *Service) Lookup(name string, qtype uint16, vpcID string) ([]dns.RR, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	name = canonicalName(name)
	z := s.closest(name, vpcID)
	if z == nil {
		return nil, false
	}
	return z.lookup(name, name, qtype, 0)
}

// closest returns the zone with the longest name that a name is inside of;
// private zones come before public ones.
func (s *Service) closest(name, vpcID string) *zone {
	var best *zone
	for _, z := range s.zones {
		if !inside(name, *z.Zone.Name) || z.Zone.Config.PrivateZone && vpcID != "" && !z.associated(vpcID) {
			continue
		}
		if best == nil || len(*z.Zone.Name) > len(*best.Zone.Name) ||
			len(*z.Zone.Name) == len(*best.Zone.Name) && z.Zone.Config.PrivateZone && !best.Zone.Config.PrivateZone {
			best = z
		}
	}
	return best
}

// maxAliases bounds chains of aliases inside a zone.
const maxAliases = 8

// lookup finds records under name and gives them out under the name that was
// asked for.
func (z *zone) lookup(asked, name string, qtype uint16, depth int) ([]dns.RR, bool) {
	keys := z.names[name]
	if keys == nil {
		keys = z.names[z.wildcard(name)]
	}
	if keys == nil {
		return nil, z.above(name)
	}
	var out []dns.RR
	for key := range keys {
		r := z.records[key]
		t := dns.StringToType[string(r.Type)]
		if t != qtype && t != dns.TypeCNAME && qtype != dns.TypeANY {
			continue
		}
		if r.AliasTarget == nil {
			out = append(out, records(asked, r)...)
			continue
		}
		target := canonicalName(aws.ToString(r.AliasTarget.DNSName))
		if inside(target, *z.Zone.Name) && depth < maxAliases {
			rrs, _ := z.lookup(asked, target, qtype, depth+1)
			out = append(out, rrs...)
		} else {
			// The target is somebody else's name: the resolver finds it.
			out = append(out, &dns.CNAME{Hdr: dns.RR_Header{Name: asked, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: 60}, Target: target})
		}
	}
	return out, true
}

// records turns a record set into DNS records.
func records(name string, r types.ResourceRecordSet) []dns.RR {
	var out []dns.RR
	for _, v := range r.ResourceRecords {
		rr, err := parseRecord(r, aws.ToString(v.Value))
		if err != nil {
			continue // was checked when it came
		}
		rr.Header().Name = name
		out = append(out, rr)
	}
	return out
}

// wildcard returns the name of the wildcard that covers name, if the zone has one.
func (z *zone) wildcard(name string) string {
	for rest := name; ; {
		_, parent, ok := strings.Cut(rest, ".")
		if !ok || !inside(parent, *z.Zone.Name) {
			return ""
		}
		if star := `\052.` + parent; z.names[star] != nil {
			return star
		}
		if z.names[parent] != nil {
			return "" // a name that exists ends the reach of wildcards above it
		}
		rest = parent
	}
}

// above reports whether names below name exist, which makes it exist too.
func (z *zone) above(name string) bool {
	for n := range z.names {
		if strings.HasSuffix(n, "."+name) {
			return true
		}
	}
	return false
}
