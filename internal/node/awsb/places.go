package awsb

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/batch"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

var queuesCommand = command{
	about:   "Show the cluster's job queue, or all that is known of those that are named.",
	options: []option{{short: "-d", long: "--details", about: "say all that is known"}},
	operand: "[job_queues ...]", run: queues,
}

// queues shows job queues.
func queues(ctx context.Context, s *session, a arguments) error {
	names := a.operands
	details := a.given("--details") || len(names) > 0
	if len(names) == 0 {
		names = []string{s.cluster.queue}
	}
	out, err := s.batch.DescribeJobQueues(ctx, &batch.DescribeJobQueuesInput{JobQueues: names})
	if err != nil {
		return err
	}
	var rows [][]string
	for _, q := range out.JobQueues {
		if details {
			pairs := [][2]string{
				{"jobQueueArn", aws.ToString(q.JobQueueArn)}, {"jobQueueName", aws.ToString(q.JobQueueName)}, {"priority", number(q.Priority)},
				{"status", string(q.Status)}, {"statusReason", aws.ToString(q.StatusReason)},
			}
			s.details(pairs)
			continue
		}
		rows = append(rows, []string{aws.ToString(q.JobQueueName), string(q.Status)})
	}
	if !details {
		s.table([]string{"jobQueueName", "status"}, rows)
	}
	return nil
}

var hostsCommand = command{
	about:   "Show the instances on which the cluster's jobs run, or all that is known of those that are named.",
	options: []option{{short: "-d", long: "--details", about: "say all that is known"}},
	operand: "[instance_ids ...]", run: hosts,
}

// hosts shows instances of the cluster's compute environment.
func hosts(ctx context.Context, s *session, a arguments) error {
	details := a.given("--details") || len(a.operands) > 0
	machines, err := s.machines(ctx, a.operands)
	if err != nil {
		return err
	}
	instances := map[string]ec2types.Instance{}
	for some := range slices.Chunk(sortedKeys(machines), 200) {
		out, err := s.ec2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: some})
		if err != nil {
			return err
		}
		for _, r := range out.Reservations {
			for _, i := range r.Instances {
				instances[*i.InstanceId] = i
			}
		}
	}
	var rows [][]string
	for _, id := range sortedKeys(machines) {
		m, i := machines[id], instances[id]
		if !details {
			rows = append(rows, []string{id, string(i.InstanceType), orDash(aws.ToString(i.PrivateIpAddress)), orDash(aws.ToString(i.PublicIpAddress)), strconv.Itoa(int(m.RunningTasksCount))})
			continue
		}
		pairs := [][2]string{
			{"ec2InstanceId", id}, {"containerInstanceArn", aws.ToString(m.ContainerInstanceArn)}, {"status", aws.ToString(m.Status)}, {"instanceType", string(i.InstanceType)},
			{"privateIpAddress", aws.ToString(i.PrivateIpAddress)}, {"publicIpAddress", aws.ToString(i.PublicIpAddress)},
			{"privateDnsName", aws.ToString(i.PrivateDnsName)}, {"publicDnsName", aws.ToString(i.PublicDnsName)},
			{"runningJobs", strconv.Itoa(int(m.RunningTasksCount))}, {"pendingJobs", strconv.Itoa(int(m.PendingTasksCount))},
		}
		for _, r := range []struct {
			name string
			list []ecstypes.Resource
		}{{"registered", m.RegisteredResources}, {"available", m.RemainingResources}} {
			for _, v := range r.list {
				switch aws.ToString(v.Name) {
				case "CPU":
					pairs = append(pairs, [2]string{r.name + "CPUs", strconv.FormatFloat(float64(v.IntegerValue)/1024, 'f', 1, 64)})
				case "MEMORY":
					pairs = append(pairs, [2]string{r.name + "Memory[MB]", strconv.Itoa(int(v.IntegerValue))})
				}
			}
		}
		s.details(pairs)
	}
	if details && len(machines) == 0 {
		fmt.Fprintln(s.stdout, "No items to show")
	}
	if !details {
		s.table([]string{"ec2InstanceId", "instanceType", "privateIpAddress", "publicIpAddress", "runningJobs"}, rows)
	}
	return nil
}

// machines returns what ECS knows of the instances of the compute environment, by their
// IDs; only some if any are named.
func (s *session) machines(ctx context.Context, only []string) (map[string]ecstypes.ContainerInstance, error) {
	env, err := s.batch.DescribeComputeEnvironments(ctx, &batch.DescribeComputeEnvironmentsInput{ComputeEnvironments: []string{s.cluster.environment}})
	if err != nil {
		return nil, err
	}
	if len(env.ComputeEnvironments) == 0 {
		return nil, fmt.Errorf("compute environment %s does not exist", s.cluster.environment)
	}
	cluster := env.ComputeEnvironments[0].EcsClusterArn
	var arns []string
	for in := (&ecs.ListContainerInstancesInput{Cluster: cluster}); ; {
		out, err := s.ecs.ListContainerInstances(ctx, in)
		if err != nil {
			return nil, err
		}
		arns = append(arns, out.ContainerInstanceArns...)
		if in.NextToken = out.NextToken; in.NextToken == nil {
			break
		}
	}
	found := map[string]ecstypes.ContainerInstance{}
	for some := range slices.Chunk(arns, 100) {
		out, err := s.ecs.DescribeContainerInstances(ctx, &ecs.DescribeContainerInstancesInput{Cluster: cluster, ContainerInstances: some})
		if err != nil {
			return nil, err
		}
		for _, m := range out.ContainerInstances {
			if id := aws.ToString(m.Ec2InstanceId); len(only) == 0 || slices.Contains(only, id) {
				found[id] = m
			}
		}
	}
	for _, id := range only {
		if _, ok := found[id]; !ok {
			return nil, fmt.Errorf("%s is none of the instances of the cluster's jobs", strings.TrimSpace(id))
		}
	}
	return found, nil
}
