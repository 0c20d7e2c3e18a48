//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// images measures builds of the seed's shape: a component from a bucket that
// installs and restarts, a test machine, the AMI, and the stack that deletes itself.
func (b *bench) images(ctx context.Context, runs int) error {
	const policy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}`
	data := filepath.Join(b.root, "test", "e2e", "testdata", "image")
	for _, argv := range [][]string{
		{b.aws, "iam", "create-policy", "--policy-name", "ParallelCluster_S3_GetObject_RPMs", "--policy-document", policy},
		{b.aws, "s3", "cp", filepath.Join(data, "packages.yaml"), "s3://sboinfrastructureassets/components/packages.yaml"},
		{b.aws, "imagebuilder", "create-component", "--name", "packages", "--semantic-version", "1.0.0", "--platform", "Linux",
			"--uri", "s3://sboinfrastructureassets/components/packages.yaml"},
	} {
		if out, err := b.output(ctx, argv...); err != nil && !strings.Contains(out+err.Error(), "xists") { // the document's policy may be adopted
			return err
		}
	}
	region, err := b.region()
	if err != nil {
		return err
	}
	trivial := filepath.Join(b.work, "trivial.yaml")
	const document = "schemaVersion: 1.0\nphases:\n  - name: build\n    steps:\n      - {name: one, action: ExecuteBash, inputs: {commands: ['true']}}\n"
	if err := os.WriteFile(trivial, []byte(document), 0o600); err != nil {
		return err
	}
	for n := range runs {
		took, err := b.timed(ctx, b.bin, "component", "run", trivial)
		if err != nil {
			return err
		}
		b.table.add("component run of a trivial document", "s", 4, took.Seconds())
		id := fmt.Sprintf("bench-image-%d", n)
		start := time.Now()
		if _, err := b.output(ctx, b.bin, "build-image", "-i", id, "-c", filepath.Join(data, "ami-config.yaml")); err != nil {
			return err
		}
		for {
			out, err := b.output(ctx, b.bin, "describe-image", "-i", id, "--query", "imageBuildStatus")
			if err != nil {
				return err
			}
			if status := strings.Trim(strings.TrimSpace(out), `"`); status == "BUILD_COMPLETE" {
				break
			} else if status != "BUILD_IN_PROGRESS" {
				return fmt.Errorf("image %s: %s", id, status)
			}
			select {
			case <-time.After(200 * time.Millisecond):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		took = time.Since(start)
		b.table.add("image of the seed's shape, without downloads", "s", 60, took.Seconds())
		commands, err := imageCommands(ctx, cloudwatchlogs.NewFromConfig(region), id)
		if err != nil {
			return err
		}
		r := b.table.add("of which beyond the commands of its components", "s", 10, (took - commands).Seconds())
		r.note = "two boots, a restart, the copy of the disk, the stack's own resources, looks every 0.2 s by a new process"
		if err := b.imageBoot(ctx, ec2.NewFromConfig(region), id); err != nil {
			return err
		}
		if _, err := b.output(ctx, b.bin, "delete-image", "-i", id); err != nil {
			return err
		}
	}
	return nil
}

// region is how the SDK reaches the region: rows about machines are not to measure the
// start of a command line.
func (b *bench) region() (aws.Config, error) {
	env := map[string]string{}
	for _, v := range b.env {
		name, value, _ := strings.Cut(v, "=")
		env[name] = strings.Trim(value, `'"`)
	}
	ca, err := os.ReadFile(env["AWS_CA_BUNDLE"])
	if err != nil {
		return aws.Config{}, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	return aws.Config{
		Region: env["AWS_REGION"], BaseEndpoint: aws.String(env["AWS_ENDPOINT_URL"]),
		Credentials: credentials.NewStaticCredentialsProvider(env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], ""),
		HTTPClient:  &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}},
	}, nil
}

// imageCommands returns how long the commands took that the components of an image
// ran, by the log of its build.
func imageCommands(ctx context.Context, logs *cloudwatchlogs.Client, id string) (time.Duration, error) {
	pages := cloudwatchlogs.NewFilterLogEventsPaginator(logs, &cloudwatchlogs.FilterLogEventsInput{LogGroupName: aws.String("/aws/imagebuilder/ParallelClusterImage-" + id)})
	var sum, begun int64 // milliseconds
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return 0, err
		}
		for _, e := range page.Events {
			switch text := aws.ToString(e.Message); {
			case strings.HasSuffix(text, ": STARTED EXECUTION"):
				begun = *e.Timestamp
			case strings.HasSuffix(text, ": FINISHED EXECUTION") && begun > 0:
				sum, begun = sum+*e.Timestamp-begun, 0
			}
		}
	}
	return time.Duration(sum) * time.Millisecond, nil
}

// imageBoot measures how long a machine of an image takes from the call that launches
// it until its user data starts the node program.
func (b *bench) imageBoot(ctx context.Context, region *ec2.Client, id string) error {
	ami, err := b.output(ctx, b.bin, "describe-image", "-i", id, "--query", "ec2AmiInfo.amiId")
	if err != nil {
		return err
	}
	const mark = "/var/lib/bench-started"
	userData := "#!/bin/sh\n/opt/parallelcluster/pcluster-node version && touch " + mark + "\n"
	start := time.Now()
	out, err := region.RunInstances(ctx, &ec2.RunInstancesInput{
		ImageId: aws.String(strings.Trim(strings.TrimSpace(ami), `"`)), InstanceType: types.InstanceTypeT3Micro, MinCount: aws.Int32(1), MaxCount: aws.Int32(1),
		SubnetId: aws.String("subnet-076ece71c00742d3c"), UserData: aws.String(base64.StdEncoding.EncodeToString([]byte(userData))),
	})
	if err != nil {
		return err
	}
	called := time.Since(start)
	instance := *out.Instances[0].InstanceId
	started := filepath.Join(b.home, "machines", instance, "root", mark)
	for {
		if info, err := os.Stat(started); err == nil {
			r := b.table.add("node from our image, launch to start of pcluster-node", "s", 3, info.ModTime().Sub(start).Seconds())
			r.note = fmt.Sprintf("the call of RunInstances %.0f ms of it", called.Seconds()*1000)
			break
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if _, err := region.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{instance}}); err != nil {
		return err
	}
	return ec2.NewInstanceTerminatedWaiter(region).Wait(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{instance}}, time.Minute)
}
