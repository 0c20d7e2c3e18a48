package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"pcluster/internal/config"
	"pcluster/internal/node/logs"
	"pcluster/internal/node/spec"
	"pcluster/internal/slurm"
)

// The check of a node's GPUs before a job: NVIDIA's own diagnosis, run by slurmd as a
// prolog. A node that fails it is drained, its job is queued again, and the fleet
// replaces the instance. AWS documentation: "HealthChecks" of a queue.
const (
	healthCheckName = "90_pcluster_health_check_manager"
	healthLog       = logs.Dir + "/slurm_health_check.log"
	healthEvents    = logs.Dir + "/slurm_health_check.events"
	healthLock      = stateDir + "/health_check.lock"

	// Fabric switches of large instances: without their manager GPUs fail the diagnosis.
	fabricDevice = "/dev/nvidia-nvswitchctl"
	unitFabric   = "nvidia-fabricmanager.service"
)

// A gpuChecker diagnoses the GPUs of this node for a job.
type gpuChecker struct {
	*Host
	log  *slog.Logger
	told *spec.Node
	job  string
	gpus string // indices of the job's, separated by commas; empty for all
	// diagnose runs NVIDIA's tool, for up to slurm.GpuCheckTimeout, and returns
	// what it printed and its exit status.
	diagnose func(ctx context.Context, args ...string) (output string, code int, err error)
}

// healthCheck is the prolog. Only GPUs that fail make it fail: a check that can't be
// made keeps no job from its node.
func healthCheck(ctx context.Context, h *Host, getenv func(string) string, stderr io.Writer) int {
	logFile, err := os.OpenFile(h.path(healthLog), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		fmt.Fprintf(stderr, "pcluster-node: %v\n", err)
		return 0
	}
	defer logFile.Close()
	c := &gpuChecker{
		Host: h, log: slog.New(slog.NewTextHandler(logFile, nil)).With("job", getenv("SLURM_JOB_ID")),
		job: getenv("SLURM_JOB_ID"), gpus: getenv("GPU_DEVICE_ORDINAL"), diagnose: dcgmi,
	}
	unlock, err := h.lock(healthLock)
	if err != nil {
		c.log.Info("another job's check is under way; this one is left out", "reason", err)
		return 0
	}
	defer unlock()
	code, err := c.check(ctx)
	if err != nil {
		c.log.Error("the check could not be made", "error", err)
		c.event("compute-node-health-check-exception", "ERROR", "The health check could not be made",
			map[string]any{"job-id": c.job, "health-check-name": "Gpu", "error": err.Error()})
		return 0
	}
	return code
}

