package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"pcluster/internal/awsclient"
	"pcluster/internal/fleet"
	"pcluster/internal/node/spec"
)

// awsConfig is how this node talks to AWS: as its instance's role, in its region.
func awsConfig(ctx context.Context, n *spec.Node) (aws.Config, error) {
	return awsconfig.LoadDefaultConfig(ctx, awsconfig.WithRegion(n.Region), awsconfig.WithAPIOptions(awsclient.Options))
}

// dynamoClient leaves the checksum of answers to TLS: the SDK compares it with the
// checksum of what it has not read yet, and complains about each answer.
func dynamoClient(cfg aws.Config) *dynamodb.Client {
	return dynamodb.NewFromConfig(cfg, func(o *dynamodb.Options) { o.DisableValidateResponseChecksum = true })
}

// s3API is the part of S3 that booting needs.
type s3API interface {
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
}

// artifact returns one of the cluster's own objects.
func artifact(ctx context.Context, api s3API, bucket, key, version string) ([]byte, error) {
	in := &s3.GetObjectInput{Bucket: aws.String(bucket), Key: aws.String(key)}
	if version != "" {
		in.VersionId = aws.String(version)
	}
	out, err := api.GetObject(ctx, in)
	if err != nil {
		return nil, fmt.Errorf("s3://%s/%s: %w", bucket, key, err)
	}
	defer out.Body.Close()
	data, err := io.ReadAll(out.Body)
	if err != nil {
		return nil, fmt.Errorf("s3://%s/%s: %w", bucket, key, err)
	}
	return data, nil
}

// dynamoAPI is the part of DynamoDB that booting needs.
type dynamoAPI interface {
	Query(context.Context, *dynamodb.QueryInput, ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error)
	PutItem(context.Context, *dynamodb.PutItemInput, ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error)
}

// nameInterval is how often a node asks which node it is. The launcher writes it down
// before a machine can have booted, so that the first answer is the rule.
const nameInterval = 200 * time.Millisecond

// nodeName asks which Slurm node an instance is.
func nodeName(ctx context.Context, api dynamoAPI, table, instance string) (string, error) {
	return poll(ctx, nameInterval, func() (string, error) {
		out, err := api.Query(ctx, &dynamodb.QueryInput{
			TableName:                 aws.String(table),
			IndexName:                 aws.String("InstanceId"),
			KeyConditionExpression:    aws.String("InstanceId = :id"),
			ExpressionAttributeValues: map[string]ddb.AttributeValue{":id": &ddb.AttributeValueMemberS{Value: instance}},
			ProjectionExpression:      aws.String("Id"),
		})
		if err != nil {
			return "", fmt.Errorf("name of this node in table %s: %w", table, err)
		}
		for _, item := range out.Items {
			if id, ok := item["Id"].(*ddb.AttributeValueMemberS); ok {
				return id.Value, nil
			}
		}
		return "", fmt.Errorf("table %s has no node for instance %s", table, instance)
	})
}

// startFleetStatus says that the fleet runs, unless something was said before.
func startFleetStatus(ctx context.Context, api dynamoAPI, table string) error {
	_, err := api.PutItem(ctx, &dynamodb.PutItemInput{
		TableName:           aws.String(table),
		Item:                fleet.NewStatusItem(fleet.Running, time.Now()),
		ConditionExpression: aws.String("attribute_not_exists(Id)"),
	})
	var exists *ddb.ConditionalCheckFailedException
	if err != nil && !errors.As(err, &exists) {
		return fmt.Errorf("status of the compute fleet: %w", err)
	}
	return nil
}

// recordConfiguration says which configuration this node has got.
func recordConfiguration(ctx context.Context, api dynamoAPI, n *spec.Node, instance string) error {
	text := func(s string) ddb.AttributeValue { return &ddb.AttributeValueMemberS{Value: s} }
	_, err := api.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: aws.String(n.DynamoDBTable),
		Item: map[string]ddb.AttributeValue{
			"Id": text("CLUSTER_CONFIG." + instance),
			"Data": &ddb.AttributeValueMemberM{Value: map[string]ddb.AttributeValue{
				"cluster_config_version": text(n.ConfigVersion),
				"status":                 text("DEPLOYED"),
				"node_type":              text(n.NodeType),
				"lastUpdateTime":         text(time.Now().UTC().Format("2006-01-02 15:04:05 UTC")),
			}},
		},
	})
	if err != nil {
		return fmt.Errorf("record configuration in table %s: %w", n.DynamoDBTable, err)
	}
	return nil
}

// scalingAPI is the part of Auto Scaling that login nodes need.
type scalingAPI interface {
	CompleteLifecycleAction(context.Context, *autoscaling.CompleteLifecycleActionInput, ...func(*autoscaling.Options)) (*autoscaling.CompleteLifecycleActionOutput, error)
}

// The group may hear of its instance later than the instance boots.
const (
	serviceInterval = time.Second
	servicePatience = time.Minute
)

// enterService tells the Auto Scaling group of a login node that people can log in,
// so that the load balancer sends them here.
func enterService(ctx context.Context, api scalingAPI, n *spec.Node, instance string) error {
	if n.ScalingGroup == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, servicePatience)
	defer cancel()
	_, err := poll(ctx, serviceInterval, func() (struct{}, error) {
		_, err := api.CompleteLifecycleAction(ctx, &autoscaling.CompleteLifecycleActionInput{
			AutoScalingGroupName: aws.String(n.ScalingGroup), LifecycleHookName: aws.String(n.LaunchingHook),
			InstanceId: aws.String(instance), LifecycleActionResult: aws.String("CONTINUE"),
		})
		return struct{}{}, err
	})
	if err != nil {
		return fmt.Errorf("complete lifecycle action %s of group %s: %w", n.LaunchingHook, n.ScalingGroup, err)
	}
	return nil
}
