package resource

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"pcluster/internal/sandbox/cloudformation/template"
)

// instanceTypes are instances and what they are launched with. Parameters may be
// nil: then a key pair must bring its public key.
func instanceTypes(api EC2, parameters SSM) []*Type {
	return []*Type{placementGroupType(api), keyPairType(api, parameters), launchTemplateType(api), instanceType(api)}
}

func placementGroupType(api EC2) *Type {
	t := &Type{
		Name:       "AWS::EC2::PlacementGroup",
		Attributes: []string{"GroupName"},
		Replaces:   []string{"*"},
		properties: like[ec2.CreatePlacementGroupInput]().and("Tags").without("LinkedGroupId", "ParentGroupId"),
	}
	t.Create = func(ctx context.Context, r *Request) error {
		in := input[ec2.CreatePlacementGroupInput](t.properties, r.Props)
		in.GroupName = aws.String(r.Name("GroupName", 255))
		if in.Strategy == "" {
			in.Strategy = types.PlacementStrategyCluster
		}
		in.TagSpecifications = r.tagSpec(types.ResourceTypePlacementGroup)
		if _, err := api.CreatePlacementGroup(ctx, in); err != nil && !(r.Resumed && alreadyExists(err)) {
			return err
		}
		r.Set("GroupName", *in.GroupName)
		return r.Created(*in.GroupName)
	}
	t.Delete = func(ctx context.Context, r *Request) error {
		return gone(r.Retry(func() error {
			_, err := api.DeletePlacementGroup(ctx, &ec2.DeletePlacementGroupInput{GroupName: aws.String(r.PhysicalID)})
			return err
		}, "InvalidPlacementGroup.InUse"))
	}
	return t
}

// keyPairType makes a key pair, or imports one. The private key of a new one goes
// to the parameter /ec2/keypair/ID, as on AWS.
func keyPairType(api EC2, parameters SSM) *Type {
	t := &Type{
		Name:       "AWS::EC2::KeyPair",
		Attributes: []string{"KeyPairId", "KeyFingerprint"},
		Replaces:   []string{"*"},
		properties: only("KeyName", "KeyType", "KeyFormat", "PublicKeyMaterial", "Tags").requires("KeyName"),
	}
	parameterName := func(id string) *string { return aws.String("/ec2/keypair/" + id) }
	t.Create = func(ctx context.Context, r *Request) error {
		name := r.String("KeyName")
		if r.Resumed {
			// Its private key may be lost: start again.
			if _, err := api.DeleteKeyPair(ctx, &ec2.DeleteKeyPairInput{KeyName: aws.String(name)}); gone(err) != nil {
				return err
			}
		}
		if r.Has("PublicKeyMaterial") {
			out, err := api.ImportKeyPair(ctx, &ec2.ImportKeyPairInput{
				KeyName: aws.String(name), PublicKeyMaterial: []byte(r.String("PublicKeyMaterial")), TagSpecifications: r.tagSpec(types.ResourceTypeKeyPair),
			})
			if err != nil {
				return err
			}
			r.Set("KeyPairId", aws.ToString(out.KeyPairId))
			r.Set("KeyFingerprint", aws.ToString(out.KeyFingerprint))
			return r.Created(name)
		}
		if parameters == nil {
			return errors.New("a key pair without PublicKeyMaterial needs Systems Manager, which this region lacks")
		}
		out, err := api.CreateKeyPair(ctx, &ec2.CreateKeyPairInput{
			KeyName: aws.String(name), KeyType: types.KeyType(r.StringOr("KeyType", "rsa")), KeyFormat: types.KeyFormat(r.StringOr("KeyFormat", "pem")),
			TagSpecifications: r.tagSpec(types.ResourceTypeKeyPair),
		})
		if err != nil {
			return err
		}
		id := aws.ToString(out.KeyPairId)
		r.Set("KeyPairId", id)
		r.Set("KeyFingerprint", aws.ToString(out.KeyFingerprint))
		if err := r.Created(name); err != nil {
			return err
		}
		_, err = parameters.PutParameter(ctx, &ssm.PutParameterInput{
			Name: parameterName(id), Value: out.KeyMaterial, Type: ssmtypes.ParameterTypeSecureString, Overwrite: aws.Bool(true),
		})
		return err
	}
	t.Delete = func(ctx context.Context, r *Request) error {
		if id, _ := r.Attributes["KeyPairId"].(string); id != "" && !r.Has("PublicKeyMaterial") && parameters != nil {
			if _, err := parameters.DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: parameterName(id)}); gone(err) != nil {
				return err
			}
		}
		_, err := api.DeleteKeyPair(ctx, &ec2.DeleteKeyPairInput{KeyName: aws.String(r.PhysicalID)})
		return gone(err)
	}
	return t
}

