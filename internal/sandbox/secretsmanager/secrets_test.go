package secretsmanager

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/wire"
	"pcluster/internal/sandbox/wire/wiretest"
)

func newService(t *testing.T) (*Service, *sm.Client) {
	t.Helper()
	s, err := New(store.Memory(), region.NewIdentity("", ""))
	if err != nil {
		t.Fatal(err)
	}
	return s, sm.NewFromConfig(wiretest.Serve(t, map[string]wiretest.Registrar{"secretsmanager": s}).Config())
}

func code(err error) string {
	var e interface{ ErrorCode() string }
	if errors.As(err, &e) {
		return e.ErrorCode()
	}
	return ""
}

const arn = "arn:aws:secretsmanager:us-east-1:111122223333:secret:dir/db-a1B2c3"

func TestAdoptedSecretIsFoundByNameAndARN(t *testing.T) {
	s, c := newService(t)
	ctx := context.Background()
	for _, value := range []string{"first", "second"} { // adopting again changes nothing
		if err := s.AdoptSecret(ctx, arn, value); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{arn, arn[:len(arn)-7], "dir/db"} {
		out, err := c.GetSecretValue(ctx, &sm.GetSecretValueInput{SecretId: &id})
		if err != nil || *out.SecretString != "first" || *out.ARN != arn {
			t.Errorf("%s: %v", id, err)
		}
	}
	for _, id := range []string{"db", arn[:len(arn)-6] + "XXXXXX", "arn:aws:secretsmanager:us-east-1:111122223333:secret:none"} {
		if _, err := c.GetSecretValue(ctx, &sm.GetSecretValueInput{SecretId: &id}); code(err) != "ResourceNotFoundException" {
			t.Errorf("%s: %v", id, err)
		}
	}
	if err := s.AdoptSecret(ctx, "arn:aws:secretsmanager:eu-west-1:111122223333:secret:x-a1B2c3", ""); err == nil {
		t.Error("a secret of another region was adopted")
	}
}

func TestStagesMoveWithNewVersions(t *testing.T) {
	_, c := newService(t)
	ctx := context.Background()
	id := aws.String("s")
	if _, err := c.CreateSecret(ctx, &sm.CreateSecretInput{Name: id, SecretString: aws.String("1")}); err != nil {
		t.Fatal(err)
	}
	put := func(value string, stages ...string) string {
		out, err := c.PutSecretValue(ctx, &sm.PutSecretValueInput{SecretId: id, SecretString: &value, VersionStages: stages})
		if err != nil {
			t.Fatal(err)
		}
		return *out.VersionId
	}
	get := func(stage string) string {
		out, err := c.GetSecretValue(ctx, &sm.GetSecretValueInput{SecretId: id, VersionStage: &stage})
		if err != nil {
			return code(err)
		}
		return *out.SecretString
	}
	put("2")
	third := put("3")
	pending := put("4", "AWSPENDING")
	if got := []string{get(current), get(previous), get("AWSPENDING"), get("none")}; !slices.Equal(got, []string{"3", "2", "4", "ResourceNotFoundException"}) {
		t.Errorf("stages hold %v", got)
	}
	if _, err := c.UpdateSecretVersionStage(ctx, &sm.UpdateSecretVersionStageInput{SecretId: id, VersionStage: aws.String(current), MoveToVersionId: &pending}); code(err) != "InvalidParameterException" {
		t.Errorf("moving without saying from where: %v", err)
	}
	if _, err := c.UpdateSecretVersionStage(ctx, &sm.UpdateSecretVersionStageInput{
		SecretId: id, VersionStage: aws.String(current), MoveToVersionId: &pending, RemoveFromVersionId: &third,
	}); err != nil {
		t.Fatal(err)
	}
	if got := []string{get(current), get(previous)}; !slices.Equal(got, []string{"4", "3"}) {
		t.Errorf("after the move stages hold %v", got)
	}
}

func TestDeletedSecretCanBeRestoredForAWhile(t *testing.T) {
	s, c := newService(t)
	ctx := context.Background()
	now := time.Now()
	s.now = func() time.Time { return now }
	id := aws.String("s")
	create := func() string {
		_, err := c.CreateSecret(ctx, &sm.CreateSecretInput{Name: id, SecretString: aws.String("1")})
		return code(err)
	}
	create()
	if got := create(); got != "ResourceExistsException" {
		t.Errorf("second creation: %s", got)
	}
	if _, err := c.DeleteSecret(ctx, &sm.DeleteSecretInput{SecretId: id, RecoveryWindowInDays: aws.Int64(7)}); err != nil {
		t.Fatal(err)
	}
	if got := create(); got != "InvalidRequestException" {
		t.Errorf("creation while deleted: %s", got)
	}
	list, err := c.ListSecrets(ctx, &sm.ListSecretsInput{})
	if err != nil || len(list.SecretList) != 0 {
		t.Errorf("deleted secret is listed: %v %v", list, err)
	}
	now = now.AddDate(0, 0, 7)
	if _, err := c.RestoreSecret(ctx, &sm.RestoreSecretInput{SecretId: id}); code(err) != "ResourceNotFoundException" {
		t.Errorf("restored after its time: %v", err)
	}
	if got := create(); got != "" {
		t.Errorf("creation after its time: %s", got)
	}
}

func TestSameTokenSameValueIsNoNewVersion(t *testing.T) {
	s, _ := newService(t)
	ctx := context.Background()
	token := aws.String("01234567890123456789012345678901")
	in := &sm.CreateSecretInput{Name: aws.String("s"), SecretString: aws.String("1"), ClientRequestToken: token}
	for range 2 {
		if _, err := s.CreateSecret(ctx, in); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.PutSecretValue(ctx, &sm.PutSecretValueInput{SecretId: in.Name, SecretString: aws.String("other"), ClientRequestToken: token})
	var e *wire.Error
	if !errors.As(err, &e) || e.Code != "ResourceExistsException" {
		t.Errorf("same token, other value: %v", err)
	}
}
