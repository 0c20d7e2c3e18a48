package stack

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"pcluster/internal/cfn"
	"pcluster/internal/config"
)

// ImageParams is what the template of an image says about the deployment rather
// than the image.
type ImageParams struct {
	ImageID      string
	Region       string
	Account      string
	Partition    string
	Bucket       string
	ArtifactDir  string
	LambdaZipKey string
	ProgramArch  string // of the node program for the parent's architecture: amd64 or arm64
	ProgramSum   string // its SHA-256, in hex

	ParentRootDevice string // of the parent's AMI
	ParentSize       int    // GiB
}

// imageReserve is how much larger than its parent an image's root volume is.
const imageReserve = 32

// ImageResource is the logical ID of the image in its stack, by which commands find
// the build.
const ImageResource = "ParallelClusterImage"

// ImageLogGroup is where Image Builder writes the log of a build.
func ImageLogGroup(imageID string) string { return "/aws/imagebuilder/" + imagePrefix + "-" + imageID }

const imagePrefix = ImageResource

// ImageTags are the tags of an image's stack and AMI that are the tool's.
func ImageTags(f *config.ImageFile, p ImageParams) map[string]string {
	name := f.Image.Name
	if name == "" {
		name = p.ImageID
	}
	t := config.ToolTagPrefix
	return map[string]string{
		t + "image_id": p.ImageID, t + "image_name": name, t + "version": config.ToolVersion,
		t + "s3_bucket": p.Bucket, t + "s3_image_dir": p.ArtifactDir,
		t + "build_log":    "arn:" + p.Partition + ":logs:" + p.Region + ":" + p.Account + ":log-group:" + ImageLogGroup(p.ImageID),
		t + "build_config": "s3://" + p.Bucket + "/" + ImageConfigKey(p.ArtifactDir),
	}
}

// ImageConfigKey returns the key of the file that the user wrote.
func ImageConfigKey(directory string) string { return directory + "/configs/image-config.yaml" }

//go:embed image/update-os.yaml
var updateOSDocument string

//go:embed image/slurm.yaml image/storage.yaml image/efa.yaml image/nvidia.yaml image/dcv.yaml
var installerDocuments embed.FS

//go:embed image/parallelcluster.yaml
var toolDocument string

//go:embed image/tag.yaml
var tagDocument string

//go:embed image/script.yaml
var scriptDocument string

//go:embed image/test.yaml
var testDocument string

// ownInstallers are the components that install what nodes need beside our own program,
// by the name of their resource in the template, in the order of a build. One with a
// part is there if the image gets the software of that name.
var ownInstallers = []struct{ kind, file, part string }{
	{"Slurm", "slurm", ""}, {"Storage", "storage", ""}, {"EFA", "efa", "efa"}, {"NVIDIA", "nvidia", "nvidia"}, {"DCV", "dcv", "dcv"},
}

// ImageDocuments returns the components that images get from us, in the order of a
// build, with their blanks still to be filled.
func ImageDocuments() ([]string, error) {
	all := []string{updateOSDocument}
	for _, i := range ownInstallers {
		text, err := installerDocuments.ReadFile("image/" + i.file + ".yaml")
		if err != nil {
			return nil, err
		}
		all = append(all, string(text))
	}
	return append(all, toolDocument, tagDocument, scriptDocument, testDocument), nil
}

// SynthesizeImage returns the template of the stack that builds an image. When the
// image is there, the stack's own function tags it and deletes the stack.
func SynthesizeImage(f *config.ImageFile, p ImageParams) ([]byte, error) {
	b := &imageBuilder{f: f, p: p, t: cfn.New("ParallelCluster image " + p.ImageID), release: release()}
	b.cleanup()
	b.components()
	b.image()
	body, err := b.t.JSON()
	if err := errors.Join(append(b.errs, err)...); err != nil {
		return nil, fmt.Errorf("template of image %s: %w", p.ImageID, err)
	}
	return body, nil
}

