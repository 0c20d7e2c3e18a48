package resource

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// SecretsManager is the part of Secrets Manager that stacks use.
type SecretsManager interface {
	CreateSecret(context.Context, *secretsmanager.CreateSecretInput) (*secretsmanager.CreateSecretOutput, error)
	UpdateSecret(context.Context, *secretsmanager.UpdateSecretInput) (*secretsmanager.UpdateSecretOutput, error)
	DescribeSecret(context.Context, *secretsmanager.DescribeSecretInput) (*secretsmanager.DescribeSecretOutput, error)
	DeleteSecret(context.Context, *secretsmanager.DeleteSecretInput) (*secretsmanager.DeleteSecretOutput, error)
	TagResource(context.Context, *secretsmanager.TagResourceInput) (*secretsmanager.TagResourceOutput, error)
	UntagResource(context.Context, *secretsmanager.UntagResourceInput) (*secretsmanager.UntagResourceOutput, error)
}

// SSM is the part of Systems Manager that stacks use.
type SSM interface {
	PutParameter(context.Context, *ssm.PutParameterInput) (*ssm.PutParameterOutput, error)
	DeleteParameter(context.Context, *ssm.DeleteParameterInput) (*ssm.DeleteParameterOutput, error)
	AddTagsToResource(context.Context, *ssm.AddTagsToResourceInput) (*ssm.AddTagsToResourceOutput, error)
	RemoveTagsFromResource(context.Context, *ssm.RemoveTagsFromResourceInput) (*ssm.RemoveTagsFromResourceOutput, error)
}

func secretTags(tags []tag) []types.Tag {
	var out []types.Tag
	for _, t := range tags {
		out = append(out, types.Tag{Key: aws.String(t.Key), Value: aws.String(t.Value)})
	}
	return out
}

func secretTypes(api SecretsManager) []*Type {
	t := &Type{
		Name:       "AWS::SecretsManager::Secret",
		Attributes: []string{"Id"},
		Replaces:   []string{"Name"},
		properties: like[secretsmanager.CreateSecretInput]().and("GenerateSecretString", "Tags").without("SecretBinary", "ForceOverwriteReplicaSecret", "AddReplicaRegions", "Type"),
	}
	t.Create = func(ctx context.Context, r *Request) error {
		in := input[secretsmanager.CreateSecretInput](t.properties, r.Props)
		in.Name = aws.String(r.Name("Name", 128))
		in.ClientRequestToken = aws.String(r.Token)
		in.Tags = secretTags(r.tagList())
		if r.Has("GenerateSecretString") {
			value, err := generateSecret(r.Props["GenerateSecretString"])
			if err != nil {
				return err
			}
			in.SecretString = aws.String(value)
		}
		arn := ""
		out, err := api.CreateSecret(ctx, in)
		switch {
		case err == nil:
			arn = aws.ToString(out.ARN)
		case r.Resumed && alreadyExists(err):
			found, err := api.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: in.Name})
			if err != nil {
				return err
			}
			arn = aws.ToString(found.ARN)
		default:
			return err
		}
		r.Set("Id", arn)
		return r.Created(arn)
	}
	t.Update = func(ctx context.Context, r *Request) error {
		id := aws.String(r.PhysicalID)
		if r.Changed("Description", "KmsKeyId", "SecretString", "GenerateSecretString") {
			want := input[secretsmanager.CreateSecretInput](t.properties, r.Props)
			in := &secretsmanager.UpdateSecretInput{SecretId: id, Description: want.Description, KmsKeyId: want.KmsKeyId, ClientRequestToken: aws.String(r.Token)}
			if r.Changed("SecretString") {
				in.SecretString = want.SecretString
			}
			if r.Changed("GenerateSecretString") && r.Has("GenerateSecretString") {
				value, err := generateSecret(r.Props["GenerateSecretString"])
				if err != nil {
					return err
				}
				in.SecretString = aws.String(value)
			}
			if _, err := api.UpdateSecret(ctx, in); err != nil {
				return err
			}
		}
		set, remove := r.tagChanges()
		if len(remove) > 0 {
			if _, err := api.UntagResource(ctx, &secretsmanager.UntagResourceInput{SecretId: id, TagKeys: remove}); err != nil {
				return err
			}
		}
		if len(set) > 0 {
			if _, err := api.TagResource(ctx, &secretsmanager.TagResourceInput{SecretId: id, Tags: secretTags(set)}); err != nil {
				return err
			}
		}
		return nil
	}
	t.Delete = func(ctx context.Context, r *Request) error {
		_, err := api.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: aws.String(r.PhysicalID), ForceDeleteWithoutRecovery: aws.Bool(true)})
		return gone(err)
	}
	return []*Type{t}
}

