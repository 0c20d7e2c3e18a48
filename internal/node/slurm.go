package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"pcluster/internal/config"
	"pcluster/internal/fleet"
	"pcluster/internal/node/actions"
	"pcluster/internal/slurm"
)

// slurmTree makes /opt/slurm out of the distribution's Slurm, if the image has no
// Slurm there.
func (h *Host) slurmTree() error {
	if h.exists(slurm.Prefix + "/sbin/slurmctld") {
		return nil
	}
	if !h.exists("/usr/sbin/slurmctld") {
		return errors.New("the image has no Slurm: there is neither " + slurm.Prefix + "/sbin/slurmctld nor /usr/sbin/slurmctld")
	}
	for _, dir := range []string{"bin", "sbin"} {
		if err := h.linkPrograms("/usr/"+dir, slurm.Prefix+"/"+dir); err != nil {
			return err
		}
	}
	if err := h.dir(slurm.ConfDir, 0o755, rootUser); err != nil {
		return err
	}
	if !h.exists("/etc/slurm/slurm.conf") {
		// Where the distribution's programs look, for users who call them.
		if err := os.RemoveAll(h.path("/etc/slurm")); err != nil {
			return err
		}
		return h.link(slurm.ConfDir, "/etc/slurm")
	}
	return nil
}

// checkSlurm says if the image has a Slurm that is too old for clusters, of which users
// would hear in the words of a daemon that does not know its configuration. What says
// nothing of its release may be somebody's own.
func (h *Host) checkSlurm(ctx context.Context, daemon string) error {
	said, err := h.Run(ctx, slurm.Prefix+"/sbin/"+daemon, "-V")
	if err != nil {
		return fmt.Errorf("the image's Slurm does not run: %w", err)
	}
	if r, ok := slurm.ReleaseOf(said); ok && r.Before(slurm.OldestRelease) {
		return fmt.Errorf("the image has %s, and clusters need Slurm %s or later: take an image that build-image has made", strings.TrimSpace(said), slurm.OldestRelease)
	}
	return nil
}

// slurmPrograms are the names, or beginnings of names, of Slurm's programs.
var slurmPrograms = []string{"slurm", "sacct", "salloc", "sattach", "sbatch", "sbcast", "scancel", "scontrol", "scrontab", "sdiag", "sh5util", "sinfo", "sprio", "squeue", "sreport", "srun", "sshare", "sstat", "strigger", "sview"}

func (h *Host) linkPrograms(from, to string) error {
	entries, err := os.ReadDir(h.path(from))
	if err != nil {
		return err
	}
	for _, e := range entries {
		for _, p := range slurmPrograms {
			if strings.HasPrefix(e.Name(), p) {
				if err := h.link(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
					return err
				}
				break
			}
		}
	}
	return nil
}

// configureSlurm writes Slurm's configuration, and ours about it.
func (h *Host) configureSlurm(c *config.Cluster, f slurm.Facts) error {
	if err := h.dir(pluginShare, 0o755, adminUser); err != nil {
		return err
	}
	for _, file := range slurm.Render(c, f) {
		write := h.write
		if file.Keep {
			write = h.writeOnce
		}
		who := rootUser
		if file.Slurm {
			who = slurmUser
		}
		if err := write(filepath.Join(slurm.ConfDir, file.Path), file.Mode, who, file.Content); err != nil {
			return err
		}
	}
	if err := h.jobScripts(); err != nil {
		return err
	}
	for _, d := range []string{slurm.StateDir, slurm.SpoolDir} {
		if err := h.dir(d, 0o700, slurmUser); err != nil {
			return err
		}
	}
	for _, log := range []string{"/var/log/slurmctld.log", "/var/log/slurmdbd.log"} {
		if err := h.touch(log, 0o640, slurmUser); err != nil {
			return err
		}
	}
	if err := h.shellSettings(slurm.ConfDir); err != nil {
		return err
	}
	if err := h.write(fleetConfig, 0o644, rootUser, slurm.FleetConfig(c).JSON()); err != nil {
		return err
	}
	return errors.Join(
		h.writeOnce(fleetSettings, 0o644, rootUser, []byte(settingsTemplate)),
		h.writeOnce(nodeSettings, 0o644, rootUser, []byte(nodeSettingsTemplate)))
}

// jobScripts makes the directories whose programs run around every job. Slurm wants
// to find a program in each, and users add theirs.
func (h *Host) jobScripts() error {
	for _, s := range []struct{ kind, name, content string }{
		// Nodes without GPUs, most of them, don't pay for the check's start. Slurm gives
		// prologs no PATH.
		{"prolog.d", healthCheckName, "#!/bin/sh\n[ -e /dev/nvidiactl ] || exit 0\n" +
			"export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nexec " + Program + " health-check\n"},
		{"epilog.d", "90_pcluster_noop", "#!/bin/sh\n# Slurm complains about an empty directory.\nexit 0\n"},
	} {
		script := pluginShare + "/scripts/" + s.kind + "/" + s.name
		if err := h.write(script, 0o755, rootUser, []byte(s.content)); err != nil {
			return err
		}
		if err := h.dir(slurm.ConfDir+"/scripts/"+s.kind, 0o755, rootUser); err != nil {
			return err
		}
		if err := h.link(script, slurm.ConfDir+"/scripts/"+s.kind+"/"+s.name); err != nil {
			return err
		}
	}
	return nil
}