// release is the tool's version as Image Builder takes it.
func release() string {
	version, _, _ := strings.Cut(config.ToolVersion, "-")
	for strings.Count(version, ".") < 2 {
		version += ".0"
	}
	return version
}

type imageBuilder struct {
	f       *config.ImageFile
	p       ImageParams
	t       *cfn.Template
	release string
	errs    []error

	role  *cfn.Handle // of the clean-up function, if it is the stack's
	topic cfn.Handle
	// subscription has to be there before the image is: its end is told once.
	subscription cfn.Handle
	recipe       []cfn.ImageRecipeComponent
}

// add adds a resource. The clean-up role goes last when the stack is deleted, since
// with it the stack deletes itself: everything depends on it.
func (b *imageBuilder) add(id string, r cfn.Resource, options ...cfn.Option) cfn.Handle {
	if b.role != nil {
		options = append(options, cfn.DependsOn(*b.role))
	}
	return b.t.Add(id, r, options...)
}

// name is a name that no other stack has.
func (b *imageBuilder) name(kind string) cfn.Text {
	return cfn.Join("-", strings.TrimSuffix(imagePrefix+"-"+kind, "-"), stackUUID())
}

// tags are those of everything that the build needs.
func (b *imageBuilder) tags() map[string]cfn.Text {
	out := map[string]cfn.Text{}
	for _, t := range b.f.Build.Tags {
		out[t.Key] = t.Value
	}
	all := ImageTags(b.f, b.p)
	for _, k := range []string{"image_id", "image_name"} {
		out[config.ToolTagPrefix+k] = all[config.ToolTagPrefix+k]
	}
	return out
}

func (b *imageBuilder) tagList() cfn.Tags {
	tags := b.tags()
	var out cfn.Tags
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		out = append(out, cfn.Tag{Key: k, Value: tags[k]})
	}
	return out
}

func (b *imageBuilder) arn(service, resource string) string {
	return "arn:" + b.p.Partition + ":" + service + ":" + b.p.Region + ":" + b.p.Account + ":" + resource
}

// cleanup adds the function that deletes the stack when its image is there.
func (b *imageBuilder) cleanup() {
	role := cfn.Text(b.f.Build.Iam.CleanupLambdaRole)
	vpc := b.f.DeploymentSettings.LambdaFunctionsVpcConfig
	if role == "" {
		r := cfn.Role{
			RoleName: cfn.Join("-", imagePrefix+"Cleanup", stackUUID()), Path: "/parallelcluster/", AssumeRolePolicyDocument: trust("lambda.amazonaws.com"),
			PermissionsBoundary: b.f.Build.Iam.PermissionsBoundary, Tags: b.tagList(),
			Policies: []cfn.InlinePolicy{{PolicyName: "LambdaCleanupPolicy", PolicyDocument: b.cleanupPolicy()}},
		}
		if vpc != nil {
			r.ManagedPolicyArns = []cfn.Text{"arn:" + b.p.Partition + ":iam::aws:policy/service-role/AWSLambdaVPCAccessExecutionRole"}
		}
		h := b.t.Add("DeleteStackFunctionExecutionRole", r)
		b.role, role = &h, h.Att(cfn.Arn)
	}
	log := b.add("DeleteStackFunctionLog", cfn.LogGroup{LogGroupName: cfn.Join("", "/aws/lambda/", b.name(""))})
	f := cfn.Function{
		FunctionName: b.name(""), Description: "Tags the image and deletes the stack that built it", Architectures: []string{"x86_64"},
		Runtime: "provided.al2023", Handler: "bootstrap", Code: cfn.FunctionCode{S3Bucket: b.p.Bucket, S3Key: b.p.LambdaZipKey},
		Role: role, MemorySize: 128, Timeout: 900, Tags: b.tagList(),
		Environment: &cfn.FunctionEnvironment{Variables: map[string]cfn.Text{"IMAGE_STACK_ARN": cfn.StackID}},
	}
	if vpc != nil {
		f.VpcConfig = &cfn.FunctionVPC{SecurityGroupIds: ids(vpc.SecurityGroupIds), SubnetIds: ids(vpc.SubnetIds)}
	}
	function := b.t.Add("DeleteStackFunction", f, cfn.DependsOn(log)) // which has the role, too
	b.topic = b.add("BuildNotificationTopic", cfn.Topic{TopicName: b.name(""), Tags: b.tagList()})
	permission := b.add("DeleteStackFunctionPermission", cfn.FunctionPermission{
		Action: "lambda:InvokeFunction", FunctionName: function.Att(cfn.Arn), Principal: "sns.amazonaws.com", SourceArn: b.topic.Ref()})
	b.subscription = b.add("BuildNotificationSubscription", cfn.Subscription{TopicArn: b.topic.Ref(), Protocol: "lambda", Endpoint: function.Att(cfn.Arn)}, cfn.DependsOn(permission))
}

