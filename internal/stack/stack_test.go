package stack

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pcluster/internal/config"
	"pcluster/internal/facts"
	"pcluster/internal/facts/catalog"
	"pcluster/internal/facts/live"
)

var update = flag.Bool("update", false, "rewrite golden files")

// params are those of a deployment on the day of the golden files.
var params = Params{
	ClusterName: "demo", Region: "us-east-2", Account: "671250183987", Partition: "aws",
	Bucket: "parallelcluster-0123456789abcdef-v1-do-not-delete", ArtifactDir: "parallelcluster/3.16.100/clusters/demo-abcdefghijklmnop",
	ConfigKey:     "parallelcluster/3.16.100/clusters/demo-abcdefghijklmnop/configs/cluster-config-with-implied-values.yaml",
	ConfigVersion: "v2", OriginalVersion: "v1",
	InstanceTypesKey: "parallelcluster/3.16.100/clusters/demo-abcdefghijklmnop/configs/instance-types-data.json", InstanceTypesVersion: "v3",
	Timestamp:    "20241215103000",
	Programs:     map[string]string{"amd64": strings.Repeat("a", 64), "arm64": strings.Repeat("b", 64)},
	LambdaZipKey: LambdaKey(strings.Repeat("a", 64), "amd64"),
}

// account returns facts for whatever a file names: real instance types, subnets
// that alternate between two zones and between public and private, and otherwise
// what is plausible.
func account(t testing.TB, c *config.Cluster) facts.Snapshot {
	t.Helper()
	m := &facts.Memory{Partial: true, Subnets: map[string]facts.Subnet{}, Catalog: func(name string) (facts.InstanceType, bool) {
		info, ok := catalog.InstanceType(name)
		return live.InstanceType(info), ok
	}}
	for i, id := range facts.SubnetIDs(c) {
		m.Subnets[id] = facts.Subnet{ID: id, AZ: params.Region + string("ab"[i%2]), VPC: "vpc-12345678"}
		if i%2 == 0 {
			m.PublicSubnets = append(m.PublicSubnets, id)
		}
	}
	s, errs := facts.Gather(context.Background(), facts.Assumed(m, params.Region, func(string) {}), c)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return s
}

func parse(t testing.TB, file string) *config.Cluster {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c, found := config.Parse(file, data)
	if err := found.Err(); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	c.Region = params.Region
	c.SetTag("parallelcluster:cluster-name", params.ClusterName)
	c.SetTag("parallelcluster:version", config.ToolVersion)
	return c
}

// files are the cluster files of the golden templates.
func files(t testing.TB) []string {
	list, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(list) == 0 {
		t.Fatal("no cluster files", err)
	}
	return list
}

func TestTemplatesGolden(t *testing.T) { // go test -update rewrites the files
	for _, file := range files(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			c := parse(t, file)
			out, err := Synthesize(c, account(t, c), params)
			if err != nil {
				t.Fatal(err)
			}
			base := strings.TrimSuffix(file, ".yaml")
			golden(t, base+".template.json", out.Root)
			for _, n := range out.Nested {
				golden(t, base+"."+n.ID+".json", n.Body)
			}
		})
	}
}

// golden compares a template, written for reading, with a file.
func golden(t *testing.T, file string, body []byte) {
	t.Helper()
	var doc any
	if err := json.Unmarshal(body, &doc); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	e := json.NewEncoder(&got)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(readable(doc)); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// readable returns a template as people review it: text of several lines as a list
// of lines, a component's document, which has a file of its own, as its name, a dashboard as its widgets, and of the 24 names for instance store the
// number alone.
func readable(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, x := range v {
			out[k] = readable(x)
		}
		return out
	case []any:
		var out []any
		stores := 0
		for _, x := range v {
			if m, ok := x.(map[string]any); ok && m["VirtualName"] != nil {
				stores++
				continue
			}
			out = append(out, readable(x))
		}
		if stores > 0 {
			out = append([]any{fmt.Sprintf("%d names for instance store", stores)}, out...)
		}
		return out
	case string:
		var board any
		if strings.HasPrefix(v, `{"widgets"`) && json.Unmarshal([]byte(v), &board) == nil {
			return board
		}
		if name, document, ok := strings.Cut(v, "\n"); ok && strings.Contains(document, "\nschemaVersion:") {
			return name + " …"
		}
		if strings.Contains(v, "\n") {
			return strings.Split(v, "\n")
		}
	}
	return v
}
