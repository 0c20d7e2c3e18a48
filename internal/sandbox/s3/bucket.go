package s3

import (
	"encoding/xml"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"pcluster/internal/sandbox/store"
)

type owner struct {
	ID string
}

func (s *Service) listBuckets(r *request) error {
	most, err := r.number("max-buckets", 10000, 10000)
	if err != nil {
		return err
	}
	type entry struct {
		Name         string
		CreationDate string
		BucketRegion string
	}
	answer := struct {
		XMLName           xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListAllMyBucketsResult"`
		Owner             owner
		Buckets           []entry `xml:"Buckets>Bucket"`
		ContinuationToken string  `xml:",omitempty"`
		Prefix            string  `xml:",omitempty"`
	}{Owner: owner{s.ownerID()}, Prefix: r.query.Get("prefix")}
	for _, b := range s.buckets.All() {
		if !strings.HasPrefix(b.Name, answer.Prefix) || b.Name <= r.query.Get("continuation-token") {
			continue
		}
		if len(answer.Buckets) == most {
			answer.ContinuationToken = answer.Buckets[most-1].Name
			break
		}
		answer.Buckets = append(answer.Buckets, entry{b.Name, timestamp(b.Created), s.id.Name()})
	}
	return r.writeXML(answer)
}

func (s *Service) createBucket(r *request) error {
	data, err := r.document()
	if err != nil {
		return err
	}
	var in struct {
		LocationConstraint string
		Tags               []tag `xml:"Tags>Tag"`
	}
	if len(data) > 0 && xml.Unmarshal(data, &in) != nil {
		return errMalformedXML
	}
	if err := s.checkLocation(in.LocationConstraint); err != nil {
		return err
	}
	b := bucket{Name: r.bucket, Created: s.now(), Documents: maps.Clone(defaultDocuments)}
	if r.Header.Get("x-amz-bucket-object-lock-enabled") == "true" {
		return errNotImplemented("object lock")
	}
	if v := r.Header.Get("x-amz-object-ownership"); v != "" {
		b.Documents["ownershipControls"] = ownershipDocument(v)
	}
	if len(in.Tags) > 0 {
		doc, err := xml.Marshal(tagging{TagSet: in.Tags})
		if err != nil {
			return err
		}
		b.Documents["tagging"] = string(doc)
	}
	created, err := s.addBucket(b)
	if err != nil {
		return err
	}
	// In us-east-1, and only there, S3 lets an owner create a bucket again.
	if !created && s.id.Name() != "us-east-1" {
		return refuse("BucketAlreadyOwnedByYou", "Your previous request to create the named bucket succeeded and you already own it.", "BucketName", r.bucket)
	}
	r.w.Header().Set("Location", "/"+r.bucket)
	r.w.Header().Set("Content-Length", "0")
	r.w.WriteHeader(http.StatusOK)
	return nil
}

func (s *Service) checkLocation(constraint string) error {
	here := s.id.Name()
	switch {
	case constraint == "us-east-1":
		return refuse("InvalidLocationConstraint", "The specified location-constraint is not valid", "LocationConstraint", constraint)
	case constraint == "" && here != "us-east-1":
		return refuse("IllegalLocationConstraintException",
			"The unspecified location constraint is incompatible for the region specific endpoint this request was sent to.")
	case constraint != "" && constraint != here && !(constraint == "EU" && here == "eu-west-1"):
		return refuse("IllegalLocationConstraintException", fmt.Sprintf(
			"The %s location constraint is incompatible for the region specific endpoint this request was sent to.", constraint))
	}
	return nil
}

