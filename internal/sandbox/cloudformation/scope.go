package cloudformation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"pcluster/internal/sandbox/cloudformation/template"
	"pcluster/internal/sandbox/region"
)

// scope returns what expressions of a version of a stack may refer to. Values of
// resources are those of the stack's rows at the time of the look.
func (s *Service) scope(st *stack, t *template.Template, v version) (*template.Scope, error) {
	row := st.snapshot()
	sc := &template.Scope{
		Template:   t,
		Parameters: template.Pseudo(s.identity.Account(), region.Partition, s.identity.Name(), st.id, row.Name, v.NotificationARNs),
		AZs:        s.zones,
		Import: func(name string) (string, error) {
			value, _, ok := s.export(name)
			if !ok {
				return "", template.Error("No export named " + name + " found.")
			}
			return value, nil
		},
		Dynamic: s.dynamic,
		Ref: func(id string) (any, error) {
			r, ok := st.resource(id)
			if !ok || r.PhysicalID == "" {
				return nil, template.Error("Unresolved resource dependencies [" + id + "]: the resource does not exist yet")
			}
			return r.PhysicalID, nil
		},
		GetAtt: func(id, attribute string) (any, error) {
			r, ok := st.resource(id)
			if !ok || r.PhysicalID == "" {
				return nil, template.Error("Unresolved resource dependencies [" + id + "]: the resource does not exist yet")
			}
			return s.attribute(r, attribute)
		},
	}
	for name, p := range t.Parameters {
		text, ok := v.Resolved[name]
		if !ok {
			text = v.Parameters[name]
		}
		sc.Parameters[name] = p.Value(text)
	}
	return sc, sc.EvalConditions()
}

func (s *Service) attribute(r resourceRow, name string) (any, error) {
	if v, ok := r.Attributes[name]; ok {
		return v, nil
	}
	typ := s.typeOf(r.Type)
	switch {
	case isCustom(r.Type):
		return nil, template.Error(fmt.Sprintf("CustomResource attribute error: Vendor response doesn't contain %s attribute in object %s", name, r.PhysicalID))
	case typ == nil || !typ.SupportsAttribute(name) || r.Type == stackType:
		return nil, template.Error(fmt.Sprintf("Template error: resource %s does not support attribute type %s in Fn::GetAtt", r.LogicalID, name))
	}
	return "", nil // as a public address of an instance that has none
}

func (s *Service) zones(of string) []string {
	if of != "" && of != s.identity.Name() {
		return nil
	}
	return s.identity.AZs()
}

// dynamic resolves the inside of {{resolve:…}}.
func (s *Service) dynamic(ref string) (string, error) {
	service, rest, _ := strings.Cut(ref, ":")
	switch service {
	case "ssm", "ssm-secure":
		name := rest
		return s.parameterValue(name)
	case "secretsmanager":
		return s.secretValue(rest)
	}
	return "", template.Error("Template error: dynamic references to " + service + " are not supported")
}

func (s *Service) parameterValue(name string) (string, error) {
	if s.cfg.Parameters == nil {
		return "", errors.New("this region has no Systems Manager to read parameter " + name + " from")
	}
	out, err := s.cfg.Parameters.GetParameter(context.Background(), &ssm.GetParameterInput{Name: aws.String(name), WithDecryption: aws.Bool(true)})
	if err != nil {
		return "", template.Error("Unable to fetch parameters [" + name + "] from parameter store for this account.")
	}
	return aws.ToString(out.Parameter.Value), nil
}

// secretValue resolves ID[:SecretString[:key[:stage[:version]]]], where an ID may be an
// ARN and so contain colons itself.
func (s *Service) secretValue(ref string) (string, error) {
	if s.cfg.Secrets == nil {
		return "", errors.New("this region has no Secrets Manager to read secret " + ref + " from")
	}
	parts := strings.Split(ref, ":")
	n := 1
	if parts[0] == "arn" && len(parts) >= 7 {
		n = 7
	}
	in := &secretsmanager.GetSecretValueInput{SecretId: aws.String(strings.Join(parts[:n], ":"))}
	parts = append(parts[n:], "", "", "", "")
	if parts[0] != "" && parts[0] != "SecretString" {
		return "", template.Error("Template error: dynamic reference to secret " + ref + " must name SecretString")
	}
	if parts[2] != "" {
		in.VersionStage = aws.String(parts[2])
	}
	if parts[3] != "" {
		in.VersionId = aws.String(parts[3])
	}
	out, err := s.cfg.Secrets.GetSecretValue(context.Background(), in)
	if err != nil {
		return "", fmt.Errorf("read secret %s: %w", *in.SecretId, err)
	}
	value := aws.ToString(out.SecretString)
	key := parts[1]
	if key == "" {
		return value, nil
	}
	var object map[string]any
	if err := json.Unmarshal([]byte(value), &object); err != nil {
		return "", template.Error("Could not parse SecretString JSON of " + *in.SecretId)
	}
	text, ok := template.Text(object[key])
	if !ok {
		return "", template.Error("Could not find a value associated with JSONKey in SecretString")
	}
	return text, nil
}

