package fsx

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/fsx"
	"github.com/aws/aws-sdk-go-v2/service/fsx/types"

	"pcluster/internal/sandbox/wire"
)

// tagged reads the tags under an ARN and, if change is not nil, replaces them by
// what it returns.
func (s *Service) tagged(arn string, change func([]types.Tag) []types.Tag) (tags []types.Tag, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if change == nil {
		change = func(t []types.Tag) []types.Tag { return t }
	}
	id := arn[strings.LastIndex(arn, "/")+1:]
	switch kind, _, _ := strings.Cut(id, "-"); kind {
	case "fs":
		if _, err := s.fileSystem(id); err != nil {
			return nil, err
		}
		_, err = s.fileSystems.Update(id, func(f *fileSystem) error {
			tags = change(f.Description.Tags)
			f.Description.Tags = tags
			return nil
		})
	case "dra":
		if _, err := s.association(id); err != nil {
			return nil, err
		}
		_, err = s.associations.Update(id, func(a *association) error {
			tags = change(a.Description.Tags)
			a.Description.Tags = tags
			return nil
		})
	case "task":
		if _, err := s.task(id); err != nil {
			return nil, err
		}
		_, err = s.tasks.Update(id, func(t *task) error {
			tags = change(t.Description.Tags)
			t.Description.Tags = tags
			return nil
		})
	default:
		return nil, &wire.Error{Code: "ResourceNotFound", Message: "The resource " + arn + " does not exist.", Fields: map[string]string{"ResourceARN": arn}}
	}
	return tags, err
}

func toMap(tags []types.Tag) map[string]string {
	m := map[string]string{}
	for _, t := range tags {
		m[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return m
}

func fromMap(m map[string]string) []types.Tag {
	var tags []types.Tag
	for _, k := range slices.Sorted(maps.Keys(m)) {
		tags = append(tags, types.Tag{Key: &k, Value: aws.String(m[k])})
	}
	return tags
}

// TagResource adds tags.
func (s *Service) TagResource(_ context.Context, in *sdk.TagResourceInput) (*sdk.TagResourceOutput, error) {
	_, err := s.tagged(*in.ResourceARN, func(old []types.Tag) []types.Tag {
		m := toMap(old)
		maps.Copy(m, toMap(in.Tags))
		return fromMap(m)
	})
	return &sdk.TagResourceOutput{}, err
}

// UntagResource removes tags.
func (s *Service) UntagResource(_ context.Context, in *sdk.UntagResourceInput) (*sdk.UntagResourceOutput, error) {
	_, err := s.tagged(*in.ResourceARN, func(old []types.Tag) []types.Tag {
		m := toMap(old)
		for _, k := range in.TagKeys {
			delete(m, k)
		}
		return fromMap(m)
	})
	return &sdk.UntagResourceOutput{}, err
}

// ListTagsForResource lists tags.
func (s *Service) ListTagsForResource(_ context.Context, in *sdk.ListTagsForResourceInput) (*sdk.ListTagsForResourceOutput, error) {
	tags, err := s.tagged(*in.ResourceARN, nil)
	if err != nil {
		return nil, err
	}
	found, next, err := paged(fromMap(toMap(tags)), func(t types.Tag) string { return *t.Key }, in.NextToken, in.MaxResults)
	return &sdk.ListTagsForResourceOutput{Tags: found, NextToken: next}, err
}
