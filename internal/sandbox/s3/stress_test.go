package s3

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sys/unix"
)

// TestReadersSeeWholeObjects overwrites and deletes keys under readers: each sees
// one version from beginning to end, or none.
func TestReadersSeeWholeObjects(t *testing.T) {
	s, _ := start(t, false)
	var wg sync.WaitGroup
	key := func() string { return fmt.Sprint("k", rand.IntN(3)) }
	for w := range 4 {
		wg.Go(func() {
			for range 100 {
				if rand.IntN(10) == 0 {
					if err := s.Remove(ctx, "b12", key()); err != nil {
						t.Error(err)
					}
					continue
				}
				body := strings.Repeat(string(rune('a'+w)), 1+rand.IntN(100_000))
				if _, err := s.Put(ctx, "b12", key(), strings.NewReader(body), map[string]string{"size": fmt.Sprint(len(body))}); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range 200 {
				body, e, err := s.Open(ctx, "b12", key())
				if err != nil {
					if asError(err).Code != "NoSuchKey" {
						t.Error(err)
					}
					continue
				}
				data, err := io.ReadAll(body)
				_ = body.Close()
				if err != nil || fmt.Sprint(len(data)) != e.Meta["size"] || strings.Trim(string(data), string(data[:1])) != "" {
					t.Errorf("read %d bytes of %s: %v", len(data), e.Meta["size"], err)
				}
			}
		})
	}
	wg.Wait()
	n := 0
	if err := s.Entries(ctx, "b12", "", func(Entry) error { n++; return nil }); err != nil {
		t.Error(err)
	}
	wantBlobs(t, s, n)
}

// TestFullDisk writes to a disk that has no room.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=3m"); err != nil {
		t.Skipf("cannot mount a small disk: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	s := open(t, t.TempDir())
	s.dir = filepath.Join(dir, "s3")
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.AdoptBucket(ctx, "b12", false); err != nil {
		t.Fatal(err)
	}
	c := client(t, s)
	put(t, c, "small", "fits")
	_, err := c.PutObject(ctx, &sdk.PutObjectInput{Bucket: aws.String("b12"), Key: aws.String("small"), Body: strings.NewReader(strings.Repeat("x", 4<<20))})
	wantCode(t, err, "InternalError", 500)
	if err == nil || !strings.Contains(err.Error(), "disk is full") {
		t.Errorf("the error does not say why: %v", err)
	}
	if got := get(t, c, "small"); got != "fits" {
		t.Errorf("object is %q", got)
	}
	wantBlobs(t, s, 1)
	if _, err := c.PutObject(ctx, &sdk.PutObjectInput{Bucket: aws.String("b12"), Key: aws.String("after"), Body: strings.NewReader(strings.Repeat("x", 1<<20))}); err != nil {
		t.Errorf("room came back, but: %v", err)
	}
	if _, err := s.Put(ctx, "b12", "again", strings.NewReader(strings.Repeat("x", 4<<20)), nil); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("Put: %v", err)
	}
}
