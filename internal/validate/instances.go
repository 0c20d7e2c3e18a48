package validate

import (
	"errors"
	"slices"
	"strings"

	"pcluster/internal/config"
	"pcluster/internal/facts"
)

// typeOffered judges the instance type of the head node or a login pool. Without
// AWS at hand, a type is only known not to be in our list, which ages.
func typeOffered(k *check, path, name string) {
	offered, err := k.src.Offered(k.ctx)
	if errors.Is(err, facts.ErrOffline) {
		if types, err := k.src.InstanceTypes(k.ctx, []string{name}); err == nil && types[name].Name == "" {
			k.warnf(path, "%s is not among the instance types that this program knows", name)
			if near := nearType(name); near != "" {
				k.hint("%s", near)
			}
		}
		return
	}
	if err != nil {
		k.errorf(path, "instance types of the region can't be looked up: %v", err)
	} else if !offered[name] {
		k.errorf(path, "the instance type %s is not offered in %s", name, k.o.Region)
		if near := nearType(name); near != "" {
			k.hint("%s", near)
		}
	}
}

// unlisted reports compute types that are not in our list, where AWS is not asked.
func unlisted(k *check, r *resource) {
	if _, err := k.src.Offered(k.ctx); !errors.Is(err, facts.ErrOffline) {
		return // EC2 does not know them: that aborts
	}
	for _, n := range r.names {
		if _, ok := k.types[n]; !ok {
			k.warnf(r.typePath(n), "%s is not among the instance types that this program knows", n)
			if near := nearType(n); near != "" {
				k.hint("%s", near)
			}
		}
	}
}

func sameArchitecture(k *check, r *resource) {
	head, ok := k.head()
	if !ok {
		return
	}
	arch := head.Architecture()
	for _, t := range r.types {
		if !t.Supports(arch) {
			k.errorf(r.typePath(t.Name), "%s runs %s, but the head node's %s runs %s; all nodes have to share one architecture",
				t.Name, strings.Join(t.ProcessorInfo.SupportedArchitectures, ", "), head.Name, arch)
		}
	}
}

// headMemory judges whether the head node has the memory that its programs take: more
// with each node that there can be, up to a limit. In hundredths of GiB.
func headMemory(k *check) {
	const least, perNode, limit = 60, 4, 1600
	head, ok := k.head()
	if !ok || head.MemoryInfo.SizeInMiB == 0 {
		return
	}
	nodes := 0
	for _, q := range k.c.Scheduling.SlurmQueues {
		for _, r := range q.ComputeResources {
			nodes += r.MaxCount
		}
	}
	if need := min(least+perNode*min(nodes, limit), limit); head.MemoryInfo.SizeInMiB*100 < need*1024 {
		k.errorf("HeadNode.InstanceType", "%s has %.4g GiB of memory, but a head node needs %.4g for the %d compute nodes that there can be",
			head.Name, float64(head.MemoryInfo.SizeInMiB)/1024, float64(need)/100, nodes)
	}
}

func memoryKnown(k *check, path string, t facts.InstanceType) {
	if k.c.Scheduling.SlurmSettings.EnableMemoryBasedScheduling && t.MemoryInfo.SizeInMiB == 0 {
		k.errorf(path, "EC2 does not say how much memory %s has, which memory-based scheduling needs", t.Name)
	}
}

