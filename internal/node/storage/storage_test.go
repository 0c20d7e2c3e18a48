package storage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/fsx"
	fsxtypes "github.com/aws/aws-sdk-go-v2/service/fsx/types"
	"github.com/google/go-cmp/cmp"

	"pcluster/internal/config"
)

func TestLines(t *testing.T) {
	raid := 0
	for name, tt := range map[string]struct {
		entry Entry
		head  string
		want  string
	}{
		"EFS": {Entry{Type: config.Efs, Dir: "/sbo/home", FileSystem: "fs-1"}, "",
			"fs-1:/ /sbo/home efs _netdev,noresvport 0 0"},
		"EFS with TLS and access point": {Entry{Type: config.Efs, Dir: "/e", FileSystem: "fs-1", TLS: true, IAM: true, AccessPoint: "fsap-1"}, "10.0.1.5",
			"fs-1:/ /e efs _netdev,noresvport,tls,iam,accesspoint=fsap-1 0 0"},
		"Lustre": {Entry{Type: config.FsxLustre, Dir: "/sbo/data", DNSName: "fs-2.fsx.us-east-1.amazonaws.com", MountName: "abcdefgh"}, "10.0.1.5",
			"fs-2.fsx.us-east-1.amazonaws.com@tcp:/abcdefgh /sbo/data lustre defaults,_netdev,flock,user_xattr,noatime,noauto,x-systemd.automount 0 0"},
		"volume of the head node": {Entry{Type: config.Ebs, Dir: "/data", Volumes: []string{"vol-1"}}, "10.0.1.5",
			"10.0.1.5:/data /data nfs hard,_netdev,noatime 0 0"},
		"array of the head node": {Entry{Type: config.Ebs, Dir: "/raid", Volumes: []string{"vol-1", "vol-2"}, RaidLevel: &raid}, "10.0.1.5",
			"10.0.1.5:/raid /raid nfs hard,_netdev,noatime 0 0"},
		"ONTAP": {Entry{Type: config.FsxOntap, Dir: "/o", DNSName: "svm-1.fs-3.fsx", Path: "/vol1"}, "",
			"svm-1.fs-3.fsx:/vol1 /o nfs defaults 0 0"},
	} {
		if got := tt.entry.On(tt.head).Line(); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, tt.want)
		}
	}
}

func TestAddLineKeepsOthersAndReplacesItsOwn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fstab")
	for _, line := range []string{"a /a nfs x 0 0", "b /b nfs x 0 0", "a /a nfs x 0 0", "c /a nfs y 0 0"} {
		if err := AddLine(path, line); err != nil {
			t.Fatal(err)
		}
	}
	got, _ := os.ReadFile(path)
	if want := "b /b nfs x 0 0\nc /a nfs y 0 0\n"; string(got) != want {
		t.Errorf("fstab:\n%s\nwant:\n%s", got, want)
	}
}

// machine is a node on which mounts succeed from the given try on.
type machine struct {
	succeedAt int
	tries     int
	mounted   map[string]bool
	ran       []string
}

func (m *machine) run(_ context.Context, argv ...string) (string, error) {
	m.ran = append(m.ran, strings.Join(argv, " "))
	switch argv[0] {
	case "mountpoint":
		if m.mounted[argv[2]] {
			return "", nil
		}
		return "", errors.New("not a mount point")
	case "mount":
		if m.tries++; m.tries < m.succeedAt {
			return "", errors.New("mount: Name or service not known")
		}
		m.mounted[argv[len(argv)-1]] = true
	}
	return "", nil
}

func TestMountTriesAgainAndIsIdempotent(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	n := &machine{succeedAt: 3, mounted: map[string]bool{}}
	m := &Mounter{Fstab: filepath.Join(t.TempDir(), "fstab"), Run: n.run, Own: true}
	mt := Mount{Name: "d", Kind: "EFS", Source: "fs-1:/", Dir: dir, FSType: "efs", Options: []string{"_netdev", "noresvport"}, Shared: true}
	for range 2 {
		if err := m.Mount(t.Context(), mt); err != nil {
			t.Fatal(err)
		}
	}
	if n.tries != 3 {
		t.Errorf("%d mounts were tried, want 3", n.tries)
	}
	if info, _ := os.Stat(dir); info.Mode()&os.ModeSticky == 0 || info.Mode().Perm() != 0o777 {
		t.Errorf("the directory's mode is %v", info.Mode())
	}
	if !strings.Contains(strings.Join(n.ran, "\n"), "mount -t efs -o noresvport fs-1:/ "+dir) {
		t.Errorf("ran:\n%s", strings.Join(n.ran, "\n"))
	}
}

func TestMountThatNeverSucceedsNamesTheStorage(t *testing.T) {
	n := &machine{succeedAt: 1 << 30, mounted: map[string]bool{}}
	m := &Mounter{Fstab: filepath.Join(t.TempDir(), "fstab"), Run: n.run, Patience: 50 * time.Millisecond}
	err := m.Mount(t.Context(), Entry{Name: "lustre", Type: config.FsxLustre, Dir: filepath.Join(t.TempDir(), "x"), DNSName: "d", MountName: "m"}.On(""))
	if err == nil || !strings.HasPrefix(err.Error(), "Failed to mount FSX lustre at ") || !strings.Contains(err.Error(), "Name or service not known") {
		t.Errorf("Mount: %v", err)
	}
}

// stack is CloudFormation with one stack whose resources appear after some looks.
type stack struct {
	looks     int
	resources map[string]string
}

