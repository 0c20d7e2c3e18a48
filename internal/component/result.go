package component

import (
	"strings"
	"time"
)

// A Status says how something ended.
type Status string

// The statuses, as the result files of AWS's executor have them.
const (
	Success                   Status = "success"
	Failed                    Status = "failed"
	Skipped                   Status = "skipped"
	IgnoredFailure            Status = "ignoredFailure"
	SuccessWithIgnoredFailure Status = "successWithIgnoredFailure"
	Running                   Status = "running"
)

// A Result is what happened when documents ran: the file detailedoutput.json. It
// is also what a run that was interrupted goes on from.
type Result struct {
	ExecutionID    string            `json:"executionId"`
	Status         Status            `json:"status"`
	StartTime      *time.Time        `json:"startTime"`
	EndTime        *time.Time        `json:"endTime"`
	FailureMessage string            `json:"failureMessage"`
	Documents      []*DocumentResult `json:"documents"`
}

// A DocumentResult is what happened to one document.
type DocumentResult struct {
	Name           string         `json:"name"`
	FilePath       string         `json:"filePath"`
	Description    string         `json:"description"`
	Status         Status         `json:"status"`
	StartTime      *time.Time     `json:"startTime"`
	EndTime        *time.Time     `json:"endTime"`
	FailureMessage string         `json:"failureMessage"`
	Phases         []*PhaseResult `json:"phases"`

	Chains map[string]*chain `json:"chains,omitempty"` // of steps that ran, for expressions
}

// A PhaseResult is what happened to one phase.
type PhaseResult struct {
	Name           string        `json:"name"`
	Status         Status        `json:"status"`
	StartTime      *time.Time    `json:"startTime"`
	EndTime        *time.Time    `json:"endTime"`
	FailureMessage string        `json:"failureMessage"`
	Steps          []*StepResult `json:"steps"`
}

// A StepResult is what happened to one step. Inputs and Outputs are JSON as text.
type StepResult struct {
	Name           string     `json:"name"`
	Status         Status     `json:"status"`
	FailureMessage string     `json:"failureMessage"`
	TimeoutSeconds int        `json:"timeoutSeconds"`
	OnFailure      OnFailure  `json:"onFailure"`
	MaxAttempts    int        `json:"maxAttempts"`
	Action         string     `json:"action"`
	StartTime      *time.Time `json:"startTime"`
	EndTime        *time.Time `json:"endTime"`
	Inputs         string     `json:"inputs"`
	Outputs        string     `json:"outputs"`
	Loop           any        `json:"loop"`           // as the document has it
	DetailedOutput []*Result  `json:"detailedOutput"` // of the documents that an ExecuteDocument has run

	Progress *progress `json:"progress,omitempty"` // while it runs
}

// progress is where in a step a run stands.
type progress struct {
	Decided   bool      `json:"decided"` // its condition was evaluated: that is done once
	Attempt   int       `json:"attempt"`
	Iteration int       `json:"iteration"`
	Failed    []int     `json:"failed,omitempty"` // iterations
	Outputs   []Outputs `json:"outputs,omitempty"`
	Rebooted  bool      `json:"rebooted,omitempty"` // the step has asked for a reboot and is done
	Nested    []*Result `json:"nested,omitempty"`   // of ExecuteDocument, one for each input of the iteration
}

// Phase is the first phase that ran, empty if none did.
func (r *Result) Phase() string {
	for _, d := range r.Documents {
		for _, p := range d.Phases {
			return p.Name
		}
	}
	return ""
}

// Chaining is what expressions can speak of, by document, phase and step: the file
// chaining.json.
func (r *Result) Chaining() map[string]map[string]map[string]any {
	out := map[string]map[string]map[string]any{}
	for _, d := range r.Documents {
		phases := map[string]map[string]any{}
		for name, c := range d.Chains {
			phase, step, _ := strings.Cut(name, ".") // names have no dots
			if phases[phase] == nil {
				phases[phase] = map[string]any{}
			}
			phases[phase][step] = c
		}
		out[d.Name] = phases
	}
	return out
}

// A Summary is what an executor prints at its end.
type Summary struct {
	ExecutionID            string `json:"executionId"`
	Status                 Status `json:"status"`
	FailedStepCount        int    `json:"failedStepCount"`
	ExecutedStepCount      int    `json:"executedStepCount"`
	IgnoredFailedStepCount int    `json:"ignoredFailedStepCount"`
	FailureMessage         string `json:"failureMessage"`
	LogURL                 string `json:"logUrl"`
}

// Summary counts what happened.
func (r *Result) Summary(logURL string) Summary {
	s := Summary{ExecutionID: r.ExecutionID, Status: r.Status, FailureMessage: r.FailureMessage, LogURL: logURL}
	for _, d := range r.Documents {
		for _, p := range d.Phases {
			for _, step := range p.Steps {
				switch step.Status {
				case Failed:
					s.FailedStepCount++
				case IgnoredFailure:
					s.IgnoredFailedStepCount++
				case Success:
				default:
					continue
				}
				s.ExecutedStepCount++
			}
		}
	}
	return s
}

// FirstFailure returns the first step that failed, with its document and phase; ok
// is false if none did.
func (r *Result) FirstFailure() (document, phase string, step *StepResult, ok bool) {
	for _, d := range r.Documents {
		for _, p := range d.Phases {
			for _, s := range p.Steps {
				if s.Status == Failed {
					return d.Name, p.Name, s, true
				}
			}
		}
	}
	return "", "", nil, false
}

// worse adds a status to that of what contains it.
func worse(all, one Status) Status {
	switch {
	case all == Failed || one == Failed:
		return Failed
	case all == SuccessWithIgnoredFailure || one == IgnoredFailure || one == SuccessWithIgnoredFailure:
		return SuccessWithIgnoredFailure
	}
	return Success
}
