package config

import (
	"strings"
	"testing"
)

const imageFile = "Build: {InstanceType: c5.xlarge, ParentImage: ami-0a0a0a0a}\n"

func TestImageFileHasImpliedValues(t *testing.T) {
	f, found := ParseImage("", []byte(imageFile))
	if err := found.Err(); err != nil {
		t.Fatal(err)
	}
	if f.Build.Imds.ImdsSupport != "v2.0" || f.Image.RootVolume.Encrypted || !f.DevSettings.TerminateInstanceOnFailure || f.Image.RootVolume.Size != nil {
		t.Errorf("%+v", f)
	}
	if f.Pos("Build.ParentImage") == (Pos{}) || f.Has("Image") {
		t.Error("places are wrong")
	}
}

func TestMistakesInImageFiles(t *testing.T) {
	for text, want := range map[string]string{
		"Image: {Name: x}\n": "Build is missing",
		"Build: {InstanceType: c5.xlarge, ParentImage: snap-1}\n":                                                  `"snap-1" is not an AMI ID, or the ARN of an image`,
		"Build: {InstancType: c5.xlarge, ParentImage: ami-0a0a0a0a}\n":                                             "did you mean InstanceType?",
		imageFile + "HeadNode: {}\n":                                                                               "is not a key of an image file",
		imageFile + "Image: {Tags: [{Key: 'parallelcluster:x', Value: y}]}\n":                                      "are reserved",
		"Build: {InstanceType: c5.xlarge, ParentImage: ami-1, SecurityGroupIds: [x]}\n":                            `"x" is not a security group ID`,
		"Build: {InstanceType: c5.xlarge, ParentImage: ami-1, Components: [{Type: script, Value: 'ftp://x/y'}]}\n": "has to start with https:// or s3://",
		"Build: {InstanceType: c5.xlarge, ParentImage: ami-1, Components: [{Type: script}]}\n":                     "Value is missing",
		imageFile + "DevSettings: {DistributionConfiguration: {Regions: us-east-1, LaunchPermission: x}}\n":        "is not JSON",
	} {
		_, found := ParseImage("", []byte(text))
		var all []string
		for _, p := range found {
			if p.Validator != ImageSchemaValidator {
				t.Errorf("%s: found by %s", text, p.Validator)
			}
			all = append(all, p.String())
		}
		if !strings.Contains(strings.Join(all, "\n"), want) {
			t.Errorf("%s: %v, want %s", text, all, want)
		}
	}
}

func TestKindOfFile(t *testing.T) {
	for text, want := range map[string]bool{imageFile: true, "HeadNode: {}\nBuild: {}\n": false, "Image: {}": false, "": false, "Build: {": false} {
		if got := IsImageFile([]byte(text)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
