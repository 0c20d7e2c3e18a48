package ec2

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// OpenSSH itself must accept the private key, find the public half in it that EC2
// has, and agree with the fingerprint.
func TestKeyPairsAreReal(t *testing.T) {
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		t.Skip("no ssh-keygen")
	}
	for _, kind := range []types.KeyType{types.KeyTypeRsa, types.KeyTypeEd25519} {
		t.Run(string(kind), func(t *testing.T) {
			r := newRegion(t)
			ctx := t.Context()
			made := ok[*sdk.CreateKeyPairOutput](t)(r.CreateKeyPair(ctx, &sdk.CreateKeyPairInput{KeyName: aws.String("me"), KeyType: kind}))
			file := filepath.Join(t.TempDir(), "key")
			if err := os.WriteFile(file, []byte(*made.KeyMaterial), 0o600); err != nil {
				t.Fatal(err)
			}
			public, err := exec.Command("ssh-keygen", "-y", "-f", file).CombinedOutput()
			if err != nil {
				t.Fatalf("ssh-keygen: %v: %s", err, public)
			}
			listed := ok[*sdk.DescribeKeyPairsOutput](t)(r.DescribeKeyPairs(ctx, &sdk.DescribeKeyPairsInput{KeyNames: []string{"me"}, IncludePublicKey: aws.Bool(true)}))
			have := strings.Fields(*listed.KeyPairs[0].PublicKey)
			if want := strings.Fields(string(public)); have[0] != want[0] || have[1] != want[1] {
				t.Errorf("public key %v, ssh-keygen says %v", have, want)
			}
			if kind == types.KeyTypeEd25519 {
				out, err := exec.Command("ssh-keygen", "-l", "-f", file).Output()
				if err != nil {
					t.Fatal(err)
				}
				want := strings.TrimPrefix(strings.Fields(string(out))[1], "SHA256:")
				if got := strings.TrimRight(*made.KeyFingerprint, "="); got != want {
					t.Errorf("fingerprint %s, ssh-keygen says %s", got, want)
				}
			} else if strings.Count(*made.KeyFingerprint, ":") != 19 {
				t.Errorf("fingerprint %s is no SHA-1", *made.KeyFingerprint)
			}
			_, err = r.CreateKeyPair(ctx, &sdk.CreateKeyPairInput{KeyName: aws.String("me"), KeyType: kind})
			refused(t, err, "InvalidKeyPair.Duplicate")

			imported := ok[*sdk.ImportKeyPairOutput](t)(r.ImportKeyPair(ctx, &sdk.ImportKeyPairInput{KeyName: aws.String("again"), PublicKeyMaterial: public}))
			if kind == types.KeyTypeEd25519 && *imported.KeyFingerprint != *made.KeyFingerprint {
				t.Errorf("imported as %s, made as %s", *imported.KeyFingerprint, *made.KeyFingerprint)
			}
			ok[*sdk.DeleteKeyPairOutput](t)(r.DeleteKeyPair(ctx, &sdk.DeleteKeyPairInput{KeyName: aws.String("me")}))
			_, err = r.DescribeKeyPairs(ctx, &sdk.DescribeKeyPairsInput{KeyNames: []string{"me"}})
			refused(t, err, "InvalidKeyPair.NotFound")
		})
	}
}

func TestImportedNonsenseIsRefused(t *testing.T) {
	r := newRegion(t)
	for _, text := range []string{"", "ssh-rsa", "ssh-rsa AAAA", "ssh-ed25519 !!!", "hello world", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"} {
		_, err := r.ImportKeyPair(t.Context(), &sdk.ImportKeyPairInput{KeyName: aws.String("k"), PublicKeyMaterial: []byte(text)})
		refused(t, err, "InvalidKey.Format")
	}
}

