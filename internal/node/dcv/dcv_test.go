package dcv

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// testAuthenticator is one in which the tester is alice, with a clock that tests move.
func testAuthenticator(t *testing.T) (*Authenticator, *time.Time) {
	t.Helper()
	now := time.Now()
	a := &Authenticator{
		Spool: t.TempDir(), Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now },
		Owner: func(os.FileInfo) (string, error) { return "alice", nil },
	}
	return a, &now
}

func call(t *testing.T, a http.Handler, method string, form url.Values) (int, string) {
	t.Helper()
	req := httptest.NewRequest(method, "/?"+form.Encode(), nil)
	if method == http.MethodPost {
		req = httptest.NewRequest(method, "/", strings.NewReader(form.Encode()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	w := httptest.NewRecorder()
	a.ServeHTTP(w, req)
	return w.Code, w.Body.String()
}

// ask asks for a request token.
func ask(t *testing.T, a http.Handler, who, session string) requestAnswer {
	t.Helper()
	code, body := call(t, a, http.MethodGet, url.Values{"action": {"requestToken"}, "authUser": {who}, "sessionID": {session}})
	var out requestAnswer
	if err := json.Unmarshal([]byte(body), &out); err != nil || code != http.StatusOK {
		t.Fatalf("%d %s", code, body)
	}
	return out
}

func show(t *testing.T, a *Authenticator, r requestAnswer) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(a.Spool, r.AccessFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func exchange(t *testing.T, a http.Handler, request string) (int, string) {
	t.Helper()
	code, body := call(t, a, http.MethodGet, url.Values{"action": {"sessionToken"}, "requestToken": {request}})
	var out sessionAnswer
	if code == http.StatusOK {
		if err := json.Unmarshal([]byte(body), &out); err != nil {
			t.Fatal(err)
		}
		return code, out.SessionToken
	}
	return code, body
}

// enter is what DCV's server does when somebody comes.
func enter(t *testing.T, a http.Handler, session, token string) authResult {
	t.Helper()
	code, body := call(t, a, http.MethodPost, url.Values{"sessionId": {session}, "authenticationToken": {token}, "clientAddress": {"192.0.2.1"}})
	var out authResult
	if err := xml.Unmarshal([]byte(body), &out); err != nil || code != http.StatusOK {
		t.Fatalf("%d %s: %v", code, body, err)
	}
	return out
}

func TestAUserEntersASession(t *testing.T) {
	a, _ := testAuthenticator(t)
	r := ask(t, a, "alice", "s1")
	show(t, a, r)
	code, token := exchange(t, a, r.RequestToken)
	if code != http.StatusOK || len(token) != tokenLength || len(r.RequestToken) != tokenLength || !regexp.MustCompile(`^[\w-]+$`).MatchString(token) {
		t.Fatalf("%d: a token of %d characters: %s", code, len(token), token)
	}
	if left, _ := os.ReadDir(a.Spool); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
	if got := enter(t, a, "s1", token); got.Result != "yes" || got.Username != "alice" {
		t.Errorf("with the token: %+v", got)
	}
	if got := enter(t, a, "s1", token); got.Result != "no" || got.Username != "" || got.Message == "" {
		t.Errorf("with the token a second time: %+v", got)
	}
}

func TestTokensAreForOneThingAndAMoment(t *testing.T) {
	for name, tt := range map[string]func(t *testing.T, a *Authenticator, now *time.Time, r requestAnswer) bool{
		"a request token is good once": func(t *testing.T, a *Authenticator, _ *time.Time, r requestAnswer) bool {
			show(t, a, r)
			exchange(t, a, r.RequestToken)
			show(t, a, r)
			code, _ := exchange(t, a, r.RequestToken)
			return code == http.StatusOK
		},
		"a request token is good for 10 seconds": func(t *testing.T, a *Authenticator, now *time.Time, r requestAnswer) bool {
			show(t, a, r)
			*now = now.Add(requestLife + time.Millisecond)
			code, _ := exchange(t, a, r.RequestToken)
			return code == http.StatusOK
		},
		"a session token is good for 30 seconds": func(t *testing.T, a *Authenticator, now *time.Time, r requestAnswer) bool {
			show(t, a, r)
			_, token := exchange(t, a, r.RequestToken)
			*now = now.Add(sessionLife + time.Millisecond)
			return enter(t, a, "s1", token).Result == "yes"
		},
		"a session token is for its session": func(t *testing.T, a *Authenticator, _ *time.Time, r requestAnswer) bool {
			show(t, a, r)
			_, token := exchange(t, a, r.RequestToken)
			return enter(t, a, "s2", token).Result == "yes"
		},
		"a request token is no session token": func(t *testing.T, a *Authenticator, _ *time.Time, r requestAnswer) bool {
			return enter(t, a, "s1", r.RequestToken).Result == "yes"
		},
		"nobody has shown anything": func(t *testing.T, a *Authenticator, _ *time.Time, r requestAnswer) bool {
			code, _ := exchange(t, a, r.RequestToken)
			return code == http.StatusOK
		},
		"somebody else has made the file": func(t *testing.T, a *Authenticator, _ *time.Time, r requestAnswer) bool {
			show(t, a, r)
			a.Owner = func(os.FileInfo) (string, error) { return "mallory", nil }
			code, _ := exchange(t, a, r.RequestToken)
			return code == http.StatusOK
		},
		"a link to a file of the user's": func(t *testing.T, a *Authenticator, _ *time.Time, r requestAnswer) bool {
			theirs := filepath.Join(t.TempDir(), "theirs")
			if err := errors.Join(os.WriteFile(theirs, nil, 0o600), os.Link(theirs, filepath.Join(a.Spool, r.AccessFile))); err != nil {
				t.Fatal(err)
			}
			code, _ := exchange(t, a, r.RequestToken)
			return code == http.StatusOK
		},
		"a file of the user's from before": func(t *testing.T, a *Authenticator, now *time.Time, r requestAnswer) bool {
			show(t, a, r)
			before := now.Add(-time.Minute)
			if err := os.Chtimes(filepath.Join(a.Spool, r.AccessFile), before, before); err != nil {
				t.Fatal(err)
			}
			code, _ := exchange(t, a, r.RequestToken)
			return code == http.StatusOK
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, now := testAuthenticator(t)
			if tt(t, a, now, ask(t, a, "alice", "s1")) {
				t.Error("let in")
			}
		})
	}
}

func TestWhatIsNoRequestIsRefused(t *testing.T) {
	a, _ := testAuthenticator(t)
	for _, form := range []url.Values{
		{}, {"action": {"other"}}, {"action": {"requestToken"}}, {"action": {"requestToken"}, "authUser": {"alice"}},
		{"action": {"requestToken"}, "authUser": {"<x>"}, "sessionID": {"s"}}, {"action": {"requestToken"}, "authUser": {"alice"}, "sessionID": {"../s"}},
		{"action": {"sessionToken"}}, {"action": {"sessionToken"}, "requestToken": {"guess"}},
	} {
		if code, body := call(t, a, http.MethodGet, form); code != http.StatusBadRequest {
			t.Errorf("%v: %d %s", form, code, body)
		}
	}
	if code, _ := call(t, a, http.MethodPut, nil); code != http.StatusMethodNotAllowed {
		t.Errorf("PUT: %d", code)
	}
	if got := enter(t, a, "s1", ""); got.Result != "no" {
		t.Errorf("without a token: %+v", got)
	}
}

func TestFloodsAreForgotten(t *testing.T) {
	a, now := testAuthenticator(t)
	for range maxTokens {
		ask(t, a, "alice", "s1")
	}
	form := url.Values{"action": {"requestToken"}, "authUser": {"bob"}, "sessionID": {"s2"}}
	if code, body := call(t, a, http.MethodGet, form); code != http.StatusBadRequest || !strings.Contains(body, "too many") {
		t.Errorf("%d %s", code, body)
	}
	*now = now.Add(requestLife + time.Second)
	if code, body := call(t, a, http.MethodGet, form); code != http.StatusOK {
		t.Errorf("after a while: %d %s", code, body)
	}
}

// desktops is DCV's command: sessions are there at the second look after they were made.
type desktops struct {
	owner          string
	ids, made, ran []string
}

func (d *desktops) run(_ context.Context, args ...string) (string, error) {
	d.ran = append(d.ran, strings.Join(args, " "))
	switch args[0] {
	case "create-session":
		d.made = append(d.made, args[len(args)-1])
		return "", nil
	case "list-sessions":
		out := "Session: 'bobs' (owner:bob type:virtual name:'bobs')\nSession: 'console' (owner:" + d.owner + " type:console name:'x')\n"
		for _, id := range d.ids {
			out += fmt.Sprintf("Session: '%s' (owner:%s type:virtual name:'%s')\n", id, d.owner, id)
		}
		d.ids, d.made = append(d.ids, d.made...), nil
		return out, nil
	}
	return "", errors.New("unknown command")
}

// serve has an authenticator listen, with a certificate of its own, and returns a
// connection of the tester's to it.
func serve(t *testing.T, d *desktops) (*Authenticator, *Connection) {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	d.owner = me.Username
	certificate, key, err := NewCertificate(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := map[string][]byte{"cert.pem": certificate, "key.pem": key}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := NewAuthenticator(slog.New(slog.NewTextHandler(io.Discard, nil)))
	a.Spool = t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Serve(ctx, l, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return a, &Connection{
		User: me.Username, Port: 8443, Folder: "/home/me", Spool: a.Spool, Authority: certificate, Authenticator: l.Addr().String(), Run: d.run,
		Pause: time.Millisecond,
	}
}

// told is what `pcluster dcv-connect` looks for.
var told = regexp.MustCompile(`^PclusterDcvServerPort=(\d+) PclusterDcvSessionId=(\w+) PclusterDcvSessionToken=([\w-]+)$`)

func TestConnectMakesASessionAndTellsHowToEnter(t *testing.T) {
	d := &desktops{}
	a, c := serve(t, d)
	line, err := c.Connect(t.Context())
	m := told.FindStringSubmatch(line)
	if err != nil || m == nil || m[1] != "8443" {
		t.Fatalf("%q, %v", line, err)
	}
	if want := "create-session --type virtual --storage-root /home/me " + m[2]; !slices.Contains(d.ran, want) {
		t.Errorf("ran %v, want %s", d.ran, want)
	}
	if got := enter(t, a, m[2], m[3]); got.Result != "yes" || got.Username != c.User {
		t.Errorf("%+v", got)
	}
	if left, _ := os.ReadDir(a.Spool); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
	again, err := c.Connect(t.Context())
	if second := told.FindStringSubmatch(again); err != nil || second == nil || second[2] != m[2] || second[3] == m[3] {
		t.Errorf("the second time: %q, %v", again, err)
	}
}

func TestConnectSaysWhatIsWrong(t *testing.T) {
	d := &desktops{}
	_, c := serve(t, d)
	run := c.Run
	for name, tt := range map[string]struct {
		change func()
		want   string
	}{
		"no server": {func() {
			c.Run = func(context.Context, ...string) (string, error) { return "", errors.New("Could not get the list") }
		}, "Could not get the list"},
		"another authority": {func() { c.Run = run; c.Authority, _, _ = NewCertificate(time.Now()) }, "certificate"},
		"no authority":      {func() { c.Authority = nil }, "has no certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			tt.change()
			if _, err := c.Connect(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestConfiguration(t *testing.T) {
	got := string(Config(8443))
	for _, want := range []string{
		"[connectivity]\nweb-port=8443\n", "[security]\n", `auth-token-verifier="https://localhost:8444"`, `ca-file="/etc/parallelcluster/ext-auth-certificate.pem"`, "no-tls-strict=true\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("it lacks %s:\n%s", want, got)
		}
	}
}

func TestCertificateIsGoodForFiveYears(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	certificate, _, err := NewCertificate(now)
	if err != nil || !Expires(certificate).Equal(now.AddDate(0, 0, 1825)) {
		t.Errorf("%v, %v", Expires(certificate), err)
	}
	if !Expires([]byte("none")).IsZero() {
		t.Error("a text is taken for a certificate")
	}
}
