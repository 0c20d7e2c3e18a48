package live

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"pcluster/internal/facts"
	"pcluster/internal/facts/catalog"
)

func TestOneQuestionForManyAskers(t *testing.T) {
	var m memo[string, int]
	var asked atomic.Int32
	gate := make(chan struct{})
	var wg sync.WaitGroup
	for range 50 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			v, err := m.get(context.Background(), "k", func() (int, error) {
				<-gate
				return int(asked.Add(1)), nil
			})
			if v != 1 || err != nil {
				t.Errorf("got %d, %v", v, err)
			}
		}()
	}
	close(gate)
	wg.Wait()
}

func TestAnswerForOneWhoGaveUpIsNotKept(t *testing.T) {
	var m memo[string, int]
	ctx, cancel := context.WithCancel(context.Background())
	if _, err := m.get(ctx, "k", func() (int, error) { cancel(); return 0, ctx.Err() }); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if v, err := m.get(context.Background(), "k", func() (int, error) { return 7, nil }); v != 7 || err != nil {
		t.Errorf("got %d, %v", v, err)
	}
}

func TestErrorsOfAWS(t *testing.T) {
	for code, want := range map[string]facts.Error{
		"InvalidSubnetID.NotFound": {Missing: true},
		"NoSuchEntity":             {Missing: true},
		"NotFound":                 {Missing: true},
		"FileSystemNotFound":       {Missing: true},
		"InvalidAMIID.Malformed":   {Missing: true},
		"AccessDeniedException":    {Denied: true},
		"UnauthorizedOperation":    {Denied: true},
		"Forbidden":                {Denied: true},
		"RequestLimitExceeded":     {},
	} {
		var got *facts.Error
		err := translate(&smithy.GenericAPIError{Code: code, Message: "m"})
		if !errors.As(err, &got) || got.Code != code || got.Missing != want.Missing || got.Denied != want.Denied {
			t.Errorf("%s: %+v", code, got)
		}
	}
}

func TestInstanceTypeKeepsWhatRulesNeed(t *testing.T) {
	info, ok := catalog.InstanceType("c5d.24xlarge")
	if !ok {
		t.Fatal("not in the catalog")
	}
	got := InstanceType(info)
	if got.Architecture() != "x86_64" || got.VCPUs(false) != 96 || got.VCPUs(true) != 48 || got.MemoryInfo.SizeInMiB != 196608 || got.InstanceStorageInfo == nil {
		t.Errorf("%+v", got)
	}
}

func TestLaunchTemplateTellsInterfacesFromTheRest(t *testing.T) {
	got := launchTemplate(&types.ResponseLaunchTemplateData{
		KeyName: aws.String("k"),
		NetworkInterfaces: []types.LaunchTemplateInstanceNetworkInterfaceSpecification{
			{DeviceIndex: aws.Int32(1), NetworkCardIndex: aws.Int32(2), InterfaceType: aws.String("efa-only"), SubnetId: aws.String("subnet-1"), Groups: []string{"sg-1"}},
		},
	})
	want := facts.LaunchTemplate{
		Interfaces: []facts.TemplateInterface{{DeviceIndex: 1, NetworkCardIndex: 2, InterfaceType: "efa-only", Subnet: "subnet-1", Groups: []string{"sg-1"}}},
		Others:     []string{"KeyName"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestTrialLaunchIsADryRun(t *testing.T) {
	in := trial(facts.Launch{InstanceType: "c5.large", Image: "ami-1", Subnet: "subnet-1", Interfaces: 2, EFA: true, RootDevice: "/dev/xvda", RootType: "gp3"})
	if !aws.ToBool(in.DryRun) || len(in.NetworkInterfaces) != 2 || *in.NetworkInterfaces[1].NetworkCardIndex != 1 {
		t.Errorf("%+v", in)
	}
}

func TestNewNeedsNoNetwork(t *testing.T) {
	New(aws.Config{Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")})
}
