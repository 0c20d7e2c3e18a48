package template

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const shortForms = `AWSTemplateFormatVersion: 2010-09-09
Description: >-
  Two lines
  become one
Parameters:
  Count: {Type: Number, Default: 3}
  Account: {Type: String, Default: "012345678901"}
Conditions:
  Many: !Not [!Equals [!Ref Count, 1]]
  Both: !And
    - !Condition Many
    - Condition: Many
Resources:
  Role:
    Type: AWS::IAM::Role
    Condition: Many
    Properties:
      AssumeRolePolicyDocument:
        Version: 2012-10-17
        Statement:
          - {Effect: Allow, Action: 'sts:AssumeRole', Principal: {Service: !Sub 'ec2.${AWS::URLSuffix}'}}
      RoleName: !If [Many, !Ref AWS::StackName, !Ref "AWS::NoValue"]
      Octal: 0755
      LeadingZero: 012345678901
      On: yes
      Flag: true
      Port: 22
      Ratio: 1.50
      Tags:
      - Key: a
        Value: !Join
        - '-'
        - - x
          - !GetAtt Other.Arn
          - !Select [0, !GetAZs '']
  Other:
    Type: AWS::IAM::Role
    Properties:
      UserData:
        Fn::Base64: !Sub
          - |
            #!/bin/bash
            echo ${Name} "${!literal}" # not a comment

            exit 0
          - Name: !GetAtt [Role, RoleId]
`

func TestYAMLShortFormsEqualTheLongOnes(t *testing.T) {
	got, err := Parse([]byte(shortForms))
	if err != nil {
		t.Fatal(err)
	}
	if got.Description != "Two lines become one" {
		t.Errorf("Description = %q", got.Description)
	}
	want := map[string]any{
		"AssumeRolePolicyDocument": map[string]any{
			"Version": "2012-10-17",
			"Statement": []any{map[string]any{"Effect": "Allow", "Action": "sts:AssumeRole",
				"Principal": map[string]any{"Service": map[string]any{"Fn::Sub": "ec2.${AWS::URLSuffix}"}}}},
		},
		"RoleName":    map[string]any{"Fn::If": []any{"Many", map[string]any{"Ref": "AWS::StackName"}, map[string]any{"Ref": "AWS::NoValue"}}},
		"Octal":       "0755",
		"LeadingZero": "012345678901",
		"On":          "yes",
		"Flag":        true,
		"Port":        json.Number("22"),
		"Ratio":       json.Number("1.50"),
		"Tags": []any{map[string]any{"Key": "a", "Value": map[string]any{"Fn::Join": []any{"-", []any{"x",
			map[string]any{"Fn::GetAtt": []any{"Other", "Arn"}},
			map[string]any{"Fn::Select": []any{json.Number("0"), map[string]any{"Fn::GetAZs": ""}}},
		}}}}},
	}
	if diff := cmp.Diff(want, got.Resources["Role"].Properties); diff != "" {
		t.Errorf("properties (-want +got):\n%s", diff)
	}
	script := got.Resources["Other"].Properties["UserData"].(map[string]any)["Fn::Base64"].(map[string]any)["Fn::Sub"].([]any)
	if want := "#!/bin/bash\necho ${Name} \"${!literal}\" # not a comment\n\nexit 0\n"; script[0] != want {
		t.Errorf("script = %q, want %q", script[0], want)
	}
	if diff := cmp.Diff(map[string]any{"Fn::And": []any{map[string]any{"Condition": "Many"}, map[string]any{"Condition": "Many"}}}, got.Conditions["Both"]); diff != "" {
		t.Errorf("condition (-want +got):\n%s", diff)
	}
}

