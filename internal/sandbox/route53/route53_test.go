package route53

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	sdk "github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/aws/smithy-go"
	"github.com/miekg/dns"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/wire"
	"pcluster/internal/sandbox/wire/wiretest"
)

var ctx = context.Background()

type fakeVPCs []string

func (f fakeVPCs) DescribeVpcs(_ context.Context, in *ec2.DescribeVpcsInput) (*ec2.DescribeVpcsOutput, error) {
	if !slices.Contains(f, in.VpcIds[0]) {
		return nil, wire.Errorf("InvalidVpcID.NotFound", "The vpc ID '%s' does not exist", in.VpcIds[0])
	}
	return &ec2.DescribeVpcsOutput{}, nil
}

func open(t *testing.T, path string) (*Service, func()) {
	t.Helper()
	db := store.Memory()
	if path != "" {
		var err error
		if db, err = store.Open(path); err != nil {
			t.Fatal(err)
		}
	}
	s, err := New(db, region.NewIdentity("", ""), fakeVPCs{"vpc-1", "vpc-2"})
	if err != nil {
		t.Fatal(err)
	}
	return s, func() { _ = db.Close() }
}

func vpc(id string) *types.VPC { return &types.VPC{VPCId: &id, VPCRegion: types.VPCRegionUsEast1} }

