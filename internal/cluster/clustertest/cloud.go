// Package clustertest is a working model of the AWS services that package
// cluster calls, small enough to be new in each test. It keeps what it is given
// and refuses as AWS refuses; what time does to stacks, tests do with
// [Cloud.Event] and [Cloud.Next].
package clustertest

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing/fstest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	batchtypes "github.com/aws/aws-sdk-go-v2/service/batch/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"pcluster/internal/cluster"
	"pcluster/internal/facts"
)

// Account is whose cloud it is.
const Account = "111122223333"

// Noon is when everything in a cloud happens, unless the test says otherwise.
var Noon = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)

// A Cloud is one account in one region. Its methods are those of the services.
type Cloud struct {
	cluster.LoadBalancers // nil: a call that no test foresaw panics

	Region string
	Now    func() time.Time
	Facts  *facts.Memory
	// Refuse makes calls of an operation fail, by its name.
	Refuse map[string]error
	// AMIs are those that AWS publishes.
	AMIs []ec2types.Image
	// Next are called one by one, each before stack events are read: how a test
	// lets time pass.
	Next []func()

	mu          sync.Mutex
	calls       []string
	stacks      []*stack
	environment *batchtypes.ComputeEnvironmentDetail
	events      int // so far, for their IDs
	buckets     map[string]*bucket
	items       map[string]item // by table
	rung        []string        // doorbells of fleets
	instances   []*instance
	groups      map[string]*logGroup
	tasks       []*exportTask
}

// New returns an empty cloud at noon.
func New() *Cloud {
	return &Cloud{
		Region: "us-east-1", Now: func() time.Time { return Noon }, Facts: &facts.Memory{},
		Refuse: map[string]error{}, buckets: map[string]*bucket{}, items: map[string]item{}, groups: map[string]*logGroup{},
	}
}

// Operator returns an operator on the cloud's clusters.
func (c *Cloud) Operator(log *slog.Logger) *cluster.Operator {
	random := 0
	return &cluster.Operator{
		Region:         c.Region,
		CloudFormation: c, EC2: c, S3: c, Presign: c, DynamoDB: c, Batch: c, Route53: c, Logs: c, LoadBalancers: c, STS: c,
		Facts:    c.Facts,
		Programs: cluster.Programs{FS: fstest.MapFS{"pcluster-node-linux-amd64": {Data: []byte("the program")}, "pcluster-node-linux-arm64": {Data: []byte("the other")}}},
		Log:      log,
		Now:      c.Now,
		Random: func(n int) string {
			random++
			return fmt.Sprintf("%0*d", n, random)
		},
		Poll: time.Millisecond,
	}
}

// Calls returns the operations that were called, in order.
func (c *Cloud) Calls() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.calls)
}

// begin notes a call, and refuses it if the test wants that.
func (c *Cloud) begin(operation string) (unlock func(), err error) {
	c.mu.Lock()
	c.calls = append(c.calls, operation)
	if err := c.Refuse[operation]; err != nil {
		c.mu.Unlock()
		return func() {}, err
	}
	return c.mu.Unlock, nil
}

// Fault returns an error of AWS with a code.
func Fault(code, format string, args ...any) error {
	return &smithy.GenericAPIError{Code: code, Message: fmt.Sprintf(format, args...)}
}

func (c *Cloud) GetCallerIdentity(context.Context, *sts.GetCallerIdentityInput, ...func(*sts.Options)) (*sts.GetCallerIdentityOutput, error) {
	unlock, err := c.begin("GetCallerIdentity")
	defer unlock()
	if err != nil {
		return nil, err
	}
	return &sts.GetCallerIdentityOutput{Account: aws.String(Account), Arn: aws.String("arn:aws:iam::" + Account + ":user/somebody")}, nil
}

// CloudFormation.

type stack struct {
	cfntypes.Stack
	events []cfntypes.StackEvent // oldest first
}

