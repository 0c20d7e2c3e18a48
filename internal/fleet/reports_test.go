package fleet

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"pcluster/internal/fleet/record"
	"pcluster/internal/slurm"
)

const risingState slurm.State = "ALLOCATED+CLOUD+NOT_RESPONDING+POWERING_UP"

func says(r Report) Presence {
	r.Cluster, r.Instance = "demo", "i-1"
	return Presence{Report: r, Addr: "10.0.0.1", Changed: noon}
}

func heard(p Presence) *NodesView {
	return &NodesView{Since: noon.Add(-time.Hour), Nodes: map[string]Presence{p.Instance: p}}
}

func TestASpotNoticeSendsJobsAwayBeforeTheAxe(t *testing.T) {
	s := ready(t)
	notice := says(Report{Booted: true, SpotUntil: noon.Add(2 * time.Minute)})
	s.step(Observed{Said: []Presence{notice}})
	s.expect("look at once", s.do.Look, true)
	s.looks("ALLOCATED+CLOUD", Observed{Nodes: heard(notice)})
	s.expect("states", s.states(), "drain")
	s.expect("requeued", s.do.Requeue, []string{"q-dy-a-1"})
	s.expect("ended", len(s.do.Terminate), 0)
	s.looks("IDLE+CLOUD+DRAIN", Observed{Nodes: heard(notice)})
	s.expect("states", s.states(), "power_down_force")
}

func TestASpotNoticeWhileBootingEndsTheNodeAndCountsAsNoFailure(t *testing.T) {
	s := booting(t)
	s.looks(risingState, Observed{Nodes: heard(says(Report{SpotUntil: noon.Add(2 * time.Minute)}))})
	s.expect("states", s.states(), "down power_down_force")
	s.expect("failures", s.mem.Failures["q/a"], 0)
}

func TestABootThatFailedIsBelievedAtOnce(t *testing.T) {
	s := booting(t)
	s.step(Observed{Said: []Presence{says(Report{Failed: "no such volume"})}})
	s.expect("updates", s.do.Nodes, []slurm.NodeUpdate{
		{Nodes: []string{"q-dy-a-1"}, State: "down", Reason: "pcluster: boot failed: no such volume"},
		{Nodes: []string{"q-dy-a-1"}, State: "power_down_force"},
	})
	s.expect("ended", s.do.Terminate, []string{"i-1"})
	s.expect("failures", s.mem.Failures["q/a"], 1)
	s.expect("restart", len(s.do.Restart), 1)
}

func TestOnlyANodeItselfIsBelieved(t *testing.T) {
	s := booting(t)
	liar := says(Report{Failed: "no such volume", SpotUntil: noon})
	liar.Addr = "10.0.0.66"
	s.step(Observed{Said: []Presence{liar}})
	s.expect("states when it is said", s.states(), "")
	s.looks(risingState, Observed{Nodes: heard(liar)})
	s.expect("states", s.states(), "")
	s.expect("ended", len(s.do.Terminate), 0)
}

func TestNodesInServiceAreNotLostByWhatTheySay(t *testing.T) {
	s := ready(t)
	s.step(Observed{Said: []Presence{says(Report{Failed: "a later update"})}})
	s.expect("states", s.states(), "")
	gone := says(Report{Booted: true})
	gone.Left = noon
	s.step(Observed{Said: []Presence{gone}})
	s.expect("states", s.states(), "")
	s.expect("EC2 is asked", s.do.Look, true)
}

