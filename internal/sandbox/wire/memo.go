package wire

import (
	"bytes"
	"reflect"
	"sync"
	"unsafe"
)

// A memo keeps what structures of one shape encode to, so that lists which are asked
// for all the time are not encoded anew for every request.
//
// It takes a structure for unchanged when its own memory is: strings, slices and
// pointers in it lead to the same places as before. The service must therefore replace
// what it changes and never write into it; see [Service.Remember].
type memo struct {
	key int // index of the field that tells structures apart, a *string

	mu     sync.Mutex
	recent map[string]remembered
	older  map[string]remembered // what was not asked for since recent got full goes next
}

type remembered struct {
	value reflect.Value // a copy, which also keeps alive, and so in its place, what it points to
	text  []byte
}

// mostRemembered bounds the memory that a memo takes; an instance of EC2 takes about 5 kB.
const mostRemembered = 4096

// bits is the memory of the structure v itself, which must be addressable.
func bits(v reflect.Value) []byte {
	return unsafe.Slice((*byte)(v.Addr().UnsafePointer()), v.Type().Size())
}

// get returns what v encodes to, if that is known. It must not be changed.
func (m *memo) get(v reflect.Value) ([]byte, bool) {
	key, _ := v.Field(m.key).Interface().(*string)
	if key == nil || !v.CanAddr() {
		return nil, false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.recent[*key]
	if !ok {
		if r, ok = m.older[*key]; !ok {
			return nil, false
		}
		m.keep(*key, r)
	}
	if !bytes.Equal(bits(r.value), bits(v)) {
		return nil, false
	}
	return r.text, true
}

// put remembers what v encodes to.
func (m *memo) put(v reflect.Value, text []byte) {
	key, _ := v.Field(m.key).Interface().(*string)
	if key == nil {
		return
	}
	r := remembered{value: reflect.New(v.Type()).Elem(), text: bytes.Clone(text)}
	r.value.Set(v)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keep(*key, r)
}

func (m *memo) keep(key string, r remembered) {
	if m.recent == nil || len(m.recent) >= mostRemembered/2 {
		m.older, m.recent = m.recent, map[string]remembered{}
	}
	m.recent[key] = r
}
