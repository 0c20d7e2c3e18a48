package validate

import (
	"fmt"
	"slices"
	"strings"

	"pcluster/internal/config"
	"pcluster/internal/facts"
)

var imageRules = []rule{
	{"OsCustomAmiValidator", osNeedsAMI},
	{"CustomAmiTagValidator", amiTags},
	{"AmiOsCompatibleValidator", amiOS},
	{"InstanceTypeBaseAMICompatibleValidator", amiArchitecture},
	{"InstanceTypeOSCompatibleValidator", smallTypes},
	{"RootVolumeSizeValidator", rootSize},
}

// withoutOfficialAMI are operating systems that no official AMI exists for.
var withoutOfficialAMI = []string{"rocky8", "rocky9", "debian12"}

func osNeedsAMI(k *check) {
	if os := k.c.Image.Os; k.c.Image.CustomAmi == "" && slices.Contains(withoutOfficialAMI, os) {
		k.errorf("Image.Os", "there is no official AMI for %s", os)
		k.hint("give Image.CustomAmi")
	}
}

// customAMIs yields the AMIs of the file with their places, each once.
func (e *env) customAMIs(yield func(path, id string)) {
	seen := map[string]bool{"": true}
	once := func(path, id string) {
		if !seen[id] {
			seen[id] = true
			yield(path, id)
		}
	}
	once("Image.CustomAmi", e.c.Image.CustomAmi)
	once("HeadNode.Image.CustomAmi", e.c.HeadNode.Image.CustomAmi)
	e.queues(func(path string, q *config.SlurmQueue) { once(path+".Image.CustomAmi", q.Image.CustomAmi) })
	e.pools(func(path string, p *config.LoginPool) { once(path+".Image.CustomAmi", p.Image.CustomAmi) })
}

// release returns the part of a version that images have to share with us.
func release(version string) string {
	return version[:max(strings.LastIndexByte(version, '.'), 0)]
}

func amiTags(k *check) {
	k.customAMIs(func(path, id string) {
		ami, err := k.src.Image(k.ctx, id)
		if err != nil {
			return // reported by InstanceTypeBaseAMICompatibleValidator
		}
		version, tagged := ami.Tags[config.ToolTagPrefix+"version"]
		switch _, built := ami.Tags[config.ToolTagPrefix+"build_status"]; {
		case !tagged:
			k.warnf(path, "the AMI %s was not built by ParallelCluster, as far as its tags say; nodes install what it lacks", id)
			k.hint("build-image makes AMIs that boot faster")
		case release(version) != release(config.ToolVersion):
			k.errorf(path, "the AMI %s was built with ParallelCluster %s, but this is %s", id, version, config.ToolVersion)
			k.hint("build it again with this version")
		case !built:
			k.errorf(path, "the AMI %s was not finished by ParallelCluster: it has no tag %sbuild_status", id, config.ToolTagPrefix)
		}
	})
}

func amiOS(k *check) {
	k.customAMIs(func(path, id string) {
		ami, err := k.src.Image(k.ctx, id)
		if err != nil {
			return
		}
		switch os, tagged := ami.Tags[config.ToolTagPrefix+"os"]; {
		case !tagged:
			k.warnf(path, "the AMI %s does not say which operating system it has; make sure that it is %s", id, k.c.Image.Os)
		case os != k.c.Image.Os:
			k.errorf(path, "the AMI %s has the operating system %s, but Image.Os is %s", id, os, k.c.Image.Os)
		}
	})
}

// oldGPUs are families that the driver of official AMIs does not support.
var oldGPUs = []string{"p2", "p3", "p3dn", "g2", "g3", "g3s"}

