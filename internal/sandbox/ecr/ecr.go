// Package ecr is Elastic Container Registry of the region, as far as clusters use
// it: repositories, and the images that builds leave in them.
//
// The region has no registry that docker could push to. Its images come from
// package codebuild, by [Service.Push]: the files that an image has above the
// region's machine image, and how to begin with them. Package batch runs them.
package ecr

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"pcluster/internal/sandbox/page"
	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/wire"
)

// An Image is how a container of an image begins.
type Image struct {
	Entrypoint  []string
	Command     []string
	Environment map[string]string
	Directory   string // in which it begins
}

// A Service is ECR of a region. It is safe for concurrent use.
type Service struct {
	id  *region.Identity
	dir string // of the files of images
	now func() time.Time

	mu           sync.Mutex // held over changes
	repositories *store.Table[repository]
	images       *store.Table[image]
}

// repository is a row; its key is its name.
type repository struct {
	Desc types.Repository
	Tags map[string]string
}

// image is a row; its key is its repository and digest.
type image struct {
	Repository, Digest string
	Tags               []string
	Pushed             time.Time
	Size               int64
	Image              Image
}

func (v *image) key() string { return v.Repository + "@" + v.Digest }

// New opens the region's repositories; dir is for the files of their images.
func New(db *store.DB, id *region.Identity, dir string) (*Service, error) {
	s := &Service{id: id, dir: dir, now: time.Now}
	return s, errors.Join(
		store.OpenTable(db, "ecr.repositories", &s.repositories),
		store.OpenTable(db, "ecr.images", &s.images),
	)
}

// Register attaches the operations to the API.
func (s *Service) Register(m *wire.Service) {
	wire.Handle(m, "CreateRepository", s.CreateRepository)
	wire.Handle(m, "DescribeRepositories", s.DescribeRepositories)
	wire.Handle(m, "DeleteRepository", s.DeleteRepository)
	wire.Handle(m, "ListImages", s.ListImages)
	wire.Handle(m, "DescribeImages", s.DescribeImages)
	wire.Handle(m, "BatchDeleteImage", s.BatchDeleteImage)
	wire.Handle(m, "TagResource", s.TagResource)
	wire.Handle(m, "UntagResource", s.UntagResource)
	wire.Handle(m, "ListTagsForResource", s.ListTagsForResource)
}

func (s *Service) missing(name string) error {
	return &wire.Error{Code: "RepositoryNotFoundException", Status: http.StatusBadRequest,
		Message: fmt.Sprintf("The repository with name '%s' does not exist in the registry with id '%s'", name, s.id.Account())}
}

var errToken = wire.Errorf("InvalidParameterException", "Invalid parameter at 'nextToken' failed to satisfy constraint: 'must be a token of this list'")

