package wire

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	sigAlgorithm = "AWS4-HMAC-SHA256"
	sigDate      = "20060102T150405Z"
	emptyHash    = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

	unsignedPayload = "UNSIGNED-PAYLOAD"
	streamPrefix    = "STREAMING-"

	// maxSkew is how far the clocks of client and region may be apart.
	maxSkew = 15 * time.Minute
)

// An authFault is a request whose sender could not be established. Each protocol
// has its own code for each of them.
type authFault struct {
	kind    authKind
	message string
}

type authKind int

const (
	authMissing    authKind = iota // no signature at all
	authIncomplete                 // a signature that cannot be read
	authUnknownKey                 // a key that nobody has
	authBadToken                   // a token that is not the key's
	authMismatch                   // signed with another secret, or changed on its way
	authExpired                    // the credentials have ended
	authSkewed                     // the clocks differ, or the request is old
	authLapsed                     // a presigned URL past its time
	authRegion                     // signed for another region
)

func (f *authFault) Error() string { return f.message }

func fault(kind authKind, message string) error { return &authFault{kind, message} }

// A signature is what a request says about who signed it and how.
type signature struct {
	keyID, date, region, service string
	headers                      []string // that are signed, in lower case
	value                        string
	token                        string
	at                           time.Time
	presigned                    bool
	lifetime                     time.Duration // of presigned requests

	v2 bool // S3's older presigned form: HMAC-SHA1 and an absolute end
}

func (s *signature) scope() string {
	return s.date + "/" + s.region + "/" + s.service + "/aws4_request"
}

// parseSignature returns the request's signature, or nil when it has none.
func parseSignature(r *http.Request) (*signature, error) {
	query := r.URL.RawQuery
	header := r.Header.Get("Authorization")
	switch {
	case strings.HasPrefix(header, sigAlgorithm):
		return parseHeaderSignature(r, header)
	case header != "":
		return nil, fault(authIncomplete, "Unsupported authorization type: only "+sigAlgorithm+" is supported")
	case strings.Contains(query, "X-Amz-Algorithm="):
		return parseQuerySignature(r.URL.Query())
	case strings.Contains(query, "AWSAccessKeyId=") && strings.Contains(query, "Signature="):
		q := r.URL.Query()
		end, err := strconv.ParseInt(q.Get("Expires"), 10, 64)
		if err != nil {
			return nil, fault(authIncomplete, "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters")
		}
		return &signature{
			keyID: q.Get("AWSAccessKeyId"), value: q.Get("Signature"), token: q.Get("x-amz-security-token"),
			service: "s3", at: time.Unix(end, 0), presigned: true, v2: true,
		}, nil
	}
	return nil, nil
}

func parseHeaderSignature(r *http.Request, header string) (*signature, error) {
	s := &signature{token: r.Header.Get("X-Amz-Security-Token")}
	var credential, signed string
	for part := range strings.SplitSeq(strings.TrimPrefix(header, sigAlgorithm), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "Credential":
			credential = value
		case "SignedHeaders":
			signed = value
		case "Signature":
			s.value = value
		}
	}
	if credential == "" || signed == "" || s.value == "" {
		return nil, fault(authIncomplete, "Authorization header requires 'Credential', 'SignedHeaders' and 'Signature' parameters. Authorization="+sigAlgorithm)
	}
	if err := s.setScope(credential, signed); err != nil {
		return nil, err
	}
	date := r.Header.Get("X-Amz-Date")
	var err error
	if date != "" {
		s.at, err = time.Parse(sigDate, date)
	} else {
		s.at, err = parseTime(r.Header.Get("Date"))
	}
	if err != nil {
		return nil, fault(authIncomplete, "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
	}
	return s, nil
}

