//go:build linux

package machine

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// hostLimits are settings of the host that are too low for many machines: each
// systemd takes several inotify instances, each peer of each machine an entry in
// the neighbour table, which all namespaces share.
var hostLimits = map[string]int{
	"fs/inotify/max_user_instances":     8192,
	"fs/inotify/max_user_watches":       524288,
	"net/ipv4/neigh/default/gc_thresh2": 32768,
	"net/ipv4/neigh/default/gc_thresh3": 65536,
	"kernel/pty/max":                    8192,
}

// limitsFile records what the host had before.
const limitsFile = "host-limits.json"

// raiseLimits raises the host's limits where they are lower, and remembers what
// they were before the first time.
func (m *Manager) raiseLimits() error {
	path := filepath.Join(m.cfg.Dir, limitsFile)
	before, err := readLimits(path)
	if err != nil {
		return err
	}
	raise := map[string]int{}
	for name, want := range hostLimits {
		have, err := readSysctl(name)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
			continue
		}
		if err != nil {
			return err
		}
		if have >= want {
			continue
		}
		if _, known := before[name]; !known {
			before[name] = have
		}
		raise[name] = want
	}
	if len(raise) == 0 {
		return nil
	}
	data, err := json.Marshal(before)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return err
	}
	for name, want := range raise {
		if err := writeSysctl(name, want); err != nil {
			m.log.Warn("can't raise a limit of the host", "name", name, "err", err)
		}
	}
	return nil
}

// restoreLimits undoes raiseLimits, except where somebody else has changed the
// setting since.
func (m *Manager) restoreLimits() error {
	path := filepath.Join(m.cfg.Dir, limitsFile)
	before, err := readLimits(path)
	if err != nil {
		return err
	}
	var errs []error
	for name, value := range before {
		if have, err := readSysctl(name); err == nil && have == hostLimits[name] {
			errs = append(errs, writeSysctl(name, value))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func readLimits(path string) (map[string]int, error) {
	values := map[string]int{}
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return values, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &values); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return values, nil
}

func readSysctl(name string) (int, error) {
	data, err := os.ReadFile("/proc/sys/" + name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(data)))
}

func writeSysctl(name string, value int) error {
	return os.WriteFile("/proc/sys/"+name, []byte(strconv.Itoa(value)), 0)
}

// endOf guesses when a machine ended that nobody watched.
func endOf(in *instance) time.Time {
	if st, err := os.Stat(in.path(exitFile)); err == nil {
		return st.ModTime()
	}
	return time.Now()
}
