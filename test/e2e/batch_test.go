//go:build linux

package e2e

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestBatchCluster is the life of a cluster of AWS Batch: its head node has the commands
// for jobs, which run on machines of their own and share the head node's directories. Its
// user may do what the policies in docs/iam say, and everybody else what roles say.
func TestBatchCluster(t *testing.T) {
	recorded := filepath.Join(t.TempDir(), "record.jsonl")
	admin := startRegion(t, "--record", recorded)
	file := filepath.Join(root, "test", "e2e", "testdata", "batch.yaml")
	admin.must(t, "pcluster", "sandbox", "adopt", "-c", file)
	file = bounded(t, file, admin.makeBoundary(t))
	r := admin.user(t, "ann", "nothing-of-hers", "readonly", "clusters", "clusters-iam", "storage", "batch")
	if out := r.run(t, "pcluster", "create-cluster", "-n", "jobs", "-c", file, "--dryrun", "true"); !strings.Contains(out.stdout, "DryRun flag is set") {
		t.Errorf("dry run: exit status %d\n%s", out.code, out.stdout)
	}
	r.must(t, "pcluster", "create-cluster", "-n", "jobs", "-c", file, "--wait")
	c := r.enter(t, "jobs", filepath.Join(r.home, "keys", "batch-key.pem"), "ec2-user")

	if got := c.head(t, "cat ~/.parallelcluster/awsbatch-cli.cfg"); got != "[main]\ncluster_name = jobs\nregion = us-east-1" {
		t.Errorf("the commands for jobs are told:\n%s", got)
	}
	if got := c.head(t, "systemctl list-units --no-legend 'slurm*' 'munge*' 'clustermgtd*' | wc -l"); got != "0" {
		t.Errorf("%s units of Slurm run without Slurm", got)
	}

	t.Run("a script runs with its input where the cluster's directories are", func(t *testing.T) {
		c.head(t, "echo the input >in.txt; echo from the head >/data/note || sudo sh -c 'echo from the head >/data/note'")
		id := c.submit(t, `printf '#!/bin/bash\necho "$1 $(cat in.txt) $(cat /data/note) $PWD"\nexit 3\n' >job.sh; awsbsub -jn script -cf -if in.txt job.sh argument`)
		c.awaitJob(t, id, "FAILED")
		if got := c.head(t, "awsbout "+id); !strings.HasSuffix(got, ": argument the input from the head /home/ec2-user/job-"+id) {
			t.Errorf("awsbout: %s", got)
		}
		if got := c.head(t, "awsbstat "+id); !strings.Contains(got, "exitCode                 : 3") {
			t.Errorf("awsbstat:\n%s", got)
		}
	})
	t.Run("nodes of a job meet over MPI", func(t *testing.T) {
		id := c.submit(t, `cat >mpi.sh <<'END'
#!/bin/bash
if [ "$AWS_BATCH_JOB_NODE_INDEX" = "$AWS_BATCH_JOB_MAIN_NODE_INDEX" ]; then
	mpirun --allow-run-as-root --machinefile ~/hostfile -N 1 hostname; echo status $?; touch /home/ec2-user/over
else
	until [ -f /home/ec2-user/over ]; do sleep 1; done
fi
END
awsbsub -jn mpi -n 2 -cf mpi.sh`)
		c.awaitJob(t, id, "SUCCEEDED")
		out := c.head(t, "awsbout "+id)
		if strings.Count(out, "ip-10-") < 2 || !strings.Contains(out, "status 0") {
			t.Errorf("mpirun on two nodes:\n%s", out)
		}
	})
	t.Run("a fleet that is disabled starts no job", func(t *testing.T) {
		if out := c.run(t, "pcluster", "update-compute-fleet", "-n", "jobs", "--status", "STOP_REQUESTED"); out.code == 0 || !strings.Contains(out.stdout, "`ENABLED` or `DISABLED`") {
			t.Errorf("a status of Slurm: exit status %d\n%s", out.code, out.stdout)
		}
		c.must(t, "pcluster", "update-compute-fleet", "-n", "jobs", "--status", "DISABLED")
		id := c.submit(t, "awsbsub hostname")
		eventually(t, patience, "the job waits for the fleet", func() bool { return strings.Contains(c.head(t, "awsbstat "+id), "disabled") })
		c.must(t, "pcluster", "update-compute-fleet", "-n", "jobs", "--status", "ENABLED")
		c.awaitJob(t, id, "SUCCEEDED")
	})

	long := c.submit(t, "awsbsub sleep 1000")
	eventually(t, patience, "a job runs", func() bool { return strings.Contains(c.head(t, "awsbstat "+long), "RUNNING") })
	if hosts := c.head(t, "awsbhosts"); !strings.Contains(hosts, "c5.large") {
		t.Errorf("one job runs, on\n%s", hosts)
	}
	eventually(t, patience, "those of the jobs before are gone", func() bool { return len(c.computeInstances(t)) == 1 })
	if got := c.head(t, "awsbqueues"); !strings.Contains(got, "VALID") {
		t.Errorf("awsbqueues:\n%s", got)
	}
	killed := c.submit(t, "awsbsub -jn array -a 2 sleep 1000")
	c.head(t, "awsbkill -r enough "+killed)
	eventually(t, patience, "both jobs of the array end", func() bool { return strings.Count(c.head(t, "awsbstat -e -s FAILED"), killed) == 2 })
	// The job that runs goes with the cluster.
	r.must(t, "pcluster", "delete-cluster", "-n", "jobs", "--wait")
	for what, argv := range map[string][]string{
		"instances": {"ec2", "describe-instances", "--filters", "Name=instance-state-name,Values=pending,running,stopping,stopped,shutting-down",
			"--query", "Reservations[].Instances[].InstanceId"},
		"compute environments": {"batch", "describe-compute-environments", "--query", "computeEnvironments[].computeEnvironmentName"},
		"job queues":           {"batch", "describe-job-queues", "--query", "jobQueues[].jobQueueName"},
		"repositories":         {"ecr", "describe-repositories", "--query", "repositories[].repositoryName"},
		"projects":             {"codebuild", "list-projects", "--query", "projects"},
	} {
		if left := strings.TrimSpace(admin.must(t, append([]string{"aws", "--output", "text"}, argv...)...)); left != "" {
			t.Errorf("%s are left after delete-cluster: %s", what, left)
		}
	}
	checkRecord(t, recorded, "nothing-of-hers", "batch", "head node", "clean-up function", "build of the jobs' image", "job")
}

// submit runs a command line that submits a job, and returns the job's ID.
func (c *cluster) submit(t *testing.T, line string) string {
	t.Helper()
	said := strings.Fields(c.head(t, line))
	if len(said) < 2 || said[0] != "Job" {
		t.Fatalf("awsbsub says %q", said)
	}
	return said[1]
}

// awaitJob waits until a job has come to its end: itself, before the nodes that it has.
func (c *cluster) awaitJob(t *testing.T, id, status string) {
	t.Helper()
	got := ""
	eventually(t, patience, "job "+id+" is over", func() bool {
		got = c.head(t, "awsbstat -d "+id+" | sed -n 's/^status  *: //p' | head -n 1")
		return got == "SUCCEEDED" || got == "FAILED"
	})
	if got != status {
		t.Errorf("job %s is %s, want %s\n%s", id, got, status, c.head(t, "awsbstat "+id))
	}
}
