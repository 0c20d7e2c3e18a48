//go:build linux

package e2e

import (
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

var fromSource = flag.Bool("from-source", false, "build an image with Slurm from source, too")

// TestSlurmFromSource builds an image of Debian 12, whose Slurm is too old: munge, PMIx
// and Slurm from the sources in Debian's archive, which a bucket of the user's has. A
// cluster of the image runs jobs. Before that, builds end where a source is not what it
// should be.
func TestSlurmFromSource(t *testing.T) {
	if !*fromSource {
		t.Skip("takes twenty minutes and more: make from-source")
	}
	if runtime.GOARCH != "amd64" {
		t.Skip("the image file is one for amd64")
	}
	needMirror(t)
	dir := t.TempDir()
	system := filepath.Join(dir, "debian-12.tar")
	debian12(t, system)
	const bucket, folder = "sboinfrastructureassets", "sources"
	archives := debianSources(t, dir)

	r := startImageRegion(t)
	attributes := map[string]map[string]string{}
	for _, a := range archives {
		r.must(t, "aws", "s3", "cp", "--quiet", a.file, "s3://"+bucket+"/"+folder+"/"+a.as)
		attributes[a.group] = map[string]string{a.versionKey: a.version, "sha256": a.sum, "base_url": "https://" + bucket + ".s3.us-east-1.amazonaws.com/" + folder}
	}
	r.must(t, "aws", "s3api", "put-public-access-block", "--bucket", bucket, "--public-access-block-configuration",
		"BlockPublicPolicy=false,RestrictPublicBuckets=false,BlockPublicAcls=false,IgnorePublicAcls=false")
	r.must(t, "aws", "s3api", "put-bucket-policy", "--bucket", bucket, "--policy",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::`+bucket+`/`+folder+`/*"}]}`)
	parent := importedAMI(t, r.must(t, "pcluster", "sandbox", "import-image", "--name", "debian-12", system))
	build := func(id string) {
		given, err := json.Marshal(map[string]any{"cluster": attributes})
		if err != nil {
			t.Fatal(err)
		}
		r.write(t, id+".yaml", fmt.Sprintf(`Build:
  ParentImage: %s
  InstanceType: m5.large
  SubnetId: subnet-076ece71c00742d3c
  SecurityGroupIds: [sg-0b5941ba4f4d1a9ff]
  Installation: {LustreClient: {Enabled: false}}
DevSettings:
  DisableValidateAndTest: false
  Cookbook: {ExtraChefAttributes: '%s'}
`, parent, given))
		r.must(t, "pcluster", "build-image", "--image-id", id, "--image-configuration", id+".yaml")
	}

	t.Run("builds whose source is not what it should be", func(t *testing.T) {
		good := attributes["munge"]
		defer func() { attributes["munge"] = good }()
		left := func() string {
			layers, err := filepath.Glob(filepath.Join(r.home, "ec2", "layers", "*"))
			if err != nil {
				t.Fatal(err)
			}
			return strings.Join(layers, "\n") + r.must(t, "aws", "ec2", "describe-images", "--owners", "self", "--query", "sort(Images[].ImageId)") +
				r.must(t, "aws", "ec2", "describe-instances", "--filters", "Name=instance-state-name,Values=pending,running,stopping,stopped", "--query", "Reservations[].Instances[].InstanceId")
		}
		before := left()
		refuses := tarOf(t, "munge/configure", "#!/bin/sh\necho checking for a compiler\necho configure: error: there is none >&2\necho See config.log >&2\nexit 77\n")
		r.write(t, "refuses.tar", string(refuses))
		r.must(t, "aws", "s3", "cp", "--quiet", "refuses.tar", "s3://"+bucket+"/"+folder+"/munge-1.0.tar.gz")
		builds := map[string]struct{ version, sum, reason string }{
			"another-archive": {good["munge_version"], strings.Repeat("0", 64), "/munge-0.5.16.tar.gz is not the archive with the checksum 000000"},
			"no-archive":      {"2.0", strings.Repeat("0", 64), "/munge-2.0.tar.gz can't be fetched"},
			"no-compiler":     {"1.0", fmt.Sprintf("%x", sha256.Sum256(refuses)), "configure: error: there is none\nSee config.log"},
		}
		for id, b := range builds {
			attributes["munge"] = map[string]string{"munge_version": b.version, "sha256": b.sum, "base_url": good["base_url"]}
			build(id)
		}
		for id, b := range builds {
			eventually(t, 10*time.Minute, "the build of "+id+" is over", func() bool { return r.field(t, id, "imageBuildStatus") != "BUILD_IN_PROGRESS" })
			var reason string
			r.query(t, &reason, "pcluster", "describe-image", "--image-id", id, "--query", "imagebuilderImageStatusReason")
			if !strings.Contains(reason, "step Munge of phase build: exit status ") || !strings.Contains(reason, b.reason) {
				t.Errorf("%s: the reason is %q, want %q", id, reason, b.reason)
			}
			r.must(t, "pcluster", "delete-image", "--image-id", id)
		}
		if after := left(); after != before {
			t.Errorf("there is now %s\nwant what was there before: %s", after, before)
		}
	})

	const id = "from-source"
	build(id)
	eventually(t, 50*time.Minute, "the build is over", func() bool { return r.field(t, id, "imageBuildStatus") != "BUILD_IN_PROGRESS" })
	if status := r.field(t, id, "imageBuildStatus"); status != "BUILD_COMPLETE" {
		t.Fatalf("%s: %s", status, r.field(t, id, "imagebuilderImageStatusReason"))
	}
	// Debian's PMIx 4.2.2 says of itself that it is a candidate.
	for tag, want := range map[string]string{"slurm_version": "24.11.5", "munge_version": "0.5.16", "pmix_version": "4.2.2rc2", "os": "debian12"} {
		if got := r.field(t, id, "ec2AmiInfo.tags[?key=='parallelcluster:"+tag+"'].value | [0]"); got != want {
			t.Errorf("the image's tag %s is %q, want %q", tag, got, want)
		}
	}

	file := strings.NewReplacer("ami-042559ee751d3e522", r.field(t, id, "ec2AmiInfo.amiId"), "Os: alinux2023", "Os: debian12",
		"Scheduling:\n", "LoginNodes:\n  Pools:\n    - Name: people\n      InstanceType: t3.micro\n      Count: 1\n"+
			"      Networking: {SubnetIds: [subnet-076ece71c00742d3c], SecurityGroups: [sg-0b5941ba4f4d1a9ff]}\nScheduling:\n").Replace(r.read(t, "cluster.yaml"))
	r.write(t, "cluster.yaml", file)
	r.must(t, "pcluster", "create-cluster", "-n", "of-source", "-c", "cluster.yaml", "--wait")
	c := r.enter(t, "of-source", filepath.Join(r.home, "keys", "aws_coreservices.pem"), "admin")
	const node = "debug-dy-t3micro-1"
	for _, tt := range []struct{ line, want string }{
		{"id -un; /opt/slurm/sbin/slurmd -V", "admin\nslurm 24.11.5"},
		{"/opt/slurm/bin/srun -N1 hostname", node},
		{"/opt/slurm/bin/srun --mpi=list 2>&1 | grep -ow pmix | uniq", "pmix"},
		{"/opt/slurm/bin/srun -N1 -n2 --mpi=pmix /opt/slurm/sbin/slurmd -V", "slurm 24.11.5\nslurm 24.11.5"},
		{"cat >meet.c <<'C'\n" + meetByPMIx + "C\ngcc -I/opt/pmix/include -o meet meet.c -L/opt/pmix/lib -lpmix && /opt/slurm/bin/srun -N2 -n4 --mpi=pmix ./meet | sort",
			"0 of 4\n1 of 4\n2 of 4\n3 of 4"},
		{"id=$(/opt/slurm/bin/sbatch --parsable --wait -o out --wrap 'hostname; /opt/slurm/bin/srun /bin/pwd'); cat out; /opt/slurm/bin/scontrol show job $id | grep -o 'JobState=[A-Z]*'",
			node + "\n/home/admin\nJobState=COMPLETED"},
		{"test -e /opt/slurm/share/man/man1/srun.1", ""},
	} {
		if got := c.head(t, tt.line); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.line, got, tt.want)
		}
	}
	c.everyShellFindsSlurm(t, node, "/opt/slurm/bin")
	r.must(t, "pcluster", "delete-cluster", "-n", "of-source", "--wait")
	r.must(t, "pcluster", "delete-image", "--image-id", id)
}

// meetByPMIx is a program whose processes meet, as those of MPI do, and say who they are.
const meetByPMIx = `#include <stdio.h>
#include <pmix.h>
int main(void) {
	pmix_proc_t me, all;
	pmix_value_t *size;
	if (PMIx_Init(&me, NULL, 0) != PMIX_SUCCESS) return 1;
	PMIX_PROC_LOAD(&all, me.nspace, PMIX_RANK_WILDCARD);
	if (PMIx_Fence(&all, 1, NULL, 0) != PMIX_SUCCESS) return 2;
	if (PMIx_Get(&all, PMIX_JOB_SIZE, NULL, 0, &size) != PMIX_SUCCESS) return 3;
	printf("%u of %u\n", me.rank, size->data.uint32);
	return PMIx_Finalize(NULL, 0) != PMIX_SUCCESS;
}
`

// debian12 makes the root file system of a Debian 12 as an AMI of it has.
func debian12(t *testing.T, file string) {
	t.Helper()
	const packages = "systemd,systemd-sysv,dbus,libpam-systemd,udev,kmod,openssh-server,sudo,iproute2,netbase,hostname,procps,cloud-init,ca-certificates,curl,python3"
	mustRun(t, "", "mmdebstrap", "--mode=root", "--variant=minbase", "--format=tar", `--aptopt=APT::Install-Recommends "false"`,
		"--include="+packages, "bookworm", file, "http://deb.debian.org/debian")
}

// A sourceArchive is what a build fetches.
type sourceArchive struct{ group, versionKey, version, file, as, sum string }

// debianSources downloads what Debian's archive has the source of; apt compares it with
// the archive's signed lists. Debian's PMIx needs its patches, so that it is packed anew.
func debianSources(t *testing.T, dir string) []sourceArchive {
	t.Helper()
	var options []string
	for _, sub := range []string{"etc/apt.conf.d", "etc/preferences.d", "etc/sources.list.d", "state/lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	list := ""
	for _, suite := range []string{"bookworm", "trixie"} {
		list += "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian " + suite + " main\n"
	}
	for name, text := range map[string]string{"etc/sources.list": list, "state/status": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for key, value := range map[string]string{"Dir::Etc": "etc", "Dir::State": "state", "Dir::State::status": "state/status", "Dir::Cache": "cache"} {
		options = append(options, "-o", key+"="+filepath.Join(dir, value))
	}
	options = append(options, "-q", "-o", "APT::Sandbox::User=root")
	mustRun(t, dir, "apt-get", append(options, "update")...)
	mustRun(t, dir, "apt-get", append(options, "--tar-only", "source", "slurm-wlm/trixie", "munge/trixie")...)
	mustRun(t, dir, "apt-get", append(options, "source", "pmix/bookworm")...)
	mustRun(t, dir, "sh", "-c", "tar czf pmix.tar.gz pmix-4.2.2")
	out := []sourceArchive{
		{"slurm", "version", "24-11-5-1", "slurm-wlm_24.11.5.orig.tar.gz", "slurm-24-11-5-1.tar.gz", ""},
		{"munge", "munge_version", "0.5.16", "munge_0.5.16.orig.tar.gz", "munge-0.5.16.tar.gz", ""},
		{"pmix", "version", "4.2.2", "pmix.tar.gz", "pmix-4.2.2.tar.gz", ""},
	}
	for i := range out {
		out[i].file = filepath.Join(dir, out[i].file)
		out[i].sum = strings.Fields(mustRun(t, dir, "sha256sum", out[i].file))[0]
	}
	return out
}

// mustRun runs a program of the host.
func mustRun(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}
