package fleet

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// Tests are named in docs/fleet.md with their place, `TestX` (place) or `TestX`, place; or
// without one if they are this package's.
var namedTest = regexp.MustCompile("`((?:Test|Fuzz|Benchmark)[A-Z]\\w*)`(?: \\(([a-z][a-z0-9/]*)[),:]|, ([a-z][a-z0-9/]*)[;),])?")

func TestTestsInTheDocumentationExist(t *testing.T) {
	const root = "../.."
	text, err := os.ReadFile(filepath.Join(root, "docs", "fleet.md"))
	if err != nil {
		t.Fatal(err)
	}
	named := namedTest.FindAllSubmatch(text, -1)
	for _, m := range named {
		name, place := string(m[1]), string(m[2])+string(m[3])
		dirs := []string{"."}
		if place != "" {
			dirs = []string{filepath.Join(root, "internal", place), filepath.Join(root, place)}
		}
		if !declared(t, name, dirs) {
			t.Errorf("%s is not in %v", name, dirs)
		}
	}
	if len(named) < 60 {
		t.Errorf("only %d names were found", len(named))
	}
}

// declared says whether a test is declared in one of the directories.
func declared(t *testing.T, name string, dirs []string) bool {
	t.Helper()
	for _, dir := range dirs {
		files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			source, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(source, []byte("\nfunc "+name+"(")) {
				return true
			}
		}
	}
	return false
}
