package node

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"pcluster/internal/config"
	"pcluster/internal/node/logs"
	"pcluster/internal/node/spec"
	"pcluster/internal/slurm"
)

// Where things are on the nodes. Users' scripts rely on most of these paths.
const (
	sharedDir      = "/opt/parallelcluster/shared" // of the head node, on all nodes
	sharedLoginDir = "/opt/parallelcluster/shared_login_nodes"
	pluginDir      = "/etc/parallelcluster/slurm_plugin"
	stateDir       = "/var/lib/parallelcluster"
	bootedFile     = stateDir + "/booted" // the boot is over, and well
	journalFile    = logs.Dir + "/boot.log"

	clusterConfig = sharedDir + "/cluster-config.yaml"
	instanceTypes = sharedDir + "/instance-types-data.json"
	configVersion = sharedDir + "/cluster-config-version"
	storageData   = sharedDir + "/storage.json" // see storage.Save
	fleetConfig   = pluginDir + "/fleet-config.json"
	fleetSettings = pluginDir + "/parallelcluster_clustermgtd.conf"
	pluginShare   = slurm.ConfDir + "/pcluster/.slurm_plugin" // on all nodes
	nodeSettings  = pluginShare + "/parallelcluster_computemgtd.conf"
	heartbeatFile = pluginShare + "/clustermgtd_heartbeat"
	imageDNA      = "/etc/parallelcluster/image_dna.json"
)

// layout makes the directories and files that scripts expect on any node.
func (h *Host) layout(n *spec.Node, self *Identity) error {
	type directory struct {
		path string
		mode os.FileMode
	}
	dirs := []directory{
		{"/etc/parallelcluster", 0o755}, {pluginDir, 0o755}, {stateDir, 0o755},
		{"/etc/chef", 0o755}, {"/etc/sysconfig", 0o755}, {logs.Dir, 0o777 | os.ModeSticky},
		{"/opt/parallelcluster/scripts", 0o755}, {sharedDir, 0o755},
	}
	if n.NodeType == spec.Head {
		dirs = append(dirs, directory{sharedLoginDir, 0o755})
	}
	for _, d := range dirs {
		if err := h.dir(d.path, d.mode, rootUser); err != nil {
			return err
		}
	}
	if err := h.writeToldAttributes(n); err != nil {
		return err
	}
	if err := h.link(shellVariables, "/opt/parallelcluster/cfnconfig"); err != nil {
		return err
	}
	marker := "aws-parallelcluster-cookbook-" + config.ToolVersion + "\n"
	if err := h.write("/opt/parallelcluster/.bootstrapped", 0o644, rootUser, []byte(marker)); err != nil {
		return err
	}
	if h.exists("/etc/sudoers.d") {
		sudoers := "Defaults:" + n.ClusterUser + " !requiretty\n"
		if err := h.write("/etc/sudoers.d/99-parallelcluster-user-tty", 0o440, rootUser, []byte(sudoers)); err != nil {
			return err
		}
		secure := "Defaults secure_path=\"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:" + slurm.BinDir + "\"\n"
		if err := h.write("/etc/sudoers.d/99-parallelcluster-secure-path", 0o440, rootUser, []byte(secure)); err != nil {
			return err
		}
	}
	return h.profile()
}

// profile puts Slurm into the PATH of login shells. It does so on each node by itself:
// what is below /opt/slurm, where others source it, is there only once that is mounted.
func (h *Host) profile() error { return h.shellSettings("/etc/profile.d") }

// shellSettings leaves in a folder what puts Slurm's programs and manual into a shell's
// environment. An empty MANPATH stands for the system's own.
func (h *Host) shellSettings(dir string) error {
	const manual = slurm.Prefix + "/share/man"
	sh := "export PATH=\"$PATH:" + slurm.BinDir + "\"\nexport MANPATH=\"${MANPATH-}:" + manual + "\"\n"
	csh := "setenv PATH \"${PATH}:" + slurm.BinDir + "\"\nif ( ! $?MANPATH ) setenv MANPATH \"\"\nsetenv MANPATH \"${MANPATH}:" + manual + "\"\n"
	return errors.Join(
		h.write(dir+"/slurm.sh", 0o644, rootUser, []byte(sh)),
		h.write(dir+"/slurm.csh", 0o644, rootUser, []byte(csh)))
}

// rotated are the logs that logrotate cuts, by node type, and their limits.
func rotation(nodeType string) []byte {
	var b strings.Builder
	b.WriteString("# Logs of the cluster. Each file keeps one older copy.\n")
	for _, f := range logs.Files(nodeType) {
		if !strings.HasPrefix(f.Path, logs.Dir) && !strings.HasPrefix(f.Path, "/var/log/slurm") {
			continue // the distribution's own
		}
		size := "10M"
		if strings.HasSuffix(f.Path, "/clustermgtd") || strings.HasSuffix(f.Path, "slurmctld.log") || strings.HasSuffix(f.Path, "slurm_resume.log") {
			size = "50M"
		}
		fmt.Fprintf(&b, "%s {\n  missingok\n  rotate 1\n  size %s\n  copytruncate\n}\n", f.Path, size)
	}
	return []byte(b.String())
}
