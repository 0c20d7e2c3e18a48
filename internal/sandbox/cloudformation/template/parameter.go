package template

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A Parameter is one entry of Parameters.
type Parameter struct {
	Type                  string
	Default               *string
	Description           string
	NoEcho                bool
	AllowedValues         []string
	AllowedPattern        string
	ConstraintDescription string
	MinLength, MaxLength  *int
	MinValue, MaxValue    *float64
}

var (
	ssmValueType = regexp.MustCompile(`^AWS::SSM::Parameter::Value<(.+)>$`)
	listType     = regexp.MustCompile(`^List<(.+)>$`)
	awsTypes     = []string{
		"AWS::EC2::AvailabilityZone::Name", "AWS::EC2::Image::Id", "AWS::EC2::Instance::Id", "AWS::EC2::KeyPair::KeyName",
		"AWS::EC2::SecurityGroup::GroupName", "AWS::EC2::SecurityGroup::Id", "AWS::EC2::Subnet::Id", "AWS::EC2::Volume::Id",
		"AWS::EC2::VPC::Id", "AWS::Route53::HostedZone::Id",
	}
)

// FromSSM reports whether the parameter's value names an SSM parameter that
// holds the value proper.
func (p Parameter) FromSSM() bool { return ssmValueType.MatchString(p.Type) }

// element returns the type of the value, or of its elements if it is a list.
func (p Parameter) element() (typ string, list bool) {
	typ = p.Type
	if m := ssmValueType.FindStringSubmatch(typ); m != nil {
		typ = m[1]
	}
	if typ == "CommaDelimitedList" {
		return "String", true
	}
	if m := listType.FindStringSubmatch(typ); m != nil {
		return m[1], true
	}
	return typ, false
}

// Kind returns the AWS resource type that values of the parameter name, such as
// AWS::EC2::Subnet::Id, or "" for plain types.
func (p Parameter) Kind() string {
	if typ, _ := p.element(); strings.HasPrefix(typ, "AWS::EC2::") || strings.HasPrefix(typ, "AWS::Route53::") {
		return typ
	}
	return ""
}

func (t *Template) readParameters(root map[string]any) error {
	all, err := section(root, "Parameters", true)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !alphanumeric.MatchString(name) {
			return formatErrorf("Parameter name %s is non alphanumeric.", name)
		}
		p, err := readParameter(name, all[name].(map[string]any))
		if err != nil {
			return err
		}
		t.Parameters[name] = p
	}
	return nil
}

func readParameter(name string, m map[string]any) (Parameter, error) {
	var p Parameter
	for _, key := range slices.Sorted(maps.Keys(m)) {
		v := m[key]
		text, scalar := Text(v)
		var err error
		switch key {
		case "Type":
			p.Type = text
		case "Default":
			if !scalar {
				return p, formatErrorf("Every Default member must be a string.")
			}
			p.Default = &text
		case "Description":
			p.Description = text
		case "ConstraintDescription":
			p.ConstraintDescription = text
		case "NoEcho":
			p.NoEcho = strings.EqualFold(text, "true")
		case "AllowedPattern":
			p.AllowedPattern = text
		case "AllowedValues":
			list, ok := v.([]any)
			if !ok {
				return p, formatErrorf("AllowedValues of parameter %s must be a list.", name)
			}
			for _, e := range list {
				s, _ := Text(e)
				p.AllowedValues = append(p.AllowedValues, s)
			}
		case "MinLength":
			p.MinLength, err = parseInt(text)
		case "MaxLength":
			p.MaxLength, err = parseInt(text)
		case "MinValue":
			p.MinValue, err = parseFloat(text)
		case "MaxValue":
			p.MaxValue, err = parseFloat(text)
		default:
			return p, Error("Invalid template parameter property '" + key + "'")
		}
		if err != nil {
			return p, formatErrorf("%s of parameter %s must be a number.", key, name)
		}
	}
	if p.Type == "" {
		return p, formatErrorf("Every Parameters object must contain a Type member.")
	}
	element, _ := p.element()
	if element != "String" && element != "Number" && p.Type != "AWS::SSM::Parameter::Name" && !slices.Contains(awsTypes, element) {
		return p, formatErrorf("Unrecognized parameter type: %s", p.Type)
	}
	return p, nil
}

