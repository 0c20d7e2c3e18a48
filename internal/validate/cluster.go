package validate

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"pcluster/internal/config"
)

var clusterRules = []rule{
	{"RegionValidator", regionKnown},
	{"ClusterNameValidator", clusterName},
	{"NameValidator", names},
	{"DuplicateNameValidator", duplicateNames},
	{"MaxCountValidator", counts},
	{"SchedulerOsValidator", schedulerOS},
	{"SchedulerDisableSudoAccessForDefaultUserValidator", batchSudo},
	{"HeadNodeImdsValidator", batchImds},
	{"AwsBatchFsxValidator", batchFSx},
	{"IntelHpcOsValidator", intelOS},
	{"FeatureRegionValidator", regionFeatures},
	{"ComputeResourceTagsValidator", tags},
	{"DcvValidator", dcv},
}

// region is a region's name, or that of a partition's.
var region = regexp.MustCompile(`^[a-z]{2,4}(-[a-z]+)+-\d+$`)

func regionKnown(k *check) {
	if k.o.Region != "" && !region.MatchString(k.o.Region) {
		k.errorf("Region", "%q is not a region", k.o.Region)
	}
}

var clusterNamePattern = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9-]*$`)

func clusterName(k *check) {
	name, most := k.o.ClusterName, 60
	s := k.c.Scheduling.SlurmSettings
	if s.Database != nil || s.ExternalSlurmdbd != nil {
		most = 40
	}
	switch {
	case name == "":
	case !clusterNamePattern.MatchString(name):
		k.errorf("", "the cluster name %q has to be a letter, followed by letters, digits and hyphens", name)
	case len(name) > most && most == 40:
		k.errorf("", "the cluster name %q has %d characters, but with accounting at most 40 are possible", name, len(name))
	case len(name) > most:
		k.errorf("", "the cluster name %q has %d characters, but at most 60 are possible", name, len(name))
	}
}

var namePattern = regexp.MustCompile(`^[a-z][a-z0-9\-]*$`)

func names(k *check) {
	try := func(path, name string) {
		path += ".Name"
		if !namePattern.MatchString(name) {
			k.errorf(path, "the name %q has to be a small letter, followed by small letters, digits and hyphens", name)
		}
		if len(name) > 25 {
			k.errorf(path, "the name %q has %d characters, more than 25", name, len(name))
		}
		if name == "default" {
			k.errorf(path, "default can't be a name: Slurm uses the word itself")
		}
	}
	k.queues(func(path string, q *config.SlurmQueue) { try(path, q.Name) })
	k.resources(func(r resource) { try(r.path, r.Name) })
	k.pools(func(path string, p *config.LoginPool) { try(path, p.Name) })
}

func duplicateNames(k *check) {
	try := func(what string, list []string, at func(i int) string) {
		seen := map[string]bool{}
		for i, n := range list {
			if n != "" && seen[n] {
				k.errorf(at(i), "%s %s stands twice in the file", what, n)
			}
			seen[n] = true
		}
	}
	of := func(n int, name func(i int) string) (out []string) {
		for i := range n {
			out = append(out, name(i))
		}
		return out
	}
	queues := k.c.Scheduling.SlurmQueues
	try("the queue", of(len(queues), func(i int) string { return queues[i].Name }), func(i int) string { return fmt.Sprintf("Scheduling.SlurmQueues[%d].Name", i) })
	k.queues(func(path string, q *config.SlurmQueue) {
		try("the compute resource", of(len(q.ComputeResources), func(i int) string { return q.ComputeResources[i].Name }),
			func(i int) string { return fmt.Sprintf("%s.ComputeResources[%d].Name", path, i) })
	})
	if k.c.LoginNodes != nil {
		pools := k.c.LoginNodes.Pools
		try("the pool", of(len(pools), func(i int) string { return pools[i].Name }), func(i int) string { return fmt.Sprintf("LoginNodes.Pools[%d].Name", i) })
	}
	storage := k.c.SharedStorage
	try("the storage", of(len(storage), func(i int) string { return storage[i].Name }), func(i int) string { return fmt.Sprintf("SharedStorage[%d].Name", i) })
	try("the storage", of(len(storage), func(i int) string { return storage[i].ExistingID() }), func(i int) string { return fmt.Sprintf("SharedStorage[%d]", i) })
}

func counts(k *check) {
	const most = 50
	if n := len(k.c.Scheduling.SlurmQueues); n > most {
		k.errorf("Scheduling.SlurmQueues", "a cluster can have %d queues, not %d", most, n)
	}
	total := 0
	k.queues(func(path string, q *config.SlurmQueue) {
		n := len(q.ComputeResources)
		total += n
		if n > most {
			k.errorf(path+".ComputeResources", "a queue can have %d compute resources, not %d", most, n)
		}
	})
	if total > most {
		k.errorf("Scheduling.SlurmQueues", "a cluster can have %d compute resources in all, not %d", most, total)
	}
}

func schedulerOS(k *check) {
	if os := k.c.Image.Os; k.c.Scheduling.Scheduler == config.AWSBatch && os != "alinux2" && os != "alinux2023" {
		k.errorf("Image.Os", "the scheduler awsbatch runs on alinux2 and alinux2023, not on %s", os)
	}
}

func batchSudo(k *check) {
	if k.c.Scheduling.Scheduler == config.AWSBatch && k.c.DeploymentSettings.DisableSudoAccessForDefaultUser {
		k.errorf("DeploymentSettings.DisableSudoAccessForDefaultUser", "the scheduler awsbatch needs sudo for the default user")
	}
}

func batchImds(k *check) {
	if k.c.Scheduling.Scheduler == config.AWSBatch && k.c.HeadNode.Imds.Secured {
		k.errorf("HeadNode.Imds.Secured", "the scheduler awsbatch needs the metadata service for all users")
		k.hint("set HeadNode.Imds.Secured to false")
	}
}

func batchFSx(k *check) {
	k.storages(func(path string, s *config.SharedStorage) {
		if k.c.Scheduling.Scheduler == config.AWSBatch && isFSx(s) {
			k.errorf(path, "FSx does not go with the scheduler awsbatch")
		}
	})
}

func intelOS(k *check) {
	if k.c.AdditionalPackages.IntelSoftware.IntelHpcPlatform {
		k.errorf("AdditionalPackages.IntelSoftware.IntelHpcPlatform", "no supported operating system has the Intel HPC platform any more")
		k.hint("remove it")
	}
}

// absent says in which regions, by the start of their names, a feature is missing.
var absent = map[string][]string{
	"awsbatch": {"ap-northeast-3", "us-iso"}, "DCV": {"us-iso"}, config.FsxLustre: {"us-isob"},
	config.FileCache: {"us-iso"}, config.FsxOntap: {"us-iso"}, config.FsxOpenZfs: {"us-iso"}, config.CapacityBlock: {"us-iso"},
}

func regionFeatures(k *check) {
	try := func(path, feature string) {
		for _, prefix := range absent[feature] {
			if k.o.Region != "" && strings.HasPrefix(k.o.Region, prefix) {
				k.errorf(path, "%s is not available in %s", feature, k.o.Region)
			}
		}
	}
	try("Scheduling.Scheduler", k.c.Scheduling.Scheduler)
	if k.c.HeadNode.Dcv.Enabled {
		try("HeadNode.Dcv", "DCV")
	}
	k.queues(func(path string, q *config.SlurmQueue) { try(path+".CapacityType", q.CapacityType) })
	k.storages(func(path string, s *config.SharedStorage) { try(path+".StorageType", s.StorageType) })
}

func tags(k *check) {
	keys := func(list []config.Tag) map[string]bool {
		out := map[string]bool{}
		for _, t := range list {
			if !strings.HasPrefix(t.Key, config.ToolTagPrefix) {
				out[t.Key] = true
			}
		}
		return out
	}
	cluster := keys(k.c.Tags)
	k.resources(func(r resource) {
		queue, own := keys(r.queue.Tags), keys(r.Tags)
		levels := map[string][]string{} // places of a tag → tags
		all := map[string]bool{}
		for _, set := range []map[string]bool{cluster, queue, own} {
			for key := range set {
				all[key] = true
			}
		}
		for key := range all {
			var at []string
			for _, l := range []struct {
				name string
				set  map[string]bool
			}{{"cluster", cluster}, {"queue", queue}, {"compute resource", own}} {
				if l.set[key] {
					at = append(at, l.name)
				}
			}
			if len(at) > 1 {
				places := strings.Join(at, ", ")
				levels[places] = append(levels[places], key)
			}
		}
		for _, places := range []string{"cluster, queue, compute resource", "cluster, queue", "queue, compute resource", "cluster, compute resource"} {
			if list := levels[places]; len(list) > 0 {
				slices.Sort(list)
				k.warnf(r.path, "the tags %s of %s are given at several levels (%s); the last wins", strings.Join(list, ", "), r.Name, places)
			}
		}
		if len(all) > 40 {
			k.errorf(r.path, "nodes of %s would have %d tags, but at most 40 are possible", r.Name, len(all))
		}
	})
}

func dcv(k *check) {
	try := func(path, instanceType string, d config.Dcv) {
		if !d.Enabled {
			return
		}
		t, ok := k.types[instanceType]
		arm := []string{"alinux2", "rhel8", "rocky8", "rhel9", "rocky9"}
		if os := k.c.Image.Os; ok && t.Architecture() == "arm64" && !slices.Contains(arm, os) || os == "debian12" {
			k.errorf(path, "DCV is not available for %s on %s", os, instanceType)
		}
		if strings.Contains(instanceType, "micro") || strings.Contains(instanceType, "nano") {
			k.warnf(path, "%s has little memory for a remote desktop", instanceType)
		}
		if d.AllowedIps == "0.0.0.0/0" {
			k.warnf(path+".AllowedIps", "the remote desktop's port %d is open to everyone", d.Port)
			k.hint("give the addresses of your users as AllowedIps")
		}
	}
	try("HeadNode.Dcv", k.c.HeadNode.InstanceType, k.c.HeadNode.Dcv)
	k.pools(func(path string, p *config.LoginPool) { try(path+".Dcv", p.InstanceType, p.Dcv) })
}
