//go:build linux

package sandbox

import (
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/google/go-cmp/cmp"

	"pcluster/internal/awsclient"
	"pcluster/internal/config"
	"pcluster/internal/facts/live"
)

func TestSubnetsOfAQueueAreInDifferentZones(t *testing.T) {
	queue := func(subnets ...string) config.SlurmQueue {
		return config.SlurmQueue{Networking: config.QueueNetworking{SubnetIds: subnets}}
	}
	zones := []string{"a", "b", "c"}
	for name, tt := range map[string]struct {
		subnets []string
		queues  []config.SlurmQueue
		want    map[string]string
	}{
		"one subnet":       {[]string{"head"}, []config.SlurmQueue{queue("head")}, map[string]string{"head": "a"}},
		"head and two":     {[]string{"head", "x", "y"}, []config.SlurmQueue{queue("x", "y")}, map[string]string{"head": "a", "x": "a", "y": "b"}},
		"queues that meet": {[]string{"head", "x", "y"}, []config.SlurmQueue{queue("x", "head"), queue("y", "x")}, map[string]string{"head": "a", "x": "b", "y": "a"}},
		"more than zones":  {[]string{"1", "2", "3", "4"}, []config.SlurmQueue{queue("1", "2", "3", "4")}, map[string]string{"1": "a", "2": "b", "3": "c", "4": "a"}},
	} {
		if diff := cmp.Diff(tt.want, spread(tt.subnets, tt.queues, zones)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestFreeRangeAvoidsWhatIsTaken(t *testing.T) {
	taken := map[string]netip.Prefix{"other": netip.MustParsePrefix("10.0.1.0/24")}
	if got, err := freeRange(taken, 24); err != nil || got.String() != "10.0.2.0/24" {
		t.Errorf("freeRange: %v, %v", got, err)
	}
	if got, err := freeRange(taken, 20); err != nil || got.String() != "10.0.16.0/20" {
		t.Errorf("freeRange: %v, %v", got, err)
	}
}

func TestDatabaseAddresses(t *testing.T) {
	for uri, want := range map[string]string{
		"db.example.com:3307": "db.example.com 3307", "db.example.com": "db.example.com 3306", "mysql://db.example.com:3306/": "db.example.com 3306",
	} {
		host, port, err := splitDatabase(uri)
		if got := host + " " + strconv.Itoa(port); err != nil || got != want {
			t.Errorf("%s: %s, %v", uri, got, err)
		}
	}
	if _, _, err := splitDatabase("db:none"); err == nil {
		t.Error("a port that is no number: no error")
	}
}

func TestReferencesOfAFile(t *testing.T) {
	c, problems := config.Parse("c.yaml", []byte(`
Image: {Os: alinux2023}
HeadNode:
  InstanceType: t3.micro
  Networking: {SubnetId: subnet-0aaaaaaaaaaaaaaaa}
  CustomActions: {OnNodeStart: {Script: s3://scripts/a.sh}}
  Iam:
    AdditionalIamPolicies: [{Policy: "arn:aws:iam::671250183987:policy/p"}]
    S3Access: [{BucketName: data}, {BucketName: "logs-*"}]
Scheduling:
  Scheduler: slurm
  SlurmQueues:
    - Name: q
      ComputeResources: [{Name: c, InstanceType: t3.micro, MaxCount: 7}]
      Networking: {SubnetIds: [subnet-0aaaaaaaaaaaaaaaa]}
`))
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	got := references(c)
	want := refs{
		subnets: []string{"subnet-0aaaaaaaaaaaaaaaa"}, buckets: []string{"scripts", "data"},
		policies: []string{"arn:aws:iam::671250183987:policy/p"}, accounts: []string{"671250183987"}, nodes: 8,
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(refs{})); diff != "" {
		t.Errorf("references (-want +got):\n%s", diff)
	}
}

func TestMountsStayInTheirFileSystem(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "fs")
	if err := os.MkdirAll(filepath.Join(dir, "home"), 0o755); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"out": "/etc", "in": "home", "up": "../.."} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	for path, ok := range map[string]bool{"": true, "home": true, "in": true, "../..": true, "out": false, "up": false, "none": false} {
		if got, err := below(dir, path); (err == nil) != ok {
			t.Errorf("%q: %q, %v", path, got, err)
		}
	}
}

func TestKeysThatFilesNameAreThere(t *testing.T) {
	l, err := OpenLight(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	const disks, files = "1234abcd-12ab-34cd-56ef-1234567890ab", "arn:aws:kms:eu-west-1:123456789012:key/0234abcd-12ab-34cd-56ef-1234567890ab"
	if _, err := l.Adopt(t.Context(), "cluster.yaml", []byte(`
Region: eu-west-1
Image: {Os: alinux2023}
HeadNode: {InstanceType: t3.small, Networking: {SubnetId: subnet-0123456789abcdef0}}
Scheduling:
  Scheduler: slurm
  SlurmQueues:
  - {Name: q, ComputeResources: [{Name: c, InstanceType: t3.small}], Networking: {SubnetIds: [subnet-0123456789abcdef0]}}
SharedStorage:
- {Name: disk, MountDir: /disk, StorageType: Ebs, EbsSettings: {KmsKeyId: `+disks+`}}
- {Name: files, MountDir: /files, StorageType: Efs, EfsSettings: {Encrypted: true, KmsKeyId: "`+files+`"}}
`)); err != nil {
		t.Fatal(err)
	}
	id, secret := l.Credentials()
	facts := live.New(aws.Config{Region: "eu-west-1", APIOptions: awsclient.Options, BaseEndpoint: aws.String(l.URL()), Credentials: credentials.NewStaticCredentialsProvider(id, secret, "")})
	for _, key := range []string{disks, files, "alias/aws/ebs"} {
		if err := facts.Key(t.Context(), key); err != nil {
			t.Errorf("key %s: %v", key, err)
		}
	}
	if err := facts.Key(t.Context(), "0000abcd-12ab-34cd-56ef-1234567890ab"); err == nil {
		t.Error("a key that no file names is there")
	}
}

// Queues that target a group of reservations, and a placement group, find them, and adopting
// again makes nothing more.
func TestGroupsThatFilesNameAreThere(t *testing.T) {
	l, err := OpenLight(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	const group = "arn:aws:resource-groups:eu-west-1:123456789012:group/rooms"
	file := []byte(`
Region: eu-west-1
Image: {Os: alinux2023}
HeadNode: {InstanceType: t3.small, Networking: {SubnetId: subnet-0123456789abcdef0}}
Scheduling:
  Scheduler: slurm
  SlurmQueues:
  - Name: q
    CapacityReservationTarget: {CapacityReservationResourceGroupArn: "` + group + `"}
    Networking: {SubnetIds: [subnet-0123456789abcdef0, subnet-1123456789abcdef0], PlacementGroup: {Name: near}}
    ComputeResources:
    - {Name: a, Instances: [{InstanceType: c5.large}, {InstanceType: m5.large}], MaxCount: 3}
    - {Name: b, Instances: [{InstanceType: c5.large}], MaxCount: 2}
`)
	id, secret := l.Credentials()
	for range 2 {
		if _, err := l.Adopt(t.Context(), "cluster.yaml", file); err != nil {
			t.Fatal(err)
		}
		source := live.New(aws.Config{Region: "eu-west-1", APIOptions: awsclient.Options, BaseEndpoint: aws.String(l.URL()), Credentials: credentials.NewStaticCredentialsProvider(id, secret, "")})
		if _, err := source.PlacementGroup(t.Context(), "near"); err != nil {
			t.Errorf("the placement group: %v", err)
		}
		g, err := source.ReservationGroup(t.Context(), group)
		if err != nil || !g.Pool {
			t.Fatalf("%+v, %v: want a pool of reservations", g, err)
		}
		got := map[string]int{}
		for _, id := range g.Reservations {
			r, err := source.Reservation(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			got[r.InstanceType+" "+r.AZ] += r.Total
		}
		want := map[string]int{"c5.large eu-west-1a": 5, "c5.large eu-west-1b": 5, "m5.large eu-west-1a": 3, "m5.large eu-west-1b": 3}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("capacity (-want +got):\n%s", diff)
		}
	}
}

// A zone that a file names is there, in its VPC, and adopting again makes nothing more.
func TestZoneThatAFileNamesIsThere(t *testing.T) {
	l, err := OpenLight(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	const zone = "Z0123456789ABCDEFGHIJ"
	for range 2 {
		out, err := l.Adopt(t.Context(), "cluster.yaml", []byte(`
Region: eu-west-1
Image: {Os: alinux2023}
HeadNode: {InstanceType: t3.small, Networking: {SubnetId: subnet-0123456789abcdef0}}
Scheduling:
  Scheduler: slurm
  SlurmSettings: {Dns: {HostedZoneId: `+zone+`}}
  SlurmQueues:
  - {Name: q, ComputeResources: [{Name: c, InstanceType: t3.small}], Networking: {SubnetIds: [subnet-0123456789abcdef0]}}
`))
		if err != nil {
			t.Fatal(err)
		}
		if len(out.NotAdopted) > 0 {
			t.Errorf("not adopted: %v", out.NotAdopted)
		}
	}
	id, secret := l.Credentials()
	facts := live.New(aws.Config{Region: "eu-west-1", BaseEndpoint: aws.String(l.URL()), Credentials: credentials.NewStaticCredentialsProvider(id, secret, "")})
	got, err := facts.HostedZone(t.Context(), zone)
	if err != nil {
		t.Fatal(err)
	}
	subnet, err := facts.Subnet(t.Context(), "subnet-0123456789abcdef0")
	if err != nil {
		t.Fatal(err)
	}
	if !got.Private || len(got.VPCs) != 1 || got.VPCs[0] != subnet.VPC {
		t.Errorf("%+v, want a private zone of %s", got, subnet.VPC)
	}
}

func TestReferencesOfBatchLoginNodesAndFunctions(t *testing.T) {
	const base = `
Image: {Os: alinux2023}
HeadNode: {InstanceType: t3.micro, Networking: {SubnetId: subnet-0aaaaaaaaaaaaaaaa}}
`
	for name, tt := range map[string]struct {
		file string
		want refs
	}{
		"awsbatch": {`
Scheduling:
  Scheduler: awsbatch
  AwsBatchQueues:
  - {Name: q, ComputeResources: [{Name: c, InstanceTypes: [optimal], MaxvCpus: 4}], Networking: {SubnetIds: [subnet-0bbbbbbbbbbbbbbbb], AdditionalSecurityGroups: [sg-0bbbbbbbbbbbbbbbb]}}
`, refs{subnets: []string{"subnet-0aaaaaaaaaaaaaaaa", "subnet-0bbbbbbbbbbbbbbbb"}, groups: []string{"sg-0bbbbbbbbbbbbbbbb"}, nodes: 5}},
		"login nodes, functions in a VPC": {`
Scheduling:
  Scheduler: slurm
  SlurmQueues:
  - {Name: q, ComputeResources: [{Name: c, InstanceType: t3.micro, MaxCount: 1}], Networking: {SubnetIds: [subnet-0aaaaaaaaaaaaaaaa]}}
LoginNodes:
  Pools:
  - Name: p
    InstanceType: t3.micro
    Count: 2
    Networking: {SubnetIds: [subnet-0aaaaaaaaaaaaaaaa]}
    CustomActions: {OnNodeUpdated: {Script: s3://scripts/u.sh}}
    Iam: {InstanceRole: "arn:aws:iam::671250183987:role/login"}
DeploymentSettings: {LambdaFunctionsVpcConfig: {SubnetIds: [subnet-0cccccccccccccccc], SecurityGroupIds: [sg-0cccccccccccccccc]}}
`, refs{subnets: []string{"subnet-0aaaaaaaaaaaaaaaa", "subnet-0cccccccccccccccc"}, groups: []string{"sg-0cccccccccccccccc"}, buckets: []string{"scripts"},
			roles: []string{"arn:aws:iam::671250183987:role/login"}, accounts: []string{"671250183987"}, nodes: 4}},
	} {
		c, problems := config.Parse("c.yaml", []byte(base+tt.file))
		if err := problems.Err(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(tt.want, references(c), cmp.AllowUnexported(refs{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
