package s3

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"maps"
	"net/http"
	"strings"
)

// A document is a setting of a bucket that S3 keeps as the user wrote it. The
// sandbox acts on policy, publicAccessBlock and encryption, and only keeps the
// others.
type document struct {
	subresource string
	root        string // name of the XML document's element; empty for JSON
	missing     string // error code when there is none
	message     string
	empty       string // answer when there is none and that is no error
	deletable   bool
	created     bool // PUT and DELETE answer 204 rather than 200
}

var documents = []document{
	{subresource: "accelerate", root: "AccelerateConfiguration", empty: emptyDocument("AccelerateConfiguration", "")},
	{subresource: "cors", root: "CORSConfiguration", missing: "NoSuchCORSConfiguration", message: "The CORS configuration does not exist", deletable: true},
	{subresource: "encryption", root: "ServerSideEncryptionConfiguration", missing: "ServerSideEncryptionConfigurationNotFoundError", message: "The server side encryption configuration was not found", deletable: true},
	{subresource: "lifecycle", root: "LifecycleConfiguration", missing: "NoSuchLifecycleConfiguration", message: "The lifecycle configuration does not exist", deletable: true},
	{subresource: "logging", root: "BucketLoggingStatus", empty: emptyDocument("BucketLoggingStatus", "")},
	{subresource: "notification", root: "NotificationConfiguration", empty: emptyDocument("NotificationConfiguration", "")},
	{subresource: "object-lock", root: "ObjectLockConfiguration", missing: "ObjectLockConfigurationNotFoundError", message: "Object Lock configuration does not exist for this bucket"},
	{subresource: "ownershipControls", root: "OwnershipControls", missing: "OwnershipControlsNotFoundError", message: "The bucket ownership controls were not found", deletable: true},
	{subresource: "policy", missing: "NoSuchBucketPolicy", message: "The bucket policy does not exist", deletable: true, created: true},
	{subresource: "publicAccessBlock", root: "PublicAccessBlockConfiguration", missing: "NoSuchPublicAccessBlockConfiguration", message: "The public access block configuration was not found", deletable: true},
	{subresource: "replication", root: "ReplicationConfiguration", missing: "ReplicationConfigurationNotFoundError", message: "The replication configuration was not found", deletable: true},
	{subresource: "requestPayment", root: "RequestPaymentConfiguration", empty: emptyDocument("RequestPaymentConfiguration", "<Payer>BucketOwner</Payer>")},
	{subresource: "tagging", root: "Tagging", missing: "NoSuchTagSet", message: "The TagSet does not exist", deletable: true, created: true},
	{subresource: "website", root: "WebsiteConfiguration", missing: "NoSuchWebsiteConfiguration", message: "The specified bucket does not have a website configuration", deletable: true},
}

func emptyDocument(root, content string) string {
	return xml.Header + "<" + root + ` xmlns="` + xmlns + `">` + content + "</" + root + ">"
}

const defaultEncryption = xml.Header + `<ServerSideEncryptionConfiguration xmlns="` + xmlns + `"><Rule><ApplyServerSideEncryptionByDefault>` +
	`<SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault><BucketKeyEnabled>false</BucketKeyEnabled></Rule></ServerSideEncryptionConfiguration>`

// defaultDocuments are the settings that S3 gives to a new bucket.
var defaultDocuments = map[string]string{
	"encryption":        defaultEncryption,
	"ownershipControls": ownershipDocument("BucketOwnerEnforced"),
	"publicAccessBlock": emptyDocument("PublicAccessBlockConfiguration", "<BlockPublicAcls>true</BlockPublicAcls><IgnorePublicAcls>true</IgnorePublicAcls>"+
		"<BlockPublicPolicy>true</BlockPublicPolicy><RestrictPublicBuckets>true</RestrictPublicBuckets>"),
}

func ownershipDocument(rule string) string {
	return emptyDocument("OwnershipControls", "<Rule><ObjectOwnership>"+escapeXML(rule)+"</ObjectOwnership></Rule>")
}

// documentOf returns the bucket setting that a request is about.
func documentOf(r *request) (document, bool) {
	if r.key != "" {
		return document{}, false
	}
	for _, d := range documents {
		if r.has(d.subresource) {
			return d, true
		}
	}
	return document{}, false
}

func (s *Service) getDocument(r *request, d document) error {
	b, _ := s.buckets.Get(r.bucket)
	text := b.Documents[d.subresource]
	if text == "" {
		text = d.empty
	}
	if text == "" {
		return refuse(d.missing, d.message, "BucketName", r.bucket)
	}
	contentType := "application/xml"
	if d.root == "" {
		contentType = "application/json"
	}
	r.writeDocument(contentType, []byte(text))
	return nil
}