func acceleratorMaker(k *check, path string, t facts.InstanceType) {
	foreign := func(list []facts.Accelerator, maker, what string) {
		for _, a := range list {
			if !strings.EqualFold(a.Manufacturer, maker) {
				k.warnf(path, "the %s of %s are made by %s; only those of %s are set up", what, t.Name, a.Manufacturer, maker)
				return
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

// inPlacementGroup says whether nodes of a compute resource go to a placement group.
func (r *resource) inPlacementGroup() bool {
	g := r.queue.PlacementGroupOf(r.ComputeResource)
	return g.Managed() || g.Existing() != ""
}

func typeInPlacementGroup(k *check, r *resource, t facts.InstanceType) {
	if r.inPlacementGroup() && !slices.Contains(t.PlacementGroupInfo.SupportedStrategies, "cluster") {
		k.errorf(r.typePath(t.Name), "%s can't be in a cluster placement group", t.Name)
	}
}

// leastMemory returns the smallest memory of a resource's types in MiB, 0 if unknown.
func (r *resource) leastMemory() int {
	least := 0
	for i, t := range r.types {
		if m := t.MemoryInfo.SizeInMiB; i == 0 || m < least {
			least = m
		}
	}
	return least
}

func schedulableMemory(k *check, r *resource) {
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
}

var usageClasses = map[string]string{config.OnDemand: "on-demand", config.Spot: "spot", config.CapacityBlock: "capacity-block"}

func capacityType(k *check, r *resource, t facts.InstanceType) {
	if target := r.target(); r.queue.CapacityType == config.CapacityBlock && (target == nil || target.CapacityReservationId == "") {
		k.errorf(r.path, "a queue of CAPACITY_BLOCK needs a CapacityReservationId, but %s has none", r.Name)
	}
	switch class := usageClasses[r.queue.CapacityType]; {
	case len(t.SupportedUsageClasses) == 0:
		k.warnf(r.typePath(t.Name), "EC2 does not say whether %s can be bought as %s", t.Name, r.queue.CapacityType)
	case !slices.Contains(t.SupportedUsageClasses, class):
		k.errorf(r.typePath(t.Name), "%s can't be bought as %s, only as %s", t.Name, r.queue.CapacityType, strings.Join(t.SupportedUsageClasses, ", "))
	}
}

func resourceSize(k *check, r *resource) {
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
}

// differ reports the first neighbours among a resource's types that differ in something.
func differ(k *check, r *resource, what string, of func(facts.InstanceType) any) {
	for i := 1; i < len(r.types); i++ {
		a, b := r.types[i-1], r.types[i]
		if x, y := of(a), of(b); x != y {
			k.errorf(r.typePath(b.Name), "types of one compute resource need the same %s, but %s has %v and %s has %v", what, a.Name, x, b.Name, y)
			return
		}
	}
}

func sameCPUs(k *check, r *resource) {
	if r.DisableSimultaneousMultithreading {
		differ(k, r, "number of cores", func(t facts.InstanceType) any { return t.VCpuInfo.DefaultCores })
	} else {
		differ(k, r, "number of vCPUs", func(t facts.InstanceType) any { return t.VCpuInfo.DefaultVCpus })
	}
}

func sameAccelerators(k *check, r *resource) {
	maker := func(list []facts.Accelerator) any {
		if len(list) == 0 {
			return "none"
		}
		return list[0].Manufacturer
	}
	differ(k, r, "number of GPUs", func(t facts.InstanceType) any { return t.GPUs("NVIDIA") })
	differ(k, r, "number of accelerators", func(t facts.InstanceType) any { return t.Accelerators("AWS") })
	differ(k, r, "maker of GPUs", func(t facts.InstanceType) any {
		if t.GpuInfo == nil {
			return "none"
		}
		return maker(t.GpuInfo.Gpus)
	})
	differ(k, r, "maker of accelerators", func(t facts.InstanceType) any {
		if t.Inference == nil {
			return "none"
		}
		return maker(t.Inference.Accelerators)
	})
}

// cards returns the fewest and the most network cards of the resource's types.
func (r *resource) cards() (least, most int) {
	for i, t := range r.types {
		n := cards(t)
		if i == 0 || n < least {
			least = n
		}
		most = max(most, n)
	}
	return least, most
}

func cards(t facts.InstanceType) int {
	return max(len(t.NetworkInfo.NetworkCards), t.NetworkInfo.MaximumNetworkCards, 1)
}

func sameNetworkCards(k *check, r *resource) {
	if least, most := r.cards(); least != most {
		k.warnf(r.path+".Instances", "the types have %d to %d network cards; %d will be used", least, most, least)
	}
	if len(r.Instances) > 1 && r.inPlacementGroup() {
		k.warnf(r.path+".Instances", "several instance types in one placement group make it likelier that EC2 has no capacity")
	}
}

// strategies that the capacity types take.
var strategies = map[string][]string{
	config.OnDemand: {"lowest-price", "prioritized"},
	config.Spot:     {"lowest-price", "capacity-optimized", "price-capacity-optimized", "capacity-optimized-prioritized"},
}

func allocationStrategy(k *check, r *resource) {
	path, s := r.queuePath+".AllocationStrategy", r.queue.AllocationStrategy
	switch allowed := strategies[r.queue.CapacityType]; {
	case s == "":
	case r.queue.CapacityType == config.CapacityBlock:
		k.errorf(path, "a capacity block has no allocation strategy, but %s is given", s)
	case !slices.Contains(allowed, s):
		k.errorf(path, "queues of %s take the strategies %s, not %s", r.queue.CapacityType, strings.Join(allowed, ", "), s)
	}
}

func similarMemory(k *check, r *resource) {
	if !k.c.Scheduling.SlurmSettings.EnableMemoryBasedScheduling || len(r.types) < 2 {
		return
	}
	least, most := r.leastMemory(), 0
	for _, t := range r.types {
		most = max(most, t.MemoryInfo.SizeInMiB)
	}
	if gap := most - least; gap > 4096 && gap*5 > least {
		k.warnf(r.path+".Instances", "the types have between %d and %d MiB of memory; jobs get no more than the smallest has", least, most)
	}
}

func keyPair(k *check) {
	const path = "HeadNode.Ssh.KeyName"
	name := k.c.HeadNode.Ssh.KeyName
	if name == "" {
		k.warnf(path, "without a key pair there is no SSH access with the default user")
		return
	}
	key, err := k.src.KeyPair(k.ctx, name)
	switch {
	case err != nil:
		k.errorf(path, "the key pair %s can't be used: %v", name, err)
	case key.Type == "rsa" && (k.c.Image.Os == "ubuntu2204" || k.c.Image.Os == "ubuntu2404"):
		k.errorf(path, "%s does not accept RSA keys, such as %s", k.c.Image.Os, name)
		k.hint("make an ED25519 key pair")
	}
}
