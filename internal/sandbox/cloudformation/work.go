package cloudformation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"

	"pcluster/internal/sandbox/cloudformation/resource"
	"pcluster/internal/sandbox/cloudformation/template"
)

// initiated is the reason of the event that tells a new resource's ID.
const initiated = "Resource creation Initiated"

// note stores a resource's row and reports it as an event.
func (d *driver) note(r resourceRow) error {
	r.Time = d.s.now()
	if !d.keep("resource", func() error { return d.s.changeResource(d.st, event(r, r.PhysicalID), r) }) {
		return errClosed
	}
	return nil
}

// event tells the status of a resource.
func event(r resourceRow, physicalID string) eventRow {
	e := eventRow{LogicalID: r.LogicalID, PhysicalID: physicalID, Type: r.Type, Status: r.Status, Reason: r.Reason}
	if (r.Status == "CREATE_IN_PROGRESS" || r.Status == "UPDATE_IN_PROGRESS") && r.Reason != initiated { // once is enough
		e.Properties = template.JSON(map[string]any(r.Props))
	}
	return e
}

// store stores a resource's row without an event.
func (d *driver) store(r resourceRow) error {
	if !d.keep("resource", func() error { return d.s.putResource(d.st, r) }) {
		return errClosed
	}
	return nil
}

// tell reports the status of a resource as an event.
func (d *driver) tell(r resourceRow, physicalID string) error {
	if !d.keep("event", func() error { return d.s.addEvent(d.st, event(r, physicalID)) }) {
		return errClosed
	}
	return nil
}

// evaluate returns what the template wants a resource to be.
func (d *driver) evaluate(scope *template.Scope, id string, deps []string) (former, error) {
	t := scope.Template.Resources[id]
	f := former{Type: t.Type, DependsOn: deps, DeletionPolicy: t.DeletionPolicy, UpdateReplacePolicy: t.UpdateReplacePolicy, Tags: map[string]string{}}
	for _, tag := range d.st.snapshot().Version.Tags {
		f.Tags[tag.Key] = tag.Value
	}
	sc := *scope
	sc.Import = func(name string) (string, error) {
		f.Imports = append(f.Imports, name)
		return scope.Import(name)
	}
	props, err := sc.EvalObject(t.Properties)
	if err != nil {
		return f, err
	}
	f.Props = props
	if t.Metadata != nil {
		metadata, err := sc.Eval(t.Metadata)
		if err != nil {
			return f, err
		}
		f.Metadata, _ = metadata.(map[string]any)
	}
	return f, nil
}

// request prepares a call of a function of the resource's type.
func (d *driver) request(ctx context.Context, r resourceRow, f former) *resource.Request {
	row := d.st.snapshot()
	return &resource.Request{
		Type: f.Type, StackID: d.st.id, StackName: row.Name, LogicalID: r.LogicalID,
		Account: d.s.identity.Account(), Region: d.s.identity.Name(),
		Token: r.Token, Started: r.Started, PhysicalID: f.PhysicalID, Props: f.Props, Attributes: f.Attributes,
		Tags: d.tags(r.LogicalID, f.Tags), Interrupt: ctx,
	}
}

// tags returns the stack's tags for a resource and those that CloudFormation adds.
func (d *driver) tags(logicalID string, stack map[string]string) map[string]string {
	out := maps.Clone(stack)
	if out == nil {
		out = map[string]string{}
	}
	out["aws:cloudformation:stack-name"] = d.st.snapshot().Name
	out["aws:cloudformation:stack-id"] = d.st.id
	out["aws:cloudformation:logical-id"] = logicalID
	return out
}

// call calls a function of a type. A bug in a service must not take the region
// down, so a panic becomes the failure of the resource.
func (d *driver) call(fn func(context.Context, *resource.Request) error, req *resource.Request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			d.s.log.Error("resource handler panicked", "type", req.Type, "stack", req.StackID, "resource", req.LogicalID, "panic", p, "trace", string(debug.Stack()))
			err = fmt.Errorf("Internal Failure: %v", p)
		}
	}()
	return fn(d.behalf(), req)
}

