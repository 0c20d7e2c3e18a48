package s3

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"pcluster/internal/sandbox/region"
)

const (
	maxPart     = 10000
	minPartSize = 5 << 20 // of all parts but the last
)

// An upload is a multipart upload that is neither completed nor aborted.
type upload struct {
	Bucket, Key string
	Started     time.Time
	Object      version  // what the object will be, as far as the start of the upload says
	Checksum    checksum // algorithm and type that the client asked for, if any
}

// A part is one uploaded part.
type part struct {
	Blob     string
	Size     int64
	ETag     string
	Checksum checksum
	Modified time.Time
}

func partRow(uploadID string, number int) string { return fmt.Sprintf("%s/%05d", uploadID, number) }

func (s *Service) indexPart(uploadID string, number int, p part) {
	if s.uploaded[uploadID] == nil {
		s.uploaded[uploadID] = map[int]part{}
	}
	s.uploaded[uploadID][number] = p
}

// openUploads returns the uploads of a bucket by ID.
func (s *Service) openUploads(bucket string) map[string]upload {
	open := map[string]upload{}
	for _, id := range s.uploads.Keys() {
		if u, ok := s.uploads.Get(id); ok && u.Bucket == bucket {
			open[id] = u
		}
	}
	return open
}

// upload returns the upload that a request names.
func (s *Service) upload(r *request) (id string, u upload, err error) {
	id = r.query.Get("uploadId")
	u, ok := s.uploads.Get(id)
	if !ok || u.Bucket != r.bucket || u.Key != r.key {
		return id, u, refuse("NoSuchUpload", "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.", "UploadId", id)
	}
	return id, u, nil
}

func (s *Service) createMultipartUpload(r *request) error {
	v, err := s.describe(r)
	if err != nil {
		return err
	}
	algorithm, _, err := declared(r.Header)
	if err != nil {
		return err
	}
	u := upload{Bucket: r.bucket, Key: r.key, Started: s.now().UTC(), Object: v}
	if algorithm != "" {
		u.Checksum = checksum{Algorithm: algorithm, Type: r.Header.Get("x-amz-checksum-type")}
		full := strings.HasPrefix(algorithm, "crc")
		switch {
		case u.Checksum.Type == "" && algorithm == crc64nvmeSum:
			u.Checksum.Type = fullObject
		case u.Checksum.Type == "":
			u.Checksum.Type = composite
		case u.Checksum.Type == fullObject && !full, u.Checksum.Type == composite && algorithm == crc64nvmeSum:
			return refuse("InvalidRequest", fmt.Sprintf("The %s checksum type cannot be used with the %s checksum algorithm.", u.Checksum.Type, algorithm))
		}
	}
	id := region.Hex(64)
	if err := s.uploads.Put(id, u); err != nil {
		return err
	}
	h := r.w.Header()
	v.showEncryption(h)
	if algorithm != "" {
		h.Set("x-amz-checksum-algorithm", strings.ToUpper(algorithm))
		h.Set("x-amz-checksum-type", u.Checksum.Type)
	}
	return r.writeXML(struct {
		XMLName  xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ InitiateMultipartUploadResult"`
		Bucket   string
		Key      string
		UploadId string
	}{Bucket: r.bucket, Key: r.key, UploadId: id})
}

func (r *request) partNumber() (int, error) {
	v := r.query.Get("partNumber")
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > maxPart {
		return 0, errInvalidArgument("Part number must be an integer between 1 and 10000, inclusive", "partNumber", v)
	}
	return n, nil
}

func (s *Service) uploadPart(r *request) error {
	id, u, err := s.upload(r)
	if err != nil {
		return err
	}
	n, err := r.partNumber()
	if err != nil {
		return err
	}
	got, err := s.receive(r.bucket, r.Request, u.Checksum.Algorithm)
	if err != nil {
		return s.noteBucketGone(r.bucket, err)
	}
	if _, err := s.addPart(id, r, n, got); err != nil {
		return err
	}
	h := r.w.Header()
	h.Set("ETag", quote(got.etag))
	h.Set("x-amz-checksum-"+got.checksum.Algorithm, got.checksum.Value)
	u.Object.showEncryption(h)
	h.Set("Content-Length", "0")
	r.w.WriteHeader(http.StatusOK)
	return nil
}

