package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"pcluster/internal/config"
	"pcluster/internal/fleet"
	"pcluster/internal/node/actions"
	"pcluster/internal/node/logs"
	"pcluster/internal/node/steps"
	"pcluster/internal/node/storage"
	"pcluster/internal/slurm"
)

// margin is how long before the stack gives up on the head node it gives up itself,
// so that the stack learns why.
const margin = 15 * time.Second

// headSteps are the boot of a head node.
func (n *node) headSteps() []steps.Step {
	c := n.config
	n.limit(time.Duration(c.DevSettings.Timeouts.HeadNodeBootstrapTimeout)*time.Second - margin)
	var mu sync.Mutex // of n.storage, which is filled in parallel

	units := slices.Concat(everywhereUnits(), interactiveUnits())
	if !n.batch() {
		units = append(units, headUnits()...)
	}
	// What fills directories of the cluster's own waits until they are what all nodes see.
	var places []string
	list := []steps.Step{
		{Name: "units", Do: func(ctx context.Context) error { return n.installUnits(ctx, units) }},
		{Name: "logs", After: []string{"units"}, Do: n.startLogs},
		{Name: "users", Do: n.ensureUsers},
		{Name: "metadata access", After: []string{"users"}, Do: func(ctx context.Context) error {
			if !c.HeadNode.Imds.Secured {
				return n.installMetadataScript()
			}
			return n.protectMetadata(ctx, string(rootUser), string(adminUser), n.spec.ClusterUser)
		}},
		{Name: "names", Do: func(ctx context.Context) error {
			if err := n.searchDomain(ctx, n.spec.DNSDomain); err != nil {
				return err
			}
			if err := n.sshClient(n.self.VPCBlocks); err != nil {
				return err
			}
			return n.hosts(n.self, n.self.Short(), n.self.domain())
		}},
		{Name: "local home", After: []string{"users"}, Do: n.localHome},
	}
	if n.internalStorage() {
		places = []string{"shared directories"}
		list = append(list, steps.Step{Name: "shared directories", After: []string{"users", "local home"}, Always: true, Do: n.makeSharedDirectories})
	}
	list = append(list, steps.Step{Name: "files", After: append([]string{"users"}, places...), Do: n.writeConfig})

	// Storage: first learned, while the stack may still be making it, then mounted,
	// after OnNodeStart, whose scripts may bring what mounting needs.
	var homes, others []string
	for i := range c.SharedStorage {
		s := &c.SharedStorage[i]
		find, mount := "find "+s.Name, "mount "+s.Name
		list = append(list, steps.Step{Name: find, Always: true, Do: func(ctx context.Context) error {
			e, err := n.resolver().Resolve(ctx, s)
			mu.Lock()
			defer mu.Unlock()
			n.storage[s.Name] = e
			return err
		}})
		after := []string{find}
		if storage.Absolute(s.MountDir) == "/home" {
			homes = append(homes, mount)
			after = append(after, "local home")
		} else {
			others = append(others, mount)
			after = append(after, "OnNodeStart")
		}
		list = append(list, steps.Step{Name: mount, After: after, Always: true, Do: func(ctx context.Context) error {
			mu.Lock()
			e := n.storage[s.Name]
			mu.Unlock()
			return n.mountOnHead(ctx, e)
		}})
	}
	homes = append(homes, places...)
	beforeStart := append([]string{"files", "names", "users", "logs", "local home"}, homes...)
	if d := c.DirectoryService; d != nil {
		list = append(list, steps.Step{Name: "directory", After: append([]string{"names"}, homes...), Do: func(ctx context.Context) error {
			return errors.Join(n.installDirectoryScript(), n.makeDirectory(ctx, n.secrets, d))
		}})
		beforeStart = append(beforeStart, "directory")
	}
	list = append(list,
		steps.Step{Name: "OnNodeStart", After: beforeStart, Do: func(ctx context.Context) error {
			return n.actions(ctx, actions.OnNodeStart, c.HeadNode.CustomActions.OnNodeStart)
		}},
		steps.Step{Name: "ephemeral storage", Always: true, After: []string{"OnNodeStart"}, Do: func(ctx context.Context) error {
			return n.ephemeral(ctx, c.HeadNode.LocalStorage.EphemeralVolume.MountDir)
		}},
		steps.Step{Name: "storage", After: slices.Concat(homes, others, []string{"ephemeral storage"}), Do: func(context.Context) error {
			return storage.Save(n.path(storageData), n.entries())
		}},
		steps.Step{Name: "attributes", After: slices.Concat(homes, others, []string{"files"}), Always: true, Do: func(context.Context) error {
			return n.writeAttributes(n.spec, c, n.entries())
		}},
		steps.Step{Name: "exports", After: []string{"storage"}, Do: func(ctx context.Context) error {
			return n.export(ctx, n.exported(), n.self.VPCBlocks)
		}},
		steps.Step{Name: "default user", After: append([]string{"users", "local home"}, homes...), Do: func(ctx context.Context) error {
			if err := n.linkNodes(ctx, n.spec.ClusterUser); err != nil {
				return err
			}
			if err := n.restrictSudo(n.spec.ClusterUser, c.DeploymentSettings.DisableSudoAccessForDefaultUser); err != nil {
				return err
			}
			if c.DeploymentSettings.DefaultUserHome != config.HomeLocal {
				return nil
			}
			return n.shareKeys(n.spec.ClusterUser)
		}},
	)
	configured := []string{"exports", "attributes", "default user"}
	if d := c.HeadNode.Dcv; d.Enabled {
		list = append(list, steps.Step{Name: "remote desktop", After: []string{"attributes", "OnNodeStart", "metadata access"}, Do: func(ctx context.Context) error {
			return n.desktop(ctx, "HeadNode.Dcv", d, c.HeadNode.Imds.Secured)
		}})
		configured = append(configured, "remote desktop")
	}
	if n.batch() {
		return append(list, n.batchSteps(append([]string{"users"}, homes...), configured)...)
	}
	return append(list, n.controllerSteps(places, configured)...)
}

