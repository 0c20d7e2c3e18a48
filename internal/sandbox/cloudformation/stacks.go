package cloudformation

import (
	"context"
	"errors"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"

	"pcluster/internal/sandbox/cloudformation/resource"
	"pcluster/internal/sandbox/cloudformation/template"
	"pcluster/internal/sandbox/wire"
)

// userInitiated is the reason of the first event of every operation.
const userInitiated = "User Initiated"

func validation(format string, args ...any) error {
	return wire.Errorf("ValidationError", format, args...)
}

// refusal turns an error of package template into the API's.
func refusal(err error) error {
	var e template.Error
	if errors.As(err, &e) {
		return validation("%s", string(e))
	}
	return err
}

var errNoUpdates = validation("No updates are to be performed.")

var stackName = regexp.MustCompile(`^[a-zA-Z][-a-zA-Z0-9]*$`)

func (s *Service) stackID(name, uuid string) string {
	return s.identity.ARN("cloudformation", "stack/"+name+"/"+uuid)
}

// parse reads a template and checks all that does not depend on parameters.
func (s *Service) parse(body string) (*template.Template, error) {
	t, err := template.Parse([]byte(body))
	if err != nil {
		return nil, refusal(err)
	}
	var unknown []string
	for _, typ := range t.Types() {
		if s.typeOf(typ) == nil {
			unknown = append(unknown, typ)
		}
	}
	if unknown != nil {
		return nil, validation("Template format error: Unrecognized resource types: [%s]", strings.Join(unknown, ", "))
	}
	return t, refusal(t.Validate(func(typ, name string) bool { return s.typeOf(typ).SupportsAttribute(name) }))
}

// body returns the text of a template that a request gives in one of two ways.
func (s *Service) body(ctx context.Context, text, location *string) (string, error) {
	switch {
	case text != nil && location != nil:
		return "", validation("Either Template URL or Template Body must be specified.")
	case text != nil:
		if len(*text) > template.MaxBody {
			return "", validation("1 validation error detected: Value at 'templateBody' failed to satisfy constraint: Member must have length less than or equal to %d", template.MaxBody)
		}
		return *text, nil
	case location != nil:
		return s.fetchTemplate(ctx, *location)
	}
	return "", validation("Either Template URL or Template Body must be specified.")
}

// fetchTemplate reads a template from S3.
func (s *Service) fetchTemplate(ctx context.Context, location string) (string, error) {
	bucket, key, objectVersion, ok := objectOf(location)
	if !ok {
		return "", validation("TemplateURL must be a supported URL.")
	}
	if s.cfg.Objects == nil {
		return "", validation("S3 error: this region has no S3")
	}
	data, err := s.cfg.Objects.Object(ctx, bucket, key, objectVersion)
	if err != nil {
		return "", validation("S3 error: %s: %v", location, err)
	}
	if len(data) > template.MaxURL {
		return "", validation("Template may not exceed %d bytes in size.", template.MaxURL)
	}
	return string(data), nil
}

var (
	virtualHost = regexp.MustCompile(`^(.+)\.s3(?:[.-](?:dualstack\.)?[a-z0-9-]+)?\.amazonaws\.com(?:\.cn)?$`)
	pathHost    = regexp.MustCompile(`^s3(?:[.-](?:dualstack\.)?[a-z0-9-]+)?\.amazonaws\.com(?:\.cn)?$`)
)

// objectOf splits the URL of an S3 object. A host that is not Amazon's is the
// region's own endpoint, with the bucket in the path.
func objectOf(location string) (bucket, key, version string, ok bool) {
	u, err := url.Parse(location)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" {
		return "", "", "", false
	}
	version = u.Query().Get("versionId")
	path := strings.TrimPrefix(u.Path, "/")
	if m := virtualHost.FindStringSubmatch(u.Hostname()); m != nil && !pathHost.MatchString(u.Hostname()) {
		return m[1], path, version, path != ""
	}
	bucket, key, ok = strings.Cut(path, "/")
	return bucket, key, version, ok && bucket != "" && key != ""
}

