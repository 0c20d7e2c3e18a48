package stack

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// A system is one that images may have, as our scripts see it.
type system struct {
	id, version string
	manager     string // of packages
	candidate   string // version of Slurm that it has, if scripts ask
	repository  string // that can be enabled
	refuses     []string
}

var systems = map[string]system{
	"alinux2":    {id: "amzn", version: "2", manager: "yum", refuses: []string{"NVIDIA"}},
	"alinux2023": {id: "amzn", version: "2023", manager: "dnf"},
	"ubuntu2204": {id: "ubuntu", version: "22.04", manager: "apt-get", candidate: "21.08.5-2ubuntu1"},
	"ubuntu2404": {id: "ubuntu", version: "24.04", manager: "apt-get", candidate: "23.11.4-1.2ubuntu5"},
	"rhel8":      {id: "rhel", version: "8.10", manager: "dnf", repository: "codeready-builder-for-rhel-8-rhui-rpms"},
	"rhel9":      {id: "rhel", version: "9.6", manager: "dnf", repository: "codeready-builder-for-rhel-9-rhui-rpms"},
	"rocky8":     {id: "rocky", version: "8.10", manager: "dnf", repository: "powertools"},
	"rocky9":     {id: "rocky", version: "9.6", manager: "dnf", repository: "crb"},
	"debian12":   {id: "debian", version: "12", manager: "apt-get", candidate: "22.05.8-4+deb12u3", refuses: []string{"Storage"}}, // AWS has no Lustre for Debian
	"debian13":   {id: "debian", version: "13", manager: "apt-get", candidate: "24.11.5-4+deb13u1", refuses: []string{"Storage"}},
}

// knownPackages reads which packages a system is known to have, and by whom; absent
// are those that it is known not to have.
func knownPackages(t *testing.T) (known map[string]map[string]string, absent map[string][]string) {
	t.Helper()
	data, err := os.ReadFile("testdata/packages.txt")
	if err != nil {
		t.Fatal(err)
	}
	known, absent = map[string]map[string]string{}, map[string][]string{}
	sources := map[string]bool{"?": true, "absent": true}
	used := map[string]bool{}
	for n, line := range strings.Split(string(data), "\n") {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if name, ok := strings.CutPrefix(line, "source "); ok {
			name, _, _ = strings.Cut(name, ":")
			sources[name] = true
			continue
		}
		head, list, ok := strings.Cut(line, ":")
		names, source, ok2 := strings.Cut(head, " ")
		if !ok || !ok2 || !sources[source] {
			t.Fatalf("packages.txt:%d: want SYSTEM,… SOURCE: PACKAGE…, with a source that is named above", n+1)
		}
		used[source] = true
		for name := range strings.SplitSeq(names, ",") {
			if _, ok := systems[name]; !ok {
				t.Fatalf("packages.txt:%d: there is no system %s", n+1, name)
			}
			if known[name] == nil {
				known[name] = map[string]string{}
			}
			for p := range strings.SplitSeq(list, ";") {
				for _, p := range strings.Fields(p) {
					p = strings.ReplaceAll(p, "_", " ") // of groups
					if source == "absent" {
						absent[name] = append(absent[name], p)
					}
					known[name][p] = source
				}
			}
		}
	}
	for s := range sources {
		if !used[s] && s != "?" && s != "absent" {
			t.Errorf("packages.txt: nothing is known from %s", s)
		}
	}
	return known, absent
}

// tools are programs that scripts need to run here, too.
var tools = strings.Fields("bash sh sed tr cut grep cat mktemp mkdir ln rm head ls awk find nproc dirname touch chmod xargs sort")

