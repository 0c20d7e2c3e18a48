package validate

import "pcluster/internal/config"

// order plans all checks of a cluster file: sections depth first, what is inside
// of a section before the section itself, then what concerns several sections.
// Users read findings in this order.
func (e *env) order(p *plan) {
	c := e.c
	p.add("OsCustomAmiValidator", osNeedsAMI)
	p.ami("Image.CustomAmi", c.Image.CustomAmi)
	if id := c.Image.CustomAmi; id != "" {
		p.add("AmiOsCompatibleValidator", func(k *check) { amiOS(k, "Image.CustomAmi", id) })
	}
	e.orderHead(p)
	e.queues(func(path string, q *config.SlurmQueue) { e.orderQueue(p, path, q) })
	for i := range c.Scheduling.AwsBatchQueues {
		orderBatchQueue(p, at("Scheduling.AwsBatchQueues", i), &c.Scheduling.AwsBatchQueues[i])
	}
	if !e.batch() {
		e.orderSlurmSettings(p)
	}
	e.orderScheduling(p)
	e.storages(func(path string, s *config.SharedStorage) { orderStorage(p, path, s) })
	p.add("LogRotationValidator", rotationWithoutLogs)
	p.add("DetailedMonitoringValidator", monitoringCosts)
	p.add("RoleValidator", func(k *check) { role(k, "Iam.Roles.LambdaFunctionsRole", c.Iam.Roles.LambdaFunctionsRole) })
	p.add("IamPolicyValidator", func(k *check) { policy(k, "Iam.PermissionsBoundary", c.Iam.PermissionsBoundary) })
	p.add("IamResourcePrefixValidator", resourcePrefix)
	if d := c.DirectoryService; d != nil {
		p.add("DomainNameValidator", func(k *check) { domainName(k, d) })
		p.add("DomainAddrValidator", func(k *check) { domainAddr(k, d) })
		p.add("PasswordSecretArnValidator", func(k *check) { password(k, "DirectoryService", d.PasswordSecretArn) })
		p.add("LdapTlsReqCertValidator", func(k *check) { certificates(k, d) })
		p.add("AdditionalSssdConfigsValidator", func(k *check) { sssd(k, d) })
	}
	p.add("ExtraChefAttributesValidator", func(k *check) {
		chefAttributes(k, "DevSettings.Cookbook.ExtraChefAttributes", c.DevSettings.Cookbook.ExtraChefAttributes)
	})
	p.url("DevSettings.Cookbook.ChefCookbook", c.DevSettings.Cookbook.ChefCookbook)
	p.url("DevSettings.NodePackage", c.DevSettings.NodePackage)
	p.url("DevSettings.AwsBatchCliPackage", c.DevSettings.AwsBatchCliPackage)
	p.url("DevSettings.ClusterTemplate", c.DevSettings.ClusterTemplate)
	if v := c.DeploymentSettings.LambdaFunctionsVpcConfig; v != nil {
		p.add("LambdaFunctionsVpcConfigValidator", func(k *check) {
			functionVPC(k, "DeploymentSettings.LambdaFunctionsVpcConfig", v.SecurityGroupIds, v.SubnetIds)
		})
	}
	e.pools(func(path string, l *config.LoginPool) { orderPool(p, path, l) })
	if c.LoginNodes != nil {
		names := make([]string, len(c.LoginNodes.Pools))
		for i := range names {
			names[i] = c.LoginNodes.Pools[i].Name
		}
		p.add("MaxCountValidator", func(k *check) { atMost(k, "LoginNodes.Pools", len(names), mostPools, "login pools: a cluster") })
		p.add("DuplicateNameValidator", func(k *check) {
			repeated(k, "the pool", names, func(i int) string { return at("LoginNodes.Pools", i) + ".Name" })
		})
	}
	e.orderCluster(p)
	if e.batch() {
		e.orderBatch(p)
	} else {
		e.orderSlurm(p)
	}
}

func (p *plan) ami(path, id string) {
	if id != "" {
		p.add("CustomAmiTagValidator", func(k *check) { amiTags(k, path, id) })
	}
}

