// Package bluebrain_test checks the example as far as that needs no cluster.
package bluebrain_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pcluster/internal/config"
	"pcluster/internal/facts"
	"pcluster/internal/facts/catalog"
	"pcluster/internal/facts/live"
	"pcluster/internal/validate"
)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func need(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skip(err)
	}
	return path
}

func TestQueuesAreThoseOfTheReadme(t *testing.T) {
	c, problems := config.Parse("compute-cluster.yaml", []byte(read(t, "config/compute-cluster.yaml")))
	for _, p := range problems {
		t.Error(p)
	}
	if c == nil {
		t.FailNow()
	}
	want := map[string]string{
		"debug":      "8 t3.micro, 1-00:00:00",
		"prod-mpi":   "20 c7a.48xlarge with EFA, 2 c5d.24xlarge, 12:00:00",
		"prod-batch": "16 m5.8xlarge, 10 c7a.48xlarge, 02:00:00",
	}
	got := map[string]string{}
	for _, q := range c.Scheduling.SlurmQueues {
		var parts []string
		for _, r := range q.ComputeResources {
			part := fmt.Sprintf("%d %s", r.MaxCount, r.Instances[0].InstanceType)
			if r.Efa.Enabled {
				part += " with EFA"
			}
			parts = append(parts, part)
		}
		for _, s := range q.CustomSlurmSettings {
			if s.Key == "MaxTime" {
				parts = append(parts, s.Value)
			}
		}
		got[q.Name] = strings.Join(parts, ", ")
	}
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("queue %s: got %q, want %q", name, got[name], want[name])
		}
	}
	if len(got) != len(want) {
		t.Errorf("queues: %v", got)
	}
}

// account is the project's account, as far as the file refers to it.
func account(c *config.Cluster) *facts.Memory {
	const subnet, group, image = "subnet-076ece71c00742d3c", "sg-0b5941ba4f4d1a9ff", "ami-042559ee751d3e522"
	all := facts.Rule{Protocol: "-1", Groups: []string{group}}
	world := facts.Rule{Protocol: "-1", CIDRs: []string{"0.0.0.0/0"}}
	m := &facts.Memory{
		Types:    map[string]facts.InstanceType{},
		Subnets:  map[string]facts.Subnet{subnet: {ID: subnet, AZ: "us-east-1a", VPC: "vpc-1", CIDR: "10.0.0.0/16"}},
		VPCs:     map[string]facts.VPC{"vpc-1": {DNSSupport: true, DNSHostnames: true}},
		Groups:   map[string]facts.SecurityGroup{group: {ID: group, VPC: "vpc-1", Ingress: []facts.Rule{all}, Egress: []facts.Rule{all, world}}},
		KeyPairs: map[string]facts.KeyPair{"aws_coreservices": {Name: "aws_coreservices", Type: "rsa"}},
		Images:   map[string]facts.Image{image: {ID: image, Architecture: "x86_64", RootDevice: "/dev/xvda", RootSize: 35, Tags: map[string]string{"parallelcluster:version": config.ToolVersion, "parallelcluster:build_status": "available", "parallelcluster:os": "alinux2023"}}},
		EFSs:     map[string]facts.EFS{"fs-0c2a2f3ad1b1beeca": {ID: "fs-0c2a2f3ad1b1beeca", MountTargets: []facts.MountTarget{{AZ: "us-east-1a", Groups: []string{group}}}}},
		Policies: []string{"arn:aws:iam::671250183987:policy/ParallelCluster_CloudWatch_TagLogGroup_SLURM"},
		Buckets: map[string]facts.Bucket{
			"sboinfrastructureassets": {Name: "sboinfrastructureassets", Region: "us-east-1"},
			"sbonexusdata":            {Name: "sbonexusdata", Region: "us-east-1"},
		},
		Secrets: map[string]string{"arn:aws:secretsmanager:us-east-1:671250183987:secret:hpc_slurm_db_password-6LNuBy": "secret"},
	}
	for _, name := range facts.Names(c) {
		if t, ok := catalog.InstanceType(name); ok {
			m.Types[name] = live.InstanceType(t)
		}
	}
	for _, dir := range []string{"config", "scripts"} {
		files, _ := filepath.Glob(dir + "/s3/*")
		for _, f := range files {
			m.Objects = append(m.Objects, "sboinfrastructureassets/"+dir+"/"+filepath.Base(f))
		}
	}
	return m
}

func TestClusterFileIsValidInTheAccountItIsFor(t *testing.T) {
	c, _ := config.Parse("compute-cluster.yaml", []byte(read(t, "config/compute-cluster.yaml")))
	for _, p := range validate.Cluster(t.Context(), c, account(c), validate.Options{ClusterName: "sbo-parallelcluster-20241215", Region: "us-east-1"}).All() {
		if p.Level == config.Error {
			t.Error(p)
		} else {
			t.Log(p.Level, p)
		}
	}
}

func TestWhatTheClusterFileNamesIsHere(t *testing.T) {
	text := read(t, "config/compute-cluster.yaml")
	for line := range strings.Lines(text) {
		_, url, ok := strings.Cut(line, "s3://sboinfrastructureassets/")
		if !ok {
			continue
		}
		dir, file, ok := strings.Cut(strings.TrimSpace(url), "/")
		if !ok {
			continue // a bucket's directory, not a file
		}
		if _, err := os.Stat(filepath.Join(dir, "s3", file)); err != nil {
			t.Errorf("%s: %v", strings.TrimSpace(line), err)
		}
	}
	var users struct {
		Users []struct {
			Name string
			UID  int
		}
	}
	if err := json.Unmarshal([]byte(read(t, "resources/users.json")), &users); err != nil || len(users.Users) == 0 {
		t.Errorf("users.json: %v, %d users", err, len(users.Users))
	}
}

