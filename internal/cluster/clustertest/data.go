package clustertest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// S3.

type bucket struct {
	versioned, encrypted bool
	policy               string
	region               string   // if it is not that of the cloud
	objects              []object // oldest version first
}

type object struct {
	key, version string
	body         []byte
}

// MakeBucket makes a bucket of a user's own.
func (c *Cloud) MakeBucket(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buckets[name] = &bucket{versioned: true}
}

// Buckets returns the names of the buckets with what is configured.
func (c *Cloud) Buckets() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	for name, b := range c.buckets {
		out = append(out, fmt.Sprintf("%s versioned=%t encrypted=%t policy=%t", name, b.versioned, b.encrypted, b.policy != ""))
	}
	slices.Sort(out)
	return out
}

// Objects returns the keys of the objects in all buckets, sorted.
func (c *Cloud) Objects() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var keys []string
	for _, b := range c.buckets {
		for _, o := range b.objects {
			keys = append(keys, o.key)
		}
	}
	slices.Sort(keys)
	return keys
}

// Body returns the newest version of an object, whichever bucket it is in.
func (c *Cloud) Body(key string) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.buckets {
		for _, o := range slices.Backward(b.objects) {
			if o.key == key {
				return o.body
			}
		}
	}
	return nil
}

func (c *Cloud) bucket(name *string) (*bucket, error) {
	b := c.buckets[*name]
	if b == nil {
		return nil, Fault("NoSuchBucket", "The specified bucket does not exist")
	}
	return b, nil
}

func (c *Cloud) HeadBucket(_ context.Context, in *s3.HeadBucketInput, _ ...func(*s3.Options)) (*s3.HeadBucketOutput, error) {
	unlock, err := c.begin("HeadBucket")
	defer unlock()
	if err != nil {
		return nil, err
	}
	if c.buckets[*in.Bucket] == nil {
		return nil, &s3types.NotFound{}
	}
	return &s3.HeadBucketOutput{}, nil
}

// Place puts a bucket into another region.
func (c *Cloud) Place(bucket, region string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buckets[bucket].region = region
}

// Policy returns the policy of a bucket.
func (c *Cloud) Policy(bucket string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.buckets[bucket].policy
}

func (c *Cloud) GetBucketPolicy(_ context.Context, in *s3.GetBucketPolicyInput, _ ...func(*s3.Options)) (*s3.GetBucketPolicyOutput, error) {
	unlock, err := c.begin("GetBucketPolicy")
	defer unlock()
	if err != nil {
		return nil, err
	}
	b, err := c.bucket(in.Bucket)
	if err != nil {
		return nil, err
	}
	if b.policy == "" {
		return nil, Fault("NoSuchBucketPolicy", "The bucket policy does not exist")
	}
	return &s3.GetBucketPolicyOutput{Policy: &b.policy}, nil
}

func (c *Cloud) GetBucketLocation(_ context.Context, in *s3.GetBucketLocationInput, _ ...func(*s3.Options)) (*s3.GetBucketLocationOutput, error) {
	unlock, err := c.begin("GetBucketLocation")
	defer unlock()
	if err != nil {
		return nil, err
	}
	b, err := c.bucket(in.Bucket)
	if err != nil {
		return nil, err
	}
	region := cmp.Or(b.region, c.Region)
	if region == "us-east-1" { // which has no name as a location
		region = ""
	}
	return &s3.GetBucketLocationOutput{LocationConstraint: s3types.BucketLocationConstraint(region)}, nil
}

// ListObjectsV2 returns two objects to a page.
func (c *Cloud) ListObjectsV2(_ context.Context, in *s3.ListObjectsV2Input, _ ...func(*s3.Options)) (*s3.ListObjectsV2Output, error) {
	unlock, err := c.begin("ListObjectsV2")
	defer unlock()
	if err != nil {
		return nil, err
	}
	b, err := c.bucket(in.Bucket)
	if err != nil {
		return nil, err
	}
	sizes := map[string]int{}
	for _, o := range b.objects {
		if strings.HasPrefix(o.key, aws.ToString(in.Prefix)) && o.key > aws.ToString(in.ContinuationToken) {
			sizes[o.key] = len(o.body)
		}
	}
	out := &s3.ListObjectsV2Output{}
	for _, key := range slices.Sorted(maps.Keys(sizes)) {
		if len(out.Contents) == 2 {
			out.NextContinuationToken = out.Contents[1].Key
			break
		}
		out.Contents = append(out.Contents, s3types.Object{Key: &key, Size: aws.Int64(int64(sizes[key]))})
	}
	return out, nil
}

