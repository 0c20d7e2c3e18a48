package validate

import (
	"encoding/json"
	"slices"
	"strings"

	"pcluster/internal/config"
	"pcluster/internal/facts"
)

func jsonMember(text string, path ...string) (any, bool) {
	var v any
	if json.Unmarshal([]byte(text), &v) != nil {
		return nil, false
	}
	for _, key := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil, false
		}
		if v, ok = m[key]; !ok {
			return nil, false
		}
	}
	return v, true
}

func osNeedsAMI(k *check) {
	if _, official := facts.OfficialNames[k.c.Image.Os]; k.c.Image.CustomAmi == "" && !official {
		k.errorf("Image.Os", "there is no official AMI for %s", k.c.Image.Os)
		k.hint("give Image.CustomAmi")
	}
}

// release returns the part of a version that images have to share with us.
func release(version string) string {
	return version[:max(strings.LastIndexByte(version, '.'), 0)]
}

func amiTags(k *check, path, id string) {
	ami, err := k.src.Image(k.ctx, id)
	if err != nil {
		k.errorf(path, "the AMI %s can't be used: %v", id, err)
		return
	}
	version, tagged := ami.Tags[config.ToolTagPrefix+"version"]
	switch _, built := ami.Tags[config.ToolTagPrefix+"build_status"]; {
	case !tagged:
		k.warnf(path, "the AMI %s was not built by ParallelCluster, as far as its tags say; nodes install what it lacks", id)
		k.hint("build-image makes AMIs that boot faster")
	case release(version) != facts.Release():
		k.errorf(path, "the AMI %s was built with ParallelCluster %s, but this is %s", id, version, config.ToolVersion)
		k.hint("build it again with this version")
	case !built:
		k.errorf(path, "the AMI %s was not finished by ParallelCluster: it has no tag %sbuild_status", id, config.ToolTagPrefix)
	}
}

func amiOS(k *check, path, id string) {
	ami, err := k.src.Image(k.ctx, id)
	if err != nil {
		k.errorf(path, "the AMI %s can't be used: %v", id, err)
		return
	}
	switch os, tagged := ami.Tags[config.ToolTagPrefix+"os"]; {
	case !tagged:
		k.warnf(path, "the AMI %s does not say which operating system it has; make sure that it is %s", id, k.c.Image.Os)
	case os != k.c.Image.Os:
		k.errorf(path, "the AMI %s has the operating system %s, but Image.Os is %s", id, os, k.c.Image.Os)
	}
}

// oldGPUs are families that the driver of official AMIs does not support.
var oldGPUs = []string{"p2", "p3", "p3dn", "g2", "g3", "g3s"}

// amiRuns judges whether an instance type runs an AMI, the official one if none is given.
func amiRuns(k *check, typePath, instanceType, amiPath, ami string) {
	image, err := k.image(ami)
	if err != nil {
		k.errorf(amiPath, "the AMI for %s can't be used: %v", instanceType, err)
		return
	}
	k.fits(typePath, instanceType, image)
}

func (k *check) fits(typePath, instanceType string, image facts.Image) {
	if offered, err := k.src.Offered(k.ctx); err != nil {
		k.errorf(typePath, "instance types of the region can't be looked up: %v", err)
	} else if !offered[instanceType] {
		k.errorf(typePath, "the instance type %s is not offered in %s", instanceType, k.o.Region)
	} else if types, err := k.src.InstanceTypes(k.ctx, []string{instanceType}); err != nil {
		k.errorf(typePath, "the instance type %s can't be looked up: %v", instanceType, err)
	} else if t := types[instanceType]; !t.Supports(image.Architecture) {
		k.errorf(typePath, "the AMI %s is for %s, but %s runs %s", image.ID, image.Architecture, instanceType, strings.Join(t.ProcessorInfo.SupportedArchitectures, ", "))
	}
	family, _, _ := strings.Cut(instanceType, ".")
	if strings.Contains(image.Description, "AWS ParallelCluster AMI") && slices.Contains(oldGPUs, family) {
		k.errorf(typePath, "the GPUs of %s are too old for the driver in the official AMI %s", instanceType, image.ID)
		k.hint("give an AMI of your own, or another instance type")
	}
}

// amiPlace returns where the AMI of a node is given.
func (e *env) amiPlace(own, path string) string {
	switch {
	case own != "":
		return path + ".Image.CustomAmi"
	case e.c.Image.CustomAmi != "":
		return "Image.CustomAmi"
	}
	return "Image.Os"
}

// roomy are operating systems that need more memory than the smallest types have.
var roomy = []string{"ubuntu2204", "ubuntu2404", "rhel8", "rocky8", "rhel9", "rocky9", "debian12"}

func osOnType(k *check, path, instanceType string) {
	if tiny(instanceType) && slices.Contains(roomy, k.c.Image.Os) {
		k.warnf(path, "%s may have too little memory for %s", instanceType, k.c.Image.Os)
	}
}

// architectureOS can't find anything: every operating system is there for both architectures.
func architectureOS(k *check) {
	if head, ok := k.head(); ok && head.Architecture() == "" {
		k.errorf("HeadNode.InstanceType", "%s runs neither x86_64 nor arm64", head.Name)
	}
}

func rootSize(k *check, path string, size *int, ami string) {
	if size == nil {
		return
	}
	if image, err := k.image(ami); err == nil && *size < image.RootSize {
		k.errorf(path+".Size", "the root volume has %d GiB, but the AMI %s needs %d", *size, image.ID, image.RootSize)
	}
}
