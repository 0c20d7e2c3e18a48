package slurm

import (
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pcluster/internal/config"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// bluebrain is the cluster of a proof of concept that a supercomputing centre ran:
// a queue to try things, one for MPI and one for batches.
func bluebrain() *config.Cluster {
	instances := func(types ...string) (out []config.Instance) {
		for _, t := range types {
			out = append(out, config.Instance{InstanceType: t})
		}
		return out
	}
	resource := func(name, instanceType string, max int) config.ComputeResource {
		return config.ComputeResource{
			Name: name, Instances: instances(instanceType), MaxCount: max,
			StaticNodePriority: 1, DynamicNodePriority: 1000,
		}
	}
	queue := func(name, maxNodes, maxTime string, resources ...config.ComputeResource) config.SlurmQueue {
		return config.SlurmQueue{
			Name: name, CapacityType: config.OnDemand, AllocationStrategy: "lowest-price",
			CustomSlurmSettings: config.Settings{{Key: "MaxNodes", Value: maxNodes}, {Key: "MaxTime", Value: maxTime}},
			Networking:          config.QueueNetworking{SubnetIds: []string{"subnet-076ece71c00742d3c"}},
			ComputeResources:    resources,
		}
	}
	efa := resource("c7a48xlarge", "c7a.48xlarge", 20)
	efa.Efa.Enabled = true
	c := &config.Cluster{
		Region:   "us-east-1",
		HeadNode: config.HeadNode{InstanceType: "t3.medium"},
		Scheduling: config.Scheduling{
			Scheduler: config.Slurm, ScalingStrategy: "all-or-nothing",
			SlurmSettings: config.SlurmSettings{
				ScaledownIdletime: 10, EnableMemoryBasedScheduling: true,
				CustomSlurmSettingsIncludeFile: "s3://sboinfrastructureassets/config/slurm_extras.conf",
				Database: &config.Database{
					Uri: "hpc-slurm-db.ctydazornca3.us-east-1.rds.amazonaws.com:3306", UserName: "slurm_admin",
				},
			},
			SlurmQueues: []config.SlurmQueue{
				queue("debug", "8", "1-00:00:00", resource("t3micro", "t3.micro", 8)),
				queue("prod-mpi", "20", "12:00:00", efa, resource("c5d24xlarge", "c5d.24xlarge", 2)),
				queue("prod-batch", "26", "02:00:00", resource("m58xlarge", "m5.8xlarge", 16), resource("c7a48xlarge", "c7a.48xlarge", 10)),
			},
		},
	}
	c.DevSettings.Timeouts.ComputeNodeBootstrapTimeout = 1800
	return c
}

// accelerated is a cluster that uses what bluebrain does not.
func accelerated() *config.Cluster {
	memory := 1_000_000
	price := 12.5
	c := &config.Cluster{Scheduling: config.Scheduling{
		Scheduler: config.Slurm,
		SlurmSettings: config.SlurmSettings{
			ScaledownIdletime: -1,
			CustomSlurmSettings: []config.Settings{
				{{Key: "MessageTimeout", Value: "90"}},
				{{Key: "CPUs", Value: "4"}, {Key: "NodeName", Value: "onprem[1-2]"}},
				{{Key: "Nodes", Value: "onprem[1-2]"}, {Key: "PartitionName", Value: "old"}},
			},
			ExternalSlurmdbd: &config.ExternalSlurmdbd{Host: "dbd.example.com", Port: 6819},
		},
		SlurmQueues: []config.SlurmQueue{{
			Name: "gpu", CapacityType: config.Spot, JobExclusiveAllocation: true, AllocationStrategy: "capacity-optimized",
			Networking: config.QueueNetworking{SubnetIds: []string{"subnet-1", "subnet-2"}},
			ComputeResources: []config.ComputeResource{{
				Name: "p4", InstanceType: "p4d.24xlarge", MinCount: 2, MaxCount: 4, SchedulableMemory: &memory,
				StaticNodePriority: 5, DynamicNodePriority: 500, DisableSimultaneousMultithreading: true,
				CustomSlurmSettings: config.Settings{{Key: "Port", Value: "6900"}},
			}, {
				Name: "mixed", Instances: []config.Instance{{InstanceType: "m5.8xlarge"}, {InstanceType: "c5d.24xlarge"}},
				MinCount: 1, MaxCount: 1, SpotPrice: &price, StaticNodePriority: 1, DynamicNodePriority: 1000,
			}},
		}},
	}}
	c.DirectoryService = &config.DirectoryService{DomainName: "corp.example.com"}
	c.DevSettings.Timeouts.ComputeNodeBootstrapTimeout = 600
	return c
}

func instanceTypes(t *testing.T) InstanceTypes {
	t.Helper()
	data, err := os.ReadFile("testdata/instance-types-data.json")
	if err != nil {
		t.Fatal(err)
	}
	types, err := ParseInstanceTypes(data)
	if err != nil {
		t.Fatal(err)
	}
	return types
}

func TestConfigurationFiles(t *testing.T) {
	types := instanceTypes(t)
	for name, tt := range map[string]struct {
		cluster *config.Cluster
		facts   Facts
	}{
		"bluebrain": {bluebrain(), Facts{
			ClusterName: "sbo-parallelcluster-20241215", HeadName: "ip-10-0-1-2", HeadAddress: "10.0.1.2", ManagedDNS: true,
			Image: Capabilities{Cgroup: true, CPUBinding: true}, DatabasePassword: "secret",
		}},
		"container-machines": {bluebrain(), Facts{
			ClusterName: "demo", HeadName: "ip-10-0-1-2", HeadAddress: "10.0.1.2", ManagedDNS: true, DatabasePassword: "secret",
		}},
		"accelerated": {accelerated(), Facts{
			ClusterName: "gpus", HeadName: "ip-10-0-1-2", HeadAddress: "10.0.1.2", NVIDIADriver: true,
			Image: Capabilities{Cgroup: true, CPUBinding: true},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			tt.facts.InstanceTypes = types
			files := Render(tt.cluster, tt.facts)
			files = append(files, File{Path: "fleet-config.json", Content: FleetConfig(tt.cluster).JSON()})
			compareGolden(t, filepath.Join("testdata", name), files)
		})
	}
}

// compareGolden compares files with those in dir, all of them.
func compareGolden(t *testing.T, dir string, files []File) {
	t.Helper()
	if *update {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	seen := make(map[string]bool)
	for _, f := range files {
		path := filepath.Join(dir, f.Path)
		seen[path] = true
		if *update {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, f.Content, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Errorf("%v (go test -update writes it)", err)
			continue
		}
		if diff := cmp.Diff(string(want), string(f.Content)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !seen[path] {
			t.Errorf("%s is not written any more", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestImageCapabilities(t *testing.T) {
	for dna, want := range map[string]Capabilities{
		``:                                     {true, true},
		`{"cluster":{"base_os":"alinux2023"}}`: {true, true},
		`{"slurm":{"cgroup":false,"cpu_binding":false}}`: {false, false},
		`{"slurm":{"cgroup":false}}`:                     {false, true},
	} {
		got, err := ImageCapabilities([]byte(dna))
		if err != nil || got != want {
			t.Errorf("ImageCapabilities(%s) = %+v, %v, want %+v", dna, got, err, want)
		}
	}
	if _, err := ImageCapabilities([]byte("x")); err == nil {
		t.Error("broken image attributes pass")
	}
}

func TestDatabaseAddress(t *testing.T) {
	for uri, want := range map[string]string{
		"db.example.com":              "db.example.com 3306",
		"db.example.com:3307":         "db.example.com 3307",
		"mysql://db.example.com:3307": "db.example.com 3307",
		"mysql://db.example.com/":     "db.example.com 3306",
	} {
		host, port := databaseAddress(uri)
		if got := host + " " + strconv.Itoa(port); got != want {
			t.Errorf("databaseAddress(%q) = %s, want %s", uri, got, want)
		}
	}
}

func TestReplaceDatabasePassword(t *testing.T) {
	before := "DbdHost=head\nStoragePass=old\nStorageUser=u\n"
	after, changed := ReplaceDatabasePassword([]byte(before), "new=with$signs")
	if !changed || string(after) != strings.Replace(before, "old", "new=with$signs", 1) {
		t.Errorf("got %q, changed %v", after, changed)
	}
	if _, changed := ReplaceDatabasePassword(after, "new=with$signs"); changed {
		t.Error("the same password counts as a change")
	}
}

func TestEveryKeyOfTheMainFileIsSetOnce(t *testing.T) {
	seen := make(map[string]bool)
	for _, l := range strings.Split(string(mainConf(accelerated(), Facts{})), "\n") {
		key, _, ok := strings.Cut(l, "=")
		if !ok || strings.HasPrefix(l, "#") {
			continue
		}
		if seen[key] {
			t.Errorf("%s is set twice", key)
		}
		seen[key] = true
	}
}

func TestSlurmctldWaitsForTheCheckOfGPUs(t *testing.T) {
	yes, no := true, false
	for _, tt := range []struct {
		name            string
		queue, resource *bool
		want            int
	}{
		{"no check", nil, nil, 180},
		{"the queue's", &yes, nil, 780},
		{"the compute resource's", &no, &yes, 780},
		{"turned off for its only compute resource", &yes, &no, 180},
	} {
		c := new(config.Cluster)
		q := config.SlurmQueue{ComputeResources: []config.ComputeResource{{}}}
		q.HealthChecks.Gpu.Enabled, q.ComputeResources[0].HealthChecks.Gpu.Enabled = tt.queue, tt.resource
		c.Scheduling.SlurmQueues = []config.SlurmQueue{q}
		if got := batchStartTimeout(c); got != tt.want {
			t.Errorf("%s: %d s, want %d", tt.name, got, tt.want)
		}
	}
}
