package image

import (
	"context"
	"fmt"
	"strings"

	"pcluster/internal/cluster"
	"pcluster/internal/config"
	"pcluster/internal/facts"
	"pcluster/internal/stack"
)

// A Preview is what the template of an image that nobody builds is made for.
type Preview struct {
	ID      string
	Region  string
	Account string
}

// Template returns the template that Build would make of a file. What only a build
// knows is zeros in it, as in [cluster.Preview].
func (p Preview) Template(ctx context.Context, f *config.ImageFile, source facts.Source) ([]byte, error) {
	parent, err := parentOf(ctx, f, source)
	if err != nil {
		return nil, err
	}
	arch := parent.Architecture
	if arch == "" { // that of the AMI is not known, but has to be that of the instance
		types, err := source.InstanceTypes(ctx, []string{f.Build.InstanceType})
		if err != nil {
			return nil, fmt.Errorf("instance type %s: %w", f.Build.InstanceType, err)
		}
		arch = types[f.Build.InstanceType].Architecture()
	}
	bucket := f.CustomS3Bucket
	if bucket == "" {
		bucket = cluster.DefaultBucket(p.Account, p.Region)
	}
	const function = "amd64"
	program := map[string]string{"x86_64": "amd64", "arm64": "arm64"}[arch]
	if program == "" {
		return nil, fmt.Errorf("there is no node program for %q, the architecture of the parent image %s", arch, f.Build.ParentImage)
	}
	sum := strings.Repeat("0", 64)
	return stack.SynthesizeImage(f, stack.ImageParams{
		ImageID: p.ID, Region: p.Region, Account: p.Account, Partition: cluster.Partition(p.Region), Bucket: bucket,
		ArtifactDir: artifactDirectory(p.ID, strings.Repeat("0", 16)), LambdaZipKey: stack.LambdaKey(sum, function),
		ProgramArch: program, ProgramSum: sum, ParentRootDevice: parent.RootDevice, ParentSize: parent.RootSize,
	})
}

// parentOf returns the AMI that a build starts from.
func parentOf(ctx context.Context, f *config.ImageFile, source facts.Source) (facts.Image, error) {
	id := f.Build.ParentImage
	if strings.HasPrefix(id, "arn") {
		var err error
		if id, err = source.BuilderImage(ctx, id); err != nil {
			return facts.Image{}, fmt.Errorf("parent image %s: %w", f.Build.ParentImage, err)
		}
	}
	ami, err := source.Image(ctx, id)
	if err != nil {
		return facts.Image{}, fmt.Errorf("parent image %s: %w", f.Build.ParentImage, err)
	}
	return ami, nil
}

// artifactDirectory returns the prefix of the keys of what an image's build stores.
func artifactDirectory(id, random string) string {
	return "parallelcluster/" + config.ToolVersion + "/images/" + strings.ToLower(id[:min(len(id), 46)]) + "-" + random
}
