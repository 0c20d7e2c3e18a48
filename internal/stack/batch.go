package stack

import (
	"slices"
	"strings"

	"pcluster/internal/cfn"
	"pcluster/internal/config"
)

// A cluster of AWS Batch has, in place of queues of Slurm, one compute environment
// with one job queue, and two job definitions: for jobs on one node and on several.
// Their image is built from the cluster's own build context when the stack is made,
// and tagged with the operating system. See package batchimage for what is in it.

// batchHandles are what outputs and permissions say about jobs.
type batchHandles struct {
	environment, queue    cfn.Handle
	serial, multinode     cfn.Handle
	repository, project   cfn.Handle
	user                  cfn.Handle
	jobRole, instanceRole cfn.Text
}

func (b *builder) batch() bool { return b.c.Scheduling.Scheduler == config.AWSBatch }

// ImageContextKey returns the key of the archive that the image of jobs is built from.
func ImageContextKey(directory string) string {
	return directory + "/custom_resources/scheduler_resources.zip"
}

// buildMinutes and queuedMinutes are the longest that a build may take and may wait.
// Together they are less than the function that watches it may take.
const buildMinutes, queuedMinutes = 9, 5

// batchQueue adds everything between a job and the instance that it runs on.
func (b *builder) batchQueue() {
	q := &b.c.Scheduling.AwsBatchQueues[0]
	b.batchImage()

	r := &q.ComputeResources[0]
	groups := b.computeGroups().union(ids(q.Networking.AdditionalSecurityGroups))
	template := b.t.Add("PclusterComputeEnvironmentLaunchTemplate", cfn.LaunchTemplate{
		LaunchTemplateData: cfn.LaunchTemplateData{
			MetadataOptions:   b.metadata(),
			NetworkInterfaces: batchInterfaces(q, groups),
			TagSpecifications: []cfn.TagSpecification{{ResourceType: "volume", Tags: cfn.Tags(b.nodeTags(compute, nil))}},
		}, TagSpecifications: b.ofTemplate()})
	tags := map[string]cfn.Text{}
	for _, t := range b.instanceTags(b.nodeTags(compute, nil), compute, "", "NONE") {
		tags[t.Key] = t.Value
	}
	resources := cfn.BatchComputeResources{
		Type: "EC2", MinvCpus: r.MinvCpus, DesiredvCpus: r.DesiredvCpus, MaxvCpus: r.MaxvCpus, InstanceTypes: r.InstanceTypes,
		Subnets: ids(q.Networking.SubnetIds), SecurityGroupIds: groups,
		InstanceRole: b.batchInstanceProfile(), LaunchTemplate: &cfn.BatchLaunchTemplate{LaunchTemplateId: template.Ref(), Version: template.Att(cfn.LatestVersionNumber)}, Tags: tags,
	}
	if q.CapacityType == "SPOT" {
		resources.Type, resources.BidPercentage = "SPOT", r.SpotBidPercentage
		resources.SpotIamFleetRole = b.spotRole()
	}
	b.jobs.environment = b.t.Add("PclusterComputeEnvironment", cfn.BatchComputeEnvironment{
		Type: "MANAGED", State: "ENABLED", ComputeResources: resources, Tags: b.batchTags(),
	})
	b.jobs.queue = b.t.Add("PclusterJobQueue", cfn.BatchJobQueue{
		Priority: 1, Tags: b.batchTags(),
		ComputeEnvironmentOrder: []cfn.BatchQueueEnvironment{{ComputeEnvironment: b.jobs.environment.Ref(), Order: 1}},
	})
}

// batchInterfaces say whether instances have public addresses, which a compute
// environment has no words for; without them the subnet decides. Batch adds the subnet.
func batchInterfaces(q *config.AwsBatchQueue, groups groups) []cfn.LaunchInterface {
	if q.Networking.AssignPublicIp == nil {
		return nil
	}
	return []cfn.LaunchInterface{{DeviceIndex: 0, Groups: groups, AssociatePublicIpAddress: q.Networking.AssignPublicIp}}
}

// jobDefinitions adds what awsbsub submits. They tell jobs the head node's address,
// whose directories they mount.
func (b *builder) jobDefinitions() {
	container := b.container()
	b.jobs.serial = b.t.Add("PclusterJobDefinitionSerial", cfn.BatchJobDefinition{Type: "container", ContainerProperties: &container, Tags: b.batchTags()})
	b.jobs.multinode = b.t.Add("PclusterJobDefinitionMNP", cfn.BatchJobDefinition{
		Type: "multinode", Tags: b.batchTags(),
		NodeProperties: &cfn.BatchNodes{MainNode: 0, NumNodes: 1, NodeRangeProperties: []cfn.BatchNodeRange{{TargetNodes: "0:", Container: container}}},
	})
}

