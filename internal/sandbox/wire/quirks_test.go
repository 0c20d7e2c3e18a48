package wire

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamodbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/efs"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/google/go-cmp/cmp"
)

// capture registers an operation that keeps its input and returns out.
func capture[I, O any](t *testing.T, api, operation string, out *O) (*Service, *I) {
	t.Helper()
	s, err := NewService(api)
	if err != nil {
		t.Fatal(err)
	}
	got := new(I)
	Handle(s, operation, func(_ context.Context, in *I) (*O, error) { *got = *in; return out, nil })
	if err := s.Compile(); err != nil {
		t.Fatal(err)
	}
	return s, got
}

func post(h http.Handler, body string, header ...string) *httptest.ResponseRecorder {
	return send(h, "POST", "/", body, header...)
}

func send(h http.Handler, method, url, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, url, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func expect(t *testing.T, w *httptest.ResponseRecorder, status int, texts ...string) {
	t.Helper()
	if w.Code != status {
		t.Errorf("status %d, want %d", w.Code, status)
	}
	for _, text := range texts {
		if !strings.Contains(w.Body.String(), text) {
			t.Errorf("body lacks %s:\n%s", text, w.Body)
		}
	}
}

func TestEC2Parameters(t *testing.T) {
	s, got := capture[ec2.RunInstancesInput](t, "ec2", "RunInstances", &ec2.RunInstancesOutput{})
	expect(t, post(s, "Action=RunInstances&Version=2016-11-15&ImageId=ami-1&MinCount=1&MaxCount=+2&EbsOptimized=True"+
		"&SecurityGroupId.2=sg-b&SecurityGroupId.10=sg-c&SecurityGroupId.1=sg-a&Placement.AvailabilityZone=us-east-1a"+
		"&BlockDeviceMapping.1.DeviceName=%2Fdev%2Fxvda&BlockDeviceMapping.1.Ebs.VolumeSize=8&BlockDeviceMapping.1.Ebs.VolumeType=gp3"+
		"&TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=Name&TagSpecification.1.Tag.1.Value=a%26b"+
		"&InstanceType=z9.tomorrow&UserData=I2Nsb3VkLWNvbmZpZw%3D%3D"), 200, "<RunInstancesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15\">", "<requestId>")
	want := ec2.RunInstancesInput{
		ImageId: aws.String("ami-1"), MinCount: aws.Int32(1), MaxCount: aws.Int32(2), EbsOptimized: aws.Bool(true),
		SecurityGroupIds: []string{"sg-a", "sg-b", "sg-c"}, Placement: &ec2types.Placement{AvailabilityZone: aws.String("us-east-1a")},
		BlockDeviceMappings: []ec2types.BlockDeviceMapping{{DeviceName: aws.String("/dev/xvda"), Ebs: &ec2types.EbsBlockDevice{VolumeSize: aws.Int32(8), VolumeType: "gp3"}}},
		TagSpecifications:   []ec2types.TagSpecification{{ResourceType: "instance", Tags: []ec2types.Tag{{Key: aws.String("Name"), Value: aws.String("a&b")}}}},
		InstanceType:        "z9.tomorrow", UserData: aws.String("I2Nsb3VkLWNvbmZpZw=="),
	}
	if diff := cmp.Diff(want, *got, comparing); diff != "" {
		t.Errorf("input (-want +got):\n%s", diff)
	}
}

func TestEC2Refusals(t *testing.T) {
	s, _ := capture[ec2.RunInstancesInput](t, "ec2", "RunInstances", &ec2.RunInstancesOutput{})
	const ok = "Action=RunInstances&Version=2016-11-15&MinCount=1&MaxCount=1"
	for body, want := range map[string]string{
		"Action=RunInstances&MinCount=1":                  "<Code>MissingParameter</Code><Message>The request must contain the parameter MaxCount</Message>",
		ok + "&Nonsense=1":                                "<Code>UnknownParameter</Code><Message>The parameter Nonsense is not recognized</Message>",
		ok + "&Placement.Nonsense=1":                      "The parameter Placement.Nonsense is not recognized",
		"Action=RunInstances&MinCount=one&MaxCount=1":     "<Code>InvalidParameterValue</Code><Message>Value for parameter MinCount is invalid: &quot;one&quot; is not a valid integer</Message>",
		ok + "&EbsOptimized=maybe":                        "<Code>InvalidParameterValue</Code>",
		ok + "&InstanceInitiatedShutdownBehavior=explode": "<Code>InvalidParameterValue</Code><Message>Value (explode) for parameter InstanceInitiatedShutdownBehavior is invalid.",
		ok + "&SecurityGroupId.x=sg":                      "<Code>InvalidParameterValue</Code>",
		ok + "&Placement=x&MinCount.1=2":                  "<Code>InvalidParameterValue</Code>",
		"Action=Explode&Version=2016-11-15":               "<Code>InvalidAction</Code><Message>The action Explode is not valid for this web service.</Message>",
		"Action=DescribeVpcs":                             "<Code>InvalidAction</Code><Message>The action DescribeVpcs is not valid for this web service: the sandbox does not have it</Message>",
		"Version=2016-11-15":                              "<Code>MissingAction</Code>",
		ok + "&TagSpecification.1.Tag.1.Key=%zz":          "<Code>InvalidParameterValue</Code>",
	} {
		w := post(s, body)
		expect(t, w, 400, "<Response><Errors><Error>", want, "</Error></Errors><RequestID>")
	}
}

// Clients of EC2 may use GET, and older versions of the API.
func TestEC2OverGet(t *testing.T) {
	s, got := capture[ec2.DescribeInstancesInput](t, "ec2", "DescribeInstances", &ec2.DescribeInstancesOutput{})
	w := send(s, "GET", "/?Action=DescribeInstances&Version=2014-10-01&Filter.1.Name=tag%3Aa&Filter.1.Value.1=x&Filter.1.Value.2=y%20z&InstanceId.1=i-1", "")
	expect(t, w, 200, "<reservationSet/>")
	want := ec2.DescribeInstancesInput{InstanceIds: []string{"i-1"}, Filters: []ec2types.Filter{{Name: aws.String("tag:a"), Values: []string{"x", "y z"}}}}
	if diff := cmp.Diff(want, *got, comparing); diff != "" {
		t.Errorf("input (-want +got):\n%s", diff)
	}
}

func TestEC2AnswerWithoutOutputIsTrue(t *testing.T) {
	s, _ := capture[ec2.DeleteVpcInput](t, "ec2", "DeleteVpc", &ec2.DeleteVpcOutput{})
	expect(t, post(s, "Action=DeleteVpc&VpcId=vpc-1"), 200, "<return>true</return></DeleteVpcResponse>")
}

func TestQueryParameters(t *testing.T) {
	s, got := capture[iam.CreateRoleInput](t, "iam", "CreateRole", &iam.CreateRoleOutput{})
	const role = "Action=CreateRole&Version=2010-05-08&RoleName=r&AssumeRolePolicyDocument=%7B%7D"
	expect(t, post(s, role+"&Tags="), 200, "<CreateRoleResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><CreateRoleResult></CreateRoleResult><ResponseMetadata><RequestId>")
	if got.Tags == nil || len(got.Tags) != 0 {
		t.Errorf("Tags= is %v, want the empty list", got.Tags)
	}
	expect(t, post(s, role+"&Tags.member.2.Key=b&Tags.member.2.Value=&Tags.member.1.Key=a&Tags.member.1.Value=1&Unknown=ignored"), 200)
	if len(got.Tags) != 2 || *got.Tags[0].Key != "a" || *got.Tags[1].Value != "" {
		t.Errorf("tags %v", got.Tags)
	}
	expect(t, post(s, "Action=CreateRole&Version=2010-05-08&RoleName=&MaxSessionDuration=1"), 400,
		"<ErrorResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><Error><Type>Sender</Type><Code>ValidationError</Code>",
		"4 validation errors detected: Value '' at 'roleName' failed to satisfy constraint: Member must have length greater than or equal to 1; ",
	)
}

func TestJSONValidation(t *testing.T) {
	s, got := capture[ssm.PutParameterInput](t, "ssm", "PutParameter", &ssm.PutParameterOutput{Version: 1})
	const target = "AmazonSSM.PutParameter"
	call := func(body string) *httptest.ResponseRecorder {
		return post(s, body, "X-Amz-Target", target, "Content-Type", "application/x-amz-json-1.1")
	}
	expect(t, call(`{"Name": "n", "Value": "vé\n", "Type": null, "Future": {"x": [1]}, "Overwrite": true}`), 200, `"Version":1`)
	if *got.Value != "vé\n" || got.Type != "" || !*got.Overwrite {
		t.Errorf("input %+v", got)
	}
	for body, want := range map[string]string{
		`{"Name": "n", "Value": 1}`:               `"__type":"SerializationException"`,
		`{"Name": "n", "Value": "v", "Tags": {}}`: `START_OBJECT can not be converted to list`,
		`{"Name": "n"`:                            `"__type":"SerializationException"`,
		`[]`:                                      `"__type":"SerializationException"`,
		`{}`:                                      `2 validation errors detected: Value null at 'name' failed to satisfy constraint: Member must not be null; Value null at 'value' failed`,
		`{"Name": "n", "Value": "v", "Type": "Int"}`:                                     `Value 'Int' at 'type' failed to satisfy constraint: Member must satisfy enum value set: [String, StringList, SecureString]`,
		`{"Name": "n", "Value": "v", "Tags": [{"Key": "k"}, {"Key": "", "Value": "x"}]}`: `Value null at 'tags.1.member.value' failed`,
	} {
		expect(t, call(body), 400, want)
	}
	w := post(s, "{}", "X-Amz-Target", "AmazonSSM.Explode")
	expect(t, w, 400, `{"__type":"UnknownOperationException","message":"The operation Explode is not known"}`)
	if got := w.Header().Get("X-Amzn-Errortype"); got != "UnknownOperationException" {
		t.Errorf("error header %q", got)
	}
}

func TestCompressedRequest(t *testing.T) {
	s, got := capture[ssm.GetParameterInput](t, "ssm", "GetParameter", &ssm.GetParameterOutput{})
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(`{"Name":"zipped"}`))
	_ = z.Close()
	expect(t, post(s, b.String(), "X-Amz-Target", "AmazonSSM.GetParameter", "Content-Encoding", "gzip"), 200)
	if aws.ToString(got.Name) != "zipped" {
		t.Errorf("input %+v", got)
	}
}

