//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestSeed runs the Blue Brain document's deployment verbatim on its own cluster
// file, and then looks at what the document promises its users.
func TestSeed(t *testing.T) {
	r := startRegion(t)
	example := filepath.Join(root, "examples", "bluebrain")
	if err := os.CopyFS(r.work, os.DirFS(example)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(r.work, "scientist")).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	scientist := prepareUsers(t, r)

	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	cmd := r.command(ctx, "bash", "-x", filepath.Join(root, "test", "e2e", "testdata", "seed.sh"))
	cmd.Env = append(cmd.Env, "SCIENTIST="+scientist, "ADOPT="+filepath.Join(r.work, "adopt"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the document's commands: %v\n%s", err, out)
	}

	c := r.enter(t, "sbo-parallelcluster-20241215", filepath.Join(r.work, "scientist"), scientist)
	t.Run("three queues with the document's nodes and limits", c.seedQueues)
	t.Run("storage is mounted where the file says", c.seedStorage)
	t.Run("jobs get SHMDIR and TMPDIR, which go with them", c.seedJobDirectories)
	t.Run("accounting, REST service and logs", c.seedServices)
	t.Run("tags are everywhere", c.seedTags)
	t.Run("MPI across two nodes, again and again", c.seedMPI)
	t.Run("a job on hardware of the production queue", c.seedProduction)
	t.Run("aws and boto3 work on a node with nothing set", c.seedNodeClients)

	r.must(t, "pcluster", "delete-cluster", "--cluster-name", c.name, "--wait")
	if out := strings.TrimSpace(r.must(t, "aws", "fsx", "describe-file-systems", "--query", "FileSystems[].FileSystemId", "--output", "text")); out != "" {
		t.Errorf("file systems are left: %s", out)
	}
	if out := strings.TrimSpace(r.must(t, "aws", "efs", "describe-file-systems", "--query", "FileSystems[].FileSystemId", "--output", "text")); out != "fs-0c2a2f3ad1b1beeca" {
		t.Errorf("the user's own EFS file system: %q, want it kept", out)
	}
}

// prepareUsers writes the program that the script runs to bring about what the
// account of the document has: the referenced resources, objects in the buckets,
// and users.json on the EFS file system. It returns the name of a user in it.
func prepareUsers(t *testing.T, r *region) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(r.work, "resources", "users.json"))
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	public, err := os.ReadFile(filepath.Join(r.work, "scientist.pub"))
	if err != nil {
		t.Fatal(err)
	}
	var first string
	for _, u := range doc["users"].([]any) {
		user := u.(map[string]any)
		user["sshPublicKeys"] = []string{strings.TrimSpace(string(public))}
		if first == "" {
			first = user["name"].(string)
		}
	}
	if data, err = json.Marshal(doc); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.work, "users.json"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	efs := filepath.Join(r.home, "filesystems", "efs", "fs-0c2a2f3ad1b1beeca", "resources")
	script := `#!/bin/bash
set -euo pipefail
pcluster sandbox adopt -c ./config/compute-cluster.yaml
mkdir -p ` + efs + `
cp users.json ` + efs + `/users.json
echo image | aws s3 cp --quiet - s3://sboinfrastructureassets/containers/neuron.sif
echo circuit | aws s3 cp --quiet - s3://sbonexusdata/circuits/o1.h5
`
	if err := os.WriteFile(filepath.Join(r.work, "adopt"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return first
}

func (c *cluster) seedQueues(t *testing.T) {
	for _, q := range []struct {
		name, nodes, limit string
		features           []string
	}{
		{"debug", "8", "1-00:00:00", []string{"t3.micro"}},
		{"prod-mpi", "22", "12:00:00", []string{"c7a.48xlarge", "c5d.24xlarge", "efa"}},
		{"prod-batch", "26", "2:00:00", []string{"m5.8xlarge", "c7a.48xlarge"}},
	} {
		if got := c.head(t, "sinfo -h -p "+q.name+" -o '%D %l' | sort -u"); got != q.nodes+" "+q.limit {
			t.Errorf("queue %s has (nodes, limit) %q, want %q", q.name, got, q.nodes+" "+q.limit)
		}
		features := c.head(t, "sinfo -h -p "+q.name+" -o %f")
		for _, f := range q.features {
			if !slices.Contains(regexp.MustCompile(`[,\s]+`).Split(features, -1), f) {
				t.Errorf("no node of queue %s has feature %s: %s", q.name, f, features)
			}
		}
	}
	if got := c.head(t, "scontrol show config | grep -E '^SelectTypeParameters' | tr -s ' '"); !strings.Contains(got, "CR_CPU_MEMORY") {
		t.Errorf("memory is not scheduled: %s", got)
	}
}

func (c *cluster) seedStorage(t *testing.T) {
	for file, want := range map[string]string{"/sbo/data/containers/neuron.sif": "image", "/sbo/data/project/circuits/o1.h5": "circuit"} {
		if got := c.head(t, "cat "+file); got != want {
			t.Errorf("%s has %q, want %q", file, got, want)
		}
	}
	c.head(t, "findmnt /sbo/home && findmnt /sbo/data")
	if got := c.head(t, "pwd"); !strings.HasPrefix(got, "/sbo/home/") {
		t.Errorf("the user's home is %s, want it on the EFS file system", got)
	}
}

func (c *cluster) seedJobDirectories(t *testing.T) {
	out := c.head(t, `srun -p debug -n1 bash -c 'test -d "$SHMDIR" && test -w "$SHMDIR" && test -d "$TMPDIR" && test -w "$TMPDIR" && echo "$SLURMD_NODENAME $SHMDIR $TMPDIR"'`)
	fields := strings.Fields(out)
	if len(fields) != 3 {
		t.Fatalf("the job printed %q", out)
	}
	left := c.head(t, "srun -p debug -n1 -w "+fields[0]+" bash -c 'ls -d "+fields[1]+" "+fields[2]+" 2>/dev/null || true'")
	if left != "" {
		t.Errorf("after the job there still is %s", left)
	}
}

// seedMPI starts many short MPI programs, since what goes wrong at their start
// (ranks that are at different places in MPI_Init) goes wrong once in fifty times.
func (c *cluster) seedMPI(t *testing.T) {
	const runs = 25
	c.head(t, `mkdir -p mpi && cat > mpi/hello.c <<'C'
#include <mpi.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	int rank, sum, length;
	char host[MPI_MAX_PROCESSOR_NAME];
	MPI_Init(&argc, &argv);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Get_processor_name(host, &length);
	MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
	printf("rank %d on %s, sum %d\n", rank, host, sum);
	MPI_Finalize();
	return 0;
}
C
mpicc -o mpi/hello mpi/hello.c
cat > mpi/job <<'SH'
#!/bin/bash
#SBATCH --partition=debug --nodes=2 --ntasks=4 --ntasks-per-node=2 --output=mpi/out
for run in $(seq `+strconv.Itoa(runs)+`); do
	srun --mpi=pmix mpi/hello || echo "run $run: exit status $?"
done
SH
sbatch --wait mpi/job`)
	out := c.head(t, "cat mpi/out")
	for rank := range 4 {
		line := regexp.MustCompile(fmt.Sprintf(`(?m)^rank %d on debug-dy-t3micro-\d+, sum 6$`, rank))
		if n := len(line.FindAllString(out, -1)); n != runs {
			t.Errorf("rank %d reported in %d of %d runs", rank, n, runs)
		}
	}
	hosts := regexp.MustCompile(`debug-dy-t3micro-\d+`).FindAllString(out, -1)
	slices.Sort(hosts)
	if hosts = slices.Compact(hosts); len(hosts) != 2 {
		t.Errorf("the ranks ran on %v, want two nodes", hosts)
	}
	if t.Failed() {
		t.Log(out)
	}
}

func (c *cluster) seedServices(t *testing.T) {
	eventually(t, patience, "jobs in the accounting database", func() bool {
		return strings.Contains(c.head(t, "sacct -n -X -P -o JobName,State -S now-1hour"), "bash|COMPLETED")
	})
	c.head(t, "systemctl is-active slurmrestd slurmctld slurmdbd")
	group := strings.TrimSpace(c.must(t, "aws", "logs", "describe-log-groups", "--log-group-name-prefix", "/aws/parallelcluster/"+c.name, "--query", "logGroups[0].logGroupName", "--output", "text"))
	eventually(t, patience, "slurmctld's log in CloudWatch", func() bool {
		return strings.Contains(c.must(t, "aws", "logs", "describe-log-streams", "--log-group-name", group), ".slurmctld")
	})
	if days := strings.TrimSpace(c.must(t, "aws", "logs", "describe-log-groups", "--log-group-name-prefix", group, "--query", "logGroups[0].retentionInDays", "--output", "text")); days != "14" {
		t.Errorf("logs are kept %s days, the file says 14", days)
	}
}

func (c *cluster) seedTags(t *testing.T) {
	var instances []map[string]string
	c.query(t, &instances, "aws", "ec2", "describe-instances", "--filters", "Name=tag:parallelcluster:cluster-name,Values="+c.name,
		"Name=instance-state-name,Values=running", "--output", "json", "--query",
		"Reservations[].Instances[].{id:InstanceId,billing:Tags[?Key=='SBO_Billing']|[0].Value,type:Tags[?Key=='parallelcluster:node-type']|[0].Value}")
	if len(instances) < 2 {
		t.Errorf("running instances: %v, want the head node and at least one compute node", instances)
	}
	for _, i := range instances {
		if i["billing"] != "hpc:parallelcluster" || i["type"] == "" {
			t.Errorf("instance %v lacks tags", i)
		}
	}
	if got := strings.TrimSpace(c.must(t, "aws", "fsx", "describe-file-systems", "--output", "text", "--query", "FileSystems[0].Tags[?Key=='SBO_Billing'].Value")); got != "hpc:parallelcluster" {
		t.Errorf("tag SBO_Billing of the file system is %q", got)
	}
}

func (c *cluster) seedProduction(t *testing.T) {
	out := c.head(t, "srun -p prod-batch -C m5.8xlarge -N1 -n1 --mem=100G bash -c 'hostname; grep -c ^processor /proc/cpuinfo'")
	lines := strings.Fields(out)
	if len(lines) != 2 || !strings.HasPrefix(lines[0], "prod-batch-dy-") || lines[1] != "32" {
		t.Errorf("the job on m5.8xlarge printed %q, want a node of prod-batch with 32 processors", out)
	}
}

func (c *cluster) seedNodeClients(t *testing.T) {
	admin := *c
	admin.user, admin.key = "ec2-user", filepath.Join(c.work, "aws_coreservices.pem")
	if got := admin.head(t, "env | grep -c ^AWS_ || true"); got != "0" {
		t.Errorf("%s AWS variables are set on the head node", got)
	}
	if got := admin.head(t, "sudo aws sts get-caller-identity --query Account --output text"); got != "671250183987" {
		t.Errorf("aws on the head node is account %q", got)
	}
	if got := admin.head(t, `sudo python3 -c 'import boto3; print(boto3.client("s3", region_name="us-east-1").head_object(Bucket="sboinfrastructureassets", Key="config/slurm_extras.conf")["ResponseMetadata"]["HTTPStatusCode"])'`); got != "200" {
		t.Errorf("boto3 on the head node got %q", got)
	}
}
