package resource

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"
)

// SNS is the part of Simple Notification Service that stacks use.
type SNS interface {
	CreateTopic(context.Context, *sns.CreateTopicInput) (*sns.CreateTopicOutput, error)
	DeleteTopic(context.Context, *sns.DeleteTopicInput) (*sns.DeleteTopicOutput, error)
	Subscribe(context.Context, *sns.SubscribeInput) (*sns.SubscribeOutput, error)
	Unsubscribe(context.Context, *sns.UnsubscribeInput) (*sns.UnsubscribeOutput, error)
	Publish(context.Context, *sns.PublishInput) (*sns.PublishOutput, error) // to functions of custom resources
}

func snsTypes(api SNS) []*Type {
	topic := &Type{Name: "AWS::SNS::Topic", Attributes: []string{"TopicArn", "TopicName"}, Replaces: []string{"*"}, properties: only("TopicName", "DisplayName", "KmsMasterKeyId", "Tags")}
	topic.Create = func(ctx context.Context, r *Request) error {
		in := &sns.CreateTopicInput{Name: aws.String(r.Name("TopicName", 256)), Attributes: map[string]string{}}
		for _, name := range []string{"DisplayName", "KmsMasterKeyId"} {
			if r.Has(name) {
				in.Attributes[name] = r.String(name)
			}
		}
		for _, t := range r.tagList() {
			in.Tags = append(in.Tags, types.Tag{Key: aws.String(t.Key), Value: aws.String(t.Value)})
		}
		out, err := api.CreateTopic(ctx, in)
		if err != nil {
			return err
		}
		r.Set("TopicArn", *out.TopicArn)
		r.Set("TopicName", *in.Name)
		return r.Created(*out.TopicArn)
	}
	topic.Delete = func(ctx context.Context, r *Request) error {
		_, err := api.DeleteTopic(ctx, &sns.DeleteTopicInput{TopicArn: &r.PhysicalID})
		return gone(err)
	}
	sub := &Type{Name: "AWS::SNS::Subscription", Attributes: []string{"Arn"}, Replaces: []string{"*"},
		properties: only("TopicArn", "Protocol", "Endpoint").requires("TopicArn", "Protocol")}
	sub.Create = func(ctx context.Context, r *Request) error {
		out, err := api.Subscribe(ctx, &sns.SubscribeInput{TopicArn: aws.String(r.String("TopicArn")), Protocol: aws.String(r.String("Protocol")),
			Endpoint: aws.String(r.String("Endpoint")), ReturnSubscriptionArn: true})
		if err != nil {
			return err
		}
		r.Set("Arn", *out.SubscriptionArn)
		return r.Created(*out.SubscriptionArn)
	}
	sub.Delete = func(ctx context.Context, r *Request) error {
		_, err := api.Unsubscribe(ctx, &sns.UnsubscribeInput{SubscriptionArn: &r.PhysicalID})
		return gone(err)
	}
	return []*Type{topic, sub}
}