// A float64 of seconds must not lose the milliseconds that were sent.
func TestTimestampsKeepTheirMilliseconds(t *testing.T) {
	at := time.Date(2026, 2, 3, 4, 5, 6, 789e6, time.UTC)
	for _, text := range []string{"2026-02-03T04:05:06.789Z", "2026-02-03T05:05:06.789+01:00", "1770091506.789", string(appendTime(nil, at, timeUnix))} {
		got, err := parseTime(text)
		if err != nil || !got.Equal(at) {
			t.Errorf("%s is %v, %v", text, got, err)
		}
	}
	for format, want := range map[string]string{
		timeISO: "2026-02-03T04:05:06.789Z", timeUnix: "1770091506.789", timeHTTP: "Tue, 03 Feb 2026 04:05:06 GMT",
	} {
		if got := string(appendTime(nil, at, format)); got != want {
			t.Errorf("%s: %s, want %s", format, got, want)
		}
	}
}

func TestDynamoDBValues(t *testing.T) {
	s, got := capture[dynamodb.PutItemInput](t, "dynamodb", "PutItem", &dynamodb.PutItemOutput{})
	call := func(item string) *httptest.ResponseRecorder {
		return post(s, `{"TableName":"tab","Item":`+item+`}`, "X-Amz-Target", "DynamoDB_20120810.PutItem")
	}
	expect(t, call(`{"a":{"S":""},"n":{"N":"1e3"},"z":{"NULL":true},"l":{"L":[{"M":{"b":{"B":"AAE="}}}]},"e":{"L":[]}}`), 200, "{}")
	want := map[string]dynamodbtypes.AttributeValue{
		"a": &dynamodbtypes.AttributeValueMemberS{}, "n": &dynamodbtypes.AttributeValueMemberN{Value: "1e3"}, "z": &dynamodbtypes.AttributeValueMemberNULL{Value: true},
		"l": &dynamodbtypes.AttributeValueMemberL{Value: []dynamodbtypes.AttributeValue{&dynamodbtypes.AttributeValueMemberM{Value: map[string]dynamodbtypes.AttributeValue{
			"b": &dynamodbtypes.AttributeValueMemberB{Value: []byte{0, 1}},
		}}}},
		"e": &dynamodbtypes.AttributeValueMemberL{Value: []dynamodbtypes.AttributeValue{}},
	}
	if diff := cmp.Diff(want, got.Item, comparing); diff != "" {
		t.Errorf("item (-want +got):\n%s", diff)
	}
	expect(t, call(`{"a":{}}`), 400, "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes")
	expect(t, call(`{"a":{"S":"x","N":"1"}}`), 400, "Supplied AttributeValue has more than one datatypes set")
}

