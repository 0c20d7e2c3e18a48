package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pcluster/internal/cluster"
)

const described = `{"zebra": 1, "ape": {"y": "<&>", "x": [{"b": 1, "a": 2}, {"b": 3, "a": 4}]}, "cat": "Zürich", "none": null, "yes": true}`

func TestQueryKeepsTheOrderOfKeys(t *testing.T) {
	for query, want := range map[string]string{
		"@":                             `{"zebra":1,"ape":{"y":"<&>","x":[{"b":1,"a":2},{"b":3,"a":4}]},"cat":"Z\u00fcrich","none":null,"yes":true}`,
		"ape":                           `{"y":"<&>","x":[{"b":1,"a":2},{"b":3,"a":4}]}`,
		"ape.x[0]":                      `{"b":1,"a":2}`,
		"ape.x[].a":                     `[2,4]`,
		"ape.x[].{second: b, first: a}": `[{"second":1,"first":2},{"second":3,"first":4}]`,
		"{n: ape.x[0], c: cat}":         `{"n":{"b":1,"a":2},"c":"Z\u00fcrich"}`,
		"cat":                           `"Z\u00fcrich"`,
		"length(ape.x)":                 `2`,
		"dog":                           `null`,
		"ape.x[?b > `1`].a | [0]":       `4`,
	} {
		text, err := search([]byte(described), query)
		if err != nil {
			t.Errorf("%s: %v", query, err)
			continue
		}
		if got := compact(string(text)); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", query, got, want)
		}
	}
}

// compact takes out what indentation put in; the values above have no blanks.
func compact(s string) string {
	return strings.NewReplacer("\n", "", " ", "").Replace(s)
}

func TestOutputIsASCII(t *testing.T) {
	text, err := marshal(map[string]string{"k": "ü \U0001F600 <&> \x7f \n"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("{\n  \"k\": \"\\u00fc \\ud83d\\ude00 <&> \\u007f \\n\"\n}", string(text)); diff != "" {
		t.Error(diff)
	}
}

func TestDiagnosticsPointAtTheMistake(t *testing.T) {
	refusal := clusterError("Region: us-east-1\nHeadNode:\n\tInstanceTyp: t3.micro\n", 3, 2, "unknown key InstanceTyp", "did you mean InstanceType?")
	var b strings.Builder
	writeDiagnostics(&b, refusal, 100)
	want := "cluster.yaml:3:2: error: unknown key InstanceTyp\n    3 | \tInstanceTyp: t3.micro\n      | \t^^^^^^^^^^^\n      = HeadNode\n      = hint: did you mean InstanceType?\n"
	if diff := cmp.Diff(want, unstyle(b.String())); diff != "" {
		t.Error(diff)
	}
}

func TestShellQuote(t *testing.T) {
	for in, want := range map[string]string{
		"-i": "-i", "key.pem": "key.pem", "": "''", "a b": "'a b'", "it's": `'it'"'"'s'`, "$HOME": "'$HOME'", "-L8080:localhost:80": "-L8080:localhost:80", "~/.ssh/k": "'~/.ssh/k'",
	} {
		if got := shellQuote(in); got != want {
			t.Errorf("shellQuote(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestChooseRegion(t *testing.T) {
	for name, tt := range map[string]struct {
		option, file string
		env          map[string]string
		want, err    string
	}{
		"option before environment":      {option: "eu-west-1", env: map[string]string{"AWS_DEFAULT_REGION": "us-east-1"}, want: "eu-west-1"},
		"file before environment":        {file: "eu-west-2", env: map[string]string{"AWS_DEFAULT_REGION": "us-east-1"}, want: "eu-west-2"},
		"both the same":                  {option: "eu-west-1", file: "eu-west-1", want: "eu-west-1"},
		"both, and different":            {option: "eu-west-1", file: "eu-west-2", err: "conflicts"},
		"the default before the other":   {env: map[string]string{"AWS_DEFAULT_REGION": "us-east-1", "AWS_REGION": "us-east-2"}, want: "us-east-1"},
		"the one that other tools know":  {env: map[string]string{"AWS_REGION": "us-east-2"}, want: "us-east-2"},
		"none, so that of the profile":   {want: ""},
		"a region that does not exist":   {option: "us-mars-1", want: "us-mars-1"}, // refused later
		"a file that names no region":    {file: regionOfFile([]byte("Image:\n  Os: x\n")), want: ""},
		"a file that can't be parsed":    {file: regionOfFile([]byte("Region: [\n")), want: ""},
		"a file that names one":          {file: regionOfFile([]byte("Region: us-west-2\nOther: {}\n")), want: "us-west-2"},
		"a file whose region is no text": {file: regionOfFile([]byte("Region: [us-west-2]\n")), want: ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := chooseRegion(tt.option, tt.file, func(k string) string { return tt.env[k] })
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Error(err)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	for region, ok := range map[string]bool{"us-east-1": true, "eusc-de-east-1": true, "us-mars-1": false, "": false} {
		if err := checkRegion(region); (err == nil) != ok {
			t.Errorf("%q: %v", region, err)
		}
	}
}

func clusterError(text string, line, column int, message, hint string) *cluster.Error {
	return &cluster.Error{File: "cluster.yaml", Text: []byte(text), Problems: problem(line, column, message, hint)}
}
