package component

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// An Actor does what documents say.
type Actor interface {
	Facts
	// Act carries out one action; log takes lines of its output.
	Act(ctx context.Context, action string, in Input, log func(string)) (Outputs, error)
	// Load reads the document that ExecuteDocument names.
	Load(ctx context.Context, name, bucketOwner string) ([]byte, error)
}

// Outputs are what an action gives back, for each of its inputs where it has many.
type Outputs []map[string]string

// A Reboot is the error of an action which wants the machine restarted.
type Reboot struct {
	Again bool // the step runs once more after it; otherwise it is done
	Delay time.Duration
}

func (r *Reboot) Error() string { return "the machine has to be restarted" }

// A Source is a document to run.
type Source struct {
	Document   *Document
	Path       string            // where it came from
	Parameters map[string]string // in place of defaults; unknown ones are ignored
}

// A Run is the execution of documents.
type Run struct {
	Documents []Source
	Phases    []string // to run, in the order of the document; none: all
	Actor     Actor
	Log       func(line string)   // of the console
	Trace     func(line string)   // of what the run decides; nil: nobody looks
	Save      func(*Result) error // after each step; nil: nothing is kept
	Now       func() time.Time
	// Earlier are the results of other phases of the same documents, on the same
	// machine, of whose steps expressions can speak.
	Earlier []*Result
	above   []string // documents that run this one, outermost first
}

// maxDepth is how deep documents run documents, as on AWS.
const maxDepth = 3

// Do runs the documents, or goes on with r where it stopped; a fresh r has just
// an ID. The error is a *[Reboot], or what ended the context: call Do again then,
// with the same r.
func (run *Run) Do(ctx context.Context, r *Result) error {
	if r.StartTime == nil {
		r.StartTime, r.Status = run.now(), Running
		for _, src := range run.Documents {
			r.Documents = append(r.Documents, &DocumentResult{Name: src.name(), FilePath: src.Path, Description: src.Document.Description, Status: Running})
		}
	}
	for i, src := range run.Documents {
		d := r.Documents[i]
		if d.EndTime == nil {
			if err := run.document(ctx, src, d, r); err != nil {
				return err
			}
		}
		if d.Status == Failed && stopped(d) {
			break
		}
	}
	r.Status, r.EndTime = Success, run.now()
	for _, d := range r.Documents {
		if d.EndTime == nil {
			d.Status = Skipped
			continue
		}
		if r.Status = worse(r.Status, d.Status); d.Status == Failed && r.FailureMessage == "" {
			r.FailureMessage = d.FailureMessage
		}
	}
	return run.save(r)
}

func (s Source) name() string {
	if s.Document.Name != "" {
		return s.Document.Name
	}
	return s.Path
}

// stopped says whether a failed document was aborted rather than gone through.
func stopped(d *DocumentResult) bool {
	for _, p := range d.Phases {
		for _, s := range p.Steps {
			if s.Status == Failed && s.OnFailure == Abort {
				return true
			}
		}
	}
	return len(d.Phases) == 0
}

func (run *Run) now() *time.Time {
	t := run.Now().UTC()
	return &t
}

func (run *Run) save(r *Result) error {
	if run.Save == nil {
		return nil
	}
	if err := run.Save(r); err != nil {
		return fmt.Errorf("note how far the document is: %w", err)
	}
	return nil
}

func (run *Run) logf(format string, args ...any) { run.Log(fmt.Sprintf(format, args...)) }

func (run *Run) tracef(format string, args ...any) {
	if run.Trace != nil {
		run.Trace(fmt.Sprintf(format, args...))
	}
}

// chainsOf are the values of earlier phases of a document.
func (run *Run) chainsOf(path string) map[string]*chain {
	out := map[string]*chain{}
	for _, r := range run.Earlier {
		for _, d := range r.Documents {
			if d.FilePath == path {
				maps.Copy(out, d.Chains)
			}
		}
	}
	return out
}

