package clustertest

import "pcluster/internal/facts"

// ClusterFile is a small cluster file; the facts about it are in [Cloud.Know].
const ClusterFile = `Region: us-east-1
Image:
  Os: alinux2023
HeadNode:
  InstanceType: t3.medium
  Networking:
    SubnetId: subnet-0123456789abcdef0
  Ssh:
    KeyName: key
Scheduling:
  Scheduler: slurm
  SlurmQueues:
  - Name: q1
    ComputeResources:
    - Name: small
      InstanceType: t3.micro
      MaxCount: 4
    Networking:
      SubnetIds:
      - subnet-0123456789abcdef0
Tags:
  - Key: team
    Value: physics
`

// Know gives the cloud what [ClusterFile] refers to.
func (c *Cloud) Know() {
	instanceType := func(name string, cpus, mib int) facts.InstanceType {
		return facts.InstanceType{
			Name:                  name,
			ProcessorInfo:         facts.ProcessorInfo{SupportedArchitectures: []string{"x86_64"}},
			VCpuInfo:              facts.VCpuInfo{DefaultVCpus: cpus, DefaultCores: cpus / 2, DefaultThreadsPerCore: 2},
			MemoryInfo:            facts.MemoryInfo{SizeInMiB: mib},
			SupportedUsageClasses: []string{"on-demand", "spot"},
			NetworkInfo:           facts.NetworkInfo{MaximumNetworkCards: 1},
		}
	}
	c.Facts.Types = map[string]facts.InstanceType{"t3.medium": instanceType("t3.medium", 2, 4096), "t3.micro": instanceType("t3.micro", 2, 1024)}
	c.Facts.Subnets = map[string]facts.Subnet{"subnet-0123456789abcdef0": {ID: "subnet-0123456789abcdef0", AZ: "us-east-1a", VPC: "vpc-0123456789abcdef0", CIDR: "10.0.0.0/16", PublicIP: true}}
	c.Facts.VPCs = map[string]facts.VPC{"vpc-0123456789abcdef0": {DNSSupport: true, DNSHostnames: true}}
	c.Facts.KeyPairs = map[string]facts.KeyPair{"key": {Name: "key", Type: "ed25519"}}
	c.Facts.Images = map[string]facts.Image{"ami-0123456789abcdef0": {ID: "ami-0123456789abcdef0", Architecture: "x86_64", RootDevice: "/dev/xvda", RootSize: 35}}
	c.Facts.Official = map[string]string{"alinux2023 x86_64": "ami-0123456789abcdef0"}
}
