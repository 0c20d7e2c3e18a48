//go:build unix

package act

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// maxObjects is how many objects one S3Download may fetch, as on AWS.
const maxObjects = 1000

func splitURL(s string) (bucket, key string, err error) {
	rest, ok := strings.CutPrefix(s, "s3://")
	if bucket, key, _ = strings.Cut(rest, "/"); !ok || bucket == "" || key == "" {
		return "", "", fmt.Errorf("%q is no object of S3: write s3://BUCKET/KEY", s)
	}
	return bucket, key, nil
}

func (c *call) owner() *string {
	if o := c.text("expectedBucketOwner"); o != "" {
		return &o
	}
	return nil
}

func s3Download(ctx context.Context, c *call) (output, error) {
	bucket, key, err := splitURL(c.text("source"))
	if err != nil {
		return nil, err
	}
	client, err := c.S3(ctx)
	if err != nil {
		return nil, err
	}
	destination := c.text("destination")
	if !strings.Contains(key, "*") {
		if st, err := os.Stat(destination); err == nil && st.IsDir() || strings.HasSuffix(destination, "/") {
			destination = filepath.Join(destination, path.Base(key))
		}
		return nil, c.download(ctx, client, bucket, key, destination)
	}
	prefix, _, _ := strings.Cut(key, "*")
	base := prefix[:strings.LastIndexByte(prefix, '/')+1]
	in := &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix, ExpectedBucketOwner: c.owner()}
	for n := 0; ; {
		page, err := client.ListObjectsV2(ctx, in)
		if err != nil {
			return nil, fmt.Errorf("list s3://%s/%s: %w", bucket, prefix, err)
		}
		for _, o := range page.Contents {
			name := aws.ToString(o.Key)
			if strings.HasSuffix(name, "/") || !like(key, name) {
				continue
			}
			if n++; n > maxObjects {
				return nil, fmt.Errorf("s3://%s/%s stands for more than %d objects", bucket, key, maxObjects)
			}
			to := filepath.Join(destination, filepath.Clean("/"+strings.TrimPrefix(name, base)))
			if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
				return nil, err
			}
			if err := c.download(ctx, client, bucket, name, to); err != nil {
				return nil, err
			}
		}
		if !aws.ToBool(page.IsTruncated) {
			if n == 0 {
				return nil, fmt.Errorf("no object matches s3://%s/%s", bucket, key)
			}
			return nil, nil
		}
		in.ContinuationToken = page.NextContinuationToken
	}
}

func (c *call) download(ctx context.Context, client S3, bucket, key, to string) error {
	if err := c.mayWrite(to); err != nil {
		return err
	}
	out, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key, ExpectedBucketOwner: c.owner()})
	if err != nil {
		return fmt.Errorf("s3://%s/%s: %w", bucket, key, err)
	}
	defer out.Body.Close()
	c.logf("S3Download: s3://%s/%s to %s", bucket, key, to)
	return writeAll(to, out.Body)
}

