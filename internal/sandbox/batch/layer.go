package batch

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// A job comes onto its machine as a layer above the machine's image: the files of the
// job's own image, a script with its environment and its command, and the unit that runs
// it.

const (
	toolsPath   = "/usr/lib/pcluster-batch"
	logsPath    = "/var/log/pcluster-batch"
	startedFile = logsPath + "/started"
	outputFile  = logsPath + "/output"
	exitFile    = logsPath + "/exit"
	unitName    = "pcluster-batch-job.service"
)

// unit runs a job when the machine's network and names are up. It has no default
// dependencies: they would put it before multi-user.target, and that stands before
// cloud-init's last stage. One that was begun is not begun again by a reboot.
const unit = `[Unit]
Description=Run a job of AWS Batch
DefaultDependencies=no
Requires=sysinit.target
After=sysinit.target basic.target network.target cloud-final.service
Conflicts=shutdown.target
Before=shutdown.target
ConditionPathExists=!` + startedFile + `

[Service]
Type=exec
ExecStart=/bin/bash ` + toolsPath + `/run
ExecStopPost=/bin/bash ` + toolsPath + `/ended
StandardOutput=append:` + outputFile + `
StandardError=append:` + outputFile + `
TimeoutStopSec=5
`

// ended leaves the exit status of a job, as containers have it.
const ended = `if [ "$EXIT_CODE" = exited ]; then code=$EXIT_STATUS; else code=137; fi
echo "$code" >` + exitFile + `.new && mv ` + exitFile + `.new ` + exitFile + "\n"

// layer makes the layer of a node, or says why it can't be had.
func (s *Service) layer(j *job, i int, name, main string) (refused string, err error) {
	image, files, err := s.cfg.Images.Pull(aws.ToString(j.Containers[i].Image))
	if err != nil {
		return "CannotPullContainerError: " + err.Error(), nil
	}
	dir := filepath.Join(s.cfg.Dir, name)
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if err := os.CopyFS(dir, os.DirFS(files)); err != nil {
		return "", err
	}
	variables := maps.Clone(image.Environment)
	if variables == nil {
		variables = map[string]string{}
	}
	variables["HOME"] = "/root"
	for _, v := range j.Containers[i].Environment {
		variables[aws.ToString(v.Name)] = aws.ToString(v.Value)
	}
	maps.Copy(variables, j.variables(i, main))
	if role := aws.ToString(j.Containers[i].JobRoleArn); role != "" {
		id, secret, token, _, err := s.cfg.Credentials.RoleCredentials(s.ctx, role, strings.ReplaceAll(j.id(), ":", "-"))
		if err != nil {
			return "ECS was unable to assume the role '" + role + "' that was provided for this task: " + err.Error(), os.RemoveAll(dir)
		}
		variables["AWS_ACCESS_KEY_ID"], variables["AWS_SECRET_ACCESS_KEY"], variables["AWS_SESSION_TOKEN"] = id, secret, token
	}
	command := slices.Clone(image.Command)
	if len(j.Containers[i].Command) > 0 {
		command = j.Containers[i].Command
	}
	if command = append(slices.Clone(image.Entrypoint), command...); len(command) == 0 {
		return "CannotStartContainerError: the job has no command, and its image has none", os.RemoveAll(dir)
	}
	for _, f := range []struct {
		path, text string
		mode       os.FileMode
	}{
		{toolsPath + "/run", script(variables, image.Directory, command), 0o600},
		{toolsPath + "/ended", ended, 0o644},
		{logsPath + "/output", "", 0o644},
		{"/etc/systemd/system/" + unitName, unit, 0o644},
	} {
		path := filepath.Join(dir, f.path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(path, []byte(f.text), f.mode); err != nil {
			return "", err
		}
	}
	wants := filepath.Join(dir, "etc/systemd/system/multi-user.target.wants")
	if err := os.MkdirAll(wants, 0o755); err != nil {
		return "", err
	}
	if err := os.Symlink("../"+unitName, filepath.Join(wants, unitName)); err != nil {
		return "", err
	}
	// Directories of a layer give their mode to the machine's, whatever the daemon's umask.
	return "", filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return err
		}
		return os.Chmod(path, 0o755)
	})
}

// variables are what Batch tells a container.
func (j *job) variables(i int, main string) map[string]string {
	out := map[string]string{
		"AWS_BATCH_JOB_ID": j.id(), "AWS_BATCH_JOB_ATTEMPT": fmt.Sprint(j.Attempt + 1), "AWS_BATCH_CE_NAME": j.Environment, "AWS_BATCH_JQ_NAME": nameOf(j.Desc.JobQueue),
	}
	if j.Parent != "" {
		out["AWS_BATCH_JOB_ARRAY_INDEX"] = fmt.Sprint(index(j))
	}
	if p := j.Desc.NodeProperties; p != nil {
		out["AWS_BATCH_JOB_ID"] = fmt.Sprintf("%s#%d", j.id(), i)
		out["AWS_BATCH_JOB_NUM_NODES"], out["AWS_BATCH_JOB_NODE_INDEX"] = fmt.Sprint(len(j.Containers)), fmt.Sprint(i)
		out["AWS_BATCH_JOB_MAIN_NODE_INDEX"] = fmt.Sprint(aws.ToInt32(p.MainNode))
		if int32(i) != aws.ToInt32(p.MainNode) {
			out["AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS"] = main
		}
	}
	return out
}

// script runs a command with an environment.
func script(variables map[string]string, directory string, command []string) string {
	var b strings.Builder
	b.WriteString("touch " + startedFile + "\nset -e\n")
	for _, k := range slices.Sorted(maps.Keys(variables)) {
		b.WriteString("export " + k + "=" + quote(variables[k]) + "\n")
	}
	if directory != "" {
		b.WriteString("mkdir -p " + quote(directory) + "\ncd " + quote(directory) + "\n")
	} else {
		b.WriteString("cd /\n")
	}
	b.WriteString("exec")
	for _, w := range command {
		b.WriteString(" " + quote(w))
	}
	return b.String() + "\n"
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
