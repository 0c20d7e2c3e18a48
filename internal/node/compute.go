package node

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"pcluster/internal/config"
	"pcluster/internal/node/actions"
	"pcluster/internal/node/spec"
	"pcluster/internal/node/steps"
	"pcluster/internal/node/storage"
	"pcluster/internal/slurm"
)

// computeSteps are the boot of a compute node. What to mount it learns from files on
// the first mount, so storage is one step.
func (n *node) computeSteps() []steps.Step {
	return []steps.Step{
		{Name: "units", Do: func(ctx context.Context) error {
			return n.installUnits(ctx, append(everywhereUnits(), computeUnits()...))
		}},
		{Name: "watch", After: []string{"units"}, Do: func(ctx context.Context) error { return n.start(ctx, unitWatch) }},
		{Name: "logs", After: []string{"units"}, Do: n.startLogs},
		{Name: "users", Do: n.ensureUsers},
		{Name: "name", Always: true, Do: func(ctx context.Context) (err error) {
			if n.name, err = nodeName(ctx, n.dynamo, n.spec.SlurmDynamoDBTable, n.self.InstanceID); err != nil {
				return err
			}
			return n.takeName(n.spec, n.self, n.name)
		}},
		{Name: "names", After: []string{"name"}, Do: func(ctx context.Context) error {
			if err := n.sshClient(n.self.VPCBlocks); err != nil {
				return err
			}
			return n.searchDomain(ctx, n.spec.DNSDomain)
		}},
		{Name: "mount shared", Always: true, Do: func(ctx context.Context) error { return n.mountOwn(ctx, sharedDir) }},
		{Name: "mount slurm", Always: true, Do: func(ctx context.Context) error { return n.mountOwn(ctx, slurm.Prefix) }},
		{Name: "config", After: []string{"mount shared"}, Always: true, Do: n.readConfig},
		{Name: "local home", After: []string{"config", "users"}, Do: n.localHome},
		{Name: "mount home", After: []string{"local home"}, Always: true, Do: n.mountHome},
		{Name: "default user", After: []string{"local home"}, Do: func(ctx context.Context) error { return n.defaultUser(ctx, sharedKeys) }},
		{Name: "directory", After: []string{"config", "names"}, Do: func(ctx context.Context) error { return n.directory(ctx, sharedSSSD, false) }},
		{Name: "munge", After: []string{"users", "mount shared"}, Do: func(ctx context.Context) error { return n.copyMungeKey(ctx, sharedMungeKey) }},
		{Name: "OnNodeStart", After: []string{"config", "mount home", "names", "users", "logs", "directory"}, Do: func(ctx context.Context) error {
			return n.queueAction(ctx, actions.OnNodeStart)
		}},
		{Name: "storage", After: []string{"OnNodeStart"}, Always: true, Do: n.mountStorage},
		{Name: "ephemeral storage", After: []string{"OnNodeStart"}, Always: true, Do: func(ctx context.Context) error {
			q, _ := n.queue()
			return n.ephemeral(ctx, q.ComputeSettings.LocalStorage.EphemeralVolume.MountDir)
		}},
		{Name: "OnNodeConfigured", After: []string{"storage", "ephemeral storage", "munge", "mount slurm", "default user"}, Do: func(ctx context.Context) error {
			return n.queueAction(ctx, actions.OnNodeConfigured)
		}},
		{Name: "slurmd", After: []string{"OnNodeConfigured", "units"}, Do: func(ctx context.Context) error {
			if err := n.dir(slurm.SpoolDir, 0o700, slurmUser); err != nil {
				return err
			}
			return n.startNodeDaemon(ctx, n.name, n.self)
		}},
		{Name: "record", After: []string{"slurmd"}, Do: func(ctx context.Context) error {
			return recordConfiguration(ctx, n.dynamo, n.spec, n.self.InstanceID)
		}},
		{Name: "startup time", After: []string{"slurmd"}, Do: func(ctx context.Context) error {
			n.publishStartupTime(ctx, n.metrics, time.Since(n.began))
			return nil
		}},
	}
}

