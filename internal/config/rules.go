package config

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// rules checks what keys of one section, given together, must obey. They run
// only for sections that have no other error.
func (d *decoder) rules(section any, n *Node, path string, pos Pos) {
	has := func(key string) bool {
		v := n.Get(key)
		return v != nil && !(v.Kind == Sequence && len(v.Items) == 0) && !(v.Kind == Mapping && len(v.Entries) == 0)
	}
	at := func(key string) Pos {
		if _, p := lookup(n, key); p != (Pos{}) {
			return p
		}
		return pos
	}
	exclude := func(a, b string) {
		if has(a) && has(b) {
			d.errorf(join(path, b), at(b), "remove one of them", "%s and %s exclude each other", a, b)
		}
	}
	switch s := section.(type) {
	case *HeadNetworking, *QueueNetworking, *LoginNetworking, *BatchNetworking:
		exclude("SecurityGroups", "AdditionalSecurityGroups")
	case *NodeIam, *LoginIam:
		exclude("InstanceRole", "InstanceProfile")
		exclude("InstanceRole", "AdditionalIamPolicies")
		exclude("InstanceProfile", "AdditionalIamPolicies")
		exclude("InstanceRole", "S3Access")
		exclude("InstanceProfile", "S3Access")
	case *BuildIam:
		exclude("InstanceRole", "InstanceProfile")
		exclude("InstanceRole", "AdditionalIamPolicies")
		exclude("InstanceProfile", "AdditionalIamPolicies")
	case *CustomAction:
		switch {
		case n.Get("Script") != nil && n.Get("Sequence") != nil:
			d.errorf(join(path, "Sequence"), at("Sequence"), "remove one of them", "Script and Sequence exclude each other")
		case n.Get("Script") == nil && n.Get("Sequence") == nil:
			d.errorf(path, pos, "add Script, or Sequence with several", "no script is given")
		case n.Get("Args") != nil && n.Get("Sequence") != nil:
			d.errorf(join(path, "Args"), at("Args"), "put Args beside each Script of the Sequence", "Args belongs to Script")
		}
	case *HeadRootVolume:
		// A queue's volume has no such rule: EC2 refuses what it does not know.
		if kinds := volumeTypes; !slices.Contains(kinds, s.VolumeType) {
			d.errorf(join(path, "VolumeType"), at("VolumeType"), "", "%s is not one of %s", quote(s.VolumeType), strings.Join(kinds, ", "))
		}
	case *Cluster:
		d.tags("Tags", s.Tags, at("Tags"))
		d.clusterRules(s, n)
	case *SlurmQueue:
		d.tags(join(path, "Tags"), s.Tags, at("Tags"))
	case *ComputeResource:
		d.tags(join(path, "Tags"), s.Tags, at("Tags"))
		exclude("InstanceType", "Instances")
		own := s.CapacityReservationTarget
		if !has("InstanceType") && !has("Instances") && (own == nil || own.CapacityReservationId == "") {
			d.errorf(path, pos, "add InstanceType, or Instances with several types", "no instance type is given")
		}
		seen := map[string]bool{}
		for i, in := range s.Instances {
			if seen[in.InstanceType] {
				p := fmt.Sprintf("%s.Instances[%d]", path, i)
				d.errorf(p, d.doc.at[p], "remove it", "%s stands twice in Instances", in.InstanceType)
			}
			seen[in.InstanceType] = true
		}
	case *CapacityReservationTarget:
		if has("CapacityReservationId") == has("CapacityReservationResourceGroupArn") {
			d.errorf(path, pos, "", "needs exactly one of CapacityReservationId and CapacityReservationResourceGroupArn")
		}
	case *Scheduling:
		d.schedulerRules(s, n, path, at)
	case *SharedStorage:
		d.storageRules(s, n, path, at)
	case *EfsSettings:
		if s.FileSystemId != "" {
			d.onlyBeside("FileSystemId", n, path, "EncryptionInTransit", "IamAuthorization", "AccessPointId")
		}
		provisioned := s.ThroughputMode == "provisioned"
		if provisioned != (s.ProvisionedThroughput != nil) {
			d.errorf(path, pos, "", "ThroughputMode provisioned and ProvisionedThroughput need each other")
		}
	case *FsxLustreSettings:
		if s.FileSystemId != "" {
			d.onlyBeside("FileSystemId", n, path)
		}
		if s.BackupId != "" {
			for _, key := range []string{"DeploymentType", "PerUnitStorageThroughput", "StorageCapacity", "ImportPath", "ExportPath", "ImportedFileChunkSize", "KmsKeyId"} {
				if n.Get(key) != nil {
					d.errorf(join(path, key), at(key), "remove it: the backup decides", "%s can't be given beside BackupId", key)
				}
			}
		}
	case *Cookbook:
		if s.ExtraChefAttributes != "" && !json.Valid([]byte(s.ExtraChefAttributes)) {
			d.errorf(join(path, "ExtraChefAttributes"), at("ExtraChefAttributes"), "", "is not JSON")
		}
	}
}