func (c *Cloud) CreateBucket(_ context.Context, in *s3.CreateBucketInput, _ ...func(*s3.Options)) (*s3.CreateBucketOutput, error) {
	unlock, err := c.begin("CreateBucket")
	defer unlock()
	if err != nil {
		return nil, err
	}
	if (in.CreateBucketConfiguration == nil) != (c.Region == "us-east-1") {
		return nil, Fault("IllegalLocationConstraintException", "The location constraint is incompatible for the region specific endpoint this request was sent to.")
	}
	c.buckets[*in.Bucket] = &bucket{}
	return &s3.CreateBucketOutput{}, nil
}

func (c *Cloud) PutBucketVersioning(_ context.Context, in *s3.PutBucketVersioningInput, _ ...func(*s3.Options)) (*s3.PutBucketVersioningOutput, error) {
	unlock, err := c.begin("PutBucketVersioning")
	defer unlock()
	if err != nil {
		return nil, err
	}
	b, err := c.bucket(in.Bucket)
	if err != nil {
		return nil, err
	}
	b.versioned = in.VersioningConfiguration.Status == s3types.BucketVersioningStatusEnabled
	return &s3.PutBucketVersioningOutput{}, nil
}

func (c *Cloud) PutBucketEncryption(_ context.Context, in *s3.PutBucketEncryptionInput, _ ...func(*s3.Options)) (*s3.PutBucketEncryptionOutput, error) {
	unlock, err := c.begin("PutBucketEncryption")
	defer unlock()
	if err != nil {
		return nil, err
	}
	b, err := c.bucket(in.Bucket)
	if err != nil {
		return nil, err
	}
	b.encrypted = true
	return &s3.PutBucketEncryptionOutput{}, nil
}

func (c *Cloud) PutBucketPolicy(_ context.Context, in *s3.PutBucketPolicyInput, _ ...func(*s3.Options)) (*s3.PutBucketPolicyOutput, error) {
	unlock, err := c.begin("PutBucketPolicy")
	defer unlock()
	if err != nil {
		return nil, err
	}
	b, err := c.bucket(in.Bucket)
	if err != nil {
		return nil, err
	}
	b.policy = *in.Policy
	return &s3.PutBucketPolicyOutput{}, nil
}

func (c *Cloud) HeadObject(_ context.Context, in *s3.HeadObjectInput, _ ...func(*s3.Options)) (*s3.HeadObjectOutput, error) {
	unlock, err := c.begin("HeadObject")
	defer unlock()
	if err != nil {
		return nil, err
	}
	b := c.buckets[*in.Bucket]
	if b == nil || !slices.ContainsFunc(b.objects, func(o object) bool { return o.key == *in.Key }) {
		return nil, &s3types.NotFound{}
	}
	return &s3.HeadObjectOutput{}, nil
}

func (c *Cloud) GetObject(_ context.Context, in *s3.GetObjectInput, _ ...func(*s3.Options)) (*s3.GetObjectOutput, error) {
	unlock, err := c.begin("GetObject")
	defer unlock()
	if err != nil {
		return nil, err
	}
	b, err := c.bucket(in.Bucket)
	if err != nil {
		return nil, err
	}
	for _, o := range slices.Backward(b.objects) {
		if o.key == *in.Key && (in.VersionId == nil || *in.VersionId == o.version) {
			return &s3.GetObjectOutput{Body: io.NopCloser(bytes.NewReader(o.body))}, nil
		}
	}
	return nil, Fault("NoSuchKey", "The specified key does not exist.")
}

func (c *Cloud) PutObject(_ context.Context, in *s3.PutObjectInput, _ ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	body, err := io.ReadAll(in.Body)
	if err != nil {
		return nil, err
	}
	unlock, err := c.begin("PutObject")
	defer unlock()
	if err != nil {
		return nil, err
	}
	b, err := c.bucket(in.Bucket)
	if err != nil {
		return nil, err
	}
	o := object{key: *in.Key, body: body, version: "version-1"}
	for _, old := range b.objects {
		if old.key == o.key {
			o.version += ".1"
		}
	}
	if !b.versioned {
		o.version = ""
		b.objects = slices.DeleteFunc(b.objects, func(old object) bool { return old.key == o.key })
	}
	b.objects = append(b.objects, o)
	out := &s3.PutObjectOutput{}
	if o.version != "" {
		out.VersionId = &o.version
	}
	return out, nil
}

