package component

import (
	"time"

	"pcluster/internal/config"
)

// A Document is a component.
type Document struct {
	Name        string
	Description string
	Parameters  []Parameter
	Constants   []Constant
	Phases      []Phase
}

// Phase returns the phase of that name, or nil.
func (d *Document) Phase(name string) *Phase {
	for i := range d.Phases {
		if d.Phases[i].Name == name {
			return &d.Phases[i]
		}
	}
	return nil
}

// A Parameter is a value that whoever runs the document may choose.
type Parameter struct {
	Name        string
	Default     *string
	Description string
	Allowed     []string // none: anything
}

// A Constant is a name for a text.
type Constant struct{ Name, Value string }

// A Phase is a part of a document that runs at one stage of a build.
type Phase struct {
	Name  string
	Steps []Step
}

// Names of phases that Image Builder runs: the first two on the build machine, the
// third on a machine that was booted from the new image.
const (
	Build    = "build"
	Validate = "validate"
	Test     = "test"
)

// A Step is one action.
type Step struct {
	Name        string
	Action      string
	Timeout     time.Duration // 0: none
	OnFailure   OnFailure
	MaxAttempts int
	If          *If   // nil: the step runs
	Loop        *Loop // nil: once
	Inputs      Input
	Pos         config.Pos
}

// DefaultTimeout is how long a step may take that says nothing.
const DefaultTimeout = 7200 * time.Second

// OnFailure says what a failed step does to the rest.
type OnFailure string

// What a failed step can do.
const (
	Abort    OnFailure = "Abort"    // nothing after it runs
	Continue OnFailure = "Continue" // the rest runs, the document has failed
	Ignore   OnFailure = "Ignore"   // the rest runs, the document has succeeded
)

// An Input is what a step is given: a string, an []any or a map[string]any.
// Scalars are the text of the file, since every one may be an expression.
type Input = any

// A Loop repeats a step.
type Loop struct {
	Name string
	// A bounded sequence of numbers, if Step is not 0.
	Start, End, Step int
	// Or a list of texts,
	List []string
	// or one text, split at Delimiter.
	Joined    string
	Delimiter string
}

// An If decides whether a step runs.
type If struct {
	Condition  Condition
	Then, Else Decision
}

// A Decision is what happens to a step.
type Decision string

// The decisions.
const (
	Execute   Decision = "Execute"
	Skip      Decision = "Skip"
	AbortStep Decision = "Abort" // the step counts as failed
)

// A Condition compares something, or combines conditions.
type Condition struct {
	Operator string
	Operand  string      // what the file says behind the operator
	Value    string      // of comparisons of two values; of file hashes the path
	Parts    []Condition // of and, or, not
}
