//go:build linux

package machine

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFactsAreThoseOfTheInstanceType(t *testing.T) {
	const host = "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Host CPU\nphysical id\t: 3\nsiblings\t: 1\ncore id\t\t: 0\ncpu cores\t: 1\nflags\t\t: fpu avx2\n\nprocessor\t: 1\n"
	got := cpuinfo(Spec{VCPUs: 2, TypeName: "c7a.large"}, host)
	const one = "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: c7a.large\nphysical id\t: 0\nsiblings\t: 2\ncore id\t\t: 0\ncpu cores\t: 2\nflags\t\t: fpu avx2\n\n"
	two := strings.NewReplacer("processor\t: 0", "processor\t: 1", "core id\t\t: 0", "core id\t\t: 1").Replace(one)
	if diff := cmp.Diff(one+two, got); diff != "" {
		t.Errorf("cpuinfo (-want +got):\n%s", diff)
	}
	mem := meminfo(Spec{MemoryMiB: 1024})
	for _, line := range []string{"MemTotal:        1048576 kB\n", "SwapTotal:             0 kB\n"} {
		if !strings.Contains(mem, line) {
			t.Errorf("meminfo lacks %q:\n%s", line, mem)
		}
	}
}

func TestMachineUUID(t *testing.T) {
	a, b := machineUUID("i-0123456789abcdef0"), machineUUID("i-0123456789abcdef1")
	if !strings.HasPrefix(a, "ec2") || len(a) != 36 || a == b || strings.Count(a, "-") != 4 {
		t.Errorf("UUIDs %s, %s", a, b)
	}
	if id := machineUUID("db-mydatabase"); len(id) != 36 {
		t.Errorf("UUID of another machine: %s", id)
	}
}

func TestParseHierarchies(t *testing.T) {
	for name, tt := range map[string]struct {
		mountinfo string
		want      []hierarchy
	}{
		"hybrid": {
			"25 24 0:22 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n26 24 0:23 / /sys/fs/cgroup/systemd rw shared:1 - cgroup cgroup rw,name=systemd\n" +
				"27 24 0:24 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n28 24 0:24 / /other rw - cgroup cgroup rw,cpu,cpuacct\n29 1 8:1 / / rw - ext4 /dev/sda rw\n",
			[]hierarchy{
				{mount: "/sys/fs/cgroup/unified", unified: true},
				{mount: "/sys/fs/cgroup/systemd", controllers: []string{"name=systemd"}},
				{mount: "/sys/fs/cgroup/cpu,cpuacct", controllers: []string{"cpu", "cpuacct"}},
			},
		},
		"unified": {
			"30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n",
			[]hierarchy{{mount: "/sys/fs/cgroup", unified: true}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, parseHierarchies(tt.mountinfo), cmp.AllowUnexported(hierarchy{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestValidID(t *testing.T) {
	for id, want := range map[string]bool{
		"i-0123456789abcdef0": true, "db-mysql": true, "": false, "../x": false, "a_b": false, "-x": false, "A": false,
		strings.Repeat("a", 64): false,
	} {
		if validID(id) != want {
			t.Errorf("validID(%q) = %v", id, !want)
		}
	}
}
