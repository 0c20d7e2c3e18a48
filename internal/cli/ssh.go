package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

type sshOptions struct {
	common
	Cluster string
	DryRun  bool
}

func newSSHCmd(env *Env, run func(context.Context, *Env, sshOptions, []string) error) *cobra.Command {
	var o sshOptions
	cmd := &cobra.Command{
		Use:   "ssh",
		Short: "Connect to the head node of a cluster with SSH",
		Long: "Connect to the head node of a cluster with SSH, as the default user of its operating system. " +
			"Arguments that pcluster does not know go to ssh, after user and address.",
		Annotations: map[string]string{exitStatus: "1 there is no head node, or ssh could not be run; the status of ssh itself is not passed on"},
		Example:     "  pcluster ssh --cluster-name demo -i ~/.ssh/key.pem",
	}
	flags := cmd.Flags()
	begin(cmd)
	flags.VarP((*textValue)(&o.Cluster), "cluster-name", "n", "name of the cluster")
	require(cmd, "cluster-name")
	flags.Var(&boolValue{option: "dryrun", target: &o.DryRun}, "dryrun", "print the command line and stop")
	return plain(env, cmd, &o.common, true, true, func(ctx context.Context, forwarded []string) error { return run(ctx, env, o, forwarded) })
}

func runSSH(ctx context.Context, env *Env, o sshOptions, forwarded []string) error {
	operator, err := env.operator(ctx, o.common, nil)
	if err != nil {
		return fatalf("Unable to connect to the cluster %s.\n%w", o.Cluster, err)
	}
	login, err := operator.HeadNodeLogin(ctx, o.Cluster)
	if err != nil {
		return fatalf("Unable to connect to the cluster %s.\n%w", o.Cluster, err)
	}
	quoted := make([]string, len(forwarded))
	for i, arg := range forwarded {
		quoted[i] = shellQuote(arg)
	}
	line := "ssh " + login.User + "@" + login.Address + " " + strings.Join(quoted, " ")
	if o.DryRun {
		text, err := json.Marshal(line)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(env.Stdout, "{\n  \"command\": %s\n}\n", ascii(text))
		return err
	}
	env.log.Info("SSH command: " + line)
	// The status of ssh is not ours: a remote command that fails has said so.
	if err := env.Shell(line); err != nil {
		return fatalf("run ssh: %w", err)
	}
	return nil
}

// shellQuote quotes an argument for a shell, unless it needs none.
func shellQuote(s string) string {
	safe := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_@%+=:,./-", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !safe(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'"'"'`) + "'"
}
