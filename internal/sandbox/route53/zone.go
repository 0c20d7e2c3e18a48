package route53

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	sdk "github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"

	"pcluster/internal/sandbox/page"
	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/wire"
)

// nameServers are who answers for a zone. Nobody asks them: the region's resolver
// knows all zones.
var nameServers = []string{"ns-1536.awsdns-00.co.uk", "ns-0.awsdns-00.com", "ns-1024.awsdns-00.org", "ns-512.awsdns-00.net"}

// CreateHostedZone makes a public zone, or with a VPC a private one.
func (s *Service) CreateHostedZone(ctx context.Context, in *sdk.CreateHostedZoneInput) (*sdk.CreateHostedZoneOutput, error) {
	name := canonicalName(*in.Name)
	if err := checkName(name); err != nil {
		return nil, err
	}
	config := types.HostedZoneConfig{}
	if in.HostedZoneConfig != nil {
		config = *in.HostedZoneConfig
	}
	if config.PrivateZone && in.VPC == nil {
		return nil, wire.Errorf("InvalidInput", "When you're creating a private hosted zone, you must specify a VPC.")
	}
	config.PrivateZone = in.VPC != nil
	row := zoneRow{Zone: types.HostedZone{Id: aws.String("/hostedzone/Z" + strings.ToUpper(region.Hex(20))), Name: &name, CallerReference: in.CallerReference, Config: &config}}
	if in.VPC != nil {
		if err := s.checkVPC(ctx, *in.VPC); err != nil {
			return nil, err
		}
		row.VPCs = []types.VPC{*in.VPC}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, z := range s.zones {
		if *z.Zone.CallerReference == *in.CallerReference {
			return nil, &wire.Error{Code: "HostedZoneAlreadyExists", Message: "A hosted zone has already been created with the specified caller reference.", Status: 409}
		}
		if in.VPC != nil {
			if err := z.conflicts(name, *in.VPC); err != nil {
				return nil, err
			}
		}
	}
	z := newZone(row)
	if err := s.add(z); err != nil {
		return nil, err
	}
	shown := z.shown()
	out := &sdk.CreateHostedZoneOutput{ChangeInfo: s.newChange(nil), HostedZone: &shown, VPC: in.VPC,
		Location: aws.String("https://route53.amazonaws.com/2013-04-01" + *shown.Id)}
	if !config.PrivateZone {
		out.DelegationSet = &types.DelegationSet{NameServers: nameServers}
	}
	return out, nil
}

// Adopt makes a private zone that a user has under its ID, unless it is there. It returns
// the zone's name.
func (s *Service) Adopt(id, name, vpcID string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if z, ok := s.zones[id]; ok {
		return *z.Zone.Name, nil
	}
	name = canonicalName(name)
	z := newZone(zoneRow{
		Zone: types.HostedZone{Id: aws.String("/hostedzone/" + id), Name: &name, CallerReference: aws.String("adopted " + id), Config: &types.HostedZoneConfig{PrivateZone: true}},
		VPCs: []types.VPC{{VPCId: &vpcID, VPCRegion: types.VPCRegion(s.id.Name())}},
	})
	for _, other := range s.zones {
		if err := other.conflicts(name, z.VPCs[0]); err != nil {
			return "", err
		}
	}
	return name, s.add(z)
}

// conflicts says why a zone of the given name cannot be seen by a VPC beside z.
func (z *zone) conflicts(name string, vpc types.VPC) error {
	if *z.Zone.Name == name && z.associated(*vpc.VPCId) {
		return wire.Errorf("ConflictingDomainExists", "The VPC %s in region %s has already been associated with the hosted zone %s with the same domain name.",
			*vpc.VPCId, vpc.VPCRegion, bareID(z.Zone.Id))
	}
	return nil
}

func (z *zone) associated(vpcID string) bool {
	return slices.ContainsFunc(z.VPCs, func(v types.VPC) bool { return *v.VPCId == vpcID })
}

func (s *Service) checkVPC(ctx context.Context, v types.VPC) error {
	_, err := s.vpcs.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{VpcIds: []string{aws.ToString(v.VPCId)}})
	if err != nil || string(v.VPCRegion) != s.id.Name() {
		return wire.Errorf("InvalidVPCId", "The VPC: %s in region %s that you provided is not authorized to make the association.", aws.ToString(v.VPCId), v.VPCRegion)
	}
	return nil
}

