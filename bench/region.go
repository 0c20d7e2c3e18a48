//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/sandbox"
)

// describing measures DescribeInstances of a light region, client and server
// together on one processor.
func (b *bench) describing(ctx context.Context) error {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for _, c := range []struct {
		instances, calls int
		budget           float64 // milliseconds of a call
	}{{10, 2000, 1000.0 / 2000}, {1000, 200, 1000.0 / 100}} {
		each, p99, err := describeRegion(ctx, c.instances, c.calls)
		if err != nil {
			return err
		}
		what := fmt.Sprintf("DescribeInstances, %d instances", c.instances)
		b.table.add(what, "ms", c.budget, each).note = fmt.Sprintf("%.0f a second on one processor, the client included", 1000/each)
		b.table.add(what+", 99 of 100 within", "ms", 50, p99)
	}
	return nil
}

func describeRegion(ctx context.Context, instances, calls int) (each, p99 float64, err error) {
	dir, err := os.MkdirTemp("", "pcluster-bench-")
	if err != nil {
		return 0, 0, err
	}
	defer os.RemoveAll(dir)
	region, err := sandbox.OpenLight(ctx, dir, nil)
	if err != nil {
		return 0, 0, err
	}
	defer region.Close()
	key, secret := region.Credentials()
	cfg := aws.Config{Region: "us-east-1", BaseEndpoint: aws.String(region.URL()), Credentials: credentials.NewStaticCredentialsProvider(key, secret, "")}
	if err := launch(ctx, ec2.NewFromConfig(cfg), int32(instances)); err != nil {
		return 0, 0, err
	}
	body := []byte("Action=DescribeInstances&Version=2016-11-15")
	sum := sha256.Sum256(body)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, region.URL()+"/", nil)
	if err != nil {
		return 0, 0, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.ContentLength = int64(len(body))
	creds := aws.Credentials{AccessKeyID: key, SecretAccessKey: secret}
	if err := v4.NewSigner().SignHTTP(ctx, creds, req, hex.EncodeToString(sum[:]), "ec2", "us-east-1", time.Now()); err != nil {
		return 0, 0, err
	}
	var took []float64
	began := time.Now()
	for range calls {
		start := time.Now()
		req.Body = io.NopCloser(bytes.NewReader(body))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, 0, err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			return 0, 0, fmt.Errorf("DescribeInstances: %s, %v", resp.Status, err)
		}
		took = append(took, time.Since(start).Seconds()*1000)
	}
	each = time.Since(began).Seconds() * 1000 / float64(calls)
	slices.Sort(took)
	return each, took[len(took)*99/100], nil
}

// launch runs instances in a subnet of their own.
func launch(ctx context.Context, api *ec2.Client, n int32) error {
	vpc, err := api.CreateVpc(ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("10.9.0.0/16")})
	if err != nil {
		return err
	}
	subnet, err := api.CreateSubnet(ctx, &ec2.CreateSubnetInput{VpcId: vpc.Vpc.VpcId, CidrBlock: aws.String("10.9.0.0/18")})
	if err != nil {
		return err
	}
	images, err := api.DescribeImages(ctx, &ec2.DescribeImagesInput{Owners: []string{"amazon"}, Filters: []types.Filter{{Name: aws.String("architecture"), Values: []string{"x86_64"}}}})
	if err != nil {
		return err
	}
	_, err = api.RunInstances(ctx, &ec2.RunInstancesInput{
		MinCount: &n, MaxCount: &n, ImageId: images.Images[0].ImageId, InstanceType: "t3.micro", SubnetId: subnet.Subnet.SubnetId,
	})
	return err
}