// complete fills in a version's parameters for a template and checks them.
func (s *Service) complete(ctx context.Context, t *template.Template, v *version) error {
	texts, err := t.ParameterTexts(v.Parameters)
	if err != nil {
		return refusal(err)
	}
	v.Parameters, v.Resolved = texts, nil
	for _, name := range slices.Sorted(maps.Keys(t.Parameters)) {
		p := t.Parameters[name]
		value := texts[name]
		if p.FromSSM() {
			if value, err = s.parameterValue(value); err != nil {
				return refusal(err)
			}
			if v.Resolved == nil {
				v.Resolved = map[string]string{}
			}
			v.Resolved[name] = value
		}
		if kind := p.Kind(); kind != "" && s.cfg.Services.EC2 != nil {
			list, isList := p.Value(value).([]any)
			if !isList {
				list = []any{value}
			}
			for _, id := range list {
				if !resource.Exists(ctx, s.cfg.Services.EC2, kind, id.(string), s.identity.AZs()) {
					return validation("Parameter validation failed: parameter value %s for parameter name %s does not exist", id, name)
				}
			}
		}
	}
	return nil
}

// checkCapabilities refuses a template that makes IAM resources, or is transformed, when
// nobody has acknowledged that.
func checkCapabilities(t *template.Template, given []string) error {
	needed, _ := t.Capabilities()
	for _, c := range needed {
		if !slices.Contains(given, c) && (c != "CAPABILITY_IAM" || !slices.Contains(given, "CAPABILITY_NAMED_IAM")) {
			return wire.Errorf("InsufficientCapabilitiesException", "Requires capabilities : [%s]", c)
		}
	}
	return nil
}

func texts[T ~string](list []T) []string {
	var out []string
	for _, e := range list {
		out = append(out, string(e))
	}
	return out
}

func tagRows(tags []types.Tag) ([]tag, error) {
	var out []tag
	seen := map[string]bool{}
	for _, t := range tags {
		key := aws.ToString(t.Key)
		if strings.HasPrefix(strings.ToLower(key), "aws:") {
			return nil, validation("aws: prefixed tag key names are not allowed for external use.")
		}
		if seen[key] {
			return nil, validation("Duplicate tag keys found. Please specify unique tag keys: %s", key)
		}
		seen[key] = true
		out = append(out, tag{key, aws.ToString(t.Value)})
	}
	if len(out) > 50 {
		return nil, validation("1 validation error detected: Value at 'tags' failed to satisfy constraint: Member must have length less than or equal to 50")
	}
	return out, nil
}

// given returns the values of parameters that a request gives. Those that ask
// for the previous value get it.
func given(parameters []types.Parameter, previous map[string]string) (map[string]string, error) {
	out := map[string]string{}
	for _, p := range parameters {
		key := aws.ToString(p.ParameterKey)
		if !aws.ToBool(p.UsePreviousValue) {
			out[key] = aws.ToString(p.ParameterValue)
			continue
		}
		value, ok := previous[key]
		if !ok {
			return nil, validation("Invalid input for parameter key %s. Cannot specify usePreviousValue as true for a parameter key not in the previous template", key)
		}
		out[key] = value
	}
	return out, nil
}

