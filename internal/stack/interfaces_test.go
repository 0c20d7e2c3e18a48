package stack

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pcluster/internal/cfn"
	"pcluster/internal/config"
	"pcluster/internal/facts"
	"pcluster/internal/facts/catalog"
	"pcluster/internal/facts/live"
)

// interfacesOf returns the network interfaces of compute nodes.
func interfacesOf(efa bool, kind string, types ...facts.InstanceType) []cfn.LaunchInterface {
	q := &config.SlurmQueue{Networking: config.QueueNetworking{SubnetIds: []string{"subnet-11111111"}, SecurityGroups: []string{"sg-11111111"}}}
	r := &config.ComputeResource{Efa: config.Efa{Enabled: efa}, InstanceType: types[0].Name}
	b := &queueBuilder{builder: &builder{c: &config.Cluster{DevSettings: config.DevSettings{EfaInterfaceType: kind}}}}
	return b.interfaces(q, r, types)
}

// brief writes interfaces as card.device type.
func brief(list []cfn.LaunchInterface) string {
	var out []string
	for _, n := range list {
		kind := n.InterfaceType
		if kind == "" {
			kind = "ena"
		}
		out = append(out, fmt.Sprintf("%d.%d %s", *n.NetworkCardIndex, n.DeviceIndex, kind))
	}
	return strings.Join(out, ", ")
}

func typeNamed(t testing.TB, name string) facts.InstanceType {
	t.Helper()
	info, ok := catalog.InstanceType(name)
	if !ok {
		t.Fatalf("no instance type %s", name)
	}
	return live.InstanceType(info)
}

