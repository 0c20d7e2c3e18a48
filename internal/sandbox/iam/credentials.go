package iam

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"pcluster/internal/sandbox/wire"
)

// adminName is the user whose key people get from the sandbox.
const adminName = "admin"

// An accessKey is a long-term key of a user.
type accessKey struct {
	ID      string // AKIA…
	Secret  string
	User    string
	Created time.Time
	Status  types.StatusType
	Root    bool `json:",omitempty"` // the one that the sandbox gives out
}

// A sessionKey is a temporary key of a role, or of a user (GetSessionToken). It
// outlives the daemon: machines go on with what they hold.
type sessionKey struct {
	ID      string // ASIA…
	Secret  string
	Token   string
	RoleID  string `json:",omitempty"`
	Role    string `json:",omitempty"`
	Session string `json:",omitempty"` // role session name
	User    string `json:",omitempty"`
	Expires time.Time
}

const (
	// sessionLife is how long credentials of machines are good for, and
	// renewBefore when the next ones are made: as with EC2's, there is time enough
	// for whoever holds the old ones to fetch the new.
	sessionLife = 6 * time.Hour
	renewBefore = time.Hour

	// keepExpired is for how long a key that ended is told so, rather than that it
	// is unknown.
	keepExpired = 24 * time.Hour
)

func newSecret() string {
	b := make([]byte, 30)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return base64.StdEncoding.EncodeToString(b)
}

func newToken() string {
	b := make([]byte, 180)
	_, _ = rand.Read(b)
	return "IQoJb3JpZ2luX2Vj" + base64.StdEncoding.EncodeToString(b)
}

func keyID(prefix string) string {
	return prefix + randomText(16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
}

// makeAdmin makes the first user with an access key, unless the account has them.
func (s *Service) makeAdmin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id, _ := s.RootCredentials(); id != "" {
		return nil
	}
	now := s.now().UTC().Truncate(time.Second)
	if _, err := s.users.Insert(adminName, user{
		Name: adminName, Path: "/", ID: uniqueID("AIDA"), Created: now,
		grants: grants{Attached: []string{"arn:aws:iam::aws:policy/AdministratorAccess"}},
	}); err != nil {
		return err
	}
	k := accessKey{ID: keyID("AKIA"), Secret: newSecret(), User: adminName, Created: now, Status: types.StatusTypeActive, Root: true}
	return s.keys.Put(k.ID, k)
}

// RootCredentials returns the access key of the account's administrator.
func (s *Service) RootCredentials() (id, secret string) {
	for _, k := range s.keysOf(adminName) {
		if k.Root {
			return k.ID, k.Secret
		}
	}
	return "", "" // somebody deleted the key by hand; the next start makes another
}

func (s *Service) keysOf(user string) []accessKey {
	var out []accessKey
	for _, k := range s.keys.All() {
		if k.User == user {
			out = append(out, k)
		}
	}
	return out
}

// LookupKey tells who owns an access key. Package wire checks signatures by it.
func (s *Service) LookupKey(accessKeyID string) (caller wire.Caller, secret, token string, ok bool) {
	caller = wire.Caller{AccessKeyID: accessKeyID, AccountID: s.id.Account()}
	if k, ok := s.keys.Get(accessKeyID); ok {
		u, exists := s.users.Get(k.User)
		if !exists || k.Status != types.StatusTypeActive {
			return wire.Caller{}, "", "", false
		}
		caller.ARN, caller.UserID = s.arn("user", u.Path, u.Name), u.ID
		return caller, k.Secret, "", true
	}
	k, ok := s.sessions.Get(accessKeyID)
	if !ok {
		return wire.Caller{}, "", "", false
	}
	caller.Expires = k.Expires
	if k.User != "" {
		u, exists := s.users.Get(k.User)
		if !exists {
			return wire.Caller{}, "", "", false
		}
		caller.ARN, caller.UserID = s.arn("user", u.Path, u.Name), u.ID
		return caller, k.Secret, k.Token, true
	}
	if r, exists := s.roles.Get(k.Role); !exists || r.ID != k.RoleID {
		return wire.Caller{}, "", "", false // the role is gone, or another one has its name
	}
	caller.ARN = s.id.GlobalARN("sts", "assumed-role/"+k.Role+"/"+k.Session)
	caller.UserID = k.RoleID + ":" + k.Session
	return caller, k.Secret, k.Token, true
}

