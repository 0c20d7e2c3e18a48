// Package kms is Key Management Service of the region, as far as others ask which keys
// there are. Nothing is encrypted: volumes and objects of the region only say with
// which key they would be.
package kms

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/google/uuid"

	"pcluster/internal/sandbox/page"
	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/wire"
)

// A Service is KMS of a region. It is safe for concurrent use.
type Service struct {
	id  *region.Identity
	now func() time.Time

	mu      sync.Mutex // held over changes
	keys    *store.Table[key]
	aliases *store.Table[alias]
}

// key is a row; its key is its ID.
type key struct {
	ID, Description string
	Created         time.Time
	Deletion        time.Time // when it is to go; zero: it stays
	OfAWS           bool      // of a service of AWS's
	Disabled        bool
	Policy          string // empty: the account may do everything
	Rotation        int32  // days; 0: the key stays as it is
	Tags            map[string]string
}

// alias is a row; its key is its name, which begins with alias/.
type alias struct{ Name, Key string }

// New opens the region's keys.
func New(db *store.DB, id *region.Identity) (*Service, error) {
	s := &Service{id: id, now: time.Now}
	return s, errors.Join(
		store.OpenTable(db, "kms.keys", &s.keys),
		store.OpenTable(db, "kms.aliases", &s.aliases),
	)
}

// Register attaches the operations to the API.
func (s *Service) Register(m *wire.Service) {
	wire.Handle(m, "CreateKey", s.CreateKey)
	wire.Handle(m, "DescribeKey", s.DescribeKey)
	wire.Handle(m, "ListKeys", s.ListKeys)
	wire.Handle(m, "EnableKey", s.EnableKey)
	wire.Handle(m, "DisableKey", s.DisableKey)
	wire.Handle(m, "ScheduleKeyDeletion", s.ScheduleKeyDeletion)
	wire.Handle(m, "CancelKeyDeletion", s.CancelKeyDeletion)
	wire.Handle(m, "CreateAlias", s.CreateAlias)
	wire.Handle(m, "UpdateAlias", s.UpdateAlias)
	wire.Handle(m, "DeleteAlias", s.DeleteAlias)
	wire.Handle(m, "ListAliases", s.ListAliases)
	wire.Handle(m, "GetKeyPolicy", s.GetKeyPolicy)
	wire.Handle(m, "PutKeyPolicy", s.PutKeyPolicy)
	wire.Handle(m, "GetKeyRotationStatus", s.GetKeyRotationStatus)
	wire.Handle(m, "EnableKeyRotation", s.EnableKeyRotation)
	wire.Handle(m, "DisableKeyRotation", s.DisableKeyRotation)
	wire.Handle(m, "TagResource", s.TagResource)
	wire.Handle(m, "UntagResource", s.UntagResource)
	wire.Handle(m, "ListResourceTags", s.ListResourceTags)
}

var errMarker = wire.Errorf("InvalidMarkerException", "The marker is not valid")

func (s *Service) arn(resource string) string { return s.id.ARN("kms", resource) }

// find returns the key that a request names: by ID, ARN, alias or the alias's ARN.
func (s *Service) find(name string) (key, error) {
	bare := strings.TrimPrefix(strings.TrimPrefix(name, s.arn("")), "key/")
	switch {
	case strings.HasPrefix(bare, "arn:"):
		return key{}, wire.Errorf("NotFoundException", "Invalid arn %s", name)
	case strings.HasPrefix(bare, "alias/aws/"):
		return s.ofAWS(bare)
	case strings.HasPrefix(bare, "alias/"):
		a, ok := s.aliases.Get(bare)
		if !ok {
			return key{}, s.noAlias(bare)
		}
		bare = a.Key
	}
	k, ok := s.keys.Get(bare)
	if !ok {
		return key{}, wire.Errorf("NotFoundException", "Key '%s' does not exist", s.arn("key/"+bare))
	}
	return k, nil
}

