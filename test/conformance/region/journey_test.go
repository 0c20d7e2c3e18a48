package region

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jmespath/go-jmespath"
	"go.yaml.in/yaml/v3"
)

// A journey is what somebody does with a region, one step after the other.
type journey struct {
	Name  string
	Title string
	Moto  string            // why moto cannot play it; empty: it can
	Not   map[string]string // clients that cannot play it, and why
	Steps []step

	sum string // of the file
}

// A step is one call and what is expected of it.
type step struct {
	Call    string            // service.Operation, by the names of AWS's API models
	Presign string            // instead: the operation whose URL is made
	Fetch   string            // instead: a URL that anybody gets
	Replace map[string]string // in the URL that is fetched
	Send    string            // what is put at the URL, which is then not fetched
	In      map[string]any
	As      *identity
	Skew    time.Duration // how far the region's clock is ahead
	Times   int           // the call is made so often, with ${n} from 1
	Pages   *pages        // the call is made again until there are no more pages

	Error  string            // the code that the call fails with; empty: it succeeds
	Says   string            // regular expression for the message of the error
	Expect map[string]any    // a part of the answer
	Check  []string          // JMESPath expressions that are true of the answer
	Until  string            // the call is repeated until this JMESPath expression is true of the answer
	Save   map[string]string // variables from JMESPath expressions of the answer
	Status int               // of what is fetched
	Body   string            // regular expression for what is fetched

	Moto string // why moto answers otherwise: the step is made there, and not judged
}

// pages is how an operation hands out its answer in parts.
type pages struct {
	In, Out string // the member that takes a token, and the expression that finds the next one
	Items   string // expression for what a page has
	Most    int    // items on a page
	Count   int    // items on all pages, each once
}

// An identity is whose credentials a call is made with.
type identity struct {
	Key, Secret, Token string
}

func loadJourneys(t *testing.T) []journey {
	t.Helper()
	files, err := filepath.Glob("journeys/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var all []journey
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		j := journey{Name: strings.TrimSuffix(filepath.Base(file), ".yaml"), sum: fmt.Sprintf("%x", sha256.Sum256(data))}
		decoder := yaml.NewDecoder(bytes.NewReader(data))
		decoder.KnownFields(true)
		if err := decoder.Decode(&j); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, j)
	}
	return all
}

// what names the step in reports.
func (s step) what() string {
	switch {
	case s.Presign != "":
		return "presigned " + s.Presign
	case s.Fetch != "" && s.Send != "":
		return "put " + s.Fetch
	case s.Fetch != "":
		return "fetch " + s.Fetch
	}
	return s.Call
}

// variables are what steps have saved.
type variables map[string]any

var reference = regexp.MustCompile(`\$\{([a-z0-9_]+)\}`)

// fill replaces ${name}, of small letters, in all texts of v. A text that is nothing but one reference
// becomes the variable's value, of whatever kind.
func (vars variables) fill(v any) (any, error) {
	switch v := v.(type) {
	case string:
		if m := reference.FindStringSubmatch(v); m != nil && m[0] == v {
			value, ok := vars[m[1]]
			if !ok {
				return nil, fmt.Errorf("nothing was saved as %s", m[1])
			}
			return value, nil
		}
		var err error
		out := reference.ReplaceAllStringFunc(v, func(ref string) string {
			value, ok := vars[ref[2:len(ref)-1]]
			if !ok {
				err = fmt.Errorf("nothing was saved as %s", ref)
			}
			return fmt.Sprint(value)
		})
		return out, err
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			filled, err := vars.fill(e)
			if err != nil {
				return nil, err
			}
			out[k] = filled
		}
		return out, nil
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			filled, err := vars.fill(e)
			if err != nil {
				return nil, err
			}
			out[i] = filled
		}
		return out, nil
	}
	return v, nil
}

func (vars variables) text(s string) (string, error) {
	v, err := vars.fill(s)
	return fmt.Sprint(v), err
}

// generic turns a value into what encoding/json makes of it, so that all clients'
// answers and all expectations are of the same types.
func generic(v any) (any, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var out any
	return out, json.Unmarshal(data, &out)
}

