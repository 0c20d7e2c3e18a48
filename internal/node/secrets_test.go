package node

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"pcluster/internal/fleet"
)

// stores are Secrets Manager, by ARN, and Parameter Store, by name.
type stores struct{ secrets, parameters map[string]string }

func (s stores) GetSecretValue(_ context.Context, in *secretsmanager.GetSecretValueInput, _ ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error) {
	v, ok := s.secrets[*in.SecretId]
	if !ok {
		return nil, errors.New("ResourceNotFoundException")
	}
	return &secretsmanager.GetSecretValueOutput{SecretString: &v}, nil
}

func (s stores) GetParameter(_ context.Context, in *ssm.GetParameterInput, _ ...func(*ssm.Options)) (*ssm.GetParameterOutput, error) {
	v, ok := s.parameters[*in.Name]
	if !ok || !aws.ToBool(in.WithDecryption) {
		return nil, errors.New("ParameterNotFound")
	}
	return &ssm.GetParameterOutput{Parameter: &ssmtypes.Parameter{Value: &v}}, nil
}

func TestSecretsAreWhereTheirARNsSay(t *testing.T) {
	s := stores{
		map[string]string{"arn:aws:secretsmanager:us-east-1:1:secret:a-AbCdEf": "managed"},
		map[string]string{"/deep/down": "of a path"},
	}
	v := &awsVault{s, s}
	for arn, want := range map[string]string{
		"arn:aws:secretsmanager:us-east-1:1:secret:a-AbCdEf":     "managed",
		"arn:aws-iso-b:ssm:us-isob-east-1:1:parameter/deep/down": "of a path",
	} {
		if got, err := v.secret(t.Context(), arn); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", arn, got, err, want)
		}
	}
	for _, arn := range []string{"arn:aws:ssm:us-east-1:1:parameter/none", "arn:aws:secretsmanager:us-east-1:1:secret:none"} {
		if _, err := v.secret(t.Context(), arn); err == nil || !strings.Contains(err.Error(), arn) {
			t.Errorf("%s: %v", arn, err)
		}
	}
}

// loginNodes is an EC2 with a page for each instance.
type loginNodes []string

func (l loginNodes) DescribeInstances(_ context.Context, in *ec2.DescribeInstancesInput, _ ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error) {
	at := len(aws.ToString(in.NextToken))
	if at >= len(l) {
		return &ec2.DescribeInstancesOutput{}, nil
	}
	return &ec2.DescribeInstancesOutput{
		NextToken:    aws.String(strings.Repeat("x", at+1)),
		Reservations: []types.Reservation{{Instances: []types.Instance{{InstanceId: &l[at]}}}},
	}, nil
}

func TestTheMungeKeyChangesWhileNobodyUsesIt(t *testing.T) {
	for name, tt := range map[string]struct {
		status  fleet.Status
		logins  loginNodes
		anyway  bool
		refused string
	}{
		"the fleet runs":                     {fleet.Running, nil, true, "the compute fleet is RUNNING"},
		"the fleet is about to stop":         {fleet.Stopping, nil, true, "the compute fleet is STOPPING"},
		"login nodes run":                    {fleet.Stopped, loginNodes{"i-2", "i-1"}, false, "login nodes run (i-1, i-2)"},
		"login nodes run, which matters not": {fleet.Stopped, loginNodes{"i-1"}, true, ""},
		"nobody runs":                        {fleet.Stopped, nil, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h, ran := testHost(t)
			put(t, h, "/usr/lib/systemd/system/munge.service", "")
			if err := h.makeMungeKey(t.Context(), nil, ""); err != nil {
				t.Fatal(err)
			}
			old := get(t, h, mungeKey)
			*ran = nil
			r := &mungeRotation{Host: h, cluster: "demo", anyway: tt.anyway, instances: tt.logins, status: func(context.Context) (fleet.Status, error) { return tt.status, nil }}
			err := r.run(t.Context())
			if tt.refused != "" {
				if err == nil || !strings.Contains(err.Error(), tt.refused) || get(t, h, mungeKey) != old || len(*ran) > 0 {
					t.Errorf("%v; the key is another one: %v; %v", err, get(t, h, mungeKey) != old, *ran)
				}
				return
			}
			key := get(t, h, mungeKey)
			if err != nil || key == old || get(t, h, sharedMungeKey) != key || get(t, h, loginMungeKey) != key {
				t.Errorf("%v; the key is the old one: %v", err, key == old)
			}
			if strings.Join(*ran, "; ") != "systemctl restart munge.service" {
				t.Errorf("ran %v", *ran)
			}
		})
	}
}