// container is where a job runs. It is privileged, since it mounts file systems.
func (b *builder) container() cfn.BatchContainer {
	var shared []string
	var efsIDs []cfn.Text
	var efsDirs []string
	for i := range b.c.SharedStorage {
		s := &b.c.SharedStorage[i]
		switch {
		case s.StorageType == config.Efs:
			for _, r := range b.storage {
				if r.name == s.Name {
					efsIDs = append(efsIDs, r.ids...)
				}
			}
			efsDirs = append(efsDirs, s.MountDir)
		case s.EbsSettings != nil && s.EbsSettings.Raid != nil:
		default:
			shared = append(shared, s.MountDir)
		}
	}
	v := func(name string, value cfn.Text) cfn.BatchVariable {
		return cfn.BatchVariable{Name: name, Value: value}
	}
	image := cfn.Join("", b.p.Account+".dkr.ecr."+b.p.Region+"."+b.urlSuffix()+"/", b.jobs.repository.Ref(), ":"+b.c.Image.Os)
	return cfn.BatchContainer{
		Image: image, JobRoleArn: b.jobs.jobRole, Privileged: true,
		Vcpus: 1, Memory: 512, // awsbsub overrides these, which it could not if they were resource requirements
		Environment: []cfn.BatchVariable{
			v("PCLUSTER_AWS_REGION", b.p.Region),
			v("PCLUSTER_STACK_NAME", b.p.ClusterName),
			v("PCLUSTER_SHARED_DIRS", strings.Join(shared, ",")),
			v("PCLUSTER_EFS_FS_IDS", joined(efsIDs)),
			v("PCLUSTER_EFS_SHARED_DIRS", strings.Join(efsDirs, ",")),
			v("PCLUSTER_RAID_SHARED_DIR", b.raidDirectory()),
			v("PCLUSTER_HEAD_NODE_IP", b.eni.Att(cfn.PrimaryPrivateIP)),
		},
	}
}

func joined(list []cfn.Text) cfn.Text {
	if len(list) == 0 {
		return ""
	}
	return cfn.Join(",", list...)
}

// raidDirectory is where the array is mounted, or nothing.
func (b *builder) raidDirectory() string {
	for i := range b.c.SharedStorage {
		if s := &b.c.SharedStorage[i]; s.EbsSettings != nil && s.EbsSettings.Raid != nil {
			return s.MountDir
		}
	}
	return ""
}

// batchTags are the users' tags; resources of Batch get none from the stack.
func (b *builder) batchTags() map[string]cfn.Text {
	out := map[string]cfn.Text{}
	for _, t := range b.c.Tags {
		out[t.Key] = t.Value
	}
	return out
}

// batchImage adds the repository of the image of jobs and the project that builds
// it. The stack's function starts the build, when the stack is made or updated, and
// waits for it: a build that fails fails the stack with the build's own reason.
func (b *builder) batchImage() {
	b.jobs.repository = b.t.Add("ParallelClusterDockerImagesRepo", cfn.Repository{EmptyOnDelete: true})
	log := b.t.Add("PclusterCodeBuildLogGroup", cfn.LogGroup{
		LogGroupName: "/aws/parallelcluster/codebuild/" + b.p.ClusterName + "-CodeBuildDockerImageBuilderProject-" + b.p.Timestamp[:min(12, len(b.p.Timestamp))], RetentionInDays: b.retention(),
	}, cfn.OnDelete(b.c.Monitoring.Logs.CloudWatch.DeletionPolicy))
	context := ImageContextKey(b.p.ArtifactDir)
	bucket := "arn:" + b.p.Partition + ":s3:::" + b.p.Bucket
	role := b.t.Add("PclusterCodeBuildRole", b.functionRole("PclusterCodeBuildRole", "codebuild.amazonaws.com",
		allow([]string{"ecr:BatchCheckLayerAvailability", "ecr:CompleteLayerUpload", "ecr:InitiateLayerUpload", "ecr:PutImage", "ecr:UploadLayerPart"}, b.jobs.repository.Att(cfn.Arn)),
		allow([]string{"ecr:GetAuthorizationToken"}, "*"),
		allow([]string{"logs:CreateLogStream", "logs:PutLogEvents"}, log.Att(cfn.Arn)),
		allow([]string{"s3:GetObject", "s3:GetObjectVersion"}, bucket+"/"+context),
	))
	environment := cfn.BuildEnvironment{
		Type: "LINUX_CONTAINER", ComputeType: "BUILD_GENERAL1_SMALL", Image: "aws/codebuild/amazonlinux2-x86_64-standard:4.0", PrivilegedMode: true,
	}
	if b.f.Architecture(b.c) == "arm64" {
		environment.Type, environment.ComputeType, environment.Image = "ARM_CONTAINER", "BUILD_GENERAL1_LARGE", "aws/codebuild/amazonlinux2-aarch64-standard:2.0"
	}
	environment.EnvironmentVariables = []cfn.BuildVariable{
		{Name: "AWS_REGION", Value: cfn.Region}, {Name: "AWS_ACCOUNT_ID", Value: b.p.Account},
		{Name: "IMAGE_REPO_NAME", Value: b.jobs.repository.Ref()}, {Name: "IMAGE", Value: b.c.Image.Os},
	}
	b.jobs.project = b.t.Add("PclusterCodeBuildDockerImageBuilderProj", cfn.BuildProject{
		Name: buildProject(b.p.ClusterName), Description: "Builds the image of the jobs of cluster " + b.p.ClusterName, ServiceRole: role.Att(cfn.Arn),
		TimeoutInMinutes: buildMinutes, QueuedTimeoutInMinutes: queuedMinutes,
		Artifacts: cfn.BuildArtifacts{Type: "NO_ARTIFACTS"}, Source: cfn.BuildSource{Type: "S3", Location: b.p.Bucket + "/" + context},
		Environment: environment, LogsConfig: cfn.BuildLogs{CloudWatchLogs: cfn.BuildLogGroup{Status: "ENABLED", GroupName: log.Ref()}},
	})
	b.t.Add("ManageDockerImagesCustomResource", b.custom(cfn.CustomResource{
		"Action": buildImages, "CodeBuildProject": b.jobs.project.Ref(),
		"Source": b.p.Bucket + "/" + context, "Version": config.ToolVersion,
	}))
}

