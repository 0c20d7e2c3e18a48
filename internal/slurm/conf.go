package slurm

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"strconv"
	"strings"
	"time"

	"pcluster/internal/config"
)

// Where things are on every node. Users' scripts rely on these paths.
const (
	Prefix     = "/opt/slurm"
	ConfDir    = "/opt/slurm/etc"
	BinDir     = "/opt/slurm/bin"
	ProgramDir = "/opt/parallelcluster/scripts/slurm" // what slurmctld runs for us
	StateDir   = "/var/spool/slurm.state"
	SpoolDir   = "/var/spool/slurmd"
	DBDPort    = 6819
)

// IncludeFile is the file, relative to ConfDir, that CustomSlurmSettings end up
// in, or that CustomSlurmSettingsIncludeFile takes the place of.
const IncludeFile = "pcluster/custom_slurm_settings_include_file_slurm.conf"

// fleetTick is how often, in seconds, slurmctld looks for nodes to power up and
// down. Its default of 10 would be added to the start of every job that needs one.
const fleetTick = 1

// suspendTimeout is after how many seconds Slurm may use the name of a node that
// was powered down again. The fleet daemon has ended the instance and taken its
// address from the node by then, so that there is nothing to wait for but the
// terminated node's last words.
const suspendTimeout = 3

// Capabilities are what machines of the image can't be assumed to have.
type Capabilities struct {
	Cgroup     bool `json:"cgroup"`      // processes can be put into control groups
	CPUBinding bool `json:"cpu_binding"` // nodes have the CPUs of their instance type
}

// ImageCapabilities reads /etc/parallelcluster/image_dna.json, which says how the
// image was built. Images that say nothing about Slurm can do everything.
func ImageCapabilities(imageDNA []byte) (Capabilities, error) {
	var dna struct {
		Slurm Capabilities `json:"slurm"`
	}
	dna.Slurm = Capabilities{Cgroup: true, CPUBinding: true}
	if len(imageDNA) == 0 {
		return dna.Slurm, nil
	}
	if err := json.Unmarshal(imageDNA, &dna); err != nil {
		return Capabilities{}, fmt.Errorf("image attributes: %w", err)
	}
	return dna.Slurm, nil
}

// Facts are what the configuration needs to know and the cluster file does not say.
type Facts struct {
	ClusterName string
	HeadName    string // short host name of the head node
	HeadAddress string // its private address
	ManagedDNS  bool   // nodes' names resolve

	InstanceTypes InstanceTypes
	Image         Capabilities
	NVIDIADriver  bool // on the head node; without it Slurm must not hear of GPUs

	DatabasePassword string // for slurmdbd, if the file has a Database
}

// A File is a configuration file, to be written below ConfDir.
type File struct {
	Path    string // relative to ConfDir
	Mode    fs.FileMode
	Slurm   bool // belongs to the user slurm, not to root
	Keep    bool // never written again: from then on the file is the user's
	Content []byte
}

// Render returns Slurm's configuration files in the order in which they refer to
// each other.
func Render(c *config.Cluster, f Facts) []File {
	files := []File{
		{Path: "slurm.conf", Mode: 0o644, Keep: true, Content: mainConf(c, f)},
		{Path: "slurm_parallelcluster.conf", Mode: 0o644, Content: derivedConf(c, f)},
		{Path: IncludeFile, Mode: 0o644, Content: customSettings(c)},
	}
	for i := range c.Scheduling.SlurmQueues {
		q := &c.Scheduling.SlurmQueues[i]
		files = append(files,
			File{Path: queueFile(q), Mode: 0o644, Content: queueConf(q, i == 0, f)},
			File{Path: queueGresFile(q), Mode: 0o644, Content: queueGres(q, f)})
	}
	files = append(files,
		File{Path: "gres.conf", Mode: 0o644, Keep: true, Content: lines(
			"# Devices of nodes. Add your own below the include.",
			"include slurm_parallelcluster_gres.conf")},
		File{Path: "slurm_parallelcluster_gres.conf", Mode: 0o644, Content: gresConf(c)},
		File{Path: "cgroup.conf", Mode: 0o644, Keep: true, Content: cgroupConf(f)},
		File{Path: "slurm_parallelcluster_cgroup.conf", Mode: 0o644, Content: derivedCgroupConf(c, f)},
		File{Path: "pcluster/parallelcluster_partition_nodelist_mapping.json", Mode: 0o644, Content: nodeListMapping(c)},
	)
	if c.Scheduling.SlurmSettings.Database != nil {
		files = append(files, databaseConf(c, f)...)
	}
	return files
}

