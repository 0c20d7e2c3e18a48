package stack

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"pcluster/internal/config"
	"pcluster/internal/facts"
)

// shellPart returns the script of multipart user data.
func shellPart(t testing.TB, text string) string {
	t.Helper()
	_, script, ok := strings.Cut(text, "Content-Type: text/x-shellscript; charset=\"us-ascii\"\n\n")
	script, _, closed := strings.Cut(script, "\n--==NODE==--")
	if !ok || !closed {
		t.Fatalf("no script in\n%s", text)
	}
	return script
}

func scriptsOf(t testing.TB, file string) map[string]string {
	c := parse(t, file)
	out, err := Synthesize(c, account(t, c), params)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, body := range bodies(out) {
		for id, text := range userDataOf(t, read(t, body)) {
			all[id] = shellPart(t, text)
		}
	}
	return all
}

func TestUserDataIsValidShell(t *testing.T) {
	for _, file := range files(t) {
		for id, script := range scriptsOf(t, file) {
			cmd := exec.Command("bash", "-n")
			cmd.Stdin = strings.NewReader(script)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s: %s: %v\n%s", file, id, err, out)
			}
		}
	}
}

// Threads are turned off by what cloud-init runs at every boot, and only where the file
// asks for it.
func TestOneThreadPerCore(t *testing.T) {
	c := parse(t, "testdata/other-forms.yaml") // all but the login nodes
	out, err := Synthesize(c, account(t, c), params)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, body := range bodies(out) {
		for id, text := range userDataOf(t, read(t, body)) {
			_, text, _ = strings.Cut(text, "Content-Type: text/cloud-config; charset=\"us-ascii\"\n\n")
			text, _, _ = strings.Cut(text, "\n--==NODE==")
			var cloud struct{ Bootcmd [][]string }
			if err := yaml.Unmarshal([]byte(text), &cloud); err != nil {
				t.Fatalf("%s: %v\n%s", id, err, text)
			}
			want := !strings.HasPrefix(id, "LoginNode")
			got := len(cloud.Bootcmd) == 1 && len(cloud.Bootcmd[0]) == 3 && strings.Contains(cloud.Bootcmd[0][2], "/sys/devices/system/cpu/smt/control")
			if got != want {
				t.Errorf("%s: threads are turned off: %v, want %v\n%s", id, got, want, text)
			}
			seen++
		}
	}
	if seen != 3 {
		t.Errorf("%d kinds of nodes, want head, compute and login nodes", seen)
	}
}

func TestRootVolumesOfIsolatedRegions(t *testing.T) {
	for region, want := range map[string]int{"us-east-2": 0, "us-iso-east-1": 40, "us-isob-east-1": 40} {
		b := &builder{p: Params{Region: region}, f: &facts.Snapshot{}}
		for _, size := range []int{0, 100} {
			var root config.RootVolume
			if size > 0 {
				root.Size = &size
			}
			disks := b.disks("ami-0123456789abcdef0", root, true)
			got := 0
			if n := disks[len(disks)-1].Ebs.VolumeSize; n != nil {
				got = *n
			}
			if expected := max(want, size); got != expected {
				t.Errorf("%s: a root volume of %d GiB in the file has %d in the template", region, size, got)
			}
		}
	}
}

// machine is a directory in which a script runs as if it were the root of a node,
// with programs of the test's own in front of the real ones.
type machine struct{ root string }

func newMachine(t *testing.T, programs map[string]string) machine {
	m := machine{t.TempDir()}
	for name, body := range programs {
		m.write(t, "bin/"+name, "#!/bin/bash\n"+body)
	}
	return m
}

func (m machine) write(t *testing.T, name, body string) {
	t.Helper()
	path := filepath.Join(m.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(body), 0o755); err != nil {
		t.Fatal(err)
	}
}

func (m machine) read(name string) string {
	data, _ := os.ReadFile(filepath.Join(m.root, name))
	return string(data)
}

