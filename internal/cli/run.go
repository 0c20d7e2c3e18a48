package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"pcluster/internal/cluster"
	"pcluster/internal/configure"
)

// An Env is the world in which a command runs. [System] is the real one.
type Env struct {
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Getenv func(string) string
	Home   string
	Now    func() time.Time

	// Columns returns the width of the terminal that stderr is, and false if it is
	// none.
	Columns func() (int, bool)
	// StdoutColumns is the same for stdout; nil: it is no terminal.
	StdoutColumns func() (int, bool)
	// AWS returns the SDK's configuration for a region; without one, for the region
	// of the profile, if it has any.
	AWS func(ctx context.Context, region string, log *slog.Logger) (aws.Config, error)
	// Operator returns what operates on the clusters of the configuration's region.
	Operator func(cfg aws.Config, log *slog.Logger) *cluster.Operator
	// Configure returns what reads the configuration's region for a dialogue.
	Configure func(cfg aws.Config, log *slog.Logger) *configure.Cloud
	// Shell runs a command line, connected to the streams, and waits for it. The
	// error is only of the shell: the status of the command is nobody's concern.
	Shell func(line string) error
	// ShellOutput runs a command line and returns what it printed on either stream,
	// and its exit status.
	ShellOutput func(ctx context.Context, line string) (output string, status int, err error)
	// Browse opens a URL in the user's browser.
	Browse func(url string) error

	// Commands are commands of other packages. cobra parses their arguments, and
	// they print themselves; what they return is an error for stderr.
	Commands []func() *cobra.Command

	log *slog.Logger // of the command that runs
}

// GCPercent is how much garbage, in percent of what lives, a command may make
// before it is collected; Go's own value is 100.
const GCPercent = 400

// System returns the environment of the process.
func System() Env {
	home, _ := os.UserHomeDir() // without a home, there is no log
	env := Env{
		Stdin:         os.Stdin,
		Stdout:        os.Stdout,
		Stderr:        os.Stderr,
		Getenv:        os.Getenv,
		Home:          home,
		Now:           time.Now,
		AWS:           loadAWS,
		Columns:       func() (int, bool) { width, _, err := term.GetSize(int(os.Stderr.Fd())); return width, err == nil },
		StdoutColumns: func() (int, bool) { width, _, err := term.GetSize(int(os.Stdout.Fd())); return width, err == nil },
		Shell: func(line string) error {
			cmd := exec.Command("/bin/sh", "-c", line)
			cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
			err := cmd.Run()
			if _, ran := errors.AsType[*exec.ExitError](err); ran {
				return nil
			}
			return err
		},
	}
	env.ShellOutput = func(ctx context.Context, line string) (string, int, error) {
		cmd := exec.CommandContext(ctx, "/bin/sh", "-c", line)
		cmd.Stdin = os.Stdin
		output, err := cmd.CombinedOutput()
		if failed, ran := errors.AsType[*exec.ExitError](err); ran {
			return string(output), failed.ExitCode(), nil
		}
		return string(output), 0, err
	}
	env.Browse = browse
	env.Configure = configure.NewCloud
	env.Operator = func(cfg aws.Config, log *slog.Logger) *cluster.Operator {
		o := cluster.New(cfg, log)
		if dir := env.Getenv(cluster.ProgramsVariable); dir != "" {
			o.Programs = cluster.ProgramsIn(dir)
		}
		return o
	}
	return env
}

// browse opens a URL with what the desktop has for it.
func browse(url string) error {
	for _, program := range []string{os.Getenv("BROWSER"), "xdg-open", "open", "wslview"} {
		if path, err := exec.LookPath(program); program != "" && err == nil {
			return exec.Command(path, url).Run()
		}
	}
	return errors.New("there is no browser, and no xdg-open that would know one")
}

// An ExitStatus ends a command that has already said everything there is to say.
type ExitStatus int

