package template

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func testScope(t *testing.T) *Scope {
	t.Helper()
	tpl, err := Parse([]byte(`{
		"Transform": "AWS::LanguageExtensions",
		"Parameters": {"Name": {"Type": "String"}, "List": {"Type": "CommaDelimitedList"}},
		"Mappings": {"Regions": {"us-east-1": {"ami": "ami-1", "zones": ["a", "b"]}}},
		"Conditions": {
			"Yes": {"Fn::Equals": [{"Ref": "Name"}, "box"]},
			"No": {"Fn::Not": [{"Condition": "Yes"}]},
			"Either": {"Fn::Or": [{"Condition": "No"}, {"Fn::And": [{"Condition": "Yes"}, {"Fn::Equals": [1, "1"]}]}]}},
		"Resources": {"Box": {"Type": "T"}, "Other": {"Type": "T"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	s := &Scope{
		Template:   tpl,
		Parameters: Pseudo("111122223333", "aws", "us-east-1", "arn:stack", "stack", nil),
		Ref:        func(id string) (any, error) { return "id-of-" + id, nil },
		GetAtt: func(id, attribute string) (any, error) {
			if attribute == "List" {
				return []any{"l1", "l2"}, nil
			}
			return id + "." + attribute, nil
		},
		Import:  func(name string) (string, error) { return "imported " + name, nil },
		AZs:     func(string) []string { return []string{"us-east-1a", "us-east-1b"} },
		Dynamic: func(ref string) (string, error) { return "<" + ref + ">", nil },
	}
	s.Parameters["Name"] = "box"
	s.Parameters["List"] = []any{"x", "y"}
	if err := s.EvalConditions(); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEval(t *testing.T) {
	s := testScope(t)
	if diff := cmp.Diff(map[string]bool{"Yes": true, "No": false, "Either": true}, s.Conditions); diff != "" {
		t.Errorf("conditions (-want +got):\n%s", diff)
	}
	for expr, want := range map[string]string{
		`{"Ref": "Name"}`:                          `"box"`,
		`{"Ref": "List"}`:                          `["x","y"]`,
		`{"Ref": "Box"}`:                           `"id-of-Box"`,
		`{"Ref": "AWS::Region"}`:                   `"us-east-1"`,
		`{"Ref": "AWS::NoValue"}`:                  `null`,
		`{"a": 1, "b": {"Ref": "AWS::NoValue"}}`:   `{"a":1}`,
		`[1, {"Ref": "AWS::NoValue"}, true]`:       `[1,true]`,
		`{"Fn::GetAtt": ["Box", "Arn"]}`:           `"Box.Arn"`,
		`{"Fn::GetAtt": "Box.Outputs.X"}`:          `"Box.Outputs.X"`,
		`{"Fn::GetAtt": ["Box", {"Ref": "Name"}]}`: `"Box.box"`,
		`{"Fn::Sub": "${Name}-${Box}-${Box.Arn}-${AWS::Partition}-${!Raw}"}`: `"box-id-of-Box-Box.Arn-aws-${Raw}"`,
		`{"Fn::Sub": ["${V}/${Name}", {"V": {"Ref": "Other"}}]}`:             `"id-of-Other/box"`,
		`{"Fn::Sub": "cost $5 ${Name"}`:                                      `"cost $5 ${Name"`,
		`{"Fn::Join": [",", {"Ref": "List"}]}`:                               `"x,y"`,
		`{"Fn::Join": ["", ["a", 1, true, {"Ref": "Name"}]]}`:                `"a1truebox"`,
		`{"Fn::Join": ["-", {"Fn::GetAtt": ["Box", "List"]}]}`:               `"l1-l2"`,
		`{"Fn::Split": ["-", "a-b-c"]}`:                                      `["a","b","c"]`,
		`{"Fn::Select": ["1", {"Fn::Split": ["|", "a|b"]}]}`:                 `"b"`,
		`{"Fn::If": ["Yes", "y", {"Fn::Select": [9, []]}]}`:                  `"y"`,
		`{"Fn::If": ["No", "y", {"Ref": "AWS::NoValue"}]}`:                   `null`,
		`{"Fn::FindInMap": ["Regions", {"Ref": "AWS::Region"}, "ami"]}`:      `"ami-1"`,
		`{"Fn::FindInMap": ["Regions", "us-east-1", "zones"]}`:               `["a","b"]`,
		`{"Fn::FindInMap": ["Regions", "x", "y", {"DefaultValue": "d"}]}`:    `"d"`,
		`{"Fn::Base64": {"Fn::Sub": "hi ${Name}"}}`:                          `"aGkgYm94"`,
		`{"Fn::GetAZs": {"Ref": "AWS::Region"}}`:                             `["us-east-1a","us-east-1b"]`,
		`{"Fn::ImportValue": {"Fn::Sub": "${AWS::StackName}-x"}}`:            `"imported stack-x"`,
		`{"Fn::Cidr": ["10.0.0.0/16", 3, 8]}`:                                `["10.0.0.0/24","10.0.1.0/24","10.0.2.0/24"]`,
		`{"Fn::Cidr": ["10.0.255.0/24", 2, "5"]}`:                            `["10.0.255.0/27","10.0.255.32/27"]`,
		`{"Fn::Length": {"Ref": "List"}}`:                                    `2`,
		`{"Fn::ToJsonString": {"a": [{"Ref": "Name"}]}}`:                     `"{\"a\":[\"box\"]}"`,
		`"p={{resolve:ssm:/a/b:1}}!"`:                                        `"p=<ssm:/a/b:1>!"`,
		`{"Ref": "A", "Also": "B"}`:                                          `{"Also":"B","Ref":"A"}`,
	} {
		var v any
		dec := json.NewDecoder(strings.NewReader(expr))
		dec.UseNumber()
		if err := dec.Decode(&v); err != nil {
			t.Fatalf("%s: %v", expr, err)
		}
		got, err := s.Eval(v)
		if err != nil {
			t.Errorf("%s: %v", expr, err)
			continue
		}
		if data := JSON(got); data != want {
			t.Errorf("%s = %s, want %s", expr, data, want)
		}
	}
}

func TestEvalRefuses(t *testing.T) {
	s := testScope(t)
	for expr, want := range map[string]string{
		`{"Ref": "Nobody"}`:                             "Template format error: Unresolved resource dependencies [Nobody] in the Resources block of the template",
		`{"Fn::GetAtt": ["Nobody", "Arn"]}`:             "Template error: instance of Fn::GetAtt references undefined resource Nobody",
		`{"Fn::GetAtt": ["Box"]}`:                       "Template error: every Fn::GetAtt object requires two non-empty parameters, the resource name and the resource attribute",
		`{"Fn::Select": [2, ["a"]]}`:                    "Template error: Fn::Select cannot select nonexistent value at index 2",
		`{"Fn::FindInMap": ["Regions", "mars", "ami"]}`: "Template error: Unable to get mapping for Regions::mars::ami",
		`{"Fn::FindInMap": ["Nope", "a", "b"]}`:         "Template error: Mapping named 'Nope' is not present in the 'Mappings' section of template.",
		`{"Fn::If": ["Maybe", 1, 2]}`:                   "Template error: unresolved condition dependency Maybe in Fn::If",
		`{"Fn::Join": [",", "text"]}`:                   "Template error: every Fn::Join object requires two parameters",
		`{"Fn::Split": ["-", ["x"]]}`:                   "Template error: every Fn::Split object requires two parameters",
		`{"Fn::Sub": ["x"]}`:                            "Template error: One or more Fn::Sub intrinsic functions don't specify expected arguments.",
		`{"Fn::Transform": {"Name": "x"}}`:              "Transforms are not supported in the local region",
		`{"Fn::Foo": 1}`:                                "Template format error: Unrecognized function Fn::Foo",
		`{"Fn::Cidr": ["10.0.0.0/24", 5, 6]}`:           "Template error: Fn::Cidr cannot make 5 blocks",
	} {
		var v any
		dec := json.NewDecoder(strings.NewReader(expr))
		dec.UseNumber()
		if err := dec.Decode(&v); err != nil {
			t.Fatalf("%s: %v", expr, err)
		}
		if got, err := s.Eval(v); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s = %v, %v; want %s", expr, got, err, want)
		}
	}
}

func TestValidateRefuses(t *testing.T) {
	resources := func(s string) string { return `{"Resources": {` + s + `}}` }
	for name, tt := range map[string]struct{ body, want string }{
		"unresolved Ref":          {resources(`"A": {"Type": "T", "Properties": {"X": {"Ref": "Gone"}, "Y": {"Fn::Sub": "${Away}"}}}`), "Template format error: Unresolved resource dependencies [Away, Gone] in the Resources block of the template"},
		"unresolved DependsOn":    {resources(`"A": {"Type": "T", "DependsOn": "Gone"}`), "Template format error: Unresolved resource dependencies [Gone] in the Resources block of the template"},
		"unresolved in metadata":  {resources(`"A": {"Type": "T", "Metadata": {"X": {"Ref": "Gone"}}}`), "Template format error: Unresolved resource dependencies [Gone] in the Resources block of the template"},
		"unresolved in output":    {`{"Resources": {"A": {"Type": "T"}}, "Outputs": {"O": {"Value": {"Ref": "Gone"}}}}`, "Template format error: Unresolved resource dependencies [Gone] in the Outputs block of the template"},
		"GetAtt of nothing":       {resources(`"A": {"Type": "T", "Properties": {"X": {"Fn::GetAtt": ["Gone", "Arn"]}}}`), "Template error: instance of Fn::GetAtt references undefined resource Gone"},
		"GetAtt no such":          {resources(`"A": {"Type": "T", "Properties": {"X": {"Fn::GetAtt": ["B", "Foo"]}}}, "B": {"Type": "T"}`), "Template error: resource B does not support attribute type Foo in Fn::GetAtt"},
		"condition gone":          {resources(`"A": {"Type": "T", "Condition": "C"}`), "Template format error: Unresolved condition dependency C in the Resources block of the template"},
		"If on no condition":      {resources(`"A": {"Type": "T", "Properties": {"X": {"Fn::If": ["C", 1, 2]}}}`), "Template error: unresolved condition dependency C in Fn::If"},
		"condition on a resource": {`{"Conditions": {"C": {"Fn::Equals": [{"Ref": "A"}, 1]}}, "Resources": {"A": {"Type": "T"}}}`, "Template format error: Unresolved dependencies [A]. Cannot reference resources in the Conditions block of the template"},
		"cycle of two": {resources(`"A": {"Type": "T", "Properties": {"X": {"Ref": "B"}}}, "B": {"Type": "T", "DependsOn": "A"},
			"Before": {"Type": "T"}, "After": {"Type": "T", "DependsOn": ["A", "Before"]}`), "Circular dependency between resources: [A, B]"},
		"cycle of one": {resources(`"A": {"Type": "T", "Properties": {"X": {"Ref": "A"}}}`), "Circular dependency between resources: [A]"},
	} {
		t.Run(name, func(t *testing.T) {
			tpl, err := Parse([]byte(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			err = tpl.Validate(func(_, attribute string) bool { return attribute == "Arn" })
			if err == nil || err.Error() != tt.want {
				t.Errorf("Validate: %v, want %s", err, tt.want)
			}
		})
	}
}

func TestPlanFollowsConditions(t *testing.T) {
	tpl, err := Parse([]byte(`{
		"Conditions": {"On": {"Fn::Equals": ["a", "a"]}, "Off": {"Fn::Equals": ["a", "b"]}},
		"Resources": {
			"Here": {"Type": "T", "Condition": "On"},
			"Gone": {"Type": "T", "Condition": "Off"},
			"User": {"Type": "T", "DependsOn": ["Gone", "Here"], "Properties": {"X": {"Fn::If": ["On", {"Ref": "Here"}, {"Ref": "Gone"}]}}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	s := &Scope{Template: tpl}
	if err := s.EvalConditions(); err != nil {
		t.Fatal(err)
	}
	plan, err := tpl.Plan(s)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string][]string{"Here": nil, "User": {"Here"}}, plan); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}

	tpl.Resources["User"].Properties["Y"] = map[string]any{"Ref": "Gone"}
	_, err = tpl.Plan(s)
	if want := "Template format error: Unresolved resource dependencies [Gone] in the Resources block of the template"; err == nil || err.Error() != want {
		t.Errorf("Plan: %v, want %s", err, want)
	}
}

func TestEqualIgnoresHowScalarsAreWritten(t *testing.T) {
	for _, tt := range []struct {
		a, b any
		want bool
	}{
		{json.Number("1"), "1", true},
		{true, "true", true},
		{"a", "b", false},
		{[]any{json.Number("1")}, []any{"1"}, true},
		{[]any{"1"}, []any{"1", "2"}, false},
		{map[string]any{"a": nil}, map[string]any{}, true},
		{map[string]any{"a": "x"}, map[string]any{}, false},
		{map[string]any{}, map[string]any{"a": "x"}, false},
		{map[string]any{"a": "x"}, []any{}, false},
		{nil, "", false},
	} {
		if got := Equal(tt.a, tt.b); got != tt.want {
			t.Errorf("Equal(%v, %v) = %v", tt.a, tt.b, got)
		}
	}
}

func TestCapabilities(t *testing.T) {
	for props, want := range map[string]string{
		`"AWS::EC2::VPC"`:  "[]",
		`"AWS::IAM::Role"`: "[CAPABILITY_IAM]",
		`"AWS::IAM::Role", "Properties": {"RoleName": "x"}`:     "[CAPABILITY_NAMED_IAM]",
		`"AWS::IAM::Policy", "Properties": {"PolicyName": "x"}`: "[CAPABILITY_IAM]",
	} {
		tpl, err := Parse([]byte(`{"Resources": {"A": {"Type": ` + props + `}}}`))
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := tpl.Capabilities(); fmt.Sprint(got) != want {
			t.Errorf("%s: %v, want %s", props, got, want)
		}
	}
}
