//go:build linux

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// headScript is the small cluster's custom action; tests replace it.
const headScript = `#!/bin/bash
printf '%s|' "$@" > /etc/custom-action-ran
`

// prepareSmall adopts testdata/small.yaml and puts its script into the bucket.
// It returns the file and the private key.
func prepareSmall(t *testing.T, r *region) (file, key string) {
	t.Helper()
	file = filepath.Join(root, "test", "e2e", "testdata", "small.yaml")
	r.must(t, "pcluster", "sandbox", "adopt", "-c", file)
	r.putScript(t, headScript)
	return file, filepath.Join(r.home, "keys", "small-key.pem")
}

// putScript gives the head node a script to run when it is set up. The one that it runs
// before gives the image what it lacks of Amazon DCV.
func (r *region) putScript(t *testing.T, script string) {
	t.Helper()
	for name, text := range map[string]string{"head.sh": script, "dcv.sh": dcvScript} {
		path := filepath.Join(r.work, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		r.must(t, "aws", "s3", "cp", "--quiet", path, "s3://small-scripts/"+name)
	}
}

// dcvScript stands in for the vendor's server, which is not to be had here: its command
// keeps a list of sessions, and its service does nothing.
const dcvScript = `#!/bin/bash
cat > /usr/local/bin/dcv <<'END'
#!/bin/bash
case $1 in
create-session) echo "Session: '${!#}' (owner:$(id -un) type:virtual name:'')" >> /var/tmp/dcv-sessions ;;
list-sessions) cat /var/tmp/dcv-sessions ;;
esac
END
chmod 755 /usr/local/bin/dcv
install -m 666 /dev/null /var/tmp/dcv-sessions
printf '[Service]\nExecStart=/usr/bin/sleep infinity\n' > /etc/systemd/system/dcvserver.service
`

// remoteDesktop comes to a session as a browser does, but for the vendor's server, whose
// question to the authenticator is asked by hand.
func remoteDesktop(t *testing.T, c *cluster) {
	out := c.must(t, "pcluster", "dcv-connect", "-n", c.name, "--key-path", c.key, "--show-url")
	url := regexp.MustCompile(`https://` + regexp.QuoteMeta(c.ip) + `:8443\?authToken=([\w-]+)#(\w+)`).FindStringSubmatch(out)
	if url == nil {
		t.Fatalf("dcv-connect printed %q", out)
	}
	enter := fmt.Sprintf("curl -s --cacert /etc/parallelcluster/ext-auth-certificate.pem -d sessionId=%s -d authenticationToken=%s https://localhost:8444/", url[2], url[1])
	if got := c.head(t, enter); got != `<auth result="yes"><username>ubuntu</username></auth>` {
		t.Errorf("the server is told %q", got)
	}
	if got := c.head(t, enter); !strings.Contains(got, `<auth result="no">`) {
		t.Errorf("the server is told %q when the token comes a second time", got)
	}
}

// TestSmallCluster is the life of a cluster that is nothing like the seed's, with
// the faults that its users meet. Its user may do what the policies in docs/iam say.
func TestSmallCluster(t *testing.T) {
	recorded := filepath.Join(t.TempDir(), "record.jsonl")
	r := startRegion(t, "--record", recorded)
	file, key := prepareSmall(t, r)
	file = bounded(t, file, r.makeBoundary(t, "small-scripts"))
	admin := r
	r = r.user(t, "ann", "small-scripts", "readonly", "clusters", "clusters-iam", "login-nodes")

	t.Run("mistakes in files and names are told with their place", func(t *testing.T) { badInput(t, r, file) })
	t.Run("a script that fails fails the stack and is named", func(t *testing.T) { failingScript(t, r, file) })
	r.putScript(t, headScript)

	t.Run("Ctrl-C leaves the stack to go on and says how to follow it", func(t *testing.T) { interruptedCreation(t, r, file) })
	c := r.enter(t, "small", key, "ubuntu")
	steps := []struct {
		name string
		run  func(*testing.T, *cluster)
	}{
		{"arguments reach custom actions one by one", func(t *testing.T, c *cluster) {
			if got := c.head(t, "cat /etc/custom-action-ran"); got != "one|two words|" {
				t.Errorf("the script got %q", got)
			}
		}},
		{"static node is up, shared volume is on both", staticNode},
		{"users don't reach the head node's credentials", guardedCredentials},
		{"a user enters a remote desktop, once", remoteDesktop},
		{"a broken GPU drains the node before the job", brokenGPU},
		{"people work on a login node, behind its load balancer", loginNode},
		{"people find Slurm on every node", func(t *testing.T, c *cluster) { c.everyShellFindsSlurm(t, "work-st-small-1", "/usr/bin") }},
		{"a job runs on a cold node, which goes away when idle", coldJob},
		{"alarms of the head node have data", func(t *testing.T, c *cluster) { quietAlarms(t, admin, c.name) }},
		{"no capacity leaves the job queued, with the reason, and no instance", noCapacity},
		{"a machine killed under a job: requeued, node replaced", killedMachine},
		{"the daemon of the region is killed and comes back", killedDaemon},
		{"the fleet stops, munge gets another key, and the fleet starts", stopAndStart},
		{"users look around, and keep the logs", looksAround},
		{"down and up keep the cluster", downAndUp},
	}
	for _, s := range steps {
		if !t.Run(s.name, func(t *testing.T) { s.run(t, c) }) {
			return // what follows would fail for the same reason
		}
	}
	if !t.Run("a login node waits for its last user, who is told", func(t *testing.T) { deletedUnderAUser(t, c) }) {
		return
	}
	if left := strings.TrimSpace(r.must(t, "aws", "ec2", "describe-instances", "--filters",
		"Name=instance-state-name,Values=pending,running,stopping,stopped,shutting-down",
		"--query", "Reservations[].Instances[].InstanceId", "--output", "text")); left != "" {
		t.Errorf("instances are left after delete-cluster: %s", left)
	}
	if left := strings.TrimSpace(r.must(t, "aws", "ec2", "describe-volumes", "--query", "Volumes[].VolumeId", "--output", "text")); left != "" {
		t.Errorf("volumes are left after delete-cluster: %s", left)
	}
	t.Run("nothing was refused, nor asked for that the policies' tests don't know", func(t *testing.T) {
		checkRecord(t, recorded, "small-scripts", "life", "head node", "clean-up function", "compute node")
	})
}

// bounded writes the file of a cluster whose roles have a permissions boundary.
func bounded(t *testing.T, file, boundary string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), filepath.Base(file))
	if err := os.WriteFile(out, append(text, "Iam:\n  PermissionsBoundary: "+boundary+"\n"...), 0o644); err != nil {
		t.Fatal(err)
	}
	return out
}

