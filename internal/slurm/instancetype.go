package slurm

import (
	"encoding/json"
	"fmt"
	"strings"

	"pcluster/internal/config"
)

// An InstanceType is the part of EC2's DescribeInstanceTypes answer that decides
// what Slurm is told of a node. Field names are EC2's.
type InstanceType struct {
	InstanceType string
	VCpuInfo     struct {
		DefaultVCpus          int
		DefaultThreadsPerCore int
	}
	MemoryInfo struct {
		SizeInMiB int64
	}
	ProcessorInfo struct {
		SupportedArchitectures []string
	}
	GpuInfo *struct {
		Gpus []struct {
			Count              int
			Manufacturer, Name string
		}
	}
}

// InstanceTypes are the types that a cluster uses, by name.
type InstanceTypes map[string]InstanceType

// ParseInstanceTypes reads instance-types-data.json: an object with the types'
// names as keys, or a list of types.
func ParseInstanceTypes(data []byte) (InstanceTypes, error) {
	types := make(InstanceTypes)
	if err := json.Unmarshal(data, &types); err == nil {
		return types, nil
	}
	var list []InstanceType
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("instance types: %w", err)
	}
	for _, t := range list {
		types[t.InstanceType] = t
	}
	return types, nil
}

// hardware is what the nodes of a compute resource are sure to have, whichever of
// its instance types they run on.
type hardware struct {
	CPUs      int
	MemoryMiB int64
	GPUs      int
	GPUName   string
}

// hardwareOf returns the least that any of the resource's instance types has.
// Types that nothing is known of count as one vCPU and no memory.
func (types InstanceTypes) hardwareOf(r *config.ComputeResource) hardware {
	var h hardware
	threads := 0
	for i, name := range r.InstanceTypes() {
		t := types[name]
		cpus, tpc := max(t.VCpuInfo.DefaultVCpus, 1), t.VCpuInfo.DefaultThreadsPerCore
		if tpc == 0 {
			tpc = 1
			for _, arch := range t.ProcessorInfo.SupportedArchitectures {
				if arch == "x86_64" {
					tpc = 2
				}
			}
		}
		gpus, gpuName := t.gpus()
		if i == 0 {
			h = hardware{CPUs: cpus, MemoryMiB: t.MemoryInfo.SizeInMiB, GPUs: gpus, GPUName: gpuName}
			threads = tpc
			continue
		}
		h.CPUs = min(h.CPUs, cpus)
		h.MemoryMiB = min(h.MemoryMiB, t.MemoryInfo.SizeInMiB)
		h.GPUs = min(h.GPUs, gpus)
		threads = min(threads, tpc)
	}
	if r.DisableSimultaneousMultithreading && threads > 1 {
		h.CPUs = max(h.CPUs/threads, 1)
	}
	return h
}

// gpus returns number and name of the NVIDIA GPUs; Slurm's gres plugin finds no
// others. The name is EC2's without blanks and in lower case: a100, t4.
func (t *InstanceType) gpus() (count int, name string) {
	if t.GpuInfo == nil {
		return 0, ""
	}
	for _, g := range t.GpuInfo.Gpus {
		if strings.EqualFold(g.Manufacturer, "NVIDIA") {
			count += g.Count
			name = strings.ToLower(strings.ReplaceAll(g.Name, " ", ""))
		}
	}
	return count, name
}

// schedulableMemory returns RealMemory of the resource's nodes, in MiB: what the
// file says, else 95 percent of the instance's memory, as the rest is the kernel's.
func schedulableMemory(r *config.ComputeResource, h hardware) int64 {
	if r.SchedulableMemory != nil {
		return int64(*r.SchedulableMemory)
	}
	return max(h.MemoryMiB*95/100, 1)
}
