// Package sts is the region's security token service: it says who a caller is and
// gives temporary credentials, which package iam keeps.
package sts

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"

	"pcluster/internal/sandbox/iam"
	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/wire"
)

// Credentials is the part of IAM that hands out credentials; *iam.Service is one.
type Credentials interface {
	AssumeRole(roleARN, session string, life time.Duration) (iam.Credentials, error)
	UserSession(userARN string, life time.Duration) (iam.Credentials, error)
}

// A Service is STS of a region.
type Service struct {
	id  *region.Identity
	iam Credentials
}

// New returns STS with the credentials of iam. It has no state of its own.
func New(id *region.Identity, iam Credentials) *Service { return &Service{id, iam} }

// Register attaches the operations to STS's API.
func (s *Service) Register(m *wire.Service) {
	wire.Handle(m, "GetCallerIdentity", s.GetCallerIdentity)
	wire.Handle(m, "AssumeRole", s.AssumeRole)
	wire.Handle(m, "GetSessionToken", s.GetSessionToken)
	wire.Handle(m, "GetAccessKeyInfo", s.GetAccessKeyInfo)
}

// GetCallerIdentity says who signed the request.
func (s *Service) GetCallerIdentity(ctx context.Context, _ *sts.GetCallerIdentityInput) (*sts.GetCallerIdentityOutput, error) {
	c := wire.CallerFrom(ctx)
	return &sts.GetCallerIdentityOutput{Account: aws.String(c.AccountID), Arn: aws.String(c.ARN), UserId: aws.String(c.UserID)}, nil
}

// AssumeRole gives credentials of a role. Trust policies are not judged.
func (s *Service) AssumeRole(ctx context.Context, in *sts.AssumeRoleInput) (*sts.AssumeRoleOutput, error) {
	life := time.Duration(aws.ToInt32(in.DurationSeconds)) * time.Second
	c, err := s.iam.AssumeRole(aws.ToString(in.RoleArn), aws.ToString(in.RoleSessionName), life)
	var api smithy.APIError
	if errors.As(err, &api) && api.ErrorCode() == "NoSuchEntity" {
		return nil, &wire.Error{
			Code: "AccessDenied", Status: http.StatusForbidden,
			Message: "User: " + wire.CallerFrom(ctx).ARN + " is not authorized to perform: sts:AssumeRole on resource: " + aws.ToString(in.RoleArn),
		}
	}
	if err != nil {
		return nil, err
	}
	return &sts.AssumeRoleOutput{
		Credentials:     sdkCredentials(c),
		AssumedRoleUser: &types.AssumedRoleUser{Arn: aws.String(c.ARN), AssumedRoleId: aws.String(c.UserID)},
	}, nil
}

// GetSessionToken gives a user temporary credentials.
func (s *Service) GetSessionToken(ctx context.Context, in *sts.GetSessionTokenInput) (*sts.GetSessionTokenOutput, error) {
	life := 12 * time.Hour
	if in.DurationSeconds != nil {
		life = time.Duration(*in.DurationSeconds) * time.Second
	}
	caller := wire.CallerFrom(ctx)
	if !caller.Expires.IsZero() {
		return nil, &wire.Error{Code: "AccessDenied", Message: "Cannot call GetSessionToken with session credentials", Status: http.StatusForbidden}
	}
	c, err := s.iam.UserSession(caller.ARN, life)
	if err != nil {
		return nil, err
	}
	return &sts.GetSessionTokenOutput{Credentials: sdkCredentials(c)}, nil
}

// GetAccessKeyInfo says which account a key belongs to: there is only one.
func (s *Service) GetAccessKeyInfo(context.Context, *sts.GetAccessKeyInfoInput) (*sts.GetAccessKeyInfoOutput, error) {
	return &sts.GetAccessKeyInfoOutput{Account: aws.String(s.id.Account())}, nil
}

func sdkCredentials(c iam.Credentials) *types.Credentials {
	return &types.Credentials{
		AccessKeyId: aws.String(c.AccessKeyID), SecretAccessKey: aws.String(c.Secret), SessionToken: aws.String(c.Token), Expiration: aws.Time(c.Expires),
	}
}
