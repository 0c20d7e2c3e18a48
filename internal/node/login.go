package node

import (
	"context"
	"fmt"
	"slices"

	"pcluster/internal/config"
	"pcluster/internal/node/actions"
	"pcluster/internal/node/steps"
	"pcluster/internal/slurm"
)

// loginSteps are the boot of a login node: a compute node's, without slurmd and
// without a name of its own.
func (n *node) loginSteps() []steps.Step {
	return []steps.Step{
		{Name: "units", Do: func(ctx context.Context) error {
			return n.installUnits(ctx, slices.Concat(everywhereUnits(), interactiveUnits(), loginUnits()))
		}},
		{Name: "parting", After: []string{"units"}, Do: func(ctx context.Context) error { return n.start(ctx, unitParting) }},
		{Name: "logs", After: []string{"units"}, Do: n.startLogs},
		{Name: "users", Do: n.ensureUsers},
		{Name: "metadata access", After: []string{"users"}, Do: func(ctx context.Context) error {
			return n.protectMetadata(ctx, string(rootUser), string(adminUser), n.spec.ClusterUser)
		}},
		{Name: "names", Do: func(ctx context.Context) error {
			if err := n.sshClient(n.self.VPCBlocks); err != nil {
				return err
			}
			if err := n.hosts(n.self, n.self.Short(), n.self.domain()); err != nil {
				return err
			}
			return n.searchDomain(ctx, n.spec.DNSDomain)
		}},
		{Name: "mount shared", Always: true, Do: func(ctx context.Context) error { return n.mountOwn(ctx, sharedDir) }},
		{Name: "mount shared for login nodes", Always: true, Do: func(ctx context.Context) error { return n.mountOwn(ctx, sharedLoginDir) }},
		{Name: "mount slurm", Always: true, Do: func(ctx context.Context) error { return n.mountOwn(ctx, slurm.Prefix) }},
		{Name: "config", After: []string{"mount shared"}, Always: true, Do: n.readConfig},
		{Name: "local home", After: []string{"config", "users"}, Do: n.localHome},
		{Name: "mount home", After: []string{"local home"}, Always: true, Do: n.mountHome},
		{Name: "default user", After: []string{"local home", "mount shared for login nodes"}, Do: func(ctx context.Context) error {
			return n.defaultUser(ctx, sharedLoginKeys)
		}},
		{Name: "directory", After: []string{"config", "names", "mount shared for login nodes", "host keys"}, Do: func(ctx context.Context) error {
			return n.directory(ctx, sharedLoginSSSD, true)
		}},
		{Name: "host keys", After: []string{"mount shared for login nodes"}, Do: n.takeHostKeys},
		{Name: "munge", After: []string{"users", "mount shared for login nodes"}, Do: func(ctx context.Context) error { return n.copyMungeKey(ctx, loginMungeKey) }},
		{Name: "OnNodeStart", After: []string{"config", "mount home", "names", "users", "logs", "directory"}, Do: func(ctx context.Context) error {
			p, err := n.pool()
			if err != nil {
				return err
			}
			return n.actions(ctx, actions.OnNodeStart, p.CustomActions.OnNodeStart)
		}},
		{Name: "storage", After: []string{"OnNodeStart"}, Always: true, Do: n.mountStorage},
		{Name: "remote desktop", After: []string{"OnNodeStart", "metadata access"}, Do: func(ctx context.Context) error {
			p, err := n.pool()
			if err != nil || !p.Dcv.Enabled {
				return err
			}
			return n.desktop(ctx, "LoginNodes.Pools["+p.Name+"].Dcv", p.Dcv, true)
		}},
		{Name: "OnNodeConfigured", After: []string{"storage", "munge", "mount slurm", "default user", "remote desktop"}, Do: func(ctx context.Context) error {
			p, err := n.pool()
			if err != nil {
				return err
			}
			return n.actions(ctx, actions.OnNodeConfigured, p.CustomActions.OnNodeConfigured)
		}},
		{Name: "record", After: []string{"OnNodeConfigured", "host keys", "metadata access"}, Do: func(ctx context.Context) error {
			return recordConfiguration(ctx, n.dynamo, n.spec, n.self.InstanceID)
		}},
		{Name: "in service", After: []string{"record"}, Do: func(ctx context.Context) error {
			return enterService(ctx, n.scaling, n.spec, n.self.InstanceID)
		}},
	}
}

// pool returns the part of the cluster file that is about this node.
func (n *node) pool() (*config.LoginPool, error) { return poolOf(n.config, n.spec.Pool) }

func poolOf(c *config.Cluster, name string) (*config.LoginPool, error) {
	if c.LoginNodes != nil {
		for i := range c.LoginNodes.Pools {
			if p := &c.LoginNodes.Pools[i]; p.Name == name {
				return p, nil
			}
		}
	}
	return nil, fmt.Errorf("the cluster file has no login pool %q", name)
}
