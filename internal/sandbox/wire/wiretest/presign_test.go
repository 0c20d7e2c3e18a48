package wiretest_test

import (
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"pcluster/internal/sandbox/wire"
	"pcluster/internal/sandbox/wire/wiretest"
)

// echo is an S3 that says who called, for what, with which body.
func echo(t *testing.T) *wiretest.Server {
	t.Helper()
	srv := wiretest.Serve(t, nil)
	srv.S3 = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, "%s %s %s by %s", r.Method, r.URL.Path, body, wire.CallerFrom(r.Context()).AccessKeyID)
	})
	return srv
}

// boto3 signs presigned URLs in two ways; which one depends on region and
// configuration.
func TestPresignedByBoto3(t *testing.T) {
	t.Parallel()
	out, ok := echo(t).Python(t, `
import boto3, urllib.request, urllib.error
from botocore.config import Config
for version in "s3", "s3v4":
    c = boto3.client("s3", config=Config(signature_version=version, s3={"addressing_style": "path"}))
    for method, name in ("get_object", "GET"), ("put_object", "PUT"):
        url = c.generate_presigned_url(method, Params={"Bucket": "b", "Key": "dir/a b+c=é&.txt"}, ExpiresIn=60)
        assert ("X-Amz-Algorithm" in url) == (version == "s3v4"), url
        data = b"data" if name == "PUT" else None
        req = urllib.request.Request(url, data=data, method=name)
        if data:
            req.add_header("Content-Type", "")
        got = urllib.request.urlopen(req).read().decode()
        assert got == f"{name} /b/dir/a b+c=é&.txt {(data or b'').decode()} by AKIATESTER", got
        try:
            urllib.request.urlopen(urllib.request.Request(url.replace("dir", "other"), method=name, data=data))
            raise AssertionError("a changed URL was accepted")
        except urllib.error.HTTPError as e:
            assert e.code == 403 and b"<Code>SignatureDoesNotMatch</Code>" in e.read()
print("done")
`)
	if !ok || out != "done" {
		t.Error(out)
	}
}

// Nodes fetch their program with curl.
func TestSignedByCurl(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("skipped: curl is not installed")
	}
	srv := echo(t)
	curl := func(args ...string) string {
		out, err := exec.CommandContext(t.Context(), "curl", append([]string{"-sS", "--aws-sigv4", "aws:amz:us-east-1:s3"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("curl: %v: %s", err, out)
		}
		return string(out)
	}
	const hash = "x-amz-content-sha256: UNSIGNED-PAYLOAD"
	url := srv.URL + "/bucket/parallelcluster/3.16/programs/0a1b/pcluster-node-linux-amd64"
	if got := curl("--user", "AKIATESTER:test-secret", "-H", hash, url); !strings.HasPrefix(got, "GET /bucket/parallelcluster/") || !strings.HasSuffix(got, "by AKIATESTER") {
		t.Errorf("signed: %s", got)
	}
	if got := curl("--user", "AKIATESTER:wrong", "-H", hash, url); !strings.Contains(got, "<Code>SignatureDoesNotMatch</Code>") {
		t.Errorf("wrong secret: %s", got)
	}
	if got := curl("--user", "AKIATESTER:test-secret", "-H", "x-amz-security-token: unknown", "-H", hash, url); !strings.Contains(got, "<Code>InvalidToken</Code>") {
		t.Errorf("wrong token: %s", got)
	}
}
