package live

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"pcluster/internal/facts"
)

// Role implements facts.Source.
func (s *Source) Role(ctx context.Context, name string) error {
	_, err := once(ctx, s, "role "+name, func() (bool, error) {
		_, err := s.iam.GetRole(ctx, &iam.GetRoleInput{RoleName: &name})
		return true, err
	})
	return err
}

// InstanceProfile implements facts.Source.
func (s *Source) InstanceProfile(ctx context.Context, name string) error {
	_, err := once(ctx, s, "profile "+name, func() (bool, error) {
		_, err := s.iam.GetInstanceProfile(ctx, &iam.GetInstanceProfileInput{InstanceProfileName: &name})
		return true, err
	})
	return err
}

// Policy implements facts.Source.
func (s *Source) Policy(ctx context.Context, arn string) error {
	_, err := once(ctx, s, "policy "+arn, func() (bool, error) {
		_, err := s.iam.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: &arn})
		return true, err
	})
	return err
}

// isParameter says whether an ARN is that of an SSM parameter rather than a secret.
func isParameter(arn string) bool {
	parts := strings.SplitN(arn, ":", 4)
	return len(parts) == 4 && parts[2] == "ssm"
}

// Secret implements facts.Source.
func (s *Source) Secret(ctx context.Context, arn string) error {
	_, err := once(ctx, s, "secret "+arn, func() (bool, error) {
		if isParameter(arn) {
			_, name, _ := strings.Cut(arn, ":parameter/")
			_, err := s.ssm.GetParameter(ctx, &ssm.GetParameterInput{Name: &name})
			return true, err
		}
		_, err := s.secrets.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &arn})
		return true, err
	})
	return err
}

// SecretText implements facts.Source.
func (s *Source) SecretText(ctx context.Context, arn string) (string, error) {
	return once(ctx, s, "secret text "+arn, func() (string, error) {
		answer, err := s.secrets.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &arn})
		if err != nil {
			return "", err
		}
		return aws.ToString(answer.SecretString), nil
	})
}

// Key implements facts.Source.
func (s *Source) Key(ctx context.Context, id string) error {
	_, err := once(ctx, s, "kms "+id, func() (bool, error) {
		_, err := s.kms.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &id})
		return true, err
	})
	return err
}

// HostedZone implements facts.Source.
func (s *Source) HostedZone(ctx context.Context, id string) (facts.HostedZone, error) {
	return once(ctx, s, "zone "+id, func() (facts.HostedZone, error) {
		answer, err := s.route53.GetHostedZone(ctx, &route53.GetHostedZoneInput{Id: &id})
		if err != nil {
			return facts.HostedZone{}, err
		}
		out := facts.HostedZone{ID: id, Name: strings.TrimSuffix(aws.ToString(answer.HostedZone.Name), ".")}
		if answer.HostedZone.Config != nil {
			out.Private = answer.HostedZone.Config.PrivateZone
		}
		for _, v := range answer.VPCs {
			out.VPCs = append(out.VPCs, aws.ToString(v.VPCId))
		}
		return out, nil
	})
}
