//go:build linux

package machine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"pcluster/internal/sandbox/vpc"
)

// Errors that callers tell apart.
var (
	ErrRunning    = errors.New("machine is running")
	ErrNotRunning = errors.New("machine is not running")
	ErrUnknown    = errors.New("no such machine")
	ErrInUse      = errors.New("device is in use by the machine")
)

// A Config is what [New] needs to know.
type Config struct {
	Name    string       // of the region on this host; machines' cgroups lie below this name
	Dir     string       // disks and state of machines; not on an overlay itself
	Network *vpc.Network // where interfaces are attached
	CA      []byte       // certificates in PEM that machines trust; may be empty
	OnExit  func(Exit)   // called once for each machine that ended, in no particular order
	Log     *slog.Logger // nil: slog.Default()

	// StopTimeout is how long a machine may take to shut down; 0: 20 seconds.
	StopTimeout time.Duration
}

// A Manager runs the machines of one region. Its methods may be called
// concurrently, those for one machine wait for each other.
type Manager struct {
	cfg     Config
	log     *slog.Logger
	cgroups cgroupDriver

	mu        sync.Mutex
	machines  map[string]*instance
	unlimited string // why root disks have no limit
}

// An instance is one machine that the manager knows, running or not.
type instance struct {
	id, dir string
	cgroups []string // its directory in each hierarchy

	op sync.Mutex // held during an operation; guards rec

	rec record

	mu    sync.Mutex
	end   chan struct{} // closed when the machine's end is dealt with; nil when it does not run
	stop  bool          // somebody asked for the end
	addrs []netip.Addr  // of its interfaces
}