func parseInt(s string) (*int, error) {
	n, err := strconv.Atoi(s)
	return &n, err
}

func parseFloat(s string) (*float64, error) {
	f, err := strconv.ParseFloat(s, 64)
	return &f, err
}

// ParameterTexts returns the text of every parameter: the given ones, else the
// defaults. It refuses given ones that the template does not declare, missing
// ones and those that break a constraint. Constraints of parameters that come
// from SSM hold for the resolved value and are not checked here.
func (t *Template) ParameterTexts(given map[string]string) (map[string]string, error) {
	var unknown, missing []string
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if _, ok := t.Parameters[name]; !ok {
			unknown = append(unknown, name)
		}
	}
	if unknown != nil {
		return nil, Error("Parameters: [" + strings.Join(unknown, ", ") + "] do not exist in the template")
	}
	out := make(map[string]string, len(t.Parameters))
	for _, name := range slices.Sorted(maps.Keys(t.Parameters)) {
		p := t.Parameters[name]
		v, ok := given[name]
		if !ok {
			if p.Default == nil {
				missing = append(missing, name)
				continue
			}
			v = *p.Default
		}
		out[name] = v
	}
	if missing != nil {
		return nil, Error("Parameters: [" + strings.Join(missing, ", ") + "] must have values")
	}
	for _, name := range slices.Sorted(maps.Keys(out)) {
		if p := t.Parameters[name]; !p.FromSSM() {
			if err := p.check(name, out[name]); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

func (p Parameter) check(name, value string) error {
	refuse := func(format string, args ...any) error {
		if p.ConstraintDescription != "" {
			return Error(fmt.Sprintf("Parameter %s failed to satisfy constraint: %s", name, p.ConstraintDescription))
		}
		return Error(fmt.Sprintf("Parameter '%s' ", name) + fmt.Sprintf(format, args...))
	}
	typ, list := p.element()
	values := []string{value}
	if list {
		values = splitList(value)
	}
	for _, v := range values {
		if p.AllowedValues != nil && !slices.Contains(p.AllowedValues, v) {
			return refuse("must be one of AllowedValues")
		}
		if typ == "Number" {
			f, err := strconv.ParseFloat(v, 64)
			switch {
			case err != nil:
				return Error(fmt.Sprintf("Parameter '%s' must be a number", name))
			case p.MinValue != nil && f < *p.MinValue:
				return refuse("must be a number not less than %v", *p.MinValue)
			case p.MaxValue != nil && f > *p.MaxValue:
				return refuse("must be a number not greater than %v", *p.MaxValue)
			}
		}
		if list {
			continue
		}
		switch {
		case p.MinLength != nil && len(v) < *p.MinLength:
			return refuse("must contain at least %d characters", *p.MinLength)
		case p.MaxLength != nil && len(v) > *p.MaxLength:
			return refuse("must contain at most %d characters", *p.MaxLength)
		case p.AllowedPattern != "":
			// Patterns with Java's look-around, which Go lacks, are let pass.
			if ok, err := regexp.MatchString(`^(?:`+p.AllowedPattern+`)$`, v); err == nil && !ok {
				return refuse("must match pattern %s", p.AllowedPattern)
			}
		}
	}
	return nil
}

// Value returns what Ref of the parameter gives for a text: the text, or a list
// of its parts. For a parameter from SSM, text is the resolved value.
func (p Parameter) Value(text string) any {
	if _, list := p.element(); !list {
		return text
	}
	out := []any{}
	for _, s := range splitList(text) {
		out = append(out, s)
	}
	return out
}

func splitList(text string) []string {
	if text == "" {
		return nil
	}
	parts := strings.Split(text, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}
