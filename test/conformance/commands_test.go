// Package conformance compares our command line with that of the real
// ParallelCluster: every command with its options, and what it says about
// mistakes in arguments.
//
// The real one is installed into .cache by `make conformance`; without it, the
// tests are skipped.
package conformance

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// release is the real package that we compare with.
const release = "3.16.1"

var install = flag.Bool("install", false, "install the real ParallelCluster into .cache")

// python returns the interpreter of the real package.
func python(t *testing.T) string {
	t.Helper()
	for _, dir := range []string{"peer", "pcluster"} {
		if path := filepath.Join("..", "..", ".cache", dir, "venv", "bin", "python"); exec.Command(path, "-c", "import pcluster").Run() == nil {
			return path
		}
	}
	if !*install {
		t.Skip("SKIPPED: the real ParallelCluster is not installed; `make conformance` does that")
	}
	venv := filepath.Join("..", "..", ".cache", "pcluster", "venv")
	path := filepath.Join(venv, "bin", "python")
	for _, command := range [][]string{
		{"python3", "-m", "venv", "--clear", venv},
		{path, "-m", "pip", "install", "-q", "--disable-pip-version-check", "aws-parallelcluster==" + release},
	} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Skipf("SKIPPED: the real ParallelCluster can't be had here: %s: %v\n%s", strings.Join(command, " "), err, out)
		}
	}
	return path
}

// An option is what a command takes.
type option struct {
	Flags    []string
	Required bool
	Switch   bool
	Many     bool
	Choices  []string
	Hidden   bool
}

// An answer is what a program says and how it ends.
type answer struct {
	Status         int
	Stdout, Stderr string
}

type real struct {
	Commands map[string][]option
	Answers  []answer
}

// environment lets neither program reach AWS or a configuration of the user's.
func environment(t *testing.T) []string {
	home := t.TempDir()
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "AWS_DEFAULT_REGION=us-east-1", "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY=secret",
		"AWS_ENDPOINT_URL=http://127.0.0.1:1", "AWS_MAX_ATTEMPTS=1", "AWS_EC2_METADATA_DISABLED=true", "COLUMNS=80", "PYTHONDONTWRITEBYTECODE=1",
	}
}

func askReal(t *testing.T, lines []string) real {
	t.Helper()
	var vectors [][]string
	for _, line := range lines {
		vectors = append(vectors, words(line))
	}
	input, err := json.Marshal(append([][]string{}, vectors...))
	if err != nil {
		t.Fatal(err)
	}
	path, err := filepath.Abs(python(t))
	if err != nil {
		t.Fatal(err)
	}
	driver, err := filepath.Abs("driver.py")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, driver)
	cmd.Dir, cmd.Env, cmd.Stdin = "testdata", environment(t), bytes.NewReader(input)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, complaints.String())
	}
	var r real
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return r
}

// words splits a line at blanks; ” is an empty word.
func words(line string) []string {
	list := strings.Fields(line)
	for i, w := range list {
		if w == "''" {
			list[i] = ""
		}
	}
	return list
}