func badInput(t *testing.T, r *region, file string) {
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		args        []string
		replace, by string
		want        []string
	}{
		"unknown key": {replace: "ScaledownIdletime", by: "ScaledownIdleTime", want: []string{"ScaledownIdleTime", "ScaledownIdletime", "line 38, column 5"}},
		"broken YAML": {replace: "    - Name: work", by: "   - Name: [work", want: []string{"YAML"}},
		"type":        {replace: "InstanceType: c5.large", by: "InstanceType: c5.lrage", want: []string{"c5.lrage", "c5.large"}},
		"subnet":      {replace: "SubnetId: subnet-0aaaaaaaaaaaaaaaa", by: "SubnetId: subnet-0bbbbbbbbbbbbbbbb", want: []string{"subnet-0bbbbbbbbbbbbbbbb"}},
		"AMI":         {replace: "ami-0123456789abcdef0", by: "ami-0fedcba9876543210", want: []string{"ami-0fedcba9876543210"}},
		"name":        {args: []string{"-n", "1-bad"}, want: []string{"1-bad", "does not match"}},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "cluster.yaml")
			if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(good), tt.replace, tt.by)), 0o644); err != nil {
				t.Fatal(err)
			}
			args := tt.args
			if args == nil {
				args = []string{"-n", "bad"}
			}
			out := r.run(t, append([]string{"pcluster", "create-cluster", "-c", path}, args...)...)
			if out.code != 1 {
				t.Errorf("exit status %d, want 1", out.code)
			}
			var body struct{ Message string }
			if err := json.Unmarshal([]byte(out.stdout), &body); err != nil || body.Message == "" {
				t.Errorf("standard output is no error document: %v\n%s", err, out.stdout)
			}
			for _, w := range tt.want {
				if !strings.Contains(out.stdout, w) {
					t.Errorf("the answer does not mention %q:\n%s", w, out.stdout)
				}
			}
		})
	}
	if out := strings.TrimSpace(r.must(t, "pcluster", "list-clusters", "--query", "length(clusters)")); out != "0" {
		t.Errorf("refused clusters left %s stacks", out)
	}
}

