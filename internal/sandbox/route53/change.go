package route53

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/miekg/dns"

	"pcluster/internal/sandbox/page"
	"pcluster/internal/sandbox/wire"
)

// maxChanges is the most records that one batch may change. An UPSERT counts twice.
const maxChanges = 1000

// A draft is a zone as the changes of a batch would make it.
type draft struct {
	z       *zone
	changed map[string]*types.ResourceRecordSet // by recordKey; nil: deleted
}

func (d draft) get(key string) (types.ResourceRecordSet, bool) {
	if r, ok := d.changed[key]; ok {
		if r == nil {
			return types.ResourceRecordSet{}, false
		}
		return *r, true
	}
	r, ok := d.z.records[key]
	return r, ok
}

// named returns the record sets under a name.
func (d draft) named(name string) []types.ResourceRecordSet {
	keys := maps.Clone(d.z.names[name])
	if keys == nil {
		keys = map[string]bool{}
	}
	for key, r := range d.changed {
		if r != nil && *r.Name == name {
			keys[key] = true
		}
	}
	var out []types.ResourceRecordSet
	for key := range keys {
		if r, ok := d.get(key); ok {
			out = append(out, r)
		}
	}
	return out
}

// ChangeResourceRecordSets carries out all changes of a batch, or none.
func (s *Service) ChangeResourceRecordSets(_ context.Context, in *sdk.ChangeResourceRecordSetsInput) (*sdk.ChangeResourceRecordSetsOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	z, err := s.zone(in.HostedZoneId)
	if err != nil {
		return nil, err
	}
	d := draft{z, map[string]*types.ResourceRecordSet{}}
	count := 0
	var wrong []string
	for _, c := range in.ChangeBatch.Changes {
		r := *c.ResourceRecordSet
		if err := checkShape(c.Action, r); err != nil {
			return nil, err
		}
		r.Name = aws.String(canonicalName(*r.Name))
		count += len(r.ResourceRecords)
		if c.Action == types.ChangeActionUpsert {
			count += len(r.ResourceRecords)
		}
		if reason := d.apply(c.Action, r); reason != "" {
			wrong = append(wrong, reason)
		}
	}
	if count > maxChanges {
		wrong = append(wrong, fmt.Sprintf("Number of records limit of %d exceeded.", maxChanges))
	}
	if len(wrong) > 0 {
		return nil, wire.Errorf("InvalidChangeBatch", "[%s]", strings.Join(wrong, ", "))
	}
	for key, r := range d.changed {
		row := zoneID(z) + "/" + key
		if r == nil {
			if err := s.records.Delete(row); err != nil {
				return nil, err
			}
			z.remove(key)
			continue
		}
		if err := s.records.Put(row, *r); err != nil {
			return nil, err
		}
		z.put(*r)
	}
	return &sdk.ChangeResourceRecordSetsOutput{ChangeInfo: s.newChange(in.ChangeBatch.Comment)}, nil
}

// checkShape refuses record sets that lack what every one has.
func checkShape(action types.ChangeAction, r types.ResourceRecordSet) error {
	where := fmt.Sprintf("in Change with [Action=%s, Name=%s, Type=%s, SetIdentifier=%s]", action, aws.ToString(r.Name), r.Type, orNull(r.SetIdentifier))
	switch {
	case r.TrafficPolicyInstanceId != nil || r.CidrRoutingConfig != nil:
		return wire.Errorf("InvalidInput", "The sandbox has no traffic policies %s", where)
	case r.AliasTarget != nil && (len(r.ResourceRecords) > 0 || r.TTL != nil):
		return wire.Errorf("InvalidInput", "Invalid request: Expected exactly one of [AliasTarget, all of [TTL, and ResourceRecords], or TrafficPolicyInstanceId], but found more than one %s", where)
	case r.AliasTarget != nil:
		return nil
	case len(r.ResourceRecords) == 0 && r.TTL == nil:
		return wire.Errorf("InvalidInput", "Invalid request: Expected exactly one of [AliasTarget, all of [TTL, and ResourceRecords], or TrafficPolicyInstanceId], but found none %s", where)
	case r.TTL == nil:
		return wire.Errorf("InvalidInput", "Invalid request: Missing field 'TTL' %s", where)
	case len(r.ResourceRecords) == 0:
		return wire.Errorf("InvalidInput", "Invalid request: Missing field 'ResourceRecords' %s", where)
	}
	return nil
}

