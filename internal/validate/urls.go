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

// s3Parts splits s3://bucket/key; the key may be empty.
func s3Parts(uri string) (bucket, key string, ok bool) {
	rest, ok := strings.CutPrefix(uri, "s3://")
	bucket, key, _ = strings.Cut(rest, "/")
	return bucket, key, ok && bucket != ""
}

const bucketPath = "CustomS3Bucket"

func customBucket(k *check, name string) {
	switch b, err := k.src.Bucket(k.ctx, name); {
	case err != nil:
		k.errorf(bucketPath, "the bucket %s can't be used: %v", name, err)
	case !b.Versioning:
		k.errorf(bucketPath, "the bucket %s has no versioning", name)
		k.hint("turn it on: artifacts are referred to by version")
	}
}

func customBucketRegion(k *check, name string) {
	switch b, err := k.src.Bucket(k.ctx, name); {
	case err != nil:
		k.errorf(bucketPath, "the region of the bucket %s can't be looked up: %v", name, err)
	case k.o.Region != "" && b.Region != k.o.Region:
		k.errorf(bucketPath, "the bucket %s is in %s, not in %s", name, b.Region, k.o.Region)
	}
}

// bucketURI judges an S3 location that a file system is linked with.
func bucketURI(k *check, path, uri string) {
	if uri == "" {
		return
	}
	if u, err := url.Parse(uri); err != nil || u.Scheme != "s3" {
		k.errorf(path, "%q is not an S3 location", uri)
		k.hint("write s3://bucket/prefix")
		return
	}
	bucket, _, _ := s3Parts(uri)
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

// location judges a URL whose content somebody will fetch.
func location(ctx context.Context, k *check, path, location string) {
	u, err := url.Parse(location)
	switch {
	case err != nil:
		k.errorf(path, "%q is not a URL: %v", location, err)
	case u.Scheme == "s3":
		bucket, key, ok := strings.Cut(strings.TrimPrefix(location, "s3://"), "/")
		if !ok {
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

// urlPatience is how long a script's URL may take.
const urlPatience = 5 * time.Second

// url plans the check of a URL; one that stands in several places is judged once.
func (p *plan) url(path, text string) {
	if text != "" {
		p.late = append(p.late, task{"UrlValidator", func(k *check) { location(k.ctx, k, path, text) }, text})
	}
}

// scripts plans the checks of what a custom action runs.
func (p *plan) scripts(path string, a *config.CustomAction) {
	for i, s := range a.Scripts() {
		at := path + ".Script"
		if a.Script == "" {
			at = fmt.Sprintf("%s.Sequence[%d].Script", path, i)
		}
		p.late = append(p.late, task{"AsyncTimedUrlValidator", func(k *check) {
			ctx, cancel := context.WithTimeout(k.ctx, urlPatience)
			defer cancel()
			location(ctx, k, at, s.Script)
		}, s.Script})
	}
}
