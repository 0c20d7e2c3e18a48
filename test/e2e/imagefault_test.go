//go:build linux

package e2e

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pcluster/internal/config"
	"pcluster/internal/stack"
)

// An imageRegion is a region in which image files with components of the test's own can
// be built.
type imageRegion struct {
	*region
	programs string // where build-image finds node programs: an assignment for env
}

func startImageRegion(t *testing.T) imageRegion {
	t.Helper()
	r := imageRegion{startRegion(t), "PCLUSTER_NODE_PROGRAM_DIR="}
	if err := os.CopyFS(r.work, os.DirFS(filepath.Join(root, "test", "e2e", "testdata", "image"))); err != nil {
		t.Fatal(err)
	}
	r.must(t, "pcluster", "sandbox", "adopt", "-c", "ami-config.yaml")
	r.must(t, "pcluster", "sandbox", "adopt", "-c", filepath.Join(root, "examples", "bluebrain", "config", "compute-cluster.yaml"))
	return r
}

func (r imageRegion) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(r.work, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (r imageRegion) read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(r.work, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// build begins an image with a component that runs a command, and with changes of the
// image file.
func (r imageRegion) build(t *testing.T, id, command string, changes ...string) result {
	t.Helper()
	return r.buildDocument(t, id, strings.Replace(r.read(t, "faults.yaml"), "default: 'true'", fmt.Sprintf("default: %q", command), 1), changes...)
}

// buildDocument begins an image with a component of that text.
func (r imageRegion) buildDocument(t *testing.T, id, document string, changes ...string) result {
	t.Helper()
	r.write(t, id+".yaml", strings.Replace(document, "name: faults", "name: "+id, 1))
	r.must(t, "aws", "s3", "cp", "--quiet", id+".yaml", "s3://sboinfrastructureassets/components/"+id+".yaml")
	arn := strings.TrimSpace(r.must(t, "aws", "imagebuilder", "create-component", "--name", id, "--semantic-version", "1.0.0", "--platform", "Linux",
		"--uri", "s3://sboinfrastructureassets/components/"+id+".yaml", "--query", "componentBuildVersionArn", "--output", "text"))
	changes = append(changes, "arn:aws:imagebuilder:us-east-1:671250183987:component/packages/1.0.0/1", arn)
	file := strings.NewReplacer(changes...).Replace(r.read(t, "ami-config.yaml"))
	r.write(t, id+"-config.yaml", file)
	return r.run(t, r.programs, "pcluster", "build-image", "--image-id", id, "--image-configuration", id+"-config.yaml", "--suppress-validators", "ALL")
}

func (r imageRegion) field(t *testing.T, id, query string) string {
	t.Helper()
	return strings.Trim(strings.TrimSpace(r.must(t, "pcluster", "describe-image", "--image-id", id, "--query", query)), `"`)
}

// ended waits for the end of a build.
func (r imageRegion) ended(t *testing.T, id string) (status string) {
	t.Helper()
	eventually(t, patience, "the build of "+id+" is over", func() bool {
		status = r.field(t, id, "imageBuildStatus")
		return status != "BUILD_IN_PROGRESS"
	})
	return status
}

// rootVolume is what changes the size of the image's root volume.
func rootVolume(gib int) []string {
	return []string{"Image:\n", fmt.Sprintf("Image:\n  RootVolume:\n    Size: %d\n", gib)}
}

// fill writes until the disk is full, quickly.
const fill = "fallocate -l $(($(df --output=avail -k / | tail -n 1) - 3000))K /var/most; cat /dev/zero >/var/rest"

// An imageFault is a build that fails.
type imageFault struct {
	command string
	changes []string // of the image file
	reason  string
}

// TestImageBuildsThatFail has builds fail on real machines: each says why in
// describe-image, and leaves no AMI.
func TestImageBuildsThatFail(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the parent image that does not fit is one for arm64")
	}
	r := startImageRegion(t)
	managed := "arn:aws:imagebuilder:us-east-1:aws:image/amazon-linux-2023-x86/x.x.x"
	images := func() string {
		return strings.TrimSpace(r.must(t, "aws", "ec2", "describe-images", "--owners", "self", "--query", "sort(Images[].ImageId)", "--output", "text"))
	}

	// Parents that nobody can use: another system, whose packages nobody has, and another processor.
	const beos = "sed -i -e s/^ID=.*/ID=beos/ /usr/lib/os-release; echo deb http://mirror.invalid/beos r5 main >/etc/apt/sources.list; rm -rf /etc/apt/sources.list.d/*"
	if out := r.build(t, "beos", beos, "Image:\n", "DevSettings:\n  DisablePclusterComponent: true\nImage:\n"); out.code != 0 {
		t.Fatalf("build-image: %s%s", out.stdout, out.stderr)
	}
	foreign := filepath.Join(r.work, "arm64")
	writeOCI(t, foreign, "arm64")
	arm := importedAMI(t, r.must(t, "pcluster", "sandbox", "import-image", "--name", "arm64", foreign))
	if status := r.ended(t, "beos"); status != "BUILD_COMPLETE" {
		t.Fatalf("beos: %s, %s", status, r.field(t, "beos", "imagebuilderImageStatusReason"))
	}
	before := images()

	builds := map[string]imageFault{
		"full":     {fill, nil, "No space left on device"},
		"hangs":    {"sleep 600", nil, "longer than the 2 seconds"},
		"off":      {"systemctl poweroff -ff; sleep 9", nil, "before its components are done"},
		"mirror":   {"true", []string{managed, r.field(t, "beos", "ec2AmiInfo.amiId"), "Build:\n", "Build:\n  UpdateOsPackages:\n    Enabled: true\n"}, "index files failed to download"},
		"small":    {"true", rootVolume(4), "InvalidBlockDeviceMapping: Volume of size 4GB is smaller than snapshot"},
		"system":   {"true", []string{managed, r.field(t, "beos", "ec2AmiInfo.amiId")}, "operating system is not supported: beos"},
		"arm":      {"true", []string{managed, arm, "m5.large", "m6g.large"}, "Unsupported: The machines of this sandbox are x86_64"},
		"mismatch": {"true", []string{managed, arm}, "InvalidParameterValue: The architecture 'x86_64' of the specified instance type does not match"},
	}
	// A program for the other processor need not be one: no machine gets as far.
	r.write(t, "pcluster-node-linux-arm64", "none")
	if err := os.Symlink(filepath.Join(root, "bin", "pcluster-node-linux-amd64"), filepath.Join(r.work, "pcluster-node-linux-amd64")); err != nil {
		t.Fatal(err)
	}
	for id, b := range builds {
		r := r
		if slices.Contains(b.changes, arm) {
			r.programs += r.work
		}
		if out := r.build(t, id, b.command, b.changes...); out.code != 0 {
			t.Fatalf("build-image of %s: %s%s", id, out.stdout, out.stderr)
		}
	}
	// And one whose test machine loses its power.
	const shot = "shot"
	if out := r.buildDocument(t, shot, r.read(t, "faults.yaml")+"  - name: test\n    steps:\n      - name: Hang\n        action: ExecuteBash\n        inputs: {commands: [sleep 600]}\n"); out.code != 0 {
		t.Fatalf("build-image of %s: %s%s", shot, out.stdout, out.stderr)
	}
	var tested string
	eventually(t, 2*time.Minute, "the test machine of "+shot+" runs", func() bool {
		tested = strings.TrimSpace(r.must(t, "aws", "ec2", "describe-instances", "--filters", "Name=tag:Name,Values=Test instance for ParallelClusterImage-"+shot,
			"Name=instance-state-name,Values=running", "--query", "Reservations[].Instances[].InstanceId", "--output", "text"))
		return tested != ""
	})
	r.must(t, "pcluster", "sandbox", "fault", "kill", tested)
	builds[shot] = imageFault{reason: "The test instance " + tested + " is "}

	for id, b := range builds {
		if status := r.ended(t, id); status != "BUILD_FAILED" {
			t.Errorf("%s: status %s", id, status)
		}
		if reason := r.field(t, id, "imagebuilderImageStatusReason"); !strings.Contains(reason, b.reason) {
			t.Errorf("%s: reason %q, want %q", id, reason, b.reason)
		}
		if stack := strings.TrimSpace(r.must(t, "aws", "cloudformation", "describe-stacks", "--stack-name", id, "--query", "Stacks[].StackStatus", "--output", "text")); stack != "CREATE_FAILED" {
			t.Errorf("%s: stack %s", id, stack)
		}
	}
	if log := r.must(t, "pcluster", "get-image-log-events", "--image-id", "full", "--log-stream-name", "3.16.100/1"); !strings.Contains(log, "No space left on device") {
		t.Errorf("the log of a build that filled its disk: %s", log)
	}
	if after := images(); after != before {
		t.Errorf("images %s, want those of before: %s", after, before)
	}

	// What the validators stop if nobody tells them not to.
	for name, tt := range map[string]struct {
		changes []string
		want    string
	}{
		"parent that is not there": {[]string{managed, "ami-0123456789abcdef0"}, "ami-0123456789abcdef0"},
		"parent of another kind":   {[]string{managed, arm}, "arm64"},
		"disk that is too small":   {rootVolume(4), "4"},
	} {
		r.write(t, "judged.yaml", strings.NewReplacer(tt.changes...).Replace(r.read(t, "ami-config.yaml")))
		if out := r.run(t, "pcluster", "build-image", "--image-id", "judged", "--image-configuration", "judged.yaml"); out.code != 1 || !strings.Contains(out.stdout, tt.want) {
			t.Errorf("%s: %d %s%s", name, out.code, out.stdout, out.stderr)
		}
	}
}

// TestImageOfALargerDisk builds with a root volume of the file's own, and begins the
// build twice at once.
func TestImageOfALargerDisk(t *testing.T) {
	r := startImageRegion(t)
	// The component is made once; both builds are of the same file.
	const id = "large"
	first := r.build(t, id, "df --output=size -BG / | tail -n 1 | tr -d ' ' >/etc/size-of-root", rootVolume(45)...)
	codes := make([]result, 3)
	var all sync.WaitGroup
	for i := range codes {
		all.Go(func() {
			codes[i] = r.run(t, "pcluster", "build-image", "--image-id", id+"-same", "--image-configuration", id+"-config.yaml", "--suppress-validators", "ALL")
		})
	}
	all.Wait()
	won := 0
	for _, c := range codes {
		if c.code == 0 {
			won++
		} else if !strings.Contains(c.stdout, "already exists") {
			t.Errorf("a second build of an ID: %d %s%s", c.code, c.stdout, c.stderr)
		}
	}
	if first.code != 0 || won != 1 {
		t.Errorf("%d of 3 builds of one ID began; the first of all: %d %s", won, first.code, first.stdout)
	}
	for _, id := range []string{id, id + "-same"} {
		if status := r.ended(t, id); status != "BUILD_COMPLETE" {
			t.Fatalf("%s: %s, %s", id, status, r.field(t, id, "imagebuilderImageStatusReason"))
		}
	}
	ami := r.field(t, id, "ec2AmiInfo.amiId")
	size := strings.TrimSpace(r.must(t, "aws", "ec2", "describe-images", "--image-ids", ami, "--query", "Images[0].BlockDeviceMappings[0].Ebs.[VolumeSize,SnapshotId]", "--output", "text"))
	if !strings.HasPrefix(size, "45\t") {
		t.Errorf("block device of the AMI: %s", size)
	}
	snapshot := strings.TrimPrefix(size, "45\t")
	if got := strings.TrimSpace(r.must(t, "aws", "ec2", "describe-snapshots", "--snapshot-ids", snapshot, "--query", "Snapshots[0].VolumeSize", "--output", "text")); got != "45" {
		t.Errorf("its snapshot: %s GiB", got)
	}
	r.write(t, "look.yaml", strings.Replace(r.read(t, "faults.yaml"), "default: 'true'", `default: "cat /etc/size-of-root; df --output=size -BG / | tail -n 1"`, 1))
	out := r.run(t, "pcluster", "component", "run", "look.yaml", "--parent-image", ami)
	if out.code != 0 || strings.Count(out.stderr, "45G") != 2 {
		t.Errorf("a machine of the AMI: %d %s%s", out.code, out.stdout, out.stderr)
	}
	for _, id := range []string{id, id + "-same"} {
		eventually(t, patience, "the stack of "+id+" is gone", func() bool {
			return r.run(t, "aws", "cloudformation", "describe-stacks", "--stack-name", id).code != 0
		})
		r.must(t, "pcluster", "delete-image", "--image-id", id)
	}
	if left := strings.TrimSpace(r.must(t, "aws", "ec2", "describe-snapshots", "--owner-ids", "self", "--filters", "Name=snapshot-id,Values="+snapshot, "--query", "Snapshots[].SnapshotId", "--output", "text")); left != "" {
		t.Errorf("a snapshot is left: %s", left)
	}
}

// needMirror skips a test on a host that reaches no mirror of Debian.
func needMirror(t *testing.T) {
	t.Helper()
	const mirror = "http://deb.debian.org/debian/dists/trixie/InRelease"
	client := http.Client{Timeout: 10 * time.Second}
	if res, err := client.Get(mirror); err != nil {
		t.Skipf("this host reaches no mirror of Debian: %v", err)
	} else if res.Body.Close(); res.StatusCode != http.StatusOK {
		t.Skipf("this host reaches no mirror of Debian: %s says %s", mirror, res.Status)
	}
}

// TestComponentsReachTheHostsMirror installs and updates packages from the mirror that
// this host uses. Security groups hold for the way there.
func TestComponentsReachTheHostsMirror(t *testing.T) {
	needMirror(t)
	r := startImageRegion(t)
	r.write(t, "mirror.yaml", `name: mirror
schemaVersion: 1.0
phases:
  - name: build
    steps:
      - name: Old
        action: ExecuteBash
        inputs:
          commands:
            - |
              set -eu
              mkdir -p /tmp/old/DEBIAN
              printf 'Package: hello\nVersion: 0.1\nArchitecture: all\nMaintainer: nobody <n@example.com>\nDescription: old\n' >/tmp/old/DEBIAN/control
              dpkg-deb --build /tmp/old /tmp/old.deb
              dpkg -i /tmp/old.deb
      - name: Update
        action: UpdateOS
        inputs: {include: [hello]}
      - name: Install
        action: ExecuteBash
        inputs: {commands: ["DEBIAN_FRONTEND=noninteractive apt-get -q -y install cowsay"]}
      - name: Elsewhere
        action: ExecuteBash
        inputs: {commands: ["! curl -sS http://www.example.com/"]}
  - name: test
    steps:
      - name: Installed
        action: ExecuteBash
        inputs: {commands: ["hello && /usr/games/cowsay moo"]}
`)
	if out := r.run(t, "pcluster", "component", "run", "mirror.yaml"); out.code != 0 || !strings.Contains(out.stderr, "Hello, world!") {
		t.Errorf("%d %s%s", out.code, out.stdout, out.stderr)
	}
	closed := strings.TrimSpace(r.must(t, "aws", "ec2", "create-security-group", "--group-name", "closed", "--description", "nothing gets out",
		"--vpc-id", strings.TrimSpace(r.must(t, "aws", "ec2", "describe-subnets", "--subnet-ids", "subnet-076ece71c00742d3c", "--query", "Subnets[0].VpcId", "--output", "text")), "--query", "GroupId", "--output", "text"))
	r.must(t, "aws", "ec2", "revoke-security-group-egress", "--group-id", closed, "--protocol", "-1", "--cidr", "0.0.0.0/0")
	r.write(t, "closed.yaml", strings.Replace(r.read(t, "faults.yaml"), "default: 'true'", `default: "curl -sS -m 1 http://deb.debian.org/"`, 1))
	out := r.run(t, "pcluster", "component", "run", "closed.yaml", "--subnet-id", "subnet-076ece71c00742d3c", "--security-group-ids", closed)
	if out.code != 1 || !strings.Contains(out.stderr, "timed out") {
		t.Errorf("without a rule for the way out: %d %s%s", out.code, out.stdout, out.stderr)
	}
}

// ourComponent is the document of a component as an image file with these attributes
// gets it.
func ourComponent(t *testing.T, id, attributes string) string {
	t.Helper()
	file, problems := config.ParseImage("image.yaml", fmt.Appendf(nil, "Build: {InstanceType: m5.large, ParentImage: ami-0123456789abcdef0}\nDevSettings: {Cookbook: {ExtraChefAttributes: '%s'}}\n", attributes))
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	template, err := stack.SynthesizeImage(file, stack.ImageParams{ImageID: "image", Region: "us-east-1", Account: "111122223333", Partition: "aws", Bucket: "b", ProgramSum: "00", ParentRootDevice: "/dev/xvda"})
	if err != nil {
		t.Fatal(err)
	}
	var out struct {
		Resources map[string]struct{ Properties struct{ Data string } }
	}
	if err := json.Unmarshal(template, &out); err != nil {
		t.Fatal(err)
	}
	text := out.Resources[id].Properties.Data
	if text == "" {
		t.Fatalf("an image has no %s", id)
	}
	return text
}

// TestSlurmOfTheOperatingSystem takes Slurm away from a machine, as from a plain Debian,
// and has our own component install it.
func TestSlurmOfTheOperatingSystem(t *testing.T) {
	needMirror(t)
	r := startRegion(t)
	document := ourComponent(t, "SlurmComponent", "")
	const purge = `
      - name: Plain
        action: ExecuteBash
        inputs:
          commands:
            - |
              set -eux
              export DEBIAN_FRONTEND=noninteractive
              apt-get -q -y purge 'slurm*' munge
              rm -rf /opt/slurm /etc/slurm
              for u in slurm munge; do ! id $u || userdel $u; done
`
	const look = `
      - name: Numbers
        action: ExecuteBash
        inputs:
          commands:
            - test "$(id -u slurm) $(id -u munge)" = '401 402' && test /opt/slurm/etc -ef /etc/slurm && ! systemctl -q is-enabled slurmd slurmctld
`
	text := strings.Replace(document, "    steps:\n", "    steps:"+purge, 1)
	at := strings.Index(text, "  - name: test\n    steps:\n") + len("  - name: test\n    steps:\n")
	if err := os.WriteFile(filepath.Join(r.work, "slurm.yaml"), []byte(text[:at-1]+look+text[at:]), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := r.run(t, "pcluster", "component", "run", "slurm.yaml"); out.code != 0 || !strings.Contains(out.stderr, "Setting up slurmctld") {
		t.Errorf("%d %s%s", out.code, out.stdout, out.stderr)
	}
}

// TestDebianHasTheComponentsPackages asks apt whether what our components install exists,
// and can be installed together, in the releases of Debian that clusters may have.
func TestDebianHasTheComponentsPackages(t *testing.T) {
	needMirror(t)
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skip("needs apt")
	}
	documents, err := stack.ImageDocuments()
	if err != nil {
		t.Fatal(err)
	}
	commands := regexp.MustCompile(`apt-get -q -y install ([^;|\n]*)`)
	needed := regexp.MustCompile(`need \S+ (\S+);?`)
	for suite, leaveOut := range map[string][]string{
		"bookworm": {"slurmctld "}, // its Slurm is too old: from source
		"trixie":   nil,
	} {
		var packages []string
		for _, text := range documents {
			name, _, _ := strings.Cut(strings.TrimPrefix(text, "name: "), "\n")
			if name == "DCV" || name == "NVIDIA" {
				continue // of their makers' repositories, not for Debian
			}
			text = strings.ReplaceAll(text, "\\\n", "")
			for _, m := range commands.FindAllStringSubmatch(text, -1) {
				list := m[1]
				if strings.Contains(list, "lustre") || slices.ContainsFunc(leaveOut, func(s string) bool { return strings.HasPrefix(list, s) }) {
					continue
				}
				packages = append(packages, slices.DeleteFunc(strings.Fields(list), func(w string) bool { return strings.ContainsAny(w, "$./\"") })...)
			}
			for line := range strings.Lines(text) {
				if strings.Contains(line, "debian*|ubuntu*)") {
					for _, m := range needed.FindAllStringSubmatch(line, -1) {
						packages = append(packages, strings.TrimSuffix(m[1], ";"))
					}
				}
			}
		}
		if len(packages) < 15 {
			t.Fatalf("%s: only %d packages are found in the components: %q", suite, len(packages), packages)
		}
		dir := t.TempDir()
		for _, sub := range []string{"etc/apt.conf.d", "etc/preferences.d", "etc/sources.list.d", "state/lists/partial", "cache/archives/partial"} {
			if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		source := "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian " + suite + " main\n"
		for name, text := range map[string]string{"etc/sources.list": source, "state/status": ""} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		apt := func(args ...string) (string, error) {
			options := []string{"-o", "Dir::Etc=" + dir + "/etc", "-o", "Dir::State=" + dir + "/state", "-o", "Dir::State::status=" + dir + "/state/status", "-o", "Dir::Cache=" + dir + "/cache",
				"-o", "APT::Architecture=amd64", "-o", "APT::Architectures::=amd64", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Languages=none", "-q"}
			out, err := exec.CommandContext(t.Context(), "apt-get", append(options, args...)...).CombinedOutput()
			return string(out), err
		}
		if out, err := apt("update"); err != nil {
			t.Fatalf("%s: %v\n%s", suite, err, out)
		}
		if out, err := apt(append([]string{"--simulate", "--no-install-recommends", "install"}, packages...)...); err != nil {
			t.Errorf("%s: %v\n%s", suite, err, out)
		}
	}
}

// importedAMI reads what import-image says.
func importedAMI(t *testing.T, said string) string {
	t.Helper()
	for _, word := range strings.Fields(said) {
		if word = strings.Trim(word, `",.:`); strings.HasPrefix(word, "ami-") {
			return word
		}
	}
	t.Fatalf("import-image names no AMI: %s", said)
	return ""
}

// writeOCI makes an OCI layout of an image that has an init and nothing else.
func writeOCI(t *testing.T, dir, architecture string) {
	t.Helper()
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		t.Fatal(err)
	}
	blob := func(data []byte) string {
		sum := sha256.Sum256(data)
		name := hex.EncodeToString(sum[:])
		if err := os.WriteFile(filepath.Join(blobs, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf(`{"digest": "sha256:%s", "size": %d`, name, len(data))
	}
	layer := blob(tarOf(t, "sbin/init", "#!/bin/sh\n"))
	config := blob(fmt.Appendf(nil, `{"architecture": %q, "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}`, architecture))
	manifest := blob(fmt.Appendf(nil, `{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": %s, "mediaType": "application/vnd.oci.image.config.v1+json"}, "layers": [%s, "mediaType": "application/vnd.oci.image.layer.v1.tar"}]}`, config, layer))
	for name, text := range map[string]string{
		"oci-layout": `{"imageLayoutVersion": "1.0.0"}`,
		"index.json": fmt.Sprintf(`{"schemaVersion": 2, "manifests": [%s, "mediaType": "application/vnd.oci.image.manifest.v1+json"}]}`, manifest),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// tarOf makes a tar archive of one program.
func tarOf(t *testing.T, name, text string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(text))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
