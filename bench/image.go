//go:build linux

package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"
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
	for n := range runs {
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
		b.table.add("image of the seed's shape, without downloads", "s", 60, time.Since(start).Seconds())
		if _, err := b.output(ctx, b.bin, "delete-image", "-i", id); err != nil {
			return err
		}
	}
	return nil
}
