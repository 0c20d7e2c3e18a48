package cfnlint

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"pcluster/internal/cluster"
	"pcluster/internal/config"
	"pcluster/internal/facts"
	"pcluster/internal/facts/catalog"
	"pcluster/internal/facts/live"
	"pcluster/internal/image"
	"pcluster/internal/stack"
	"pcluster/internal/validate"
)

// A file is a cluster or image file with the name under which its templates are linted.
type file struct {
	name string
	text []byte
}

// more are values of keys beside those that the language itself lists: one for each
// form that a value can have. A number stands for the ID of something.
var more = map[string][]any{
	"CustomAmi":                {"ami-01234567", "ami-0123456789abcdef9"},
	"ElasticIp":                {true, false, "192.0.2.11"},
	"AllowedIps":               {"192.0.2.1/32", "pl-01234567"},
	"SecurityGroups":           {[]any{"sg-01234567"}, []any{"sg-01234567", "sg-0123456789abcdef0"}},
	"AdditionalSecurityGroups": {[]any{"sg-01234567", "sg-0123456789abcdef1"}},
	"Script":                   {"s3://bucket/script.sh", "https://example.com/script.sh"},
	"Args":                     {[]any{}, []any{"--x", "with 'quotes' and \"more\" ${HOME}"}},
	"InstanceRole":             {"arn:aws:iam::123456789012:role/plain", "arn:aws:iam::123456789012:role/with/path"},
	"InstanceProfile":          {"arn:aws:iam::123456789012:instance-profile/plain", "arn:aws:iam::123456789012:instance-profile/with/path"},
	"ResourcePrefix":           {"name-", "/path/", "/path/name-"},
	"PasswordSecretArn":        {"arn:aws:secretsmanager:us-east-2:123456789012:secret:other-abcdef"},
	"KeyName":                  {"data/*", "a key with blanks"},
	"SpotPrice":                {0.0, 0.25, 12.0},
	"MountDir":                 {"/with/more", "relative"},
	"Port":                     {8500.0},
	"Size":                     {35.0, 1000.0},
	"Iops":                     {3000.0, 16000.0},
	"VolumeType":               {"standard", "gp2", "gp3", "io1", "io2"},
	"DataCompressionType":      {"LZ4"},
	"ScaledownIdletime":        {-1.0, 60.0},
	"Policy":                   {"arn:aws:iam::aws:policy/AdministratorAccess", "arn:aws:iam::123456789012:policy/path/own"},
	"HttpProxyAddress":         {"http://192.0.2.1:3128", "https://proxy.example"},
	"SubnetIds":                {[]any{"subnet-01234567"}},
	"DatabaseName":             {"a", strings.Repeat("d", 64)},
	"PermissionsBoundary":      {"arn:aws:iam::aws:policy/PowerUserAccess"},
	"HostedZoneId":             {"Z0123456789ABCDEFGHIK"},
	"CustomS3Bucket":           {"parallelcluster-own", "with.dots"},
	"BucketName":               {"with.dots", "*"},
	"DomainAddr":               {"ldaps://a.example,ldaps://b.example", "ldap://corp.example"},
	"KmsKeyId":                 {"arn:aws:kms:us-east-2:123456789012:key/12345678-1234-1234-1234-123456789012", "12345678-1234-1234-1234-123456789012"},
	"HeadNodeBootstrapTimeout": {60.0, 43200.0},
}

// impossible are values, or whole keys, of which no template is made.
var impossible = map[*regexp.Regexp]string{
	regexp.MustCompile(`^AdditionalPackages\.IntelSoftware\.IntelHpcPlatform=true`): "no operating system that still exists has it",
}

// A pair is a key of the language with a value that it can have.
type pair struct{ key, value string }

func (p pair) String() string { return p.key + "=" + p.value }

// A place is where a key stands in a file: names of sections, numbers of items.
type place struct {
	key   string
	steps []any
}

// places returns where a file has keys, in an order that is always the same.
func places(v any, key string, steps []any) []place {
	var out []place
	switch v := v.(type) {
	case map[string]any:
		var names []string
		for n := range v {
			names = append(names, n)
		}
		slices.Sort(names)
		for _, n := range names {
			k := n
			if key != "" {
				k = key + "." + n
			}
			at := append(slices.Clip(steps), n)
			out = append(out, place{k, at})
			out = append(out, places(v[n], k, at)...)
		}
	case []any:
		for i, x := range v {
			out = append(out, places(x, key+"[]", append(slices.Clip(steps), i))...)
		}
	}
	return out
}

