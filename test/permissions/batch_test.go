//go:build linux

package permissions

import (
	"slices"
	"strings"
	"testing"
)

// The uses of roles that clusters of AWS Batch and image builds have, and others have not.

const (
	jobCommands = "internal/node/awsb/"
	entryPoint  = "the entry point of the jobs' image, with aws s3 cp"
	building    = "CodeBuild, which fetches the source and writes the log"
	pushing     = "docker push, in the build"
	lambdaLog   = "Lambda, for the function's output"
)

// ofBatch are the calls of the roles of clusters of AWS Batch: who submits jobs on the
// head node does so with its role, who submits them elsewhere with the one for users.
func ofBatch() []use {
	const (
		batch       = "arn:aws:batch:" + goldenPlace
		environment = "AWSBatch-<part of <PclusterComputeEnvironment>>_Batch_0/"
		files       = goldenPrefix + "3.16.100/clusters/demo-abcdefghijklmnop/batch/job-1/"
		project     = "arn:aws:codebuild:" + goldenPlace + "project/pcluster-demo-build-docker-images-project"
		source      = goldenPrefix + "3.16.100/clusters/demo-abcdefghijklmnop/custom_resources/scheduler_resources.zip"
	)
	out := []use{
		{"head", "cloudformation:DescribeStacks", "<AWS::StackId>", nil, jobCommands + "awsb.go DescribeStacks"},
		{"batch user", "cloudformation:DescribeStacks", "arn:aws:cloudformation:" + goldenPlace + "stack/demo/1", nil, jobCommands + "awsb.go DescribeStacks"},
		{"job", "s3:GetObject", files + "job.sh", nil, entryPoint},
		{"job", "s3:ListBucket", goldenBucket, map[string][]string{"s3:prefix": {"parallelcluster/3.16.100/clusters/demo-abcdefghijklmnop/batch/job-1/"}}, entryPoint},
		{"function", "codebuild:StartBuild", project, nil, "internal/node/cleanup/build.go StartBuild"},
		{"function", "codebuild:BatchGetBuilds", project, nil, "internal/node/cleanup/build.go BatchGetBuilds"},
		// AWS CodeBuild User Guide: Create a CodeBuild service role.
		{"build", "s3:GetObject", source, nil, building},
		{"build", "s3:GetObjectVersion", source, nil, building},
		{"build", "logs:CreateLogStream", "<PclusterCodeBuildLogGroup.Arn>", nil, building},
		{"build", "logs:PutLogEvents", "<PclusterCodeBuildLogGroup.Arn>", nil, building},
		{"build", "ecr:GetAuthorizationToken", "*", nil, "aws ecr get-login-password, in the build"},
	}
	// Amazon ECR User Guide: Required IAM permissions for pushing an image.
	for _, action := range []string{"BatchCheckLayerAvailability", "InitiateLayerUpload", "UploadLayerPart", "CompleteLayerUpload", "PutImage"} {
		out = append(out, use{"build", "ecr:" + action, "<ParallelClusterDockerImagesRepo.Arn>", nil, pushing})
	}
	for _, role := range []string{"head", "batch user"} {
		out = append(out,
			use{role, "s3:PutObject", files + "job.sh", nil, jobCommands + "submit.go PutObject"},
			use{role, "batch:ListJobs", "*", nil, jobCommands + "jobs.go ListJobs"},
			use{role, "batch:DescribeJobs", "*", nil, jobCommands + "jobs.go DescribeJobs"},
			use{role, "batch:TerminateJob", batch + "job/1", nil, jobCommands + "jobs.go TerminateJob"},
			use{role, "logs:GetLogEvents", "arn:aws:logs:" + goldenPlace + "log-group:/aws/batch/job:log-stream:PclusterJobDefinitionSerial-1/default/1", nil, jobCommands + "jobs.go GetLogEvents"},
			use{role, "batch:DescribeJobQueues", "*", nil, jobCommands + "places.go DescribeJobQueues"},
			use{role, "batch:DescribeComputeEnvironments", "*", nil, jobCommands + "places.go DescribeComputeEnvironments"},
			use{role, "ecs:ListContainerInstances", "arn:aws:ecs:" + goldenPlace + "cluster/" + strings.TrimSuffix(environment, "/"), nil, jobCommands + "places.go ListContainerInstances"},
			use{role, "ecs:DescribeContainerInstances", "arn:aws:ecs:" + goldenPlace + "container-instance/" + environment + "1", nil, jobCommands + "places.go DescribeContainerInstances"},
			use{role, "ec2:DescribeInstances", "*", nil, jobCommands + "places.go DescribeInstances"},
		)
		for _, id := range []string{"PclusterJobQueue", "PclusterJobDefinitionSerial", "PclusterJobDefinitionMNP"} {
			out = append(out, use{role, "batch:SubmitJob", "<" + id + ">", nil, jobCommands + "submit.go SubmitJob"})
		}
	}
	return out
}

