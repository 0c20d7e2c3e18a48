package validate

import (
	"regexp"
	"slices"
	"strings"

	"pcluster/internal/config"
)

// AWS Batch takes instance types, families and the word optimal.
const optimal = "optimal"

var familyPattern = regexp.MustCompile(`^([a-z0-9\-]+)\.`)

// isType says whether an entry of InstanceTypes names one type.
func isType(name string) bool { return familyPattern.MatchString(name) }

func batchSize(k *check, path string, r *config.BatchComputeResource) {
	desired := r.MinvCpus
	if r.DesiredvCpus != nil {
		desired = *r.DesiredvCpus
	}
	if desired < r.MinvCpus {
		k.errorf(path+".DesiredvCpus", "DesiredvCpus is %d, below MinvCpus, which is %d", desired, r.MinvCpus)
	}
	if desired > r.MaxvCpus {
		k.errorf(path+".DesiredvCpus", "DesiredvCpus is %d, above MaxvCpus, which is %d", desired, r.MaxvCpus)
	}
	if r.MaxvCpus < r.MinvCpus {
		k.errorf(path+".MaxvCpus", "MaxvCpus is %d, below MinvCpus, which is %d", r.MaxvCpus, r.MinvCpus)
	}
}

// batchNames returns what AWS Batch takes as instance types. Where it does not
// say, that is all types of the region, their families and optimal.
func (k *check) batchNames() ([]string, error) {
	names, err := k.src.BatchTypes(k.ctx)
	if err != nil {
		return nil, err
	}
	odd := func(name string) bool {
		return name != optimal && strings.Contains(name, ".") && !k.offered[name] && len(k.offered) > 0
	}
	if len(names) > 0 && !slices.ContainsFunc(names, odd) {
		return names, nil
	}
	names = nil
	for name, ok := range k.offered {
		if ok {
			family, _, _ := strings.Cut(name, ".")
			names = append(names, name, family)
		}
	}
	if len(names) > 0 {
		names = append(names, optimal)
	}
	return names, nil
}

func batchTypes(k *check, path string, r *config.BatchComputeResource) {
	path += ".InstanceTypes"
	names, err := k.batchNames()
	switch {
	case err != nil:
		k.errorf(path, "what AWS Batch takes as instance types can't be looked up: %v", err)
	case len(names) == 0:
		k.warnf(path, "what AWS Batch takes as instance types is not known")
	default:
		for i, name := range r.InstanceTypes {
			if !slices.Contains(names, name) {
				k.errorf(at(path, i), "AWS Batch does not take %s in %s", name, k.o.Region)
				k.hint("give instance types, families such as c5, or optimal")
			}
		}
	}
	if len(r.InstanceTypes) != 1 || !strings.Contains(r.InstanceTypes[0], ".") {
		return
	}
	name := r.InstanceTypes[0]
	switch n := k.types[name].VCpuInfo.DefaultVCpus; {
	case n <= 0:
		k.warnf(at(path, 0), "it is not known how many vCPUs %s has", name)
	case r.MaxvCpus < n:
		k.errorf(path[:strings.LastIndexByte(path, '.')]+".MaxvCpus", "MaxvCpus is %d, but one %s has %d vCPUs", r.MaxvCpus, name, n)
	}
}

func batchArchitecture(k *check, path string, r *config.BatchComputeResource) {
	head, ok := k.head()
	if !ok {
		return
	}
	arch := head.Architecture()
	for i, name := range r.InstanceTypes {
		place := at(path+".InstanceTypes", i)
		switch t, known := k.types[name]; {
		case name == optimal:
			if arch != "x86_64" {
				k.errorf(place, "optimal stands for x86_64, but the head node's %s runs %s", head.Name, arch)
			}
		case !isType(name):
			k.infof(place, "it is not checked whether %s has the architecture of the head node, %s", name, arch)
		case !known:
			k.errorf(place, "there is no instance type %s", name)
			if near := nearType(name); near != "" {
				k.hint("%s", near)
			}
		case !t.Supports(arch):
			k.errorf(place, "%s runs %s, but the head node's %s runs %s; all nodes have to share one architecture",
				name, strings.Join(t.ProcessorInfo.SupportedArchitectures, ", "), head.Name, arch)
		}
	}
}

func batchFSx(k *check, path string, s *config.SharedStorage) {
	k.errorf(path+".StorageType", "%s does not go with the scheduler awsbatch", s.StorageType)
}
