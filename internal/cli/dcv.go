package cli

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"pcluster/internal/cluster"
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
		Long: "Open a desktop on the head node or a login node in the browser, with Amazon DCV. The cluster's file must " +
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

// dcvScript prepares a session on the node and tells how to reach it.
const dcvScript = "/opt/parallelcluster/scripts/pcluster_dcv_connect.sh"

func runDCVConnect(ctx context.Context, env *Env, o dcvOptions) error {
	operator, err := env.operator(ctx, o.common, nil)
	if err != nil {
		return fatalf("Unable to connect to the cluster.\n%w", err)
	}
	var login cluster.Login
	if o.LoginNodeIP != "" {
		login, err = operator.LoginNodeLogin(ctx, o.Cluster, o.LoginNodeIP)
	} else {
		login, err = operator.HeadNodeLogin(ctx, o.Cluster)
	}
	if err != nil {
		return fatalf("Unable to connect to the cluster.\n%w", err)
	}
	key := ""
	if o.KeyPath != "" {
		key = "-i " + shellQuote(o.KeyPath)
	}
	line := fmt.Sprintf(`ssh %s@%s %s "%s /home/%[1]s"`, login.User, login.Address, key, dcvScript)
	url, err := env.dcvSession(ctx, line, o.Cluster, login.Address)
	if err != nil {
		return &fatalError{err}
	}
	message := "Please use the following one-time URL in your browser within 30 seconds:\n" + url
	if !o.ShowURL {
		if err = env.Browse(url); err == nil {
			return nil
		}
		message = "The browser could not be opened: " + err.Error() + "\n" + message
	}
	_, err = fmt.Fprintln(env.Stdout, message)
	return err
}

var (
	dcvSession = regexp.MustCompile(`PclusterDcvServerPort=(\d+) PclusterDcvSessionId=(\w+) PclusterDcvSessionToken=([\w-]+)`)
	// newHost is what ssh says when it meets a host for the first time, which may
	// stand where the script's words are looked for.
	newHost = regexp.MustCompile(`Permanently added .* to the list of known hosts\.`)
)

// dcvSession runs the command line that makes a session until it does, and
// returns the session's URL.
func (env *Env) dcvSession(ctx context.Context, line, name, address string) (string, error) {
	const attempts = 4
	for attempt := 1; ; attempt++ {
		env.log.Info("SSH command: " + line)
		output, status, err := env.ShellOutput(ctx, line)
		if err == nil && status == 0 && newHost.MatchString(output) {
			output, status, err = env.ShellOutput(ctx, line)
		}
		switch {
		case err != nil:
			return "", fmt.Errorf("run ssh: %w", err)
		case status == 0:
			m := dcvSession.FindStringSubmatch(output)
			if m == nil {
				return "", fmt.Errorf("Something went wrong during DCV connection. Please manually execute the command:\n%s\nThe logs of the node are in /var/log/parallelcluster.", line)
			}
			return "https://" + address + ":" + m[1] + "?authToken=" + m[3] + "#" + m[2], nil
		case strings.Contains(output, dcvScript+": No such file or directory"):
			return "", fmt.Errorf("The cluster %s has been created with an old version of ParallelCluster without the DCV support, or from a file without Dcv.Enabled.", name)
		case attempt == attempts || ctx.Err() != nil:
			return "", fmt.Errorf("Something went wrong during DCV connection.\n%s\nThe logs of the node are in /var/log/parallelcluster.", strings.TrimSpace(output))
		}
	}
}