func TestVolumes(t *testing.T) {
	r := newRegion(t)
	ctx := t.Context()
	id := r.run1(r.request(1))
	create := &sdk.CreateVolumeInput{AvailabilityZone: aws.String("us-east-1a"), Size: aws.Int32(2), VolumeType: "gp3", ClientToken: aws.String("v")}
	made := ok[*sdk.CreateVolumeOutput](t)(r.CreateVolume(ctx, create))
	if again := ok[*sdk.CreateVolumeOutput](t)(r.CreateVolume(ctx, create)); *again.VolumeId != *made.VolumeId {
		t.Error("the same token made another volume")
	}
	file := r.volumeFile(*made.VolumeId)
	if info, err := os.Stat(file); err != nil || info.Size() != 2<<30 {
		t.Fatalf("file behind the volume: %v, %v", info, err)
	}
	attach := &sdk.AttachVolumeInput{VolumeId: made.VolumeId, InstanceId: &id, Device: aws.String("/dev/sdb")}
	ok[*sdk.AttachVolumeOutput](t)(r.AttachVolume(ctx, attach))
	if got := r.machines.volumes[id]; len(got) != 1 || got[0].Path != file || got[0].Device != "/dev/sdb" {
		t.Errorf("machine's volumes %+v", got)
	}
	_, err := r.AttachVolume(ctx, attach)
	refused(t, err, "VolumeInUse")
	_, err = r.DeleteVolume(ctx, &sdk.DeleteVolumeInput{VolumeId: made.VolumeId})
	refused(t, err, "VolumeInUse")
	found := ok[*sdk.DescribeVolumesOutput](t)(r.DescribeVolumes(ctx, &sdk.DescribeVolumesInput{Filters: []types.Filter{
		{Name: aws.String("attachment.instance-id"), Values: []string{id}}, {Name: aws.String("attachment.device"), Values: []string{"/dev/sdb"}},
	}}))
	if len(found.Volumes) != 1 || found.Volumes[0].State != "in-use" || found.Volumes[0].Attachments[0].State != "attached" {
		t.Errorf("volumes %+v", found.Volumes)
	}

	// Data goes into a snapshot and comes back from it, bigger.
	if err := writeAt(file, 1<<30, "payload"); err != nil {
		t.Fatal(err)
	}
	snap := ok[*sdk.CreateSnapshotOutput](t)(r.CreateSnapshot(ctx, &sdk.CreateSnapshotInput{VolumeId: made.VolumeId}))
	eventually(t, func() bool { return r.snapshots.get(*snap.SnapshotId).State == types.SnapshotStateCompleted })
	_, err = r.CreateVolume(ctx, &sdk.CreateVolumeInput{AvailabilityZone: aws.String("us-east-1a"), SnapshotId: snap.SnapshotId, Size: aws.Int32(1)})
	refused(t, err, "InvalidParameterValue")
	copied := ok[*sdk.CreateVolumeOutput](t)(r.CreateVolume(ctx, &sdk.CreateVolumeInput{AvailabilityZone: aws.String("us-east-1a"), SnapshotId: snap.SnapshotId, Size: aws.Int32(3)}))
	eventually(t, func() bool { return r.volumes.get(*copied.VolumeId).Desc.State == types.VolumeStateAvailable })
	if text, size := readAt(t, r.volumeFile(*copied.VolumeId), 1<<30, 7); text != "payload" || size != 3<<30 {
		t.Errorf("copy of %d bytes has %q", size, text)
	}

	ok[*sdk.ModifyVolumeOutput](t)(r.ModifyVolume(ctx, &sdk.ModifyVolumeInput{VolumeId: made.VolumeId, Size: aws.Int32(4), Iops: aws.Int32(4000)}))
	if v := r.volumes.get(*made.VolumeId).Desc; *v.Size != 4 || *v.Iops != 4000 || *v.Throughput != 125 {
		t.Errorf("changed volume %+v", v)
	}
	_, err = r.ModifyVolume(ctx, &sdk.ModifyVolumeInput{VolumeId: made.VolumeId, Size: aws.Int32(1)})
	refused(t, err, "InvalidParameterValue")

	ok[*sdk.DetachVolumeOutput](t)(r.DetachVolume(ctx, &sdk.DetachVolumeInput{VolumeId: made.VolumeId}))
	if got := r.machines.volumes[id]; len(got) != 0 {
		t.Errorf("machine still has %+v", got)
	}
	_, err = r.DetachVolume(ctx, &sdk.DetachVolumeInput{VolumeId: made.VolumeId})
	refused(t, err, "IncorrectState")
	root := r.instance(id).BlockDeviceMappings[0].Ebs.VolumeId
	_, err = r.DetachVolume(ctx, &sdk.DetachVolumeInput{VolumeId: root})
	refused(t, err, "OperationNotPermitted")
	ok[*sdk.DeleteVolumeOutput](t)(r.DeleteVolume(ctx, &sdk.DeleteVolumeInput{VolumeId: made.VolumeId}))
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("file behind the deleted volume: %v", err)
	}
	_, err = r.DescribeVolumes(ctx, &sdk.DescribeVolumesInput{VolumeIds: []string{*made.VolumeId}})
	refused(t, err, "InvalidVolume.NotFound")
}

