package configure

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"pcluster/internal/config"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func request(f *fakeCloud, file string) Request {
	return Request{
		File: file, Supported: []string{"us-east-1", "us-west-2"}, Systems: []string{"alinux2023", "ubuntu2204"}, DefaultRegion: "us-east-1", Open: f.open,
	}
}

// TestDialogues compares whole dialogues, answers after the questions and the file
// below, with testdata.
func TestDialogues(t *testing.T) {
	busy := func() *fakeCloud {
		f := newFake()
		f.network("vpc-1", "10.0.0.0/16", [2]string{"us-east-1a", "10.0.0.0/24"}, [2]string{"us-east-1b", "10.0.1.0/24"})
		f.network("vpc-2", "10.1.0.0/16")
		return f
	}
	for name, tt := range map[string]struct {
		cloud   *fakeCloud
		region  string
		answers string // one a line
		err     error
	}{
		"defaults": {cloud: busy(), answers: "\n\n\n\n\n\n\n\n\n\nn\n\nn\n\n\n"},
		"wrong answers": {
			cloud: busy(), region: "us-east-1",
			answers: "carol\n0\n3\n2\nslrum\nslurm\nubuntu1404\nubuntu2204\nt3.mikro\nt3.micro\n0\n51\ntwo\n2\nQ1\nq1\n26\n2\n\n4\nt3.micro\nc5.large\n5\nq1\ndefault\nq2\n1\nc5.large\n-1\n6\nno\nn\nvpc-3\nvpc-1\nn\nsubnet-00000002\n\n\n",
		},
		"EFA and a placement group": {
			cloud: busy(), region: "us-east-1", answers: "1\n1\nubuntu2204\n\n1\nhpc\n1\nc5n.18xlarge\ny\n2\nalone\ntogether\nn\n1\nsubnet-00000001\n",
			err: errors.New("There is no single availability zone offering head node and compute in current region.\nTo create your cluster, make sure you have a subnet for head node in [us-east-1a us-east-1b], and a subnet for compute nodes in [us-east-1c]. Then run pcluster configure again and avoid using Automate VPC/Subnet creation."),
		},
		"EFA where there is a subnet": {
			cloud: func() *fakeCloud { f := busy(); f.subnet("vpc-1", "us-east-1c", "10.0.2.0/24"); return f }(), region: "us-east-1",
			answers: "1\n1\nubuntu2204\n\n1\nhpc\n1\nc5n.18xlarge\n\n2\n\nn\n1\nn\nsubnet-00000001\nsubnet-00000003\n",
		},
		"automatic subnets":       {cloud: busy(), region: "us-east-1", answers: "\n\n\n\n\n\n\n\n\nn\n1\ny\n\n\n"},
		"automatic public subnet": {cloud: busy(), region: "us-east-1", answers: "\n\n\n\n\n\n\n\n\nn\n2\n2\n2\n"},
		"no VPC":                  {cloud: newFake(), region: "us-east-1", answers: "\n\n\n\n\n\n\n\n\n1\n2\n"},
		"no VPC and a failure":    {cloud: func() *fakeCloud { f := newFake(); f.failure = "no addresses are left"; return f }(), region: "us-east-1", answers: "\n\n\n\n\n\n\n\n\n1\n2\n", err: ErrNoNetwork},
		"a VPC by itself":         {cloud: busy(), region: "us-east-1", answers: "\n\n\n\n\n\n\n\n\ny\n1\n1\n"},
		"awsbatch":                {cloud: busy(), region: "us-east-1", answers: "\nawsbatch\n\n\n64\nn\nvpc-1\n\n"},
		"a stack that fails":      {cloud: func() *fakeCloud { f := busy(); f.failure = "no addresses are left"; return f }(), region: "us-east-1", answers: "\n\n\n\n\n\n\n\n\nn\n1\ny\n\n\n", err: ErrNoNetwork},
		"no key pair":             {cloud: func() *fakeCloud { f := busy(); f.keys = nil; return f }(), region: "us-east-1", err: errors.New("No options found for EC2 Key Pair Name")},
		"the input ends":          {cloud: busy(), region: "us-east-1", answers: "\n\n", err: errors.New("the input ended at the question Operating System")},
		"a VPC without DNS names": {cloud: func() *fakeCloud { f := busy(); f.support["vpc-2enableDnsHostnames"] = false; return f }(), region: "us-east-1", answers: "\n\n\n\n\n\n\n\n\nn\n2\n\n\n"},
		"a VPC with no room at all": {cloud: func() *fakeCloud {
			f := newFake()
			f.network("vpc-1", "10.0.0.0/28", [2]string{"us-east-1a", "10.0.0.0/28"})
			return f
		}(), region: "us-east-1", answers: "\n\n\n\n\n\n\n\n\nn\n1\ny\n\n\n", err: errors.New("Unable to create subnet. Please check the number of available IPs in the VPC vpc-1 (10.0.0.0/28)")},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "made", "cluster.yaml")
			var said bytes.Buffer
			r := request(tt.cloud, file)
			r.Region = tt.region
			err := Run(t.Context(), NewConsole(strings.NewReader(tt.answers), &said, false), r)
			if (err == nil) != (tt.err == nil) || err != nil && err.Error() != tt.err.Error() {
				t.Errorf("error %v, want %v", err, tt.err)
			}
			transcript := strings.ReplaceAll(said.String(), file, "FILE")
			text, readErr := os.ReadFile(file)
			if (readErr == nil) != (err == nil) {
				t.Errorf("the file: %v", readErr)
			}
			for _, made := range tt.cloud.made {
				transcript += "\n---- " + made
			}
			if err == nil {
				transcript += "\n---- FILE\n" + string(text)
				if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
					t.Errorf("%v, %v", info.Mode(), err)
				}
				if _, problems := config.Parse("cluster.yaml", text); len(problems) > 0 {
					t.Errorf("the file has problems: %v", problems)
				}
			}
			golden(t, strings.ReplaceAll(name, " ", "-")+".txt", transcript)
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func TestWhatIsThereIsNotOverwritten(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{dir, filepath.Join(dir, "file"), filepath.Join(dir, "link")} {
		switch filepath.Base(path) {
		case "file":
			if err := os.WriteFile(path, []byte("mine"), 0o644); err != nil {
				t.Fatal(err)
			}
		case "link":
			if err := os.Symlink("nowhere", path); err != nil {
				t.Fatal(err)
			}
		}
		err := Run(t.Context(), NewConsole(strings.NewReader(""), &bytes.Buffer{}, false), request(newFake(), path))
		if err == nil || !strings.HasPrefix(err.Error(), "A file/folder exists at "+path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestInterruptedQuestion(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Run(ctx, NewConsole(reader, &bytes.Buffer{}, false), request(newFake(), filepath.Join(t.TempDir(), "f"))); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestNetworkTemplates(t *testing.T) {
	for name, tt := range map[string]struct{ gateway, private bool }{
		"public": {}, "public-with-gateway": {gateway: true}, "public-private": {private: true},
	} {
		text, err := networkTemplate(tt.gateway, tt.private)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name+".template.json", string(text))
	}
}

func TestBlocks(t *testing.T) {
	for name, tt := range map[string]struct {
		vpc       string
		occupied  string
		addresses int
		want      string
	}{
		"the first of an empty VPC":            {"10.0.0.0/16", "", 250, "10.0.0.0/24"},
		"with what AWS keeps":                  {"10.0.0.0/16", "", 251, "10.0.0.0/23"},
		"never smaller than AWS allows":        {"10.0.0.0/16", "", 1, "10.0.0.0/28"},
		"the first gap":                        {"10.0.0.0/16", "10.0.0.0/24 10.0.2.0/24", 250, "10.0.1.0/24"},
		"a gap that is not aligned is none":    {"10.0.0.0/16", "10.0.0.0/24", 500, "10.0.2.0/23"},
		"the last one":                         {"10.0.0.0/23", "10.0.0.0/24", 250, "10.0.1.0/24"},
		"none":                                 {"10.0.0.0/24", "10.0.0.0/28", 250, ""},
		"larger than the VPC":                  {"10.0.0.0/24", "", 4000, ""},
		"at the end of all addresses":          {"255.255.255.0/24", "255.255.255.0/25", 100, "255.255.255.128/25"},
		"in a VPC that does not begin aligned": {"10.0.16.0/20", "", 4000, "10.0.16.0/20"},
	} {
		var occupied []netip.Prefix
		for _, s := range strings.Fields(tt.occupied) {
			occupied = append(occupied, netip.MustParsePrefix(s))
		}
		got := ""
		if block, ok := blockFor(netip.MustParsePrefix(tt.vpc), occupied, tt.addresses); ok {
			got = block.String()
		}
		if got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

// A block lies in the VPC, apart from all others, and is large enough, whatever
// there is already.
func TestBlocksFit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		vpc := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(rapid.IntRange(0, 255).Draw(t, "net")), 0, 0}), rapid.IntRange(16, 28).Draw(t, "bits"))
		var occupied []netip.Prefix
		for range 20 {
			addresses := rapid.IntRange(1, 5000).Draw(t, "addresses")
			block, ok := roomyBlockFor(vpc, occupied, addresses)
			if !ok {
				continue
			}
			if !vpc.Contains(block.Addr()) || block.Bits() < vpc.Bits() || block.Masked() != block {
				t.Fatalf("%s is not in %s", block, vpc)
			}
			if 1<<(32-block.Bits()) < addresses+5 {
				t.Fatalf("%s has no %d addresses", block, addresses)
			}
			for _, o := range occupied {
				if o.Overlaps(block) {
					t.Fatalf("%s and %s", o, block)
				}
			}
			occupied = append(occupied, block)
		}
	})
}
