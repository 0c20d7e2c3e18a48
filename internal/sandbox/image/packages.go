//go:build linux

package image

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// suite is the Debian release of the machines, chosen for its Slurm (24.11).
const suite = "trixie"

// included are the packages of the base image. What they recommend is left out.
var included = []string{
	// A machine that boots, and that people can log in to.
	"systemd", "systemd-sysv", "dbus", "libpam-systemd", "libnss-myhostname", "udev", "kmod",
	"openssh-server", "openssh-client", "sudo", "cron", "logrotate", "locales", "tzdata", "bash-completion",
	"procps", "psmisc", "lsof", "iproute2", "iptables", "iputils-ping", "netbase", "netcat-openbsd", "dnsutils", "hostname",
	"e2fsprogs", "xfsprogs", "fdisk", "parted", "fuse3", "acl", "rsync", "file", "less", "vim-tiny", "nano", "htop",
	"perl", "dos2unix", "bzip2", "xz-utils", "zstd", "zip", "unzip", "git", "strace",
	// An EC2 image.
	"cloud-init", "ca-certificates", "curl", "wget", "jq", "openssl", "python3", "python3-boto3", "awscli",
	// A cluster node.
	"munge", "slurmctld", "slurmd", "slurmdbd", "slurmrestd", "slurm-client",
	"slurm-wlm-basic-plugins", "slurm-wlm-mysql-plugin", "slurm-wlm-jwt-plugin",
	"sssd-ldap", "libnss-sss", "libpam-sss",
	"mariadb-server", "mariadb-client", "openmpi-bin", "libopenmpi-dev", "gcc", "g++", "gfortran", "libc6-dev", "make",
}

// excluded files are not unpacked. UCX's support for AMD GPUs alone brings a
// compiler of 200 MB along, which nothing here can use.
var excluded = []string{
	"/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/lintian/*",
	"/usr/lib/python3/dist-packages/awscli/examples/*",
	"/usr/lib/*/libLLVM*", "/usr/lib/*/libamd*", "/usr/lib/*/libz3.so*", "/usr/lib/*/ucx/libuc*_rocm*",
	"/usr/sbin/dhcpcd", // cloud-init depends on it, and would wait for an answer to it
	"/usr/bin/mariadb-test*", "/usr/bin/mariadb-client-test*",
}

// kept are exceptions from excluded.
var kept = []string{"/usr/share/locale/locale.alias"}

//go:embed hooks/before-packages.sh
var beforePackages string

//go:embed hooks/after-packages.sh
var afterPackages string

// packages is the recipe of the layer with all of Debian in it.
func packages() recipe {
	r := recipe{name: "packages", needs: 4 << 30, build: installPackages}
	r.ingredients = append(r.ingredients, suite, strings.Join(included, " "), strings.Join(excluded, " "), strings.Join(kept, " "),
		beforePackages, afterPackages)
	return r
}

func installPackages(ctx context.Context, dir string, progress io.Writer) error {
	if err := errors.Join(errMissing("mmdebstrap", "mmdebstrap"), errMissing("apt-get", "apt")); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "pcluster-image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	args := []string{
		"--mode=root", "--format=directory", "--variant=minbase", "--include=" + strings.Join(included, ","),
		`--aptopt=APT::Install-Recommends "false"`, `--aptopt=Acquire::Languages "none"`, `--aptopt=Acquire::Retries "3"`,
		"--dpkgopt=force-unsafe-io",
	}
	for _, p := range excluded {
		args = append(args, "--dpkgopt=path-exclude="+p)
	}
	for _, p := range kept {
		args = append(args, "--dpkgopt=path-include="+p)
	}
	for _, o := range proxySettings(ctx) {
		args = append(args, "--aptopt="+o)
	}
	for _, hook := range []struct{ option, script string }{{"essential", beforePackages}, {"customize", afterPackages}} {
		path := filepath.Join(tmp, hook.option+".sh")
		if err := os.WriteFile(path, []byte(hook.script), 0o700); err != nil {
			return err
		}
		args = append(args, "--"+hook.option+"-hook=sh "+path+` "$1"`)
	}
	args = append(args, suite, dir)
	list, err := hostSources(suite)
	if err != nil {
		return err
	}
	if list != "" { // else mmdebstrap takes Debian's default mirror
		path := filepath.Join(tmp, "sources.list")
		if err := os.WriteFile(path, []byte(list), 0o600); err != nil {
			return err
		}
		args = append(args, path)
	}
	return runLogged(ctx, progress, "mmdebstrap", args...)
}

// proxySettings are the host's apt settings that matter for reaching a mirror.
func proxySettings(ctx context.Context) []string {
	out, err := exec.CommandContext(ctx, "apt-config", "dump", "--format", "%F \"%v\";%n").Output()
	if err != nil {
		return nil
	}
	var options []string
	for _, line := range strings.Split(string(out), "\n") {
		name, _, _ := strings.Cut(line, " ")
		if strings.HasPrefix(name, "Acquire::http") && !strings.HasSuffix(line, `"";`) {
			options = append(options, strings.TrimSuffix(line, ";"))
		}
	}
	return options
}

// runLogged runs a program whose lines of information become progress, and whose
// last other lines become the error.
func runLogged(ctx context.Context, progress io.Writer, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, "sh", append([]string{"-c", `umask 022; exec "$0" "$@"`, name}, args...)...)
	// Its own group: Ctrl-C is for us to hand on, once.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd.Stdout, cmd.Stderr = w, w
	err = cmd.Start()
	w.Close()
	if err != nil {
		return err
	}
	var last tail
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if info, ok := strings.CutPrefix(line, "I: "); ok {
			fmt.Fprintf(progress, "image: %s\n", info)
			continue
		}
		last.add(line)
	}
	_, _ = io.Copy(io.Discard, r)
	if err := cmd.Wait(); err != nil {
		if ctx.Err() != nil {
			// What the program started may still write into the tree.
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			return ctx.Err()
		}
		return fmt.Errorf("%s: %w\n%s", name, err, last.String())
	}
	return nil
}

// A tail keeps the last lines of an output, errors rather than chatter.
type tail struct{ errors, all [][]byte }

const tailLines = 12

func (t *tail) add(line string) {
	if strings.TrimSpace(line) == "" {
		return
	}
	t.all = append(t.all, []byte("  "+line))
	t.all = t.all[max(0, len(t.all)-tailLines):]
	if strings.HasPrefix(line, "E: ") || strings.HasPrefix(line, "Err:") || strings.Contains(line, "rror:") {
		t.errors = append(t.errors, []byte("  "+line))
		t.errors = t.errors[max(0, len(t.errors)-tailLines):]
	}
}

func (t *tail) String() string {
	if len(t.errors) > 0 {
		return string(bytes.Join(t.errors, []byte("\n")))
	}
	return string(bytes.Join(t.all, []byte("\n")))
}