func (p *plan) groups(path string, own, more []string) {
	p.add("SecurityGroupsValidator", func(k *check) { groupsExist(k, path+".Networking.SecurityGroups", own) })
	p.add("SecurityGroupsValidator", func(k *check) { groupsExist(k, path+".Networking.AdditionalSecurityGroups", more) })
}

func (p *plan) rootThroughput(v volume) {
	p.add("EbsVolumeThroughputValidator", func(k *check) { throughput(k, v) })
	p.add("EbsVolumeThroughputIopsValidator", func(k *check) { throughputIops(k, v) })
}

func (e *env) orderHead(p *plan) {
	h := &e.c.HeadNode
	p.groups("HeadNode", h.Networking.SecurityGroups, h.Networking.AdditionalSecurityGroups)
	p.add("ElasticIpValidator", elasticIP)
	p.rootThroughput(e.headRoot())
	p.scripts("HeadNode.CustomActions.OnNodeStart", h.CustomActions.OnNodeStart)
	p.scripts("HeadNode.CustomActions.OnNodeConfigured", h.CustomActions.OnNodeConfigured)
	p.scripts("HeadNode.CustomActions.OnNodeUpdated", h.CustomActions.OnNodeUpdated)
	p.nodeRights("HeadNode.Iam", h.Iam.InstanceRole, h.Iam.InstanceProfile, h.Iam.AdditionalIamPolicies)
	p.ami("HeadNode.Image.CustomAmi", h.Image.CustomAmi)
	p.add("InstanceTypeValidator", func(k *check) { typeOffered(k, "HeadNode.InstanceType", h.InstanceType) })
}

func (e *env) orderQueue(p *plan, path string, q *config.SlurmQueue) {
	resources := e.resourcesOf(path, q)
	each := func(name string, f func(k *check, r *resource)) {
		for _, r := range resources {
			p.add(name, func(k *check) { f(k, r) })
		}
	}
	p.rootThroughput(e.queueRoot(path, q))
	p.scripts(path+".CustomActions.OnNodeStart", q.CustomActions.OnNodeStart)
	p.scripts(path+".CustomActions.OnNodeConfigured", q.CustomActions.OnNodeConfigured)
	p.nodeRights(path+".Iam", q.Iam.InstanceRole, q.Iam.InstanceProfile, q.Iam.AdditionalIamPolicies)
	p.ami(path+".Image.CustomAmi", q.Image.CustomAmi)
	for _, r := range resources {
		p.add("PlacementGroupNamingValidator", func(k *check) { placementNames(k, r.path, r.Networking.PlacementGroup) })
		p.add("NameValidator", func(k *check) { nodeName(k, r.path, r.Name) })
		p.add("SchedulableMemoryValidator", func(k *check) { schedulableMemory(k, r) })
	}
	p.add("PlacementGroupNamingValidator", func(k *check) { placementNames(k, path, q.Networking.PlacementGroup) })
	p.groups(path, q.Networking.SecurityGroups, q.Networking.AdditionalSecurityGroups)
	p.add("NameValidator", func(k *check) { nodeName(k, path, q.Name) })
	for _, r := range resources {
		p.add("EfaMultiAzValidator", func(k *check) { efaInOneZone(k, r) })
		p.add("EfaValidator", func(k *check) { efaOnType(k, r) })
		p.add("MultiAzPlacementGroupValidator", func(k *check) { placementInOneZone(k, r) })
	}
	names := make([]string, len(resources))
	for i, r := range resources {
		names[i] = r.Name
	}
	p.add("DuplicateNameValidator", func(k *check) {
		repeated(k, "the compute resource", names, func(i int) string { return resources[i].path + ".Name" })
	})
	p.add("MaxCountValidator", func(k *check) {
		atMost(k, path+".ComputeResources", len(resources), mostResources, "compute resources: a queue")
	})
	p.add("QueueSubnetsValidator", func(k *check) { queueSubnets(k, path, q) })
	p.add("SlurmNodePrioritiesWarningValidator", func(k *check) { nodePriorities(k, path, q) })
	p.add("SingleInstanceTypeSubnetValidator", func(k *check) { singleTypeSubnet(k, path, q) })
	p.add("CustomSlurmSettingsValidator", func(k *check) {
		deniedSettings(k, path+".CustomSlurmSettings", q.CustomSlurmSettings, deniedInQueue)
	})
	each("InstanceTypeValidator", unlisted)
	for _, r := range resources {
		p.add("EfaSecurityGroupValidator", func(k *check) { efaGroups(k, r) })
		p.add("EfaPlacementGroupValidator", func(k *check) { efaPlacement(k, r) })
		p.add("ComputeResourceSizeValidator", func(k *check) { resourceSize(k, r) })
		p.add("CustomSlurmSettingsValidator", func(k *check) {
			deniedSettings(k, r.path+".CustomSlurmSettings", r.CustomSlurmSettings, deniedInResource)
		})
		for _, t := range r.types {
			p.add("CapacityTypeValidator", func(k *check) { capacityType(k, r, t) })
		}
	}
}

