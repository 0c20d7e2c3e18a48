package cloudformation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"pcluster/internal/sandbox/cloudformation/template"
)

// Causes that end the waits of an operation.
var (
	errClosed     = errors.New("the region is going down")
	errSuperseded = errors.New("another operation on the stack has begun")
	errSibling    = errors.New("cancelled") // another resource failed
	errCancelled  = errors.New("the update was cancelled")
	errTimeout    = errors.New("the stack's creation took too long")
)

// A driver carries out the operation of one stack.
type driver struct {
	s    *Service
	st   *stack
	op   operation
	ctx  context.Context // ends the waits of the operation
	end  context.CancelCauseFunc
	done chan struct{}

	cancelled context.Context // ends when the update is cancelled
	cancel    context.CancelFunc
}

// drive starts a driver for the stack's operation. One that runs already is told
// to end, and waited for.
func (s *Service) drive(st *stack) {
	st.mu.Lock()
	defer st.mu.Unlock()
	before := st.driver
	d := &driver{s: s, st: st, op: *st.row.Op, done: make(chan struct{})}
	d.ctx, d.end = context.WithCancelCause(s.ctx)
	d.cancelled, d.cancel = context.WithCancel(context.Background())
	if d.op.Cancel {
		d.cancel()
	}
	st.driver = d
	if before != nil {
		before.end(errSuperseded)
	}
	s.drivers.Add(1)
	go func() {
		defer s.drivers.Done()
		defer close(d.done)
		defer d.end(nil)
		if before != nil {
			<-before.done
		}
		d.run()
		s.bell.ring()
	}()
}

// run goes through the phases of the operation until it is over, or until the
// driver is told to stop, which leaves all rows as they are.
func (d *driver) run() {
	for {
		if d.stopped() {
			return
		}
		var next func() bool
		switch d.op.Phase {
		case phaseCreate:
			next = d.create
		case phaseUpdate:
			next = d.update
		case phaseRollback, phaseDelete:
			next = d.deleteAll
		case phaseCleanup, phaseRollbackCleanup:
			next = d.cleanUp
		case phaseUpdateRollback:
			next = d.rollBackUpdate
		default:
			d.s.log.Error("stack is in an unknown phase", "stack", d.st.id, "phase", d.op.Phase)
			return
		}
		if !next() {
			return
		}
	}
}

// stopped reports whether the driver must leave the rows alone.
func (d *driver) stopped() bool {
	cause := context.Cause(d.ctx)
	return errors.Is(cause, errClosed) || errors.Is(cause, errSuperseded) || d.s.ctx.Err() != nil
}

// keep repeats an attempt to store something until it succeeds: while the disk is
// full, operations stand still. It reports false if the driver has to stop.
func (d *driver) keep(what string, put func() error) bool {
	for {
		err := put()
		if err == nil {
			return true
		}
		d.s.log.Error("state of a stack cannot be stored, trying again", "stack", d.st.id, "what", what, "err", err)
		select {
		case <-time.After(time.Second):
		case <-d.s.ctx.Done():
			return false
		}
	}
}

// enter stores the next phase of the operation with the stack's new status and
// reports it as an event.
func (d *driver) enter(phase, status, reason string, changes ...func(*stackRow)) bool {
	d.op.Phase = phase
	return d.setStatus(status, reason, func(row *stackRow) {
		op := *row.Op
		op.Phase = phase
		row.Op = &op
		for _, change := range changes {
			change(row)
		}
	})
}

// finish ends the operation with a final status.
func (d *driver) finish(status, reason string, change func(*stackRow)) bool {
	d.setStatus(status, reason, func(row *stackRow) {
		row.Op = nil
		if change != nil {
			change(row)
		}
	})
	return false
}

// setStatus gives the stack a status, unless another operation has taken over.
func (d *driver) setStatus(status, reason string, change func(*stackRow)) bool {
	event := eventRow{LogicalID: d.st.snapshot().Name, PhysicalID: d.st.id, Type: stackType, Status: status, Reason: reason}
	changed := false
	ok := d.keep("status", func() (err error) {
		changed, err = d.s.changeStack(d.st, event, func(row *stackRow) bool {
			if row.Op == nil || row.Op.Number != d.op.Number {
				return false
			}
			row.Status, row.Reason = status, reason
			change(row)
			return true
		})
		return err
	})
	if !ok || !changed {
		return false
	}
	d.s.log.Info("stack", "name", d.st.snapshot().Name, "status", status, "reason", reason)
	return true
}

