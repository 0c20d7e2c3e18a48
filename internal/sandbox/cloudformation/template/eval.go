package template

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// A Scope is what expressions of one stack may refer to. Functions that are nil
// make expressions that need them fail.
type Scope struct {
	Template   *Template
	Parameters map[string]any  // by name, see [Parameter.Value]; pseudo parameters such as AWS::Region too
	Conditions map[string]bool // see [Template.EvalConditions]

	Ref     func(logicalID string) (any, error)
	GetAtt  func(logicalID, attribute string) (any, error)
	Import  func(export string) (string, error)
	AZs     func(region string) []string
	Dynamic func(reference string) (string, error) // the inside of {{resolve:…}}
}

// Eval evaluates an expression. Object members and list elements that evaluate
// to AWS::NoValue are left out; an expression that as a whole is AWS::NoValue
// gives nil.
func (s *Scope) Eval(v any) (any, error) {
	out, err := s.eval(v)
	if _, none := out.(noValue); none {
		return nil, err
	}
	return out, err
}

// EvalObject is Eval for the properties of a resource.
func (s *Scope) EvalObject(m map[string]any) (map[string]any, error) {
	v, err := s.Eval(m)
	if err != nil {
		return nil, err
	}
	out, ok := v.(map[string]any)
	if !ok {
		return nil, formatErrorf("Properties must evaluate to an object")
	}
	return out, nil
}

// EvalString evaluates an expression that must give a scalar.
func (s *Scope) EvalString(v any) (string, error) {
	out, err := s.eval(v)
	if err != nil {
		return "", err
	}
	text, ok := Text(out)
	if !ok {
		return "", formatErrorf("%s must be a string", describe(v))
	}
	return text, nil
}

func (s *Scope) eval(v any) (any, error) {
	switch v := v.(type) {
	case map[string]any:
		if name, arg, ok := function(v); ok {
			return s.call(name, arg)
		}
		out := make(map[string]any, len(v))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			e, err := s.eval(v[k])
			if err != nil {
				return nil, err
			}
			if _, none := e.(noValue); !none {
				out[k] = e
			}
		}
		return out, nil
	case []any:
		out := make([]any, 0, len(v))
		for _, e := range v {
			e, err := s.eval(e)
			if err != nil {
				return nil, err
			}
			if _, none := e.(noValue); !none {
				out = append(out, e)
			}
		}
		return out, nil
	case string:
		return s.resolveDynamic(v)
	}
	return v, nil
}

func (s *Scope) call(name string, arg any) (any, error) {
	switch name {
	case "Ref":
		id, ok := arg.(string)
		if !ok {
			return nil, formatErrorf("All Ref's must refer to a string")
		}
		return s.ref(id)
	case "Fn::GetAtt":
		return s.getAtt(arg)
	case "Fn::Sub":
		return s.sub(arg)
	case "Fn::If":
		branch, err := s.branch(arg)
		if err != nil {
			return nil, err
		}
		return s.eval(branch)
	case "Fn::Join":
		return s.join(arg)
	case "Fn::Split":
		return s.split(arg)
	case "Fn::Select":
		return s.selectOne(arg)
	case "Fn::FindInMap":
		return s.findInMap(arg)
	case "Fn::Base64":
		text, err := s.EvalString(arg)
		if err != nil {
			return nil, errorf("every Fn::Base64 object must have a String-typed value.")
		}
		return base64.StdEncoding.EncodeToString([]byte(text)), nil
	case "Fn::GetAZs":
		region, err := s.EvalString(arg)
		if err != nil {
			return nil, err
		}
		if s.AZs == nil {
			return nil, errorf("Fn::GetAZs is not available here")
		}
		out := []any{}
		for _, az := range s.AZs(region) {
			out = append(out, az)
		}
		return out, nil
	case "Fn::ImportValue":
		export, err := s.EvalString(arg)
		if err != nil {
			return nil, err
		}
		if s.Import == nil {
			return nil, errorf("Fn::ImportValue is not available here")
		}
		return s.Import(export)
	case "Fn::Cidr":
		return s.cidr(arg)
	case "Fn::Length":
		if err := s.needsExtensions(name); err != nil {
			return nil, err
		}
		list, err := s.list(arg)
		if err != nil {
			return nil, errorf("every Fn::Length object requires a list")
		}
		return json.Number(strconv.Itoa(len(list))), nil
	case "Fn::ToJsonString":
		if err := s.needsExtensions(name); err != nil {
			return nil, err
		}
		v, err := s.eval(arg)
		if err != nil {
			return nil, err
		}
		return JSON(v), err
	case "Fn::And", "Fn::Or", "Fn::Not", "Fn::Equals":
		return s.condition(map[string]any{name: arg}, nil)
	case "Fn::Transform":
		return nil, Error("Transforms are not supported in the local region")
	}
	return nil, formatErrorf("Unrecognized function %s", name)
}

