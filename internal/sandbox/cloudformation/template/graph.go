package template

import (
	"maps"
	"slices"
	"strings"
)

// A reference is one place where an expression names a resource or parameter.
type reference struct {
	name      string
	attribute string // of Fn::GetAtt; "" for Ref or if it is an expression
	getAtt    bool
}

// references calls visit for all names that v refers to. With a scope, only the
// branches that its conditions choose are looked at.
func references(v any, s *Scope, visit func(reference)) error {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			if err := references(e, s, visit); err != nil {
				return err
			}
		}
	case map[string]any:
		name, arg, ok := function(v)
		if !ok {
			for _, k := range slices.Sorted(maps.Keys(v)) {
				if err := references(v[k], s, visit); err != nil {
					return err
				}
			}
			return nil
		}
		switch name {
		case "Ref":
			id, ok := arg.(string)
			if !ok {
				return formatErrorf("All Ref's must refer to a string")
			}
			visit(reference{name: id})
			return nil
		case "Fn::GetAtt":
			id, attribute, err := getAttArgs(arg)
			if err != nil {
				return err
			}
			text, _ := attribute.(string)
			visit(reference{name: id, attribute: text, getAtt: true})
			return references(attribute, s, visit)
		case "Fn::Sub":
			text, vars, err := subArgs(arg)
			if err != nil {
				return err
			}
			err = eachVariable(text, func(string) {}, func(name string) error {
				if _, own := vars[name]; own {
					return nil
				}
				if id, attribute, dotted := strings.Cut(name, "."); dotted {
					visit(reference{name: id, attribute: attribute, getAtt: true})
				} else {
					visit(reference{name: name})
				}
				return nil
			})
			if err != nil {
				return err
			}
			for _, k := range slices.Sorted(maps.Keys(vars)) {
				if err := references(vars[k], s, visit); err != nil {
					return err
				}
			}
			return nil
		case "Fn::If":
			if s != nil {
				branch, err := s.branch(arg)
				if err != nil {
					return err
				}
				return references(branch, s, visit)
			}
			list, _ := arg.([]any)
			if len(list) != 3 {
				return errorf("Fn::If requires a list argument with three parameters")
			}
			return references(list[1:], s, visit)
		}
		return references(arg, s, visit)
	}
	return nil
}

// everything that may hold expressions in a resource, apart from Metadata of the
// template as a whole.
func (r *Resource) expressions() []any {
	return []any{r.Properties, r.Metadata, anyMap(r.CreationPolicy), anyMap(r.UpdatePolicy)}
}

func anyMap(m map[string]any) any {
	if m == nil {
		return nil
	}
	return m
}

func (t *Template) known(name string) bool {
	_, parameter := t.Parameters[name]
	return parameter || slices.Contains(pseudoParameters, name)
}

