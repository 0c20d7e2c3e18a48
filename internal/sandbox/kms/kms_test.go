package kms

import (
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/wire/wiretest"
)

func open(t *testing.T) (*Service, *kms.Client) {
	t.Helper()
	s, err := New(store.Memory(), region.NewIdentity("", ""))
	if err != nil {
		t.Fatal(err)
	}
	return s, kms.NewFromConfig(wiretest.Serve(t, map[string]wiretest.Registrar{"kms": s}).Config())
}

func describe(t *testing.T, c *kms.Client, name string) (*types.KeyMetadata, error) {
	t.Helper()
	out, err := c.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: &name})
	if err != nil {
		return nil, err
	}
	return out.KeyMetadata, nil
}

func TestKeysAreFoundByEachOfTheirNames(t *testing.T) {
	_, c := open(t)
	made, err := c.CreateKey(t.Context(), &kms.CreateKeyInput{Description: aws.String("disks")})
	if err != nil {
		t.Fatal(err)
	}
	m := made.KeyMetadata
	if _, err := c.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: aws.String("alias/disks"), TargetKeyId: m.KeyId}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{*m.KeyId, *m.Arn, "alias/disks", strings.Replace(*m.Arn, "key/"+*m.KeyId, "alias/disks", 1)} {
		got, err := describe(t, c, name)
		if err != nil || *got.KeyId != *m.KeyId || !got.Enabled {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	var missing *types.NotFoundException
	for _, name := range []string{"none", "alias/none", strings.Replace(*m.Arn, "us-east-1", "eu-west-1", 1)} {
		if _, err := describe(t, c, name); !errors.As(err, &missing) {
			t.Errorf("%s: %v, want that it is not there", name, err)
		}
	}
}

func TestServicesOfAWSHaveKeys(t *testing.T) {
	_, c := open(t)
	first, err := describe(t, c, "alias/aws/ebs")
	if err != nil || first.KeyManager != types.KeyManagerTypeAws {
		t.Fatalf("%+v, %v", first, err)
	}
	if again, err := describe(t, c, "alias/aws/ebs"); err != nil || *again.Arn != *first.Arn {
		t.Errorf("%+v, %v: want the same key", again, err)
	}
}

func TestKeysToBeDeletedCannotBeUsed(t *testing.T) {
	_, c := open(t)
	made, err := c.CreateKey(t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.ScheduleKeyDeletion(t.Context(), &kms.ScheduleKeyDeletionInput{KeyId: made.KeyMetadata.KeyId, PendingWindowInDays: aws.Int32(7)}); err != nil {
		t.Fatal(err)
	}
	if got, err := describe(t, c, *made.KeyMetadata.Arn); err != nil || got.Enabled || got.KeyState != types.KeyStatePendingDeletion {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestAdoptedKeysHaveTheNamesOfTheFile(t *testing.T) {
	s, c := open(t)
	for _, name := range []string{"1234abcd-12ab-34cd-56ef-1234567890ab", s.arn("key/0234abcd-12ab-34cd-56ef-1234567890ab"), "alias/own"} {
		if err := s.Adopt(name); err != nil {
			t.Fatal(err)
		}
		if _, err := describe(t, c, name); err != nil {
			t.Error(err)
		}
	}
	if err := s.Adopt("arn:aws:kms:eu-west-1:111122223333:key/0234abcd-12ab-34cd-56ef-1234567890ab"); err == nil {
		t.Error("a key of another region is adopted")
	}
	keys, err := c.ListKeys(t.Context(), &kms.ListKeysInput{Limit: aws.Int32(2)})
	if err != nil || len(keys.Keys) != 2 || !keys.Truncated {
		t.Errorf("%+v, %v: want a page of 2", keys, err)
	}
}

func TestDisabledKeysAndRotation(t *testing.T) {
	s, c := open(t)
	made, err := c.CreateKey(t.Context(), &kms.CreateKeyInput{Tags: []types.Tag{{TagKey: aws.String("a"), TagValue: aws.String("1")}}})
	if err != nil {
		t.Fatal(err)
	}
	id := made.KeyMetadata.KeyId
	if _, err := c.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: id}); err != nil {
		t.Fatal(err)
	}
	if got, err := describe(t, c, *id); err != nil || got.Enabled || got.KeyState != types.KeyStateDisabled {
		t.Errorf("%+v, %v: want it disabled", got, err)
	}
	for _, days := range []*int32{nil, aws.Int32(90)} {
		if _, err := c.EnableKeyRotation(t.Context(), &kms.EnableKeyRotationInput{KeyId: id, RotationPeriodInDays: days}); err != nil {
			t.Fatal(err)
		}
		want := int32(365)
		if days != nil {
			want = *days
		}
		if got, err := c.GetKeyRotationStatus(t.Context(), &kms.GetKeyRotationStatusInput{KeyId: id}); err != nil || aws.ToInt32(got.RotationPeriodInDays) != want {
			t.Errorf("%+v, %v: want a period of %d days", got, err, want)
		}
	}
	before, _ := s.keys.Get(*id)
	if _, err := c.UntagResource(t.Context(), &kms.UntagResourceInput{KeyId: id, TagKeys: []string{"a"}}); err != nil {
		t.Fatal(err)
	}
	if before.Tags["a"] != "1" {
		t.Error("a change of tags writes to a row that others read")
	}
	// Keys of AWS's own are nobody's to change.
	var denied interface{ ErrorCode() string }
	if _, err := c.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: aws.String("alias/aws/ebs")}); !errors.As(err, &denied) || denied.ErrorCode() != "AccessDeniedException" {
		t.Errorf("a key of AWS's: %v", err)
	}
}