func (s *Scope) ref(name string) (any, error) {
	if name == "AWS::NoValue" {
		return noValue{}, nil
	}
	if v, ok := s.Parameters[name]; ok {
		return v, nil
	}
	if s.Template != nil {
		if _, ok := s.Template.Resources[name]; !ok {
			return nil, formatErrorf("Unresolved resource dependencies [%s] in the Resources block of the template", name)
		}
	}
	if s.Ref == nil {
		return nil, errorf("%s cannot be referred to here", name)
	}
	return s.Ref(name)
}

// getAttArgs returns the two parts of the argument of Fn::GetAtt. The attribute
// may be an expression.
func getAttArgs(arg any) (id string, attribute any, err error) {
	if text, ok := arg.(string); ok {
		if id, attribute, ok := strings.Cut(text, "."); ok {
			return id, attribute, nil
		}
	}
	list, _ := arg.([]any)
	if len(list) == 2 {
		if id, ok := list[0].(string); ok && id != "" {
			return id, list[1], nil
		}
	}
	if len(list) > 2 { // Outputs.X of a nested stack, written as three parts
		parts := make([]string, len(list))
		for i := range list {
			parts[i], _ = Text(list[i])
		}
		return parts[0], strings.Join(parts[1:], "."), nil
	}
	return "", nil, errorf("every Fn::GetAtt object requires two non-empty parameters, the resource name and the resource attribute")
}

func (s *Scope) getAtt(arg any) (any, error) {
	id, a, err := getAttArgs(arg)
	if err != nil {
		return nil, err
	}
	attribute, err := s.EvalString(a)
	if err != nil {
		return nil, err
	}
	if s.Template != nil {
		if _, ok := s.Template.Resources[id]; !ok {
			return nil, errorf("instance of Fn::GetAtt references undefined resource %s", id)
		}
	}
	if s.GetAtt == nil {
		return nil, errorf("attributes of %s cannot be referred to here", id)
	}
	return s.GetAtt(id, attribute)
}

const subMisuse = "One or more Fn::Sub intrinsic functions don't specify expected arguments. Specify a string as first argument, and an optional second argument to specify a mapping of values to replace in the string"

// subArgs returns the text and the variables of the argument of Fn::Sub.
func subArgs(arg any) (text string, vars map[string]any, err error) {
	if text, ok := arg.(string); ok {
		return text, nil, nil
	}
	list, _ := arg.([]any)
	if len(list) == 2 {
		text, ok1 := list[0].(string)
		vars, ok2 := list[1].(map[string]any)
		if ok1 && ok2 {
			return text, vars, nil
		}
	}
	return "", nil, errorf("%s", subMisuse)
}

// eachVariable splits the text of Fn::Sub. It calls literal for what is to be
// copied and variable for what stands in ${…}.
func eachVariable(text string, literal func(string), variable func(name string) error) error {
	for {
		start := strings.Index(text, "${")
		if start < 0 {
			literal(text)
			return nil
		}
		length := strings.IndexByte(text[start:], '}')
		if length < 0 {
			literal(text)
			return nil
		}
		literal(text[:start])
		name := text[start+2 : start+length]
		text = text[start+length+1:]
		if after, escaped := strings.CutPrefix(name, "!"); escaped {
			literal("${" + after + "}")
			continue
		}
		if err := variable(strings.TrimSpace(name)); err != nil {
			return err
		}
	}
}

