package s3

import (
	"encoding/base64"
	"encoding/xml"
	"net/url"
	"slices"
	"strings"
)

const maxKeys = 1000

// A listing is the part of the keys of a bucket that a request asks for.
type listing struct {
	prefix, delimiter string
	after             string // only keys after this one
	most              int
	encode            func(string) string
}

// newListing reads the parameters that all listings share.
func newListing(r *request, maxParameter string) (listing, error) {
	most, err := r.number(maxParameter, maxKeys, maxKeys)
	if err != nil {
		return listing{}, err
	}
	l := listing{prefix: r.query.Get("prefix"), delimiter: r.query.Get("delimiter"), most: most, encode: func(s string) string { return s }}
	switch r.query.Get("encoding-type") {
	case "":
	case "url":
		l.encode = encodeKey
	default:
		return l, errInvalidArgument("Invalid Encoding Method specified in Request", "encoding-type", r.query.Get("encoding-type"))
	}
	return l, nil
}

// encodeKey encodes a key as listings with encoding-type=url have it.
func encodeKey(key string) string { return strings.ReplaceAll(url.QueryEscape(key), "%2F", "/") }

// commonPrefix returns the prefix that key is rolled up under.
func (l listing) commonPrefix(key string) (string, bool) {
	if l.delimiter == "" {
		return "", false
	}
	i := strings.Index(key[len(l.prefix):], l.delimiter)
	if i < 0 {
		return "", false
	}
	return key[:len(l.prefix)+i+len(l.delimiter)], true
}

// start returns the position of the first key that the listing may show.
func (l listing) start(keys []string) int {
	i, _ := slices.BinarySearch(keys, max(l.prefix, l.after))
	return i
}

// walk goes through the sorted keys of a bucket that the listing selects, calling
// key for each, or prefix once for those rolled up. It stops when the listing is
// full, and returns the last key or prefix it passed and whether something that
// counts is left.
func (l listing) walk(keys []string, counts func(string) bool, key, prefix func(string)) (last string, truncated bool) {
	n := 0
	for i := l.start(keys); i < len(keys) && strings.HasPrefix(keys[i], l.prefix); i++ {
		k := keys[i]
		rolled, isPrefix := l.commonPrefix(k)
		listedBefore := k == l.after || isPrefix && strings.HasPrefix(l.after, rolled)
		if listedBefore || !counts(k) {
			continue
		}
		if n == l.most {
			return last, n > 0
		}
		n++
		if !isPrefix {
			key(k)
			last = k
			continue
		}
		prefix(rolled)
		last = rolled
		for i+1 < len(keys) && strings.HasPrefix(keys[i+1], rolled) {
			i++
		}
	}
	return last, false
}

type contents struct {
	Key               string
	LastModified      string
	ETag              string
	ChecksumAlgorithm []string
	ChecksumType      string `xml:",omitempty"`
	Size              int64
	Owner             *owner `xml:",omitempty"`
	StorageClass      string
}

type commonPrefix struct {
	Prefix string
}

// collect runs a listing of current objects.
func (s *Service) collect(bucket string, l listing, withOwner bool) (objects []contents, prefixes []commonPrefix, last string, truncated bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	last, truncated = l.walk(s.keys[bucket],
		func(key string) bool { return s.object(bucket, key).current() != nil },
		func(key string) {
			v := s.object(bucket, key).current()
			c := contents{Key: l.encode(key), LastModified: timestamp(v.Modified), ETag: quote(v.ETag), Size: v.Size, StorageClass: v.class(), ChecksumType: v.Checksum.Type}
			if v.Checksum.Algorithm != "" {
				c.ChecksumAlgorithm = []string{strings.ToUpper(v.Checksum.Algorithm)}
			}
			if withOwner {
				c.Owner = &owner{s.ownerID()}
			}
			objects = append(objects, c)
		},
		func(p string) { prefixes = append(prefixes, commonPrefix{l.encode(p)}) })
	return objects, prefixes, last, truncated
}

func (s *Service) listObjects(r *request) error {
	l, err := newListing(r, "max-keys")
	if err != nil {
		return err
	}
	l.after = r.query.Get("marker")
	objects, prefixes, last, truncated := s.collect(r.bucket, l, true)
	answer := struct {
		XMLName        xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListBucketResult"`
		Name           string
		Prefix         string
		Marker         string
		NextMarker     string `xml:",omitempty"`
		MaxKeys        int
		Delimiter      string `xml:",omitempty"`
		EncodingType   string `xml:",omitempty"`
		IsTruncated    bool
		Contents       []contents
		CommonPrefixes []commonPrefix
	}{Name: r.bucket, Prefix: l.encode(l.prefix), Marker: l.encode(l.after), MaxKeys: l.most, Delimiter: l.encode(l.delimiter),
		EncodingType: r.query.Get("encoding-type"), IsTruncated: truncated, Contents: objects, CommonPrefixes: prefixes}
	if truncated && l.delimiter != "" {
		answer.NextMarker = l.encode(last)
	}
	return r.writeXML(answer)
}

