package validate

import (
	"slices"
	"strings"

	"pcluster/internal/config"
	"pcluster/internal/facts"
	"pcluster/internal/facts/catalog"
)

var instanceRules = []rule{
	{"InstanceTypeValidator", typesExist},
	{"InstanceArchitectureCompatibilityValidator", sameArchitecture},
	{"InstanceTypeMemoryInfoValidator", memoryKnown},
	{"InstanceTypeAcceleratorManufacturerValidator", acceleratorMaker},
	{"InstanceTypePlacementGroupValidator", typeInPlacementGroup},
	{"SchedulableMemoryValidator", schedulableMemory},
	{"CapacityTypeValidator", capacityType},
	{"ComputeResourceSizeValidator", resourceSize},
	{"InstancesCPUValidator", sameCPUs},
	{"InstancesAcceleratorsValidator", sameAccelerators},
	{"InstancesNetworkingValidator", sameNetworkCards},
	{"InstancesAllocationStrategyValidator", allocationStrategy},
	{"InstancesMemorySchedulingWarningValidator", similarMemory},
	{"KeyPairValidator", keyPair},
}

func typesExist(k *check) {
	if k.typesErr != nil {
		k.errorf("", "instance types can't be looked up: %v", k.typesErr)
		return
	}
	offered, err := k.src.Offered(k.ctx)
	if err != nil {
		k.errorf("", "instance types of the region can't be looked up: %v", err)
		return
	}
	seen := map[string]bool{"": true}
	try := func(path, name string) {
		if seen[name] {
			return
		}
		seen[name] = true
		_, known := k.types[name]
		switch {
		case !known && !offered[name]:
			k.errorf(path, "there is no instance type %s", name)
			if near := catalog.Nearest(name); near != "" && near != name {
				k.hint("did you mean %s?", near)
			}
		case !offered[name]:
			k.errorf(path, "the instance type %s is not offered in %s", name, k.o.Region)
		}
	}
	try("HeadNode.InstanceType", k.c.HeadNode.InstanceType)
	k.resources(func(r resource) {
		for _, n := range r.InstanceTypes() {
			try(r.typePath(n), n)
		}
	})
	k.pools(func(path string, p *config.LoginPool) { try(path+".InstanceType", p.InstanceType) })
}

func sameArchitecture(k *check) {
	head, ok := k.head()
	if !ok {
		return
	}
	arch := head.Architecture()
	k.resources(func(r resource) {
		for _, t := range r.types {
			if !t.Supports(arch) {
				k.errorf(r.typePath(t.Name), "%s runs %s, but the head node's %s runs %s; all nodes have to share one architecture",
					t.Name, strings.Join(t.ProcessorInfo.SupportedArchitectures, ", "), head.Name, arch)
			}
		}
	})
}

func memoryKnown(k *check) {
	if !k.c.Scheduling.SlurmSettings.EnableMemoryBasedScheduling {
		return
	}
	k.resources(func(r resource) {
		for _, t := range r.types {
			if t.MemoryInfo.SizeInMiB == 0 {
				k.errorf(r.typePath(t.Name), "EC2 does not say how much memory %s has, which memory-based scheduling needs", t.Name)
			}
		}
	})
}

func acceleratorMaker(k *check) {
	seen := map[string]bool{}
	k.resources(func(r resource) {
		for _, t := range r.types {
			if seen[t.Name] {
				continue
			}
			seen[t.Name] = true
			foreign := func(list []facts.Accelerator, maker, what string) {
				for _, a := range list {
					if !strings.EqualFold(a.Manufacturer, maker) {
						k.warnf(r.typePath(t.Name), "the %s of %s are made by %s; only those of %s are set up", what, t.Name, a.Manufacturer, maker)
					}
				}
			}
			if t.GpuInfo != nil {
				foreign(t.GpuInfo.Gpus, "NVIDIA", "GPUs")
			}
			if t.Inference != nil {
				foreign(t.Inference.Accelerators, "AWS", "accelerators")
			}
		}
	})
}

// inPlacementGroup says whether nodes of a compute resource go to a placement group.
func (r resource) inPlacementGroup() bool {
	g := r.queue.PlacementGroupOf(r.ComputeResource)
	return g.Managed() || g.Existing() != ""
}