// A conf is a Slurm configuration file being written.
type conf struct{ strings.Builder }

func (b *conf) comment(format string, args ...any) { fmt.Fprintf(b, "# "+format+"\n", args...) }
func (b *conf) set(key string, value any)          { fmt.Fprintf(b, "%s=%v\n", key, value) }
func (b *conf) line(format string, args ...any)    { fmt.Fprintf(b, format+"\n", args...) }
func (b *conf) bytes() []byte                      { return []byte(b.String()) }

func lines(l ...string) []byte { return []byte(strings.Join(l, "\n") + "\n") }

// mainConf is slurm.conf: what no update of the cluster changes, so that it can be
// the user's from the day it was written.
func mainConf(c *config.Cluster, f Facts) []byte {
	var b conf
	b.comment("Slurm's configuration for cluster %s. Values that follow the cluster file are in", f.ClusterName)
	b.comment("slurm_parallelcluster.conf, included at the end. This file is not written again.")
	b.set("ClusterName", f.ClusterName)
	b.set("SlurmUser", "slurm")
	b.set("SlurmctldPort", "6820-6829")
	b.set("SlurmdPort", 6818)
	b.set("AuthType", "auth/munge")
	b.set("AuthInfo", "cred_expire=70")
	b.set("StateSaveLocation", StateDir)
	b.set("SlurmdSpoolDir", SpoolDir)
	b.set("SlurmctldPidFile", "/var/run/slurmctld.pid")
	b.set("SlurmdPidFile", "/var/run/slurmd.pid")
	b.set("ReconfigFlags", "KeepPartState")
	if c.DirectoryService != nil {
		b.set("LaunchParameters", "enable_nss_slurm")
	}
	b.line("")
	b.comment("Nodes that come and go")
	parameters := fmt.Sprintf("idle_on_node_suspend,power_save_interval=%d,power_save_min_interval=0", fleetTick)
	if f.Image.CPUBinding {
		b.set("SlurmctldParameters", parameters+",node_reg_mem_percent=75")
	} else {
		// Nodes are believed to be what their instance type says.
		b.set("SlurmctldParameters", parameters)
		b.set("SlurmdParameters", "config_overrides")
	}
	b.set("TreeWidth", treeWidth(c, f))
	b.set("SuspendProgram", ProgramDir+"/slurm_suspend")
	b.set("ResumeProgram", ProgramDir+"/slurm_resume")
	b.set("ResumeFailProgram", ProgramDir+"/slurm_resume_failed")
	b.set("RebootProgram", "/sbin/reboot")
	b.set("SuspendTimeout", suspendTimeout)
	b.set("ResumeRate", 0)
	b.set("SuspendRate", 0)
	b.set("PrivateData", "cloud")
	b.line("")
	b.comment("Every executable in these directories runs before, or after, each job")
	b.set("Prolog", ConfDir+"/scripts/prolog.d/*")
	b.set("Epilog", ConfDir+"/scripts/epilog.d/*")
	b.comment("Returns when the nodes of a new job are up, which lets the job start at once")
	b.set("PrologSlurmctld", ProgramDir+"/slurm_prolog_slurmctld")
	b.line("")
	b.comment("Limits of time, in seconds")
	b.set("BatchStartTimeout", batchStartTimeout(c))
	b.set("SlurmctldTimeout", 300)
	b.set("SlurmdTimeout", 180)
	b.set("InactiveLimit", 0)
	b.set("MinJobAge", 300)
	b.set("KillWait", 30)
	b.set("WaitTime", 0)
	b.set("MessageTimeout", 60)
	b.line("")
	b.comment("Scheduling")
	b.set("EnforcePartLimits", "ALL")
	b.set("SchedulerParameters", "nohold_on_prolog_fail")
	b.set("SchedulerType", "sched/backfill")
	b.set("SelectType", "select/cons_tres")
	b.set("ProctrackType", pick(f.Image.Cgroup, "proctrack/cgroup", "proctrack/linuxproc"))
	b.set("TaskPlugin", taskPlugin(f.Image))
	b.set("MpiDefault", "none")
	b.set("ReturnToService", 1)
	b.set("GresTypes", "gpu")
	b.line("")
	b.comment("Logs")
	b.set("SlurmctldDebug", "verbose")
	b.set("SlurmctldLogFile", "/var/log/slurmctld.log")
	b.set("SlurmdDebug", "info")
	b.set("SlurmdLogFile", "/var/log/slurmd.log")
	b.set("DebugFlags", "Power")
	b.set("JobCompType", "jobcomp/none")
	b.line("")
	b.comment("Of a key that is set twice, the last value holds")
	b.line("include slurm_parallelcluster.conf")
	b.line("include %s", IncludeFile)
	return b.bytes()
}