func parseQuerySignature(q url.Values) (*signature, error) {
	s := &signature{value: q.Get("X-Amz-Signature"), token: q.Get("X-Amz-Security-Token"), presigned: true}
	if q.Get("X-Amz-Algorithm") != sigAlgorithm {
		return nil, fault(authIncomplete, "X-Amz-Algorithm only supports "+sigAlgorithm)
	}
	if s.value == "" {
		return nil, fault(authIncomplete, "Query-string authentication requires the X-Amz-Signature parameter")
	}
	if err := s.setScope(q.Get("X-Amz-Credential"), q.Get("X-Amz-SignedHeaders")); err != nil {
		return nil, err
	}
	var err error
	if s.at, err = time.Parse(sigDate, q.Get("X-Amz-Date")); err != nil {
		return nil, fault(authIncomplete, "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
	}
	s.lifetime = maxSkew
	if e := q.Get("X-Amz-Expires"); e != "" {
		seconds, err := strconv.Atoi(e)
		if err != nil || seconds < 0 || seconds > 604800 {
			return nil, fault(authIncomplete, "X-Amz-Expires must be a number of seconds of at most a week")
		}
		s.lifetime = time.Duration(seconds) * time.Second
	}
	return s, nil
}

func (s *signature) setScope(credential, signed string) error {
	parts := strings.Split(credential, "/")
	if len(parts) != 5 || parts[4] != "aws4_request" {
		return fault(authIncomplete, "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '"+credential+"'")
	}
	s.keyID, s.date, s.region, s.service = parts[0], parts[1], parts[2], parts[3]
	s.headers = strings.Split(signed, ";")
	if !slices.Contains(s.headers, "host") {
		return fault(authIncomplete, "'Host' must be a 'SignedHeader' in the AWS Authorization.")
	}
	return nil
}

// checkTime refuses requests that were signed at another time, and presigned ones
// whose time is over.
func (s *signature) checkTime(now time.Time) error {
	switch {
	case s.v2:
		if now.After(s.at) {
			return fault(authLapsed, "Request has expired")
		}
	case s.presigned:
		if now.After(s.at.Add(s.lifetime)) {
			return fault(authLapsed, "Request has expired")
		}
		if s.at.After(now.Add(maxSkew)) {
			return fault(authSkewed, "Signature not yet current: "+s.at.UTC().Format(sigDate)+" is still later than "+now.UTC().Format(sigDate))
		}
	case now.Sub(s.at) > maxSkew:
		return fault(authSkewed, "Signature expired: "+s.at.UTC().Format(sigDate)+" is now earlier than "+
			now.Add(-maxSkew).UTC().Format(sigDate)+" ("+now.UTC().Format(sigDate)+" - 15 min.)")
	case s.at.Sub(now) > maxSkew:
		return fault(authSkewed, "Signature not yet current: "+s.at.UTC().Format(sigDate)+" is still later than "+
			now.Add(maxSkew).UTC().Format(sigDate)+" ("+now.UTC().Format(sigDate)+" + 15 min.)")
	}
	if !s.v2 && s.date != s.at.UTC().Format("20060102") {
		return fault(authIncomplete, "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP")
	}
	return nil
}

// matches reports whether the request was signed with the secret. payload is the
// hash of the body as it goes into the signature.
func (s *signature) matches(r *http.Request, secret, payload string) bool {
	if s.v2 {
		return s.matchesV2(r, secret)
	}
	key := s.key(secret)
	for _, uri := range s.canonicalURIs(r) {
		canonical := s.canonicalRequest(r, uri, payload)
		sum := sha256.Sum256([]byte(canonical))
		want := hex.EncodeToString(mac(key, sigAlgorithm+"\n"+s.at.UTC().Format(sigDate)+"\n"+s.scope()+"\n"+hex.EncodeToString(sum[:])))
		if hmac.Equal([]byte(want), []byte(s.value)) {
			return true
		}
	}
	return false
}

func (s *signature) key(secret string) []byte {
	k := mac([]byte("AWS4"+secret), s.date)
	k = mac(k, s.region)
	k = mac(k, s.service)
	return mac(k, "aws4_request")
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func (s *signature) canonicalRequest(r *http.Request, uri, payload string) string {
	var b strings.Builder
	b.WriteString(r.Method)
	b.WriteByte('\n')
	b.WriteString(uri)
	b.WriteByte('\n')
	b.WriteString(canonicalQuery(r.URL.RawQuery))
	b.WriteByte('\n')
	for _, name := range s.headers {
		b.WriteString(name)
		b.WriteByte(':')
		b.WriteString(headerValue(r, name))
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	b.WriteString(strings.Join(s.headers, ";"))
	b.WriteByte('\n')
	b.WriteString(payload)
	return b.String()
}

func headerValue(r *http.Request, name string) string {
	switch name {
	case "host":
		return r.Host
	case "content-length":
		return strconv.FormatInt(r.ContentLength, 10)
	case "transfer-encoding":
		return strings.Join(r.TransferEncoding, ",")
	}
	values := r.Header.Values(name)
	trimmed := make([]string, len(values))
	for i, v := range values {
		trimmed[i] = strings.Join(strings.FieldsFunc(v, func(c rune) bool { return c == ' ' }), " ")
	}
	return strings.Join(trimmed, ",")
}

// rawPath returns the path as the client sent it.
func rawPath(r *http.Request) string {
	p := r.URL.EscapedPath()
	if strings.HasPrefix(r.RequestURI, "/") {
		p, _, _ = strings.Cut(r.RequestURI, "?")
	}
	if p == "" {
		return "/"
	}
	return p
}

// canonicalURIs returns the forms of the path that clients sign. S3 encodes it
// once; the others encode what they send once more, and some tidy it first.
func (s *signature) canonicalURIs(r *http.Request) []string {
	raw := rawPath(r)
	if s.service == "s3" {
		plain, err := url.PathUnescape(raw)
		if err != nil {
			plain = raw
		}
		return []string{awsEscape(plain, true)}
	}
	uris := []string{awsEscape(raw, true)}
	clean := path.Clean(raw)
	if strings.HasSuffix(raw, "/") && clean != "/" {
		clean += "/"
	}
	if clean != raw {
		uris = append(uris, awsEscape(clean, true))
	}
	return uris
}

func canonicalQuery(raw string) string {
	if raw == "" {
		return ""
	}
	var pairs []string
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, value = awsEscape(queryUnescape(name), false), awsEscape(queryUnescape(value), false)
		if name == "X-Amz-Signature" {
			continue
		}
		pairs = append(pairs, name+"="+value)
	}
	// By name, then value: '=' sorts after some characters of names.
	slices.SortFunc(pairs, func(a, b string) int {
		an, av, _ := strings.Cut(a, "=")
		bn, bv, _ := strings.Cut(b, "=")
		if c := strings.Compare(an, bn); c != 0 {
			return c
		}
		return strings.Compare(av, bv)
	})
	return strings.Join(pairs, "&")
}

func queryUnescape(s string) string {
	u, err := url.QueryUnescape(s)
	if err != nil {
		return s
	}
	return u
}

// awsEscape percent-encodes all but RFC 3986's unreserved characters.
func awsEscape(s string, keepSlash bool) string {
	const digits = "0123456789ABCDEF"
	b := make([]byte, 0, len(s)+16)
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.', c == '~', c == '/' && keepSlash:
			b = append(b, c)
		default:
			b = append(b, '%', digits[c>>4], digits[c&15])
		}
	}
	return string(b)
}

