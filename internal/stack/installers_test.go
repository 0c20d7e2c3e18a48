package stack

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// commandsOf are the scripts of a component's document, by phase and step.
func commandsOf(t *testing.T, text string) map[string]string {
	t.Helper()
	var d struct {
		Phases []struct {
			Name  string
			Steps []struct {
				Name, Action string
				Inputs       yaml.Node
			}
		}
	}
	if err := yaml.Unmarshal([]byte(text), &d); err != nil {
		t.Fatal(err)
	}
	out := make(map[string]string)
	for _, p := range d.Phases {
		for _, s := range p.Steps {
			if s.Action != "ExecuteBash" {
				continue
			}
			var in struct{ Commands []string }
			if err := s.Inputs.Decode(&in); err != nil {
				t.Fatal(err)
			}
			out[p.Name+"/"+s.Name] = strings.Join(in.Commands, "\n")
		}
	}
	return out
}

// everyDocument are the components of an image that has all of them.
func everyDocument(t *testing.T) map[string]string {
	out := make(map[string]string)
	for id, r := range imageTemplate(t, plainImage+", UpdateOsPackages: {Enabled: true}, Installation: {NvidiaSoftware: {Enabled: true}}}\nDevSettings: {DisableValidateAndTest: false}") {
		if data, ok := r.Properties["Data"].(string); ok {
			out[id] = data
		}
	}
	return out
}

func TestOurScriptsAreBash(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("needs bash")
	}
	for id, text := range everyDocument(t) {
		for step, script := range commandsOf(t, text) {
			cmd := exec.Command(bash, "-n")
			cmd.Stdin = strings.NewReader(script)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s, %s: %s", id, step, out)
			}
		}
	}
}

// TestNothingIsInstalledUnseen: every archive is fetched with its checksum, and every
// repository has a key.
func TestNothingIsInstalledUnseen(t *testing.T) {
	fetched := regexp.MustCompile(`(?m)^\s*fetch (.+) (\S+)$`)
	named := regexp.MustCompile(`sum=(\S+)`)
	sum := regexp.MustCompile(`^[0-9a-f]{64}$`)
	archives := 0
	for id, text := range everyDocument(t) {
		for step, script := range commandsOf(t, text) {
			for _, m := range fetched.FindAllStringSubmatch(script, -1) {
				sums := []string{m[2]}
				if m[2] == "$sum" { // of a system
					sums = nil
					for _, n := range named.FindAllStringSubmatch(script, -1) {
						sums = append(sums, n[1])
					}
				}
				for _, s := range sums {
					archives++
					if !sum.MatchString(s) {
						t.Errorf("%s, %s: %s is fetched with the checksum %q", id, step, m[1], s)
					}
				}
				if !strings.Contains(m[1], "https://") {
					t.Errorf("%s, %s: %s is fetched in the open", id, step, m[1])
				}
			}
			rest := strings.ReplaceAll(script, fetchFunction, "")
			if strings.Contains(rest, "tar x") || strings.Contains(rest, "unzip") || regexp.MustCompile(`curl .*-[a-zA-Z]*O`).MatchString(rest) {
				t.Errorf("%s, %s: an archive is unpacked without its checksum", id, step)
			}
			if strings.Contains(script, "sources.list.d") && !strings.Contains(script, "signed-by=") {
				t.Errorf("%s, %s: a repository without a key", id, step)
			}
		}
	}
	if archives != 15 {
		t.Errorf("%d archives are fetched, want those of Slurm, PMIx, munge, EFA and EFS, and ten of DCV", archives)
	}
}

// TestFetchUnpacksWhatItKnows runs the function that documents fetch archives with.
func TestFetchUnpacksWhatItKnows(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("needs bash")
	}
	var archive bytes.Buffer
	zipped := gzip.NewWriter(&archive)
	w := tar.NewWriter(zipped)
	if err := errors.Join(w.WriteHeader(&tar.Header{Name: "thing-1.0/file", Mode: 0o644, Size: 5}), write(w, "known"), w.Close(), zipped.Close()); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path != "/thing.tar.gz" {
			http.NotFound(w, req)
			return
		}
		_, _ = w.Write(archive.Bytes())
	}))
	defer server.Close()
	right := sha256.Sum256(archive.Bytes())
	for name, tt := range map[string]struct {
		path string
		sum  string
		want string
		fail bool
	}{
		"the archive that we know": {"/thing.tar.gz", hex.EncodeToString(right[:]), "known", false},
		"another":                  {"/thing.tar.gz", strings.Repeat("0", 64), "/thing.tar.gz is not the archive with the checksum 0000", true},
		"none":                     {"/gone.tar.gz", hex.EncodeToString(right[:]), "/gone.tar.gz can't be fetched", true},
	} {
		cmd := exec.Command(bash, "-c", "set -eu\n"+fetchFunction+"\n(fetch "+server.URL+tt.path+" "+tt.sum+"\ncat file)\npwd")
		dir := t.TempDir()
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "TMPDIR="+dir, "LC_ALL=C")
		out, err := cmd.CombinedOutput()
		if left, lerr := os.ReadDir(dir); lerr != nil || (len(left) > 0) != tt.fail {
			t.Errorf("%s: left in the temporary folder: %v, %v", name, left, lerr)
		}
		if (err != nil) != tt.fail || !strings.Contains(string(out), tt.want) {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
}

func write(w io.Writer, text string) error {
	_, err := io.WriteString(w, text)
	return err
}

