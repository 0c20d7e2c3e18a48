package storage

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// EC2 is the part of it that attaches volumes.
type EC2 interface {
	DescribeVolumes(context.Context, *ec2.DescribeVolumesInput, ...func(*ec2.Options)) (*ec2.DescribeVolumesOutput, error)
	AttachVolume(context.Context, *ec2.AttachVolumeInput, ...func(*ec2.Options)) (*ec2.AttachVolumeOutput, error)
}

// An Attacher attaches EBS volumes to this instance, one at a time.
type Attacher struct {
	EC2        EC2
	InstanceID string

	used map[string]bool // device names that this instance's volumes have
	wait func(ctx context.Context, volume, attachedAs string) (device string, err error)
}

// attachTimeout is how long a volume may take from creating to attached.
const attachTimeout = 5 * time.Minute

// Attach attaches the volume, unless it is, and returns its device. A volume that
// the stack is still making is waited for.
func (a *Attacher) Attach(ctx context.Context, volume string) (device string, err error) {
	ctx, cancel := context.WithTimeout(ctx, attachTimeout)
	defer cancel()
	wait := a.wait
	if wait == nil {
		wait = awaitDevice
	}
	for {
		out, err := a.EC2.DescribeVolumes(ctx, &ec2.DescribeVolumesInput{VolumeIds: []string{volume}})
		if err != nil {
			return "", err
		}
		if len(out.Volumes) == 0 {
			return "", fmt.Errorf("volume %s does not exist", volume)
		}
		switch v := out.Volumes[0]; v.State {
		case types.VolumeStateInUse:
			for _, at := range v.Attachments {
				if aws.ToString(at.InstanceId) == a.InstanceID {
					a.note(aws.ToString(at.Device))
					return wait(ctx, volume, aws.ToString(at.Device))
				}
			}
			return "", fmt.Errorf("volume %s is attached to %s", volume, aws.ToString(v.Attachments[0].InstanceId))
		case types.VolumeStateAvailable:
			name := a.freeDevice()
			if _, err := a.EC2.AttachVolume(ctx, &ec2.AttachVolumeInput{VolumeId: &volume, InstanceId: &a.InstanceID, Device: &name}); err != nil {
				return "", fmt.Errorf("attach volume %s: %w", volume, err)
			}
			return wait(ctx, volume, name)
		case types.VolumeStateCreating:
		default:
			return "", fmt.Errorf("volume %s is %s", volume, v.State)
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("volume %s was not available in time: %w", volume, ctx.Err())
		case <-time.After(poll):
		}
	}
}

func (a *Attacher) note(device string) {
	if a.used == nil {
		a.used = map[string]bool{}
	}
	a.used[device] = true
}

// freeDevice returns the first of /dev/sdb to /dev/sdz that is not taken.
func (a *Attacher) freeDevice() string {
	for c := 'b'; c <= 'z'; c++ {
		if name := "/dev/sd" + string(c); !a.used[name] {
			a.note(name)
			return name
		}
	}
	return "/dev/sdz" // EC2 will say that it is taken
}
