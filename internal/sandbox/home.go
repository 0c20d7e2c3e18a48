//go:build linux

package sandbox

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// DefaultHome is where a region keeps its state unless told otherwise.
const DefaultHome = "/var/lib/pcluster/sandbox"

// DefaultCache holds the machines' base images, shared by all regions of a host.
const DefaultCache = "/var/cache/pcluster/images"

// DefaultPort is the loopback port of a region's AWS endpoint.
const DefaultPort = 4566

// A Home is the folder of one region.
type Home string

func (h Home) path(elem ...string) string {
	return filepath.Join(append([]string{string(h)}, elem...)...)
}

// Control is the socket on which the daemon takes orders.
func (h Home) Control() string { return h.path("control.sock") }

// Log is the daemon's log file.
func (h Home) Log() string { return h.path("daemon.log") }

// CABundle is the file of certificates that clients of the region trust: the
// host's own and the region's.
func (h Home) CABundle() string { return h.path("ca-bundle.pem") }

// Namespace is the name of the region's network namespace. The default home has
// the plain name, others one derived from their path, so that regions of one
// host do not meet.
func (h Home) Namespace() string {
	if h == DefaultHome {
		return "pcluster"
	}
	sum := sha256.Sum256([]byte(h))
	return "pcluster-" + hex.EncodeToString(sum[:4])
}

// Settings are what `sandbox up` fixed for a region: they stay until it is
// destroyed.
type Settings struct {
	Port      int    `json:"port"`
	Region    string `json:"region,omitempty"` // as given at first; what adopting decided is in the tables
	Account   string `json:"account,omitempty"`
	Cache     string `json:"cache"`
	Record    string `json:"record,omitempty"`   // file that gets what callers asked permission for; empty: none
	Internet  bool   `json:"internet,omitempty"` // machines reach whatever this host does
	SSHConfig bool   `json:"ssh_config"`         // keep a file in /etc/ssh/ssh_config.d for the region's addresses
}

// Settings reads the region's settings; ok is false where no region is.
func (h Home) Settings() (s Settings, ok bool, err error) {
	data, err := os.ReadFile(h.path("settings.json"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s, false, nil
	case err != nil:
		return s, false, err
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, false, fmt.Errorf("read %s: %w", h.path("settings.json"), err)
	}
	return s, true, nil
}

// Init makes the folder and writes the settings.
func (h Home) Init(s Settings) error {
	if err := os.MkdirAll(string(h), 0o711); err != nil {
		return err
	}
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(h.path("settings.json"), append(data, '\n'), 0o644)
}

// errRunning says that another process holds the region.
var errRunning = errors.New("another process works on this region")

// lock takes the region for this process until the returned file is closed.
func (h Home) lock() (*os.File, error) {
	f, err := os.OpenFile(h.path("daemon.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errRunning
		}
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return f, nil
}