func (c *Cloud) ListObjectVersions(_ context.Context, in *s3.ListObjectVersionsInput, _ ...func(*s3.Options)) (*s3.ListObjectVersionsOutput, error) {
	unlock, err := c.begin("ListObjectVersions")
	defer unlock()
	if err != nil {
		return nil, err
	}
	b, err := c.bucket(in.Bucket)
	if err != nil {
		return nil, err
	}
	out := &s3.ListObjectVersionsOutput{}
	for _, o := range b.objects {
		if strings.HasPrefix(o.key, aws.ToString(in.Prefix)) {
			out.Versions = append(out.Versions, s3types.ObjectVersion{Key: &o.key, VersionId: &o.version})
		}
	}
	if len(out.Versions) > 2 { // the caller deletes what it saw and asks again
		out.Versions, out.IsTruncated = out.Versions[:2], aws.Bool(true)
	}
	return out, nil
}

func (c *Cloud) DeleteObjects(_ context.Context, in *s3.DeleteObjectsInput, _ ...func(*s3.Options)) (*s3.DeleteObjectsOutput, error) {
	unlock, err := c.begin("DeleteObjects")
	defer unlock()
	if err != nil {
		return nil, err
	}
	b, err := c.bucket(in.Bucket)
	if err != nil {
		return nil, err
	}
	for _, id := range in.Delete.Objects {
		b.objects = slices.DeleteFunc(b.objects, func(o object) bool { return o.key == *id.Key && o.version == aws.ToString(id.VersionId) })
	}
	return &s3.DeleteObjectsOutput{}, nil
}

func (c *Cloud) PresignGetObject(_ context.Context, in *s3.GetObjectInput, _ ...func(*s3.PresignOptions)) (*v4.PresignedHTTPRequest, error) {
	return &v4.PresignedHTTPRequest{URL: fmt.Sprintf("https://%s.s3.amazonaws.com/%s?versionId=%s&X-Amz-Expires=3600", *in.Bucket, *in.Key, aws.ToString(in.VersionId))}, nil
}

// DynamoDB: tables with one item, that of the fleet.

type item map[string]ddb.AttributeValue

// SetFleet puts the status of a cluster's compute fleet.
func (c *Cloud) SetFleet(cluster, status, updated string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.items["parallelcluster-"+cluster] = item{
		"Id": &ddb.AttributeValueMemberS{Value: "COMPUTE_FLEET"},
		"Data": &ddb.AttributeValueMemberM{Value: item{
			"status":                &ddb.AttributeValueMemberS{Value: status},
			"lastStatusUpdatedTime": &ddb.AttributeValueMemberS{Value: updated},
		}},
	}
}

// HangDoorbell puts up the doorbell of a cluster's compute fleet.
func (c *Cloud) HangDoorbell(cluster, zone, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.items["parallelcluster-"+cluster]["Data"].(*ddb.AttributeValueMemberM).Value["doorbell"] = &ddb.AttributeValueMemberM{Value: item{
		"zone": &ddb.AttributeValueMemberS{Value: zone}, "name": &ddb.AttributeValueMemberS{Value: name},
	}}
}

// Rung returns the zones and names of the doorbells that were rung.
func (c *Cloud) Rung() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.rung)
}

// ChangeResourceRecordSets rings doorbells.
func (c *Cloud) ChangeResourceRecordSets(_ context.Context, in *route53.ChangeResourceRecordSetsInput, _ ...func(*route53.Options)) (*route53.ChangeResourceRecordSetsOutput, error) {
	unlock, err := c.begin("ChangeResourceRecordSets")
	defer unlock()
	if err != nil {
		return nil, err
	}
	for _, change := range in.ChangeBatch.Changes {
		c.rung = append(c.rung, *in.HostedZoneId+" "+*change.ResourceRecordSet.Name)
	}
	return &route53.ChangeResourceRecordSetsOutput{}, nil
}

func (c *Cloud) GetItem(_ context.Context, in *dynamodb.GetItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error) {
	unlock, err := c.begin("GetItem")
	defer unlock()
	if err != nil {
		return nil, err
	}
	i, ok := c.items[*in.TableName]
	if !ok {
		return nil, Fault("ResourceNotFoundException", "Requested resource not found: Table: %s not found", *in.TableName)
	}
	return &dynamodb.GetItemOutput{Item: i}, nil
}

func (c *Cloud) PutItem(_ context.Context, in *dynamodb.PutItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error) {
	unlock, err := c.begin("PutItem")
	defer unlock()
	if err != nil {
		return nil, err
	}
	if old := c.items[*in.TableName]; text(old["Status"]) != text(in.ExpressionAttributeValues[":old"]) {
		return nil, &ddb.ConditionalCheckFailedException{}
	}
	c.items[*in.TableName] = in.Item
	return &dynamodb.PutItemOutput{}, nil
}

