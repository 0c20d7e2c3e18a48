package resource

import (
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"pcluster/internal/sandbox/cloudformation/template"
)

// IAM is the part of IAM that stacks use.
type IAM interface {
	CreateRole(context.Context, *iam.CreateRoleInput) (*iam.CreateRoleOutput, error)
	GetRole(context.Context, *iam.GetRoleInput) (*iam.GetRoleOutput, error)
	UpdateRole(context.Context, *iam.UpdateRoleInput) (*iam.UpdateRoleOutput, error)
	DeleteRole(context.Context, *iam.DeleteRoleInput) (*iam.DeleteRoleOutput, error)
	UpdateAssumeRolePolicy(context.Context, *iam.UpdateAssumeRolePolicyInput) (*iam.UpdateAssumeRolePolicyOutput, error)
	PutRolePermissionsBoundary(context.Context, *iam.PutRolePermissionsBoundaryInput) (*iam.PutRolePermissionsBoundaryOutput, error)
	DeleteRolePermissionsBoundary(context.Context, *iam.DeleteRolePermissionsBoundaryInput) (*iam.DeleteRolePermissionsBoundaryOutput, error)
	TagRole(context.Context, *iam.TagRoleInput) (*iam.TagRoleOutput, error)
	UntagRole(context.Context, *iam.UntagRoleInput) (*iam.UntagRoleOutput, error)
	PutRolePolicy(context.Context, *iam.PutRolePolicyInput) (*iam.PutRolePolicyOutput, error)
	DeleteRolePolicy(context.Context, *iam.DeleteRolePolicyInput) (*iam.DeleteRolePolicyOutput, error)
	ListRolePolicies(context.Context, *iam.ListRolePoliciesInput) (*iam.ListRolePoliciesOutput, error)
	AttachRolePolicy(context.Context, *iam.AttachRolePolicyInput) (*iam.AttachRolePolicyOutput, error)
	DetachRolePolicy(context.Context, *iam.DetachRolePolicyInput) (*iam.DetachRolePolicyOutput, error)
	ListAttachedRolePolicies(context.Context, *iam.ListAttachedRolePoliciesInput) (*iam.ListAttachedRolePoliciesOutput, error)

	CreatePolicy(context.Context, *iam.CreatePolicyInput) (*iam.CreatePolicyOutput, error)
	CreatePolicyVersion(context.Context, *iam.CreatePolicyVersionInput) (*iam.CreatePolicyVersionOutput, error)
	DeletePolicyVersion(context.Context, *iam.DeletePolicyVersionInput) (*iam.DeletePolicyVersionOutput, error)
	ListPolicyVersions(context.Context, *iam.ListPolicyVersionsInput) (*iam.ListPolicyVersionsOutput, error)
	DeletePolicy(context.Context, *iam.DeletePolicyInput) (*iam.DeletePolicyOutput, error)

	CreateInstanceProfile(context.Context, *iam.CreateInstanceProfileInput) (*iam.CreateInstanceProfileOutput, error)
	GetInstanceProfile(context.Context, *iam.GetInstanceProfileInput) (*iam.GetInstanceProfileOutput, error)
	DeleteInstanceProfile(context.Context, *iam.DeleteInstanceProfileInput) (*iam.DeleteInstanceProfileOutput, error)
	AddRoleToInstanceProfile(context.Context, *iam.AddRoleToInstanceProfileInput) (*iam.AddRoleToInstanceProfileOutput, error)
	RemoveRoleFromInstanceProfile(context.Context, *iam.RemoveRoleFromInstanceProfileInput) (*iam.RemoveRoleFromInstanceProfileOutput, error)
}

