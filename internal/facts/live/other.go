package live

import (
	"context"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/batch"
	batchtypes "github.com/aws/aws-sdk-go-v2/service/batch/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/imagebuilder"
	"github.com/aws/aws-sdk-go-v2/service/resourcegroups"

	"pcluster/internal/config"
	"pcluster/internal/facts"
)

// BuilderImage implements facts.Source.
func (s *Source) BuilderImage(ctx context.Context, arn string) (string, error) {
	return once(ctx, s, "builder "+arn, func() (string, error) {
		answer, err := s.builder.GetImage(ctx, &imagebuilder.GetImageInput{ImageBuildVersionArn: &arn})
		if err != nil {
			return "", err
		}
		if answer.Image != nil && answer.Image.OutputResources != nil {
			for _, a := range answer.Image.OutputResources.Amis {
				if aws.ToString(a.Region) == s.region || len(answer.Image.OutputResources.Amis) == 1 {
					return aws.ToString(a.Image), nil
				}
			}
		}
		return "", none("ResourceNotFoundException", "The image '"+arn+"' has no AMI in "+s.region)
	})
}

// BuiltImage implements facts.Source.
func (s *Source) BuiltImage(ctx context.Context, id string) error {
	_, err := once(ctx, s, "built image "+id, func() (bool, error) {
		answer, err := s.ec2.DescribeImages(ctx, &ec2.DescribeImagesInput{
			Owners:  []string{"self"},
			Filters: []types.Filter{{Name: aws.String("tag:" + config.ToolTagPrefix + "image_id"), Values: []string{id}}},
		})
		if err == nil && len(answer.Images) == 0 {
			err = none("NotFound", "There is no image '"+id+"'")
		}
		return err == nil, err
	})
	return err
}

// ReservationGroup implements facts.Source.
func (s *Source) ReservationGroup(ctx context.Context, arn string) (facts.ReservationGroup, error) {
	return once(ctx, s, "resource group "+arn, func() (facts.ReservationGroup, error) {
		var out facts.ReservationGroup
		configuration, err := s.groups.GetGroupConfiguration(ctx, &resourcegroups.GetGroupConfigurationInput{Group: &arn})
		if err != nil {
			return out, err
		}
		if configuration.GroupConfiguration != nil {
			for _, item := range configuration.GroupConfiguration.Configuration {
				out.Pool = out.Pool || aws.ToString(item.Type) == "AWS::EC2::CapacityReservationPool"
			}
		}
		pages := resourcegroups.NewListGroupResourcesPaginator(s.groups, &resourcegroups.ListGroupResourcesInput{Group: &arn})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return out, err
			}
			for _, r := range page.Resources {
				if r.Identifier == nil || aws.ToString(r.Identifier.ResourceType) != "AWS::EC2::CapacityReservation" {
					continue
				}
				member := aws.ToString(r.Identifier.ResourceArn)
				out.Reservations = append(out.Reservations, member[strings.LastIndexByte(member, '/')+1:])
			}
		}
		return out, nil
	})
}

// noSuchType is an instance type that AWS Batch can't know.
const noSuchType = "p8.84xlarge"

// batchList finds the list of what AWS Batch takes in its refusal of a type.
var batchList = regexp.MustCompile(`be one of \[([^\]]*)\]`)

// BatchTypes implements facts.Source: no operation lists what AWS Batch takes, but
// the refusal of an invented type does.
func (s *Source) BatchTypes(ctx context.Context) ([]string, error) {
	return once(ctx, s, "batch types", func() ([]string, error) {
		_, err := s.batch.CreateComputeEnvironment(ctx, &batch.CreateComputeEnvironmentInput{
			ComputeEnvironmentName: aws.String("pcluster-instance-types"),
			Type:                   batchtypes.CETypeManaged,
			ServiceRole:            aws.String("AWSBatchServiceRole"),
			ComputeResources: &batchtypes.ComputeResource{
				Type: batchtypes.CRTypeEc2, MinvCpus: aws.Int32(0), MaxvCpus: aws.Int32(0), InstanceTypes: []string{noSuchType},
				Subnets: []string{"subnet-00000000"}, SecurityGroupIds: []string{"sg-00000000"}, InstanceRole: aws.String("ecsInstanceRole"),
			},
		})
		if err == nil {
			return nil, nil
		}
		found := batchList.FindStringSubmatch(err.Error())
		if found == nil {
			return nil, nil
		}
		return strings.FieldsFunc(found[1], func(r rune) bool { return r == ',' || r == ' ' }), nil
	})
}
