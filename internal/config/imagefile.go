package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
)

// An ImageFile is a file that says what build-image makes, with its implied values.
type ImageFile struct {
	Region             string                  `implied:"what the option, the environment or the profile says" doc:"Region to build in."`
	Image              BuiltImage              `doc:"The AMI that is made."`
	Build              Build                   `req:"yes" doc:"How it is made."`
	CustomS3Bucket     string                  `implied:"a bucket of the account and region that is made on first use" doc:"Bucket for the build's artifacts; must have versioning on."`
	DeploymentSettings ImageDeploymentSettings `since:"3.4.0" doc:"How the build is deployed."`
	DevSettings        ImageDevSettings        `doc:"Settings for the development of images, not for production."`

	doc *Document // where the values came from
}

// BuiltImage is the AMI that is made.
type BuiltImage struct {
	Name       string          `len:"..99" implied:"ID of the image" doc:"Name of the AMI; the date of the build is added."`
	Tags       []Tag           `id:"Key" doc:"Tags of the AMI."`
	RootVolume ImageRootVolume `doc:"Root volume of the AMI, which is of type gp3."`
}

// ImageRootVolume is the root volume of an AMI.
type ImageRootVolume struct {
	Size      *int   `implied:"size of the parent image, and 32 more" doc:"GiB."`
	Encrypted bool   `default:"false" doc:"Encrypts the volume."`
	KmsKeyId  string `doc:"KMS key to encrypt with."`
}

// Build says how an image is made.
type Build struct {
	InstanceType     string        `req:"yes" doc:"EC2 instance type that builds; it has to run the parent image."`
	ParentImage      string        `req:"yes" match:"parent" doc:"AMI to start from, or ARN of an image of EC2 Image Builder."`
	SubnetId         string        `match:"subnet" implied:"the default VPC" doc:"Subnet of the instance that builds; needs SecurityGroupIds."`
	SecurityGroupIds []string      `doc:"Security groups of the instance that builds."`
	Components       []Component   `doc:"What is done to the image on top, in this order."`
	Tags             []Tag         `id:"Key" doc:"Tags of what the build needs."`
	UpdateOsPackages Update        `doc:"Update of the operating system before everything else."`
	Iam              BuildIam      `doc:"Permissions of the build."`
	Imds             Imds          `since:"3.3.0" doc:"Instance metadata service of the instance that builds."`
	Installation     *Installation `since:"3.12.0" doc:"Optional software."`
}

// A Component is something that is done to an image.
type Component struct {
	Type  string `req:"late" oneof:"arn script" doc:"arn for a component of EC2 Image Builder, script for a script."`
	Value string `req:"late" doc:"ARN of the component, or URL (https or s3) of the script."`
}

// Update of the operating system.
type Update struct {
	Enabled bool `default:"false" doc:"Updates all packages and restarts."`
}

// BuildIam are the permissions of a build.
type BuildIam struct {
	InstanceRole          string      `match:"role" implied:"a role made for the build" doc:"ARN of an existing role."`
	InstanceProfile       string      `match:"profile" implied:"a profile made for the build" doc:"ARN of an existing instance profile."`
	CleanupLambdaRole     string      `match:"role" implied:"a role made for the build" doc:"ARN of the role of the function that cleans up."`
	AdditionalIamPolicies []IamPolicy `id:"Policy" doc:"Policies to attach to the role that is made."`
	PermissionsBoundary   string      `match:"policy" doc:"ARN of the policy that bounds every role that is made."`
}

// Installation says which optional software an image has.
type Installation struct {
	NvidiaSoftware Software        `doc:"NVIDIA's driver and what goes with it."`
	LustreClient   InstalledClient `doc:"Client of FSx for Lustre."`
}

// Software that is not installed unless asked for.
type Software struct {
	Enabled bool `default:"false" doc:"Installs it."`
}

// InstalledClient is software that is installed unless declined.
type InstalledClient struct {
	Enabled bool `default:"true" doc:"Installs it."`
}

// ImageDeploymentSettings say how a build is deployed.
type ImageDeploymentSettings struct {
	LambdaFunctionsVpcConfig *VpcConfig `doc:"Runs the build's functions in a VPC."`
}

