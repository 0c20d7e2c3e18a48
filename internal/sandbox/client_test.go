//go:build linux

package sandbox

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
)

// A machine's sshd ends a session whose client is gone because it reads the end of
// the connection: an ssh that was killed must not leave one behind.
func TestConnectionIsClosedForWriting(t *testing.T) {
	home := Home(t.TempDir())
	control, err := net.Listen("unix", home.Control())
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	go func() {
		conn, err := control.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		r := bufio.NewReader(conn)
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\nbanner ")
		said, _ := io.ReadAll(r)
		_, _ = conn.Write(said)
	}()
	conn, err := NewClient(home).Connect(t.Context(), "10.0.0.4:22")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok {
		t.Fatal("the connection can't be closed for writing")
	}
	if err := half.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != "banner hello" {
		t.Errorf("read %q, %v", got, err)
	}
}
