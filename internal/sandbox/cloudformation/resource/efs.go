package resource

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/efs"
	"github.com/aws/aws-sdk-go-v2/service/efs/types"
)

// EFS is the part of Amazon EFS that stacks use.
type EFS interface {
	CreateFileSystem(context.Context, *efs.CreateFileSystemInput) (*efs.CreateFileSystemOutput, error)
	DescribeFileSystems(context.Context, *efs.DescribeFileSystemsInput) (*efs.DescribeFileSystemsOutput, error)
	UpdateFileSystem(context.Context, *efs.UpdateFileSystemInput) (*efs.UpdateFileSystemOutput, error)
	DeleteFileSystem(context.Context, *efs.DeleteFileSystemInput) (*efs.DeleteFileSystemOutput, error)
	CreateMountTarget(context.Context, *efs.CreateMountTargetInput) (*efs.CreateMountTargetOutput, error)
	DescribeMountTargets(context.Context, *efs.DescribeMountTargetsInput) (*efs.DescribeMountTargetsOutput, error)
	ModifyMountTargetSecurityGroups(context.Context, *efs.ModifyMountTargetSecurityGroupsInput) (*efs.ModifyMountTargetSecurityGroupsOutput, error)
	DeleteMountTarget(context.Context, *efs.DeleteMountTargetInput) (*efs.DeleteMountTargetOutput, error)
	CreateAccessPoint(context.Context, *efs.CreateAccessPointInput) (*efs.CreateAccessPointOutput, error)
	DescribeAccessPoints(context.Context, *efs.DescribeAccessPointsInput) (*efs.DescribeAccessPointsOutput, error)
	DeleteAccessPoint(context.Context, *efs.DeleteAccessPointInput) (*efs.DeleteAccessPointOutput, error)
	TagResource(context.Context, *efs.TagResourceInput) (*efs.TagResourceOutput, error)
	UntagResource(context.Context, *efs.UntagResourceInput) (*efs.UntagResourceOutput, error)
}

// Settings of file systems that a region's EFS may lack. A template that sets
// one then fails.
type (
	efsLifecycle interface {
		PutLifecycleConfiguration(context.Context, *efs.PutLifecycleConfigurationInput) (*efs.PutLifecycleConfigurationOutput, error)
	}
	efsBackup interface {
		PutBackupPolicy(context.Context, *efs.PutBackupPolicyInput) (*efs.PutBackupPolicyOutput, error)
	}
	efsPolicy interface {
		PutFileSystemPolicy(context.Context, *efs.PutFileSystemPolicyInput) (*efs.PutFileSystemPolicyOutput, error)
	}
)

func efsTypes(api EFS) []*Type {
	return []*Type{efsFileSystemType(api), mountTargetType(api), accessPointType(api)}
}

func efsTags(tags []tag) []types.Tag {
	var out []types.Tag
	for _, t := range tags {
		out = append(out, types.Tag{Key: aws.String(t.Key), Value: aws.String(t.Value)})
	}
	return out
}

func efsRetag(ctx context.Context, api EFS, r *Request, properties ...string) error {
	set, remove := r.tagChanges(properties...)
	if len(remove) > 0 {
		if _, err := api.UntagResource(ctx, &efs.UntagResourceInput{ResourceId: aws.String(r.PhysicalID), TagKeys: remove}); err != nil {
			return err
		}
	}
	if len(set) > 0 {
		if _, err := api.TagResource(ctx, &efs.TagResourceInput{ResourceId: aws.String(r.PhysicalID), Tags: efsTags(set)}); err != nil {
			return err
		}
	}
	return nil
}

func unsupported(property string) error {
	return fmt.Errorf("property %s is not supported in the local region", property)
}