// writeAll writes a file that is whole or not there.
func writeAll(to string, from io.Reader) error {
	f, err := os.CreateTemp(filepath.Dir(to), ".download-*")
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err == nil {
		err = os.Rename(f.Name(), to)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

func s3Upload(ctx context.Context, c *call) (output, error) {
	source := c.text("source")
	bucket, key, err := splitURL(c.text("destination") + "/") // a bucket alone is fine
	if err != nil && bucket == "" {
		return nil, err
	}
	key = strings.TrimSuffix(key, "/")
	client, err := c.S3(ctx)
	if err != nil {
		return nil, err
	}
	put := func(file, key string) error {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		c.logf("S3Upload: %s to s3://%s/%s", file, bucket, key)
		if _, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: f, ExpectedBucketOwner: c.owner()}); err != nil {
			return fmt.Errorf("s3://%s/%s: %w", bucket, key, err)
		}
		return nil
	}
	found, err := matches(source)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s: %w", source, fs.ErrNotExist)
	}
	many := strings.Contains(filepath.Base(source), "*") || strings.HasSuffix(c.text("destination"), "/")
	for _, file := range found {
		st, err := os.Stat(file)
		switch {
		case err != nil:
			return nil, err
		case !st.IsDir() && !many:
			err = put(file, key)
		case !st.IsDir():
			err = put(file, path.Join(key, filepath.Base(file)))
		case c.flag("recurse", false):
			root := file
			if many {
				root = filepath.Dir(file)
			}
			err = filepath.WalkDir(file, func(p string, e fs.DirEntry, err error) error {
				if err != nil || !e.Type().IsRegular() {
					return err
				}
				rel, err := filepath.Rel(root, p)
				if err != nil {
					return err
				}
				return put(p, path.Join(key, filepath.ToSlash(rel)))
			})
		case !many:
			err = fmt.Errorf("%s is a folder: set recurse to true", file)
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// downloadAttempts is how often a download is tried, whatever maxAttempts says.
const downloadAttempts = 5

func webDownload(ctx context.Context, c *call) (output, error) {
	source, destination := c.text("source"), c.text("destination")
	u, err := url.Parse(source)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%q is no http or https URL", source)
	}
	if strings.HasSuffix(destination, "/") {
		name := path.Base(u.Path)
		if name == "." || name == "/" {
			return nil, fmt.Errorf("%s has no file name: give the destination one", source)
		}
		destination = filepath.Join(destination, name)
	}
	checksum, algorithm := c.text("checksum"), c.text("algorithm")
	if (checksum == "") != (algorithm == "") {
		return nil, errors.New("checksum and algorithm belong together")
	}
	out := output{"destination": destination}
	if _, err := os.Stat(destination); err == nil {
		if !c.flag("overwrite", true) {
			return nil, fmt.Errorf("%s is there already, and overwrite is false", destination)
		}
		if checksum != "" {
			if sum, err := c.FileHash(algorithm, destination); err == nil && strings.EqualFold(sum, checksum) {
				c.logf("WebDownload: %s has the checksum already", destination)
				return out, nil
			}
		}
	}
	if err := os.MkdirAll(filepath.Dir(destination), 0o755); err != nil {
		return nil, err
	}
	client := &http.Client{Transport: http.DefaultTransport}
	if c.flag("ignoreCertificateErrors", false) {
		client.Transport = &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	}
	pause := c.Pause
	if pause == 0 {
		pause = time.Second
	}
	for attempt := 1; ; attempt++ {
		err := c.fetch(ctx, client, source, destination, checksum, algorithm)
		if err == nil {
			return out, nil
		}
		if final := (*finalError)(nil); attempt == downloadAttempts || errors.As(err, &final) {
			return nil, fmt.Errorf("%s: %w", source, err)
		}
		c.logf("WebDownload: %s: %s, trying again", source, err)
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(pause):
		}
		pause *= 2
	}
}

// A finalError would come again.
type finalError struct{ error }

func (c *call) fetch(ctx context.Context, client *http.Client, source, destination, checksum, algorithm string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, source, nil)
	if err != nil {
		return &finalError{err}
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		err := fmt.Errorf("the server answers %s", resp.Status)
		if resp.StatusCode/100 == 4 && resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusRequestTimeout {
			return &finalError{err}
		}
		return err
	}
	body := io.Reader(resp.Body)
	if checksum == "" {
		c.logf("WebDownload: %s to %s", source, destination)
		return writeAll(destination, body)
	}
	h, err := newHash(algorithm)
	if err != nil {
		return &finalError{err}
	}
	part := destination + ".unchecked"
	defer os.Remove(part)
	if err := writeAll(part, io.TeeReader(body, h)); err != nil {
		return err
	}
	if sum := hex.EncodeToString(h.Sum(nil)); !strings.EqualFold(sum, checksum) {
		return &finalError{fmt.Errorf("the %s of what came is %s, not %s", algorithm, sum, checksum)}
	}
	c.logf("WebDownload: %s to %s, checksum verified", source, destination)
	return os.Rename(part, destination)
}
