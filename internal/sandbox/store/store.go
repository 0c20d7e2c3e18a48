// Package store keeps the state of a region: typed tables, held in memory for
// reading and written through to one file, so that a daemon that was killed
// comes back with everything it had acknowledged.
//
// Services of the sandbox own their tables and nobody else writes them. Start at
// [Open] and [OpenTable].
package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"
)

// ErrNotFound is returned by [Table.Update] for a key that the table lacks.
var ErrNotFound = errors.New("not found")

// A DB is one region's file of tables. It is safe for concurrent use.
type DB struct {
	bolt *bbolt.DB // nil: in memory only
	stop chan struct{}
	done chan struct{}
}

// syncEvery bounds what a power cut of the whole machine can lose. A killed
// daemon loses nothing: the kernel has its pages.
const syncEvery = 2 * time.Second

// Open opens or creates the file at path. A second process that opens the same
// file waits a second and then gets an error.
func Open(path string) (*DB, error) {
	b, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second, NoSync: true, NoFreelistSync: true})
	if err != nil {
		return nil, fmt.Errorf("open region state %s: %w", path, err)
	}
	db := &DB{bolt: b, stop: make(chan struct{}), done: make(chan struct{})}
	go db.syncLoop()
	return db, nil
}

// Memory returns a DB without a file, for tests.
func Memory() *DB { return &DB{} }

func (db *DB) syncLoop() {
	defer close(db.done)
	tick := time.NewTicker(syncEvery)
	defer tick.Stop()
	written := 0
	for {
		select {
		case <-db.stop:
			return
		case <-tick.C:
			stats := db.bolt.Stats()
			if n := int(stats.TxStats.GetWrite()); n != written {
				written = n
				_ = db.bolt.Sync() // a failing disk shows at the next Put, which reports it
			}
		}
	}
}

// Close flushes and closes the file.
func (db *DB) Close() error {
	if db.bolt == nil {
		return nil
	}
	close(db.stop)
	<-db.done
	return errors.Join(db.bolt.Sync(), db.bolt.Close())
}

// A Table maps keys to values of type T, which must survive a round trip through
// encoding/json. Values are shared with all readers: never change what a pointer,
// slice or map inside a value refers to, but replace it (see [Table.Update]).
type Table[T any] struct {
	db   *DB
	name string

	mu   sync.RWMutex
	rows map[string]T
}

// OpenTable opens the table with the given name and reads it into memory. Names
// are "service.things", such as "ec2.instances"; each may be opened once.
func OpenTable[T any](db *DB, name string, into **Table[T]) error {
	t := &Table[T]{db: db, name: name, rows: map[string]T{}}
	*into = t
	if db.bolt == nil {
		return nil
	}
	err := db.bolt.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte(name))
		if err != nil {
			return err
		}
		return b.ForEach(func(k, v []byte) error {
			var row T
			if err := json.Unmarshal(v, &row); err != nil {
				return fmt.Errorf("row %q: %w", k, err)
			}
			t.rows[string(k)] = row
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("open table %s: %w", name, err)
	}
	return nil
}

// Get returns the value under key and whether there is one.
func (t *Table[T]) Get(key string) (T, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	row, ok := t.rows[key]
	return row, ok
}

// Put stores v under key. When it returns nil, v survives the death of the process.
func (t *Table[T]) Put(key string, v T) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.put(key, v)
}

// Insert stores v under key unless the key is taken, and reports whether it did.
func (t *Table[T]) Insert(key string, v T) (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, taken := t.rows[key]; taken {
		return false, nil
	}
	return true, t.put(key, v)
}

// Update replaces the value under key by what fn makes of a shallow copy of it,
// and returns the new value. An error of fn leaves the row as it was and is
// returned. Concurrent updates of one table happen one after the other.
func (t *Table[T]) Update(key string, fn func(*T) error) (T, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	row, ok := t.rows[key]
	if !ok {
		return row, fmt.Errorf("%s %q: %w", t.name, key, ErrNotFound)
	}
	if err := fn(&row); err != nil {
		return row, err
	}
	return row, t.put(key, row)
}

func (t *Table[T]) put(key string, v T) error {
	if t.db.bolt != nil {
		data, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("store %s %q: %w", t.name, key, err)
		}
		if err := t.db.bolt.Update(func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte(t.name)).Put([]byte(key), data)
		}); err != nil {
			return fmt.Errorf("store %s %q: %w", t.name, key, err)
		}
	}
	t.rows[key] = v
	return nil
}

// Delete removes the value under key; a key that is not there is no error.
func (t *Table[T]) Delete(key string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.rows[key]; !ok {
		return nil
	}
	if t.db.bolt != nil {
		if err := t.db.bolt.Update(func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte(t.name)).Delete([]byte(key))
		}); err != nil {
			return fmt.Errorf("delete %s %q: %w", t.name, key, err)
		}
	}
	delete(t.rows, key)
	return nil
}

// Keys returns all keys in order.
func (t *Table[T]) Keys() []string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return slices.Sorted(maps.Keys(t.rows))
}

// All returns all values in the order of their keys.
func (t *Table[T]) All() []T {
	t.mu.RLock()
	defer t.mu.RUnlock()
	out := make([]T, 0, len(t.rows))
	for _, k := range slices.Sorted(maps.Keys(t.rows)) {
		out = append(out, t.rows[k])
	}
	return out
}

// Len returns the number of rows.
func (t *Table[T]) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.rows)
}
