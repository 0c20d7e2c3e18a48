// Package ssm is the region's parameter store: parameters with versions, labels,
// hierarchies and tags. Secure values are stored as they are; what callers get
// without decryption is a text that says nothing. The rest of Systems Manager is
// not part of it.
package ssm

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"pcluster/internal/sandbox/page"
	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/wire"
)

// A Service is the parameter store of a region. It is safe for concurrent use.
type Service struct {
	id  *region.Identity
	now func() time.Time

	mu         sync.Mutex // held over every change
	parameters *store.Table[parameter]
}

// A parameter is a row; its key is its name.
type parameter struct {
	Name     string
	Tags     map[string]string `json:",omitempty"`
	Versions []version         // oldest first; the last is current
}

type version struct {
	Number   int64
	Type     types.ParameterType
	Value    string
	Tier     types.ParameterTier
	DataType string
	Modified time.Time
	By       string `json:",omitempty"` // ARN

	Description string   `json:",omitempty"`
	Pattern     string   `json:",omitempty"`
	KMSKey      string   `json:",omitempty"`
	Labels      []string `json:",omitempty"`
}

// maxVersions are kept of each parameter.
const maxVersions = 100

// New opens the region's parameters.
func New(db *store.DB, id *region.Identity) (*Service, error) {
	s := &Service{id: id, now: time.Now}
	return s, store.OpenTable(db, "ssm.parameters", &s.parameters)
}

// Register attaches the operations to the API.
func (s *Service) Register(m *wire.Service) {
	wire.Handle(m, "PutParameter", s.PutParameter)
	wire.Handle(m, "GetParameter", s.GetParameter)
	wire.Handle(m, "GetParameters", s.GetParameters)
	wire.Handle(m, "GetParametersByPath", s.GetParametersByPath)
	wire.Handle(m, "GetParameterHistory", s.GetParameterHistory)
	wire.Handle(m, "LabelParameterVersion", s.LabelParameterVersion)
	wire.Handle(m, "DescribeParameters", s.DescribeParameters)
	wire.Handle(m, "DeleteParameter", s.DeleteParameter)
	wire.Handle(m, "DeleteParameters", s.DeleteParameters)
	wire.Handle(m, "AddTagsToResource", s.AddTagsToResource)
	wire.Handle(m, "RemoveTagsFromResource", s.RemoveTagsFromResource)
	wire.Handle(m, "ListTagsForResource", s.ListTagsForResource)
}

func notFound(name string) error {
	return wire.Errorf("ParameterNotFound", "Parameter %s not found.", name)
}

func (p parameter) current() version { return p.Versions[len(p.Versions)-1] }

// nameOf returns the parameter that a request names, by its ARN too.
func nameOf(s string) string {
	if _, rest, ok := strings.Cut(s, ":parameter"); ok && strings.HasPrefix(s, "arn:") {
		if strings.Count(rest, "/") == 1 {
			return rest[1:] // a name without a hierarchy
		}
		return rest
	}
	return s
}

func (s *Service) arn(name string) *string {
	return aws.String(s.id.ARN("ssm", "parameter/"+strings.TrimPrefix(name, "/")))
}

// valid reports whether a name may be a parameter's: parts of letters, digits, .,
// - and _ between slashes.
func valid(name string) bool {
	for part := range strings.SplitSeq(strings.TrimPrefix(name, "/"), "/") {
		if part == "" || strings.Trim(part, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") != "" {
			return false
		}
	}
	return true
}

