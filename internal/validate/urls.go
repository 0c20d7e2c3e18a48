package validate

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"pcluster/internal/config"
	"pcluster/internal/facts"
)

var urlRules = []rule{
	{"S3BucketValidator", customBucket},
	{"S3BucketRegionValidator", customBucketRegion},
	{"S3BucketUriValidator", bucketURIs},
	{"UrlValidator", urls},
	{"AsyncTimedUrlValidator", scripts},
}

// s3Parts splits s3://bucket/key; the key may be empty.
func s3Parts(uri string) (bucket, key string, ok bool) {
	rest, ok := strings.CutPrefix(uri, "s3://")
	bucket, key, _ = strings.Cut(rest, "/")
	return bucket, key, ok && bucket != ""
}

func customBucket(k *check) {
	name := k.c.CustomS3Bucket
	if name == "" {
		return
	}
	switch b, err := k.src.Bucket(k.ctx, name); {
	case err != nil:
		k.errorf("CustomS3Bucket", "the bucket %s can't be used: %v", name, err)
	case !b.Versioning:
		k.errorf("CustomS3Bucket", "the bucket %s has no versioning", name)
		k.hint("turn it on: the cluster refers to versions of its artifacts")
	}
}

func customBucketRegion(k *check) {
	if name := k.c.CustomS3Bucket; name != "" {
		if b, err := k.src.Bucket(k.ctx, name); err == nil && k.o.Region != "" && b.Region != k.o.Region {
			k.errorf("CustomS3Bucket", "the bucket %s is in %s, but the cluster is in %s", name, b.Region, k.o.Region)
		}
	}
}

func bucketURIs(k *check) {
	seen := map[string]bool{"": true}
	try := func(path, uri string) {
		if seen[uri] {
			return
		}
		seen[uri] = true
		bucket, _, ok := s3Parts(uri)
		if !ok {
			k.errorf(path, "%q is not an S3 location", uri)
			k.hint("write s3://bucket/prefix")
			return
		}
		_, err := k.src.Bucket(k.ctx, bucket)
		var e *facts.Error
		switch {
		case errors.As(err, &e) && e.Denied:
			k.errorf(path, "the bucket %s may not be looked at: %v", bucket, err)
			k.hint("you need s3:ListBucket on it")
		case err != nil:
			k.errorf(path, "the bucket %s can't be used: %v", bucket, err)
		}
	}
	k.lustre(func(path string, _ *config.SharedStorage, f *config.FsxLustreSettings) {
		try(path+".ImportPath", f.ImportPath)
		try(path+".ExportPath", f.ExportPath)
		for i, d := range f.DataRepositoryAssociations {
			try(fmt.Sprintf("%s.DataRepositoryAssociations[%d].DataRepositoryPath", path, i), d.DataRepositoryPath)
		}
	})
}

// location judges a URL whose content a node will fetch.
func (k *check) location(ctx context.Context, path, location string) {
	u, err := url.Parse(location)
	switch {
	case err != nil:
		k.errorf(path, "%q is not a URL: %v", location, err)
	case u.Scheme == "s3":
		bucket, key, ok := s3Parts(location)
		if !ok || key == "" {
			k.errorf(path, "%q names no S3 object", location)
			k.hint("write s3://bucket/key")
			return
		}
		err := k.src.Object(ctx, bucket, key)
		var e *facts.Error
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			k.warnf(path, "%s could not be checked within %v", location, urlPatience)
		case facts.NotFound(err):
			k.warnf(path, "%s does not exist, so nodes that need it will fail", location)
		case errors.As(err, &e) && e.Denied:
			k.warnf(path, "%s can't be checked, or does not exist: access denied; nodes have to be able to read it", location)
		case err != nil:
			k.warnf(path, "%s can't be checked: %v", location, err)
		}
	case u.Scheme == "https":
		if u.Host == "" {
			k.errorf(path, "%q names no host", location)
			return
		}
		switch err := k.src.URL(ctx, location); {
		case errors.Is(err, context.DeadlineExceeded):
			k.warnf(path, "%s could not be checked within %v", location, urlPatience)
		case err != nil:
			k.warnf(path, "%s can't be fetched: %v", location, err)
		}
	default:
		k.errorf(path, "%q has to start with https:// or s3://", location)
	}
}

func urls(k *check) {
	seen := map[string]bool{"": true}
	for _, l := range [][2]string{
		{"Scheduling.SlurmSettings.CustomSlurmSettingsIncludeFile", k.c.Scheduling.SlurmSettings.CustomSlurmSettingsIncludeFile},
		{"DevSettings.Cookbook.ChefCookbook", k.c.DevSettings.Cookbook.ChefCookbook},
		{"DevSettings.NodePackage", k.c.DevSettings.NodePackage},
		{"DevSettings.AwsBatchCliPackage", k.c.DevSettings.AwsBatchCliPackage},
		{"DevSettings.ClusterTemplate", k.c.DevSettings.ClusterTemplate},
	} {
		if !seen[l[1]] {
			seen[l[1]] = true
			k.location(k.ctx, l[0], l[1])
		}
	}
}

// urlPatience is how long the script URLs of a file may take together.
const urlPatience = 5 * time.Second

func scripts(k *check) {
	ctx, cancel := context.WithTimeout(k.ctx, urlPatience)
	defer cancel()
	seen := map[string]bool{}
	try := func(path string, a *config.CustomAction) {
		for i, s := range a.Scripts() {
			at := path + ".Script"
			if a.Script == "" {
				at = fmt.Sprintf("%s.Sequence[%d].Script", path, i)
			}
			if !seen[s.Script] {
				seen[s.Script] = true
				k.location(ctx, at, s.Script)
			}
		}
	}
	head := k.c.HeadNode.CustomActions
	try("HeadNode.CustomActions.OnNodeStart", head.OnNodeStart)
	try("HeadNode.CustomActions.OnNodeConfigured", head.OnNodeConfigured)
	try("HeadNode.CustomActions.OnNodeUpdated", head.OnNodeUpdated)
	k.queues(func(path string, q *config.SlurmQueue) {
		try(path+".CustomActions.OnNodeStart", q.CustomActions.OnNodeStart)
		try(path+".CustomActions.OnNodeConfigured", q.CustomActions.OnNodeConfigured)
	})
	k.pools(func(path string, p *config.LoginPool) {
		try(path+".CustomActions.OnNodeStart", p.CustomActions.OnNodeStart)
		try(path+".CustomActions.OnNodeConfigured", p.CustomActions.OnNodeConfigured)
		try(path+".CustomActions.OnNodeUpdated", p.CustomActions.OnNodeUpdated)
	})
}