func (b *imageBuilder) cleanupPolicy() cfn.PolicyDocument {
	iam := "arn:" + b.p.Partition + ":iam::" + b.p.Account + ":"
	lower := strings.ToLower(imagePrefix)
	return cfn.Allow(
		allow([]string{"iam:DetachRolePolicy", "iam:DeleteRole", "iam:DeleteRolePolicy"}, iam+"role/parallelcluster/"+imagePrefix+"*"),
		allow([]string{"iam:DeleteInstanceProfile", "iam:RemoveRoleFromInstanceProfile"}, iam+"instance-profile/parallelcluster/"+imagePrefix+"*"),
		allow([]string{"imagebuilder:DeleteInfrastructureConfiguration"}, b.arn("imagebuilder", "infrastructure-configuration/"+lower+"-*")),
		allow([]string{"imagebuilder:DeleteComponent"}, b.arn("imagebuilder", "component/"+lower+"-*/"+b.release+"/*")),
		allow([]string{"imagebuilder:DeleteImageRecipe"}, b.arn("imagebuilder", "image-recipe/"+lower+"-*/"+b.release)),
		allow([]string{"imagebuilder:DeleteDistributionConfiguration"}, b.arn("imagebuilder", "distribution-configuration/"+lower+"-*")),
		allow([]string{"imagebuilder:DeleteImage", "imagebuilder:GetImage", "imagebuilder:CancelImageCreation"}, b.arn("imagebuilder", "image/"+lower+"-*/"+b.release+"/*")),
		allow([]string{"cloudformation:DeleteStack"}, b.arn("cloudformation", "stack/"+b.p.ImageID+"/*")),
		allow([]string{"ec2:CreateTags"}, "arn:"+b.p.Partition+":ec2:*::image/*"),
		allow([]string{"lambda:DeleteFunction", "lambda:RemovePermission"}, b.arn("lambda", "function:"+imagePrefix+"-*")),
		// The group is not the function's to make: it would do so again when the stack is gone.
		allow([]string{"logs:CreateLogStream", "logs:DeleteLogGroup", "logs:PutLogEvents"}, b.arn("logs", "log-group:/aws/lambda/"+imagePrefix+"-*")),
		allow([]string{"SNS:GetTopicAttributes", "SNS:DeleteTopic", "SNS:Unsubscribe"}, b.arn("sns", imagePrefix+"-*")),
	)
}

