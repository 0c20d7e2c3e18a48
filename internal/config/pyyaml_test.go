package config

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// spelled writes a value as testdata/pyyaml.json does: a letter for the type, and
// what PyYAML made of it.
func spelled(n *Node) any {
	switch n.Kind {
	case Null:
		return "N"
	case Text:
		return "S" + n.Raw
	case Bool:
		return fmt.Sprint("B", yamlBools[n.Raw])
	case Int, Float:
		v, _ := number(n.Raw)
		if v == 0 {
			v = 0 // without a sign
		}
		text := fmt.Sprintf("%.10g", v)
		switch {
		case math.IsInf(v, 1):
			text = "inf"
		case math.IsInf(v, -1):
			text = "-inf"
		case math.IsNaN(v):
			text = "nan"
		}
		return map[Kind]string{Int: "I", Float: "F"}[n.Kind] + text
	case Timestamp:
		return "T"
	case Mapping:
		m := map[string]any{}
		for _, e := range n.Entries {
			m["K"+e.Key] = spelled(e.Value)
		}
		return m
	}
	list := []any{}
	for _, item := range n.Items {
		list = append(list, spelled(item))
	}
	return list
}

// different are fragments that PyYAML and our reader take differently, and why
// that may be so.
var different = map[string]string{
	`a: "x\ty\u00e9\x41\/"`:     "the library does not know the escape \\/, which JSON has",
	`a: "\ud83d\ude00"`:         "nor pairs of surrogates",
	"a: !!binary aGk=":          "no key holds bytes",
	"a: !!set {x}":              "no key holds a set",
	"a: !!timestamp 2020-01-01": "no key holds a date",
	"a: !!float 3":              "numbers are cut or kept by the key, not by the file",
	"1: a":                      "all keys are kept as text, and no key of ours is anything else",
	"yes: a":                    "as above",
	"null: a":                   "as above",
	"~: a":                      "as above",
	"1: a\n\"1\": b":            "as above; two unknown keys",
	"a:\tb":                     "a tab is taken for a blank",
	"a: b\t":                    "as above",
	"a: 2020-13-45":             "a date is refused by every key, whatever the month",
	"a: =":                      "a value of its own in YAML 1.1, which PyYAML can't construct",
	"a: <<":                     "as above",
	"a: 0x_":                    "no digits are 0",
	"a: [x:]":                   "the library takes a colon before a bracket for text",
	"a: {x:}":                   "as above",
	"a: {x:, y: 1}":             "as above",
}

// Files were written for PyYAML's reading of YAML, which the table holds.
func TestReadsYAMLAsPyYAML(t *testing.T) {
	data, err := os.ReadFile("testdata/pyyaml.json")
	if err != nil {
		t.Fatal(err)
	}
	var rows []struct {
		Text    string
		Refused bool
		Value   any
	}
	if err := json.Unmarshal(data, &rows); err != nil {
		t.Fatal(err)
	}
	unused := map[string]bool{}
	for text := range different {
		unused[text] = true
	}
	for _, row := range rows {
		doc, found := readDocument([]byte(row.Text))
		refused := doc == nil || len(found) > 0
		diff := ""
		switch {
		case refused != row.Refused:
			diff = fmt.Sprintf("refused: %v, by PyYAML: %v (%v)", refused, row.Refused, found)
		case !refused:
			diff = cmp.Diff(row.Value, spelled(doc.Root))
		}
		if _, known := different[row.Text]; known {
			delete(unused, row.Text)
			if diff == "" {
				t.Errorf("%q is read alike: it is no difference", row.Text)
			}
			continue
		}
		if diff != "" {
			t.Errorf("%.80q: %s", row.Text, diff)
		}
	}
	for text := range unused {
		t.Errorf("%q is not in the table", text)
	}
}

// ARNs have colons, and lists of them stand in one line.
func TestTextWithColonsInLists(t *testing.T) {
	text := strings.Replace(`Image: {Os: alinux2023}
HeadNode: {InstanceType: c5.large, Networking: {SubnetId: subnet-11111111}, CustomActions: {OnNodeStart: {Script: 's3://b/x', Args: [ARGS]}}}
Scheduling: {Scheduler: slurm, SlurmQueues: [{Name: q, Networking: {SubnetIds: [subnet-11111111]}, ComputeResources: [{Name: c, InstanceType: c5.large}]}]}
`, "ARGS", "team:physics, arn:aws:iam::1:role/x, https://a/b", 1)
	c, found := Parse("", []byte(text))
	if err := found.Err(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"team:physics", "arn:aws:iam::1:role/x", "https://a/b"}, c.HeadNode.CustomActions.OnNodeStart.Args); diff != "" {
		t.Error(diff)
	}
}