func typeInPlacementGroup(k *check) {
	k.resources(func(r resource) {
		if !r.inPlacementGroup() {
			return
		}
		for _, t := range r.types {
			if !slices.Contains(t.PlacementGroupInfo.SupportedStrategies, "cluster") {
				k.errorf(r.typePath(t.Name), "%s can't be in a cluster placement group", t.Name)
			}
		}
	})
}

// leastMemory returns the smallest memory of a resource's types in MiB, 0 if unknown.
func (r resource) leastMemory() int {
	least := 0
	for i, t := range r.types {
		if m := t.MemoryInfo.SizeInMiB; i == 0 || m < least {
			least = m
		}
	}
	return least
}

func schedulableMemory(k *check) {
	k.resources(func(r resource) {
		if r.SchedulableMemory == nil {
			return
		}
		path, given, has := r.path+".SchedulableMemory", *r.SchedulableMemory, r.leastMemory()
		switch {
		case given < 1:
			k.errorf(path, "SchedulableMemory has to be at least 1, but is %d", given)
		case has == 0:
			k.warnf(path, "it is not known whether the instances have %d MiB", given)
		case given > has:
			k.errorf(path, "SchedulableMemory is %d MiB, but the instances have %d", given, has)
		case given < has*95/100:
			k.infof(path, "SchedulableMemory is %d MiB, so %d of %d MiB stay unused", given, has-given, has)
		}
	})
}

var usageClasses = map[string]string{config.OnDemand: "on-demand", config.Spot: "spot", config.CapacityBlock: "capacity-block"}

func capacityType(k *check) {
	k.resources(func(r resource) {
		target := r.queue.ReservationOf(r.ComputeResource)
		if r.queue.CapacityType == config.CapacityBlock && (target == nil || target.CapacityReservationId == "") {
			k.errorf(r.path, "a queue of CAPACITY_BLOCK needs a CapacityReservationId, but %s has none", r.Name)
		}
		for _, t := range r.types {
			switch class := usageClasses[r.queue.CapacityType]; {
			case len(t.SupportedUsageClasses) == 0:
				k.warnf(r.typePath(t.Name), "EC2 does not say whether %s can be bought as %s", t.Name, r.queue.CapacityType)
			case !slices.Contains(t.SupportedUsageClasses, class):
				k.errorf(r.typePath(t.Name), "%s can't be bought as %s, only as %s", t.Name, r.queue.CapacityType, strings.Join(t.SupportedUsageClasses, ", "))
			}
		}
	})
}

func resourceSize(k *check) {
	k.resources(func(r resource) {
		if r.MaxCount < r.MinCount {
			k.errorf(r.path+".MaxCount", "MaxCount is %d, below MinCount, which is %d", r.MaxCount, r.MinCount)
		}
		if r.queue.CapacityType != config.CapacityBlock {
			return
		}
		if r.MaxCount != r.MinCount {
			k.errorf(r.path+".MaxCount", "in a capacity block MinCount and MaxCount have to be equal, but are %d and %d", r.MinCount, r.MaxCount)
		}
		if r.MinCount == 0 {
			k.errorf(r.path+".MinCount", "in a capacity block MinCount has to be above 0")
		}
	})
}

// pairs yields neighbours of the instance types of flexible compute resources
// until one is reported.
func (k *check) pairs(report func(r resource, a, b facts.InstanceType) bool) {
	k.resources(func(r resource) {
		if !r.Flexible() {
			return
		}
		for i := 1; i < len(r.types); i++ {
			if report(r, r.types[i-1], r.types[i]) {
				return
			}
		}
	})
}

func sameCPUs(k *check) {
	k.pairs(func(r resource, a, b facts.InstanceType) bool {
		what, x, y := "vCPUs", a.VCpuInfo.DefaultVCpus, b.VCpuInfo.DefaultVCpus
		if r.DisableSimultaneousMultithreading {
			what, x, y = "cores", a.VCpuInfo.DefaultCores, b.VCpuInfo.DefaultCores
		}
		if x != y {
			k.errorf(r.typePath(b.Name), "types of one compute resource need equal %s, but %s has %d and %s has %d", what, a.Name, x, b.Name, y)
		}
		return x != y
	})
}

