package fsx

import (
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/fsx"
	"github.com/aws/aws-sdk-go-v2/service/fsx/types"

	"pcluster/internal/sandbox/wire"
)

// throughputs are the values of PerUnitStorageThroughput that a deployment type
// and storage type allow.
var throughputs = map[types.LustreDeploymentType]map[types.StorageType][]int32{
	types.LustreDeploymentTypePersistent1: {types.StorageTypeSsd: {50, 100, 200}, types.StorageTypeHdd: {12, 40}},
	types.LustreDeploymentTypePersistent2: {types.StorageTypeSsd: {125, 250, 500, 1000}},
}

// lustre checks a request for a Lustre file system and returns its configuration.
func (s *Service) lustre(in *sdk.CreateFileSystemInput) (*types.LustreFileSystemConfiguration, error) {
	c := in.LustreConfiguration
	if c == nil {
		c = &types.CreateFileSystemLustreConfiguration{}
	}
	kind, storage := c.DeploymentType, in.StorageType
	if kind == "" {
		kind = types.LustreDeploymentTypeScratch1
	}
	if storage == "" {
		storage = types.StorageTypeSsd
	}
	if storage == types.StorageTypeIntelligentTiering {
		return nil, wire.Errorf("UnsupportedOperation", "The sandbox has no Lustre file systems with storage type %s.", storage)
	}
	persistent := strings.HasPrefix(string(kind), "PERSISTENT")
	switch allowed := throughputs[kind][storage]; {
	case !persistent && c.PerUnitStorageThroughput != nil:
		return nil, wire.Errorf("InvalidPerUnitStorageThroughput", "PerUnitStorageThroughput is not supported for deployment type %s.", kind)
	case storage == types.StorageTypeHdd && kind != types.LustreDeploymentTypePersistent1:
		return nil, badRequest("Storage type HDD is supported for deployment type PERSISTENT_1 only.")
	case persistent && c.PerUnitStorageThroughput == nil:
		return nil, badRequest("PerUnitStorageThroughput is required for deployment type %s.", kind)
	case persistent && !slices.Contains(allowed, *c.PerUnitStorageThroughput):
		return nil, wire.Errorf("InvalidPerUnitStorageThroughput", "Valid values of PerUnitStorageThroughput for deployment type %s and storage type %s are %v, not %d.", kind, storage, allowed, *c.PerUnitStorageThroughput)
	case !persistent && in.KmsKeyId != nil:
		return nil, badRequest("KmsKeyId is supported for persistent deployment types only.")
	}
	if err := checkCapacity(kind, storage, aws.ToInt32(c.PerUnitStorageThroughput), in.StorageCapacity); err != nil {
		return nil, err
	}
	repo, err := s.ownRepository(kind, c)
	if err != nil {
		return nil, err
	}
	out := &types.LustreFileSystemConfiguration{
		DeploymentType: kind, MountName: aws.String(mountName()), PerUnitStorageThroughput: c.PerUnitStorageThroughput,
		DataCompressionType: c.DataCompressionType, DriveCacheType: c.DriveCacheType, WeeklyMaintenanceStartTime: c.WeeklyMaintenanceStartTime,
		DataRepositoryConfiguration: repo, RootSquashConfiguration: c.RootSquashConfiguration,
		CopyTagsToBackups: aws.Bool(aws.ToBool(c.CopyTagsToBackups)), EfaEnabled: aws.Bool(aws.ToBool(c.EfaEnabled)),
		LogConfiguration: &types.LustreLogConfiguration{Level: types.LustreAccessAuditLogLevelDisabled},
	}
	if kind == types.LustreDeploymentTypeScratch1 {
		out.MountName = aws.String("fsx")
	}
	if out.DataCompressionType == "" {
		out.DataCompressionType = types.DataCompressionTypeNone
	}
	if out.WeeklyMaintenanceStartTime == nil {
		out.WeeklyMaintenanceStartTime = aws.String("7:06:00")
	}
	if l := c.LogConfiguration; l != nil {
		out.LogConfiguration = &types.LustreLogConfiguration{Level: l.Level, Destination: l.Destination}
	}
	if persistent {
		out.AutomaticBackupRetentionDays = aws.Int32(aws.ToInt32(c.AutomaticBackupRetentionDays))
		out.DailyAutomaticBackupStartTime = c.DailyAutomaticBackupStartTime
	} else if aws.ToInt32(c.AutomaticBackupRetentionDays) > 0 {
		return nil, badRequest("Automatic backups are supported for persistent deployment types only.")
	}
	if m := c.MetadataConfiguration; m != nil {
		out.MetadataConfiguration = &types.FileSystemLustreMetadataConfiguration{Mode: m.Mode, Iops: m.Iops}
	}
	return out, nil
}

// checkCapacity judges a storage capacity in GiB.
func checkCapacity(kind types.LustreDeploymentType, storage types.StorageType, throughput int32, capacity *int32) error {
	if capacity == nil {
		return badRequest("StorageCapacity is required.")
	}
	n, step, first := *capacity, int32(2400), []int32{1200}
	switch {
	case kind == types.LustreDeploymentTypeScratch1:
		step, first = 3600, []int32{1200, 2400}
	case storage == types.StorageTypeHdd && throughput == 12:
		step, first = 6000, nil
	case storage == types.StorageTypeHdd:
		step, first = 1800, nil
	}
	if n > 0 && (n%step == 0 || slices.Contains(first, n)) {
		return nil
	}
	return badRequest("Invalid storage capacity %d GiB for deployment type %s and storage type %s: valid values are %s.", n, kind, storage, steps(first, step))
}

