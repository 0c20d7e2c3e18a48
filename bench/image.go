//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
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
		b.table.add("image of the seed's shape, without downloads", "s", 60, time.Since(start).Seconds())
		if err := b.imageBoot(ctx, id); err != nil {
			return err
		}
		if _, err := b.output(ctx, b.bin, "delete-image", "-i", id); err != nil {
			return err
		}
	}
	return nil
}

// imageBoot measures how long a machine of an image takes from its launch until its
// user data starts the node program.
func (b *bench) imageBoot(ctx context.Context, id string) error {
	ami, err := b.output(ctx, b.bin, "describe-image", "-i", id, "--query", "ec2AmiInfo.amiId")
	if err != nil {
		return err
	}
	const mark = "/var/lib/bench-started"
	userData := filepath.Join(b.work, "user-data")
	if err := os.WriteFile(userData, []byte("#!/bin/sh\n/opt/parallelcluster/pcluster-node version && touch "+mark+"\n"), 0o600); err != nil {
		return err
	}
	start := time.Now()
	out, err := b.output(ctx, b.aws, "ec2", "run-instances", "--image-id", strings.Trim(strings.TrimSpace(ami), `"`), "--instance-type", "t3.micro",
		"--subnet-id", "subnet-076ece71c00742d3c", "--user-data", "file://"+userData, "--query", "Instances[0].InstanceId", "--output", "text")
	if err != nil {
		return err
	}
	instance := strings.TrimSpace(out)
	launched := time.Since(start) // most of it is the start of the AWS CLI
	started := filepath.Join(b.home, "machines", instance, "disk", mark)
	for {
		if info, err := os.Stat(started); err == nil {
			r := b.table.add("node from our image, launch to start of pcluster-node", "s", 3, info.ModTime().Sub(start).Seconds())
			r.note = fmt.Sprintf("with the AWS CLI's launch, at most %.1f s", launched.Seconds())
			break
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if _, err := b.output(ctx, b.aws, "ec2", "terminate-instances", "--instance-ids", instance); err != nil {
		return err
	}
	_, err = b.output(ctx, b.aws, "ec2", "wait", "instance-terminated", "--instance-ids", instance)
	return err
}
