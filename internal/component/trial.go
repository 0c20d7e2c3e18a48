package component

// A Trial asks for a run of one document on a machine that is made for it and
// thrown away afterwards.
type Trial struct {
	Name       string // of the document, for people
	Document   string
	Phases     []string
	Parameters map[string]string

	ParentImage     string   // an AMI, an image of Image Builder by its ARN, or an operating system; empty: the region's own
	InstanceType    string   // empty: one that fits the image
	InstanceProfile string   // whose role the document has; empty: none
	Subnet          string   // empty: a network of its own
	SecurityGroups  []string // of the subnet's VPC; none: its default group
}

// A TrialEvent is news of a trial, in the order in which things happen.
type TrialEvent struct {
	Machine string `json:",omitempty"` // the instance, once it is launched
	Line    string `json:",omitempty"` // of the console
	File    string `json:",omitempty"` // of the log folder, with its Data
	Data    []byte `json:",omitempty"`
	// The last one has either.
	Outcome *Outcome `json:",omitempty"`
	Error   string   `json:",omitempty"`
}

// An Outcome is how the documents on a machine ended.
type Outcome struct {
	Status         Status
	FailureMessage string
	Results        []*Result // of each phase that ran
	Folders        []string  // names of their log folders
}

// Summary adds up the phases.
func (o *Outcome) Summary(logURL string) Summary {
	all := Summary{Status: o.Status, FailureMessage: o.FailureMessage, LogURL: logURL}
	for _, r := range o.Results {
		s := r.Summary(logURL)
		all.ExecutionID = s.ExecutionID
		all.ExecutedStepCount += s.ExecutedStepCount
		all.FailedStepCount += s.FailedStepCount
		all.IgnoredFailedStepCount += s.IgnoredFailedStepCount
	}
	return all
}
