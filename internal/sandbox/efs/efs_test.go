package efs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	sdk "github.com/aws/aws-sdk-go-v2/service/efs"
	"github.com/aws/aws-sdk-go-v2/service/efs/types"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/wire"
)

var ctx = context.Background()

// fakeNetwork has the subnets it is told of, each in a VPC and zone, and the
// interfaces that were created in them.
type fakeNetwork struct {
	subnets map[string][2]string // VPC, zone
	eni     map[string][]string  // groups
	die     bool                 // in the middle of creating an interface
}

func (n *fakeNetwork) DescribeSubnets(_ context.Context, in *ec2.DescribeSubnetsInput) (*ec2.DescribeSubnetsOutput, error) {
	s, ok := n.subnets[in.SubnetIds[0]]
	if !ok {
		return nil, wire.Errorf("InvalidSubnetID.NotFound", "The subnet ID '%s' does not exist", in.SubnetIds[0])
	}
	return &ec2.DescribeSubnetsOutput{Subnets: []ec2types.Subnet{{SubnetId: &in.SubnetIds[0], VpcId: &s[0], AvailabilityZone: &s[1]}}}, nil
}

func (n *fakeNetwork) CreateNetworkInterface(_ context.Context, in *ec2.CreateNetworkInterfaceInput) (*ec2.CreateNetworkInterfaceOutput, error) {
	groups := in.Groups
	if groups == nil {
		groups = []string{"sg-default"}
	}
	if slices.Contains(groups, "sg-none") {
		return nil, wire.Errorf("InvalidGroup.NotFound", "The security group 'sg-none' does not exist")
	}
	id := fmt.Sprintf("eni-%d", len(n.eni))
	if n.die {
		panic("killed")
	}
	n.eni[id] = groups
	out := &ec2types.NetworkInterface{NetworkInterfaceId: &id, PrivateIpAddress: in.PrivateIpAddress}
	if out.PrivateIpAddress == nil {
		out.PrivateIpAddress = aws.String("10.0.0.7")
	}
	for _, g := range groups {
		out.Groups = append(out.Groups, ec2types.GroupIdentifier{GroupId: &g})
	}
	return &ec2.CreateNetworkInterfaceOutput{NetworkInterface: out}, nil
}

func (n *fakeNetwork) DeleteNetworkInterface(_ context.Context, in *ec2.DeleteNetworkInterfaceInput) (*ec2.DeleteNetworkInterfaceOutput, error) {
	delete(n.eni, *in.NetworkInterfaceId)
	return &ec2.DeleteNetworkInterfaceOutput{}, nil
}

func (n *fakeNetwork) ModifyNetworkInterfaceAttribute(_ context.Context, in *ec2.ModifyNetworkInterfaceAttributeInput) (*ec2.ModifyNetworkInterfaceAttributeOutput, error) {
	n.eni[*in.NetworkInterfaceId] = in.Groups
	return &ec2.ModifyNetworkInterfaceAttributeOutput{}, nil
}

func newNetwork() *fakeNetwork {
	return &fakeNetwork{eni: map[string][]string{}, subnets: map[string][2]string{
		"subnet-0aaaaaaa": {"vpc-1", "us-east-1a"}, "subnet-a2": {"vpc-1", "us-east-1a"}, "subnet-b": {"vpc-1", "us-east-1b"}, "subnet-x": {"vpc-2", "us-east-1c"},
	}}
}

