//go:build linux

package machine

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pcluster/internal/sandbox/vpc"
)

func TestBootedMachineLooksLikeAnInstance(t *testing.T) {
	r := newTestRegion(t)
	s := r.spec(5, "#!/bin/sh\necho \"user data as $(id -un)\" >/run/user-data\n")
	s.Files = []File{{Path: "/etc/slurm/from-spec", Mode: 0o640, Content: []byte("x")}} // through a link in the image
	addr := s.Interfaces[0].Addr
	begin := time.Now()
	r.start(s)
	t.Logf("Start returned after %v", time.Since(begin).Round(time.Millisecond))
	waitFor(t, "sshd", patience, func() bool { return r.greeted(addr) })
	t.Logf("sshd answered after %v", time.Since(begin).Round(time.Millisecond))
	waitFor(t, "user data", patience, func() bool {
		_, err := r.sh(s.ID, "test -e /run/cloud-init/result.json")
		return err == nil
	})
	t.Logf("cloud-init done after %v", time.Since(begin).Round(time.Millisecond))

	for script, want := range map[string]string{
		"cat /run/user-data":                                      "user data as root",
		"hostname; hostname -f":                                   "ip-10-0-1-5\nip-10-0-1-5.ec2.internal",
		"cat /etc/resolv.conf":                                    "search ec2.internal\nnameserver 10.0.1.2",
		"getent hosts ip-10-0-1-5.ec2.internal":                   "10.0.1.5        ip-10-0-1-5.ec2.internal",
		"getent ahostsv4 ec2.us-east-1.amazonaws.com":             "169.254.171.1   STREAM ec2.us-east-1.amazonaws.com\n169.254.171.1   DGRAM  \n169.254.171.1   RAW",
		"getent hosts example.com || echo unknown":                "unknown",
		"cat /sys/class/net/eth0/address":                         "0e:aa:00:00:00:05",
		"ls /sys/class/net":                                       "eth0\nlo",
		"grep -c ^processor /proc/cpuinfo":                        "4",
		"grep MemTotal /proc/meminfo":                             "MemTotal:        3072000 kB",
		"free -m | awk '/Mem:/{print $2}'":                        "3000",
		"head -c3 /sys/hypervisor/uuid":                           "ec2",
		"stat -c %a /opt/slurm/etc/from-spec":                     "640",
		"systemctl is-system-running --wait":                      "running",
		"ls /etc/ssh/ssh_host_*_key":                              "/etc/ssh/ssh_host_ecdsa_key\n/etc/ssh/ssh_host_ed25519_key",
		"cut -d' ' -f3 ~ec2-user/.ssh/authorized_keys":            "test",
		"sudo -u ec2-user sudo id -un":                            "root",
		"findmnt -no FSTYPE /tmp || echo disk":                    "disk",
		"/opt/slurm/sbin/slurmd -V; /opt/slurm/sbin/slurmctld -V": "slurm-wlm 24.11.5\nslurm-wlm 24.11.5",
		"systemctl list-units --failed --plain --no-legend":       "",
		"cat /sys/fs/cgroup/cgroup.procs":                         "",
		"touch /dev/fuse":                                         "",
	} {
		if got := r.mustSh(s.ID, script); got != want {
			t.Errorf("%s:\n%s\nwant:\n%s", script, got, want)
		}
	}
	for user, id := range map[string]string{"slurm": "401", "munge": "402", "pcluster-admin": "400"} {
		if got := r.mustSh(s.ID, "id -u "+user+"; id -g "+user); got != id+"\n"+id {
			t.Errorf("IDs of %s: %q", user, got)
		}
	}
	if up, _, _ := strings.Cut(r.mustSh(s.ID, "cat /proc/uptime"), " "); !between(up, 0.5, time.Since(begin).Seconds()) {
		t.Errorf("uptime is %s s, %v after the start", up, time.Since(begin))
	}
	// What OpenSSL, and with it Python and curl, take for the name of the file.
	const openssl = "openssl verify -CApath /etc/ssl/certs /usr/local/share/ca-certificates/sandbox-region.crt; openssl verify -no-CApath -CAfile /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/sandbox-region.pem"
	if out := r.mustSh(s.ID, openssl); strings.Count(out, ": OK") != 2 {
		t.Errorf("the region's certificate is not trusted: %s", out)
	}
	console, err := r.m.Console(s.ID)
	if err != nil || !strings.Contains(string(console), "Cloud-init") {
		t.Errorf("console (%v):\n%s", err, console)
	}
	used, err := r.m.Usage(s.ID)
	if err != nil || used < 10<<20 || used > 500<<20 {
		t.Errorf("memory in use: %d MiB, %v", used>>20, err)
	}
	t.Logf("memory in use: %d MiB", used>>20)
}