// at returns the value at a place.
func at(v any, steps []any) any {
	for _, s := range steps {
		switch s := s.(type) {
		case string:
			v = v.(map[string]any)[s]
		case int:
			v = v.([]any)[s]
		}
	}
	return v
}

// with returns a copy that has another value at a place.
func with(v any, steps []any, value any) any {
	if len(steps) == 0 {
		return value
	}
	switch s := steps[0].(type) {
	case string:
		out := map[string]any{}
		for k, x := range v.(map[string]any) {
			out[k] = x
		}
		out[s] = with(out[s], steps[1:], value)
		return out
	case int:
		out := slices.Clone(v.([]any))
		out[s] = with(out[s], steps[1:], value)
		return out
	}
	panic("not a step")
}

func text(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // what came from YAML
	}
	return string(data)
}

// valuesOf returns the values of a key to try: all of a list or of a boolean, the
// ends of a range, and those of [more].
func valuesOf(k config.Key) []any {
	var out []any
	add := func(v any) {
		if k.Type == "list of strings" {
			if _, list := v.([]any); !list {
				v = []any{v}
			}
		}
		if !slices.ContainsFunc(out, func(x any) bool { return text(x) == text(v) }) {
			out = append(out, v)
		}
	}
	for _, s := range k.OneOf {
		if n, err := strconv.Atoi(s); err == nil && k.Type == "integer" {
			add(float64(n))
		} else {
			add(s)
		}
	}
	switch k.Type {
	case "boolean":
		add(true)
		add(false)
	case "integer":
		for _, digits := range regexp.MustCompile(`-?\d+`).FindAllString(k.Range, -1) {
			n, _ := strconv.Atoi(digits)
			add(float64(n))
		}
	}
	if len(k.OneOf) == 0 {
		for _, v := range more[k.Path[strings.LastIndexByte(k.Path, '.')+1:]] {
			add(v)
		}
	}
	return out
}

// alone says whether a value turns off what others need, so that it has to have a
// file of its own for them to be seen.
func (p pair) alone() bool {
	return strings.HasSuffix(p.key, "Enabled") && p.value == "false" || p == pair{"Scheduling.SlurmSettings.Dns.DisableManagedDns", "true"}
}

// account knows instance types, and leaves open what an account has.
func account() *facts.Memory {
	return &facts.Memory{Partial: true, Catalog: func(name string) (facts.InstanceType, bool) {
		info, ok := catalog.InstanceType(name)
		return live.InstanceType(info), ok
	}}
}

// A language is that of cluster files, or of image files.
type language struct {
	keys  func() []config.Key
	bases string                 // files that the corpus is made from; their templates are golden, too
	name  string                 // in front of the names of files
	good  func(data []byte) bool // says whether the file, and what it says, is right
}

var languages = []language{
	{config.Keys, "../../../internal/stack/testdata/*.yaml", "", func(data []byte) bool {
		c, problems := config.Parse("", data)
		if len(problems.At(config.Error)) > 0 {
			return false
		}
		return right(validate.Cluster(context.Background(), c, account(), validate.Options{Region: c.Region}))
	}},
	{config.ImageKeys, "../../../internal/stack/testdata/images/*.yaml", "image-", func(data []byte) bool {
		f, problems := config.ParseImage("", data)
		if len(problems.At(config.Error)) > 0 {
			return false
		}
		return right(validate.Image(context.Background(), f, account(), validate.Options{Region: f.Region}))
	}},
}

func right(r validate.Report) bool {
	all := r.All()
	return len(all.At(config.Error)) == 0
}

