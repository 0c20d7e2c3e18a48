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

// LogDirectory is where AWS's executor keeps its logs on Linux, and so does ours.
const LogDirectory = "/var/lib/amazon/toe"

// Names of the files in a log folder.
const (
	DocumentFile    = "document.yaml"
	ConsoleFile     = "console.log"
	ApplicationFile = "application.log"
	ResultFile      = "detailedoutput.json"
	ChainingFile    = "chaining.json"
)

// LogFiles are those that a run leaves in its log folder.
var LogFiles = []string{ConsoleFile, ApplicationFile, ChainingFile, ResultFile}

// NewLogFolder makes a log folder of a new execution, named as AWS's executor
// names it.
func NewLogFolder(parent string, now time.Time) (dir, executionID string, err error) {
	executionID = uuid.NewString()
	dir = logFolder(parent, now.UTC().Format(folderTime), executionID)
	return dir, executionID, os.MkdirAll(dir, 0o700)
}

const folderTime = "2006-01-02_15-04-05"

func logFolder(parent, time, executionID string) string {
	return filepath.Join(parent, "TOE_"+time+"_UTC-0_"+executionID)
}

// An Executor runs documents on this machine and keeps their log folder. One that
// is made again for the same folder goes on where the last one stopped.
type Executor struct {
	Dir         string // the log folder
	ExecutionID string
	Sources     []component.Source
	Phases      []string
	Machine     *Machine
	Earlier     []*component.Result // see component.Run
	// Console takes the lines of the console as they come, without times; nil:
	// nobody looks.
	Console func(line string)
}

// Run runs the documents. The error is a *component.Reboot when the machine is to be
// restarted, and Run called again; a document that failed is no error, but a
// result.
func (e *Executor) Run(ctx context.Context) (*component.Result, error) {
	result, err := e.load()
	if err != nil {
		return nil, err
	}
	if result.EndTime != nil {
		return result, nil
	}
	scripts := filepath.Join(e.Dir, "scripts")
	if err := os.MkdirAll(scripts, 0o700); err != nil {
		return nil, err
	}
	defer os.RemoveAll(scripts)
	keepReserve(e.Dir)
	defer os.Remove(reserveFile(e.Dir))
	e.Machine.Dir = scripts
	console, err := os.OpenFile(filepath.Join(e.Dir, ConsoleFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer console.Close()
	application, err := os.OpenFile(filepath.Join(e.Dir, ApplicationFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer application.Close()
	// A disk that is full ends no step: the line is lost, and the step will say so
	// itself if it wanted to write.
	note := func(f *os.File, level, line string) {
		_, _ = fmt.Fprintf(f, "%s %s %s\n", time.Now().UTC().Format("2006-01-02 15:04:05.000"), level, line)
	}
	log := func(line string) {
		note(console, "Info", line)
		if e.Console != nil {
			e.Console(line)
		}
	}
	run := &component.Run{Documents: e.Sources, Phases: e.Phases, Actor: e.Machine, Log: log, Save: e.save, Now: time.Now, Earlier: e.Earlier,
		Trace: func(line string) { note(application, "Debug", line) }}
	err = run.Do(ctx, result)
	if reboot, ok := errors.AsType[*component.Reboot](err); ok {
		log("Executor: the machine is going to be restarted")
		return result, reboot
	}
	if err != nil {
		log("TOE has completed execution with failure - " + err.Error())
		return result, err
	}
	log("Executor: FINISHED EXECUTION OF ALL DOCUMENTS")
	if result.Status == component.Failed {
		log("TOE has completed execution with failure - Execution failed!")
	} else {
		log("TOE has completed execution successfully")
	}
	return result, nil
}

func (e *Executor) load() (*component.Result, error) {
	data, err := os.ReadFile(filepath.Join(e.Dir, ResultFile))
	if errors.Is(err, os.ErrNotExist) {
		return &component.Result{ExecutionID: e.ExecutionID}, nil
	}
	if err != nil {
		return nil, err
	}
	r := &component.Result{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("how far the last run came: %w", err)
	}
	return r, nil
}

// save writes the result, and the values that expressions can speak of. The result
// goes last: it says how far the run is.
func (e *Executor) save(r *component.Result) error {
	if err := writeJSON(filepath.Join(e.Dir, ChainingFile), r.Chaining()); err != nil {
		return err
	}
	return writeJSON(filepath.Join(e.Dir, ResultFile), r)
}

// writeJSON writes a file, whole or not at all.
func writeJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	err = os.WriteFile(path+".new", append(data, '\n'), 0o600)
	if errors.Is(err, syscall.ENOSPC) && os.Remove(reserveFile(filepath.Dir(path))) == nil {
		err = os.WriteFile(path+".new", append(data, '\n'), 0o600)
	}
	if err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// A step that fills the disk must not keep us from saying so: a log folder has a
// reserve, which is given up then.
const reserve = 512 << 10

func reserveFile(dir string) string { return filepath.Join(dir, ".reserve") }

// keepReserve makes the reserve of a log folder, if the disk has room for it.
func keepReserve(dir string) {
	if _, err := os.Stat(reserveFile(dir)); err == nil {
		return
	}
	if os.WriteFile(reserveFile(dir), make([]byte, reserve), 0o600) != nil {
		_ = os.Remove(reserveFile(dir))
	}
}
