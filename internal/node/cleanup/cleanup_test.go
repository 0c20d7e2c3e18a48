package cleanup

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/cfn"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	r53types "github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

// fakeEC2 has instances that take some looks to end.
type fakeEC2 struct {
	ec2API
	state map[string]ec2types.InstanceStateName
	looks map[string]int // looks until an ending instance is gone
}

func (f *fakeEC2) DescribeInstances(context.Context, *ec2.DescribeInstancesInput, ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error) {
	var r ec2types.Reservation
	for id, s := range f.state {
		if s == ec2types.InstanceStateNameShuttingDown {
			if f.looks[id]--; f.looks[id] < 0 {
				delete(f.state, id)
				continue
			}
		}
		r.Instances = append(r.Instances, ec2types.Instance{InstanceId: aws.String(id), State: &ec2types.InstanceState{Name: s}})
	}
	return &ec2.DescribeInstancesOutput{Reservations: []ec2types.Reservation{r}}, nil
}

func (f *fakeEC2) TerminateInstances(_ context.Context, in *ec2.TerminateInstancesInput, _ ...func(*ec2.Options)) (*ec2.TerminateInstancesOutput, error) {
	for _, id := range in.InstanceIds {
		f.state[id] = ec2types.InstanceStateNameShuttingDown
	}
	return &ec2.TerminateInstancesOutput{}, nil
}

// fakeS3 has versions of one bucket.
type fakeS3 struct {
	s3API
	bucket   string
	versions map[string]bool // "key version"
}

func (f *fakeS3) ListObjectVersions(_ context.Context, in *s3.ListObjectVersionsInput, _ ...func(*s3.Options)) (*s3.ListObjectVersionsOutput, error) {
	if *in.Bucket != f.bucket {
		return nil, &smithy.GenericAPIError{Code: "NoSuchBucket"}
	}
	out := &s3.ListObjectVersionsOutput{}
	for v := range f.versions {
		key, version, _ := strings.Cut(v, " ")
		if !strings.HasPrefix(key, *in.Prefix) {
			continue
		}
		if strings.HasPrefix(version, "marker") {
			out.DeleteMarkers = append(out.DeleteMarkers, s3types.DeleteMarkerEntry{Key: &key, VersionId: &version})
		} else {
			out.Versions = append(out.Versions, s3types.ObjectVersion{Key: &key, VersionId: &version})
		}
	}
	return out, nil
}

func (f *fakeS3) DeleteObjects(_ context.Context, in *s3.DeleteObjectsInput, _ ...func(*s3.Options)) (*s3.DeleteObjectsOutput, error) {
	for _, o := range in.Delete.Objects {
		delete(f.versions, *o.Key+" "+*o.VersionId)
	}
	return &s3.DeleteObjectsOutput{}, nil
}

// fakeRoute53 has one zone.
type fakeRoute53 struct {
	route53API
	zone    string
	records map[string]r53types.RRType
}

func (f *fakeRoute53) ListResourceRecordSets(_ context.Context, in *route53.ListResourceRecordSetsInput, _ ...func(*route53.Options)) (*route53.ListResourceRecordSetsOutput, error) {
	if *in.HostedZoneId != f.zone {
		return nil, &smithy.GenericAPIError{Code: "NoSuchHostedZone"}
	}
	out := &route53.ListResourceRecordSetsOutput{}
	for name, kind := range f.records {
		out.ResourceRecordSets = append(out.ResourceRecordSets, r53types.ResourceRecordSet{Name: &name, Type: kind})
	}
	return out, nil
}

func (f *fakeRoute53) ChangeResourceRecordSets(_ context.Context, in *route53.ChangeResourceRecordSetsInput, _ ...func(*route53.Options)) (*route53.ChangeResourceRecordSetsOutput, error) {
	for _, c := range in.ChangeBatch.Changes {
		delete(f.records, *c.ResourceRecordSet.Name)
	}
	return &route53.ChangeResourceRecordSetsOutput{}, nil
}

func noWait(context.Context, time.Duration) error { return nil }

func deletion(properties map[string]any) cfn.Event {
	return cfn.Event{RequestType: cfn.RequestDelete, LogicalResourceID: "Resource", ResourceProperties: properties}
}

func TestDeletionEndsTheFleetAndWaitsForIt(t *testing.T) {
	f := &fakeEC2{
		state: map[string]ec2types.InstanceStateName{"i-1": "running", "i-2": "stopped", "i-3": "shutting-down"},
		looks: map[string]int{"i-1": 3, "i-2": 1, "i-3": 2},
	}
	h := &handler{ec2: f, wait: noWait}
	if _, _, err := h.handle(t.Context(), deletion(map[string]any{"Action": TerminateInstances, "StackName": "demo"})); err != nil {
		t.Fatal(err)
	}
	if len(f.state) != 0 {
		t.Errorf("instances that still exist when the action ends: %v", f.state)
	}
}

func TestDeletionRemovesAllVersionsBelowThePrefixOnly(t *testing.T) {
	f := &fakeS3{bucket: "b", versions: map[string]bool{
		"clusters/demo-1/config v1": true, "clusters/demo-1/config v2": true, "clusters/demo-1/x marker1": true,
		"clusters/demo-10/config v1": true,
	}}
	h := &handler{s3: f, wait: noWait}
	e := deletion(map[string]any{"Action": DeleteArtifacts, "ResourcesS3Bucket": "b", "ArtifactS3RootDirectory": "clusters/demo-1"})
	if _, _, err := h.handle(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if len(f.versions) != 1 || !f.versions["clusters/demo-10/config v1"] {
		t.Errorf("what is left: %v, want the other cluster's object", f.versions)
	}
	e.ResourceProperties["ResourcesS3Bucket"] = "gone"
	if _, _, err := h.handle(t.Context(), e); err != nil {
		t.Errorf("a bucket that is gone: %v, want no error", err)
	}
}

func TestDeletionRemovesTheNodesRecords(t *testing.T) {
	f := &fakeRoute53{zone: "Z1", records: map[string]r53types.RRType{
		"q-dy-c-1.demo.pcluster.": "A", "demo.pcluster.": "SOA", "other.pcluster.": "A",
	}}
	h := &handler{route53: f, wait: noWait}
	e := deletion(map[string]any{"Action": DeleteDNSRecords, "ClusterHostedZone": "Z1", "ClusterDNSDomain": "demo.pcluster."})
	if _, _, err := h.handle(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if len(f.records) != 2 {
		t.Errorf("records left: %v", f.records)
	}
	e.ResourceProperties["ClusterHostedZone"] = "Z2"
	if _, _, err := h.handle(t.Context(), e); err != nil {
		t.Errorf("a zone that is gone: %v, want no error", err)
	}
}

func TestOnlyDeletionActs(t *testing.T) {
	h := &handler{} // any call would panic
	for _, kind := range []cfn.RequestType{cfn.RequestCreate, cfn.RequestUpdate} {
		id, _, err := h.handle(t.Context(), cfn.Event{RequestType: kind, LogicalResourceID: "R", ResourceProperties: map[string]any{"Action": TerminateInstances}})
		if err != nil || id != "R" {
			t.Errorf("%s: %q, %v", kind, id, err)
		}
	}
}

func TestEmptyPropertiesAreRefused(t *testing.T) {
	h := &handler{}
	for _, action := range []string{TerminateInstances, DeleteDNSRecords, DeleteArtifacts, "ELSE"} {
		if _, _, err := h.handle(t.Context(), deletion(map[string]any{"Action": action})); err == nil {
			t.Errorf("%s without properties: no error", action)
		}
	}
}
