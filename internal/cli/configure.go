package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"pcluster/internal/config"
	"pcluster/internal/configure"
	"pcluster/internal/validate"
)

type configureOptions struct {
	common
	File string // to write
}

func newConfigureCmd(env *Env, run func(context.Context, *Env, configureOptions) error) *cobra.Command {
	var o configureOptions
	cmd := &cobra.Command{
		Use:   "configure",
		Short: "Ask what a cluster shall be and write a file that describes it",
		Long: "Ask what a cluster shall be and write a file that describes it. The choices are those of your account; " +
			"where it has no network for the cluster, one can be created.",
		Example: "  pcluster configure --config cluster.yaml\n  pcluster create-cluster -n demo -c cluster.yaml",
	}
	begin(cmd)
	cmd.Flags().VarP((*textValue)(&o.File), "config", "c", "file to write, which must not exist")
	require(cmd, "config")
	return plain(env, cmd, &o.common, true, false, func(ctx context.Context, _ []string) error { return run(ctx, env, o) })
}

// defaultSystem is the operating system that is offered first.
const defaultSystem = "alinux2023"

func runConfigure(ctx context.Context, env *Env, o configureOptions) error {
	profile, err := env.AWS(ctx, "", env.log)
	if err != nil {
		return fatalf("AWS configuration: %w", err)
	}
	systems := slices.DeleteFunc(config.OperatingSystems(), func(s string) bool { return s == defaultSystem })
	_, terminal := env.Columns()
	err = configure.Run(ctx, configure.NewConsole(env.Stdin, env.Stdout, terminal && env.Getenv("NO_COLOR") == ""), configure.Request{
		File: o.File, Region: o.Region, DefaultRegion: env.regionOfProfile(profile.Region), Supported: validate.Regions,
		Systems: append([]string{defaultSystem}, systems...),
		Open: func(ctx context.Context, region string) (*configure.Cloud, error) {
			cfg, err := env.AWS(ctx, region, env.log)
			if err != nil {
				return nil, fmt.Errorf("AWS configuration: %w", err)
			}
			if err := checkRegion(cfg.Region); err != nil {
				return nil, err
			}
			cfg.APIOptions = append(slices.Clip(cfg.APIOptions), env.logCalls)
			return env.Configure(cfg, env.log), nil
		},
	})
	switch {
	case errors.Is(err, configure.ErrNoNetwork):
		// It has said so. That this is no failure is an old habit, which scripts know.
		return ExitStatus(0)
	case err != nil:
		return &fatalError{err}
	}
	return nil
}

// regionOfProfile returns the region in which commands without --region act.
func (env *Env) regionOfProfile(profile string) string {
	if region, err := chooseRegion("", "", env.Getenv); err == nil && region != "" {
		return region
	}
	return profile
}