func orderBatchQueue(p *plan, path string, q *config.AwsBatchQueue) {
	names := make([]string, len(q.ComputeResources))
	for i := range q.ComputeResources {
		r, at := &q.ComputeResources[i], at(path+".ComputeResources", i)
		names[i] = r.Name
		p.add("NameValidator", func(k *check) { nodeName(k, at, r.Name) })
		p.add("AwsBatchComputeResourceSizeValidator", func(k *check) { batchSize(k, at, r) })
		p.add("AwsBatchComputeInstanceTypeValidator", func(k *check) { batchTypes(k, at, r) })
	}
	p.groups(path, q.Networking.SecurityGroups, q.Networking.AdditionalSecurityGroups)
	p.add("NameValidator", func(k *check) { nodeName(k, path, q.Name) })
	p.add("DuplicateNameValidator", func(k *check) {
		repeated(k, "the compute resource", names, func(i int) string { return at(path+".ComputeResources", i) + ".Name" })
	})
}

func (e *env) orderSlurmSettings(p *plan) {
	const path = "Scheduling.SlurmSettings"
	s := &e.c.Scheduling.SlurmSettings
	if db := s.Database; db != nil {
		p.add("FeatureRegionValidator", func(k *check) { regionHas(k, path+".Database", "Slurm accounting") })
		p.add("DatabaseUriValidator", func(k *check) { databaseURI(k, db.Uri) })
		p.add("PasswordSecretArnValidator", func(k *check) { password(k, path+".Database", db.PasswordSecretArn) })
	}
	p.add("CustomSlurmSettingsValidator", func(k *check) { deniedSettings(k, customPath, k.lineSettings(), deniedInCluster) })
	p.add("CustomSlurmNodeNamesValidator", customNodeNames)
	if s.Database != nil {
		p.add("CustomSlurmSettingsValidator", func(k *check) { deniedSettings(k, customPath, k.lineSettings(), deniedWithDatabase) })
	}
	p.url(customPath+"IncludeFile", s.CustomSlurmSettingsIncludeFile)
	p.add("CustomSlurmSettingsIncludeFileOnlyValidator", settingsOrFile)
	if arn := s.MungeKeySecretArn; arn != "" {
		p.add("ArnServiceAndResourceValidator", func(k *check) { mungeARN(k, arn) })
		p.add("MungeKeySecretSizeAndBase64Validator", func(k *check) { mungeKey(k, arn) })
	}
	if s.ExternalSlurmdbd != nil {
		p.add("ExternalSlurmdbdVsDatabaseIncompatibility", oneDatabase)
		p.add("ExternalSlurmdbdRequiresCustomMungeKey", sharedMungeKey)
		p.add("ExternalSlurmdbdTrafficNotEncrypted", plainTraffic)
	}
}

