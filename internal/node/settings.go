package node

import (
	"fmt"
	"maps"
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

// nodeSettingsTemplate is the file in which users tune what compute nodes do when
// their head node is gone.
const nodeSettingsTemplate = `# What compute nodes do when they can't reach the head node: those without jobs end
# after so many seconds, or never. Nodes are told whenever this file changes.
[computemgtd]
clustermgtd_timeout = 600
disable_computemgtd_actions = false
`

// applySettings changes a policy as the user's file says. Keys that this program has
// no use for are left alone: the file may have been written for ParallelCluster.
func applySettings(p *fleet.Policy, file string) error {
	all := false
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
		case "disable_all_health_checks":
			all, err = yes(value)
		case "disable_ec2_health_check":
			p.IgnoreChecks, err = yes(value)
		case "disable_scheduled_event_health_check":
			p.IgnoreEvents, err = yes(value)
		case "disable_capacity_blocks_management":
			p.IgnoreBlocks, err = yes(value)
		case "capacity_block_interval":
			p.BlockInterval, err = seconds(value)
		case "capacity_block_lead":
			p.BlockLead, err = seconds(value)
		case "health_check_timeout":
			p.HealthTimeout, err = seconds(value)
		case "health_check_timeout_after_slurmdstarttime":
			p.HealthGrace, err = seconds(value)
		case "clustermgtd_timeout":
			p.Patience, err = seconds(value)
		case "disable_computemgtd_actions":
			p.NodesStay, err = yes(value)
		case "node_first_report_timeout":
			p.FirstReport, err = seconds(value)
		case "node_progress_timeout":
			p.Progress, err = seconds(value)
		case "cut_off_timeout":
			p.CutOffTimeout, err = seconds(value)
		case "heartbeat_file_path":
			p.HeartbeatFile = value
		case "event_log_level":
			p.DebugEvents = strings.EqualFold(value, "debug")
		case "disable_all_cluster_management":
			p.HandsOff, err = yes(value)
		case "node_replacement_timeout":
			p.StaticTimeout, err = seconds(value)
		case "ec2_instance_missing_max_count":
			var passes int // of a minute
			passes, err = strconv.Atoi(value)
			p.MissingTimeout = max(p.MissingTimeout, time.Duration(passes)*time.Minute)
		case "compute_console_logging_enabled":
			p.NoConsoles, err = no(value)
		case "terminate_drain_nodes":
			p.KeepDrained, err = no(value)
		case "terminate_down_nodes":
			p.KeepDown, err = no(value)
		}
		if err != nil {
			return fmt.Errorf("%s = %s: %w", key, value, err)
		}
	}
	p.IgnoreChecks, p.IgnoreEvents = p.IgnoreChecks || all, p.IgnoreEvents || all
	return nil
}

func seconds(s string) (time.Duration, error) {
	f, err := strconv.ParseFloat(s, 64)
	return max(0, time.Duration(f*float64(time.Second))), err
}

// yes reads a yes-or-no value in the ways of ini files.
func yes(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "true", "yes", "on", "1":
		return true, nil
	case "false", "no", "off", "0":
		return false, nil
	}
	return false, fmt.Errorf("neither true nor false")
}

// no reads a yes-or-no value and returns its opposite.
func no(s string) (bool, error) {
	v, err := yes(s)
	return err == nil && !v, err
}

// A policyReader reads the fleet's policy from its files whenever they change.
type policyReader struct {
	cluster  string
	config   string   // cluster file with implied values
	settings []string // files of the user's
	seen     map[string]time.Time
	policy   fleet.Policy
	parsed   *config.Cluster
}

// read returns the policy as the files are now.
func (r *policyReader) read() (fleet.Policy, error) {
	now := make(map[string]time.Time)
	for _, path := range append([]string{r.config}, r.settings...) {
		if info, err := os.Stat(path); err == nil {
			now[path] = info.ModTime()
		}
	}
	if maps.Equal(now, r.seen) {
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
	for _, path := range r.settings {
		if file, err := os.ReadFile(path); err == nil {
			if err := applySettings(&p, string(file)); err != nil {
				return fleet.Policy{}, fmt.Errorf("%s: %w", path, err)
			}
		}
	}
	r.seen, r.policy, r.parsed = now, p, c
	return p, nil
}

// policyOf returns the fleet's policy as the cluster file has it.
func policyOf(c *config.Cluster, cluster string) fleet.Policy {
	p := fleet.DefaultPolicy()
	p.Cluster, p.HeartbeatFile = cluster, heartbeatFile
	if c.Scheduling.ScalingStrategy != "" {
		p.Strategy = c.Scheduling.ScalingStrategy
	}
	p.Resources = slurm.FleetConfig(c)
	p.Queues = slurm.NodeLists(c)
	p.Reporting = make(map[string]bool)
	for i := range c.Scheduling.SlurmQueues {
		q := &c.Scheduling.SlurmQueues[i]
		// The managed security groups let reports through; what others do we can't know.
		p.Reporting[q.Name] = len(q.Networking.SecurityGroups) == 0 && len(c.HeadNode.Networking.SecurityGroups) == 0
	}
	return p
}
