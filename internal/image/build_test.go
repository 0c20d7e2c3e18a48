package image

import (
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"

	"pcluster/internal/cluster"
	"pcluster/internal/cluster/clustertest"
	"pcluster/internal/facts"
)

const file = "Build: {InstanceType: c5.large, ParentImage: ami-0a0a0a0a}\n"

func TestBuildJudgesTheFile(t *testing.T) {
	const account = `{"instance_types": {"c5.large": {}}, "images": {"ami-0a0a0a0a": {}}, "pcluster_images": ["taken"]}`
	for name, tt := range map[string]struct {
		request BuildRequest
		status  int
		message string
		list    int
	}{
		"good file, dry run":      {BuildRequest{DryRun: true}, 412, cluster.DryRunMessage, 0},
		"empty file":              {BuildRequest{Configuration: []byte("\n")}, 400, "Bad Request: configuration is required and cannot be empty", 0},
		"no YAML":                 {BuildRequest{Configuration: []byte("a: [")}, 400, "Bad Request: Configuration must be a valid YAML document.", 0},
		"wrong shape":             {BuildRequest{Configuration: []byte("Build: {}\n")}, 400, "Invalid image configuration.", 1},
		"wrong meaning":           {BuildRequest{Configuration: []byte(file + "Image: {RootVolume: {Size: 10}}\n")}, 400, "Configuration is invalid", 1},
		"what is suppressed":      {BuildRequest{DryRun: true, SuppressValidators: []string{"ALL"}, Configuration: []byte(file + "Image: {RootVolume: {Size: 10}}\n")}, 412, cluster.DryRunMessage, 0},
		"lower level that counts": {BuildRequest{FailureLevel: "WARNING", Configuration: []byte(file + "DevSettings: {NodePackage: 's3://b/none'}\n")}, 400, "Configuration is invalid", 1},
		"component without type":  {BuildRequest{Configuration: []byte("Build: {InstanceType: c5.large, ParentImage: ami-0a0a0a0a, Components: [{Value: x}]}\n")}, 400, "Invalid image configuration: ", 0},
		"source without checksum": {BuildRequest{DryRun: true, Configuration: []byte(file + "DevSettings: {Cookbook: {ExtraChefAttributes: '{\"cluster\": {\"slurm\": {\"version\": \"24-11-5-1\"}}}'}}\n")}, 400, "Configuration is invalid", 1},
		"image that is there":     {BuildRequest{ID: "taken"}, 409, "ParallelCluster image taken already exists.", 0},
		"ID that is none":         {BuildRequest{ID: strings.Repeat("a", 129)}, 400, "Bad Request: ", 0},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := facts.Read([]byte(account))
			if err != nil {
				t.Fatal(err)
			}
			cloud := clustertest.New()
			cloud.Facts = m
			r := tt.request
			if r.ID == "" {
				r.ID = "mine"
			}
			if r.Configuration == nil {
				r.Configuration = []byte(file)
			}
			var got *cluster.Error
			if _, _, err := Judge(t.Context(), cloud.Operator(slog.New(slog.NewTextHandler(io.Discard, nil))), r); !errors.As(err, &got) {
				t.Fatal(err)
			}
			if got.Status != tt.status || !strings.HasPrefix(got.Body.Message, tt.message) || len(got.Body.ConfigurationValidationErrors) != tt.list {
				t.Errorf("%d %s %v", got.Status, got.Body.Message, got.Body.ConfigurationValidationErrors)
			}
			if got.Body.ValidationMessages != nil {
				t.Error("messages are listed")
			}
		})
	}
}
