//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestSeedImage runs the Blue Brain document's way to an image: a component from a
// bucket, the build, and the AMI; then what is left when the image is deleted, and a
// build whose test fails. The update of the operating system is left out, since the
// machines of a region reach no mirror.
func TestSeedImage(t *testing.T) {
	r := startRegion(t)
	if err := os.CopyFS(r.work, os.DirFS(filepath.Join(root, "test", "e2e", "testdata", "image"))); err != nil {
		t.Fatal(err)
	}
	r.must(t, "pcluster", "sandbox", "adopt", "-c", filepath.Join(root, "examples", "bluebrain", "config", "compute-cluster.yaml"))
	r.must(t, "aws", "iam", "create-policy", "--policy-name", "ParallelCluster_S3_GetObject_RPMs", "--policy-document",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}`)
	r.must(t, "aws", "s3", "cp", "packages.yaml", "s3://sboinfrastructureassets/components/packages.yaml")
	r.must(t, "aws", "imagebuilder", "create-component", "--name", "packages", "--semantic-version", "1.0.0", "--platform", "Linux",
		"--tags", "SBO_Billing=hpc:parallelcluster", "--uri", "s3://sboinfrastructureassets/components/packages.yaml")

	// The file's own AMI was adopted; beside it there is to be nothing that we did not ask for.
	own := func(what, query string) string {
		return strings.TrimSpace(r.must(t, "aws", "ec2", "describe-"+what+"s", "--owner"+map[string]string{"image": "s", "snapshot": "-ids"}[what], "self", "--query", query, "--output", "text"))
	}
	const snapshots = "sort(Snapshots[].SnapshotId)"
	before := own("snapshot", snapshots)

	const id = "sbo-parallelcluster-ami-al2023-v2"
	build := func(id, file string) (stack string) {
		r.must(t, "pcluster", "build-image", "--image-configuration", file, "--image-id", id)
		eventually(t, 2*time.Minute, "the stack of "+id+" is done", func() bool {
			out := r.run(t, "aws", "cloudformation", "describe-stacks", "--stack-name", id, "--query", "Stacks[].StackStatus", "--output", "text")
			stack = strings.TrimSpace(out.stdout)
			return !strings.HasSuffix(stack, "_IN_PROGRESS")
		})
		return stack
	}
	field := func(id, query string) string {
		return strings.Trim(strings.TrimSpace(r.must(t, "pcluster", "describe-image", "--image-id", id, "--query", query)), `"`)
	}
	if stack := build(id, "ami-config.yaml"); stack != "" {
		t.Errorf("the stack of the finished image is in state %s, want it gone", stack)
	}
	if got := field(id, "imageBuildStatus"); got != "BUILD_COMPLETE" {
		t.Fatalf("imageBuildStatus %s", got)
	}
	ami := field(id, "ec2AmiInfo.amiId")
	tag := strings.TrimSpace(r.must(t, "aws", "ec2", "describe-images", "--owners", "self", "--filters", "Name=tag:SBO_Billing,Values=hpc:parallelcluster",
		"--query", "Images[].ImageId", "--output", "text"))
	if tag != ami {
		t.Errorf("images with the file's tag: %q, want %s", tag, ami)
	}
	if out := r.run(t, "pcluster", "build-image", "--image-configuration", "ami-config.yaml", "--image-id", id); out.code != 1 || !strings.Contains(out.stdout, "already exists") {
		t.Errorf("a second image of the ID: %d %s", out.code, out.stdout)
	}

	t.Run("an image in use is not deleted, and the answer says by whom", func(t *testing.T) {
		instance := strings.TrimSpace(r.must(t, "aws", "ec2", "run-instances", "--image-id", ami, "--instance-type", "t3.micro",
			"--subnet-id", "subnet-076ece71c00742d3c", "--query", "Instances[0].InstanceId", "--output", "text"))
		if out := r.run(t, "pcluster", "delete-image", "--image-id", id); out.code != 1 || !strings.Contains(out.stdout, instance) {
			t.Errorf("delete-image: %d %s", out.code, out.stdout)
		}
		r.must(t, "aws", "ec2", "terminate-instances", "--instance-ids", instance)
		r.must(t, "aws", "ec2", "wait", "instance-terminated", "--instance-ids", instance)
	})

	t.Run("a test that fails leaves no image but a reason", func(t *testing.T) {
		data, err := os.ReadFile(filepath.Join(r.work, "packages.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		bad := strings.Replace(string(data), "which sbo-tool &&", "which sbo-missing-tool &&", 1)
		config, err := os.ReadFile(filepath.Join(r.work, "ami-config.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"bad.yaml": bad, "bad-config.yaml": strings.Replace(string(config), "packages/1.0.0/1", "bad/1.0.0/1", 1)} {
			if err := os.WriteFile(filepath.Join(r.work, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		r.must(t, "aws", "s3", "cp", "bad.yaml", "s3://sboinfrastructureassets/components/bad.yaml")
		r.must(t, "aws", "imagebuilder", "create-component", "--name", "bad", "--semantic-version", "1.0.0", "--platform", "Linux", "--uri", "s3://sboinfrastructureassets/components/bad.yaml")
		if stack := build("bad-image", "bad-config.yaml"); stack != "CREATE_FAILED" {
			t.Errorf("stack %s", stack)
		}
		if status, reason := field("bad-image", "imageBuildStatus"), field("bad-image", "imagebuilderImageStatusReason"); status != "BUILD_FAILED" || !strings.Contains(reason, "step TestPackages of phase test") {
			t.Errorf("describe-image says %s, %s", status, reason)
		}
		if left := own("image", "Images[?Name!=null] | [?contains(Name, 'bad-image')].ImageId"); left != "" {
			t.Errorf("images are left: %s", left)
		}
		r.must(t, "aws", "cloudformation", "delete-stack", "--stack-name", "bad-image")
		r.must(t, "aws", "cloudformation", "wait", "stack-delete-complete", "--stack-name", "bad-image")
		if out := r.must(t, "pcluster", "get-image-log-events", "--image-id", "bad-image", "--log-stream-name", "3.16.100/1"); !strings.Contains(out, "ExitCode 1") {
			t.Errorf("the log of the build after its stack is gone: %s", out)
		}
	})

	building := func(id string) (instance string) {
		r.must(t, "pcluster", "build-image", "--image-configuration", "ami-config.yaml", "--image-id", id)
		eventually(t, time.Minute, "the build machine of "+id+" runs", func() bool {
			instance = strings.TrimSpace(r.must(t, "aws", "ec2", "describe-instances", "--filters", "Name=tag:Name,Values=Build instance for ParallelClusterImage-"+id,
				"Name=instance-state-name,Values=running", "--query", "Reservations[].Instances[].InstanceId", "--output", "text"))
			return instance != ""
		})
		return instance
	}
	ended := func(id string) (status string) {
		eventually(t, 2*time.Minute, "the build of "+id+" is over", func() bool {
			status = field(id, "imageBuildStatus")
			return status != "BUILD_IN_PROGRESS"
		})
		return status
	}
	t.Run("a build whose machine is lost fails, with the reason", func(t *testing.T) {
		instance := building("lost")
		r.must(t, "aws", "ec2", "terminate-instances", "--instance-ids", instance)
		if status := ended("lost"); status != "BUILD_FAILED" {
			t.Errorf("status %s", status)
		}
		if reason := field("lost", "imagebuilderImageStatusReason"); !strings.Contains(reason, instance) {
			t.Errorf("reason %q, want it to name %s", reason, instance)
		}
		r.must(t, "pcluster", "delete-image", "--image-id", "lost")
	})
	t.Run("a build goes on when the daemon was killed", func(t *testing.T) {
		building("restarted")
		r.must(t, "sh", "-c", "kill -9 $(pcluster sandbox status | sed -n 's/^daemon pid \\([0-9]*\\).*/\\1/p')")
		r.must(t, "pcluster", "sandbox", "up")
		if status := ended("restarted"); status != "BUILD_COMPLETE" {
			t.Errorf("status %s: %s", status, field("restarted", "imagebuilderImageStatusReason"))
		}
		eventually(t, time.Minute, "the stack is gone", func() bool {
			return r.run(t, "aws", "cloudformation", "describe-stacks", "--stack-name", "restarted").code != 0
		})
		r.must(t, "pcluster", "delete-image", "--image-id", "restarted")
	})

	r.must(t, "pcluster", "delete-image", "--image-id", id)
	if after := own("snapshot", snapshots); after != before {
		t.Errorf("snapshots %s, want those of before: %s", after, before)
	}
	if out := r.must(t, "aws", "logs", "describe-log-groups", "--query", "logGroups[].logGroupName", "--output", "text"); strings.Contains(out, "ParallelClusterImage-"+id) {
		t.Errorf("log groups are left: %s", out)
	}
	eventually(t, 10*time.Second, "no layer is left", func() bool {
		layers, err := os.ReadDir(filepath.Join(r.home, "ec2", "layers"))
		return err != nil || len(layers) == 0
	})
}
