package cloudformation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"pcluster/internal/sandbox/cloudformation/resource"
	"pcluster/internal/sandbox/cloudformation/template"
)

const stackType = "AWS::CloudFormation::Stack"

// ownTypes are the resource types that the engine itself provides.
func (s *Service) ownTypes() []*resource.Type {
	return []*resource.Type{s.nestedType(), s.waitHandleType(), s.waitConditionType(), s.customResourceType(customType)}
}

// typeOf returns a resource type, or nil. Names under Custom:: all exist.
func (s *Service) typeOf(name string) *resource.Type {
	if strings.HasPrefix(name, "Custom::") {
		return s.customResourceType(name)
	}
	return s.types[name]
}

// nestedType is a stack as a resource of another.
func (s *Service) nestedType() *resource.Type {
	return resource.Own(resource.Type{
		Name:       stackType,
		Attributes: []string{"Outputs.*"},
		Create:     s.createNested,
		Update:     s.updateNested,
		Delete: func(_ context.Context, r *resource.Request) error {
			st := s.find(r.PhysicalID)
			if st == nil || st.snapshot().Deleted != nil {
				return nil
			}
			if err := s.beginDeletion(st, deletion{}); err != nil {
				return err
			}
			row, err := s.awaitStack(r, st)
			if err == nil && row.Status != "DELETE_COMPLETE" {
				err = fmt.Errorf("Embedded stack %s was not successfully deleted: %s", st.id, row.Reason)
			}
			return err
		},
	}, []string{"TemplateURL"}, "Parameters", "Tags", "TimeoutInMinutes", "NotificationARNs")
}

// nestedRequest returns what a nested stack's resource asks for.
func (s *Service) nestedRequest(props map[string]any) (body string, parameters map[string]string, err error) {
	location, _ := template.Text(props["TemplateURL"])
	body, err = s.fetchTemplate(context.Background(), location)
	if err != nil {
		return "", nil, err
	}
	parameters = map[string]string{}
	given, _ := props["Parameters"].(map[string]any)
	for name, v := range given {
		text, ok := template.Text(v)
		if list, isList := v.([]any); isList {
			parts := make([]string, len(list))
			for i := range list {
				parts[i], _ = template.Text(list[i])
			}
			text, ok = strings.Join(parts, ","), true
		}
		if !ok {
			return "", nil, fmt.Errorf("Value of property Parameters must be an object with String (or simple type) properties: %s is not", name)
		}
		parameters[name] = text
	}
	return body, parameters, nil
}

// nestedTags are the tags of a nested stack: its parent's, and those of its
// resource.
func nestedTags(r *resource.Request) []tag {
	all := map[string]string{}
	for k, v := range r.Tags {
		if !strings.HasPrefix(k, "aws:") {
			all[k] = v
		}
	}
	own, _ := r.Props["Tags"].([]any)
	for _, e := range own {
		m, _ := e.(map[string]any)
		k, _ := template.Text(m["Key"])
		all[k], _ = template.Text(m["Value"])
	}
	var out []tag
	for _, k := range slices.Sorted(maps.Keys(all)) {
		out = append(out, tag{k, all[k]})
	}
	return out
}

func (s *Service) createNested(_ context.Context, r *resource.Request) error {
	parent := s.find(r.StackID)
	if parent == nil {
		return errors.New("the parent stack is gone")
	}
	above := parent.snapshot()
	// Both follow from the token, so that a repeat finds the stack it had made.
	name := resource.GeneratedName(r.StackName, r.LogicalID, r.Token, 128)
	id := s.stackID(name, r.Token)
	st := s.find(id)
	if st == nil {
		body, parameters, err := s.nestedRequest(r.Props)
		if err != nil {
			return err
		}
		root := above.Root
		if root == "" {
			root = above.ID
		}
		row := stackRow{
			ID: id, Name: name, Parent: above.ID, ParentResource: r.LogicalID, Root: root, OnFailure: "DO_NOTHING",
			Version: version{Parameters: parameters, Tags: nestedTags(r), Capabilities: above.Version.Capabilities, RoleARN: above.Version.RoleARN},
		}
		if text := r.String("TimeoutInMinutes"); text != "" {
			if _, err := fmt.Sscan(text, &row.TimeoutMinutes); err != nil {
				return errors.New("TimeoutInMinutes must be a number")
			}
		}
		if st, err = s.beginCreation(context.Background(), row, body, ""); err != nil {
			return err
		}
	}
	if err := r.Created(id); err != nil {
		return err
	}
	row, err := s.awaitStack(r, st)
	if err != nil {
		return err
	}
	if row.Status != "CREATE_COMPLETE" {
		return fmt.Errorf("Embedded stack %s was not successfully created: %s", id, row.Reason)
	}
	setOutputs(r, row)
	return nil
}