// Templates are full of these, and parsers have tripped over them.
func TestYAMLOfOneLine(t *testing.T) {
	for text, want := range map[string]string{
		"a: {b: !Ref AWS::Region}":                   `{"a":{"b":{"Ref":"AWS::Region"}}}`,
		"a: [{b: !Ref X}, {c: !Ref AWS::Region}]":    `{"a":[{"b":{"Ref":"X"}},{"c":{"Ref":"AWS::Region"}}]}`,
		"a: [s3:Get*, ec2:Describe*]":                `{"a":["s3:Get*","ec2:Describe*"]}`,
		"a: {b: http://x/y, c: s3:*}":                `{"a":{"b":"http://x/y","c":"s3:*"}}`,
		"a: !If [C, !GetAtt X.Y.Z, !Sub 'a-${b}']":   `{"a":{"Fn::If":["C",{"Fn::GetAtt":["X","Y.Z"]},{"Fn::Sub":"a-${b}"}]}}`,
		"a: !Select [0, !GetAZs '']":                 `{"a":{"Fn::Select":[0,{"Fn::GetAZs":""}]}}`,
		"a: !Equals [!Ref P, '']":                    `{"a":{"Fn::Equals":[{"Ref":"P"},""]}}`,
		"a: !Sub [text, {x: !Ref Y}]":                `{"a":{"Fn::Sub":["text",{"x":{"Ref":"Y"}}]}}`,
		"a: !Base64 {\"Fn::Sub\": \"#!/bin/sh\\n\"}": `{"a":{"Fn::Base64":{"Fn::Sub":"#!/bin/sh\n"}}}`,
		"a: !!str 5":    `{"a":"5"}`,
		"2012-10-17: ~": `{"2012-10-17":null}`,
		"a: !FindInMap [M, !Ref 'AWS::Region', ami]": `{"a":{"Fn::FindInMap":["M",{"Ref":"AWS::Region"},"ami"]}}`,
	} {
		got, err := parseYAML([]byte(text))
		if err != nil || JSON(got) != want {
			t.Errorf("%s: %s, %v; want %s", text, JSON(got), err, want)
		}
	}
}

func TestYAMLAliasesCannotExplode(t *testing.T) {
	text := "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c < 'k'; c++ {
		text += string(c) + ": &" + string(c) + " [" + strings.Repeat("*"+string(c-1)+", ", 9) + "*" + string(c-1) + "]\n"
	}
	if _, err := parseYAML([]byte(text)); err == nil {
		t.Error("ten thousand million elements were read")
	}
}

func TestYAMLAnchorsAndMerges(t *testing.T) {
	got, err := Parse([]byte(`
Resources:
  A: &a
    Type: X::Y::Z
    Properties: &p {One: 1, Two: 2}
  B: *a
  C:
    Type: X::Y::Z
    Properties:
      <<: *p
      Two: zwei
`))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got.Resources["A"], got.Resources["B"]); diff != "" {
		t.Errorf("alias differs from anchor:\n%s", diff)
	}
	if diff := cmp.Diff(map[string]any{"One": json.Number("1"), "Two": "zwei"}, got.Resources["C"].Properties); diff != "" {
		t.Errorf("merge (-want +got):\n%s", diff)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, tt := range map[string]struct{ body, want string }{
		"empty body":                  {"  ", "Template format error: unsupported structure."},
		"a list":                      {"- a", "Template format error: unsupported structure."},
		"broken JSON":                 {"{\n  \"Resources\": {,}\n}", "Template format error: JSON not well-formed. (line 2, column 17)"},
		"broken YAML":                 {"Resources:\n  A: [1, 2\n", "Template format error: YAML not well-formed."},
		"no resources":                {`{"Resources": {}}`, "Template format error: At least one Resources member must be defined."},
		"unknown section":             {`{"Resources": {"A": {"Type": "T"}}, "Foo": 1}`, "Invalid template property or properties [Foo]"},
		"unknown resource attribute":  {`{"Resources": {"A": {"Type": "T", "Props": {}}}}`, "Invalid template resource property 'Props'"},
		"resource without a type":     {`{"Resources": {"A": {}}}`, "Template format error: [/Resources/A] Every Resources object must contain a Type member."},
		"resource that is no object":  {`{"Resources": {"A": 1}}`, "Template format error: Any Resources member must be an object."},
		"name with a dash":            {`{"Resources": {"A-b": {"Type": "T"}}}`, "Template format error: Resource name A-b is non alphanumeric."},
		"null property":               {`{"Resources": {"A": {"Type": "T", "Properties": {"X": [{"Y": null}]}}}}`, "Template format error: [/Resources/A/Properties/X/0/Y] 'null' values are not allowed in templates"},
		"unknown deletion policy":     {`{"Resources": {"A": {"Type": "T", "DeletionPolicy": "Keep"}}}`, "Template format error: Unrecognized DeletionPolicy Keep for resource A"},
		"transform":                   {`{"Transform": "AWS::Serverless-2016-10-31", "Resources": {"A": {"Type": "T"}}}`, "Transforms are not supported in the local region"},
		"unknown parameter type":      {`{"Parameters": {"P": {"Type": "Strin"}}, "Resources": {"A": {"Type": "T"}}}`, "Template format error: Unrecognized parameter type: Strin"},
		"output without a value":      {`{"Outputs": {"O": {}}, "Resources": {"A": {"Type": "T"}}}`, "Template format error: Output O is malformed. Every Outputs member must contain a Value object"},
		"wrong version of the format": {`{"AWSTemplateFormatVersion": "2011", "Resources": {"A": {"Type": "T"}}}`, "Template format error: unsupported value for AWSTemplateFormatVersion."},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(tt.body))
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("Parse: %v, want %s", err, tt.want)
			}
		})
	}
}

