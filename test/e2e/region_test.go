//go:build linux

// Package e2e drives the built programs as a user does: a region of its own for
// each group of tests, the real AWS CLI, ssh, Slurm's commands, kill signals.
//
// The tests need root and the packages of scripts/setup; elsewhere they are
// skipped with a line that says so. `make test` builds the programs first.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// root is the source tree.
var root = func() string {
	wd, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	return filepath.Dir(filepath.Dir(wd))
}()

// A region is one running sandbox and how to use it.
type region struct {
	home string
	work string // folder for the test's own files
	env  []string
	up   []string // the command that starts it, again too

	clusters *[]*cluster // those entered, to be asked when the test fails
}

// A result is what a command printed and how it ended.
type result struct {
	stdout, stderr string
	code           int
}

// startRegion brings up a region, with more options of `sandbox up`, that is
// destroyed, and shown to have left nothing, at the end of the test.
func startRegion(t *testing.T, options ...string) *region {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("end-to-end tests boot machines, which needs root")
	}
	pcluster := filepath.Join(root, "bin", "pcluster")
	if _, err := os.Stat(pcluster); err != nil {
		t.Skip("bin/pcluster is missing: run make build first")
	}
	aws, err := exec.Command(filepath.Join(root, "scripts", "aws-cli")).Output()
	if err != nil {
		t.Fatalf("no AWS CLI: %v", err)
	}
	// Not below the test's temporary folder: that would go before the machines on a failing destroy.
	home, err := os.MkdirTemp("/var/tmp", "pcluster-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	r := &region{home: filepath.Join(home, "region"), work: t.TempDir(), up: append([]string{"pcluster", "sandbox", "up"}, options...), clusters: new([]*cluster)}
	r.env = append(os.Environ(),
		"PATH="+filepath.Dir(pcluster)+":"+filepath.Dir(strings.TrimSpace(string(aws)))+":"+os.Getenv("PATH"),
		"PCLUSTER_SANDBOX_HOME="+r.home, "PCLUSTER_LOG_FILE="+filepath.Join(r.work, "pcluster-cli.log"),
		"HOME="+r.work)
	t.Cleanup(func() {
		if t.Failed() {
			r.show(t)
		}
		r.must(t, "pcluster", "sandbox", "destroy")
		if out := r.run(t, filepath.Join(root, "scripts", "traces"), r.home); out.code != 0 {
			t.Errorf("the region left traces:\n%s", out.stdout)
		}
		if err := os.RemoveAll(home); err != nil {
			t.Error(err)
		}
	})
	r.must(t, append(slices.Clip(r.up), "--port", fmt.Sprint(freePort(t)))...)
	r.loadEnvironment(t)
	return r
}

// show prints what helps to understand a failure, the most telling last.
func (r *region) show(t *testing.T) {
	consoles, _ := filepath.Glob(filepath.Join(r.home, "machines", "*", "console*"))
	for _, c := range consoles {
		data, _ := os.ReadFile(c)
		if len(data) > 1500 {
			data = data[len(data)-1500:]
		}
		t.Logf("%s ends:\n%s", filepath.Base(filepath.Dir(c)), data)
	}
	log, _ := os.ReadFile(filepath.Join(r.home, "daemon.log"))
	if len(log) > 4000 {
		log = log[len(log)-4000:]
	}
	t.Logf("daemon's log ends:\n%s", log)
	t.Logf("status:\n%s", r.run(t, "pcluster", "sandbox", "status").stdout)
	for _, c := range *r.clusters {
		c.show(t)
	}
}

// show prints what the cluster's head node knows of its jobs and nodes.
func (c *cluster) show(t *testing.T) {
	out := c.ssh(t, `sudo tail -n 30 /var/log/parallelcluster/clustermgtd
sudo tail -n 15 /var/log/slurmctld.log
sinfo -R; sinfo -N -o '%N %T %E'; squeue -o '%i %T %r %N %S'
for node in $(sinfo -h -N -o %N | sort -u); do pcluster-why node "$node"; done
for job in $(squeue -h -o %i); do pcluster-why job "$job"; done`)
	t.Logf("cluster %s:\n%s%s", c.name, out.stdout, out.stderr)
}

// loadEnvironment takes over what `pcluster sandbox env` prints.
func (r *region) loadEnvironment(t *testing.T) {
	t.Helper()
	for line := range strings.Lines(r.must(t, "pcluster", "sandbox", "env")) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "export "); ok {
			r.env = append(r.env, v)
		}
	}
}

