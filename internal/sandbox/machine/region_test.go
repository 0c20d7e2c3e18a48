//go:build linux

package machine

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pcluster/internal/sandbox/image"
	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/vpc"
)

// A testRegion is a network with machines in it, and an instance metadata service
// that has just what cloud-init asks for.
type testRegion struct {
	t     *testing.T
	name  string
	dir   string
	net   *vpc.Network
	m     *Manager
	ca    []byte
	base  []string
	exits chan Exit
	locks []string // that nspawn has while machines run

	mu       sync.Mutex
	userData map[netip.Addr]string
}

var testSubnet = netip.MustParsePrefix("10.0.1.0/24")

// imageCache is where `pcluster sandbox up` keeps images, too.
const imageCache = "/var/cache/pcluster/images"

func newTestRegion(t *testing.T) *testRegion {
	t.Helper()
	if testing.Short() {
		t.Skip("boots machines: not in short mode")
	}
	if os.Geteuid() != 0 {
		t.Skip("booting machines needs root")
	}
	for _, tool := range []string{"systemd-nspawn", "mmdebstrap", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("booting machines needs %s", tool)
		}
	}
	base, err := image.Base(t.Context(), imageCache, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	r := &testRegion{
		t: t, name: fmt.Sprintf("machinetest-%d", os.Getpid()), dir: t.TempDir(), base: base, ca: testCA(t),
		exits: make(chan Exit, 100), userData: map[netip.Addr]string{},
	}
	r.net, err = vpc.Up(t.Context(), vpc.Config{Name: r.name, Dir: filepath.Join(r.dir, "network"), Identity: region.NewIdentity("", "")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.net.Down(context.Background()); err != nil {
			t.Error(err)
		}
	})
	r.m = r.open()
	t.Cleanup(func() {
		if err := r.m.RemoveAll(context.Background()); err != nil {
			t.Error(err)
		}
		if err := r.m.Close(); err != nil {
			t.Error(err)
		}
		r.assertNothingLeft()
	})
	if err := r.net.ServeDNS(); err != nil {
		t.Fatal(err)
	}
	r.serve(vpc.MetadataAddr+":80", http.HandlerFunc(r.metadata))
	r.serve(vpc.EndpointAddr+":2049", r.m.MountHandler(hostDirectories{r}))
	r.allow(allowAll)
	return r
}

