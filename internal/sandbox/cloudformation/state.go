package cloudformation

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"pcluster/internal/sandbox/cloudformation/template"
)

// An object is a tree of template values that keeps its numbers as they were
// written when it is stored.
type object map[string]any

func (o *object) UnmarshalJSON(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var m map[string]any
	if err := dec.Decode(&m); err != nil {
		return err
	}
	*o = m
	return nil
}

// A stackRow is what is known of a stack, apart from its resources, events and
// template.
type stackRow struct {
	ID, Name              string
	Description           string      `json:",omitempty"`
	Status, Reason        string      `json:",omitempty"`
	Created               time.Time   `json:",omitempty"`
	Updated, Deleted      *time.Time  `json:",omitempty"`
	TerminationProtection bool        `json:",omitempty"`
	OnFailure             string      `json:",omitempty"` // of the creation
	TimeoutMinutes        int32       `json:",omitempty"`
	Parent, Root          string      `json:",omitempty"` // stack IDs, for nested stacks
	ParentResource        string      `json:",omitempty"` // logical ID in the parent
	CreateToken           string      `json:",omitempty"` // ClientRequestToken of CreateStack
	ChangeSet             string      `json:",omitempty"` // ID of the last one executed
	Outputs               []outputRow `json:",omitempty"`
	By                    *principal  `json:",omitempty"` // in whose name resources are made
	OutputImports         []string    `json:",omitempty"` // exports that outputs import
	Operations            int         `json:",omitempty"` // how many there were
	Op                    *operation  `json:",omitempty"` // the running one
	Version               version     // what is deployed, or being deployed
	Previous              *version    `json:",omitempty"` // what was deployed, while an update runs or if its rollback failed
}

// A version is what a request asked a stack to be.
type version struct {
	Template         int               // key of the template's text, see templateKey
	Parameters       map[string]string `json:",omitempty"`
	Resolved         map[string]string `json:",omitempty"` // values of parameters from SSM
	Tags             []tag             `json:",omitempty"`
	Capabilities     []string          `json:",omitempty"`
	NotificationARNs []string          `json:",omitempty"`
	RoleARN          string            `json:",omitempty"`
	DisableRollback  bool              `json:",omitempty"`
	// RetainExceptOnCreate makes a rollback delete what it created, whatever its
	// deletion policy.
	RetainExceptOnCreate bool `json:",omitempty"`
}

type tag struct{ Key, Value string }

type outputRow struct {
	Key, Value, Description string
	Export                  string `json:",omitempty"`
}

// Phases of operations.
const (
	phaseCreate          = "create"           // make the resources of a new stack
	phaseRollback        = "rollback"         // undo a failed creation
	phaseUpdate          = "update"           // make resources as the new version wants them
	phaseCleanup         = "cleanup"          // delete what an update made superfluous
	phaseUpdateRollback  = "update-rollback"  // make resources as the previous version wants them
	phaseRollbackCleanup = "rollback-cleanup" // delete what a failed update had made
	phaseDelete          = "delete"
)

// An operation is the work on a stack that is under way.
type operation struct {
	Number  int // counts the stack's operations from 1
	Phase   string
	Token   string `json:",omitempty"` // ClientRequestToken
	Started time.Time
	Retain  []string `json:",omitempty"` // deletion: resources to leave alone
	Skip    []string `json:",omitempty"` // rollback of an update: resources to leave alone
	Force   bool     `json:",omitempty"` // deletion: resources that cannot be deleted are left alone
	Cancel  bool     `json:",omitempty"` // the update was cancelled
	// Continues says that the update before this one failed and was not rolled
	// back, so that both are rolled back together.
	Continues bool `json:",omitempty"`
}

// A resourceRow is a resource of a stack.
type resourceRow struct {
	LogicalID string
	former    // what it is now
	Status    string
	Reason    string `json:",omitempty"`
	Time      time.Time
	Started   time.Time // of the running work
	Token     string    // of the last attempt to do something to it
	Operation int       // that last touched it

	// For a stack whose update is not over: running, or failed and not rolled back.
	New       bool     `json:",omitempty"` // there was nothing before the update
	Untouched bool     `json:",omitempty"` // the update found nothing to change
	Replacing bool     `json:",omitempty"` // the update makes a new resource in place of another
	Before    *former  `json:",omitempty"` // what a rollback goes back to
	From      *former  `json:",omitempty"` // what a change in place starts from
	Discard   []former `json:",omitempty"` // to be deleted in the clean-up

	unsure bool // a daemon that died may have made it without noting its ID
}

// A former is a resource as it was at some time.
type former struct {
	Type                string
	PhysicalID          string            `json:",omitempty"`
	Props               object            `json:",omitempty"`
	Attributes          object            `json:",omitempty"`
	Metadata            object            `json:",omitempty"`
	Tags                map[string]string `json:",omitempty"`
	DependsOn           []string          `json:",omitempty"`
	DeletionPolicy      string            `json:",omitempty"`
	UpdateReplacePolicy string            `json:",omitempty"`
	Imports             []string          `json:",omitempty"` // exports of other stacks that it uses
}

func (r *resourceRow) done() bool {
	return r.Status == "DELETE_COMPLETE" || r.Status == "DELETE_SKIPPED"
}

// An eventRow is one event of a stack.
type eventRow struct {
	ID, StackID, StackName      string
	LogicalID, PhysicalID, Type string
	Status, Reason, Token       string `json:",omitempty"`
	Time                        time.Time
	Properties                  string `json:",omitempty"`
}