// export returns the value of an export and the ID of the stack that has it.
func (s *Service) export(name string) (value, stackID string, ok bool) {
	for _, st := range s.all() {
		row := st.snapshot()
		if row.Deleted != nil {
			continue
		}
		for _, o := range row.Outputs {
			if o.Export == name {
				return o.Value, row.ID, true
			}
		}
	}
	return "", "", false
}

// importers returns the names of the stacks that use an export, sorted.
func (s *Service) importers(export string) []string {
	names := map[string]bool{}
	for _, st := range s.all() {
		row := st.snapshot()
		if row.Deleted != nil {
			continue
		}
		if slices.Contains(row.OutputImports, export) {
			names[row.Name] = true
		}
		for _, r := range st.allResources() {
			if !r.done() && slices.Contains(r.Imports, export) {
				names[row.Name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// exportsInUse returns why a stack cannot be deleted, or "".
func (s *Service) exportsInUse(st *stack) string {
	row := st.snapshot()
	for _, o := range row.Outputs {
		if o.Export == "" {
			continue
		}
		if users := slices.DeleteFunc(s.importers(o.Export), func(n string) bool { return n == row.Name }); len(users) > 0 {
			return fmt.Sprintf("Export %s cannot be deleted as it is in use by %s", o.Export, strings.Join(users, ", "))
		}
	}
	return ""
}

// outputs evaluates the outputs of a template whose resources exist.
func (s *Service) outputs(scope *template.Scope) (out []outputRow, imports []string, err error) {
	sc := *scope
	sc.Import = func(name string) (string, error) {
		imports = append(imports, name)
		return scope.Import(name)
	}
	for _, name := range slices.Sorted(maps.Keys(scope.Template.Outputs)) {
		o := scope.Template.Outputs[name]
		if holds, err := sc.Holds(o.Condition); err != nil || !holds {
			if err != nil {
				return nil, nil, err
			}
			continue
		}
		value, err := sc.Eval(o.Value)
		if err != nil {
			return nil, nil, err
		}
		text, ok := template.Text(value)
		if !ok {
			return nil, nil, template.Error("Template format error: Output " + name + " is malformed. The Value field of every Outputs member must evaluate to a String.")
		}
		row := outputRow{Key: name, Value: text, Description: o.Description}
		if o.Export != nil {
			if row.Export, err = sc.EvalString(o.Export); err != nil {
				return nil, nil, err
			}
		}
		out = append(out, row)
	}
	return out, imports, nil
}

// storeOutputs gives the stack the outputs of its new version.
func (d *driver) storeOutputs(scope *template.Scope) error {
	out, imports, err := d.s.outputs(scope)
	if err != nil {
		return err
	}
	exported := map[string]string{}
	for _, o := range out {
		if o.Export == "" {
			continue
		}
		if _, twice := exported[o.Export]; twice {
			return template.Error("Duplicate Export names: [" + o.Export + "]")
		}
		exported[o.Export] = o.Value
		if _, owner, taken := d.s.export(o.Export); taken && owner != d.st.id {
			return fmt.Errorf("Export with name %s is already exported by stack %s", o.Export, d.s.stackName(owner))
		}
	}
	row := d.st.snapshot()
	for _, o := range row.Outputs {
		if o.Export == "" || exported[o.Export] == o.Value {
			continue
		}
		if users := slices.DeleteFunc(d.s.importers(o.Export), func(n string) bool { return n == row.Name }); len(users) > 0 {
			verb := "updated"
			if _, kept := exported[o.Export]; !kept {
				verb = "deleted"
			}
			return fmt.Errorf("Export %s cannot be %s as it is in use by %s", o.Export, verb, strings.Join(users, ", "))
		}
	}
	if !d.keep("outputs", func() error {
		return d.s.updateStack(d.st, func(row *stackRow) { row.Outputs, row.OutputImports = out, imports })
	}) {
		return errClosed
	}
	return nil
}

func (s *Service) stackName(id string) string {
	if st := s.find(id); st != nil {
		return st.snapshot().Name
	}
	return id
}