// stubs are programs that do as if. In each of them S is the folder of the system.
var stubs = map[string]string{
	"systemd-detect-virt": "exit 1", // a machine with a kernel of its own
	"getent":              "exit 2",
	"groupadd useradd usermod systemctl ldconfig install rpm sha256sum amazon-linux-extras": "exit 0",
	"uname":     `[ "$1" = -r ] && echo 6.1.0-1-test || echo x86_64`,
	"modinfo":   "echo 580.95.05",
	"gpg":       `echo "fpr:::::::::$(cat "$S/key"):"`,
	"apt-cache": `echo "  Candidate: $(cat "$S/candidate")"`,
	"gcc":       "echo x86_64-linux-gnu",
	"curl":      `while [ $# -gt 0 ]; do [ "$1" != -o ] || touch "$2"; case "$1" in http*) echo "$1" >>"$S/fetched" ;; esac; shift; done`,
	"tar": `for f in bootstrap autogen.pl build-deb.sh efa_installer.sh; do printf '#!/bin/sh\n' >$f; chmod +x $f; done
		printf '#!/bin/sh\necho "$@" >>'"$S"'/configured\nfor a; do case "$a" in --prefix=*) echo "${a#*=}" >prefix ;; esac; done\n' >configure; chmod +x configure
		touch nice-dcv-server_2025.deb nice-xdcv_2025.deb; mkdir -p build; touch build/amazon-efs-utils-1.deb`,
	"make": `case "$*" in
		rpm) mkdir -p build; touch build/amazon-efs-utils-1.rpm ;;
		install) prefix=$(cat prefix)
			case "$prefix" in
			*/pmix) mkdir -p "$prefix/lib/pkgconfig"; printf 'Name: pmix\nVersion: 5.0.11\n' >"$prefix/lib/pkgconfig/pmix.pc" ;;
			*) touch "$S/usr/include/munge.h" ;;
			esac ;;
		"install install-contrib") mkdir -p "$S/opt/slurm/sbin" "$S/opt/slurm/lib/slurm"
			for f in auth_munge mpi_pmix accounting_storage_mysql cgroup_v2; do touch "$S/opt/slurm/lib/slurm/$f.so"; done
			printf '#!/bin/sh\necho slurm 25.11.6\n' >"$S/opt/slurm/sbin/slurmd"; chmod +x "$S/opt/slurm/sbin/slurmd" ;;
		esac`,
	"dpkg-query": `for p; do :; done; [ "$p" != libpmix2t64 ] || [ ! -x "$S/bin/slurmd" ] || echo 5.0.7`,
	// What is asked for is written down; what the system does not have fails as a whole.
	"apt-get dnf yum": `case " $* " in
		*" config-manager "*) for last; do :; done; [ "$last" = "$(cat "$S/repository")" ]; exit ;;
		*" groupinstall "*) for last; do :; done; echo "@$last" >>"$S/asked"; exit 0 ;;
		*" install "*) ;;
		*" remove "*) rm -f "$S/usr/bin/scontrol"; exit 0 ;;
		*) exit 0 ;;
		esac
		missing=0
		for p; do
			case "$p" in -*|install|*/*) continue ;; esac
			echo "$p" >>"$S/asked"
			! grep -qxF "$p" "$S/absent" || missing=1
			[ "$p" != slurmd ] || { printf '#!/bin/sh\necho slurm %s\n' "$(cat "$S/candidate")" >"$S/bin/slurmd"; chmod +x "$S/bin/slurmd"; }
		done
		exit $missing`,
}

// absolute are paths in scripts that are the system's.
var absolute = regexp.MustCompile(`(^|[\s"'=;(>])(/(?:opt|usr|sbin|etc|var|lib)/)`)

