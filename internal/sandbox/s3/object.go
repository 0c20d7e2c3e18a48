package s3

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/wire"
)

// keptHeaders are the standard headers that S3 returns as they were uploaded.
var keptHeaders = []string{"Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language", "Content-Type",
	"Expires", "X-Amz-Website-Redirect-Location"}

const metaPrefix = "X-Amz-Meta-"

// describe returns a version with what the headers of an upload say about it.
func (s *Service) describe(r *request) (version, error) {
	v := version{Header: map[string]string{}, Meta: map[string]string{}}
	for _, name := range keptHeaders {
		if value := r.Header.Get(name); value != "" {
			v.Header[name] = value
		}
	}
	size := 0
	for name, values := range r.Header {
		if meta, ok := strings.CutPrefix(name, metaPrefix); ok && meta != "" {
			value := strings.Join(values, ",")
			v.Meta[strings.ToLower(meta)] = value
			size += len(meta) + len(value)
		}
		if strings.HasPrefix(name, "X-Amz-Object-Lock-") {
			return v, errNotImplemented("object lock")
		}
	}
	if size > 2048 {
		return v, refuse("MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size",
			"Size", strconv.Itoa(size), "MaxSizeAllowed", "2048")
	}
	if err := checkCannedACL(r.Header); err != nil {
		return v, err
	}
	if class := r.Header.Get("x-amz-storage-class"); class != "" && class != "STANDARD" {
		if !slices.Contains(storageClasses, class) {
			return v, refuse("InvalidStorageClass", "The storage class you specified is not valid")
		}
		v.StorageClass = class
	}
	var err error
	if v.Tags, err = headerTags(r.Header.Get("x-amz-tagging")); err != nil {
		return v, err
	}
	v.Encryption, v.KMSKey = r.Header.Get("x-amz-server-side-encryption"), r.Header.Get("x-amz-server-side-encryption-aws-kms-key-id")
	switch v.Encryption {
	case "":
		b, _ := s.buckets.Get(r.bucket)
		if v.Encryption, v.KMSKey = parseEncryption(b.Documents["encryption"]); v.Encryption == "" {
			v.Encryption = "AES256"
		}
	case "AES256", "aws:kms", "aws:kms:dsse":
	default:
		return v, errInvalidArgument("The encryption method specified is not supported", "x-amz-server-side-encryption", v.Encryption)
	}
	return v, nil
}

var storageClasses = []string{"REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER", "DEEP_ARCHIVE", "GLACIER_IR"}

func (s *Service) putObjectRequest(r *request) error {
	v, err := s.describe(r)
	if err != nil {
		return err
	}
	if err := checkWrite(r.Header, r.key, s.object(r.bucket, r.key).current()); err != nil {
		return err // before the body; decided again when it has arrived
	}
	got, err := s.receive(r.bucket, r.Request, "")
	if err != nil {
		return s.noteBucketGone(r.bucket, err)
	}
	v.Blob, v.Size, v.ETag, v.Checksum = got.blob, got.size, got.etag, got.checksum
	if v, err = s.commit(r.bucket, r.key, v, r.Header); err != nil {
		return err
	}
	h := r.w.Header()
	h.Set("ETag", quote(v.ETag))
	v.Checksum.show(h)
	v.showEncryption(h)
	s.showVersion(h, r.bucket, v.ID)
	h.Set("Content-Length", "0")
	r.w.WriteHeader(http.StatusOK)
	return nil
}

// noteBucketGone replaces the error of a write into a directory that a deletion
// of the bucket took away meanwhile.
func (s *Service) noteBucketGone(bucket string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		if !s.HasBucket(bucket) {
			return errNoSuchBucket(bucket)
		}
	}
	return err
}

// commit makes v the current version of a key, if the conditions of a write in h
// hold, and returns it with its ID and time. On failure the version's blob is
// removed.
func (s *Service) commit(bucketName, key string, v version, h http.Header) (version, error) {
	var replaced string
	err := func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		b, ok := s.buckets.Get(bucketName)
		if !ok {
			return errNoSuchBucket(bucketName)
		}
		o := s.object(bucketName, key)
		if err := checkWrite(h, key, o.current()); err != nil {
			return err
		}
		v.Modified = s.now().UTC()
		v.ID = nullVersion
		if b.Versioning == "Enabled" {
			v.ID = newVersionID()
		} else {
			replaced = o.dropNull()
		}
		o.Versions = append([]version{v}, o.Versions...)
		return s.putObject(bucketName, key, o)
	}()
	if err != nil {
		s.removeBlob(bucketName, v.Blob)
		return version{}, err
	}
	s.removeBlob(bucketName, replaced)
	s.changed(bucketName, key, false)
	return v, nil
}