func (s *Service) updateNested(_ context.Context, r *resource.Request) error {
	st := s.find(r.PhysicalID)
	if st == nil {
		return fmt.Errorf("Stack with id %s does not exist", r.PhysicalID)
	}
	body, parameters, err := s.nestedRequest(r.Props)
	if err != nil {
		return err
	}
	if op := st.snapshot().Op; op != nil && op.Token != r.Token { // such as the rollback of an update that was cancelled
		if _, err := s.awaitStack(r, st); err != nil {
			return err
		}
	}
	row := st.snapshot()
	if row.Op == nil { // else this is a repeat, and the update runs already
		v := row.Version
		v.Parameters, v.Tags = parameters, nestedTags(r)
		if above := s.find(row.Parent); above != nil {
			v.Capabilities = above.snapshot().Version.Capabilities
		}
		err := s.beginUpdate(context.Background(), st, v, body, r.Token, "")
		if errors.Is(err, errNoUpdates) {
			setOutputs(r, row)
			return nil
		}
		if err != nil {
			return err
		}
	}
	row, err = s.awaitStack(r, st)
	if err != nil {
		return err
	}
	if row.Status != "UPDATE_COMPLETE" {
		return fmt.Errorf("Embedded stack %s was not successfully updated. Currently in %s with reason: %s", st.id, row.Status, s.firstFailure(st))
	}
	setOutputs(r, row)
	return nil
}

// awaitStack waits until no operation on the stack runs.
func (s *Service) awaitStack(r *resource.Request, st *stack) (stackRow, error) {
	for {
		changed := s.bell.next()
		if row := st.snapshot(); row.Op == nil {
			return row, nil
		}
		select {
		case <-changed:
		case <-r.Interrupt.Done():
			cause := context.Cause(r.Interrupt)
			if !interrupted(cause) {
				s.cancelOperation(st)
			}
			return stackRow{}, cause
		}
	}
}

// cancelOperation makes a creation or update of a stack fail, as the parent's has.
func (s *Service) cancelOperation(st *stack) {
	err := s.updateStack(st, func(row *stackRow) {
		if row.Op != nil {
			op := *row.Op
			op.Cancel = true
			row.Op = &op
		}
	})
	if err != nil {
		s.log.Error("cancel operation of nested stack", "stack", st.id, "err", err)
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.row.Op != nil && st.driver != nil {
		st.driver.cancel()
	}
}

func setOutputs(r *resource.Request, row stackRow) {
	r.Attributes = nil
	for _, o := range row.Outputs {
		r.Set("Outputs."+o.Key, o.Value)
	}
}

// firstFailure returns the reason of the first failure in the last operation of
// a stack.
func (s *Service) firstFailure(st *stack) string {
	st.mu.Lock()
	defer st.mu.Unlock()
	first := ""
	for i := len(st.events) - 1; i >= 0; i-- {
		e := st.events[i]
		if strings.HasSuffix(e.Status, "_FAILED") && e.Reason != "" {
			first = e.Reason
		}
		if e.Type == stackType && e.PhysicalID == st.id && e.Reason == userInitiated {
			break
		}
	}
	return first
}

// nestedChanged reports whether the template of a nested stack differs from what
// is deployed, which its URL does not tell.
func (s *Service) nestedChanged(id string, props map[string]any) bool {
	st := s.find(id)
	if st == nil {
		return true
	}
	row := st.snapshot()
	location, _ := template.Text(props["TemplateURL"])
	body, err := s.fetchTemplate(context.Background(), location)
	if err != nil {
		return true
	}
	deployed, _ := s.templateTable.Get(templateKey(id, row.Version.Template))
	return body != deployed || !strings.HasSuffix(row.Status, "_COMPLETE")
}
