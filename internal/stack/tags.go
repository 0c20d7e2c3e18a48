package stack

import (
	"fmt"

	"pcluster/internal/cfn"
	"pcluster/internal/config"
)

// Values of the tags parallelcluster:node-type and Name.
const (
	headNode  = "HeadNode"
	compute   = "Compute"
	loginNode = "LoginNode"
)

// tagSet keeps tags in the order of their first mention; the last value wins.
type tagSet cfn.Tags

func (s *tagSet) set(key string, value cfn.Text) {
	for i := range *s {
		if (*s)[i].Key == key {
			(*s)[i].Value = value
			return
		}
	}
	*s = append(*s, cfn.Tag{Key: key, Value: value})
}

func (s *tagSet) add(tags []config.Tag) {
	for _, t := range tags {
		s.set(t.Key, t.Value)
	}
}

// nodeTags are the tags of an instance and its volumes: those of the tool, then
// the users', where the narrowest place wins.
func (b *builder) nodeTags(kind string, more func(*tagSet), levels ...[]config.Tag) tagSet {
	var s tagSet
	s.set(config.ToolTagPrefix+"cluster-name", b.p.ClusterName)
	s.set(config.ToolTagPrefix+"node-type", kind)
	if more != nil {
		more(&s)
	}
	s.add(b.c.Tags)
	for _, l := range levels {
		s.add(l)
	}
	return s
}

// instanceTags adds what only instances have.
func (b *builder) instanceTags(common tagSet, kind, architecture, efa string) cfn.Tags {
	var s tagSet
	s.set("Name", kind)
	for _, t := range common {
		s.set(t.Key, t.Value)
	}
	if architecture == "" {
		architecture = "NONE"
	}
	s.set(config.ToolTagPrefix+"attributes", fmt.Sprintf("%s, %s, %s, %s", b.c.Image.Os, b.c.Scheduling.Scheduler, config.ToolVersion, architecture))
	s.set(config.ToolTagPrefix+"networking", "EFA="+efa)
	n := map[string]int{}
	if b.c.HeadNode.SharedStorageType == "Efs" {
		n["efs"]++ // that of the cluster's own directories
	}
	for _, st := range b.c.SharedStorage {
		switch {
		case st.StorageType == config.Ebs && st.EbsSettings.Raid != nil:
			n["raid"] += st.EbsSettings.Raid.NumberOfVolumes
		case st.StorageType == config.Ebs:
			n["ebs"]++
		case st.StorageType == config.Efs:
			n["efs"]++
		default:
			n["fsx"]++
		}
	}
	s.set(config.ToolTagPrefix+"filesystem", fmt.Sprintf("efs=%d, multiebs=%d, raid=%d, fsx=%d", n["efs"], n["ebs"], n["raid"], n["fsx"]))
	if b.c.AdditionalPackages.IntelSoftware.IntelHpcPlatform {
		s.set(config.ToolTagPrefix+"intel-hpc", "enable_intel_hpc_platform=true")
	}
	return cfn.Tags(s)
}

// ofTemplate are the tags of a launch template itself. Unlike other resources it
// does not get those of the stack from CloudFormation, and the head node may launch
// with templates that have the cluster's.
func (b *builder) ofTemplate() []cfn.TagSpecification {
	var s tagSet
	s.set(config.ToolTagPrefix+"cluster-name", b.p.ClusterName)
	s.add(b.c.Tags)
	return []cfn.TagSpecification{{ResourceType: "launch-template", Tags: cfn.Tags(s)}}
}

// named returns the Name tag of storage.
func named(name string) cfn.Tags { return cfn.Tags{{Key: "Name", Value: name}} }
