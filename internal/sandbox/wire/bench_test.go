package wire

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// instances is an answer as DescribeInstances gives it for n instances of a
// cluster.
func instances(b *testing.B, n int) *Service {
	s, err := NewService("ec2")
	if err != nil {
		b.Fatal(err)
	}
	s.Remember("Instance", "InstanceId")
	out := &ec2.DescribeInstancesOutput{}
	now := aws.Time(time.Now())
	groups := []ec2types.GroupIdentifier{{GroupId: aws.String("sg-0123456789abcdef0"), GroupName: aws.String("cluster-ComputeSecurityGroup-ABCDEFGHIJKL")}}
	for i := range n {
		id := aws.String(fmt.Sprintf("i-0123456789abc%04x", i))
		ip := aws.String(fmt.Sprintf("10.0.1.%d", i+4))
		in := ec2types.Instance{
			InstanceId: id, ImageId: aws.String("ami-0123456789abcdef0"), InstanceType: "c7a.48xlarge", State: &ec2types.InstanceState{Name: "running", Code: aws.Int32(16)},
			PrivateDnsName: aws.String("ip-10-0-1-4.ec2.internal"), PublicDnsName: aws.String(""), StateTransitionReason: aws.String(""), KeyName: aws.String("key"),
			AmiLaunchIndex: aws.Int32(0), LaunchTime: now, Placement: &ec2types.Placement{AvailabilityZone: aws.String("us-east-1a"), GroupName: aws.String(""), Tenancy: "default"},
			Monitoring: &ec2types.Monitoring{State: "disabled"}, SubnetId: aws.String("subnet-0123456789abcdef0"), VpcId: aws.String("vpc-0123456789abcdef0"), PrivateIpAddress: ip,
			SourceDestCheck: aws.Bool(true), SecurityGroups: groups, Architecture: "x86_64", RootDeviceType: "ebs", RootDeviceName: aws.String("/dev/xvda"),
			BlockDeviceMappings: []ec2types.InstanceBlockDeviceMapping{{DeviceName: aws.String("/dev/xvda"), Ebs: &ec2types.EbsInstanceBlockDevice{
				VolumeId: aws.String("vol-0123456789abcdef0"), Status: "attached", AttachTime: now, DeleteOnTermination: aws.Bool(true)}}},
			VirtualizationType: "hvm", ClientToken: aws.String("01234567-89ab-cdef-0123-456789abcdef"), Hypervisor: "xen", EbsOptimized: aws.Bool(true), EnaSupport: aws.Bool(true),
			IamInstanceProfile: &ec2types.IamInstanceProfile{Arn: aws.String("arn:aws:iam::111122223333:instance-profile/parallelcluster/c/InstanceProfile"), Id: aws.String("AIPAABCDEFGHIJKLMNOPQ")},
			CpuOptions:         &ec2types.CpuOptions{CoreCount: aws.Int32(192), ThreadsPerCore: aws.Int32(1)}, HibernationOptions: &ec2types.HibernationOptions{Configured: aws.Bool(false)},
			MetadataOptions: &ec2types.InstanceMetadataOptionsResponse{State: "applied", HttpTokens: "required", HttpPutResponseHopLimit: aws.Int32(1), HttpEndpoint: "enabled"},
			EnclaveOptions:  &ec2types.EnclaveOptions{Enabled: aws.Bool(false)}, PlatformDetails: aws.String("Linux/UNIX"), UsageOperation: aws.String("RunInstances"),
			NetworkInterfaces: []ec2types.InstanceNetworkInterface{{
				NetworkInterfaceId: aws.String("eni-0123456789abcdef0"), SubnetId: aws.String("subnet-0123456789abcdef0"), VpcId: aws.String("vpc-0123456789abcdef0"),
				Status: "in-use", MacAddress: aws.String("02:00:0a:00:01:04"), PrivateIpAddress: ip, SourceDestCheck: aws.Bool(true), Groups: groups, OwnerId: aws.String("111122223333"),
				Attachment:         &ec2types.InstanceNetworkInterfaceAttachment{AttachmentId: aws.String("eni-attach-0123456789abcdef0"), DeviceIndex: aws.Int32(0), Status: "attached", AttachTime: now},
				PrivateIpAddresses: []ec2types.InstancePrivateIpAddress{{PrivateIpAddress: ip, Primary: aws.Bool(true)}}, InterfaceType: aws.String("efa"),
			}},
		}
		for _, k := range []string{"Name", "parallelcluster:cluster-name", "parallelcluster:node-type", "parallelcluster:queue-name", "parallelcluster:compute-resource-name",
			"parallelcluster:version", "aws:ec2launchtemplate:id", "aws:ec2launchtemplate:version", "project", "owner"} {
			in.Tags = append(in.Tags, ec2types.Tag{Key: aws.String(k), Value: aws.String("value of " + k)})
		}
		out.Reservations = append(out.Reservations, ec2types.Reservation{ReservationId: aws.String("r-0123456789abcdef0"), OwnerId: aws.String("111122223333"), Instances: []ec2types.Instance{in}})
	}
	Handle(s, "DescribeInstances", func(context.Context, *ec2.DescribeInstancesInput) (*ec2.DescribeInstancesOutput, error) {
		return out, nil
	})
	return s
}

