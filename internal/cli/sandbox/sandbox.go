//go:build linux

// Package sandbox is the `pcluster sandbox` command: a region on this machine. It
// parses flags and prints; the region itself is internal/sandbox. Start at [New].
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"pcluster/internal/component"
	"pcluster/internal/sandbox"
)

// HomeVariable names the environment variable that moves a region's folder.
const HomeVariable = "PCLUSTER_SANDBOX_HOME"

// New returns the command with its subcommands.
func New() *cobra.Command {
	home := defaultHome()
	cmd := &cobra.Command{
		Use:   "sandbox",
		Short: "Run an AWS region on this machine: real machines, real Slurm, no cloud",
		Long: `Run an AWS region on this machine. Its services answer any AWS client, its
instances are real machines with systemd, cloud-init, sshd and Slurm, so that a
production cluster file runs here unmodified.

  pcluster sandbox up
  eval "$(pcluster sandbox env)"
  pcluster sandbox adopt -c cluster.yaml    # what the file refers to
  pcluster create-cluster -n test -c cluster.yaml --wait
  pcluster sandbox destroy`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().StringVar(&home, "home", home, "folder of the region's state ($"+HomeVariable+")")
	region := func() sandbox.Home { return absolute(home) }
	cmd.AddCommand(
		newUp(region), newDown(region), newStatus(region), newEnv(region), newAdopt(region),
		newDestroy(region), newCapacity(region), newFault(region), newImportImage(region), newExec(region), newConnect(region), newDaemon(region),
	)
	return cmd
}

// defaultHome is the region's folder where no option says another.
func defaultHome() string {
	if home := os.Getenv(HomeVariable); home != "" {
		return home
	}
	return sandbox.DefaultHome
}

func absolute(home string) sandbox.Home {
	if abs, err := filepath.Abs(home); err == nil {
		return sandbox.Home(abs)
	}
	return sandbox.Home(home)
}

// TryComponent runs a component on a machine of the region that $PCLUSTER_SANDBOX_HOME
// names, else of the default one.
func TryComponent(ctx context.Context, t component.Trial, say func(component.TrialEvent)) (*component.Outcome, error) {
	return sandbox.NewClient(absolute(defaultHome())).TryComponent(ctx, t, say)
}

func newUp(home func() sandbox.Home) *cobra.Command {
	o := sandbox.UpOptions{}
	noSSH := false
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start the region, or find it running",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.SSHConfig = !noSSH
			o.Progress = cmd.ErrOrStderr()
			if o.Record != "" {
				abs, err := filepath.Abs(o.Record)
				if err != nil {
					return err
				}
				o.Record = abs
			}
			start := time.Now()
			status, err := sandbox.Up(cmd.Context(), home(), o)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "region %s is up (%.1f s), account %s, endpoint %s\nnext: eval \"$(pcluster sandbox%s env)\"\n",
				status.Region, time.Since(start).Seconds(), status.Account, status.Endpoint, homeFlag(home()))
			return nil
		},
	}
	cmd.Flags().IntVar(&o.Port, "port", 0, "loopback port of the AWS endpoint (default "+strconv.Itoa(sandbox.DefaultPort)+"; kept until the region is destroyed)")
	cmd.Flags().StringVar(&o.Region, "region", "", "name of the region (default us-east-1, or what the first adopted file says)")
	cmd.Flags().StringVar(&o.Account, "account", "", "account number (default 111122223333, or what the first adopted file says)")
	cmd.Flags().StringVar(&o.Cache, "cache", sandbox.DefaultCache, "folder of the machines' base images")
	cmd.Flags().StringVar(&o.Record, "record", "", "file that gets which permissions each call asked for: JSON, a line for each call")
	cmd.Flags().BoolVar(&o.Internet, "internet", false, "let machines with a way out reach by HTTP and HTTPS whatever this machine reaches; else only mirrors of packages")
	cmd.Flags().BoolVar(&noSSH, "no-ssh-config", false, "do not let plain ssh reach the region's addresses (through a file in /etc/ssh/ssh_config.d)")
	return cmd
}

// homeFlag is what has to be added to a command line to reach the same region.
func homeFlag(h sandbox.Home) string {
	if h == sandbox.DefaultHome || os.Getenv(HomeVariable) != "" {
		return ""
	}
	return " --home " + string(h)
}

func newDown(home func() sandbox.Home) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Stop the region's machines and its daemon, keep its state",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := sandbox.Down(cmd.Context(), home()); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), "region is down; its state is kept")
			return nil
		},
	}
}

