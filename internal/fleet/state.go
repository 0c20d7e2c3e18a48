package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// A stateFile keeps the memory on disk.
type stateFile struct {
	path    string
	written []byte
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
		return Memory{}, fmt.Errorf("%s: %w", f.path, err)
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
