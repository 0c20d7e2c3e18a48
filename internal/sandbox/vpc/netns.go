//go:build linux

package vpc

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// namespaceDir is where `ip netns` looks for namespaces too.
const namespaceDir = "/run/netns"

// A namespace is a network namespace that has a name.
type namespace struct{ f *os.File }

// openNamespace opens the namespace with the name and makes it if there is none.
func openNamespace(name string) (ns *namespace, fresh bool, err error) {
	path := filepath.Join(namespaceDir, name)
	if isNamespace(path) {
		f, err := os.Open(path)
		return &namespace{f}, false, err
	}
	if err := os.MkdirAll(namespaceDir, 0o755); err != nil {
		return nil, false, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o444)
	if err != nil {
		return nil, false, err
	}
	f.Close()
	err = onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		own := fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())
		if err := unix.Mount(own, path, "none", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("name the network namespace %s: %w", name, err)
		}
		return nil
	})
	if err != nil {
		_ = os.Remove(path)
		return nil, false, err
	}
	f, err = os.Open(path)
	return &namespace{f}, true, err
}

func isNamespace(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == unix.NSFS_MAGIC
}

// removeNamespace takes the name away; the kernel ends the namespace with the
// last process and socket in it.
func removeNamespace(name string) error {
	path := filepath.Join(namespaceDir, name)
	for isNamespace(path) {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("remove network namespace %s: %w", name, err)
		}
	}
	return ignoreMissing(os.Remove(path))
}

func (ns *namespace) close() { ns.f.Close() }

// netlink returns a handle whose sockets lie in the namespace.
func (ns *namespace) netlink() (*netlink.Handle, error) {
	return netlink.NewHandleAt(netns.NsHandle(ns.f.Fd()), unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER)
}

// do runs f on a thread inside the namespace. Sockets and processes that f makes
// belong to the namespace; f must not start goroutines that do.
func (ns *namespace) do(f func() error) error {
	return inNetwork(ns.f, f)
}

// inNetwork runs f on a thread inside the network namespace that file stands for.
func inNetwork(file *os.File, f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		return f()
	})
}

// onThread runs f on a thread of its own, which ends afterwards: what f changed
// of the thread can't reach other goroutines.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the runtime ends the thread with the goroutine
		if unix.Gettid() == unix.Getpid() {
			// The main thread can't end, and what /proc/self says is about it.
			// While it is held here, another goroutine gets another thread.
			done <- onThread(f)
			runtime.UnlockOSThread()
			return
		}
		done <- f()
	}()
	return <-done
}

// Listen announces on an address of the region's network.
func (n *Network) Listen(network, address string) (l net.Listener, err error) {
	err = n.ns.do(func() error {
		l, err = net.Listen(network, address)
		return err
	})
	return l, err
}

// ListenPacket announces on a datagram address of the region's network.
func (n *Network) ListenPacket(network, address string) (c net.PacketConn, err error) {
	err = n.ns.do(func() error {
		c, err = net.ListenPacket(network, address)
		return err
	})
	return c, err
}

// Dial connects from inside the region's network to an address or a name that
// its DNS knows. Security groups are not asked.
func (n *Network) Dial(ctx context.Context, network, address string) (c net.Conn, err error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	addr, ok := n.LookupHost(host)
	if !ok {
		return nil, &net.DNSError{Err: "no such host in the region", Name: host, IsNotFound: true}
	}
	err = n.ns.do(func() error {
		var d net.Dialer
		c, err = d.DialContext(ctx, network, net.JoinHostPort(addr.String(), port))
		return err
	})
	return c, err
}
