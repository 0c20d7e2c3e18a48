//go:build linux

package imagebuilder

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"pcluster/internal/component/act"
)

// What a build needs on its machines comes as layers above the image's, which the
// AMI then does not have: one with the executor for all builds, and one for each
// machine with the documents.

const (
	toolsPath = "/usr/lib/pcluster-imagebuilder"
	endFile   = act.LogDirectory + "/executor-ended" // why, if it was not for being done
	unitName  = "pcluster-imagebuilder.service"
)

// unit runs the executor at each boot until it is done. It has no default
// dependencies: they would put it before multi-user.target, and that stands before
// cloud-init's last stage. An executor that was killed, as for want of memory, leaves
// a word; one that goes with the machine goes on at the next boot.
const unit = `[Unit]
Description=Run the components of an image build
DefaultDependencies=no
Requires=sysinit.target
After=sysinit.target basic.target network.target cloud-final.service
Conflicts=shutdown.target
Before=shutdown.target

[Service]
Type=exec
Environment=HOME=/root
ExecStart=` + toolsPath + `/pcluster-node component ` + toolsPath + `
ExecStopPost=/bin/sh -c 'test "$$SERVICE_RESULT" = success || test "$$(systemctl is-system-running)" = stopping || echo "$$SERVICE_RESULT ($$EXIT_CODE $$EXIT_STATUS)" >` + endFile + `'
TimeoutStopSec=5
`

// layers returns the layers for a machine, and makes them if they are not there.
func (s *Service) layers(v *image, role string, phases []string) ([]string, error) {
	tools, err := s.toolsLayer()
	if err != nil {
		return nil, err
	}
	dir := s.planLayer(v, role)
	plan := act.Plan{ExecutionID: v.Execution, Phases: phases}
	files := map[string][]byte{}
	for i, d := range v.Documents {
		name := fmt.Sprintf("document-%d.yaml", i)
		files[name] = []byte(d.Text)
		plan.Documents = append(plan.Documents, act.PlannedDocument{File: name, Path: d.ARN, Parameters: d.Parameters})
	}
	if files[act.PlanFile], err = json.Marshal(plan); err != nil {
		return nil, err
	}
	for name, data := range files {
		if err := writeFile(filepath.Join(dir, toolsPath, name), data, 0o600); err != nil {
			return nil, err
		}
	}
	return []string{tools, dir}, nil
}

func (s *Service) planLayer(v *image, role string) string {
	return filepath.Join(s.cfg.Dir, "plan-"+v.Execution+"-"+role)
}

// toolsLayer is the layer with the executor, named by what is in it.
func (s *Service) toolsLayer() (string, error) {
	s.program.Lock()
	defer s.program.Unlock()
	program, err := s.cfg.Program()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(append([]byte(unit), program...))
	dir := filepath.Join(s.cfg.Dir, "tools-"+hex.EncodeToString(sum[:6]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	part := dir + ".part"
	if err := os.RemoveAll(part); err != nil {
		return "", err
	}
	if err := writeFile(filepath.Join(part, toolsPath, "pcluster-node"), program, 0o755); err != nil {
		return "", err
	}
	if err := writeFile(filepath.Join(part, "etc/systemd/system", unitName), []byte(unit), 0o644); err != nil {
		return "", err
	}
	wants := filepath.Join(part, "etc/systemd/system/multi-user.target.wants")
	if err := os.MkdirAll(wants, 0o755); err != nil {
		return "", err
	}
	if err := os.Symlink("../"+unitName, filepath.Join(wants, unitName)); err != nil {
		return "", err
	}
	if err := openDirs(part); err != nil {
		return "", err
	}
	return dir, os.Rename(part, dir)
}

// writeFile writes a file of a layer. Directories of a layer give their mode to the
// machine's.
func writeFile(path string, data []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, data, mode); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

// openDirs gives all directories the mode that they have on a system, whatever the
// daemon's umask.
func openDirs(root string) error {
	return filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return err
		}
		return os.Chmod(path, 0o755)
	})
}

func (s *Service) removeLayers(v *image) error {
	for _, role := range []string{"build", "test", "trial"} {
		if err := os.RemoveAll(s.planLayer(v, role)); err != nil {
			return err
		}
	}
	return nil
}

// sweepLayers removes the layers of builds that are over.
func (s *Service) sweepLayers() {
	entries, err := os.ReadDir(s.cfg.Dir)
	if err != nil {
		return
	}
	active := map[string]bool{}
	for _, v := range s.images.All() {
		if v.Stage != done {
			active[filepath.Base(s.planLayer(&v, "build"))], active[filepath.Base(s.planLayer(&v, "test"))] = true, true
		}
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "plan-") && !active[e.Name()] {
			if err := os.RemoveAll(filepath.Join(s.cfg.Dir, e.Name())); err != nil {
				s.cfg.Log.Error("layer of an image build is left", "dir", e.Name(), "error", err)
			}
		}
	}
}
