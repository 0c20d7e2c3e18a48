// Peer compares our judgement of cluster and image files with that of the real
// ParallelCluster.
//
// It installs the package aws-parallelcluster into a folder of its own, gives it
// the given validator cases, the examples and files that it generates from the
// table of keys, and lets our rules judge the same files with the same account.
// The real tool's commands run as they are; only AWS is an account on paper
// (driver/account.py). Differences that verdicts.yaml does not explain fail.
//
// Start at [generate] for the files, at [compare] for what counts as different.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); errors.Is(err, errNoPeer) {
		fmt.Println("peer: SKIPPED:", err)
	} else if err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}

func run(arguments []string, out io.Writer) error {
	flags := flag.NewFlagSet("peer", flag.ContinueOnError)
	cache := flags.String("cache", ".cache/peer", "folder for the real package")
	cases := flags.String("cases", "test/cases/validator-cases.json", "file of validator cases")
	stacks := flags.Bool("stacks", false, "compare the stacks that files are made into")
	only := flags.String("run", "", "only files whose ID matches this expression")
	show := flags.Bool("v", false, "list explained differences, too")
	print := flags.Bool("print", false, "print the files that -run selects instead of judging them")
	input := flags.Bool("input", false, "print the driver's input for the files that -run selects")
	singles := flags.Int("singles", 900, "files with one mutation")
	pairs := flags.Int("pairs", 300, "files with two mutations")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	pattern, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	corpus, err := collect(*cases, *singles, *pairs)
	if err != nil {
		return err
	}
	var chosen []item
	for _, it := range corpus {
		if pattern.MatchString(it.ID) {
			chosen = append(chosen, it)
		}
	}
	if *input {
		work, err := encode(chosen, false)
		if err == nil {
			_, err = out.Write(work)
		}
		return err
	}
	if *print {
		for _, it := range chosen {
			fmt.Fprintf(out, "# %s\n%s\n", it.ID, it.Text)
		}
		return nil
	}
	if *stacks {
		return checkStacks(context.Background(), peerAt(*cache), chosen, *only == "", *show, out)
	}
	return check(context.Background(), peerAt(*cache), chosen, *only == "", *show, out)
}

func peerAt(cache string) peer {
	abs, err := filepath.Abs(cache)
	if err != nil {
		abs = cache
	}
	return peer{dir: abs, driver: "test/peer/driver"}
}

// collect returns all files to be judged.
func collect(cases string, singles, pairs int) ([]item, error) {
	corpus, facts, err := readCases(cases)
	if err != nil {
		return nil, err
	}
	bases, err := readBases("test/peer/testdata", facts)
	if err != nil {
		return nil, err
	}
	generated, err := generate(bases, singles, pairs)
	if err != nil {
		return nil, err
	}
	return append(append(corpus, bases...), generated...), nil
}

// check judges the files and reports.
func check(ctx context.Context, p peer, corpus []item, all, show bool, out io.Writer) error {
	say := func(format string, args ...any) { fmt.Fprintf(out, "peer: "+format+"\n", args...) }
	verdicts, err := readVerdicts("test/peer/verdicts.yaml")
	if err != nil {
		return err
	}
	if err := p.install(ctx, say); err != nil {
		return err
	}
	byRelease := map[string][]item{}
	for _, it := range corpus {
		byRelease[measure(it)] = append(byRelease[measure(it)], it)
	}
	theirs := map[string]judgement{}
	start := time.Now()
	for release, items := range byRelease {
		answers, err := p.run(ctx, release, items, false)
		if err != nil {
			return err
		}
		for id, j := range answers {
			theirs[id] = j
		}
	}
	took := time.Since(start)
	start = time.Now()
	var found []difference
	same := 0
	var suspects []item // files whose difference is put down to the release
	mine := map[string]judgement{}
	for _, it := range corpus {
		j, err := ours(it)
		if err != nil {
			return fmt.Errorf("%s: %w", it.ID, err)
		}
		mine[it.ID] = j
		d := compare(theirs[it.ID], j)
		if len(d) == 0 {
			same++
		}
		found = append(found, d...)
	}
	tookUs := time.Since(start)
	unexplained, perVerdict := 0, map[string]int{}
	release := map[string]bool{}
	for _, d := range found {
		v := explain(verdicts, d)
		if v == nil {
			unexplained++
			fmt.Fprintln(out, "UNEXPLAINED", d)
			continue
		}
		perVerdict[v.Verdict]++
		if v.Verdict == "release" {
			release[d.file] = true
		}
		if show {
			fmt.Fprintf(out, "%s: %s\n    %s\n", v.Verdict, d, v.Reason)
		}
	}
	for _, it := range corpus {
		if release[it.ID] {
			suspects = append(suspects, it)
		}
	}
	if err := confirm(ctx, p, suspects, mine, verdicts); err != nil {
		return err
	}
	if all {
		for _, v := range verdicts {
			if v.used == 0 {
				return fmt.Errorf("verdicts.yaml: %q explains nothing any more", v.Reason)
			}
		}
	}
	say("%d files, %d judged alike; differences: %d better, %d equal, %d deliberate, %d of the release, %d unexplained",
		len(corpus), same, perVerdict["better"], perVerdict["equal"], perVerdict["deliberate"], perVerdict["release"], unexplained)
	say("ParallelCluster %s took %.1f s, ours %.1f s", newest, took.Seconds(), tookUs.Seconds())
	if unexplained > 0 {
		return fmt.Errorf("%d unexplained differences", unexplained)
	}
	return nil
}