// freePort is one from below those that the kernel gives to connections: a region that is
// down for a while finds its own again.
func freePort(t *testing.T) int {
	t.Helper()
	for range 100 {
		port := 20_000 + rand.IntN(10_000)
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

// command is one in the region's environment.
func (r *region) command(ctx context.Context, argv ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "env", argv...) // env finds the program in the region's PATH
	cmd.Env, cmd.Dir = r.env, r.work
	return cmd
}

// commandLimit is far above what any single command may take.
const commandLimit = 5 * time.Minute

// run runs a command and returns what came of it.
func (r *region) run(t *testing.T, argv ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	cmd := r.command(ctx, argv...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", strings.Join(argv, " "), err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// must runs a command that has to succeed and returns its standard output.
func (r *region) must(t *testing.T, argv ...string) string {
	t.Helper()
	out := r.run(t, argv...)
	if out.code != 0 {
		t.Fatalf("%s: exit status %d\n%s%s", strings.Join(argv, " "), out.code, out.stdout, out.stderr)
	}
	return out.stdout
}

// patience is how long tests wait for what takes seconds, on a host that is busy.
const patience = 4 * time.Minute

// told is how long what has happened may take to be told.
const told = time.Minute

// eventually waits until ok, looking a few times a second.
func eventually(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("after %s still not: %s", limit, what)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// A cluster is one cluster of a region, with a way in.
type cluster struct {
	*region
	name, key, user, ip string
}

// enter opens the way into a cluster for a user with a private key.
func (r *region) enter(t *testing.T, name, key, user string) *cluster {
	t.Helper()
	var ip string
	r.query(t, &ip, "pcluster", "describe-cluster", "-n", name, "--query", "headNode.privateIpAddress")
	c := &cluster{region: r, name: name, key: key, user: user, ip: ip}
	*r.clusters = append(*r.clusters, c)
	return c
}

// query runs a command that prints JSON and decodes it.
func (r *region) query(t *testing.T, into any, argv ...string) {
	t.Helper()
	out := r.must(t, argv...)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
}

// ssh runs a command line on the head node.
func (c *cluster) ssh(t *testing.T, line string) result {
	t.Helper()
	return c.run(t, append(c.toHead(), line)...)
}

// head is ssh for command lines that have to succeed; it returns trimmed output.
func (c *cluster) head(t *testing.T, line string) string {
	t.Helper()
	out := c.ssh(t, line)
	if out.code != 0 {
		t.Fatalf("on the head node: %s: exit status %d\n%s%s", line, out.code, out.stdout, out.stderr)
	}
	return strings.TrimSpace(out.stdout)
}

// session is what somebody sees who logs in with a terminal and types a line: the whole
// of it, with the line and what greets people. The login is an ssh command, on whose
// machine another may follow.
func (c *cluster) session(t *testing.T, login []string, line string, further ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandLimit)
	defer cancel()
	cmd := c.command(ctx, slices.Concat(login[:1], []string{"-tt"}, login[1:], further)...)
	cmd.Stdin = strings.NewReader(line + "\nexit\n")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("a session by %s: %v\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return string(out)
}

// toHead is a command line of ssh to the head node.
func (c *cluster) toHead() []string {
	return []string{"ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-i", c.key, c.user + "@" + c.ip}
}

// everyShellFindsSlurm looks into the shells of people on the head node, a login node and
// a compute node.
func (c *cluster) everyShellFindsSlurm(t *testing.T, compute, programs string) {
	t.Helper()
	const line = `case :$PATH: in *:/opt/slurm/bin:*) echo "[$(command -v srun)] [$MANPATH]" ;; esac`
	want := "[" + programs + "/srun] [:/opt/slurm/share/man]"
	for node, seen := range map[string]string{
		"head node":    c.session(t, c.toHead(), line),
		"login node":   c.session(t, c.login(t), line),
		"compute node": c.session(t, c.toHead(), line, "ssh -tt "+compute),
	} {
		if !strings.Contains(seen, want) {
			t.Errorf("the %s shows people %q, want %s", node, seen, want)
		}
	}
}

// computeInstances returns the IDs of the cluster's compute instances that live.
func (c *cluster) computeInstances(t *testing.T) []string {
	t.Helper()
	var ids []string
	out := c.must(t, "pcluster", "describe-cluster-instances", "-n", c.name, "--node-type", "ComputeNode", "--query", "instances[].instanceId")
	if strings.TrimSpace(out) == "" {
		return nil // an empty answer prints nothing
	}
	if err := json.Unmarshal([]byte(out), &ids); err != nil {
		t.Fatal(err)
	}
	return ids
}
