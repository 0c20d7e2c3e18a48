package resource

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/imagebuilder"
	"github.com/aws/aws-sdk-go-v2/service/imagebuilder/types"
)

// ImageBuilder is the part of Image Builder that stacks use.
type ImageBuilder interface {
	CreateComponent(context.Context, *imagebuilder.CreateComponentInput) (*imagebuilder.CreateComponentOutput, error)
	DeleteComponent(context.Context, *imagebuilder.DeleteComponentInput) (*imagebuilder.DeleteComponentOutput, error)
	CreateImageRecipe(context.Context, *imagebuilder.CreateImageRecipeInput) (*imagebuilder.CreateImageRecipeOutput, error)
	DeleteImageRecipe(context.Context, *imagebuilder.DeleteImageRecipeInput) (*imagebuilder.DeleteImageRecipeOutput, error)
	CreateInfrastructureConfiguration(context.Context, *imagebuilder.CreateInfrastructureConfigurationInput) (*imagebuilder.CreateInfrastructureConfigurationOutput, error)
	DeleteInfrastructureConfiguration(context.Context, *imagebuilder.DeleteInfrastructureConfigurationInput) (*imagebuilder.DeleteInfrastructureConfigurationOutput, error)
	CreateDistributionConfiguration(context.Context, *imagebuilder.CreateDistributionConfigurationInput) (*imagebuilder.CreateDistributionConfigurationOutput, error)
	DeleteDistributionConfiguration(context.Context, *imagebuilder.DeleteDistributionConfigurationInput) (*imagebuilder.DeleteDistributionConfigurationOutput, error)
	CreateImage(context.Context, *imagebuilder.CreateImageInput) (*imagebuilder.CreateImageOutput, error)
	GetImage(context.Context, *imagebuilder.GetImageInput) (*imagebuilder.GetImageOutput, error)
	DeleteImage(context.Context, *imagebuilder.DeleteImageInput) (*imagebuilder.DeleteImageOutput, error)
	CancelImageCreation(context.Context, *imagebuilder.CancelImageCreationInput) (*imagebuilder.CancelImageCreationOutput, error)
}

// stillUsed is Image Builder's refusal to delete what something else has.
const stillUsed = "ResourceDependencyException"

func imageBuilderTypes(api ImageBuilder) []*Type {
	version := func(r *Request) *string { return aws.String(r.String("Version")) }
	named := func(typ string, p properties, create func(context.Context, properties, *Request) (*string, error), remove func(context.Context, *string) error) *Type {
		return &Type{
			Name: typ, Attributes: []string{"Arn", "Name"}, Replaces: []string{"*"}, properties: p,
			Create: func(ctx context.Context, r *Request) error {
				arn, err := create(ctx, p, r)
				if err != nil {
					return err
				}
				r.Set("Arn", *arn)
				r.Set("Name", r.String("Name"))
				return r.Created(*arn)
			},
			Delete: func(ctx context.Context, r *Request) error {
				return r.Retry(func() error { return gone(remove(ctx, &r.PhysicalID)) }, stillUsed)
			},
		}
	}
	return []*Type{
		named("AWS::ImageBuilder::Component", like[imagebuilder.CreateComponentInput]("Name", "Platform", "Version").and("Version", "Tags").without("SemanticVersion"),
			func(ctx context.Context, p properties, r *Request) (*string, error) {
				in := input[imagebuilder.CreateComponentInput](p, r.Props)
				in.SemanticVersion, in.ClientToken, in.Tags = version(r), aws.String(r.Token), r.tagMap()
				out, err := api.CreateComponent(ctx, in)
				if err != nil {
					return nil, err
				}
				return out.ComponentBuildVersionArn, nil
			}, func(ctx context.Context, arn *string) error {
				_, err := api.DeleteComponent(ctx, &imagebuilder.DeleteComponentInput{ComponentBuildVersionArn: arn})
				return err
			}),
		named("AWS::ImageBuilder::ImageRecipe", like[imagebuilder.CreateImageRecipeInput]("Name", "ParentImage", "Version").and("Version", "Tags").without("SemanticVersion"),
			func(ctx context.Context, p properties, r *Request) (*string, error) {
				in := input[imagebuilder.CreateImageRecipeInput](p, r.Props)
				in.SemanticVersion, in.ClientToken, in.Tags = version(r), aws.String(r.Token), r.tagMap()
				out, err := api.CreateImageRecipe(ctx, in)
				if err != nil {
					return nil, err
				}
				return out.ImageRecipeArn, nil
			}, func(ctx context.Context, arn *string) error {
				_, err := api.DeleteImageRecipe(ctx, &imagebuilder.DeleteImageRecipeInput{ImageRecipeArn: arn})
				return err
			}),
		named("AWS::ImageBuilder::InfrastructureConfiguration", like[imagebuilder.CreateInfrastructureConfigurationInput]("Name", "InstanceProfileName").and("Tags"),
			func(ctx context.Context, p properties, r *Request) (*string, error) {
				in := input[imagebuilder.CreateInfrastructureConfigurationInput](p, r.Props)
				in.ClientToken, in.Tags = aws.String(r.Token), r.tagMap()
				out, err := api.CreateInfrastructureConfiguration(ctx, in)
				if err != nil {
					return nil, err
				}
				return out.InfrastructureConfigurationArn, nil
			}, func(ctx context.Context, arn *string) error {
				_, err := api.DeleteInfrastructureConfiguration(ctx, &imagebuilder.DeleteInfrastructureConfigurationInput{InfrastructureConfigurationArn: arn})
				return err
			}),
		named("AWS::ImageBuilder::DistributionConfiguration", like[imagebuilder.CreateDistributionConfigurationInput]("Name", "Distributions").and("Tags"),
			func(ctx context.Context, p properties, r *Request) (*string, error) {
				in := input[imagebuilder.CreateDistributionConfigurationInput](p, r.Props)
				in.ClientToken, in.Tags = aws.String(r.Token), r.tagMap()
				out, err := api.CreateDistributionConfiguration(ctx, in)
				if err != nil {
					return nil, err
				}
				return out.DistributionConfigurationArn, nil
			}, func(ctx context.Context, arn *string) error {
				_, err := api.DeleteDistributionConfiguration(ctx, &imagebuilder.DeleteDistributionConfigurationInput{DistributionConfigurationArn: arn})
				return err
			}),
		builtImageType(api),
	}
}