func TestRestBindings(t *testing.T) {
	s, in := capture[lambda.InvokeInput](t, "lambda", "Invoke", &lambda.InvokeOutput{
		StatusCode: 202, FunctionError: aws.String("Unhandled"), Payload: []byte(`{"errorMessage":"x"}`),
	})
	w := send(s, "POST", "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-1%3A111122223333%3Afunction%3Af/invocations?Qualifier=v1", `{"a":1}`,
		"X-Amz-Invocation-Type", "Event", "Content-Type", "application/octet-stream")
	expect(t, w, 202, `{"errorMessage":"x"}`)
	if *in.FunctionName != "arn:aws:lambda:us-east-1:111122223333:function:f" || *in.Qualifier != "v1" || in.InvocationType != "Event" || string(in.Payload) != `{"a":1}` {
		t.Errorf("input %+v", in)
	}
	if w.Header().Get("X-Amz-Function-Error") != "Unhandled" {
		t.Errorf("headers %v", w.Header())
	}

	tags, tagIn := capture[efs.UntagResourceInput](t, "efs", "UntagResource", &efs.UntagResourceOutput{})
	expect(t, send(tags, "DELETE", "/2015-02-01/resource-tags/fs-0123456789abcdef0?tagKeys=a&tagKeys=b%20c", ""), 200)
	if *tagIn.ResourceId != "fs-0123456789abcdef0" || len(tagIn.TagKeys) != 2 || tagIn.TagKeys[1] != "b c" {
		t.Errorf("input %+v", tagIn)
	}
	expect(t, send(tags, "DELETE", "/2015-02-01/nothing", ""), 404, `"__type":"UnknownOperationException"`, "DELETE /2015-02-01/nothing")
	expect(t, send(tags, "DELETE", "/2015-02-01/file-systems/fs-0123456789abcdef0", ""), 404, "The sandbox does not have the operation DeleteFileSystem")

	zone, change := capture[route53.ChangeResourceRecordSetsInput](t, "route53", "ChangeResourceRecordSets", &route53.ChangeResourceRecordSetsOutput{})
	w = send(zone, "POST", "/2013-04-01/hostedzone/Z1/rrset", `<?xml version="1.0"?><ChangeResourceRecordSetsRequest xmlns="https://route53.amazonaws.com/doc/2013-04-01/">
		<ChangeBatch><Comment>a &amp; b</Comment><Changes><Change><Action>UPSERT</Action><ResourceRecordSet><Name>n.x.</Name><Type>A</Type><TTL>120</TTL>
		<ResourceRecords><ResourceRecord><Value>10.0.0.1</Value></ResourceRecord></ResourceRecords></ResourceRecordSet></Change></Changes></ChangeBatch>
		</ChangeResourceRecordSetsRequest>`)
	expect(t, w, 200)
	set := change.ChangeBatch.Changes[0].ResourceRecordSet
	if *change.HostedZoneId != "Z1" || *change.ChangeBatch.Comment != "a & b" || *set.TTL != 120 || *set.ResourceRecords[0].Value != "10.0.0.1" {
		t.Errorf("input %+v", change)
	}
	expect(t, send(zone, "POST", "/2013-04-01/hostedzone/Z1/rrset", `<ChangeResourceRecordSetsRequest/>`), 400,
		"<ErrorResponse", "<Code>InvalidInput</Code>", "Value null at 'changeBatch' failed")
}

