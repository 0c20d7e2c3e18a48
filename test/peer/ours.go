package main

import (
	"context"
	"strings"
	"time"

	"pcluster/internal/config"
	"pcluster/internal/validate"
)

// A verdict of one of the two on a file.
type judgement struct {
	ID       string    `json:"id"`
	Outcome  string    `json:"outcome"` // accepted, refused, aborted or crashed
	Message  string    `json:"message"`
	Findings []finding `json:"findings"`
	Seconds  float64   `json:"seconds"`
	Stack    synthesis `json:"stack,omitzero"`
}

type finding struct {
	Level     string `json:"level"`
	Validator string `json:"validator"`
	Message   string `json:"message"`
}

// installed puts our version where the cases' AMIs have that of their release.
func installed(text string) string { return strings.ReplaceAll(text, "3.12.0", config.ToolVersion) }

// ours judges a file as create-cluster does.
func ours(it item) (judgement, error) {
	start := time.Now()
	j := judgement{ID: it.ID, Outcome: "accepted"}
	defer func() { j.Seconds = time.Since(start).Seconds() }()
	source, err := it.facts.source()
	if err != nil {
		return j, err
	}
	start = time.Now()
	c, problems := config.Parse("file.yaml", []byte(it.Text))
	if p, bad := problems.Malformed(); bad {
		j.Outcome, j.Message = "aborted", p.String()
		return j, nil
	}
	if late := problems.Late(); len(late) > 0 && len(problems.Shape()) == 0 {
		j.Outcome, j.Message = "aborted", late[0].String()
		return j, nil
	}
	if problems = problems.Shape(); len(problems) == 0 {
		suppress, err := validate.ParseSuppress(it.Args.Suppress)
		if err != nil {
			return j, err
		}
		region := or(it.Args.Region, or(c.Region, "us-east-1"))
		report := validate.Cluster(context.Background(), c, source, validate.Options{
			ClusterName: or(it.Args.ClusterName, "mycluster"), Region: region, Suppress: suppress, HeadInstance: it.Args.HeadInstance,
		})
		if len(report.Aborted) > 0 {
			j.Outcome, j.Message = "aborted", report.Aborted[0].String()
			return j, nil
		}
		problems = append(problems, report.Found...)
	}
	threshold := config.Error
	if l, err := config.ParseLevel(it.Args.FailureLevel); err == nil {
		threshold = l
	}
	for _, p := range problems {
		j.Findings = append(j.Findings, finding{p.Level.String(), p.Validator, p.String()})
	}
	if len(problems.At(threshold)) > 0 {
		j.Outcome = "refused"
	}
	return j, nil
}
