package config

import (
	"flag"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var update = flag.Bool("update", false, "rewrite golden files")

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func read(t testing.TB, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// The smallest file there can be.
const smallest = `Image: {Os: alinux2023}
HeadNode:
  InstanceType: t3.medium
  Networking: {SubnetId: subnet-12345678}
Scheduling:
  Scheduler: slurm
  SlurmQueues:
    - Name: q1
      Networking: {SubnetIds: [subnet-12345678]}
      ComputeResources:
        - {Name: c1, InstanceType: c5.large}
`

func TestProductionFileKeepsEveryValue(t *testing.T) {
	c, found := Parse("bluebrain.yaml", read(t, "testdata/bluebrain.yaml"))
	if len(found) > 0 {
		t.Fatalf("problems: %v", found)
	}
	golden(t, "testdata/bluebrain.implied.yaml", Marshal(c))
}

func TestSmallestFileHasImpliedValues(t *testing.T) {
	c, found := Parse("", []byte(smallest))
	if len(found) > 0 {
		t.Fatalf("problems: %v", found)
	}
	golden(t, "testdata/smallest.implied.yaml", Marshal(c))
}

func TestImpliedFileReadsBackTheSame(t *testing.T) {
	for _, text := range []string{smallest, string(read(t, "testdata/bluebrain.yaml")), string(read(t, "testdata/everything.yaml"))} {
		c, found := Parse("", []byte(text))
		if err := found.Err(); err != nil {
			t.Fatal(err)
		}
		c.SetTag("parallelcluster:version", ToolVersion)
		again, err := ParseImplied("", Marshal(c))
		if err != nil {
			t.Fatalf("%v\n%s", err, Marshal(c))
		}
		if diff := cmp.Diff(c, again, cmpopts.IgnoreUnexported(Cluster{}), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("(-written +read):\n%s", diff)
		}
	}
}

// edit replaces text in the smallest file.
func edit(pairs ...string) string {
	return strings.NewReplacer(pairs...).Replace(smallest)
}

func TestProblemsNamePlaceAndMend(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		want []string // "line:column path: message (hint)"
	}{
		"nothing wrong": {smallest, nil},
		"empty file":    {" \n", []string{": configuration is required and cannot be empty"}},
		"only comments": {"# nothing\n", []string{": configuration is required and cannot be empty"}},
		"ParallelCluster 2 file": {"[global]\ncluster_template = default\n\n[aws]\naws_region_name = us-east-1\n", []string{
			": ParallelCluster 3 requires configuration files to be valid YAML documents. (this looks like a ParallelCluster 2 file, which has to be rewritten as YAML)"}},
		"a list instead of keys": {"- a\n- b\n", []string{
			"1:1 : Configuration must be a valid YAML document. It has to be a mapping of keys to values, but it is a list."}},
		"unknown key near a known one": {edit("InstanceType: t3", "InstancType: t3"), []string{
			"2:1 HeadNode.InstanceType: InstanceType is missing",
			`3:3 HeadNode.InstancType: "InstancType" is not a key of HeadNode (did you mean InstanceType?)`}},
		"unknown key that belongs deeper": {edit("  Networking: {SubnetId:", "  SubnetId: x\n  Networking: {SubnetId:"), []string{
			`4:3 HeadNode.SubnetId: "SubnetId" is not a key of HeadNode (did you mean Networking.SubnetId?)`}},
		"unknown key that belongs further out": {edit("Scheduler: slurm", "Scheduler: slurm\n  SharedStorage: []"), []string{
			`7:3 Scheduling.SharedStorage: "SharedStorage" is not a key of Scheduling (it is a key of the file's top level; check the indentation)`}},
		"unknown key like no other": {edit("Scheduler: slurm", "Scheduler: slurm\n  Zebra: 1"), []string{
			`7:3 Scheduling.Zebra: "Zebra" is not a key of Scheduling (its keys are Scheduler, ScalingStrategy, SlurmSettings, SlurmQueues, AwsBatchSettings, AwsBatchQueues)`}},
		"key of an older release": {smallest + "LoginNodes:\n  Pools:\n    - {Name: p, InstanceType: t3.micro, Count: 1, Networking: {SubnetIds: [subnet-12345678]}, Ssh: {KeyName: k}}\n", []string{
			`14:101 LoginNodes.Pools[0].Ssh.KeyName: "KeyName" is not a key of LoginNodes.Pools[].Ssh (login nodes take the head node's key; remove it)`}},
		"key without value": {edit("Image: {Os: alinux2023}", "Image:"), []string{
			"1:1 Image: Image has no value (give it a value or remove it)"}},
		"missing sections": {"Region: us-east-1\n", []string{
			"1:1 Image: Image is missing", "1:1 HeadNode: HeadNode is missing", "1:1 Scheduling: Scheduling is missing"}},
		"key given twice": {edit("Scheduler: slurm", "Scheduler: slurm\n  Scheduler: slurm"), []string{
			"7:3 : Configuration must be a valid YAML document. Line 7, column 3: the key Scheduler stands twice in one section, first in line 6."}},
		"value not allowed": {edit("Os: alinux2023", "Os: alinux2032"), []string{
			`1:13 Image.Os: "alinux2032" is not one of alinux2, alinux2023, ubuntu2204, ubuntu2404, rhel8, rocky8, rhel9, rocky9, debian12 (did you mean alinux2023?)`}},
		"malformed subnet": {edit("{SubnetId: subnet-12345678}", "{SubnetId: subnet-123}"), []string{
			`4:26 HeadNode.Networking.SubnetId: "subnet-123" is not a subnet ID: subnet- and 8 or 17 characters`}},
		"malformed item of a list": {edit("[subnet-12345678]", "[subnet-12345678, vpc-1]"), []string{
			`9:49 Scheduling.SlurmQueues[0].Networking.SubnetIds[1]: "vpc-1" is not a subnet ID: subnet- and 8 or 17 characters`}},
		"number out of range": {edit("InstanceType: c5.large", "InstanceType: c5.large, MaxCount: 0"), []string{
			"11:56 Scheduling.SlurmQueues[0].ComputeResources[0].MaxCount: must be at least 1, but is 0"}},
		"text for a number": {edit("InstanceType: c5.large", "InstanceType: c5.large, MaxCount: many"), []string{
			`11:56 Scheduling.SlurmQueues[0].ComputeResources[0].MaxCount: must be a whole number, but "many" is text`}},
		"boolean for text": {smallest + "Tags: [{Key: a, Value: yes}]\n", []string{
			`12:24 Tags[0].Value: must be text, but "yes" is a boolean (put it in quotes)`}},
		"number for text": {smallest + "Tags: [{Key: a, Value: 12}]\n", []string{
			`12:24 Tags[0].Value: must be text, but "12" is a whole number (put it in quotes)`}},
		"text for a list": {edit("[subnet-12345678]", "subnet-12345678"), []string{
			`9:31 Scheduling.SlurmQueues[0].Networking.SubnetIds: must be a list, but "subnet-12345678" is text (start each item with a hyphen)`}},
		"text for a section": {edit("Networking: {SubnetId: subnet-12345678}", "Networking: here"), []string{
			`4:15 HeadNode.Networking: must be a section with keys of its own, but "here" is text`}},
		"reserved tag": {smallest + "Tags: [{Key: 'parallelcluster:version', Value: a}]\n", []string{
			"12:14 Tags[0].Key: tag keys that start with parallelcluster: are reserved (choose another key)"}},
		"script and sequence": {edit("Scheduling:\n", "  CustomActions: {OnNodeStart: {Script: s3://b/k, Sequence: []}}\nScheduling:\n"), []string{
			"5:51 HeadNode.CustomActions.OnNodeStart.Sequence: Script and Sequence exclude each other (remove one of them)"}},
		"action without script": {edit("Scheduling:\n", "  CustomActions: {OnNodeStart: {Args: [a]}}\nScheduling:\n"), []string{
			"5:19 HeadNode.CustomActions.OnNodeStart: no script is given (add Script, or Sequence with several)"}},
		"no instance type": {edit(", InstanceType: c5.large", ""), []string{
			"11:12 Scheduling.SlurmQueues[0].ComputeResources[0]: no instance type is given (add InstanceType, or Instances with several types)"}},
		"settings of another storage type": {smallest + "SharedStorage:\n  - {Name: a, MountDir: /a, StorageType: Efs, EbsSettings: {Size: 1}}\n", []string{
			"13:47 SharedStorage[0].EbsSettings: EbsSettings does not go with StorageType Efs (remove it, or change StorageType)"}},
		"existing file system with settings of a new one": {smallest + "SharedStorage:\n  - {Name: a, MountDir: /a, StorageType: Efs, EfsSettings: {FileSystemId: fs-12345678, Encrypted: true}}\n", []string{
			"13:88 SharedStorage[0].EfsSettings.Encrypted: Encrypted can't be given beside FileSystemId (remove it: what exists already keeps its settings)"}},
		"alias without anchor": {edit("Os: alinux2023", "Os: *os"), []string{
			"1:13 : Configuration must be a valid YAML document. No anchor &os stands before the alias *os."}},
		"several documents": {smallest + "---\na: b\n", []string{
			"13:1 : Configuration must be a valid YAML document. There is more than one document in the file. (remove what follows the line ---)"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, found := Parse("", []byte(tt.text))
			var got []string
			for _, p := range found {
				line := p.Path + ": " + p.Message
				if p.Pos != (Pos{}) {
					line = p.Pos.String() + " " + line
				}
				if p.Hint != "" {
					line += " (" + p.Hint + ")"
				}
				got = append(got, line)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestBrokenYAMLNamesThePlace(t *testing.T) {
	for _, text := range []string{"Image:\n  Os: [a\nHeadNode: b\n", "Image:\n\tOs: a\n", "Image: 'a\n", "a: b: c\n"} {
		_, found := Parse("", []byte(text))
		p, bad := found.Malformed()
		if !bad || p.Pos.Line == 0 || !strings.HasPrefix(p.Message, "Configuration must be a valid YAML document.") {
			t.Errorf("%q: %v", text, found)
		}
	}
}

func TestCoercions(t *testing.T) {
	for text, want := range map[string]string{
		"Count: 7":         "7",
		"Count: '7'":       "7",
		"Count: 7.9":       "7",
		"Count: 010":       "8",
		"Count: 0x10":      "16",
		"Count: 1_0":       "10",
		"Count: 1:30":      "90",
		"Count: '7.5'":     "error",
		"Count: true":      "error",
		"Enabled: true":    "true",
		"Enabled: yes":     "true",
		"Enabled: 'Off'":   "false",
		"Enabled: 1":       "true",
		"Enabled: 'y'":     "true",
		"Enabled: 2":       "error",
		"Enabled: tRUE":    "error",
		"Ip: true":         "true",
		"Ip: 'False'":      "false",
		"Ip: 1.2.3.4":      "1.2.3.4",
		"Ip: no":           "false",
		"Text: yes":        "error",
		"Text: 'yes'":      "yes",
		"Text: 03:00":      "03:00",
		"Text: 12:30":      "error",
		"Text: !!str 12":   "12",
		"Text: 1.2.3":      "1.2.3",
		"Text: 2024-01-01": "error",
		"Text: ~":          "error",
		"Map: {a: 12:00:00, b: YES, c: 1-00:00:00, d: 'x y'}": "a=12:00:00 b=YES c=1-00:00:00 d=x y",
		"Map: {a: [1]}": "error",
		"Map: {a: }":    "error",
	} {
		t.Run(text, func(t *testing.T) {
			var v struct {
				Count   int      `update:"SUPPORTED"`
				Enabled bool     `update:"SUPPORTED"`
				Ip      Scalar   `update:"SUPPORTED"`
				Text    string   `update:"SUPPORTED"`
				Map     Settings `update:"SUPPORTED"`
			}
			doc, found := readDocument([]byte(text))
			if doc == nil {
				t.Fatal(found)
			}
			d := &decoder{doc: doc}
			decodeInto(d, &v)
			got := ""
			switch key := doc.Root.Entries[0].Key; {
			case len(d.found) > 0:
				got = "error"
			case key == "Count":
				got = strconv.Itoa(v.Count)
			case key == "Enabled":
				got = map[bool]string{true: "true", false: "false"}[v.Enabled]
			case key == "Ip":
				got = string(v.Ip)
			case key == "Text":
				got = v.Text
			case key == "Map":
				var parts []string
				for _, s := range v.Map {
					parts = append(parts, s.Key+"="+s.Value)
				}
				got = strings.Join(parts, " ")
			}
			if got != want {
				t.Errorf("got %q, want %q; %v", got, want, d.found)
			}
		})
	}
}

func TestOddButValidYAML(t *testing.T) {
	for name, text := range map[string]string{
		"byte order mark": "\ufeff" + smallest, "directive": "%YAML 1.1\n---\n" + smallest, "carriage returns": strings.ReplaceAll(smallest, "\n", "\r\n"),
		"explicit key": "? Region\n: us-east-1\n" + smallest, "end of document": smallest + "...\n", "comments": "# a\n" + smallest + "# b\n",
	} {
		if c, found := Parse("", []byte(text)); len(found) > 0 || c.HeadNode.InstanceType != "t3.medium" {
			t.Errorf("%s: %v", name, found)
		}
	}
}

func TestAnchorsAndMergeKeys(t *testing.T) {
	c, found := Parse("", []byte(`
Image: {Os: alinux2023}
HeadNode:
  InstanceType: t3.medium
  Networking: {SubnetId: &subnet subnet-12345678}
Scheduling:
  Scheduler: slurm
  SlurmQueues:
    - &first
      Name: q1
      CapacityType: SPOT
      Networking: {SubnetIds: [*subnet]}
      ComputeResources:
        - {Name: c1, InstanceType: c5.large}
    - <<: *first
      Name: q2
      CapacityType: ONDEMAND
`))
	if len(found) > 0 {
		t.Fatal(found)
	}
	q := c.Scheduling.SlurmQueues[1]
	if q.Name != "q2" || q.CapacityType != OnDemand || q.Networking.SubnetIds[0] != "subnet-12345678" || q.ComputeResources[0].Name != "c1" {
		t.Errorf("%+v", q)
	}
}

func TestPositionsOfKeys(t *testing.T) {
	c, _ := Parse("", []byte(smallest))
	for path, want := range map[string]Pos{
		"HeadNode":              {2, 1},
		"HeadNode.InstanceType": {3, 17},
		"HeadNode.Ssh.KeyName":  {2, 1},
		"Scheduling.SlurmQueues[0].ComputeResources[0].Name":     {11, 18},
		"Scheduling.SlurmQueues[0].ComputeResources[0].MaxCount": {11, 12},
		"Scheduling.SlurmQueues[0].Networking.SubnetIds[0]":      {9, 32},
		"SharedStorage[3].Name":                                  {},
	} {
		if got := c.Pos(path); got != want {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(smallest))
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("[x]\ny = z"))
	f.Add(read(f, "testdata/bluebrain.yaml"))
	f.Add(read(f, "testdata/everything.yaml"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, found := Parse("", data)
		if c == nil && len(found) == 0 {
			t.Fatal("neither cluster nor problem")
		}
		if c == nil || len(found) > 0 {
			return
		}
		if _, err := ParseImplied("", Marshal(c)); err != nil {
			t.Fatalf("%v\n%s", err, Marshal(c))
		}
	})
}

func BenchmarkParse(b *testing.B) {
	data := read(b, "testdata/bluebrain.yaml")
	for b.Loop() {
		Parse("", data)
	}
}

func decodeInto(d *decoder, v any) {
	d.section(reflect.ValueOf(v).Elem(), d.doc.Root, "", Pos{})
}
