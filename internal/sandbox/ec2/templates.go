package ec2

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/wire"
)

// launchTemplate is a template with all its versions, oldest first.
type launchTemplate struct {
	Desc     types.LaunchTemplate
	Versions []templateVersion
}

// A templateVersion keeps the data as it was requested, which is what a launch
// merges; DescribeLaunchTemplateVersions shows the same under other types.
type templateVersion struct {
	Desc types.LaunchTemplateVersion // without data
	Data types.RequestLaunchTemplateData
}

var nounTemplate = noun{"lt", "InvalidLaunchTemplateId", "The specified launch template, with template ID %s, does not exist."}

func templateKey(v *launchTemplate) string { return *v.Desc.LaunchTemplateId }

func templateTags(v *launchTemplate) []types.Tag { return v.Desc.Tags }

var templateAttributes = map[string]attribute[launchTemplate]{
	"launch-template-id":   func(v *launchTemplate) []string { return one(v.Desc.LaunchTemplateId) },
	"launch-template-name": func(v *launchTemplate) []string { return one(v.Desc.LaunchTemplateName) },
	"create-time":          func(v *launchTemplate) []string { return instant(v.Desc.CreateTime) },
}

// DescribeLaunchTemplates lists launch templates.
func (s *Service) DescribeLaunchTemplates(_ context.Context, in *sdk.DescribeLaunchTemplatesInput) (*sdk.DescribeLaunchTemplatesOutput, error) {
	filters := in.Filters
	for _, name := range in.LaunchTemplateNames {
		if s.templateNamed(name) == nil {
			return nil, templateNameNotFound()
		}
	}
	if len(in.LaunchTemplateNames) > 0 {
		filters = append(slices.Clone(filters), types.Filter{Name: aws.String("launch-template-name"), Values: in.LaunchTemplateNames})
	}
	l := of(s.templates, nounTemplate, templateKey, templateAttributes, templateTags)
	rows, next, err := l.describe(in.LaunchTemplateIds, filters, in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	out := &sdk.DescribeLaunchTemplatesOutput{LaunchTemplates: make([]types.LaunchTemplate, len(rows)), NextToken: next}
	for i := range rows {
		out.LaunchTemplates[i] = rows[i].Desc
	}
	return out, nil
}

func templateNameNotFound() error {
	return wire.Errorf("InvalidLaunchTemplateName.NotFoundException", "At least one of the launch templates specified in the request does not exist.")
}

func (s *Service) templateNamed(name string) *launchTemplate {
	for _, v := range s.templates.all() {
		if *v.Desc.LaunchTemplateName == name {
			return v
		}
	}
	return nil
}

// findTemplate finds a template by ID or name; a request gives exactly one.
func (s *Service) findTemplate(id, name *string) (*launchTemplate, error) {
	switch {
	case aws.ToString(id) != "" && aws.ToString(name) != "":
		return nil, invalidCombination("You can only specify either a launch template ID or a launch template name, not both.")
	case aws.ToString(id) != "":
		return find(s.templates, nounTemplate, *id)
	case aws.ToString(name) != "":
		if v := s.templateNamed(*name); v != nil {
			return v, nil
		}
		return nil, templateNameNotFound()
	}
	return nil, missing("launchTemplateId or launchTemplateName")
}

// version resolves what a request calls a version: a number, $Latest, $Default,
// or nothing, which means the default one.
func (v *launchTemplate) version(name *string) (*templateVersion, error) {
	n := aws.ToInt64(v.Desc.DefaultVersionNumber)
	switch w := aws.ToString(name); w {
	case "", "$Default":
	case "$Latest":
		n = aws.ToInt64(v.Desc.LatestVersionNumber)
	default:
		var err error
		if n, err = strconv.ParseInt(w, 10, 64); err != nil {
			return nil, wire.Errorf("InvalidLaunchTemplateId.VersionNotFound", "The specified version, %s, is not valid for the launch template %s.", w, *v.Desc.LaunchTemplateId)
		}
	}
	for i := range v.Versions {
		if *v.Versions[i].Desc.VersionNumber == n {
			return &v.Versions[i], nil
		}
	}
	return nil, wire.Errorf("InvalidLaunchTemplateId.VersionNotFound",
		"Could not find the specified version %d for the launch template with ID %s.", n, *v.Desc.LaunchTemplateId)
}

var templateName = regexp.MustCompile(`^[a-zA-Z0-9().\-/_]{3,128}$`)

// CreateLaunchTemplate makes a template with its first version.
func (s *Service) CreateLaunchTemplate(ctx context.Context, in *sdk.CreateLaunchTemplateInput) (*sdk.CreateLaunchTemplateOutput, error) {
	name := aws.ToString(in.LaunchTemplateName)
	if !templateName.MatchString(name) {
		return nil, wire.Errorf("InvalidLaunchTemplateName.MalformedException",
			"The launch template name '%s' is not valid: names have 3 to 128 letters, digits and ( ) . - / _", name)
	}
	tags, err := newTags(ctx, in.TagSpecifications, types.ResourceTypeLaunchTemplate)
	if err != nil {
		return nil, err
	}
	if in.LaunchTemplateData == nil {
		return nil, missing("LaunchTemplateData")
	}
	if err := checkTemplateData(ctx, in.LaunchTemplateData); err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id := region.NewID("lt")
	v, err := once(s, "CreateLaunchTemplate", in.ClientToken, in, s.templates, id, func() error {
		if s.templateNamed(name) != nil {
			return wire.Errorf("InvalidLaunchTemplateName.AlreadyExistsException", "Launch template name already in use.")
		}
		now := aws.Time(s.now().UTC())
		v := &launchTemplate{Desc: types.LaunchTemplate{
			LaunchTemplateId:     aws.String(id),
			LaunchTemplateName:   in.LaunchTemplateName,
			CreateTime:           now,
			CreatedBy:            aws.String(s.creator(ctx)),
			DefaultVersionNumber: aws.Int64(1),
			LatestVersionNumber:  aws.Int64(1),
			Tags:                 tags,
		}}
		v.Versions = []templateVersion{s.newVersion(ctx, v, 1, in.VersionDescription, in.LaunchTemplateData)}
		return s.templates.put(id, v)
	})
	if err != nil {
		return nil, err
	}
	return &sdk.CreateLaunchTemplateOutput{LaunchTemplate: &v.Desc}, nil
}

func (s *Service) newVersion(ctx context.Context, v *launchTemplate, n int64, description *string, data *types.RequestLaunchTemplateData) templateVersion {
	return templateVersion{
		Desc: types.LaunchTemplateVersion{
			LaunchTemplateId:   v.Desc.LaunchTemplateId,
			LaunchTemplateName: v.Desc.LaunchTemplateName,
			VersionNumber:      aws.Int64(n),
			VersionDescription: description,
			CreateTime:         aws.Time(s.now().UTC()),
			CreatedBy:          aws.String(s.creator(ctx)),
		},
		Data: *data,
	}
}

func (s *Service) creator(ctx context.Context) string {
	if c := wire.CallerFrom(ctx); c.ARN != "" {
		return c.ARN
	}
	return s.id.GlobalARN("iam", "root")
}

// CreateLaunchTemplateVersion adds a version, which takes from its source version
// what the request does not set.
func (s *Service) CreateLaunchTemplateVersion(ctx context.Context, in *sdk.CreateLaunchTemplateVersionInput) (*sdk.CreateLaunchTemplateVersionOutput, error) {
	if in.LaunchTemplateData == nil {
		return nil, missing("LaunchTemplateData")
	}
	if err := checkTemplateData(ctx, in.LaunchTemplateData); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.findTemplate(in.LaunchTemplateId, in.LaunchTemplateName)
	if err != nil {
		return nil, err
	}
	data := *in.LaunchTemplateData
	if in.SourceVersion != nil {
		source, err := v.version(in.SourceVersion)
		if err != nil {
			return nil, err
		}
		data = overlay(source.Data, data)
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	ids, err := s.recall("CreateLaunchTemplateVersion", in.ClientToken, in)
	if err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		v, err = s.templates.update(*v.Desc.LaunchTemplateId, func(v *launchTemplate) error {
			n := *v.Desc.LatestVersionNumber + 1
			v.Versions = append(slices.Clone(v.Versions), s.newVersion(ctx, v, n, in.VersionDescription, &data))
			v.Desc.LatestVersionNumber = aws.Int64(n)
			return nil
		})
		if err != nil {
			return nil, err
		}
		ids = []string{strconv.FormatInt(*v.Desc.LatestVersionNumber, 10)}
		if err := s.remember("CreateLaunchTemplateVersion", in.ClientToken, in, ids...); err != nil {
			return nil, err
		}
	}
	made, err := v.version(&ids[0])
	if err != nil {
		return nil, err
	}
	shown, err := made.describe(v)
	if err != nil {
		return nil, err
	}
	return &sdk.CreateLaunchTemplateVersionOutput{LaunchTemplateVersion: &shown}, nil
}

// describe renders the version as EC2 shows it.
func (t *templateVersion) describe(v *launchTemplate) (types.LaunchTemplateVersion, error) {
	d := t.Desc
	d.DefaultVersion = aws.Bool(*d.VersionNumber == *v.Desc.DefaultVersionNumber)
	d.LaunchTemplateData = &types.ResponseLaunchTemplateData{}
	return d, convert(t.Data, d.LaunchTemplateData)
}

// convert copies members of equal names between two of the SDK's types: requests
// and responses describe the same things under different ones.
func convert(from, to any) error {
	data, err := json.Marshal(from)
	if err != nil {
		return fmt.Errorf("convert %T: %w", from, err)
	}
	if err := json.Unmarshal(data, to); err != nil {
		return fmt.Errorf("convert %T to %T: %w", from, to, err)
	}
	return nil
}

// DescribeLaunchTemplateVersions lists versions of one template, newest first; or,
// asked for $Latest or $Default without a template, one of each.
func (s *Service) DescribeLaunchTemplateVersions(_ context.Context, in *sdk.DescribeLaunchTemplateVersionsInput) (*sdk.DescribeLaunchTemplateVersionsOutput, error) {
	var templates []*launchTemplate
	if in.LaunchTemplateId == nil && in.LaunchTemplateName == nil {
		if len(in.Versions) == 0 {
			return nil, missing("LaunchTemplateId or LaunchTemplateName")
		}
		for _, w := range in.Versions {
			if w != "$Latest" && w != "$Default" {
				return nil, invalidValue("Only $Latest and $Default can be asked of all launch templates.")
			}
		}
		templates = s.templates.all()
	} else {
		v, err := s.findTemplate(in.LaunchTemplateId, in.LaunchTemplateName)
		if err != nil {
			return nil, err
		}
		templates = []*launchTemplate{v}
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	out := &sdk.DescribeLaunchTemplateVersionsOutput{}
	var rows []*types.LaunchTemplateVersion
	for _, v := range templates {
		chosen, err := v.choose(in.Versions, in.MinVersion, in.MaxVersion)
		if err != nil {
			return nil, err
		}
		for _, t := range chosen {
			shown, err := t.describe(v)
			if err != nil {
				return nil, err
			}
			rows = append(rows, &shown)
		}
	}
	filters, err := compile(in.Filters, versionAttributes, nil)
	if err != nil {
		return nil, err
	}
	p, err := newPager(in.NextToken, in.MaxResults, 1, 200)
	if err != nil {
		return nil, err
	}
	key := func(v *types.LaunchTemplateVersion) string {
		return fmt.Sprintf("%s/%016x", *v.LaunchTemplateId, 1<<60-*v.VersionNumber) // newest first
	}
	found, next := page(p, rows, key, func(v *types.LaunchTemplateVersion) bool { return pass(filters, v) })
	out.LaunchTemplateVersions, out.NextToken = values(found), next
	return out, nil
}

var versionAttributes = map[string]attribute[types.LaunchTemplateVersion]{
	"create-time":        func(v *types.LaunchTemplateVersion) []string { return instant(v.CreateTime) },
	"image-id":           func(v *types.LaunchTemplateVersion) []string { return one(v.LaunchTemplateData.ImageId) },
	"instance-type":      func(v *types.LaunchTemplateVersion) []string { return word(v.LaunchTemplateData.InstanceType) },
	"is-default-version": func(v *types.LaunchTemplateVersion) []string { return yesNo(v.DefaultVersion) },
}

// choose returns the versions that a request names, newest first; without any
// name, all in the range.
func (v *launchTemplate) choose(names []string, least, most *string) ([]*templateVersion, error) {
	var chosen []*templateVersion
	for _, name := range names {
		t, err := v.version(&name)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(chosen, t) {
			chosen = append(chosen, t)
		}
	}
	if len(names) == 0 {
		bound := func(w *string, otherwise int64) (int64, error) {
			if w == nil {
				return otherwise, nil
			}
			n, err := strconv.ParseInt(*w, 10, 64)
			if err != nil {
				return 0, invalidValue("Value (%s) for a version bound is not a number.", *w)
			}
			return n, nil
		}
		low, err := bound(least, 0)
		if err != nil {
			return nil, err
		}
		high, err := bound(most, *v.Desc.LatestVersionNumber)
		if err != nil {
			return nil, err
		}
		for i := range v.Versions {
			if n := *v.Versions[i].Desc.VersionNumber; n >= low && n <= high {
				chosen = append(chosen, &v.Versions[i])
			}
		}
	}
	slices.SortFunc(chosen, func(a, b *templateVersion) int { return int(*b.Desc.VersionNumber - *a.Desc.VersionNumber) })
	return chosen, nil
}

// ModifyLaunchTemplate makes another version the default.
func (s *Service) ModifyLaunchTemplate(_ context.Context, in *sdk.ModifyLaunchTemplateInput) (*sdk.ModifyLaunchTemplateOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.findTemplate(in.LaunchTemplateId, in.LaunchTemplateName)
	if err != nil {
		return nil, err
	}
	if in.DefaultVersion == nil {
		return nil, missing("DefaultVersion")
	}
	t, err := v.version(in.DefaultVersion)
	if err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	v, err = s.templates.update(*v.Desc.LaunchTemplateId, func(v *launchTemplate) error {
		v.Desc.DefaultVersionNumber = t.Desc.VersionNumber
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &sdk.ModifyLaunchTemplateOutput{LaunchTemplate: &v.Desc}, nil
}

// DeleteLaunchTemplate deletes a template with all versions.
func (s *Service) DeleteLaunchTemplate(_ context.Context, in *sdk.DeleteLaunchTemplateInput) (*sdk.DeleteLaunchTemplateOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.findTemplate(in.LaunchTemplateId, in.LaunchTemplateName)
	if err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	return &sdk.DeleteLaunchTemplateOutput{LaunchTemplate: &v.Desc}, s.templates.delete(*v.Desc.LaunchTemplateId)
}

// DeleteLaunchTemplateVersions deletes versions other than the default one.
func (s *Service) DeleteLaunchTemplateVersions(_ context.Context, in *sdk.DeleteLaunchTemplateVersionsInput) (*sdk.DeleteLaunchTemplateVersionsOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.findTemplate(in.LaunchTemplateId, in.LaunchTemplateName)
	if err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	out := &sdk.DeleteLaunchTemplateVersionsOutput{}
	gone := map[int64]bool{}
	for _, name := range in.Versions {
		n, _ := strconv.ParseInt(name, 10, 64)
		t, err := v.version(&name)
		if err == nil && *t.Desc.VersionNumber != *v.Desc.DefaultVersionNumber {
			gone[n] = true
			out.SuccessfullyDeletedLaunchTemplateVersions = append(out.SuccessfullyDeletedLaunchTemplateVersions, types.DeleteLaunchTemplateVersionsResponseSuccessItem{
				LaunchTemplateId: v.Desc.LaunchTemplateId, LaunchTemplateName: v.Desc.LaunchTemplateName, VersionNumber: aws.Int64(n),
			})
			continue
		}
		reason := types.ResponseError{Code: types.LaunchTemplateErrorCodeLaunchTemplateVersionDoesNotExist, Message: aws.String("The version does not exist.")}
		if err == nil {
			reason = types.ResponseError{Code: types.LaunchTemplateErrorCodeUnexpectedError, Message: aws.String("The default version of a launch template cannot be deleted.")}
		}
		out.UnsuccessfullyDeletedLaunchTemplateVersions = append(out.UnsuccessfullyDeletedLaunchTemplateVersions, types.DeleteLaunchTemplateVersionsResponseErrorItem{
			LaunchTemplateId: v.Desc.LaunchTemplateId, LaunchTemplateName: v.Desc.LaunchTemplateName, VersionNumber: aws.Int64(n), ResponseError: &reason,
		})
	}
	return out, s.templates.set(*v.Desc.LaunchTemplateId, func(v *launchTemplate) {
		v.Versions = slices.DeleteFunc(slices.Clone(v.Versions), func(t templateVersion) bool { return gone[*t.Desc.VersionNumber] })
	})
}

const maxUserData = 16 << 10 // before encoding

// checkTemplateData refuses what EC2 refuses when a template is made; most of a
// template is checked only when it is launched.
func checkTemplateData(ctx context.Context, d *types.RequestLaunchTemplateData) error {
	if err := checkUserData(d.UserData); err != nil {
		return err
	}
	for _, t := range d.TagSpecifications {
		// A template may have a key twice; a launch merges them.
		if err := checkTags(ctx, mergeTags(nil, t.Tags)); err != nil {
			return err
		}
	}
	if len(d.NetworkInterfaces) > 0 && len(d.SecurityGroupIds)+len(d.SecurityGroups) > 0 {
		return invalidCombination("Network interfaces and an instance-level security groups may not be specified on the same request")
	}
	return nil
}

func checkUserData(data *string) error {
	if data == nil {
		return nil
	}
	raw, err := base64.StdEncoding.DecodeString(*data)
	if err != nil {
		return wire.Errorf("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data.")
	}
	if len(raw) > maxUserData {
		return invalidValue("User data is limited to %d bytes", maxUserData)
	}
	return nil
}
