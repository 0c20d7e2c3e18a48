//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/fleet"
	"pcluster/internal/sandbox"
	"pcluster/internal/slurm"
)

// peerNodes is how many nodes, each with an instance, a pass is measured on.
const peerNodes = 1000

// pass measures one look at a healthy fleet, and what it comes to: ours and that of
// the real clustermgtd, on the same EC2 and the same Slurm. EC2 is a light region;
// Slurm's commands print what slurmctld would say of such a fleet.
func (b *bench) pass(ctx context.Context, runs int) error {
	python, why := realClustermgtd(ctx, b.root)
	dir := filepath.Join(b.work, "pass")
	region, err := sandbox.OpenLight(ctx, filepath.Join(dir, "region"), nil)
	if err != nil {
		return err
	}
	defer region.Close()
	key, secret := region.Credentials()
	cfg := aws.Config{Region: "us-east-1", BaseEndpoint: aws.String(region.URL()), Credentials: credentials.NewStaticCredentialsProvider(key, secret, "")}
	cloud := &fleet.EC2{API: ec2.NewFromConfig(cfg), Cluster: "bench"}
	if err := peerFleet(ctx, ec2.NewFromConfig(cfg)); err != nil {
		return err
	}
	instances, err := cloud.Instances(ctx)
	if err != nil {
		return err
	}
	if len(instances) != peerNodes {
		return fmt.Errorf("EC2 shows %d instances, not %d", len(instances), peerNodes)
	}
	p := peerSlurm{dir: filepath.Join(dir, "slurm")}
	if err := p.write(instances); err != nil {
		return err
	}
	var ours []float64
	for range 3 + 4*runs {
		took, err := p.ourPass(ctx, cloud, instances)
		if err != nil {
			return err
		}
		ours = append(ours, took.Seconds())
	}
	row := &row{values: ours[3:]} // the first ones open connections
	note := fmt.Sprintf("ours: %.0f ms", row.median()*1000)
	if why != "" {
		r := b.table.add("our pass at 1,000 nodes", "ms", 100, row.median()*1000)
		r.note = "the real clustermgtd was not measured: " + why
		return nil
	}
	script := filepath.Join(b.root, "bench", "testdata", "clustermgtd.py")
	cmd := exec.CommandContext(ctx, python, script, p.config(), fmt.Sprint(max(runs, 2)))
	cmd.Env = append(os.Environ(), "AWS_ENDPOINT_URL="+region.URL(), "AWS_ACCESS_KEY_ID="+key, "AWS_SECRET_ACCESS_KEY="+secret,
		"AWS_DEFAULT_REGION=us-east-1", "SLURM_BINARIES_DIR="+p.bin(), "PATH="+p.bin()+":"+os.Getenv("PATH"), "TZ=UTC")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("the real clustermgtd: %w\n%s", err, stderr.String())
	}
	var theirs struct {
		Passes    []struct{ Took, Slept float64 }
		Instances int
	}
	if err := json.Unmarshal(out, &theirs); err != nil {
		return fmt.Errorf("the real clustermgtd printed %q: %w", out, err)
	}
	if theirs.Instances != peerNodes {
		return fmt.Errorf("the real clustermgtd sees %d instances", theirs.Instances)
	}
	if commands, err := os.ReadFile(p.log()); err == nil && strings.Contains(string(commands), "update") {
		return fmt.Errorf("the real clustermgtd does not find the fleet healthy: %.1000s\n%.2000s", commands, stderr.String())
	}
	for _, t := range theirs.Passes[1:] {
		r := b.table.add("real clustermgtd's pass at 1,000 nodes, over ours", "x", 50, t.Took/row.median())
		r.atLeast = true
		r.note = fmt.Sprintf("%s; theirs: %.2f s, of which it sleeps %.0f s to let EC2 catch up; without that %.0f times as long", note, t.Took, t.Slept, (t.Took-t.Slept)/row.median())
	}
	return nil
}