// buildProject is the name of the project that builds the image of jobs.
func buildProject(cluster string) string {
	return "pcluster-" + cluster + "-build-docker-images-project"
}

// functionRole is a role that a service takes.
func (b *builder) functionRole(id, service string, statements ...cfn.Statement) cfn.Role {
	return cfn.Role{
		RoleName: b.iamName(id, "AWS::IAM::Role"), Path: b.nodePath(), AssumeRolePolicyDocument: trust(service),
		PermissionsBoundary: b.c.Iam.PermissionsBoundary, Policies: []cfn.InlinePolicy{{PolicyName: id + "Policy", PolicyDocument: cfn.Allow(statements...)}},
	}
}

// batchInstanceProfile adds the role of the instances that Batch launches, and that
// of the jobs on them.
func (b *builder) batchInstanceProfile() cfn.Text {
	aws := "arn:" + b.p.Partition + ":iam::aws:policy/"
	role := b.t.Add("PclusterEcsInstanceRole", cfn.Role{
		RoleName: b.iamName("PclusterEcsInstanceRole", "AWS::IAM::Role"), Path: b.nodePath(), AssumeRolePolicyDocument: b.instances(),
		ManagedPolicyArns: []cfn.Text{aws + "service-role/AmazonEC2ContainerServiceforEC2Role"}, PermissionsBoundary: b.c.Iam.PermissionsBoundary,
	})
	job := cfn.Role{
		RoleName: b.iamName("PclusterJobRole", "AWS::IAM::Role"), Path: b.nodePath(), AssumeRolePolicyDocument: trust("ecs-tasks.amazonaws.com"),
		PermissionsBoundary: b.c.Iam.PermissionsBoundary,
		Policies:            []cfn.InlinePolicy{{PolicyName: "PclusterJobPolicy", PolicyDocument: cfn.Allow(b.insideJobs()...)}},
	}
	for _, p := range b.c.HeadNode.Iam.AdditionalIamPolicies {
		if !slices.Contains(job.ManagedPolicyArns, cfn.Text(p.Policy)) {
			job.ManagedPolicyArns = append(job.ManagedPolicyArns, p.Policy)
		}
	}
	b.jobs.jobRole = b.t.Add("PclusterJobRole", job).Att(cfn.Arn)
	return b.t.Add("IamInstanceProfile", cfn.InstanceProfile{
		InstanceProfileName: b.iamName("IamInstanceProfile", "AWS::IAM::InstanceProfile"), Path: b.nodePath(), Roles: []cfn.Text{role.Ref()}}).Ref()
}

// insideJobs is what a job may do: read what awsbsub left for it, and mount file
// systems.
func (b *builder) insideJobs() []cfn.Statement {
	bucket, files := b.jobFiles()
	return append([]cfn.Statement{
		allow([]string{"s3:GetObject"}, bucket+"/"+files),
		when(allow([]string{"s3:ListBucket"}, bucket), "StringLike", map[string]cfn.Text{"s3:prefix": files}),
	}, b.mountEFS(func(r storageResource) cfn.Text { return r.handle.Ref() })...)
}

// jobFiles are where awsbsub leaves what jobs need.
func (b *builder) jobFiles() (bucket, keys string) {
	return "arn:" + b.p.Partition + ":s3:::" + b.p.Bucket, b.p.ArtifactDir + "/batch/*"
}