func efsFileSystemType(api EFS) *Type {
	t := &Type{
		Name:       "AWS::EFS::FileSystem",
		Attributes: []string{"Arn", "FileSystemId"},
		Replaces:   []string{"AvailabilityZoneName", "Encrypted", "KmsKeyId", "PerformanceMode"},
		properties: like[efs.CreateFileSystemInput]().and("FileSystemTags", "LifecyclePolicies", "BackupPolicy", "FileSystemPolicy", "BypassPolicyLockoutSafetyCheck").refuses("ReplicationConfiguration", "FileSystemProtection").
			without("Backup", "Tags"),
	}
	available := func(ctx context.Context, r *Request) error {
		return r.Wait(func() (bool, error) {
			out, err := api.DescribeFileSystems(ctx, &efs.DescribeFileSystemsInput{FileSystemId: aws.String(r.PhysicalID)})
			if err != nil {
				return false, err
			}
			for _, fs := range out.FileSystems {
				if fs.LifeCycleState == types.LifeCycleStateError {
					return false, fmt.Errorf("file system %s went into state error", r.PhysicalID)
				}
				return fs.LifeCycleState == types.LifeCycleStateAvailable, nil
			}
			return false, nil
		})
	}
	settings := func(ctx context.Context, r *Request) error {
		id := aws.String(r.PhysicalID)
		if r.Changed("LifecyclePolicies") {
			policies, err := decodeInto[[]types.LifecyclePolicy](r.Props["LifecyclePolicies"])
			if err != nil {
				return err
			}
			lifecycle, ok := api.(efsLifecycle)
			if !ok {
				return unsupported("LifecyclePolicies")
			}
			if policies == nil {
				policies = []types.LifecyclePolicy{}
			}
			if _, err := lifecycle.PutLifecycleConfiguration(ctx, &efs.PutLifecycleConfigurationInput{FileSystemId: id, LifecyclePolicies: policies}); err != nil {
				return err
			}
		}
		if r.Changed("BackupPolicy") {
			policy, err := decodeInto[types.BackupPolicy](r.Props["BackupPolicy"])
			if err != nil {
				return err
			}
			backup, ok := api.(efsBackup)
			switch {
			case ok:
				if _, err := backup.PutBackupPolicy(ctx, &efs.PutBackupPolicyInput{FileSystemId: id, BackupPolicy: &policy}); err != nil {
					return err
				}
			case policy.Status != "" && policy.Status != types.StatusDisabled:
				return unsupported("BackupPolicy")
			}
		}
		if r.Changed("FileSystemPolicy") && r.Has("FileSystemPolicy") {
			policy, ok := api.(efsPolicy)
			if !ok {
				return unsupported("FileSystemPolicy")
			}
			if _, err := policy.PutFileSystemPolicy(ctx, &efs.PutFileSystemPolicyInput{FileSystemId: id, Policy: aws.String(document(r.Props["FileSystemPolicy"]))}); err != nil {
				return err
			}
		}
		return nil
	}
	t.Create = func(ctx context.Context, r *Request) error {
		in := input[efs.CreateFileSystemInput](t.properties, r.Props)
		in.CreationToken = aws.String(r.Token)
		in.Tags = efsTags(r.tagList("FileSystemTags"))
		var id, arn string
		out, err := api.CreateFileSystem(ctx, in)
		switch {
		case err == nil:
			id, arn = aws.ToString(out.FileSystemId), aws.ToString(out.FileSystemArn)
		case errorCode(err) == "FileSystemAlreadyExists":
			found, err := api.DescribeFileSystems(ctx, &efs.DescribeFileSystemsInput{CreationToken: in.CreationToken})
			if err != nil {
				return err
			}
			for _, fs := range found.FileSystems {
				id, arn = aws.ToString(fs.FileSystemId), aws.ToString(fs.FileSystemArn)
			}
		default:
			return err
		}
		r.Set("FileSystemId", id)
		r.Set("Arn", arn)
		if err := r.Created(id); err != nil {
			return err
		}
		if err := available(ctx, r); err != nil {
			return err
		}
		return settings(ctx, r)
	}
	t.Update = func(ctx context.Context, r *Request) error {
		if r.Changed("ThroughputMode", "ProvisionedThroughputInMibps") {
			want := input[efs.CreateFileSystemInput](t.properties, r.Props)
			if _, err := api.UpdateFileSystem(ctx, &efs.UpdateFileSystemInput{
				FileSystemId: aws.String(r.PhysicalID), ThroughputMode: want.ThroughputMode, ProvisionedThroughputInMibps: want.ProvisionedThroughputInMibps,
			}); err != nil {
				return err
			}
			if err := available(ctx, r); err != nil {
				return err
			}
		}
		if err := settings(ctx, r); err != nil {
			return err
		}
		return efsRetag(ctx, api, r, "FileSystemTags")
	}
	t.Delete = func(ctx context.Context, r *Request) error {
		if err := r.Retry(func() error {
			_, err := api.DeleteFileSystem(ctx, &efs.DeleteFileSystemInput{FileSystemId: aws.String(r.PhysicalID)})
			return err
		}, "FileSystemInUse", "IncorrectFileSystemLifeCycleState"); err != nil {
			return gone(err)
		}
		return gone(r.Wait(func() (bool, error) {
			out, err := api.DescribeFileSystems(ctx, &efs.DescribeFileSystemsInput{FileSystemId: aws.String(r.PhysicalID)})
			return err == nil && len(out.FileSystems) == 0, err
		}))
	}
	return t
}

