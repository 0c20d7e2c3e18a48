package resource

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
)

// CloudWatch is the part of CloudWatch that stacks use.
type CloudWatch interface {
	PutMetricAlarm(context.Context, *cloudwatch.PutMetricAlarmInput) (*cloudwatch.PutMetricAlarmOutput, error)
	PutCompositeAlarm(context.Context, *cloudwatch.PutCompositeAlarmInput) (*cloudwatch.PutCompositeAlarmOutput, error)
	DeleteAlarms(context.Context, *cloudwatch.DeleteAlarmsInput) (*cloudwatch.DeleteAlarmsOutput, error)
	PutDashboard(context.Context, *cloudwatch.PutDashboardInput) (*cloudwatch.PutDashboardOutput, error)
	DeleteDashboards(context.Context, *cloudwatch.DeleteDashboardsInput) (*cloudwatch.DeleteDashboardsOutput, error)
	TagResource(context.Context, *cloudwatch.TagResourceInput) (*cloudwatch.TagResourceOutput, error)
	UntagResource(context.Context, *cloudwatch.UntagResourceInput) (*cloudwatch.UntagResourceOutput, error)
}

func cloudwatchTypes(api CloudWatch) []*Type {
	return []*Type{alarmType(api), compositeAlarmType(api), dashboardType(api)}
}

func cloudwatchTags(tags []tag) []types.Tag {
	var out []types.Tag
	for _, t := range tags {
		out = append(out, types.Tag{Key: aws.String(t.Key), Value: aws.String(t.Value)})
	}
	return out
}

func alarmARN(r *Request, name string) string {
	return "arn:aws:cloudwatch:" + r.Region + ":" + r.Account + ":alarm:" + name
}

func retagAlarm(ctx context.Context, api CloudWatch, r *Request) error {
	arn := aws.String(alarmARN(r, r.PhysicalID))
	set, remove := r.tagChanges()
	if len(remove) > 0 {
		if _, err := api.UntagResource(ctx, &cloudwatch.UntagResourceInput{ResourceARN: arn, TagKeys: remove}); err != nil {
			return err
		}
	}
	if len(set) > 0 {
		if _, err := api.TagResource(ctx, &cloudwatch.TagResourceInput{ResourceARN: arn, Tags: cloudwatchTags(set)}); err != nil {
			return err
		}
	}
	return nil
}

func deleteAlarm(api CloudWatch) func(context.Context, *Request) error {
	return func(ctx context.Context, r *Request) error {
		_, err := api.DeleteAlarms(ctx, &cloudwatch.DeleteAlarmsInput{AlarmNames: []string{r.PhysicalID}})
		return gone(err)
	}
}

func alarmType(api CloudWatch) *Type {
	t := &Type{
		Name:       "AWS::CloudWatch::Alarm",
		Attributes: []string{"Arn"},
		Replaces:   []string{"AlarmName"},
		properties: like[cloudwatch.PutMetricAlarmInput]("ComparisonOperator", "EvaluationPeriods").and("Tags"),
	}
	put := func(ctx context.Context, r *Request, name string, tags []tag) error {
		in := input[cloudwatch.PutMetricAlarmInput](t.properties, r.Props)
		in.AlarmName = aws.String(name)
		in.Tags = cloudwatchTags(tags)
		_, err := api.PutMetricAlarm(ctx, in)
		return err
	}
	t.Create = func(ctx context.Context, r *Request) error {
		name := r.Name("AlarmName", 255)
		if err := put(ctx, r, name, r.tagList()); err != nil {
			return err
		}
		r.Set("Arn", alarmARN(r, name))
		return r.Created(name)
	}
	t.Update = func(ctx context.Context, r *Request) error {
		if err := put(ctx, r, r.PhysicalID, nil); err != nil {
			return err
		}
		return retagAlarm(ctx, api, r)
	}
	t.Delete = deleteAlarm(api)
	return t
}

func compositeAlarmType(api CloudWatch) *Type {
	t := &Type{
		Name:       "AWS::CloudWatch::CompositeAlarm",
		Attributes: []string{"Arn"},
		Replaces:   []string{"AlarmName"},
		properties: like[cloudwatch.PutCompositeAlarmInput]("AlarmRule").and("Tags"),
	}
	put := func(ctx context.Context, r *Request, name string, tags []tag) error {
		in := input[cloudwatch.PutCompositeAlarmInput](t.properties, r.Props)
		in.AlarmName = aws.String(name)
		in.Tags = cloudwatchTags(tags)
		_, err := api.PutCompositeAlarm(ctx, in)
		return err
	}
	t.Create = func(ctx context.Context, r *Request) error {
		name := r.Name("AlarmName", 255)
		if err := put(ctx, r, name, r.tagList()); err != nil {
			return err
		}
		r.Set("Arn", alarmARN(r, name))
		return r.Created(name)
	}
	t.Update = func(ctx context.Context, r *Request) error {
		if err := put(ctx, r, r.PhysicalID, nil); err != nil {
			return err
		}
		return retagAlarm(ctx, api, r)
	}
	t.Delete = deleteAlarm(api)
	return t
}

func dashboardType(api CloudWatch) *Type {
	t := &Type{
		Name:       "AWS::CloudWatch::Dashboard",
		Replaces:   []string{"DashboardName"},
		properties: like[cloudwatch.PutDashboardInput]("DashboardBody").without("Tags"),
	}
	put := func(ctx context.Context, r *Request, name string) error {
		in := input[cloudwatch.PutDashboardInput](t.properties, r.Props)
		in.DashboardName = aws.String(name)
		_, err := api.PutDashboard(ctx, in)
		return err
	}
	t.Create = func(ctx context.Context, r *Request) error {
		name := r.Name("DashboardName", 255)
		if err := put(ctx, r, name); err != nil {
			return err
		}
		return r.Created(name)
	}
	t.Update = func(ctx context.Context, r *Request) error { return put(ctx, r, r.PhysicalID) }
	t.Delete = func(ctx context.Context, r *Request) error {
		_, err := api.DeleteDashboards(ctx, &cloudwatch.DeleteDashboardsInput{DashboardNames: []string{r.PhysicalID}})
		return gone(err)
	}
	return t
}
