package config

// imply fills in values that depend on other keys. Those that are the same for
// everyone stand in the tags.
func (c *Cluster) imply() {
	head := &c.HeadNode.LocalStorage.RootVolume.RootVolume
	head.Iops, head.Throughput = ebsPerformance(head.VolumeType, head.Iops, head.Throughput)

	if c.LoginNodes != nil {
		for i := range c.LoginNodes.Pools {
			if p := &c.LoginNodes.Pools[i]; p.Ssh.AllowedIps == "" {
				p.Ssh.AllowedIps = c.HeadNode.Ssh.AllowedIps
			}
		}
	}
	for i := range c.Scheduling.SlurmQueues {
		q := &c.Scheduling.SlurmQueues[i]
		root := &q.ComputeSettings.LocalStorage.RootVolume
		root.Iops, root.Throughput = ebsPerformance(root.VolumeType, root.Iops, root.Throughput)
		for j := range q.ComputeResources {
			if q.AllocationStrategy == "" && q.CapacityType != CapacityBlock && q.ComputeResources[j].Flexible() {
				q.AllocationStrategy = "lowest-price"
			}
		}
	}
	for i := range c.Scheduling.AwsBatchQueues {
		for j := range c.Scheduling.AwsBatchQueues[i].ComputeResources {
			if r := &c.Scheduling.AwsBatchQueues[i].ComputeResources[j]; r.DesiredvCpus == nil {
				desired := r.MinvCpus
				r.DesiredvCpus = &desired
			}
		}
	}
	for i := range c.SharedStorage {
		c.SharedStorage[i].imply()
	}
	if logs := &c.Monitoring.Logs.CloudWatch; !logs.Enabled {
		logs.RetentionInDays = 180 // other values mean nothing then
	}
}

func (s *SharedStorage) imply() {
	switch s.StorageType {
	case Ebs:
		if s.EbsSettings == nil {
			s.EbsSettings = newSection[EbsSettings]()
		}
		e := s.EbsSettings
		e.Iops, e.Throughput = ebsPerformance(e.VolumeType, e.Iops, e.Throughput)
		if e.DeletionPolicy == "" && e.VolumeId == "" {
			e.DeletionPolicy = "Delete"
		}
	case Efs:
		if s.EfsSettings == nil {
			s.EfsSettings = newSection[EfsSettings]()
		}
		if e := s.EfsSettings; e.DeletionPolicy == "" && e.FileSystemId == "" {
			e.DeletionPolicy = "Delete"
		}
	case FsxLustre:
		if s.FsxLustreSettings == nil {
			s.FsxLustreSettings = newSection[FsxLustreSettings]()
		}
		f := s.FsxLustreSettings
		if f.FileSystemId == "" {
			if f.DeletionPolicy == "" {
				f.DeletionPolicy = "Delete"
			}
			if f.DeploymentType == "" && f.BackupId == "" {
				f.DeploymentType = "SCRATCH_2"
			}
		}
	}
}

// ebsPerformance returns what a volume has if the user says nothing.
func ebsPerformance(volumeType string, iops, throughput *int) (*int, *int) {
	implied := func(given *int, value int) *int {
		if given != nil {
			return given
		}
		return &value
	}
	switch volumeType {
	case "gp3":
		return implied(iops, 3000), implied(throughput, 125)
	case "io1", "io2":
		return implied(iops, 100), throughput
	}
	return iops, throughput
}

// AMI returns the AMI of the head node, given the official one, which may be empty.
func (c *Cluster) HeadAMI(official string) string {
	return firstOf(c.HeadNode.Image.CustomAmi, c.Image.CustomAmi, official)
}

// QueueAMI returns the AMI of a queue's nodes, given the official one.
func (c *Cluster) QueueAMI(q *SlurmQueue, official string) string {
	return firstOf(q.Image.CustomAmi, c.Image.CustomAmi, official)
}

// LoginAMI returns the AMI of a login pool, given the official one.
func (c *Cluster) LoginAMI(p *LoginPool, official string) string {
	return firstOf(p.Image.CustomAmi, c.Image.CustomAmi, official)
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// DefaultUser returns the user that an operating system's images come with.
func DefaultUser(os string) string {
	switch os {
	case "ubuntu2004", "ubuntu2204", "ubuntu2404":
		return "ubuntu"
	case "rocky8", "rocky9":
		return "rocky"
	case "debian12":
		return "admin"
	}
	return "ec2-user"
}

// SetTag sets a tag of the cluster, in place of one with the same key.
func (c *Cluster) SetTag(key, value string) {
	for i := range c.Tags {
		if c.Tags[i].Key == key {
			c.Tags[i].Value = value
			return
		}
	}
	c.Tags = append(c.Tags, Tag{key, value})
}
