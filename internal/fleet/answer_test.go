package fleet

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// oneAnswer is a service that says the same to everybody.
type oneAnswer struct {
	status int
	body   []byte
}

func (a oneAnswer) Do(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: a.status, Header: make(http.Header), Body: io.NopCloser(bytes.NewReader(a.body)), ContentLength: int64(len(a.body))}, nil
}

// A reading is the instances and the next token that an answer comes to.
type reading struct {
	Instances []Instance
	Next      string
}

// bothReadings returns what the fleet and what the SDK makes of an answer.
func bothReadings(t testing.TB, status int, body []byte) (ours, sdk reading, oursErr, sdkErr error) {
	api := ec2.New(ec2.Options{
		Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""),
		HTTPClient: oneAnswer{status, body}, Retryer: aws.NopRetryer{},
	})
	read := func(options ...func(*ec2.Options)) (reading, error) {
		out, err := api.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{}, options...)
		if err != nil {
			return reading{}, err
		}
		h := reading{Next: aws.ToString(out.NextToken)}
		for _, r := range out.Reservations {
			for i := range r.Instances {
				h.Instances = append(h.Instances, instance(&r.Instances[i]))
			}
		}
		return h, nil
	}
	ours, oursErr = read(readLeanly)
	sdk, sdkErr = read()
	return ours, sdk, oursErr, sdkErr
}

// describedInstance is an instance as EC2 describes it, shortened.
const describedInstance = `<item><instanceId>i-%[1]d</instanceId><imageId>ami-1</imageId><instanceState><code>16</code><name>%[2]s</name></instanceState>
  <privateDnsName>ip-10-0-0-%[1]d.ec2.internal</privateDnsName><dnsName/><reason></reason><amiLaunchIndex>0</amiLaunchIndex><productCodes/>
  <launchTime>2026-01-05T09:00:%02[1]d.000Z</launchTime><placement><availabilityZone>us-east-1a</availabilityZone><tenancy>default</tenancy></placement>
  <subnetId>subnet-1</subnetId><privateIpAddress>10.0.0.%[1]d</privateIpAddress><groupSet><item><groupId>sg-1</groupId><groupName>a &lt; b</groupName></item></groupSet>
  <clientToken>token-%[1]d</clientToken>
  <tagSet><item><key>parallelcluster:queue-name</key><value>%[3]s</value></item><item><value>a</value><key>parallelcluster:compute-resource-name</key></item><item><key>Empty</key><value/></item></tagSet>
  <networkInterfaceSet><item><networkInterfaceId>eni-1</networkInterfaceId><privateIpAddress>10.0.1.%[1]d</privateIpAddress><attachment><deviceIndex>1</deviceIndex><networkCardIndex>0</networkCardIndex></attachment></item>
  <item><privateIpAddress>10.0.0.%[1]d</privateIpAddress><privateIpAddressesSet><item><privateIpAddress>10.9.9.9</privateIpAddress></item></privateIpAddressesSet><attachment><status>attached</status><deviceIndex>0</deviceIndex><networkCardIndex>0</networkCardIndex></attachment></item></networkInterfaceSet></item>`

func describedFleet(instances ...string) string {
	return `<?xml version="1.0" encoding="UTF-8"?>
<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>1</requestId><reservationSet>
<item><reservationId>r-1</reservationId><ownerId>1</ownerId><groupSet/><instancesSet>` + strings.Join(instances, "\n") + `</instancesSet></item>
</reservationSet><nextToken>more&amp;more</nextToken></DescribeInstancesResponse>`
}

func TestAnswersAreReadAsTheSDKDoes(t *testing.T) {
	fleet := describedFleet(fmt.Sprintf(describedInstance, 1, "running", "q"), fmt.Sprintf(describedInstance, 2, "shutting-down", "R&amp;D"))
	for name, body := range map[string]string{
		"two instances":           fleet,
		"none":                    describedFleet(),
		"nothing":                 `<DescribeInstancesResponse/>`,
		"text that is escaped":    describedFleet(fmt.Sprintf(describedInstance, 1, "running", "&lt;&#65;&#x42;&quot;&apos;&gt;")),
		"text in a section":       describedFleet(fmt.Sprintf(describedInstance, 1, "running", "<![CDATA[q<]]>")),
		"a comment":               strings.Replace(fleet, "<reservationSet>", "<!-- <reservationSet> --><reservationSet>", 1),
		"names with a prefix":     strings.NewReplacer("<item>", "<a:item>", "</item>", "</a:item>").Replace(fleet),
		"attributes of any kind":  strings.Replace(fleet, "<reservationSet>", `<reservationSet a="b>c" d='e/>'>`, 1),
		"lines of another system": strings.ReplaceAll(describedFleet(fmt.Sprintf(describedInstance, 1, "running", "q\nr")), "\n", "\r\n"),
		"spaces in tags":          strings.NewReplacer("<item>", "<item >", "</item>", "</item >", "<dnsName/>", "<dnsName />").Replace(fleet),
	} {
		t.Run(name, func(t *testing.T) {
			ours, sdk, oursErr, sdkErr := bothReadings(t, http.StatusOK, []byte(body))
			if oursErr != nil || sdkErr != nil {
				t.Fatalf("ours: %v; the SDK's: %v", oursErr, sdkErr)
			}
			if diff := cmp.Diff(sdk, ours); diff != "" {
				t.Errorf("what the SDK reads, and we (-SDK +ours):\n%s", diff)
			}
		})
	}
	ours, _, _, _ := bothReadings(t, http.StatusOK, []byte(fleet))
	if len(ours.Instances) != 2 || ours.Instances[1].Queue != "R&D" || ours.Instances[0].Addr != "10.0.0.1" || ours.Next != "more&more" {
		t.Errorf("the example says %+v", ours)
	}
	// What the example lacks could be forgotten by us.
	for v, i := reflect.ValueOf(ours.Instances[0]), 0; i < v.NumField(); i++ {
		if v.Field(i).IsZero() {
			t.Errorf("nothing is read of %s", v.Type().Field(i).Name)
		}
	}
}

