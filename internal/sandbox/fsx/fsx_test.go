package fsx

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	sdk "github.com/aws/aws-sdk-go-v2/service/fsx"
	"github.com/aws/aws-sdk-go-v2/service/fsx/types"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/s3"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/wire"
)

var ctx = context.Background()

// fakeNetwork has one subnet.
type fakeNetwork struct{ eni map[string]bool }

func (n *fakeNetwork) DescribeSubnets(_ context.Context, in *ec2.DescribeSubnetsInput) (*ec2.DescribeSubnetsOutput, error) {
	if in.SubnetIds[0] != "subnet-0aaaaaaa" {
		return nil, wire.Errorf("InvalidSubnetID.NotFound", "The subnet ID '%s' does not exist", in.SubnetIds[0])
	}
	return &ec2.DescribeSubnetsOutput{Subnets: []ec2types.Subnet{{SubnetId: &in.SubnetIds[0], VpcId: aws.String("vpc-1"), AvailabilityZone: aws.String("us-east-1a")}}}, nil
}

func (n *fakeNetwork) CreateNetworkInterface(_ context.Context, in *ec2.CreateNetworkInterfaceInput) (*ec2.CreateNetworkInterfaceOutput, error) {
	if slices.Contains(in.Groups, "sg-none") {
		return nil, wire.Errorf("InvalidGroup.NotFound", "The security group 'sg-none' does not exist")
	}
	id := fmt.Sprintf("eni-%d", len(n.eni))
	n.eni[id] = true
	return &ec2.CreateNetworkInterfaceOutput{NetworkInterface: &ec2types.NetworkInterface{NetworkInterfaceId: &id}}, nil
}

func (n *fakeNetwork) DeleteNetworkInterface(_ context.Context, in *ec2.DeleteNetworkInterfaceInput) (*ec2.DeleteNetworkInterfaceOutput, error) {
	delete(n.eni, *in.NetworkInterfaceId)
	return &ec2.DeleteNetworkInterfaceOutput{}, nil
}

// world is a region's FSx and S3.
type world struct {
	*Service
	t   *testing.T
	s3  *s3.Service
	net *fakeNetwork
	dir string
	db  *store.DB
}

func newWorld(t *testing.T, dir string) *world {
	t.Helper()
	w := &world{t: t, dir: dir, net: &fakeNetwork{map[string]bool{}}}
	var err error
	if w.db, err = store.Open(filepath.Join(dir, "region.db")); err != nil {
		t.Fatal(err)
	}
	id := region.NewIdentity("", "")
	if w.s3, err = s3.New(w.db, id, filepath.Join(dir, "s3")); err != nil {
		t.Fatal(err)
	}
	if w.Service, err = New(w.db, id, filepath.Join(dir, "fsx"), w.net, w.s3); err != nil {
		t.Fatal(err)
	}
	if err := w.s3.AdoptBucket(ctx, "data", false); err != nil {
		t.Fatal(err)
	}
	w.Start(ctx)
	t.Cleanup(w.stop)
	return w
}

func (w *world) stop() {
	if w.db != nil {
		w.Close()
		_ = w.db.Close()
		w.db = nil
	}
}

func (w *world) put(key, body string, meta map[string]string) {
	w.t.Helper()
	if _, err := w.s3.Put(ctx, "data", key, strings.NewReader(body), meta); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) create() string {
	w.t.Helper()
	out, err := w.CreateFileSystem(ctx, &sdk.CreateFileSystemInput{FileSystemType: types.FileSystemTypeLustre, SubnetIds: []string{"subnet-0aaaaaaa"}, StorageCapacity: aws.Int32(1200),
		LustreConfiguration: &types.CreateFileSystemLustreConfiguration{DeploymentType: types.LustreDeploymentTypePersistent2, PerUnitStorageThroughput: aws.Int32(250)}})
	if err != nil {
		w.t.Fatal(err)
	}
	return *out.FileSystem.FileSystemId
}

func (w *world) associate(fsID, path, s3path string, batch bool, imports, exports []types.EventType) string {
	w.t.Helper()
	out, err := w.CreateDataRepositoryAssociation(ctx, &sdk.CreateDataRepositoryAssociationInput{
		FileSystemId: &fsID, FileSystemPath: &path, DataRepositoryPath: &s3path, BatchImportMetaDataOnCreate: &batch,
		S3: &types.S3DataRepositoryConfiguration{AutoImportPolicy: &types.AutoImportPolicy{Events: imports}, AutoExportPolicy: &types.AutoExportPolicy{Events: exports}}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.eventually("association is settled", func() bool {
		return w.dra(*out.Association.AssociationId).Lifecycle != types.DataRepositoryLifecycleCreating
	})
	return *out.Association.AssociationId
}

func (w *world) dra(id string) types.DataRepositoryAssociation {
	w.t.Helper()
	out, err := w.DescribeDataRepositoryAssociations(ctx, &sdk.DescribeDataRepositoryAssociationsInput{AssociationIds: []string{id}})
	if err != nil {
		w.t.Fatal(err)
	}
	return out.Associations[0]
}

// eventually waits until what another goroutine does has happened.
func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	for until := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(until) {
			w.t.Fatalf("never: %s", what)
		}
	}
}