// IAMUsers is the part of IAM for users. A region whose IAM lacks it has no type
// AWS::IAM::User.
type IAMUsers interface {
	CreateUser(context.Context, *iam.CreateUserInput) (*iam.CreateUserOutput, error)
	GetUser(context.Context, *iam.GetUserInput) (*iam.GetUserOutput, error)
	DeleteUser(context.Context, *iam.DeleteUserInput) (*iam.DeleteUserOutput, error)
	PutUserPolicy(context.Context, *iam.PutUserPolicyInput) (*iam.PutUserPolicyOutput, error)
	DeleteUserPolicy(context.Context, *iam.DeleteUserPolicyInput) (*iam.DeleteUserPolicyOutput, error)
	AttachUserPolicy(context.Context, *iam.AttachUserPolicyInput) (*iam.AttachUserPolicyOutput, error)
	DetachUserPolicy(context.Context, *iam.DetachUserPolicyInput) (*iam.DetachUserPolicyOutput, error)
}

func iamTypes(api IAM) []*Type {
	all := []*Type{roleType(api), managedPolicyType(api), instanceProfileType(api)}
	users, _ := api.(IAMUsers)
	all = append(all, inlinePolicyType(api, users))
	if users != nil {
		all = append(all, userType(users))
	}
	return all
}

func iamTagList(tags []tag) []types.Tag {
	var out []types.Tag
	for _, t := range tags {
		out = append(out, types.Tag{Key: aws.String(t.Key), Value: aws.String(t.Value)})
	}
	return out
}

// inlinePolicies returns name and document of the property Policies.
func inlinePolicies(props map[string]any) map[string]string {
	out := map[string]string{}
	for _, p := range rules(props, "Policies") {
		name, _ := template.Text(p["PolicyName"])
		out[name] = document(p["PolicyDocument"])
	}
	return out
}

func document(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	return template.JSON(v)
}

func stringList(v any) []string {
	list, _ := v.([]any)
	var out []string
	for _, e := range list {
		if s, ok := template.Text(e); ok {
			out = append(out, s)
		}
	}
	return out
}