func failingScript(t *testing.T, r *region, file string) {
	r.putScript(t, "#!/bin/bash\necho first line\necho the licence server is away >&2\nexit 7\n")
	out := r.run(t, "pcluster", "create-cluster", "-n", "failing", "-c", file, "--rollback-on-failure", "false", "--wait")
	if out.code != 1 {
		t.Errorf("create-cluster --wait: exit status %d, want 1", out.code)
	}
	var d struct {
		ClusterStatus string
		Failures      []struct{ FailureCode, FailureReason string }
	}
	r.query(t, &d, "pcluster", "describe-cluster", "-n", "failing")
	if d.ClusterStatus != "CREATE_FAILED" || len(d.Failures) != 1 || d.Failures[0].FailureCode != "OnNodeConfiguredExecutionFailure" {
		t.Fatalf("describe-cluster: %+v", d)
	}
	for _, w := range []string{"head.sh", "7", "the licence server is away"} {
		if !strings.Contains(d.Failures[0].FailureReason, w) {
			t.Errorf("the reason does not mention %q: %s", w, d.Failures[0].FailureReason)
		}
	}
	if again := r.run(t, "pcluster", "create-cluster", "-n", "failing", "-c", file); again.code != 1 || !strings.Contains(again.stdout, "already exists") {
		t.Errorf("a name that is taken: exit status %d\n%s", again.code, again.stdout)
	}
	r.must(t, "pcluster", "delete-cluster", "-n", "failing", "--wait")
}

// interruptedCreation begins the creation of the small cluster, walks away, and
// comes back when it is complete.
func interruptedCreation(t *testing.T, r *region, file string) {
	ctx, cancel := context.WithTimeout(t.Context(), commandLimit)
	defer cancel()
	cmd := r.command(ctx, "pcluster", "create-cluster", "-n", "small", "-c", file, "--wait")
	var stderr lockedBuffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "progress is shown", func() bool { return strings.Contains(stderr.String(), "CREATE_IN_PROGRESS") })
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // its status is looked at below
	if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(stderr.String(), "pcluster describe-cluster") {
		t.Errorf("after Ctrl-C: exit status %d\n%s", code, stderr.String())
	}
	eventually(t, patience, "the cluster is complete", func() bool {
		return strings.TrimSpace(r.must(t, "pcluster", "describe-cluster", "-n", "small", "--query", "clusterStatus")) == `"CREATE_COMPLETE"`
	})
}

// A lockedBuffer is written by a command while a test reads it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func staticNode(t *testing.T, c *cluster) {
	eventually(t, patience, "the static node is idle", func() bool { return c.head(t, "sinfo -h -n work-st-small-1 -o %t") == "idle" })
	eventually(t, patience, "the static node sees the fleet's heartbeat", func() bool {
		const file = "/opt/slurm/etc/pcluster/.slurm_plugin/clustermgtd_heartbeat"
		return c.ssh(t, `srun -p work -w work-st-small-1 sh -c 'test -s `+file+` && date -d "$(cat `+file+`)"'`).code == 0
	})
	c.head(t, "echo from the head > /data/note")
	if got := c.head(t, "srun -p work -w work-st-small-1 cat /data/note"); got != "from the head" {
		t.Errorf("the compute node reads %q from the shared volume", got)
	}
}

// quietAlarms looks at the alarms on what the head node itself measures. By now the
// cluster is older than the minute that they look at.
func quietAlarms(t *testing.T, r *region, cluster string) {
	var states []string
	eventually(t, patience, "memory, disk and the daemon's heartbeat are measured and well", func() bool {
		r.query(t, &states, "aws", "cloudwatch", "describe-alarms", "--output", "json", "--query", "MetricAlarms[].StateValue", "--alarm-names",
			cluster+"-HeadNode-Mem", cluster+"-HeadNode-Disk", cluster+"-HeadNode-ClustermgtdHeartbeat")
		return slices.Equal(states, []string{"OK", "OK", "OK"})
	})
}

// login is a command line of ssh to the cluster's login nodes.
func (c *cluster) login(t *testing.T, args ...string) []string {
	t.Helper()
	var pools []struct {
		Status, Address string
		HealthyNodes    int
	}
	eventually(t, patience, "one login node is healthy", func() bool {
		c.query(t, &pools, "pcluster", "describe-cluster", "-n", c.name, "--query", "loginNodes")
		return len(pools) == 1 && pools[0].Status == "active" && pools[0].HealthyNodes == 1
	})
	return append([]string{"ssh", "-o", "BatchMode=yes", "-i", c.key, c.user + "@" + pools[0].Address}, args...)
}