// run runs a script whose node program has the checksum of body.
func (m machine) run(t *testing.T, script, body string) (output string, err error) {
	t.Helper()
	sum, err := exec.Command("bash", "-c", "printf %s \"$1\" | sha256sum | cut -d' ' -f1", "-", body).Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, placeholder := range params.Programs {
		script = strings.ReplaceAll(script, "sum="+placeholder, "sum="+strings.TrimSpace(string(sum)))
	}
	script = strings.NewReplacer("/etc/parallelcluster", m.root+"/etc/parallelcluster", "/opt/parallelcluster", m.root+"/opt/parallelcluster",
		"export PATH=", "export PATH="+m.root+"/bin:", "sleep $attempt", "true", "sleep 5", "true").Replace(script)
	cmd := exec.Command("bash", "-c", script)
	cmd.Env = append(os.Environ(), "ROOT="+m.root)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// nodeProgram stands for pcluster-node.
const nodeProgram = "#!/bin/bash\necho \"ran with $*\"\n"

// metadataAndS3 answers as the metadata service and S3 do, and notes how it was asked.
const metadataAndS3 = `
url=${!#}
echo "$*" >> $ROOT/asked
case $url in
*/api/token) echo TOKEN ;;
*/security-credentials/) echo role ;;
*/security-credentials/role) printf '{\n "AccessKeyId" : "AKID",\n "SecretAccessKey" : "SE/CRET+",\n "Token" : "SESSION=="\n}\n' ;;
https://*/programs/*)
  cat > $ROOT/credentials
  while [ "$1" != -o ]; do shift; done
  printf %s "$PROGRAM" > "$2" ;;
*) cat > /dev/null; exit 22 ;;
esac
`

func computeScript(t *testing.T) string {
	for id, s := range scriptsOf(t, "testdata/storage.yaml") {
		if strings.HasPrefix(id, "LaunchTemplate") {
			return s
		}
	}
	t.Fatal("no compute launch template")
	return ""
}

func headScript(t *testing.T) string {
	return scriptsOf(t, "testdata/storage.yaml")["HeadNodeLaunchTemplate"]
}

func TestNodeFetchesItsProgramAndBoots(t *testing.T) {
	m := newMachine(t, map[string]string{"curl": metadataAndS3, "poweroff": "echo poweroff", "aws": "exit 1"})
	t.Setenv("PROGRAM", nodeProgram)
	out, err := m.run(t, computeScript(t), nodeProgram)
	if err != nil || !strings.Contains(out, "ran with boot") || strings.Contains(out, "poweroff") {
		t.Fatalf("%v\n%s", err, out)
	}
	if got := m.read("credentials"); !strings.Contains(got, `user = "AKID:SE/CRET+"`) || !strings.Contains(got, `header = "x-amz-security-token: SESSION=="`) {
		t.Errorf("curl is given\n%s", got)
	}
	if strings.Contains(m.read("asked"), "SECRET") || strings.Contains(m.read("asked"), "SE/CRET") {
		t.Error("credentials can be seen in the list of processes")
	}
	if got := m.read("etc/parallelcluster/node.json"); !strings.Contains(got, `"scheduler_compute_resource_name": "c1"`) {
		t.Errorf("node.json is\n%s", got)
	}
	info, err := os.Stat(filepath.Join(m.root, "etc/parallelcluster/node.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("node.json: %v, %v", info.Mode(), err)
	}
}

func TestNodeWithTheProgramFetchesNothing(t *testing.T) {
	m := newMachine(t, map[string]string{"curl": "echo asked; exit 1", "aws": "echo asked; exit 1"})
	m.write(t, "opt/parallelcluster/bin/pcluster-node", nodeProgram)
	out, err := m.run(t, computeScript(t), nodeProgram)
	if err != nil || out != "ran with boot\n" {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestNodeWithAnOldCurlFetchesWithTheCommandLine(t *testing.T) {
	m := newMachine(t, map[string]string{"curl": "exit 2", "aws": `printf %s "$PROGRAM" > "${!#}"`})
	t.Setenv("PROGRAM", nodeProgram)
	if out, err := m.run(t, computeScript(t), nodeProgram); err != nil || !strings.Contains(out, "ran with boot") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestComputeNodeWithoutProgramPowersOff(t *testing.T) {
	m := newMachine(t, map[string]string{"curl": metadataAndS3, "poweroff": "echo poweroff", "aws": "exit 1"})
	t.Setenv("PROGRAM", "something else")
	out, err := m.run(t, computeScript(t), nodeProgram)
	if err == nil || !strings.Contains(out, "can't be fetched") || !strings.Contains(out, "poweroff") || strings.Contains(out, "ran with") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestComputeNodeThatFailsToBootPowersOff(t *testing.T) {
	program := "#!/bin/bash\nexit 3\n"
	m := newMachine(t, map[string]string{"poweroff": "echo poweroff"})
	m.write(t, "opt/parallelcluster/bin/pcluster-node", program)
	if out, err := m.run(t, computeScript(t), program); err == nil || !strings.Contains(out, "boot failed with status 3") || !strings.Contains(out, "poweroff") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestHeadNodeWithoutProgramSignalsTheStack(t *testing.T) {
	m := newMachine(t, map[string]string{"curl": `case "$*" in *FAILURE*) printf '%s\n' "$@" > $ROOT/signal ;; *) exit 7 ;; esac`, "aws": "exit 1"})
	out, err := m.run(t, headScript(t), nodeProgram)
	if err == nil {
		t.Errorf("the script succeeds\n%s", out)
	}
	signal := m.read("signal")
	if !strings.Contains(signal, `"Status":"FAILURE"`) || !strings.Contains(signal, "Failed to bootstrap the head node: the node program") ||
		!strings.Contains(signal, "https://sample.example/WaitHandle?a=b&c=d") {
		t.Errorf("the stack gets\n%s", signal)
	}
}
