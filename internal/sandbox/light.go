//go:build linux

package sandbox

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"pcluster/internal/sandbox/machine"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/vpc"
)

// A Light region has all services and nothing under them: its instances run as far
// as APIs tell, but no machine boots and no packet travels. It needs no root, lives
// in this process, and forgets everything. Tests of what the services answer use it.
type Light struct {
	r      *Region
	srv    *servers
	ahead  atomic.Int64 // nanoseconds
	cancel context.CancelFunc
}

// OpenLight starts a light region that keeps its files in dir, on a port of
// loopback that is free. Its log goes to log, nil for none.
func OpenLight(ctx context.Context, dir string, log *slog.Logger) (_ *Light, err error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := newRegion(Home(dir), Settings{Port: listener.Addr().(*net.TCPAddr).Port}, log)
	r.db = store.Memory()
	l := &Light{r: r, srv: &servers{log: log, failed: make(chan error, 1)}}
	ctx, l.cancel = context.WithCancel(ctx)
	defer func() {
		if err != nil {
			l.cancel()
			_ = listener.Close()
		}
	}()
	if err := r.home.Init(r.settings); err != nil {
		return nil, err
	}
	if err := r.openIdentity(); err != nil {
		return nil, err
	}
	r.layers = []string{"/"}
	machines := &lightMachines{exited: func(e machine.Exit) { r.exits <- e }, up: map[string]bool{}}
	if err := r.openServices(ground{machines, lightNetwork{}}); err != nil {
		return nil, err
	}
	endpoint, err := r.awsEndpoint()
	if err != nil {
		return nil, err
	}
	endpoint.Now = func() time.Time { return time.Now().Add(time.Duration(l.ahead.Load())) }
	l.srv.start(bothListener{listener, r.ca.config()}, endpoint, func(net.Listener) context.Context { return ctx })
	go r.dispatchExits(ctx)
	r.start(ctx)
	return l, nil
}

// URL is the region's endpoint, without TLS.
func (l *Light) URL() string { return "http://" + l.host() }

func (l *Light) host() string {
	host, _ := netip.ParseAddrPort(l.r.endpoint()[len("https://"):])
	return host.String()
}

// Credentials are those of the account's administrator.
func (l *Light) Credentials() (accessKeyID, secret string) { return l.r.iam.RootCredentials() }

// SetClockAhead makes the clock that signatures are checked by differ from the clients'.
func (l *Light) SetClockAhead(d time.Duration) { l.ahead.Store(int64(d)) }

// Adopt makes what a file refers to, as `sandbox adopt` does.
func (l *Light) Adopt(ctx context.Context, name string, file []byte) (Adoption, error) {
	return l.r.adopt(ctx, name, file)
}

// Record writes down in a file what callers ask permission for from now on: a
// [Permission] a line. It is called once, before anybody calls the region.
func (l *Light) Record(file string) (err error) {
	l.r.record, err = openRecorder(file)
	return err
}

// ResourceTypes returns the types of resources that CloudFormation makes here, sorted.
func (l *Light) ResourceTypes() []string { return l.r.cfn.ResourceTypes() }

// Operations lists the names of the operations that the region answers, by the
// names of the services' API models and s3.
func (l *Light) Operations() (map[string][]string, error) {
	handlers, err := l.r.handlers()
	if err != nil {
		return nil, err
	}
	out := map[string][]string{}
	for name, h := range handlers {
		if s, ok := h.(interface{ Operations() []string }); ok {
			out[name] = s.Operations()
		}
	}
	return out, nil
}

// Close ends the region.
func (l *Light) Close() error {
	l.cancel()
	l.srv.close()
	err := l.r.ec2.Close()
	l.r.close()
	return err
}

// lightMachines run without being there.
type lightMachines struct {
	exited func(machine.Exit)

	mu sync.Mutex
	up map[string]bool
}

func (m *lightMachines) Start(_ context.Context, s machine.Spec) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.up[s.ID] = true
	return nil
}

func (m *lightMachines) end(id string) error {
	m.mu.Lock()
	ran := m.up[id]
	delete(m.up, id)
	m.mu.Unlock()
	if ran {
		m.exited(machine.Exit{ID: id, Reason: machine.Stopped, At: time.Now()})
	}
	return nil
}

func (m *lightMachines) Stop(_ context.Context, id string) error                    { return m.end(id) }
func (m *lightMachines) Kill(_ context.Context, id string) error                    { return m.end(id) }
func (m *lightMachines) Remove(context.Context, string) error                       { return nil }
func (m *lightMachines) AttachVolume(context.Context, string, machine.Volume) error { return nil }
func (m *lightMachines) DetachVolume(context.Context, string, machine.Volume) error { return nil }
func (m *lightMachines) Capture(_ context.Context, _, dir string, _ bool) error {
	return os.Mkdir(dir, 0o755)
}
func (m *lightMachines) ReadFile(string, string, int64, int) ([]byte, error) {
	return nil, os.ErrNotExist
}
func (m *lightMachines) Console(string) ([]byte, error) { return nil, nil }

func (m *lightMachines) Running() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	ids := []string{}
	for id := range m.up {
		ids = append(ids, id)
	}
	return ids
}

// lightNetwork is a network on which nobody is.
type lightNetwork struct{}

var errNobody = errors.New("a light region has no network")

func (lightNetwork) AddSubnet(netip.Prefix) error                           { return nil }
func (lightNetwork) SetGroups([]vpc.Group) error                            { return nil }
func (lightNetwork) SetPublic(netip.Addr, netip.Addr) error                 { return nil }
func (lightNetwork) AddAddress(netip.Addr) error                            { return nil }
func (lightNetwork) RemoveAddress(netip.Addr) error                         { return nil }
func (lightNetwork) Allowed(netip.Addr, netip.Addr, string, int) bool       { return true }
func (lightNetwork) Listen(_, _ string) (net.Listener, error)               { return newSilence(), nil }
func (lightNetwork) Dial(context.Context, string, string) (net.Conn, error) { return nil, errNobody }

func (lightNetwork) DialFrom(context.Context, netip.Addr, netip.AddrPort) (net.Conn, error) {
	return nil, errNobody
}

// silence is a listener that nobody calls.
type silence struct {
	closed chan struct{}
	once   sync.Once
}

func newSilence() *silence { return &silence{closed: make(chan struct{})} }

func (s *silence) Accept() (net.Conn, error) {
	<-s.closed
	return nil, net.ErrClosed
}

func (s *silence) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

func (s *silence) Addr() net.Addr { return &net.TCPAddr{} }
