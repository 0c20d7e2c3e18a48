package live

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/efs"
	"github.com/aws/aws-sdk-go-v2/service/fsx"
	fsxtypes "github.com/aws/aws-sdk-go-v2/service/fsx/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"pcluster/internal/facts"
)

// EFS implements facts.Source.
func (s *Source) EFS(ctx context.Context, id string) (facts.EFS, error) {
	return once(ctx, s, "efs "+id, func() (facts.EFS, error) {
		answer, err := s.efs.DescribeFileSystems(ctx, &efs.DescribeFileSystemsInput{FileSystemId: &id})
		if err != nil {
			return facts.EFS{}, err
		}
		if len(answer.FileSystems) == 0 {
			return facts.EFS{}, none("FileSystemNotFound", "File system '"+id+"' does not exist.")
		}
		out := facts.EFS{ID: id, OneZone: aws.ToString(answer.FileSystems[0].AvailabilityZoneName) != ""}
		targets, err := s.efs.DescribeMountTargets(ctx, &efs.DescribeMountTargetsInput{FileSystemId: &id})
		if err != nil {
			return facts.EFS{}, err
		}
		out.MountTargets = make([]facts.MountTarget, len(targets.MountTargets))
		errs := make([]error, len(targets.MountTargets))
		var wg sync.WaitGroup
		for i, t := range targets.MountTargets {
			out.MountTargets[i].AZ = aws.ToString(t.AvailabilityZoneName)
			wg.Add(1)
			go func() {
				defer wg.Done()
				groups, err := s.efs.DescribeMountTargetSecurityGroups(ctx, &efs.DescribeMountTargetSecurityGroupsInput{MountTargetId: t.MountTargetId})
				if errs[i] = err; err == nil {
					out.MountTargets[i].Groups = groups.SecurityGroups
				}
			}()
		}
		wg.Wait()
		for _, err := range errs {
			if err != nil {
				return facts.EFS{}, err
			}
		}
		return out, nil
	})
}

// FSx implements facts.Source.
func (s *Source) FSx(ctx context.Context, id string) (facts.FSx, error) {
	return once(ctx, s, "fsx "+id, func() (facts.FSx, error) {
		answer, err := s.fsx.DescribeFileSystems(ctx, &fsx.DescribeFileSystemsInput{FileSystemIds: []string{id}})
		if err != nil {
			return facts.FSx{}, err
		}
		if len(answer.FileSystems) == 0 {
			return facts.FSx{}, none("FileSystemNotFound", "File system '"+id+"' does not exist.")
		}
		f := answer.FileSystems[0]
		out := facts.FSx{
			ID: id, Type: string(f.FileSystemType), VPC: aws.ToString(f.VpcId), Subnets: f.SubnetIds,
			Interfaces: f.NetworkInterfaceIds, DNSName: aws.ToString(f.DNSName),
		}
		if f.LustreConfiguration != nil {
			out.MountName = aws.ToString(f.LustreConfiguration.MountName)
		}
		return out, nil
	})
}

// FSxVolume implements facts.Source.
func (s *Source) FSxVolume(ctx context.Context, id string) (facts.FSx, error) {
	system, err := once(ctx, s, "fsx volume "+id, func() (string, error) {
		answer, err := s.fsx.DescribeVolumes(ctx, &fsx.DescribeVolumesInput{VolumeIds: []string{id}})
		if err != nil {
			return "", err
		}
		if len(answer.Volumes) == 0 {
			return "", none("VolumeNotFound", "Volume '"+id+"' does not exist.")
		}
		return aws.ToString(answer.Volumes[0].FileSystemId), nil
	})
	if err != nil {
		return facts.FSx{}, err
	}
	return s.FSx(ctx, system)
}

// FileCache implements facts.Source.
func (s *Source) FileCache(ctx context.Context, id string) (facts.FSx, error) {
	return once(ctx, s, "cache "+id, func() (facts.FSx, error) {
		answer, err := s.fsx.DescribeFileCaches(ctx, &fsx.DescribeFileCachesInput{FileCacheIds: []string{id}})
		if err != nil {
			return facts.FSx{}, err
		}
		if len(answer.FileCaches) == 0 {
			return facts.FSx{}, none("FileCacheNotFound", "File cache '"+id+"' does not exist.")
		}
		c := answer.FileCaches[0]
		out := facts.FSx{ID: id, Type: "FILE_CACHE", VPC: aws.ToString(c.VpcId), Subnets: c.SubnetIds, Interfaces: c.NetworkInterfaceIds, DNSName: aws.ToString(c.DNSName)}
		if c.LustreConfiguration != nil {
			out.MountName = aws.ToString(c.LustreConfiguration.MountName)
		}
		return out, nil
	})
}

// FSxBackup implements facts.Source.
func (s *Source) FSxBackup(ctx context.Context, id string) error {
	_, err := once(ctx, s, "backup "+id, func() (fsxtypes.BackupLifecycle, error) {
		answer, err := s.fsx.DescribeBackups(ctx, &fsx.DescribeBackupsInput{BackupIds: []string{id}})
		if err != nil {
			return "", err
		}
		if len(answer.Backups) == 0 {
			return "", none("BackupNotFound", "Backup '"+id+"' does not exist.")
		}
		return answer.Backups[0].Lifecycle, nil
	})
	return err
}

// Bucket implements facts.Source.
func (s *Source) Bucket(ctx context.Context, name string) (facts.Bucket, error) {
	return once(ctx, s, "bucket "+name, func() (facts.Bucket, error) {
		head, err := s.s3.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &name})
		var refusal *smithyhttp.ResponseError
		if errors.As(err, &refusal) && refusal.HTTPStatusCode() == http.StatusMovedPermanently {
			// It is in another region, and only there says more than which.
			return facts.Bucket{Name: name, Region: refusal.Response.Header.Get("X-Amz-Bucket-Region")}, nil
		}
		if err != nil {
			return facts.Bucket{}, err
		}
		out := facts.Bucket{Name: name, Region: aws.ToString(head.BucketRegion)}
		if out.Region == "" {
			where, err := s.s3.GetBucketLocation(ctx, &s3.GetBucketLocationInput{Bucket: &name})
			if err != nil {
				return facts.Bucket{}, err
			}
			if out.Region = string(where.LocationConstraint); out.Region == "" {
				out.Region = "us-east-1"
			}
		}
		versions, err := s.s3.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &name})
		if err != nil {
			return facts.Bucket{}, err
		}
		out.Versioning = versions.Status == s3types.BucketVersioningStatusEnabled
		return out, nil
	})
}

// Object implements facts.Source.
func (s *Source) Object(ctx context.Context, bucket, key string) error {
	_, err := once(ctx, s, "object "+bucket+"/"+key, func() (bool, error) {
		_, err := s.s3.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: &key})
		return true, err
	})
	return err
}

// URL implements facts.Source.
func (s *Source) URL(ctx context.Context, url string) error {
	_, err := once(ctx, s, "url "+url, func() (bool, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return false, err
		}
		answer, err := s.http.Do(req)
		if err != nil {
			return false, err
		}
		defer answer.Body.Close()
		_, _ = io.CopyN(io.Discard, answer.Body, 1)
		if answer.StatusCode >= 400 {
			return false, &facts.Error{Code: fmt.Sprint(answer.StatusCode), Message: "the server answers " + answer.Status, Missing: answer.StatusCode == http.StatusNotFound}
		}
		return true, nil
	})
	return err
}