func (run *Run) document(ctx context.Context, src Source, d *DocumentResult, r *Result) error {
	if d.StartTime == nil {
		d.StartTime, d.Chains = run.now(), run.chainsOf(src.Path)
	}
	run.logf("Document %s", src.Path)
	variables, err := src.variables()
	if err != nil {
		d.Status, d.EndTime, d.FailureMessage = Failed, run.now(), err.Error()
		run.logf("%s", err)
		return run.save(r)
	}
	for pi := range src.Document.Phases {
		phase := &src.Document.Phases[pi]
		if len(run.Phases) > 0 && !slices.Contains(run.Phases, phase.Name) {
			continue
		}
		i := slices.IndexFunc(d.Phases, func(p *PhaseResult) bool { return p.Name == phase.Name })
		if i < 0 {
			d.Phases = append(d.Phases, &PhaseResult{Name: phase.Name, Status: Running, StartTime: run.now()})
			i = len(d.Phases) - 1
		}
		p := d.Phases[i]
		if p.EndTime == nil {
			run.logf("Phase %s", phase.Name)
			if err := run.phase(ctx, phase, p, d, variables, r); err != nil {
				return err
			}
		}
		if p.Status == Failed && d.FailureMessage == "" {
			d.FailureMessage = fmt.Sprintf("Document %s failed: %s", src.name(), p.FailureMessage)
		}
		if p.Status == Failed && stopped(d) {
			break
		}
	}
	d.Status = Success
	for _, p := range d.Phases {
		d.Status = worse(d.Status, p.Status)
	}
	d.EndTime = run.now()
	return run.save(r)
}

// Check says what is wrong with the parameters that are given, or missing.
func (s Source) Check() error {
	_, err := s.variables()
	return err
}

// variables are the parameters and constants of the document.
func (s Source) variables() (map[string]string, error) {
	out := map[string]string{}
	for _, c := range s.Document.Constants {
		out[c.Name] = c.Value
	}
	for _, p := range s.Document.Parameters {
		v, given := s.Parameters[p.Name]
		switch {
		case given && len(p.Allowed) > 0 && !slices.Contains(p.Allowed, v):
			return nil, fmt.Errorf("the parameter %s has to be one of %s, not %q", p.Name, strings.Join(p.Allowed, ", "), v)
		case given:
			out[p.Name] = v
		case p.Default != nil:
			out[p.Name] = *p.Default
		default:
			return nil, fmt.Errorf("the parameter %s has no value and no default", p.Name)
		}
	}
	return out, nil
}

func (run *Run) phase(ctx context.Context, phase *Phase, p *PhaseResult, d *DocumentResult, variables map[string]string, r *Result) error {
	for i := range phase.Steps {
		step := &phase.Steps[i]
		if i == len(p.Steps) {
			p.Steps = append(p.Steps, &StepResult{
				Name: step.Name, Status: Running, TimeoutSeconds: int(step.Timeout / time.Second), OnFailure: step.OnFailure,
				MaxAttempts: step.MaxAttempts, Action: step.Action, StartTime: run.now(), Loop: step.Loop.told(), Progress: &progress{Attempt: 1},
			})
			if step.Timeout == 0 {
				p.Steps[i].TimeoutSeconds = -1
			}
		}
		s := p.Steps[i]
		if s.EndTime == nil {
			run.tracef("phase %s, step %s: %s, attempt %d of %d, timeout %d s, onFailure %s", phase.Name, s.Name, s.Action, s.Progress.Attempt, s.MaxAttempts, s.TimeoutSeconds, s.OnFailure)
			sc := &scope{document: d.FilePath, variables: variables, steps: d.Chains, loop: step.Loop}
			if err := run.step(ctx, step, s, sc, phase.Name, r); err != nil {
				return err
			}
			s.Progress, s.EndTime = nil, run.now()
			run.tracef("phase %s, step %s: %s after %.3f s; inputs %s; outputs %s", phase.Name, s.Name, s.Status, s.EndTime.Sub(*s.StartTime).Seconds(), orNone(s.Inputs), orNone(s.Outputs))
			if err := run.save(r); err != nil {
				return err
			}
		}
		if s.Status == Failed && p.FailureMessage == "" {
			p.FailureMessage = fmt.Sprintf("step %s of phase %s: %s", s.Name, phase.Name, s.FailureMessage)
		}
		if s.Status == Failed && step.OnFailure == Abort {
			break
		}
	}
	p.Status = Success
	for _, s := range p.Steps {
		if s.Status != Skipped {
			p.Status = worse(p.Status, s.Status)
		}
	}
	p.EndTime = run.now()
	return nil
}

