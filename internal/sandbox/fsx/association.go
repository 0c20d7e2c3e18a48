package fsx

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/fsx"
	"github.com/aws/aws-sdk-go-v2/service/fsx/types"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/wire"
)

// maxAssociations is the most that one file system may have.
const maxAssociations = 8

// parseS3Path splits s3://bucket/prefix. The prefix is empty or ends with a slash.
func parseS3Path(path string) (bucket, prefix string, ok bool) {
	rest, ok := strings.CutPrefix(path, "s3://")
	if !ok {
		return "", "", false
	}
	bucket, prefix, _ = strings.Cut(rest, "/")
	if prefix = strings.Trim(prefix, "/"); prefix != "" {
		prefix += "/"
	}
	return bucket, prefix, bucket != ""
}

// CreateDataRepositoryAssociation ties a directory to a prefix of a bucket. It is
// available when the objects that it imports are there.
func (s *Service) CreateDataRepositoryAssociation(_ context.Context, in *sdk.CreateDataRepositoryAssociationInput) (*sdk.CreateDataRepositoryAssociationOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.fileSystem(*in.FileSystemId)
	if err != nil {
		return nil, err
	}
	if token := aws.ToString(in.ClientRequestToken); token != "" {
		for _, a := range s.associations.All() {
			if a.Token == token {
				return &sdk.CreateDataRepositoryAssociationOutput{Association: &a.Description}, nil
			}
		}
	}
	if err := s.checkAssociation(f.Description, in); err != nil {
		return nil, err
	}
	id := region.NewID("dra")
	d := types.DataRepositoryAssociation{
		AssociationId: &id, ResourceARN: aws.String(s.id.ARN("fsx", "association/"+*in.FileSystemId+"/"+id)),
		FileSystemId: in.FileSystemId, FileSystemPath: aws.String("/" + strings.Trim(aws.ToString(in.FileSystemPath), "/")),
		DataRepositoryPath: in.DataRepositoryPath, BatchImportMetaDataOnCreate: aws.Bool(aws.ToBool(in.BatchImportMetaDataOnCreate)),
		ImportedFileChunkSize: in.ImportedFileChunkSize, S3: in.S3, Tags: in.Tags,
		CreationTime: aws.Time(s.now().UTC()), Lifecycle: types.DataRepositoryLifecycleCreating,
	}
	if d.ImportedFileChunkSize == nil {
		d.ImportedFileChunkSize = aws.Int32(1024)
	}
	if d.S3 == nil {
		d.S3 = &types.S3DataRepositoryConfiguration{}
	}
	a := association{Description: d, Token: aws.ToString(in.ClientRequestToken)}
	if err := s.associations.Put(id, a); err != nil {
		return nil, err
	}
	s.connect(a.repository())
	return &sdk.CreateDataRepositoryAssociationOutput{Association: &d}, nil
}

func (s *Service) checkAssociation(f types.FileSystem, in *sdk.CreateDataRepositoryAssociationInput) error {
	if f.FileSystemType != types.FileSystemTypeLustre || f.LustreConfiguration.DeploymentType == types.LustreDeploymentTypeScratch1 {
		return badRequest("Data repository associations are not supported for file system %s: it must be a Lustre file system that is not of deployment type SCRATCH_1.", *f.FileSystemId)
	}
	if f.LustreConfiguration.DataRepositoryConfiguration != nil {
		return badRequest("The file system %s was created with an ImportPath and cannot have data repository associations.", *f.FileSystemId)
	}
	if f.Lifecycle != types.FileSystemLifecycleAvailable {
		return badRequest("The file system %s is not available.", *f.FileSystemId)
	}
	if in.FileSystemPath == nil {
		return badRequest("FileSystemPath is required.")
	}
	if _, _, ok := parseS3Path(*in.DataRepositoryPath); !ok {
		return badRequest("The data repository path %s is not valid: it must be an S3 URI, s3://bucket/prefix.", *in.DataRepositoryPath)
	}
	path := "/" + strings.Trim(*in.FileSystemPath, "/")
	if slices.Contains(strings.Split(path, "/"), "..") || !strings.HasPrefix(*in.FileSystemPath, "/") {
		return badRequest("The file system path %s is not valid.", *in.FileSystemPath)
	}
	others := s.associationsOf(*f.FileSystemId)
	if len(others) >= maxAssociations {
		return wire.Errorf("ServiceLimitExceeded", "A file system can have at most %d data repository associations.", maxAssociations)
	}
	for _, o := range others {
		if overlap(path, *o.Description.FileSystemPath) {
			return badRequest("The file system path %s overlaps with that of association %s, %s.", path, *o.Description.AssociationId, *o.Description.FileSystemPath)
		}
		if overlap(strings.TrimRight(*in.DataRepositoryPath, "/"), strings.TrimRight(*o.Description.DataRepositoryPath, "/")) {
			return badRequest("The data repository path %s overlaps with that of association %s, %s.", *in.DataRepositoryPath, *o.Description.AssociationId, *o.Description.DataRepositoryPath)
		}
	}
	return nil
}

