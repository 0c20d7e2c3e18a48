package ec2

import (
	"cmp"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// overlay returns base with what over sets in place of it: whole members, as a new
// version of a launch template takes them from its source.
func overlay(base, over types.RequestLaunchTemplateData) types.RequestLaunchTemplateData {
	return types.RequestLaunchTemplateData{
		BlockDeviceMappings:               list(over.BlockDeviceMappings, base.BlockDeviceMappings),
		CapacityReservationSpecification:  cmp.Or(over.CapacityReservationSpecification, base.CapacityReservationSpecification),
		CpuOptions:                        cmp.Or(over.CpuOptions, base.CpuOptions),
		CreditSpecification:               cmp.Or(over.CreditSpecification, base.CreditSpecification),
		DisableApiStop:                    cmp.Or(over.DisableApiStop, base.DisableApiStop),
		DisableApiTermination:             cmp.Or(over.DisableApiTermination, base.DisableApiTermination),
		EbsOptimized:                      cmp.Or(over.EbsOptimized, base.EbsOptimized),
		ElasticGpuSpecifications:          list(over.ElasticGpuSpecifications, base.ElasticGpuSpecifications),
		ElasticInferenceAccelerators:      list(over.ElasticInferenceAccelerators, base.ElasticInferenceAccelerators),
		EnclaveOptions:                    cmp.Or(over.EnclaveOptions, base.EnclaveOptions),
		HibernationOptions:                cmp.Or(over.HibernationOptions, base.HibernationOptions),
		IamInstanceProfile:                cmp.Or(over.IamInstanceProfile, base.IamInstanceProfile),
		ImageId:                           cmp.Or(over.ImageId, base.ImageId),
		InstanceInitiatedShutdownBehavior: cmp.Or(over.InstanceInitiatedShutdownBehavior, base.InstanceInitiatedShutdownBehavior),
		InstanceMarketOptions:             cmp.Or(over.InstanceMarketOptions, base.InstanceMarketOptions),
		InstanceRequirements:              cmp.Or(over.InstanceRequirements, base.InstanceRequirements),
		InstanceType:                      cmp.Or(over.InstanceType, base.InstanceType),
		KernelId:                          cmp.Or(over.KernelId, base.KernelId),
		KeyName:                           cmp.Or(over.KeyName, base.KeyName),
		LicenseSpecifications:             list(over.LicenseSpecifications, base.LicenseSpecifications),
		MaintenanceOptions:                cmp.Or(over.MaintenanceOptions, base.MaintenanceOptions),
		MetadataOptions:                   cmp.Or(over.MetadataOptions, base.MetadataOptions),
		Monitoring:                        cmp.Or(over.Monitoring, base.Monitoring),
		NetworkInterfaces:                 list(over.NetworkInterfaces, base.NetworkInterfaces),
		NetworkPerformanceOptions:         cmp.Or(over.NetworkPerformanceOptions, base.NetworkPerformanceOptions),
		Operator:                          cmp.Or(over.Operator, base.Operator),
		Placement:                         cmp.Or(over.Placement, base.Placement),
		PrivateDnsNameOptions:             cmp.Or(over.PrivateDnsNameOptions, base.PrivateDnsNameOptions),
		RamDiskId:                         cmp.Or(over.RamDiskId, base.RamDiskId),
		SecondaryInterfaces:               list(over.SecondaryInterfaces, base.SecondaryInterfaces),
		SecurityGroupIds:                  list(over.SecurityGroupIds, base.SecurityGroupIds),
		SecurityGroups:                    list(over.SecurityGroups, base.SecurityGroups),
		TagSpecifications:                 list(over.TagSpecifications, base.TagSpecifications),
		UserData:                          cmp.Or(over.UserData, base.UserData),
	}
}

func list[T any](over, base []T) []T {
	if len(over) > 0 {
		return over
	}
	return base
}

// forLaunch returns what a request launches from a template: request members win,
// but tags and block devices are merged one by one, and metadata options and
// placement member by member, as EC2 does.
func forLaunch(template, request types.RequestLaunchTemplateData) types.RequestLaunchTemplateData {
	merged := overlay(template, request)
	merged.TagSpecifications = mergeTagSpecs(template.TagSpecifications, request.TagSpecifications)
	merged.BlockDeviceMappings = mergeDevices(template.BlockDeviceMappings, request.BlockDeviceMappings)
	if t, r := template.MetadataOptions, request.MetadataOptions; t != nil && r != nil {
		merged.MetadataOptions = &types.LaunchTemplateInstanceMetadataOptionsRequest{
			HttpEndpoint:            cmp.Or(r.HttpEndpoint, t.HttpEndpoint),
			HttpProtocolIpv6:        cmp.Or(r.HttpProtocolIpv6, t.HttpProtocolIpv6),
			HttpPutResponseHopLimit: cmp.Or(r.HttpPutResponseHopLimit, t.HttpPutResponseHopLimit),
			HttpTokens:              cmp.Or(r.HttpTokens, t.HttpTokens),
			InstanceMetadataTags:    cmp.Or(r.InstanceMetadataTags, t.InstanceMetadataTags),
		}
	}
	if t, r := template.Placement, request.Placement; t != nil && r != nil {
		merged.Placement = &types.LaunchTemplatePlacementRequest{
			Affinity:             cmp.Or(r.Affinity, t.Affinity),
			AvailabilityZone:     cmp.Or(r.AvailabilityZone, t.AvailabilityZone),
			AvailabilityZoneId:   cmp.Or(r.AvailabilityZoneId, t.AvailabilityZoneId),
			GroupId:              cmp.Or(r.GroupId, t.GroupId),
			GroupName:            cmp.Or(r.GroupName, t.GroupName),
			HostId:               cmp.Or(r.HostId, t.HostId),
			HostResourceGroupArn: cmp.Or(r.HostResourceGroupArn, t.HostResourceGroupArn),
			PartitionNumber:      cmp.Or(r.PartitionNumber, t.PartitionNumber),
			SpreadDomain:         cmp.Or(r.SpreadDomain, t.SpreadDomain),
			Tenancy:              cmp.Or(r.Tenancy, t.Tenancy),
		}
	}
	// Groups given to the request belong to the instance's interfaces, so they
	// replace those of the template wherever these stand.
	if len(request.SecurityGroupIds)+len(request.SecurityGroups) > 0 {
		merged.SecurityGroupIds, merged.SecurityGroups = request.SecurityGroupIds, request.SecurityGroups
	}
	if len(request.NetworkInterfaces) > 0 {
		merged.SecurityGroupIds, merged.SecurityGroups = request.SecurityGroupIds, request.SecurityGroups
	}
	return merged
}

func mergeTagSpecs(template, request []types.LaunchTemplateTagSpecificationRequest) []types.LaunchTemplateTagSpecificationRequest {
	var merged []types.LaunchTemplateTagSpecificationRequest
	for _, spec := range slices.Concat(template, request) {
		i := slices.IndexFunc(merged, func(m types.LaunchTemplateTagSpecificationRequest) bool { return m.ResourceType == spec.ResourceType })
		if i < 0 {
			i = len(merged)
			merged = append(merged, types.LaunchTemplateTagSpecificationRequest{ResourceType: spec.ResourceType})
		}
		merged[i].Tags = mergeTags(merged[i].Tags, spec.Tags)
	}
	return merged
}

func mergeDevices(under, over []types.LaunchTemplateBlockDeviceMappingRequest) []types.LaunchTemplateBlockDeviceMappingRequest {
	merged := slices.Clone(under)
	for _, o := range over {
		i := slices.IndexFunc(merged, func(m types.LaunchTemplateBlockDeviceMappingRequest) bool {
			return aws.ToString(m.DeviceName) == aws.ToString(o.DeviceName)
		})
		if i < 0 {
			merged = append(merged, o)
			continue
		}
		if o.NoDevice == nil && o.Ebs != nil && merged[i].Ebs != nil {
			t, r := merged[i].Ebs, o.Ebs
			o.Ebs = &types.LaunchTemplateEbsBlockDeviceRequest{
				DeleteOnTermination:      cmp.Or(r.DeleteOnTermination, t.DeleteOnTermination),
				EbsCardIndex:             cmp.Or(r.EbsCardIndex, t.EbsCardIndex),
				Encrypted:                cmp.Or(r.Encrypted, t.Encrypted),
				Iops:                     cmp.Or(r.Iops, t.Iops),
				KmsKeyId:                 cmp.Or(r.KmsKeyId, t.KmsKeyId),
				SnapshotId:               cmp.Or(r.SnapshotId, t.SnapshotId),
				Throughput:               cmp.Or(r.Throughput, t.Throughput),
				VolumeInitializationRate: cmp.Or(r.VolumeInitializationRate, t.VolumeInitializationRate),
				VolumeSize:               cmp.Or(r.VolumeSize, t.VolumeSize),
				VolumeType:               cmp.Or(r.VolumeType, t.VolumeType),
			}
		}
		merged[i] = o
	}
	return merged
}