func roleType(api IAM) *Type {
	t := &Type{
		Name:       "AWS::IAM::Role",
		Attributes: []string{"Arn", "RoleId"},
		Replaces:   []string{"RoleName", "Path"},
		properties: like[iam.CreateRoleInput]("AssumeRolePolicyDocument").and("ManagedPolicyArns", "Policies", "Tags").asText("AssumeRolePolicyDocument"),
	}
	policies := func(ctx context.Context, r *Request) error {
		role := aws.String(r.PhysicalID)
		had, want := inlinePolicies(r.Before), inlinePolicies(r.Props)
		for name, doc := range want {
			if had[name] == doc {
				continue
			}
			if _, err := api.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: role, PolicyName: aws.String(name), PolicyDocument: aws.String(doc)}); err != nil {
				return err
			}
		}
		for name := range had {
			if _, keep := want[name]; !keep {
				if _, err := api.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: role, PolicyName: aws.String(name)}); gone(err) != nil {
					return err
				}
			}
		}
		hadARNs, wantARNs := stringList(r.Before["ManagedPolicyArns"]), stringList(r.Props["ManagedPolicyArns"])
		for _, arn := range wantARNs {
			if !slices.Contains(hadARNs, arn) {
				if _, err := api.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: role, PolicyArn: aws.String(arn)}); err != nil {
					return err
				}
			}
		}
		for _, arn := range hadARNs {
			if !slices.Contains(wantARNs, arn) {
				if _, err := api.DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: role, PolicyArn: aws.String(arn)}); gone(err) != nil {
					return err
				}
			}
		}
		return nil
	}
	t.Create = func(ctx context.Context, r *Request) error {
		in := input[iam.CreateRoleInput](t.properties, r.Props)
		in.RoleName = aws.String(r.Name("RoleName", 64))
		in.Tags = iamTagList(r.tagList())
		var role *types.Role
		out, err := api.CreateRole(ctx, in)
		switch {
		case err == nil:
			role = out.Role
		case r.Resumed && alreadyExists(err):
			found, err := api.GetRole(ctx, &iam.GetRoleInput{RoleName: in.RoleName})
			if err != nil {
				return err
			}
			role = found.Role
		default:
			return err
		}
		r.Set("Arn", aws.ToString(role.Arn))
		r.Set("RoleId", aws.ToString(role.RoleId))
		if err := r.Created(*in.RoleName); err != nil {
			return err
		}
		return policies(ctx, r)
	}
	t.Update = func(ctx context.Context, r *Request) error {
		role := aws.String(r.PhysicalID)
		if r.Changed("AssumeRolePolicyDocument") {
			if _, err := api.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: role, PolicyDocument: aws.String(document(r.Props["AssumeRolePolicyDocument"]))}); err != nil {
				return err
			}
		}
		if r.Changed("Description", "MaxSessionDuration") {
			in := input[iam.CreateRoleInput](t.properties, r.Props)
			if _, err := api.UpdateRole(ctx, &iam.UpdateRoleInput{RoleName: role, Description: in.Description, MaxSessionDuration: in.MaxSessionDuration}); err != nil {
				return err
			}
		}
		if r.Changed("PermissionsBoundary") {
			var err error
			if r.Has("PermissionsBoundary") {
				_, err = api.PutRolePermissionsBoundary(ctx, &iam.PutRolePermissionsBoundaryInput{RoleName: role, PermissionsBoundary: aws.String(r.String("PermissionsBoundary"))})
			} else {
				_, err = api.DeleteRolePermissionsBoundary(ctx, &iam.DeleteRolePermissionsBoundaryInput{RoleName: role})
			}
			if err != nil {
				return err
			}
		}
		set, remove := r.tagChanges()
		if len(remove) > 0 {
			if _, err := api.UntagRole(ctx, &iam.UntagRoleInput{RoleName: role, TagKeys: remove}); err != nil {
				return err
			}
		}
		if len(set) > 0 {
			if _, err := api.TagRole(ctx, &iam.TagRoleInput{RoleName: role, Tags: iamTagList(set)}); err != nil {
				return err
			}
		}
		return policies(ctx, r)
	}
	// As CloudFormation does, take away what hangs on the role (policies of other
	// resources of the stack are gone by now), but not what makes it in use.
	t.Delete = func(ctx context.Context, r *Request) error {
		role := aws.String(r.PhysicalID)
		inline, err := api.ListRolePolicies(ctx, &iam.ListRolePoliciesInput{RoleName: role})
		if err != nil {
			return gone(err)
		}
		own := inlinePolicies(r.Props)
		for _, name := range inline.PolicyNames {
			if _, ok := own[name]; ok {
				if _, err := api.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: role, PolicyName: aws.String(name)}); gone(err) != nil {
					return err
				}
			}
		}
		attached, err := api.ListAttachedRolePolicies(ctx, &iam.ListAttachedRolePoliciesInput{RoleName: role})
		if err != nil {
			return gone(err)
		}
		for _, p := range attached.AttachedPolicies {
			if slices.Contains(stringList(r.Props["ManagedPolicyArns"]), aws.ToString(p.PolicyArn)) {
				if _, err := api.DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: role, PolicyArn: p.PolicyArn}); gone(err) != nil {
					return err
				}
			}
		}
		_, err = api.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: role})
		return gone(err)
	}
	return t
}

