package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// A stateFile keeps the memory on disk.
type stateFile struct {
	path    string
	written []byte
}

// errHeld is that another daemon keeps the same memory.
var errHeld = errors.New("another fleet daemon keeps this cluster's fleet")

// hold keeps other daemons from the memory until it is released, or the process ends.
// Two would launch and end instances against each other.
func (f *stateFile) hold() (release func() error, err error) {
	lock, err := os.OpenFile(f.path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		pid, _ := io.ReadAll(io.LimitReader(lock, 20))
		err = fmt.Errorf("%w: process %s (%s); systemctl restart clustermgtd starts it anew", errHeld, bytes.TrimSpace(pid), lock.Name())
	} else if err == nil {
		err = errors.Join(lock.Truncate(0), writeAll(lock, strconv.Itoa(os.Getpid())+"\n"))
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock.Close, nil
}

func writeAll(f *os.File, s string) error {
	_, err := f.WriteString(s)
	return err
}

// load returns the memory on disk, or a new one if there is none.
func (f *stateFile) load(now time.Time) (Memory, error) {
	data, err := os.ReadFile(f.path)
	if errors.Is(err, os.ErrNotExist) {
		return NewMemory(now), nil
	}
	if err != nil {
		return Memory{}, err
	}
	var mem Memory
	if err := json.Unmarshal(data, &mem); err != nil {
		aside := f.path + ".damaged"
		return Memory{}, errors.Join(fmt.Errorf("%s: %w; kept as %s", f.path, err, aside), os.Rename(f.path, aside))
	}
	if mem.Epoch == 0 {
		mem.Epoch = now.UnixNano()
	}
	f.written = data
	return mem, nil
}

// save replaces the memory on disk, as a whole or not at all. What only matters
// between two looks is left out, so that an idle fleet writes nothing.
func (f *stateFile) save(mem Memory) error {
	mem.Touched, mem.Unclaimed = nil, nil
	data, err := json.Marshal(mem)
	if err != nil {
		return err
	}
	if bytes.Equal(data, f.written) {
		return nil
	}
	tmp, err := os.CreateTemp(filepath.Dir(f.path), ".fleet-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // fails once it is renamed
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), f.path)
	}
	if err != nil {
		return err
	}
	f.written = data
	return nil
}