// corpus returns files in which every key appears with every value of [valuesOf]
// that some file can have, made from the language's bases. Each has as many values as
// go together. It reports the pairs that are in none.
func (l language) corpus(t *testing.T) (out []file, missing []pair) {
	var wanted []pair
	values := map[pair]any{}
	for _, k := range l.keys() {
		wanted = append(wanted, pair{k.Path, ""})
		for _, v := range valuesOf(k) {
			p := pair{k.Path, strings.Trim(text(v), `"`)}
			wanted = append(wanted, p)
			values[p] = v
		}
	}
	seen := map[pair]bool{}
	note := func(tree any) {
		for _, pl := range places(tree, "", nil) {
			seen[pair{pl.key, ""}] = true
			seen[pair{pl.key, strings.Trim(text(at(tree, pl.steps)), `"`)}] = true
		}
	}
	list, err := filepath.Glob(l.bases)
	if err != nil || len(list) == 0 {
		t.Fatal("no files", err)
	}
	trees := map[string]any{}
	for _, name := range list {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !l.good(data) {
			t.Fatalf("%s: pcluster validate --offline finds errors", name)
		}
		var tree any
		if err := yaml.Unmarshal(data, &tree); err != nil {
			t.Fatal(err)
		}
		tree = plain(tree)
		trees[name] = tree
		note(tree)
		out = append(out, file{l.name + strings.TrimSuffix(filepath.Base(name), ".yaml"), data})
	}
	for _, name := range list {
		base := trees[name]
		where := places(base, "", nil)
		for n := 1; ; n++ {
			tree, full := base, false
			taken := map[string]bool{}
			var applied []pair
			for _, pl := range where {
				for _, p := range wanted {
					if full || p.key != pl.key || p.value == "" || seen[p] || taken[pl.key] || p.alone() && len(applied) > 0 {
						continue
					}
					next := with(tree, pl.steps, values[p])
					if !l.good([]byte(text(next))) {
						continue
					}
					tree = next
					taken[pl.key] = true
					applied = append(applied, p)
					full = p.alone()
				}
			}
			if len(applied) == 0 {
				break
			}
			for _, p := range applied {
				seen[p] = true
			}
			out = append(out, file{fmt.Sprintf("%s%s-%d", l.name, strings.TrimSuffix(filepath.Base(name), ".yaml"), n), []byte(text(tree))})
		}
	}
	for _, p := range wanted {
		if !seen[p] {
			missing = append(missing, p)
		}
	}
	return out, missing
}

// plain returns a value as encoding/json has it.
func plain(v any) any {
	var out any
	if err := json.Unmarshal([]byte(text(v)), &out); err != nil {
		panic(err)
	}
	return out
}

// templates makes the templates of a file, by the names of their stacks.
func templates(t *testing.T, f file) map[string][]byte {
	t.Helper()
	region := regionOf(f)
	source := facts.Assumed(account(), region, func(string) {})
	if config.IsImageFile(f.text) {
		i, problems := config.ParseImage(f.name, f.text)
		if err := problems.Err(); err != nil {
			t.Fatalf("%s: %v", f.name, err)
		}
		body, err := image.Preview{ID: "image", Region: region, Account: "123456789012"}.Template(context.Background(), i, source)
		if err != nil {
			t.Fatalf("%s: %v", f.name, err)
		}
		return map[string][]byte{"Image": body}
	}
	c, problems := config.Parse(f.name, f.text)
	if err := problems.Err(); err != nil {
		t.Fatalf("%s: %v", f.name, err)
	}
	made, err := cluster.Preview{Name: "cluster", Region: region, Account: "123456789012"}.Templates(context.Background(), c, source)
	if err != nil {
		t.Fatalf("%s: %v", f.name, err)
	}
	return byName(made)
}

// regionOf is the region that a file is for.
func regionOf(f file) string {
	var head struct{ Region string }
	if err := yaml.Unmarshal(f.text, &head); err == nil && head.Region != "" {
		return head.Region
	}
	return defaultRegion
}

func byName(made *stack.Templates) map[string][]byte {
	out := map[string][]byte{"Cluster": made.Root}
	for _, n := range made.Nested {
		out[n.ID] = n.Body
	}
	return out
}

// Every key of the language is in the corpus with every kind of value, but for
// those that are impossible and why.
func TestCorpusHasTheWholeLanguage(t *testing.T) {
	var files []file
	var missing []pair
	for _, l := range languages {
		made, lacking := l.corpus(t)
		files, missing = append(files, made...), append(missing, lacking...)
	}
	excused := map[*regexp.Regexp]bool{}
	for _, p := range missing {
		ok := false
		for e := range impossible {
			if e.MatchString(p.String()) {
				ok, excused[e] = true, true
			}
		}
		if !ok {
			t.Errorf("no file has %s", p)
		}
	}
	for e, why := range impossible {
		if !excused[e] {
			t.Errorf("%s is possible after all (%s)", e, why)
		}
	}
	t.Logf("%d files", len(files))
}
