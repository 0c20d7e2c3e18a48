package validate

import (
	"fmt"
	"slices"
	"strings"

	"pcluster/internal/config"
	"pcluster/internal/facts"
)

func persistent(f *config.FsxLustreSettings) bool {
	return f.DeploymentType == "PERSISTENT_1" || f.DeploymentType == "PERSISTENT_2"
}

func lustreImport(k *check, path string, f *config.FsxLustreSettings) {
	if f.ImportPath != "" {
		return
	}
	for _, key := range []struct {
		name  string
		given bool
	}{{"ImportedFileChunkSize", f.ImportedFileChunkSize != nil}, {"ExportPath", f.ExportPath != ""}, {"AutoImportPolicy", f.AutoImportPolicy != ""}} {
		if key.given {
			k.errorf(path+"."+key.name, "%s needs ImportPath", key.name)
		}
	}
}

func lustreAssociations(k *check, path string, f *config.FsxLustreSettings) {
	n := len(f.DataRepositoryAssociations)
	path += ".DataRepositoryAssociations"
	if n > 0 && (f.ImportPath != "" || f.ExportPath != "") {
		k.errorf(path, "DataRepositoryAssociations don't go with ImportPath or ExportPath")
	}
	if n > 8 {
		k.errorf(path, "a file system can have 8 associations, not %d", n)
	}
}

func lustrePersistent(k *check, path string, f *config.FsxLustreSettings) {
	if persistent(f) {
		if t := f.PerUnitStorageThroughput; t == nil || *t == 0 {
			k.errorf(path+".PerUnitStorageThroughput", "a %s file system needs PerUnitStorageThroughput", f.DeploymentType)
		}
		return
	}
	if f.KmsKeyId != "" {
		k.errorf(path+".KmsKeyId", "only persistent file systems can have a key of their own")
	}
	if t := f.PerUnitStorageThroughput; t != nil && *t != 0 {
		k.errorf(path+".PerUnitStorageThroughput", "only persistent file systems have PerUnitStorageThroughput")
	}
}

func lustreBackups(k *check, path string, f *config.FsxLustreSettings) {
	if days := f.AutomaticBackupRetentionDays; days == nil || *days == 0 {
		if f.DailyAutomaticBackupStartTime != "" {
			k.errorf(path+".DailyAutomaticBackupStartTime", "DailyAutomaticBackupStartTime needs AutomaticBackupRetentionDays above 0")
		}
		if f.CopyTagsToBackups != nil {
			k.errorf(path+".CopyTagsToBackups", "CopyTagsToBackups needs AutomaticBackupRetentionDays above 0")
		}
		return
	}
	path += ".AutomaticBackupRetentionDays"
	if !persistent(f) {
		k.errorf(path, "only persistent file systems have automatic backups")
	}
	if f.ImportPath != "" || f.ExportPath != "" || f.ImportedFileChunkSize != nil || f.AutoImportPolicy != "" {
		k.errorf(path, "file systems that are linked with S3 have no automatic backups")
	}
}

var lustreThroughput = map[string][]int{"PERSISTENT_1": {50, 100, 200}, "PERSISTENT_2": {125, 250, 500, 1000}}

