//go:build linux

package sandbox

import (
	"context"

	awsautoscaling "github.com/aws/aws-sdk-go-v2/service/autoscaling"
	awsbatch "github.com/aws/aws-sdk-go-v2/service/batch"
	awscloudwatch "github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	awslogs "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	awscodebuild "github.com/aws/aws-sdk-go-v2/service/codebuild"
	awsdynamodb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	awsecr "github.com/aws/aws-sdk-go-v2/service/ecr"
	awsefs "github.com/aws/aws-sdk-go-v2/service/efs"
	awselbv2 "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	awsfsx "github.com/aws/aws-sdk-go-v2/service/fsx"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	awsimagebuilder "github.com/aws/aws-sdk-go-v2/service/imagebuilder"
	awslambda "github.com/aws/aws-sdk-go-v2/service/lambda"
	awsroute53 "github.com/aws/aws-sdk-go-v2/service/route53"
	awssecretsmanager "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	awssns "github.com/aws/aws-sdk-go-v2/service/sns"
	awsssm "github.com/aws/aws-sdk-go-v2/service/ssm"

	"pcluster/internal/sandbox/autoscaling"
	"pcluster/internal/sandbox/batch"
	"pcluster/internal/sandbox/cloudwatch"
	"pcluster/internal/sandbox/codebuild"
	"pcluster/internal/sandbox/dynamodb"
	"pcluster/internal/sandbox/ec2"
	"pcluster/internal/sandbox/ecr"
	"pcluster/internal/sandbox/efs"
	"pcluster/internal/sandbox/elbv2"
	"pcluster/internal/sandbox/fsx"
	"pcluster/internal/sandbox/iam"
	"pcluster/internal/sandbox/imagebuilder"
	"pcluster/internal/sandbox/lambda"
	"pcluster/internal/sandbox/logs"
	"pcluster/internal/sandbox/route53"
	"pcluster/internal/sandbox/secretsmanager"
	"pcluster/internal/sandbox/sns"
	"pcluster/internal/sandbox/ssm"
)

// An asker is asked for permission for a call that CloudFormation is about to make.
type asker func(ctx context.Context, service, operation string, in any) error

// ask makes a call if it may be made.
func ask[I, O any](may asker, ctx context.Context, service, operation string, in *I, call func(context.Context, *I) (*O, error)) (*O, error) {
	if err := may(ctx, service, operation, in); err != nil {
		return nil, err
	}
	return call(ctx, in)
}

// What follows are the services as CloudFormation has them: what it calls (see package
// resource) is asked for, in the name of who asked for the stack.

type (
	autoscalingFor struct {
		*autoscaling.Service
		ask asker
	}
	batchFor struct {
		*batch.Service
		ask asker
	}
	cloudwatchFor struct {
		*cloudwatch.Service
		ask asker
	}
	codebuildFor struct {
		*codebuild.Service
		ask asker
	}
	dynamodbFor struct {
		*dynamodb.Service
		ask asker
	}
	ec2For struct {
		*ec2.Service
		ask asker
	}
	ecrFor struct {
		*ecr.Service
		ask asker
	}
	efsFor struct {
		*efs.Service
		ask asker
	}
	elbv2For struct {
		*elbv2.Service
		ask asker
	}
	fsxFor struct {
		*fsx.Service
		ask asker
	}
	iamFor struct {
		*iam.Service
		ask asker
	}
	imagebuilderFor struct {
		*imagebuilder.Service
		ask asker
	}
	lambdaFor struct {
		*lambda.Service
		ask asker
	}
	logsFor struct {
		*logs.Service
		ask asker
	}
	route53For struct {
		*route53.Service
		ask asker
	}
	secretsmanagerFor struct {
		*secretsmanager.Service
		ask asker
	}
	snsFor struct {
		*sns.Service
		ask asker
	}
	ssmFor struct {
		*ssm.Service
		ask asker
	}
)

func (g autoscalingFor) CreateAutoScalingGroup(ctx context.Context, in *awsautoscaling.CreateAutoScalingGroupInput) (*awsautoscaling.CreateAutoScalingGroupOutput, error) {
	return ask(g.ask, ctx, "autoscaling", "CreateAutoScalingGroup", in, g.Service.CreateAutoScalingGroup)
}

func (g autoscalingFor) DescribeAutoScalingGroups(ctx context.Context, in *awsautoscaling.DescribeAutoScalingGroupsInput) (*awsautoscaling.DescribeAutoScalingGroupsOutput, error) {
	return ask(g.ask, ctx, "autoscaling", "DescribeAutoScalingGroups", in, g.Service.DescribeAutoScalingGroups)
}

func (g autoscalingFor) DescribeScalingActivities(ctx context.Context, in *awsautoscaling.DescribeScalingActivitiesInput) (*awsautoscaling.DescribeScalingActivitiesOutput, error) {
	return ask(g.ask, ctx, "autoscaling", "DescribeScalingActivities", in, g.Service.DescribeScalingActivities)
}

func (g autoscalingFor) UpdateAutoScalingGroup(ctx context.Context, in *awsautoscaling.UpdateAutoScalingGroupInput) (*awsautoscaling.UpdateAutoScalingGroupOutput, error) {
	return ask(g.ask, ctx, "autoscaling", "UpdateAutoScalingGroup", in, g.Service.UpdateAutoScalingGroup)
}

func (g autoscalingFor) DeleteAutoScalingGroup(ctx context.Context, in *awsautoscaling.DeleteAutoScalingGroupInput) (*awsautoscaling.DeleteAutoScalingGroupOutput, error) {
	return ask(g.ask, ctx, "autoscaling", "DeleteAutoScalingGroup", in, g.Service.DeleteAutoScalingGroup)
}

func (g autoscalingFor) AttachLoadBalancerTargetGroups(ctx context.Context, in *awsautoscaling.AttachLoadBalancerTargetGroupsInput) (*awsautoscaling.AttachLoadBalancerTargetGroupsOutput, error) {
	return ask(g.ask, ctx, "autoscaling", "AttachLoadBalancerTargetGroups", in, g.Service.AttachLoadBalancerTargetGroups)
}

func (g autoscalingFor) DetachLoadBalancerTargetGroups(ctx context.Context, in *awsautoscaling.DetachLoadBalancerTargetGroupsInput) (*awsautoscaling.DetachLoadBalancerTargetGroupsOutput, error) {
	return ask(g.ask, ctx, "autoscaling", "DetachLoadBalancerTargetGroups", in, g.Service.DetachLoadBalancerTargetGroups)
}

func (g autoscalingFor) PutLifecycleHook(ctx context.Context, in *awsautoscaling.PutLifecycleHookInput) (*awsautoscaling.PutLifecycleHookOutput, error) {
	return ask(g.ask, ctx, "autoscaling", "PutLifecycleHook", in, g.Service.PutLifecycleHook)
}

func (g autoscalingFor) DeleteLifecycleHook(ctx context.Context, in *awsautoscaling.DeleteLifecycleHookInput) (*awsautoscaling.DeleteLifecycleHookOutput, error) {
	return ask(g.ask, ctx, "autoscaling", "DeleteLifecycleHook", in, g.Service.DeleteLifecycleHook)
}

func (g autoscalingFor) CreateOrUpdateTags(ctx context.Context, in *awsautoscaling.CreateOrUpdateTagsInput) (*awsautoscaling.CreateOrUpdateTagsOutput, error) {
	return ask(g.ask, ctx, "autoscaling", "CreateOrUpdateTags", in, g.Service.CreateOrUpdateTags)
}

func (g autoscalingFor) DeleteTags(ctx context.Context, in *awsautoscaling.DeleteTagsInput) (*awsautoscaling.DeleteTagsOutput, error) {
	return ask(g.ask, ctx, "autoscaling", "DeleteTags", in, g.Service.DeleteTags)
}

func (g batchFor) CreateComputeEnvironment(ctx context.Context, in *awsbatch.CreateComputeEnvironmentInput) (*awsbatch.CreateComputeEnvironmentOutput, error) {
	return ask(g.ask, ctx, "batch", "CreateComputeEnvironment", in, g.Service.CreateComputeEnvironment)
}

func (g batchFor) DescribeComputeEnvironments(ctx context.Context, in *awsbatch.DescribeComputeEnvironmentsInput) (*awsbatch.DescribeComputeEnvironmentsOutput, error) {
	return ask(g.ask, ctx, "batch", "DescribeComputeEnvironments", in, g.Service.DescribeComputeEnvironments)
}

func (g batchFor) UpdateComputeEnvironment(ctx context.Context, in *awsbatch.UpdateComputeEnvironmentInput) (*awsbatch.UpdateComputeEnvironmentOutput, error) {
	return ask(g.ask, ctx, "batch", "UpdateComputeEnvironment", in, g.Service.UpdateComputeEnvironment)
}

func (g batchFor) DeleteComputeEnvironment(ctx context.Context, in *awsbatch.DeleteComputeEnvironmentInput) (*awsbatch.DeleteComputeEnvironmentOutput, error) {
	return ask(g.ask, ctx, "batch", "DeleteComputeEnvironment", in, g.Service.DeleteComputeEnvironment)
}

func (g batchFor) CreateJobQueue(ctx context.Context, in *awsbatch.CreateJobQueueInput) (*awsbatch.CreateJobQueueOutput, error) {
	return ask(g.ask, ctx, "batch", "CreateJobQueue", in, g.Service.CreateJobQueue)
}

