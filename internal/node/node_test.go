package node

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/google/go-cmp/cmp"

	"pcluster/internal/config"
	"pcluster/internal/fleet"
	"pcluster/internal/node/actions"
	"pcluster/internal/node/spec"
	"pcluster/internal/node/steps"
	"pcluster/internal/slurm"
)

// testHost is a machine below a temporary directory. It notes the programs that are run.
func testHost(t *testing.T) (*Host, *[]string) {
	t.Helper()
	var ran []string
	h := &Host{Root: t.TempDir(), Run: func(_ context.Context, name string, args ...string) (string, error) {
		ran = append(ran, strings.Join(append([]string{name}, args...), " "))
		return "", nil
	}}
	for path, content := range map[string]string{
		"/etc/passwd":           "root:x:0:0:root:/root:/bin/bash\nec2-user:x:1000:1000::/home/ec2-user:/bin/bash\n",
		"/etc/group":            "root:x:0:\nec2-user:x:1000:\n",
		"/etc/sudoers.d/README": "",
	} {
		put(t, h, path, content)
	}
	return h, &ran
}

func put(t *testing.T, h *Host, path, content string) {
	t.Helper()
	if err := h.write(path, 0o644, rootUser, []byte(content)); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, h *Host, path string) string {
	t.Helper()
	data, err := h.read(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func headSpec() *spec.Node {
	return &spec.Node{
		NodeType: spec.Head, StackName: "demo", ClusterName: "demo", Region: "us-east-1", ClusterUser: "ec2-user", Scheduler: "slurm",
		WaitHandle: "https://example.com/secret", DNSDomain: "demo.pcluster.", HostedZone: "Z1", LogGroup: "NONE",
	}
}

func TestLayout(t *testing.T) {
	h, _ := testHost(t)
	self := &Identity{InstanceID: "i-1", Addr: "10.0.1.2", Hostname: "ip-10-0-1-2.ec2.internal"}
	for range 2 { // a second boot finds everything there
		if err := h.layout(headSpec(), self); err != nil {
			t.Fatal(err)
		}
	}
	dna := get(t, h, "/etc/chef/dna.json")
	if strings.Contains(dna, "secret") {
		t.Error("dna.json, which all users can read, has the URL that signals the stack")
	}
	var file spec.File
	if err := json.Unmarshal([]byte(dna), &file); err != nil || file.Cluster.NodeType != spec.Head {
		t.Errorf("dna.json: %v, %s", err, dna)
	}
	if got := get(t, h, "/etc/parallelcluster/cfnconfig"); !strings.Contains(got, "cfn_node_type=HeadNode\n") || !strings.Contains(got, "stack_name=demo\n") {
		t.Errorf("cfnconfig:\n%s", got)
	}
	if got := get(t, h, "/opt/parallelcluster/.bootstrapped"); got != "aws-parallelcluster-cookbook-"+config.ToolVersion+"\n" {
		t.Errorf(".bootstrapped: %q", got)
	}
	info, err := os.Stat(h.path("/var/log/parallelcluster"))
	if err != nil || info.Mode().Perm() != 0o777 || info.Mode()&os.ModeSticky == 0 {
		t.Errorf("log directory: %v, %v", info, err)
	}
}

func TestUsersAreMadeOnce(t *testing.T) {
	h, ran := testHost(t)
	if err := h.ensureUsers(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"groupadd -g 400 pcluster-admin", "useradd -u 400 -g pcluster-admin -d /home/pcluster-admin -M -s /bin/bash pcluster-admin",
		"groupadd -g 401 slurm", "useradd -u 401 -g slurm -d /home/slurm -M -s /bin/bash slurm",
		"groupadd -g 402 munge", "useradd -u 402 -g munge -d /home/munge -M -s /usr/sbin/nologin munge",
		"groupadd -g 405 pcluster-slurm-share", "usermod -a -G pcluster-slurm-share slurm", "usermod -a -G pcluster-slurm-share pcluster-admin",
	}
	if diff := cmp.Diff(want, *ran); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	put(t, h, "/etc/passwd", "pcluster-admin:x:400:400::/:/bin/sh\nslurm:x:64030:64030::/:/bin/sh\nmunge:x:402:402::/:/bin/sh\n")
	put(t, h, "/etc/group", "pcluster-slurm-share:x:405:slurm\n")
	*ran = nil
	if err := h.ensureUsers(t.Context()); err != nil || len(*ran) > 0 {
		t.Errorf("with all users there: %v, %v", *ran, err)
	}
}

func TestExports(t *testing.T) {
	old := "# mine\n/data *(ro)\n/opt/slurm 10.1.0.0/16(rw)\n"
	want := "# mine\n/data *(ro)\n" +
		"/home 10.0.0.0/16(rw,sync,no_root_squash) 10.9.0.0/16(rw,sync,no_root_squash)\n" +
		"/opt/slurm 10.0.0.0/16(rw,sync,no_root_squash) 10.9.0.0/16(rw,sync,no_root_squash)\n"
	got := exports(old, []string{"/home", "/opt/slurm"}, []string{"10.0.0.0/16", "10.9.0.0/16"})
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if again := exports(string(got), []string{"/home", "/opt/slurm"}, []string{"10.0.0.0/16", "10.9.0.0/16"}); string(again) != string(got) {
		t.Errorf("a second time:\n%s", again)
	}
}

func TestSearchDomain(t *testing.T) {
	for old, want := range map[string]string{
		"":                      "search demo.pcluster\n",
		"nameserver 10.0.0.2\n": "search demo.pcluster\nnameserver 10.0.0.2\n",
		"search ec2.internal\nnameserver 10.0.0.2\n":               "search ec2.internal demo.pcluster\nnameserver 10.0.0.2\n",
		"search ec2.internal demo.pcluster\nnameserver 10.0.0.2\n": "search ec2.internal demo.pcluster\nnameserver 10.0.0.2\n",
	} {
		if got := string(search(old, "demo.pcluster")); got != want {
			t.Errorf("search(%q) = %q, want %q", old, got, want)
		}
	}
}

func TestHostsFile(t *testing.T) {
	h, _ := testHost(t)
	put(t, h, "/etc/hosts", "127.0.0.1 localhost\n10.0.1.5 ip-10-0-1-5\n")
	self := &Identity{Addr: "10.0.1.5", Hostname: "ip-10-0-1-5.ec2.internal"}
	for range 2 {
		if err := h.takeName(&spec.Node{NodeType: spec.Compute, DNSDomain: "demo.pcluster."}, self, "q-dy-c-1"); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := get(t, h, "/etc/hosts"), "10.0.1.5 q-dy-c-1.demo.pcluster q-dy-c-1\n127.0.0.1 localhost\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := get(t, h, pluginDir+"/slurm_nodename"); got != "q-dy-c-1" {
		t.Errorf("slurm_nodename: %q", got)
	}
	if got := get(t, h, pluginDir+"/slurm_node_spec.json"); !strings.Contains(got, `"node-type":"dynamic"`) {
		t.Errorf("slurm_node_spec.json: %s", got)
	}
}

func TestAddressPatterns(t *testing.T) {
	for block, want := range map[string]string{
		"10.0.0.0/16":   "10.0.*",
		"10.0.0.0/8":    "10.*",
		"10.0.64.0/18":  "10.0.64.*|10.0.127.*",
		"10.0.1.128/25": "10.0.1.128|10.0.1.255",
		"192.0.2.7/32":  "192.0.2.7",
		"fd00::/8":      "",
	} {
		got := patterns(block)
		ends := got
		if len(got) > 2 {
			ends = []string{got[0], got[len(got)-1]}
		}
		if strings.Join(ends, "|") != want {
			t.Errorf("patterns(%s) = %v, want %s", block, got, want)
		}
	}
}

type fakeSecrets map[string]string

func (f fakeSecrets) secret(_ context.Context, arn string) (string, error) {
	v, ok := f[arn]
	if !ok {
		return "", fmt.Errorf("secret %s: ResourceNotFoundException", arn)
	}
	return v, nil
}

func TestMungeKey(t *testing.T) {
	h, ran := testHost(t)
	put(t, h, "/usr/lib/systemd/system/munge.service", "")
	if err := h.makeMungeKey(t.Context(), nil, ""); err != nil {
		t.Fatal(err)
	}
	first := get(t, h, sharedMungeKey)
	if len(first) != mungeKeyBytes || get(t, h, mungeKey) != first {
		t.Errorf("a key of %d bytes is shared", len(first))
	}
	if !slices.Contains(*ran, "systemctl restart munge.service") {
		t.Errorf("munge was not started: %v", *ran)
	}
	if err := h.makeMungeKey(t.Context(), nil, ""); err != nil || get(t, h, mungeKey) != first {
		t.Errorf("a second boot makes another key (%v)", err)
	}
	key := strings.Repeat("k", 128)
	secrets := fakeSecrets{"arn:good": base64.StdEncoding.EncodeToString([]byte(key)) + "\n", "arn:short": "AAAA", "arn:text": "no base64!"}
	if err := h.makeMungeKey(t.Context(), secrets, "arn:good"); err != nil || get(t, h, mungeKey) != key {
		t.Errorf("the user's key is not used: %v", err)
	}
	for _, bad := range []string{"arn:short", "arn:text", "arn:none"} {
		if err := h.makeMungeKey(t.Context(), secrets, bad); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestSlurmOfTheDistributionIsLinked(t *testing.T) {
	h, _ := testHost(t)
	if err := h.slurmTree(); err == nil {
		t.Error("an image without Slurm passes")
	}
	for _, p := range []string{"/usr/sbin/slurmctld", "/usr/sbin/slurmd", "/usr/bin/sbatch", "/usr/bin/scontrol", "/usr/bin/ls"} {
		put(t, h, p, "")
	}
	for range 2 {
		if err := h.slurmTree(); err != nil {
			t.Fatal(err)
		}
	}
	if target, err := os.Readlink(h.path("/opt/slurm/bin/scontrol")); err != nil || target != "/usr/bin/scontrol" {
		t.Errorf("scontrol: %s, %v", target, err)
	}
	if h.exists("/opt/slurm/bin/ls") {
		t.Error("ls is linked as a program of Slurm's")
	}
	if target, err := os.Readlink(h.path("/etc/slurm")); err != nil || target != slurm.ConfDir {
		t.Errorf("/etc/slurm: %s, %v", target, err)
	}
}

func TestSlurmThatIsTooOldIsNamed(t *testing.T) {
	h, _ := testHost(t)
	for said, want := range map[string]string{
		"slurm 24.11.5\n":     "<nil>",
		"of my own\n":         "<nil>",
		"slurm-wlm 22.05.8\n": "the image has slurm-wlm 22.05.8, and clusters need Slurm 23.11 or later: take an image that build-image has made",
	} {
		h.Run = func(context.Context, string, ...string) (string, error) { return said, nil }
		if err := h.checkSlurm(t.Context(), "slurmctld"); fmt.Sprint(err) != want {
			t.Errorf("%q: %v", said, err)
		}
	}
}

// What shells source to find Slurm works with an environment that has no MANPATH, in
// shells that stop at what is not set, and from both places.
func TestShellsFindSlurm(t *testing.T) {
	h, _ := testHost(t)
	if err := errors.Join(h.profile(), h.shellSettings(slurm.ConfDir)); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"/etc/profile.d", slurm.ConfDir} {
		for _, tt := range []struct {
			env  []string
			want string
		}{
			{[]string{"PATH=/bin"}, "/bin:/opt/slurm/bin :/opt/slurm/share/man\n"},
			{[]string{"PATH=/bin", "MANPATH=/my man"}, "/bin:/opt/slurm/bin /my man:/opt/slurm/share/man\n"},
		} {
			cmd := exec.Command("/bin/sh", "-euc", `. "$0"; exec /bin/sh -c 'echo "$PATH $MANPATH"'`, h.path(dir+"/slurm.sh"))
			cmd.Env = tt.env
			if out, err := cmd.CombinedOutput(); err != nil || string(out) != tt.want {
				t.Errorf("%s with %q: %v, %q, want %q", dir, tt.env, err, out, tt.want)
			}
		}
	}
}

func TestSlurmConfigurationKeepsWhatUsersChanged(t *testing.T) {
	h, _ := testHost(t)
	c := new(config.Cluster)
	facts := slurm.Facts{ClusterName: "demo", HeadName: "head", HeadAddress: "10.0.0.1"}
	if err := h.configureSlurm(c, facts); err != nil {
		t.Fatal(err)
	}
	put(t, h, slurm.ConfDir+"/slurm.conf", "mine\n")
	put(t, h, slurm.ConfDir+"/slurm_parallelcluster.conf", "mine\n")
	if err := h.configureSlurm(c, facts); err != nil {
		t.Fatal(err)
	}
	if got := get(t, h, slurm.ConfDir+"/slurm.conf"); got != "mine\n" {
		t.Error("slurm.conf was written again")
	}
	if got := get(t, h, slurm.ConfDir+"/slurm_parallelcluster.conf"); got == "mine\n" {
		t.Error("slurm_parallelcluster.conf was not written again")
	}
	for _, script := range []string{"prolog.d/90_pcluster_health_check_manager", "epilog.d/90_pcluster_noop"} {
		if target, err := os.Readlink(h.path(slurm.ConfDir + "/scripts/" + script)); err != nil || !h.exists(target) {
			t.Errorf("%s: %s, %v", script, target, err)
		}
	}
}

func TestUnitsAreReadAgainOnlyIfNeeded(t *testing.T) {
	h, ran := testHost(t)
	put(t, h, "/usr/lib/systemd/system/slurmd.service", "the distribution's")
	need := "NeedDaemonReload=no\n"
	h.Run = func(_ context.Context, name string, args ...string) (string, error) {
		*ran = append(*ran, strings.Join(append([]string{name}, args...), " "))
		return need, nil
	}
	units := append(everywhereUnits(), computeUnits()...)
	install := func() []string {
		*ran = nil
		if err := h.installUnits(t.Context(), units); err != nil {
			t.Fatal(err)
		}
		return *ran
	}
	ask := "systemctl show --property=NeedDaemonReload slurmd.service"
	if got := install(); !slices.Equal(got, []string{ask}) {
		t.Errorf("at first: %v", got)
	}
	if got := install(); len(got) > 0 {
		t.Errorf("with nothing changed: %v", got)
	}
	put(t, h, unitDir+"slurmd.service", "older")
	need = "NeedDaemonReload=yes\n"
	if got := install(); !slices.Equal(got, []string{ask, "systemctl daemon-reload"}) {
		t.Errorf("with another unit loaded: %v", got)
	}
	if target, err := os.Readlink(h.path(unitDir + "multi-user.target.wants/slurmd.service")); err != nil || target != unitDir+"slurmd.service" {
		t.Errorf("slurmd is not enabled: %s, %v", target, err)
	}
}

func TestProgramsOfSlurmctldExist(t *testing.T) {
	h, _ := testHost(t)
	if err := h.installFleetPrograms(); err != nil {
		t.Fatal(err)
	}
	var conf string
	for _, f := range slurm.Render(new(config.Cluster), slurm.Facts{}) {
		if f.Path == "slurm.conf" {
			conf = string(f.Content)
		}
	}
	for line := range strings.Lines(conf) {
		if key, path, _ := strings.Cut(strings.TrimSpace(line), "="); strings.HasPrefix(path, slurm.ProgramDir) {
			if target, err := os.Readlink(h.path(path)); err != nil || target != Program {
				t.Errorf("%s is %s, which is no link to the program: %v", key, path, err)
			}
			if _, ok := fleetPrograms[filepath.Base(path)]; !ok {
				t.Errorf("the program does not know what to do as %s", path)
			}
		}
	}
}

func TestSignal(t *testing.T) {
	var got signal
	attempts := 0
	stack := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if attempts++; attempts == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		body, _ := io.ReadAll(r.Body)
		if len(body) > maxReason {
			t.Errorf("the body has %d bytes", len(body))
		}
		if r.Method != http.MethodPut || r.Header.Get("Content-Type") != "" {
			t.Errorf("%s with content type %q", r.Method, r.Header.Get("Content-Type"))
		}
		if err := json.Unmarshal(body, &got); err != nil {
			t.Error(err)
		}
	}))
	defer stack.Close()
	long := "Failed to execute OnNodeConfigured script: " + strings.Repeat("\"\n", 4000) + "the end"
	if err := Signal(t.Context(), stack.URL, "FAILURE", "i-1", long); err != nil {
		t.Fatal(err)
	}
	if got.Status != "FAILURE" || !strings.HasPrefix(got.Reason, "Failed to execute OnNodeConfigured script") || !strings.HasSuffix(got.Reason, "the end") {
		t.Errorf("got %+v", got)
	}
}