// measure returns the release that a file is compared with.
func measure(it item) string {
	if strings.Contains(it.Text, "awsbatch") || strings.Contains(it.Text, "AwsBatch") {
		return lastBatch
	}
	return newest
}

// confirm checks verdicts that blame the release: the baseline must agree with us.
func confirm(ctx context.Context, p peer, items []item, mine map[string]judgement, verdicts []*verdict) error {
	if len(items) == 0 {
		return nil
	}
	before, err := p.run(ctx, baseline, items, false)
	if err != nil {
		return err
	}
	for _, it := range items {
		for _, d := range compare(before[it.ID], mine[it.ID]) {
			if v := explain(verdicts, d); v == nil || v.Verdict == "release" {
				return fmt.Errorf("%v: put down to the release, but %s says the same", d, baseline)
			}
		}
	}
	return nil
}

func explain(verdicts []*verdict, d difference) *verdict {
	for _, v := range verdicts {
		if v.explains(d) {
			v.used++
			return v
		}
	}
	return nil
}

func readVerdicts(path string) ([]*verdict, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var out []*verdict
	if err := yaml.UnmarshalWithOptions(data, &out, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, v := range out {
		switch v.Verdict {
		case "better", "equal", "deliberate", "release":
		default:
			return nil, fmt.Errorf("%s: %q is no verdict", path, v.Verdict)
		}
		if v.Reason == "" || len(v.What) == 0 {
			return nil, fmt.Errorf("%s: a verdict says what it explains, and why", path)
		}
	}
	return out, nil
}

// checkStacks compares what files are made into.
func checkStacks(ctx context.Context, p peer, corpus []item, all, show bool, out io.Writer) error {
	say := func(format string, args ...any) { fmt.Fprintf(out, "peer: "+format+"\n", args...) }
	verdicts, err := readVerdicts("test/peer/verdicts-stacks.yaml")
	if err != nil {
		return err
	}
	if err := p.install(ctx, say); err != nil {
		return err
	}
	start := time.Now()
	theirs, err := p.run(ctx, newest, corpus, true)
	if err != nil {
		return err
	}
	took := time.Since(start)
	compared, unexplained, perVerdict := 0, 0, map[string]int{}
	report := func(d difference) {
		v := explain(verdicts, d)
		if v == nil {
			unexplained++
			fmt.Fprintln(out, "UNEXPLAINED", d)
			return
		}
		perVerdict[v.Verdict]++
		if show {
			fmt.Fprintf(out, "%s: %s\n    %s\n", v.Verdict, d, v.Reason)
		}
	}
	for _, it := range corpus {
		t := theirs[it.ID]
		if t.Stack.Root == nil {
			if all {
				return fmt.Errorf("%s: the real tool makes no stack: %s %s", it.ID, t.Outcome, t.Message)
			}
			continue
		}
		compared++
		o, err := synthesize(it)
		if err != nil {
			report(difference{it.ID, "lacks the stack", err.Error()})
			continue
		}
		for _, d := range compareStacks(it.ID, observe(t.Stack), observe(o)) {
			report(d)
		}
	}
	say("stacks of %d files; differences: %d better, %d equal, %d deliberate, %d of the release, %d unexplained; the real tool took %.1f s",
		compared, perVerdict["better"], perVerdict["equal"], perVerdict["deliberate"], perVerdict["release"], unexplained, took.Seconds())
	if unexplained > 0 {
		return fmt.Errorf("%d unexplained differences", unexplained)
	}
	return nil
}
