// Package sns is Simple Notification Service of the region, as far as topics tell
// Lambda functions: a message becomes an event of the function, which Lambda keeps
// until the function took it. Other protocols lead out of the region and are
// refused.
package sns

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
	sdk "github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/google/uuid"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/wire"
)

// Lambda takes events for functions; package lambda has it.
type Lambda interface {
	Invoke(context.Context, *lambda.InvokeInput) (*lambda.InvokeOutput, error)
}

// A Service is SNS of a region. It is safe for concurrent use.
type Service struct {
	id     *region.Identity
	lambda Lambda
	now    func() time.Time

	mu            sync.Mutex // held over changes
	topics        *store.Table[topic]
	subscriptions *store.Table[subscription]
}

// topic is a row; its key is its ARN.
type topic struct {
	ARN        string
	Attributes map[string]string
	Tags       map[string]string
}

// subscription is a row; its key is its ARN.
type subscription struct {
	ARN, Topic, Protocol, Endpoint string
	Attributes                     map[string]string
}

// New opens the region's topics.
func New(db *store.DB, id *region.Identity, functions Lambda) (*Service, error) {
	s := &Service{id: id, lambda: functions, now: time.Now}
	return s, errors.Join(
		store.OpenTable(db, "sns.topics", &s.topics),
		store.OpenTable(db, "sns.subscriptions", &s.subscriptions),
	)
}

// Register attaches the operations to the API.
func (s *Service) Register(m *wire.Service) {
	wire.Handle(m, "CreateTopic", s.CreateTopic)
	wire.Handle(m, "DeleteTopic", s.DeleteTopic)
	wire.Handle(m, "ListTopics", s.ListTopics)
	wire.Handle(m, "GetTopicAttributes", s.GetTopicAttributes)
	wire.Handle(m, "SetTopicAttributes", s.SetTopicAttributes)
	wire.Handle(m, "Subscribe", s.Subscribe)
	wire.Handle(m, "Unsubscribe", s.Unsubscribe)
	wire.Handle(m, "GetSubscriptionAttributes", s.GetSubscriptionAttributes)
	wire.Handle(m, "ListSubscriptions", s.ListSubscriptions)
	wire.Handle(m, "ListSubscriptionsByTopic", s.ListSubscriptionsByTopic)
	wire.Handle(m, "Publish", s.Publish)
	wire.Handle(m, "TagResource", s.TagResource)
	wire.Handle(m, "UntagResource", s.UntagResource)
	wire.Handle(m, "ListTagsForResource", s.ListTagsForResource)
}

func invalid(format string, args ...any) error {
	return wire.Errorf("InvalidParameter", "Invalid parameter: "+format, args...)
}

func notFound(what string) error {
	return &wire.Error{Code: "NotFound", Message: what + " does not exist", Status: http.StatusNotFound}
}