func TestVolumesThatCannotBe(t *testing.T) {
	r := newRegion(t)
	for name, tt := range map[string]struct {
		in   sdk.CreateVolumeInput
		code string
	}{
		"no size":           {sdk.CreateVolumeInput{}, "MissingParameter"},
		"too small":         {sdk.CreateVolumeInput{Size: aws.Int32(10), VolumeType: "st1"}, "InvalidParameterValue"},
		"too large":         {sdk.CreateVolumeInput{Size: aws.Int32(20000)}, "InvalidParameterValue"},
		"io1 without iops":  {sdk.CreateVolumeInput{Size: aws.Int32(10), VolumeType: "io1"}, "MissingParameter"},
		"throughput of gp2": {sdk.CreateVolumeInput{Size: aws.Int32(10), Throughput: aws.Int32(200)}, "InvalidParameterCombination"},
		"no snapshot":       {sdk.CreateVolumeInput{SnapshotId: aws.String("snap-0123456789abcdef0")}, "InvalidSnapshot.NotFound"},
		"no zone":           {sdk.CreateVolumeInput{Size: aws.Int32(1), AvailabilityZone: aws.String("us-west-2a")}, "InvalidParameterValue"},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.in.AvailabilityZone == nil {
				tt.in.AvailabilityZone = aws.String("us-east-1a")
			}
			_, err := r.CreateVolume(t.Context(), &tt.in)
			refused(t, err, tt.code)
		})
	}
}

func TestTags(t *testing.T) {
	r := newRegion(t)
	ctx := t.Context()
	id := r.run1(r.request(1))
	i := r.instance(id)
	volume := *i.BlockDeviceMappings[0].Ebs.VolumeId
	// One of each kind that clusters tag.
	resources := []string{id, volume, *i.NetworkInterfaces[0].NetworkInterfaceId, r.subnet, *i.VpcId, r.group, r.image}
	ok[*sdk.CreateTagsOutput](t)(r.CreateTags(ctx, &sdk.CreateTagsInput{Resources: resources, Tags: []types.Tag{tag("owner", "me"), tag("note", "x")}}))
	ok[*sdk.CreateTagsOutput](t)(r.CreateTags(ctx, &sdk.CreateTagsInput{Resources: resources, Tags: []types.Tag{tag("note", "y")}}))
	listed := ok[*sdk.DescribeTagsOutput](t)(r.DescribeTags(ctx, &sdk.DescribeTagsInput{Filters: []types.Filter{{Name: aws.String("key"), Values: []string{"note"}}}}))
	if len(listed.Tags) != len(resources) {
		t.Errorf("%d tags, want one of each of %d resources", len(listed.Tags), len(resources))
	}
	for _, tag := range listed.Tags {
		if *tag.Value != "y" {
			t.Errorf("%s of %s (%s) is %s", *tag.Key, *tag.ResourceId, tag.ResourceType, *tag.Value)
		}
	}
	ok[*sdk.DeleteTagsOutput](t)(r.DeleteTags(ctx, &sdk.DeleteTagsInput{Resources: resources[:1], Tags: []types.Tag{tag("note", "other"), {Key: aws.String("owner")}}}))
	if tags := r.instance(id).Tags; len(tags) != 1 || *tags[0].Key != "note" {
		t.Errorf("tags %v", tags)
	}
	_, err := r.CreateTags(ctx, &sdk.CreateTagsInput{Resources: []string{id, "i-0123456789abcdef0"}, Tags: []types.Tag{tag("a", "b")}})
	refused(t, err, "InvalidInstanceID.NotFound")
	if tags := r.instance(id).Tags; len(tags) != 1 {
		t.Errorf("a refused request tagged: %v", tags)
	}
	_, err = r.CreateTags(ctx, &sdk.CreateTagsInput{Resources: []string{"what"}, Tags: []types.Tag{tag("a", "b")}})
	refused(t, err, "InvalidID")
}

