//go:build linux

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"strings"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/smithy-go"
)

// Roles and instance profiles that a file names. Who may do what with them, the file
// does not say: each has a policy of its own which allows all until somebody gives it a
// version, as adopted policies do.

// adoptedTrust lets take a role over whatever the files that name one give it to.
const adoptedTrust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":["ec2.amazonaws.com","lambda.amazonaws.com"]},"Action":"sts:AssumeRole"}]}`

// role makes a role of the user, with a policy of which nobody knows what it allows.
func (a *adopter) role(ctx context.Context, arn string) error {
	path, name, ok := ofIAM(arn, "role")
	if !ok {
		return errors.New("not the ARN of a role")
	}
	return a.namedRole(ctx, path, name, arn)
}

func (a *adopter) namedRole(ctx context.Context, path, name, arn string) error {
	policy := fmt.Sprintf("arn:%s:iam::%s:policy/adopted/%s", partitionOf(arn), a.identity.Account(), name)
	if err := a.iam.AdoptPolicy(policy, adoptedPolicy); err != nil {
		return err
	}
	_, err := a.iam.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &name, Path: &path, AssumeRolePolicyDocument: awssdk.String(adoptedTrust)})
	if known(err) {
		a.made("IAM role", name, "exists")
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := a.iam.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: &name, PolicyArn: &policy}); err != nil {
		return err
	}
	a.made("IAM role", name, "the file does not say what it allows: who has it may do all, until you give its policy %s a version that says", policy)
	return nil
}

// profile makes an instance profile of the user, with a role of its name.
func (a *adopter) profile(ctx context.Context, arn string) error {
	path, name, ok := ofIAM(arn, "instance-profile")
	if !ok {
		return errors.New("not the ARN of an instance profile")
	}
	if _, err := a.iam.GetInstanceProfile(ctx, &iam.GetInstanceProfileInput{InstanceProfileName: &name}); err == nil {
		a.made("instance profile", name, "exists")
		return nil
	}
	if err := a.namedRole(ctx, path, name, arn); err != nil {
		return err
	}
	if _, err := a.iam.CreateInstanceProfile(ctx, &iam.CreateInstanceProfileInput{InstanceProfileName: &name, Path: &path}); err != nil {
		return err
	}
	if _, err := a.iam.AddRoleToInstanceProfile(ctx, &iam.AddRoleToInstanceProfileInput{InstanceProfileName: &name, RoleName: &name}); err != nil {
		return err
	}
	a.made("instance profile", name, "with the role %s", name)
	return nil
}

// known says whether IAM refuses because the thing is there.
func known(err error) bool {
	e, ok := errors.AsType[smithy.APIError](err)
	return ok && e.ErrorCode() == "EntityAlreadyExists"
}

// ofIAM takes the ARN of something of IAM's apart.
func ofIAM(arn, kind string) (path, name string, ok bool) {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) < 6 {
		return "", "", false
	}
	rest, ok := strings.CutPrefix(parts[5], kind+"/")
	i := strings.LastIndexByte(rest, '/') + 1
	return "/" + rest[:i], rest[i:], ok && rest[i:] != ""
}

func partitionOf(arn string) string { return strings.SplitN(arn, ":", 3)[1] }
