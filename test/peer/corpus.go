package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// An item is one file to be judged by both.
type item struct {
	ID   string `json:"id"`
	Text string `json:"text"`
	Kind string `json:"kind"` // cluster or image
	Args args   `json:"args"`

	facts account
}

// args are what a request says beside the file, in the words of the cases.
type args struct {
	ClusterName  string   `json:"cluster_name,omitempty"`
	Region       string   `json:"region,omitempty"`
	Operation    string   `json:"operation,omitempty"`
	HeadInstance string   `json:"head_node_instance_id,omitempty"`
	HeadGroup    string   `json:"managed_head_node_sg,omitempty"`
	ComputeGroup string   `json:"managed_compute_sg,omitempty"`
	Kind         string   `json:"kind,omitempty"`
	Command      string   `json:"command,omitempty"`
	DryRun       bool     `json:"dryrun,omitempty"`
	Suppress     []string `json:"suppress,omitempty"`
	FailureLevel string   `json:"failure_level,omitempty"`
	ImageID      string   `json:"image_id,omitempty"`
}

// An account is what AWS answers, in the form that the cases have it.
type account map[string]any

// with returns the account with facts merged by key, two levels deep.
func (a account) with(more map[string]any) account {
	out := maps.Clone(a)
	for k, v := range more {
		switch v := v.(type) {
		case map[string]any:
			old, _ := out[k].(map[string]any)
			merged := maps.Clone(old)
			if merged == nil {
				merged = map[string]any{}
			}
			for name, fact := range v {
				if inner, ok := fact.(map[string]any); ok {
					if have, ok := merged[name].(map[string]any); ok {
						both := maps.Clone(have)
						maps.Copy(both, inner)
						fact = both
					}
				}
				merged[name] = fact
			}
			out[k] = merged
		case []any:
			old, _ := out[k].([]any)
			out[k] = append(slices.Clip(old), v...)
		default:
			out[k] = v
		}
	}
	return out
}

// caseFile is the form of the given cases.
type caseFile struct {
	Bases map[string]any `json:"bases"`
	Facts account        `json:"default_facts"`
	Cases []struct {
		ID      string         `json:"id"`
		Base    string         `json:"base"`
		Snippet string         `json:"snippet"`
		Facts   map[string]any `json:"facts"`
		Args    args           `json:"args"`
	} `json:"cases"`
}

// readCases reads a file of cases and makes a whole file of each.
func readCases(path string) (items []item, facts account, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	var f caseFile
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, c := range f.Cases {
		it := item{ID: "cases/" + c.ID, Text: c.Snippet, Kind: "cluster", Args: c.Args, facts: f.Facts.with(c.Facts)}
		if c.Base == "image" || c.Args.Command == "build-image" || c.Args.Kind == "image" {
			it.Kind = "image"
		}
		if c.Base != "none" {
			var snippet any
			if err := yaml.Unmarshal([]byte(c.Snippet), &snippet); err != nil {
				return nil, nil, fmt.Errorf("%s: %s: %w", path, c.ID, err)
			}
			// JSON is YAML, and says what is text beyond doubt.
			text, err := json.MarshalIndent(merge(f.Bases[c.Base], snippet), "", "  ")
			if err != nil {
				return nil, nil, fmt.Errorf("%s: %s: %w", path, c.ID, err)
			}
			it.Text = string(text)
		}
		items = append(items, it)
	}
	return items, f.Facts, nil
}

// merge lays a snippet over a base: maps by key, where null removes one, lists of
// maps by position; anything else replaces.
func merge(base, over any) any {
	switch over := over.(type) {
	case map[string]any:
		b, ok := base.(map[string]any)
		if !ok {
			return over
		}
		out := maps.Clone(b)
		for k, v := range over {
			if v == nil {
				delete(out, k)
			} else {
				out[k] = merge(out[k], v)
			}
		}
		return out
	case []any:
		b, ok := base.([]any)
		if !ok || len(over) == 0 || !allMaps(b) || !allMaps(over) {
			return over
		}
		out := slices.Clone(b)
		for i, v := range over {
			if i < len(out) {
				out[i] = merge(out[i], v)
			} else {
				out = append(out, v)
			}
		}
		return out
	case nil:
		return base
	}
	return over
}

func allMaps(list []any) bool {
	return !slices.ContainsFunc(list, func(v any) bool { _, ok := v.(map[string]any); return !ok })
}

// readBases reads the files that mutations start from, and the account in which
// everything exists that they refer to.
func readBases(dir string, facts account) ([]item, error) {
	more, err := readFacts(filepath.Join(dir, "facts.json"))
	if err != nil {
		return nil, err
	}
	facts = facts.with(more)
	paths, err := filepath.Glob(filepath.Join(dir, "bases", "*.yaml"))
	if err != nil {
		return nil, err
	}
	var out []item
	for _, p := range paths {
		text, err := os.ReadFile(p)
		if err != nil {
			return nil, err
		}
		name := strings.TrimSuffix(filepath.Base(p), ".yaml")
		it := item{ID: "bases/" + name, Text: string(text), Kind: "cluster", facts: facts}
		if strings.HasPrefix(name, "image") {
			it.Kind = "image"
		}
		out = append(out, it)
	}
	return out, nil
}

// seedImage is the image file that a whole life of an image is tested with.
const seedImage = "test/e2e/testdata/image/seed-config.yaml"

// readImages reads image files that are not mutated, and are made into stacks.
func readImages(dir string, facts account) ([]item, error) {
	for _, name := range []string{"facts.json", "images/facts.json"} {
		more, err := readFacts(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			return nil, err
		}
		facts = facts.with(more)
	}
	paths, err := filepath.Glob(filepath.Join(dir, "images", "*.yaml"))
	if err != nil {
		return nil, err
	}
	var out []item
	for _, p := range append(paths, filepath.FromSlash(seedImage)) {
		text, err := os.ReadFile(p)
		if err != nil {
			return nil, err
		}
		out = append(out, item{ID: "images/" + strings.TrimSuffix(filepath.Base(p), ".yaml"), Text: string(text), Kind: "image", facts: facts})
	}
	return out, nil
}

func readFacts(path string) (map[string]any, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var facts map[string]any
	if err := json.Unmarshal(data, &facts); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return facts, nil
}

// readExamples reads the cluster files below examples/, each with the account that
// testdata/examples has for it.
func readExamples(dir, root string, facts account) ([]item, error) {
	var out []item
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".yaml" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		it := item{Text: string(text), Kind: "cluster"}
		switch {
		case strings.Contains("\n"+it.Text, "\nBuild:"):
			it.Kind = "image"
		case !strings.Contains("\n"+it.Text, "\nHeadNode:"):
			return nil // neither a cluster nor an image
		}
		rest, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		example, _, _ := strings.Cut(rest, string(filepath.Separator))
		more, err := readFacts(filepath.Join(dir, "examples", example+".json"))
		if err != nil {
			return err
		}
		it.ID, it.facts = "examples/"+filepath.ToSlash(rest), facts.with(more)
		out = append(out, it)
		return nil
	})
	return out, err
}