func TestImages(t *testing.T) {
	r := newRegion(t)
	ctx := t.Context()
	official := ok[*sdk.DescribeImagesOutput](t)(r.DescribeImages(ctx, &sdk.DescribeImagesInput{
		Owners:  []string{"amazon"},
		Filters: []types.Filter{{Name: aws.String("name"), Values: []string{"aws-parallelcluster-3.16.0-amzn2023-hvm-x86_64*"}}},
	}))
	if len(official.Images) != 1 || *official.Images[0].BlockDeviceMappings[0].DeviceName != "/dev/xvda" {
		t.Errorf("official images %+v", official.Images)
	}
	own := ok[*sdk.DescribeImagesOutput](t)(r.DescribeImages(ctx, &sdk.DescribeImagesInput{Owners: []string{"self"}}))
	if len(own.Images) != 1 || *own.Images[0].ImageId != testImage || *own.Images[0].Tags[0].Value != "here" {
		t.Errorf("own images %+v", own.Images)
	}
	snapshot := own.Images[0].BlockDeviceMappings[0].Ebs.SnapshotId
	snaps := ok[*sdk.DescribeSnapshotsOutput](t)(r.DescribeSnapshots(ctx, &sdk.DescribeSnapshotsInput{SnapshotIds: []string{*snapshot}}))
	if *snaps.Snapshots[0].VolumeSize != 35 {
		t.Errorf("snapshot %+v", snaps.Snapshots[0])
	}
	_, err := r.DeleteSnapshot(ctx, &sdk.DeleteSnapshotInput{SnapshotId: snapshot})
	refused(t, err, "InvalidSnapshot.InUse")
	_, err = r.DeregisterImage(ctx, &sdk.DeregisterImageInput{ImageId: official.Images[0].ImageId})
	refused(t, err, "AuthFailure")
	ok[*sdk.ModifyImageAttributeOutput](t)(r.ModifyImageAttribute(ctx, &sdk.ModifyImageAttributeInput{
		ImageId: &r.image, Description: &types.AttributeValue{Value: aws.String("ours")},
		LaunchPermission: &types.LaunchPermissionModifications{Add: []types.LaunchPermission{{UserId: aws.String("444455556666")}}},
	}))
	permissions := ok[*sdk.DescribeImageAttributeOutput](t)(r.DescribeImageAttribute(ctx, &sdk.DescribeImageAttributeInput{ImageId: &r.image, Attribute: "launchPermission"}))
	if len(permissions.LaunchPermissions) != 1 || *permissions.LaunchPermissions[0].UserId != "444455556666" {
		t.Errorf("permissions %+v", permissions.LaunchPermissions)
	}
	ok[*sdk.DeregisterImageOutput](t)(r.DeregisterImage(ctx, &sdk.DeregisterImageInput{ImageId: &r.image}))
	ok[*sdk.DeleteSnapshotOutput](t)(r.DeleteSnapshot(ctx, &sdk.DeleteSnapshotInput{SnapshotId: snapshot}))
	_, err = r.DescribeImages(ctx, &sdk.DescribeImagesInput{ImageIds: []string{r.image}})
	refused(t, err, "InvalidAMIID.NotFound")
}

func TestInstanceTypes(t *testing.T) {
	r := newRegion(t)
	ctx := t.Context()
	one := ok[*sdk.DescribeInstanceTypesOutput](t)(r.DescribeInstanceTypes(ctx, &sdk.DescribeInstanceTypesInput{InstanceTypes: []types.InstanceType{"c7a.48xlarge", "t3.micro"}}))
	if len(one.InstanceTypes) != 2 || *one.InstanceTypes[0].VCpuInfo.DefaultVCpus != 192 {
		t.Errorf("%+v", one.InstanceTypes)
	}
	_, err := r.DescribeInstanceTypes(ctx, &sdk.DescribeInstanceTypesInput{InstanceTypes: []types.InstanceType{"c7a.49xlarge"}})
	refused(t, err, "InvalidInstanceType")
	family := ok[*sdk.DescribeInstanceTypesOutput](t)(r.DescribeInstanceTypes(ctx, &sdk.DescribeInstanceTypesInput{Filters: []types.Filter{
		{Name: aws.String("instance-type"), Values: []string{"c5.*"}}, {Name: aws.String("bare-metal"), Values: []string{"false"}},
	}}))
	if len(family.InstanceTypes) != 8 {
		t.Errorf("%d types c5", len(family.InstanceTypes))
	}
	total, next := 0, (*string)(nil)
	for {
		out := ok[*sdk.DescribeInstanceTypesOutput](t)(r.DescribeInstanceTypes(ctx, &sdk.DescribeInstanceTypesInput{NextToken: next}))
		total += len(out.InstanceTypes)
		if next = out.NextToken; next == nil {
			break
		}
	}
	if total != 1243 {
		t.Errorf("%d types in all pages, want the 1243 that us-east-1 offers in our zones", total)
	}
	offers := ok[*sdk.DescribeInstanceTypeOfferingsOutput](t)(r.DescribeInstanceTypeOfferings(ctx, &sdk.DescribeInstanceTypeOfferingsInput{
		LocationType: "availability-zone", Filters: []types.Filter{{Name: aws.String("instance-type"), Values: []string{"c7a.48xlarge", "hpc7a.96xlarge"}}},
	}))
	if len(offers.InstanceTypeOfferings) == 0 || *offers.InstanceTypeOfferings[0].Location != "us-east-1a" || offers.InstanceTypeOfferings[0].InstanceType != "c7a.48xlarge" {
		t.Errorf("offerings %+v", offers.InstanceTypeOfferings)
	}
}

func TestZoneIDs(t *testing.T) {
	for name, want := range map[string]string{"us-east-1": "use1", "ap-southeast-2": "apse2", "eu-central-1": "euc1", "us-gov-west-1": "usgw1", "ca-central-1": "cac1"} {
		if got := shortRegion(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestStatusAndAttributes(t *testing.T) {
	r := newRegion(t)
	ctx := t.Context()
	id := r.run1(r.request(1))
	ids := []string{id}
	impaired := ok[*sdk.DescribeInstanceStatusOutput](t)(r.DescribeInstanceStatus(ctx, &sdk.DescribeInstanceStatusInput{Filters: []types.Filter{
		{Name: aws.String("instance-status.status"), Values: []string{"impaired"}},
	}}))
	events := ok[*sdk.DescribeInstanceStatusOutput](t)(r.DescribeInstanceStatus(ctx, &sdk.DescribeInstanceStatusInput{MaxResults: aws.Int32(1000), Filters: []types.Filter{
		{Name: aws.String("event.code"), Values: []string{"instance-reboot", "system-reboot"}},
	}}))
	if len(impaired.InstanceStatuses)+len(events.InstanceStatuses) != 0 {
		t.Errorf("a healthy instance is impaired: %+v", impaired.InstanceStatuses)
	}
	all := ok[*sdk.DescribeInstanceStatusOutput](t)(r.DescribeInstanceStatus(ctx, &sdk.DescribeInstanceStatusInput{}))
	if len(all.InstanceStatuses) != 1 || all.InstanceStatuses[0].SystemStatus.Status != "ok" {
		t.Errorf("status %+v", all.InstanceStatuses)
	}
	_, err := r.ModifyInstanceAttribute(ctx, &sdk.ModifyInstanceAttributeInput{InstanceId: &id, InstanceType: &types.AttributeValue{Value: aws.String("c5.large")}})
	refused(t, err, "IncorrectInstanceState")
	ok[*sdk.ModifyInstanceAttributeOutput](t)(r.ModifyInstanceAttribute(ctx, &sdk.ModifyInstanceAttributeInput{InstanceId: &id, DisableApiTermination: &types.AttributeBooleanValue{Value: aws.Bool(true)}}))
	_, err = r.TerminateInstances(ctx, &sdk.TerminateInstancesInput{InstanceIds: ids})
	refused(t, err, "OperationNotPermitted")
	ok[*sdk.StopInstancesOutput](t)(r.StopInstances(ctx, &sdk.StopInstancesInput{InstanceIds: ids}))
	r.settle()
	ok[*sdk.ModifyInstanceAttributeOutput](t)(r.ModifyInstanceAttribute(ctx, &sdk.ModifyInstanceAttributeInput{InstanceId: &id, InstanceType: &types.AttributeValue{Value: aws.String("c5.large")}}))
	ok[*sdk.StartInstancesOutput](t)(r.StartInstances(ctx, &sdk.StartInstancesInput{InstanceIds: ids}))
	r.settle()
	if spec := r.machines.up[id]; spec.TypeName != "c5.large" || spec.MemoryMiB != 4096 {
		t.Errorf("machine %+v", spec)
	}
}

func writeAt(file string, at int64, text string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt([]byte(text), at)
	return err
}

func readAt(t *testing.T, file string, at int64, n int) (string, int64) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, n)
	if _, err := f.ReadAt(buf, at); err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return string(buf), info.Size()
}
