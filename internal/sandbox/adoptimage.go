//go:build linux

package sandbox

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"pcluster/internal/config"
)

// adoptImageFile makes what an image file refers to, as adopt does for clusters.
// Components are adopted as such that do nothing: what they do is not known from the
// file. Making one with aws imagebuilder create-component takes its place.
func (r *Region) adoptImageFile(ctx context.Context, name string, file []byte) (Adoption, error) {
	f, problems := config.ParseImage(name, file)
	if err := problems.Err(); err != nil {
		return Adoption{}, fmt.Errorf("%s: %w", name, err)
	}
	refs := imageReferences(f)
	// What adoption reads of a cluster file is little.
	c := &config.Cluster{CustomS3Bucket: f.CustomS3Bucket}
	c.Region, c.Image.Os = refs.region, adoptedParent
	if err := r.adoptIdentity(ctx, c, refs.refs); err != nil {
		return Adoption{}, err
	}
	a := &adopter{Region: r, c: c, refs: refs.refs}
	for _, step := range []func(context.Context) error{a.subnets, a.securityGroups, a.images, a.buckets, a.policies, a.encryptionKeys} {
		if err := step(ctx); err != nil {
			return Adoption{}, err
		}
	}
	for _, arn := range refs.components {
		made, err := r.builder.AdoptComponent(arn)
		if err != nil {
			return Adoption{}, fmt.Errorf("component %s: %w", arn, err)
		}
		note := "exists"
		if made {
			note = "what it does is not known from the file: does nothing, until aws imagebuilder create-component makes it"
		}
		a.made("component", arn, "%s", note)
	}
	if refs.parent != "" && !r.builder.HasImage(refs.parent) {
		a.not("parent image %s: the region has none of that ARN; name an AMI, or one of Amazon's images", refs.parent)
	}
	if len(f.Build.SecurityGroupIds) > 0 && f.Build.SubnetId == "" {
		a.not("security groups %s: the file names no subnet in whose VPC they are", strings.Join(f.Build.SecurityGroupIds, ", "))
	}
	return a.out, nil
}

// adoptedParent is the operating system of parent images, of which the file does not
// tell.
const adoptedParent = "alinux2023"

type imageRefs struct {
	refs
	region, parent string
	components     []string
}

// imageReferences collects what an image file mentions.
func imageReferences(f *config.ImageFile) imageRefs {
	var out imageRefs
	add := func(list *[]string, v string) {
		if v != "" && !slices.Contains(*list, v) {
			*list = append(*list, v)
		}
	}
	arn := func(v string) {
		if m := accountInARN.FindStringSubmatch(v); m != nil {
			add(&out.accounts, m[1])
		}
		// All of a file are in one region, or the build could not use them.
		if parts := strings.SplitN(v, ":", 5); len(parts) == 5 && parts[0] == "arn" && parts[3] != "" && out.region == "" {
			out.region = parts[3]
		}
	}
	out.region = f.Region
	b := f.Build
	if strings.HasPrefix(b.ParentImage, "arn:") {
		out.parent = b.ParentImage
		arn(b.ParentImage)
	} else {
		add(&out.images, b.ParentImage)
	}
	for _, c := range b.Components {
		if strings.EqualFold(c.Type, "arn") {
			arn(c.Value)
			if !strings.Contains(c.Value, ":aws:component/") { // Amazon's are there, or not
				add(&out.components, c.Value)
			}
		} else if rest, ok := strings.CutPrefix(c.Value, "s3://"); ok {
			bucket, _, _ := strings.Cut(rest, "/")
			add(&out.buckets, bucket)
		}
	}
	for _, p := range b.Iam.AdditionalIamPolicies {
		add(&out.policies, p.Policy)
		arn(p.Policy)
	}
	add(&out.policies, b.Iam.PermissionsBoundary)
	for _, role := range []string{b.Iam.InstanceRole, b.Iam.CleanupLambdaRole} {
		add(&out.roles, role)
		arn(role)
	}
	add(&out.profiles, b.Iam.InstanceProfile)
	arn(b.Iam.PermissionsBoundary)
	arn(b.Iam.InstanceProfile)
	add(&out.subnets, b.SubnetId)
	if b.SubnetId != "" {
		for _, g := range b.SecurityGroupIds {
			add(&out.groups, g)
		}
	}
	if v := f.DeploymentSettings.LambdaFunctionsVpcConfig; v != nil {
		for _, id := range v.SubnetIds {
			add(&out.subnets, id)
		}
		for _, g := range v.SecurityGroupIds {
			add(&out.groups, g)
		}
	}
	add(&out.keys, f.Image.RootVolume.KmsKeyId)
	arn(f.Image.RootVolume.KmsKeyId)
	add(&out.buckets, f.CustomS3Bucket)
	out.nodes = 2 // the machines that build and test
	return out
}
