package batchimage

import (
	"archive/zip"
	"bytes"
	"io"
	"os/exec"
	"strings"
	"testing"
)

func contents(t *testing.T, os string) map[string]string {
	t.Helper()
	data, err := Archive(os, "111122223333.dkr.ecr.us-east-1.amazonaws.com")
	if err != nil {
		t.Fatal(err)
	}
	again, err := Archive(os, "111122223333.dkr.ecr.us-east-1.amazonaws.com")
	if err != nil || !bytes.Equal(data, again) {
		t.Errorf("the archive differs when it is made again (%v)", err)
	}
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		out[f.Name] = string(text)
	}
	return out
}

func TestContextHasWhatItsDockerfileNames(t *testing.T) {
	for _, os := range []string{"alinux2", "alinux2023"} {
		files := contents(t, os)
		if !strings.Contains(files["buildspec.yml"], `REGISTRY: "111122223333.dkr.ecr.us-east-1.amazonaws.com"`) {
			t.Errorf("%s: the build does not know its registry:\n%s", os, files["buildspec.yml"])
		}
		for line := range strings.Lines(files["Dockerfile"]) {
			if source, ok := strings.CutPrefix(line, "COPY "); ok {
				name, _, _ := strings.Cut(source, " ")
				if files[name] == "" {
					t.Errorf("%s: the Dockerfile copies %s, which is not there", os, name)
				}
			}
		}
	}
	if _, err := Archive("ubuntu2204", "r"); err == nil {
		t.Error("there is an image for an operating system that Batch clusters don't have")
	}
}

func TestEntrypointIsAScript(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "bash", "-n")
	cmd.Stdin = strings.NewReader(contents(t, "alinux2")["entrypoint.sh"])
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("bash: %v\n%s", err, out)
	}
}
