package imds

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	client "github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/sandbox/ec2"
)

type oneInstance ec2.Metadata

func (o oneInstance) Metadata(addr netip.Addr) (ec2.Metadata, bool) {
	return ec2.Metadata(o), addr == netip.MustParseAddr("127.0.0.1")
}

type credentials struct{}

func (credentials) RoleCredentials(_ context.Context, arn, session string) (string, string, string, time.Time, error) {
	return "ASIAEXAMPLE", "secret of " + arn, "token of " + session, time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), nil
}

func head() ec2.Metadata {
	eni := types.NetworkInterface{
		NetworkInterfaceId: aws.String("eni-1"), MacAddress: aws.String("02:00:00:00:00:01"), SubnetId: aws.String("subnet-1"), VpcId: aws.String("vpc-1"),
		PrivateIpAddress: aws.String("10.0.1.4"), PrivateDnsName: aws.String("ip-10-0-1-4.ec2.internal"),
		PrivateIpAddresses: []types.NetworkInterfacePrivateIpAddress{{PrivateIpAddress: aws.String("10.0.1.4")}},
		Groups:             []types.GroupIdentifier{{GroupId: aws.String("sg-1"), GroupName: aws.String("head")}},
		Attachment:         &types.NetworkInterfaceAttachment{DeviceIndex: aws.Int32(0), NetworkCardIndex: aws.Int32(0)},
	}
	return ec2.Metadata{
		Region: "us-east-1", Account: "111122223333", Reservation: "r-1", UserData: []byte("#!/bin/sh\necho hello\n"),
		PublicKey: "ssh-ed25519 AAAA me", Role: "node", RoleARN: "arn:aws:iam::111122223333:role/node", TokenKey: []byte("key"),
		Instance: types.Instance{
			InstanceId: aws.String("i-1"), ImageId: aws.String("ami-1"), InstanceType: "t3.micro", Architecture: "x86_64",
			AmiLaunchIndex: aws.Int32(0), KeyName: aws.String("mykey"), LaunchTime: aws.Time(time.Date(2025, 11, 3, 9, 30, 0, 0, time.UTC)),
			PrivateIpAddress: eni.PrivateIpAddress, PrivateDnsName: eni.PrivateDnsName, SecurityGroups: eni.Groups,
			Placement:          &types.Placement{AvailabilityZone: aws.String("us-east-1a"), AvailabilityZoneId: aws.String("use1-az6")},
			RootDeviceName:     aws.String("/dev/xvda"),
			IamInstanceProfile: &types.IamInstanceProfile{Arn: aws.String("arn:aws:iam::111122223333:instance-profile/node"), Id: aws.String("AIPA1")},
			MetadataOptions:    &types.InstanceMetadataOptionsResponse{HttpTokens: "required", HttpEndpoint: "enabled", InstanceMetadataTags: "disabled"},
			Tags:               []types.Tag{{Key: aws.String("Name"), Value: aws.String("HeadNode")}},
		},
		Interfaces: []ec2.MetadataInterface{{NetworkInterface: eni, SubnetCIDR: "10.0.1.0/24", VPCCIDR: "10.0.0.0/16"}},
	}
}

// serve runs the service for one instance, which is whoever calls from loopback.
func serve(t *testing.T, m ec2.Metadata) (url string, h *handler) {
	t.Helper()
	h = New(oneInstance(m), credentials{}).(*handler)
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL, h
}

