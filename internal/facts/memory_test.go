package facts

import (
	"context"
	"testing"

	"pcluster/internal/config"
)

const file = `
Image: {Os: alinux2023}
HeadNode: {InstanceType: t3.medium, Networking: {SubnetId: subnet-12345678, ElasticIp: 1.2.3.4}}
Scheduling:
  Scheduler: slurm
  SlurmQueues:
    - Name: q
      Networking: {SubnetIds: [subnet-12345678]}
      ComputeResources: [{Name: c, InstanceType: c5.large}]
`

func account() *Memory {
	x86 := ProcessorInfo{SupportedArchitectures: []string{"i386", "x86_64"}}
	return &Memory{
		Types:     map[string]InstanceType{"t3.medium": {Name: "t3.medium", ProcessorInfo: x86}, "c5.large": {Name: "c5.large", ProcessorInfo: x86}},
		Subnets:   map[string]Subnet{"subnet-12345678": {AZ: "us-east-1a", VPC: "vpc-1"}},
		Addresses: map[string]Address{"1.2.3.4": {AllocationID: "eipalloc-1"}},
		Images:    map[string]Image{"ami-1": {RootDevice: "/dev/xvda"}},
		Official:  map[string]string{"alinux2023 x86_64": "ami-1"},
	}
}

func parse(t *testing.T) *config.Cluster {
	t.Helper()
	c, found := config.Parse("", []byte(file))
	if err := found.Err(); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestGather(t *testing.T) {
	c := parse(t)
	s, errs := Gather(context.Background(), account(), c)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if s.VPC(c) != "vpc-1" || s.Architecture(c) != "x86_64" || s.OfficialAMI != "ami-1" || s.Addresses["1.2.3.4"].AllocationID != "eipalloc-1" {
		t.Errorf("%+v", s)
	}
}

func TestGatherSaysWhatIsMissing(t *testing.T) {
	m := account()
	delete(m.Types, "c5.large")
	delete(m.Subnets, "subnet-12345678")
	_, errs := Gather(context.Background(), m, parse(t))
	if len(errs) != 2 || errs[0].Error() != "instance types: EC2 knows no instance type c5.large" || !NotFound(errs[1]) {
		t.Errorf("%v", errs)
	}
}

func TestOverride(t *testing.T) {
	src, err := Override(account(), `{"x9.huge": {"VCpuInfo": {"DefaultVCpus": 9000}}}`)
	if err != nil {
		t.Fatal(err)
	}
	types, err := src.InstanceTypes(context.Background(), []string{"c5.large", "x9.huge"})
	if err != nil || types["x9.huge"].VCpuInfo.DefaultVCpus != 9000 || types["c5.large"].Name == "" {
		t.Errorf("%v, %v", types, err)
	}
	if _, err := Override(account(), "{"); err == nil {
		t.Error("broken JSON is taken")
	}
}
