package resource

import (
	"encoding/base64"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"pcluster/internal/sandbox/cloudformation/template"
)

// properties says which properties a type has. Most come from the input of the
// SDK call that creates the resource, whose members are nearly always named as
// the properties are; the rest is listed.
type properties struct {
	input     reflect.Type // struct, or nil
	required  []string
	extra     []string // beyond the members of input
	hidden    []string // members of input that are no properties
	documents []string // texts that templates write as objects, as policies
	refused   []string // of AWS, but not of the local region
}

// like starts properties from an SDK input.
func like[T any](required ...string) properties {
	return properties{input: reflect.TypeFor[T](), required: required}
}

// only starts properties of a type without an SDK input.
func only(names ...string) properties { return properties{extra: names} }

func (p properties) requires(names ...string) properties   { p.required = names; return p }
func (p properties) and(names ...string) properties        { p.extra = names; return p }
func (p properties) without(names ...string) properties    { p.hidden = names; return p }
func (p properties) refuses(names ...string) properties    { p.refused = names; return p }
func (p properties) asText(documents ...string) properties { p.documents = documents; return p }

// neverProperties are members of inputs that CloudFormation fills in itself.
var neverProperties = []string{"ClientToken", "ClientRequestToken", "CreationToken", "CallerReference", "DryRun", "Operator"}

// aliases are names of properties that differ from the SDK's beyond case, by the
// SDK's struct.
var aliases = map[string]string{
	"CreateNetworkInterfaceInput.GroupSet":                                "Groups",
	"InstanceNetworkInterfaceSpecification.GroupSet":                      "Groups",
	"CreateSecurityGroupInput.GroupDescription":                           "Description",
	"CreateSecretInput.ReplicaRegions":                                    "AddReplicaRegions",
	"AmiDistributionConfiguration.LaunchPermissionConfiguration":          "LaunchPermission",
	"SSESpecification.SSEEnabled":                                         "Enabled",
	"LaunchTemplateInstanceNetworkInterfaceSpecificationRequest.GroupSet": "Groups",
}

// Check returns what is wrong with the names and kinds of properties, as the
// lines of AWS's message, or nil.
func (t *Type) Check(props map[string]any) []string {
	var problems []string
	for _, name := range t.properties.required {
		if props[name] == nil {
			problems = append(problems, fmt.Sprintf("#: required key [%s] not found", name))
		}
	}
	for _, name := range t.properties.refused {
		if props[name] != nil {
			problems = append(problems, fmt.Sprintf("#: property %s is not supported in the local region", name))
		}
	}
	if t.properties.input == nil {
		for _, name := range slices.Sorted(maps.Keys(props)) {
			if !slices.Contains(t.properties.extra, name) && !slices.Contains(t.properties.extra, "*") && !slices.Contains(t.properties.refused, name) {
				problems = append(problems, extraneous("#", name))
			}
		}
		return problems
	}
	if t.adapt != nil {
		props = t.adapt(props)
	}
	return append(problems, t.properties.decode(props, reflect.New(t.properties.input))...)
}

func extraneous(path, name string) string {
	return fmt.Sprintf("%s: extraneous key [%s] is not permitted", path, name)
}

// decode fills the struct that into points to.
func (p properties) decode(props map[string]any, into reflect.Value) []string {
	d := decoder{documents: p.documents}
	own := map[string]any{}
	for name, v := range props {
		switch {
		case slices.Contains(p.extra, name), slices.Contains(p.refused, name):
		case slices.Contains(p.hidden, name), slices.Contains(neverProperties, name),
			name == "TagSpecifications" && into.Elem().Type().Name() != "CreateLaunchTemplateInput":
			d.problems = append(d.problems, extraneous("#", name))
		default:
			own[name] = v
		}
	}
	d.object("#", own, into.Elem())
	slices.Sort(d.problems)
	return d.problems
}

// input decodes the properties of a request into the SDK input of its type. The
// engine has checked them ([Type.Check]).
func input[T any](p properties, props map[string]any) *T {
	in := new(T)
	p.decode(props, reflect.ValueOf(in))
	return in
}

// decodeInto fills a part of an SDK input from a property, and reports what does
// not fit.
func decodeInto[T any](v any) (T, error) {
	var out T
	d := decoder{}
	if v != nil {
		d.value("#", v, reflect.ValueOf(&out).Elem())
	}
	if d.problems != nil {
		return out, fmt.Errorf("Properties validation failed: %s", strings.Join(d.problems, "; "))
	}
	return out, nil
}

type decoder struct {
	documents []string
	problems  []string
}

func (d *decoder) problem(path, format string, args ...any) {
	d.problems = append(d.problems, path+": "+fmt.Sprintf(format, args...))
}