func TestReasonsHaveTheTextsThatToolsLookFor(t *testing.T) {
	action := &actions.Failure{Event: actions.OnNodeConfigured, Stage: actions.Execute, Step: 2, Of: 3, Script: "s3://b/setup.sh", ExitCode: 3, Output: "boom"}
	for _, tt := range []struct {
		err    error
		prefix string
		parts  []string
	}{
		{&steps.Error{Step: "OnNodeConfigured", Err: action}, "Failed to execute OnNodeConfigured script", []string{"s3://b/setup.sh", "exit code 3", "boom"}},
		{&steps.Error{Step: "mount data", Err: errors.New("Failed to mount EFS data at /data: no such host")}, "Failed to mount EFS", nil},
		{&steps.Error{Step: "slurmctld", Err: errors.New("it does not answer")}, "Failed to bootstrap the head node", []string{"slurmctld", "it does not answer"}},
		{errors.New("cluster file: access denied"), "Failed to bootstrap the head node", []string{"cluster file"}},
	} {
		got := reason(tt.err)
		if !strings.HasPrefix(got, tt.prefix) {
			t.Errorf("%q does not begin with %q", got, tt.prefix)
		}
		for _, p := range tt.parts {
			if !strings.Contains(got, p) {
				t.Errorf("%q does not say %q", got, p)
			}
		}
	}
}

