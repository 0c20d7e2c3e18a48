package cli

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pcluster/internal/cluster"
	"pcluster/internal/cluster/clustertest"
	"pcluster/internal/config"
)

func wide(n int) func() (int, bool) { return func() (int, bool) { return n, true } }

func problem(line, column int, message, hint string) config.Problems {
	return config.Problems{{Level: config.Error, Path: "HeadNode", Pos: config.Pos{Line: line, Column: column}, Message: message, Hint: hint}}
}

// A screen is a terminal that knows what the live view uses: new lines, going up
// and erasing what follows.
type screen struct {
	t     *testing.T
	wide  int
	lines []string // the last one is where the cursor is
}

func (s *screen) Write(p []byte) (int, error) {
	text := unstyle(string(p))
	for text != "" {
		if strings.HasPrefix(text, "\x1b[") {
			end := strings.IndexAny(text, "AJ")
			switch text[end] {
			case 'A':
				up := 0
				for _, d := range text[2:end] {
					up = up*10 + int(d-'0')
				}
				if up >= len(s.lines) {
					s.t.Fatalf("up %d of %d lines", up, len(s.lines))
				}
				s.lines = s.lines[:len(s.lines)-up]
			case 'J':
				s.lines[len(s.lines)-1] = ""
			}
			text = text[end+1:]
			continue
		}
		r, size := utf8.DecodeRuneInString(text)
		text = text[size:]
		switch r {
		case '\n':
			if n := utf8.RuneCountInString(s.lines[len(s.lines)-1]); n >= s.wide {
				s.t.Errorf("a line of %d on a terminal of %d: %s", n, s.wide, s.lines[len(s.lines)-1])
			}
			s.lines = append(s.lines, "")
		case '\r':
		default:
			s.lines[len(s.lines)-1] += string(r)
		}
	}
	return len(p), nil
}

func (s *screen) String() string { return strings.Join(s.lines, "\n") }

func TestLiveViewShowsWhatIsGoingOnAndLeavesASummary(t *testing.T) {
	now := clustertest.Noon
	s := &screen{t: t, wide: 100, lines: []string{"$ pcluster create-cluster", ""}}
	p := newLiveProgress(s, wide(80), "demo", cluster.CreateInProgress, func() time.Time { return now })
	event := func(id, kind, status, reason string) {
		now = now.Add(time.Second)
		p.show(cluster.Event{Stack: &cluster.StackEvent{StackID: "arn", LogicalID: id, ResourceType: kind, Status: status, Reason: reason}})
	}
	for _, id := range []string{"A", "B", "C", "D", "E", "F", "G", "WithANameThatIsLongerThanAnyTerminalWouldEverBeWideEnoughToShowInOneLine"} {
		event(id, "AWS::EC2::LaunchTemplate", "CREATE_IN_PROGRESS", "")
	}
	event("A", "AWS::EC2::LaunchTemplate", "CREATE_COMPLETE", "")
	p.show(cluster.Event{Boot: &cluster.BootStep{Step: "storage", Status: "start"}})
	now = now.Add(1500 * time.Millisecond)
	p.show(cluster.Event{Boot: &cluster.BootStep{Step: "storage", Status: "done", Seconds: 1.5, Detail: "2 file systems"}})
	p.show(cluster.Event{Boot: &cluster.BootStep{Step: "slurm", Status: "start"}})

	want := `$ pcluster create-cluster
⠋ Creating cluster demo  CREATE_IN_PROGRESS  1 of 8 resources done  11s
 ⠋ B                                  EC2::LaunchTemplate             8 s
 ⠋ C                                  EC2::LaunchTemplate             8 s
 ⠋ D                                  EC2::LaunchTemplate             6 s
 ⠋ E                                  EC2::LaunchTemplate             6 s
 ⠋ F                                  EC2::LaunchTemplate             4 s
 ⠋ G                                  EC2::LaunchTemplate             4 s
   and 1 more
  Head node
  ✓ storage                               1.5 s  2 file systems
  ⠋ slurm                                 0.0 s
`
	if got := s.String(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}

	event("B", "AWS::EC2::LaunchTemplate", "CREATE_FAILED", "no such key")
	p.show(cluster.Event{Stack: &cluster.StackEvent{StackID: "arn", PhysicalID: "arn", LogicalID: "demo", ResourceType: "AWS::CloudFormation::Stack", Status: "CREATE_FAILED", Reason: "The following resource(s) failed to create: [B]"}})
	p.close()
	p.close()
	want = `$ pcluster create-cluster
✗ CREATE_FAILED        B (EC2::LaunchTemplate): no such key
✗ Creating cluster demo  CREATE_FAILED  11.5s: The following resource(s) failed to create: [B]
`
	if got := s.String(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestLiveViewOnANarrowTerminal(t *testing.T) {
	s := &screen{t: t, wide: 24, lines: []string{""}}
	p := newLiveProgress(s, wide(24), "a-cluster-of-a-long-name", cluster.DeleteInProgress, func() time.Time { return clustertest.Noon })
	for range 3 {
		p.show(cluster.Event{Stack: &cluster.StackEvent{StackID: "arn", LogicalID: "TerminateComputeFleetCustomResource", ResourceType: "AWS::CloudFormation::CustomResource", Status: "DELETE_IN_PROGRESS"}})
		p.show(cluster.Event{Boot: &cluster.BootStep{Step: "a step", Status: "done", Detail: "with much detail"}})
	}
	if strings.Count(s.String(), "\n") != 4 {
		t.Errorf("%s", s)
	}
}

func TestCutStyledCountsWhatIsSeen(t *testing.T) {
	for in, want := range map[string]string{
		"abcde": "abcde", "abcdef": "abcd…", bold + "abcde" + reset: bold + "abcde" + reset,
		bold + "abc" + reset + "def": bold + "abc" + reset + "d…", "": "", "äöüßé": "äöüßé",
	} {
		if got := cutStyled(in, 5); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestLinesSayWhatIsWaitedForAfterASilence(t *testing.T) {
	now := clustertest.Noon
	var b strings.Builder
	p := newLineProgress(&b, func() time.Time { return now })
	event := func(id, status string) {
		p.show(cluster.Event{Time: now, Stack: &cluster.StackEvent{StackID: "arn", LogicalID: id, ResourceType: "AWS::EC2::Instance", Status: status}})
	}
	event("A", "CREATE_IN_PROGRESS")
	event("A", "CREATE_IN_PROGRESS")
	event("B", "CREATE_IN_PROGRESS")
	p.tick()
	now = now.Add(16 * time.Second)
	p.tick()
	now = now.Add(time.Second)
	p.tick()
	event("B", "CREATE_COMPLETE")
	now = now.Add(20 * time.Second)
	p.tick()
	p.close()
	now = now.Add(20 * time.Second)
	p.tick()
	want := `   16.0s waiting for A, B
   17.0s CREATE_COMPLETE      B (EC2::Instance)
   37.0s waiting for A
`
	if b.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
	}
}