// ImageDevSettings are for the development of images.
type ImageDevSettings struct {
	Cookbook                   Cookbook      `doc:"Attributes and archive of a Chef cookbook."`
	NodePackage                string        `doc:"URL of a node package."`
	AwsBatchCliPackage         string        `doc:"URL of a Batch command line package."`
	DisablePclusterComponent   bool          `default:"false" doc:"Leaves out what makes the image one for clusters."`
	DistributionConfiguration  *Distribution `doc:"Where the AMI is copied to, and with whom it is shared."`
	TerminateInstanceOnFailure bool          `default:"true" doc:"Ends the instance when the build fails."`
	DisableValidateAndTest     bool          `default:"true" doc:"Leaves out the tests of the image."`
	CincInstallerUrl           string        `since:"3.8.0" doc:"URL of an installer of the Chef client."`
	DisableKernelUpdate        bool          `default:"false" since:"3.8.0" doc:"Keeps the kernel as it is."`
}

// Distribution of an AMI.
type Distribution struct {
	Regions          string `req:"late" match:"regions" doc:"Regions with commas between."`
	LaunchPermission string `doc:"Launch permission of EC2 Image Builder, as JSON."`
}

// Document returns what the user wrote.
func (f *ImageFile) Document() *Document { return f.doc }

// Pos returns the place of a key in the file, or of the nearest section around
// it that the file has.
func (f *ImageFile) Pos(path string) Pos { return f.doc.pos(path) }

// Has says whether the file has the key, whatever its implied value.
func (f *ImageFile) Has(path string) bool { return f.doc.has(path) }

// ParseImage reads an image file as [Parse] reads a cluster file.
func ParseImage(name string, data []byte) (*ImageFile, Problems) {
	doc, found := readDocument(data)
	if doc == nil {
		return nil, found
	}
	for i := range found {
		if found[i].Validator != "" {
			found[i].Validator = ImageSchemaValidator
		}
	}
	f := &ImageFile{doc: doc}
	d := &decoder{doc: doc, found: found, validator: ImageSchemaValidator}
	d.section(reflect.ValueOf(f).Elem(), doc.Root, "", Pos{1, 1})
	return f, d.inOrder()
}

// IsImageFile says whether a document describes an image rather than a cluster:
// whether it says how to build one and nothing of a head node.
func IsImageFile(data []byte) bool {
	if !bytes.Contains(data, []byte("Build")) {
		return false // most files are found out so, without being read
	}
	doc, _ := readDocument(data)
	return doc != nil && doc.Root.Get("Build") != nil && doc.Root.Get("HeadNode") == nil && doc.Root.Get("Scheduling") == nil
}

// imageRules checks what keys of one section of an image file must obey.
func (d *decoder) imageRules(section any, path string, pos Pos) {
	at := func(key string) Pos {
		if p, ok := d.doc.at[join(path, key)]; ok {
			return p
		}
		return pos
	}
	switch s := section.(type) {
	case *BuiltImage:
		for i, t := range s.Tags {
			if reservedTag(t.Key) {
				p := fmt.Sprintf("%s.Tags[%d].Key", path, i)
				d.errorf(p, d.doc.at[p], "choose another key", "tag keys that start with %s are reserved", ToolTagPrefix)
			}
		}
	case *Build:
		sg := patterns["sg"]
		for i, id := range s.SecurityGroupIds {
			if !sg.expr().MatchString(id) {
				p := fmt.Sprintf("%s.SecurityGroupIds[%d]", path, i)
				d.errorf(p, d.doc.at[p], "", "%s is not %s", quote(id), sg.words)
			}
		}
	case *Component:
		switch {
		case s.Value == "" && s.Type == "": // their absence shows later
		case s.Type == "arn" && !strings.HasPrefix(s.Value, "arn"):
			d.errorf(join(path, "Value"), at("Value"), "", "%s is not the ARN of a component", quote(s.Value))
		case s.Type == "script":
			if u, err := url.Parse(s.Value); err != nil || !slices.Contains([]string{"https", "s3"}, u.Scheme) {
				d.errorf(join(path, "Value"), at("Value"), "", "%s has to start with https:// or s3://", quote(s.Value))
			}
		}
	case *Distribution:
		if s.LaunchPermission != "" && !json.Valid([]byte(s.LaunchPermission)) {
			d.errorf(join(path, "LaunchPermission"), at("LaunchPermission"), "", "is not JSON")
		}
	}
}