// ofAWS returns the key that a service of AWS's has in every account. It is made when
// somebody first asks.
func (s *Service) ofAWS(name string) (key, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a, ok := s.aliases.Get(name); ok {
		k, _ := s.keys.Get(a.Key)
		return k, nil
	}
	k := key{ID: uuid.NewString(), Description: "Default key of " + strings.TrimPrefix(name, "alias/aws/"), Created: s.now(), OfAWS: true}
	if err := s.keys.Put(k.ID, k); err != nil {
		return key{}, err
	}
	return k, s.aliases.Put(name, alias{name, k.ID})
}

func (s *Service) metadata(k key) *types.KeyMetadata {
	m := &types.KeyMetadata{
		KeyId: &k.ID, Arn: aws.String(s.arn("key/" + k.ID)), AWSAccountId: aws.String(s.id.Account()), CreationDate: &k.Created, Description: &k.Description,
		Enabled: k.Deletion.IsZero() && !k.Disabled, KeyState: types.KeyStateEnabled, KeyManager: types.KeyManagerTypeCustomer, KeyUsage: types.KeyUsageTypeEncryptDecrypt,
		KeySpec: types.KeySpecSymmetricDefault, CustomerMasterKeySpec: types.CustomerMasterKeySpecSymmetricDefault, Origin: types.OriginTypeAwsKms, MultiRegion: aws.Bool(false),
		EncryptionAlgorithms: []types.EncryptionAlgorithmSpec{types.EncryptionAlgorithmSpecSymmetricDefault},
	}
	if k.OfAWS {
		m.KeyManager = types.KeyManagerTypeAws
	}
	switch {
	case !k.Deletion.IsZero():
		m.KeyState, m.DeletionDate = types.KeyStatePendingDeletion, &k.Deletion
	case k.Disabled:
		m.KeyState = types.KeyStateDisabled
	}
	return m
}

// CreateKey makes a key for encryption.
func (s *Service) CreateKey(_ context.Context, in *kms.CreateKeyInput) (*kms.CreateKeyOutput, error) {
	if spec := cmp.Or(in.KeySpec, types.KeySpecSymmetricDefault); spec != types.KeySpecSymmetricDefault || aws.ToBool(in.MultiRegion) {
		return nil, wire.Errorf("UnsupportedOperationException", "The sandbox has keys of %s in one region only", types.KeySpecSymmetricDefault)
	}
	k := key{ID: uuid.NewString(), Description: aws.ToString(in.Description), Created: s.now(), Policy: aws.ToString(in.Policy), Tags: map[string]string{}}
	for _, t := range in.Tags {
		k.Tags[aws.ToString(t.TagKey)] = aws.ToString(t.TagValue)
	}
	if err := s.keys.Put(k.ID, k); err != nil {
		return nil, err
	}
	return &kms.CreateKeyOutput{KeyMetadata: s.metadata(k)}, nil
}

// DescribeKey tells what a key is.
func (s *Service) DescribeKey(_ context.Context, in *kms.DescribeKeyInput) (*kms.DescribeKeyOutput, error) {
	k, err := s.find(aws.ToString(in.KeyId))
	if err != nil {
		return nil, err
	}
	return &kms.DescribeKeyOutput{KeyMetadata: s.metadata(k)}, nil
}

// ListKeys lists all keys.
func (s *Service) ListKeys(_ context.Context, in *kms.ListKeysInput) (*kms.ListKeysOutput, error) {
	var all []types.KeyListEntry
	for _, k := range s.keys.All() {
		all = append(all, types.KeyListEntry{KeyId: aws.String(k.ID), KeyArn: aws.String(s.arn("key/" + k.ID))})
	}
	some, next, err := page.Of(all, func(e types.KeyListEntry) string { return *e.KeyId }, in.Marker, page.Limit(in.Limit, 100))
	if err != nil {
		return nil, errMarker
	}
	return &kms.ListKeysOutput{Keys: some, NextMarker: next, Truncated: next != nil}, nil
}