// zone makes a zone and returns its ID; no VPC makes it public.
func create(t *testing.T, s *Service, name, vpcID string) string {
	t.Helper()
	in := &sdk.CreateHostedZoneInput{Name: &name, CallerReference: aws.String(name + vpcID)}
	if vpcID != "" {
		in.VPC = vpc(vpcID)
	}
	out, err := s.CreateHostedZone(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	return *out.HostedZone.Id
}

// change makes changes of the form "CREATE name type value value…".
func change(s *Service, zoneID string, changes ...string) error {
	batch := &types.ChangeBatch{}
	for _, c := range changes {
		f := strings.Fields(c)
		r := &types.ResourceRecordSet{Name: &f[1], Type: types.RRType(f[2]), TTL: aws.Int64(120)}
		for _, v := range f[3:] {
			r.ResourceRecords = append(r.ResourceRecords, types.ResourceRecord{Value: aws.String(strings.ReplaceAll(v, "_", " "))})
		}
		batch.Changes = append(batch.Changes, types.Change{Action: types.ChangeAction(f[0]), ResourceRecordSet: r})
	}
	_, err := s.ChangeResourceRecordSets(ctx, &sdk.ChangeResourceRecordSetsInput{HostedZoneId: &zoneID, ChangeBatch: batch})
	return err
}

func wantCode(t *testing.T, err error, code, text string) {
	t.Helper()
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok || api.ErrorCode() != code || !strings.Contains(api.ErrorMessage(), text) {
		t.Errorf("error is %v, want %s with %q", err, code, text)
	}
}

func list(t *testing.T, s *Service, zoneID string, most int32) []string {
	t.Helper()
	var out []string
	in := &sdk.ListResourceRecordSetsInput{HostedZoneId: &zoneID, MaxItems: &most}
	for {
		page, err := s.ListResourceRecordSets(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page.ResourceRecordSets {
			out = append(out, *r.Name+" "+string(r.Type))
		}
		if !page.IsTruncated {
			return out
		}
		in.StartRecordName, in.StartRecordType, in.StartRecordIdentifier = page.NextRecordName, page.NextRecordType, page.NextRecordIdentifier
	}
}

func TestChangeRules(t *testing.T) {
	s, _ := open(t, "")
	id := create(t, s, "Cluster.Pcluster", "vpc-1")
	if err := change(s, id, "CREATE a.cluster.pcluster A 10.0.0.1 10.0.0.2", "CREATE c.cluster.pcluster CNAME a.cluster.pcluster"); err != nil {
		t.Fatal(err)
	}
	before := list(t, s, id, 300)
	for name, tt := range map[string]struct {
		changes []string
		want    string
	}{
		"create what exists":        {[]string{"CREATE A.cluster.pcluster. A 10.0.0.1"}, "Tried to create resource record set [name='a.cluster.pcluster.', type='A'] but it already exists"},
		"create twice in a batch":   {[]string{"CREATE n.cluster.pcluster A 10.0.0.1", "CREATE n.cluster.pcluster A 10.0.0.1"}, "but it already exists"},
		"delete what is not there":  {[]string{"DELETE x.cluster.pcluster A 10.0.0.1"}, "Tried to delete resource record set [name='x.cluster.pcluster.', type='A'] but it was not found"},
		"delete other values":       {[]string{"DELETE a.cluster.pcluster A 10.0.0.1"}, "the values provided do not match the current values"},
		"name outside":              {[]string{"UPSERT a.other A 10.0.0.1"}, "RRSet with DNS name a.other. is not permitted in zone cluster.pcluster."},
		"name that only ends alike": {[]string{"UPSERT xcluster.pcluster A 10.0.0.1"}, "is not permitted in zone"},
		"CNAME at the apex":         {[]string{"UPSERT cluster.pcluster CNAME a.cluster.pcluster"}, "is not permitted at apex"},
		"CNAME beside another":      {[]string{"UPSERT a.cluster.pcluster CNAME b.cluster.pcluster"}, "conflicts with other records"},
		"another beside a CNAME":    {[]string{"UPSERT c.cluster.pcluster A 10.0.0.1"}, "conflicts with other records"},
		"address that is none":      {[]string{"UPSERT a.cluster.pcluster A 10.0.0.256"}, "ARRDATAIllegalIPv4Address"},
		"text without quotes":       {[]string{"UPSERT a.cluster.pcluster TXT text"}, "enclosed in quotation marks"},
		"value twice":               {[]string{"UPSERT a.cluster.pcluster A 10.0.0.1 10.0.0.1"}, "Duplicate Resource Record: '10.0.0.1'"},
		"one of many":               {[]string{"UPSERT good.cluster.pcluster A 10.0.0.1", "DELETE x.cluster.pcluster A 10.0.0.1"}, "but it was not found"},
	} {
		t.Run(name, func(t *testing.T) { wantCode(t, change(s, id, tt.changes...), "InvalidChangeBatch", tt.want) })
	}
	wantCode(t, change(s, id, "UPSERT a.cluster.pcluster A"), "InvalidInput", "Missing field 'ResourceRecords' in Change with [Action=UPSERT, Name=a.cluster.pcluster, Type=A, SetIdentifier=null]")
	wantCode(t, change(s, "Z000", "UPSERT a.x A 10.0.0.1"), "NoSuchHostedZone", "No hosted zone found with ID: Z000")
	if after := list(t, s, id, 300); !slices.Equal(before, after) {
		t.Errorf("a refused batch changed the zone to %q", after)
	}
	// A batch sees its own changes.
	if err := change(s, id, "DELETE c.cluster.pcluster CNAME a.cluster.pcluster", "CREATE c.cluster.pcluster A 10.0.0.9", "UPSERT a.cluster.pcluster A 10.0.0.3"); err != nil {
		t.Error(err)
	}
	_, err := s.DeleteHostedZone(ctx, &sdk.DeleteHostedZoneInput{Id: &id})
	wantCode(t, err, "HostedZoneNotEmpty", "")
	if err := change(s, id, "DELETE c.cluster.pcluster A 10.0.0.9", "DELETE a.cluster.pcluster A 10.0.0.3"); err != nil {
		t.Error(err)
	}
	if _, err := s.DeleteHostedZone(ctx, &sdk.DeleteHostedZoneInput{Id: &id}); err != nil || s.records.Len() != 0 {
		t.Errorf("delete: %v, %d records left", err, s.records.Len())
	}
}

func TestListIsInOrderOfLabels(t *testing.T) {
	s, _ := open(t, "")
	id := create(t, s, "z.io", "")
	if err := change(s, id, "CREATE b.z.io A 10.0.0.1", "CREATE a.b.z.io A 10.0.0.1", "CREATE a.z.io TXT \"x\"", "CREATE a.z.io A 10.0.0.1", "CREATE *.z.io A 10.0.0.1", "CREATE c.z.io A 10.0.0.1"); err != nil {
		t.Fatal(err)
	}
	want := []string{"z.io. NS", "z.io. SOA", `\052.z.io. A`, "a.z.io. A", "a.z.io. TXT", "b.z.io. A", "a.b.z.io. A", "c.z.io. A"}
	for _, most := range []int32{1, 3, 300} {
		if got := list(t, s, id, most); !slices.Equal(got, want) {
			t.Errorf("pages of %d: %q, want %q", most, got, want)
		}
	}
}

func TestLookup(t *testing.T) {
	s, _ := open(t, "")
	private, other, public := create(t, s, "c.pcluster", "vpc-1"), create(t, s, "c.pcluster", "vpc-2"), create(t, s, "pcluster", "")
	for id, changes := range map[string][]string{
		private: {"CREATE q-dy-1.c.pcluster A 10.0.0.1", "CREATE alias.c.pcluster CNAME q-dy-1.c.pcluster", "CREATE deep.in.c.pcluster A 10.0.0.4", "CREATE *.wild.c.pcluster A 10.0.0.5",
			"CREATE here.wild.c.pcluster TXT \"a_b\""},
		other:  {"CREATE q-dy-1.c.pcluster A 10.9.0.1"},
		public: {"CREATE www.pcluster A 198.51.100.1"},
	} {
		if err := change(s, id, changes...); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.ChangeResourceRecordSets(ctx, &sdk.ChangeResourceRecordSetsInput{HostedZoneId: &private, ChangeBatch: &types.ChangeBatch{Changes: []types.Change{{
		Action: types.ChangeActionCreate, ResourceRecordSet: &types.ResourceRecordSet{Name: aws.String("head.c.pcluster"), Type: types.RRTypeA,
			AliasTarget: &types.AliasTarget{DNSName: aws.String("q-dy-1.c.pcluster"), HostedZoneId: &private}}}}}}); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		vpc   string
		qtype uint16
		want  string // values, or "none" for a name that does not exist
	}{
		"q-dy-1.c.pcluster.":    {"vpc-1", dns.TypeA, "10.0.0.1"},
		"Q-DY-1.c.pcluster":     {"vpc-2", dns.TypeA, "10.9.0.1"},
		"alias.c.pcluster.":     {"vpc-1", dns.TypeA, "q-dy-1.c.pcluster."},
		"head.c.pcluster.":      {"vpc-1", dns.TypeA, "10.0.0.1"},
		"none.c.pcluster.":      {"vpc-1", dns.TypeA, "none"},
		"in.c.pcluster.":        {"vpc-1", dns.TypeA, ""},
		"x.y.wild.c.pcluster.":  {"vpc-1", dns.TypeA, "10.0.0.5"},
		"here.wild.c.pcluster.": {"vpc-1", dns.TypeA, ""},
		"www.pcluster.":         {"vpc-1", dns.TypeA, "198.51.100.1"},
		"c.pcluster.":           {"", dns.TypeSOA, "ns-1536.awsdns-00.co.uk. awsdns-hostmaster.amazon.com. 1 7200 900 1209600 86400"},
		"elsewhere.":            {"vpc-1", dns.TypeA, "none"},
	} {
		rrs, ok := s.Lookup(name, tt.qtype, tt.vpc)
		got := "none"
		if ok {
			var values []string
			for _, rr := range rrs {
				values = append(values, strings.TrimPrefix(rr.String(), rr.Header().String()))
			}
			got = strings.Join(values, " ")
		}
		if got != tt.want {
			t.Errorf("%s from %s: %q, want %q", name, tt.vpc, got, tt.want)
		}
	}
	if _, ok := s.Lookup("q-dy-1.c.pcluster.", dns.TypeA, "vpc-3"); ok {
		t.Error("a VPC sees a private zone that is not its own")
	}
}

func TestZones(t *testing.T) {
	s, _ := open(t, "")
	b, a := create(t, s, "b.io", ""), create(t, s, "a.io", "vpc-1")
	_, err := s.CreateHostedZone(ctx, &sdk.CreateHostedZoneInput{Name: aws.String("x.io"), CallerReference: aws.String("b.io")})
	wantCode(t, err, "HostedZoneAlreadyExists", "")
	_, err = s.CreateHostedZone(ctx, &sdk.CreateHostedZoneInput{Name: aws.String("A.io."), CallerReference: aws.String("r1"), VPC: vpc("vpc-1")})
	wantCode(t, err, "ConflictingDomainExists", "vpc-1")
	_, err = s.CreateHostedZone(ctx, &sdk.CreateHostedZoneInput{Name: aws.String("x..io"), CallerReference: aws.String("r2")})
	wantCode(t, err, "InvalidDomainName", "x..io")
	_, err = s.CreateHostedZone(ctx, &sdk.CreateHostedZoneInput{Name: aws.String("x.io"), CallerReference: aws.String("r3"), VPC: vpc("vpc-none")})
	wantCode(t, err, "InvalidVPCId", "vpc-none")
	_, err = s.AssociateVPCWithHostedZone(ctx, &sdk.AssociateVPCWithHostedZoneInput{HostedZoneId: &b, VPC: vpc("vpc-1")})
	wantCode(t, err, "PublicZoneVPCAssociation", "")
	if _, err := s.AssociateVPCWithHostedZone(ctx, &sdk.AssociateVPCWithHostedZoneInput{HostedZoneId: &a, VPC: vpc("vpc-2")}); err != nil {
		t.Error(err)
	}
	got, err := s.GetHostedZone(ctx, &sdk.GetHostedZoneInput{Id: aws.String(bareID(&a))})
	if err != nil || len(got.VPCs) != 2 || !got.HostedZone.Config.PrivateZone || *got.HostedZone.Name != "a.io." || *got.HostedZone.ResourceRecordSetCount != 2 || got.DelegationSet != nil {
		t.Errorf("GetHostedZone: %+v, %v", got, err)
	}
	if _, err := s.DisassociateVPCFromHostedZone(ctx, &sdk.DisassociateVPCFromHostedZoneInput{HostedZoneId: &a, VPC: vpc("vpc-1")}); err != nil {
		t.Error(err)
	}
	_, err = s.DisassociateVPCFromHostedZone(ctx, &sdk.DisassociateVPCFromHostedZoneInput{HostedZoneId: &a, VPC: vpc("vpc-2")})
	wantCode(t, err, "LastVPCAssociation", "vpc-2")
	byVPC, err := s.ListHostedZonesByVPC(ctx, &sdk.ListHostedZonesByVPCInput{VPCId: aws.String("vpc-2"), VPCRegion: types.VPCRegionUsEast1})
	if err != nil || len(byVPC.HostedZoneSummaries) != 1 {
		t.Errorf("ListHostedZonesByVPC: %+v, %v", byVPC, err)
	}
	byName, err := s.ListHostedZonesByName(ctx, &sdk.ListHostedZonesByNameInput{MaxItems: aws.Int32(1)})
	if err != nil || *byName.HostedZones[0].Name != "a.io." || *byName.NextDNSName != "b.io." {
		t.Errorf("ListHostedZonesByName: %+v, %v", byName, err)
	}
	all, err := s.ListHostedZones(ctx, &sdk.ListHostedZonesInput{MaxItems: aws.Int32(1)})
	if err != nil || len(all.HostedZones) != 1 || !all.IsTruncated {
		t.Errorf("ListHostedZones: %+v, %v", all, err)
	}
	if _, err := s.ChangeTagsForResource(ctx, &sdk.ChangeTagsForResourceInput{ResourceId: aws.String(bareID(&a)), ResourceType: types.TagResourceTypeHostedzone,
		AddTags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}}); err != nil {
		t.Error(err)
	}
	tags, err := s.ListTagsForResource(ctx, &sdk.ListTagsForResourceInput{ResourceId: aws.String(bareID(&a)), ResourceType: types.TagResourceTypeHostedzone})
	if err != nil || len(tags.ResourceTagSet.Tags) != 1 {
		t.Errorf("tags: %+v, %v", tags, err)
	}
	c := s.newChange(nil)
	change, err := s.GetChange(ctx, &sdk.GetChangeInput{Id: c.Id})
	if err != nil || change.ChangeInfo.Status != types.ChangeStatusInsync || c.SubmittedAt.Sub(*change.ChangeInfo.SubmittedAt) > 1e6 {
		t.Errorf("GetChange: %+v, %v", change, err)
	}
	_, err = s.GetChange(ctx, &sdk.GetChangeInput{Id: aws.String("C123")})
	wantCode(t, err, "NoSuchChange", "")
}

func TestRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "region.db")
	s, stop := open(t, path)
	id := create(t, s, "c.io", "vpc-1")
	for i := range 3 {
		if err := change(s, id, fmt.Sprintf("UPSERT n%d.c.io A 10.0.0.%d", i, i)); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	s, stop = open(t, path)
	defer stop()
	if got := list(t, s, id, 300); len(got) != 5 {
		t.Errorf("records after a restart: %q", got)
	}
	if rrs, ok := s.Lookup("n2.c.io.", dns.TypeA, "vpc-1"); !ok || len(rrs) != 1 {
		t.Errorf("lookup after a restart: %v, %v", rrs, ok)
	}
}

