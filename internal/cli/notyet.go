package cli

import (
	"context"
	"net/http"

	"pcluster/internal/cluster"
)

// Commands whose work is not written yet exist all the same, so that their
// arguments are checked and their answers have the right shape.

func errNotYet(command string) error {
	return &cluster.Error{Status: http.StatusNotImplemented, Body: cluster.ErrorBody{Message: command + " is not implemented yet."}}
}

// notYet is the run function of an operation that is not written yet.
func notYet[Options any](command string) func(context.Context, *Env, Options) (any, error) {
	return func(context.Context, *Env, Options) (any, error) { return nil, errNotYet(command) }
}