// mismatch says where got is not what want asks for: objects may have more members,
// lists have as many elements, texts between slashes are regular expressions. An
// empty list may be missing.
func mismatch(path string, want, got any) string {
	switch want := want.(type) {
	case map[string]any:
		have, ok := got.(map[string]any)
		if !ok {
			return fmt.Sprintf("%s is %s, want an object", path, show(got))
		}
		for k, w := range want {
			if m := mismatch(path+"."+k, w, have[k]); m != "" {
				return m
			}
		}
		return ""
	case []any:
		have, ok := got.([]any)
		if !ok && !(got == nil && len(want) == 0) {
			return fmt.Sprintf("%s is %s, want a list", path, show(got))
		}
		if len(have) != len(want) {
			return fmt.Sprintf("%s has %d elements, want %d: %s", path, len(have), len(want), show(got))
		}
		for i := range want {
			if m := mismatch(fmt.Sprintf("%s[%d]", path, i), want[i], have[i]); m != "" {
				return m
			}
		}
		return ""
	case string:
		if text, ok := got.(string); ok && len(want) > 1 && want[0] == '/' && want[len(want)-1] == '/' {
			if regexp.MustCompile(want[1 : len(want)-1]).MatchString(text) {
				return ""
			}
		}
	}
	if got == nil && (want == false || want == 0.0) {
		return "" // the SDK for Go does not tell a zero from nothing
	}
	if !reflect.DeepEqual(want, got) {
		return fmt.Sprintf("%s is %s, want %s", path, show(got), show(want))
	}
	return ""
}

func show(v any) string {
	data, _ := json.Marshal(v)
	if len(data) > 300 {
		data = append(data[:300:300], "…"...)
	}
	return string(data)
}

// holds reports whether a JMESPath expression is true of an answer.
func holds(expression string, answer any) (bool, error) {
	v, err := jmespath.Search(expression, answer)
	if err != nil {
		return false, fmt.Errorf("%s: %w", expression, err)
	}
	b, ok := v.(bool)
	return ok && b, nil
}

// shape lists the paths of an answer with the kinds of their values. Names of
// members that are data, as those of DynamoDB's items, count as well.
func shape(v any) map[string]string {
	out := map[string]string{}
	put := func(path, kind string) {
		kinds := strings.Split(out[path], " or ")
		switch {
		case out[path] == "":
			out[path] = kind
		case !slices.Contains(kinds, kind):
			out[path] = strings.Join(slices.Sorted(slices.Values(append(kinds, kind))), " or ")
		}
	}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, e := range v {
				walk(path+"."+k, e)
			}
		case []any:
			put(path, "list")
			for _, e := range v {
				walk(path+"[]", e)
			}
		case string:
			put(path, "text")
		case float64:
			put(path, "number")
		case bool:
			put(path, "boolean")
		}
	}
	walk("", v)
	return out
}

// onlyIn lists the paths of a that b lacks, and those that are of another kind.
func onlyIn(a, b map[string]string) (missing, other []string) {
	for path, kind := range a {
		switch have, ok := b[path]; {
		case !ok:
			missing = append(missing, strings.TrimPrefix(path, "."))
		case have != kind:
			other = append(other, fmt.Sprintf("%s (%s, not %s)", strings.TrimPrefix(path, "."), kind, have))
		}
	}
	slices.Sort(missing)
	slices.Sort(other)
	return missing, other
}

func TestShapeDoesNotDependOnTheOrderOfAList(t *testing.T) {
	one := map[string]any{"Service": "ec2"}
	two := map[string]any{"Service": []any{"ec2", "batch"}}
	there, back := shape([]any{one, two}), shape([]any{two, one})
	if missing, other := onlyIn(there, back); len(missing)+len(other) > 0 || there["[].Service"] != "list or text" {
		t.Errorf("%v, %v", there, back)
	}
	if _, other := onlyIn(there, shape([]any{one})); len(other) != 1 {
		t.Errorf("a list beside a text is not told of: %v", other)
	}
}
