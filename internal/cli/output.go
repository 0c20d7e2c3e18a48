package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/jmespath/go-jmespath"

	"pcluster/internal/cluster"
)

// An operationError is what an operation answers when it was refused.
type operationError struct{ refusal *cluster.Error }

func (e *operationError) Error() string { return e.refusal.Error() }
func (e *operationError) Unwrap() error { return e.refusal }

// answer makes any error of an operation one that is printed as JSON, unless it
// is about the arguments or about nothing but the exit status.
func answer(err error) error {
	if err == nil || errors.Is(err, errHelp) {
		return err
	}
	if _, ok := errors.AsType[ExitStatus](err); ok {
		return err
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		return err
	}
	if _, ok := errors.AsType[unknownArguments](err); ok {
		return err
	}
	return &operationError{cluster.AsError(err)}
}

func (env *Env) printRefusal(e *operationError) {
	text, err := marshal(e.refusal.Body)
	if err != nil {
		text = []byte(fmt.Sprintf("{\n  \"message\": %q\n}", e.refusal.Body.Message))
	}
	env.log.Error(string(text))
	fmt.Fprintf(env.Stdout, "%s\n", text)
	if width, terminal := env.Columns(); terminal {
		writeDiagnostics(env.Stderr, e.refusal, width)
	}
}

// printResult prints a result, or what the query selects of it. Nothing is
// printed where nothing is left.
func (env *Env) printResult(result any, query string) error {
	text, err := marshal(result)
	if err != nil {
		return err
	}
	if query != "" {
		if text, err = search(text, query); err != nil {
			return err
		}
	}
	switch string(text) {
	case "null", "{}", "[]", `""`:
		return nil
	}
	env.log.Info(string(text))
	_, err = fmt.Fprintf(env.Stdout, "%s\n", text)
	return err
}

// marshal returns v as indented JSON in ASCII.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return ascii(bytes.TrimRight(b.Bytes(), "\n")), nil
}

// ascii escapes what is not ASCII; in JSON, that can only be inside strings.
func ascii(text []byte) []byte {
	var out bytes.Buffer
	for _, r := range string(text) {
		switch {
		case r < 0x7f:
			out.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&out, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	return out.Bytes()
}

// checkQuery refuses a query that cannot be parsed before anything is done.
func checkQuery(command, query string) error {
	if query == "" {
		return nil
	}
	_, err := jmespath.Compile(modernQuery(query))
	if err == nil {
		return nil
	}
	if command == "create-cluster" || command == "update-cluster" || command == "delete-cluster" {
		return &cluster.Error{Status: 400, Body: cluster.ErrorBody{Message: "Invalid query string.", Query: query}}
	}
	return &cluster.Error{Status: 500, Body: cluster.ErrorBody{Message: "Unexpected fatal exception. Invalid query string " + quote(query) + ": " + strings.TrimPrefix(err.Error(), "SyntaxError: ")}}
}

// search returns what a query selects of a JSON document. Keys keep the order
// that they have in the document, or in the query where that made the object.
func search(document []byte, query string) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(document))
	orders := keyOrders{}
	value, err := orders.decode(dec)
	if err != nil {
		return nil, err
	}
	found, err := jmespath.Search(modernQuery(query), value)
	if err != nil {
		return nil, &cluster.Error{Status: 500, Body: cluster.ErrorBody{Message: "Unexpected fatal exception. Query " + quote(query) + ": " + err.Error()}}
	}
	return marshal(orders.arrange(found, query))
}

// keyOrders remembers in which order an object's keys came, by the identity of
// the map that holds it.
type keyOrders map[uintptr][]string

func (o keyOrders) decode(dec *json.Decoder) (any, error) {
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		object, keys := map[string]any{}, []string{}
		for dec.More() {
			key, err := dec.Token()
			if err != nil {
				return nil, err
			}
			value, err := o.decode(dec)
			if err != nil {
				return nil, err
			}
			object[key.(string)] = value
			keys = append(keys, key.(string))
		}
		o[reflect.ValueOf(object).Pointer()] = keys
		_, err := dec.Token()
		return object, err
	case json.Delim('['):
		list := []any{}
		for dec.More() {
			value, err := o.decode(dec)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		_, err := dec.Token()
		return list, err
	}
	return token, nil
}

// arrange returns v with objects that marshal in order.
func (o keyOrders) arrange(v any, query string) any {
	switch v := v.(type) {
	case map[string]any:
		keys, known := o[reflect.ValueOf(v).Pointer()]
		if !known {
			keys = keysAsWritten(v, query)
		}
		out := orderedObject{}
		for _, key := range keys {
			out = append(out, member{key, o.arrange(v[key], query)})
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = o.arrange(v[i], query)
		}
		return out
	}
	return v
}

// keysAsWritten returns the keys of an object that a multi-select made, in the
// order in which the query has them.
func keysAsWritten(object map[string]any, query string) []string {
	at := map[string]int{}
	for key := range object {
		at[key] = len(query)
		if loc := regexp.MustCompile(`[{,]\s*"?` + regexp.QuoteMeta(key) + `"?\s*:`).FindStringIndex(query); loc != nil {
			at[key] = loc[0]
		}
	}
	keys := make([]string, 0, len(object))
	for key := range object {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b string) int {
		if at[a] != at[b] {
			return at[a] - at[b]
		}
		return strings.Compare(a, b)
	})
	return keys
}

type member struct {
	key   string
	value any
}

// An orderedObject is a JSON object whose keys keep their order.
type orderedObject []member

// MarshalJSON implements [json.Marshaler].
func (o orderedObject) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := enc.Encode(m.key); err != nil {
			return nil, err
		}
		b.WriteByte(':')
		if err := enc.Encode(m.value); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}