// generateSecret makes the password, or the JSON object with it, that
// GenerateSecretString describes.
func generateSecret(v any) (string, error) {
	spec, err := decodeInto[struct {
		PasswordLength                                                                                                *int
		ExcludeCharacters, GenerateStringKey, SecretStringTemplate                                                    string
		ExcludeLowercase, ExcludeUppercase, ExcludeNumbers, ExcludePunctuation, IncludeSpace, RequireEachIncludedType *bool
	}](v)
	if err != nil {
		return "", err
	}
	var classes []string
	for _, c := range []struct {
		chars string
		out   *bool
	}{
		{"abcdefghijklmnopqrstuvwxyz", spec.ExcludeLowercase},
		{"ABCDEFGHIJKLMNOPQRSTUVWXYZ", spec.ExcludeUppercase},
		{"0123456789", spec.ExcludeNumbers},
		{"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", spec.ExcludePunctuation},
	} {
		chars := strings.Map(func(x rune) rune {
			if strings.ContainsRune(spec.ExcludeCharacters, x) {
				return -1
			}
			return x
		}, c.chars)
		if !aws.ToBool(c.out) && chars != "" {
			classes = append(classes, chars)
		}
	}
	if aws.ToBool(spec.IncludeSpace) {
		classes = append(classes, " ")
	}
	length := 32
	if spec.PasswordLength != nil {
		length = *spec.PasswordLength
	}
	if len(classes) == 0 || length < len(classes) || length > 4096 {
		return "", fmt.Errorf("GenerateSecretString leaves no password of %d characters to make", length)
	}
	pick := func(n int) int {
		i, _ := rand.Int(rand.Reader, big.NewInt(int64(n))) // never fails (crypto/rand)
		return int(i.Int64())
	}
	all := strings.Join(classes, "")
	password := make([]byte, length)
	for i := range password {
		from := all
		if i < len(classes) && (spec.RequireEachIncludedType == nil || *spec.RequireEachIncludedType) {
			from = classes[i]
		}
		password[i] = from[pick(len(from))]
	}
	for i := length - 1; i > 0; i-- {
		j := pick(i + 1)
		password[i], password[j] = password[j], password[i]
	}
	if spec.GenerateStringKey == "" {
		return string(password), nil
	}
	object := map[string]any{}
	if spec.SecretStringTemplate != "" {
		if err := json.Unmarshal([]byte(spec.SecretStringTemplate), &object); err != nil {
			return "", fmt.Errorf("SecretStringTemplate is no JSON object: %w", err)
		}
	}
	object[spec.GenerateStringKey] = string(password)
	data, err := json.Marshal(object)
	return string(data), err
}

func ssmTypes(api SSM) []*Type {
	t := &Type{
		Name:       "AWS::SSM::Parameter",
		Attributes: []string{"Type", "Value"},
		Replaces:   []string{"Name"},
		properties: like[ssm.PutParameterInput]("Type", "Value").and("Tags").without("KeyId", "Overwrite"),
	}
	put := func(ctx context.Context, r *Request, name string, overwrite bool, tags []tag) error {
		in := input[ssm.PutParameterInput](t.properties, r.Props)
		in.Name = aws.String(name)
		in.Overwrite = aws.Bool(overwrite)
		for _, t := range tags {
			if !overwrite { // tags and overwriting exclude each other
				in.Tags = append(in.Tags, ssmtypes.Tag{Key: aws.String(t.Key), Value: aws.String(t.Value)})
			}
		}
		if _, err := api.PutParameter(ctx, in); err != nil {
			return err
		}
		r.Set("Type", string(in.Type))
		r.Set("Value", aws.ToString(in.Value))
		return nil
	}
	t.Create = func(ctx context.Context, r *Request) error {
		name := r.String("Name")
		if name == "" {
			name = "CFN-" + r.LogicalID + "-" + nameSuffix(r.Token)
		}
		if err := put(ctx, r, name, r.Resumed, r.tagList()); err != nil {
			return err
		}
		return r.Created(name)
	}
	t.Update = func(ctx context.Context, r *Request) error {
		if err := put(ctx, r, r.PhysicalID, true, nil); err != nil {
			return err
		}
		set, remove := r.tagChanges()
		if len(remove) > 0 {
			if _, err := api.RemoveTagsFromResource(ctx, &ssm.RemoveTagsFromResourceInput{
				ResourceId: aws.String(r.PhysicalID), ResourceType: ssmtypes.ResourceTypeForTaggingParameter, TagKeys: remove,
			}); err != nil {
				return err
			}
		}
		if len(set) > 0 {
			in := &ssm.AddTagsToResourceInput{ResourceId: aws.String(r.PhysicalID), ResourceType: ssmtypes.ResourceTypeForTaggingParameter}
			for _, t := range set {
				in.Tags = append(in.Tags, ssmtypes.Tag{Key: aws.String(t.Key), Value: aws.String(t.Value)})
			}
			if _, err := api.AddTagsToResource(ctx, in); err != nil {
				return err
			}
		}
		return nil
	}
	t.Delete = func(ctx context.Context, r *Request) error {
		_, err := api.DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: aws.String(r.PhysicalID)})
		return gone(err)
	}
	return []*Type{t}
}
