package cluster

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/config"
)

// Kinds of nodes, as users write them.
const (
	NodeTypeHead    = "HeadNode"
	NodeTypeCompute = "ComputeNode"
	NodeTypeLogin   = "LoginNode"
)

// NodeTypes are the kinds of nodes by which instances can be listed.
var NodeTypes = []string{NodeTypeHead, NodeTypeCompute, NodeTypeLogin}

// tagOfNodeType returns the value that the instances of such nodes are tagged
// with.
func tagOfNodeType(nodeType string) string {
	if nodeType == NodeTypeCompute {
		return "Compute"
	}
	return nodeType
}

func nodeTypeOfTag(value string) string {
	switch value {
	case NodeTypeHead, NodeTypeLogin:
		return value
	}
	return NodeTypeCompute
}

// An InstanceFilter selects instances of a cluster; empty fields select all.
type InstanceFilter struct {
	NodeType  string
	QueueName string
	NextToken string
}

// DescribeInstances returns one page of the live instances of a cluster. It does
// not look whether the cluster exists: what is left of a deleted one shows too.
func (o *Operator) DescribeInstances(ctx context.Context, cluster string, f InstanceFilter) (*Instances, error) {
	found, next, err := o.instances(ctx, cluster, f)
	if err != nil {
		return nil, err
	}
	page := &Instances{Instances: []Instance{}, NextToken: next}
	for _, i := range found {
		page.Instances = append(page.Instances, Instance{
			LaunchTime:       Time{aws.ToTime(i.LaunchTime)},
			InstanceID:       aws.ToString(i.InstanceId),
			QueueName:        instanceTag(i, tagQueue),
			PoolName:         instanceTag(i, tagPool),
			PublicIPAddress:  aws.ToString(i.PublicIpAddress),
			InstanceType:     string(i.InstanceType),
			State:            stateOf(i),
			NodeType:         nodeTypeOfTag(instanceTag(i, tagNodeType)),
			PrivateIPAddress: aws.ToString(i.PrivateIpAddress),
		})
	}
	return page, nil
}

func (o *Operator) instances(ctx context.Context, cluster string, f InstanceFilter) (_ []ec2types.Instance, next string, _ error) {
	filter := func(name string, values ...string) ec2types.Filter {
		return ec2types.Filter{Name: &name, Values: values}
	}
	in := &ec2.DescribeInstancesInput{Filters: []ec2types.Filter{
		filter("tag:"+tagCluster, cluster),
		filter("instance-state-name", "pending", "running", "stopping", "stopped"),
	}}
	if f.NodeType != "" {
		in.Filters = append(in.Filters, filter("tag:"+tagNodeType, tagOfNodeType(f.NodeType)))
	}
	if f.QueueName != "" {
		in.Filters = append(in.Filters, filter("tag:"+tagQueue, f.QueueName))
	}
	if f.NextToken != "" {
		in.NextToken = &f.NextToken
	}
	out, err := o.EC2.DescribeInstances(ctx, in)
	if err != nil {
		return nil, "", err
	}
	var found []ec2types.Instance
	for _, r := range out.Reservations {
		found = append(found, r.Instances...)
	}
	return found, aws.ToString(out.NextToken), nil
}

// headNode returns the instance of a cluster's head node.
func (o *Operator) headNode(ctx context.Context, cluster string) (ec2types.Instance, bool, error) {
	f := InstanceFilter{NodeType: NodeTypeHead}
	for {
		found, next, err := o.instances(ctx, cluster, f)
		if err != nil || len(found) > 0 || next == "" {
			if len(found) == 0 {
				return ec2types.Instance{}, false, err
			}
			return found[0], true, err
		}
		f.NextToken = next
	}
}

// DeleteInstances terminates the compute nodes of a cluster; with force, also
// those of one whose stack is gone.
func (o *Operator) DeleteInstances(ctx context.Context, cluster string, force bool) error {
	s, err := o.clusterStack(ctx, cluster)
	if refused, ok := errors.AsType[*Error](err); ok && refused.Status == http.StatusNotFound {
		if err = nil; !force {
			err = refuse(http.StatusNotFound, "%s To force the deletion of all compute nodes, please use the `force` param.", refused.Body.Message)
		}
	}
	if err != nil {
		return err
	}
	if s.batch() {
		return badRequest("the delete cluster instances operation does not support AWS Batch clusters.")
	}
	return o.terminateCompute(ctx, cluster)
}

// terminateCompute terminates the compute nodes of a cluster whose stack can't.
func (o *Operator) terminateCompute(ctx context.Context, cluster string) error {
	var ids []string
	for f := (InstanceFilter{NodeType: NodeTypeCompute}); ; {
		found, next, err := o.instances(ctx, cluster, f)
		if err != nil {
			return err
		}
		for _, instance := range found {
			ids = append(ids, aws.ToString(instance.InstanceId))
		}
		if f.NextToken = next; next == "" {
			break
		}
	}
	for batch := range slices.Chunk(ids, 100) {
		if _, err := o.EC2.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: batch}); err != nil {
			return err
		}
	}
	return nil
}

// A Login is how to reach a node: the account of its operating system, and an
// address.
type Login struct {
	User    string
	Address string
}

// HeadNodeLogin returns how to reach the head node of a cluster.
func (o *Operator) HeadNodeLogin(ctx context.Context, cluster string) (Login, error) {
	instance, ok, err := o.headNode(ctx, cluster)
	if err != nil {
		return Login{}, err
	}
	if !ok {
		return Login{}, refuse(404, "The head node of cluster '%s' was not found: no instance has the tags %s=%s and %s=%s. Is the name right, and the region %s?",
			cluster, tagCluster, cluster, tagNodeType, NodeTypeHead, o.Region)
	}
	login := Login{User: userOf(instance), Address: aws.ToString(instance.PublicIpAddress)}
	if login.Address == "" {
		login.Address = aws.ToString(instance.PrivateIpAddress)
	}
	return login, nil
}

// userOf returns the account of an instance's operating system.
func userOf(i ec2types.Instance) string {
	os, _, _ := strings.Cut(instanceTag(i, tagAttribute), ",")
	return config.DefaultUser(strings.TrimSpace(os))
}

// LoginNodeLogin returns how to reach the login node that has an address.
func (o *Operator) LoginNodeLogin(ctx context.Context, cluster, address string) (Login, error) {
	if ip, err := netip.ParseAddr(address); err != nil || !ip.Is4() {
		return Login{}, badRequest("%s is not a valid IPv4 address.", address)
	}
	for f := (InstanceFilter{NodeType: NodeTypeLogin}); ; {
		found, next, err := o.instances(ctx, cluster, f)
		if err != nil {
			return Login{}, err
		}
		for _, i := range found {
			if address == aws.ToString(i.PublicIpAddress) || address == aws.ToString(i.PrivateIpAddress) {
				return Login{User: userOf(i), Address: address}, nil
			}
		}
		if f.NextToken = next; next == "" {
			return Login{}, refuse(http.StatusNotFound, "%s is not an IP address of a login node.", address)
		}
	}
}

func instanceTag(i ec2types.Instance, key string) string {
	for _, t := range i.Tags {
		if aws.ToString(t.Key) == key {
			return aws.ToString(t.Value)
		}
	}
	return ""
}

func stateOf(i ec2types.Instance) string {
	if i.State == nil {
		return ""
	}
	return string(i.State.Name)
}