func open(t *testing.T, dir string, net Network) (*Service, func()) {
	t.Helper()
	db, err := store.Open(filepath.Join(dir, "region.db"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(db, region.NewIdentity("", ""), filepath.Join(dir, "efs"), net)
	if err != nil {
		t.Fatal(err)
	}
	return s, func() { _ = db.Close() }
}

func start(t *testing.T) (*Service, *fakeNetwork) {
	t.Helper()
	net := newNetwork()
	s, stop := open(t, t.TempDir(), net)
	t.Cleanup(stop)
	return s, net
}

func wantCode(t *testing.T, err error, want string) {
	t.Helper()
	if got := code(err); got != want {
		t.Errorf("error is %v, want %s", err, want)
	}
}

func create(t *testing.T, s *Service, token string) string {
	t.Helper()
	out, err := s.CreateFileSystem(ctx, &sdk.CreateFileSystemInput{CreationToken: &token, Encrypted: aws.Bool(true), Tags: []types.Tag{{Key: aws.String("Name"), Value: aws.String("home")}}})
	if err != nil {
		t.Fatal(err)
	}
	if out.LifeCycleState != types.LifeCycleStateCreating {
		t.Errorf("state at creation is %s", out.LifeCycleState)
	}
	return *out.FileSystemId
}

func TestRegisterFitsTheModel(t *testing.T) {
	s, _ := start(t)
	m, err := wire.NewService("efs")
	if err != nil {
		t.Fatal(err)
	}
	s.Register(m)
	if err := m.Compile(); err != nil {
		t.Error(err)
	}
}

func TestFileSystemLives(t *testing.T) {
	s, net := start(t)
	id := create(t, s, "t1")
	dir, err := s.Directory(id)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("directory: %v, %v", info, err)
	}
	_, err = s.CreateFileSystem(ctx, &sdk.CreateFileSystemInput{CreationToken: aws.String("t1")})
	wantCode(t, err, "FileSystemAlreadyExists")

	target, err := s.CreateMountTarget(ctx, &sdk.CreateMountTargetInput{FileSystemId: &id, SubnetId: aws.String("subnet-0aaaaaaa"), SecurityGroups: []string{"sg-01111111"}})
	if err != nil {
		t.Fatal(err)
	}
	if *target.AvailabilityZoneName != "us-east-1a" || *target.VpcId != "vpc-1" || target.IpAddress == nil {
		t.Errorf("mount target is %+v", target)
	}
	for subnet, want := range map[string]string{"subnet-a2": "MountTargetConflict", "subnet-x": "MountTargetConflict", "subnet-none": "SubnetNotFound"} {
		_, err = s.CreateMountTarget(ctx, &sdk.CreateMountTargetInput{FileSystemId: &id, SubnetId: &subnet})
		wantCode(t, err, want)
	}
	_, err = s.CreateMountTarget(ctx, &sdk.CreateMountTargetInput{FileSystemId: &id, SubnetId: aws.String("subnet-b"), SecurityGroups: []string{"sg-none"}})
	wantCode(t, err, "SecurityGroupNotFound")
	if _, err := s.ModifyMountTargetSecurityGroups(ctx, &sdk.ModifyMountTargetSecurityGroupsInput{MountTargetId: target.MountTargetId, SecurityGroups: []string{"sg-2", "sg-3"}}); err != nil {
		t.Error(err)
	}
	groups, err := s.DescribeMountTargetSecurityGroups(ctx, &sdk.DescribeMountTargetSecurityGroupsInput{MountTargetId: target.MountTargetId})
	if err != nil || !slices.Equal(groups.SecurityGroups, []string{"sg-2", "sg-3"}) || !slices.Equal(net.eni["eni-0"], []string{"sg-2", "sg-3"}) {
		t.Errorf("groups are %v, %v; interface has %v", groups.SecurityGroups, err, net.eni["eni-0"])
	}

	if err := os.WriteFile(filepath.Join(dir, "file"), make([]byte, 1000), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := s.DescribeFileSystems(ctx, &sdk.DescribeFileSystemsInput{FileSystemId: &id})
	if err != nil || len(out.FileSystems) != 1 {
		t.Fatalf("%+v, %v", out, err)
	}
	if d := out.FileSystems[0]; d.LifeCycleState != types.LifeCycleStateAvailable || d.NumberOfMountTargets != 1 || *d.Name != "home" || !*d.Encrypted || d.KmsKeyId == nil {
		t.Errorf("described as %+v", d)
	}
	_, err = s.DeleteFileSystem(ctx, &sdk.DeleteFileSystemInput{FileSystemId: &id})
	wantCode(t, err, "FileSystemInUse")
	if _, err := s.DeleteMountTarget(ctx, &sdk.DeleteMountTargetInput{MountTargetId: target.MountTargetId}); err != nil || len(net.eni) != 0 {
		t.Errorf("delete mount target: %v, interfaces left: %v", err, net.eni)
	}
	if _, err := s.DeleteFileSystem(ctx, &sdk.DeleteFileSystemInput{FileSystemId: &id}); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("directory after deletion: %v", err)
	}
	_, err = s.DescribeFileSystems(ctx, &sdk.DescribeFileSystemsInput{FileSystemId: &id})
	wantCode(t, err, "FileSystemNotFound")
	_, err = s.DescribeMountTargets(ctx, &sdk.DescribeMountTargetsInput{FileSystemId: &id})
	wantCode(t, err, "FileSystemNotFound")
}

func TestRefusedSettings(t *testing.T) {
	s, _ := start(t)
	for name, tt := range map[string]struct {
		in   sdk.CreateFileSystemInput
		want string
	}{
		"provisioned without a number": {sdk.CreateFileSystemInput{ThroughputMode: types.ThroughputModeProvisioned}, "BadRequest"},
		"number without provisioned":   {sdk.CreateFileSystemInput{ProvisionedThroughputInMibps: aws.Float64(3)}, "BadRequest"},
		"key without encryption":       {sdk.CreateFileSystemInput{KmsKeyId: aws.String("k")}, "BadRequest"},
		"zone elsewhere":               {sdk.CreateFileSystemInput{AvailabilityZoneName: aws.String("eu-west-1a")}, "UnsupportedAvailabilityZone"},
		"maxIO and elastic":            {sdk.CreateFileSystemInput{PerformanceMode: types.PerformanceModeMaxIo, ThroughputMode: types.ThroughputModeElastic}, "BadRequest"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.CreateFileSystem(ctx, &tt.in)
			wantCode(t, err, tt.want)
		})
	}
}