func TestScriptsAreWellFormed(t *testing.T) {
	paths, err := filepath.Glob("scripts/s3/*")
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	shellcheck, _ := exec.LookPath("shellcheck")
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			text := read(t, path)
			switch {
			case strings.HasPrefix(text, "#!/usr/bin/env python3\n"):
				compilePython(t, text)
			case strings.HasPrefix(text, "#!/bin/bash\n"):
				if !strings.Contains(text, "\nset -euo pipefail\n") {
					t.Error("goes on after errors")
				}
				if out, err := exec.Command(need(t, "bash"), "-n", path).CombinedOutput(); err != nil {
					t.Errorf("%v\n%s", err, out)
				}
				if shellcheck != "" {
					if out, err := exec.Command(shellcheck, path).CombinedOutput(); err != nil {
						t.Errorf("%v\n%s", err, out)
					}
				}
			default:
				t.Error("nodes run scripts as they are, and this one does not say with what")
			}
		})
	}
}

func compilePython(t *testing.T, text string) {
	t.Helper()
	cmd := exec.Command(need(t, "python3"), "-c", "import sys; compile(sys.stdin.read(), 'script', 'exec')")
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestStorageServiceServesOnlyItsDirectory(t *testing.T) {
	script := read(t, "scripts/s3/setup_nexus_storage_service.sh")
	_, program, _ := strings.Cut(script, "<<'PYTHON'\n")
	program, _, ok := strings.Cut(program, "\nPYTHON\n")
	if !ok {
		t.Fatal("no program in the script")
	}
	python := need(t, "python3")
	dir := t.TempDir()
	root := filepath.Join(dir, "project")
	for path, text := range map[string]string{"project/circuits/o1.txt": "a circuit", "secret": "a secret", "service.py": program} {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../secret", filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(address)
	cmd := exec.Command(python, filepath.Join(dir, "service.py"), root, port)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	waitFor(t, address)

	for path, want := range map[string]string{
		"/":                                `200 {"name": "nexus-storage", "version": "1"}`,
		"/files/":                          `200 {"entries": ["circuits/", "link"]}`,
		"/files/circuits/o1.txt":           `200 a circuit`,
		"/files/nothing":                   `404 {"error": "no such file: nothing"}`,
		"/files/link":                      `403 {"error": "not readable: link"}`,
		"/files/%2e%2e/secret":             `403 {"error": "not readable: ../secret"}`,
		"/attributes/circuits":             `400 {"error": "a directory has no attributes: circuits"}`,
		"/attributes/circuits/o1.txt?x=%2": `200 "bytes": 9, "digest": {"algorithm": "SHA-256", "value": "`,
	} {
		response, err := http.Get("http://" + address + path)
		if err != nil {
			t.Error(err)
			continue
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		got := fmt.Sprintf("%d %s", response.StatusCode, body)
		if strings.HasPrefix(path, "/attributes/circuits/") {
			if code, part, _ := strings.Cut(want, " "); !strings.HasPrefix(got, code) || !strings.Contains(got, part) {
				t.Errorf("GET %s: %s", path, got)
			}
		} else if got != want || err != nil {
			t.Errorf("GET %s: got %s, want %s (%v)", path, got, want, err)
		}
	}
	if response, err := http.Post("http://"+address+"/files/new", "text/plain", strings.NewReader("x")); err != nil || response.StatusCode != 501 {
		t.Errorf("POST: %v, %v", response, err)
	}
}

func waitFor(t *testing.T, address string) {
	t.Helper()
	for range 2400 {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Fatal("the service does not answer")
}

// A job gets its directories from the prolog, hears of them from the task prolog,
// and leaves nothing.
func TestJobsGetTheirDirectories(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("prologs run as root")
	}
	need(t, "mountpoint")
	job := fmt.Sprintf("test-%d", os.Getpid())
	shm, tmp := "/dev/shm/slurm-"+job, "/tmp/slurm-"+job
	t.Cleanup(func() { os.RemoveAll(shm); os.RemoveAll(tmp) })
	run := func(script string) string {
		t.Helper()
		cmd := exec.Command(need(t, "bash"), "scripts/s3/"+script)
		cmd.Env = append(os.Environ(), "SLURM_JOB_ID="+job, "SLURM_JOB_UID=0", "SLURM_JOB_USER=root", "SLURM_STEP_ID=0", "SLURM_PROCID=3")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", script, err)
		}
		return string(out)
	}
	run("slurm.prolog")
	run("slurm.prolog") // again, as for a requeued job
	for _, dir := range []string{shm, tmp} {
		info, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o700 {
			t.Errorf("%s: mode %v", dir, info.Mode())
		}
	}
	task := tmp + "/task-0-3"
	if got, want := run("slurm.taskprolog"), "export SHMDIR="+shm+"\nexport TMPDIR="+tmp+"\nexport TASKDIR="+task+"\n"; !strings.HasPrefix(got, want) {
		t.Errorf("task prolog says:\n%s", got)
	}
	if _, err := os.Stat(task); err != nil {
		t.Error(err)
	}
	run("slurm.taskepilog")
	if _, err := os.Stat(task); err == nil {
		t.Errorf("%s is left", task)
	}
	run("slurm.epilog")
	for _, dir := range []string{shm, tmp} {
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s is left", dir)
		}
	}
}
