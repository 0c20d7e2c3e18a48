package cluster

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"

	"pcluster/internal/config"
)

// bucketName returns the name of the bucket that all clusters of an account in a
// region share.
func bucketName(account, region string) string {
	sum := sha256.Sum256([]byte(account + region))
	return "parallelcluster-" + hex.EncodeToString(sum[:])[:16] + "-v1-do-not-delete"
}

// artifactDirectory returns the prefix of a new cluster's objects. A random part
// tells it from that of an earlier cluster of the same name.
func artifactDirectory(cluster, random string) string {
	const most = 63
	name := strings.ToLower(cluster)
	name = name[:min(len(name), most-1-len(random))]
	return "parallelcluster/" + config.ToolVersion + "/clusters/" + name + "-" + random
}

// randomName returns n random characters from a-z and 0-9.
func randomName(n int) string {
	const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
	b := make([]byte, 0, n)
	var raw [1]byte
	for len(b) < n {
		rand.Read(raw[:])
		// 252 is the last multiple of 36 in a byte: beyond it, letters would come
		// more often than others.
		if raw[0] < 252 {
			b = append(b, alphabet[int(raw[0])%len(alphabet)])
		}
	}
	return string(b)
}

// bootstrapped marks a bucket that has been configured.
const bootstrapped = "parallelcluster/.bootstrapped"

// ensureBucket returns the bucket for the artifacts of a cluster: the user's
// own, which must be there, or the shared one, which is made and configured on
// first use.
func (o *Operator) ensureBucket(ctx context.Context, account, custom string) (string, error) {
	if custom != "" {
		if _, err := o.S3.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &custom}); err != nil {
			return "", fmt.Errorf("bucket %s of CustomS3Bucket: %w", custom, err)
		}
		return custom, nil
	}
	bucket := bucketName(account, o.Region)
	_, err := o.S3.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &bucket})
	if err != nil && kindOf(err) != missing {
		return "", fmt.Errorf("bucket %s: %w", bucket, err)
	}
	if err != nil {
		in := &s3.CreateBucketInput{Bucket: &bucket}
		if o.Region != "us-east-1" { // which has no name as a location
			in.CreateBucketConfiguration = &s3types.CreateBucketConfiguration{LocationConstraint: s3types.BucketLocationConstraint(o.Region)}
		}
		if _, err := o.S3.CreateBucket(ctx, in); err != nil {
			return "", fmt.Errorf("create bucket %s: %w", bucket, err)
		}
	}
	if _, err := o.S3.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: aws.String(bootstrapped)}); err == nil {
		return bucket, nil
	} else if kindOf(err) != missing {
		return "", fmt.Errorf("bucket %s: %w", bucket, err)
	}
	if err := o.configureBucket(ctx, bucket); err != nil {
		return "", fmt.Errorf("configure bucket %s: %w", bucket, err)
	}
	return bucket, nil
}

func (o *Operator) configureBucket(ctx context.Context, bucket string) error {
	if _, err := o.S3.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{
		Bucket:                  &bucket,
		VersioningConfiguration: &s3types.VersioningConfiguration{Status: s3types.BucketVersioningStatusEnabled},
	}); err != nil {
		return err
	}
	if _, err := o.S3.PutBucketEncryption(ctx, &s3.PutBucketEncryptionInput{
		Bucket: &bucket,
		ServerSideEncryptionConfiguration: &s3types.ServerSideEncryptionConfiguration{Rules: []s3types.ServerSideEncryptionRule{{
			ApplyServerSideEncryptionByDefault: &s3types.ServerSideEncryptionByDefault{SSEAlgorithm: s3types.ServerSideEncryptionAes256},
		}}},
	}); err != nil {
		return err
	}
	policy, err := json.Marshal(map[string]any{
		"Version": "2012-10-17",
		"Id":      "DenyHTTP",
		"Statement": []any{map[string]any{
			"Sid":       "AllowSSLRequestsOnly",
			"Effect":    "Deny",
			"Action":    "s3:*",
			"Principal": "*",
			"Resource":  []string{"arn:" + partition(o.Region) + ":s3:::" + bucket, "arn:" + partition(o.Region) + ":s3:::" + bucket + "/*"},
			"Condition": map[string]any{"Bool": map[string]string{"aws:SecureTransport": "false"}},
		}},
	})
	if err != nil {
		return err
	}
	if _, err := o.S3.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: &bucket, Policy: aws.String(string(policy))}); err != nil {
		return err
	}
	_, err = o.put(ctx, bucket, bootstrapped, []byte("bucket is configured successfully."))
	return err
}

// put uploads an object and returns its version, empty where the bucket keeps
// none.
func (o *Operator) put(ctx context.Context, bucket, key string, body []byte) (version string, _ error) {
	out, err := o.S3.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(body)})
	if err != nil {
		return "", fmt.Errorf("upload s3://%s/%s: %w", bucket, key, err)
	}
	return aws.ToString(out.VersionId), nil
}

// removeArtifacts deletes all objects below an artifact directory.
func (o *Operator) removeArtifacts(ctx context.Context, bucket, directory string) error {
	return removeObjects(ctx, o.S3, bucket, directory+"/")
}

// removeObjects deletes all objects whose keys have a prefix, with all their
// versions.
func removeObjects(ctx context.Context, objects S3, bucket, prefix string) error {
	in := &s3.ListObjectVersionsInput{Bucket: &bucket, Prefix: &prefix}
	for {
		page, err := objects.ListObjectVersions(ctx, in)
		if err != nil {
			return fmt.Errorf("list s3://%s/%s: %w", bucket, prefix, err)
		}
		var ids []s3types.ObjectIdentifier
		for _, v := range page.Versions {
			ids = append(ids, s3types.ObjectIdentifier{Key: v.Key, VersionId: v.VersionId})
		}
		for _, m := range page.DeleteMarkers {
			ids = append(ids, s3types.ObjectIdentifier{Key: m.Key, VersionId: m.VersionId})
		}
		if len(ids) > 0 {
			out, err := objects.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: &bucket, Delete: &s3types.Delete{Objects: ids, Quiet: aws.Bool(true)}})
			if err != nil {
				return fmt.Errorf("delete objects below s3://%s/%s: %w", bucket, prefix, err)
			}
			if len(out.Errors) > 0 {
				return fmt.Errorf("delete s3://%s/%s: %s", bucket, aws.ToString(out.Errors[0].Key), aws.ToString(out.Errors[0].Message))
			}
		}
		if !aws.ToBool(page.IsTruncated) {
			return nil
		}
		in.KeyMarker, in.VersionIdMarker = page.NextKeyMarker, page.NextVersionIdMarker
	}
}
