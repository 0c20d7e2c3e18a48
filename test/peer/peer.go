package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Releases of the real package. The newest is the measure. The last one with AWS
// Batch judges files for Batch. The baseline is what the given cases were run on:
// a difference that is put down to the release must not exist there.
const (
	newest    = "3.16.1"
	lastBatch = "3.15.1"
	baseline  = "3.12.0"
)

// errNoPeer means that the package can't be had here.
var errNoPeer = errors.New("the real ParallelCluster can't be had here")

// A peer is the real package in a folder of its own.
type peer struct {
	dir    string // the virtual environment and the other releases
	driver string
}

func (p peer) python() string { return filepath.Join(p.dir, "venv", "bin", "python") }

// install gets the package with pip, once.
func (p peer) install(ctx context.Context, log func(string, ...any)) error {
	if _, err := os.Stat(filepath.Join(p.dir, "complete")); err == nil {
		return nil
	}
	log("installing aws-parallelcluster %s, %s and %s into %s (once)", newest, lastBatch, baseline, p.dir)
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return err
	}
	var python string
	for _, name := range []string{"python3.11", "python3.12", "python3.10", "python3"} {
		if path, err := exec.LookPath(name); err == nil {
			python = path
			break
		}
	}
	if python == "" {
		return fmt.Errorf("%w: no Python", errNoPeer)
	}
	pip := []string{"-m", "pip", "install", "-q", "--disable-pip-version-check"}
	for _, command := range [][]string{
		{python, "-m", "venv", filepath.Join(p.dir, "venv")},
		append([]string{p.python()}, append(pip, "aws-parallelcluster=="+newest)...),
		append([]string{p.python()}, append(pip, "--no-deps", "--upgrade", "--target", p.release(lastBatch), "aws-parallelcluster=="+lastBatch)...),
		append([]string{p.python()}, append(pip, "--no-deps", "--upgrade", "--target", p.release(baseline), "aws-parallelcluster=="+baseline)...),
	} {
		if out, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput(); err != nil {
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			return fmt.Errorf("%w: %s: %v: %s", errNoPeer, strings.Join(command, " "), err, lines[len(lines)-1])
		}
	}
	return os.WriteFile(filepath.Join(p.dir, "complete"), []byte(newest+"\n"), 0o644)
}

func (p peer) release(version string) string { return filepath.Join(p.dir, "release-"+version) }

// judge lets each file be judged by the release that it is compared with; see run.
func (p peer) judge(ctx context.Context, items []item, create bool) (map[string]judgement, error) {
	byRelease := map[string][]item{}
	for _, it := range items {
		byRelease[measure(it)] = append(byRelease[measure(it)], it)
	}
	out := map[string]judgement{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	var errs []error
	for release, items := range byRelease {
		wg.Go(func() {
			answers, err := p.run(ctx, release, items, create)
			mu.Lock()
			defer mu.Unlock()
			maps.Copy(out, answers)
			errs = append(errs, err)
		})
	}
	wg.Wait()
	return out, errors.Join(errs...)
}

// measure returns the release that a file is compared with.
func measure(it item) string {
	if strings.Contains(it.Text, "awsbatch") || strings.Contains(it.Text, "AwsBatch") {
		return lastBatch
	}
	return newest
}

// run gives items to one release in one process. With create, files that are
// accepted are made into stacks, as far as the call of CreateStack.
func (p peer) run(ctx context.Context, version string, items []item, create bool) (map[string]judgement, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.python(), filepath.Join(p.driver, "validate.py"))
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	if version != newest {
		cmd.Env = append(cmd.Env, "PYTHONPATH="+p.release(version))
	}
	work, err := encode(items, create)
	if err != nil {
		return nil, err
	}
	var out, complaints bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(work), &out, &complaints
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("release %s: %w\n%s", version, err, complaints.String())
	}
	answers := map[string]judgement{}
	lines := bufio.NewScanner(&out)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var j judgement
		if err := json.Unmarshal(lines.Bytes(), &j); err != nil {
			return nil, fmt.Errorf("release %s: %w", version, err)
		}
		answers[j.ID] = j
	}
	for _, it := range items {
		if _, ok := answers[it.ID]; !ok {
			return nil, fmt.Errorf("release %s says nothing of %s", version, it.ID)
		}
	}
	return answers, lines.Err()
}

// encode writes the driver's input. Files that share an account share its text.
func encode(items []item, create bool) ([]byte, error) {
	type entry struct {
		item
		Facts  int  `json:"facts"`
		Create bool `json:"create,omitempty"`
	}
	var work struct {
		Facts []json.RawMessage `json:"facts"`
		Items []entry           `json:"items"`
	}
	known := map[string]int{}
	for _, it := range items {
		text, err := json.Marshal(it.facts)
		if err != nil {
			return nil, err
		}
		n, ok := known[string(text)]
		if !ok {
			n = len(work.Facts)
			known[string(text)] = n
			work.Facts = append(work.Facts, text)
		}
		work.Items = append(work.Items, entry{it, n, create})
	}
	return json.Marshal(work)
}