// dropNull takes the null version out of o and returns the blob that becomes free.
func (o *object) dropNull() (blob string) {
	if i := o.find(nullVersion); i >= 0 {
		blob = o.Versions[i].Blob
		o.Versions = slices.Concat(o.Versions[:i], o.Versions[i+1:])
	}
	return blob
}

func newVersionID() string { return region.Hex(32) }

func quote(etag string) string { return `"` + etag + `"` }

// stat returns the version that a request for a key means.
func (s *Service) stat(bucket, key, id string) (version, error) {
	o := s.object(bucket, key)
	if id == "" {
		if v := o.current(); v != nil {
			return *v, nil
		}
		err := errNoSuchKey(key)
		if len(o.Versions) > 0 {
			return o.Versions[0], err
		}
		return version{}, err
	}
	i := o.find(id)
	if i < 0 {
		if id != nullVersion && !validVersionID(id) {
			return version{}, errInvalidArgument("Invalid version id specified", "versionId", id)
		}
		return version{}, refuse("NoSuchVersion", "The specified version does not exist.", "Key", key, "VersionId", id)
	}
	if v := o.Versions[i]; v.DeleteMarker {
		return v, refuse("MethodNotAllowed", "The specified method is not allowed against this resource.", "Method", http.MethodGet, "ResourceType", "DeleteMarker")
	}
	return o.Versions[i], nil
}

func validVersionID(id string) bool {
	return len(id) == 32 && strings.Trim(id, "0123456789abcdefABCDEFGHIJKLMNOPQRSTUVWXYZghijklmnopqrstuvwxyz._") == ""
}

// showVersion adds the version ID to an answer, where the bucket has versions.
func (s *Service) showVersion(h http.Header, bucket, id string) {
	if b, _ := s.buckets.Get(bucket); b.Versioning != "" {
		h.Set("x-amz-version-id", id)
	}
}

func (v version) showEncryption(h http.Header) {
	h.Set("x-amz-server-side-encryption", v.Encryption)
	if v.KMSKey != "" {
		h.Set("x-amz-server-side-encryption-aws-kms-key-id", v.KMSKey)
	}
}

// getObject answers GET and HEAD of an object.
func (s *Service) getObject(r *request) error {
	h := r.w.Header()
	for {
		v, err := s.stat(r.bucket, r.key, r.query.Get("versionId"))
		if v.DeleteMarker {
			h.Set("x-amz-delete-marker", "true")
			s.showVersion(h, r.bucket, v.ID)
			if r.has("versionId") {
				h.Set("Last-Modified", v.Modified.Format(http.TimeFormat))
				h.Set("Allow", "DELETE")
			}
		}
		if err != nil {
			return s.hideMissing(r, err)
		}
		s.showVersion(h, r.bucket, v.ID)
		if err := checkRead(r.Header, "", v); err != nil {
			if err.Status == http.StatusNotModified {
				v.show(h)
			}
			return err
		}
		from, size, partial, err := s.extent(r, v)
		if err != nil {
			return err
		}
		body, err := s.openBlob(r.bucket, &v, from, size)
		if errors.Is(err, fs.ErrNotExist) && s.superseded(r.bucket, r.key, v) {
			continue // replaced since we looked
		}
		if err != nil {
			return err
		}
		defer body.Close()
		v.showAll(h, r)
		if !partial && strings.EqualFold(r.Header.Get("x-amz-checksum-mode"), "ENABLED") {
			v.Checksum.show(h)
		}
		h.Set("Content-Length", strconv.FormatInt(size, 10))
		status := http.StatusOK
		if partial {
			status = http.StatusPartialContent
			h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, from+size-1, v.Size))
		}
		r.w.WriteHeader(status)
		if r.Method == http.MethodGet {
			_, _ = io.Copy(r.w, body) // too late for an error document: the client sees a short body
		}
		return nil
	}
}

// superseded reports whether a version is gone from the tables.
func (s *Service) superseded(bucket, key string, v version) bool {
	o := s.object(bucket, key)
	i := o.find(v.ID)
	return i < 0 || o.Versions[i].Blob != v.Blob
}

