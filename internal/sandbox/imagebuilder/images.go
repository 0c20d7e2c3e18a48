//go:build linux

package imagebuilder

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/imagebuilder"
	"github.com/aws/aws-sdk-go-v2/service/imagebuilder/types"
	"github.com/google/uuid"
)

// image is an image with what its build has made so far.
type image struct {
	Desc types.Image // recipe and configurations are as they were when the build began

	Recipe, Infrastructure, Distribution string // ARNs

	Stage     stage
	Cancel    bool
	Execution string            // names what is made for the build
	Documents []plannedDocument // of the components
	Build     string            // instances
	Test      string
	AMIName   string
	AMI       string
	Console   int64 // of the machine at work: how much is in the log
	Reason    string
	Workflows []workflow
}

type plannedDocument struct {
	ARN, Text  string
	Parameters map[string]string `json:",omitempty"`
}

// A workflow is a part of a build as people watch it.
type workflow struct {
	ID         string
	Type       types.WorkflowType
	Status     types.WorkflowExecutionStatus
	Message    string `json:",omitempty"`
	Start, End *time.Time
	Steps      []workflowStep
}

type workflowStep struct {
	ID, Name, Action string
	Status           types.WorkflowStepExecutionStatus
	Message          string `json:",omitempty"`
	Outputs          string `json:",omitempty"`
	Start, End       *time.Time
}

func (v *image) key() string { return *v.Desc.Arn }

// over says whether the build has ended.
func (v *image) over() bool {
	switch v.Desc.State.Status {
	case types.ImageStatusAvailable:
		return true
	case types.ImageStatusFailed, types.ImageStatusCancelled:
		return v.Stage == done || v.Stage == notifying
	}
	return false
}

// imageOf returns the image that an ARN stands for, of the account or one of Image
// Builder's own.
func (s *Service) imageOf(arn string) (types.Image, bool) {
	if found, ok := resolve(s.images.Keys(), arn); ok {
		v, ok := s.images.Get(found)
		return v.Desc, ok
	}
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) < 6 || parts[4] != "aws" || parts[3] != s.id.Name() {
		return types.Image{}, false
	}
	path := strings.Split(parts[5], "/")
	if len(path) < 3 || path[0] != "image" {
		return types.Image{}, false
	}
	name, architecture := path[1], ""
	for suffix, arch := range map[string]string{"-x86": "x86_64", "-arm64": "arm64"} {
		if n, ok := strings.CutSuffix(name, suffix); ok {
			name, architecture = n, arch
		}
	}
	os, ok := managedImages[name]
	if !ok {
		return types.Image{}, false
	}
	ami, ok := s.cfg.EC2.ManagedImage(os, architecture)
	if !ok {
		return types.Image{}, false
	}
	const version = "2025.10.1"
	return types.Image{
		Arn: aws.String(strings.Join(parts[:5], ":") + ":image/" + path[1] + "/" + version + "/1"), Name: aws.String(path[1]), Version: aws.String(version + "/1"),
		Platform: types.PlatformLinux, Type: types.ImageTypeAmi, ImageSource: types.ImageSourceAmazonManaged, BuildType: types.BuildTypeScheduled,
		DateCreated: aws.String("2025-10-01T12:00:00.000Z"), State: &types.ImageState{Status: types.ImageStatusAvailable},
		OutputResources: &types.OutputResources{Amis: []types.Ami{{Region: aws.String(s.id.Name()), Image: &ami, Name: aws.String(path[1]), AccountId: aws.String("amazon")}}},
	}, true
}

