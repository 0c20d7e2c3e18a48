package s3

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"

	"pcluster/internal/sandbox/region"
)

// maxUpload is the most that one request may carry.
const maxUpload = 5 << 30

func (s *Service) blobPath(bucket, name string) string { return filepath.Join(s.dir, bucket, name) }

// writeBlob stores what fill writes and returns the file's name. A failure leaves
// no file behind.
func (s *Service) writeBlob(bucket string, fill func(io.Writer) error) (name string, err error) {
	name = region.Hex(32)
	path := s.blobPath(bucket, name)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", fmt.Errorf("store object: %w", err)
	}
	if err = errors.Join(fill(f), f.Close()); err != nil {
		_ = os.Remove(path)
		return "", err
	}
	return name, nil
}

// removeBlob removes a file that no row names any more. When that fails the file
// is swept at the next start, so there is nobody to tell.
func (s *Service) removeBlob(bucket, name string) {
	if name != "" {
		_ = os.Remove(s.blobPath(bucket, name))
	}
}

// openBlob opens the data of a version. Only the size bytes from offset are read.
func (s *Service) openBlob(bucket string, v *version, offset, size int64) (io.ReadCloser, error) {
	if v.Blob == "" {
		return http.NoBody, nil
	}
	f, err := os.Open(s.blobPath(bucket, v.Blob))
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &section{io.LimitedReader{R: f, N: size}, f}, nil
}

// A section is part of an open file.
type section struct {
	io.LimitedReader
	f *os.File
}

func (s *section) Close() error { return s.f.Close() }

// WriteTo lets the kernel copy from file to file or to a socket, which it does
// only for readers that it recognises.
func (s *section) WriteTo(w io.Writer) (int64, error) { return io.Copy(w, &s.LimitedReader) }

// A received is a body that was stored and found to be what the client meant.
type received struct {
	blob     string
	size     int64
	etag     string
	checksum checksum
}

// receive stores the body of a request. algorithm is used when the request names
// no other; empty means S3's default.
func (s *Service) receive(bucket string, r *http.Request, algorithm string) (received, error) {
	named, _, err := declared(r.Header)
	if err != nil {
		return received{}, err
	}
	if named != "" {
		algorithm = named
	}
	if algorithm == "" {
		algorithm = crc64nvmeSum
	}
	want := r.ContentLength // -1 when unknown
	if want > maxUpload {
		return received{}, refuse("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size",
			"ProposedSize", strconv.FormatInt(want, 10), "MaxSizeAllowed", strconv.Itoa(maxUpload))
	}
	d := newDigest(r.Body, algorithm)
	got, err := s.store(bucket, d)
	if err != nil {
		return received{}, err
	}
	if want >= 0 && got.size != want {
		err = errIncompleteBody
	} else {
		err = d.verify(r.Header, r.Trailer)
	}
	if err != nil {
		s.removeBlob(bucket, got.blob)
		return received{}, err
	}
	return got, nil
}

var errIncompleteBody = refuse("IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header")

// store writes all of d to a blob.
func (s *Service) store(bucket string, d *digest) (received, error) {
	blob, err := s.writeBlob(bucket, func(w io.Writer) error {
		_, err := io.Copy(w, io.LimitReader(d, maxUpload+1))
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return errIncompleteBody
		}
		return err
	})
	if err != nil {
		return received{}, err
	}
	if d.size > maxUpload {
		s.removeBlob(bucket, blob)
		return received{}, refuse("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size", "MaxSizeAllowed", strconv.Itoa(maxUpload))
	}
	if d.size == 0 {
		s.removeBlob(bucket, blob)
		blob = ""
	}
	return received{blob, d.size, d.etag(), d.checksum()}, nil
}
