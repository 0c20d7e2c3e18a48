package node

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"pcluster/internal/slurm"
)

// Program is where the node program is on every node.
const Program = "/opt/parallelcluster/bin/pcluster-node"

// Names of the units that are written here. Users start and stop them by these.
const (
	unitBoot      = "pcluster-boot.service"
	unitLogs      = "pcluster-logs.service"
	unitWatch     = "computemgtd.service"
	unitParting   = "loginmgtd.service"
	unitFleet     = "clustermgtd.service"
	unitSlurmctld = "slurmctld.service"
	unitSlurmd    = "slurmd.service"
	unitSlurmdbd  = "slurmdbd.service"
	unitMunge     = "munge.service"
	unitMetadata  = "parallelcluster-iptables.service"
)

// A unit is a service of systemd.
type unit struct {
	name        string
	description string
	after       string
	condition   string // path that must exist; a ! in front: must not
	command     string
	options     []string // further lines of the section Service
}

func (u unit) content() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "[Unit]\nDescription=%s\nWants=network-online.target\nAfter=%s\n", u.description, u.after)
	if u.condition != "" {
		fmt.Fprintf(&b, "ConditionPathExists=%s\n", u.condition)
	}
	fmt.Fprintf(&b, "\n[Service]\nExecStart=%s\n", u.command)
	for _, o := range u.options {
		b.WriteString(o + "\n")
	}
	b.WriteString("\n[Install]\nWantedBy=multi-user.target\n")
	return []byte(b.String())
}

// slurmEnvironment makes Slurm's programs find their configuration wherever they
// were built to look for it.
const slurmEnvironment = "Environment=SLURM_CONF=" + slurm.ConfDir + "/slurm.conf"

const slurmAfter = "munge.service network-online.target remote-fs.target sssd.service"

// everywhereUnits run on all nodes.
func everywhereUnits() []unit {
	return []unit{{
		// User data runs once in an instance's life. A boot that a crash or a
		// restart of the machine interrupts is finished by this.
		name: unitBoot, description: "Finish the boot of this cluster node", after: "network-online.target cloud-final.service",
		condition: "!" + bootedFile, command: Program + " boot", options: []string{"Type=oneshot", "TimeoutStartSec=infinity"},
	}, {
		name: unitLogs, description: "Ship the cluster's logs to CloudWatch", after: "network-online.target",
		command: Program + " logs", options: []string{"Restart=always", "RestartSec=5", "Nice=10"},
	}}
}

// interactiveUnits run on nodes that users log in to.
func interactiveUnits() []unit {
	return []unit{{
		name: unitMetadata, description: "Keep users from the instance metadata service", after: "local-fs.target",
		condition: metadataRules, command: Program + " imds-access --restore", options: []string{"Type=oneshot", "RemainAfterExit=yes"},
	}}
}

func headUnits() []unit {
	return []unit{{
		name: unitSlurmctld, description: "Slurm controller daemon", after: slurmAfter + " slurmdbd.service",
		condition: slurm.ConfDir + "/slurm.conf", command: slurm.Prefix + "/sbin/slurmctld -D -s $SLURMCTLD_OPTIONS",
		options: []string{
			slurmEnvironment, "EnvironmentFile=-/etc/sysconfig/slurmctld", "ExecReload=/bin/kill -HUP $MAINPID",
			"LimitNOFILE=562930", "LimitMEMLOCK=infinity", "LimitSTACK=infinity", "Restart=on-failure", "RestartSec=2",
		},
	}, {
		name: unitSlurmdbd, description: "Slurm database daemon", after: slurmAfter,
		condition: slurm.ConfDir + "/slurmdbd.conf", command: slurm.Prefix + "/sbin/slurmdbd -D -s $SLURMDBD_OPTIONS",
		options: []string{
			slurmEnvironment, "EnvironmentFile=-/etc/sysconfig/slurmdbd", "ExecReload=/bin/kill -HUP $MAINPID",
			"LimitNOFILE=65536", "Restart=on-failure", "RestartSec=2",
		},
	}, {
		name: unitFleet, description: "Compute fleet of the cluster", after: "slurmctld.service network-online.target",
		command: Program + " fleet", options: []string{slurmEnvironment, "Restart=always", "RestartSec=1"},
	}}
}