func TestBootsThatStandStill(t *testing.T) {
	for name, tt := range map[string]struct {
		says   *Report
		after  time.Duration
		change func(*story)
		want   string // beginning of the reason
	}{
		"a boot that gets on may take long":              {&Report{Steps: []string{"storage"}}, 4 * time.Minute, nil, ""},
		"a step that hangs":                              {&Report{Steps: []string{"mount shared", "names"}}, 6 * time.Minute, nil, "pcluster: its boot stands still at mount shared, names for 5m0s"},
		"no step under way":                              {&Report{}, 6 * time.Minute, nil, "pcluster: its boot stands still between steps for 5m0s"},
		"scripts of the user's take the time they need":  {&Report{Steps: []string{"OnNodeStart"}}, 25 * time.Minute, nil, ""},
		"a boot that is over is Slurm's business":        {&Report{Booted: true}, 25 * time.Minute, nil, ""},
		"the user sets how long a boot may stand still":  {&Report{Steps: []string{"storage"}}, time.Minute, func(s *story) { s.policy.Progress = 30 * time.Second }, "pcluster: its boot stands still at storage for 30s"},
		"or that it may for ever":                        {&Report{Steps: []string{"storage"}}, 25 * time.Minute, func(s *story) { s.policy.Progress = 0 }, ""},
		"an instance that never reports":                 {nil, 11 * time.Minute, func(s *story) { s.policy.Reporting = map[string]bool{"q": true} }, "pcluster: its instance has not begun to boot within 10m0s"},
		"not yet":                                        {nil, 9 * time.Minute, func(s *story) { s.policy.Reporting = map[string]bool{"q": true} }, ""},
		"a firewall may keep reports away":               {nil, 25 * time.Minute, nil, ""},
		"but not if others like it have reported before": {nil, 11 * time.Minute, func(s *story) { s.mem.Heard = map[string]bool{"q/a": true} }, "pcluster: its instance has not begun to boot within 10m0s"},
		"machines without hypervisor take long to start": {nil, 11 * time.Minute, func(s *story) {
			s.policy.Reporting = map[string]bool{"q": true}
			s.policy.Resources["q"]["a"] = slurm.Resource{Instances: []slurm.ResourceType{{InstanceType: "c5.metal"}}}
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := booting(t)
			if tt.change != nil {
				tt.change(s)
			}
			view := &NodesView{Since: noon.Add(-time.Hour)}
			if tt.says != nil {
				view = heard(says(*tt.says))
			}
			s.now = s.now.Add(tt.after)
			s.looks(risingState, Observed{Nodes: view})
			reason := ""
			if len(s.do.Nodes) > 0 {
				reason = s.do.Nodes[0].Reason
			}
			if !strings.HasPrefix(reason, tt.want) || tt.want == "" && reason != "" {
				t.Errorf("reason %q, want %q", reason, tt.want)
			}
			if (s.mem.Failures["q/a"] > 0) != (tt.want != "") {
				t.Errorf("%d failures are counted", s.mem.Failures["q/a"])
			}
		})
	}
}

func TestABootThatIsHeardOfWhenItIsOverIsRecordedWhole(t *testing.T) {
	s := booting(t)
	over := says(Report{Booted: true, Took: map[string]float64{"units": 0.1}})
	for range 2 {
		s.looks(risingState, Observed{Nodes: heard(over)})
	}
	var got []record.Kind
	for _, e := range s.record {
		got = append(got, e.What)
	}
	s.expect("record", got, []record.Kind{record.Booting, record.Booted})
}

func TestTheBeginningOfABootIsRecorded(t *testing.T) {
	s := booting(t)
	s.step(Observed{Said: []Presence{says(Report{})}})
	s.looks(risingState, Observed{Nodes: heard(says(Report{}))})
	s.expect("entries", len(s.record), 1)
	s.expect("entry", s.record[0].What, record.Booting)
}

func TestABootIsRecorded(t *testing.T) {
	s := booting(t)
	s.looks(risingState, Observed{Nodes: heard(says(Report{Steps: []string{"units"}}))})
	s.looks(risingState, Observed{Nodes: heard(says(Report{Steps: []string{"units"}}))})
	over := says(Report{Booted: true, Took: map[string]float64{"units": 0.1}})
	s.step(Observed{Said: []Presence{over}})
	s.looks("IDLE+CLOUD", Observed{Nodes: heard(over)})
	var got []record.Kind
	for _, e := range s.record {
		got = append(got, e.What)
	}
	s.expect("record", got, []record.Kind{record.Booting, record.Booted, record.Registered})
	s.expect("steps", s.record[0].Steps, []string{"units"})
	s.expect("times", s.record[1].Took["units"], 0.1)
}

func TestADaemonThatHasJustStartedWaitsForReports(t *testing.T) {
	s := booting(t)
	s.policy.Reporting = map[string]bool{"q": true}
	s.now = s.now.Add(20 * time.Minute)
	s.looks(risingState, Observed{Nodes: &NodesView{Since: s.now.Add(-time.Minute)}})
	s.expect("states", s.states(), "")
}

// A pipe from an address.
type pipe struct {
	net.Conn
	from net.Addr
}

func (p pipe) RemoteAddr() net.Addr { return p.from }

// node connects a node to a daemon whose loop is not running.
func node(t *testing.T, d *Daemon) net.Conn {
	t.Helper()
	mine, theirs := net.Pipe()
	go d.listenTo(t.Context(), pipe{theirs, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 600}})
	t.Cleanup(func() { mine.Close() })
	return mine
}

