package wire

import (
	"log/slog"
	"net/http"
	"time"
)

// An Authenticator knows access keys. Package iam is one.
type Authenticator interface {
	// LookupKey returns who owns the access key, its secret, and the session token
	// that must come with it (empty for long-term keys).
	LookupKey(accessKeyID string) (caller Caller, secret, token string, ok bool)
}

// An Endpoint answers for all services of a region. Fields must not change once
// it serves.
type Endpoint struct {
	Auth     Authenticator
	Services map[string]http.Handler // by the names that [NewService] takes
	S3       http.Handler
	Signals  http.Handler // CloudFormation's wait handles and custom resources' answers
	Log      *slog.Logger // requests at level debug, unknown operations at warn

	// Region returns the region's name; requests signed for another region are
	// refused, except those to global services. Nil accepts any.
	Region func() string

	// Observe, if set, is told of every answered request. It must not block.
	Observe func(Call)

	// Intercept, if set, is asked before each operation; an error becomes the
	// answer. Faults such as throttling enter here.
	Intercept func(c Caller, service, operation string) error

	// Now is the clock of signature checks; nil means time.Now.
	Now func() time.Time
}

// ServeHTTP finds the service that the request is for, checks its signature and
// hands it over.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	http.Error(w, "not yet", http.StatusNotImplemented)
}
