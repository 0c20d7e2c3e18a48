package s3

import (
	"encoding/xml"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

type tagging struct {
	XMLName xml.Name `xml:"Tagging"`
	TagSet  []tag    `xml:"TagSet>Tag"`
}

// checkTags judges a set of at most the given number of tags.
func checkTags(tags []tag, most int) error {
	if len(tags) > most {
		return refuse("BadRequest", "Object tags cannot be greater than 10")
	}
	seen := map[string]bool{}
	for _, t := range tags {
		switch {
		case t.Key == "" || len(t.Key) > 128 || strings.HasPrefix(t.Key, "aws:"):
			return refuse("InvalidTag", "The TagKey you have provided is invalid", "TagKey", t.Key)
		case len(t.Value) > 256:
			return refuse("InvalidTag", "The TagValue you have provided is invalid", "TagKey", t.Key, "TagValue", t.Value)
		case seen[t.Key]:
			return refuse("InvalidTag", "Cannot provide multiple Tags with the same key", "TagKey", t.Key)
		}
		seen[t.Key] = true
	}
	return nil
}

// headerTags reads the tags that an upload names in a header.
func headerTags(header string) ([]tag, error) {
	if header == "" {
		return nil, nil
	}
	values, err := url.ParseQuery(header)
	if err != nil {
		return nil, errInvalidArgument("The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.", "x-amz-tagging", header)
	}
	var tags []tag
	for key, vs := range values {
		for _, v := range vs {
			tags = append(tags, tag{key, v})
		}
	}
	slices.SortFunc(tags, func(a, b tag) int { return strings.Compare(a.Key, b.Key) })
	return tags, checkTags(tags, 10)
}

func (s *Service) getObjectTagging(r *request) error {
	v, err := s.stat(r.bucket, r.key, r.query.Get("versionId"))
	if err != nil {
		return err
	}
	s.showVersion(r.w.Header(), r.bucket, v.ID)
	return r.writeXML(tagging{XMLName: xml.Name{Space: xmlns, Local: "Tagging"}, TagSet: v.Tags})
}

func (s *Service) putObjectTagging(r *request) error {
	var in tagging
	if err := r.readXML(&in); err != nil {
		return err
	}
	if err := checkTags(in.TagSet, 10); err != nil {
		return err
	}
	if err := s.setTags(r, in.TagSet); err != nil {
		return err
	}
	r.w.WriteHeader(http.StatusOK)
	return nil
}

func (s *Service) deleteObjectTagging(r *request) error {
	if err := s.setTags(r, nil); err != nil {
		return err
	}
	return r.noContent()
}

func (s *Service) setTags(r *request, tags []tag) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.stat(r.bucket, r.key, r.query.Get("versionId"))
	if err != nil {
		return err
	}
	o := s.object(r.bucket, r.key)
	o.Versions = slices.Clone(o.Versions)
	o.Versions[o.find(v.ID)].Tags = tags
	s.showVersion(r.w.Header(), r.bucket, v.ID)
	return s.putObject(r.bucket, r.key, o)
}
