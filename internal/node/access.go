package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// home returns the home directory of a user of this machine.
func (h *Host) home(user string) (string, error) {
	entry, err := h.entry("/etc/passwd", user)
	if err != nil {
		return "", err
	}
	if len(entry) < 6 {
		return "", fmt.Errorf("no user %s", user)
	}
	return entry[5], nil
}

// linkNodes lets the default user go from node to node: with a key of the cluster's
// own, and without questions about host keys in the VPC.
func (h *Host) linkNodes(ctx context.Context, user string) error {
	home, err := h.home(user)
	if err != nil {
		return err
	}
	if !h.has("ssh-keygen") {
		return nil
	}
	dir := home + "/.ssh"
	if err := h.dir(dir, 0o700, owner(user)); err != nil {
		return err
	}
	key := dir + "/id_ed25519"
	if !h.exists(key) {
		if _, err := h.Run(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", user+"@cluster", "-f", h.path(key)); err != nil {
			return err
		}
	}
	public, err := h.read(key + ".pub")
	if err != nil {
		return err
	}
	allowed, err := h.read(dir + "/authorized_keys")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !strings.Contains(string(allowed), strings.TrimSpace(string(public))) {
		if n := len(allowed); n > 0 && allowed[n-1] != '\n' {
			allowed = append(allowed, '\n')
		}
		if err := h.write(dir+"/authorized_keys", 0o600, owner(user), append(allowed, public...)); err != nil {
			return err
		}
	}
	if err := h.write(dir+"/authorized_keys_cluster", 0o600, owner(user), public); err != nil {
		return err
	}
	for _, f := range []string{key, key + ".pub"} {
		if err := h.chown(h.path(f), owner(user)); err != nil {
			return err
		}
	}
	return nil
}

// sshdSetting changes the SSH server's configuration. The line goes to the top: the
// first setting counts, and at the end it might belong to a Match block.
func (h *Host) sshdSetting(ctx context.Context, line string) error {
	const file = "/etc/ssh/sshd_config"
	old, err := h.read(file)
	if err != nil {
		return err
	}
	for have := range strings.Lines(string(old)) {
		if have == line+"\n" {
			return nil
		}
	}
	if err := h.write(file, 0o600, rootUser, append([]byte(line+"\n"), old...)); err != nil {
		return err
	}
	return h.systemctl(ctx, "try-reload-or-restart", h.sshUnit())
}

// sshClient spares users the question whether they trust a host of the VPC: nodes
// come and go, and addresses are used again.
func (h *Host) sshClient(blocks []string) error {
	dir := "/etc/ssh/ssh_config.d"
	if !h.exists(dir) {
		return nil
	}
	var hosts []string
	for _, b := range blocks {
		hosts = append(hosts, patterns(b)...)
	}
	if len(hosts) == 0 {
		return nil
	}
	content := "# Hosts of the cluster's VPC\nMatch exec \"/usr/bin/ssh_target_checker.sh %h\"\n" +
		"  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n"
	checker := "#!/bin/sh\n# Succeeds if a host's address is in the VPC.\n" +
		"address=$(getent ahostsv4 \"$1\" | awk '{print $1; exit}')\ncase \"$address\" in\n  " +
		strings.Join(hosts, "|") + ") exit 0 ;;\nesac\nexit 1\n"
	if err := h.write("/usr/bin/ssh_target_checker.sh", 0o755, rootUser, []byte(checker)); err != nil {
		return err
	}
	return h.write(filepath.Join(dir, "25-pcluster.conf"), 0o644, rootUser, []byte(content))
}

// patterns returns shell patterns that match the addresses of a block.
func patterns(block string) []string {
	prefix, err := netip.ParsePrefix(block)
	if err != nil || !prefix.Addr().Is4() {
		return nil
	}
	a := prefix.Masked().Addr().As4()
	whole := prefix.Bits() / 8
	var parts []string
	for i := range whole {
		parts = append(parts, fmt.Sprint(a[i]))
	}
	if whole == 4 {
		return []string{strings.Join(parts, ".")}
	}
	free := 8 - prefix.Bits()%8
	if free == 8 {
		return []string{strings.Join(append(parts, "*"), ".")}
	}
	var out []string
	for i := range 1 << free {
		p := append(append([]string(nil), parts...), fmt.Sprint(int(a[whole])+i))
		if whole < 3 {
			p = append(p, "*")
		}
		out = append(out, strings.Join(p, "."))
	}
	return out
}

// ephemeral makes one file system of the instance's own disks, if it has any.
func (h *Host) ephemeral(ctx context.Context, mountDir string) error {
	disks, err := filepath.Glob(h.path("/dev/disk/by-id/nvme-Amazon_EC2_NVMe_Instance_Storage*"))
	if err != nil {
		return err
	}
	devices := make(map[string]bool)
	for _, d := range disks {
		real, err := filepath.EvalSymlinks(d)
		if err != nil {
			return err
		}
		devices[real] = true
	}
	if len(devices) == 0 {
		return nil
	}
	const volume = "/dev/mapper/vg.01-lv_ephemeral"
	if _, err := os.Stat(h.path(volume)); err != nil {
		create := []string{"vg.01"}
		for d := range devices {
			if _, err := h.Run(ctx, "pvcreate", "-y", d); err != nil {
				return fmt.Errorf("ephemeral volume: %w", err)
			}
			create = append(create, d)
		}
		if _, err := h.Run(ctx, "vgcreate", create...); err != nil {
			return fmt.Errorf("ephemeral volume: %w", err)
		}
		if _, err := h.Run(ctx, "lvcreate", "-y", "-i", fmt.Sprint(len(devices)), "-I", "64", "-l", "100%FREE", "-n", "lv_ephemeral", "vg.01"); err != nil {
			return fmt.Errorf("ephemeral volume: %w", err)
		}
		if _, err := h.Run(ctx, "mkfs.ext4", "-q", volume); err != nil {
			return fmt.Errorf("ephemeral volume: %w", err)
		}
	}
	if err := h.dir(mountDir, 0o755, rootUser); err != nil {
		return err
	}
	if _, err := h.Run(ctx, "mountpoint", "-q", mountDir); err != nil {
		if _, err := h.Run(ctx, "mount", "-o", "noatime,nodiratime", volume, mountDir); err != nil {
			return fmt.Errorf("ephemeral volume: %w", err)
		}
	}
	return h.dir(mountDir, 0o777|os.ModeSticky, rootUser)
}
