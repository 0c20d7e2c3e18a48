//go:build linux || darwin

package main

import (
	"context"
	"log/slog"

	"github.com/aws/aws-sdk-go-v2/aws"

	"pcluster/internal/cli"
)

// awsOf is the SDK's configuration for commands that keep no log.
func awsOf(env cli.Env) func(ctx context.Context, region string) (aws.Config, error) {
	return func(ctx context.Context, region string) (aws.Config, error) {
		return env.AWS(ctx, region, slog.New(slog.DiscardHandler))
	}
}