// inlinePolicyType is AWS::IAM::Policy: one inline policy on several roles and
// users.
func inlinePolicyType(api IAM, users IAMUsers) *Type {
	each := func(props map[string]any, property string, do func(name *string) error) error {
		for _, name := range stringList(props[property]) {
			if err := do(aws.String(name)); err != nil {
				return err
			}
		}
		return nil
	}
	put := func(ctx context.Context, r *Request) error {
		name, doc := aws.String(r.String("PolicyName")), aws.String(document(r.Props["PolicyDocument"]))
		if err := each(r.Props, "Roles", func(role *string) error {
			_, err := api.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: role, PolicyName: name, PolicyDocument: doc})
			return err
		}); err != nil {
			return err
		}
		return each(r.Props, "Users", func(user *string) error {
			if users == nil {
				return fmt.Errorf("this region's IAM has no users")
			}
			_, err := users.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: user, PolicyName: name, PolicyDocument: doc})
			return err
		})
	}
	remove := func(ctx context.Context, props, keep map[string]any) error {
		text, _ := template.Text(props["PolicyName"])
		name := aws.String(text)
		same := template.Equal(props["PolicyName"], keep["PolicyName"])
		if err := each(props, "Roles", func(role *string) error {
			if same && slices.Contains(stringList(keep["Roles"]), *role) {
				return nil
			}
			_, err := api.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: role, PolicyName: name})
			return gone(err)
		}); err != nil {
			return err
		}
		return each(props, "Users", func(user *string) error {
			if users == nil || same && slices.Contains(stringList(keep["Users"]), *user) {
				return nil
			}
			_, err := users.DeleteUserPolicy(ctx, &iam.DeleteUserPolicyInput{UserName: user, PolicyName: name})
			return gone(err)
		})
	}
	return &Type{
		Name:       "AWS::IAM::Policy",
		Attributes: []string{"Id"},
		properties: only("PolicyName", "PolicyDocument", "Roles", "Users").refuses("Groups").requires("PolicyName", "PolicyDocument"),
		Create: func(ctx context.Context, r *Request) error {
			if len(stringList(r.Props["Roles"]))+len(stringList(r.Props["Users"])) == 0 {
				return fmt.Errorf("At least one of [Groups,Roles,Users] must be non-empty.")
			}
			// CloudFormation's physical ID of a policy is a name that nothing else has.
			id := GeneratedName(r.StackName, r.LogicalID, r.Token, 64)
			r.Set("Id", id)
			if err := r.Created(id); err != nil {
				return err
			}
			return put(ctx, r)
		},
		Update: func(ctx context.Context, r *Request) error {
			if err := put(ctx, r); err != nil {
				return err
			}
			return remove(ctx, r.Before, r.Props)
		},
		Delete: func(ctx context.Context, r *Request) error { return remove(ctx, r.Props, nil) },
	}
}