func (s ExitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// A fatalError ends a command that prints text: ERROR and the message on stderr.
type fatalError struct{ error }

func (e *fatalError) Unwrap() error { return e.error }

func fatalf(format string, args ...any) error { return &fatalError{fmt.Errorf(format, args...)} }

// unknownArguments are arguments that the command has no use for.
type unknownArguments []string

func (u unknownArguments) Error() string { return "Invalid arguments [" + quoteAll(u) + "]" }

// Run runs the command that args name and returns the exit status: 0 for
// success, 2 for a mistake in the arguments, 1 for everything else.
func Run(ctx context.Context, args []string, env Env) int {
	env.log = slog.New(slog.DiscardHandler)
	if env.Getenv("NO_COLOR") != "" {
		env.Stderr = plainText{env.Stderr}
	}
	root := newRoot(&env)
	cmd, err := execute(ctx, root, args)
	status := env.report(ctx, root, cmd, err)
	// A reader that has seen enough, as head has, is no failure.
	if w, ok := env.Stdout.(*brokenPipe); ok && w.broken {
		return 0
	}
	return status
}

func execute(ctx context.Context, root *cobra.Command, args []string) (*cobra.Command, error) {
	if err := checkCommand(root, args); err != nil {
		return root, err
	}
	root.SetArgs(args)
	return root.ExecuteContextC(ctx)
}

// checkCommand refuses what names no command, which argparse treats as a mistake
// in an argument.
func checkCommand(root *cobra.Command, args []string) error {
	i := slices.IndexFunc(args, func(s string) bool { return !strings.HasPrefix(s, "-") })
	if slices.ContainsFunc(args[:max(i, 0)], isHelp) || i < 0 && slices.ContainsFunc(args, isHelp) {
		return errHelp
	}
	if i < 0 {
		return usagef("the following arguments are required: operation")
	}
	if i > 0 {
		return unknownArguments(args[:i])
	}
	var names []string
	for _, c := range root.Commands() {
		if c.Name() == args[0] {
			return nil
		}
	}
	for _, c := range inOrder(root) {
		names = append(names, c.Name())
	}
	hint := ""
	if near := root.SuggestionsFor(args[0]); len(near) > 0 {
		nearest := slices.MinFunc(near, func(a, b string) int {
			return max(len(a)-len(args[0]), len(args[0])-len(a)) - max(len(b)-len(args[0]), len(args[0])-len(b))
		})
		hint = "; did you mean " + quote(nearest) + "?"
	}
	return usagef("argument operation: invalid choice: %s (choose from %s)%s", quote(args[0]), quoteAll(names), hint)
}

func isHelp(arg string) bool { return arg == "-h" || arg == "--help" }

// report prints what there is to print about an error and returns the exit
// status.
func (env *Env) report(ctx context.Context, root, cmd *cobra.Command, err error) int {
	if err == nil {
		return 0
	}
	if status, ok := errors.AsType[ExitStatus](err); ok {
		return int(status)
	}
	if errors.Is(err, errHelp) {
		writeHelp(env.Stdout, cmd)
		return 0
	}
	if mistake, ok := errors.AsType[*usageError](err); ok {
		writeUsage(env.Stderr, cmd)
		fmt.Fprintf(env.Stderr, "%s: error: %s\n", cmd.CommandPath(), mistake.text)
		return 2
	}
	if unknown, ok := errors.AsType[unknownArguments](err); ok {
		writeUsage(env.Stdout, root)
		fmt.Fprintln(env.Stdout, unknown.Error())
		return 1
	}
	if ctx.Err() != nil { // Ctrl-C: whoever pressed it knows
		env.log.Info("interrupted: " + err.Error())
		return 1
	}
	if fatal, ok := errors.AsType[*fatalError](err); ok {
		env.log.Error(fatal.Error())
		fmt.Fprintln(env.Stderr, "ERROR: "+cluster.Explain(fatal.error))
		return 1
	}
	if refusal, ok := errors.AsType[*operationError](err); ok {
		env.printRefusal(refusal)
		return 1
	}
	fmt.Fprintln(env.Stderr, "ERROR: "+err.Error())
	return 1
}

// brokenPipe is stdout until its reader goes away, and then swallows the rest.
type brokenPipe struct {
	io.Writer
	broken bool
}

func (w *brokenPipe) Write(p []byte) (int, error) {
	if w.broken {
		return len(p), nil
	}
	n, err := w.Writer.Write(p)
	if errors.Is(err, syscall.EPIPE) {
		w.broken = true
		return len(p), nil
	}
	return n, err
}
