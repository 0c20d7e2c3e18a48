package node

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/config"
	"pcluster/internal/fleet"
)

// A mungeRotation gives the cluster another key for munge. Nodes take the key at their
// boot, so that none may run meanwhile but the head.
type mungeRotation struct {
	*Host
	cluster   string
	secretARN string // empty: a new key
	anyway    bool   // whatever login nodes do
	secrets   vault
	instances instancesAPI
	status    func(context.Context) (fleet.Status, error)
}

// updateMungeKey is update_munge_key.sh.
func updateMungeKey(ctx context.Context, h *Host, args []string) error {
	for _, a := range args {
		if a != "-d" && a != "--disable-login-nodes-check" {
			return fmt.Errorf("usage: update_munge_key.sh [-d], not %s", strings.Join(args, " "))
		}
	}
	told, c, cfg, err := h.ofCluster(ctx)
	if err != nil {
		return err
	}
	item := &fleet.StatusItem{DynamoDB: dynamoClient(cfg), Table: told.DynamoDBTable}
	r := &mungeRotation{
		Host: h, cluster: told.ClusterName, secretARN: c.Scheduling.SlurmSettings.MungeKeySecretArn, anyway: len(args) > 0,
		secrets: newVault(cfg), instances: ec2.NewFromConfig(cfg), status: item.Get,
	}
	return r.run(ctx)
}

func (r *mungeRotation) run(ctx context.Context) error {
	switch now, err := r.status(ctx); {
	case err != nil:
		return err
	case now != fleet.Stopped:
		return fmt.Errorf("the compute fleet is %s: stop it before the munge key is changed (pcluster update-compute-fleet --status STOP_REQUESTED)", now)
	}
	if !r.anyway {
		if err := loginNodesStopped(ctx, r.instances, r.cluster); err != nil {
			return err
		}
	}
	return r.replaceMungeKey(ctx, r.secrets, r.secretARN)
}

// checkLoginNodesStopped is check_login_nodes_stopped.sh.
func checkLoginNodesStopped(ctx context.Context, h *Host) error {
	told, err := h.ReadSpec()
	if err != nil {
		return err
	}
	cfg, err := awsConfig(ctx, told)
	if err != nil {
		return err
	}
	return loginNodesStopped(ctx, ec2.NewFromConfig(cfg), told.ClusterName)
}

// instancesAPI is the part of EC2 that finds instances.
type instancesAPI = ec2.DescribeInstancesAPIClient

// loginNodesStopped fails while the cluster has login nodes.
func loginNodesStopped(ctx context.Context, api instancesAPI, cluster string) error {
	var running []string
	pages := ec2.NewDescribeInstancesPaginator(api, &ec2.DescribeInstancesInput{Filters: []types.Filter{
		{Name: aws.String("tag:" + config.ToolTagPrefix + "cluster-name"), Values: []string{cluster}},
		{Name: aws.String("tag:" + config.ToolTagPrefix + "node-type"), Values: []string{"LoginNode"}},
		{Name: aws.String("instance-state-name"), Values: []string{"pending", "running", "stopping", "shutting-down"}},
	}})
	for pages.HasMorePages() {
		out, err := pages.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("login nodes of the cluster: %w", err)
		}
		for _, r := range out.Reservations {
			for _, i := range r.Instances {
				running = append(running, aws.ToString(i.InstanceId))
			}
		}
	}
	if len(running) == 0 {
		return nil
	}
	slices.Sort(running)
	return fmt.Errorf("login nodes run (%s): set the Count of their pools to 0 before", strings.Join(running, ", "))
}
