package cli

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"pcluster/internal/cluster"
	"pcluster/internal/cluster/clustertest"
)

// TestMain lets this program stand in for pcluster in the shells of the test
// below.
func TestMain(m *testing.M) {
	if os.Getenv("PCLUSTER_IN_SHELL") != "" {
		if len(os.Args) > 1 && !strings.HasSuffix(os.Args[1], "complete") && os.Args[1] != "completion" {
			fmt.Println("< pcluster", strings.Join(os.Args[1:], " "), ">") // what the shell has made of a line
			return
		}
		os.Exit(Run(context.Background(), os.Args[1:], shellEnv()))
	}
	os.Exit(m.Run())
}

// shellEnv is an account with three clusters.
func shellEnv() Env {
	cloud := clustertest.New()
	cloud.Know()
	for _, name := range []string{"demo", "production-1", "production-2"} {
		_, err := cloud.Operator(slog.New(slog.DiscardHandler)).Create(context.Background(), cluster.CreateRequest{
			Name: name, Configuration: []byte(clustertest.ClusterFile), SuppressValidators: []string{"ALL"},
		})
		if err != nil {
			panic(err)
		}
	}
	group := "/aws/parallelcluster/demo-202603141200"
	cloud.SetParameter("demo", "ClusterCWLogGroup", group)
	cloud.Ship(group, "ip-10-0-0-5.i-0aa.slurmctld", "hello")
	return Env{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Now: time.Now,
		Columns: func() (int, bool) { return 0, false },
		AWS: func(_ context.Context, region string, _ *slog.Logger) (aws.Config, error) {
			return aws.Config{Region: region}, nil
		},
		Operator: func(cfg aws.Config, log *slog.Logger) *cluster.Operator {
			if cfg.Region != "us-east-1" { // there is nothing elsewhere
				return clustertest.New().Operator(log)
			}
			return cloud.Operator(log)
		},
	}
}

func TestComplete(t *testing.T) {
	t.Setenv("AWS_DEFAULT_REGION", "us-east-1")
	env := shellEnv()
	env.Commands = []func() *cobra.Command{func() *cobra.Command {
		box := &cobra.Command{Use: "box", Short: "Box"}
		up := &cobra.Command{Use: "up", Short: "Up", Run: func(*cobra.Command, []string) {}}
		up.Flags().String("port", "", "Port")
		box.AddCommand(up)
		return box
	}}
	for line, want := range map[string]string{ // words are separated by blanks, the last may be empty
		"describe-cl":                                       "describe-cluster describe-cluster-instances",
		"nowhere x":                                         "",
		"describe-cluster ":                                 "--cluster-name --help --debug --region --query",
		"describe-cluster -n demo --":                       "--help --debug --region --query",
		"describe-cluster -n ":                              "demo production-1 production-2",
		"describe-cluster --cluster-name prod":              "production-1 production-2",
		"describe-cluster --cluster-name=prod":              "--cluster-name=production-1 --cluster-name=production-2",
		"describe-cluster -r eu-west-1 -n ":                 "",
		"describe-cluster -n --":                            "--help --debug --region --query",
		"describe-cluster --region eu-w":                    "eu-west-1 eu-west-2 eu-west-3",
		"create-cluster -n ":                                "",
		"create-cluster ":                                   "--cluster-name --cluster-configuration --help --suppress-validators --validation-failure-level --dryrun --rollback-on-failure --wait --debug --region --query",
		"create-cluster -c ":                                ":files",
		"create-cluster --dryrun t":                         "true",
		"create-cluster --wait ":                            "--cluster-name --cluster-configuration --help --suppress-validators --validation-failure-level --dryrun --rollback-on-failure --debug --region --query",
		"create-cluster --suppress-validators ALL t":        "type:",
		"list-clusters --cluster-status CREATE_FAILED U":    "UPDATE_IN_PROGRESS UPDATE_COMPLETE UPDATE_FAILED",
		"list-clusters --next-token x U":                    "",
		"get-cluster-log-events -n demo --log-stream-name ": "ip-10-0-0-5.i-0aa.slurmctld",
		"describe-image -i ":                                "",
		"completion ":                                       "bash zsh fish",
		"completion z":                                      "zsh",
		"completion --":                                     "--help --debug",
		"box ":                                              "up",
		"box up --p":                                        "--port",
	} {
		var out bytes.Buffer
		env.Stdout = &out
		if status := Run(t.Context(), append([]string{completeCommand}, strings.Split(line, " ")...), env); status != 0 {
			t.Errorf("%s: status %d", line, status)
		}
		var got []string
		for l := range strings.Lines(out.String()) {
			value, _, _ := strings.Cut(strings.TrimSuffix(l, "\n"), "\t")
			got = append(got, value)
		}
		if diff := cmp.Diff(strings.Fields(want), got); diff != "" && want+strings.Join(got, "") != "" {
			t.Errorf("%s:\n%s", line, diff)
		}
	}
}

