package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"pcluster/internal/slurm"
)

// SocketPath is where the daemon listens on the head node.
const SocketPath = "/run/pcluster/fleet.sock"

// Operations of the programs that slurmctld starts, and of scripts.
const (
	OpResume        = "resume"         // nodes are to start
	OpSuspend       = "suspend"        // nodes are not needed any more
	OpResumeFailed  = "resume-failed"  // nodes were not up in time
	OpJobReady      = "job-ready"      // wait until a job's nodes are up
	OpStatusChanged = "status-changed" // somebody requested to start or stop the fleet
)

// A Message is what a program says to the daemon: one JSON object, which the daemon
// answers with a Reply.
type Message struct {
	Op    string `json:"op"`
	Nodes string `json:"nodes,omitempty"` // hostlist
	Job   string `json:"job,omitempty"`
	// ResumeFile is the file that slurmctld leaves to its resume program.
	ResumeFile json.RawMessage `json:"resume_file,omitempty"`
	// JobsUnknown: there was such a file, and it could not be read.
	JobsUnknown bool `json:"jobs_unknown,omitempty"`
}

// MaxResumeFile bounds what is read of slurmctld's resume file. One of 50,000 jobs has
// about a sixth of it.
const MaxResumeFile = 64 << 20

// A Reply is the daemon's answer.
type Reply struct {
	Error string `json:"error,omitempty"`
}

// errJobsUnknown is that a request does not say for which jobs its nodes are.
var errJobsUnknown = errors.New("the jobs of the request can't be told")

// request returns the demand in a message. Without a resume file all nodes are
// launched for no job.
func (m *Message) request() (Request, error) {
	var r Request
	var err error
	if r.Nodes, err = slurm.Expand(m.Nodes); err != nil {
		return r, err
	}
	if m.JobsUnknown {
		return r, errJobsUnknown
	}
	if len(m.ResumeFile) == 0 {
		return r, nil
	}
	if r.Jobs, err = slurm.ParseResumeFile(m.ResumeFile); err != nil {
		return r, fmt.Errorf("%w: %w", errJobsUnknown, err)
	}
	return r, nil
}

// listen opens the socket, for the group that slurmctld runs as.
func (d *Daemon) listen(ctx context.Context) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(d.Socket), 0o755); err != nil {
		return nil, err
	}
	if err := os.Remove(d.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", d.Socket)
	if err != nil {
		return nil, err
	}
	mode := os.FileMode(0o600)
	if d.SocketGroup != "" {
		g, err := user.LookupGroup(d.SocketGroup)
		if err != nil {
			return nil, errors.Join(err, l.Close())
		}
		gid, err := strconv.Atoi(g.Gid)
		if err == nil {
			err = os.Chown(d.Socket, -1, gid)
		}
		if err != nil {
			return nil, errors.Join(err, l.Close())
		}
		mode = 0o660
	}
	if err := os.Chmod(d.Socket, mode); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// serve answers programs until the context ends.
func (d *Daemon) serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() }) // ends Accept
	defer stop()
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("socket %s: %w", d.Socket, err)
		}
		go d.answer(ctx, conn)
	}
}

func (d *Daemon) answer(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	var m Message
	if err := json.NewDecoder(io.LimitReader(conn, 2*MaxResumeFile)).Decode(&m); err != nil {
		d.Log.Warn("a program's message can't be read", "error", err)
		return
	}
	var reply Reply
	if err := d.handle(ctx, conn, m); err != nil {
		d.Log.Error("a program's message", "operation", m.Op, "nodes", m.Nodes, "error", err)
		reply.Error = err.Error()
	}
	if err := json.NewEncoder(conn).Encode(reply); err != nil {
		d.Log.Debug("a program did not wait for its answer", "operation", m.Op, "error", err)
	}
}

func (d *Daemon) handle(ctx context.Context, conn net.Conn, m Message) error {
	switch m.Op {
	case OpResume:
		r, err := m.request()
		if errors.Is(err, errJobsUnknown) {
			// Launched for no job, a job could get a part of its nodes. The next looks
			// find nodes that power up, and slurmctld says for whom.
			d.ResumeLog.Warn("slurmctld wants nodes, and is asked for which jobs", "nodes", m.Nodes, "error", err)
			d.hurry()
			return nil
		}
		if err != nil {
			return err
		}
		d.ResumeLog.Info("slurmctld wants nodes", "nodes", m.Nodes, "jobs", len(r.Jobs))
		d.tell(ctx, func(o *Observed) { o.Resumed = append(o.Resumed, r) })
		return nil
	case OpSuspend, OpResumeFailed:
		nodes, err := slurm.Expand(m.Nodes)
		if err != nil {
			return err
		}
		d.SuspendLog.Info("slurmctld gives up nodes", "nodes", m.Nodes, "failed", m.Op == OpResumeFailed)
		d.tell(ctx, func(o *Observed) {
			if m.Op == OpSuspend {
				o.Suspended = append(o.Suspended, nodes...)
				return
			}
			o.ResumeFailed = append(o.ResumeFailed, nodes...)
		})
		return nil
	case OpJobReady:
		nodes, err := slurm.Expand(m.Nodes)
		if err != nil {
			return err
		}
		d.waiters.wait(ctx, conn, m.Job, nodes)
		return nil
	case OpStatusChanged:
		select {
		case d.statusNow <- struct{}{}:
		default:
		}
		return nil
	}
	return fmt.Errorf("unknown operation %q", m.Op)
}

// Dial says something to the daemon and waits for its answer. While the daemon is
// being restarted it tries again, for as long as patience lasts.
func Dial(ctx context.Context, socket string, m Message, patience time.Duration) error {
	deadline := time.Now().Add(patience)
	for {
		err := say(ctx, socket, m)
		if err == nil || errors.Is(err, errRefused) || ctx.Err() != nil || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// errRefused is an answer of the daemon's, as opposed to none.
var errRefused = errors.New("the fleet daemon refuses")

func say(ctx context.Context, socket string, m Message) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("the fleet daemon does not run: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if err := json.NewEncoder(conn).Encode(m); err != nil {
		return fmt.Errorf("say %s to the fleet daemon: %w", m.Op, err)
	}
	var reply Reply
	if err := json.NewDecoder(conn).Decode(&reply); err != nil {
		return fmt.Errorf("answer of the fleet daemon to %s: %w", m.Op, err)
	}
	if reply.Error != "" {
		return fmt.Errorf("%w: %s", errRefused, reply.Error)
	}
	return nil
}
