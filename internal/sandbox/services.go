//go:build linux

package sandbox

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	awssecrets "github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"pcluster/internal/cluster"
	"pcluster/internal/sandbox/autoscaling"
	"pcluster/internal/sandbox/batch"
	"pcluster/internal/sandbox/cloudformation"
	"pcluster/internal/sandbox/cloudformation/resource"
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
	"pcluster/internal/sandbox/kms"
	"pcluster/internal/sandbox/lambda"
	"pcluster/internal/sandbox/logs"
	"pcluster/internal/sandbox/rds"
	"pcluster/internal/sandbox/resourcegroups"
	"pcluster/internal/sandbox/route53"
	"pcluster/internal/sandbox/s3"
	"pcluster/internal/sandbox/secretsmanager"
	"pcluster/internal/sandbox/sns"
	"pcluster/internal/sandbox/ssm"
	"pcluster/internal/sandbox/sts"
	"pcluster/internal/sandbox/wire"
)

// A ground is what the services stand on: machines, and the network between them.
type ground struct {
	machines ec2.Machines
	network  interface {
		ec2.Network
		elbv2.Network
		Dial(ctx context.Context, network, address string) (net.Conn, error)
	}
}

// openServices opens the services in the order of what they need of each other.
func (r *Region) openServices(on ground) (err error) {
	do := func(open func() error) {
		if err == nil {
			err = open()
		}
	}
	id, db := r.identity, r.db
	do(func() (err error) { r.iam, err = iam.New(db, id); return })
	do(func() (err error) { r.sts = sts.New(id, r.iam); return })
	do(func() (err error) { r.secret, err = secretsmanager.New(db, id); return })
	do(func() (err error) { r.ssm, err = ssm.New(db, id); return })
	do(func() (err error) { r.keys, err = kms.New(db, id); return })
	do(func() (err error) { r.groups, err = resourcegroups.New(db, id); return })
	do(func() (err error) { r.watch, err = cloudwatch.New(db, id); return })
	do(func() (err error) { r.ddb, err = dynamodb.New(db, id); return })
	do(func() (err error) {
		if r.s3, err = s3.New(db, id, r.home.path("s3")); err == nil {
			r.s3.Authorize = r.authorizeS3
		}
		return
	})
	do(func() (err error) {
		r.logs, err = logs.New(db, id, r.home.path("logs"), logs.WithObjects(r.s3), logs.WithMetrics(r.watch))
		return
	})
	do(func() (err error) {
		r.ec2, err = ec2.New(db, id, ec2.Config{
			Dir: r.home.path("ec2"), Machines: on.machines, Network: r.reachable(on.network), Profiles: r.iam, Log: r.log,
			BaseLayers: func(context.Context) ([]string, error) { return r.layers, nil }, ReservationGroup: r.groups.Reservations, KeyARN: r.keys.ARN,
		})
		return
	})
	do(func() (err error) {
		r.elb, err = elbv2.New(db, id, elbv2.Config{EC2: r.ec2, Network: on.network, Names: r.reachByName, Log: r.log})
		return
	})
	do(func() (err error) {
		r.scaling, err = autoscaling.New(db, id, autoscaling.Config{EC2: r.ec2, Balancers: r.elb, Log: r.log})
		return
	})
	do(func() (err error) { r.dns, err = route53.New(db, id, r.ec2); return })
	do(func() (err error) { r.efs, err = efs.New(db, id, r.home.path("filesystems", "efs"), r.ec2); return })
	do(func() (err error) {
		r.fsx, err = fsx.New(db, id, r.home.path("filesystems", "fsx"), r.ec2, r.s3)
		return
	})
	do(func() (err error) {
		r.lambda, err = lambda.New(db, id, lambda.Config{
			Dir: r.home.path("lambda"), Objects: r.s3, Credentials: r.iam, Logs: r.logs,
			Endpoint: r.endpoint, CABundle: r.home.CABundle(), Log: r.log,
		})
		return
	})
	do(func() (err error) { r.sns, err = sns.New(db, id, r.lambda); return })
	do(func() (err error) {
		r.builder, err = imagebuilder.New(db, id, imagebuilder.Config{
			Dir: r.home.path("imagebuilder"), EC2: r.ec2, Logs: r.logs, SNS: r.sns, Objects: r.s3, Program: nodeProgram, Log: r.log,
		})
		return
	})
	do(func() (err error) { r.ecr, err = ecr.New(db, id, r.home.path("ecr")); return })
	do(func() (err error) {
		r.builds, err = codebuild.New(db, id, codebuild.Config{Images: r.ecr, Logs: r.logs, Objects: r.s3, May: r.roleMay, Log: r.log})
		return
	})
	do(func() (err error) {
		r.batch, err = batch.New(db, id, batch.Config{Dir: r.home.path("batch"), EC2: r.ec2, Images: r.ecr, Logs: r.logs, Credentials: r.iam, Log: r.log})
		return
	})
	do(func() (err error) { r.rds, err = rds.New(db, r.ec2, on.machines, on.network); return })
	do(func() (err error) {
		r.cfn, err = cloudformation.New(db, id, cloudformation.Config{
			Services: resource.Services{
				EC2: ec2For{r.ec2, r.onBehalf}, IAM: iamFor{r.iam, r.onBehalf}, EFS: efsFor{r.efs, r.onBehalf}, FSx: fsxFor{r.fsx, r.onBehalf},
				Logs: logsFor{r.logs, r.onBehalf}, DynamoDB: dynamodbFor{r.ddb, r.onBehalf}, Route53: route53For{r.dns, r.onBehalf},
				Lambda: lambdaFor{r.lambda, r.onBehalf}, CloudWatch: cloudwatchFor{r.watch, r.onBehalf}, S3: r.s3Client(),
				SecretsManager: secretsmanagerFor{r.secret, r.onBehalf}, SSM: ssmFor{r.ssm, r.onBehalf}, ELBv2: elbv2For{r.elb, r.onBehalf},
				AutoScaling: autoscalingFor{r.scaling, r.onBehalf}, ImageBuilder: imagebuilderFor{r.builder, r.onBehalf}, SNS: snsFor{r.sns, r.onBehalf},
				Batch: batchFor{r.batch, r.onBehalf}, ECR: ecrFor{r.ecr, r.onBehalf}, CodeBuild: codebuildFor{r.builds, r.onBehalf},
			},
			Objects: templates{r}, Parameters: r.ssm, Secrets: r.secret, Endpoint: r.endpoint(), Permissions: r.held, Log: r.log,
		})
		return
	})
	if err != nil {
		return fmt.Errorf("region's services: %w", err)
	}
	return nil
}