// One DescribeInstances of 10 instances without network.
func BenchmarkDescribeInstances(b *testing.B) {
	s := instances(b, 10)
	b.ReportAllocs()
	var size int
	for b.Loop() {
		r := httptest.NewRequest("POST", "/", strings.NewReader("Action=DescribeInstances&Version=2016-11-15&Filter.1.Name=tag:parallelcluster:cluster-name&Filter.1.Value.1=c&MaxResults=1000"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != 200 {
			b.Fatal(w.Body)
		}
		size = w.Body.Len()
	}
	b.ReportMetric(float64(size), "bytes")
}

// The same through the endpoint, signed, over loopback, with the SDK's client.
func BenchmarkDescribeInstancesWithClient(b *testing.B) {
	s := instances(b, 10)
	e := &Endpoint{Auth: testKeys(), Services: map[string]http.Handler{"ec2": s}}
	srv := httptest.NewServer(e)
	defer srv.Close()
	cfg := config(srv, longTerm, "root/secret+", "")
	// With retries: when the answer comes before net/http has looked for the end of the
	// request, the SDK's body says io.EOF where it should say nothing, and the connection is
	// given up. It happens with servers as near as this one.
	cfg.Retryer = nil
	c := ec2.NewFromConfig(cfg)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, err := c.DescribeInstances(context.Background(), &ec2.DescribeInstancesInput{}); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// The server's share alone: requests that are signed once and sent raw.
func BenchmarkDescribeInstancesSigned(b *testing.B) {
	s := instances(b, 10)
	e := &Endpoint{Auth: testKeys(), Services: map[string]http.Handler{"ec2": s}}
	srv := httptest.NewServer(e)
	defer srv.Close()
	var signed *http.Request
	c := ec2.NewFromConfig(config(srv, longTerm, "root/secret+", ""), func(o *ec2.Options) {
		o.HTTPClient = keepRequest{&signed}
	})
	_, _ = c.DescribeInstances(context.Background(), &ec2.DescribeInstancesInput{})
	body, _ := io.ReadAll(signed.Body)
	if len(body) == 0 {
		b.Fatal("the client sent no body")
	}
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			r := signed.Clone(context.Background())
			r.Body = io.NopCloser(strings.NewReader(string(body)))
			resp, err := srv.Client().Do(r)
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode != 200 {
				b.Errorf("status %d", resp.StatusCode)
			}
		}
	})
}

type keepRequest struct{ kept **http.Request }

func (k keepRequest) Do(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	c := r.Clone(context.Background())
	c.Body = io.NopCloser(bytes.NewReader(body))
	*k.kept = c
	return nil, fmt.Errorf("kept, not sent")
}

// What a first request costs: the model is read and the operation's tables made.
func BenchmarkLoadModel(b *testing.B) {
	for _, name := range []string{"ec2", "iam", "sts"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := loadAPI(name, nil); err != nil {
					b.Fatal(err)
				}
			}
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			a, _ := loadAPI(name, nil)
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1024, "KiB-kept")
			runtime.KeepAlive(a)
		})
	}
}
