package wire

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// hashedBody reads a body whose SHA-256 the request was signed with, and fails
// at its end when it is another one.
type hashedBody struct {
	io.ReadCloser
	want string
	sum  hash.Hash
}

func (b *hashedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.sum.Write(p[:n])
	if errors.Is(err, io.EOF) && hex.EncodeToString(b.sum.Sum(nil)) != b.want {
		return n, &Error{
			Code: "XAmzContentSHA256Mismatch", Message: "The provided 'x-amz-content-sha256' header does not match what was computed.",
			Status: http.StatusBadRequest,
		}
	}
	return n, err
}

// A chunkedBody decodes S3's aws-chunked bodies: chunks with a size and, when the
// payload is signed, a signature each that builds on the one before; then, for
// the TRAILER kinds, headers such as a checksum.
type chunkedBody struct {
	src     *bufio.Reader
	close   io.Closer
	trailer http.Header // filled at the end

	signed   bool
	trailing bool
	sig      *signature
	key      []byte
	previous string // signature

	left     int64 // of the current chunk
	expected string
	sum      hash.Hash
	err      error
}

// newChunkedBody returns the decoded body of a request whose payload hash is one
// of the STREAMING-… words.
func newChunkedBody(r *http.Request, kind string, s *signature, secret string) (*chunkedBody, error) {
	b := &chunkedBody{
		src: bufio.NewReaderSize(r.Body, 64<<10), close: r.Body, trailer: http.Header{},
		sig: s, key: s.key(secret), previous: s.value, sum: sha256.New(),
	}
	switch kind {
	case "STREAMING-AWS4-HMAC-SHA256-PAYLOAD":
		b.signed = true
	case "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER":
		b.signed, b.trailing = true, true
	case "STREAMING-UNSIGNED-PAYLOAD-TRAILER":
		b.trailing = true
	default:
		return nil, &Error{Code: "NotImplemented", Message: "The payload type " + kind + " is not supported", Status: http.StatusNotImplemented}
	}
	return b, nil
}

func (b *chunkedBody) Close() error { return b.close.Close() }

func (b *chunkedBody) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if b.left == 0 {
		if b.err = b.next(); b.err != nil {
			return 0, b.err
		}
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.src.Read(p)
	if b.signed {
		b.sum.Write(p[:n])
	}
	b.left -= int64(n)
	if err != nil {
		b.err = incomplete(err)
		return n, b.err
	}
	if b.left == 0 {
		// The end, with trailer and last signature, comes with the last bytes: a
		// reader that knows the length asks for no more.
		if b.err = b.endChunk(); b.err == nil {
			b.err = b.next()
		}
	}
	return n, b.err
}

// next reads the head of a chunk. After the last chunk it reads the trailer and
// returns io.EOF.
func (b *chunkedBody) next() error {
	line, err := b.line()
	if err != nil {
		return err
	}
	size, extension, _ := strings.Cut(line, ";")
	b.left, err = strconv.ParseInt(strings.TrimSpace(size), 16, 63)
	if err != nil || b.left < 0 {
		return badChunk("a chunk has no size")
	}
	b.expected = strings.TrimPrefix(extension, "chunk-signature=")
	b.sum.Reset()
	if b.left > 0 {
		return nil
	}
	if b.signed {
		if err := b.verify(); err != nil {
			return err
		}
	}
	if err := b.readTrailer(); err != nil {
		return err
	}
	return io.EOF
}

func (b *chunkedBody) endChunk() error {
	if line, err := b.line(); err != nil || line != "" {
		return badChunk("a chunk is longer than it says")
	}
	if b.signed {
		return b.verify()
	}
	return nil
}

// verify checks the signature of the chunk that was read.
func (b *chunkedBody) verify() error {
	want := b.sign("AWS4-HMAC-SHA256-PAYLOAD", emptyHash+"\n"+hex.EncodeToString(b.sum.Sum(nil)))
	if !hmac.Equal([]byte(want), []byte(b.expected)) {
		return chunkMismatch()
	}
	b.previous = want
	return nil
}

func (b *chunkedBody) sign(algorithm, what string) string {
	text := algorithm + "\n" + b.sig.at.UTC().Format(sigDate) + "\n" + b.sig.scope() + "\n" + b.previous + "\n" + what
	return hex.EncodeToString(mac(b.key, text))
}

func (b *chunkedBody) readTrailer() error {
	var signed bytes.Buffer
	for {
		line, err := b.line()
		if errors.Is(err, io.ErrUnexpectedEOF) && !b.trailing {
			return nil // some clients leave the last empty line out
		}
		if err != nil {
			return err
		}
		if line == "" {
			return nil
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return badChunk("a trailer has no colon")
		}
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
		if name != "x-amz-trailer-signature" {
			b.trailer.Set(name, value)
			signed.WriteString(name + ":" + value + "\n")
			continue
		}
		if !b.signed {
			continue
		}
		sum := sha256.Sum256(signed.Bytes())
		if !hmac.Equal([]byte(b.sign("AWS4-HMAC-SHA256-TRAILER", hex.EncodeToString(sum[:]))), []byte(value)) {
			return chunkMismatch()
		}
	}
}

func (b *chunkedBody) line() (string, error) {
	line, err := b.src.ReadSlice('\n')
	if err != nil {
		return "", incomplete(err)
	}
	return strings.TrimRight(string(line), "\r\n"), nil
}

func incomplete(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func badChunk(reason string) error {
	return &Error{Code: "InvalidRequest", Message: "The aws-chunked body is broken: " + reason, Status: http.StatusBadRequest}
}

func chunkMismatch() error {
	return &Error{
		Code:    "SignatureDoesNotMatch",
		Message: "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
		Status:  http.StatusForbidden,
	}
}