func launchTemplateType(api EC2) *Type {
	t := &Type{
		Name:       "AWS::EC2::LaunchTemplate",
		Attributes: []string{"LaunchTemplateId", "LatestVersionNumber", "DefaultVersionNumber"},
		Replaces:   []string{"LaunchTemplateName"},
		properties: like[ec2.CreateLaunchTemplateInput]("LaunchTemplateData"),
	}
	// Tags of the template itself are a specification in its properties.
	own := func(props map[string]any) map[string]any {
		for _, spec := range rules(props, "TagSpecifications") {
			if kind, _ := template.Text(spec["ResourceType"]); kind == string(types.ResourceTypeLaunchTemplate) {
				return spec
			}
		}
		return nil
	}
	t.Create = func(ctx context.Context, r *Request) error {
		in := input[ec2.CreateLaunchTemplateInput](t.properties, r.Props)
		if in.LaunchTemplateName == nil {
			in.LaunchTemplateName = aws.String(r.LogicalID + "_" + nameSuffix(r.Token))
		}
		in.ClientToken = aws.String(r.Token)
		in.TagSpecifications = nil
		if tags := mergeTags(own(r.Props), r.Tags, nil); tags != nil {
			in.TagSpecifications = []types.TagSpecification{{ResourceType: types.ResourceTypeLaunchTemplate, Tags: ec2Tags(tags)}}
		}
		out, err := api.CreateLaunchTemplate(ctx, in)
		if err != nil {
			return err
		}
		lt := out.LaunchTemplate
		r.Set("LaunchTemplateId", aws.ToString(lt.LaunchTemplateId))
		r.Set("LatestVersionNumber", fmt.Sprint(aws.ToInt64(lt.LatestVersionNumber)))
		r.Set("DefaultVersionNumber", fmt.Sprint(aws.ToInt64(lt.DefaultVersionNumber)))
		return r.Created(aws.ToString(lt.LaunchTemplateId))
	}
	t.Update = func(ctx context.Context, r *Request) error {
		if r.Changed("LaunchTemplateData", "VersionDescription") {
			in := input[ec2.CreateLaunchTemplateInput](t.properties, r.Props)
			out, err := api.CreateLaunchTemplateVersion(ctx, &ec2.CreateLaunchTemplateVersionInput{
				LaunchTemplateId: aws.String(r.PhysicalID), LaunchTemplateData: in.LaunchTemplateData,
				VersionDescription: in.VersionDescription, ClientToken: aws.String(r.Token),
			})
			if err != nil {
				return err
			}
			r.Set("LatestVersionNumber", fmt.Sprint(aws.ToInt64(out.LaunchTemplateVersion.VersionNumber)))
		}
		tags := *r
		tags.Props, tags.Before = own(r.Props), own(r.Before)
		return retag(ctx, api, &tags, r.PhysicalID)
	}
	t.Delete = func(ctx context.Context, r *Request) error {
		_, err := api.DeleteLaunchTemplate(ctx, &ec2.DeleteLaunchTemplateInput{LaunchTemplateId: aws.String(r.PhysicalID)})
		return gone(err)
	}
	return t
}