func (g batchFor) DescribeJobQueues(ctx context.Context, in *awsbatch.DescribeJobQueuesInput) (*awsbatch.DescribeJobQueuesOutput, error) {
	return ask(g.ask, ctx, "batch", "DescribeJobQueues", in, g.Service.DescribeJobQueues)
}

func (g batchFor) UpdateJobQueue(ctx context.Context, in *awsbatch.UpdateJobQueueInput) (*awsbatch.UpdateJobQueueOutput, error) {
	return ask(g.ask, ctx, "batch", "UpdateJobQueue", in, g.Service.UpdateJobQueue)
}

func (g batchFor) DeleteJobQueue(ctx context.Context, in *awsbatch.DeleteJobQueueInput) (*awsbatch.DeleteJobQueueOutput, error) {
	return ask(g.ask, ctx, "batch", "DeleteJobQueue", in, g.Service.DeleteJobQueue)
}

func (g batchFor) RegisterJobDefinition(ctx context.Context, in *awsbatch.RegisterJobDefinitionInput) (*awsbatch.RegisterJobDefinitionOutput, error) {
	return ask(g.ask, ctx, "batch", "RegisterJobDefinition", in, g.Service.RegisterJobDefinition)
}

func (g batchFor) DescribeJobDefinitions(ctx context.Context, in *awsbatch.DescribeJobDefinitionsInput) (*awsbatch.DescribeJobDefinitionsOutput, error) {
	return ask(g.ask, ctx, "batch", "DescribeJobDefinitions", in, g.Service.DescribeJobDefinitions)
}

func (g batchFor) DeregisterJobDefinition(ctx context.Context, in *awsbatch.DeregisterJobDefinitionInput) (*awsbatch.DeregisterJobDefinitionOutput, error) {
	return ask(g.ask, ctx, "batch", "DeregisterJobDefinition", in, g.Service.DeregisterJobDefinition)
}

func (g batchFor) TagResource(ctx context.Context, in *awsbatch.TagResourceInput) (*awsbatch.TagResourceOutput, error) {
	return ask(g.ask, ctx, "batch", "TagResource", in, g.Service.TagResource)
}

func (g batchFor) UntagResource(ctx context.Context, in *awsbatch.UntagResourceInput) (*awsbatch.UntagResourceOutput, error) {
	return ask(g.ask, ctx, "batch", "UntagResource", in, g.Service.UntagResource)
}

func (g cloudwatchFor) PutMetricAlarm(ctx context.Context, in *awscloudwatch.PutMetricAlarmInput) (*awscloudwatch.PutMetricAlarmOutput, error) {
	return ask(g.ask, ctx, "cloudwatch", "PutMetricAlarm", in, g.Service.PutMetricAlarm)
}

func (g cloudwatchFor) PutCompositeAlarm(ctx context.Context, in *awscloudwatch.PutCompositeAlarmInput) (*awscloudwatch.PutCompositeAlarmOutput, error) {
	return ask(g.ask, ctx, "cloudwatch", "PutCompositeAlarm", in, g.Service.PutCompositeAlarm)
}

func (g cloudwatchFor) DeleteAlarms(ctx context.Context, in *awscloudwatch.DeleteAlarmsInput) (*awscloudwatch.DeleteAlarmsOutput, error) {
	return ask(g.ask, ctx, "cloudwatch", "DeleteAlarms", in, g.Service.DeleteAlarms)
}

func (g cloudwatchFor) PutDashboard(ctx context.Context, in *awscloudwatch.PutDashboardInput) (*awscloudwatch.PutDashboardOutput, error) {
	return ask(g.ask, ctx, "cloudwatch", "PutDashboard", in, g.Service.PutDashboard)
}

func (g cloudwatchFor) DeleteDashboards(ctx context.Context, in *awscloudwatch.DeleteDashboardsInput) (*awscloudwatch.DeleteDashboardsOutput, error) {
	return ask(g.ask, ctx, "cloudwatch", "DeleteDashboards", in, g.Service.DeleteDashboards)
}

func (g cloudwatchFor) TagResource(ctx context.Context, in *awscloudwatch.TagResourceInput) (*awscloudwatch.TagResourceOutput, error) {
	return ask(g.ask, ctx, "cloudwatch", "TagResource", in, g.Service.TagResource)
}

func (g cloudwatchFor) UntagResource(ctx context.Context, in *awscloudwatch.UntagResourceInput) (*awscloudwatch.UntagResourceOutput, error) {
	return ask(g.ask, ctx, "cloudwatch", "UntagResource", in, g.Service.UntagResource)
}

func (g codebuildFor) CreateProject(ctx context.Context, in *awscodebuild.CreateProjectInput) (*awscodebuild.CreateProjectOutput, error) {
	return ask(g.ask, ctx, "codebuild", "CreateProject", in, g.Service.CreateProject)
}

func (g codebuildFor) UpdateProject(ctx context.Context, in *awscodebuild.UpdateProjectInput) (*awscodebuild.UpdateProjectOutput, error) {
	return ask(g.ask, ctx, "codebuild", "UpdateProject", in, g.Service.UpdateProject)
}

func (g codebuildFor) BatchGetProjects(ctx context.Context, in *awscodebuild.BatchGetProjectsInput) (*awscodebuild.BatchGetProjectsOutput, error) {
	return ask(g.ask, ctx, "codebuild", "BatchGetProjects", in, g.Service.BatchGetProjects)
}

func (g codebuildFor) DeleteProject(ctx context.Context, in *awscodebuild.DeleteProjectInput) (*awscodebuild.DeleteProjectOutput, error) {
	return ask(g.ask, ctx, "codebuild", "DeleteProject", in, g.Service.DeleteProject)
}

func (g dynamodbFor) CreateTable(ctx context.Context, in *awsdynamodb.CreateTableInput) (*awsdynamodb.CreateTableOutput, error) {
	return ask(g.ask, ctx, "dynamodb", "CreateTable", in, g.Service.CreateTable)
}

func (g dynamodbFor) DescribeTable(ctx context.Context, in *awsdynamodb.DescribeTableInput) (*awsdynamodb.DescribeTableOutput, error) {
	return ask(g.ask, ctx, "dynamodb", "DescribeTable", in, g.Service.DescribeTable)
}

func (g dynamodbFor) UpdateTable(ctx context.Context, in *awsdynamodb.UpdateTableInput) (*awsdynamodb.UpdateTableOutput, error) {
	return ask(g.ask, ctx, "dynamodb", "UpdateTable", in, g.Service.UpdateTable)
}

func (g dynamodbFor) DeleteTable(ctx context.Context, in *awsdynamodb.DeleteTableInput) (*awsdynamodb.DeleteTableOutput, error) {
	return ask(g.ask, ctx, "dynamodb", "DeleteTable", in, g.Service.DeleteTable)
}

func (g dynamodbFor) TagResource(ctx context.Context, in *awsdynamodb.TagResourceInput) (*awsdynamodb.TagResourceOutput, error) {
	return ask(g.ask, ctx, "dynamodb", "TagResource", in, g.Service.TagResource)
}

func (g dynamodbFor) UntagResource(ctx context.Context, in *awsdynamodb.UntagResourceInput) (*awsdynamodb.UntagResourceOutput, error) {
	return ask(g.ask, ctx, "dynamodb", "UntagResource", in, g.Service.UntagResource)
}

func (g dynamodbFor) UpdateTimeToLive(ctx context.Context, in *awsdynamodb.UpdateTimeToLiveInput) (*awsdynamodb.UpdateTimeToLiveOutput, error) {
	return ask(g.ask, ctx, "dynamodb", "UpdateTimeToLive", in, g.Service.UpdateTimeToLive)
}

func (g dynamodbFor) UpdateContinuousBackups(ctx context.Context, in *awsdynamodb.UpdateContinuousBackupsInput) (*awsdynamodb.UpdateContinuousBackupsOutput, error) {
	return ask(g.ask, ctx, "dynamodb", "UpdateContinuousBackups", in, g.Service.UpdateContinuousBackups)
}

func (g ec2For) CreateTags(ctx context.Context, in *awsec2.CreateTagsInput) (*awsec2.CreateTagsOutput, error) {
	return ask(g.ask, ctx, "ec2", "CreateTags", in, g.Service.CreateTags)
}

func (g ec2For) DeleteTags(ctx context.Context, in *awsec2.DeleteTagsInput) (*awsec2.DeleteTagsOutput, error) {
	return ask(g.ask, ctx, "ec2", "DeleteTags", in, g.Service.DeleteTags)
}

func (g ec2For) DescribeTags(ctx context.Context, in *awsec2.DescribeTagsInput) (*awsec2.DescribeTagsOutput, error) {
	return ask(g.ask, ctx, "ec2", "DescribeTags", in, g.Service.DescribeTags)
}

func (g ec2For) CreateVpc(ctx context.Context, in *awsec2.CreateVpcInput) (*awsec2.CreateVpcOutput, error) {
	return ask(g.ask, ctx, "ec2", "CreateVpc", in, g.Service.CreateVpc)
}

func (g ec2For) DeleteVpc(ctx context.Context, in *awsec2.DeleteVpcInput) (*awsec2.DeleteVpcOutput, error) {
	return ask(g.ask, ctx, "ec2", "DeleteVpc", in, g.Service.DeleteVpc)
}

func (g ec2For) DescribeVpcs(ctx context.Context, in *awsec2.DescribeVpcsInput) (*awsec2.DescribeVpcsOutput, error) {
	return ask(g.ask, ctx, "ec2", "DescribeVpcs", in, g.Service.DescribeVpcs)
}