// overlap reports whether one path is the other or above it.
func overlap(a, b string) bool {
	a, b = strings.TrimRight(a, "/")+"/", strings.TrimRight(b, "/")+"/"
	return strings.HasPrefix(a, b) || strings.HasPrefix(b, a)
}

// DescribeDataRepositoryAssociations lists associations.
func (s *Service) DescribeDataRepositoryAssociations(_ context.Context, in *sdk.DescribeDataRepositoryAssociationsInput) (*sdk.DescribeDataRepositoryAssociationsOutput, error) {
	var found []types.DataRepositoryAssociation
	if len(in.AssociationIds) == 0 {
		for _, a := range s.associations.All() {
			found = append(found, a.Description)
		}
	}
	for _, id := range slices.Compact(slices.Sorted(slices.Values(in.AssociationIds))) {
		a, err := s.association(id)
		if err != nil {
			return nil, err
		}
		found = append(found, a.Description)
	}
	for _, f := range in.Filters {
		var value func(types.DataRepositoryAssociation) string
		switch f.Name {
		case types.FilterNameFileSystemId:
			value = func(d types.DataRepositoryAssociation) string { return aws.ToString(d.FileSystemId) }
		case types.FilterNameFileSystemType:
			value = func(types.DataRepositoryAssociation) string { return string(types.FileSystemTypeLustre) }
		case types.FilterNameDataRepositoryType:
			value = func(types.DataRepositoryAssociation) string { return "S3" }
		default:
			return nil, badRequest("The filter %s is not supported for data repository associations.", f.Name)
		}
		found = slices.DeleteFunc(found, func(d types.DataRepositoryAssociation) bool { return !slices.Contains(f.Values, value(d)) })
	}
	found, next, err := paged(found, func(d types.DataRepositoryAssociation) string { return *d.AssociationId }, in.NextToken, in.MaxResults)
	return &sdk.DescribeDataRepositoryAssociationsOutput{Associations: found, NextToken: next}, err
}

// UpdateDataRepositoryAssociation changes the policies.
func (s *Service) UpdateDataRepositoryAssociation(_ context.Context, in *sdk.UpdateDataRepositoryAssociationInput) (*sdk.UpdateDataRepositoryAssociationOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := s.association(*in.AssociationId)
	if err != nil {
		return nil, err
	}
	if a.Description.Lifecycle == types.DataRepositoryLifecycleCreating {
		return nil, badRequest("The data repository association %s is being created.", *in.AssociationId)
	}
	a, err = s.associations.Update(*in.AssociationId, func(a *association) error {
		if in.ImportedFileChunkSize != nil {
			a.Description.ImportedFileChunkSize = in.ImportedFileChunkSize
		}
		if in.S3 != nil {
			config := *a.Description.S3
			if in.S3.AutoImportPolicy != nil {
				config.AutoImportPolicy = in.S3.AutoImportPolicy
			}
			if in.S3.AutoExportPolicy != nil {
				config.AutoExportPolicy = in.S3.AutoExportPolicy
			}
			a.Description.S3 = &config
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.disconnect(*in.AssociationId)
	s.connect(a.repository())
	return &sdk.UpdateDataRepositoryAssociationOutput{Association: &a.Description}, nil
}

// DeleteDataRepositoryAssociation unties the directory from the bucket, and
// removes the directory's files if asked to.
func (s *Service) DeleteDataRepositoryAssociation(_ context.Context, in *sdk.DeleteDataRepositoryAssociationInput) (*sdk.DeleteDataRepositoryAssociationOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := s.association(*in.AssociationId)
	if err != nil {
		return nil, err
	}
	if err := s.dropAssociation(*in.AssociationId); err != nil {
		return nil, err
	}
	if aws.ToBool(in.DeleteDataInFileSystem) {
		if err := s.clear(a.repository()); err != nil {
			return nil, err
		}
	}
	return &sdk.DeleteDataRepositoryAssociationOutput{AssociationId: in.AssociationId, DeleteDataInFileSystem: in.DeleteDataInFileSystem,
		Lifecycle: types.DataRepositoryLifecycleDeleting}, nil
}

// dropAssociation ends an association's flow and forgets it. The caller holds mu.
func (s *Service) dropAssociation(id string) error {
	s.disconnect(id)
	if err := s.forgetSynced(id); err != nil {
		return err
	}
	return s.associations.Delete(id)
}

// clear removes the files below a repository's directory.
func (s *Service) clear(repo repository) error {
	root, err := os.OpenRoot(filepath.Join(s.dir, repo.fsID))
	if err != nil {
		return err
	}
	defer root.Close()
	if repo.path != "" {
		return root.RemoveAll(repo.path)
	}
	d, err := root.Open(".")
	if err != nil {
		return err
	}
	names, err := d.Readdirnames(-1)
	for _, name := range names {
		err = errors.Join(err, root.RemoveAll(name))
	}
	return errors.Join(err, d.Close())
}
