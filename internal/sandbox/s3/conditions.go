package s3

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"pcluster/internal/sandbox/wire"
)

// etagMatches reports whether an If-Match or If-None-Match header names etag.
func etagMatches(header, etag string) bool {
	for want := range strings.SplitSeq(header, ",") {
		want = strings.Trim(strings.TrimPrefix(strings.TrimSpace(want), "W/"), `"`)
		if want == "*" || want == etag {
			return true
		}
	}
	return false
}

// checkRead judges the conditions of a read, or of a copy's source when prefix is
// that of its headers.
func checkRead(h http.Header, prefix string, v version) *wire.Error {
	modified := v.Modified.Truncate(time.Second)
	if want := h.Get(prefix + "If-Match"); want != "" {
		if !etagMatches(want, v.ETag) {
			return errPrecondition("If-Match")
		}
	} else if since, err := http.ParseTime(h.Get(prefix + "If-Unmodified-Since")); err == nil && modified.After(since) {
		return errPrecondition("If-Unmodified-Since")
	}
	if want := h.Get(prefix + "If-None-Match"); want != "" {
		if etagMatches(want, v.ETag) {
			return refuse("NotModified", "Not Modified")
		}
	} else if since, err := http.ParseTime(h.Get(prefix + "If-Modified-Since")); err == nil && !modified.After(since) {
		return refuse("NotModified", "Not Modified")
	}
	return nil
}

// checkWrite judges the conditions of a write over the current version, nil when
// there is none.
func checkWrite(h http.Header, key string, current *version) error {
	if want := h.Get("If-None-Match"); want != "" {
		if want != "*" {
			return errNotImplemented("If-None-Match with an ETag on writes")
		}
		if current != nil {
			return errPrecondition("If-None-Match")
		}
	}
	if want := h.Get("If-Match"); want != "" {
		if current == nil {
			return errNoSuchKey(key)
		}
		if !etagMatches(want, current.ETag) {
			return errPrecondition("If-Match")
		}
	}
	return nil
}

// extent returns the stretch of an object that a request asks for.
func (s *Service) extent(r *request, v version) (from, size int64, partial bool, err error) {
	if number := r.query.Get("partNumber"); number != "" {
		return v.partExtent(number)
	}
	from, to, ok := parseRange(r.Header.Get("Range"), v.Size)
	if !ok {
		return 0, v.Size, false, nil
	}
	if match := r.Header.Get("If-Range"); match != "" && !etagMatches(match, v.ETag) {
		return 0, v.Size, false, nil
	}
	if from >= v.Size || from > to {
		return 0, 0, false, refuse("InvalidRange", "The requested range is not satisfiable",
			"ActualObjectSize", strconv.FormatInt(v.Size, 10), "RangeRequested", r.Header.Get("Range"))
	}
	return from, to - from + 1, true, nil
}

func (v version) partExtent(number string) (from, size int64, partial bool, err error) {
	n, convErr := strconv.Atoi(number)
	switch {
	case convErr != nil || n < 1 || n > maxPart:
		return 0, 0, false, errInvalidArgument("Part number must be an integer between 1 and 10000, inclusive", "partNumber", number)
	case len(v.Parts) == 0 && n == 1:
		return 0, v.Size, v.Size > 0, nil
	case n > len(v.Parts):
		return 0, 0, false, &wire.Error{Code: "InvalidPartNumber", Message: "The requested partnumber is not satisfiable", Status: http.StatusRequestedRangeNotSatisfiable}
	}
	for _, p := range v.Parts[:n-1] {
		from += p
	}
	return from, v.Parts[n-1], true, nil
}

// parseRange reads a Range header of one range for a body of the given size, and
// returns its first and last byte. Headers that S3 does not understand, such as
// several ranges, count as none; a range outside the body comes back with from
// beyond the size.
func parseRange(header string, size int64) (from, to int64, ok bool) {
	spec, found := strings.CutPrefix(strings.TrimSpace(header), "bytes=")
	if !found || strings.Contains(spec, ",") {
		return 0, 0, false
	}
	first, last, found := strings.Cut(spec, "-")
	if !found {
		return 0, 0, false
	}
	first, last = strings.TrimSpace(first), strings.TrimSpace(last)
	if first == "" {
		n, err := strconv.ParseInt(last, 10, 64)
		if err != nil || n < 0 {
			return 0, 0, false
		}
		if n == 0 {
			return size, size, true
		}
		return max(0, size-n), size - 1, true
	}
	from, err := strconv.ParseInt(first, 10, 64)
	if err != nil || from < 0 {
		return 0, 0, false
	}
	to = size - 1
	if last != "" {
		n, err := strconv.ParseInt(last, 10, 64)
		if err != nil || n < from {
			return 0, 0, false
		}
		to = min(to, n)
	}
	return from, to, true
}