func (e *env) orderScheduling(p *plan) {
	var names []string
	queues, key := len(e.c.Scheduling.SlurmQueues), "Scheduling.SlurmQueues"
	for _, q := range e.c.Scheduling.SlurmQueues {
		names = append(names, q.Name)
	}
	if e.batch() {
		key = "Scheduling.AwsBatchQueues"
		for _, q := range e.c.Scheduling.AwsBatchQueues {
			names = append(names, q.Name)
		}
	}
	p.add("DuplicateNameValidator", func(k *check) {
		repeated(k, "the queue", names, func(i int) string { return at(key, i) + ".Name" })
	})
	p.add("RootVolumeEncryptionConsistencyValidator", sameEncryption)
	p.add("MaxCountValidator", func(k *check) { atMost(k, key, queues, mostQueues, "queues: a cluster") })
	p.add("MaxCountValidator", func(k *check) {
		atMost(k, key, k.resourceCount(), mostResources, "compute resources in all: a cluster")
	})
}

func orderStorage(p *plan, path string, s *config.SharedStorage) {
	name := func() { p.add("SharedStorageNameValidator", func(k *check) { storageName(k, path, s.Name) }) }
	policy := func(settings, value string) {
		if s.Managed() {
			p.add("DeletionPolicyValidator", func(k *check) { deletionPolicy(k, path+settings, s.Name, value) })
		}
	}
	switch s.StorageType {
	case config.Ebs:
		b, at := s.EbsSettings, path+".EbsSettings"
		v := sharedVolume(at, b)
		p.rootThroughput(v)
		p.add("EbsVolumeTypeSizeValidator", func(k *check) { volumeSize(k, v) })
		p.add("EbsVolumeIopsValidator", func(k *check) { volumeIops(k, v) })
		name()
		p.add("KmsKeyValidator", func(k *check) { kmsKey(k, at, b.KmsKeyId) })
		p.add("KmsKeyIdEncryptedValidator", func(k *check) { keyNeedsEncryption(k, at, b.KmsKeyId, b.Encrypted) })
		p.add("SharedEbsVolumeIdValidator", func(k *check) { existingVolume(k, at, b.VolumeId) })
		p.add("EbsVolumeSizeSnapshotValidator", func(k *check) { snapshotSize(k, at, b) })
		policy(".EbsSettings", b.DeletionPolicy)
	case config.Efs:
		f, at := s.EfsSettings, path+".EfsSettings"
		name()
		p.add("KmsKeyValidator", func(k *check) { kmsKey(k, at, f.KmsKeyId) })
		p.add("KmsKeyIdEncryptedValidator", func(k *check) { keyNeedsEncryption(k, at, f.KmsKeyId, f.Encrypted) })
		policy(".EfsSettings", f.DeletionPolicy)
		p.add("EfsMountOptionsValidator", func(k *check) { efsOptions(k, at, f) })
		p.add("EfsAccessPointOptionsValidator", func(k *check) { efsAccessPoint(k, at, f) })
	case config.FsxLustre:
		orderLustre(p, path+".FsxLustreSettings", s.FsxLustreSettings, name)
		policy(".FsxLustreSettings", s.FsxLustreSettings.DeletionPolicy)
	case config.FileCache:
		name()
		p.add("SharedFileCacheNotHomeValidator", func(k *check) { cacheNotHome(k, path, s.MountDir) })
	default:
		name()
	}
}

