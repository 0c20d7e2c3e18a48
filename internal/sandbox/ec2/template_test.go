package ec2

import (
	"reflect"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"pgregory.net/rapid"
)

func TestLaunchTemplateVersions(t *testing.T) {
	r := newRegion(t)
	ctx := t.Context()
	name := aws.String("demo-q1")
	create := &sdk.CreateLaunchTemplateInput{
		LaunchTemplateName: name, VersionDescription: aws.String("first"),
		LaunchTemplateData: &types.RequestLaunchTemplateData{ImageId: &r.image, InstanceType: "c5.large"},
	}
	lt := ok[*sdk.CreateLaunchTemplateOutput](t)(r.CreateLaunchTemplate(ctx, create)).LaunchTemplate
	_, err := r.CreateLaunchTemplate(ctx, create)
	refused(t, err, "InvalidLaunchTemplateName.AlreadyExistsException")
	create.LaunchTemplateName = aws.String("a b")
	_, err = r.CreateLaunchTemplate(ctx, create)
	refused(t, err, "InvalidLaunchTemplateName.MalformedException")

	second := ok[*sdk.CreateLaunchTemplateVersionOutput](t)(r.CreateLaunchTemplateVersion(ctx, &sdk.CreateLaunchTemplateVersionInput{
		LaunchTemplateId: lt.LaunchTemplateId, SourceVersion: aws.String("1"), LaunchTemplateData: &types.RequestLaunchTemplateData{InstanceType: "m5.large"},
	})).LaunchTemplateVersion
	if *second.VersionNumber != 2 || *second.LaunchTemplateData.ImageId != r.image || second.LaunchTemplateData.InstanceType != "m5.large" || *second.DefaultVersion {
		t.Errorf("second version %+v of %+v", second.LaunchTemplateData, second)
	}
	versions := func(names ...string) []int64 {
		t.Helper()
		out := ok[*sdk.DescribeLaunchTemplateVersionsOutput](t)(r.DescribeLaunchTemplateVersions(ctx, &sdk.DescribeLaunchTemplateVersionsInput{LaunchTemplateName: name, Versions: names}))
		var ns []int64
		for _, v := range out.LaunchTemplateVersions {
			ns = append(ns, *v.VersionNumber)
		}
		return ns
	}
	for _, tt := range []struct {
		names []string
		want  []int64
	}{{nil, []int64{2, 1}}, {[]string{"$Latest"}, []int64{2}}, {[]string{"$Default"}, []int64{1}}, {[]string{"1", "2"}, []int64{2, 1}}} {
		if got := versions(tt.names...); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("versions %v: %v, want %v", tt.names, got, tt.want)
		}
	}
	_, err = r.DescribeLaunchTemplateVersions(ctx, &sdk.DescribeLaunchTemplateVersionsInput{LaunchTemplateName: name, Versions: []string{"7"}})
	refused(t, err, "InvalidLaunchTemplateId.VersionNotFound")

	changed := ok[*sdk.ModifyLaunchTemplateOutput](t)(r.ModifyLaunchTemplate(ctx, &sdk.ModifyLaunchTemplateInput{LaunchTemplateName: name, DefaultVersion: aws.String("2")}))
	if *changed.LaunchTemplate.DefaultVersionNumber != 2 || *changed.LaunchTemplate.LatestVersionNumber != 2 {
		t.Errorf("template %+v", changed.LaunchTemplate)
	}
	deleted := ok[*sdk.DeleteLaunchTemplateVersionsOutput](t)(r.DeleteLaunchTemplateVersions(ctx, &sdk.DeleteLaunchTemplateVersionsInput{LaunchTemplateName: name, Versions: []string{"1", "2", "3"}}))
	if len(deleted.SuccessfullyDeletedLaunchTemplateVersions) != 1 || len(deleted.UnsuccessfullyDeletedLaunchTemplateVersions) != 2 {
		t.Errorf("deleted %+v", deleted)
	}
	ok[*sdk.DeleteLaunchTemplateOutput](t)(r.DeleteLaunchTemplate(ctx, &sdk.DeleteLaunchTemplateInput{LaunchTemplateName: name}))
	_, err = r.DescribeLaunchTemplates(ctx, &sdk.DescribeLaunchTemplatesInput{LaunchTemplateNames: []string{*name}})
	refused(t, err, "InvalidLaunchTemplateName.NotFoundException")
	_, err = r.DescribeLaunchTemplates(ctx, &sdk.DescribeLaunchTemplatesInput{LaunchTemplateIds: []string{*lt.LaunchTemplateId}})
	refused(t, err, "InvalidLaunchTemplateId.NotFound")
}

