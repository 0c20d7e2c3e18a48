package stack

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"pcluster/internal/cfn"
)

// hash16 makes any name fit for a logical ID, always the same way: 16 digits of
// its SHA-1, with a capital in front if the first is a letter.
func hash16(name string) string {
	sum := sha1.Sum([]byte(name))
	h := hex.EncodeToString(sum[:])[:16]
	return strings.ToUpper(h[:1]) + h[1:]
}

// plain drops what logical IDs can't have.
func plain(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, name)
}

// capital raises the first letter.
func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// isolated says whether a region is one of those that lack several features.
func isolated(region string) bool { return strings.HasPrefix(region, "us-iso") }

// stackUUID is the part of the stack's ARN that makes it unique.
func stackUUID() cfn.Text { return cfn.Select(2, "/", cfn.StackID) }

// StateTable returns the name of the table with the fleet's state.
func StateTable(cluster string) string { return "parallelcluster-" + cluster }

// NodeTable returns the name of the table of Slurm nodes and their instances.
func NodeTable(cluster string) string { return "parallelcluster-slurm-" + cluster }

// LaunchTemplateName returns the name of a compute resource's launch template.
func LaunchTemplateName(cluster, queue, resource string) string {
	return cluster + "-" + queue + "-" + resource
}

// domain returns the DNS domain of compute nodes, without a dot at the end.
func (b *builder) domain() string {
	name := strings.ToLower(b.p.ClusterName)
	if b.f.HostedZone != nil {
		return name + "." + b.f.HostedZone.Name
	}
	return name + ".pcluster"
}

// iamPrefix splits ResourcePrefix into a path, which may be empty, and a prefix
// of names, which may be empty, too.
func (b *builder) iamPrefix() (path, name string) {
	prefix := b.c.Iam.ResourcePrefix
	i := strings.LastIndexByte(prefix, '/')
	return prefix[:i+1], prefix[i+1:]
}

// nodePath is the IAM path of the nodes' roles and profiles.
func (b *builder) nodePath() string { return b.functionPath() + b.p.ClusterName + "/" }

// functionPath is the IAM path of the functions' roles.
func (b *builder) functionPath() string {
	if path, _ := b.iamPrefix(); path != "" {
		return path
	}
	return "/parallelcluster/"
}

// iamName returns the name of an IAM resource, or nil to let CloudFormation choose.
func (b *builder) iamName(base, resourceType string) cfn.Text {
	_, prefix := b.iamPrefix()
	if prefix == "" {
		return nil
	}
	sum := sha256.Sum256([]byte(base + b.p.ClusterName + resourceType + b.p.Region))
	return prefix + base + "-" + strings.ToUpper(hex.EncodeToString(sum[:])[:12])
}