// spotRole lets Batch request Spot instances.
func (b *builder) spotRole() cfn.Text {
	return b.t.Add("PclusterBatchSpotRole", cfn.Role{
		RoleName: b.iamName("PclusterBatchSpotRole", "AWS::IAM::Role"), Path: b.nodePath(), AssumeRolePolicyDocument: trust("spotfleet.amazonaws.com"),
		ManagedPolicyArns:   []cfn.Text{"arn:" + b.p.Partition + ":iam::aws:policy/service-role/AmazonEC2SpotFleetTaggingRole"},
		PermissionsBoundary: b.c.Iam.PermissionsBoundary,
	}).Att(cfn.Arn)
}

// jobStatements are what the commands for jobs, as awsbsub and awsbstat, do. The
// head node may do so, and whoever takes the cluster's role for users.
func (b *builder) jobStatements() []cfn.Statement {
	cluster := cfn.Join("", "AWSBatch-", cfn.Select(1, "compute-environment/", b.jobs.environment.Ref()), "*")
	bucket, files := b.jobFiles()
	return []cfn.Statement{
		allow([]string{"s3:PutObject"}, bucket+"/"+files),
		allow([]string{"batch:DescribeComputeEnvironments", "batch:DescribeJobQueues", "batch:DescribeJobs", "batch:ListJobs", "ec2:DescribeInstances"}, "*"),
		allow([]string{"batch:SubmitJob"}, b.jobs.queue.Ref(), b.jobs.serial.Ref(), b.jobs.multinode.Ref()),
		allow([]string{"batch:TerminateJob"}, b.arn("batch", "job/*")),
		allow([]string{"ecs:ListContainerInstances"}, cfn.Join("", b.arn("ecs", "cluster/"), cluster)),
		allow([]string{"ecs:DescribeContainerInstances"}, cfn.Join("", b.arn("ecs", "container-instance/"), cluster)),
		allow([]string{"logs:GetLogEvents"}, b.arn("logs", "log-group:/aws/batch/job:log-stream:PclusterJobDefinition*")),
	}
}

// batchHeadStatements are what the head node may do beside jobs. Instances are not
// its to launch.
func (b *builder) batchHeadStatements() []cfn.Statement {
	bucket := "arn:" + b.p.Partition + ":s3:::" + b.p.Bucket
	s := []cfn.Statement{
		allow([]string{"s3:GetObject", "s3:GetObjectVersion"}, bucket+"/"+b.p.ArtifactDir+"/*"),
		allow([]string{"s3:GetObject"}, b.programs()),
		allow([]string{"cloudformation:DescribeStacks"}, cfn.StackID),
	}
	s = append(s, b.findStorage()...)
	s = append(s, b.attachVolumes()...)
	s = append(s, b.report()...)
	if b.c.HeadNode.Dcv.Enabled {
		s = append(s, allow([]string{"s3:GetObject"}, "arn:"+b.p.Partition+":s3:::dcv-license."+b.p.Region+"/*"))
	}
	return s
}

// batchUser adds the role that users of the account take to submit jobs from elsewhere.
func (b *builder) batchUser() {
	s := append(b.jobStatements(), allow([]string{"cloudformation:DescribeStacks"}, b.arn("cloudformation", "stack/"+b.p.ClusterName+"/*")))
	b.jobs.user = b.t.Add("PclusterBatchUserRole", cfn.Role{
		RoleName: b.iamName("PclusterBatchUserRole", "AWS::IAM::Role"), Path: b.nodePath(), MaxSessionDuration: 36000,
		AssumeRolePolicyDocument: cfn.Allow(cfn.Statement{Action: []string{"sts:AssumeRole"},
			Principal: map[string]cfn.Text{"AWS": "arn:" + b.p.Partition + ":iam::" + b.p.Account + ":root"}}),
		PermissionsBoundary: b.c.Iam.PermissionsBoundary,
		Policies:            []cfn.InlinePolicy{{PolicyName: "BatchUserPolicy", PolicyDocument: cfn.Allow(s...)}},
	})
}

// batchOutputs are read by the commands for jobs, and by ours.
func (b *builder) batchOutputs() {
	for name, v := range map[string]cfn.Text{
		"BatchCliRequirements":       "aws-parallelcluster-awsbatch-cli<2.0.0",
		"BatchComputeEnvironmentArn": b.jobs.environment.Ref(), "BatchJobQueueArn": b.jobs.queue.Ref(),
		"BatchJobDefinitionArn": b.jobs.serial.Ref(), "BatchJobDefinitionMnpArn": b.jobs.multinode.Ref(),
		"ECRRepoName": b.jobs.repository.Ref(), "CodeBuildDockerImageBuilderProject": b.jobs.project.Ref(), "BatchUserRole": b.jobs.user.Ref(),
	} {
		b.t.Output(name, v, "")
	}
}
