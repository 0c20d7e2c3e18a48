package node

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/google/go-cmp/cmp"

	"pcluster/internal/node/spec"
)

type completions []string

func (c *completions) CompleteLifecycleAction(_ context.Context, in *autoscaling.CompleteLifecycleActionInput, _ ...func(*autoscaling.Options)) (*autoscaling.CompleteLifecycleActionOutput, error) {
	*c = append(*c, *in.AutoScalingGroupName+" "+*in.LifecycleHookName+" "+*in.InstanceId+" "+*in.LifecycleActionResult)
	return &autoscaling.CompleteLifecycleActionOutput{}, nil
}

// The life of a login node, from when Auto Scaling wants it to go.
func TestUsersGoBeforeTheLoginNodeDoes(t *testing.T) {
	const empty = "  1    0 root  - 123 user    -     active -\n 12 1001 ada   - 124 manager -     active -\n"
	const ada = empty + " 13 1001 ada   - 125 user    pts/0 active -\n"
	for name, tt := range map[string]struct {
		called, leaves time.Duration // after the start, after the call; leaves < 0: never
		grace          time.Duration
		warnings       int
		after          time.Duration // of the call, when the node may go; 0: not by us
	}{
		"nobody is there":            {called: time.Minute, leaves: 0, grace: 10 * time.Minute, warnings: 1, after: time.Nanosecond},
		"the last user leaves":       {called: time.Second, leaves: 90 * time.Second, grace: 10 * time.Minute, warnings: 1, after: 90 * time.Second},
		"the user stays to the end":  {called: time.Second, leaves: -1, grace: 10 * time.Minute, warnings: 2},
		"nobody knows how long":      {called: time.Second, leaves: 10 * time.Second, grace: 0, warnings: 1, after: 10 * time.Second},
		"a minute needs one warning": {called: time.Second, leaves: -1, grace: time.Minute, warnings: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, _ := testHost(t)
				put(t, h, "/etc/ssh/sshd_config", "PermitRootLogin no\nMatch User x\n")
				put(t, h, unitDir+"ssh.service", "")
				start := time.Now()
				gone := func() bool { return tt.leaves >= 0 && time.Since(start) >= tt.called+tt.leaves }
				var warnings, others []string
				h.Run = func(_ context.Context, name string, args ...string) (string, error) {
					switch name {
					case "loginctl":
						if gone() {
							return empty, nil
						}
						return ada, nil
					default:
						others = append(others, name+" "+strings.Join(args, " "))
					}
					return "", nil
				}
				var done completions
				p := &parting{
					Host: h, spec: &spec.Node{ClusterUser: "ubuntu", ScalingGroup: "group", TerminatingHook: "hook"}, instance: "i-1",
					grace: func(context.Context) time.Duration { return tt.grace },
					metadata: func(context.Context, string) (string, bool, error) {
						if time.Since(start) >= tt.called {
							return "Terminated", true, nil
						}
						return "InService", true, nil
					},
					tell:    func(text string) error { warnings = append(warnings, text); return nil },
					scaling: &done, log: slog.New(slog.DiscardHandler), interval: 5 * time.Second, now: time.Now,
				}
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error)
				go func() { ended <- p.run(ctx) }()
				time.Sleep(tt.called - time.Nanosecond)
				synctest.Wait()
				if len(warnings) > 0 || len(done) > 0 {
					t.Errorf("before it is called: %v, %v", warnings, done)
				}
				time.Sleep(max(tt.grace, time.Minute) + p.interval)
				synctest.Wait()
				if len(warnings) != tt.warnings || !strings.Contains(strings.Join(warnings, ""), "going to be terminated") {
					t.Errorf("warnings %q, want %d", warnings, tt.warnings)
				}
				var want completions
				if tt.after > 0 {
					want = completions{"group hook i-1 CONTINUE"}
				}
				if diff := cmp.Diff(want, done); diff != "" {
					t.Errorf("the hook (-want +got):\n%s", diff)
				}
				if got := get(t, h, "/etc/ssh/sshd_config"); got != "AllowUsers ubuntu\nPermitRootLogin no\nMatch User x\n" {
					t.Errorf("sshd_config:\n%s", got)
				}
				if diff := cmp.Diff([]string{"systemctl try-reload-or-restart ssh.service"}, others); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestMessagesReachUsersTerminals(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"0", "12", "ptmx"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	me := uint32(os.Getuid())
	for _, tt := range []struct {
		least uint32
		want  int
	}{{me + 1, 0}, {me, 2}} {
		if err := broadcast(dir, tt.least, "the end is near"); err != nil {
			t.Fatal(err)
		}
		told := 0
		for _, name := range []string{"0", "12", "ptmx"} {
			data, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(string(data), "\r\nthe end is near\r\n") {
				told++
			}
		}
		if told != tt.want {
			t.Errorf("from user %d on, with files of %d: %d terminals have the message, want %d", tt.least, me, told, tt.want)
		}
	}
}

func TestPeople(t *testing.T) {
	for name, tt := range map[string]struct {
		list string
		want []string
	}{
		"nobody":                  {"", nil},
		"systemd 252":             {"  4 1000 ubuntu       pts/0\n  6    0 root         pts/1\n 7 1000 ubuntu\n", []string{"ubuntu"}},
		"systemd 257":             {" 2 1000 ubuntu - 900 user    pts/0 no -\n 3 1000 ubuntu - 902 manager - no -\n", []string{"ubuntu"}},
		"of a directory":          {"c1 1840001105 ada - 1 user pts/3 no -\n", []string{"ada"}},
		"what is no list at all":  {"No sessions.\n", nil},
		"a name that is a number": {"1 1000 12\n", []string{"12"}},
	} {
		if diff := cmp.Diff(tt.want, peopleIn(tt.list)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