// document fills the blanks of a document of ours.
func (b *imageBuilder) document(text string, blanks map[string]string) string {
	var pairs []string
	for _, k := range slices.Sorted(maps.Keys(blanks)) {
		pairs = append(pairs, "@"+k+"@", blanks[k])
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

func (b *imageBuilder) component(id, kind, document string, tagged bool) {
	c := cfn.ImageComponent{Name: b.name(kind), Version: b.release, Platform: "Linux", Data: document}
	if tagged {
		c.Tags = b.tags()
	}
	h := b.add(id, c)
	b.recipe = append(b.recipe, cfn.ImageRecipeComponent{ComponentArn: h.Ref()})
}

func (b *imageBuilder) components() {
	f := b.f
	if f.Build.UpdateOsPackages.Enabled {
		kernel := "no"
		if f.DevSettings.DisableKernelUpdate {
			kernel = "yes"
		}
		b.component("UpdateOSComponent", "UpdateOS", b.document(updateOSDocument, map[string]string{"KEEP_KERNEL": kernel}), true)
	}
	blanks := map[string]string{
		"VERSION": config.ToolVersion, "PROGRAM": b.p.Bucket + "/" + ProgramKey(b.p.ProgramSum, b.p.ProgramArch), "SUM": b.p.ProgramSum, "REGION": b.p.Region,
	}
	for _, part := range []string{"dcv", "efa", "efs", "lustre", "nvidia", "pmix"} {
		blanks[strings.ToUpper(part)] = map[bool]string{true: "yes", false: "no"}[f.Installs(part)]
	}
	if !f.DevSettings.DisablePclusterComponent {
		b.installers(blanks)
		b.component("ParallelClusterComponent", "", b.document(toolDocument, blanks), true)
	}
	b.component("ParallelClusterTagComponent", "Tag", b.document(tagDocument, blanks), true)
	for n, c := range f.Build.Components {
		if c.Type == "arn" {
			b.recipe = append(b.recipe, cfn.ImageRecipeComponent{ComponentArn: c.Value})
			continue
		}
		b.component(fmt.Sprintf("ScriptComponent%d", n), fmt.Sprintf("Script-%d", n), b.document(scriptDocument, map[string]string{"URL": c.Value}), false)
	}
	if !f.DevSettings.DisableValidateAndTest && !f.DevSettings.DisablePclusterComponent {
		b.component("ParallelClusterTestComponent", "Test", testDocument, true)
	}
}

// installers adds what a node needs beside our own program: what the parent image has
// already is left as it is.
func (b *imageBuilder) installers(blanks map[string]string) {
	suffix := "amazonaws.com"
	if b.p.Partition == "aws-cn" {
		suffix = "amazonaws.com.cn"
	}
	all, errs := installerBlanks(b.f.DevSettings.Cookbook.ExtraChefAttributes, b.p.Region, suffix)
	if len(errs) > 0 {
		b.errs = append(b.errs, fmt.Errorf("%s: %w", attributesPath, errors.Join(errs...)))
		return
	}
	maps.Copy(all, blanks)
	for _, i := range ownInstallers {
		if i.part != "" && !b.f.Installs(i.part) {
			continue
		}
		text, err := installerDocuments.ReadFile("image/" + i.file + ".yaml")
		if err != nil {
			b.errs = append(b.errs, err) // they are in the program
			continue
		}
		b.component(i.kind+"Component", i.kind, b.document(string(text), all), true)
	}
}

func (b *imageBuilder) image() {
	f := b.f
	size := b.p.ParentSize + imageReserve
	if f.Image.RootVolume.Size != nil {
		size = *f.Image.RootVolume.Size
	}
	root := &cfn.Ebs{VolumeSize: &size, VolumeType: "gp3", Encrypted: &f.Image.RootVolume.Encrypted, KmsKeyId: f.Image.RootVolume.KmsKeyId}
	recipe := b.add("ImageRecipe", cfn.ImageRecipe{
		Name: imagePrefix + "-" + b.p.ImageID, Version: b.release, ParentImage: f.Build.ParentImage, Components: b.recipe, Tags: b.tags(),
		BlockDeviceMappings: []cfn.BlockDevice{{DeviceName: b.p.ParentRootDevice, Ebs: root}},
	})
	metadata := &cfn.MetadataOptions{HttpTokens: "required"}
	if f.Build.Imds.ImdsSupport == "v1.0" {
		metadata.HttpTokens = "optional"
	}
	infrastructure := b.add("InfrastructureConfiguration", cfn.ImageInfrastructure{
		Name: b.name(""), InstanceProfileName: b.profile(), InstanceTypes: []string{f.Build.InstanceType}, SubnetId: f.Build.SubnetId,
		SecurityGroupIds: f.Build.SecurityGroupIds, TerminateInstanceOnFailure: f.DevSettings.TerminateInstanceOnFailure, SnsTopicArn: b.topic.Ref(),
		InstanceMetadataOptions: metadata, ResourceTags: b.tags(), Tags: b.tags(),
	})
	amiTags := map[string]cfn.Text{}
	for _, t := range f.Image.Tags {
		amiTags[t.Key] = t.Value
	}
	all := ImageTags(f, b.p)
	for k, v := range all {
		amiTags[k] = v
	}
	regions := []string{b.p.Region}
	var permission any
	if d := f.DevSettings.DistributionConfiguration; d != nil {
		regions = strings.Split(d.Regions, ",")
		if d.LaunchPermission != "" {
			if err := json.Unmarshal([]byte(d.LaunchPermission), &permission); err != nil {
				b.errs = append(b.errs, fmt.Errorf("LaunchPermission: %w", err))
			}
		}
	}
	distribution := cfn.ImageDistribution{Name: b.name(""), Tags: b.tags()}
	for _, r := range regions {
		distribution.Distributions = append(distribution.Distributions, cfn.RegionalImage{Region: r, AmiDistributionConfiguration: cfn.AMIDistribution{
			Name: all[config.ToolTagPrefix+"image_name"] + " {{ imagebuilder:buildDate }}", AmiTags: amiTags, LaunchPermissionConfiguration: permission}})
	}
	distributed := b.add("DistributionConfiguration", distribution)
	b.add(ImageResource, cfn.BuiltImage{
		ImageRecipeArn: recipe.Ref(), InfrastructureConfigurationArn: infrastructure.Ref(), DistributionConfigurationArn: distributed.Ref(), Tags: b.tags()},
		cfn.DependsOn(b.subscription))
}

// profile is the name of the instance profile of the build.
func (b *imageBuilder) profile() cfn.Text {
	iam := b.f.Build.Iam
	if iam.InstanceProfile != "" {
		return iam.InstanceProfile[strings.LastIndexByte(iam.InstanceProfile, '/')+1:]
	}
	role := cfn.Text(iam.InstanceRole[strings.LastIndexByte(iam.InstanceRole, '/')+1:])
	if iam.InstanceRole == "" {
		aws := "arn:" + b.p.Partition + ":iam::aws:policy/"
		policies := []cfn.Text{aws + "AmazonSSMManagedInstanceCore", aws + "EC2InstanceProfileForImageBuilder"}
		for _, p := range iam.AdditionalIamPolicies {
			policies = append(policies, p.Policy)
		}
		statements := []cfn.Statement{
			allow([]string{"ec2:CreateTags"}, "arn:"+b.p.Partition+":ec2:"+b.p.Region+"::image/*"),
			allow([]string{"s3:GetObject"}, "arn:"+b.p.Partition+":s3:::"+b.p.Bucket+"/parallelcluster/"+config.ToolVersion+"/programs/*"),
		}
		for _, c := range b.f.Build.Components {
			if key, ok := strings.CutPrefix(c.Value, "s3://"); ok && c.Type == "script" {
				statements = append(statements, allow([]string{"s3:GetObject"}, "arn:"+b.p.Partition+":s3:::"+key))
			}
		}
		suffix := "amazonaws.com"
		if b.p.Partition == "aws-cn" {
			suffix = "amazonaws.com.cn"
		}
		role = b.add("InstanceRole", cfn.Role{
			RoleName: b.name(""), Path: "/parallelcluster/", AssumeRolePolicyDocument: trust("ec2." + suffix), ManagedPolicyArns: policies,
			PermissionsBoundary: iam.PermissionsBoundary, Tags: b.tagList(),
			Policies: []cfn.InlinePolicy{{PolicyName: "InstanceRoleInlinePolicy", PolicyDocument: cfn.Allow(statements...)}},
		}).Ref()
	}
	return b.add("InstanceProfile", cfn.InstanceProfile{InstanceProfileName: b.name(""), Path: "/parallelcluster/", Roles: []cfn.Text{role}}).Ref()
}
