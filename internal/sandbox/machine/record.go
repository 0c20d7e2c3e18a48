//go:build linux

package machine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A record is what must be known of a machine by whoever comes after this
// process. It is written before what it says is done.
type record struct {
	Spec     Spec
	Up       bool     // a start was begun and its end not dealt with yet
	Stopping bool     // somebody asked for the end
	Keeper   process  // waits for nspawn and writes down how it ended
	Nspawn   process  // the machine's supervisor
	Leader   process  // the machine's first process
	Attached []Volume // volumes that have, or may have, a loop device
}

// Files of a machine's directory.
const (
	recordFile  = "machine.json"
	consoleFile = "console.log"
	nspawnFile  = "nspawn.log"
	exitFile    = "exit" // exit status of nspawn
	pidFile     = "pid"  // of nspawn
	seededFile  = "seeded"
	diskFile    = "disk.img" // the file system that is the disk, if it has one of its own
	diskMount   = "volume"   // where that is mounted; in it are the next two
	upperDir    = "disk"
	workDir     = "work"
	rootDir     = "root" // where the overlay is mounted
	factsDir    = "facts"
)

func (in *instance) path(name string) string { return filepath.Join(in.dir, name) }

// save writes the record. The caller holds op.
func (in *instance) save() error {
	data, err := json.MarshalIndent(in.rec, "", " ")
	if err != nil {
		return err
	}
	tmp := in.path(recordFile + ".new")
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return fmt.Errorf("machine %s: write down its state: %w", in.id, err)
	}
	return os.Rename(tmp, in.path(recordFile))
}

// load reads the record; a machine without one is half made.
func (in *instance) load() (ok bool, err error) {
	data, err := os.ReadFile(in.path(recordFile))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(data, &in.rec); err != nil {
		return false, fmt.Errorf("%s: %w", in.path(recordFile), err)
	}
	in.setAddrs()
	return true, nil
}

func (in *instance) setAddrs() {
	var addrs []netip.Addr
	for _, i := range in.rec.Spec.Interfaces {
		addrs = append(addrs, i.Addr)
	}
	in.mu.Lock()
	in.addrs = addrs
	in.mu.Unlock()
}

// A process is a process of the host that can't be mistaken for a later one with
// the same PID, not even after a restart of the host.
type process struct {
	PID   int
	Start uint64 `json:",omitempty"` // clock ticks after boot
	Boot  string `json:",omitempty"` // ID of the host's boot
}

// identify returns the process that has the PID now.
func identify(pid int) (process, error) {
	start, err := startTime(pid)
	if err != nil {
		return process{}, err
	}
	boot, err := bootID()
	return process{pid, start, boot}, err
}

// alive says whether the process still exists. A zombie does not.
func (p process) alive() bool {
	if p.PID <= 0 {
		return false
	}
	boot, err := bootID()
	if err != nil || boot != p.Boot {
		return false
	}
	start, err := startTime(p.PID)
	return err == nil && start == p.Start
}

func (p process) signal(s unix.Signal) error {
	if !p.alive() {
		return unix.ESRCH
	}
	return unix.Kill(p.PID, s)
}

var errGone = errors.New("process is gone")

// startTime reads field 22 of /proc/PID/stat, counted after the program's name,
// which may contain anything.
func startTime(pid int) (uint64, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	_, rest, _ := bytes.Cut(data[bytes.LastIndexByte(data, ')')+1:], []byte(" "))
	fields := strings.Fields(string(rest))
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return 0, errGone
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

func bootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(data)), err
}
