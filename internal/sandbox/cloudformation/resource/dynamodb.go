package resource

import (
	"context"
	"reflect"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// DynamoDB is the part of DynamoDB that stacks use.
type DynamoDB interface {
	CreateTable(context.Context, *dynamodb.CreateTableInput) (*dynamodb.CreateTableOutput, error)
	DescribeTable(context.Context, *dynamodb.DescribeTableInput) (*dynamodb.DescribeTableOutput, error)
	UpdateTable(context.Context, *dynamodb.UpdateTableInput) (*dynamodb.UpdateTableOutput, error)
	DeleteTable(context.Context, *dynamodb.DeleteTableInput) (*dynamodb.DeleteTableOutput, error)
	TagResource(context.Context, *dynamodb.TagResourceInput) (*dynamodb.TagResourceOutput, error)
	UntagResource(context.Context, *dynamodb.UntagResourceInput) (*dynamodb.UntagResourceOutput, error)
}

type dynamodbTTL interface {
	UpdateTimeToLive(context.Context, *dynamodb.UpdateTimeToLiveInput) (*dynamodb.UpdateTimeToLiveOutput, error)
}

type dynamodbBackups interface {
	UpdateContinuousBackups(context.Context, *dynamodb.UpdateContinuousBackupsInput) (*dynamodb.UpdateContinuousBackupsOutput, error)
}

func dynamodbTags(tags []tag) []types.Tag {
	var out []types.Tag
	for _, t := range tags {
		out = append(out, types.Tag{Key: aws.String(t.Key), Value: aws.String(t.Value)})
	}
	return out
}

func dynamodbTypes(api DynamoDB) []*Type {
	t := &Type{
		Name:       "AWS::DynamoDB::Table",
		Attributes: []string{"Arn", "StreamArn"},
		Replaces:   []string{"TableName", "KeySchema", "LocalSecondaryIndexes", "ImportSourceSpecification"},
		properties: like[dynamodb.CreateTableInput]("KeySchema").
			and("TimeToLiveSpecification", "PointInTimeRecoverySpecification", "Tags").
			refuses("KinesisStreamSpecification", "ContributorInsightsSpecification", "ImportSourceSpecification").
			without("ResourcePolicy", "GlobalTableSourceArn", "GlobalTableSettingsReplicationMode", "VectorIndexes"),
	}
	active := func(ctx context.Context, r *Request) error {
		return r.Wait(func() (bool, error) {
			out, err := api.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: aws.String(r.PhysicalID)})
			if err != nil {
				return false, err
			}
			r.Set("Arn", aws.ToString(out.Table.TableArn))
			if out.Table.LatestStreamArn != nil {
				r.Set("StreamArn", *out.Table.LatestStreamArn)
			}
			for _, index := range out.Table.GlobalSecondaryIndexes {
				if index.IndexStatus != types.IndexStatusActive && index.IndexStatus != "" {
					return false, nil
				}
			}
			return out.Table.TableStatus == types.TableStatusActive, nil
		})
	}
	settings := func(ctx context.Context, r *Request) error {
		name := aws.String(r.PhysicalID)
		if r.Changed("TimeToLiveSpecification") {
			spec, err := decodeInto[types.TimeToLiveSpecification](r.Props["TimeToLiveSpecification"])
			if err != nil {
				return err
			}
			ttl, ok := api.(dynamodbTTL)
			if !ok {
				return unsupported("TimeToLiveSpecification")
			}
			if _, err := ttl.UpdateTimeToLive(ctx, &dynamodb.UpdateTimeToLiveInput{TableName: name, TimeToLiveSpecification: &spec}); err != nil {
				return err
			}
		}
		if r.Changed("PointInTimeRecoverySpecification") {
			spec, err := decodeInto[types.PointInTimeRecoverySpecification](r.Props["PointInTimeRecoverySpecification"])
			if err != nil {
				return err
			}
			backups, ok := api.(dynamodbBackups)
			switch {
			case ok:
				if _, err := backups.UpdateContinuousBackups(ctx, &dynamodb.UpdateContinuousBackupsInput{TableName: name, PointInTimeRecoverySpecification: &spec}); err != nil {
					return err
				}
			case aws.ToBool(spec.PointInTimeRecoveryEnabled):
				return unsupported("PointInTimeRecoverySpecification")
			}
		}
		return nil
	}
	t.Create = func(ctx context.Context, r *Request) error {
		in := input[dynamodb.CreateTableInput](t.properties, r.Props)
		in.TableName = aws.String(r.Name("TableName", 255))
		in.Tags = dynamodbTags(r.tagList())
		if _, err := api.CreateTable(ctx, in); err != nil && !(r.Resumed && alreadyExists(err)) {
			return err
		}
		if err := r.Created(*in.TableName); err != nil {
			return err
		}
		if err := active(ctx, r); err != nil {
			return err
		}
		return settings(ctx, r)
	}
	t.Update = func(ctx context.Context, r *Request) error {
		name := aws.String(r.PhysicalID)
		if r.Changed("BillingMode", "ProvisionedThroughput", "DeletionProtectionEnabled", "SSESpecification", "StreamSpecification", "TableClass") {
			want := input[dynamodb.CreateTableInput](t.properties, r.Props)
			if _, err := api.UpdateTable(ctx, &dynamodb.UpdateTableInput{
				TableName: name, BillingMode: want.BillingMode, ProvisionedThroughput: want.ProvisionedThroughput, DeletionProtectionEnabled: want.DeletionProtectionEnabled,
				SSESpecification: want.SSESpecification, StreamSpecification: want.StreamSpecification, TableClass: want.TableClass,
			}); err != nil {
				return err
			}
			if err := active(ctx, r); err != nil {
				return err
			}
		}
		if r.Changed("GlobalSecondaryIndexes") {
			if err := changeIndexes(ctx, api, r, t.properties, active); err != nil {
				return err
			}
		}
		if err := settings(ctx, r); err != nil {
			return err
		}
		arn, _ := r.Attributes["Arn"].(string)
		set, remove := r.tagChanges()
		if len(remove) > 0 {
			if _, err := api.UntagResource(ctx, &dynamodb.UntagResourceInput{ResourceArn: aws.String(arn), TagKeys: remove}); err != nil {
				return err
			}
		}
		if len(set) > 0 {
			if _, err := api.TagResource(ctx, &dynamodb.TagResourceInput{ResourceArn: aws.String(arn), Tags: dynamodbTags(set)}); err != nil {
				return err
			}
		}
		return nil
	}
	t.Delete = func(ctx context.Context, r *Request) error {
		name := aws.String(r.PhysicalID)
		err := r.Retry(func() error {
			_, err := api.DeleteTable(ctx, &dynamodb.DeleteTableInput{TableName: name})
			return err
		}, "ResourceInUseException")
		if err != nil {
			return gone(err)
		}
		return gone(r.Wait(func() (bool, error) {
			_, err := api.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: name})
			return false, err
		}))
	}
	return []*Type{t}
}

