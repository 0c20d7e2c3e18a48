package cloudformation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/sns"

	"pcluster/internal/sandbox/cloudformation/resource"
	"pcluster/internal/sandbox/cloudformation/template"
	"pcluster/internal/sandbox/wire"
)

const (
	customType = "AWS::CloudFormation::CustomResource"
	answerPath = "/_cfn/response/"
	// customTimeout is how long a custom resource may take to answer, unless its
	// property ServiceTimeout says otherwise.
	customTimeout = time.Hour
)

// isCustom reports whether resources of the type are made by a function of the
// user: Custom::Anything or [customType].
func isCustom(typ string) bool { return typ == customType || strings.HasPrefix(typ, "Custom::") }

// An answerRow is a request to a custom resource's function, and the answer once
// it came. Its key is the token in the response URL.
type answerRow struct {
	StackID, LogicalID, RequestID string
	Answer                        *answer `json:",omitempty"`
}

// An answer is what a function sends to the response URL.
type answer struct {
	Status             string
	Reason             string `json:",omitempty"`
	PhysicalResourceID string `json:"PhysicalResourceId,omitempty"`
	Data               object `json:",omitempty"`
}

// customRequest is the event that a function gets.
type customRequest struct {
	RequestType           string
	ServiceToken          string
	ResponseURL           string
	StackID               string `json:"StackId"`
	RequestID             string `json:"RequestId"`
	LogicalResourceID     string `json:"LogicalResourceId"`
	PhysicalResourceID    string `json:"PhysicalResourceId,omitempty"`
	ResourceType          string
	ResourceProperties    any
	OldResourceProperties any `json:",omitempty"`
}

func (s *Service) customResourceType(name string) *resource.Type {
	return resource.Own(resource.Type{
		Name:       name,
		Attributes: []string{"*"},
		Create: func(_ context.Context, r *resource.Request) error {
			// Until the function says otherwise, and for good if it never answers.
			provisional := resource.GeneratedName(r.StackName, r.LogicalID, r.Token, 255)
			if err := r.Created(provisional); err != nil {
				return err
			}
			a, err := s.askFunction(r, "Create")
			return s.settleCustom(r, a, err)
		},
		Update: func(_ context.Context, r *resource.Request) error {
			if r.Changed("ServiceToken") {
				return errors.New("Modifying service token is not allowed.")
			}
			a, err := s.askFunction(r, "Update")
			return s.settleCustom(r, a, err)
		},
		Delete: func(_ context.Context, r *resource.Request) error {
			_, err := s.askFunction(r, "Delete")
			return err
		},
	}, []string{"ServiceToken"}, "*")
}

// settleCustom takes over what the function answered.
func (s *Service) settleCustom(r *resource.Request, a *answer, err error) error {
	if a != nil && a.PhysicalResourceID != "" {
		r.PhysicalID = a.PhysicalResourceID
	}
	if err != nil {
		return err
	}
	r.Attributes = nil
	for k, v := range a.Data {
		r.Set(k, v)
	}
	return nil
}

// askFunction sends a request to a custom resource's function and waits for the
// answer. The answer is returned with the error if it says FAILED.
func (s *Service) askFunction(r *resource.Request, requestType string) (*answer, error) {
	service := r.String("ServiceToken")
	tell, err := s.teller(service)
	if err != nil {
		return nil, err
	}
	timeout := customTimeout
	if text := r.String("ServiceTimeout"); text != "" {
		seconds, err := strconv.Atoi(text)
		if err != nil || seconds < 1 || seconds > 3600 {
			return nil, errors.New("ServiceTimeout must be a number of seconds from 1 to 3600")
		}
		timeout = time.Duration(seconds) * time.Second
	}
	// A repeat after a restart has the same token, so that an answer to the first
	// request counts, whenever it comes.
	token := derived(r.Token, requestType)
	if _, err := s.answerTable.Insert(token, answerRow{StackID: r.StackID, LogicalID: r.LogicalID, RequestID: r.Token}); err != nil {
		return nil, err
	}
	defer func() { _ = s.answerTable.Delete(token) }() // too late an answer is refused
	event := customRequest{
		RequestType: requestType, ServiceToken: service, ResponseURL: s.cfg.Endpoint + answerPath + token,
		StackID: r.StackID, RequestID: r.Token, LogicalResourceID: r.LogicalID, ResourceType: r.Type,
		ResourceProperties: template.Strings(r.Props),
	}
	if requestType != "Create" {
		event.PhysicalResourceID = r.PhysicalID
	}
	if requestType == "Update" {
		event.OldResourceProperties = template.Strings(r.Before)
	}
	payload, err := json.Marshal(event)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	crashed := make(chan error, 1)
	go func() { crashed <- tell(ctx, payload) }()

	timer := time.NewTimer(r.Started.Add(timeout).Sub(s.now()))
	defer timer.Stop()
	for {
		changed := s.bell.next()
		row, _ := s.answerTable.Get(token)
		if a := row.Answer; a != nil {
			if a.Status != "SUCCESS" {
				return a, fmt.Errorf("Received response status [%s] from custom resource. Message returned: %s (RequestId: %s)", a.Status, a.Reason, r.Token)
			}
			return a, nil
		}
		select {
		case <-changed:
		case err := <-crashed:
			if err != nil {
				return nil, err
			}
			crashed = nil // it has returned; the answer may come from elsewhere
		case <-timer.C:
			return nil, fmt.Errorf("CloudFormation did not receive a response from your Custom Resource. Please check your logs for requestId [%s]. If you are using the Python cfn-response module, you may need to update your Lambda function code so that CloudFormation can attach the updated version.", r.Token)
		case <-r.Interrupt.Done():
			return nil, context.Cause(r.Interrupt)
		}
	}
}