func (s *Scope) sub(arg any) (any, error) {
	text, vars, err := subArgs(arg)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	err = eachVariable(text, func(t string) { b.WriteString(t) }, func(name string) error {
		var v any
		var err error
		if own, ok := vars[name]; ok {
			v, err = s.eval(own)
		} else if id, attribute, dotted := strings.Cut(name, "."); dotted {
			v, err = s.getAtt([]any{id, attribute})
		} else {
			v, err = s.ref(name)
		}
		if err != nil {
			return err
		}
		value, ok := Text(v)
		if !ok {
			return errorf("Fn::Sub: the value of ${%s} is no string", name)
		}
		b.WriteString(value)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s.resolveDynamic(b.String())
}

// branch returns the expression that Fn::If chooses.
func (s *Scope) branch(arg any) (any, error) {
	list, _ := arg.([]any)
	if len(list) != 3 {
		return nil, errorf("Fn::If requires a list argument with three parameters")
	}
	name, ok := list[0].(string)
	if !ok {
		return nil, errorf("Fn::If requires a condition name as its first parameter")
	}
	holds, ok := s.Conditions[name]
	if !ok {
		return nil, errorf("unresolved condition dependency %s in Fn::If", name)
	}
	if holds {
		return list[1], nil
	}
	return list[2], nil
}

// list evaluates an expression that must give a list.
func (s *Scope) list(v any) ([]any, error) {
	out, err := s.eval(v)
	if err != nil {
		return nil, err
	}
	list, ok := out.([]any)
	if !ok {
		return nil, errorf("%s is no list", describe(v))
	}
	return list, nil
}

func (s *Scope) join(arg any) (any, error) {
	const misuse = "every Fn::Join object requires two parameters, (1) a string delimiter and (2) a list of strings to be joined or a function that returns a list of strings (such as Fn::GetAZs) to be joined."
	args, _ := arg.([]any)
	if len(args) != 2 {
		return nil, errorf(misuse)
	}
	delimiter, ok := args[0].(string)
	if !ok {
		return nil, errorf(misuse)
	}
	v, err := s.eval(args[1])
	if err != nil {
		return nil, err
	}
	list, ok := v.([]any)
	if !ok {
		return nil, errorf(misuse)
	}
	parts := make([]string, len(list))
	for i, e := range list {
		if parts[i], ok = Text(e); !ok {
			return nil, errorf(misuse)
		}
	}
	return s.resolveDynamic(strings.Join(parts, delimiter))
}

func (s *Scope) split(arg any) (any, error) {
	const misuse = "every Fn::Split object requires two parameters, (1) a string delimiter and (2) a string to be split or a function that returns a string to be split."
	args, _ := arg.([]any)
	if len(args) != 2 {
		return nil, errorf(misuse)
	}
	delimiter, ok := args[0].(string)
	if !ok || delimiter == "" {
		return nil, errorf(misuse)
	}
	v, err := s.eval(args[1])
	if err != nil {
		return nil, err
	}
	text, ok := Text(v)
	if !ok {
		return nil, errorf(misuse)
	}
	out := []any{}
	for _, p := range strings.Split(text, delimiter) {
		out = append(out, p)
	}
	return out, nil
}

func (s *Scope) selectOne(arg any) (any, error) {
	const misuse = "Fn::Select requires a list argument with two elements: an integer index and a list"
	args, _ := arg.([]any)
	if len(args) != 2 {
		return nil, errorf(misuse)
	}
	text, err := s.EvalString(args[0])
	if err != nil {
		return nil, err
	}
	index, err := strconv.Atoi(text)
	if err != nil {
		return nil, errorf(misuse)
	}
	v, err := s.eval(args[1])
	if err != nil {
		return nil, err
	}
	list, ok := v.([]any)
	if !ok {
		return nil, errorf(misuse)
	}
	if index < 0 || index >= len(list) {
		return nil, errorf("Fn::Select cannot select nonexistent value at index %d", index)
	}
	return list[index], nil
}

func (s *Scope) findInMap(arg any) (any, error) {
	args, _ := arg.([]any)
	if len(args) != 3 && len(args) != 4 {
		return nil, errorf("every Fn::FindInMap object requires three parameters, the map name, map key and the attribute for return value")
	}
	var keys [3]string
	for i := range keys {
		var err error
		if keys[i], err = s.EvalString(args[i]); err != nil {
			return nil, err
		}
	}
	if s.Template == nil || s.Template.Mappings[keys[0]] == nil {
		return nil, errorf("Mapping named '%s' is not present in the 'Mappings' section of template.", keys[0])
	}
	if v, ok := s.Template.Mappings[keys[0]][keys[1]][keys[2]]; ok {
		return v, nil
	}
	if len(args) == 4 {
		if opts, ok := args[3].(map[string]any); ok {
			if def, ok := opts["DefaultValue"]; ok {
				return s.eval(def)
			}
		}
	}
	return nil, errorf("Unable to get mapping for %s::%s::%s", keys[0], keys[1], keys[2])
}

func (s *Scope) cidr(arg any) (any, error) {
	const misuse = "every Fn::Cidr object requires two or three parameters: an IP block, a count from 1 to 256 and the number of subnet bits"
	args, _ := arg.([]any)
	if len(args) != 2 && len(args) != 3 {
		return nil, errorf(misuse)
	}
	texts := make([]string, len(args))
	for i := range args {
		var err error
		if texts[i], err = s.EvalString(args[i]); err != nil {
			return nil, err
		}
	}
	block, err1 := netip.ParsePrefix(texts[0])
	count, err2 := strconv.Atoi(texts[1])
	if err1 != nil || err2 != nil || count < 1 || count > 256 {
		return nil, errorf(misuse)
	}
	width := block.Addr().BitLen()
	hostBits := width - block.Bits() // without a third parameter CloudFormation asks for it
	if len(texts) == 3 {
		n, err := strconv.Atoi(texts[2])
		if err != nil || n < 1 || n > width {
			return nil, errorf(misuse)
		}
		hostBits = n
	} else {
		for hostBits > 0 && 1<<min(width-block.Bits()-hostBits, 30) < count {
			hostBits--
		}
	}
	bits := width - hostBits
	if bits < block.Bits() || (bits-block.Bits() < 30 && 1<<(bits-block.Bits()) < count) {
		return nil, errorf("Fn::Cidr cannot make %d blocks with %d host bits from %s", count, hostBits, block)
	}
	out := []any{}
	addr := block.Masked().Addr()
	for range count {
		out = append(out, netip.PrefixFrom(addr, bits).String())
		addr = advance(addr, hostBits)
	}
	return out, nil
}

// advance returns addr plus 2^bits.
func advance(addr netip.Addr, bits int) netip.Addr {
	b := addr.AsSlice()
	i := len(b) - 1 - bits/8
	carry := 1 << (bits % 8)
	for ; i >= 0 && carry > 0; i-- {
		sum := int(b[i]) + carry
		b[i] = byte(sum)
		carry = sum >> 8
	}
	out, _ := netip.AddrFromSlice(b)
	return out
}

// resolveDynamic replaces {{resolve:…}} in a string.
func (s *Scope) resolveDynamic(text string) (any, error) {
	if s.Dynamic == nil || !strings.Contains(text, "{{resolve:") {
		return text, nil
	}
	var b strings.Builder
	for {
		start := strings.Index(text, "{{resolve:")
		if start < 0 {
			break
		}
		length := strings.Index(text[start:], "}}")
		if length < 0 {
			break
		}
		v, err := s.Dynamic(text[start+len("{{resolve:") : start+length])
		if err != nil {
			return nil, err
		}
		b.WriteString(text[:start])
		b.WriteString(v)
		text = text[start+length+2:]
	}
	b.WriteString(text)
	return b.String(), nil
}

// EvalConditions evaluates the Conditions section with the parameters of s and
// stores the result in s.Conditions.
func (s *Scope) EvalConditions() error {
	s.Conditions = make(map[string]bool, len(s.Template.Conditions))
	for _, name := range slices.Sorted(maps.Keys(s.Template.Conditions)) {
		if _, err := s.namedCondition(name, nil); err != nil {
			return err
		}
	}
	return nil
}

func (s *Scope) namedCondition(name string, path []string) (bool, error) {
	if v, done := s.Conditions[name]; done {
		return v, nil
	}
	expr, ok := s.Template.Conditions[name]
	if !ok {
		return false, formatErrorf("Unresolved condition dependency %s in the Conditions block of the template", name)
	}
	if slices.Contains(path, name) {
		return false, formatErrorf("Circular dependency between conditions: [%s]", strings.Join(path, ", "))
	}
	v, err := s.condition(expr, append(path, name))
	if err == nil {
		s.Conditions[name] = v
	}
	return v, err
}

func (s *Scope) condition(v any, path []string) (bool, error) {
	m, ok := v.(map[string]any)
	if !ok || len(m) != 1 {
		if text, ok := Text(v); ok && (text == "true" || text == "false") {
			return text == "true", nil
		}
		return false, formatErrorf("Conditions can only be boolean operations on parameters and other conditions")
	}
	for name, arg := range m {
		args, isList := arg.([]any)
		switch name {
		case "Condition":
			ref, ok := arg.(string)
			if !ok {
				return false, formatErrorf("Every Condition member must be a string.")
			}
			return s.namedCondition(ref, path)
		case "Fn::Equals":
			if len(args) != 2 {
				return false, errorf("Fn::Equals requires a list argument with two parameters")
			}
			a, err := s.eval(args[0])
			if err != nil {
				return false, err
			}
			b, err := s.eval(args[1])
			if err != nil {
				return false, err
			}
			return Equal(a, b), nil
		case "Fn::Not":
			if len(args) != 1 {
				return false, errorf("Fn::Not requires a list argument with one parameter")
			}
			v, err := s.condition(args[0], path)
			return !v, err
		case "Fn::And", "Fn::Or":
			if !isList || len(args) < 2 || len(args) > 10 {
				return false, errorf("%s requires a list argument with two to ten parameters", name)
			}
			result := name == "Fn::And"
			for _, a := range args {
				v, err := s.condition(a, path)
				if err != nil {
					return false, err
				}
				if name == "Fn::And" {
					result = result && v
				} else {
					result = result || v
				}
			}
			return result, nil
		case "Fn::If":
			branch, err := s.branch(arg)
			if err != nil {
				return false, err
			}
			return s.condition(branch, path)
		}
	}
	return false, formatErrorf("Conditions can only be boolean operations on parameters and other conditions")
}

// Holds reports whether the named condition holds; no condition always does.
func (s *Scope) Holds(condition string) (bool, error) {
	if condition == "" {
		return true, nil
	}
	v, ok := s.Conditions[condition]
	if !ok {
		return false, formatErrorf("Unresolved condition dependency %s in the Resources block of the template", condition)
	}
	return v, nil
}

var pseudoParameters = []string{
	"AWS::AccountId", "AWS::NotificationARNs", "AWS::NoValue", "AWS::Partition", "AWS::Region", "AWS::StackId", "AWS::StackName", "AWS::URLSuffix",
}

// Pseudo returns the pseudo parameters of a stack.
func Pseudo(account, partition, region, stackID, stackName string, notificationARNs []string) map[string]any {
	arns := []any{}
	for _, a := range notificationARNs {
		arns = append(arns, a)
	}
	return map[string]any{
		"AWS::AccountId": account, "AWS::Partition": partition, "AWS::Region": region,
		"AWS::StackId": stackID, "AWS::StackName": stackName, "AWS::URLSuffix": "amazonaws.com",
		"AWS::NotificationARNs": arns,
	}
}