func instanceType(api EC2) *Type {
	t := &Type{
		Name:       "AWS::EC2::Instance",
		Attributes: []string{"InstanceId", "PrivateIp", "PrivateDnsName", "PublicIp", "PublicDnsName", "AvailabilityZone", "VpcId", "State.*"},
		Replaces: []string{
			"ImageId", "KeyName", "SubnetId", "AvailabilityZone", "NetworkInterfaces", "PrivateIpAddress", "BlockDeviceMappings", "LaunchTemplate",
			"SecurityGroups", "Tenancy", "PlacementGroupName", "CpuOptions", "HostId", "MetadataOptions", "HibernationOptions", "EnclaveOptions", "Ipv6Addresses", "Ipv6AddressCount",
		},
		Signals: true,
		properties: like[ec2.RunInstancesInput]().
			and("Tags", "SourceDestCheck", "IamInstanceProfile", "Monitoring", "Tenancy", "AvailabilityZone", "PlacementGroupName", "Volumes", "PropagateTagsToVolumeOnCreation").
			refuses("HostId", "Affinity", "HostResourceGroupArn", "SsmAssociations", "ElasticGpuSpecifications").
			without("MinCount", "MaxCount", "Placement", "InstanceMarketOptions", "SecondaryInterfaces", "CapacityReservationSpecification"),
	}
	describe := func(ctx context.Context, id string) (types.Instance, error) {
		out, err := api.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
		if err != nil {
			return types.Instance{}, err
		}
		for _, reservation := range out.Reservations {
			for _, i := range reservation.Instances {
				return i, nil
			}
		}
		return types.Instance{}, nil
	}
	// reach waits until the instance is in the wanted state and takes over its attributes.
	reach := func(ctx context.Context, r *Request, want types.InstanceStateName) error {
		return r.Wait(func() (bool, error) {
			i, err := describe(ctx, r.PhysicalID)
			if err != nil {
				return want == types.InstanceStateNameTerminated && notFound(err), gone(err)
			}
			if i.State == nil {
				return want == types.InstanceStateNameTerminated, nil
			}
			if i.State.Name == want {
				setInstanceAttributes(r, i)
				return true, nil
			}
			if want != types.InstanceStateNameTerminated && (i.State.Name == types.InstanceStateNameTerminated || i.State.Name == types.InstanceStateNameShuttingDown) {
				reason := aws.ToString(i.StateTransitionReason)
				if i.StateReason != nil {
					reason = aws.ToString(i.StateReason.Message)
				}
				return false, fmt.Errorf("Instance %s failed to stabilize. Current state: %s. Reason: %s", r.PhysicalID, i.State.Name, reason)
			}
			return false, nil
		})
	}
	t.Create = func(ctx context.Context, r *Request) error {
		in := input[ec2.RunInstancesInput](t.properties, r.Props)
		in.MinCount, in.MaxCount = aws.Int32(1), aws.Int32(1)
		in.ClientToken = aws.String(r.Token)
		in.TagSpecifications = r.tagSpec(types.ResourceTypeInstance)
		if r.Bool("PropagateTagsToVolumeOnCreation") {
			in.TagSpecifications = append(in.TagSpecifications, r.tagSpec(types.ResourceTypeVolume)...)
		}
		if r.Has("IamInstanceProfile") {
			in.IamInstanceProfile = &types.IamInstanceProfileSpecification{Name: aws.String(r.String("IamInstanceProfile"))}
		}
		if r.Has("Monitoring") {
			in.Monitoring = &types.RunInstancesMonitoringEnabled{Enabled: aws.Bool(r.Bool("Monitoring"))}
		}
		if r.Has("AvailabilityZone") || r.Has("Tenancy") || r.Has("PlacementGroupName") {
			in.Placement = &types.Placement{Tenancy: types.Tenancy(r.String("Tenancy"))}
			if r.Has("AvailabilityZone") {
				in.Placement.AvailabilityZone = aws.String(r.String("AvailabilityZone"))
			}
			if r.Has("PlacementGroupName") {
				in.Placement.GroupName = aws.String(r.String("PlacementGroupName"))
			}
		}
		out, err := api.RunInstances(ctx, in)
		if err != nil {
			return err
		}
		if len(out.Instances) != 1 {
			return fmt.Errorf("RunInstances returned %d instances", len(out.Instances))
		}
		if err := r.Created(aws.ToString(out.Instances[0].InstanceId)); err != nil {
			return err
		}
		if r.Has("SourceDestCheck") {
			if _, err := api.ModifyInstanceAttribute(ctx, &ec2.ModifyInstanceAttributeInput{
				InstanceId: aws.String(r.PhysicalID), SourceDestCheck: &types.AttributeBooleanValue{Value: aws.Bool(r.Bool("SourceDestCheck"))},
			}); err != nil {
				return err
			}
		}
		if err := reach(ctx, r, types.InstanceStateNameRunning); err != nil {
			return err
		}
		for _, v := range rules(r.Props, "Volumes") {
			id, _ := template.Text(v["VolumeId"])
			device, _ := template.Text(v["Device"])
			if _, err := api.AttachVolume(ctx, &ec2.AttachVolumeInput{InstanceId: aws.String(r.PhysicalID), VolumeId: aws.String(id), Device: aws.String(device)}); err != nil && !(r.Resumed && errorCode(err) == "VolumeInUse") {
				return err
			}
		}
		return nil
	}
	t.Update = func(ctx context.Context, r *Request) error {
		id := aws.String(r.PhysicalID)
		modify := func(in ec2.ModifyInstanceAttributeInput) error {
			in.InstanceId = id
			_, err := api.ModifyInstanceAttribute(ctx, &in)
			return err
		}
		if r.Changed("SecurityGroupIds") {
			groups, err := decodeInto[[]string](r.Props["SecurityGroupIds"])
			if err != nil {
				return err
			}
			if err := modify(ec2.ModifyInstanceAttributeInput{Groups: groups}); err != nil {
				return err
			}
		}
		if r.Changed("SourceDestCheck") {
			if err := modify(ec2.ModifyInstanceAttributeInput{SourceDestCheck: &types.AttributeBooleanValue{Value: aws.Bool(r.StringOr("SourceDestCheck", "true") == "true")}}); err != nil {
				return err
			}
		}
		if r.Changed("DisableApiTermination") {
			if err := modify(ec2.ModifyInstanceAttributeInput{DisableApiTermination: &types.AttributeBooleanValue{Value: aws.Bool(r.Bool("DisableApiTermination"))}}); err != nil {
				return err
			}
		}
		if r.Changed("InstanceInitiatedShutdownBehavior") {
			if err := modify(ec2.ModifyInstanceAttributeInput{InstanceInitiatedShutdownBehavior: &types.AttributeValue{Value: aws.String(r.StringOr("InstanceInitiatedShutdownBehavior", "stop"))}}); err != nil {
				return err
			}
		}
		if r.Changed("InstanceType", "UserData", "EbsOptimized") {
			// EC2 changes these only while the instance is stopped.
			if _, err := api.StopInstances(ctx, &ec2.StopInstancesInput{InstanceIds: []string{r.PhysicalID}}); err != nil {
				return err
			}
			if err := reach(ctx, r, types.InstanceStateNameStopped); err != nil {
				return err
			}
			if r.Changed("InstanceType") {
				if err := modify(ec2.ModifyInstanceAttributeInput{InstanceType: &types.AttributeValue{Value: aws.String(r.String("InstanceType"))}}); err != nil {
					return err
				}
			}
			if r.Changed("UserData") {
				data, err := base64.StdEncoding.DecodeString(r.String("UserData"))
				if err != nil {
					return fmt.Errorf("UserData is not base64: %w", err)
				}
				if err := modify(ec2.ModifyInstanceAttributeInput{UserData: &types.SecureBlobAttributeValue{Value: data}}); err != nil {
					return err
				}
			}
			if r.Changed("EbsOptimized") {
				if err := modify(ec2.ModifyInstanceAttributeInput{EbsOptimized: &types.AttributeBooleanValue{Value: aws.Bool(r.Bool("EbsOptimized"))}}); err != nil {
					return err
				}
			}
			if _, err := api.StartInstances(ctx, &ec2.StartInstancesInput{InstanceIds: []string{r.PhysicalID}}); err != nil {
				return err
			}
			if err := reach(ctx, r, types.InstanceStateNameRunning); err != nil {
				return err
			}
		}
		return retag(ctx, api, r, r.PhysicalID)
	}
	t.Delete = func(ctx context.Context, r *Request) error {
		if _, err := api.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{r.PhysicalID}}); err != nil {
			return gone(err)
		}
		return reach(ctx, r, types.InstanceStateNameTerminated)
	}
	return t
}

func setInstanceAttributes(r *Request, i types.Instance) {
	r.Set("InstanceId", r.PhysicalID)
	r.Set("PrivateIp", aws.ToString(i.PrivateIpAddress))
	r.Set("PrivateDnsName", aws.ToString(i.PrivateDnsName))
	r.Set("PublicIp", aws.ToString(i.PublicIpAddress))
	r.Set("PublicDnsName", aws.ToString(i.PublicDnsName))
	r.Set("VpcId", aws.ToString(i.VpcId))
	r.Set("State.Name", string(i.State.Name))
	if i.Placement != nil {
		r.Set("AvailabilityZone", aws.ToString(i.Placement.AvailabilityZone))
	}
}
