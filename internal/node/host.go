package node

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A Host is the machine that the steps change.
type Host struct {
	Root string // in front of every path; empty but in tests
	// Run runs a program and returns what it printed.
	Run func(ctx context.Context, name string, args ...string) (string, error)
}

// ThisHost is the machine that the program runs on.
func ThisHost() *Host { return &Host{Run: run} }

// commandTimeout ends commands of the system that hang.
const commandTimeout = 2 * time.Minute

func run(ctx context.Context, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = time.Second
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err == nil || errors.Is(err, exec.ErrWaitDelay) {
		return string(out), nil
	}
	said := strings.TrimSpace(stderr.String())
	if said == "" {
		said = strings.TrimSpace(string(out))
	}
	if said != "" {
		err = fmt.Errorf("%w: %s", err, said)
	}
	return string(out), fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
}

func (h *Host) path(p string) string { return filepath.Join(h.Root, p) }

func (h *Host) exists(p string) bool {
	_, err := os.Stat(h.path(p))
	return err == nil
}

func (h *Host) read(p string) ([]byte, error) { return os.ReadFile(h.path(p)) }

// An owner is a user by name, whose group has the same name.
type owner string

// The owners of files.
const (
	rootUser  owner = "root"
	adminUser owner = "pcluster-admin"
	slurmUser owner = "slurm"
	mungeUser owner = "munge"
)

// write replaces a file as a whole, and makes its directory.
func (h *Host) write(p string, mode fs.FileMode, who owner, content []byte) error {
	target := h.path(p)
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(target), ".pcluster-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // fails once it is renamed
	_, err = tmp.Write(content)
	err = errors.Join(err, tmp.Chmod(mode), tmp.Close())
	if err == nil {
		err = h.chown(tmp.Name(), who)
	}
	if err == nil {
		err = os.Rename(tmp.Name(), target)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", p, err)
	}
	return nil
}

// remove deletes a file that need not be there.
func (h *Host) remove(p string) error {
	err := os.Remove(h.path(p))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// writeOnce writes a file unless there is one: users may have changed it since.
func (h *Host) writeOnce(p string, mode fs.FileMode, who owner, content []byte) error {
	if h.exists(p) {
		return nil
	}
	return h.write(p, mode, who, content)
}

// dir makes a directory with that mode and owner, also if it exists.
func (h *Host) dir(p string, mode fs.FileMode, who owner) error {
	if err := os.MkdirAll(h.path(p), 0o755); err != nil {
		return err
	}
	if err := os.Chmod(h.path(p), mode); err != nil {
		return err
	}
	return h.chown(h.path(p), who)
}

// touch makes an empty file, or gives an existing one mode and owner.
func (h *Host) touch(p string, mode fs.FileMode, who owner) error {
	if err := os.MkdirAll(filepath.Dir(h.path(p)), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(h.path(p), os.O_CREATE|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	return errors.Join(f.Chmod(mode), f.Close(), h.chown(h.path(p), who))
}

// link makes a symbolic link, in place of another one but not of anything else.
func (h *Host) link(target, p string) error {
	full := h.path(p)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return err
	}
	if old, err := os.Readlink(full); err == nil {
		if old == target {
			return nil
		}
		if err := os.Remove(full); err != nil {
			return err
		}
	}
	return os.Symlink(target, full)
}

// chown gives a file, by its real path, to a user. In tests nobody owns anything.
func (h *Host) chown(real string, who owner) error {
	if h.Root != "" || who == rootUser {
		return nil
	}
	uid, gid, err := h.ids(string(who))
	if err != nil {
		return err
	}
	return os.Chown(real, uid, gid)
}

// ids returns the numbers of a user of this machine and of its group.
func (h *Host) ids(user string) (uid, gid int, err error) {
	entry, err := h.entry("/etc/passwd", user)
	if err != nil {
		return 0, 0, err
	}
	if len(entry) < 4 {
		return 0, 0, fmt.Errorf("no user %s", user)
	}
	uid, err = strconv.Atoi(entry[2])
	if err == nil {
		gid, err = strconv.Atoi(entry[3])
	}
	return uid, gid, err
}

// entry returns the fields of a line of /etc/passwd or /etc/group, or nothing.
func (h *Host) entry(file, name string) ([]string, error) {
	f, err := os.Open(h.path(file))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if fields := strings.Split(lines.Text(), ":"); fields[0] == name {
			return fields, nil
		}
	}
	return nil, lines.Err()
}

// has says whether a program is installed.
func (h *Host) has(program string) bool {
	for _, dir := range []string{"/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin"} {
		if h.exists(filepath.Join(dir, program)) {
			return true
		}
	}
	return false
}

func (h *Host) systemctl(ctx context.Context, args ...string) error {
	_, err := h.Run(ctx, "systemctl", args...)
	return err
}