// hideMissing turns the absence of an object into a refusal for those who may
// not list the bucket.
func (s *Service) hideMissing(r *request, err error) error {
	if e, ok := errors.AsType[*wire.Error](err); ok && e.Code == "NoSuchKey" && unsigned(r) {
		if b, _ := s.buckets.Get(r.bucket); !b.public("s3:ListBucket", "arn:aws:s3:::"+b.Name) {
			return refuse("AccessDenied", "Access Denied")
		}
	}
	return err
}

// show adds what identifies the version to the headers of an answer.
func (v version) show(h http.Header) {
	h.Set("ETag", quote(v.ETag))
	h.Set("Last-Modified", v.Modified.Format(http.TimeFormat))
}

// showAll adds all headers of a version.
func (v version) showAll(h http.Header, r *request) {
	v.show(h)
	h.Set("Accept-Ranges", "bytes")
	h.Set("Content-Type", "binary/octet-stream")
	for name, value := range v.Header {
		h.Set(name, value)
	}
	for name, value := range v.Meta {
		h["x-amz-meta-"+name] = []string{value} // in lower case, which clients hand on to users
	}
	for parameter, name := range map[string]string{
		"response-cache-control": "Cache-Control", "response-content-disposition": "Content-Disposition",
		"response-content-encoding": "Content-Encoding", "response-content-language": "Content-Language",
		"response-content-type": "Content-Type", "response-expires": "Expires",
	} {
		if value := r.query.Get(parameter); value != "" {
			h.Set(name, value)
		}
	}
	v.showEncryption(h)
	if v.StorageClass != "" {
		h.Set("x-amz-storage-class", v.StorageClass)
	}
	if len(v.Tags) > 0 {
		h.Set("x-amz-tagging-count", strconv.Itoa(len(v.Tags)))
	}
	if len(v.Parts) > 0 && r.has("partNumber") {
		h.Set("x-amz-mp-parts-count", strconv.Itoa(len(v.Parts)))
	}
}

// deletion is the outcome of deleting one key or version.
type deletion struct {
	marker bool   // a delete marker was made or removed
	id     string // version made or removed; empty where the bucket has none
}

// remove deletes a key, or one version of it. What is not there is no error.
func (s *Service) remove(bucketName, key, id string, h http.Header) (deletion, error) {
	var free string
	var out deletion
	before, after := false, false
	err := func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		b, ok := s.buckets.Get(bucketName)
		if !ok {
			return errNoSuchBucket(bucketName)
		}
		o := s.object(bucketName, key)
		before = o.current() != nil
		if want := h.Get("If-Match"); want != "" && before && !etagMatches(want, o.current().ETag) {
			return errPrecondition("If-Match")
		}
		switch {
		case id != "":
			out.id = id
			i := o.find(id)
			if i < 0 {
				if id != nullVersion && !validVersionID(id) {
					return errInvalidArgument("Invalid version id specified", "versionId", id)
				}
				return nil
			}
			out.marker, free = o.Versions[i].DeleteMarker, o.Versions[i].Blob
			o.Versions = slices.Concat(o.Versions[:i], o.Versions[i+1:])
		case b.Versioning == "":
			if len(o.Versions) == 0 {
				return nil
			}
			free = o.dropNull()
		default:
			m := version{ID: nullVersion, DeleteMarker: true, Modified: s.now().UTC()}
			if b.Versioning == "Enabled" {
				m.ID = newVersionID()
			} else {
				free = o.dropNull()
			}
			o.Versions = append([]version{m}, o.Versions...)
			out = deletion{true, m.ID}
		}
		after = o.current() != nil
		return s.putObject(bucketName, key, o)
	}()
	if err != nil {
		return deletion{}, err
	}
	s.removeBlob(bucketName, free)
	if before || after {
		s.changed(bucketName, key, !after)
	}
	return out, nil
}

func (s *Service) deleteObject(r *request) error {
	out, err := s.remove(r.bucket, r.key, r.query.Get("versionId"), r.Header)
	if err != nil {
		return err
	}
	if out.marker {
		r.w.Header().Set("x-amz-delete-marker", "true")
	}
	if out.id != "" {
		r.w.Header().Set("x-amz-version-id", out.id)
	}
	return r.noContent()
}