// ending is what CloudFormation does for a type of resource when a stack is deleted.
const ending = "CloudFormation, which in the function's name deletes "

// ofImages are the calls of the roles of image builds: the function deletes the stack,
// and with it, in its own name, every resource.
func ofImages() []use {
	const (
		place   = "us-east-1:111122223333:"
		builder = "arn:aws:imagebuilder:" + place
		role    = "arn:aws:iam::111122223333:role/parallelcluster/ParallelClusterImage-1"
		profile = "arn:aws:iam::111122223333:instance-profile/parallelcluster/ParallelClusterImage-1"
		log     = "arn:aws:logs:" + place + "log-group:/aws/lambda/ParallelClusterImage-1"
		image   = "internal/node/cleanup/image.go "
	)
	out := []use{
		{"image function", "cloudformation:DeleteStack", "arn:aws:cloudformation:" + place + "stack/img/1", nil, image + "DeleteStack"},
		{"image function", "ec2:CreateTags", "arn:aws:ec2:eu-west-1::image/ami-1", nil, image + "CreateTags"},
		{"image function", "logs:CreateLogStream", log + ":log-stream:y", nil, lambdaLog},
		{"image function", "logs:PutLogEvents", log + ":log-stream:y", nil, lambdaLog},
		{"build instance", "ec2:CreateTags", "arn:aws:ec2:us-east-1::image/ami-1", nil, "internal/node/tagimage.go CreateTags"},
		{"build instance", "s3:GetObject", "arn:aws:s3:::b/parallelcluster/3.16.100/programs/0/pcluster-node", nil, "our component parallelcluster.yaml, with S3Download"},
		{"build instance", "s3:GetObject", "arn:aws:s3:::bucket/install.sh", nil, "our component script.yaml, with S3Download"},
	}
	for _, d := range []struct {
		kind, resource string
		actions        []string
	}{
		{"AWS::IAM::Role", role, []string{"iam:DetachRolePolicy", "iam:DeleteRole", "iam:DeleteRolePolicy"}},
		{"AWS::IAM::InstanceProfile", profile, []string{"iam:DeleteInstanceProfile", "iam:RemoveRoleFromInstanceProfile"}},
		{"AWS::ImageBuilder::InfrastructureConfiguration", builder + "infrastructure-configuration/parallelclusterimage-1", []string{"imagebuilder:DeleteInfrastructureConfiguration"}},
		{"AWS::ImageBuilder::Component", builder + "component/parallelclusterimage-1/3.16.100/1", []string{"imagebuilder:DeleteComponent"}},
		{"AWS::ImageBuilder::ImageRecipe", builder + "image-recipe/parallelclusterimage-1/3.16.100", []string{"imagebuilder:DeleteImageRecipe"}},
		{"AWS::ImageBuilder::DistributionConfiguration", builder + "distribution-configuration/parallelclusterimage-1", []string{"imagebuilder:DeleteDistributionConfiguration"}},
		{"AWS::ImageBuilder::Image", builder + "image/parallelclusterimage-1/3.16.100/1", []string{"imagebuilder:DeleteImage", "imagebuilder:GetImage", "imagebuilder:CancelImageCreation"}},
		{"AWS::Lambda::Function", "arn:aws:lambda:" + place + "function:ParallelClusterImage-1", []string{"lambda:DeleteFunction"}},
		{"AWS::Lambda::Permission", "arn:aws:lambda:" + place + "function:ParallelClusterImage-1", []string{"lambda:RemovePermission"}},
		{"AWS::Logs::LogGroup", log, []string{"logs:DeleteLogGroup"}},
		{"AWS::SNS::Topic", "arn:aws:sns:" + place + "ParallelClusterImage-1", []string{"sns:GetTopicAttributes", "sns:DeleteTopic"}},
		{"AWS::SNS::Subscription", "arn:aws:sns:" + place + "ParallelClusterImage-1", []string{"sns:Unsubscribe"}},
	} {
		for _, a := range d.actions {
			out = append(out, use{"image function", a, d.resource, nil, ending + d.kind})
		}
	}
	return out
}

// What is put down to CloudFormation is among what AWS says that it calls.
func TestUsesOfRolesAreCloudFormations(t *testing.T) {
	actions, found := handlers(t), 0
	for _, u := range uses {
		kind, ok := strings.CutPrefix(u.by, ending)
		if !ok {
			continue
		}
		if found++; !slices.Contains(actions[kind], u.action) {
			t.Errorf("CloudFormation's handlers of %s do not call %s", kind, u.action)
		}
	}
	if found < 15 {
		t.Errorf("only %d uses are CloudFormation's", found)
	}
}