// builtImageType is the resource whose creation is the build of an image. The AMI
// is not the stack's: it stays when the resource is deleted.
func builtImageType(api ImageBuilder) *Type {
	t := &Type{
		Name: "AWS::ImageBuilder::Image", Attributes: []string{"Arn", "ImageId", "Name", "ImageUri"}, Replaces: []string{"*"},
		properties: like[imagebuilder.CreateImageInput]("InfrastructureConfigurationArn").and("Tags", "ImagePipelineExecutionSettings", "DeletionSettings"),
	}
	t.Create = func(ctx context.Context, r *Request) error {
		in := input[imagebuilder.CreateImageInput](t.properties, r.Props)
		in.ClientToken, in.Tags = aws.String(r.Token), r.tagMap()
		out, err := api.CreateImage(ctx, in)
		if err != nil {
			return err
		}
		arn := *out.ImageBuildVersionArn
		r.Set("Arn", arn)
		if err := r.Created(arn); err != nil {
			return err
		}
		return r.Wait(func() (bool, error) {
			got, err := api.GetImage(ctx, &imagebuilder.GetImageInput{ImageBuildVersionArn: &arn})
			if err != nil {
				return false, err
			}
			switch state := got.Image.State; state.Status {
			case types.ImageStatusAvailable:
				r.Set("Name", aws.ToString(got.Image.Name))
				for _, a := range got.Image.OutputResources.Amis {
					r.Set("ImageId", aws.ToString(a.Image))
				}
				return true, nil
			case types.ImageStatusFailed, types.ImageStatusCancelled:
				return false, fmt.Errorf("Resource handler returned message: \"Image %s is in state %s. %s\" (RequestToken: %s, HandlerErrorCode: NotStabilized)",
					arn, state.Status, strings.TrimSpace(aws.ToString(state.Reason)), r.Token)
			}
			return false, nil
		})
	}
	t.Delete = func(ctx context.Context, r *Request) error {
		_, err := api.CancelImageCreation(ctx, &imagebuilder.CancelImageCreationInput{ImageBuildVersionArn: &r.PhysicalID, ClientToken: aws.String(r.Token)})
		if err != nil && errorCode(err) != "InvalidParameterValueException" { // that says: nothing to cancel
			return gone(err)
		}
		return r.Retry(func() error {
			_, err := api.DeleteImage(ctx, &imagebuilder.DeleteImageInput{ImageBuildVersionArn: &r.PhysicalID})
			return gone(err)
		}, stillUsed)
	}
	return t
}