func (d *decoder) object(path string, m map[string]any, into reflect.Value) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		field := fieldFor(into, name)
		if !field.IsValid() {
			d.problems = append(d.problems, extraneous(path, name))
			continue
		}
		if m[name] != nil {
			d.value(path+"/"+name, m[name], field)
		}
	}
}

// fieldFor returns the member of a struct that a property names: by the same
// name, an alias or the name in other case.
func fieldFor(into reflect.Value, name string) reflect.Value {
	typ := into.Type()
	if alias, ok := aliases[typ.Name()+"."+name]; ok {
		name = alias
	}
	var other reflect.Value
	for i := range typ.NumField() {
		f := typ.Field(i)
		if !f.IsExported() || f.Name == "ResultMetadata" {
			continue
		}
		if f.Name == name {
			return into.Field(i)
		}
		if strings.EqualFold(f.Name, name) {
			other = into.Field(i)
		}
	}
	return other
}

var timeType = reflect.TypeFor[time.Time]()

func (d *decoder) value(path string, v any, into reflect.Value) {
	if into.Kind() == reflect.Pointer {
		into.Set(reflect.New(into.Type().Elem()))
		into = into.Elem()
	}
	if into.Type() == timeType {
		text, _ := template.Text(v)
		when, err := time.Parse(time.RFC3339, text)
		if err != nil {
			d.problem(path, "expected type: a time such as 2006-01-02T15:04:05Z, found: %s", text)
			return
		}
		into.Set(reflect.ValueOf(when))
		return
	}
	switch into.Kind() {
	case reflect.Struct:
		m, ok := v.(map[string]any)
		if !ok {
			d.mismatch(path, "JSONObject", v)
			return
		}
		d.object(path, m, into)
		return
	case reflect.Map:
		m, ok := v.(map[string]any)
		if !ok {
			d.mismatch(path, "JSONObject", v)
			return
		}
		into.Set(reflect.MakeMapWithSize(into.Type(), len(m)))
		for _, k := range slices.Sorted(maps.Keys(m)) {
			e := reflect.New(into.Type().Elem()).Elem()
			d.value(path+"/"+k, m[k], e)
			into.SetMapIndex(reflect.ValueOf(k).Convert(into.Type().Key()), e)
		}
		return
	case reflect.Slice:
		if into.Type().Elem().Kind() == reflect.Uint8 {
			text, _ := template.Text(v)
			data, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				data = []byte(text)
			}
			into.SetBytes(data)
			return
		}
		list, ok := v.([]any)
		if !ok {
			d.mismatch(path, "JSONArray", v)
			return
		}
		into.Set(reflect.MakeSlice(into.Type(), len(list), len(list)))
		for i, e := range list {
			if e != nil {
				d.value(fmt.Sprintf("%s/%d", path, i), e, into.Index(i))
			}
		}
		return
	}
	text, scalar := template.Text(v)
	if !scalar {
		if into.Kind() == reflect.String && d.isDocument(path) {
			into.SetString(template.JSON(v))
			return
		}
		d.mismatch(path, kindName(into.Kind()), v)
		return
	}
	switch into.Kind() {
	case reflect.String:
		into.SetString(text)
	case reflect.Bool:
		b, err := strconv.ParseBool(strings.ToLower(text))
		if err != nil {
			d.mismatch(path, "Boolean", v)
		}
		into.SetBool(b)
	case reflect.Int, reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, into.Type().Bits())
		if err != nil {
			f, ferr := strconv.ParseFloat(text, 64)
			if ferr != nil || f != float64(int64(f)) {
				d.mismatch(path, "Integer", v)
				return
			}
			n = int64(f)
		}
		into.SetInt(n)
	case reflect.Float32, reflect.Float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			d.mismatch(path, "Number", v)
		}
		into.SetFloat(f)
	default:
		d.problem(path, "is not supported in the local region")
	}
}

// isDocument reports whether the property at path is a text that may be written
// as an object. Indexes of lists count as "*".
func (d *decoder) isDocument(path string) bool {
	parts := strings.Split(strings.TrimPrefix(path, "#/"), "/")
	for i, p := range parts {
		if _, err := strconv.Atoi(p); err == nil {
			parts[i] = "*"
		}
	}
	return slices.Contains(d.documents, strings.Join(parts, "/"))
}

func (d *decoder) mismatch(path, want string, v any) {
	found := "String"
	switch v.(type) {
	case map[string]any:
		found = "JSONObject"
	case []any:
		found = "JSONArray"
	case bool:
		found = "Boolean"
	}
	d.problem(path, "expected type: %s, found: %s", want, found)
}

func kindName(k reflect.Kind) string {
	switch k {
	case reflect.String:
		return "String"
	case reflect.Bool:
		return "Boolean"
	case reflect.Float32, reflect.Float64:
		return "Number"
	}
	return "Integer"
}