// prepared returns the scope and the graph of a version of the stack.
func (d *driver) prepared(v version) (*template.Scope, map[string][]string, error) {
	t, err := d.s.parsedTemplate(d.st, v.Template)
	if err != nil {
		return nil, nil, err
	}
	scope, err := d.s.scope(d.st, t, v)
	if err != nil {
		return nil, nil, err
	}
	plan, err := t.Plan(scope)
	return scope, plan, err
}

// forward brings the resources of the stack's version about. It returns the
// reason why that failed, or "", and whether the operation goes on.
func (d *driver) forward(verb string, step func(ctx context.Context, scope *template.Scope, id string, deps []string) error) (reason string, goOn bool) {
	ctx, end := context.WithCancelCause(d.ctx)
	defer end(nil)
	defer context.AfterFunc(d.cancelled, func() { end(errCancelled) })()
	row := d.st.snapshot()
	if row.TimeoutMinutes > 0 && d.op.Phase == phaseCreate {
		left := d.op.Started.Add(time.Duration(row.TimeoutMinutes) * time.Minute).Sub(d.s.now())
		timer := time.AfterFunc(left, func() { end(errTimeout) })
		defer timer.Stop()
	}
	scope, plan, err := d.prepared(row.Version)
	if err != nil {
		return err.Error(), true
	}
	failed := walk(plan, false, func(id string) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return step(ctx, scope, id, plan[id])
	}, func(_ string, err error) {
		if !d.stopped() {
			end(errSibling)
		}
	})
	if d.stopped() {
		return "", false
	}
	if len(failed) > 0 {
		cause := context.Cause(ctx)
		switch {
		case errors.Is(cause, errTimeout):
			return "Stack creation time exceeded the specified timeout.", true
		case errors.Is(cause, errCancelled):
			return "User Initiated", true
		}
		return fmt.Sprintf("The following resource(s) failed to %s: [%s].", verb, strings.Join(d.failedResources(), ", ")), true
	}
	if err := d.storeOutputs(scope); err != nil {
		if d.stopped() {
			return "", false
		}
		return err.Error(), true
	}
	return "", true
}

// failedResources are those that this operation failed to create or update.
func (d *driver) failedResources() []string {
	var out []string
	for _, r := range d.st.allResources() {
		if r.Operation == d.op.Number && (r.Status == "CREATE_FAILED" || r.Status == "UPDATE_FAILED") {
			out = append(out, r.LogicalID)
		}
	}
	return out
}

// create is the phase that makes a new stack.
func (d *driver) create() bool {
	reason, goOn := d.forward("create", d.createStep)
	switch {
	case !goOn:
		return false
	case reason == "":
		return d.finish("CREATE_COMPLETE", "", nil)
	}
	row := d.st.snapshot()
	onFailure := row.OnFailure
	if onFailure == "" {
		onFailure = "ROLLBACK"
		if row.Version.DisableRollback {
			onFailure = "DO_NOTHING"
		}
	}
	switch onFailure {
	case "DO_NOTHING":
		return d.finish("CREATE_FAILED", reason, nil)
	case "DELETE":
		return d.enter(phaseDelete, "DELETE_IN_PROGRESS", reason+" Delete requested by user.")
	}
	return d.enter(phaseRollback, "ROLLBACK_IN_PROGRESS", reason+" Rollback requested by user.")
}

