// Package secretsmanager keeps the region's secrets: their versions and stages,
// recoverable deletion, tags and resource policies. Values are stored as they
// are; the region's state is a file that only its owner can read. Rotation and
// replication are not part of it.
package secretsmanager

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/wire"
)

// A Service is Secrets Manager of a region. It is safe for concurrent use.
type Service struct {
	id  *region.Identity
	now func() time.Time

	mu      sync.Mutex // held over every change
	secrets *store.Table[secret]
}

// A secret is a row; its key is its name.
type secret struct {
	Name        string
	ARN         string
	Description string `json:",omitempty"`
	KMSKey      string `json:",omitempty"`
	Created     time.Time
	Changed     time.Time
	Accessed    time.Time `json:",omitzero"`
	Deleted     time.Time `json:",omitzero"` // asked to be deleted
	Gone        time.Time `json:",omitzero"` // deleted for good
	Tags        []tag     `json:",omitempty"`
	Versions    []version `json:",omitempty"` // oldest first
	Policy      string    `json:",omitempty"`
}

type version struct {
	ID       string
	Text     *string `json:",omitempty"`
	Binary   []byte  `json:",omitempty"`
	Stages   []string
	Created  time.Time
	Accessed time.Time `json:",omitzero"`
}

type tag struct{ Key, Value string }

const (
	current  = "AWSCURRENT"
	previous = "AWSPREVIOUS"

	maxValue = 65536
)

// New opens the region's secrets.
func New(db *store.DB, id *region.Identity) (*Service, error) {
	s := &Service{id: id, now: time.Now}
	return s, store.OpenTable(db, "secretsmanager.secrets", &s.secrets)
}

// Register attaches the operations to the API.
func (s *Service) Register(m *wire.Service) {
	wire.Handle(m, "CreateSecret", s.CreateSecret)
	wire.Handle(m, "GetSecretValue", s.GetSecretValue)
	wire.Handle(m, "BatchGetSecretValue", s.BatchGetSecretValue)
	wire.Handle(m, "PutSecretValue", s.PutSecretValue)
	wire.Handle(m, "UpdateSecret", s.UpdateSecret)
	wire.Handle(m, "UpdateSecretVersionStage", s.UpdateSecretVersionStage)
	wire.Handle(m, "DescribeSecret", s.DescribeSecret)
	wire.Handle(m, "ListSecrets", s.ListSecrets)
	wire.Handle(m, "ListSecretVersionIds", s.ListSecretVersionIds)
	wire.Handle(m, "DeleteSecret", s.DeleteSecret)
	wire.Handle(m, "RestoreSecret", s.RestoreSecret)
	wire.Handle(m, "TagResource", s.TagResource)
	wire.Handle(m, "UntagResource", s.UntagResource)
	wire.Handle(m, "PutResourcePolicy", s.PutResourcePolicy)
	wire.Handle(m, "GetResourcePolicy", s.GetResourcePolicy)
	wire.Handle(m, "DeleteResourcePolicy", s.DeleteResourcePolicy)
	wire.Handle(m, "GetRandomPassword", s.GetRandomPassword)
}

