package stack

import (
	"fmt"
	"slices"

	"pcluster/internal/cfn"
	"pcluster/internal/config"
	"pcluster/internal/facts"
	"pcluster/internal/node/spec"
)

// storageResource is a shared storage entry as the template has it.
type storageResource struct {
	name    string
	output  string     // which output lists it
	ids     []cfn.Text // of file systems or volumes
	managed []string   // logical IDs, if the stack makes it
	handle  cfn.Handle // of a managed file system
	volumes []cfn.Handle
}

// sharedStorage adds what SharedStorage asks to make. The head node waits for volumes,
// which are there in seconds, but not for file systems: it looks them up by their
// logical IDs when they are ready.
func (b *builder) sharedStorage() {
	if b.c.HeadNode.SharedStorageType == config.Efs {
		b.storage = append(b.storage, b.efs(spec.InternalStorage, &config.EfsSettings{
			Encrypted: true, PerformanceMode: "generalPurpose", ThroughputMode: "elastic", DeletionPolicy: "Delete",
		}))
	}
	for i := range b.c.SharedStorage {
		s := &b.c.SharedStorage[i]
		if !s.Managed() {
			output := "FSXIds"
			switch s.StorageType {
			case config.Ebs:
				output = "EBSIds"
			case config.Efs:
				output = "EFSIds"
			}
			b.storage = append(b.storage, storageResource{name: s.Name, output: output, ids: []cfn.Text{s.ExistingID()}})
			continue
		}
		switch s.StorageType {
		case config.Ebs:
			b.storage = append(b.storage, b.ebs(s))
		case config.Efs:
			b.storage = append(b.storage, b.efs(s.Name, s.EfsSettings))
		case config.FsxLustre:
			b.storage = append(b.storage, b.lustre(s))
		}
	}
}

// ebs adds one volume, or those of a RAID. They are where the head node is.
func (b *builder) ebs(s *config.SharedStorage) storageResource {
	e := s.EbsSettings
	volume := cfn.Volume{
		AvailabilityZone: b.f.Subnets[b.c.HeadNode.Networking.SubnetId].AZ,
		Size:             e.Size, VolumeType: e.VolumeType, Iops: e.Iops, Throughput: e.Throughput,
		Encrypted: &e.Encrypted, KmsKeyId: optional(e.KmsKeyId), SnapshotId: optional(e.SnapshotId),
		Tags: named(s.Name),
	}
	out := storageResource{name: s.Name, output: "EBSIds"}
	add := func(id string) {
		h := b.t.Add(id, volume, cfn.OnDelete(e.DeletionPolicy))
		out.ids = append(out.ids, h.Ref())
		out.managed = append(out.managed, id)
		out.volumes = append(out.volumes, h)
	}
	if e.Raid == nil {
		add("EBS" + hash16(s.Name))
		return out
	}
	out.output = "RAIDIds"
	for n := range e.Raid.NumberOfVolumes {
		add(fmt.Sprintf("RAID%sVolume%d", hash16(s.Name), n))
	}
	return out
}

// optional returns nil for empty text, so that the property is left out.
func optional(s string) cfn.Text {
	if s == "" {
		return nil
	}
	return s
}

// efs adds a file system with a mount target in each availability zone with nodes.
func (b *builder) efs(name string, e *config.EfsSettings) storageResource {
	id := "EFS" + hash16(name)
	group, rules := b.storageGroup(id, e.DeletionPolicy, nfsPort)
	b.loginNeeds(rules...)
	fs := b.t.Add(id, cfn.EFSFileSystem{
		Encrypted: e.Encrypted, KmsKeyId: optional(e.KmsKeyId), PerformanceMode: e.PerformanceMode, ThroughputMode: e.ThroughputMode,
		ProvisionedThroughputInMibps: e.ProvisionedThroughput, FileSystemTags: named(name),
	}, cfn.OnDelete(e.DeletionPolicy))
	seen := map[string]bool{}
	for _, subnet := range append(b.computeSubnets(), facts.SubnetIDs(b.c)...) {
		az := b.f.Subnets[subnet].AZ
		if seen[az] {
			continue
		}
		seen[az] = true
		b.loginNeeds(b.t.Add(id+"MT"+plain(az), cfn.MountTarget{
			FileSystemId: fs.Ref(), SubnetId: subnet, SecurityGroups: []cfn.Text{group.Att(cfn.GroupID)},
		}, cfn.OnDelete(e.DeletionPolicy)))
	}
	return storageResource{name: name, output: "EFSIds", ids: []cfn.Text{fs.Ref()}, managed: []string{id}, handle: fs}
}

// computeSubnets returns the subnets of all queues in the order of the file.
func (b *builder) computeSubnets() []string {
	var out []string
	for _, n := range b.networks() {
		for _, id := range n.SubnetIds {
			if !slices.Contains(out, id) {
				out = append(out, id)
			}
		}
	}
	return out
}

