package storage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/fsx"
	fsxtypes "github.com/aws/aws-sdk-go-v2/service/fsx/types"

	"pcluster/internal/config"
	"pcluster/internal/node/spec"
)

// CloudFormation is the part of it that finds the stack's own file systems.
type CloudFormation interface {
	DescribeStackResource(context.Context, *cloudformation.DescribeStackResourceInput, ...func(*cloudformation.Options)) (*cloudformation.DescribeStackResourceOutput, error)
}

// FSx is the part of it that tells how a file system is mounted.
type FSx interface {
	DescribeFileSystems(context.Context, *fsx.DescribeFileSystemsInput, ...func(*fsx.Options)) (*fsx.DescribeFileSystemsOutput, error)
	DescribeVolumes(context.Context, *fsx.DescribeVolumesInput, ...func(*fsx.Options)) (*fsx.DescribeVolumesOutput, error)
	DescribeStorageVirtualMachines(context.Context, *fsx.DescribeStorageVirtualMachinesInput, ...func(*fsx.Options)) (*fsx.DescribeStorageVirtualMachinesOutput, error)
	DescribeFileCaches(context.Context, *fsx.DescribeFileCachesInput, ...func(*fsx.Options)) (*fsx.DescribeFileCachesOutput, error)
}

// A Resolver finds out what the entries of a cluster file are. Only the head node
// has the permissions that it needs.
type Resolver struct {
	CloudFormation CloudFormation
	FSx            FSx
	Stack          string            // name or ID
	Managed        map[string]string // logical IDs by entry name, see spec.Node.Storage
}

// poll is how often a resource in the making is looked at: creating takes EFS
// seconds and FSx minutes.
const poll = 500 * time.Millisecond

// Declared returns the entry for one SharedStorage section as far as the file says it.
func Declared(s *config.SharedStorage) Entry {
	e := Entry{Name: s.Name, Type: s.StorageType, Dir: Absolute(s.MountDir)}
	switch s.StorageType {
	case config.Ebs:
		if id := s.ExistingID(); id != "" {
			e.Volumes = []string{id}
		}
		if s.EbsSettings != nil && s.EbsSettings.Raid != nil {
			e.RaidLevel = &s.EbsSettings.Raid.Type
		}
	case config.Efs:
		if f := s.EfsSettings; f != nil {
			e.TLS, e.IAM, e.AccessPoint = f.EncryptionInTransit, f.IamAuthorization, f.AccessPointId
		}
		fallthrough
	default:
		e.FileSystem = s.ExistingID()
	}
	return e
}

// Internal returns the file system of the cluster's own shared directories.
func (r *Resolver) Internal(ctx context.Context) (string, error) {
	ids, err := r.physicalIDs(ctx, spec.InternalStorage)
	if err != nil {
		return "", fmt.Errorf("Failed to mount EFS %s: %w", spec.InternalStorage, err)
	}
	return ids[0], nil
}

// Resolve returns the entry for one SharedStorage section. It waits until a
// managed file system exists, or ctx ends.
func (r *Resolver) Resolve(ctx context.Context, s *config.SharedStorage) (Entry, error) {
	e := Declared(s)
	if s.Managed() {
		ids, err := r.physicalIDs(ctx, s.Name)
		if err != nil {
			return e, fmt.Errorf("Failed to mount %s %s: %w", e.kind(), s.Name, err)
		}
		if e.FromHead() {
			e.Volumes = ids
		} else {
			e.FileSystem = ids[0]
		}
	}
	var err error
	switch s.StorageType {
	case config.Ebs, config.Efs:
	case config.FsxLustre:
		err = r.lustre(ctx, &e)
	case config.FileCache:
		err = r.fileCache(ctx, &e)
	case config.FsxOntap, config.FsxOpenZfs:
		err = r.volume(ctx, &e)
	default:
		err = fmt.Errorf("unknown storage type %q", s.StorageType)
	}
	if err != nil {
		return e, fmt.Errorf("Failed to mount %s %s: %w", e.kind(), s.Name, err)
	}
	return e, nil
}

// physicalIDs waits for the stack's resources of a managed entry.
func (r *Resolver) physicalIDs(ctx context.Context, name string) ([]string, error) {
	logical, ok := r.Managed[name]
	if !ok {
		return nil, errors.New("the stack has no resource for it")
	}
	var ids []string
	for _, id := range strings.Split(logical, ",") {
		physical, err := r.physicalID(ctx, id)
		if err != nil {
			return nil, err
		}
		ids = append(ids, physical)
	}
	return ids, nil
}