// instances is EC2 for the metadata service, which also tells what Auto Scaling has in
// mind.
type instances struct {
	*ec2.Service
	scaling *autoscaling.Service
}

// Metadata returns the metadata of the instance that has the private address.
func (i instances) Metadata(addr netip.Addr) (ec2.Metadata, bool) {
	m, ok := i.Service.Metadata(addr)
	if ok {
		m.TargetState = i.scaling.TargetState(aws.ToString(m.Instance.InstanceId))
	}
	return m, ok
}

// reachable is the region's network as EC2 sees it.
func (r *Region) reachable(network ec2.Network) ec2.Network {
	if !r.settings.SSHConfig {
		return network
	}
	if r.ssh == nil {
		r.ssh = &reachableNetwork{Network: r.net, home: r.home, log: r.log}
	}
	return r.ssh
}

// reachByName makes plain ssh on the host reach load balancers by their names.
func (r *Region) reachByName(names []string) {
	if r.ssh != nil {
		r.ssh.setNames(names)
	}
}

// handlers are the services that speak through the codec, by the name of their
// API's model.
func (r *Region) handlers() (map[string]http.Handler, error) {
	services := map[string]interface{ Register(*wire.Service) }{
		"autoscaling": r.scaling, "batch": r.batch, "cloudformation": r.cfn, "cloudwatch": r.watch, "codebuild": r.builds, "dynamodb": r.ddb, "ec2": r.ec2,
		"ecr": r.ecr, "ecs": batch.ECS{Service: r.batch}, "efs": r.efs, "elbv2": r.elb, "fsx": r.fsx,
		"iam": r.iam, "imagebuilder": r.builder, "kms": r.keys, "resource-groups": r.groups, "sns": r.sns, "lambda": r.lambda, "logs": r.logs, "route53": r.dns, "secretsmanager": r.secret, "ssm": r.ssm, "sts": r.sts,
	}
	handlers := map[string]http.Handler{}
	for name, s := range services {
		api, err := wire.NewService(name)
		if err != nil {
			return nil, err
		}
		s.Register(api)
		handlers[name] = api
	}
	return handlers, nil
}

// s3Client is how CloudFormation makes buckets: S3 speaks HTTP only, so it is
// asked through the region's own endpoint.
func (r *Region) s3Client() *awss3.Client {
	roots := x509.NewCertPool()
	roots.AddCert(r.ca.cert)
	id, secret := r.iam.RootCredentials()
	return awss3.NewFromConfig(aws.Config{
		Region: r.identity.Name(), BaseEndpoint: aws.String(r.endpoint()),
		Credentials: credentials.NewStaticCredentialsProvider(id, secret, ""),
		HTTPClient:  &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}},
	}, func(o *awss3.Options) { o.UsePathStyle = true })
}

// secretValue reads a secret's text.
func (r *Region) secretValue(ctx context.Context, arn string) (string, error) {
	out, err := r.secret.GetSecretValue(ctx, &awssecrets.GetSecretValueInput{SecretId: &arn})
	if err != nil {
		return "", fmt.Errorf("secret %s: %w", arn, err)
	}
	return aws.ToString(out.SecretString), nil
}

// nodeProgram is the node program for this host's machines. Image builds run its
// executor.
func nodeProgram() ([]byte, error) {
	programs := cluster.Embedded()
	if dir := os.Getenv(cluster.ProgramsVariable); dir != "" {
		programs = cluster.ProgramsIn(dir)
	}
	return programs.Program(runtime.GOARCH)
}
