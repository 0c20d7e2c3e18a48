package facts

import "slices"

// An InstanceType is what EC2 says about an instance type, as far as this tool
// uses it. Its JSON has the member names of EC2's DescribeInstanceTypes, so that
// the file instance-types-data.json and DevSettings.InstanceTypesData read alike.
type InstanceType struct {
	Name                  string `json:"InstanceType"`
	BareMetal             bool
	Hypervisor            string   `json:",omitempty"`
	SupportedUsageClasses []string `json:",omitempty"`
	ProcessorInfo         ProcessorInfo
	VCpuInfo              VCpuInfo
	MemoryInfo            MemoryInfo
	NetworkInfo           NetworkInfo
	EbsInfo               EbsInfo
	PlacementGroupInfo    PlacementGroupInfo
	InstanceStorageInfo   *InstanceStorageInfo      `json:",omitempty"`
	GpuInfo               *GpuInfo                  `json:",omitempty"`
	Inference             *InferenceAcceleratorInfo `json:"InferenceAcceleratorInfo,omitempty"`
}

// ProcessorInfo of an instance type.
type ProcessorInfo struct {
	SupportedArchitectures []string
}

// VCpuInfo of an instance type.
type VCpuInfo struct {
	DefaultVCpus          int
	DefaultCores          int
	DefaultThreadsPerCore int
}

// MemoryInfo of an instance type.
type MemoryInfo struct {
	SizeInMiB int
}

// NetworkInfo of an instance type.
type NetworkInfo struct {
	MaximumNetworkCards int
	EfaSupported        bool
	EfaInfo             *EfaInfo `json:",omitempty"`
	NetworkCards        []NetworkCard
}

// EfaInfo of an instance type.
type EfaInfo struct {
	MaximumEfaInterfaces int
}

// A NetworkCard of an instance type.
type NetworkCard struct {
	NetworkCardIndex         int
	MaximumNetworkInterfaces int
}

// EbsInfo of an instance type.
type EbsInfo struct {
	EbsOptimizedSupport string // unsupported, supported or default
	NvmeSupport         string
}

// PlacementGroupInfo of an instance type.
type PlacementGroupInfo struct {
	SupportedStrategies []string
}

// InstanceStorageInfo of an instance type.
type InstanceStorageInfo struct {
	TotalSizeInGB int
	NvmeSupport   string
}

// GpuInfo of an instance type.
type GpuInfo struct {
	Gpus []Accelerator
}

// InferenceAcceleratorInfo of an instance type.
type InferenceAcceleratorInfo struct {
	Accelerators []Accelerator
}

// An Accelerator is a kind of device that an instance type has Count of.
type Accelerator struct {
	Name         string
	Manufacturer string
	Count        int
}

// Architecture returns the one of x86_64 and arm64 that the type has first.
func (t InstanceType) Architecture() string {
	for _, a := range t.ProcessorInfo.SupportedArchitectures {
		if a == "x86_64" || a == "arm64" {
			return a
		}
	}
	return ""
}

// Supports says whether the type runs on an architecture.
func (t InstanceType) Supports(architecture string) bool {
	return slices.Contains(t.ProcessorInfo.SupportedArchitectures, architecture)
}

// VCPUs returns the vCPUs of the type, or its cores if there is to be one thread per core.
func (t InstanceType) VCPUs(oneThread bool) int {
	if oneThread && t.VCpuInfo.DefaultThreadsPerCore > 1 {
		return t.VCpuInfo.DefaultVCpus / t.VCpuInfo.DefaultThreadsPerCore
	}
	return t.VCpuInfo.DefaultVCpus
}

// Cards returns the network cards of the type, at least one.
func (t InstanceType) Cards() []NetworkCard {
	if len(t.NetworkInfo.NetworkCards) > 0 {
		return t.NetworkInfo.NetworkCards
	}
	return []NetworkCard{{NetworkCardIndex: 0, MaximumNetworkInterfaces: 1}}
}

// GPUs returns how many GPUs of one maker the type has. An empty maker counts all.
func (t InstanceType) GPUs(maker string) int {
	if t.GpuInfo == nil {
		return 0
	}
	return count(t.GpuInfo.Gpus, maker)
}

// Accelerators returns how many inference accelerators of one maker the type has.
func (t InstanceType) Accelerators(maker string) int {
	if t.Inference == nil {
		return 0
	}
	return count(t.Inference.Accelerators, maker)
}

func count(devices []Accelerator, maker string) int {
	n := 0
	for _, d := range devices {
		if maker == "" || d.Manufacturer == maker {
			n += d.Count
		}
	}
	return n
}
