package s3

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/wire"
	"pcluster/internal/sandbox/wire/wiretest"
)

var ctx = context.Background()

// open returns a service over the files in dir; opening the same dir again is a
// restart.
func open(t *testing.T, dir string) *Service {
	t.Helper()
	db, err := store.Open(filepath.Join(dir, "region.db"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(db, region.NewIdentity("", ""), filepath.Join(dir, "s3"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return s
}

// serve puts the service behind the endpoint that authenticates requests.
func serve(t *testing.T, s *Service) *wiretest.Server {
	t.Helper()
	srv := wiretest.Serve(t, nil)
	srv.Endpoint = &wire.Endpoint{Auth: srv.Auth, S3: s}
	web := httptest.NewServer(srv.Endpoint)
	t.Cleanup(web.Close)
	srv.URL = web.URL
	return srv
}

// client returns the real SDK's client of a served service.
func client(t *testing.T, s *Service) *sdk.Client {
	t.Helper()
	return sdk.NewFromConfig(serve(t, s).Config(), func(o *sdk.Options) { o.UsePathStyle = true })
}

// start returns a fresh service's client with a bucket named "b".
func start(t *testing.T, versioned bool) (*Service, *sdk.Client) {
	t.Helper()
	s := open(t, t.TempDir())
	if err := s.AdoptBucket(ctx, "b12", versioned); err != nil {
		t.Fatal(err)
	}
	return s, client(t, s)
}

func put(t *testing.T, c *sdk.Client, key, body string) *sdk.PutObjectOutput {
	t.Helper()
	out, err := c.PutObject(ctx, &sdk.PutObjectInput{Bucket: aws.String("b12"), Key: &key, Body: strings.NewReader(body)})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func get(t *testing.T, c *sdk.Client, key string) string {
	t.Helper()
	out, err := c.GetObject(ctx, &sdk.GetObjectInput{Bucket: aws.String("b12"), Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	return read(t, out.Body)
}

func read(t *testing.T, r io.ReadCloser) string {
	t.Helper()
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// wantCode fails unless err is AWS's error with the given code and status.
func wantCode(t *testing.T, err error, code string, status int) {
	t.Helper()
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok || api.ErrorCode() != code {
		t.Errorf("got error %v, want code %s", err, code)
		return
	}
	if re, ok := errors.AsType[*smithyhttp.ResponseError](err); !ok || re.HTTPStatusCode() != status {
		t.Errorf("%s came with status %d, want %d", code, re.HTTPStatusCode(), status)
	}
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestObjectKeepsWhatWasPut(t *testing.T) {
	_, c := start(t, false)
	for _, key := range []string{"plain", "a/b c/+&=é?.txt", "dir/", "a//b", "…", `quote"<>`} {
		_, err := c.PutObject(ctx, &sdk.PutObjectInput{
			Bucket: aws.String("b12"), Key: &key, Body: strings.NewReader("hello"), ContentType: aws.String("text/plain"),
			CacheControl: aws.String("no-store"), Metadata: map[string]string{"owner": "me"}, Tagging: aws.String("x=1&y=two%20words"),
			ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
		})
		if err != nil {
			t.Fatalf("%q: %v", key, err)
		}
		out, err := c.GetObject(ctx, &sdk.GetObjectInput{Bucket: aws.String("b12"), Key: &key, ChecksumMode: types.ChecksumModeEnabled})
		if err != nil {
			t.Fatalf("%q: %v", key, err)
		}
		if body := read(t, out.Body); body != "hello" || aws.ToString(out.ContentType) != "text/plain" || out.Metadata["owner"] != "me" ||
			aws.ToString(out.CacheControl) != "no-store" || aws.ToInt32(out.TagCount) != 2 ||
			aws.ToString(out.ETag) != `"5d41402abc4b2a76b9719d911017c592"` ||
			aws.ToString(out.ChecksumSHA256) != "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=" || out.ServerSideEncryption != types.ServerSideEncryptionAes256 {
			t.Errorf("%q: got %q %+v", key, body, out)
		}
		tags, err := c.GetObjectTagging(ctx, &sdk.GetObjectTaggingInput{Bucket: aws.String("b12"), Key: &key})
		if err != nil || len(tags.TagSet) != 2 || aws.ToString(tags.TagSet[1].Value) != "two words" {
			t.Errorf("%q: tags %v, %v", key, tags, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	_, c := start(t, true)
	first := put(t, c, "k", "0123456789")
	b, k := aws.String("b12"), aws.String("k")
	for name, tt := range map[string]struct {
		call   func() error
		code   string
		status int
	}{
		"missing key": {func() error {
			_, err := c.GetObject(ctx, &sdk.GetObjectInput{Bucket: b, Key: aws.String("none")})
			return err
		}, "NoSuchKey", 404},
		"missing key, HEAD": {func() error {
			_, err := c.HeadObject(ctx, &sdk.HeadObjectInput{Bucket: b, Key: aws.String("none")})
			return err
		}, "NotFound", 404},
		"missing bucket": {func() error {
			_, err := c.PutObject(ctx, &sdk.PutObjectInput{Bucket: aws.String("nobody"), Key: k})
			return err
		}, "NoSuchBucket", 404},
		"missing bucket, HEAD": {func() error {
			_, err := c.HeadBucket(ctx, &sdk.HeadBucketInput{Bucket: aws.String("nobody")})
			return err
		}, "NotFound", 404},
		"bucket with objects": {func() error {
			_, err := c.DeleteBucket(ctx, &sdk.DeleteBucketInput{Bucket: b})
			return err
		}, "BucketNotEmpty", 409},
		"bad bucket name": {func() error {
			_, err := c.CreateBucket(ctx, &sdk.CreateBucketInput{Bucket: aws.String("Upper_Case")})
			return err
		}, "InvalidBucketName", 400},
		"bucket elsewhere": {func() error {
			_, err := c.CreateBucket(ctx, &sdk.CreateBucketInput{Bucket: aws.String("other"),
				CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: "eu-west-1"}})
			return err
		}, "IllegalLocationConstraintException", 400},
		"range beyond the end": {func() error {
			_, err := c.GetObject(ctx, &sdk.GetObjectInput{Bucket: b, Key: k, Range: aws.String("bytes=10-")})
			return err
		}, "InvalidRange", 416},
		"If-Match of another ETag": {func() error {
			_, err := c.GetObject(ctx, &sdk.GetObjectInput{Bucket: b, Key: k, IfMatch: aws.String(`"nope"`)})
			return err
		}, "PreconditionFailed", 412},
		"If-None-Match of the ETag": {func() error {
			_, err := c.HeadObject(ctx, &sdk.HeadObjectInput{Bucket: b, Key: k, IfNoneMatch: first.ETag})
			return err
		}, "NotModified", 304},
		"unmodified since": {func() error {
			_, err := c.HeadObject(ctx, &sdk.HeadObjectInput{Bucket: b, Key: k, IfModifiedSince: aws.Time(time.Now().Add(time.Hour))})
			return err
		}, "NotModified", 304},
		"write only when absent": {func() error {
			_, err := c.PutObject(ctx, &sdk.PutObjectInput{Bucket: b, Key: k, IfNoneMatch: aws.String("*")})
			return err
		}, "PreconditionFailed", 412},
		"write over another ETag": {func() error {
			_, err := c.PutObject(ctx, &sdk.PutObjectInput{Bucket: b, Key: k, IfMatch: aws.String("x")})
			return err
		}, "PreconditionFailed", 412},
		"version that never was": {func() error {
			_, err := c.GetObject(ctx, &sdk.GetObjectInput{Bucket: b, Key: k, VersionId: aws.String(strings.Repeat("a", 32))})
			return err
		}, "NoSuchVersion", 404},
		"version ID that is none": {func() error {
			_, err := c.GetObject(ctx, &sdk.GetObjectInput{Bucket: b, Key: k, VersionId: aws.String("?")})
			return err
		}, "InvalidArgument", 400},
		"wrong checksum": {func() error {
			_, err := c.PutObject(ctx, &sdk.PutObjectInput{Bucket: b, Key: k, Body: strings.NewReader("x"), ChecksumCRC32: aws.String("AAAAAA==")})
			return err
		}, "BadDigest", 400},
		"wrong MD5": {func() error {
			_, err := c.PutObject(ctx, &sdk.PutObjectInput{Bucket: b, Key: k, Body: strings.NewReader("x"), ContentMD5: aws.String("AAAAAAAAAAAAAAAAAAAAAA==")})
			return err
		}, "BadDigest", 400},
		"copy onto itself": {func() error {
			_, err := c.CopyObject(ctx, &sdk.CopyObjectInput{Bucket: b, Key: k, CopySource: aws.String("b12/k")})
			return err
		}, "InvalidRequest", 400},
		"copy of nothing": {func() error {
			_, err := c.CopyObject(ctx, &sdk.CopyObjectInput{Bucket: b, Key: k, CopySource: aws.String("b12/none")})
			return err
		}, "NoSuchKey", 404},
		"no policy": {func() error {
			_, err := c.GetBucketPolicy(ctx, &sdk.GetBucketPolicyInput{Bucket: b})
			return err
		}, "NoSuchBucketPolicy", 404},
		"no lifecycle": {func() error {
			_, err := c.GetBucketLifecycleConfiguration(ctx, &sdk.GetBucketLifecycleConfigurationInput{Bucket: b})
			return err
		}, "NoSuchLifecycleConfiguration", 404},
		"no tags": {func() error {
			_, err := c.GetBucketTagging(ctx, &sdk.GetBucketTaggingInput{Bucket: b})
			return err
		}, "NoSuchTagSet", 404},
		"policy of another bucket": {func() error {
			_, err := c.PutBucketPolicy(ctx, &sdk.PutBucketPolicyInput{Bucket: b,
				Policy: aws.String(`{"Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::other/*"}]}`)})
			return err
		}, "MalformedPolicy", 400},
		"policy that is no JSON": {func() error {
			_, err := c.PutBucketPolicy(ctx, &sdk.PutBucketPolicyInput{Bucket: b, Policy: aws.String("{")})
			return err
		}, "MalformedPolicy", 400},
		"public ACL": {func() error {
			_, err := c.PutObject(ctx, &sdk.PutObjectInput{Bucket: b, Key: k, ACL: types.ObjectCannedACLPublicRead})
			return err
		}, "AccessControlListNotSupported", 400},
		"part of no upload": {func() error {
			_, err := c.UploadPart(ctx, &sdk.UploadPartInput{Bucket: b, Key: k, UploadId: aws.String("u"), PartNumber: aws.Int32(1)})
			return err
		}, "NoSuchUpload", 404},
		"bucket of another owner": {func() error {
			_, err := c.GetBucketLocation(ctx, &sdk.GetBucketLocationInput{Bucket: b, ExpectedBucketOwner: aws.String("999999999999")})
			return err
		}, "AccessDenied", 403},
	} {
		t.Run(name, func(t *testing.T) { wantCode(t, tt.call(), tt.code, tt.status) })
	}
	if got := get(t, c, "k"); got != "0123456789" {
		t.Errorf("a refused write changed the object to %q", got)
	}
}

func TestRanges(t *testing.T) {
	_, c := start(t, false)
	put(t, c, "k", "0123456789")
	for spec, want := range map[string]string{
		"bytes=0-0": "0", "bytes=2-4": "234", "bytes=7-": "789", "bytes=-3": "789", "bytes=-30": "0123456789", "bytes=5-500": "56789",
		"bytes=0-1,4-5": "0123456789", "lines=1-2": "0123456789", "bytes=4-2": "0123456789",
	} {
		out, err := c.GetObject(ctx, &sdk.GetObjectInput{Bucket: aws.String("b12"), Key: aws.String("k"), Range: &spec, ChecksumMode: types.ChecksumModeEnabled})
		if err != nil {
			t.Errorf("%s: %v", spec, err)
			continue
		}
		if got := read(t, out.Body); got != want {
			t.Errorf("%s: got %q, want %q", spec, got, want)
		}
		if partial := out.ContentRange != nil; partial == (want == "0123456789" && spec != "bytes=-30") {
			t.Errorf("%s: Content-Range is %v", spec, aws.ToString(out.ContentRange))
		}
	}
}

func TestVersions(t *testing.T) {
	_, c := start(t, false)
	b, k := aws.String("b12"), aws.String("k")
	put(t, c, "k", "null version")
	versioning := func(status types.BucketVersioningStatus) {
		t.Helper()
		if _, err := c.PutBucketVersioning(ctx, &sdk.PutBucketVersioningInput{Bucket: b, VersioningConfiguration: &types.VersioningConfiguration{Status: status}}); err != nil {
			t.Fatal(err)
		}
	}
	versioning(types.BucketVersioningStatusEnabled)
	one, two := put(t, c, "k", "one"), put(t, c, "k", "two")
	if one.VersionId == nil || two.VersionId == nil || *one.VersionId == *two.VersionId {
		t.Fatalf("version IDs are %v and %v", one.VersionId, two.VersionId)
	}
	body := func(id string) string {
		t.Helper()
		out, err := c.GetObject(ctx, &sdk.GetObjectInput{Bucket: b, Key: k, VersionId: &id})
		if err != nil {
			t.Fatal(err)
		}
		return read(t, out.Body)
	}
	if got := []string{body("null"), body(*one.VersionId), get(t, c, "k")}; !slices.Equal(got, []string{"null version", "one", "two"}) {
		t.Errorf("versions read %q", got)
	}

	gone := must[*sdk.DeleteObjectOutput](t)(c.DeleteObject(ctx, &sdk.DeleteObjectInput{Bucket: b, Key: k}))
	if !aws.ToBool(gone.DeleteMarker) || gone.VersionId == nil {
		t.Errorf("delete made %+v, want a marker", gone)
	}
	_, err := c.GetObject(ctx, &sdk.GetObjectInput{Bucket: b, Key: k})
	wantCode(t, err, "NoSuchKey", 404)
	_, err = c.GetObject(ctx, &sdk.GetObjectInput{Bucket: b, Key: k, VersionId: gone.VersionId})
	wantCode(t, err, "MethodNotAllowed", 405)
	if l := must[*sdk.ListObjectsV2Output](t)(c.ListObjectsV2(ctx, &sdk.ListObjectsV2Input{Bucket: b})); len(l.Contents) != 0 {
		t.Errorf("deleted object is listed: %v", l.Contents)
	}
	all := must[*sdk.ListObjectVersionsOutput](t)(c.ListObjectVersions(ctx, &sdk.ListObjectVersionsInput{Bucket: b}))
	if len(all.Versions) != 3 || len(all.DeleteMarkers) != 1 || !aws.ToBool(all.DeleteMarkers[0].IsLatest) || aws.ToBool(all.Versions[0].IsLatest) {
		t.Errorf("ListObjectVersions: %d versions, %d markers", len(all.Versions), len(all.DeleteMarkers))
	}

	// Pages of one split the versions of a key.
	var seen []string
	pages := sdk.NewListObjectVersionsPaginator(c, &sdk.ListObjectVersionsInput{Bucket: b, MaxKeys: aws.Int32(1)})
	for pages.HasMorePages() {
		page := must[*sdk.ListObjectVersionsOutput](t)(pages.NextPage(ctx))
		for _, v := range page.Versions {
			seen = append(seen, *v.VersionId)
		}
		for _, m := range page.DeleteMarkers {
			seen = append(seen, *m.VersionId)
		}
	}
	if want := []string{*gone.VersionId, *two.VersionId, *one.VersionId, "null"}; !slices.Equal(seen, want) {
		t.Errorf("paged versions are %q, want %q", seen, want)
	}

	must[*sdk.DeleteObjectOutput](t)(c.DeleteObject(ctx, &sdk.DeleteObjectInput{Bucket: b, Key: k, VersionId: gone.VersionId}))
	if got := get(t, c, "k"); got != "two" {
		t.Errorf("without its marker the object is %q, want two", got)
	}
	versioning(types.BucketVersioningStatusSuspended)
	put(t, c, "k", "three")
	if body("null") != "three" || body(*two.VersionId) != "two" {
		t.Error("a write while suspended did not replace the null version alone")
	}
	must[*sdk.DeleteObjectOutput](t)(c.DeleteObject(ctx, &sdk.DeleteObjectInput{Bucket: b, Key: k}))
	all = must[*sdk.ListObjectVersionsOutput](t)(c.ListObjectVersions(ctx, &sdk.ListObjectVersionsInput{Bucket: b}))
	if len(all.Versions) != 2 || len(all.DeleteMarkers) != 1 || aws.ToString(all.DeleteMarkers[0].VersionId) != "null" {
		t.Errorf("after a delete while suspended: %d versions, markers %v", len(all.Versions), all.DeleteMarkers)
	}
	var ids []types.ObjectIdentifier
	for _, v := range all.Versions {
		ids = append(ids, types.ObjectIdentifier{Key: v.Key, VersionId: v.VersionId})
	}
	for _, m := range all.DeleteMarkers {
		ids = append(ids, types.ObjectIdentifier{Key: m.Key, VersionId: m.VersionId})
	}
	del := must[*sdk.DeleteObjectsOutput](t)(c.DeleteObjects(ctx, &sdk.DeleteObjectsInput{Bucket: b, Delete: &types.Delete{Objects: ids}}))
	if len(del.Deleted) != 3 || len(del.Errors) != 0 {
		t.Errorf("DeleteObjects: %+v", del)
	}
	must[*sdk.DeleteBucketOutput](t)(c.DeleteBucket(ctx, &sdk.DeleteBucketInput{Bucket: b}))
}

func TestListing(t *testing.T) {
	_, c := start(t, false)
	for _, key := range []string{"a", "dir/1", "dir/2", "dir/sub/3", "dir!", "dir0", "z z", "é"} {
		put(t, c, key, key)
	}
	for name, tt := range map[string]struct {
		in   sdk.ListObjectsV2Input
		want []string // prefixes end in a slash
	}{
		"everything":               {sdk.ListObjectsV2Input{}, []string{"a", "dir!", "dir/1", "dir/2", "dir/sub/3", "dir0", "z z", "é"}},
		"top level":                {sdk.ListObjectsV2Input{Delimiter: aws.String("/")}, []string{"a", "dir!", "dir/", "dir0", "z z", "é"}},
		"one directory":            {sdk.ListObjectsV2Input{Prefix: aws.String("dir/"), Delimiter: aws.String("/")}, []string{"dir/1", "dir/2", "dir/sub/"}},
		"start after":              {sdk.ListObjectsV2Input{StartAfter: aws.String("dir/2")}, []string{"dir/sub/3", "dir0", "z z", "é"}},
		"prefix that is no prefix": {sdk.ListObjectsV2Input{Prefix: aws.String("none")}, nil},
	} {
		for _, most := range []int32{1, 2, 1000} {
			t.Run(name, func(t *testing.T) {
				in := tt.in
				in.Bucket, in.MaxKeys, in.EncodingType = aws.String("b12"), &most, types.EncodingTypeUrl
				var got []string
				pages := sdk.NewListObjectsV2Paginator(c, &in)
				for pages.HasMorePages() {
					page := must[*sdk.ListObjectsV2Output](t)(pages.NextPage(ctx))
					if n := int32(len(page.Contents) + len(page.CommonPrefixes)); n != aws.ToInt32(page.KeyCount) || n > most {
						t.Errorf("page has %d entries, says %d, limit %d", n, *page.KeyCount, most)
					}
					var keys []string
					for _, o := range page.Contents {
						keys = append(keys, decodeKey(t, *o.Key))
					}
					for _, p := range page.CommonPrefixes {
						keys = append(keys, decodeKey(t, *p.Prefix))
					}
					slices.Sort(keys)
					got = append(got, keys...)
				}
				if !slices.Equal(got, tt.want) {
					t.Errorf("pages of %d: got %q, want %q", most, got, tt.want)
				}
			})
		}
	}
	v1 := must[*sdk.ListObjectsOutput](t)(c.ListObjects(ctx, &sdk.ListObjectsInput{Bucket: aws.String("b12"), Delimiter: aws.String("/"), MaxKeys: aws.Int32(3)}))
	if aws.ToString(v1.NextMarker) != "dir/" || !aws.ToBool(v1.IsTruncated) {
		t.Errorf("version 1: next marker %q", aws.ToString(v1.NextMarker))
	}
	v1 = must[*sdk.ListObjectsOutput](t)(c.ListObjects(ctx, &sdk.ListObjectsInput{Bucket: aws.String("b12"), Delimiter: aws.String("/"), Marker: v1.NextMarker}))
	if len(v1.Contents) != 3 || len(v1.CommonPrefixes) != 0 || v1.Contents[0].Owner == nil {
		t.Errorf("version 1, second page: %+v", v1)
	}
}

func decodeKey(t *testing.T, key string) string {
	t.Helper()
	for _, pair := range [][2]string{{"+", " "}, {"%21", "!"}, {"%C3%A9", "é"}} {
		key = strings.ReplaceAll(key, pair[0], pair[1])
	}
	return key
}

func TestMultipart(t *testing.T) {
	s, c := start(t, true)
	b, k := aws.String("b12"), aws.String("big")
	data := make([]byte, 12<<20+7)
	_, _ = rand.Read(data)
	put(t, c, "source", string(data[:6<<20]))

	for name, algorithm := range map[string]types.ChecksumAlgorithm{
		"default checksum": "", "composite SHA-256": types.ChecksumAlgorithmSha256, "composite CRC32": types.ChecksumAlgorithmCrc32, "full CRC64": types.ChecksumAlgorithmCrc64nvme,
	} {
		t.Run(name, func(t *testing.T) {
			up := must[*sdk.CreateMultipartUploadOutput](t)(c.CreateMultipartUpload(ctx, &sdk.CreateMultipartUploadInput{
				Bucket: b, Key: k, ContentType: aws.String("x/y"), Metadata: map[string]string{"a": "b"}, ChecksumAlgorithm: algorithm}))
			copied := must[*sdk.UploadPartCopyOutput](t)(c.UploadPartCopy(ctx, &sdk.UploadPartCopyInput{
				Bucket: b, Key: k, UploadId: up.UploadId, PartNumber: aws.Int32(1), CopySource: aws.String("b12/source"), CopySourceRange: aws.String("bytes=0-6291455")}))
			sent := must[*sdk.UploadPartOutput](t)(c.UploadPart(ctx, &sdk.UploadPartInput{
				Bucket: b, Key: k, UploadId: up.UploadId, PartNumber: aws.Int32(7), Body: bytes.NewReader(data[6<<20:]), ChecksumAlgorithm: algorithm}))
			parts := must[*sdk.ListPartsOutput](t)(c.ListParts(ctx, &sdk.ListPartsInput{Bucket: b, Key: k, UploadId: up.UploadId}))
			if len(parts.Parts) != 2 || *parts.Parts[1].PartNumber != 7 || *parts.Parts[1].Size != 6<<20+7 {
				t.Errorf("ListParts: %+v", parts.Parts)
			}
			done := must[*sdk.CompleteMultipartUploadOutput](t)(c.CompleteMultipartUpload(ctx, &sdk.CompleteMultipartUploadInput{
				Bucket: b, Key: k, UploadId: up.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{
					{PartNumber: aws.Int32(1), ETag: copied.CopyPartResult.ETag}, {PartNumber: aws.Int32(7), ETag: sent.ETag},
				}}}))
			if !strings.HasSuffix(*done.ETag, `-2"`) || done.VersionId == nil {
				t.Errorf("completed as %+v", done)
			}
			out := must[*sdk.GetObjectOutput](t)(c.GetObject(ctx, &sdk.GetObjectInput{Bucket: b, Key: k, ChecksumMode: types.ChecksumModeEnabled}))
			if got := read(t, out.Body); got != string(data) || out.Metadata["a"] != "b" || *out.ContentType != "x/y" {
				t.Errorf("got %d bytes, metadata %v", len(got), out.Metadata)
			}
			out = must[*sdk.GetObjectOutput](t)(c.GetObject(ctx, &sdk.GetObjectInput{Bucket: b, Key: k, PartNumber: aws.Int32(2)}))
			if got := read(t, out.Body); got != string(data[6<<20:]) || aws.ToInt32(out.PartsCount) != 2 {
				t.Errorf("part 2 has %d bytes of %d parts", len(got), aws.ToInt32(out.PartsCount))
			}
		})
	}

	up := must[*sdk.CreateMultipartUploadOutput](t)(c.CreateMultipartUpload(ctx, &sdk.CreateMultipartUploadInput{Bucket: b, Key: k}))
	part := func(n int32, body string) types.CompletedPart {
		t.Helper()
		out := must[*sdk.UploadPartOutput](t)(c.UploadPart(ctx, &sdk.UploadPartInput{Bucket: b, Key: k, UploadId: up.UploadId, PartNumber: &n, Body: strings.NewReader(body)}))
		return types.CompletedPart{PartNumber: &n, ETag: out.ETag}
	}
	one, two := part(1, "small"), part(2, "also small")
	complete := func(parts ...types.CompletedPart) error {
		_, err := c.CompleteMultipartUpload(ctx, &sdk.CompleteMultipartUploadInput{Bucket: b, Key: k, UploadId: up.UploadId,
			MultipartUpload: &types.CompletedMultipartUpload{Parts: parts}})
		return err
	}
	wantCode(t, complete(one, two), "EntityTooSmall", 400)
	wantCode(t, complete(two, one), "InvalidPartOrder", 400)
	wantCode(t, complete(types.CompletedPart{PartNumber: aws.Int32(1), ETag: two.ETag}), "InvalidPart", 400)
	open := must[*sdk.ListMultipartUploadsOutput](t)(c.ListMultipartUploads(ctx, &sdk.ListMultipartUploadsInput{Bucket: b}))
	if len(open.Uploads) != 1 || *open.Uploads[0].UploadId != *up.UploadId {
		t.Errorf("ListMultipartUploads: %+v", open.Uploads)
	}
	if err := complete(two); err != nil { // the last part may be small, and parts may be left out
		t.Error(err)
	}
	wantCode(t, complete(two), "NoSuchUpload", 404)
	up = must[*sdk.CreateMultipartUploadOutput](t)(c.CreateMultipartUpload(ctx, &sdk.CreateMultipartUploadInput{Bucket: b, Key: k}))
	part(1, "x")
	must[*sdk.AbortMultipartUploadOutput](t)(c.AbortMultipartUpload(ctx, &sdk.AbortMultipartUploadInput{Bucket: b, Key: k, UploadId: up.UploadId}))
	wantBlobs(t, s, 6) // source, four big ones, one small
}

// wantBlobs fails unless the bucket has n files.
func wantBlobs(t *testing.T, s *Service, n int) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.dir, "b12", "*"))
	if err != nil || len(files) != n {
		t.Errorf("bucket has %d files, want %d (%v)", len(files), n, err)
	}
}

func TestCopy(t *testing.T) {
	_, c := start(t, true)
	b := aws.String("b12")
	must[*sdk.PutObjectOutput](t)(c.PutObject(ctx, &sdk.PutObjectInput{Bucket: b, Key: aws.String("a b"), Body: strings.NewReader("v1"),
		Metadata: map[string]string{"m": "1"}, ContentType: aws.String("text/x"), Tagging: aws.String("t=1")}))
	first := must[*sdk.HeadObjectOutput](t)(c.HeadObject(ctx, &sdk.HeadObjectInput{Bucket: b, Key: aws.String("a b")}))
	put(t, c, "a b", "v2")
	source := "b12/a%20b?versionId=" + *first.VersionId
	out := must[*sdk.CopyObjectOutput](t)(c.CopyObject(ctx, &sdk.CopyObjectInput{Bucket: b, Key: aws.String("copy"), CopySource: &source}))
	if aws.ToString(out.CopySourceVersionId) != *first.VersionId || out.VersionId == nil || *out.CopyObjectResult.ETag != *first.ETag {
		t.Errorf("copied as %+v", out)
	}
	head := must[*sdk.HeadObjectOutput](t)(c.HeadObject(ctx, &sdk.HeadObjectInput{Bucket: b, Key: aws.String("copy")}))
	if head.Metadata["m"] != "1" || *head.ContentType != "text/x" || get(t, c, "copy") != "v1" {
		t.Errorf("copy has metadata %v", head.Metadata)
	}
	must[*sdk.CopyObjectOutput](t)(c.CopyObject(ctx, &sdk.CopyObjectInput{Bucket: b, Key: aws.String("copy"), CopySource: aws.String("b12/copy"),
		MetadataDirective: types.MetadataDirectiveReplace, Metadata: map[string]string{"m": "2"}}))
	head = must[*sdk.HeadObjectOutput](t)(c.HeadObject(ctx, &sdk.HeadObjectInput{Bucket: b, Key: aws.String("copy")}))
	if head.Metadata["m"] != "2" || *head.ContentType != "binary/octet-stream" {
		t.Errorf("copy onto itself left metadata %v", head.Metadata)
	}
}

func TestBucketSettings(t *testing.T) {
	s := open(t, t.TempDir())
	c := client(t, s)
	b := aws.String("settings")
	must[*sdk.CreateBucketOutput](t)(c.CreateBucket(ctx, &sdk.CreateBucketInput{Bucket: b}))
	must[*sdk.CreateBucketOutput](t)(c.CreateBucket(ctx, &sdk.CreateBucketInput{Bucket: b})) // allowed in us-east-1
	s.id.Set("eu-west-1", "")
	_, err := c.CreateBucket(ctx, &sdk.CreateBucketInput{Bucket: b, CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: "eu-west-1"}})
	wantCode(t, err, "BucketAlreadyOwnedByYou", 409)
	loc := must[*sdk.GetBucketLocationOutput](t)(c.GetBucketLocation(ctx, &sdk.GetBucketLocationInput{Bucket: b}))
	if loc.LocationConstraint != "eu-west-1" {
		t.Errorf("location is %q", loc.LocationConstraint)
	}

	enc := must[*sdk.GetBucketEncryptionOutput](t)(c.GetBucketEncryption(ctx, &sdk.GetBucketEncryptionInput{Bucket: b}))
	if enc.ServerSideEncryptionConfiguration.Rules[0].ApplyServerSideEncryptionByDefault.SSEAlgorithm != types.ServerSideEncryptionAes256 {
		t.Error("a new bucket does not encrypt")
	}
	must[*sdk.PutBucketEncryptionOutput](t)(c.PutBucketEncryption(ctx, &sdk.PutBucketEncryptionInput{Bucket: b, ServerSideEncryptionConfiguration: &types.ServerSideEncryptionConfiguration{
		Rules: []types.ServerSideEncryptionRule{{ApplyServerSideEncryptionByDefault: &types.ServerSideEncryptionByDefault{SSEAlgorithm: types.ServerSideEncryptionAwsKms, KMSMasterKeyID: aws.String("key")}}}}}))
	written := must[*sdk.PutObjectOutput](t)(c.PutObject(ctx, &sdk.PutObjectInput{Bucket: b, Key: aws.String("k")}))
	if written.ServerSideEncryption != types.ServerSideEncryptionAwsKms || aws.ToString(written.SSEKMSKeyId) != "key" {
		t.Errorf("object is encrypted by %v", written.ServerSideEncryption)
	}

	policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":["arn:aws:s3:::settings","arn:aws:s3:::settings/*"],"Condition":{"Bool":{"aws:SecureTransport":"false"}}}]}`
	must[*sdk.PutBucketPolicyOutput](t)(c.PutBucketPolicy(ctx, &sdk.PutBucketPolicyInput{Bucket: b, Policy: &policy}))
	if got := must[*sdk.GetBucketPolicyOutput](t)(c.GetBucketPolicy(ctx, &sdk.GetBucketPolicyInput{Bucket: b})); *got.Policy != policy {
		t.Errorf("policy is %s", *got.Policy)
	}
	must[*sdk.PutBucketTaggingOutput](t)(c.PutBucketTagging(ctx, &sdk.PutBucketTaggingInput{Bucket: b, Tagging: &types.Tagging{TagSet: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}}}))
	if got := must[*sdk.GetBucketTaggingOutput](t)(c.GetBucketTagging(ctx, &sdk.GetBucketTaggingInput{Bucket: b})); *got.TagSet[0].Value != "b" {
		t.Errorf("tags are %v", got.TagSet)
	}
	must[*sdk.PutBucketLifecycleConfigurationOutput](t)(c.PutBucketLifecycleConfiguration(ctx, &sdk.PutBucketLifecycleConfigurationInput{Bucket: b,
		LifecycleConfiguration: &types.BucketLifecycleConfiguration{Rules: []types.LifecycleRule{{ID: aws.String("r"), Status: types.ExpirationStatusEnabled,
			Filter: &types.LifecycleRuleFilter{Prefix: aws.String("p")}, Expiration: &types.LifecycleExpiration{Days: aws.Int32(3)}}}}}))
	if got := must[*sdk.GetBucketLifecycleConfigurationOutput](t)(c.GetBucketLifecycleConfiguration(ctx, &sdk.GetBucketLifecycleConfigurationInput{Bucket: b})); *got.Rules[0].Expiration.Days != 3 {
		t.Errorf("lifecycle is %v", got.Rules)
	}
	must[*sdk.PutBucketNotificationConfigurationOutput](t)(c.PutBucketNotificationConfiguration(ctx, &sdk.PutBucketNotificationConfigurationInput{Bucket: b,
		NotificationConfiguration: &types.NotificationConfiguration{TopicConfigurations: []types.TopicConfiguration{{TopicArn: aws.String("arn:aws:sns:us-east-1:1:t"), Events: []types.Event{"s3:ObjectCreated:*"}}}}}))
	if got := must[*sdk.GetBucketNotificationConfigurationOutput](t)(c.GetBucketNotificationConfiguration(ctx, &sdk.GetBucketNotificationConfigurationInput{Bucket: b})); len(got.TopicConfigurations) != 1 {
		t.Errorf("notification is %+v", got)
	}
	must[*sdk.DeletePublicAccessBlockOutput](t)(c.DeletePublicAccessBlock(ctx, &sdk.DeletePublicAccessBlockInput{Bucket: b}))
	_, err = c.GetPublicAccessBlock(ctx, &sdk.GetPublicAccessBlockInput{Bucket: b})
	wantCode(t, err, "NoSuchPublicAccessBlockConfiguration", 404)
	if acl := must[*sdk.GetBucketAclOutput](t)(c.GetBucketAcl(ctx, &sdk.GetBucketAclInput{Bucket: b})); len(acl.Grants) != 1 || acl.Grants[0].Permission != types.PermissionFullControl {
		t.Errorf("ACL is %+v", acl)
	}
	list := must[*sdk.ListBucketsOutput](t)(c.ListBuckets(ctx, &sdk.ListBucketsInput{}))
	if len(list.Buckets) != 1 || *list.Buckets[0].Name != "settings" {
		t.Errorf("buckets are %v", list.Buckets)
	}
}

func TestUnsignedRequestsReadWhatThePolicyOpens(t *testing.T) {
	s, c := start(t, false)
	put(t, c, "public/k", "hello")
	put(t, c, "private/k", "secret")
	srv := serve(t, s)
	fetch := func(path string) int {
		res, err := http.Get(srv.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		return res.StatusCode
	}
	if got := fetch("/b12/public/k"); got != 403 {
		t.Errorf("without a policy: status %d", got)
	}
	policy := `{"Statement":{"Effect":"Allow","Principal":{"AWS":"*"},"Action":["s3:Get*"],"Resource":"arn:aws:s3:::b12/public/*"}}`
	_, err := c.PutBucketPolicy(ctx, &sdk.PutBucketPolicyInput{Bucket: aws.String("b12"), Policy: &policy})
	wantCode(t, err, "AccessDenied", 403) // new buckets block public policies
	must[*sdk.DeletePublicAccessBlockOutput](t)(c.DeletePublicAccessBlock(ctx, &sdk.DeletePublicAccessBlockInput{Bucket: aws.String("b12")}))
	must[*sdk.PutBucketPolicyOutput](t)(c.PutBucketPolicy(ctx, &sdk.PutBucketPolicyInput{Bucket: aws.String("b12"), Policy: &policy}))
	for path, want := range map[string]int{"/b12/public/k": 200, "/b12/public/none": 403, "/b12/private/k": 403, "/b12": 403, "/": 403, "/b12/?policy": 403} {
		if got := fetch(path); got != want {
			t.Errorf("GET %s: status %d, want %d", path, got, want)
		}
	}
}

func TestRestartKeepsObjectsAndSweepsTheRest(t *testing.T) {
	dir := t.TempDir()
	db, err := store.Open(filepath.Join(dir, "region.db"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(db, region.NewIdentity("", ""), filepath.Join(dir, "s3"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.AdoptBucket(ctx, "b12", true); err != nil {
		t.Fatal(err)
	}
	c := client(t, s)
	first := put(t, c, "k", "one")
	put(t, c, "k", "two")
	up := must[*sdk.CreateMultipartUploadOutput](t)(c.CreateMultipartUpload(ctx, &sdk.CreateMultipartUploadInput{Bucket: aws.String("b12"), Key: aws.String("m")}))
	part := must[*sdk.UploadPartOutput](t)(c.UploadPart(ctx, &sdk.UploadPartInput{Bucket: aws.String("b12"), Key: aws.String("m"), UploadId: up.UploadId, PartNumber: aws.Int32(1), Body: strings.NewReader("part")}))
	if _, err := s.writeBlob("b12", func(w io.Writer) error { _, err := w.Write([]byte("half")); return err }); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}

	s = open(t, dir)
	c = client(t, s)
	wantBlobs(t, s, 3)
	if got := get(t, c, "k"); got != "two" {
		t.Errorf("current version is %q", got)
	}
	if got, err := s.Object(ctx, "b12", "k", *first.VersionId); err != nil || string(got) != "one" {
		t.Errorf("first version is %q, %v", got, err)
	}
	must[*sdk.CompleteMultipartUploadOutput](t)(c.CompleteMultipartUpload(ctx, &sdk.CompleteMultipartUploadInput{Bucket: aws.String("b12"), Key: aws.String("m"), UploadId: up.UploadId,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{{PartNumber: aws.Int32(1), ETag: part.ETag}}}}))
	var keys []string
	err = s.Walk(ctx, "b12", "", func(key string, size int64, open func() (io.ReadCloser, error)) error {
		r, err := open()
		if err != nil {
			return err
		}
		keys = append(keys, key+"="+read(t, r))
		return nil
	})
	if err != nil || !slices.Equal(keys, []string{"k=two", "m=part"}) {
		t.Errorf("Walk: %q, %v", keys, err)
	}
}

func TestFailedWriteLeavesNothing(t *testing.T) {
	s, c := start(t, false)
	put(t, c, "k", "old")
	broken := errors.New("cable cut")
	if _, err := s.Put(ctx, "b12", "k", io.MultiReader(strings.NewReader("ne"), failing{broken}), nil); !errors.Is(err, broken) {
		t.Errorf("Put: %v", err)
	}
	wantBlobs(t, s, 1)
	if got := get(t, c, "k"); got != "old" {
		t.Errorf("object is %q", got)
	}
	// A client that dies in the middle of a body.
	r := httptest.NewRequest(http.MethodPut, "/b12/k", io.MultiReader(strings.NewReader("ne"), failing{io.ErrUnexpectedEOF}))
	r = r.WithContext(wire.WithCaller(ctx, wire.Caller{AccessKeyID: "AKIA"}))
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Code != 400 || !strings.Contains(w.Body.String(), "<Code>IncompleteBody</Code>") {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
	wantBlobs(t, s, 1)
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestChangesAreTold(t *testing.T) {
	s, c := start(t, true)
	var told []string
	s.OnChange(func(bucket, key string, deleted bool) {
		what := "put "
		if deleted {
			what = "del "
		}
		told = append(told, what+bucket+"/"+key)
	})
	put(t, c, "k", "1")
	marker := must[*sdk.DeleteObjectOutput](t)(c.DeleteObject(ctx, &sdk.DeleteObjectInput{Bucket: aws.String("b12"), Key: aws.String("k")}))
	must[*sdk.DeleteObjectOutput](t)(c.DeleteObject(ctx, &sdk.DeleteObjectInput{Bucket: aws.String("b12"), Key: aws.String("k"), VersionId: marker.VersionId}))
	must[*sdk.DeleteObjectOutput](t)(c.DeleteObject(ctx, &sdk.DeleteObjectInput{Bucket: aws.String("b12"), Key: aws.String("never")}))
	if want := []string{"put b12/k", "del b12/k", "put b12/k"}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}

func TestBucketFromHost(t *testing.T) {
	for host, want := range map[string]string{
		"b.s3.amazonaws.com": "b", "b.s3.us-east-1.amazonaws.com:443": "b", "a.b.s3.eu-west-1.amazonaws.com": "a.b", "b.s3-eu-west-1.amazonaws.com": "b",
		"b.s3.dualstack.us-east-1.amazonaws.com": "b", "s3.amazonaws.com": "", "s3.us-east-1.amazonaws.com": "", "127.0.0.1:4566": "", "localhost": "",
		"b.localhost:4566": "b", "s3.localhost": "",
	} {
		if got, ok := bucketFromHost(host); got != want && ok || ok != (want != "") {
			t.Errorf("%s: bucket %q, %v, want %q", host, got, ok, want)
		}
	}
}

// TestTrailingChecksum uploads as the SDKs do over TLS: in chunks, with the
// checksum after the last.
func TestTrailingChecksum(t *testing.T) {
	s, _ := start(t, false)
	srv := httptest.NewTLSServer(serve(t, s).Endpoint)
	defer srv.Close()
	c := sdk.New(sdk.Options{Region: "us-east-1", BaseEndpoint: &srv.URL, UsePathStyle: true, HTTPClient: srv.Client(), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("AKIATESTER", "test-secret", "")})
	out, err := c.PutObject(ctx, &sdk.PutObjectInput{Bucket: aws.String("b12"), Key: aws.String("k"), Body: strings.NewReader("hello me"),
		ContentEncoding: aws.String("gzip"), ChecksumAlgorithm: types.ChecksumAlgorithmCrc32})
	if err != nil {
		t.Fatal(err)
	}
	head := must[*sdk.HeadObjectOutput](t)(c.HeadObject(ctx, &sdk.HeadObjectInput{Bucket: aws.String("b12"), Key: aws.String("k"), ChecksumMode: types.ChecksumModeEnabled}))
	if aws.ToString(head.ContentEncoding) != "gzip" || aws.ToString(head.ChecksumCRC32) == "" || aws.ToString(out.ChecksumCRC32) != aws.ToString(head.ChecksumCRC32) {
		t.Errorf("head: encoding %q, checksum %v", aws.ToString(head.ContentEncoding), head.ChecksumCRC32)
	}

	// A checksum that is wrong, in a trailer.
	r := httptest.NewRequest(http.MethodPut, "/b12/k", strings.NewReader("hello you"))
	r.Trailer = http.Header{"X-Amz-Checksum-Crc32": {"rClK8Q=="}}
	r.Header.Set("x-amz-trailer", "x-amz-checksum-crc32")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r.WithContext(wire.WithCaller(ctx, wire.Caller{AccessKeyID: "AKIA"})))
	if w.Code != 400 || !strings.Contains(w.Body.String(), "BadDigest") {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
	wantBlobs(t, s, 1)
}