// lustre adds a file system with its data repositories.
func (b *builder) lustre(s *config.SharedStorage) storageResource {
	f := s.FsxLustreSettings
	id := "FSX" + hash16(s.Name)
	group, rules := b.storageGroup(id, f.DeletionPolicy, lustrePort)
	driveCache := f.DriveCacheType
	if f.StorageType == "HDD" && driveCache == "" {
		driveCache = "NONE"
	}
	version := "2.15"
	if f.BackupId != "" {
		version = "" // the backup's
	}
	fs := b.t.Add(id, cfn.FSxFileSystem{
		FileSystemType: "LUSTRE", FileSystemTypeVersion: version, StorageCapacity: f.StorageCapacity, StorageType: f.StorageType,
		SubnetIds: []cfn.Text{b.computeSubnets()[0]}, SecurityGroupIds: []cfn.Text{group.Att(cfn.GroupID)},
		KmsKeyId: optional(f.KmsKeyId), BackupId: optional(f.BackupId), Tags: named(s.Name),
		LustreConfiguration: &cfn.LustreConfiguration{
			DeploymentType: f.DeploymentType, DataCompressionType: f.DataCompressionType,
			ImportPath: f.ImportPath, ExportPath: f.ExportPath, ImportedFileChunkSize: f.ImportedFileChunkSize, AutoImportPolicy: f.AutoImportPolicy,
			WeeklyMaintenanceStartTime: f.WeeklyMaintenanceStartTime, AutomaticBackupRetentionDays: f.AutomaticBackupRetentionDays,
			DailyAutomaticBackupStartTime: f.DailyAutomaticBackupStartTime, CopyTagsToBackups: f.CopyTagsToBackups,
			PerUnitStorageThroughput: f.PerUnitStorageThroughput, DriveCacheType: driveCache,
		},
	}, cfn.OnDelete(f.DeletionPolicy), cfn.DependsOn(rules...)) // FSx looks at the rules when it makes the file system
	b.loginNeeds(fs)
	for _, d := range f.DataRepositoryAssociations {
		link := cfn.DataRepositoryAssociation{
			FileSystemId: fs.Ref(), FileSystemPath: d.FileSystemPath, DataRepositoryPath: d.DataRepositoryPath,
			BatchImportMetaDataOnCreate: d.BatchImportMetaDataOnCreate, ImportedFileChunkSize: d.ImportedFileChunkSize, Tags: named(d.Name),
		}
		if d.AutoExportPolicy != nil || d.AutoImportPolicy != nil {
			link.S3 = &cfn.RepositoryS3{}
			if d.AutoExportPolicy != nil {
				link.S3.AutoExportPolicy = &cfn.RepositoryEvents{Events: d.AutoExportPolicy}
			}
			if d.AutoImportPolicy != nil {
				link.S3.AutoImportPolicy = &cfn.RepositoryEvents{Events: d.AutoImportPolicy}
			}
		}
		b.t.Add(plain(d.Name)+hash16(d.Name), link)
	}
	return storageResource{name: s.Name, output: "FSXIds", ids: []cfn.Text{fs.Ref()}, managed: []string{id}, handle: fs}
}

// storageGroup adds the security group of a file system: open to all nodes, each
// group once. A group that head or compute nodes have needs no rule for login nodes.
func (b *builder) storageGroup(id, policy string, login ports) (cfn.Handle, []cfn.Handle) {
	keep := cfn.OnDelete(policy)
	group := b.t.Add(id+"SecurityGroup", cfn.SecurityGroup{
		GroupDescription: "Allow access to the file system " + id, VpcId: b.f.VPC(b.c), Tags: named(b.p.ClusterName + " " + id),
	}, keep)
	nodes := b.headGroups().union(b.computeGroups())
	logins := slices.DeleteFunc(b.loginNodeGroups(), func(g cfn.Text) bool { return slices.Contains(nodes, g) })
	own := groups{group.Att(cfn.GroupID)}

	rules := b.admit(group, "Node", nodes, everything)
	rules = append(rules, b.admit(group, "Login", logins, login)...)
	rules = append(rules, b.release(group, "Node", nodes.union(logins))...)
	for i, rule := range []cfn.Resource{
		cfn.SecurityGroupIngress{GroupId: own[0], IpProtocol: "-1", SourceSecurityGroupId: own[0]},
		cfn.SecurityGroupEgress{GroupId: own[0], IpProtocol: "-1", DestinationSecurityGroupId: own[0]},
	} {
		rules = append(rules, b.t.Add(group.ID()+[]string{"Ingress", "Egress"}[i]+"Self", rule, keep))
	}
	return group, rules
}

// managedStorage maps names of entries to logical IDs, for the head node.
func (b *builder) managedStorage() map[string]string {
	out := map[string]string{}
	for _, s := range b.storage {
		for i, id := range s.managed {
			if i > 0 {
				out[s.name] += ","
			}
			out[s.name] += id
		}
	}
	return out
}

// tables adds the fleet's state and the map of nodes to instances.
func (b *builder) tables() {
	key := func(name string) []cfn.KeyElement { return []cfn.KeyElement{{AttributeName: name, KeyType: "HASH"}} }
	text := func(names ...string) (out []cfn.TableAttribute) {
		for _, n := range names {
			out = append(out, cfn.TableAttribute{AttributeName: n, AttributeType: "S"})
		}
		return out
	}
	policies := []cfn.Option{cfn.DeletionPolicy("Delete"), cfn.UpdateReplacePolicy("Retain")}
	b.stateTable = b.t.Add("DynamoDBTable", cfn.Table{
		TableName: StateTable(b.p.ClusterName), AttributeDefinitions: text("Id"), KeySchema: key("Id"), BillingMode: "PAY_PER_REQUEST",
	}, policies...)
	b.nodeTable = b.t.Add("SlurmDynamoDBTable", cfn.Table{
		TableName: NodeTable(b.p.ClusterName), AttributeDefinitions: text("Id", "InstanceId"), KeySchema: key("Id"), BillingMode: "PAY_PER_REQUEST",
		GlobalSecondaryIndexes: []cfn.TableIndex{{IndexName: "InstanceId", KeySchema: key("InstanceId"), Projection: cfn.TableProjection{ProjectionType: "ALL"}}},
	}, policies...)
}
