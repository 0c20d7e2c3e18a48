package cli

import (
	"context"

	"github.com/spf13/cobra"
)

type configureOptions struct {
	common
	File string // to write
}

func newConfigureCmd(env *Env, run func(context.Context, *Env, configureOptions) error) *cobra.Command {
	var o configureOptions
	cmd := &cobra.Command{
		Use:     "configure",
		Short:   "Ask what a cluster shall be and write a file that describes it",
		Example: "  pcluster configure --config cluster.yaml",
	}
	begin(cmd)
	cmd.Flags().VarP((*textValue)(&o.File), "config", "c", "file to write, which must not exist")
	require(cmd, "config")
	return plain(env, cmd, &o.common, true, false, func(ctx context.Context, _ []string) error { return run(ctx, env, o) })
}