func (s *Service) uploadPartCopy(r *request) error {
	id, u, err := s.upload(r)
	if err != nil {
		return err
	}
	n, err := r.partNumber()
	if err != nil {
		return err
	}
	from, source, err := s.copySource(r)
	if err != nil {
		return err
	}
	offset, size := int64(0), source.Size
	if spec := r.Header.Get("x-amz-copy-source-range"); spec != "" {
		first, last, ok := parseRange(spec, source.Size)
		if !ok || first > last {
			return errInvalidArgument("The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy", "x-amz-copy-source-range", spec)
		}
		if first >= source.Size {
			return errInvalidArgument("Range specified is not valid for source object of size: "+strconv.FormatInt(source.Size, 10), "x-amz-copy-source-range", spec)
		}
		offset, size = first, last-first+1
	}
	if size > maxUpload {
		return refuse("InvalidRequest", "The specified copy source is larger than the maximum allowable size for a copy source: 5368709120")
	}
	got, err := s.copyBlob(r.bucket, from, source, offset, size, u.Checksum.Algorithm)
	if err != nil {
		return err
	}
	p, err := s.addPart(id, r, n, got)
	if err != nil {
		return err
	}
	u.Object.showEncryption(r.w.Header())
	return r.writeXML(copyResult{XMLName: xml.Name{Space: xmlns, Local: "CopyPartResult"}, LastModified: timestamp(p.Modified), ETag: quote(got.etag),
		checksumElements: got.checksum.elements()})
}

// addPart records a part, replacing one of the same number.
func (s *Service) addPart(id string, r *request, number int, got received) (part, error) {
	p := part{got.blob, got.size, got.etag, got.checksum, s.now().UTC()}
	replaced, err := func() (part, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if _, _, err := s.upload(r); err != nil { // ended meanwhile
			return part{}, err
		}
		if err := s.parts.Put(partRow(id, number), p); err != nil {
			return part{}, err
		}
		old := s.uploaded[id][number]
		s.indexPart(id, number, p)
		return old, nil
	}()
	if err != nil {
		s.removeBlob(r.bucket, got.blob)
		return part{}, err
	}
	s.removeBlob(r.bucket, replaced.Blob)
	return p, nil
}

// partsOf returns the parts of an upload.
func (s *Service) partsOf(id string) map[int]part {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return maps.Clone(s.uploaded[id])
}

type completedPart struct {
	PartNumber int
	ETag       string
	checksumElements
}

func (s *Service) completeMultipartUpload(r *request) error {
	id, u, err := s.upload(r)
	if err != nil {
		return err
	}
	var in struct {
		XMLName xml.Name        `xml:"CompleteMultipartUpload"`
		Part    []completedPart `xml:"Part"`
	}
	data, err := r.document()
	if err != nil {
		return err
	}
	if xml.Unmarshal(data, &in) != nil || len(in.Part) == 0 {
		return errMalformedXML
	}
	chosen, err := choose(id, in.Part, s.partsOf(id))
	if err != nil {
		return err
	}
	if err := checkWrite(r.Header, r.key, s.object(r.bucket, r.key).current()); err != nil {
		return err // before the work; decided again when it is done
	}
	v, err := s.assemble(r, u, chosen)
	if err != nil {
		return s.noteBucketGone(r.bucket, err)
	}
	if v, err = s.commit(r.bucket, r.key, v, writeConditions(r.Header)); err != nil {
		return err
	}
	s.mu.Lock()
	err = s.dropUpload(id, u)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	s.showVersion(r.w.Header(), r.bucket, v.ID)
	v.showEncryption(r.w.Header())
	return r.writeXML(struct {
		XMLName  xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ CompleteMultipartUploadResult"`
		Location string
		Bucket   string
		Key      string
		ETag     string
		checksumElements
	}{Location: "https://" + r.Host + "/" + r.bucket + "/" + encodeKey(r.key), Bucket: r.bucket, Key: r.key, ETag: quote(v.ETag), checksumElements: v.Checksum.elements()})
}

// writeConditions returns only the headers that make a write conditional.
func writeConditions(h http.Header) http.Header {
	out := http.Header{}
	for _, name := range []string{"If-Match", "If-None-Match"} {
		if v := h.Get(name); v != "" {
			out.Set(name, v)
		}
	}
	return out
}

