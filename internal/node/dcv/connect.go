package dcv

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// A Connection is a user's way to a session.
type Connection struct {
	User   string
	Port   int    // of DCV's server
	Folder string // that files are exchanged through
	Spool  string
	// Authority has the authenticator's certificate, in PEM.
	Authority []byte
	// Authenticator is its host and port.
	Authenticator string
	// Run runs DCV's command and returns what it printed.
	Run func(ctx context.Context, args ...string) (string, error)
	// Pause is between looks for a new session.
	Pause time.Duration
}

// Connect makes sure that the user has a session and returns the line that tells how to
// enter it.
func (c *Connection) Connect(ctx context.Context) (string, error) {
	id, err := c.find(ctx)
	if err != nil {
		return "", err
	}
	if id == "" {
		if id, err = c.create(ctx); err != nil {
			return "", err
		}
	}
	token, err := c.token(ctx, id)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("PclusterDcvServerPort=%d PclusterDcvSessionId=%s PclusterDcvSessionToken=%s", c.Port, id, token), nil
}

// listed is a session as DCV lists them.
var listed = regexp.MustCompile(`Session: '([^']*)' \(owner:(\S+) type:virtual`)

// sessions returns the IDs of the user's sessions.
func (c *Connection) sessions(ctx context.Context) ([]string, error) {
	out, err := c.Run(ctx, "list-sessions")
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, m := range listed.FindAllStringSubmatch(out, -1) {
		if m[2] == c.User {
			ids = append(ids, m[1])
		}
	}
	return ids, nil
}

// word is what the ID of a session must be to be told.
var word = regexp.MustCompile(`^\w+$`)

func (c *Connection) find(ctx context.Context) (string, error) {
	ids, err := c.sessions(ctx)
	for _, id := range ids {
		if word.MatchString(id) {
			return id, err
		}
	}
	return "", err
}

// create makes a session and waits until it is there.
func (c *Connection) create(ctx context.Context) (string, error) {
	random := make([]byte, 10)
	_, _ = rand.Read(random) // never fails
	id := hex.EncodeToString(random)
	if _, err := c.Run(ctx, "create-session", "--type", "virtual", "--storage-root", c.Folder, id); err != nil {
		return "", err
	}
	for {
		ids, err := c.sessions(ctx)
		if err != nil {
			return "", err
		}
		for _, have := range ids {
			if have == id {
				return id, nil
			}
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("DCV was asked for a session, and lists none of %s's: %w", c.User, ctx.Err())
		case <-time.After(c.Pause):
		}
	}
}

// token shows the authenticator who the user is.
func (c *Connection) token(ctx context.Context, session string) (string, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(c.Authority) {
		return "", fmt.Errorf("%s has no certificate", Certificate)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "localhost"}}
	defer transport.CloseIdleConnections()
	ask := func(answer any, query url.Values) error {
		return c.ask(ctx, &http.Client{Transport: transport, Timeout: 10 * time.Second}, answer, query)
	}
	var request requestAnswer
	if err := ask(&request, url.Values{"action": {"requestToken"}, "authUser": {c.User}, "sessionID": {session}}); err != nil {
		return "", err
	}
	file := filepath.Join(c.Spool, filepath.Base(request.AccessFile))
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	defer func() { _ = os.Remove(file) }() // the authenticator has done so, if all went well
	if err := f.Close(); err != nil {
		return "", err
	}
	var answer sessionAnswer
	err = ask(&answer, url.Values{"action": {"sessionToken"}, "requestToken": {request.RequestToken}})
	return answer.SessionToken, err
}

func (c *Connection) ask(ctx context.Context, client *http.Client, answer any, query url.Values) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+c.Authenticator+"/?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("the authenticator does not answer: %w", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the authenticator refuses: %s", strings.TrimSpace(string(body)))
	}
	return json.Unmarshal(body, answer)
}
