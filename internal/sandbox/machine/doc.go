// Package machine boots the machines behind instances: systemd-nspawn containers
// that look like EC2 instances from inside.
//
// A machine's root file system is an overlay: the layers of its image, and above
// them a directory of its own, which is its disk and is kept until [Manager.Remove].
// It has its own cgroup in every hierarchy (limits, usage, and the one sure way to
// kill it), its own uptime, interfaces in the region's [vpc.Network], and
// /proc/cpuinfo and /proc/meminfo of its instance type.
//
// Machines do not depend on the process that started them. Everything needed to
// find them again is on disk before it is acted on; [New] finds what runs, finishes
// the end of what ended meanwhile, and clears up what was half started.
//
// File systems that a machine mounts are directories of the host or of other
// machines, attached from outside: see [Manager.MountHandler].
//
// Start at [Manager.Start]. What a machine is, is in [Spec]; the steps of a boot
// are in boot.go, of an end in exit.go.
package machine