func (w *world) file(fsID, path string) string {
	data, err := os.ReadFile(filepath.Join(w.rootOf(fsID), path))
	if err != nil {
		return "error: " + err.Error()
	}
	return string(data)
}

func (w *world) write(fsID, path, body string) {
	w.t.Helper()
	p := filepath.Join(w.rootOf(fsID), path)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(body), 0o640); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) object(key string) string {
	data, err := w.s3.Object(ctx, "data", key, "")
	if err != nil {
		return "error: " + code(err)
	}
	return string(data)
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to give files to others")
	}
}

func wantCode(t *testing.T, err error, want string) {
	t.Helper()
	if got := code(err); got != want {
		t.Errorf("error is %v, want %s", err, want)
	}
}

var all = types.EventTypeNew.Values()

func TestRegisterFitsTheModel(t *testing.T) {
	m, err := wire.NewService("fsx")
	if err != nil {
		t.Fatal(err)
	}
	newWorld(t, t.TempDir()).Register(m)
	if err := m.Compile(); err != nil {
		t.Error(err)
	}
}

func TestFileSystemLives(t *testing.T) {
	w := newWorld(t, t.TempDir())
	id := w.create()
	out, err := w.DescribeFileSystems(ctx, &sdk.DescribeFileSystemsInput{FileSystemIds: []string{id}})
	if err != nil {
		t.Fatal(err)
	}
	d := out.FileSystems[0]
	if d.Lifecycle != types.FileSystemLifecycleAvailable || *d.DNSName != id+".fsx.us-east-1.amazonaws.com" || len(*d.LustreConfiguration.MountName) != 8 ||
		*d.VpcId != "vpc-1" || len(d.NetworkInterfaceIds) != 1 || *d.FileSystemTypeVersion != "2.15" {
		t.Errorf("described as %+v", d)
	}
	if info, err := os.Stat(w.rootOf(id)); err != nil || info.Mode() != fs.ModeDir|0o755 {
		t.Errorf("root directory: %v, %v", info, err)
	}
	for name, want := range map[string]bool{*d.DNSName: true, strings.ToUpper(*d.DNSName) + ".": true, id: false, "fs-none.fsx.us-east-1.amazonaws.com": false, id + ".fsx.eu-west-1.amazonaws.com": false} {
		if got, ok := w.ByDNSName(name); ok != want || ok && got != id {
			t.Errorf("ByDNSName(%s): %s, %v", name, got, ok)
		}
	}
	if err := w.CheckMountName(id, *d.LustreConfiguration.MountName); err != nil {
		t.Error(err)
	}
	if err := w.CheckMountName(id, "fsx"); err == nil {
		t.Error("wrong mount name is accepted")
	}
	up, err := w.UpdateFileSystem(ctx, &sdk.UpdateFileSystemInput{FileSystemId: &id, StorageCapacity: aws.Int32(2400),
		LustreConfiguration: &types.UpdateFileSystemLustreConfiguration{DataCompressionType: types.DataCompressionTypeLz4}})
	if err != nil || *up.FileSystem.StorageCapacity != 2400 || up.FileSystem.LustreConfiguration.DataCompressionType != types.DataCompressionTypeLz4 {
		t.Errorf("updated to %+v, %v", up, err)
	}
	if _, err := w.TagResource(ctx, &sdk.TagResourceInput{ResourceARN: d.ResourceARN, Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}}); err != nil {
		t.Error(err)
	}
	if l, err := w.ListTagsForResource(ctx, &sdk.ListTagsForResourceInput{ResourceARN: d.ResourceARN}); err != nil || len(l.Tags) != 1 {
		t.Errorf("tags: %+v, %v", l, err)
	}
	del, err := w.DeleteFileSystem(ctx, &sdk.DeleteFileSystemInput{FileSystemId: &id})
	if err != nil || del.Lifecycle != types.FileSystemLifecycleDeleting || len(w.net.eni) != 0 {
		t.Errorf("deleted: %+v, %v; interfaces %v", del, err, w.net.eni)
	}
	_, err = w.DescribeFileSystems(ctx, &sdk.DescribeFileSystemsInput{FileSystemIds: []string{id}})
	wantCode(t, err, "FileSystemNotFound")
}