// UpdateItem understands the one update that is made.
func (c *Cloud) UpdateItem(_ context.Context, in *dynamodb.UpdateItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error) {
	unlock, err := c.begin("UpdateItem")
	defer unlock()
	if err != nil {
		return nil, err
	}
	data, ok := c.items[*in.TableName]["Data"].(*ddb.AttributeValueMemberM)
	if !ok || text(data.Value["status"]) != text(in.ExpressionAttributeValues[":old"]) {
		return nil, &ddb.ConditionalCheckFailedException{}
	}
	data.Value["status"] = in.ExpressionAttributeValues[":new"]
	data.Value["lastStatusUpdatedTime"] = in.ExpressionAttributeValues[":now"]
	return &dynamodb.UpdateItemOutput{}, nil
}

func text(v ddb.AttributeValue) string {
	if s, ok := v.(*ddb.AttributeValueMemberS); ok {
		return s.Value
	}
	return ""
}

// EC2.

type instance struct{ ec2types.Instance }

// Launch adds a running instance with tags, given as keys and values.
func (c *Cloud) Launch(id, instanceType, privateIP, publicIP string, tags ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := &instance{ec2types.Instance{
		InstanceId: &id, InstanceType: ec2types.InstanceType(instanceType), LaunchTime: aws.Time(c.Now()),
		PrivateIpAddress: &privateIP, PrivateDnsName: aws.String("ip-" + strings.ReplaceAll(privateIP, ".", "-") + ".ec2.internal"),
		State: &ec2types.InstanceState{Name: ec2types.InstanceStateNameRunning},
	}}
	if publicIP != "" {
		i.PublicIpAddress = &publicIP
	}
	for n := 0; n+1 < len(tags); n += 2 {
		i.Tags = append(i.Tags, ec2types.Tag{Key: &tags[n], Value: &tags[n+1]})
	}
	c.instances = append(c.instances, i)
}

// DescribeInstances knows the filters that the operations use, three instances
// to a page.
func (c *Cloud) DescribeInstances(_ context.Context, in *ec2.DescribeInstancesInput, _ ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error) {
	unlock, err := c.begin("DescribeInstances")
	defer unlock()
	if err != nil {
		return nil, err
	}
	var found []ec2types.Instance
	for _, i := range c.instances {
		if !slices.ContainsFunc(in.Filters, func(f ec2types.Filter) bool { return !i.matches(f) }) {
			found = append(found, i.Instance)
		}
	}
	from := 0
	if in.NextToken != nil {
		fmt.Sscanf(*in.NextToken, "page-%d", &from)
	}
	from = min(from, len(found))
	out := &ec2.DescribeInstancesOutput{}
	for _, i := range found[from:min(from+3, len(found))] {
		out.Reservations = append(out.Reservations, ec2types.Reservation{Instances: []ec2types.Instance{i}})
	}
	if from+3 < len(found) {
		out.NextToken = aws.String(fmt.Sprintf("page-%d", from+3))
	}
	return out, nil
}

// DescribeImages finds AMIs by a pattern of their name, two to a page.
func (c *Cloud) DescribeImages(_ context.Context, in *ec2.DescribeImagesInput, _ ...func(*ec2.Options)) (*ec2.DescribeImagesOutput, error) {
	unlock, err := c.begin("DescribeImages")
	defer unlock()
	if err != nil {
		return nil, err
	}
	var found []ec2types.Image
	for _, i := range c.AMIs {
		if ok, err := path.Match(in.Filters[0].Values[0], *i.Name); err != nil {
			return nil, err
		} else if ok {
			found = append(found, i)
		}
	}
	from := 0
	if in.NextToken != nil {
		fmt.Sscanf(*in.NextToken, "page-%d", &from)
	}
	out := &ec2.DescribeImagesOutput{Images: found[from:min(from+2, len(found))]}
	if from+2 < len(found) {
		out.NextToken = aws.String(fmt.Sprintf("page-%d", from+2))
	}
	return out, nil
}

func (i *instance) matches(f ec2types.Filter) bool {
	if key, ok := strings.CutPrefix(*f.Name, "tag:"); ok {
		return slices.ContainsFunc(i.Tags, func(t ec2types.Tag) bool { return *t.Key == key && slices.Contains(f.Values, *t.Value) })
	}
	return *f.Name == "instance-state-name" && slices.Contains(f.Values, string(i.State.Name))
}

func (c *Cloud) TerminateInstances(_ context.Context, in *ec2.TerminateInstancesInput, _ ...func(*ec2.Options)) (*ec2.TerminateInstancesOutput, error) {
	unlock, err := c.begin("TerminateInstances")
	defer unlock()
	if err != nil {
		return nil, err
	}
	for _, i := range c.instances {
		if slices.Contains(in.InstanceIds, *i.InstanceId) {
			i.State = &ec2types.InstanceState{Name: ec2types.InstanceStateNameTerminated}
		}
	}
	return &ec2.TerminateInstancesOutput{}, nil
}
