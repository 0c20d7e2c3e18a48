// Package model holds AWS's published API models of the services that the
// sandbox speaks for: operations, shapes and their constraints, without the
// documentation.
//
// The files in folder data are made by folder gen from the models that botocore
// ships (Apache License 2.0). They are read on the first [Load] of a service, and
// of each shape only when it is asked for: EC2 has four thousand.
package model

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
)

//go:generate go run ./gen

//go:embed data/*.gz
var data embed.FS

// Protocols, as AWS names them in its models.
const (
	EC2      = "ec2"
	Query    = "query"
	JSON     = "json"
	RestJSON = "rest-json"
	RestXML  = "rest-xml"
	CBOR     = "smithy-rpc-v2-cbor"
)

// Metadata says how an API is spoken.
type Metadata struct {
	APIVersion      string   `json:"apiVersion"`
	EndpointPrefix  string   `json:"endpointPrefix"` // first label of the service's host names
	SigningName     string   `json:"signingName,omitempty"`
	Protocols       []string `json:"protocols"` // best first
	JSONVersion     string   `json:"jsonVersion,omitempty"`
	TargetPrefix    string   `json:"targetPrefix,omitempty"` // of X-Amz-Target
	XMLNamespace    string   `json:"xmlNamespace,omitempty"`
	QueryCompatible bool     `json:"queryCompatible,omitempty"` // errors carry the code they had in protocol query
}

// An Operation is one call of an API.
type Operation struct {
	Name      string `json:"-"`
	Method    string `json:"method"`
	URI       string `json:"uri"`
	Status    int    `json:"status,omitempty"` // of a success; 0: 200
	Input     string `json:"input,omitempty"`  // names of shapes
	Output    string `json:"output,omitempty"`
	InputRoot string `json:"inputRoot,omitempty"` // XML element around the input
	Wrapper   string `json:"wrapper,omitempty"`   // XML element inside the response (query)
}

// A Shape is a type of the API.
type Shape struct {
	Type     string   `json:"type"` // structure, list, map, string, integer, long, float, double, boolean, blob, timestamp
	Members  []Member `json:"members,omitempty"`
	Required []string `json:"required,omitempty"`
	Payload  string   `json:"payload,omitempty"` // the member that is the whole body

	Elem      *Member `json:"elem,omitempty"` // of lists; the value of maps
	Key       *Member `json:"key,omitempty"`  // of maps
	Flattened bool    `json:"flattened,omitempty"`

	Enum            []string `json:"enum,omitempty"`
	Pattern         string   `json:"pattern,omitempty"`
	Min             *float64 `json:"min,omitempty"` // length or value
	Max             *float64 `json:"max,omitempty"`
	TimestampFormat string   `json:"timestampFormat,omitempty"`
	Streaming       bool     `json:"streaming,omitempty"`
	EventStream     bool     `json:"eventstream,omitempty"`
	Union           bool     `json:"union,omitempty"`
	Sensitive       bool     `json:"sensitive,omitempty"`

	LocationName string `json:"locationName,omitempty"` // default name of elements of this shape

	Exception   bool   `json:"exception,omitempty"`
	Fault       bool   `json:"fault,omitempty"`       // the service's fault, not the caller's
	ErrorCode   string `json:"errorCode,omitempty"`   // where it differs from the shape's name
	ErrorStatus int    `json:"errorStatus,omitempty"` // HTTP status
}

// A Member is a field of a structure, or what a list or map is made of.
type Member struct {
	Name            string `json:"n,omitempty"`
	Shape           string `json:"s"`
	Location        string `json:"loc,omitempty"` // uri, querystring, header, headers, statusCode
	LocationName    string `json:"as,omitempty"`
	QueryName       string `json:"query,omitempty"`
	Flattened       bool   `json:"flattened,omitempty"`
	TimestampFormat string `json:"timestampFormat,omitempty"`
}

// A Model is the API of one service.
type Model struct {
	Metadata
	Name       string
	Operations map[string]*Operation
	exceptions map[string]string // error code → shape

	mu    sync.Mutex
	raw   map[string]string // JSON of shapes not asked for yet
	ready map[string]*Shape
}

// Names returns the services that have a model.
func Names() []string {
	entries, err := data.ReadDir("data")
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".gz"))
	}
	return names
}

// Has reports whether there is a model of the service.
func Has(service string) bool { return slices.Contains(Names(), service) }

// Load reads the model of a service.
func Load(service string) (*Model, error) {
	packed, err := data.ReadFile("data/" + service + ".gz")
	if err != nil {
		return nil, fmt.Errorf("API model of %s: %w", service, err)
	}
	return Read(service, packed)
}

// Read reads the model of a service from a file that gen made.
func Read(service string, packed []byte) (*Model, error) {
	m, err := read(service, packed)
	if err != nil {
		return nil, fmt.Errorf("API model of %s: %w", service, err)
	}
	return m, nil
}

func read(service string, packed []byte) (*Model, error) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(bufio.NewReader(z))
	if err != nil {
		return nil, err
	}
	m := &Model{
		Name:       service,
		Operations: map[string]*Operation{},
		exceptions: map[string]string{},
		raw:        map[string]string{},
		ready:      map[string]*Shape{},
	}
	for line := range strings.Lines(string(text)) {
		kind, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		name, body, _ := strings.Cut(rest, "\t")
		switch kind {
		case "metadata":
			err = json.Unmarshal([]byte(body), &m.Metadata)
		case "operation":
			op := &Operation{Name: name}
			err = json.Unmarshal([]byte(body), op)
			m.Operations[name] = op
		case "exception": // error code, shape
			m.exceptions[name] = body
		case "shape":
			m.raw[name] = body
		default:
			err = fmt.Errorf("unknown line %q", kind)
		}
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", kind, name, err)
		}
	}
	return m, nil
}

// Shape returns the shape with the given name. It panics when the model has
// none: names come from the model itself.
func (m *Model) Shape(name string) *Shape {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s, ok := m.ready[name]; ok {
		return s
	}
	body, ok := m.raw[name]
	if !ok {
		panic("API model of " + m.Name + " refers to the missing shape " + name)
	}
	s := &Shape{}
	if err := json.Unmarshal([]byte(body), s); err != nil {
		panic("API model of " + m.Name + ", shape " + name + ": " + err.Error())
	}
	delete(m.raw, name)
	m.ready[name] = s
	return s
}

// Exception returns the shape of the error with the given code, or nil when the
// model does not describe it.
func (m *Model) Exception(code string) *Shape {
	name, ok := m.exceptions[code]
	if !ok {
		return nil
	}
	return m.Shape(name)
}

// ExceptionName returns the name of the shape of the error with the given code,
// or the code itself when the model does not describe it.
func (m *Model) ExceptionName(code string) string {
	if name, ok := m.exceptions[code]; ok {
		return name
	}
	return code
}

// ShapeNames returns the names of all shapes, in order.
func (m *Model) ShapeNames() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(func(yield func(string) bool) {
		for _, part := range []iter.Seq[string]{maps.Keys(m.raw), maps.Keys(m.ready)} {
			for name := range part {
				if !yield(name) {
					return
				}
			}
		}
	})
}