// addBucket makes a bucket and its directory; false when the bucket exists.
func (s *Service) addBucket(b bucket) (created bool, err error) {
	if !validBucketName(b.Name) {
		return false, refuse("InvalidBucketName", "The specified bucket is not valid.", "BucketName", b.Name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.buckets.Get(b.Name); ok {
		return false, nil
	}
	path := filepath.Join(s.dir, b.Name)
	if err := os.MkdirAll(path, 0o700); err != nil {
		return false, fmt.Errorf("create bucket %s: %w", b.Name, err)
	}
	if err := s.buckets.Put(b.Name, b); err != nil {
		return false, errors.Join(err, os.Remove(path))
	}
	return true, nil
}

var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

func validBucketName(name string) bool {
	if _, err := netip.ParseAddr(name); err == nil {
		return false
	}
	return bucketName.MatchString(name) && !strings.Contains(name, "..") &&
		!strings.HasPrefix(name, "xn--") && !strings.HasPrefix(name, "sthree-") && !strings.HasSuffix(name, "-s3alias")
}

func (s *Service) headBucket(r *request) error {
	r.w.Header().Set("x-amz-bucket-region", s.id.Name())
	r.w.Header().Set("x-amz-access-point-alias", "false")
	r.w.Header().Set("Content-Type", "application/xml")
	r.w.WriteHeader(http.StatusOK)
	return nil
}

func (s *Service) deleteBucket(r *request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.keys[r.bucket]) > 0 {
		current := slices.ContainsFunc(s.keys[r.bucket], func(key string) bool { return s.object(r.bucket, key).current() != nil })
		message := "The bucket you tried to delete is not empty"
		if !current {
			message += ". You must delete all versions in the bucket."
		}
		return refuse("BucketNotEmpty", message, "BucketName", r.bucket)
	}
	if err := s.buckets.Delete(r.bucket); err != nil {
		return err
	}
	delete(s.keys, r.bucket)
	for id, u := range s.openUploads(r.bucket) {
		if err := s.dropUpload(id, u); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(filepath.Join(s.dir, r.bucket)); err != nil {
		return err
	}
	return r.noContent()
}

func (s *Service) getBucketLocation(r *request) error {
	location := s.id.Name()
	if location == "us-east-1" {
		location = ""
	}
	return r.writeXML(struct {
		XMLName  xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ LocationConstraint"`
		Location string   `xml:",chardata"`
	}{Location: location})
}

func (s *Service) getBucketVersioning(r *request) error {
	b, _ := s.buckets.Get(r.bucket)
	return r.writeXML(struct {
		XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ VersioningConfiguration"`
		Status  string   `xml:",omitempty"`
	}{Status: b.Versioning})
}

func (s *Service) putBucketVersioning(r *request) error {
	var in struct {
		Status    string
		MfaDelete string
	}
	if err := r.readXML(&in); err != nil {
		return err
	}
	if in.Status != "Enabled" && in.Status != "Suspended" {
		return refuse("IllegalVersioningConfigurationException", "The Versioning element must be specified")
	}
	if in.MfaDelete == "Enabled" {
		return errNotImplemented("MFA delete")
	}
	return s.changeBucket(r.bucket, func(b *bucket) { b.Versioning = in.Status })
}

// changeBucket replaces a bucket's row.
func (s *Service) changeBucket(name string, change func(*bucket)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.buckets.Update(name, func(b *bucket) error {
		change(b)
		return nil
	})
	if errors.Is(err, store.ErrNotFound) {
		return errNoSuchBucket(name)
	}
	return err
}

// getACL answers for buckets and objects: the sandbox has one account, which
// owns and may do everything.
func (s *Service) getACL(r *request) error {
	if r.key != "" {
		if _, err := s.stat(r.bucket, r.key, r.query.Get("versionId")); err != nil {
			return err
		}
	}
	r.writeDocument("application/xml", []byte(xml.Header+`<AccessControlPolicy xmlns="`+xmlns+`"><Owner><ID>`+s.ownerID()+
		`</ID></Owner><AccessControlList><Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser"><ID>`+
		s.ownerID()+`</ID></Grantee><Permission>FULL_CONTROL</Permission></Grant></AccessControlList></AccessControlPolicy>`))
	return nil
}

// putACL accepts what changes nothing. Buckets enforce the owner's control, as
// new buckets of S3 do, and so have no other ACLs.
func (s *Service) putACL(r *request) error {
	if err := checkCannedACL(r.Header); err != nil {
		return err
	}
	if r.Header.Get("x-amz-acl") == "" {
		return errACL
	}
	r.w.WriteHeader(http.StatusOK)
	return nil
}

var errACL = refuse("AccessControlListNotSupported", "The bucket does not allow ACLs")

func checkCannedACL(h http.Header) error {
	switch h.Get("x-amz-acl") {
	case "", "private", "bucket-owner-full-control", "bucket-owner-read":
	default:
		return errACL
	}
	for name := range h {
		if strings.HasPrefix(name, "X-Amz-Grant-") {
			return errACL
		}
	}
	return nil
}
