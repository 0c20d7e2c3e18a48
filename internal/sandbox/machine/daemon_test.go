//go:build linux

package machine

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/vpc"
)

// daemonEnv makes this test's program a daemon that starts one machine: its value
// is a daemonOrder.
const daemonEnv = "MACHINE_TEST_DAEMON"

type daemonOrder struct {
	Name, Dir string
	Spec      Spec
}

// TestDaemonProcess is the daemon, not a test.
func TestDaemonProcess(t *testing.T) {
	var order daemonOrder
	if json.Unmarshal([]byte(os.Getenv(daemonEnv)), &order) != nil {
		t.Skip("runs as a process of TestMachineOutlivesItsDaemon")
	}
	network, err := vpc.Up(t.Context(), vpc.Config{Name: order.Name, Dir: filepath.Join(order.Dir, "network"), Identity: region.NewIdentity("", "")})
	if err != nil {
		t.Fatal(err)
	}
	m, err := New(Config{Name: order.Name, Dir: filepath.Join(order.Dir, "machines"), Network: network})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Start(t.Context(), order.Spec); err != nil {
		t.Fatal(err)
	}
	fmt.Println("started")
	time.Sleep(time.Hour) // until it is killed
}

func TestMachineOutlivesItsDaemon(t *testing.T) {
	r := newTestRegion(t)
	s := r.spec(5, "")
	order, err := json.Marshal(daemonOrder{r.name, r.dir, s})
	if err != nil {
		t.Fatal(err)
	}
	daemon := exec.Command(os.Args[0], "-test.run=^TestDaemonProcess$", "-test.v")
	daemon.Env = append(os.Environ(), daemonEnv+"="+string(order))
	out, err := daemon.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != "started"; {
	}
	_ = daemon.Process.Kill()
	_ = daemon.Wait()

	r.m = r.open()
	waitFor(t, "sshd of the orphan", patience, func() bool { return r.greeted(s.Interfaces[0].Addr) })
	// Its keeper lives on: the reason of an end is known, not guessed.
	r.last(s.ID, "systemctl reboot")
	r.wantExit(s.ID, Rebooted)
}
