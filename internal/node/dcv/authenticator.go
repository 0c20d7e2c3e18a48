package dcv

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// How long tokens are good. Each is good once.
const (
	requestLife = 10 * time.Second
	sessionLife = 30 * time.Second
	tokenLength = 256 // characters
	maxTokens   = 4096
)

// An Authenticator says who may enter a session. A user asks for a request token, proves to
// be that user by making a file, and gets a session token; DCV's server shows that when
// somebody comes with it. Whether that user may enter that session DCV decides itself.
type Authenticator struct {
	Spool string
	Log   *slog.Logger
	Now   func() time.Time
	// Owner returns the name of the user who owns a file.
	Owner func(info os.FileInfo) (string, error)

	mu       sync.Mutex
	requests map[string]grant
	sessions map[string]grant
}

// A grant is what a token stands for.
type grant struct {
	user, session string
	file          string // that the user has to make
	given         time.Time
}

// NewAuthenticator returns one for this machine.
func NewAuthenticator(log *slog.Logger) *Authenticator {
	return &Authenticator{Spool: Spool, Log: log, Now: time.Now, Owner: owner}
}

func owner(info os.FileInfo) (string, error) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", errors.New("the owner of a file is not known")
	}
	u, err := user.LookupId(strconv.FormatUint(uint64(stat.Uid), 10))
	if err != nil {
		return "", err
	}
	return u.Username, nil
}

// Serve answers until the context ends. The certificate and its key are files.
func (a *Authenticator) Serve(ctx context.Context, l net.Listener, certificate, key string) error {
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return err
	}
	s := &http.Server{
		Handler: a, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12},
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(a.Log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	if err := s.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// ServeHTTP answers users, who ask with GET, and DCV's server, which asks with POST.
func (a *Authenticator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 16<<10)
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var answer any
	var err error
	switch action := r.Form.Get("action"); {
	case r.Method == http.MethodPost:
		a.verify(w, r.Form.Get("sessionId"), r.Form.Get("authenticationToken"))
		return
	case r.Method != http.MethodGet:
		http.Error(w, "GET and POST only", http.StatusMethodNotAllowed)
		return
	case action == "requestToken":
		answer, err = a.request(r.Form.Get("authUser"), r.Form.Get("sessionID"))
	case action == "sessionToken":
		answer, err = a.session(r.Form.Get("requestToken"))
	default:
		err = fmt.Errorf("action %q is neither requestToken nor sessionToken", action)
	}
	if err != nil {
		a.Log.Warn("refused", "action", r.Form.Get("action"), "error", err)
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // the caller may have gone
}

// A requestAnswer says which file shows who the user is.
type requestAnswer struct {
	RequestToken string `json:"requestToken"`
	AccessFile   string `json:"accessFile"`
}

// A sessionAnswer has what opens the session.
type sessionAnswer struct {
	SessionToken string `json:"sessionToken"`
}

// Names of users and sessions, as they can be.
var (
	userName  = regexp.MustCompile(`^[A-Za-z0-9_.@\\-]{1,256}$`)
	sessionID = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,128}$`)
)

func (a *Authenticator) request(name, session string) (requestAnswer, error) {
	if !userName.MatchString(name) || !sessionID.MatchString(session) {
		return requestAnswer{}, errors.New("authUser or sessionID is missing, or is no name")
	}
	out := requestAnswer{token(), token()[:40]}
	err := a.keep(&a.requests, out.RequestToken, grant{user: name, session: session, file: out.AccessFile}, requestLife)
	return out, err
}

func (a *Authenticator) session(request string) (sessionAnswer, error) {
	g, ok := a.take(a.requests, request, requestLife)
	if !ok {
		return sessionAnswer{}, errors.New("the request token is not known, was used, or is too old")
	}
	if err := a.identified(g); err != nil {
		return sessionAnswer{}, err
	}
	out := sessionAnswer{token()}
	if err := a.keep(&a.sessions, out.SessionToken, grant{user: g.user, session: g.session}, sessionLife); err != nil {
		return sessionAnswer{}, err
	}
	a.Log.Info("a session may be entered", "user", g.user, "session", g.session)
	return out, nil
}

// identified says whether the user has made the file that only that user can make.
func (a *Authenticator) identified(g grant) error {
	path := filepath.Join(a.Spool, g.file)
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("%s has not shown who it is: %w", g.user, err)
	}
	defer func() { _ = os.Remove(path) }() // nobody looks at it again
	who, err := a.Owner(info)
	switch {
	case err != nil:
		return err
	case who != g.user:
		return fmt.Errorf("%s says to be %s", who, g.user)
	case !info.Mode().IsRegular() || info.Size() > 0 || links(info) != 1 || info.ModTime().Before(g.given.Add(-clockGrain)):
		return fmt.Errorf("the file of %s was not made for this", g.user) // but brought here by somebody else
	}
	return nil
}

// clockGrain is how far the times of files may be behind.
const clockGrain = time.Second

// links is how many names a file has.
func links(info os.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(stat.Nlink)
	}
	return 0
}

// An authResult is what DCV's server wants to hear.
type authResult struct {
	XMLName  xml.Name `xml:"auth"`
	Result   string   `xml:"result,attr"`
	Username string   `xml:"username,omitempty"`
	Message  string   `xml:"message,omitempty"`
}

func (a *Authenticator) verify(w http.ResponseWriter, session, token string) {
	out := authResult{Result: "no", Message: "The session token is not known, was used, or is too old"}
	if g, ok := a.take(a.sessions, token, sessionLife); ok && g.session == session {
		out = authResult{Result: "yes", Username: g.user}
	}
	a.Log.Info("somebody comes with a token", "session", session, "user", out.Username, "let in", out.Result)
	w.Header().Set("Content-Type", "text/xml")
	_ = xml.NewEncoder(w).Encode(out) // the server may have gone
}

// keep remembers a token. Those that are too old make room.
func (a *Authenticator) keep(tokens *map[string]grant, token string, g grant, life time.Duration) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.Now()
	for t, old := range *tokens {
		if now.Sub(old.given) > life {
			delete(*tokens, t)
		}
	}
	if len(*tokens) >= maxTokens {
		return errors.New("too many people want to enter at once; try again")
	}
	if *tokens == nil {
		*tokens = map[string]grant{}
	}
	g.given = now
	(*tokens)[token] = g
	return nil
}

// take returns what a token stands for, once.
func (a *Authenticator) take(tokens map[string]grant, token string, life time.Duration) (grant, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	g, ok := tokens[token]
	delete(tokens, token)
	return g, ok && a.Now().Sub(g.given) <= life
}

// token returns characters that nobody can guess, and that can be in a URL.
func token() string {
	random := make([]byte, tokenLength*3/4)
	_, _ = rand.Read(random) // never fails
	return base64.RawURLEncoding.EncodeToString(random)
}