// fleetPrograms are what slurmctld starts, by the operation of the fleet daemon that
// each stands for. All are this program, which looks at the name it was called by.
var fleetPrograms = map[string]string{
	"slurm_resume":           fleet.OpResume,
	"slurm_suspend":          fleet.OpSuspend,
	"slurm_resume_failed":    fleet.OpResumeFailed,
	"slurm_prolog_slurmctld": fleet.OpJobReady,
}

func (h *Host) installFleetPrograms() error {
	for name := range fleetPrograms {
		if err := h.link(Program, slurm.ProgramDir+"/"+name); err != nil {
			return err
		}
	}
	for path, script := range map[string]string{
		"/usr/local/bin/get-compute-fleet-status.sh":            "exec " + Program + " fleet-status\n",
		"/usr/local/bin/pcluster-why":                           "exec " + Program + " why \"$@\"\n",
		"/usr/local/bin/update-compute-fleet-status.sh":         "exec " + Program + " fleet-status \"$@\"\n",
		slurm.ProgramDir + "/update_slurm_database_password.sh": "exec " + Program + " update-database-password\n",
		slurm.ProgramDir + "/update_munge_key.sh":               "exec " + Program + " update-munge-key \"$@\"\n",
		slurm.ProgramDir + "/check_login_nodes_stopped.sh":      "exec " + Program + " login-nodes-stopped\n",
	} {
		mode := os.FileMode(0o755)
		if strings.HasPrefix(path, slurm.ProgramDir) {
			mode = 0o700
		}
		if err := h.write(path, mode, rootUser, []byte("#!/bin/sh\n"+script)); err != nil {
			return err
		}
	}
	return nil
}

// includeCustomSettings puts the user's file of Slurm settings into its place.
func (h *Host) includeCustomSettings(ctx context.Context, open *actions.Runner, url string) error {
	if url == "" {
		return nil
	}
	body, err := open.Open(ctx, url)
	if err != nil {
		return fmt.Errorf("CustomSlurmSettingsIncludeFile %s: %w", url, err)
	}
	defer body.Close()
	content, err := io.ReadAll(io.LimitReader(body, 1<<20))
	if err != nil {
		return fmt.Errorf("CustomSlurmSettingsIncludeFile %s: %w", url, err)
	}
	return h.write(slurm.ConfDir+"/"+slurm.IncludeFile, 0o644, rootUser, content)
}

// Waits for Slurm's daemons, which take seconds, and more if their database is new.
const (
	slurmctldWait = 2 * time.Minute
	slurmdbdWait  = 5 * time.Minute
	daemonPoll    = 100 * time.Millisecond
)

// startDatabaseDaemon runs slurmdbd and registers the cluster with it.
func (h *Host) startDatabaseDaemon(ctx context.Context, c *slurm.Client, cluster string, admins ...string) error {
	if err := h.start(ctx, unitSlurmdbd); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, slurmdbdWait)
	defer cancel()
	_, err := poll(ctx, 2*daemonPoll, func() (struct{}, error) { return struct{}{}, c.AccountingAnswers(ctx) })
	if err != nil {
		return fmt.Errorf("slurmdbd does not answer: %w%s", err, h.lastLines("/var/log/slurmdbd.log"))
	}
	return c.EnsureAccounting(ctx, cluster, admins...)
}

// startController runs slurmctld and waits until it answers.
func (h *Host) startController(ctx context.Context, c *slurm.Client) error {
	if err := h.start(ctx, unitSlurmctld); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, slurmctldWait)
	defer cancel()
	_, err := poll(ctx, daemonPoll, func() (struct{}, error) { return struct{}{}, c.Ping(ctx) })
	if err != nil {
		return fmt.Errorf("slurmctld does not answer: %w%s", err, h.lastLines("/var/log/slurmctld.log"))
	}
	return nil
}

// lastLines returns the end of a log as part of a message, or nothing.
func (h *Host) lastLines(path string) string {
	data, err := h.read(path)
	if err != nil || len(data) == 0 {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return fmt.Sprintf("; %s ends with:\n%s", path, strings.Join(lines[max(0, len(lines)-8):], "\n"))
}

// startNodeDaemon runs slurmd under a node's name. The first time it tells slurmctld
// that the node has just booted, which it has; otherwise slurmctld compares clocks
// in whole seconds, and waits for a boot that it may have missed.
func (h *Host) startNodeDaemon(ctx context.Context, name string, self *Identity) error {
	if err := h.checkSlurm(ctx, "slurmd"); err != nil {
		return err
	}
	options := "-N " + name
	if help, err := h.Run(ctx, "sh", "-c", slurm.Prefix+"/sbin/slurmd -h 2>&1"); err == nil && strings.Contains(help, "--instance-id") {
		options += " --instance-id=" + self.InstanceID + " --instance-type=" + self.InstanceType
	}
	write := func(options string) error {
		return h.write("/etc/sysconfig/slurmd", 0o644, rootUser, []byte("SLURMD_OPTIONS='"+options+"'\n"))
	}
	if err := write(options + " -b"); err != nil {
		return err
	}
	if err := h.start(ctx, unitSlurmd); err != nil {
		return err
	}
	if err := write(options); err != nil {
		return err
	}
	// It ends at once if its configuration is wrong.
	for range 3 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * daemonPoll):
		}
		if err := h.systemctl(ctx, "is-active", "--quiet", unitSlurmd); err != nil {
			return fmt.Errorf("slurmd does not run%s", h.lastLines("/var/log/slurmd.log"))
		}
	}
	return nil
}