func notFound() error {
	return wire.Errorf("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
}

func noValue(what string) error {
	return wire.Errorf("ResourceNotFoundException", "Secrets Manager can't find the specified secret value for %s", what)
}

func markedForDeletion() error {
	return wire.Errorf("InvalidRequestException", "You can't perform this operation on the secret because it was marked for deletion.")
}

// bare returns an ARN, or the end of one, without the random characters that
// Secrets Manager puts behind the name.
func bare(arn string) string {
	i := len(arn) - 7
	if i <= 0 || arn[i] != '-' || strings.Trim(arn[i+1:], suffixChars) != "" {
		return arn
	}
	return arn[:i]
}

const suffixChars = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// find returns the secret with the given name, ARN, or ARN without its random
// end.
func (s *Service) find(id *string) (secret, error) {
	name := aws.ToString(id)
	if _, rest, isARN := strings.Cut(name, ":secret:"); isARN && strings.HasPrefix(name, "arn:") {
		for _, n := range []string{bare(rest), rest} {
			if r, ok := s.secrets.Get(n); ok && !s.over(r) && (r.ARN == name || bare(r.ARN) == name) {
				return r, nil
			}
		}
		return secret{}, notFound()
	}
	r, ok := s.secrets.Get(name)
	if !ok || s.over(r) {
		return secret{}, notFound()
	}
	return r, nil
}

// over reports whether the recovery window of a deleted secret has passed.
func (s *Service) over(r secret) bool { return !r.Gone.IsZero() && !s.now().Before(r.Gone) }

// live is find without secrets that wait to be deleted.
func (s *Service) live(id *string) (secret, error) {
	r, err := s.find(id)
	if err == nil && !r.Deleted.IsZero() {
		return r, markedForDeletion()
	}
	return r, err
}

func (s *Service) change(id *string, fn func(*secret) error) (secret, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, err := s.live(id)
	if err != nil {
		return found, err
	}
	return s.secrets.Update(found.Name, func(r *secret) error {
		r.Changed = s.now()
		return fn(r)
	})
}

// CreateSecret makes a secret, with a value or without.
func (s *Service) CreateSecret(_ context.Context, in *sm.CreateSecretInput) (*sm.CreateSecretOutput, error) {
	name := aws.ToString(in.Name)
	if name == "" || strings.Trim(name, suffixChars+"-/_+=.@!") != "" {
		return nil, wire.Errorf("ValidationException", "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.secrets.Get(name); ok && !s.over(old) {
		if !old.Deleted.IsZero() {
			return nil, wire.Errorf("InvalidRequestException", "You can't create this secret because a secret with this name is already scheduled for deletion.")
		}
		if i := old.version(aws.ToString(in.ClientRequestToken)); i >= 0 && old.Versions[i].same(in.SecretString, in.SecretBinary) {
			return &sm.CreateSecretOutput{ARN: &old.ARN, Name: &old.Name, VersionId: in.ClientRequestToken}, nil
		}
		return nil, wire.Errorf("ResourceExistsException", "The operation failed because the secret %s already exists.", name)
	}
	r := s.newSecret(s.id.ARN("secretsmanager", "secret:"+name+"-"+suffix()), name)
	r.Description, r.KMSKey, r.Tags = aws.ToString(in.Description), aws.ToString(in.KmsKeyId), withTags(nil, in.Tags)
	out := &sm.CreateSecretOutput{ARN: &r.ARN, Name: &r.Name}
	if in.SecretString != nil || in.SecretBinary != nil {
		id, err := r.put(s.now(), in.ClientRequestToken, in.SecretString, in.SecretBinary, nil)
		if err != nil {
			return nil, err
		}
		out.VersionId = &id
	}
	return out, s.secrets.Put(name, r)
}

func (s *Service) newSecret(arn, name string) secret {
	now := s.now()
	return secret{Name: name, ARN: arn, Created: now, Changed: now}
}

// AdoptSecret makes a secret with the given ARN and value unless there is one.
func (s *Service) AdoptSecret(_ context.Context, arn, value string) error {
	_, rest, ok := strings.Cut(arn, ":secret:")
	if !ok || !strings.HasPrefix(arn, s.id.ARN("secretsmanager", "secret:")) {
		return fmt.Errorf("%s is not the ARN of a secret in %s of account %s", arn, s.id.Name(), s.id.Account())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.live(&arn); err == nil {
		return nil
	}
	r := s.newSecret(arn, bare(rest))
	if _, err := r.put(s.now(), nil, &value, nil, nil); err != nil {
		return err
	}
	return s.secrets.Put(r.Name, r)
}

// version returns the index of a version, or -1.
func (r *secret) version(id string) int {
	return slices.IndexFunc(r.Versions, func(v version) bool { return id != "" && v.ID == id })
}

func (r *secret) staged(stage string) int {
	return slices.IndexFunc(r.Versions, func(v version) bool { return slices.Contains(v.Stages, stage) })
}

func (v version) same(text *string, binary []byte) bool {
	return (v.Text == nil) == (text == nil) && aws.ToString(v.Text) == aws.ToString(text) && slices.Equal(v.Binary, binary)
}

// put adds a version under a client's token and gives it the stages, by default
// AWSCURRENT. A token that was used before must come with the same value.
func (r *secret) put(now time.Time, token, text *string, binary []byte, stages []string) (string, error) {
	if len(aws.ToString(text)) > maxValue || len(binary) > maxValue {
		return "", wire.Errorf("ValidationException", "The secret value is larger than %d bytes.", maxValue)
	}
	id := aws.ToString(token)
	if id == "" {
		h := region.Hex(32)
		id = h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
	}
	if len(stages) == 0 {
		stages = []string{current}
	}
	if i := r.version(id); i >= 0 {
		if !r.Versions[i].same(text, binary) {
			return "", wire.Errorf("ResourceExistsException", "A resource with the ID you requested already exists.")
		}
		return id, nil
	}
	r.Versions = append(slices.Clone(r.Versions), version{ID: id, Text: text, Binary: binary, Created: now})
	for _, stage := range stages {
		r.move(stage, len(r.Versions)-1)
	}
	// Versions that no stage names are only kept a while by AWS too.
	r.Versions = slices.DeleteFunc(r.Versions, func(v version) bool { return len(v.Stages) == 0 })
	return id, nil
}

// move gives a stage to the version at index to, and AWSPREVIOUS to the one that
// loses AWSCURRENT. r.Versions must be r's own copy.
func (r *secret) move(stage string, to int) {
	from := r.staged(stage)
	if from == to {
		return
	}
	if from >= 0 {
		r.Versions[from].Stages = without(r.Versions[from].Stages, stage)
		if stage == current {
			r.move(previous, from)
		}
	}
	r.Versions[to].Stages = append(without(r.Versions[to].Stages, stage), stage)
}

func without(list []string, s string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(e string) bool { return e == s })
}

// GetSecretValue returns a version, by default the current one.
func (s *Service) GetSecretValue(_ context.Context, in *sm.GetSecretValueInput) (*sm.GetSecretValueOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.find(in.SecretId)
	if err != nil {
		return nil, err
	}
	if !r.Deleted.IsZero() {
		return nil, wire.Errorf("InvalidRequestException", "You can't perform this operation on the secret because it was marked for deletion.")
	}
	stage := aws.ToString(in.VersionStage)
	var i int
	switch {
	case in.VersionId != nil:
		i = r.version(*in.VersionId)
		if i < 0 || stage != "" && !slices.Contains(r.Versions[i].Stages, stage) {
			return nil, noValue("VersionId: " + *in.VersionId)
		}
	default:
		if stage == "" {
			stage = current
		}
		if i = r.staged(stage); i < 0 {
			return nil, noValue("staging label: " + stage)
		}
	}
	v := r.Versions[i]
	day := s.now().UTC().Truncate(24 * time.Hour)
	if !v.Accessed.Equal(day) || !r.Accessed.Equal(day) {
		if _, err := s.secrets.Update(r.Name, func(r *secret) error {
			r.Versions = slices.Clone(r.Versions)
			r.Versions[i].Accessed, r.Accessed = day, day
			return nil
		}); err != nil {
			return nil, err
		}
	}
	return &sm.GetSecretValueOutput{
		ARN: &r.ARN, Name: &r.Name, VersionId: &v.ID, VersionStages: v.Stages, CreatedDate: &v.Created, SecretString: v.Text, SecretBinary: v.Binary,
	}, nil
}

// BatchGetSecretValue returns the current values of several secrets.
func (s *Service) BatchGetSecretValue(ctx context.Context, in *sm.BatchGetSecretValueInput) (*sm.BatchGetSecretValueOutput, error) {
	if len(in.Filters) > 0 {
		return nil, wire.Errorf("InvalidParameterException", "The sandbox gets secrets by SecretIdList, not by Filters.")
	}
	out := &sm.BatchGetSecretValueOutput{SecretValues: []types.SecretValueEntry{}, Errors: []types.APIErrorType{}}
	for _, id := range in.SecretIdList {
		v, err := s.GetSecretValue(ctx, &sm.GetSecretValueInput{SecretId: &id})
		var refused *wire.Error
		switch {
		case errors.As(err, &refused):
			out.Errors = append(out.Errors, types.APIErrorType{SecretId: &id, ErrorCode: &refused.Code, Message: &refused.Message})
		case err != nil:
			return nil, err
		default:
			out.SecretValues = append(out.SecretValues, types.SecretValueEntry{
				ARN: v.ARN, Name: v.Name, VersionId: v.VersionId, VersionStages: v.VersionStages, CreatedDate: v.CreatedDate,
				SecretString: v.SecretString, SecretBinary: v.SecretBinary,
			})
		}
	}
	return out, nil
}

// PutSecretValue adds a version.
func (s *Service) PutSecretValue(_ context.Context, in *sm.PutSecretValueInput) (*sm.PutSecretValueOutput, error) {
	if (in.SecretString == nil) == (in.SecretBinary == nil) {
		return nil, wire.Errorf("InvalidParameterException", "You must provide either SecretString or SecretBinary.")
	}
	var id string
	r, err := s.change(in.SecretId, func(r *secret) (err error) {
		id, err = r.put(r.Changed, in.ClientRequestToken, in.SecretString, in.SecretBinary, in.VersionStages)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &sm.PutSecretValueOutput{ARN: &r.ARN, Name: &r.Name, VersionId: &id, VersionStages: r.Versions[r.version(id)].Stages}, nil
}

// UpdateSecret changes description or key, and adds a version when there is a
// value.
func (s *Service) UpdateSecret(_ context.Context, in *sm.UpdateSecretInput) (*sm.UpdateSecretOutput, error) {
	out := &sm.UpdateSecretOutput{}
	r, err := s.change(in.SecretId, func(r *secret) error {
		if in.Description != nil {
			r.Description = *in.Description
		}
		if in.KmsKeyId != nil {
			r.KMSKey = *in.KmsKeyId
		}
		if in.SecretString == nil && in.SecretBinary == nil {
			return nil
		}
		id, err := r.put(r.Changed, in.ClientRequestToken, in.SecretString, in.SecretBinary, nil)
		out.VersionId = &id
		return err
	})
	if err != nil {
		return nil, err
	}
	out.ARN, out.Name = &r.ARN, &r.Name
	return out, nil
}

// UpdateSecretVersionStage moves a stage from one version to another.
func (s *Service) UpdateSecretVersionStage(_ context.Context, in *sm.UpdateSecretVersionStageInput) (*sm.UpdateSecretVersionStageOutput, error) {
	stage := aws.ToString(in.VersionStage)
	r, err := s.change(in.SecretId, func(r *secret) error {
		r.Versions = slices.Clone(r.Versions)
		if in.RemoveFromVersionId != nil {
			i := r.version(*in.RemoveFromVersionId)
			if i < 0 || !slices.Contains(r.Versions[i].Stages, stage) {
				return wire.Errorf("InvalidParameterException", "The parameter RemoveFromVersionId can't be empty. Staging label %s is currently not attached to version %s.", stage, *in.RemoveFromVersionId)
			}
			if in.MoveToVersionId == nil {
				if stage == current {
					return wire.Errorf("InvalidParameterException", "You can't remove the staging label AWSCURRENT without moving it to another version.")
				}
				r.Versions[i].Stages = without(r.Versions[i].Stages, stage)
			}
		}
		if in.MoveToVersionId != nil {
			i := r.version(*in.MoveToVersionId)
			if i < 0 {
				return noValue("VersionId: " + *in.MoveToVersionId)
			}
			if from := r.staged(stage); from >= 0 && from != i && in.RemoveFromVersionId == nil {
				return wire.Errorf("InvalidParameterException", "The parameter RemoveFromVersionId can't be empty. Staging label %s is currently attached to version %s, so you must explicitly reference that version in RemoveFromVersionId.", stage, r.Versions[from].ID)
			}
			r.move(stage, i)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &sm.UpdateSecretVersionStageOutput{ARN: &r.ARN, Name: &r.Name}, nil
}

func (r *secret) stages() map[string][]string {
	m := map[string][]string{}
	for _, v := range r.Versions {
		if len(v.Stages) > 0 {
			m[v.ID] = v.Stages
		}
	}
	return m
}

// DescribeSecret returns all but the value.
func (s *Service) DescribeSecret(_ context.Context, in *sm.DescribeSecretInput) (*sm.DescribeSecretOutput, error) {
	r, err := s.find(in.SecretId)
	if err != nil {
		return nil, err
	}
	return &sm.DescribeSecretOutput{
		ARN: &r.ARN, Name: &r.Name, Description: text(r.Description), KmsKeyId: text(r.KMSKey), Tags: sdkTags(r.Tags), CreatedDate: &r.Created,
		LastChangedDate: &r.Changed, LastAccessedDate: date(r.Accessed), DeletedDate: date(r.Deleted), VersionIdsToStages: r.stages(),
	}, nil
}

func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func date(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// DeleteSecret marks a secret for deletion, or deletes it at once when forced.
func (s *Service) DeleteSecret(_ context.Context, in *sm.DeleteSecretInput) (*sm.DeleteSecretOutput, error) {
	force := aws.ToBool(in.ForceDeleteWithoutRecovery)
	days := int64(30)
	if in.RecoveryWindowInDays != nil {
		days = *in.RecoveryWindowInDays
		if force {
			return nil, wire.Errorf("InvalidParameterException", "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.")
		}
		if days < 7 || days > 30 {
			return nil, wire.Errorf("InvalidParameterException", "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).")
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.find(in.SecretId)
	now := s.now()
	if force {
		if err != nil { // AWS says yes to forced deletion of what is not there
			return &sm.DeleteSecretOutput{Name: in.SecretId, DeletionDate: &now}, nil
		}
		return &sm.DeleteSecretOutput{ARN: &r.ARN, Name: &r.Name, DeletionDate: &now}, s.secrets.Delete(r.Name)
	}
	if err != nil {
		return nil, err
	}
	if !r.Deleted.IsZero() {
		return nil, markedForDeletion()
	}
	r, err = s.secrets.Update(r.Name, func(r *secret) error {
		r.Deleted, r.Gone = now, now.AddDate(0, 0, int(days))
		return nil
	})
	return &sm.DeleteSecretOutput{ARN: &r.ARN, Name: &r.Name, DeletionDate: &r.Gone}, err
}

// RestoreSecret takes a deletion back.
func (s *Service) RestoreSecret(_ context.Context, in *sm.RestoreSecretInput) (*sm.RestoreSecretOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.find(in.SecretId)
	if err != nil {
		return nil, err
	}
	_, err = s.secrets.Update(r.Name, func(r *secret) error { r.Deleted, r.Gone = time.Time{}, time.Time{}; return nil })
	return &sm.RestoreSecretOutput{ARN: &r.ARN, Name: &r.Name}, err
}

// ListSecretVersionIds lists versions.
func (s *Service) ListSecretVersionIds(_ context.Context, in *sm.ListSecretVersionIdsInput) (*sm.ListSecretVersionIdsOutput, error) {
	r, err := s.find(in.SecretId)
	if err != nil {
		return nil, err
	}
	out := &sm.ListSecretVersionIdsOutput{ARN: &r.ARN, Name: &r.Name}
	for _, v := range r.Versions {
		if len(v.Stages) > 0 || aws.ToBool(in.IncludeDeprecated) {
			out.Versions = append(out.Versions, types.SecretVersionsListEntry{
				VersionId: &v.ID, VersionStages: v.Stages, CreatedDate: &v.Created, LastAccessedDate: date(v.Accessed),
			})
		}
	}
	return out, nil
}

// TagResource adds or replaces tags.
func (s *Service) TagResource(_ context.Context, in *sm.TagResourceInput) (*sm.TagResourceOutput, error) {
	_, err := s.change(in.SecretId, func(r *secret) error { r.Tags = withTags(r.Tags, in.Tags); return nil })
	return &sm.TagResourceOutput{}, err
}

// UntagResource removes tags.
func (s *Service) UntagResource(_ context.Context, in *sm.UntagResourceInput) (*sm.UntagResourceOutput, error) {
	_, err := s.change(in.SecretId, func(r *secret) error {
		r.Tags = slices.DeleteFunc(slices.Clone(r.Tags), func(t tag) bool { return slices.Contains(in.TagKeys, t.Key) })
		return nil
	})
	return &sm.UntagResourceOutput{}, err
}

func withTags(old []tag, list []types.Tag) []tag {
	values := map[string]string{}
	for _, t := range old {
		values[t.Key] = t.Value
	}
	for _, t := range list {
		values[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	var out []tag
	for _, k := range slices.Sorted(maps.Keys(values)) {
		out = append(out, tag{k, values[k]})
	}
	return out
}

func sdkTags(list []tag) []types.Tag {
	out := make([]types.Tag, len(list))
	for i, t := range list {
		out[i] = types.Tag{Key: aws.String(t.Key), Value: aws.String(t.Value)}
	}
	return out
}

// PutResourcePolicy sets the secret's policy, which is kept and not judged.
func (s *Service) PutResourcePolicy(_ context.Context, in *sm.PutResourcePolicyInput) (*sm.PutResourcePolicyOutput, error) {
	r, err := s.change(in.SecretId, func(r *secret) error { r.Policy = aws.ToString(in.ResourcePolicy); return nil })
	return &sm.PutResourcePolicyOutput{ARN: &r.ARN, Name: &r.Name}, err
}

// GetResourcePolicy returns the secret's policy.
func (s *Service) GetResourcePolicy(_ context.Context, in *sm.GetResourcePolicyInput) (*sm.GetResourcePolicyOutput, error) {
	r, err := s.live(in.SecretId)
	return &sm.GetResourcePolicyOutput{ARN: &r.ARN, Name: &r.Name, ResourcePolicy: text(r.Policy)}, err
}

// DeleteResourcePolicy removes the secret's policy.
func (s *Service) DeleteResourcePolicy(_ context.Context, in *sm.DeleteResourcePolicyInput) (*sm.DeleteResourcePolicyOutput, error) {
	r, err := s.change(in.SecretId, func(r *secret) error { r.Policy = ""; return nil })
	return &sm.DeleteResourcePolicyOutput{ARN: &r.ARN, Name: &r.Name}, err
}

// suffix is the random end of an ARN.
func suffix() string { return randomText(6, suffixChars) }

func randomText(n int, alphabet string) string {
	out := make([]byte, 0, n)
	limit := byte(256 / len(alphabet) * len(alphabet) % 256) // 0: every byte is fair
	for b := make([]byte, 2*n); len(out) < n; {
		_, _ = rand.Read(b) // never fails (crypto/rand)
		for _, c := range b {
			if (limit == 0 || c < limit) && len(out) < n {
				out = append(out, alphabet[int(c)%len(alphabet)])
			}
		}
	}
	return string(out)
}
