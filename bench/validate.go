//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"pcluster/internal/cli"
	"pcluster/internal/config"
	"pcluster/internal/facts"
	"pcluster/internal/facts/catalog"
	"pcluster/internal/facts/live"
	"pcluster/internal/validate"
)

// A judged file is one that both validate --offline and the real ParallelCluster
// judge. The real one has no offline mode: its AWS is an account on paper in its
// own process, which answers at once.
type judgedFile struct {
	name   string
	budget float64 // ms
	text   []byte
	facts  map[string]any // of the account, in the vocabulary of docs/facts.md
}

// faster is how many times faster than the real one we want to be, with schema and
// validators alone: both judge with the same account on paper, in a process that
// has just started.
const faster = 100

// validation measures validate and the help of commands, as whole processes.
func (b *bench) validation(ctx context.Context, runs int) error {
	files, err := judgedFiles(b.root)
	if err != nil {
		return err
	}
	python, why := realParallelCluster(ctx, b.root)
	for _, f := range files {
		path := filepath.Join(b.work, f.name+".yaml")
		if err := os.WriteFile(path, f.text, 0o600); err != nil {
			return err
		}
		ours := b.table.add("validate --offline, "+f.name+" file", "ms", f.budget, 0)
		ours.values = nil
		account, err := json.Marshal(f.facts)
		if err != nil {
			return err
		}
		accountPath := filepath.Join(b.work, f.name+".json")
		if err := os.WriteFile(accountPath, account, 0o600); err != nil {
			return err
		}
		var whole, theirs []float64
		for range runs {
			took, err := b.timed(ctx, b.bin, "validate", "-c", path, "--offline")
			if err != nil {
				return err
			}
			ours.values = append(ours.values, took.Seconds()*1000)
			if why != "" {
				continue
			}
			// In pairs, so that both see the same machine.
			process, rules, err := judgeWithReal(ctx, b.root, python, f)
			if err != nil {
				return err
			}
			own, err := b.rules(ctx, path, accountPath)
			if err != nil {
				return err
			}
			whole, theirs = append(whole, process/took.Seconds()), append(theirs, rules)
			b.table.add("  schema and validators, times faster than ParallelCluster's, "+f.name+" file", "x", faster, rules/own).atLeast = true
		}
		switch {
		case why != "":
			ours.note = "not compared with ParallelCluster: " + why
		default:
			ours.note = fmt.Sprintf("ParallelCluster, with an AWS that answers at once: %.0f times as long; its schema and validators alone: %.0f ms",
				medianOf(whole), medianOf(theirs)*1000)
		}
	}
	return b.helps(ctx, runs)
}

// rules returns how long our schema and validators take for a file in a process of
// their own: this program again, see [judge].
func (b *bench) rules(ctx context.Context, path, account string) (seconds float64, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	out, err := b.output(ctx, self, "-judge", path, "-account", account)
	if err != nil {
		return 0, err
	}
	_, err = fmt.Sscan(out, &seconds)
	return seconds, err
}

// judge prints how long our schema and validators take for a file.
func judge(path, account string) error {
	debug.SetGCPercent(cli.GCPercent) // as in the command
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(account)
	if err != nil {
		return err
	}
	m, err := facts.Read(data)
	if err != nil {
		return err
	}
	start := time.Now()
	c, problems := config.Parse(path, text)
	if err := problems.Err(); err != nil {
		return err
	}
	validate.Cluster(context.Background(), c, m, validate.Options{ClusterName: "bench", Region: c.Region})
	fmt.Println(time.Since(start).Seconds())
	return nil
}

func medianOf(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	return v[len(v)/2]
}

// helps measures --help of every command; the slowest one counts.
func (b *bench) helps(ctx context.Context, runs int) error {
	out, err := b.output(ctx, b.bin, "--help")
	if err != nil {
		return err
	}
	_, list, _ := strings.Cut(out, "COMMANDS:\n")
	took := map[string][]float64{}
	for line := range strings.Lines(list) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == "" {
			break
		}
		for range runs {
			d, err := b.timed(ctx, b.bin, name, "--help")
			if err != nil {
				return err
			}
			took[name] = append(took[name], d.Seconds()*1000)
		}
	}
	median := func(name string) float64 { return medianOf(took[name]) }
	names := slices.Sorted(maps.Keys(took))
	if len(names) == 0 {
		return errors.New("--help lists no commands")
	}
	slowest := slices.MaxFunc(names, func(a, b string) int { return int(1000 * (median(a) - median(b))) })
	r := b.table.add("--help, slowest command", "ms", 20, 0)
	r.values, r.note = took[slowest], fmt.Sprintf("%s, of %d commands", slowest, len(names))
	return nil
}

