package cli

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os/exec"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"pcluster/internal/cluster"
)

// argparse is a parser with the options of the test below, which reads lists of
// arguments from stdin and tells what it makes of each.
const argparse = `
import argparse, json, sys

class Said(Exception): pass

class Parser(argparse.ArgumentParser):
    def error(self, message): raise Said("usage: " + message)
    def print_help(self, file=None): raise Said("help")

def boolean(s):
    if s in ("true", "True", "TRUE"): return True
    if s in ("false", "False", "FALSE"): return False
    raise Said("answer")

p = Parser(prog="x")
p.add_argument("-n", "--cluster-name", required=True)
p.add_argument("--cluster-status", nargs="+", choices=["A", "B"])
p.add_argument("--suppress-validators", nargs="+")
p.add_argument("--dryrun", type=boolean)
p.add_argument("--status", choices=["A", "B"])
p.add_argument("--query")
p.add_argument("--wait", action="store_true")
for line in sys.stdin:
    try:
        a, unknown = p.parse_known_args(json.loads(line))
        out = {"Name": a.cluster_name, "Statuses": a.cluster_status, "Many": a.suppress_validators, "Dry": bool(a.dryrun),
               "Status": a.status or "", "Query": a.query or "", "Wait": a.wait, "Unknown": unknown or None, "Said": ""}
    except Said as s:
        out = {"Name": "", "Statuses": None, "Many": None, "Dry": False, "Status": "", "Query": "", "Wait": False, "Unknown": None, "Said": str(s)}
    print(json.dumps(out))
`

type parsed struct {
	Name           string
	Statuses, Many []string
	Dry            bool
	Status, Query  string
	Wait           bool
	Unknown        []string
	Said           string
}

// TestArgumentsAgainstArgparse lets Python judge how arguments are read.
func TestArgumentsAgainstArgparse(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip(err)
	}
	if exec.Command(python, "-c", "import sys; sys.exit(sys.version_info >= (3, 12))").Run() != nil {
		t.Skip("argparse has changed its words since")
	}
	words := []string{
		"-n", "--cluster-name", "--cluster-n", "--cluster", "-ndemo", "-n=demo", "--cluster-name=demo", "--cluster-name=", "--cluster-status", "--cluster-s", "--cluster-status=A",
		"--suppress-validators", "--sup", "--dryrun", "--dry", "--dryrun=true", "--status", "--stat=B", "--query", "--q=a=b", "--query=--wait", "--wait", "--w", "--wait=1",
		"demo", "demo", "A", "B", "C", "true", "maybe", "type:X", "-", "-1", "-1.5", "-a b", "--no such", "", "x=y", "-z", "--zz", "--zz=1", "-h", "--help", "--he", "it's", "-i", "key.pem",
	}
	random := rand.New(rand.NewPCG(1, 2))
	var input bytes.Buffer
	var vectors [][]string
	enc := json.NewEncoder(&input)
	for range 4000 {
		args := []string{}
		if random.IntN(3) > 0 {
			args = append(args, "-n", "demo")
		}
		for range random.IntN(6) {
			args = append(args, words[random.IntN(len(words))])
		}
		vectors = append(vectors, args)
		if err := enc.Encode(args); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(python, "-c", argparse)
	cmd.Stdin = &input
	output, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(output))
	failures := 0
	for _, args := range vectors {
		var want parsed
		if err := dec.Decode(&want); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, parse(args)); diff != "" {
			t.Errorf("%q (-argparse +ours):\n%s", args, diff)
			if failures++; failures > 5 {
				t.FailNow()
			}
		}
	}
}

func parse(args []string) parsed {
	var got parsed
	cmd := &cobra.Command{Use: "x"}
	begin(cmd)
	flags := cmd.Flags()
	flags.VarP((*textValue)(&got.Name), "cluster-name", "n", "")
	require(cmd, "cluster-name")
	flags.Var(manyChoices(&got.Statuses, []string{"A", "B"}), "cluster-status", "")
	flags.Var(manyPatterns(&got.Many, "suppress-validators", ""), "suppress-validators", "")
	flags.Var(&boolValue{"dryrun", &got.Dry}, "dryrun", "")
	flags.Var(&choiceValue{[]string{"A", "B"}, &got.Status}, "status", "")
	flags.Var((*textValue)(&got.Query), "query", "")
	waitOption(cmd, &got.Wait, "")
	unknown, err := parseArgs(flags, args)
	if err == nil {
		got.Unknown = unknown
		return got
	}
	switch err := err.(type) {
	case *usageError:
		return parsed{Said: "usage: " + err.text}
	case *cluster.Error:
		return parsed{Said: "answer"}
	}
	return parsed{Said: err.Error()}
}
