package config

import (
	"os"
	"strings"
	"testing"
)

// What Show prints is the file with its implied values: read again, it means the same.
func TestShowIsAFile(t *testing.T) {
	for _, file := range []string{"testdata/bluebrain.yaml", "testdata/everything.yaml"} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		c, found := Parse(file, data)
		if err := found.Err(); err != nil {
			t.Fatal(err)
		}
		values, text := c.Show()
		again, err := ParseImplied(file, text)
		if err != nil {
			t.Fatalf("%s: %v\n%s", file, err, text)
		}
		if got, want := string(Marshal(again)), string(Marshal(c)); got != want {
			t.Errorf("%s: shown and read again, it means something else", file)
		}
		lines := strings.Split(string(data), "\n")
		for _, v := range values {
			key := v.Path[strings.LastIndexByte(v.Path, '.')+1:]
			if v.Source == "file" && !strings.Contains(lines[v.Line-1], key) && !strings.Contains(lines[max(v.Line-2, 0)], key) {
				t.Errorf("%s: %s is said to be in line %d, which is %q", file, v.Path, v.Line, lines[v.Line-1])
			}
		}
	}
}

func TestShowSaysWhereValuesComeFrom(t *testing.T) {
	c, found := Parse("", []byte("Image: {Os: alinux2023}\nHeadNode:\n  InstanceType: c5.large\n  Networking: {SubnetId: subnet-11111111}\n"+
		"Scheduling:\n  Scheduler: slurm\n  SlurmQueues: [{Name: q, Networking: {SubnetIds: [subnet-11111111]}, ComputeResources: [{Name: c, Instances: [{InstanceType: c5.large}]}]}]\n"))
	if err := found.Err(); err != nil {
		t.Fatal(err)
	}
	values, text := c.Show()
	got := map[string]string{}
	for _, v := range values {
		got[v.Path] = v.String()
	}
	for path, want := range map[string]string{
		"HeadNode.InstanceType":                              "line 3",
		"HeadNode.LocalStorage.RootVolume.VolumeType":        "default",
		"HeadNode.LocalStorage.RootVolume.Iops":              "implied: 3000 for gp3, 100 for io1 and io2",
		"Scheduling.SlurmQueues[0].ComputeResources[0].Name": "line 7",
		"Scheduling.SlurmQueues[0].CapacityType":             "default",
		"Scheduling.SlurmSettings.ScaledownIdletime":         "default",
	} {
		if got[path] != want {
			t.Errorf("%s comes from %q, want %q", path, got[path], want)
		}
	}
	if s := got["Scheduling.SlurmQueues[0].AllocationStrategy"]; !strings.HasPrefix(s, "implied") {
		t.Errorf("the allocation strategy comes from %q, want implied", s)
	}
	if !strings.Contains(string(text), "  # line 3\n") {
		t.Errorf("no comment:\n%s", text)
	}
}