// treeWidth is how many nodes a message fans out to. Without names that resolve
// everywhere nodes can't reach each other for it: slurmctld tells them all itself.
func treeWidth(c *config.Cluster, f Facts) int {
	if !f.ManagedDNS || c.Scheduling.SlurmSettings.Dns.UseEc2Hostnames {
		return 65533
	}
	return 30
}

// GpuCheckTimeout ends a check of GPUs that hangs. ParallelCluster's limit.
const GpuCheckTimeout = 10 * time.Minute

// batchStartTimeout is how many seconds slurmctld gives a batch job to begin on its
// node. The prolog is part of that, and so is the check of GPUs.
func batchStartTimeout(c *config.Cluster) int {
	const usual = 180
	for _, q := range c.Scheduling.SlurmQueues {
		for _, r := range q.ComputeResources {
			if q.GpuCheckOf(&r) {
				return usual + int(GpuCheckTimeout.Seconds())
			}
		}
	}
	return usual
}

func taskPlugin(image Capabilities) string {
	var plugins []string
	if image.CPUBinding {
		plugins = append(plugins, "task/affinity")
		if image.Cgroup {
			plugins = append(plugins, "task/cgroup")
		}
	}
	if len(plugins) == 0 {
		return "task/none"
	}
	return strings.Join(plugins, ",")
}

func pick(cond bool, yes, no string) string {
	if cond {
		return yes
	}
	return no
}

// derivedConf is slurm_parallelcluster.conf: what follows from the cluster file.
func derivedConf(c *config.Cluster, f Facts) []byte {
	s := &c.Scheduling.SlurmSettings
	var b conf
	b.comment("Made from the cluster file, and again by each update of the cluster: changes here get lost.")
	b.set("SlurmctldHost", fmt.Sprintf("%s(%s)", f.HeadName, f.HeadAddress))
	b.set("SuspendTime", suspendTime(s.ScaledownIdletime))
	b.set("ResumeTimeout", c.DevSettings.Timeouts.ComputeNodeBootstrapTimeout)
	b.set("SelectTypeParameters", pick(s.EnableMemoryBasedScheduling, "CR_CPU_Memory", "CR_CPU"))
	switch {
	case s.Database != nil:
		accounting(&b, f.HeadName, DBDPort, f)
	case s.ExternalSlurmdbd != nil:
		accounting(&b, s.ExternalSlurmdbd.Host, s.ExternalSlurmdbd.Port, f)
	}
	var excluded []string
	for i := range c.Scheduling.SlurmQueues {
		q := &c.Scheduling.SlurmQueues[i]
		b.line("include %s/%s", ConfDir, queueFile(q))
		for _, r := range q.ComputeResources {
			if r.MinCount > 0 {
				excluded = append(excluded, nodeRange(q.Name, static, r.Name, r.MinCount))
			}
		}
	}
	if len(excluded) > 0 {
		b.set("SuspendExcNodes", strings.Join(excluded, ","))
	}
	return b.bytes()
}

// forever is ten years in seconds. Slurm's own value for never, -1, would turn power
// saving off altogether: no node would be powered up any more either.
const forever = 10 * 365 * 24 * 60 * 60

// suspendTime returns after how many seconds idle nodes are powered down.
func suspendTime(idleMinutes int) int {
	if idleMinutes < 0 {
		return forever
	}
	return idleMinutes * 60
}

func accounting(b *conf, host string, port int, f Facts) {
	b.set("AccountingStorageType", "accounting_storage/slurmdbd")
	b.set("AccountingStorageHost", host)
	b.set("AccountingStoragePort", port)
	b.set("JobAcctGatherType", pick(f.Image.Cgroup, "jobacct_gather/cgroup", "jobacct_gather/linux"))
}

// firstKeys are the keys that Slurm wants at the beginning of a line.
var firstKeys = []string{"NodeName", "PartitionName", "NodeSet", "DownNodes"}

