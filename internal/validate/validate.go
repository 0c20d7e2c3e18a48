// Package validate judges what a file means: whether its parts fit each other,
// and whether what it refers to exists in the account. The shape of the file is
// package config's business.
//
// Start with [Cluster]. order.go lists what is checked, in the order in which
// findings are reported; the checks are small functions in the file of their
// domain. A check is known by the name of its validator, which users see in
// messages and suppress by; a name may have several checks. To add one, write it
// where its domain is and list it in order.go. Checks see the file with its
// implied values and ask a facts.Source; they know nothing of AWS's SDK.
//
// Some answers of AWS are needed before checks make sense, such as the
// instance types that the file names. What of those is missing is reported apart,
// in [Report.Aborted].
package validate

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"pcluster/internal/config"
	"pcluster/internal/facts"
)

// Options are what checks need to know beside the file.
type Options struct {
	ClusterName string
	Region      string // in which the cluster is going to be
	Suppress    Suppress

	// Of a cluster that exists, in an update:
	HeadInstance string // ID of the head node
	HeadGroup    string // security group made for the head node
	ComputeGroup string // security group made for compute nodes
}

// Suppress says which validators do not run.
type Suppress struct {
	all   bool
	names map[string]bool
}

var suppression = regexp.MustCompile(`^(ALL|type:[A-Za-z0-9]+)$`)

// ParseSuppress reads the values of --suppress-validators: ALL, or type:NAME.
// Names that no validator has are ignored.
func ParseSuppress(values []string) (Suppress, error) {
	s := Suppress{names: map[string]bool{}}
	for _, v := range values {
		if !suppression.MatchString(v) {
			return s, fmt.Errorf("%q is not a validator to suppress: use ALL or type:NAME, such as type:KeyPairValidator", v)
		}
		if v == "ALL" {
			s.all = true
		}
		if name, ok := strings.CutPrefix(v, "type:"); ok {
			s.names[name] = true
		}
	}
	return s, nil
}

// A Report is what was found in a file.
type Report struct {
	// Found is what the validators say, in order.
	Found config.Problems
	// Aborted is what could not be looked up although the checks rest on it. A
	// request with such a file is refused for the first of these alone, whatever is
	// suppressed. Found then has what could be checked nevertheless.
	Aborted config.Problems
	// Unanswered are the names of validators, sorted, that would have needed AWS but
	// could not ask, see [facts.Memory]; they may have found something without.
	Unanswered []string

	missing []string // IDs and names of what aborts
}

// All returns everything that was found, what aborts first. What checks say about
// things that are missing anyway is left out.
func (r Report) All() config.Problems {
	return slices.Concat(r.Aborted, slices.DeleteFunc(slices.Clone(r.Found), func(p config.Problem) bool {
		return slices.ContainsFunc(r.missing, func(name string) bool { return strings.Contains(p.Message, name) })
	}))
}

// A task is one check of one part of the file, under its validator's name.
type task struct {
	name  string
	check func(*check)
	once  string // tasks of one name with the same key report what they find only once
}

// plan collects tasks in the order of their findings; late ones come after all others.
type plan struct{ tasks, late []task }

func (p *plan) add(name string, f func(*check)) {
	p.tasks = append(p.tasks, task{name: name, check: f})
}

// run carries out tasks and returns what they find, in order.
func run(ctx context.Context, p *plan, e *env) (config.Problems, []string) {
	e.ctx = ctx
	var list []task
	seen := map[string]bool{}
	for _, t := range slices.Concat(p.tasks, p.late) {
		key := t.name + " " + t.once
		if e.o.Suppress.all || e.o.Suppress.names[t.name] || t.once != "" && seen[key] {
			continue
		}
		seen[key] = true
		list = append(list, t)
	}
	found := make([]*check, len(list))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(atOnce, len(list)) {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(list) {
					return
				}
				found[i] = e.perform(ctx, list[i])
			}
		})
	}
	wg.Wait()
	var out config.Problems
	var unanswered []string
	for _, k := range found {
		out = append(out, k.found...)
		if k.unanswered {
			unanswered = append(unanswered, k.name)
		}
	}
	slices.Sort(unanswered)
	return out, slices.Compact(unanswered)
}

// atOnce bounds the checks that run at the same time, and so the calls to AWS.
const atOnce = 32

func (e *env) perform(ctx context.Context, t task) *check {
	k := &check{env: e, name: t.name}
	k.ctx = facts.OnUnanswered(ctx, func() { k.unanswered = true })
	t.check(k)
	return k
}

// check is one run of one task.
type check struct {
	*env
	ctx        context.Context // in place of env's: knows whose questions they are
	name       string
	found      config.Problems
	unanswered bool
	silent     bool // the last report was none
}

// report notes a finding. One that comes of an answer that nobody was asked for
// is none.
func (k *check) report(level config.Level, path, format string, args ...any) {
	for _, a := range args {
		if err, ok := a.(error); ok && errors.Is(err, facts.ErrOffline) {
			k.unanswered, k.silent = true, true
			return
		}
	}
	k.silent = false
	k.found = append(k.found, config.Problem{
		Level: level, Validator: k.name, Path: path, Pos: k.pos(path), Message: fmt.Sprintf(format, args...),
	})
}

func (k *check) errorf(path, format string, args ...any) {
	k.report(config.Error, path, format, args...)
}
func (k *check) warnf(path, format string, args ...any) {
	k.report(config.Warning, path, format, args...)
}
func (k *check) infof(path, format string, args ...any) { k.report(config.Info, path, format, args...) }

// hint says what to do about the problem reported last.
func (k *check) hint(format string, args ...any) {
	if !k.silent {
		k.found[len(k.found)-1].Hint = fmt.Sprintf(format, args...)
	}
}

// at returns the path of an item of a list.
func at(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }
