package configure

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// openTerminal returns both sides of a pseudo terminal: what a person has, and
// what a program has.
func openTerminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { person.Close() })
	fd := int(person.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return person, program
}

// TestScriptOnATerminal drives the dialogue as expect does: it waits for a label
// and answers.
func TestScriptOnATerminal(t *testing.T) {
	person, program := openTerminal(t)
	f := newFake()
	f.network("vpc-1", "10.0.0.0/16", [2]string{"us-east-1b", "10.0.1.0/24"})
	file := filepath.Join(t.TempDir(), "cluster.yaml")
	done := make(chan error, 1)
	go func() {
		err := Run(t.Context(), NewConsole(program, program, false), request(f, file))
		fmt.Fprintln(program, "END")
		done <- err
	}()

	var screen bytes.Buffer
	seen := 0
	await := func(text string) {
		t.Helper()
		buffer := make([]byte, 4096)
		for {
			if i := strings.Index(screen.String()[seen:], text); i >= 0 {
				seen += i + len(text)
				return
			}
			n, err := person.Read(buffer)
			if err != nil {
				t.Fatalf("%s did not come: %v\n%s", text, err, screen.String())
			}
			screen.Write(buffer[:n])
		}
	}
	for _, step := range [][2]string{
		{"AWS Region ID [us-east-1]: ", ""},
		{"EC2 Key Pair Name [alice]: ", "bob"},
		{"Scheduler [slurm]: ", "slurm"},
		{"Operating System [alinux2023]: ", "2"},
		{"Head node instance type [t3.micro]: ", "t3.micro"},
		{"Number of queues [1]: ", "1"},
		{"Name of queue 1 [queue1]: ", "work"},
		{"Number of compute resources for work [1]: ", ""},
		{"Compute instance type for compute resource 1 in work [t3.micro]: ", "c5.large"},
		{"Maximum instance count [10]: ", "3"},
		{"Automate VPC creation? (y/n) [n]: ", "n"},
		{"VPC ID [vpc-1]: ", ""},
		{"Automate Subnet creation? (y/n) [y]: ", "n"},
		{"head node subnet ID [subnet-00000001]: ", ""},
		{"compute subnet ID [subnet-00000001]: ", ""},
	} {
		await(step[0])
		fmt.Fprintln(person, step[1])
	}
	await("END")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(text), "KeyName: bob") || !strings.Contains(string(text), "MaxCount: 3") {
		t.Errorf("%v\n%s", err, text)
	}
}