func sameAccelerators(k *check) {
	k.resources(func(r resource) {
		if !r.Flexible() {
			return
		}
		differ := func(what string, of func(facts.InstanceType) any) {
			for i := 1; i < len(r.types); i++ {
				a, b := r.types[i-1], r.types[i]
				if x, y := of(a), of(b); x != y {
					k.errorf(r.typePath(b.Name), "types of one compute resource need the same %s, but %s has %v and %s has %v", what, a.Name, x, b.Name, y)
					return
				}
			}
		}
		differ("number of GPUs", func(t facts.InstanceType) any { return t.GPUs("NVIDIA") })
		differ("number of accelerators", func(t facts.InstanceType) any { return t.Accelerators("AWS") })
		maker := func(list []facts.Accelerator) any {
			if len(list) == 0 {
				return "none"
			}
			return list[0].Manufacturer
		}
		differ("maker of GPUs", func(t facts.InstanceType) any {
			if t.GpuInfo == nil {
				return "none"
			}
			return maker(t.GpuInfo.Gpus)
		})
		differ("maker of accelerators", func(t facts.InstanceType) any {
			if t.Inference == nil {
				return "none"
			}
			return maker(t.Inference.Accelerators)
		})
	})
}

func sameNetworkCards(k *check) {
	k.resources(func(r resource) {
		if !r.Flexible() {
			return
		}
		least, most := 0, 0
		for i, t := range r.types {
			n := len(t.Cards())
			if i == 0 || n < least {
				least = n
			}
			most = max(most, n)
		}
		if least != most {
			k.warnf(r.path+".Instances", "the types have %d to %d network cards; %d will be used", least, most, least)
		}
		if len(r.Instances) > 1 && r.inPlacementGroup() {
			k.warnf(r.path+".Instances", "several instance types in one placement group make it likelier that EC2 has no capacity")
		}
	})
}

func allocationStrategy(k *check) {
	k.queues(func(path string, q *config.SlurmQueue) {
		if !slices.ContainsFunc(q.ComputeResources, func(r config.ComputeResource) bool { return r.Flexible() }) {
			return
		}
		path += ".AllocationStrategy"
		switch s := q.AllocationStrategy; {
		case q.CapacityType == config.CapacityBlock && s != "":
			k.errorf(path, "a capacity block has no allocation strategy, but %s is given", s)
		case q.CapacityType == config.OnDemand && s != "lowest-price" && s != "prioritized":
			k.errorf(path, "on-demand queues take the strategies lowest-price and prioritized, not %s", s)
		case q.CapacityType == config.Spot && s == "prioritized":
			k.errorf(path, "Spot queues don't take the strategy prioritized")
			k.hint("use capacity-optimized-prioritized")
		}
	})
}

func similarMemory(k *check) {
	if !k.c.Scheduling.SlurmSettings.EnableMemoryBasedScheduling {
		return
	}
	k.resources(func(r resource) {
		if len(r.Instances) < 2 || len(r.types) < 2 {
			return
		}
		least, most := r.leastMemory(), 0
		for _, t := range r.types {
			most = max(most, t.MemoryInfo.SizeInMiB)
		}
		if gap := most - least; gap > 4096 && gap*5 > least {
			k.warnf(r.path+".Instances", "the types have between %d and %d MiB of memory; jobs get no more than the smallest has", least, most)
		}
	})
}

func keyPair(k *check) {
	name := k.c.HeadNode.Ssh.KeyName
	if name == "" {
		k.warnf("HeadNode.Ssh.KeyName", "without a key pair there is no SSH access with the default user")
		return
	}
	key, err := k.src.KeyPair(k.ctx, name)
	switch {
	case err != nil:
		k.errorf("HeadNode.Ssh.KeyName", "the key pair %s can't be used: %v", name, err)
	case key.Type == "rsa" && k.c.Image.Os == "ubuntu2204":
		k.errorf("HeadNode.Ssh.KeyName", "ubuntu2204 does not accept RSA keys, such as %s", name)
		k.hint("make an ED25519 key pair")
	}
}