func managedPolicyType(api IAM) *Type {
	t := &Type{
		Name:       "AWS::IAM::ManagedPolicy",
		Attributes: []string{"PolicyArn", "PolicyId", "AttachmentCount", "CreateDate", "DefaultVersionId", "IsAttachable", "PermissionsBoundaryUsageCount", "UpdateDate"},
		Replaces:   []string{"ManagedPolicyName", "Path", "Description"},
		properties: like[iam.CreatePolicyInput]("PolicyDocument").and("ManagedPolicyName", "Roles").refuses("Users", "Groups").without("PolicyName", "Tags").asText("PolicyDocument"),
	}
	attach := func(ctx context.Context, r *Request) error {
		had, want := stringList(r.Before["Roles"]), stringList(r.Props["Roles"])
		for _, role := range want {
			if !slices.Contains(had, role) {
				if _, err := api.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: aws.String(role), PolicyArn: aws.String(r.PhysicalID)}); err != nil {
					return err
				}
			}
		}
		for _, role := range had {
			if !slices.Contains(want, role) {
				if _, err := api.DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: aws.String(role), PolicyArn: aws.String(r.PhysicalID)}); gone(err) != nil {
					return err
				}
			}
		}
		return nil
	}
	t.Create = func(ctx context.Context, r *Request) error {
		in := input[iam.CreatePolicyInput](t.properties, r.Props)
		in.PolicyName = aws.String(r.Name("ManagedPolicyName", 128))
		path := r.StringOr("Path", "/")
		arn := "arn:aws:iam::" + r.Account + ":policy" + path + *in.PolicyName
		out, err := api.CreatePolicy(ctx, in)
		switch {
		case err == nil:
			arn = aws.ToString(out.Policy.Arn)
			r.Set("PolicyId", aws.ToString(out.Policy.PolicyId))
		case !r.Resumed || !alreadyExists(err):
			return err
		}
		r.Set("PolicyArn", arn)
		r.Set("DefaultVersionId", "v1")
		if err := r.Created(arn); err != nil {
			return err
		}
		return attach(ctx, r)
	}
	trim := func(ctx context.Context, arn *string, all bool) error {
		out, err := api.ListPolicyVersions(ctx, &iam.ListPolicyVersionsInput{PolicyArn: arn})
		if err != nil {
			return gone(err)
		}
		for i := len(out.Versions) - 1; i >= 0; i-- { // newest first
			v := out.Versions[i]
			if v.IsDefaultVersion || !all && len(out.Versions) < 5 {
				continue
			}
			if _, err := api.DeletePolicyVersion(ctx, &iam.DeletePolicyVersionInput{PolicyArn: arn, VersionId: v.VersionId}); gone(err) != nil {
				return err
			}
			if !all {
				break
			}
		}
		return nil
	}
	t.Update = func(ctx context.Context, r *Request) error {
		if r.Changed("PolicyDocument") {
			arn := aws.String(r.PhysicalID)
			if err := trim(ctx, arn, false); err != nil {
				return err
			}
			out, err := api.CreatePolicyVersion(ctx, &iam.CreatePolicyVersionInput{PolicyArn: arn, PolicyDocument: aws.String(document(r.Props["PolicyDocument"])), SetAsDefault: true})
			if err != nil {
				return err
			}
			if out.PolicyVersion != nil {
				r.Set("DefaultVersionId", aws.ToString(out.PolicyVersion.VersionId))
			}
		}
		return attach(ctx, r)
	}
	t.Delete = func(ctx context.Context, r *Request) error {
		arn := aws.String(r.PhysicalID)
		for _, role := range stringList(r.Props["Roles"]) {
			if _, err := api.DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: aws.String(role), PolicyArn: arn}); gone(err) != nil {
				return err
			}
		}
		if err := trim(ctx, arn, true); err != nil {
			return err
		}
		_, err := api.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: arn})
		return gone(err)
	}
	return t
}

func instanceProfileType(api IAM) *Type {
	t := &Type{
		Name:       "AWS::IAM::InstanceProfile",
		Attributes: []string{"Arn"},
		Replaces:   []string{"InstanceProfileName", "Path"},
		properties: like[iam.CreateInstanceProfileInput]("Roles").and("Roles").without("Tags"),
	}
	roles := func(ctx context.Context, r *Request) error {
		had, want := stringList(r.Before["Roles"]), stringList(r.Props["Roles"])
		for _, role := range had {
			if !slices.Contains(want, role) {
				if _, err := api.RemoveRoleFromInstanceProfile(ctx, &iam.RemoveRoleFromInstanceProfileInput{InstanceProfileName: aws.String(r.PhysicalID), RoleName: aws.String(role)}); gone(err) != nil {
					return err
				}
			}
		}
		for _, role := range want {
			if !slices.Contains(had, role) {
				_, err := api.AddRoleToInstanceProfile(ctx, &iam.AddRoleToInstanceProfileInput{InstanceProfileName: aws.String(r.PhysicalID), RoleName: aws.String(role)})
				if err != nil && !(r.Resumed && errorCode(err) == "LimitExceeded") { // it has one already: ours
					return err
				}
			}
		}
		return nil
	}
	t.Create = func(ctx context.Context, r *Request) error {
		in := input[iam.CreateInstanceProfileInput](t.properties, r.Props)
		in.InstanceProfileName = aws.String(r.Name("InstanceProfileName", 128))
		var profile *types.InstanceProfile
		out, err := api.CreateInstanceProfile(ctx, in)
		switch {
		case err == nil:
			profile = out.InstanceProfile
		case r.Resumed && alreadyExists(err):
			found, err := api.GetInstanceProfile(ctx, &iam.GetInstanceProfileInput{InstanceProfileName: in.InstanceProfileName})
			if err != nil {
				return err
			}
			profile = found.InstanceProfile
		default:
			return err
		}
		r.Set("Arn", aws.ToString(profile.Arn))
		if err := r.Created(*in.InstanceProfileName); err != nil {
			return err
		}
		return roles(ctx, r)
	}
	t.Update = func(ctx context.Context, r *Request) error { return roles(ctx, r) }
	t.Delete = func(ctx context.Context, r *Request) error {
		name := aws.String(r.PhysicalID)
		for _, role := range stringList(r.Props["Roles"]) {
			if _, err := api.RemoveRoleFromInstanceProfile(ctx, &iam.RemoveRoleFromInstanceProfileInput{InstanceProfileName: name, RoleName: aws.String(role)}); gone(err) != nil {
				return err
			}
		}
		_, err := api.DeleteInstanceProfile(ctx, &iam.DeleteInstanceProfileInput{InstanceProfileName: name})
		return gone(err)
	}
	return t
}

