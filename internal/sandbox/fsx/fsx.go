// Package fsx is the sandbox's FSx, for Lustre above all. A file system is a
// directory of the host, which package machine mounts into instances.
//
// Data repository associations tie a directory of a file system to a prefix of an
// S3 bucket. Imported objects are copied at once rather than when they are first
// read: to a program on an instance that looks the same, and no file system of
// our own has to stand between. Changes flow both ways as the association's
// policies say; package s3 tells of objects, inotify of files. See link.go.
//
// File systems of other types exist only where a cluster file refers to them; see
// adopt.go.
package fsx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/fsx/types"
	"github.com/aws/smithy-go"

	"pcluster/internal/sandbox/page"
	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/s3"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/wire"
)

// Network is the part of EC2 that file systems need for their addresses.
type Network interface {
	DescribeSubnets(context.Context, *ec2.DescribeSubnetsInput) (*ec2.DescribeSubnetsOutput, error)
	CreateNetworkInterface(context.Context, *ec2.CreateNetworkInterfaceInput) (*ec2.CreateNetworkInterfaceOutput, error)
	DeleteNetworkInterface(context.Context, *ec2.DeleteNetworkInterfaceInput) (*ec2.DeleteNetworkInterfaceOutput, error)
}

// Objects is the part of S3 that data repositories need. *s3.Service has it.
type Objects interface {
	HasBucket(name string) bool
	Stat(ctx context.Context, bucket, key string) (s3.Entry, error)
	Open(ctx context.Context, bucket, key string) (io.ReadCloser, s3.Entry, error)
	Put(ctx context.Context, bucket, key string, body io.Reader, meta map[string]string) (s3.Entry, error)
	Remove(ctx context.Context, bucket, key string) error
	Entries(ctx context.Context, bucket, prefix string, fn func(s3.Entry) error) error
	OnChange(fn func(bucket, key string, deleted bool))
}

// Service is the FSx of one region.
type Service struct {
	id      *region.Identity
	dir     string
	net     Network
	objects Objects
	now     func() time.Time

	// mu makes a check and the change that depends on it one step, and is never
	// taken by the goroutines of links, for which it waits.
	mu           sync.Mutex
	fileSystems  *store.Table[fileSystem]
	associations *store.Table[association]
	tasks        *store.Table[task]
	volumes      *store.Table[types.Volume]
	svms         *store.Table[types.StorageVirtualMachine]
	synced       *store.Table[syncedFile] // under repository/path
	linksMu      sync.RWMutex
	links        map[string]*link // by repository

	ctx    context.Context
	cancel context.CancelFunc
	busy   sync.WaitGroup
}

// A fileSystem is one row.
type fileSystem struct {
	Description types.FileSystem
	Token       string
	Groups      []string // that were asked for; the network interface has those it got
}

// An association is one row.
type association struct {
	Description types.DataRepositoryAssociation
	Token       string
}

// trash holds the directories of deleted file systems until they are removed.
const trash = ".deleted"

// New opens the service's tables in db. File systems are directories in dir.
// Nothing flows before [Service.Start].
func New(db *store.DB, id *region.Identity, dir string, net Network, objects Objects) (*Service, error) {
	s := &Service{id: id, dir: dir, net: net, objects: objects, now: time.Now, links: map[string]*link{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if err := s.openTables(db); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, fmt.Errorf("file systems: %w", err)
	}
	objects.OnChange(s.objectChanged)
	return s, nil
}

func (s *Service) openTables(db *store.DB) error {
	return errors.Join(
		store.OpenTable(db, "fsx.filesystems", &s.fileSystems),
		store.OpenTable(db, "fsx.associations", &s.associations),
		store.OpenTable(db, "fsx.tasks", &s.tasks),
		store.OpenTable(db, "fsx.volumes", &s.volumes),
		store.OpenTable(db, "fsx.svms", &s.svms),
		store.OpenTable(db, "fsx.synced", &s.synced),
	)
}

// Start lets data flow between file systems and their repositories, until ctx
// ends, and finishes what an earlier process began.
func (s *Service) Start(ctx context.Context) {
	context.AfterFunc(ctx, s.Close)
	s.busy.Go(func() { _ = os.RemoveAll(filepath.Join(s.dir, trash)) })
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.fileSystems.All() {
		if len(f.Description.NetworkInterfaceIds) == 0 { // died while creating it
			if _, err := s.place(ctx, f); err != nil {
				continue
			}
		}
		if repo, ok := f.repository(); ok {
			s.connect(repo)
		}
	}
	for _, a := range s.associations.All() {
		s.connect(a.repository())
	}
	for _, t := range s.tasks.All() {
		if t.unfinished() {
			s.busy.Go(func() { s.runTask(*t.Description.TaskId) })
		}
	}
}

// Close stops the flow and waits for what is under way.
func (s *Service) Close() {
	s.cancel()
	s.busy.Wait()
}

// Directory returns the host directory that is the root of a file system.
func (s *Service) Directory(id string) (string, error) {
	if _, err := s.fileSystem(id); err != nil {
		return "", err
	}
	return filepath.Join(s.dir, id), nil
}

// ByDNSName returns the file system that a DNS name belongs to: its own name, or
// that of one of its storage virtual machines.
func (s *Service) ByDNSName(name string) (id string, ok bool) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	for _, label := range strings.Split(name, ".") {
		if _, ok := s.fileSystems.Get(label); ok {
			own := label + ".fsx." + s.id.Name() + ".amazonaws.com"
			return label, name == own || strings.HasSuffix(name, "."+own)
		}
	}
	return "", false
}

// CheckMountName says why a Lustre file system cannot be mounted under the given
// mount name.
func (s *Service) CheckMountName(id, name string) error {
	f, err := s.fileSystem(id)
	if err != nil {
		return err
	}
	c := f.Description.LustreConfiguration
	if c == nil {
		return fmt.Errorf("%s is not a Lustre file system", id)
	}
	if want := aws.ToString(c.MountName); name != want {
		return fmt.Errorf("%s has the mount name %s, not %s", id, want, name)
	}
	return nil
}

func (s *Service) fileSystem(id string) (fileSystem, error) {
	f, ok := s.fileSystems.Get(id)
	if !ok {
		return f, wire.Errorf("FileSystemNotFound", "File system '%s' does not exist.", id)
	}
	return f, nil
}

func (s *Service) association(id string) (association, error) {
	a, ok := s.associations.Get(id)
	if !ok {
		return a, wire.Errorf("DataRepositoryAssociationNotFound", "Data repository association '%s' does not exist.", id)
	}
	return a, nil
}

// associationsOf returns the associations of a file system.
func (s *Service) associationsOf(fsID string) []association {
	var out []association
	for _, a := range s.associations.All() {
		if aws.ToString(a.Description.FileSystemId) == fsID {
			out = append(out, a)
		}
	}
	return out
}

// code returns AWS's code of an error, empty when it is not an error of AWS.
func code(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	return ""
}

func badRequest(format string, args ...any) error { return wire.Errorf("BadRequest", format, args...) }

// paged is page.Of with FSx's error.
func paged[T any](rows []T, key func(T) string, token *string, asked *int32) ([]T, *string, error) {
	got, next, err := page.Of(rows, key, token, page.Limit(asked, 100))
	if err != nil {
		return nil, nil, badRequest("The NextToken is not valid.")
	}
	return got, next, nil
}
