package main

import (
	"context"
	"encoding/json"
	"maps"
	"strings"

	"pcluster/internal/config"
	"pcluster/internal/facts"
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

// source returns the account as our rules ask it.
func (a account) source() (*facts.Memory, error) {
	known := maps.Clone(a)
	delete(known, "efs_access_points") // which our rules do not ask for
	data, err := json.Marshal(known)
	if err != nil {
		return nil, err
	}
	m, err := facts.Read([]byte(installed(string(data))))
	if err != nil {
		return nil, err
	}
	for name, t := range m.Types {
		t.EbsInfo.EbsOptimizedSupport = "default" // of which the form says nothing
		m.Types[name] = t
	}
	for _, name := range []string{"CloudWatchAgentServerPolicy", "AmazonS3ReadOnlyAccess", "AmazonS3FullAccess", "AmazonSSMManagedInstanceCore"} {
		m.Policies = append(m.Policies, "arn:aws:iam::aws:policy/"+name) // every account has these
	}
	return m, nil
}

// ours judges a file as create-cluster and build-image do.
func ours(it item) (judgement, error) {
	j := judgement{ID: it.ID, Outcome: "accepted"}
	source, err := it.facts.source()
	if err != nil {
		return j, err
	}
	suppress, err := validate.ParseSuppress(it.Args.Suppress)
	if err != nil {
		return j, err
	}
	threshold := config.Error
	if l, err := config.ParseLevel(it.Args.FailureLevel); err == nil {
		threshold = l
	}
	o := validate.Options{
		ClusterName: or(it.Args.ClusterName, "mycluster"), Suppress: suppress,
		HeadInstance: it.Args.HeadInstance, HeadGroup: it.Args.HeadGroup, ComputeGroup: it.Args.ComputeGroup,
	}
	var problems config.Problems
	var judge func() validate.Report
	if it.Kind == "image" {
		var file *config.ImageFile
		file, problems = config.ParseImage("file.yaml", []byte(it.Text))
		judge = func() validate.Report {
			o.Region = or(it.Args.Region, or(file.Region, "us-east-1"))
			return validate.Image(context.Background(), file, source, o)
		}
	} else {
		var file *config.Cluster
		file, problems = config.Parse("file.yaml", []byte(it.Text))
		judge = func() validate.Report {
			o.Region = or(it.Args.Region, or(file.Region, "us-east-1"))
			return validate.Cluster(context.Background(), file, source, o)
		}
	}
	if p, bad := problems.Malformed(); bad {
		return aborted(it.ID, p), nil
	}
	if len(problems.Shape()) == 0 {
		if late := problems.Late(); len(late) > 0 {
			return aborted(it.ID, late[0]), nil
		}
		report := judge()
		if len(report.Aborted) > 0 {
			return aborted(it.ID, report.Aborted[0]), nil
		}
		problems = append(problems, report.Found...)
	}
	for _, p := range problems {
		j.Findings = append(j.Findings, finding{p.Level.String(), p.Validator, p.String()})
	}
	if len(problems.At(threshold)) > 0 {
		j.Outcome = "refused"
	}
	return j, nil
}

func aborted(id string, p config.Problem) judgement {
	return judgement{ID: id, Outcome: "aborted", Message: p.String()}
}

func or(s, dflt string) string {
	if s == "" {
		return dflt
	}
	return s
}