func userType(api IAMUsers) *Type {
	t := &Type{
		Name:       "AWS::IAM::User",
		Attributes: []string{"Arn"},
		Replaces:   []string{"UserName", "Path", "PermissionsBoundary"},
		properties: like[iam.CreateUserInput]().and("ManagedPolicyArns", "Policies", "Tags").refuses("Groups", "LoginProfile"),
	}
	policies := func(ctx context.Context, r *Request) error {
		user := aws.String(r.PhysicalID)
		had, want := inlinePolicies(r.Before), inlinePolicies(r.Props)
		for name, doc := range want {
			if had[name] != doc {
				if _, err := api.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: user, PolicyName: aws.String(name), PolicyDocument: aws.String(doc)}); err != nil {
					return err
				}
			}
		}
		for name := range had {
			if _, keep := want[name]; !keep {
				if _, err := api.DeleteUserPolicy(ctx, &iam.DeleteUserPolicyInput{UserName: user, PolicyName: aws.String(name)}); gone(err) != nil {
					return err
				}
			}
		}
		hadARNs, wantARNs := stringList(r.Before["ManagedPolicyArns"]), stringList(r.Props["ManagedPolicyArns"])
		for _, arn := range wantARNs {
			if !slices.Contains(hadARNs, arn) {
				if _, err := api.AttachUserPolicy(ctx, &iam.AttachUserPolicyInput{UserName: user, PolicyArn: aws.String(arn)}); err != nil {
					return err
				}
			}
		}
		for _, arn := range hadARNs {
			if !slices.Contains(wantARNs, arn) {
				if _, err := api.DetachUserPolicy(ctx, &iam.DetachUserPolicyInput{UserName: user, PolicyArn: aws.String(arn)}); gone(err) != nil {
					return err
				}
			}
		}
		return nil
	}
	t.Create = func(ctx context.Context, r *Request) error {
		in := input[iam.CreateUserInput](t.properties, r.Props)
		in.UserName = aws.String(r.Name("UserName", 64))
		in.Tags = iamTagList(r.tagList())
		var user *types.User
		out, err := api.CreateUser(ctx, in)
		switch {
		case err == nil:
			user = out.User
		case r.Resumed && alreadyExists(err):
			found, err := api.GetUser(ctx, &iam.GetUserInput{UserName: in.UserName})
			if err != nil {
				return err
			}
			user = found.User
		default:
			return err
		}
		r.Set("Arn", aws.ToString(user.Arn))
		if err := r.Created(*in.UserName); err != nil {
			return err
		}
		return policies(ctx, r)
	}
	t.Update = func(ctx context.Context, r *Request) error { return policies(ctx, r) }
	t.Delete = func(ctx context.Context, r *Request) error {
		empty := *r
		empty.Before, empty.Props = r.Props, nil
		if err := policies(ctx, &empty); err != nil {
			return gone(err)
		}
		_, err := api.DeleteUser(ctx, &iam.DeleteUserInput{UserName: aws.String(r.PhysicalID)})
		return gone(err)
	}
	return t
}