// interrupted reports whether err means that the driver stopped in the middle:
// then rows stay as they are.
func interrupted(err error) bool { return errors.Is(err, errClosed) || errors.Is(err, errSuperseded) }

// reason renders a failure for an event.
func reason(r resourceRow, verb string, err error) string {
	switch {
	case errors.Is(err, errSibling), errors.Is(err, errCancelled), errors.Is(err, errTimeout):
		return "Resource " + verb + " cancelled"
	}
	return resource.FailureReason(r.Type, r.Token, err)
}

// createStep makes a resource of a new stack.
func (d *driver) createStep(ctx context.Context, scope *template.Scope, id string, deps []string) error {
	r, exists := d.st.resource(id)
	if exists && r.Operation == d.op.Number {
		switch r.Status {
		case "CREATE_COMPLETE":
			return nil
		case "CREATE_FAILED":
			return errors.New(r.Reason)
		}
		return d.make(ctx, scope, r, true)
	}
	want, err := d.evaluate(scope, id, deps)
	r = resourceRow{LogicalID: id, former: want, Operation: d.op.Number, New: d.op.Phase == phaseUpdate, Token: newUUID(), Started: d.s.now(), Status: "CREATE_IN_PROGRESS"}
	if err != nil {
		return d.fail(r, "CREATE_FAILED", "creation", err)
	}
	if err := d.note(r); err != nil {
		return err
	}
	return d.make(ctx, scope, r, false)
}

// make creates the physical resource of a row: a new one, or one in place of
// another that an update replaces.
func (d *driver) make(ctx context.Context, scope *template.Scope, r resourceRow, resumed bool) error {
	verb, bad, good := "creation", "CREATE_FAILED", "CREATE_COMPLETE"
	if r.Replacing {
		verb, bad, good = "update", "UPDATE_FAILED", "UPDATE_COMPLETE"
	}
	typ, err := d.checked(r)
	if err != nil {
		return d.fail(r, bad, verb, err)
	}
	req := d.request(ctx, r, r.former)
	req.Resumed = resumed
	r.unsure = false
	if r.Before != nil {
		req.Replaced = r.Before.PhysicalID
	}
	req.Record = func(physicalID string) error {
		first := r.PhysicalID == ""
		r.PhysicalID, r.Attributes = physicalID, req.Attributes
		if !first {
			return nil
		}
		r.Reason = initiated
		return d.note(r)
	}
	err = d.call(typ.Create, req)
	if err == nil {
		err = d.awaitSignals(ctx, scope, r)
	}
	r.PhysicalID, r.Attributes = req.PhysicalID, req.Attributes
	if err != nil {
		return d.fail(r, bad, verb, err)
	}
	r.Status, r.Reason = good, ""
	return d.note(r)
}

// checked returns the type of a resource whose properties are well formed.
func (d *driver) checked(r resourceRow) (*resource.Type, error) {
	typ := d.s.typeOf(r.Type)
	if typ == nil {
		return nil, fmt.Errorf("Unrecognized resource type: %s", r.Type)
	}
	if problems := typ.Check(r.Props); problems != nil {
		return nil, fmt.Errorf("Properties validation failed for resource %s with message:\n%s", r.LogicalID, strings.Join(problems, "\n"))
	}
	return typ, nil
}

// fail notes that work on a resource failed, unless it only was interrupted.
func (d *driver) fail(r resourceRow, status, verb string, err error) error {
	if interrupted(err) {
		return err
	}
	r.Status, r.Reason = status, reason(r, verb, err)
	if err := d.note(r); err != nil {
		return err
	}
	return err
}

