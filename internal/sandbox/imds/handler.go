package imds

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/sandbox/ec2"
)

// Instances finds who is asking; *ec2.Service does.
type Instances interface {
	Metadata(addr netip.Addr) (ec2.Metadata, bool)
}

// Credentials hands out credentials of roles; *iam.Service does.
type Credentials interface {
	RoleCredentials(ctx context.Context, roleARN, session string) (accessKeyID, secret, token string, expires time.Time, err error)
}

// versions are the names under which the tree is found, oldest first.
var versions = []string{
	"1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15", "2008-02-01", "2008-09-01", "2009-04-04",
	"2011-01-01", "2011-05-01", "2012-01-12", "2014-02-25", "2014-11-05", "2015-10-20", "2016-04-19", "2016-06-30", "2016-09-02",
	"2018-03-28", "2018-08-17", "2018-09-24", "2019-10-01", "2020-10-27", "2021-01-03", "2021-03-23", "2021-07-15", "2022-09-24",
	"2024-04-11", "latest",
}

const (
	tokenHeader = "X-Aws-Ec2-Metadata-Token"
	ttlHeader   = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
	maxTTL      = 21600
)

type handler struct {
	instances   Instances
	credentials Credentials
	now         func() time.Time
}

// New returns the metadata service of a region.
func New(instances Instances, credentials Credentials) http.Handler {
	return &handler{instances: instances, credentials: credentials, now: time.Now}
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Server", "EC2ws")
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		refuse(w, http.StatusBadRequest)
		return
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		refuse(w, http.StatusBadRequest)
		return
	}
	m, ok := h.instances.Metadata(addr.Unmap())
	if !ok {
		refuse(w, http.StatusNotFound)
		return
	}
	options := m.Instance.MetadataOptions
	if options.HttpEndpoint == types.InstanceMetadataEndpointStateDisabled {
		refuse(w, http.StatusForbidden)
		return
	}
	if r.URL.Path == "/latest/api/token" {
		h.token(w, r, m)
		return
	}
	token := r.Header.Get(tokenHeader)
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		refuse(w, http.StatusMethodNotAllowed)
	case token != "" && !h.valid(token, m), token == "" && options.HttpTokens == types.HttpTokensStateRequired:
		refuse(w, http.StatusUnauthorized)
	default:
		h.read(w, r, m)
	}
}

// token answers a request for a session token. A request that came through a proxy
// is refused: keeping such out is what tokens are for.
func (h *handler) token(w http.ResponseWriter, r *http.Request, m ec2.Metadata) {
	if r.Method != http.MethodPut {
		refuse(w, http.StatusMethodNotAllowed)
		return
	}
	if r.Header.Get("X-Forwarded-For") != "" {
		refuse(w, http.StatusForbidden)
		return
	}
	ttl, err := strconv.Atoi(r.Header.Get(ttlHeader))
	if err != nil || ttl < 1 || ttl > maxTTL {
		refuse(w, http.StatusBadRequest)
		return
	}
	w.Header().Set(ttlHeader, strconv.Itoa(ttl))
	w.Header().Set("Content-Type", "text/plain")
	_, _ = w.Write([]byte(sign(m, h.now().Add(time.Duration(ttl)*time.Second)))) // the client is gone
}

// sign makes a token: when it ends, and a code over that and the instance.
func sign(m ec2.Metadata, ends time.Time) string {
	raw := binary.BigEndian.AppendUint64(nil, uint64(ends.Unix()))
	return base64.StdEncoding.EncodeToString(append(raw, code(m, raw)...))
}

func code(m ec2.Metadata, raw []byte) []byte {
	mac := hmac.New(sha256.New, m.TokenKey)
	mac.Write(raw)
	mac.Write([]byte(*m.Instance.InstanceId))
	return mac.Sum(nil)
}

func (h *handler) valid(token string, m ec2.Metadata) bool {
	raw, err := base64.StdEncoding.DecodeString(token)
	if err != nil || len(raw) < 8 || !hmac.Equal(raw[8:], code(m, raw[:8])) {
		return false
	}
	return h.now().Unix() < int64(binary.BigEndian.Uint64(raw))
}

func (h *handler) read(w http.ResponseWriter, r *http.Request, m ec2.Metadata) {
	path := strings.Trim(r.URL.Path, "/")
	if path == "" {
		write(w, []byte(strings.Join(versions, "\n")))
		return
	}
	version, rest, _ := strings.Cut(path, "/")
	if !slices.Contains(versions, version) {
		refuse(w, http.StatusNotFound)
		return
	}
	n := h.tree(m).find(rest)
	if n == nil {
		refuse(w, http.StatusNotFound)
		return
	}
	if n.value == nil {
		write(w, n.list())
		return
	}
	value, err := n.value(r.Context())
	if err != nil {
		refuse(w, http.StatusNotFound) // a role that was deleted under its instance
		return
	}
	if rest == "user-data" {
		w.Header().Set("Content-Type", "application/octet-stream")
	}
	write(w, value)
}

func write(w http.ResponseWriter, body []byte) {
	h := w.Header()
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "text/plain")
	}
	h.Set("Accept-Ranges", "none")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body) // the client is gone
}

// refuse answers with an error page as the real service does: some clients show
// it, none reads it.
func refuse(w http.ResponseWriter, status int) {
	title := strconv.Itoa(status) + " - " + http.StatusText(status)
	var page bytes.Buffer
	page.WriteString(`<?xml version="1.0" encoding="iso-8859-1"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"
	"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
 <head>
  <title>` + title + `</title>
 </head>
 <body>
  <h1>` + title + `</h1>
 </body>
</html>
`)
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(status)
	_, _ = w.Write(page.Bytes()) // the client is gone
}
