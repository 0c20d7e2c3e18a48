//go:build linux

package machine

import (
	"fmt"
	"os"
	"strings"
)

// facts are the files through which a machine tells its instance type, by their
// path in the machine. Those below /sys and the UUID, by which software knows that
// it runs on EC2, have to be there when it boots.
const (
	cpuinfoFile = "cpuinfo"
	meminfoFile = "meminfo"
	uuidFile    = "uuid"
)

// dmiFacts are the files of the mainboard as an EC2 instance shows them.
func dmiFacts(s Spec, uuid string) map[string]string {
	return map[string]string{
		"sys_vendor": "Amazon EC2", "bios_vendor": "Amazon EC2", "board_vendor": "Amazon EC2", "chassis_vendor": "Amazon EC2",
		"product_name": s.TypeName, "board_asset_tag": s.ID, "chassis_asset_tag": "Amazon EC2",
		"product_uuid": uuid, "product_serial": uuid,
	}
}

// writeFacts writes the machine's facts as files of the host, and returns options
// of nspawn that show those which a machine needs to see from its first moment.
func writeFacts(in *instance) (binds []string, err error) {
	s := in.rec.Spec
	uuid := machineUUID(s.ID)
	hostCPU, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return nil, err
	}
	files := map[string]string{
		cpuinfoFile: cpuinfo(s, string(hostCPU)), meminfoFile: meminfo(s), uuidFile: uuid + "\n",
	}
	binds = append(binds, "--bind-ro="+in.path(factsDir+"/"+uuidFile)+":/sys/hypervisor/uuid")
	for name, value := range dmiFacts(s, uuid) {
		const dmi = "/sys/devices/virtual/dmi/id"
		if fileExists(dmi, name) { // else a machine can't have it either
			files[name] = value + "\n"
			binds = append(binds, "--bind-ro="+in.path(factsDir+"/"+name)+":"+dmi+"/"+name)
		}
	}
	for name, text := range files {
		if err := os.WriteFile(in.path(factsDir+"/"+name), []byte(text), 0o444); err != nil {
			return nil, err
		}
	}
	return binds, nil
}

// machineUUID derives the UUID of the hardware from an instance's ID. It begins
// with ec2, as on EC2.
func machineUUID(id string) string {
	digits := strings.Map(func(c rune) rune {
		if strings.ContainsRune("0123456789abcdef", c) {
			return c
		}
		return -1
	}, id)
	digits = "ec2" + strings.Repeat("0", 29) + digits
	digits = "ec2" + digits[len(digits)-29:]
	return digits[:8] + "-" + digits[8:12] + "-" + digits[12:16] + "-" + digits[16:20] + "-" + digits[20:]
}

// cpuinfo returns /proc/cpuinfo with the processors of the instance type. What
// else is to be said about them is what the host says of its first one.
func cpuinfo(s Spec, host string) string {
	first, _, _ := strings.Cut(host, "\n\n")
	n := max(s.VCPUs, 1)
	var b strings.Builder
	for i := range n {
		for _, line := range strings.Split(strings.TrimRight(first, "\n"), "\n") {
			key, _, _ := strings.Cut(line, ":")
			key = strings.TrimRight(key, "\t ")
			switch key {
			case "processor", "core id", "apicid", "initial apicid":
				fmt.Fprintf(&b, "%s: %d\n", pad(key), i)
			case "siblings", "cpu cores":
				fmt.Fprintf(&b, "%s: %d\n", pad(key), n)
			case "physical id":
				fmt.Fprintf(&b, "%s: 0\n", pad(key))
			case "model name":
				fmt.Fprintf(&b, "%s: %s\n", pad(key), s.TypeName)
			default:
				b.WriteString(line + "\n")
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

// pad puts the colons of /proc/cpuinfo in one column.
func pad(key string) string {
	if len(key) < 8 {
		return key + "\t\t"
	}
	return key + "\t"
}

// meminfo returns /proc/meminfo of an idle machine with the memory of the
// instance type. The numbers do not change: limits are enforced by the cgroup,
// which the sandbox reports on.
func meminfo(s Spec) string {
	total := max(s.MemoryMiB, 1) << 10 // kB
	used := min(total/10, 200<<10)
	cached := min(total/10, 300<<10)
	var b strings.Builder
	for _, line := range []struct {
		name  string
		value int64
	}{
		{"MemTotal", total}, {"MemFree", total - used - cached}, {"MemAvailable", total - used},
		{"Buffers", 0}, {"Cached", cached}, {"SwapCached", 0},
		{"Active", used / 2}, {"Inactive", used/2 + cached}, {"SwapTotal", 0}, {"SwapFree", 0},
		{"Dirty", 0}, {"Writeback", 0}, {"AnonPages", used}, {"Mapped", used / 2}, {"Shmem", 0},
		{"Slab", 0}, {"SReclaimable", 0}, {"SUnreclaim", 0},
		{"CommitLimit", total}, {"Committed_AS", used},
	} {
		fmt.Fprintf(&b, "%-15s %8d kB\n", line.name+":", line.value)
	}
	b.WriteString("HugePages_Total:       0\nHugePages_Free:        0\nHugepagesize:       2048 kB\n")
	return b.String()
}
