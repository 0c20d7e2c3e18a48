package cli

import (
	"flag"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

var updateScripts = flag.Bool("update", false, "rewrite what scripts compare output with")

func TestParseArgsAsArgparse(t *testing.T) {
	type options struct {
		Name, Query, Status string
		Many                []string
		Wait, Dry           bool
	}
	for name, tt := range map[string]struct {
		args    string // separated by |
		want    options
		unknown []string
		err     string
	}{
		"long and value":                     {args: "--cluster-name|demo", want: options{Name: "demo"}},
		"long with =":                        {args: "--cluster-name=demo", want: options{Name: "demo"}},
		"long with = and empty":              {args: "-n|demo|--query=", want: options{Name: "demo"}},
		"short":                              {args: "-n|demo", want: options{Name: "demo"}},
		"short with value":                   {args: "-ndemo", want: options{Name: "demo"}},
		"short with =":                       {args: "-n=demo", want: options{Name: "demo"}},
		"prefix":                             {args: "--cluster-n|demo|--wa", want: options{Name: "demo", Wait: true}},
		"prefix with =":                      {args: "--cluster-n=demo", want: options{Name: "demo"}},
		"ambiguous prefix":                   {args: "--cluster|demo", err: "ambiguous option: --cluster could match --cluster-name, --cluster-status"},
		"ambiguous as value":                 {args: "-n|--cluster", err: "ambiguous option: --cluster could match --cluster-name, --cluster-status"},
		"last one counts":                    {args: "-n|one1|-n|two2", want: options{Name: "two2"}},
		"several values":                     {args: "--suppress|ALL|type:A|type:B|-n|demo", want: options{Name: "demo", Many: []string{"ALL", "type:A", "type:B"}}},
		"several values, again":              {args: "--suppress|type:A|--suppress|type:B|-n|demo", want: options{Name: "demo", Many: []string{"type:B"}}},
		"several values, none":               {args: "--suppress|-n|demo", err: "argument --suppress-validators: expected at least one argument"},
		"several values, one bad":            {args: "-n|demo|--suppress|ALL|x", err: "Bad Request: 'x' does not match '^(ALL|type:[A-Za-z0-9]+)$' - 'suppress-validators'"},
		"value that looks like an option":    {args: "-n|--wait", err: "argument -n/--cluster-name: expected one argument"},
		"value that is a negative number":    {args: "-n|demo|--query|-1", want: options{Name: "demo", Query: "-1"}},
		"value with a blank and a dash":      {args: "-n|demo|--query|-a b", want: options{Name: "demo", Query: "-a b"}},
		"value at the end":                   {args: "-n", err: "argument -n/--cluster-name: expected one argument"},
		"required":                           {args: "--wait", err: "the following arguments are required: -n/--cluster-name"},
		"required comes after other errors":  {args: "--dryrun|maybe", err: "Bad Request: Wrong type, expected 'boolean' for parameter 'dryrun'"},
		"boolean":                            {args: "-n|demo|--dryrun|TRUE", want: options{Name: "demo", Dry: true}},
		"boolean needs a value":              {args: "-n|demo|--dryrun", err: "argument --dryrun: expected one argument"},
		"switch with value":                  {args: "-n|demo|--wait=1", err: "argument --wait: ignored explicit argument '1'"},
		"choice":                             {args: "-n|demo|--status|B", want: options{Name: "demo", Status: "B"}},
		"wrong choice":                       {args: "-n|demo|--status|it's", err: `argument --status: invalid choice: "it's" (choose from 'A', 'B')`},
		"pattern":                            {args: "-n|x", err: "Bad Request: 'x' does not match '^[a-zA-Z][a-zA-Z0-9-]+$' - 'cluster-name'"},
		"unknown things":                     {args: "a|--bogus|b|-n|demo|-Z|c=d", want: options{Name: "demo"}, unknown: []string{"a", "--bogus", "b", "-Z", "c=d"}},
		"unknown option with several dashes": {args: "-n|demo|--x=y|--", want: options{Name: "demo"}, unknown: []string{"--x=y", "--"}},
		"after --":                           {args: "-n|demo|--|--wait|-n", want: options{Name: "demo"}, unknown: []string{"--", "--wait", "-n"}},
		"help":                               {args: "-h", err: "help"},
		"help with more":                     {args: "-hx", err: "help"},
		"help after a mistake":               {args: "-n|x|-h", err: "Bad Request: 'x' does not match '^[a-zA-Z][a-zA-Z0-9-]+$' - 'cluster-name'"},
	} {
		t.Run(name, func(t *testing.T) {
			var got options
			cmd := &cobra.Command{Use: "x"}
			begin(cmd)
			clusterName(cmd, &got.Name)
			flags := cmd.Flags()
			flags.Var(manyChoices(new([]string), []string{"A", "B"}), "cluster-status", "")
			flags.Var(manyPatterns(&got.Many, "suppress-validators", `^(ALL|type:[A-Za-z0-9]+)$`), "suppress-validators", "")
			flags.Var(&boolValue{"dryrun", &got.Dry}, "dryrun", "")
			flags.Var(&choiceValue{[]string{"A", "B"}, &got.Status}, "status", "")
			flags.Var((*textValue)(&got.Query), "query", "")
			waitOption(cmd, &got.Wait, "")
			unknown, err := parseArgs(flags, strings.Split(tt.args, "|"))
			if tt.err != "" {
				if err == nil || err.Error() != tt.err {
					t.Errorf("got error %v\nwant      %s", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tt.unknown, unknown); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{
		"plain": `'plain'`, "it's": `"it's"`, `both ' and "`: `'both \' and "'`, "a\nb": `'a\nb'`, `back\slash`: `'back\\slash'`, "\x01": `'\x01'`,
	} {
		if got := quote(in); got != want {
			t.Errorf("quote(%q) = %s, want %s", in, got, want)
		}
	}
}
