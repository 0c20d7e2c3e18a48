// Package cloudformation is the sandbox's AWS CloudFormation: a real engine that
// deploys templates into the region's own services.
//
// The language of templates is package template, the resource types are package
// resource; here are stacks. A stack has rows (state.go) that are written before
// anything is done, and at most one operation, carried out by one driver
// (driver.go) in phases that a daemon which was killed takes up again where it
// was: create, update, cleanup, rollback, delete. A phase walks the graph of
// resources (walk.go) and brings each one to where the phase wants it (work.go);
// a step that finds its work done returns at once, so repeating a phase is safe.
//
// Where to start: stacks.go for CreateStack and what follows, describe.go for the
// calls that only read. What this CloudFormation does otherwise than AWS's:
//
//   - a Lambda function that fails under a custom resource makes the resource fail
//     at once, not after an hour of silence;
//   - nested stacks do not roll back by themselves when they are created: the root
//     deletes them;
//   - transforms, rules, stack policies, drift detection and stack sets do not exist.
package cloudformation