// update is the phase that takes a stack to its new version.
func (d *driver) update() bool {
	reason, goOn := d.forward("update", d.updateStep)
	switch {
	case !goOn:
		return false
	case reason == "":
		return d.enter(phaseCleanup, "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "")
	case d.st.snapshot().Version.DisableRollback && d.cancelled.Err() == nil:
		return d.finish("UPDATE_FAILED", reason, nil)
	}
	return d.enter(phaseUpdateRollback, "UPDATE_ROLLBACK_IN_PROGRESS", reason)
}

// cleanUp is the phase after an update, or its rollback, that deletes what is
// superfluous. What cannot be deleted is left behind, as on AWS.
func (d *driver) cleanUp() bool {
	var keep map[string][]string // nil: all resources stay
	if d.op.Phase == phaseCleanup {
		_, plan, err := d.prepared(d.st.snapshot().Version)
		if err != nil {
			d.s.log.Error("clean up stack", "stack", d.st.id, "err", err)
			return d.finish("UPDATE_COMPLETE", "", func(row *stackRow) { row.Previous = nil })
		}
		keep = plan
	}
	graph := map[string][]string{}
	for _, r := range d.st.allResources() {
		victim, _ := d.superfluous(r, keep)
		if victim != nil {
			graph[r.LogicalID] = victim.DependsOn
		}
	}
	walk(reversed(graph), true, func(id string) error {
		for {
			r, _ := d.st.resource(id)
			victim, whole := d.superfluous(r, keep)
			if victim == nil {
				return nil
			}
			if err := d.discard(r, *victim, whole); whole || interrupted(err) {
				return err
			}
		}
	}, nil)
	if d.stopped() {
		return false
	}
	for _, r := range d.st.allResources() {
		if r.Before != nil || r.From != nil || r.New || r.Replacing || r.Untouched {
			r.Before, r.From, r.New, r.Replacing, r.Untouched = nil, nil, false, false, false
			if !d.keep("resource", func() error { return d.s.putResource(d.st, r) }) {
				return false
			}
		}
	}
	if !d.keep("templates", func() error { return d.s.pruneTemplates(d.st) }) {
		return false
	}
	if d.op.Phase == phaseRollbackCleanup {
		return d.finish("UPDATE_ROLLBACK_COMPLETE", "", func(row *stackRow) { row.Previous = nil })
	}
	return d.finish("UPDATE_COMPLETE", "", func(row *stackRow) { row.Previous = nil })
}

// superfluous returns what is to be deleted of a resource in a cleanup, or nil,
// and whether the resource as a whole goes.
func (d *driver) superfluous(r resourceRow, keep map[string][]string) (victim *former, whole bool) {
	if len(r.Discard) > 0 {
		return &r.Discard[0], false
	}
	if keep == nil {
		if r.New {
			return &r.former, true
		}
		return nil, false
	}
	if r.Before != nil && r.Before.PhysicalID != "" && r.Before.PhysicalID != r.PhysicalID {
		return r.Before, false
	}
	if _, stays := keep[r.LogicalID]; !stays {
		return &r.former, true
	}
	return nil, false
}

// deleteAll is the phase that deletes all resources: of a stack that is deleted,
// or whose creation failed.
func (d *driver) deleteAll() bool {
	rollback := d.op.Phase == phaseRollback
	if !rollback {
		if reason := d.s.exportsInUse(d.st); reason != "" {
			return d.finish("DELETE_FAILED", reason, nil)
		}
	}
	graph := map[string][]string{}
	for _, r := range d.st.allResources() {
		if !r.done() {
			graph[r.LogicalID] = r.DependsOn
		}
	}
	failed := walk(reversed(graph), true, func(id string) error {
		r, _ := d.st.resource(id)
		return d.deleteStep(r, rollback)
	}, nil)
	if d.stopped() {
		return false
	}
	if len(failed) > 0 {
		reason := fmt.Sprintf("The following resource(s) failed to delete: [%s]. ", strings.Join(slices.Sorted(maps.Keys(failed)), ", "))
		if rollback {
			return d.finish("ROLLBACK_FAILED", reason, nil)
		}
		return d.finish("DELETE_FAILED", reason, nil)
	}
	if rollback {
		return d.finish("ROLLBACK_COMPLETE", "", func(row *stackRow) { row.Outputs, row.OutputImports = nil, nil })
	}
	d.finish("DELETE_COMPLETE", "", func(row *stackRow) {
		now := d.s.now()
		row.Deleted = &now
		row.Outputs, row.OutputImports = nil, nil
	})
	d.st.mu.Lock()
	clear(d.st.parsed)
	d.st.mu.Unlock()
	if err := d.s.forgetOld(); err != nil {
		d.s.log.Error("forget old stacks", "err", err)
	}
	return false
}

// rollBackUpdate is the phase that takes a stack back to its previous version.
func (d *driver) rollBackUpdate() bool {
	graph := map[string][]string{}
	for _, r := range d.st.allResources() {
		deps := r.DependsOn
		if r.Before != nil {
			deps = r.Before.DependsOn
		}
		graph[r.LogicalID] = deps
	}
	failed := walk(graph, true, func(id string) error {
		r, _ := d.st.resource(id)
		return d.restoreStep(r)
	}, nil)
	if d.stopped() {
		return false
	}
	if len(failed) > 0 {
		return d.finish("UPDATE_ROLLBACK_FAILED", fmt.Sprintf("The following resource(s) failed to update: [%s].", strings.Join(slices.Sorted(maps.Keys(failed)), ", ")), nil)
	}
	return d.enter(phaseRollbackCleanup, "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS", "", func(row *stackRow) {
		if row.Previous != nil {
			row.Version = *row.Previous
		}
	})
}