func TestErrorsOfServices(t *testing.T) {
	fail := func(api, operation string, err error) *Service {
		s, nerr := NewService(api)
		if nerr != nil {
			t.Fatal(nerr)
		}
		switch api {
		case "ec2":
			Handle(s, operation, func(context.Context, *ec2.DescribeRegionsInput) (*ec2.DescribeRegionsOutput, error) { return nil, err })
		case "efs":
			Handle(s, operation, func(context.Context, *efs.DescribeFileSystemsInput) (*efs.DescribeFileSystemsOutput, error) {
				return nil, err
			})
		case "iam":
			Handle(s, operation, func(context.Context, *iam.ListUsersInput) (*iam.ListUsersOutput, error) { return nil, err })
		case "cloudwatch":
			Handle(s, operation, func(context.Context, *cloudwatch.ListDashboardsInput) (*cloudwatch.ListDashboardsOutput, error) {
				return nil, err
			})
		}
		return s
	}
	expect(t, post(fail("ec2", "DescribeRegions", Errorf("InsufficientInstanceCapacity", "none <left>")), "Action=DescribeRegions"), 500,
		"<Code>InsufficientInstanceCapacity</Code><Message>none &lt;left&gt;</Message>")
	expect(t, post(fail("ec2", "DescribeRegions", Errorf("RequestLimitExceeded", "slow down")), "Action=DescribeRegions"), 503)
	expect(t, post(fail("ec2", "DescribeRegions", errors.New("disk full")), "Action=DescribeRegions"), 500, "<Code>InternalError</Code>", "disk full")
	expect(t, post(fail("iam", "ListUsers", Errorf("NoSuchEntity", "x")), "Action=ListUsers"), 404, "<Code>NoSuchEntity</Code>")
	expect(t, send(fail("efs", "DescribeFileSystems", Errorf("FileSystemNotFound", "no fs")), "GET", "/2015-02-01/file-systems", ""), 404,
		`{"__type":"FileSystemNotFound","ErrorCode":"FileSystemNotFound","Message":"no fs"}`)
	// CloudWatch's shapes have names that differ from the codes of its query protocol.
	s := fail("cloudwatch", "ListDashboards", Errorf("DashboardNotFoundError", "none"))
	expect(t, post(s, "Action=ListDashboards&Version=2010-08-01"), 404, "<Code>ResourceNotFound</Code>")
	w := post(s, "{}", "X-Amz-Target", "GraniteServiceVersion20100801.ListDashboards")
	expect(t, w, 404, `"__type":"DashboardNotFoundError"`)
	if got := w.Header().Get("X-Amzn-Query-Error"); got != "ResourceNotFound;Sender" {
		t.Errorf("query error %q", got)
	}
}

// Patterns are Java's. Those that Go cannot say are not checked; there should be
// few, and this test says how many.
func TestPatternsOfTheModelsCompile(t *testing.T) {
	bad := 0
	for _, name := range Models() {
		a, err := loadAPI(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, shape := range a.ShapeNames() {
			if p := a.Shape(shape).Pattern; p != "" && compilePattern(p) == nil {
				bad++
				t.Logf("%s.%s: %s", name, shape, p)
			}
		}
	}
	if bad > 30 {
		t.Errorf("%d patterns cannot be checked", bad)
	}
}