// updateStep brings a resource to where the new version of the stack wants it.
func (d *driver) updateStep(ctx context.Context, scope *template.Scope, id string, deps []string) error {
	r, exists := d.st.resource(id)
	if !exists || r.done() {
		return d.createStep(ctx, scope, id, deps)
	}
	if r.Operation == d.op.Number {
		switch {
		case strings.HasSuffix(r.Status, "_COMPLETE"):
			return nil
		case strings.HasSuffix(r.Status, "_FAILED"):
			return errors.New(r.Reason)
		case r.Status == "CREATE_IN_PROGRESS" || r.Replacing:
			return d.make(ctx, scope, r, true)
		}
		return d.change(ctx, r)
	}
	old := r.former
	want, err := d.evaluate(scope, id, deps)
	want.PhysicalID, want.Attributes = old.PhysicalID, old.Attributes
	next := resourceRow{LogicalID: id, former: want, Operation: d.op.Number, Token: newUUID(), Started: d.s.now(), Status: "UPDATE_IN_PROGRESS", Before: &old}
	if d.op.Continues {
		next.New, next.Discard = r.New, r.Discard
		if r.Before != nil || r.New {
			next.Before = r.Before
		}
	}
	if err != nil {
		next.former = old
		return d.fail(next, "UPDATE_FAILED", "update", err)
	}
	switch d.s.effect(r, want) {
	case noChange:
		next.Untouched = next.Before == &old
		next.Status, next.Reason, next.Time, next.Token, next.Started = r.Status, r.Reason, r.Time, r.Token, r.Started
		if strings.HasSuffix(next.Status, "_FAILED") {
			next.Status, next.Reason = "UPDATE_COMPLETE", ""
		}
		return d.store(next)
	case changeOfMetadata:
		if err := d.note(next); err != nil {
			return err
		}
		next.Status = "UPDATE_COMPLETE"
		return d.note(next)
	case replacement:
		next.PhysicalID, next.Attributes = "", nil
		if next.Before != &old && old.PhysicalID != "" && (next.Before == nil || next.Before.PhysicalID != old.PhysicalID) {
			next.Discard = append(slices.Clone(next.Discard), old) // of an update that failed: nobody goes back there
		}
		if r.Status == "CREATE_FAILED" {
			next.Status = "CREATE_IN_PROGRESS"
			if next.Before == &old { // of a creation that failed
				next.Before = nil
				if old.PhysicalID != "" {
					next.Discard = append(slices.Clone(next.Discard), old)
				}
			}
		} else {
			next.Replacing = true
			next.Reason = "Requested update requires the creation of a new physical resource; hence creating one."
		}
		if err := d.store(next); err != nil {
			return err
		}
		if err := d.tell(next, old.PhysicalID); err != nil {
			return err
		}
		return d.make(ctx, scope, next, false)
	}
	next.From = &old
	if err := d.note(next); err != nil {
		return err
	}
	return d.change(ctx, next)
}

// An effect is what a new version means for a resource.
type effect int

const (
	noChange effect = iota
	changeOfMetadata
	changeInPlace
	replacement
)

// effect compares what a resource is with what it shall be.
func (s *Service) effect(r resourceRow, want former) effect {
	typ := s.typeOf(want.Type)
	same := template.Equal(map[string]any(r.Props), map[string]any(want.Props))
	switch {
	case typ == nil:
		return changeInPlace // which then fails
	case r.Type != want.Type, r.Status == "CREATE_FAILED", r.PhysicalID == "":
		return replacement
	case len(typ.Replacement(r.Props, want.Props)) > 0:
		return replacement
	case !same && typ.Update == nil:
		return replacement
	case !same, typ.Update != nil && (!maps.Equal(r.Tags, want.Tags) || r.Status == "UPDATE_FAILED"):
		return changeInPlace
	case want.Type == stackType && s.nestedChanged(r.PhysicalID, want.Props):
		return changeInPlace
	case !template.Equal(map[string]any(r.Metadata), map[string]any(want.Metadata)):
		return changeOfMetadata
	}
	return noChange
}