// add stores a new zone with the records that every zone has.
func (s *Service) add(z *zone) error {
	var servers []types.ResourceRecord
	for _, n := range nameServers {
		servers = append(servers, types.ResourceRecord{Value: aws.String(n + ".")})
	}
	id := bareID(z.Zone.Id)
	if err := s.rows.Put(id, z.zoneRow); err != nil {
		return err
	}
	for _, r := range []types.ResourceRecordSet{
		{Name: z.Zone.Name, Type: types.RRTypeNs, TTL: aws.Int64(172800), ResourceRecords: servers},
		{Name: z.Zone.Name, Type: types.RRTypeSoa, TTL: aws.Int64(900), ResourceRecords: []types.ResourceRecord{
			{Value: aws.String(nameServers[0] + ". awsdns-hostmaster.amazon.com. 1 7200 900 1209600 86400")}}},
	} {
		if err := s.records.Put(id+"/"+recordKey(r), r); err != nil {
			return err
		}
		z.put(r)
	}
	s.zones[id] = z
	return nil
}

// GetHostedZone describes a zone.
func (s *Service) GetHostedZone(_ context.Context, in *sdk.GetHostedZoneInput) (*sdk.GetHostedZoneOutput, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	z, err := s.zone(in.Id)
	if err != nil {
		return nil, err
	}
	shown := z.shown()
	out := &sdk.GetHostedZoneOutput{HostedZone: &shown, VPCs: z.VPCs}
	if !z.Zone.Config.PrivateZone {
		out.DelegationSet = &types.DelegationSet{NameServers: nameServers}
	}
	return out, nil
}

// all returns the zones that keep accepts, by ID. The caller holds mu.
func (s *Service) all(keep func(*zone) bool) []*zone {
	var out []*zone
	for _, id := range slices.Sorted(maps.Keys(s.zones)) {
		if z := s.zones[id]; keep(z) {
			out = append(out, z)
		}
	}
	return out
}

func zoneID(z *zone) string { return bareID(z.Zone.Id) }

