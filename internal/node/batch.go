package node

import (
	"context"
	"path/filepath"

	"pcluster/internal/config"
	"pcluster/internal/node/actions"
	"pcluster/internal/node/awsb"
	"pcluster/internal/node/steps"
)

// The head node of a cluster of AWS Batch has no scheduler: Batch is it. It shares its
// directories with jobs, and has the commands to submit them.

func (n *node) batch() bool { return n.config.Scheduling.Scheduler == config.AWSBatch }

// batchSteps are what a head node does for AWS Batch; home are the steps after which the
// default user's home directory is there, configured those that have to do with no
// scheduler, before OnNodeConfigured.
func (n *node) batchSteps(home, configured []string) []steps.Step {
	return []steps.Step{
		{Name: "job commands", After: home, Do: func(context.Context) error { return n.installJobCommands() }},
		{Name: "OnNodeConfigured", After: append([]string{"job commands", "names", "files"}, configured...), Do: func(ctx context.Context) error {
			return n.actions(ctx, actions.OnNodeConfigured, n.config.HeadNode.CustomActions.OnNodeConfigured)
		}},
		{Name: "signal", After: []string{"OnNodeConfigured", "units", "logs"}, Do: func(ctx context.Context) error {
			return Signal(ctx, n.spec.WaitHandle, "SUCCESS", n.self.InstanceID, "The head node is ready")
		}},
	}
}

// commandDir is where the commands for jobs are; sudo and scripts find them there, too.
const commandDir = "/usr/local/bin"

// installJobCommands makes the commands for jobs known, and tells them the cluster. A file
// that the user has changed stays.
func (n *node) installJobCommands() error {
	for _, name := range awsb.Commands {
		if err := n.link(Program, commandDir+"/"+name); err != nil {
			return err
		}
	}
	home, err := n.home(n.spec.ClusterUser)
	if err != nil {
		return err
	}
	// For whoever else works on this node.
	if err := n.write(awsb.SystemConfig, 0o644, rootUser, []byte(awsb.ConfigOf(n.spec.ClusterName, n.spec.Region))); err != nil {
		return err
	}
	file := filepath.Join(home, awsb.ConfigFile)
	if n.exists(file) {
		return nil
	}
	user := owner(n.spec.ClusterUser)
	if err := n.dir(filepath.Dir(file), 0o755, user); err != nil {
		return err
	}
	return n.write(file, 0o644, user, []byte(awsb.ConfigOf(n.spec.ClusterName, n.spec.Region)))
}