func computeUnits() []unit {
	return []unit{{
		name: unitSlurmd, description: "Slurm node daemon", after: slurmAfter,
		condition: slurm.ConfDir + "/slurm.conf", command: slurm.Prefix + "/sbin/slurmd -D -s $SLURMD_OPTIONS",
		options: []string{
			slurmEnvironment, "EnvironmentFile=-/etc/sysconfig/slurmd", "ExecReload=/bin/kill -HUP $MAINPID", "KillMode=process",
			"LimitNOFILE=131072", "LimitMEMLOCK=infinity", "LimitSTACK=infinity", "Delegate=yes", "TasksMax=infinity",
			"Restart=on-failure", "RestartSec=2",
		},
	}, {
		name: unitWatch, description: "Tell the head node how this compute node is", after: "network-online.target",
		command: Program + " computemgtd", options: []string{"Restart=always", "RestartSec=2"},
	}}
}

func loginUnits() []unit {
	return []unit{{
		name: unitParting, description: "Let users go before this login node does", after: "network-online.target remote-fs.target",
		command: Program + " loginmgtd", options: []string{"Restart=on-failure", "RestartSec=5"},
	}}
}

// sshUnit is the name of the SSH server's service, which distributions disagree on.
func (h *Host) sshUnit() string {
	if h.hasUnit("ssh.service") {
		return "ssh.service"
	}
	return "sshd.service"
}

// installUnits writes units, to be started at every boot from now on. systemd reads
// a unit when it first hears of it; only those that it knows in another form make it
// read all of them again, which would be a good part of a node's boot.
func (h *Host) installUnits(ctx context.Context, units []unit) error {
	var known []string
	for _, u := range units {
		path := unitDir + u.name
		if old, err := h.read(path); err == nil && bytes.Equal(old, u.content()) {
			continue
		}
		if h.hasUnit(u.name) {
			known = append(known, u.name)
		}
		if err := h.write(path, 0o644, rootUser, u.content()); err != nil {
			return err
		}
	}
	for _, u := range units {
		if err := h.enable(u.name); err != nil {
			return err
		}
	}
	if len(known) == 0 {
		return nil
	}
	state, err := h.Run(ctx, "systemctl", append([]string{"show", "--property=NeedDaemonReload"}, known...)...)
	if err != nil {
		return err
	}
	if strings.Contains(state, "=yes") {
		return h.systemctl(ctx, "daemon-reload")
	}
	return nil
}

const unitDir = "/etc/systemd/system/"

// enable has a unit started at every boot, as systemctl enable does, but without
// making systemd read all units again.
func (h *Host) enable(unit string) error {
	for _, dir := range unitDirs {
		if h.exists(dir + unit) {
			return h.link(dir+unit, unitDir+"multi-user.target.wants/"+unit)
		}
	}
	return fmt.Errorf("systemd has no unit %s", unit)
}

// start starts a unit now and at every boot. One that runs is started anew.
func (h *Host) start(ctx context.Context, unit string) error {
	if err := h.enable(unit); err != nil {
		return err
	}
	err := h.systemctl(ctx, "restart", unit)
	if err != nil && ctx.Err() == nil {
		// systemd only says where to look.
		if said, e := h.Run(ctx, "journalctl", "--unit="+unit, "--lines=8", "--output=cat", "--no-pager"); e == nil {
			return fmt.Errorf("%s does not start: %s", unit, strings.TrimSpace(said))
		}
	}
	return err
}

// unitDirs are where systemd looks for units, the first one first.
var unitDirs = []string{unitDir, "/run/systemd/system/", "/usr/lib/systemd/system/", "/lib/systemd/system/"}

// hasUnit says whether systemd knows a unit.
func (h *Host) hasUnit(unit string) bool {
	for _, dir := range unitDirs {
		if h.exists(dir + unit) {
			return true
		}
	}
	return false
}
