package cloudformation

import (
	"context"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"

	"pcluster/internal/sandbox/cloudformation/template"
)

// pageSize is how many entries a page of any listing has.
const pageSize = 100

// paged returns the page of a list that a token asks for, and the token of the
// next.
func paged[T any](all []T, token *string, size int) (page []T, next *string, err error) {
	start := 0
	if token != nil {
		data, err := base64.RawURLEncoding.DecodeString(*token)
		if err == nil {
			start, err = strconv.Atoi(string(data))
		}
		if err != nil || start < 0 {
			return nil, nil, validation("Invalid NextToken")
		}
	}
	start = min(start, len(all))
	end := min(start+size, len(all))
	if end < len(all) {
		next = aws.String(base64.RawURLEncoding.EncodeToString([]byte(strconv.Itoa(end))))
	}
	return all[start:end], next, nil
}

// pageFrom is paged for a list that grows at the front while it is read: tokens
// count from the end.
func pageFrom[T any](newestFirst []T, token *string, size int) (page []T, next *string, err error) {
	left := len(newestFirst)
	if token != nil {
		data, err := base64.RawURLEncoding.DecodeString(*token)
		if err == nil {
			left, err = strconv.Atoi(string(data))
		}
		if err != nil || left < 0 || left > len(newestFirst) {
			return nil, nil, validation("Invalid NextToken")
		}
	}
	rest := newestFirst[len(newestFirst)-left:]
	page = rest[:min(size, len(rest))]
	if len(page) < len(rest) {
		next = aws.String(base64.RawURLEncoding.EncodeToString([]byte(strconv.Itoa(len(rest) - len(page)))))
	}
	return page, next, nil
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func sdkTags(tags []tag) []types.Tag {
	out := []types.Tag{}
	for _, t := range tags {
		out = append(out, types.Tag{Key: aws.String(t.Key), Value: aws.String(t.Value)})
	}
	return out
}

// existing returns the stack with the given name or ID, or AWS's refusal.
func (s *Service) existing(nameOrID *string) (*stack, error) {
	if st := s.find(aws.ToString(nameOrID)); st != nil {
		return st, nil
	}
	return nil, validation("Stack with id %s does not exist", aws.ToString(nameOrID))
}

// sdkParameters returns the parameters of a version, those marked NoEcho masked.
func (s *Service) sdkParameters(body string, v version) []types.Parameter {
	t, err := template.Parse([]byte(body))
	if err != nil {
		return nil
	}
	return parametersOf(t, v)
}

func parametersOf(t *template.Template, v version) []types.Parameter {
	var out []types.Parameter
	for _, name := range sortedKeys(v.Parameters) {
		p := types.Parameter{ParameterKey: aws.String(name), ParameterValue: aws.String(v.Parameters[name])}
		if resolved, ok := v.Resolved[name]; ok {
			p.ResolvedValue = aws.String(resolved)
		}
		if t.Parameters[name].NoEcho {
			p.ParameterValue, p.ResolvedValue = aws.String("****"), nil
		}
		out = append(out, p)
	}
	return out
}

func (s *Service) describe(st *stack) types.Stack {
	row := st.snapshot()
	out := types.Stack{
		StackId: aws.String(row.ID), StackName: aws.String(row.Name), StackStatus: types.StackStatus(row.Status), StackStatusReason: optional(row.Reason),
		CreationTime: aws.Time(row.Created), LastUpdatedTime: row.Updated, DeletionTime: row.Deleted, Description: optional(row.Description),
		DisableRollback: aws.Bool(row.Version.DisableRollback || row.OnFailure == "DO_NOTHING" && row.Parent == ""), EnableTerminationProtection: aws.Bool(row.TerminationProtection),
		ParentId: optional(row.Parent), RootId: optional(row.Root), RoleARN: optional(row.Version.RoleARN), ChangeSetId: optional(row.ChangeSet),
		NotificationARNs: append([]string{}, row.Version.NotificationARNs...), Tags: sdkTags(row.Version.Tags),
		DriftInformation:      &types.StackDriftInformation{StackDriftStatus: types.StackDriftStatusNotChecked},
		RollbackConfiguration: &types.RollbackConfiguration{},
	}
	// AWS gives no reason for what the caller asked for.
	if row.Reason == userInitiated && row.Status != "REVIEW_IN_PROGRESS" {
		out.StackStatusReason = aws.String(userInitiated)
	}
	if row.TimeoutMinutes > 0 {
		out.TimeoutInMinutes = aws.Int32(row.TimeoutMinutes)
	}
	for _, c := range row.Version.Capabilities {
		out.Capabilities = append(out.Capabilities, types.Capability(c))
	}
	if row.Version.RetainExceptOnCreate {
		out.RetainExceptOnCreate = aws.Bool(true)
	}
	if t, err := s.parsedTemplate(st, row.Version.Template); err == nil {
		out.Parameters = parametersOf(t, row.Version)
	}
	for _, o := range row.Outputs {
		out.Outputs = append(out.Outputs, types.Output{
			OutputKey: aws.String(o.Key), OutputValue: aws.String(o.Value), Description: optional(o.Description), ExportName: optional(o.Export),
		})
	}
	return out
}

// DescribeStacks describes one stack, which may be a deleted one if given by its
// ID, or all that exist.
func (s *Service) DescribeStacks(_ context.Context, in *sdk.DescribeStacksInput) (*sdk.DescribeStacksOutput, error) {
	if in.StackName != nil {
		st, err := s.existing(in.StackName)
		if err != nil {
			return nil, err
		}
		return &sdk.DescribeStacksOutput{Stacks: []types.Stack{s.describe(st)}}, nil
	}
	live := slices.DeleteFunc(s.all(), func(st *stack) bool { return st.snapshot().Deleted != nil })
	page, next, err := paged(live, in.NextToken, pageSize)
	if err != nil {
		return nil, err
	}
	out := &sdk.DescribeStacksOutput{NextToken: next}
	for _, st := range page {
		out.Stacks = append(out.Stacks, s.describe(st))
	}
	return out, nil
}

// DescribeStackEvents lists the events of a stack, newest first.
func (s *Service) DescribeStackEvents(_ context.Context, in *sdk.DescribeStackEventsInput) (*sdk.DescribeStackEventsOutput, error) {
	st := s.find(aws.ToString(in.StackName))
	if st == nil {
		return nil, validation("Stack [%s] does not exist", aws.ToString(in.StackName))
	}
	st.mu.Lock()
	events := slices.Clone(st.events)
	st.mu.Unlock()
	slices.Reverse(events)
	page, next, err := pageFrom(events, in.NextToken, pageSize)
	if err != nil {
		return nil, err
	}
	out := &sdk.DescribeStackEventsOutput{NextToken: next, StackEvents: []types.StackEvent{}}
	for _, e := range page {
		out.StackEvents = append(out.StackEvents, types.StackEvent{
			EventId: aws.String(e.ID), StackId: aws.String(e.StackID), StackName: aws.String(e.StackName), Timestamp: aws.Time(e.Time),
			LogicalResourceId: aws.String(e.LogicalID), PhysicalResourceId: aws.String(e.PhysicalID), ResourceType: aws.String(e.Type),
			ResourceStatus: types.ResourceStatus(e.Status), ResourceStatusReason: optional(e.Reason), ResourceProperties: optional(e.Properties),
			ClientRequestToken: optional(e.Token),
		})
	}
	return out, nil
}

// DescribeStackResource describes a resource, with the metadata that the
// template gives it.
func (s *Service) DescribeStackResource(_ context.Context, in *sdk.DescribeStackResourceInput) (*sdk.DescribeStackResourceOutput, error) {
	name, id := aws.ToString(in.StackName), aws.ToString(in.LogicalResourceId)
	st := s.find(name)
	if st == nil {
		return nil, validation("Stack '%s' does not exist", name)
	}
	r, ok := st.resource(id)
	if !ok {
		return nil, validation("Resource %s does not exist for stack %s", id, st.snapshot().Name)
	}
	out := &types.StackResourceDetail{
		StackId: aws.String(st.id), StackName: aws.String(st.snapshot().Name), LogicalResourceId: aws.String(id), PhysicalResourceId: optional(r.PhysicalID),
		ResourceType: aws.String(r.Type), ResourceStatus: types.ResourceStatus(r.Status), ResourceStatusReason: optional(r.Reason),
		LastUpdatedTimestamp: aws.Time(r.Time), DriftInformation: &types.StackResourceDriftInformation{StackResourceDriftStatus: types.StackResourceDriftStatusNotChecked},
		Metadata: aws.String("{}"),
	}
	if r.Metadata != nil {
		out.Metadata = aws.String(template.JSON(map[string]any(r.Metadata)))
	}
	return &sdk.DescribeStackResourceOutput{StackResourceDetail: out}, nil
}

// DescribeStackResources describes up to 100 resources of a stack, or the one
// with the given physical ID, in whatever stack it is.
func (s *Service) DescribeStackResources(_ context.Context, in *sdk.DescribeStackResourcesInput) (*sdk.DescribeStackResourcesOutput, error) {
	var st *stack
	physical := aws.ToString(in.PhysicalResourceId)
	switch {
	case in.StackName != nil && in.PhysicalResourceId != nil, in.StackName == nil && in.PhysicalResourceId == nil:
		return nil, validation("Either StackName or PhysicalResourceId must be specified, but not both")
	case in.StackName != nil:
		var err error
		if st, err = s.existing(in.StackName); err != nil {
			return nil, err
		}
	default:
		for _, other := range s.all() {
			if slices.ContainsFunc(other.allResources(), func(r resourceRow) bool { return r.PhysicalID == physical && !r.done() }) {
				st = other
				break
			}
		}
		if st == nil {
			return nil, validation("Stack for %s does not exist", physical)
		}
	}
	out := &sdk.DescribeStackResourcesOutput{StackResources: []types.StackResource{}}
	for _, r := range st.allResources() {
		if in.LogicalResourceId != nil && *in.LogicalResourceId != r.LogicalID || len(out.StackResources) == 100 {
			continue
		}
		out.StackResources = append(out.StackResources, types.StackResource{
			StackId: aws.String(st.id), StackName: aws.String(st.snapshot().Name), LogicalResourceId: aws.String(r.LogicalID), PhysicalResourceId: optional(r.PhysicalID),
			ResourceType: aws.String(r.Type), ResourceStatus: types.ResourceStatus(r.Status), ResourceStatusReason: optional(r.Reason), Timestamp: aws.Time(r.Time),
			DriftInformation: &types.StackResourceDriftInformation{StackResourceDriftStatus: types.StackResourceDriftStatusNotChecked},
		})
	}
	return out, nil
}

// ListStackResources lists the resources of a stack.
func (s *Service) ListStackResources(_ context.Context, in *sdk.ListStackResourcesInput) (*sdk.ListStackResourcesOutput, error) {
	st, err := s.existing(in.StackName)
	if err != nil {
		return nil, err
	}
	page, next, err := paged(st.allResources(), in.NextToken, pageSize)
	if err != nil {
		return nil, err
	}
	out := &sdk.ListStackResourcesOutput{NextToken: next, StackResourceSummaries: []types.StackResourceSummary{}}
	for _, r := range page {
		out.StackResourceSummaries = append(out.StackResourceSummaries, types.StackResourceSummary{
			LogicalResourceId: aws.String(r.LogicalID), PhysicalResourceId: optional(r.PhysicalID), ResourceType: aws.String(r.Type),
			ResourceStatus: types.ResourceStatus(r.Status), ResourceStatusReason: optional(r.Reason), LastUpdatedTimestamp: aws.Time(r.Time),
			DriftInformation: &types.StackResourceDriftInformationSummary{StackResourceDriftStatus: types.StackResourceDriftStatusNotChecked},
		})
	}
	return out, nil
}

// ListStacks lists stacks by status, deleted ones too.
func (s *Service) ListStacks(_ context.Context, in *sdk.ListStacksInput) (*sdk.ListStacksOutput, error) {
	var all []types.StackSummary
	for _, st := range s.all() {
		row := st.snapshot()
		if len(in.StackStatusFilter) > 0 && !slices.Contains(in.StackStatusFilter, types.StackStatus(row.Status)) {
			continue
		}
		all = append(all, types.StackSummary{
			StackId: aws.String(row.ID), StackName: aws.String(row.Name), StackStatus: types.StackStatus(row.Status), StackStatusReason: optional(row.Reason),
			CreationTime: aws.Time(row.Created), LastUpdatedTime: row.Updated, DeletionTime: row.Deleted, TemplateDescription: optional(row.Description),
			ParentId: optional(row.Parent), RootId: optional(row.Root),
			DriftInformation: &types.StackDriftInformationSummary{StackDriftStatus: types.StackDriftStatusNotChecked},
		})
	}
	page, next, err := paged(all, in.NextToken, pageSize)
	return &sdk.ListStacksOutput{StackSummaries: page, NextToken: next}, err
}

// GetTemplate returns the template of a stack or change set as it was given.
func (s *Service) GetTemplate(_ context.Context, in *sdk.GetTemplateInput) (*sdk.GetTemplateOutput, error) {
	stages := []types.TemplateStage{types.TemplateStageOriginal, types.TemplateStageProcessed}
	if in.ChangeSetName != nil {
		row, err := s.mustChangeSet(in.ChangeSetName, in.StackName)
		if err != nil {
			return nil, err
		}
		return &sdk.GetTemplateOutput{TemplateBody: aws.String(row.Body), StagesAvailable: stages}, nil
	}
	st, err := s.existing(in.StackName)
	if err != nil {
		return nil, err
	}
	body, ok := s.templateTable.Get(templateKey(st.id, st.snapshot().Version.Template))
	if !ok {
		return nil, validation("Template for stack %s is not available", st.snapshot().Name)
	}
	return &sdk.GetTemplateOutput{TemplateBody: aws.String(body), StagesAvailable: stages}, nil
}

// capabilitiesOf returns what a template needs to be acknowledged, as the SDK
// has it.
func capabilitiesOf(t *template.Template) (capabilities []types.Capability, reason *string) {
	needed, because := t.Capabilities()
	for _, c := range needed {
		capabilities = append(capabilities, types.Capability(c))
	}
	if needed != nil {
		reason = aws.String("The following resource(s) require capabilities: [" + strings.Join(because, ", ") + "]")
	}
	return capabilities, reason
}

// GetTemplateSummary describes a template's parameters and resource types.
func (s *Service) GetTemplateSummary(ctx context.Context, in *sdk.GetTemplateSummaryInput) (*sdk.GetTemplateSummaryOutput, error) {
	var body string
	var err error
	if in.StackName != nil {
		st, err := s.existing(in.StackName)
		if err != nil {
			return nil, err
		}
		body, _ = s.templateTable.Get(templateKey(st.id, st.snapshot().Version.Template))
	} else if body, err = s.body(ctx, in.TemplateBody, in.TemplateURL); err != nil {
		return nil, err
	}
	t, err := template.Parse([]byte(body))
	if err != nil {
		return nil, refusal(err)
	}
	out := &sdk.GetTemplateSummaryOutput{
		Description: optional(t.Description), ResourceTypes: t.Types(), Version: aws.String("2010-09-09"), Parameters: []types.ParameterDeclaration{},
	}
	out.Capabilities, out.CapabilitiesReason = capabilitiesOf(t)
	if t.Metadata != nil {
		out.Metadata = aws.String(template.JSON(t.Metadata))
	}
	for _, name := range sortedKeys(t.Parameters) {
		p := t.Parameters[name]
		out.Parameters = append(out.Parameters, types.ParameterDeclaration{
			ParameterKey: aws.String(name), ParameterType: aws.String(p.Type), DefaultValue: p.Default, Description: optional(p.Description), NoEcho: aws.Bool(p.NoEcho),
			ParameterConstraints: &types.ParameterConstraints{AllowedValues: p.AllowedValues},
		})
	}
	return out, nil
}

// ValidateTemplate checks a template.
func (s *Service) ValidateTemplate(ctx context.Context, in *sdk.ValidateTemplateInput) (*sdk.ValidateTemplateOutput, error) {
	body, err := s.body(ctx, in.TemplateBody, in.TemplateURL)
	if err != nil {
		return nil, err
	}
	t, err := s.parse(body)
	if err != nil {
		return nil, err
	}
	out := &sdk.ValidateTemplateOutput{Description: optional(t.Description), Parameters: []types.TemplateParameter{}}
	out.Capabilities, out.CapabilitiesReason = capabilitiesOf(t)
	for _, name := range sortedKeys(t.Parameters) {
		p := t.Parameters[name]
		out.Parameters = append(out.Parameters, types.TemplateParameter{
			ParameterKey: aws.String(name), DefaultValue: p.Default, Description: optional(p.Description), NoEcho: aws.Bool(p.NoEcho),
		})
	}
	return out, nil
}

// ListExports lists the exported outputs of all stacks.
func (s *Service) ListExports(_ context.Context, in *sdk.ListExportsInput) (*sdk.ListExportsOutput, error) {
	var all []types.Export
	for _, st := range s.all() {
		row := st.snapshot()
		if row.Deleted != nil {
			continue
		}
		for _, o := range row.Outputs {
			if o.Export != "" {
				all = append(all, types.Export{ExportingStackId: aws.String(row.ID), Name: aws.String(o.Export), Value: aws.String(o.Value)})
			}
		}
	}
	slices.SortFunc(all, func(a, b types.Export) int { return strings.Compare(*a.Name, *b.Name) })
	page, next, err := paged(all, in.NextToken, pageSize)
	return &sdk.ListExportsOutput{Exports: page, NextToken: next}, err
}

// ListImports lists the stacks that use an export.
func (s *Service) ListImports(_ context.Context, in *sdk.ListImportsInput) (*sdk.ListImportsOutput, error) {
	name := aws.ToString(in.ExportName)
	users := s.importers(name)
	if len(users) == 0 {
		return nil, validation("Export '%s' is not imported by any stack.", name)
	}
	page, next, err := paged(users, in.NextToken, pageSize)
	return &sdk.ListImportsOutput{Imports: page, NextToken: next}, err
}
