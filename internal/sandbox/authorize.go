//go:build linux

package sandbox

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awscfn "github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/efs"
	efstypes "github.com/aws/aws-sdk-go-v2/service/efs/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/aws-sdk-go-v2/service/fsx"
	fsxtypes "github.com/aws/aws-sdk-go-v2/service/fsx/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"pcluster/internal/sandbox/access"
	"pcluster/internal/sandbox/cloudformation"
	"pcluster/internal/sandbox/iam"
	"pcluster/internal/sandbox/iam/policy"
	"pcluster/internal/sandbox/wire"
)

// place is where the region's resources are.
func (r *Region) place() access.Place {
	return access.Place{Partition: "aws", Region: r.identity.Name(), Account: r.identity.Account()}
}

// authorize says whether a caller may make a call, by the policies of the user, or of
// the role whose session it is, that IAM holds.
func (r *Region) authorize(c wire.Caller, call access.Call) error {
	return r.permit(c, call.Service, call.Operation, func() []policy.Request { return access.Of(world{r}, r.place(), call) })
}

// authorizeS3 is authorize for S3, which has no API model here.
func (r *Region) authorizeS3(ctx context.Context, method, bucket, key string, query url.Values, header http.Header) error {
	return r.permit(wire.CallerFrom(ctx), "s3", method, func() []policy.Request {
		return access.S3(r.place(), method, bucket, key, query, header)
	})
}

// onBehalf is authorize for the calls that CloudFormation makes in somebody's name. Lists,
// by which this CloudFormation finds what to remove, are its own affair: AWS's does without.
// A role may do what it might when the operation began.
func (r *Region) onBehalf(ctx context.Context, service, operation string, in any) error {
	c, held, ok := cloudformation.OnBehalf(ctx)
	if !ok || strings.HasPrefix(operation, "List") {
		return nil
	}
	may, err := r.heldBy(c, held)
	if err != nil {
		return err
	}
	return r.permitAs(c, may, service, operation, func() []policy.Request {
		return viaCloudFormation(access.Of(world{r}, r.place(), access.Call{Service: service, Operation: operation, Input: in}))
	})
}

func viaCloudFormation(all []policy.Request) []policy.Request {
	for i := range all {
		all[i].Context["aws:calledvia"] = []string{"cloudformation.amazonaws.com"}
		all[i].Context["aws:viaawsservice"] = []string{"true"}
	}
	return all
}

// heldBy reads what [Region.held] kept; what is not kept is as it is now.
func (r *Region) heldBy(c wire.Caller, held json.RawMessage) (may iam.Permissions, err error) {
	if held == nil {
		return r.iam.PermissionsOf(c), nil
	}
	if err := json.Unmarshal(held, &may); err != nil {
		return may, fmt.Errorf("permissions of %s: %w", c.ARN, err)
	}
	return may, nil
}

// held is what a role may do now, for an operation of CloudFormation in its name.
func (r *Region) held(c wire.Caller) json.RawMessage {
	text, err := json.Marshal(r.iam.PermissionsOf(c))
	if err != nil {
		r.log.Error("permissions are not kept", "principal", c.ARN, "err", err)
	}
	return text
}

// templates are objects of S3 as CloudFormation reads them: in the name of whoever asks
// for the stack.
type templates struct{ r *Region }

func (t templates) Object(ctx context.Context, bucket, key, version string) ([]byte, error) {
	query := url.Values{}
	if version != "" {
		query.Set("versionId", version)
	}
	c, held, ok := cloudformation.OnBehalf(ctx)
	if !ok {
		c = wire.CallerFrom(ctx)
	}
	may, err := t.r.heldBy(c, held)
	if err == nil {
		err = t.r.permitAs(c, may, "s3", http.MethodGet, func() []policy.Request {
			return viaCloudFormation(access.S3(t.r.place(), http.MethodGet, bucket, key, query, nil))
		})
	}
	if err != nil {
		return nil, err
	}
	return t.r.s3.Object(ctx, bucket, key, version)
}

func (r *Region) permit(c wire.Caller, service, operation string, requests func() []policy.Request) error {
	return r.permitAs(c, r.iam.PermissionsOf(c), service, operation, requests)
}

// roleMay says why a session of a role that somebody gave to a service may not do
// something. The services of the region that work for roles ask before they do.
func (r *Region) roleMay(role, session, action, resource string) error {
	account := r.identity.Account()
	c := wire.Caller{AccountID: account, ARN: "arn:aws:sts::" + account + ":assumed-role/" + role[strings.LastIndexByte(role, '/')+1:] + "/" + session}
	service, operation, _ := strings.Cut(action, ":")
	return r.permit(c, service, operation, func() []policy.Request {
		return []policy.Request{{Action: action, Resource: resource, Context: map[string][]string{
			"aws:requestedregion": {r.identity.Name()}, "aws:securetransport": {"true"},
		}}}
	})
}