// change changes a key of the account's own, unless fn refuses.
func (s *Service) change(name *string, fn func(*key) error) (key, error) {
	k, err := s.find(aws.ToString(name))
	if err != nil {
		return k, err
	}
	if k.OfAWS {
		return k, wire.Errorf("AccessDeniedException", "The request is denied: the key is AWS's own")
	}
	return s.keys.Update(k.ID, fn)
}

// staying changes a key that is not about to go.
func (s *Service) staying(name *string, fn func(*key)) (key, error) {
	return s.change(name, func(k *key) error {
		if !k.Deletion.IsZero() {
			return wire.Errorf("KMSInvalidStateException", "%s is pending deletion.", s.arn("key/"+k.ID))
		}
		fn(k)
		return nil
	})
}

// EnableKey lets a key be used.
func (s *Service) EnableKey(_ context.Context, in *kms.EnableKeyInput) (*kms.EnableKeyOutput, error) {
	_, err := s.staying(in.KeyId, func(k *key) { k.Disabled = false })
	return &kms.EnableKeyOutput{}, err
}

// DisableKey lets nobody use a key until it is enabled.
func (s *Service) DisableKey(_ context.Context, in *kms.DisableKeyInput) (*kms.DisableKeyOutput, error) {
	_, err := s.staying(in.KeyId, func(k *key) { k.Disabled = true })
	return &kms.DisableKeyOutput{}, err
}

// ScheduleKeyDeletion lets nobody use a key any more. The region keeps it: what would
// be encrypted with it is not.
func (s *Service) ScheduleKeyDeletion(_ context.Context, in *kms.ScheduleKeyDeletionInput) (*kms.ScheduleKeyDeletionOutput, error) {
	days := cmp.Or(aws.ToInt32(in.PendingWindowInDays), 30)
	if days < 7 || days > 30 {
		return nil, wire.Errorf("ValidationException", "PendingWindowInDays is %d, and must be between 7 and 30", days)
	}
	k, err := s.staying(in.KeyId, func(k *key) { k.Deletion = s.now().AddDate(0, 0, int(days)) })
	if err != nil {
		return nil, err
	}
	return &kms.ScheduleKeyDeletionOutput{
		KeyId: aws.String(s.arn("key/" + k.ID)), DeletionDate: &k.Deletion, KeyState: types.KeyStatePendingDeletion, PendingWindowInDays: &days,
	}, nil
}

// CancelKeyDeletion keeps a key, which is disabled then.
func (s *Service) CancelKeyDeletion(_ context.Context, in *kms.CancelKeyDeletionInput) (*kms.CancelKeyDeletionOutput, error) {
	k, err := s.change(in.KeyId, func(k *key) error {
		if k.Deletion.IsZero() {
			return wire.Errorf("KMSInvalidStateException", "%s is not pending deletion.", s.arn("key/"+k.ID))
		}
		k.Deletion, k.Disabled = time.Time{}, true
		return nil
	})
	return &kms.CancelKeyDeletionOutput{KeyId: aws.String(s.arn("key/" + k.ID))}, err
}

// nameAlias makes an alias lead to a key.
func (s *Service) nameAlias(name, target *string, there bool) error {
	n := aws.ToString(name)
	switch {
	case !strings.HasPrefix(n, "alias/"):
		return wire.Errorf("ValidationException", "Alias must start with the prefix \"alias/\"")
	case strings.HasPrefix(n, "alias/aws/"):
		return wire.Errorf("InvalidAliasNameException", "Aliases that begin with \"alias/aws/\" are AWS's own")
	}
	k, err := s.find(aws.ToString(target))
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch _, ok := s.aliases.Get(n); {
	case ok && !there:
		return wire.Errorf("AlreadyExistsException", "An alias with the name %s already exists", s.arn(n))
	case !ok && there:
		return s.noAlias(n)
	}
	return s.aliases.Put(n, alias{n, k.ID})
}

