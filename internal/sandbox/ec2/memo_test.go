package ec2

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/sandbox/wire"
)

// bothForms are two services over the same rows: one remembers what instances encode
// to, the other encodes them each time.
type bothForms struct{ remembers, encodes *wire.Service }

func newBothForms(t *testing.T, r *testRegion) bothForms {
	t.Helper()
	var b bothForms
	for _, s := range []**wire.Service{&b.remembers, &b.encodes} {
		api, err := wire.NewService("ec2")
		if err != nil {
			t.Fatal(err)
		}
		*s = api
	}
	r.Register(b.remembers)
	wire.Handle(b.encodes, "DescribeInstances", r.DescribeInstances)
	return b
}

// check asks both for all instances and holds the answers against each other.
func (b bothForms) check(t *testing.T, after string) string {
	t.Helper()
	ask := func(s *wire.Service) string {
		req := httptest.NewRequest("POST", "/", strings.NewReader("Action=DescribeInstances&Version=2016-11-15"))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, req)
		_, body, _ := strings.Cut(w.Body.String(), "</requestId>")
		return body
	}
	got, want := ask(b.remembers), ask(b.encodes)
	if got != want {
		t.Fatalf("after %s, what is remembered of instances is not what they are:\n%s\nwant\n%s", after, got, want)
	}
	return got
}

func TestInstancesAreShownAsTheyAre(t *testing.T) {
	r := newRegion(t)
	b := newBothForms(t, r)
	ctx := t.Context()
	ids := r.runAll(r.request(3))
	id := ids[0]
	last := b.check(t, "launch")
	vol := ok[*sdk.CreateVolumeOutput](t)(r.CreateVolume(ctx, &sdk.CreateVolumeInput{AvailabilityZone: r.instance(id).Placement.AvailabilityZone, Size: aws.Int32(1)}))
	eni := ok[*sdk.CreateNetworkInterfaceOutput](t)(r.CreateNetworkInterface(ctx, &sdk.CreateNetworkInterfaceInput{SubnetId: &r.subnet}))
	eip := ok[*sdk.AllocateAddressOutput](t)(r.AllocateAddress(ctx, &sdk.AllocateAddressInput{}))
	first := r.instance(id).NetworkInterfaces[0].NetworkInterfaceId
	group := ok[*sdk.CreateSecurityGroupOutput](t)(r.CreateSecurityGroup(ctx, &sdk.CreateSecurityGroupInput{GroupName: aws.String("other"), Description: aws.String("x"), VpcId: r.instance(id).VpcId}))
	for _, step := range []struct {
		name string
		do   func() (any, error)
	}{
		{"CreateTags", func() (any, error) {
			return r.CreateTags(ctx, &sdk.CreateTagsInput{Resources: []string{id}, Tags: []types.Tag{tag("a", "1")}})
		}},
		{"CreateTags over a tag", func() (any, error) {
			return r.CreateTags(ctx, &sdk.CreateTagsInput{Resources: ids, Tags: []types.Tag{tag("a", "2")}})
		}},
		{"DeleteTags", func() (any, error) {
			return r.DeleteTags(ctx, &sdk.DeleteTagsInput{Resources: []string{id}, Tags: []types.Tag{tag("a", "2")}})
		}},
		{"AttachVolume", func() (any, error) {
			return r.AttachVolume(ctx, &sdk.AttachVolumeInput{InstanceId: &id, VolumeId: vol.VolumeId, Device: aws.String("/dev/sdf")})
		}},
		{"DetachVolume", func() (any, error) {
			return r.DetachVolume(ctx, &sdk.DetachVolumeInput{VolumeId: vol.VolumeId})
		}},
		{"AssociateAddress", func() (any, error) {
			return r.AssociateAddress(ctx, &sdk.AssociateAddressInput{AllocationId: eip.AllocationId, NetworkInterfaceId: first})
		}},
		{"ModifyInstanceAttribute", func() (any, error) {
			return r.ModifyInstanceAttribute(ctx, &sdk.ModifyInstanceAttributeInput{InstanceId: &ids[1], Groups: []string{*group.GroupId}})
		}},
		{"ModifyInstanceMetadataOptions", func() (any, error) {
			return r.ModifyInstanceMetadataOptions(ctx, &sdk.ModifyInstanceMetadataOptionsInput{InstanceId: &id, HttpPutResponseHopLimit: aws.Int32(3)})
		}},
		{"StopInstances", func() (any, error) {
			return r.StopInstances(ctx, &sdk.StopInstancesInput{InstanceIds: []string{ids[2]}})
		}},
		{"AttachNetworkInterface to a stopped one", func() (any, error) {
			return r.AttachNetworkInterface(ctx, &sdk.AttachNetworkInterfaceInput{InstanceId: &ids[2], NetworkInterfaceId: eni.NetworkInterface.NetworkInterfaceId, DeviceIndex: aws.Int32(1)})
		}},
		{"ModifyInstanceAttribute of a stopped one", func() (any, error) {
			return r.ModifyInstanceAttribute(ctx, &sdk.ModifyInstanceAttributeInput{InstanceId: &ids[2], InstanceType: &types.AttributeValue{Value: aws.String("t3.small")}})
		}},
		{"StartInstances", func() (any, error) {
			return r.StartInstances(ctx, &sdk.StartInstancesInput{InstanceIds: []string{ids[2]}})
		}},
		{"TerminateInstances", func() (any, error) {
			return r.TerminateInstances(ctx, &sdk.TerminateInstancesInput{InstanceIds: ids})
		}},
	} {
		if _, err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		r.settle()
		now := b.check(t, step.name)
		if now == last {
			t.Errorf("%s shows in no instance", step.name)
		}
		last = now
	}
}
