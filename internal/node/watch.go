package node

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"golang.org/x/sys/unix"

	"pcluster/internal/fleet"
	"pcluster/internal/node/logs"
	"pcluster/internal/node/watch"
)

// headAnswer is where a compute node keeps what the fleet daemon told it.
const headAnswer = stateDir + "/head-answer.json"

// runWatch watches this compute node, for the fleet daemon.
func runWatch(ctx context.Context, h *Host) error {
	told, err := h.ReadSpec()
	if err != nil {
		return err
	}
	cfg, err := awsConfig(ctx, told)
	if err != nil {
		return err
	}
	api := imds.NewFromConfig(cfg)
	id, err := metadata(ctx, api, "instance-id")
	if err != nil {
		return err
	}
	cycle, err := metadata(ctx, api, "instance-life-cycle")
	if err != nil {
		return err
	}
	file, err := os.OpenFile(h.path(logs.Dir+"/computemgtd"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer file.Close()
	w := &watch.Watcher{
		Cluster: told.ClusterName, Instance: id, Spot: cycle == "spot",
		Journal: h.path(journalFile), Booted: func() bool { return h.exists(bootedFile) }, Memory: h.path(headAnswer),
		Metadata: func(ctx context.Context, path string) (string, bool, error) { return metadataIfAny(ctx, api, path) },
		Dial: func(ctx context.Context, port int) (net.Conn, error) {
			return dialAsRoot(ctx, net.JoinHostPort(told.HeadNodePrivateIP, strconv.Itoa(port)))
		},
		Jobs: h.jobsRun,
		End: func(ctx context.Context) error {
			// Launch templates end instances that shut down by themselves.
			_, err := h.Run(ctx, "shutdown", "-h", "now")
			return err
		},
		Log: slog.New(newLogHandler(file)),
	}
	go h.followDirectory(ctx, sharedSSSD, w.Log)
	return w.Run(ctx)
}

// metadataIfAny asks for metadata that may not be there.
func metadataIfAny(ctx context.Context, api metadataAPI, path string) (string, bool, error) {
	text, err := metadata(ctx, api, path)
	var refused *smithyhttp.ResponseError
	if errors.As(err, &refused) && refused.HTTPStatusCode() == http.StatusNotFound {
		return "", false, nil
	}
	return text, err == nil, err
}

// Ports that only root gets, below those that NFS takes.
const (
	firstRootPort = 512
	lastRootPort  = 664
	dialTimeout   = 5 * time.Second
	dialAttempts  = 20
)

// dialAsRoot connects from a port that shows the other side that root does.
func dialAsRoot(ctx context.Context, address string) (conn net.Conn, err error) {
	for range dialAttempts {
		d := net.Dialer{
			Timeout: dialTimeout, KeepAliveConfig: fleet.Keepalive,
			Control:   giveUpInTime,
			LocalAddr: &net.TCPAddr{Port: firstRootPort + rand.IntN(lastRootPort-firstRootPort+1)},
		}
		conn, err = d.DialContext(ctx, "tcp", address)
		// Ports of earlier connections rest for a minute.
		if !errors.Is(err, unix.EADDRINUSE) && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return conn, err
		}
	}
	return nil, err
}

// giveUpInTime bounds how long the kernel tries to get to the other side what was
// written: a quarter of an hour otherwise.
func giveUpInTime(_, _ string, c syscall.RawConn) error {
	var err error
	e := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(patienceOfKernel.Milliseconds()))
	})
	return errors.Join(e, err)
}

const patienceOfKernel = 30 * time.Second

// jobsRun says whether steps of jobs run on this node.
func (h *Host) jobsRun() (bool, error) {
	processes, err := filepath.Glob(h.path("/proc/[0-9]*/comm"))
	if err != nil {
		return false, err
	}
	if len(processes) == 0 {
		return false, errors.New("/proc shows no process")
	}
	for _, comm := range processes {
		name, err := os.ReadFile(comm)
		if err != nil || strings.TrimSpace(string(name)) != "slurmstepd" {
			continue // it has ended
		}
		// One of them belongs to no job: it holds the control group of all others.
		line, err := os.ReadFile(filepath.Join(filepath.Dir(comm), "cmdline"))
		if arguments := strings.Split(string(line), "\x00"); err == nil && (len(arguments) < 2 || arguments[1] != "infinity") {
			return true, nil
		}
	}
	return false, nil
}