// The usual answer is read by us, or else this would gain nothing.
func TestUsualAnswersAreNotLeftToTheSDK(t *testing.T) {
	out, err := decodeInstances([]byte(describedFleet(fmt.Sprintf(describedInstance, 1, "running", "q"))))
	if err != nil || len(out.Reservations) != 1 || len(out.Reservations[0].Instances) != 1 {
		t.Errorf("read %+v, %v", out, err)
	}
}

func TestAnswersThatAreErrors(t *testing.T) {
	refusal := `<Response><Errors><Error><Code>RequestLimitExceeded</Code><Message>Request limit exceeded.</Message></Error></Errors><RequestID>1</RequestID></Response>`
	_, _, ours, sdk := bothReadings(t, http.StatusServiceUnavailable, []byte(refusal))
	if code, _ := codeOf(ours); code != "RequestLimitExceeded" || ours.Error() != sdk.Error() {
		t.Errorf("ours: %v; the SDK's: %v", ours, sdk)
	}
	whole := describedFleet(fmt.Sprintf(describedInstance, 1, "running", "q"))
	for _, cut := range []int{len(whole) / 3, len(whole) - 5, len(whole) - 40} {
		if _, _, ours, sdk := bothReadings(t, http.StatusOK, []byte(whole[:cut])); ours == nil || sdk == nil {
			t.Errorf("an answer cut off after %d bytes: ours: %v; the SDK's: %v", cut, ours, sdk)
		}
	}
}

func TestAnswersOfAnyTextAreReadAsTheSDKDoes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var instances []string
		for n := range rapid.IntRange(0, 3).Draw(rt, "instances") {
			var text strings.Builder
			if err := xml.EscapeText(&text, []byte(rapid.String().Draw(rt, "queue"))); err != nil {
				rt.Fatal(err)
			}
			instances = append(instances, fmt.Sprintf(describedInstance, n, "running", text.String()))
		}
		ours, sdk, oursErr, sdkErr := bothReadings(t, http.StatusOK, []byte(describedFleet(instances...)))
		if oursErr != nil || sdkErr != nil {
			rt.Fatalf("ours: %v; the SDK's: %v", oursErr, sdkErr)
		}
		if diff := cmp.Diff(sdk, ours); diff != "" {
			rt.Errorf("what the SDK reads, and we (-SDK +ours):\n%s", diff)
		}
	})
}

// FuzzAnswers: whatever the SDK can read we read in the same way.
func FuzzAnswers(f *testing.F) {
	const item = `<a b="c"><reservationSet><item><instancesSet><item>%s</item></instancesSet></item></reservationSet></a>`
	for _, members := range []string{
		"<instanceId>i-1&amp;</instanceId><privateIpAddress/>",
		"<subnetId>subnet-1</subnetId><launchTime>2026-01-05T09:00:01.000Z</launchTime><instanceState><name>running</name></instanceState>",
		"<tagSet><item><key>parallelcluster:queue-name</key><value>q</value></item></tagSet>",
		"<networkInterfaceSet><item><attachment><deviceIndex>0</deviceIndex></attachment></item></networkInterfaceSet>",
	} {
		f.Add([]byte(fmt.Sprintf(item, members)))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		ours, sdk, oursErr, sdkErr := bothReadings(t, http.StatusOK, body)
		if sdkErr != nil {
			return
		}
		if oursErr != nil {
			t.Fatal(oursErr)
		}
		if diff := cmp.Diff(sdk, ours); diff != "" {
			t.Errorf("what the SDK reads, and we (-SDK +ours):\n%s", diff)
		}
	})
}
