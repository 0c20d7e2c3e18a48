//go:build linux

package machine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"path"
	"slices"
	"strings"
)

// FileSystems finds the host's directories behind file systems that machines
// mount: EFS, FSx, S3 and whatever else is not another machine.
type FileSystems interface {
	Resolve(ctx context.Context, fsType, source string, options []string, machineID string) (hostDir string, err error)
}

// nfsPort is what a client must reach of its server.
const nfsPort = 2049

// MountHandler serves the mount helpers of the base image. They POST type, source,
// target and options of a mount to /mount; the machine is known by the address
// that calls. Sources of type nfs on a running machine are checked against that
// machine's /etc/exports and the security groups between the two; all others are
// resolved by fs. A refusal has status 403 and, as text, what the real helper
// would print.
//
// A mount from another machine keeps working for a while after that machine has
// ended: it is the same file system, not a connection to it. A real client would
// hang until the server is back.
func (m *Manager) MountHandler(fs FileSystems) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /mount", func(w http.ResponseWriter, r *http.Request) {
		client, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		req := mountRequest{
			client: client.Addr().Unmap(), fsType: r.PostFormValue("type"), source: r.PostFormValue("source"),
			target: r.PostFormValue("target"), options: strings.Split(r.PostFormValue("options"), ","),
		}
		if err := m.mount(r.Context(), fs, req); err != nil {
			m.log.Info("mount refused", "client", req.client, "type", req.fsType, "source", req.source, "err", err)
			http.Error(w, err.Error(), http.StatusForbidden)
		}
	})
	return mux
}

// A mountRequest is one call of a mount helper.
type mountRequest struct {
	client                 netip.Addr
	fsType, source, target string
	options                []string
}

func (r mountRequest) readOnly() bool { return slices.Contains(r.options, "ro") }

// errTimedOut is what a client says of a server that does not answer.
var errTimedOut = errors.New("Connection timed out") //nolint:staticcheck // the helper's own words

func (m *Manager) mount(ctx context.Context, fs FileSystems, r mountRequest) error {
	id, ok := m.ByAddress(r.client)
	if !ok {
		return fmt.Errorf("no running machine has the address %s", r.client)
	}
	if !path.IsAbs(r.target) {
		return fmt.Errorf("mount point %q is not an absolute path", r.target)
	}
	switch r.fsType {
	case "nfs", "nfs4":
		host, dir, ok := splitSource(r.source)
		if !ok {
			return fmt.Errorf("remote share not in 'host:dir' format: %s", r.source)
		}
		if server := m.server(host); server != nil {
			return m.mountFrom(server, id, dir, r)
		}
	case "efs", "lustre":
	default:
		return fmt.Errorf("unknown filesystem type '%s'", r.fsType)
	}
	hostDir, err := fs.Resolve(ctx, r.fsType, r.source, r.options, id)
	if err != nil {
		return err
	}
	return m.attachDirectory(id, hostDir, r.target, r.readOnly())
}

// splitSource splits host:dir. NFS takes a relative dir for one below its root.
func splitSource(source string) (host, dir string, ok bool) {
	host, dir, ok = strings.Cut(source, ":")
	return host, path.Clean("/" + dir), ok && host != ""
}

// server returns the machine that has the name or address; nil if none has.
func (m *Manager) server(host string) *instance {
	if m.cfg.Network == nil {
		return nil
	}
	addr, ok := m.cfg.Network.LookupHost(host)
	if !ok {
		return nil
	}
	return m.owner(addr)
}

// mountFrom mounts a directory of another machine.
func (m *Manager) mountFrom(server *instance, clientID, dir string, r mountRequest) error {
	server.op.Lock()
	leader, up := server.rec.Leader, server.alive()
	var addr netip.Addr
	if len(server.rec.Spec.Interfaces) > 0 {
		addr = server.rec.Spec.Interfaces[0].Addr
	}
	server.op.Unlock()
	if !up || !m.cfg.Network.Allowed(r.client, addr, "tcp", nfsPort) {
		return errTimedOut
	}
	denied := fmt.Errorf("access denied by server while mounting %s", r.source)
	table, err := readFile(leader, "/etc/exports")
	if err != nil {
		return fmt.Errorf("%w (the server has no /etc/exports)", denied)
	}
	readOnly, ok := exported(parseExports(string(table)), dir, r.client, m.namesOf(clientID, r.client))
	if !ok {
		return denied
	}
	err = m.attachFrom(leader, dir, clientID, r.target, readOnly || r.readOnly())
	if errors.Is(err, errGone) {
		return errTimedOut
	}
	if err != nil {
		return fmt.Errorf("mounting %s failed, reason given by server: %w", r.source, err)
	}
	return nil
}

// namesOf returns the names that a client may have in /etc/exports.
func (m *Manager) namesOf(id string, a netip.Addr) []string {
	in, err := m.get(id, false)
	if err != nil {
		return nil
	}
	in.op.Lock()
	defer in.op.Unlock()
	names := []string{"ip-" + strings.ReplaceAll(a.String(), ".", "-")}
	names = append(names, cmp.Or(in.rec.Spec.Hostname, names[0]))
	for _, n := range slices.Clone(names) {
		names = append(names, n+"."+m.cfg.Network.Domain())
	}
	return names
}
