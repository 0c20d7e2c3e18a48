package validate

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pcluster/internal/config"
	"pcluster/internal/facts"
	"pcluster/internal/facts/catalog"
	"pcluster/internal/facts/live"
)

// base is a cluster file with which all is well.
const base = `Image: {Os: alinux2023}
HeadNode:
  InstanceType: c5.large
  Networking: {SubnetId: subnet-11111111}
  Ssh: {KeyName: key}
Scheduling:
  Scheduler: slurm
  SlurmQueues:
    - Name: q1
      Networking: {SubnetIds: [subnet-11111111]}
      ComputeResources:
        - {Name: c1, InstanceType: c5.xlarge}
`

// account has all that base refers to, and some more. Tests change their own copy.
func account(t testing.TB) *facts.Memory {
	m := &facts.Memory{
		Types: map[string]facts.InstanceType{},
		Subnets: map[string]facts.Subnet{
			"subnet-11111111": {AZ: "us-east-1a", VPC: "vpc-1", CIDR: "10.0.1.0/24"},
			"subnet-22222222": {AZ: "us-east-1b", VPC: "vpc-1", CIDR: "10.0.2.0/24"},
		},
		VPCs:     map[string]facts.VPC{"vpc-1": {DNSSupport: true, DNSHostnames: true}},
		KeyPairs: map[string]facts.KeyPair{"key": {Type: "ed25519"}},
		Images: map[string]facts.Image{
			"ami-00000000": {Architecture: "x86_64", RootSize: 40, RootDevice: "/dev/xvda"},
			"ami-11111111": {Architecture: "arm64"},
			"ami-22222222": {Architecture: "x86_64", Tags: map[string]string{"parallelcluster:version": "3.9.0", "parallelcluster:os": "rhel9"}},
		},
		Official: map[string]string{"alinux2023 x86_64": "ami-00000000", "ubuntu2204 x86_64": "ami-00000000"},
		Groups: map[string]facts.SecurityGroup{
			"sg-11111111": {Ingress: []facts.Rule{{Protocol: "-1", Groups: []string{"sg-11111111"}}}, Egress: []facts.Rule{{Protocol: "-1", CIDRs: []string{"0.0.0.0/0"}}}},
			"sg-22222222": {Ingress: []facts.Rule{{Protocol: "-1", Groups: []string{"sg-22222222"}}}, Egress: []facts.Rule{{Protocol: "-1", Groups: []string{"sg-22222222"}}}},
			"sg-33333333": {Ingress: []facts.Rule{{Protocol: "tcp", From: 2049, To: 2049, CIDRs: []string{"10.0.0.0/16"}}}, Egress: []facts.Rule{{Protocol: "-1", CIDRs: []string{"0.0.0.0/0"}}}},
		},
		EFSs: map[string]facts.EFS{
			"fs-11111111": {MountTargets: []facts.MountTarget{{AZ: "us-east-1a", Groups: []string{"sg-33333333"}}}},
			"fs-22222222": {MountTargets: []facts.MountTarget{{AZ: "us-east-1a", Groups: []string{"sg-11111111"}}}},
		},
		Buckets: map[string]facts.Bucket{"near": {Region: "us-east-1", Versioning: true}, "far": {Region: "eu-west-1"}},
		Objects: []string{"near/good.sh"},
		Secrets: map[string]string{"arn:aws:secretsmanager:us-east-1:123456789012:secret:db": "x"},
		Refused: map[string]*facts.Error{}, Launches: map[string]*facts.Error{},
	}
	for _, n := range []string{"c5.large", "c5.xlarge", "c5a.xlarge", "c5.2xlarge", "c6g.large", "c7a.48xlarge", "t3.micro", "p5.48xlarge", "c5d.xlarge"} {
		info, ok := catalog.InstanceType(n)
		if !ok {
			t.Fatalf("no instance type %s", n)
		}
		m.Types[n] = live.InstanceType(info)
	}
	return m
}

// found returns what the rules find in a file, as LEVEL Validator path: message.
func found(t testing.TB, text string, m *facts.Memory, o Options) []string {
	t.Helper()
	c, problems := config.Parse("", []byte(text))
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	if o.ClusterName == "" {
		o.ClusterName = "demo"
	}
	o.Region = "us-east-1"
	var out []string
	for _, p := range Cluster(context.Background(), c, m, o).All() {
		line := p.Level.String() + " " + p.Validator + " " + p.Path + ": " + p.Message
		if p.Hint != "" {
			line += " (" + p.Hint + ")"
		}
		out = append(out, line)
	}
	return out
}

