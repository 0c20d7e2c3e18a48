//go:build unix

package act

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"pcluster/internal/component"
)

// rebootStatus is the exit status by which a command asks for a restart of the
// machine, after which it runs again.
const rebootStatus = 194

// keptOutput bounds what a command's output can give to later steps.
const keptOutput = 256 << 10

func executeBash(ctx context.Context, c *call) (output, error) {
	f, err := os.CreateTemp(c.Dir, "input-*.sh")
	if err != nil {
		return nil, fmt.Errorf("write the commands into a file: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(strings.Join(c.texts("commands"), "\n") + "\n")
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("write the commands into a file: %w", err)
	}
	return c.run(ctx, "bash", f.Name())
}

func executeBinary(ctx context.Context, c *call) (output, error) {
	return c.run(ctx, c.text("path"), c.texts("arguments")...)
}

// drain is how long output may still come after a command has ended. What holds it
// open longer is a service that the command left behind.
const drain = 250 * time.Millisecond

// run runs a command, and with it everything it starts in its process group, and
// logs what it says line by line.
func (c *call) run(ctx context.Context, name string, args ...string) (output, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	if os.Getenv("HOME") == "" {
		cmd.Env = append(os.Environ(), "HOME=/root")
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = cmp.Or(c.Grace, 5*time.Second)
	stdout, err := newLines()
	if err != nil {
		return nil, err
	}
	defer stdout.close()
	stderr, err := newLines()
	if err != nil {
		return nil, err
	}
	defer stderr.close()
	cmd.Stdout, cmd.Stderr = stdout.w, stderr.w
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	var said strings.Builder
	stdout.follow(func(line string) {
		c.log("CmdExecution: Stdout: " + line)
		if said.Len() < keptOutput {
			said.WriteString(line + "\n")
		}
	})
	end := &commandError{}
	stderr.follow(func(line string) {
		c.log("CmdExecution: Stderr: " + line)
		end.heard(line)
	})
	err = cmd.Wait()
	if ctx.Err() != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what did not heed the first signal
	}
	stdout.finish()
	stderr.finish()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	failed, exited := errors.AsType[*exec.ExitError](err)
	if err != nil && !exited {
		return nil, err
	}
	status := 0
	if exited {
		if status = failed.ExitCode(); status < 0 {
			return nil, fmt.Errorf("%s: %s", name, failed)
		}
	}
	c.logf("CmdExecution: ExitCode %d", status)
	switch {
	case status == 0:
		return output{"stdout": strings.TrimSuffix(said.String(), "\n")}, nil
	case status == rebootStatus:
		return nil, &component.Reboot{Again: true}
	}
	if len(end.said) == 0 {
		for line := range strings.Lines(said.String()) {
			end.heard(line)
		}
	}
	end.status = status
	return nil, end
}

// What a commandError keeps: Image Builder has room for 1024 characters of a reason.
const (
	saidLines = 8
	saidBytes = 600
)

// A commandError is how a command ended, with the last lines of what it said: that
// make failed says little without what failed in it.
type commandError struct {
	status int
	said   []string
}

func (e *commandError) heard(line string) {
	line = strings.TrimRight(line, " \t\n")
	if line == "" {
		return
	}
	if len(line) > saidBytes {
		line = strings.ToValidUTF8(line[:saidBytes], "")
	}
	e.said = append(e.said, line)
	for size := len(strings.Join(e.said, "\n")); len(e.said) > saidLines || size > saidBytes; e.said = e.said[1:] {
		size -= len(e.said[0]) + 1
	}
}

func (e *commandError) Error() string { return e.with(e.said) }

// Brief is the error for a reader of the log, who has read the rest above it.
func (e *commandError) Brief() string { return e.with(e.said[max(0, len(e.said)-1):]) }

func (e *commandError) with(said []string) string {
	text := fmt.Sprintf("exit status %d", e.status)
	if len(said) > 0 {
		text += ": " + strings.Join(said, "\n")
	}
	return text
}

// lines is a pipe whose text is read line by line.
type lines struct {
	r, w *os.File
	done chan struct{}
}

func newLines() (*lines, error) {
	r, w, err := os.Pipe()
	return &lines{r: r, w: w, done: make(chan struct{})}, err
}

// follow calls each for every line. The writer is given up: the command has it now.
func (l *lines) follow(each func(string)) {
	l.w.Close()
	go func() {
		defer close(l.done)
		in := bufio.NewReaderSize(l.r, 64<<10)
		for {
			line, err := in.ReadString('\n')
			if line = strings.TrimRight(line, "\r\n"); line != "" || err == nil {
				each(strings.ToValidUTF8(line, "\ufffd"))
			}
			if err != nil {
				return
			}
		}
	}()
}

// finish waits for the end of the text.
func (l *lines) finish() {
	select {
	case <-l.done:
	case <-time.After(drain):
		_ = l.r.SetReadDeadline(time.Now())
		<-l.done
	}
}

func (l *lines) close() {
	l.w.Close()
	l.r.Close()
}