func TestRefusals(t *testing.T) {
	w := newWorld(t, t.TempDir())
	lustre := func(capacity int32, storage types.StorageType, c types.CreateFileSystemLustreConfiguration) sdk.CreateFileSystemInput {
		return sdk.CreateFileSystemInput{FileSystemType: types.FileSystemTypeLustre, SubnetIds: []string{"subnet-0aaaaaaa"}, StorageCapacity: &capacity, StorageType: storage, LustreConfiguration: &c}
	}
	for name, tt := range map[string]struct {
		in   sdk.CreateFileSystemInput
		want string
	}{
		"Windows":                             {sdk.CreateFileSystemInput{FileSystemType: types.FileSystemTypeWindows}, "UnsupportedOperation"},
		"odd capacity":                        {lustre(1300, "", types.CreateFileSystemLustreConfiguration{DeploymentType: types.LustreDeploymentTypeScratch2}), "BadRequest"},
		"scratch 1 in steps of 3600":          {lustre(4800, "", types.CreateFileSystemLustreConfiguration{}), "BadRequest"},
		"persistent without throughput":       {lustre(1200, "", types.CreateFileSystemLustreConfiguration{DeploymentType: types.LustreDeploymentTypePersistent1}), "BadRequest"},
		"throughput of another type":          {lustre(1200, "", types.CreateFileSystemLustreConfiguration{DeploymentType: types.LustreDeploymentTypePersistent2, PerUnitStorageThroughput: aws.Int32(50)}), "InvalidPerUnitStorageThroughput"},
		"throughput of a scratch file system": {lustre(1200, "", types.CreateFileSystemLustreConfiguration{DeploymentType: types.LustreDeploymentTypeScratch2, PerUnitStorageThroughput: aws.Int32(50)}), "InvalidPerUnitStorageThroughput"},
		"HDD in scratch":                      {lustre(6000, types.StorageTypeHdd, types.CreateFileSystemLustreConfiguration{DeploymentType: types.LustreDeploymentTypeScratch2}), "BadRequest"},
		"import from no bucket":               {lustre(1200, "", types.CreateFileSystemLustreConfiguration{ImportPath: aws.String("s3://none/x")}), "InvalidImportPath"},
		"export without import":               {lustre(1200, "", types.CreateFileSystemLustreConfiguration{ExportPath: aws.String("s3://data/x")}), "BadRequest"},
		"no such subnet":                      {sdk.CreateFileSystemInput{FileSystemType: types.FileSystemTypeLustre, SubnetIds: []string{"subnet-x"}, StorageCapacity: aws.Int32(1200)}, "InvalidNetworkSettings"},
		"no such group":                       {sdk.CreateFileSystemInput{FileSystemType: types.FileSystemTypeLustre, SubnetIds: []string{"subnet-0aaaaaaa"}, SecurityGroupIds: []string{"sg-none"}, StorageCapacity: aws.Int32(1200)}, "InvalidNetworkSettings"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.CreateFileSystem(ctx, &tt.in)
			wantCode(t, err, tt.want)
		})
	}
	_, err := w.DescribeBackups(ctx, &sdk.DescribeBackupsInput{BackupIds: []string{"backup-1"}})
	wantCode(t, err, "BackupNotFound")
	_, err = w.DescribeVolumes(ctx, &sdk.DescribeVolumesInput{VolumeIds: []string{"fsvol-1"}})
	wantCode(t, err, "VolumeNotFound")
	_, err = w.DescribeFileCaches(ctx, &sdk.DescribeFileCachesInput{FileCacheIds: []string{"fc-1"}})
	wantCode(t, err, "FileCacheNotFound")
	_, err = w.DescribeStorageVirtualMachines(ctx, &sdk.DescribeStorageVirtualMachinesInput{StorageVirtualMachineIds: []string{"svm-1"}})
	wantCode(t, err, "StorageVirtualMachineNotFound")

	id := w.create()
	w.associate(id, "/containers", "s3://data/containers", false, nil, nil)
	for name, in := range map[string]sdk.CreateDataRepositoryAssociationInput{
		"path below another":   {FileSystemPath: aws.String("/containers/x"), DataRepositoryPath: aws.String("s3://data/other")},
		"root above another":   {FileSystemPath: aws.String("/"), DataRepositoryPath: aws.String("s3://data/other")},
		"prefix above another": {FileSystemPath: aws.String("/y"), DataRepositoryPath: aws.String("s3://data")},
		"path that is no URI":  {FileSystemPath: aws.String("/y"), DataRepositoryPath: aws.String("data/y")},
		"path that leads out":  {FileSystemPath: aws.String("/y/../.."), DataRepositoryPath: aws.String("s3://data/y")},
	} {
		t.Run(name, func(t *testing.T) {
			in.FileSystemId = &id
			_, err := w.CreateDataRepositoryAssociation(ctx, &in)
			wantCode(t, err, "BadRequest")
		})
	}
}