func (s *Service) deleteObjects(r *request) error {
	var in struct {
		Quiet  bool
		Object []struct {
			Key       string
			VersionId string
			ETag      string
		}
	}
	if err := r.readXML(&in); err != nil {
		return err
	}
	if len(in.Object) == 0 || len(in.Object) > 1000 {
		return errMalformedXML
	}
	type deleted struct {
		Key                   string
		VersionId             string `xml:",omitempty"`
		DeleteMarker          bool   `xml:",omitempty"`
		DeleteMarkerVersionId string `xml:",omitempty"`
	}
	type failed struct {
		Key       string
		VersionId string `xml:",omitempty"`
		Code      string
		Message   string
	}
	answer := struct {
		XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ DeleteResult"`
		Deleted []deleted
		Error   []failed
	}{}
	for _, o := range in.Object {
		h := http.Header{}
		if o.ETag != "" {
			h.Set("If-Match", o.ETag)
		}
		out, err := deletion{}, s.authorizeDelete(r, o.Key, o.VersionId)
		if err == nil {
			out, err = s.remove(r.bucket, o.Key, o.VersionId, h)
		}
		switch {
		case err != nil:
			e := asError(err)
			answer.Error = append(answer.Error, failed{o.Key, o.VersionId, e.Code, e.Message})
		case in.Quiet:
		default:
			d := deleted{Key: o.Key, VersionId: o.VersionId, DeleteMarker: out.marker}
			if out.marker {
				d.DeleteMarkerVersionId = out.id
			}
			answer.Deleted = append(answer.Deleted, d)
		}
	}
	return r.writeXML(answer)
}

func (s *Service) authorizeDelete(r *request, key, versionID string) error {
	if s.Authorize == nil {
		return nil
	}
	query := url.Values{}
	if versionID != "" {
		query.Set("versionId", versionID)
	}
	return s.Authorize(r.Context(), http.MethodDelete, r.bucket, key, query, r.Header)
}

// copySource returns the version that a copy reads.
func (s *Service) copySource(r *request) (bucket string, v version, err error) {
	raw := r.Header.Get("x-amz-copy-source")
	path, query, _ := strings.Cut(raw, "?")
	path, err = url.PathUnescape(path)
	if err != nil {
		return "", version{}, errInvalidArgument("Copy Source must mention the source bucket and key: sourcebucket/sourcekey", "x-amz-copy-source", raw)
	}
	bucket, key, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if bucket == "" || key == "" {
		return "", version{}, errInvalidArgument("Copy Source must mention the source bucket and key: sourcebucket/sourcekey", "x-amz-copy-source", raw)
	}
	if !s.HasBucket(bucket) {
		return "", version{}, errNoSuchBucket(bucket)
	}
	id := strings.TrimPrefix(query, "versionId=")
	if v, err = s.stat(bucket, key, id); err != nil {
		if v.DeleteMarker && id != "" {
			err = refuse("InvalidRequest", "The source of a copy request may not specifically refer to a delete marker by version id.")
		}
		return "", version{}, err
	}
	if err := checkRead(r.Header, "x-amz-copy-source-", v); err != nil {
		return "", version{}, errPrecondition("x-amz-copy-source-If-*")
	}
	if b, _ := s.buckets.Get(bucket); b.Versioning != "" {
		r.w.Header().Set("x-amz-copy-source-version-id", v.ID)
	}
	return bucket, v, nil
}

func (s *Service) copyObject(r *request) error {
	from, source, err := s.copySource(r)
	if err != nil {
		return err
	}
	if source.Size > maxUpload {
		return refuse("InvalidRequest", "The specified copy source is larger than the maximum allowable size for a copy source: 5368709120")
	}
	v, err := s.describe(r)
	if err != nil {
		return err
	}
	replace := strings.EqualFold(r.Header.Get("x-amz-metadata-directive"), "REPLACE")
	if !replace {
		if current, err := s.stat(r.bucket, r.key, ""); err == nil && current.Blob == source.Blob && current.Blob != "" && from == r.bucket &&
			r.Header.Get("x-amz-storage-class") == "" && r.Header.Get("x-amz-server-side-encryption") == "" && v.Header["X-Amz-Website-Redirect-Location"] == "" {
			return refuse("InvalidRequest", "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.")
		}
		v.Header, v.Meta = source.Header, source.Meta
	}
	if !strings.EqualFold(r.Header.Get("x-amz-tagging-directive"), "REPLACE") {
		v.Tags = source.Tags
	}
	algorithm, _, err := declared(r.Header)
	if err != nil {
		return err
	}
	got, err := s.copyBlob(r.bucket, from, source, 0, source.Size, algorithm)
	if err != nil {
		return err
	}
	v.Blob, v.Size, v.ETag, v.Checksum = got.blob, got.size, got.etag, got.checksum
	if v, err = s.commit(r.bucket, r.key, v, writeConditions(r.Header)); err != nil {
		return err
	}
	s.showVersion(r.w.Header(), r.bucket, v.ID)
	v.showEncryption(r.w.Header())
	return r.writeXML(copyResult{XMLName: xml.Name{Space: xmlns, Local: "CopyObjectResult"}, LastModified: timestamp(v.Modified), ETag: quote(v.ETag),
		checksumElements: v.Checksum.elements()})
}

