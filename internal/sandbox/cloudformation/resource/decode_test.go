package resource

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func parse(t *testing.T, text string) map[string]any {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var m map[string]any
	if err := dec.Decode(&m); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return m
}

func TestPropertiesBecomeInputs(t *testing.T) {
	p := like[ec2.CreateLaunchTemplateInput]()
	got := input[ec2.CreateLaunchTemplateInput](p, parse(t, `{"LaunchTemplateName": "x", "LaunchTemplateData": {
		"ImageId": "ami-1", "InstanceType": "t3.micro", "EbsOptimized": "true", "Monitoring": {"Enabled": false},
		"BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": "40", "Iops": 3000, "Encrypted": true, "Throughput": 125.0}}],
		"NetworkInterfaces": [{"DeviceIndex": "0", "Groups": ["sg-1"], "NetworkCardIndex": 1}],
		"CreditSpecification": {"CpuCredits": "standard"}}}`))
	want := &ec2.CreateLaunchTemplateInput{LaunchTemplateName: aws.String("x"), LaunchTemplateData: &ec2types.RequestLaunchTemplateData{
		ImageId: aws.String("ami-1"), InstanceType: "t3.micro", EbsOptimized: aws.Bool(true), Monitoring: &ec2types.LaunchTemplatesMonitoringRequest{Enabled: aws.Bool(false)},
		BlockDeviceMappings: []ec2types.LaunchTemplateBlockDeviceMappingRequest{{DeviceName: aws.String("/dev/xvda"), Ebs: &ec2types.LaunchTemplateEbsBlockDeviceRequest{
			VolumeSize: aws.Int32(40), Iops: aws.Int32(3000), Encrypted: aws.Bool(true), Throughput: aws.Int32(125),
		}}},
		NetworkInterfaces:   []ec2types.LaunchTemplateInstanceNetworkInterfaceSpecificationRequest{{DeviceIndex: aws.Int32(0), Groups: []string{"sg-1"}, NetworkCardIndex: aws.Int32(1)}},
		CreditSpecification: &ec2types.CreditSpecificationRequest{CpuCredits: aws.String("standard")},
	}}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(
		ec2.CreateLaunchTemplateInput{}, ec2types.RequestLaunchTemplateData{}, ec2types.LaunchTemplatesMonitoringRequest{}, ec2types.LaunchTemplateBlockDeviceMappingRequest{},
		ec2types.LaunchTemplateEbsBlockDeviceRequest{}, ec2types.LaunchTemplateInstanceNetworkInterfaceSpecificationRequest{}, ec2types.CreditSpecificationRequest{})); diff != "" {
		t.Errorf("input (-want +got):\n%s", diff)
	}
}