func between(s string, low, high float64) bool {
	v, err := strconv.ParseFloat(s, 64)
	return err == nil && v >= low && v <= high
}

func TestHowMachinesEnd(t *testing.T) {
	r := newTestRegion(t)
	for name, tt := range map[string]struct {
		end  func(id string) error
		want ExitReason
	}{
		"powered off from inside": {func(id string) error { r.last(id, "systemctl poweroff"); return nil }, PoweredOff},
		"halted from inside":      {func(id string) error { r.last(id, "shutdown -h now"); return nil }, PoweredOff},
		"rebooted from inside":    {func(id string) error { r.last(id, "systemctl reboot"); return nil }, Rebooted},
		"stopped":                 {func(id string) error { return r.m.Stop(t.Context(), id) }, Stopped},
		"killed":                  {func(id string) error { return r.m.Kill(t.Context(), id) }, Stopped},
		"its init killed":         {func(id string) error { return r.kill(id, func(r record) process { return r.Leader }) }, Died},
		"its supervisor killed":   {func(id string) error { return r.kill(id, func(r record) process { return r.Nspawn }) }, Died},
	} {
		t.Run(name, func(t *testing.T) {
			s := r.spec(9, "")
			r.start(s)
			waitFor(t, "sshd", patience, func() bool { return r.greeted(s.Interfaces[0].Addr) })
			if name == "powered off from inside" {
				r.mustSh(s.ID, "echo kept >/root/file")
			}
			begin := time.Now()
			if err := tt.end(s.ID); err != nil {
				t.Fatal(err)
			}
			r.wantExit(s.ID, tt.want)
			t.Logf("took %v", time.Since(begin).Round(time.Millisecond))
			if running := r.m.Running(); len(running) != 0 {
				t.Errorf("still runs: %v", running)
			}
			if err := r.m.Remove(t.Context(), s.ID); err != nil {
				t.Error(err)
			}
			r.assertNothingLeftOf(s.ID)
		})
	}
}

func TestDiskIsKeptUntilRemove(t *testing.T) {
	r := newTestRegion(t)
	s := r.spec(9, "")
	r.start(s)
	waitFor(t, "sshd", patience, func() bool { return r.greeted(s.Interfaces[0].Addr) })
	r.mustSh(s.ID, "echo kept >/root/file; rm /etc/motd")
	before := r.mustSh(s.ID, "cat /etc/machine-id")
	if err := r.m.Start(t.Context(), s); err == nil {
		t.Error("a running machine can be started")
	}
	if err := r.m.Remove(t.Context(), s.ID); err == nil {
		t.Error("a running machine can be removed")
	}
	if err := r.m.Stop(t.Context(), s.ID); err != nil {
		t.Fatal(err)
	}
	layer := filepath.Join(r.dir, "layer")
	if err := r.m.Capture(t.Context(), s.ID, layer, false); err != nil {
		t.Fatal(err)
	}
	r.start(s)
	if got := r.mustSh(s.ID, "cat /root/file /etc/machine-id; test ! -e /etc/motd"); got != "kept\n"+before {
		t.Errorf("after the second start: %q", got)
	}
	if err := r.m.Kill(t.Context(), s.ID); err != nil {
		t.Fatal(err)
	}
	if err := r.m.Remove(t.Context(), s.ID); err != nil {
		t.Fatal(err)
	}
	s.Layers = append(s.Layers, layer)
	r.start(s)
	if got := r.mustSh(s.ID, "cat /root/file; test ! -e /etc/motd"); got != "kept" {
		t.Errorf("on the layer: %q", got)
	}
	if got := r.mustSh(s.ID, "cat /etc/machine-id"); got == before {
		t.Error("two machines have the same ID")
	}
}

func TestLimitsOfTheInstanceTypeHold(t *testing.T) {
	r := newTestRegion(t)
	s := r.spec(9, "")
	s.MemoryMiB, s.VCPUs = 200, 1
	r.start(s)
	waitFor(t, "sshd", patience, func() bool { return r.greeted(s.Interfaces[0].Addr) })
	out, err := r.sh(s.ID, "systemd-run --wait --pipe --quiet python3 -c 'x = bytearray(400 << 20); print(len(x))'")
	if err == nil {
		t.Errorf("a process got 400 MiB of a machine with 200: %s", out)
	}
	if out := r.mustSh(s.ID, "systemd-run --wait --pipe --quiet python3 -c 'print(len(bytearray(50 << 20)))'"); out != "52428800" {
		t.Errorf("the machine does not work any more: %s", out)
	}
}

