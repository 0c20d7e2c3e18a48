//go:build linux

package image

import (
	"context"
	"embed"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// files is the tree of settings, as it lies in the machines.
//
//go:embed all:files
var files embed.FS

// masked units have no use in a machine, or would cost each boot what the image
// can do once. Several look harmless, but 8 machines that boot on 2 cores pay for
// each process eightfold.
var masked = []string{
	"getty@.service", "getty-static.service", "console-getty.service", "container-getty@.service", "serial-getty@.service",
	"systemd-udevd.service", "systemd-udev-trigger.service", "systemd-udevd-control.socket", "systemd-udevd-kernel.socket",
	"systemd-hwdb-update.service", "systemd-journal-catalog-update.service", "ldconfig.service", "systemd-update-done.service",
	"systemd-firstboot.service", "systemd-machine-id-commit.service", "systemd-random-seed.service", "systemd-sysusers.service",
	"systemd-journal-flush.service", "systemd-binfmt.service", "systemd-modules-load.service", "kmod-static-nodes.service",
	"systemd-hibernate-clear.service", "systemd-battery-check.service", "systemd-pstore.service", "systemd-sysctl.service",
	"systemd-pcrphase.service", "systemd-pcrphase-sysinit.service", "systemd-pcrmachine.service",
	"systemd-tpm2-setup.service", "systemd-tpm2-setup-early.service", "systemd-pcrextend.socket", "systemd-pcrlock.socket",
	"systemd-creds.socket", "systemd-sysext.socket", "systemd-mountfsd.socket", "systemd-nsresourced.socket", "systemd-bootctl.socket",
	"systemd-tmpfiles-clean.timer", "systemd-ask-password-console.path", "systemd-ask-password-wall.path",
	"dev-hugepages.mount", "tmp.mount", "proc-sys-fs-binfmt_misc.automount",
	"sys-fs-fuse-connections.mount", "sys-kernel-config.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount",
	"systemd-tmpfiles-setup-dev.service", "systemd-tmpfiles-setup-dev-early.service", "systemd-remount-fs.service", "run-lock.mount",
	"e2scrub_reap.service", "sshd-keygen.service", "systemd-networkd-wait-online.service",
}

// wanted units start at boot. D-Bus and systemd-logind are not among them: who
// needs them starts them, as a log-in does.
var wanted = map[string][]string{
	"multi-user.target": {"ssh.service", "cron.service", "remote-fs.target", "cloud-init.target"},
	"cloud-init.target": {
		"cloud-init-main.service", "cloud-init-local.service", "cloud-init-network.service", "cloud-config.service", "cloud-final.service",
	},
}

// unwanted are units that others pull in from Debian's own directories.
var unwanted = map[string][]string{
	"multi-user.target": {"dbus.service", "systemd-logind.service", "getty.target", "systemd-ask-password-wall.path"},
}

// links are the other symbolic links of the settings.
var links = map[string]string{
	"/etc/systemd/system/default.target":                                "/usr/lib/systemd/system/multi-user.target",
	"/etc/systemd/system-generators/cloud-init-generator":               "/dev/null", // would look for a platform; the settings name it
	"/etc/systemd/system-generators/systemd-gpt-auto-generator":         "/dev/null",
	"/etc/systemd/system-generators/systemd-ssh-generator":              "/dev/null",
	"/etc/systemd/system-generators/systemd-cryptsetup-generator":       "/dev/null",
	"/etc/systemd/system-generators/systemd-hibernate-resume-generator": "/dev/null",
	"/etc/systemd/system-generators/systemd-integritysetup-generator":   "/dev/null",
	"/etc/systemd/system-generators/systemd-veritysetup-generator":      "/dev/null",
	"/etc/systemd/system-generators/systemd-tpm2-generator":             "/dev/null",
	"/etc/systemd/system-generators/systemd-rc-local-generator":         "/dev/null",
	"/etc/systemd/system-generators/systemd-debug-generator":            "/dev/null",
	"/etc/systemd/system-generators/systemd-bless-boot-generator":       "/dev/null",
	"/etc/systemd/system-generators/systemd-getty-generator":            "/dev/null",
	"/etc/systemd/system-generators/systemd-system-update-generator":    "/dev/null",
	"/etc/systemd/system/nfs-kernel-server.service":                     "nfs-server.service",
	// An imported system's cloud-init would ask it for an address, and wait a minute for an answer.
	"/usr/sbin/dhclient":     "/nonexistent",
	"/usr/sbin/mount.nfs4":   "mount.nfs",
	"/usr/sbin/mount.efs":    "mount.nfs",
	"/usr/sbin/mount.lustre": "mount.nfs",
}

// settings is the recipe of the layer that makes Debian an image of this region.
func settings() recipe {
	r := recipe{name: "settings", build: func(_ context.Context, dir string, _ io.Writer) error { return writeSettings(dir) }}
	tree := allLinks()
	for _, target := range slices.Sorted(maps.Keys(tree)) {
		r.ingredients = append(r.ingredients, target, tree[target])
	}
	_ = fs.WalkDir(files, ".", func(path string, e fs.DirEntry, err error) error { // an embedded tree can't fail
		if err == nil && !e.IsDir() {
			data, _ := files.ReadFile(path)
			r.ingredients = append(r.ingredients, path, string(data))
		}
		return err
	})
	return r
}

// allLinks returns the symbolic links of the settings: path to target.
func allLinks() map[string]string {
	const units = "/etc/systemd/system/"
	all := map[string]string{}
	for path, target := range links {
		all[path] = target
	}
	for _, unit := range masked {
		all[units+unit] = "/dev/null"
	}
	for target, list := range wanted {
		for _, unit := range list {
			all[units+target+".wants/"+unit] = "/usr/lib/systemd/system/" + unit
		}
	}
	for target, list := range unwanted {
		for _, unit := range list {
			all[units+target+".wants/"+unit] = "/dev/null"
		}
	}
	return all
}

func writeSettings(dir string) error {
	tree, err := fs.Sub(files, "files")
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := copyTree(dir, tree); err != nil {
		return err
	}
	for path, target := range allLinks() {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.Symlink(target, path); err != nil {
			return err
		}
	}
	// Directories of a layer give their mode to the merged tree.
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return err
		}
		return os.Chmod(path, 0o755)
	})
}
