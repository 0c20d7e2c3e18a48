//go:build linux

package permissions

import "pcluster/internal/sandbox/iam/policy"

// ask is a need that is written down: who calls what in our code, or AWS in our name.
func ask(caller, action, resource string, context ...string) need {
	n := need{Caller: caller, Operation: action, Request: policy.Request{Action: action, Resource: resource}}
	for i := 0; i < len(context); i += 2 {
		n.Request = n.Request.With(context[i], context[i+1])
	}
	return n
}

// written are needs that the region does not ask for, or has not the services for.
var written = map[string][]need{
	"clusters": {
		// facts/live asks about keys, groups of reservations and roles of the user's own.
		ask("pcluster", "kms:DescribeKey", "arn:aws:kms:us-east-1:111122223333:key/k"),
		ask("pcluster", "resource-groups:GetGroupConfiguration", "arn:aws:resource-groups:us-east-1:111122223333:group/g"),
		ask("pcluster", "resource-groups:ListGroupResources", "arn:aws:resource-groups:us-east-1:111122223333:group/g"),
		ask("pcluster", "iam:GetRole", "arn:aws:iam::111122223333:role/path/head"),
		ask("pcluster", "iam:GetInstanceProfile", "arn:aws:iam::111122223333:instance-profile/path/login"),
		ask("pcluster", "route53:GetHostedZone", "arn:aws:route53:::hostedzone/Z0123456789ABCDEFGHIJ"),
		// cluster.Exporter, when it is interrupted.
		ask("pcluster", "logs:CancelExportTask", "*"),
		// stack.headNode: an address that the file names has no tag of the cluster's.
		ask("CloudFormation", "ec2:AssociateAddress", "arn:aws:ec2:us-east-1:111122223333:elastic-ip/eipalloc-1"),
		ask("CloudFormation", "ec2:DisassociateAddress", "arn:aws:ec2:us-east-1:111122223333:elastic-ip/eipalloc-1"),
		ask("CloudFormation", "ec2:DisassociateAddress", "arn:aws:ec2:us-east-1:111122223333:network-interface/eni-1", cluster1...),
		// stack.cleanupFunction: CloudFormation asks it for its custom resources.
		ask("CloudFormation", "lambda:InvokeFunction", "arn:aws:lambda:us-east-1:111122223333:function:pcluster-CleanupResources-25f58119"),
		// stack.ebs and stack.lustre, with snapshots and backups.
		ask("CloudFormation", "ec2:CreateSnapshot", "arn:aws:ec2:us-east-1::snapshot/*"),
		ask("CloudFormation", "ec2:CreateSnapshot", "arn:aws:ec2:us-east-1:111122223333:volume/vol-1", cluster1...),
		ask("CloudFormation", "fsx:CreateFileSystemFromBackup", "arn:aws:fsx:us-east-1:111122223333:backup/backup-1"),
		ask("CloudFormation", "fsx:CreateFileSystemFromBackup", "arn:aws:fsx:us-east-1:111122223333:file-system/*"),
		// Amazon FSx for Lustre User Guide, "Using service-linked roles": repositories of data are reached by one.
		ask("CloudFormation", "iam:CreateServiceLinkedRole", "arn:aws:iam::111122223333:role/aws-service-role/fsx.amazonaws.com/AWSServiceRoleForAmazonFSx", "iam:AWSServiceName", "fsx.amazonaws.com"),
		ask("CloudFormation", "iam:CreateServiceLinkedRole", "arn:aws:iam::111122223333:role/aws-service-role/s3.data-source.lustre.fsx.amazonaws.com/AWSServiceRoleForFSxS3Access_fs-1", "iam:AWSServiceName", "s3.data-source.lustre.fsx.amazonaws.com"),
		ask("CloudFormation", "iam:PutRolePolicy", "arn:aws:iam::111122223333:role/aws-service-role/s3.data-source.lustre.fsx.amazonaws.com/AWSServiceRoleForFSxS3Access_fs-1"),
		// The first login nodes of an account.
		ask("CloudFormation", "iam:CreateServiceLinkedRole", "arn:aws:iam::111122223333:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling", "iam:AWSServiceName", "autoscaling.amazonaws.com"),
		ask("CloudFormation", "iam:CreateServiceLinkedRole", "arn:aws:iam::111122223333:role/aws-service-role/elasticloadbalancing.amazonaws.com/AWSServiceRoleForElasticLoadBalancing", "iam:AWSServiceName", "elasticloadbalancing.amazonaws.com"),
		// Disks and file systems with a key of the user's: EC2, EFS and FSx use it in their name. (Amazon EBS User Guide: Amazon EBS encryption, required permissions.)
		ask("EC2", "kms:CreateGrant", "arn:aws:kms:us-east-1:111122223333:key/k", "kms:GrantIsForAWSResource", "true"),
		ask("EC2", "kms:GenerateDataKeyWithoutPlaintext", "arn:aws:kms:us-east-1:111122223333:key/k", "kms:ViaService", "ec2.us-east-1.amazonaws.com"),
		ask("EC2", "kms:Decrypt", "arn:aws:kms:us-east-1:111122223333:key/k", "kms:ViaService", "ec2.us-east-1.amazonaws.com"),
		ask("EFS", "kms:Decrypt", "arn:aws:kms:us-east-1:111122223333:key/k", "kms:ViaService", "elasticfilesystem.us-east-1.amazonaws.com"),
		ask("FSx", "kms:Decrypt", "arn:aws:kms:us-east-1:111122223333:key/k", "kms:ViaService", "fsx.us-east-1.amazonaws.com"),
		// stack.batchQueue and stack.batchImage.
		ask("CloudFormation", "codebuild:CreateProject", "arn:aws:codebuild:us-east-1:111122223333:project/pcluster-lab-build-docker-images-project"),
		ask("CloudFormation", "codebuild:BatchGetProjects", "arn:aws:codebuild:us-east-1:111122223333:project/pcluster-lab-build-docker-images-project"),
		ask("CloudFormation", "codebuild:DeleteProject", "arn:aws:codebuild:us-east-1:111122223333:project/pcluster-lab-build-docker-images-project"),
		ask("CloudFormation", "ecr:CreateRepository", "arn:aws:ecr:us-east-1:111122223333:repository/lab-parallelclusterdockerimagesrepo-abcdef"),
		ask("CloudFormation", "batch:CreateComputeEnvironment", "arn:aws:batch:us-east-1:111122223333:compute-environment/PclusterComputeEnvironment-abc"),
		ask("CloudFormation", "batch:CreateJobQueue", "arn:aws:batch:us-east-1:111122223333:job-queue/PclusterJobQueue-abc"),
		ask("CloudFormation", "batch:RegisterJobDefinition", "arn:aws:batch:us-east-1:111122223333:job-definition/PclusterJobDefinitionSerial-abc"),
		ask("CloudFormation", "iam:PassRole", "arn:aws:iam::111122223333:role/parallelcluster/lab/lab-PclusterCodeBuildRole-ABC", "iam:PassedToService", "codebuild.amazonaws.com"),
		ask("CloudFormation", "iam:PassRole", "arn:aws:iam::111122223333:role/parallelcluster/lab/lab-PclusterJobRole-ABC", "iam:PassedToService", "ecs-tasks.amazonaws.com"),
		ask("CloudFormation", "iam:PassRole", "arn:aws:iam::111122223333:role/parallelcluster/lab/lab-PclusterBatchSpotRole-ABC", "iam:PassedToService", "spotfleet.amazonaws.com"),
		ask("CloudFormation", "iam:CreateServiceLinkedRole", "arn:aws:iam::111122223333:role/aws-service-role/batch.amazonaws.com/AWSServiceRoleForBatch", "iam:AWSServiceName", "batch.amazonaws.com"),
	},
	"images": {
		ask("pcluster", "logs:CancelExportTask", "*"), // cluster.Exporter, when it is interrupted
		// cluster.Operator.ensureBucket, if the account has no cluster yet.
		ask("pcluster", "s3:CreateBucket", "arn:aws:s3:::parallelcluster-0123456789abcdef-v1-do-not-delete"),
		ask("pcluster", "s3:PutBucketPolicy", "arn:aws:s3:::parallelcluster-0123456789abcdef-v1-do-not-delete"),
		ask("pcluster", "s3:PutBucketVersioning", "arn:aws:s3:::parallelcluster-0123456789abcdef-v1-do-not-delete"),
		ask("pcluster", "s3:PutEncryptionConfiguration", "arn:aws:s3:::parallelcluster-0123456789abcdef-v1-do-not-delete"),
		// The account's first image.
		ask("CloudFormation", "iam:CreateServiceLinkedRole", "arn:aws:iam::111122223333:role/aws-service-role/imagebuilder.amazonaws.com/AWSServiceRoleForImageBuilder", "iam:AWSServiceName", "imagebuilder.amazonaws.com"),
		ask("CloudFormation", "imagebuilder:GetComponent", "arn:aws:imagebuilder:us-east-1:aws:component/update-linux/1.0.0/1"),
	},
}

// cluster1 is the context of a resource of a cluster.
var cluster1 = []string{"aws:ResourceTag/parallelcluster:cluster-name", "one"}