// open is what a new daemon does.
func (r *testRegion) open() *Manager {
	r.t.Helper()
	m, err := New(Config{
		Name: r.name, Dir: filepath.Join(r.dir, "machines"), Network: r.net, CA: r.ca,
		OnExit: func(e Exit) { r.exits <- e }, Log: slog.New(slog.NewTextHandler(r.t.Output(), nil)),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return m
}

func (r *testRegion) serve(address string, h http.Handler) {
	r.t.Helper()
	l, err := r.net.Listen("tcp", address)
	if err != nil {
		r.t.Fatal(err)
	}
	srv := &http.Server{Handler: h}
	go func() { _ = srv.Serve(l) }()
	r.t.Cleanup(func() { srv.Close() })
}

var allowAll = vpc.Rule{Protocol: "-1", CIDR: netip.MustParsePrefix("0.0.0.0/0")}

// allow puts all addresses of the subnet into one security group.
func (r *testRegion) allow(ingress ...vpc.Rule) {
	r.t.Helper()
	g := vpc.Group{ID: "sg-0test", Ingress: ingress, Egress: []vpc.Rule{allowAll}}
	for a := testSubnet.Addr(); testSubnet.Contains(a); a = a.Next() {
		g.Members = append(g.Members, a)
	}
	if err := r.net.SetGroups([]vpc.Group{g}); err != nil {
		r.t.Fatal(err)
	}
}

// spec describes a machine whose last address byte is n. User data makes it a
// machine with cloud-init.
func (r *testRegion) spec(n int, userData string) Spec {
	addr := netip.AddrFrom4([4]byte{10, 0, 1, byte(n)})
	s := Spec{
		ID: fmt.Sprintf("i-0%08x%08d", os.Getpid(), n), Layers: r.base, Hostname: fmt.Sprintf("ip-10-0-1-%d", n),
		VCPUs: 4, MemoryMiB: 3000, TypeName: "c9.test",
		Interfaces: []Interface{{ID: fmt.Sprintf("eni-%08x%d", os.Getpid(), n), MAC: fmt.Sprintf("0e:aa:00:00:00:%02x", n), Addr: addr, Subnet: testSubnet}},
	}
	if userData == "" {
		s.Files = append(s.Files, File{Path: "/etc/cloud/cloud-init.disabled"})
	}
	r.mu.Lock()
	r.userData[addr] = userData
	r.mu.Unlock()
	return s
}

// start boots a machine.
func (r *testRegion) start(s Spec) {
	r.t.Helper()
	if err := r.m.Start(r.t.Context(), s); err != nil {
		r.t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(r.dir, "machines", s.ID, rootDir), &st); err != nil {
		r.t.Fatal(err)
	}
	r.locks = append(r.locks, fmt.Sprintf("/run/systemd/nspawn/locks/inode-%d:%d", st.Dev, st.Ino))
}

// patience is for slow and busy hosts, such as emulated ones.
const patience = 10 * time.Minute

// waitFor asks until the condition holds.
func waitFor(t *testing.T, what string, patience time.Duration, ok func() bool) {
	t.Helper()
	begin := time.Now()
	for !ok() {
		waited := time.Since(begin)
		if waited > patience {
			t.Fatalf("%s: not within %s", what, patience)
		}
		time.Sleep(5*time.Millisecond + waited/20) // asking costs a slow host more than it tells
	}
}

// greeted says whether the machine's sshd answers.
func (r *testRegion) greeted(a netip.Addr) bool {
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	c, err := r.net.Dial(ctx, "tcp", net.JoinHostPort(a.String(), "22"))
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	buf := make([]byte, 4)
	_, err = io.ReadFull(c, buf)
	return err == nil && string(buf) == "SSH-"
}

// sh runs a script in a machine, as somebody on it would, and returns its output.
func (r *testRegion) sh(id, script string) (string, error) {
	r.t.Helper()
	rec, err := r.record(id)
	if err != nil {
		return "", err
	}
	leader := rec.Leader.PID
	cmd := exec.CommandContext(r.t.Context(), "nsenter", "--target", fmt.Sprint(leader), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--time", "--root", "--wd", "/bin/bash", "-c", script)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8"}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	return strings.TrimSpace(out.String()), err
}

// record returns what the manager knows of a running machine.
func (r *testRegion) record(id string) (record, error) {
	in, err := r.m.running(id)
	if err != nil {
		return record{}, err
	}
	defer in.op.Unlock()
	return in.rec, nil
}

func (r *testRegion) kill(id string, which func(record) process) error {
	rec, err := r.record(id)
	if err != nil {
		return err
	}
	return which(rec).signal(unix.SIGKILL)
}

func (r *testRegion) mustSh(id, script string) string {
	r.t.Helper()
	out, err := r.sh(id, script)
	if err != nil {
		r.t.Fatalf("on %s: %s\n%v: %s", id, script, err, out)
	}
	return out
}

// last runs a script that ends the machine, and may end with it before it can say how it went.
func (r *testRegion) last(id, script string) {
	r.t.Helper()
	if out, err := r.sh(id, script); err != nil {
		r.t.Logf("on %s: %s: %v: %s", id, script, err, out)
	}
}

func (r *testRegion) wantExit(id string, reason ExitReason) {
	r.t.Helper()
	select {
	case e := <-r.exits:
		if e.ID != id || e.Reason != reason {
			r.t.Errorf("exit of %s: %s, want %s: %s", e.ID, e.Reason, id, reason)
		}
	case <-time.After(patience):
		r.t.Fatalf("no exit of %s (%s)", id, reason)
	}
}

// assertNothingLeft looks at the host for what machines must not leave.
func (r *testRegion) assertNothingLeft() {
	r.t.Helper()
	for _, check := range []struct{ what, file, text string }{
		{"a mount", "/proc/thread-self/mountinfo", r.dir},
	} {
		data, err := os.ReadFile(check.file)
		if err != nil {
			r.t.Fatal(err)
		}
		if strings.Contains(string(data), check.text) {
			r.t.Errorf("%s is left:\n%s", check.what, data)
		}
	}
	cgroups, _ := filepath.Glob("/sys/fs/cgroup/*/" + r.name)
	scopes, _ := filepath.Glob("/sys/fs/cgroup/pcluster.slice/" + r.name + "_*")
	if left := append(cgroups, scopes...); len(left) > 0 {
		r.t.Errorf("cgroups are left: %v", left)
	}
	if ids, err := r.net.Retain(nil); err != nil || len(ids) > 0 {
		r.t.Errorf("interfaces are left: %v, %v", ids, err)
	}
	for _, path := range r.locks {
		if _, err := os.Lstat(path); err == nil {
			r.t.Errorf("a lock of nspawn is left: %s", path)
		}
	}
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range procs {
		if data, err := os.ReadFile(p); err == nil && bytes.Contains(data, []byte(r.dir)) {
			r.t.Errorf("a process is left: %s: %q", p, data)
		}
	}
	loops, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, l := range loops {
		if data, err := os.ReadFile(l); err == nil && bytes.HasPrefix(data, []byte(r.dir)) {
			r.t.Errorf("a loop device is left: %s: %s", l, data)
		}
	}
	if left, err := os.ReadDir(filepath.Join(r.dir, "machines")); err == nil && len(left) > 0 {
		r.t.Errorf("files are left: %v", left)
	}
}

// hostDirectories resolves file systems to directories of the test.
type hostDirectories struct{ r *testRegion }

func (d hostDirectories) Resolve(_ context.Context, fsType, source string, _ []string, _ string) (string, error) {
	host, _, _ := strings.Cut(source, ":")
	dir := filepath.Join(d.r.dir, "filesystems", fsType+"-"+host)
	if _, err := os.Stat(dir); err != nil {
		return "", fmt.Errorf("no file system server %s in this region", host)
	}
	return dir, nil
}

// metadata is the part of IMDSv2 that cloud-init needs.
func (r *testRegion) metadata(w http.ResponseWriter, req *http.Request) {
	host, _ := netip.ParseAddrPort(req.RemoteAddr)
	if req.Method == http.MethodPut && req.URL.Path == "/latest/api/token" {
		w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600")
		_, _ = io.WriteString(w, "token")
		return
	}
	if req.Header.Get("X-Aws-Ec2-Metadata-Token") == "" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	r.mu.Lock()
	userData := r.userData[host.Addr()]
	r.mu.Unlock()
	name := "ip-" + strings.ReplaceAll(host.Addr().String(), ".", "-")
	tree := map[string]string{
		"meta-data/instance-id": "i-" + name, "meta-data/local-hostname": name + ".ec2.internal", "meta-data/hostname": name + ".ec2.internal",
		"meta-data/ami-id": "ami-0test", "meta-data/instance-type": "c9.test", "meta-data/local-ipv4": host.Addr().String(),
		"meta-data/mac": "0e:aa:00:00:00:01", "meta-data/placement/availability-zone": "us-east-1a",
		"meta-data/public-keys/0/openssh-key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPg0lGzEnKpd1zYPn0b8uM5yPv3vS3b5Qk0dDk7oIhpP test",
		"meta-data/public-keys/":              "0=test",
		"user-data":                           userData,
		"dynamic/instance-identity/document":  `{"region":"us-east-1"}`,
	}
	_, path, _ := strings.Cut(strings.TrimPrefix(req.URL.Path, "/"), "/")
	if text, ok := tree[path]; ok {
		_, _ = io.WriteString(w, text)
		return
	}
	var list []string
	for k := range tree {
		if rest, ok := strings.CutPrefix(k, strings.TrimSuffix(path, "/")+"/"); ok && rest != "" {
			item, below, _ := strings.Cut(rest, "/")
			if below != "" {
				item += "/"
			}
			if !slices.Contains(list, item) {
				list = append(list, item)
			}
		}
	}
	if len(list) == 0 {
		http.NotFound(w, req)
		return
	}
	slices.Sort(list)
	_, _ = io.WriteString(w, strings.Join(list, "\n"))
}

func testCA(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test  Region CA", Organization: []string{"Sandbox é"}, Country: []string{"CH"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// assertNothingLeftOf looks for what one machine must not leave behind.
func (r *testRegion) assertNothingLeftOf(id string) {
	r.t.Helper()
	procs, _ := filepath.Glob("/proc/[0-9]*/mountinfo")
	for _, p := range append(procs, "/proc/thread-self/mountinfo") {
		if data, err := os.ReadFile(p); err == nil && strings.Contains(string(data), id+"/"+rootDir+" ") {
			r.t.Errorf("%s still has a mount of %s", p, id)
		}
	}
	for _, pattern := range []string{"/sys/fs/cgroup/*/" + r.name + "/" + id, "/sys/fs/cgroup/pcluster.slice/*" + id + "*", "/run/systemd/nspawn/*/" + id} {
		if left, _ := filepath.Glob(pattern); len(left) > 0 {
			r.t.Errorf("left: %v", left)
		}
	}
}