// ListHostedZones lists the zones of the account.
func (s *Service) ListHostedZones(_ context.Context, in *sdk.ListHostedZonesInput) (*sdk.ListHostedZonesOutput, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	found, next, err := paged(s.all(func(z *zone) bool { return in.HostedZoneType == "" || z.Zone.Config.PrivateZone }), zoneID, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	out := &sdk.ListHostedZonesOutput{Marker: in.Marker, NextMarker: next, IsTruncated: next != nil, MaxItems: aws.Int32(int32(page.Limit(in.MaxItems, 100)))}
	for _, z := range found {
		out.HostedZones = append(out.HostedZones, z.shown())
	}
	return out, nil
}

// ListHostedZonesByName lists zones in the order of their names, from a name on.
func (s *Service) ListHostedZonesByName(_ context.Context, in *sdk.ListHostedZonesByNameInput) (*sdk.ListHostedZonesByNameOutput, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	from := ""
	if in.DNSName != nil {
		from = reversed(canonicalName(*in.DNSName))
	}
	zones := s.all(func(z *zone) bool {
		name := reversed(*z.Zone.Name)
		return name > from || name == from && zoneID(z) >= bareID(in.HostedZoneId)
	})
	slices.SortFunc(zones, func(a, b *zone) int {
		return cmp.Or(strings.Compare(reversed(*a.Zone.Name), reversed(*b.Zone.Name)), strings.Compare(zoneID(a), zoneID(b)))
	})
	most := page.Limit(in.MaxItems, 100)
	out := &sdk.ListHostedZonesByNameOutput{DNSName: in.DNSName, HostedZoneId: in.HostedZoneId, MaxItems: aws.Int32(int32(most))}
	for _, z := range zones {
		if len(out.HostedZones) == most {
			out.IsTruncated, out.NextDNSName, out.NextHostedZoneId = true, z.Zone.Name, aws.String(zoneID(z))
			break
		}
		out.HostedZones = append(out.HostedZones, z.shown())
	}
	return out, nil
}

// ListHostedZonesByVPC lists the private zones that a VPC sees.
func (s *Service) ListHostedZonesByVPC(_ context.Context, in *sdk.ListHostedZonesByVPCInput) (*sdk.ListHostedZonesByVPCOutput, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	found, next, err := paged(s.all(func(z *zone) bool { return z.associated(*in.VPCId) }), zoneID, in.NextToken, in.MaxItems)
	if err != nil {
		return nil, err
	}
	out := &sdk.ListHostedZonesByVPCOutput{NextToken: next, MaxItems: aws.Int32(int32(page.Limit(in.MaxItems, 100)))}
	for _, z := range found {
		out.HostedZoneSummaries = append(out.HostedZoneSummaries, types.HostedZoneSummary{HostedZoneId: aws.String(zoneID(z)), Name: z.Zone.Name,
			Owner: &types.HostedZoneOwner{OwningAccount: aws.String(s.id.Account())}})
	}
	return out, nil
}

// GetHostedZoneCount counts the zones.
func (s *Service) GetHostedZoneCount(context.Context, *sdk.GetHostedZoneCountInput) (*sdk.GetHostedZoneCountOutput, error) {
	return &sdk.GetHostedZoneCountOutput{HostedZoneCount: aws.Int64(int64(s.rows.Len()))}, nil
}

// DeleteHostedZone removes a zone that has only the records it was born with.
func (s *Service) DeleteHostedZone(_ context.Context, in *sdk.DeleteHostedZoneInput) (*sdk.DeleteHostedZoneOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	z, err := s.zone(in.Id)
	if err != nil {
		return nil, err
	}
	for _, r := range z.records {
		if !z.required(r) {
			return nil, wire.Errorf("HostedZoneNotEmpty", "The specified hosted zone contains non-required resource record sets and so cannot be deleted.")
		}
	}
	id := zoneID(z)
	if err := s.rows.Delete(id); err != nil {
		return nil, err
	}
	delete(s.zones, id)
	for key := range z.records {
		if err := s.records.Delete(id + "/" + key); err != nil {
			return nil, err
		}
	}
	return &sdk.DeleteHostedZoneOutput{ChangeInfo: s.newChange(nil)}, nil
}

// required reports whether a record set is one of those that a zone cannot lose.
func (z *zone) required(r types.ResourceRecordSet) bool {
	return *r.Name == *z.Zone.Name && (r.Type == types.RRTypeNs || r.Type == types.RRTypeSoa)
}

// change replaces a zone's row. The caller holds mu.
func (s *Service) change(z *zone, fn func(*zoneRow) error) error {
	row := z.zoneRow
	if err := fn(&row); err != nil {
		return err
	}
	if err := s.rows.Put(zoneID(z), row); err != nil {
		return err
	}
	z.zoneRow = row
	return nil
}

// AssociateVPCWithHostedZone lets a VPC see a private zone.
func (s *Service) AssociateVPCWithHostedZone(ctx context.Context, in *sdk.AssociateVPCWithHostedZoneInput) (*sdk.AssociateVPCWithHostedZoneOutput, error) {
	if err := s.checkVPC(ctx, *in.VPC); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	z, err := s.zone(in.HostedZoneId)
	if err != nil {
		return nil, err
	}
	if !z.Zone.Config.PrivateZone {
		return nil, wire.Errorf("PublicZoneVPCAssociation", "You can't associate a VPC with a public hosted zone.")
	}
	for _, other := range s.zones {
		if err := other.conflicts(*z.Zone.Name, *in.VPC); err != nil {
			return nil, err
		}
	}
	err = s.change(z, func(r *zoneRow) error {
		r.VPCs = append(slices.Clone(r.VPCs), *in.VPC)
		return nil
	})
	return &sdk.AssociateVPCWithHostedZoneOutput{ChangeInfo: s.newChange(in.Comment)}, err
}

// DisassociateVPCFromHostedZone hides a private zone from a VPC.
func (s *Service) DisassociateVPCFromHostedZone(_ context.Context, in *sdk.DisassociateVPCFromHostedZoneInput) (*sdk.DisassociateVPCFromHostedZoneOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	z, err := s.zone(in.HostedZoneId)
	if err != nil {
		return nil, err
	}
	switch {
	case !z.associated(*in.VPC.VPCId):
		return nil, &wire.Error{Code: "VPCAssociationNotFound", Message: fmt.Sprintf("The specified VPC %s and hosted zone %s are not currently associated.", *in.VPC.VPCId, zoneID(z)), Status: 404}
	case len(z.VPCs) == 1:
		return nil, wire.Errorf("LastVPCAssociation", "The VPC %s is the last one that is associated with the hosted zone %s.", *in.VPC.VPCId, zoneID(z))
	}
	err = s.change(z, func(r *zoneRow) error {
		r.VPCs = slices.DeleteFunc(slices.Clone(r.VPCs), func(v types.VPC) bool { return *v.VPCId == *in.VPC.VPCId })
		return nil
	})
	return &sdk.DisassociateVPCFromHostedZoneOutput{ChangeInfo: s.newChange(in.Comment)}, err
}

// UpdateHostedZoneComment changes a zone's comment.
func (s *Service) UpdateHostedZoneComment(_ context.Context, in *sdk.UpdateHostedZoneCommentInput) (*sdk.UpdateHostedZoneCommentOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	z, err := s.zone(in.Id)
	if err != nil {
		return nil, err
	}
	if err := s.change(z, func(r *zoneRow) error {
		config := *r.Zone.Config
		config.Comment = in.Comment
		r.Zone.Config = &config
		return nil
	}); err != nil {
		return nil, err
	}
	shown := z.shown()
	return &sdk.UpdateHostedZoneCommentOutput{HostedZone: &shown}, nil
}

// tagged finds the zone of a request about tags.
func (s *Service) tagged(id *string, kind types.TagResourceType) (*zone, error) {
	if kind != types.TagResourceTypeHostedzone {
		return nil, &wire.Error{Code: "NoSuchHealthCheck", Message: "No health check exists with the specified ID " + aws.ToString(id), Status: 404}
	}
	return s.zone(id)
}

// ChangeTagsForResource adds and removes tags of a zone.
func (s *Service) ChangeTagsForResource(_ context.Context, in *sdk.ChangeTagsForResourceInput) (*sdk.ChangeTagsForResourceOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	z, err := s.tagged(in.ResourceId, in.ResourceType)
	if err != nil {
		return nil, err
	}
	return &sdk.ChangeTagsForResourceOutput{}, s.change(z, func(r *zoneRow) error {
		tags := map[string]string{}
		maps.Copy(tags, r.Tags)
		for _, k := range in.RemoveTagKeys {
			delete(tags, k)
		}
		for _, t := range in.AddTags {
			tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
		}
		r.Tags = tags
		return nil
	})
}

func (z *zone) tagSet() types.ResourceTagSet {
	set := types.ResourceTagSet{ResourceId: aws.String(zoneID(z)), ResourceType: types.TagResourceTypeHostedzone}
	for _, k := range slices.Sorted(maps.Keys(z.Tags)) {
		set.Tags = append(set.Tags, types.Tag{Key: &k, Value: aws.String(z.Tags[k])})
	}
	return set
}

// ListTagsForResource lists the tags of a zone.
func (s *Service) ListTagsForResource(_ context.Context, in *sdk.ListTagsForResourceInput) (*sdk.ListTagsForResourceOutput, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	z, err := s.tagged(in.ResourceId, in.ResourceType)
	if err != nil {
		return nil, err
	}
	set := z.tagSet()
	return &sdk.ListTagsForResourceOutput{ResourceTagSet: &set}, nil
}

// ListTagsForResources lists the tags of several zones.
func (s *Service) ListTagsForResources(_ context.Context, in *sdk.ListTagsForResourcesInput) (*sdk.ListTagsForResourcesOutput, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := &sdk.ListTagsForResourcesOutput{}
	for _, id := range in.ResourceIds {
		z, err := s.tagged(&id, in.ResourceType)
		if err != nil {
			return nil, err
		}
		out.ResourceTagSets = append(out.ResourceTagSets, z.tagSet())
	}
	return out, nil
}

// GetChange says of every change that it has spread: the resolver sees it at once.
func (s *Service) GetChange(_ context.Context, in *sdk.GetChangeInput) (*sdk.GetChangeOutput, error) {
	m := changeID.FindStringSubmatch(bareID(in.Id))
	if m == nil {
		return nil, &wire.Error{Code: "NoSuchChange", Message: fmt.Sprintf("Could not find resource with ID: %s", bareID(in.Id)), Status: 404}
	}
	ms, err := strconv.ParseInt(m[1], 16, 64)
	if err != nil {
		return nil, err
	}
	return &sdk.GetChangeOutput{ChangeInfo: &types.ChangeInfo{Id: aws.String("/change/" + m[0]), Status: types.ChangeStatusInsync, SubmittedAt: aws.Time(time.UnixMilli(ms).UTC())}}, nil
}

// ListQueryLoggingConfigs lists nothing: queries are not logged.
func (s *Service) ListQueryLoggingConfigs(_ context.Context, in *sdk.ListQueryLoggingConfigsInput) (*sdk.ListQueryLoggingConfigsOutput, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if in.HostedZoneId != nil {
		if _, err := s.zone(in.HostedZoneId); err != nil {
			return nil, err
		}
	}
	return &sdk.ListQueryLoggingConfigsOutput{}, nil
}