func lustreDisks(k *check, path string, f *config.FsxLustreSettings) {
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
	if allowed := lustreThroughput[f.DeploymentType]; t != nil && *t != 0 && !slices.Contains(allowed, *t) {
		kind := orElse(f.DeploymentType, "a backup")
		if len(allowed) == 0 {
			k.errorf(path+".PerUnitStorageThroughput", "file systems of %s have no PerUnitStorageThroughput to choose", kind)
			return
		}
		k.errorf(path+".PerUnitStorageThroughput", "PerUnitStorageThroughput of %s is one of %v, not %d", kind, allowed, *t)
	}
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func lustreCapacity(k *check, path string, f *config.FsxLustreSettings) {
	if f.FileSystemId != "" || f.BackupId != "" {
		return
	}
	path += ".StorageCapacity"
	if f.StorageCapacity == nil || *f.StorageCapacity == 0 {
		k.errorf(path, "a new file system needs StorageCapacity")
		return
	}
	n := *f.StorageCapacity
	smallest, step := []int{1200}, 2400
	if f.DeploymentType == "SCRATCH_1" {
		smallest, step = []int{1200, 2400}, 3600
	}
	if t := f.PerUnitStorageThroughput; f.DeploymentType == "PERSISTENT_1" && f.StorageType == "HDD" {
		switch {
		case t != nil && *t == 12:
			smallest, step = nil, 6000
		case t != nil && *t == 40:
			smallest, step = nil, 1800
		default:
			return // the throughput is wrong, which is reported
		}
	}
	if !slices.Contains(smallest, n) && (n <= 0 || n%step != 0) {
		text := fmt.Sprintf("a multiple of %d", step)
		for i := len(smallest) - 1; i >= 0; i-- {
			text = fmt.Sprintf("%d, ", smallest[i]) + text
		}
		k.errorf(path, "StorageCapacity is %d GiB, but has to be %s", n, text)
	}
}

func lustreBackup(k *check, path, id string) {
	if id == "" {
		return
	}
	if err := k.src.FSxBackup(k.ctx, id); err != nil {
		k.errorf(path+".BackupId", "the backup %s can't be used: %v", id, err)
	}
}

// autoImport works inside of one region only.
func autoImport(k *check, path, uri string) {
	path += ".AutoImportPolicy"
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

// lustreArchitecture can't find anything: clients are there for both architectures.
func lustreArchitecture(k *check, path string) {
	if head, ok := k.head(); ok && head.Architecture() == "" {
		k.errorf(path, "there is no Lustre client for the architecture of %s", head.Name)
	}
}

// fsxPorts are what nodes have to reach, by storage type.
var fsxPorts = map[string]map[string][]int{
	config.FsxLustre:  {"tcp": {988}},
	config.FileCache:  {"tcp": {988}},
	config.FsxOpenZfs: {"tcp": {111, 2049, 20001, 20002, 20003}, "udp": {111, 2049, 20001, 20002, 20003}},
	config.FsxOntap:   {"tcp": {111, 635, 2049, 4046}, "udp": {111, 635, 2049, 4046}},
}

// fsxReachable judges an existing file system or cache.
func fsxReachable(k *check, path string, s *config.SharedStorage) {
	id := s.ExistingID()
	path += "." + s.StorageType + "Settings"
	f, err := k.existing(k.ctx, s)
	if err != nil {
		k.errorf(path, "%s can't be used: %v", id, err)
		return
	}
	head, err := k.src.Subnet(k.ctx, k.c.HeadNode.Networking.SubnetId)
	if err != nil {
		k.errorf(path, "the head node's subnet %s can't be used: %v", k.c.HeadNode.Networking.SubnetId, err)
		return
	}
	if f.VPC != head.VPC {
		k.errorf(path, "%s is in the VPC %s, but the head node is in %s", id, f.VPC, head.VPC)
	}
	if len(f.Interfaces) == 0 {
		k.errorf(path, "%s has no network interface", id)
		return
	}
	var doors [][]facts.SecurityGroup // of each network interface in the VPC
	for _, eni := range f.Interfaces {
		n, err := k.src.NetworkInterface(k.ctx, eni)
		if err != nil {
			k.errorf(path, "the network interface %s of %s can't be looked up: %v", eni, id, err)
			return
		}
		if n.VPC != head.VPC {
			continue
		}
		groups, err := k.groupsOf(n.Groups)
		if err != nil {
			k.errorf(path, "the security groups of %s can't be looked up: %v", id, err)
			return
		}
		doors = append(doors, groups)
	}
	ports := fsxPorts[s.StorageType]
	for _, protocol := range []string{"tcp", "udp"} {
		var closed []string
		for _, port := range ports[protocol] {
			if !slices.ContainsFunc(doors, func(groups []facts.SecurityGroup) bool {
				return k.opens(groups, k.clusterSubnets(), protocol, port, inbound) &&
					(s.StorageType == config.FsxOpenZfs || k.opens(groups, k.clusterSubnets(), protocol, port, outbound))
			}) {
				closed = append(closed, fmt.Sprint(port))
			}
		}
		if len(closed) > 0 {
			k.errorf(path, "the security groups of %s do not let all nodes in at %s %s", id, strings.ToUpper(protocol), strings.Join(closed, ", "))
		}
	}
}

func newLustreSubnets(k *check) {
	subnets := k.computeSubnets()
	k.storages(func(path string, s *config.SharedStorage) {
		if s.StorageType == config.FsxLustre && s.Managed() && len(subnets) > 1 {
			k.errorf(path, "a new Lustre file system is in one subnet, but the queues have %d", len(subnets))
			k.hint("use an existing file system, or one subnet for all queues")
		}
	})
}

func fsxZones(k *check) {
	k.storages(func(path string, s *config.SharedStorage) {
		if !isFSx(s) || s.Managed() || s.StorageType == config.FileCache {
			return
		}
		f, err := k.existing(k.ctx, s)
		if err != nil {
			return // that aborts
		}
		there := map[string]bool{}
		for _, id := range f.Subnets {
			n, err := k.src.Subnet(k.ctx, id)
			if err != nil {
				return
			}
			there[n.AZ] = true
		}
		try := func(name string, subnets []string) {
			zones, _ := k.zones(subnets)
			for _, z := range zones {
				if !there[z] {
					k.infof(path, "%s is not in %s, where queue %s is; traffic between availability zones costs time and money", s.ExistingID(), z, name)
					return
				}
			}
		}
		k.queues(func(_ string, q *config.SlurmQueue) { try(q.Name, q.Networking.SubnetIds) })
		for _, q := range k.c.Scheduling.AwsBatchQueues {
			try(q.Name, q.Networking.SubnetIds)
		}
	})
}