func TestCheckNamesWhatIsWrong(t *testing.T) {
	types := map[string]*Type{}
	for _, list := range [][]*Type{networkTypes(nil), securityGroupTypes(nil), addressTypes(nil), volumeTypes(nil), instanceTypes(nil, nil), iamTypes(nil), fsxTypes(nil), logsTypes(nil), lambdaTypes(nil)} {
		for _, typ := range list {
			types[typ.Name] = typ
		}
	}
	for name, tt := range map[string]struct{ typ, props, want string }{
		"right":                     {"AWS::EC2::Volume", `{"AvailabilityZone": "a", "Size": "10", "Encrypted": "TRUE", "Tags": [{"Key": "a", "Value": "b"}]}`, ""},
		"unknown property":          {"AWS::EC2::Volume", `{"Colour": "red"}`, "#: extraneous key [Colour] is not permitted"},
		"unknown nested property":   {"AWS::EC2::LaunchTemplate", `{"LaunchTemplateData": {"BlockDeviceMappings": [{}, {"Ebs": {"Size": 1}}]}}`, "#/LaunchTemplateData/BlockDeviceMappings/1/Ebs: extraneous key [Size] is not permitted"},
		"missing property":          {"AWS::EC2::SecurityGroup", `{}`, "#: required key [GroupDescription] not found"},
		"internals are none":        {"AWS::EC2::Volume", `{"ClientToken": "x", "DryRun": true}`, "#: extraneous key [ClientToken] is not permitted\n#: extraneous key [DryRun] is not permitted"},
		"of AWS, but not here":      {"AWS::EC2::Instance", `{"HostId": "h-1"}`, "#: property HostId is not supported in the local region"},
		"no number":                 {"AWS::EC2::Volume", `{"Size": "ten"}`, "#/Size: expected type: Integer, found: String"},
		"no whole number":           {"AWS::EC2::Volume", `{"Size": 1.5}`, "#/Size: expected type: Integer, found: String"},
		"no boolean":                {"AWS::EC2::Volume", `{"Encrypted": "maybe"}`, "#/Encrypted: expected type: Boolean, found: String"},
		"no list":                   {"AWS::EC2::NetworkInterface", `{"SubnetId": "subnet-1", "GroupSet": "sg-1"}`, "#/GroupSet: expected type: JSONArray, found: String"},
		"no object":                 {"AWS::FSx::FileSystem", `{"FileSystemType": "LUSTRE", "SubnetIds": ["s"], "LustreConfiguration": []}`, "#/LustreConfiguration: expected type: JSONObject, found: JSONArray"},
		"object for a string":       {"AWS::EC2::Volume", `{"AvailabilityZone": {"a": "b"}}`, "#/AvailabilityZone: expected type: String, found: JSONObject"},
		"a policy may be an object": {"AWS::IAM::Role", `{"AssumeRolePolicyDocument": {"Version": "2012-10-17"}}`, ""},
		"dimensions are a list":     {"AWS::Logs::MetricFilter", `{"FilterPattern": "", "LogGroupName": "g", "MetricTransformations": [{"MetricName": "m", "Dimensions": [{"Key": "a", "Value": "$.b"}]}]}`, ""},
		"source in a function":      {"AWS::Lambda::Function", `{"Role": "r", "Code": {"ZipFile": "def handler(): pass"}}`, ""},
		"rule of a group":           {"AWS::EC2::SecurityGroupIngress", `{"IpProtocol": "-1", "Cidr": "0.0.0.0/0"}`, "#: extraneous key [Cidr] is not permitted"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := strings.Join(types[tt.typ].Check(parse(t, tt.props)), "\n"); got != tt.want {
				t.Errorf("Check: %s\nwant: %s", got, tt.want)
			}
		})
	}
}

func TestReplacement(t *testing.T) {
	lustre := fsxTypes(nil)[0]
	rule := securityGroupTypes(nil)[1]
	for name, tt := range map[string]struct {
		typ           *Type
		before, after string
		want          string
	}{
		"nested property that cannot change": {lustre, `{"LustreConfiguration": {"ImportPath": "s3://a"}}`, `{"LustreConfiguration": {"ImportPath": "s3://b"}}`, "LustreConfiguration.ImportPath"},
		"nested property that can":           {lustre, `{"LustreConfiguration": {"DataCompressionType": "NONE"}}`, `{"LustreConfiguration": {"DataCompressionType": "LZ4"}}`, ""},
		"another way to write it":            {lustre, `{"SubnetIds": ["s"], "StorageCapacity": 1200}`, `{"SubnetIds": ["s"], "StorageCapacity": "1200"}`, ""},
		"rule":                               {rule, `{"FromPort": 1, "CidrIp": "a"}`, `{"FromPort": 2, "CidrIp": "b"}`, "CidrIp,FromPort"},
		"description of a rule":              {rule, `{"FromPort": 1, "Description": "a"}`, `{"FromPort": 1, "Description": "b"}`, ""},
	} {
		if got := strings.Join(tt.typ.Replacement(parse(t, tt.before), parse(t, tt.after)), ","); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

func TestSecretsAreGenerated(t *testing.T) {
	for spec, check := range map[string]func(string) bool{
		`{}`:                     func(s string) bool { return len(s) == 32 },
		`{"PasswordLength": 10}`: func(s string) bool { return len(s) == 10 && strings.ContainsAny(s, "0123456789") },
		`{"ExcludePunctuation": true, "ExcludeNumbers": true, "ExcludeUppercase": true, "ExcludeCharacters": "abc"}`: func(s string) bool {
			return strings.Trim(s, "defghijklmnopqrstuvwxyz") == ""
		},
		`{"SecretStringTemplate": "{\"user\": \"slurm\"}", "GenerateStringKey": "password"}`: func(s string) bool {
			var m map[string]string
			return json.Unmarshal([]byte(s), &m) == nil && m["user"] == "slurm" && len(m["password"]) == 32
		},
	} {
		got, err := generateSecret(any(parse(t, spec)))
		if err != nil || !check(got) {
			t.Errorf("%s: %q, %v", spec, got, err)
		}
	}
	if _, err := generateSecret(any(parse(t, `{"PasswordLength": 2}`))); err == nil {
		t.Error("a password of two characters cannot have one of each kind")
	}
}