func orNull(s *string) string {
	if s == nil {
		return "null"
	}
	return *s
}

// apply adds a change to the draft, and returns why it cannot be made.
func (d draft) apply(action types.ChangeAction, r types.ResourceRecordSet) (wrong string) {
	what := fmt.Sprintf("resource record set [name='%s', type='%s'", *r.Name, r.Type)
	if r.SetIdentifier != nil {
		what += fmt.Sprintf(", set identifier='%s'", *r.SetIdentifier)
	}
	what += "]"
	key := recordKey(r)
	old, exists := d.get(key)
	if action == types.ChangeActionDelete {
		switch {
		case !exists:
			return fmt.Sprintf("Tried to delete %s but it was not found", what)
		case !sameRecords(old, r):
			return fmt.Sprintf("Tried to delete %s but the values provided do not match the current values", what)
		case d.z.required(r) && r.Type == types.RRTypeNs:
			return "A HostedZone must contain at least one NS record for the zone itself."
		case d.z.required(r):
			return "A HostedZone must contain exactly one SOA record."
		}
		d.changed[key] = nil
		return ""
	}
	if action == types.ChangeActionCreate && exists {
		return fmt.Sprintf("Tried to create %s but it already exists", what)
	}
	if wrong := d.check(r); wrong != "" {
		return wrong
	}
	d.changed[key] = &r
	return ""
}

// check returns why a record set cannot be in the zone.
func (d draft) check(r types.ResourceRecordSet) (wrong string) {
	zone := *d.z.Zone.Name
	if !inside(*r.Name, zone) {
		return fmt.Sprintf("RRSet with DNS name %s is not permitted in zone %s", *r.Name, zone)
	}
	if err := checkName(*r.Name); err != nil {
		return fmt.Sprintf("FATAL problem: DomainLabelTooLong (Domain label is too long) encountered with '%s'", *r.Name)
	}
	if r.Type == types.RRTypeCname && *r.Name == zone {
		return fmt.Sprintf("RRSet of type CNAME with DNS name %s is not permitted at apex in zone %s", *r.Name, zone)
	}
	for _, other := range d.named(*r.Name) {
		if (other.Type == types.RRTypeCname) != (r.Type == types.RRTypeCname) {
			return fmt.Sprintf("RRSet of type %s with DNS name %s is not permitted as it conflicts with other records with the same DNS name in zone %s", r.Type, *r.Name, zone)
		}
		if other.Type == r.Type && (other.SetIdentifier == nil) != (r.SetIdentifier == nil) {
			return fmt.Sprintf("RRSet with DNS name %s, type %s, SetIdentifier %s cannot be created as a non-simple RRSet exists with the same name and type.", *r.Name, r.Type, orNull(r.SetIdentifier))
		}
	}
	if r.Type == types.RRTypeCname && len(r.ResourceRecords) > 1 {
		return fmt.Sprintf("RRSet of type CNAME with DNS name %s must contain exactly one record.", *r.Name)
	}
	seen := map[string]bool{}
	for _, v := range r.ResourceRecords {
		value := aws.ToString(v.Value)
		if seen[value] {
			return fmt.Sprintf("Duplicate Resource Record: '%s'", value)
		}
		seen[value] = true
		if _, err := parseRecord(r, value); err != nil {
			return fmt.Sprintf("Invalid Resource Record: 'FATAL problem: %s encountered with '%s''", problem(r.Type), value)
		}
	}
	return ""
}

