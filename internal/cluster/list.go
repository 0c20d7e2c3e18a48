package cluster

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
)

// List returns one page of the region's clusters, those in one of the statuses
// if any are given. CloudFormation pages before we filter: a page may be empty
// and still name a next one.
func (o *Operator) List(ctx context.Context, statuses []string, nextToken string) (*List, error) {
	in := &cloudformation.DescribeStacksInput{}
	if nextToken != "" {
		in.NextToken = &nextToken
	}
	out, err := o.CloudFormation.DescribeStacks(ctx, in)
	if err != nil {
		return nil, err
	}
	list := &List{NextToken: aws.ToString(out.NextToken), Clusters: []Summary{}}
	for _, raw := range out.Stacks {
		s := cfnStack{raw}
		if !s.isCluster() {
			continue
		}
		summary := s.summary(o.Region, s.status())
		if len(statuses) == 0 || slices.Contains(statuses, string(summary.ClusterStatus)) {
			list.Clusters = append(list.Clusters, summary)
		}
	}
	return list, nil
}
