package iam

import (
	"context"
	"errors"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/smithy-go"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/wire"
	"pcluster/internal/sandbox/wire/wiretest"
)

const (
	trust  = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	allow  = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}`
	ssmARN = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"
)

func newService(t *testing.T) (*Service, *iam.Client) {
	t.Helper()
	s, err := New(store.Memory(), region.NewIdentity("", ""))
	if err != nil {
		t.Fatal(err)
	}
	srv := wiretest.Serve(t, map[string]wiretest.Registrar{"iam": s})
	srv.Auth = s
	id, secret := s.RootCredentials()
	return s, iam.NewFromConfig(srv.As(id, secret, "").Config())
}

func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestRoleCannotBeDeletedWhileItIsUsed(t *testing.T) {
	_, c := newService(t)
	ctx := context.Background()
	name := aws.String("node")
	made := must[*iam.CreateRoleOutput](t)(c.CreateRole(ctx, &iam.CreateRoleInput{
		RoleName: name, Path: aws.String("/parallelcluster/c/"), AssumeRolePolicyDocument: aws.String(trust),
		Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}},
	}))
	if *made.Role.Arn != "arn:aws:iam::111122223333:role/parallelcluster/c/node" || !strings.HasPrefix(*made.Role.RoleId, "AROA") {
		t.Errorf("made %s %s", *made.Role.Arn, *made.Role.RoleId)
	}
	if doc, _ := url.QueryUnescape(*made.Role.AssumeRolePolicyDocument); doc != trust {
		t.Errorf("trust policy came back as %s", doc)
	}
	profile := aws.String("node-profile")
	must[*iam.CreateInstanceProfileOutput](t)(c.CreateInstanceProfile(ctx, &iam.CreateInstanceProfileInput{InstanceProfileName: profile}))
	must[*iam.AddRoleToInstanceProfileOutput](t)(c.AddRoleToInstanceProfile(ctx, &iam.AddRoleToInstanceProfileInput{InstanceProfileName: profile, RoleName: name}))
	must[*iam.PutRolePolicyOutput](t)(c.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: name, PolicyName: aws.String("p"), PolicyDocument: aws.String(allow)}))
	must[*iam.AttachRolePolicyOutput](t)(c.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: name, PolicyArn: aws.String(ssmARN)}))

	del := func() string { _, err := c.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: name}); return code(err) }
	if got := del(); got != "DeleteConflict" {
		t.Errorf("in a profile: %s", got)
	}
	must[*iam.RemoveRoleFromInstanceProfileOutput](t)(c.RemoveRoleFromInstanceProfile(ctx, &iam.RemoveRoleFromInstanceProfileInput{InstanceProfileName: profile, RoleName: name}))
	if got := del(); got != "DeleteConflict" {
		t.Errorf("with an attached policy: %s", got)
	}
	must[*iam.DetachRolePolicyOutput](t)(c.DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: name, PolicyArn: aws.String(ssmARN)}))
	if got := del(); got != "DeleteConflict" {
		t.Errorf("with an inline policy: %s", got)
	}
	must[*iam.DeleteRolePolicyOutput](t)(c.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: name, PolicyName: aws.String("p")}))
	if got := del(); got != "" {
		t.Errorf("free: %s", got)
	}
	var gone *types.NoSuchEntityException
	if _, err := c.GetRole(ctx, &iam.GetRoleInput{RoleName: name}); !errors.As(err, &gone) {
		t.Errorf("deleted role: %v, want NoSuchEntity", err)
	}
}

func TestRefusals(t *testing.T) {
	_, c := newService(t)
	ctx := context.Background()
	name := aws.String("r")
	must[*iam.CreateRoleOutput](t)(c.CreateRole(ctx, &iam.CreateRoleInput{RoleName: name, AssumeRolePolicyDocument: aws.String(trust)}))
	big := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"` + strings.Repeat("x", 10240) + `"}]}`
	for want, call := range map[string]func() error{
		"EntityAlreadyExists": func() error {
			_, err := c.CreateRole(ctx, &iam.CreateRoleInput{RoleName: name, AssumeRolePolicyDocument: aws.String(trust)})
			return err
		},
		"MalformedPolicyDocument": func() error {
			_, err := c.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("x"), AssumeRolePolicyDocument: aws.String(allow)})
			return err
		},
		"ValidationError": func() error {
			_, err := c.GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String("no such*name")})
			return err
		},
		"NoSuchEntity": func() error {
			_, err := c.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: name, PolicyArn: aws.String("arn:aws:iam::111122223333:policy/none")})
			return err
		},
		"LimitExceeded": func() error {
			_, err := c.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: name, PolicyName: aws.String("big"), PolicyDocument: aws.String(big)})
			return err
		},
	} {
		if got := code(call()); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestManagedPolicyVersions(t *testing.T) {
	s, c := newService(t)
	ctx := context.Background()
	made := must[*iam.CreatePolicyOutput](t)(c.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("p"), PolicyDocument: aws.String(allow)}))
	arn := made.Policy.Arn
	for range 4 {
		must[*iam.CreatePolicyVersionOutput](t)(c.CreatePolicyVersion(ctx, &iam.CreatePolicyVersionInput{PolicyArn: arn, PolicyDocument: aws.String(allow), SetAsDefault: true}))
	}
	if _, err := c.CreatePolicyVersion(ctx, &iam.CreatePolicyVersionInput{PolicyArn: arn, PolicyDocument: aws.String(allow)}); code(err) != "LimitExceeded" {
		t.Errorf("sixth version: %v", err)
	}
	if _, err := c.DeletePolicyVersion(ctx, &iam.DeletePolicyVersionInput{PolicyArn: arn, VersionId: aws.String("v5")}); code(err) != "DeleteConflict" {
		t.Errorf("default version: %v", err)
	}
	must[*iam.DeletePolicyVersionOutput](t)(c.DeletePolicyVersion(ctx, &iam.DeletePolicyVersionInput{PolicyArn: arn, VersionId: aws.String("v1")}))
	out := must[*iam.CreatePolicyVersionOutput](t)(c.CreatePolicyVersion(ctx, &iam.CreatePolicyVersionInput{PolicyArn: arn, PolicyDocument: aws.String(allow)}))
	if *out.PolicyVersion.VersionId != "v6" {
		t.Errorf("version %s, want v6: numbers are not used again", *out.PolicyVersion.VersionId)
	}

	adopted := "arn:aws:iam::111122223333:policy/path/Adopted"
	for range 2 {
		if err := s.AdoptPolicy(adopted, `{"Version":"2012-10-17","Statement":[]}`); err != nil {
			t.Fatal(err)
		}
	}
	if got := must[*iam.GetPolicyOutput](t)(c.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: &adopted})); *got.Policy.PolicyName != "Adopted" || *got.Policy.Path != "/path/" {
		t.Errorf("adopted %s in %s", *got.Policy.PolicyName, *got.Policy.Path)
	}
	must[*iam.CreateRoleOutput](t)(c.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("adopter"), AssumeRolePolicyDocument: aws.String(trust)}))
	must[*iam.AttachRolePolicyOutput](t)(c.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: aws.String("adopter"), PolicyArn: &adopted}))
	caller := wire.Caller{ARN: "arn:aws:sts::111122223333:assumed-role/adopter/session"}
	if may := s.PermissionsOf(caller); len(may.Unknown) != 1 || len(may.Policies) != 0 {
		t.Errorf("whoever has an adopted policy may %+v", may)
	}
	must[*iam.CreatePolicyVersionOutput](t)(c.CreatePolicyVersion(ctx, &iam.CreatePolicyVersionInput{
		PolicyArn: &adopted, SetAsDefault: true, PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}`),
	}))
	if may := s.PermissionsOf(caller); len(may.Unknown) != 0 || len(may.Policies) != 1 {
		t.Errorf("with a version that says it, he may %+v", may)
	}
	if err := s.AdoptPolicy("arn:aws:iam::999999999999:policy/x", "{}"); err == nil {
		t.Error("a policy of another account was adopted")
	}
	for _, arn := range []string{ssmARN, "arn:aws:iam::aws:policy/service-role/AWSLambdaVPCAccessExecutionRole"} {
		if got := must[*iam.GetPolicyOutput](t)(c.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: &arn})); !strings.HasSuffix(arn, *got.Policy.PolicyName) {
			t.Errorf("AWS's policy %s is called %s", arn, *got.Policy.PolicyName)
		}
	}
}

func TestListsComeInPages(t *testing.T) {
	_, c := newService(t)
	ctx := context.Background()
	for _, n := range []string{"c", "a", "b"} {
		must[*iam.CreateRoleOutput](t)(c.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &n, AssumeRolePolicyDocument: aws.String(trust)}))
	}
	var got []string
	p := iam.NewListRolesPaginator(c, &iam.ListRolesInput{MaxItems: aws.Int32(2)})
	for p.HasMorePages() {
		for _, r := range must[*iam.ListRolesOutput](t)(p.NextPage(ctx)).Roles {
			got = append(got, *r.RoleName)
		}
	}
	if strings.Join(got, "") != "abc" {
		t.Errorf("roles %v", got)
	}
}

func TestRoleCredentialsOutliveTheDaemon(t *testing.T) {
	path := filepath.Join(t.TempDir(), "region.db")
	id := region.NewIdentity("", "")
	now := time.Now()
	open := func() (*Service, func()) {
		db, err := store.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		s, err := New(db, id)
		if err != nil {
			t.Fatal(err)
		}
		s.now = func() time.Time { return now }
		return s, func() { _ = db.Close() }
	}
	ctx := context.Background()
	s, closeDB := open()
	must[*iam.CreateRoleOutput](t)(s.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("r"), Path: aws.String("/p/"), AssumeRolePolicyDocument: aws.String(trust)}))
	arn := "arn:aws:iam::111122223333:role/p/r"
	key, secret, token, expires, err := s.RoleCredentials(ctx, arn, "i-1")
	if err != nil {
		t.Fatal(err)
	}
	rootKey, rootSecret := s.RootCredentials()
	closeDB()

	s, closeDB = open()
	defer closeDB()
	caller, gotSecret, gotToken, ok := s.LookupKey(key)
	if !ok || gotSecret != secret || gotToken != token || !caller.Expires.Equal(expires) || caller.ARN != "arn:aws:sts::111122223333:assumed-role/r/i-1" {
		t.Errorf("after a restart: %+v %v", caller, ok)
	}
	if k, sec := s.RootCredentials(); k != rootKey || sec != rootSecret {
		t.Error("the administrator's key changed")
	}
	if again, _, _, _, _ := s.RoleCredentials(ctx, arn, "i-1"); again != key {
		t.Error("credentials that are still good were replaced")
	}
	now = expires.Add(-30 * time.Minute)
	next, _, _, _, err := s.RoleCredentials(ctx, arn, "i-1")
	if err != nil || next == key {
		t.Errorf("near their end: %s, %v; want new ones", next, err)
	}
	if _, _, _, ok := s.LookupKey(key); !ok {
		t.Error("the old credentials ended before their time")
	}
	must[*iam.DeleteRoleOutput](t)(s.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: aws.String("r")}))
	if _, _, _, ok := s.LookupKey(next); ok {
		t.Error("credentials of a deleted role are good")
	}
	if _, _, _, _, err := s.RoleCredentials(ctx, arn, "i-1"); code(err) != "NoSuchEntity" {
		t.Errorf("deleted role: %v", err)
	}
}

func TestInstanceProfileRole(t *testing.T) {
	s, _ := newService(t)
	ctx := context.Background()
	must[*iam.CreateRoleOutput](t)(s.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("r"), AssumeRolePolicyDocument: aws.String(trust)}))
	must[*iam.CreateInstanceProfileOutput](t)(s.CreateInstanceProfile(ctx, &iam.CreateInstanceProfileInput{InstanceProfileName: aws.String("p"), Path: aws.String("/x/")}))
	must[*iam.AddRoleToInstanceProfileOutput](t)(s.AddRoleToInstanceProfile(ctx, &iam.AddRoleToInstanceProfileInput{InstanceProfileName: aws.String("p"), RoleName: aws.String("r")}))
	for _, name := range []string{"p", "arn:aws:iam::111122223333:instance-profile/x/p"} {
		profileARN, id, roleARN, role, err := s.InstanceProfileRole(ctx, name)
		if err != nil || profileARN != "arn:aws:iam::111122223333:instance-profile/x/p" || !strings.HasPrefix(id, "AIPA") ||
			roleARN != "arn:aws:iam::111122223333:role/r" || role != "r" {
			t.Errorf("%s: %s %s %s %s %v", name, profileARN, id, roleARN, role, err)
		}
	}
	for _, name := range []string{"q", "arn:aws:iam::111122223333:instance-profile/p"} {
		if _, _, _, _, err := s.InstanceProfileRole(ctx, name); code(err) != "NoSuchEntity" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAccessKeysOfUsersSign(t *testing.T) {
	s, c := newService(t)
	ctx := context.Background()
	me := must[*iam.GetUserOutput](t)(c.GetUser(ctx, nil))
	if *me.User.UserName != "admin" {
		t.Errorf("called as %s", *me.User.UserName)
	}
	must[*iam.CreateUserOutput](t)(c.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("u")}))
	k := must[*iam.CreateAccessKeyOutput](t)(c.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: aws.String("u")})).AccessKey
	if caller, secret, _, ok := s.LookupKey(*k.AccessKeyId); !ok || secret != *k.SecretAccessKey || caller.ARN != "arn:aws:iam::111122223333:user/u" {
		t.Errorf("key of u belongs to %+v", caller)
	}
	if _, err := c.DeleteUser(ctx, &iam.DeleteUserInput{UserName: aws.String("u")}); code(err) != "DeleteConflict" {
		t.Errorf("user with a key: %v", err)
	}
	must[*iam.UpdateAccessKeyOutput](t)(c.UpdateAccessKey(ctx, &iam.UpdateAccessKeyInput{UserName: aws.String("u"), AccessKeyId: k.AccessKeyId, Status: types.StatusTypeInactive}))
	if _, _, _, ok := s.LookupKey(*k.AccessKeyId); ok {
		t.Error("an inactive key is good")
	}
	must[*iam.DeleteAccessKeyOutput](t)(c.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: aws.String("u"), AccessKeyId: k.AccessKeyId}))
	must[*iam.DeleteUserOutput](t)(c.DeleteUser(ctx, &iam.DeleteUserInput{UserName: aws.String("u")}))
}
