package resource

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codebuild"
	cbtypes "github.com/aws/aws-sdk-go-v2/service/codebuild/types"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"
)

// ECR is the part of Elastic Container Registry that stacks use.
type ECR interface {
	CreateRepository(context.Context, *ecr.CreateRepositoryInput) (*ecr.CreateRepositoryOutput, error)
	DescribeRepositories(context.Context, *ecr.DescribeRepositoriesInput) (*ecr.DescribeRepositoriesOutput, error)
	DeleteRepository(context.Context, *ecr.DeleteRepositoryInput) (*ecr.DeleteRepositoryOutput, error)
	TagResource(context.Context, *ecr.TagResourceInput) (*ecr.TagResourceOutput, error)
	UntagResource(context.Context, *ecr.UntagResourceInput) (*ecr.UntagResourceOutput, error)
}

// CodeBuild is the part of CodeBuild that stacks use.
type CodeBuild interface {
	CreateProject(context.Context, *codebuild.CreateProjectInput) (*codebuild.CreateProjectOutput, error)
	UpdateProject(context.Context, *codebuild.UpdateProjectInput) (*codebuild.UpdateProjectOutput, error)
	BatchGetProjects(context.Context, *codebuild.BatchGetProjectsInput) (*codebuild.BatchGetProjectsOutput, error)
	DeleteProject(context.Context, *codebuild.DeleteProjectInput) (*codebuild.DeleteProjectOutput, error)
}

func ecrTypes(api ECR) []*Type {
	t := &Type{
		Name: "AWS::ECR::Repository", Attributes: []string{"Arn", "RepositoryUri"}, Replaces: []string{"RepositoryName", "EncryptionConfiguration"},
		properties: like[ecr.CreateRepositoryInput]().and("EmptyOnDelete", "Tags").
			refuses("LifecyclePolicy", "RepositoryPolicyText", "ImageTagMutabilityExclusionFilters").without("RegistryId"),
	}
	set := func(r *Request, v *ecrtypes.Repository) {
		r.Set("Arn", *v.RepositoryArn)
		r.Set("RepositoryUri", *v.RepositoryUri)
	}
	t.Create = func(ctx context.Context, r *Request) error {
		in := input[ecr.CreateRepositoryInput](t.properties, r.Props)
		in.RepositoryName = aws.String(r.String("RepositoryName"))
		if *in.RepositoryName == "" { // lower case is all that repositories take
			in.RepositoryName = aws.String(strings.ToLower(r.Name("RepositoryName", 256)))
		}
		in.Tags = nil
		for _, t := range r.tagList() {
			in.Tags = append(in.Tags, ecrtypes.Tag{Key: aws.String(t.Key), Value: aws.String(t.Value)})
		}
		out, err := api.CreateRepository(ctx, in)
		if err != nil {
			if !r.Resumed || errorCode(err) != "RepositoryAlreadyExistsException" {
				return err
			}
			known, err := api.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{RepositoryNames: []string{*in.RepositoryName}})
			if err != nil {
				return err
			}
			set(r, &known.Repositories[0])
			return r.Created(*in.RepositoryName)
		}
		set(r, out.Repository)
		return r.Created(*in.RepositoryName)
	}
	t.Update = func(ctx context.Context, r *Request) error {
		arn, _ := r.Attributes["Arn"].(string)
		set, remove := r.tagChanges()
		if len(remove) > 0 {
			if _, err := api.UntagResource(ctx, &ecr.UntagResourceInput{ResourceArn: &arn, TagKeys: remove}); err != nil {
				return err
			}
		}
		if len(set) == 0 {
			return nil
		}
		in := &ecr.TagResourceInput{ResourceArn: &arn}
		for _, t := range set {
			in.Tags = append(in.Tags, ecrtypes.Tag{Key: aws.String(t.Key), Value: aws.String(t.Value)})
		}
		_, err := api.TagResource(ctx, in)
		return err
	}
	t.Delete = func(ctx context.Context, r *Request) error {
		_, err := api.DeleteRepository(ctx, &ecr.DeleteRepositoryInput{RepositoryName: &r.PhysicalID, Force: r.Bool("EmptyOnDelete")})
		return gone(err)
	}
	return []*Type{t}
}

func codebuildTypes(api CodeBuild) []*Type {
	t := &Type{
		Name: "AWS::CodeBuild::Project", Attributes: []string{"Arn", "Id"}, Replaces: []string{"Name"},
		properties: like[codebuild.CreateProjectInput]("Artifacts", "Environment", "ServiceRole", "Source").and("Tags").
			refuses("Triggers", "BuildBatchConfig", "FileSystemLocations", "SecondaryArtifacts", "SecondarySources", "SecondarySourceVersions", "Visibility", "ResourceAccessRole", "Cache"),
	}
	tags := func(r *Request) (out []cbtypes.Tag) {
		for _, t := range r.tagList() {
			out = append(out, cbtypes.Tag{Key: aws.String(t.Key), Value: aws.String(t.Value)})
		}
		return out
	}
	t.Create = func(ctx context.Context, r *Request) error {
		in := input[codebuild.CreateProjectInput](t.properties, r.Props)
		in.Name, in.Tags = aws.String(r.Name("Name", 150)), tags(r)
		out, err := api.CreateProject(ctx, in)
		if err != nil {
			if !r.Resumed || !alreadyExists(err) {
				return err
			}
			known, err := api.BatchGetProjects(ctx, &codebuild.BatchGetProjectsInput{Names: []string{*in.Name}})
			if err != nil {
				return err
			}
			out = &codebuild.CreateProjectOutput{Project: &known.Projects[0]}
		}
		r.Set("Arn", *out.Project.Arn)
		r.Set("Id", *in.Name)
		return r.Created(*in.Name)
	}
	t.Update = func(ctx context.Context, r *Request) error {
		in := input[codebuild.CreateProjectInput](t.properties, r.Props)
		_, err := api.UpdateProject(ctx, &codebuild.UpdateProjectInput{
			Name: &r.PhysicalID, Artifacts: in.Artifacts, Environment: in.Environment, ServiceRole: in.ServiceRole, Source: in.Source, SourceVersion: in.SourceVersion,
			Description: in.Description, LogsConfig: in.LogsConfig, TimeoutInMinutes: in.TimeoutInMinutes, QueuedTimeoutInMinutes: in.QueuedTimeoutInMinutes,
			EncryptionKey: in.EncryptionKey, ConcurrentBuildLimit: in.ConcurrentBuildLimit, Tags: tags(r), VpcConfig: in.VpcConfig,
		})
		return err
	}
	t.Delete = func(ctx context.Context, r *Request) error {
		_, err := api.DeleteProject(ctx, &codebuild.DeleteProjectInput{Name: &r.PhysicalID})
		return gone(err)
	}
	return []*Type{t}
}
