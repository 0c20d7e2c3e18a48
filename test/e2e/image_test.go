//go:build linux

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pcluster/test/permissions/record"
)

// TestSeedImage runs the Blue Brain document's way to an image, with its file as it
// is: components from a bucket, the build, the AMI, and a cluster of it; then builds
// that fail, and what is left when the image is deleted. The operating system is brought
// up to date from the mirror by which this host has made the machines' image. The last
// builds are those of a user, who may do what the policies in docs/iam say, and what is
// asked for in them is recorded.
func TestSeedImage(t *testing.T) {
	recorded := filepath.Join(t.TempDir(), "record.jsonl")
	r := startRegion(t, "--record", recorded)
	if err := os.CopyFS(r.work, os.DirFS(filepath.Join(root, "test", "e2e", "testdata", "image"))); err != nil {
		t.Fatal(err)
	}
	r.must(t, "pcluster", "sandbox", "adopt", "-c", "seed-config.yaml")
	r.must(t, "pcluster", "sandbox", "adopt", "-c", filepath.Join(root, "examples", "bluebrain", "config", "compute-cluster.yaml"))
	r.must(t, "aws", "iam", "create-policy-version", "--set-as-default", "--policy-arn", "arn:aws:iam::671250183987:policy/ParallelCluster_S3_GetObject_RPMs",
		"--policy-document", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}`)
	create := func(name, file string) (arn string) {
		r.must(t, "aws", "s3", "cp", file, "s3://sboinfrastructureassets/components/"+file)
		out := r.must(t, "aws", "imagebuilder", "create-component", "--name", name, "--semantic-version", "1.0.0", "--platform", "Linux",
			"--tags", "SBO_Billing=hpc:parallelcluster", "--uri", "s3://sboinfrastructureassets/components/"+file, "--query", "componentBuildVersionArn", "--output", "text")
		return strings.TrimSpace(out)
	}
	for _, name := range []string{"packages", "configure-ami"} { // singularity-ce stays as it was adopted
		if got, want := create(name, name+".yaml"), "arn:aws:imagebuilder:us-east-1:671250183987:component/"+name+"/1.0.0/1"; got != want {
			t.Fatalf("the component is %s, but the file names %s", got, want)
		}
	}

	// The file's own AMI was adopted; beside it there is to be nothing that we did not ask for.
	own := func(what, query string) string {
		return strings.TrimSpace(r.must(t, "aws", "ec2", "describe-"+what+"s", "--owner"+map[string]string{"image": "s", "snapshot": "-ids"}[what], "self", "--query", query, "--output", "text"))
	}
	const snapshots = "sort(Snapshots[].SnapshotId)"
	before := own("snapshot", snapshots)

	const id = "sbo-parallelcluster-ami-al2023-v2"
	build := func(id, file string) (stack string) {
		r.must(t, "pcluster", "build-image", "--image-configuration", file, "--image-id", id)
		eventually(t, patience, "the stack of "+id+" is done", func() bool {
			out := r.run(t, "aws", "cloudformation", "describe-stacks", "--stack-name", id, "--query", "Stacks[].StackStatus", "--output", "text")
			stack = strings.TrimSpace(out.stdout)
			return !strings.HasSuffix(stack, "_IN_PROGRESS")
		})
		return stack
	}
	field := func(r *region, id, query string) string {
		return strings.Trim(strings.TrimSpace(r.must(t, "pcluster", "describe-image", "--image-id", id, "--query", query)), `"`)
	}
	shell := func(line string) string { return strings.TrimSpace(r.must(t, "sh", "-c", line)) }
	r.must(t, "pcluster", "build-image", "--image-configuration", "seed-config.yaml", "--image-id", id)
	if got := shell(`aws cloudformation describe-stacks --stack-name "` + id + `" | jq -r ".Stacks[].StackStatus"`); got != "CREATE_IN_PROGRESS" {
		t.Errorf("the stack of an image that is being built is %s", got)
	}
	eventually(t, patience, "the stack of "+id+" is gone", func() bool {
		return r.run(t, "aws", "cloudformation", "describe-stacks", "--stack-name", id).code != 0
	})
	if got := shell(`pcluster describe-image --image-id "` + id + `" | jq -r ".imageBuildStatus"`); got != "BUILD_COMPLETE" {
		t.Fatalf("imageBuildStatus %s", got)
	}
	ami := shell(`pcluster describe-image --image-id "` + id + `" | jq -r ".ec2AmiInfo.amiId"`)
	if got := shell(`pcluster list-images --image-status AVAILABLE | jq -r ".images[].imageId"`); got != id {
		t.Errorf("list-images has %q", got)
	}
	tag := strings.TrimSpace(r.must(t, "aws", "ec2", "describe-images", "--owners", "self", "--filters", "Name=tag:SBO_Billing,Values=hpc:parallelcluster",
		"--query", "Images[].ImageId", "--output", "text"))
	if tag != ami {
		t.Errorf("images with the file's tag: %q, want %s", tag, ami)
	}
	if out := r.run(t, "pcluster", "build-image", "--image-configuration", "ami-config.yaml", "--image-id", id); out.code != 1 || !strings.Contains(out.stdout, "already exists") {
		t.Errorf("a second image of the ID: %d %s", out.code, out.stdout)
	}

	t.Run("a cluster of the AMI has on its nodes what the components did", func(t *testing.T) {
		data, err := os.ReadFile(filepath.Join(r.work, "cluster.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(r.work, "cluster.yaml"), []byte(strings.Replace(string(data), "ami-042559ee751d3e522", ami, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		r.must(t, "pcluster", "create-cluster", "-n", "of-image", "-c", "cluster.yaml", "--wait")
		c := r.enter(t, "of-image", filepath.Join(r.home, "keys", "aws_coreservices.pem"), "ec2-user")
		const look = "sbo-tool && cat /etc/security/limits.d/90-sbo.conf"
		const want = "sbo-tool 1.0\n* soft memlock unlimited\n* hard memlock unlimited"
		if got := c.head(t, look); got != want {
			t.Errorf("on the head node: %q, want %q", got, want)
		}
		if got := c.head(t, "srun -N1 sh -c '"+look+"'"); got != want {
			t.Errorf("on a compute node: %q, want %q", got, want)
		}
		if out := r.run(t, "pcluster", "delete-image", "--image-id", id); out.code != 1 || !strings.Contains(out.stdout, "is used by instances i-") {
			t.Errorf("delete of the image of a cluster: %d %s", out.code, out.stdout)
		}
		r.must(t, "pcluster", "delete-cluster", "-n", "of-image", "--wait")
	})

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
		create("bad", "bad.yaml")
		if stack := build("bad-image", "bad-config.yaml"); stack != "CREATE_FAILED" {
			t.Errorf("stack %s", stack)
		}
		if status, reason := field(r, "bad-image", "imageBuildStatus"), field(r, "bad-image", "imagebuilderImageStatusReason"); status != "BUILD_FAILED" || !strings.Contains(reason, "step TestPackages of phase test") {
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

	t.Run("component run tells how it ended, and leaves no machine", func(t *testing.T) {
		machines := func() string {
			return strings.TrimSpace(r.must(t, "aws", "ec2", "describe-instances", "--filters", "Name=tag:CreatedBy,Values=pcluster component run",
				"Name=instance-state-name,Values=pending,running,stopping,shutting-down", "--query", "Reservations[].Instances[].InstanceId", "--output", "text"))
		}
		for name, tt := range map[string]struct {
			args []string
			code int
			want string
		}{
			"the seed's component, with its restart": {[]string{"packages.yaml"}, 0, `"status": "success"`},
			"step that hangs":                        {[]string{"faults.yaml", "--phases", "build", "--parameters", "command=sleep 600"}, 1, "longer than the 2 seconds"},
			"step that fails":                        {[]string{"faults.yaml", "--phases", "build", "--parameters", "command=exit 7"}, 1, "exit status 7"},
			"executor that is shot":                  {[]string{"faults.yaml", "--phases", "build", "--parameters", "command=kill -9 $PPID"}, 1, "the executor ended before its components were done: signal"},
			"machine that goes off":                  {[]string{"faults.yaml", "--phases", "build", "--parameters", "command=systemctl poweroff -ff; sleep 1"}, 1, "before its components are done"},
			"image that is not one":                  {[]string{"faults.yaml", "--parent-image", "ami-0123456789abcdef0"}, 1, "does not exist"},
		} {
			out := r.run(t, append([]string{"pcluster", "component", "run"}, tt.args...)...)
			if out.code != tt.code || !strings.Contains(out.stdout+out.stderr, tt.want) {
				t.Errorf("%s: exit status %d, want %d with %q\n%s%s", name, out.code, tt.code, tt.want, out.stdout, out.stderr)
			}
			if left := machines(); left != "" {
				t.Errorf("%s: machines are left: %s", name, left)
			}
		}
		list := r.must(t, "pcluster", "component", "list")
		for _, want := range []string{"packages", "update-linux", "ParallelClusterTag"} {
			if !strings.Contains(list, want) {
				t.Errorf("component list lacks %s:\n%s", want, list)
			}
		}
	})

	// What is built from here on is a user's, with the published policies and roles under the
	// published boundary. Until here nothing was refused to roles; what they asked for does not
	// count for the record of an image's life.
	const bucket, file = "sboinfrastructureassets", "bounded-config.yaml"
	config, err := os.ReadFile(filepath.Join(r.work, "ami-config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	bounded := strings.Replace(string(config), "  Iam:\n", "  Iam:\n    PermissionsBoundary: "+r.makeBoundary(t, bucket)+"\n", 1)
	if err := os.WriteFile(filepath.Join(r.work, file), []byte(bounded), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := record.Read(recorded, bucket); err != nil {
		t.Error(err)
	}
	if err := os.Truncate(recorded, 0); err != nil {
		t.Fatal(err)
	}
	ann := r.user(t, "ann", bucket, "readonly", "images", "clusters-iam")
	building := func(id string) (instance string) {
		ann.must(t, "pcluster", "build-image", "--image-configuration", file, "--image-id", id)
		eventually(t, patience, "the build machine of "+id+" runs", func() bool {
			instance = strings.TrimSpace(r.must(t, "aws", "ec2", "describe-instances", "--filters", "Name=tag:Name,Values=Build instance for ParallelClusterImage-"+id,
				"Name=instance-state-name,Values=running", "--query", "Reservations[].Instances[].InstanceId", "--output", "text"))
			return instance != ""
		})
		return instance
	}
	ended := func(id string) (status string) {
		eventually(t, patience, "the build of "+id+" is over", func() bool {
			status = field(ann, id, "imageBuildStatus")
			return status != "BUILD_IN_PROGRESS"
		})
		return status
	}
	gone := func(id string) {
		eventually(t, patience, "the stack of "+id+" is gone", func() bool {
			return r.run(t, "aws", "cloudformation", "describe-stacks", "--stack-name", id).code != 0
		})
	}
	t.Run("a build whose machine is lost fails, with the reason", func(t *testing.T) {
		instance := building("lost")
		r.must(t, "pcluster", "sandbox", "fault", "kill", instance)
		if status := ended("lost"); status != "BUILD_FAILED" {
			t.Errorf("status %s", status)
		}
		if reason := field(ann, "lost", "imagebuilderImageStatusReason"); !strings.Contains(reason, "The build instance "+instance+" is ") || !strings.Contains(reason, "Server.InternalError") {
			t.Errorf("reason %q, want it to name %s and what became of it", reason, instance)
		}
		ann.must(t, "pcluster", "delete-image", "--image-id", "lost")
		gone("lost")
	})
	t.Run("a build goes on when the daemon was killed", func(t *testing.T) {
		building("restarted")
		if got := ann.must(t, "pcluster", "list-images", "--image-status", "PENDING", "--query", "images[].imageId"); !strings.Contains(got, "restarted") {
			t.Errorf("images that are being built: %s", got)
		}
		ann.must(t, "pcluster", "get-image-stack-events", "--image-id", "restarted")
		r.must(t, "sh", "-c", "kill -9 $(pcluster sandbox status | sed -n 's/^daemon pid \\([0-9]*\\).*/\\1/p')")
		r.must(t, r.up...)
		if status := ended("restarted"); status != "BUILD_COMPLETE" {
			t.Errorf("status %s: %s", status, field(ann, "restarted", "imagebuilderImageStatusReason"))
		}
		gone("restarted")
		looksAtImage(t, ann, "restarted")
		ann.must(t, "pcluster", "component", "list")
		ann.must(t, "pcluster", "delete-image", "--image-id", "restarted")
	})
	t.Run("nothing was refused, nor asked for that the policies' tests don't know", func(t *testing.T) {
		checkRecord(t, recorded, bucket, "image", "image's clean-up function", "machine of an image's build")
	})

	r.must(t, "pcluster", "delete-image", "--image-id", id)
	if after := own("snapshot", snapshots); after != before {
		t.Errorf("snapshots %s, want those of before: %s", after, before)
	}
	if out := r.must(t, "aws", "logs", "describe-log-groups", "--query", "logGroups[].logGroupName", "--output", "text"); strings.Contains(out, "ParallelClusterImage-"+id) {
		t.Errorf("log groups are left: %s", out)
	}
	eventually(t, patience, "no layer is left", func() bool {
		layers, err := os.ReadDir(filepath.Join(r.home, "ec2", "layers"))
		return err != nil || len(layers) == 0
	})
}

// looksAtImage does what users do to see an image that is ready, and keeps its logs.
func looksAtImage(t *testing.T, r *region, id string) {
	t.Helper()
	if got := r.must(t, "pcluster", "list-images", "--image-status", "AVAILABLE", "--query", "images[].imageId"); !strings.Contains(got, `"`+id+`"`) {
		t.Errorf("images that are ready: %s", got)
	}
	r.must(t, "pcluster", "describe-image", "--image-id", id)
	var streams []string
	r.query(t, &streams, "pcluster", "list-image-log-streams", "--image-id", id, "--query", "logStreams[].logStreamName")
	if len(streams) != 1 {
		t.Fatalf("log streams of the build: %v", streams)
	}
	r.must(t, "pcluster", "get-image-log-events", "--image-id", id, "--log-stream-name", streams[0], "--limit", "5")
	archive := filepath.Join(r.work, "image-logs.tar.gz")
	r.must(t, "pcluster", "export-image-logs", "--image-id", id, "--output-file", archive)
	if s, err := os.Stat(archive); err != nil || s.Size() == 0 {
		t.Errorf("the logs' archive: %v, %v", s, err)
	}
}

// TestComponentOnAFullDisk runs a component that fills the disk on which its own log is:
// the step fails, and the log and the summary still tell.
func TestComponentOnAFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	pcluster := filepath.Join(root, "bin", "pcluster")
	if _, err := os.Stat(pcluster); err != nil {
		t.Skip("bin/pcluster is missing: run make build first")
	}
	dir := t.TempDir()
	const line = `mount -t tmpfs -o size=3m none "$0" && exec "$1" component run "$2" --here --phases build --log-directory "$0" --parameters command="cat /dev/zero >$0/fill"`
	out, err := exec.Command("unshare", "--mount", "sh", "-c", line, dir, pcluster, filepath.Join(root, "test", "e2e", "testdata", "image", "faults.yaml")).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "No space left on device") || !strings.Contains(string(out), `"failedStepCount": 1`) {
		t.Errorf("%v\n%s", err, out)
	}
}