func orderLustre(p *plan, path string, f *config.FsxLustreSettings, name func()) {
	for i, d := range f.DataRepositoryAssociations {
		at := at(path+".DataRepositoryAssociations", i)
		p.add("SharedStorageNameValidator", func(k *check) { storageName(k, at, d.Name) })
		p.add("S3BucketUriValidator", func(k *check) { bucketURI(k, at+".DataRepositoryPath", d.DataRepositoryPath) })
		if len(d.AutoImportPolicy) > 0 {
			p.add("FsxAutoImportValidator", func(k *check) { autoImport(k, at, d.DataRepositoryPath) })
		}
	}
	name()
	lustre := func(name string, f2 func(k *check, path string, f *config.FsxLustreSettings)) {
		p.add(name, func(k *check) { f2(k, path, f) })
	}
	lustre("FsxDraValidator", lustreAssociations)
	lustre("FsxS3Validator", lustreImport)
	lustre("FsxPersistentOptionsValidator", lustrePersistent)
	lustre("FsxBackupOptionsValidator", lustreBackups)
	lustre("FsxStorageTypeOptionsValidator", lustreDisks)
	lustre("FsxStorageCapacityValidator", lustreCapacity)
	p.add("FsxBackupIdValidator", func(k *check) { lustreBackup(k, path, f.BackupId) })
	p.add("S3BucketUriValidator", func(k *check) { bucketURI(k, path+".ImportPath", f.ImportPath) })
	p.add("S3BucketUriValidator", func(k *check) { bucketURI(k, path+".ExportPath", f.ExportPath) })
	p.add("KmsKeyValidator", func(k *check) { kmsKey(k, path, f.KmsKeyId) })
	if f.AutoImportPolicy != "" {
		p.add("FsxAutoImportValidator", func(k *check) { autoImport(k, path, f.ImportPath) })
	}
}

func orderPool(p *plan, path string, l *config.LoginPool) {
	p.ami(path+".Image.CustomAmi", l.Image.CustomAmi)
	p.groups(path, l.Networking.SecurityGroups, l.Networking.AdditionalSecurityGroups)
	p.scripts(path+".CustomActions.OnNodeStart", l.CustomActions.OnNodeStart)
	p.scripts(path+".CustomActions.OnNodeConfigured", l.CustomActions.OnNodeConfigured)
	p.scripts(path+".CustomActions.OnNodeUpdated", l.CustomActions.OnNodeUpdated)
	p.nodeRights(path+".Iam", l.Iam.InstanceRole, l.Iam.InstanceProfile, l.Iam.AdditionalIamPolicies)
	p.add("InstanceTypeValidator", func(k *check) { typeOffered(k, path+".InstanceType", l.InstanceType) })
	p.add("NameValidator", func(k *check) { nodeName(k, path, l.Name) })
}

