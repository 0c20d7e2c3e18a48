package machine

import (
	"net/netip"
	"time"
)

// A Spec is everything that a machine needs to boot. It can be stored as JSON and
// used again for the next boot of the same machine.
type Spec struct {
	ID       string   // the instance's ID, i-…; also the machine's name
	Layers   []string // directories of its image, lowest first
	Hostname string   // as the node finds it before cloud-init ran: ip-10-0-1-5

	Interfaces []Interface // the first is eth0

	VCPUs     int
	MemoryMiB int64
	TypeName  string // instance type, shown in /proc/cpuinfo's model name and DMI-like files

	RootGiB int64    // size of the root disk; 0: that of the host's file system
	Volumes []Volume // block devices attached from the start, root excluded
	Files   []File   // written into the machine's disk before each first boot
}

// An Interface is a network interface in the region's network.
type Interface struct {
	ID       string // eni-…
	MAC      string
	Addr     netip.Addr
	Subnet   netip.Prefix
	GroupIDs []string   // security groups
	Public   netip.Addr // zero without a public address
}

// A Volume is a block device backed by a file of the host.
type Volume struct {
	ID     string // vol-…
	Path   string // sparse file on the host
	Device string // name in the machine, /dev/sdb
}

// A File is put into a machine's root file system.
type File struct {
	Path    string
	Mode    uint32
	Content []byte
}

// ExitReason says how a machine ended.
type ExitReason string

// Ways for a machine to end.
const (
	PoweredOff ExitReason = "powered off" // from inside: shutdown -h, poweroff
	Rebooted   ExitReason = "rebooted"    // from inside; the machine is started again by its owner
	Stopped    ExitReason = "stopped"     // by Stop or Kill
	Died       ExitReason = "died"        // its first process was killed, or could not start
)

// An Exit is the end of a machine.
type Exit struct {
	ID     string
	Reason ExitReason
	At     time.Time
}