func TestSettingsSurviveRestart(t *testing.T) {
	dir := t.TempDir()
	s, stop := open(t, dir, newNetwork())
	id := create(t, s, "t1")
	if err := s.AdoptFileSystem(ctx, "fs-0123456789abcdef0", "adopted", "subnet-b", []string{"sg-01111111"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutLifecycleConfiguration(ctx, &sdk.PutLifecycleConfigurationInput{FileSystemId: &id, LifecyclePolicies: []types.LifecyclePolicy{{TransitionToIA: types.TransitionToIARulesAfter30Days}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutBackupPolicy(ctx, &sdk.PutBackupPolicyInput{FileSystemId: &id, BackupPolicy: &types.BackupPolicy{Status: types.StatusEnabled}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.TagResource(ctx, &sdk.TagResourceInput{ResourceId: &id, Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.UpdateFileSystem(ctx, &sdk.UpdateFileSystemInput{FileSystemId: &id, ThroughputMode: types.ThroughputModeElastic}); err != nil {
		t.Fatal(err)
	}
	point, err := s.CreateAccessPoint(ctx, &sdk.CreateAccessPointInput{FileSystemId: &id, RootDirectory: &types.RootDirectory{
		Path: aws.String("/a/b"), CreationInfo: &types.CreationInfo{OwnerUid: aws.Int64(int64(os.Getuid())), OwnerGid: aws.Int64(int64(os.Getgid())), Permissions: aws.String("0750")}}})
	if err != nil {
		t.Fatal(err)
	}
	stop()

	net := newNetwork()
	s, stop = open(t, dir, net)
	defer stop()
	if l, err := s.DescribeLifecycleConfiguration(ctx, &sdk.DescribeLifecycleConfigurationInput{FileSystemId: &id}); err != nil || len(l.LifecyclePolicies) != 1 {
		t.Errorf("lifecycle: %+v, %v", l, err)
	}
	if b, err := s.DescribeBackupPolicy(ctx, &sdk.DescribeBackupPolicyInput{FileSystemId: &id}); err != nil || b.BackupPolicy.Status != types.StatusEnabled {
		t.Errorf("backup: %+v, %v", b, err)
	}
	if l, err := s.ListTagsForResource(ctx, &sdk.ListTagsForResourceInput{ResourceId: &id}); err != nil || len(l.Tags) != 2 {
		t.Errorf("tags: %+v, %v", l, err)
	}
	all, err := s.DescribeFileSystems(ctx, &sdk.DescribeFileSystemsInput{MaxItems: aws.Int32(1)})
	if err != nil || len(all.FileSystems) != 1 || all.NextMarker == nil {
		t.Errorf("first page: %+v, %v", all, err)
	}
	dirAP, err := s.AccessPointDirectory(*point.AccessPointId)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dirAP); err != nil || info.Mode().Perm() != 0o750 {
		t.Errorf("access point: %v, %v", info, err)
	}
	// Adopting again changes nothing.
	if err := s.AdoptFileSystem(ctx, "fs-0123456789abcdef0", "other", "subnet-b", nil); err != nil || len(net.eni) != 0 {
		t.Errorf("adopt again: %v, new interfaces %v", err, net.eni)
	}
	m, err := s.DescribeMountTargets(ctx, &sdk.DescribeMountTargetsInput{FileSystemId: aws.String("fs-0123456789abcdef0")})
	if err != nil || len(m.MountTargets) != 1 || *m.MountTargets[0].AvailabilityZoneName != "us-east-1b" {
		t.Errorf("mount targets of the adopted: %+v, %v", m, err)
	}
}

func TestAccessPointStaysInside(t *testing.T) {
	s, _ := start(t)
	id := create(t, s, "t1")
	dir, _ := s.Directory(id)
	outside := t.TempDir()
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	_, err := s.CreateAccessPoint(ctx, &sdk.CreateAccessPointInput{FileSystemId: &id, RootDirectory: &types.RootDirectory{
		Path: aws.String("/link/x"), CreationInfo: &types.CreationInfo{OwnerUid: aws.Int64(0), OwnerGid: aws.Int64(0), Permissions: aws.String("755")}}})
	if err == nil {
		t.Error("access point through a link was created")
	}
	if files, _ := os.ReadDir(outside); len(files) != 0 {
		t.Errorf("files outside: %v", files)
	}
}

func TestMountTargetOfAKilledDaemonIsFinished(t *testing.T) {
	dir, net := t.TempDir(), newNetwork()
	s, stop := open(t, dir, net)
	id := create(t, s, "t1")
	net.die = true
	func() {
		defer func() { _ = recover() }()
		_, _ = s.CreateMountTarget(ctx, &sdk.CreateMountTargetInput{FileSystemId: &id, SubnetId: aws.String("subnet-0aaaaaaa"), SecurityGroups: []string{"sg-01111111"}})
	}()
	stop()
	net.die = false
	s, stop = open(t, dir, net)
	defer stop()
	out, err := s.DescribeMountTargets(ctx, &sdk.DescribeMountTargetsInput{FileSystemId: &id})
	if err != nil || len(out.MountTargets) != 1 || out.MountTargets[0].LifeCycleState != types.LifeCycleStateAvailable || len(net.eni) != 1 {
		t.Errorf("mount targets: %+v, %v; interfaces: %v", out, err, net.eni)
	}
}
