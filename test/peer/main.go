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
	"slices"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); errors.Is(err, errNoPeer) {
		fmt.Println("peer: SKIPPED:", err)
	} else if err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	cache, cases   string
	only           string
	stacks, show   bool
	singles, pairs int
}

func run(arguments []string, out io.Writer) error {
	var o options
	flags := flag.NewFlagSet("peer", flag.ContinueOnError)
	flags.StringVar(&o.cache, "cache", ".cache/peer", "folder for the real package")
	flags.StringVar(&o.cases, "cases", "test/validatorcases/testdata/*.json", "files of validator cases")
	flags.StringVar(&o.only, "run", "", "only files whose ID matches this expression")
	flags.BoolVar(&o.stacks, "stacks", false, "with -run: compare the stacks of these files instead of their judgement")
	flags.BoolVar(&o.show, "v", false, "list explained differences, too")
	flags.IntVar(&o.singles, "singles", 900, "files with one mutation")
	flags.IntVar(&o.pairs, "pairs", 300, "files with two mutations")
	print := flags.Bool("print", false, "print the files that -run selects, and judge nothing")
	input := flags.Bool("input", false, "print the driver's input for the files that -run selects")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	corpus, err := collect(o)
	if err != nil {
		return err
	}
	switch {
	case *input:
		work, err := encode(corpus, o.stacks)
		if err == nil {
			_, err = out.Write(work)
		}
		return err
	case *print:
		for _, it := range corpus {
			fmt.Fprintf(out, "# %s\n%s\n", it.ID, it.Text)
		}
		return nil
	}
	dir, err := filepath.Abs(o.cache)
	if err != nil {
		return err
	}
	c := checker{peer: peer{dir: dir, driver: "test/peer/driver"}, options: o, out: out}
	ctx := context.Background()
	if err := c.peer.install(ctx, c.say); err != nil {
		return err
	}
	if o.only != "" && o.stacks {
		return c.stacks(ctx, corpus)
	}
	theirs, judged := c.judge(ctx, corpus)
	if theirs == nil || o.only != "" {
		return judged
	}
	return errors.Join(judged, c.stacks(ctx, forStacks(corpus, theirs)))
}

// collect returns the files to be judged.
func collect(o options) ([]item, error) {
	pattern, err := regexp.Compile(o.only)
	if err != nil {
		return nil, err
	}
	paths, err := filepath.Glob(o.cases)
	if err != nil || len(paths) == 0 {
		return nil, fmt.Errorf("no files of cases are at %s (%w)", o.cases, err)
	}
	var cases []item
	var facts account
	for _, p := range slices.Backward(paths) { // those that were given are the first
		list, account, err := readCases(p)
		if err != nil {
			return nil, err
		}
		cases = append(cases, list...)
		if facts == nil {
			facts = account
		}
	}
	examples, err := readExamples("test/peer/testdata", "examples", facts)
	if err != nil {
		return nil, err
	}
	bases, err := readBases("test/peer/testdata", facts)
	if err != nil {
		return nil, err
	}
	images, err := readImages("test/peer/testdata", facts)
	if err != nil {
		return nil, err
	}
	generated, err := generate(bases, o.singles, o.pairs)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Concat(cases, examples, images, bases, generated), func(it item) bool { return !pattern.MatchString(it.ID) }), nil
}

// A checker compares a corpus and reports.
type checker struct {
	peer    peer
	options options
	out     io.Writer
}

func (c checker) say(format string, args ...any) {
	fmt.Fprintf(c.out, "peer: "+format+"\n", args...)
}

// judge compares the judgements of the files, and returns those of the real tool.
func (c checker) judge(ctx context.Context, corpus []item) (map[string]judgement, error) {
	verdicts, err := readVerdicts("test/peer/verdicts.yaml")
	if err != nil {
		return nil, err
	}
	start := time.Now()
	theirs, err := c.peer.judge(ctx, corpus, false)
	if err != nil {
		return nil, err
	}
	theirTime := time.Since(start)
	start = time.Now()
	r := report{checker: c, verdicts: verdicts}
	mine := map[string]judgement{}
	alike := 0
	for _, it := range corpus {
		j, err := ours(it)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", it.ID, err)
		}
		mine[it.ID] = j
		found := compare(theirs[it.ID], j)
		if len(found) == 0 {
			alike++
		}
		r.add(found)
	}
	ourTime := time.Since(start)
	c.say("%d files judged, %d alike; the real tool took %.1f s, ours %.1f s", len(corpus), alike, theirTime.Seconds(), ourTime.Seconds())
	if err := c.confirm(ctx, corpus, mine, &r); err != nil {
		return theirs, err
	}
	return theirs, r.close()
}

