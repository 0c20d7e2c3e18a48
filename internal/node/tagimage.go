package node

import (
	"context"
	"fmt"
	"strings"

	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/awsclient"
)

// tagsAPI is the part of EC2 that tags images; *ec2.Client has it.
type tagsAPI interface {
	CreateTags(context.Context, *ec2.CreateTagsInput, ...func(*ec2.Options)) (*ec2.CreateTagsOutput, error)
}

// tagImage puts tags, each NAME=VALUE, on the image that this machine was launched of:
// the test machine of a build says what the image holds. Not every operating system has
// the AWS command line.
func tagImage(ctx context.Context, tags []string) error {
	cfg, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithAPIOptions(awsclient.Options))
	if err != nil {
		return err
	}
	instance := imds.NewFromConfig(cfg)
	if cfg.Region == "" {
		if cfg.Region, err = metadata(ctx, instance, "placement/region"); err != nil {
			return err
		}
	}
	return tagImageOf(ctx, instance, ec2.NewFromConfig(cfg), tags)
}

func tagImageOf(ctx context.Context, instance metadataAPI, api tagsAPI, tags []string) error {
	in := new(ec2.CreateTagsInput)
	for _, tag := range tags {
		name, value, ok := strings.Cut(tag, "=")
		if !ok || name == "" {
			return fmt.Errorf("%q is no tag: write NAME=VALUE", tag)
		}
		in.Tags = append(in.Tags, types.Tag{Key: &name, Value: &value})
	}
	if len(in.Tags) == 0 {
		return nil
	}
	image, err := metadata(ctx, instance, "ami-id")
	if err != nil {
		return err
	}
	in.Resources = []string{image}
	if _, err := api.CreateTags(ctx, in); err != nil {
		return fmt.Errorf("tag image %s: %w", image, err)
	}
	return nil
}
