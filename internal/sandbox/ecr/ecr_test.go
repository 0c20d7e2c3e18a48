package ecr

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
)

func open(t *testing.T) (*Service, string) {
	t.Helper()
	s, err := New(store.Memory(), region.NewIdentity("us-east-1", "111122223333"), filepath.Join(t.TempDir(), "ecr"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateRepository(t.Context(), &sdk.CreateRepositoryInput{RepositoryName: aws.String("jobs")}); err != nil {
		t.Fatal(err)
	}
	files := t.TempDir()
	if err := os.MkdirAll(filepath.Join(files, "opt"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(files, "opt", "run"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return s, files
}

func code(err error) string {
	if e, ok := err.(smithy.APIError); ok {
		return e.ErrorCode()
	}
	return ""
}

func TestImageIsPulledByTagWithItsFiles(t *testing.T) {
	s, files := open(t)
	name := "111122223333.dkr.ecr.us-east-1.amazonaws.com/jobs:alinux2"
	if _, _, err := s.Pull(name); err == nil {
		t.Error("an image that was never pushed is pulled")
	}
	want := Image{Entrypoint: []string{"/opt/run"}}
	if err := s.Push("jobs", "alinux2", "sha256:aa", want, files); err != nil {
		t.Fatal(err)
	}
	got, dir, err := s.Pull(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("image (-want +got):\n%s", diff)
	}
	info, err := os.Stat(filepath.Join(dir, "opt", "run"))
	if err != nil || info.Mode().Perm()&0o111 == 0 {
		t.Errorf("the image's program: %v, %v, want it executable", info, err)
	}
	if _, _, err := s.Pull("docker.io/library/busybox:latest"); err == nil {
		t.Error("an image of another registry is pulled")
	}
}

func TestTagGoesToTheImagePushedLast(t *testing.T) {
	s, files := open(t)
	for _, digest := range []string{"sha256:aa", "sha256:bb"} {
		if err := s.Push("jobs", "alinux2", digest, Image{}, files); err != nil {
			t.Fatal(err)
		}
	}
	out, err := s.ListImages(t.Context(), &sdk.ListImagesInput{RepositoryName: aws.String("jobs")})
	if err != nil {
		t.Fatal(err)
	}
	tags := map[string]string{}
	for _, id := range out.ImageIds {
		tags[*id.ImageDigest] = aws.ToString(id.ImageTag)
	}
	if diff := cmp.Diff(map[string]string{"sha256:aa": "", "sha256:bb": "alinux2"}, tags); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
}

func TestRepositoryWithImagesIsDeletedByForceOnly(t *testing.T) {
	s, files := open(t)
	if err := s.Push("jobs", "alinux2", "sha256:aa", Image{}, files); err != nil {
		t.Fatal(err)
	}
	in := &sdk.DeleteRepositoryInput{RepositoryName: aws.String("jobs")}
	if _, err := s.DeleteRepository(t.Context(), in); code(err) != "RepositoryNotEmptyException" {
		t.Errorf("deleting a repository with an image: %v", err)
	}
	in.Force = true
	if _, err := s.DeleteRepository(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir, "*")); len(left) > 0 {
		t.Errorf("files are left: %v", left)
	}
	if _, err := s.DescribeImages(t.Context(), &sdk.DescribeImagesInput{RepositoryName: aws.String("jobs")}); code(err) != "RepositoryNotFoundException" {
		t.Errorf("images of a repository that is gone: %v", err)
	}
}

func TestImagesAreDeletedOneByOne(t *testing.T) {
	s, files := open(t)
	if err := s.Push("jobs", "alinux2", "sha256:aa", Image{}, files); err != nil {
		t.Fatal(err)
	}
	out, err := s.BatchDeleteImage(t.Context(), &sdk.BatchDeleteImageInput{RepositoryName: aws.String("jobs"), ImageIds: []types.ImageIdentifier{
		{ImageTag: aws.String("alinux2")}, {ImageDigest: aws.String("sha256:cc")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.ImageIds) != 1 || len(out.Failures) != 1 || out.Failures[0].FailureCode != types.ImageFailureCodeImageNotFound {
		t.Errorf("deleted %v, failed %v; want one of each", out.ImageIds, out.Failures)
	}
}
