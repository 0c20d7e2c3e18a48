package cli

import (
	"context"

	"github.com/spf13/cobra"
)

type dcvOptions struct {
	common
	Cluster     string
	KeyPath     string
	ShowURL     bool
	LoginNodeIP string
}

func newDCVConnectCmd(env *Env, run func(context.Context, *Env, dcvOptions) error) *cobra.Command {
	var o dcvOptions
	cmd := &cobra.Command{
		Use:   "dcv-connect",
		Short: "Open a desktop on the head node or a login node in the browser",
		Long: "Open a desktop on the head node or a login node in the browser, with Amazon DCV. The cluster's file must\n" +
			"have Dcv.Enabled there.",
		Example: "  pcluster dcv-connect -n demo --key-path ~/.ssh/key.pem",
	}
	flags := cmd.Flags()
	begin(cmd)
	flags.VarP((*textValue)(&o.Cluster), "cluster-name", "n", "name of the cluster")
	require(cmd, "cluster-name")
	flags.Var((*textValue)(&o.KeyPath), "key-path", "SSH key for the connection; by default, those that ssh knows")
	flags.VarPF((*switchValue)(&o.ShowURL), "show-url", "", "print the URL instead of opening the browser").NoOptDefVal = "true"
	flags.Var((*textValue)(&o.LoginNodeIP), "login-node-ip", "address of the login node to connect to; by default, the head node")
	return plain(env, cmd, &o.common, true, false, func(ctx context.Context, _ []string) error { return run(ctx, env, o) })
}