func newDestroy(home func() sandbox.Home) *cobra.Command {
	return &cobra.Command{
		Use:   "destroy",
		Short: "Stop the region and remove everything of it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := sandbox.Destroy(cmd.Context(), home()); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), "region is gone")
			return nil
		},
	}
}

func newStatus(home func() sandbox.Home) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the region, its machines and their memory",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := sandbox.NewClient(home()).Status(cmd.Context())
			if err != nil {
				return err
			}
			printStatus(cmd.OutOrStdout(), s)
			return nil
		},
	}
}

func printStatus(w io.Writer, s sandbox.Status) {
	fmt.Fprintf(w, "region %s, account %s, endpoint %s\ndaemon pid %d, up %s, %d MiB\n",
		s.Region, s.Account, s.Endpoint, s.PID, time.Since(s.Since).Round(time.Second), s.MemoryBytes>>20)
	for _, what := range s.Lacks {
		fmt.Fprintf(w, "machines lack %s\n", what)
	}
	if len(s.Machines) == 0 {
		fmt.Fprintln(w, "no machines")
		return
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "MACHINE\tNAME\tTYPE\tSTATE\tADDRESS\tMEMORY")
	for _, m := range s.Machines {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d MiB\n", m.ID, m.Name, m.Type, m.State, m.Address, m.MemoryBytes>>20)
	}
	t.Flush()
}

func newEnv(home func() sandbox.Home) *cobra.Command {
	return &cobra.Command{
		Use:   "env",
		Short: "Print the shell exports that point any AWS client at the region",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := sandbox.NewClient(home()).Status(cmd.Context())
			if err != nil {
				return err
			}
			for _, v := range s.Environment() {
				fmt.Fprintf(cmd.OutOrStdout(), "export %s=%s\n", v.Name, v.Value)
			}
			return nil
		},
	}
}

func newAdopt(home func() sandbox.Home) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "adopt -c FILE",
		Short: "Create what a cluster or image file refers to and does not own, under the IDs in the file",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			data, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			a, err := sandbox.NewClient(home()).Adopt(cmd.Context(), file, data)
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			for _, r := range a.Resources {
				fmt.Fprintf(w, "%s\t%s\t%s\n", r.Kind, r.ID, r.Note)
			}
			w.Flush()
			for _, n := range a.NotAdopted {
				fmt.Fprintln(cmd.ErrOrStderr(), "not adopted:", n)
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&file, "cluster-configuration", "c", "", "cluster file, or image file")
	cobra.CheckErr(cmd.MarkFlagRequired("cluster-configuration"))
	return cmd
}

func newCapacity(home func() sandbox.Home) *cobra.Command {
	return &cobra.Command{
		Use:   "capacity INSTANCE-TYPE N|unlimited",
		Short: "Let the region have only N instances of a type; more get InsufficientInstanceCapacity",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			n := -1
			if args[1] != "unlimited" {
				var err error
				if n, err = strconv.Atoi(args[1]); err != nil || n < 0 {
					return fmt.Errorf("capacity %q: give a number of instances, or unlimited", args[1])
				}
			}
			return sandbox.NewClient(home()).SetCapacity(cmd.Context(), args[0], n)
		},
	}
}

func newExec(home func() sandbox.Home) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "exec COMMAND [ARG ...]",
		Short: "Run a command of this machine inside the region's network",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return sandbox.Exec(home(), args) // returns only when it fails
		},
	}
	cmd.Flags().SetInterspersed(false)
	return cmd
}

func newConnect(home func() sandbox.Home) *cobra.Command {
	return &cobra.Command{
		Use:    "connect HOST PORT",
		Short:  "Join standard input and output to a port inside the region (an ssh ProxyCommand)",
		Args:   cobra.ExactArgs(2),
		Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			conn, err := sandbox.NewClient(home()).Connect(cmd.Context(), args[0]+":"+args[1])
			if err != nil {
				return err
			}
			defer conn.Close()
			go func() {
				_, _ = io.Copy(conn, cmd.InOrStdin())
				if c, ok := conn.(interface{ CloseWrite() error }); ok {
					_ = c.CloseWrite()
				}
			}()
			_, err = io.Copy(cmd.OutOrStdout(), conn)
			return err
		},
	}
}

func newDaemon(home func() sandbox.Home) *cobra.Command {
	return &cobra.Command{
		Use:    "daemon",
		Short:  "The region's daemon; `up` starts it",
		Args:   cobra.NoArgs,
		Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := sandbox.Serve(cmd.Context(), home())
			if errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		},
	}
}