func TestParameterTexts(t *testing.T) {
	tpl, err := Parse([]byte(`{"Resources": {"A": {"Type": "T"}}, "Parameters": {
		"Size": {"Type": "Number", "MinValue": 1, "MaxValue": "10", "Default": 5},
		"Env": {"Type": "String", "AllowedValues": ["dev", "prod"], "Default": "dev"},
		"Name": {"Type": "String", "AllowedPattern": "[a-z]+", "MinLength": 2, "MaxLength": 4, "Default": "abc"},
		"Said": {"Type": "String", "AllowedPattern": "[a-z]+", "ConstraintDescription": "only letters", "Default": "abc"},
		"List": {"Type": "CommaDelimitedList", "Default": "a, b,c"},
		"Ports": {"Type": "List<Number>", "Default": "1,2"},
		"Subnets": {"Type": "List<AWS::EC2::Subnet::Id>", "Default": ""},
		"Must": {"Type": "String"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		given map[string]string
		want  string
	}{
		"defaults fill the rest":   {map[string]string{}, ""},
		"unknown":                  {map[string]string{"Foo": "1", "Bar": "2"}, "Parameters: [Bar, Foo] do not exist in the template"},
		"below the least":          {map[string]string{"Size": "0"}, "Parameter 'Size' must be a number not less than 1"},
		"above the most":           {map[string]string{"Size": "11"}, "Parameter 'Size' must be a number not greater than 10"},
		"no number":                {map[string]string{"Size": "x"}, "Parameter 'Size' must be a number"},
		"number in a list":         {map[string]string{"Ports": "1,x"}, "Parameter 'Ports' must be a number"},
		"not allowed":              {map[string]string{"Env": "test"}, "Parameter 'Env' must be one of AllowedValues"},
		"pattern holds for all":    {map[string]string{"Name": "a1"}, "Parameter 'Name' must match pattern [a-z]+"},
		"short":                    {map[string]string{"Name": "a"}, "Parameter 'Name' must contain at least 2 characters"},
		"long":                     {map[string]string{"Name": "abcde"}, "Parameter 'Name' must contain at most 4 characters"},
		"constraint has own words": {map[string]string{"Said": "1"}, "Parameter Said failed to satisfy constraint: only letters"},
	} {
		t.Run(name, func(t *testing.T) {
			given := map[string]string{"Must": "x"}
			for k, v := range tt.given {
				given[k] = v
			}
			_, err := tpl.ParameterTexts(given)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || err.Error() != tt.want) {
				t.Errorf("ParameterTexts: %v, want %q", err, tt.want)
			}
		})
	}
	if _, err := tpl.ParameterTexts(nil); err == nil || err.Error() != "Parameters: [Must] must have values" {
		t.Errorf("missing parameter: %v", err)
	}
	texts, _ := tpl.ParameterTexts(map[string]string{"Must": "x"})
	if diff := cmp.Diff([]any{"a", "b", "c"}, tpl.Parameters["List"].Value(texts["List"])); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]any{}, tpl.Parameters["Subnets"].Value(texts["Subnets"])); diff != "" {
		t.Error(diff)
	}
}
