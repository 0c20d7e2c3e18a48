package node

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func TestJobsOfTheNodeAreSeen(t *testing.T) {
	type process struct{ comm, cmdline string }
	ours := process{"systemd", "/sbin/init\x00"}
	slurmd := process{"slurmd", "/opt/slurm/sbin/slurmd\x00-D\x00"}
	keeper := process{"slurmstepd", "/usr/sbin/slurmstepd\x00infinity\x00"}
	step := process{"slurmstepd", "slurmstepd: [7.batch]\x00"}
	begins := process{"slurmstepd", "/usr/sbin/slurmstepd\x00"}
	for name, tt := range map[string]struct {
		processes []process
		want      bool
		fails     bool
	}{
		"no step":                    {[]process{ours, slurmd}, false, false},
		"what holds control groups":  {[]process{ours, slurmd, keeper}, false, false},
		"a step":                     {[]process{ours, slurmd, keeper, step}, true, false},
		"a step that has just begun": {[]process{ours, begins}, true, false},
		"nothing to be seen":         {nil, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			h := &Host{Root: t.TempDir()}
			for i, p := range tt.processes {
				dir := h.path(fmt.Sprintf("/proc/%d", i+1))
				if err := os.MkdirAll(dir, 0o755); err != nil {
					t.Fatal(err)
				}
				for file, text := range map[string]string{"comm": p.comm + "\n", "cmdline": p.cmdline} {
					if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
						t.Fatal(err)
					}
				}
			}
			got, err := h.jobsRun()
			if got != tt.want || (err != nil) != tt.fails {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}