func (g ec2For) ModifyVpcAttribute(ctx context.Context, in *awsec2.ModifyVpcAttributeInput) (*awsec2.ModifyVpcAttributeOutput, error) {
	return ask(g.ask, ctx, "ec2", "ModifyVpcAttribute", in, g.Service.ModifyVpcAttribute)
}

func (g ec2For) CreateNatGateway(ctx context.Context, in *awsec2.CreateNatGatewayInput) (*awsec2.CreateNatGatewayOutput, error) {
	return ask(g.ask, ctx, "ec2", "CreateNatGateway", in, g.Service.CreateNatGateway)
}

func (g ec2For) DeleteNatGateway(ctx context.Context, in *awsec2.DeleteNatGatewayInput) (*awsec2.DeleteNatGatewayOutput, error) {
	return ask(g.ask, ctx, "ec2", "DeleteNatGateway", in, g.Service.DeleteNatGateway)
}

func (g ec2For) CreateSubnet(ctx context.Context, in *awsec2.CreateSubnetInput) (*awsec2.CreateSubnetOutput, error) {
	return ask(g.ask, ctx, "ec2", "CreateSubnet", in, g.Service.CreateSubnet)
}

func (g ec2For) DeleteSubnet(ctx context.Context, in *awsec2.DeleteSubnetInput) (*awsec2.DeleteSubnetOutput, error) {
	return ask(g.ask, ctx, "ec2", "DeleteSubnet", in, g.Service.DeleteSubnet)
}

func (g ec2For) DescribeSubnets(ctx context.Context, in *awsec2.DescribeSubnetsInput) (*awsec2.DescribeSubnetsOutput, error) {
	return ask(g.ask, ctx, "ec2", "DescribeSubnets", in, g.Service.DescribeSubnets)
}

func (g ec2For) ModifySubnetAttribute(ctx context.Context, in *awsec2.ModifySubnetAttributeInput) (*awsec2.ModifySubnetAttributeOutput, error) {
	return ask(g.ask, ctx, "ec2", "ModifySubnetAttribute", in, g.Service.ModifySubnetAttribute)
}

func (g ec2For) CreateInternetGateway(ctx context.Context, in *awsec2.CreateInternetGatewayInput) (*awsec2.CreateInternetGatewayOutput, error) {
	return ask(g.ask, ctx, "ec2", "CreateInternetGateway", in, g.Service.CreateInternetGateway)
}

func (g ec2For) DeleteInternetGateway(ctx context.Context, in *awsec2.DeleteInternetGatewayInput) (*awsec2.DeleteInternetGatewayOutput, error) {
	return ask(g.ask, ctx, "ec2", "DeleteInternetGateway", in, g.Service.DeleteInternetGateway)
}

func (g ec2For) AttachInternetGateway(ctx context.Context, in *awsec2.AttachInternetGatewayInput) (*awsec2.AttachInternetGatewayOutput, error) {
	return ask(g.ask, ctx, "ec2", "AttachInternetGateway", in, g.Service.AttachInternetGateway)
}

func (g ec2For) DetachInternetGateway(ctx context.Context, in *awsec2.DetachInternetGatewayInput) (*awsec2.DetachInternetGatewayOutput, error) {
	return ask(g.ask, ctx, "ec2", "DetachInternetGateway", in, g.Service.DetachInternetGateway)
}

func (g ec2For) CreateRouteTable(ctx context.Context, in *awsec2.CreateRouteTableInput) (*awsec2.CreateRouteTableOutput, error) {
	return ask(g.ask, ctx, "ec2", "CreateRouteTable", in, g.Service.CreateRouteTable)
}

func (g ec2For) DeleteRouteTable(ctx context.Context, in *awsec2.DeleteRouteTableInput) (*awsec2.DeleteRouteTableOutput, error) {
	return ask(g.ask, ctx, "ec2", "DeleteRouteTable", in, g.Service.DeleteRouteTable)
}

func (g ec2For) CreateRoute(ctx context.Context, in *awsec2.CreateRouteInput) (*awsec2.CreateRouteOutput, error) {
	return ask(g.ask, ctx, "ec2", "CreateRoute", in, g.Service.CreateRoute)
}

func (g ec2For) DeleteRoute(ctx context.Context, in *awsec2.DeleteRouteInput) (*awsec2.DeleteRouteOutput, error) {
	return ask(g.ask, ctx, "ec2", "DeleteRoute", in, g.Service.DeleteRoute)
}

func (g ec2For) AssociateRouteTable(ctx context.Context, in *awsec2.AssociateRouteTableInput) (*awsec2.AssociateRouteTableOutput, error) {
	return ask(g.ask, ctx, "ec2", "AssociateRouteTable", in, g.Service.AssociateRouteTable)
}

func (g ec2For) DisassociateRouteTable(ctx context.Context, in *awsec2.DisassociateRouteTableInput) (*awsec2.DisassociateRouteTableOutput, error) {
	return ask(g.ask, ctx, "ec2", "DisassociateRouteTable", in, g.Service.DisassociateRouteTable)
}

func (g ec2For) CreateSecurityGroup(ctx context.Context, in *awsec2.CreateSecurityGroupInput) (*awsec2.CreateSecurityGroupOutput, error) {
	return ask(g.ask, ctx, "ec2", "CreateSecurityGroup", in, g.Service.CreateSecurityGroup)
}

func (g ec2For) DeleteSecurityGroup(ctx context.Context, in *awsec2.DeleteSecurityGroupInput) (*awsec2.DeleteSecurityGroupOutput, error) {
	return ask(g.ask, ctx, "ec2", "DeleteSecurityGroup", in, g.Service.DeleteSecurityGroup)
}

func (g ec2For) DescribeSecurityGroups(ctx context.Context, in *awsec2.DescribeSecurityGroupsInput) (*awsec2.DescribeSecurityGroupsOutput, error) {
	return ask(g.ask, ctx, "ec2", "DescribeSecurityGroups", in, g.Service.DescribeSecurityGroups)
}

func (g ec2For) AuthorizeSecurityGroupIngress(ctx context.Context, in *awsec2.AuthorizeSecurityGroupIngressInput) (*awsec2.AuthorizeSecurityGroupIngressOutput, error) {
	return ask(g.ask, ctx, "ec2", "AuthorizeSecurityGroupIngress", in, g.Service.AuthorizeSecurityGroupIngress)
}

func (g ec2For) AuthorizeSecurityGroupEgress(ctx context.Context, in *awsec2.AuthorizeSecurityGroupEgressInput) (*awsec2.AuthorizeSecurityGroupEgressOutput, error) {
	return ask(g.ask, ctx, "ec2", "AuthorizeSecurityGroupEgress", in, g.Service.AuthorizeSecurityGroupEgress)
}

func (g ec2For) RevokeSecurityGroupIngress(ctx context.Context, in *awsec2.RevokeSecurityGroupIngressInput) (*awsec2.RevokeSecurityGroupIngressOutput, error) {
	return ask(g.ask, ctx, "ec2", "RevokeSecurityGroupIngress", in, g.Service.RevokeSecurityGroupIngress)
}

func (g ec2For) RevokeSecurityGroupEgress(ctx context.Context, in *awsec2.RevokeSecurityGroupEgressInput) (*awsec2.RevokeSecurityGroupEgressOutput, error) {
	return ask(g.ask, ctx, "ec2", "RevokeSecurityGroupEgress", in, g.Service.RevokeSecurityGroupEgress)
}

func (g ec2For) CreateNetworkInterface(ctx context.Context, in *awsec2.CreateNetworkInterfaceInput) (*awsec2.CreateNetworkInterfaceOutput, error) {
	return ask(g.ask, ctx, "ec2", "CreateNetworkInterface", in, g.Service.CreateNetworkInterface)
}

func (g ec2For) DeleteNetworkInterface(ctx context.Context, in *awsec2.DeleteNetworkInterfaceInput) (*awsec2.DeleteNetworkInterfaceOutput, error) {
	return ask(g.ask, ctx, "ec2", "DeleteNetworkInterface", in, g.Service.DeleteNetworkInterface)
}

func (g ec2For) DescribeNetworkInterfaces(ctx context.Context, in *awsec2.DescribeNetworkInterfacesInput) (*awsec2.DescribeNetworkInterfacesOutput, error) {
	return ask(g.ask, ctx, "ec2", "DescribeNetworkInterfaces", in, g.Service.DescribeNetworkInterfaces)
}

func (g ec2For) ModifyNetworkInterfaceAttribute(ctx context.Context, in *awsec2.ModifyNetworkInterfaceAttributeInput) (*awsec2.ModifyNetworkInterfaceAttributeOutput, error) {
	return ask(g.ask, ctx, "ec2", "ModifyNetworkInterfaceAttribute", in, g.Service.ModifyNetworkInterfaceAttribute)
}

func (g ec2For) AllocateAddress(ctx context.Context, in *awsec2.AllocateAddressInput) (*awsec2.AllocateAddressOutput, error) {
	return ask(g.ask, ctx, "ec2", "AllocateAddress", in, g.Service.AllocateAddress)
}

func (g ec2For) ReleaseAddress(ctx context.Context, in *awsec2.ReleaseAddressInput) (*awsec2.ReleaseAddressOutput, error) {
	return ask(g.ask, ctx, "ec2", "ReleaseAddress", in, g.Service.ReleaseAddress)
}