// TestImageFilesNameOtherSources: what ParallelCluster's cookbook takes as attributes
// decides what is built, and from where.
func TestImageFilesNameOtherSources(t *testing.T) {
	sum := strings.Repeat("ab", 32)
	for name, tt := range map[string]struct {
		attributes string
		want       map[string]string
		err        string
	}{
		"nothing": {"", map[string]string{
			"SLURM_URL": "https://eu-west-1-aws-parallelcluster.s3.eu-west-1.amazonaws.com/archives/dependencies/slurm/slurm-25-11-6-1.tar.gz", "SLURM_ASKED": "",
			"MUNGE_URL": "https://github.com/dun/munge/releases/download/munge-0.5.18/munge-0.5.18.tar.xz", "MUNGE_ASKED": "",
			"EFA_URL": "https://efa-installer.amazonaws.com/aws-efa-installer-1.50.0.tar.gz"}, ""},
		"other attributes": {`{"cluster": {"nvidia": {"enabled": true}, "slurm": {"reconfigure_timeout": 400}}, "other": 1}`, map[string]string{"SLURM_ASKED": ""}, ""},
		"a version": {`{"cluster": {"slurm": {"version": "24-11-5-1", "sha256": "` + sum + `"}}}`, map[string]string{
			"SLURM_URL": "https://eu-west-1-aws-parallelcluster.s3.eu-west-1.amazonaws.com/archives/dependencies/slurm/slurm-24-11-5-1.tar.gz", "SLURM_SUM": sum, "SLURM_ASKED": "24-11-5-1"}, ""},
		"a release of munge": {`{"cluster": {"munge": {"munge_version": "0.5.17", "sha256": "` + sum + `"}}}`, map[string]string{
			"MUNGE_URL": "https://github.com/dun/munge/releases/download/munge-0.5.17/munge-0.5.17.tar.xz", "MUNGE_ASKED": "0.5.17"}, ""},
		"a place": {`{"cluster": {"pmix": {"base_url": "https://b.s3.amazonaws.com/x/"}, "munge": {"base_url": "https://b.s3.amazonaws.com/x", "sha256": "` + sum + `"}}}`, map[string]string{
			"PMIX_URL": "https://b.s3.amazonaws.com/x/pmix-5.0.11.tar.gz", "PMIX_ASKED": "5.0.11",
			"MUNGE_URL": "https://b.s3.amazonaws.com/x/munge-0.5.18.tar.gz", "MUNGE_SUM": sum}, ""},
		"a version without its checksum": {`{"cluster": {"efa": {"version": "1.60.0"}}}`, nil, "cluster.efa.version needs a cluster.efa.sha256 beside it"},
		"a number":                       {`{"cluster": {"slurm": {"version": 24.11}}}`, nil, "cluster.slurm.version can't be 24.11"},
		"what ends a script's quotes":    {`{"cluster": {"slurm": {"base_url": "https://x/'; reboot; '"}}}`, nil, "cluster.slurm.base_url can't be"},
		"a text for an object":           {`{"cluster": {"slurm": "24"}}`, nil, "cluster.slurm has to be an object"},
	} {
		got, errs := installerBlanks(tt.attributes, "eu-west-1", "amazonaws.com")
		err := errors.Join(errs...)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: error %v, want %q", name, err, tt.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for k, v := range tt.want {
			if got[k] != v {
				t.Errorf("%s: %s is %q, want %q", name, k, got[k], v)
			}
		}
	}
}

// TestEveryComponentTests: whatever an image gets is looked at in the image itself.
func TestEveryComponentTests(t *testing.T) {
	for _, id := range []string{"SlurmComponent", "StorageComponent", "EFAComponent", "NVIDIAComponent", "DCVComponent", "ParallelClusterComponent"} {
		text, ok := everyDocument(t)[id]
		if !ok {
			t.Fatalf("there is no %s", id)
		}
		found := false
		for step := range commandsOf(t, text) {
			found = found || strings.HasPrefix(step, "test/")
		}
		if !found {
			t.Errorf("%s has no test phase", id)
		}
	}
}

// choosing is an image file that chooses a part of the software by an attribute.
func choosing(part, value string) string {
	return plainImage + "}\nDevSettings: {Cookbook: {ExtraChefAttributes: '{\"cluster\": {\"" + part + "\": {\"enabled\": \"" + value + "\"}}}'}}"
}

// TestSoftwareCanBeLeftOut: of a part that is left out there is no component, or its step
// is not carried out and its test not made, and the image says that it is not there.
func TestSoftwareCanBeLeftOut(t *testing.T) {
	for part, tt := range map[string]struct{ component, step string }{
		"dcv": {"DCVComponent", ""}, "efa": {"EFAComponent", ""}, "nvidia": {"NVIDIAComponent", ""},
		"efs": {"StorageComponent", "EFS"}, "lustre": {"StorageComponent", "Lustre"}, "pmix": {"SlurmComponent", ""},
	} {
		for _, value := range []string{"yes", "no"} {
			r := imageTemplate(t, choosing(part, value))
			if said := r["ParallelClusterComponent"].Properties["Data"].(string); !strings.Contains(said, `"`+part+`": "`+value+`"`) {
				t.Errorf("%s: %s is not what the image says of itself", part, value)
			}
			data, ok := r[tt.component].Properties["Data"].(string)
			if alone := tt.step == "" && part != "pmix"; alone && ok != (value == "yes") {
				t.Errorf("%s: %s, there is a component: %t", part, value, ok)
			} else if alone {
				continue
			}
			if tt.step != "" {
				_, step, _ := strings.Cut(data, "- name: "+tt.step+"\n")
				step, _, _ = strings.Cut(step, "inputs:")
				if !strings.Contains(step, "value: '"+value+"'") {
					t.Errorf("%s: its step is not decided by %s: %s", part, value, step)
				}
				if test := commandsOf(t, data)["test/Clients"]; !strings.Contains(test, "if [ '"+value+"' = yes ]; then ") {
					t.Errorf("%s: its test is not decided by %s", part, value)
				}
			}
		}
	}
}
