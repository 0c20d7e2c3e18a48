package stack

import (
	"bytes"
	"encoding/json"
	"flag"
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
	ClusterName: "demo", Region: "us-east-1", Account: "671250183987", Partition: "aws",
	Bucket: "parallelcluster-0123456789abcdef-v1-do-not-delete", ArtifactDir: "parallelcluster/3.16.100/clusters/demo-abcdefghijklmnop",
	ConfigKey:     "parallelcluster/3.16.100/clusters/demo-abcdefghijklmnop/configs/cluster-config-with-implied-values.yaml",
	ConfigVersion: "v2", OriginalVersion: "v1",
	InstanceTypesKey: "parallelcluster/3.16.100/clusters/demo-abcdefghijklmnop/configs/instance-types-data.json", InstanceTypesVersion: "v3",
	Timestamp:    "20241215103000",
	Programs:     map[string]string{"amd64": strings.Repeat("a", 64), "arm64": strings.Repeat("b", 64)},
	LambdaZipKey: LambdaKey(strings.Repeat("a", 64), "amd64"),
}

// account returns facts for whatever a file names: real instance types, and
// subnets that alternate between two zones.
func account(t testing.TB, c *config.Cluster) facts.Snapshot {
	t.Helper()
	s := facts.Snapshot{
		Types: map[string]facts.InstanceType{}, Subnets: map[string]facts.Subnet{}, Images: map[string]facts.Image{},
		Addresses:    map[string]facts.Address{"1.2.3.4": {PublicIP: "1.2.3.4", AllocationID: "eipalloc-12345678"}},
		Reservations: map[string]facts.Reservation{"cr-1": {ID: "cr-1", InstanceType: "c5.large"}},
		OfficialAMI:  "ami-0fffffffffffffff0", InternetFacing: map[string]bool{},
	}
	for _, n := range append(facts.Names(c), "c5.large") {
		info, ok := catalog.InstanceType(n)
		if !ok {
			t.Fatalf("no instance type %s", n)
		}
		s.Types[n] = live.InstanceType(info)
	}
	for i, id := range facts.SubnetIDs(c) {
		s.Subnets[id] = facts.Subnet{ID: id, AZ: "us-east-1" + string("ab"[i%2]), VPC: "vpc-12345678"}
		s.InternetFacing[id] = i%2 == 0
	}
	for _, id := range []string{c.Image.CustomAmi, s.OfficialAMI} {
		s.Images[id] = facts.Image{ID: id, RootDevice: "/dev/xvda"}
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
	c.Region = "us-east-1"
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

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, got, "", " "); err != nil {
		t.Fatal(err)
	}
	pretty.WriteByte('\n')
	if *update {
		if err := os.WriteFile(file, pretty.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), pretty.String()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}