func (s *Service) noAlias(name string) error {
	return wire.Errorf("NotFoundException", "Alias %s is not found.", s.arn(name))
}

// CreateAlias gives a key a name.
func (s *Service) CreateAlias(_ context.Context, in *kms.CreateAliasInput) (*kms.CreateAliasOutput, error) {
	return &kms.CreateAliasOutput{}, s.nameAlias(in.AliasName, in.TargetKeyId, false)
}

// UpdateAlias gives a key the name of another.
func (s *Service) UpdateAlias(_ context.Context, in *kms.UpdateAliasInput) (*kms.UpdateAliasOutput, error) {
	return &kms.UpdateAliasOutput{}, s.nameAlias(in.AliasName, in.TargetKeyId, true)
}

// DeleteAlias takes a name away.
func (s *Service) DeleteAlias(_ context.Context, in *kms.DeleteAliasInput) (*kms.DeleteAliasOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := aws.ToString(in.AliasName)
	if _, ok := s.aliases.Get(name); !ok {
		return nil, s.noAlias(name)
	}
	return &kms.DeleteAliasOutput{}, s.aliases.Delete(name)
}

// ListAliases lists the names of a key, or of all keys.
func (s *Service) ListAliases(_ context.Context, in *kms.ListAliasesInput) (*kms.ListAliasesOutput, error) {
	only := ""
	if in.KeyId != nil {
		k, err := s.find(*in.KeyId)
		if err != nil {
			return nil, err
		}
		only = k.ID
	}
	var all []types.AliasListEntry
	for _, a := range s.aliases.All() {
		if only == "" || a.Key == only {
			all = append(all, types.AliasListEntry{AliasName: aws.String(a.Name), AliasArn: aws.String(s.arn(a.Name)), TargetKeyId: aws.String(a.Key)})
		}
	}
	some, next, err := page.Of(all, func(e types.AliasListEntry) string { return *e.AliasName }, in.Marker, page.Limit(in.Limit, 50))
	if err != nil {
		return nil, errMarker
	}
	return &kms.ListAliasesOutput{Aliases: some, NextMarker: next, Truncated: next != nil}, nil
}

// GetKeyPolicy tells who may use a key; the region does not ask it.
func (s *Service) GetKeyPolicy(_ context.Context, in *kms.GetKeyPolicyInput) (*kms.GetKeyPolicyOutput, error) {
	k, err := s.find(aws.ToString(in.KeyId))
	if err != nil {
		return nil, err
	}
	p := cmp.Or(k.Policy, `{"Version":"2012-10-17","Id":"key-default-1","Statement":[{"Sid":"Enable IAM User Permissions","Effect":"Allow","Principal":{"AWS":"`+
		s.id.GlobalARN("iam", "root")+`"},"Action":"kms:*","Resource":"*"}]}`)
	return &kms.GetKeyPolicyOutput{Policy: &p, PolicyName: aws.String("default")}, nil
}

// PutKeyPolicy says who may use a key.
func (s *Service) PutKeyPolicy(_ context.Context, in *kms.PutKeyPolicyInput) (*kms.PutKeyPolicyOutput, error) {
	if !json.Valid([]byte(aws.ToString(in.Policy))) {
		return nil, wire.Errorf("MalformedPolicyDocumentException", "The policy is no JSON")
	}
	_, err := s.staying(in.KeyId, func(k *key) { k.Policy = *in.Policy })
	return &kms.PutKeyPolicyOutput{}, err
}

// GetKeyRotationStatus tells how often a key changes.
func (s *Service) GetKeyRotationStatus(_ context.Context, in *kms.GetKeyRotationStatusInput) (*kms.GetKeyRotationStatusOutput, error) {
	k, err := s.find(aws.ToString(in.KeyId))
	if err != nil {
		return nil, err
	}
	out := &kms.GetKeyRotationStatusOutput{KeyId: aws.String(s.arn("key/" + k.ID)), KeyRotationEnabled: k.Rotation > 0}
	if k.Rotation > 0 {
		out.RotationPeriodInDays = &k.Rotation
	}
	return out, nil
}

