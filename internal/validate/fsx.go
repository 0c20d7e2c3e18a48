package validate

import (
	"fmt"
	"slices"

	"pcluster/internal/config"
	"pcluster/internal/facts"
)

var fsxRules = []rule{
	{"FsxDraValidator", lustreAssociations},
	{"FsxS3Validator", lustreImport},
	{"FsxPersistentOptionsValidator", lustrePersistent},
	{"FsxBackupOptionsValidator", lustreBackups},
	{"FsxStorageTypeOptionsValidator", lustreDisks},
	{"FsxStorageCapacityValidator", lustreCapacity},
	{"FsxBackupIdValidator", lustreBackup},
	{"FsxAutoImportValidator", lustreBuckets},
	{"ExistingFsxNetworkingValidator", existingFSx},
	{"ManagedFsxMultiAzValidator", lustreSubnets},
	{"UnmanagedFsxMultiAzValidator", fsxZones},
}

// lustre yields the settings of Lustre file systems.
func (e *env) lustre(yield func(path string, s *config.SharedStorage, f *config.FsxLustreSettings)) {
	e.storages(func(path string, s *config.SharedStorage) {
		if s.StorageType == config.FsxLustre {
			yield(path+".FsxLustreSettings", s, s.FsxLustreSettings)
		}
	})
}

func persistent(f *config.FsxLustreSettings) bool {
	return f.DeploymentType == "PERSISTENT_1" || f.DeploymentType == "PERSISTENT_2"
}

func lustreAssociations(k *check) {
	k.lustre(func(path string, _ *config.SharedStorage, f *config.FsxLustreSettings) {
		n := len(f.DataRepositoryAssociations)
		path += ".DataRepositoryAssociations"
		if n > 0 && (f.ImportPath != "" || f.ExportPath != "") {
			k.errorf(path, "DataRepositoryAssociations don't go with ImportPath or ExportPath")
		}
		if n > 8 {
			k.errorf(path, "a file system can have 8 associations, not %d", n)
		}
	})
}

func lustreImport(k *check) {
	k.lustre(func(path string, _ *config.SharedStorage, f *config.FsxLustreSettings) {
		for key, given := range map[string]bool{
			"ImportedFileChunkSize": f.ImportedFileChunkSize != nil, "ExportPath": f.ExportPath != "", "AutoImportPolicy": f.AutoImportPolicy != "",
		} {
			if given && f.ImportPath == "" {
				k.errorf(path+"."+key, "%s needs ImportPath", key)
			}
		}
		slices.SortFunc(k.found, func(a, b config.Problem) int { return a.Pos.Line - b.Pos.Line })
	})
}

func lustrePersistent(k *check) {
	k.lustre(func(path string, _ *config.SharedStorage, f *config.FsxLustreSettings) {
		if persistent(f) {
			if f.PerUnitStorageThroughput == nil {
				k.errorf(path+".PerUnitStorageThroughput", "a %s file system needs PerUnitStorageThroughput", f.DeploymentType)
			}
			return
		}
		if f.KmsKeyId != "" {
			k.errorf(path+".KmsKeyId", "only persistent file systems can have a key of their own")
		}
		if f.PerUnitStorageThroughput != nil {
			k.errorf(path+".PerUnitStorageThroughput", "only persistent file systems have PerUnitStorageThroughput")
		}
	})
}

func lustreBackups(k *check) {
	k.lustre(func(path string, _ *config.SharedStorage, f *config.FsxLustreSettings) {
		kept := f.AutomaticBackupRetentionDays != nil && *f.AutomaticBackupRetentionDays > 0
		if !kept {
			if f.DailyAutomaticBackupStartTime != "" {
				k.errorf(path+".DailyAutomaticBackupStartTime", "DailyAutomaticBackupStartTime needs AutomaticBackupRetentionDays above 0")
			}
			if f.CopyTagsToBackups != nil {
				k.errorf(path+".CopyTagsToBackups", "CopyTagsToBackups needs AutomaticBackupRetentionDays above 0")
			}
			return
		}
		if !persistent(f) {
			k.errorf(path+".AutomaticBackupRetentionDays", "only persistent file systems have automatic backups")
		}
		if f.ImportPath != "" || f.ExportPath != "" || f.ImportedFileChunkSize != nil || f.AutoImportPolicy != "" {
			k.errorf(path+".AutomaticBackupRetentionDays", "file systems that are linked with S3 have no automatic backups")
		}
	})
}

var lustreThroughput = map[string][]int{"PERSISTENT_1": {50, 100, 200}, "PERSISTENT_2": {125, 250, 500, 1000}}

func lustreDisks(k *check) {
	k.lustre(func(path string, _ *config.SharedStorage, f *config.FsxLustreSettings) {
		t := f.PerUnitStorageThroughput
		if f.StorageType == "HDD" {
			if f.DeploymentType != "PERSISTENT_1" {
				k.errorf(path+".StorageType", "HDD needs DeploymentType PERSISTENT_1")
			}
			if t == nil || *t != 12 && *t != 40 {
				k.errorf(path+".PerUnitStorageThroughput", "PerUnitStorageThroughput of HDD is 12 or 40")
			}
			return
		}
		if f.DriveCacheType != "" {
			k.errorf(path+".DriveCacheType", "DriveCacheType is for StorageType HDD")
		}
		if allowed := lustreThroughput[f.DeploymentType]; t != nil && persistent(f) && !slices.Contains(allowed, *t) {
			k.errorf(path+".PerUnitStorageThroughput", "PerUnitStorageThroughput of %s is one of %v, not %d", f.DeploymentType, allowed, *t)
		}
	})
}

