package slurm

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzResumeFile: whatever is understood means the same when it is written again.
func FuzzResumeFile(f *testing.F) {
	for _, seed := range []string{
		`{"all_nodes_resume": "x", "jobs": [{"job_id": 7, "nodes_alloc": "q-dy-a-[1-3]", "nodes_resume": "q-dy-a-[1-2]"}]}`,
		`{"meta": {"v": [1]}, "jobs": [{"job_id": 7, "nodes_resume": "q-dy-a-1", "hetjob": {"x": null}}, {"job_id": "8"}]}`,
		`{"jobs": []}`, `{"jobs": null}`, `{"jobs": [{"job_id": 7, "nodes_resume": "q-dy-a-[1-99999999999]"}]}`, `{"jobs": [{"nodes_resume": "a[1-3][1-3],,b["}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		jobs, err := ParseResumeFile(data)
		if err != nil {
			return
		}
		type written struct {
			ID    json.Number `json:"job_id,omitempty"`
			Nodes string      `json:"nodes_resume"`
		}
		again := map[string][]written{"jobs": {}}
		for _, j := range jobs {
			again["jobs"] = append(again["jobs"], written{json.Number(j.ID), Compress(j.Nodes)})
		}
		text, err := json.Marshal(again)
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParseResumeFile(text)
		if err != nil || len(back) != len(jobs) {
			t.Fatalf("%s is %d jobs, %v", text, len(back), err)
		}
		for i := range jobs {
			if diff := cmp.Diff(Compress(jobs[i].Nodes), Compress(back[i].Nodes)); diff != "" || jobs[i].ID != back[i].ID {
				t.Errorf("job %s, then %s (-first +then):\n%s", jobs[i].ID, back[i].ID, diff)
			}
		}
	})
}