func TestComplaintsOfNodesAreFound(t *testing.T) {
	h, _ := testHost(t)
	n := &node{Host: h}
	if got := n.complaint(); got != "" {
		t.Errorf("without consoles: %q", got)
	}
	put(t, h, "/var/log/parallelcluster/compute_console_output.log", "x - Console of q (i-1): cloud-init[2]: boot failed: no such volume\nx - Console of q (i-1): Powering off.\n")
	if got := n.complaint(); got != "; one of them said: no such volume" {
		t.Errorf("got %q", got)
	}
}

func TestFailureEvents(t *testing.T) {
	n := &node{self: &Identity{InstanceID: "i-1"}, name: "q-dy-c-1"}
	told := &spec.Node{NodeType: spec.Compute, ClusterName: "demo", Scheduler: "slurm", Queue: "q", ComputeResource: "c"}
	err := &steps.Error{Step: "OnNodeStart", Err: &actions.Failure{Event: actions.OnNodeStart, Stage: actions.Download, Step: 1, Of: 1, ExitCode: -1}}
	var e map[string]any
	if err := json.Unmarshal(n.failureEvent(told, err), &e); err != nil {
		t.Fatal(err)
	}
	detail := e["detail"].(map[string]any)
	if e["event-type"] != "custom-action-error" || detail["action"] != "OnNodeStart" || detail["stage"] != "downloading" || e["compute"] == nil {
		t.Errorf("got %v", e)
	}
}