// step runs one step, with all its attempts. An error ends the run, which may go
// on later, as after a restart of the machine.
func (run *Run) step(ctx context.Context, step *Step, s *StepResult, sc *scope, phase string, r *Result) error {
	run.logf("Step %s", step.Name)
	at := s.Progress
	if at.Rebooted {
		run.logf("Executor: the machine was restarted")
		s.Status = Success
		return nil
	}
	fail := func(err error) {
		s.Status, s.FailureMessage = Failed, err.Error()
		if step.OnFailure == Ignore {
			s.Status = IgnoredFailure
		}
		run.logf("Step %s failed: %s", step.Name, brief(err))
	}
	if step.If != nil && !at.Decided {
		decision, err := run.decide(step.If, sc)
		if err != nil {
			fail(err)
			return nil
		}
		at.Decided = true
		run.tracef("phase %s, step %s: its condition %s says %s", phase, s.Name, step.If.Condition.Operator, decision)
		switch decision {
		case AbortStep:
			fail(errors.New("the condition of the step does not hold"))
			return nil
		case Skip:
			run.logf("Step %s is skipped: its condition says so", step.Name)
			s.Status = Skipped
			return nil
		}
	}
	if step.Action == "Assert" {
		s.Status = Success
		return nil
	}
	var outputs Outputs
	for ; ; at.Attempt, at.Iteration, at.Failed, at.Outputs, at.Nested = at.Attempt+1, 0, nil, nil, nil {
		run.logf("%s: STARTED EXECUTION", step.Action)
		var err error
		outputs, err = run.attempt(ctx, step, s, sc, phase, r)
		if reboot, ok := errors.AsType[*Reboot](err); ok {
			at.Rebooted = !reboot.Again && step.Loop == nil && step.Action != "ExecuteDocument"
			run.tracef("phase %s, step %s: restart of the machine in %s; after it, the step is done: %t", phase, s.Name, reboot.Delay, at.Rebooted)
			if serr := run.save(r); serr != nil {
				return serr
			}
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			break
		}
		run.logf("%s: %s", step.Action, brief(err))
		if at.Attempt >= step.MaxAttempts {
			fail(err)
			return nil
		}
		run.logf("Step %s is tried again (%d of %d)", step.Name, at.Attempt+1, step.MaxAttempts)
	}
	run.logf("%s: FINISHED EXECUTION", step.Action)
	s.Status = Success
	if s.Outputs = asJSON(outputs); s.DetailedOutput != nil {
		s.Outputs = asJSON(summaries(s.DetailedOutput))
	}
	if c := sc.steps[phase+"."+step.Name]; c != nil {
		c.Outputs = outputs
	}
	return nil
}

// brief is the text of an error for the log, in which an action has written already
// what led to it. Actions' errors may have a shorter form for that.
func brief(err error) string {
	type briefer interface {
		error
		Brief() string
	}
	if b, ok := errors.AsType[briefer](err); ok {
		return strings.Replace(err.Error(), b.Error(), b.Brief(), 1)
	}
	return err.Error()
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func asJSON(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(data)
}

func (run *Run) decide(i *If, sc *scope) (Decision, error) {
	c, err := i.Condition.expanded(sc.expand)
	if err != nil {
		return AbortStep, err
	}
	holds, err := c.eval(run.Actor)
	switch {
	case err != nil:
		return AbortStep, fmt.Errorf("%s: %w", c.Operator, err)
	case holds:
		return i.Then, nil
	}
	return i.Else, nil
}

// attempt runs all iterations of a step once.
func (run *Run) attempt(ctx context.Context, step *Step, s *StepResult, sc *scope, phase string, r *Result) (Outputs, error) {
	if step.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, step.Timeout, fmt.Errorf("it took longer than the %d seconds that timeoutSeconds allows", int(step.Timeout/time.Second)))
		defer cancel()
	}
	if step.Loop == nil {
		return run.once(ctx, step, s, sc, phase, r)
	}
	values, err := step.Loop.values(sc.expand)
	if err != nil {
		return nil, fmt.Errorf("loop: %w", err)
	}
	at := s.Progress
	var last error
	for ; at.Iteration < len(values); at.Iteration++ {
		sc.index, sc.value = at.Iteration, values[at.Iteration]
		out, err := run.once(ctx, step, s, sc, phase, r)
		if reboot, ok := errors.AsType[*Reboot](err); ok {
			if !reboot.Again && step.Action != "ExecuteDocument" { // a document goes on by itself
				at.Iteration++
			}
			return nil, err
		}
		switch {
		case err == nil:
			at.Outputs = append(at.Outputs, out)
			continue
		case ctx.Err() != nil:
			return nil, fmt.Errorf("the loop: %w", context.Cause(ctx))
		}
		last = err
		at.Failed = append(at.Failed, at.Iteration)
		if step.OnFailure == Abort {
			break
		}
	}
	if len(at.Failed) > 0 {
		return nil, fmt.Errorf("iterations %s failed, the last with: %w", strings.Trim(fmt.Sprint(at.Failed), "[]"), last)
	}
	return merged(at.Outputs), nil
}

// merged joins the outputs of iterations, by name, with new lines.
func merged(all []Outputs) Outputs {
	out := Outputs{{}}
	for _, one := range all {
		for _, m := range one {
			for k, v := range m {
				if old, ok := out[0][k]; ok {
					v = old + "\n" + v
				}
				out[0][k] = v
			}
		}
	}
	return out
}

