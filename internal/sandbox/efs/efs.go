// Package efs is the sandbox's Elastic File System. A file system is a directory
// of the host, which package machine mounts into instances; mount targets are
// network interfaces of EC2 that keep the addresses and security groups.
//
// States pass at once: what a create call reports as creating is available when
// anybody looks again. Start at [New]; file systems are in filesystem.go.
package efs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/efs/types"
	"github.com/aws/smithy-go"

	"pcluster/internal/sandbox/page"
	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/wire"
)

// Network is the part of EC2 that mount targets need.
type Network interface {
	DescribeSubnets(context.Context, *ec2.DescribeSubnetsInput) (*ec2.DescribeSubnetsOutput, error)
	CreateNetworkInterface(context.Context, *ec2.CreateNetworkInterfaceInput) (*ec2.CreateNetworkInterfaceOutput, error)
	DeleteNetworkInterface(context.Context, *ec2.DeleteNetworkInterfaceInput) (*ec2.DeleteNetworkInterfaceOutput, error)
	ModifyNetworkInterfaceAttribute(context.Context, *ec2.ModifyNetworkInterfaceAttributeInput) (*ec2.ModifyNetworkInterfaceAttributeOutput, error)
}

// Service is the EFS of one region.
type Service struct {
	id  *region.Identity
	dir string
	net Network
	now func() time.Time

	// mu makes a check and the change that depends on it one step.
	mu           sync.Mutex
	fileSystems  *store.Table[fileSystem]
	mountTargets *store.Table[mountTarget]
	accessPoints *store.Table[types.AccessPointDescription]

	sizes sizes
}

// A fileSystem is one row. The description is as the API shows it, except for
// what changes by itself: size and number of mount targets.
type fileSystem struct {
	Description types.FileSystemDescription
	Lifecycle   []types.LifecyclePolicy
	Backup      types.Status
	Policy      string
}

type mountTarget struct {
	Description types.MountTargetDescription
	Groups      []string
}

// trash holds the directories of deleted file systems until they are removed.
const trash = ".deleted"

// New opens the service's tables in db. File systems are directories in dir.
func New(db *store.DB, id *region.Identity, dir string, net Network) (*Service, error) {
	s := &Service{id: id, dir: dir, net: net, now: time.Now}
	if err := errors.Join(
		store.OpenTable(db, "efs.filesystems", &s.fileSystems),
		store.OpenTable(db, "efs.mounttargets", &s.mountTargets),
		store.OpenTable(db, "efs.accesspoints", &s.accessPoints),
	); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, fmt.Errorf("file systems: %w", err)
	}
	go func() { _ = os.RemoveAll(filepath.Join(dir, trash)) }() // what a killed daemon was removing
	for _, m := range s.mountTargets.All() {
		if m.Description.LifeCycleState == types.LifeCycleStateCreating { // what it was creating
			if _, err := s.attach(context.Background(), m); err != nil && code(err) == "" {
				return nil, err
			}
		}
	}
	return s, nil
}

// Directory returns the host directory that is the root of a file system.
func (s *Service) Directory(id string) (string, error) {
	if _, err := s.fileSystem(id); err != nil {
		return "", err
	}
	return filepath.Join(s.dir, id), nil
}

// AccessPointDirectory returns the host directory that an access point shows as
// its root.
func (s *Service) AccessPointDirectory(id string) (string, error) {
	p, err := s.accessPoint(id)
	if err != nil {
		return "", err
	}
	return s.inside(aws.ToString(p.FileSystemId), aws.ToString(p.RootDirectory.Path)), nil
}

func (s *Service) inside(fsID, path string) string {
	return filepath.Join(s.dir, fsID, filepath.Clean("/"+path))
}

// AdoptFileSystem makes sure that a file system with the given ID exists and has
// a mount target in the zone of the subnet.
func (s *Service) AdoptFileSystem(ctx context.Context, id, name, subnetID string, groups []string) error {
	if _, ok := s.fileSystems.Get(id); !ok {
		var tags []types.Tag
		if name != "" {
			tags = []types.Tag{{Key: aws.String("Name"), Value: &name}}
		}
		d := s.describe(id, "adopted-"+id, tags)
		d.PerformanceMode, d.ThroughputMode, d.Encrypted = types.PerformanceModeGeneralPurpose, types.ThroughputModeBursting, aws.Bool(false)
		if err := s.add(fileSystem{Description: d, Backup: types.StatusDisabled}); err != nil {
			return fmt.Errorf("adopt file system %s: %w", id, err)
		}
	}
	if _, err := s.createMountTarget(ctx, id, subnetID, "", groups); err != nil && code(err) != "MountTargetConflict" {
		return fmt.Errorf("adopt file system %s: %w", id, err)
	}
	return nil
}

// code returns AWS's code of an error, empty when it is not an error of AWS.
func code(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	return ""
}

func (s *Service) fileSystem(id string) (fileSystem, error) {
	f, ok := s.fileSystems.Get(bareID(id))
	if !ok {
		return fileSystem{}, wire.Errorf("FileSystemNotFound", "File system '%s' does not exist.", bareID(id))
	}
	return f, nil
}

// bareID returns the ID in an ARN; an ID is its own.
func bareID(idOrARN string) string { return idOrARN[strings.LastIndex(idOrARN, "/")+1:] }

// paged is page.Of with EFS's error.
func paged[T any](rows []T, key func(T) string, token *string, limit int) ([]T, *string, error) {
	got, next, err := page.Of(rows, key, token, limit)
	if err != nil {
		return nil, nil, wire.Errorf("BadRequest", "Invalid pagination token.")
	}
	return got, next, nil
}