func steps(first []int32, step int32) string {
	var b strings.Builder
	for _, n := range first {
		fmt.Fprintf(&b, "%d, ", n)
	}
	fmt.Fprintf(&b, "and multiples of %d", step)
	return b.String()
}

func defaultVersion(kind types.LustreDeploymentType) string {
	if kind == types.LustreDeploymentTypePersistent2 {
		return "2.15"
	}
	return "2.10"
}

// ownRepository checks the repository that a file system itself is linked to, and
// returns nil when there is none.
func (s *Service) ownRepository(kind types.LustreDeploymentType, c *types.CreateFileSystemLustreConfiguration) (*types.DataRepositoryConfiguration, error) {
	if c.ImportPath == nil {
		if c.ExportPath != nil || c.ImportedFileChunkSize != nil || c.AutoImportPolicy != "" && c.AutoImportPolicy != types.AutoImportPolicyTypeNone {
			return nil, badRequest("ExportPath, ImportedFileChunkSize and AutoImportPolicy need an ImportPath.")
		}
		return nil, nil
	}
	if kind == types.LustreDeploymentTypePersistent2 {
		return nil, badRequest("ImportPath is not supported for deployment type PERSISTENT_2: create a data repository association.")
	}
	bucket, prefix, ok := parseS3Path(*c.ImportPath)
	if !ok || !s.objects.HasBucket(bucket) {
		return nil, wire.Errorf("InvalidImportPath", "The import path %s is not valid: it must be the S3 URI of a bucket that exists.", *c.ImportPath)
	}
	out := &types.DataRepositoryConfiguration{
		ImportPath: c.ImportPath, ExportPath: c.ExportPath, AutoImportPolicy: c.AutoImportPolicy, ImportedFileChunkSize: c.ImportedFileChunkSize,
		Lifecycle: types.DataRepositoryLifecycleAvailable,
	}
	if out.AutoImportPolicy == "" {
		out.AutoImportPolicy = types.AutoImportPolicyTypeNone
	}
	if out.ImportedFileChunkSize == nil {
		out.ImportedFileChunkSize = aws.Int32(1024)
	}
	if out.ExportPath == nil {
		out.ExportPath = aws.String(fmt.Sprintf("s3://%s/%sFSxLustre%s", bucket, prefix, s.now().UTC().Format("20060102T150405Z")))
	} else if b, _, ok := parseS3Path(*c.ExportPath); !ok || b != bucket {
		return nil, wire.Errorf("InvalidExportPath", "The export path %s is not valid: it must be in the bucket of the import path.", *c.ExportPath)
	}
	return out, nil
}

// update applies a request to change a file system.
func (f *fileSystem) update(in *sdk.UpdateFileSystemInput) error {
	d := &f.Description
	config := *d.LustreConfiguration
	if in.StorageCapacity != nil {
		if *in.StorageCapacity <= aws.ToInt32(d.StorageCapacity) {
			return badRequest("The new storage capacity must be larger than the current one, %d GiB.", aws.ToInt32(d.StorageCapacity))
		}
		if err := checkCapacity(config.DeploymentType, d.StorageType, aws.ToInt32(config.PerUnitStorageThroughput), in.StorageCapacity); err != nil {
			return err
		}
		d.StorageCapacity = in.StorageCapacity
	}
	if in.FileSystemTypeVersion != nil {
		d.FileSystemTypeVersion = in.FileSystemTypeVersion
	}
	if c := in.LustreConfiguration; c != nil {
		if err := updateLustre(&config, c, d.StorageType); err != nil {
			return err
		}
	}
	d.LustreConfiguration = &config
	return nil
}

func updateLustre(config *types.LustreFileSystemConfiguration, c *types.UpdateFileSystemLustreConfiguration, storage types.StorageType) error {
	if c.AutoImportPolicy != "" {
		if config.DataRepositoryConfiguration == nil {
			return badRequest("AutoImportPolicy needs a file system that was created with an ImportPath.")
		}
		repo := *config.DataRepositoryConfiguration
		repo.AutoImportPolicy = c.AutoImportPolicy
		config.DataRepositoryConfiguration = &repo
	}
	if c.PerUnitStorageThroughput != nil {
		if !slices.Contains(throughputs[config.DeploymentType][storage], *c.PerUnitStorageThroughput) {
			return wire.Errorf("InvalidPerUnitStorageThroughput", "PerUnitStorageThroughput %d is not supported for deployment type %s.", *c.PerUnitStorageThroughput, config.DeploymentType)
		}
		config.PerUnitStorageThroughput = c.PerUnitStorageThroughput
	}
	if c.DataCompressionType != "" {
		config.DataCompressionType = c.DataCompressionType
	}
	if c.AutomaticBackupRetentionDays != nil {
		config.AutomaticBackupRetentionDays = c.AutomaticBackupRetentionDays
	}
	if c.DailyAutomaticBackupStartTime != nil {
		config.DailyAutomaticBackupStartTime = c.DailyAutomaticBackupStartTime
	}
	if c.WeeklyMaintenanceStartTime != nil {
		config.WeeklyMaintenanceStartTime = c.WeeklyMaintenanceStartTime
	}
	if c.RootSquashConfiguration != nil {
		config.RootSquashConfiguration = c.RootSquashConfiguration
	}
	if l := c.LogConfiguration; l != nil {
		config.LogConfiguration = &types.LustreLogConfiguration{Level: l.Level, Destination: l.Destination}
	}
	if m := c.MetadataConfiguration; m != nil {
		config.MetadataConfiguration = &types.FileSystemLustreMetadataConfiguration{Mode: m.Mode, Iops: m.Iops}
	}
	return nil
}