// CreateRepository makes an empty repository.
func (s *Service) CreateRepository(_ context.Context, in *sdk.CreateRepositoryInput) (*sdk.CreateRepositoryOutput, error) {
	name, now := aws.ToString(in.RepositoryName), s.now().UTC()
	v := repository{Tags: map[string]string{}, Desc: types.Repository{
		RepositoryName: &name, RepositoryArn: aws.String(s.id.ARN("ecr", "repository/"+name)), RegistryId: aws.String(s.id.Account()),
		RepositoryUri: aws.String(s.Registry() + "/" + name), CreatedAt: &now, ImageTagMutability: in.ImageTagMutability,
		ImageScanningConfiguration: in.ImageScanningConfiguration, EncryptionConfiguration: in.EncryptionConfiguration,
	}}
	if v.Desc.ImageTagMutability == "" {
		v.Desc.ImageTagMutability = types.ImageTagMutabilityMutable
	}
	if v.Desc.EncryptionConfiguration == nil {
		v.Desc.EncryptionConfiguration = &types.EncryptionConfiguration{EncryptionType: types.EncryptionTypeAes256}
	}
	if v.Desc.ImageScanningConfiguration == nil {
		v.Desc.ImageScanningConfiguration = &types.ImageScanningConfiguration{}
	}
	for _, t := range in.Tags {
		v.Tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	fresh, err := s.repositories.Insert(name, v)
	if err != nil {
		return nil, err
	}
	if !fresh {
		return nil, wire.Errorf("RepositoryAlreadyExistsException", "The repository with name '%s' already exists in the registry with id '%s'", name, s.id.Account())
	}
	return &sdk.CreateRepositoryOutput{Repository: &v.Desc}, nil
}

// Registry is the host name of the account's registry.
func (s *Service) Registry() string {
	return s.id.Account() + ".dkr.ecr." + s.id.Name() + ".amazonaws.com"
}

// DescribeRepositories tells of the named repositories, or of all.
func (s *Service) DescribeRepositories(_ context.Context, in *sdk.DescribeRepositoriesInput) (*sdk.DescribeRepositoriesOutput, error) {
	out := &sdk.DescribeRepositoriesOutput{}
	names := in.RepositoryNames
	if len(names) == 0 {
		var err error
		if names, out.NextToken, err = page.Of(s.repositories.Keys(), func(name string) string { return name }, in.NextToken, page.Limit(in.MaxResults, 100)); err != nil {
			return nil, errToken
		}
	}
	for _, name := range names {
		v, ok := s.repositories.Get(name)
		if !ok {
			return nil, s.missing(name)
		}
		out.Repositories = append(out.Repositories, v.Desc)
	}
	return out, nil
}

// DeleteRepository deletes a repository; one with images by force only.
func (s *Service) DeleteRepository(_ context.Context, in *sdk.DeleteRepositoryInput) (*sdk.DeleteRepositoryOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := aws.ToString(in.RepositoryName)
	v, ok := s.repositories.Get(name)
	if !ok {
		return nil, s.missing(name)
	}
	held := s.imagesOf(name)
	if len(held) > 0 && !in.Force {
		return nil, wire.Errorf("RepositoryNotEmptyException", "The repository with name '%s' in registry with id '%s' cannot be deleted because it still contains images", name, s.id.Account())
	}
	for i := range held {
		if err := s.remove(&held[i]); err != nil {
			return nil, err
		}
	}
	return &sdk.DeleteRepositoryOutput{Repository: &v.Desc}, errors.Join(s.repositories.Delete(name), os.RemoveAll(filepath.Dir(s.files(&image{Repository: name}))))
}

func (s *Service) imagesOf(repository string) (out []image) {
	for _, v := range s.images.All() {
		if v.Repository == repository {
			out = append(out, v)
		}
	}
	return out
}

// remove deletes an image: first its row, so that none is left without files. s.mu is held.
func (s *Service) remove(v *image) error {
	return errors.Join(s.images.Delete(v.key()), os.RemoveAll(s.files(v)))
}

// files is the directory of an image's files.
func (s *Service) files(v *image) string {
	return filepath.Join(s.dir, strings.ReplaceAll(v.Repository, "/", "%"), "image-"+strings.TrimPrefix(v.Digest, "sha256:"))
}

// Push puts an image into a repository and gives it a tag, which it takes from the
// image that had it. The digest stands for all that is in the image; files are copied.
func (s *Service) Push(repository, tag, digest string, v Image, files string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.repositories.Get(repository); !ok {
		return s.missing(repository)
	}
	row := image{Repository: repository, Digest: digest, Tags: []string{tag}, Pushed: s.now().UTC(), Image: v}
	into := s.files(&row)
	if err := errors.Join(os.RemoveAll(into), os.MkdirAll(filepath.Dir(into), 0o700)); err != nil {
		return err
	}
	if err := os.CopyFS(into, os.DirFS(files)); err != nil {
		return err
	}
	err := fs.WalkDir(os.DirFS(into), ".", func(_ string, d fs.DirEntry, err error) error {
		if info, ierr := d.Info(); err == nil && ierr == nil && info.Mode().IsRegular() {
			row.Size += info.Size()
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, other := range s.imagesOf(repository) {
		if i := slices.Index(other.Tags, tag); i >= 0 && other.Digest != digest {
			other.Tags = slices.Delete(slices.Clone(other.Tags), i, i+1)
			if err := s.images.Put(other.key(), other); err != nil {
				return err
			}
		} else if other.Digest == digest && i < 0 {
			row.Tags = append(row.Tags, other.Tags...)
		}
	}
	return s.images.Put(row.key(), row)
}

// Pull finds the image of a name, as registry/repository:tag or registry/repository@digest,
// and the directory of its files.
func (s *Service) Pull(name string) (v Image, files string, err error) {
	path, ok := strings.CutPrefix(name, s.Registry()+"/")
	if !ok {
		return v, "", fmt.Errorf("image %s is not of this account's registry, %s, and this sandbox reaches no other", name, s.Registry())
	}
	repository, digest, byDigest := strings.Cut(path, "@")
	tag := "latest"
	if !byDigest {
		if r, t, ok := strings.Cut(path, ":"); ok {
			repository, tag = r, t
		}
	}
	for _, row := range s.imagesOf(repository) {
		if byDigest && row.Digest == digest || !byDigest && slices.Contains(row.Tags, tag) {
			return row.Image, s.files(&row), nil
		}
	}
	return v, "", fmt.Errorf("image %s does not exist", name)
}

// ListImages lists what a repository holds: each tag, and each image without one.
func (s *Service) ListImages(_ context.Context, in *sdk.ListImagesInput) (*sdk.ListImagesOutput, error) {
	name := aws.ToString(in.RepositoryName)
	if _, ok := s.repositories.Get(name); !ok {
		return nil, s.missing(name)
	}
	only := types.TagStatusAny
	if in.Filter != nil && in.Filter.TagStatus != "" {
		only = in.Filter.TagStatus
	}
	all := []types.ImageIdentifier{}
	for _, v := range s.imagesOf(name) {
		if len(v.Tags) == 0 && only != types.TagStatusTagged {
			all = append(all, types.ImageIdentifier{ImageDigest: aws.String(v.Digest)})
		}
		for _, t := range slices.Sorted(slices.Values(v.Tags)) {
			if only != types.TagStatusUntagged {
				all = append(all, types.ImageIdentifier{ImageDigest: aws.String(v.Digest), ImageTag: aws.String(t)})
			}
		}
	}
	key := func(id types.ImageIdentifier) string { return *id.ImageDigest + " " + aws.ToString(id.ImageTag) }
	some, next, err := page.Of(all, key, in.NextToken, page.Limit(in.MaxResults, 100))
	if err != nil {
		return nil, errToken
	}
	return &sdk.ListImagesOutput{ImageIds: some, NextToken: next}, nil
}

// is says whether an identifier means an image.
func (v *image) is(id types.ImageIdentifier) bool {
	return (id.ImageDigest != nil || id.ImageTag != nil) &&
		(id.ImageDigest == nil || *id.ImageDigest == v.Digest) && (id.ImageTag == nil || slices.Contains(v.Tags, *id.ImageTag))
}

// DescribeImages tells of the given images of a repository, or of all.
func (s *Service) DescribeImages(_ context.Context, in *sdk.DescribeImagesInput) (*sdk.DescribeImagesOutput, error) {
	name := aws.ToString(in.RepositoryName)
	if _, ok := s.repositories.Get(name); !ok {
		return nil, s.missing(name)
	}
	held := s.imagesOf(name)
	all := []types.ImageDetail{}
	for _, v := range held {
		if len(in.ImageIds) > 0 && !slices.ContainsFunc(in.ImageIds, v.is) {
			continue
		}
		all = append(all, types.ImageDetail{
			RegistryId: aws.String(s.id.Account()), RepositoryName: &name, ImageDigest: aws.String(v.Digest), ImageTags: v.Tags,
			ImageSizeInBytes: aws.Int64(v.Size), ImagePushedAt: aws.Time(v.Pushed),
		})
	}
	for _, id := range in.ImageIds {
		if !slices.ContainsFunc(held, func(v image) bool { return v.is(id) }) {
			return nil, wire.Errorf("ImageNotFoundException", "The image with imageId {imageDigest:'%s', imageTag:'%s'} does not exist within the repository with name '%s' in the registry with id '%s'",
				orNull(id.ImageDigest), orNull(id.ImageTag), name, s.id.Account())
		}
	}
	some, next, err := page.Of(all, func(d types.ImageDetail) string { return *d.ImageDigest }, in.NextToken, page.Limit(in.MaxResults, 100))
	if err != nil {
		return nil, errToken
	}
	return &sdk.DescribeImagesOutput{ImageDetails: some, NextToken: next}, nil
}

func orNull(s *string) string {
	if s == nil {
		return "null"
	}
	return *s
}

// BatchDeleteImage deletes images: by a tag the tag alone, unless it is the last.
func (s *Service) BatchDeleteImage(_ context.Context, in *sdk.BatchDeleteImageInput) (*sdk.BatchDeleteImageOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := aws.ToString(in.RepositoryName)
	if _, ok := s.repositories.Get(name); !ok {
		return nil, s.missing(name)
	}
	out := &sdk.BatchDeleteImageOutput{Failures: []types.ImageFailure{}, ImageIds: []types.ImageIdentifier{}}
	for _, id := range in.ImageIds {
		held := s.imagesOf(name)
		i := slices.IndexFunc(held, func(v image) bool { return v.is(id) })
		if i < 0 {
			out.Failures = append(out.Failures, types.ImageFailure{FailureCode: types.ImageFailureCodeImageNotFound, FailureReason: aws.String("Requested image not found"), ImageId: &id})
			continue
		}
		v := &held[i]
		var err error
		if id.ImageDigest == nil && len(v.Tags) > 1 {
			v.Tags = slices.DeleteFunc(slices.Clone(v.Tags), func(t string) bool { return t == *id.ImageTag })
			err = s.images.Put(v.key(), *v)
		} else {
			err = s.remove(v)
		}
		if err != nil {
			return nil, err
		}
		out.ImageIds = append(out.ImageIds, types.ImageIdentifier{ImageDigest: aws.String(v.Digest), ImageTag: id.ImageTag})
	}
	return out, nil
}

// TagResource adds tags to a repository.
func (s *Service) TagResource(_ context.Context, in *sdk.TagResourceInput) (*sdk.TagResourceOutput, error) {
	return &sdk.TagResourceOutput{}, s.changeTags(in.ResourceArn, func(tags map[string]string) {
		for _, t := range in.Tags {
			tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
		}
	})
}

// UntagResource removes tags from a repository.
func (s *Service) UntagResource(_ context.Context, in *sdk.UntagResourceInput) (*sdk.UntagResourceOutput, error) {
	return &sdk.UntagResourceOutput{}, s.changeTags(in.ResourceArn, func(tags map[string]string) {
		for _, k := range in.TagKeys {
			delete(tags, k)
		}
	})
}

func nameOf(arn *string) string {
	_, name, _ := strings.Cut(aws.ToString(arn), ":repository/")
	return name
}

func (s *Service) changeTags(arn *string, change func(map[string]string)) error {
	name := nameOf(arn)
	_, err := s.repositories.Update(name, func(v *repository) error {
		tags := map[string]string{}
		maps.Copy(tags, v.Tags)
		change(tags)
		v.Tags = tags
		return nil
	})
	if errors.Is(err, store.ErrNotFound) {
		return s.missing(name)
	}
	return err
}

// ListTagsForResource lists the tags of a repository.
func (s *Service) ListTagsForResource(_ context.Context, in *sdk.ListTagsForResourceInput) (*sdk.ListTagsForResourceOutput, error) {
	v, ok := s.repositories.Get(nameOf(in.ResourceArn))
	if !ok {
		return nil, s.missing(nameOf(in.ResourceArn))
	}
	out := &sdk.ListTagsForResourceOutput{Tags: []types.Tag{}}
	for _, k := range slices.Sorted(maps.Keys(v.Tags)) {
		out.Tags = append(out.Tags, types.Tag{Key: aws.String(k), Value: aws.String(v.Tags[k])})
	}
	return out, nil
}
