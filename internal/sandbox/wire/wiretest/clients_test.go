package wiretest_test

import (
	"strings"
	"testing"

	"pcluster/internal/sandbox/cloudwatch"
	"pcluster/internal/sandbox/elbv2"
	"pcluster/internal/sandbox/iam"
	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/secretsmanager"
	"pcluster/internal/sandbox/ssm"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/sts"
	"pcluster/internal/sandbox/wire/wiretest"
)

// serve starts the services that need no machines, with IAM's own keys.
func serve(t *testing.T) *wiretest.Server {
	t.Helper()
	db, id := store.Memory(), region.NewIdentity("", "")
	users, err := iam.New(db, id)
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := secretsmanager.New(db, id)
	if err != nil {
		t.Fatal(err)
	}
	params, err := ssm.New(db, id)
	if err != nil {
		t.Fatal(err)
	}
	watch, err := cloudwatch.New(db, id)
	if err != nil {
		t.Fatal(err)
	}
	balancers, err := elbv2.New(db, id, elbv2.Config{})
	if err != nil {
		t.Fatal(err)
	}
	srv := wiretest.Serve(t, map[string]wiretest.Registrar{
		"iam": users, "sts": sts.New(id, users), "secretsmanager": secrets, "ssm": params, "cloudwatch": watch, "elbv2": balancers,
	})
	srv.Auth = users
	key, secret := users.RootCredentials()
	return srv.As(key, secret, "")
}

func TestAWSCommand(t *testing.T) {
	t.Parallel()
	srv := serve(t)
	for _, step := range []struct {
		args string
		want string // in the output
		fail bool
	}{
		{"sts get-caller-identity --query Arn --output text", "arn:aws:iam::111122223333:user/admin", false},
		{"iam create-role --role-name r --assume-role-policy-document " + trust, `"Statement"`, false},
		{"iam get-role --role-name none", "(NoSuchEntity) when calling the GetRole operation: The role with name none cannot be found.", true},
		{"iam list-groups", "(InvalidAction) when calling the ListGroups operation", true},
		{"cloudwatch get-dashboard --dashboard-name none", "(ResourceNotFound) when calling the GetDashboard operation: Dashboard none does not exist", true},
		{"elbv2 describe-load-balancers", `"LoadBalancers": []`, false},
		{"elb describe-load-balancers", "(InvalidAction) when calling the DescribeLoadBalancers operation: Could not find operation DescribeLoadBalancers for version 2012-06-01", true},
		{"sns list-topics", `The sandbox has no service "sns"`, true},
	} {
		out, ok := srv.AWS(t, strings.Fields(step.args)...)
		if ok == step.fail || !strings.Contains(out, step.want) {
			t.Errorf("aws %s: ok %v\n%s\nwant %s", step.args, ok, out, step.want)
		}
	}
}

const trust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}`

// What the SDK for Go does not show: how Python gets empty lists, documents,
// timestamps, nested lists, binary values and errors.
func TestBoto3(t *testing.T) {
	t.Parallel()
	out, ok := serve(t).Python(t, `
import boto3, datetime, json
from botocore.exceptions import ClientError

def fails(code, fn, *args, **kw):
    try:
        fn(*args, **kw)
    except ClientError as e:
        assert e.response["Error"]["Code"] == code, e.response
        assert e.response["Error"]["Message"], e.response
        assert e.response["ResponseMetadata"]["RequestId"], e.response
        return e.response
    raise AssertionError("no error, want " + code)

c = {n: boto3.client(n) for n in ("iam", "sts", "secretsmanager", "ssm", "cloudwatch", "elbv2")}
iam, sm, ssm, cw = c["iam"], c["secretsmanager"], c["ssm"], c["cloudwatch"]

assert iam.list_roles()["Roles"] == []
doc = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "x"}, "Action": "sts:AssumeRole"}]}
tags = [{"Key": "k é", "Value": "a.b=c+d"}, {"Key": "empty", "Value": ""}]
r = iam.create_role(RoleName="r", AssumeRolePolicyDocument=json.dumps(doc), Tags=tags, MaxSessionDuration=7200)["Role"]
assert r["AssumeRolePolicyDocument"] == doc and isinstance(r["CreateDate"], datetime.datetime), r
assert iam.list_role_tags(RoleName="r")["Tags"] == tags
assert iam.get_role(RoleName="r")["Role"]["MaxSessionDuration"] == 7200
assert fails("EntityAlreadyExists", iam.create_role, RoleName="r", AssumeRolePolicyDocument=json.dumps(doc))["ResponseMetadata"]["HTTPStatusCode"] == 409
m = fails("ValidationError", iam.create_role, RoleName="x" * 65, AssumeRolePolicyDocument=json.dumps(doc))
assert m["Error"]["Message"].startswith("1 validation error detected: Value 'xxx") and "at 'roleName' failed to satisfy constraint: Member must have length less than or equal to 64" in m["Error"]["Message"], m
assert iam.get_instance_profile(InstanceProfileName=iam.create_instance_profile(InstanceProfileName="p")["InstanceProfile"]["InstanceProfileName"])["InstanceProfile"]["Roles"] == []

