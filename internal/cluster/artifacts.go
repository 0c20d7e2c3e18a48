package cluster

import "context"

// What images share with clusters: the bucket, the artifacts in it, and how errors
// are told.

// Owner returns the account that calls, and its partition.
func (o *Operator) Owner(ctx context.Context) (id, partition string, err error) {
	a, err := o.accountLater(ctx)()
	return a.id, a.partition, err
}

// Bucket returns the bucket for artifacts: custom, which must be there, or the one
// of the account and region, which is made on first use.
func (o *Operator) Bucket(ctx context.Context, account, custom string) (string, error) {
	return o.ensureBucket(ctx, account, custom)
}

// Put uploads an object.
func (o *Operator) Put(ctx context.Context, bucket, key string, body []byte) error {
	_, err := o.put(ctx, bucket, key, body)
	return err
}

// RemoveArtifacts deletes all objects below a prefix, with all their versions.
func (o *Operator) RemoveArtifacts(ctx context.Context, bucket, prefix string) error {
	return o.removeArtifacts(ctx, bucket, prefix)
}

// UploadPrograms makes sure that the bucket has the node program for an architecture,
// as EC2 names it, and for functions.
func (o *Operator) UploadPrograms(ctx context.Context, bucket, architecture string) (sums map[string]string, lambdaKey string, _ error) {
	return o.uploadPrograms(ctx, bucket, architecture)
}

// DefaultBucket returns the name of the bucket that clusters and images of an account
// and region share, unless their files name another.
func DefaultBucket(account, region string) string { return bucketName(account, region) }

// Partition returns the partition of AWS that a region is in.
func Partition(region string) string { return partition(region) }

// ObjectURL returns the https URL of an object.
func ObjectURL(bucket, region, key string) string { return objectURL(bucket, region, key) }

// Refuse returns the error of an operation that is refused.
func Refuse(status int, format string, args ...any) *Error { return refuse(status, format, args...) }

// BadRequest returns the error of a request that makes no sense.
func BadRequest(format string, args ...any) *Error { return badRequest(format, args...) }

// Missing says whether err is AWS's word for something that is not there.
func Missing(err error) bool {
	return kindOf(err) == missing
}
