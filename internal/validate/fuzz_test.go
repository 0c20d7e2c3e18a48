package validate

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pcluster/internal/config"
	"pcluster/internal/facts"
)

// FuzzFiles validates whatever has the right shape in whatever account: nothing
// may panic or hang.
func FuzzFiles(f *testing.F) {
	accounts := []string{
		"{}",
		`{"subnets": {"subnet-11111111": {"az": "a", "vpc": "v", "cidr": "10.0.0.0/16"}}, "instance_types": {"c5.large": {"vcpus": 2}, "c5.xlarge": {}}, "images": {"ami-0a0a0a0a": {"official": true, "name": "aws-parallelcluster-3.16.0-amzn2023-hvm-x86_64"}}}`,
		`{"security_groups": {"sg-11111111": {"inbound": [{"protocol": 6, "ports": [0], "cidrs": ["::/0", "x", "10.0.0.0/33"]}]}}, "batch_instance_types": null, "run_instances": {"c5.large": {"code": "Unsupported"}}}`,
		`{"efs_file_systems": {"fs-12345678": {"mount_targets": [{}]}}, "fsx_file_systems": {"fs-12345678901234567": {"network_interfaces": ["x"]}}, "hosted_zones": {"Z": {}}, "https": {"https://h/x": "hang"}}`,
	}
	for _, account := range accounts {
		f.Add([]byte(base), []byte(account))
		f.Add([]byte("Build: {InstanceType: c5.large, ParentImage: arn:x}"), []byte(account))
	}
	files, err := filepath.Glob("../config/testdata/*.yaml")
	if err != nil || len(files) == 0 {
		f.Fatal("no files to start from", err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, []byte(accounts[1]))
	}
	f.Fuzz(func(t *testing.T, text, account []byte) {
		m, err := facts.Read(account)
		if err != nil {
			m = &facts.Memory{Partial: true}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond) // for servers that hang
		defer cancel()
		o := Options{ClusterName: "x", Region: "us-east-1"}
		if c, problems := config.Parse("", text); c != nil && len(problems.Shape()) == 0 {
			for _, p := range Cluster(ctx, c, m, o).All() {
				if p.Message == "" {
					t.Errorf("%s finds nothing to say", p.Validator)
				}
			}
		}
		if image, problems := config.ParseImage("", text); image != nil && len(problems.Shape()) == 0 {
			Image(ctx, image, m, o)
		}
	})
}