// Validate checks what can be checked without parameters: that everything
// referred to exists, and that resources do not wait for each other. Attributes
// are checked by attribute, given a resource type and a name; nil checks none.
func (t *Template) Validate(attribute func(typ, name string) bool) error {
	for _, block := range []string{"Resources", "Outputs"} {
		unresolved := map[string]bool{}
		check := func(v any) error {
			var bad error
			err := references(v, nil, func(ref reference) {
				r, isResource := t.Resources[ref.name]
				switch {
				case !ref.getAtt && !isResource && !t.known(ref.name):
					unresolved[ref.name] = true
				case ref.getAtt && !isResource && bad == nil:
					bad = errorf("instance of Fn::GetAtt references undefined resource %s", ref.name)
				case ref.getAtt && ref.attribute != "" && attribute != nil && bad == nil && !attribute(r.Type, ref.attribute):
					bad = errorf("resource %s does not support attribute type %s in Fn::GetAtt", ref.name, ref.attribute)
				}
			})
			if err != nil {
				return err
			}
			return bad
		}
		if block == "Resources" {
			for _, id := range slices.Sorted(maps.Keys(t.Resources)) {
				r := t.Resources[id]
				for _, d := range r.DependsOn {
					if _, ok := t.Resources[d]; !ok {
						unresolved[d] = true
					}
				}
				if err := t.checkCondition(r.Condition, block); err != nil {
					return err
				}
				for _, e := range r.expressions() {
					if err := check(e); err != nil {
						return err
					}
					if err := t.checkIfs(e); err != nil {
						return err
					}
				}
			}
		} else {
			for _, name := range slices.Sorted(maps.Keys(t.Outputs)) {
				o := t.Outputs[name]
				if err := t.checkCondition(o.Condition, block); err != nil {
					return err
				}
				for _, e := range []any{o.Value, o.Export} {
					if err := check(e); err != nil {
						return err
					}
					if err := t.checkIfs(e); err != nil {
						return err
					}
				}
			}
		}
		if len(unresolved) > 0 {
			return formatErrorf("Unresolved resource dependencies [%s] in the %s block of the template",
				strings.Join(slices.Sorted(maps.Keys(unresolved)), ", "), block)
		}
	}
	if err := t.checkConditionReferences(); err != nil {
		return err
	}
	deps := map[string][]string{}
	for id := range t.Resources {
		refs, err := t.references(id, nil)
		if err != nil {
			return err
		}
		deps[id] = append(refs, t.Resources[id].DependsOn...)
	}
	return checkCycles(deps)
}

func (t *Template) checkCondition(name, block string) error {
	if name == "" {
		return nil
	}
	if _, ok := t.Conditions[name]; !ok {
		return formatErrorf("Unresolved condition dependency %s in the %s block of the template", name, block)
	}
	return nil
}

// checkIfs refuses Fn::If on conditions that do not exist.
func (t *Template) checkIfs(v any) error {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			if err := t.checkIfs(e); err != nil {
				return err
			}
		}
	case map[string]any:
		if list, ok := v["Fn::If"].([]any); ok && len(v) == 1 && len(list) == 3 {
			name, _ := list[0].(string)
			if _, ok := t.Conditions[name]; !ok {
				return errorf("unresolved condition dependency %s in Fn::If", describe(list[0]))
			}
		}
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if err := t.checkIfs(v[k]); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkConditionReferences refuses conditions that refer to resources.
func (t *Template) checkConditionReferences() error {
	bad := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(t.Conditions)) {
		err := references(t.Conditions[name], nil, func(ref reference) {
			if ref.getAtt || !t.known(ref.name) {
				bad[ref.name] = true
			}
		})
		if err != nil {
			return err
		}
	}
	if len(bad) > 0 {
		return formatErrorf("Unresolved dependencies [%s]. Cannot reference resources in the Conditions block of the template",
			strings.Join(slices.Sorted(maps.Keys(bad)), ", "))
	}
	return nil
}

