package validate

import (
	"context"
	"strings"

	"pcluster/internal/config"
	"pcluster/internal/facts"
)

// Image returns what is wrong with an image file that has the right shape.
// Nothing aborts: each check says what it can't look up.
func Image(ctx context.Context, f *config.ImageFile, src facts.Source, o Options) Report {
	e := &env{ctx: ctx, src: src, o: o, img: f, pos: f.Pos}
	src.Ahead(ctx, facts.Questions{Types: []string{f.Build.InstanceType}, Groups: f.Build.SecurityGroupIds})
	var p plan
	orderImage(&p, f)
	found, unanswered := run(ctx, &p, e)
	return Report{Found: found, Unanswered: unanswered}
}

// orderImage plans all checks of an image file in the order of their findings.
func orderImage(p *plan, f *config.ImageFile) {
	const root = "Image.RootVolume"
	v := f.Image.RootVolume
	p.add("KmsKeyValidator", func(k *check) { kmsKey(k, root, v.KmsKeyId) })
	p.add("KmsKeyIdEncryptedValidator", func(k *check) { keyNeedsEncryption(k, root, v.KmsKeyId, v.Encrypted) })

	b := &f.Build
	p.nodeRights("Build.Iam", b.Iam.InstanceRole, b.Iam.InstanceProfile, b.Iam.AdditionalIamPolicies)
	p.add("RoleValidator", func(k *check) { role(k, "Build.Iam.CleanupLambdaRole", b.Iam.CleanupLambdaRole) })
	p.add("IamPolicyValidator", func(k *check) { policy(k, "Build.Iam.PermissionsBoundary", b.Iam.PermissionsBoundary) })

	p.add("InstanceTypeBaseAMICompatibleValidator", parentRuns)
	p.add("InstanceTypeSoftwareValidator", nvidiaNeedsGPU)
	p.add("ComponentsValidator", componentCount)
	p.add("SecurityGroupsValidator", func(k *check) { groupsExist(k, "Build.SecurityGroupIds", b.SecurityGroupIds) })
	p.add("SecurityGroupsAndSubnetValidator", subnetNeedsGroups)

	p.add("ExtraChefAttributesValidator", func(k *check) {
		const path = "DevSettings.Cookbook.ExtraChefAttributes"
		chefAttributes(k, path, f.DevSettings.Cookbook.ExtraChefAttributes)
		for _, p := range f.CheckChoices() {
			k.errorf(path, "%s", p.Message)
			k.hint("%s", p.Hint)
		}
	})
	p.url("DevSettings.Cookbook.ChefCookbook", f.DevSettings.Cookbook.ChefCookbook)
	p.url("DevSettings.NodePackage", f.DevSettings.NodePackage)
	p.url("DevSettings.AwsBatchCliPackage", f.DevSettings.AwsBatchCliPackage)
	if c := f.DeploymentSettings.LambdaFunctionsVpcConfig; c != nil {
		p.add("LambdaFunctionsVpcConfigValidator", func(k *check) {
			functionVPC(k, "DeploymentSettings.LambdaFunctionsVpcConfig", c.SecurityGroupIds, c.SubnetIds)
		})
	}

	p.add("AMIVolumeSizeValidator", imageSize)
	p.add("EbsVolumeTypeSizeValidator", func(k *check) {
		if v.Size != nil {
			volumeSize(k, volume{path: root, kind: "gp3", size: v.Size})
		}
	})
	p.bucket(f.CustomS3Bucket)
}

// parent describes the image that a build starts from. An ARN is one of EC2
// Image Builder, which knows the AMI.
func (k *check) parent() (facts.Image, error) {
	ami := k.img.Build.ParentImage
	if strings.HasPrefix(ami, "arn") {
		var err error
		if ami, err = k.src.BuilderImage(k.ctx, ami); err != nil {
			return facts.Image{}, err
		}
	}
	return k.src.Image(k.ctx, ami)
}

func parentRuns(k *check) {
	image, err := k.parent()
	if err != nil {
		k.errorf("Build.ParentImage", "the parent image %s can't be used: %v", k.img.Build.ParentImage, err)
		return
	}
	k.fits("Build.InstanceType", k.img.Build.InstanceType, image)
}

// nvidiaNeedsGPU: NVIDIA's driver is built and tested on the build instance.
func nvidiaNeedsGPU(k *check) {
	b := &k.img.Build
	if !k.img.Installs("nvidia") {
		return
	}
	types, err := k.src.InstanceTypes(k.ctx, []string{b.InstanceType})
	if t, ok := types[b.InstanceType]; err == nil && ok && t.GPUs("NVIDIA") == 0 {
		k.errorf("Build.InstanceType", "%s has no GPU of NVIDIA, and NVIDIA's software is installed on such instances only", b.InstanceType)
		k.hint("use a type such as g4dn.xlarge, or turn off Build.Installation.NvidiaSoftware")
	}
}

func componentCount(k *check) {
	const most = 15
	if n := len(k.img.Build.Components); n > most {
		k.errorf("Build.Components", "an image can have %d components, not %d", most, n)
	}
}

func subnetNeedsGroups(k *check) {
	if b := &k.img.Build; b.SubnetId != "" && len(b.SecurityGroupIds) == 0 {
		k.errorf("Build.SubnetId", "SubnetId needs SecurityGroupIds")
	}
}

func imageSize(k *check) {
	size := k.img.Image.RootVolume.Size
	if size == nil {
		return
	}
	image, err := k.parent()
	switch {
	case err != nil:
		k.errorf("Build.ParentImage", "the size of the parent image %s can't be looked up: %v", k.img.Build.ParentImage, err)
	case *size < image.RootSize:
		k.errorf("Image.RootVolume.Size", "the root volume has %d GiB, but the parent image %s needs %d", *size, image.ID, image.RootSize)
	}
}