func (g ec2For) DescribeAddresses(ctx context.Context, in *awsec2.DescribeAddressesInput) (*awsec2.DescribeAddressesOutput, error) {
	return ask(g.ask, ctx, "ec2", "DescribeAddresses", in, g.Service.DescribeAddresses)
}

func (g ec2For) AssociateAddress(ctx context.Context, in *awsec2.AssociateAddressInput) (*awsec2.AssociateAddressOutput, error) {
	return ask(g.ask, ctx, "ec2", "AssociateAddress", in, g.Service.AssociateAddress)
}

func (g ec2For) DisassociateAddress(ctx context.Context, in *awsec2.DisassociateAddressInput) (*awsec2.DisassociateAddressOutput, error) {
	return ask(g.ask, ctx, "ec2", "DisassociateAddress", in, g.Service.DisassociateAddress)
}

func (g ec2For) CreateVolume(ctx context.Context, in *awsec2.CreateVolumeInput) (*awsec2.CreateVolumeOutput, error) {
	return ask(g.ask, ctx, "ec2", "CreateVolume", in, g.Service.CreateVolume)
}

func (g ec2For) DeleteVolume(ctx context.Context, in *awsec2.DeleteVolumeInput) (*awsec2.DeleteVolumeOutput, error) {
	return ask(g.ask, ctx, "ec2", "DeleteVolume", in, g.Service.DeleteVolume)
}

func (g ec2For) DescribeVolumes(ctx context.Context, in *awsec2.DescribeVolumesInput) (*awsec2.DescribeVolumesOutput, error) {
	return ask(g.ask, ctx, "ec2", "DescribeVolumes", in, g.Service.DescribeVolumes)
}

func (g ec2For) ModifyVolume(ctx context.Context, in *awsec2.ModifyVolumeInput) (*awsec2.ModifyVolumeOutput, error) {
	return ask(g.ask, ctx, "ec2", "ModifyVolume", in, g.Service.ModifyVolume)
}

func (g ec2For) AttachVolume(ctx context.Context, in *awsec2.AttachVolumeInput) (*awsec2.AttachVolumeOutput, error) {
	return ask(g.ask, ctx, "ec2", "AttachVolume", in, g.Service.AttachVolume)
}

func (g ec2For) DetachVolume(ctx context.Context, in *awsec2.DetachVolumeInput) (*awsec2.DetachVolumeOutput, error) {
	return ask(g.ask, ctx, "ec2", "DetachVolume", in, g.Service.DetachVolume)
}

func (g ec2For) CreateSnapshot(ctx context.Context, in *awsec2.CreateSnapshotInput) (*awsec2.CreateSnapshotOutput, error) {
	return ask(g.ask, ctx, "ec2", "CreateSnapshot", in, g.Service.CreateSnapshot)
}

func (g ec2For) CreatePlacementGroup(ctx context.Context, in *awsec2.CreatePlacementGroupInput) (*awsec2.CreatePlacementGroupOutput, error) {
	return ask(g.ask, ctx, "ec2", "CreatePlacementGroup", in, g.Service.CreatePlacementGroup)
}

func (g ec2For) DeletePlacementGroup(ctx context.Context, in *awsec2.DeletePlacementGroupInput) (*awsec2.DeletePlacementGroupOutput, error) {
	return ask(g.ask, ctx, "ec2", "DeletePlacementGroup", in, g.Service.DeletePlacementGroup)
}

func (g ec2For) CreateKeyPair(ctx context.Context, in *awsec2.CreateKeyPairInput) (*awsec2.CreateKeyPairOutput, error) {
	return ask(g.ask, ctx, "ec2", "CreateKeyPair", in, g.Service.CreateKeyPair)
}

func (g ec2For) ImportKeyPair(ctx context.Context, in *awsec2.ImportKeyPairInput) (*awsec2.ImportKeyPairOutput, error) {
	return ask(g.ask, ctx, "ec2", "ImportKeyPair", in, g.Service.ImportKeyPair)
}

func (g ec2For) DeleteKeyPair(ctx context.Context, in *awsec2.DeleteKeyPairInput) (*awsec2.DeleteKeyPairOutput, error) {
	return ask(g.ask, ctx, "ec2", "DeleteKeyPair", in, g.Service.DeleteKeyPair)
}

func (g ec2For) DescribeKeyPairs(ctx context.Context, in *awsec2.DescribeKeyPairsInput) (*awsec2.DescribeKeyPairsOutput, error) {
	return ask(g.ask, ctx, "ec2", "DescribeKeyPairs", in, g.Service.DescribeKeyPairs)
}

func (g ec2For) DescribeImages(ctx context.Context, in *awsec2.DescribeImagesInput) (*awsec2.DescribeImagesOutput, error) {
	return ask(g.ask, ctx, "ec2", "DescribeImages", in, g.Service.DescribeImages)
}

func (g ec2For) CreateLaunchTemplate(ctx context.Context, in *awsec2.CreateLaunchTemplateInput) (*awsec2.CreateLaunchTemplateOutput, error) {
	return ask(g.ask, ctx, "ec2", "CreateLaunchTemplate", in, g.Service.CreateLaunchTemplate)
}

func (g ec2For) CreateLaunchTemplateVersion(ctx context.Context, in *awsec2.CreateLaunchTemplateVersionInput) (*awsec2.CreateLaunchTemplateVersionOutput, error) {
	return ask(g.ask, ctx, "ec2", "CreateLaunchTemplateVersion", in, g.Service.CreateLaunchTemplateVersion)
}

func (g ec2For) DeleteLaunchTemplate(ctx context.Context, in *awsec2.DeleteLaunchTemplateInput) (*awsec2.DeleteLaunchTemplateOutput, error) {
	return ask(g.ask, ctx, "ec2", "DeleteLaunchTemplate", in, g.Service.DeleteLaunchTemplate)
}

func (g ec2For) DescribeLaunchTemplates(ctx context.Context, in *awsec2.DescribeLaunchTemplatesInput) (*awsec2.DescribeLaunchTemplatesOutput, error) {
	return ask(g.ask, ctx, "ec2", "DescribeLaunchTemplates", in, g.Service.DescribeLaunchTemplates)
}

func (g ec2For) RunInstances(ctx context.Context, in *awsec2.RunInstancesInput) (*awsec2.RunInstancesOutput, error) {
	return ask(g.ask, ctx, "ec2", "RunInstances", in, g.Service.RunInstances)
}

func (g ec2For) DescribeInstances(ctx context.Context, in *awsec2.DescribeInstancesInput) (*awsec2.DescribeInstancesOutput, error) {
	return ask(g.ask, ctx, "ec2", "DescribeInstances", in, g.Service.DescribeInstances)
}

func (g ec2For) TerminateInstances(ctx context.Context, in *awsec2.TerminateInstancesInput) (*awsec2.TerminateInstancesOutput, error) {
	return ask(g.ask, ctx, "ec2", "TerminateInstances", in, g.Service.TerminateInstances)
}

func (g ec2For) StartInstances(ctx context.Context, in *awsec2.StartInstancesInput) (*awsec2.StartInstancesOutput, error) {
	return ask(g.ask, ctx, "ec2", "StartInstances", in, g.Service.StartInstances)
}

func (g ec2For) StopInstances(ctx context.Context, in *awsec2.StopInstancesInput) (*awsec2.StopInstancesOutput, error) {
	return ask(g.ask, ctx, "ec2", "StopInstances", in, g.Service.StopInstances)
}

func (g ec2For) ModifyInstanceAttribute(ctx context.Context, in *awsec2.ModifyInstanceAttributeInput) (*awsec2.ModifyInstanceAttributeOutput, error) {
	return ask(g.ask, ctx, "ec2", "ModifyInstanceAttribute", in, g.Service.ModifyInstanceAttribute)
}

func (g ecrFor) CreateRepository(ctx context.Context, in *awsecr.CreateRepositoryInput) (*awsecr.CreateRepositoryOutput, error) {
	return ask(g.ask, ctx, "ecr", "CreateRepository", in, g.Service.CreateRepository)
}

func (g ecrFor) DescribeRepositories(ctx context.Context, in *awsecr.DescribeRepositoriesInput) (*awsecr.DescribeRepositoriesOutput, error) {
	return ask(g.ask, ctx, "ecr", "DescribeRepositories", in, g.Service.DescribeRepositories)
}

func (g ecrFor) DeleteRepository(ctx context.Context, in *awsecr.DeleteRepositoryInput) (*awsecr.DeleteRepositoryOutput, error) {
	return ask(g.ask, ctx, "ecr", "DeleteRepository", in, g.Service.DeleteRepository)
}

func (g ecrFor) TagResource(ctx context.Context, in *awsecr.TagResourceInput) (*awsecr.TagResourceOutput, error) {
	return ask(g.ask, ctx, "ecr", "TagResource", in, g.Service.TagResource)
}

func (g ecrFor) UntagResource(ctx context.Context, in *awsecr.UntagResourceInput) (*awsecr.UntagResourceOutput, error) {
	return ask(g.ask, ctx, "ecr", "UntagResource", in, g.Service.UntagResource)
}

func (g efsFor) CreateFileSystem(ctx context.Context, in *awsefs.CreateFileSystemInput) (*awsefs.CreateFileSystemOutput, error) {
	return ask(g.ask, ctx, "efs", "CreateFileSystem", in, g.Service.CreateFileSystem)
}

