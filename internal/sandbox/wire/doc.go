// Package wire speaks AWS's protocols for the services of the sandbox.
//
// A service is a set of functions with the shape of the SDK's own calls:
//
//	func (s *Service) RunInstances(ctx context.Context, in *ec2.RunInstancesInput) (*ec2.RunInstancesOutput, error)
//
// [Handle] attaches them to a [Service], which is the http.Handler of one AWS
// API. It turns requests into the SDK's Input structs and Output structs into
// responses, as AWS's published API model says (folder models, made by folder
// gen), refuses what the model forbids, and puts errors into the form that the
// protocol has for them. An [Endpoint] stands before all services of a region:
// it checks signatures and finds the service that a request is for.
//
// The package knows protocols, not services: nothing in it depends on what an
// operation means. S3 is not in the codec (package s3 answers it by itself), but
// its requests pass the same Endpoint and the same signature check.
//
// Where to start: [Service.ServeHTTP] for the way of a request, plan.go for how
// a model and a Go type become a table, and protocol.go for what differs between
// protocols.
package wire