func listening() *Daemon {
	d := &Daemon{Log: slog.New(slog.DiscardHandler), Now: time.Now, events: make(chan func(*Observed), 100)}
	d.reports.cluster, d.reports.now = "demo", time.Now
	d.reports.announce(Answer{Cluster: "demo", Patience: time.Minute})
	return d
}

func next(d *Daemon) Presence {
	var o Observed
	(<-d.events)(&o)
	return o.Said[0]
}

func TestNodesReportAndAreAnswered(t *testing.T) {
	d := listening()
	conn := node(t, d)
	lines := bufio.NewReader(conn)
	fmt.Fprintln(conn, `{"cluster":"demo","instance":"i-1","steps":["units"],"a later version's":1}`)
	answer, err := lines.ReadString('\n')
	if want := `{"cluster":"demo","patience":60000000000}` + "\n"; err != nil || answer != want {
		t.Fatalf("answer %q, %v", answer, err)
	}
	if p := d.reports.view().Nodes["i-1"]; p.Addr != "10.0.0.1" || p.Changed.IsZero() || p.Steps[0] != "units" {
		t.Errorf("heard %+v", p)
	}
	if p := next(d); p.Steps[0] != "units" {
		t.Errorf("told %+v at its first report", p)
	}
	fmt.Fprintln(conn, `{"cluster":"demo","instance":"i-1","steps":["units"],"spot_until":"2026-11-23T12:00:00Z"}`)
	if p := next(d); !p.SpotUntil.Equal(noon) {
		t.Errorf("told %+v", p)
	}
	go d.reports.announce(Answer{Cluster: "demo", Stay: true})
	var changed Answer
	if err := json.NewDecoder(lines).Decode(&changed); err != nil || !changed.Stay {
		t.Errorf("told %+v, %v", changed, err)
	}
	conn.Close()
	if p := next(d); p.Left.IsZero() || p.Instance != "i-1" {
		t.Errorf("told %+v", p)
	}
}

func TestANodeThatComesBackIsNotMissed(t *testing.T) {
	d := listening()
	first, second := node(t, d), node(t, d)
	for _, conn := range []net.Conn{first, second} {
		fmt.Fprintln(conn, `{"cluster":"demo","instance":"i-1"}`)
		if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	if p := next(d); !p.Left.IsZero() {
		t.Errorf("told %+v at its first report", p)
	}
	first.Close()
	second.Close()
	if p := next(d); p.Left.IsZero() {
		t.Errorf("told %+v", p)
	}
	if n := len(d.events); n != 0 {
		t.Errorf("%d more were told", n)
	}
}

func TestWhatIsNoReport(t *testing.T) {
	for name, text := range map[string]string{
		"another cluster's":   `{"cluster":"other","instance":"i-1"}` + "\n",
		"no JSON":             "GET / HTTP/1.1\r\n\r\n",
		"of another type":     `{"cluster":["demo"]}` + "\n",
		"a line without end":  strings.Repeat("x", maxReport+5000),
		"one that breaks off": `{"cluster":"demo","instance":"i-1"`,
	} {
		t.Run(name, func(t *testing.T) {
			d := listening()
			conn := node(t, d)
			go func() {
				_, _ = io.WriteString(conn, text)
				if !strings.HasSuffix(text, "\n") {
					conn.Close()
				}
			}()
			_, _ = io.Copy(io.Discard, conn) // the daemon hangs up
			if n := len(d.reports.view().Nodes); n != 0 {
				t.Errorf("%d nodes are known", n)
			}
		})
	}
}

func TestOnlyRootReports(t *testing.T) {
	var r reports
	for port, want := range map[int]bool{600: true, 1023: true, 1024: false, 40000: false} {
		conn, _ := net.Pipe()
		if got := r.admits(pipe{conn, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: port}}); got != want {
			t.Errorf("from port %d: admitted %v", port, got)
		}
	}
}

func FuzzReports(f *testing.F) {
	f.Add([]byte(`{"cluster":"demo","instance":"i-1","steps":["units"],"failed":"x"}` + "\n"))
	f.Add([]byte("\n\n{}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		d := listening()
		mine, theirs := net.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan struct{})
		go func() {
			defer close(done)
			d.listenTo(ctx, pipe{theirs, &net.TCPAddr{Port: 600}})
		}()
		go func() { _, _ = io.Copy(io.Discard, mine) }()
		_, _ = mine.Write(data)
		mine.Close()
		cancel()
		<-done
	})
}
