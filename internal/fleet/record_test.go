package fleet

import (
	"encoding/json"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pcluster/internal/fleet/record"
	"pcluster/internal/slurm"
)

// recorded returns the record as lines without time and token, and forgets it.
func (s *story) recorded() []string {
	var out []string
	for _, e := range s.record {
		e.Time, e.Token = time.Time{}, ""
		line, err := json.Marshal(e)
		if err != nil {
			s.t.Fatal(err)
		}
		out = append(out, strings.Replace(string(line), `"time":"0001-01-01T00:00:00Z",`, "", 1))
	}
	s.record = nil
	return out
}

func TestTheRecordTellsTheLifeOfANode(t *testing.T) {
	s := newStory(t, AllOrNothing)
	s.step(Observed{Resumed: []Request{request(job("7", "q-dy-a-1"))}})
	s.step(Observed{Outcomes: []Outcome{answer(s.do.Launch[0], 1, "")}})
	s.step(Observed{Named: s.do.Assign})
	s.expect("start", s.recorded(), []string{
		`{"what":"asked","nodes":"q-dy-a-1","jobs":["7"]}`,
		`{"what":"launch-tried","nodes":"q-dy-a-1","jobs":["7"],"queue":"q","compute_resource":"a","types":["c5.large"],"count":1,"min":1}`,
		`{"what":"launch-answered","nodes":"q-dy-a-1","instances":{"i-qdya1":""},"queue":"q","compute_resource":"a","count":1}`,
		`{"what":"assigned","nodes":"q-dy-a-1","instances":{"i-qdya1":"q-dy-a-1"}}`,
		`{"what":"named","nodes":"q-dy-a-1","instances":{"i-qdya1":"q-dy-a-1"}}`,
	})
	up := slurm.Node{Name: "q-dy-a-1", State: "MIXED+CLOUD"}
	s.step(Observed{Slurm: s.view(up)})
	s.step(Observed{Slurm: s.view(up)})
	s.expect("in service", s.recorded(), []string{`{"what":"registered","nodes":"q-dy-a-1","instances":{"i-qdya1":"q-dy-a-1"}}`})

	s.step(Observed{Suspended: []string{"q-dy-a-1"}})
	s.step(Observed{Slurm: s.view(), EC2: s.ec2(Instance{ID: "i-qdya1", State: "terminated"})})
	s.expect("end", s.recorded(), []string{
		`{"what":"suspended","nodes":"q-dy-a-1","instances":{"i-qdya1":"q-dy-a-1"}}`,
		`{"what":"terminated","nodes":"q-dy-a-1","instances":{"i-qdya1":"q-dy-a-1"}}`,
		`{"what":"gone","instances":{"i-qdya1":""}}`,
	})
}

func TestALaunchIsRecordedForItsOwnJobs(t *testing.T) {
	s := newStory(t, AllOrNothing)
	s.step(Observed{Resumed: []Request{request(job("7", "q-dy-a-1"), job("8", "q-dy-b-1"))}})
	jobs := make(map[string][]string)
	for _, e := range s.record {
		if e.What == record.LaunchTried {
			jobs[e.Nodes] = e.Jobs
		}
	}
	s.expect("jobs of launches", jobs, map[string][]string{"q-dy-a-1": {"7"}, "q-dy-b-1": {"8"}})
}

func TestANodeThatAJobWaitsForIsInServiceAtOnce(t *testing.T) {
	s := newStory(t, AllOrNothing)
	s.step(Observed{Resumed: []Request{request(job("7", "q-dy-a-1"))}})
	s.step(Observed{Outcomes: []Outcome{answer(s.do.Launch[0], 1, "")}})
	s.step(Observed{Named: s.do.Assign})
	s.record = nil
	s.step(Observed{Up: []SlurmView{*s.view(slurm.Node{Name: "q-dy-a-1", State: "MIXED+CLOUD"})}})
	s.step(Observed{Slurm: s.view(slurm.Node{Name: "q-dy-a-1", State: "MIXED+CLOUD"})})
	s.expect("in service", s.recorded(), []string{`{"what":"registered","nodes":"q-dy-a-1","instances":{"i-qdya1":"q-dy-a-1"}}`})
}

func TestTheRecordTellsWhyThereIsNoNode(t *testing.T) {
	s := newStory(t, AllOrNothing)
	s.step(Observed{Resumed: []Request{request(job("7", "q-dy-a-1"))}})
	refused := answer(s.do.Launch[0], 0, InsufficientCapacity)
	refused.Message = "none left"
	s.record = nil
	s.step(Observed{Outcomes: []Outcome{refused}})
	s.expect("refused", s.recorded(), []string{
		`{"what":"launch-refused","nodes":"q-dy-a-1","queue":"q","compute_resource":"a","count":1,"code":"InsufficientInstanceCapacity","class":"capacity","message":"none left"}`,
		`{"what":"exhausted","queue":"q","compute_resource":"a","code":"InsufficientInstanceCapacity","message":"none left","until":"2026-11-23T12:10:02Z"}`,
		`{"what":"node-failed","nodes":"q-dy-a-1","code":"InsufficientInstanceCapacity","class":"capacity","message":"none left"}`,
	})
}

func TestTheRecordTellsWhatNoJobCouldUse(t *testing.T) {
	s := newStory(t, GreedyAllOrNothing)
	s.step(Observed{Resumed: []Request{request(job("7", "q-dy-a-[1-2]"))}})
	s.record = nil
	s.step(Observed{Outcomes: []Outcome{answer(s.do.Launch[0], 1, "")}})
	s.expect("partial", s.recorded(), []string{
		`{"what":"launch-answered","nodes":"q-dy-a-[1-2]","instances":{"i-qdya1":""},"queue":"q","compute_resource":"a","count":1}`,
		`{"what":"launch-refused","nodes":"q-dy-a-[1-2]","queue":"q","compute_resource":"a","count":1,"code":"InsufficientInstanceCapacity","class":"capacity"}`,
		`{"what":"node-failed","nodes":"q-dy-a-[1-2]","code":"LimitedInstanceCapacity","class":"capacity"}`,
		`{"what":"given-back","instances":{"i-qdya1":""}}`,
	})
}

func TestTheDaemonGoesOnWithoutARecord(t *testing.T) {
	var log strings.Builder
	path := filepath.Join(t.TempDir(), "missing", "record")
	d := &Daemon{Log: slog.New(slog.NewTextHandler(&log, nil)), Now: func() time.Time { return noon }, Record: &record.File{Path: path}}
	for range 100 {
		d.record(record.Entry{What: record.Asked})
	}
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("%d lines of log, want 1:\n%s", n, log.String())
	}
}