// orderCluster plans what both schedulers have.
func (e *env) orderCluster(p *plan) {
	c := e.c
	p.add("RegionValidator", regionKnown)
	p.add("ClusterNameValidator", clusterName)
	p.add("ArchitectureOsValidator", architectureOS)
	p.add("InstanceTypeBaseAMICompatibleValidator", func(k *check) {
		amiRuns(k, "HeadNode.InstanceType", c.HeadNode.InstanceType, k.amiPlace(c.HeadNode.Image.CustomAmi, "HeadNode"), c.HeadAMI(""))
	})
	p.add("InstanceTypeOSCompatibleValidator", func(k *check) { osOnType(k, "HeadNode.InstanceType", c.HeadNode.InstanceType) })
	if id := c.HeadNode.Image.CustomAmi; id != "" {
		p.add("AmiOsCompatibleValidator", func(k *check) { amiOS(k, "HeadNode.Image.CustomAmi", id) })
	}
	names, ids := make([]string, len(c.SharedStorage)), make([]string, len(c.SharedStorage))
	for i := range c.SharedStorage {
		names[i], ids[i] = c.SharedStorage[i].Name, c.SharedStorage[i].ExistingID()
	}
	p.add("DuplicateNameValidator", func(k *check) {
		repeated(k, "the storage", names, func(i int) string { return at("SharedStorage", i) + ".Name" })
	})
	p.add("DuplicateNameValidator", func(k *check) {
		repeated(k, "the storage", ids, func(i int) string { return at("SharedStorage", i) })
	})
	e.storages(func(path string, s *config.SharedStorage) {
		p.add("SharedStorageNameValidator", func(k *check) { storageName(k, path, s.Name) })
		p.add("SharedStorageMountDirValidator", func(k *check) { reservedDirectory(k, path, s.MountDir) })
		if isFSx(s) {
			p.add("FeatureRegionValidator", func(k *check) { regionHas(k, path+".StorageType", s.StorageType) })
		}
		if s.StorageType == config.FsxLustre {
			p.add("FsxArchitectureOsValidator", func(k *check) { lustreArchitecture(k, path) })
		}
		if s.StorageType == config.Efs && !s.Managed() {
			p.add("EfsIdValidator", func(k *check) { efsReachable(k, path+".EfsSettings", s.ExistingID()) })
		}
	})
	e.storages(func(path string, s *config.SharedStorage) {
		if isFSx(s) && !s.Managed() {
			p.add("ExistingFsxNetworkingValidator", func(k *check) { fsxReachable(k, path, s) })
		}
	})
	for _, l := range storageLimits {
		p.add("NumberOfStorageValidator", func(k *check) { storageCount(k, l) })
	}
	p.add("ManagedFsxMultiAzValidator", newLustreSubnets)
	p.add("UnmanagedFsxMultiAzValidator", fsxZones)
	p.add("MultiAzEbsVolumeValidator", volumeZone)
	p.add("MultiAzRootVolumeValidator", rootZone)
	p.add("DuplicateMountDirValidator", sameDirectories)
	p.add("OverlappingMountDirValidator", nestedDirectories)
	p.add("HeadNodeLaunchTemplateValidator", tryHead)
	if c.Has("HeadNode.Dcv") {
		p.add("FeatureRegionValidator", func(k *check) { regionHas(k, "HeadNode.Dcv", "DCV") })
		p.add("DcvValidator", func(k *check) { remoteDesktop(k, "HeadNode.Dcv", c.HeadNode.InstanceType, c.HeadNode.Dcv) })
	}
	if c.AdditionalPackages.IntelSoftware.IntelHpcPlatform {
		p.add("IntelHpcOsValidator", intelOS)
		p.add("IntelHpcArchitectureValidator", intelArchitecture)
	}
	p.bucket(c.CustomS3Bucket)
	p.add("SchedulerValidator", schedulerKnown)
	p.add("SchedulerOsValidator", schedulerOS)
	p.add("HeadNodeImdsValidator", batchImds)
	root := e.headRoot()
	p.add("RootVolumeSizeValidator", func(k *check) { rootSize(k, root.path, root.size, root.ami) })
	p.add("EbsVolumeTypeSizeValidator", func(k *check) { volumeSize(k, root) })
	p.add("EbsVolumeIopsValidator", func(k *check) { volumeIops(k, root) })
	p.add("KeyPairValidator", keyPair)
	p.add("SchedulerDisableSudoAccessForDefaultUserValidator", batchSudo)
}

func (p *plan) bucket(name string) {
	if name != "" {
		p.add("S3BucketValidator", func(k *check) { customBucket(k, name) })
		p.add("S3BucketRegionValidator", func(k *check) { customBucketRegion(k, name) })
	}
}

func (e *env) orderSlurm(p *plan) {
	c := e.c
	p.add("MixedSecurityGroupOverwriteValidator", mixedGroups)
	p.add("HeadNodeMemorySizeValidator", headMemory)
	if c.LoginNodes != nil {
		p.add("SubnetsValidator", oneVPC)
		p.add("LoginNodesSchedulerValidator", loginScheduler)
		hasDCV := ""
		e.pools(func(path string, l *config.LoginPool) {
			if id := l.Image.CustomAmi; id != "" {
				p.add("InstanceTypeBaseAMICompatibleValidator", func(k *check) {
					amiRuns(k, path+".InstanceType", l.InstanceType, path+".Image.CustomAmi", id)
				})
				p.add("InstanceTypeOSCompatibleValidator", func(k *check) { osOnType(k, path+".InstanceType", l.InstanceType) })
				p.add("AmiOsCompatibleValidator", func(k *check) { amiOS(k, path+".Image.CustomAmi", id) })
			}
			if c.Has(path + ".Dcv") {
				hasDCV = path + ".Dcv"
				p.add("DcvValidator", func(k *check) { remoteDesktop(k, path+".Dcv", l.InstanceType, l.Dcv) })
			}
		})
		if hasDCV != "" {
			p.add("FeatureRegionValidator", func(k *check) { regionHas(k, hasDCV, "DCV") })
		}
	}
	p.add("HostedZoneValidator", hostedZone)
	e.resources(func(r *resource) {
		p.add("MultiNetworkInterfacesInstancesValidator", func(k *check) { publicWithManyCards(k, r) })
	})
	amis := map[string]bool{"": true}
	e.queues(func(path string, q *config.SlurmQueue) {
		if q == &c.Scheduling.SlurmQueues[0] {
			p.add("ComputeResourceLaunchTemplateValidator", func(k *check) { tryCompute(k, path, q) })
		}
		root := e.queueRoot(path, q)
		p.add("RootVolumeSizeValidator", func(k *check) { rootSize(k, root.path, root.size, root.ami) })
		p.add("EbsVolumeTypeSizeValidator", func(k *check) { volumeSize(k, root) })
		p.add("EbsVolumeIopsValidator", func(k *check) { volumeIops(k, root) })
		if id := q.Image.CustomAmi; !amis[id] {
			amis[id] = true
			p.add("AmiOsCompatibleValidator", func(k *check) { amiOS(k, path+".Image.CustomAmi", id) })
		}
		for _, r := range e.resourcesOf(path, q) {
			e.orderResource(p, r)
		}
	})
	p.add("CapacityReservationSizeValidator", reservationSize)
}