// change updates a resource in place: from Before to what the row says.
func (d *driver) change(ctx context.Context, r resourceRow) error {
	typ, err := d.checked(r)
	if err != nil {
		return d.fail(r, "UPDATE_FAILED", "update", err)
	}
	req := d.request(ctx, r, r.former)
	req.Before, req.TagsBefore = r.From.Props, d.tags(r.LogicalID, r.From.Tags)
	err = d.call(typ.Update, req)
	r.PhysicalID, r.Attributes = req.PhysicalID, req.Attributes
	if err != nil {
		return d.fail(r, "UPDATE_FAILED", "update", err)
	}
	r.Status, r.Reason = "UPDATE_COMPLETE", ""
	return d.note(r)
}

// restoreStep takes a resource back to what it was before a failed update.
func (d *driver) restoreStep(r resourceRow) error {
	if r.Before == nil {
		return nil
	}
	old := *r.Before
	if slices.Contains(d.op.Skip, r.LogicalID) {
		r.Before, r.Replacing = nil, false
		r.former = old
		r.Status, r.Reason = "UPDATE_COMPLETE", ""
		return d.note(r)
	}
	if r.Replacing && r.PhysicalID == "" && r.unsure {
		r = d.adopt(r)
	}
	if r.Replacing || r.PhysicalID != old.PhysicalID || r.Type != old.Type {
		made := r.former
		if made.PhysicalID != "" && made.PhysicalID != old.PhysicalID {
			r.Discard = append(slices.Clone(r.Discard), made)
		}
		r.former, r.Before, r.Replacing, r.unsure = old, nil, false, false
		r.Status, r.Reason = "UPDATE_COMPLETE", ""
		return d.note(r)
	}
	typ := d.s.typeOf(r.Type)
	if r.Untouched || typ == nil || typ.Update == nil {
		r.former, r.Before = old, nil
		return d.store(r)
	}
	r.Token, r.Started = newUUID(), d.s.now()
	r.Status, r.Reason = "UPDATE_IN_PROGRESS", ""
	if err := d.note(r); err != nil {
		return err
	}
	back := old
	back.PhysicalID, back.Attributes = r.PhysicalID, r.Attributes
	req := d.request(d.ctx, r, back)
	req.Before, req.TagsBefore = r.Props, d.tags(r.LogicalID, r.Tags)
	err := d.call(typ.Update, req)
	if err != nil {
		return d.fail(r, "UPDATE_FAILED", "update", err)
	}
	old.PhysicalID, old.Attributes = req.PhysicalID, req.Attributes
	r.former, r.Before = old, nil
	r.Status, r.Reason = "UPDATE_COMPLETE", ""
	return d.note(r)
}

// adopt finds out whether a creation that the end of a daemon interrupted had
// made something: it repeats it, without waiting for it to become ready.
func (d *driver) adopt(r resourceRow) resourceRow {
	typ, err := d.checked(r)
	if err != nil {
		return r
	}
	ended, end := context.WithCancelCause(context.Background())
	end(errSibling)
	req := d.request(ended, r, r.former)
	req.Resumed = true
	if r.Before != nil {
		req.Replaced = r.Before.PhysicalID
	}
	_ = d.call(typ.Create, req) // whatever failed: what matters is whether there is an ID
	r.PhysicalID, r.Attributes, r.unsure = req.PhysicalID, req.Attributes, false
	return r
}

// deleteStep deletes a resource of a stack that is going away.
func (d *driver) deleteStep(r resourceRow, rollback bool) error {
	if r.done() {
		return nil
	}
	version := d.st.snapshot().Version
	retain := r.DeletionPolicy == "Retain" || r.DeletionPolicy == "RetainExceptOnCreate" && !rollback
	if rollback && version.RetainExceptOnCreate {
		retain = false
	}
	if r.unsure && r.PhysicalID == "" && !retain {
		r = d.adopt(r)
	}
	r.unsure = false
	victims := victimsOf(r)
	r.Operation = d.op.Number
	switch {
	case len(victims) == 0:
		return d.note(gone(r))
	case retain, slices.Contains(d.op.Retain, r.LogicalID):
		r.Status, r.Reason = "DELETE_SKIPPED", ""
		return d.note(r)
	}
	r.Status, r.Reason, r.Token, r.Started = "DELETE_IN_PROGRESS", "", newUUID(), d.s.now()
	if err := d.note(r); err != nil {
		return err
	}
	for _, v := range victims {
		if err := d.remove(r, v, v.DeletionPolicy); err != nil {
			if interrupted(err) {
				return err
			}
			if d.op.Force {
				r.Status, r.Reason = "DELETE_SKIPPED", reason(r, "deletion", err)
				return d.note(r)
			}
			return d.fail(r, "DELETE_FAILED", "deletion", err)
		}
	}
	return d.note(gone(r))
}

