//go:build linux

package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// scopes is the driver for hosts where systemd manages a unified cgroup tree:
// each machine is a transient scope unit, whose subtree is delegated to it.
type scopes struct{ name, mount string }

// slice holds the machines of all regions of the host.
const slice = "pcluster.slice"

// unit keeps name and ID apart with what neither contains.
func (s *scopes) unit(id string) string { return s.name + "_" + id + ".scope" }

func (s *scopes) paths(id string) []string {
	return []string{filepath.Join(s.mount, slice, s.unit(id))}
}

func (s *scopes) prepare(id string, l limits) (procs, prefix, env []string, err error) {
	prefix = []string{
		"systemd-run", "--quiet", "--scope", "--collect", "--slice=" + slice, "--unit=" + s.unit(id),
		"--property=Delegate=yes", "--property=TasksMax=infinity", "--property=KillMode=mixed",
	}
	if l.memory > 0 {
		prefix = append(prefix, fmt.Sprintf("--property=MemoryMax=%d", l.memory))
	}
	if l.cpus > 0 {
		prefix = append(prefix, fmt.Sprintf("--property=CPUQuota=%d%%", l.cpus*100))
	}
	return nil, append(prefix, "--"), nil, nil
}

func (s *scopes) allowDevice(string, uint32, uint32) error { return nil } // scopes do not guard devices

func (s *scopes) known() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(s.mount, slice))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, e := range entries {
		id, mine := strings.CutPrefix(strings.TrimSuffix(e.Name(), ".scope"), s.name+"_")
		if mine && e.IsDir() {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// removeRoot stops the slice if no region has a machine in it.
func (s *scopes) removeRoot() error {
	entries, err := os.ReadDir(filepath.Join(s.mount, slice))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			return nil
		}
	}
	if out, err := exec.Command("systemctl", "stop", slice).CombinedOutput(); err != nil {
		return fmt.Errorf("systemctl stop %s: %w: %s", slice, err, strings.TrimSpace(string(out)))
	}
	return nil
}