// customSettings renders SlurmSettings/CustomSlurmSettings, one line per map.
func customSettings(c *config.Cluster) []byte {
	var b conf
	b.comment("Custom Slurm settings from the cluster file")
	for _, m := range c.Scheduling.SlurmSettings.CustomSlurmSettings {
		var first, rest []string
		for _, s := range m {
			pair := s.Key + "=" + s.Value
			if isFirstKey(s.Key) {
				first = append(first, pair)
			} else {
				rest = append(rest, pair)
			}
		}
		b.line("%s", strings.Join(append(first, rest...), " "))
	}
	return b.bytes()
}

func isFirstKey(key string) bool {
	for _, k := range firstKeys {
		if strings.EqualFold(key, k) {
			return true
		}
	}
	return false
}

func cgroupConf(f Facts) []byte {
	if !f.Image.Cgroup {
		return lines(
			"# Machines of this image have no control groups to themselves.",
			"CgroupPlugin=disabled",
			"include "+ConfDir+"/slurm_parallelcluster_cgroup.conf")
	}
	return lines(
		"# What jobs are confined to. Add your own below the include.",
		"ConstrainCores=yes",
		"include "+ConfDir+"/slurm_parallelcluster_cgroup.conf")
}

func derivedCgroupConf(c *config.Cluster, f Facts) []byte {
	var b conf
	b.comment("Made from the cluster file: changes here get lost.")
	if c.Scheduling.SlurmSettings.EnableMemoryBasedScheduling && f.Image.Cgroup {
		b.set("ConstrainRAMSpace", "yes")
	}
	return b.bytes()
}

// databaseConf is slurmdbd's configuration.
func databaseConf(c *config.Cluster, f Facts) []File {
	db := c.Scheduling.SlurmSettings.Database
	var main conf
	main.comment("Slurm's database daemon. This file is not written again.")
	main.set("AuthType", "auth/munge")
	main.set("LogFile", "/var/log/slurmdbd.log")
	main.set("DbdPort", DBDPort)
	main.set("SlurmUser", "slurm")
	main.set("StorageType", "accounting_storage/mysql")
	main.line("include %s/%s", ConfDir, databaseFile)

	host, port := databaseAddress(db.Uri)
	var derived conf
	derived.comment("Made from the cluster file: changes here get lost.")
	derived.set("DbdHost", f.HeadName)
	derived.set("StorageHost", host)
	derived.set("StoragePort", port)
	derived.set("StorageLoc", databaseName(c, f.ClusterName))
	derived.set("StorageUser", db.UserName)
	derived.set("StoragePass", f.DatabasePassword)
	return []File{
		{Path: "slurmdbd.conf", Mode: 0o600, Slurm: true, Keep: true, Content: main.bytes()},
		{Path: databaseFile, Mode: 0o600, Slurm: true, Content: derived.bytes()},
	}
}

const databaseFile = "slurm_parallelcluster_slurmdbd.conf"

// DatabasePasswordFile is the path of the one file with the database's password.
const DatabasePasswordFile = ConfDir + "/" + databaseFile

// ReplaceDatabasePassword returns the content of DatabasePasswordFile with another
// password, and whether that makes a difference.
func ReplaceDatabasePassword(content []byte, password string) (replaced []byte, changed bool) {
	out := strings.Split(string(content), "\n")
	for i, l := range out {
		if key, value, ok := strings.Cut(l, "="); ok && strings.EqualFold(strings.TrimSpace(key), "StoragePass") {
			out[i] = "StoragePass=" + password
			changed = changed || value != password
		}
	}
	return []byte(strings.Join(out, "\n")), changed
}

// databaseAddress takes Database/Uri apart: a scheme may precede the host, a port
// may follow it.
func databaseAddress(uri string) (host string, port int) {
	if _, rest, ok := strings.Cut(uri, "://"); ok {
		uri = rest
	}
	uri = strings.TrimSuffix(uri, "/")
	if h, p, err := net.SplitHostPort(uri); err == nil {
		if n, err := strconv.Atoi(p); err == nil {
			return h, n
		}
	}
	return uri, 3306
}

func databaseName(c *config.Cluster, cluster string) string {
	if name := c.Scheduling.SlurmSettings.Database.DatabaseName; name != "" {
		return name
	}
	return strings.ReplaceAll(cluster, "-", "_")
}
