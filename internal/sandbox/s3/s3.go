// Package s3 is the sandbox's object store: buckets with versions, conditional
// requests, multipart uploads and checksums behind S3's REST protocol.
//
// [Service] is an http.Handler of its own, because S3 shares little with the
// other services' protocols: metadata travels in headers, bodies are streams,
// and operations differ by query parameters. Authentication is not its business:
// [wire.Endpoint] has verified the signature and taken the body out of aws-chunked
// framing. The only permissions it judges are those of requests that nobody signed.
//
// Object data are files, one per version or uploaded part, under names that no
// other version ever had; the row in the table "s3.objects" decides what exists.
// A file without a row is a write that did not finish, and is swept by [New].
//
// Other services call the Go methods in api.go. To follow a request, start at
// route.go.
package s3

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
)

// Service is the S3 of one region. It is safe for concurrent use.
type Service struct {
	id  *region.Identity
	dir string // one directory per bucket, in it one file per blob
	now func() time.Time

	// Authorize, if set, is asked before each signed request for a bucket that exists,
	// or for none, and for each key that a request to delete several names; an error
	// becomes the answer.
	Authorize func(ctx context.Context, method, bucket, key string, query url.Values, header http.Header) error

	buckets *store.Table[bucket]
	objects *store.Table[object] // under bucket/key
	uploads *store.Table[upload] // under the upload's ID
	parts   *store.Table[part]   // under uploadID/00001

	// mu makes changes of several rows one step, and guards what is derived from
	// the tables: the order of keys in each bucket and the parts of each upload.
	mu       sync.RWMutex
	keys     map[string][]string
	uploaded map[string]map[int]part

	watchMu  sync.RWMutex
	watchers []func(bucket, key string, deleted bool)
}

// A bucket is what a bucket has besides objects.
type bucket struct {
	Name       string
	Created    time.Time
	Versioning string // "", Enabled or Suspended; once set it never becomes "" again
	// Documents are configurations as the user wrote them, by subresource
	// ("policy", "lifecycle", …).
	Documents map[string]string `json:",omitempty"`
}

// nullVersion is the version ID of objects written while versioning was off.
const nullVersion = "null"

// An object is all versions of one key, the newest first. It has at least one.
type object struct {
	Versions []version
}

// current returns the version that a request without a version ID means, nil
// when that is a delete marker.
func (o object) current() *version {
	if len(o.Versions) == 0 || o.Versions[0].DeleteMarker {
		return nil
	}
	return &o.Versions[0]
}

// find returns the position of the version with the given ID, or -1.
func (o object) find(id string) int {
	return slices.IndexFunc(o.Versions, func(v version) bool { return v.ID == id })
}

// A version is one version of an object, or a delete marker.
type version struct {
	ID           string
	Modified     time.Time
	DeleteMarker bool              `json:",omitempty"`
	Blob         string            `json:",omitempty"` // file name; empty when the object is
	Size         int64             `json:",omitempty"`
	ETag         string            `json:",omitempty"` // without quotes
	Header       map[string]string `json:",omitempty"` // standard headers that are kept, by canonical name
	Meta         map[string]string `json:",omitempty"` // user metadata without its x-amz-meta- prefix
	Tags         []tag             `json:",omitempty"`
	StorageClass string            `json:",omitempty"` // empty: STANDARD
	Encryption   string            `json:",omitempty"`
	KMSKey       string            `json:",omitempty"`
	Checksum     checksum          `json:",omitzero"`
	Parts        []int64           `json:",omitempty"` // sizes of the parts of a multipart object
}

type tag struct {
	Key   string `xml:"Key"`
	Value string `xml:"Value"`
}