// teller returns how to send requests to a service token.
func (s *Service) teller(service string) (func(ctx context.Context, payload []byte) error, error) {
	switch {
	case strings.HasPrefix(service, "arn:aws:lambda:") && s.cfg.Services.Lambda != nil:
		return func(ctx context.Context, payload []byte) error { return s.invoke(ctx, service, payload) }, nil
	case strings.HasPrefix(service, "arn:aws:sns:") && s.cfg.Services.SNS != nil:
		return func(ctx context.Context, payload []byte) error {
			_, err := s.cfg.Services.SNS.Publish(ctx, &sns.PublishInput{
				TopicArn: &service, Subject: aws.String("AWS CloudFormation custom resource request"), Message: aws.String(string(payload)),
			})
			return err
		}, nil
	}
	return nil, fmt.Errorf("ServiceToken %q is not the ARN of a Lambda function or a topic of SNS in this region", service)
}

// retries of a function that fails, as Lambda does for asynchronous invocations,
// but sooner.
var functionRetries = []time.Duration{time.Second, 2 * time.Second}

// invoke runs the function until it returns without an error, or ctx has ended.
func (s *Service) invoke(ctx context.Context, function string, payload []byte) error {
	for attempt := 0; ; attempt++ {
		// The function may have more to do after its answer, so it is not cancelled.
		out, err := s.cfg.Services.Lambda.Invoke(context.WithoutCancel(ctx), &lambda.InvokeInput{FunctionName: aws.String(function), Payload: payload})
		switch {
		case err != nil:
			return fmt.Errorf("invoke function %s: %w", function, err)
		case out.FunctionError == nil:
			return nil
		case attempt == len(functionRetries):
			return fmt.Errorf("Function %s failed without a response: %s", function, failureText(out.Payload))
		}
		select {
		case <-time.After(functionRetries[attempt]):
		case <-ctx.Done():
			return nil
		}
	}
}

// failureText returns the message in the payload of a failed invocation.
func failureText(payload []byte) string {
	var m struct {
		ErrorMessage string `json:"errorMessage"`
		ErrorType    string `json:"errorType"`
	}
	if json.Unmarshal(payload, &m) == nil && m.ErrorMessage != "" {
		return m.ErrorMessage
	}
	return string(payload)
}

func (s *Service) takeAnswer(token string, body []byte) error {
	if _, ok := s.answerTable.Get(token); !ok {
		return &wire.Error{Code: "AccessDenied", Message: "Request has expired", Status: http.StatusForbidden}
	}
	var a answer
	if len(body) > maxSignal {
		a = answer{Status: "FAILED", Reason: "Response object is too long."}
	} else if err := json.Unmarshal(body, &a); err != nil {
		a = answer{Status: "FAILED", Reason: "Invalid JSON in response object"}
	} else if a.Status != "SUCCESS" && a.Status != "FAILED" {
		a = answer{Status: "FAILED", Reason: "Invalid response object: Value of Status must be SUCCESS or FAILED"}
	}
	_, err := s.answerTable.Update(token, func(row *answerRow) error {
		if row.Answer == nil {
			row.Answer = &a
		}
		return nil
	})
	s.bell.ring()
	return err
}