// PutParameter makes a parameter, or a new version of it when it may overwrite.
func (s *Service) PutParameter(ctx context.Context, in *ssm.PutParameterInput) (*ssm.PutParameterOutput, error) {
	name := nameOf(aws.ToString(in.Name))
	bare := strings.ToLower(strings.TrimPrefix(name, "/"))
	switch {
	case !valid(name):
		return nil, wire.Errorf("ValidationException", "Parameter name: can't be %q: only a mix of letters, numbers and the following symbols are allowed: .-_/ and hierarchies begin with a slash.", name)
	case strings.HasPrefix(bare, "aws"), strings.HasPrefix(bare, "ssm"):
		return nil, wire.Errorf("ValidationException", "Parameter name: can't be prefixed with \"aws\" or \"ssm\" (case-insensitive).")
	case strings.Count(name, "/") > 15:
		return nil, wire.Errorf("HierarchyLevelLimitExceededException", "A hierarchy can have a maximum of 15 levels.")
	}
	overwrite := aws.ToBool(in.Overwrite)
	if overwrite && len(in.Tags) > 0 {
		return nil, wire.Errorf("ValidationException", "Invalid request: tags and overwrite can't be used together. To create a parameter with tags, please remove overwrite flag.")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, exists := s.parameters.Get(name)
	if exists && !overwrite {
		return nil, wire.Errorf("ParameterAlreadyExists", "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.")
	}
	v := version{Number: 1, Type: in.Type, DataType: "text", Tier: types.ParameterTierStandard}
	if exists {
		old := p.current()
		v.Number, v.Description, v.Pattern, v.KMSKey, v.Tier, v.DataType = old.Number+1, old.Description, old.Pattern, old.KMSKey, old.Tier, old.DataType
		if v.Type == "" {
			v.Type = old.Type
		}
	}
	if v.Type == "" {
		return nil, wire.Errorf("ValidationException", "A parameter type is required when you create a parameter.")
	}
	v.Value, v.Modified, v.By = aws.ToString(in.Value), s.now(), wire.CallerFrom(ctx).ARN
	v.Description, v.Pattern = orOld(in.Description, v.Description), orOld(in.AllowedPattern, v.Pattern)
	v.KMSKey, v.DataType = orOld(in.KeyId, v.KMSKey), orOld(in.DataType, v.DataType)
	if v.Type == types.ParameterTypeSecureString && v.KMSKey == "" {
		v.KMSKey = "alias/aws/ssm"
	}
	if in.Tier != "" && in.Tier != types.ParameterTierIntelligentTiering {
		v.Tier = in.Tier
	}
	if err := v.check(in.Tier); err != nil {
		return nil, err
	}
	if !exists {
		p = parameter{Name: name, Tags: withTags(nil, in.Tags)}
	}
	p.Versions = append(slices.Clone(p.Versions), v)
	if len(p.Versions) > maxVersions {
		p.Versions = p.Versions[1:]
	}
	return &ssm.PutParameterOutput{Version: v.Number, Tier: v.Tier}, s.parameters.Put(name, p)
}

func orOld(s *string, old string) string {
	if s == nil {
		return old
	}
	return *s
}

// check refuses values that do not fit; tier is the one that was asked for.
func (v *version) check(tier types.ParameterTier) error {
	if len(v.Value) > 4096 && v.Tier == types.ParameterTierStandard {
		if tier != types.ParameterTierIntelligentTiering {
			return wire.Errorf("ValidationException", "Standard tier parameters support a maximum parameter value of 4096 characters. To create a larger parameter value, upgrade the parameter to use the advanced-parameter tier.")
		}
		v.Tier = types.ParameterTierAdvanced
	}
	if len(v.Value) > 8192 {
		return wire.Errorf("ValidationException", "Advanced tier parameters support a maximum parameter value of 8192 characters.")
	}
	if v.Pattern == "" {
		return nil
	}
	re, err := regexp.Compile("^(?:" + v.Pattern + ")$")
	if err != nil {
		return wire.Errorf("InvalidAllowedPatternException", "The request isn't valid: the allowed pattern is not a regular expression: %v", err)
	}
	if !re.MatchString(v.Value) {
		return wire.Errorf("ParameterPatternMismatchException", "Parameter value, cannot be validated against allowedPattern: %s", v.Pattern)
	}
	return nil
}

// choose returns the version that a name with a selector asks for: NAME,
// NAME:3 or NAME:label.
func (s *Service) choose(asked string) (parameter, version, string, error) {
	name, selector := nameOf(asked), ""
	if i := strings.LastIndexByte(name, ':'); i >= 0 {
		name, selector = name[:i], name[i:]
	}
	p, ok := s.parameters.Get(name)
	if !ok {
		return p, version{}, "", notFound(asked)
	}
	if selector == "" {
		return p, p.current(), "", nil
	}
	number, err := strconv.ParseInt(selector[1:], 10, 64)
	for _, v := range p.Versions {
		if err == nil && v.Number == number || err != nil && slices.Contains(v.Labels, selector[1:]) {
			return p, v, selector, nil
		}
	}
	return p, version{}, "", wire.Errorf("ParameterVersionNotFound", "Systems Manager could not find version %s of %s. Verify the version and try again.", selector[1:], name)
}

func (s *Service) sdkParameter(p parameter, v version, selector string, decrypt *bool) types.Parameter {
	out := types.Parameter{
		Name: aws.String(p.Name), ARN: s.arn(p.Name), Type: v.Type, Value: aws.String(v.shown(decrypt)), Version: v.Number,
		LastModifiedDate: aws.Time(v.Modified), DataType: aws.String(v.DataType),
	}
	if selector != "" {
		out.Selector = aws.String(selector)
	}
	return out
}

// shown is the value as a caller gets it.
func (v version) shown(decrypt *bool) string {
	if v.Type != types.ParameterTypeSecureString || aws.ToBool(decrypt) {
		return v.Value
	}
	sum := sha256.Sum256([]byte(v.Value))
	return "AQICAH" + base64.StdEncoding.EncodeToString(sum[:])
}

// GetParameter returns a parameter.
func (s *Service) GetParameter(_ context.Context, in *ssm.GetParameterInput) (*ssm.GetParameterOutput, error) {
	p, v, selector, err := s.choose(aws.ToString(in.Name))
	if err != nil {
		return nil, err
	}
	out := s.sdkParameter(p, v, selector, in.WithDecryption)
	return &ssm.GetParameterOutput{Parameter: &out}, nil
}

// GetParameters returns those of the named parameters that exist.
func (s *Service) GetParameters(_ context.Context, in *ssm.GetParametersInput) (*ssm.GetParametersOutput, error) {
	out := &ssm.GetParametersOutput{Parameters: []types.Parameter{}, InvalidParameters: []string{}}
	for _, name := range in.Names {
		p, v, selector, err := s.choose(name)
		if err != nil {
			out.InvalidParameters = append(out.InvalidParameters, name)
			continue
		}
		out.Parameters = append(out.Parameters, s.sdkParameter(p, v, selector, in.WithDecryption))
	}
	return out, nil
}

// GetParametersByPath returns the parameters under a path.
func (s *Service) GetParametersByPath(_ context.Context, in *ssm.GetParametersByPathInput) (*ssm.GetParametersByPathOutput, error) {
	path := aws.ToString(in.Path)
	if !strings.HasPrefix(path, "/") {
		return nil, wire.Errorf("ValidationException", "The parameter doesn't meet the parameter name requirements. The parameter name must begin with a forward slash \"/\".")
	}
	path = strings.TrimSuffix(path, "/") + "/"
	var found []parameter
	for _, p := range s.parameters.All() {
		rest, under := strings.CutPrefix(p.Name, path)
		if !under && path == "/" && !strings.HasPrefix(p.Name, "/") {
			rest, under = p.Name, true
		}
		if !under || !aws.ToBool(in.Recursive) && strings.Contains(rest, "/") {
			continue
		}
		fits, err := p.fits(in.ParameterFilters)
		if err != nil {
			return nil, err
		}
		if fits {
			found = append(found, p)
		}
	}
	rows, next, err := cut(found, in.NextToken, in.MaxResults, 10)
	if err != nil {
		return nil, err
	}
	out := &ssm.GetParametersByPathOutput{Parameters: []types.Parameter{}, NextToken: next}
	for _, p := range rows {
		out.Parameters = append(out.Parameters, s.sdkParameter(p, p.current(), "", in.WithDecryption))
	}
	return out, nil
}

func cut(rows []parameter, token *string, limit *int32, fallback int) ([]parameter, *string, error) {
	out, next, err := page.Of(rows, func(p parameter) string { return p.Name }, token, page.Limit(limit, fallback))
	if err != nil {
		return nil, nil, wire.Errorf("InvalidNextToken", "The specified token isn't valid.")
	}
	return out, next, nil
}

// fits reports whether a parameter passes all filters.
func (p parameter) fits(filters []types.ParameterStringFilter) (bool, error) {
	v := p.current()
	for _, f := range filters {
		var have []string
		key, option := aws.ToString(f.Key), aws.ToString(f.Option)
		switch {
		case key == "Name":
			have = []string{p.Name}
		case key == "Type":
			have = []string{string(v.Type)}
		case key == "KeyId":
			have = []string{v.KMSKey}
		case key == "Tier":
			have = []string{string(v.Tier)}
		case key == "DataType":
			have = []string{v.DataType}
		case key == "Label":
			have = v.Labels
		case key == "Path":
			if !slices.ContainsFunc(f.Values, func(path string) bool { return p.under(path, option == "Recursive") }) {
				return false, nil
			}
			continue
		case strings.HasPrefix(key, "tag:"):
			value, ok := p.Tags[key[4:]]
			if !ok {
				return false, nil
			}
			if len(f.Values) == 0 {
				continue
			}
			have = []string{value}
		default:
			return false, wire.Errorf("InvalidFilterKey", "The following filter key is not valid: %s. Valid filter keys include: [DataType, KeyId, Label, Name, Path, Tier, Type, tag:].", key)
		}
		if !slices.ContainsFunc(f.Values, func(want string) bool {
			return slices.ContainsFunc(have, func(h string) bool {
				switch option {
				case "BeginsWith":
					return strings.HasPrefix(strings.TrimPrefix(h, "/"), strings.TrimPrefix(want, "/"))
				case "Contains":
					return strings.Contains(h, want)
				}
				return h == want
			})
		}) {
			return false, nil
		}
	}
	return true, nil
}

func (p parameter) under(path string, deep bool) bool {
	rest, ok := strings.CutPrefix(p.Name, strings.TrimSuffix(path, "/")+"/")
	return ok && (deep || !strings.Contains(rest, "/"))
}

// DescribeParameters lists parameters without their values.
func (s *Service) DescribeParameters(_ context.Context, in *ssm.DescribeParametersInput) (*ssm.DescribeParametersOutput, error) {
	filters := in.ParameterFilters
	for _, f := range in.Filters { // the older form
		filters = append(filters, types.ParameterStringFilter{Key: aws.String(string(f.Key)), Option: aws.String("BeginsWith"), Values: f.Values})
	}
	var found []parameter
	for _, p := range s.parameters.All() {
		fits, err := p.fits(filters)
		if err != nil {
			return nil, err
		}
		if fits {
			found = append(found, p)
		}
	}
	rows, next, err := cut(found, in.NextToken, in.MaxResults, 50)
	if err != nil {
		return nil, err
	}
	out := &ssm.DescribeParametersOutput{NextToken: next}
	for _, p := range rows {
		v := p.current()
		out.Parameters = append(out.Parameters, types.ParameterMetadata{
			Name: aws.String(p.Name), ARN: s.arn(p.Name), Type: v.Type, Tier: v.Tier, Version: v.Number, DataType: aws.String(v.DataType),
			LastModifiedDate: aws.Time(v.Modified), LastModifiedUser: text(v.By), Description: text(v.Description), AllowedPattern: text(v.Pattern),
			KeyId: text(v.KMSKey), Policies: []types.ParameterInlinePolicy{},
		})
	}
	return out, nil
}

func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// GetParameterHistory lists versions, oldest first.
func (s *Service) GetParameterHistory(_ context.Context, in *ssm.GetParameterHistoryInput) (*ssm.GetParameterHistoryOutput, error) {
	p, ok := s.parameters.Get(nameOf(aws.ToString(in.Name)))
	if !ok {
		return nil, notFound(aws.ToString(in.Name))
	}
	out := &ssm.GetParameterHistoryOutput{}
	for _, v := range p.Versions {
		out.Parameters = append(out.Parameters, types.ParameterHistory{
			Name: aws.String(p.Name), Type: v.Type, Tier: v.Tier, Version: v.Number, DataType: aws.String(v.DataType), Value: aws.String(v.shown(in.WithDecryption)),
			LastModifiedDate: aws.Time(v.Modified), LastModifiedUser: text(v.By), Description: text(v.Description), AllowedPattern: text(v.Pattern),
			KeyId: text(v.KMSKey), Labels: append([]string{}, v.Labels...), Policies: []types.ParameterInlinePolicy{},
		})
	}
	return out, nil
}

// change updates a parameter that a request names.
func (s *Service) change(name *string, missing func() error, fn func(*parameter) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.parameters.Update(nameOf(aws.ToString(name)), fn)
	if errors.Is(err, store.ErrNotFound) {
		return missing()
	}
	return err
}

// LabelParameterVersion gives labels to a version; each names one version only.
func (s *Service) LabelParameterVersion(_ context.Context, in *ssm.LabelParameterVersionInput) (*ssm.LabelParameterVersionOutput, error) {
	out := &ssm.LabelParameterVersionOutput{InvalidLabels: []string{}}
	err := s.change(in.Name, func() error { return notFound(*in.Name) }, func(p *parameter) error {
		number := p.current().Number
		if in.ParameterVersion != nil {
			number = *in.ParameterVersion
		}
		out.ParameterVersion = number
		p.Versions = slices.Clone(p.Versions)
		found := false
		for i := range p.Versions {
			v := &p.Versions[i]
			v.Labels = slices.DeleteFunc(slices.Clone(v.Labels), func(l string) bool { return slices.Contains(in.Labels, l) })
			if v.Number == number {
				v.Labels = append(v.Labels, in.Labels...)
				found = true
			}
		}
		if !found {
			return wire.Errorf("ParameterVersionNotFound", "Systems Manager could not find version %d of %s. Verify the version and try again.", number, p.Name)
		}
		return nil
	})
	return out, err
}

// DeleteParameter deletes a parameter.
func (s *Service) DeleteParameter(_ context.Context, in *ssm.DeleteParameterInput) (*ssm.DeleteParameterOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := nameOf(aws.ToString(in.Name))
	if _, ok := s.parameters.Get(name); !ok {
		return nil, notFound(name)
	}
	return &ssm.DeleteParameterOutput{}, s.parameters.Delete(name)
}

// DeleteParameters deletes those of the named parameters that exist.
func (s *Service) DeleteParameters(_ context.Context, in *ssm.DeleteParametersInput) (*ssm.DeleteParametersOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := &ssm.DeleteParametersOutput{DeletedParameters: []string{}, InvalidParameters: []string{}}
	for _, n := range in.Names {
		name := nameOf(n)
		if _, ok := s.parameters.Get(name); !ok {
			out.InvalidParameters = append(out.InvalidParameters, n)
			continue
		}
		if err := s.parameters.Delete(name); err != nil {
			return nil, err
		}
		out.DeletedParameters = append(out.DeletedParameters, n)
	}
	return out, nil
}

func withTags(old map[string]string, list []types.Tag) map[string]string {
	out := maps.Clone(old)
	if out == nil {
		out = map[string]string{}
	}
	for _, t := range list {
		out[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return out
}

func (s *Service) tagged(kind types.ResourceTypeForTagging, id *string, fn func(*parameter) error) error {
	if kind != types.ResourceTypeForTaggingParameter {
		return wire.Errorf("InvalidResourceType", "The sandbox has no resources of type %s.", kind)
	}
	return s.change(id, func() error {
		return wire.Errorf("InvalidResourceId", "The resource ID %s is not valid. Verify that you entered the correct ID and try again.", aws.ToString(id))
	}, fn)
}

// AddTagsToResource adds or replaces tags.
func (s *Service) AddTagsToResource(_ context.Context, in *ssm.AddTagsToResourceInput) (*ssm.AddTagsToResourceOutput, error) {
	return &ssm.AddTagsToResourceOutput{}, s.tagged(in.ResourceType, in.ResourceId, func(p *parameter) error {
		p.Tags = withTags(p.Tags, in.Tags)
		return nil
	})
}

// RemoveTagsFromResource removes tags.
func (s *Service) RemoveTagsFromResource(_ context.Context, in *ssm.RemoveTagsFromResourceInput) (*ssm.RemoveTagsFromResourceOutput, error) {
	return &ssm.RemoveTagsFromResourceOutput{}, s.tagged(in.ResourceType, in.ResourceId, func(p *parameter) error {
		p.Tags = maps.Clone(p.Tags)
		for _, k := range in.TagKeys {
			delete(p.Tags, k)
		}
		return nil
	})
}

// ListTagsForResource lists tags.
func (s *Service) ListTagsForResource(_ context.Context, in *ssm.ListTagsForResourceInput) (*ssm.ListTagsForResourceOutput, error) {
	out := &ssm.ListTagsForResourceOutput{TagList: []types.Tag{}}
	p, ok := s.parameters.Get(nameOf(aws.ToString(in.ResourceId)))
	if !ok || in.ResourceType != types.ResourceTypeForTaggingParameter {
		return nil, wire.Errorf("InvalidResourceId", "The resource ID %s is not valid. Verify that you entered the correct ID and try again.", aws.ToString(in.ResourceId))
	}
	for _, k := range slices.Sorted(maps.Keys(p.Tags)) {
		out.TagList = append(out.TagList, types.Tag{Key: aws.String(k), Value: aws.String(p.Tags[k])})
	}
	return out, nil
}