func do(t *testing.T, method, url string, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func token(t *testing.T, url string) string {
	t.Helper()
	status, text := do(t, "PUT", url+"/latest/api/token", ttlHeader, "300")
	if status != 200 {
		t.Fatalf("token: %d %s", status, text)
	}
	return text
}

func TestSDKClient(t *testing.T) {
	url, _ := serve(t, head())
	c := client.New(client.Options{Endpoint: url})
	ctx := t.Context()
	doc, err := c.GetInstanceIdentityDocument(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if doc.InstanceID != "i-1" || doc.Region != "us-east-1" || doc.AccountID != "111122223333" || doc.PrivateIP != "10.0.1.4" ||
		!doc.PendingTime.Equal(time.Date(2025, 11, 3, 9, 30, 0, 0, time.UTC)) {
		t.Errorf("document %+v", doc.InstanceIdentityDocument)
	}
	region, err := c.GetRegion(ctx, nil)
	if err != nil || region.Region != "us-east-1" {
		t.Errorf("region %+v, %v", region, err)
	}
	info, err := c.GetIAMInfo(ctx, nil)
	if err != nil || info.InstanceProfileID != "AIPA1" || !strings.HasSuffix(info.InstanceProfileArn, "/node") {
		t.Errorf("IAM info %+v, %v", info, err)
	}
	data, err := c.GetUserData(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if text, _ := io.ReadAll(data.Content); string(text) != "#!/bin/sh\necho hello\n" {
		t.Errorf("user data %q", text)
	}
	name, err := c.GetMetadata(ctx, &client.GetMetadataInput{Path: "iam/security-credentials/"})
	if err != nil {
		t.Fatal(err)
	}
	if text, _ := io.ReadAll(name.Content); string(text) != "node" {
		t.Errorf("role %q", text)
	}
}

func TestTokens(t *testing.T) {
	m := head()
	url, h := serve(t, m)
	good := token(t, url)
	for name, tt := range map[string]struct {
		method, path string
		header       []string
		want         int
	}{
		"without a token":            {"GET", "/latest/meta-data/instance-id", nil, 401},
		"with a token":               {"GET", "/latest/meta-data/instance-id", []string{tokenHeader, good}, 200},
		"with another token":         {"GET", "/latest/meta-data/instance-id", []string{tokenHeader, "bm90IGEgdG9rZW4="}, 401},
		"token without lifetime":     {"PUT", "/latest/api/token", nil, 400},
		"token for too long":         {"PUT", "/latest/api/token", []string{ttlHeader, "21601"}, 400},
		"token through a proxy":      {"PUT", "/latest/api/token", []string{ttlHeader, "60", "X-Forwarded-For", "10.0.0.9"}, 403},
		"token by GET":               {"GET", "/latest/api/token", []string{ttlHeader, "60"}, 405},
		"write":                      {"POST", "/latest/meta-data/", []string{tokenHeader, good}, 405},
		"nothing there":              {"GET", "/latest/meta-data/nothing", []string{tokenHeader, good}, 404},
		"no notice":                  {"GET", "/latest/meta-data/spot/instance-action", []string{tokenHeader, good}, 404},
		"tags that are switched off": {"GET", "/latest/meta-data/tags/instance", []string{tokenHeader, good}, 404},
		"unknown version":            {"GET", "/2031-01-01/meta-data/", []string{tokenHeader, good}, 404},
	} {
		t.Run(name, func(t *testing.T) {
			if got, body := do(t, tt.method, url+tt.path, tt.header...); got != tt.want {
				t.Errorf("status %d, want %d: %s", got, tt.want, body)
			}
		})
	}
	h.now = func() time.Time { return time.Now().Add(301 * time.Second) }
	if got, _ := do(t, "GET", url+"/latest/meta-data/instance-id", tokenHeader, good); got != 401 {
		t.Errorf("token that ended: %d", got)
	}
	m.Instance.MetadataOptions.HttpTokens = "optional"
	if got, _ := do(t, "GET", url+"/latest/meta-data/instance-id"); got != 200 {
		t.Errorf("version 1 where it is allowed: %d", got)
	}
	other := head()
	other.Instance.InstanceId = aws.String("i-2")
	if h.valid(sign(m, time.Now().Add(time.Hour)), other) {
		t.Error("an instance's token is good for another")
	}
}

// cloud-init and scripts walk these.
func TestTree(t *testing.T) {
	m := head()
	m.Instance.MetadataOptions.InstanceMetadataTags = "enabled"
	url, _ := serve(t, m)
	good := token(t, url)
	for path, want := range map[string]string{
		"/latest/":                                                                           "dynamic/\nmeta-data/\nuser-data",
		"/2021-03-23/meta-data/instance-id":                                                  "i-1",
		"/2009-04-04/meta-data/instance-id":                                                  "i-1",
		"/latest/meta-data/public-keys/":                                                     "0=mykey",
		"/latest/meta-data/public-keys/0/":                                                   "openssh-key",
		"/latest/meta-data/public-keys/0/openssh-key":                                        "ssh-ed25519 AAAA me\n",
		"/latest/meta-data/placement/":                                                       "availability-zone\navailability-zone-id\nregion",
		"/latest/meta-data/placement/availability-zone":                                      "us-east-1a",
		"/latest/meta-data/local-ipv4":                                                       "10.0.1.4",
		"/latest/meta-data/hostname":                                                         "ip-10-0-1-4.ec2.internal",
		"/latest/meta-data/mac":                                                              "02:00:00:00:00:01",
		"/latest/meta-data/security-groups":                                                  "head",
		"/latest/meta-data/network/interfaces/macs/":                                         "02:00:00:00:00:01/",
		"/latest/meta-data/tags/instance":                                                    "Name",
		"/latest/meta-data/tags/instance/Name":                                               "HeadNode",
		"/latest/meta-data/iam/security-credentials":                                         "node",
		"/latest/meta-data/events/maintenance/scheduled":                                     "[]",
		"/latest/dynamic/instance-identity/":                                                 "document\npkcs7\nrsa2048\nsignature",
		"/latest/meta-data/network/interfaces/macs/02:00:00:00:00:01/device-number":          "0",
		"/latest/meta-data/network/interfaces/macs/02:00:00:00:00:01/vpc-ipv4-cidr-blocks":   "10.0.0.0/16",
		"/latest/meta-data/network/interfaces/macs/02:00:00:00:00:01/subnet-ipv4-cidr-block": "10.0.1.0/24",
	} {
		if status, got := do(t, "GET", url+path, tokenHeader, good); status != 200 || got != want {
			t.Errorf("%s: %d %q, want %q", path, status, got, want)
		}
	}
	_, text := do(t, "GET", url+"/latest/meta-data/iam/security-credentials/node", tokenHeader, good)
	var c struct{ Code, Type, AccessKeyId, SecretAccessKey, Token, Expiration string } //nolint:revive // as AWS spells them
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	if c.Code != "Success" || c.Type != "AWS-HMAC" || c.AccessKeyId != "ASIAEXAMPLE" || c.Token != "token of i-1" || c.Expiration != "2030-01-01T00:00:00Z" ||
		c.SecretAccessKey != "secret of arn:aws:iam::111122223333:role/node" {
		t.Errorf("credentials %+v", c)
	}
}

func TestNotice(t *testing.T) {
	m := head()
	m.Events = []types.InstanceStatusEvent{{
		Code: types.EventCodeSystemReboot, Description: aws.String("scheduled reboot"), InstanceEventId: aws.String("instance-event-1"),
		NotBefore: aws.Time(time.Date(2025, 11, 3, 10, 0, 0, 0, time.UTC)), NotAfter: aws.Time(time.Date(2025, 11, 3, 11, 0, 0, 0, time.UTC)),
	}}
	m.SpotAction = aws.Time(time.Date(2025, 11, 3, 10, 0, 0, 0, time.UTC))
	m.TargetState = "Terminated"
	url, _ := serve(t, m)
	status, got := do(t, "GET", url+"/latest/meta-data/spot/instance-action", tokenHeader, token(t, url))
	if want := `{"action":"terminate","time":"2025-11-03T10:00:00Z"}`; status != 200 || got != want {
		t.Errorf("%d %s", status, got)
	}
	for path, want := range map[string]string{
		"autoscaling/target-lifecycle-state": "Terminated",
		"events/recommendations/rebalance":   `{"noticeTime":"2025-11-03T09:58:00Z"}`,
		"events/maintenance/scheduled": `[{"NotBefore":"3 Nov 2025 10:00:00 GMT","Code":"system-reboot","Description":"scheduled reboot",` +
			`"EventId":"instance-event-1","NotAfter":"3 Nov 2025 11:00:00 GMT","State":"active"}]`,
	} {
		if status, got := do(t, "GET", url+"/latest/meta-data/"+path, tokenHeader, token(t, url)); status != 200 || got != want {
			t.Errorf("%s: %d %s", path, status, got)
		}
	}
}