// realParallelCluster returns the Python that has it, or why there is none.
func realParallelCluster(ctx context.Context, root string) (python, why string) {
	dir := filepath.Join(root, ".cache", "peer", "venv")
	python = filepath.Join(dir, "bin", "python")
	if exec.CommandContext(ctx, python, "-c", "import pcluster.cli").Run() == nil {
		return python, ""
	}
	fmt.Fprintln(os.Stderr, "bench: installing aws-parallelcluster into .cache/peer/venv")
	for _, command := range [][]string{
		{"python3", "-m", "venv", dir},
		{python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "aws-parallelcluster==3.16.1"},
	} {
		if out, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput(); err != nil {
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			return "", "the package can't be had here: " + lines[len(lines)-1]
		}
	}
	return python, ""
}

// judgeWithReal lets the real ParallelCluster judge a file, and returns how long
// its process and, in it, its schema and validators took, in seconds.
func judgeWithReal(ctx context.Context, root, python string, f judgedFile) (process, rules float64, err error) {
	in, err := json.Marshal(map[string]any{
		"facts": []any{f.facts}, "items": []any{map[string]any{"id": f.name, "text": string(f.text), "facts": 0, "kind": "cluster"}},
	})
	if err != nil {
		return 0, 0, err
	}
	cmd := exec.CommandContext(ctx, python, filepath.Join(root, "test", "peer", "driver", "validate.py"))
	cmd.Stdin = bytes.NewReader(in)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	start := time.Now()
	out, err := cmd.Output()
	process = time.Since(start).Seconds()
	if err != nil {
		return 0, 0, fmt.Errorf("the real ParallelCluster: %w: %s", err, stderr.String())
	}
	var answer struct {
		Outcome, Message string
		Seconds          float64
	}
	if err := json.Unmarshal(bytes.SplitN(out, []byte("\n"), 2)[0], &answer); err != nil {
		return 0, 0, err
	}
	if answer.Outcome != "accepted" && answer.Outcome != "refused" {
		return 0, 0, fmt.Errorf("the real ParallelCluster did not come to its validators: %s", answer.Message)
	}
	return process, answer.Seconds, nil
}

// judgedFiles returns the seed's file and one at the limits of the language.
func judgedFiles(root string) ([]judgedFile, error) {
	seed, err := os.ReadFile(filepath.Join(root, "examples", "bluebrain", "config", "compute-cluster.yaml"))
	if err != nil {
		return nil, err
	}
	cases, err := os.ReadFile(filepath.Join(root, "test", "validatorcases", "testdata", "validator-cases.json"))
	if err != nil {
		return nil, err
	}
	var base struct {
		Facts json.RawMessage `json:"default_facts"`
	}
	if err := json.Unmarshal(cases, &base); err != nil {
		return nil, err
	}
	limits, more := limitsFile()
	files := []judgedFile{
		{name: "the seed's", budget: 50, text: seed, facts: seedFacts()},
		{name: "a full", budget: 150, text: limits, facts: more},
	}
	for i := range files {
		c, problems := config.Parse("", files[i].text)
		if err := problems.Err(); err != nil {
			return nil, fmt.Errorf("%s file: %w", files[i].name, err)
		}
		var all map[string]any
		if err := json.Unmarshal(base.Facts, &all); err != nil {
			return nil, err
		}
		types, _ := all["instance_types"].(map[string]any)
		for _, name := range facts.Names(c) {
			if info, ok := catalog.InstanceType(name); ok {
				types[name] = typeFacts(live.InstanceType(info))
			}
		}
		for kind, v := range files[i].facts {
			if old, ok := all[kind].(map[string]any); ok {
				maps.Copy(old, v.(map[string]any))
			} else {
				all[kind] = v
			}
		}
		files[i].facts = all
	}
	return files, nil
}

func typeFacts(t facts.InstanceType) map[string]any {
	return map[string]any{
		"vcpus": t.VCpuInfo.DefaultVCpus, "cores": t.VCpuInfo.DefaultCores, "threads_per_core": t.VCpuInfo.DefaultThreadsPerCore,
		"memory_mib": t.MemoryInfo.SizeInMiB, "arch": t.ProcessorInfo.SupportedArchitectures, "efa": t.NetworkInfo.EfaSupported,
		"network_cards": max(1, t.NetworkInfo.MaximumNetworkCards), "instance_storage": t.InstanceStorageInfo != nil,
	}
}

func seedFacts() map[string]any {
	const subnet, group = "subnet-076ece71c00742d3c", "sg-0b5941ba4f4d1a9ff"
	all := map[string]any{"protocol": "-1", "groups": []string{group}}
	return map[string]any{
		"subnets":         map[string]any{subnet: map[string]any{"az": "us-east-1a", "vpc": "vpc-1", "cidr": "10.0.0.0/16"}},
		"security_groups": map[string]any{group: map[string]any{"vpc": "vpc-1", "inbound": []any{all}, "outbound": []any{all}}},
		"key_pairs":       map[string]any{"aws_coreservices": "rsa"},
		"images":          map[string]any{"ami-042559ee751d3e522": map[string]any{"arch": "x86_64", "volume_size": 35}},
		"efs_file_systems": map[string]any{"fs-0c2a2f3ad1b1beeca": map[string]any{"mount_targets": []any{
			map[string]any{"id": "fsmt-1", "subnet": subnet, "security_groups": []string{group}}}}},
		"s3_buckets":   map[string]any{"sboinfrastructureassets": map[string]any{}, "sbonexusdata": map[string]any{}},
		"iam_policies": []string{"arn:aws:iam::671250183987:policy/ParallelCluster_CloudWatch_TagLogGroup_SLURM"},
		"secrets":      map[string]any{"arn:aws:secretsmanager:us-east-1:671250183987:secret:hpc_slurm_db_password-6LNuBy": map[string]any{"value": "x"}},
	}
}

