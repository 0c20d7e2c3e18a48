package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"pcluster/internal/config"
	"pcluster/internal/facts"
)

// release is the release line that cases are judged by: ours.
var release = facts.Release()

// recorded is the release that the cases' accounts are of. Their AMIs have it in
// names and tags; ours have our version.
const recorded = "3.12.0"

// file is the form of a file of cases.
type file struct {
	Bases        map[string]json.RawMessage `json:"bases"`
	DefaultFacts json.RawMessage            `json:"default_facts"`
	Cases        []*testCase                `json:"cases"`
}

type testCase struct {
	ID        string          `json:"id"`
	Validator string          `json:"validator"`
	Base      string          `json:"base"`
	Snippet   string          `json:"snippet"`
	Facts     json.RawMessage `json:"facts"`
	Expect    *struct {
		Level   string `json:"level"`
		About   string `json:"about"`
		Outcome string `json:"outcome"`
	} `json:"expect"`
	Args     args      `json:"args"`
	Response *response `json:"response"`
	Note     string    `json:"note"`
	Since    string    `json:"since"`
	Until    string    `json:"until"`
}

type args struct {
	ClusterName  *string  `json:"cluster_name"`
	Region       *string  `json:"region"`
	Operation    string   `json:"operation"`
	HeadInstance string   `json:"head_node_instance_id"`
	HeadGroup    string   `json:"managed_head_node_sg"`
	ComputeGroup string   `json:"managed_compute_sg"`
	Kind         string   `json:"kind"`
	Command      string   `json:"command"`
	DryRun       any      `json:"dryrun"`
	Suppress     []string `json:"suppress"`
	FailureLevel string   `json:"failure_level"`
	ImageID      *string  `json:"image_id"`
}

// response is what a command has to answer.
type response struct {
	HTTP    int         `json:"http"`
	Exit    int         `json:"exit"`
	Message string      `json:"message"`
	Prefix  string      `json:"message_prefix"`
	List    string      `json:"list"`
	Entries [][2]string `json:"entries"`
}

func load(path string) (*file, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var f file
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &f, nil
}

// A verdict says what a case wants and what came out. They are equal if it passes.
type verdict struct {
	id, validator, about string
	want, got            string
	skip                 string // why the case was left out
}

// judge runs the cases, several at once, and returns their verdicts in order.
func (f *file) judge(atOnce int) []verdict {
	out := make([]verdict, len(f.Cases))
	slots := make(chan struct{}, max(1, atOnce))
	var wg sync.WaitGroup
	for i, c := range f.Cases {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			out[i] = f.one(c)
		})
	}
	wg.Wait()
	return out
}

func (f *file) one(c *testCase) verdict {
	v := verdict{id: c.ID, validator: c.Validator, about: c.Note}
	if c.Expect != nil {
		v.about = strings.TrimSuffix(c.Expect.About+"; "+c.Note, "; ")
	}
	if c.Since != "" && compare(release, c.Since) < 0 {
		v.skip = "since " + c.Since
		return v
	}
	if c.Until != "" && compare(release, c.Until) > 0 {
		v.skip = "until " + c.Until
		return v
	}
	text, err := f.document(c)
	if err != nil {
		v.got = err.Error()
		return v
	}
	account, err := f.account(c)
	if err != nil {
		v.got = err.Error()
		return v
	}
	if c.Validator == "(request)" {
		v.want, v.got = request(c, text, account)
	} else {
		v.want, v.got = findings(c, text, account.memory)
	}
	return v
}

// compare compares release lines: as many numbers of versions as the shorter has.
func compare(a, b string) int {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(x), len(y)) {
		m, _ := strconv.Atoi(x[i])
		n, _ := strconv.Atoi(y[i])
		if m != n {
			return m - n
		}
	}
	return 0
}

// document returns the configuration of a case.
func (f *file) document(c *testCase) ([]byte, error) {
	if c.Base == "none" || c.Base == "" {
		return []byte(c.Snippet), nil
	}
	base, ok := f.Bases[c.Base]
	if !ok {
		return nil, fmt.Errorf("no base %s", c.Base)
	}
	below, problems := config.ReadYAML(base, "Base")
	if below == nil {
		return nil, problems.Err()
	}
	if strings.TrimSpace(c.Snippet) == "" {
		return base, nil
	}
	above, problems := config.ReadYAML([]byte(c.Snippet), "Snippet")
	if above == nil {
		return nil, problems.Err()
	}
	var b strings.Builder
	write(&b, merge(below, above))
	b.WriteByte('\n')
	return []byte(b.String()), nil
}

