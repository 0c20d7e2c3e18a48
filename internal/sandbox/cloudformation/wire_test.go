package cloudformation

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/smithy-go"

	"pcluster/internal/awsclient"
	"pcluster/internal/sandbox/wire"
)

// client returns the SDK's client of the rig's service.
func (r *rig) client() *sdk.Client {
	r.t.Helper()
	api, err := wire.NewService("cloudformation")
	if err != nil {
		r.t.Fatal(err)
	}
	r.Register(api)
	if err := api.Compile(); err != nil {
		r.t.Fatal(err)
	}
	server := httptest.NewServer(api)
	r.t.Cleanup(server.Close)
	return sdk.NewFromConfig(aws.Config{
		Region: "us-east-1", BaseEndpoint: aws.String(server.URL), Credentials: credentials.NewStaticCredentialsProvider("AKIA", "secret", ""),
		Retryer: func() aws.Retryer { return aws.NopRetryer{} }, APIOptions: awsclient.Options,
	})
}

func TestThroughTheWire(t *testing.T) {
	r := newRig(t, Config{})
	c := r.client()
	ctx := t.Context()
	tpl := with(things(`Box : "Size": {"Ref": "Size"}, "DeletionPolicy": "Retain", "Metadata": {"a": ["b"]}`), "Parameters", `{"Size": {"Type": "Number", "Default": 3}}`)
	tpl = with(tpl, "Outputs", `{"Id": {"Value": {"Ref": "Box"}, "Export": {"Name": "box"}}}`)
	created, err := c.CreateStack(ctx, &sdk.CreateStackInput{
		StackName: aws.String("s"), TemplateBody: aws.String(tpl), Capabilities: []types.Capability{types.CapabilityCapabilityIam, types.CapabilityCapabilityNamedIam},
		Parameters: []types.Parameter{{ParameterKey: aws.String("Size"), ParameterValue: aws.String("4")}},
		Tags:       []types.Tag{{Key: aws.String("parallelcluster:version"), Value: aws.String("3.16.0")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	wait := sdk.NewStackCreateCompleteWaiter(c, func(o *sdk.StackCreateCompleteWaiterOptions) {
		o.MinDelay, o.MaxDelay = time.Millisecond, 10*time.Millisecond
	})
	out, err := wait.WaitForOutput(ctx, &sdk.DescribeStacksInput{StackName: aws.String("s")}, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	st := out.Stacks[0]
	if *st.StackId != *created.StackId || *st.Parameters[0].ParameterValue != "4" || *st.Tags[0].Value != "3.16.0" || *st.Outputs[0].ExportName != "box" ||
		len(st.Capabilities) != 2 || time.Since(*st.CreationTime) > time.Minute || *st.DisableRollback {
		t.Errorf("stack = %+v", st)
	}
	events, err := c.DescribeStackEvents(ctx, &sdk.DescribeStackEventsInput{StackName: aws.String("s")})
	if err != nil || len(events.StackEvents) != 5 || events.StackEvents[0].ResourceStatus != types.ResourceStatusCreateComplete {
		t.Errorf("events = %+v, %v", events, err)
	}
	res, err := c.DescribeStackResource(ctx, &sdk.DescribeStackResourceInput{StackName: aws.String("s"), LogicalResourceId: aws.String("Box")})
	if err != nil || *res.StackResourceDetail.Metadata != `{"a":["b"]}` {
		t.Errorf("resource = %+v, %v", res, err)
	}
	body, err := c.GetTemplate(ctx, &sdk.GetTemplateInput{StackName: aws.String("s")})
	if err != nil || *body.TemplateBody != tpl {
		t.Errorf("template = %+v, %v", body, err)
	}
	summary, err := c.GetTemplateSummary(ctx, &sdk.GetTemplateSummaryInput{StackName: aws.String("s")})
	if err != nil || len(summary.Parameters) != 1 || summary.ResourceTypes[0] != "Test::Cloud::Thing" {
		t.Errorf("summary = %+v, %v", summary, err)
	}

	for name, tt := range map[string]struct {
		call          func() error
		code, message string
	}{
		"taken name": {func() error {
			_, err := c.CreateStack(ctx, &sdk.CreateStackInput{StackName: aws.String("s"), TemplateBody: aws.String(tpl)})
			return err
		}, "AlreadyExistsException", "Stack [s] already exists"},
		"no such stack": {func() error {
			_, err := c.DescribeStacks(ctx, &sdk.DescribeStacksInput{StackName: aws.String("nope")})
			return err
		}, "ValidationError", "Stack with id nope does not exist"},
		"no updates": {func() error {
			_, err := c.UpdateStack(ctx, &sdk.UpdateStackInput{StackName: aws.String("s"), UsePreviousTemplate: aws.Bool(true), Parameters: []types.Parameter{{ParameterKey: aws.String("Size"), UsePreviousValue: aws.Bool(true)}}})
			return err
		}, "ValidationError", "No updates are to be performed."},
		"no such change set": {func() error {
			_, err := c.DescribeChangeSet(ctx, &sdk.DescribeChangeSetInput{StackName: aws.String("s"), ChangeSetName: aws.String("nope")})
			return err
		}, "ChangeSetNotFound", "ChangeSet [nope] does not exist"},
	} {
		var api smithy.APIError
		if err := tt.call(); !errors.As(err, &api) || api.ErrorCode() != tt.code || !strings.Contains(api.ErrorMessage(), tt.message) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var exists *types.AlreadyExistsException
	if _, err := c.CreateStack(ctx, &sdk.CreateStackInput{StackName: aws.String("s"), TemplateBody: aws.String(tpl)}); !errors.As(err, &exists) {
		t.Errorf("the SDK does not know the error: %v", err)
	}
}
