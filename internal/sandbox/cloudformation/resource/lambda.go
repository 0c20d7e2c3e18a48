package resource

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"pcluster/internal/sandbox/cloudformation/template"
)

// Lambda is the part of AWS Lambda that stacks use.
type Lambda interface {
	CreateFunction(context.Context, *lambda.CreateFunctionInput) (*lambda.CreateFunctionOutput, error)
	GetFunction(context.Context, *lambda.GetFunctionInput) (*lambda.GetFunctionOutput, error)
	UpdateFunctionCode(context.Context, *lambda.UpdateFunctionCodeInput) (*lambda.UpdateFunctionCodeOutput, error)
	UpdateFunctionConfiguration(context.Context, *lambda.UpdateFunctionConfigurationInput) (*lambda.UpdateFunctionConfigurationOutput, error)
	DeleteFunction(context.Context, *lambda.DeleteFunctionInput) (*lambda.DeleteFunctionOutput, error)
	TagResource(context.Context, *lambda.TagResourceInput) (*lambda.TagResourceOutput, error)
	UntagResource(context.Context, *lambda.UntagResourceInput) (*lambda.UntagResourceOutput, error)
	AddPermission(context.Context, *lambda.AddPermissionInput) (*lambda.AddPermissionOutput, error)
	RemovePermission(context.Context, *lambda.RemovePermissionInput) (*lambda.RemovePermissionOutput, error)
	Invoke(context.Context, *lambda.InvokeInput) (*lambda.InvokeOutput, error)
}

func lambdaTypes(api Lambda) []*Type { return []*Type{functionType(api), permissionType(api)} }

