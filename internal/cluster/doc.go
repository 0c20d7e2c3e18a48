// Package cluster carries out operations on clusters: create, describe, list,
// delete, look at instances, start and stop the compute fleet, read and export
// logs, and follow what happens while a stack is created or deleted.
//
// An [Operator] acts in one region through the AWS SDK. What a cluster is lives
// elsewhere and is only asked for here: CloudFormation owns the stack, EC2 the
// instances, DynamoDB the status of the fleet, and a versioned bucket what was
// uploaded. No state is kept between two calls.
//
// Results have the shape, the key order and the words of the REST API (see
// models.go), so that commands and server print them as they are. Refusals are
// an [*Error], which carries the status and the body that the API would answer.
//
// Start with [Operator.Create] in create.go. What can be computed without AWS is
// in status.go and failure.go.
package cluster