func lustreCapacity(k *check) {
	k.lustre(func(path string, s *config.SharedStorage, f *config.FsxLustreSettings) {
		if !s.Managed() || f.BackupId != "" {
			return
		}
		path += ".StorageCapacity"
		if f.StorageCapacity == nil || *f.StorageCapacity == 0 {
			k.errorf(path, "a new file system needs StorageCapacity")
			return
		}
		n := *f.StorageCapacity
		smallest, step := []int{1200}, 2400
		switch hdd := f.DeploymentType == "PERSISTENT_1" && f.StorageType == "HDD" && f.PerUnitStorageThroughput != nil; {
		case f.DeploymentType == "SCRATCH_1":
			smallest, step = []int{1200, 2400}, 3600
		case hdd && *f.PerUnitStorageThroughput == 12:
			smallest, step = nil, 6000
		case hdd && *f.PerUnitStorageThroughput == 40:
			smallest, step = nil, 1800
		}
		if !slices.Contains(smallest, n) && (n <= 0 || n%step != 0) {
			text := fmt.Sprintf("a multiple of %d", step)
			for i := len(smallest) - 1; i >= 0; i-- {
				text = fmt.Sprintf("%d, ", smallest[i]) + text
			}
			k.errorf(path, "StorageCapacity is %d GiB, but has to be %s", n, text)
		}
	})
}

func lustreBackup(k *check) {
	k.lustre(func(path string, _ *config.SharedStorage, f *config.FsxLustreSettings) {
		if f.BackupId == "" {
			return
		}
		if err := k.src.FSxBackup(k.ctx, f.BackupId); err != nil {
			k.errorf(path+".BackupId", "the backup %s can't be used: %v", f.BackupId, err)
		}
	})
}

func lustreBuckets(k *check) {
	try := func(path, uri string) {
		bucket, _, ok := s3Parts(uri)
		if !ok {
			k.errorf(path, "automatic import needs a bucket, but %q names none", uri)
			return
		}
		b, err := k.src.Bucket(k.ctx, bucket)
		switch {
		case err != nil:
			k.errorf(path, "the bucket %s can't be used: %v", bucket, err)
		case k.o.Region != "" && b.Region != k.o.Region:
			k.errorf(path, "automatic import works inside of one region, but the bucket %s is in %s", bucket, b.Region)
		}
	}
	k.lustre(func(path string, _ *config.SharedStorage, f *config.FsxLustreSettings) {
		if f.AutoImportPolicy != "" {
			try(path+".AutoImportPolicy", f.ImportPath)
		}
		for i, d := range f.DataRepositoryAssociations {
			if len(d.AutoImportPolicy) > 0 {
				try(fmt.Sprintf("%s.DataRepositoryAssociations[%d].AutoImportPolicy", path, i), d.DataRepositoryPath)
			}
		}
	})
}

// existing looks up an FSx file system or cache that the file refers to.
func (e *env) existing(s *config.SharedStorage) (facts.FSx, error) {
	switch s.StorageType {
	case config.FsxLustre:
		return e.src.FSx(e.ctx, s.ExistingID())
	case config.FileCache:
		return e.src.FileCache(e.ctx, s.ExistingID())
	}
	return e.src.FSxVolume(e.ctx, s.ExistingID())
}

func isFSx(s *config.SharedStorage) bool {
	return s.StorageType != config.Ebs && s.StorageType != config.Efs
}

func existingFSx(k *check) {
	head, ok := k.subnets[k.c.HeadNode.Networking.SubnetId]
	if !ok {
		return
	}
	k.storages(func(path string, s *config.SharedStorage) {
		if !isFSx(s) || s.Managed() {
			return
		}
		f, err := k.existing(s)
		switch {
		case err != nil:
			k.errorf(path, "%s can't be used: %v", s.ExistingID(), err)
		case f.VPC != head.VPC:
			k.errorf(path, "%s is in the VPC %s, but the head node is in %s", s.ExistingID(), f.VPC, head.VPC)
		case len(f.Interfaces) == 0:
			k.errorf(path, "%s has no network interface", s.ExistingID())
		}
	})
}

func lustreSubnets(k *check) {
	set := map[string]bool{}
	k.queues(func(_ string, q *config.SlurmQueue) {
		for _, id := range q.Networking.SubnetIds {
			set[id] = true
		}
	})
	k.lustre(func(path string, s *config.SharedStorage, _ *config.FsxLustreSettings) {
		if s.Managed() && len(set) > 1 {
			k.errorf(path, "a new Lustre file system is in one subnet, but the queues have %d", len(set))
			k.hint("use an existing file system, or one subnet for all queues")
		}
	})
}

func fsxZones(k *check) {
	k.storages(func(path string, s *config.SharedStorage) {
		if !isFSx(s) || s.Managed() || s.StorageType == config.FileCache {
			return
		}
		f, err := k.existing(s)
		if err != nil {
			return
		}
		at := map[string]bool{}
		for _, id := range f.Subnets {
			if n, err := k.src.Subnet(k.ctx, id); err == nil {
				at[n.AZ] = true
			}
		}
		k.queues(func(_ string, q *config.SlurmQueue) {
			zones, _ := k.zones(q.Networking.SubnetIds)
			for _, z := range zones {
				if !at[z] {
					k.infof(path, "%s is not in %s, where queue %s is; traffic between availability zones costs time and money", s.ExistingID(), z, q.Name)
				}
			}
		})
	})
}
