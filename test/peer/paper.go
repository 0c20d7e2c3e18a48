package main

import (
	"encoding/json"

	"pcluster/internal/facts"
)

// awsPolicies exist in every account.
var awsPolicies = []string{"CloudWatchAgentServerPolicy", "AmazonS3ReadOnlyAccess", "AmazonS3FullAccess", "AmazonSSMManagedInstanceCore"}

// source returns the account as our rules ask it.
func (a account) source() (*facts.Memory, error) {
	data, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	m, err := facts.Read([]byte(installed(string(data))))
	if err != nil {
		return nil, err
	}
	for _, n := range awsPolicies {
		m.Policies = append(m.Policies, "arn:aws:iam::aws:policy/"+n)
	}
	return m, nil
}

func or(s, dflt string) string {
	if s == "" {
		return dflt
	}
	return s
}
