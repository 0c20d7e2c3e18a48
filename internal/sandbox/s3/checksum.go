package s3

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"net/http"
	"strings"
)

// The checksum algorithms of S3 by the suffix of their header.
const (
	crc32Sum     = "crc32"
	crc32cSum    = "crc32c"
	crc64nvmeSum = "crc64nvme"
	sha1Sum      = "sha1"
	sha256Sum    = "sha256"
)

var algorithms = []string{crc32Sum, crc32cSum, crc64nvmeSum, sha1Sum, sha256Sum}

const (
	fullObject = "FULL_OBJECT"
	composite  = "COMPOSITE" // checksum of the parts' checksums, with "-" and their number
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	nvme       = crc64.MakeTable(0x9A6C9329AC4BC9B5) // reversed form of 0xAD93D23594C93659
)

// newHash returns the hash of an algorithm, nil for an unknown one.
func newHash(algorithm string) hash.Hash {
	switch algorithm {
	case crc32Sum:
		return crc32.NewIEEE()
	case crc32cSum:
		return crc32.New(castagnoli)
	case crc64nvmeSum:
		return crc64.New(nvme)
	case sha1Sum:
		return sha1.New()
	case sha256Sum:
		return sha256.New()
	}
	return nil
}

// A checksum is one that S3 keeps with an object. The zero value is none.
type checksum struct {
	Algorithm string `json:",omitempty"`
	Value     string `json:",omitempty"` // base64
	Type      string `json:",omitempty"`
}

// show adds the checksum to the headers of an answer.
func (c checksum) show(h http.Header) {
	if c.Algorithm == "" {
		return
	}
	h.Set("x-amz-checksum-"+c.Algorithm, c.Value)
	h.Set("x-amz-checksum-type", c.Type)
}

// declared returns the algorithm that a request names, empty for none, and the
// value if a header holds it. A value may still arrive in a trailer.
func declared(h http.Header) (algorithm, value string, err error) {
	for _, a := range algorithms {
		if v := h.Get("x-amz-checksum-" + a); v != "" {
			if algorithm != "" {
				return "", "", refuse("InvalidRequest", "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
			}
			sum, err := base64.StdEncoding.DecodeString(v)
			if err != nil || len(sum) != newHash(a).Size() {
				return "", "", refuse("InvalidRequest", fmt.Sprintf("Value for x-amz-checksum-%s header is invalid.", a))
			}
			algorithm, value = a, v
		}
	}
	if algorithm != "" {
		return algorithm, value, nil
	}
	name := h.Get("x-amz-sdk-checksum-algorithm")
	if name == "" {
		name = h.Get("x-amz-checksum-algorithm")
	}
	if name == "" {
		if t, ok := strings.CutPrefix(strings.ToLower(h.Get("x-amz-trailer")), "x-amz-checksum-"); ok {
			name = t
		}
	}
	if name == "" {
		return "", "", nil
	}
	name = strings.ToLower(name)
	if newHash(name) == nil {
		return "", "", refuse("InvalidRequest", "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]")
	}
	return name, "", nil
}

// A digest reads a body and computes what the client promised about it.
type digest struct {
	r         io.Reader
	size      int64
	md5       hash.Hash
	algorithm string
	sum       hash.Hash
}

func newDigest(body io.Reader, algorithm string) *digest {
	return &digest{r: body, md5: md5.New(), algorithm: algorithm, sum: newHash(algorithm)}
}

func (d *digest) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	_, _ = d.md5.Write(p[:n]) // hashes do not fail
	_, _ = d.sum.Write(p[:n])
	d.size += int64(n)
	return n, err
}

func (d *digest) etag() string { return hex.EncodeToString(d.md5.Sum(nil)) }

func (d *digest) checksum() checksum {
	return checksum{d.algorithm, base64.StdEncoding.EncodeToString(d.sum.Sum(nil)), fullObject}
}

// verify compares what was read with the headers and trailers of the request.
func (d *digest) verify(h, trailer http.Header) error {
	if want := h.Get("Content-MD5"); want != "" {
		sum, err := base64.StdEncoding.DecodeString(want)
		if err != nil || len(sum) != md5.Size {
			return refuse("InvalidDigest", "The Content-MD5 you specified was invalid.", "Content-MD5", want)
		}
		if got := d.md5.Sum(nil); string(got) != string(sum) {
			return refuse("BadDigest", "The Content-MD5 you specified did not match what we received.",
				"ExpectedDigest", want, "CalculatedDigest", base64.StdEncoding.EncodeToString(got))
		}
	}
	name := "x-amz-checksum-" + d.algorithm
	want := h.Get(name)
	if want == "" {
		want = trailer.Get(name)
	}
	if want != "" && want != d.checksum().Value {
		return refuse("BadDigest", fmt.Sprintf("The %s you specified did not match the calculated checksum.", strings.ToUpper(d.algorithm)))
	}
	return nil
}