func (e *env) orderResource(p *plan, r *resource) {
	add := func(name string, f func(k *check, r *resource)) { p.add(name, func(k *check) { f(k, r) }) }
	add("InstanceArchitectureCompatibilityValidator", sameArchitecture)
	add("EfaOsArchitectureValidator", efaArchitecture)
	add("PlacementGroupCapacityTypeValidator", placementInBlock)
	if r.target() != nil {
		add("CapacityReservationValidator", reservationFits)
		add("CapacityReservationResourceGroupValidator", reservationGroup)
		add("PlacementGroupCapacityReservationValidator", reservationPlacement)
	}
	for _, t := range r.types {
		p.add("InstanceTypeMemoryInfoValidator", func(k *check) { memoryKnown(k, r.typePath(t.Name), t) })
		p.add("InstanceTypeBaseAMICompatibleValidator", func(k *check) {
			amiRuns(k, r.typePath(t.Name), t.Name, k.amiPlace(r.queue.Image.CustomAmi, r.queuePath), k.c.QueueAMI(r.queue, ""))
		})
		p.add("InstanceTypeOSCompatibleValidator", func(k *check) { osOnType(k, r.typePath(t.Name), t.Name) })
		p.add("InstanceTypeAcceleratorManufacturerValidator", func(k *check) { acceleratorMaker(k, r.typePath(t.Name), t) })
		p.add("InstanceTypePlacementGroupValidator", func(k *check) { typeInPlacementGroup(k, r, t) })
	}
	if r.Flexible() {
		add("InstancesCPUValidator", sameCPUs)
		add("InstancesAcceleratorsValidator", sameAccelerators)
		add("InstancesEFAValidator", efaOnAllTypes)
		add("InstancesNetworkingValidator", sameNetworkCards)
		add("InstancesAllocationStrategyValidator", allocationStrategy)
		add("InstancesMemorySchedulingWarningValidator", similarMemory)
	}
	add("ComputeResourceTagsValidator", clashingTags)
}

func (e *env) orderBatch(p *plan) {
	p.add("FeatureRegionValidator", func(k *check) { regionHas(k, "Scheduling.Scheduler", "AWS Batch") })
	p.add("SubnetsValidator", oneVPC)
	e.storages(func(path string, s *config.SharedStorage) {
		if isFSx(s) {
			p.add("AwsBatchFsxValidator", func(k *check) { batchFSx(k, path, s) })
		}
	})
	for i := range e.c.Scheduling.AwsBatchQueues {
		q := &e.c.Scheduling.AwsBatchQueues[i]
		for j := range q.ComputeResources {
			path := at(at("Scheduling.AwsBatchQueues", i)+".ComputeResources", j)
			p.add("AwsBatchInstancesArchitectureCompatibilityValidator", func(k *check) { batchArchitecture(k, path, &q.ComputeResources[j]) })
		}
	}
}
