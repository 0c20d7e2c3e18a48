package resource

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// S3 is the part of Amazon S3 that stacks use. Unlike the other services' it has
// the signatures of the SDK's client, as the region's S3 is spoken to over HTTP:
// *s3.Client has it.
type S3 interface {
	CreateBucket(context.Context, *s3.CreateBucketInput, ...func(*s3.Options)) (*s3.CreateBucketOutput, error)
	DeleteBucket(context.Context, *s3.DeleteBucketInput, ...func(*s3.Options)) (*s3.DeleteBucketOutput, error)
	PutBucketVersioning(context.Context, *s3.PutBucketVersioningInput, ...func(*s3.Options)) (*s3.PutBucketVersioningOutput, error)
	PutBucketEncryption(context.Context, *s3.PutBucketEncryptionInput, ...func(*s3.Options)) (*s3.PutBucketEncryptionOutput, error)
	PutBucketTagging(context.Context, *s3.PutBucketTaggingInput, ...func(*s3.Options)) (*s3.PutBucketTaggingOutput, error)
	PutPublicAccessBlock(context.Context, *s3.PutPublicAccessBlockInput, ...func(*s3.Options)) (*s3.PutPublicAccessBlockOutput, error)
	PutBucketPolicy(context.Context, *s3.PutBucketPolicyInput, ...func(*s3.Options)) (*s3.PutBucketPolicyOutput, error)
	DeleteBucketPolicy(context.Context, *s3.DeleteBucketPolicyInput, ...func(*s3.Options)) (*s3.DeleteBucketPolicyOutput, error)
}

func s3Types(api S3) []*Type { return []*Type{bucketType(api), bucketPolicyType(api)} }

func bucketType(api S3) *Type {
	t := &Type{
		Name:       "AWS::S3::Bucket",
		Attributes: []string{"Arn", "DomainName", "RegionalDomainName", "DualStackDomainName", "WebsiteURL"},
		Replaces:   []string{"BucketName", "ObjectLockEnabled"},
		properties: only("BucketName", "VersioningConfiguration", "BucketEncryption", "PublicAccessBlockConfiguration", "OwnershipControls", "Tags").
			refuses("LifecycleConfiguration", "CorsConfiguration", "NotificationConfiguration", "LoggingConfiguration", "ReplicationConfiguration", "WebsiteConfiguration",
				"ObjectLockEnabled", "ObjectLockConfiguration", "AccelerateConfiguration", "AnalyticsConfigurations", "InventoryConfigurations", "MetricsConfigurations", "IntelligentTieringConfigurations"),
	}
	settings := func(ctx context.Context, r *Request) error {
		bucket := aws.String(r.PhysicalID)
		if r.Changed("VersioningConfiguration") {
			versioning, err := decodeInto[types.VersioningConfiguration](r.Props["VersioningConfiguration"])
			if err != nil {
				return err
			}
			if versioning.Status == "" {
				versioning.Status = types.BucketVersioningStatusSuspended
			}
			if _, err := api.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{Bucket: bucket, VersioningConfiguration: &versioning}); err != nil {
				return err
			}
		}
		if r.Changed("BucketEncryption") && r.Has("BucketEncryption") {
			var encryption types.ServerSideEncryptionConfiguration
			spec, _ := r.Props["BucketEncryption"].(map[string]any)
			for _, rule := range rules(spec, "ServerSideEncryptionConfiguration") {
				by, err := decodeInto[types.ServerSideEncryptionByDefault](rule["ServerSideEncryptionByDefault"])
				if err != nil {
					return err
				}
				keys, err := decodeInto[*bool](rule["BucketKeyEnabled"])
				if err != nil {
					return err
				}
				encryption.Rules = append(encryption.Rules, types.ServerSideEncryptionRule{ApplyServerSideEncryptionByDefault: &by, BucketKeyEnabled: keys})
			}
			if _, err := api.PutBucketEncryption(ctx, &s3.PutBucketEncryptionInput{Bucket: bucket, ServerSideEncryptionConfiguration: &encryption}); err != nil {
				return err
			}
		}
		if r.Changed("PublicAccessBlockConfiguration") && r.Has("PublicAccessBlockConfiguration") {
			block, err := decodeInto[types.PublicAccessBlockConfiguration](r.Props["PublicAccessBlockConfiguration"])
			if err != nil {
				return err
			}
			if _, err := api.PutPublicAccessBlock(ctx, &s3.PutPublicAccessBlockInput{Bucket: bucket, PublicAccessBlockConfiguration: &block}); err != nil {
				return err
			}
		}
		if set, remove := r.tagChanges(); len(set)+len(remove) > 0 {
			tagging := &types.Tagging{}
			for _, t := range r.tagList() {
				// S3 keeps aws: for itself, and this call comes as any client's.
				if !strings.HasPrefix(t.Key, "aws:") {
					tagging.TagSet = append(tagging.TagSet, types.Tag{Key: aws.String(t.Key), Value: aws.String(t.Value)})
				}
			}
			if tagging.TagSet == nil {
				return nil
			}
			if _, err := api.PutBucketTagging(ctx, &s3.PutBucketTaggingInput{Bucket: bucket, Tagging: tagging}); err != nil {
				return err
			}
		}
		return nil
	}
	t.Create = func(ctx context.Context, r *Request) error {
		name := r.String("BucketName")
		if name == "" {
			name = strings.ToLower(GeneratedName(r.StackName, r.LogicalID, r.Token, 63))
		}
		in := &s3.CreateBucketInput{Bucket: aws.String(name)}
		if r.Region != "us-east-1" {
			in.CreateBucketConfiguration = &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(r.Region)}
		}
		if _, err := api.CreateBucket(ctx, in); err != nil && !(r.Resumed && alreadyExists(err)) {
			return err
		}
		r.Set("Arn", "arn:aws:s3:::"+name)
		r.Set("DomainName", name+".s3.amazonaws.com")
		r.Set("RegionalDomainName", name+".s3."+r.Region+".amazonaws.com")
		r.Set("DualStackDomainName", name+".s3.dualstack."+r.Region+".amazonaws.com")
		if err := r.Created(name); err != nil {
			return err
		}
		return settings(ctx, r)
	}
	t.Update = settings
	t.Delete = func(ctx context.Context, r *Request) error {
		_, err := api.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: aws.String(r.PhysicalID)})
		return gone(err)
	}
	return t
}

func bucketPolicyType(api S3) *Type {
	put := func(ctx context.Context, r *Request) error {
		_, err := api.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: aws.String(r.String("Bucket")), Policy: aws.String(document(r.Props["PolicyDocument"]))})
		return err
	}
	return &Type{
		Name:       "AWS::S3::BucketPolicy",
		Replaces:   []string{"Bucket"},
		properties: only("Bucket", "PolicyDocument").requires("Bucket", "PolicyDocument"),
		Create: func(ctx context.Context, r *Request) error {
			if err := put(ctx, r); err != nil {
				return err
			}
			return r.Created(r.String("Bucket"))
		},
		Update: put,
		Delete: func(ctx context.Context, r *Request) error {
			_, err := api.DeleteBucketPolicy(ctx, &s3.DeleteBucketPolicyInput{Bucket: aws.String(r.String("Bucket"))})
			return gone(err)
		},
	}
}