// mountOwn mounts one of the cluster's own shared directories, which the head node may
// still be about to make.
func (n *node) mountOwn(ctx context.Context, dir string) error {
	if fs := n.spec.InternalFileSystem; fs != "" {
		return n.mounts.Mount(ctx, storage.OnInternal(fs, dir))
	}
	return n.mounts.Mount(ctx, storage.HeadExport(n.spec.HeadNodePrivateIP, dir))
}

// configWait is how long a node waits for the head node to have written its files.
const configWait = 10 * time.Minute

// readConfig reads what the head node has left on shared storage.
func (n *node) readConfig(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, configWait)
	defer cancel()
	data, err := poll(ctx, 250*time.Millisecond, func() ([]byte, error) { return n.read(clusterConfig) })
	if err != nil {
		return fmt.Errorf("cluster file of the head node: %w", err)
	}
	if n.config, err = config.ParseImplied(clusterConfig, data); err != nil {
		return fmt.Errorf("cluster file of the head node: %w", err)
	}
	entries, err := poll(ctx, 250*time.Millisecond, func() ([]storage.Entry, error) { return storage.Load(n.path(storageData)) })
	if err != nil {
		return fmt.Errorf("storage of the head node: %w", err)
	}
	for _, e := range entries {
		n.storage[e.Name] = e
	}
	if n.spec.NodeType == spec.Compute {
		if _, err := n.queue(); err != nil {
			return err
		}
	}
	return n.writeAttributes(n.spec, n.config, entries)
}

// queue returns the part of the cluster file that is about this node.
func (n *node) queue() (*config.SlurmQueue, error) {
	for i := range n.config.Scheduling.SlurmQueues {
		if q := &n.config.Scheduling.SlurmQueues[i]; q.Name == n.spec.Queue {
			return q, nil
		}
	}
	return nil, fmt.Errorf("the cluster file has no queue %q", n.spec.Queue)
}

func (n *node) queueAction(ctx context.Context, event actions.Event) error {
	q, err := n.queue()
	if err != nil {
		return err
	}
	action := q.CustomActions.OnNodeStart
	if event == actions.OnNodeConfigured {
		action = q.CustomActions.OnNodeConfigured
	}
	return n.actions(ctx, event, action)
}

// localHome moves the default user's home off /home, if the file wants that.
func (n *node) localHome(ctx context.Context) error {
	if n.config.DeploymentSettings.DefaultUserHome != config.HomeLocal {
		return nil
	}
	return n.moveHome(ctx, n.spec.ClusterUser)
}

// defaultUser gives the default user what the file says, on a node that is not the head.
func (n *node) defaultUser(ctx context.Context, keys string) error {
	if err := n.restrictSudo(n.spec.ClusterUser, n.config.DeploymentSettings.DisableSudoAccessForDefaultUser); err != nil {
		return err
	}
	if n.config.DeploymentSettings.DefaultUserHome != config.HomeLocal {
		return nil
	}
	return n.takeKeys(ctx, n.spec.ClusterUser, keys)
}

// mountHome mounts /home: a shared storage of its own, else the cluster's.
func (n *node) mountHome(ctx context.Context) error {
	for _, e := range n.storage {
		if e.Dir == "/home" {
			return n.mounts.Mount(ctx, e.On(n.spec.HeadNodePrivateIP))
		}
	}
	return n.mountOwn(ctx, "/home")
}

// mountStorage mounts all shared storage but /home, at once.
func (n *node) mountStorage(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, e := range n.storage {
		if e.Dir != "/home" {
			g.Go(func() error { return n.mounts.Mount(ctx, e.On(n.spec.HeadNodePrivateIP)) })
		}
	}
	return g.Wait()
}