// merge lays a snippet onto a base: maps by key, where null removes; lists of
// maps by position; everything else replaces.
func merge(base, snippet *config.Node) *config.Node {
	switch {
	case base == nil:
		return snippet
	case base.Kind == config.Mapping && snippet.Kind == config.Mapping:
		out := &config.Node{Kind: config.Mapping, Entries: slices.Clone(base.Entries)}
		for _, e := range snippet.Entries {
			i := slices.IndexFunc(out.Entries, func(o config.Entry) bool { return o.Key == e.Key })
			switch {
			case e.Value.Kind == config.Null && i >= 0:
				out.Entries = slices.Delete(out.Entries, i, i+1)
			case e.Value.Kind == config.Null:
			case i >= 0:
				out.Entries[i].Value = merge(out.Entries[i].Value, e.Value)
			default:
				out.Entries = append(out.Entries, config.Entry{Key: e.Key, Value: e.Value})
			}
		}
		return out
	case maps(base) && maps(snippet) && len(snippet.Items) > 0:
		out := &config.Node{Kind: config.Sequence, Items: slices.Clone(base.Items)}
		for i, item := range snippet.Items {
			if i < len(out.Items) {
				out.Items[i] = merge(out.Items[i], item)
			} else {
				out.Items = append(out.Items, item)
			}
		}
		return out
	}
	return snippet
}

// maps says whether a node is a list of nothing but maps.
func maps(n *config.Node) bool {
	return n.Kind == config.Sequence && !slices.ContainsFunc(n.Items, func(i *config.Node) bool { return i.Kind != config.Mapping })
}

// write writes a node as YAML. What is not text keeps its spelling, so that it is
// read as before.
func write(b *strings.Builder, n *config.Node) {
	switch n.Kind {
	case config.Mapping:
		b.WriteByte('{')
		for i, e := range n.Entries {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(quoted(e.Key) + ": ")
			write(b, e.Value)
		}
		b.WriteByte('}')
	case config.Sequence:
		b.WriteByte('[')
		for i, item := range n.Items {
			if i > 0 {
				b.WriteString(", ")
			}
			write(b, item)
		}
		b.WriteByte(']')
	case config.Text:
		b.WriteString(quoted(n.Raw))
	case config.Null:
		b.WriteString("null")
	default:
		b.WriteString(n.Raw)
	}
}

func quoted(s string) string {
	text, _ := json.Marshal(s) // a string always can
	return string(text)
}

// An account is what stands for AWS.
type account struct {
	memory         *facts.Memory
	stacks, images []string
}

// account returns the account of a case.
func (f *file) account(c *testCase) (*account, error) {
	var below, above any
	if err := json.Unmarshal(f.DefaultFacts, &below); err != nil {
		return nil, fmt.Errorf("default facts: %w", err)
	}
	if len(c.Facts) > 0 {
		if err := json.Unmarshal(c.Facts, &above); err != nil {
			return nil, fmt.Errorf("facts: %w", err)
		}
		below = mergeFacts(below, above)
	}
	text, err := json.Marshal(below)
	if err != nil {
		return nil, err
	}
	m, err := facts.Read([]byte(strings.ReplaceAll(string(text), recorded, config.ToolVersion)))
	if err != nil {
		return nil, err
	}
	var more struct {
		Stacks []string `json:"stacks"`
		Images []string `json:"pcluster_images"`
	}
	if err := json.Unmarshal(text, &more); err != nil {
		return nil, err
	}
	return &account{m, more.Stacks, more.Images}, nil
}

// mergeFacts merges by key; other values replace.
func mergeFacts(below, above any) any {
	x, ok := below.(map[string]any)
	y, ok2 := above.(map[string]any)
	if !ok || !ok2 {
		return above
	}
	out := map[string]any{}
	for k, v := range x {
		out[k] = v
	}
	for k, v := range y {
		out[k] = mergeFacts(out[k], v)
	}
	return out
}