func (g efsFor) DescribeFileSystems(ctx context.Context, in *awsefs.DescribeFileSystemsInput) (*awsefs.DescribeFileSystemsOutput, error) {
	return ask(g.ask, ctx, "efs", "DescribeFileSystems", in, g.Service.DescribeFileSystems)
}

func (g efsFor) UpdateFileSystem(ctx context.Context, in *awsefs.UpdateFileSystemInput) (*awsefs.UpdateFileSystemOutput, error) {
	return ask(g.ask, ctx, "efs", "UpdateFileSystem", in, g.Service.UpdateFileSystem)
}

func (g efsFor) DeleteFileSystem(ctx context.Context, in *awsefs.DeleteFileSystemInput) (*awsefs.DeleteFileSystemOutput, error) {
	return ask(g.ask, ctx, "efs", "DeleteFileSystem", in, g.Service.DeleteFileSystem)
}

func (g efsFor) CreateMountTarget(ctx context.Context, in *awsefs.CreateMountTargetInput) (*awsefs.CreateMountTargetOutput, error) {
	return ask(g.ask, ctx, "efs", "CreateMountTarget", in, g.Service.CreateMountTarget)
}

func (g efsFor) DescribeMountTargets(ctx context.Context, in *awsefs.DescribeMountTargetsInput) (*awsefs.DescribeMountTargetsOutput, error) {
	return ask(g.ask, ctx, "efs", "DescribeMountTargets", in, g.Service.DescribeMountTargets)
}

func (g efsFor) ModifyMountTargetSecurityGroups(ctx context.Context, in *awsefs.ModifyMountTargetSecurityGroupsInput) (*awsefs.ModifyMountTargetSecurityGroupsOutput, error) {
	return ask(g.ask, ctx, "efs", "ModifyMountTargetSecurityGroups", in, g.Service.ModifyMountTargetSecurityGroups)
}

func (g efsFor) DeleteMountTarget(ctx context.Context, in *awsefs.DeleteMountTargetInput) (*awsefs.DeleteMountTargetOutput, error) {
	return ask(g.ask, ctx, "efs", "DeleteMountTarget", in, g.Service.DeleteMountTarget)
}

func (g efsFor) CreateAccessPoint(ctx context.Context, in *awsefs.CreateAccessPointInput) (*awsefs.CreateAccessPointOutput, error) {
	return ask(g.ask, ctx, "efs", "CreateAccessPoint", in, g.Service.CreateAccessPoint)
}

func (g efsFor) DescribeAccessPoints(ctx context.Context, in *awsefs.DescribeAccessPointsInput) (*awsefs.DescribeAccessPointsOutput, error) {
	return ask(g.ask, ctx, "efs", "DescribeAccessPoints", in, g.Service.DescribeAccessPoints)
}

func (g efsFor) DeleteAccessPoint(ctx context.Context, in *awsefs.DeleteAccessPointInput) (*awsefs.DeleteAccessPointOutput, error) {
	return ask(g.ask, ctx, "efs", "DeleteAccessPoint", in, g.Service.DeleteAccessPoint)
}

func (g efsFor) TagResource(ctx context.Context, in *awsefs.TagResourceInput) (*awsefs.TagResourceOutput, error) {
	return ask(g.ask, ctx, "efs", "TagResource", in, g.Service.TagResource)
}

func (g efsFor) UntagResource(ctx context.Context, in *awsefs.UntagResourceInput) (*awsefs.UntagResourceOutput, error) {
	return ask(g.ask, ctx, "efs", "UntagResource", in, g.Service.UntagResource)
}

func (g efsFor) PutLifecycleConfiguration(ctx context.Context, in *awsefs.PutLifecycleConfigurationInput) (*awsefs.PutLifecycleConfigurationOutput, error) {
	return ask(g.ask, ctx, "efs", "PutLifecycleConfiguration", in, g.Service.PutLifecycleConfiguration)
}

func (g efsFor) PutBackupPolicy(ctx context.Context, in *awsefs.PutBackupPolicyInput) (*awsefs.PutBackupPolicyOutput, error) {
	return ask(g.ask, ctx, "efs", "PutBackupPolicy", in, g.Service.PutBackupPolicy)
}

func (g efsFor) PutFileSystemPolicy(ctx context.Context, in *awsefs.PutFileSystemPolicyInput) (*awsefs.PutFileSystemPolicyOutput, error) {
	return ask(g.ask, ctx, "efs", "PutFileSystemPolicy", in, g.Service.PutFileSystemPolicy)
}

func (g elbv2For) CreateLoadBalancer(ctx context.Context, in *awselbv2.CreateLoadBalancerInput) (*awselbv2.CreateLoadBalancerOutput, error) {
	return ask(g.ask, ctx, "elbv2", "CreateLoadBalancer", in, g.Service.CreateLoadBalancer)
}

func (g elbv2For) DescribeLoadBalancers(ctx context.Context, in *awselbv2.DescribeLoadBalancersInput) (*awselbv2.DescribeLoadBalancersOutput, error) {
	return ask(g.ask, ctx, "elbv2", "DescribeLoadBalancers", in, g.Service.DescribeLoadBalancers)
}

func (g elbv2For) SetSecurityGroups(ctx context.Context, in *awselbv2.SetSecurityGroupsInput) (*awselbv2.SetSecurityGroupsOutput, error) {
	return ask(g.ask, ctx, "elbv2", "SetSecurityGroups", in, g.Service.SetSecurityGroups)
}

func (g elbv2For) ModifyLoadBalancerAttributes(ctx context.Context, in *awselbv2.ModifyLoadBalancerAttributesInput) (*awselbv2.ModifyLoadBalancerAttributesOutput, error) {
	return ask(g.ask, ctx, "elbv2", "ModifyLoadBalancerAttributes", in, g.Service.ModifyLoadBalancerAttributes)
}

func (g elbv2For) DeleteLoadBalancer(ctx context.Context, in *awselbv2.DeleteLoadBalancerInput) (*awselbv2.DeleteLoadBalancerOutput, error) {
	return ask(g.ask, ctx, "elbv2", "DeleteLoadBalancer", in, g.Service.DeleteLoadBalancer)
}

func (g elbv2For) CreateTargetGroup(ctx context.Context, in *awselbv2.CreateTargetGroupInput) (*awselbv2.CreateTargetGroupOutput, error) {
	return ask(g.ask, ctx, "elbv2", "CreateTargetGroup", in, g.Service.CreateTargetGroup)
}

func (g elbv2For) ModifyTargetGroup(ctx context.Context, in *awselbv2.ModifyTargetGroupInput) (*awselbv2.ModifyTargetGroupOutput, error) {
	return ask(g.ask, ctx, "elbv2", "ModifyTargetGroup", in, g.Service.ModifyTargetGroup)
}

func (g elbv2For) ModifyTargetGroupAttributes(ctx context.Context, in *awselbv2.ModifyTargetGroupAttributesInput) (*awselbv2.ModifyTargetGroupAttributesOutput, error) {
	return ask(g.ask, ctx, "elbv2", "ModifyTargetGroupAttributes", in, g.Service.ModifyTargetGroupAttributes)
}

func (g elbv2For) RegisterTargets(ctx context.Context, in *awselbv2.RegisterTargetsInput) (*awselbv2.RegisterTargetsOutput, error) {
	return ask(g.ask, ctx, "elbv2", "RegisterTargets", in, g.Service.RegisterTargets)
}

func (g elbv2For) DeregisterTargets(ctx context.Context, in *awselbv2.DeregisterTargetsInput) (*awselbv2.DeregisterTargetsOutput, error) {
	return ask(g.ask, ctx, "elbv2", "DeregisterTargets", in, g.Service.DeregisterTargets)
}

func (g elbv2For) DeleteTargetGroup(ctx context.Context, in *awselbv2.DeleteTargetGroupInput) (*awselbv2.DeleteTargetGroupOutput, error) {
	return ask(g.ask, ctx, "elbv2", "DeleteTargetGroup", in, g.Service.DeleteTargetGroup)
}

func (g elbv2For) CreateListener(ctx context.Context, in *awselbv2.CreateListenerInput) (*awselbv2.CreateListenerOutput, error) {
	return ask(g.ask, ctx, "elbv2", "CreateListener", in, g.Service.CreateListener)
}

func (g elbv2For) ModifyListener(ctx context.Context, in *awselbv2.ModifyListenerInput) (*awselbv2.ModifyListenerOutput, error) {
	return ask(g.ask, ctx, "elbv2", "ModifyListener", in, g.Service.ModifyListener)
}

func (g elbv2For) DeleteListener(ctx context.Context, in *awselbv2.DeleteListenerInput) (*awselbv2.DeleteListenerOutput, error) {
	return ask(g.ask, ctx, "elbv2", "DeleteListener", in, g.Service.DeleteListener)
}

func (g elbv2For) AddTags(ctx context.Context, in *awselbv2.AddTagsInput) (*awselbv2.AddTagsOutput, error) {
	return ask(g.ask, ctx, "elbv2", "AddTags", in, g.Service.AddTags)
}

func (g elbv2For) RemoveTags(ctx context.Context, in *awselbv2.RemoveTagsInput) (*awselbv2.RemoveTagsOutput, error) {
	return ask(g.ask, ctx, "elbv2", "RemoveTags", in, g.Service.RemoveTags)
}