func loginNode(t *testing.T, c *cluster) {
	out := c.must(t, c.login(t, "sbatch --wait -o login.out --wrap hostname && cat login.out && touch /data/from-login")...)
	if !strings.HasSuffix(strings.TrimSpace(out), "work-st-small-1") {
		t.Errorf("a job from the login node printed %q", out)
	}
	c.head(t, "ls login.out /data/from-login")
	// To clients all login nodes of the cluster are one host.
	want := c.head(t, "sudo ssh-keygen -lf /opt/parallelcluster/shared_login_nodes/ssh_host_ed25519_key.pub")
	if got := strings.TrimSpace(c.must(t, c.login(t, "sudo ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub")...)); got != want {
		t.Errorf("the login node has the host key %q, want %q", got, want)
	}
	if got := c.run(t, c.login(t, "systemctl is-active slurmd")...); strings.TrimSpace(got.stdout) == "active" {
		t.Error("the login node runs jobs")
	}
}

// deletedUnderAUser deletes the cluster while somebody works on its login node.
func deletedUnderAUser(t *testing.T, c *cluster) {
	ctx, cancel := context.WithTimeout(t.Context(), commandLimit)
	defer cancel()
	session := c.login(t, "cat")
	cmd := c.command(ctx, append([]string{session[0], "-tt"}, session[1:]...)...)
	keyboard, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var screen lockedBuffer
	cmd.Stdout = &screen
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }() // the node ends it, or the test
	eventually(t, patience, "somebody is logged in", func() bool {
		return strings.Contains(c.must(t, c.login(t, "who")...), "pts/")
	})
	login := c.must(t, "aws", "autoscaling", "describe-auto-scaling-instances", "--query", "AutoScalingInstances[].InstanceId", "--output", "text")
	deletion := c.command(ctx, "pcluster", "delete-cluster", "-n", c.name, "--wait")
	var deleted bytes.Buffer
	deletion.Stdout, deletion.Stderr = &deleted, &deleted
	if err := deletion.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "the user is told", func() bool { return strings.Contains(screen.String(), "login node is going to be terminated") })
	state := func() string {
		return strings.TrimSpace(c.must(t, "aws", "ec2", "describe-instances", "--instance-ids", strings.TrimSpace(login),
			"--query", "Reservations[].Instances[].State.Name", "--output", "text"))
	}
	if s := state(); s != "running" {
		t.Errorf("the login node is %s while somebody works on it", s)
	}
	if _, err := keyboard.Write([]byte{4}); err != nil { // Ctrl-D ends cat, and with it the session
		t.Fatal(err)
	}
	eventually(t, 2*time.Minute, "the login node has gone long before its time was up", func() bool { return state() == "terminated" })
	if err := deletion.Wait(); err != nil {
		t.Errorf("delete-cluster: %v\n%s", err, deleted.String())
	}
}

func coldJob(t *testing.T, c *cluster) {
	// Of what happens once to a job on a cold node.
	of := `queue="work",compute_resource="small"`
	counted := []string{
		"pcluster_fleet_nodes_asked_total{" + of + "}",
		"pcluster_fleet_instances_launched_total{" + of + "}",
		`pcluster_fleet_node_start_seconds_count{stage="all",` + of + "}",
		`pcluster_fleet_node_start_seconds_count{stage="boot",` + of + "}",
		"pcluster_fleet_job_wait_seconds_count",
		`pcluster_aws_requests_total{service="EC2",operation="RunInstances",outcome="ok"}`,
	}
	before := make(map[string]float64)
	for _, series := range counted {
		before[series] = c.count(t, series)
	}
	id := c.head(t, "sbatch --parsable -p work -w work-dy-small-1 -o cold.out --wrap hostname")
	eventually(t, patience, "cold job completed", func() bool { return c.jobState(t, id) == "COMPLETED" })
	if got := c.head(t, "cat cold.out"); got != "work-dy-small-1" {
		t.Errorf("the job ran on %q", got)
	}
	c.expectWhy(t, "job", id, "It is over: COMPLETED; it waited", "EC2 launch", "instance starts", "work-dy-small-1 reports: its instance has started",
		"work-dy-small-1 registers with slurmctld", "slurmctld is told that the job's nodes are up")
	for _, series := range counted {
		eventually(t, patience, series+" counts the start", func() bool { return c.count(t, series) == before[series]+1 })
	}
	c.expectWhy(t, "node", "work-dy-small-1", "It is up as i-", "slurmctld asks for work-dy-small-1", "work-dy-small-1 has booted")
	eventually(t, patience, "idle node terminated", func() bool { return len(c.computeInstances(t)) == 1 })
}

