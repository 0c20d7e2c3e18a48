package main

import (
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pcluster/internal/config"
)

func bases(t *testing.T) []item {
	t.Helper()
	list, err := readBases("testdata", account{})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestBasesHaveEveryKey(t *testing.T) {
	// Keys that no file can have beside the others: the first goes with nothing,
	// the others the real tool of our measure does not know.
	except := map[string]bool{
		"Scheduling.SlurmQueues[].ComputeResources[].LaunchTemplateOverrides":                  true,
		"Scheduling.SlurmQueues[].ComputeResources[].LaunchTemplateOverrides.LaunchTemplateId": true,
		"Scheduling.SlurmQueues[].ComputeResources[].LaunchTemplateOverrides.Version":          true,
	}
	seen := map[string]bool{}
	for _, b := range bases(t) {
		tree, err := parseTree(b.Text)
		if err != nil {
			t.Fatalf("%s: %v", b.ID, err)
		}
		if b.Kind == "cluster" {
			walk(tree, nil, func(at place, _ any) { seen[at.key()] = true })
		}
	}
	for _, k := range config.Keys() {
		if !seen[k.Path] && !except[k.Path] && !alike(k.Path) {
			t.Errorf("no base has %s", k.Path)
		}
	}
}

// alike says whether a key repeats what another event of custom actions, or a
// place of a placement group, has shown.
func alike(path string) bool {
	return strings.Contains(path, ".CustomActions.") || strings.HasSuffix(path, ".PlacementGroup.Id")
}

func TestGeneratedFilesAreTheSameEachTime(t *testing.T) {
	first, err := generate(bases(t), 600, 100)
	if err != nil {
		t.Fatal(err)
	}
	again, err := generate(bases(t), 600, 100)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(ids(first), ids(again)); diff != "" {
		t.Errorf("(-first +again):\n%s", diff)
	}
	if len(first) != 700 {
		t.Errorf("%d files, want 700", len(first))
	}
	texts := map[string]string{}
	for i, it := range first {
		if it.Text != again[i].Text {
			t.Errorf("%s differs from run to run", it.ID)
		}
		if other, ok := texts[it.ID]; ok && other != it.Text {
			t.Errorf("two files have the ID %s", it.ID)
		}
		texts[it.ID] = it.Text
	}
}

func ids(list []item) []string {
	var out []string
	for _, it := range list {
		out = append(out, it.ID)
	}
	return out
}

func TestRenderKeepsWhatTextIs(t *testing.T) {
	const text = "a: \"5\"\nb:\n  - yes please\n  - \"yes\"\n  - c: null\n    d: {}\n    e: []\nf: 1.5\ng: true\n"
	tree, err := parseTree(text)
	if err != nil {
		t.Fatal(err)
	}
	again, err := parseTree(render(tree))
	if err != nil {
		t.Fatalf("%v in\n%s", err, render(tree))
	}
	if !reflect.DeepEqual(tree, again) {
		t.Errorf("got\n%s", render(tree))
	}
}

func TestCompareSaysWhatDiffers(t *testing.T) {
	theirs := judgement{ID: "f", Outcome: "refused", Findings: []finding{{"ERROR", "A", "a"}, {"INFO", "B", "b"}, {"INFO", "B", "b2"}}}
	ours := judgement{ID: "f", Outcome: "accepted", Findings: []finding{{"INFO", "B", "x"}, {"WARNING", "C", "c"}}}
	want := []string{"f: outcome refused, ours accepted (A: a)", "f: lacks ERROR A (a)", "f: adds WARNING C (ours: c)"}
	var got []string
	for _, d := range compare(theirs, ours) {
		got = append(got, d.String())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if d := compare(theirs, theirs); len(d) > 0 {
		t.Errorf("a judgement differs from itself: %v", d)
	}
}

func TestVerdictsExplainByPattern(t *testing.T) {
	d := difference{file: "bases/whole/Tags[0].Key/=x", what: "lacks ERROR TagKeyValidator", message: "reserved"}
	for _, tt := range []struct {
		v    verdict
		want bool
	}{
		{verdict{What: []string{"lacks * TagKeyValidator"}}, true},
		{verdict{What: []string{"adds *", "lacks ERROR *"}, Files: []string{"*/Tags[0].Key/*"}}, true},
		{verdict{What: []string{"lacks ERROR *"}, Message: "served"}, true},
		{verdict{What: []string{"lacks ERROR *"}, Message: "other"}, false},
		{verdict{What: []string{"lacks ERROR *"}, Files: []string{"cases/*"}}, false},
		{verdict{What: []string{"lacks WARNING *"}}, false},
	} {
		if got := tt.v.explains(d); got != tt.want {
			t.Errorf("%+v explains %v: %v", tt.v, d, got)
		}
	}
}

func TestStacksThatMeanTheSameDoNotDiffer(t *testing.T) {
	group := func(id string, rule any) map[string]any {
		return map[string]any{"Resources": map[string]any{
			id: map[string]any{"Type": "AWS::EC2::SecurityGroup", "Properties": map[string]any{"VpcId": "vpc-1", "SecurityGroupIngress": rule}},
			"I": map[string]any{"Type": "AWS::EC2::SecurityGroupEgress", "Properties": map[string]any{
				"GroupId": map[string]any{"Fn::GetAtt": []any{id, "GroupId"}}, "IpProtocol": "-1", "CidrIp": "0.0.0.0/0"}},
		}}
	}
	a := observe(synthesis{Root: group("Group0123ABCD", []any{map[string]any{"IpProtocol": "tcp", "FromPort": 22.0, "ToPort": 22.0, "CidrIp": "0.0.0.0/0"}})})
	b := observe(synthesis{Root: group("Group", []any{map[string]any{"CidrIp": "0.0.0.0/0", "IpProtocol": "tcp", "FromPort": 22.0, "ToPort": 22.0}})})
	if d := compareStacks("f", a, b); len(d) > 0 {
		t.Errorf("%v", d)
	}
	c := observe(synthesis{Root: group("Group", []any{map[string]any{"IpProtocol": "tcp", "FromPort": 23.0, "ToPort": 23.0, "CidrIp": "0.0.0.0/0"}})})
	if d := compareStacks("f", a, c); len(d) != 2 {
		t.Errorf("a rule for another port gives %v, want one lacking and one more", d)
	}
}