func (g fsxFor) CreateFileSystem(ctx context.Context, in *awsfsx.CreateFileSystemInput) (*awsfsx.CreateFileSystemOutput, error) {
	return ask(g.ask, ctx, "fsx", "CreateFileSystem", in, g.Service.CreateFileSystem)
}

func (g fsxFor) DescribeFileSystems(ctx context.Context, in *awsfsx.DescribeFileSystemsInput) (*awsfsx.DescribeFileSystemsOutput, error) {
	return ask(g.ask, ctx, "fsx", "DescribeFileSystems", in, g.Service.DescribeFileSystems)
}

func (g fsxFor) UpdateFileSystem(ctx context.Context, in *awsfsx.UpdateFileSystemInput) (*awsfsx.UpdateFileSystemOutput, error) {
	return ask(g.ask, ctx, "fsx", "UpdateFileSystem", in, g.Service.UpdateFileSystem)
}

func (g fsxFor) DeleteFileSystem(ctx context.Context, in *awsfsx.DeleteFileSystemInput) (*awsfsx.DeleteFileSystemOutput, error) {
	return ask(g.ask, ctx, "fsx", "DeleteFileSystem", in, g.Service.DeleteFileSystem)
}

func (g fsxFor) CreateDataRepositoryAssociation(ctx context.Context, in *awsfsx.CreateDataRepositoryAssociationInput) (*awsfsx.CreateDataRepositoryAssociationOutput, error) {
	return ask(g.ask, ctx, "fsx", "CreateDataRepositoryAssociation", in, g.Service.CreateDataRepositoryAssociation)
}

func (g fsxFor) DescribeDataRepositoryAssociations(ctx context.Context, in *awsfsx.DescribeDataRepositoryAssociationsInput) (*awsfsx.DescribeDataRepositoryAssociationsOutput, error) {
	return ask(g.ask, ctx, "fsx", "DescribeDataRepositoryAssociations", in, g.Service.DescribeDataRepositoryAssociations)
}

func (g fsxFor) UpdateDataRepositoryAssociation(ctx context.Context, in *awsfsx.UpdateDataRepositoryAssociationInput) (*awsfsx.UpdateDataRepositoryAssociationOutput, error) {
	return ask(g.ask, ctx, "fsx", "UpdateDataRepositoryAssociation", in, g.Service.UpdateDataRepositoryAssociation)
}

func (g fsxFor) DeleteDataRepositoryAssociation(ctx context.Context, in *awsfsx.DeleteDataRepositoryAssociationInput) (*awsfsx.DeleteDataRepositoryAssociationOutput, error) {
	return ask(g.ask, ctx, "fsx", "DeleteDataRepositoryAssociation", in, g.Service.DeleteDataRepositoryAssociation)
}

func (g fsxFor) TagResource(ctx context.Context, in *awsfsx.TagResourceInput) (*awsfsx.TagResourceOutput, error) {
	return ask(g.ask, ctx, "fsx", "TagResource", in, g.Service.TagResource)
}

func (g fsxFor) UntagResource(ctx context.Context, in *awsfsx.UntagResourceInput) (*awsfsx.UntagResourceOutput, error) {
	return ask(g.ask, ctx, "fsx", "UntagResource", in, g.Service.UntagResource)
}

func (g iamFor) CreateRole(ctx context.Context, in *awsiam.CreateRoleInput) (*awsiam.CreateRoleOutput, error) {
	return ask(g.ask, ctx, "iam", "CreateRole", in, g.Service.CreateRole)
}

func (g iamFor) GetRole(ctx context.Context, in *awsiam.GetRoleInput) (*awsiam.GetRoleOutput, error) {
	return ask(g.ask, ctx, "iam", "GetRole", in, g.Service.GetRole)
}

func (g iamFor) UpdateRole(ctx context.Context, in *awsiam.UpdateRoleInput) (*awsiam.UpdateRoleOutput, error) {
	return ask(g.ask, ctx, "iam", "UpdateRole", in, g.Service.UpdateRole)
}

func (g iamFor) DeleteRole(ctx context.Context, in *awsiam.DeleteRoleInput) (*awsiam.DeleteRoleOutput, error) {
	return ask(g.ask, ctx, "iam", "DeleteRole", in, g.Service.DeleteRole)
}

func (g iamFor) UpdateAssumeRolePolicy(ctx context.Context, in *awsiam.UpdateAssumeRolePolicyInput) (*awsiam.UpdateAssumeRolePolicyOutput, error) {
	return ask(g.ask, ctx, "iam", "UpdateAssumeRolePolicy", in, g.Service.UpdateAssumeRolePolicy)
}

func (g iamFor) PutRolePermissionsBoundary(ctx context.Context, in *awsiam.PutRolePermissionsBoundaryInput) (*awsiam.PutRolePermissionsBoundaryOutput, error) {
	return ask(g.ask, ctx, "iam", "PutRolePermissionsBoundary", in, g.Service.PutRolePermissionsBoundary)
}

func (g iamFor) DeleteRolePermissionsBoundary(ctx context.Context, in *awsiam.DeleteRolePermissionsBoundaryInput) (*awsiam.DeleteRolePermissionsBoundaryOutput, error) {
	return ask(g.ask, ctx, "iam", "DeleteRolePermissionsBoundary", in, g.Service.DeleteRolePermissionsBoundary)
}

func (g iamFor) TagRole(ctx context.Context, in *awsiam.TagRoleInput) (*awsiam.TagRoleOutput, error) {
	return ask(g.ask, ctx, "iam", "TagRole", in, g.Service.TagRole)
}

func (g iamFor) UntagRole(ctx context.Context, in *awsiam.UntagRoleInput) (*awsiam.UntagRoleOutput, error) {
	return ask(g.ask, ctx, "iam", "UntagRole", in, g.Service.UntagRole)
}

func (g iamFor) PutRolePolicy(ctx context.Context, in *awsiam.PutRolePolicyInput) (*awsiam.PutRolePolicyOutput, error) {
	return ask(g.ask, ctx, "iam", "PutRolePolicy", in, g.Service.PutRolePolicy)
}

func (g iamFor) DeleteRolePolicy(ctx context.Context, in *awsiam.DeleteRolePolicyInput) (*awsiam.DeleteRolePolicyOutput, error) {
	return ask(g.ask, ctx, "iam", "DeleteRolePolicy", in, g.Service.DeleteRolePolicy)
}

func (g iamFor) ListRolePolicies(ctx context.Context, in *awsiam.ListRolePoliciesInput) (*awsiam.ListRolePoliciesOutput, error) {
	return ask(g.ask, ctx, "iam", "ListRolePolicies", in, g.Service.ListRolePolicies)
}

func (g iamFor) AttachRolePolicy(ctx context.Context, in *awsiam.AttachRolePolicyInput) (*awsiam.AttachRolePolicyOutput, error) {
	return ask(g.ask, ctx, "iam", "AttachRolePolicy", in, g.Service.AttachRolePolicy)
}

func (g iamFor) DetachRolePolicy(ctx context.Context, in *awsiam.DetachRolePolicyInput) (*awsiam.DetachRolePolicyOutput, error) {
	return ask(g.ask, ctx, "iam", "DetachRolePolicy", in, g.Service.DetachRolePolicy)
}

func (g iamFor) ListAttachedRolePolicies(ctx context.Context, in *awsiam.ListAttachedRolePoliciesInput) (*awsiam.ListAttachedRolePoliciesOutput, error) {
	return ask(g.ask, ctx, "iam", "ListAttachedRolePolicies", in, g.Service.ListAttachedRolePolicies)
}

func (g iamFor) CreatePolicy(ctx context.Context, in *awsiam.CreatePolicyInput) (*awsiam.CreatePolicyOutput, error) {
	return ask(g.ask, ctx, "iam", "CreatePolicy", in, g.Service.CreatePolicy)
}

func (g iamFor) CreatePolicyVersion(ctx context.Context, in *awsiam.CreatePolicyVersionInput) (*awsiam.CreatePolicyVersionOutput, error) {
	return ask(g.ask, ctx, "iam", "CreatePolicyVersion", in, g.Service.CreatePolicyVersion)
}

func (g iamFor) DeletePolicyVersion(ctx context.Context, in *awsiam.DeletePolicyVersionInput) (*awsiam.DeletePolicyVersionOutput, error) {
	return ask(g.ask, ctx, "iam", "DeletePolicyVersion", in, g.Service.DeletePolicyVersion)
}

func (g iamFor) ListPolicyVersions(ctx context.Context, in *awsiam.ListPolicyVersionsInput) (*awsiam.ListPolicyVersionsOutput, error) {
	return ask(g.ask, ctx, "iam", "ListPolicyVersions", in, g.Service.ListPolicyVersions)
}

func (g iamFor) DeletePolicy(ctx context.Context, in *awsiam.DeletePolicyInput) (*awsiam.DeletePolicyOutput, error) {
	return ask(g.ask, ctx, "iam", "DeletePolicy", in, g.Service.DeletePolicy)
}

func (g iamFor) CreateInstanceProfile(ctx context.Context, in *awsiam.CreateInstanceProfileInput) (*awsiam.CreateInstanceProfileOutput, error) {
	return ask(g.ask, ctx, "iam", "CreateInstanceProfile", in, g.Service.CreateInstanceProfile)
}

func (g iamFor) GetInstanceProfile(ctx context.Context, in *awsiam.GetInstanceProfileInput) (*awsiam.GetInstanceProfileOutput, error) {
	return ask(g.ask, ctx, "iam", "GetInstanceProfile", in, g.Service.GetInstanceProfile)
}