// brokenGPU gives the static node programs with the names of NVIDIA's, of which the
// diagnosis fails: the machines here have no GPUs. The instance that replaces it has
// none, and runs the job.
func brokenGPU(t *testing.T, c *cluster) {
	before := c.computeInstances(t)
	c.head(t, `srun -p work -w work-st-small-1 sudo sh -c '
for tool in nvidia-smi nv-hostengine dcgmi; do
	printf "#!/bin/sh\n[ $tool != nvidia-smi ] || echo Tesla T4\n[ $tool != dcgmi ] || { echo bad memory on GPU 0; exit 3; }\n" > /usr/local/bin/$tool
	chmod +x /usr/local/bin/$tool
done
touch /dev/nvidiactl'`)
	const job = "srun -p work -w work-st-small-1 sh -c 'ls /dev/nvidiactl; hostname'"
	if out := c.ssh(t, job); out.code == 0 || !strings.Contains(out.stderr, "prolog failed") {
		t.Errorf("on broken GPUs: exit status %d\n%s%s", out.code, out.stdout, out.stderr)
	}
	eventually(t, patience, "another instance runs jobs", func() bool {
		out := c.ssh(t, "timeout 30 "+job)
		return out.code == 0 && strings.TrimSpace(out.stdout) == "work-st-small-1"
	})
	c.replaced(t, before)
	if why := c.head(t, "pcluster-why node work-st-small-1"); !strings.Contains(why, "Prolog error") {
		t.Errorf("why does not tell of the prolog:\n%s", why)
	}
}

// jobState asks slurmctld, which remembers jobs for minutes: the cluster has no
// accounting.
func (c *cluster) jobState(t *testing.T, id string) string {
	t.Helper()
	return c.head(t, "scontrol -o show job "+id+" | grep -o 'JobState=[A-Z_]*' | cut -d= -f2")
}

func noCapacity(t *testing.T, c *cluster) {
	c.must(t, "pcluster", "sandbox", "capacity", "c5.large", "1")
	id := c.head(t, "sbatch --parsable -p work -N 2 -C c5.large -o big.out --wrap 'srun hostname'")
	eventually(t, patience, "Slurm tells that there is no capacity", func() bool {
		return strings.Contains(c.head(t, "scontrol -o show nodes work-dy-rare-[1-2]"), "InsufficientInstanceCapacity")
	})
	eventually(t, patience, "no partial fleet", func() bool { return len(c.computeInstances(t)) == 1 })
	if s := c.jobState(t, id); s != "PENDING" && s != "CONFIGURING" {
		t.Errorf("the job is %s, want it queued", s)
	}
	c.expectWhy(t, "job", id, "It could not have its nodes: InsufficientInstanceCapacity", "What to do",
		"Compute resource rare of queue work is tried again after", "EC2 is asked for 2 × c5.large, all or none", "EC2 refuses")
	c.expectWhy(t, "node", "work-dy-rare-1", "Its compute resource can't be had", "InsufficientInstanceCapacity")
	refused := `pcluster_fleet_instances_refused_total{queue="work",compute_resource="rare",code="InsufficientInstanceCapacity",class="capacity"}`
	eventually(t, told, "the refusal is counted", func() bool { return c.metric(t, refused) != "" })
	c.head(t, "scancel "+id)
	c.must(t, "pcluster", "sandbox", "capacity", "c5.large", "unlimited")
}

func killedMachine(t *testing.T, c *cluster) {
	id := c.head(t, `sbatch --parsable --requeue -p work -w work-st-small-1 -o /dev/null --wrap 'test -n "$SLURM_RESTART_COUNT" || sleep 600'`)
	eventually(t, patience, "job runs", func() bool { return c.jobState(t, id) == "RUNNING" })
	before := c.computeInstances(t)
	if len(before) != 1 {
		t.Fatalf("compute instances: %v, want the static one", before)
	}
	if err := syscall.Kill(leader(t, before[0]), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "the requeued job completed", func() bool { return c.jobState(t, id) == "COMPLETED" })
	c.replaced(t, before)
}

// replaced waits until another instance has taken the place of the only one that there was.
func (c *cluster) replaced(t *testing.T, before []string) {
	t.Helper()
	eventually(t, patience, fmt.Sprintf("another instance than %v is alone", before), func() bool {
		now := c.computeInstances(t)
		return len(now) == 1 && now[0] != before[0]
	})
}

