// Package cfnlint has cfn-lint, with AWS's own schemas of resource types, judge the
// templates of every file under examples, and of a corpus in which every key of
// the language appears with each of its kinds of values.
//
// `make cfnlint` installs cfn-lint into .cache; without it, linting is skipped.
package cfnlint

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// release is the cfn-lint that judges.
const release = "1.58.0"

// defaultRegion is that of files which name none. It has most kinds of instances.
const defaultRegion = "us-east-2"

var install = flag.Bool("install", false, "install cfn-lint into .cache")

// A suppression is a finding that is right as such but not for us.
type suppression struct {
	rule  string
	about *regexp.Regexp // the place in the template, with dots between steps
	why   string
}

var suppressions = []suppression{
	{"W2001", regexp.MustCompile(`^Parameters\.(ArtifactS3RootDirectory|ClusterCWLogGroup|ClusterDNSDomain|ClusterUser|ConfigVersion|OfficialAmi|ResourcesS3Bucket|Scheduler)$`),
		"commands read these parameters back from the stack: they are how it remembers its cluster"},
	{"W3010", regexp.MustCompile(`^Resources\.(EBS|RAID)\w+\.Properties\.AvailabilityZone$`),
		"a volume has to be in the zone of the head node, whose subnet the file names"},
}

// A finding is what cfn-lint says about a place in a template.
type finding struct {
	Filename string
	Message  string
	Rule     struct{ ID string }
	Location struct{ Path []any }
}

func (f finding) place() string {
	var steps []string
	for _, s := range f.Location.Path {
		steps = append(steps, fmt.Sprint(s))
	}
	return strings.Join(steps, ".")
}

// linter returns the program, installed if that is wanted.
func linter(t *testing.T) string {
	t.Helper()
	root := filepath.Join("..", "..", "..", ".cache", "cfnlint")
	path := filepath.Join(root, "bin", "cfn-lint")
	if out, err := exec.Command(path, "--version").Output(); err == nil && strings.TrimSpace(string(out)) == "cfn-lint "+release {
		return path
	}
	if !*install {
		t.Skip("SKIPPED: cfn-lint is not installed; `make cfnlint` does that")
	}
	for _, command := range [][]string{
		{"python3", "-m", "venv", "--clear", root},
		{filepath.Join(root, "bin", "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", "cfn-lint==" + release},
	} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Skipf("SKIPPED: cfn-lint can't be had here: %s: %v\n%s", strings.Join(command, " "), err, out)
		}
	}
	return path
}

// lint judges templates of a region, in one process for each processor.
func lint(t *testing.T, program, region string, list []string) []finding {
	t.Helper()
	shares := make([][]string, min(runtime.NumCPU(), len(list)))
	for i, f := range list {
		shares[i%len(shares)] = append(shares[i%len(shares)], f)
	}
	var (
		mu  sync.Mutex
		wg  sync.WaitGroup
		all []finding
	)
	for _, share := range shares {
		wg.Go(func() {
			var stderr bytes.Buffer
			cmd := exec.Command(program, append([]string{"--format", "json", "--regions", region, "--"}, share...)...)
			cmd.Stderr = &stderr
			out, err := cmd.Output() // an error also if there are findings
			var found []finding
			if jerr := json.Unmarshal(out, &found); jerr != nil {
				t.Errorf("cfn-lint: %v, %v\n%s", err, jerr, stderr.Bytes())
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, found...)
		})
	}
	wg.Wait()
	return all
}

// examples returns all cluster files under examples, and the image file of the seed.
func examples(t *testing.T) []file {
	var out []file
	root := filepath.Join("..", "..", "..", "examples")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !slices.Contains([]string{".yaml", ".yml"}, filepath.Ext(path)) {
			return err
		}
		data, err := os.ReadFile(path)
		if err == nil && bytes.Contains(data, []byte("\nHeadNode:")) {
			name, _ := filepath.Rel(root, path)
			out = append(out, file{"examples-" + strings.ReplaceAll(strings.TrimSuffix(name, filepath.Ext(name)), string(filepath.Separator), "-"), data})
		}
		return err
	})
	if err != nil || len(out) == 0 {
		t.Fatal("no examples", err)
	}
	seed, err := os.ReadFile(filepath.Join("..", "..", "e2e", "testdata", "image", "seed-config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return append(out, file{"image-of-the-seed", seed})
}

func TestTemplatesAreCleanToCfnLint(t *testing.T) {
	program := linter(t)
	files := examples(t)
	for _, l := range languages {
		made, _ := l.corpus(t)
		files = append(files, made...)
	}

	dir := t.TempDir()
	written := map[[sha256.Size]byte]bool{}
	byRegion := map[string][]string{}
	for _, f := range files {
		region := regionOf(f)
		for id, body := range templates(t, f) {
			if sum := sha256.Sum256(body); !written[sum] {
				written[sum] = true
				path := filepath.Join(dir, f.name+"."+id+".json")
				if err := os.WriteFile(path, body, 0o644); err != nil {
					t.Fatal(err)
				}
				byRegion[region] = append(byRegion[region], path)
			}
		}
	}
	needed := map[string]bool{}
	for region, list := range byRegion {
		slices.Sort(list)
		for _, f := range lint(t, program, region, list) {
			excused := false
			for _, s := range suppressions {
				if s.rule == f.Rule.ID && s.about.MatchString(f.place()) {
					excused, needed[s.rule] = true, true
				}
			}
			if !excused {
				t.Errorf("%s: %s: %s %.300s", filepath.Base(f.Filename), f.place(), f.Rule.ID, f.Message)
			}
		}
	}
	for _, s := range suppressions {
		if !needed[s.rule] {
			t.Errorf("nothing needs the suppression of %s any more", s.rule)
		}
	}
	t.Logf("%d files, %d templates", len(files), len(written))
}

// The linter is not blind: it sees a property that does not exist, a reference to
// nothing, and a value that AWS does not take.
func TestLinterSeesMistakes(t *testing.T) {
	program := linter(t)
	good := templates(t, examples(t)[0])["Cluster"]
	dir := t.TempDir()
	var list []string
	for name, change := range map[string][2]string{
		"E3002": {`"SourceDestCheck"`, `"SourceDestChecks"`},
		"E1020": {`{"Ref":"HeadNode"}`, `{"Ref":"HeadNodes"}`},
		"E3030": {`"GreaterThanThreshold"`, `"GreaterThan"`},
	} {
		wrong := bytes.Replace(good, []byte(change[0]), []byte(change[1]), 1)
		if bytes.Equal(wrong, good) {
			t.Fatalf("the template has no %s", change[0])
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, wrong, 0o644); err != nil {
			t.Fatal(err)
		}
		list = append(list, path)
	}
	seen := map[string]bool{}
	for _, f := range lint(t, program, defaultRegion, list) {
		seen[filepath.Base(f.Filename)] = seen[filepath.Base(f.Filename)] || f.Rule.ID == filepath.Base(f.Filename)
	}
	for _, path := range list {
		if rule := filepath.Base(path); !seen[rule] {
			t.Errorf("%s is not reported", rule)
		}
	}
}