func TestSettingsOfTheFleet(t *testing.T) {
	p := fleet.DefaultPolicy()
	err := applySettings(&p, "# comment\n[clustermgtd]\ninsufficient_capacity_timeout = 30.5\nprotected_failure_count=-1\nterminate_drain_nodes = false\nloop_time = 60\nproxy = NONE\n")
	if err != nil || p.CapacityTimeout != 30500*time.Millisecond || p.ProtectedFailures != -1 || !p.KeepDrained || p.KeepDown {
		t.Errorf("got %+v, %v", p, err)
	}
	for line, why := range map[string]string{
		"protected_failure_count = many":      "line 2: protected_failure_count = many: not a whole number",
		"terminate_down_nodes = perhaps":      "line 2: terminate_down_nodes = perhaps: neither true nor false",
		"health_check_timeout =":              "line 2: health_check_timeout = : not a number of seconds",
		"insufficient_capacity_timeout = NaN": "line 2: insufficient_capacity_timeout = NaN: not a number of seconds",
	} {
		p := fleet.DefaultPolicy()
		err := applySettings(&p, "cut_off_timeout = 60\n"+line+"\nnode_progress_timeout = 60")
		if err == nil || err.Error() != why {
			t.Errorf("%q: %v", line, err)
		}
		want := fleet.DefaultPolicy()
		want.CutOffTimeout, want.Progress = time.Minute, time.Minute
		if diff := cmp.Diff(want, p); diff != "" {
			t.Errorf("%q, beside lines that are well (-want +got):\n%s", line, diff)
		}
	}
	for text, want := range map[string]time.Duration{"-5": 0, "1e12": 100 * 365 * 24 * time.Hour, "1e999": 100 * 365 * 24 * time.Hour, "inf": 100 * 365 * 24 * time.Hour} {
		if got, err := seconds(text); err != nil || got != want {
			t.Errorf("%s seconds are %v, %v", text, got, err)
		}
	}
	err = applySettings(&p, "disable_all_cluster_management = True\nnode_replacement_timeout = 900\nec2_instance_missing_max_count = 3\ncompute_console_logging_enabled = false")
	if err != nil || !p.HandsOff || p.StaticTimeout != 15*time.Minute || p.MissingTimeout != 3*time.Minute || !p.NoConsoles {
		t.Errorf("got %+v, %v", p, err)
	}
	err = applySettings(&p, "cut_off_timeout = 3600\ncapacity_block_lead = 86400")
	if err != nil || p.CutOffTimeout != time.Hour || p.BlockLead != 24*time.Hour {
		t.Errorf("got %+v, %v", p, err)
	}
	err = applySettings(&p, "heartbeat_file_path = /shared/heartbeat")
	if err != nil || p.HeartbeatFile != "/shared/heartbeat" {
		t.Errorf("got %+v, %v", p, err)
	}
	p = fleet.DefaultPolicy()
	if err := applySettings(&p, settingsTemplate); err != nil || !cmp.Equal(p, fleet.DefaultPolicy()) {
		t.Errorf("the file that is installed changes the defaults: %+v, %v", p, err)
	}
}

