// Package ec2 is the sandbox's Amazon EC2: networks, security groups, images,
// volumes, launch templates, and instances that really boot.
//
// Handlers have the shape of the SDK's calls and the errors of AWS. What EC2
// describes is kept in tables as the SDK's own types, so a Describe call hands out
// rows as they are; only what follows from other rows (free addresses of a
// subnet, attachments of a gateway) is worked out on the way.
//
// An instance is a row with a state, and one worker at a time that makes the
// machine follow the row (lifecycle.go): requests only ever write the state that
// they ask for. That is why a daemon that was killed finds its instances again,
// and why RunInstances returns at once. What the instance's machine is made of
// belongs to package machine, and how packets travel to package vpc; both are
// reached through the interfaces in service.go.
//
// How instances end here, as it differs from what one may expect:
//   - shut down from inside: stopped or terminated, as their
//     InstanceInitiatedShutdownBehavior says, with AWS's reason;
//   - the machine dies (its first process is killed, or it could not boot):
//     terminated with Server.InternalError, as after the loss of a host. Killing a
//     machine is how people of this sandbox try the loss of a node;
//   - terminated instances stay visible for [terminatedFor], without addresses,
//     interfaces or volumes.
//
// Machines have no instance store disks, whatever their type, and mappings of
// ephemeral devices are taken without effect. DescribeInstanceTypes tells the
// truth about AWS, not about the machine.
//
// All networks of a region share one address space, since machines are routed and
// not tunnelled: two VPCs may not have subnets that overlap. There is no default
// VPC until CreateDefaultVpc is called.
//
// Where to start: launch.go for RunInstances, lifecycle.go for what follows,
// describe.go for DescribeInstances and filter.go for how filters are answered.
package ec2
