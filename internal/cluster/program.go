package cluster

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"pcluster/internal/cluster/programs"
)

// Programs are the node programs that this build carries, one file for each
// architecture: pcluster-node-linux-amd64.gz, or the same without .gz.
type Programs struct{ fs.FS }

// Embedded returns the programs that were built into this one.
func Embedded() Programs { return Programs{programs.FS()} }

// ProgramsIn returns the programs in a directory, for development.
func ProgramsIn(dir string) Programs { return Programs{os.DirFS(dir)} }

// A program is pcluster-node for one architecture.
type program struct {
	arch       string // as Go names it
	body       []byte
	sum        string // SHA-256 of body, hexadecimal
	compressed []byte // body as a raw deflate stream, for zip files
}

// open unpacks the program for an architecture, as Go names it.
func (p Programs) open(arch string) (*program, error) {
	name := "pcluster-node-linux-" + arch
	packed, err := fs.ReadFile(p.FS, name+".gz")
	if errors.Is(err, fs.ErrNotExist) {
		var plain []byte
		if plain, err = fs.ReadFile(p.FS, name); err == nil {
			packed, err = pack(plain)
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("this pcluster was built without the node program for linux/%s: build it with 'make build', or name a directory that has %s in PCLUSTER_NODE_PROGRAM_DIR", arch, name)
	}
	if err != nil {
		return nil, fmt.Errorf("node program for linux/%s: %w", arch, err)
	}
	stream := bytes.NewReader(packed)
	zr, err := gzip.NewReader(stream)
	if err != nil {
		return nil, fmt.Errorf("node program for linux/%s: %w", arch, err)
	}
	// One member and nothing after it, so that what lies between the header, which
	// the reader has just consumed, and the trailer is the deflate stream. Only
	// headers of gzip -n are that simple.
	zr.Multistream(false)
	body, err := io.ReadAll(zr)
	if err != nil {
		return nil, fmt.Errorf("node program for linux/%s: %w", arch, err)
	}
	sum := sha256.Sum256(body)
	pr := &program{arch: arch, body: body, sum: hex.EncodeToString(sum[:])}
	const header, trailer = 10, 8
	if len(packed) > header+trailer && packed[3] == 0 && stream.Len() == 0 && binary.LittleEndian.Uint32(packed[len(packed)-4:]) == uint32(len(body)) {
		pr.compressed = packed[header : len(packed)-trailer]
	} else {
		repacked, err := pack(body)
		if err != nil {
			return nil, err
		}
		pr.compressed = repacked[header : len(repacked)-trailer]
	}
	return pr, nil
}

// pack compresses a program in a hurry.
func pack(body []byte) ([]byte, error) {
	var b bytes.Buffer
	zw, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	if _, err := zw.Write(body); err != nil {
		return nil, err
	}
	if err := zw.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// lambda returns the program as the code of a Lambda function on a custom
// runtime: a zip file with an executable of the name bootstrap.
func (p *program) lambda() ([]byte, error) {
	var b bytes.Buffer
	zw := zip.NewWriter(&b)
	h := &zip.FileHeader{
		Name:               "bootstrap",
		Method:             zip.Deflate,
		CRC32:              crc32.ChecksumIEEE(p.body),
		CompressedSize64:   uint64(len(p.compressed)),
		UncompressedSize64: uint64(len(p.body)),
	}
	h.SetMode(0o755)
	w, err := zw.CreateRaw(h)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(p.compressed); err != nil {
		return nil, err
	}
	if err := zw.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// putOnce uploads an object unless it is there, which for a key that names its
// content means that it is the same.
func (o *Operator) putOnce(ctx context.Context, bucket, key string, body func() ([]byte, error)) error {
	if _, err := o.S3.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: &key}); err == nil {
		return nil
	} else if kindOf(err) != missing {
		return fmt.Errorf("look for s3://%s/%s: %w", bucket, key, err)
	}
	content, err := body()
	if err != nil {
		return err
	}
	_, err = o.put(ctx, bucket, key, content)
	return err
}

// ProgramsVariable names the environment variable with a directory of programs to
// use in place of those that were built in.
const ProgramsVariable = "PCLUSTER_NODE_PROGRAM_DIR"

// Program returns the node program for an architecture, as Go names it.
func (p Programs) Program(arch string) ([]byte, error) {
	program, err := p.open(arch)
	if err != nil {
		return nil, err
	}
	return program.body, nil
}
