package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"pcluster/internal/config"
)

func newVersionCmd(env *Env, run func(*Env) error) *cobra.Command {
	var c common
	cmd := &cobra.Command{Use: "version", Short: "Display the version of pcluster", Example: "  pcluster version"}
	begin(cmd)
	return plain(env, cmd, &c, false, false, func(context.Context, []string) error { return run(env) })
}

func runVersion(env *Env) error {
	_, err := fmt.Fprintf(env.Stdout, "{\n  \"version\": \"%s\"\n}\n", config.ToolVersion)
	return err
}