func (run *Run) once(ctx context.Context, step *Step, s *StepResult, sc *scope, phase string, r *Result) (Outputs, error) {
	in, err := sc.input(step.Inputs)
	if err != nil {
		return nil, err
	}
	s.Inputs = asJSON(in)
	sc.steps[phase+"."+step.Name] = &chain{Inputs: in}
	if step.Action == "ExecuteDocument" {
		outputs, err := run.nested(ctx, in, sc.document, s, r)
		if _, ok := errors.AsType[*Reboot](err); !ok && ctx.Err() == nil {
			s.DetailedOutput, s.Progress.Nested = append(s.DetailedOutput, s.Progress.Nested...), nil
		}
		return outputs, err
	}
	out, err := run.Actor.Act(ctx, step.Action, in, run.Log)
	if err != nil && ctx.Err() != nil {
		if _, ok := errors.AsType[*Reboot](err); !ok {
			return nil, context.Cause(ctx)
		}
	}
	return out, err
}

// summaries are the outputs of a step that runs documents.
func summaries(results []*Result) (out []Summary) {
	for _, r := range results {
		out = append(out, r.Summary(""))
	}
	return out
}

// nested runs the documents that ExecuteDocument names.
func (run *Run) nested(ctx context.Context, in Input, document string, s *StepResult, r *Result) (Outputs, error) {
	if len(run.above) >= maxDepth {
		return nil, fmt.Errorf("documents run documents more than %d deep", maxDepth)
	}
	list, ok := in.([]any)
	if !ok {
		list = []any{in}
	}
	above := append(slices.Clone(run.above), document)
	at := s.Progress
	var outputs Outputs
	for i, item := range list {
		m, _ := item.(map[string]any)
		text := func(key string) string { v, _ := m[key].(string); return v }
		name := text("document")
		if slices.Contains(above, name) {
			return nil, fmt.Errorf("document %s runs itself, by way of %s", name, strings.Join(above, ", "))
		}
		data, err := run.Actor.Load(ctx, name, text("document-s3-bucket-owner"))
		if err != nil {
			return nil, fmt.Errorf("document %s: %w", name, err)
		}
		doc, problems := Parse(data)
		if err := problems.Err(); err != nil {
			return nil, fmt.Errorf("document %s: %w", name, err)
		}
		inner := &Run{
			Documents: []Source{{Document: doc, Path: name, Parameters: pairsOf(m["parameters"])}},
			Actor:     run.Actor, Log: run.Log, Trace: run.Trace, Now: run.Now, above: above,
			Save: func(*Result) error { return run.save(r) },
		}
		for _, p := range strings.FieldsFunc(text("phases"), func(c rune) bool { return c == ',' || c == ' ' }) {
			inner.Phases = append(inner.Phases, p)
		}
		if i == len(at.Nested) {
			at.Nested = append(at.Nested, &Result{ExecutionID: r.ExecutionID})
		}
		if err := inner.Do(ctx, at.Nested[i]); err != nil {
			if ctx.Err() != nil && context.Cause(ctx) != nil {
				return nil, context.Cause(ctx)
			}
			return nil, err
		}
		if at.Nested[i].Status == Failed {
			return nil, errors.New(at.Nested[i].FailureMessage)
		}
		outputs = append(outputs, map[string]string{"executionId": r.ExecutionID, "status": string(at.Nested[i].Status)})
	}
	return outputs, nil
}

// pairsOf reads parameters: a mapping, or a list of mappings.
func pairsOf(in Input) map[string]string {
	out := map[string]string{}
	add := func(m map[string]any) {
		name, named := m["name"].(string)
		if value, ok := m["value"].(string); named && ok {
			out[name] = value
			return
		}
		for k, v := range m {
			switch v := v.(type) {
			case string:
				out[k] = v
			case map[string]any: // name: {value: …}
				if s, ok := v["value"].(string); ok {
					out[k] = s
				}
			}
		}
	}
	switch v := in.(type) {
	case map[string]any:
		add(v)
	case []any:
		for _, item := range v {
			if m, ok := item.(map[string]any); ok {
				add(m)
			}
		}
	}
	return out
}

// Missing returns the phases, of those wanted, that none of the documents has.
func Missing(docs []*Document, wanted []string) []string {
	var out []string
	for _, w := range wanted {
		if !slices.ContainsFunc(docs, func(d *Document) bool { return d.Phase(w) != nil }) {
			out = append(out, w)
		}
	}
	return out
}