// confirm checks verdicts that blame the release: the baseline must agree with us.
func (c checker) confirm(ctx context.Context, corpus []item, mine map[string]judgement, r *report) error {
	var items []item
	for _, it := range corpus {
		if r.doubtful[it.ID] {
			items = append(items, it)
		}
	}
	if len(items) == 0 {
		return nil
	}
	before, err := c.peer.run(ctx, baseline, items, false)
	if err != nil {
		return err
	}
	for _, it := range items {
		for _, d := range compare(before[it.ID], mine[it.ID]) {
			if r.release[d.String()] {
				return fmt.Errorf("%v: put down to the release, but %s says the same", d, baseline)
			}
		}
	}
	return nil
}

// forStacks chooses files to make stacks of: the examples, the images, the bases, and
// of the generated ones for clusters that the real tool accepts one for each key, until
// it is enough.
func forStacks(corpus []item, theirs map[string]judgement) []item {
	const enough = 60
	var out []item
	seen := map[string]bool{}
	for _, it := range corpus {
		source, rest, _ := strings.Cut(it.ID, "/")
		base, mutation, generated := strings.Cut(rest, "/")
		switch {
		case theirs[it.ID].Outcome != "accepted" || source == "cases", it.Kind != "cluster" && generated:
			continue
		case strings.Contains(it.Text, "ClusterTemplate"):
			continue // nothing that the real tool would make itself
		case source == "bases" && generated:
			where, change, _ := strings.Cut(mutation, "/")
			if strings.HasPrefix(where, "Region") {
				continue // the account on paper is in one region
			}
			key := indexes.ReplaceAllString(where, "[]")
			if !strings.HasPrefix(change, "=") || strings.Contains(change, "+") || seen[base+key] || len(out) >= enough {
				continue
			}
			seen[base+key] = true
		}
		out = append(out, it)
	}
	return out
}

var indexes = regexp.MustCompile(`\[\d+\]`)

// stacks compares what files are made into.
func (c checker) stacks(ctx context.Context, corpus []item) error {
	verdicts, err := readVerdicts("test/peer/verdicts-stacks.yaml")
	if err != nil {
		return err
	}
	start := time.Now()
	theirs, err := c.peer.judge(ctx, corpus, true)
	if err != nil {
		return err
	}
	took := time.Since(start)
	r := report{checker: c, verdicts: verdicts}
	for _, it := range corpus {
		t := theirs[it.ID]
		o, err := synthesize(it)
		if t.Stack.Root == nil {
			if err == nil {
				r.add([]difference{{it.ID, "makes a stack where the real tool breaks", t.Message}})
			}
			continue
		}
		if err != nil {
			r.add([]difference{{it.ID, "lacks the stack", err.Error()}})
			continue
		}
		r.add(compareStacks(it.ID, observe(t.Stack), observe(o)))
	}
	c.say("stacks of %d files compared; the real tool took %.1f s", len(corpus), took.Seconds())
	return r.close()
}

// A report counts differences and prints those that nothing explains.
type report struct {
	checker
	verdicts    []*verdict
	counts      map[string]int
	release     map[string]bool // differences that are put down to the release
	doubtful    map[string]bool // their files
	unexplained int
}

func (r *report) add(found []difference) {
	for _, d := range found {
		v := explain(r.verdicts, d)
		if v == nil {
			r.unexplained++
			fmt.Fprintln(r.out, "UNEXPLAINED", d)
			continue
		}
		if r.counts == nil {
			r.counts, r.release, r.doubtful = map[string]int{}, map[string]bool{}, map[string]bool{}
		}
		r.counts[v.Verdict]++
		if v.Verdict == "release" {
			r.release[d.String()], r.doubtful[d.file] = true, true
		}
		if r.options.show {
			fmt.Fprintf(r.out, "%s: %s\n    %s\n", v.Verdict, d, v.Reason)
		}
	}
}

// close says how it went. In a whole run, a verdict that explains nothing is stale.
func (r *report) close() error {
	r.say("differences: %d better, %d equal, %d deliberate, %d of the release, %d unexplained",
		r.counts["better"], r.counts["equal"], r.counts["deliberate"], r.counts["release"], r.unexplained)
	var errs []error
	if r.unexplained > 0 {
		errs = append(errs, fmt.Errorf("%d unexplained differences", r.unexplained))
	}
	if r.options.only == "" {
		for _, v := range r.verdicts {
			if v.used == 0 {
				errs = append(errs, fmt.Errorf("the verdict %q explains nothing any more", v.Reason))
			}
		}
	}
	return errors.Join(errs...)
}