// check returns the exit status of the diagnosis; 0 also if there is nothing to check.
func (c *gpuChecker) check(ctx context.Context) (int, error) {
	data, err := c.read("/etc/chef/dna.json")
	if err != nil {
		return 0, err
	}
	var file spec.File
	if err := json.Unmarshal(data, &file); err != nil {
		return 0, err
	}
	c.told = &file.Cluster
	if asked, err := c.asked(); err != nil || !asked {
		return 0, err
	}
	for _, tool := range []string{"nvidia-smi", "dcgmi", "nv-hostengine"} {
		if !c.has(tool) {
			c.log.Warn("left out: the image has no " + tool)
			return 0, nil
		}
	}
	names, err := c.Run(ctx, "nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
	switch {
	case err != nil || strings.TrimSpace(names) == "":
		c.log.Info("left out: no NVIDIA GPU", "nvidia-smi", names, "error", err)
		return 0, nil
	case strings.Contains(names, "K520"):
		c.log.Info("left out: NVIDIA's tool does not know this GPU", "gpu", strings.TrimSpace(names))
		return 0, nil
	}

	if c.exists(fabricDevice) {
		stop, err := c.fabricManager(ctx)
		if err != nil {
			return 0, err
		}
		defer stop()
	}
	if _, err := c.Run(ctx, "pgrep", "-x", "nv-hostengine"); err != nil {
		if _, err := c.Run(ctx, "nv-hostengine"); err != nil {
			return 0, err
		}
		defer func() {
			if _, err := c.Run(context.WithoutCancel(ctx), "nv-hostengine", "--term"); err != nil {
				c.log.Warn("the engine of NVIDIA's diagnosis goes on running", "error", err)
			}
		}()
	}
	return c.run(ctx)
}

// run makes the diagnosis itself.
func (c *gpuChecker) run(ctx context.Context) (int, error) {
	args := []string{"diag", "-r", "2"}
	if c.gpus != "" {
		args = append(args, "-i", c.gpus)
	}
	ctx, cancel := context.WithTimeout(ctx, slurm.GpuCheckTimeout)
	defer cancel()
	begun := time.Now()
	output, code, err := c.diagnose(ctx, args...)
	if ctx.Err() == context.DeadlineExceeded {
		return 0, fmt.Errorf("dcgmi %s has not ended in %v", strings.Join(args, " "), slurm.GpuCheckTimeout)
	}
	if err != nil {
		return 0, err
	}
	c.log.Info("checked", "gpus", c.gpus, "exit status", code, "took", time.Since(begun).Round(time.Millisecond), "output", output)
	if code != 0 {
		c.event("compute-node-health-check", "WARNING", "GPUs failed NVIDIA's diagnosis", map[string]any{
			"job-id": c.job, "health-check-name": "Gpu", "health-check-result": code,
			"health-check-output": strings.Split(strings.TrimSpace(output), "\n"),
		})
	}
	return code, nil
}

// asked says whether the cluster file wants the check on this node.
func (c *gpuChecker) asked() (bool, error) {
	data, err := c.read(clusterConfig)
	if err != nil {
		return false, err
	}
	cluster, err := config.ParseImplied(clusterConfig, data)
	if err != nil {
		return false, err
	}
	for _, q := range cluster.Scheduling.SlurmQueues {
		for _, r := range q.ComputeResources {
			if q.Name == c.told.Queue && r.Name == c.told.ComputeResource {
				return q.GpuCheckOf(&r), nil
			}
		}
	}
	return false, fmt.Errorf("the cluster file has no compute resource %s in a queue %s", c.told.ComputeResource, c.told.Queue)
}

// fabricManager has the manager run while the check does.
func (c *gpuChecker) fabricManager(ctx context.Context) (stop func(), err error) {
	if c.systemctl(ctx, "is-active", "--quiet", unitFabric) == nil {
		return func() {}, nil
	}
	if err := c.systemctl(ctx, "start", unitFabric); err != nil {
		return nil, err
	}
	return func() {
		if err := c.systemctl(context.WithoutCancel(ctx), "stop", unitFabric); err != nil {
			c.log.Warn("the fabric manager goes on running", "error", err)
		}
	}, nil
}

// event writes a line that CloudWatch's metric filters count.
func (c *gpuChecker) event(kind, level, message string, detail any) {
	e := failureEvent{Type: kind, Component: "health-check-manager", Level: level, Message: message, Detail: detail}
	c.stamp(&e)
	line, err := json.Marshal(e)
	if err == nil {
		err = c.appendLine(healthEvents, line)
	}
	if err != nil {
		c.log.Error("the event is lost", "event", kind, "error", err)
	}
}

func (c *gpuChecker) stamp(e *failureEvent) {
	e.Time = time.Now().Format(eventTime)
	if c.told != nil {
		e.ClusterName, e.Scheduler, e.NodeRole = c.told.ClusterName, c.told.Scheduler, c.told.NodeType
	}
	data, err := c.read(nodeSpecFile)
	if err != nil {
		return
	}
	var s nodeSpec
	if json.Unmarshal(data, &s) == nil {
		e.InstanceID, e.Compute = s.InstanceID, &s.Compute
	}
}

// lock takes a lock that ends with this process, if nobody has it.
func (h *Host) lock(p string) (unlock func(), err error) {
	f, err := os.OpenFile(h.path(p), os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

func (h *Host) appendLine(p string, line []byte) error {
	f, err := os.OpenFile(h.path(p), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

func dcgmi(ctx context.Context, args ...string) (string, int, error) {
	cmd := exec.CommandContext(ctx, "dcgmi", args...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return string(out), exit.ExitCode(), nil
	}
	return string(out), 0, err
}
