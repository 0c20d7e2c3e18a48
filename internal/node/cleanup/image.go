package cleanup

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// imageStackVariable names the environment variable that makes the program the
// function of an image's stack: the ARN of the stack.
const imageStackVariable = "IMAGE_STACK_ARN"

// An imageHandler hears from EC2 Image Builder that an image is there, tags its
// AMIs, and deletes the stack that built it.
type imageHandler struct {
	stack  string
	tag    func(ctx context.Context, region string, in *ec2.CreateTagsInput) error
	delete func(ctx context.Context, in *cloudformation.DeleteStackInput) error
}

func newImageHandler(cfg aws.Config, stack string) *imageHandler {
	return &imageHandler{
		stack: stack,
		tag: func(ctx context.Context, region string, in *ec2.CreateTagsInput) error {
			_, err := ec2.NewFromConfig(cfg, func(o *ec2.Options) { o.Region = region }).CreateTags(ctx, in)
			return err
		},
		delete: func(ctx context.Context, in *cloudformation.DeleteStackInput) error {
			_, err := cloudformation.NewFromConfig(cfg).DeleteStack(ctx, in)
			return err
		},
	}
}

// builtImage is what Image Builder tells of an image.
type builtImage struct {
	State       struct{ Status string }
	ImageRecipe struct{ ParentImage string }
	// OutputResources are the AMIs, one for each region.
	OutputResources struct {
		AMIs []struct{ Region, Image string } `json:"amis"`
	}
}

// handle answers one event of the topic. It may come again: everything in it may.
func (h *imageHandler) handle(ctx context.Context, request json.RawMessage) error {
	var e events.SNSEvent
	if err := json.Unmarshal(request, &e); err != nil {
		return fmt.Errorf("event of a topic: %w", err)
	}
	for _, r := range e.Records {
		var v builtImage
		if err := json.Unmarshal([]byte(r.SNS.Message), &v); err != nil {
			return fmt.Errorf("news of an image: %w", err)
		}
		if v.State.Status != "AVAILABLE" {
			slog.Info("the image is not there: its stack stays", "status", v.State.Status)
			continue
		}
		for _, ami := range v.OutputResources.AMIs {
			err := h.tag(ctx, ami.Region, &ec2.CreateTagsInput{Resources: []string{ami.Image}, Tags: []ec2types.Tag{
				{Key: aws.String("parallelcluster:build_status"), Value: aws.String("available")},
				{Key: aws.String("parallelcluster:parent_image"), Value: aws.String(v.ImageRecipe.ParentImage)},
			}})
			if err != nil {
				return fmt.Errorf("tag %s: %w", ami.Image, err)
			}
		}
		if err := h.delete(ctx, &cloudformation.DeleteStackInput{StackName: &h.stack}); err != nil {
			return fmt.Errorf("delete stack %s: %w", h.stack, err)
		}
	}
	return nil
}