// choose returns the parts that the client's list names, or why it is wrong.
func choose(id string, list []completedPart, have map[int]part) ([]part, error) {
	for i, want := range list {
		if i > 0 && want.PartNumber <= list[i-1].PartNumber {
			return nil, refuse("InvalidPartOrder", "The list of parts was not in ascending order. Parts must be ordered by part number.", "UploadId", id)
		}
	}
	var chosen []part
	for i, want := range list {
		p, ok := have[want.PartNumber]
		if !ok || strings.Trim(want.ETag, `"`) != p.ETag || !want.agrees(p.Checksum) {
			return nil, refuse("InvalidPart", "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.",
				"UploadId", id, "PartNumber", strconv.Itoa(want.PartNumber), "ETag", strings.Trim(want.ETag, `"`))
		}
		if i < len(list)-1 && p.Size < minPartSize {
			return nil, refuse("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size",
				"ProposedSize", strconv.FormatInt(p.Size, 10), "MinSizeAllowed", strconv.Itoa(minPartSize), "PartNumber", strconv.Itoa(want.PartNumber), "ETag", p.ETag)
		}
		chosen = append(chosen, p)
	}
	return chosen, nil
}

// agrees reports whether the checksum that the client repeats, if any, is the part's.
func (p completedPart) agrees(c checksum) bool {
	v := p.of(c.Algorithm)
	return v == "" || v == c.Value
}