// controllerSteps are what a head node does for Slurm. The places are the steps after which
// the cluster's own shared directories are there; configured are those that have to do with
// no scheduler, before OnNodeConfigured.
func (n *node) controllerSteps(places, configured []string) []steps.Step {
	c := n.config
	ready := append([]string{"users"}, places...)
	list := []steps.Step{
		{Name: "slurm", After: ready, Do: func(ctx context.Context) error {
			if err := n.slurmTree(); err != nil {
				return err
			}
			return n.checkSlurm(ctx, "slurmctld")
		}},
		{Name: "munge", After: ready, Do: func(ctx context.Context) error {
			return n.makeMungeKey(ctx, n.secrets, c.Scheduling.SlurmSettings.MungeKeySecretArn)
		}},
		{Name: "fleet programs", After: ready, Do: func(context.Context) error { return n.prepareFleet() }},
		{Name: "slurm configuration", After: []string{"slurm", "files"}, Do: n.writeSlurmConfig},
	}
	if c.LoginNodes != nil {
		list = append(list, steps.Step{Name: "host keys of login nodes", After: ready, Do: n.makeHostKeys})
	}
	controller := []string{"slurm configuration", "fleet programs", "munge", "units", "names", "metadata access", "OnNodeStart"}
	if c.Scheduling.SlurmSettings.Database != nil {
		list = append(list, steps.Step{Name: "accounting", After: slices.Clone(controller), Do: func(ctx context.Context) error {
			return n.startDatabaseDaemon(ctx, n.slurm, n.spec.ClusterName, "slurm", n.spec.ClusterUser)
		}})
		controller = append(controller, "accounting")
	}
	return append(list,
		steps.Step{Name: "slurmctld", After: controller, Do: func(ctx context.Context) error { return n.startController(ctx, n.slurm) }},
		steps.Step{Name: "OnNodeConfigured", After: append([]string{"slurmctld"}, configured...), Do: func(ctx context.Context) error {
			return n.actions(ctx, actions.OnNodeConfigured, c.HeadNode.CustomActions.OnNodeConfigured)
		}},
		steps.Step{Name: "fleet", After: []string{"OnNodeConfigured"}, Do: func(ctx context.Context) error {
			if err := startFleetStatus(ctx, n.dynamo, n.spec.DynamoDBTable); err != nil {
				return err
			}
			return n.start(ctx, unitFleet)
		}},
		steps.Step{Name: "static nodes", After: []string{"fleet"}, Do: n.awaitStaticNodes},
		steps.Step{Name: "signal", After: []string{"static nodes"}, Do: func(ctx context.Context) error {
			if err := recordConfiguration(ctx, n.dynamo, n.spec, n.self.InstanceID); err != nil {
				return err
			}
			return Signal(ctx, n.spec.WaitHandle, "SUCCESS", n.self.InstanceID, "The head node is ready")
		}},
	)
}

// startLogs begins to ship logs, if the cluster has a log group.
func (n *node) startLogs(ctx context.Context) error {
	if n.spec.LogRotationEnabled != "false" && n.exists("/etc/logrotate.d") {
		if err := n.write("/etc/logrotate.d/parallelcluster", 0o644, rootUser, rotation(n.spec.NodeType)); err != nil {
			return err
		}
	}
	if given(n.spec.LogGroup) == "" {
		return nil
	}
	return n.start(ctx, unitLogs)
}

