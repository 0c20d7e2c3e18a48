package fleet

import (
	"errors"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"pcluster/internal/slurm"
)

func TestRequestsOfSlurmctld(t *testing.T) {
	for name, tt := range map[string]struct {
		m       Message
		jobs    []slurm.Job
		unknown bool
	}{
		"without a file":    {m: Message{}},
		"for nobody":        {m: Message{ResumeFile: []byte(`{"jobs": []}`)}, jobs: nil},
		"for a job":         {m: Message{ResumeFile: []byte(`{"all_nodes_resume": "x", "jobs": [{"job_id": 7, "nodes_alloc": "q-dy-a-[1-3]", "nodes_resume": "q-dy-a-[1-2]"}]}`)}, jobs: []slurm.Job{job("7", "q-dy-a-[1-2]")}},
		"of a newer Slurm":  {m: Message{ResumeFile: []byte(`{"meta": {"v": [1]}, "jobs": [{"job_id": 7, "nodes_resume": "q-dy-a-1", "hetjob": {"x": null}, "priority": 1e9}]}`)}, jobs: []slurm.Job{job("7", "q-dy-a-1")}},
		"unreadable":        {m: Message{JobsUnknown: true}, unknown: true},
		"an empty object":   {m: Message{ResumeFile: []byte(`{}`)}, unknown: true},
		"null":              {m: Message{ResumeFile: []byte(`null`)}, unknown: true},
		"another type":      {m: Message{ResumeFile: []byte(`[1, 2]`)}, unknown: true},
		"a job of another":  {m: Message{ResumeFile: []byte(`{"jobs": [{"job_id": {"set": true, "number": 7}, "nodes_resume": "q-dy-a-1"}]}`)}, unknown: true},
		"a list gone wrong": {m: Message{ResumeFile: []byte(`{"jobs": [{"job_id": 7, "nodes_resume": "q-dy-a-[1-"}]}`)}, unknown: true},
	} {
		t.Run(name, func(t *testing.T) {
			tt.m.Nodes = "q-dy-a-[1-3]"
			r, err := tt.m.request()
			if got := errors.Is(err, errJobsUnknown); got != tt.unknown || (err != nil && !got) {
				t.Fatal(err)
			}
			if tt.unknown {
				return
			}
			if diff := cmp.Diff(tt.jobs, r.Jobs); diff != "" || len(r.Nodes) != 3 {
				t.Errorf("%d nodes; jobs (-want +got):\n%s", len(r.Nodes), diff)
			}
		})
	}
}

// Of a request whose jobs are unknown nothing is launched until slurmctld has said
// for whom: else a job could get a part of its nodes.
func TestJobsThatAreUnknownAreAskedFor(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 3)
	h.start()
	h.say(Message{Op: OpResume, Nodes: "q-dy-a-[1-2]", JobsUnknown: true})
	h.say(Message{Op: OpResume, Nodes: "q-dy-a-3", ResumeFile: []byte(`{"jobs": [{"job_id": 8, "nodes_resume": "q-dy-a-3"}]}`)})
	h.until("the node of the other request has an instance", func() bool { return h.cloud.launched() > 0 })
	if n := h.cloud.launched(); n > 1 {
		t.Errorf("%d instances for nobody knows whom", n-1)
	}
}

func FuzzRequests(f *testing.F) {
	f.Add("q-dy-a-[1-3]", []byte(`{"jobs": [{"job_id": 7, "nodes_resume": "q-dy-a-[1-2]"}]}`))
	f.Add("q-dy-a-[1-99999999999]", []byte(`{}`))
	f.Add("a[1-3][1-3],,b[", []byte(`{"jobs": null}`))
	f.Fuzz(func(t *testing.T, nodes string, file []byte) {
		m := Message{Nodes: nodes, ResumeFile: file}
		r, err := m.request()
		if err == nil && len(r.Nodes) == 0 && strings.TrimFunc(nodes, func(r rune) bool { return r == ',' || unicode.IsSpace(r) }) != "" {
			t.Errorf("no nodes in %q", nodes)
		}
		s := newStory(t, AllOrNothing)
		for _, l := range s.step(Observed{Resumed: []Request{r}}).Launch {
			for _, n := range l.Nodes {
				if _, ok := slurm.ParseNodeName(n); !ok {
					t.Errorf("%q is launched", n)
				}
			}
		}
	})
}