func (g iamFor) DeleteInstanceProfile(ctx context.Context, in *awsiam.DeleteInstanceProfileInput) (*awsiam.DeleteInstanceProfileOutput, error) {
	return ask(g.ask, ctx, "iam", "DeleteInstanceProfile", in, g.Service.DeleteInstanceProfile)
}

func (g iamFor) AddRoleToInstanceProfile(ctx context.Context, in *awsiam.AddRoleToInstanceProfileInput) (*awsiam.AddRoleToInstanceProfileOutput, error) {
	return ask(g.ask, ctx, "iam", "AddRoleToInstanceProfile", in, g.Service.AddRoleToInstanceProfile)
}

func (g iamFor) RemoveRoleFromInstanceProfile(ctx context.Context, in *awsiam.RemoveRoleFromInstanceProfileInput) (*awsiam.RemoveRoleFromInstanceProfileOutput, error) {
	return ask(g.ask, ctx, "iam", "RemoveRoleFromInstanceProfile", in, g.Service.RemoveRoleFromInstanceProfile)
}

func (g iamFor) CreateUser(ctx context.Context, in *awsiam.CreateUserInput) (*awsiam.CreateUserOutput, error) {
	return ask(g.ask, ctx, "iam", "CreateUser", in, g.Service.CreateUser)
}

func (g iamFor) GetUser(ctx context.Context, in *awsiam.GetUserInput) (*awsiam.GetUserOutput, error) {
	return ask(g.ask, ctx, "iam", "GetUser", in, g.Service.GetUser)
}

func (g iamFor) DeleteUser(ctx context.Context, in *awsiam.DeleteUserInput) (*awsiam.DeleteUserOutput, error) {
	return ask(g.ask, ctx, "iam", "DeleteUser", in, g.Service.DeleteUser)
}

func (g iamFor) PutUserPolicy(ctx context.Context, in *awsiam.PutUserPolicyInput) (*awsiam.PutUserPolicyOutput, error) {
	return ask(g.ask, ctx, "iam", "PutUserPolicy", in, g.Service.PutUserPolicy)
}

func (g iamFor) DeleteUserPolicy(ctx context.Context, in *awsiam.DeleteUserPolicyInput) (*awsiam.DeleteUserPolicyOutput, error) {
	return ask(g.ask, ctx, "iam", "DeleteUserPolicy", in, g.Service.DeleteUserPolicy)
}

func (g iamFor) AttachUserPolicy(ctx context.Context, in *awsiam.AttachUserPolicyInput) (*awsiam.AttachUserPolicyOutput, error) {
	return ask(g.ask, ctx, "iam", "AttachUserPolicy", in, g.Service.AttachUserPolicy)
}

func (g iamFor) DetachUserPolicy(ctx context.Context, in *awsiam.DetachUserPolicyInput) (*awsiam.DetachUserPolicyOutput, error) {
	return ask(g.ask, ctx, "iam", "DetachUserPolicy", in, g.Service.DetachUserPolicy)
}

func (g imagebuilderFor) CreateComponent(ctx context.Context, in *awsimagebuilder.CreateComponentInput) (*awsimagebuilder.CreateComponentOutput, error) {
	return ask(g.ask, ctx, "imagebuilder", "CreateComponent", in, g.Service.CreateComponent)
}

func (g imagebuilderFor) DeleteComponent(ctx context.Context, in *awsimagebuilder.DeleteComponentInput) (*awsimagebuilder.DeleteComponentOutput, error) {
	return ask(g.ask, ctx, "imagebuilder", "DeleteComponent", in, g.Service.DeleteComponent)
}

func (g imagebuilderFor) CreateImageRecipe(ctx context.Context, in *awsimagebuilder.CreateImageRecipeInput) (*awsimagebuilder.CreateImageRecipeOutput, error) {
	return ask(g.ask, ctx, "imagebuilder", "CreateImageRecipe", in, g.Service.CreateImageRecipe)
}

func (g imagebuilderFor) DeleteImageRecipe(ctx context.Context, in *awsimagebuilder.DeleteImageRecipeInput) (*awsimagebuilder.DeleteImageRecipeOutput, error) {
	return ask(g.ask, ctx, "imagebuilder", "DeleteImageRecipe", in, g.Service.DeleteImageRecipe)
}

func (g imagebuilderFor) CreateInfrastructureConfiguration(ctx context.Context, in *awsimagebuilder.CreateInfrastructureConfigurationInput) (*awsimagebuilder.CreateInfrastructureConfigurationOutput, error) {
	return ask(g.ask, ctx, "imagebuilder", "CreateInfrastructureConfiguration", in, g.Service.CreateInfrastructureConfiguration)
}

func (g imagebuilderFor) DeleteInfrastructureConfiguration(ctx context.Context, in *awsimagebuilder.DeleteInfrastructureConfigurationInput) (*awsimagebuilder.DeleteInfrastructureConfigurationOutput, error) {
	return ask(g.ask, ctx, "imagebuilder", "DeleteInfrastructureConfiguration", in, g.Service.DeleteInfrastructureConfiguration)
}

func (g imagebuilderFor) CreateDistributionConfiguration(ctx context.Context, in *awsimagebuilder.CreateDistributionConfigurationInput) (*awsimagebuilder.CreateDistributionConfigurationOutput, error) {
	return ask(g.ask, ctx, "imagebuilder", "CreateDistributionConfiguration", in, g.Service.CreateDistributionConfiguration)
}

func (g imagebuilderFor) DeleteDistributionConfiguration(ctx context.Context, in *awsimagebuilder.DeleteDistributionConfigurationInput) (*awsimagebuilder.DeleteDistributionConfigurationOutput, error) {
	return ask(g.ask, ctx, "imagebuilder", "DeleteDistributionConfiguration", in, g.Service.DeleteDistributionConfiguration)
}

func (g imagebuilderFor) CreateImage(ctx context.Context, in *awsimagebuilder.CreateImageInput) (*awsimagebuilder.CreateImageOutput, error) {
	return ask(g.ask, ctx, "imagebuilder", "CreateImage", in, g.Service.CreateImage)
}

func (g imagebuilderFor) GetImage(ctx context.Context, in *awsimagebuilder.GetImageInput) (*awsimagebuilder.GetImageOutput, error) {
	return ask(g.ask, ctx, "imagebuilder", "GetImage", in, g.Service.GetImage)
}

func (g imagebuilderFor) DeleteImage(ctx context.Context, in *awsimagebuilder.DeleteImageInput) (*awsimagebuilder.DeleteImageOutput, error) {
	return ask(g.ask, ctx, "imagebuilder", "DeleteImage", in, g.Service.DeleteImage)
}

func (g imagebuilderFor) CancelImageCreation(ctx context.Context, in *awsimagebuilder.CancelImageCreationInput) (*awsimagebuilder.CancelImageCreationOutput, error) {
	return ask(g.ask, ctx, "imagebuilder", "CancelImageCreation", in, g.Service.CancelImageCreation)
}

func (g lambdaFor) CreateFunction(ctx context.Context, in *awslambda.CreateFunctionInput) (*awslambda.CreateFunctionOutput, error) {
	return ask(g.ask, ctx, "lambda", "CreateFunction", in, g.Service.CreateFunction)
}

func (g lambdaFor) GetFunction(ctx context.Context, in *awslambda.GetFunctionInput) (*awslambda.GetFunctionOutput, error) {
	return ask(g.ask, ctx, "lambda", "GetFunction", in, g.Service.GetFunction)
}

func (g lambdaFor) UpdateFunctionCode(ctx context.Context, in *awslambda.UpdateFunctionCodeInput) (*awslambda.UpdateFunctionCodeOutput, error) {
	return ask(g.ask, ctx, "lambda", "UpdateFunctionCode", in, g.Service.UpdateFunctionCode)
}

func (g lambdaFor) UpdateFunctionConfiguration(ctx context.Context, in *awslambda.UpdateFunctionConfigurationInput) (*awslambda.UpdateFunctionConfigurationOutput, error) {
	return ask(g.ask, ctx, "lambda", "UpdateFunctionConfiguration", in, g.Service.UpdateFunctionConfiguration)
}

func (g lambdaFor) DeleteFunction(ctx context.Context, in *awslambda.DeleteFunctionInput) (*awslambda.DeleteFunctionOutput, error) {
	return ask(g.ask, ctx, "lambda", "DeleteFunction", in, g.Service.DeleteFunction)
}

func (g lambdaFor) TagResource(ctx context.Context, in *awslambda.TagResourceInput) (*awslambda.TagResourceOutput, error) {
	return ask(g.ask, ctx, "lambda", "TagResource", in, g.Service.TagResource)
}

func (g lambdaFor) UntagResource(ctx context.Context, in *awslambda.UntagResourceInput) (*awslambda.UntagResourceOutput, error) {
	return ask(g.ask, ctx, "lambda", "UntagResource", in, g.Service.UntagResource)
}

func (g lambdaFor) AddPermission(ctx context.Context, in *awslambda.AddPermissionInput) (*awslambda.AddPermissionOutput, error) {
	return ask(g.ask, ctx, "lambda", "AddPermission", in, g.Service.AddPermission)
}

func (g lambdaFor) RemovePermission(ctx context.Context, in *awslambda.RemovePermissionInput) (*awslambda.RemovePermissionOutput, error) {
	return ask(g.ask, ctx, "lambda", "RemovePermission", in, g.Service.RemovePermission)
}

