package cloudformation

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"

	"pcluster/internal/sandbox/cloudformation/template"
	"pcluster/internal/sandbox/wire"
)

// A changeSetRow is a prepared update or creation. Its key is its ID.
type changeSetRow struct {
	ID, Name, StackID string
	Description       string `json:",omitempty"`
	Created           time.Time
	Status, Reason    string
	Execution         string
	Body              string
	Version           version
	OnFailure         string `json:",omitempty"`
	Changes           []changeRow
	ImportExisting    bool `json:",omitempty"`
	Creates           bool `json:",omitempty"` // the stack, too
}

// A changeRow is what a change set would do to one resource.
type changeRow struct {
	LogicalID, Type, PhysicalID string
	Action                      string // Add, Modify or Remove
	Replacement                 string `json:",omitempty"` // True, False or Conditional
	Properties                  []string
	Scope                       []string
}

// changes is what a new version means for a stack.
type changes struct {
	resources []changeRow
	other     bool // something apart from resources: outputs
}

// unknownYet stands for what only the update will tell, as the ID of a resource
// that it makes.
const unknownYet = "{{changeSet:KNOWN_AFTER_APPLY}}"

// compare works out what taking a stack to a version with the given template
// would change. It refuses a version whose expressions cannot be evaluated.
func (s *Service) compare(st *stack, t *template.Template, v version) (changes, error) {
	scope, err := s.scope(st, t, v)
	if err != nil {
		return changes{}, err
	}
	plan, err := t.Plan(scope)
	if err != nil {
		return changes{}, err
	}
	var out changes
	fresh := map[string]bool{} // resources whose values are not known yet
	ref, getAtt := scope.Ref, scope.GetAtt
	scope.Ref = func(id string) (any, error) {
		if fresh[id] {
			return unknownYet, nil
		}
		return ref(id)
	}
	moving := map[string]bool{} // resources whose attributes may change
	scope.GetAtt = func(id, attribute string) (any, error) {
		if fresh[id] || moving[id] {
			return unknownYet, nil
		}
		return getAtt(id, attribute)
	}
	for _, id := range inOrder(plan) {
		change, err := s.compareResource(st, scope, id, plan[id], v)
		if err != nil && slices.ContainsFunc(plan[id], func(d string) bool { return fresh[d] || moving[d] }) {
			// As when it selects a part of what is not known yet.
			r, _ := st.resource(id)
			change, err = &changeRow{LogicalID: id, Type: r.Type, PhysicalID: r.PhysicalID, Action: "Modify", Replacement: "Conditional", Scope: []string{"Properties"}}, nil
		}
		if err != nil {
			return changes{}, err
		}
		if change == nil {
			continue
		}
		out.resources = append(out.resources, *change)
		fresh[id] = change.Action == "Add" || change.Replacement == "True" || change.Replacement == "Conditional"
		moving[id] = change.Action == "Modify" && len(change.Properties) > 0
	}
	for _, r := range st.allResources() {
		if _, stays := plan[r.LogicalID]; !stays && !r.done() {
			out.resources = append(out.resources, changeRow{LogicalID: r.LogicalID, Type: r.Type, PhysicalID: r.PhysicalID, Action: "Remove"})
		}
	}
	outputs, _, err := s.outputs(scope)
	if err != nil && len(fresh) == 0 {
		return changes{}, err
	}
	out.other = err != nil || !slices.Equal(outputs, st.snapshot().Outputs)
	return out, nil
}

