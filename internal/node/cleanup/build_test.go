package cleanup

import (
	"context"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/cfn"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codebuild"
	"github.com/aws/aws-sdk-go-v2/service/codebuild/types"
)

// fakeBuilds has one project, whose builds take some looks.
type fakeBuilds struct {
	tokens []string
	looks  int
	end    types.Build
}

func (f *fakeBuilds) StartBuild(_ context.Context, in *codebuild.StartBuildInput, _ ...func(*codebuild.Options)) (*codebuild.StartBuildOutput, error) {
	f.tokens = append(f.tokens, *in.ProjectName+" "+*in.IdempotencyToken)
	return &codebuild.StartBuildOutput{Build: &types.Build{Id: aws.String("p:1")}}, nil
}

func (f *fakeBuilds) BatchGetBuilds(context.Context, *codebuild.BatchGetBuildsInput, ...func(*codebuild.Options)) (*codebuild.BatchGetBuildsOutput, error) {
	if f.looks--; f.looks >= 0 {
		return &codebuild.BatchGetBuildsOutput{Builds: []types.Build{{BuildStatus: types.StatusTypeInProgress}}}, nil
	}
	return &codebuild.BatchGetBuildsOutput{Builds: []types.Build{f.end}}, nil
}

func TestImageOfJobsIsBuiltWithItsResource(t *testing.T) {
	f := &fakeBuilds{looks: 3, end: types.Build{BuildStatus: types.StatusTypeSucceeded}}
	h := &handler{builds: f, wait: noWait}
	for _, kind := range []cfn.RequestType{cfn.RequestCreate, cfn.RequestUpdate, cfn.RequestDelete} {
		e := cfn.Event{RequestType: kind, RequestID: string(kind), LogicalResourceID: "R", ResourceProperties: map[string]any{"Action": BuildImages, "CodeBuildProject": "p"}}
		if _, _, err := h.handle(t.Context(), e); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
	if got := strings.Join(f.tokens, ", "); got != "p Create, p Update" {
		t.Errorf("builds: %s", got)
	}
}

func TestBuildThatFailsFailsWithItsReason(t *testing.T) {
	f := &fakeBuilds{end: types.Build{BuildStatus: types.StatusTypeFailed, Logs: &types.LogsLocation{GroupName: aws.String("group"), StreamName: aws.String("stream")},
		Phases: []types.BuildPhase{{PhaseType: types.BuildPhaseTypeInstall}, {PhaseType: types.BuildPhaseTypeBuild, Contexts: []types.PhaseContext{{Message: aws.String("no space left")}}}}}}
	h := &handler{builds: f, wait: noWait}
	_, _, err := h.handle(t.Context(), cfn.Event{RequestType: cfn.RequestCreate, ResourceProperties: map[string]any{"Action": BuildImages, "CodeBuildProject": "p"}})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"FAILED", "BUILD: no space left", "log group, stream stream"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q: %v", want, err)
		}
	}
}
