//go:build linux

package imagebuilder

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/imagebuilder"
	"github.com/aws/aws-sdk-go-v2/service/imagebuilder/types"

	"pcluster/internal/component"
	"pcluster/internal/sandbox/wire"
)

// maxInline is how long a document may be that comes with the request.
const maxInline = 16000

// CreateComponent makes a component of a document that is in the request or in S3.
func (s *Service) CreateComponent(ctx context.Context, in *sdk.CreateComponentInput) (*sdk.CreateComponentOutput, error) {
	if err := checkName(in.Name); err != nil {
		return nil, err
	}
	if err := checkVersion(in.SemanticVersion); err != nil {
		return nil, err
	}
	if in.Platform != types.PlatformLinux {
		return nil, invalid("The machines of this sandbox run Linux: a component for %s can't be used here.", in.Platform)
	}
	if (in.Data == nil) == (in.Uri == nil) {
		return nil, invalid("Exactly one of the parameters 'data' and 'uri' has to be given.")
	}
	data := aws.ToString(in.Data)
	if len(data) > maxInline {
		return nil, invalid("The document has %d characters, more than the %d that 'data' takes: put it into S3 and use 'uri'.", len(data), maxInline)
	}
	if uri := aws.ToString(in.Uri); uri != "" {
		rest, ok := strings.CutPrefix(uri, "s3://")
		bucket, key, _ := strings.Cut(rest, "/")
		if !ok || key == "" {
			return nil, invalid("The value supplied for parameter 'uri' is not valid: %q is no s3:// URL", uri)
		}
		text, err := s.cfg.Objects.Object(ctx, bucket, key, "")
		if err != nil {
			return nil, invalid("The value supplied for parameter 'uri' is not valid. Failed to access the S3 object %s: %v", uri, err)
		}
		data = string(text)
	}
	doc, problems := component.Parse([]byte(data))
	if err := problems.Err(); err != nil {
		return nil, invalid("The value supplied for parameter 'data' is not valid. Failed to parse document. Error: %v", err)
	}
	if in.DryRun {
		return nil, &wire.Error{Code: "DryRunOperationException", Message: "The dry run operation of the resource was successful, and no resources or mutations were actually performed due to the dry run flag in the request.", Status: 400}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if arn, ok := s.once("CreateComponent", in.ClientToken); ok {
		return &sdk.CreateComponentOutput{ClientToken: in.ClientToken, ComponentBuildVersionArn: &arn}, nil
	}
	base := s.arn("component/" + slug(*in.Name) + "/" + *in.SemanticVersion)
	build := 1
	for _, v := range s.components.All() {
		if strings.HasPrefix(*v.Arn, base+"/") {
			if adopted(v) {
				continue // has kept the place for this one
			}
			if aws.ToString(v.Data) == data {
				return nil, exists("component", *v.Arn)
			}
			build = max(build, buildOf(*v.Arn)+1)
		}
	}
	arn := base + "/" + strconv.Itoa(build)
	v := types.Component{
		Arn: &arn, Name: in.Name, Version: in.SemanticVersion, Description: in.Description, ChangeDescription: in.ChangeDescription,
		Platform: in.Platform, SupportedOsVersions: in.SupportedOsVersions, Owner: aws.String(s.id.Account()), Data: &data, Type: typeOf(doc),
		KmsKeyId: in.KmsKeyId, Encrypted: aws.Bool(true), DateCreated: s.stamp(), Tags: in.Tags, State: &types.ComponentState{Status: types.ComponentStatusActive},
	}
	for _, p := range doc.Parameters {
		d := types.ComponentParameterDetail{Name: aws.String(p.Name), Type: aws.String("string"), Description: aws.String(p.Description)}
		if p.Default != nil {
			d.DefaultValue = []string{*p.Default}
		}
		v.Parameters = append(v.Parameters, d)
	}
	if err := s.components.Put(arn, v); err != nil {
		return nil, err
	}
	return &sdk.CreateComponentOutput{ClientToken: in.ClientToken, ComponentBuildVersionArn: &arn, RequestId: in.ClientToken}, s.remember("CreateComponent", in.ClientToken, arn)
}

// typeOf says whether a component is for tests alone.
func typeOf(d *component.Document) types.ComponentType {
	if d.Phase(component.Build) == nil && d.Phase(component.Validate) == nil {
		return types.ComponentTypeTest
	}
	return types.ComponentTypeBuild
}

// buildOf returns the build version at the end of an ARN.
func buildOf(arn string) int {
	n, _ := strconv.Atoi(arn[strings.LastIndexByte(arn, '/')+1:])
	return n
}

// resolve finds the newest component or image that an ARN stands for, in which
// parts of the version may be x and the build version may be missing.
func resolve(arns []string, want string) (string, bool) {
	if slices.Contains(arns, want) {
		return want, true
	}
	best := ""
	for _, arn := range arns {
		if matchesVersion(arn, want) && (best == "" || newer(arn, best)) {
			best = arn
		}
	}
	return best, best != ""
}

func matchesVersion(arn, want string) bool {
	a, w := strings.Split(arn, "/"), strings.Split(want, "/")
	if len(w) < 3 || len(w) > len(a) || a[0] != w[0] || a[1] != w[1] || len(w) == 4 && w[3] != a[3] {
		return false
	}
	have, asked := strings.Split(a[2], "."), strings.Split(w[2], ".")
	if len(have) != len(asked) {
		return false
	}
	for i := range have {
		if asked[i] != "x" && asked[i] != have[i] {
			return false
		}
	}
	return true
}

func newer(a, b string) bool {
	key := func(arn string) string {
		parts := strings.Split(arn, "/")
		out := ""
		for _, n := range append(strings.Split(parts[2], "."), parts[3:]...) {
			out += fmt.Sprintf("%010s", n)
		}
		return out
	}
	return key(a) > key(b)
}

func (s *Service) component(arn string) (types.Component, error) {
	if found, ok := resolve(s.components.Keys(), arn); ok {
		v, _ := s.components.Get(found)
		return v, nil
	}
	for _, v := range s.amazonComponents() {
		if _, ok := resolve([]string{*v.Arn}, arn); ok {
			return v, nil
		}
	}
	return types.Component{}, notFound(arn)
}

// GetComponent returns a component with its document.
func (s *Service) GetComponent(_ context.Context, in *sdk.GetComponentInput) (*sdk.GetComponentOutput, error) {
	v, err := s.component(aws.ToString(in.ComponentBuildVersionArn))
	if err != nil {
		return nil, err
	}
	return &sdk.GetComponentOutput{Component: &v}, nil
}

// ListComponents lists the versions of components.
func (s *Service) ListComponents(_ context.Context, in *sdk.ListComponentsInput) (*sdk.ListComponentsOutput, error) {
	var have []types.Component
	switch in.Owner {
	case "":
		have = append(s.components.All(), s.amazonComponents()...)
	case types.OwnershipSelf:
		have = s.components.All()
	case types.OwnershipAmazon:
		have = s.amazonComponents()
	}
	var all []types.ComponentVersion
	for _, v := range have {
		arn := (*v.Arn)[:strings.LastIndexByte(*v.Arn, '/')]
		if n := len(all); n > 0 && *all[n-1].Arn == arn || !keep(in.Filters, map[string]string{
			"name": *v.Name, "version": *v.Version, "platform": string(v.Platform), "type": string(v.Type), "description": aws.ToString(v.Description)}) {
			continue
		}
		all = append(all, types.ComponentVersion{Arn: &arn, Name: v.Name, Version: v.Version, Description: v.Description, Platform: v.Platform,
			SupportedOsVersions: v.SupportedOsVersions, Type: v.Type, Owner: v.Owner, DateCreated: v.DateCreated, Status: types.ComponentStatusActive})
	}
	slices.SortStableFunc(all, func(a, b types.ComponentVersion) int { return strings.Compare(*a.Arn, *b.Arn) })
	if in.ByName {
		all = slices.CompactFunc(all, func(a, b types.ComponentVersion) bool { return *a.Name == *b.Name })
	}
	part, next := page(all, in.NextToken, in.MaxResults, func(v types.ComponentVersion) string { return *v.Arn })
	return &sdk.ListComponentsOutput{ComponentVersionList: part, NextToken: next}, nil
}

// ListComponentBuildVersions lists the builds of a version.
func (s *Service) ListComponentBuildVersions(_ context.Context, in *sdk.ListComponentBuildVersionsInput) (*sdk.ListComponentBuildVersionsOutput, error) {
	var all []types.ComponentSummary
	for _, v := range s.components.All() {
		if want := aws.ToString(in.ComponentVersionArn); want != "" && !matchesVersion(*v.Arn, want) {
			continue
		}
		all = append(all, types.ComponentSummary{Arn: v.Arn, Name: v.Name, Version: v.Version, Description: v.Description, ChangeDescription: v.ChangeDescription,
			Platform: v.Platform, SupportedOsVersions: v.SupportedOsVersions, Type: v.Type, Owner: v.Owner, DateCreated: v.DateCreated, Tags: v.Tags, State: v.State})
	}
	part, next := page(all, in.NextToken, in.MaxResults, func(v types.ComponentSummary) string { return *v.Arn })
	return &sdk.ListComponentBuildVersionsOutput{ComponentSummaryList: part, NextToken: next}, nil
}

// DeleteComponent deletes a component that no recipe has.
func (s *Service) DeleteComponent(_ context.Context, in *sdk.DeleteComponentInput) (*sdk.DeleteComponentOutput, error) {
	arn := aws.ToString(in.ComponentBuildVersionArn)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.components.Get(arn); !ok {
		return nil, notFound(arn)
	}
	for _, r := range s.recipes.All() {
		for _, c := range r.Components {
			if aws.ToString(c.ComponentArn) == arn {
				return nil, inUse(arn, *r.Arn)
			}
		}
	}
	return &sdk.DeleteComponentOutput{ComponentBuildVersionArn: &arn}, s.components.Delete(arn)
}

// adoptedDocument is what a component does that was adopted from a file.
const adoptedDocument = `schemaVersion: 1.0
phases:
  - name: build
    steps:
      - name: Nothing
        action: ExecuteBash
        inputs:
          commands:
            - echo this component was adopted from an image file, which does not tell what it does
`

func adopted(v types.Component) bool { return aws.ToString(v.Data) == adoptedDocument }

// AdoptComponent makes a component that does nothing under an ARN of this account, if
// there is none. CreateComponent takes its place.
func (s *Service) AdoptComponent(arn string) (made bool, err error) {
	rest, ok := strings.CutPrefix(arn, s.arn("component/"))
	parts := strings.Split(rest, "/")
	if !ok || len(parts) < 2 || parts[0] == "" {
		return false, fmt.Errorf("it is not the ARN of a component of account %s in %s", s.id.Account(), s.id.Name())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.component(arn); err == nil {
		return false, nil
	}
	version := strings.ReplaceAll(parts[1], "x", "0")
	build := "1"
	if len(parts) > 2 {
		build = parts[2]
	}
	key := s.arn("component/" + parts[0] + "/" + version + "/" + build)
	return true, s.components.Put(key, types.Component{
		Arn: &key, Name: &parts[0], Version: &version, Platform: types.PlatformLinux, Type: types.ComponentTypeBuild, Owner: aws.String(s.id.Account()),
		Description: aws.String("Adopted from an image file"), Data: aws.String(adoptedDocument), Encrypted: aws.Bool(true), DateCreated: s.stamp(),
		State: &types.ComponentState{Status: types.ComponentStatusActive},
	})
}

// HasImage says whether an ARN stands for an image here.
func (s *Service) HasImage(arn string) bool {
	_, ok := s.imageOf(arn)
	return ok
}