func (r *Resolver) physicalID(ctx context.Context, logical string) (string, error) {
	for {
		out, err := r.CloudFormation.DescribeStackResource(ctx, &cloudformation.DescribeStackResourceInput{StackName: &r.Stack, LogicalResourceId: &logical})
		if err == nil {
			d := out.StackResourceDetail
			switch status := string(d.ResourceStatus); {
			case strings.HasSuffix(status, "_COMPLETE") && aws.ToString(d.PhysicalResourceId) != "":
				return *d.PhysicalResourceId, nil
			case strings.HasSuffix(status, "_FAILED"):
				return "", fmt.Errorf("the stack could not make %s: %s", logical, aws.ToString(d.ResourceStatusReason))
			}
		}
		select {
		case <-ctx.Done():
			// CloudFormation knows a resource only from its first event on, so an
			// error may have been "not yet".
			return "", fmt.Errorf("%s of the stack was not complete in time: %w", logical, errors.Join(ctx.Err(), err))
		case <-time.After(poll):
		}
	}
}

// lustre fills in how a Lustre file system is mounted, and waits until it can be.
func (r *Resolver) lustre(ctx context.Context, e *Entry) error {
	for {
		out, err := r.FSx.DescribeFileSystems(ctx, &fsx.DescribeFileSystemsInput{FileSystemIds: []string{e.FileSystem}})
		if err != nil {
			return err
		}
		if len(out.FileSystems) == 0 {
			return fmt.Errorf("file system %s does not exist", e.FileSystem)
		}
		fs := out.FileSystems[0]
		switch {
		case fs.Lifecycle == fsxtypes.FileSystemLifecycleFailed:
			return fmt.Errorf("file system %s failed", e.FileSystem)
		case fs.LustreConfiguration == nil:
			return fmt.Errorf("file system %s is no Lustre file system", e.FileSystem)
		case fs.Lifecycle != fsxtypes.FileSystemLifecycleCreating:
			e.DNSName, e.MountName = aws.ToString(fs.DNSName), aws.ToString(fs.LustreConfiguration.MountName)
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("file system %s was not available in time: %w", e.FileSystem, ctx.Err())
		case <-time.After(poll):
		}
	}
}

func (r *Resolver) fileCache(ctx context.Context, e *Entry) error {
	out, err := r.FSx.DescribeFileCaches(ctx, &fsx.DescribeFileCachesInput{FileCacheIds: []string{e.FileSystem}})
	if err != nil {
		return err
	}
	if len(out.FileCaches) == 0 || out.FileCaches[0].LustreConfiguration == nil {
		return fmt.Errorf("file cache %s does not exist", e.FileSystem)
	}
	e.DNSName, e.MountName = aws.ToString(out.FileCaches[0].DNSName), aws.ToString(out.FileCaches[0].LustreConfiguration.MountName)
	return nil
}

// volume fills in how a volume of ONTAP or OpenZFS is mounted.
func (r *Resolver) volume(ctx context.Context, e *Entry) error {
	out, err := r.FSx.DescribeVolumes(ctx, &fsx.DescribeVolumesInput{VolumeIds: []string{e.FileSystem}})
	if err != nil {
		return err
	}
	if len(out.Volumes) == 0 {
		return fmt.Errorf("volume %s does not exist", e.FileSystem)
	}
	v := out.Volumes[0]
	if v.OntapConfiguration != nil {
		e.Path = aws.ToString(v.OntapConfiguration.JunctionPath)
		svms, err := r.FSx.DescribeStorageVirtualMachines(ctx, &fsx.DescribeStorageVirtualMachinesInput{
			StorageVirtualMachineIds: []string{aws.ToString(v.OntapConfiguration.StorageVirtualMachineId)},
		})
		if err != nil {
			return err
		}
		if len(svms.StorageVirtualMachines) == 0 || svms.StorageVirtualMachines[0].Endpoints == nil || svms.StorageVirtualMachines[0].Endpoints.Nfs == nil {
			return fmt.Errorf("volume %s has no NFS address", e.FileSystem)
		}
		e.DNSName = aws.ToString(svms.StorageVirtualMachines[0].Endpoints.Nfs.DNSName)
		return nil
	}
	if v.OpenZFSConfiguration == nil {
		return fmt.Errorf("volume %s is neither of ONTAP nor of OpenZFS", e.FileSystem)
	}
	e.Path = aws.ToString(v.OpenZFSConfiguration.VolumePath)
	fss, err := r.FSx.DescribeFileSystems(ctx, &fsx.DescribeFileSystemsInput{FileSystemIds: []string{aws.ToString(v.FileSystemId)}})
	if err != nil {
		return err
	}
	if len(fss.FileSystems) == 0 {
		return fmt.Errorf("file system %s of the volume does not exist", aws.ToString(v.FileSystemId))
	}
	e.DNSName = aws.ToString(fss.FileSystems[0].DNSName)
	return nil
}
