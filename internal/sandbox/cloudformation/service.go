package cloudformation

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"pcluster/internal/sandbox/cloudformation/resource"
	"pcluster/internal/sandbox/cloudformation/template"
	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/wire"
)

// Objects reads templates from S3.
type Objects interface {
	// Object returns a version of an object, "" being the newest.
	Object(ctx context.Context, bucket, key, version string) ([]byte, error)
}

// Parameters reads parameters of Systems Manager, for stack parameters that name
// one and for {{resolve:ssm:…}}.
type Parameters interface {
	GetParameter(context.Context, *ssm.GetParameterInput) (*ssm.GetParameterOutput, error)
}

// Secrets reads secrets, for {{resolve:secretsmanager:…}}.
type Secrets interface {
	GetSecretValue(context.Context, *secretsmanager.GetSecretValueInput) (*secretsmanager.GetSecretValueOutput, error)
}

// Config is what the service needs of the region. Only Services must be there;
// what is nil makes the features that need it fail with a reason.
type Config struct {
	Services   resource.Services // where resources live
	Objects    Objects
	Parameters Parameters
	Secrets    Secrets
	// Endpoint is the region's URL on loopback, without a path. Functions answer
	// for custom resources there.
	Endpoint string
	// Permissions returns what a principal may do, for whoever is asked in its name later
	// (see [OnBehalf]). Nil: it is not kept.
	Permissions func(wire.Caller) json.RawMessage
	Log         *slog.Logger
}

// Service is CloudFormation.
type Service struct {
	cfg      Config
	identity *region.Identity
	log      *slog.Logger
	now      func() time.Time
	types    map[string]*resource.Type

	stackTable    *store.Table[stackRow]
	resourceTable *store.Table[resourceRow]
	eventTable    *store.Table[eventRow]
	templateTable *store.Table[string]
	changeTable   *store.Table[changeSetRow]
	handleTable   *store.Table[handleRow]
	answerTable   *store.Table[answerRow]

	bell  bell
	write func() error // nil, or for tests: called before every write of an operation

	ctx     context.Context // ends when the service is closed
	stop    context.CancelCauseFunc
	drivers sync.WaitGroup

	mu     sync.Mutex // taken before a stack's
	stacks map[string]*stack
}

// New opens the service's tables. Operations that a daemon which died had begun
// go on with [Service.Start].
func New(db *store.DB, id *region.Identity, cfg Config) (*Service, error) {
	s := &Service{cfg: cfg, identity: id, log: cfg.Log, now: time.Now, stacks: map[string]*stack{}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.ctx, s.stop = context.WithCancelCause(context.Background())
	s.types = resource.Types(cfg.Services)
	for _, t := range s.ownTypes() {
		s.types[t.Name] = t
	}
	if err := errors.Join(
		store.OpenTable(db, "cloudformation.stacks", &s.stackTable),
		store.OpenTable(db, "cloudformation.resources", &s.resourceTable),
		store.OpenTable(db, "cloudformation.events", &s.eventTable),
		store.OpenTable(db, "cloudformation.templates", &s.templateTable),
		store.OpenTable(db, "cloudformation.changesets", &s.changeTable),
		store.OpenTable(db, "cloudformation.handles", &s.handleTable),
		store.OpenTable(db, "cloudformation.answers", &s.answerTable),
	); err != nil {
		return nil, err
	}
	return s, s.load()
}

// deletedFor is how long a deleted stack stays visible, as on AWS; but a region
// that makes and deletes stacks all day does not keep more than maxDeleted.
const (
	deletedFor = 90 * 24 * time.Hour
	maxDeleted = 100
)

func (s *Service) load() error {
	for _, row := range s.stackTable.All() {
		s.stacks[row.ID] = &stack{id: row.ID, row: row, resources: map[string]resourceRow{}, parsed: map[int]*template.Template{}}
	}
	for _, key := range s.resourceTable.Keys() {
		stackID, _, _ := strings.Cut(key, "|")
		row, _ := s.resourceTable.Get(key)
		if st := s.stacks[stackID]; st != nil {
			row.unsure = row.Status == "CREATE_IN_PROGRESS" || row.Status == "UPDATE_IN_PROGRESS"
			st.resources[row.LogicalID] = row
		}
	}
	for _, e := range s.eventTable.All() { // keys put them in order
		if st := s.stacks[e.StackID]; st != nil {
			st.events = append(st.events, e)
		}
	}
	return s.forgetOld()
}

// forgetOld forgets stacks that were deleted long ago.
func (s *Service) forgetOld() error {
	var deleted []stackRow
	for _, st := range s.all() {
		if row := st.snapshot(); row.Deleted != nil {
			deleted = append(deleted, row)
		}
	}
	slices.SortFunc(deleted, func(a, b stackRow) int { return b.Deleted.Compare(*a.Deleted) })
	for i, row := range deleted {
		if i < maxDeleted && s.now().Sub(*row.Deleted) < deletedFor {
			continue
		}
		if err := s.forget(row.ID); err != nil {
			return err
		}
	}
	return nil
}

// forget removes all that is known of a stack.
func (s *Service) forget(stackID string) error {
	s.mu.Lock()
	delete(s.stacks, stackID)
	s.mu.Unlock()
	for _, t := range []interface {
		Keys() []string
		Delete(string) error
	}{s.resourceTable, s.eventTable, s.templateTable} {
		for _, k := range t.Keys() {
			if strings.HasPrefix(k, stackID+"|") {
				if err := t.Delete(k); err != nil {
					return err
				}
			}
		}
	}
	return s.stackTable.Delete(stackID)
}

// Start goes on with the operations that were under way when the region was last
// up, and returns at once. When ctx ends, operations stand still.
func (s *Service) Start(ctx context.Context) {
	context.AfterFunc(ctx, func() { s.stop(errClosed) })
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(s.stacks)) {
		st := s.stacks[id]
		if st.snapshot().Op != nil {
			s.drive(st)
		}
	}
}

// Close interrupts all operations, which go on when the region is next started,
// and returns when nothing of the service runs any more: the store may be closed
// then.
func (s *Service) Close() {
	s.stop(errClosed)
	s.drivers.Wait()
}

// find returns the stack with the given name or ID. Deleted stacks are found by
// ID only.
func (s *Service) find(nameOrID string) *stack {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st, ok := s.stacks[nameOrID]; ok {
		return st
	}
	for _, st := range s.stacks {
		if row := st.snapshot(); row.Name == nameOrID && row.Deleted == nil {
			return st
		}
	}
	return nil
}

// all returns all stacks, newest first.
func (s *Service) all() []*stack {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := slices.Collect(maps.Values(s.stacks))
	slices.SortFunc(out, func(a, b *stack) int {
		x, y := a.snapshot(), b.snapshot()
		if c := y.Created.Compare(x.Created); c != 0 {
			return c
		}
		return strings.Compare(x.ID, y.ID)
	})
	return out
}

// newUUID returns a random UUID.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// ARNOf returns the ARN of a stack by its name or ARN, or nothing.
func (s *Service) ARNOf(nameOrID string) string {
	st := s.find(nameOrID)
	if st == nil {
		return ""
	}
	return st.snapshot().ID
}

// ResourceTypes returns the types of resources that stacks may have, sorted.
func (s *Service) ResourceTypes() []string { return slices.Sorted(maps.Keys(s.types)) }
