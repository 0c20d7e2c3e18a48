package validate

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/google/go-cmp/cmp"

	"pcluster/internal/config"
	"pcluster/internal/facts/live"
)

// ec2 answers the HTTP requests of the SDK for an account that has whatever is
// asked for, and counts them.
type ec2 struct {
	mu    sync.Mutex
	calls map[string]int // by operation
	asked map[string]int // by what is asked for
}

func (e *ec2) RoundTrip(r *http.Request) (*http.Response, error) {
	answer := func(status int, body string) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
	}
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
	}
	form, _ := url.ParseQuery(string(bytes.TrimSpace(body)))
	action := form.Get("Action")
	if action == "" {
		action = r.Method + " " + r.URL.Path
	}
	var things []string
	for key, v := range form {
		for _, part := range []string{"InstanceType.", "Filter.1.Value.", "ImageId.", "KeyName.", "PolicyArn"} {
			if strings.HasPrefix(key, part) {
				things = append(things, v...)
			}
		}
	}
	slices.Sort(things)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls[action]++
	for _, t := range things {
		e.asked[action+" "+t]++
	}
	set := func(name, set string, item func(id string) string) (*http.Response, error) {
		var b strings.Builder
		for _, t := range things {
			b.WriteString("<item>" + item(t) + "</item>")
		}
		return answer(200, fmt.Sprintf("<%sResponse><requestId>1</requestId><%s>%s</%s></%sResponse>", name, set, b.String(), set, name))
	}
	switch action {
	case "DescribeSubnets":
		return set(action, "subnetSet", func(id string) string {
			return "<subnetId>" + id + "</subnetId><vpcId>vpc-1</vpcId><availabilityZone>us-east-1a</availabilityZone><cidrBlock>10.0.0.0/16</cidrBlock>"
		})
	case "DescribeSecurityGroups":
		return set(action, "securityGroupInfo", func(id string) string { return "<groupId>" + id + "</groupId><vpcId>vpc-1</vpcId>" })
	case "DescribeImages":
		if len(things) == 0 || !strings.HasPrefix(things[0], "ami-") {
			things = []string{"ami-official0"}
		}
		return set(action, "imagesSet", func(id string) string {
			return "<imageId>" + id + "</imageId><architecture>x86_64</architecture><blockDeviceMapping><item><deviceName>/dev/xvda</deviceName><ebs><volumeSize>35</volumeSize></ebs></item></blockDeviceMapping>"
		})
	case "DescribeKeyPairs":
		return set(action, "keySet", func(id string) string { return "<keyName>" + id + "</keyName><keyType>ed25519</keyType>" })
	case "DescribeInstanceTypes":
		return set(action, "instanceTypeSet", func(id string) string {
			return "<instanceType>" + id + "</instanceType><supportedUsageClasses><item>on-demand</item></supportedUsageClasses><processorInfo><supportedArchitectures><item>x86_64</item></supportedArchitectures></processorInfo><memoryInfo><sizeInMiB>32768</sizeInMiB></memoryInfo>"
		})
	case "DescribeInstanceTypeOfferings":
		return answer(200, "<DescribeInstanceTypeOfferingsResponse><instanceTypeOfferingSet><item><instanceType>c5.large</instanceType></item><item><instanceType>c5.xlarge</instanceType></item><item><instanceType>m5.xlarge</instanceType></item></instanceTypeOfferingSet></DescribeInstanceTypeOfferingsResponse>")
	case "RunInstances":
		return answer(412, "<Response><Errors><Error><Code>DryRunOperation</Code><Message>would have</Message></Error></Errors></Response>")
	case "GetPolicy":
		return answer(200, "<GetPolicyResponse><GetPolicyResult><Policy/></GetPolicyResult></GetPolicyResponse>")
	}
	return answer(200, "")
}

// A file with 50 queues asks for each thing once, and for things of a kind that
// EC2 describes together in one call.
func TestLookUpsAreShared(t *testing.T) {
	var b strings.Builder
	b.WriteString(strings.Split(base, "  SlurmQueues:")[0] + "  SlurmQueues:\n")
	for i := range 50 {
		fmt.Fprintf(&b, "  - {Name: q%d, Networking: {SubnetIds: [subnet-%08d], SecurityGroups: [sg-%08d, sg-99999999]}, Image: {CustomAmi: ami-%08d}, "+
			"Iam: {AdditionalIamPolicies: [{Policy: 'arn:aws:iam::111122223333:policy/p%d'}]}, CustomActions: {OnNodeStart: {Script: 's3://b/script%d'}}, "+
			"ComputeResources: [{Name: c, InstanceType: %s}]}\n", i, i%25, i%20, i%10, i%5, i%4, []string{"c5.xlarge", "m5.xlarge"}[i%2])
	}
	c, problems := config.Parse("", []byte(b.String()))
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	account := &ec2{calls: map[string]int{}, asked: map[string]int{}}
	src := live.New(aws.Config{
		Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""), HTTPClient: &http.Client{Transport: account},
	})
	r := Cluster(t.Context(), c, src, Options{ClusterName: "demo", Region: "us-east-1"})
	if errs := r.All().At(config.Error); len(errs) > 0 {
		t.Errorf("%d errors, such as %v", len(errs), errs[0])
	}
	want := map[string]int{
		"DescribeInstanceTypes": 1, "DescribeInstanceTypeOfferings": 1, "DescribeSubnets": 1, "DescribeSecurityGroups": 1,
		"DescribeImages":   2, // those of the file, and the official one
		"DescribeKeyPairs": 1, "RunInstances": 2, "GetPolicy": 5,
		"HEAD /b/script0": 1, "HEAD /b/script1": 1, "HEAD /b/script2": 1, "HEAD /b/script3": 1,
	}
	if diff := cmp.Diff(want, account.calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	for _, thing := range slices.Sorted(maps.Keys(account.asked)) {
		if n := account.asked[thing]; n > 1 {
			t.Errorf("%s is asked %d times", thing, n)
		}
	}
}