// matchesV2 checks the presigned form of S3's first signature version, which
// boto3 still makes by default in some regions.
func (s *signature) matchesV2(r *http.Request, secret string) bool {
	h := hmac.New(sha1.New, []byte(secret))
	h.Write([]byte(stringToSignV2(r)))
	return hmac.Equal([]byte(base64.StdEncoding.EncodeToString(h.Sum(nil))), []byte(s.value))
}

func stringToSignV2(r *http.Request) string {
	q := r.URL.Query()
	lines := []string{r.Method, r.Header.Get("Content-Md5"), r.Header.Get("Content-Type"), q.Get("Expires")}
	amz := map[string]string{}
	for name, values := range r.Header {
		if name = strings.ToLower(name); strings.HasPrefix(name, "x-amz-") {
			amz[name] = strings.Join(values, ",")
		}
	}
	for name, values := range q { // boto3 puts x-amz headers of presigned requests into the query
		if strings.HasPrefix(name, "x-amz-") {
			amz[name] = strings.Join(values, ",")
		}
	}
	names := make([]string, 0, len(amz))
	for name := range amz {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		lines = append(lines, name+":"+amz[name])
	}
	resource := rawPath(r)
	if bucket := BucketOfHost(r.Host); bucket != "" {
		resource = "/" + bucket + resource
	}
	var sub []string
	for name, values := range q {
		if !slices.Contains(subResourcesV2, name) {
			continue
		}
		if values[0] == "" {
			sub = append(sub, name)
		} else {
			sub = append(sub, name+"="+values[0])
		}
	}
	slices.Sort(sub)
	if len(sub) > 0 {
		resource += "?" + strings.Join(sub, "&")
	}
	return strings.Join(append(lines, resource), "\n")
}

var subResourcesV2 = []string{
	"accelerate", "acl", "cors", "delete", "lifecycle", "location", "logging", "notification", "partNumber", "policy",
	"requestPayment", "restore", "tagging", "torrent", "uploadId", "uploads", "versionId", "versioning", "versions", "website",
	"response-cache-control", "response-content-disposition", "response-content-encoding", "response-content-language",
	"response-content-type", "response-expires",
}

// BucketOfHost returns the bucket in a virtual-hosted S3 name such as
// bucket.s3.us-east-1.amazonaws.com, or "" for a host without one.
func BucketOfHost(host string) string {
	host, _, _ = strings.Cut(host, ":")
	rest, ok := strings.CutSuffix(host, ".amazonaws.com")
	if !ok {
		return ""
	}
	labels := strings.Split(rest, ".")
	// From the right: [dualstack and region], then s3 or s3-region, then the bucket.
	for i := len(labels) - 1; i > 0 && i >= len(labels)-3; i-- {
		if labels[i] == "s3" || strings.HasPrefix(labels[i], "s3-") {
			return strings.Join(labels[:i], ".")
		}
	}
	return ""
}
