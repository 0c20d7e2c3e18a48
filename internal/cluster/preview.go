package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"pcluster/internal/config"
	"pcluster/internal/facts"
	"pcluster/internal/stack"
)

// A Preview is what the templates of a cluster that nobody creates are made for.
type Preview struct {
	Name    string
	Region  string
	Account string
}

// Templates returns the templates that Create would make of a file. What only a
// creation knows is zeros in them, so that they differ only if the file, the facts
// or this program do: the time, the random part of the cluster's directory, the
// versions of objects, and the checksum of the node program.
func (p Preview) Templates(ctx context.Context, c *config.Cluster, source facts.Source) (*stack.Templates, error) {
	c.SetTag(tagCluster, p.Name)
	c.SetTag(tagVersion, config.ToolVersion)
	source, err := facts.Override(source, c.DevSettings.InstanceTypesData)
	if err != nil {
		return nil, fmt.Errorf("DevSettings.InstanceTypesData: %w", err)
	}
	snapshot, errs := facts.Gather(ctx, source, c)
	if len(errs) > 0 {
		return nil, fmt.Errorf("facts about cluster %s: %w", p.Name, errors.Join(errs...))
	}
	bucket := c.CustomS3Bucket
	if bucket == "" {
		bucket = bucketName(p.Account, p.Region)
	}
	directory := artifactDirectory(p.Name, strings.Repeat("0", 16))
	sum := strings.Repeat("0", 64)
	return stack.Synthesize(c, snapshot, stack.Params{
		ClusterName: p.Name, Region: p.Region, Account: p.Account, Partition: partition(p.Region),
		Bucket: bucket, ArtifactDir: directory, OfficialAMI: snapshot.OfficialAMI,
		ConfigKey: implicitConfigKey(directory), ConfigVersion: "0", OriginalVersion: "0",
		InstanceTypesKey: instanceTypesKey(directory), InstanceTypesVersion: "0",
		Timestamp:    strings.Repeat("0", 14),
		Programs:     map[string]string{programArch[snapshot.Architecture(c)]: sum},
		LambdaZipKey: stack.LambdaKey(sum, functionArch),
	})
}