// EnableKeyRotation makes a key change every year, or as often as is said.
func (s *Service) EnableKeyRotation(_ context.Context, in *kms.EnableKeyRotationInput) (*kms.EnableKeyRotationOutput, error) {
	_, err := s.staying(in.KeyId, func(k *key) { k.Rotation = cmp.Or(aws.ToInt32(in.RotationPeriodInDays), 365) })
	return &kms.EnableKeyRotationOutput{}, err
}

// DisableKeyRotation makes a key stay as it is.
func (s *Service) DisableKeyRotation(_ context.Context, in *kms.DisableKeyRotationInput) (*kms.DisableKeyRotationOutput, error) {
	_, err := s.staying(in.KeyId, func(k *key) { k.Rotation = 0 })
	return &kms.DisableKeyRotationOutput{}, err
}

// TagResource adds tags to a key.
func (s *Service) TagResource(_ context.Context, in *kms.TagResourceInput) (*kms.TagResourceOutput, error) {
	_, err := s.staying(in.KeyId, func(k *key) {
		tags := map[string]string{}
		maps.Copy(tags, k.Tags) // others may be reading the row
		for _, t := range in.Tags {
			tags[aws.ToString(t.TagKey)] = aws.ToString(t.TagValue)
		}
		k.Tags = tags
	})
	return &kms.TagResourceOutput{}, err
}

// UntagResource removes tags from a key.
func (s *Service) UntagResource(_ context.Context, in *kms.UntagResourceInput) (*kms.UntagResourceOutput, error) {
	_, err := s.staying(in.KeyId, func(k *key) {
		k.Tags = maps.Clone(k.Tags)
		maps.DeleteFunc(k.Tags, func(name, _ string) bool { return slices.Contains(in.TagKeys, name) })
	})
	return &kms.UntagResourceOutput{}, err
}

// ListResourceTags lists the tags of a key.
func (s *Service) ListResourceTags(_ context.Context, in *kms.ListResourceTagsInput) (*kms.ListResourceTagsOutput, error) {
	k, err := s.find(aws.ToString(in.KeyId))
	if err != nil {
		return nil, err
	}
	var all []types.Tag
	for _, name := range slices.Sorted(maps.Keys(k.Tags)) {
		all = append(all, types.Tag{TagKey: &name, TagValue: aws.String(k.Tags[name])})
	}
	some, next, err := page.Of(all, func(t types.Tag) string { return *t.TagKey }, in.Marker, page.Limit(in.Limit, 50))
	if err != nil {
		return nil, errMarker
	}
	return &kms.ListResourceTagsOutput{Tags: some, NextMarker: next, Truncated: next != nil}, nil
}

// ARN is the ARN of the key that somebody names as requests do.
func (s *Service) ARN(name string) string {
	k, err := s.find(name)
	if err != nil {
		return s.arn("key/" + name)
	}
	return s.arn("key/" + k.ID)
}

// Adopt makes the key that somebody names, by ID, ARN or alias, if it is not there.
func (s *Service) Adopt(name string) error {
	if _, err := s.find(name); err == nil {
		return nil
	}
	bare := strings.TrimPrefix(name, s.arn(""))
	if strings.HasPrefix(bare, "arn:") {
		return fmt.Errorf("key %s is of another region or account", name)
	}
	k := key{ID: strings.TrimPrefix(bare, "key/"), Description: "adopted", Created: s.now()}
	if strings.HasPrefix(bare, "alias/") {
		k.ID = uuid.NewString()
		if err := s.aliases.Put(bare, alias{bare, k.ID}); err != nil {
			return err
		}
	}
	return s.keys.Put(k.ID, k)
}
