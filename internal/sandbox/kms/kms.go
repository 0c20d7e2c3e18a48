// Package kms is Key Management Service of the region, as far as others ask which keys
// there are. Nothing is encrypted: volumes and objects of the region only say with
// which key they would be.
package kms

import (
	"cmp"
	"context"
	"fmt"
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
}

// alias is a row; its key is its name, which begins with alias/.
type alias struct{ Name, Key string }

// New opens the region's keys.
func New(db *store.DB, id *region.Identity) (*Service, error) {
	keys, err := store.NewTable[key](db, "kms.keys")
	if err != nil {
		return nil, err
	}
	aliases, err := store.NewTable[alias](db, "kms.aliases")
	return &Service{id: id, now: time.Now, keys: keys, aliases: aliases}, err
}

// Register attaches the operations to the API.
func (s *Service) Register(m *wire.Service) {
	wire.Handle(m, "CreateKey", s.CreateKey)
	wire.Handle(m, "DescribeKey", s.DescribeKey)
	wire.Handle(m, "ListKeys", s.ListKeys)
	wire.Handle(m, "CreateAlias", s.CreateAlias)
	wire.Handle(m, "DeleteAlias", s.DeleteAlias)
	wire.Handle(m, "ScheduleKeyDeletion", s.ScheduleKeyDeletion)
}

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
			return key{}, wire.Errorf("NotFoundException", "Alias %s is not found.", s.arn(bare))
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
		Enabled: k.Deletion.IsZero(), KeyState: types.KeyStateEnabled, KeyManager: types.KeyManagerTypeCustomer, KeyUsage: types.KeyUsageTypeEncryptDecrypt,
		KeySpec: types.KeySpecSymmetricDefault, Origin: types.OriginTypeAwsKms, MultiRegion: aws.Bool(false),
		EncryptionAlgorithms: []types.EncryptionAlgorithmSpec{types.EncryptionAlgorithmSpecSymmetricDefault},
	}
	if k.OfAWS {
		m.KeyManager = types.KeyManagerTypeAws
	}
	if !k.Deletion.IsZero() {
		m.KeyState, m.DeletionDate = types.KeyStatePendingDeletion, &k.Deletion
	}
	return m
}

// CreateKey makes a key for encryption.
func (s *Service) CreateKey(_ context.Context, in *kms.CreateKeyInput) (*kms.CreateKeyOutput, error) {
	if spec := cmp.Or(in.KeySpec, types.KeySpecSymmetricDefault); spec != types.KeySpecSymmetricDefault || aws.ToBool(in.MultiRegion) {
		return nil, wire.Errorf("UnsupportedOperationException", "The sandbox has keys of %s in one region only", types.KeySpecSymmetricDefault)
	}
	k := key{ID: uuid.NewString(), Description: aws.ToString(in.Description), Created: s.now()}
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
		return nil, wire.Errorf("InvalidMarkerException", "The marker is not valid")
	}
	return &kms.ListKeysOutput{Keys: some, NextMarker: next, Truncated: next != nil}, nil
}

// CreateAlias gives a key a name.
func (s *Service) CreateAlias(_ context.Context, in *kms.CreateAliasInput) (*kms.CreateAliasOutput, error) {
	name := aws.ToString(in.AliasName)
	if !strings.HasPrefix(name, "alias/") || strings.HasPrefix(name, "alias/aws/") {
		return nil, wire.Errorf("InvalidAliasNameException", "Alias must start with the prefix \"alias/\", and not with \"alias/aws/\"")
	}
	k, err := s.find(aws.ToString(in.TargetKeyId))
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.aliases.Get(name); ok {
		return nil, wire.Errorf("AlreadyExistsException", "An alias with the name %s already exists", s.arn(name))
	}
	return &kms.CreateAliasOutput{}, s.aliases.Put(name, alias{name, k.ID})
}

// DeleteAlias takes a name away.
func (s *Service) DeleteAlias(_ context.Context, in *kms.DeleteAliasInput) (*kms.DeleteAliasOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := aws.ToString(in.AliasName)
	if _, ok := s.aliases.Get(name); !ok {
		return nil, wire.Errorf("NotFoundException", "Alias %s is not found.", s.arn(name))
	}
	return &kms.DeleteAliasOutput{}, s.aliases.Delete(name)
}

// ScheduleKeyDeletion lets nobody use a key any more. The region keeps it: what would
// be encrypted with it is not.
func (s *Service) ScheduleKeyDeletion(_ context.Context, in *kms.ScheduleKeyDeletionInput) (*kms.ScheduleKeyDeletionOutput, error) {
	k, err := s.find(aws.ToString(in.KeyId))
	switch days := aws.ToInt32(in.PendingWindowInDays); {
	case err != nil:
		return nil, err
	case k.OfAWS:
		return nil, wire.Errorf("AccessDeniedException", "The request is denied: the key is AWS's own")
	case !k.Deletion.IsZero():
		return nil, wire.Errorf("KMSInvalidStateException", "%s is pending deletion.", s.arn("key/"+k.ID))
	default:
		k.Deletion = s.now().AddDate(0, 0, int(cmp.Or(days, 30)))
	}
	if err := s.keys.Put(k.ID, k); err != nil {
		return nil, err
	}
	return &kms.ScheduleKeyDeletionOutput{KeyId: aws.String(s.arn("key/" + k.ID)), DeletionDate: &k.Deletion, KeyState: types.KeyStatePendingDeletion}, nil
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
