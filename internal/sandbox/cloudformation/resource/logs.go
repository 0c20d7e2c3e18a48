package resource

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
)

// Logs is the part of CloudWatch Logs that stacks use.
type Logs interface {
	CreateLogGroup(context.Context, *cloudwatchlogs.CreateLogGroupInput) (*cloudwatchlogs.CreateLogGroupOutput, error)
	DeleteLogGroup(context.Context, *cloudwatchlogs.DeleteLogGroupInput) (*cloudwatchlogs.DeleteLogGroupOutput, error)
	PutRetentionPolicy(context.Context, *cloudwatchlogs.PutRetentionPolicyInput) (*cloudwatchlogs.PutRetentionPolicyOutput, error)
	DeleteRetentionPolicy(context.Context, *cloudwatchlogs.DeleteRetentionPolicyInput) (*cloudwatchlogs.DeleteRetentionPolicyOutput, error)
	TagResource(context.Context, *cloudwatchlogs.TagResourceInput) (*cloudwatchlogs.TagResourceOutput, error)
	UntagResource(context.Context, *cloudwatchlogs.UntagResourceInput) (*cloudwatchlogs.UntagResourceOutput, error)
	CreateLogStream(context.Context, *cloudwatchlogs.CreateLogStreamInput) (*cloudwatchlogs.CreateLogStreamOutput, error)
	DeleteLogStream(context.Context, *cloudwatchlogs.DeleteLogStreamInput) (*cloudwatchlogs.DeleteLogStreamOutput, error)
	PutMetricFilter(context.Context, *cloudwatchlogs.PutMetricFilterInput) (*cloudwatchlogs.PutMetricFilterOutput, error)
	DeleteMetricFilter(context.Context, *cloudwatchlogs.DeleteMetricFilterInput) (*cloudwatchlogs.DeleteMetricFilterOutput, error)
}

func logsTypes(api Logs) []*Type {
	return []*Type{logGroupType(api), logStreamType(api), metricFilterType(api)}
}

func logGroupType(api Logs) *Type {
	t := &Type{
		Name:       "AWS::Logs::LogGroup",
		Attributes: []string{"Arn"},
		Replaces:   []string{"LogGroupName"},
		properties: like[cloudwatchlogs.CreateLogGroupInput]().and("RetentionInDays", "Tags").refuses("DataProtectionPolicy", "FieldIndexPolicies", "ResourcePolicyDocument"),
	}
	retention := func(ctx context.Context, r *Request) error {
		name := aws.String(r.PhysicalID)
		days, err := decodeInto[int32](r.Props["RetentionInDays"])
		if err != nil {
			return err
		}
		switch {
		case r.Has("RetentionInDays"):
			_, err = api.PutRetentionPolicy(ctx, &cloudwatchlogs.PutRetentionPolicyInput{LogGroupName: name, RetentionInDays: aws.Int32(days)})
		case r.Before["RetentionInDays"] != nil:
			_, err = api.DeleteRetentionPolicy(ctx, &cloudwatchlogs.DeleteRetentionPolicyInput{LogGroupName: name})
		}
		return err
	}
	arn := func(r *Request, name string) string {
		return "arn:aws:logs:" + r.Region + ":" + r.Account + ":log-group:" + name
	}
	t.Create = func(ctx context.Context, r *Request) error {
		in := input[cloudwatchlogs.CreateLogGroupInput](t.properties, r.Props)
		in.LogGroupName = aws.String(r.Name("LogGroupName", 512))
		in.Tags = r.tagMap()
		if _, err := api.CreateLogGroup(ctx, in); err != nil && !(r.Resumed && alreadyExists(err)) {
			return err
		}
		r.Set("Arn", arn(r, *in.LogGroupName)+":*")
		if err := r.Created(*in.LogGroupName); err != nil {
			return err
		}
		return retention(ctx, r)
	}
	t.Update = func(ctx context.Context, r *Request) error {
		if r.Changed("RetentionInDays") {
			if err := retention(ctx, r); err != nil {
				return err
			}
		}
		set, remove := r.tagChanges()
		if len(remove) > 0 {
			if _, err := api.UntagResource(ctx, &cloudwatchlogs.UntagResourceInput{ResourceArn: aws.String(arn(r, r.PhysicalID)), TagKeys: remove}); err != nil {
				return err
			}
		}
		if len(set) > 0 {
			tags := map[string]string{}
			for _, t := range set {
				tags[t.Key] = t.Value
			}
			if _, err := api.TagResource(ctx, &cloudwatchlogs.TagResourceInput{ResourceArn: aws.String(arn(r, r.PhysicalID)), Tags: tags}); err != nil {
				return err
			}
		}
		return nil
	}
	t.Delete = func(ctx context.Context, r *Request) error {
		_, err := api.DeleteLogGroup(ctx, &cloudwatchlogs.DeleteLogGroupInput{LogGroupName: aws.String(r.PhysicalID)})
		return gone(err)
	}
	return t
}