var volumeTypes = []string{"standard", "io1", "io2", "gp2", "st1", "sc1", "gp3"}

// onlyBeside reports keys that can't stand beside one that names something existing.
func (d *decoder) onlyBeside(key string, n *Node, path string, allowed ...string) {
	for _, e := range n.Entries {
		if e.Key == key || strings.Contains(" "+strings.Join(allowed, " ")+" ", " "+e.Key+" ") {
			continue
		}
		d.errorf(join(path, e.Key), e.KeyPos, "remove it: what exists already keeps its settings", "%s can't be given beside %s", e.Key, key)
	}
}

// ToolTagPrefix starts the keys of tags that are the tool's own.
const ToolTagPrefix = "parallelcluster:"

func reservedTag(key string) bool {
	return strings.HasPrefix(key, ToolTagPrefix) && key != ToolTagPrefix+"custom_resource"
}

func (d *decoder) tags(path string, tags []Tag, pos Pos) {
	seen := map[string]bool{}
	for i, t := range tags {
		at := fmt.Sprintf("%s[%d].Key", path, i)
		if reservedTag(t.Key) {
			d.errorf(at, d.doc.at[at], "choose another key", "tag keys that start with %s are reserved", ToolTagPrefix)
		}
		if seen[t.Key] {
			d.errorf(at, d.doc.at[at], "remove one of them", "the tag %s is given twice", quote(t.Key))
		}
		seen[t.Key] = true
	}
}

func (d *decoder) clusterRules(c *Cluster, n *Node) {
	if c.Scheduling.Scheduler != AWSBatch {
		return
	}
	for path, given := range map[string]bool{
		"AdditionalPackages.IntelSoftware.IntelHpcPlatform": c.AdditionalPackages.IntelSoftware.IntelHpcPlatform,
		"HeadNode.CustomActions.OnNodeUpdated":              c.HeadNode.CustomActions.OnNodeUpdated != nil,
		"DirectoryService":                                  c.DirectoryService != nil,
	} {
		if given {
			d.errorf(path, d.doc.at[path], "remove it, or use slurm", "%s does not go with the scheduler awsbatch", path)
		}
	}
}

func (d *decoder) schedulerRules(s *Scheduling, n *Node, path string, at func(string) Pos) {
	own, other := "SlurmQueues", []string{"AwsBatchSettings", "AwsBatchQueues"}
	queues := len(s.SlurmQueues)
	if s.Scheduler == AWSBatch {
		own, other = "AwsBatchQueues", []string{"SlurmSettings", "SlurmQueues"}
		queues = len(s.AwsBatchQueues)
	}
	for _, key := range other {
		if n.Get(key) != nil {
			d.errorf(join(path, key), at(key), "remove it, or change Scheduler", "%s does not go with the scheduler %s", key, s.Scheduler)
		}
	}
	if queues == 0 {
		d.errorf(join(path, own), at(own), "", "%s is missing or empty; the scheduler %s needs at least one queue", own, s.Scheduler)
	}
}

func (d *decoder) storageRules(s *SharedStorage, n *Node, path string, at func(string) Pos) {
	if s.MountDir == "NONE" || s.MountDir == "/NONE" {
		d.errorf(join(path, "MountDir"), at("MountDir"), "give a path", "%s is not a directory", quote(s.MountDir))
	}
	own := s.StorageType + "Settings"
	for _, key := range []string{"EbsSettings", "EfsSettings", "FsxLustreSettings", "FsxOpenZfsSettings", "FsxOntapSettings", "FileCacheSettings"} {
		if v := n.Get(key); v != nil && key != own && len(v.Entries) > 0 {
			d.errorf(join(path, key), at(key), "remove it, or change StorageType", "%s does not go with StorageType %s", key, s.StorageType)
		}
	}
	switch s.StorageType {
	case FsxOpenZfs, FsxOntap, FileCache:
		if n.Get(own) == nil {
			d.latef(join(path, own), at("StorageType"), "", "%s is missing", own)
		}
	}
}