// CreateStack begins to create a stack.
func (s *Service) CreateStack(ctx context.Context, in *sdk.CreateStackInput) (*sdk.CreateStackOutput, error) {
	name := aws.ToString(in.StackName)
	if len(name) > 128 || !stackName.MatchString(name) {
		return nil, validation("1 validation error detected: Value '%s' at 'stackName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z][-a-zA-Z0-9]*", name)
	}
	if in.DisableRollback != nil && in.OnFailure != "" {
		return nil, validation("You can specify either DisableRollback or OnFailure, but not both.")
	}
	if st := s.find(name); st != nil {
		row := st.snapshot()
		if token := aws.ToString(in.ClientRequestToken); token != "" && token == row.CreateToken {
			return &sdk.CreateStackOutput{StackId: aws.String(row.ID)}, nil
		}
		return nil, alreadyExists(name)
	}
	body, err := s.body(ctx, in.TemplateBody, in.TemplateURL)
	if err != nil {
		return nil, err
	}
	tags, err := tagRows(in.Tags)
	if err != nil {
		return nil, err
	}
	parameters, err := given(in.Parameters, nil)
	if err != nil {
		return nil, err
	}
	row := stackRow{
		ID: s.stackID(name, newUUID()), Name: name, By: s.principalOf(ctx, aws.ToString(in.RoleARN)), OnFailure: string(in.OnFailure), TimeoutMinutes: aws.ToInt32(in.TimeoutInMinutes),
		TerminationProtection: aws.ToBool(in.EnableTerminationProtection), CreateToken: aws.ToString(in.ClientRequestToken),
		Version: version{
			Parameters: parameters, Tags: tags, Capabilities: texts(in.Capabilities), NotificationARNs: in.NotificationARNs, RoleARN: aws.ToString(in.RoleARN),
			DisableRollback: aws.ToBool(in.DisableRollback), RetainExceptOnCreate: aws.ToBool(in.RetainExceptOnCreate),
		},
	}
	if _, err := s.beginCreation(ctx, row, body, row.CreateToken); err != nil {
		return nil, err
	}
	return &sdk.CreateStackOutput{StackId: aws.String(row.ID)}, nil
}

func alreadyExists(name string) error {
	return wire.Errorf("AlreadyExistsException", "Stack [%s] already exists", name)
}

// beginCreation stores a new stack and starts to make it.
func (s *Service) beginCreation(ctx context.Context, row stackRow, body, token string) (*stack, error) {
	t, err := s.ready(ctx, &row.Version, body)
	if err != nil {
		return nil, err
	}
	// The plan must hold before anything exists, so that what is wrong with it is
	// an error of the request.
	scope, err := s.scope(&stack{id: row.ID, row: row}, t, row.Version)
	if err != nil {
		return nil, refusal(err)
	}
	if _, err := t.Plan(scope); err != nil {
		return nil, refusal(err)
	}
	row.Description, row.Created = t.Description, s.now()
	row.Version.Template = 1
	row.Status, row.Reason, row.Operations = "CREATE_IN_PROGRESS", userInitiated, 1
	row.Op = &operation{Number: 1, Phase: phaseCreate, Token: token, Started: row.Created}
	st, err := s.insert(row, body)
	if err != nil {
		return nil, err
	}
	s.launch(st)
	return st, nil
}

// launch starts the operation that a stack's row has, and reports it as an event.
func (s *Service) launch(st *stack) {
	row := st.snapshot()
	event := eventRow{LogicalID: row.Name, PhysicalID: st.id, Type: stackType, Status: row.Status, Reason: row.Reason}
	if err := s.addEvent(st, event); err != nil { // the operation goes on without
		s.log.Error("store event", "stack", st.id, "err", err)
	}
	s.log.Info("stack", "name", row.Name, "status", row.Status)
	s.drive(st)
}

// ready checks a template with the parameters of a version.
func (s *Service) ready(ctx context.Context, v *version, body string) (*template.Template, error) {
	t, err := s.parse(body)
	if err != nil {
		return nil, err
	}
	if err := s.complete(ctx, t, v); err != nil {
		return nil, err
	}
	return t, checkCapabilities(t, v.Capabilities)
}

