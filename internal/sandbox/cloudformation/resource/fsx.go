package resource

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/fsx"
	"github.com/aws/aws-sdk-go-v2/service/fsx/types"
)

// FSx is the part of Amazon FSx that stacks use.
type FSx interface {
	CreateFileSystem(context.Context, *fsx.CreateFileSystemInput) (*fsx.CreateFileSystemOutput, error)
	DescribeFileSystems(context.Context, *fsx.DescribeFileSystemsInput) (*fsx.DescribeFileSystemsOutput, error)
	UpdateFileSystem(context.Context, *fsx.UpdateFileSystemInput) (*fsx.UpdateFileSystemOutput, error)
	DeleteFileSystem(context.Context, *fsx.DeleteFileSystemInput) (*fsx.DeleteFileSystemOutput, error)
	CreateDataRepositoryAssociation(context.Context, *fsx.CreateDataRepositoryAssociationInput) (*fsx.CreateDataRepositoryAssociationOutput, error)
	DescribeDataRepositoryAssociations(context.Context, *fsx.DescribeDataRepositoryAssociationsInput) (*fsx.DescribeDataRepositoryAssociationsOutput, error)
	UpdateDataRepositoryAssociation(context.Context, *fsx.UpdateDataRepositoryAssociationInput) (*fsx.UpdateDataRepositoryAssociationOutput, error)
	DeleteDataRepositoryAssociation(context.Context, *fsx.DeleteDataRepositoryAssociationInput) (*fsx.DeleteDataRepositoryAssociationOutput, error)
	TagResource(context.Context, *fsx.TagResourceInput) (*fsx.TagResourceOutput, error)
	UntagResource(context.Context, *fsx.UntagResourceInput) (*fsx.UntagResourceOutput, error)
}

func fsxTypes(api FSx) []*Type { return []*Type{fsxFileSystemType(api), associationType(api)} }

func fsxTags(tags []tag) []types.Tag {
	var out []types.Tag
	for _, t := range tags {
		out = append(out, types.Tag{Key: aws.String(t.Key), Value: aws.String(t.Value)})
	}
	return out
}

func fsxRetag(ctx context.Context, api FSx, r *Request) error {
	arn, _ := r.Attributes["ResourceARN"].(string)
	set, remove := r.tagChanges()
	if len(remove) > 0 {
		if _, err := api.UntagResource(ctx, &fsx.UntagResourceInput{ResourceARN: aws.String(arn), TagKeys: remove}); err != nil {
			return err
		}
	}
	if len(set) > 0 {
		if _, err := api.TagResource(ctx, &fsx.TagResourceInput{ResourceARN: aws.String(arn), Tags: fsxTags(set)}); err != nil {
			return err
		}
	}
	return nil
}

func fsxFileSystemType(api FSx) *Type {
	t := &Type{
		Name:       "AWS::FSx::FileSystem",
		Attributes: []string{"Id", "DNSName", "LustreMountName", "ResourceARN", "RootVolumeId"},
		Replaces: []string{
			"BackupId", "FileSystemType", "KmsKeyId", "SecurityGroupIds", "SubnetIds", "StorageType", "NetworkType",
			"LustreConfiguration.DeploymentType", "LustreConfiguration.ImportPath", "LustreConfiguration.ExportPath", "LustreConfiguration.ImportedFileChunkSize",
			"LustreConfiguration.DriveCacheType", "LustreConfiguration.CopyTagsToBackups", "LustreConfiguration.EfaEnabled",
		},
		properties: like[fsx.CreateFileSystemInput]("FileSystemType", "SubnetIds").and("BackupId", "Tags"),
	}
	available := func(ctx context.Context, r *Request) error {
		return r.Wait(func() (bool, error) {
			out, err := api.DescribeFileSystems(ctx, &fsx.DescribeFileSystemsInput{FileSystemIds: []string{r.PhysicalID}})
			if err != nil {
				return false, err
			}
			for _, fs := range out.FileSystems {
				switch fs.Lifecycle {
				case types.FileSystemLifecycleFailed, types.FileSystemLifecycleMisconfigured, types.FileSystemLifecycleMisconfiguredUnavailable:
					reason := "no reason given"
					if fs.FailureDetails != nil {
						reason = aws.ToString(fs.FailureDetails.Message)
					}
					return false, fmt.Errorf("file system %s is in state %s: %s", r.PhysicalID, fs.Lifecycle, reason)
				}
				return fs.Lifecycle == types.FileSystemLifecycleAvailable, nil
			}
			return false, nil
		})
	}
	t.Create = func(ctx context.Context, r *Request) error {
		if r.Has("BackupId") {
			return errors.New("creating a file system from a backup is not supported in the local region")
		}
		in := input[fsx.CreateFileSystemInput](t.properties, r.Props)
		in.ClientRequestToken = aws.String(r.Token)
		in.Tags = fsxTags(r.tagList())
		out, err := api.CreateFileSystem(ctx, in)
		if err != nil {
			return err
		}
		fs := out.FileSystem
		r.Set("Id", aws.ToString(fs.FileSystemId))
		r.Set("DNSName", aws.ToString(fs.DNSName))
		r.Set("ResourceARN", aws.ToString(fs.ResourceARN))
		if fs.LustreConfiguration != nil {
			r.Set("LustreMountName", aws.ToString(fs.LustreConfiguration.MountName))
		}
		if err := r.Created(aws.ToString(fs.FileSystemId)); err != nil {
			return err
		}
		return available(ctx, r)
	}
	t.Update = func(ctx context.Context, r *Request) error {
		if r.Changed("StorageCapacity", "LustreConfiguration", "OpenZFSConfiguration", "OntapConfiguration", "WindowsConfiguration", "FileSystemTypeVersion") {
			want := input[fsx.CreateFileSystemInput](t.properties, r.Props)
			in := &fsx.UpdateFileSystemInput{FileSystemId: aws.String(r.PhysicalID), ClientRequestToken: aws.String(r.Token)}
			if r.Changed("StorageCapacity") {
				in.StorageCapacity = want.StorageCapacity
			}
			if r.Changed("FileSystemTypeVersion") {
				in.FileSystemTypeVersion = want.FileSystemTypeVersion
			}
			if r.Changed("OpenZFSConfiguration", "OntapConfiguration", "WindowsConfiguration") {
				return errors.New("changing a file system other than Lustre is not supported in the local region")
			}
			if l := want.LustreConfiguration; r.Changed("LustreConfiguration") && l != nil {
				in.LustreConfiguration = &types.UpdateFileSystemLustreConfiguration{
					AutoImportPolicy: l.AutoImportPolicy, AutomaticBackupRetentionDays: l.AutomaticBackupRetentionDays,
					DailyAutomaticBackupStartTime: l.DailyAutomaticBackupStartTime, DataCompressionType: l.DataCompressionType,
					PerUnitStorageThroughput: l.PerUnitStorageThroughput, WeeklyMaintenanceStartTime: l.WeeklyMaintenanceStartTime,
				}
			}
			if _, err := api.UpdateFileSystem(ctx, in); err != nil {
				return err
			}
			if err := available(ctx, r); err != nil {
				return err
			}
		}
		return fsxRetag(ctx, api, r)
	}
	t.Delete = func(ctx context.Context, r *Request) error {
		if _, err := api.DeleteFileSystem(ctx, &fsx.DeleteFileSystemInput{FileSystemId: aws.String(r.PhysicalID)}); err != nil {
			return gone(err)
		}
		return gone(r.Wait(func() (bool, error) {
			out, err := api.DescribeFileSystems(ctx, &fsx.DescribeFileSystemsInput{FileSystemIds: []string{r.PhysicalID}})
			return err == nil && len(out.FileSystems) == 0, err
		}))
	}
	return t
}

