package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"slices"
	"time"
)

// An Entry is what the sandbox's other services see of an object's current version.
type Entry struct {
	Key      string
	Size     int64
	ETag     string // without quotes
	Modified time.Time
	Meta     map[string]string // user metadata, keys in lower case; not to be changed
}

// AdoptBucket makes sure that a bucket exists, and that it has versions if
// versioned. It takes nothing from a bucket that exists.
func (s *Service) AdoptBucket(_ context.Context, name string, versioned bool) error {
	if _, err := s.addBucket(bucket{Name: name, Created: s.now(), Documents: maps.Clone(defaultDocuments)}); err != nil {
		return fmt.Errorf("adopt bucket %s: %w", name, err)
	}
	if !versioned {
		return nil
	}
	return s.changeBucket(name, func(b *bucket) { b.Versioning = "Enabled" })
}

// HasBucket reports whether a bucket exists.
func (s *Service) HasBucket(name string) bool {
	_, ok := s.buckets.Get(name)
	return ok
}

// Object returns the data of an object; an empty version means the current one.
func (s *Service) Object(_ context.Context, bucket, key, version string) ([]byte, error) {
	body, _, err := s.open(bucket, key, version)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(body)
}

// Open opens the current version of an object.
func (s *Service) Open(_ context.Context, bucket, key string) (io.ReadCloser, Entry, error) {
	return s.open(bucket, key, "")
}

func (s *Service) open(bucket, key, versionID string) (io.ReadCloser, Entry, error) {
	if !s.HasBucket(bucket) {
		return nil, Entry{}, errNoSuchBucket(bucket)
	}
	for {
		v, err := s.stat(bucket, key, versionID)
		if err != nil {
			return nil, Entry{}, err
		}
		body, err := s.openBlob(bucket, &v, 0, v.Size)
		if errors.Is(err, fs.ErrNotExist) && s.superseded(bucket, key, v) {
			continue // replaced since we looked
		}
		return body, v.entry(key), err
	}
}

func (v version) entry(key string) Entry { return Entry{key, v.Size, v.ETag, v.Modified, v.Meta} }

// Stat describes the current version of an object.
func (s *Service) Stat(_ context.Context, bucket, key string) (Entry, error) {
	if !s.HasBucket(bucket) {
		return Entry{}, errNoSuchBucket(bucket)
	}
	v, err := s.stat(bucket, key, "")
	return v.entry(key), err
}

// Walk calls fn for each current object below prefix, in the order of the keys,
// until fn fails. Objects that come or go meanwhile may or may not be seen.
func (s *Service) Walk(ctx context.Context, bucket, prefix string, fn func(key string, size int64, open func() (io.ReadCloser, error)) error) error {
	return s.Entries(ctx, bucket, prefix, func(e Entry) error {
		return fn(e.Key, e.Size, func() (io.ReadCloser, error) {
			body, _, err := s.open(bucket, e.Key, "")
			return body, err
		})
	})
}

// Entries is Walk for those who want metadata rather than data.
func (s *Service) Entries(ctx context.Context, bucket, prefix string, fn func(Entry) error) error {
	if !s.HasBucket(bucket) {
		return errNoSuchBucket(bucket)
	}
	l := listing{prefix: prefix, most: maxKeys}
	for {
		page, last, more := s.entries(bucket, l)
		for _, e := range page {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := fn(e); err != nil {
				return err
			}
		}
		if !more {
			return nil
		}
		l.after = last
	}
}

func (s *Service) entries(bucket string, l listing) (page []Entry, last string, more bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	last, more = l.walk(s.keys[bucket], func(key string) bool { return s.object(bucket, key).current() != nil },
		func(key string) { page = append(page, s.object(bucket, key).current().entry(key)) }, nil)
	return page, last, more
}

// Put stores an object with the given user metadata, and returns what it became.
func (s *Service) Put(_ context.Context, bucketName, key string, body io.Reader, meta map[string]string) (Entry, error) {
	b, ok := s.buckets.Get(bucketName)
	if !ok {
		return Entry{}, errNoSuchBucket(bucketName)
	}
	got, err := s.store(bucketName, newDigest(body, crc64nvmeSum))
	if err != nil {
		return Entry{}, s.noteBucketGone(bucketName, err)
	}
	v := version{Blob: got.blob, Size: got.size, ETag: got.etag, Checksum: got.checksum, Meta: maps.Clone(meta)}
	if v.Encryption, v.KMSKey = parseEncryption(b.Documents["encryption"]); v.Encryption == "" {
		v.Encryption = "AES256"
	}
	if v, err = s.commit(bucketName, key, v, http.Header{}); err != nil {
		return Entry{}, err
	}
	return v.entry(key), nil
}

// Remove deletes an object as a DELETE without a version ID does.
func (s *Service) Remove(_ context.Context, bucket, key string) error {
	_, err := s.remove(bucket, key, "", http.Header{})
	return err
}

// OnChange calls fn after the current version of a key came, changed or went. fn
// must return at once; it may be called from several goroutines.
func (s *Service) OnChange(fn func(bucket, key string, deleted bool)) {
	s.watchMu.Lock()
	defer s.watchMu.Unlock()
	s.watchers = append(slices.Clone(s.watchers), fn)
}
