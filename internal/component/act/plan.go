//go:build unix

package act

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/google/uuid"

	"pcluster/internal/component"
)

// A Plan is what the executor on a machine of an image build has to do: all
// documents, phase by phase. It is in a file beside the documents.
type Plan struct {
	ExecutionID string
	Phases      []string
	Documents   []PlannedDocument
}

// A PlannedDocument is a document of a plan.
type PlannedDocument struct {
	File       string // beside the plan
	Path       string // where it came from, for logs
	Parameters map[string]string
}

// Files on the machine that tell how the plan goes on.
const (
	PlanFile    = "plan.json"
	OutcomeFile = LogDirectory + "/outcome.json"
	PlanConsole = LogDirectory + "/" + ConsoleFile // of all phases
)

// RunPlan carries out the plan in dir and writes down its outcome. It goes on where
// an earlier call stopped. The error is a *component.Reboot when the machine is to
// be restarted, and RunPlan called again.
func RunPlan(ctx context.Context, dir, logs string, m *Machine, console func(string)) error {
	outcomeFile := filepath.Join(logs, filepath.Base(OutcomeFile))
	if _, err := os.Stat(outcomeFile); err == nil {
		return nil // done before a restart that somebody else wanted
	}
	if err := os.MkdirAll(logs, 0o700); err != nil {
		return err
	}
	keepReserve(logs)
	defer os.Remove(reserveFile(logs))
	var out component.Outcome
	err := runPlan(ctx, dir, logs, m, console, &out)
	if _, ok := errors.AsType[*component.Reboot](err); ok || ctx.Err() != nil {
		return err
	}
	if err != nil {
		out.Status, out.FailureMessage = component.Failed, err.Error()
	}
	return writeJSON(outcomeFile, out)
}

func runPlan(ctx context.Context, dir, logs string, m *Machine, console func(string), out *component.Outcome) error {
	data, err := os.ReadFile(filepath.Join(dir, PlanFile))
	if err != nil {
		return err
	}
	var plan Plan
	if err := json.Unmarshal(data, &plan); err != nil {
		return fmt.Errorf("%s: %w", PlanFile, err)
	}
	log, err := os.OpenFile(filepath.Join(logs, ConsoleFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	var sources []component.Source
	texts := map[string][]byte{}
	for _, d := range plan.Documents {
		text, err := os.ReadFile(filepath.Join(dir, d.File))
		if err != nil {
			return err
		}
		doc, problems := component.Parse(text)
		if err := problems.Err(); err != nil {
			return fmt.Errorf("%s: %w", d.Path, err)
		}
		texts[d.Path] = text
		sources = append(sources, component.Source{Document: doc, Path: d.Path, Parameters: d.Parameters})
	}
	out.Status = component.Success
	for _, phase := range plan.Phases {
		if len(having(sources, phase)) == 0 {
			continue
		}
		folder, id, err := phaseFolder(logs, phase, plan.ExecutionID)
		if err != nil {
			return err
		}
		if err := keepDocuments(folder, having(sources, phase), texts); err != nil {
			return err
		}
		e := &Executor{Dir: folder, ExecutionID: id, Sources: having(sources, phase), Phases: []string{phase}, Machine: m, Earlier: out.Results,
			Console: func(line string) {
				// The reader takes the time from here; lines that are lost on a full disk
				// are lost.
				_, _ = fmt.Fprintf(log, "%d %s\n", time.Now().UnixMilli(), line)
				if console != nil {
					console(line)
				}
			}}
		result, err := e.Run(ctx)
		if err != nil {
			return err
		}
		out.Results, out.Folders = append(out.Results, result), append(out.Folders, filepath.Base(folder))
		if result.Status == component.Failed {
			out.Status, out.FailureMessage = component.Failed, result.FailureMessage
			return nil
		}
		if result.Status == component.SuccessWithIgnoredFailure {
			out.Status = result.Status
		}
	}
	return nil
}

// phaseFolder is the log folder of a phase of a plan: one that is there, or a new one.
// Each phase is an execution of its own, as on AWS.
func phaseFolder(logs, phase, planID string) (dir, executionID string, err error) {
	executionID = uuid.NewSHA1(uuid.NameSpaceURL, []byte(planID+"/"+phase)).String()
	found, err := filepath.Glob(logFolder(logs, "*", executionID))
	if err != nil {
		return "", "", err
	}
	if len(found) > 0 {
		return found[0], executionID, nil
	}
	dir = logFolder(logs, time.Now().UTC().Format(folderTime), executionID)
	return dir, executionID, os.MkdirAll(dir, 0o700)
}

// keepDocuments keeps what a phase was told to do in its log folder.
func keepDocuments(folder string, sources []component.Source, texts map[string][]byte) error {
	for i, s := range sources {
		name := DocumentFile
		if len(sources) > 1 {
			name = fmt.Sprintf("document-%d.yaml", i+1)
		}
		if err := os.WriteFile(filepath.Join(folder, name), texts[s.Path], 0o600); err != nil && !errors.Is(err, syscall.ENOSPC) {
			return err
		}
	}
	return nil
}

// having returns the documents that have the phase.
func having(sources []component.Source, phase string) []component.Source {
	var out []component.Source
	for _, s := range sources {
		if s.Document.Phase(phase) != nil {
			out = append(out, s)
		}
	}
	return out
}