// Credentials are temporary credentials and who they make their holder.
type Credentials struct {
	AccessKeyID, Secret, Token string
	Expires                    time.Time
	ARN                        string // assumed-role/ROLE/SESSION
	UserID                     string // AROA…:SESSION
}

// RoleCredentials returns credentials of a role under a session name, as an
// instance or a function holds them. It returns the same ones until their end
// comes near.
func (s *Service) RoleCredentials(_ context.Context, roleARN, session string) (accessKeyID, secret, token string, expires time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.roleByARN(roleARN)
	if err != nil {
		return "", "", "", time.Time{}, err
	}
	if k, ok := s.sessions.Get(s.current[r.ID+" "+session]); ok && s.now().Before(k.Expires.Add(-renewBefore)) {
		return k.ID, k.Secret, k.Token, k.Expires, nil
	}
	k, err := s.newSession(r, session, sessionLife)
	if err != nil {
		return "", "", "", time.Time{}, err
	}
	s.current[r.ID+" "+session] = k.ID
	return k.ID, k.Secret, k.Token, k.Expires, nil
}

// AssumeRole returns fresh credentials of a role; zero life is the role's longest.
func (s *Service) AssumeRole(roleARN, session string, life time.Duration) (Credentials, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.roleByARN(roleARN)
	if err != nil {
		return Credentials{}, err
	}
	if life == 0 {
		life = time.Hour
	}
	if longest := time.Duration(r.MaxSession) * time.Second; life > longest {
		return Credentials{}, wire.Errorf("ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	}
	k, err := s.newSession(r, session, life)
	if err != nil {
		return Credentials{}, err
	}
	return Credentials{
		AccessKeyID: k.ID, Secret: k.Secret, Token: k.Token, Expires: k.Expires,
		ARN: s.id.GlobalARN("sts", "assumed-role/"+r.Name+"/"+session), UserID: r.ID + ":" + session,
	}, nil
}

// UserSession returns temporary credentials of the user with the given ARN.
func (s *Service) UserSession(userARN string, life time.Duration) (Credentials, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, ok := s.users.Get(userARN[strings.LastIndexByte(userARN, '/')+1:])
	if !ok {
		return Credentials{}, &wire.Error{Code: "AccessDenied", Message: "Cannot call GetSessionToken with session credentials", Status: 403}
	}
	k := sessionKey{ID: keyID("ASIA"), Secret: newSecret(), Token: newToken(), User: u.Name, Expires: s.now().Add(life).UTC().Truncate(time.Second)}
	return Credentials{AccessKeyID: k.ID, Secret: k.Secret, Token: k.Token, Expires: k.Expires, ARN: userARN, UserID: u.ID}, s.sessions.Put(k.ID, k)
}

func (s *Service) roleByARN(arn string) (role, error) {
	r, ok := s.roles.Get(arn[strings.LastIndexByte(arn, '/')+1:])
	if !ok || s.arn("role", r.Path, r.Name) != arn {
		return role{}, noSuchEntity("The role %s cannot be found.", arn)
	}
	return r, nil
}

func (s *Service) newSession(r role, session string, life time.Duration) (sessionKey, error) {
	if err := s.dropExpired(); err != nil {
		return sessionKey{}, err
	}
	k := sessionKey{
		ID: keyID("ASIA"), Secret: newSecret(), Token: newToken(), RoleID: r.ID, Role: r.Name, Session: session,
		Expires: s.now().Add(life).UTC().Truncate(time.Second),
	}
	return k, s.sessions.Put(k.ID, k)
}

// restoreSessions finds, after a restart, the credentials that are handed out.
func (s *Service) restoreSessions() error {
	for _, k := range s.sessions.All() {
		key := k.RoleID + " " + k.Session
		if old, ok := s.sessions.Get(s.current[key]); k.RoleID != "" && (!ok || old.Expires.Before(k.Expires)) {
			s.current[key] = k.ID
		}
	}
	return s.dropExpired()
}

func (s *Service) dropExpired() error {
	cutoff := s.now().Add(-keepExpired)
	for _, k := range s.sessions.All() {
		if k.Expires.Before(cutoff) {
			if err := s.sessions.Delete(k.ID); err != nil {
				return fmt.Errorf("drop expired credentials: %w", err)
			}
			if s.current[k.RoleID+" "+k.Session] == k.ID {
				delete(s.current, k.RoleID+" "+k.Session)
			}
		}
	}
	return nil
}

// forgetSessions ends all credentials of a role.
func (s *Service) forgetSessions(roleID string) error {
	for _, k := range s.sessions.All() {
		if k.RoleID != roleID {
			continue
		}
		delete(s.current, k.RoleID+" "+k.Session)
		if err := s.sessions.Delete(k.ID); err != nil {
			return err
		}
	}
	return nil
}

// CreateAccessKey makes a long-term key of a user.
func (s *Service) CreateAccessKey(ctx context.Context, in *iam.CreateAccessKeyInput) (*iam.CreateAccessKeyOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := s.user(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	if len(s.keysOf(u.Name)) >= 2 {
		return nil, limitExceeded("Cannot exceed quota for AccessKeysPerUser: 2")
	}
	k := accessKey{ID: keyID("AKIA"), Secret: newSecret(), User: u.Name, Created: s.now().UTC().Truncate(time.Second), Status: types.StatusTypeActive}
	if err := s.keys.Put(k.ID, k); err != nil {
		return nil, err
	}
	return &iam.CreateAccessKeyOutput{AccessKey: &types.AccessKey{
		AccessKeyId: aws.String(k.ID), SecretAccessKey: aws.String(k.Secret), UserName: aws.String(k.User), Status: k.Status, CreateDate: aws.Time(k.Created),
	}}, nil
}

// ListAccessKeys lists a user's keys without their secrets.
func (s *Service) ListAccessKeys(ctx context.Context, in *iam.ListAccessKeysInput) (*iam.ListAccessKeysOutput, error) {
	u, err := s.user(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	out := &iam.ListAccessKeysOutput{}
	for _, k := range s.keysOf(u.Name) {
		out.AccessKeyMetadata = append(out.AccessKeyMetadata, types.AccessKeyMetadata{
			AccessKeyId: aws.String(k.ID), UserName: aws.String(k.User), Status: k.Status, CreateDate: aws.Time(k.Created),
		})
	}
	return out, nil
}

// UpdateAccessKey makes a key active or inactive.
func (s *Service) UpdateAccessKey(ctx context.Context, in *iam.UpdateAccessKeyInput) (*iam.UpdateAccessKeyOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := s.accessKey(ctx, in.UserName, in.AccessKeyId)
	if err != nil {
		return nil, err
	}
	k.Status = in.Status
	return &iam.UpdateAccessKeyOutput{}, s.keys.Put(k.ID, k)
}

// DeleteAccessKey deletes a key.
func (s *Service) DeleteAccessKey(ctx context.Context, in *iam.DeleteAccessKeyInput) (*iam.DeleteAccessKeyOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := s.accessKey(ctx, in.UserName, in.AccessKeyId)
	if err != nil {
		return nil, err
	}
	return &iam.DeleteAccessKeyOutput{}, s.keys.Delete(k.ID)
}

func (s *Service) accessKey(ctx context.Context, name, id *string) (accessKey, error) {
	u, err := s.user(ctx, name)
	if err != nil {
		return accessKey{}, err
	}
	k, ok := s.keys.Get(aws.ToString(id))
	if !ok || k.User != u.Name {
		return accessKey{}, noSuchEntity("The Access Key with id %s cannot be found.", aws.ToString(id))
	}
	return k, nil
}