// New returns the machines in cfg.Dir. Those that run go on, those that ended
// without anyone watching are reported to OnExit soon.
func New(cfg Config) (*Manager, error) {
	cfg.Log = cmp.Or(cfg.Log, slog.Default())
	cfg.StopTimeout = cmp.Or(cfg.StopTimeout, 20*time.Second)
	if cfg.OnExit == nil {
		cfg.OnExit = func(Exit) {}
	}
	if !filepath.IsLocal(cfg.Name) || strings.ContainsAny(cfg.Name, "/_ ") {
		return nil, fmt.Errorf("region's name %q is no name for cgroups", cfg.Name)
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("machines need root")
	}
	if _, err := exec.LookPath("systemd-nspawn"); err != nil {
		return nil, fmt.Errorf("machines need systemd-nspawn (apt-get install systemd-container): %w", err)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	driver, err := findCgroups(cfg.Name)
	if err != nil {
		return nil, err
	}
	m := &Manager{cfg: cfg, log: cfg.Log, cgroups: driver, machines: map[string]*instance{}}
	if err := m.raiseLimits(); err != nil {
		return nil, err
	}
	return m, m.recover()
}

// get returns the instance with the ID; if add is set it is made when missing.
func (m *Manager) get(id string, add bool) (*instance, error) {
	if !validID(id) {
		return nil, fmt.Errorf("machine %q: not a name for a machine", id)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	in, ok := m.machines[id]
	if !ok {
		if !add {
			return nil, fmt.Errorf("machine %s: %w", id, ErrUnknown)
		}
		in = &instance{id: id, dir: filepath.Join(m.cfg.Dir, id), cgroups: m.cgroups.paths(id)}
		m.machines[id] = in
	}
	return in, nil
}

// validID accepts what is a file name, a machine name and part of a unit name.
func validID(id string) bool {
	if id == "" || len(id) > 63 || id[0] == '-' {
		return false
	}
	for _, c := range id {
		if c != '-' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// running returns the instance, locked, if it runs; the caller unlocks op.
func (m *Manager) running(id string) (*instance, error) {
	in, err := m.get(id, false)
	if err != nil {
		return nil, err
	}
	in.op.Lock()
	if !in.alive() {
		in.op.Unlock()
		return nil, fmt.Errorf("machine %s: %w", id, ErrNotRunning)
	}
	return in, nil
}

// alive says whether the machine was started and has not ended yet.
func (in *instance) alive() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.end != nil
}

// Running returns the IDs of all machines that run, sorted.
func (m *Manager) Running() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var ids []string
	for id, in := range m.machines {
		if in.alive() {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// Stop shuts a machine down as its power button would, and cuts its power if that
// takes too long. Its disk is kept. A machine that does not run is no error.
func (m *Manager) Stop(ctx context.Context, id string) error {
	return m.halt(ctx, id, m.cfg.StopTimeout)
}

// Kill ends a machine at once, like a power cut. Its disk is kept. A machine that
// does not run is no error.
func (m *Manager) Kill(ctx context.Context, id string) error {
	return m.halt(ctx, id, 0)
}

func (m *Manager) halt(ctx context.Context, id string, patience time.Duration) error {
	in, err := m.get(id, false)
	if errors.Is(err, ErrUnknown) {
		return nil
	}
	if err != nil {
		return err
	}
	in.op.Lock()
	in.mu.Lock()
	end := in.end
	in.stop = true
	in.mu.Unlock()
	if end == nil {
		in.op.Unlock()
		return nil
	}
	in.rec.Stopping = true
	err = in.save()
	leader := in.rec.Leader
	in.op.Unlock()
	if err != nil {
		return err
	}
	if patience > 0 {
		switch err := shutDown(ctx, leader, end, patience); {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		}
		m.log.Warn("machine does not shut down, killing it", "id", id)
	}
	if err := killAll(in.cgroups); err != nil {
		return fmt.Errorf("kill machine %s: %w", id, err)
	}
	select {
	case <-end:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

var errPatience = errors.New("machine does not shut down")

// shutDown asks the machine's init to shut down until it has. A single signal
// would be lost on one that has only just begun to boot.
func shutDown(ctx context.Context, leader process, end <-chan struct{}, patience time.Duration) error {
	give := time.NewTimer(patience)
	defer give.Stop()
	again := time.NewTicker(500 * time.Millisecond)
	defer again.Stop()
	for {
		_ = leader.signal(sigPowerOff) // if it is gone, so is the machine soon
		select {
		case <-end:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-give.C:
			return errPatience
		case <-again.C:
		}
	}
}

// Remove discards a machine that does not run, with its disk. One that is gone
// already is no error.
func (m *Manager) Remove(_ context.Context, id string) error {
	in, err := m.get(id, false)
	if errors.Is(err, ErrUnknown) {
		return nil
	}
	if err != nil {
		return err
	}
	in.op.Lock()
	defer in.op.Unlock()
	if in.alive() {
		return fmt.Errorf("machine %s: %w", id, ErrRunning)
	}
	if err := m.release(in); err != nil {
		return err
	}
	if err := in.remove(); err != nil {
		return fmt.Errorf("remove machine %s: %w", id, err)
	}
	m.mu.Lock()
	delete(m.machines, id)
	m.mu.Unlock()
	return nil
}

// RemoveAll kills and removes all machines.
func (m *Manager) RemoveAll(ctx context.Context) error {
	m.mu.Lock()
	var ids []string
	for id := range m.machines {
		ids = append(ids, id)
	}
	m.mu.Unlock()
	errs := make([]error, len(ids))
	var wg sync.WaitGroup
	limit := make(chan struct{}, 8)
	for i, id := range ids {
		wg.Go(func() {
			limit <- struct{}{}
			defer func() { <-limit }()
			if errs[i] = m.Kill(ctx, id); errs[i] == nil {
				errs[i] = m.Remove(ctx, id)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Close lets go of the machines. If none runs, what was changed of the host for
// them is changed back.
func (m *Manager) Close() error {
	if len(m.Running()) > 0 {
		return nil
	}
	err := errors.Join(m.closeDisks(), m.cgroups.removeRoot(), m.restoreLimits())
	_ = os.Remove(m.cfg.Dir) // if no disks are left
	return err
}

// closeDisks unmounts the disks of machines that do not run, which somebody has
// looked at.
func (m *Manager) closeDisks() error {
	m.mu.Lock()
	all := slices.Collect(maps.Values(m.machines))
	m.mu.Unlock()
	var errs []error
	for _, in := range all {
		in.op.Lock()
		if !in.alive() {
			errs = append(errs, in.closeDisk())
		}
		in.op.Unlock()
	}
	return errors.Join(errs...)
}

// Usage returns how many bytes of memory a running machine has in use.
func (m *Manager) Usage(id string) (memoryBytes int64, err error) {
	in, err := m.get(id, false)
	if err != nil {
		return 0, err
	}
	if !in.alive() {
		return 0, fmt.Errorf("machine %s: %w", id, ErrNotRunning)
	}
	return memoryUsage(in.cgroups)
}

// ByAddress returns the running machine that has the private address.
func (m *Manager) ByAddress(a netip.Addr) (id string, ok bool) {
	in := m.owner(a)
	if in == nil || !in.alive() {
		return "", false
	}
	return in.id, true
}

// owner returns the machine that has the address, running or not; nil if none.
func (m *Manager) owner(a netip.Addr) *instance {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, in := range m.machines {
		in.mu.Lock()
		has := slices.Contains(in.addrs, a)
		in.mu.Unlock()
		if has {
			return in
		}
	}
	return nil
}