// assemble joins parts into the data of one version.
func (s *Service) assemble(r *request, u upload, parts []part) (version, error) {
	v := u.Object
	etags := md5.New()
	for _, p := range parts {
		sum, err := hex.DecodeString(p.ETag)
		if err != nil {
			return v, fmt.Errorf("part of upload: %w", err)
		}
		etags.Write(sum)
		v.Size += p.Size
		v.Parts = append(v.Parts, p.Size)
	}
	if want := r.Header.Get("x-amz-mp-object-size"); want != "" && want != strconv.FormatInt(v.Size, 10) {
		return v, refuse("InvalidRequest", "The provided 'x-amz-mp-object-size' header does not match what was computed.")
	}
	v.ETag = fmt.Sprintf("%x-%d", etags.Sum(nil), len(parts))
	sum := u.Checksum
	if sum.Algorithm == "" {
		sum = checksum{Algorithm: crc64nvmeSum, Type: fullObject}
	}
	whole := newHash(sum.Algorithm)
	var err error
	v.Blob, err = s.writeBlob(r.bucket, func(w io.Writer) error {
		if sum.Type == fullObject {
			w = io.MultiWriter(w, whole)
		}
		for _, p := range parts {
			if err := s.appendPart(w, r.bucket, p); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return v, err
	}
	suffix := ""
	if sum.Type == composite {
		for _, p := range parts {
			raw, err := base64.StdEncoding.DecodeString(p.Checksum.Value)
			if err != nil || p.Checksum.Algorithm != sum.Algorithm {
				s.removeBlob(r.bucket, v.Blob)
				return v, refuse("InvalidRequest", "The upload was created using a "+sum.Algorithm+" checksum. The complete request must include the checksum for each part.")
			}
			whole.Write(raw)
		}
		suffix = "-" + strconv.Itoa(len(parts))
	}
	sum.Value = base64.StdEncoding.EncodeToString(whole.Sum(nil)) + suffix
	v.Checksum = sum
	if want := r.Header.Get("x-amz-checksum-" + sum.Algorithm); want != "" && want != sum.Value && want+suffix != sum.Value {
		s.removeBlob(r.bucket, v.Blob)
		return v, refuse("BadDigest", fmt.Sprintf("The %s you specified did not match the calculated checksum.", sum.Algorithm))
	}
	return v, nil
}

func (s *Service) appendPart(w io.Writer, bucket string, p part) error {
	body, err := s.openBlob(bucket, &version{Blob: p.Blob}, 0, p.Size)
	if errors.Is(err, fs.ErrNotExist) { // another request completed or aborted it
		return refuse("NoSuchUpload", "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.")
	}
	if err != nil {
		return err
	}
	defer body.Close()
	n, err := io.Copy(w, body)
	if err == nil && n != p.Size {
		err = fmt.Errorf("part %s has %d bytes, not %d: %w", p.Blob, n, p.Size, io.ErrUnexpectedEOF)
	}
	return err
}

// dropUpload forgets an upload and its parts. The caller holds mu.
func (s *Service) dropUpload(id string, u upload) error {
	if err := s.uploads.Delete(id); err != nil {
		return err
	}
	for n, p := range s.uploaded[id] {
		if err := s.parts.Delete(partRow(id, n)); err != nil {
			return err
		}
		s.removeBlob(u.Bucket, p.Blob)
	}
	delete(s.uploaded, id)
	return nil
}

func (s *Service) abortMultipartUpload(r *request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, u, err := s.upload(r)
	if err != nil {
		return err
	}
	if err := s.dropUpload(id, u); err != nil {
		return err
	}
	return r.noContent()
}

func (s *Service) listParts(r *request) error {
	id, u, err := s.upload(r)
	if err != nil {
		return err
	}
	most, err := r.number("max-parts", 1000, 1000)
	if err != nil {
		return err
	}
	marker, err := r.number("part-number-marker", 0, maxPart)
	if err != nil {
		return err
	}
	type listed struct {
		PartNumber   int
		LastModified string
		ETag         string
		Size         int64
		checksumElements
	}
	answer := struct {
		XMLName              xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListPartsResult"`
		Bucket               string
		Key                  string
		UploadId             string
		Initiator            owner
		Owner                owner
		StorageClass         string
		PartNumberMarker     int
		NextPartNumberMarker int
		MaxParts             int
		IsTruncated          bool
		ChecksumAlgorithm    string `xml:",omitempty"`
		ChecksumType         string `xml:",omitempty"`
		Part                 []listed
	}{Bucket: r.bucket, Key: r.key, UploadId: id, Initiator: owner{s.ownerID()}, Owner: owner{s.ownerID()}, StorageClass: u.Object.class(),
		PartNumberMarker: marker, MaxParts: most, ChecksumAlgorithm: strings.ToUpper(u.Checksum.Algorithm), ChecksumType: u.Checksum.Type}
	parts := s.partsOf(id)
	for _, n := range slices.Sorted(maps.Keys(parts)) {
		if n <= marker {
			continue
		}
		if len(answer.Part) == most {
			answer.IsTruncated = most > 0
			break
		}
		p := parts[n]
		e := p.Checksum.elements()
		e.ChecksumType = ""
		answer.Part = append(answer.Part, listed{n, timestamp(p.Modified), quote(p.ETag), p.Size, e})
		answer.NextPartNumberMarker = n
	}
	return r.writeXML(answer)
}

func (s *Service) listMultipartUploads(r *request) error {
	l, err := newListing(r, "max-uploads")
	if err != nil {
		return err
	}
	type listed struct {
		Key          string
		UploadId     string
		Initiator    owner
		Owner        owner
		StorageClass string
		Initiated    string
	}
	keyMarker, idMarker := r.query.Get("key-marker"), r.query.Get("upload-id-marker")
	answer := struct {
		XMLName            xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListMultipartUploadsResult"`
		Bucket             string
		KeyMarker          string
		UploadIdMarker     string
		NextKeyMarker      string `xml:",omitempty"`
		NextUploadIdMarker string `xml:",omitempty"`
		Prefix             string
		Delimiter          string `xml:",omitempty"`
		EncodingType       string `xml:",omitempty"`
		MaxUploads         int
		IsTruncated        bool
		Upload             []listed
		CommonPrefixes     []commonPrefix
	}{Bucket: r.bucket, KeyMarker: l.encode(keyMarker), UploadIdMarker: idMarker, Prefix: l.encode(l.prefix), Delimiter: l.encode(l.delimiter),
		EncodingType: r.query.Get("encoding-type"), MaxUploads: l.most}
	open := s.openUploads(r.bucket)
	ids := slices.SortedFunc(maps.Keys(open), func(a, b string) int {
		if c := strings.Compare(open[a].Key, open[b].Key); c != 0 {
			return c
		}
		return strings.Compare(a, b)
	})
	lastKey, lastID := "", ""
	for _, id := range ids {
		u := open[id]
		if !strings.HasPrefix(u.Key, l.prefix) || u.Key < keyMarker || u.Key == keyMarker && (idMarker == "" || id <= idMarker) {
			continue
		}
		rolled, isPrefix := l.commonPrefix(u.Key)
		if isPrefix && (rolled == lastKey || strings.HasPrefix(keyMarker, rolled)) {
			continue
		}
		if len(answer.Upload)+len(answer.CommonPrefixes) == l.most {
			if l.most > 0 {
				answer.IsTruncated, answer.NextKeyMarker, answer.NextUploadIdMarker = true, l.encode(lastKey), lastID
			}
			break
		}
		if isPrefix {
			answer.CommonPrefixes = append(answer.CommonPrefixes, commonPrefix{l.encode(rolled)})
			lastKey, lastID = rolled, ""
			continue
		}
		answer.Upload = append(answer.Upload, listed{l.encode(u.Key), id, owner{s.ownerID()}, owner{s.ownerID()}, u.Object.class(), timestamp(u.Started)})
		lastKey, lastID = u.Key, id
	}
	return r.writeXML(answer)
}
