package stack

import (
	"slices"

	"pcluster/internal/cfn"
	"pcluster/internal/config"
)

// Actions of the stack's function. It acts when its resource is deleted, but builds
// images when theirs is created or updated.
const (
	buildImages     = "BUILD_DOCKER_IMAGES"
	deleteArtifacts = "DELETE_S3_ARTIFACTS"
	terminateFleet  = "TERMINATE_EC2_INSTANCES"
	deleteRecords   = "DELETE_DNS_RECORDS"
)

// cleanupFunction adds the function that ends what CloudFormation doesn't know:
// instances that the head node launched, their DNS records, and objects in the
// bucket. Order of deletion: instances (fleetCleanup), then records, then the zone.
func (b *builder) cleanupFunction() {
	name := cfn.Join("-", "pcluster-CleanupResources", stackUUID())
	log := b.t.Add("CleanupResourcesFunctionLogGroup", cfn.LogGroup{
		LogGroupName: cfn.Join("-", "/aws/lambda/pcluster-CleanupResources", stackUUID()), RetentionInDays: b.retention(),
	}, cfn.OnDelete(b.c.Monitoring.Logs.CloudWatch.DeletionPolicy))

	role := cfn.Text(b.c.Iam.Roles.LambdaFunctionsRole)
	if role == "" {
		role = b.t.Add("CleanupResourcesFunctionExecutionRole", b.cleanupRole()).Att(cfn.Arn)
	}
	architecture := b.p.LambdaArchitecture
	if architecture == "" {
		architecture = "x86_64"
	}
	f := cfn.Function{
		FunctionName: name, Description: "Removes what the cluster made outside of its stack",
		Architectures: []string{architecture}, Runtime: "provided.al2023", Handler: "bootstrap",
		Code: cfn.FunctionCode{S3Bucket: b.p.Bucket, S3Key: b.p.LambdaZipKey},
		Role: role, MemorySize: 128, Timeout: 900,
	}
	if vpc := b.c.DeploymentSettings.LambdaFunctionsVpcConfig; vpc != nil {
		f.VpcConfig = &cfn.FunctionVPC{SecurityGroupIds: ids(vpc.SecurityGroupIds), SubnetIds: ids(vpc.SubnetIds)}
	}
	b.cleanup = b.t.Add("CleanupResourcesFunction", f, cfn.DependsOn(log))

	b.t.Add("CleanupResourcesS3BucketCustomResource", b.custom(cfn.CustomResource{
		"Action": deleteArtifacts, "ResourcesS3Bucket": b.p.Bucket, "ArtifactS3RootDirectory": b.p.ArtifactDir,
	}))
	if b.zone != nil {
		h := b.t.Add("CleanupRoute53CustomResource", b.custom(cfn.CustomResource{
			"Action": deleteRecords, "ClusterHostedZone": b.zone, "ClusterDNSDomain": b.domain() + ".",
		}))
		b.zoneCleanup = &h
	}
}

func (b *builder) custom(r cfn.CustomResource) cfn.CustomResource {
	r["ServiceToken"] = b.cleanup.Att(cfn.Arn)
	return r
}

func (b *builder) cleanupRole() cfn.Role {
	bucket := "arn:" + b.p.Partition + ":s3:::" + b.p.Bucket
	statements := []cfn.Statement{
		allow([]string{"s3:DeleteObject", "s3:DeleteObjectVersion"}, bucket+"/"+b.p.ArtifactDir+"/*"),
		allow([]string{"s3:ListBucketVersions"}, bucket),
		allow([]string{"logs:CreateLogStream", "logs:PutLogEvents"}, b.arn("logs", "log-group:/aws/lambda/pcluster-CleanupResources-*")),
	}
	if b.batch() {
		project := b.arn("codebuild", "project/"+buildProject(b.p.ClusterName))
		statements = append(statements, allow([]string{"codebuild:BatchGetBuilds", "codebuild:StartBuild"}, project))
	} else {
		statements = append(statements,
			allow([]string{"ec2:DescribeInstances"}, "*"),
			when(allow([]string{"ec2:TerminateInstances"}, b.arn("ec2", "instance/*")), "StringEquals", map[string]cfn.Text{
				"aws:ResourceTag/" + config.ToolTagPrefix + "cluster-name": b.p.ClusterName}))
	}
	if b.zone != nil {
		statements = append(statements, allow([]string{"route53:ListResourceRecordSets", "route53:ChangeResourceRecordSets"},
			cfn.Join("", "arn:"+b.p.Partition+":route53:::hostedzone/", b.zone)))
	}
	role := cfn.Role{
		RoleName: b.iamName("CleanupResourcesFunctionExecutionRole", "AWS::IAM::Role"), Path: b.functionPath(),
		AssumeRolePolicyDocument: trust("lambda.amazonaws.com"), PermissionsBoundary: b.c.Iam.PermissionsBoundary,
		Policies: []cfn.InlinePolicy{{PolicyName: "LambdaPolicy", PolicyDocument: cfn.Allow(statements...)}},
	}
	if b.c.DeploymentSettings.LambdaFunctionsVpcConfig != nil {
		role.ManagedPolicyArns = []cfn.Text{"arn:" + b.p.Partition + ":iam::aws:policy/service-role/AWSLambdaVPCAccessExecutionRole"}
	}
	return role
}

// fleetCleanup ends all instances of the cluster when the stack is deleted. It
// goes before the things that instances use: their templates, profiles and
// placement groups, their security group, and the zone with their records. The
// head node is among the instances, so nothing is launched behind its back, and
// the head node need not wait for any of this when the stack is created.
func (b *builder) fleetCleanup() {
	before := slices.Clone(b.queueStacks)
	if b.computeGroup != nil {
		before = append(before, *b.computeGroup)
	}
	if b.zoneCleanup != nil {
		before = append(before, *b.zoneCleanup)
	}
	b.fleetEnd = b.t.Add("TerminateComputeFleetCustomResource", b.custom(cfn.CustomResource{
		"Action": terminateFleet, "StackName": cfn.StackName,
	}), cfn.DependsOn(before...))
}
