package node

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
)

// A vault has the cluster's passwords and keys.
type vault interface {
	secret(ctx context.Context, arn string) (string, error)
}

// managerAPI and parametersAPI are the parts of Secrets Manager and of Parameter Store
// that nodes need.
type (
	managerAPI interface {
		GetSecretValue(context.Context, *secretsmanager.GetSecretValueInput, ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error)
	}
	parametersAPI interface {
		GetParameter(context.Context, *ssm.GetParameterInput, ...func(*ssm.Options)) (*ssm.GetParameterOutput, error)
	}
)

// awsVault is AWS: secrets are in Secrets Manager or, as regions without that want it, in
// Parameter Store. The ARN says where.
type awsVault struct {
	manager    managerAPI
	parameters parametersAPI
}

func newVault(cfg aws.Config) *awsVault {
	return &awsVault{secretsmanager.NewFromConfig(cfg), ssm.NewFromConfig(cfg)}
}

func (v *awsVault) secret(ctx context.Context, arn string) (string, error) {
	if f := strings.SplitN(arn, ":", 6); len(f) == 6 && f[2] == "ssm" {
		name := strings.TrimPrefix(f[5], "parameter") // which leaves its slash
		out, err := v.parameters.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String(name), WithDecryption: aws.Bool(true)})
		if err != nil {
			return "", fmt.Errorf("parameter %s: %w", arn, err)
		}
		return aws.ToString(out.Parameter.Value), nil
	}
	out, err := v.manager.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String(arn)})
	if err != nil {
		return "", fmt.Errorf("secret %s: %w", arn, err)
	}
	if out.SecretString == nil {
		return string(out.SecretBinary), nil
	}
	return *out.SecretString, nil
}