// realClustermgtd returns the Python that has the package, or why there is none.
func realClustermgtd(ctx context.Context, root string) (python, why string) {
	dir := filepath.Join(root, ".cache", "peer", "node")
	python = filepath.Join(dir, "bin", "python")
	if exec.CommandContext(ctx, python, "-c", "import slurm_plugin.clustermgtd").Run() == nil {
		return python, ""
	}
	fmt.Fprintln(os.Stderr, "bench: installing aws-parallelcluster-node into .cache/peer/node")
	for _, command := range [][]string{
		{"python3", "-m", "venv", dir},
		{python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "aws-parallelcluster-node==3.16.1"},
	} {
		if out, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput(); err != nil {
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			return "", "the package can't be had here: " + lines[len(lines)-1]
		}
	}
	return python, ""
}

// peerFleet launches the fleet, with the tags by which it is found.
func peerFleet(ctx context.Context, api *ec2.Client) error {
	if err := launch(ctx, api, peerNodes); err != nil {
		return err
	}
	all, err := api.DescribeInstances(ctx, &ec2.DescribeInstancesInput{})
	if err != nil {
		return err
	}
	in := &ec2.CreateTagsInput{Tags: []types.Tag{
		{Key: aws.String("parallelcluster:cluster-name"), Value: aws.String("bench")},
		{Key: aws.String("parallelcluster:node-type"), Value: aws.String("Compute")},
		{Key: aws.String("parallelcluster:queue-name"), Value: aws.String("q")},
		{Key: aws.String("parallelcluster:compute-resource-name"), Value: aws.String("a")},
	}}
	for _, r := range all.Reservations {
		for _, i := range r.Instances {
			in.Resources = append(in.Resources, *i.InstanceId)
		}
	}
	_, err = api.CreateTags(ctx, in)
	return err
}

// peerSlurm is a folder with Slurm's commands, and the files that clustermgtd reads.
type peerSlurm struct{ dir string }

func (p peerSlurm) bin() string    { return filepath.Join(p.dir, "bin") }
func (p peerSlurm) config() string { return filepath.Join(p.dir, "clustermgtd.conf") }
func (p peerSlurm) log() string    { return filepath.Join(p.dir, "commands") }