// A stack is a stack in memory. Rows in it are written through to the tables;
// they are replaced, never changed in place.
type stack struct {
	id string

	mu        sync.Mutex
	row       stackRow
	resources map[string]resourceRow
	events    []eventRow
	parsed    map[int]*template.Template // by number of the text
	driver    *driver
}

func (st *stack) snapshot() stackRow {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.row
}

func (st *stack) resource(id string) (resourceRow, bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	r, ok := st.resources[id]
	return r, ok
}

// allResources returns the stack's resources in the order of their logical IDs.
func (st *stack) allResources() []resourceRow {
	st.mu.Lock()
	defer st.mu.Unlock()
	out := make([]resourceRow, 0, len(st.resources))
	for _, id := range slices.Sorted(maps.Keys(st.resources)) {
		out = append(out, st.resources[id])
	}
	return out
}

func resourceKey(stackID, logicalID string) string { return stackID + "|" + logicalID }
func eventKey(stackID string, n int) string        { return fmt.Sprintf("%s|%08d", stackID, n) }
func templateKey(stackID string, n int) string     { return fmt.Sprintf("%s|%d", stackID, n) }

// updateStack changes the row of a stack and stores it.
func (s *Service) updateStack(st *stack, change func(*stackRow)) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	row := st.row
	change(&row)
	if err := s.mayWrite(); err != nil {
		return err
	}
	if err := s.stackTable.Put(st.id, row); err != nil {
		return err
	}
	st.row = row
	s.bell.ring()
	return nil
}

// putResource stores the row of a resource.
func (s *Service) putResource(st *stack, row resourceRow) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if err := s.mayWrite(); err != nil {
		return err
	}
	if err := s.resourceTable.Put(resourceKey(st.id, row.LogicalID), row); err != nil {
		return err
	}
	st.resources[row.LogicalID] = row
	return nil
}

func (s *Service) mayWrite() error {
	if s.write == nil {
		return nil
	}
	return s.write()
}

// dropResource forgets a resource that an update removed.
func (s *Service) dropResource(st *stack, logicalID string) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if err := s.mayWrite(); err != nil {
		return err
	}
	if err := s.resourceTable.Delete(resourceKey(st.id, logicalID)); err != nil {
		return err
	}
	delete(st.resources, logicalID)
	return nil
}

// addEvent stores an event.
func (s *Service) addEvent(st *stack, e eventRow) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	e, err := s.putEvent(st, e)
	if err == nil {
		st.events = append(st.events, e)
	}
	return err
}

// putEvent completes an event and stores it, before it is appended to the
// stack's: until then a repeat overwrites it. st.mu is held.
func (s *Service) putEvent(st *stack, e eventRow) (eventRow, error) {
	e.StackID, e.StackName, e.Time = st.id, st.row.Name, s.now().Truncate(time.Millisecond)
	if st.row.Op != nil {
		e.Token = st.row.Op.Token
	}
	// Events of one stack never share a time, so that sorting by it keeps their order.
	if n := len(st.events); n > 0 && !e.Time.After(st.events[n-1].Time) {
		e.Time = st.events[n-1].Time.Add(time.Millisecond)
	}
	if e.Type == stackType && e.PhysicalID == st.id {
		e.ID = newUUID()
	} else {
		e.ID = e.LogicalID + "-" + e.Status + "-" + e.Time.UTC().Format("2006-01-02T15:04:05.000Z")
	}
	if err := s.mayWrite(); err != nil {
		return e, err
	}
	return e, s.eventTable.Put(eventKey(st.id, len(st.events)), e)
}

// changeStack is updateStack with the event that tells of it. Readers see both
// or neither. Change may refuse by returning false.
func (s *Service) changeStack(st *stack, e eventRow, change func(*stackRow) bool) (bool, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	row := st.row
	if !change(&row) {
		return false, nil
	}
	e, err := s.putEvent(st, e)
	if err != nil {
		return false, err
	}
	if err := s.mayWrite(); err != nil {
		return false, err
	}
	if err := s.stackTable.Put(st.id, row); err != nil {
		return false, err
	}
	st.row = row
	st.events = append(st.events, e)
	s.bell.ring()
	return true, nil
}

// changeResource is putResource with the event that tells of it.
func (s *Service) changeResource(st *stack, e eventRow, row resourceRow) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	e, err := s.putEvent(st, e)
	if err != nil {
		return err
	}
	if err := s.mayWrite(); err != nil {
		return err
	}
	if err := s.resourceTable.Put(resourceKey(st.id, row.LogicalID), row); err != nil {
		return err
	}
	st.resources[row.LogicalID] = row
	st.events = append(st.events, e)
	return nil
}

// parsedTemplate returns the n-th template of a stack.
func (s *Service) parsedTemplate(st *stack, n int) (*template.Template, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if t, ok := st.parsed[n]; ok {
		return t, nil
	}
	body, ok := s.templateTable.Get(templateKey(st.id, n))
	if !ok {
		return nil, fmt.Errorf("template %d of stack %s is lost", n, st.id)
	}
	t, err := template.Parse([]byte(body))
	if err != nil {
		return nil, err
	}
	if st.row.Deleted == nil {
		st.parsed[n] = t
	}
	return t, nil
}

// pruneTemplates removes the texts of versions that a stack has left behind.
func (s *Service) pruneTemplates(st *stack) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	for n := 1; n <= st.row.Operations+1; n++ {
		if n == st.row.Version.Template {
			continue
		}
		delete(st.parsed, n)
		if err := s.templateTable.Delete(templateKey(st.id, n)); err != nil {
			return err
		}
	}
	return nil
}

// A bell wakes those who wait for a change of any stack, signal or response.
type bell struct {
	mu sync.Mutex
	ch chan struct{}
}

// next returns a channel that is closed at the next ring.
func (b *bell) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
