package stack

import (
	"fmt"
	"strings"
	"testing"

	"pcluster/internal/config"
)

// largest returns a file at the limits of the language: as many queues, compute
// resources, login pools, shared file systems and tags as it takes, with all that
// the stack can make for them. Each queue has groups of its own if asked to.
func largest(ownGroups bool) string {
	var b strings.Builder
	b.WriteString("Image: {Os: alinux2023, CustomAmi: ami-0123456789abcdef0}\nTags:\n")
	for i := range 38 {
		fmt.Fprintf(&b, "- {Key: key%d, Value: %s}\n", i, strings.Repeat("v", 40))
	}
	b.WriteString("HeadNode: {InstanceType: c5.4xlarge, SharedStorageType: Efs, Networking: {SubnetId: subnet-00000000}}\n")
	b.WriteString("LoginNodes:\n  Pools:\n")
	for i := range 10 {
		fmt.Fprintf(&b, "  - {Name: pool%d, InstanceType: c5.large, Count: 1, Networking: {SubnetIds: [subnet-%08d]}}\n", i, i%6)
	}
	b.WriteString("Scheduling:\n  Scheduler: slurm\n  SlurmQueues:\n")
	for i := range 50 {
		groups := ""
		if ownGroups {
			groups = fmt.Sprintf(", SecurityGroups: [sg-%08d]", i)
		}
		fmt.Fprintf(&b, "  - Name: a-name-of-25-characters-%02d\n    Networking: {SubnetIds: [subnet-%08d], PlacementGroup: {Enabled: true}%s}\n", i, i%6, groups)
		fmt.Fprintf(&b, "    Iam: {S3Access: [{BucketName: a-bucket, EnableWriteAccess: true}, {BucketName: another-bucket}]}\n")
		fmt.Fprintf(&b, "    CustomActions: {OnNodeStart: {Script: 's3://a-bucket/a-script.sh'}}\n    HealthChecks: {Gpu: {Enabled: true}}\n")
		fmt.Fprintf(&b, "    ComputeResources: [{Name: a-name-of-25-characters-%02d, InstanceType: p4d.24xlarge, Efa: {Enabled: true}}]\n", i)
	}
	b.WriteString("SharedStorage:\n")
	for i := range 4 {
		fmt.Fprintf(&b, "- {Name: ebs%d, MountDir: /ebs%d, StorageType: Ebs}\n", i, i)
	}
	b.WriteString("- {Name: raid, MountDir: /raid, StorageType: Ebs, EbsSettings: {Raid: {Type: 0, NumberOfVolumes: 5}}}\n")
	b.WriteString("- {Name: efs, MountDir: /efs, StorageType: Efs, EfsSettings: {EncryptionInTransit: true, IamAuthorization: true}}\n")
	b.WriteString("- {Name: lustre, MountDir: /lustre, StorageType: FsxLustre, FsxLustreSettings: {StorageCapacity: 1200}}\n")
	for i := range 20 {
		fmt.Fprintf(&b, "- {Name: efs%d, MountDir: /efs%d, StorageType: Efs, EfsSettings: {FileSystemId: fs-%08d}}\n", i, i, i)
		fmt.Fprintf(&b, "- {Name: lustre%d, MountDir: /lustre%d, StorageType: FsxLustre, FsxLustreSettings: {FileSystemId: fs-%017d}}\n", i, i, i)
	}
	return b.String()
}

func parseText(t failer, text string) *config.Cluster {
	t.Helper()
	c, found := config.Parse("", []byte(text))
	if err := found.Err(); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestLargestFileFits(t *testing.T) {
	for name, tt := range map[string]struct {
		file   string
		stacks int // of queues
	}{
		"as a rule":                   {largest(false), 1},
		"with tags as long as can be": {strings.ReplaceAll(largest(false), strings.Repeat("v", 40), strings.Repeat("v", 256)), 4},
	} {
		t.Run(name, func(t *testing.T) { fits(t, tt.file, tt.stacks) })
	}
}

func fits(t *testing.T, file string, stacks int) {
	c := parseText(t, file)
	out, err := Synthesize(c, account(t, c), params)
	if err != nil {
		t.Fatal(err)
	}
	check(t, c, out)
	if n := len(out.Nested) - 1; n != stacks { // one is that of login nodes
		t.Errorf("%d stacks of queues, want %d", n, stacks)
	}
	for i, body := range bodies(out) {
		d := read(t, body)
		t.Logf("template %d: %d bytes, %d resources, %d parameters, %d outputs", i, len(body), len(d.Resources), len(d.Parameters), len(d.Outputs))
	}
}

func TestFileThatDoesNotFitIsRefused(t *testing.T) {
	ownSubnets := strings.ReplaceAll(largest(false), "    Networking: {SubnetIds: [", "    Networking: {SubnetIds: [MORE, ")
	for i := range 50 {
		ownSubnets = strings.Replace(ownSubnets, "MORE", fmt.Sprintf("subnet-%017d, subnet-%017d", 2*i, 2*i+1), 1)
	}
	manyTags := strings.ReplaceAll(largest(false), strings.Repeat("v", 40), strings.Repeat("v", 256))
	one := strings.Index(manyTags, "    ComputeResources")
	oneQueue := manyTags[:one] + "    ComputeResources:\n"
	for i := range 50 {
		oneQueue += fmt.Sprintf("    - {Name: c%d, InstanceType: c5.large}\n", i)
	}
	for name, tt := range map[string]struct{ file, want string }{
		"rules for each of 50 groups in 10 login pools":  {largest(true), "resources, more than the 500 that CloudFormation takes"},
		"long tags on 50 compute resources of one queue": {oneQueue, "stack QueuesStack"},
		"more subnets than a policy can name": {ownSubnets,
			"the role of the head node needs policies of more than the 10240 characters that IAM takes"},
	} {
		t.Run(name, func(t *testing.T) {
			c := parseText(t, tt.file)
			_, err := Synthesize(c, account(t, c), params)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func BenchmarkSynthesizeLargest(b *testing.B) {
	c := parseText(b, largest(false))
	f := account(b, c)
	for b.Loop() {
		if _, err := Synthesize(c, f, params); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSynthesizeBluebrain(b *testing.B) {
	c := parse(b, "testdata/bluebrain.yaml")
	f := account(b, c)
	for b.Loop() {
		if _, err := Synthesize(c, f, params); err != nil {
			b.Fatal(err)
		}
	}
}