// problem names what is wrong with a value of a type, in Route 53's words.
func problem(t types.RRType) string {
	switch t {
	case types.RRTypeA:
		return "ARRDATAIllegalIPv4Address (Value is not a valid IPv4 address)"
	case types.RRTypeAaaa:
		return "AAAARRDATAIllegalIPv6Address (Value is not a valid IPv6 address)"
	case types.RRTypeTxt, types.RRTypeSpf:
		return "InvalidCharacterString (Value should be enclosed in quotation marks)"
	}
	return "InvalidRData (Value is not valid for a record of type " + string(t) + ")"
}

// parseRecord turns a value of a record set into a DNS record.
func parseRecord(r types.ResourceRecordSet, value string) (dns.RR, error) {
	kind := string(r.Type)
	if r.Type == types.RRTypeTxt || r.Type == types.RRTypeSpf {
		if !strings.HasPrefix(value, `"`) || !strings.HasSuffix(value, `"`) || len(value) < 2 {
			return nil, fmt.Errorf("text %s is not in quotes", value)
		}
	}
	rr, err := dns.NewRR(fmt.Sprintf(". %d IN %s %s", aws.ToInt64(r.TTL), kind, value))
	if err == nil && rr == nil {
		err = fmt.Errorf("%q is no record", value)
	}
	return rr, err
}

// sameRecords reports whether two record sets have the same values.
func sameRecords(a, b types.ResourceRecordSet) bool {
	if a.AliasTarget != nil || b.AliasTarget != nil {
		return a.AliasTarget != nil && b.AliasTarget != nil && aws.ToString(a.AliasTarget.HostedZoneId) == aws.ToString(b.AliasTarget.HostedZoneId) &&
			canonicalName(*a.AliasTarget.DNSName) == canonicalName(*b.AliasTarget.DNSName)
	}
	return aws.ToInt64(a.TTL) == aws.ToInt64(b.TTL) && aws.ToInt64(a.Weight) == aws.ToInt64(b.Weight) && slices.Equal(values(a), values(b))
}

func values(r types.ResourceRecordSet) []string {
	var out []string
	for _, v := range r.ResourceRecords {
		out = append(out, aws.ToString(v.Value))
	}
	slices.Sort(out)
	return out
}

// maxListed is the length of a page of ListResourceRecordSets.
const maxListed = 300

// ListResourceRecordSets lists the record sets of a zone in the order of their
// names, label by label from the right.
func (s *Service) ListResourceRecordSets(_ context.Context, in *sdk.ListResourceRecordSetsInput) (*sdk.ListResourceRecordSetsOutput, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	z, err := s.zone(in.HostedZoneId)
	if err != nil {
		return nil, err
	}
	if in.StartRecordType != "" && in.StartRecordName == nil {
		return nil, wire.Errorf("InvalidInput", "The input is not valid: a start record type needs a start record name.")
	}
	all := slices.SortedFunc(maps.Values(z.records), compareRecords)
	if in.StartRecordName != nil {
		from := types.ResourceRecordSet{Name: aws.String(canonicalName(*in.StartRecordName)), Type: in.StartRecordType, SetIdentifier: in.StartRecordIdentifier}
		all = slices.DeleteFunc(all, func(r types.ResourceRecordSet) bool { return compareRecords(r, from) < 0 })
	}
	most := min(page.Limit(in.MaxItems, maxListed), maxListed)
	out := &sdk.ListResourceRecordSetsOutput{MaxItems: aws.Int32(int32(most)), ResourceRecordSets: all}
	if len(all) > most {
		next := all[most]
		out.ResourceRecordSets, out.IsTruncated = all[:most], true
		out.NextRecordName, out.NextRecordType, out.NextRecordIdentifier = next.Name, next.Type, next.SetIdentifier
	}
	return out, nil
}