type copyResult struct {
	XMLName      xml.Name
	LastModified string
	ETag         string
	checksumElements
}

// copyBlob stores a stretch of another version's data.
func (s *Service) copyBlob(bucket, from string, source version, offset, size int64, algorithm string) (received, error) {
	if algorithm == "" {
		algorithm = source.Checksum.Algorithm
	}
	if newHash(algorithm) == nil {
		algorithm = crc64nvmeSum
	}
	body, err := s.openBlob(from, &source, offset, size)
	if err != nil {
		return received{}, err
	}
	defer body.Close()
	return s.store(bucket, newDigest(body, algorithm))
}

// checksumElements are a checksum in the documents of answers and requests.
type checksumElements struct {
	ChecksumCRC32     string `xml:",omitempty"`
	ChecksumCRC32C    string `xml:",omitempty"`
	ChecksumCRC64NVME string `xml:",omitempty"`
	ChecksumSHA1      string `xml:",omitempty"`
	ChecksumSHA256    string `xml:",omitempty"`
	ChecksumType      string `xml:",omitempty"`
}

func (c checksum) elements() checksumElements {
	e := checksumElements{ChecksumType: c.Type}
	switch c.Algorithm {
	case crc32Sum:
		e.ChecksumCRC32 = c.Value
	case crc32cSum:
		e.ChecksumCRC32C = c.Value
	case crc64nvmeSum:
		e.ChecksumCRC64NVME = c.Value
	case sha1Sum:
		e.ChecksumSHA1 = c.Value
	case sha256Sum:
		e.ChecksumSHA256 = c.Value
	}
	return e
}

// of returns the element of one algorithm.
func (e checksumElements) of(algorithm string) string {
	return map[string]string{crc32Sum: e.ChecksumCRC32, crc32cSum: e.ChecksumCRC32C, crc64nvmeSum: e.ChecksumCRC64NVME,
		sha1Sum: e.ChecksumSHA1, sha256Sum: e.ChecksumSHA256}[algorithm]
}

func (s *Service) getObjectAttributes(r *request) error {
	v, err := s.stat(r.bucket, r.key, r.query.Get("versionId"))
	if err != nil {
		return err
	}
	wanted := strings.Split(strings.ReplaceAll(strings.Join(r.Header.Values("x-amz-object-attributes"), ","), " ", ""), ",")
	answer := struct {
		XMLName     xml.Name          `xml:"http://s3.amazonaws.com/doc/2006-03-01/ GetObjectAttributesResponse"`
		ETag        string            `xml:",omitempty"`
		Checksum    *checksumElements `xml:",omitempty"`
		ObjectParts *struct {
			PartsCount int
		} `xml:",omitempty"`
		StorageClass string `xml:",omitempty"`
		ObjectSize   *int64 `xml:",omitempty"`
	}{}
	for _, name := range wanted {
		switch name {
		case "ETag":
			answer.ETag = v.ETag
		case "Checksum":
			e := v.Checksum.elements()
			answer.Checksum = &e
		case "ObjectParts":
			if len(v.Parts) > 0 {
				answer.ObjectParts = &struct{ PartsCount int }{len(v.Parts)}
			}
		case "StorageClass":
			answer.StorageClass = v.class()
		case "ObjectSize":
			answer.ObjectSize = &v.Size
		default:
			return errInvalidArgument("Invalid attribute name specified.", "x-amz-object-attributes", name)
		}
	}
	r.w.Header().Set("Last-Modified", v.Modified.Format(http.TimeFormat))
	s.showVersion(r.w.Header(), r.bucket, v.ID)
	return r.writeXML(answer)
}

func (v version) class() string {
	if v.StorageClass == "" {
		return "STANDARD"
	}
	return v.StorageClass
}