// insert stores a new stack without an operation. Its name must be free.
func (s *Service) insert(row stackRow, body string) (*stack, error) {
	st := &stack{id: row.ID, row: row, resources: map[string]resourceRow{}, parsed: map[int]*template.Template{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, other := range s.stacks {
		if o := other.snapshot(); o.Name == row.Name && o.Deleted == nil {
			return nil, alreadyExists(row.Name)
		}
	}
	if body != "" {
		if err := s.templateTable.Put(templateKey(row.ID, row.Version.Template), body); err != nil {
			return nil, err
		}
	}
	if err := s.stackTable.Put(row.ID, row); err != nil {
		return nil, err
	}
	s.stacks[row.ID] = st
	return st, nil
}

// begin gives a stack an operation and starts it. Change may change the row
// further, and refuse.
func (s *Service) begin(st *stack, phase, status, token string, change func(*stackRow, *operation) error) error {
	var refused error
	err := s.updateStack(st, func(row *stackRow) {
		next := *row
		op := operation{Number: row.Operations + 1, Phase: phase, Token: token, Started: s.now()}
		if change != nil {
			if refused = change(&next, &op); refused != nil {
				return
			}
		}
		next.Operations, next.Op = op.Number, &op
		next.Status, next.Reason = status, userInitiated
		*row = next
	})
	if err = errors.Join(refused, err); err != nil {
		return err
	}
	s.launch(st)
	return nil
}

// updatable are the states from which an update may begin.
var updatable = []string{"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "CREATE_FAILED", "UPDATE_FAILED"}

// UpdateStack begins to update a stack.
func (s *Service) UpdateStack(ctx context.Context, in *sdk.UpdateStackInput) (*sdk.UpdateStackOutput, error) {
	name := aws.ToString(in.StackName)
	st := s.find(name)
	if st == nil || st.snapshot().Deleted != nil {
		return nil, validation("Stack [%s] does not exist", name)
	}
	row := st.snapshot()
	if err := checkUpdatable(row); err != nil {
		return nil, err
	}
	body, err := s.newBody(ctx, st, in.UsePreviousTemplate, in.TemplateBody, in.TemplateURL)
	if err != nil {
		return nil, err
	}
	v, err := nextVersion(row.Version, in.Parameters, in.Tags, in.Capabilities, in.NotificationARNs, in.RoleARN)
	if err != nil {
		return nil, err
	}
	v.DisableRollback, v.RetainExceptOnCreate = aws.ToBool(in.DisableRollback), aws.ToBool(in.RetainExceptOnCreate)
	if err := s.actFor(ctx, st, in.RoleARN); err != nil {
		return nil, err
	}
	if err := s.beginUpdate(ctx, st, v, body, aws.ToString(in.ClientRequestToken), ""); err != nil {
		return nil, err
	}
	return &sdk.UpdateStackOutput{StackId: aws.String(st.id)}, nil
}

func checkUpdatable(row stackRow) error {
	if row.Op != nil || !slices.Contains(updatable, row.Status) {
		return validation("Stack:%s is in %s state and can not be updated.", row.ID, row.Status)
	}
	return nil
}

// newBody returns the template of an update.
func (s *Service) newBody(ctx context.Context, st *stack, previous *bool, text, location *string) (string, error) {
	if !aws.ToBool(previous) {
		return s.body(ctx, text, location)
	}
	if text != nil || location != nil {
		return "", validation("You cannot specify both usePreviousTemplate and Template Body/Template URL.")
	}
	body, ok := s.templateTable.Get(templateKey(st.id, st.snapshot().Version.Template))
	if !ok {
		return "", validation("Stack %s has no previous template", st.snapshot().Name)
	}
	return body, nil
}

// nextVersion returns what an update asks for; what it does not mention stays.
func nextVersion(now version, parameters []types.Parameter, tags []types.Tag, capabilities []types.Capability, notifications []string, role *string) (version, error) {
	v := now
	var err error
	if v.Parameters, err = given(parameters, now.Parameters); err != nil {
		return v, err
	}
	if tags != nil {
		if v.Tags, err = tagRows(tags); err != nil {
			return v, err
		}
	}
	v.Capabilities = texts(capabilities)
	if notifications != nil {
		v.NotificationARNs = notifications
	}
	if role != nil {
		v.RoleARN = *role
	}
	return v, nil
}

// beginUpdate starts to take a stack to a new version, or returns errNoUpdates.
func (s *Service) beginUpdate(ctx context.Context, st *stack, v version, body, token, changeSet string) error {
	t, err := s.ready(ctx, &v, body)
	if err != nil {
		return err
	}
	changes, err := s.compare(st, t, v)
	if err != nil {
		return refusal(err)
	}
	if len(changes.resources) == 0 && !changes.other {
		return errNoUpdates
	}
	row := st.snapshot()
	v.Template = row.Operations + 2 // above all earlier ones: operations count from 1, the first template too
	if err := s.templateTable.Put(templateKey(st.id, v.Template), body); err != nil {
		return err
	}
	return s.begin(st, phaseUpdate, "UPDATE_IN_PROGRESS", token, func(row *stackRow, op *operation) error {
		if err := checkUpdatable(*row); err != nil {
			return err
		}
		op.Continues = row.Status == "UPDATE_FAILED"
		now := s.now()
		if row.Previous == nil {
			previous := row.Version
			row.Previous = &previous
		}
		row.Version, row.Updated, row.Description = v, &now, t.Description
		if changeSet != "" {
			row.ChangeSet = changeSet
		}
		return nil
	})
}

// A deletion says how to delete a stack.
type deletion struct {
	retain []string
	force  bool
	token  string
}

// DeleteStack begins to delete a stack. A name that no stack has is no error.
func (s *Service) DeleteStack(ctx context.Context, in *sdk.DeleteStackInput) (*sdk.DeleteStackOutput, error) {
	st := s.find(aws.ToString(in.StackName))
	if st == nil {
		return &sdk.DeleteStackOutput{}, nil
	}
	row := st.snapshot()
	if row.TerminationProtection && row.Deleted == nil {
		return nil, validation("Stack [%s] cannot be deleted while TerminationProtection is enabled", row.Name)
	}
	if len(in.RetainResources) > 0 && row.Status != "DELETE_FAILED" {
		return nil, validation("Invalid operation on stack [%s]. RetainResources can only be specified for stacks in the DELETE_FAILED state", row.Name)
	}
	for _, id := range in.RetainResources {
		if _, ok := st.resource(id); !ok {
			return nil, validation("Resource(s) [%s] do not exist in stack %s", id, row.Name)
		}
	}
	if err := s.actFor(ctx, st, in.RoleARN); err != nil {
		return nil, err
	}
	return &sdk.DeleteStackOutput{}, s.beginDeletion(st, deletion{
		retain: in.RetainResources, force: in.DeletionMode == types.DeletionModeForceDeleteStack, token: aws.ToString(in.ClientRequestToken),
	})
}

// beginDeletion starts to delete a stack, whatever else is going on with it.
func (s *Service) beginDeletion(st *stack, how deletion) error {
	under := errors.New("already under way")
	err := s.begin(st, phaseDelete, "DELETE_IN_PROGRESS", how.token, func(row *stackRow, op *operation) error {
		if row.Deleted != nil || row.Op != nil && row.Op.Phase == phaseDelete {
			return under
		}
		op.Retain, op.Force = how.retain, how.force
		return nil
	})
	if errors.Is(err, under) {
		return nil
	}
	return err
}

// CancelUpdateStack makes a running update fail, so that it is rolled back.
func (s *Service) CancelUpdateStack(_ context.Context, in *sdk.CancelUpdateStackInput) (*sdk.CancelUpdateStackOutput, error) {
	st := s.find(aws.ToString(in.StackName))
	if st == nil {
		return nil, validation("Stack [%s] does not exist", aws.ToString(in.StackName))
	}
	if row := st.snapshot(); row.Op == nil || row.Op.Phase != phaseUpdate {
		return nil, validation("CancelUpdateStack cannot be called from current stack status")
	}
	s.cancelOperation(st)
	return &sdk.CancelUpdateStackOutput{}, nil
}

// ContinueUpdateRollback repeats the rollback of an update that failed.
func (s *Service) ContinueUpdateRollback(ctx context.Context, in *sdk.ContinueUpdateRollbackInput) (*sdk.ContinueUpdateRollbackOutput, error) {
	st := s.find(aws.ToString(in.StackName))
	if st == nil {
		return nil, validation("Stack [%s] does not exist", aws.ToString(in.StackName))
	}
	for _, id := range in.ResourcesToSkip {
		if r, ok := st.resource(id); !ok || r.Status != "UPDATE_FAILED" {
			return nil, validation("ResourcesToSkip: resource %s is not in UPDATE_FAILED state", id)
		}
	}
	if err := s.actFor(ctx, st, in.RoleARN); err != nil {
		return nil, err
	}
	err := s.rollBack(st, aws.ToString(in.ClientRequestToken), in.ResourcesToSkip, "UPDATE_ROLLBACK_FAILED")
	if err != nil {
		return nil, err
	}
	return &sdk.ContinueUpdateRollbackOutput{}, nil
}

// RollbackStack rolls back a creation or update that failed and was left so.
func (s *Service) RollbackStack(ctx context.Context, in *sdk.RollbackStackInput) (*sdk.RollbackStackOutput, error) {
	st := s.find(aws.ToString(in.StackName))
	if st == nil {
		return nil, validation("Stack [%s] does not exist", aws.ToString(in.StackName))
	}
	if err := s.actFor(ctx, st, in.RoleARN); err != nil {
		return nil, err
	}
	token := aws.ToString(in.ClientRequestToken)
	var err error
	if st.snapshot().Status == "CREATE_FAILED" {
		err = s.begin(st, phaseRollback, "ROLLBACK_IN_PROGRESS", token, func(row *stackRow, _ *operation) error {
			if row.Op != nil || row.Status != "CREATE_FAILED" {
				return validation("Stack:%s is in %s state and can not be rolled back.", row.ID, row.Status)
			}
			row.Version.RetainExceptOnCreate = row.Version.RetainExceptOnCreate || aws.ToBool(in.RetainExceptOnCreate)
			return nil
		})
	} else {
		err = s.rollBack(st, token, nil, "UPDATE_FAILED")
	}
	if err != nil {
		return nil, err
	}
	return &sdk.RollbackStackOutput{StackId: aws.String(st.id)}, nil
}

func (s *Service) rollBack(st *stack, token string, skip []string, from string) error {
	return s.begin(st, phaseUpdateRollback, "UPDATE_ROLLBACK_IN_PROGRESS", token, func(row *stackRow, op *operation) error {
		if row.Op != nil || row.Status != from {
			return validation("Stack:%s is in %s state and can not be rolled back.", row.ID, row.Status)
		}
		// The rollback belongs to the update that failed: it undoes what that one touched.
		op.Number = row.Operations
		op.Skip = skip
		return nil
	})
}

// UpdateTerminationProtection sets whether a stack can be deleted.
func (s *Service) UpdateTerminationProtection(_ context.Context, in *sdk.UpdateTerminationProtectionInput) (*sdk.UpdateTerminationProtectionOutput, error) {
	st := s.find(aws.ToString(in.StackName))
	if st == nil || st.snapshot().Deleted != nil {
		return nil, validation("Stack [%s] does not exist", aws.ToString(in.StackName))
	}
	if row := st.snapshot(); row.Parent != "" {
		return nil, validation("Termination protection cannot be changed on nested stack %s", row.Name)
	}
	if err := s.updateStack(st, func(row *stackRow) { row.TerminationProtection = aws.ToBool(in.EnableTerminationProtection) }); err != nil {
		return nil, err
	}
	return &sdk.UpdateTerminationProtectionOutput{StackId: aws.String(st.id)}, nil
}