a = c["sts"].assume_role(RoleArn=r["Arn"], RoleSessionName="sess", DurationSeconds=900)
k = a["Credentials"]
as_role = boto3.Session(k["AccessKeyId"], k["SecretAccessKey"], k["SessionToken"])
assert as_role.client("sts").get_caller_identity()["Arn"].endswith(":assumed-role/r/sess")
fails("InvalidClientTokenId", boto3.Session(k["AccessKeyId"], k["SecretAccessKey"], "other").client("sts").get_caller_identity)
fails("SignatureDoesNotMatch", boto3.Session(k["AccessKeyId"], "other", k["SessionToken"]).client("sts").get_caller_identity)
fails("AccessDenied", c["sts"].assume_role, RoleArn=r["Arn"] + "x", RoleSessionName="sess")

sm.create_secret(Name="b", SecretBinary=b"\x00\xff", Tags=[{"Key": "a", "Value": "b"}])
v = sm.get_secret_value(SecretId="b")
assert v["SecretBinary"] == b"\x00\xff" and v["VersionStages"] == ["AWSCURRENT"], v
fails("ResourceNotFoundException", sm.get_secret_value, SecretId="none")
assert isinstance(sm.exceptions.ResourceNotFoundException, type)
sm.put_secret_value(SecretId=v["ARN"], SecretString="two")
assert sorted(sum(sm.describe_secret(SecretId="b")["VersionIdsToStages"].values(), [])) == ["AWSCURRENT", "AWSPREVIOUS"]
sm.delete_secret(SecretId="b", RecoveryWindowInDays=7)
fails("InvalidRequestException", sm.get_secret_value, SecretId="b")
sm.restore_secret(SecretId="b")
assert sm.get_secret_value(SecretId=v["ARN"][:-7])["SecretString"] == "two"
sm.delete_secret(SecretId="b", ForceDeleteWithoutRecovery=True)
assert sm.list_secrets()["SecretList"] == []
assert len(sm.get_random_password(PasswordLength=20, ExcludePunctuation=True)["RandomPassword"]) == 20

ssm.put_parameter(Name="plain", Type="SecureString", Value="s3cret")
assert ssm.get_parameter(Name="plain")["Parameter"]["Value"] != "s3cret"
assert ssm.get_parameter(Name="plain", WithDecryption=True)["Parameter"]["Value"] == "s3cret"
fails("ParameterAlreadyExists", ssm.put_parameter, Name="plain", Type="String", Value="x")
ssm.put_parameter(Name="plain", Value="2", Overwrite=True)
assert ssm.get_parameter(Name="plain:1", WithDecryption=True)["Parameter"]["Selector"] == ":1"
got = ssm.get_parameters(Names=["plain", "none"])
assert [p["Version"] for p in got["Parameters"]] == [2] and got["InvalidParameters"] == ["none"], got
fails("ParameterNotFound", ssm.get_parameter, Name="none")
fails("ValidationException", ssm.put_parameter, Name="aws-x", Type="String", Value="x")

now = datetime.datetime.now(datetime.timezone.utc)
cw.put_metric_data(Namespace="n", MetricData=[{"MetricName": "m", "Dimensions": [{"Name": "d", "Value": "1"}], "Timestamp": now - datetime.timedelta(seconds=90), "Values": [1.0, 3.0], "Counts": [2.0, 1.0]}])
s = cw.get_metric_statistics(Namespace="n", MetricName="m", Dimensions=[{"Name": "d", "Value": "1"}], StartTime=now - datetime.timedelta(minutes=10), EndTime=now, Period=60, Statistics=["Sum", "Maximum", "SampleCount"])
assert [(d["Sum"], d["Maximum"], d["SampleCount"]) for d in s["Datapoints"]] == [(5.0, 3.0, 3.0)], s
cw.put_metric_alarm(AlarmName="a", Namespace="n", MetricName="m", Dimensions=[{"Name": "d", "Value": "1"}], Statistic="Maximum", Period=60, EvaluationPeriods=3, DatapointsToAlarm=1, Threshold=2.5, ComparisonOperator="GreaterThanThreshold", Tags=[{"Key": "x", "Value": "y"}])
cw.put_composite_alarm(AlarmName="all", AlarmRule='ALARM("a") OR FALSE')
got = cw.describe_alarms(AlarmTypes=["MetricAlarm", "CompositeAlarm"])
assert got["MetricAlarms"][0]["StateValue"] == "ALARM" and got["CompositeAlarms"][0]["StateValue"] == "ALARM", got
assert isinstance(got["MetricAlarms"][0]["AlarmConfigurationUpdatedTimestamp"], datetime.datetime)
assert cw.list_tags_for_resource(ResourceARN=got["MetricAlarms"][0]["AlarmArn"])["Tags"] == [{"Key": "x", "Value": "y"}]
fails("ValidationError", cw.put_composite_alarm, AlarmName="bad", AlarmRule="ALARM(none)")
cw.put_dashboard(DashboardName="dash", DashboardBody='{"widgets": []}')
assert cw.get_dashboard(DashboardName="dash")["DashboardBody"] == '{"widgets": []}'
e = fails("InvalidParameterInput", cw.put_dashboard, DashboardName="dash", DashboardBody="no json")
assert fails("ResourceNotFound", cw.get_dashboard, DashboardName="none")["ResponseMetadata"]["HTTPStatusCode"] == 404
cw.delete_dashboards(DashboardNames=["dash"])
assert cw.list_dashboards()["DashboardEntries"] == []
fails("TargetGroupNotFound", c["elbv2"].describe_target_health, TargetGroupArn="arn:aws:x")
print("done")
`)
	if !ok || out != "done" {
		t.Error(out)
	}
}
