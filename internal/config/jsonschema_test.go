package config

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// compiled returns our schema as an independent validator reads it, which holds
// the schema itself against the draft's own first.
func compiled(t *testing.T, image bool) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(JSONSchema(image)))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// judge asks the schema about a document, and Parse about its shape.
func judge(t *testing.T, s *jsonschema.Schema, image bool, document any) (schemaSays error, parseSays Problems) {
	t.Helper()
	text, err := yaml.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	if image {
		_, parseSays = ParseImage("", text)
	} else {
		_, parseSays = Parse("", text)
	}
	return s.Validate(document), parseSays.Shape()
}

// corpus returns every file of the tree that describes a cluster or an image.
func corpus(t *testing.T) map[string]any {
	t.Helper()
	out := map[string]any{}
	for _, pattern := range []string{"testdata/bluebrain.yaml", "testdata/everything.yaml", "../../examples/*/config/*.yaml", "../../test/peer/testdata/bases/*.yaml", "../../test/e2e/testdata/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no files (%v)", pattern, err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var doc any
			if err := yaml.Unmarshal(data, &doc); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			out[file] = doc
		}
	}
	return out
}

func isImage(document any) bool {
	m, _ := document.(map[string]any)
	return m["Build"] != nil
}

// What Parse accepts, an editor does not mark.
func TestSchemaAcceptsRealFiles(t *testing.T) {
	for file, doc := range corpus(t) {
		schema, parsed := judge(t, compiled(t, isImage(doc)), isImage(doc), doc)
		if parsed.Err() == nil && schema != nil {
			t.Errorf("%s: %v", file, schema)
		}
	}
}

// Every mistake that a schema can express is one for both: a key that does not
// exist, a list or section where a value stands and the other way round, a word
// that is not allowed.
func TestSchemaAndParseRefuseAlike(t *testing.T) {
	schemas := map[bool]*jsonschema.Schema{false: compiled(t, false), true: compiled(t, true)}
	n := 0
	for file, doc := range corpus(t) {
		image := isImage(doc)
		if schema, parsed := judge(t, schemas[image], image, doc); schema != nil || parsed.Err() != nil {
			continue
		}
		mutate(doc, "", func(path, what string) {
			n++
			schema, parsed := judge(t, schemas[image], image, doc)
			if (schema == nil) != (parsed.Err() == nil) {
				t.Errorf("%s: %s at %s: the schema says %v, Parse says %v", file, what, path, schema, parsed)
			}
		})
	}
	if n < 500 {
		t.Errorf("only %d mutations", n)
	}
}

// mutate makes one mistake after the other in a document, calls try, and takes
// the mistake back.
func mutate(node any, path string, try func(path, what string)) {
	switch n := node.(type) {
	case map[string]any:
		if strings.Contains(path, "CustomSlurmSettings") || strings.HasSuffix(path, "AdditionalSssdConfigs") {
			return // its keys are anybody's
		}
		n["Unheardof"] = 1
		try(path, "an unknown key")
		delete(n, "Unheardof")
		for key, value := range n {
			at := path + "." + key
			for what, wrong := range map[string]any{"a list of lists": []any{[]any{}}, "an unknown section": map[string]any{"Unheardof": "x"}} {
				n[key] = wrong
				try(at, what)
			}
			if _, ok := value.(string); ok {
				n[key] = 12.5
				try(at, "a number for a text")
			}
			n[key] = value
			mutate(value, at, try)
		}
	case []any:
		for i, item := range n {
			n[i] = []any{}
			try(fmt.Sprintf("%s[%d]", path, i), "a list in a list")
			n[i] = item
			mutate(item, fmt.Sprintf("%s[%d]", path, i), try)
		}
	}
}

func TestSchemaRefuses(t *testing.T) {
	s := compiled(t, false)
	good := "Image: {Os: alinux2023}\nHeadNode: {InstanceType: c5.large, Networking: {SubnetId: subnet-11111111}}\n" +
		"Scheduling: {Scheduler: slurm, SlurmQueues: [{Name: q, Networking: {SubnetIds: [subnet-11111111]}, ComputeResources: [{Name: c, InstanceType: c5.large}]}]}\n"
	for name, pair := range map[string][2]string{
		"an unknown operating system": {"alinux2023", "alinux3000"},
		"a malformed ID":              {"SubnetId: subnet-11111111", "SubnetId: sub-1"},
		"a missing key":               {"InstanceType: c5.large, Networking", "Networking"},
		"the other scheduler's queue": {"SlurmQueues", "AwsBatchQueues"},
		"a number out of its range":   {"Name: c,", "Name: c, SpotPrice: -1,"},
	} {
		var doc any
		if err := yaml.Unmarshal([]byte(strings.Replace(good, pair[0], pair[1], 1)), &doc); err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(doc); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	var doc any
	if err := yaml.Unmarshal([]byte(good), &doc); err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(doc); err != nil {
		t.Error(err)
	}
}

// Editors show what a key is for: each has a text.
func TestSchemaDescribesEveryKey(t *testing.T) {
	for _, image := range []bool{false, true} {
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(JSONSchema(image)))
		if err != nil {
			t.Fatal(err)
		}
		var walk func(path string, node any)
		walk = func(path string, node any) {
			m, _ := node.(map[string]any)
			for key, value := range m {
				if key == "properties" && !strings.Contains(path, "allOf") && !strings.HasSuffix(path, "/properties") {
					for name, property := range value.(map[string]any) {
						if d, _ := property.(map[string]any)["description"].(string); d == "" {
							t.Errorf("%s/%s has no description", path, name)
						}
					}
				}
				walk(path+"/"+key, value)
			}
		}
		walk("", doc)
	}
}
