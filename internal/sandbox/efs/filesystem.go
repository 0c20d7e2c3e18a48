package efs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/efs"
	"github.com/aws/aws-sdk-go-v2/service/efs/types"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/wire"
)

// describe returns the description of a new file system.
func (s *Service) describe(id, token string, tags []types.Tag) types.FileSystemDescription {
	return types.FileSystemDescription{
		CreationTime: aws.Time(s.now().UTC().Truncate(time.Second)), CreationToken: &token, FileSystemId: &id,
		FileSystemArn: aws.String(s.id.ARN("elasticfilesystem", "file-system/"+id)), OwnerId: aws.String(s.id.Account()),
		LifeCycleState: types.LifeCycleStateAvailable, Name: nameOf(tags), Tags: tags,
		FileSystemProtection: &types.FileSystemProtectionDescription{ReplicationOverwriteProtection: types.ReplicationOverwriteProtectionEnabled},
	}
}

// add makes a file system's directory and row.
func (s *Service) add(f fileSystem) error {
	id := *f.Description.FileSystemId
	path := filepath.Join(s.dir, id)
	if err := os.MkdirAll(path, 0o755); err != nil {
		return fmt.Errorf("create file system %s: %w", id, err)
	}
	if err := os.Chmod(path, 0o755); err != nil { // whatever the umask
		return fmt.Errorf("create file system %s: %w", id, err)
	}
	if err := s.fileSystems.Put(id, f); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// CreateFileSystem makes a file system that is available at once.
func (s *Service) CreateFileSystem(_ context.Context, in *sdk.CreateFileSystemInput) (*sdk.CreateFileSystemOutput, error) {
	if in.CreationToken == nil {
		in.CreationToken = aws.String(region.Hex(32))
	}
	mode, throughput := in.PerformanceMode, in.ThroughputMode
	if mode == "" {
		mode = types.PerformanceModeGeneralPurpose
	}
	if throughput == "" {
		throughput = types.ThroughputModeBursting
	}
	if err := checkThroughput(throughput, in.ProvisionedThroughputInMibps); err != nil {
		return nil, err
	}
	if mode == types.PerformanceModeMaxIo && (throughput == types.ThroughputModeElastic || in.AvailabilityZoneName != nil) {
		return nil, wire.Errorf("BadRequest", "Performance mode maxIO is not supported with elastic throughput or One Zone storage.")
	}
	if in.KmsKeyId != nil && !aws.ToBool(in.Encrypted) {
		return nil, wire.Errorf("BadRequest", "KmsKeyId can only be specified when Encrypted is true.")
	}
	zone := aws.ToString(in.AvailabilityZoneName)
	if zone != "" && !slices.Contains(s.id.AZs(), zone) {
		return nil, wire.Errorf("UnsupportedAvailabilityZone", "One Zone storage is not supported in %s.", zone)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.fileSystems.All() {
		if aws.ToString(f.Description.CreationToken) == *in.CreationToken {
			return nil, &wire.Error{Code: "FileSystemAlreadyExists", Status: 409,
				Message: fmt.Sprintf("File system '%s' already exists with creation token '%s'", *f.Description.FileSystemId, *in.CreationToken),
				Fields:  map[string]string{"FileSystemId": *f.Description.FileSystemId}}
		}
	}
	d := s.describe(region.NewID("fs"), *in.CreationToken, in.Tags)
	d.PerformanceMode, d.ThroughputMode = mode, throughput
	d.ProvisionedThroughputInMibps = in.ProvisionedThroughputInMibps
	d.Encrypted = aws.Bool(aws.ToBool(in.Encrypted))
	if *d.Encrypted {
		d.KmsKeyId = in.KmsKeyId
		if d.KmsKeyId == nil {
			d.KmsKeyId = aws.String(s.id.ARN("kms", "alias/aws/elasticfilesystem"))
		}
	}
	backup := types.StatusDisabled
	if zone != "" {
		d.AvailabilityZoneName = &zone
		backup = types.StatusEnabled // EFS's default for One Zone
	}
	if in.Backup != nil {
		backup = types.StatusDisabled
		if *in.Backup {
			backup = types.StatusEnabled
		}
	}
	if err := s.add(fileSystem{Description: d, Backup: backup}); err != nil {
		return nil, err
	}
	out := sdk.CreateFileSystemOutput(output(s.shown(d)))
	out.LifeCycleState = types.LifeCycleStateCreating
	return &out, nil
}

func checkThroughput(mode types.ThroughputMode, provisioned *float64) error {
	switch {
	case mode == types.ThroughputModeProvisioned && provisioned == nil:
		return wire.Errorf("BadRequest", "ProvisionedThroughputInMibps is required when ThroughputMode is provisioned.")
	case mode != types.ThroughputModeProvisioned && provisioned != nil:
		return wire.Errorf("BadRequest", "ProvisionedThroughputInMibps can only be specified when ThroughputMode is provisioned.")
	}
	return nil
}

// shown completes a description with what changes by itself.
func (s *Service) shown(d types.FileSystemDescription) types.FileSystemDescription {
	d.NumberOfMountTargets = int32(len(s.targetsOf(*d.FileSystemId)))
	size, at := s.sizes.of(filepath.Join(s.dir, *d.FileSystemId), s.now())
	d.SizeInBytes = &types.FileSystemSize{Value: size, ValueInStandard: &size, ValueInIA: aws.Int64(0), ValueInArchive: aws.Int64(0), Timestamp: &at}
	return d
}

// DescribeFileSystems lists file systems: one, or those of a creation token, or all.
func (s *Service) DescribeFileSystems(_ context.Context, in *sdk.DescribeFileSystemsInput) (*sdk.DescribeFileSystemsOutput, error) {
	var found []types.FileSystemDescription
	if in.FileSystemId != nil {
		f, err := s.fileSystem(*in.FileSystemId)
		if err != nil {
			return nil, err
		}
		found = append(found, f.Description)
	} else {
		for _, f := range s.fileSystems.All() {
			if in.CreationToken == nil || *in.CreationToken == aws.ToString(f.Description.CreationToken) {
				found = append(found, f.Description)
			}
		}
	}
	found, next, err := paged(found, func(d types.FileSystemDescription) string { return *d.FileSystemId }, in.Marker, pageLimit(in.MaxItems))
	if err != nil {
		return nil, err
	}
	out := &sdk.DescribeFileSystemsOutput{Marker: in.Marker, NextMarker: next}
	for _, d := range found {
		out.FileSystems = append(out.FileSystems, s.shown(d))
	}
	return out, nil
}

// UpdateFileSystem changes the throughput mode.
func (s *Service) UpdateFileSystem(_ context.Context, in *sdk.UpdateFileSystemInput) (*sdk.UpdateFileSystemOutput, error) {
	f, err := s.change(in.FileSystemId, func(f *fileSystem) error {
		mode := in.ThroughputMode
		if mode == "" {
			mode = f.Description.ThroughputMode
		}
		if err := checkThroughput(mode, in.ProvisionedThroughputInMibps); err != nil {
			return err
		}
		f.Description.ThroughputMode, f.Description.ProvisionedThroughputInMibps = mode, in.ProvisionedThroughputInMibps
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := output(s.shown(f.Description))
	return &out, nil
}

func output(d types.FileSystemDescription) sdk.UpdateFileSystemOutput {
	return sdk.UpdateFileSystemOutput{
		CreationTime: d.CreationTime, CreationToken: d.CreationToken, FileSystemId: d.FileSystemId, LifeCycleState: d.LifeCycleState,
		NumberOfMountTargets: d.NumberOfMountTargets, OwnerId: d.OwnerId, PerformanceMode: d.PerformanceMode, SizeInBytes: d.SizeInBytes, Tags: d.Tags,
		AvailabilityZoneId: d.AvailabilityZoneId, AvailabilityZoneName: d.AvailabilityZoneName, Encrypted: d.Encrypted, FileSystemArn: d.FileSystemArn,
		FileSystemProtection: d.FileSystemProtection, KmsKeyId: d.KmsKeyId, Name: d.Name, ProvisionedThroughputInMibps: d.ProvisionedThroughputInMibps,
		ThroughputMode: d.ThroughputMode,
	}
}

// UpdateFileSystemProtection keeps the protection against being overwritten by
// replication.
func (s *Service) UpdateFileSystemProtection(_ context.Context, in *sdk.UpdateFileSystemProtectionInput) (*sdk.UpdateFileSystemProtectionOutput, error) {
	f, err := s.change(in.FileSystemId, func(f *fileSystem) error {
		if in.ReplicationOverwriteProtection != "" {
			f.Description.FileSystemProtection = &types.FileSystemProtectionDescription{ReplicationOverwriteProtection: in.ReplicationOverwriteProtection}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &sdk.UpdateFileSystemProtectionOutput{ReplicationOverwriteProtection: f.Description.FileSystemProtection.ReplicationOverwriteProtection}, nil
}

// change replaces a file system's row.
func (s *Service) change(id *string, fn func(*fileSystem) error) (fileSystem, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.fileSystem(aws.ToString(id)); err != nil {
		return fileSystem{}, err
	}
	return s.fileSystems.Update(bareID(*id), fn)
}

// DeleteFileSystem removes a file system without mount targets, and its files.
func (s *Service) DeleteFileSystem(_ context.Context, in *sdk.DeleteFileSystemInput) (*sdk.DeleteFileSystemOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.fileSystem(*in.FileSystemId)
	if err != nil {
		return nil, err
	}
	id := *f.Description.FileSystemId
	if len(s.targetsOf(id)) > 0 {
		return nil, &wire.Error{Code: "FileSystemInUse", Message: fmt.Sprintf("Cannot delete file system %s: it has mount targets. Delete them first.", id), Status: 409}
	}
	for _, p := range s.accessPoints.All() {
		if *p.FileSystemId == id {
			if err := s.accessPoints.Delete(*p.AccessPointId); err != nil {
				return nil, err
			}
		}
	}
	if err := s.fileSystems.Delete(id); err != nil {
		return nil, err
	}
	return &sdk.DeleteFileSystemOutput{}, s.discard(id)
}

// discard takes a file system's files out of sight and removes them later: there
// may be millions.
func (s *Service) discard(id string) error {
	to := filepath.Join(s.dir, trash, id)
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(s.dir, id), to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete file system %s: %w", id, err)
	}
	go func() { _ = os.RemoveAll(to) }() // what is left over goes at the next start
	return nil
}

// PutLifecycleConfiguration keeps the rules; nothing moves between storage classes.
func (s *Service) PutLifecycleConfiguration(_ context.Context, in *sdk.PutLifecycleConfigurationInput) (*sdk.PutLifecycleConfigurationOutput, error) {
	f, err := s.change(in.FileSystemId, func(f *fileSystem) error {
		f.Lifecycle = in.LifecyclePolicies
		return nil
	})
	return &sdk.PutLifecycleConfigurationOutput{LifecyclePolicies: f.Lifecycle}, err
}

// DescribeLifecycleConfiguration returns what PutLifecycleConfiguration kept.
func (s *Service) DescribeLifecycleConfiguration(_ context.Context, in *sdk.DescribeLifecycleConfigurationInput) (*sdk.DescribeLifecycleConfigurationOutput, error) {
	f, err := s.fileSystem(*in.FileSystemId)
	return &sdk.DescribeLifecycleConfigurationOutput{LifecyclePolicies: f.Lifecycle}, err
}

// PutBackupPolicy keeps the policy; the sandbox makes no backups.
func (s *Service) PutBackupPolicy(_ context.Context, in *sdk.PutBackupPolicyInput) (*sdk.PutBackupPolicyOutput, error) {
	f, err := s.change(in.FileSystemId, func(f *fileSystem) error {
		switch f.Backup = in.BackupPolicy.Status; f.Backup {
		case types.StatusEnabling:
			f.Backup = types.StatusEnabled
		case types.StatusDisabling:
			f.Backup = types.StatusDisabled
		}
		return nil
	})
	return &sdk.PutBackupPolicyOutput{BackupPolicy: &types.BackupPolicy{Status: f.Backup}}, err
}

// DescribeBackupPolicy returns what PutBackupPolicy kept.
func (s *Service) DescribeBackupPolicy(_ context.Context, in *sdk.DescribeBackupPolicyInput) (*sdk.DescribeBackupPolicyOutput, error) {
	f, err := s.fileSystem(*in.FileSystemId)
	return &sdk.DescribeBackupPolicyOutput{BackupPolicy: &types.BackupPolicy{Status: f.Backup}}, err
}

// PutFileSystemPolicy keeps the policy; mounts in the sandbox are not judged by it.
func (s *Service) PutFileSystemPolicy(_ context.Context, in *sdk.PutFileSystemPolicyInput) (*sdk.PutFileSystemPolicyOutput, error) {
	f, err := s.change(in.FileSystemId, func(f *fileSystem) error {
		f.Policy = aws.ToString(in.Policy)
		return nil
	})
	return &sdk.PutFileSystemPolicyOutput{FileSystemId: f.Description.FileSystemId, Policy: &f.Policy}, err
}

// DescribeFileSystemPolicy returns what PutFileSystemPolicy kept.
func (s *Service) DescribeFileSystemPolicy(_ context.Context, in *sdk.DescribeFileSystemPolicyInput) (*sdk.DescribeFileSystemPolicyOutput, error) {
	f, err := s.fileSystem(*in.FileSystemId)
	if err != nil {
		return nil, err
	}
	if f.Policy == "" {
		return nil, &wire.Error{Code: "PolicyNotFound", Message: "The default file system policy is in effect for " + bareID(*in.FileSystemId), Status: 404}
	}
	return &sdk.DescribeFileSystemPolicyOutput{FileSystemId: f.Description.FileSystemId, Policy: &f.Policy}, nil
}

// DeleteFileSystemPolicy forgets the policy.
func (s *Service) DeleteFileSystemPolicy(_ context.Context, in *sdk.DeleteFileSystemPolicyInput) (*sdk.DeleteFileSystemPolicyOutput, error) {
	_, err := s.change(in.FileSystemId, func(f *fileSystem) error {
		f.Policy = ""
		return nil
	})
	return &sdk.DeleteFileSystemPolicyOutput{}, err
}

// sizes remembers how much the file systems hold: to know it takes a walk.
type sizes struct {
	mu    sync.Mutex
	known map[string]measurement
}

type measurement struct {
	size int64
	at   time.Time
}

const (
	emptySize    = 6 << 10 // what EFS meters for an empty file system
	measureAgain = time.Minute
	measureFor   = 50 * time.Millisecond // a larger file system keeps its last size
)

func (z *sizes) of(dir string, now time.Time) (size int64, at time.Time) {
	z.mu.Lock()
	defer z.mu.Unlock()
	m, ok := z.known[dir]
	if ok && now.Sub(m.at) < measureAgain {
		return m.size, m.at
	}
	if total, ok := measure(dir, time.Now().Add(measureFor)); ok || m.size == 0 {
		m.size = total
	}
	m.at = now.UTC()
	if z.known == nil {
		z.known = map[string]measurement{}
	}
	z.known[dir] = m
	return m.size, m.at
}

func measure(dir string, until time.Time) (total int64, whole bool) {
	late := errors.New("takes too long")
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // went while we looked
		}
		if time.Now().After(until) {
			return late
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			total += info.Size()
		}
		return nil
	})
	return emptySize + total, err == nil
}