func (s *Service) putDocument(r *request, d document) error {
	data, err := r.document()
	if err != nil {
		return err
	}
	switch d.subresource {
	case "policy":
		err = s.checkPolicy(r.bucket, data)
	case "object-lock":
		err = errNotImplemented("object lock")
	case "tagging":
		err = checkTagging(data)
	case "encryption":
		err = checkEncryption(data)
	default:
		err = checkRoot(data, d.root)
	}
	if err != nil {
		return err
	}
	text := string(data)
	if err := s.changeBucket(r.bucket, func(b *bucket) {
		b.Documents = maps.Clone(b.Documents)
		if b.Documents == nil {
			b.Documents = map[string]string{}
		}
		b.Documents[d.subresource] = text
	}); err != nil {
		return err
	}
	if d.created {
		return r.noContent()
	}
	r.w.WriteHeader(http.StatusOK)
	return nil
}

func (s *Service) deleteDocument(r *request, d document) error {
	if !d.deletable {
		return errMethodNotAllowed(r)
	}
	if err := s.changeBucket(r.bucket, func(b *bucket) {
		b.Documents = maps.Clone(b.Documents)
		delete(b.Documents, d.subresource)
		if d.subresource == "encryption" { // S3 always encrypts
			if b.Documents == nil {
				b.Documents = map[string]string{}
			}
			b.Documents[d.subresource] = defaultEncryption
		}
	}); err != nil {
		return err
	}
	return r.noContent()
}

// checkRoot accepts a well-formed XML document of the given kind.
func checkRoot(data []byte, root string) error {
	dec := xml.NewDecoder(bytes.NewReader(data))
	first := true
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) && !first {
			return nil
		}
		if err != nil {
			return errMalformedXML
		}
		if start, ok := token.(xml.StartElement); ok && first {
			if start.Name.Local != root {
				return errMalformedXML
			}
			first = false
		}
	}
}

func checkTagging(data []byte) error {
	var in tagging
	if err := checkRoot(data, "Tagging"); err != nil {
		return err
	}
	if xml.Unmarshal(data, &in) != nil {
		return errMalformedXML
	}
	return checkTags(in.TagSet, 50)
}

func checkEncryption(data []byte) error {
	if err := checkRoot(data, "ServerSideEncryptionConfiguration"); err != nil {
		return err
	}
	switch algorithm, _ := parseEncryption(string(data)); algorithm {
	case "AES256", "aws:kms", "aws:kms:dsse":
		return nil
	}
	return errMalformedXML
}

func parseEncryption(doc string) (algorithm, key string) {
	var in struct {
		Rule []struct {
			Default struct {
				SSEAlgorithm   string
				KMSMasterKeyID string
			} `xml:"ApplyServerSideEncryptionByDefault"`
		}
	}
	if xml.Unmarshal([]byte(doc), &in) != nil || len(in.Rule) == 0 {
		return "", ""
	}
	return in.Rule[0].Default.SSEAlgorithm, in.Rule[0].Default.KMSMasterKeyID
}

// checkPolicy refuses a policy that is not one, and a public one where the
// bucket blocks those.
func (s *Service) checkPolicy(name string, data []byte) error {
	var policy struct {
		Version   string
		Statement list[statement]
	}
	if !json.Valid(data) || !bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		return refuse("MalformedPolicy", "This policy contains invalid Json", "Detail", "policy is not a JSON object")
	}
	if json.Unmarshal(data, &policy) != nil || len(policy.Statement) == 0 {
		return refuse("MalformedPolicy", "Missing required field Statement")
	}
	public := false
	for _, st := range policy.Statement {
		if st.Effect != "Allow" && st.Effect != "Deny" {
			return refuse("MalformedPolicy", "Invalid effect: "+st.Effect)
		}
		for _, res := range st.Resource {
			bare, _, _ := strings.Cut(strings.TrimPrefix(res, "arn:aws:s3:::"), "/")
			if !strings.HasPrefix(res, "arn:aws:s3:::") || !matches(bare, name) {
				return refuse("MalformedPolicy", "Policy has invalid resource", "Detail", res)
			}
		}
		public = public || st.Effect == "Allow" && st.forEverybody() && len(st.Condition) == 0
	}
	b, _ := s.buckets.Get(name)
	var block struct{ BlockPublicPolicy bool }
	if doc := b.Documents["publicAccessBlock"]; public && doc != "" && xml.Unmarshal([]byte(doc), &block) == nil && block.BlockPublicPolicy {
		return refuse("AccessDenied", "Access Denied: the policy is public and the bucket's public access block refuses public policies (BlockPublicPolicy).")
	}
	return nil
}
