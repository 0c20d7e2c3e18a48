package fsx

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/fsx"
	"github.com/aws/aws-sdk-go-v2/service/fsx/types"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/wire"
)

// AdoptFileSystem makes sure that a file system with the given ID exists: an SSD
// Lustre file system, or an empty one of another type for volumes.
func (s *Service) AdoptFileSystem(ctx context.Context, id string, kind types.FileSystemType, name, subnetID string, groups []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.adopt(ctx, id, kind, name, subnetID, groups)
}

func (s *Service) adopt(ctx context.Context, id string, kind types.FileSystemType, name, subnetID string, groups []string) error {
	if f, ok := s.fileSystems.Get(id); ok {
		if f.Description.FileSystemType != kind {
			return fmt.Errorf("adopt file system %s: it exists and is of type %s, not %s", id, f.Description.FileSystemType, kind)
		}
		return nil
	}
	d := s.describe(id, kind, nil)
	if name != "" {
		d.Tags = []types.Tag{{Key: aws.String("Name"), Value: &name}}
	}
	d.StorageType, d.StorageCapacity = types.StorageTypeSsd, aws.Int32(1200)
	switch kind {
	case types.FileSystemTypeLustre:
		d.FileSystemTypeVersion = aws.String("2.15")
		d.LustreConfiguration = &types.LustreFileSystemConfiguration{DeploymentType: types.LustreDeploymentTypeScratch2, MountName: aws.String(mountName()),
			DataCompressionType: types.DataCompressionTypeNone}
	case types.FileSystemTypeOpenzfs:
		d.OpenZFSConfiguration = &types.OpenZFSFileSystemConfiguration{DeploymentType: types.OpenZFSDeploymentTypeSingleAz1}
	case types.FileSystemTypeOntap:
		d.DNSName = nil // names are those of its storage virtual machines
		d.OntapConfiguration = &types.OntapFileSystemConfiguration{DeploymentType: types.OntapDeploymentTypeSingleAz1, PreferredSubnetId: &subnetID}
	default:
		return fmt.Errorf("adopt file system %s: no file systems of type %s", id, kind)
	}
	if _, err := s.create(ctx, fileSystem{Description: d, Groups: groups}, subnetID); err != nil {
		return fmt.Errorf("adopt file system %s: %w", id, err)
	}
	return nil
}

// AdoptVolume makes sure that an OpenZFS or ONTAP volume with the given ID
// exists, with a file system and what else it needs. Its path is /fsx.
func (s *Service) AdoptVolume(ctx context.Context, id string, kind types.VolumeType, name, subnetID string, groups []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.volumes.Get(id); ok {
		return nil
	}
	fsID, _ := strings.CutPrefix(id, "fsvol-")
	fsID = "fs-" + fsID
	fsKind := types.FileSystemTypeOpenzfs
	if kind == types.VolumeTypeOntap {
		fsKind = types.FileSystemTypeOntap
	}
	if err := s.adopt(ctx, fsID, fsKind, name, subnetID, groups); err != nil {
		return err
	}
	f, err := s.fileSystem(fsID)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.rootOf(fsID)+volumePath, 0o755); err != nil {
		return fmt.Errorf("adopt volume %s: %w", id, err)
	}
	v := types.Volume{
		VolumeId: &id, VolumeType: kind, FileSystemId: &fsID, Name: &name, CreationTime: f.Description.CreationTime, Lifecycle: types.VolumeLifecycleAvailable,
		ResourceARN: aws.String(s.id.ARN("fsx", "volume/"+fsID+"/"+id)),
	}
	if kind == types.VolumeTypeOpenzfs {
		v.OpenZFSConfiguration = &types.OpenZFSVolumeConfiguration{VolumePath: aws.String(volumePath)}
		return s.volumes.Put(id, v)
	}
	svmID := region.NewID("svm")
	dns := fmt.Sprintf("%s.%s.fsx.%s.amazonaws.com", svmID, fsID, s.id.Name())
	svm := types.StorageVirtualMachine{
		StorageVirtualMachineId: &svmID, FileSystemId: &fsID, Name: &name, CreationTime: f.Description.CreationTime,
		Lifecycle: types.StorageVirtualMachineLifecycleCreated, ResourceARN: aws.String(s.id.ARN("fsx", "storage-virtual-machine/"+fsID+"/"+svmID)),
		Endpoints: &types.SvmEndpoints{Nfs: &types.SvmEndpoint{DNSName: &dns}, Management: &types.SvmEndpoint{DNSName: &dns}},
	}
	if err := s.svms.Put(svmID, svm); err != nil {
		return err
	}
	v.OntapConfiguration = &types.OntapVolumeConfiguration{JunctionPath: aws.String(volumePath), StorageVirtualMachineId: &svmID, OntapVolumeType: types.OntapVolumeTypeRw}
	return s.volumes.Put(id, v)
}

// volumePath is where an adopted volume is in its file system.
const volumePath = "/fsx"

// DescribeVolumes lists volumes; only adopted ones exist.
func (s *Service) DescribeVolumes(_ context.Context, in *sdk.DescribeVolumesInput) (*sdk.DescribeVolumesOutput, error) {
	var found []types.Volume
	if len(in.VolumeIds) == 0 {
		found = s.volumes.All()
	}
	for _, id := range slices.Compact(slices.Sorted(slices.Values(in.VolumeIds))) {
		v, ok := s.volumes.Get(id)
		if !ok {
			return nil, wire.Errorf("VolumeNotFound", "Volume '%s' does not exist.", id)
		}
		found = append(found, v)
	}
	for _, f := range in.Filters {
		found = slices.DeleteFunc(found, func(v types.Volume) bool {
			if f.Name == types.VolumeFilterNameFileSystemId {
				return !slices.Contains(f.Values, aws.ToString(v.FileSystemId))
			}
			return v.OntapConfiguration == nil || !slices.Contains(f.Values, aws.ToString(v.OntapConfiguration.StorageVirtualMachineId))
		})
	}
	found, next, err := paged(found, func(v types.Volume) string { return *v.VolumeId }, in.NextToken, in.MaxResults)
	return &sdk.DescribeVolumesOutput{Volumes: found, NextToken: next}, err
}

// DescribeStorageVirtualMachines lists those of adopted volumes.
func (s *Service) DescribeStorageVirtualMachines(_ context.Context, in *sdk.DescribeStorageVirtualMachinesInput) (*sdk.DescribeStorageVirtualMachinesOutput, error) {
	var found []types.StorageVirtualMachine
	if len(in.StorageVirtualMachineIds) == 0 {
		found = s.svms.All()
	}
	for _, id := range slices.Compact(slices.Sorted(slices.Values(in.StorageVirtualMachineIds))) {
		v, ok := s.svms.Get(id)
		if !ok {
			return nil, wire.Errorf("StorageVirtualMachineNotFound", "Storage virtual machine '%s' does not exist.", id)
		}
		found = append(found, v)
	}
	for _, f := range in.Filters {
		found = slices.DeleteFunc(found, func(v types.StorageVirtualMachine) bool {
			return !slices.Contains(f.Values, aws.ToString(v.FileSystemId))
		})
	}
	found, next, err := paged(found, func(v types.StorageVirtualMachine) string { return *v.StorageVirtualMachineId }, in.NextToken, in.MaxResults)
	return &sdk.DescribeStorageVirtualMachinesOutput{StorageVirtualMachines: found, NextToken: next}, err
}