func associationType(api FSx) *Type {
	t := &Type{
		Name:       "AWS::FSx::DataRepositoryAssociation",
		Attributes: []string{"AssociationId", "ResourceARN"},
		Replaces:   []string{"FileSystemId", "FileSystemPath", "DataRepositoryPath", "BatchImportMetaDataOnCreate"},
		properties: like[fsx.CreateDataRepositoryAssociationInput]("FileSystemId", "FileSystemPath", "DataRepositoryPath").and("Tags"),
	}
	find := func(ctx context.Context, id string) (*types.DataRepositoryAssociation, error) {
		out, err := api.DescribeDataRepositoryAssociations(ctx, &fsx.DescribeDataRepositoryAssociationsInput{AssociationIds: []string{id}})
		if err != nil {
			return nil, err
		}
		for _, a := range out.Associations {
			return &a, nil
		}
		return nil, nil
	}
	available := func(ctx context.Context, r *Request) error {
		return r.Wait(func() (bool, error) {
			a, err := find(ctx, r.PhysicalID)
			if err != nil || a == nil {
				return false, err
			}
			switch a.Lifecycle {
			case types.DataRepositoryLifecycleFailed, types.DataRepositoryLifecycleMisconfigured:
				reason := "no reason given"
				if a.FailureDetails != nil {
					reason = aws.ToString(a.FailureDetails.Message)
				}
				return false, fmt.Errorf("data repository association %s is in state %s: %s", r.PhysicalID, a.Lifecycle, reason)
			}
			return a.Lifecycle == types.DataRepositoryLifecycleAvailable, nil
		})
	}
	t.Create = func(ctx context.Context, r *Request) error {
		in := input[fsx.CreateDataRepositoryAssociationInput](t.properties, r.Props)
		in.ClientRequestToken = aws.String(r.Token)
		in.Tags = fsxTags(r.tagList())
		out, err := api.CreateDataRepositoryAssociation(ctx, in)
		if err != nil {
			return err
		}
		r.Set("AssociationId", aws.ToString(out.Association.AssociationId))
		r.Set("ResourceARN", aws.ToString(out.Association.ResourceARN))
		if err := r.Created(aws.ToString(out.Association.AssociationId)); err != nil {
			return err
		}
		return available(ctx, r)
	}
	t.Update = func(ctx context.Context, r *Request) error {
		if r.Changed("ImportedFileChunkSize", "S3") {
			want := input[fsx.CreateDataRepositoryAssociationInput](t.properties, r.Props)
			if _, err := api.UpdateDataRepositoryAssociation(ctx, &fsx.UpdateDataRepositoryAssociationInput{
				AssociationId: aws.String(r.PhysicalID), ClientRequestToken: aws.String(r.Token), ImportedFileChunkSize: want.ImportedFileChunkSize, S3: want.S3,
			}); err != nil {
				return err
			}
			if err := available(ctx, r); err != nil {
				return err
			}
		}
		return fsxRetag(ctx, api, r)
	}
	t.Delete = func(ctx context.Context, r *Request) error {
		if _, err := api.DeleteDataRepositoryAssociation(ctx, &fsx.DeleteDataRepositoryAssociationInput{
			AssociationId: aws.String(r.PhysicalID), DeleteDataInFileSystem: aws.Bool(false),
		}); err != nil {
			return gone(err)
		}
		return gone(r.Wait(func() (bool, error) {
			a, err := find(ctx, r.PhysicalID)
			return err == nil && a == nil, err
		}))
	}
	return t
}