// A mistake in a file that users tune costs nothing but the setting: what was set before
// goes on, also for a daemon that starts.
func TestSettingsThatCanNotBeRead(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		changed := time.Now().Add(time.Duration(len(text)) * time.Second) // however coarse its clock is
		if err := os.Chtimes(path, changed, changed); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cluster := write("cluster.yaml", "Image:\n  Os: ubuntu2204\nHeadNode:\n  InstanceType: t3.small\n  Networking:\n    SubnetId: subnet-12345678\n"+
		"Scheduling:\n  Scheduler: slurm\n  SlurmQueues:\n  - Name: q\n    Networking:\n      SubnetIds: [subnet-12345678]\n    ComputeResources:\n    - Name: c\n      InstanceType: c5.large\n")
	settings := write("clustermgtd.conf", "protected_failure_count = many\ncut_off_timeout = 60\n")
	r := &policyReader{cluster: "demo", config: cluster, settings: []string{settings, filepath.Join(dir, "nobody has made it")}}
	for range 2 {
		p, err := r.read()
		if err == nil || !strings.Contains(err.Error(), settings+": line 1: protected_failure_count") {
			t.Errorf("the mistake: %v", err)
		}
		if p.Cluster != "demo" || p.CutOffTimeout != time.Minute || p.ProtectedFailures != fleet.DefaultPolicy().ProtectedFailures {
			t.Errorf("a daemon starts with %+v", p)
		}
	}
	write("clustermgtd.conf", "protected_failure_count = 5\n")
	if p, err := r.read(); err != nil || p.ProtectedFailures != 5 || p.CutOffTimeout == time.Minute {
		t.Errorf("when it is mended: %+v, %v", p, err)
	}
	write("clustermgtd.conf", "protected_failure_count = few\ncut_off_timeout = 60\n#")
	if p, err := r.read(); err == nil || p.ProtectedFailures != 5 || p.CutOffTimeout == time.Minute {
		t.Errorf("with another mistake: %+v, %v", p, err)
	}
}