func (g lambdaFor) Invoke(ctx context.Context, in *awslambda.InvokeInput) (*awslambda.InvokeOutput, error) {
	return ask(g.ask, ctx, "lambda", "Invoke", in, g.Service.Invoke)
}

func (g logsFor) CreateLogGroup(ctx context.Context, in *awslogs.CreateLogGroupInput) (*awslogs.CreateLogGroupOutput, error) {
	return ask(g.ask, ctx, "logs", "CreateLogGroup", in, g.Service.CreateLogGroup)
}

func (g logsFor) DeleteLogGroup(ctx context.Context, in *awslogs.DeleteLogGroupInput) (*awslogs.DeleteLogGroupOutput, error) {
	return ask(g.ask, ctx, "logs", "DeleteLogGroup", in, g.Service.DeleteLogGroup)
}

func (g logsFor) PutRetentionPolicy(ctx context.Context, in *awslogs.PutRetentionPolicyInput) (*awslogs.PutRetentionPolicyOutput, error) {
	return ask(g.ask, ctx, "logs", "PutRetentionPolicy", in, g.Service.PutRetentionPolicy)
}

func (g logsFor) DeleteRetentionPolicy(ctx context.Context, in *awslogs.DeleteRetentionPolicyInput) (*awslogs.DeleteRetentionPolicyOutput, error) {
	return ask(g.ask, ctx, "logs", "DeleteRetentionPolicy", in, g.Service.DeleteRetentionPolicy)
}

func (g logsFor) TagResource(ctx context.Context, in *awslogs.TagResourceInput) (*awslogs.TagResourceOutput, error) {
	return ask(g.ask, ctx, "logs", "TagResource", in, g.Service.TagResource)
}

func (g logsFor) UntagResource(ctx context.Context, in *awslogs.UntagResourceInput) (*awslogs.UntagResourceOutput, error) {
	return ask(g.ask, ctx, "logs", "UntagResource", in, g.Service.UntagResource)
}

func (g logsFor) CreateLogStream(ctx context.Context, in *awslogs.CreateLogStreamInput) (*awslogs.CreateLogStreamOutput, error) {
	return ask(g.ask, ctx, "logs", "CreateLogStream", in, g.Service.CreateLogStream)
}

func (g logsFor) DeleteLogStream(ctx context.Context, in *awslogs.DeleteLogStreamInput) (*awslogs.DeleteLogStreamOutput, error) {
	return ask(g.ask, ctx, "logs", "DeleteLogStream", in, g.Service.DeleteLogStream)
}

func (g logsFor) PutMetricFilter(ctx context.Context, in *awslogs.PutMetricFilterInput) (*awslogs.PutMetricFilterOutput, error) {
	return ask(g.ask, ctx, "logs", "PutMetricFilter", in, g.Service.PutMetricFilter)
}

func (g logsFor) DeleteMetricFilter(ctx context.Context, in *awslogs.DeleteMetricFilterInput) (*awslogs.DeleteMetricFilterOutput, error) {
	return ask(g.ask, ctx, "logs", "DeleteMetricFilter", in, g.Service.DeleteMetricFilter)
}

func (g route53For) CreateHostedZone(ctx context.Context, in *awsroute53.CreateHostedZoneInput) (*awsroute53.CreateHostedZoneOutput, error) {
	return ask(g.ask, ctx, "route53", "CreateHostedZone", in, g.Service.CreateHostedZone)
}

func (g route53For) GetHostedZone(ctx context.Context, in *awsroute53.GetHostedZoneInput) (*awsroute53.GetHostedZoneOutput, error) {
	return ask(g.ask, ctx, "route53", "GetHostedZone", in, g.Service.GetHostedZone)
}

func (g route53For) ListHostedZonesByName(ctx context.Context, in *awsroute53.ListHostedZonesByNameInput) (*awsroute53.ListHostedZonesByNameOutput, error) {
	return ask(g.ask, ctx, "route53", "ListHostedZonesByName", in, g.Service.ListHostedZonesByName)
}

func (g route53For) DeleteHostedZone(ctx context.Context, in *awsroute53.DeleteHostedZoneInput) (*awsroute53.DeleteHostedZoneOutput, error) {
	return ask(g.ask, ctx, "route53", "DeleteHostedZone", in, g.Service.DeleteHostedZone)
}

func (g route53For) ChangeResourceRecordSets(ctx context.Context, in *awsroute53.ChangeResourceRecordSetsInput) (*awsroute53.ChangeResourceRecordSetsOutput, error) {
	return ask(g.ask, ctx, "route53", "ChangeResourceRecordSets", in, g.Service.ChangeResourceRecordSets)
}

func (g route53For) ChangeTagsForResource(ctx context.Context, in *awsroute53.ChangeTagsForResourceInput) (*awsroute53.ChangeTagsForResourceOutput, error) {
	return ask(g.ask, ctx, "route53", "ChangeTagsForResource", in, g.Service.ChangeTagsForResource)
}

func (g route53For) AssociateVPCWithHostedZone(ctx context.Context, in *awsroute53.AssociateVPCWithHostedZoneInput) (*awsroute53.AssociateVPCWithHostedZoneOutput, error) {
	return ask(g.ask, ctx, "route53", "AssociateVPCWithHostedZone", in, g.Service.AssociateVPCWithHostedZone)
}

func (g secretsmanagerFor) CreateSecret(ctx context.Context, in *awssecretsmanager.CreateSecretInput) (*awssecretsmanager.CreateSecretOutput, error) {
	return ask(g.ask, ctx, "secretsmanager", "CreateSecret", in, g.Service.CreateSecret)
}

func (g secretsmanagerFor) UpdateSecret(ctx context.Context, in *awssecretsmanager.UpdateSecretInput) (*awssecretsmanager.UpdateSecretOutput, error) {
	return ask(g.ask, ctx, "secretsmanager", "UpdateSecret", in, g.Service.UpdateSecret)
}

func (g secretsmanagerFor) DescribeSecret(ctx context.Context, in *awssecretsmanager.DescribeSecretInput) (*awssecretsmanager.DescribeSecretOutput, error) {
	return ask(g.ask, ctx, "secretsmanager", "DescribeSecret", in, g.Service.DescribeSecret)
}

func (g secretsmanagerFor) DeleteSecret(ctx context.Context, in *awssecretsmanager.DeleteSecretInput) (*awssecretsmanager.DeleteSecretOutput, error) {
	return ask(g.ask, ctx, "secretsmanager", "DeleteSecret", in, g.Service.DeleteSecret)
}

func (g secretsmanagerFor) TagResource(ctx context.Context, in *awssecretsmanager.TagResourceInput) (*awssecretsmanager.TagResourceOutput, error) {
	return ask(g.ask, ctx, "secretsmanager", "TagResource", in, g.Service.TagResource)
}

func (g secretsmanagerFor) UntagResource(ctx context.Context, in *awssecretsmanager.UntagResourceInput) (*awssecretsmanager.UntagResourceOutput, error) {
	return ask(g.ask, ctx, "secretsmanager", "UntagResource", in, g.Service.UntagResource)
}

func (g ssmFor) PutParameter(ctx context.Context, in *awsssm.PutParameterInput) (*awsssm.PutParameterOutput, error) {
	return ask(g.ask, ctx, "ssm", "PutParameter", in, g.Service.PutParameter)
}

func (g ssmFor) DeleteParameter(ctx context.Context, in *awsssm.DeleteParameterInput) (*awsssm.DeleteParameterOutput, error) {
	return ask(g.ask, ctx, "ssm", "DeleteParameter", in, g.Service.DeleteParameter)
}

func (g ssmFor) AddTagsToResource(ctx context.Context, in *awsssm.AddTagsToResourceInput) (*awsssm.AddTagsToResourceOutput, error) {
	return ask(g.ask, ctx, "ssm", "AddTagsToResource", in, g.Service.AddTagsToResource)
}

func (g ssmFor) RemoveTagsFromResource(ctx context.Context, in *awsssm.RemoveTagsFromResourceInput) (*awsssm.RemoveTagsFromResourceOutput, error) {
	return ask(g.ask, ctx, "ssm", "RemoveTagsFromResource", in, g.Service.RemoveTagsFromResource)
}

func (g snsFor) CreateTopic(ctx context.Context, in *awssns.CreateTopicInput) (*awssns.CreateTopicOutput, error) {
	return ask(g.ask, ctx, "sns", "CreateTopic", in, g.Service.CreateTopic)
}

func (g snsFor) DeleteTopic(ctx context.Context, in *awssns.DeleteTopicInput) (*awssns.DeleteTopicOutput, error) {
	return ask(g.ask, ctx, "sns", "DeleteTopic", in, g.Service.DeleteTopic)
}

func (g snsFor) Subscribe(ctx context.Context, in *awssns.SubscribeInput) (*awssns.SubscribeOutput, error) {
	return ask(g.ask, ctx, "sns", "Subscribe", in, g.Service.Subscribe)
}

func (g snsFor) Unsubscribe(ctx context.Context, in *awssns.UnsubscribeInput) (*awssns.UnsubscribeOutput, error) {
	return ask(g.ask, ctx, "sns", "Unsubscribe", in, g.Service.Unsubscribe)
}

func (g snsFor) Publish(ctx context.Context, in *awssns.PublishInput) (*awssns.PublishOutput, error) {
	return ask(g.ask, ctx, "sns", "Publish", in, g.Service.Publish)
}