func amiArchitecture(k *check) {
	offered, err := k.src.Offered(k.ctx)
	if err != nil {
		return // reported by InstanceTypeValidator
	}
	seen := map[string]bool{}
	try := func(typePath, amiPath, instanceType, ami string) {
		if key := instanceType + " " + ami; seen[key] {
			return
		} else {
			seen[key] = true
		}
		var image facts.Image
		var err error
		if ami != "" {
			image, err = k.src.Image(k.ctx, ami)
		} else {
			head, ok := k.head()
			if !ok || slices.Contains(withoutOfficialAMI, k.c.Image.Os) {
				return
			}
			amiPath = "Image.Os"
			image, err = k.src.OfficialImage(k.ctx, facts.OfficialQuery(k.c, head.Architecture()))
		}
		if err != nil {
			if !seen["missing "+ami] {
				seen["missing "+ami] = true
				k.errorf(amiPath, "the AMI can't be used: %v", err)
			}
			return
		}
		t, ok := k.types[instanceType]
		if !ok || !offered[instanceType] {
			return // reported by InstanceTypeValidator
		}
		if image.Architecture != "" && !t.Supports(image.Architecture) {
			k.errorf(typePath, "the AMI %s is for %s, but %s runs %s", image.ID, image.Architecture, instanceType, strings.Join(t.ProcessorInfo.SupportedArchitectures, ", "))
		}
		family, _, _ := strings.Cut(instanceType, ".")
		if strings.Contains(image.Description, "AWS ParallelCluster AMI") && slices.Contains(oldGPUs, family) {
			k.errorf(typePath, "the GPUs of %s are too old for the driver in the official AMI %s", instanceType, image.ID)
			k.hint("give an AMI of your own, or another instance type")
		}
	}
	amiPlace := func(own, path string) string {
		if own != "" {
			return path + ".Image.CustomAmi"
		}
		return "Image.CustomAmi"
	}
	try("HeadNode.InstanceType", amiPlace(k.c.HeadNode.Image.CustomAmi, "HeadNode"), k.c.HeadNode.InstanceType, k.c.HeadAMI(""))
	k.resources(func(r resource) {
		for _, n := range k.typeNames(r.queue, r.ComputeResource) {
			try(r.typePath(n), amiPlace(r.queue.Image.CustomAmi, r.queuePath), n, k.c.QueueAMI(r.queue, ""))
		}
	})
	k.pools(func(path string, p *config.LoginPool) {
		try(path+".InstanceType", amiPlace(p.Image.CustomAmi, path), p.InstanceType, k.c.LoginAMI(p, ""))
	})
}

// roomy are operating systems that need more memory than the smallest types have.
var roomy = []string{"ubuntu2204", "ubuntu2404", "rhel8", "rocky8", "rhel9", "rocky9"}

func smallTypes(k *check) {
	if !slices.Contains(roomy, k.c.Image.Os) {
		return
	}
	try := func(path, name string) {
		if strings.Contains(name, "micro") || strings.Contains(name, "nano") {
			k.warnf(path, "%s may have too little memory for %s", name, k.c.Image.Os)
		}
	}
	try("HeadNode.InstanceType", k.c.HeadNode.InstanceType)
	k.resources(func(r resource) {
		for _, n := range r.InstanceTypes() {
			try(r.typePath(n), n)
		}
	})
	k.pools(func(path string, p *config.LoginPool) {
		if p.Image.CustomAmi != "" {
			try(path+".InstanceType", p.InstanceType)
		}
	})
}

// imageOf describes the AMI that a node boots, the official one if the file gives none.
func (e *env) imageOf(ami string) (facts.Image, error) {
	if ami != "" {
		return e.src.Image(e.ctx, ami)
	}
	head, ok := e.head()
	if !ok {
		return facts.Image{}, fmt.Errorf("the instance type %s is not known", e.c.HeadNode.InstanceType)
	}
	return e.src.OfficialImage(e.ctx, facts.OfficialQuery(e.c, head.Architecture()))
}

func rootSize(k *check) {
	try := func(path string, size *int, ami string) {
		if size == nil {
			return
		}
		if image, err := k.imageOf(ami); err == nil && *size < image.RootSize {
			k.errorf(path, "the root volume has %d GiB, but the AMI %s needs %d", *size, image.ID, image.RootSize)
		}
	}
	try("HeadNode.LocalStorage.RootVolume.Size", k.c.HeadNode.LocalStorage.RootVolume.Size, k.c.HeadAMI(""))
	k.queues(func(path string, q *config.SlurmQueue) {
		try(path+".ComputeSettings.LocalStorage.RootVolume.Size", q.ComputeSettings.LocalStorage.RootVolume.Size, k.c.QueueAMI(q, ""))
	})
}