// limitsFile returns a file with as many queues and compute resources as there can
// be and each kind of storage, with the account that it is for.
func limitsFile() ([]byte, map[string]any) {
	const most = 50
	kinds := []string{"c5.xlarge", "m5.8xlarge", "c7a.48xlarge", "c5d.24xlarge", "r5.xlarge", "c6i.4xlarge", "m6i.large", "hpc6a.48xlarge", "c5n.18xlarge", "i3.xlarge"}
	var b strings.Builder
	b.WriteString("Region: us-east-1\nImage: {Os: alinux2023}\nHeadNode:\n  InstanceType: m5.8xlarge\n" +
		"  Networking: {SubnetId: subnet-11111111}\n  Ssh: {KeyName: key-ed}\nScheduling:\n  Scheduler: slurm\n  SlurmQueues:\n")
	groups, policies, objects := map[string]any{}, []string{}, []string{}
	open := map[string]any{"protocol": "-1", "cidrs": []string{"0.0.0.0/0"}}
	for i := range most {
		group, policy, script := fmt.Sprintf("sg-%08d", i), fmt.Sprintf("arn:aws:iam::111122223333:policy/p%d", i), fmt.Sprintf("bucket/script-%d.sh", i)
		groups[group] = map[string]any{"vpc": "vpc-1", "inbound": []any{open}, "outbound": []any{open}}
		policies, objects = append(policies, policy), append(objects, script)
		fmt.Fprintf(&b, `  - Name: queue-%d
    Networking:
      SubnetIds: [subnet-11111111]
      SecurityGroups: [%s]
      PlacementGroup: {Enabled: false}
    CustomActions:
      OnNodeConfigured:
        Script: s3://%s
        Args: [a, b]
    Iam:
      AdditionalIamPolicies:
      - Policy: %s
    ComputeResources:
    - Name: resource-%d
      Instances:
      - InstanceType: %s
      MinCount: %d
      MaxCount: 100
      Tags: [{Key: team, Value: t%d}]
`, i, group, script, policy, i, kinds[i%len(kinds)], i%3, i)
	}
	b.WriteString(`SharedStorage:
- {Name: ebs, MountDir: /ebs, StorageType: Ebs, EbsSettings: {Size: 100}}
- {Name: raid, MountDir: /raid, StorageType: Ebs, EbsSettings: {Raid: {Type: 0, NumberOfVolumes: 5}}}
- {Name: efs, MountDir: /efs, StorageType: Efs, EfsSettings: {Encrypted: true}}
- {Name: old-efs, MountDir: /old-efs, StorageType: Efs, EfsSettings: {FileSystemId: fs-12345678}}
- {Name: new-lustre, MountDir: /lustre, StorageType: FsxLustre, FsxLustreSettings: {StorageCapacity: 1200}}
- {Name: lustre, MountDir: /old-lustre, StorageType: FsxLustre, FsxLustreSettings: {FileSystemId: fs-12345678901234567}}
- {Name: zfs, MountDir: /zfs, StorageType: FsxOpenZfs, FsxOpenZfsSettings: {VolumeId: fsvol-01234567890123456}}
- {Name: ontap, MountDir: /ontap, StorageType: FsxOntap, FsxOntapSettings: {VolumeId: fsvol-01234567890123457}}
- {Name: cache, MountDir: /cache, StorageType: FileCache, FileCacheSettings: {FileCacheId: fc-0123456789abcdef0}}
`)
	fsx := func(kind string) map[string]any {
		return map[string]any{"type": kind, "network_interfaces": []string{"eni-1"}}
	}
	return []byte(b.String()), map[string]any{
		"security_groups": groups, "iam_policies": policies, "s3_objects": objects,
		"efs_file_systems": map[string]any{"fs-12345678": map[string]any{"mount_targets": []any{
			map[string]any{"id": "fsmt-1", "subnet": "subnet-11111111", "security_groups": []string{"sg-33333333"}}}}},
		"fsx_file_systems":   map[string]any{"fs-12345678901234567": fsx("LUSTRE"), "fs-zfs": fsx("OPENZFS"), "fs-ontap": fsx("ONTAP")},
		"fsx_volumes":        map[string]any{"fsvol-01234567890123456": "fs-zfs", "fsvol-01234567890123457": "fs-ontap"},
		"file_caches":        map[string]any{"fc-0123456789abcdef0": fsx("FILE_CACHE")},
		"network_interfaces": map[string]any{"eni-1": map[string]any{"groups": []string{"sg-33333333"}}},
	}
}
