package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"pcluster/internal/config"
	"pcluster/internal/node/logs"
)

const gpuCluster = `Region: us-east-1
Image: {Os: alinux2023}
HeadNode:
  InstanceType: t3.micro
  Networking: {SubnetId: subnet-0123456789abcdef0}
Scheduling:
  Scheduler: slurm
  SlurmQueues:
    - Name: work
      HealthChecks: {Gpu: {Enabled: %t}}
      Networking: {SubnetIds: [subnet-0123456789abcdef0]}
      ComputeResources:
        - {Name: gpu, InstanceType: g4dn.12xlarge}
        - {Name: other, InstanceType: g4dn.xlarge, HealthChecks: {Gpu: {Enabled: %t}}}
`

// gpuNode is a node of the compute resource gpu whose diagnosis ends with code.
func gpuNode(t *testing.T, resource string, queueAsks, otherAsks bool, code int) (*gpuChecker, *[]string) {
	t.Helper()
	h, ran := testHost(t)
	for _, tool := range []string{"nvidia-smi", "dcgmi", "nv-hostengine"} {
		put(t, h, "/usr/bin/"+tool, "")
	}
	c, found := config.Parse("cluster.yaml", fmt.Appendf(nil, gpuCluster, queueAsks, otherAsks))
	if err := found.Err(); err != nil {
		t.Fatal(err)
	}
	c.SetTag("parallelcluster:version", config.ToolVersion)
	put(t, h, clusterConfig, string(config.Marshal(c)))
	put(t, h, "/etc/chef/dna.json", `{"cluster": {"cluster_name": "demo", "node_type": "ComputeFleet", "scheduler": "slurm",
		"scheduler_queue_name": "work", "scheduler_compute_resource_name": "`+resource+`"}}`)
	put(t, h, nodeSpecFile, `{"instance_id": "i-1", "compute": {"name": "work-dy-gpu-1"}}`)
	if err := h.dir(logs.Dir, 0o755, rootUser); err != nil {
		t.Fatal(err)
	}
	h.Run = func(_ context.Context, name string, args ...string) (string, error) {
		*ran = append(*ran, strings.Join(append([]string{name}, args...), " "))
		switch name {
		case "nvidia-smi":
			return "Tesla T4\nTesla T4\n", nil
		case "pgrep":
			return "", errors.New("exit status 1")
		}
		return "", nil
	}
	return &gpuChecker{
		Host: h, log: slog.New(slog.NewTextHandler(io.Discard, nil)), job: "42", gpus: "0,1",
		diagnose: func(_ context.Context, args ...string) (string, int, error) {
			*ran = append(*ran, "dcgmi "+strings.Join(args, " "))
			return "GPU 1: ECC\nfailed\n", code, nil
		},
	}, ran
}

func TestGPUsOfAJobAreDiagnosed(t *testing.T) {
	c, ran := gpuNode(t, "gpu", true, false, 0)
	if code, err := c.check(t.Context()); code != 0 || err != nil {
		t.Errorf("healthy GPUs: %d, %v", code, err)
	}
	want := []string{
		"nvidia-smi --query-gpu=name --format=csv,noheader", "pgrep -x nv-hostengine", "nv-hostengine",
		"dcgmi diag -r 2 -i 0,1", "nv-hostengine --term",
	}
	if !slices.Equal(*ran, want) {
		t.Errorf("ran %q\nwant %q", *ran, want)
	}
	if c.exists(healthEvents) {
		t.Errorf("healthy GPUs leave an event: %s", get(t, c.Host, healthEvents))
	}
}

func TestBrokenGPUsFailTheProlog(t *testing.T) {
	c, _ := gpuNode(t, "gpu", true, false, 226)
	if code, err := c.check(t.Context()); code != 226 || err != nil {
		t.Errorf("broken GPUs: %d, %v", code, err)
	}
	var e struct {
		Type       string      `json:"event-type"`
		Component  string      `json:"component"`
		Level      string      `json:"level"`
		InstanceID string      `json:"instance-id"`
		Compute    nodeCompute `json:"compute"`
		Detail     struct {
			Job    string   `json:"job-id"`
			Check  string   `json:"health-check-name"`
			Result int      `json:"health-check-result"`
			Output []string `json:"health-check-output"`
		} `json:"detail"`
	}
	if err := json.Unmarshal([]byte(get(t, c.Host, healthEvents)), &e); err != nil {
		t.Fatal(err)
	}
	if e.Type != "compute-node-health-check" || e.Component != "health-check-manager" || e.Level != "WARNING" || e.InstanceID != "i-1" ||
		e.Compute.Name != "work-dy-gpu-1" || e.Detail.Job != "42" || e.Detail.Check != "Gpu" || e.Detail.Result != 226 ||
		!slices.Equal(e.Detail.Output, []string{"GPU 1: ECC", "failed"}) {
		t.Errorf("event: %+v", e)
	}
}

func TestWhichNodesAreChecked(t *testing.T) {
	for _, tt := range []struct {
		name         string
		resource     string
		queue, other bool
		lacks        string
		gpu          string
		want         bool
	}{
		{name: "the queue asks", resource: "gpu", queue: true, gpu: "T4", want: true},
		{name: "the queue does not", resource: "gpu", other: true, gpu: "T4"},
		{name: "the compute resource's word beats the queue's", resource: "other", queue: true, gpu: "T4"},
		{name: "no tool", resource: "gpu", queue: true, lacks: "dcgmi", gpu: "T4"},
		{name: "no GPU", resource: "gpu", queue: true},
		{name: "a GPU too old for the tool", resource: "gpu", queue: true, gpu: "GRID K520"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, ran := gpuNode(t, tt.resource, tt.queue, tt.other, 1)
			if tt.lacks != "" {
				h, _ := testHost(t)
				for _, p := range []string{"/etc/chef/dna.json", clusterConfig} {
					put(t, h, p, get(t, c.Host, p))
				}
				h.Run, c.Host = c.Run, h
			}
			run := c.Run
			c.Run = func(ctx context.Context, name string, args ...string) (string, error) {
				out, err := run(ctx, name, args...)
				if name == "nvidia-smi" {
					out = tt.gpu
				}
				return out, err
			}
			code, err := c.check(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			diagnosed := slices.ContainsFunc(*ran, func(s string) bool { return strings.HasPrefix(s, "dcgmi ") })
			if diagnosed != tt.want || (code != 0) != tt.want {
				t.Errorf("diagnosed: %t, exit status %d; want %t", diagnosed, code, tt.want)
			}
		})
	}
}

// What the check itself can't do is the administrator's concern, and no job's.
func TestAGPUCheckThatCannotBeMadeKeepsNoJobAway(t *testing.T) {
	h, _ := testHost(t)
	if err := h.dir(logs.Dir, 0o755, rootUser); err != nil {
		t.Fatal(err)
	}
	if err := h.dir(stateDir, 0o755, rootUser); err != nil {
		t.Fatal(err)
	}
	env := func(string) string { return "42" }
	if code := healthCheck(t.Context(), h, env, io.Discard); code != 0 {
		t.Errorf("exit status %d", code)
	}
	if got := get(t, h, healthEvents); !strings.Contains(got, "compute-node-health-check-exception") {
		t.Errorf("event: %s", got)
	}
	unlock, err := h.lock(healthLock)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if code := healthCheck(t.Context(), h, env, io.Discard); code != 0 || strings.Count(get(t, h, healthEvents), "\n") != 1 {
		t.Errorf("while another check is under way: exit status %d, events %s", code, get(t, h, healthEvents))
	}
}
