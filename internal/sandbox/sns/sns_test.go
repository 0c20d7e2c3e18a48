package sns

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	sdk "github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/smithy-go"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/wire"
)

// functions remembers what it was told.
type functions struct{ events []*lambda.InvokeInput }

func (f *functions) Invoke(_ context.Context, in *lambda.InvokeInput) (*lambda.InvokeOutput, error) {
	f.events = append(f.events, in)
	return &lambda.InvokeOutput{}, nil
}

func code(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	return ""
}

func TestTopicTellsItsFunctions(t *testing.T) {
	ctx, f := t.Context(), &functions{}
	s, err := New(store.Memory(), region.NewIdentity("", ""), f)
	if err != nil {
		t.Fatal(err)
	}
	made, err := s.CreateTopic(ctx, &sdk.CreateTopicInput{Name: aws.String("news")})
	if err != nil {
		t.Fatal(err)
	}
	if again, err := s.CreateTopic(ctx, &sdk.CreateTopicInput{Name: aws.String("news")}); err != nil || *again.TopicArn != *made.TopicArn {
		t.Errorf("the same topic again: %v, %v", again, err)
	}
	endpoint := "arn:aws:lambda:us-east-1:111122223333:function:f"
	sub := &sdk.SubscribeInput{TopicArn: made.TopicArn, Protocol: aws.String("lambda"), Endpoint: &endpoint}
	first, err := s.Subscribe(ctx, sub)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := s.Subscribe(ctx, sub); err != nil || *again.SubscriptionArn != *first.SubscriptionArn {
		t.Errorf("the same subscription again: %v, %v", again, err)
	}
	if _, err := s.Publish(ctx, &sdk.PublishInput{TopicArn: made.TopicArn, Message: aws.String("hello")}); err != nil {
		t.Fatal(err)
	}
	if len(f.events) != 1 || *f.events[0].FunctionName != endpoint {
		t.Fatalf("events %v", f.events)
	}
	var event struct {
		Records []struct {
			Sns struct{ Message, TopicArn string }
		}
	}
	if err := json.Unmarshal(f.events[0].Payload, &event); err != nil || event.Records[0].Sns.Message != "hello" || event.Records[0].Sns.TopicArn != *made.TopicArn {
		t.Errorf("event %s", f.events[0].Payload)
	}
	if _, err := s.DeleteTopic(ctx, &sdk.DeleteTopicInput{TopicArn: made.TopicArn}); err != nil {
		t.Fatal(err)
	}
	if left, err := s.ListSubscriptions(ctx, nil); err != nil || len(left.Subscriptions) != 0 {
		t.Errorf("subscriptions of the deleted topic: %v, %v", left, err)
	}
}

func TestRefusals(t *testing.T) {
	ctx := t.Context()
	s, err := New(store.Memory(), region.NewIdentity("", ""), &functions{})
	if err != nil {
		t.Fatal(err)
	}
	made, err := s.CreateTopic(ctx, &sdk.CreateTopicInput{Name: aws.String("news")})
	if err != nil {
		t.Fatal(err)
	}
	_, name := s.CreateTopic(ctx, &sdk.CreateTopicInput{Name: aws.String("a b")})
	_, mail := s.Subscribe(ctx, &sdk.SubscribeInput{TopicArn: made.TopicArn, Protocol: aws.String("email"), Endpoint: aws.String("a@b")})
	_, none := s.Publish(ctx, &sdk.PublishInput{TopicArn: aws.String(*made.TopicArn + "x"), Message: aws.String("m")})
	for want, err := range map[string][]error{"InvalidParameter": {name, mail}, "NotFound": {none}} {
		for _, e := range err {
			if code(e) != want {
				t.Errorf("%v, want %s", e, want)
			}
		}
	}
}

func TestAPI(t *testing.T) {
	api, err := wire.NewService("sns")
	if err != nil {
		t.Fatal(err)
	}
	new(Service).Register(api)
	if err := api.Compile(); err != nil {
		t.Error(err)
	}
}