// fetchConfig returns the cluster file with implied values, and keeps both it and
// the facts about instance types for the steps.
func (n *node) fetchConfig(ctx context.Context) (*config.Cluster, error) {
	data, err := artifact(ctx, n.s3, n.spec.Bucket, n.spec.ConfigKey, n.spec.ConfigVersion)
	if err != nil {
		return nil, fmt.Errorf("cluster file: %w", err)
	}
	c, err := config.ParseImplied(n.spec.ConfigKey, data)
	if err != nil {
		return nil, fmt.Errorf("cluster file: %w", err)
	}
	if err := n.write(clusterConfig, 0o644, rootUser, data); err != nil {
		return nil, err
	}
	if n.spec.InstanceTypes == "" {
		return c, nil
	}
	data, err = artifact(ctx, n.s3, n.spec.Bucket, n.spec.InstanceTypes, n.spec.InstanceTypesV)
	if err != nil {
		return nil, fmt.Errorf("instance types: %w", err)
	}
	if n.types, err = slurm.ParseInstanceTypes(data); err != nil {
		return nil, err
	}
	return c, n.write(instanceTypes, 0o644, rootUser, data)
}

// writeConfig leaves what other nodes and scripts read, as far as it is known before the
// storage is.
func (n *node) writeConfig(context.Context) error {
	if err := n.write(configVersion, 0o644, rootUser, []byte(n.spec.ConfigVersion)); err != nil {
		return err
	}
	var entries []storage.Entry
	for i := range n.config.SharedStorage {
		entries = append(entries, storage.Declared(&n.config.SharedStorage[i]))
	}
	return n.writeAttributes(n.spec, n.config, entries)
}

// prepareFleet leaves what the fleet daemon and slurmctld's programs need.
func (n *node) prepareFleet() error {
	if err := n.writeOnce(sharedDir+"/computefleet-status.json", 0o644, adminUser, []byte("{}")); err != nil {
		return err
	}
	if err := n.installFleetPrograms(); err != nil {
		return err
	}
	for _, log := range []string{"clustermgtd", "clustermgtd.events", "slurm_resume.log", "slurm_resume.events", "slurm_suspend.log"} {
		if err := n.touch(logs.Dir+"/"+log, 0o644, rootUser); err != nil {
			return err
		}
	}
	return nil
}

// internalStorage says whether the cluster's own shared directories are on a file system
// of their own. Clusters of AWS Batch share none.
func (n *node) internalStorage() bool {
	return n.config.HeadNode.SharedStorageType == config.Efs && !n.batch()
}

// ownHome says whether the file brings storage for /home.
func (n *node) ownHome() bool {
	return slices.ContainsFunc(n.config.SharedStorage, func(s config.SharedStorage) bool { return storage.Absolute(s.MountDir) == "/home" })
}

func (n *node) resolver() *storage.Resolver {
	return &storage.Resolver{CloudFormation: n.stack, FSx: n.fsx, Stack: n.spec.StackName, Managed: n.spec.Storage}
}

// makeSharedDirectories puts the cluster's own shared directories on their file system.
func (n *node) makeSharedDirectories(ctx context.Context) error {
	id, err := n.resolver().Internal(ctx)
	if err != nil {
		return err
	}
	n.spec.InternalFileSystem = id // as the other nodes are told
	return n.mounts.MakeInternal(ctx, id, n.internalDirectories())
}

// internalDirectories are those that all nodes share for the cluster's sake.
func (n *node) internalDirectories() []string {
	dirs := []string{sharedDir, sharedLoginDir, slurm.Prefix}
	if !n.ownHome() {
		dirs = append(dirs, "/home")
	}
	return dirs
}

func (n *node) mountOnHead(ctx context.Context, e storage.Entry) error {
	mount := func() error { return n.mounts.Mount(ctx, e.On("")) }
	if e.FromHead() {
		mount = func() error {
			n.volumes.Lock()
			defer n.volumes.Unlock()
			return n.mounts.Volume(ctx, &n.volumes.Attacher, e)
		}
	}
	if e.Dir == "/home" {
		return n.mounts.Keep(ctx, e.Dir, mount)
	}
	return mount()
}

// entries are the shared storage in the order of the file, when all of it is known.
func (n *node) entries() []storage.Entry {
	var out []storage.Entry
	for _, s := range n.config.SharedStorage {
		out = append(out, n.storage[s.Name])
	}
	return out
}