// permitAs says whether a caller may make a call by the permissions given.
func (r *Region) permitAs(c wire.Caller, may iam.Permissions, service, operation string, requests func() []policy.Request) error {
	if c.ARN == "" {
		return nil
	}
	if may.Unlimited() && r.record == nil {
		return nil
	}
	if len(may.Unknown) > 0 {
		// Whoever gives a role a policy that the region has no text of has reasons.
		r.unknownPolicies(may.Unknown)
		return nil
	}
	all := requests()
	refused := slices.IndexFunc(all, func(q policy.Request) bool {
		return policy.Evaluate(may.Policies, may.Boundary, withPrincipal(q, c)) != policy.Allowed
	})
	r.record.add(c, service, operation, all, refused < 0)
	if refused < 0 {
		return nil
	}
	return denied(c, service, all[refused], because(may, withPrincipal(all[refused], c)))
}

// because says why a request is refused, in AWS's words.
func because(may iam.Permissions, q policy.Request) string {
	switch {
	case policy.Evaluate(may.Policies, nil, q) == policy.Denied:
		return "with an explicit deny in an identity-based policy"
	case may.Boundary == nil || policy.Evaluate(may.Policies, nil, q) != policy.Allowed:
		return "because no identity-based policy allows the " + q.Action + " action"
	case policy.Evaluate([]policy.Document{*may.Boundary}, nil, q) == policy.Denied:
		return "with an explicit deny in a permissions boundary"
	}
	return "because no permissions boundary allows the " + q.Action + " action"
}

func withPrincipal(q policy.Request, c wire.Caller) policy.Request {
	name := c.ARN[strings.LastIndexByte(c.ARN, '/')+1:]
	return q.With("aws:PrincipalArn", c.ARN).With("aws:userid", c.UserID).With("aws:username", name).With("aws:PrincipalAccount", c.AccountID)
}

// denied is AWS's answer to a call that a caller may not make.
func denied(c wire.Caller, service string, q policy.Request, because string) error {
	text := fmt.Sprintf("User: %s is not authorized to perform: %s on resource: %s %s", c.ARN, q.Action, q.Resource, because)
	switch service {
	case "ec2":
		return &wire.Error{Code: "UnauthorizedOperation", Message: "You are not authorized to perform this operation. " + text, Status: http.StatusForbidden}
	case "dynamodb", "logs", "fsx", "secretsmanager", "ssm", "imagebuilder", "lambda", "efs", "batch", "ecr", "ecs", "codebuild", "kms":
		return &wire.Error{Code: "AccessDeniedException", Message: text, Status: http.StatusBadRequest}
	case "resource-groups":
		return &wire.Error{Code: "ForbiddenException", Message: text, Status: http.StatusForbidden}
	case "sns":
		return &wire.Error{Code: "AuthorizationError", Message: text, Status: http.StatusForbidden}
	}
	return &wire.Error{Code: "AccessDenied", Message: text, Status: http.StatusForbidden}
}

// unknownPolicies warns once of each policy whose holders may do everything.
func (r *Region) unknownPolicies(arns []string) {
	for _, arn := range arns {
		if _, warned := r.warned.LoadOrStore(arn, true); !warned {
			r.log.Warn("the region does not know what this policy says: who has it may do everything", "policy", arn)
		}
	}
}

// world is what the region knows for [access].
type world struct{ r *Region }

func (w world) Tags(arn string) map[string]string {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) < 6 || strings.HasSuffix(arn, "*") {
		return nil
	}
	_, id, _ := strings.Cut(parts[5], "/")
	ctx := context.Background()
	switch parts[2] {
	case "ec2":
		if name, ok := strings.CutPrefix(parts[5], "placement-group/"); ok { // their ARNs have names
			if out, err := w.r.ec2.DescribePlacementGroups(ctx, &sdk.DescribePlacementGroupsInput{GroupNames: []string{name}}); err == nil && len(out.PlacementGroups) > 0 {
				id = aws.ToString(out.PlacementGroups[0].GroupId)
			}
		}
		return w.r.ec2.TagsOf(id)
	case "cloudformation":
		if out, err := w.r.cfn.DescribeStacks(ctx, &awscfn.DescribeStacksInput{StackName: &arn}); err == nil && len(out.Stacks) > 0 {
			return tagMap(out.Stacks[0].Tags, func(t cfntypes.Tag) (k, v *string) { return t.Key, t.Value })
		}
	case "elasticfilesystem":
		if out, err := w.r.efs.ListTagsForResource(ctx, &efs.ListTagsForResourceInput{ResourceId: &id}); err == nil {
			return tagMap(out.Tags, func(t efstypes.Tag) (k, v *string) { return t.Key, t.Value })
		}
	case "fsx":
		if out, err := w.r.fsx.ListTagsForResource(ctx, &fsx.ListTagsForResourceInput{ResourceARN: &arn}); err == nil {
			return tagMap(out.Tags, func(t fsxtypes.Tag) (k, v *string) { return t.Key, t.Value })
		}
	case "elasticloadbalancing":
		if out, err := w.r.elb.DescribeTags(ctx, &elb.DescribeTagsInput{ResourceArns: []string{arn}}); err == nil && len(out.TagDescriptions) > 0 {
			return tagMap(out.TagDescriptions[0].Tags, func(t elbtypes.Tag) (k, v *string) { return t.Key, t.Value })
		}
	}
	return nil
}

