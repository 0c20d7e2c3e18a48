package node

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

func TestHomeMovesOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, ran := testHost(t)
		put(t, h, "/home/ec2-user/.bashrc", "hello\n")
		busy := 2 // the user is logged in
		h.Run = func(ctx context.Context, name string, args ...string) (string, error) {
			*ran = append(*ran, name+" "+strings.Join(args, " "))
			switch {
			case name == "usermod" && busy > 0:
				busy--
				return "", errors.New("user ec2-user is currently used by process 7")
			case name == "usermod":
				put(t, h, "/etc/passwd", "ec2-user:x:1000:1000::"+args[1]+":/bin/bash\n")
			case name == "cp" || name == "mv" || name == "rm":
				out, err := exec.Command(name, args...).CombinedOutput()
				return string(out), err
			}
			return "", nil
		}
		for range 2 {
			if err := h.moveHome(t.Context(), "ec2-user"); err != nil {
				t.Fatal(err)
			}
		}
		if got := get(t, h, "/local/home/ec2-user/.bashrc"); got != "hello\n" {
			t.Errorf("the home has %q", got)
		}
		var changes []string
		for _, line := range *ran {
			if strings.HasPrefix(line, "usermod") || strings.HasPrefix(line, "loginctl") {
				changes = append(changes, line)
			}
		}
		move, end := "usermod -d /local/home/ec2-user ec2-user", "loginctl terminate-user ec2-user"
		if diff := cmp.Diff([]string{move, end, move, end, move}, changes); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

func TestKeysReachNodesWithHomesOfTheirOwn(t *testing.T) {
	head, _ := testHost(t)
	put(t, head, "/home/ec2-user/.ssh/authorized_keys", "ssh-rsa AAA me\nssh-ed25519 BBB cluster\n")
	if err := head.shareKeys("ec2-user"); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{sharedKeys, sharedLoginKeys} {
		member, _ := testHost(t)
		put(t, member, from, get(t, head, from))
		put(t, member, "/home/ec2-user/.ssh/authorized_keys", "ssh-rsa AAA me") // no newline
		for range 2 {
			if err := member.takeKeys(t.Context(), "ec2-user", from); err != nil {
				t.Fatal(err)
			}
		}
		if got := get(t, member, "/home/ec2-user/.ssh/authorized_keys"); got != "ssh-rsa AAA me\nssh-ed25519 BBB cluster\n" {
			t.Errorf("authorized_keys:\n%s", got)
		}
	}
}

func TestSudoIsTakenAndGivenBack(t *testing.T) {
	h, _ := testHost(t)
	if err := h.restrictSudo("ec2-user", true); err != nil {
		t.Fatal(err)
	}
	if got := get(t, h, noSudo); got != "ec2-user ALL=(ALL) !ALL\n" {
		t.Errorf("%s: %q", noSudo, got)
	}
	for range 2 {
		if err := h.restrictSudo("ec2-user", false); err != nil {
			t.Fatal(err)
		}
	}
	if h.exists(noSudo) {
		t.Error("sudo is not given back")
	}
}

func TestLoginNodesShareHostKeys(t *testing.T) {
	head, _ := testHost(t)
	put(t, head, "/usr/bin/ssh-keygen", "")
	made := 0
	head.Run = func(_ context.Context, name string, args ...string) (string, error) {
		made++
		path := args[len(args)-1]
		return "", errors.Join(os.MkdirAll(path[:strings.LastIndexByte(path, '/')], 0o755),
			os.WriteFile(path, []byte("key "+args[2]), 0o600), os.WriteFile(path+".pub", []byte("public "+args[2]), 0o644))
	}
	for range 2 {
		if err := head.makeHostKeys(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if made != 3 {
		t.Errorf("%d keys were made", made)
	}
	login, ran := testHost(t)
	put(t, login, "/usr/bin/ssh-keygen", "")
	if err := os.CopyFS(login.path(sharedLoginDir), os.DirFS(head.path(sharedLoginDir))); err != nil {
		t.Fatal(err)
	}
	if err := login.takeHostKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, kind := range hostKeys {
		if got := get(t, login, "/etc/ssh/ssh_host_"+kind+"_key"); got != "key "+kind {
			t.Errorf("%s: %q", kind, got)
		}
		if info, err := os.Stat(login.path("/etc/ssh/ssh_host_" + kind + "_key")); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", kind, info, err)
		}
		if got := get(t, login, "/etc/ssh/ssh_host_"+kind+"_key.pub"); got != "public "+kind {
			t.Errorf("%s: %q", kind, got)
		}
	}
	if diff := cmp.Diff([]string{"systemctl try-reload-or-restart sshd.service"}, *ran); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
