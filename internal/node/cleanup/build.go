package cleanup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codebuild"
	"github.com/aws/aws-sdk-go-v2/service/codebuild/types"
)

// codebuildAPI is the part of CodeBuild that building images needs.
type codebuildAPI interface {
	StartBuild(context.Context, *codebuild.StartBuildInput, ...func(*codebuild.Options)) (*codebuild.StartBuildOutput, error)
	BatchGetBuilds(context.Context, *codebuild.BatchGetBuildsInput, ...func(*codebuild.Options)) (*codebuild.BatchGetBuildsOutput, error)
}

// A build takes minutes; one that is over at once is seen at once.
const firstLook, lastLook = 250 * time.Millisecond, 5 * time.Second

// buildImages builds the image of a cluster's jobs and waits for it. A request that comes
// again finds the build that it began.
func (h *handler) buildImages(ctx context.Context, project, request string) error {
	if project == "" {
		return errors.New("CodeBuildProject is empty")
	}
	started, err := h.builds.StartBuild(ctx, &codebuild.StartBuildInput{ProjectName: &project, IdempotencyToken: aws.String(request)})
	if err != nil {
		return fmt.Errorf("start a build of %s: %w", project, err)
	}
	id := aws.ToString(started.Build.Id)
	slog.Info("the image of jobs is being built", "build", id)
	for pause := firstLook; ; pause = min(2*pause, lastLook) {
		out, err := h.builds.BatchGetBuilds(ctx, &codebuild.BatchGetBuildsInput{Ids: []string{id}})
		if err != nil {
			return fmt.Errorf("build %s: %w", id, err)
		}
		if len(out.Builds) == 0 {
			return fmt.Errorf("build %s is gone", id)
		}
		if b := &out.Builds[0]; b.BuildStatus == types.StatusTypeSucceeded {
			return nil
		} else if b.BuildStatus != types.StatusTypeInProgress {
			return fmt.Errorf("the build of the image of jobs, %s, is %s%s", id, b.BuildStatus, explain(b))
		}
		if err := h.wait(ctx, pause); err != nil {
			return fmt.Errorf("build %s did not end in time: %w", id, err)
		}
	}
}

// explain says what a build that failed says about it, and where there is more.
func explain(b *types.Build) string {
	text := ""
	for _, p := range b.Phases {
		for _, c := range p.Contexts {
			if m := aws.ToString(c.Message); m != "" && text == "" {
				text = fmt.Sprintf(": %s: %s", p.PhaseType, m)
			}
		}
	}
	if l := b.Logs; l != nil && l.GroupName != nil {
		text += fmt.Sprintf(" (log %s, stream %s)", aws.ToString(l.GroupName), aws.ToString(l.StreamName))
	}
	return text
}
