package s3

import (
	"encoding/json"
	"encoding/xml"
	"net/http"
	"strings"

	"pcluster/internal/sandbox/wire"
)

// unsigned reports whether nobody signed the request.
func unsigned(r *request) bool { return wire.CallerFrom(r.Context()).AccessKeyID == "" }

// authorizeUnsigned lets an unsigned request read what the bucket's policy opens
// to everybody. All else is refused.
func (b bucket) authorizeUnsigned(r *request) error {
	denied := refuse("AccessDenied", "Access Denied")
	action, resource := "s3:GetObject", "arn:aws:s3:::"+b.Name+"/"+r.key
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return denied
	case r.key == "" && (r.has("versions") || r.has("uploads") || r.has("acl")):
		return denied
	case r.key == "":
		action, resource = "s3:ListBucket", "arn:aws:s3:::"+b.Name
	case r.query.Get("versionId") != "":
		action = "s3:GetObjectVersion"
	}
	if _, isDocument := documentOf(r); isDocument || !b.public(action, resource) {
		return denied
	}
	return nil
}

// public reports whether the bucket's policy allows the action to everybody.
// Statements with conditions never do here; a denial with conditions is taken as
// not meant, so that the usual "deny without TLS" does not close a public bucket.
func (b bucket) public(action, resource string) bool {
	var block struct{ RestrictPublicBuckets, BlockPublicPolicy bool }
	if doc := b.Documents["publicAccessBlock"]; doc != "" {
		if xml.Unmarshal([]byte(doc), &block) != nil || block.RestrictPublicBuckets {
			return false
		}
	}
	var policy struct{ Statement list[statement] }
	if json.Unmarshal([]byte(b.Documents["policy"]), &policy) != nil {
		return false
	}
	allowed := false
	for _, st := range policy.Statement {
		if !st.forEverybody() || len(st.Condition) > 0 || !matchesAny(st.Action, action, true) || !matchesAny(st.Resource, resource, false) {
			continue
		}
		if st.Effect == "Deny" {
			return false
		}
		allowed = allowed || st.Effect == "Allow"
	}
	return allowed
}

type statement struct {
	Effect    string
	Principal json.RawMessage
	Action    list[string]
	Resource  list[string]
	Condition map[string]json.RawMessage
}

func (st statement) forEverybody() bool {
	var all string
	if json.Unmarshal(st.Principal, &all) == nil {
		return all == "*"
	}
	var by struct{ AWS list[string] }
	return json.Unmarshal(st.Principal, &by) == nil && matchesAny(by.AWS, "*", false)
}

// A list is what policies write as one value or as an array of values.
type list[T any] []T

func (l *list[T]) UnmarshalJSON(data []byte) error {
	var many []T
	if json.Unmarshal(data, &many) == nil {
		*l = many
		return nil
	}
	var one T
	if err := json.Unmarshal(data, &one); err != nil {
		return err
	}
	*l = list[T]{one}
	return nil
}

func matchesAny(patterns []string, text string, fold bool) bool {
	for _, p := range patterns {
		if fold {
			p, text = strings.ToLower(p), strings.ToLower(text)
		}
		if matches(p, text) {
			return true
		}
	}
	return false
}

// matches reports whether text fits a pattern with * and ?.
func matches(pattern, text string) bool {
	for pattern != "" {
		switch {
		case pattern[0] == '*':
			pattern = strings.TrimLeft(pattern, "*")
			for i := 0; i <= len(text); i++ {
				if matches(pattern, text[i:]) {
					return true
				}
			}
			return false
		case text == "" || pattern[0] != '?' && pattern[0] != text[0]:
			return false
		}
		pattern, text = pattern[1:], text[1:]
	}
	return text == ""
}

func (s *Service) getBucketPolicyStatus(r *request) error {
	b, _ := s.buckets.Get(r.bucket)
	if b.Documents["policy"] == "" {
		return refuse("NoSuchBucketPolicy", "The bucket policy does not exist", "BucketName", r.bucket)
	}
	return r.writeXML(struct {
		XMLName  xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ PolicyStatus"`
		IsPublic bool
	}{IsPublic: b.public("s3:GetObject", "arn:aws:s3:::"+b.Name+"/any") || b.public("s3:ListBucket", "arn:aws:s3:::"+b.Name)})
}
