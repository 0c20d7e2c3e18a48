package fsx

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	sdk "github.com/aws/aws-sdk-go-v2/service/fsx"
	"github.com/aws/aws-sdk-go-v2/service/fsx/types"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/wire"
)

// describe returns the description of a new file system.
func (s *Service) describe(id string, kind types.FileSystemType, tags []types.Tag) types.FileSystem {
	return types.FileSystem{
		FileSystemId: &id, FileSystemType: kind, CreationTime: aws.Time(s.now().UTC()), OwnerId: aws.String(s.id.Account()),
		ResourceARN: aws.String(s.id.ARN("fsx", "file-system/"+id)), DNSName: aws.String(fmt.Sprintf("%s.fsx.%s.amazonaws.com", id, s.id.Name())),
		Lifecycle: types.FileSystemLifecycleAvailable, NetworkType: types.NetworkTypeIpv4, Tags: tags,
	}
}

// create makes a file system in a subnet: first its row, then its directory and
// its network interface.
func (s *Service) create(ctx context.Context, f fileSystem, subnetID string) (fileSystem, error) {
	out, err := s.net.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: []string{subnetID}})
	if err != nil && strings.HasPrefix(code(err), "InvalidSubnet") {
		return f, invalidNetwork("The subnet ID '%s' does not exist", subnetID)
	}
	if err != nil {
		return f, fmt.Errorf("subnet of file system: %w", err)
	}
	f.Description.SubnetIds, f.Description.VpcId = []string{subnetID}, out.Subnets[0].VpcId
	if err := s.fileSystems.Put(*f.Description.FileSystemId, f); err != nil {
		return f, err
	}
	return s.place(ctx, f)
}

// place gives a file system its directory and network interface, or removes its
// row when that cannot be. It may be called again after a process died in it.
func (s *Service) place(ctx context.Context, f fileSystem) (fileSystem, error) {
	d := f.Description
	id := *d.FileSystemId
	err := s.makeRoot(id)
	var out *ec2.CreateNetworkInterfaceOutput
	if err == nil {
		out, err = s.net.CreateNetworkInterface(ctx, &ec2.CreateNetworkInterfaceInput{
			SubnetId: &d.SubnetIds[0], Groups: f.Groups, ClientToken: &id, Description: aws.String("Created by Amazon FSx for " + id),
		})
		if c := code(err); strings.HasPrefix(c, "Invalid") || strings.HasPrefix(c, "Insufficient") {
			err = invalidNetwork("%v", err)
		}
	}
	if err != nil {
		return f, errors.Join(err, s.fileSystems.Delete(id), s.discard(id))
	}
	return s.fileSystems.Update(id, func(f *fileSystem) error {
		f.Description.NetworkInterfaceIds = []string{aws.ToString(out.NetworkInterface.NetworkInterfaceId)}
		return nil
	})
}

// makeRoot makes the directory that is the root of a file system.
func (s *Service) makeRoot(id string) error {
	path := s.rootOf(id)
	if err := os.MkdirAll(path, 0o755); err != nil {
		return fmt.Errorf("create file system %s: %w", id, err)
	}
	if err := os.Chmod(path, 0o755); err != nil { // whatever the umask
		return fmt.Errorf("create file system %s: %w", id, err)
	}
	return nil
}

func invalidNetwork(format string, args ...any) error {
	return wire.Errorf("InvalidNetworkSettings", format, args...)
}

// unplace takes the network interfaces of a file system away.
func (s *Service) unplace(ctx context.Context, d types.FileSystem) error {
	for _, id := range d.NetworkInterfaceIds {
		_, err := s.net.DeleteNetworkInterface(ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: &id})
		if err != nil && code(err) != "InvalidNetworkInterfaceID.NotFound" {
			return fmt.Errorf("network interface of %s: %w", *d.FileSystemId, err)
		}
	}
	return nil
}