// New opens the service's tables in db and its object files in dir, and removes
// what interrupted writes left behind.
func New(db *store.DB, id *region.Identity, dir string) (*Service, error) {
	s := &Service{id: id, dir: dir, now: time.Now, keys: map[string][]string{}, uploaded: map[string]map[int]part{}}
	if err := errors.Join(
		store.OpenTable(db, "s3.buckets", &s.buckets),
		store.OpenTable(db, "s3.objects", &s.objects),
		store.OpenTable(db, "s3.uploads", &s.uploads),
		store.OpenTable(db, "s3.parts", &s.parts),
	); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("object store: %w", err)
	}
	if err := s.load(); err != nil {
		return nil, fmt.Errorf("object store %s: %w", dir, err)
	}
	return s, nil
}

// load derives the in-memory indexes from the tables and sweeps files and rows
// that belong to nothing.
func (s *Service) load() error {
	blobs := map[string]bool{} // bucket/blob
	for _, row := range s.objects.Keys() {
		name, key, _ := strings.Cut(row, "/")
		if !s.HasBucket(name) { // died while deleting the bucket
			if err := s.objects.Delete(row); err != nil {
				return err
			}
			continue
		}
		s.keys[name] = append(s.keys[name], key)
		o, _ := s.objects.Get(row)
		for _, v := range o.Versions {
			blobs[name+"/"+v.Blob] = true
		}
	}
	for _, id := range s.uploads.Keys() {
		if u, _ := s.uploads.Get(id); !s.HasBucket(u.Bucket) {
			if err := s.uploads.Delete(id); err != nil {
				return err
			}
		}
	}
	for _, row := range s.parts.Keys() {
		uploadID, number, _ := strings.Cut(row, "/")
		u, ok := s.uploads.Get(uploadID)
		if !ok {
			if err := s.parts.Delete(row); err != nil {
				return err
			}
			continue
		}
		p, _ := s.parts.Get(row)
		n, err := strconv.Atoi(number)
		if err != nil {
			return fmt.Errorf("part %q: %w", row, err)
		}
		s.indexPart(uploadID, n, p)
		blobs[u.Bucket+"/"+p.Blob] = true
	}
	return s.sweep(blobs)
}

func (s *Service) sweep(used map[string]bool) error {
	dirs, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, d := range dirs {
		path := filepath.Join(s.dir, d.Name())
		if !s.HasBucket(d.Name()) {
			if err := os.RemoveAll(path); err != nil {
				return err
			}
			continue
		}
		files, err := os.ReadDir(path)
		if err != nil {
			return err
		}
		for _, f := range files {
			if !used[d.Name()+"/"+f.Name()] {
				if err := os.Remove(filepath.Join(path, f.Name())); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// object returns the row of a key; without versions when there is none.
func (s *Service) object(bucket, key string) object {
	o, _ := s.objects.Get(bucket + "/" + key)
	return o
}

// putObject stores the row of a key, or removes it when no version is left.
// The caller holds mu.
func (s *Service) putObject(bucket, key string, o object) error {
	keys := s.keys[bucket]
	at, known := slices.BinarySearch(keys, key)
	if len(o.Versions) == 0 {
		if err := s.objects.Delete(bucket + "/" + key); err != nil {
			return err
		}
		if known {
			s.keys[bucket] = slices.Delete(keys, at, at+1)
		}
		return nil
	}
	if err := s.objects.Put(bucket+"/"+key, o); err != nil {
		return err
	}
	if !known {
		s.keys[bucket] = slices.Insert(keys, at, key)
	}
	return nil
}

// changed tells the watchers about the key's current version.
func (s *Service) changed(bucket, key string, deleted bool) {
	s.watchMu.RLock()
	defer s.watchMu.RUnlock()
	for _, fn := range s.watchers {
		fn(bucket, key, deleted)
	}
}

// ownerID returns the canonical user ID of the account, which S3 shows as the
// owner of buckets and objects.
func (s *Service) ownerID() string {
	sum := sha256.Sum256([]byte("canonical user of " + s.id.Account()))
	return hex.EncodeToString(sum[:])
}
