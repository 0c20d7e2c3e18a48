package fleet

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/aws/smithy-go"
	"golang.org/x/sys/unix"

	"pcluster/internal/slurm"
)

// What slurmctld asks for that is no node of the cluster file is refused, and so is the job
// that can't be whole without it; others get their nodes.
func TestNodesThatAreNotOursAreRefused(t *testing.T) {
	s := newStory(t, AllOrNothing)
	s.step(Observed{Resumed: []Request{request(
		slurm.Job{ID: "7", Nodes: []string{"q-dy-a-1", "workstation7"}},
		slurm.Job{ID: "8", Nodes: []string{"q-dy-zz-1", "q-dy-a-2"}},
		slurm.Job{ID: "9", Nodes: []string{"q-dy-b-1", "q-dy-b-2"}},
	)}})
	s.expect("launches", s.launched(), []string{"q-dy-b-[1-2] min 2"})
	codes := make(map[string]string)
	for _, f := range s.do.Failed {
		codes[f.Node] = f.Code
	}
	s.expect("failures", codes, map[string]string{
		"workstation7": invalidNodeName, "q-dy-zz-1": invalidNodeName, "q-dy-a-1": LimitedCapacity, "q-dy-a-2": LimitedCapacity,
	})
}

// A memory that can't be written leaves the one on disk as it was.
func TestADiskThatIsFull(t *testing.T) {
	if dir := os.Getenv("FLEET_TEST_FULL_DISK"); dir != "" {
		// In a process of its own: the limit holds for all of it.
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 4096, Max: 4096}); err != nil {
			t.Fatal(err)
		}
		f := stateFile{path: filepath.Join(dir, "fleet.json")}
		mem, err := f.load(noon)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 1000 {
			mem.Ending[fmt.Sprintf("i-%017d", i)] = noon
		}
		if err := f.save(mem); err == nil {
			t.Error("it was written")
		}
		return
	}
	dir := t.TempDir()
	f := stateFile{path: filepath.Join(dir, "fleet.json")}
	mem := NewMemory(noon).clone()
	mem.Ending["i-1"] = noon
	if err := f.save(mem); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(f.path)
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestADiskThatIsFull$", "-test.count=1")
	child.Env = append(os.Environ(), "FLEET_TEST_FULL_DISK="+dir)
	if out, err := child.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	after, err := os.ReadFile(f.path)
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the memory on disk became %q, %v", after, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".fleet-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// The role of a customer may not let the table be read: the fleet does without.
func TestATableThatMayNotBeReadIsDoneWithout(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 3)
	h.registry.table["q-dy-a-1"] = "i-old"
	h.registry.refusal = fmt.Errorf("names: %w", &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "not authorized to perform: dynamodb:BatchGetItem"})
	h.start()
	h.resume()
	h.until("addresses in Slurm", func() bool { return h.slurm.node("q-dy-a-2").Addr != "q-dy-a-2" })
	h.stop()
	mem, err := (&stateFile{path: filepath.Join(h.dir, "fleet.json")}).load(noon)
	if err != nil || !mem.Recalled || len(mem.Recorded) != 0 || len(mem.Assigned) != 2 {
		t.Errorf("the memory is %+v, %v", mem, err)
	}
}