// compareResource returns what would happen to one resource, or nil for nothing.
func (s *Service) compareResource(st *stack, scope *template.Scope, id string, deps []string, v version) (*changeRow, error) {
	t := scope.Template.Resources[id]
	r, exists := st.resource(id)
	if !exists || r.done() {
		return &changeRow{LogicalID: id, Type: t.Type, Action: "Add"}, nil
	}
	look := &driver{s: s, st: st} // evaluates, and does nothing else
	want, err := look.evaluate(scope, id, deps)
	if err != nil {
		return nil, err
	}
	want.Tags = map[string]string{}
	for _, tag := range v.Tags {
		want.Tags[tag.Key] = tag.Value
	}
	change := &changeRow{LogicalID: id, Type: want.Type, PhysicalID: r.PhysicalID, Action: "Modify", Replacement: "False"}
	if change.Properties = template.Changed(r.Props, want.Props); change.Properties != nil {
		change.Scope = append(change.Scope, "Properties")
	}
	if !template.Equal(map[string]any(r.Metadata), map[string]any(want.Metadata)) {
		change.Scope = append(change.Scope, "Metadata")
	}
	if !maps.Equal(r.Tags, want.Tags) {
		change.Scope = append(change.Scope, "Tags")
	}
	if r.DeletionPolicy != want.DeletionPolicy {
		change.Scope = append(change.Scope, "DeletionPolicy")
	}
	if r.UpdateReplacePolicy != want.UpdateReplacePolicy {
		change.Scope = append(change.Scope, "UpdateReplacePolicy")
	}
	switch s.effect(r, want) {
	case replacement:
		change.Replacement = "True"
		if r.Type == want.Type && r.Status != "CREATE_FAILED" && r.PhysicalID != "" && s.onlyUnknown(r, want) {
			change.Replacement = "Conditional"
		}
	case noChange:
		if len(change.Scope) == 0 {
			return nil, nil
		}
	}
	if strings.HasSuffix(r.Status, "_FAILED") && len(change.Scope) == 0 {
		change.Scope = []string{"Properties"}
	}
	return change, nil
}

// onlyUnknown reports whether a replacement would follow only from values that
// are not known yet.
func (s *Service) onlyUnknown(r resourceRow, want former) bool {
	known := maps.Clone(want.Props)
	for _, name := range template.Changed(r.Props, want.Props) {
		if strings.Contains(template.JSON(want.Props[name]), unknownYet) {
			known[name] = r.Props[name]
		}
	}
	typ := s.typeOf(want.Type)
	return len(typ.Replacement(r.Props, known)) == 0 && (typ.Update != nil || template.Equal(map[string]any(known), map[string]any(r.Props)))
}

