//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/sandbox"
)

// describing measures DescribeInstances of a light region, client and server
// together on one processor, and of moto on one of its own, which leaves the client
// out of its account.
func (b *bench) describing(ctx context.Context) error {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	moto, why, err := startMoto(ctx, b.root)
	if err != nil {
		return err
	}
	defer moto.stop()
	for _, c := range []struct {
		instances, calls, motos int
		budget                  float64 // milliseconds of a call
	}{{10, 2000, 50, 1000.0 / 2000}, {1000, 200, 5, 1000.0 / 100}} {
		each, p99, cpu, err := describeRegion(ctx, c.instances, c.calls)
		if err != nil {
			return err
		}
		what := fmt.Sprintf("DescribeInstances, %d instances", c.instances)
		b.table.add(what, "ms", c.budget, each).note = fmt.Sprintf("%.0f a second on one processor, the client included, which took %.2f ms of its time for each", 1000/each, cpu)
		b.table.add(what+", 99 of 100 within", "ms", 50, p99)
		if why != "" {
			fmt.Fprintf(os.Stderr, "bench: %s beside moto: skipped, %s\n", what, why)
			continue
		}
		its, err := moto.describe(ctx, c.instances, c.motos)
		if err != nil {
			return fmt.Errorf("moto: %w", err)
		}
		r := b.table.add(what+", times faster than moto", "x", 10, its/each)
		r.note, r.atLeast = fmt.Sprintf("moto: %.1f ms", its), true
	}
	return nil
}

func describeRegion(ctx context.Context, instances, calls int) (each, p99, cpu float64, err error) {
	dir, err := os.MkdirTemp("", "pcluster-bench-")
	if err != nil {
		return 0, 0, 0, err
	}
	defer os.RemoveAll(dir)
	region, err := sandbox.OpenLight(ctx, dir, nil)
	if err != nil {
		return 0, 0, 0, err
	}
	defer region.Close()
	key, secret := region.Credentials()
	took, cpu, err := describe(ctx, region.URL(), aws.Credentials{AccessKeyID: key, SecretAccessKey: secret}, instances, calls)
	if err != nil {
		return 0, 0, 0, err
	}
	return mean(took), took[len(took)*99/100], cpu, nil
}

// processorTime is what this process has used.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func mean(values []float64) float64 {
	var sum float64
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

// describe launches instances and then asks for all of them again and again. It returns
// how many milliseconds each call took, the quickest first, and this process's processor
// time of one.
func describe(ctx context.Context, endpoint string, creds aws.Credentials, instances, calls int) (took []float64, cpu float64, err error) {
	cfg := aws.Config{Region: "us-east-1", BaseEndpoint: &endpoint, Credentials: credentials.StaticCredentialsProvider{Value: creds}}
	if err := launch(ctx, ec2.NewFromConfig(cfg), int32(instances)); err != nil {
		return nil, 0, err
	}
	body := []byte("Action=DescribeInstances&Version=2016-11-15")
	sum := sha256.Sum256(body)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint+"/", nil)
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.ContentLength = int64(len(body))
	if err := v4.NewSigner().SignHTTP(ctx, creds, req, hex.EncodeToString(sum[:]), "ec2", "us-east-1", time.Now()); err != nil {
		return nil, 0, err
	}
	before := processorTime()
	for range calls {
		start := time.Now()
		req.Body = io.NopCloser(bytes.NewReader(body))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return nil, 0, err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			return nil, 0, fmt.Errorf("DescribeInstances: %s, %v", resp.Status, err)
		}
		took = append(took, time.Since(start).Seconds()*1000)
	}
	cpu = (processorTime() - before).Seconds() * 1000 / float64(calls)
	slices.Sort(took)
	return took, cpu, nil
}

// A moto is a server of moto's, one process.
type moto struct {
	cmd      *exec.Cmd
	endpoint string
}

// startMoto starts moto's server with a Python that has it, and says why where none has.
func startMoto(ctx context.Context, root string) (_ moto, why string, err error) {
	python := ""
	for _, candidate := range []string{"python3", filepath.Join(root, ".cache", "journeys", "bin", "python3")} {
		if exec.CommandContext(ctx, candidate, "-c", "import moto.server").Run() == nil {
			python = candidate
		}
	}
	if python == "" {
		return moto{}, "moto is not installed (make journeys fetches it)", nil
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return moto{}, "", err
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	m := moto{cmd: exec.CommandContext(ctx, python, "-m", "moto.server", "-H", "127.0.0.1", "-p", fmt.Sprint(port)), endpoint: fmt.Sprintf("http://127.0.0.1:%d", port)}
	if err := m.cmd.Start(); err != nil {
		return moto{}, "", err
	}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if resp, err := http.Get(m.endpoint + "/moto-api/data.json"); err == nil {
			resp.Body.Close()
			return m, "", nil
		}
	}
	m.stop()
	return moto{}, "", errors.New("moto does not come up")
}

func (m moto) stop() {
	if m.cmd != nil {
		_ = m.cmd.Process.Kill()
		_ = m.cmd.Wait()
	}
}

// describe returns the milliseconds of a call with so many instances, and no others.
func (m moto) describe(ctx context.Context, instances, calls int) (float64, error) {
	resp, err := http.Post(m.endpoint+"/moto-api/reset", "", nil)
	if err != nil {
		return 0, err
	}
	resp.Body.Close()
	took, _, err := describe(ctx, m.endpoint, aws.Credentials{AccessKeyID: "AKIAMOTO", SecretAccessKey: "secret"}, instances, calls)
	if err != nil {
		return 0, err
	}
	return mean(took), nil
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
