package record

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func numbered(i int) Entry {
	return Entry{Time: noon.Add(time.Duration(i) * time.Second), What: Asked, Nodes: fmt.Sprintf("q-dy-c-%d", i), Jobs: []string{"7"}}
}

func read(t *testing.T, path string) []Entry {
	t.Helper()
	all, err := Read(path, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestEntriesComeBackAfterARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "record")
	want := []Entry{
		{
			Time: noon, What: Assigned, Nodes: "q-dy-c-1", Jobs: []string{"1", "2"}, Instances: map[string]string{"i-1": "q-dy-c-1"},
			Queue: "q", Resource: "c", Token: "t", Types: []string{"c5.large"}, Subnets: []string{"subnet-1"}, Count: 1, Min: 1,
			Code: "X", Class: "other-failures", Message: "m", Why: "w", Until: noon.Add(time.Minute), Steps: []string{"slurmd"},
			Took: map[string]float64{"munge": 0.5},
		},
		numbered(1),
	}
	for _, e := range want { // a process each
		r := File{Path: path}
		if err := r.Add(e); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, read(t, path)); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

func TestRecordIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "record")
	r := File{Path: path, Max: 1000, Keep: 2}
	const n = 200
	for i := range n {
		if err := r.Add(numbered(i)); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 3 {
		t.Errorf("files: %v, want the current one and 2 older", files)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err != nil || info.Size() > 1000 {
			t.Errorf("%s: %v bytes, %v", f, info.Size(), err)
		}
	}
	all := read(t, path)
	for i, e := range all {
		if diff := cmp.Diff(numbered(n-len(all)+i), e); diff != "" {
			t.Fatalf("entry %d of %d (-want +got):\n%s", i, len(all), diff)
		}
	}
	if len(all) < 20 {
		t.Errorf("only %d entries are left", len(all))
	}
}

func TestHalfALineCostsNothingElse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "record")
	if err := (&File{Path: path}).Add(numbered(1)); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(data, data[:len(data)/2]...), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := (&File{Path: path}).Add(numbered(2)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Entry{numbered(1), numbered(2)}, read(t, path)); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

func TestReadSince(t *testing.T) {
	path := filepath.Join(t.TempDir(), "record")
	if err := (&File{Path: path}).Add(numbered(1), numbered(2), numbered(3)); err != nil {
		t.Fatal(err)
	}
	all, err := Read(path, noon.Add(2*time.Second))
	if err != nil || len(all) != 2 {
		t.Errorf("%v, %v, want the last two", all, err)
	}
}

func TestNoRecordIsEmpty(t *testing.T) {
	if all := read(t, filepath.Join(t.TempDir(), "record")); len(all) != 0 {
		t.Errorf("%v", all)
	}
	var none *File
	if err := none.Add(numbered(1)); err != nil {
		t.Error(err)
	}
}

func TestUnwritableRecordSaysSo(t *testing.T) {
	err := (&File{Path: filepath.Join(t.TempDir(), "missing", "record")}).Add(numbered(1))
	if err == nil || !strings.Contains(err.Error(), "record of the fleet") {
		t.Errorf("error: %v", err)
	}
}