// gone returns the row of a resource that was deleted: what is told of it, and
// nothing that it was made of.
func gone(r resourceRow) resourceRow {
	return resourceRow{
		LogicalID: r.LogicalID, former: former{Type: r.Type, PhysicalID: r.PhysicalID, DependsOn: r.DependsOn},
		Status: "DELETE_COMPLETE", Time: r.Time, Started: r.Started, Token: r.Token, Operation: r.Operation,
	}
}

// victimsOf returns all that exists of a resource: what it is, and what an
// update that did not come to its end left.
func victimsOf(r resourceRow) []former {
	var out []former
	all := append([]former{r.former}, r.Discard...)
	if r.Before != nil {
		all = append(all, *r.Before)
	}
	for _, f := range all {
		if f.PhysicalID != "" && !slices.ContainsFunc(out, func(o former) bool { return o.PhysicalID == f.PhysicalID && o.Type == f.Type }) {
			out = append(out, f)
		}
	}
	return out
}

// remove deletes a physical resource.
func (d *driver) remove(r resourceRow, f former, policy string) error {
	typ := d.s.typeOf(f.Type)
	if typ == nil {
		return fmt.Errorf("Unrecognized resource type: %s", f.Type)
	}
	req := d.request(d.ctx, r, f)
	req.Snapshot = policy == "Snapshot" && typ.Snapshots
	return d.call(typ.Delete, req)
}

// discard deletes what an update made superfluous. What cannot be deleted is
// reported and forgotten.
func (d *driver) discard(r resourceRow, victim former, whole bool) error {
	retained := victim.UpdateReplacePolicy == "Retain"
	policy := victim.UpdateReplacePolicy
	if whole {
		policy = victim.DeletionPolicy
		retained = policy == "Retain" || policy == "RetainExceptOnCreate" && !r.New
		if r.New && d.st.snapshot().Version.RetainExceptOnCreate {
			retained = false
		}
	} else if d.op.Phase == phaseRollbackCleanup {
		retained = false // it never was in use
	}
	if whole && r.unsure && victim.PhysicalID == "" {
		r = d.adopt(r)
		victim = r.former
	}
	told := r
	told.former = victim
	var err error
	switch {
	case retained:
		told.Status, told.Reason = "DELETE_SKIPPED", ""
		if err := d.tell(told, victim.PhysicalID); err != nil {
			return err
		}
	case victim.PhysicalID != "":
		told.Status, told.Reason, told.Token = "DELETE_IN_PROGRESS", "", newUUID()
		if err := d.tell(told, victim.PhysicalID); err != nil {
			return err
		}
		err = d.remove(told, victim, policy)
		if interrupted(err) {
			return err
		}
		told.Status = "DELETE_COMPLETE"
		if err != nil {
			told.Status, told.Reason = "DELETE_FAILED", reason(told, "deletion", err)
		}
		if err := d.tell(told, victim.PhysicalID); err != nil {
			return err
		}
	case whole:
		told.Status, told.Reason = "DELETE_COMPLETE", ""
		if err := d.tell(told, ""); err != nil {
			return err
		}
	}
	if whole {
		if !d.keep("resource", func() error { return d.s.dropResource(d.st, r.LogicalID) }) {
			return errClosed
		}
		return err
	}
	if len(r.Discard) > 0 { // the order of superfluous
		r.Discard = r.Discard[1:]
	} else {
		r.Before = nil
	}
	if err := d.store(r); err != nil {
		return err
	}
	return err
}