// exported are the directories that other nodes mount from this one.
func (n *node) exported() []string {
	var dirs []string
	switch {
	case n.internalStorage():
	case n.batch():
		if !n.ownHome() {
			dirs = []string{"/home"}
		}
	default:
		dirs = n.internalDirectories()
	}
	for _, e := range n.storage {
		if e.FromHead() {
			dirs = append(dirs, e.Dir)
		}
	}
	if n.Host.exists("/opt/intel") {
		dirs = append(dirs, "/opt/intel")
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// writeSlurmConfig writes Slurm's configuration for the cluster on this node.
func (n *node) writeSlurmConfig(ctx context.Context) error {
	s := &n.config.Scheduling.SlurmSettings
	facts := slurm.Facts{
		ClusterName: n.spec.ClusterName, HeadName: n.self.Short(), HeadAddress: n.self.Addr,
		ManagedDNS: given(n.spec.DNSDomain) != "", InstanceTypes: n.types, NVIDIADriver: n.Host.exists("/usr/bin/nvidia-smi"),
	}
	dna, err := n.read(imageDNA)
	if err != nil && n.Host.exists(imageDNA) {
		return err
	}
	if facts.Image, err = slurm.ImageCapabilities(dna); err != nil {
		return err
	}
	if s.Database != nil {
		if facts.DatabasePassword, err = n.secrets.secret(ctx, s.Database.PasswordSecretArn); err != nil {
			return fmt.Errorf("password of the accounting database: %w", err)
		}
	}
	if err := n.configureSlurm(n.config, facts); err != nil {
		return err
	}
	return n.includeCustomSettings(ctx, &actions.Runner{S3: n.s3, Log: n.out}, s.CustomSlurmSettingsIncludeFile)
}

// staticInterval is how often the static nodes are looked at.
const staticInterval = 500 * time.Millisecond

// awaitStaticNodes waits until all nodes that always run do.
func (n *node) awaitStaticNodes(ctx context.Context) error {
	var static []string
	for i := range n.config.Scheduling.SlurmQueues {
		q := &n.config.Scheduling.SlurmQueues[i]
		for _, r := range q.ComputeResources {
			for k := range r.MinCount {
				static = append(static, slurm.NodeName{Queue: q.Name, Resource: r.Name, Static: true, Index: k + 1}.String())
			}
		}
	}
	if len(static) == 0 {
		return nil
	}
	status := &fleet.StatusItem{DynamoDB: n.dynamo, Table: n.spec.DynamoDBTable}
	var missing []slurm.Node
	_, err := poll(ctx, staticInterval, func() (struct{}, error) {
		nodes, err := n.slurm.Nodes(ctx, slurm.Compress(static))
		if err != nil {
			return struct{}{}, err
		}
		missing = notUp(nodes)
		if len(missing) == 0 {
			return struct{}{}, nil
		}
		return struct{}{}, fmt.Errorf("%d of %d static nodes are not up, among them %s: %s %s",
			len(missing), len(static), missing[0].Name, missing[0].State, missing[0].Reason)
	}, func() error {
		s, err := status.Get(ctx)
		if err == nil && s == fleet.Protected {
			return fmt.Errorf("Cluster has been set to PROTECTED mode due to failures detected in static node provisioning: %s%s", describe(missing), n.complaint())
		}
		return nil
	})
	return err
}

// notUp returns the nodes that are still to come up. Those in maintenance are not: their
// capacity block may begin in weeks.
func notUp(nodes []slurm.Node) []slurm.Node {
	return slices.DeleteFunc(slices.Clone(nodes), func(n slurm.Node) bool { return n.State.Ready() || n.State.Has("MAINTENANCE", "MAINT") })
}

// complaint returns what a node that failed to start said last, as far as the fleet
// daemon could learn it from its console.
func (n *node) complaint() string {
	data, err := n.read(logs.Dir + "/compute_console_output.log")
	if err != nil {
		return ""
	}
	const mark = "boot failed: "
	last := ""
	for line := range strings.Lines(string(data)) {
		if _, said, ok := strings.Cut(line, mark); ok {
			last = "; one of them said: " + strings.TrimSpace(said)
		}
	}
	return last
}

// describe lists nodes with their states and reasons, as far as a message bears it.
func describe(nodes []slurm.Node) string {
	var parts []string
	for _, n := range nodes[:min(len(nodes), 5)] {
		parts = append(parts, strings.TrimSpace(fmt.Sprintf("%s %s %s", n.Name, n.State, n.Reason)))
	}
	if len(nodes) > 5 {
		parts = append(parts, fmt.Sprintf("and %d more", len(nodes)-5))
	}
	return strings.Join(parts, "; ")
}
