package record

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pcluster/internal/sandbox/iam/policy"
)

func TestIDsDoNotTellPermissionsApart(t *testing.T) {
	for _, alike := range [][2]string{
		{"arn:aws:ec2:us-east-1:111122223333:instance/i-0123456789abcdef0", "arn:aws:ec2:us-east-1:111122223333:instance/i-0fedcba9876543210"},
		{"arn:aws:iam::111122223333:role/parallelcluster/small/small-RoleHeadNode-TU063Z92DVYV", "arn:aws:iam::111122223333:role/parallelcluster/small/small-RoleHeadNode-ABCDEFGHIJKL"},
		{"arn:aws:s3:::b/clusters/small-abcdefghijklmnop/configs/x", "arn:aws:s3:::b/clusters/small-a1b2c3d4e5f6g7h8/configs/x"},
		{"arn:aws:logs:us-east-1:1:log-group:g:log-stream:ip-10-0-1-5.i-0a.slurm_resume", "arn:aws:logs:us-east-1:1:log-group:g:log-stream:ip-10-0-1-6.i-0b.clustermgtd"},
		{"arn:aws:logs:us-east-1:1:log-group:/aws/codebuild/p:log-stream:285e3671-8997-4f60-999b-0a98dc295863", "arn:aws:logs:us-east-1:1:log-group:/aws/codebuild/p:log-stream:a85e3671-1997-4f60-999b-0a98dc295863"},
		{"arn:aws:iam::1:role/parallelcluster/ParallelClusterImage-285e3671-8997-4f60-999b-0a98dc295863", "arn:aws:iam::1:role/parallelcluster/ParallelClusterImage-a85e3671-1997-4f60-999b-0a98dc295863"},
		{"arn:aws:s3:::b/restarted-logs-202601010000/285e3671-8997-4f60-999b-0a98dc295863/x", "arn:aws:s3:::b/restarted-logs-202612312359/a85e3671-1997-4f60-999b-0a98dc295863/x"},
		{"arn:aws:cloudformation:us-east-1:1:stack/restarted/285e3671-8997-4f60-999b-0a98dc295863", "arn:aws:cloudformation:us-east-1:1:stack/restarted/*"},
		{"arn:aws:ecr:us-east-1:1:repository/jobs-parallelclusterdockerimagesrepo-r5qb3c07m07g", "arn:aws:ecr:us-east-1:1:repository/jobs-parallelclusterdockerimagesrepo-abcdefghijkl"},
	} {
		a, b := Need{Request: policy.Request{Resource: alike[0]}}, Need{Request: policy.Request{Resource: alike[1]}}
		if a.Key() != b.Key() {
			t.Errorf("%s and %s are told apart:\n%s\n%s", alike[0], alike[1], a.Key(), b.Key())
		}
	}
	a, b := Need{Request: policy.Request{Resource: "arn:aws:s3:::b/clusters/x"}}, Need{Request: policy.Request{Resource: "arn:aws:s3:::b/programs/x"}}
	if a.Key() == b.Key() {
		t.Errorf("folders are not told apart: %s", a.Key())
	}
}

func TestRecordsOfLives(t *testing.T) {
	const (
		admin  = `{"caller":"arn:aws:iam::1:user/admin","service":"iam","operation":"CreateUser","allowed":true,"requests":[{"Action":"iam:CreateUser","Resource":"*"}]}`
		user   = `{"caller":"arn:aws:iam::1:user/ann","service":"ec2","operation":"DescribeVpcs","allowed":true,"requests":[{"Action":"ec2:DescribeVpcs","Resource":"*"}]}`
		stack  = `{"caller":"arn:aws:iam::1:user/ann","service":"iam","operation":"CreateRole","allowed":true,"requests":[{"Action":"iam:CreateRole","Resource":"r","Context":{"aws:calledvia":["cloudformation.amazonaws.com"]}}]}`
		own    = `{"caller":"arn:aws:iam::1:user/ann","service":"s3","operation":"GET","allowed":true,"requests":[{"Action":"s3:GetObject","Resource":"arn:aws:s3:::mine/x"}]}`
		head   = `{"caller":"arn:aws:sts::1:assumed-role/small-RoleHeadNode-X/i-0","service":"s3","operation":"GET","allowed":true,"requests":[{"Action":"s3:GetObject","Resource":"arn:aws:s3:::b/x"}]}`
		image  = `{"caller":"arn:aws:sts::1:assumed-role/ParallelClusterImage-0a/i-0","service":"ec2","operation":"CreateTags","allowed":true,"requests":[{"Action":"ec2:CreateTags","Resource":"ami"}]}`
		end    = `{"caller":"arn:aws:sts::1:assumed-role/ParallelClusterImageCleanup-0a/ParallelClusterImage-0a","service":"sns","operation":"DeleteTopic","allowed":true,"requests":[{"Action":"sns:DeleteTopic","Resource":"t","Context":{"aws:calledvia":["cloudformation.amazonaws.com"]}}]}`
		denied = `{"caller":"arn:aws:iam::1:user/ann","service":"ec2","operation":"RunInstances","allowed":false,"requests":[{"Action":"ec2:RunInstances","Resource":"*"}]}`
	)
	write := func(lines ...string) string {
		path := filepath.Join(t.TempDir(), "record.jsonl")
		if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	needs, err := Read(write(admin, user, user, stack, own, head, image, end), "mine")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range needs {
		got = append(got, n.Caller+" "+n.Operation)
	}
	if want := "CloudFormation iam:CreateRole, head node s3:GetObject, image's clean-up function sns:DeleteTopic, machine of an image's build ec2:CreateTags, pcluster ec2:DescribeVpcs"; strings.Join(got, ", ") != want {
		t.Errorf("read %s, want %s", strings.Join(got, ", "), want)
	}
	if _, err := Read(write(user, denied), "mine"); err == nil || !strings.Contains(err.Error(), "RunInstances") {
		t.Errorf("a refusal: %v", err)
	}
	saved := filepath.Join(t.TempDir(), "life.jsonl")
	if err := Save(saved, needs); err != nil {
		t.Fatal(err)
	}
	again, err := Load(saved)
	if err != nil || len(again) != len(needs) || again[0].Key() != needs[0].Key() {
		t.Errorf("what was saved is %v, %v", again, err)
	}
}
