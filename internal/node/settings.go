package node

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
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
// no use for are left alone: the file may have been written for ParallelCluster. Lines that
// can't be read change nothing, and are all in the error.
func applySettings(p *fleet.Policy, file string) error {
	all, number := false, 0
	var bad []error
	for line := range strings.Lines(file) {
		number++
		key, value, ok := strings.Cut(line, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if !ok || strings.HasPrefix(key, "#") || strings.HasPrefix(key, ";") {
			continue
		}
		var err error
		switch key {
		case "insufficient_capacity_timeout":
			err = set(&p.CapacityTimeout, value, seconds)
		case "orphaned_instance_timeout":
			err = set(&p.OrphanTimeout, value, seconds)
		case "protected_failure_count":
			err = set(&p.ProtectedFailures, value, whole)
		case "launch_max_batch_size":
			err = set(&p.LaunchBatch, value, whole)
		case "disable_all_health_checks":
			err = set(&all, value, yes)
		case "disable_ec2_health_check":
			err = set(&p.IgnoreChecks, value, yes)
		case "disable_scheduled_event_health_check":
			err = set(&p.IgnoreEvents, value, yes)
		case "disable_capacity_blocks_management":
			err = set(&p.IgnoreBlocks, value, yes)
		case "capacity_block_interval":
			err = set(&p.BlockInterval, value, seconds)
		case "capacity_block_lead":
			err = set(&p.BlockLead, value, seconds)
		case "health_check_timeout":
			err = set(&p.HealthTimeout, value, seconds)
		case "health_check_timeout_after_slurmdstarttime":
			err = set(&p.HealthGrace, value, seconds)
		case "clustermgtd_timeout":
			err = set(&p.Patience, value, seconds)
		case "disable_computemgtd_actions":
			err = set(&p.NodesStay, value, yes)
		case "node_first_report_timeout":
			err = set(&p.FirstReport, value, seconds)
		case "node_progress_timeout":
			err = set(&p.Progress, value, seconds)
		case "cut_off_timeout":
			err = set(&p.CutOffTimeout, value, seconds)
		case "heartbeat_file_path":
			p.HeartbeatFile = value
		case "event_log_level":
			p.DebugEvents = strings.EqualFold(value, "debug")
		case "disable_all_cluster_management":
			err = set(&p.HandsOff, value, yes)
		case "node_replacement_timeout":
			err = set(&p.StaticTimeout, value, seconds)
		case "ec2_instance_missing_max_count":
			var passes int // of a minute
			err = set(&passes, value, whole)
			p.MissingTimeout = max(p.MissingTimeout, time.Duration(passes)*time.Minute)
		case "compute_console_logging_enabled":
			err = set(&p.NoConsoles, value, no)
		case "terminate_drain_nodes":
			err = set(&p.KeepDrained, value, no)
		case "terminate_down_nodes":
			err = set(&p.KeepDown, value, no)
		}
		if err != nil {
			bad = append(bad, fmt.Errorf("line %d: %s = %s: %w", number, key, value, err))
		}
	}
	p.IgnoreChecks, p.IgnoreEvents = p.IgnoreChecks || all, p.IgnoreEvents || all
	return errors.Join(bad...)
}

// set gives a setting the value that a text has, if it has one.
func set[T any](setting *T, text string, read func(string) (T, error)) error {
	v, err := read(text)
	if err == nil {
		*setting = v
	}
	return err
}

// seconds reads a time. What is longer than a hundred years is as good as for ever.
func seconds(s string) (time.Duration, error) {
	const most = 100 * 365 * 24 * 3600
	f, err := strconv.ParseFloat(s, 64)
	if errors.Is(err, strconv.ErrRange) {
		err = nil // it is infinite
	}
	if err != nil || math.IsNaN(f) {
		return 0, errors.New("not a number of seconds")
	}
	return time.Duration(min(max(f, 0), most) * float64(time.Second)), nil
}

func whole(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, errors.New("not a whole number")
	}
	return n, nil
}

// yes reads a yes-or-no value in the ways of ini files.
func yes(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "true", "yes", "on", "1":
		return true, nil
	case "false", "no", "off", "0":
		return false, nil
	}
	return false, errors.New("neither true nor false")
}

// no reads a yes-or-no value and returns its opposite.
func no(s string) (bool, error) {
	v, err := yes(s)
	return !v, err
}

// A policyReader reads the fleet's policy from its files whenever they change.
type policyReader struct {
	cluster  string
	config   string   // cluster file with implied values
	settings []string // files of the user's
	seen     map[string]time.Time
	policy   fleet.Policy
	problem  error // with the files as they are
}

// read returns the policy as the files are now. If they can't be read it returns an error
// and the policy from before, or at first one of those settings that could be read.
func (r *policyReader) read() (fleet.Policy, error) {
	now := make(map[string]time.Time)
	for _, path := range append([]string{r.config}, r.settings...) {
		if info, err := os.Stat(path); err == nil {
			now[path] = info.ModTime()
		}
	}
	if maps.Equal(now, r.seen) {
		return r.policy, r.problem
	}
	first := r.seen == nil
	data, err := os.ReadFile(r.config)
	if err != nil {
		return r.policy, err
	}
	c, err := config.ParseImplied(r.config, data)
	if err != nil {
		return r.policy, err
	}
	p := policyOf(c, r.cluster)
	var bad []error
	for _, path := range r.settings {
		file, err := os.ReadFile(path)
		if err == nil {
			err = applySettings(&p, string(file))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			bad = append(bad, fmt.Errorf("%s: %w", path, err))
		}
	}
	r.seen, r.problem = now, errors.Join(bad...)
	if r.problem == nil || first {
		r.policy = p
	}
	return r.policy, r.problem
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
