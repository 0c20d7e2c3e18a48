package stack

import (
	"os/exec"
	"path"
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

// TestNothingIsInstalledUnseen: every archive that is fetched is compared with its
// checksum before it is unpacked, and every repository has a key.
func TestNothingIsInstalledUnseen(t *testing.T) {
	fetched := regexp.MustCompile(`curl -sSfLO ['"]([^'"]+)['"]`)
	archives := 0
	for id, text := range everyDocument(t) {
		for step, script := range commandsOf(t, text) {
			for _, m := range fetched.FindAllStringSubmatchIndex(script, -1) {
				archives++
				name := path.Base(script[m[2]:m[3]])
				sum := regexp.MustCompile(`echo '[0-9a-f]{64}  ` + regexp.QuoteMeta(name) + `' \| sha256sum -c`).FindStringIndex(script)
				unpacked := strings.Index(script, "tar xzf "+name)
				if sum == nil || unpacked < 0 || m[1] > sum[0] || sum[1] > unpacked {
					t.Errorf("%s, %s: %s is unpacked without its checksum", id, step, name)
				}
			}
			if strings.Contains(script, "sources.list.d") && !strings.Contains(script, "signed-by=") {
				t.Errorf("%s, %s: a repository without a key", id, step)
			}
		}
	}
	if archives < 6 {
		t.Errorf("%d archives are fetched, want those of Slurm, PMIx, munge, EFA, EFS and DCV", archives)
	}
}

// TestEveryComponentTests: whatever an image gets is looked at in the image itself.
func TestEveryComponentTests(t *testing.T) {
	for _, id := range []string{"SlurmComponent", "StorageComponent", "EFAComponent", "NVIDIAComponent", "DCVComponent"} {
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

func TestLustreCanBeLeftOut(t *testing.T) {
	for file, want := range map[string]string{
		plainImage + "}": "'yes'", plainImage + ", Installation: {LustreClient: {Enabled: false}}}": "'no'",
	} {
		data := imageTemplate(t, file)["StorageComponent"].Properties["Data"].(string)
		if !strings.Contains(data, "value: "+want) {
			t.Errorf("%s: the Lustre step is not decided by %s", file, want)
		}
	}
}