// references returns the resources that expressions of the one with the given
// logical ID name, sorted.
func (t *Template) references(id string, s *Scope) ([]string, error) {
	found := map[string]bool{}
	for _, e := range t.Resources[id].expressions() {
		err := references(e, s, func(ref reference) {
			if _, ok := t.Resources[ref.name]; ok {
				found[ref.name] = true
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return slices.Sorted(maps.Keys(found)), nil
}

// Plan returns the resources whose condition holds, each with those it must wait
// for. It refuses an expression that refers to a resource whose condition does
// not hold.
func (t *Template) Plan(s *Scope) (map[string][]string, error) {
	exists := map[string]bool{}
	for id, r := range t.Resources {
		holds, err := s.Holds(r.Condition)
		if err != nil {
			return nil, err
		}
		exists[id] = holds
	}
	plan := map[string][]string{}
	missing := map[string]bool{}
	for id, holds := range exists {
		if !holds {
			continue
		}
		refs, err := t.references(id, s)
		if err != nil {
			return nil, err
		}
		for _, d := range refs {
			if !exists[d] {
				missing[d] = true
			}
		}
		for _, d := range t.Resources[id].DependsOn { // on what does not exist: no wait
			if exists[d] && !slices.Contains(refs, d) {
				refs = append(refs, d)
			}
		}
		slices.Sort(refs)
		plan[id] = refs
	}
	if len(missing) > 0 {
		return nil, formatErrorf("Unresolved resource dependencies [%s] in the Resources block of the template",
			strings.Join(slices.Sorted(maps.Keys(missing)), ", "))
	}
	for _, name := range slices.Sorted(maps.Keys(t.Outputs)) {
		o := t.Outputs[name]
		if holds, err := s.Holds(o.Condition); err != nil || !holds {
			continue
		}
		for _, e := range []any{o.Value, o.Export} {
			err := references(e, s, func(ref reference) {
				if _, isResource := t.Resources[ref.name]; isResource && !exists[ref.name] {
					missing[ref.name] = true
				}
			})
			if err != nil {
				return nil, err
			}
		}
	}
	if len(missing) > 0 {
		return nil, formatErrorf("Unresolved resource dependencies [%s] in the Outputs block of the template",
			strings.Join(slices.Sorted(maps.Keys(missing)), ", "))
	}
	return plan, checkCycles(plan)
}

// checkCycles refuses a graph in which nodes wait for each other, naming all
// that can never start: the members of cycles.
func checkCycles(deps map[string][]string) error {
	// Strip nodes without dependencies, then nodes that nothing depends on;
	// what is left are cycles (and what lies between two of them).
	left := map[string]bool{}
	for id := range deps {
		left[id] = true
	}
	blocked := func(id string) bool {
		return slices.ContainsFunc(deps[id], func(d string) bool { return left[d] })
	}
	needed := func(id string) bool {
		for other := range left {
			if slices.Contains(deps[other], id) {
				return true
			}
		}
		return false
	}
	for _, keep := range []func(string) bool{blocked, needed} {
		for again := true; again; {
			again = false
			for id := range left {
				if !keep(id) {
					delete(left, id)
					again = true
				}
			}
		}
		if len(left) == 0 {
			return nil
		}
	}
	return Error("Circular dependency between resources: [" + strings.Join(slices.Sorted(maps.Keys(left)), ", ") + "]")
}

// Types returns the resource types that the template uses, sorted.
func (t *Template) Types() []string {
	found := map[string]bool{}
	for _, r := range t.Resources {
		found[r.Type] = true
	}
	return slices.Sorted(maps.Keys(found))
}

// Capabilities returns what a caller must acknowledge to deploy the template,
// and which resource types are the reason: CAPABILITY_NAMED_IAM if an IAM
// resource has a name of its own, CAPABILITY_IAM for any other IAM resource, and
// CAPABILITY_AUTO_EXPAND for a transform.
func (t *Template) Capabilities() (capabilities, types []string) {
	named := false
	found := map[string]bool{}
	for _, r := range t.Resources {
		nameProperty, iam := iamTypes[r.Type]
		if !iam {
			continue
		}
		found[r.Type] = true
		if _, ok := r.Properties[nameProperty]; ok {
			named = true
		}
	}
	switch {
	case named:
		capabilities = append(capabilities, "CAPABILITY_NAMED_IAM")
	case len(found) > 0:
		capabilities = append(capabilities, "CAPABILITY_IAM")
	}
	if t.Extended {
		capabilities = append(capabilities, "CAPABILITY_AUTO_EXPAND")
	}
	return capabilities, slices.Sorted(maps.Keys(found))
}

// iamTypes are the types that need a capability, with the property that names
// them; inline policies have a name that is not IAM's to share.
var iamTypes = map[string]string{
	"AWS::IAM::AccessKey": "", "AWS::IAM::Group": "GroupName", "AWS::IAM::InstanceProfile": "InstanceProfileName",
	"AWS::IAM::ManagedPolicy": "ManagedPolicyName", "AWS::IAM::Policy": "", "AWS::IAM::Role": "RoleName",
	"AWS::IAM::User": "UserName", "AWS::IAM::UserToGroupAddition": "",
}
