package node

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"pcluster/internal/config"
	"pcluster/internal/fleet"
	"pcluster/internal/slurm"
)

// settingsTemplate is the file in which users tune the fleet.
const settingsTemplate = `# Settings of the compute fleet, read again whenever the file changes.
[clustermgtd]
insufficient_capacity_timeout = 600
protected_failure_count = 10
`

// applySettings changes a policy as the user's file says. Keys that this program has
// no use for are left alone: the file may have been written for ParallelCluster.
func applySettings(p *fleet.Policy, file string) error {
	for line := range strings.Lines(file) {
		key, value, ok := strings.Cut(line, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if !ok || strings.HasPrefix(key, "#") || strings.HasPrefix(key, ";") {
			continue
		}
		var err error
		switch key {
		case "insufficient_capacity_timeout":
			p.CapacityTimeout, err = seconds(value)
		case "orphaned_instance_timeout":
			p.OrphanTimeout, err = seconds(value)
		case "protected_failure_count":
			p.ProtectedFailures, err = strconv.Atoi(value)
		case "launch_max_batch_size":
			p.LaunchBatch, err = strconv.Atoi(value)
		case "terminate_drain_nodes":
			p.KeepDrained, err = no(value)
		case "terminate_down_nodes":
			p.KeepDown, err = no(value)
		}
		if err != nil {
			return fmt.Errorf("%s = %s: %w", key, value, err)
		}
	}
	return nil
}

func seconds(s string) (time.Duration, error) {
	f, err := strconv.ParseFloat(s, 64)
	return max(0, time.Duration(f*float64(time.Second))), err
}

// no reads a yes-or-no value in the ways of ini files, and returns its opposite.
func no(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "true", "yes", "on", "1":
		return false, nil
	case "false", "no", "off", "0":
		return true, nil
	}
	return false, fmt.Errorf("neither true nor false")
}

// A policyReader reads the fleet's policy from its files whenever they change.
type policyReader struct {
	cluster  string
	config   string // cluster file with implied values
	settings string
	seen     [2]time.Time
	policy   fleet.Policy
	parsed   *config.Cluster
}

// read returns the policy as the files are now.
func (r *policyReader) read() (fleet.Policy, error) {
	var now [2]time.Time
	for i, path := range []string{r.config, r.settings} {
		if info, err := os.Stat(path); err == nil {
			now[i] = info.ModTime()
		}
	}
	if now == r.seen {
		return r.policy, nil
	}
	data, err := os.ReadFile(r.config)
	if err != nil {
		return fleet.Policy{}, err
	}
	c, err := config.ParseImplied(r.config, data)
	if err != nil {
		return fleet.Policy{}, err
	}
	p := policyOf(c, r.cluster)
	if file, err := os.ReadFile(r.settings); err == nil {
		if err := applySettings(&p, string(file)); err != nil {
			return fleet.Policy{}, fmt.Errorf("%s: %w", r.settings, err)
		}
	}
	r.seen, r.policy, r.parsed = now, p, c
	return p, nil
}

// policyOf returns the fleet's policy as the cluster file has it.
func policyOf(c *config.Cluster, cluster string) fleet.Policy {
	p := fleet.DefaultPolicy()
	p.Cluster = cluster
	if c.Scheduling.ScalingStrategy != "" {
		p.Strategy = c.Scheduling.ScalingStrategy
	}
	p.Resources = slurm.FleetConfig(c)
	p.Queues = slurm.NodeLists(c)
	return p
}