func (c *Cloud) stack(name string) *stack {
	for _, s := range slices.Backward(c.stacks) {
		if aws.ToString(s.StackId) == name || aws.ToString(s.StackName) == name && s.StackStatus != "DELETE_COMPLETE" {
			return s
		}
	}
	return nil
}

// Parameter returns a parameter of a stack.
func (c *Cloud) Parameter(stack, key string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.stack(stack).Parameters {
		if aws.ToString(p.ParameterKey) == key {
			return aws.ToString(p.ParameterValue)
		}
	}
	return ""
}

// SetParameter sets a parameter of a stack.
func (c *Cloud) SetParameter(stack, key, value string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stack(stack)
	s.Parameters = slices.DeleteFunc(s.Parameters, func(p cfntypes.Parameter) bool { return aws.ToString(p.ParameterKey) == key })
	s.Parameters = append(s.Parameters, cfntypes.Parameter{ParameterKey: &key, ParameterValue: &value})
}

// Nest adds a stack that belongs to another.
func (c *Cloud) Nest(name, id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stacks = append(c.stacks, &stack{Stack: cfntypes.Stack{StackName: &name, StackId: &id, StackStatus: "CREATE_IN_PROGRESS", ParentId: aws.String("parent")}})
}

// Event lets something happen to a resource of a stack or, with the stack's own
// name, to the stack.
func (c *Cloud) Event(stack, logicalID, physicalID, resourceType, status, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.event(c.stack(stack), logicalID, physicalID, resourceType, status, reason)
}

// StackEvent lets something happen to a stack as a whole.
func (c *Cloud) StackEvent(stack, status, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stack(stack)
	s.StackStatus = cfntypes.StackStatus(status)
	c.event(s, stack, aws.ToString(s.StackId), "AWS::CloudFormation::Stack", status, reason)
}

func (c *Cloud) event(s *stack, logicalID, physicalID, resourceType, status, reason string) {
	c.events++
	e := cfntypes.StackEvent{
		EventId: aws.String(fmt.Sprintf("event-%04d", c.events)), StackId: s.StackId, StackName: s.StackName,
		LogicalResourceId: &logicalID, PhysicalResourceId: &physicalID, ResourceType: &resourceType,
		ResourceStatus: cfntypes.ResourceStatus(status), Timestamp: aws.Time(c.Now()),
	}
	if reason != "" {
		e.ResourceStatusReason = &reason
	}
	s.events = append(s.events, e)
}

// Tag sets a tag of a stack.
func (c *Cloud) Tag(stack, key, value string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stack(stack)
	s.Tags = slices.DeleteFunc(s.Tags, func(t cfntypes.Tag) bool { return aws.ToString(t.Key) == key })
	s.Tags = append(s.Tags, cfntypes.Tag{Key: &key, Value: &value})
}

func (c *Cloud) CreateStack(_ context.Context, in *cloudformation.CreateStackInput, _ ...func(*cloudformation.Options)) (*cloudformation.CreateStackOutput, error) {
	unlock, err := c.begin("CreateStack")
	defer unlock()
	if err != nil {
		return nil, err
	}
	if c.stack(*in.StackName) != nil {
		return nil, Fault("AlreadyExistsException", "Stack [%s] already exists", *in.StackName)
	}
	id := fmt.Sprintf("arn:aws:cloudformation:%s:%s:stack/%s/00000000-0000-4000-8000-%012d", c.Region, Account, *in.StackName, len(c.stacks)+1)
	s := &stack{Stack: cfntypes.Stack{
		StackName: in.StackName, StackId: &id, StackStatus: "CREATE_IN_PROGRESS", CreationTime: aws.Time(c.Now()),
		Parameters: append(c.defaults(*in.TemplateURL), in.Parameters...), Tags: in.Tags, DisableRollback: in.DisableRollback, Capabilities: in.Capabilities,
	}}
	c.stacks = append(c.stacks, s)
	c.event(s, *in.StackName, id, "AWS::CloudFormation::Stack", "CREATE_IN_PROGRESS", "User Initiated")
	return &cloudformation.CreateStackOutput{StackId: &id}, nil
}