var topicName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,256}$`)

func (s *Service) topic(arn *string) (topic, error) {
	t, ok := s.topics.Get(aws.ToString(arn))
	if !ok {
		return t, notFound("Topic")
	}
	return t, nil
}

// CreateTopic makes a topic, or finds the one of that name.
func (s *Service) CreateTopic(_ context.Context, in *sdk.CreateTopicInput) (*sdk.CreateTopicOutput, error) {
	if !topicName.MatchString(aws.ToString(in.Name)) {
		return nil, invalid("Topic Name")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	arn := s.id.ARN("sns", *in.Name)
	if _, ok := s.topics.Get(arn); !ok {
		t := topic{ARN: arn, Attributes: maps.Clone(in.Attributes), Tags: map[string]string{}}
		for _, tag := range in.Tags {
			t.Tags[*tag.Key] = *tag.Value
		}
		if err := s.topics.Put(arn, t); err != nil {
			return nil, err
		}
	}
	return &sdk.CreateTopicOutput{TopicArn: &arn}, nil
}

// DeleteTopic deletes a topic with its subscriptions. One that is gone is no error.
func (s *Service) DeleteTopic(_ context.Context, in *sdk.DeleteTopicInput) (*sdk.DeleteTopicOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sub := range s.subscriptions.All() {
		if sub.Topic == aws.ToString(in.TopicArn) {
			if err := s.subscriptions.Delete(sub.ARN); err != nil {
				return nil, err
			}
		}
	}
	return &sdk.DeleteTopicOutput{}, s.topics.Delete(aws.ToString(in.TopicArn))
}

// ListTopics lists topics.
func (s *Service) ListTopics(context.Context, *sdk.ListTopicsInput) (*sdk.ListTopicsOutput, error) {
	out := &sdk.ListTopicsOutput{}
	for _, arn := range s.topics.Keys() {
		out.Topics = append(out.Topics, types.Topic{TopicArn: aws.String(arn)})
	}
	return out, nil
}

// GetTopicAttributes tells about a topic.
func (s *Service) GetTopicAttributes(_ context.Context, in *sdk.GetTopicAttributesInput) (*sdk.GetTopicAttributesOutput, error) {
	t, err := s.topic(in.TopicArn)
	if err != nil {
		return nil, err
	}
	n := 0
	for _, sub := range s.subscriptions.All() {
		if sub.Topic == t.ARN {
			n++
		}
	}
	attributes := map[string]string{
		"Policy": ownersPolicy(t.ARN, s.id.Account()), "TopicArn": t.ARN, "Owner": s.id.Account(), "DisplayName": "", "SubscriptionsConfirmed": fmt.Sprint(n), "SubscriptionsPending": "0", "SubscriptionsDeleted": "0",
	}
	maps.Copy(attributes, t.Attributes)
	return &sdk.GetTopicAttributesOutput{Attributes: attributes}, nil
}

// ownersPolicy is the policy of a topic that was given none: its account may use it.
func ownersPolicy(arn, account string) string {
	return `{"Version":"2008-10-17","Id":"__default_policy_ID","Statement":[{"Sid":"__default_statement_ID","Effect":"Allow","Principal":{"AWS":"*"},` +
		`"Action":["SNS:GetTopicAttributes","SNS:SetTopicAttributes","SNS:AddPermission","SNS:RemovePermission","SNS:DeleteTopic","SNS:Subscribe","SNS:ListSubscriptionsByTopic","SNS:Publish"],` +
		`"Resource":"` + arn + `","Condition":{"StringEquals":{"AWS:SourceOwner":"` + account + `"}}}]}`
}

// SetTopicAttributes changes an attribute of a topic.
func (s *Service) SetTopicAttributes(_ context.Context, in *sdk.SetTopicAttributesInput) (*sdk.SetTopicAttributesOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.topic(in.TopicArn); err != nil {
		return nil, err
	}
	_, err := s.topics.Update(*in.TopicArn, func(t *topic) error {
		attributes := map[string]string{}
		maps.Copy(attributes, t.Attributes)
		attributes[aws.ToString(in.AttributeName)] = aws.ToString(in.AttributeValue)
		t.Attributes = attributes
		return nil
	})
	return &sdk.SetTopicAttributesOutput{}, err
}

// Subscribe makes a topic tell a function. Doing it again changes nothing.
func (s *Service) Subscribe(_ context.Context, in *sdk.SubscribeInput) (*sdk.SubscribeOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.topic(in.TopicArn)
	if err != nil {
		return nil, err
	}
	protocol, endpoint := aws.ToString(in.Protocol), aws.ToString(in.Endpoint)
	if protocol != "lambda" {
		return nil, invalid("Protocol %s leads out of this sandbox: there is lambda alone", protocol)
	}
	if !strings.HasPrefix(endpoint, "arn:") || !strings.Contains(endpoint, ":lambda:") {
		return nil, invalid("Lambda endpoint ARN")
	}
	for _, sub := range s.subscriptions.All() {
		if sub.Topic == t.ARN && sub.Endpoint == endpoint {
			return &sdk.SubscribeOutput{SubscriptionArn: aws.String(sub.ARN)}, nil
		}
	}
	sub := subscription{ARN: t.ARN + ":" + uuid.NewString(), Topic: t.ARN, Protocol: protocol, Endpoint: endpoint, Attributes: in.Attributes}
	return &sdk.SubscribeOutput{SubscriptionArn: &sub.ARN}, s.subscriptions.Put(sub.ARN, sub)
}

// Unsubscribe ends a subscription. One that is gone is no error.
func (s *Service) Unsubscribe(_ context.Context, in *sdk.UnsubscribeInput) (*sdk.UnsubscribeOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &sdk.UnsubscribeOutput{}, s.subscriptions.Delete(aws.ToString(in.SubscriptionArn))
}

// GetSubscriptionAttributes tells about a subscription.
func (s *Service) GetSubscriptionAttributes(_ context.Context, in *sdk.GetSubscriptionAttributesInput) (*sdk.GetSubscriptionAttributesOutput, error) {
	sub, ok := s.subscriptions.Get(aws.ToString(in.SubscriptionArn))
	if !ok {
		return nil, notFound("Subscription")
	}
	attributes := map[string]string{"SubscriptionArn": sub.ARN, "TopicArn": sub.Topic, "Protocol": sub.Protocol, "Endpoint": sub.Endpoint, "Owner": s.id.Account(), "PendingConfirmation": "false"}
	maps.Copy(attributes, sub.Attributes)
	return &sdk.GetSubscriptionAttributesOutput{Attributes: attributes}, nil
}

func (s *Service) list(of string) (out []types.Subscription) {
	for _, sub := range s.subscriptions.All() {
		if of == "" || sub.Topic == of {
			out = append(out, types.Subscription{SubscriptionArn: &sub.ARN, TopicArn: &sub.Topic, Protocol: &sub.Protocol, Endpoint: &sub.Endpoint, Owner: aws.String(s.id.Account())})
		}
	}
	return out
}

// ListSubscriptions lists all subscriptions.
func (s *Service) ListSubscriptions(context.Context, *sdk.ListSubscriptionsInput) (*sdk.ListSubscriptionsOutput, error) {
	return &sdk.ListSubscriptionsOutput{Subscriptions: s.list("")}, nil
}

// ListSubscriptionsByTopic lists the subscriptions of a topic.
func (s *Service) ListSubscriptionsByTopic(_ context.Context, in *sdk.ListSubscriptionsByTopicInput) (*sdk.ListSubscriptionsByTopicOutput, error) {
	t, err := s.topic(in.TopicArn)
	if err != nil {
		return nil, err
	}
	return &sdk.ListSubscriptionsByTopicOutput{Subscriptions: s.list(t.ARN)}, nil
}

// Publish tells the functions of a topic. They are told when it returns, even if the
// daemon dies then: Lambda has written their events down.
func (s *Service) Publish(ctx context.Context, in *sdk.PublishInput) (*sdk.PublishOutput, error) {
	arn := in.TopicArn
	if arn == nil {
		arn = in.TargetArn
	}
	t, err := s.topic(arn)
	if err != nil {
		return nil, err
	}
	if aws.ToString(in.Message) == "" {
		return nil, invalid("Empty message")
	}
	id := uuid.NewString()
	for _, sub := range s.subscriptions.All() {
		if sub.Topic != t.ARN {
			continue
		}
		attributes := map[string]any{}
		for _, name := range slices.Sorted(maps.Keys(in.MessageAttributes)) {
			a := in.MessageAttributes[name]
			attributes[name] = map[string]any{"Type": aws.ToString(a.DataType), "Value": aws.ToString(a.StringValue)}
		}
		payload, err := json.Marshal(map[string]any{"Records": []any{map[string]any{
			"EventSource": "aws:sns", "EventVersion": "1.0", "EventSubscriptionArn": sub.ARN,
			"Sns": map[string]any{
				"Type": "Notification", "MessageId": id, "TopicArn": t.ARN, "Subject": in.Subject, "Message": *in.Message,
				"Timestamp": s.now().UTC().Format("2006-01-02T15:04:05.000Z"), "MessageAttributes": attributes,
			},
		}}})
		if err != nil {
			return nil, err
		}
		if _, err := s.lambda.Invoke(ctx, &lambda.InvokeInput{FunctionName: aws.String(sub.Endpoint), InvocationType: lambdatypes.InvocationTypeEvent, Payload: payload}); err != nil {
			return nil, fmt.Errorf("tell %s: %w", sub.Endpoint, err)
		}
	}
	return &sdk.PublishOutput{MessageId: &id}, nil
}

// TagResource adds tags to a topic.
func (s *Service) TagResource(_ context.Context, in *sdk.TagResourceInput) (*sdk.TagResourceOutput, error) {
	return &sdk.TagResourceOutput{}, s.changeTags(in.ResourceArn, func(tags map[string]string) {
		for _, t := range in.Tags {
			tags[*t.Key] = *t.Value
		}
	})
}

// UntagResource removes tags from a topic.
func (s *Service) UntagResource(_ context.Context, in *sdk.UntagResourceInput) (*sdk.UntagResourceOutput, error) {
	return &sdk.UntagResourceOutput{}, s.changeTags(in.ResourceArn, func(tags map[string]string) {
		for _, k := range in.TagKeys {
			delete(tags, k)
		}
	})
}

func (s *Service) changeTags(arn *string, change func(map[string]string)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.topic(arn); err != nil {
		return &wire.Error{Code: "ResourceNotFound", Message: "Resource does not exist", Status: http.StatusNotFound}
	}
	_, err := s.topics.Update(*arn, func(t *topic) error {
		tags := map[string]string{}
		maps.Copy(tags, t.Tags)
		change(tags)
		t.Tags = tags
		return nil
	})
	return err
}

// ListTagsForResource lists the tags of a topic.
func (s *Service) ListTagsForResource(_ context.Context, in *sdk.ListTagsForResourceInput) (*sdk.ListTagsForResourceOutput, error) {
	t, err := s.topic(in.ResourceArn)
	if err != nil {
		return nil, err
	}
	out := &sdk.ListTagsForResourceOutput{}
	for _, k := range slices.Sorted(maps.Keys(t.Tags)) {
		out.Tags = append(out.Tags, types.Tag{Key: aws.String(k), Value: aws.String(t.Tags[k])})
	}
	return out, nil
}
