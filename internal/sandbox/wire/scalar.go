package wire

import (
	"encoding/base64"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// An inputError is a request that the protocol or the model does not allow.
type inputError struct {
	path    string // of the member, as the protocol names it
	reason  string
	unknown bool // there is no such member
}

func (e *inputError) Error() string {
	if e.path == "" {
		return e.reason
	}
	return e.path + ": " + e.reason
}

func badInput(path, format string, args ...any) error {
	return &inputError{path: path, reason: fmt.Sprintf(format, args...)}
}

// setText puts a scalar that is written as text (query, XML, headers, paths)
// into v.
func (pl *plan) setText(v reflect.Value, text, path string) error {
	switch pl.kind {
	case kindString:
		v.SetString(text)
	case kindInt:
		n, err := strconv.ParseInt(strings.TrimSpace(text), 10, v.Type().Bits())
		if err != nil {
			return badInput(path, "%q is not a valid integer", text)
		}
		v.SetInt(n)
	case kindFloat:
		f, err := strconv.ParseFloat(strings.TrimSpace(text), v.Type().Bits())
		if err != nil {
			return badInput(path, "%q is not a valid number", text)
		}
		v.SetFloat(f)
	case kindBool:
		switch strings.ToLower(strings.TrimSpace(text)) {
		case "true", "1":
			v.SetBool(true)
		case "false", "0":
			v.SetBool(false)
		default:
			return badInput(path, "%q is not a valid boolean", text)
		}
	case kindBlob:
		b, err := decodeBase64(text)
		if err != nil {
			return badInput(path, "is not valid base64")
		}
		v.SetBytes(b)
	case kindTime:
		t, err := parseTime(text)
		if err != nil {
			return badInput(path, "%q is not a valid timestamp", text)
		}
		v.Set(reflect.ValueOf(t))
	default:
		return badInput(path, "unexpected value %q", text)
	}
	return nil
}

// appendText appends a scalar as text.
func (pl *plan) appendText(b []byte, v reflect.Value, timeFormat string) []byte {
	switch pl.kind {
	case kindString:
		return append(b, v.String()...)
	case kindInt:
		return strconv.AppendInt(b, v.Int(), 10)
	case kindFloat:
		return appendFloat(b, v.Float(), v.Type().Bits())
	case kindBool:
		return strconv.AppendBool(b, v.Bool())
	case kindBlob:
		return base64.StdEncoding.AppendEncode(b, v.Bytes())
	case kindTime:
		return appendTime(b, v.Interface().(time.Time), timeFormat)
	}
	return b
}

func appendFloat(b []byte, f float64, bits int) []byte {
	switch {
	case math.IsNaN(f):
		return append(b, "NaN"...)
	case math.IsInf(f, 1):
		return append(b, "Infinity"...)
	case math.IsInf(f, -1):
		return append(b, "-Infinity"...)
	case f == math.Trunc(f) && math.Abs(f) < 1e15:
		return append(strconv.AppendInt(b, int64(f), 10), ".0"...)
	}
	return strconv.AppendFloat(b, f, 'g', -1, bits)
}

func decodeBase64(s string) ([]byte, error) {
	s = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' || r == ' ' || r == '\t' {
			return -1
		}
		return r
	}, s)
	if b, err := base64.StdEncoding.DecodeString(s); err == nil {
		return b, nil
	}
	return base64.RawStdEncoding.DecodeString(s)
}

// Formats of timestamps, as the models name them.
const (
	timeISO   = "iso8601"
	timeUnix  = "unixTimestamp"
	timeHTTP  = "rfc822"
	timeMilli = "iso8601 with milliseconds" // EC2 writes them even when zero
)

func appendTime(b []byte, t time.Time, format string) []byte {
	t = t.UTC()
	switch format {
	case timeUnix:
		b = strconv.AppendInt(b, t.Unix(), 10)
		if ms := t.Nanosecond() / 1e6; ms != 0 {
			b = append(b, '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10))
		}
		return b
	case timeHTTP:
		return t.AppendFormat(b, "Mon, 02 Jan 2006 15:04:05 GMT")
	case timeMilli:
		return t.AppendFormat(b, "2006-01-02T15:04:05.000Z")
	}
	if t.Nanosecond()/1e6 != 0 {
		return t.AppendFormat(b, "2006-01-02T15:04:05.000Z")
	}
	return t.AppendFormat(b, "2006-01-02T15:04:05Z")
}

// parseTime reads a timestamp in any form that AWS accepts somewhere.
func parseTime(s string) (time.Time, error) {
	s = strings.TrimSpace(s)
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		return unixTime(f)
	}
	for _, layout := range []string{
		time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05", "2006-01-02T15:04Z0700", "2006-01-02T15:04:05Z0700",
		"2006-01-02", "20060102T150405Z", time.RFC1123, time.RFC1123Z, "Mon, 2 Jan 2006 15:04:05 MST",
	} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a timestamp", s)
}

// unixTime returns the time of seconds since 1970. Fractions are kept to the
// microsecond: a float64 has no more.
func unixTime(seconds float64) (time.Time, error) {
	if math.IsNaN(seconds) || math.Abs(seconds) > 253402300799 {
		return time.Time{}, fmt.Errorf("%v is not a timestamp", seconds)
	}
	whole := math.Floor(seconds)
	return time.Unix(int64(whole), int64(math.Round((seconds-whole)*1e6))*1e3).UTC(), nil
}
