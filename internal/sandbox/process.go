//go:build linux

package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pcluster/internal/sandbox/image"
)

// UpOptions are how a region starts. What concerns its identity counts only for
// a new one.
type UpOptions struct {
	Port            int // 0: what the region has, else DefaultPort
	Region, Account string
	Cache           string
	SSHConfig       bool
	Internet        bool      // machines reach whatever this host does, not only mirrors of packages
	Record          string    // file that gets what callers ask permission for; empty: none
	Progress        io.Writer // lines about slow things: building the base image
}

// programs are what the region runs, and the Debian packages they come from.
var programs = []struct{ name, pkg string }{
	{"systemd-nspawn", "systemd-container"}, {"mmdebstrap", "mmdebstrap"}, {"nft", "nftables"},
	{"ip", "iproute2"}, {"losetup", "util-linux"}, {"unshare", "util-linux"}, {"mke2fs", "e2fsprogs"},
}

// checkHost says what this machine lacks for a region, and how to mend it.
func checkHost() error {
	if os.Geteuid() != 0 {
		return errors.New("the local region boots machines and makes a network namespace, which needs root: run this with sudo")
	}
	var packages []string
	for _, p := range programs {
		if _, err := exec.LookPath(p.name); err != nil && !slices.Contains(packages, p.pkg) {
			packages = append(packages, p.pkg)
		}
	}
	if len(packages) > 0 {
		return fmt.Errorf("programs of the local region are missing: apt-get install %s (or run scripts/setup of the source tree)", strings.Join(packages, " "))
	}
	return nil
}

// Up starts the daemon of the region in home, unless it runs, and returns when it
// serves. The first time on a host it builds the machines' base image, which
// takes a minute or two and is cached.
func Up(ctx context.Context, home Home, o UpOptions) (Status, error) {
	if err := checkHost(); err != nil {
		return Status{}, err
	}
	client := NewClient(home)
	if err := client.Ping(ctx); err == nil {
		return client.Status(ctx)
	}
	settings, exists, err := home.Settings()
	if err != nil {
		return Status{}, err
	}
	if !exists {
		settings = Settings{Port: DefaultPort, Region: o.Region, Account: o.Account}
	} else if (o.Region != "" && o.Region != settings.Region) || (o.Account != "" && o.Account != settings.Account) {
		return Status{}, fmt.Errorf("the region in %s exists already with another name or account: destroy it first, or give another --home", home)
	}
	if o.Port != 0 {
		settings.Port = o.Port
	}
	settings.Cache, settings.SSHConfig, settings.Record, settings.Internet = o.Cache, o.SSHConfig, o.Record, o.Internet
	if err := home.Init(settings); err != nil {
		return Status{}, fmt.Errorf("make the region's folder: %w", err)
	}
	if _, err := image.Base(ctx, settings.Cache, o.Progress); err != nil {
		return Status{}, err
	}
	if err := startDaemon(ctx, home, client); err != nil {
		if !exists { // a region that never was must not be left half made
			err = errors.Join(err, Destroy(context.WithoutCancel(ctx), home))
		}
		return Status{}, err
	}
	return client.Status(ctx)
}

// startDaemon runs this program's daemon in a session of its own and waits until
// it answers.
func startDaemon(ctx context.Context, home Home, client *Client) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(home.Log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	size, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	cmd := exec.Command(exe, "sandbox", "--home", string(home), "daemon") // not CommandContext: the daemon outlives ctx
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the region's daemon: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		if client.Ping(ctx) == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ended:
			return fmt.Errorf("the region's daemon ended at once:\n%s", tailFrom(home.Log(), size))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// tailFrom returns what a log has since an offset, at most its last 2 KB.
func tailFrom(path string, offset int64) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	data = data[min(int64(len(data)), offset):]
	if len(data) > 2048 {
		data = data[len(data)-2048:]
	}
	return string(bytes.TrimSpace(data))
}

// Down stops the machines of the region, keeps its state, and ends its daemon. It
// also puts away what a killed daemon left running.
func Down(ctx context.Context, home Home) error {
	err := NewClient(home).Down(ctx)
	if errors.Is(err, ErrDown) {
		return offline(ctx, home, func(r *Region) error { return r.stop(ctx) })
	}
	return err
}

// Destroy ends the region and removes everything of it but the cached base
// images. Machines get no time to shut down: their disks go with them.
func Destroy(ctx context.Context, home Home) error {
	if err := checkHost(); err != nil {
		return err
	}
	if _, err := os.Stat(string(home)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if _, known, err := home.Settings(); err == nil && !known {
		return fmt.Errorf("%s is not the folder of a region: it has no settings.json", home)
	}
	client := NewClient(home)
	err := client.do(ctx, "POST", "/destroy", nil, nil, nil)
	if errors.Is(err, ErrDown) {
		err = offline(ctx, home, func(r *Region) error { return r.destroy(ctx) })
	}
	if err != nil {
		return err
	}
	if err := os.RemoveAll(string(home)); err != nil {
		return err
	}
	// The default folder's parent is ours too, unless another region lives in it.
	if parent := filepath.Dir(string(home)); parent == filepath.Dir(DefaultHome) {
		_ = os.Remove(parent)
	}
	return nil
}

// offline works on a region that has no daemon.
func offline(ctx context.Context, home Home, do func(*Region) error) error {
	if _, known, err := home.Settings(); err != nil || !known {
		return err
	}
	lock, err := waitLock(ctx, home)
	if err != nil {
		return err
	}
	defer lock.Close()
	r, err := open(ctx, home)
	if err != nil {
		return err
	}
	defer r.close()
	return do(r)
}

// waitLock takes the region, giving a daemon that is just ending a moment.
func waitLock(ctx context.Context, home Home) (*os.File, error) {
	deadline := time.Now().Add(10 * time.Second)
	for {
		lock, err := home.lock()
		if !errors.Is(err, errRunning) || time.Now().After(deadline) {
			return lock, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Exec replaces this process by a command of the host inside the region's
// network namespace, as on a machine in its VPC. Names resolve as there.
func Exec(home Home, argv []string) error {
	if os.Geteuid() != 0 {
		return errors.New("entering the region's network needs root")
	}
	path := "/run/netns/" + home.Namespace()
	if _, err := os.Stat(path); err != nil {
		return ErrDown
	}
	nsenter, err := exec.LookPath("nsenter")
	if err != nil {
		return err
	}
	// A mount namespace of its own lets the command see the region's resolver
	// without touching the host's.
	script := `mount --bind "$1" /etc/resolv.conf 2>/dev/null; shift; exec "$@"`
	args := append([]string{"nsenter", "--net=" + path, "unshare", "-m", "sh", "-c", script, "sh", home.path("resolv.conf")}, argv...)
	return unix.Exec(nsenter, args, os.Environ())
}
