package cluster

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
)

// Delete begins to delete a cluster: the stack, which ends the compute fleet and
// removes what was uploaded. A cluster that is being deleted already is fine.
func (o *Operator) Delete(ctx context.Context, name string) (*Deleting, error) {
	s, err := o.clusterStack(ctx, name)
	if err != nil {
		return nil, err
	}
	if s.status() != string(DeleteInProgress) {
		if err := o.deleteStack(ctx, s); err != nil {
			return nil, err
		}
	}
	return &Deleting{Cluster: s.summary(o.Region, string(DeleteInProgress))}, nil
}

func (o *Operator) deleteStack(ctx context.Context, s cfnStack) error {
	name := s.name()
	_, err := o.CloudFormation.DeleteStack(ctx, &cloudformation.DeleteStackInput{StackName: &name})
	if err == nil {
		return nil
	}
	// Without a stack that deletes itself, at least nothing goes on costing by
	// the hour but the head node, which the user needs to look into it.
	message := "Cluster " + name + " did not delete successfully: " + Explain(err)
	if terr := o.terminateCompute(ctx, name); terr != nil {
		message += "; its compute nodes could not be terminated either: " + Explain(terr)
	}
	return &Error{Status: 500, Body: ErrorBody{Message: message}, cause: fmt.Errorf("delete stack %s: %w", name, err)}
}