func TestGroupsBetweenMachines(t *testing.T) {
	r := newTestRegion(t)
	a, b := r.spec(5, ""), r.spec(6, "")
	r.start(a)
	r.start(b)
	waitFor(t, "sshd", patience, func() bool { return r.greeted(b.Interfaces[0].Addr) })
	const call = "bash -c 'head -c4 </dev/tcp/10.0.1.6/22'"
	if out, err := r.sh(a.ID, "timeout 60 "+call); err != nil || out != "SSH-" {
		t.Errorf("open: %q, %v", out, err)
	}
	r.allow()
	if out, err := r.sh(a.ID, "timeout 1 "+call); err == nil {
		t.Errorf("closed: %q", out)
	}
	r.allow(vpc.Rule{Protocol: "tcp", FromPort: 22, ToPort: 22, GroupID: "sg-0test"})
	if out, err := r.sh(a.ID, "timeout 60 "+call); err != nil || out != "SSH-" {
		t.Errorf("open to the group: %q, %v", out, err)
	}
}

func TestDirectoriesAndMounts(t *testing.T) {
	r := newTestRegion(t)
	head, node := r.spec(5, ""), r.spec(6, "")
	r.start(head)
	r.start(node)
	waitFor(t, "systemd", patience, func() bool { return r.greeted(node.Interfaces[0].Addr) && r.greeted(head.Interfaces[0].Addr) })

	shared := filepath.Join(r.dir, "shared")
	for _, dir := range []string{shared, filepath.Join(r.dir, "filesystems", "efs-fs-1"), filepath.Join(r.dir, "filesystems", "lustre-fs-2.fsx")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{head.ID, node.ID} {
		begin := time.Now()
		if err := r.m.AttachDirectory(t.Context(), id, shared, "/deep/shared"); err != nil {
			t.Fatal(err)
		}
		t.Logf("directory attached in %v", time.Since(begin).Round(100*time.Microsecond))
	}
	r.mustSh(head.ID, "echo hello >/deep/shared/file")
	if got := r.mustSh(node.ID, "cat /deep/shared/file; umount /deep/shared; ls /deep/shared"); got != "hello" {
		t.Errorf("shared directory: %q", got)
	}

	r.mustSh(head.ID, `mkdir -p /exports/home /exports/secret /opt/slurm/etc; echo head >/exports/home/who
mount -t tmpfs none /exports/home/; echo below >/exports/home/who
echo '/exports/home 10.0.1.0/24(rw,sync,no_root_squash) # all' >/etc/exports
echo '/exports/secret 10.0.9.0/24(rw)' >>/etc/exports
echo '/opt/slurm *(ro)' >>/etc/exports
exportfs -ra; systemctl start nfs-server`)
	for _, tt := range []struct {
		name, script, want string
		status             int
	}{
		{"by address, read and write", "mkdir -p /home1 && mount -t nfs 10.0.1.5:/exports/home /home1 && cat /home1/who && echo node >/home1/node && mountpoint -q /home1 && umount /home1", "below", 0},
		{"by name, below an export", "mkdir -p /s && mount -t nfs4 -o hard,_netdev,noatime ip-10-0-1-5.ec2.internal:/opt/slurm/etc /s && touch /s/x", "touch: cannot touch '/s/x': Read-only file system", 1},
		{"not exported to this client", "mount -t nfs 10.0.1.5:/exports/secret /mnt", "mount.nfs: access denied by server while mounting 10.0.1.5:/exports/secret", 32},
		{"not exported", "mount -t nfs 10.0.1.5:/etc /mnt", "mount.nfs: access denied by server while mounting 10.0.1.5:/etc", 32},
		{"a server that is nobody", "mount -t nfs 10.0.1.77:/home /mnt", "mount.nfs: no file system server 10.0.1.77 in this region", 32},
		{"EFS", "mkdir -p /efs && mount -t efs -o tls,iam fs-1:/ /efs && touch /efs/file && umount /efs", "", 0},
		{"Lustre", "mkdir -p /fsx && mount -t lustre -o noatime,flock fs-2.fsx@tcp:/abc /fsx", "mount.lustre: no file system server fs-2.fsx@tcp in this region", 32},
		{"fstab", "echo '10.0.1.5:/exports/home /fstab nfs hard,_netdev 0 0' >>/etc/fstab; mkdir -p /fstab; mount -a && cat /fstab/node && systemctl daemon-reload && systemctl restart fstab.mount && cat /fstab/node", "node\nnode", 0},
		{"no mount point", "mount -t nfs 10.0.1.5:/exports/home /nowhere", "mount.nfs: mount point /nowhere does not exist", 32},
	} {
		out, err := r.sh(node.ID, tt.script)
		status := 0
		if e, ok := err.(interface{ ExitCode() int }); ok {
			status = e.ExitCode()
		}
		if out != tt.want || status != tt.status {
			t.Errorf("%s: %q, status %d; want %q, %d", tt.name, out, status, tt.want, tt.status)
		}
	}

	r.allow(vpc.Rule{Protocol: "tcp", FromPort: 22, ToPort: 22, CIDR: testSubnet})
	if out, _ := r.sh(node.ID, "mount -t nfs 10.0.1.5:/exports/home /mnt"); out != "mount.nfs: Connection timed out" {
		t.Errorf("mount through a closed security group: %q", out)
	}
	r.allow(allowAll)
	// The server goes, with everything; its client's mounts must not hold it.
	if err := r.m.Kill(t.Context(), head.ID); err != nil {
		t.Fatal(err)
	}
	if out, _ := r.sh(node.ID, "mount -t nfs 10.0.1.5:/exports/home /mnt"); out != "mount.nfs: Connection timed out" {
		t.Errorf("mount from a machine that does not run: %q", out)
	}
	if err := r.m.Remove(t.Context(), head.ID); err != nil {
		t.Fatal(err)
	}
	r.assertNothingLeftOf(head.ID)
	if got := r.mustSh(node.ID, "cat /fstab/node; echo still here"); !strings.Contains(got, "still here") {
		t.Errorf("client after its server went: %q", got)
	}
}

func TestVolumes(t *testing.T) {
	r := newTestRegion(t)
	volume := func(id, device string) Volume {
		v := Volume{ID: id, Path: filepath.Join(r.dir, id), Device: device}
		f, err := os.Create(v.Path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := f.Truncate(400 << 20); err != nil {
			t.Fatal(err)
		}
		return v
	}
	first, second := volume("vol-0aaa", "/dev/sdb"), volume("vol-0bbb", "/dev/sdf")
	s := r.spec(9, "")
	s.Volumes = []Volume{first}
	r.start(s)
	waitFor(t, "sshd", patience, func() bool { return r.greeted(s.Interfaces[0].Addr) })
	if err := r.m.AttachVolume(t.Context(), s.ID, second); err != nil {
		t.Fatal(err)
	}
	r.mustSh(s.ID, `set -e
mkfs.ext4 -q /dev/sdb && mount /dev/nvme1n1 /mnt && echo one >/mnt/file && sync
dev=/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0bbb
mkfs.xfs -q $dev && mkdir -p /xfs && mount UUID=$(blkid -s UUID -o value $dev) /xfs && echo two >/xfs/file
systemd-run --wait --quiet touch /xfs/from-service`)
	if err := r.m.DetachVolume(t.Context(), s.ID, second); err == nil {
		t.Error("a mounted volume can be detached")
	}
	r.mustSh(s.ID, "umount /xfs")
	if err := r.m.DetachVolume(t.Context(), s.ID, second); err != nil {
		t.Fatal(err)
	}
	if out := r.mustSh(s.ID, "ls /dev/nvme*; ls -A /dev/disk/by-id"); out != "/dev/nvme1n1\nnvme-Amazon_Elastic_Block_Store_vol0aaa" {
		t.Errorf("after detaching: %s", out)
	}
	if err := r.m.Kill(t.Context(), s.ID); err != nil {
		t.Fatal(err)
	}
	r.start(s)
	if out := r.mustSh(s.ID, "mount /dev/sdb /mnt && cat /mnt/file"); out != "one" {
		t.Errorf("after the next start: %s", out)
	}
}

func TestNextDaemonFindsMachines(t *testing.T) {
	r := newTestRegion(t)
	lives, ends, dies := r.spec(5, ""), r.spec(6, ""), r.spec(7, "")
	for _, s := range []Spec{lives, ends, dies} {
		r.start(s)
	}
	for _, s := range []Spec{lives, ends, dies} {
		waitFor(t, "sshd", patience, func() bool { return r.greeted(s.Interfaces[0].Addr) })
	}
	old := r.m
	for _, in := range old.machines {
		in.op.Lock() // it is gone, as far as this test can do that: its watchers stand still
	}

	r.m = r.open()
	if diff := cmp.Diff([]string{lives.ID, ends.ID, dies.ID}, r.m.Running()); diff != "" {
		t.Errorf("the next daemon's machines (-want +got):\n%s", diff)
	}
	if id, ok := r.m.ByAddress(lives.Interfaces[0].Addr); !ok || id != lives.ID {
		t.Errorf("who has %s: %q, %v", lives.Interfaces[0].Addr, id, ok)
	}
	r.last(ends.ID, "systemctl poweroff")
	r.wantExit(ends.ID, PoweredOff)
	if err := r.kill(dies.ID, func(r record) process { return r.Leader }); err != nil {
		t.Error(err)
	}
	r.wantExit(dies.ID, Died)
	if err := r.m.Stop(t.Context(), lives.ID); err != nil {
		t.Error(err)
	}
	r.wantExit(lives.ID, Stopped)
}

func TestNextDaemonFinishesWhatTheLastBegan(t *testing.T) {
	r := newTestRegion(t)
	ended, half := r.spec(5, ""), r.spec(6, "")
	r.start(ended)
	r.start(half)
	// The daemon dies; then one machine is powered off and the record of the
	// other is as it was before its processes were known.
	for _, s := range []Spec{ended, half} {
		in := r.m.machines[s.ID]
		in.op.Lock() // its watcher can't do anything any more
	}
	in := r.m.machines[half.ID]
	in.rec.Leader, in.rec.Nspawn, in.rec.Keeper = process{}, process{}, process{}
	if err := in.save(); err != nil {
		t.Fatal(err)
	}
	keeper := r.m.machines[ended.ID].rec.Keeper
	_ = killAll(r.m.machines[ended.ID].cgroups)
	waitFor(t, "the end", patience, func() bool { return !keeper.alive() })

	r.m = r.open()
	got := map[string]ExitReason{}
	for range 2 {
		e := <-r.exits
		got[e.ID] = e.Reason
	}
	if diff := cmp.Diff(map[string]ExitReason{ended.ID: Died, half.ID: Died}, got); diff != "" {
		t.Errorf("ends (-want +got):\n%s", diff)
	}
	r.assertNothingLeftOf(ended.ID)
	r.assertNothingLeftOf(half.ID)
	r.start(ended) // its disk is still there
}

func TestFailedStartLeavesNothing(t *testing.T) {
	r := newTestRegion(t)
	s := r.spec(5, "")
	s.Layers = []string{filepath.Join(r.dir, "missing")}
	if err := r.m.Start(t.Context(), s); err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("start without image: %v", err)
	}
	s = r.spec(5, "")
	s.Volumes = []Volume{{ID: "vol-1", Path: filepath.Join(r.dir, "none"), Device: "/dev/sdb"}}
	if err := r.m.Start(t.Context(), s); err == nil || !strings.Contains(err.Error(), "vol-1") {
		t.Errorf("start without volume: %v", err)
	}
	r.assertNothingLeftOf(s.ID)
	if len(r.m.machines) != 0 {
		t.Errorf("the manager remembers %v", r.m.machines)
	}
}

// TestManyBootsAtOnce measures, and fails only if machines do not come up.
func TestManyBootsAtOnce(t *testing.T) {
	r := newTestRegion(t)
	const n = 8
	begin := time.Now()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var started, greeted, done []time.Duration
	note := func(list *[]time.Duration) {
		mu.Lock()
		*list = append(*list, time.Since(begin).Round(10*time.Millisecond))
		mu.Unlock()
	}
	for i := range n {
		s := r.spec(10+i, "#!/bin/sh\ntouch /run/user-data\n")
		wg.Go(func() {
			if err := r.m.Start(t.Context(), s); err != nil {
				t.Error(err)
				return
			}
			note(&started)
			waitFor(t, "sshd", patience, func() bool { return r.greeted(s.Interfaces[0].Addr) })
			note(&greeted)
			rec, err := r.record(s.ID)
			if err != nil {
				t.Error(err)
				return
			}
			root := fmt.Sprintf("/proc/%d/root/run/user-data", rec.Leader.PID)
			waitFor(t, "user data", patience, func() bool { _, err := os.Stat(root); return err == nil })
			note(&done)
		})
	}
	wg.Wait()
	slices.Sort(greeted)
	slices.Sort(done)
	t.Logf("%d machines: started %v, sshd %v, user data ran %v", n, started, greeted, done)
	begin = time.Now()
	if err := r.m.RemoveAll(t.Context()); err != nil {
		t.Error(err)
	}
	t.Logf("removed in %v", time.Since(begin).Round(time.Millisecond))
}