// CreateFileSystem makes a Lustre file system. It is available at once, unless it
// has objects to import.
func (s *Service) CreateFileSystem(ctx context.Context, in *sdk.CreateFileSystemInput) (*sdk.CreateFileSystemOutput, error) {
	if in.FileSystemType != types.FileSystemTypeLustre {
		return nil, wire.Errorf("UnsupportedOperation", "The sandbox creates file systems of type LUSTRE only, not %s.", in.FileSystemType)
	}
	config, err := s.lustre(in)
	if err != nil {
		return nil, err
	}
	if len(in.SubnetIds) != 1 {
		return nil, invalidNetwork("Exactly one subnet ID must be provided for Lustre file systems.")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if token := aws.ToString(in.ClientRequestToken); token != "" {
		for _, f := range s.fileSystems.All() {
			if f.Token == token {
				return &sdk.CreateFileSystemOutput{FileSystem: &f.Description}, nil
			}
		}
	}
	d := s.describe(region.NewID("fs"), in.FileSystemType, in.Tags)
	d.LustreConfiguration = config
	d.StorageCapacity = in.StorageCapacity
	if d.StorageType = in.StorageType; d.StorageType == "" {
		d.StorageType = types.StorageTypeSsd
	}
	if d.FileSystemTypeVersion = in.FileSystemTypeVersion; d.FileSystemTypeVersion == nil {
		d.FileSystemTypeVersion = aws.String(defaultVersion(config.DeploymentType))
	}
	if d.KmsKeyId = in.KmsKeyId; d.KmsKeyId == nil && strings.HasPrefix(string(config.DeploymentType), "PERSISTENT") {
		d.KmsKeyId = aws.String(s.id.ARN("kms", "alias/aws/fsx"))
	}
	f := fileSystem{Description: d, Token: aws.ToString(in.ClientRequestToken), Groups: in.SecurityGroupIds}
	repo, imports := f.repository()
	if imports {
		f.Description.Lifecycle = types.FileSystemLifecycleCreating
	}
	if f, err = s.create(ctx, f, in.SubnetIds[0]); err != nil {
		return nil, err
	}
	if imports {
		s.connect(repo)
	}
	d = f.Description
	d.Lifecycle = types.FileSystemLifecycleCreating
	return &sdk.CreateFileSystemOutput{FileSystem: &d}, nil
}

// mountName returns a random name of the form that FSx gives.
func mountName() string {
	const letters = "abcdefghijklmnopqrstuvwxyz234567"
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	for i := range b {
		b[i] = letters[int(b[i])%len(letters)]
	}
	return string(b)
}

// DescribeFileSystems lists file systems: those asked for, or all.
func (s *Service) DescribeFileSystems(_ context.Context, in *sdk.DescribeFileSystemsInput) (*sdk.DescribeFileSystemsOutput, error) {
	var found []types.FileSystem
	if len(in.FileSystemIds) == 0 {
		for _, f := range s.fileSystems.All() {
			found = append(found, f.Description)
		}
	}
	for _, id := range slices.Compact(slices.Sorted(slices.Values(in.FileSystemIds))) {
		f, err := s.fileSystem(id)
		if err != nil {
			return nil, err
		}
		found = append(found, f.Description)
	}
	found, next, err := paged(found, func(d types.FileSystem) string { return *d.FileSystemId }, in.NextToken, in.MaxResults)
	return &sdk.DescribeFileSystemsOutput{FileSystems: found, NextToken: next}, err
}

// UpdateFileSystem changes settings and capacity of a Lustre file system, at once.
func (s *Service) UpdateFileSystem(_ context.Context, in *sdk.UpdateFileSystemInput) (*sdk.UpdateFileSystemOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.fileSystem(*in.FileSystemId)
	if err != nil {
		return nil, err
	}
	if f.Description.FileSystemType != types.FileSystemTypeLustre {
		return nil, wire.Errorf("UnsupportedOperation", "The sandbox changes file systems of type LUSTRE only.")
	}
	f, err = s.fileSystems.Update(*in.FileSystemId, func(f *fileSystem) error { return f.update(in) })
	if err != nil {
		return nil, err
	}
	if repo, ok := f.repository(); ok {
		s.disconnect(repo.id)
		s.connect(repo)
	}
	return &sdk.UpdateFileSystemOutput{FileSystem: &f.Description}, nil
}

// DeleteFileSystem removes a file system, its associations and its files.
func (s *Service) DeleteFileSystem(ctx context.Context, in *sdk.DeleteFileSystemInput) (*sdk.DeleteFileSystemOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := *in.FileSystemId
	f, err := s.fileSystem(id)
	if err != nil {
		return nil, err
	}
	for _, v := range s.volumes.All() {
		if aws.ToString(v.FileSystemId) == id {
			return nil, badRequest("The file system %s has volumes. Delete them first.", id)
		}
	}
	for _, a := range s.associationsOf(id) {
		if err := s.dropAssociation(*a.Description.AssociationId); err != nil {
			return nil, err
		}
	}
	s.disconnect(id)
	if err := s.forgetSynced(id); err != nil {
		return nil, err
	}
	if err := s.unplace(ctx, f.Description); err != nil {
		return nil, err
	}
	if err := s.fileSystems.Delete(id); err != nil {
		return nil, err
	}
	out := &sdk.DeleteFileSystemOutput{FileSystemId: &id, Lifecycle: types.FileSystemLifecycleDeleting}
	if f.Description.FileSystemType == types.FileSystemTypeLustre {
		out.LustreResponse = &types.DeleteFileSystemLustreResponse{}
	}
	return out, s.discard(id)
}

// discard takes a file system's files out of sight and removes them later: there
// may be millions.
func (s *Service) discard(id string) error {
	to := filepath.Join(s.dir, trash, id+"."+s.now().UTC().Format(time.RFC3339Nano))
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(s.dir, id), to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete file system %s: %w", id, err)
	}
	s.busy.Go(func() { _ = os.RemoveAll(to) }) // what is left over goes at the next start
	return nil
}

// CreateFileSystemFromBackup finds no backup: the sandbox makes none.
func (s *Service) CreateFileSystemFromBackup(_ context.Context, in *sdk.CreateFileSystemFromBackupInput) (*sdk.CreateFileSystemFromBackupOutput, error) {
	return nil, backupNotFound(*in.BackupId)
}

func backupNotFound(id string) error {
	return wire.Errorf("BackupNotFound", "Backup '%s' does not exist.", id)
}

// DescribeBackups lists no backups: the sandbox makes none.
func (s *Service) DescribeBackups(_ context.Context, in *sdk.DescribeBackupsInput) (*sdk.DescribeBackupsOutput, error) {
	if len(in.BackupIds) > 0 {
		return nil, backupNotFound(in.BackupIds[0])
	}
	return &sdk.DescribeBackupsOutput{}, nil
}

// DescribeFileCaches lists no file caches: the sandbox has none.
func (s *Service) DescribeFileCaches(_ context.Context, in *sdk.DescribeFileCachesInput) (*sdk.DescribeFileCachesOutput, error) {
	if len(in.FileCacheIds) > 0 {
		return nil, wire.Errorf("FileCacheNotFound", "File cache '%s' does not exist.", in.FileCacheIds[0])
	}
	return &sdk.DescribeFileCachesOutput{}, nil
}