// TestShells types into real shells and presses the key.
func TestShells(t *testing.T) {
	for shell, start := range map[string]struct {
		args []string
		init string
	}{
		"bash": {[]string{"--norc", "--noprofile", "-i"}, "bind 'set bell-style none'; source <(pcluster completion bash)"},
		"zsh":  {[]string{"-f", "-i"}, "unsetopt beep; autoload -Uz compinit; compinit -u -D; source <(pcluster completion zsh)"},
		"fish": {[]string{"--no-config", "-i"}, "pcluster completion fish | source"},
	} {
		t.Run(shell, func(t *testing.T) {
			path, err := exec.LookPath(shell)
			if err != nil {
				t.Skipf("%s is not installed", shell)
			}
			s := startShell(t, path, start.args)
			s.enter(start.init+"; echo RE''ADY", "READY")
			file := filepath.Join(s.home, "cluster-file.yaml")
			if err := os.WriteFile(file, nil, 0o644); err != nil {
				t.Fatal(err)
			}
			for typed, want := range map[string]string{
				"pcluster describe-cluster-i\t-n d\t":                "describe-cluster-instances -n demo",
				"pcluster delete-cluster --cluster-name prod\t2":     "delete-cluster --cluster-name production-2",
				"pcluster update-compute-fleet --status STO\t-n d\t": "update-compute-fleet --status STOP_REQUESTED -n demo",
				"pcluster create-cluster -c cluster-f\t":             "create-cluster -c cluster-file.yaml",
				"pcluster describe-cluster --cluster-name=d\t":       "describe-cluster --cluster-name=demo",
				"pcluster create-cluster --suppress-validators t\tX": "create-cluster --suppress-validators type:X",
			} {
				s.enter(typed, "< pcluster "+want+" >")
			}
		})
	}
}

type shellSession struct {
	t      *testing.T
	home   string
	person *os.File
	screen bytes.Buffer
	seen   int
}

func startShell(t *testing.T, path string, args []string) *shellSession {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(person.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: 200}); err != nil {
		t.Fatal(err)
	}
	program, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	s := &shellSession{t: t, home: t.TempDir(), person: person}
	bin := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(bin, "pcluster")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = s.home
	cmd.Env = []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + s.home, "TERM=dumb", "LANG=C.UTF-8", "PCLUSTER_IN_SHELL=1", "AWS_DEFAULT_REGION=us-east-1", "PS1=$ "}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = program, program, program
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	hung := time.AfterFunc(5*time.Minute, func() { cmd.Process.Kill() }) // which ends the reading
	t.Cleanup(func() {
		hung.Stop()
		cmd.Process.Kill()
		cmd.Wait()
		person.Close()
	})
	return s
}

// enter types a line and waits until a text is on the screen.
func (s *shellSession) enter(line, want string) {
	s.t.Helper()
	if _, err := s.person.WriteString(line + "\n"); err != nil {
		s.t.Fatal(err)
	}
	buffer := make([]byte, 4096)
	for {
		if i := strings.Index(s.screen.String()[s.seen:], want); i >= 0 {
			s.seen += i + len(want)
			return
		}
		n, err := s.person.Read(buffer)
		if err != nil {
			s.t.Fatalf("%q did not come: %v\n%s", want, err, s.screen.String())
		}
		s.screen.Write(buffer[:n])
	}
}
