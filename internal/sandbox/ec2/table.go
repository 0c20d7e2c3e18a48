package ec2

import (
	"sync/atomic"

	"pcluster/internal/sandbox/store"
)

// A table is a store.Table of pointers, so that reading a row copies nothing. A
// row never changes: update replaces it by a changed copy. Slices and pointers
// inside a row are shared between its versions and must be replaced as well.
type table[T any] struct {
	rows *store.Table[*T]

	// The sorted list of all rows is kept until the next write: Describe calls
	// come much more often than changes.
	generation atomic.Uint64
	sorted     atomic.Pointer[snapshot[T]]

	watcher atomic.Pointer[func(id string)]
}

// watch makes fn be told of each change of a row, after it.
func (t *table[T]) watch(fn func(id string)) { t.watcher.Store(&fn) }

// changed notes that the row under id is another now.
func (t *table[T]) changed(id string) {
	t.generation.Add(1)
	if fn := t.watcher.Load(); fn != nil {
		(*fn)(id)
	}
}

type snapshot[T any] struct {
	generation uint64
	rows       []*T
}

func open[T any](db *store.DB, name string, t **table[T]) error {
	*t = &table[T]{}
	return store.OpenTable(db, name, &(*t).rows)
}

// get returns the row under id, nil without one.
func (t *table[T]) get(id string) *T {
	row, _ := t.rows.Get(id)
	return row
}

// all returns all rows in the order of their keys. The slice must not be changed.
func (t *table[T]) all() []*T {
	// A write that comes in between raises the generation after it, so what is
	// kept here under the older one will not be used again.
	generation := t.generation.Load()
	if s := t.sorted.Load(); s != nil && s.generation == generation {
		return s.rows
	}
	s := &snapshot[T]{generation, t.rows.All()}
	t.sorted.Store(s)
	return s.rows
}

func (t *table[T]) put(id string, row *T) error {
	defer t.changed(id)
	return t.rows.Put(id, row)
}

// update lets fn change a copy of the row under id and stores it. Without such a
// row the error is store.ErrNotFound; an error of fn leaves the row as it was.
func (t *table[T]) update(id string, fn func(*T) error) (*T, error) {
	defer t.changed(id)
	return t.rows.Update(id, func(row **T) error {
		changed := **row
		if err := fn(&changed); err != nil {
			return err
		}
		*row = &changed
		return nil
	})
}

// set is update for changes that cannot be refused.
func (t *table[T]) set(id string, fn func(*T)) error {
	_, err := t.update(id, func(row *T) error { fn(row); return nil })
	return err
}

func (t *table[T]) delete(id string) error {
	defer t.changed(id)
	return t.rows.Delete(id)
}