func mountTargetType(api EFS) *Type {
	t := &Type{
		Name:       "AWS::EFS::MountTarget",
		Attributes: []string{"Id", "IpAddress"},
		Replaces:   []string{"FileSystemId", "SubnetId", "IpAddress", "IpAddressType", "Ipv6Address"},
		properties: like[efs.CreateMountTargetInput]("FileSystemId", "SubnetId", "SecurityGroups"),
	}
	t.Create = func(ctx context.Context, r *Request) error {
		in := input[efs.CreateMountTargetInput](t.properties, r.Props)
		id := ""
		out, err := api.CreateMountTarget(ctx, in)
		switch {
		case err == nil:
			id = aws.ToString(out.MountTargetId)
		case r.Resumed && errorCode(err) == "MountTargetConflict":
			found, err := api.DescribeMountTargets(ctx, &efs.DescribeMountTargetsInput{FileSystemId: in.FileSystemId})
			if err != nil {
				return err
			}
			for _, mt := range found.MountTargets {
				if aws.ToString(mt.SubnetId) == aws.ToString(in.SubnetId) {
					id = aws.ToString(mt.MountTargetId)
				}
			}
		}
		if id == "" {
			return err
		}
		r.Set("Id", id)
		if err := r.Created(id); err != nil {
			return err
		}
		return r.Wait(func() (bool, error) {
			out, err := api.DescribeMountTargets(ctx, &efs.DescribeMountTargetsInput{MountTargetId: aws.String(id)})
			if err != nil {
				return false, err
			}
			for _, mt := range out.MountTargets {
				r.Set("IpAddress", aws.ToString(mt.IpAddress))
				if mt.LifeCycleState == types.LifeCycleStateError {
					return false, fmt.Errorf("mount target %s went into state error", id)
				}
				return mt.LifeCycleState == types.LifeCycleStateAvailable, nil
			}
			return false, nil
		})
	}
	t.Update = func(ctx context.Context, r *Request) error {
		groups, err := decodeInto[[]string](r.Props["SecurityGroups"])
		if err != nil {
			return err
		}
		_, err = api.ModifyMountTargetSecurityGroups(ctx, &efs.ModifyMountTargetSecurityGroupsInput{MountTargetId: aws.String(r.PhysicalID), SecurityGroups: groups})
		return err
	}
	t.Delete = func(ctx context.Context, r *Request) error {
		if _, err := api.DeleteMountTarget(ctx, &efs.DeleteMountTargetInput{MountTargetId: aws.String(r.PhysicalID)}); err != nil {
			return gone(err)
		}
		return gone(r.Wait(func() (bool, error) {
			out, err := api.DescribeMountTargets(ctx, &efs.DescribeMountTargetsInput{MountTargetId: aws.String(r.PhysicalID)})
			return err == nil && len(out.MountTargets) == 0, err
		}))
	}
	return t
}

func accessPointType(api EFS) *Type {
	t := &Type{
		Name:       "AWS::EFS::AccessPoint",
		Attributes: []string{"AccessPointId", "Arn"},
		Replaces:   []string{"FileSystemId", "PosixUser", "RootDirectory", "ClientToken"},
		properties: like[efs.CreateAccessPointInput]("FileSystemId").and("AccessPointTags", "ClientToken").without("Tags"),
	}
	t.Create = func(ctx context.Context, r *Request) error {
		in := input[efs.CreateAccessPointInput](t.properties, r.Props)
		in.ClientToken = aws.String(r.StringOr("ClientToken", r.Token))
		in.Tags = efsTags(r.tagList("AccessPointTags"))
		var id, arn string
		out, err := api.CreateAccessPoint(ctx, in)
		switch {
		case err == nil:
			id, arn = aws.ToString(out.AccessPointId), aws.ToString(out.AccessPointArn)
		case r.Resumed && alreadyExists(err):
			found, err := api.DescribeAccessPoints(ctx, &efs.DescribeAccessPointsInput{FileSystemId: in.FileSystemId})
			if err != nil {
				return err
			}
			for _, ap := range found.AccessPoints {
				if aws.ToString(ap.ClientToken) == *in.ClientToken {
					id, arn = aws.ToString(ap.AccessPointId), aws.ToString(ap.AccessPointArn)
				}
			}
		}
		if id == "" {
			return err
		}
		r.Set("AccessPointId", id)
		r.Set("Arn", arn)
		if err := r.Created(id); err != nil {
			return err
		}
		return r.Wait(func() (bool, error) {
			out, err := api.DescribeAccessPoints(ctx, &efs.DescribeAccessPointsInput{AccessPointId: aws.String(id)})
			if err != nil {
				return false, err
			}
			for _, ap := range out.AccessPoints {
				return ap.LifeCycleState == types.LifeCycleStateAvailable, nil
			}
			return false, nil
		})
	}
	t.Update = func(ctx context.Context, r *Request) error { return efsRetag(ctx, api, r, "AccessPointTags") }
	t.Delete = func(ctx context.Context, r *Request) error {
		_, err := api.DeleteAccessPoint(ctx, &efs.DeleteAccessPointInput{AccessPointId: aws.String(r.PhysicalID)})
		return gone(err)
	}
	return t
}
