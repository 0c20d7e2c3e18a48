//go:build linux

package sandbox

import "time"

// Status describes a running region.
type Status struct {
	Region, Account string
	Endpoint        string // URL on loopback
	CABundle        string // file
	AccessKeyID     string
	SecretAccessKey string

	PID         int
	Since       time.Time
	MemoryBytes int64 // resident memory of the daemon
	Machines    []MachineStatus
	Lacks       []string // what this host can't give machines, each with the reason
}

// MachineStatus is one machine of the region: an instance, or a database host.
type MachineStatus struct {
	ID, Name, Type, State, Address string
	MemoryBytes                    int64
}

// A Variable is one of the environment.
type Variable struct{ Name, Value string }

// Environment returns what points any AWS client at the region.
func (s Status) Environment() []Variable {
	return []Variable{
		{"AWS_ENDPOINT_URL", s.Endpoint},
		{"AWS_ACCESS_KEY_ID", s.AccessKeyID},
		{"AWS_SECRET_ACCESS_KEY", s.SecretAccessKey},
		{"AWS_DEFAULT_REGION", s.Region},
		{"AWS_REGION", s.Region},
		{"AWS_CA_BUNDLE", s.CABundle},
	}
}

// An Adoption lists what a cluster file refers to.
type Adoption struct {
	Resources  []Adopted
	NotAdopted []string // what the region cannot play, each with a reason
}

// Adopted is one thing that now exists under the ID in the file.
type Adopted struct{ Kind, ID, Note string }