func tagMap[T any](tags []T, of func(T) (k, v *string)) map[string]string {
	out := map[string]string{}
	for _, t := range tags {
		k, v := of(t)
		out[aws.ToString(k)] = aws.ToString(v)
	}
	return out
}

func (w world) Template(s *types.LaunchTemplateSpecification) (string, *types.ResponseLaunchTemplateData) {
	version := aws.ToString(s.Version)
	if version == "" {
		version = "$Default"
	}
	out, err := w.r.ec2.DescribeLaunchTemplateVersions(context.Background(), &sdk.DescribeLaunchTemplateVersionsInput{
		LaunchTemplateId: s.LaunchTemplateId, LaunchTemplateName: s.LaunchTemplateName, Versions: []string{version},
	})
	if err != nil || len(out.LaunchTemplateVersions) == 0 {
		return "", nil
	}
	v := out.LaunchTemplateVersions[0]
	return aws.ToString(v.LaunchTemplateId), v.LaunchTemplateData
}

func (w world) ProfileRole(nameOrARN string) string {
	_, _, arn, _, err := w.r.iam.InstanceProfileRole(context.Background(), nameOrARN)
	if err != nil {
		return ""
	}
	return arn
}

func (w world) Boundary(role string) string { return w.r.iam.BoundaryOf(role) }

func (w world) ARN(kind, name string) string {
	p := w.r.place()
	pattern := func(service, resource string) string {
		return "arn:aws:" + service + ":" + p.Region + ":" + p.Account + ":" + resource
	}
	switch kind {
	case "stack":
		if arn := w.r.cfn.ARNOf(name); arn != "" {
			return arn
		}
		return pattern("cloudformation", "stack/"+name+"/*")
	case "role":
		if arn := w.r.iam.RoleARN(name); arn != "" {
			return arn
		}
		return "arn:aws:iam::" + p.Account + ":role/" + name
	case "user":
		return "arn:aws:iam::" + p.Account + ":user/" + name
	case "instance-profile":
		if arn := w.r.iam.ProfileARN(name); arn != "" {
			return arn
		}
		return "arn:aws:iam::" + p.Account + ":instance-profile/" + name
	case "secret":
		out, err := w.r.secret.DescribeSecret(context.Background(), &secretsmanager.DescribeSecretInput{SecretId: &name})
		if err == nil {
			return aws.ToString(out.ARN)
		}
		return pattern("secretsmanager", "secret:"+name+"-*")
	case "key":
		return w.r.keys.ARN(name)
	case "address-association":
		out, err := w.r.ec2.DescribeAddresses(context.Background(), &sdk.DescribeAddressesInput{Filters: []types.Filter{{Name: aws.String("association-id"), Values: []string{name}}}})
		if err == nil && len(out.Addresses) > 0 {
			return pattern("ec2", "elastic-ip/"+aws.ToString(out.Addresses[0].AllocationId))
		}
		return pattern("ec2", "elastic-ip/*")
	case "route-association":
		out, err := w.r.ec2.DescribeRouteTables(context.Background(), &sdk.DescribeRouteTablesInput{
			Filters: []types.Filter{{Name: aws.String("association.route-table-association-id"), Values: []string{name}}}})
		if err == nil && len(out.RouteTables) > 0 {
			return pattern("ec2", "route-table/"+aws.ToString(out.RouteTables[0].RouteTableId))
		}
		return pattern("ec2", "route-table/*")
	case "mount-target":
		out, err := w.r.efs.DescribeMountTargets(context.Background(), &efs.DescribeMountTargetsInput{MountTargetId: &name})
		if err == nil && len(out.MountTargets) > 0 {
			return pattern("elasticfilesystem", "file-system/"+aws.ToString(out.MountTargets[0].FileSystemId))
		}
		return pattern("elasticfilesystem", "file-system/*")
	case "build": // NAME:ID, a build of the project NAME
		project, _, _ := strings.Cut(name, ":")
		return pattern("codebuild", "project/"+project)
	case "parameter":
		return pattern("ssm", "parameter/"+strings.TrimPrefix(name, "/"))
	}
	return name
}

// A recorder writes down what callers ask permission for, a JSON object a line.
type recorder struct {
	mu   sync.Mutex
	file *os.File
}

func openRecorder(path string) (*recorder, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &recorder{file: f}, nil
}

// A Permission is what one call asked permission for: a line of the file that
// `sandbox up --record` names.
type Permission struct {
	Time      time.Time        `json:"time"`
	Caller    string           `json:"caller"` // ARN
	Service   string           `json:"service"`
	Operation string           `json:"operation"` // of S3: the HTTP method
	Requests  []policy.Request `json:"requests"`
	Allowed   bool             `json:"allowed"`
}

func (w *recorder) add(c wire.Caller, service, operation string, all []policy.Request, allowed bool) {
	if w == nil {
		return
	}
	line, err := json.Marshal(Permission{time.Now().UTC(), c.ARN, service, operation, all, allowed})
	if err != nil {
		return // texts can be encoded
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	_, _ = w.file.Write(append(line, '\n')) // a full disk is no reason to refuse a call
}
