package s3

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
)

// payload returns the request's body without aws-chunked framing, and the header
// that will hold the trailers once the body has been read.
//
// Framing is recognised by what arrives, not by the headers alone: whoever
// authenticated the request may have taken it off already.
func payload(r *http.Request) (body io.Reader, trailer http.Header) {
	if !strings.HasPrefix(r.Header.Get("x-amz-content-sha256"), "STREAMING-") {
		return r.Body, r.Trailer
	}
	if r.Header.Get("x-amz-decoded-content-length") == strconv.FormatInt(r.ContentLength, 10) {
		return r.Body, r.Trailer
	}
	br := bufio.NewReaderSize(r.Body, 64<<10)
	if !framed(br) {
		return br, r.Trailer
	}
	c := &chunkReader{r: br, trailer: http.Header{}}
	return c, c.trailer
}

// framed reports whether the stream starts with a chunk header: a hexadecimal
// size, perhaps a signature, and a line end.
func framed(br *bufio.Reader) bool {
	head, _ := br.Peek(128)
	line, _, found := bytes.Cut(head, []byte("\r\n"))
	if !found {
		return false
	}
	size, _, _ := bytes.Cut(line, []byte(";"))
	_, err := strconv.ParseUint(string(size), 16, 63)
	return err == nil
}

// chunkReader takes off the framing that SDKs put around a body whose checksum
// comes last.
type chunkReader struct {
	r       *bufio.Reader
	left    int64 // of the current chunk
	started bool
	trailer http.Header
	err     error
}

var errChunk = refuse("InvalidChunkSizeError", "The body's aws-chunked framing is broken.")

func (c *chunkReader) Read(p []byte) (int, error) {
	for c.err == nil && c.left == 0 {
		c.err = c.next()
	}
	if c.err != nil {
		return 0, c.err
	}
	if int64(len(p)) > c.left {
		p = p[:c.left]
	}
	n, err := c.r.Read(p)
	c.left -= int64(n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	c.err = err
	return n, err
}

// next reads the head of the next chunk; io.EOF after the last one's trailers.
func (c *chunkReader) next() error {
	if c.started {
		if line, err := c.line(); err != nil {
			return err
		} else if line != "" {
			return errChunk
		}
	}
	c.started = true
	line, err := c.line()
	if err != nil {
		return err
	}
	size, _, _ := strings.Cut(line, ";")
	n, err := strconv.ParseInt(size, 16, 63)
	if err != nil || n < 0 {
		return errChunk
	}
	c.left = n
	if n > 0 {
		return nil
	}
	for {
		line, err := c.line()
		if errors.Is(err, io.ErrUnexpectedEOF) || err == nil && line == "" {
			return io.EOF // some clients leave out the last line end
		}
		if err != nil {
			return err
		}
		if name, value, ok := strings.Cut(line, ":"); ok {
			c.trailer.Set(textproto.TrimString(name), textproto.TrimString(value))
		}
	}
}

func (c *chunkReader) line() (string, error) {
	line, err := c.r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return "", errChunk
	case errors.Is(err, io.EOF):
		if len(line) == 0 {
			return "", io.ErrUnexpectedEOF
		}
	case err != nil:
		return "", err
	}
	return strings.TrimRight(string(line), "\r\n"), nil
}