// defaults returns the parameters of a template with their default values, as
// CloudFormation tells them of a stack.
func (c *Cloud) defaults(templateURL string) []cfntypes.Parameter {
	var template struct {
		Parameters map[string]struct{ Default string }
	}
	_, key, _ := strings.Cut(templateURL, ".amazonaws.com/")
	for _, b := range c.buckets {
		for _, o := range b.objects {
			if o.key == key {
				if err := json.Unmarshal(o.body, &template); err != nil {
					panic(fmt.Sprintf("template %s: %v", key, err))
				}
			}
		}
	}
	var out []cfntypes.Parameter
	for _, key := range slices.Sorted(maps.Keys(template.Parameters)) {
		out = append(out, cfntypes.Parameter{ParameterKey: &key, ParameterValue: aws.String(template.Parameters[key].Default)})
	}
	return out
}

func (c *Cloud) DeleteStack(_ context.Context, in *cloudformation.DeleteStackInput, _ ...func(*cloudformation.Options)) (*cloudformation.DeleteStackOutput, error) {
	unlock, err := c.begin("DeleteStack")
	defer unlock()
	if err != nil {
		return nil, err
	}
	if s := c.stack(*in.StackName); s != nil {
		s.StackStatus = "DELETE_IN_PROGRESS"
		c.event(s, *s.StackName, *s.StackId, "AWS::CloudFormation::Stack", "DELETE_IN_PROGRESS", "User Initiated")
	}
	return &cloudformation.DeleteStackOutput{}, nil
}

func (c *Cloud) DescribeStacks(_ context.Context, in *cloudformation.DescribeStacksInput, _ ...func(*cloudformation.Options)) (*cloudformation.DescribeStacksOutput, error) {
	unlock, err := c.begin("DescribeStacks")
	defer unlock()
	if err != nil {
		return nil, err
	}
	out := &cloudformation.DescribeStacksOutput{}
	if in.StackName != nil {
		s := c.stack(*in.StackName)
		if s == nil {
			return nil, Fault("ValidationError", "Stack with id %s does not exist", *in.StackName)
		}
		out.Stacks = append(out.Stacks, s.Stack)
		return out, nil
	}
	// Two to a page, newest first, so that tests meet pages.
	live := slices.DeleteFunc(slices.Clone(c.stacks), func(s *stack) bool { return s.StackStatus == "DELETE_COMPLETE" })
	slices.Reverse(live)
	from := 0
	if in.NextToken != nil {
		fmt.Sscanf(*in.NextToken, "page-%d", &from)
	}
	for _, s := range live[from:min(from+2, len(live))] {
		out.Stacks = append(out.Stacks, s.Stack)
	}
	if from+2 < len(live) {
		out.NextToken = aws.String(fmt.Sprintf("page-%d", from+2))
	}
	return out, nil
}

func (c *Cloud) DescribeStackEvents(_ context.Context, in *cloudformation.DescribeStackEventsInput, _ ...func(*cloudformation.Options)) (*cloudformation.DescribeStackEventsOutput, error) {
	c.mu.Lock()
	var next func()
	if in.NextToken == nil && len(c.Next) > 0 {
		next, c.Next = c.Next[0], c.Next[1:]
	}
	c.mu.Unlock()
	if next != nil {
		next()
	}
	unlock, err := c.begin("DescribeStackEvents")
	defer unlock()
	if err != nil {
		return nil, err
	}
	s := c.stack(*in.StackName)
	if s == nil {
		return nil, Fault("ValidationError", "Stack [%s] does not exist", *in.StackName)
	}
	newest := slices.Clone(s.events)
	slices.Reverse(newest)
	from := 0
	if in.NextToken != nil {
		fmt.Sscanf(*in.NextToken, "page-%d", &from)
	}
	out := &cloudformation.DescribeStackEventsOutput{StackEvents: newest[from:min(from+5, len(newest))]}
	if from+5 < len(newest) {
		out.NextToken = aws.String(fmt.Sprintf("page-%d", from+5))
	}
	return out, nil
}