// inOrder returns the nodes of a graph, each after those it waits for.
func inOrder(deps map[string][]string) []string {
	var out []string
	seen := map[string]bool{}
	var visit func(id string)
	visit = func(id string) {
		if seen[id] {
			return
		}
		seen[id] = true
		for _, d := range deps[id] {
			visit(d)
		}
		if _, known := deps[id]; known {
			out = append(out, id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(deps)) {
		visit(id)
	}
	return out
}

// CreateChangeSet prepares an update of a stack, or its creation.
func (s *Service) CreateChangeSet(ctx context.Context, in *sdk.CreateChangeSetInput) (*sdk.CreateChangeSetOutput, error) {
	name := aws.ToString(in.ChangeSetName)
	stackRef := aws.ToString(in.StackName)
	if len(in.ResourcesToImport) > 0 || in.ChangeSetType == types.ChangeSetTypeImport {
		return nil, validation("Importing resources is not supported in the local region")
	}
	st := s.find(stackRef)
	if st != nil && st.snapshot().Deleted != nil {
		st = nil
	}
	creates := in.ChangeSetType == types.ChangeSetTypeCreate
	var v version
	var body string
	var err error
	switch {
	case creates && st != nil && st.snapshot().Status != "REVIEW_IN_PROGRESS":
		return nil, alreadyExists(st.snapshot().Name)
	case !creates && st == nil:
		return nil, validation("Stack [%s] does not exist", stackRef)
	case !creates:
		row := st.snapshot()
		if err := checkUpdatable(row); err != nil {
			return nil, err
		}
		if v, err = nextVersion(row.Version, in.Parameters, in.Tags, in.Capabilities, in.NotificationARNs, in.RoleARN); err != nil {
			return nil, err
		}
		body, err = s.newBody(ctx, st, in.UsePreviousTemplate, in.TemplateBody, in.TemplateURL)
	default:
		if len(stackRef) > 128 || !stackName.MatchString(stackRef) && st == nil {
			return nil, validation("1 validation error detected: Value '%s' at 'stackName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z][-a-zA-Z0-9]*", stackRef)
		}
		if v, err = nextVersion(version{}, in.Parameters, in.Tags, in.Capabilities, in.NotificationARNs, in.RoleARN); err != nil {
			return nil, err
		}
		body, err = s.body(ctx, in.TemplateBody, in.TemplateURL)
	}
	if err != nil {
		return nil, err
	}
	v.DisableRollback = in.OnStackFailure == types.OnStackFailureDoNothing
	t, err := s.ready(ctx, &v, body)
	if err != nil {
		return nil, err
	}
	if st == nil {
		row := stackRow{ID: s.stackID(stackRef, newUUID()), Name: stackRef, Description: t.Description, Created: s.now(), Status: "REVIEW_IN_PROGRESS", Reason: userInitiated}
		if st, err = s.insert(row, ""); err != nil {
			return nil, err
		}
		if err := s.addEvent(st, eventRow{LogicalID: row.Name, PhysicalID: row.ID, Type: stackType, Status: row.Status, Reason: row.Reason}); err != nil {
			return nil, err
		}
	}
	if s.changeSet(name, st.id) != nil {
		return nil, wire.Errorf("AlreadyExistsException", "ChangeSet %s already exists", name)
	}
	change := changeSetRow{
		ID: s.identity.ARN("cloudformation", "changeSet/"+name+"/"+newUUID()), Name: name, StackID: st.id, Description: aws.ToString(in.Description),
		Created: s.now(), Status: "CREATE_COMPLETE", Execution: "AVAILABLE", Body: body, Version: v, Creates: creates, OnFailure: string(in.OnStackFailure),
	}
	found, err := s.compare(st, t, v)
	switch {
	case err != nil:
		change.Status, change.Execution, change.Reason = "FAILED", "UNAVAILABLE", err.Error()
	case len(found.resources) == 0 && !found.other:
		change.Status, change.Execution = "FAILED", "UNAVAILABLE"
		change.Reason = "The submitted information didn't contain changes. Submit different information to create a change set."
	}
	change.Changes = found.resources
	if err := s.changeTable.Put(change.ID, change); err != nil {
		return nil, err
	}
	return &sdk.CreateChangeSetOutput{Id: aws.String(change.ID), StackId: aws.String(st.id)}, nil
}

// changeSet finds a change set by ID, or by name within a stack.
func (s *Service) changeSet(nameOrID, stackRef string) *changeSetRow {
	if row, ok := s.changeTable.Get(nameOrID); ok {
		return &row
	}
	st := s.find(stackRef)
	if st == nil {
		return nil
	}
	for _, row := range s.changeTable.All() {
		if row.Name == nameOrID && row.StackID == st.id {
			return &row
		}
	}
	return nil
}

func (s *Service) mustChangeSet(name, stackRef *string) (*changeSetRow, error) {
	if row := s.changeSet(aws.ToString(name), aws.ToString(stackRef)); row != nil {
		return row, nil
	}
	return nil, wire.Errorf("ChangeSetNotFound", "ChangeSet [%s] does not exist", aws.ToString(name))
}

// DescribeChangeSet tells what a change set would do.
func (s *Service) DescribeChangeSet(_ context.Context, in *sdk.DescribeChangeSetInput) (*sdk.DescribeChangeSetOutput, error) {
	row, err := s.mustChangeSet(in.ChangeSetName, in.StackName)
	if err != nil {
		return nil, err
	}
	out := &sdk.DescribeChangeSetOutput{
		ChangeSetId: &row.ID, ChangeSetName: &row.Name, StackId: &row.StackID, StackName: aws.String(s.stackName(row.StackID)),
		CreationTime: &row.Created, Status: types.ChangeSetStatus(row.Status), ExecutionStatus: types.ExecutionStatus(row.Execution),
		StatusReason: optional(row.Reason), Description: optional(row.Description), Tags: sdkTags(row.Version.Tags),
		Parameters: s.sdkParameters(row.Body, row.Version), NotificationARNs: row.Version.NotificationARNs, IncludeNestedStacks: aws.Bool(false),
		ImportExistingResources: aws.Bool(false), OnStackFailure: types.OnStackFailure(row.OnFailure),
	}
	for _, c := range row.Version.Capabilities {
		out.Capabilities = append(out.Capabilities, types.Capability(c))
	}
	page, next, err := paged(row.Changes, in.NextToken, pageSize)
	if err != nil {
		return nil, err
	}
	out.NextToken = next
	for _, c := range page {
		change := &types.ResourceChange{
			Action: types.ChangeAction(c.Action), LogicalResourceId: aws.String(c.LogicalID), ResourceType: aws.String(c.Type),
			PhysicalResourceId: optional(c.PhysicalID), Replacement: types.Replacement(c.Replacement), Scope: []types.ResourceAttribute{}, Details: []types.ResourceChangeDetail{},
		}
		for _, a := range c.Scope {
			change.Scope = append(change.Scope, types.ResourceAttribute(a))
		}
		typ := s.typeOf(c.Type)
		for _, p := range c.Properties {
			recreation := types.RequiresRecreationNever
			if typ != nil && c.Replacement != "False" && slices.ContainsFunc(typ.Replaces, func(path string) bool { return path == "*" || path == p || strings.HasPrefix(path, p+".") }) {
				recreation = types.RequiresRecreationAlways
			}
			change.Details = append(change.Details, types.ResourceChangeDetail{
				ChangeSource: types.ChangeSourceDirectModification, Evaluation: types.EvaluationTypeStatic,
				Target: &types.ResourceTargetDefinition{Attribute: types.ResourceAttributeProperties, Name: aws.String(p), RequiresRecreation: recreation},
			})
		}
		out.Changes = append(out.Changes, types.Change{Type: types.ChangeTypeResource, ResourceChange: change})
	}
	return out, nil
}

// ListChangeSets lists the change sets of a stack.
func (s *Service) ListChangeSets(_ context.Context, in *sdk.ListChangeSetsInput) (*sdk.ListChangeSetsOutput, error) {
	st, err := s.existing(in.StackName)
	if err != nil {
		return nil, err
	}
	var all []types.ChangeSetSummary
	for _, row := range s.changeTable.All() {
		if row.StackID == st.id {
			all = append(all, types.ChangeSetSummary{
				ChangeSetId: aws.String(row.ID), ChangeSetName: aws.String(row.Name), StackId: aws.String(row.StackID), StackName: aws.String(s.stackName(row.StackID)),
				CreationTime: aws.Time(row.Created), Status: types.ChangeSetStatus(row.Status), ExecutionStatus: types.ExecutionStatus(row.Execution),
				StatusReason: optional(row.Reason), Description: optional(row.Description),
			})
		}
	}
	page, next, err := paged(all, in.NextToken, pageSize)
	return &sdk.ListChangeSetsOutput{Summaries: page, NextToken: next}, err
}

// DeleteChangeSet forgets a change set.
func (s *Service) DeleteChangeSet(_ context.Context, in *sdk.DeleteChangeSetInput) (*sdk.DeleteChangeSetOutput, error) {
	row, err := s.mustChangeSet(in.ChangeSetName, in.StackName)
	if err != nil {
		return nil, err
	}
	return &sdk.DeleteChangeSetOutput{}, s.changeTable.Delete(row.ID)
}

// ExecuteChangeSet begins the update or creation that a change set holds. All
// change sets of the stack are gone then, as they no longer fit.
func (s *Service) ExecuteChangeSet(ctx context.Context, in *sdk.ExecuteChangeSetInput) (*sdk.ExecuteChangeSetOutput, error) {
	row, err := s.mustChangeSet(in.ChangeSetName, in.StackName)
	if err != nil {
		return nil, err
	}
	if row.Execution != "AVAILABLE" {
		return nil, wire.Errorf("InvalidChangeSetStatus", "ChangeSet [%s] cannot be executed in its current status of [%s]", row.ID, row.Status)
	}
	st := s.find(row.StackID)
	if st == nil {
		return nil, validation("Stack [%s] does not exist", row.StackID)
	}
	token := aws.ToString(in.ClientRequestToken)
	v := row.Version
	if in.DisableRollback != nil {
		v.DisableRollback = *in.DisableRollback
	}
	v.RetainExceptOnCreate = aws.ToBool(in.RetainExceptOnCreate)
	if err := s.actFor(ctx, st, &v.RoleARN); err != nil {
		return nil, err
	}
	if row.Creates {
		err = s.createReviewed(st, row, v, token)
	} else {
		err = s.beginUpdate(ctx, st, v, row.Body, token, row.ID)
	}
	if err != nil {
		return nil, err
	}
	for _, other := range s.changeTable.All() {
		if other.StackID == st.id {
			err = errors.Join(err, s.changeTable.Delete(other.ID))
		}
	}
	return &sdk.ExecuteChangeSetOutput{}, err
}

// createReviewed begins to make a stack that so far only had change sets.
func (s *Service) createReviewed(st *stack, change *changeSetRow, v version, token string) error {
	v.Template = 1
	if err := s.templateTable.Put(templateKey(st.id, v.Template), change.Body); err != nil {
		return err
	}
	return s.begin(st, phaseCreate, "CREATE_IN_PROGRESS", token, func(row *stackRow, _ *operation) error {
		if row.Status != "REVIEW_IN_PROGRESS" || row.Op != nil {
			return validation("Stack:%s is in %s state and can not be created.", row.ID, row.Status)
		}
		row.Version, row.ChangeSet, row.CreateToken = v, change.ID, token
		if change.OnFailure != "" {
			row.OnFailure = change.OnFailure
		}
		return nil
	})
}
