package s3

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"pcluster/internal/sandbox/region"
)

// A request is one HTTP request with what the address says.
type request struct {
	*http.Request
	w           http.ResponseWriter
	bucket, key string
	query       url.Values
}

func (r *request) has(parameter string) bool { return r.query.Has(parameter) }

// ServeHTTP answers one S3 request, with the bucket in the path or in the host.
func (s *Service) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	w.Header().Set("X-Amz-Request-Id", strings.ToUpper(region.Hex(16)))
	w.Header().Set("X-Amz-Id-2", region.Hex(48))
	w.Header().Set("Server", "AmazonS3")
	r := &request{Request: hr, w: w, query: hr.URL.Query()}
	path := strings.TrimPrefix(hr.URL.Path, "/")
	if name, ok := bucketFromHost(hr.Host); ok {
		r.bucket, r.key = name, path
	} else {
		r.bucket, r.key, _ = strings.Cut(path, "/")
	}
	if err := s.serve(r); err != nil {
		writeError(w, hr, err)
	}
}

// bucketFromHost returns the bucket that a virtual-hosted address names:
// bucket.s3.region.amazonaws.com in its various spellings, or bucket.localhost.
func bucketFromHost(host string) (string, bool) {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(host)
	if name, ok := strings.CutSuffix(host, ".localhost"); ok {
		return name, name != "" && name != "s3"
	}
	rest, ok := strings.CutSuffix(host, ".amazonaws.com")
	if !ok {
		return "", false
	}
	for _, mark := range []string{".s3.", ".s3-"} {
		if i := strings.LastIndex(rest+".", mark); i > 0 {
			return rest[:i], true
		}
	}
	return "", false
}

func (s *Service) serve(r *request) error {
	if want := r.Header.Get("x-amz-expected-bucket-owner"); want != "" && want != s.id.Account() {
		return refuse("AccessDenied", "Access Denied")
	}
	if r.Header.Get("x-amz-server-side-encryption-customer-algorithm") != "" {
		return errNotImplemented("encryption with keys of the customer")
	}
	if r.bucket == "" {
		if r.Method != http.MethodGet {
			return errMethodNotAllowed(r)
		}
		if unsigned(r) {
			return refuse("AccessDenied", "Access Denied")
		}
		if err := s.authorize(r); err != nil {
			return err
		}
		return s.listBuckets(r)
	}
	b, exists := s.buckets.Get(r.bucket)
	if !exists && !(r.Method == http.MethodPut && r.key == "" && isCreate(r.query)) {
		return errNoSuchBucket(r.bucket)
	}
	if unsigned(r) {
		if err := b.authorizeUnsigned(r); err != nil {
			return err
		}
	} else if err := s.authorize(r); err != nil {
		return err
	}
	if len(r.key) > 1024 {
		return refuse("KeyTooLongError", "Your key is too long", "MaxSizeAllowed", "1024", "Size", strconv.Itoa(len(r.key)))
	}
	if r.key == "" {
		return s.serveBucket(r)
	}
	return s.serveObject(r)
}

func (s *Service) authorize(r *request) error {
	if s.Authorize == nil {
		return nil
	}
	return s.Authorize(r.Context(), r.Method, r.bucket, r.key, r.query, r.Header)
}

// isCreate reports whether a PUT of a bucket names none of its settings.
func isCreate(q url.Values) bool {
	for name := range q {
		if q.Get(name) == "" && name != "x-id" {
			return false
		}
	}
	return true
}

func (s *Service) serveBucket(r *request) error {
	if d, ok := documentOf(r); ok {
		switch r.Method {
		case http.MethodGet:
			return s.getDocument(r, d)
		case http.MethodPut:
			return s.putDocument(r, d)
		case http.MethodDelete:
			return s.deleteDocument(r, d)
		}
		return errMethodNotAllowed(r)
	}
	switch r.Method {
	case http.MethodHead:
		return s.headBucket(r)
	case http.MethodGet:
		switch {
		case r.has("location"):
			return s.getBucketLocation(r)
		case r.has("versioning"):
			return s.getBucketVersioning(r)
		case r.has("policyStatus"):
			return s.getBucketPolicyStatus(r)
		case r.has("acl"):
			return s.getACL(r)
		case r.has("versions"):
			return s.listObjectVersions(r)
		case r.has("uploads"):
			return s.listMultipartUploads(r)
		}
		if err := onlyKnown(r); err != nil {
			return err
		}
		if r.query.Get("list-type") == "2" {
			return s.listObjectsV2(r)
		}
		return s.listObjects(r)
	case http.MethodPut:
		switch {
		case r.has("versioning"):
			return s.putBucketVersioning(r)
		case r.has("acl"):
			return s.putACL(r)
		}
		if err := onlyKnown(r); err != nil {
			return err
		}
		return s.createBucket(r)
	case http.MethodDelete:
		if err := onlyKnown(r); err != nil {
			return err
		}
		return s.deleteBucket(r)
	case http.MethodPost:
		if r.has("delete") {
			return s.deleteObjects(r)
		}
		return errNotImplemented("uploads by HTML forms")
	}
	return errMethodNotAllowed(r)
}