// machine makes the folder of a system, and returns a function that runs a script in it.
func (s system) machine(t *testing.T, absent []string) (dir string, run func(script string) (string, error)) {
	t.Helper()
	dir = t.TempDir()
	for _, d := range []string{"bin", "tmp", "etc/ld.so.conf.d", "etc/apt/sources.list.d", "etc/yum.repos.d", "etc/pki/rpm-gpg", "usr/share/keyrings", "usr/include"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write := func(name, text string, mode os.FileMode) {
		// A process that another system's test starts meanwhile would hold the file open for
		// writing until its exec, and the program could not be run ("text file busy").
		syscall.ForkLock.RLock()
		defer syscall.ForkLock.RUnlock()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("etc/os-release", fmt.Sprintf("ID=%s\nVERSION_ID=%q\nVERSION_CODENAME=code\n", s.id, s.version), 0o644)
	write("candidate", s.candidate, 0o644)
	write("repository", s.repository, 0o644)
	write("key", map[bool]string{true: nvidiaDebKey, false: nvidiaRPMKey}[s.manager == "apt-get"], 0o644)
	write("absent", strings.Join(absent, "\n")+"\n", 0o644)
	for _, tool := range tools {
		path, err := exec.LookPath(tool)
		if err != nil {
			t.Skipf("needs %s", tool)
		}
		if err := os.Symlink(path, filepath.Join(dir, "bin", tool)); err != nil {
			t.Fatal(err)
		}
	}
	for names, body := range stubs {
		for _, name := range strings.Fields(names) {
			if strings.Contains(names, "dnf") && name != s.manager || name == "gcc" && s.manager != "apt-get" {
				continue
			}
			write("bin/"+name, "#!"+filepath.Join(dir, "bin", "bash")+"\nS='"+dir+"'\n"+body+"\n", 0o755)
		}
	}
	return dir, func(script string) (string, error) {
		cmd := exec.Command(filepath.Join(dir, "bin", "bash"), "-c", absolute.ReplaceAllString(script, "${1}"+dir+"${2}"))
		cmd.Dir, cmd.Env = filepath.Join(dir, "tmp"), []string{"PATH=" + filepath.Join(dir, "bin"), "TMPDIR=" + filepath.Join(dir, "tmp")}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
}

// TestOurScriptsOnEverySystem runs what our components run to build an image, on a
// stand-in for each operating system whose package manager writes down what it is asked
// for and has what the system is known to have: each script comes to its end, and asks
// for nothing whose name has not been looked up. The image says in tags what it has.
func TestOurScriptsOnEverySystem(t *testing.T) {
	documents := everyDocument(t)
	known, absent := knownPackages(t)
	for name, s := range systems {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, run := s.machine(t, absent[name])
			for _, component := range []string{"Slurm", "Storage", "EFA", "NVIDIA", "DCV", ""} {
				text := documents[component+"Component"]
				if component == "" {
					text = documents["ParallelClusterComponent"]
				}
				scripts := commandsOf(t, text)
				failed := false
				for _, step := range stepsOf(t, text) {
					out, err := run(scripts["build/"+step])
					if failed = failed || err != nil; err != nil && !slices.Contains(s.refuses, component) {
						t.Errorf("%s, %s: %v\n%s", component, step, err, out)
					}
				}
				if !failed && slices.Contains(s.refuses, component) {
					t.Errorf("%s is not refused", component)
				}
			}
			tags := tagsOf(t, dir, run, documents["ParallelClusterTagComponent"])
			want := map[string]string{"os": name, "slurm_version": "25.11.6", "pmix_version": "5.0.11"}
			if name == "ubuntu2404" || name == "debian13" { // have a Slurm that is taken, and with it their PMIx
				want["slurm_version"], want["pmix_version"] = s.candidate, "5.0.7"
			}
			for tag, want := range want {
				if got := tags["parallelcluster:"+tag]; got != want {
					t.Errorf("its image's tag %s is %q, want %q", tag, got, want)
				}
			}
			if s.id == "debian" {
				return // whose packages apt is asked for, in test/e2e
			}
			data, err := os.ReadFile(filepath.Join(dir, "asked"))
			if err != nil {
				t.Fatal(err)
			}
			asked := map[string]bool{}
			for p := range strings.SplitSeq(strings.TrimSpace(string(data)), "\n") {
				asked[strings.ReplaceAll(p, "6.1.0-1-test", "KERNEL")] = true
			}
			for p := range asked {
				if known[name][p] == "" {
					t.Errorf("%s is asked for, and packages.txt does not say whether it exists", p)
				}
			}
			for p := range known[name] {
				if !asked[p] {
					t.Errorf("packages.txt has %s, for which nobody asks", p)
				}
			}
		})
	}
}

// TestSlurmOfTheParentImage: what clusters can use stays, and what they can't is replaced,
// so that nobody finds it.
func TestSlurmOfTheParentImage(t *testing.T) {
	_, absent := knownPackages(t)
	const ours, system = "opt/slurm/sbin/slurmd", "bin/slurmd"
	for name, tt := range map[string]struct {
		of, file, says, asked string
		want                  string
		systems               bool // the operating system's programs are still there
	}{
		"ours":                        {"debian12", ours, "slurm 24.05.1", "", "slurm 24.05.1", true},
		"ours, of the oldest release": {"alinux2023", ours, "slurm 23.11.10", "", "slurm 23.11.10", true},
		"ours, too old":               {"debian12", ours, "slurm 22.05.8", "", "slurm 25.11.6", false},
		"ours, not the one asked for": {"debian12", ours, "slurm 24.05.1", "25-11-6-1", "slurm 25.11.6", false},
		"the system's":                {"debian13", system, "slurm-wlm 24.11.5", "", "slurm-wlm 24.11.5", true},
		"the system's, too old":       {"debian12", system, "slurm-wlm 22.05.8", "", "slurm 25.11.6", false},
		"too old for Rocky, too":      {"rocky9", system, "slurm 22.05.9", "", "slurm 25.11.6", false},
		"not the one asked for":       {"debian13", system, "slurm-wlm 24.11.5", "25-11-6-1", "slurm 25.11.6", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, run := systems[tt.of].machine(t, absent[tt.of])
			write := func(name, text string) {
				if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			write(tt.file, "#!/bin/sh\necho "+tt.says+"\n")
			write("usr/bin/scontrol", "")
			script := commandsOf(t, everyDocument(t)["SlurmComponent"])["build/Slurm"]
			if out, err := run(strings.Replace(script, "asked=''", "asked='"+tt.asked+"'", 1)); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) > 0 {
				t.Errorf("the image keeps what Slurm was built of: %v, %v", left, err)
			}
			if got, err := run("/opt/slurm/sbin/slurmd -V"); err != nil || strings.TrimSpace(got) != tt.want {
				t.Errorf("the image has %q, want %q: %v", got, tt.want, err)
			}
			if _, err := os.Stat(filepath.Join(dir, "usr/bin/scontrol")); (err == nil) != tt.systems {
				t.Errorf("the system's programs: %v; are they to be there: %t", err, tt.systems)
			}
		})
	}
}

