package access

import (
	"net/http"
	"net/url"
	"strings"

	"pcluster/internal/sandbox/iam/policy"
)

// bucketSettings are the names in actions of what a request's query calls a bucket's
// settings, for actions that begin with Get and Put.
var bucketSettings = map[string]string{
	"accelerate": "AccelerateConfiguration", "acl": "BucketAcl", "cors": "BucketCORS", "encryption": "EncryptionConfiguration",
	"lifecycle": "LifecycleConfiguration", "location": "BucketLocation", "logging": "BucketLogging", "notification": "BucketNotification",
	"object-lock": "BucketObjectLockConfiguration", "ownershipControls": "BucketOwnershipControls", "policy": "BucketPolicy",
	"policyStatus": "BucketPolicyStatus", "publicAccessBlock": "BucketPublicAccessBlock", "replication": "ReplicationConfiguration",
	"requestPayment": "BucketRequestPayment", "tagging": "BucketTagging", "versioning": "BucketVersioning", "website": "BucketWebsite",
}

// S3 returns the requests that a call of S3 makes. A request to delete several keys
// makes none: each of them is asked for like a deletion of its own. (Amazon S3 User
// Guide: Required permissions for Amazon S3 API operations.)
func S3(p Place, method, bucket, key string, query url.Values, header http.Header) []policy.Request {
	arn := "arn:" + p.Partition + ":s3:::" + bucket
	context := map[string][]string{"aws:securetransport": {"true"}, "aws:requestedregion": {p.Region}}
	if query.Has("prefix") {
		context["s3:prefix"] = []string{query.Get("prefix")}
	}
	ask := func(action, resource string) []policy.Request {
		return []policy.Request{{Action: "s3:" + action, Resource: resource, Context: context}}
	}
	switch {
	case bucket == "":
		return ask("ListAllMyBuckets", "*")
	case key == "" && method == http.MethodPost:
		return nil
	case key == "":
		return ask(bucketAction(method, query), arn)
	}
	out := ask(objectAction(method, query), arn+"/"+key)
	if source := header.Get("x-amz-copy-source"); source != "" && method == http.MethodPut {
		if plain, err := url.PathUnescape(source); err == nil {
			source = plain
		}
		source, _, _ = strings.Cut(source, "?")
		out = append(out, ask("GetObject", "arn:"+p.Partition+":s3:::"+strings.TrimPrefix(source, "/"))...)
	}
	return out
}

func bucketAction(method string, query url.Values) string {
	for name, action := range bucketSettings {
		if !query.Has(name) {
			continue
		}
		switch {
		case method == http.MethodPut, method == http.MethodDelete && name != "policy" && name != "website":
			return "Put" + action
		case method == http.MethodDelete:
			return "Delete" + action
		}
		return "Get" + action
	}
	switch method {
	case http.MethodPut:
		return "CreateBucket"
	case http.MethodDelete:
		return "DeleteBucket"
	}
	switch {
	case query.Has("versions"):
		return "ListBucketVersions"
	case query.Has("uploads"):
		return "ListBucketMultipartUploads"
	}
	return "ListBucket"
}

func objectAction(method string, query url.Values) string {
	part := ""
	switch {
	case query.Has("tagging"):
		part = "Tagging"
	case query.Has("acl"):
		part = "Acl"
	case query.Has("attributes"):
		part = "Attributes"
	}
	verb := "Get"
	switch {
	case method == http.MethodDelete && query.Has("uploadId"):
		return "AbortMultipartUpload"
	case method == http.MethodGet && query.Has("uploadId"):
		return "ListMultipartUploadParts"
	case method == http.MethodPut, method == http.MethodPost:
		verb = "Put"
	case method == http.MethodDelete:
		verb = "Delete"
	}
	version := ""
	if query.Has("versionId") && verb != "Put" {
		version = "Version"
	}
	return verb + "Object" + version + part
}
