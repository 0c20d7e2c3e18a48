package s3

import (
	"bytes"
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// cli runs programs that talk to a served service.
type cli struct {
	t   *testing.T
	env []string
	dir string
}

func newCLI(t *testing.T, program string) *cli {
	t.Helper()
	if testing.Short() {
		t.Skip("starts many processes")
	}
	if _, err := exec.LookPath(program); err != nil {
		t.Skip(program + " is not installed")
	}
	return &cli{t, serve(t, open(t, t.TempDir())).Env(), t.TempDir()}
}

func (c *cli) try(args ...string) (string, error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env, cmd.Dir = c.env, c.dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (c *cli) run(args ...string) string {
	c.t.Helper()
	out, err := c.try(args...)
	if err != nil {
		c.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (c *cli) write(name string, data []byte) {
	c.t.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cli) same(a, b string) {
	c.t.Helper()
	x, err := os.ReadFile(filepath.Join(c.dir, a))
	if err != nil {
		c.t.Fatal(err)
	}
	y, err := os.ReadFile(filepath.Join(c.dir, b))
	if err != nil || !bytes.Equal(x, y) {
		c.t.Errorf("%s and %s differ (%v)", a, b, err)
	}
}

// TestAWSCLI is what people do with the unmodified command line.
func TestAWSCLI(t *testing.T) {
	c := newCLI(t, "aws")
	c.run("aws", "s3", "mb", "s3://my-bucket")
	big := make([]byte, 20<<20)
	_, _ = rand.Read(big)
	c.write("tree/big.bin", big)
	c.write("tree/scripts/start.sh", []byte("#!/bin/sh\n"))
	c.write("tree/scripts/name with space+plus.txt", []byte("x"))
	c.run("aws", "s3", "sync", "tree", "s3://my-bucket/tree")
	if out := c.run("aws", "s3", "sync", "tree", "s3://my-bucket/tree"); strings.TrimSpace(out) != "" {
		t.Errorf("second sync was not idle: %s", out)
	}
	if out := c.run("aws", "s3", "ls", "--recursive", "s3://my-bucket/"); strings.Count(out, "\n") != 3 || !strings.Contains(out, "tree/scripts/name with space+plus.txt") {
		t.Errorf("ls: %s", out)
	}
	if out := c.run("aws", "s3", "ls", "s3://my-bucket/tree/"); !strings.Contains(out, "PRE scripts/") {
		t.Errorf("ls: %s", out)
	}
	c.run("aws", "s3", "cp", "s3://my-bucket/tree/big.bin", "back.bin")
	c.same("tree/big.bin", "back.bin")
	c.run("aws", "s3", "cp", "s3://my-bucket/tree/big.bin", "s3://my-bucket/copy.bin")
	c.run("aws", "s3", "cp", "--recursive", "s3://my-bucket/tree", "back")
	c.same("tree/scripts/start.sh", "back/scripts/start.sh")
	c.run("aws", "s3", "mv", "s3://my-bucket/copy.bin", "s3://my-bucket/moved.bin")
	url := strings.TrimSpace(c.run("aws", "s3", "presign", "s3://my-bucket/moved.bin"))
	c.run("curl", "-sfo", "presigned.bin", url)
	c.same("tree/big.bin", "presigned.bin")
	if out, err := c.try("aws", "s3", "cp", "s3://my-bucket/none", "."); err == nil || !strings.Contains(out, "404") {
		t.Errorf("copy of a missing key: %v: %s", err, out)
	}
	if out, err := c.try("aws", "s3", "rb", "s3://my-bucket"); err == nil || !strings.Contains(out, "BucketNotEmpty") {
		t.Errorf("rb: %v: %s", err, out)
	}
	c.run("aws", "s3", "rm", "--recursive", "s3://my-bucket/tree")
	c.run("aws", "s3", "rb", "--force", "s3://my-bucket")
}

// TestBoto3 drives what the CLI does not: versions, presigned uploads, checksums.
func TestBoto3(t *testing.T) {
	c := newCLI(t, "python3")
	if _, err := c.try("python3", "-c", "import boto3"); err != nil {
		t.Skip("boto3 is not installed")
	}
	c.write("drive.py", []byte(`
import boto3, os, urllib.request
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError
s3 = boto3.client("s3")
s3.create_bucket(Bucket="vbk")
s3.put_bucket_versioning(Bucket="vbk", VersioningConfiguration={"Status": "Enabled"})
one = s3.put_object(Bucket="vbk", Key="k", Body=b"one", Metadata={"Case": "Kept"})["VersionId"]
two = s3.put_object(Bucket="vbk", Key="k", Body=b"two", ChecksumAlgorithm="SHA256")["VersionId"]
assert s3.get_object(Bucket="vbk", Key="k", VersionId=one)["Body"].read() == b"one"
assert s3.head_object(Bucket="vbk", Key="k", VersionId=one)["Metadata"] == {"case": "Kept"}
assert s3.get_object(Bucket="vbk", Key="k")["Body"].read() == b"two"
assert s3.get_object(Bucket="vbk", Key="k", Range="bytes=1-")["Body"].read() == b"wo"
for version in ("s3", "s3v4"):
    signer = boto3.client("s3", config=Config(signature_version=version))
    url = signer.generate_presigned_url("get_object", Params={"Bucket": "vbk", "Key": "k", "VersionId": one})
    assert urllib.request.urlopen(url).read() == b"one", url
    url = signer.generate_presigned_url("put_object", Params={"Bucket": "vbk", "Key": "up"})
    urllib.request.urlopen(urllib.request.Request(url, data=b"sent", method="PUT", headers={"Content-Type": ""}))
    assert s3.get_object(Bucket="vbk", Key="up")["Body"].read() == b"sent"
data = os.urandom(20 << 20)
open("data", "wb").write(data)
s3.upload_file("data", "vbk", "big", Config=TransferConfig(multipart_threshold=1 << 20, multipart_chunksize=6 << 20), ExtraArgs={"ContentType": "a/b"})
s3.download_file("vbk", "big", "back", Config=TransferConfig(multipart_threshold=1 << 20, multipart_chunksize=3 << 20))
assert open("back", "rb").read() == data
s3.copy({"Bucket": "vbk", "Key": "big"}, "vbk", "copied", Config=TransferConfig(multipart_threshold=1 << 20, multipart_chunksize=6 << 20))
assert s3.head_object(Bucket="vbk", Key="copied")["ContentLength"] == 20 << 20
attrs = s3.get_object_attributes(Bucket="vbk", Key="big", ObjectAttributes=["ETag", "ObjectSize", "Checksum", "ObjectParts"])
assert attrs["ObjectSize"] == 20 << 20 and attrs["ObjectParts"]["TotalPartsCount"] == 4, attrs
for key, code in (("none", "NoSuchKey"),):
    try:
        s3.get_object(Bucket="vbk", Key=key)
        raise SystemExit("no error")
    except ClientError as e:
        assert e.response["Error"]["Code"] == code, e.response
s3.delete_object(Bucket="vbk", Key="k")
bucket = boto3.resource("s3").Bucket("vbk")
bucket.object_versions.filter(Prefix="k").delete()
assert [o.key for o in bucket.objects.all()] == ["big", "copied", "up"]
bucket.object_versions.delete()
bucket.delete()
s3.get_waiter("bucket_not_exists").wait(Bucket="vbk")
`))
	c.run("python3", "drive.py")
}