func TestNetworkInterfaces(t *testing.T) {
	more := func(first string, from, to, device int, kind string) string {
		for i := from; i <= to; i++ {
			first += fmt.Sprintf(", %d.%d %s", i, device, kind)
		}
		return first
	}
	for name, tt := range map[string]struct {
		kind, instance string
		efa            bool
		want           string
	}{
		"one card":                             {"", "c5.large", false, "0.0 ena"},
		"one card with an adapter":             {"", "c5n.18xlarge", true, "0.0 ena, 0.1 efa-only"},
		"the two in one":                       {"efa", "c5n.18xlarge", true, "0.0 efa"},
		"several cards":                        {"", "p4d.24xlarge", false, "0.0 ena, 1.1 ena, 2.1 ena, 3.1 ena"},
		"several cards with adapters":          {"", "p4d.24xlarge", true, "0.0 ena, 0.1 efa-only, 1.1 efa-only, 2.1 efa-only, 3.1 efa-only"},
		"two cards":                            {"", "hpc7a.96xlarge", true, "0.0 ena, 0.1 efa-only, 1.1 efa-only"},
		"32 cards":                             {"", "p5.48xlarge", true, more("0.0 ena, 0.1 efa-only", 1, 31, 1, "efa-only")},
		"32 cards, the two in one":             {"efa", "p5.48xlarge", true, more("0.0 efa", 1, 31, 1, "efa")},
		"the first card has none":              {"", "p6-b300.48xlarge", true, more("0.0 ena", 1, 16, 1, "efa-only")},
		"the first card has none, even in one": {"efa", "p6-b300.48xlarge", true, more("0.0 ena", 1, 16, 1, "efa")},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, brief(interfacesOf(tt.efa, tt.kind, typeNamed(t, tt.instance)))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// EC2 launches every type that it has with the interfaces that we ask for.
func TestNetworkInterfacesFitEveryInstanceType(t *testing.T) {
	seen := 0
	for _, info := range catalog.InstanceTypes() {
		kind := live.InstanceType(info)
		for _, efa := range []bool{false, true} {
			if efa && (kind.NetworkInfo.EfaInfo == nil || !kind.NetworkInfo.EfaSupported) {
				continue
			}
			for _, way := range []string{"", "efa"} {
				list := interfacesOf(efa, way, kind)
				adapters, used := 0, map[[2]int]bool{}
				perCard := map[int]int{}
				for _, n := range list {
					at := [2]int{*n.NetworkCardIndex, n.DeviceIndex}
					if used[at] {
						t.Errorf("%s: two interfaces at %v", kind.Name, at)
					}
					used[at] = true
					perCard[at[0]]++
					if n.InterfaceType != "" {
						adapters++
					}
				}
				for _, card := range kind.NetworkInfo.NetworkCards {
					if n := perCard[card.NetworkCardIndex]; n > card.MaximumNetworkInterfaces {
						t.Errorf("%s: %d interfaces on card %d, which takes %d", kind.Name, n, card.NetworkCardIndex, card.MaximumNetworkInterfaces)
					}
				}
				if efa && adapters != kind.NetworkInfo.EfaInfo.MaximumEfaInterfaces {
					t.Errorf("%s: %d adapters, want %d", kind.Name, adapters, kind.NetworkInfo.EfaInfo.MaximumEfaInterfaces)
				}
				if list[0].InterfaceType == "efa-only" || list[0].DeviceIndex != 0 || *list[0].NetworkCardIndex != 0 {
					t.Errorf("%s: the first interface is not one for IP", kind.Name)
				}
				seen++
			}
		}
	}
	if seen < 1000 {
		t.Errorf("only %d cases", seen)
	}
}

// Of several types, the one with the fewest cards says how many there are.
func TestNetworkInterfacesOfSeveralTypes(t *testing.T) {
	many, one := typeNamed(t, "p4d.24xlarge"), typeNamed(t, "c5n.18xlarge")
	for _, types := range [][]facts.InstanceType{{many, one}, {one, many}} {
		if got := brief(interfacesOf(true, "", types...)); got != "0.0 ena, 0.1 efa-only" {
			t.Errorf("%s first: %s", types[0].Name, got)
		}
	}
}

const overridden = `
Image: {Os: alinux2023, CustomAmi: ami-01234567}
HeadNode: {InstanceType: c5.large, Networking: {SubnetId: subnet-11111111}}
Scheduling:
  Scheduler: slurm
  SlurmQueues:
  - Name: q
    Networking: {SubnetIds: [subnet-11111111]}
    ComputeResources: [{Name: c, InstanceType: p4d.24xlarge, LaunchTemplateOverrides: {LaunchTemplateId: lt-1, Version: 3}}]
`

// The interfaces of the user's launch template replace ours, and the head node may
// launch with their security groups.
func TestLaunchTemplateOverrides(t *testing.T) {
	c := parseText(t, overridden)
	f := account(t, c)
	f.Templates[config.LaunchTemplateOverrides{LaunchTemplateId: "lt-1", Version: 3}] = facts.LaunchTemplate{
		Interfaces: []facts.TemplateInterface{{Subnet: "subnet-99999999", Groups: []string{"sg-99999999"}}, {DeviceIndex: 1, NetworkCardIndex: 1, InterfaceType: "efa-only"}},
	}
	out, err := Synthesize(c, f, params)
	if err != nil {
		t.Fatal(err)
	}
	check(t, c, out)
	data := read(t, out.Nested[0].Body).Resources["LaunchTemplate"+hash16("qc")].Properties["LaunchTemplateData"].(map[string]any)
	want := []any{
		map[string]any{"DeviceIndex": 0.0, "NetworkCardIndex": 0.0, "SubnetId": "subnet-99999999", "Groups": []any{"sg-99999999"}},
		map[string]any{"DeviceIndex": 1.0, "NetworkCardIndex": 1.0, "InterfaceType": "efa-only"},
	}
	if diff := cmp.Diff(want, data["NetworkInterfaces"]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !strings.Contains(string(out.Root), "security-group/sg-99999999") {
		t.Error("the head node may not launch with the template's security group")
	}
}

func TestLaunchTemplateOverridesAreInterfacesAlone(t *testing.T) {
	c := parseText(t, overridden)
	f := account(t, c)
	for want, has := range map[string]facts.LaunchTemplate{
		"version 3 of launch template lt-1 has no network interfaces":                                          {},
		"version 3 of launch template lt-1 may set network interfaces only, but it sets ImageId, KeyName, too": {Interfaces: []facts.TemplateInterface{{}}, Others: []string{"ImageId", "KeyName"}},
	} {
		f.Templates[config.LaunchTemplateOverrides{LaunchTemplateId: "lt-1", Version: 3}] = has
		if _, err := Synthesize(c, f, params); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
