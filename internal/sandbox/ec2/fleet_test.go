package ec2

import (
	"fmt"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// fleetRegion has a template without a type, as compute resources with several
// types have, and a second, small subnet.
func fleetRegion(t *testing.T) *testRegion {
	t.Helper()
	r := newRegion(t)
	ctx := t.Context()
	if err := r.AdoptSubnet(ctx, smallSubnet, "10.0.2.0/28"); err != nil {
		t.Fatal(err)
	}
	ok[*sdk.CreateLaunchTemplateOutput](t)(r.CreateLaunchTemplate(ctx, &sdk.CreateLaunchTemplateInput{
		LaunchTemplateName: aws.String("demo-q1-flex"),
		LaunchTemplateData: &types.RequestLaunchTemplateData{
			ImageId: &r.image,
			NetworkInterfaces: []types.LaunchTemplateInstanceNetworkInterfaceSpecificationRequest{
				{DeviceIndex: aws.Int32(0), Groups: []string{r.group}},
			},
		},
	}))
	return r
}

const smallSubnet = "subnet-0bbbbbbbbbbbbbbbb"

func fleetRequest(n int32, overrides ...types.FleetLaunchTemplateOverridesRequest) *sdk.CreateFleetInput {
	return &sdk.CreateFleetInput{
		Type: types.FleetTypeInstant,
		LaunchTemplateConfigs: []types.FleetLaunchTemplateConfigRequest{{
			LaunchTemplateSpecification: &types.FleetLaunchTemplateSpecificationRequest{LaunchTemplateName: aws.String("demo-q1-flex"), Version: aws.String("$Latest")},
			Overrides:                   overrides,
		}},
		TargetCapacitySpecification: &types.TargetCapacitySpecificationRequest{TotalTargetCapacity: &n, DefaultTargetCapacityType: "on-demand"},
	}
}

func override(kind types.InstanceType, subnet string) types.FleetLaunchTemplateOverridesRequest {
	return types.FleetLaunchTemplateOverridesRequest{InstanceType: kind, SubnetId: &subnet}
}

// got lists what a fleet launched, as type:count in order, and its error codes.
func got(out *sdk.CreateFleetOutput) (launched []string, codes []string) {
	for _, g := range out.Instances {
		launched = append(launched, fmt.Sprintf("%s:%d", g.InstanceType, len(g.InstanceIds)))
	}
	for _, e := range out.Errors {
		codes = append(codes, *e.ErrorCode)
	}
	return launched, codes
}

func TestFleet(t *testing.T) {
	large, xlarge := override("c5.large", testSubnet), override("c5.xlarge", testSubnet)
	for name, tt := range map[string]struct {
		capacity map[string]int
		request  *sdk.CreateFleetInput
		change   func(*sdk.CreateFleetInput)
		want     []string
		errors   []string
	}{
		"cheapest first": {
			request: fleetRequest(3, xlarge, large),
			want:    []string{"c5.large:3"},
		},
		"what one type lacks comes from the next": {
			capacity: map[string]int{"c5.large": 2},
			request:  fleetRequest(5, large, xlarge),
			want:     []string{"c5.large:2", "c5.xlarge:3"},
			errors:   []string{"InsufficientInstanceCapacity"},
		},
		"partial success": {
			capacity: map[string]int{"c5.large": 2, "c5.xlarge": 1},
			request:  fleetRequest(5, large, xlarge),
			want:     []string{"c5.large:2", "c5.xlarge:1"},
			errors:   []string{"InsufficientInstanceCapacity", "InsufficientInstanceCapacity"},
		},
		"nothing at all": {
			capacity: map[string]int{"c5.large": 0},
			request:  fleetRequest(5, large),
			errors:   []string{"InsufficientInstanceCapacity"},
		},
		"priorities": {
			request: fleetRequest(2, xlarge, large),
			change: func(in *sdk.CreateFleetInput) {
				in.OnDemandOptions = &types.OnDemandOptionsRequest{AllocationStrategy: "prioritized"}
				in.LaunchTemplateConfigs[0].Overrides[0].Priority = aws.Float64(1)
				in.LaunchTemplateConfigs[0].Overrides[1].Priority = aws.Float64(2)
			},
			want: []string{"c5.xlarge:2"},
		},
		"all or nothing": {
			capacity: map[string]int{"c5.large": 2},
			request:  fleetRequest(4, large),
			change: func(in *sdk.CreateFleetInput) {
				in.OnDemandOptions = &types.OnDemandOptionsRequest{SingleInstanceType: aws.Bool(true), MinTargetCapacity: aws.Int32(4)}
			},
			errors: []string{"InsufficientInstanceCapacity"},
		},
		"a single type that has enough": {
			capacity: map[string]int{"c5.large": 2},
			request:  fleetRequest(4, large, xlarge),
			change: func(in *sdk.CreateFleetInput) {
				in.OnDemandOptions = &types.OnDemandOptionsRequest{SingleInstanceType: aws.Bool(true), MinTargetCapacity: aws.Int32(4)}
			},
			want: []string{"c5.xlarge:4"},
		},
		"subnets fill up": {
			request: fleetRequest(15, override("c5.large", smallSubnet), override("c5.large", testSubnet)),
			want:    []string{"c5.large:11", "c5.large:4"},
			errors:  []string{"InsufficientFreeAddressesInSubnet"},
		},
		"an override that cannot be": {
			request: fleetRequest(1, override("hpc7a.96xlarge", testSubnet), large),
			want:    []string{"c5.large:1"},
			errors:  []string{"Unsupported"},
		},
		"spread over all": {
			request: fleetRequest(4, large, xlarge),
			change: func(in *sdk.CreateFleetInput) {
				in.TargetCapacitySpecification.DefaultTargetCapacityType = "spot"
				in.SpotOptions = &types.SpotOptionsRequest{AllocationStrategy: "diversified"}
			},
			want: []string{"c5.large:2", "c5.xlarge:2"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := fleetRegion(t)
			for kind, n := range tt.capacity {
				if err := r.SetCapacity(kind, n); err != nil {
					t.Fatal(err)
				}
			}
			in := *tt.request
			in.LaunchTemplateConfigs = slices.Clone(in.LaunchTemplateConfigs)
			in.LaunchTemplateConfigs[0].Overrides = slices.Clone(in.LaunchTemplateConfigs[0].Overrides)
			if tt.change != nil {
				tt.change(&in)
			}
			in.ClientToken = aws.String("t")
			out := ok[*sdk.CreateFleetOutput](t)(r.CreateFleet(t.Context(), &in))
			launched, codes := got(out)
			if !slices.Equal(launched, tt.want) || !slices.Equal(codes, tt.errors) {
				t.Errorf("launched %v with errors %v, want %v, %v", launched, codes, tt.want, tt.errors)
			}
			r.settle()
			running := len(r.machines.up)
			again := ok[*sdk.CreateFleetOutput](t)(r.CreateFleet(t.Context(), &in))
			r.settle()
			if *again.FleetId != *out.FleetId || len(r.machines.up) != running {
				t.Errorf("the same token launched again: %d machines after %d", len(r.machines.up), running)
			}
			for _, g := range out.Instances {
				i := r.instance(g.InstanceIds[0])
				if i.State.Name != "running" || tagValues(i.Tags, "aws:ec2:fleet-id") == nil {
					t.Errorf("%s is %s with tags %v", *i.InstanceId, i.State.Name, i.Tags)
				}
				if spot := in.TargetCapacitySpecification.DefaultTargetCapacityType == "spot"; (i.InstanceLifecycle == "spot") != spot {
					t.Errorf("life cycle %q", i.InstanceLifecycle)
				}
			}
		})
	}
}

func TestFleetRefusals(t *testing.T) {
	r := fleetRegion(t)
	large := override("c5.large", testSubnet)
	in := fleetRequest(1, large)
	in.Type = types.FleetTypeMaintain
	_, err := r.CreateFleet(t.Context(), in)
	refused(t, err, "UnsupportedOperation")

	in = fleetRequest(1, large)
	in.LaunchTemplateConfigs[0].LaunchTemplateSpecification.LaunchTemplateName = aws.String("none")
	_, err = r.CreateFleet(t.Context(), in)
	refused(t, err, "InvalidLaunchTemplateName.NotFoundException")

	in = fleetRequest(2, large)
	in.OnDemandOptions = &types.OnDemandOptionsRequest{MinTargetCapacity: aws.Int32(2)}
	_, err = r.CreateFleet(t.Context(), in)
	refused(t, err, "InvalidParameterCombination")

	in = fleetRequest(1, large)
	in.DryRun = aws.Bool(true)
	_, err = r.CreateFleet(t.Context(), in)
	refused(t, err, "DryRunOperation")
}