// changeIndexes deletes and creates global secondary indexes, one in each call,
// as DynamoDB demands.
func changeIndexes(ctx context.Context, api DynamoDB, r *Request, p properties, active func(context.Context, *Request) error) error {
	was, want := input[dynamodb.CreateTableInput](p, r.Before), input[dynamodb.CreateTableInput](p, r.Props)
	same := func(a types.GlobalSecondaryIndex, in []types.GlobalSecondaryIndex) bool {
		for _, b := range in {
			if aws.ToString(a.IndexName) == aws.ToString(b.IndexName) {
				return reflect.DeepEqual(a, b)
			}
		}
		return false
	}
	update := func(u types.GlobalSecondaryIndexUpdate) error {
		_, err := api.UpdateTable(ctx, &dynamodb.UpdateTableInput{
			TableName: aws.String(r.PhysicalID), AttributeDefinitions: want.AttributeDefinitions, GlobalSecondaryIndexUpdates: []types.GlobalSecondaryIndexUpdate{u},
		})
		if err != nil {
			return err
		}
		return active(ctx, r)
	}
	for _, index := range was.GlobalSecondaryIndexes {
		if !same(index, want.GlobalSecondaryIndexes) {
			if err := update(types.GlobalSecondaryIndexUpdate{Delete: &types.DeleteGlobalSecondaryIndexAction{IndexName: index.IndexName}}); err != nil {
				return err
			}
		}
	}
	for _, index := range want.GlobalSecondaryIndexes {
		if !same(index, was.GlobalSecondaryIndexes) {
			if err := update(types.GlobalSecondaryIndexUpdate{Create: &types.CreateGlobalSecondaryIndexAction{
				IndexName: index.IndexName, KeySchema: index.KeySchema, Projection: index.Projection, ProvisionedThroughput: index.ProvisionedThroughput,
			}}); err != nil {
				return err
			}
		}
	}
	return nil
}