// write makes the commands tell of a node in service for each instance.
func (p peerSlurm) write(instances []fleet.Instance) error {
	// Each node's record as scontrol prints it, in lines.
	const record = `NodeName=%[1]s Arch=x86_64 CoresPerSocket=1
   CPUAlloc=0 CPUEfctv=2 CPUTot=2 CPULoad=0.01
   AvailableFeatures=dynamic,t3.micro,a
   ActiveFeatures=dynamic,t3.micro,a
   Gres=(null)
   NodeAddr=%[2]s NodeHostName=%[1]s Version=24.11.6
   OS=Linux 6.1.0 #1 SMP
   RealMemory=972 AllocMem=0 FreeMem=512 Sockets=2 Boards=1
   State=IDLE+CLOUD ThreadsPerCore=1 TmpDisk=0 Weight=1000 Owner=N/A MCS_label=N/A
   Partitions=q
   BootTime=2026-01-05T09:00:00 SlurmdStartTime=2026-01-05T09:01:00
   LastBusyTime=2026-01-05T09:01:00 ResumeAfterTime=None
   InstanceId=%[3]s InstanceType=t3.micro
   CfgTRES=cpu=2,mem=972M,billing=2
   AllocTRES=
   CurrentWatts=0 AveWatts=0

`
	var nodes strings.Builder
	for i, instance := range instances {
		fmt.Fprintf(&nodes, record, fmt.Sprintf("q-dy-a-%d", i+1), instance.Addr, instance.ID)
	}
	partition := "PartitionName=q\n   AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL\n   State=UP TotalCPUs=2000 TotalNodes=1000\n\n"
	list := fmt.Sprintf("q-dy-a-[1-%d]", len(instances))
	command := func(name string) string { return filepath.Join(p.dir, name) }
	files := map[string]string{
		"nodes": nodes.String(), "nodes1": oneLine(nodes.String()), "partitions": partition, "partitions1": oneLine(partition),
		"etc/pcluster/parallelcluster_partition_nodelist_mapping.json": fmt.Sprintf(`{"q": %q}`, list),
		"fleet.json":     `{"q": {"a": {"Api": "run-instances", "CapacityType": "on-demand", "Instances": [{"InstanceType": "t3.micro"}]}}}`,
		"overrides.json": "{}",
		"bin/sudo":       "#!/bin/sh\nexec \"$@\"\n",
		"bin/sinfo":      "#!/bin/sh\necho '" + list + "'\n",
		"bin/squeue":     "#!/bin/sh\n",
		"bin/scontrol": fmt.Sprintf(`#!/bin/sh
echo "$*" >> %s
case "$*" in
"-o show nodes"*) exec cat %s ;;
"-o show partitions"*) exec cat %s ;;
"show nodes"*) exec cat %s ;;
"show partitions"*) exec cat %s ;;
esac
`, p.log(), command("nodes1"), command("partitions1"), command("nodes"), command("partitions")),
		"clustermgtd.conf": fmt.Sprintf(`[clustermgtd]
cluster_name = bench
region = us-east-1
dynamodb_table = table
head_node_private_ip = 10.9.0.1
head_node_hostname = head
instance_id = i-head
heartbeat_file_path = %s
fleet_config_file = %s
run_instances_overrides = %s
create_fleet_overrides = %[3]s
`, command("heartbeat"), command("fleet.json"), command("overrides.json")),
	}
	for name, text := range files {
		path := command(name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil {
			err = os.WriteFile(path, []byte(text), 0o755)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// oneLine joins records' lines, as scontrol does with -o.
func oneLine(records string) string {
	records = strings.ReplaceAll(records, "\n\n", "\x00")
	return strings.ReplaceAll(strings.ReplaceAll(records, "\n   ", " "), "\x00", "\n")
}

// ourPass is a look as the daemon's: Slurm and EC2 are asked, it is decided what to do,
// which is nothing, and the memory is encoded to see whether it has changed.
func (p peerSlurm) ourPass(ctx context.Context, cloud *fleet.EC2, instances []fleet.Instance) (time.Duration, error) {
	policy := fleet.DefaultPolicy()
	policy.Cluster, policy.Queues = "bench", map[string]string{"q": fmt.Sprintf("q-dy-a-[1-%d]", len(instances))}
	policy.Resources = slurm.Resources{"q": {"a": {API: slurm.RunInstances, CapacityType: "on-demand", Instances: []slurm.ResourceType{{InstanceType: "t3.micro"}}}}}
	client := &slurm.Client{Run: slurm.Exec, Bin: p.bin()}
	mem := fleet.NewMemory(time.Now().Add(-time.Hour))
	mem.Assigned = make(map[string]fleet.Assignment)
	for i, instance := range instances {
		name := fmt.Sprintf("q-dy-a-%d", i+1)
		mem.Assigned[name] = fleet.Assignment{Node: name, Instance: instance.ID, Addr: instance.Addr, Since: instance.Launched, Named: true, Seen: true, Ready: true}
	}
	began := time.Now()
	ec2View := &fleet.EC2View{At: time.Now()}
	view := &fleet.SlurmView{Partitions: make(map[string]string)}
	var err error
	if ec2View.Instances, err = cloud.Instances(ctx); err != nil {
		return 0, err
	}
	view.At = time.Now()
	if view.Nodes, err = client.Nodes(ctx, ""); err != nil {
		return 0, err
	}
	partitions, err := client.Partitions(ctx)
	if err != nil {
		return 0, err
	}
	for _, q := range partitions {
		view.Partitions[q.Name] = q.State
	}
	do, next := fleet.Plan(fleet.Observed{Slurm: view, EC2: ec2View}, mem, policy, time.Now())
	if _, err := json.Marshal(next); err != nil {
		return 0, err
	}
	took := time.Since(began)
	if len(do.Nodes)+len(do.Launch)+len(do.Terminate) > 0 || len(next.Assigned) != peerNodes || len(view.Nodes) != peerNodes {
		return 0, errors.New("a healthy fleet is not left alone: " + strings.Join(do.Log, "; "))
	}
	return took, nil
}
