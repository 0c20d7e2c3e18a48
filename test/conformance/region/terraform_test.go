//go:build linux

package region

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pcluster/internal/sandbox"
)

const terraformFile = "terraform/main.tf"

var terraform = flag.Bool("terraform", false, "play Terraform's part too, with the provider that terraform init finds")

// Terraform with the AWS provider makes a small site in a region, finds nothing to
// change in it, and takes it away. FSx is not in it: the provider waits ten minutes
// before it looks whether a file system is gone.
func TestTerraform(t *testing.T) {
	if !*terraform {
		t.Skip("skipped: only with -terraform (make journeys), since the provider is large")
	}
	program, err := exec.LookPath("terraform")
	if err != nil {
		t.Skip("skipped: terraform is not installed")
	}
	region, err := sandbox.OpenLight(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := region.Close(); err != nil {
			t.Error(err)
		}
	})
	key, secret := region.Credentials()
	dir := t.TempDir()
	config, err := os.ReadFile(terraformFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "main.tf"), config, 0o644); err != nil {
		t.Fatal(err)
	}
	env := []string{
		"AWS_ENDPOINT_URL=" + region.URL(), "AWS_ACCESS_KEY_ID=" + key, "AWS_SECRET_ACCESS_KEY=" + secret, "AWS_REGION=us-east-1",
		"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_EC2_METADATA_DISABLED=true",
		"CHECKPOINT_DISABLE=1", "TF_IN_AUTOMATION=1", "HOME=" + dir,
	}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "AWS_") && !strings.HasPrefix(v, "HOME=") {
			env = append(env, v)
		}
	}
	run := func(args ...string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, program, args...)
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it ends its providers
		cmd.Dir, cmd.Env = dir, env
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			out = append(out, stderr.Bytes()...)
		}
		return string(out), err
	}
	must := func(args ...string) string {
		t.Helper()
		out, err := run(args...)
		if err != nil {
			t.Fatalf("terraform %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return out
	}
	initialise := []string{"init", "-input=false", "-no-color"}
	if plugins := os.Getenv("TERRAFORM_PLUGINS"); plugins != "" {
		initialise = append(initialise, "-plugin-dir="+plugins)
	}
	if out, err := run(initialise...); err != nil {
		t.Skipf("skipped: the AWS provider can't be had (TERRAFORM_PLUGINS is a folder of providers):\n%s", out)
	}
	must("apply", "-auto-approve", "-input=false", "-no-color")
	if out, err := run("plan", "-detailed-exitcode", "-input=false", "-no-color"); err != nil {
		t.Errorf("after apply, plan has changes to make: %v\n%s", err, out)
	}
	var outputs map[string]struct{ Value string }
	if err := json.Unmarshal([]byte(must("output", "-json")), &outputs); err != nil || !strings.HasPrefix(outputs["instance"].Value, "i-") {
		t.Errorf("outputs %+v, %v", outputs, err)
	}
	must("destroy", "-auto-approve", "-input=false", "-no-color")
	if left := must("state", "list"); strings.TrimSpace(left) != "" {
		t.Errorf("destroy leaves:\n%s", left)
	}
	var version struct {
		Program   string            `json:"terraform_version"`
		Providers map[string]string `json:"provider_selections"`
	}
	if err := json.Unmarshal([]byte(must("version", "-json")), &version); err != nil {
		t.Fatal(err)
	}
	if *update && !t.Failed() {
		change(t, func(r *results) {
			r.Terraform = "Terraform " + version.Program + " with version " + version.Providers["registry.terraform.io/hashicorp/aws"] + " of the AWS provider"
		})
	}
}
