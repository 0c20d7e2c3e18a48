package resource

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// volumeTypes are EBS volumes and their attachments.
func volumeTypes(api EC2) []*Type { return []*Type{volumeType(api), attachmentType(api)} }

func volumeType(api EC2) *Type {
	t := &Type{
		Name:       "AWS::EC2::Volume",
		Attributes: []string{"VolumeId"},
		Replaces:   []string{"AvailabilityZone", "Encrypted", "KmsKeyId", "SnapshotId", "OutpostArn", "MultiAttachEnabled"},
		Snapshots:  true,
		properties: like[ec2.CreateVolumeInput]().and("AutoEnableIO", "Tags").refuses("SourceVolumeId"),
	}
	state := func(ctx context.Context, id string) (types.Volume, error) {
		out, err := api.DescribeVolumes(ctx, &ec2.DescribeVolumesInput{VolumeIds: []string{id}})
		if err != nil || len(out.Volumes) == 0 {
			return types.Volume{}, err
		}
		return out.Volumes[0], nil
	}
	t.Create = func(ctx context.Context, r *Request) error {
		in := input[ec2.CreateVolumeInput](t.properties, r.Props)
		in.ClientToken = aws.String(r.Token)
		in.TagSpecifications = r.tagSpec(types.ResourceTypeVolume)
		out, err := api.CreateVolume(ctx, in)
		if err != nil {
			return err
		}
		if err := r.Created(aws.ToString(out.VolumeId)); err != nil {
			return err
		}
		r.Set("VolumeId", r.PhysicalID)
		return r.Wait(func() (bool, error) {
			v, err := state(ctx, r.PhysicalID)
			if err == nil && v.State == types.VolumeStateError {
				err = fmt.Errorf("volume %s went into state error", r.PhysicalID)
			}
			return v.State == types.VolumeStateAvailable || v.State == types.VolumeStateInUse, err
		})
	}
	t.Update = func(ctx context.Context, r *Request) error {
		if r.Changed("Size", "Iops", "Throughput", "VolumeType") {
			want := input[ec2.CreateVolumeInput](t.properties, r.Props)
			in := &ec2.ModifyVolumeInput{VolumeId: aws.String(r.PhysicalID)}
			if r.Changed("Size") {
				in.Size = want.Size
			}
			if r.Changed("Iops") {
				in.Iops = want.Iops
			}
			if r.Changed("Throughput") {
				in.Throughput = want.Throughput
			}
			if r.Changed("VolumeType") {
				in.VolumeType = want.VolumeType
			}
			if _, err := api.ModifyVolume(ctx, in); err != nil {
				return err
			}
		}
		return retag(ctx, api, r, r.PhysicalID)
	}
	t.Delete = func(ctx context.Context, r *Request) error {
		if r.Snapshot {
			if _, err := api.CreateSnapshot(ctx, &ec2.CreateSnapshotInput{
				VolumeId: aws.String(r.PhysicalID), Description: aws.String("Created by CloudFormation for " + r.LogicalID + " of " + r.StackName),
				TagSpecifications: r.tagSpec(types.ResourceTypeSnapshot),
			}); err != nil {
				return gone(err)
			}
		}
		err := r.Retry(func() error {
			_, err := api.DeleteVolume(ctx, &ec2.DeleteVolumeInput{VolumeId: aws.String(r.PhysicalID)})
			return err
		}, "VolumeInUse")
		if err != nil {
			return gone(err)
		}
		return gone(r.Wait(func() (bool, error) {
			v, err := state(ctx, r.PhysicalID)
			return v.VolumeId == nil, err
		}))
	}
	return t
}

func attachmentType(api EC2) *Type {
	state := func(ctx context.Context, r *Request) (types.VolumeAttachmentState, error) {
		out, err := api.DescribeVolumes(ctx, &ec2.DescribeVolumesInput{VolumeIds: []string{r.String("VolumeId")}})
		if err != nil {
			return "", err
		}
		for _, v := range out.Volumes {
			for _, a := range v.Attachments {
				if aws.ToString(a.InstanceId) == r.String("InstanceId") {
					return a.State, nil
				}
			}
		}
		return "", nil
	}
	return &Type{
		Name:       "AWS::EC2::VolumeAttachment",
		Replaces:   []string{"*"},
		properties: only("Device", "InstanceId", "VolumeId", "EbsCardIndex").requires("InstanceId", "VolumeId"),
		Create: func(ctx context.Context, r *Request) error {
			now, err := state(ctx, r)
			if err != nil {
				return err
			}
			if now == "" {
				in := &ec2.AttachVolumeInput{InstanceId: aws.String(r.String("InstanceId")), VolumeId: aws.String(r.String("VolumeId")), Device: aws.String(r.String("Device"))}
				if _, err := api.AttachVolume(ctx, in); err != nil {
					return err
				}
			}
			if err := r.Created(r.String("VolumeId") + "|" + r.String("InstanceId")); err != nil {
				return err
			}
			return r.Wait(func() (bool, error) {
				now, err := state(ctx, r)
				return now == types.VolumeAttachmentStateAttached, err
			})
		},
		Delete: func(ctx context.Context, r *Request) error {
			now, err := state(ctx, r)
			if err != nil || now == "" {
				return gone(err)
			}
			if now != types.VolumeAttachmentStateDetaching {
				_, err := api.DetachVolume(ctx, &ec2.DetachVolumeInput{InstanceId: aws.String(r.String("InstanceId")), VolumeId: aws.String(r.String("VolumeId"))})
				if code := errorCode(err); err != nil && code != "IncorrectState" {
					return gone(err)
				}
			}
			return gone(r.Wait(func() (bool, error) {
				now, err := state(ctx, r)
				return now == "" || now == types.VolumeAttachmentStateDetached, err
			}))
		},
	}
}