// functionCode returns the code of a function. Inline code is source text, which
// becomes a file named index in a zip.
func functionCode(r *Request) (*types.FunctionCode, error) {
	code, _ := r.Props["Code"].(map[string]any)
	text, inline := template.Text(code["ZipFile"])
	if !inline {
		out, err := decodeInto[types.FunctionCode](r.Props["Code"])
		return &out, err
	}
	name := "index.js"
	if strings.HasPrefix(r.String("Runtime"), "python") {
		name = "index.py"
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.Create(name)
	if err == nil {
		_, err = w.Write([]byte(text))
	}
	if err == nil {
		err = z.Close()
	}
	return &types.FunctionCode{ZipFile: b.Bytes()}, err
}

func functionType(api Lambda) *Type {
	t := &Type{
		Name:       "AWS::Lambda::Function",
		Attributes: []string{"Arn"},
		Replaces:   []string{"FunctionName", "PackageType"},
		properties: like[lambda.CreateFunctionInput]("Code", "Role").and("Code", "Tags").refuses("ReservedConcurrentExecutions", "RuntimeManagementConfig", "RecursiveLoop", "ImageConfig", "SnapStart", "TenancyConfig").
			without("Publish", "PublishTo", "CapacityProviderConfig", "DurableConfig"),
	}
	active := func(ctx context.Context, r *Request) error {
		return r.Wait(func() (bool, error) {
			out, err := api.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: aws.String(r.PhysicalID)})
			if err != nil {
				return false, err
			}
			c := out.Configuration
			r.Set("Arn", aws.ToString(c.FunctionArn))
			if c.State == types.StateFailed {
				return false, fmt.Errorf("function %s is in state Failed: %s", r.PhysicalID, aws.ToString(c.StateReason))
			}
			return c.State != types.StatePending && c.LastUpdateStatus != types.LastUpdateStatusInProgress, nil
		})
	}
	t.Create = func(ctx context.Context, r *Request) error {
		in := input[lambda.CreateFunctionInput](t.properties, r.Props)
		in.FunctionName = aws.String(r.Name("FunctionName", 64))
		in.Tags = r.tagMap()
		var err error
		if in.Code, err = functionCode(r); err != nil {
			return err
		}
		if _, err := api.CreateFunction(ctx, in); err != nil && !(r.Resumed && alreadyExists(err)) {
			return err
		}
		if err := r.Created(*in.FunctionName); err != nil {
			return err
		}
		return active(ctx, r)
	}
	t.Update = func(ctx context.Context, r *Request) error {
		name := aws.String(r.PhysicalID)
		if r.Changed("Code", "Architectures") {
			want := input[lambda.CreateFunctionInput](t.properties, r.Props)
			code, err := functionCode(r)
			if err != nil {
				return err
			}
			if _, err := api.UpdateFunctionCode(ctx, &lambda.UpdateFunctionCodeInput{
				FunctionName: name, Architectures: want.Architectures, ZipFile: code.ZipFile,
				S3Bucket: code.S3Bucket, S3Key: code.S3Key, S3ObjectVersion: code.S3ObjectVersion, ImageUri: code.ImageUri,
			}); err != nil {
				return err
			}
			if err := active(ctx, r); err != nil {
				return err
			}
		}
		if r.Changed("Description", "Environment", "Handler", "MemorySize", "Role", "Runtime", "Timeout", "VpcConfig", "Layers", "EphemeralStorage", "LoggingConfig", "TracingConfig", "DeadLetterConfig", "KmsKeyArn") {
			want := input[lambda.CreateFunctionInput](t.properties, r.Props)
			if want.Environment == nil {
				want.Environment = &types.Environment{}
			}
			if _, err := api.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{
				FunctionName: name, Description: want.Description, Environment: want.Environment, Handler: want.Handler, MemorySize: want.MemorySize,
				Role: want.Role, Runtime: want.Runtime, Timeout: want.Timeout, VpcConfig: want.VpcConfig, Layers: want.Layers,
				EphemeralStorage: want.EphemeralStorage, LoggingConfig: want.LoggingConfig, TracingConfig: want.TracingConfig,
				DeadLetterConfig: want.DeadLetterConfig, KMSKeyArn: want.KMSKeyArn,
			}); err != nil {
				return err
			}
			if err := active(ctx, r); err != nil {
				return err
			}
		}
		arn, _ := r.Attributes["Arn"].(string)
		set, remove := r.tagChanges()
		if len(remove) > 0 {
			if _, err := api.UntagResource(ctx, &lambda.UntagResourceInput{Resource: aws.String(arn), TagKeys: remove}); err != nil {
				return err
			}
		}
		if len(set) > 0 {
			tags := map[string]string{}
			for _, t := range set {
				tags[t.Key] = t.Value
			}
			if _, err := api.TagResource(ctx, &lambda.TagResourceInput{Resource: aws.String(arn), Tags: tags}); err != nil {
				return err
			}
		}
		return nil
	}
	t.Delete = func(ctx context.Context, r *Request) error {
		_, err := api.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: aws.String(r.PhysicalID)})
		return gone(err)
	}
	return t
}

func permissionType(api Lambda) *Type {
	t := &Type{
		Name:       "AWS::Lambda::Permission",
		Attributes: []string{"Id"},
		Replaces:   []string{"*"},
		properties: like[lambda.AddPermissionInput]("Action", "FunctionName", "Principal").without("StatementId", "Qualifier", "RevisionId"),
	}
	t.Create = func(ctx context.Context, r *Request) error {
		in := input[lambda.AddPermissionInput](t.properties, r.Props)
		in.StatementId = aws.String(GeneratedName(r.StackName, r.LogicalID, r.Token, 100))
		if _, err := api.AddPermission(ctx, in); err != nil && !(r.Resumed && alreadyExists(err)) {
			return err
		}
		r.Set("Id", *in.StatementId)
		return r.Created(*in.StatementId)
	}
	t.Delete = func(ctx context.Context, r *Request) error {
		_, err := api.RemovePermission(ctx, &lambda.RemovePermissionInput{FunctionName: aws.String(r.String("FunctionName")), StatementId: aws.String(r.PhysicalID)})
		return gone(err)
	}
	return t
}
