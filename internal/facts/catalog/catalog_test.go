package catalog_test

import (
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/facts/catalog"
)

func TestInstanceTypeFacts(t *testing.T) {
	for name, want := range map[string]struct {
		vcpus, cores, threads int32
		mib                   int64
		cards, efa            int32
		gpus                  int32
		arch                  types.ArchitectureType
	}{
		"t3.micro":       {2, 1, 2, 1024, 1, 0, 0, "x86_64"},
		"m5.8xlarge":     {32, 16, 2, 131072, 1, 0, 0, "x86_64"},
		"c7a.48xlarge":   {192, 192, 1, 393216, 1, 1, 0, "x86_64"},
		"c5d.24xlarge":   {96, 48, 2, 196608, 1, 0, 0, "x86_64"},
		"p5.48xlarge":    {192, 96, 2, 2097152, 32, 32, 8, "x86_64"},
		"hpc7a.96xlarge": {192, 192, 1, 786432, 2, 2, 0, "x86_64"},
		"m6g.xlarge":     {4, 4, 1, 16384, 1, 0, 0, "arm64"},
	} {
		info, ok := catalog.InstanceType(name)
		if !ok {
			t.Errorf("%s is unknown", name)
			continue
		}
		if string(info.InstanceType) != name {
			t.Errorf("%s calls itself %s", name, info.InstanceType)
		}
		v := info.VCpuInfo
		if *v.DefaultVCpus != want.vcpus || *v.DefaultCores != want.cores || *v.DefaultThreadsPerCore != want.threads {
			t.Errorf("%s: %d vCPUs, %d cores, %d threads per core", name, *v.DefaultVCpus, *v.DefaultCores, *v.DefaultThreadsPerCore)
		}
		if got := *info.MemoryInfo.SizeInMiB; got != want.mib {
			t.Errorf("%s: %d MiB, want %d", name, got, want.mib)
		}
		if got := int32(len(info.NetworkInfo.NetworkCards)); got != want.cards {
			t.Errorf("%s: %d network cards, want %d", name, got, want.cards)
		}
		if efa := info.NetworkInfo.EfaInfo; (efa == nil) != (want.efa == 0) || efa != nil && *efa.MaximumEfaInterfaces != want.efa {
			t.Errorf("%s: EFA %+v, want %d interfaces", name, efa, want.efa)
		}
		if want.gpus > 0 && *info.GpuInfo.Gpus[0].Count != want.gpus {
			t.Errorf("%s: %d GPUs, want %d", name, *info.GpuInfo.Gpus[0].Count, want.gpus)
		}
		if !slices.Contains(info.ProcessorInfo.SupportedArchitectures, want.arch) {
			t.Errorf("%s: architectures %v", name, info.ProcessorInfo.SupportedArchitectures)
		}
	}
	if _, ok := catalog.InstanceType("c7a.49xlarge"); ok {
		t.Error("c7a.49xlarge exists")
	}
	if _, ok := catalog.InstanceType(""); ok {
		t.Error("the empty name exists")
	}
}

// What rules and synthesis read must be present on every type.
func TestEveryTypeIsWhole(t *testing.T) {
	all := catalog.InstanceTypes()
	if len(all) != 1263 || len(catalog.Names()) != len(all) {
		t.Fatalf("%d types, %d names", len(all), len(catalog.Names()))
	}
	for i, info := range all {
		if name := catalog.Names()[i]; string(info.InstanceType) != name {
			t.Errorf("type %d is %s, its name %s", i, info.InstanceType, name)
		}
		if info.VCpuInfo == nil || aws.ToInt32(info.VCpuInfo.DefaultVCpus) == 0 || aws.ToInt32(info.VCpuInfo.DefaultCores) == 0 ||
			aws.ToInt32(info.VCpuInfo.DefaultThreadsPerCore) == 0 || info.MemoryInfo == nil || aws.ToInt64(info.MemoryInfo.SizeInMiB) == 0 ||
			info.ProcessorInfo == nil || len(info.ProcessorInfo.SupportedArchitectures) == 0 || info.NetworkInfo == nil ||
			info.NetworkInfo.EfaSupported == nil || len(info.NetworkInfo.NetworkCards) == 0 || info.EbsInfo == nil ||
			info.EbsInfo.EbsOptimizedSupport == "" || len(info.SupportedUsageClasses) == 0 || info.InstanceStorageSupported == nil {
			t.Errorf("%s lacks facts: %+v", info.InstanceType, info)
		}
	}
}

func TestZoneIDs(t *testing.T) {
	if got, want := catalog.ZoneIDs("c7a.48xlarge"), "use1-az6"; !slices.Contains(got, want) {
		t.Errorf("c7a.48xlarge is offered in %v, which lacks %s", got, want)
	}
	for _, name := range []string{"hpc7a.96xlarge", "nosuch.large"} {
		if got := catalog.ZoneIDs(name); got != nil {
			t.Errorf("%s is offered in %v", name, got)
		}
	}
}

func TestNearest(t *testing.T) {
	for name, want := range map[string]string{
		"c7a.48xlage":    "c7a.48xlarge",
		"T3.Micro":       "t3.micro",
		"t3.mirco":       "t3.micro",
		"m5.8xlarge":     "m5.8xlarge",
		"m5-8xlarge":     "m5.8xlarge",
		"c7a.49xlarge":   "c7a.48xlarge",
		"something else": "",
		"":               "",
	} {
		if got := catalog.Nearest(name); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", name, got, want)
		}
	}
}

func BenchmarkInstanceType(b *testing.B) {
	for b.Loop() {
		catalog.InstanceType("c7a.48xlarge")
	}
}

func BenchmarkInstanceTypes(b *testing.B) {
	for b.Loop() {
		catalog.InstanceTypes()
	}
}