// overlay and forLaunch are written member by member. These properties hold for
// every member, so that none can be forgotten when the SDK grows one.
func TestOverlayTakesEveryMember(t *testing.T) {
	full := filled(t)
	if got := overlay(types.RequestLaunchTemplateData{}, full); !reflect.DeepEqual(got, full) {
		t.Errorf("overlay on nothing loses members: %+v", got)
	}
	if got := overlay(full, types.RequestLaunchTemplateData{}); !reflect.DeepEqual(got, full) {
		t.Errorf("overlay of nothing loses members: %+v", got)
	}
	kind := reflect.TypeFor[types.RequestLaunchTemplateData]()
	rapid.Check(t, func(t *rapid.T) {
		var base, over, want types.RequestLaunchTemplateData
		for i := range kind.NumField() {
			if !kind.Field(i).IsExported() {
				continue
			}
			value := reflect.ValueOf(full).Field(i)
			in := rapid.SampledFrom([]string{"neither", "base", "over", "both"}).Draw(t, kind.Field(i).Name)
			other := reflect.New(value.Type()).Elem() // another value that is set
			other.Set(value)
			if in == "both" && value.Kind() == reflect.Pointer {
				other = reflect.New(value.Type().Elem())
			}
			if in == "base" || in == "both" {
				reflect.ValueOf(&base).Elem().Field(i).Set(value)
				reflect.ValueOf(&want).Elem().Field(i).Set(value)
			}
			if in == "over" || in == "both" {
				reflect.ValueOf(&over).Elem().Field(i).Set(other)
				reflect.ValueOf(&want).Elem().Field(i).Set(other)
			}
		}
		if got := overlay(base, over); !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v\nwant %+v", got, want)
		}
	})
}

// filled sets every member to something.
func filled(t *testing.T) types.RequestLaunchTemplateData {
	t.Helper()
	var d types.RequestLaunchTemplateData
	v := reflect.ValueOf(&d).Elem()
	for i := range v.NumField() {
		f := v.Field(i)
		switch {
		case !v.Type().Field(i).IsExported():
		case f.Kind() == reflect.Pointer:
			f.Set(reflect.New(f.Type().Elem()))
		case f.Kind() == reflect.Slice:
			f.Set(reflect.MakeSlice(f.Type(), 1, 1))
		case f.Kind() == reflect.String:
			f.SetString("x")
		default:
			t.Fatalf("member %s of kind %s", v.Type().Field(i).Name, f.Kind())
		}
	}
	return d
}

func TestMergedTagsAndDevices(t *testing.T) {
	tags := func(vs ...types.Tag) types.LaunchTemplateTagSpecificationRequest {
		return types.LaunchTemplateTagSpecificationRequest{ResourceType: "instance", Tags: vs}
	}
	ebs := func(name string, size int32, kind types.VolumeType) types.LaunchTemplateBlockDeviceMappingRequest {
		m := types.LaunchTemplateBlockDeviceMappingRequest{DeviceName: aws.String(name), Ebs: &types.LaunchTemplateEbsBlockDeviceRequest{VolumeType: kind}}
		if size > 0 {
			m.Ebs.VolumeSize = aws.Int32(size)
		}
		return m
	}
	got := forLaunch(types.RequestLaunchTemplateData{
		TagSpecifications:   []types.LaunchTemplateTagSpecificationRequest{tags(tag("Name", "Compute"), tag("queue", "q1"))},
		BlockDeviceMappings: []types.LaunchTemplateBlockDeviceMappingRequest{ebs("/dev/xvda", 40, "gp3"), ebs("/dev/sdf", 10, "gp3")},
		MetadataOptions:     &types.LaunchTemplateInstanceMetadataOptionsRequest{HttpTokens: "required"},
		SecurityGroupIds:    []string{"sg-1"},
	}, types.RequestLaunchTemplateData{
		TagSpecifications:   []types.LaunchTemplateTagSpecificationRequest{tags(tag("queue", "q2"))},
		BlockDeviceMappings: []types.LaunchTemplateBlockDeviceMappingRequest{ebs("/dev/xvda", 0, "io2"), ebs("/dev/sdg", 5, "gp2")},
		MetadataOptions:     &types.LaunchTemplateInstanceMetadataOptionsRequest{HttpPutResponseHopLimit: aws.Int32(3)},
		SecurityGroupIds:    []string{"sg-2"},
	})
	if tags := got.TagSpecifications[0].Tags; len(got.TagSpecifications) != 1 || len(tags) != 2 || *tags[0].Value != "Compute" || *tags[1].Value != "q2" {
		t.Errorf("tags %+v", got.TagSpecifications)
	}
	d := got.BlockDeviceMappings
	if len(d) != 3 || *d[0].Ebs.VolumeSize != 40 || d[0].Ebs.VolumeType != "io2" || *d[1].Ebs.VolumeSize != 10 || *d[2].DeviceName != "/dev/sdg" {
		t.Errorf("devices %+v", d)
	}
	if m := got.MetadataOptions; m.HttpTokens != "required" || *m.HttpPutResponseHopLimit != 3 {
		t.Errorf("metadata options %+v", m)
	}
	if got.SecurityGroupIds[0] != "sg-2" || len(got.SecurityGroupIds) != 1 {
		t.Errorf("groups %v", got.SecurityGroupIds)
	}
}