func (s *Service) listObjectsV2(r *request) error {
	l, err := newListing(r, "max-keys")
	if err != nil {
		return err
	}
	l.after = r.query.Get("start-after")
	token := r.query.Get("continuation-token")
	if r.has("continuation-token") {
		after, err := base64.RawURLEncoding.DecodeString(token)
		if err != nil || token == "" {
			return errInvalidArgument("The continuation token provided is incorrect", "continuation-token", token)
		}
		l.after = string(after)
	}
	objects, prefixes, last, truncated := s.collect(r.bucket, l, r.query.Get("fetch-owner") == "true")
	answer := struct {
		XMLName               xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListBucketResult"`
		Name                  string
		Prefix                string
		StartAfter            string `xml:",omitempty"`
		ContinuationToken     string `xml:",omitempty"`
		NextContinuationToken string `xml:",omitempty"`
		KeyCount              int
		MaxKeys               int
		Delimiter             string `xml:",omitempty"`
		EncodingType          string `xml:",omitempty"`
		IsTruncated           bool
		Contents              []contents
		CommonPrefixes        []commonPrefix
	}{Name: r.bucket, Prefix: l.encode(l.prefix), StartAfter: l.encode(r.query.Get("start-after")), ContinuationToken: token,
		KeyCount: len(objects) + len(prefixes), MaxKeys: l.most, Delimiter: l.encode(l.delimiter),
		EncodingType: r.query.Get("encoding-type"), IsTruncated: truncated, Contents: objects, CommonPrefixes: prefixes}
	if truncated {
		answer.NextContinuationToken = base64.RawURLEncoding.EncodeToString([]byte(last))
	}
	return r.writeXML(answer)
}

// listedVersion is a version or a delete marker; S3 lists both kinds mixed.
type listedVersion struct {
	XMLName      xml.Name
	Key          string
	VersionId    string
	IsLatest     bool
	LastModified string
	ETag         string `xml:",omitempty"`
	Size         *int64 `xml:",omitempty"`
	StorageClass string `xml:",omitempty"`
	Owner        owner
}

func (s *Service) listObjectVersions(r *request) error {
	l, err := newListing(r, "max-keys")
	if err != nil {
		return err
	}
	keyMarker, idMarker := r.query.Get("key-marker"), r.query.Get("version-id-marker")
	if idMarker != "" && keyMarker == "" {
		return errInvalidArgument("A version-id marker cannot be specified without a key marker.", "version-id-marker", idMarker)
	}
	answer := struct {
		XMLName             xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListVersionsResult"`
		Name                string
		Prefix              string
		KeyMarker           string
		VersionIdMarker     string
		NextKeyMarker       string `xml:",omitempty"`
		NextVersionIdMarker string `xml:",omitempty"`
		MaxKeys             int
		Delimiter           string `xml:",omitempty"`
		EncodingType        string `xml:",omitempty"`
		IsTruncated         bool
		Versions            []listedVersion
		CommonPrefixes      []commonPrefix
	}{Name: r.bucket, Prefix: l.encode(l.prefix), KeyMarker: l.encode(keyMarker), VersionIdMarker: idMarker, MaxKeys: l.most,
		Delimiter: l.encode(l.delimiter), EncodingType: r.query.Get("encoding-type")}

	s.mu.RLock()
	defer s.mu.RUnlock()
	l.after = keyMarker
	keys, full, lastKey, lastID := s.keys[r.bucket], false, "", ""
	room := func() bool {
		full = len(answer.Versions)+len(answer.CommonPrefixes) == l.most
		return !full
	}
	for i := l.start(keys); i < len(keys) && strings.HasPrefix(keys[i], l.prefix) && !full; i++ {
		key := keys[i]
		if rolled, ok := l.commonPrefix(key); ok {
			if strings.HasPrefix(keyMarker, rolled) || rolled == lastKey || !room() {
				continue
			}
			answer.CommonPrefixes = append(answer.CommonPrefixes, commonPrefix{l.encode(rolled)})
			lastKey, lastID = rolled, ""
			continue
		}
		versions, first := s.object(r.bucket, key).Versions, 0
		if key == keyMarker {
			if first = len(versions); idMarker != "" {
				first = s.object(r.bucket, key).find(idMarker) + 1
			}
		}
		for j := first; j < len(versions) && room(); j++ {
			answer.Versions = append(answer.Versions, s.listedVersion(l.encode(key), versions[j], j == 0))
			lastKey, lastID = key, versions[j].ID
		}
	}
	if full && l.most > 0 {
		answer.IsTruncated, answer.NextKeyMarker, answer.NextVersionIdMarker = true, l.encode(lastKey), lastID
	}
	return r.writeXML(answer)
}

func (s *Service) listedVersion(key string, v version, latest bool) listedVersion {
	out := listedVersion{XMLName: xml.Name{Local: "DeleteMarker"}, Key: key, VersionId: v.ID, IsLatest: latest,
		LastModified: timestamp(v.Modified), Owner: owner{s.ownerID()}}
	if !v.DeleteMarker {
		out.XMLName.Local, out.ETag, out.Size, out.StorageClass = "Version", quote(v.ETag), &v.Size, v.class()
	}
	return out
}