// program builds ours.
func program(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pcluster")
	if out, err := exec.Command("go", "build", "-o", path, "../../cmd/pcluster").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

func ask(t *testing.T, program string, env []string, args ...string) answer {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Env = "testdata", env
	var out, err bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &err
	failure := cmd.Run()
	status := 0
	if exit, ok := errors.AsType[*exec.ExitError](failure); ok {
		status = exit.ExitCode()
	} else if failure != nil {
		t.Fatal(failure)
	}
	return answer{status, out.String(), err.String()}
}

// explained are options in which we differ, and why.
var explained = map[string]string{
	"create-cluster --wait": "shown in our help",
	"update-cluster --wait": "shown in our help",
	"delete-cluster --wait": "shown in our help",
}

var optionLine = regexp.MustCompile(`^  (-\w, )?--([\w-]+)( .*)?$`)

// optionsOf reads the options of one of our commands from its help.
func optionsOf(help string) []option {
	usage, rest, _ := strings.Cut(help, "\n\n")
	_, rest, _ = strings.Cut(rest, "\noptions:\n")
	rest, _, _ = strings.Cut(rest, "\n\n")
	usage = strings.Join(strings.Fields(usage), " ")
	var list []option
	for line := range strings.Lines(rest) {
		m := optionLine.FindStringSubmatch(strings.TrimRight(line, "\n"))
		if m == nil {
			continue
		}
		long, short, value := "--"+m[2], strings.TrimSuffix(m[1], ", "), strings.TrimSpace(m[3])
		o := option{Flags: []string{long}, Switch: value == "", Many: strings.Contains(value, " ["), Choices: []string{}}
		shown := long
		if short != "" {
			o.Flags = append(o.Flags, short)
			shown = short
		}
		slices.Sort(o.Flags)
		o.Required = !strings.Contains(usage+" ", "["+shown+" ") && !strings.Contains(usage, "["+shown+"]")
		if first, _, _ := strings.Cut(value, " "); strings.HasPrefix(first, "{") {
			o.Choices = strings.Split(strings.Trim(first, "{}"), ",")
		}
		list = append(list, o)
	}
	return list
}

func TestCommandsHaveTheSameOptions(t *testing.T) {
	theirs := askReal(t, nil)
	ours, env := program(t), environment(t)
	if len(theirs.Commands) < 26 {
		t.Fatalf("the real one has only %d commands", len(theirs.Commands))
	}
	byName := func(list []option) map[string]option {
		m := map[string]option{}
		for _, o := range list {
			m[o.Flags[0]] = o // the long one: - sorts before letters
		}
		return m
	}
	used := map[string]bool{}
	for command, list := range theirs.Commands {
		t.Run(command, func(t *testing.T) {
			help := ask(t, ours, env, command, "--help")
			if help.Status != 0 {
				t.Fatalf("no such command of ours: %+v", help)
			}
			want, got := byName(list), byName(optionsOf(help.Stdout))
			for name := range got {
				if _, ok := want[name]; !ok {
					t.Errorf("the real one has no %s", name)
				}
			}
			for name, w := range want {
				if explained[command+" "+name] != "" {
					used[command+" "+name] = true
					w.Hidden = false
				}
				if diff := cmp.Diff(w, got[name]); diff != "" {
					t.Errorf("%s (-real +ours):\n%s", name, diff)
				}
			}
		})
	}
	for name := range explained {
		if !used[name] {
			t.Errorf("%s is explained, but there is no such option", name)
		}
	}
}

// TestMistakesAreAnsweredAlike compares exit status, what is printed on standard
// output and the last line of standard error.
func TestMistakesAreAnsweredAlike(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "mistakes.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			lines = append(lines, line)
		}
	}
	theirs := askReal(t, lines)
	ours, env := program(t), environment(t)
	for i, line := range lines {
		want, got := theirs.Answers[i], ask(t, ours, env, words(line)...)
		if got.Status != want.Status {
			t.Errorf("%s: exit status %d, the real one's is %d\nours: %+v\nreal: %+v", line, got.Status, want.Status, got, want)
			continue
		}
		if diff := cmp.Diff(comparable(want), comparable(got)); diff != "" {
			t.Errorf("%s (-real +ours):\n%s", line, diff)
		}
	}
}

// comparable leaves out of an answer what need not be alike: usage, which names
// our options in our order, and help.
func comparable(a answer) answer {
	keep := func(text string) string {
		var kept []string
		usage := false
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "usage: ") {
				usage = true
				continue
			}
			if usage && (strings.HasPrefix(line, " ") || strings.TrimSpace(line) == "") {
				continue
			}
			usage = false
			kept = append(kept, strings.TrimRight(line, " \n"))
		}
		return strings.Join(kept, "\n")
	}
	a.Stdout, a.Stderr = keep(a.Stdout), keep(a.Stderr)
	return a
}
