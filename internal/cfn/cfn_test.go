package cfn

import (
	"strings"
	"testing"
)

func render(t *testing.T, tpl *Template) string {
	t.Helper()
	data, err := tpl.JSON()
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestReferencesAndFunctions(t *testing.T) {
	tpl := New("d")
	name := tpl.ParameterWithDefault("Name", "x", "")
	zone := tpl.Add("Zone", HostedZone{Name: name.Ref(), VPCs: []ZoneVPC{{"vpc-1", Region}}})
	group := tpl.Add("Group", SecurityGroup{GroupDescription: Sub("of ${AWS::StackName} & <${Z}>", map[string]Text{"Z": zone.Ref()}), VpcId: "vpc-1"}, DependsOn(zone), OnDelete("Retain"))
	tpl.Output("Id", Join(",", group.Att(GroupID), Select(2, "/", StackID)), "the group")
	want := `{"AWSTemplateFormatVersion":"2010-09-09","Description":"d","Parameters":{"Name":{"Type":"String","Default":"x"}},` +
		`"Resources":{"Group":{"Type":"AWS::EC2::SecurityGroup","DependsOn":["Zone"],"DeletionPolicy":"Retain","UpdateReplacePolicy":"Retain",` +
		`"Properties":{"GroupDescription":{"Fn::Sub":["of ${AWS::StackName} & <${Z}>",{"Z":{"Ref":"Zone"}}]},"VpcId":"vpc-1"}},` +
		`"Zone":{"Type":"AWS::Route53::HostedZone","Properties":{"Name":{"Ref":"Name"},"VPCs":[{"VPCId":"vpc-1","VPCRegion":{"Ref":"AWS::Region"}}]}}},` +
		`"Outputs":{"Id":{"Description":"the group","Value":{"Fn::Join":[",",[{"Fn::GetAtt":["Group","GroupId"]},{"Fn::Select":[2,{"Fn::Split":["/",{"Ref":"AWS::StackId"}]}]}]]}}}}`
	if got := render(t, tpl); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestWhatCloudFormationRefusesIsAnError(t *testing.T) {
	for want, build := range map[string]func(*Template){
		"two resources have the logical ID A":            func(t *Template) { t.Add("A", WaitConditionHandle{}); t.Add("A", WaitConditionHandle{}) },
		`"a-b" is not a logical ID`:                      func(t *Template) { t.Add("a-b", WaitConditionHandle{}) },
		"A: a AWS::IAM::Policy has no attribute GroupId": func(t *Template) { t.Add("A", Policy{}).Att(GroupID) },
		"201 outputs, more than the 200": func(t *Template) {
			for i := range 201 {
				t.Output(strings.Repeat("x", i+1), "", "")
			}
		},
		"more than the 500": func(t *Template) {
			for i := range 501 {
				t.Add("A"+strings.Repeat("x", i), WaitConditionHandle{})
			}
		},
	} {
		tpl := New("")
		build(tpl)
		if _, err := tpl.JSON(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestLiteralTextSurvivesSub(t *testing.T) {
	if got := Literal("echo ${HOME} $x"); got != "echo ${!HOME} $x" {
		t.Error(got)
	}
}
