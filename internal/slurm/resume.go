package slurm

import (
	"encoding/json"
	"errors"
	"fmt"
)

// ParseResumeFile returns the jobs for which nodes are to start, as slurmctld tells its
// resume program: each with those of its nodes that are to. Keys that are not known are
// new ones of later versions. (Slurm documentation: Power Saving Guide.)
func ParseResumeFile(data []byte) ([]Job, error) {
	var file struct {
		Jobs []struct {
			ID    json.Number `json:"job_id"`
			Nodes string      `json:"nodes_resume"`
		} `json:"jobs"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("resume file: %w", err)
	}
	if file.Jobs == nil {
		return nil, errors.New("the resume file has no jobs")
	}
	var jobs []Job
	for _, j := range file.Jobs {
		nodes, err := Expand(j.Nodes)
		if err != nil {
			return nil, fmt.Errorf("resume file, job %s: %w", j.ID, err)
		}
		jobs = append(jobs, Job{ID: j.ID.String(), Nodes: nodes})
	}
	return jobs, nil
}
