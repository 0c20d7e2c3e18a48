package logs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
)

// fakeLogs is a log group that keeps what it gets.
type fakeLogs struct {
	streams map[string][]string
	down    bool
}

var errDown = errors.New("connection refused")

func (f *fakeLogs) CreateLogStream(_ context.Context, in *cloudwatchlogs.CreateLogStreamInput, _ ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.CreateLogStreamOutput, error) {
	if f.down {
		return nil, errDown
	}
	if _, ok := f.streams[*in.LogStreamName]; ok {
		return nil, &smithy.GenericAPIError{Code: "ResourceAlreadyExistsException"}
	}
	f.streams[*in.LogStreamName] = nil
	return &cloudwatchlogs.CreateLogStreamOutput{}, nil
}

func (f *fakeLogs) PutLogEvents(_ context.Context, in *cloudwatchlogs.PutLogEventsInput, _ ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.PutLogEventsOutput, error) {
	if f.down {
		return nil, errDown
	}
	size := 0
	for _, e := range in.LogEvents {
		if *e.Message == "" {
			return nil, &smithy.GenericAPIError{Code: "InvalidParameterException"}
		}
		size += len(*e.Message) + 26
		f.streams[*in.LogStreamName] = append(f.streams[*in.LogStreamName], *e.Message)
	}
	if size > 1_048_576 || len(in.LogEvents) > 10_000 {
		return nil, &smithy.GenericAPIError{Code: "InvalidParameterException"}
	}
	return &cloudwatchlogs.PutLogEventsOutput{}, nil
}

// node is a shipper of one file with a log group behind it.
type node struct {
	t    *testing.T
	path string
	api  *fakeLogs
	opt  Options
	s    *shipper
}

func newNode(t *testing.T) *node {
	dir := t.TempDir()
	n := &node{t: t, path: filepath.Join(dir, "slurmctld.log"), api: &fakeLogs{streams: map[string][]string{}}}
	n.opt = Options{API: n.api, Group: "g", Hostname: "ip-10-0-1-5", InstanceID: "i-1", State: filepath.Join(dir, "state", "logs.json"),
		Files: []File{{n.path, "slurmctld"}}}
	n.restart()
	return n
}

func (n *node) restart() {
	s, err := newShipper(n.opt)
	if err != nil {
		n.t.Fatal(err)
	}
	n.s = s
}

func (n *node) write(text string) {
	f, err := os.OpenFile(n.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		n.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) pass() {
	n.t.Helper()
	if err := n.s.pass(n.t.Context()); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) want(lines ...string) {
	n.t.Helper()
	if diff := cmp.Diff(lines, n.api.streams["ip-10-0-1-5.i-1.slurmctld"]); diff != "" {
		n.t.Errorf("stream (-want +got):\n%s", diff)
	}
}

func TestLinesArriveOnceOverRestartAndRotation(t *testing.T) {
	n := newNode(t)
	n.pass() // no file yet
	n.write("one\n\ntwo\nunfini")
	n.pass()
	n.want("one", "two")
	n.restart()
	n.write("shed\n")
	n.pass()
	n.want("one", "two", "unfinished")

	n.write("before rotation\nlast words")
	if err := os.Rename(n.path, n.path+".1"); err != nil {
		t.Fatal(err)
	}
	n.write("after\n")
	n.pass()
	n.want("one", "two", "unfinished", "before rotation", "last words", "after")

	if err := os.Truncate(n.path, 0); err != nil { // logrotate's copytruncate
		t.Fatal(err)
	}
	n.write("new\n")
	n.pass()
	n.want("one", "two", "unfinished", "before rotation", "last words", "after", "new")
}

func TestNothingIsLostWhileTheEndpointIsAway(t *testing.T) {
	n := newNode(t)
	n.api.down = true
	n.write("one\n")
	if err := n.s.pass(t.Context()); !errors.Is(err, errDown) {
		t.Errorf("pass: %v, want the endpoint's error", err)
	}
	n.write("two\n")
	n.api.down = false
	n.pass()
	n.want("one", "two")
}

func TestBatchesKeepAWSLimits(t *testing.T) {
	n := newNode(t)
	n.write(strings.Repeat(strings.Repeat("x", 100)+"\n", 15_000) + strings.Repeat("y", 600_000) + "\n")
	n.pass()
	got := n.api.streams["ip-10-0-1-5.i-1.slurmctld"]
	if len(got) != 15_003 {
		t.Fatalf("%d events, want 15,000 lines and one cut into three", len(got))
	}
	if joined := strings.Join(got[15_000:], ""); joined != strings.Repeat("y", 600_000) {
		t.Errorf("the long line arrived with %d bytes", len(joined))
	}
}

func TestFilesOfAPatternShareAStream(t *testing.T) {
	n := newNode(t)
	dir := filepath.Dir(n.path)
	n.opt.Files = []File{{filepath.Join(dir, "agent.*.log"), "dcv-agent"}}
	n.restart()
	n.pass() // none yet
	n.path = filepath.Join(dir, "agent.alice.log")
	n.write("of alice\n")
	n.pass()
	n.write("and more\n")
	gone := n.path
	n.path = filepath.Join(dir, "agent.bob.log")
	n.write("of bob\n")
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	n.pass()
	if diff := cmp.Diff(map[string][]string{"ip-10-0-1-5.i-1.dcv-agent": {"of alice", "of bob", "and more"}}, n.api.streams); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if len(n.s.open) != 1 {
		t.Errorf("%d files are held", len(n.s.open))
	}
}