func (s *Service) serveObject(r *request) error {
	switch r.Method {
	case http.MethodHead:
		return s.getObject(r)
	case http.MethodGet:
		switch {
		case r.has("uploadId"):
			return s.listParts(r)
		case r.has("tagging"):
			return s.getObjectTagging(r)
		case r.has("acl"):
			return s.getACL(r)
		case r.has("attributes"):
			return s.getObjectAttributes(r)
		case r.has("legal-hold"), r.has("retention"):
			return refuse("NoSuchObjectLockConfiguration", "The specified object does not have a ObjectLock configuration")
		}
		if err := onlyKnown(r); err != nil {
			return err
		}
		return s.getObject(r)
	case http.MethodPut:
		copied := r.Header.Get("x-amz-copy-source") != ""
		switch {
		case r.has("uploadId") && copied:
			return s.uploadPartCopy(r)
		case r.has("uploadId"):
			return s.uploadPart(r)
		case r.has("tagging"):
			return s.putObjectTagging(r)
		case r.has("acl"):
			return s.putACL(r)
		}
		if err := onlyKnown(r); err != nil {
			return err
		}
		if copied {
			return s.copyObject(r)
		}
		return s.putObjectRequest(r)
	case http.MethodPost:
		switch {
		case r.has("uploads"):
			return s.createMultipartUpload(r)
		case r.has("uploadId"):
			return s.completeMultipartUpload(r)
		}
		return errNotImplemented("this operation on objects")
	case http.MethodDelete:
		switch {
		case r.has("uploadId"):
			return s.abortMultipartUpload(r)
		case r.has("tagging"):
			return s.deleteObjectTagging(r)
		}
		if err := onlyKnown(r); err != nil {
			return err
		}
		return s.deleteObject(r)
	}
	return errMethodNotAllowed(r)
}

// onlyKnown refuses a request for a subresource that this package lacks, which
// would otherwise be taken for an operation on the bucket or object itself.
func onlyKnown(r *request) error {
	for name := range r.query {
		switch name {
		case "analytics", "inventory", "metrics", "intelligent-tiering", "torrent", "restore", "select",
			"legal-hold", "retention", "renameObject", "session", "abac", "annotation", "metadataTable", "metadataConfiguration",
			"metadataInventoryTable", "metadataJournalTable", "metadataAnnotationTable":
			return errNotImplemented("the subresource " + name)
		case "encryption":
			if r.key != "" {
				return errNotImplemented("the subresource encryption of objects")
			}
		}
	}
	return nil
}

func errMethodNotAllowed(r *request) error {
	resource := "SERVICE"
	switch {
	case r.key != "":
		resource = "OBJECT"
	case r.bucket != "":
		resource = "BUCKET"
	}
	return refuse("MethodNotAllowed", "The specified method is not allowed against this resource.",
		"Method", r.Method, "ResourceType", resource)
}

const xmlns = "http://s3.amazonaws.com/doc/2006-03-01/"

// writeXML sends an answer whose document is v.
func (r *request) writeXML(v any) error {
	body, err := xml.Marshal(v)
	if err != nil {
		return err
	}
	r.writeDocument("application/xml", append([]byte(xml.Header), body...))
	return nil
}

func (r *request) writeDocument(contentType string, body []byte) {
	r.w.Header().Set("Content-Type", contentType)
	r.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = r.w.Write(body) // the client went away: nobody to tell
}

// noContent ends a request whose answer has no body.
func (r *request) noContent() error {
	r.w.WriteHeader(http.StatusNoContent)
	return nil
}

// maxDocument bounds the documents of a request; S3's own limits are below it.
const maxDocument = 2 << 20

// document reads the body of a request whose body is a document.
func (r *request) document() ([]byte, error) {
	algorithm, _, err := declared(r.Header)
	if err != nil {
		return nil, err
	}
	if algorithm == "" {
		algorithm = crc64nvmeSum
	}
	d := newDigest(r.Body, algorithm)
	data, err := io.ReadAll(io.LimitReader(d, maxDocument+1))
	if err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = errIncompleteBody
		}
		return nil, err
	}
	if len(data) > maxDocument {
		return nil, refuse("MaxMessageLengthExceeded", "Your request was too large.", "MaxMessageLengthBytes", strconv.Itoa(maxDocument))
	}
	return data, d.verify(r.Header, r.Trailer)
}

// readXML decodes the body of a request into v.
func (r *request) readXML(v any) error {
	data, err := r.document()
	if err != nil {
		return err
	}
	if err := xml.Unmarshal(data, v); err != nil {
		return errMalformedXML
	}
	return nil
}

func escapeXML(text string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(text)) // a Buffer does not fail
	return b.String()
}

// timestamp is how S3's documents write a time.
func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// number reads a query parameter that is a count.
func (r *request) number(name string, fallback, most int) (int, error) {
	v := r.query.Get(name)
	if v == "" {
		return fallback, nil
	}
	n, err := strconv.ParseInt(v, 10, 32)
	if err != nil || n < 0 {
		return 0, errInvalidArgument(fmt.Sprintf("Argument %s must be an integer between 0 and 2147483647", name), name, v)
	}
	return min(int(n), most), nil
}