// TestSlurmFromSourceWithoutPMIx runs the script that builds Slurm where PMIx is left out.
func TestSlurmFromSourceWithoutPMIx(t *testing.T) {
	for value, want := range map[string]int{"yes": 1, "no": 0} {
		dir, run := systems["rocky9"].machine(t, nil)
		text := imageTemplate(t, choosing("pmix", value))["SlurmComponent"].Properties["Data"].(string)
		if out, err := run(commandsOf(t, text)["build/Slurm"]); err != nil {
			t.Fatalf("%s: %v\n%s", value, err, out)
		}
		fetched, err := os.ReadFile(filepath.Join(dir, "fetched"))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Count(string(fetched), "/pmix-") != want || strings.Count(string(fetched), "/slurm-") != 1 {
			t.Errorf("%s: fetched are\n%s", value, fetched)
		}
		given, err := os.ReadFile(filepath.Join(dir, "configured"))
		if with := "--with-pmix="; err != nil || strings.Contains(string(given), with) != (value == "yes") || strings.Contains(string(given), "--without-pmix") != (value == "no") {
			t.Errorf("%s: configured with %s %v", value, given, err)
		}
	}
}

// tagsOf runs the script that tags images, and returns the tags.
func tagsOf(t *testing.T, dir string, run func(string) (string, error), text string) map[string]string {
	t.Helper()
	program := filepath.Join(dir, "opt/parallelcluster/pcluster-node")
	if err := os.MkdirAll(filepath.Dir(program), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, []byte("#!/bin/sh\nshift; for tag; do echo \"$tag\"; done\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := run(commandsOf(t, text)["test/TagImage"])
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	tags := map[string]string{}
	for line := range strings.Lines(out) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		tags[name] = value
	}
	return tags
}

// stepsOf are the steps of the build phase that run scripts, in their order.
func stepsOf(t *testing.T, text string) []string {
	t.Helper()
	scripts := commandsOf(t, text)
	steps := slices.Collect(maps.Keys(scripts))
	steps = slices.DeleteFunc(steps, func(s string) bool { return !strings.HasPrefix(s, "build/") })
	slices.SortFunc(steps, func(a, b string) int {
		at := func(s string) int { return strings.Index(text, "- name: "+strings.TrimPrefix(s, "build/")+"\n") }
		return at(a) - at(b)
	})
	for i := range steps {
		steps[i] = strings.TrimPrefix(steps[i], "build/")
	}
	return steps
}
