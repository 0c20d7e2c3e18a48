//go:build linux

package sandbox

import "context"

// behalf_gen.go has the services as CloudFormation has them: what it calls (see package
// resource) is asked for, in the name of who asked for the stack.
//
//go:generate go run ./gen

// An asker is asked for permission for a call that CloudFormation is about to make.
type asker func(ctx context.Context, service, operation string, in any) error

// ask makes a call if it may be made.
func ask[I, O any](may asker, ctx context.Context, service, operation string, in *I, call func(context.Context, *I) (*O, error)) (*O, error) {
	if err := may(ctx, service, operation, in); err != nil {
		return nil, err
	}
	return call(ctx, in)
}