// CreateImage begins to build an image.
func (s *Service) CreateImage(_ context.Context, in *sdk.CreateImageInput) (*sdk.CreateImageOutput, error) {
	if in.ContainerRecipeArn != nil {
		return nil, invalid("Container images are not part of this sandbox.")
	}
	if len(in.Workflows) > 0 {
		return nil, invalid("Workflows other than Image Builder's own are not part of this sandbox.")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if arn, ok := s.once("CreateImage", in.ClientToken); ok {
		return &sdk.CreateImageOutput{ClientToken: in.ClientToken, ImageBuildVersionArn: &arn}, nil
	}
	recipe, ok := s.recipes.Get(aws.ToString(in.ImageRecipeArn))
	if !ok {
		return nil, notFound(aws.ToString(in.ImageRecipeArn))
	}
	infrastructure, ok := s.infrastructures.Get(aws.ToString(in.InfrastructureConfigurationArn))
	if !ok {
		return nil, notFound(aws.ToString(in.InfrastructureConfigurationArn))
	}
	v := image{Recipe: *recipe.Arn, Infrastructure: *infrastructure.Arn, Execution: uuid.NewString(), Stage: launching}
	v.Desc = types.Image{
		Name: recipe.Name, Type: types.ImageTypeAmi, Platform: types.PlatformLinux, BuildType: types.BuildTypeUserInitiated,
		ImageRecipe: &recipe, InfrastructureConfiguration: &infrastructure, EnhancedImageMetadataEnabled: in.EnhancedImageMetadataEnabled,
		ImageTestsConfiguration: in.ImageTestsConfiguration, DateCreated: s.stamp(), Tags: in.Tags, OutputResources: &types.OutputResources{},
		State: &types.ImageState{Status: types.ImageStatusPending},
	}
	if arn := aws.ToString(in.DistributionConfigurationArn); arn != "" {
		d, ok := s.distributions.Get(arn)
		if !ok {
			return nil, notFound(arn)
		}
		v.Distribution, v.Desc.DistributionConfiguration = arn, &d
	}
	for _, c := range recipe.Components {
		found, err := s.component(*c.ComponentArn)
		if err != nil {
			return nil, err
		}
		doc := plannedDocument{ARN: *found.Arn, Text: *found.Data}
		for _, p := range c.Parameters {
			if doc.Parameters == nil {
				doc.Parameters = map[string]string{}
			}
			doc.Parameters[*p.Name] = strings.Join(p.Value, ",")
		}
		v.Documents = append(v.Documents, doc)
	}
	base, build := s.arn("image/"+slug(*recipe.Name)+"/"+*recipe.Version), 1
	for _, arn := range s.images.Keys() {
		if strings.HasPrefix(arn, base+"/") {
			build = max(build, buildOf(arn)+1)
		}
	}
	// The log stream has the name of the build: that of a build which is forgotten
	// must not go on in it.
	build = max(build, s.builds(base)+1)
	if err := s.tokens.Put("builds/"+base, strconv.Itoa(build)); err != nil {
		return nil, err
	}
	arn := base + "/" + strconv.Itoa(build)
	v.Desc.Arn, v.Desc.Version = &arn, aws.String(*recipe.Version+"/"+strconv.Itoa(build))
	v.AMIName = s.amiName(&v)
	if err := s.images.Put(arn, v); err != nil {
		return nil, err
	}
	if err := s.remember("CreateImage", in.ClientToken, arn); err != nil {
		return nil, err
	}
	s.work(arn)
	return &sdk.CreateImageOutput{ClientToken: in.ClientToken, ImageBuildVersionArn: &arn, RequestId: in.ClientToken}, nil
}

// builds is how many builds a version of an image has had.
func (s *Service) builds(base string) int {
	text, _ := s.tokens.Get("builds/" + base)
	n, _ := strconv.Atoi(text)
	return n
}

// amiName is the name of the AMI that a build makes.
func (s *Service) amiName(v *image) string {
	date := s.cfg.Now().UTC().Format("2006-01-02T15-04-05.000Z")
	if d := s.distribution(v); d != nil && aws.ToString(d.Name) != "" {
		name := aws.ToString(d.Name)
		for _, variable := range []string{"{{ imagebuilder:buildDate }}", "{{imagebuilder:buildDate}}"} {
			name = strings.ReplaceAll(name, variable, date)
		}
		version, build, _ := strings.Cut(*v.Desc.Version, "/")
		name = strings.ReplaceAll(name, "{{ imagebuilder:buildVersion }}", build)
		return strings.ReplaceAll(name, "{{ imagebuilder:semanticVersion }}", version)
	}
	return *v.Desc.Name + " " + date
}

// distribution is what becomes of the AMI in this region, nil if nothing is said.
func (s *Service) distribution(v *image) *types.AmiDistributionConfiguration {
	if v.Desc.DistributionConfiguration == nil {
		return nil
	}
	for _, d := range v.Desc.DistributionConfiguration.Distributions {
		if aws.ToString(d.Region) == s.id.Name() {
			return d.AmiDistributionConfiguration
		}
	}
	return nil
}

// GetImage returns an image.
func (s *Service) GetImage(_ context.Context, in *sdk.GetImageInput) (*sdk.GetImageOutput, error) {
	v, ok := s.imageOf(aws.ToString(in.ImageBuildVersionArn))
	if !ok {
		return nil, notFound(aws.ToString(in.ImageBuildVersionArn))
	}
	return &sdk.GetImageOutput{Image: &v}, nil
}

// ListImages lists the versions of images.
func (s *Service) ListImages(_ context.Context, in *sdk.ListImagesInput) (*sdk.ListImagesOutput, error) {
	var all []types.ImageVersion
	if in.Owner == "" || in.Owner == types.OwnershipSelf {
		for _, v := range s.images.All() {
			arn := (*v.Desc.Arn)[:strings.LastIndexByte(*v.Desc.Arn, '/')]
			version, _, _ := strings.Cut(*v.Desc.Version, "/")
			if n := len(all); n > 0 && *all[n-1].Arn == arn || !keep(in.Filters, map[string]string{"name": *v.Desc.Name, "version": version, "platform": string(v.Desc.Platform)}) {
				continue
			}
			all = append(all, types.ImageVersion{Arn: &arn, Name: v.Desc.Name, Version: &version, Type: v.Desc.Type, Platform: v.Desc.Platform,
				Owner: aws.String(s.id.Account()), DateCreated: v.Desc.DateCreated, BuildType: v.Desc.BuildType})
		}
	}
	part, next := page(all, in.NextToken, in.MaxResults, func(v types.ImageVersion) string { return *v.Arn })
	return &sdk.ListImagesOutput{ImageVersionList: part, NextToken: next}, nil
}

// ListImageBuildVersions lists the builds of a version.
func (s *Service) ListImageBuildVersions(_ context.Context, in *sdk.ListImageBuildVersionsInput) (*sdk.ListImageBuildVersionsOutput, error) {
	var all []types.ImageSummary
	for _, v := range s.images.All() {
		if want := aws.ToString(in.ImageVersionArn); want != "" && !matchesVersion(*v.Desc.Arn, want) {
			continue
		}
		all = append(all, types.ImageSummary{Arn: v.Desc.Arn, Name: v.Desc.Name, Version: v.Desc.Version, Type: v.Desc.Type, Platform: v.Desc.Platform,
			State: v.Desc.State, Owner: aws.String(s.id.Account()), DateCreated: v.Desc.DateCreated, OutputResources: v.Desc.OutputResources, Tags: v.Desc.Tags, BuildType: v.Desc.BuildType})
	}
	part, next := page(all, in.NextToken, in.MaxResults, func(v types.ImageSummary) string { return *v.Arn })
	return &sdk.ListImageBuildVersionsOutput{ImageSummaryList: part, NextToken: next}, nil
}

// DeleteImage forgets an image whose build is over; its AMI stays.
func (s *Service) DeleteImage(_ context.Context, in *sdk.DeleteImageInput) (*sdk.DeleteImageOutput, error) {
	arn := aws.ToString(in.ImageBuildVersionArn)
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.images.Get(arn)
	if !ok {
		return nil, notFound(arn)
	}
	if !v.over() {
		return nil, inUse(arn, "its build is under way, cancel it first")
	}
	return &sdk.DeleteImageOutput{ImageBuildVersionArn: &arn}, s.images.Delete(arn)
}

// CancelImageCreation ends a build.
func (s *Service) CancelImageCreation(_ context.Context, in *sdk.CancelImageCreationInput) (*sdk.CancelImageCreationOutput, error) {
	arn := aws.ToString(in.ImageBuildVersionArn)
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.images.Get(arn)
	if !ok {
		return nil, notFound(arn)
	}
	if v.over() {
		return nil, invalid("The image %s is in state %s: there is no build to cancel.", arn, v.Desc.State.Status)
	}
	_, err := s.images.Update(arn, func(v *image) error { v.Cancel = true; return nil })
	return &sdk.CancelImageCreationOutput{ClientToken: in.ClientToken, ImageBuildVersionArn: &arn}, err
}

func stampOf(t *time.Time) *string {
	if t == nil {
		return nil
	}
	return aws.String(t.UTC().Format("2006-01-02T15:04:05.000Z"))
}

func (s *Service) workflowARN(t types.WorkflowType) *string {
	name := map[types.WorkflowType]string{types.WorkflowTypeBuild: "build/build-image", types.WorkflowTypeTest: "test/test-image", types.WorkflowTypeDistribution: "distribution/distribute-image"}[t]
	return aws.String("arn:aws:imagebuilder:" + s.id.Name() + ":aws:workflow/" + name + "/1.0.2/1")
}

func (w *workflow) count(status types.WorkflowStepExecutionStatus) (n int32) {
	for _, step := range w.Steps {
		if step.Status == status {
			n++
		}
	}
	return n
}

// ListWorkflowExecutions lists the parts of a build, the last first.
func (s *Service) ListWorkflowExecutions(_ context.Context, in *sdk.ListWorkflowExecutionsInput) (*sdk.ListWorkflowExecutionsOutput, error) {
	v, ok := s.images.Get(aws.ToString(in.ImageBuildVersionArn))
	if !ok {
		return nil, notFound(aws.ToString(in.ImageBuildVersionArn))
	}
	out := &sdk.ListWorkflowExecutionsOutput{ImageBuildVersionArn: in.ImageBuildVersionArn}
	for i := len(v.Workflows) - 1; i >= 0; i-- {
		w := &v.Workflows[i]
		m := types.WorkflowExecutionMetadata{
			WorkflowExecutionId: &w.ID, WorkflowBuildVersionArn: s.workflowARN(w.Type), Type: w.Type, Status: w.Status, Message: &w.Message,
			StartTime: stampOf(w.Start), EndTime: stampOf(w.End), TotalStepCount: int32(len(w.Steps)),
			TotalStepsSucceeded: w.count(types.WorkflowStepExecutionStatusCompleted), TotalStepsFailed: w.count(types.WorkflowStepExecutionStatusFailed),
			TotalStepsSkipped: w.count(types.WorkflowStepExecutionStatusSkipped),
		}
		out.WorkflowExecutions = append(out.WorkflowExecutions, m)
	}
	return out, nil
}

func (s *Service) workflow(id string) (*image, *workflow, error) {
	for _, v := range s.images.All() {
		for i := range v.Workflows {
			if v.Workflows[i].ID == id {
				return &v, &v.Workflows[i], nil
			}
		}
	}
	return nil, nil, notFound(id)
}

// GetWorkflowExecution returns a part of a build.
func (s *Service) GetWorkflowExecution(_ context.Context, in *sdk.GetWorkflowExecutionInput) (*sdk.GetWorkflowExecutionOutput, error) {
	v, w, err := s.workflow(aws.ToString(in.WorkflowExecutionId))
	if err != nil {
		return nil, err
	}
	return &sdk.GetWorkflowExecutionOutput{
		WorkflowExecutionId: &w.ID, ImageBuildVersionArn: v.Desc.Arn, WorkflowBuildVersionArn: s.workflowARN(w.Type), Type: w.Type, Status: w.Status,
		Message: &w.Message, StartTime: stampOf(w.Start), EndTime: stampOf(w.End), TotalStepCount: int32(len(w.Steps)),
		TotalStepsSucceeded: w.count(types.WorkflowStepExecutionStatusCompleted), TotalStepsFailed: w.count(types.WorkflowStepExecutionStatusFailed),
		TotalStepsSkipped: w.count(types.WorkflowStepExecutionStatusSkipped),
	}, nil
}

// ListWorkflowStepExecutions lists the steps of a part of a build.
func (s *Service) ListWorkflowStepExecutions(_ context.Context, in *sdk.ListWorkflowStepExecutionsInput) (*sdk.ListWorkflowStepExecutionsOutput, error) {
	v, w, err := s.workflow(aws.ToString(in.WorkflowExecutionId))
	if err != nil {
		return nil, err
	}
	out := &sdk.ListWorkflowStepExecutionsOutput{WorkflowExecutionId: &w.ID, ImageBuildVersionArn: v.Desc.Arn, WorkflowBuildVersionArn: s.workflowARN(w.Type)}
	for i := range w.Steps {
		st := &w.Steps[i]
		m := types.WorkflowStepMetadata{StepExecutionId: &st.ID, Name: &st.Name, Action: &st.Action, Status: st.Status, Message: &st.Message, StartTime: stampOf(st.Start), EndTime: stampOf(st.End)}
		if st.Outputs != "" {
			m.Outputs = &st.Outputs
		}
		out.Steps = append(out.Steps, m)
	}
	return out, nil
}