func TestBoto3(t *testing.T) {
	s, _ := open(t, "")
	srv := wiretest.Serve(t, map[string]wiretest.Registrar{"route53": s})
	out, ok := srv.Python(t, `
import boto3
from botocore.exceptions import ClientError
r53 = boto3.client("route53")
zone = r53.create_hosted_zone(Name="c.pcluster", CallerReference="1", VPC={"VPCRegion": "us-east-1", "VPCId": "vpc-1"})
zid = zone["HostedZone"]["Id"]
def change(action, name, value):
    return r53.change_resource_record_sets(HostedZoneId=zid, ChangeBatch={"Changes": [{"Action": action,
        "ResourceRecordSet": {"Name": name, "Type": "A", "TTL": 120, "ResourceRecords": [{"Value": value}]}}]})
info = change("UPSERT", "q-st-1.c.pcluster", "10.0.0.1")["ChangeInfo"]
assert info["Status"] == "PENDING", info
r53.get_waiter("resource_record_sets_changed").wait(Id=info["Id"])
names = [r["Name"] for page in r53.get_paginator("list_resource_record_sets").paginate(HostedZoneId=zid, PaginationConfig={"PageSize": 1}) for r in page["ResourceRecordSets"]]
assert names == ["c.pcluster.", "c.pcluster.", "q-st-1.c.pcluster."], names
try:
    change("CREATE", "q-st-1.c.pcluster", "10.0.0.1")
    raise SystemExit("no error")
except ClientError as e:
    assert e.response["Error"]["Code"] == "InvalidChangeBatch" and "it already exists" in str(e), e.response
assert r53.get_hosted_zone(Id=zid)["HostedZone"]["Config"]["PrivateZone"]
change("DELETE", "q-st-1.c.pcluster", "10.0.0.1")
r53.delete_hosted_zone(Id=zid)
try:
    r53.get_hosted_zone(Id=zid)
    raise SystemExit("no error")
except r53.exceptions.NoSuchHostedZone:
    pass
`)
	if !ok {
		t.Error(out)
	}
}
