//go:build linux

package imagebuilder

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/imagebuilder"
	"github.com/aws/aws-sdk-go-v2/service/imagebuilder/types"

	"pcluster/internal/component"
)

// CreateImageRecipe makes a recipe of components that exist.
func (s *Service) CreateImageRecipe(_ context.Context, in *sdk.CreateImageRecipeInput) (*sdk.CreateImageRecipeOutput, error) {
	if err := checkName(in.Name); err != nil {
		return nil, err
	}
	if err := checkVersion(in.SemanticVersion); err != nil {
		return nil, err
	}
	parent := aws.ToString(in.ParentImage)
	if strings.HasPrefix(parent, "arn:") {
		if _, ok := s.imageOf(parent); !ok {
			return nil, invalid("The value supplied for parameter 'parentImage' is not valid. The parent image %s does not exist.", parent)
		}
	} else if !strings.HasPrefix(parent, "ami-") {
		return nil, invalid("The value supplied for parameter 'parentImage' is not valid: %q is neither an AMI nor an image of Image Builder.", parent)
	}
	for _, c := range in.Components {
		found, err := s.component(aws.ToString(c.ComponentArn))
		if err != nil {
			return nil, invalid("The value supplied for parameter 'components' is not valid. The component %s does not exist.", aws.ToString(c.ComponentArn))
		}
		doc, _ := component.Parse([]byte(*found.Data))
		for _, p := range c.Parameters {
			if !hasParameter(doc, aws.ToString(p.Name)) {
				return nil, invalid("The component %s has no parameter %s.", *found.Arn, aws.ToString(p.Name))
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if arn, ok := s.once("CreateImageRecipe", in.ClientToken); ok {
		return &sdk.CreateImageRecipeOutput{ClientToken: in.ClientToken, ImageRecipeArn: &arn}, nil
	}
	arn := s.arn("image-recipe/" + slug(*in.Name) + "/" + *in.SemanticVersion)
	if _, ok := s.recipes.Get(arn); ok {
		return nil, exists("image recipe", arn)
	}
	err := s.recipes.Put(arn, types.ImageRecipe{
		Arn: &arn, Name: in.Name, Version: in.SemanticVersion, Description: in.Description, Type: types.ImageTypeAmi, Platform: types.PlatformLinux,
		Owner: aws.String(s.id.Account()), ParentImage: in.ParentImage, Components: in.Components, BlockDeviceMappings: in.BlockDeviceMappings,
		AdditionalInstanceConfiguration: in.AdditionalInstanceConfiguration, AmiTags: in.AmiTags, WorkingDirectory: in.WorkingDirectory,
		DateCreated: s.stamp(), Tags: in.Tags,
	})
	if err != nil {
		return nil, err
	}
	return &sdk.CreateImageRecipeOutput{ClientToken: in.ClientToken, ImageRecipeArn: &arn, RequestId: in.ClientToken}, s.remember("CreateImageRecipe", in.ClientToken, arn)
}

func hasParameter(d *component.Document, name string) bool {
	for _, p := range d.Parameters {
		if p.Name == name {
			return true
		}
	}
	return false
}

// GetImageRecipe returns a recipe.
func (s *Service) GetImageRecipe(_ context.Context, in *sdk.GetImageRecipeInput) (*sdk.GetImageRecipeOutput, error) {
	v, ok := s.recipes.Get(aws.ToString(in.ImageRecipeArn))
	if !ok {
		return nil, notFound(aws.ToString(in.ImageRecipeArn))
	}
	return &sdk.GetImageRecipeOutput{ImageRecipe: &v}, nil
}

// ListImageRecipes lists recipes.
func (s *Service) ListImageRecipes(_ context.Context, in *sdk.ListImageRecipesInput) (*sdk.ListImageRecipesOutput, error) {
	var all []types.ImageRecipeSummary
	for _, v := range s.recipes.All() {
		if keep(in.Filters, map[string]string{"name": *v.Name, "parentImage": *v.ParentImage, "platform": string(v.Platform)}) {
			all = append(all, types.ImageRecipeSummary{Arn: v.Arn, Name: v.Name, Owner: v.Owner, ParentImage: v.ParentImage, Platform: v.Platform, DateCreated: v.DateCreated, Tags: v.Tags})
		}
	}
	part, next := page(all, in.NextToken, in.MaxResults, func(v types.ImageRecipeSummary) string { return *v.Arn })
	return &sdk.ListImageRecipesOutput{ImageRecipeSummaryList: part, NextToken: next}, nil
}

// usedBy returns an image that is being built, or was, with a configuration. s.mu is
// held.
func (s *Service) usedBy(arn string, building bool) (string, bool) {
	for _, v := range s.images.All() {
		if (v.Recipe == arn || v.Infrastructure == arn || v.Distribution == arn) && !(building && v.over()) {
			return v.key(), true
		}
	}
	return "", false
}

// DeleteImageRecipe deletes a recipe that no image has.
func (s *Service) DeleteImageRecipe(_ context.Context, in *sdk.DeleteImageRecipeInput) (*sdk.DeleteImageRecipeOutput, error) {
	arn := aws.ToString(in.ImageRecipeArn)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.recipes.Get(arn); !ok {
		return nil, notFound(arn)
	}
	if by, used := s.usedBy(arn, false); used {
		return nil, inUse(arn, by)
	}
	return &sdk.DeleteImageRecipeOutput{ImageRecipeArn: &arn}, s.recipes.Delete(arn)
}

// CreateInfrastructureConfiguration says on what images are built.
func (s *Service) CreateInfrastructureConfiguration(_ context.Context, in *sdk.CreateInfrastructureConfigurationInput) (*sdk.CreateInfrastructureConfigurationOutput, error) {
	if err := checkName(in.Name); err != nil {
		return nil, err
	}
	if in.SubnetId != nil && len(in.SecurityGroupIds) == 0 {
		return nil, invalid("If you specify a subnet ID, you must also specify security group IDs.")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if arn, ok := s.once("CreateInfrastructureConfiguration", in.ClientToken); ok {
		return &sdk.CreateInfrastructureConfigurationOutput{ClientToken: in.ClientToken, InfrastructureConfigurationArn: &arn}, nil
	}
	arn := s.arn("infrastructure-configuration/" + slug(*in.Name))
	if _, ok := s.infrastructures.Get(arn); ok {
		return nil, exists("infrastructure configuration", arn)
	}
	v := types.InfrastructureConfiguration{
		Arn: &arn, Name: in.Name, Description: in.Description, InstanceTypes: in.InstanceTypes, InstanceProfileName: in.InstanceProfileName,
		SecurityGroupIds: in.SecurityGroupIds, SubnetId: in.SubnetId, Logging: in.Logging, KeyPair: in.KeyPair, SnsTopicArn: in.SnsTopicArn,
		InstanceMetadataOptions: in.InstanceMetadataOptions, ResourceTags: in.ResourceTags, Placement: in.Placement,
		TerminateInstanceOnFailure: in.TerminateInstanceOnFailure, DateCreated: s.stamp(), Tags: in.Tags,
	}
	if v.TerminateInstanceOnFailure == nil {
		v.TerminateInstanceOnFailure = aws.Bool(true)
	}
	if err := s.infrastructures.Put(arn, v); err != nil {
		return nil, err
	}
	return &sdk.CreateInfrastructureConfigurationOutput{ClientToken: in.ClientToken, InfrastructureConfigurationArn: &arn, RequestId: in.ClientToken},
		s.remember("CreateInfrastructureConfiguration", in.ClientToken, arn)
}

// GetInfrastructureConfiguration returns an infrastructure configuration.
func (s *Service) GetInfrastructureConfiguration(_ context.Context, in *sdk.GetInfrastructureConfigurationInput) (*sdk.GetInfrastructureConfigurationOutput, error) {
	v, ok := s.infrastructures.Get(aws.ToString(in.InfrastructureConfigurationArn))
	if !ok {
		return nil, notFound(aws.ToString(in.InfrastructureConfigurationArn))
	}
	return &sdk.GetInfrastructureConfigurationOutput{InfrastructureConfiguration: &v}, nil
}

// ListInfrastructureConfigurations lists infrastructure configurations.
func (s *Service) ListInfrastructureConfigurations(_ context.Context, in *sdk.ListInfrastructureConfigurationsInput) (*sdk.ListInfrastructureConfigurationsOutput, error) {
	var all []types.InfrastructureConfigurationSummary
	for _, v := range s.infrastructures.All() {
		if keep(in.Filters, map[string]string{"name": *v.Name}) {
			all = append(all, types.InfrastructureConfigurationSummary{Arn: v.Arn, Name: v.Name, Description: v.Description, DateCreated: v.DateCreated,
				DateUpdated: v.DateUpdated, InstanceProfileName: v.InstanceProfileName, InstanceTypes: v.InstanceTypes, ResourceTags: v.ResourceTags, Tags: v.Tags})
		}
	}
	part, next := page(all, in.NextToken, in.MaxResults, func(v types.InfrastructureConfigurationSummary) string { return *v.Arn })
	return &sdk.ListInfrastructureConfigurationsOutput{InfrastructureConfigurationSummaryList: part, NextToken: next}, nil
}

// DeleteInfrastructureConfiguration deletes one that no build is using.
func (s *Service) DeleteInfrastructureConfiguration(_ context.Context, in *sdk.DeleteInfrastructureConfigurationInput) (*sdk.DeleteInfrastructureConfigurationOutput, error) {
	arn := aws.ToString(in.InfrastructureConfigurationArn)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.infrastructures.Get(arn); !ok {
		return nil, notFound(arn)
	}
	if by, used := s.usedBy(arn, true); used {
		return nil, inUse(arn, by)
	}
	return &sdk.DeleteInfrastructureConfigurationOutput{InfrastructureConfigurationArn: &arn}, s.infrastructures.Delete(arn)
}

// CreateDistributionConfiguration says what becomes of images.
func (s *Service) CreateDistributionConfiguration(_ context.Context, in *sdk.CreateDistributionConfigurationInput) (*sdk.CreateDistributionConfigurationOutput, error) {
	if err := checkName(in.Name); err != nil {
		return nil, err
	}
	for _, d := range in.Distributions {
		if r := aws.ToString(d.Region); r != s.id.Name() {
			return nil, invalid("The value supplied for parameter 'distributions' is not valid. The region %s is not part of this sandbox, which is %s.", r, s.id.Name())
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if arn, ok := s.once("CreateDistributionConfiguration", in.ClientToken); ok {
		return &sdk.CreateDistributionConfigurationOutput{ClientToken: in.ClientToken, DistributionConfigurationArn: &arn}, nil
	}
	arn := s.arn("distribution-configuration/" + slug(*in.Name))
	if _, ok := s.distributions.Get(arn); ok {
		return nil, exists("distribution configuration", arn)
	}
	err := s.distributions.Put(arn, types.DistributionConfiguration{
		Arn: &arn, Name: in.Name, Description: in.Description, Distributions: in.Distributions, TimeoutMinutes: aws.Int32(720), DateCreated: s.stamp(), Tags: in.Tags,
	})
	if err != nil {
		return nil, err
	}
	return &sdk.CreateDistributionConfigurationOutput{ClientToken: in.ClientToken, DistributionConfigurationArn: &arn, RequestId: in.ClientToken},
		s.remember("CreateDistributionConfiguration", in.ClientToken, arn)
}

// GetDistributionConfiguration returns a distribution configuration.
func (s *Service) GetDistributionConfiguration(_ context.Context, in *sdk.GetDistributionConfigurationInput) (*sdk.GetDistributionConfigurationOutput, error) {
	v, ok := s.distributions.Get(aws.ToString(in.DistributionConfigurationArn))
	if !ok {
		return nil, notFound(aws.ToString(in.DistributionConfigurationArn))
	}
	return &sdk.GetDistributionConfigurationOutput{DistributionConfiguration: &v}, nil
}

// ListDistributionConfigurations lists distribution configurations.
func (s *Service) ListDistributionConfigurations(_ context.Context, in *sdk.ListDistributionConfigurationsInput) (*sdk.ListDistributionConfigurationsOutput, error) {
	var all []types.DistributionConfigurationSummary
	for _, v := range s.distributions.All() {
		if keep(in.Filters, map[string]string{"name": *v.Name}) {
			all = append(all, types.DistributionConfigurationSummary{Arn: v.Arn, Name: v.Name, Description: v.Description, DateCreated: v.DateCreated,
				DateUpdated: v.DateUpdated, Regions: []string{s.id.Name()}, Tags: v.Tags})
		}
	}
	part, next := page(all, in.NextToken, in.MaxResults, func(v types.DistributionConfigurationSummary) string { return *v.Arn })
	return &sdk.ListDistributionConfigurationsOutput{DistributionConfigurationSummaryList: part, NextToken: next}, nil
}

// DeleteDistributionConfiguration deletes one that no build is using.
func (s *Service) DeleteDistributionConfiguration(_ context.Context, in *sdk.DeleteDistributionConfigurationInput) (*sdk.DeleteDistributionConfigurationOutput, error) {
	arn := aws.ToString(in.DistributionConfigurationArn)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.distributions.Get(arn); !ok {
		return nil, notFound(arn)
	}
	if by, used := s.usedBy(arn, true); used {
		return nil, inUse(arn, by)
	}
	return &sdk.DeleteDistributionConfigurationOutput{DistributionConfigurationArn: &arn}, s.distributions.Delete(arn)
}
