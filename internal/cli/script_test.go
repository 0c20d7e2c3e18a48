package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/rogpeppe/go-internal/testscript"

	"pcluster/internal/cluster"
	"pcluster/internal/cluster/clustertest"
)

// A world is what one script acts on: an account, and what was typed into shells.
type world struct {
	answers  []string // of ssh, each an exit status and what it prints
	browser  bool
	cloud    *clustertest.Cloud
	shell    []string
	terminal bool
	cancel   context.CancelFunc // Ctrl-C
	refused  error              // of the SDK's configuration
}

// TestScripts runs what users type, in testdata/*.txtar. Beside the commands of
// testscript there are:
//
//	pcluster ARG...            runs the program, which must exit with 0
//	exits STATUS pcluster ...  runs it, and it must exit with that status
//	cloud VERB ARG...          lets something happen in the account, see below
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata",
		UpdateScripts: *updateScripts,
		Setup: func(e *testscript.Env) error {
			w := &world{cloud: clustertest.New()}
			w.cloud.Know()
			e.Values["world"] = w
			e.Setenv("HOME", filepath.Join(e.WorkDir, "home"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"pcluster": func(ts *testscript.TestScript, neg bool, args []string) {
				if status := runIn(ts, args); (status != 0) != neg {
					ts.Fatalf("exit status %d", status)
				}
			},
			"exits": func(ts *testscript.TestScript, _ bool, args []string) {
				want, err := strconv.Atoi(args[0])
				ts.Check(err)
				if got := runIn(ts, args[2:]); got != want {
					ts.Fatalf("exit status %d, want %d", got, want)
				}
			},
			"cloud": func(ts *testscript.TestScript, _ bool, args []string) { happen(ts, args) },
		},
	})
}

func runIn(ts *testscript.TestScript, args []string) int {
	w := ts.Value("world").(*world)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w.cancel = cancel
	env := Env{
		Stdin: strings.NewReader(""), Stdout: ts.Stdout(), Stderr: ts.Stderr(),
		Getenv: ts.Getenv, Home: ts.Getenv("HOME"),
		Now:           func() time.Time { return clustertest.Noon },
		Columns:       func() (int, bool) { return 100, w.terminal },
		StdoutColumns: func() (int, bool) { return 100, w.terminal },
		AWS: func(_ context.Context, region string, _ *slog.Logger) (aws.Config, error) {
			if region == "" {
				region = ts.Getenv("PROFILE_REGION")
			}
			return aws.Config{Region: region}, w.refused
		},
		Operator: func(cfg aws.Config, log *slog.Logger) *cluster.Operator {
			w.cloud.Region = cfg.Region
			return w.cloud.Operator(log)
		},
		Shell: func(line string) error {
			w.shell = append(w.shell, line)
			fmt.Fprintln(ts.Stdout(), "$ "+line)
			return nil
		},
		ShellOutput: func(_ context.Context, line string) (string, int, error) {
			w.shell = append(w.shell, line)
			fmt.Fprintln(ts.Stderr(), "$ "+line)
			if len(w.answers) == 0 {
				ts.Fatalf("nobody expected %s", line)
			}
			status, output, _ := strings.Cut(w.answers[0], " ")
			w.answers = w.answers[1:]
			n, err := strconv.Atoi(status)
			return output, n, err
		},
		Browse: func(url string) error {
			if !w.browser {
				return errors.New("no display")
			}
			fmt.Fprintln(ts.Stderr(), "browser: "+url)
			return nil
		},
	}
	// File names in scripts are those of the script's directory.
	for i, arg := range args {
		if (strings.HasSuffix(arg, ".yaml") || strings.HasSuffix(arg, ".tar.gz")) && !strings.HasPrefix(arg, "-") {
			args[i] = ts.MkAbs(arg)
		}
	}
	return Run(ctx, args, env)
}

// happen lets something happen: at once or, after the word "next", before stack
// events are read once more.
func happen(ts *testscript.TestScript, args []string) {
	w := ts.Value("world").(*world)
	c := w.cloud
	if args[0] == "next" {
		c.Next = append(c.Next, func() { happen(ts, args[1:]) })
		return
	}
	switch verb := args[0]; verb {
	case "stack": // CLUSTER STATUS [REASON]
		c.StackEvent(args[1], args[2], strings.Join(args[3:], " "))
	case "resource": // CLUSTER ID PHYSICAL TYPE STATUS [REASON]
		c.Event(args[1], args[2], args[3], args[4], args[5], strings.Join(args[6:], " "))
	case "boot": // CLUSTER JSON
		c.Ship(c.Parameter(args[1], "ClusterCWLogGroup"), "ip-10-0-0-5.i-0aa.boot", args[2])
	case "log-group": // CLUSTER NAME
		c.SetParameter(args[1], "ClusterCWLogGroup", args[2])
	case "log": // CLUSTER STREAM MESSAGE
		c.Ship(c.Parameter(args[1], "ClusterCWLogGroup"), args[2], args[3])
	case "group": // GROUP STREAM [MESSAGE]
		if len(args) == 3 {
			c.OpenStream(args[1], args[2])
		} else {
			c.Ship(args[1], args[2], args[3])
		}
	case "bucket": // NAME [REGION]
		c.MakeBucket(args[1])
		if len(args) > 2 {
			c.Place(args[1], args[2])
		}
	case "objects": // PREFIX: prints the keys that have it
		out := ts.Stdout() // empty where nothing is printed
		for _, key := range c.Objects() {
			if strings.HasPrefix(key, args[1]) {
				fmt.Fprintln(out, key)
			}
		}
	case "policy": // BUCKET
		fmt.Fprintln(ts.Stdout(), c.Policy(args[1]))
	case "answer": // STATUS OUTPUT
		w.answers = append(w.answers, strings.Join(args[1:], " "))
	case "browser":
		w.browser = true
	case "ami": // ID NAME ARCHITECTURE DATE [DEPRECATED]
		i := ec2types.Image{ImageId: &args[1], Name: &args[2], Architecture: ec2types.ArchitectureValues(args[3]), CreationDate: &args[4]}
		if len(args) > 5 {
			i.DeprecationTime = &args[5]
		}
		c.AMIs = append(c.AMIs, i)
	case "parameter": // CLUSTER KEY VALUE
		c.SetParameter(args[1], args[2], args[3])
	case "launch": // ID TYPE PRIVATE PUBLIC TAG...
		c.Launch(args[1], args[2], args[3], args[4], args[5:]...)
	case "fleet": // CLUSTER STATUS
		c.SetFleet(args[1], args[2], "2026-03-14 11:59:00 UTC")
	case "refuse": // OPERATION [CODE MESSAGE]
		if len(args) == 2 {
			delete(c.Refuse, args[1])
			return
		}
		c.Refuse[args[1]] = clustertest.Fault(args[2], "%s", strings.Join(args[3:], " "))
	case "tag": // CLUSTER KEY VALUE
		c.Tag(args[1], args[2], args[3])
	case "interrupt":
		w.cancel()
	case "terminal":
		w.terminal = true
	case "empty": // no calls but those
		if calls := c.Calls(); len(calls) > 0 {
			ts.Fatalf("AWS was called: %v", calls)
		}
	default:
		ts.Fatalf("what is %s?", verb)
	}
}
