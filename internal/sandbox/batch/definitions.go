package batch

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/batch"
	"github.com/aws/aws-sdk-go-v2/service/batch/types"

	"pcluster/internal/sandbox/page"
)

// checkContainer refuses containers that jobs here can't have.
func checkContainer(c *types.ContainerProperties) error {
	switch {
	case c == nil:
		return invalid("Error executing request, Exception : Container properties should not be empty")
	case aws.ToString(c.Image) == "":
		return invalid("Error executing request, Exception : Container properties image should not be empty")
	case len(c.Volumes)+len(c.MountPoints) > 0:
		return elsewhere("Volumes of containers")
	case len(c.Secrets) > 0:
		return elsewhere("Secrets of containers")
	case aws.ToString(c.User) != "" && aws.ToString(c.User) != "root":
		return elsewhere("Containers of users other than root")
	case c.FargatePlatformConfiguration != nil:
		return elsewhere("Containers on Fargate")
	}
	if vcpus, memory := needs(c); vcpus < 1 || memory < 4 {
		return invalid("Error executing request, Exception : Container properties need vcpus of at least 1 and memory of at least 4 MiB")
	}
	return nil
}

// needs are the vCPUs and the memory, in MiB, of a container.
func needs(c *types.ContainerProperties) (vcpus, memory int32) {
	vcpus, memory = aws.ToInt32(c.Vcpus), aws.ToInt32(c.Memory)
	for _, r := range c.ResourceRequirements {
		n, _ := strconv.ParseFloat(aws.ToString(r.Value), 32)
		switch r.Type {
		case types.ResourceTypeVcpu:
			vcpus = int32(n)
		case types.ResourceTypeMemory:
			memory = int32(n)
		}
	}
	return vcpus, memory
}

// RegisterJobDefinition adds a revision of a definition.
func (s *Service) RegisterJobDefinition(_ context.Context, in *sdk.RegisterJobDefinitionInput) (*sdk.RegisterJobDefinitionOutput, error) {
	name := aws.ToString(in.JobDefinitionName)
	switch {
	case !validName.MatchString(name):
		return nil, invalid("Error executing request, Exception : jobDefinitionName %q is not valid", name)
	case in.EksProperties != nil || in.EcsProperties != nil || slices.Contains(in.PlatformCapabilities, types.PlatformCapabilityFargate):
		return nil, elsewhere("Jobs on EKS, on Fargate, and of several containers")
	}
	switch in.Type {
	case types.JobDefinitionTypeContainer:
		if err := checkContainer(in.ContainerProperties); err != nil {
			return nil, err
		}
	case types.JobDefinitionTypeMultinode:
		if in.NodeProperties == nil || aws.ToInt32(in.NodeProperties.NumNodes) < 1 || len(in.NodeProperties.NodeRangeProperties) == 0 {
			return nil, invalid("Error executing request, Exception : Node properties need a number of nodes and a range of them")
		}
		for _, r := range in.NodeProperties.NodeRangeProperties {
			if err := checkContainer(r.Container); err != nil {
				return nil, err
			}
		}
	default:
		return nil, invalid("Error executing request, Exception : Job definition type %q is not valid", in.Type)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	revision := int32(1)
	for _, d := range s.definitions.All() {
		if *d.JobDefinitionName == name {
			revision = max(revision, *d.Revision+1)
		}
	}
	d := types.JobDefinition{
		JobDefinitionName: &name, JobDefinitionArn: aws.String(s.id.ARN("batch", fmt.Sprintf("job-definition/%s:%d", name, revision))), Revision: &revision,
		Status: aws.String("ACTIVE"), Type: aws.String(string(in.Type)), ContainerProperties: in.ContainerProperties, NodeProperties: in.NodeProperties,
		Parameters: in.Parameters, PropagateTags: in.PropagateTags, RetryStrategy: in.RetryStrategy, Timeout: in.Timeout, Tags: in.Tags,
		PlatformCapabilities: in.PlatformCapabilities, ContainerOrchestrationType: types.OrchestrationTypeEcs,
	}
	return &sdk.RegisterJobDefinitionOutput{JobDefinitionArn: d.JobDefinitionArn, JobDefinitionName: &name, Revision: &revision}, s.definitions.Put(nameOf(d.JobDefinitionArn), d)
}

// definition returns the active revision of a name, name:revision or ARN; without a
// revision, the last.
func (s *Service) definition(which *string) (out types.JobDefinition, err error) {
	name, revision, given := strings.Cut(nameOf(which), ":")
	found := false
	for _, d := range s.definitions.All() {
		if *d.JobDefinitionName != name || given && fmt.Sprint(*d.Revision) != revision || aws.ToString(d.Status) != "ACTIVE" {
			continue
		}
		if !found || *d.Revision > *out.Revision {
			out, found = d, true
		}
	}
	if !found {
		return out, invalid("Error executing request, Exception : JobDefinition %s does not exist or is not ACTIVE", aws.ToString(which))
	}
	return out, nil
}

// DeregisterJobDefinition makes a revision inactive: jobs of it go on.
func (s *Service) DeregisterJobDefinition(_ context.Context, in *sdk.DeregisterJobDefinitionInput) (*sdk.DeregisterJobDefinitionOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := nameOf(in.JobDefinition)
	if _, ok := s.definitions.Get(name); !ok {
		return &sdk.DeregisterJobDefinitionOutput{}, nil
	}
	_, err := s.definitions.Update(name, func(d *types.JobDefinition) error {
		d.Status = aws.String("INACTIVE")
		return nil
	})
	return &sdk.DeregisterJobDefinitionOutput{}, err
}

// DescribeJobDefinitions tells of definitions.
func (s *Service) DescribeJobDefinitions(_ context.Context, in *sdk.DescribeJobDefinitionsInput) (*sdk.DescribeJobDefinitionsOutput, error) {
	all := []types.JobDefinition{}
	for _, d := range s.definitions.All() {
		full := fmt.Sprintf("%s:%d", *d.JobDefinitionName, *d.Revision)
		switch {
		case len(in.JobDefinitions) > 0 && !slices.ContainsFunc(in.JobDefinitions, func(n string) bool { n = nameOf(&n); return n == full || n == *d.JobDefinitionName }):
		case in.JobDefinitionName != nil && *in.JobDefinitionName != *d.JobDefinitionName:
		case in.Status != nil && *in.Status != *d.Status:
		default:
			all = append(all, d)
		}
	}
	some, next, err := page.Of(all, func(d types.JobDefinition) string { return nameOf(d.JobDefinitionArn) }, in.NextToken, page.Limit(in.MaxResults, 100))
	if err != nil {
		return nil, errToken
	}
	return &sdk.DescribeJobDefinitionsOutput{JobDefinitions: some, NextToken: next}, nil
}
