package conformance

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pcluster/internal/node/awsb"
)

// jobCommands is the real package of the commands for jobs of AWS Batch.
const jobCommands = "aws-parallelcluster-awsbatch-cli==1.6.0"

// parsers prints the options and operands of the real commands.
const parsers = `
import argparse, importlib, json, sys
out = {}
for name in sys.argv[1:]:
    for a in importlib.import_module("awsbatch." + name)._get_parser()._actions:
        if "-h" in a.option_strings:
            continue
        out.setdefault(name, []).append({"Flags": sorted(a.option_strings) or [a.dest], "Switch": a.nargs == 0, "Many": isinstance(a, argparse._AppendAction),
            "Required": not a.option_strings and a.nargs in (None, "+"), "Hidden": a.help == argparse.SUPPRESS})
json.dump(out, sys.stdout)
`

// batchPython returns the interpreter of the real commands.
func batchPython(t *testing.T) string {
	t.Helper()
	venv := filepath.Join("..", "..", ".cache", "awsb", "venv")
	path := filepath.Join(venv, "bin", "python")
	if exec.Command(path, "-c", "import awsbatch").Run() == nil {
		return path
	}
	if !*install {
		t.Skip("SKIPPED: the real commands for jobs are not installed; `make conformance` does that")
	}
	for _, command := range [][]string{
		{"python3", "-m", "venv", "--clear", venv},
		{path, "-m", "pip", "install", "-q", "--disable-pip-version-check", jobCommands},
	} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Skipf("SKIPPED: the real commands for jobs can't be had here: %s: %v\n%s", strings.Join(command, " "), err, out)
		}
	}
	return path
}

var jobOption = regexp.MustCompile(`(?m)^  (-\w+), (--[\w-]+)( [A-Z_]+)?  `)

// Ours take every option of the real commands, in both its forms, with and without value,
// and show what those show. What has to be given is the same, too.
func TestCommandsForJobsHaveTheSameOptions(t *testing.T) {
	t.Setenv("HOME", t.TempDir()) // which says nothing of a cluster
	out, err := exec.Command(batchPython(t), append([]string{"-c", parsers}, awsb.Commands...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	var theirs map[string][]option
	if err := json.Unmarshal(out, &theirs); err != nil {
		t.Fatal(err)
	}
	for _, name := range awsb.Commands {
		var help, complaint strings.Builder
		if status := awsb.Run(t.Context(), name, []string{"--help"}, &help, &complaint); status != 0 {
			t.Fatalf("%s --help: %d: %s", name, status, &complaint)
		}
		shown := map[string]bool{} // whether it has a value
		for _, m := range jobOption.FindAllStringSubmatch(help.String(), -1) {
			shown[m[2]+" "+m[1]] = m[3] == ""
		}
		delete(shown, "--help -h")
		want, required := map[string]bool{}, false
		for _, o := range theirs[name] {
			if !strings.HasPrefix(o.Flags[0], "-") {
				required = required || o.Required
				continue
			}
			if !o.Hidden {
				want[strings.Join(o.Flags, " ")] = o.Switch
			}
			// An option that exists is not what is complained of.
			for _, flag := range o.Flags {
				complaint.Reset()
				args := []string{flag}
				if !o.Switch {
					args = append(args, "1")
				}
				awsb.Run(t.Context(), name, append(args, "--no-such-option"), &help, &complaint)
				if said := complaint.String(); !strings.HasSuffix(said, "unrecognized arguments: --no-such-option\n") {
					t.Errorf("%s %s: %s", name, flag, said)
				}
			}
		}
		if diff := cmp.Diff(want, shown); diff != "" {
			t.Errorf("options of %s; true: without value (-real +ours):\n%s", name, diff)
		}
		complaint.Reset()
		awsb.Run(t.Context(), name, nil, &help, &complaint)
		if got := strings.Contains(complaint.String(), "arguments are required"); got != required {
			t.Errorf("%s without operands, which the real one requires (%v): %s", name, required, &complaint)
		}
	}
}
