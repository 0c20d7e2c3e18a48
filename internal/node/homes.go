package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"
)

// localHomes is where the default user's home is if it is not to be on /home, which
// nodes share.
const localHomes = "/local/home"

// Keys of the default user, for nodes that don't share its home.
const (
	sharedKeys      = sharedDir + "/authorized_keys"
	sharedLoginKeys = sharedLoginDir + "/authorized_keys"
)

// moveHome takes the default user's home off /home, before something is mounted there.
func (h *Host) moveHome(ctx context.Context, user string) error {
	home, err := h.home(user)
	if err != nil {
		return err
	}
	local := filepath.Join(localHomes, user)
	if home == local {
		return nil
	}
	if err := h.dir(localHomes, 0o755, rootUser); err != nil {
		return err
	}
	if !h.exists(local) {
		// Under another name until it is complete.
		unfinished := filepath.Join(localHomes, "."+user)
		if _, err := h.Run(ctx, "rm", "-rf", h.path(unfinished)); err != nil {
			return err
		}
		if _, err := h.Run(ctx, "cp", "-a", h.path(home), h.path(unfinished)); err != nil {
			return fmt.Errorf("copy the default user's home: %w", err)
		}
		if _, err := h.Run(ctx, "mv", h.path(unfinished), h.path(local)); err != nil {
			return err
		}
	}
	// usermod refuses while the user is logged in, which early birds may be.
	_, err = poll(ctx, time.Second, func() (string, error) {
		out, err := h.Run(ctx, "usermod", "-d", local, user)
		if err != nil {
			_, _ = h.Run(ctx, "loginctl", "terminate-user", user) // fails for those who are not
		}
		return out, err
	})
	return err
}

// shareKeys leaves the keys that let the default user in where nodes with homes of
// their own find them.
func (h *Host) shareKeys(user string) error {
	home, err := h.home(user)
	if err != nil {
		return err
	}
	keys, err := h.read(home + "/.ssh/authorized_keys")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(h.write(sharedKeys, 0o600, rootUser, keys), h.write(sharedLoginKeys, 0o600, rootUser, keys))
}

// takeKeys lets the default user in with the keys of the head node, which may still be
// about to write them.
func (h *Host) takeKeys(ctx context.Context, user, from string) error {
	ctx, cancel := context.WithTimeout(ctx, configWait)
	defer cancel()
	shared, err := poll(ctx, 250*time.Millisecond, func() ([]byte, error) { return h.read(from) })
	if err != nil {
		return fmt.Errorf("keys of the default user: %w", err)
	}
	home, err := h.home(user)
	if err != nil {
		return err
	}
	if err := h.dir(home+"/.ssh", 0o700, owner(user)); err != nil {
		return err
	}
	path := home + "/.ssh/authorized_keys"
	keys, err := h.read(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for line := range bytes.Lines(shared) {
		if line = bytes.TrimSpace(line); len(line) == 0 || bytes.Contains(keys, line) {
			continue
		}
		if n := len(keys); n > 0 && keys[n-1] != '\n' {
			keys = append(keys, '\n')
		}
		keys = append(append(keys, line...), '\n')
	}
	return h.write(path, 0o600, owner(user), keys)
}

// noSudo is read after the files that give sudo to the default user, and the last word
// counts.
const noSudo = "/etc/sudoers.d/99-parallelcluster-revoke-sudo-access"

// restrictSudo takes sudo from the default user, or gives it back.
func (h *Host) restrictSudo(user string, disable bool) error {
	if !disable {
		return h.remove(noSudo)
	}
	return h.write(noSudo, 0o440, rootUser, []byte(user+" ALL=(ALL) !ALL\n"))
}

// Keys by which clients know login nodes. All have the same, since people come by a load
// balancer, and to clients it is one host.
var hostKeys = []string{"ecdsa", "ed25519", "rsa"}

// hostKeysDone says that all of them are there.
const hostKeysDone = sharedLoginDir + "/.login_nodes_keys_sync_file"

func hostKey(dir, kind string) string { return filepath.Join(dir, "ssh_host_"+kind+"_key") }

// makeHostKeys makes the host keys of login nodes, once in the cluster's life.
func (h *Host) makeHostKeys(ctx context.Context) error {
	if h.exists(hostKeysDone) || !h.has("ssh-keygen") {
		return nil
	}
	for _, kind := range hostKeys {
		key := hostKey(sharedLoginDir, kind)
		if h.exists(key) {
			continue
		}
		if _, err := h.Run(ctx, "ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "login node", "-f", h.path(key)); err != nil {
			return err
		}
	}
	return h.write(hostKeysDone, 0o644, rootUser, nil)
}

// takeHostKeys makes this node known to clients by the host keys of all login nodes.
func (h *Host) takeHostKeys(ctx context.Context) error {
	if !h.has("ssh-keygen") {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, configWait)
	defer cancel()
	if _, err := poll(ctx, 250*time.Millisecond, func() ([]byte, error) { return h.read(hostKeysDone) }); err != nil {
		return fmt.Errorf("host keys of the login nodes: %w", err)
	}
	for _, kind := range hostKeys {
		for suffix, mode := range map[string]fs.FileMode{"": 0o600, ".pub": 0o644} {
			key, err := h.read(hostKey(sharedLoginDir, kind) + suffix)
			if err != nil {
				return err
			}
			if err := h.write(hostKey("/etc/ssh", kind)+suffix, mode, rootUser, key); err != nil {
				return err
			}
		}
	}
	return h.systemctl(ctx, "try-reload-or-restart", h.sshUnit())
}