func logStreamType(api Logs) *Type {
	t := &Type{
		Name:       "AWS::Logs::LogStream",
		Replaces:   []string{"*"},
		properties: like[cloudwatchlogs.CreateLogStreamInput]("LogGroupName"),
	}
	t.Create = func(ctx context.Context, r *Request) error {
		in := input[cloudwatchlogs.CreateLogStreamInput](t.properties, r.Props)
		in.LogStreamName = aws.String(r.Name("LogStreamName", 512))
		if _, err := api.CreateLogStream(ctx, in); err != nil && !(r.Resumed && alreadyExists(err)) {
			return err
		}
		return r.Created(*in.LogStreamName)
	}
	t.Delete = func(ctx context.Context, r *Request) error {
		_, err := api.DeleteLogStream(ctx, &cloudwatchlogs.DeleteLogStreamInput{LogGroupName: aws.String(r.String("LogGroupName")), LogStreamName: aws.String(r.PhysicalID)})
		return gone(err)
	}
	return t
}

func metricFilterType(api Logs) *Type {
	t := &Type{
		Name:       "AWS::Logs::MetricFilter",
		Replaces:   []string{"FilterName", "LogGroupName"},
		properties: like[cloudwatchlogs.PutMetricFilterInput]("FilterPattern", "LogGroupName", "MetricTransformations"),
	}
	// Templates write dimensions as a list of Key, Value; the service wants an object.
	put := func(ctx context.Context, r *Request, name string) error {
		in := input[cloudwatchlogs.PutMetricFilterInput](t.properties, withDimensions(r.Props))
		in.FilterName = aws.String(name)
		_, err := api.PutMetricFilter(ctx, in)
		return err
	}
	t.adapt = withDimensions
	t.Create = func(ctx context.Context, r *Request) error {
		name := r.Name("FilterName", 512)
		if err := put(ctx, r, name); err != nil {
			return err
		}
		return r.Created(name)
	}
	t.Update = func(ctx context.Context, r *Request) error { return put(ctx, r, r.PhysicalID) }
	t.Delete = func(ctx context.Context, r *Request) error {
		_, err := api.DeleteMetricFilter(ctx, &cloudwatchlogs.DeleteMetricFilterInput{LogGroupName: aws.String(r.String("LogGroupName")), FilterName: aws.String(r.PhysicalID)})
		return gone(err)
	}
	return t
}

func withDimensions(props map[string]any) map[string]any {
	list, ok := props["MetricTransformations"].([]any)
	if !ok {
		return props
	}
	transformations := make([]any, len(list))
	for i, e := range list {
		transformations[i] = e
		m, _ := e.(map[string]any)
		dimensions, ok := m["Dimensions"].([]any)
		if !ok {
			continue
		}
		object := map[string]any{}
		for _, d := range dimensions {
			pair, _ := d.(map[string]any)
			if k, ok := pair["Key"].(string); ok {
				object[k] = pair["Value"]
			}
		}
		transformations[i] = with(m, "Dimensions", object)
	}
	return with(props, "MetricTransformations", transformations)
}
