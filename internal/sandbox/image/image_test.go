//go:build linux

package image

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSourcesFollowTheHostsMirror(t *testing.T) {
	for name, tt := range map[string]struct {
		files map[string]string
		want  string
	}{
		"one-line format with options": {
			map[string]string{"sources.list": "# a comment\ndeb [arch=amd64 signed-by=/k.gpg] https://mirror.example/debian bookworm main contrib\ndeb-src https://mirror.example/debian bookworm main\ndeb https://mirror.example/debian-security bookworm-security main # updates\n"},
			"deb https://mirror.example/debian trixie main\ndeb https://mirror.example/debian-security trixie-security main\n",
		},
		"paragraphs": {
			map[string]string{"sources.list.d/debian.sources": "Types: deb\n# snapshot\nURIs: http://m.example/debian\nSuites: bookworm bookworm-updates\nComponents: main\n\nTypes: deb\nURIs: http://m.example/debian-security\nSuites: bookworm-security\nComponents: main\nSigned-By:\n -----BEGIN\n .\n abc\n"},
			"deb http://m.example/debian trixie main\ndeb http://m.example/debian trixie-updates main\ndeb http://m.example/debian-security trixie-security main\n",
		},
		"other archives are not Debian's": {
			map[string]string{
				"sources.list.d/tools.list":   "deb https://tools.example/apt tools-bookworm main\ndeb https://other.example nodistro main\n",
				"sources.list.d/off.sources":  "Enabled: no\nTypes: deb\nURIs: http://off.example/debian\nSuites: bookworm\nComponents: main\n",
				"sources.list.d/ignored.save": "deb https://old.example/debian bookworm main\n",
			},
			"",
		},
		"a mirror of backports alone is none": {
			map[string]string{"sources.list": "deb http://m.example/debian bookworm-backports main\n"}, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range tt.files {
				if err := writeFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got, err := sourcesIn(dir, "trixie")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// recipes for tests take no time.
func quick(name string, err error) recipe {
	return recipe{name: name, ingredients: []string{name}, build: func(_ context.Context, dir string, _ io.Writer) error {
		return errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, "file"), nil, 0o644), err)
	}}
}

func TestBuildIsAllOrNothing(t *testing.T) {
	cache := t.TempDir()
	if err := build(t.Context(), quick("bad", errors.New("no mirror")), cache, new(bytes.Buffer)); err == nil {
		t.Error("the failure is lost")
	}
	if left, _ := os.ReadDir(cache); len(left) != 0 {
		t.Errorf("a failed build left %v", left)
	}
	good := quick("good", nil)
	if err := build(t.Context(), good, cache, new(bytes.Buffer)); err != nil {
		t.Fatal(err)
	}
	if got, ok := cached(cache, []recipe{good}); !ok || got[0] != good.dir(cache) {
		t.Errorf("cached = %v, %v", got, ok)
	}
	other := quick("good", nil)
	other.ingredients = []string{"changed"}
	if _, ok := cached(cache, []recipe{other}); ok {
		t.Error("a changed recipe finds the old layer")
	}
}

func TestSecondBuilderWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(t.Context(), path, new(bytes.Buffer))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	var said bytes.Buffer
	if _, err := lock(ctx, path, &said); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(said.String(), "another process") {
		t.Errorf("lock while locked: %v, %q", err, said.String())
	}
	unlock()
	unlock, err = lock(t.Context(), path, new(bytes.Buffer))
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

func TestFailuresOfProgramsAreReadable(t *testing.T) {
	var said bytes.Buffer
	err := runLogged(t.Context(), &said, "sh", "-c", "echo 'I: working'; echo chatter; echo 'E: no such mirror' >&2; exit 3")
	if err == nil || !strings.Contains(err.Error(), "E: no such mirror") || strings.Contains(err.Error(), "chatter") {
		t.Errorf("error: %v", err)
	}
	if said.String() != "image: working\n" {
		t.Errorf("progress: %q", said.String())
	}
}

func TestSettings(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "settings")
	if err := writeSettings(dir); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{"usr/sbin/mount.nfs": 0o755, "etc/cloud/cloud.cfg": 0o644, "usr/sbin": 0o755} {
		st, err := os.Stat(filepath.Join(dir, path))
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode().Perm() != mode {
			t.Errorf("%s has mode %o, want %o", path, st.Mode().Perm(), mode)
		}
	}
	if to, _ := os.Readlink(filepath.Join(dir, "etc/systemd/system/getty@.service")); to != "/dev/null" {
		t.Errorf("getty leads to %q", to)
	}
	for _, script := range []string{"usr/sbin/mount.nfs", "usr/sbin/exportfs"} {
		if out, err := exec.Command("sh", "-n", filepath.Join(dir, script)).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", script, err, out)
		}
	}
}