// leader returns the first process of an instance's machine: the one whose
// parent is the systemd-nspawn that names it.
func leader(t *testing.T, id string) int {
	t.Helper()
	out, err := exec.Command("ps", "-eo", "pid,ppid,args").Output()
	if err != nil {
		t.Fatal(err)
	}
	nspawn := map[int]bool{}
	for pass := 0; pass < 2; pass++ {
		for line := range strings.Lines(string(out)) {
			var pid, ppid int
			var program string
			if n, _ := fmt.Sscan(line, &pid, &ppid, &program); n != 3 {
				continue
			}
			if strings.HasSuffix(program, "systemd-nspawn") && strings.Contains(line, id) {
				nspawn[pid] = true
			} else if pass == 1 && nspawn[ppid] {
				return pid
			}
		}
	}
	t.Fatalf("no machine of instance %s among the processes", id)
	return 0
}

func killedDaemon(t *testing.T, c *cluster) {
	instances := c.computeInstances(t)
	pid := daemonPID(t, c.region)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if out := c.run(t, "pcluster", "sandbox", "status"); out.code == 0 {
		t.Error("status succeeds without a daemon")
	}
	c.must(t, c.up...)
	if got := c.computeInstances(t); strings.Join(got, " ") != strings.Join(instances, " ") {
		t.Errorf("compute instances were %v, are %v", instances, got)
	}
	if got := c.head(t, "srun -p work -w work-st-small-1 hostname"); got != "work-st-small-1" {
		t.Errorf("job after the restart printed %q", got)
	}
}

func daemonPID(t *testing.T, r *region) int {
	t.Helper()
	var pid int
	for line := range strings.Lines(r.must(t, "pcluster", "sandbox", "status")) {
		if _, err := fmt.Sscanf(line, "daemon pid %d", &pid); err == nil {
			return pid
		}
	}
	t.Fatal("status does not tell the daemon's pid")
	return 0
}

func stopAndStart(t *testing.T, c *cluster) {
	status := func() string {
		return strings.TrimSpace(c.must(t, "pcluster", "describe-compute-fleet", "-n", c.name, "--query", "status"))
	}
	c.must(t, "pcluster", "update-compute-fleet", "-n", c.name, "--status", "STOP_REQUESTED")
	eventually(t, patience, "fleet stopped", func() bool { return status() == `"STOPPED"` && len(c.computeInstances(t)) == 0 })
	const rotate = "sudo /opt/parallelcluster/scripts/slurm/update_munge_key.sh"
	key := c.head(t, "sudo sha256sum /etc/munge/munge.key")
	if out := c.ssh(t, rotate); out.code == 0 || !strings.Contains(out.stderr, "login nodes run") {
		t.Errorf("while a login node runs: %+v", out)
	}
	c.head(t, rotate+" -d")
	if c.head(t, "sudo sha256sum /etc/munge/munge.key") == key {
		t.Error("the munge key is the old one")
	}
	c.must(t, "pcluster", "update-compute-fleet", "-n", c.name, "--status", "START_REQUESTED")
	eventually(t, patience, "fleet running, static node back", func() bool {
		return status() == `"RUNNING"` && c.head(t, "sinfo -h -n work-st-small-1 -o %t") == "idle"
	})
}

func downAndUp(t *testing.T, c *cluster) {
	c.must(t, "pcluster", "sandbox", "down")
	c.must(t, c.up...)
	eventually(t, patience, "head node answers", func() bool { return c.ssh(t, "true").code == 0 })
	eventually(t, patience, "a job runs again", func() bool {
		out := c.ssh(t, "timeout 60 srun -p work -w work-st-small-1 hostname")
		return out.code == 0 && strings.TrimSpace(out.stdout) == "work-st-small-1"
	})
	guardedCredentials(t, c)
}

// guardedCredentials asks the metadata service for a token as different users.
func guardedCredentials(t *testing.T, c *cluster) {
	const ask = "curl -s -m 60 -o /dev/null -w %{http_code} -X PUT -H X-aws-ec2-metadata-token-ttl-seconds:60 http://169.254.169.254/latest/api/token"
	for user, want := range map[string]string{"root": "200", "pcluster-admin": "200", "ubuntu": "200", "slurm": "000", "nobody": "000"} {
		if got := c.head(t, "sudo -u "+user+" "+ask+" || true"); got != want {
			t.Errorf("the metadata service answers %s with %s, want %s", user, got, want)
		}
	}
}