func TestRules(t *testing.T) {
	replace := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(base) }
	for name, tt := range map[string]struct {
		text   string
		change func(*facts.Memory)
		want   []string
	}{
		"good file": {text: base},
		"unknown instance type names the nearest": {text: replace("c5.xlarge", "c5.xlrage"), want: []string{
			"ERROR  Scheduling.SlurmQueues[0].ComputeResources[0].InstanceType: there is no instance type c5.xlrage (did you mean c5.xlarge?)"}},
		"type that the region does not offer": {text: base, change: func(m *facts.Memory) { m.NotOffered = []string{"c5.xlarge"} }, want: []string{
			"ERROR InstanceTypeBaseAMICompatibleValidator Scheduling.SlurmQueues[0].ComputeResources[0].InstanceType: the instance type c5.xlarge is not offered in us-east-1"}},
		"unknown subnet is reported once": {text: replace("subnet-11111111", "subnet-33333333"), want: []string{
			"ERROR  Scheduling.SlurmQueues[0].Networking.SubnetIds[0]: the subnet subnet-33333333 can't be used: subnet-33333333 does not exist (is it in the region us-east-1 and in this account?)"}},
		"unknown AMI": {text: replace("Os: alinux2023", "Os: alinux2023, CustomAmi: ami-99999999"), want: []string{
			"ERROR  Image.CustomAmi: the AMI ami-99999999 can't be used: ami-99999999 does not exist"}},
		"AMI of another architecture": {text: replace("Os: alinux2023", "Os: alinux2023, CustomAmi: ami-11111111"), want: []string{
			"WARNING CustomAmiTagValidator Image.CustomAmi: the AMI ami-11111111 was not built by ParallelCluster, as far as its tags say; nodes install what it lacks (build-image makes AMIs that boot faster)",
			"WARNING AmiOsCompatibleValidator Image.CustomAmi: the AMI ami-11111111 does not say which operating system it has; make sure that it is alinux2023",
			"ERROR InstanceTypeBaseAMICompatibleValidator HeadNode.InstanceType: the AMI ami-11111111 is for arm64, but c5.large runs x86_64",
			"ERROR InstanceTypeBaseAMICompatibleValidator Scheduling.SlurmQueues[0].ComputeResources[0].InstanceType: the AMI ami-11111111 is for arm64, but c5.xlarge runs x86_64"}},
		"AMI of another release and system": {text: replace("Os: alinux2023", "Os: alinux2023, CustomAmi: ami-22222222"), want: []string{
			"ERROR CustomAmiTagValidator Image.CustomAmi: the AMI ami-22222222 was built with ParallelCluster 3.9.0, but this is " + config.ToolVersion + " (build it again with this version)",
			"ERROR AmiOsCompatibleValidator Image.CustomAmi: the AMI ami-22222222 has the operating system rhel9, but Image.Os is alinux2023"}},
		"no key pair": {text: replace("  Ssh: {KeyName: key}\n", ""), want: []string{
			"WARNING KeyPairValidator HeadNode.Ssh.KeyName: without a key pair there is no SSH access with the default user"}},
		"unknown key pair": {text: replace("KeyName: key", "KeyName: nokey"), want: []string{
			"ERROR KeyPairValidator HeadNode.Ssh.KeyName: the key pair nokey can't be used: nokey does not exist"}},
		"mixed architectures": {text: replace("c5.xlarge", "c6g.large"), want: []string{
			"ERROR InstanceArchitectureCompatibilityValidator Scheduling.SlurmQueues[0].ComputeResources[0].InstanceType: c6g.large runs arm64, but the head node's c5.large runs x86_64; all nodes have to share one architecture",
			"ERROR InstanceTypeBaseAMICompatibleValidator Scheduling.SlurmQueues[0].ComputeResources[0].InstanceType: the AMI ami-00000000 is for x86_64, but c6g.large runs arm64"}},
		"fewer nodes at most than at least": {text: replace("InstanceType: c5.xlarge", "InstanceType: c5.xlarge, MinCount: 11"), want: []string{
			"ERROR ComputeResourceSizeValidator Scheduling.SlurmQueues[0].ComputeResources[0].MaxCount: MaxCount is 10, below MinCount, which is 11"}},
		"unequal vCPUs": {text: replace("InstanceType: c5.xlarge", "Instances: [{InstanceType: c5.xlarge}, {InstanceType: c5.2xlarge}]"), want: []string{
			"ERROR InstancesCPUValidator Scheduling.SlurmQueues[0].ComputeResources[0].Instances[1].InstanceType: types of one compute resource need the same number of vCPUs, but c5.xlarge has 4 and c5.2xlarge has 8"}},
		"EFA without placement group": {text: replace("c5.xlarge", "c7a.48xlarge, Efa: {Enabled: true}"), want: []string{
			"ERROR EfaPlacementGroupValidator Scheduling.SlurmQueues[0].ComputeResources[0].Efa: EFA is enabled, so the file has to say whether to use a placement group (set Networking.PlacementGroup.Enabled to true, or to false)"}},
		"EFA with a group that does not let it out": {text: replace("c5.xlarge", "c7a.48xlarge, Efa: {Enabled: true}", "{SubnetIds: [subnet-11111111]}",
			"{SubnetIds: [subnet-11111111], SecurityGroups: [sg-11111111], PlacementGroup: {Enabled: true}}", "{SubnetId: subnet-11111111}", "{SubnetId: subnet-11111111, SecurityGroups: [sg-11111111]}"), want: []string{
			"ERROR EfaSecurityGroupValidator Scheduling.SlurmQueues[0].Networking.SecurityGroups: EFA needs a security group that lets all traffic to and from itself pass, but none of sg-11111111 does (add an inbound and an outbound rule for all protocols with the group itself as the other side)"}},
		"unknown security group": {text: replace("{SubnetIds: [subnet-11111111]}", "{SubnetIds: [subnet-11111111], AdditionalSecurityGroups: [sg-99999999]}"), want: []string{
			"ERROR SecurityGroupsValidator Scheduling.SlurmQueues[0].Networking.AdditionalSecurityGroups[0]: the security group sg-99999999 can't be used: sg-99999999 does not exist"}},
		"scripts that can't be had": {text: base + "    - {Name: q2, Networking: {SubnetIds: [subnet-11111111]}, ComputeResources: [{Name: c, InstanceType: c5.large}], CustomActions: {OnNodeStart: {Sequence: [{Script: s3://near/good.sh}, {Script: s3://near/bad.sh}, {Script: 'ftp://x/y'}]}}}\n", want: []string{
			"WARNING AsyncTimedUrlValidator Scheduling.SlurmQueues[1].CustomActions.OnNodeStart.Sequence[1].Script: s3://near/bad.sh does not exist, so nodes that need it will fail",
			`ERROR AsyncTimedUrlValidator Scheduling.SlurmQueues[1].CustomActions.OnNodeStart.Sequence[2].Script: "ftp://x/y" has to start with https:// or s3://`}},
		"accounting": {text: replace("  SlurmQueues:", "  SlurmSettings: {Database: {Uri: 'mysql://h', UserName: u, PasswordSecretArn: 'arn:aws:secretsmanager:us-east-1:123456789012:secret:no'}}\n  SlurmQueues:"), want: []string{
			`ERROR DatabaseUriValidator Scheduling.SlurmSettings.Database.Uri: "mysql://h" has a scheme (give host or host:port)`,
			"WARNING PasswordSecretArnValidator Scheduling.SlurmSettings.Database.PasswordSecretArn: the secret arn:aws:secretsmanager:us-east-1:123456789012:secret:no does not exist"}},
		"settings that are the tool's own": {text: replace("  SlurmQueues:", "  SlurmSettings: {CustomSlurmSettings: [{SuspendTime: 5}, {NodeName: a-dy-b, State: UNKNOWN}]}\n  SlurmQueues:"), want: []string{
			"ERROR CustomSlurmSettingsValidator Scheduling.SlurmSettings.CustomSlurmSettings.SuspendTime: SuspendTime can't be set: the cluster sets it itself",
			"ERROR CustomSlurmNodeNamesValidator Scheduling.SlurmSettings.CustomSlurmSettings[1].NodeName: the node name a-dy-b contains -st- or -dy-, which mark nodes of the cluster's own"}},
		"EFS that lets nodes in": {text: base + "SharedStorage: [{Name: e, MountDir: /e, StorageType: Efs, EfsSettings: {FileSystemId: fs-11111111}}]\n"},
		"EFS behind a group that nodes are not in": {text: base + "SharedStorage: [{Name: e, MountDir: /e, StorageType: Efs, EfsSettings: {FileSystemId: fs-22222222}}]\n", want: []string{
			"ERROR EfsIdValidator SharedStorage[0].EfsSettings.FileSystemId: the mount target of fs-22222222 in us-east-1a does not let all nodes in at port 2049 (TCP) (its security groups, sg-11111111, need inbound and outbound rules)"}},
		"Lustre as it should not be": {text: base + "SharedStorage: [{Name: l, MountDir: /tmp, StorageType: FsxLustre, FsxLustreSettings: {StorageCapacity: 1300, DeploymentType: PERSISTENT_2, DataRepositoryAssociations: [{Name: d, FileSystemPath: /d, DataRepositoryPath: s3://far, AutoImportPolicy: [NEW]}, {Name: e, FileSystemPath: /e, DataRepositoryPath: s3://nowhere}]}}]\n", want: []string{
			"ERROR FsxAutoImportValidator SharedStorage[0].FsxLustreSettings.DataRepositoryAssociations[0].AutoImportPolicy: automatic import works inside of one region, but the bucket far is in eu-west-1",
			"ERROR S3BucketUriValidator SharedStorage[0].FsxLustreSettings.DataRepositoryAssociations[1].DataRepositoryPath: the bucket nowhere can't be used: nowhere does not exist",
			"ERROR FsxPersistentOptionsValidator SharedStorage[0].FsxLustreSettings.PerUnitStorageThroughput: a PERSISTENT_2 file system needs PerUnitStorageThroughput",
			"ERROR FsxStorageCapacityValidator SharedStorage[0].FsxLustreSettings.StorageCapacity: StorageCapacity is 1300 GiB, but has to be 1200, a multiple of 2400",
			"INFO DeletionPolicyValidator SharedStorage[0].FsxLustreSettings.DeletionPolicy: l goes with the cluster, or when it leaves the file, and its data with it",
			"ERROR SharedStorageMountDirValidator SharedStorage[0].MountDir: /tmp is a directory of the system; nothing can be mounted there"}},
		"no capacity for the head node": {text: base, change: func(m *facts.Memory) {
			m.Launches["c5.large"] = &facts.Error{Code: "InsufficientInstanceCapacity", Message: "none left"}
		}, want: []string{
			"ERROR HeadNodeLaunchTemplateValidator HeadNode.InstanceType: EC2 has no capacity for c5.large now: none left"}},
		"type that the zone lacks": {text: base, change: func(m *facts.Memory) {
			m.Launches["c5.xlarge"] = &facts.Error{Code: "Unsupported", Message: "no"}
			m.TypeZones = map[string][]string{"c5.xlarge": {"us-east-1b"}}
		}, want: []string{
			"ERROR ComputeResourceLaunchTemplateValidator Scheduling.SlurmQueues[0].ComputeResources[0].InstanceType: c5.xlarge is not offered in us-east-1a, where the subnet subnet-11111111 is; it is in us-east-1b"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := account(t)
			if tt.change != nil {
				tt.change(m)
			}
			if diff := cmp.Diff(tt.want, found(t, tt.text, m, Options{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestSuppressedValidatorsDoNotRun(t *testing.T) {
	text := strings.Replace(base, "KeyName: key", "KeyName: nokey", 1)
	for value, want := range map[string]int{"ALL": 0, "type:KeyPairValidator": 0, "type:keypairvalidator": 1, "type:NoSuchValidator": 1} {
		s, err := ParseSuppress([]string{value})
		if err != nil {
			t.Fatal(err)
		}
		if got := found(t, text, account(t), Options{Suppress: s}); len(got) != want {
			t.Errorf("%s: %v", value, got)
		}
	}
	for _, value := range []string{"", "KeyPairValidator", "type:", "all", "type:A B"} {
		if _, err := ParseSuppress([]string{value}); err == nil {
			t.Errorf("%q is taken", value)
		}
	}
}

func TestClusterNames(t *testing.T) {
	for name, want := range map[string]bool{"demo-1": true, strings.Repeat("a", 60): true, strings.Repeat("a", 61): false, "1a": false, "a_b": false} {
		if got := found(t, base, account(t), Options{ClusterName: name}); (len(got) == 0) != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func BenchmarkRun(b *testing.B) {
	data, err := os.ReadFile("../config/testdata/bluebrain.yaml")
	if err != nil {
		b.Fatal(err)
	}
	c, _ := config.Parse("", data)
	m := account(b)
	for b.Loop() {
		Cluster(context.Background(), c, m, Options{ClusterName: "demo", Region: "us-east-1"})
	}
}

// The production file has warnings that its owner knows, and no error.
func TestProductionFile(t *testing.T) {
	data, err := os.ReadFile("../config/testdata/bluebrain.yaml")
	if err != nil {
		t.Fatal(err)
	}
	m := account(t)
	for _, n := range []string{"t3.medium", "c5d.24xlarge", "m5.8xlarge"} {
		info, _ := catalog.InstanceType(n)
		m.Types[n] = live.InstanceType(info)
	}
	const group, subnet = "sg-0b5941ba4f4d1a9ff", "subnet-076ece71c00742d3c"
	itself := []facts.Rule{{Protocol: "-1", Groups: []string{group}}}
	m.Groups[group] = facts.SecurityGroup{VPC: "vpc-1", Ingress: itself, Egress: itself}
	m.Subnets[subnet] = facts.Subnet{AZ: "us-east-1a", VPC: "vpc-1", CIDR: "10.0.1.0/24"}
	m.KeyPairs["aws_coreservices"] = facts.KeyPair{Type: "rsa"}
	m.Images["ami-042559ee751d3e522"] = facts.Image{Architecture: "x86_64", RootSize: 40, Tags: map[string]string{
		"parallelcluster:version": config.ToolVersion, "parallelcluster:os": "alinux2023", "parallelcluster:build_status": "available"}}
	m.EFSs["fs-0c2a2f3ad1b1beeca"] = facts.EFS{MountTargets: []facts.MountTarget{{AZ: "us-east-1a", Groups: []string{group}}}}
	m.Buckets["sboinfrastructureassets"], m.Buckets["sbonexusdata"] = facts.Bucket{Region: "us-east-1"}, facts.Bucket{Region: "us-east-1"}
	m.Secrets["arn:aws:secretsmanager:us-east-1:671250183987:secret:hpc_slurm_db_password-6LNuBy"] = "x"
	m.Policies = []string{"arn:aws:iam::671250183987:policy/ParallelCluster_CloudWatch_TagLogGroup_SLURM"}
	for _, s := range []string{"scripts/setup_users.py", "scripts/setup_slurm.sh", "scripts/setup_sshd.sh", "scripts/setup_slurmrestd_service.sh", "scripts/setup_nexus_storage_service.sh", "config/slurm_extras.conf"} {
		m.Objects = append(m.Objects, "sboinfrastructureassets/"+s)
	}
	want := []string{
		"INFO DeletionPolicyValidator SharedStorage[1].FsxLustreSettings.DeletionPolicy: FsxLustre-Persistent goes with the cluster, or when it leaves the file, and its data with it",
		"WARNING InstancesEFAValidator Scheduling.SlurmQueues[2].ComputeResources[1].Instances: EFA is not enabled, though it is there on c7a.48xlarge (it speeds up MPI at no cost: add Efa with Enabled true)",
	}
	if diff := cmp.Diff(want, found(t, string(data), m, Options{ClusterName: "sbo-parallelcluster-20241215"})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Rules that ParallelCluster has but that can't find anything in a file whose
// shape is right exist under their names.
func TestRulesThatFindNothing(t *testing.T) {
	c, problems := config.Parse("", []byte(base+"LoginNodes: {Pools: [{Name: l, InstanceType: c5.large, Count: 1, Networking: {SubnetIds: [subnet-11111111]}}]}\n"+
		"SharedStorage: [{Name: l, MountDir: /l, StorageType: FsxLustre, FsxLustreSettings: {StorageCapacity: 1200}}]\n"))
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	e := &env{ctx: t.Context(), c: c, src: account(t), pos: c.Pos}
	if aborted, _ := e.look(); len(aborted) > 0 {
		t.Fatal(aborted)
	}
	var p plan
	e.order(&p)
	for _, name := range []string{"SchedulerValidator", "LoginNodesSchedulerValidator", "ArchitectureOsValidator", "EfaOsArchitectureValidator", "FsxArchitectureOsValidator"} {
		if !slices.ContainsFunc(p.tasks, func(t task) bool { return t.name == name }) {
			t.Errorf("there is no rule %s", name)
		}
	}
}