// Every key that ParallelCluster's daemons read, and every one of ours, has its line in the
// documentation.
func TestEveryKeyOfTheFleetsSettingsIsExplained(t *testing.T) {
	doc, err := os.ReadFile("../../docs/fleet.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("settings.go")
	if err != nil {
		t.Fatal(err)
	}
	var ours []string
	for _, m := range regexp.MustCompile(`case "([a-z_0-9]+)":`).FindAllStringSubmatch(string(source), -1) {
		ours = append(ours, m[1])
	}
	for _, key := range append(ours,
		"assign_node_max_batch_size", "boto3_retry", "cluster_name", "clustermgtd_timeout", "compute_console_logging_enabled",
		"compute_console_logging_max_sample_size", "compute_console_wait_time", "create_fleet_overrides", "disable_all_cluster_management",
		"disable_all_health_checks", "disable_capacity_blocks_management", "disable_computemgtd_actions", "disable_ec2_health_check",
		"disable_scheduled_event_health_check", "dns_domain", "dynamodb_table", "ec2_instance_missing_max_count", "fleet_config_file",
		"head_node_hostname", "head_node_private_ip", "health_check_timeout", "health_check_timeout_after_slurmdstarttime", "heartbeat_file_path",
		"hosted_zone", "instance_id", "insufficient_capacity_timeout", "launch_max_batch_size", "logging_config", "loop_time",
		"node_replacement_timeout", "orphaned_instance_timeout", "protected_failure_count", "proxy", "region", "run_instances_overrides",
		"slurm_nodename_file", "terminate_down_nodes", "terminate_drain_nodes", "terminate_max_batch_size", "update_node_address",
		"use_private_hostname", "worker_pool_max_backlog", "worker_pool_size",
	) {
		if !strings.Contains(string(doc), "`"+key+"`") {
			t.Errorf("docs/fleet.md says nothing of %s", key)
		}
	}
}

func TestStaticNodesOfACapacityBlockAreNotWaitedFor(t *testing.T) {
	left := notUp([]slurm.Node{
		{Name: "up", State: "IDLE+CLOUD"},
		{Name: "reserved", State: "IDLE+CLOUD+MAINTENANCE+POWERED_DOWN+RESERVED"},
		{Name: "booting", State: "IDLE+CLOUD+POWERING_UP"},
		{Name: "down", State: "DOWN+CLOUD"},
	})
	var names []string
	for _, n := range left {
		names = append(names, n.Name)
	}
	if diff := cmp.Diff([]string{"booting", "down"}, names); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestStepsOfAllNodesFitTogether(t *testing.T) {
	c := &config.Cluster{SharedStorage: []config.SharedStorage{
		{Name: "home", StorageType: config.Efs, MountDir: "home"}, {Name: "data", StorageType: config.FsxLustre, MountDir: "/data"},
	}}
	c.Scheduling.SlurmSettings.Database = new(config.Database)
	n := &node{Host: &Host{}, spec: headSpec(), self: new(Identity), config: c, limit: func(time.Duration) {}}
	ofBatch := &node{Host: &Host{}, spec: headSpec(), self: new(Identity), config: &config.Cluster{SharedStorage: c.SharedStorage}, limit: func(time.Duration) {}}
	ofBatch.config.Scheduling.Scheduler = config.AWSBatch
	for name, list := range map[string][]steps.Step{"head": n.headSteps(), "head of Batch": ofBatch.headSteps(), "compute": n.computeSteps(), "login": n.loginSteps()} {
		// The order is checked, and every step comes up.
		for i := range list {
			list[i].Do = func(context.Context) error { return nil }
		}
		if err := steps.Run(t.Context(), filepath.Join(t.TempDir(), "journal"), list); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPoll(t *testing.T) {
	tries := 0
	got, err := poll(t.Context(), time.Microsecond, func() (int, error) {
		if tries++; tries < 3 {
			return 0, errors.New("not yet")
		}
		return tries, nil
	})
	if got != 3 || err != nil {
		t.Errorf("got %d, %v", got, err)
	}
	_, err = poll(t.Context(), time.Microsecond, func() (int, error) { return 0, errors.New("not yet") }, func() error { return errors.New("never") })
	if fmt.Sprint(err) != "never" {
		t.Errorf("got %v", err)
	}
}

// slowGroup hears of its instance only when asked again.
type slowGroup struct {
	asked int
	got   *autoscaling.CompleteLifecycleActionInput
}

func (g *slowGroup) CompleteLifecycleAction(_ context.Context, in *autoscaling.CompleteLifecycleActionInput, _ ...func(*autoscaling.Options)) (*autoscaling.CompleteLifecycleActionOutput, error) {
	if g.asked++; g.asked < 2 {
		return nil, errors.New("ValidationError: No active Lifecycle Action found")
	}
	g.got = in
	return nil, nil
}

func TestLoginNodeEntersService(t *testing.T) {
	g := &slowGroup{}
	n := &spec.Node{ScalingGroup: "demo-pool-AutoScalingGroup", LaunchingHook: "hook"}
	if err := enterService(t.Context(), g, n, "i-1"); err != nil {
		t.Fatal(err)
	}
	if g.got == nil || *g.got.AutoScalingGroupName != n.ScalingGroup || *g.got.LifecycleHookName != "hook" || *g.got.InstanceId != "i-1" || *g.got.LifecycleActionResult != "CONTINUE" {
		t.Errorf("completed %+v", g.got)
	}
}

func TestResumeFilesThatAreTooLargeAreNotRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resume")
	content := append(bytes.Repeat([]byte{' '}, fleet.MaxResumeFile-2), "{}"...)
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := readResumeFile(file); err != nil || len(got) != fleet.MaxResumeFile {
		t.Errorf("%d bytes: %v", len(got), err)
	}
	if err := os.WriteFile(file, append(content, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := readResumeFile(file); err == nil || !strings.Contains(err.Error(), "larger than 64 MiB") {
		t.Errorf("%d bytes: %v", len(got), err)
	}
	for name, content := range map[string]string{"an empty file": "", "half a file": `{"jobs": [`} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := readResumeFile(file); err == nil {
			t.Errorf("%s reads as %q", name, got)
		}
	}
}