func (s *stack) DescribeStackResource(_ context.Context, in *cloudformation.DescribeStackResourceInput, _ ...func(*cloudformation.Options)) (*cloudformation.DescribeStackResourceOutput, error) {
	s.looks--
	d := &cfntypes.StackResourceDetail{ResourceStatus: cfntypes.ResourceStatusCreateInProgress}
	if s.looks < 0 {
		d.ResourceStatus, d.PhysicalResourceId = cfntypes.ResourceStatusCreateComplete, aws.String(s.resources[*in.LogicalResourceId])
	}
	return &cloudformation.DescribeStackResourceOutput{StackResourceDetail: d}, nil
}

// fileSystems is FSx with one Lustre file system.
type fileSystems struct{ FSx }

func (fileSystems) DescribeFileSystems(_ context.Context, in *fsx.DescribeFileSystemsInput, _ ...func(*fsx.Options)) (*fsx.DescribeFileSystemsOutput, error) {
	return &fsx.DescribeFileSystemsOutput{FileSystems: []fsxtypes.FileSystem{{
		FileSystemId: &in.FileSystemIds[0], DNSName: aws.String(in.FileSystemIds[0] + ".fsx"), Lifecycle: fsxtypes.FileSystemLifecycleAvailable,
		LustreConfiguration: &fsxtypes.LustreFileSystemConfiguration{MountName: aws.String("abcdefgh")},
	}}}, nil
}

func TestResolveWaitsForTheStack(t *testing.T) {
	r := &Resolver{
		CloudFormation: &stack{looks: 1, resources: map[string]string{"FSX1": "fs-1", "V1": "vol-1", "V2": "vol-2"}}, FSx: fileSystems{}, Stack: "demo",
		Managed: map[string]string{"lustre": "FSX1", "raid": "V1,V2"},
	}
	raid := 1
	for _, tt := range []struct {
		section config.SharedStorage
		want    Entry
	}{
		{config.SharedStorage{Name: "lustre", StorageType: config.FsxLustre, MountDir: "data"},
			Entry{Name: "lustre", Type: config.FsxLustre, Dir: "/data", FileSystem: "fs-1", DNSName: "fs-1.fsx", MountName: "abcdefgh"}},
		{config.SharedStorage{Name: "raid", StorageType: config.Ebs, MountDir: "/raid", EbsSettings: &config.EbsSettings{Raid: &config.Raid{Type: 1}}},
			Entry{Name: "raid", Type: config.Ebs, Dir: "/raid", Volumes: []string{"vol-1", "vol-2"}, RaidLevel: &raid}},
		{config.SharedStorage{Name: "home", StorageType: config.Efs, MountDir: "/home", EfsSettings: &config.EfsSettings{FileSystemId: "fs-9"}},
			Entry{Name: "home", Type: config.Efs, Dir: "/home", FileSystem: "fs-9"}},
	} {
		got, err := r.Resolve(t.Context(), &tt.section)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.section.Name, diff)
		}
	}
}

// volumes is EC2 with volumes.
type volumes map[string]*ec2types.Volume

func (v volumes) DescribeVolumes(_ context.Context, in *ec2.DescribeVolumesInput, _ ...func(*ec2.Options)) (*ec2.DescribeVolumesOutput, error) {
	return &ec2.DescribeVolumesOutput{Volumes: []ec2types.Volume{*v[in.VolumeIds[0]]}}, nil
}

func (v volumes) AttachVolume(_ context.Context, in *ec2.AttachVolumeInput, _ ...func(*ec2.Options)) (*ec2.AttachVolumeOutput, error) {
	vol := v[*in.VolumeId]
	vol.State = ec2types.VolumeStateInUse
	vol.Attachments = []ec2types.VolumeAttachment{{InstanceId: in.InstanceId, Device: in.Device}}
	return &ec2.AttachVolumeOutput{}, nil
}

func TestAttachChoosesFreeDevicesAndFindsItsOwn(t *testing.T) {
	v := volumes{"vol-1": {State: ec2types.VolumeStateAvailable}, "vol-2": {State: ec2types.VolumeStateAvailable}, "vol-3": {
		State: ec2types.VolumeStateInUse, Attachments: []ec2types.VolumeAttachment{{InstanceId: aws.String("i-other"), Device: aws.String("/dev/sdb")}}}}
	a := &Attacher{EC2: v, InstanceID: "i-1", wait: func(_ context.Context, _, as string) (string, error) { return as, nil }}
	for _, tt := range [][2]string{{"vol-1", "/dev/sdb"}, {"vol-2", "/dev/sdc"}, {"vol-1", "/dev/sdb"}} {
		if got, err := a.Attach(t.Context(), tt[0]); err != nil || got != tt[1] {
			t.Errorf("Attach(%s) = %q, %v, want %s", tt[0], got, err, tt[1])
		}
	}
	if _, err := a.Attach(t.Context(), "vol-3"); err == nil || !strings.Contains(err.Error(), "i-other") {
		t.Errorf("a volume of another instance: %v", err)
	}
}

func TestMountsAtTheSameTimeAllGetTheirLines(t *testing.T) {
	dir := t.TempDir()
	m := &Mounter{Fstab: filepath.Join(dir, "fstab"), Run: func(context.Context, ...string) (string, error) { return "", nil }}
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if err := m.Mount(t.Context(), HeadExport("10.0.0.1", filepath.Join(dir, fmt.Sprint("mnt", i)))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	data, err := os.ReadFile(m.Fstab)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(data), "10.0.0.1:"); n != 20 {
		t.Errorf("fstab has %d of 20 lines:\n%s", n, data)
	}
}
