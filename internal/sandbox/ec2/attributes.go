package ec2

import (
	"context"
	"encoding/base64"
	"errors"
	"io/fs"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/facts/catalog"
	"pcluster/internal/sandbox/wire"
)

// attributeChange reads the one attribute that a request changes in an instance's
// row; those of interfaces are not its business.
func (s *Service) attributeChange(i *instance, in *sdk.ModifyInstanceAttributeInput) (func(*instance), error) {
	mustBeStopped := func(what string) error {
		if i.state() == types.InstanceStateNameStopped {
			return nil
		}
		return wire.Errorf("IncorrectInstanceState", "The instance '%s' is not in the 'stopped' state: its %s cannot be changed.", instanceKey(i), what)
	}
	value := func(v *types.AttributeValue, name types.InstanceAttributeName) (string, bool) {
		if v != nil {
			return aws.ToString(v.Value), true
		}
		return aws.ToString(in.Value), in.Attribute == name && in.Value != nil
	}
	truth := func(v *types.AttributeBooleanValue, name types.InstanceAttributeName) (bool, bool) {
		if v != nil {
			return aws.ToBool(v.Value), true
		}
		return aws.ToString(in.Value) == "true", in.Attribute == name && in.Value != nil
	}
	if v, ok := value(in.InstanceType, types.InstanceAttributeNameInstanceType); ok {
		info, known := catalog.InstanceType(v)
		if !known {
			return nil, invalidValue("Invalid value '%s' for InstanceType.", v)
		}
		return func(i *instance) {
			i.Desc.InstanceType = types.InstanceType(v)
			i.VCPUs, i.MemoryMiB = int(*info.VCpuInfo.DefaultVCpus), *info.MemoryInfo.SizeInMiB
			i.Desc.CpuOptions = &types.CpuOptions{CoreCount: info.VCpuInfo.DefaultCores, ThreadsPerCore: info.VCpuInfo.DefaultThreadsPerCore}
		}, mustBeStopped("type")
	}
	if in.UserData != nil {
		encoded := base64.StdEncoding.EncodeToString(in.UserData.Value)
		if len(in.UserData.Value) > maxUserData {
			return nil, invalidValue("User data is limited to %d bytes", maxUserData)
		}
		return func(i *instance) { i.UserData = encoded }, mustBeStopped("user data")
	}
	if v, ok := value(in.InstanceInitiatedShutdownBehavior, types.InstanceAttributeNameInstanceInitiatedShutdownBehavior); ok {
		if v != string(types.ShutdownBehaviorStop) && v != string(types.ShutdownBehaviorTerminate) {
			return nil, invalidValue("Invalid value '%s' for instanceInitiatedShutdownBehavior", v)
		}
		return func(i *instance) { i.Shutdown = types.ShutdownBehavior(v) }, nil
	}
	if v, ok := truth(in.DisableApiTermination, types.InstanceAttributeNameDisableApiTermination); ok {
		return func(i *instance) { i.KeepAlive = v }, nil
	}
	if v, ok := truth(in.DisableApiStop, types.InstanceAttributeNameDisableApiStop); ok {
		return func(i *instance) { i.KeepStopped = v }, nil
	}
	if v, ok := truth(in.EbsOptimized, types.InstanceAttributeNameEbsOptimized); ok {
		return func(i *instance) { i.Desc.EbsOptimized = aws.Bool(v) }, mustBeStopped("EBS optimization")
	}
	if len(in.BlockDeviceMappings) > 0 {
		return s.deviceChange(in.BlockDeviceMappings)
	}
	if len(in.Groups) > 0 || in.SourceDestCheck != nil {
		return nil, nil
	}
	return nil, missing("an attribute to change")
}

// deviceChange changes which volumes end with the instance.
func (s *Service) deviceChange(changes []types.InstanceBlockDeviceMappingSpecification) (func(*instance), error) {
	keep := map[string]bool{}
	for _, c := range changes {
		if c.Ebs != nil && c.Ebs.DeleteOnTermination != nil {
			keep[aws.ToString(c.DeviceName)] = *c.Ebs.DeleteOnTermination
		}
	}
	return func(i *instance) {
		mappings := make([]types.InstanceBlockDeviceMapping, len(i.Desc.BlockDeviceMappings))
		for n, m := range i.Desc.BlockDeviceMappings {
			if v, ok := keep[*m.DeviceName]; ok {
				ebs := *m.Ebs
				ebs.DeleteOnTermination = aws.Bool(v)
				m.Ebs = &ebs
			}
			mappings[n] = m
		}
		i.Desc.BlockDeviceMappings = mappings
	}, nil
}

// ModifyInstanceMetadataOptions changes how an instance's metadata can be read, at
// once.
func (s *Service) ModifyInstanceMetadataOptions(_ context.Context, in *sdk.ModifyInstanceMetadataOptionsInput) (*sdk.ModifyInstanceMetadataOptionsOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := find(s.instances, nounInstance, aws.ToString(in.InstanceId))
	if err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	i, err = s.instances.update(instanceKey(i), func(i *instance) error {
		m := *i.Desc.MetadataOptions
		if in.HttpEndpoint != "" {
			m.HttpEndpoint = in.HttpEndpoint
		}
		if in.HttpTokens != "" {
			m.HttpTokens = in.HttpTokens
		}
		if in.HttpPutResponseHopLimit != nil {
			m.HttpPutResponseHopLimit = in.HttpPutResponseHopLimit
		}
		if in.InstanceMetadataTags != "" {
			m.InstanceMetadataTags = in.InstanceMetadataTags
		}
		i.Desc.MetadataOptions = &m
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &sdk.ModifyInstanceMetadataOptionsOutput{InstanceId: in.InstanceId, InstanceMetadataOptions: i.Desc.MetadataOptions}, nil
}

// GetConsoleOutput returns what a machine wrote to its console, also after its
// instance was terminated.
func (s *Service) GetConsoleOutput(_ context.Context, in *sdk.GetConsoleOutputInput) (*sdk.GetConsoleOutputOutput, error) {
	id := aws.ToString(in.InstanceId)
	i, err := find(s.instances, nounInstance, id)
	if err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	out, err := os.ReadFile(s.consoleFile(id))
	if errors.Is(err, fs.ErrNotExist) {
		out = nil
		if i.state() != types.InstanceStateNameTerminated {
			// A machine that has not begun to boot has no console: that is empty output.
			out, _ = s.cfg.Machines.Console(id)
		}
	} else if err != nil {
		return nil, err
	}
	return &sdk.GetConsoleOutputOutput{
		InstanceId: in.InstanceId,
		Output:     aws.String(base64.StdEncoding.EncodeToString(tail(out))),
		Timestamp:  aws.Time(s.now().UTC()),
	}, nil
}
